//! How busy the gateway's workers are, and how much that leaves to those who come last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How often it looks at them.
const LOOK: Duration = Duration::from_millis(10);
/// The share of the machine's time that those who come last have together where workers are busy. The kernel takes a core
/// from them at once, but a delivery has half a dozen steps, and at each it takes longer to be given a core that computes
/// than one that is idle: of two cores, one so computes for a quarter of the time.
const LAST: f64 = 1.0 / 8.0;
/// How busy workers are from where on that is so; those who come last have more where they are less busy. Where they have
/// the machine to themselves their own events keep workers busy for less than a hundredth.
const BUSY: f64 = 0.15;

/// The workers of one runtime.
#[derive(Debug)]
pub struct Workers {
    runtime: Handle,
    seen: Mutex<Seen>,
    /// Threads that come last, for now.
    last: AtomicUsize,
}

/// A thread that comes last, until this is dropped.
#[derive(Debug)]
pub struct Last<'a>(&'a Workers);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.last.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    busy: Duration,
    share: f64,
}

impl Workers {
    /// Those that run the caller.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn of_caller() -> Self {
        let runtime = Handle::current();
        let busy = busy(&runtime);
        let seen = Mutex::new(Seen { at: Instant::now(), busy, share: 0.0 });
        Self { runtime, seen, last: AtomicUsize::new(0) }
    }

    /// Some that never have a moment.
    #[cfg(test)]
    pub(crate) fn always_busy() -> Self {
        let workers = Self::of_caller();
        let never_looked_at = Instant::now() + Duration::from_secs(3600);
        *workers.seen.lock() = Seen { at: never_looked_at, busy: Duration::ZERO, share: 1.0 };
        workers
    }

    /// The share of their time for which they were busy, 0 to 1, as it was 10 ms ago at most if somebody asks all the
    /// time; else since it was asked last.
    #[must_use]
    pub fn share(&self) -> f64 {
        let mut seen = self.seen.lock();
        let passed = seen.at.elapsed();
        if passed >= LOOK {
            let busy = busy(&self.runtime);
            let of_all = passed.as_secs_f64() * self.cores() as f64;
            let share = busy.saturating_sub(seen.busy).as_secs_f64() / of_all;
            *seen = Seen { at: Instant::now(), busy, share };
        }
        seen.share
    }

    /// One thread more comes last from now on: the more there are, the longer each of them rests.
    #[must_use]
    pub fn last(&self) -> Last<'_> {
        self.last.fetch_add(1, Ordering::Relaxed);
        Last(self)
    }

    /// How long each of those who come last is to rest after it has run for so long: not at all where nobody else has
    /// anything to do, and so that they have an eighth of the machine together where workers are busy.
    #[must_use]
    pub fn rest(&self, ran: Duration) -> Duration {
        rest(ran, self.share(), self.last.load(Ordering::Relaxed) as f64 / self.cores() as f64)
    }

    /// As many as there are workers.
    fn cores(&self) -> usize {
        self.runtime.metrics().num_workers().max(1)
    }
}

fn busy(runtime: &Handle) -> Duration {
    let workers = runtime.metrics();
    (0..workers.num_workers()).map(|worker| workers.worker_total_busy_duration(worker)).sum()
}

/// `last`: how many there are for each core.
fn rest(ran: Duration, share: f64, last: f64) -> Duration {
    let most = (last / LAST - 1.0).max(0.0);
    ran.mul_f64(most * (share / BUSY).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_last_rests_for_those_who_are_there() {
        let ran = Duration::from_millis(10);
        for (share, last, millis) in [
            (0.0, 1.0, 0),
            (0.075, 0.5, 15),
            (0.15, 0.5, 30),
            (1.0, 0.5, 30),
            (1.5, 0.5, 30),
            // All of the machine for an eighth of the time.
            (1.0, 1.0, 70),
            (1.0, 2.0, 150),
            // One of sixteen is less than they may have.
            (1.0, 1.0 / 16.0, 0),
        ] {
            assert_eq!(rest(ran, share, last).as_millis(), millis, "{share} {last}");
        }
    }

    #[tokio::test]
    async fn the_more_come_last_the_longer_each_rests() {
        let (workers, ran) = (Workers::always_busy(), Duration::from_millis(1));
        let first = workers.last();
        let alone = workers.rest(ran);
        let others = [workers.last(), workers.last(), workers.last()];
        assert!(workers.rest(ran) > 3 * alone);
        drop(others);
        assert_eq!(workers.rest(ran), alone);
        drop(first);
        assert_eq!(workers.rest(ran), Duration::ZERO);
    }

    #[test]
    fn workers_are_busy_while_they_compute() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let workers = tokio::spawn(async { Workers::of_caller() }).await.unwrap();
            let share_while = async |computes: bool| {
                let before = busy(&workers.runtime);
                *workers.seen.lock() = Seen { at: Instant::now(), busy: before, share: 0.0 };
                tokio::spawn(async move {
                    let begun = Instant::now();
                    while begun.elapsed() < 5 * LOOK {
                        if !computes {
                            tokio::time::sleep(LOOK).await;
                        }
                    }
                })
                .await
                .unwrap();
                // A worker says what it did when it next has nothing to do. No deadline: one that never says it is what
                // this test is against.
                while computes && busy(&workers.runtime) < before + 5 * LOOK {
                    std::thread::yield_now();
                }
                workers.share()
            };
            let (computing, sleeping) = (share_while(true).await, share_while(false).await);
            assert!(computing > 2.0 * sleeping && computing > 0.2, "{computing} and {sleeping}");
            assert!(workers.share() == sleeping, "it was looked at a moment ago");
        });
    }
}
