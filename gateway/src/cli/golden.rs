//! Golden files over a built plugin, in the gateway's own engine: what `hookmill plugin test` does.
//!
//! The form of the files is told in `plugin-sdk/src/testing.rs`, whose native harness runs the same ones over
//! the plugin as a plain function.
//!
//! The limits are a gateway's usual ones, also that of time: a golden file that passes here runs there. A golden file's
//! config is handed over as it stands, since that harness knows no schemas and files may show what a plugin says of a
//! config that no gateway would hand it. What is run over a single event is held against the schema.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::client::problem;
use super::folders;
use crate::app;
use crate::config::{self, Plugins};
use crate::domain::{
    Decision, Fault, Kind, Manifest, PluginEvent, PluginPayload, PluginRequest, PluginResponse, PluginVerdict,
    Rendered, RetryScope, TenantId, Verdicts,
};
use crate::engine::{Engine, EngineConfig, Plugin, Ran, Reuse};
use crate::filter::Node;

/// Bytes of what was compiled that are kept for later commands: of some three plugins in Python, or of hundreds in Rust.
const KEPT: u64 = 512 << 20;

/// What a run over a folder came to.
#[derive(Debug, Default)]
pub struct Report {
    /// `name@version` of the plugin.
    pub plugin: String,
    /// Files that came out as expected.
    pub passed: usize,
    /// The others: which, and how they differ.
    pub failures: Vec<String>,
}

/// Runs every golden file of `folder` over the plugin in `module`.
///
/// # Errors
/// If the plugin does not load, or there are no golden files that can be read.
pub async fn run(module: &Path, folder: &Path) -> anyhow::Result<Report> {
    Loaded::compile(module, None).await?.golden(folder).await
}

/// A plugin in an engine of its own.
pub(super) struct Loaded {
    engine: Engine,
    plugin: Arc<Plugin>,
}

/// What one call came to.
struct Tried {
    /// In the form of `expect`.
    came: String,
    /// The message, if it was a fault.
    fault: Option<String>,
}

/// The body of `POST /v1/plugins/{name}/run`, of two JSON texts.
pub(super) fn run_body(event: &str, config: &str) -> String {
    format!("{{\"event\":{event},\"config\":{config}}}")
}

impl Loaded {
    /// Finds what an earlier command has compiled of the same module, or compiles it, which takes seconds for large ones.
    pub(super) async fn read(module: &Path) -> anyhow::Result<Self> {
        let loaded = Self::compile(module, folders::cache().map(|cache| cache.join("compiled"))).await?;
        loaded.engine.keep_newest(KEPT).await;
        Ok(loaded)
    }

    /// Compiles a module, and keeps what comes of it in a folder.
    async fn compile(module: &Path, kept_in: Option<PathBuf>) -> anyhow::Result<Self> {
        let bytes = std::fs::read(module).with_context(|| format!("can't read {}", module.display()))?;
        let engine = Engine::new(EngineConfig { cache_dir: kept_in, ..limits()? })?;
        let plugin = engine.install(&bytes).await.with_context(|| format!("{} does not load", module.display()))?;
        Ok(Self { engine, plugin })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.plugin.manifest()
    }

    /// Runs every golden file of `folder` over it.
    ///
    /// # Errors
    /// If there are none that can be read.
    pub(super) async fn golden(&self, folder: &Path) -> anyhow::Result<Report> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| format!("can't read {}", folder.display()))?
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        anyhow::ensure!(!files.is_empty(), "{}: no golden files", folder.display());
        let mut report = Report { plugin: self.manifest().reference(), ..Report::default() };
        for file in files {
            let text = std::fs::read_to_string(&file)?;
            let case: Case = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            let Tried { came, fault } = self.call(&case).await;
            let expected = case.expect.get();
            if agrees(expected, &came, fault.as_deref()) {
                report.passed += 1;
            } else {
                report.failures.push(format!("{}\n  expected {expected}\n  came     {came}", file.display()));
            }
        }
        Ok(report)
    }

    /// What a gateway that has it would answer to a [`run_body`].
    ///
    /// # Errors
    /// What a gateway would refuse, in its words.
    pub(super) async fn run(&self, body: &str) -> anyhow::Result<String> {
        let answered = app::run_alone(&self.engine, Arc::clone(&self.plugin), body).await;
        answered.map_err(|refusal| {
            let refusal: Value = serde_json::from_str(&refusal).unwrap_or_default();
            anyhow::Error::msg(problem(&refusal))
        })
    }

    async fn call(&self, case: &Case) -> Tried {
        let Self { engine, plugin } = self;
        let tenant = TenantId::from_bytes([0; 16]);
        let config = case.config.get();
        let event = case.event.event();
        match (&case.response, plugin.manifest().kind) {
            (Some(answer), _) => {
                let response = PluginResponse {
                    status: answer.status,
                    headers: answer.headers.clone().into_iter().collect(),
                    body: answer.body.clone(),
                    truncated: answer.truncated,
                };
                tried(engine.interpret(plugin, tenant, &response, config, 1).await, verdict)
            }
            (None, Kind::Connector) => tried(engine.render(plugin, tenant, &[event], config).await, sent),
            (None, Kind::Transform) => tried(engine.transform(plugin, tenant, &event, config).await, kept),
        }
    }
}

fn tried<T>(ran: Ran<T>, told: impl Fn(&T) -> String) -> Tried {
    let (came, fault) = match ran.result {
        Ok(result) => (told(&result), None),
        Err(Fault { message, .. }) => (json!({ "fault": message }).to_string(), Some(message)),
    };
    Tried { came, fault }
}

