//! The threads that read. They are the store's own: on tokio's blocking pool, shared with name look-ups, reads
//! would wait for other people's servers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::fault::Fault;
use super::shared::Shared;
use super::tables::Tables;
use crate::store::Result as Answer;

/// So many reads may wait; more wait for room.
const MOST_WAITING: usize = 512;

type Task = Box<dyn FnOnce(&Tables) -> Result<(), Fault> + Send>;

#[derive(Default)]
struct State {
    tasks: VecDeque<(Task, OwnedSemaphorePermit)>,
    closing: bool,
}

/// The queue of reads.
pub(super) struct Readers {
    state: Mutex<State>,
    wake: Condvar,
    room: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), room: Arc::new(Semaphore::new(MOST_WAITING)) }
    }

    /// Starts the threads.
    pub(super) fn start(
        self: &Arc<Self>,
        threads: usize,
        shared: &Arc<Shared>,
        tables: &Arc<Tables>,
    ) -> std::io::Result<Vec<JoinHandle<()>>> {
        let start = |number| {
            let (readers, shared, tables) = (Arc::clone(self), Arc::clone(shared), Arc::clone(tables));
            let name = format!("store-read-{number}");
            std::thread::Builder::new().name(name).spawn(move || readers.work(&shared, &tables))
        };
        (0..threads.max(1)).map(start).collect()
    }

    fn work(&self, shared: &Shared, tables: &Tables) {
        loop {
            let (task, room) = {
                let mut state = self.state.lock();
                loop {
                    if let Some(task) = state.tasks.pop_front() {
                        break task;
                    }
                    if state.closing {
                        return;
                    }
                    self.wake.wait(&mut state);
                }
            };
            drop(room);
            // sled panics on some kinds of damage.
            let done = catch_unwind(AssertUnwindSafe(|| task(tables)));
            if let Err(fault) = done.unwrap_or_else(|payload| Err(Fault::panicked(&*payload))) {
                shared.fail(&fault);
            }
        }
    }

    /// Reads on one of the threads. If the caller has stopped waiting the answer is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        shared: &Shared,
        read: impl FnOnce(&Tables) -> Result<T, Fault> + Send + 'static,
    ) -> Answer<T> {
        shared.check()?;
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| shared.no_answer())?;
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |tables| {
            let read = read(tables)?;
            drop(reply.send(read));
            Ok(())
        });
        {
            let mut state = self.state.lock();
            if state.closing {
                return Err(shared.no_answer());
            }
            state.tasks.push_back((task, room));
        }
        self.wake.notify_one();
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.lost(shared).await),
        }
    }

    /// The fault is recorded just after the reply is dropped; whoever asks in between waits for it.
    async fn lost(&self, shared: &Shared) -> crate::store::Error {
        let mut fatal = shared.fatal();
        if !self.state.lock().closing {
            let _ = fatal.wait_for(Option::is_some).await;
        }
        shared.no_answer()
    }

    /// Lets the threads end once nothing waits.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.room.close();
        self.wake.notify_all();
    }
}
