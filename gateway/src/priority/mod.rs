//! Who runs first where more have something to do than the machine has cores: what the kernel is asked for, and what
//! work that takes long does by itself.
//!
//! What somebody waits for takes microseconds, a plugin that is slow or a compile takes milliseconds and seconds. If the
//! kernel treats them alike, the former wait for the latter at each of a delivery's half a dozen steps, for as long as
//! the kernel leaves a thread on a core: 1.4 to 3 ms, a lower priority notwithstanding (since Linux 6.6). **Who acts.** A
//! thread asks for itself, when it starts: the gateway's workers and the store's committer to be [`prompt`], slow calls
//! and compiles to be [`last`], those of them that the machine leaves nothing to have [`little`]. Who comes last rests
//! between, the more the busier the [`Workers`] are. What may take long on a worker goes on in [`Slices`]. **What is
//! promised.** Nothing breaks where the kernel refuses or is too old: then others are felt more. **What is deliberately
//! not.** What needs privileges, such as a priority above that of other programs.

mod workers;

use std::io;
use std::time::{Duration, Instant};

use rustix::process::nice;
use rustix::thread::nanosleep;
use rustix::time::Timespec;

pub use self::workers::{Last, Workers};

/// The kernel's steps by which those are lower that have little: where all cores are busy, about a tenth of what one of
/// the gateway's workers has.
const NICE: i32 = 10;
/// The most steps there are: one part in seventy.
const LOWEST: i32 = 19;

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
    ask(libc::SCHED_FLAG_RESET_ON_FORK, 0, SHORT)
}

/// The calling thread, and those that it starts later, have what others leave of a core, and next to nothing of one that
/// others want: whoever is [`prompt`] takes it from them at once. It can't be taken back.
///
/// Not `SCHED_IDLE`: a group (`sched_autogroup`, or a service's control group) counts for what is in it, and for
/// so little where only such a thread is, that the kernel's own threads were now and then left waiting for up to a second
/// once another came to it (Linux 6.18).
///
/// # Errors
/// If the kernel forbids even that.
pub fn last() -> io::Result<()> {
    low(LOWEST)
}

/// The calling thread, and those that it starts later, have a tenth of a core that others want.
///
/// # Errors
/// If the kernel forbids even that.
pub fn little() -> io::Result<()> {
    low(NICE)
}

fn low(by: i32) -> io::Result<()> {
    // On Linux `nice` is about this thread only, too.
    ask(0, by, LONG).or_else(|_| nice(by).map(drop).map_err(io::Error::from))
}

/// How long work that comes [`last`] leaves its core to whoever there is. The kernel's own threads need it: those that
/// end a write to the disk were seen to wait for 150 ms without, by what a group counts for, as said there.
const GAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000 };

/// Leaves the core to others for a moment. What comes [`last`] and goes on for long does so every millisecond.
pub fn leave() {
    // A system call and nothing else, not even `errno`: a signal's handler may make it anywhere. Cut short, it has left.
    let _ = nanosleep(&GAP);
}

/// The same for longer.
pub fn leave_for(rest: Duration) {
    let rest = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: i64::from(rest.subsec_nanos()) };
    let _ = nanosleep(if rest > GAP { &rest } else { &GAP });
}

/// From now on every thread of this process [leaves](leave) its core whenever a tick of the kernel's finds it there, each
/// few milliseconds: for work that comes [`last`] and can't be asked to, such as a compile.
///
/// # Errors
/// If the kernel refuses the timer.
pub fn leave_each_tick() -> io::Result<()> {
    extern "C" fn handle(_signal: libc::c_int) {
        leave();
    }
    // What the process has used is looked at with each tick, and is then behind by thousands (`check_cpu_itimer` in the
    // kernel's sources): it ends on every core at once, where one of a millisecond would end for the first that looks.
    let each = libc::timeval { tv_sec: 0, tv_usec: 1 };
    let timer = libc::itimerval { it_interval: each, it_value: each };
    let handler: extern "C" fn(libc::c_int) = handle;
    #[expect(unsafe_code, reason = "neither the standard library nor rustix sets signal handlers or such timers")]
    // SAFETY: both structs are whole, a set of signals that is all zeros is empty, and the handler does only what a
    // handler may (signal-safety(7)).
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut())
            | libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

    /// It begins, however long it takes a busy machine to go on with it.
    #[cfg(test)]
    pub(crate) fn endless() -> Self {
        Self(Instant::now() + Duration::from_secs(3_600))
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

fn ask(flags: i32, nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: const { size_of::<libc::sched_attr>() as u32 },
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
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
    fn found() -> (i32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Fields 41 and 19 of proc_pid_stat(5); the third is the first after the name.
        (fields[41 - 3].parse().unwrap(), fields[19 - 3].parse().unwrap())
    }

    fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    /// How often the calling thread has slept or waited.
    fn times_left() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let left = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        left.trim().parse().unwrap()
    }

    #[test]
    fn threads_that_compute_without_end_leave_their_cores_each_tick() {
        const ALONE: &str = "HOOKMILL_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            // The timer is the whole process's, and other tests count their time.
            let this = "priority::tests::threads_that_compute_without_end_leave_their_cores_each_tick";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            assert!(alone.args([this, "--exact"]).env(ALONE, "1").status().unwrap().success());
            return;
        }
        leave_each_tick().unwrap();
        let until_left = || {
            let before = times_left();
            // No deadline, which would only say how busy the machine is: without the timer this never ends.
            while times_left() < before + 5 {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(5) {}
            }
        };
        std::thread::scope(|scope| {
            [scope.spawn(until_left), scope.spawn(until_left)].map(|thread| thread.join().unwrap())
        });
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
        let usual = found();
        assert_eq!(on_a_thread(|| last().map(|()| found())).unwrap(), (libc::SCHED_OTHER, LOWEST));
        assert_eq!(on_a_thread(|| little().map(|()| found())).unwrap(), (libc::SCHED_OTHER, NICE));
        // What a prompt thread starts is not, or a compile would inherit it.
        let (own, started) = on_a_thread(|| prompt().map(|()| (found(), on_a_thread(found)))).unwrap();
        assert_eq!((own, started), (usual, usual));
        // What gives way hands that on.
        assert_eq!(on_a_thread(|| last().map(|()| on_a_thread(found))).unwrap(), (libc::SCHED_OTHER, LOWEST));
        assert_eq!(found(), usual, "this thread has asked for nothing");
    }
}
