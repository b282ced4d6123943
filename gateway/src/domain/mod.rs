//! The nouns of Hookmill: values only, no I/O, no clock, no libraries beyond serde.
//!
//! A **tenant** owns everything below it and can see nothing else. A **source** is a product that posts
//! raw requests. An **event** is something that happened, kept as the bytes that said so. A
//! **subscription** says which events are wanted, how they are changed, where they go and how they are
//! signed and retried. A **delivery** is one event owed to one subscription; an **attempt** is one
//! recorded try at it; an **outcome** is what happened, and says whose fault it was; a **verdict** is what
//! happens next.
//!
//! Every other room may import this one, and it imports none.

mod catalogue;
mod delivery;
mod event;
mod id;
mod plugin;
mod replay;
mod secret;
mod signing;
mod source;
mod subscription;
mod tenant;

pub use catalogue::{BREACH, CatalogueEntry, Enforce, Sample, SeenType, SeenTypes};
pub use delivery::{
    Attempt, AttemptRequest, AttemptResponse, Blame, Delivery, Frozen, Lane, Outcome, PluginRun, Status, Trigger,
    Verdict,
};
pub use event::{Event, EventType, EventTypeError, RESERVED_PREFIX};
pub use id::{
    AttemptId, DeliveryId, EventId, IdError, IdMap, InboxId, InboxRequestId, KeyId, PluginId, ReplayId, SourceId,
    SubscriptionId, TenantId,
};
pub use plugin::{
    AuthNeed, Batching, Decision, Digest, Fault, FaultKind, Idempotency, Interprets, Kind, LogLine, Manifest,
    OnUnknown, PluginEvent, PluginPayload, PluginRate, PluginRequest, PluginResponse, PluginVerdict, PluginVersion,
    Rendered, RetryScope, Verdicts, is_plugin_name, plugin_name,
};
pub use replay::{Only, Replay, ReplaySpec, ReplayState};
pub use secret::{Sealed, Secret};
pub use signing::{
    Algorithm, BodyHash, Encoding, SchemeKind, SecretDecoding, SecretForm, SharedPlace, Signing, TimeFormat, TimeUnit,
    TimestampForm,
};
pub use source::{Answer, Handshake, HandshakeMethod, Refused, Source, SourceRefusals, SourceResponse, SourceSpec};
pub use subscription::{
    Auth, Backoff, BodyFormat, CandidateSpec, ConnectorSpec, Envelope, NextSecret, PreviousSecret, RateLimit,
    RetryPolicy, State, StateReason, Subscription, SubscriptionSpec, TransformSpec,
};
pub use tenant::{ApiKey, Inbox, Role, Tenant, TenantLimits};

/// A duration in a configuration: `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`, or sums such as `"1h30m"`.
pub mod duration;

/// How deep JSON may be nested.
pub mod nesting;

/// A list that may be written as its only item.
pub mod one_or_many;

/// Segments of JSON Pointers.
pub mod pointer;

/// JSON that clients write, read as the API describes it.
pub mod strict;

/// RFC 3339 in UTC with milliseconds, the one form in which the product writes times.
pub fn rfc3339(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// What is wrong with one field of what a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: an RFC 6901 JSON Pointer, without the `#`.
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub detail: String,
}

impl FieldError {
    /// Shorthand.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
