//! The model: the same verbs on maps under one lock, for tests and for trying things out.
//!
//! Nothing survives the process. [`MemoryStore::reopen`] does what a restart after a crash does to a store that
//! kept everything: nothing is in hand any more, and what had been begun is held.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    Accepted, DeliveryFilter, Due, Error, EventFilter, LOOK, LaneHead, Page, Pruned, Receipt, Record, RecordKey,
    ReplayStep, Replayed, Result, Settled, Store, StoredEvent, Taken, Usage, before_span, due, span_page, transitions,
};
use crate::domain::{
    Attempt, AttemptId, Delivery, DeliveryId, EventId, Lane, PluginId, PluginVersion, Status, Subscription,
    SubscriptionId, TenantId, Trigger,
};

/// A place in a lane: by time, or in an ordered lane by the order of acceptance.
type Place = (Timestamp, u64, DeliveryId);

#[derive(Clone)]
struct Kept {
    delivery: Delivery,
    position: u64,
}

impl Kept {
    fn place(&self) -> Place {
        let first = if self.delivery.lane.key == 0 { due(&self.delivery) } else { Timestamp::MIN };
        (first, self.position, self.delivery.id)
    }
}

#[derive(Clone)]
struct First {
    event_id: EventId,
    content: [u8; 32],
    deliveries: usize,
    until: Timestamp,
}

#[derive(Default)]
struct State {
    events: BTreeMap<(TenantId, EventId), (StoredEvent, Vec<DeliveryId>)>,
    deliveries: BTreeMap<(TenantId, DeliveryId), Kept>,
    lanes: BTreeMap<Lane, BTreeMap<Place, TenantId>>,
    attempts: BTreeMap<(TenantId, DeliveryId, u32, AttemptId), Attempt>,
    known: BTreeMap<(TenantId, String, String), First>,
    records: BTreeMap<RecordKey, Record>,
    revisions: BTreeMap<(TenantId, SubscriptionId, u64), Subscription>,
    components: BTreeMap<(TenantId, PluginId), Vec<u8>>,
    in_hand: HashSet<DeliveryId>,
    gone: HashSet<TenantId>,
    position: u64,
    closed: bool,
}

/// See the room's essay.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same store after a crash and a restart.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut state = self.0.lock();
        state.closed = false;
        state.in_hand.clear();
        let begun: Vec<_> = state.deliveries.iter().filter(|(_, kept)| kept.delivery.begun).map(|(k, _)| *k).collect();
        for key in begun {
            state.change(key, |delivery| {
                if delivery.status == Status::Pending {
                    transitions::hold_as_unknown(delivery);
                }
            });
        }
        drop(state);
        self.clone()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Error::Refused("the store has been closed".to_owned()));
        }
        Ok(act(&mut state))
    }
}

impl State {
    /// Changes a delivery and moves its queue entry along.
    fn change(&mut self, key: (TenantId, DeliveryId), change: impl FnOnce(&mut Delivery)) -> Option<Delivery> {
        let kept = self.deliveries.get_mut(&key)?;
        let (lane, place) = (kept.delivery.lane, kept.place());
        change(&mut kept.delivery);
        let kept = kept.clone();
        self.leave(lane, &place);
        self.wait(&kept);
        Some(kept.delivery)
    }

