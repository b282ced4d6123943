//! `hookmill bench --soak TIME`: whether anything grows in a gateway that works for long.
//!
//! A steady load, and a gateway that keeps everything for a minute only, so that what it removes it must also give
//! back. At the end of each minute stands a line: memory, bytes on disk, open files, and how long that minute's
//! deliveries took. **What is promised.** The verdict compares the last third of the minutes with the middle third,
//! each by its median; the first third is for filling up. Every acknowledged event is looked for. **What is
//! deliberately not.** Client ids are remembered for a minute too, not for a day as by default: a day's worth would
//! still be growing when the run ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use serde_json::json;

use super::backlog::size_of;
use super::figures::{Spread, lines, mebibytes, spread};
use super::load::{Answer, End, Load};
use super::machine::Machine;
use super::run::{drain, micros};
use super::{Bench, Stage};
use crate::cli::print;

/// Events per second, unless said otherwise.
const RATE: f64 = 4000.0;
const MINUTE: Duration = Duration::from_secs(60);
/// How much more than before still counts as flat: a fifth, and half for what is spread most.
const FLAT: f64 = 1.2;
const FLAT_P99: f64 = 1.5;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Soak {
    pub(super) machine: Machine,
    pub(super) load: String,
    pub(super) minutes: Vec<Minute>,
    pub(super) verdict: Vec<Verdict>,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

/// How it was at the end of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Minute {
    pub(super) memory_bytes: u64,
    pub(super) store_bytes: u64,
    pub(super) open_files: u64,
    /// Of what was sent in this minute and has arrived.
    pub(super) event_to_delivery_ms: Option<Spread>,
}

/// What became of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) measure: &'static str,
    pub(super) middle: f64,
    pub(super) last: f64,
    pub(super) flat: bool,
}

impl Minute {
    fn line(&self, number: usize) -> String {
        let Self { memory_bytes, store_bytes, open_files, event_to_delivery_ms } = self;
        let (memory, store) = (mebibytes(*memory_bytes), mebibytes(*store_bytes));
        let spread = spread(*event_to_delivery_ms);
        format!("minute {number:<4} memory {memory} MiB, store {store} MiB, {open_files} open files, {spread}")
    }
}

impl Soak {
    /// For people; the minutes have been shown as they came.
    pub(super) fn table(&self) -> String {
        let Self { acknowledged, refused, lost, duplicated, .. } = self;
        let verdict: Vec<String> = self.verdict.iter().map(Verdict::words).collect();
        lines(&[
            ("machine", self.machine.line()),
            ("load", self.load.clone()),
            ("events", format!("{acknowledged} acknowledged, {refused} refused, {lost} lost, {duplicated} duplicated")),
            ("verdict", if verdict.is_empty() { "too short for one".to_owned() } else { verdict.join("; ") }),
        ])
    }
}

impl Verdict {
    fn words(&self) -> String {
        let Self { measure, middle, last, flat } = self;
        format!("{measure} {}: {middle:.1}, then {last:.1}", if *flat { "flat" } else { "grows" })
    }
}

