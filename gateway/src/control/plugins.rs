//! The plugins there are for a tenant: presets, and what it uploads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Control, Error, Result};
use crate::clock::since;
use crate::domain::{Digest, Kind, PluginVersion, SubscriptionId, TenantId, is_plugin_name};
use crate::engine::{InstallError, Plugin};
use crate::registry::{Followed, Found, Upload, to_the_end};

/// Why a plugin was not taken, or not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginRefusal {
    /// It can't be made ready.
    #[error(transparent)]
    Install(InstallError),
    /// A preset has its name.
    #[error("`{0}` is the name of a preset; give yours another, in its manifest or as `name`")]
    Reserved(String),
    /// It is a preset, and so nobody's to delete.
    #[error("`{0}` comes with the gateway: only its operator can take it away")]
    Preset(String),
    /// There is this version with other bytes.
    #[error("there is a `{reference}` with other bytes ({digest}); a version never changes: give yours a new one")]
    VersionTaken {
        /// `name@version`.
        reference: String,
        /// That of the one there is.
        digest: Digest,
    },
    /// Subscriptions use it.
    #[error("{}", in_use(.reference, .users))]
    InUse {
        /// `name@version`.
        reference: String,
        /// Those that use it.
        users: Vec<SubscriptionId>,
    },
    /// The tenant's uploads have taken all the processor time there is for them.
    #[error("compiling this tenant's uploads has taken all the processor time there is for it in an hour")]
    CompileBudget {
        /// When there will be some again.
        retry_after: Duration,
    },
}

fn in_use(reference: &str, users: &[SubscriptionId]) -> String {
    const NAMED: usize = 10;
    let mut named: Vec<String> = users.iter().take(NAMED).map(ToString::to_string).collect();
    if users.len() > NAMED {
        named.push(format!("{} more", users.len() - NAMED));
    }
    format!("`{reference}` is used by {}; change or delete those first", named.join(", "))
}

/// What an upload came to.
#[derive(Debug)]
pub struct Uploaded {
    /// The version.
    pub upload: Upload,
    /// Whether it is new: the same bytes may have been uploaded before.
    pub is_new: bool,
    /// The subscriptions that follow its name.
    pub followed: Followed,
}

impl Control {
    /// What everybody may use, by name; of one kind, if one is named.
    #[must_use]
    pub fn presets(&self, kind: Option<Kind>) -> Vec<Arc<Plugin>> {
        let mut presets = self.registry.presets();
        presets.retain(|plugin| kind.is_none_or(|kind| plugin.manifest().kind == kind));
        presets
    }

    /// What a tenant has uploaded, by name and version.
    #[must_use]
    pub fn uploads(&self, tenant: TenantId) -> Vec<Upload> {
        self.registry.uploads(tenant)
    }

    /// The plugin that a tenant, or nobody in particular, means by a name and perhaps a version: `1.2.0`, `latest`, `^1`
    /// or a digest.
    ///
    /// # Errors
    /// If there is none.
    pub fn plugin(&self, tenant: Option<TenantId>, name: &str, version: Option<&str>) -> Result<Found> {
        let reference = match version {
            Some(version) => format!("{name}@{version}"),
            None => name.to_owned(),
        };
        // Whoever acts for no tenant sees what everybody sees.
        let tenant = tenant.unwrap_or(TenantId::from_bytes([0; 16]));
        self.registry.find_plugin(tenant, &reference).map_err(|_| Error::NotFound("plugin"))
    }

    /// Takes a component or a core module, under its own name or another. The same bytes again are the version they were.
    ///
    /// # Errors
    /// If it can't be made ready, its name or version is taken, or the tenant has as much as it may have.
    pub async fn upload_plugin(&self, tenant: TenantId, name: Option<String>, bytes: Bytes) -> Result<Uploaded> {
        if let Some(name) = &name {
            if !is_plugin_name(name) {
                return Err(Error::field("/name", "a name is 1 to 64 of a-z 0-9 -, and begins with a letter"));
            }
            self.check_free(name)?;
        }
        // Once begun it goes on when the caller goes away: what it takes is counted, and what is on disk is found.
        let control = self.clone();
        to_the_end(async move { control.take(tenant, name, bytes).await }).await
    }

