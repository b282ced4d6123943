//! One run: warm-up, load, the last deliveries, and the account of it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Bench;
use super::child::Process;
use super::figures::{Figures, Spread};
use super::ledger::{Ledger, Stopwatch};
use super::load::{Answer, End, Load, Posted};
use super::machine::{self, Machine};
use crate::cli::patience::Patience;
use crate::domain::Secret;

/// How long nothing may arrive before what is missing counts as lost.
const SILENCE: Duration = Duration::from_secs(15);

impl Bench {
    /// Makes the load, waits for its deliveries, and draws up the account.
    pub(super) async fn load(
        &self,
        gateway: &Process,
        key: Secret,
        watch: Stopwatch,
        ledger: &Ledger,
    ) -> anyhow::Result<Figures> {
        let begins = watch.now();
        let from = begins.saturating_add(micros(self.warmup));
        let end = match self.events {
            Some(events) => End::After(events),
            None => End::At(from.saturating_add(micros(self.duration))),
        };
        let load = Load {
            address: gateway.address,
            key,
            connections: usize::from(self.connections),
            rate: self.per_second(),
            size: self.size as usize,
            first: 0,
            begins,
            measured_from: from,
            end,
        };
        let progress = Arc::new(AtomicU64::new(0));
        let working = AbortOnDrop(tokio::spawn(load.run(watch, progress.clone())));
        tokio::time::sleep(self.warmup).await;
        let (cpu_before, own_before, delivered_before) =
            (gateway.cpu_time()?, machine::cpu_time(std::process::id())?, ledger.delivered());
        let posted = self.watch_load(working, watch, from, &progress).await?;
        let until = match end {
            End::At(end) => end,
            End::After(_) => watch.now(),
        };
        let acknowledged = posted.iter().filter(|posted| posted.answer == Answer::Acknowledged);
        let drained_s = drain(ledger, acknowledged.clone().map(|posted| posted.number)).await;
        // What is settled behind the last delivery is part of its cost.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let gateway_cpu = gateway.cpu_time()?.saturating_sub(cpu_before);
        let bench_cpu = machine::cpu_time(std::process::id())?.saturating_sub(own_before);
        let delivered = ledger.delivered();
        let measured_s = seconds(until.saturating_sub(from));
        let answered = |posted: &&Posted| (from..until).contains(&(posted.sent + u64::from(posted.took)));
        let measured: Vec<u32> = acknowledged
            .clone()
            .filter(|posted| (from..until).contains(&posted.sent))
            .map(|posted| posted.took)
            .collect();
        let count = |wanted: fn(&Answer) -> bool| posted.iter().filter(|posted| wanted(&posted.answer)).count() as u64;
        Ok(Figures {
            machine: Machine::read(),
            load: self.describe(),
            measured_s,
            drained_s,
            acknowledged_per_s: per(acknowledged.clone().filter(answered).count(), measured_s),
            delivered_per_s: per(ledger.arrived_within(from, until), measured_s),
            ingest_ms: Spread::of(measured),
            event_to_delivery_ms: Spread::of(ledger.times_of(None, from, until)),
            gateway_cpu_us_per_delivery: per_delivery(gateway_cpu, delivered.saturating_sub(delivered_before)),
            gateway_cpu_s: gateway_cpu.as_secs_f64(),
            bench_cpu_s: bench_cpu.as_secs_f64(),
            gateway_peak_memory_bytes: gateway.peak_memory()?,
            acknowledged: acknowledged.clone().count() as u64,
            refused: count(|answer| matches!(answer, Answer::Refused(_))),
            unanswered: count(|answer| *answer == Answer::Nothing),
            delivered,
            lost: ledger.missing(acknowledged.map(|posted| posted.number)),
            duplicated: ledger.duplicated(),
        })
    }

    /// Shows progress until the load is over.
    async fn watch_load(
        &self,
        mut working: AbortOnDrop<Vec<Posted>>,
        watch: Stopwatch,
        from: u64,
        progress: &AtomicU64,
    ) -> anyhow::Result<Vec<Posted>> {
        let steps = self.events.map_or_else(|| self.duration.as_secs(), |events| events as u64);
        let patience = Patience::count("measuring", steps);
        let warm = progress.load(Ordering::Relaxed);
        loop {
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(200), &mut working.0).await {
                return Ok(done?);
            }
            patience.at(match self.events {
                Some(_) => progress.load(Ordering::Relaxed).saturating_sub(warm),
                None => watch.now().saturating_sub(from) / 1_000_000,
            });
        }
    }
}

/// A task that does not outlive whoever waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until every delivery of these events has arrived, or nothing has for a while. Gives how long that took, in
/// seconds.
pub(super) async fn drain(ledger: &Ledger, acknowledged: impl Iterator<Item = usize> + Clone) -> f64 {
    let began = Instant::now();
    let patience = Patience::count("waiting for the last deliveries", ledger.owed(acknowledged.clone()));
    let (mut before, mut moved) = (0, began);
    loop {
        let delivered = ledger.delivered();
        patience.at(delivered);
        if delivered != before {
            (before, moved) = (delivered, Instant::now());
        }
        // Events that were not acknowledged may have arrived too, so the count alone proves nothing.
        let all = delivered >= ledger.owed(acknowledged.clone()) && ledger.missing(acknowledged.clone()) == 0;
        if all || moved.elapsed() > SILENCE {
            return began.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

pub(super) fn per(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

pub(super) fn per_delivery(cpu: Duration, deliveries: u64) -> f64 {
    if deliveries == 0 { 0.0 } else { cpu.as_secs_f64() * 1e6 / deliveries as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(per(5, 0.0), 0.0);
        assert_eq!(per(5, 2.0), 2.5);
        assert_eq!(per_delivery(Duration::from_secs(1), 0), 0.0);
        assert_eq!(per_delivery(Duration::from_millis(1), 10), 100.0);
    }
}