    fn leave(&mut self, lane: Lane, place: &Place) {
        if let Some(entries) = self.lanes.get_mut(&lane) {
            entries.remove(place);
            if entries.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }

    fn wait(&mut self, kept: &Kept) {
        let delivery = &kept.delivery;
        if delivery.status == Status::Pending {
            self.lanes.entry(delivery.lane).or_default().insert(kept.place(), delivery.tenant_id);
        }
    }

    fn accept(&mut self, accepted: Accepted) -> Receipt {
        let Accepted { event, deliveries, in_hand, dedupe } = accepted;
        if let Some(dedupe) = dedupe {
            let key = (event.tenant_id, dedupe.scope, dedupe.key);
            // Whole milliseconds, as every backend keeps it.
            let is_over = |first: &First| first.until.as_millisecond() <= event.received_at.as_millisecond();
            if let Some(first) = self.known.get(&key).filter(|first| !is_over(first)) {
                let event_id = first.event_id;
                return if first.content == dedupe.content {
                    Receipt::Duplicate { event_id, deliveries: first.deliveries }
                } else {
                    Receipt::Conflict { event_id }
                };
            }
            let (event_id, until, content) = (event.id, dedupe.until, dedupe.content);
            self.known.insert(key, First { event_id, content, deliveries: deliveries.len(), until });
        }
        let ids = deliveries.iter().map(|delivery| delivery.id).collect();
        let stored = StoredEvent { event: Arc::clone(&event), deliveries: deliveries.len() };
        self.events.insert((event.tenant_id, event.id), (stored, ids));
        for (number, delivery) in deliveries.into_iter().enumerate() {
            if number < in_hand {
                self.in_hand.insert(delivery.id);
            }
            self.owe(delivery);
        }
        Receipt::Stored
    }

    fn owe(&mut self, mut delivery: Delivery) {
        delivery.frozen = None;
        delivery.begun = false;
        self.position += 1;
        let position = if delivery.lane.key == 0 { 0 } else { self.position };
        let kept = Kept { delivery, position };
        self.wait(&kept);
        self.deliveries.insert((kept.delivery.tenant_id, kept.delivery.id), kept);
    }

    fn replay(&mut self, step: ReplayStep) -> Replayed {
        let ReplayStep { mut replay, add, again, now } = step;
        let (tenant, mut made) = (replay.tenant_id, Vec::new());
        if self.gone.contains(&tenant) {
            return Replayed { replay, due: made };
        }
        for delivery in add {
            let Some((_, ids)) = self.events.get_mut(&(tenant, delivery.event_id)) else { continue };
            ids.push(delivery.id);
            made.push((delivery.lane, due(&delivery)));
            self.owe(delivery);
        }
        for id in again.into_iter().filter(|id| !self.in_hand.contains(id)).collect::<Vec<_>>() {
            let mut is_wanted = false;
            let changed = self.change((tenant, id), |delivery| {
                is_wanted = transitions::replay(delivery, replay.spec.fresh_ids, now);
            });
            made.extend(changed.filter(|_| is_wanted).map(|delivery| (delivery.lane, due(&delivery))));
        }
        replay.deliveries_made += made.len() as u64;
        self.records.insert(RecordKey::Replay(tenant, replay.id), Record::Replay(replay.clone()));
        Replayed { replay, due: made }
    }

    fn take(&mut self, lane: Lane, limit: usize, now: Timestamp) -> Taken {
        let mut taken = Taken::default();
        for (&(_, _, id), &tenant) in self.lanes.get(&lane).into_iter().flatten() {
            let Some(kept) = self.deliveries.get(&(tenant, id)) else { continue };
            if self.in_hand.contains(&id) {
                continue;
            }
            if due(&kept.delivery) > now || taken.due.len() >= limit {
                taken.next = Some(due(&kept.delivery));
                break;
            }
            let Some((stored, _)) = self.events.get(&(tenant, kept.delivery.event_id)) else { continue };
            taken.due.push(Due { delivery: kept.delivery.clone(), event: Arc::clone(&stored.event) });
        }
        self.in_hand.extend(taken.due.iter().map(|due| due.delivery.id));
        taken
    }

    fn remove_tenant(&mut self, tenant: TenantId) {
        self.gone.insert(tenant);
        self.events.retain(|(of, _), _| *of != tenant);
        self.deliveries.retain(|(of, _), _| *of != tenant);
        self.attempts.retain(|(of, ..), _| *of != tenant);
        self.known.retain(|(of, ..), _| *of != tenant);
        self.revisions.retain(|(of, ..), _| *of != tenant);
        self.components.retain(|(of, _), _| *of != tenant);
        self.lanes.retain(|_, entries| {
            entries.retain(|_, of| *of != tenant);
            !entries.is_empty()
        });
        self.records.retain(|key, record| match (key, record) {
            (
                RecordKey::Source(of, _)
                | RecordKey::Subscription(of, _)
                | RecordKey::Inbox(of, _)
                | RecordKey::Replay(of, _)
                | RecordKey::EventType(of, _)
                | RecordKey::Seen(of)
                | RecordKey::Refusals(of, _)
                | RecordKey::Plugin(of, _),
                _,
            ) => *of != tenant,
            (_, Record::Key(key)) => key.tenant_id != Some(tenant),
            _ => true,
        });
    }

    fn prune(&mut self, before: Timestamp, now: Timestamp, limit: usize) -> Pruned {
        let mut pruned = Pruned::default();
        let limit = limit.max(1);
        self.known.retain(|_, first| first.until.as_millisecond() > now.as_millisecond());
        let tenants: HashSet<TenantId> = self.events.keys().map(|(tenant, _)| *tenant).collect();
        for tenant in tenants {
            let old = self.events.iter().filter(|((of, _), _)| *of == tenant).map(|(key, kept)| (*key, kept.clone()));
            let old: Vec<_> = old.take_while(|(_, (stored, _))| stored.event.received_at < before).collect();
            for (key, (stored, ids)) in old {
                if pruned.events >= limit || pruned.expired.len() >= limit {
                    pruned.more = true;
                    break;
                }
                let kept = ids.iter().filter_map(|id| self.deliveries.get(&(tenant, *id)));
                let open: Vec<_> = kept.map(|kept| &kept.delivery).filter(|d| transitions::is_open(d)).collect();
                if !open.is_empty() {
                    for delivery in open {
                        if self.in_hand.insert(delivery.id) {
                            let event = Arc::clone(&stored.event);
                            pruned.expired.push(Due { delivery: delivery.clone(), event });
                        }
                    }
                    break;
                }
                for id in ids {
                    self.deliveries.remove(&(tenant, id));
                    self.attempts.retain(|(of, delivery, ..), _| (*of, *delivery) != (tenant, id));
                }
                self.events.remove(&key);
                pruned.events += 1;
            }
        }
        pruned
    }
}

/// Goes through objects until the page is full or enough has been looked at.
fn page<T, C: Copy>(objects: impl Iterator<Item = (C, Option<T>)>, limit: usize) -> Page<T, C> {
    let mut page = Page { items: Vec::new(), next: None };
    let mut last = None;
    for (looked, (cursor, item)) in objects.enumerate() {
        if page.items.len() >= limit.max(1) || looked >= LOOK {
            page.next = last;
            break;
        }
        last = Some(cursor);
        page.items.extend(item);
    }
    page
}

#[async_trait]
impl Store for MemoryStore {
    async fn accept(&self, batch: Vec<Accepted>) -> Result<Vec<Receipt>> {
        self.with(|state| batch.into_iter().map(|accepted| state.accept(accepted)).collect())
    }

