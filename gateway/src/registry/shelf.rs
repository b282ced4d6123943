//! The plugins there are, found by what a subscription calls them.
//!
//! Presets, and what the operator adds, are everybody's and fixed at the start. What a tenant uploads is its own: nobody
//! else finds it, and its versions come and go while the gateway runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use semver::{Version, VersionReq};

use crate::domain::{Digest, PluginId, PluginVersion, TenantId};
use crate::engine::{Engine, Plugin};

/// The shelf. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Shelf(Arc<Inner>);

struct Inner {
    engine: Engine,
    presets: BTreeMap<String, Arc<Plugin>>,
    uploads: RwLock<HashMap<TenantId, Names>>,
}

/// A tenant's uploads by name, each with its versions, oldest first.
type Names = BTreeMap<String, Vec<Upload>>;

/// A version of a plugin that a tenant uploaded.
#[derive(Debug, Clone)]
pub struct Upload {
    /// As it is stored.
    pub version: Arc<PluginVersion>,
    /// What runs.
    pub plugin: Arc<Plugin>,
}

/// What a reference leads to.
#[derive(Debug, Clone)]
pub enum Found {
    /// A preset, or what the operator added.
    Preset(Arc<Plugin>),
    /// One of the tenant's own.
    Own(Upload),
}

impl Found {
    /// What runs.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        match self {
            Self::Preset(plugin) => plugin,
            Self::Own(upload) => &upload.plugin,
        }
    }

    /// As it is stored, if a tenant uploaded it.
    #[must_use]
    pub fn version(&self) -> Option<&Arc<PluginVersion>> {
        match self {
            Self::Preset(_) => None,
            Self::Own(upload) => Some(&upload.version),
        }
    }
}

/// A reference taken apart: `name`, `name@1.2.0`, `name@latest`, `name@^1` or `name@sha256:…`.
#[must_use]
pub(super) fn split(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (reference, None),
    }
}

/// Whether a reference means another version when there is another one.
#[must_use]
pub(super) fn follows(reference: &str) -> bool {
    matches!(split(reference), (_, Some(version)) if version == "latest" || version.starts_with('^'))
}

impl Shelf {
    /// A shelf with these presets. Of two with one name the later counts.
    #[must_use]
    pub fn new(engine: Engine, presets: impl IntoIterator<Item = Arc<Plugin>>) -> Self {
        let presets = presets.into_iter().map(|plugin| (plugin.manifest().name.clone(), plugin)).collect();
        Self(Arc::new(Inner { engine, presets, uploads: RwLock::default() }))
    }

    /// What everybody may use, by name.
    pub(super) fn presets(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.0.presets.values()
    }

    /// Whether tenants may not take this name.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        self.0.presets.contains_key(name)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// A tenant's uploads, by name and version.
    pub(super) fn uploads(&self, tenant: TenantId) -> Vec<Upload> {
        self.0.uploads.read().get(&tenant).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }

    /// Puts up what a tenant has uploaded.
    pub(super) fn put(&self, upload: Upload) {
        let mut uploads = self.0.uploads.write();
        let name = upload.version.name.clone();
        let versions = uploads.entry(upload.version.tenant_id).or_default().entry(name).or_default();
        versions.retain(|other| other.version.id != upload.version.id);
        versions.push(upload);
        versions.sort_by_cached_key(|upload| Version::parse(upload.version.version()).ok());
    }

    /// Takes away a version.
    pub(super) fn remove(&self, tenant: TenantId, id: PluginId) {
        let mut uploads = self.0.uploads.write();
        if let Some(names) = uploads.get_mut(&tenant) {
            names.retain(|_, versions| {
                versions.retain(|upload| upload.version.id != id);
                !versions.is_empty()
            });
        }
        uploads.retain(|_, names| !names.is_empty());
    }

    /// Takes away all that a tenant has uploaded.
    pub(super) fn remove_tenant(&self, tenant: TenantId) {
        self.0.uploads.write().remove(&tenant);
    }

    /// The digests of all that is here.
    pub(super) fn digests(&self) -> HashSet<Digest> {
        let uploads = self.0.uploads.read();
        let own = uploads.values().flat_map(BTreeMap::values).flatten().map(|upload| upload.version.digest);
        self.presets().map(|plugin| plugin.digest()).chain(own).collect()
    }

    /// Those whose code is still to come.
    pub(super) fn awaited(&self) -> Vec<Upload> {
        let uploads = self.0.uploads.read();
        let all = uploads.values().flat_map(BTreeMap::values).flatten();
        all.filter(|upload| !upload.plugin.is_ready()).cloned().collect()
    }

