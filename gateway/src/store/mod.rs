//! What is kept, and the promise that goes with it.
//!
//! **Who acts.** The pipeline accepts events, takes what is due and settles what was tried; control
//! changes the configuration; the API reads. **What is promised.** Every verb is one atomic unit. When
//! [`Store::accept`] and [`Store::configure`] return, what they were given survives a power cut. A
//! delivery that was accepted is offered by [`Store::take`] until it is settled as finished, across
//! crashes: at least once, never less. Verbs that take a tenant never see another's objects. **What is
//! deliberately not.** There is no query language, no transaction across verbs, and no clock: time is
//! always passed in. A [`Store::settle`] may be lost in a crash: its delivery is then tried again.
//!
//! [`memory`] is the model that tests run against, [`sled`] the embedded store. One conformance suite holds them
//! to the same words. What is in a caller's hand is known to memory alone: after a crash all of it is due again.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixtures;
pub mod memory;
pub mod sled;
mod transitions;

pub use memory::MemoryStore;
pub use sled::SledStore;
pub use transitions::due;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{
    ApiKey, Attempt, CatalogueEntry, Delivery, DeliveryId, Event, EventId, EventType, Inbox, InboxId, KeyId, Lane,
    PluginId, PluginVersion, Replay, ReplayId, SeenTypes, Source, SourceId, SourceRefusals, Status, Subscription,
    SubscriptionId, Tenant, TenantId,
};

/// Why a verb failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too much is waiting to be written; try again shortly. Nothing was written.
    #[error("the store has too much to write just now")]
    Overloaded,
    /// The disk is nearly full; ingest is refused until space is freed. Nothing was written.
    #[error("the disk is nearly full: {0}")]
    DiskFull(String),
    /// The store has failed and takes nothing any more: the process must end and be started again.
    #[error("the store has failed and must be reopened: {0}")]
    Fatal(Arc<str>),
    /// The store may not be opened or served; the sentence says why and what to do.
    #[error("{0}")]
    Refused(String),
}

/// The result of a verb.
pub type Result<T> = std::result::Result<T, Error>;

/// An event and what is owed for it, to be written in one unit.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The event.
    pub event: Arc<Event>,
    /// What it is owed to: each `pending`, with `next_attempt_at` set. Any number: beyond
    /// [`EXPAND_AT_ONCE`] the store writes the rest in further units behind a durable cursor, and the event is
    /// still accepted as one.
    pub deliveries: Vec<Delivery>,
    /// How many of the first of `deliveries` the caller keeps in hand: [`Store::take`] does not offer them
    /// until they are settled or released.
    pub in_hand: usize,
    /// The text that makes the event a duplicate of an earlier one of the same tenant and source
    /// (`external_id` or an idempotency key), if it has one, and the SHA-256 of what must then be equal.
    pub dedupe: Option<Dedupe>,
}

/// How duplicates are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// The scope within the tenant: the source's id, the client's `source`, or a fixed word.
    pub scope: String,
    /// The client's id.
    pub key: String,
    /// The SHA-256 of the content.
    pub content: [u8; 32],
    /// Until when a second one counts as a duplicate.
    pub until: Timestamp,
}

/// What became of one [`Accepted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It is on disk.
    Stored,
    /// It was already: this is the first one's id and number of deliveries. Nothing was written.
    Duplicate {
        /// The first one's id.
        event_id: EventId,
        /// To how many subscriptions it was owed.
        deliveries: usize,
    },
    /// The same key came with other content. Nothing was written.
    Conflict {
        /// The first one's id.
        event_id: EventId,
    },
}

/// Deliveries of one event that are written in the same unit as the event. Those of an event with more are
/// written out afterwards; they are offered, and found by their id or their event's, at once all the same.
pub const EXPAND_AT_ONCE: usize = 64;

/// Objects that a verb with a filter looks at for one page.
pub const LOOK: usize = 2_000;

/// Bytes of events after which a page of [`Store::events_between`] ends.
const SPAN_PAGE: usize = 1 << 20;

/// How far behind a span its events are looked for at least: where the machine's clock was set back, ids went on.
const CLOCK_SET_BACK: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

/// Behind which id the events of a span are: an id is never older than its event.
fn before_span((since, _): (Timestamp, Timestamp), after: Option<EventId>) -> EventId {
    let first = EventId::before(since);
    after.map_or(first, |after| after.max(first))
}

