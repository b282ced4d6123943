//! What the readers do: the verbs that change nothing on disk.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::codec::{self, EventRecord};
use super::fault::Fault;
use super::hand::{Guard, Hand};
use super::keys::{self, Entry};
use super::shared::Shared;
use super::tables::{Bytes, Table, Tables};
use crate::domain::{Attempt, Delivery, DeliveryId, Event, EventId, Lane, Status, SubscriptionId, TenantId};
use crate::store::{
    DeliveryFilter, Due, EventFilter, LOOK, LaneHead, Page, StoredEvent, Taken, before_span, span_page,
};

/// Events read in one call, so that a fan-out reads its event once.
type Events = HashMap<EventId, Arc<Event>>;

/// Reads one event.
pub(super) fn event_record(tables: &Tables, tenant: TenantId, id: EventId) -> Result<Option<EventRecord>, Fault> {
    let value = tables.load(Table::Events, &keys::pair(tenant, id.to_bytes()))?;
    value.map(|value| codec::event(tenant, id, &value)).transpose()
}

/// Those an event is owed to.
pub(super) fn owed(
    tables: &Tables,
    tenant: TenantId,
    id: EventId,
    record: EventRecord,
) -> Result<Vec<(DeliveryId, SubscriptionId)>, Fault> {
    if record.owed == record.inline.len() {
        return Ok(record.inline);
    }
    let value = tables.load(Table::Owed, &keys::pair(tenant, id.to_bytes()))?;
    value.map_or_else(|| Ok(Vec::new()), |value| codec::owed(&value))
}

/// Those that replays have added to them.
pub(super) fn added(tables: &Tables, tenant: TenantId, id: EventId) -> Result<Vec<DeliveryId>, Fault> {
    let rows = tables.tree(Table::Added).scan_prefix(keys::pair(tenant, id.to_bytes()));
    let delivery = |row: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
        let id = keys::bytes_at(&row?.0, 32).ok_or(Fault::corrupt("a key"))?;
        Ok(DeliveryId::from_bytes(id))
    };
    rows.map(delivery).collect()
}

/// All deliveries of an event, newest first.
fn of_event(tables: &Tables, tenant: TenantId, id: EventId, record: EventRecord) -> Result<Vec<DeliveryId>, Fault> {
    let mut ids: Vec<_> = owed(tables, tenant, id, record)?.into_iter().map(|(id, _)| id).collect();
    ids.extend(added(tables, tenant, id)?);
    ids.sort_unstable_by(|a, b| b.cmp(a));
    // What was salvaged may name one twice.
    ids.dedup();
    Ok(ids)
}

