//! The load: connections that post events, as fast as they are answered or at a rate of their own.
//!
//! With a rate the loop is open: an event has its time, and what a slow answer delays counts as latency of the
//! event and not as a pause of the generator; every event whose time falls into the run is posted, so that a rate
//! beyond the gateway's makes the run longer. Otherwise each connection posts when it has been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ledger::{Stamp, Stopwatch};
use crate::cli::client::{Connection, request};
use crate::domain::Secret;

/// How long a connection rests after an event that was not taken, so that a refusal is not answered by a flood.
const REST: Duration = Duration::from_millis(20);
/// The shortest wait of the pacemaker, since timers are no better than that, and the longest, so that it soon
/// notices the end.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(50);

/// What is posted, how, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: std::net::SocketAddr,
    pub(super) key: Secret,
    pub(super) connections: usize,
    /// Events per second; `None`: as fast as they are answered.
    pub(super) rate: Option<f64>,
    /// Bytes of each event's data.
    pub(super) size: usize,
    /// The number of the first event.
    pub(super) first: usize,
    /// When the first event is due, by the stopwatch, in microseconds.
    pub(super) begins: u64,
    /// When the warm-up is over.
    pub(super) measured_from: u64,
    pub(super) end: End,
}

/// When a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At this time by the stopwatch.
    At(u64),
    /// After so many events beyond the warm-up.
    After(usize),
}

/// One event, posted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posted {
    pub(super) number: usize,
    /// When it was sent or should have been, by the stopwatch, in microseconds.
    pub(super) sent: u64,
    /// How long its answer took from then on, in microseconds.
    pub(super) took: u32,
    pub(super) answer: Answer,
}

/// What an event was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Acknowledged,
    Refused(StatusCode),
    /// Nothing that could be read.
    Nothing,
}

/// What the connections share.
struct Shared {
    load: Load,
    watch: Stopwatch,
    next: AtomicUsize,
    /// Events beyond the warm-up.
    counted: AtomicUsize,
    /// With a rate: one permit for each event whose time has come.
    due: Option<Semaphore>,
    /// For whoever shows progress.
    progress: Arc<AtomicU64>,
}

impl Load {
    /// Runs until its end. `progress` counts events.
    pub(super) async fn run(self, watch: Stopwatch, progress: Arc<AtomicU64>) -> Vec<Posted> {
        let connections = self.connections;
        let shared = Arc::new(Shared {
            due: self.rate.map(|_| Semaphore::new(0)),
            next: AtomicUsize::new(self.first),
            load: self,
            watch,
            counted: AtomicUsize::new(0),
            progress,
        });
        let over = Arc::new(AtomicBool::new(false));
        // The pacemaker ends with this future, whether it comes to its end or is dropped.
        let _ending = Ending(over.clone());
        if let Some(rate) = shared.load.rate {
            let shared = shared.clone();
            std::thread::spawn(move || shared.pace(rate, &over));
        }
        let mut working: JoinSet<Vec<Posted>> = (0..connections).map(|_| shared.clone().post_on_one()).collect();
        let mut posted = Vec::new();
        while let Some(done) = working.join_next().await {
            posted.extend(done.unwrap_or_default());
        }
        posted
    }
}

