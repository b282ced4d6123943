//! Events on their way in, put into the form in which they are stored by whoever brings them: the committer
//! writes, and does nothing that others can do beside it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::codec::{self, DeliveryRecord, Known};
use super::commit::{Incoming, Part};
use super::fault::Fault;
use super::hand::{Guard, Hand};
use super::keys;
use super::shared::Shared;
use super::tables::{Table, put_large};
use crate::domain::{Delivery, TenantId};
use crate::store::{Accepted, Dedupe, EXPAND_AT_ONCE};

/// Deliveries of a fan-out that are written out in one commit.
const PART: usize = 256;

/// About how many bytes it will take while it waits.
pub(super) fn weight(accepted: &Accepted) -> usize {
    accepted.event.weight() + accepted.deliveries.len() * 320
}

/// Encodes a batch, and takes in hand what the caller keeps.
pub(super) fn encode_all(shared: &Shared, guard: &mut Guard, batch: Vec<Accepted>) -> Result<Vec<Incoming>, Fault> {
    let mut scratch = Vec::new();
    batch.into_iter().map(|accepted| encode(shared, guard, accepted, &mut scratch)).collect()
}

/// An event makes one operation, and one more with a client's id: its deliveries stand in it, and get rows of their
/// own when they have been attempted, or a little later.
fn encode(shared: &Shared, guard: &mut Guard, accepted: Accepted, scratch: &mut Vec<u8>) -> Result<Incoming, Fault> {
    let Accepted { event, deliveries, in_hand, dedupe } = accepted;
    let (tenant_id, event_id) = (event.tenant_id, event.id);
    let owed = deliveries.len();
    let mut incoming = Incoming {
        tenant_id,
        event_id,
        received_ms: event.received_at.as_millisecond(),
        known: dedupe.map(|dedupe| {
            let known = Known {
                event_id,
                content: dedupe.content,
                deliveries: u32::try_from(owed).unwrap_or(u32::MAX),
                until_ms: dedupe.until.as_millisecond(),
            };
            (dedupe_key(tenant_id, &dedupe), known)
        }),
        ops: Vec::with_capacity(if owed <= EXPAND_AT_ONCE { 1 } else { 2 + owed / PART * 8 }),
        fresh: Vec::new(),
        parts: Vec::new(),
        held: Vec::new(),
    };
    let key = keys::pair(tenant_id, event_id.to_bytes());
    if owed > EXPAND_AT_ONCE {
        codec::put_owed(scratch, &deliveries)?;
        put_large(&mut incoming.ops, Table::Owed, &key, scratch);
    }
    let records: Vec<_> = deliveries
        .into_iter()
        .enumerate()
        .map(|(number, delivery)| {
            let record = place(shared, delivery);
            if number < in_hand && guard.hold(record.delivery.id, Hand::of(&record)) {
                incoming.held.push(record.delivery.id);
            }
            Arc::new(record)
        })
        .collect();
    let inline = if owed <= EXPAND_AT_ONCE { &records[..] } else { &[] };
    codec::put_event(scratch, &event, inline, owed)?;
    put_large(&mut incoming.ops, Table::Events, &key, scratch);
    if owed <= EXPAND_AT_ONCE {
        incoming.fresh = records;
        return Ok(incoming);
    }
    for (number, part) in (0_u32..).zip(records.chunks(PART)) {
        let mut part_key = [0; 36];
        part_key[..32].copy_from_slice(&key);
        part_key[32..].copy_from_slice(&number.to_be_bytes());
        codec::put_part(scratch, part)?;
        put_large(&mut incoming.ops, Table::Expansions, &part_key, scratch);
        incoming.parts.push(Part { tenant_id, key: part_key, records: part.to_vec() });
    }
    Ok(incoming)
}

/// Gives a delivery its place in an ordered lane. It is pending and has nothing frozen: it is new.
pub(super) fn place(shared: &Shared, mut delivery: Delivery) -> DeliveryRecord {
    delivery.frozen = None;
    delivery.begun = false;
    let position = if delivery.lane.key == 0 { 0 } else { shared.next_position() };
    DeliveryRecord { delivery, frozen: false, position }
}

/// Hashed, since a client's words are of any length and keys are not.
fn dedupe_key(tenant: TenantId, dedupe: &Dedupe) -> [u8; 48] {
    let digest =
        Sha256::new().chain_update(dedupe.scope.as_bytes()).chain_update([0]).chain_update(dedupe.key.as_bytes());
    let mut key = [0; 48];
    key[..16].copy_from_slice(&tenant.to_bytes());
    key[16..].copy_from_slice(&digest.finalize());
    key
}
