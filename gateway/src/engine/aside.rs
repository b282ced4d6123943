//! Where slow calls run: on threads of their own, which the kernel lets run when others leave the processor idle.
//!
//! A slow call on one of the gateway's workers is felt by everyone, however often it gives way: whoever comes next
//! waits for the rest of its slice, at each of a delivery's half a dozen steps. The kernel does better. A thread of
//! low priority and with a short slice is taken off the core almost at once when another has something to do, and has the
//! whole core when none has.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::nice;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How much lower their priority is, in the kernel's steps: where all cores are busy, such a thread has about a tenth
/// of what one of the gateway's workers has. Slow is not hostile, so it is not the least there is.
const NICE: i32 = 10;

/// How long such a thread stays on a core that others wait for. Unless told so, the kernel lets it stay for one of its
/// own slices, whatever its priority: 1.4 to 3 ms, since Linux 6.6. Since 6.12 it can be told so, by `sched_runtime` of a
/// thread that has no deadline; this is the least it takes (`__setparam_fair` in its sources). An earlier one ignores it.
const SLICE: Duration = Duration::from_micros(100);

/// Lets the calling thread give way to all others, and those that it starts later.
pub(super) fn give_way() -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: const { size_of::<libc::sched_attr>() as u32 },
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: NICE,
        sched_priority: 0,
        sched_runtime: u64::try_from(SLICE.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has this call")]
    // SAFETY: the kernel reads as many bytes as the struct says that it has, and writes none.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    // Where it is forbidden, a low priority is still better than none. On Linux that is about this thread, too.
    if done == 0 { Ok(()) } else { Ok(nice(NICE).map(drop)?) }
}

/// The threads, which start with the first slow call. They end when this is dropped, once the calls on them have ended.
pub(super) struct Aside {
    threads: usize,
    runtime: OnceLock<Option<Runtime>>,
}

impl Aside {
    /// As many threads as slow calls may run at once, so that none waits for another's on a thread.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, runtime: OnceLock::new() }
    }

    fn start(&self) -> Option<Runtime> {
        let started = Builder::new_multi_thread()
            .worker_threads(self.threads.max(1))
            .thread_name("slow-plugins")
            .on_thread_start(|| {
                // Where it fails, slow calls are felt more.
                if let Err(error) = give_way() {
                    tracing::warn!(%error, "the threads of slow plugins could not be given a low priority");
                }
            })
            .build();
        started
            .inspect_err(
                |error| tracing::error!(%error, "without threads of their own, slow plugins are felt by others"),
            )
            .ok()
    }

    /// Runs a call there; here, if no threads are to be had. If this is dropped, the call is, when it next gives way.
    pub(super) async fn run<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> T {
        let Some(runtime) = self.runtime.get_or_init(|| self.start()) else { return call.await };
        let mut alone = JoinSet::new();
        alone.spawn_on(call, runtime.handle());
        match alone.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => unreachable!("one was spawned"),
        }
    }
}

impl Drop for Aside {
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
