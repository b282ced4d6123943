//! `hookmill bench --pending N`: what a gateway does that comes back to a large queue.
//!
//! N events are posted in batches to a paused subscription, which is then resumed; the gateway is killed at once and
//! started again on the same store. Measured is how soon it is ready and in how much memory, when the first delivery
//! arrives, and how fast the rest does. **What is promised.** Every acknowledged event is looked for; the bench fails
//! unless each of them arrived and nothing else did. **What is deliberately not.** The queue is one lane, the worst case
//! for reading it and the usual one after an outage of an endpoint.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::child::Process;
use super::figures::{lines, mebibytes};
use super::ledger::{Stamp, Stopwatch};
use super::load;
use super::machine::Machine;
use super::run::{drain, per, per_delivery};
use super::{Bench, Stage};
use crate::cli::client::Api;
use crate::cli::patience::Patience;
use crate::domain::Secret;

/// Events in one request.
const BATCH: usize = 500;
/// Connections that post them.
const POSTING: usize = 8;
/// How long a batch that was refused waits.
const REST: Duration = Duration::from_millis(20);

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Comeback {
    pub(super) machine: Machine,
    /// Events that were accepted, each for one delivery.
    pub(super) posted: u64,
    /// Deliveries that were pending when the gateway was killed, and were not sent before.
    pub(super) pending: u64,
    /// How fast their events were accepted.
    pub(super) accepted_per_s: f64,
    /// Bytes of the store on disk.
    pub(super) store_bytes: u64,
    /// From starting the process to its being ready, in seconds.
    pub(super) ready_s: f64,
    /// Resident memory of the process when it was ready.
    pub(super) ready_memory_bytes: u64,
    /// From its being ready to the arrival of the first delivery, in seconds; 0 if that came before.
    pub(super) first_delivery_s: f64,
    /// From its being ready to the arrival of the last delivery, in seconds.
    pub(super) drained_s: f64,
    pub(super) drained_per_s: f64,
    pub(super) gateway_cpu_us_per_delivery: f64,
    pub(super) gateway_peak_memory_bytes: u64,
    /// Distinct deliveries that arrived, also before the kill.
    pub(super) delivered: u64,
    pub(super) lost: u64,
    /// Deliveries that arrived again: those that were under way when the gateway was killed.
    pub(super) duplicated: u64,
}

impl Comeback {
    /// Why the run is no success.
    pub(super) fn shortfall(&self) -> Option<String> {
        let Self { posted, delivered, lost, .. } = self;
        let short = posted != delivered || *lost > 0;
        short.then(|| format!("{posted} events were accepted, {delivered} different ones arrived, {lost} are missing"))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        lines(&[
            ("machine", self.machine.line()),
            ("pending", format!("{} deliveries, accepted at {:.0} events/s", self.pending, self.accepted_per_s)),
            ("store", format!("{} MiB on disk", mebibytes(self.store_bytes))),
            ("ready", format!("in {:.2} s, with {} MiB", self.ready_s, mebibytes(self.ready_memory_bytes))),
            ("first delivery", format!("{:.3} s after ready", self.first_delivery_s)),
            ("drained", format!("in {:.1} s, {:.0} deliveries/s", self.drained_s, self.drained_per_s)),
            ("gateway CPU", format!("{:.0} us per delivery", self.gateway_cpu_us_per_delivery)),
            ("gateway memory", format!("{} MiB at most", mebibytes(self.gateway_peak_memory_bytes))),
            ("deliveries", format!("{} arrived, {} lost, {} duplicated", self.delivered, self.lost, self.duplicated)),
        ])
    }
}

