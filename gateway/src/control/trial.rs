//! Trying before saving: previews and tests, with an event that is given, stored, or made up.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{AttemptBody, Control, Error, Result, Said};
use crate::domain::{Delivery, Event, EventId, EventType, FieldError, SubscriptionId, TenantId};
use crate::filter::EventPattern;
use crate::pipeline::Preview;
use crate::registry::Plan;
use crate::store::EventFilter;

/// Which event to try with: at most one of the three.
#[derive(Debug, Default)]
pub struct EventChoice {
    /// The newest event of this type; if none has come yet, one with the data of the catalogue's first sample, or one
    /// that is made up.
    pub event_type: Option<EventType>,
    /// A stored event.
    pub event_id: Option<EventId>,
    /// This one. It is not stored as an event of its own.
    pub event: Option<SampleEvent>,
}

/// An event as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleEvent {
    /// The client's id.
    #[serde(default)]
    pub id: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it happened; now, unless given.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Who says so.
    #[serde(default)]
    pub source: Option<String>,
    /// Its data, kept as it is written.
    pub data: Box<RawValue>,
}

/// What to try: settings that are not saved, or a saved subscription.
#[derive(Debug)]
pub enum TrialTarget {
    /// As in a call that makes a subscription.
    Settings(Map<String, Value>),
    /// `sub_…` or `uid:…`.
    Saved(String),
}

impl Control {
    /// What would be made of an event, and with `send` what the endpoint says to it.
    ///
    /// # Errors
    /// If the settings are not valid, there is no such event, or the tenant's plugins have used up their processor time.
    pub async fn preview(
        &self,
        tenant: TenantId,
        target: TrialTarget,
        choice: EventChoice,
        send: bool,
    ) -> Result<Preview> {
        let plan = match target {
            TrialTarget::Saved(text) => self.find_subscription(tenant, &text)?,
            TrialTarget::Settings(wanted) => {
                let at = |errors: Vec<FieldError>| {
                    let below = errors
                        .into_iter()
                        .map(|error| FieldError::new(format!("/subscription{}", error.pointer), error.detail));
                    Error::Invalid(below.collect())
                };
                let draft = self.draft(tenant, wanted).map_err(|error| match error {
                    Error::Invalid(errors) => at(errors),
                    other => other,
                })?;
                Arc::new(self.registry.compile(draft).map_err(at)?)
            }
        };
        self.not_before(self.pipeline.waits_for_cpu(&plan))?;
        let event = self.trial_event(tenant, choice, &plan).await?;
        Ok(self.pipeline.preview(&plan, event, send).await)
    }

    /// Sends an event to a subscription now, whatever filter or pause say. It is recorded with the trigger
    /// `test` and never retried.
    ///
    /// # Errors
    /// If there is no such subscription or event, or the tenant's plugins have used up their processor time.
    pub async fn test(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        choice: EventChoice,
    ) -> Result<(Delivery, AttemptBody)> {
        let plan = self.subscription(tenant, id)?;
        self.not_before(self.pipeline.waits_for_cpu(&plan))?;
        let event = self.trial_event(tenant, choice, &plan).await?;
        let (delivery, attempt) = self.pipeline.test(plan, event).await?;
        let attempt = self.with_bodies(&delivery, vec![attempt]).await?.pop();
        Ok((delivery, attempt.ok_or_else(|| Error::Internal("a test made no attempt".to_owned()))?))
    }

