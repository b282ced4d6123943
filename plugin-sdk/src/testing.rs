//! Runs a plugin as a plain function over golden files.
//!
//! A golden file is one call and what must come of it, in a folder `golden/` beside the plugin's
//! `Cargo.toml`:
//!
//! ```json
//! {
//!   "name": "what this shows (optional)",
//!   "event": {"id": "evt_1", "type": "order.paid", "timestamp": "2026-11-21T12:00:00.000Z",
//!             "source": "shop", "data": {"amount": 100.0}, "attributes": {}},
//!   "config": {"text": "{{ data.amount }}"},
//!   "expect": {"send": {"method": "POST", "url": null, "headers": {},
//!                       "content_type": "application/json", "body": {"text": "100.0"}}}
//! }
//! ```
//!
//! - `event`: only `type` and `data` are required. `data` is handed over exactly as it stands in the file,
//!   white space and number spelling included. `attributes` is an object of texts.
//! - `config`: as a subscription has it; secrets are whatever placeholder the file says.
//! - `response` (`{"status", "headers"?, "body"?, "truncated"?}`): then it is a connector's `interpret`
//!   that is called, and `expect` holds a `verdict`. `headers` is an object of texts, `body` a text.
//! - `expect` is one of
//!   - `{"send": {…}}`: exactly one request. `url` is `null` for the subscription's own; `body` is JSON if the
//!     body's text is JSON other than a string, compared as values with numbers as written, else the text itself;
//!   - `{"keep": {…}}`: exactly one event with all its fields; `data` must be the same text, byte for byte;
//!   - `{"drop": "the reason"}`;
//!   - `{"fault": "a part of the message"}`;
//!   - `{"verdict": "delivered"}`, `{"verdict": {"retry": {"after_ms": 1000, "scope": "endpoint"}}}` (`after_ms`
//!     is `null` where the target does not say; the scope may be `host`), `{"verdict": {"rejected": "reason"}}`,
//!     `{"gone": …}`, `{"unknown": …}` likewise.
//!
//! For what a file can't say there are [`run_transform`], [`run_render`] and [`run_interpret`], which make one call and
//! give back what came of it.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes what came of each call into its file; read the difference before you
//! commit it. The gateway runs the same files through the built module, so a plugin that passes here and
//! fails there would be the gateway's fault.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::json::quote;
use crate::{
    Connector, Decision, Event, Fault, Kind, Level, Manifest, Outcome, Payload, Request, Response, Scope, Transform,
    Verdict, guest,
};

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn keep_log_line(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// What the plugin has logged on this thread since the last time this was asked.
#[must_use]
pub fn log_lines() -> Vec<(Level, String)> {
    LINES.take()
}

/// An event of this type and data, for tests of your own.
#[must_use]
pub fn event(event_type: &str, data: &str) -> Event {
    Event {
        id: "evt_1".to_owned(),
        type_: event_type.to_owned(),
        source: String::new(),
        timestamp: "2026-11-21T12:00:00.000Z".to_owned(),
        data: data.to_owned(),
        attributes: Vec::new(),
    }
}

/// An answer with this status and body and no headers, for tests of your own.
#[must_use]
pub fn response(status: u16, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.to_owned(), truncated: false }
}

