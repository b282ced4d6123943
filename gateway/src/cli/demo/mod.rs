//! `hookmill demo`: a whole gateway, the world outside it, and a tour of what happens between them.
//!
//! **Who acts.** A gateway runs in this process on a store of its own. Slack, Zapier, Google and a few customers'
//! servers are played on a local port, to which the gateway is told to send those hosts' requests. A tenant makes
//! subscriptions and posts events through the same API that anybody would use. **What is promised.** What is shown
//! is what happened: bodies as they arrived, signatures checked by the receiver's side, reasons as the API gives
//! them. If anything ends otherwise than it must, the demo says so and fails. **What is deliberately not.** Nothing
//! leaves this machine, and no time is faked: the retries really wait.

mod endpoints;
mod google;
mod samples;
mod story;
mod tour;
mod wanted;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use self::endpoints::Endpoints;
use self::samples::SAMPLES;
use self::story::{Chapter, Posted, text};
use self::wanted::{FLAKY, HOSTILE, ILARA};
use super::client::Api;
use super::patience::Patience;
use super::scratch::Scratch;
use super::{Settings, block_on, log_to_stderr, print};
use crate::app::{Gateway, Options};
use crate::clock::Clock;
use crate::domain::Secret;
use crate::engine::fixtures;

/// How long all deliveries together may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// See a gateway at work: a tour with Slack, Zapier, Google Sheets and others played on this machine.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// The folder everything is kept in; unless given, one that is removed at the end
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// End after the tour instead of staying up
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // The tour shows the fault that it provokes; a warning about it in between would only confuse.
        log_to_stderr("error");
        block_on(async move {
            let mut stop = Stop::new()?;
            let scratch = match &self.data {
                Some(_) => None,
                None => Some(Scratch::new(None, "demo")?),
            };
            let data = match (&self.data, &scratch) {
                (Some(folder), _) => folder.clone(),
                (None, scratch) => scratch.as_ref().map(|scratch| scratch.path().join("data")).unwrap_or_default(),
            };
            let endpoints = Endpoints::start(Clock::system()).await?;
            let (gateway, operator) = start(&data, &endpoints).await?;
            let toured = tokio::select! {
                toured = tour(&gateway, operator, &endpoints, &data) => toured.map(Some),
                () = stop.asked() => Ok(None),
            };
            if let (Ok(Some(place)), false) = (&toured, self.once) {
                print(&stay(&gateway, place));
                stop.asked().await;
            }
            let stopping = Patience::spin("stopping: what is under way may end");
            gateway.stop().await?;
            drop(stopping);
            toured.map(drop)
        })
    }
}

/// Ctrl-C, or a word from whoever runs this.
struct Stop(Signal, Signal);

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Where a visitor can look around afterwards.
struct Place {
    key: Secret,
    inbox: String,
}

/// Starts the gateway with the hosts of the world outside sent to their doubles.
async fn start(data: &std::path::Path, endpoints: &Endpoints) -> anyhow::Result<(Gateway, Secret)> {
    let _patience = Patience::spin("starting the gateway: its plugins are compiled once");
    let settings = Settings {
        listen: Some("127.0.0.1:0".to_owned()),
        admin_listen: Some("127.0.0.1:0".to_owned()),
        data: Some(data.display().to_string()),
        dangerous_allow_targets: vec!["127.0.0.0/8".to_owned()],
        dangerous_map_host: endpoints.mapped_hosts(),
        ..Settings::default()
    };
    let operator = Secret::new(format!("demo-operator-{}", hex::encode(rand::random::<[u8; 32]>())));
    let mut options = Options::new(settings.load()?);
    options.operator_key = Some(operator.clone());
    options.plugins.push(fixtures::looping());
    Ok((Gateway::start(options).await?, operator))
}

async fn tour(
    gateway: &Gateway,
    operator: Secret,
    endpoints: &Endpoints,
    data: &std::path::Path,
) -> anyhow::Result<Place> {
    print(&format!(
        "Hookmill: events in, WebAssembly transforms, signed deliveries out.\n{}   {} with its data in {}",
        tour::section(
            1,
            "The gateway",
            "A whole gateway runs in this process, without a database or anything else beside it."
        ),
        gateway.public_url,
        data.display(),
    ));

    let made = Api::new(gateway.address, operator).post("/v1/tenants", json!({"name": "Demo"}).to_string()).await?;
    let key = Secret::new(text(&made, "key").to_owned());
    let mut api = Api::new(gateway.address, key.clone());
    let inbox = text(&api.post("/v1/inboxes", "").await?, "url").to_owned();
    let mut chapters = Vec::new();
    for wanted in wanted::wanted(|path| endpoints.url(path), &inbox) {
        chapters.push(Chapter::begin(&mut api, wanted).await?);
    }
    let sentence =
        "A tenant asks through the API for what it wants, where it goes, and how it is changed, signed and retried.";
    print((tour::section(2, "Subscriptions", sentence) + &tour::subscriptions(&chapters)).trim_end());

    let mut posted = Vec::new();
    for sample in SAMPLES {
        let receipt = api.post("/v1/events", sample.event).await?;
        let deliveries = receipt["deliveries"].as_u64().unwrap_or_default();
        posted.push(Posted { sample, id: text(&receipt, "id").to_owned(), deliveries });
    }
    let sentence = "Five products post what their own documents show; each event is on disk before it is answered.";
    print((tour::section(3, "Events", sentence) + &tour::events(&posted)).trim_end());

    finish(&mut api, &chapters, posted.iter().map(|posted| posted.deliveries).sum()).await?;
    for chapter in &mut chapters {
        chapter.end(&mut api, endpoints).await?;
    }
    show(&mut api, &chapters, &posted, endpoints, &inbox).await?;
    let shortfalls: Vec<String> = chapters.iter().flat_map(Chapter::shortfalls).collect();
    if !shortfalls.is_empty() {
        bail!("not everything went as it must:\n  {}", shortfalls.join("\n  "));
    }
    Ok(Place { key, inbox })
}

