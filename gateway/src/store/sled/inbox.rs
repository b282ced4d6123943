//! The way to the committer: one queue, bounded in bytes, in the order things were handed over.
//!
//! Ends of attempts do not wake the committer: they wait for the next one who does, or for their time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::commit::Job;

/// One kilobyte of what may wait is one permit.
const UNIT: usize = 1024;

/// So many waiting ends of attempts make a commit of their own.
const MANY: usize = 256;

/// A job and the room it takes up, given back when the job is dropped.
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Waiting>,
    /// Someone waits for a commit.
    urgent: bool,
    /// When the first of those that can wait must be written.
    deadline: Option<Instant>,
    /// How many ends of attempts wait.
    ends: usize,
    /// The committer rests, and must be told of the first of those that can wait. Otherwise it looks by itself soon
    /// enough: where there are events there are ends behind them, and to wake it for each would cost as much as the
    /// rest of what is done for it.
    dozing: bool,
    closing: bool,
}

/// See the file's essay.
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    /// For verbs that are refused when there is no room.
    room: Arc<Semaphore>,
    /// For ends of attempts, which wait for room instead.
    ends_room: Arc<Semaphore>,
    units: usize,
    patience: Duration,
}

/// Why nothing could be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    Full,
    Closed,
}

impl Inbox {
    pub(super) fn new(bytes: usize, patience: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize / 2);
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(units)),
            ends_room: Arc::new(Semaphore::new(units)),
            units,
            patience,
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from((bytes / UNIT + 1).min(self.units)).unwrap_or(u32::MAX)
    }

    /// Takes room for something that is refused if there is none.
    pub(super) fn try_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NoRoom> {
        Arc::clone(&self.room).try_acquire_many_owned(self.permits(bytes)).map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => NoRoom::Full,
            tokio::sync::TryAcquireError::Closed => NoRoom::Closed,
        })
    }

    /// Waits for room for ends of attempts.
    pub(super) async fn ends_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NoRoom> {
        let room = Arc::clone(&self.ends_room).acquire_many_owned(self.permits(bytes)).await;
        room.map_err(|_| NoRoom::Closed)
    }

    /// Hands a job over; it comes back if the store is closing.
    pub(super) fn push(&self, job: Job, room: Option<OwnedSemaphorePermit>) -> Result<(), Job> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(job);
        }
        let ends = job.ends();
        let wake = match ends {
            0 => !std::mem::replace(&mut state.urgent, true),
            ends => {
                state.ends += ends;
                // Half of the time that there is: a committer that does not doze may take the other half to see it.
                state.deadline.get_or_insert_with(|| Instant::now() + self.patience / 2);
                let many = state.ends >= MANY && !state.urgent;
                state.urgent |= state.ends >= MANY;
                std::mem::take(&mut state.dozing) || many
            }
        };
        state.jobs.push_back(Waiting { job, room });
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Has what waits written now.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        if !state.jobs.is_empty() && !std::mem::replace(&mut state.urgent, true) {
            self.wake.notify_one();
        }
    }

    /// Nothing more is taken; what is there is still written.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.room.close();
        self.ends_room.close();
        self.wake.notify_one();
    }

    /// Drops what was not written because the committer has ended: whoever waits for an answer gets none.
    pub(super) fn abandon(&self) {
        self.close();
        let jobs = std::mem::take(&mut self.state.lock().jobs);
        drop(jobs);
    }

    /// Waits until there is something to write, or `busy` (there is other work) or at most `idle`. `false`: the
    /// store is closing and nothing is left.
    pub(super) fn wait(&self, busy: bool, idle: Duration) -> bool {
        let mut state = self.state.lock();
        let begun = Instant::now();
        let (dozes, until) = (begun + self.patience / 2, begun + idle);
        loop {
            if state.closing {
                return !state.jobs.is_empty();
            }
            let now = Instant::now();
            if busy || state.urgent || now >= until || state.deadline.is_some_and(|deadline| now >= deadline) {
                return true;
            }
            state.dozing = state.deadline.is_none() && now >= dozes;
            let next = match state.deadline {
                Some(deadline) => deadline,
                None if state.dozing => until,
                None => dozes,
            };
            self.wake.wait_until(&mut state, next.min(until));
        }
    }

    /// Takes the next job, with its weight in bytes, if `fits` says that its operations and bytes do.
    pub(super) fn pop(&self, fits: impl FnOnce(usize, usize) -> bool) -> Option<(Waiting, usize)> {
        let mut state = self.state.lock();
        let Some(next) = state.jobs.front() else {
            state.urgent = false;
            state.deadline = None;
            return None;
        };
        let (ops, bytes) = next.job.weight();
        if !fits(ops, bytes) {
            return None;
        }
        let ends = next.job.ends();
        state.ends = state.ends.saturating_sub(ends);
        state.jobs.pop_front().map(|next| (next, bytes))
    }
}
