//! How objects are written: one byte for the format, then postcard of a record of this file.
//!
//! The records mirror the domain's field by field and not by derive, so that a new field there is a compile
//! error here and not a store that can no longer be read; the ids that are in the key are not written again.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::domain::{
    Attempt, Delivery, DeliveryId, Event, EventId, EventType, Frozen, Lane, SourceId, Status, SubscriptionId, TenantId,
    Trigger,
};

/// The first byte of every value. A value in pieces has the high bit set; see `tables`.
pub(super) const FORMAT: u8 = 1;

/// A time to the nanosecond, in five to ten bytes; serde's own form of it is text of up to thirty.
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Time(i64, i32);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at.as_second(), at.subsec_nanosecond())
    }
}

impl TryFrom<Time> for Timestamp {
    type Error = Fault;

    fn try_from(Time(second, nanosecond): Time) -> Result<Self, Fault> {
        Self::new(second, nanosecond).map_err(|_| Fault::corrupt("a time"))
    }
}

/// The first byte of what has taken another form since version 1.
const FORMAT_2: u8 = 2;

/// An event; `O` is what is known of those it is owed to, up to `EXPAND_AT_ONCE`. More are in a table of their own.
/// In version 1 that was delivery and subscription, since version 2 it is the delivery itself, which has a row of its
/// own only later.
#[derive(Serialize, Deserialize)]
struct EventAs<'a, O> {
    #[serde(borrow)]
    external_id: Option<&'a str>,
    event_type: &'a str,
    source_id: Option<[u8; 16]>,
    #[serde(borrow)]
    source: Option<&'a str>,
    timestamp: Time,
    received_at: Time,
    data: &'a str,
    #[serde(borrow)]
    attributes: Vec<(&'a str, &'a str)>,
    /// To how many subscriptions it is owed.
    owed: u32,
    inline: Vec<O>,
}

/// A delivery's id and the delivery as it was accepted.
type Fresh<'a> = ([u8; 16], DeliveryV1<'a>);

/// An event as stored, and to whom it is owed.
pub(super) struct EventRecord {
    pub(super) event: Event,
    pub(super) owed: usize,
    /// Delivery and subscription; empty if there are more than [`crate::store::EXPAND_AT_ONCE`].
    pub(super) inline: Vec<(DeliveryId, SubscriptionId)>,
}

/// Room for most values, so that they are written without growing.
const USUAL: usize = 512;

/// Begins a value in `out`.
fn start(out: &mut Vec<u8>) {
    start_as(FORMAT, USUAL, out);
}

/// The same in this format, with so much room.
fn start_as(format: u8, room: usize, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(room);
    out.push(format);
}

/// Appends `record` to `out`.
fn write<T: Serialize>(out: &mut Vec<u8>, record: &T) -> Result<(), Fault> {
    *out = postcard::to_extend(record, std::mem::take(out)).map_err(|error| Fault::encode(&error))?;
    Ok(())
}

/// Reads what [`write`] wrote after the format byte.
fn read<'a, T: Deserialize<'a>>(value: &'a [u8], what: &'static str) -> Result<T, Fault> {
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| Fault::corrupt(what)),
        _ => Err(Fault::corrupt(what)),
    }
}

/// Writes an event's value into `out`, with the deliveries it makes if they are few enough, and how many there are.
pub(super) fn put_event(
    out: &mut Vec<u8>,
    event: &Event,
    inline: &[Arc<DeliveryRecord>],
    owed: usize,
) -> Result<(), Fault> {
    let Event {
        id: _,
        tenant_id: _,
        external_id,
        event_type,
        source_id,
        source,
        timestamp,
        received_at,
        data,
        attributes,
    } = event;
    start_as(FORMAT_2, data.len() + USUAL, out);
    write(
        out,
        &EventAs {
            external_id: external_id.as_deref(),
            event_type: event_type.as_str(),
            source_id: source_id.map(SourceId::to_bytes),
            source: source.as_deref(),
            timestamp: (*timestamp).into(),
            received_at: (*received_at).into(),
            data,
            attributes: attributes.iter().map(|(name, value)| (&**name, &**value)).collect(),
            owed: u32::try_from(owed).unwrap_or(u32::MAX),
            inline: fresh(inline),
        },
    )
}

/// Reads an event's value.
pub(super) fn event(tenant_id: TenantId, id: EventId, value: &[u8]) -> Result<EventRecord, Fault> {
    match value.split_first() {
        Some((&FORMAT_2, rest)) => {
            let record: EventAs<'_, Fresh<'_>> = postcard::from_bytes(rest).map_err(|_| Fault::corrupt("an event"))?;
            event_of(tenant_id, id, record, |(id, delivery)| (id, delivery.subscription_id))
        }
        _ => event_of(tenant_id, id, read(value, "an event")?, |pair| pair),
    }
}

