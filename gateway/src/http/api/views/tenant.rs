//! Tenants, keys, inboxes.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Time;
use crate::control::{Principal, TenantUsage};
use crate::domain::{ApiKey, Inbox, Secret, Tenant};
use crate::http::HttpConfig;
use crate::http::guard::word;

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(in crate::http) struct TenantView {
    /// `ten_…`
    id: String,
    /// The operator's own id, usable in paths as `uid:…`.
    uid: Option<String>,
    /// A name for people.
    name: String,
    /// The profile of its subscriptions that name none.
    profile: Option<String>,
    /// Free for the operator.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// What it may use; what is absent has the configured default.
    #[schema(value_type = Limits)]
    limits: Value,
    created_at: Time,
}

/// What a tenant may use.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for the document")]
pub(in crate::http) struct Limits {
    /// Events taken in per second.
    #[schema(required = false)]
    events_per_second: Option<u32>,
    /// Subscriptions.
    #[schema(required = false)]
    subscriptions: Option<u32>,
    /// Versions of plugins that it has uploaded.
    #[schema(required = false)]
    plugins: Option<u32>,
    /// Their bytes, together.
    #[schema(required = false)]
    plugin_bytes: Option<u64>,
    /// Processor time for compiling them, an hour, such as `"10m"`.
    #[schema(required = false)]
    plugin_compile: Option<String>,
    /// Processor time of plugins' calls, a minute, such as `"20s"`; `"0s"`: as much as there is.
    #[schema(required = false)]
    plugin_cpu: Option<String>,
}

/// What makes a tenant, and in part what changes one.
#[derive(ToSchema)]
#[schema(as = NewTenant)]
#[expect(dead_code, reason = "a shape for the document; read by control")]
pub(in crate::http) struct NewTenantBody {
    /// A name for people, 1 to 200 bytes.
    name: String,
    /// The operator's own id: unique, 1 to 128 of `A-Z a-z 0-9 . _ -`.
    #[schema(required = false)]
    uid: Option<String>,
    /// The profile of its subscriptions that name none: with one, the product's documented call works as it stands.
    #[schema(required = false)]
    profile: Option<String>,
    /// Free for the operator; at most 16 KiB.
    #[schema(required = false, value_type = Object)]
    metadata: Map<String, Value>,
    #[schema(required = false)]
    limits: Limits,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            uid: tenant.uid.clone(),
            name: tenant.name.clone(),
            profile: tenant.profile.clone(),
            metadata: tenant.metadata.clone(),
            limits: serde_json::to_value(&tenant.limits).unwrap_or_default(),
            created_at: tenant.created_at.into(),
        }
    }
}

/// A tenant that was just made, with its first admin key.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CreatedTenant {
    #[serde(flatten)]
    tenant: TenantView,
    /// The first admin key. It is shown this once.
    key: String,
}

impl CreatedTenant {
    pub(in crate::http) fn new(tenant: &Tenant, key: &Secret) -> Self {
        Self { tenant: tenant.into(), key: key.expose().to_owned() }
    }
}

/// How much a tenant has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::http) struct UsageView {
    subscriptions: usize,
    sources: usize,
    keys: usize,
    inboxes: usize,
    /// Versions of plugins that it has uploaded.
    plugins: usize,
    /// Their bytes, together.
    plugin_bytes: u64,
}

impl From<TenantUsage> for UsageView {
    fn from(usage: TenantUsage) -> Self {
        let TenantUsage { subscriptions, sources, keys, inboxes, plugins, plugin_bytes } = usage;
        Self { subscriptions, sources, keys, inboxes, plugins, plugin_bytes }
    }
}

/// A key, without its secret half.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(in crate::http) struct KeyView {
    /// `key_…`
    id: String,
    /// `null` for operator and producer keys.
    tenant_id: Option<String>,
    /// `ingest`, `viewer`, `editor`, `admin`, `producer` or `operator`.
    role: &'static str,
    name: Option<String>,
    created_at: Time,
    /// From when on it is refused; `null`: never.
    expires_at: Option<Time>,
}

impl From<&ApiKey> for KeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            tenant_id: key.tenant_id.map(|id| id.to_string()),
            role: word(key.role),
            name: key.name.clone(),
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Time::from),
        }
    }
}

/// What makes a key.
#[derive(ToSchema)]
#[schema(as = NewKey)]
#[expect(dead_code, reason = "a shape for the document; read by control")]
pub(in crate::http) struct NewKeyBody {
    /// `ingest`, `viewer`, `editor` or `admin` for a tenant; `operator` or `producer` for the operator.
    role: String,
    /// A name for people.
    #[schema(required = false)]
    name: Option<String>,
    /// From when on it is refused; never, unless given.
    #[schema(required = false)]
    expires_at: Option<Time>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// The key. It is shown this once.
    key: String,
}

impl CreatedKey {
    pub(in crate::http) fn new(key: &ApiKey, text: &Secret) -> Self {
        Self { view: key.into(), key: text.expose().to_owned() }
    }
}

/// Whose key this is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me)]
pub(in crate::http) struct MeView {
    /// `null` for the operator key of the configuration.
    key_id: Option<String>,
    /// What it may do.
    role: &'static str,
    /// The tenant it acts for; `null` for operator and producer keys.
    tenant: Option<TenantView>,
}

impl MeView {
    pub(in crate::http) fn new(principal: &Principal, tenant: Option<&Tenant>) -> Self {
        Self {
            key_id: principal.key.map(|id| id.to_string()),
            role: word(principal.role),
            tenant: tenant.map(TenantView::from),
        }
    }
}

/// An inbox. Its URL is all that is needed to see what arrived: keep it to yourself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inbox)]
pub(in crate::http) struct InboxView {
    /// `inb_…`
    id: String,
    /// Takes any request, and shows a page to a browser.
    url: String,
    /// What arrived, as JSON.
    requests_url: String,
    created_at: Time,
}

impl InboxView {
    pub(in crate::http) fn new(inbox: &Inbox, config: &HttpConfig) -> Self {
        let url = config.url(&format!("/inbox/{}", inbox.token));
        Self {
            id: inbox.id.to_string(),
            requests_url: format!("{url}/requests"),
            url,
            created_at: inbox.created_at.into(),
        }
    }
}
