//! Tenants: made, limited and removed by the operator.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reading::{READ_ONLY, check_metadata, check_name, check_uid, merge, refuse, settle};
use super::{Control, Error, Expected, Result, mint, read_value};
use crate::domain::{FieldError, Role, Secret, Tenant, TenantId, TenantLimits};
use crate::store::{Record, RecordKey};

/// What the operator says of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// A name for people.
    pub name: String,
    /// The operator's own id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The profile of its subscriptions that name none: one with a delivery half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Free for the operator; at most 16 KiB.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// What it may use.
    #[serde(default)]
    pub limits: TenantLimits,
}

/// How much a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantUsage {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Sources.
    pub sources: usize,
    /// Keys.
    pub keys: usize,
    /// Inboxes.
    pub inboxes: usize,
    /// Versions of plugins.
    pub plugins: usize,
    /// Their bytes, together.
    pub plugin_bytes: u64,
}

/// Fields of a tenant that are refused with a reason.
const REFUSED: [(&str, &str); 3] = [("id", READ_ONLY), ("created_at", READ_ONLY), ("key", READ_ONLY)];

impl Control {
    /// Makes a tenant and its first admin key, whose text is shown this once.
    ///
    /// # Errors
    /// If it is not valid, or its uid is taken.
    pub async fn create_tenant(&self, wanted: Map<String, Value>) -> Result<(Arc<Tenant>, Secret)> {
        settle(refuse(&wanted, &REFUSED))?;
        let wanted: NewTenant = read_value(Value::Object(wanted))?;
        self.check_tenant(&wanted, None)?;
        let now = self.clock.now();
        let tenant = Tenant {
            id: TenantId::new(now),
            uid: wanted.uid,
            name: wanted.name,
            profile: wanted.profile,
            metadata: wanted.metadata,
            limits: wanted.limits,
            created_at: now,
        };
        let id = tenant.id;
        let (key, text) = mint(Role::Admin, Some(id), Some("first admin key".to_owned()), None, now);
        let _changing = self.changing.lock().await;
        self.registry.save(vec![Record::Tenant(tenant), Record::Key(key)], vec![]).await?;
        Ok((self.tenant(id)?, text))
    }

    /// One tenant.
    ///
    /// # Errors
    /// If there is none.
    pub fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>> {
        self.registry.tenant(id).ok_or(Error::NotFound("tenant"))
    }

    /// The tenant of a path: `ten_…` or `uid:…`.
    ///
    /// # Errors
    /// If there is none.
    pub fn find_tenant(&self, text: &str) -> Result<Arc<Tenant>> {
        let found = match text.strip_prefix("uid:") {
            Some(uid) => self.registry.tenant_by_uid(uid),
            None => text.parse().ok().and_then(|id| self.registry.tenant(id)),
        };
        found.ok_or(Error::NotFound("tenant"))
    }

    /// Tenants, by id.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.registry.tenants()
    }

    /// The version of a tenant, for [`Expected`].
    #[must_use]
    pub fn tenant_version(tenant: &Tenant) -> String {
        use sha2::Digest as _;
        // A tenant has no revision; its settings are their own.
        let text = serde_json::to_vec(tenant).unwrap_or_default();
        hex::encode(&sha2::Sha256::digest(text)[..8])
    }

    /// Changes a tenant by a merge patch.
    ///
    /// # Errors
    /// If there is none, it is not valid, it has changed, or its uid is taken.
    pub async fn patch_tenant(
        &self,
        id: TenantId,
        patch: Map<String, Value>,
        expected: &Expected,
    ) -> Result<Arc<Tenant>> {
        settle(refuse(&patch, &REFUSED))?;
        let _changing = self.changing.lock().await;
        let old = self.tenant(id)?;
        expected.check(&Self::tenant_version(&old))?;
        let now = NewTenant {
            name: old.name.clone(),
            uid: old.uid.clone(),
            profile: old.profile.clone(),
            metadata: old.metadata.clone(),
            limits: old.limits.clone(),
        };
        let mut value = serde_json::to_value(now).map_err(|error| Error::Internal(error.to_string()))?;
        merge(&mut value, Value::Object(patch));
        let wanted: NewTenant = read_value(value)?;
        self.check_tenant(&wanted, old.profile.as_deref())?;
        let tenant = Tenant {
            id,
            uid: wanted.uid,
            name: wanted.name,
            profile: wanted.profile,
            metadata: wanted.metadata,
            limits: wanted.limits,
            created_at: old.created_at,
        };
        let has_other_time = tenant.limits.plugin_cpu != old.limits.plugin_cpu;
        self.registry.save(vec![Record::Tenant(tenant)], vec![]).await?;
        if has_other_time {
            self.pipeline.cpu_changed(id);
        }
        self.tenant(id)
    }

    /// Removes a tenant and everything it owns.
    ///
    /// # Errors
    /// If there is none, or it has changed.
    pub async fn delete_tenant(&self, id: TenantId, expected: &Expected) -> Result<()> {
        let _changing = self.changing.lock().await;
        expected.check(&Self::tenant_version(&*self.tenant(id)?))?;
        let (plans, sources) = (self.registry.plans(id), self.registry.sources(id));
        self.registry.save(vec![], vec![RecordKey::Tenant(id)]).await?;
        self.pipeline.forget_tenant(id);
        sources.iter().for_each(|inlet| self.refusals.forget(inlet.source.id));
        for plan in &plans {
            self.pipeline.changed(id, plan.subscription.id).await?;
        }
        Ok(())
    }

    /// A profile that it has already may have gone since; that is no reason to refuse another change.
    fn check_tenant(&self, wanted: &NewTenant, profile: Option<&str>) -> Result<()> {
        let mut errors = Vec::new();
        check_name(Some(&wanted.name), &mut errors);
        check_uid(wanted.uid.as_deref(), &mut errors);
        check_metadata(&wanted.metadata, &mut errors);
        if let Some(name) = wanted.profile.as_deref().filter(|name| Some(*name) != profile)
            && let Err(detail) = self.registry.profiles().for_delivery(name)
        {
            errors.push(FieldError::new("/profile", detail));
        }
        if wanted.limits.events_per_second == Some(0) {
            errors.push(FieldError::new("/limits/events_per_second", "at least 1; leave it out for the default"));
        }
        settle(errors)
    }

    /// How much a tenant has.
    ///
    /// # Errors
    /// If there is none.
    pub fn tenant_usage(&self, id: TenantId) -> Result<TenantUsage> {
        self.tenant(id)?;
        let uploads = self.registry.uploads(id);
        Ok(TenantUsage {
            plugins: uploads.len(),
            plugin_bytes: uploads.iter().map(|upload| upload.version.size).sum(),
            subscriptions: self.registry.plans(id).len(),
            sources: self.registry.sources(id).len(),
            keys: self.registry.keys(Some(id)).len(),
            inboxes: self.registry.inboxes(id).len(),
        })
    }
}
