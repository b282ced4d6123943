//! One call's state on the host's side: what it may still use, what it used, and what it logged.

use std::pin::Pin;
use std::time::Duration;

use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::aside::Had;
use super::bindings::{host, types};
use super::config::EngineConfig;
use super::runtime::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};
use super::ticker::TICK;
use crate::domain::LogLine;

/// What a line of the log counts beside its text, so that empty lines are not free.
pub(super) const LINE_OVERHEAD: usize = 16;

/// Ticks after which a guest on the gateway's workers rests between two of them.
const BRISK_TICKS: u32 = 4;

/// A limit that was hit. Raised inside the guest, where it ends the call like a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Limit {
    /// Running time.
    #[error("it ran for {} ms, which is all it may; look for a loop that does not end", limit.as_millis())]
    Time {
        /// What it may have.
        limit: Duration,
    },
    /// Linear memory.
    #[error("it asked for {wanted} bytes of memory; it may have {limit}")]
    Memory {
        /// What it would have had.
        wanted: usize,
        /// What it may have.
        limit: usize,
    },
    /// Table elements.
    #[error("it asked for a table of {wanted} elements; it may have {limit}")]
    Table {
        /// What it would have had.
        wanted: usize,
        /// What it may have.
        limit: usize,
    },
    /// Log bytes.
    #[error("it logged more than the {limit} bytes it may; log less for each event")]
    Log {
        /// What it may have.
        limit: usize,
    },
}

/// The state. It lives in the store, and dies with it.
pub(super) struct Guest {
    /// What it had of the processor, if it has a thread of its own.
    aside: Option<Had>,
    time: Duration,
    ticks: u32,
    memory_limit: usize,
    memory: usize,
    peak_memory: usize,
    log_limit: usize,
    log_used: usize,
    log: Vec<LogLine>,
}

impl Guest {
    /// `aside`: nothing else runs on the calling thread meanwhile.
    pub(super) fn new(config: &EngineConfig, aside: bool) -> Self {
        Self {
            aside: aside.then(Had::nothing),
            time: config.time,
            ticks: 0,
            memory_limit: config.memory,
            memory: 0,
            peak_memory: 0,
            log_limit: config.log,
            log_used: 0,
            log: Vec::new(),
        }
    }

    /// Forgets the call before: what it used and what it logged. The memory is still there.
    pub(super) fn begin_again(&mut self, aside: bool) {
        self.aside = aside.then(Had::nothing);
        self.ticks = 0;
        self.peak_memory = self.memory;
        self.log_used = 0;
        self.log.clear();
    }

    /// A tick passed while the guest ran.
    ///
    /// On a thread of its own it goes on, after a moment for others, until it has had the processor for as long as it
    /// may. On the gateway's workers a call counts one tick, however many passed since the last: the rest went to others,
    /// who had the core meanwhile. Then it gives way. Plain [`UpdateDeadline::Yield`] would put it at the head of tokio's
    /// queue again, where it starves timers and sockets; `yield_now` lets those go first. Once it has run for longer than
    /// others should have to notice, it rests as long as it runs: a loop must not keep a core from them.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.ticks += 1;
        let used = match &mut self.aside {
            Some(had) => had.so_far(),
            None => TICK * self.ticks.saturating_sub(1),
        };
        if used >= self.time {
            return Err(Limit::Time { limit: self.time }.into());
        }
        let way: Pin<Box<dyn Future<Output = ()> + Send>> = match &mut self.aside {
            Some(had) => match had.give_way(used) {
                None => return Ok(UpdateDeadline::Continue(1)),
                Some(way) => Box::pin(way),
            },
            None if self.ticks <= BRISK_TICKS => Box::pin(tokio::task::yield_now()),
            None => Box::pin(tokio::time::sleep(TICK)),
        };
        Ok(UpdateDeadline::YieldCustom(1, way))
    }

    /// Whole milliseconds of running that it was seen in; unlike time on the wall, without what its thread waited for
    /// a core.
    pub(super) fn ran(&self) -> Duration {
        TICK * self.ticks
    }

    /// The most memory it had at any time, in bytes.
    pub(super) fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    /// The last line it logged as an error: a panic's message, where the SDK's hook wrote one.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.log.iter().rev().find(|line| line.level == level(types::Level::Error)).map(|line| line.message.as_str())
    }

    /// The linear memory it has now, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Its log, which is empty then.
    pub(super) fn take_log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.log)
    }
}

fn level(level: types::Level) -> &'static str {
    match level {
        types::Level::Debug => "debug",
        types::Level::Info => "info",
        types::Level::Warn => "warn",
        types::Level::Error => "error",
    }
}

impl types::Host for Guest {}

impl host::Host for Guest {
    fn log(&mut self, at: types::Level, message: String) -> wasmtime::Result<()> {
        let used = self.log_used.saturating_add(message.len()).saturating_add(LINE_OVERHEAD);
        if used > self.log_limit {
            return Err(Limit::Log { limit: self.log_limit }.into());
        }
        self.log_used = used;
        self.log.push(LogLine { level: level(at).to_owned(), message });
        Ok(())
    }
}

/// A refused growth is a trap, not a `-1`: guests' allocators make of that an abort without a reason, or carry
/// on with a null pointer.
impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_sub(current).saturating_add(desired);
        let limit = maximum.map_or(self.memory_limit, |maximum| maximum.min(self.memory_limit));
        if wanted > self.memory_limit || desired > limit {
            return Err(Limit::Memory { wanted, limit }.into());
        }
        self.memory = wanted;
        self.peak_memory = self.peak_memory.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = maximum.map_or(TABLE_ELEMENTS, |maximum| maximum.min(TABLE_ELEMENTS));
        if desired > limit {
            return Err(Limit::Table { wanted: desired, limit }.into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}
