//! `hookmill bench --plugins N`: what a gateway with many plugins needs for each, and what an event through one costs.
//!
//! One tenant uploads N transforms, each of more than 100 kB of code that no other has; the gateway is started again and
//! all of them are run. Measured is the running time that the gateway itself tells of each run, the start of a fresh
//! instance included: the first run of each after the start, when its code is in no memory of the process; a *cold* one,
//! which comes when all the others have run since; and a *hot* one, again and again. An event passes through all of a
//! plugin's code, so a cold one has all of it to fetch. **What is promised.** Every plugin is run, and gives back the
//! event as it was. **What is deliberately not.** Compiling is one at a time and takes most of the time here.

use std::time::Instant;

use anyhow::{Context, ensure};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::backlog::size_of;
use super::child::Process;
use super::figures::{Spread, lines, mebibytes};
use super::machine::Machine;
use super::{Bench, Stage};
use crate::cli::client::{Api, problem};
use crate::cli::patience::Patience;
use crate::engine::fixtures::distinct;

/// How often all of them are run, one after the other.
const ROUNDS: u32 = 3;
/// How many are run hot, and how often each.
const HOT: u32 = 20;
const HOT_RUNS: u32 = 50;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Crowd {
    pub(super) machine: Machine,
    /// How many plugins there were.
    pub(super) plugins: u32,
    /// Bytes of an uploaded one, nearly all of them code; the smallest.
    pub(super) uploaded_bytes: u64,
    /// Bytes of what is compiled of one, on disk; on average.
    pub(super) compiled_bytes: u64,
    /// From an upload to its answer, on average.
    pub(super) upload_ms: f64,
    /// From the start of the process until all of them had been run once.
    pub(super) started_s: f64,
    /// Resident memory of a gateway that has only presets.
    pub(super) without: Memory,
    /// What each plugin adds to that when it has been uploaded; on average.
    pub(super) each_uploaded: Memory,
    /// What each adds after a start, when all have been run; on average.
    pub(super) each_run: Memory,
    /// The first run of each after the start.
    pub(super) first_ms: Option<Spread>,
    /// Runs of plugins that were run before all the others.
    pub(super) cold_ms: Option<Spread>,
    /// Runs of the plugin that was run last.
    pub(super) hot_ms: Option<Spread>,
}

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// All of it.
    pub(super) bytes: u64,
    /// What can't be had again from a file.
    pub(super) anonymous_bytes: u64,
}

impl Memory {
    fn of(gateway: &Process) -> anyhow::Result<Self> {
        Ok(Self { bytes: gateway.memory()?, anonymous_bytes: gateway.anonymous_memory()? })
    }

    /// What each of so many adds to what there was before.
    fn each(self, before: Self, plugins: u32) -> Self {
        let each = |now: u64, before: u64| now.saturating_sub(before) / u64::from(plugins.max(1));
        Self {
            bytes: each(self.bytes, before.bytes),
            anonymous_bytes: each(self.anonymous_bytes, before.anonymous_bytes),
        }
    }

    fn words(self) -> String {
        format!("{} KiB, {} of them anonymous", self.bytes / 1024, self.anonymous_bytes / 1024)
    }
}

impl Crowd {
    /// For people.
    pub(super) fn table(&self) -> String {
        let Self { plugins, uploaded_bytes, compiled_bytes, upload_ms, started_s, without, .. } = self;
        let kilobytes = |bytes: &u64| bytes / 1000;
        lines(&[
            ("machine", self.machine.line()),
            (
                "plugins",
                format!(
                    "{plugins}, each of {} kB, compiled {} kB",
                    kilobytes(uploaded_bytes),
                    kilobytes(compiled_bytes)
                ),
            ),
            ("uploaded in", format!("{upload_ms:.0} ms each")),
            ("started in", format!("{started_s:.2} s, until all had been run once")),
            ("gateway memory", format!("{} MiB without them", mebibytes(without.bytes))),
            ("each uploaded", self.each_uploaded.words()),
            ("each run", self.each_run.words()),
            ("an event, first", micros(self.first_ms)),
            ("an event, cold", micros(self.cold_ms)),
            ("an event, hot", micros(self.hot_ms)),
        ])
    }
}

/// For people: these are too short for milliseconds.
fn micros(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { p50, p99, max }) => {
            format!("p50 {:.0} us, p99 {:.0} us, max {:.0} us", p50 * 1e3, p99 * 1e3, max * 1e3)
        }
        None => "nothing to measure".to_owned(),
    }
}

