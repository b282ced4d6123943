//! From a parsed event to a durable one: who wants it, and the store's word for it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::lanes::{MANY, UNBEGUN_OF_MANY, Work};
use super::parse::NewEvent;
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
        let (mut accepted, mut ahead) = (Vec::with_capacity(items.len()), 0);
        let mut pace = Pace::begin(&parts.long_matches);
        let mut refused = Vec::new();
        let profile = owner.profile.as_ref().and_then(|name| parts.registry.profiles().get(name).cloned());
        for (at, item) in items.into_iter().enumerate() {
            match checked(parts, tenant, item, &mut pace).await {
                Ok(item) => {
                    let (item, of_it) = accept(parts, tenant, profile.as_deref(), item, now, &mut pace).await;
                    accepted.push(item);
                    ahead = of_it.max(ahead);
                }
                Err(errors) => refused.push((at, errors)),
            }
        }
        let mut answers =
            if accepted.is_empty() { Vec::new() } else { self.write(tenant, accepted, ahead, pace).await };
        if !refused.is_empty() {
            meters::events("invalid").increment(refused.len() as u64);
        }
        for (at, errors) in refused {
            answers.insert(at, Err(IngestError::Schema(errors)));
        }
        answers
    }

    /// Writes events down and puts them on their way. Before the deliveries of one of them go so many.
    async fn write(
        &self,
        tenant: TenantId,
        accepted: Vec<Accepted>,
        ahead: usize,
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
        let deliveries: usize = accepted.iter().map(|accepted| accepted.deliveries.len()).sum();
        let in_hand: usize = accepted.iter().map(|accepted| accepted.in_hand).sum();
        let piles_up = ahead >= MANY;
        // Its own have room already.
        let before = if piles_up { parts.lanes.waiting(tenant).saturating_sub(in_hand) } else { 0 };
        let load = Load {
            room: accepted.iter().map(|accepted| weight(accepted, piles_up)).sum(),
            memory: accepted.iter().map(memory).sum(),
            piles_up,
        };
        let behind = piles_up || accepted.iter().any(|accepted| accepted.in_hand * 2 < accepted.deliveries.len());
        let Some(written) = parts.writing.begin(tenant, load).await else {
            return refuse(parts, &kept, &store::Error::Overloaded);
        };
        let began = Instant::now();
        let receipts = match parts.store.accept(accepted).await {
            Ok(receipts) => receipts,
            Err(error) => return refuse(parts, &kept, &error),
        };
        let delivering = || {
            let each = DELIVERING.max(parts.pressure.last() / UNBEGUN_OF_MANY) * if behind { RESTS } else { 1 };
            let deliveries = if piles_up { deliveries.max(WRITING / WAITING_WEIGHT) } else { deliveries };
            each.saturating_mul(u32::try_from(deliveries).unwrap_or(u32::MAX))
        };
        let pipeline = self.clone();
        let caught_up = move || piles_up && pipeline.0.lanes.is_down_to(tenant, before);
        written.end(began.elapsed(), delivering, caught_up);
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

/// Makes the event and what is owed for it; and says how many go before those deliveries, in their lanes.
async fn accept(
    parts: &Parts,
    tenant: TenantId,
    profile: Option<&Profile>,
    item: NewEvent,
    now: Timestamp,
    pace: &mut Pace<'_>,
) -> (Accepted, usize) {
    let until = later(now, item.dedupe_window.unwrap_or(parts.limits.dedupe_window));
    let by_profile = profile.and_then(|profile| dedupe_by_profile(profile, &item, until));
    let dedupe = by_profile.or_else(|| dedupe(&item, until));
    let event = Arc::new(event(tenant, item, now));
    let (mut deliveries, mut waiting, mut ahead) = (Vec::new(), Vec::new(), 0);
    if let Some(matcher) = parts.registry.matcher(tenant) {
        let document = Document::of(&event);
        for plan in matcher.candidates(event.event_type.as_str()) {
            pace.keep().await;
            if !wants(plan, &event, &document) {
                continue;
            }
            let delivery = delivery(plan, &event, Trigger::Automatic, now);
            let at_once = delivery.next_attempt_at.is_some_and(|due| due <= now);
            let room = (at_once && plan.sends())
                .then(|| parts.lanes.reserve(delivery.lane, tenant, event.weight(), now))
                .flatten();
            match room {
                Some(others) => {
                    ahead += others;
                    deliveries.push(delivery);
                }
                None => waiting.push(delivery),
            }
        }
    }
    let in_hand = deliveries.len();
    deliveries.append(&mut waiting);
    (Accepted { event, deliveries, in_hand, dedupe }, ahead)
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

/// Bytes of events that a tenant may have on their way into the store at once. What is beyond waits before it, so that
/// one tenant's mebibytes do not stand in one commit with another's few hundred bytes.
const WRITING: usize = 1 << 20;
/// What counts as much to write, and for how many times as long as it took the next then waits, if others write too.
const MUCH: usize = 128 << 10;
const RESTS: u32 = 4;
/// About what it costs to deliver one of a large fan-out. What a tenant is owed faster than that, or than the gaps that
/// it leaves between attempts, only piles up. Where much has, it takes [longer](RESTS) still, however small the events
/// are that it comes in: what is written keeps its part of the room for as long as all that has room there would take, or
/// until the tenant has as little waiting as before.
const DELIVERING: Duration = Duration::from_micros(100);
/// How often it is looked, meanwhile, whether the tenant has caught up: so many times, and no sooner than that.
const LOOKS: u32 = 16;
const LOOK: Duration = Duration::from_millis(10);
/// What a delivery counts beside its event, and one that is late already: it has to wait in the store, or its event's
/// deliveries have [`MANY`] others before them.
const DELIVERY_WEIGHT: usize = 128;
const WAITING_WEIGHT: usize = 16 << 10;

/// About how many bytes of the store an event with its deliveries takes; if they pile up, what it counts.
fn weight(accepted: &Accepted, piles_up: bool) -> usize {
    let brisk = if piles_up { 0 } else { accepted.in_hand };
    let waiting = accepted.deliveries.len().saturating_sub(brisk);
    accepted.event.weight() + brisk * DELIVERY_WEIGHT + waiting * WAITING_WEIGHT
}

/// About how much memory it takes while it waits to be written: what is in hand is there twice.
fn memory(accepted: &Accepted) -> usize {
    accepted.event.weight() + (accepted.deliveries.len() + accepted.in_hand) * size_of::<Delivery>()
}

/// What a request brings.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// What it takes of its tenant's room.
    room: usize,
    /// Bytes of memory, while it waits for that.
    memory: usize,
    piles_up: bool,
}

/// Memory for what waits for a tenant's room. What is beyond is refused, unless nothing waits.
const WAITING: usize = 64 << 20;

/// What each tenant has on its way into the store.
#[derive(Default)]
pub(super) struct Writing(Mutex<IdMap<TenantId, Room>>);

/// One tenant's room, the memory of what waits for it, and how many of its requests write.
struct Room {
    bytes: Arc<Semaphore>,
    waiting: usize,
    writing: usize,
}

impl Writing {
    /// Waits until the tenant may write that, too, in the order of asking; not if too much waits already. It is not given
    /// up meanwhile, since what is taken in is taken in [`to_the_end`].
    async fn begin(&self, tenant: TenantId, load: Load) -> Option<Write<'_>> {
        let Load { room: bytes, memory, piles_up } = load;
        let room = {
            let mut all = self.0.lock();
            let new = || Room { bytes: Arc::new(Semaphore::new(WRITING)), waiting: 0, writing: 0 };
            let room = all.entry(tenant).or_insert_with(new);
            if room.waiting > 0 && room.waiting + memory > WAITING {
                return None;
            }
            room.waiting += memory;
            room.bytes.clone()
        };
        // It is never closed, so there is always a permit.
        let permit = room.acquire_many_owned(u32::try_from(bytes.min(WRITING)).unwrap_or(u32::MAX)).await.ok();
        if let Some(room) = self.0.lock().get_mut(&tenant) {
            room.waiting -= memory;
            room.writing += 1;
        }
        Some(Write { all: self, tenant, permit, is_much: piles_up || bytes >= MUCH })
    }
}

