//! How busy the gateway's workers are, and how much that leaves to whoever comes last.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How often it looks at them.
const LOOK: Duration = Duration::from_millis(10);
/// How many times as long as it ran whoever comes last rests where workers are busy for all of their time, and at most.
/// The kernel takes a core from it at once, but a delivery has half a dozen steps, and at each it takes longer to be
/// given a core that computes than one that is idle. So it computes for a quarter of the time at most, from where workers
/// are busy for a seventh of theirs. Where it has the machine to itself its own events keep them busy for less than a
/// hundredth.
const RESTS: f64 = 20.0;
const MOST_RESTS: f64 = 3.0;

/// The workers of one runtime.
#[derive(Debug)]
pub struct Workers {
    runtime: Handle,
    seen: Mutex<Seen>,
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
        Self { runtime, seen: Mutex::new(Seen { at: Instant::now(), busy, share: 0.0 }) }
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
            let of_all = passed.as_secs_f64() * self.runtime.metrics().num_workers().max(1) as f64;
            let share = busy.saturating_sub(seen.busy).as_secs_f64() / of_all;
            *seen = Seen { at: Instant::now(), busy, share };
        }
        seen.share
    }

    /// How long whoever comes last is to rest after it has run for so long: not at all where nobody else has anything to
    /// do, at most three times as long as it ran.
    #[must_use]
    pub fn rest(&self, ran: Duration) -> Duration {
        rest(ran, self.share())
    }
}

fn busy(runtime: &Handle) -> Duration {
    let workers = runtime.metrics();
    (0..workers.num_workers()).map(|worker| workers.worker_total_busy_duration(worker)).sum()
}

fn rest(ran: Duration, share: f64) -> Duration {
    ran.mul_f64((RESTS * share).clamp(0.0, MOST_RESTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_last_rests_for_those_who_are_there() {
        let ran = Duration::from_millis(10);
        for (share, millis) in [(0.0, 0), (0.005, 1), (0.05, 10), (0.1, 20), (0.15, 30), (1.0, 30), (1.5, 30)] {
            assert_eq!(rest(ran, share).as_millis(), millis, "{share}");
        }
    }

    #[test]
    fn workers_are_busy_while_they_compute() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let workers = tokio::spawn(async { Workers::of_caller() }).await.unwrap();
            let share_while = async |computes: bool| {
                workers.seen.lock().at = Instant::now();
                workers.seen.lock().busy = busy(&workers.runtime);
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
                workers.share()
            };
            let (computing, sleeping) = (share_while(true).await, share_while(false).await);
            assert!(computing > 2.0 * sleeping && computing > 0.05, "{computing} and {sleeping}");
            assert!(workers.share() == sleeping, "it was looked at a moment ago");
        });
    }
}
