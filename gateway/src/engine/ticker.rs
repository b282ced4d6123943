//! Time passing, for guests: a thread that moves wasmtime's epoch on each millisecond.
//!
//! A guest looks at the epoch at every loop's head and every function's start, and calls back when it has
//! moved. That costs less than counting instructions, and a late tick only makes a limit a little generous.
//! While nothing has run for a second the thread sleeps, so that an idle gateway wakes no core.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often the epoch moves; the unit of the time limit.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call after which the thread sleeps.
const IDLE_TICKS: u32 = 1_000;

/// The thread. It ends, within a tick, when this is dropped.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

/// A call is running; the epoch moves at least as long as this lives.
pub(super) struct Running<'a>(&'a Ticker);

impl Ticker {
    /// Starts the thread, and waits until it runs: a process that limits its memory next must not meet it half made.
    pub(super) fn start(engine: wasmtime::EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let started = Arc::new(Barrier::new(2));
        let thread = thread::Builder::new().name("plugin-ticker".into()).spawn({
            let (shared, started) = (Arc::clone(&shared), Arc::clone(&started));
            move || {
                started.wait();
                tick(&shared, &engine);
            }
        })?;
        started.wait();
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Says that a call begins.
    pub(super) fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        // One load in the common case; the thread is woken only if it sleeps.
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(shared: &Shared, engine: &wasmtime::EngineWeak) {
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        let Some(strong) = engine.upgrade() else { return };
        strong.increment_epoch();
        drop(strong);
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE_TICKS {
            thread::sleep(TICK);
            continue;
        }
        // `asleep` is set before `running` is read, and a call adds to `running` before it reads `asleep`: one
        // of the two sees the other, so no call runs without a tick.
        shared.asleep.store(true, Ordering::SeqCst);
        if shared.running.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
