//! Where slow calls run: on threads of their own, which the kernel lets run when others leave the processor idle.
//!
//! A slow call on one of the gateway's workers is felt by everyone, however often it gives way: whoever comes next
//! waits for the rest of its slice, at each of a delivery's half a dozen steps. The kernel does better. A thread that
//! comes [`last`](priority::last) is taken off the core at once when another has something to do, and has the whole core
//! when none has. Still, whoever comes is felt to wait for that, at each of those steps; so where others have something
//! to do a call [rests](Workers::rest) for most of the time, and lets them have the core as it is when it is idle. Where
//! nobody leaves it anything, a call would never end. So one that has had next to nothing for a while goes on where calls
//! have a [`little`](priority::little) of each core.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::priority::{self, Workers};

/// A call that has had less than one part in so many of the time that passed, its rests left out, and for so long, is
/// starved.
const STARVED_BELOW: u32 = 20;
const STARVED_AFTER: Duration = Duration::from_millis(100);

/// The threads, which start with the first slow call. They end when this is dropped, once the calls on them have ended.
pub(super) struct Aside {
    workers: OnceLock<Arc<Workers>>,
    last: Threads,
    little: Threads,
}

impl Aside {
    /// As many threads as slow calls may run at once, so that none waits for another's on a thread.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            workers: OnceLock::new(),
            last: Threads::new("slow-plugins", threads, priority::last),
            little: Threads::new("starved-plugins", threads, priority::little),
        }
    }

    /// Runs a call there; here, if no threads are to be had. If this is dropped, the call is, when it next gives way.
    pub(super) async fn run<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> T {
        let workers = self.workers();
        let ended = {
            let _last = workers.last();
            self.last.run(until_starved(Box::pin(call)), Some(workers)).await
        };
        match ended {
            Ok(done) => done,
            Err(starved) => self.little.run(starved, None).await,
        }
    }

    /// Those on whose account calls rest: whoever first asks for something that takes long is one of them.
    pub(super) fn workers(&self) -> &Arc<Workers> {
        self.workers.get_or_init(|| Arc::new(Workers::of_caller()))
    }
}

thread_local! {
    /// The call that is polled on this thread wants to go on elsewhere.
    static STARVED: Cell<bool> = const { Cell::new(false) };
    /// Those on whose account calls on this thread rest.
    static WORKERS: OnceCell<Arc<Workers>> = const { OnceCell::new() };
}

/// Runs a call to its end, or until it says that it is starved: then it comes back.
async fn until_starved<T, C: Future<Output = T> + Unpin>(mut call: C) -> Result<T, C> {
    let done = poll_fn(|context| match Pin::new(&mut call).poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if STARVED.take() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    done.await.ok_or(call)
}

/// What a call has had of the processor, on the threads that it ran on.
pub(super) struct Had {
    since: Instant,
    /// How much of that time it left by itself.
    rested: Duration,
    before: Duration,
    /// What the thread it is on had had when it came there; unknown until it has looked.
    thread: Option<Duration>,
    /// What it had had when it gave way last.
    at_last: Duration,
    moved: bool,
}

impl Had {
    /// A call begins on the calling thread.
    pub(super) fn nothing() -> Self {
        let none = Duration::ZERO;
        let (since, thread) = (Instant::now(), Some(thread_time()));
        Self { since, rested: none, before: none, thread, at_last: none, moved: false }
    }

    /// How much it is so far. To be asked for on the thread that the call runs on, and by nothing else there.
    pub(super) fn so_far(&mut self) -> Duration {
        let now = thread_time();
        self.before + now.saturating_sub(*self.thread.get_or_insert(now))
    }

    /// Leaves the core to others for a while: at once, or, if the call is starved, once it has changed to threads that
    /// have more.
    pub(super) fn give_way(&mut self, so_far: Duration) -> Option<impl Future<Output = ()> + Send + 'static> {
        let passed = self.since.elapsed().saturating_sub(self.rested);
        if self.moved || passed < STARVED_AFTER || so_far * STARVED_BELOW > passed {
            let ran = so_far.saturating_sub(std::mem::replace(&mut self.at_last, so_far));
            let rest = WORKERS.with(|workers| workers.get().map_or(Duration::ZERO, |workers| workers.rest(ran)));
            self.rested += rest;
            priority::leave_for(rest);
            return None;
        }
        *self = Self { before: so_far, thread: None, at_last: so_far, moved: true, ..*self };
        Some(async {
            STARVED.set(true);
            tokio::task::yield_now().await;
        })
    }
}

