//! Who runs first where more have something to do than the machine has cores: what the kernel is asked for, and what
//! work that takes long does by itself.
//!
//! What somebody waits for takes microseconds, a plugin that is slow or a compile takes milliseconds and seconds. If the
//! kernel treats them alike, the former wait for the latter at each of a delivery's half a dozen steps, for as long as
//! the kernel leaves a thread on a core: 1.4 to 3 ms, a lower priority notwithstanding (since Linux 6.6). **Who acts.** A
//! thread asks for itself, when it starts: the gateway's workers and the store's committer to be [`prompt`], slow calls
//! and compiles to be [`last`], those of them that the machine leaves nothing to have [`little`]. What may take long on
//! a worker goes on in [`Slices`]. **What is promised.** Nothing breaks where the kernel refuses or is too old: then
//! others are felt more. **What is deliberately not.** What needs privileges, such as a priority above that of other
//! programs.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::nice;

/// The kernel's steps by which those are lower that have little: where all cores are busy, about a tenth of what one of
/// the gateway's workers has.
const NICE: i32 = 10;

/// The slice of those that are prompt, and of those that wait: the least and the most the kernel takes. Whoever has the
/// shorter one takes the core from the other as soon as it has something to do. It is `sched_runtime` of a thread without
/// a deadline since Linux 6.12 (`__setparam_fair` in its sources); an earlier one ignores it.
const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(100);

/// The calling thread does short work that somebody waits for. Those that it starts do not.
///
/// # Errors
/// If the kernel forbids it, or does not know the call.
pub fn prompt() -> io::Result<()> {
    // On fork they have the usual priority and slice again (`sched_setattr(2)`).
    ask(libc::SCHED_OTHER, libc::SCHED_FLAG_RESET_ON_FORK, 0, SHORT)
}

/// The calling thread, and those that it starts later, run when others leave a core: whoever has something to do takes
/// the core from them at once. It can't be taken back.
///
/// # Errors
/// If the kernel forbids even a low priority.
pub fn last() -> io::Result<()> {
    ask(libc::SCHED_IDLE, 0, 0, Duration::ZERO).or_else(|_| little())
}

/// The calling thread, and those that it starts later, have a tenth of a core that others want.
///
/// # Errors
/// If the kernel forbids even that.
pub fn little() -> io::Result<()> {
    // On Linux `nice` is about this thread only, too.
    ask(libc::SCHED_OTHER, 0, NICE, LONG).or_else(|_| nice(NICE).map(drop).map_err(io::Error::from))
}

/// How long work that takes long goes on before others have their turn, and how long they then have it. Giving way only
/// for whoever waits just then is not enough: it would keep a whole worker from those that come a moment later.
const SLICE: Duration = Duration::from_micros(500);
const REST: Duration = Duration::from_millis(1);

/// Work on one of the gateway's workers that may take long: between two steps it asks whether it is time to rest.
#[derive(Debug)]
pub struct Slices(Instant);

impl Slices {
    /// It begins.
    #[must_use]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// It has gone on for long enough.
    #[cfg(test)]
    pub(crate) fn over() -> Self {
        Self(Instant::now().checked_sub(SLICE).unwrap())
    }

    /// Whether it has gone on for 0.5 ms.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.elapsed() >= SLICE
    }

    /// Rests for 1 ms; the next slice begins after it.
    pub async fn rest(&mut self) {
        tokio::time::sleep(REST).await;
        *self = Self::begin();
    }

    /// Rests if the slice is over.
    pub async fn step(&mut self) {
        if self.is_over() {
            self.rest().await;
        }
    }
}

fn ask(policy: i32, flags: i32, nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: const { size_of::<libc::sched_attr>() as u32 },
        sched_policy: policy.unsigned_abs(),
        sched_flags: u64::from(flags.unsigned_abs()),
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has this call")]
    // SAFETY: the kernel reads as many bytes as the struct says that it has, and writes none.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    /// Policy and nice value of the calling thread, as the kernel tells them.
    fn found() -> (String, String) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Fields 41 and 19 of proc_pid_stat(5); the third is the first after the name.
        (fields[41 - 3].to_owned(), fields[19 - 3].to_owned())
    }

    fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[tokio::test]
    async fn long_work_rests_after_each_slice() {
        let mut begins_later = Slices(Instant::now() + Duration::from_secs(3600));
        assert!(poll!(pin!(begins_later.step())).is_ready(), "it has only begun");
        let (mut slices, before) = (Slices::over(), Instant::now());
        assert!(poll!(pin!(slices.step())).is_pending());
        slices.step().await;
        assert!(before.elapsed() >= REST && slices.0 >= before, "another slice begins");
    }

    #[test]
    fn threads_are_what_they_asked_to_be() {
        let (usual, idle) = (libc::SCHED_OTHER.to_string(), libc::SCHED_IDLE.to_string());
        assert_eq!(on_a_thread(|| last().map(|()| found().0)).unwrap(), idle);
        assert_eq!(on_a_thread(|| little().map(|()| found())).unwrap(), (usual.clone(), NICE.to_string()));
        // What a prompt thread starts is not, or a compile would inherit it.
        let (own, started) = on_a_thread(|| prompt().map(|()| (found(), on_a_thread(found)))).unwrap();
        assert_eq!((own.0, started.0), (usual.clone(), usual.clone()));
        // What gives way hands that on.
        assert_eq!(on_a_thread(|| last().map(|()| on_a_thread(found).0)).unwrap(), idle);
        assert_eq!(found().0, usual, "this thread has asked for nothing");
    }
}
