//! What passes between the gateway and a plugin, in the gateway's own words: the contract's records
//! without their bindings, so that only `engine` knows WebAssembly.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PluginId, TenantId};

/// The SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which of the contract's two worlds a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Changes or drops an event.
    Transform,
    /// Makes requests for a target and may read its answers.
    Connector,
}

/// When a connector reads an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interprets {
    /// Never.
    Never,
    /// Answers that are not 2xx.
    Errors,
    /// Every answer.
    Always,
}

/// What to do when the outcome of a request is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Send it again.
    Retry,
    /// Hold it for a person.
    Hold,
}

/// Computed authentication a manifest asks the host for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthNeed {
    /// None.
    None,
    /// A Google service account key in the named config field.
    GoogleServiceAccount {
        /// JSON Pointer into the config.
        config_field: String,
        /// OAuth scopes.
        scopes: Vec<String>,
    },
}

/// How many events one request can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batching {
    /// Most events; 1 means no batching.
    pub max_events: u32,
    /// Most bytes of event data; 0 means no limit of its own.
    pub max_bytes: u32,
    /// Longest wait for a batch to fill, in milliseconds.
    pub max_wait_ms: u32,
}

/// The target's usual rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRate {
    /// Most requests in a period.
    pub max: u32,
    /// The period, in milliseconds.
    pub per_ms: u32,
}

/// How the target recognises a repeated request, if it does.
pub type Idempotency = Option<String>;

/// What a plugin says of itself. Field by field as in `wit/plugin.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented field by field in wit/plugin.wit")]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub title: String,
    pub description: String,
    pub kind: Kind,
    /// JSON Schema, draft 2020-12, as JSON text that has been parsed once.
    pub config_schema: String,
    pub hosts: Vec<String>,
    pub auth: AuthNeed,
    pub interprets: Interprets,
    pub batching: Batching,
    pub idempotency: Idempotency,
    pub on_unknown: OnUnknown,
    pub rate: Option<PluginRate>,
    pub contract: String,
}

impl Manifest {
    /// `name@version`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// One version of a plugin that a tenant uploaded. It never changes: other bytes are another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// Its id.
    pub id: PluginId,
    /// Whose it is, and who alone may use it.
    pub tenant_id: TenantId,
    /// The name that it was uploaded under; its own, unless another was given.
    pub name: String,
    /// Of the bytes that were uploaded.
    pub digest: Digest,
    /// How many bytes that were.
    pub size: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

impl PluginVersion {
    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// `name@version`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.manifest.version)
    }
}

/// The name in a reference to a plugin: of `name@1.2.0`, `name@latest`, or the name alone.
#[must_use]
pub fn plugin_name(reference: &str) -> &str {
    reference.split('@').next().unwrap_or(reference)
}

/// The rule for plugins' names: 1 to 64 of `a-z 0-9 -`, beginning with a letter.
#[must_use]
pub fn is_plugin_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An event as a plugin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// The client's id, else `evt_…`.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Who says so; may be empty.
    pub source: String,
    /// RFC 3339, UTC, milliseconds.
    pub timestamp: String,
    /// JSON text.
    pub data: String,
    /// Kept headers and extensions.
    pub attributes: Vec<(String, String)>,
}

/// What a transform decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These go on.
    Keep(Vec<PluginEvent>),
    /// It ends here.
    Drop(String),
}

/// What a connector wants sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// These requests.
    Send(Vec<PluginRequest>),
    /// Nothing.
    Drop(String),
}

/// The body of a connector's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginPayload {
    /// UTF-8.
    Text(String),
    /// As they are.
    Bytes(Vec<u8>),
}

/// A request a connector asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRequest {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// Absent: the subscription's own.
    pub url: Option<String>,
    /// Headers beside the content type.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: PluginPayload,
    /// The `Content-Type`.
    pub content_type: String,
}

/// An answer as a connector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginResponse {
    /// The status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// At most 16 KiB.
    pub body: String,
    /// Whether there was more.
    pub truncated: bool,
}

/// Whom a wait concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryScope {
    /// The subscription's endpoint.
    Endpoint,
    /// The host, for this tenant.
    Host,
}

/// What an answer means, by the connector's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginVerdict {
    /// The target has it.
    Delivered,
    /// Try again.
    Retry {
        /// The wait the target asks for.
        after: Option<Duration>,
        /// Whom it concerns.
        scope: RetryScope,
    },
    /// Never.
    Rejected(String),
    /// Gone for good.
    Gone(String),
    /// It can't be told.
    Unknown(String),
}

/// One verdict for all, or one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdicts {
    /// For all events of the request.
    All(PluginVerdict),
    /// One each, in order.
    Each(Vec<PluginVerdict>),
}

/// One line of a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// Why a run did not end well. Each kind has its name in the API, the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// The plugin reported a fault of its own accord.
    Reported,
    /// It used up its running time.
    Time,
    /// It asked for more memory, tables or instances than it may have.
    Memory,
    /// It overflowed its stack.
    Stack,
    /// It trapped: a panic, an unreachable, an access out of bounds.
    Trap,
    /// What it gave back was larger than allowed.
    OutputTooLarge,
    /// It logged more than allowed.
    LogTooLarge,
    /// What it gave back breaks the contract: bad JSON, a changed id, a forbidden header, no list of one.
    BadOutput,
    /// Our fault: the engine failed.
    Engine,
}

impl FaultKind {
    /// The word in the API and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Trap => "trap",
            Self::OutputTooLarge => "output_too_large",
            Self::LogTooLarge => "log_too_large",
            Self::BadOutput => "bad_output",
            Self::Engine => "engine",
        }
    }

    /// Whether it is a limit that was hit: five in a row of one digest hold the subscription.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, Self::Time | Self::Memory | Self::Stack | Self::OutputTooLarge | Self::LogTooLarge)
    }
}

/// A run that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", kind.as_str())]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether another run with the same input could end otherwise, by the plugin's word or the engine's.
    pub retryable: bool,
}

impl Fault {
    /// Whether a delivery that meets it is tried again: unless the plugin itself says that it is no use.
    #[must_use]
    pub fn is_tried_again(&self) -> bool {
        self.kind != FaultKind::Reported || self.retryable
    }
}
