//! `hookmill bench`: how fast this gateway is on this machine, and whether anything is lost.
//!
//! **Who acts.** The gateway is this very program as a process of its own (`child`), so that its processor time and
//! memory can be told from the bench's. This process makes the load (`load`) and receives the deliveries; every
//! event carries a stamp by which its deliveries are accounted for (`ledger`). **What is promised.** Every event
//! that was acknowledged is looked for at every subscription's endpoint; if one is missing, or none was acknowledged, the
//! bench fails. Latencies are those of every event in the measured part, none left out. **What is deliberately not.**
//! Load, receiver and gateway share the machine: the numbers are a floor, and comparable only on the same machine, so that
//! being slow makes no bench fail.

mod against;
mod attack;
mod backlog;
mod bare;
mod busy;
mod child;
mod figures;
mod ledger;
mod load;
mod machine;
mod plugins;
mod run;
mod soak;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use self::against::Attacks;
pub(super) use self::bare::Forward;
use self::child::Process;
use self::figures::Figures;
use self::ledger::{Ledger, Stamp, Stopwatch};
use super::client::Api;
use super::patience::Patience;
use super::receiver::{Receiver, Reply};
use super::scratch::Scratch;
use super::{block_on, print};
use crate::domain::{Secret, duration};

/// For how long the maximum is measured that half is to be taken of, at most.
const MOST: Duration = Duration::from_secs(5);

/// Measure the gateway on this machine: it is started, loaded and received from, and nothing may be lost.
#[derive(Args, Debug, Clone)]
pub(super) struct Bench {
    /// Connections that post events
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse, conflicts_with = "events")]
    duration: Duration,
    /// Measure this many events instead
    #[arg(long, value_name = "N")]
    events: Option<usize>,
    /// Measure instead how a gateway comes back to so many pending deliveries after it was killed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["events", "duration", "warmup", "rate", "connections", "fan_out"])]
    pending: Option<u32>,
    /// Measure instead what a bystander notices while another tenant attacks
    #[arg(long, value_name = "ATTACK", value_parser = Attacks::parser(),
          conflicts_with_all = ["events", "pending", "fan_out", "transform"])]
    against: Option<Attacks>,
    /// How often each attack is made; in the end the middle p99s of all rounds are held against each other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), requires = "against")]
    rounds: u16,
    /// Measure instead, once a minute or three times in all, whether anything grows over this time
    #[arg(long, value_name = "TIME", value_parser = soak::time,
          conflicts_with_all = ["events", "duration", "warmup", "pending", "against"])]
    soak: Option<Duration>,
    /// Measure instead what so many plugins need, each of more than 100 kB of its own code, and what an event through
    /// one costs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000),
          conflicts_with_all = ["events", "duration", "warmup", "rate", "connections", "fan_out", "transform", "pending",
                                "against", "soak"])]
    plugins: Option<u32>,
    /// Events per second, or `half` of what can be had, which is measured first; unless given, that half with --against
    /// and --soak, else as many as come of each connection posting as soon as it is answered
    #[arg(long, value_name = "R", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// What could be had, in events per second, if that was measured.
    #[arg(skip)]
    most: Option<f64>,
    /// Bytes of each event's data
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Subscriptions that get every event
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    fan_out: u16,
    /// The plugin that every delivery goes through
    #[arg(long, value_name = "PLUGIN", value_enum, default_value_t = Transform::None)]
    transform: Transform,
    /// Measure instead a process that only receives, signs and sends: what any gateway must cost on this machine
    #[arg(long, conflicts_with_all = ["pending", "against", "soak", "plugins", "fan_out", "transform", "store_dir"])]
    bare: bool,
    /// How long to run before measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    warmup: Duration,
    /// Print the numbers as JSON
    #[arg(long)]
    json: bool,
    /// The folder to keep the gateway's data in, on the disk to be measured; what is put there is removed
    #[arg(long, value_name = "FOLDER")]
    store_dir: Option<PathBuf>,
}