/// Threads of one priority.
struct Threads {
    name: &'static str,
    count: usize,
    ask: fn() -> io::Result<()>,
    runtime: OnceLock<Option<Runtime>>,
}

impl Threads {
    fn new(name: &'static str, count: usize, ask: fn() -> io::Result<()>) -> Self {
        Self { name, count, ask, runtime: OnceLock::new() }
    }

    fn start(&self, workers: Option<&Arc<Workers>>) -> Option<Runtime> {
        let (name, ask, workers) = (self.name, self.ask, workers.cloned());
        let started = Builder::new_multi_thread()
            .worker_threads(self.count.max(1))
            .thread_name(name)
            .on_thread_start(move || {
                if let Some(workers) = &workers {
                    WORKERS.with(|known| drop(known.set(Arc::clone(workers))));
                }
                // Where it fails, slow calls are felt more.
                if let Err(error) = ask() {
                    tracing::warn!(%error, "the threads `{name}` could not be given a low priority");
                }
            })
            .build();
        started
            .inspect_err(
                |error| tracing::error!(%error, "without threads of their own, slow plugins are felt by others"),
            )
            .ok()
    }

    /// Runs a call; what it rests for is told when the threads start.
    async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        workers: Option<&Arc<Workers>>,
    ) -> T {
        let Some(runtime) = self.runtime.get_or_init(|| self.start(workers)) else { return call.await };
        let mut alone = JoinSet::new();
        alone.spawn_on(call, runtime.handle());
        match alone.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => unreachable!("one was spawned"),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            // Dropped where it is, it would wait for the calls, which tokio forbids on a worker.
            runtime.shutdown_background();
        }
    }
}

/// What the calling thread has had of the processor. A thread of low priority may have waited for most of the time.
pub(super) fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// What one of the clocks for processor time shows.
pub(super) fn time_of(clock: ClockId) -> Duration {
    let had = clock_gettime(clock);
    Duration::new(had.tv_sec.unsigned_abs(), u32::try_from(had.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// Had next to nothing, for so long.
    fn starved() -> Had {
        let since = Instant::now().checked_sub(STARVED_AFTER).unwrap();
        Had { since, ..Had::nothing() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_starved_call_goes_on_where_it_has_a_little() {
        let aside = Aside::new(1);
        let rests = || WORKERS.with(|workers| workers.get().is_some());
        let (before, after, had) = aside
            .run(async move {
                let (before, mut had) = ((here(), rests()), starved());
                let so_far = Duration::from_millis(1);
                had.give_way(so_far).unwrap().await;
                let after = (here(), rests());
                // What it had before counts, what the other thread had before it does not.
                assert_eq!(had.so_far(), so_far);
                // It is moved once.
                had.since = starved().since;
                assert!(had.give_way(Duration::ZERO).is_none());
                (before, after, had.so_far() >= so_far)
            })
            .await;
        let (last, little) = (("slow-plugins".to_owned(), true), ("starved-plugins".to_owned(), false));
        assert_eq!((before, after, had), (last, little, true), "where it has a little it does not rest");
        // The next begins where it should.
        assert_eq!(aside.run(async { here() }).await, "slow-plugins");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_rests_for_busy_workers_as_long_as_it_should() {
        let aside = Aside { workers: Arc::new(Workers::always_busy()).into(), ..Aside::new(1) };
        let rested = aside
            .run(async {
                let (mut had, begun) = (Had::nothing(), Instant::now());
                assert!(had.give_way(Duration::from_millis(2)).is_none());
                let first = begun.elapsed();
                assert!(had.give_way(Duration::from_millis(3)).is_none());
                (first, begun.elapsed() - first)
            })
            .await;
        assert!(rested.0 >= Duration::from_millis(6) && rested.1 >= Duration::from_millis(3), "{rested:?}");
    }

    #[tokio::test]
    async fn only_who_had_next_to_nothing_is_starved() {
        let twentieth = STARVED_AFTER / STARVED_BELOW;
        assert!(Had::nothing().give_way(Duration::ZERO).is_none(), "it has only begun");
        assert!(starved().give_way(twentieth * 100).is_none());
        assert!(starved().give_way(twentieth / 2).is_some());
        let rested = Had { rested: STARVED_AFTER, ..starved() }.give_way(Duration::ZERO);
        assert!(rested.is_none(), "what it left by itself was not kept from it");
        // Where nobody moves it, it goes on all the same.
        starved().give_way(Duration::ZERO).unwrap().await;
    }
}