/// Reads a delivery and what must be known of it in hand; also one that waits to be written out.
pub(super) fn record(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Option<(Delivery, Hand)>, Fault> {
    if shared.is_gone(tenant) {
        return Ok(None);
    }
    let key = keys::pair(tenant, id.to_bytes());
    // Those that wait first: one that is written out meanwhile is then found in the tree.
    let waiting = shared.hands.waiting(tenant, id);
    let record = match (tables.stored(Table::Deliveries, &key)?, waiting) {
        (Some(value), _) => codec::delivery(tenant, id, &value)?,
        (None, Some(waiting)) => codec::DeliveryRecord::clone(&waiting),
        (None, None) => return Ok(None),
    };
    let hand = Hand::of(&record);
    let mut delivery = record.delivery;
    if record.frozen
        && let Some(value) = tables.load(Table::Frozen, &key)?
    {
        delivery.frozen = Some(Box::new(codec::frozen(&value)?));
    }
    Ok(Some((delivery, hand)))
}

/// Reads the delivery of an entry that is in hand, and its event; `None` if the entry is no longer true.
fn due_of(tables: &Tables, shared: &Shared, entry: &Entry, events: &mut Events) -> Result<Option<Due>, Fault> {
    let Some((delivery, hand)) = record(tables, shared, entry.tenant_id, entry.delivery_id)? else { return Ok(None) };
    if delivery.status != Status::Pending || hand.queue != entry.key {
        return Ok(None);
    }
    let event = match events.get(&delivery.event_id) {
        Some(event) => Arc::clone(event),
        None => {
            let Some(record) = event_record(tables, entry.tenant_id, delivery.event_id)? else { return Ok(None) };
            let event = Arc::new(record.event);
            events.insert(event.id, Arc::clone(&event));
            event
        }
    };
    shared.hands.learn(delivery.id, hand);
    Ok(Some(Due { delivery, event }))
}

/// The entries of a lane in order: those in the queue, and those that wait to be written out.
fn entries<'a>(
    tables: &'a Tables,
    shared: &Shared,
    lane: Lane,
    limit: usize,
) -> impl Iterator<Item = Result<Entry, Fault>> + use<'a> {
    // Those that wait first: one that is written out meanwhile is then met in the queue, or in both.
    let mut waiting = shared.hands.waiting_in(lane, limit).into_iter().peekable();
    let mut queued = tables.tree(Table::Queue).scan_prefix(keys::lane(lane)).map(read_entry).peekable();
    std::iter::from_fn(move || match (waiting.peek(), queued.peek()) {
        (Some(waits), Some(Ok(queue))) if waits.key == queue.key => {
            queued.next();
            waiting.next().map(Ok)
        }
        (Some(waits), Some(Ok(queue))) if waits.key < queue.key => waiting.next().map(Ok),
        (Some(_), None) => waiting.next().map(Ok),
        _ => queued.next(),
    })
}

fn read_entry(pair: ::sled::Result<(::sled::IVec, ::sled::IVec)>) -> Result<Entry, Fault> {
    let (key, value) = pair?;
    keys::entry(&key, &value).ok_or(Fault::corrupt("a queue entry"))
}

/// Takes what is due. What is taken is in `guard` until the caller has it.
pub(super) fn take(
    tables: &Tables,
    shared: &Shared,
    guard: &mut Guard,
    lanes: &[(Lane, usize)],
    now: Timestamp,
) -> Result<Vec<Taken>, Fault> {
    let mut events = Events::new();
    let mut visited = 0;
    let mut all = Vec::with_capacity(lanes.len());
    for &(lane, limit) in lanes {
        let mut taken = Taken::default();
        // Before the queue is read: a retry that becomes durable meanwhile is then found there.
        let retry = shared.hands.next_retry(lane);
        if retry.is_some_and(|due| due <= now) {
            shared.inbox.hurry();
        }
        for entry in entries(tables, shared, lane, limit) {
            let entry = entry?;
            visited += 1;
            if shared.hands.is_held(entry.delivery_id) || shared.is_gone(entry.tenant_id) {
                continue;
            }
            // In an ordered lane the first that is not yet due holds up those behind it; in others nothing that
            // follows is due either.
            if entry.due > now || taken.due.len() >= limit {
                taken.next = Some(entry.due);
                break;
            }
            let hand = Hand::provisional(&entry);
            if !guard.hold(entry.delivery_id, hand) {
                continue;
            }
            match due_of(tables, shared, &entry, &mut events)? {
                Some(due) => taken.due.push(due),
                None => guard.let_go(),
            }
        }
        taken.next = taken.next.into_iter().chain(retry).min();
        all.push(taken);
    }
    shared.visited.fetch_add(visited, Ordering::Relaxed);
    Ok(all)
}

