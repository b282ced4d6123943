//! From a parsed event to a durable one: who wants it, and the store's word for it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lanes::{Found, HeldBack, Work};
use super::parse::NewEvent;
use super::writing::Load;
use super::{Parts, Pipeline, dispatch, meters};
use crate::clock::{later, since};
use crate::domain::{
    BREACH, Delivery, DeliveryId, Enforce, Event, EventId, FieldError, IdMap, Lane, Status, TenantId, Trigger,
};
use crate::filter::{Document, EventPattern};
use crate::priority::Slices;
use crate::profiles::Profile;
use crate::registry::{Inlet, Plan, to_the_end};
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
    /// The same id, or the same key of a request, came with other content.
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
    /// Its data breaks the schema of its type, and the tenant wants such events refused.
    #[error("the data does not fit the schema of its type")]
    Schema(Vec<FieldError>),
    /// There is no such tenant any more.
    #[error("there is no such tenant")]
    NoTenant,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl NewEvent {
    /// Whether it is told from others by the key of the request that it came in: it has no id of its own.
    #[must_use]
    pub fn goes_by_key(&self) -> bool {
        self.source_id.is_none() && self.dedupe.is_some()
    }
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
        let Some(owner) = parts.registry.tenant(tenant) else {
            return items.iter().map(|_| Err(IngestError::NoTenant)).collect();
        };
        let rate = owner.limits.events_per_second.unwrap_or(parts.limits.events_per_second);
        let second = Duration::from_secs(1);
        if let Err(retry_after) = parts.rates.take(tenant, items.len(), rate, second, now) {
            return items.iter().map(|_| Err(IngestError::RateLimited { retry_after })).collect();
        }
        let (mut accepted, mut found) = (Vec::with_capacity(items.len()), None);
        let mut pace = Pace::begin(&parts.long_matches);
        let mut refused = Vec::new();
        let profile = owner.profile.as_ref().and_then(|name| parts.registry.profiles().get(name).cloned());
        for (at, item) in items.into_iter().enumerate() {
            match checked(parts, tenant, item, &mut pace).await {
                Ok(item) => {
                    let (item, of_it) = accept(parts, tenant, profile.as_deref(), item, now, &mut pace).await;
                    accepted.push(item);
                    found = found.into_iter().chain(of_it).reduce(Found::beside);
                }
                Err(errors) => refused.push((at, errors)),
            }
        }
        let mut answers = if accepted.is_empty() {
            Vec::new()
        } else {
            self.write(tenant, accepted, found.and_then(Found::piles_up), pace).await
        };
        if !refused.is_empty() {
            meters::events("invalid").increment(refused.len() as u64);
        }
        for (at, errors) in refused {
            answers.insert(at, Err(IngestError::Schema(errors)));
        }
        answers
    }

    /// Writes events down and puts them on their way; why what is owed for them only piles up, if it does.
    async fn write(
        &self,
        tenant: TenantId,
        accepted: Vec<Accepted>,
        piles_up: Option<HeldBack>,
        mut pace: Pace<'_>,
    ) -> Vec<Result<Ingested, IngestError>> {
        let parts = &self.0;
        pace.rest();
        // Only those in hand come back to be put into their lanes: most events have one or two.
        let mut kept = Vec::with_capacity(accepted.len());
        for accepted in &accepted {
            kept.push(Kept::of(accepted, &mut pace).await);
        }
        pace.rest();
        // Where it has most waiting, until it has as little as before: its own have room already.
        let before = (piles_up == Some(HeldBack::HasMost)).then(|| {
            let in_hand: usize = accepted.iter().map(|accepted| accepted.in_hand).sum();
            parts.lanes.waiting(tenant).saturating_sub(in_hand)
        });
        let load = Load::of(&accepted, piles_up);
        let Some(written) = parts.writing.begin(tenant, load).await else {
            return refuse(parts, &kept, &store::Error::Overloaded);
        };
        let receipts = match parts.store.accept(accepted).await {
            Ok(receipts) => receipts,
            Err(error) => return refuse(parts, &kept, &error),
        };
        let pipeline = self.clone();
        let caught_up = move || match before {
            Some(before) => pipeline.0.lanes.is_down_to(tenant, before),
            None => load.for_nothing() && !pipeline.0.lanes.has_others(tenant, pipeline.0.clock.now()),
        };
        let gap = || piles_up.map_or_else(|| parts.pressure.last(), |why| parts.pressure.gap(why));
        written.end(gap, caught_up);
        let mut pace = Pace::begin(&parts.long_matches);
        let mut answers = Vec::with_capacity(kept.len());
        for (kept, receipt) in kept.into_iter().zip(receipts) {
            answers.push(kept.answer(parts, receipt, &mut pace).await);
        }
        dispatch::pump(parts);
        let delay = parts.pressure.delay(parts.lanes.waiting(tenant));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        answers
    }

    /// Counts a request to a source that has a rate of its own.
    ///
    /// # Errors
    /// When to come back.
    pub fn admit(&self, inlet: &Inlet) -> Result<(), Duration> {
        let Some(limit) = inlet.source.spec.rate_limit else { return Ok(()) };
        self.0.source_rates.take(inlet.source.id, 1, limit.max, limit.per, self.0.clock.now())
    }

    /// To how many subscriptions an event would be owed, were it taken in now.
    #[must_use]
    pub fn wanted_by(&self, tenant: TenantId, item: &NewEvent) -> usize {
        let Some(matcher) = self.0.registry.matcher(tenant) else { return 0 };
        let event = event(tenant, item.clone(), self.0.clock.now());
        let document = Document::of(&event);
        matcher.candidates(event.event_type.as_str()).filter(|plan| wants(plan, &event, &document)).count()
    }

    /// Whether an event may come in, as far as the schema of its type has a say.
    ///
    /// # Errors
    /// How its data breaks it.
    pub async fn check(&self, tenant: TenantId, item: &NewEvent) -> Result<(), Vec<FieldError>> {
        match breach(&self.0, tenant, item, &mut Pace::begin(&self.0.long_matches)).await {
            Some((Enforce::Reject, errors)) => Err(errors),
            _ => Ok(()),
        }
    }

    /// What makes an event the same as another, and what must then be equal; `None`: nothing does.
    #[must_use]
    pub fn sameness(&self, tenant: TenantId, item: &NewEvent) -> Option<Dedupe> {
        let parts = &self.0;
        let owner = parts.registry.tenant(tenant)?;
        let profile = owner.profile.as_ref().and_then(|name| parts.registry.profiles().get(name).cloned());
        sameness(profile.as_deref(), item, parts.clock.now())
    }

    /// Whether each of these subscriptions wants an event, and why.
    pub async fn explain(&self, plans: &[Arc<Plan>], event: &Event) -> Vec<(bool, String)> {
        let mut pace = Pace::begin(&self.0.long_matches);
        let mut answers = Vec::with_capacity(plans.len());
        for plan in plans {
            pace.keep().await;
            answers.push(why(plan, event));
        }
        answers
    }
}