/// Holds the last third of the minutes against the middle one; nothing if there are fewer than three.
fn judge(minutes: &[Minute]) -> Vec<Verdict> {
    const MIB: f64 = 1024.0 * 1024.0;
    type Measure = (&'static str, fn(&Minute) -> f64, f64);
    const MEASURES: [Measure; 4] = [
        ("memory (MiB)", |minute| minute.memory_bytes as f64 / MIB, FLAT),
        ("store (MiB)", |minute| minute.store_bytes as f64 / MIB, FLAT),
        ("open files", |minute| minute.open_files as f64, FLAT),
        ("p99 (ms)", |minute| minute.event_to_delivery_ms.map_or(f64::INFINITY, |spread| spread.p99), FLAT_P99),
    ];
    let (from, until) = (minutes.len() / 3, minutes.len() * 2 / 3);
    if from == 0 {
        return Vec::new();
    }
    let judged = MEASURES.iter().map(|(measure, read, bound)| {
        let (middle, last) = (median(&minutes[from..until], read), median(&minutes[until..], read));
        Verdict { measure, middle, last, flat: last <= middle * bound }
    });
    judged.collect()
}

/// The middle one, or the higher of two.
fn median(minutes: &[Minute], read: &fn(&Minute) -> f64) -> f64 {
    let mut values: Vec<f64> = minutes.iter().map(read).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench {
    /// Works so long, in whole minutes, and looks at the end of each.
    pub(super) async fn soak(&self, time: Duration) -> anyhow::Result<Soak> {
        ensure!(time >= MINUTE, "a soak takes at least a minute");
        let rate = self.rate.unwrap_or(RATE);
        let mut stage = Stage::set(self.store_dir.as_deref(), usize::from(self.fan_out)).await?;
        for setting in ["HOOKMILL_STORE__RETENTION", "HOOKMILL_DELIVERY__DEDUPE_WINDOW"] {
            stage.settings.push((setting, "1m".to_owned()));
        }
        let (watch, ledger) = (stage.watch, &*stage.ledger);
        let gateway = stage.start().await?;
        let (mut api, key) = stage.tenant(&gateway, "Bench").await?;
        for number in 0..self.fan_out {
            let mut wanted = self.subscription(number, &stage.receiver);
            // Retries must end before what they retry is removed.
            wanted["retry_policy"] = json!({"schedule": ["0s", "5s", "15s"]});
            api.post("/v1/subscriptions", wanted.to_string()).await?;
        }
        let mut soak = Soak {
            machine: Machine::read(),
            load: Self { rate: Some(rate), ..self.clone() }.describe(),
            minutes: Vec::new(),
            verdict: Vec::new(),
            acknowledged: 0,
            refused: 0,
            lost: 0,
            duplicated: 0,
        };
        let (mut first, mut begins, mut owed) = (0, watch.now(), Vec::new());
        for number in 1..=time.as_secs() / MINUTE.as_secs() {
            let ends = begins + micros(MINUTE);
            let load = Load {
                address: gateway.address,
                key: key.clone(),
                connections: usize::from(self.connections),
                rate: Some(rate),
                size: self.size as usize,
                first,
                begins,
                measured_from: begins,
                end: End::At(ends),
            };
            let posted = load.run(watch, Arc::default()).await;
            first = posted.iter().map(|posted| posted.number + 1).max().unwrap_or(first);
            // Those of the minute before have had a minute to arrive.
            soak.lost += ledger.missing(owed.drain(..));
            owed.extend(
                posted.iter().filter(|posted| posted.answer == Answer::Acknowledged).map(|posted| posted.number),
            );
            soak.acknowledged += owed.len() as u64;
            soak.refused += (posted.len() - owed.len()) as u64;
            let minute = Minute {
                memory_bytes: gateway.memory()?,
                store_bytes: size_of(&stage.data().join("sled"))?,
                open_files: gateway.open_files()?,
                event_to_delivery_ms: Spread::of(ledger.times_of(None, begins, ends)),
            };
            ledger.forget_times();
            if !self.json {
                print(&minute.line(usize::try_from(number).unwrap_or(usize::MAX)));
            }
            soak.minutes.push(minute);
            begins = ends;
        }
        drain(ledger, owed.iter().copied()).await;
        soak.lost += ledger.missing(owed.into_iter());
        soak.duplicated = ledger.duplicated();
        soak.verdict = judge(&soak.minutes);
        gateway.stop().await?;
        Ok(soak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(mib: u64, p99: f64) -> Minute {
        let event_to_delivery_ms = Some(Spread { p50: 1.0, p99, max: 100.0 });
        Minute { memory_bytes: mib << 20, store_bytes: 5 << 20, open_files: 70, event_to_delivery_ms }
    }

    #[test]
    fn what_grows_is_told_from_what_is_flat() {
        for (name, mib, p99, grows) in [
            ("level", [50, 50, 50, 50, 50, 50], [3.0; 6], &[][..]),
            ("a rise at the beginning", [10, 40, 60, 60, 61, 60], [3.0; 6], &[]),
            ("one bad minute", [50; 6], [3.0, 3.0, 3.0, 3.0, 90.0, 3.0], &["p99 (ms)"]),
            ("a leak", [50, 60, 70, 80, 90, 100], [3.0; 6], &["memory (MiB)"]),
            ("both", [10, 10, 10, 20, 30, 30], [1.0, 1.0, 1.0, 2.0, 9.0, 9.0], &["memory (MiB)", "p99 (ms)"]),
        ] {
            let minutes: Vec<Minute> = mib.into_iter().zip(p99).map(|(mib, p99)| minute(mib, p99)).collect();
            let found: Vec<_> = judge(&minutes).iter().filter(|one| !one.flat).map(|one| one.measure).collect();
            assert_eq!(found, grows, "{name}");
        }
        assert!(judge(&[minute(1, 1.0); 2]).is_empty());
        assert_eq!(judge(&[minute(1, 1.0); 4]).len(), 4);
    }

    #[test]
    fn a_minute_is_a_line() {
        let line = minute(50, 2.5).line(7);
        let wanted = "minute 7    memory 50 MiB, store 5 MiB, 70 open files, p50 1.00 ms, p99 2.50 ms, max 100.00 ms";
        assert_eq!(line, wanted);
    }
}
