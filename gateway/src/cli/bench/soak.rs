//! `hookmill bench --soak TIME`: whether anything grows in a gateway that works for long.
//!
//! A steady load, and a gateway that keeps everything for a minute only, so that what it removes it must also give
//! back. At the end of each minute stands a line: memory, bytes on disk, open files, and how long the deliveries took that
//! arrived since the line before. **What is promised.** The verdict compares the last third of the readings with the
//! middle third, each by its median; the first third is for filling up. What grows fails the bench, and so does what comes
//! to nothing. Every acknowledged event is looked for. **What is deliberately not.** Client ids are remembered for a
//! minute too, not for a day as by default: a day's worth would still be growing when the run ends. Less than three
//! minutes show that it works, and hardly more: there are three readings then, and nothing has been removed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use super::backlog::size_of;
use super::figures::{Spread, lines, mebibytes, shortfall, spread};
use super::load::{Answer, End, Load};
use super::machine::Machine;
use super::run::{drain, micros};
use super::{Bench, Stage};
use crate::cli::print;
use crate::domain::duration;

/// The fewest readings that can be judged.
const READINGS: u64 = 3;
/// How far they are apart at most, in seconds.
const APART: u64 = 60;
/// How much more than before still counts as flat: a fifth, and half for what is spread most.
const FLAT: f64 = 1.2;
const FLAT_P99: f64 = 1.5;

