//! From a parsed event to a durable one: who wants it, and the store's word for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::lanes::Work;
use super::parse::NewEvent;
use super::{Parts, Pipeline, dispatch};
use crate::clock::{later, since};
use crate::domain::{Delivery, DeliveryId, Event, EventId, Lane, Status, TenantId, Trigger};
use crate::filter::Document;
use crate::registry::{Plan, to_the_end};
use crate::store::{self, Accepted, Dedupe, Receipt};

/// An event that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The gateway's id for it; of a duplicate, the first one's.
    pub id: EventId,
    /// The client's id.
    pub external_id: Option<String>,
    /// To how many subscriptions it is owed.
    pub deliveries: usize,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Why an event was not taken. Nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// The same id came with other content.
    #[error("the same id came before with other content, as {event_id}")]
    Conflict {
        /// The first one.
        event_id: EventId,
    },
    /// The tenant posts faster than it may.
    #[error("this tenant posts faster than it may")]
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// There is no such tenant any more.
    #[error("there is no such tenant")]
    NoTenant,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Pipeline {
    /// Takes events in: durable, and on their way, when this returns. One answer each, in order.
    ///
    /// A client that goes away meanwhile makes no difference: what is being written down must also be put on its way.
    pub async fn ingest(&self, tenant: TenantId, items: Vec<NewEvent>) -> Vec<Result<Ingested, IngestError>> {
        let pipeline = self.clone();
        to_the_end(async move { pipeline.take_in(tenant, items).await }).await
    }

    async fn take_in(&self, tenant: TenantId, items: Vec<NewEvent>) -> Vec<Result<Ingested, IngestError>> {
        let parts = &self.0;
        let now = parts.clock.now();
        let Some(limits) = parts.registry.tenant(tenant).map(|tenant| tenant.limits.clone()) else {
            return items.iter().map(|_| Err(IngestError::NoTenant)).collect();
        };
        let rate = limits.events_per_second.unwrap_or(parts.limits.events_per_second);
        if let Err(retry_after) = parts.rates.take(tenant, items.len(), rate, now) {
            return items.iter().map(|_| Err(IngestError::RateLimited { retry_after })).collect();
        }
        let accepted: Vec<Accepted> = items.into_iter().map(|item| accepted(parts, tenant, item, now)).collect();
        // Only those in hand come back to be put into their lanes: most events have one or two.
        let kept: Vec<Kept> = accepted.iter().map(Kept::of).collect();
        let receipts = match parts.store.accept(accepted).await {
            Ok(receipts) => receipts,
            Err(error) => {
                kept.iter().for_each(|kept| kept.unreserve(parts));
                let result = metric(&error);
                metrics::counter!("hookmill_events_total", "result" => result).increment(kept.len() as u64);
                return kept.iter().map(|_| Err(error.clone().into())).collect();
            }
        };
        let answers = kept.into_iter().zip(receipts).map(|(kept, receipt)| kept.answer(parts, receipt)).collect();
        dispatch::pump(parts);
        answers
    }

    /// Whether a subscription wants an event, and why.
    #[must_use]
    pub fn explain(&self, plan: &Plan, event: &Event) -> (bool, String) {
        why(plan, event)
    }
}

fn metric(error: &store::Error) -> &'static str {
    match error {
        store::Error::Overloaded => "overloaded",
        store::Error::DiskFull(_) => "disk_full",
        _ => "failed",
    }
}

/// Makes the event and what is owed for it.
fn accepted(parts: &Parts, tenant: TenantId, item: NewEvent, now: Timestamp) -> Accepted {
    let dedupe = dedupe(&item, later(now, parts.limits.dedupe_window));
    let event = Arc::new(Event {
        id: EventId::new(now),
        tenant_id: tenant,
        external_id: item.external_id.map(Into::into),
        event_type: item.event_type,
        source_id: item.source_id,
        source: item.source.map(Into::into),
        timestamp: item.timestamp.unwrap_or(now),
        received_at: now,
        data: item.data,
        attributes: item.attributes,
    });
    let mut deliveries = Vec::new();
    let mut waiting = Vec::new();
    if let Some(matcher) = parts.registry.matcher(tenant) {
        let document = Document::of(&event);
        for plan in matcher.candidates(event.event_type.as_str()) {
            if !wants(plan, &event, &document) {
                continue;
            }
            let delivery = delivery(plan, &event, Trigger::Automatic, now);
            let at_once = delivery.next_attempt_at.is_some_and(|due| due <= now);
            if at_once && plan.sends() && parts.lanes.reserve(delivery.lane, tenant, event.weight(), now) {
                deliveries.push(delivery);
            } else {
                waiting.push(delivery);
            }
        }
    }
    let in_hand = deliveries.len();
    deliveries.append(&mut waiting);
    Accepted { event, deliveries, in_hand, dedupe }
}

/// A delivery of this event to this subscription, due now.
pub(super) fn delivery(plan: &Plan, event: &Event, trigger: Trigger, now: Timestamp) -> Delivery {
    let subscription = &plan.subscription;
    Delivery {
        id: DeliveryId::new(now),
        tenant_id: event.tenant_id,
        event_id: event.id,
        event_type: event.event_type.clone(),
        subscription_id: subscription.id,
        revision: subscription.revision,
        lane: Lane::of(subscription.id),
        status: Status::Pending,
        reason: None,
        trigger,
        attempt_count: 0,
        created_at: now,
        next_attempt_at: Some(later(now, plan.schedule.wait_before(1).unwrap_or_default())),
        finished_at: None,
        last_status_code: None,
        frozen: None,
        begun: false,
    }
}