/// They were not written.
fn refuse(parts: &Parts, kept: &[Kept], error: &store::Error) -> Vec<Result<Ingested, IngestError>> {
    kept.iter().for_each(|kept| kept.unreserve(parts));
    meters::events(metric(error)).increment(kept.len() as u64);
    kept.iter().map(|_| Err(error.clone().into())).collect()
}

fn metric(error: &store::Error) -> &'static str {
    match error {
        store::Error::Overloaded => "overloaded",
        store::Error::DiskFull(_) => "disk_full",
        _ => "failed",
    }
}

/// What a check may cost, in parts of a schema times bytes of data, that is done at once; about a millisecond.
const CHEAP: usize = 1 << 20;

/// How an event breaks the schema of its type, if it does and somebody wants to know.
async fn breach(
    parts: &Parts,
    tenant: TenantId,
    item: &NewEvent,
    pace: &mut Pace<'_>,
) -> Option<(Enforce, Vec<FieldError>)> {
    let kind = parts.registry.event_kind(tenant, &item.event_type)?;
    let enforce = kind.entry.enforce;
    if enforce == Enforce::Off {
        return None;
    }
    pace.keep().await;
    let found = if kind.cost(&item.data) <= CHEAP {
        kind.check(&item.data)
    } else {
        // One at a time, and where it is in nobody's way. It is never closed, so there is always a permit.
        let _one = parts.long_checks.acquire().await.ok();
        let data = item.data.clone();
        tokio::task::spawn_blocking(move || kind.check(&data)).await.unwrap_or_else(|_| {
            Err(vec![FieldError::new("", "holding it against the schema of its type failed in the gateway")])
        })
    };
    let below = |error: FieldError| FieldError::new(format!("/data{}", error.pointer), error.detail);
    found.err().map(|errors| (enforce, errors.into_iter().map(below).collect()))
}

