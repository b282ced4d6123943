//! How short the processor is, and how much longer those wait who have most to do.
//!
//! What one tenant does is felt by another long before the last of the processor is used up: each of its attempts is
//! one more that others queue behind. So while others are there, who has more waiting than all of them together goes
//! on only as fast as leaves the workers idle for a part of the time. **What is promised.** A tenant that is alone is
//! not slowed down. **What is deliberately not.** No clock of the pipeline: this is about the machine, and a test that
//! stops the time must not stop the work.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How often it looks at the workers.
const LOOK: Duration = Duration::from_millis(20);
/// The share of their time that workers may be busy before somebody is slowed down.
const BUSY: f64 = 0.6;
/// By how much a gap grows at once, and how far.
const STEP: Duration = Duration::from_micros(500);
const LONGEST: Duration = Duration::from_millis(5);

/// See the file's essay.
pub(super) struct Pressure(Mutex<Seen>);

struct Seen {
    at: Instant,
    busy: Duration,
    gap: Duration,
}

impl Pressure {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Seen { at: Instant::now(), busy: Duration::ZERO, gap: Duration::ZERO }))
    }

    /// The gap as it was found last.
    pub(super) fn last(&self) -> Duration {
        self.0.lock().gap
    }

    /// What someone who has most to do leaves between two attempts.
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
        let pressure = Pressure::new();
        assert!(pressure.gap().is_zero());
    }
}
