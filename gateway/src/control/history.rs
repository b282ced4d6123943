//! Looking at what happened: events, deliveries, attempts, and why.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Control, Error, Result};
use crate::domain::{
    Attempt, Delivery, DeliveryId, EventId, State, Status, Subscription, SubscriptionId, TenantId, Trigger, rfc3339,
};
use crate::pipeline::body_of;
use crate::registry::Plan;
use crate::store::{DeliveryFilter, EventFilter, Page, StoredEvent};

/// How many of an event's deliveries an explanation looks through.
const DELIVERIES_EXPLAINED: usize = 10_000;

/// One subscription's part in the fate of an event.
pub struct Explanation {
    /// The subscription; it may have been deleted since.
    pub subscription_id: SubscriptionId,
    /// Its name, the last that is known.
    pub name: Option<String>,
    /// Whether it got the event.
    pub matched: bool,
    /// Why, in words.
    pub why: String,
    /// The deliveries there are.
    pub deliveries: Vec<DeliveryId>,
}

/// What an explanation takes from a delivery.
#[derive(Debug, Clone, Copy)]
struct Owed {
    id: DeliveryId,
    /// That of the subscription that it was made for.
    revision: u64,
    created_at: Timestamp,
    trigger: Trigger,
}

/// An event's deliveries.
struct AllOwed {
    by_subscription: HashMap<SubscriptionId, Vec<Owed>>,
    /// Whether none is missing.
    complete: bool,
    /// Whether the event was made to test a subscription: no other was asked.
    is_test: bool,
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

    /// Every subscription that there is or that got the event, and why it got it or not. What has happened counts, and
    /// what a subscription says now only where nothing is known of then.
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
        let mut owed = self.all_owed(tenant, &stored).await?;
        let plans = self.registry.plans(tenant);
        let is_there = |id: &SubscriptionId| plans.binary_search_by_key(id, |plan| plan.subscription.id).is_ok();
        let deleted: Vec<SubscriptionId> = owed.by_subscription.keys().copied().filter(|id| !is_there(id)).collect();
        let mut page: Vec<(SubscriptionId, Option<Arc<Plan>>)> =
            plans.into_iter().map(|plan| (plan.subscription.id, Some(plan))).collect();
        page.extend(deleted.into_iter().map(|id| (id, None)));
        page.retain(|(id, _)| after.is_none_or(|after| *id > after));
        page.sort_unstable_by_key(|(id, _)| *id);
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|(id, _)| *id);

        let without = page.iter().filter(|(id, _)| !owed.by_subscription.contains_key(id));
        let asked: Vec<Arc<Plan>> = without.filter_map(|(_, plan)| plan.clone()).collect();
        let mut answers = self.pipeline.explain(&asked, &stored.event).await.into_iter();
        let received_at = stored.event.received_at;
        let mut items = Vec::with_capacity(page.len());
        for (subscription_id, plan) in page {
            let now = plan.map(|plan| plan.subscription.clone());
            let deliveries = owed.by_subscription.remove(&subscription_id).unwrap_or_default();
            let first = deliveries.iter().min_by_key(|one| one.created_at);
            let (matched, why) = match (first, &now) {
                (Some(first), now) => (true, why_it_got(received_at, first, now.as_deref())),
                (None, Some(now)) => why_it_did_not(received_at, &owed, now, answers.next().unwrap_or_default()),
                // Whoever is known by its deliveries alone has some.
                (None, None) => continue,
            };
            let name = match (now, first) {
                (Some(now), _) => now.spec.name.clone(),
                (None, Some(first)) => {
                    let then = self.store.revision(tenant, subscription_id, first.revision).await?;
                    then.and_then(|then| then.spec.name)
                }
                (None, None) => None,
            };
            let deliveries = deliveries.iter().map(|one| one.id).collect();
            items.push(Explanation { subscription_id, name, matched, why, deliveries });
        }
        Ok(Explained { items, next })
    }

    /// What there is of an event's deliveries.
    async fn all_owed(&self, tenant: TenantId, stored: &StoredEvent) -> Result<AllOwed> {
        let mut owed = AllOwed { by_subscription: HashMap::new(), complete: false, is_test: false };
        let filter = DeliveryFilter { event_id: Some(stored.event.id), ..Default::default() };
        let (mut seen, mut after) = (0, None);
        loop {
            let page = self.store.deliveries(tenant, &filter, 200, after).await?;
            seen += page.items.len();
            for delivery in page.items {
                let Delivery { id, revision, created_at, trigger, .. } = delivery;
                owed.is_test |= trigger == Trigger::Test;
                let of = owed.by_subscription.entry(delivery.subscription_id).or_default();
                of.push(Owed { id, revision, created_at, trigger });
            }
            after = page.next;
            if after.is_none() || seen >= DELIVERIES_EXPLAINED {
                // Fewer than there were: the event is being removed.
                owed.complete = after.is_none() && seen >= stored.deliveries;
                return Ok(owed);
            }
        }
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

    /// What is owed to a subscription that is paused or disabled reads as held; what waits for an endpoint that is left
    /// alone, or for processor time, says so, and until when.
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
            return;
        }
        let alone = self.pipeline.left_alone(&plan);
        let alone = alone.map(|(until, why)| (until, format!("{why} and is left alone until {}", rfc3339(until))));
        let cpu = self.pipeline.waits_for_cpu(&plan).map(|until| {
            let again = rfc3339(until);
            let why = format!(
                "this tenant's plugins have used the processor time they may have in a minute; there is some again at \
                 {again}"
            );
            (until, why)
        });
        // What is due later than that waits for its own time.
        if let Some((until, why)) = alone.max(cpu)
            && delivery.next_attempt_at.is_none_or(|due| due < until)
        {
            delivery.next_attempt_at = Some(until);
            delivery.reason = Some(why);
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

    /// Sends a delivery again, or now if it waits for its time.
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

/// Why a subscription got an event, by the first delivery of it; `now` is the subscription, unless it is deleted.
fn why_it_got(received_at: Timestamp, first: &Owed, now: Option<&Subscription>) -> String {
    let then = match first.trigger {
        Trigger::Test => "it was sent as a test, whatever type and filters say",
        _ if first.created_at > received_at => "type and filters matched when it was replayed",
        _ => "type and filters matched then",
    };
    match now {
        None => format!("{then}; the subscription has been deleted since"),
        Some(now) if now.revision != first.revision => format!("{then}; it has changed since"),
        Some(_) => then.to_owned(),
    }
}

/// Why a subscription did not get an event, with what it says of it as it is: whether it wants it, and why.
fn why_it_did_not(
    received_at: Timestamp,
    owed: &AllOwed,
    now: &Subscription,
    (wants, why): (bool, String),
) -> (bool, String) {
    if now.created_at > received_at {
        (false, "it was made after this event".to_owned())
    } else if !owed.complete {
        // It may have got it.
        (wants, why)
    } else if owed.is_test {
        (false, "the event was made to test another subscription".to_owned())
    } else if now.updated_at > received_at {
        (false, format!("it did not get it then; it has changed since: as it is now, {why}"))
    } else if wants {
        (false, format!("it did not get it then; as it is now, {why}"))
    } else {
        (false, why)
    }
}

fn kept(attempt: &Attempt) -> Option<Vec<u8>> {
    attempt.request.as_ref().and_then(|request| request.body.clone())
}
