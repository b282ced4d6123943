//! How candidates fare, what plugins have used, and past deliveries run again by another version.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Control, Error, Result};
use crate::domain::{AttemptRequest, DeliveryId, FieldError, PluginRun, Subscription, TenantId};
use crate::engine::{Plugin, Usage};
use crate::pipeline::{Patch, Rerun, Rollout};
use crate::registry::Plan;

/// A past delivery run again.
#[derive(Debug)]
pub struct DeliveryRun {
    /// What took the place of the version that ran then.
    pub plugin: Arc<Plugin>,
    /// What would be sent.
    pub made: Rerun,
    /// What was sent, by the latest attempt that sent anything.
    pub sent: Option<AttemptRequest>,
    /// What leads from what was sent to what would be; absent where one of them is.
    pub patch: Option<Patch>,
}

/// What a tenant's plugins have used.
#[derive(Debug)]
pub struct PluginUsage {
    /// By plugin.
    pub plugins: Vec<Usage>,
    /// The processor time that they may have in a minute; `None`: as much as there is.
    pub cpu_per_minute: Option<Duration>,
}

impl Control {
    /// How the candidates of a subscription fare.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn rollouts(&self, tenant: TenantId, subscription: &str) -> Result<Vec<Rollout>> {
        let plan = self.find_subscription(tenant, subscription)?;
        Ok(self.pipeline.rollouts(&plan))
    }

    /// What a tenant's plugins have used since the gateway started.
    #[must_use]
    pub fn plugin_usage(&self, tenant: TenantId) -> PluginUsage {
        PluginUsage {
            plugins: self.registry.engine().meter().of(tenant),
            cpu_per_minute: self.registry.cpu_budget(tenant),
        }
    }

    /// Until when a subscription's deliveries wait for processor time of its tenant's.
    #[must_use]
    pub fn waits_for_cpu(&self, plan: &Plan) -> Option<Timestamp> {
        self.pipeline.waits_for_cpu(plan)
    }

    /// Makes a past delivery again, as its subscription was then, with another version of one of its plugins. Nothing is
    /// sent and nothing is kept.
    ///
    /// # Errors
    /// If there is no such delivery, its subscription does not have the plugin, or what there was is gone.
    pub async fn run_delivery(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        reference: &str,
        config: Option<Value>,
    ) -> Result<DeliveryRun> {
        let detail = self.delivery(tenant, id).await?;
        let delivery = &detail.delivery;
        let found = self.registry.find_plugin(tenant, reference).map_err(|detail| Error::field("/plugin", detail))?;
        let plugin = found.plugin().clone();
        let gone =
            |what: &str| Error::Conflict(format!("the {what} of this delivery is gone, so it can't be run again"));
        let stored = self.store.event(tenant, delivery.event_id).await?.ok_or_else(|| gone("event"))?;
        let revision = self.store.revision(tenant, delivery.subscription_id, delivery.revision).await?;
        let latest = detail.attempts.iter().rev().find(|attempt| attempt.attempt.request.is_some());
        let ran = detail.attempts.iter().rev().find(|attempt| !attempt.attempt.plugins.is_empty());
        let mut subscription = revision.ok_or_else(|| gone("subscription"))?;
        let ran = ran.map(|attempt| attempt.attempt.plugins.as_slice()).unwrap_or_default();
        self.put_back(&mut subscription, ran);
        put_in(&mut subscription, &plugin, config)?;
        let mut plan = self.registry.compile(subscription).map_err(Error::Invalid)?;
        // A token would have to be fetched, and nothing is sent.
        plan.fetched = None;
        let number = latest.map_or(1, |attempt| attempt.attempt.number);
        let made = self.pipeline.rerun(&plan, &stored.event, delivery, number).await;
        let sent = latest.and_then(|attempt| {
            let request = attempt.attempt.request.clone()?;
            Some(AttemptRequest { body: attempt.body.clone(), ..request })
        });
        let patch = match (&sent, &made.request) {
            (Some(sent), Some(request)) => Some(compared(sent.clone(), request.clone()).await?),
            _ => None,
        };
        Ok(DeliveryRun { plugin, made, sent, patch })
    }

    /// The versions that ran then, as far as they are still there, in the place of what is followed and tried.
    fn put_back(&self, subscription: &mut Subscription, ran: &[PluginRun]) {
        let tenant = subscription.tenant_id;
        let spec = &mut subscription.spec;
        let transforms =
            spec.transforms.iter_mut().map(|step| (&mut step.plugin, &mut step.config, &mut step.candidate));
        let connector = spec.connector.iter_mut().map(|step| (&mut step.name, &mut step.config, &mut step.candidate));
        let mut runs = ran.iter();
        for (name, config, candidate) in transforms.chain(connector) {
            let (Some(run), candidate) = (runs.next(), candidate.take()) else { continue };
            let then = format!("{}@{}", name_of(&run.plugin), run.digest);
            let leads_there = |reference: &str| {
                let found = self.registry.find_plugin(tenant, reference);
                found.is_ok_and(|found| found.plugin().digest() == run.digest)
            };
            if leads_there(name) || !leads_there(&then) {
                continue;
            }
            if let Some(own) = candidate.filter(|candidate| leads_there(&candidate.plugin)).and_then(|one| one.config) {
                *config = own;
            }
            *name = then;
        }
    }
}

/// A version in the place of all steps that have its name.
fn put_in(subscription: &mut Subscription, plugin: &Plugin, config: Option<Value>) -> Result<()> {
    let named = &plugin.manifest().name;
    let spec = &mut subscription.spec;
    let transforms = spec.transforms.iter_mut().map(|step| (&mut step.plugin, &mut step.config));
    let connector = spec.connector.iter_mut().map(|step| (&mut step.name, &mut step.config));
    let mut others = Vec::new();
    let mut is_there = false;
    for (name, own) in transforms.chain(connector) {
        if name_of(name) != named {
            others.push(format!("`{}`", name_of(name)));
            continue;
        }
        is_there = true;
        *name = format!("{named}@{}", plugin.digest());
        if let Some(config) = &config {
            *own = config.clone();
        }
    }
    match (is_there, others.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(Error::field("/plugin", "the subscription of this delivery ran no plugin")),
        (false, false) => {
            let detail = format!("the subscription of this delivery has no `{named}`; it has {}", others.join(", "));
            Err(Error::Invalid(vec![FieldError::new("/plugin", detail)]))
        }
    }
}

fn name_of(reference: &str) -> &str {
    reference.split('@').next().unwrap_or(reference)
}

/// Large bodies take longer than others on this thread should wait.
async fn compared(sent: AttemptRequest, request: AttemptRequest) -> Result<Patch> {
    let compared = tokio::task::spawn_blocking(move || Patch::between_requests(&sent, &request)).await;
    compared.map_err(|error| Error::Internal(format!("two requests could not be compared: {error}")))
}