/// Something on its way into the store.
struct Write<'a> {
    all: &'a Writing,
    tenant: TenantId,
    permit: Option<OwnedSemaphorePermit>,
    is_much: bool,
}

impl Write<'_> {
    /// It is there; it took so long, and will take so long to deliver, which is asked only where it matters. A tenant
    /// that writes much leaves others most of the store's time, and writes no faster than it is delivered to until it has
    /// caught up.
    fn end(
        mut self,
        took: Duration,
        delivering: impl FnOnce() -> Duration,
        caught_up: impl Fn() -> bool + Send + 'static,
    ) {
        let others_write = || self.all.0.lock().iter().any(|(tenant, room)| *tenant != self.tenant && room.writing > 0);
        if self.is_much && others_write() {
            let permit = self.permit.take();
            let (begun, writing, delivering) = (Instant::now(), took.saturating_mul(RESTS), delivering());
            let look = LOOK.max(delivering / LOOKS);
            tokio::spawn(async move {
                tokio::time::sleep(writing).await;
                while begun.elapsed() < delivering && !caught_up() {
                    tokio::time::sleep(look.min(delivering.saturating_sub(begun.elapsed()))).await;
                }
                drop(permit);
            });
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut all = self.all.0.lock();
        if let Some(room) = all.get_mut(&self.tenant) {
            room.writing -= 1;
            if room.writing == 0 && room.waiting == 0 && room.bytes.available_permits() == WRITING {
                all.remove(&self.tenant);
            }
        }
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

/// What makes this event the same as an earlier one, if it says so.
fn dedupe(item: &NewEvent, until: Timestamp) -> Option<Dedupe> {
    let key = item.dedupe.as_ref().or(item.external_id.as_ref())?.clone();
    let scope = match (&item.source_id, &item.source) {
        (Some(id), _) => id.to_string(),
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

    /// Something that takes so much of the room, and as much memory.
    fn load(bytes: usize, piles_up: bool) -> Load {
        Load { room: bytes, memory: bytes, piles_up }
    }

    #[tokio::test]
    async fn one_tenant_has_only_so_much_on_its_way_into_the_store() {
        let writing = Writing::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (one, other) = (TenantId::new(now), TenantId::new(now));
        let large = writing.begin(one, load(WRITING * 2, false)).await.unwrap();
        assert!(futures_util::poll!(Box::pin(writing.begin(one, load(1, false)))).is_pending());
        large.end(Duration::from_secs(60), Duration::default, || false);
        let small = writing.begin(one, load(1, false)).await.unwrap();
        // Beside another it would rest: the room is not given back at once.
        let large = writing.begin(other, load(WRITING * 2, false)).await.unwrap();
        large.end(Duration::from_secs(60), Duration::default, || false);
        assert!(futures_util::poll!(Box::pin(writing.begin(other, load(1, false)))).is_pending());
        assert!(futures_util::poll!(Box::pin(writing.begin(one, load(1, false)))).is_ready());
        // So it would with little, if that piles up, until it has caught up; but not with little that does not.
        let thirds = [(3, true, false), (4, true, true), (5, false, false)];
        for (third, piles_up, caught_up) in thirds {
            let third = TenantId::from_bytes([third; 16]);
            let little = writing.begin(third, load(WAITING_WEIGHT, piles_up)).await.unwrap();
            little.end(Duration::ZERO, || Duration::from_secs(60), move || caught_up);
            let mut all = Box::pin(writing.begin(third, load(WRITING, false)));
            assert_eq!(futures_util::poll!(&mut all).is_pending(), piles_up);
            if caught_up {
                // Without it this would take a minute.
                drop(all.await);
            }
        }
        small.end(Duration::ZERO, Duration::default, || false);
        let rooms = || writing.0.lock().len();
        let before = rooms();
        drop(writing.begin(TenantId::from_bytes([6; 16]), load(WRITING, false)).await.unwrap());
        assert_eq!(rooms(), before, "nothing is left of who writes no more");
    }

    #[tokio::test]
    async fn only_so_much_waits_for_it() {
        let (writing, tenant) = (Writing::default(), TenantId::from_bytes([1; 16]));
        let first = writing.begin(tenant, load(WRITING, false)).await.unwrap();
        let beyond = Load { memory: WAITING + 1, ..load(1, false) };
        let mut waiting = vec![Box::pin(writing.begin(tenant, beyond))];
        assert!(futures_util::poll!(&mut waiting[0]).is_pending(), "where nothing waits, anything may");
        assert!(writing.begin(tenant, load(1, false)).await.is_none());
        assert!(
            writing.begin(TenantId::from_bytes([2; 16]), load(1, false)).await.is_some(),
            "that is one tenant's alone"
        );
        drop(first);
        assert!(waiting.remove(0).await.is_some());
        assert!(writing.0.lock().is_empty(), "all have come to their end");
        let first = writing.begin(tenant, load(WRITING, false)).await.unwrap();
        for _ in 0..2 {
            waiting.push(Box::pin(writing.begin(tenant, load(WAITING / 2, false))));
            assert!(futures_util::poll!(waiting.last_mut().unwrap()).is_pending());
        }
        assert!(writing.begin(tenant, load(1, false)).await.is_none());
        drop(first);
        for one in waiting {
            assert!(one.await.is_some());
        }
    }

    #[tokio::test]
    async fn long_matches_go_on_one_at_a_time() {
        let long = Semaphore::new(1);
        let mut paces = [Pace::begin(&long), Pace::begin(&long)];
        for pace in &mut paces {
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
        first.slices = Slices::over();
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
