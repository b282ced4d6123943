//! What tenants upload: made ready, kept, put up, and taken away.
//!
//! A version is on disk before it is found, and what follows its name is compiled with it before anybody is answered.
//! Code that a start does not find compiled is made again behind it, tenants in turn; deliveries that need it wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

use super::shelf::{Found, Shelf, Upload, follows, split};
use super::{Compiled, Error, Plan, Registry, kind, plan, schema};
use crate::domain::pointer::insert;
use crate::domain::{CandidateSpec, Digest, FieldError, PluginId, PluginVersion, SubscriptionId, TenantId};
use crate::engine::{Engine, InstallError, Plugin};
use crate::store::{Record, RecordKey, Store};

/// Subscriptions that follow a name, when there is another version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Those that use it now.
    pub by: Vec<SubscriptionId>,
    /// Those that do not go together with it, and stay with the version before.
    pub left: Vec<SubscriptionId>,
}

impl Registry {
    /// What a tenant means by a reference.
    ///
    /// # Errors
    /// A sentence that says what there is instead.
    pub fn find_plugin(&self, tenant: TenantId, reference: &str) -> Result<Found, String> {
        self.0.shelf.find(tenant, reference)
    }

    /// What everybody may use, by name.
    #[must_use]
    pub fn presets(&self) -> Vec<Arc<Plugin>> {
        self.0.shelf.presets().cloned().collect()
    }

    /// What a tenant has uploaded, by name and version.
    #[must_use]
    pub fn uploads(&self, tenant: TenantId) -> Vec<Upload> {
        self.0.shelf.uploads(tenant)
    }

    /// Whether tenants may not take this name.
    #[must_use]
    pub fn is_reserved(&self, name: &str) -> bool {
        self.0.shelf.is_reserved(name)
    }

    /// Has uploaded bytes compiled and looked at, when it is this tenant's turn. Nothing is kept. Also says how much
    /// processor time that took.
    pub async fn admit(
        &self,
        tenant: TenantId,
        digest: Digest,
        bytes: &[u8],
    ) -> (Result<Plugin, InstallError>, Duration) {
        let (admitted, cost) = self.0.shelf.engine().admit(tenant, digest, bytes).await;
        (admitted.and_then(|plugin| check_schema(&plugin).map(|()| plugin)), cost)
    }