/// What plugins may use on a gateway whose operator says nothing else. The environment is not asked: what comes of a
/// plugin is the same for all its authors.
fn limits() -> anyhow::Result<EngineConfig> {
    let usual: Plugins = Figment::from(Toml::string(config::DEFAULTS)).extract_inner("plugins")?;
    Ok(EngineConfig {
        time: usual.time,
        memory: usual.memory,
        output: usual.output,
        log: usual.log,
        hostcall_fuel: usual.hostcall_fuel,
        component: usual.component,
        instances: 4,
        concurrency: 2,
        reuse: Reuse::NONE,
        cache_dir: None,
        compiler: None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    event: Golden,
    config: Box<RawValue>,
    #[serde(default)]
    response: Option<Answer>,
    expect: Box<RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Golden {
    id: Option<String>,
    #[serde(rename = "type", default)]
    event_type: String,
    #[serde(default)]
    source: String,
    timestamp: Option<String>,
    data: Option<Box<RawValue>>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    truncated: bool,
}

impl Golden {
    fn event(&self) -> PluginEvent {
        PluginEvent {
            id: self.id.clone().unwrap_or_else(|| "evt_1".to_owned()),
            event_type: self.event_type.clone(),
            source: self.source.clone(),
            timestamp: self.timestamp.clone().unwrap_or_else(|| "2026-11-21T12:00:00.000Z".to_owned()),
            data: self.data.as_ref().map_or("null", |data| data.get()).to_owned(),
            attributes: self.attributes.clone().into_iter().collect(),
        }
    }
}

fn kept(decision: &Decision) -> String {
    match decision {
        Decision::Drop(reason) => json!({ "drop": reason }).to_string(),
        Decision::Keep(events) => {
            // One event: the engine has seen to that. Written by hand, so that `data` stays the text it is.
            let kept = events.iter().map(|event| {
                let text = |text: &str| Value::from(text).to_string();
                format!(
                    r#"{{"keep":{{"id":{},"type":{},"timestamp":{},"source":{},"data":{},"attributes":{}}}}}"#,
                    text(&event.id),
                    text(&event.event_type),
                    text(&event.timestamp),
                    text(&event.source),
                    event.data,
                    pairs(&event.attributes)
                )
            });
            kept.collect()
        }
    }
}

fn sent(rendered: &Rendered) -> String {
    match rendered {
        Rendered::Drop(reason) => json!({ "drop": reason }).to_string(),
        Rendered::Send(requests) => requests.iter().map(request).collect(),
    }
}

/// A body as JSON: itself if it is some, and no mere string.
pub(super) fn body(text: &str) -> String {
    let is_json = Node::parse(text).is_ok_and(|node| !matches!(node, Node::String(_)));
    if is_json { text.to_owned() } else { Value::from(text).to_string() }
}

fn request(request: &PluginRequest) -> String {
    let body = match &request.body {
        PluginPayload::Text(text) => body(text),
        PluginPayload::Bytes(bytes) => Value::from(String::from_utf8_lossy(bytes)).to_string(),
    };
    format!(
        r#"{{"send":{{"method":{},"url":{},"headers":{},"content_type":{},"body":{body}}}}}"#,
        Value::from(request.method.as_str()),
        Value::from(request.url.clone()),
        pairs(&request.headers),
        Value::from(request.content_type.as_str()),
    )
}

fn verdict(verdicts: &Verdicts) -> String {
    let Verdicts::All(verdict) = verdicts else { return json!({ "verdict": "one each" }).to_string() };
    let verdict = match verdict {
        PluginVerdict::Delivered => json!("delivered"),
        PluginVerdict::Retry { after, scope } => {
            let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            let scope = if *scope == RetryScope::Host { "host" } else { "endpoint" };
            json!({ "retry": { "after_ms": after_ms, "scope": scope } })
        }
        PluginVerdict::Rejected(reason) => json!({ "rejected": reason }),
        PluginVerdict::Gone(reason) => json!({ "gone": reason }),
        PluginVerdict::Unknown(reason) => json!({ "unknown": reason }),
    };
    json!({ "verdict": verdict }).to_string()
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

/// Whether that is what was expected: numbers as they are written, a kept event's data byte for byte.
fn agrees(expected: &str, came: &str, fault: Option<&str>) -> bool {
    let (Ok(wanted), Ok(got)) = (Node::parse(expected), Node::parse(came)) else { return false };
    if let (Some(part), Some(message)) = (wanted.get("fault").and_then(Node::as_str), fault) {
        return message.contains(part);
    }
    data_of(expected) == data_of(came) && same(&wanted, &got)
}

/// The text of `keep.data`.
fn data_of(text: &str) -> Option<&str> {
    let keep: BTreeMap<&str, &RawValue> = serde_json::from_str(text).ok()?;
    let kept: BTreeMap<&str, &RawValue> = serde_json::from_str(keep.get("keep")?.get()).ok()?;
    kept.get("data").map(|data| data.get())
}

/// Equal, the order of keys apart.
fn same(one: &Node<'_>, other: &Node<'_>) -> bool {
    match (one, other) {
        (Node::Object(one), Node::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Node::Array(one), Node::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same(one, other))
        }
        (Node::Object(_) | Node::Array(_), _) | (_, Node::Object(_) | Node::Array(_)) => false,
        (one, other) => one.to_string() == other.to_string(),
    }
}