impl Bench {
    /// Uploads so many plugins, runs all of them, and draws up the account.
    pub(super) async fn crowd(&self, plugins: u32) -> anyhow::Result<Crowd> {
        let mut stage = Stage::set(self.store_dir.as_deref(), 1).await?;
        stage.settings.extend([
            ("HOOKMILL_PLUGINS__PER_TENANT", plugins.to_string()),
            ("HOOKMILL_PLUGINS__BYTES_PER_TENANT", (u64::from(plugins) << 20).to_string()),
            ("HOOKMILL_PLUGINS__COMPILE_PER_HOUR", "24h".to_owned()),
        ]);
        let gateway = stage.start().await?;
        let (mut api, key) = stage.tenant(&gateway, "Bench").await?;
        let event = self.tried();
        // What a first run takes for good is not the plugins'.
        run(&mut api, "redact", &event, &json!({"paths": ["$.data.email"]})).await?;
        let without = Memory::of(&gateway)?;
        let presets = size_of(&stage.data().join("compiled"))?;
        let began = Instant::now();
        let uploaded_bytes = upload(&mut api, plugins).await?;
        let uploading = began.elapsed();
        let each_uploaded = Memory::of(&gateway)?.each(without, plugins);
        let compiled_bytes = size_of(&stage.data().join("compiled"))?.saturating_sub(presets) / u64::from(plugins);
        gateway.stop().await?;

        let starting = Instant::now();
        let gateway = stage.start().await?;
        let mut api = Api::new(gateway.address, key);
        let first = run_all(&mut api, plugins, &event, "running each for the first time").await?;
        let started_s = starting.elapsed().as_secs_f64();
        let mut cold = Vec::new();
        for round in 1..=ROUNDS {
            let what = format!("running each when all the others have run, {round} of {ROUNDS}");
            cold.extend(run_all(&mut api, plugins, &event, &what).await?);
        }
        let each_run = Memory::of(&gateway)?.each(without, plugins);
        let hot = run_hot(&mut api, plugins, &event).await?;
        gateway.stop().await?;
        Ok(Crowd {
            machine: Machine::read(),
            plugins,
            uploaded_bytes,
            compiled_bytes,
            upload_ms: uploading.as_secs_f64() * 1e3 / f64::from(plugins),
            started_s,
            without,
            each_uploaded,
            each_run,
            first_ms: Spread::of(first),
            cold_ms: Spread::of(cold),
            hot_ms: Spread::of(hot),
        })
    }

    /// The event that is run, of the size that is wanted.
    fn tried(&self) -> Value {
        json!({"type": "bench.event", "data": {"padding": "x".repeat((self.size as usize).saturating_sub(14))}})
    }
}

/// Uploads all of them; gives the bytes of the smallest.
async fn upload(api: &mut Api, plugins: u32) -> anyhow::Result<u64> {
    let patience = Patience::count("uploading plugins", u64::from(plugins));
    let mut smallest = u64::MAX;
    for number in 0..plugins {
        patience.at(u64::from(number));
        let component = distinct(number);
        smallest = smallest.min(component.len() as u64);
        let (status, answer) = api.try_upload(component.into()).await?;
        ensure!(status == StatusCode::CREATED, "plugin {number} was answered {status}: {}", problem(&answer));
    }
    Ok(smallest)
}

/// Runs all of them in turn; gives the running time of each, in microseconds.
async fn run_all(api: &mut Api, plugins: u32, event: &Value, what: &str) -> anyhow::Result<Vec<u32>> {
    let patience = Patience::count(what, u64::from(plugins));
    let mut took = Vec::new();
    for number in 0..plugins {
        patience.at(u64::from(number));
        took.push(run_one(api, number, event).await?);
    }
    Ok(took)
}

/// Runs some of them, each often, and leaves out the first run.
async fn run_hot(api: &mut Api, plugins: u32, event: &Value) -> anyhow::Result<Vec<u32>> {
    let _patience = Patience::spin("running some again and again");
    let mut took = Vec::new();
    // Spread over all of them.
    let apart = (plugins / HOT).max(1) as usize;
    for number in (0..plugins).step_by(apart).take(HOT as usize) {
        run_one(api, number, event).await?;
        for _ in 0..HOT_RUNS {
            took.push(run_one(api, number, event).await?);
        }
    }
    Ok(took)
}

async fn run_one(api: &mut Api, number: u32, event: &Value) -> anyhow::Result<u32> {
    run(api, &format!("distinct-{number}"), event, &json!({})).await
}

/// Runs a plugin; gives its running time in microseconds.
async fn run(api: &mut Api, plugin: &str, event: &Value, config: &Value) -> anyhow::Result<u32> {
    let body = json!({"event": event, "config": config}).to_string();
    let ran = api.post(&format!("/v1/plugins/{plugin}/run"), body).await?;
    ensure!(ran.pointer("/output/keep/data") == event.get("data"), "`{plugin}` gave back something else: {ran}");
    let took = ran["cpu_us"].as_u64().and_then(|took| u32::try_from(took).ok());
    took.with_context(|| format!("a run of `{plugin}` does not say how long it took"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_adds_is_shown_beside_what_there_is_without() {
        let without = Memory { bytes: 100 << 20, anonymous_bytes: 80 << 20 };
        let with = Memory { bytes: 130 << 20, anonymous_bytes: 90 << 20 };
        let crowd = Crowd {
            machine: Machine { cores: 2, cpu: "A CPU".to_owned(), kernel: "6.1".to_owned() },
            plugins: 1024,
            uploaded_bytes: 118_000,
            compiled_bytes: 210_500,
            upload_ms: 160.4,
            started_s: 2.5,
            without,
            each_uploaded: with.each(without, 1024),
            each_run: without.each(with, 1024),
            first_ms: Spread::of(vec![200, 300]),
            cold_ms: None,
            hot_ms: Spread::of(vec![20]),
        };
        let table = crowd.table();
        for line in [
            "plugins            1024, each of 118 kB, compiled 210 kB",
            "gateway memory     100 MiB without them",
            "each uploaded      30 KiB, 10 of them anonymous",
            "each run           0 KiB, 0 of them anonymous",
            "an event, first    p50 200 us, p99 300 us, max 300 us",
            "an event, cold     nothing to measure",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
    }
}
