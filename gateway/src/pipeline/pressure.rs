//! How short the processor is, and how much longer those wait who use most of it, or use it for nothing.
//!
//! What one tenant does is felt by another long before the last of the processor is used up: each of its attempts is
//! one more that others queue behind. So whoever has most to do leaves gaps, as long as it takes for the workers to be
//! idle for a part of their time, and whoever does nothing of use leaves them as soon as they are not idle. And what a
//! tenant posts faster than it can be delivered only piles up: the answer comes later then, so that the processor is left
//! to what was posted before. **Who acts.** `pipeline` leaves gaps between attempts that are held back for others
//! (`lanes` says which), and before its answers to a tenant that has hundreds waiting. **What is promised.** Where workers
//! are idle there are no gaps, and no answer waits for longer than 10 ms. **What is deliberately not.** No clock of the
//! gateway: this is about the machine, and a test that stops the time must not stop the work.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::lanes::HeldBack;
use crate::priority::Workers;

/// How often it looks at the workers.
const LOOK: Duration = Duration::from_millis(10);
/// The share of their time that workers may be busy before somebody is slowed down, and the one below which nobody needs
/// to be. Were they one, gaps would go to nothing again and again, and what then came at once would be felt.
const BUSY: f64 = 0.5;
const CALM: f64 = 0.35;
/// The share from which on the processor is short for those too who have it to themselves.
const SHORT: f64 = 0.85;
/// The share from which on what comes to nothing is slowed down, and the one at which it leaves the longest gaps: whatever
/// it takes is lost to those whose work comes to something. It then begins some two hundred a second.
const LITTLE: f64 = 0.1;
const ENOUGH: f64 = 0.25;
const LONGEST_OF_NOTHING: Duration = Duration::from_millis(20);
/// How much later an answer comes for each delivery that waits, and how far.
const FOR_EACH: Duration = Duration::from_micros(10);
const LATEST: Duration = Duration::from_millis(10);
/// By how much a gap grows at once, and how far.
const STEP: Duration = Duration::from_micros(500);
const LONGEST: Duration = Duration::from_millis(5);

/// See the file's essay. One for all that share the workers.
#[derive(Debug)]
pub(super) struct Pressure {
    workers: Workers,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    share: f64,
    gap: Duration,
}

impl Pressure {
    /// Of the workers that run the caller.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new() -> Self {
        let seen = Seen { at: Instant::now(), share: 0.0, gap: Duration::ZERO };
        Self { workers: Workers::of_caller(), seen: Mutex::new(seen) }
    }

    /// Looks at the workers, if it is time.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock();
        if seen.at.elapsed() >= LOOK {
            let share = self.workers.share();
            *seen = Seen { at: Instant::now(), share, gap: next(seen.gap, share) };
        }
        seen
    }

    /// The gap as it was found last.
    pub(super) fn last(&self) -> Duration {
        self.seen.lock().gap
    }

    /// What someone who is held back leaves before it goes on; at most 20 ms.
    pub(super) fn gap(&self, held_back: HeldBack) -> Duration {
        let seen = self.look();
        match held_back {
            HeldBack::HasMost => seen.gap,
            HeldBack::ComesToNothing => seen.gap.max(of_nothing(seen.share)),
        }
    }

    /// How much later the answer comes to whoever has so many deliveries waiting in memory; at most 10 ms.
    pub(super) fn delay(&self, waiting: usize) -> Duration {
        let delay = FOR_EACH.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX)).min(LATEST);
        // What the timer can't tell from nothing.
        if delay < Duration::from_millis(1) {
            return Duration::ZERO;
        }
        if self.look().share > SHORT { delay } else { Duration::ZERO }
    }
}

/// The gap that follows, given how busy the workers were with this one: it grows at once and shrinks slowly, so that it
/// comes to rest where they are just not too busy.
fn next(gap: Duration, share: f64) -> Duration {
    if share > BUSY {
        (gap.mul_f64(1.25) + STEP).min(LONGEST)
    } else if share < CALM {
        gap.mul_f64(0.95).saturating_sub(STEP / 20)
    } else {
        gap
    }
}

/// The gap between attempts that come to nothing, given how busy the workers are.
fn of_nothing(share: f64) -> Duration {
    LONGEST_OF_NOTHING.mul_f64(((share - LITTLE) / (ENOUGH - LITTLE)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_nothing_leaves_gaps_before_others_must() {
        let most = LONGEST_OF_NOTHING;
        let pressure = [0.0, LITTLE, f64::midpoint(LITTLE, ENOUGH), ENOUGH, 1.0];
        assert_eq!(pressure.map(of_nothing), [Duration::ZERO, Duration::ZERO, most / 2, most, most]);
    }

    #[test]
    fn a_gap_grows_while_workers_are_busy_and_goes_when_they_are_not() {
        let busy = std::iter::successors(Some(Duration::ZERO), |gap| Some(next(*gap, 0.9)));
        let gaps: Vec<Duration> = busy.take(40).collect();
        assert!(gaps.is_sorted() && gaps[1] == STEP && gaps[39] == LONGEST, "{gaps:?}");
        let idle = std::iter::successors(Some(LONGEST), |gap| Some(next(*gap, 0.3)));
        let gaps: Vec<Duration> = idle.take(160).collect();
        assert!(gaps.is_sorted_by(|a, b| a >= b) && gaps[20] > STEP && gaps[159].is_zero(), "{gaps:?}");
        assert_eq!(next(STEP, f64::midpoint(CALM, BUSY)), STEP, "it stays where it does no harm");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn idle_workers_slow_nobody_down() {
        let pressure = Pressure::new();
        for held_back in [HeldBack::HasMost, HeldBack::ComesToNothing] {
            assert!(pressure.gap(held_back).is_zero());
        }
        assert!(pressure.delay(usize::MAX).is_zero());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_much_waiting_is_answered_later() {
        let pressure = Pressure::new();
        pressure.seen.lock().share = 1.0;
        for (waiting, millis) in [(0, 0), (99, 0), (100, 1), (500, 5), (1_000, 10), (usize::MAX, 10)] {
            pressure.seen.lock().at = Instant::now();
            assert_eq!(pressure.delay(waiting), Duration::from_millis(millis), "{waiting}");
        }
    }
}
