//! How a subscription fares: computed from its newest deliveries when somebody looks.

use std::time::Duration;

use jiff::Timestamp;

use super::{Control, Error, Result};
use crate::clock::since;
use crate::domain::{Attempt, Delivery, Outcome, Status, SubscriptionId, TenantId, Trigger};
use crate::store::DeliveryFilter;

/// Most deliveries that are looked at; the newest count.
const MOST: usize = 20_000;

/// The longest window.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Into how many parts the window is cut.
const BUCKETS: u32 = 24;

/// How a subscription fares. Ratios are 0 to 1 and absent where there is nothing to divide.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// When the window begins.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Whether every delivery of the window was looked at; otherwise the newest 20,000 were.
    pub complete: bool,
    /// delivered / (delivered + failed).
    pub success_rate: Option<f64>,
    /// Deliveries with more than one attempt / all deliveries.
    pub retry_rate: Option<f64>,
    /// How long the endpoint took to answer, per attempt that was answered.
    pub latency_ms: Spread,
    /// From the event's arrival to the end of the attempt that delivered it.
    pub event_to_delivery_ms: Spread,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries given up.
    pub failed: u64,
    /// Deliveries still owed, held ones among them.
    pub pending: u64,
    /// What is measured against what is expected.
    pub health: Vec<Health>,
    /// The window in equal parts, oldest first.
    pub series: Vec<Bucket>,
}

/// Some numbers' spread, in milliseconds; absent where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// The mean.
    pub avg: Option<f64>,
    /// Half are at most this.
    pub p50: Option<f64>,
    /// 99 in 100 are at most this.
    pub p99: Option<f64>,
}

/// One measure of health.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Its name.
    pub metric: &'static str,
    /// What was measured.
    pub value: Option<f64>,
    /// What is expected.
    pub threshold: f64,
    /// Whether it is as expected; with nothing measured, it is.
    pub ok: bool,
}

/// One part of the window. Deliveries count where they were created.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// When it begins.
    pub at: Timestamp,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries given up.
    pub failed: u64,
    /// Deliveries still owed.
    pub pending: u64,
    /// Mean answer time, in milliseconds.
    pub latency_ms: Option<f64>,
}

impl Control {
    /// How a subscription fared in the time up to now. Tests do not count.
    ///
    /// # Errors
    /// If there is no such subscription, or the window is empty or longer than 30 days.
    pub async fn stats(&self, tenant: TenantId, id: SubscriptionId, window: Duration) -> Result<Stats> {
        self.subscription(tenant, id)?;
        if window < Duration::from_secs(60) || window > LONGEST {
            return Err(Error::field("", "a window is \"1m\" to \"30d\""));
        }
        let until = self.clock.now();
        let since = jiff::SignedDuration::try_from(window)
            .ok()
            .and_then(|window| until.checked_sub(window).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let filter = DeliveryFilter { subscription_id: Some(id), since: Some(since), ..Default::default() };
        let mut tally = Tally::new(since, window);
        let (mut seen, mut after) = (0, None);
        let complete = loop {
            let page = self.store.deliveries(tenant, &filter, 200, after).await?;
            for delivery in page.items.iter().filter(|delivery| delivery.trigger != Trigger::Test) {
                let attempts = match delivery.attempt_count {
                    0 => Vec::new(),
                    _ => self.store.attempts(tenant, delivery.id).await?,
                };
                tally.add(delivery, &attempts);
            }
            seen += page.items.len();
            match page.next {
                None => break true,
                Some(_) if seen >= MOST => break false,
                Some(next) => after = Some(next),
            }
        };
        Ok(tally.finish(until, complete))
    }
}

struct Tally {
    since: Timestamp,
    bucket: Duration,
    all: u64,
    retried: u64,
    latencies: Vec<f64>,
    arrivals: Vec<f64>,
    buckets: Vec<(Bucket, f64, u64)>,
}

impl Tally {
    fn new(since: Timestamp, window: Duration) -> Self {
        let bucket = window / BUCKETS;
        let empty = |at: u32| Bucket {
            at: crate::clock::later(since, bucket * at),
            delivered: 0,
            failed: 0,
            pending: 0,
            latency_ms: None,
        };
        Self {
            since,
            bucket,
            all: 0,
            retried: 0,
            latencies: Vec::new(),
            arrivals: Vec::new(),
            buckets: (0..BUCKETS).map(|at| (empty(at), 0.0, 0)).collect(),
        }
    }