/// What a delivery goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transform {
    /// Nothing: the event in its envelope
    None,
    /// The Slack connector with a small template
    Slack,
    /// The transform that masks an e-mail address
    Redact,
}

/// Events per second.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    /// So many.
    Of(f64),
    /// Half of what can be had.
    Half,
}

impl Rate {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "half" {
            return Ok(Self::Half);
        }
        let rate: f64 = text.parse().map_err(|_| "a number is wanted, such as 2000, or `half`")?;
        let possible = (0.1..=1_000_000.0).contains(&rate);
        possible.then_some(Self::Of(rate)).ok_or_else(|| "0.1 to 1000000 events per second".to_owned())
    }
}

/// What came of it all: as JSON, for people, and why it is no success.
struct Account {
    json: String,
    table: String,
    shortfall: Option<String>,
}

impl Account {
    fn of(found: &impl Serialize, table: String, shortfall: Option<String>) -> anyhow::Result<Self> {
        Ok(Self { json: serde_json::to_string_pretty(found)?, table, shortfall })
    }
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        block_on(async move {
            let json = self.json;
            let account = tokio::select! {
                account = self.account() => account?,
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            };
            print(if json { &account.json } else { &account.table });
            match account.shortfall {
                Some(shortfall) => bail!("{shortfall}"),
                None => Ok(()),
            }
        })
    }

    async fn account(self) -> anyhow::Result<Account> {
        let bench = self.at_a_rate().await?;
        if let Some(events) = bench.pending {
            let comeback = bench.come_back(events as usize).await?;
            return Account::of(&comeback, comeback.table(), comeback.shortfall());
        }
        if let Some(attacks) = &bench.against {
            let siege = bench.endure(attacks).await?;
            return Account::of(&siege, siege.table(), siege.shortfall());
        }
        if let Some(time) = bench.soak {
            let soak = bench.soak(time).await?;
            return Account::of(&soak, soak.table(), soak.shortfall());
        }
        if let Some(plugins) = bench.plugins {
            let crowd = bench.crowd(plugins).await?;
            return Account::of(&crowd, crowd.table(), None);
        }
        let figures = bench.measure().await?;
        Account::of(&figures, figures.table(), figures.shortfall())
    }

    /// The same at a rate that is a number: where half of what can be had is meant, that is measured first.
    async fn at_a_rate(self) -> anyhow::Result<Self> {
        let is_half = match self.rate {
            Some(rate) => rate == Rate::Half,
            None => self.against.is_some() || self.soak.is_some(),
        };
        if !is_half {
            return Ok(self);
        }
        let free = Self { rate: None, events: None, duration: self.duration.min(MOST), ..self.clone() };
        let figures = free.measure().await?;
        if let Some(shortfall) = figures.shortfall() {
            bail!("the maximum can't be told: {shortfall}");
        }
        let most = figures.delivered_per_s / f64::from(self.subscriptions());
        ensure!(most >= 2.0, "the maximum can't be told: fewer than two events a second were delivered");
        Ok(Self { rate: Some(Rate::Of((most / 2.0).floor())), most: Some(most), ..self })
    }

    /// Events per second, if they have a rate.
    fn per_second(&self) -> Option<f64> {
        match self.rate {
            Some(Rate::Of(rate)) => Some(rate),
            Some(Rate::Half) | None => None,
        }
    }

    /// How many subscriptions get every event: a bystander of an attack has two.
    fn subscriptions(&self) -> u16 {
        if self.against.is_some() { 2 } else { self.fan_out }
    }

    async fn measure(&self) -> anyhow::Result<Figures> {
        let stage = Stage::set(self.store_dir.as_deref(), usize::from(self.subscriptions())).await?;
        let (gateway, key) = if self.bare {
            (Process::bare(stage.receiver.address).await?, stage.operator.clone())
        } else {
            let gateway = stage.start().await?;
            let key = self.set_up(&gateway, &stage).await?;
            (gateway, key)
        };
        let figures = self.load(&gateway, key, stage.watch, &stage.ledger).await?;
        let stopping = Patience::spin("stopping the gateway");
        gateway.stop().await?;
        drop(stopping);
        Ok(figures)
    }

    /// Makes the tenant and its subscriptions; gives its key.
    async fn set_up(&self, gateway: &Process, stage: &Stage) -> anyhow::Result<Secret> {
        let (mut api, key) = stage.tenant(gateway, "Bench").await?;
        for number in 0..self.subscriptions() {
            api.post("/v1/subscriptions", self.subscription(number, &stage.receiver).to_string()).await?;
        }
        Ok(key)
    }

    fn subscription(&self, number: u16, receiver: &Receiver) -> Value {
        let own = receiver.url(&format!("/events/{number}"));
        let transform = match &self.against {
            None => self.transform,
            // A bystander's first goes through no plugin, and its second through one.
            Some(_) if number == 0 => Transform::None,
            Some(_) => Transform::Redact,
        };
        match transform {
            Transform::None => json!({"url": own, "events": ["bench.*"]}),
            Transform::Redact => json!({
                "url": own,
                "events": ["bench.*"],
                "transforms": [{"plugin": "redact", "config": {"paths": ["$.data.email"]}}],
            }),
            Transform::Slack => json!({
                "url": format!("https://hooks.slack.com/services/T00000000/B00000000/{number}"),
                "events": ["bench.*"],
                "connector": {"name": "slack", "config": {"text": "*{{ data.stamp }}* by {{ data.email }}"}},
                // Slack's own limit of one message a second is not what is measured.
                "rate_limit": {"per": "100ms", "max": 100_000},
            }),
        }
    }

    /// How fast events are posted.
    fn pace(&self) -> String {
        match (self.per_second(), self.most) {
            (Some(rate), Some(most)) => format!("{rate} events/s (half of the {most:.0} that can be had)"),
            (Some(rate), None) => format!("{rate} events/s"),
            (None, _) => "closed loop".to_owned(),
        }
    }

    fn describe(&self) -> String {
        let pace = self.pace();
        let transform = match self.transform {
            _ if self.bare => "forwarded bare",
            Transform::None => "no plugin",
            Transform::Slack => "slack",
            Transform::Redact => "redact",
        };
        format!("{} connections, {pace}, {} bytes, fan-out {}, {transform}", self.connections, self.size, self.fan_out)
    }
}