/// The deliveries that an event made, as they were accepted. None if it was written by version 1, where each had a
/// row from the beginning, or if they are many.
pub(super) fn fresh_deliveries(tenant_id: TenantId, value: &[u8]) -> Result<Vec<Arc<DeliveryRecord>>, Fault> {
    let Some((&FORMAT_2, rest)) = value.split_first() else { return Ok(Vec::new()) };
    let record: EventAs<'_, Fresh<'_>> = postcard::from_bytes(rest).map_err(|_| Fault::corrupt("an event"))?;
    deliveries_of(tenant_id, record.inline)
}

fn event_of<'a, O>(
    tenant_id: TenantId,
    id: EventId,
    record: EventAs<'a, O>,
    pair: impl Fn(O) -> ([u8; 16], [u8; 16]),
) -> Result<EventRecord, Fault> {
    let inline: Vec<_> = record.inline.into_iter().map(pair).collect();
    let event = Event {
        id,
        tenant_id,
        external_id: record.external_id.map(Into::into),
        event_type: event_type(record.event_type)?,
        source_id: record.source_id.map(SourceId::from_bytes),
        source: record.source.map(Into::into),
        timestamp: record.timestamp.try_into()?,
        received_at: record.received_at.try_into()?,
        data: record.data.into(),
        attributes: record.attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    };
    Ok(EventRecord { event, owed: record.owed as usize, inline: owed_pairs(&inline) })
}

fn owed_pairs(pairs: &[([u8; 16], [u8; 16])]) -> Vec<(DeliveryId, SubscriptionId)> {
    pairs.iter().map(|(d, s)| (DeliveryId::from_bytes(*d), SubscriptionId::from_bytes(*s))).collect()
}

fn event_type(text: &str) -> Result<EventType, Fault> {
    EventType::parse(text).map_err(|_| Fault::corrupt("an event type"))
}

/// Writes the list of those an event with many deliveries is owed to.
pub(super) fn put_owed(out: &mut Vec<u8>, deliveries: &[Delivery]) -> Result<(), Fault> {
    put_pairs(out, &deliveries.iter().map(|d| (d.id, d.subscription_id)).collect::<Vec<_>>())
}

/// The same of deliveries that are known by their ids.
pub(super) fn put_pairs(out: &mut Vec<u8>, pairs: &[(DeliveryId, SubscriptionId)]) -> Result<(), Fault> {
    start(out);
    write(out, &pairs.iter().map(|(d, s)| (d.to_bytes(), s.to_bytes())).collect::<Vec<_>>())
}

/// Reads what [`put_owed`] wrote.
pub(super) fn owed(value: &[u8]) -> Result<Vec<(DeliveryId, SubscriptionId)>, Fault> {
    Ok(owed_pairs(&read::<Vec<_>>(value, "a list of deliveries")?))
}

/// Writes to whom a delivery that a replay has added to its event goes.
pub(super) fn put_added(out: &mut Vec<u8>, delivery: &Delivery) {
    start(out);
    out.extend(delivery.subscription_id.to_bytes());
}

/// Reads what [`put_added`] wrote.
pub(super) fn added(value: &[u8]) -> Result<SubscriptionId, Fault> {
    let id = value.split_first().filter(|(format, _)| **format == FORMAT).and_then(|(_, id)| id.try_into().ok());
    id.map(SubscriptionId::from_bytes).ok_or(Fault::corrupt("an added delivery"))
}

#[derive(Serialize, Deserialize)]
struct DeliveryV1<'a> {
    event_id: [u8; 16],
    event_type: &'a str,
    subscription_id: [u8; 16],
    revision: u64,
    /// The lane's subscription, if it is another than the delivery's.
    lane_of: Option<[u8; 16]>,
    lane: u64,
    status: Status,
    #[serde(borrow)]
    reason: Option<&'a str>,
    trigger: Trigger,
    attempt_count: u32,
    created_at: Time,
    next_attempt_at: Option<Time>,
    finished_at: Option<Time>,
    last_status_code: Option<u16>,
    begun: bool,
    /// Whether the table `frozen` has something for it.
    frozen: bool,
    /// Its place in an ordered lane; 0 in others.
    position: u64,
}

/// A delivery as stored, its frozen output apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryRecord {
    /// Its `frozen` is empty here.
    pub(super) delivery: Delivery,
    /// Whether there is a frozen output.
    pub(super) frozen: bool,
    /// Its place in an ordered lane.
    pub(super) position: u64,
    /// The value of the attempt that ended it, if it was the first: such a one has no row of its own.
    pub(super) attempt: Option<Box<[u8]>>,
}

