//! What a run of a plugin came to.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Raw;
use super::history::{LogLineView, headers_view, text_or_base64};
use crate::control::{Output, PluginTrial};
use crate::domain::{Decision, Fault, PluginEvent, PluginPayload, PluginRequest, Rendered};

/// What a run of a plugin came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginRunResult)]
pub(in crate::http) struct RunView {
    /// `name@version`.
    plugin: String,
    /// The SHA-256 of its bytes.
    digest: String,
    /// What it made; `null` if it faulted.
    output: Option<OutputView>,
    /// What it logged, also where it faulted.
    log: Vec<LogLineView>,
    /// What went wrong.
    fault: Option<FaultView>,
    /// Its running time, in microseconds.
    cpu_us: u64,
    /// The most memory it had, in bytes.
    memory_bytes: usize,
}

/// What a plugin made: exactly one of these.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginOutput)]
#[serde(rename_all = "snake_case")]
enum OutputView {
    /// The event as a transform left it.
    Keep(RunEventView),
    /// The request that a connector wants sent.
    Send(RunRequestView),
    /// Why it ends here.
    Drop(String),
}

/// An event as a plugin left it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginEvent)]
struct RunEventView {
    id: String,
    r#type: String,
    source: String,
    timestamp: String,
    data: Raw,
    attributes: BTreeMap<String, String>,
}

/// A request as a connector made it: without what the gateway adds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginRequest)]
struct RunRequestView {
    method: String,
    /// `null`: the subscription's own.
    url: Option<String>,
    headers: BTreeMap<String, String>,
    content_type: String,
    body: String,
    /// `base64` where the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    body_encoding: Option<&'static str>,
}

/// A run that did not end well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginFault)]
struct FaultView {
    /// `reported`, `time`, `memory`, `stack`, `trap`, `output_too_large`, `log_too_large`, `bad_output` or `engine`.
    kind: &'static str,
    /// The plugin's own words, or the engine's.
    message: String,
    /// Whether a delivery that meets it is tried again: unless the plugin reports that it is no use.
    retryable: bool,
}

impl From<&PluginTrial> for RunView {
    fn from(trial: &PluginTrial) -> Self {
        let result = trial.result.as_ref();
        Self {
            plugin: trial.plugin.manifest().reference(),
            digest: trial.plugin.digest().to_string(),
            output: result.ok().and_then(OutputView::of),
            log: trial.log.iter().map(LogLineView::from).collect(),
            fault: result.err().map(FaultView::from),
            cpu_us: u64::try_from(trial.cpu.as_micros()).unwrap_or(u64::MAX),
            memory_bytes: trial.peak_memory,
        }
    }
}

impl OutputView {
    /// The engine lets no list pass that is not of one.
    fn of(output: &Output) -> Option<Self> {
        match output {
            Output::Decided(Decision::Keep(events)) => events.first().map(|event| Self::Keep(event.into())),
            Output::Rendered(Rendered::Send(requests)) => requests.first().map(|request| Self::Send(request.into())),
            Output::Decided(Decision::Drop(reason)) | Output::Rendered(Rendered::Drop(reason)) => {
                Some(Self::Drop(reason.clone()))
            }
        }
    }
}

impl From<&PluginEvent> for RunEventView {
    fn from(event: &PluginEvent) -> Self {
        Self {
            id: event.id.clone(),
            r#type: event.event_type.clone(),
            source: event.source.clone(),
            timestamp: event.timestamp.clone(),
            data: Raw::of(&event.data),
            attributes: event.attributes.iter().cloned().collect(),
        }
    }
}

impl From<&PluginRequest> for RunRequestView {
    fn from(request: &PluginRequest) -> Self {
        let (body, body_encoding) = match &request.body {
            PluginPayload::Text(text) => (text.clone(), None),
            PluginPayload::Bytes(bytes) => text_or_base64(bytes),
        };
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: headers_view(&request.headers),
            content_type: request.content_type.clone(),
            body,
            body_encoding,
        }
    }
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        Self { kind: fault.kind.as_str(), message: fault.message.clone(), retryable: fault.is_tried_again() }
    }
}
