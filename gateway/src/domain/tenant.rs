//! Tenants, their keys and their inboxes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InboxId, KeyId, TenantId, duration};

/// Someone whose events, subscriptions and plugins nobody else can see, slow or stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The operator's own id for it: unique, usable in paths as `uid:…`.
    pub uid: Option<String>,
    /// A name for people.
    pub name: String,
    /// The profile of its subscriptions that name none.
    #[serde(default)]
    pub profile: Option<String>,
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
    /// Versions of plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<u32>,
    /// Bytes of plugins, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_bytes: Option<u64>,
    /// Processor time for compiling plugins, an hour.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub plugin_compile: Option<Duration>,
    /// Processor time of plugins' calls, a minute; zero: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub plugin_cpu: Option<Duration>,
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
