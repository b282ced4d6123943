//! Golden files over a built plugin, in the gateway's own engine: what `hookmill plugin test` does.
//!
//! The form of the files is told in `plugin-sdk/src/testing.rs`, whose native harness runs the same ones over
//! the plugin as a plain function.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::domain::{
    Decision, Fault, Kind, PluginEvent, PluginPayload, PluginRequest, PluginResponse, PluginVerdict, Rendered,
    RetryScope, TenantId, Verdicts,
};
use crate::engine::{Engine, EngineConfig, Plugin, Reuse};
use crate::filter::Node;

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
    let bytes = std::fs::read(module).with_context(|| format!("can't read {}", module.display()))?;
    let engine = Engine::new(limits())?;
    let plugin = engine.install(&bytes).await.with_context(|| format!("{} does not load", module.display()))?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("can't read {}", folder.display()))?
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{}: no golden files", folder.display());
    let mut report = Report { plugin: plugin.manifest().reference(), ..Report::default() };
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let case: Case = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        let (came, fault) = call(&engine, &plugin, &case).await;
        if agrees(case.expect.get(), &came, fault.as_deref()) {
            report.passed += 1;
        } else {
            report.failures.push(format!("{}\n  expected {}\n  came     {came}", file.display(), case.expect.get()));
        }
    }
    Ok(report)
}

/// The gateway's usual limits, but for time: the machine that tests may be busy with other things.
fn limits() -> EngineConfig {
    EngineConfig {
        time: Duration::from_secs(2),
        memory: 64 << 20,
        output: 1 << 20,
        log: 16 << 10,
        hostcall_fuel: 4 << 20,
        component: 24 << 20,
        instances: 4,
        concurrency: 2,
        reuse: Reuse::NONE,
        cache_dir: None,
        compiler: None,
    }
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

/// What came of a case, in the form of `expect`; and the message, if it was a fault.
async fn call(engine: &Engine, plugin: &Arc<Plugin>, case: &Case) -> (String, Option<String>) {
    let tenant = TenantId::from_bytes([0; 16]);
    let config = case.config.get();
    let event = case.event.event();
    let came = match (&case.response, plugin.manifest().kind) {
        (Some(answer), _) => {
            let response = PluginResponse {
                status: answer.status,
                headers: answer.headers.clone().into_iter().collect(),
                body: answer.body.clone(),
                truncated: answer.truncated,
            };
            engine.interpret(plugin, tenant, &response, config, 1).await.result.map(|verdicts| verdict(&verdicts))
        }
        (None, Kind::Connector) => engine.render(plugin, tenant, &[event], config).await.result.map(|out| sent(&out)),
        (None, Kind::Transform) => engine.transform(plugin, tenant, &event, config).await.result.map(|out| kept(&out)),
    };
    match came {
        Ok(came) => (came, None),
        Err(Fault { message, .. }) => (json!({ "fault": message }).to_string(), Some(message)),
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

fn request(request: &PluginRequest) -> String {
    let text = match &request.body {
        PluginPayload::Text(text) => text.clone(),
        PluginPayload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let is_json = matches!(&request.body, PluginPayload::Text(_))
        && Node::parse(&text).is_ok_and(|node| !matches!(node, Node::String(_)));
    let body = if is_json { text } else { Value::from(text).to_string() };
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