/// The longest reason that is kept, in bytes: a delivery's value must never be in pieces, because settling
/// overwrites it without reading it.
pub(super) const REASON: usize = 4096;

fn delivery_v1(delivery: &Delivery, frozen: bool, position: u64) -> DeliveryV1<'_> {
    let Delivery {
        id: _,
        tenant_id: _,
        event_id,
        event_type,
        subscription_id,
        revision,
        lane,
        status,
        reason,
        trigger,
        attempt_count,
        created_at,
        next_attempt_at,
        finished_at,
        last_status_code,
        frozen: _,
        begun,
        fresh_id: _,
    } = delivery;
    let cut = |text: &'_ str| text.floor_char_boundary(REASON);
    DeliveryV1 {
        event_id: event_id.to_bytes(),
        event_type: event_type.as_str(),
        subscription_id: subscription_id.to_bytes(),
        revision: *revision,
        lane_of: (lane.subscription_id != *subscription_id).then(|| lane.subscription_id.to_bytes()),
        lane: lane.key,
        status: *status,
        reason: reason.as_deref().map(|text| &text[..cut(text)]),
        trigger: *trigger,
        attempt_count: *attempt_count,
        created_at: (*created_at).into(),
        next_attempt_at: next_attempt_at.map(Time::from),
        finished_at: finished_at.map(Time::from),
        last_status_code: *last_status_code,
        begun: *begun,
        frozen,
        position,
    }
}

fn delivery_of(tenant_id: TenantId, id: DeliveryId, record: DeliveryV1<'_>) -> Result<DeliveryRecord, Fault> {
    let subscription_id = SubscriptionId::from_bytes(record.subscription_id);
    let delivery = Delivery {
        id,
        tenant_id,
        event_id: EventId::from_bytes(record.event_id),
        event_type: event_type(record.event_type)?,
        subscription_id,
        revision: record.revision,
        lane: Lane {
            subscription_id: record.lane_of.map_or(subscription_id, SubscriptionId::from_bytes),
            key: record.lane,
        },
        status: record.status,
        reason: record.reason.map(str::to_owned),
        trigger: record.trigger,
        attempt_count: record.attempt_count,
        created_at: record.created_at.try_into()?,
        next_attempt_at: record.next_attempt_at.map(Timestamp::try_from).transpose()?,
        finished_at: record.finished_at.map(Timestamp::try_from).transpose()?,
        last_status_code: record.last_status_code,
        frozen: None,
        begun: record.begun,
        fresh_id: false,
    };
    Ok(DeliveryRecord { delivery, frozen: record.frozen, position: record.position, attempt: None })
}

/// What follows the record of a delivery, in one byte; nothing follows where none is set, and in one that stands in its
/// event. It has an id of its own.
const FRESH_ID: u8 = 1;
/// The value of an attempt comes behind this byte.
const ATTEMPT: u8 = 2;

/// Writes a delivery's value into `out`.
pub(super) fn put_delivery(out: &mut Vec<u8>, record: &DeliveryRecord) -> Result<(), Fault> {
    let DeliveryRecord { delivery, frozen, position, attempt } = record;
    put_ended(out, delivery, (*frozen, *position), attempt.as_deref())
}

/// The same of a delivery that an attempt has ended, or not.
pub(super) fn put_ended(
    out: &mut Vec<u8>,
    delivery: &Delivery,
    (frozen, position): (bool, u64),
    attempt: Option<&[u8]>,
) -> Result<(), Fault> {
    start(out);
    write(out, &delivery_v1(delivery, frozen, position))?;
    let marks = if delivery.fresh_id { FRESH_ID } else { 0 } | if attempt.is_some() { ATTEMPT } else { 0 };
    if marks != 0 {
        out.push(marks);
        out.extend_from_slice(attempt.unwrap_or_default());
    }
    Ok(())
}

/// Reads a delivery's value.
pub(super) fn delivery(tenant_id: TenantId, id: DeliveryId, value: &[u8]) -> Result<DeliveryRecord, Fault> {
    const WHAT: &str = "a delivery";
    let Some((&FORMAT, rest)) = value.split_first() else { return Err(Fault::corrupt(WHAT)) };
    let (record, rest) = postcard::take_from_bytes(rest).map_err(|_| Fault::corrupt(WHAT))?;
    let mut record = delivery_of(tenant_id, id, record)?;
    if let Some((marks, attempt)) = rest.split_first() {
        record.delivery.fresh_id = marks & FRESH_ID != 0;
        record.attempt = (marks & ATTEMPT != 0).then(|| attempt.into());
    }
    Ok(record)
}