/// Makes a page of the events of a span, of all that may be, in the order of their ids.
fn span_page<E>(
    events: impl Iterator<Item = std::result::Result<StoredEvent, E>>,
    (since, until): (Timestamp, Timestamp),
    limit: usize,
) -> std::result::Result<Page<StoredEvent, EventId>, E> {
    let behind = EventId::before(until.checked_add(CLOCK_SET_BACK).unwrap_or(Timestamp::MAX));
    let mut page = Page { items: Vec::new(), next: None };
    let (mut bytes, mut last, mut all_behind) = (0, None, true);
    for (looked, stored) in events.enumerate() {
        let stored = stored?;
        if page.items.len() >= limit.max(1) || bytes >= SPAN_PAGE || looked >= LOOK {
            // After a whole page of what came later there will be nothing else.
            page.next = last.filter(|_| !all_behind);
            break;
        }
        last = Some(stored.event.id);
        all_behind &= stored.event.id >= behind && stored.event.received_at >= until;
        if (since..until).contains(&stored.event.received_at) {
            bytes += stored.event.weight();
            page.items.push(stored);
        }
    }
    Ok(page)
}

/// A lane that has something waiting, and when its first entry is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneHead {
    /// The lane.
    pub lane: Lane,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// When its first entry is due.
    pub due: Timestamp,
}

/// A delivery in the caller's hand, with its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The delivery.
    pub delivery: Delivery,
    /// Its event.
    pub event: Arc<Event>,
}

/// What [`Store::take`] found in one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those due, in the lane's order.
    pub due: Vec<Due>,
    /// When the first entry that was not taken and is not in hand is due; `None` if there is none.
    pub next: Option<Timestamp>,
}

/// The end of an attempt, or of a delivery without one (`attempt: None`, for instance cancelled).
#[derive(Debug, Clone)]
pub struct Settled {
    /// The delivery as it is from now on. `pending`: it is due again at `next_attempt_at` and leaves the
    /// caller's hand. Anything else: it leaves the queue.
    pub delivery: Delivery,
    /// The record of what was tried.
    pub attempt: Option<Attempt>,
}

/// A step of a replay, to be written in one unit.
#[derive(Debug, Clone)]
pub struct ReplayStep {
    /// The replay as it is after the step, but for `deliveries_made`, to which the store adds what the step makes.
    pub replay: Replay,
    /// Deliveries of events that are there already: each `pending`, with `next_attempt_at` set. One whose event has
    /// gone meanwhile is left out.
    pub add: Vec<Delivery>,
    /// Deliveries that are made due again, as far as they have failed, were cancelled or are held, and are not in hand.
    pub again: Vec<DeliveryId>,
    /// The time.
    pub now: Timestamp,
}

/// What a [`ReplayStep`] came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The replay, as it is kept.
    pub replay: Replay,
    /// What the step made due: the lane, and when.
    pub due: Vec<(Lane, Timestamp)>,
}

/// One object of the configuration.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "made and read a few times a minute at most")]
pub enum Record {
    /// A tenant.
    Tenant(Tenant),
    /// A key.
    Key(ApiKey),
    /// A source.
    Source(Source),
    /// A subscription; earlier revisions are kept too.
    Subscription(Subscription),
    /// An inbox.
    Inbox(Inbox),
    /// A replay, and how far it has come.
    Replay(Replay),
    /// An event type.
    EventType(CatalogueEntry),
    /// How many events of each type a tenant has had.
    Seen(SeenTypes),
    /// What a source has refused lately.
    Refusals(SourceRefusals),
    /// A version of a plugin that a tenant uploaded; [`Store::keep_plugin`] writes it, together with its bytes.
    Plugin(PluginVersion),
    /// A named value of the gateway's own.
    Setting(String, Vec<u8>),
}

impl Record {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Tenant(tenant) => RecordKey::Tenant(tenant.id),
            Self::Key(key) => RecordKey::Key(key.id),
            Self::Source(source) => RecordKey::Source(source.tenant_id, source.id),
            Self::Subscription(s) => RecordKey::Subscription(s.tenant_id, s.id),
            Self::Inbox(inbox) => RecordKey::Inbox(inbox.tenant_id, inbox.id),
            Self::Replay(replay) => RecordKey::Replay(replay.tenant_id, replay.id),
            Self::EventType(entry) => RecordKey::EventType(entry.tenant_id, entry.name.clone()),
            Self::Seen(seen) => RecordKey::Seen(seen.tenant_id),
            Self::Refusals(of) => RecordKey::Refusals(of.tenant_id, of.source_id),
            Self::Plugin(plugin) => RecordKey::Plugin(plugin.tenant_id, plugin.id),
            Self::Setting(name, _) => RecordKey::Setting(name.clone()),
        }
    }
}