    async fn take(&self, tenant: TenantId, name: Option<String>, bytes: Bytes) -> Result<Uploaded> {
        let digest = digest_of(&bytes).await?;
        // A tenant's uploads go one after the other, so that each knows what those before it have taken.
        let gate = self.budget.gate(tenant);
        let _one = gate.lock().await;
        let known = self.registry.uploads(tenant).into_iter().find(|upload| {
            let version = &upload.version;
            version.digest == digest && version.name == *name.as_ref().unwrap_or(&version.manifest.name)
        });
        if let Some(upload) = known {
            return Ok(Uploaded { upload, is_new: false, followed: Followed::default() });
        }
        self.registry.check_room(tenant, bytes.len() as u64)?;
        let (most, now) = (self.registry.compile_budget(tenant), self.clock.now());
        if let Err(again) = self.budget.check(tenant, most, now) {
            return Err(PluginRefusal::CompileBudget { retry_after: since(now, again) }.into());
        }
        let (admitted, cost) = self.registry.admit(tenant, digest, &bytes).await;
        self.budget.charge(tenant, cost, self.clock.now());
        let plugin = admitted.map_err(PluginRefusal::Install)?;
        self.keep(Upload::new(tenant, plugin, name, self.clock.now()), bytes).await
    }

    async fn keep(&self, upload: Upload, bytes: Bytes) -> Result<Uploaded> {
        // Of all tenants one at a time: what is looked at here must be so until it is written.
        let _uploading = self.uploading.lock().await;
        let version = &upload.version;
        self.check_free(&version.name)?;
        let same = |other: &PluginVersion| other.name == version.name && other.version() == version.version();
        let there = self.registry.uploads(version.tenant_id).into_iter().find(|other| same(&other.version));
        if let Some(there) = there {
            let digest = there.version.digest;
            if digest != version.digest {
                return Err(PluginRefusal::VersionTaken { reference: version.reference(), digest }.into());
            }
            return Ok(Uploaded { upload: there, is_new: false, followed: Followed::default() });
        }
        self.registry.check_room(version.tenant_id, version.size)?;
        self.registry.keep_plugin(version, &bytes).await?;
        let _changing = self.changing.lock().await;
        let followed = self.registry.put_up(upload.clone()).await?;
        for id in &followed.by {
            self.pipeline.changed(version.tenant_id, *id).await?;
        }
        Ok(Uploaded { upload: upload.clone(), is_new: true, followed })
    }

    fn check_free(&self, name: &str) -> Result<()> {
        if self.registry.is_reserved(name) { Err(PluginRefusal::Reserved(name.to_owned()).into()) } else { Ok(()) }
    }

    /// Deletes a version (`1.2.0` or a digest, also as `name@version`), or all of a name. Its name is free again then, also
    /// for other bytes.
    ///
    /// # Errors
    /// If the tenant has none, subscriptions use it, or it is nobody's to delete.
    pub async fn delete_plugin(&self, tenant: TenantId, name: &str, version: Option<&str>) -> Result<()> {
        let (name, version) = match name.split_once('@') {
            Some((name, named)) if version.is_none() => (name, Some(named)),
            _ => (name, version),
        };
        let _changing = self.changing.lock().await;
        let mut versions = self.registry.uploads(tenant);
        versions.retain(|upload| upload.version.name == name);
        if versions.is_empty() && self.registry.is_reserved(name) {
            return Err(PluginRefusal::Preset(name.to_owned()).into());
        }
        if !versions.is_empty() && version.is_some_and(|version| version == "latest" || version.starts_with('^')) {
            return Err(Error::field("/version", "name the version to delete; this may mean another one by now"));
        }
        versions.retain(|upload| {
            let own = &upload.version;
            version.is_none_or(|wanted| wanted == own.version() || wanted == own.digest.to_string())
        });
        if versions.is_empty() {
            return Err(Error::NotFound("plugin"));
        }
        for upload in &versions {
            let users = self.registry.users(&upload.version);
            if !users.is_empty() {
                return Err(PluginRefusal::InUse { reference: upload.version.reference(), users }.into());
            }
        }
        let ids = versions.iter().map(|upload| upload.version.id).collect();
        for id in self.registry.remove_plugins(tenant, ids).await? {
            self.pipeline.changed(tenant, id).await?;
        }
        Ok(())
    }
}

/// Many mebibytes take longer than others on this thread should wait.
async fn digest_of(bytes: &Bytes) -> Result<Digest> {
    let bytes = bytes.clone();
    let digest = tokio::task::spawn_blocking(move || Digest(Sha256::digest(&bytes).into())).await;
    digest.map_err(|error| Error::Internal(format!("an upload could not be hashed: {error}")))
}
