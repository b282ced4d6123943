//! How short the processor is, and how much longer those wait who use most of it.
//!
//! What one tenant does is felt by another long before the last of the processor is used up: each of its attempts is
//! one more that others queue behind. So whoever uses most leaves gaps, as long as it takes for the workers to be idle
//! for a part of their time. **Who acts.** `pipeline` leaves gaps between the attempts of a tenant that has thousands
//! waiting while others are there. **What is promised.** Where workers are idle there are no gaps. **What is deliberately not.** No clock of the
//! gateway: this is about the machine, and a test that stops the time must not stop the work.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How often it looks at the workers.
const LOOK: Duration = Duration::from_millis(20);
/// The share of their time that workers may be busy before somebody is slowed down.
const BUSY: f64 = 0.5;
/// By how much a gap grows at once, and how far.
const STEP: Duration = Duration::from_micros(500);
const LONGEST: Duration = Duration::from_millis(5);

/// See the file's essay. One for all that share the workers.
#[derive(Debug)]
pub(super) struct Pressure(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    busy: Duration,
    gap: Duration,
}

impl Default for Pressure {
    fn default() -> Self {
        Self(Mutex::new(Seen { at: Instant::now(), busy: Duration::ZERO, gap: Duration::ZERO }))
    }
}

impl Pressure {
    /// The gap as it was found last.
    pub(super) fn last(&self) -> Duration {
        self.0.lock().gap
    }

    /// What someone who uses most leaves before it goes on; at most 5 ms.
    ///
    /// # Panics
    /// Outside of tokio's workers.
    pub(super) fn gap(&self) -> Duration {
        let mut seen = self.0.lock();
        let passed = seen.at.elapsed();
        if passed >= LOOK {
            let workers = Handle::current().metrics();
            let count = workers.num_workers();
            let busy = (0..count).map(|worker| workers.worker_total_busy_duration(worker)).sum::<Duration>();
            let share = busy.saturating_sub(seen.busy).as_secs_f64() / (passed.as_secs_f64() * count.max(1) as f64);
            (seen.at, seen.busy, seen.gap) = (Instant::now(), busy, next(seen.gap, share));
        }
        seen.gap
    }
}

/// The gap that follows, given how busy the workers were with this one: it grows at once and shrinks slowly, so that it
/// comes to rest where they are just not too busy.
fn next(gap: Duration, share: f64) -> Duration {
    if share > BUSY { (gap.mul_f64(1.25) + STEP).min(LONGEST) } else { gap.mul_f64(0.9).saturating_sub(STEP / 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_grows_while_workers_are_busy_and_goes_when_they_are_not() {
        let busy = std::iter::successors(Some(Duration::ZERO), |gap| Some(next(*gap, 0.9)));
        let gaps: Vec<Duration> = busy.take(40).collect();
        assert!(gaps.is_sorted() && gaps[1] == STEP && gaps[39] == LONGEST, "{gaps:?}");
        let idle = std::iter::successors(Some(LONGEST), |gap| Some(next(*gap, 0.3)));
        let gaps: Vec<Duration> = idle.take(80).collect();
        assert!(gaps.is_sorted_by(|a, b| a >= b) && gaps[10] > STEP && gaps[79].is_zero(), "{gaps:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn idle_workers_slow_nobody_down() {
        let pressure = Pressure::default();
        assert!(pressure.gap().is_zero());
    }
}