/// The type has matched already.
fn wants(plan: &Plan, event: &Event, document: &Document<'_>) -> bool {
    let sources = &plan.subscription.spec.source_ids;
    plan.takes_events()
        && (sources.is_empty() || event.source_id.is_some_and(|id| sources.contains(&id)))
        // A filter that can't be afforded selects nothing; explain says so.
        && plan.filter.as_ref().is_none_or(|filter| filter.evaluate(document).unwrap_or(false))
}

/// The same questions, asked for a person.
pub(super) fn why(plan: &Plan, event: &Event) -> (bool, String) {
    let event_type = event.event_type.as_str();
    if !plan.patterns.iter().any(|pattern| pattern.matches(event_type)) {
        let wanted = plan.subscription.spec.events.join("`, `");
        return (false, format!("the type `{event_type}` matches none of `{wanted}`"));
    }
    let sources = &plan.subscription.spec.source_ids;
    if !sources.is_empty() && !event.source_id.is_some_and(|id| sources.contains(&id)) {
        return (false, "it did not come through one of the subscription's sources".to_owned());
    }
    if let Some(filter) = &plan.filter {
        let explanation = filter.explain(&Document::of(event));
        if !explanation.matched {
            return (false, explanation.because);
        }
    }
    if !plan.takes_events() {
        return (false, "the subscription is disabled".to_owned());
    }
    (true, "type and filters match".to_owned())
}

/// What makes this event the same as an earlier one, if it says so.
fn dedupe(item: &NewEvent, until: Timestamp) -> Option<Dedupe> {
    let key = item.dedupe.as_ref().or(item.external_id.as_ref())?.clone();
    let scope = match (&item.source_id, &item.source) {
        (Some(id), _) => id.to_string(),
        (None, Some(source)) => format!("source:{source}"),
        (None, None) => String::new(),
    };
    let mut content = Sha256::new();
    content.update(item.event_type.as_str());
    content.update([0]);
    if let Some(timestamp) = item.timestamp {
        content.update(timestamp.as_nanosecond().to_be_bytes());
    }
    content.update([0]);
    content.update(item.data.as_bytes());
    Some(Dedupe { scope, key, content: content.finalize().into(), until })
}

/// What is kept beside while the store has the event.
struct Kept {
    event: Arc<Event>,
    in_hand: Vec<Delivery>,
    /// The lanes of those that wait in the store, and when they are due.
    waiting: Vec<(Lane, Timestamp)>,
    total: usize,
}

impl Kept {
    fn of(accepted: &Accepted) -> Self {
        let (in_hand, waiting) = accepted.deliveries.split_at(accepted.in_hand.min(accepted.deliveries.len()));
        Self {
            event: accepted.event.clone(),
            in_hand: in_hand.to_vec(),
            waiting: waiting.iter().filter_map(|one| Some((one.lane, one.next_attempt_at?))).collect(),
            total: accepted.deliveries.len(),
        }
    }

    fn unreserve(&self, parts: &Parts) {
        for delivery in &self.in_hand {
            parts.lanes.unreserve(delivery.lane, self.event.weight());
        }
    }

    fn answer(self, parts: &Parts, receipt: Receipt) -> Result<Ingested, IngestError> {
        let external_id = self.event.external_id.as_deref().map(str::to_owned);
        let (result, answer) = match receipt {
            Receipt::Stored => {
                let Self { event, in_hand, waiting, total } = self;
                for (lane, due) in waiting {
                    parts.lanes.note_due(lane, event.tenant_id, due);
                }
                let id = event.id;
                parts.lanes.put(in_hand.into_iter().map(|delivery| Work {
                    delivery,
                    event: event.clone(),
                    host: None,
                }));
                ("accepted", Ok(Ingested { id, external_id, deliveries: total, duplicate: false }))
            }
            Receipt::Duplicate { event_id, deliveries } => {
                self.unreserve(parts);
                ("duplicate", Ok(Ingested { id: event_id, external_id, deliveries, duplicate: true }))
            }
            Receipt::Conflict { event_id } => {
                self.unreserve(parts);
                ("conflict", Err(IngestError::Conflict { event_id }))
            }
        };
        metrics::counter!("hookmill_events_total", "result" => result).increment(1);
        answer
    }
}

/// How fast each tenant posts: events in the current second.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<TenantId, (Timestamp, u32)>>);

impl Rates {
    /// Counts `events`; `Err` says when to come back.
    fn take(&self, tenant: TenantId, events: usize, per_second: u32, now: Timestamp) -> Result<(), Duration> {
        if per_second == 0 {
            return Ok(());
        }
        let second = Duration::from_secs(1);
        let mut rates = self.0.lock();
        let window = rates.entry(tenant).or_insert((now, 0));
        if since(window.0, now) >= second {
            *window = (now, 0);
        }
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        // A batch larger than the whole rate goes through at the start of a second, or it never would.
        if window.1 > 0 && window.1.saturating_add(events) > per_second {
            return Err(second.saturating_sub(since(window.0, now)).max(Duration::from_millis(1)));
        }
        window.1 = window.1.saturating_add(events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_tenant_and_second() {
        let rates = Rates::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (one, other) = (TenantId::new(now), TenantId::new(now));
        assert_eq!(rates.take(one, 2, 3, now), Ok(()));
        assert_eq!(rates.take(one, 2, 3, now), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(one, 1, 3, now), Ok(()));
        assert_eq!(rates.take(other, 3, 3, now), Ok(()));
        assert_eq!(rates.take(one, 100, 3, later(now, Duration::from_secs(1))), Ok(()));
        assert_eq!(rates.take(one, 1, 0, now), Ok(()));
    }
}