/// The first entry of every lane that is not in hand.
pub(super) fn heads(tables: &Tables, shared: &Shared) -> Result<Vec<LaneHead>, Fault> {
    let mut heads: BTreeMap<Lane, LaneHead> = BTreeMap::new();
    let mut add = |lane, tenant_id, due| {
        let head = heads.entry(lane).or_insert(LaneHead { lane, tenant_id, due });
        head.due = head.due.min(due);
    };
    for (lane, tenant, due) in shared.hands.retries() {
        add(lane, tenant, due);
    }
    // Those that wait first: one that is written out meanwhile is then met in the queue.
    let mut waiting: HashMap<Lane, Entry> =
        shared.hands.waiting_heads().into_iter().map(|entry| (entry.lane, entry)).collect();
    let mut from = Vec::new();
    loop {
        let mut lane = None;
        for pair in tables.tree(Table::Queue).range(from.clone()..) {
            let entry = read_entry(pair)?;
            if *lane.get_or_insert(entry.lane) != entry.lane {
                break;
            }
            if !shared.hands.is_held(entry.delivery_id) {
                let waits = waiting.remove(&entry.lane).filter(|waits| waits.key < entry.key);
                let first = waits.unwrap_or(entry);
                add(first.lane, first.tenant_id, first.due);
                break;
            }
        }
        match lane.and_then(|lane| keys::after(&keys::lane(lane))) {
            Some(next) => from = next,
            None => break,
        }
    }
    for entry in waiting.into_values() {
        add(entry.lane, entry.tenant_id, entry.due);
    }
    Ok(heads.into_values().filter(|head| !shared.is_gone(head.tenant_id)).collect())
}

/// One event.
pub(super) fn event(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    id: EventId,
) -> Result<Option<StoredEvent>, Fault> {
    if shared.is_gone(tenant) {
        return Ok(None);
    }
    let record = event_record(tables, tenant, id)?;
    Ok(record.map(|record| StoredEvent { event: Arc::new(record.event), deliveries: record.owed }))
}

/// The keys and stored forms of a tenant's objects, newest first, from before `after` on.
fn newest_first(
    tables: &Tables,
    table: Table,
    tenant: TenantId,
    after: Option<[u8; 16]>,
) -> impl Iterator<Item = Result<([u8; 16], ::sled::IVec), Fault>> + '_ {
    let first = keys::pair(tenant, [0; 16]);
    let end = match after {
        Some(after) => Bound::Excluded(keys::pair(tenant, after)),
        None => Bound::Included(keys::pair(tenant, [u8::MAX; 16])),
    };
    // sled takes no range that ends before it begins.
    let empty = after == Some([0; 16]);
    let range = (!empty).then(|| tables.tree(table).range((Bound::Included(first), end)).rev());
    range.into_iter().flatten().map(|pair| {
        let (key, stored) = pair?;
        let id = keys::bytes_at(&key, 16).ok_or(Fault::corrupt("a key"))?;
        Ok((id, stored))
    })
}

/// Goes through objects until the page is full or enough has been looked at.
fn page<T, C: Copy>(
    objects: impl Iterator<Item = Result<(C, Option<T>), Fault>>,
    limit: usize,
) -> Result<Page<T, C>, Fault> {
    let mut page = Page { items: Vec::new(), next: None };
    let mut last = None;
    for (looked, object) in objects.enumerate() {
        let full = page.items.len() >= limit.max(1) || looked >= LOOK;
        let (cursor, item) = object?;
        if full {
            page.next = last;
            break;
        }
        last = Some(cursor);
        page.items.extend(item);
    }
    Ok(page)
}

