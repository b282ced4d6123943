//! Plugins.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Raw, Time};
use crate::control::Uploaded;
use crate::domain::{Kind, PluginVersion};
use crate::engine::Plugin;
use crate::registry::{Found, Upload};

/// A version of a plugin: what it says of itself, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(in crate::http) struct PluginView {
    /// `plg_…`; a preset has none.
    id: Option<String>,
    name: String,
    version: String,
    /// `transform` or `connector`.
    kind: &'static str,
    /// Whether everybody may use it.
    preset: bool,
    /// The SHA-256 of the bytes that were uploaded.
    digest: String,
    /// How many bytes that were.
    size: u64,
    title: String,
    description: String,
    /// JSON Schema (draft 2020-12) of its config. Fields marked `writeOnly` are secrets and never come back.
    config_schema: Raw,
    /// Hosts it may address; empty: that of the subscription's own URL.
    hosts: Vec<String>,
    /// How requests are authenticated for it, if they are.
    #[schema(value_type = Object)]
    auth: Value,
    /// The target's usual rate.
    #[schema(value_type = Option<Object>)]
    rate: Option<Value>,
    /// What follows when it is not known whether a request arrived: `retry` or `hold`.
    #[schema(value_type = String)]
    on_unknown: Value,
    /// The version of the plugin contract that it was made for.
    contract: String,
    /// When it was uploaded; absent of a preset.
    created_at: Option<Time>,
}

impl PluginView {
    fn new(plugin: &Plugin, version: Option<&PluginVersion>) -> Self {
        let manifest = plugin.manifest();
        Self {
            id: version.map(|version| version.id.to_string()),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: match manifest.kind {
                Kind::Transform => "transform",
                Kind::Connector => "connector",
            },
            preset: version.is_none(),
            digest: plugin.digest().to_string(),
            size: plugin.size(),
            title: manifest.title.clone(),
            description: manifest.description.clone(),
            config_schema: Raw::of(&manifest.config_schema),
            hosts: manifest.hosts.clone(),
            auth: serde_json::to_value(&manifest.auth).unwrap_or_default(),
            rate: manifest.rate.and_then(|rate| serde_json::to_value(rate).ok()),
            on_unknown: serde_json::to_value(manifest.on_unknown).unwrap_or_default(),
            contract: manifest.contract.clone(),
            created_at: version.map(|version| version.created_at.into()),
        }
    }
}

impl From<&Plugin> for PluginView {
    fn from(preset: &Plugin) -> Self {
        Self::new(preset, None)
    }
}

impl From<&Upload> for PluginView {
    fn from(upload: &Upload) -> Self {
        Self::new(&upload.plugin, Some(&upload.version))
    }
}

impl From<&Found> for PluginView {
    fn from(found: &Found) -> Self {
        Self::new(found.plugin(), found.version().map(|version| &**version))
    }
}

/// What a name stands for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginWithVersions)]
pub(in crate::http) struct NamedPluginView {
    /// Its latest version: what the bare name means.
    #[serde(flatten)]
    latest: PluginView,
    /// All of them, oldest first.
    versions: Vec<PluginVersionView>,
}

/// A version among others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginVersion)]
struct PluginVersionView {
    version: String,
    digest: String,
    size: u64,
    /// When it was uploaded; absent of a preset.
    created_at: Option<Time>,
}

impl NamedPluginView {
    /// `found` is the latest; `uploads` are the tenant's.
    pub(in crate::http) fn new(found: &Found, uploads: &[Upload]) -> Self {
        let name = &found.plugin().manifest().name;
        let row = |plugin: &Plugin, created_at| PluginVersionView {
            version: plugin.manifest().version.clone(),
            digest: plugin.digest().to_string(),
            size: plugin.size(),
            created_at,
        };
        let versions = match found {
            Found::Preset(plugin) => vec![row(plugin, None)],
            Found::Own(_) => (uploads.iter().filter(|upload| upload.version.name == *name))
                .map(|upload| row(&upload.plugin, Some(upload.version.created_at.into())))
                .collect(),
        };
        Self { latest: found.into(), versions }
    }
}

/// What an upload came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadedPlugin)]
pub(in crate::http) struct UploadedView {
    #[serde(flatten)]
    plugin: PluginView,
    /// Subscriptions that follow the name and do not go together with this version: they stay with the one before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    not_followed_by: Vec<String>,
}

impl From<&Uploaded> for UploadedView {
    fn from(uploaded: &Uploaded) -> Self {
        Self {
            plugin: (&uploaded.upload).into(),
            not_followed_by: uploaded.followed.left.iter().map(ToString::to_string).collect(),
        }
    }
}
