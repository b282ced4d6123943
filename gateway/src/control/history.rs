//! Looking at what happened: events, deliveries, attempts, and why.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Control, Error, Result};
use crate::domain::{Attempt, Delivery, DeliveryId, EventId, State, Status, SubscriptionId, TenantId, rfc3339};
use crate::pipeline::body_of;
use crate::registry::Plan;
use crate::store::{DeliveryFilter, EventFilter, Page, StoredEvent};

/// How many of an event's deliveries an explanation looks through.
const DELIVERIES_EXPLAINED: usize = 10_000;

/// One subscription's part in the fate of an event.
pub struct Explanation {
    /// The subscription as it is now.
    pub plan: Arc<Plan>,
    /// Whether it would get the event now.
    pub matched: bool,
    /// Why, in words.
    pub why: String,
    /// The deliveries there are.
    pub deliveries: Vec<DeliveryId>,
}

/// Why each subscription got an event or not.
pub struct Explained {
    /// By subscription id.
    pub items: Vec<Explanation>,
    /// The last subscription of this page, if there are more.
    pub next: Option<SubscriptionId>,
}

/// How far back before the last event that a client has seen events are told again: they are written side by side,
/// and one may come to be seen after another with a later id.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);
/// Most events that are told to a client that comes back.
const SINCE: usize = 1_000;

/// Events since a client last looked.
pub struct Since {
    /// They, oldest first, without their data.
    pub events: Vec<StoredEvent>,
    /// Whether these are all; otherwise they are the first of them.
    pub complete: bool,
}

/// An attempt, and the body that was sent with it where that is not kept with the attempt.
pub struct AttemptBody {
    /// The attempt.
    pub attempt: Attempt,
    /// The body; absent where nothing was sent or it can't be made again.
    pub body: Option<Vec<u8>>,
}

/// A delivery with its attempts, in order.
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: Delivery,
    /// Its attempts.
    pub attempts: Vec<AttemptBody>,
}