/// The event, with what is to be said of it.
async fn checked(
    parts: &Parts,
    tenant: TenantId,
    mut item: NewEvent,
    pace: &mut Pace<'_>,
) -> Result<NewEvent, Vec<FieldError>> {
    const MOST: usize = 1_000;
    match breach(parts, tenant, &item, pace).await {
        None | Some((Enforce::Off, _)) => Ok(item),
        Some((Enforce::Reject, errors)) => Err(errors),
        Some((Enforce::Warn, errors)) => {
            let all: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
            let mut said = all.join("; ");
            said.truncate(said.floor_char_boundary(MOST));
            item.attributes.retain(|(name, _)| **name != *BREACH);
            item.attributes.push((BREACH.into(), said.into()));
            Ok(item)
        }
    }
}

/// Makes the event and what is owed for it; and says what those deliveries find in their lanes.
async fn accept(
    parts: &Parts,
    tenant: TenantId,
    profile: Option<&Profile>,
    item: NewEvent,
    now: Timestamp,
    pace: &mut Pace<'_>,
) -> (Accepted, Option<Found>) {
    let until = later(now, item.dedupe_window.unwrap_or(parts.limits.dedupe_window));
    let dedupe = sameness(profile, &item, until);
    let event = Arc::new(event(tenant, item, now));
    let (mut deliveries, mut waiting, mut all) = (Vec::new(), Vec::new(), None);
    if let Some(matcher) = parts.registry.matcher(tenant) {
        let document = Document::of(&event);
        for plan in matcher.candidates(event.event_type.as_str()) {
            pace.keep().await;
            if !wants(plan, &event, &document) {
                continue;
            }
            let delivery = delivery(plan, &event, Trigger::Automatic, now);
            let at_once = delivery.next_attempt_at.is_some_and(|due| due <= now);
            let (has_room, found) = match (plan.sends(), at_once) {
                (true, true) => {
                    let (has_room, found) = parts.lanes.reserve(delivery.lane, tenant, event.weight(), now);
                    (has_room, Some(found))
                }
                (true, false) => (false, Some(parts.lanes.find(delivery.lane, tenant, now))),
                (false, _) => (false, None),
            };
            if has_room {
                deliveries.push(delivery);
            } else {
                waiting.push(delivery);
            }
            all = all.into_iter().chain(found).reduce(Found::and);
        }
    }
    let in_hand = deliveries.len();
    deliveries.append(&mut waiting);
    let found = all.or_else(|| parts.lanes.find_nobody(tenant, now));
    (Accepted { event, deliveries, in_hand, dedupe }, found)
}

fn event(tenant: TenantId, item: NewEvent, now: Timestamp) -> Event {
    Event {
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
    }
}

/// Deliveries that are copied, or put into their lanes, before others have their turn.
const AT_ONCE: usize = 64;

/// Keeps a match that takes long from being felt by others: ten thousand subscriptions, or filters that use up all
/// they may. It rests after each slice, and only one such match goes on at a time.
pub(super) struct Pace<'a> {
    long: &'a Semaphore,
    slices: Slices,
    held: Option<SemaphorePermit<'a>>,
}

impl<'a> Pace<'a> {
    pub(super) fn begin(long: &'a Semaphore) -> Self {
        Self { long, slices: Slices::begin(), held: None }
    }