    async fn heads(&self) -> Result<Vec<LaneHead>> {
        self.with(|state| {
            let head = |(lane, entries): (&Lane, &BTreeMap<Place, TenantId>)| {
                let ((_, _, id), tenant) = entries.iter().find(|((_, _, id), _)| !state.in_hand.contains(id))?;
                let kept = state.deliveries.get(&(*tenant, *id))?;
                Some(LaneHead { lane: *lane, tenant_id: *tenant, due: due(&kept.delivery) })
            };
            state.lanes.iter().filter_map(head).collect()
        })
    }

    async fn take(&self, lanes: &[(Lane, usize)], now: Timestamp) -> Result<Vec<Taken>> {
        self.with(|state| lanes.iter().map(|(lane, limit)| state.take(*lane, *limit, now)).collect())
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<()> {
        self.with(|state| {
            for id in deliveries {
                state.in_hand.remove(&id);
            }
        })
    }

    async fn begin(&self, deliveries: Vec<Delivery>) -> Result<()> {
        self.with(|state| {
            for delivery in deliveries {
                state.change((delivery.tenant_id, delivery.id), |kept| kept.begun = kept.status == Status::Pending);
            }
        })
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<()> {
        self.with(|state| {
            for Settled { mut delivery, attempt } in batch {
                let key = (delivery.tenant_id, delivery.id);
                state.in_hand.remove(&delivery.id);
                delivery.begun = false;
                if transitions::ended_by_hand(&delivery) {
                    let all = state.attempts.iter().filter(|((of, id, ..), _)| (*of, *id) == key);
                    transitions::stay_delivered(&mut delivery, all.map(|(_, attempt)| attempt.clone()));
                }
                if state.change(key, |kept| *kept = delivery).is_some()
                    && let Some(attempt) = attempt
                {
                    state.attempts.insert((key.0, key.1, attempt.number, attempt.id), attempt);
                }
            }
        })
    }

    async fn requeue(&self, tenant: TenantId, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>> {
        self.with(|state| {
            let in_hand = state.in_hand.contains(&id);
            state.change((tenant, id), |delivery| {
                if !in_hand && !transitions::is_due(delivery, now) {
                    transitions::requeue(delivery, Trigger::Manual, now);
                }
            })
        })
    }

    async fn cancel(&self, tenant: TenantId, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>> {
        self.with(|state| {
            let in_hand = state.in_hand.contains(&id);
            let subscription = state.deliveries.get(&(tenant, id)).map(|kept| kept.delivery.subscription_id);
            let subscription = subscription.map(|subscription| RecordKey::Subscription(tenant, subscription));
            let has_subscription = subscription.is_some_and(|key| state.records.contains_key(&key));
            state.change((tenant, id), |delivery| {
                if transitions::is_open(delivery) && !in_hand {
                    transitions::cancel(delivery, has_subscription, now);
                }
            })
        })
    }

    async fn replay(&self, step: ReplayStep) -> Result<Replayed> {
        self.with(|state| state.replay(step))
    }

    async fn prune(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<Pruned> {
        self.with(|state| state.prune(before, now, limit))
    }

    async fn configuration(&self) -> Result<Vec<Record>> {
        self.with(|state| state.records.values().cloned().collect())
    }

    async fn configure(&self, puts: Vec<Record>, deletes: Vec<RecordKey>) -> Result<()> {
        self.with(|state| {
            for key in deletes {
                state.records.remove(&key);
                match key {
                    RecordKey::Tenant(tenant) => state.remove_tenant(tenant),
                    RecordKey::Plugin(tenant, plugin) => drop(state.components.remove(&(tenant, plugin))),
                    _ => {}
                }
            }
            for record in puts {
                if let Record::Subscription(s) = &record {
                    state.revisions.insert((s.tenant_id, s.id, s.revision), s.clone());
                }
                state.records.insert(record.key(), record);
            }
        })
    }

    async fn keep_plugin(&self, plugin: PluginVersion, component: &[u8]) -> Result<()> {
        self.with(|state| {
            state.components.insert((plugin.tenant_id, plugin.id), component.to_vec());
            let record = Record::Plugin(plugin);
            state.records.insert(record.key(), record);
        })
    }

    async fn component(&self, tenant: TenantId, plugin: PluginId) -> Result<Option<Vec<u8>>> {
        self.with(|state| state.components.get(&(tenant, plugin)).cloned())
    }

    async fn revision(&self, tenant: TenantId, id: SubscriptionId, revision: u64) -> Result<Option<Subscription>> {
        self.with(|state| state.revisions.get(&(tenant, id, revision)).cloned())
    }

    async fn event(&self, tenant: TenantId, id: EventId) -> Result<Option<StoredEvent>> {
        self.with(|state| state.events.get(&(tenant, id)).map(|(stored, _)| stored.clone()))
    }

    async fn events(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>> {
        self.with(|state| {
            let all = state
                .events
                .iter()
                .rev()
                .filter(|((of, id), _)| *of == tenant && after.is_none_or(|after| *id < after));
            let wanted = |stored: &&StoredEvent| filter.admits(&stored.event, stored.deliveries);
            page(all.map(|((_, id), (stored, _))| (*id, Some(stored).filter(wanted).cloned())), limit)
        })
    }

    async fn events_between(
        &self,
        tenant: TenantId,
        span: (Timestamp, Timestamp),
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>> {
        self.with(|state| {
            let first = before_span(span, after);
            let all = state.events.iter().filter(|((of, id), _)| *of == tenant && *id > first);
            let all = all.map(|(_, (stored, _))| Ok::<_, std::convert::Infallible>(stored.clone()));
            let Ok(page) = span_page(all, span, limit);
            page
        })
    }

    async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<Option<Delivery>> {
        self.with(|state| state.deliveries.get(&(tenant, id)).map(|kept| kept.delivery.clone()))
    }

    async fn deliveries(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        limit: usize,
        after: Option<DeliveryId>,
    ) -> Result<Page<Delivery, DeliveryId>> {
        self.with(|state| {
            let of_event = |kept: &Kept| filter.event_id.is_none_or(|event| kept.delivery.event_id == event);
            let all =
                state.deliveries.iter().rev().filter(|((of, id), kept)| {
                    *of == tenant && after.is_none_or(|after| *id < after) && of_event(kept)
                });
            let wanted = |delivery: &&Delivery| filter.admits(delivery);
            page(all.map(|((_, id), kept)| (*id, Some(&kept.delivery).filter(wanted).cloned())), limit)
        })
    }

    async fn attempts(&self, tenant: TenantId, delivery: DeliveryId) -> Result<Vec<Attempt>> {
        self.with(|state| {
            let all = state.attempts.iter().filter(|((of, id, ..), _)| (*of, *id) == (tenant, delivery));
            all.map(|(_, attempt)| attempt.clone()).collect()
        })
    }

    async fn usage(&self) -> Result<Usage> {
        self.with(|_| Usage { bytes_on_disk: 0, free_permille: 1000, refusing: false })
    }

    async fn close(&self) -> Result<()> {
        self.0.lock().closed = true;
        Ok(())
    }
}