/// What a run needs beside the gateway.
struct Stage {
    scratch: Scratch,
    watch: Stopwatch,
    ledger: Arc<Ledger>,
    receiver: Receiver,
    operator: Secret,
    /// Variables that set what the gateway's defaults do not.
    settings: Vec<(&'static str, String)>,
    plugins: Vec<PathBuf>,
}

impl Stage {
    async fn set(store_dir: Option<&Path>, fan_out: usize) -> anyhow::Result<Self> {
        let scratch = Scratch::new(store_dir, "bench")?;
        let watch = Stopwatch(Instant::now());
        let ledger = Arc::new(Ledger::new(fan_out));
        let receiver = {
            let ledger = ledger.clone();
            Receiver::start(move |request| {
                let subscription = request.path.rsplit('/').next().and_then(|last| last.parse().ok());
                if let (Some(stamp), Some(subscription)) = (Stamp::find(&request.body), subscription) {
                    ledger.arrive(stamp, subscription, watch.now());
                }
                Reply::text(200, "ok")
            })
            .await?
        };
        let operator = Secret::new(format!("bench-operator-{}", hex::encode(rand::random::<[u8; 32]>())));
        Ok(Self { scratch, watch, ledger, receiver, operator, settings: Vec::new(), plugins: Vec::new() })
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Starts a gateway on the run's data.
    async fn start(&self) -> anyhow::Result<Process> {
        let _starting = Patience::spin("starting the gateway: its plugins are compiled once");
        let mapped = [format!("hooks.slack.com={}", self.receiver.url(""))];
        let mut settings = self.settings.clone();
        if !self.plugins.is_empty() {
            settings.push(("HOOKMILL_PLUGINS__FILES", serde_json::to_string(&self.plugins)?));
        }
        Process::start(&self.data(), &mapped, &settings, &self.operator).await
    }

    /// Lets every tenant of the gateway use a plugin.
    fn add_plugin(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.scratch.path().join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
        self.plugins.push(path);
        Ok(())
    }

    /// Makes a tenant; gives the API as it sees it, and its key.
    async fn tenant(&self, gateway: &Process, name: &str) -> anyhow::Result<(Api, Secret)> {
        let mut operator = Api::new(gateway.address, self.operator.clone());
        let made = operator.post("/v1/tenants", json!({"name": name}).to_string()).await?;
        let key = Secret::new(made["key"].as_str().unwrap_or_default().to_owned());
        Ok((Api::new(gateway.address, key.clone()), key))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn parsed(arguments: &[&str]) -> Result<Bench, String> {
        let line = Line::try_parse_from(std::iter::once(&"bench").chain(arguments));
        line.map(|line| line.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_ones_are_those_of_the_help() {
        let bench = parsed(&[]).unwrap();
        assert_eq!((bench.connections, bench.size, bench.fan_out, bench.rate), (64, 1024, 1, None));
        assert_eq!((bench.duration, bench.warmup), (Duration::from_secs(10), Duration::from_secs(2)));
        assert_eq!(bench.describe(), "64 connections, closed loop, 1024 bytes, fan-out 1, no plugin");
        let bench = parsed(&["--rate", "2000", "--events", "500", "--transform", "redact", "--fan-out", "3"]).unwrap();
        assert_eq!(bench.events, Some(500));
        assert_eq!(bench.describe(), "64 connections, 2000 events/s, 1024 bytes, fan-out 3, redact");
        assert_eq!(parsed(&["--rate", "half"]).unwrap().rate, Some(Rate::Half));
    }

    #[tokio::test]
    async fn a_rate_that_is_given_is_not_measured() {
        let bench = parsed(&["--soak", "30m", "--rate", "540"]).unwrap().at_a_rate().await.unwrap();
        assert_eq!((bench.per_second(), bench.pace().as_str()), (Some(540.0), "540 events/s"));
        let half = Bench { most: Some(1080.4), ..bench };
        assert_eq!(half.pace(), "540 events/s (half of the 1080 that can be had)");
        let free = parsed(&[]).unwrap().at_a_rate().await.unwrap();
        assert_eq!((free.per_second(), free.pace().as_str()), (None, "closed loop"));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (arguments, word) in [
            (&["--connections", "0"][..], "connections"),
            (&["--fan-out", "0"], "fan-out"),
            (&["--size", "0"], "size"),
            (&["--rate", "0"], "0.1 to"),
            (&["--rate", "NaN"], "0.1 to"),
            (&["--rate", "fast"], "a number"),
            (&["--duration", "soon"], "duration"),
            (&["--duration", "5s", "--events", "10"], "cannot be used with"),
            (&["--pending", "10", "--rate", "10"], "cannot be used with"),
            (&["--pending", "0"], "pending"),
            (&["--plugins", "0"], "plugins"),
            (&["--plugins", "9", "--rate", "10"], "cannot be used with"),
            (&["--bare", "--plugins", "9"], "cannot be used with"),
            (&["--bare", "--transform", "slack"], "cannot be used with"),
            (&["--against", "looping", "--pending", "9"], "cannot be used with"),
            (&["--soak", "4m", "--duration", "10s"], "cannot be used with"),
            (&["--soak", "2s"], "at least 3s"),
            (&["--rounds", "3"], "--against"),
            (&["--against", "all", "--rounds", "0"], "rounds"),
            (&["--against", "nobody"], "possible values: silent, looping"),
            (&["--transform", "other"], "other"),
        ] {
            let refusal = parsed(arguments).unwrap_err();
            assert!(refusal.contains(word), "{arguments:?}: {refusal}");
        }
    }
}