    /// What comes next takes no time of its own.
    fn rest(&mut self) {
        self.held = None;
        self.slices = Slices::begin();
    }

    /// To be called between two subscriptions.
    pub(super) async fn keep(&mut self) {
        if !self.slices.is_over() {
            return;
        }
        self.held = None;
        self.slices.rest().await;
        // Those who wait for it have it in turn. It is never closed, so there is always a permit.
        self.held = self.long.acquire().await.ok();
        self.slices = Slices::begin();
    }
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
        fresh_id: false,
    }
}

/// The type has matched already.
pub(super) fn wants(plan: &Plan, event: &Event, document: &Document<'_>) -> bool {
    let sources = &plan.spec.source_ids;
    plan.takes_events()
        && (sources.is_empty() || event.source_id.is_some_and(|id| sources.contains(&id)))
        // A filter that can't be afforded selects nothing; explain says so.
        && plan.filter.as_ref().is_none_or(|filter| filter.evaluate(document).unwrap_or(false))
}

/// The same questions, asked for a person.
pub(super) fn why(plan: &Plan, event: &Event) -> (bool, String) {
    let event_type = event.event_type.as_str();
    if !plan.patterns.iter().any(|pattern| pattern.matches(event_type)) {
        let wanted: Vec<&str> = plan.patterns.iter().map(EventPattern::as_str).collect();
        return (false, format!("the type `{event_type}` matches none of `{}`", wanted.join("`, `")));
    }
    let sources = &plan.spec.source_ids;
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

/// What makes this event the same as an earlier one, if anything does.
fn sameness(profile: Option<&Profile>, item: &NewEvent, until: Timestamp) -> Option<Dedupe> {
    let by_profile = profile.and_then(|profile| dedupe_by_profile(profile, item, until));
    by_profile.or_else(|| dedupe(item, until))
}

/// The same by the word of the tenant's profile: the type with what stands at some places of the data, where an event
/// has them all. A source and a client's `Idempotency-Key` have the word before it.
fn dedupe_by_profile(profile: &Profile, item: &NewEvent, until: Timestamp) -> Option<Dedupe> {
    let places = &profile.delivery.as_ref()?.dedupe;
    if places.is_empty() || item.source_id.is_some() || item.dedupe.is_some() {
        return None;
    }
    let mut key = item.event_type.to_string();
    for place in places {
        let found = place.raw(&item.data).ok()??;
        if found == "null" {
            return None;
        }
        key.push(' ');
        key.push_str(found);
    }
    Some(Dedupe { scope: format!("profile:{}", profile.name), key, content: Sha256::new().finalize().into(), until })
}

/// The same by its own word, or by its request's.
fn dedupe(item: &NewEvent, until: Timestamp) -> Option<Dedupe> {
    let key = item.dedupe.as_ref().or(item.external_id.as_ref())?.clone();
    let scope = match (&item.source_id, &item.source) {
        (Some(id), _) => id.to_string(),
        // A key is of the whole tenant, and nobody's id.
        (None, _) if item.goes_by_key() => "key".to_owned(),
        (None, Some(source)) => format!("source:{source}"),
        (None, None) => String::new(),
    };
    let mut content = Sha256::new();
    if item.source_id.is_some() && item.dedupe.is_some() {
        // The source says what makes requests the same; what else is in them makes no difference.
        return Some(Dedupe { scope, key, content: content.finalize().into(), until });
    }
    content.update(item.event_type.as_str());
    content.update([0]);
    if let Some(timestamp) = item.timestamp {
        content.update(timestamp.as_nanosecond().to_be_bytes());
    }
    content.update([0]);
    content.update(item.data.as_bytes());
    if item.goes_by_key()
        && let Some(source) = &item.source
    {
        content.update([0]);
        content.update(source.as_bytes());
    }
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
    async fn of(accepted: &Accepted, pace: &mut Pace<'_>) -> Self {
        let (in_hand, waiting) = accepted.deliveries.split_at(accepted.in_hand.min(accepted.deliveries.len()));
        let mut copied = Vec::with_capacity(in_hand.len());
        for some in in_hand.chunks(AT_ONCE) {
            pace.keep().await;
            copied.extend_from_slice(some);
        }
        Self {
            event: accepted.event.clone(),
            in_hand: copied,
            waiting: waiting.iter().filter_map(|one| Some((one.lane, one.next_attempt_at?))).collect(),
            total: accepted.deliveries.len(),
        }
    }

    fn unreserve(&self, parts: &Parts) {
        for delivery in &self.in_hand {
            parts.lanes.unreserve(delivery.lane, self.event.weight());
        }
    }

    async fn answer(self, parts: &Parts, receipt: Receipt, pace: &mut Pace<'_>) -> Result<Ingested, IngestError> {
        let external_id = self.event.external_id.as_deref().map(str::to_owned);
        let (result, answer) = match receipt {
            Receipt::Stored => {
                let Self { event, in_hand, waiting, total } = self;
                for (lane, due) in waiting {
                    pace.keep().await;
                    parts.lanes.note_due(lane, event.tenant_id, due);
                }
                let id = event.id;
                parts.live.event(&event, total);
                parts.seen.count(event.tenant_id, &event.event_type, event.received_at);
                let mut in_hand = in_hand.into_iter().peekable();
                while in_hand.peek().is_some() {
                    pace.keep().await;
                    let some = in_hand.by_ref().take(AT_ONCE);
                    parts.lanes.put(some.map(|delivery| Work::new(delivery, event.clone())));
                }
                parts.meters.accepted.increment(1);
                return Ok(Ingested { id, external_id, deliveries: total, duplicate: false });
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
        meters::events(result).increment(1);
        answer
    }
}

/// How fast each tenant or source posts: what came in the current period.
pub(super) struct Rates<K>(Mutex<IdMap<K, (Timestamp, u32)>>);

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Rates<K> {
    /// Counts `events`; `Err` says when to come back. `max` 0 is any number.
    fn take(&self, who: K, events: usize, max: u32, per: Duration, now: Timestamp) -> Result<(), Duration> {
        if max == 0 {
            return Ok(());
        }
        let mut rates = self.0.lock();
        let window = rates.entry(who).or_insert((now, 0));
        if since(window.0, now) >= per {
            *window = (now, 0);
        }
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        // A batch larger than the whole rate goes through at the start of a period, or it never would.
        if window.1 > 0 && window.1.saturating_add(events) > max {
            return Err(per.saturating_sub(since(window.0, now)).max(Duration::from_millis(1)));
        }
        window.1 = window.1.saturating_add(events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_matches_go_on_one_at_a_time() {
        let long = Semaphore::new(1);
        let mut paces = [Pace::begin(&long), Pace::begin(&long)];
        for pace in &mut paces {
            pace.slices = Slices::endless();
            pace.keep().await;
            assert!(pace.held.is_none(), "what has just begun is in nobody's way");
            pace.slices = Slices::over();
        }
        let [first, second] = &mut paces;
        first.keep().await;
        assert!(first.held.is_some());
        tokio::select! {
            biased;
            () = second.keep() => panic!("there are two"),
            () = tokio::time::sleep(Duration::from_millis(3)) => {}
        }
        second.slices = Slices::over();
        tokio::join!(second.keep(), async {
            first.held = None;
        });
        assert!(second.held.is_some());
    }

    #[test]
    fn rates_are_per_tenant_and_second() {
        let rates = Rates::default();
        let second = Duration::from_secs(1);
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (one, other) = (TenantId::new(now), TenantId::new(now));
        assert_eq!(rates.take(one, 2, 3, second, now), Ok(()));
        assert_eq!(rates.take(one, 2, 3, second, now), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(one, 1, 3, second, now), Ok(()));
        assert_eq!(rates.take(other, 3, 3, second, now), Ok(()));
        assert_eq!(rates.take(one, 100, 3, second, later(now, Duration::from_secs(1))), Ok(()));
        assert_eq!(rates.take(one, 1, 0, second, now), Ok(()));
    }
}
