//! Tenants, their keys, their sources and their inboxes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Algorithm, Encoding, InboxId, KeyId, Sealed, SourceId, TenantId, duration};

/// Someone whose events, subscriptions and plugins nobody else can see, slow or stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The operator's own id for it: unique, usable in paths as `uid:…`.
    pub uid: Option<String>,
    /// A name for people.
    pub name: String,
    /// Free for the operator.
    pub metadata: Map<String, Value>,
    /// What it may use.
    pub limits: TenantLimits,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a tenant may use; absent means the configured default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Events taken in per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// Subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u32>,
}

/// What a key may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Post events.
    Ingest,
    /// Read.
    Viewer,
    /// Change subscriptions and sources, send tests, retry.
    Editor,
    /// Make keys, read secrets.
    Admin,
    /// Operator-made, for the source product: post any tenant's events, nothing else.
    Producer,
    /// Tenants and their keys; nothing inside a tenant.
    Operator,
}

/// An API key. Its text is `<id>.<256 random bits>`; only the SHA-256 of the random half is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public half.
    pub id: KeyId,
    /// The tenant it belongs to; absent for operator and producer keys.
    pub tenant_id: Option<TenantId>,
    /// What it may do.
    pub role: Role,
    /// A name for people.
    pub name: Option<String>,
    /// The SHA-256 of the secret half. A slow hash has no use for 256 random bits.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// What a client asks of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// A name; it is the `source` of its events.
    pub name: String,
    /// The shared secret, on its way in only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// How a request proves where it comes from; absent means any request is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Where the event's parts are: `$.path`, `header:name`, or a list joined by `.`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extract: Map<String, Value>,
    /// Request headers kept as the event's attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_headers: Vec<String>,
    /// Whether it takes requests.
    #[serde(default = "super::subscription::enabled_by_default")]
    pub enabled: bool,
}

/// How a request to a source proves where it comes from: an HMAC over a text made from a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "lowercase", deny_unknown_fields)]
pub enum Verification {
    /// Standard Webhooks 1.0.
    Standard {
        /// `webhook` unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header_prefix: Option<String>,
        /// How far the timestamp may be off, either way; 300 s unless given.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
        tolerance: Option<Duration>,
    },
    /// One header with an HMAC.
    Hmac {
        /// The header's name.
        header: String,
        /// The hash.
        #[serde(default)]
        algorithm: Algorithm,
        /// How the digest is written.
        #[serde(default)]
        encoding: Encoding,
        /// What is signed.
        #[serde(default = "super::subscription::whole_body")]
        content: String,
        /// The header's value, with `{signature}` and, where it carries one, `{timestamp}`.
        #[serde(default = "super::subscription::bare_signature")]
        value: String,
        /// The header that carries the timestamp, in Unix seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp_header: Option<String>,
        /// How far the timestamp may be off, either way; 300 s unless given.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
        tolerance: Option<Duration>,
    },
}

/// A product that posts raw requests to `/in/{source_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its id, and the last part of its URL.
    pub id: SourceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What the client asked for, without the secret.
    pub spec: SourceSpec,
    /// The secret under the master key.
    pub secret: Option<Sealed>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A URL on this gateway that takes anything and shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbox {
    /// Its id; 122 random bits would be guessable as a UUIDv7, so the URL carries a token of its own.
    pub id: InboxId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The last part of its URL, 128 random bits in hexadecimal.
    pub token: String,
    /// When it was made.
    pub created_at: Timestamp,
}
