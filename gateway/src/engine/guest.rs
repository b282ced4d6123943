//! One call's state on the host's side: what it may still use, what it used, and what it logged.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::bindings::{host, types};
use super::config::EngineConfig;
use super::runtime::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};
use super::ticker::TICK;
use crate::domain::LogLine;
use crate::pressure::Pressure;

/// What a line of the log counts beside its text, so that empty lines are not free.
pub(super) const LINE_OVERHEAD: usize = 16;

/// Ticks after which a guest rests between two of them, unless it is known to be slow.
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
    pressure: Arc<Pressure>,
    brisk_ticks: u32,
    time: Duration,
    ticks: u32,
    ticks_left: u128,
    memory_limit: usize,
    memory: usize,
    peak_memory: usize,
    log_limit: usize,
    log_used: usize,
    log: Vec<LogLine>,
}

impl Guest {
    /// `slow`: it is known to run for long.
    pub(super) fn new(config: &EngineConfig, pressure: Arc<Pressure>, slow: bool) -> Self {
        Self {
            pressure,
            brisk_ticks: if slow { 0 } else { BRISK_TICKS },
            time: config.time,
            ticks: 0,
            ticks_left: config.time.as_nanos().div_ceil(TICK.as_nanos()),
            memory_limit: config.memory,
            memory: 0,
            peak_memory: 0,
            log_limit: config.log,
            log_used: 0,
            log: Vec::new(),
        }
    }

    /// A tick passed while the guest ran. It counts one, however many passed since the last: the rest went to
    /// others, who had the core meanwhile.
    ///
    /// Then the guest gives way. Plain [`UpdateDeadline::Yield`] would put it at the head of tokio's queue
    /// again, where it starves timers and sockets; `yield_now` lets those go first. Once it has run for longer than
    /// others should have to notice, it rests as long as it runs, and longer where the processor is short: a loop must
    /// not keep a core from them.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        match self.ticks_left.checked_sub(1) {
            Some(left) => self.ticks_left = left,
            None => return Err(Limit::Time { limit: self.time }.into()),
        }
        self.ticks += 1;
        let way: Pin<Box<dyn Future<Output = ()> + Send>> = if self.ticks <= self.brisk_ticks {
            Box::pin(tokio::task::yield_now())
        } else {
            Box::pin(tokio::time::sleep(TICK.max(self.pressure.gap())))
        };
        Ok(UpdateDeadline::YieldCustom(1, way))
    }

    /// The most memory it had at any time, in bytes.
    pub(super) fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    /// The last line it logged as an error: a panic's message, where the SDK's hook wrote one.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.log.iter().rev().find(|line| line.level == level(types::Level::Error)).map(|line| line.message.as_str())
    }

    /// Its log.
    pub(super) fn into_log(self) -> Vec<LogLine> {
        self.log
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
