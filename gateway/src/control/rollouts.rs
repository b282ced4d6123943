//! How candidates fare, what plugins have used, and past deliveries run again by another version.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{AttemptBody, Control, DeliveryDetail, Error, Result};
use crate::clock::since;
use crate::domain::{
    AttemptRequest, CandidateSpec, DeliveryId, EventId, PluginRun, SubscriptionSpec, TenantId, plugin_name,
};
use crate::engine::{Plugin, Usage};
use crate::pipeline::{Patch, Rerun, Rollout};
use crate::registry::Share;

/// A past delivery run again.
#[derive(Debug)]
pub struct DeliveryRun {
    /// What took the place of the version that ran then.
    pub plugin: Arc<Plugin>,
    /// What would be sent.
    pub made: Rerun,
    /// What was sent, by the latest attempt that sent anything.
    pub sent: Option<AttemptRequest>,
    /// What leads from what was sent to what would be; absent where nothing has been tried yet.
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

    /// Where a delivery would wait for processor time, somebody who waits for an answer is refused.
    pub(super) fn not_before(&self, until: Option<Timestamp>) -> Result<()> {
        let wait = |until| Err(Error::CpuBudget { retry_after: since(self.clock.now(), until) });
        until.map_or(Ok(()), wait)
    }

    /// Makes a past delivery again, as its subscription was then, with another version of one of its plugins. Nothing is
    /// sent and nothing is kept.
    ///
    /// # Errors
    /// If there is no such delivery, its subscription does not have the plugin, the version does not go together with the
    /// config, what there was is gone, or the tenant's plugins have used up their processor time.
    pub async fn run_delivery(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        reference: &str,
        config: Option<Value>,
    ) -> Result<DeliveryRun> {
        let DeliveryDetail { delivery, attempts } = self.delivery(tenant, id).await?;
        let found = self.registry.find_plugin(tenant, reference).map_err(|detail| Error::field("/plugin", detail))?;
        let plugin = found.plugin().clone();
        self.not_before(self.pipeline.cpu_free_at(tenant))?;
        let gone =
            |what: &str| Error::Conflict(format!("the {what} of this delivery is gone, so it can't be run again"));
        let stored = self.store.event(tenant, delivery.event_id).await?.ok_or_else(|| gone("event"))?;
        let revision = self.store.revision(tenant, delivery.subscription_id, delivery.revision).await?;
        let mut subscription = revision.ok_or_else(|| gone("subscription"))?;
        let latest = attempts.iter().rev().find(|attempt| attempt.attempt.request.is_some());
        let ran = latest.or_else(|| attempts.iter().rev().find(|attempt| !attempt.attempt.plugins.is_empty()));
        let mut steps = used(&mut subscription.spec, delivery.event_id);
        self.put_back(tenant, &mut steps, ran.map(|ran| ran.attempt.plugins.as_slice()).unwrap_or_default());
        put_in(&mut steps, &plugin, config)?;
        let mut plan = self.registry.compile(subscription).map_err(Error::Invalid)?;
        // A token would have to be fetched, and nothing is sent.
        plan.fetched = None;
        let number = latest.map_or(1, |attempt| attempt.attempt.number);
        let made = self.pipeline.rerun(&plan, &stored.event, &delivery, number).await;
        let sent = latest.and_then(|AttemptBody { attempt, body }| {
            let request = attempt.request.clone()?;
            Some(AttemptRequest { body: body.clone(), ..request })
        });
        let patch = match attempts.is_empty() {
            true => None,
            false => Some(compared(sent.clone(), made.request.clone()).await?),
        };
        Ok(DeliveryRun { plugin, made, sent, patch })
    }

    /// The versions that ran then, as far as they are still there, in the place of what is followed.
    fn put_back(&self, tenant: TenantId, steps: &mut [Used<'_>], ran: &[PluginRun]) {
        for (step, run) in steps.iter_mut().zip(ran) {
            let then = format!("{}@{}", plugin_name(&run.plugin), run.digest);
            if plugin_name(step.plugin) == plugin_name(&run.plugin) && self.registry.find_plugin(tenant, &then).is_ok()
            {
                *step.plugin = then;
            }
        }
    }
}

/// What runs at a step for one event: the step's own, or its candidate's.
struct Used<'a> {
    plugin: &'a mut String,
    config: &'a mut Value,
}

/// What runs for an event, in order. What does not is taken out of the spec.
fn used(spec: &mut SubscriptionSpec, event: EventId) -> Vec<Used<'_>> {
    let transforms = spec.transforms.iter_mut().map(|step| (&mut step.plugin, &mut step.config, &mut step.candidate));
    let connector = spec.connector.iter_mut().map(|step| (&mut step.name, &mut step.config, &mut step.candidate));
    let takes = |tried: &CandidateSpec| tried.percent.is_some_and(|percent| Share::Percent(percent).takes(event));
    let mut steps = Vec::new();
    for (name, config, candidate) in transforms.chain(connector) {
        *candidate = candidate.take().filter(takes);
        // Without a config of its own it has the step's, and the step's secrets.
        if let Some(tried) = candidate.take_if(|tried| tried.config.is_none()) {
            *name = tried.plugin;
        }
        steps.push(match candidate {
            Some(CandidateSpec { plugin, config: Some(config), .. }) => Used { plugin, config },
            _ => Used { plugin: name, config },
        });
    }
    steps
}

/// A version in the place of all steps that have its name.
fn put_in(steps: &mut [Used<'_>], plugin: &Plugin, config: Option<Value>) -> Result<()> {
    let named = &plugin.manifest().name;
    let mut others = Vec::new();
    let mut is_there = false;
    for step in steps {
        if plugin_name(step.plugin) != named {
            others.push(format!("`{}`", plugin_name(step.plugin)));
            continue;
        }
        is_there = true;
        *step.plugin = format!("{named}@{}", plugin.digest());
        if let Some(config) = &config {
            *step.config = config.clone();
        }
    }
    match (is_there, others.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(Error::field("/plugin", "the subscription of this delivery ran no plugin")),
        (false, false) => {
            let others = others.join(", ");
            let detail = format!("this delivery did not run `{named}`; its subscription had {others}");
            Err(Error::field("/plugin", detail))
        }
    }
}

/// Large bodies take longer than others on this thread should wait.
async fn compared(sent: Option<AttemptRequest>, request: Option<AttemptRequest>) -> Result<Patch> {
    let compare = move || Patch::between_requests(sent.as_ref(), request.as_ref());
    let compared = tokio::task::spawn_blocking(compare).await;
    compared.map_err(|error| Error::Internal(format!("two requests could not be compared: {error}")))
}