/// Writes one part of a fan-out that is still to be expanded.
pub(super) fn put_part(out: &mut Vec<u8>, deliveries: &[Arc<DeliveryRecord>]) -> Result<(), Fault> {
    start(out);
    write(out, &fresh(deliveries))
}

/// Deliveries as they were accepted: nothing of theirs is frozen.
fn fresh(deliveries: &[Arc<DeliveryRecord>]) -> Vec<Fresh<'_>> {
    deliveries.iter().map(|r| (r.delivery.id.to_bytes(), delivery_v1(&r.delivery, false, r.position))).collect()
}

fn deliveries_of(tenant: TenantId, fresh: Vec<Fresh<'_>>) -> Result<Vec<Arc<DeliveryRecord>>, Fault> {
    fresh.into_iter().map(|(id, d)| delivery_of(tenant, DeliveryId::from_bytes(id), d).map(Arc::new)).collect()
}

/// Reads what [`put_part`] wrote.
pub(super) fn part(tenant: TenantId, value: &[u8]) -> Result<Vec<Arc<DeliveryRecord>>, Fault> {
    deliveries_of(tenant, read(value, "a part of a fan-out")?)
}

/// Writes a frozen output.
pub(super) fn put_frozen(out: &mut Vec<u8>, frozen: &Frozen) -> Result<(), Fault> {
    start(out);
    write(out, frozen)
}

/// Reads a frozen output.
pub(super) fn frozen(value: &[u8]) -> Result<Frozen, Fault> {
    read(value, "a frozen output")
}

/// Writes an attempt.
pub(super) fn put_attempt(out: &mut Vec<u8>, attempt: &Attempt) -> Result<(), Fault> {
    start(out);
    write(out, attempt)
}

/// Reads an attempt.
pub(super) fn attempt(value: &[u8]) -> Result<Attempt, Fault> {
    read(value, "an attempt")
}

/// What is remembered of a client's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The first one's event.
    pub(super) event_id: EventId,
    /// What its content was: the beginning of its digest.
    pub(super) content: [u8; CONTENT],
    /// To how many subscriptions it was owed.
    pub(super) deliveries: u32,
    /// Until when a second one is a duplicate, in milliseconds since 1970.
    pub(super) until_ms: i64,
}

/// Bytes of a content's digest that are kept, since version 2. It tells a mistake from a repetition, so that nobody gains
/// by finding another content with the same; and with more, a row would not stand in its leaf (see `vendor/README.md`).
pub(super) const CONTENT: usize = 13;

/// The same in version 1.
#[derive(Deserialize)]
struct KnownV1 {
    event_id: EventId,
    content: [u8; 32],
    deliveries: u32,
    until_ms: i64,
}

/// Writes what is remembered of a client's id.
pub(super) fn put_known(out: &mut Vec<u8>, known: &Known) -> Result<(), Fault> {
    start_as(FORMAT_2, USUAL, out);
    write(out, known)
}

/// Reads what is remembered of a client's id.
pub(super) fn known(value: &[u8]) -> Result<Known, Fault> {
    const WHAT: &str = "a client's id";
    if let Some((&FORMAT_2, rest)) = value.split_first() {
        return postcard::from_bytes(rest).map_err(|_| Fault::corrupt(WHAT));
    }
    let KnownV1 { event_id, content, deliveries, until_ms } = read(value, WHAT)?;
    Ok(Known { event_id, content: beginning(&content), deliveries, until_ms })
}

/// What is kept of a content's digest.
pub(super) fn beginning(digest: &[u8; 32]) -> [u8; CONTENT] {
    std::array::from_fn(|at| digest[at])
}

/// The record that every commit writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Rises by one in every commit.
    pub(super) seq: u64,
    /// The next position in ordered lanes.
    pub(super) position: u64,
    /// Bytes of keys and values that are alive.
    pub(super) live: u64,
    /// The last commit whose events' deliveries all have rows of their own.
    pub(super) written: u64,
}

/// Writes the record that every commit writes.
pub(super) fn put_tally(out: &mut Vec<u8>, tally: &Tally) -> Result<(), Fault> {
    start_as(FORMAT_2, USUAL, out);
    write(out, tally)
}

/// Reads the record that every commit writes. In version 1 every delivery had a row at once.
pub(super) fn tally(value: &[u8]) -> Result<Tally, Fault> {
    match value.split_first() {
        Some((&FORMAT_2, rest)) => postcard::from_bytes(rest).map_err(|_| Fault::corrupt("the commit record")),
        _ => {
            let (seq, position, live) = read(value, "the commit record")?;
            Ok(Tally { seq, position, live, written: seq })
        }
    }
}