impl Bench {
    /// Makes the queue, has the gateway come back to it, and draws up the account.
    pub(super) async fn come_back(&self, events: usize) -> anyhow::Result<Comeback> {
        let stage = Stage::set(self.store_dir.as_deref(), usize::from(self.fan_out)).await?;
        let (watch, ledger) = (stage.watch, &*stage.ledger);
        let gateway = stage.start().await?;
        let key = self.set_up(&gateway, &stage).await?;
        let mut api = Api::new(gateway.address, key.clone());
        let subscriptions = api.list("/v1/subscriptions?limit=100").await?;
        let id = subscriptions.first().and_then(|one| one["id"].as_str()).context("the subscription is missing")?;
        let path = format!("/v1/subscriptions/{id}");
        api.post(&format!("{path}/pause"), "").await?;
        let began = Instant::now();
        self.post_all(&gateway, &key, watch, events).await?;
        let accepted_per_s = per(events, began.elapsed().as_secs_f64());
        api.post(&format!("{path}/resume"), "").await?;
        gateway.kill().await?;
        let before = ledger.delivered();
        let store_bytes = size_of(&stage.data().join("sled"))?;

        let starting = watch.now();
        let gateway = stage.start().await?;
        let (ready, ready_memory_bytes) = (watch.now(), gateway.memory()?);
        drain(ledger, 0..events).await;
        let arrivals = ledger.arrivals_from(starting);
        let since_ready = |at: u64| Duration::from_micros(at.saturating_sub(ready)).as_secs_f64();
        let drained_s = since_ready(arrivals.last);
        let comeback = Comeback {
            machine: Machine::read(),
            posted: events as u64,
            pending: (events as u64).saturating_sub(before),
            accepted_per_s,
            store_bytes,
            ready_s: Duration::from_micros(ready - starting).as_secs_f64(),
            ready_memory_bytes,
            first_delivery_s: since_ready(arrivals.first),
            drained_s,
            drained_per_s: per(arrivals.count, drained_s),
            gateway_cpu_us_per_delivery: per_delivery(gateway.cpu_time()?, arrivals.count as u64),
            gateway_peak_memory_bytes: gateway.peak_memory()?,
            delivered: ledger.delivered(),
            lost: ledger.missing(0..events),
            duplicated: ledger.duplicated(),
        };
        gateway.stop().await?;
        Ok(comeback)
    }

    /// Posts so many events in batches, each until it has been accepted.
    async fn post_all(&self, gateway: &Process, key: &Secret, watch: Stopwatch, events: usize) -> anyhow::Result<()> {
        let patience = Patience::count("posting", events as u64);
        let (next, posted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (address, size) = (gateway.address, self.size as usize);
        let mut posting = JoinSet::new();
        for _ in 0..POSTING {
            let (next, posted, mut api) = (next.clone(), posted.clone(), Api::new(address, key.clone()));
            posting.spawn(async move {
                let padding = "x".repeat(size);
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= events {
                        return anyhow::Ok(());
                    }
                    let batch: Vec<String> = (from..events.min(from + BATCH))
                        .map(|number| load::event(size, Stamp { number, sent: watch.now() }, &padding))
                        .collect();
                    post_batch(&mut api, &batch).await?;
                    posted.fetch_add(batch.len(), Ordering::Relaxed);
                }
            });
        }
        loop {
            tokio::select! {
                done = posting.join_next() => match done {
                    Some(done) => done??,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            patience.at(posted.load(Ordering::Relaxed) as u64);
        }
    }
}

/// Posts a batch until all of it has been accepted. Each event has an id, so that one that was accepted before a
/// refusal of the rest is not accepted again.
async fn post_batch(api: &mut Api, batch: &[String]) -> anyhow::Result<()> {
    let body = format!("[{}]", batch.join(","));
    // A minute's worth of refusals: a gateway that writes at all has taken it by then.
    for _ in 0..3_000 {
        match api.try_post("/v1/events", body.clone()).await? {
            (StatusCode::ACCEPTED, receipt) if receipt["accepted"] == json!(batch.len()) => return Ok(()),
            (StatusCode::SERVICE_UNAVAILABLE, _) => tokio::time::sleep(REST).await,
            (status, receipt) => bail!("a batch of events was answered {status}: {receipt}"),
        }
    }
    bail!("a batch of events was refused with 503 for a minute")
}

/// Bytes of the files in a folder.
pub(super) fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))? {
        let meta = entry?.metadata()?;
        sum += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_was_posted_must_arrive() {
        let comeback = Comeback {
            machine: Machine { cores: 2, cpu: "A CPU".to_owned(), kernel: "6.1".to_owned() },
            posted: 10,
            pending: 9,
            accepted_per_s: 1.0,
            store_bytes: 0,
            ready_s: 0.1,
            ready_memory_bytes: 0,
            first_delivery_s: 0.1,
            drained_s: 1.0,
            drained_per_s: 9.0,
            gateway_cpu_us_per_delivery: 1.0,
            gateway_peak_memory_bytes: 0,
            delivered: 10,
            lost: 0,
            duplicated: 3,
        };
        assert_eq!(comeback.shortfall(), None);
        for (delivered, lost) in [(9, 1), (11, 0), (0, 10)] {
            let shortfall = Comeback { delivered, lost, ..comeback.clone() }.shortfall();
            let says = format!("10 events were accepted, {delivered} different ones arrived, {lost} are missing");
            assert_eq!(shortfall, Some(says));
        }
    }
}
