//! One call: a turn, a place in the pool, a fresh instance, and what it cost.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use wasmtime::Store;

use super::aside::thread_time;
use super::config::EngineConfig;
use super::fault::{self, Stage};
use super::guest::Guest;
use super::ticker::{Running, Ticker};
use super::turns::Turn;
use crate::domain::{Fault, FaultKind, LogLine};

/// How a call ended, well or not, and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran<T> {
    /// What the plugin gave back, checked; or what went wrong.
    pub result: Result<T, Fault>,
    /// What it logged, also where it ended in a fault.
    pub log: Vec<LogLine>,
    /// The guest's own running time, the start of its instance included. Waiting is not.
    pub cpu: Duration,
    /// The most linear memory it had, in bytes.
    pub peak_memory: usize,
}

impl<T> Ran<T> {
    /// A call that was never made.
    pub(super) fn refused(fault: Fault) -> Self {
        Self { result: Err(fault), log: Vec::new(), cpu: Duration::ZERO, peak_memory: 0 }
    }

    /// The same call, its result looked at.
    fn checked<U>(self, check: impl FnOnce(T) -> Result<U, Fault>) -> Ran<U> {
        let Self { result, log, cpu, peak_memory } = self;
        Ran { result: result.and_then(check), log, cpu, peak_memory }
    }
}

/// A call being made. The fields are in the order in which they must go: the instance, then its place, then
/// the turn.
pub(super) struct Call<'a> {
    store: Store<Guest>,
    _place: Option<SemaphorePermit<'a>>,
    watch: Stopwatch<'a>,
}

/// Counts the time in which a call's future is polled, which is when the guest runs.
pub(super) struct Stopwatch<'a> {
    clock: fn() -> Duration,
    spent: Duration,
    turn: Option<Turn>,
    _running: Running<'a>,
}

impl<'a> Call<'a> {
    /// Makes a store with the limits set, for an instance that has a place: the one that is given, or one of its own
    /// among the kept. `turn` is held, and charged. `aside`: the calling thread runs nothing else meanwhile.
    pub(super) fn begin(
        engine: &wasmtime::Engine,
        config: &EngineConfig,
        place: Option<SemaphorePermit<'a>>,
        ticker: &'a Ticker,
        turn: Option<Turn>,
        aside: bool,
    ) -> Self {
        let mut store = Store::new(engine, Guest::new(config, aside));
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(config.hostcall_fuel);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        Self::with(store, place, ticker, turn, aside)
    }

    /// The same with a store that has served before, and whose instance is still in it.
    pub(super) fn begin_again(mut store: Store<Guest>, aside: bool, ticker: &'a Ticker, turn: Option<Turn>) -> Self {
        store.data_mut().begin_again(aside);
        Self::with(store, None, ticker, turn, aside)
    }

    fn with(
        mut store: Store<Guest>,
        place: Option<SemaphorePermit<'a>>,
        ticker: &'a Ticker,
        turn: Option<Turn>,
        aside: bool,
    ) -> Self {
        store.set_epoch_deadline(1);
        let clock = if aside { thread_time } else { wall_time };
        let watch = Stopwatch { clock, spent: Duration::ZERO, turn, _running: ticker.running() };
        Self { store, _place: place, watch }
    }

    /// The store to work with, and the stopwatch to run the work under.
    pub(super) fn parts(&mut self) -> (&mut Store<Guest>, &mut Stopwatch<'a>) {
        (&mut self.store, &mut self.watch)
    }

    /// Ends the call: everything it held is free again before what came back is looked at. `ran` is told for how long it
    /// was seen to run, before its place is given to another.
    pub(super) fn end<R, T>(
        mut self,
        result: Result<R, Stage>,
        check: impl FnOnce(R) -> Result<T, Fault>,
        ran: impl FnOnce(Duration),
    ) -> Ran<T> {
        let stopped = self.stop(result, ran);
        drop(self);
        stopped.checked(check)
    }

    /// The same, but the store comes back if all went well.
    pub(super) fn end_and_keep<R, T>(
        mut self,
        result: Result<R, Stage>,
        check: impl FnOnce(R) -> Result<T, Fault>,
        ran: impl FnOnce(Duration),
    ) -> (Ran<T>, Option<Store<Guest>>) {
        let checked = self.stop(result, ran).checked(check);
        let keep = checked.result.is_ok().then_some(self.store);
        (checked, keep)
    }

    fn stop<R>(&mut self, result: Result<R, Stage>, ran: impl FnOnce(Duration)) -> Ran<R> {
        let result = result.map_err(|stage| fault::of_call(&stage, self.store.data()));
        if let Err(Fault { kind: FaultKind::Engine, message, .. }) = &result {
            tracing::error!(%message, "a plugin's call failed for a reason of the engine's own");
        }
        let guest = self.store.data_mut();
        let (peak_memory, cpu) = (guest.peak_memory(), self.watch.spent);
        ran(cpu.min(guest.ran()));
        Ran { result, log: guest.take_log(), cpu, peak_memory }
    }
}

impl Stopwatch<'_> {
    /// Runs the work, counting. A call that is given up half-way has still been charged for that half.
    pub(super) async fn run<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let begin = (self.clock)();
            let polled = work.as_mut().poll(context);
            let cost = (self.clock)().saturating_sub(begin);
            self.spent += cost;
            if let Some(turn) = &mut self.turn {
                turn.charge(cost);
            }
            polled
        })
        .await
    }
}

/// On the gateway's workers: asking for a thread's own time is a system call, and a brisk call is not interrupted.
fn wall_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
