//! Ends of attempts, put into the form in which they are stored by whoever hands them over.

use super::codec::{self, DeliveryRecord};
use super::fault::Fault;
use super::hand::Hand;
use super::keys::{self, Pair, QueueKey};
use super::tables::{CHUNK, Op, Table, put_large};
use crate::domain::{Delivery, DeliveryId, Lane, Status, TenantId};
use crate::store::{Settled, transitions};

/// The largest attempt that stands in its delivery's row, in bytes. The row must never be in pieces, however long its
/// reason and the names in it are.
const IN_ROW: usize = CHUNK - codec::REASON - 512;

/// A batch of ends.
#[derive(Default)]
pub(super) struct Ends {
    /// Those that were in hand: all that is written of them is in `ops` and `frozen`.
    pub(super) known: Vec<(TenantId, DeliveryId, Lane)>,
    pub(super) ops: Vec<Op>,
    /// What takes the place of frozen outputs.
    pub(super) frozen: Vec<(Pair, Option<Vec<u8>>)>,
    /// Those that were not, and those of which more must be known: the committer looks up what it must replace.
    pub(super) raw: Vec<Settled>,
    pub(super) bytes: usize,
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.known.len() + self.raw.len()
    }

    /// Encodes a batch, given what is known of each.
    pub(super) fn of(batch: Vec<Settled>, known: &[Option<Hand>]) -> Result<Self, Fault> {
        let mut ends = Self::default();
        let mut scratch = Vec::new();
        ends.ops.reserve(batch.len() * 3);
        ends.known.reserve(batch.len());
        for (settled, hand) in batch.into_iter().zip(known) {
            let Some(hand) = hand.as_ref().filter(|_| !transitions::ended_by_hand(&settled.delivery)) else {
                ends.raw.push(settled);
                continue;
            };
            ends.known.push((settled.delivery.tenant_id, settled.delivery.id, settled.delivery.lane));
            encode(settled, &Old::in_hand(hand), &mut ends.ops, &mut ends.frozen, &mut scratch)?;
        }
        let frozen: usize = ends.frozen.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum();
        ends.bytes = ends.ops.iter().map(Op::bytes).sum::<usize>() + frozen + ends.raw.len() * 1024;
        Ok(ends)
    }
}

/// What an end takes the place of.
pub(super) struct Old {
    queue: Option<QueueKey>,
    position: u64,
    frozen: bool,
    begun: bool,
    /// Whether its first attempt, ending it, is sure to be the only one.
    first_is_only: bool,
}

impl Old {
    pub(super) fn of(record: &DeliveryRecord) -> Self {
        let pending = record.delivery.status == Status::Pending;
        Self {
            queue: pending.then(|| keys::queue(&record.delivery, record.position)),
            position: record.position,
            frozen: record.frozen,
            begun: record.delivery.begun,
            // It may have been ended before.
            first_is_only: false,
        }
    }

    fn in_hand(hand: &Hand) -> Self {
        Self {
            queue: hand.queued.then_some(hand.queue),
            position: hand.position,
            frozen: hand.frozen,
            begun: hand.begun,
            first_is_only: true,
        }
    }
}

/// Gives the attempt that stands in a delivery's row one of its own: the delivery is due again, or is ended once more.
pub(super) fn move_out(record: &mut DeliveryRecord, ops: &mut Vec<Op>) -> Result<(), Fault> {
    let Some(value) = record.attempt.take() else { return Ok(()) };
    let attempt = codec::attempt(&value)?;
    let Delivery { tenant_id, id, .. } = record.delivery;
    put_large(ops, Table::Attempts, &keys::attempt(tenant_id, id, attempt.number, attempt.id), &value);
    Ok(())
}

/// Adds the operations of one end. A first attempt that ends its delivery stands in the delivery's row, so that the
/// usual end makes one; another makes two, and one more where there is a queue entry.
pub(super) fn encode(
    settled: Settled,
    old: &Old,
    ops: &mut Vec<Op>,
    frozen: &mut Vec<(Pair, Option<Vec<u8>>)>,
    scratch: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Settled { mut delivery, attempt } = settled;
    let (tenant, id) = (delivery.tenant_id, delivery.id);
    let key = keys::pair(tenant, id.to_bytes());
    delivery.begun = false;
    if let Some(entry) = &old.queue {
        ops.push(Op::remove(Table::Queue, entry));
    }
    let is_only = old.first_is_only && delivery.attempt_count == 1 && !transitions::is_open(&delivery);
    let mut in_row = None;
    if let Some(attempt) = attempt {
        codec::put_attempt(scratch, &attempt)?;
        if is_only && attempt.number == 1 && scratch.len() <= IN_ROW {
            in_row = Some(std::mem::take(scratch));
        } else {
            put_large(ops, Table::Attempts, &keys::attempt(tenant, id, attempt.number, attempt.id), scratch);
        }
    }
    codec::put_ended(scratch, &delivery, (delivery.frozen.is_some(), old.position), in_row.as_deref())?;
    ops.push(Op::put(Table::Deliveries, &key, &scratch[..]));
    if delivery.status == Status::Pending {
        // After the removal, which may be of the same key.
        let entry = keys::queue(&delivery, old.position);
        ops.push(Op::put(Table::Queue, &entry, keys::queue_value(&delivery)));
    }
    if old.begun {
        ops.push(Op::remove(Table::Begun, &key));
    }
    match delivery.frozen {
        Some(output) => {
            let mut value = Vec::with_capacity(output.body.len() + 256);
            codec::put_frozen(&mut value, &output)?;
            frozen.push((key, Some(value)));
        }
        None if old.frozen => frozen.push((key, None)),
        None => {}
    }
    Ok(())
}