/// A request's body as text; bytes that are no UTF-8 are replaced.
#[must_use]
pub fn body(request: &Request) -> String {
    match &request.body {
        Payload::Text(text) => text.clone(),
        Payload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Runs a transform once, as the gateway would: `config` is the JSON that a subscription has.
///
/// # Errors
/// The fault that would stand in the delivery's log; also where the config does not fit its type.
pub fn run_transform<T: Transform>(event: Event, config: &str) -> Result<Decision, Fault> {
    guest::transform::<T>(event, config)
}

/// Lets a connector render one event, as the gateway would: `config` is the JSON that a subscription has, with any
/// text where a secret belongs.
///
/// # Errors
/// The fault that would stand in the delivery's log; also where the config does not fit its type.
pub fn run_render<T: Connector>(event: Event, config: &str) -> Result<Outcome, Fault> {
    guest::render::<T>(vec![event], config)
}

/// Lets a connector read an answer, whatever its manifest says of when it is asked.
#[must_use]
pub fn run_interpret<T: Connector>(response: &Response, config: &str) -> Verdict {
    guest::interpret::<T>(response, config)
}

/// Runs every golden file of `folder`, a path beside the crate's `Cargo.toml`, through a transform.
///
/// # Panics
/// With all differences, if there are any.
pub fn transform<T: Transform>(folder: &str) {
    run(folder, |case| match guest::transform::<T>(case.event.event(), case.config.get()) {
        Ok(decision) => kept(&decision),
        Err(fault) => faulted(&fault),
    });
}

/// Runs every golden file of `folder`, a path beside the crate's `Cargo.toml`, through a connector.
///
/// # Panics
/// With all differences, if there are any.
pub fn connector<T: Connector>(folder: &str) {
    run(folder, |case| match &case.response {
        Some(response) => verdict(&guest::interpret::<T>(&response.response(), case.config.get())),
        None => match guest::render::<T>(vec![case.event.event()], case.config.get()) {
            Ok(outcome) => sent(&outcome),
            Err(fault) => faulted(&fault),
        },
    });
}

/// Checks what can be checked of a manifest without a host, and gives the config's schema back for
/// checks of your own.
///
/// # Panics
/// If a field breaks the contract.
pub fn manifest<C: JsonSchema>(manifest: &Manifest) -> Value {
    let name = manifest.name.as_bytes();
    assert!((1..=64).contains(&name.len()) && name[0].is_ascii_lowercase(), "name: {}", manifest.name);
    assert!(
        name.iter().all(|&byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
        "name: {}",
        manifest.name
    );
    assert_eq!(manifest.version.split(['-', '+']).next().map(|core| core.split('.').count()), Some(3), "version");
    assert!((1..=80).contains(&manifest.title.chars().count()), "title");
    assert!((1..=2000).contains(&manifest.description.chars().count()), "description");
    assert!(manifest.kind == Kind::Connector || manifest.hosts.is_empty(), "a transform has no hosts");
    let schema = guest::describe::<C>(manifest).config_schema;
    serde_json::from_str(&schema).unwrap_or_else(|error| panic!("schema: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    event: GoldenEvent,
    config: Box<RawValue>,
    #[serde(default)]
    response: Option<GoldenResponse>,
    expect: Box<RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct GoldenEvent {
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

impl GoldenEvent {
    fn event(&self) -> Event {
        let mut event = event(&self.event_type, self.data.as_ref().map_or("null", |data| data.get()));
        event.source.clone_from(&self.source);
        if let Some(id) = &self.id {
            event.id.clone_from(id);
        }
        if let Some(timestamp) = &self.timestamp {
            event.timestamp.clone_from(timestamp);
        }
        event.attributes = self.attributes.clone().into_iter().collect();
        event
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenResponse {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    truncated: bool,
}

impl GoldenResponse {
    fn response(&self) -> Response {
        Response {
            status: self.status,
            headers: self.headers.clone().into_iter().collect(),
            body: self.body.clone(),
            truncated: self.truncated,
        }
    }
}

/// What came of a call, as JSON text in the form of `expect`.
struct Came {
    text: String,
    fault: Option<String>,
}

impl From<String> for Came {
    fn from(text: String) -> Self {
        Self { text, fault: None }
    }
}

fn faulted(fault: &Fault) -> Came {
    Came { text: json!({ "fault": fault.message }).to_string(), fault: Some(fault.message.clone()) }
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

fn kept(decision: &Decision) -> Came {
    match decision {
        Decision::Drop(reason) => json!({ "drop": reason }).to_string().into(),
        Decision::Keep(events) => match events.as_slice() {
            // Written by hand, so that `data` stays the text it is.
            [event] => format!(
                r#"{{"keep":{{"id":{},"type":{},"timestamp":{},"source":{},"data":{},"attributes":{}}}}}"#,
                quote(&event.id),
                quote(&event.type_),
                quote(&event.timestamp),
                quote(&event.source),
                event.data,
                pairs(&event.attributes)
            )
            .into(),
            events => format!(r#"{{"keep":"{} events"}}"#, events.len()).into(),
        },
    }
}

fn sent(outcome: &Outcome) -> Came {
    let request = match outcome {
        Outcome::Drop(reason) => return json!({ "drop": reason }).to_string().into(),
        Outcome::Send(requests) => match requests.as_slice() {
            [request] => request_json(request),
            requests => Value::from(format!("{} requests", requests.len())),
        },
    };
    json!({ "send": request }).to_string().into()
}

fn request_json(request: &Request) -> Value {
    let content = match &request.body {
        Payload::Text(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) if !value.is_string() => value,
            _ => Value::from(text.as_str()),
        },
        Payload::Bytes(_) => Value::from(body(request)),
    };
    json!({
        "method": request.method, "url": request.url, "headers": pairs(&request.headers),
        "content_type": request.content_type, "body": content,
    })
}

fn verdict(verdict: &Verdict) -> Came {
    let verdict = match verdict {
        Verdict::Delivered => json!("delivered"),
        Verdict::Retry(retry) => {
            let scope = if retry.scope == Scope::Host { "host" } else { "endpoint" };
            json!({ "retry": { "after_ms": retry.after_ms, "scope": scope } })
        }
        Verdict::Rejected(reason) => json!({ "rejected": reason }),
        Verdict::Gone(reason) => json!({ "gone": reason }),
        Verdict::Unknown(reason) => json!({ "unknown": reason }),
    };
    json!({ "verdict": verdict }).to_string().into()
}

fn run(folder: &str, call: impl Fn(&Case) -> Came) {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned());
    let folder = Path::new(&root).join(folder);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(!files.is_empty(), "{}: no golden files", folder.display());
    let update = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let came = call(&case);
        let log = log_lines();
        if agrees(case.expect.get(), &came) {
            continue;
        }
        if update {
            // The last of equal texts: `expect` is written last.
            let at = text.rfind(case.expect.get()).unwrap_or(text.len());
            let rest = text.get(at + case.expect.get().len()..).unwrap_or_default();
            fs::write(&file, format!("{}{}{rest}", &text[..at], pretty(&came)))
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            continue;
        }
        let name = case.name.as_deref().unwrap_or("unnamed");
        let log: String = log.iter().map(|(level, line)| format!("\n  log {level:?}: {line}")).collect();
        failures.push(format!(
            "{} ({name})\n  expected {}\n  came     {}{log}",
            file.display(),
            compact(case.expect.get()),
            came.text
        ));
    }
    assert!(failures.is_empty(), "golden files that differ (UPDATE_GOLDEN=1 rewrites them):\n{}", failures.join("\n"));
}

fn agrees(expected: &str, came: &Came) -> bool {
    #[derive(Deserialize)]
    struct Keep<'a> {
        #[serde(borrow)]
        keep: Kept<'a>,
    }
    #[derive(Deserialize)]
    struct Kept<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let Ok(wanted) = serde_json::from_str::<Value>(expected) else { return false };
    if let (Some(part), Some(message)) = (wanted.get("fault").and_then(Value::as_str), &came.fault) {
        return message.contains(part);
    }
    let data = |text: &str| serde_json::from_str::<Keep<'_>>(text).ok().map(|keep| keep.keep.data.get().to_owned());
    data(expected) == data(&came.text) && serde_json::from_str::<Value>(&came.text).is_ok_and(|came| came == wanted)
}

fn compact(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// Indented, but for a kept event, whose data must stay as it is.
fn pretty(came: &Came) -> String {
    if came.text.starts_with(r#"{"keep""#) {
        return came.text.clone();
    }
    let pretty = serde_json::from_str::<Value>(&came.text).and_then(|value| serde_json::to_string_pretty(&value));
    pretty.map_or_else(|_| came.text.clone(), |text| text.replace('\n', "\n  "))
}
