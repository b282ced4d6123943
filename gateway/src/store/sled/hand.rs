//! What the process remembers of deliveries beside the trees: those in the caller's hand, retries that are on
//! their way to the disk, and those that are durable with their event and have no row of their own yet: fresh ones,
//! and the rest of large fan-outs.
//!
//! All of it can be lost: after a crash nothing is in hand, and what was durable is read again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::codec::DeliveryRecord;
use super::keys::{self, Entry, QueueKey};
use crate::domain::{DeliveryId, IdMap, Lane, TenantId};
use crate::store::due;

/// What is known of a delivery in hand, so that settling it reads nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hand {
    pub(super) tenant_id: TenantId,
    /// Its entry in the queue, which settling removes.
    pub(super) queue: QueueKey,
    pub(super) position: u64,
    pub(super) frozen: bool,
    pub(super) begun: bool,
    /// Its end has been handed over and is not yet durable.
    pub(super) settling: bool,
    /// Whether it may have an entry in the queue; a fresh one has none.
    pub(super) queued: bool,
}

/// A delivery that is durable with its event.
struct Waiting {
    record: Arc<DeliveryRecord>,
    /// It stands in the event itself; otherwise in a part of a fan-out, which the committer goes through in turn.
    fresh: bool,
    /// A row and a queue entry are about to be written, or have been.
    written: bool,
}

/// What is to become of a fresh delivery whose time to be written out has come.
pub(super) enum Late {
    /// It has been settled or written otherwise.
    Done,
    /// Its end is on its way to the disk, and will bring its row.
    Settling,
    /// It is to be written.
    Write(Arc<DeliveryRecord>),
}

impl Hand {
    /// Until the delivery itself has been read.
    pub(super) fn provisional(entry: &Entry) -> Self {
        let tenant_id = entry.tenant_id;
        Self { tenant_id, queue: entry.key, position: 0, frozen: false, begun: false, settling: false, queued: true }
    }

    pub(super) fn of(record: &DeliveryRecord) -> Self {
        let delivery = &record.delivery;
        Self {
            tenant_id: delivery.tenant_id,
            queue: keys::queue(delivery, record.position),
            position: record.position,
            frozen: record.frozen,
            begun: delivery.begun,
            settling: false,
            queued: true,
        }
    }
}

/// Deliveries that were taken in hand for a caller who has not got them yet. Dropped, it lets go of them: a
/// caller may stop waiting at any time, and what nobody holds must not count as held.
pub(super) struct Guard {
    hands: Arc<Hands>,
    ids: Vec<DeliveryId>,
}

impl Guard {
    pub(super) fn new(hands: &Arc<Hands>) -> Self {
        Self { hands: Arc::clone(hands), ids: Vec::new() }
    }

    /// Takes a delivery in hand; `false` if it is already.
    pub(super) fn hold(&mut self, id: DeliveryId, hand: Hand) -> bool {
        let free = self.hands.hold(id, hand);
        if free {
            self.ids.push(id);
        }
        free
    }

    /// Lets go of the one that was taken in hand last.
    pub(super) fn let_go(&mut self) {
        if let Some(id) = self.ids.pop() {
            self.hands.release(&[id]);
        }
    }

    /// The caller has them now.
    pub(super) fn hand_over(mut self) {
        self.ids.clear();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            self.hands.release(&self.ids);
        }
    }
}

#[derive(Default)]
struct Inner {
    held: IdMap<DeliveryId, Hand>,
    /// Retries handed over and not yet durable: without them `take` would call a lane empty that is not.
    retries: IdMap<Lane, BTreeMap<DeliveryId, (TenantId, Timestamp)>>,
    waiting: BTreeMap<(TenantId, DeliveryId), Waiting>,
    waiting_by_lane: IdMap<Lane, BTreeMap<QueueKey, Arc<DeliveryRecord>>>,
}

impl Inner {
    fn stop_waiting(&mut self, tenant: TenantId, id: DeliveryId) {
        let Some(Waiting { record, .. }) = self.waiting.remove(&(tenant, id)) else { return };
        if let Some(lane) = self.waiting_by_lane.get_mut(&record.delivery.lane) {
            lane.remove(&keys::queue(&record.delivery, record.position));
            if lane.is_empty() {
                self.waiting_by_lane.remove(&record.delivery.lane);
            }
        }
    }
}