    fn add(&mut self, delivery: &Delivery, attempts: &[Attempt]) {
        self.all += 1;
        self.retried += u64::from(delivery.attempt_count > 1);
        let at = since(self.since, delivery.created_at).as_nanos() / self.bucket.as_nanos().max(1);
        let last = self.buckets.len() - 1;
        let (bucket, sum, count) = &mut self.buckets[usize::try_from(at).unwrap_or(last).min(last)];
        match delivery.status {
            Status::Delivered => bucket.delivered += 1,
            Status::Failed => bucket.failed += 1,
            Status::Pending | Status::Held => bucket.pending += 1,
            Status::Dropped | Status::Cancelled => {}
        }
        for attempt in attempts.iter().filter(|attempt| attempt.trigger != Trigger::Test) {
            if attempt.response.is_some() {
                let latency = millis(attempt.duration);
                self.latencies.push(latency);
                *sum += latency;
                *count += 1;
            }
            // How old an event is that a person asked for again says nothing of how fast they arrive.
            if attempt.outcome == Outcome::Delivered && attempt.trigger != Trigger::Replay {
                self.arrivals.push(millis(attempt.since_received));
            }
        }
    }

    fn finish(self, until: Timestamp, complete: bool) -> Stats {
        let series: Vec<Bucket> = self
            .buckets
            .into_iter()
            .map(|(bucket, sum, count)| Bucket { latency_ms: ratio(sum, count as f64), ..bucket })
            .collect();
        let delivered: u64 = series.iter().map(|bucket| bucket.delivered).sum();
        let failed: u64 = series.iter().map(|bucket| bucket.failed).sum();
        let success_rate = ratio(delivered as f64, (delivered + failed) as f64);
        let retry_rate = ratio(self.retried as f64, self.all as f64);
        let latency_ms = spread(self.latencies);
        let health = vec![
            at_least("success_rate", success_rate, 0.99),
            at_most("latency_ms", latency_ms.avg, 500.0),
            at_most("retry_rate", retry_rate, 0.05),
            at_most("failed", Some(failed as f64), 0.0),
        ];
        Stats {
            since: self.since,
            until,
            complete,
            success_rate,
            retry_rate,
            latency_ms,
            event_to_delivery_ms: spread(self.arrivals),
            delivered,
            failed,
            pending: series.iter().map(|bucket| bucket.pending).sum(),
            health,
            series,
        }
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn at_least(metric: &'static str, value: Option<f64>, threshold: f64) -> Health {
    Health { metric, value, threshold, ok: value.is_none_or(|value| value >= threshold) }
}

fn at_most(metric: &'static str, value: Option<f64>, threshold: f64) -> Health {
    Health { metric, value, threshold, ok: value.is_none_or(|value| value <= threshold) }
}

/// Percentiles by nearest rank.
fn spread(mut numbers: Vec<f64>) -> Spread {
    numbers.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let at = (share * numbers.len() as f64).ceil() as usize;
        numbers.get(at.saturating_sub(1)).copied()
    };
    let sum: f64 = numbers.iter().sum();
    Spread { avg: ratio(sum, numbers.len() as f64), p50: rank(0.5), p99: rank(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        assert_eq!(spread(Vec::new()), Spread::default());
        assert_eq!(spread(vec![7.0]), Spread { avg: Some(7.0), p50: Some(7.0), p99: Some(7.0) });
        let hundred = spread((1..=100).rev().map(f64::from).collect());
        assert_eq!(hundred, Spread { avg: Some(50.5), p50: Some(50.0), p99: Some(99.0) });
    }

    #[test]
    fn an_idle_subscription_is_healthy() {
        let until = Timestamp::UNIX_EPOCH;
        let stats = Tally::new(until, Duration::from_secs(3600)).finish(until, true);
        assert_eq!(stats.success_rate, None);
        assert!(stats.health.iter().all(|health| health.ok));
        assert_eq!(stats.series.len(), 24);
    }
}