/// The name of one object of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKey {
    /// A tenant, and with it everything it owns: events, deliveries and attempts go too, in small steps.
    Tenant(TenantId),
    /// A key.
    Key(KeyId),
    /// A source.
    Source(TenantId, SourceId),
    /// A subscription; its earlier revisions stay as long as deliveries name them.
    Subscription(TenantId, SubscriptionId),
    /// An inbox.
    Inbox(TenantId, InboxId),
    /// A replay. What it made stays.
    Replay(TenantId, ReplayId),
    /// An event type. Its events stay.
    EventType(TenantId, EventType),
    /// The counts of a tenant's event types.
    Seen(TenantId),
    /// What a source has refused lately.
    Refusals(TenantId, SourceId),
    /// A version of a plugin, and with it its bytes.
    Plugin(TenantId, PluginId),
    /// A setting.
    Setting(String),
}

impl RecordKey {
    /// Which plugin it names, if it names one.
    fn plugin(&self) -> Option<(TenantId, PluginId)> {
        match self {
            Self::Plugin(tenant, plugin) => Some((*tenant, *plugin)),
            _ => None,
        }
    }
}

/// Which deliveries a list wants. Absent fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of this subscription.
    pub subscription_id: Option<SubscriptionId>,
    /// Of this event.
    pub event_id: Option<EventId>,
    /// Of this event type.
    pub event_type: Option<EventType>,
    /// In this state.
    pub status: Option<Status>,
    /// Whose last answer was this.
    pub status_code: Option<u16>,
    /// With at least so many attempts.
    pub min_attempts: Option<u32>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Whether this delivery is wanted.
    #[must_use]
    pub fn admits(&self, delivery: &Delivery) -> bool {
        self.subscription_id.is_none_or(|id| id == delivery.subscription_id)
            && self.event_id.is_none_or(|id| id == delivery.event_id)
            && self.event_type.as_ref().is_none_or(|wanted| *wanted == delivery.event_type)
            && self.status.is_none_or(|status| status == delivery.status)
            && self.status_code.is_none_or(|code| Some(code) == delivery.last_status_code)
            && self.min_attempts.is_none_or(|least| delivery.attempt_count >= least)
            && self.since.is_none_or(|since| delivery.created_at >= since)
            && self.until.is_none_or(|until| delivery.created_at < until)
    }
}

/// Which events a list wants. Absent fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Through this source.
    pub source_id: Option<SourceId>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Whether any subscription matched.
    pub matched: Option<bool>,
}

impl EventFilter {
    /// Whether this event, owed to so many subscriptions, is wanted.
    #[must_use]
    pub fn admits(&self, event: &Event, deliveries: usize) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
            && self.source_id.is_none_or(|id| Some(id) == event.source_id)
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
            && self.matched.is_none_or(|matched| matched == (deliveries > 0))
    }
}

/// An event as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Arc<Event>,
    /// To how many subscriptions it was owed when it came in; what replays have added is not among them.
    pub deliveries: usize,
}

impl StoredEvent {
    /// The same without data and attributes, for whoever keeps many.
    #[must_use]
    pub fn without_data(event: &Event, deliveries: usize) -> Self {
        let event = Event {
            id: event.id,
            tenant_id: event.tenant_id,
            external_id: event.external_id.clone(),
            event_type: event.event_type.clone(),
            source_id: event.source_id,
            source: event.source.clone(),
            timestamp: event.timestamp,
            received_at: event.received_at,
            data: "null".into(),
            attributes: Vec::new(),
        };
        Self { event: Arc::new(event), deliveries }
    }
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if this is the last. A page may be short of its limit, or empty, and
    /// still have a next one: a verb looks at a bounded number of objects.
    pub next: Option<C>,
}

/// How much there is, for metrics and the disk guard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes_on_disk: u64,
    /// The free share of the disk, counting what the store can use again, 0 to 1000.
    pub free_permille: u32,
    /// Whether ingest is refused because of it.
    pub refusing: bool,
}