    /// What a tenant could mean by a reference of its own plugins: what it does mean, and then the earlier versions.
    pub(super) fn could_mean(&self, tenant: TenantId, reference: &str) -> Vec<Found> {
        let (name, version) = split(reference);
        let uploads = self.0.uploads.read();
        let versions = uploads.get(&tenant).and_then(|names| names.get(name));
        versions.into_iter().flat_map(|versions| own(versions, version)).cloned().map(Found::Own).collect()
    }

    /// What a tenant means by a reference; a bare name is its latest version. A tenant's own goes before a preset that
    /// has come to have its name since.
    ///
    /// # Errors
    /// A sentence that says what there is instead.
    pub fn find(&self, tenant: TenantId, reference: &str) -> Result<Found, String> {
        let (name, version) = split(reference);
        if let Some(versions) = self.0.uploads.read().get(&tenant).and_then(|names| names.get(name)) {
            let found = own(versions, version).next().cloned().map(Found::Own);
            return found.ok_or_else(|| {
                let there: Vec<String> = versions.iter().map(|upload| upload.version.reference()).collect();
                format!("there is no `{reference}`; there are {}", there.join(", "))
            });
        }
        let Some(plugin) = self.0.presets.get(name) else {
            let own = self.uploads(tenant);
            let own = own.iter().map(|upload| upload.version.name.as_str());
            let mut names: Vec<&str> = self.0.presets.keys().map(String::as_str).chain(own).collect();
            names.sort_unstable();
            names.dedup();
            return Err(format!("there is no plugin `{name}`; there are {}", names.join(", ")));
        };
        let manifest = plugin.manifest();
        if fits(version, &manifest.version, plugin.digest()) {
            Ok(Found::Preset(plugin.clone()))
        } else {
            Err(format!("there is no `{reference}`; the version here is `{}`", manifest.reference()))
        }
    }
}

/// The versions that fit, the latest first. One that is not finished (`2.0.0-rc.1`) counts only where it is meant, or
/// after all others.
fn own<'a>(versions: &'a [Upload], wanted: Option<&'a str>) -> impl Iterator<Item = &'a Upload> {
    let fit = move |upload: &&Upload| fits(wanted, upload.version.version(), upload.version.digest);
    let finished = |upload: &&Upload| Version::parse(upload.version.version()).is_ok_and(|v| v.pre.is_empty());
    let latest_first = move || versions.iter().rev().filter(fit);
    latest_first().filter(finished).chain(latest_first().filter(move |upload| !finished(upload)))
}

/// Whether this is a version that is meant.
fn fits(wanted: Option<&str>, version: &str, digest: Digest) -> bool {
    match wanted {
        None | Some("latest") => true,
        Some(wanted) if wanted.starts_with("sha256:") => wanted == digest.to_string(),
        Some(range) if range.starts_with('^') => {
            let range = VersionReq::parse(range);
            range.is_ok_and(|range| Version::parse(version).is_ok_and(|version| range.matches(&version)))
        }
        Some(exact) => exact == version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_meant() {
        let digest = Digest([7; 32]);
        let itself = digest.to_string();
        for (wanted, version, does) in [
            (None, "1.2.3", true),
            (Some("latest"), "1.2.3", true),
            (Some("1.2.3"), "1.2.3", true),
            (Some("1.2.3"), "1.2.4", false),
            (Some("1.2.3"), "1.2.3+b", false),
            (Some("^1"), "1.2.3", true),
            (Some("^1.2"), "1.9.0", true),
            (Some("^1.3"), "1.2.9", false),
            (Some("^2"), "1.2.3", false),
            (Some("^0.1"), "0.1.7", true),
            (Some("^0.1"), "0.2.0", false),
            (Some("^0"), "0.9.0", true),
            (Some("^1"), "1.2.3-rc.1", false),
            (Some("^"), "1.2.3", false),
            (Some("^x"), "1.2.3", false),
            (Some(itself.as_str()), "1.2.3", true),
            (Some("sha256:00"), "1.2.3", false),
        ] {
            assert_eq!(fits(wanted, version, digest), does, "{wanted:?} and {version}");
        }
    }

    #[test]
    fn references_taken_apart() {
        for (reference, parts, moves) in [
            ("a", ("a", None), false),
            ("a@1.2.3", ("a", Some("1.2.3")), false),
            ("a@latest", ("a", Some("latest")), true),
            ("a@^1", ("a", Some("^1")), true),
            ("a@sha256:00", ("a", Some("sha256:00")), false),
        ] {
            assert_eq!((split(reference), follows(reference)), (parts, moves), "{reference}");
        }
    }
}