/// Waits until no delivery is owed any more.
async fn finish(api: &mut Api, chapters: &[Chapter], owed: u64) -> anyhow::Result<()> {
    let patience = Patience::count("deliveries, one of them with retries", owed);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pending = api.list("/v1/deliveries?limit=200&status=pending").await?;
        if pending.is_empty() {
            return Ok(());
        }
        patience.at(owed.saturating_sub(pending.len() as u64));
        if Instant::now() > deadline {
            let name = |delivery: &Value| {
                let id = text(delivery, "subscription_id");
                let chapter = chapters.iter().find(|chapter| chapter.id == id);
                let name = chapter.map_or(id, |chapter| chapter.wanted.name);
                format!(
                    "{} to `{name}`: {}",
                    text(delivery, "event_type"),
                    delivery["reason"].as_str().unwrap_or("waiting")
                )
            };
            let missing: Vec<String> = pending.iter().map(name).collect();
            bail!("after {} s these are still owed:\n  {}", PATIENCE.as_secs(), missing.join("\n  "));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sections about what became of it all.
async fn show(
    api: &mut Api,
    chapters: &[Chapter],
    posted: &[Posted],
    endpoints: &Endpoints,
    inbox: &str,
) -> anyhow::Result<()> {
    let sentence =
        "Each endpoint got what it can read; signatures are checked here as their receivers would check them.";
    let mut lines = tour::section(4, "What arrived", sentence);
    for chapter in chapters.iter().filter(|chapter| !tour::is_told_apart(chapter)) {
        lines.push_str(&tour::arrivals(chapter));
        if tour::has_tokens(chapter) {
            lines.push_str(&tour::tokens(&endpoints.arrived_at("/token")));
        }
    }

    let named =
        |name: &str| chapters.iter().find(|chapter| chapter.wanted.name == name).context("a chapter is missing");
    let ilara = named(ILARA)?;
    let mut explained = Vec::new();
    for posted in posted.iter().filter(|posted| posted.sample.product == "Ilara") {
        let items = api.list(&format!("/v1/events/{}/explain?limit=200", posted.id)).await?;
        let item = items.into_iter().find(|item| text(item, "subscription_id") == ilara.id);
        explained.push((posted.sample.what, item.unwrap_or_default()));
    }
    lines.push_str(&tour::section(
        5,
        "What was filtered",
        "Of every event the API can explain why a subscription got it or not.",
    ));
    lines.push_str(&tour::explanations(&explained));

    let flaky = named(FLAKY)?.deliveries.first().cloned().unwrap_or_default();
    lines.push_str(&tour::section(
        6,
        "What was retried",
        "One endpoint was out of order for a while, and every attempt is on record.",
    ));
    lines.push_str(&tour::attempts(&flaky));

    let hostile = named(HOSTILE)?.deliveries.first().cloned().unwrap_or_default();
    let elsewhere = chapters.iter().flat_map(|chapter| &chapter.deliveries);
    let elsewhere = elsewhere
        .filter(|delivery| delivery["event_id"] == hostile["event_id"] && text(delivery, "status") == "delivered")
        .count();
    lines.push_str(&tour::section(
        7,
        "The plugin that never ends",
        "Uploaded code is metered, and a loop harms only its own subscription.",
    ));
    lines.push_str(&tour::fault(&hostile, elsewhere));

    let path = inbox.splitn(4, '/').nth(3).unwrap_or_default();
    let requests = api.list(&format!("/{path}/requests?limit=200")).await?;
    lines.push_str(&tour::section(
        8,
        "The inbox",
        "A URL on the gateway itself that takes anything, with a page to watch it.",
    ));
    lines.push_str(&tour::inbox(&requests));

    lines.push_str(&tour::section(9, "In numbers", "Nothing is owed any more."));
    lines.push_str(&tour::summary(chapters));
    print(lines.trim_end());
    Ok(())
}

/// What a visitor needs to go on.
fn stay(gateway: &Gateway, place: &Place) -> String {
    let url = &gateway.public_url;
    let key = place.key.expose();
    format!(
        "\nThe gateway stays up until Ctrl-C. Look around:\n   \
         the API's reference  {url}/docs\n   \
         the tenant's key     {key}\n   \
         its inbox            {}\n\n   \
         curl {url}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n     \
         -d '{{\"type\":\"experience.start\",\"data\":{{\"action\":\"start\",\"experience\":{{\"name\":\"Mine\"}}}}}}'",
        place.inbox
    )
}