    /// Writes a version with its bytes, which may take a while: nobody else's change waits for it. Nobody finds it before
    /// [`Registry::put_up`].
    ///
    /// # Errors
    /// If the store refuses; nothing has changed then.
    pub async fn keep_plugin(&self, version: &PluginVersion, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.0.store.keep_plugin(version.clone(), bytes).await?)
    }

    /// Has a version that is kept be found. Subscriptions that follow its name, or could not be served without it, use it
    /// from then on.
    ///
    /// # Errors
    /// If the tenant has gone meanwhile; the version has, too, then.
    pub async fn put_up(&self, upload: Upload) -> Result<Followed, Error> {
        let _writing = self.0.writing.lock().await;
        let version = upload.version.clone();
        if self.tenant(version.tenant_id).is_none() {
            let key = RecordKey::Plugin(version.tenant_id, version.id);
            self.0.store.configure(Vec::new(), vec![key]).await?;
            return Err(no_tenant());
        }
        self.0.shelf.put(upload);
        Ok(self.follow(version.tenant_id, &version.name))
    }

    /// The config of a run that is nobody's subscription, as the plugin gets it: secrets are stood for by placeholders
    /// that follow from their places.
    ///
    /// # Errors
    /// What the plugin's schema does not allow, with its place below `/config`.
    pub fn trial_config(plugin: &Plugin, mut config: Value) -> Result<String, Vec<FieldError>> {
        let unreadable = |_| vec![FieldError::new("/config", "the plugin's own schema is not JSON")];
        let schema: Value = serde_json::from_str(&plugin.manifest().config_schema).map_err(unreadable)?;
        let errors = schema::check(&schema, &config, "/config");
        if !errors.is_empty() {
            return Err(errors);
        }
        for field in schema::secret_fields(&schema) {
            if config.pointer(&field).is_some_and(|value| !value.is_null()) {
                insert(&mut config, &field, Value::String(plan::placeholder_of(field.as_bytes())));
            }
        }
        Ok(config.to_string())
    }

    /// What runs plugins.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.0.shelf.engine()
    }

    /// Whether a tenant may have another version, of so many bytes.
    ///
    /// # Errors
    /// If it has as many as it may have, or there is no such tenant.
    pub fn check_room(&self, tenant: TenantId, bytes: u64) -> Result<(), Error> {
        let Some(limits) = self.tenant(tenant).map(|tenant| tenant.limits.clone()) else {
            return Err(no_tenant());
        };
        let (usual, uploads) = (self.0.surroundings.plugins, self.uploads(tenant));
        let most = limits.plugins.unwrap_or(usual.versions);
        if uploads.len() >= most as usize {
            return Err(Error::Limit(format!(
                "this tenant may have {most} versions of plugins; delete one that nobody uses, or ask the operator for more"
            )));
        }
        let most = limits.plugin_bytes.unwrap_or(usual.bytes);
        let used: u64 = uploads.iter().map(|upload| upload.version.size).sum();
        if used.saturating_add(bytes) > most {
            return Err(Error::Limit(format!(
                "this tenant's plugins may have {most} bytes together: they have {used}, and this one has {bytes}; delete \
                 one that nobody uses, or ask the operator for more"
            )));
        }
        Ok(())
    }

    /// How much processor time a tenant may have for compiling, an hour.
    #[must_use]
    pub fn compile_budget(&self, tenant: TenantId) -> Duration {
        let own = self.tenant(tenant).and_then(|tenant| tenant.limits.plugin_compile);
        own.unwrap_or(self.0.surroundings.plugins.compile)
    }

    /// How much processor time a tenant's plugins may have, a minute; `None`: as much as there is.
    #[must_use]
    pub fn cpu_budget(&self, tenant: TenantId) -> Option<Duration> {
        let own = self.0.state.read().tenants.get(&tenant).and_then(|room| room.tenant.limits.plugin_cpu);
        Some(own.unwrap_or(self.0.surroundings.plugins.cpu)).filter(|most| !most.is_zero())
    }

    /// Compiles again what follows a name, or waits for a version of it.
    fn follow(&self, tenant: TenantId, name: &str) -> Followed {
        let mut followed = Followed::default();
        for plan in self.plans(tenant) {
            let moves = |reference| split(reference).0 == name && (follows(reference) || plan.fault.is_some());
            if !references(&plan).any(moves) {
                continue;
            }
            let subscription_id = plan.subscription.id;
            let why = match self.compile_saved((*plan.subscription).clone()) {
                Ok(plan) => {
                    let why = plan.behind();
                    self.0.state.write().put(vec![Compiled::Plan(Box::new(plan))]);
                    why
                }
                Err(errors) => Some(format!("{errors:?}")),
            };
            match why {
                None => followed.by.push(subscription_id),
                Some(why) => {
                    tracing::warn!(%subscription_id, name, why, "a subscription does not follow its plugin");
                    followed.left.push(subscription_id);
                }
            }
        }
        followed
    }

    /// Which of a tenant's subscriptions use a version.
    #[must_use]
    pub fn users(&self, version: &PluginVersion) -> Vec<SubscriptionId> {
        let means = |reference: &str| {
            let found = self.0.shelf.find(version.tenant_id, reference);
            found.is_ok_and(|found| found.version().is_some_and(|other| other.id == version.id))
        };
        // One that could not follow runs what it ran, and its owner may take the version back that it does not go with.
        let runs = |plan: &Plan| {
            let tried = plan.steps().filter_map(|step| Some(&step.candidate.as_ref()?.step));
            let mut steps = plan.steps().chain(tried);
            steps.any(|step| step.plugin.digest() == version.digest && step.plugin.manifest().name == version.name)
        };
        let plans = self.plans(version.tenant_id);
        let users = plans.iter().filter(|plan| match plan.fault {
            Some(_) => references(plan).any(means),
            None => runs(plan),
        });
        users.map(|plan| plan.subscription.id).collect()
    }

    /// Deletes versions. Whether anybody uses them is for the caller to ask. Gives those that could not be served, or had
    /// not followed to one of these, and now are.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn remove_plugins(&self, tenant: TenantId, ids: Vec<PluginId>) -> Result<Vec<SubscriptionId>, Error> {
        let mut names: Vec<String> = (self.uploads(tenant).iter())
            .filter(|upload| ids.contains(&upload.version.id))
            .map(|upload| upload.version.name.clone())
            .collect();
        names.dedup();
        self.save(Vec::new(), ids.into_iter().map(|id| RecordKey::Plugin(tenant, id)).collect()).await?;
        let writing = self.0.writing.lock().await;
        let served = names.iter().flat_map(|name| self.follow(tenant, name).by).collect();
        drop(writing);
        self.0.shelf.engine().keep_only(self.0.shelf.digests()).await;
        Ok(served)
    }

    /// At the start: finds what was compiled, has made again what is not found, and removes what nobody has any more.
    pub(super) fn tend_plugins(&self) {
        let registry = self.clone();
        tokio::spawn(async move {
            let (shelf, mut making) = (&registry.0.shelf, JoinSet::new());
            for Upload { version, plugin } in shelf.awaited() {
                if !shelf.engine().revive(&plugin).await {
                    let registry = registry.clone();
                    making.spawn(async move { registry.make_again(&version, &plugin).await });
                }
            }
            while making.join_next().await.is_some() {}
            shelf.engine().keep_only(shelf.digests()).await;
        });
    }

    async fn make_again(&self, version: &PluginVersion, plugin: &Plugin) {
        let (tenant, id) = (version.tenant_id, version.id);
        let bytes = self.0.store.component(tenant, id).await.unwrap_or_else(|error| {
            tracing::error!(%id, %error, "the bytes of a plugin can't be read");
            None
        });
        self.0.shelf.engine().rebuild(plugin, tenant, bytes).await;
    }
}