    async fn trial_event(&self, tenant: TenantId, choice: EventChoice, plan: &Plan) -> Result<Arc<Event>> {
        match choice {
            EventChoice { event_type: None, event_id: Some(id), event: None } => {
                match self.store.event(tenant, id).await? {
                    Some(stored) => Ok(stored.event),
                    None => Err(Error::field("/event_id", "there is no such event")),
                }
            }
            EventChoice { event_type: None, event_id: None, event: Some(event) } => self.given(tenant, event),
            EventChoice { event_type: Some(event_type), event_id: None, event: None } => {
                self.newest_or_made_up(tenant, plan, event_type).await
            }
            EventChoice { event_type: None, event_id: None, event: None } => {
                let exact = plan.patterns.iter().find_map(|pattern| EventType::parse(pattern.as_str()).ok());
                let is_wanted = |name: &EventType| plan.patterns.iter().any(|one| one.matches(name.as_str()));
                let sample = |pattern| Some(plan.profile.as_ref()?.sample(pattern)?.event_type.clone());
                // The tenant's own first; a profile's in the product's order, and others' only then.
                let catalogue = self.catalogue(tenant);
                let mut own = catalogue.iter().filter(|(_, said)| said.own().is_some()).map(|(name, _)| name);
                let first = exact
                    .or_else(|| own.find(|name| is_wanted(name)).cloned())
                    .or_else(|| plan.patterns.iter().find_map(sample))
                    .or_else(|| catalogue.keys().find(|name| is_wanted(name)).cloned());
                let plain = first.or_else(|| EventType::parse("test").ok());
                self.newest_or_made_up(
                    tenant,
                    plan,
                    plain.ok_or_else(|| Error::Internal("`test` is an event type".to_owned()))?,
                )
                .await
            }
            _ => Err(Error::field("", "give one of `type`, `event_id` and `event`, not several")),
        }
    }

    fn given(&self, tenant: TenantId, event: SampleEvent) -> Result<Arc<Event>> {
        if event.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 256) {
            return Err(Error::field("/event/id", "an id is 1 to 256 bytes"));
        }
        if event.event_type.is_reserved() {
            return Err(Error::field("/event/type", "types that begin with `hookmill.` are the gateway's own"));
        }
        let now = self.clock.now();
        Ok(Arc::new(Event {
            id: EventId::new(now),
            tenant_id: tenant,
            external_id: event.id.map(Into::into),
            event_type: event.event_type,
            source_id: None,
            source: event.source.map(Into::into),
            timestamp: event.timestamp.unwrap_or(now),
            received_at: now,
            data: Box::<str>::from(event.data),
            attributes: Vec::new(),
        }))
    }

    /// Somebody who tries wants to see something: where no event of the type has come yet, it is the sample of the
    /// tenant's catalogue or of the subscription's profile, which need not be saved yet, or one is made up and says so.
    async fn newest_or_made_up(&self, tenant: TenantId, plan: &Plan, event_type: EventType) -> Result<Arc<Event>> {
        let filter = EventFilter { event_type: Some(event_type.clone()), ..Default::default() };
        if let Some(stored) = self.store.events(tenant, &filter, 1, None).await?.items.into_iter().next() {
            return Ok(stored.event);
        }
        let described = self.catalogue(tenant).remove(&event_type);
        let own = described.as_ref().and_then(Said::own).and_then(|entry| entry.samples.first());
        let own = own.map(|sample| Box::<str>::from(sample.data.as_str()));
        let now = self.clock.now();
        let exactly = EventPattern::parse(event_type.as_str()).ok();
        let sample = plan.profile.as_ref().zip(exactly.as_ref()).and_then(|(profile, exactly)| profile.sample(exactly));
        let sample = sample.or_else(|| described.as_ref()?.profile_samples(&event_type).next());
        let sample = sample.filter(|_| own.is_none());
        let made_up = r#"{"message":"A made-up event: none of this type has come yet."}"#;
        Ok(Arc::new(Event {
            id: EventId::new(now),
            tenant_id: tenant,
            external_id: sample.and_then(|sample| sample.id.as_deref()).map(Into::into),
            event_type: event_type.clone(),
            source_id: None,
            source: None,
            timestamp: sample.and_then(|sample| sample.time).unwrap_or(now),
            received_at: now,
            data: own.or_else(|| Some(sample?.data.clone())).unwrap_or_else(|| made_up.into()),
            attributes: Vec::new(),
        }))
    }
}