/// What [`Store::prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Deliveries that were still open and too old: they must be settled as failed by the caller before
    /// their events go. In the caller's hand now.
    pub expired: Vec<Due>,
    /// Events removed.
    pub events: usize,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// A store. See the room's essay for what its verbs promise.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes events and what is owed for them; durable when it returns. One receipt each, in order.
    async fn accept(&self, batch: Vec<Accepted>) -> Result<Vec<Receipt>>;

    /// Every lane that has something waiting and not in hand; for start-up.
    async fn heads(&self) -> Result<Vec<LaneHead>>;

    /// Up to so many of each lane's entries that are due at `now` and not in hand; they are in the caller's
    /// hand then. One answer a lane, in order. A lane with a key keeps the order in which its events were
    /// accepted, retries included: an entry that is not yet due holds up those behind it. Entries in hand are
    /// passed over, so whoever wants strict order asks for one at a time, and for none while one is in hand.
    /// Whoever stops waiting for the answer holds nothing.
    async fn take(&self, lanes: &[(Lane, usize)], now: Timestamp) -> Result<Vec<Taken>>;

    /// Gives back what was in hand and was not tried; it is due as before.
    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<()>;

    /// Marks deliveries as begun; durable when it returns. For sends that must not be repeated blindly. Only the
    /// mark is written: the delivery stays as it is stored. With none, it waits until everything that was handed
    /// over before is durable.
    async fn begin(&self, deliveries: Vec<Delivery>) -> Result<()>;

    /// Records ends of attempts. Returns once they are handed over: they ride on the next commit, or make
    /// one within 100 ms. What the endpoint once took stays `delivered` where a person asked for it again and that
    /// failed; the attempt is recorded.
    async fn settle(&self, batch: Vec<Settled>) -> Result<()>;

    /// Makes a finished or held delivery due again at `now` (a person asked), and one due that waits for its time; in a
    /// lane with a key it keeps its place. `Ok(None)`: there is no such delivery; otherwise the delivery as it is now,
    /// unchanged if it was due already or is in hand. Durable when it returns.
    async fn requeue(&self, tenant: TenantId, delivery: DeliveryId, now: Timestamp) -> Result<Option<Delivery>>;

    /// Settles a pending or held delivery that is not in hand as cancelled: by a person, or since its subscription is
    /// deleted. `Ok(None)`: no such delivery; otherwise the delivery as it is now, unchanged if it could not be
    /// cancelled.
    async fn cancel(&self, tenant: TenantId, delivery: DeliveryId, now: Timestamp) -> Result<Option<Delivery>>;

    /// Writes a step of a replay: deliveries are added to events, others are made due again, and the replay's own record
    /// says so, in one unit. Durable when it returns. Nothing is written for a tenant that is gone.
    async fn replay(&self, step: ReplayStep) -> Result<Replayed>;

    /// A step of retention: events received before `before` go, with their deliveries and attempts, at most
    /// `limit` of them; what of theirs is still open is handed out as expired instead.
    async fn prune(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<Pruned>;

    /// Everything in the configuration, for start-up: of subscriptions the newest revision.
    async fn configuration(&self) -> Result<Vec<Record>>;

    /// Puts and deletes objects of the configuration in one unit; durable when it returns. The bytes of a plugin that is
    /// deleted are not found from then on, and are removed in small steps.
    async fn configure(&self, puts: Vec<Record>, deletes: Vec<RecordKey>) -> Result<()>;

    /// Writes a version of a plugin with the bytes that were uploaded, which may be many mebibytes: they are written
    /// ahead in small units, so that nobody waits for all of them. Durable, and found, when it returns; if it does not
    /// return, nothing is found.
    async fn keep_plugin(&self, plugin: PluginVersion, component: &[u8]) -> Result<()>;

    /// The bytes of a version of a plugin, as they were uploaded.
    async fn component(&self, tenant: TenantId, plugin: PluginId) -> Result<Option<Vec<u8>>>;

    /// A subscription as it was.
    async fn revision(&self, tenant: TenantId, id: SubscriptionId, revision: u64) -> Result<Option<Subscription>>;

    /// One event.
    async fn event(&self, tenant: TenantId, id: EventId) -> Result<Option<StoredEvent>>;

    /// Events, newest first.
    async fn events(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>>;

    /// Events received in a span, oldest first, from behind `after` on; about a mebibyte of them at most, and at least
    /// one if there is one.
    async fn events_between(
        &self,
        tenant: TenantId,
        span: (Timestamp, Timestamp),
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>>;

    /// One delivery.
    async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<Option<Delivery>>;

    /// Deliveries, newest first.
    async fn deliveries(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        limit: usize,
        after: Option<DeliveryId>,
    ) -> Result<Page<Delivery, DeliveryId>>;

    /// A delivery's attempts, in order.
    async fn attempts(&self, tenant: TenantId, delivery: DeliveryId) -> Result<Vec<Attempt>>;

    /// Waits until everything handed over so far is durable.
    async fn flush(&self) -> Result<()> {
        self.begin(Vec::new()).await
    }

    /// How much there is.
    async fn usage(&self) -> Result<Usage>;

    /// Waits until everything handed over is durable, and takes nothing more.
    async fn close(&self) -> Result<()>;
}
