//! Time as a parameter.
//!
//! Whoever needs the time is given a [`Clock`]. The system's is the real one; a test's stands still until
//! it is told to move, so that a two-hour retry is tested in a millisecond. Sockets alone keep real time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A source of time. Cheap to clone; clones of a test clock move together.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<watch::Sender<Timestamp>>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn test(start: Timestamp) -> Self {
        Self(Some(Arc::new(watch::Sender::new(start))))
    }

    /// The time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |clock| *clock.borrow())
    }

    /// Moves a test clock and wakes whoever waits for a time that has come. The machine's is left alone.
    ///
    /// Returns the new time.
    pub fn advance(&self, by: Duration) -> Timestamp {
        if let Some(clock) = &self.0 {
            clock.send_modify(|now| *now = later(*now, by));
        }
        self.now()
    }

    /// Waits until the clock shows `until` or later.
    pub async fn sleep_until(&self, until: Timestamp) {
        match &self.0 {
            None => {
                let wait = until.duration_since(self.now());
                if let Ok(wait) = Duration::try_from(wait) {
                    tokio::time::sleep(wait).await;
                }
            }
            Some(clock) => {
                // An error would mean that the sender is gone, and `self` holds it.
                let _ = clock.subscribe().wait_for(|now| *now >= until).await;
            }
        }
    }

    /// Waits this long.
    pub async fn sleep(&self, wait: Duration) {
        self.sleep_until(later(self.now(), wait)).await;
    }

    /// Runs `work`, at most this long by this clock.
    ///
    /// # Errors
    /// [`Elapsed`] if it took longer; the work is dropped.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep(limit) => Err(Elapsed),
        }
    }
}

/// A time limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit ran out")]
pub struct Elapsed;

/// `at` plus `by`, at most the end of time.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// The time from `earlier` to `now`; zero if the clock went backwards.
#[must_use]
pub fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_clock_moves_only_when_told() {
        let clock = Clock::test("2026-01-01T00:00:00Z".parse().unwrap());
        let start = clock.now();
        let waiter = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(7200)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(7199));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiter.await.unwrap(), later(start, Duration::from_secs(7200)));
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        assert_eq!(later(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }
}