/// Reads how long one is to take: long enough for three readings.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let enough = time >= Duration::from_secs(READINGS);
    enough.then_some(time).ok_or_else(|| format!("at least {READINGS}s"))
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Soak {
    pub(super) machine: Machine,
    pub(super) load: String,
    pub(super) readings: Vec<Reading>,
    pub(super) verdict: Vec<Verdict>,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

/// How it was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Reading {
    /// How long after the beginning, in seconds.
    pub(super) at_s: u64,
    pub(super) memory_bytes: u64,
    pub(super) store_bytes: u64,
    pub(super) open_files: u64,
    /// Of what has arrived since the reading before, whenever it was sent.
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

impl Reading {
    fn line(&self) -> String {
        let Self { at_s, memory_bytes, store_bytes, open_files, event_to_delivery_ms } = self;
        let at = duration::format(Duration::from_secs(*at_s));
        let (memory, store) = (mebibytes(*memory_bytes), mebibytes(*store_bytes));
        let spread = spread(*event_to_delivery_ms);
        format!("{at:<7} memory {memory} MiB, store {store} MiB, {open_files} open files, {spread}")
    }
}

impl Soak {
    /// Why the run is no success.
    pub(super) fn shortfall(&self) -> Option<String> {
        let grown = self.verdict.iter().filter(|verdict| !verdict.flat).map(Verdict::words).collect::<Vec<_>>();
        let grows = (!grown.is_empty()).then(|| format!("not everything is flat: {}", grown.join("; ")));
        shortfall(self.acknowledged, self.lost).or(grows)
    }

    /// For people; the readings have been shown as they came.
    pub(super) fn table(&self) -> String {
        let Self { acknowledged, refused, lost, duplicated, .. } = self;
        let verdict: Vec<String> = self.verdict.iter().map(Verdict::words).collect();
        lines(&[
            ("machine", self.machine.line()),
            ("load", self.load.clone()),
            ("events", format!("{acknowledged} acknowledged, {refused} refused, {lost} lost, {duplicated} duplicated")),
            ("verdict", verdict.join("; ")),
        ])
    }
}

impl Verdict {
    fn words(&self) -> String {
        let Self { measure, middle, last, flat } = self;
        if !(middle.is_finite() && last.is_finite()) {
            return format!("{measure}: nothing arrived");
        }
        format!("{measure} {}: {middle:.1}, then {last:.1}", if *flat { "flat" } else { "grows" })
    }
}

/// Holds the last third of the readings against the middle one; nothing if there are fewer than three. Where nothing
/// arrived nothing is flat.
fn judge(readings: &[Reading]) -> Vec<Verdict> {
    const MIB: f64 = 1024.0 * 1024.0;
    type Measure = (&'static str, fn(&Reading) -> f64, f64);
    const MEASURES: [Measure; 4] = [
        ("memory (MiB)", |reading| reading.memory_bytes as f64 / MIB, FLAT),
        ("store (MiB)", |reading| reading.store_bytes as f64 / MIB, FLAT),
        ("open files", |reading| reading.open_files as f64, FLAT),
        ("p99 (ms)", |reading| reading.event_to_delivery_ms.map_or(f64::INFINITY, |spread| spread.p99), FLAT_P99),
    ];
    let (from, until) = (readings.len() / 3, readings.len() * 2 / 3);
    if from == 0 {
        return Vec::new();
    }
    let judged = MEASURES.iter().map(|(measure, read, bound)| {
        let (middle, last) = (median(&readings[from..until], read), median(&readings[until..], read));
        Verdict { measure, middle, last, flat: middle.is_finite() && last <= middle * bound }
    });
    judged.collect()
}

/// The middle one, or the higher of two.
fn median(readings: &[Reading], read: &fn(&Reading) -> f64) -> f64 {
    let mut values: Vec<f64> = readings.iter().map(read).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench {
    /// Works so long, and looks at the end of each minute, or of each third if they are shorter.
    pub(super) async fn soak(&self, time: Duration) -> anyhow::Result<Soak> {
        let rate = self.per_second().context("a soak has a rate")?;
        let apart = (time.as_secs() / READINGS).clamp(1, APART);
        let readings = time.as_secs() / apart;
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
            load: self.describe(),
            readings: Vec::new(),
            verdict: Vec::new(),
            acknowledged: 0,
            refused: 0,
            lost: 0,
            duplicated: 0,
        };
        let (mut first, mut begins, mut owed) = (0, watch.now(), Vec::new());
        for number in 1..=readings {
            let ends = begins + micros(Duration::from_secs(apart));
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
            let acknowledged = posted.iter().filter(|posted| posted.answer == Answer::Acknowledged);
            soak.acknowledged += acknowledged.clone().count() as u64;
            owed.extend(acknowledged.map(|posted| posted.number));
            if number == readings {
                // What is still under way arrives before the last reading, since there is none after it.
                drain(ledger, owed.iter().copied()).await;
            }
            ledger.strike_out(&mut owed);
            soak.refused += posted.iter().filter(|posted| posted.answer != Answer::Acknowledged).count() as u64;
            let reading = Reading {
                at_s: number * apart,
                memory_bytes: gateway.memory()?,
                store_bytes: size_of(&stage.data().join("sled"))?,
                open_files: gateway.open_files()?,
                event_to_delivery_ms: Spread::of(ledger.take_times()),
            };
            if !self.json {
                print(&reading.line());
            }
            soak.readings.push(reading);
            begins = ends;
        }
        soak.lost = ledger.missing(owed.into_iter());
        soak.duplicated = ledger.duplicated();
        soak.verdict = judge(&soak.readings);
        gateway.stop().await?;
        Ok(soak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(mib: u64, p99: f64) -> Reading {
        let event_to_delivery_ms = Some(Spread { p50: 1.0, p99, max: 100.0 });
        Reading { at_s: 420, memory_bytes: mib << 20, store_bytes: 5 << 20, open_files: 70, event_to_delivery_ms }
    }

    fn soak(readings: Vec<Reading>, acknowledged: u64, lost: u64) -> Soak {
        Soak {
            machine: Machine { cores: 2, cpu: "A CPU".to_owned(), kernel: "6.1".to_owned() },
            load: "64 connections".to_owned(),
            verdict: judge(&readings),
            readings,
            acknowledged,
            refused: 0,
            lost,
            duplicated: 0,
        }
    }

    #[test]
    fn what_grows_is_told_from_what_is_flat() {
        for (name, mib, p99, grows) in [
            ("level", [50, 50, 50, 50, 50, 50], [3.0; 6], &[][..]),
            ("a rise at the beginning", [10, 40, 60, 60, 61, 60], [3.0; 6], &[]),
            ("one bad reading", [50; 6], [3.0, 3.0, 3.0, 3.0, 90.0, 3.0], &["p99 (ms)"]),
            ("a leak", [50, 60, 70, 80, 90, 100], [3.0; 6], &["memory (MiB)"]),
            ("both", [10, 10, 10, 20, 30, 30], [1.0, 1.0, 1.0, 2.0, 9.0, 9.0], &["memory (MiB)", "p99 (ms)"]),
        ] {
            let readings: Vec<Reading> = mib.into_iter().zip(p99).map(|(mib, p99)| reading(mib, p99)).collect();
            let found: Vec<_> = judge(&readings).iter().filter(|one| !one.flat).map(|one| one.measure).collect();
            assert_eq!(found, grows, "{name}");
        }
        assert!(judge(&[reading(1, 1.0); 2]).is_empty());
        assert_eq!(judge(&[reading(1, 1.0); 4]).len(), 4);
    }

    #[test]
    fn where_nothing_arrives_nothing_is_flat() {
        let (some, none) = (reading(1, 1.0), Reading { event_to_delivery_ms: None, ..reading(1, 1.0) });
        for readings in [[none; 3], [some, none, some], [some, some, none]] {
            let p99 = judge(&readings).pop().unwrap();
            assert_eq!((p99.flat, p99.words().as_str()), (false, "p99 (ms): nothing arrived"));
        }
    }

    #[test]
    fn what_is_lost_or_grows_is_no_success() {
        let [flat, grown] = [[50, 50, 50], [50, 50, 90]].map(|mib| mib.map(|mib| reading(mib, 1.0)).to_vec());
        assert_eq!(soak(flat.clone(), 9, 0).shortfall(), None);
        for (soak, says) in [
            (soak(flat.clone(), 0, 0), "nothing was acknowledged"),
            (soak(flat, 9, 2), "2 deliveries of acknowledged events did not arrive"),
            (soak(grown, 9, 0), "not everything is flat: memory (MiB) grows: 50.0, then 90.0"),
        ] {
            assert_eq!(soak.shortfall().as_deref(), Some(says));
        }
    }

    #[test]
    fn a_reading_is_a_line() {
        let wanted = "7m      memory 50 MiB, store 5 MiB, 70 open files, p50 1.00 ms, p99 2.50 ms, max 100.00 ms";
        assert_eq!(reading(50, 2.5).line(), wanted);
    }
}