impl Control {
    /// Events, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn events(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>> {
        Ok(self.store.events(tenant, filter, limit, after).await?)
    }

    /// What came in since an event, a little of what came before it among it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn events_since(&self, tenant: TenantId, last: EventId) -> Result<Since> {
        let mut since = Since { events: Vec::new(), complete: true };
        let mut after = last.made_at().checked_sub(OVERLAP).ok().map(EventId::before);
        loop {
            let page = self.store.events_between(tenant, (Timestamp::MIN, Timestamp::MAX), 200, after).await?;
            let others = page.items.iter().filter(|stored| stored.event.id != last);
            since.events.extend(others.map(|stored| StoredEvent::without_data(&stored.event, stored.deliveries)));
            after = page.next;
            if after.is_none() || since.events.len() >= SINCE {
                since.complete = after.is_none();
                return Ok(since);
            }
        }
    }

    /// One event.
    ///
    /// # Errors
    /// If there is none.
    pub async fn event(&self, tenant: TenantId, id: EventId) -> Result<StoredEvent> {
        self.store.event(tenant, id).await?.ok_or(Error::NotFound("event"))
    }

    /// Every subscription as it is now, and why it would get the event or not, with the deliveries it did get.
    ///
    /// # Errors
    /// If there is no such event.
    pub async fn explain(
        &self,
        tenant: TenantId,
        id: EventId,
        limit: usize,
        after: Option<SubscriptionId>,
    ) -> Result<Explained> {
        let stored = self.event(tenant, id).await?;
        let mut deliveries: HashMap<SubscriptionId, Vec<DeliveryId>> = HashMap::new();
        let filter = DeliveryFilter { event_id: Some(id), ..Default::default() };
        let (mut seen, mut from) = (0, None);
        loop {
            let page = self.store.deliveries(tenant, &filter, 200, from).await?;
            seen += page.items.len();
            for delivery in page.items {
                deliveries.entry(delivery.subscription_id).or_default().push(delivery.id);
            }
            match page.next {
                Some(next) if seen < DELIVERIES_EXPLAINED => from = Some(next),
                _ => break,
            }
        }
        let mut plans = self.registry.plans(tenant);
        plans.retain(|plan| after.is_none_or(|after| plan.subscription.id > after));
        let more = plans.len() > limit;
        plans.truncate(limit);
        let next = plans.last().filter(|_| more).map(|plan| plan.subscription.id);
        let answers = self.pipeline.explain(&plans, &stored.event).await;
        let explain = |(plan, (matched, why)): (Arc<Plan>, (bool, String))| {
            let deliveries = deliveries.remove(&plan.subscription.id).unwrap_or_default();
            Explanation { matched, why, deliveries, plan }
        };
        Ok(Explained { items: plans.into_iter().zip(answers).map(explain).collect(), next })
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn deliveries(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        limit: usize,
        after: Option<DeliveryId>,
    ) -> Result<Page<Delivery, DeliveryId>> {
        // Whether what is owed is held back is the subscription's to say, so the store is asked for both.
        let open = [Some(Status::Pending), Some(Status::Held)].contains(&filter.status);
        let asked = DeliveryFilter { status: filter.status.filter(|_| !open), ..filter.clone() };
        let mut page = self.store.deliveries(tenant, &asked, limit, after).await?;
        page.items.iter_mut().for_each(|delivery| self.hold(delivery));
        page.items.retain(|delivery| filter.admits(delivery));
        Ok(page)
    }

    /// What is owed to a subscription that is paused or disabled reads as held; what waits for processor time says so.
    fn hold(&self, delivery: &mut Delivery) {
        let plan = self.registry.plan(delivery.tenant_id, delivery.subscription_id);
        let Some(plan) = plan.filter(|_| delivery.status == Status::Pending) else { return };
        if !plan.sends() {
            delivery.status = Status::Held;
            delivery.reason = Some(match &plan.fault {
                Some(fault) => format!("the subscription can't be served: {fault}"),
                None if plan.subscription.state == State::Paused => "the subscription is paused".to_owned(),
                None => "the subscription is disabled".to_owned(),
            });
        } else if let Some(until) = self.pipeline.waits_for_cpu(&plan) {
            delivery.reason = Some(format!(
                "this tenant's plugins have used the processor time they may have in a minute; there is some again at {}",
                rfc3339(until)
            ));
        }
    }

    /// One delivery with its attempts, and with the bodies that were sent.
    ///
    /// # Errors
    /// If there is none.
    pub async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<DeliveryDetail> {
        let mut delivery = self.plain_delivery(tenant, id).await?;
        let attempts = self.store.attempts(tenant, id).await?;
        let attempts = self.with_bodies(&delivery, attempts).await?;
        self.hold(&mut delivery);
        Ok(DeliveryDetail { delivery, attempts })
    }

    async fn plain_delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<Delivery> {
        self.store.delivery(tenant, id).await?.ok_or(Error::NotFound("delivery"))
    }

    /// The subscription that a delivery belongs to.
    ///
    /// # Errors
    /// If there is no such delivery.
    pub async fn delivery_of(&self, tenant: TenantId, id: DeliveryId) -> Result<SubscriptionId> {
        Ok(self.plain_delivery(tenant, id).await?.subscription_id)
    }

    /// Adds the bodies that attempts keep by reference only.
    pub(super) async fn with_bodies(&self, delivery: &Delivery, attempts: Vec<Attempt>) -> Result<Vec<AttemptBody>> {
        let referred = |attempt: &Attempt| attempt.request.as_ref().is_some_and(|request| request.body.is_none());
        if !attempts.iter().any(referred) {
            return Ok(attempts.into_iter().map(|attempt| AttemptBody { body: kept(&attempt), attempt }).collect());
        }
        let event = self.store.event(delivery.tenant_id, delivery.event_id).await?.map(|stored| stored.event);
        // The revision that sent it, not the one of today.
        let subscription = self.store.revision(delivery.tenant_id, delivery.subscription_id, delivery.revision).await?;
        // What a connector made can't be made again here; it is kept with the attempt.
        let spec = subscription.as_ref().map(|subscription| &subscription.spec).filter(|spec| spec.connector.is_none());
        let again = match (spec, &event) {
            (Some(spec), Some(event)) => Some(body_of(spec, event, delivery).to_vec()),
            _ => None,
        };
        let fill = |attempt: Attempt| {
            let body = kept(&attempt).or_else(|| again.clone().filter(|_| attempt.request.is_some()));
            AttemptBody { attempt, body }
        };
        Ok(attempts.into_iter().map(fill).collect())
    }

    /// Sends a finished or held delivery again.
    ///
    /// # Errors
    /// If there is none, or its subscription is gone.
    pub async fn retry(&self, tenant: TenantId, id: DeliveryId) -> Result<Delivery> {
        let delivery = self.plain_delivery(tenant, id).await?;
        if self.registry.plan(tenant, delivery.subscription_id).is_none() {
            return Err(Error::Conflict("its subscription is gone, so it has nowhere to go".to_owned()));
        }
        let mut delivery = self.pipeline.retry(tenant, id).await?.ok_or(Error::NotFound("delivery"))?;
        self.hold(&mut delivery);
        Ok(delivery)
    }

    /// Ends a delivery that is still owed.
    ///
    /// # Errors
    /// If there is none, or it has ended already.
    pub async fn cancel(&self, tenant: TenantId, id: DeliveryId) -> Result<Delivery> {
        let delivery = self.pipeline.cancel(tenant, id).await?.ok_or(Error::NotFound("delivery"))?;
        match delivery.status {
            Status::Cancelled => Ok(delivery),
            Status::Pending => Err(Error::Conflict("it is being sent just now; try again in a moment".to_owned())),
            status => Err(Error::Conflict(format!("it has ended already: it is {}", status.as_str()))),
        }
    }
}

fn kept(attempt: &Attempt) -> Option<Vec<u8>> {
    attempt.request.as_ref().and_then(|request| request.body.clone())
}