/// Events, newest first.
pub(super) fn events(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    filter: &EventFilter,
    limit: usize,
    after: Option<EventId>,
) -> Result<Page<StoredEvent, EventId>, Fault> {
    if shared.is_gone(tenant) {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let read = |(id, stored): ([u8; 16], _)| {
        let value: Option<Bytes> = tables.whole(Table::Events, &keys::pair(tenant, id), stored)?;
        let id = EventId::from_bytes(id);
        let record = value.map(|value| codec::event(tenant, id, &value)).transpose()?;
        let record = record.filter(|record| filter.admits(&record.event, record.owed));
        Ok((id, record.map(|record| StoredEvent { event: Arc::new(record.event), deliveries: record.owed })))
    };
    let objects = newest_first(tables, Table::Events, tenant, after.map(EventId::to_bytes));
    page(objects.map(|object| object.and_then(read)), limit)
}

/// Events of a span, oldest first.
pub(super) fn events_between(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    span: (Timestamp, Timestamp),
    limit: usize,
    after: Option<EventId>,
) -> Result<Page<StoredEvent, EventId>, Fault> {
    if shared.is_gone(tenant) {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let first = keys::pair(tenant, before_span(span, after).to_bytes());
    let last = keys::pair(tenant, [u8::MAX; 16]);
    let rows = tables.tree(Table::Events).range((Bound::Excluded(first), Bound::Included(last)));
    let read = |row: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
        let (key, stored) = row?;
        let id = keys::bytes_at(&key, 16).map(EventId::from_bytes).ok_or(Fault::corrupt("a key"))?;
        let Some(value) = tables.whole(Table::Events, &key, stored)? else { return Ok(None) };
        let record = codec::event(tenant, id, &value)?;
        Ok(Some(StoredEvent { event: Arc::new(record.event), deliveries: record.owed }))
    };
    span_page(rows.map(read).filter_map(Result::transpose), span, limit)
}

/// Deliveries, newest first.
pub(super) fn deliveries(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    filter: &DeliveryFilter,
    limit: usize,
    after: Option<DeliveryId>,
) -> Result<Page<Delivery, DeliveryId>, Fault> {
    if shared.is_gone(tenant) {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let wanted = |id: DeliveryId| -> Result<(DeliveryId, Option<Delivery>), Fault> {
        let found = record(tables, shared, tenant, id)?.map(|(delivery, _)| delivery);
        Ok((id, found.filter(|delivery| filter.admits(delivery))))
    };
    if let Some(event_id) = filter.event_id {
        // The event knows its deliveries; nothing else needs to be looked at.
        let Some(event) = event_record(tables, tenant, event_id)? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let ids = of_event(tables, tenant, event_id, event)?;
        let rest = ids.into_iter().filter(|id| after.is_none_or(|after| *id < after));
        return page(rest.map(wanted), limit);
    }
    let read = |(id, stored): ([u8; 16], ::sled::IVec)| {
        let id = DeliveryId::from_bytes(id);
        let seen = codec::delivery(tenant, id, &stored)?;
        if !filter.admits(&seen.delivery) {
            return Ok((id, None));
        }
        if seen.frozen { wanted(id) } else { Ok((id, Some(seen.delivery))) }
    };
    // Those that wait first: one that is written out meanwhile is then met in the tree, or in both.
    let mut waiting = shared.hands.waiting_of(tenant, after, LOOK + 1).into_iter().peekable();
    let mut rows = newest_first(tables, Table::Deliveries, tenant, after.map(DeliveryId::to_bytes)).peekable();
    let objects = std::iter::from_fn(|| {
        let row = match rows.peek() {
            Some(Ok((id, _))) => Some(DeliveryId::from_bytes(*id)),
            Some(Err(_)) => return rows.next().map(|row| row.and_then(read)),
            None => None,
        };
        match waiting.next_if(|waits| row.is_none_or(|row| waits.delivery.id > row)) {
            // As a row, if it has become one since.
            Some(waits) => Some(wanted(waits.delivery.id)),
            None => {
                waiting.next_if(|waits| row == Some(waits.delivery.id));
                rows.next().map(|row| row.and_then(read))
            }
        }
    });
    page(objects, limit)
}

/// A delivery's attempts, in order.
pub(super) fn attempts(
    tables: &Tables,
    shared: &Shared,
    tenant: TenantId,
    delivery: DeliveryId,
) -> Result<Vec<Attempt>, Fault> {
    let mut attempts = Vec::new();
    if shared.is_gone(tenant) {
        return Ok(attempts);
    }
    let key = keys::pair(tenant, delivery.to_bytes());
    // Most have one, which stands in the row. Before the others: one that is given a row of its own is then found there.
    if let Some(row) = tables.stored(Table::Deliveries, &key)?
        && let Some(attempt) = codec::delivery(tenant, delivery, &row)?.attempt
    {
        return Ok(vec![codec::attempt(&attempt)?]);
    }
    for pair in tables.tree(Table::Attempts).scan_prefix(key) {
        let (key, stored) = pair?;
        if let Some(value) = tables.whole(Table::Attempts, &key, stored)? {
            attempts.push(codec::attempt(&value)?);
        }
    }
    Ok(attempts)
}