/// One event with `size` bytes of data: the stamp, an address to redact, and as much padding as is wanted. Its id is greater
/// than those before it, as ULIDs, KSUIDs and a database's numbers are.
pub(super) fn event(size: usize, stamp: Stamp, padding: &str) -> String {
    let data = format!(r#"{{"stamp":"{}","email":"someone@example.com","padding":""#, stamp.text());
    let fill = size.saturating_sub(data.len() + 2).min(padding.len());
    format!(r#"{{"id":"bench-{:012}","type":"bench.event","data":{data}{}"}}}}"#, stamp.number, &padding[..fill])
}

/// Says that a run is over when it is dropped.
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Gives a permit when an event's time has come. A thread of its own, since tokio's timers tick by the
    /// millisecond.
    fn pace(&self, rate: f64, over: &AtomicBool) {
        let Some(due) = &self.due else { return };
        let mut given = 0_u64;
        while !over.load(Ordering::Relaxed) {
            let until_now = due_by(self.watch.now().saturating_sub(self.load.begins), rate);
            if let Ok(permits @ 1..) = usize::try_from(until_now.saturating_sub(given)) {
                due.add_permits(permits.min(Semaphore::MAX_PERMITS - due.available_permits()));
                given = until_now;
            }
            let next = self.load.begins + time_of(given, rate);
            let wait = Duration::from_micros(next.saturating_sub(self.watch.now()));
            std::thread::sleep(wait.clamp(SHORTEST, LONGEST));
        }
    }

    /// Posts on one connection until the run is over.
    async fn post_on_one(self: Arc<Self>) -> Vec<Posted> {
        let mut connection = Connection::to(self.load.address);
        let padding = "x".repeat(self.load.size);
        let mut posted = Vec::new();
        while let Some((number, sent)) = self.turn().await {
            let event = event(self.load.size, Stamp { number, sent }, &padding);
            let answer = self.post(&mut connection, event.into()).await;
            let took = u32::try_from(self.watch.now().saturating_sub(sent)).unwrap_or(u32::MAX);
            posted.push(Posted { number, sent, took, answer });
            self.progress.fetch_add(1, Ordering::Relaxed);
            if answer != Answer::Acknowledged {
                tokio::time::sleep(REST).await;
            }
        }
        posted
    }

    /// The next event's number and time; `None` if the run is over.
    async fn turn(&self) -> Option<(usize, u64)> {
        let end = match self.load.end {
            End::At(end) => self.watch.instant(end),
            End::After(_) => self.watch.instant(u64::from(u32::MAX) * 1_000),
        };
        if let Some(due) = &self.due {
            let permit = tokio::time::timeout_at(end.into(), due.acquire()).await.ok()?;
            permit.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sent = match self.load.rate {
            Some(rate) => self.load.begins + time_of((number - self.load.first) as u64, rate),
            None => self.watch.now(),
        };
        let over = match self.load.end {
            End::At(end) => sent >= end,
            End::After(most) => sent >= self.load.measured_from && self.counted.fetch_add(1, Ordering::Relaxed) >= most,
        };
        (!over).then_some((number, sent))
    }

    async fn post(&self, connection: &mut Connection, event: Bytes) -> Answer {
        let Load { address, key, .. } = &self.load;
        let Ok(request) = request(Method::POST, *address, "/v1/events", key, event) else { return Answer::Nothing };
        match connection.send(request).await {
            Ok((StatusCode::ACCEPTED, _)) => Answer::Acknowledged,
            Ok((status, _)) => Answer::Refused(status),
            Err(_) => Answer::Nothing,
        }
    }
}

/// How many events are due by this time, in microseconds, at this rate.
fn due_by(micros: u64, rate: f64) -> u64 {
    (micros as f64 * rate / 1e6).floor() as u64 + 1
}

/// When the event of this number is due, in microseconds.
fn time_of(number: u64, rate: f64) -> u64 {
    (number as f64 * 1e6 / rate).ceil() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_event_has_the_size_that_is_wanted() {
        let padding = "x".repeat(2000);
        for size in [1, 100, 1024, 2000] {
            let stamp = Stamp { number: 3, sent: 9 };
            let body = event(size, stamp, &padding);
            let event: Value = serde_json::from_str(&body).unwrap();
            let data = event["data"].to_string();
            assert_eq!(Stamp::find(body.as_bytes()), Some(stamp));
            assert_eq!(data.len(), size.max(data.len() - event["data"]["padding"].as_str().unwrap().len()), "{size}");
        }
    }

    proptest! {
        #[test]
        fn no_event_is_due_before_its_time(number in 0_u64..10_000_000, rate in 1.0_f64..100_000.0) {
            let time = time_of(number, rate);
            prop_assert!(due_by(time, rate) > number);
            // One microsecond earlier it was not, but for rounding.
            prop_assert!(time < 2 || due_by(time - 2, rate) <= number);
        }
    }
}