/// See the file's essay.
#[derive(Default)]
pub(super) struct Hands(Mutex<Inner>);

impl Hands {
    /// Takes a delivery in hand; `false` if it is already.
    pub(super) fn hold(&self, id: DeliveryId, hand: Hand) -> bool {
        match self.0.lock().held.entry(id) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(hand);
                true
            }
            std::collections::hash_map::Entry::Occupied(_) => false,
        }
    }

    /// What is known of a delivery in hand has been read.
    pub(super) fn learn(&self, id: DeliveryId, hand: Hand) {
        if let Some(known) = self.0.lock().held.get_mut(&id) {
            *known = hand;
        }
    }

    /// Whether it is not to be offered: a caller has it, or its end is on its way to the disk.
    pub(super) fn is_held(&self, id: DeliveryId) -> bool {
        self.0.lock().held.contains_key(&id)
    }

    /// Lets go of deliveries, unless their end is on its way to the disk.
    pub(super) fn release(&self, ids: &[DeliveryId]) {
        let mut inner = self.0.lock();
        for id in ids {
            if inner.held.get(id).is_some_and(|hand| !hand.settling) {
                inner.held.remove(id);
            }
        }
    }

    /// Says that the ends of deliveries have been handed over. For each that was in hand, what was known of it;
    /// `None` for one that was not, or whose end was handed over before.
    pub(super) fn settling<'a>(&self, ends: impl Iterator<Item = &'a crate::store::Settled>) -> Vec<Option<Hand>> {
        let mut inner = self.0.lock();
        ends.map(|end| {
            let delivery = &end.delivery;
            let Inner { held, waiting, .. } = &mut *inner;
            let hand = held.get_mut(&delivery.id).filter(|hand| !hand.settling);
            let known = hand.map(|hand| {
                hand.settling = true;
                let waits = waiting.get(&(delivery.tenant_id, delivery.id));
                hand.queued = waits.is_none_or(|waits| !waits.fresh || waits.written);
                *hand
            });
            if delivery.status == crate::domain::Status::Pending {
                let retry = (delivery.tenant_id, due(delivery));
                inner.retries.entry(delivery.lane).or_default().insert(delivery.id, retry);
            }
            known
        })
        .collect()
    }

    /// The ends of these deliveries are durable.
    pub(super) fn settled(&self, ends: &[(TenantId, DeliveryId, Lane)]) {
        let mut inner = self.0.lock();
        for (tenant, id, lane) in ends {
            inner.stop_waiting(*tenant, *id);
            if inner.held.get(id).is_some_and(|hand| hand.settling) {
                inner.held.remove(id);
            }
            if let Some(retries) = inner.retries.get_mut(lane) {
                retries.remove(id);
                if retries.is_empty() {
                    inner.retries.remove(lane);
                }
            }
        }
    }

    /// A delivery in hand has been marked as begun.
    pub(super) fn begun(&self, id: DeliveryId) {
        if let Some(hand) = self.0.lock().held.get_mut(&id) {
            hand.begun = true;
        }
    }

    /// When the first retry of a lane that is on its way to the disk is due.
    pub(super) fn next_retry(&self, lane: Lane) -> Option<Timestamp> {
        self.0.lock().retries.get(&lane)?.values().map(|(_, due)| *due).min()
    }

    /// All lanes with retries on their way to the disk.
    pub(super) fn retries(&self) -> Vec<(Lane, TenantId, Timestamp)> {
        let inner = self.0.lock();
        let all =
            inner.retries.iter().flat_map(|(lane, retries)| retries.values().map(move |(t, due)| (*lane, *t, *due)));
        all.collect()
    }

    /// Adds deliveries that are durable and not yet written out.
    pub(super) fn add_waiting(&self, records: &[Arc<DeliveryRecord>], fresh: bool) {
        let mut inner = self.0.lock();
        for record in records {
            let delivery = &record.delivery;
            let waiting = Waiting { record: Arc::clone(record), fresh, written: false };
            inner.waiting.insert((delivery.tenant_id, delivery.id), waiting);
            let key = keys::queue(delivery, record.position);
            inner.waiting_by_lane.entry(delivery.lane).or_default().insert(key, Arc::clone(record));
        }
    }

    /// These have been written out.
    pub(super) fn remove_waiting(&self, records: &[Arc<DeliveryRecord>]) {
        let mut inner = self.0.lock();
        for record in records {
            inner.stop_waiting(record.delivery.tenant_id, record.delivery.id);
        }
    }

    /// Says what is to become of a fresh delivery. If it is to be written, whoever settles it from now on knows that
    /// it is.
    pub(super) fn write_late(&self, tenant: TenantId, id: DeliveryId) -> Late {
        let mut inner = self.0.lock();
        let Inner { held, waiting, .. } = &mut *inner;
        match waiting.get_mut(&(tenant, id)) {
            Some(waits) if waits.fresh && !waits.written => {
                if held.get(&id).is_some_and(|hand| hand.settling) {
                    return Late::Settling;
                }
                waits.written = true;
                Late::Write(Arc::clone(&waits.record))
            }
            _ => Late::Done,
        }
    }

    /// A delivery is being written now for another reason. Gives it if it waited for that.
    pub(super) fn written_early(&self, tenant: TenantId, id: DeliveryId) -> Option<Arc<DeliveryRecord>> {
        let mut inner = self.0.lock();
        let waits = inner.waiting.get_mut(&(tenant, id)).filter(|waits| waits.fresh)?;
        waits.written = true;
        Some(Arc::clone(&waits.record))
    }

    /// How many wait to be written out.
    pub(super) fn waiting_count(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// A delivery that waits to be written out.
    pub(super) fn waiting(&self, tenant: TenantId, id: DeliveryId) -> Option<Arc<DeliveryRecord>> {
        self.0.lock().waiting.get(&(tenant, id)).map(|waits| Arc::clone(&waits.record))
    }

    /// A tenant's deliveries that wait to be written out, newest first from before `before` on, up to `limit`.
    pub(super) fn waiting_of(
        &self,
        tenant: TenantId,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Vec<Arc<DeliveryRecord>> {
        let first = Bound::Included((tenant, DeliveryId::from_bytes([0; 16])));
        let last = match before {
            // The map takes no range that ends before it begins.
            Some(before) if before.to_bytes() == [0; 16] => return Vec::new(),
            Some(before) => Bound::Excluded((tenant, before)),
            None => Bound::Included((tenant, DeliveryId::from_bytes([u8::MAX; 16]))),
        };
        let inner = self.0.lock();
        inner.waiting.range((first, last)).rev().take(limit).map(|(_, waits)| Arc::clone(&waits.record)).collect()
    }

    /// The first of a lane that wait to be written out, as if they were in the queue: up to so many that are not
    /// held, and one more.
    pub(super) fn waiting_in(&self, lane: Lane, free: usize) -> Vec<Entry> {
        let inner = self.0.lock();
        let Some(waiting) = inner.waiting_by_lane.get(&lane) else { return Vec::new() };
        let mut entries = Vec::new();
        let mut found = 0;
        for entry in waiting.iter().map(waiting_entry) {
            if found > free {
                break;
            }
            found += usize::from(!inner.held.contains_key(&entry.delivery_id));
            entries.push(entry);
        }
        entries
    }

    /// For each lane the first that waits to be written out and is not in hand.
    pub(super) fn waiting_heads(&self) -> Vec<Entry> {
        let inner = self.0.lock();
        let first = |lane: &BTreeMap<QueueKey, Arc<DeliveryRecord>>| {
            lane.iter().find(|(_, record)| !inner.held.contains_key(&record.delivery.id)).map(waiting_entry)
        };
        inner.waiting_by_lane.values().filter_map(first).collect()
    }
}

fn waiting_entry((key, record): (&QueueKey, &Arc<DeliveryRecord>)) -> Entry {
    let delivery = &record.delivery;
    Entry {
        key: *key,
        lane: delivery.lane,
        delivery_id: delivery.id,
        tenant_id: delivery.tenant_id,
        due: due(delivery),
    }
}
