//! Events on their way in, put into the form in which they are stored by whoever brings them: the committer
//! writes, and does nothing that others can do beside it.

use std::sync::Arc;
use std::time::Instant;

use super::codec::{self, DeliveryRecord, Known};
use super::commit::{Incoming, Part};
use super::fault::Fault;
use super::hand::{Guard, Hand};
use super::keys::{self, ClientId};
use super::shared::Shared;
use super::tables::{Op, Table, put_large};
use crate::domain::Delivery;
use crate::priority::Slices;
use crate::store::{Accepted, EXPAND_AT_ONCE};

/// Deliveries of a fan-out that are written out in one commit; as many as fit into one value.
const PART: usize = 48;
/// Bytes of what is written ahead of an event that are written in one commit; what is smaller is not written ahead.
const AHEAD: usize = 64 << 10;
/// The number of a part that has nothing in it, and says that pieces of the event have been written ahead.
const MARK: [u8; 4] = [u8::MAX; 4];

/// About how many bytes it will take while it waits.
pub(super) fn weight(accepted: &Accepted) -> usize {
    accepted.event.weight() + accepted.deliveries.len() * 320
}

/// Encodes a batch, and takes in hand what the caller keeps. Large fan-outs let others have the processor meanwhile.
pub(super) async fn encode_all(
    shared: &Shared,
    guard: &mut Guard,
    batch: Vec<Accepted>,
) -> Result<Vec<Incoming>, Fault> {
    let mut incoming = Vec::with_capacity(batch.len());
    for accepted in batch {
        incoming.push(encode(shared, guard, accepted).await?);
    }
    Ok(incoming)
}

/// An event makes one operation, and one more with a client's id: its deliveries stand in it, and get rows of their
/// own when they have been attempted, or a little later. If there are many, lists of them are written ahead, and so is
/// the data where there is much of it.
async fn encode(shared: &Shared, guard: &mut Guard, accepted: Accepted) -> Result<Incoming, Fault> {
    let Accepted { event, deliveries, in_hand, dedupe } = accepted;
    let (tenant_id, event_id) = (event.tenant_id, event.id);
    let owed = deliveries.len();
    let is_large = owed > EXPAND_AT_ONCE;
    let mut incoming = Incoming {
        tenant_id,
        event_id,
        received_ms: event.received_at.as_millisecond(),
        known: dedupe.map(|dedupe| {
            let known = Known {
                event_id,
                content: codec::beginning(&dedupe.content),
                deliveries: u32::try_from(owed).unwrap_or(u32::MAX),
                until_ms: dedupe.until.as_millisecond(),
            };
            (ClientId::of(tenant_id, &dedupe), known)
        }),
        ops: Vec::with_capacity(1),
        ahead: Vec::new(),
        fresh: Vec::new(),
        parts: Vec::new(),
        held: Vec::new(),
    };
    let key = keys::pair(tenant_id, event_id.to_bytes());
    let mut scratch = Vec::new();
    let mut list = Vec::new();
    let mut slices = Slices::begin();
    if is_large {
        codec::put_owed(&mut list, &deliveries)?;
    }
    let mut records = Vec::with_capacity(owed.min(EXPAND_AT_ONCE));
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let record = place(shared, delivery);
        if number < in_hand && guard.hold(record.delivery.id, Hand::of(&record)) {
            incoming.held.push(record.delivery.id);
        }
        records.push(Arc::new(record));
        if is_large && (records.len() == PART || number + 1 == owed) {
            let number = u32::try_from(number / PART).unwrap_or(u32::MAX);
            let mut part_key = [0; 36];
            part_key[..32].copy_from_slice(&key);
            part_key[32..].copy_from_slice(&number.to_be_bytes());
            codec::put_part(&mut scratch, &records)?;
            put_large(&mut incoming.ahead, Table::Expansions, &part_key, &scratch);
            let records = std::mem::take(&mut records);
            incoming.parts.push(Part { at: Instant::now(), tenant_id, key: part_key, records });
            slices.step().await;
        }
    }
    codec::put_event(&mut scratch, &event, &records, owed)?;
    put_large(&mut incoming.ops, Table::Events, &key, &scratch);
    if scratch.len() > AHEAD {
        // All but the last, which is the event's own row: without it nobody finds the pieces.
        let pieces = incoming.ops.len() - 1;
        let mark = [&key[..], &MARK].concat();
        codec::put_part(&mut scratch, &[])?;
        incoming.ahead.push(Op::put(Table::Expansions, &mark, &scratch[..]));
        incoming.ahead.extend(incoming.ops.drain(..pieces));
        incoming.ops.push(Op::remove(Table::Expansions, &mark));
    }
    if is_large {
        // Behind the parts: by those, what is left of it is found if the event does not come to be.
        put_large(&mut incoming.ahead, Table::Owed, &key, &list);
    } else {
        incoming.fresh = records;
    }
    Ok(incoming)
}

/// What is written ahead, in units that nobody waits long for.
pub(super) fn units(ahead: impl IntoIterator<Item = Op>) -> impl Iterator<Item = Vec<Op>> {
    let mut rest = ahead.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let mut unit = Vec::new();
        while let Some(op) = rest.next_if(|op| unit.is_empty() || bytes + op.bytes() <= AHEAD) {
            bytes += op.bytes();
            unit.push(op);
        }
        (!unit.is_empty()).then_some(unit)
    })
}

/// Gives a delivery its place in an ordered lane. It is pending and has nothing frozen: it is new.
pub(super) fn place(shared: &Shared, mut delivery: Delivery) -> DeliveryRecord {
    delivery.frozen = None;
    delivery.begun = false;
    let position = if delivery.lane.key == 0 { 0 } else { shared.next_position() };
    DeliveryRecord { delivery, frozen: false, position, attempt: None }
}