/// Takes plugins out of what a store holds, and puts them up. One whose tenant was deleted while it was written goes.
pub(super) async fn take_out(store: &dyn Store, shelf: &Shelf, records: &mut Vec<Record>) -> Result<(), Error> {
    let owners: HashSet<TenantId> = (records.iter())
        .filter_map(|record| if let Record::Tenant(tenant) = record { Some(tenant.id) } else { None })
        .collect();
    let mut orphans = Vec::new();
    records.retain(|record| {
        let Record::Plugin(version) = record else { return true };
        if owners.contains(&version.tenant_id) {
            shelf.put(Upload { version: Arc::new(version.clone()), plugin: Arc::new(Plugin::awaited(version)) });
        } else {
            orphans.push(record.key());
        }
        false
    });
    if !orphans.is_empty() {
        store.configure(Vec::new(), orphans).await?;
    }
    Ok(())
}

fn no_tenant() -> Error {
    Error::Taken("the tenant has been deleted meanwhile".to_owned())
}

/// A config is held against a tenant's schema, so what that costs must be known before.
fn check_schema(plugin: &Plugin) -> Result<(), InstallError> {
    let refused = |problem: String| InstallError::Manifest { field: "config-schema".to_owned(), problem };
    let schema = serde_json::from_str(&plugin.manifest().config_schema).map_err(|error| refused(error.to_string()))?;
    kind::validator(&schema).map(drop).map_err(|error| match error.pointer.as_str() {
        "" => refused(format!("is not taken: {}", error.detail)),
        place => refused(format!("is not taken: at {place}: {}", error.detail)),
    })
}

/// What a subscription calls its plugins.
fn references<'a>(plan: &'a Plan) -> impl Iterator<Item = &'a str> {
    let spec = &plan.subscription.spec;
    let transforms = spec.transforms.iter().map(|transform| (transform.plugin.as_str(), &transform.candidate));
    let connector = spec.connector.iter().map(|connector| (connector.name.as_str(), &connector.candidate));
    let own_and_tried = |(name, tried): (&'a str, &'a Option<CandidateSpec>)| {
        std::iter::once(name).chain(tried.iter().map(|tried| tried.plugin.as_str()))
    };
    transforms.chain(connector).flat_map(own_and_tried)
}

impl Upload {
    /// A version that has not been kept yet, under a name of its own or under another.
    #[must_use]
    pub fn new(tenant_id: TenantId, plugin: Plugin, name: Option<String>, now: Timestamp) -> Self {
        let version = PluginVersion {
            id: PluginId::new(now),
            tenant_id,
            name: name.unwrap_or_else(|| plugin.manifest().name.clone()),
            digest: plugin.digest(),
            size: plugin.size(),
            manifest: plugin.manifest().clone(),
            created_at: now,
        };
        let plugin = plugin.named(version.name.clone());
        Self { version: Arc::new(version), plugin: Arc::new(plugin) }
    }
}
