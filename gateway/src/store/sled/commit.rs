//! The committer: the one thread that writes.
//!
//! It takes what waits, up to a bound, makes it one transaction, has it flushed and synced, and only then
//! answers all of them: the price of a sync is shared by those who came while the last one ran. Where several did,
//! the next commit begins a moment later, so that more share it; who comes alone waits for no timer. `flush` alone
//! is not a sync on Linux (sled calls `sync_file_range` there), so the file is synced through a handle of our own;
//! without it 17 of 18 simulated power cuts lost acknowledged events.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::codec::{self, DeliveryRecord, Known, Tally};
use super::ends::{self, Ends, Old};
use super::fault::Fault;
use super::hand::{Guard, Hand, Late};
use super::keys::ClientId;
use super::mark::{Mark, Marked};
use super::open::RECENT;
use super::prune::Plan;
use super::shared::Shared;
use super::tables::{Op, Table, Tables, put_large, remove_large};
use super::{accept, config, keys, queries};
use crate::domain::{Delivery, DeliveryId, EventId, IdMap, Lane, Status, TenantId, Trigger};
use crate::store::{Receipt, Record, RecordKey, ReplayStep, Replayed, Result as Answer, due, transitions};

/// Most tree operations of a commit that holds more than one job.
const MOST_OPS: usize = 2_000;
/// Most bytes of a commit that holds more than one job.
const MOST_BYTES: usize = 4 << 20;
/// How long after the last commit began the next one does, for each beyond the first who shared it, and at most. From
/// about 4,000 events a second on there are then a thousand commits a second and no more: what a commit costs by itself
/// is several times what an event in it does.
const GAP: Duration = Duration::from_micros(250);
const LONGEST_GAP: Duration = Duration::from_millis(1);
/// Events in one record of what a commit held, so that the record is never in pieces.
const REMEMBERED: usize = 128;
/// How often it looks around if nobody asks for anything.
const IDLE: Duration = Duration::from_secs(1);
/// Fresh deliveries that are written out in one commit, unless so many wait that it takes too many: whoever else is in
/// that commit waits for them.
const PART_LATE: usize = 16;
/// In about so many commits all that wait are written out: fewer than half of [`RECENT`], from where on they are all
/// written at once.
const LATE_COMMITS: usize = 256;
/// How many times as long as fresh deliveries parts of fan-outs wait to be written out, unless so many deliveries do.
const PART_LINGERS: u32 = 30;
const CROWDED: usize = 50_000;

/// The deliveries of one commit that stand in their events and may have no rows yet.
pub(super) struct Fresh {
    pub(super) seq: u64,
    at: Instant,
    deliveries: VecDeque<(TenantId, DeliveryId)>,
}

impl Fresh {
    /// Those of a commit that is durable now, or was found so.
    pub(super) fn new(seq: u64, records: &[Arc<DeliveryRecord>]) -> Self {
        let mut fresh = Self { seq, at: Instant::now(), deliveries: VecDeque::new() };
        fresh.add(records);
        fresh
    }

    /// More of the same commit.
    pub(super) fn add(&mut self, records: &[Arc<DeliveryRecord>]) {
        self.deliveries.extend(records.iter().map(|record| (record.delivery.tenant_id, record.delivery.id)));
    }
}

/// A part of a fan-out that is durable and not yet written out.
pub(super) struct Part {
    pub(super) at: Instant,
    pub(super) tenant_id: TenantId,
    pub(super) key: [u8; 36],
    pub(super) records: Vec<Arc<DeliveryRecord>>,
}

/// An event on its way in, already in the form in which it is stored.
pub(super) struct Incoming {
    pub(super) tenant_id: TenantId,
    pub(super) event_id: EventId,
    /// When it was received, in milliseconds since 1970.
    pub(super) received_ms: i64,
    /// The client's id, and what will be remembered of it.
    pub(super) known: Option<(ClientId, Known)>,
    pub(super) ops: Vec<Op>,
    /// Of a large fan-out, what is written before the event is, and means nothing without it; once it is written, what
    /// takes it back.
    pub(super) ahead: Vec<Op>,
    /// Deliveries that stand in the event.
    pub(super) fresh: Vec<Arc<DeliveryRecord>>,
    pub(super) parts: Vec<Part>,
    /// Taken in hand already, to be let go if it is a duplicate.
    pub(super) held: Vec<DeliveryId>,
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Answer<T>>;

/// What can be asked of the committer.
pub(super) enum Job {
    /// Writes what comes before a large fan-out's event.
    Ahead {
        ops: Vec<Op>,
        reply: Reply<()>,
    },
    Accept {
        items: Vec<Incoming>,
        guard: Guard,
        reply: Reply<(Vec<Receipt>, Guard, Vec<Part>)>,
    },
    /// Takes back what was written ahead of an event that then was not accepted.
    TakeBack {
        ops: Vec<Op>,
    },
    /// Has parts of fan-outs written out in their time; those who look for their deliveries find them already.
    Expand {
        parts: Vec<Part>,
    },
    Begin {
        deliveries: Vec<(TenantId, DeliveryId)>,
        reply: Reply<()>,
    },
    Settle(Ends),
    Requeue {
        tenant: TenantId,
        id: DeliveryId,
        now: Timestamp,
        reply: Reply<Option<Delivery>>,
    },
    Cancel {
        tenant: TenantId,
        id: DeliveryId,
        now: Timestamp,
        reply: Reply<Option<Delivery>>,
    },
    Configure {
        puts: Vec<Record>,
        deletes: Vec<RecordKey>,
        /// What belongs to what is put.
        with: Vec<Op>,
        reply: Reply<()>,
    },
    Replay {
        step: Box<ReplayStep>,
        reply: Reply<Replayed>,
    },
    Prune {
        plans: Vec<Plan>,
        reply: Reply<usize>,
    },
}

impl Job {
    /// How many ends of attempts it holds; 0: someone waits for it.
    pub(super) fn ends(&self) -> usize {
        match self {
            Self::Settle(ends) => ends.len().max(1),
            _ => 0,
        }
    }

    /// About how many operations and bytes it will make.
    pub(super) fn weight(&self) -> (usize, usize) {
        let sum = |ops: &[Op]| (ops.len(), ops.iter().map(Op::bytes).sum::<usize>());
        match self {
            Self::Accept { items, .. } => {
                items.iter().map(|item| sum(&item.ops)).fold((0, 0), |(n, b), (m, c)| (n + m, b + c))
            }
            Self::Settle(ends) => (ends.ops.len() + 4 * ends.raw.len(), ends.bytes),
            Self::Begin { deliveries, .. } => (deliveries.len() * 3, deliveries.len() * 512),
            Self::Ahead { ops, .. } | Self::TakeBack { ops } => sum(ops),
            Self::Expand { .. } => (0, 0),
            Self::Prune { plans, .. } => (plans.iter().map(|plan| plan.ops.len()).sum(), 0),
            Self::Requeue { .. } | Self::Cancel { .. } => (4, 1024),
            Self::Replay { step, .. } => (3 * step.add.len() + 4 * step.again.len() + 1, 0),
            // Scans what is written, so nothing may be about to be.
            Self::Configure { .. } => (MOST_OPS, 0),
        }
    }
}

/// What is answered once a commit is durable.
enum Done {
    Receipts(Reply<(Vec<Receipt>, Guard, Vec<Part>)>, Vec<Receipt>, Guard, Vec<Part>),
    Unit(Reply<()>),
    Delivery(Reply<Option<Delivery>>, Option<Delivery>),
    Replayed(Reply<Replayed>, Replayed),
    Pruned(Reply<usize>, usize),
}

/// One commit in the making.
#[derive(Default)]
struct Group {
    ops: Vec<Op>,
    bytes: usize,
    /// Keys in [`Table::Events`] of the events in it, and when they were received.
    events: Vec<(keys::Pair, i64)>,
    /// What is in it of [`Table::Ids`].
    known: IdMap<ClientId, Known>,
    done: Vec<Done>,
    ends: Vec<(TenantId, DeliveryId, Lane)>,
    release: Vec<DeliveryId>,
    fresh: Vec<Arc<DeliveryRecord>>,
    written: Vec<Arc<DeliveryRecord>>,
    gone: Vec<TenantId>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Group {
    /// What a key holds, this commit included.
    fn stored(&self, tables: &Tables, table: Table, key: &[u8]) -> Result<Option<::sled::IVec>, Fault> {
        match self.ops.iter().rev().find(|op| op.table == table && *op.key == *key) {
            Some(op) => Ok(op.value.clone()),
            None => tables.stored(table, key),
        }
    }

    /// How many deliveries replays have added to an event; `None`: this commit adds some.
    fn added(&self, tables: &Tables, event: &keys::Pair) -> Result<Option<usize>, Fault> {
        if self.ops.iter().any(|op| op.table == Table::Added && op.key.starts_with(event)) {
            return Ok(None);
        }
        let rows = tables.tree(Table::Added).scan_prefix(event);
        rows.map(|row| row.map(drop))
            .collect::<::sled::Result<Vec<()>>>()
            .map(|rows| Some(rows.len()))
            .map_err(Into::into)
    }
}

/// See the file's essay.
pub(super) struct Committer {
    pub(super) tables: Arc<Tables>,
    pub(super) shared: Arc<Shared>,
    /// A second handle on sled's file, to sync it.
    pub(super) file: File,
    pub(super) mark: Mark,
    pub(super) tally: Tally,
    /// Whether there were rows in [`Table::Dedupe`] at the start: none are added.
    pub(super) knows_older_ids: bool,
    /// Parts of fan-outs, oldest first, and how many deliveries there are in them.
    pub(super) expansions: VecDeque<Part>,
    pub(super) unwritten: usize,
    /// The fresh deliveries of the last commits, oldest first.
    pub(super) late: VecDeque<Fresh>,
    /// See [`super::SledOptions::linger`].
    pub(super) linger: Duration,
    /// When the last commit began, and how many waited for it.
    pub(super) last: (Instant, usize),
    pub(super) scratch: Vec<u8>,
}

impl Committer {
    /// Writes until the store closes.
    pub(super) fn run(&mut self) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        while shared.inbox.wait(self.expansions.front().is_some_and(|part| self.is_due(part)), self.idle()) {
            if shared.check().is_err() {
                // A reader has met damage: nothing more is acknowledged.
                return Ok(());
            }
            self.rest();
            let group = self.gather()?;
            self.last = (Instant::now(), group.done.len());
            self.commit(group)?;
            self.mark.sync_if_older_than(Duration::from_secs(1))?;
        }
        self.mark.sync()
    }

    /// Leaves others the time to share the next commit, if some shared the last one.
    fn rest(&self) {
        let (began, shared_by) = self.last;
        let gap = GAP.saturating_mul(u32::try_from(shared_by).unwrap_or(u32::MAX).saturating_sub(1)).min(LONGEST_GAP);
        if let Some(rest) = gap.checked_sub(began.elapsed()) {
            std::thread::sleep(rest);
        }
    }

    /// How long it may rest if nobody asks for anything.
    fn idle(&self) -> Duration {
        let rest = |at: Instant, linger: Duration| linger.saturating_sub(at.elapsed());
        let late = self.late.front().map_or(IDLE, |fresh| rest(fresh.at, self.linger));
        let part = self.expansions.front().map_or(IDLE, |part| rest(part.at, self.linger * PART_LINGERS));
        late.min(part).min(IDLE)
    }

    /// Its deliveries are durable as it is. They get rows when they are settled; the rest when there is much of it, or
    /// when it has waited for long.
    fn is_due(&self, part: &Part) -> bool {
        part.at.elapsed() >= self.linger * PART_LINGERS || self.unwritten > CROWDED
    }

    fn gather(&mut self) -> Result<Group, Fault> {
        let mut group = Group::default();
        // First, so that the end of one of its deliveries that is in this commit too comes after it and wins.
        self.expand(&mut group)?;
        self.write_late(&mut group)?;
        let shared = Arc::clone(&self.shared);
        while let Some((waiting, bytes)) = shared.inbox.pop(|ops, bytes| {
            (group.done.is_empty() && group.ops.is_empty())
                || (group.ops.len() + ops <= MOST_OPS && group.bytes + bytes <= MOST_BYTES)
        }) {
            group.rooms.extend(waiting.room);
            group.bytes += bytes;
            let alone = matches!(waiting.job, Job::Configure { .. });
            self.add(&mut group, waiting.job)?;
            if alone {
                break;
            }
        }
        Ok(group)
    }

    fn add(&mut self, group: &mut Group, job: Job) -> Result<(), Fault> {
        match job {
            Job::Accept { items, guard, reply } => {
                let (mut receipts, mut parts) = (Vec::with_capacity(items.len()), Vec::new());
                for item in items {
                    receipts.push(self.accept(group, &mut parts, item)?);
                }
                group.done.push(Done::Receipts(reply, receipts, guard, parts));
            }
            Job::Ahead { ops, reply } => {
                group.ops.extend(ops);
                group.done.push(Done::Unit(reply));
            }
            Job::TakeBack { ops } => group.ops.extend(ops),
            Job::Expand { parts } => self.will_expand(parts),
            Job::Settle(ends) => self.settle(group, ends)?,
            Job::Begin { deliveries, reply } => {
                for (tenant, id) in deliveries {
                    self.begin(group, tenant, id)?;
                }
                group.done.push(Done::Unit(reply));
            }
            Job::Requeue { tenant, id, now, reply } => {
                let answer = self.requeue(group, tenant, id, now)?;
                group.done.push(Done::Delivery(reply, answer));
            }
            Job::Cancel { tenant, id, now, reply } => {
                let answer = self.cancel(group, tenant, id, now)?;
                group.done.push(Done::Delivery(reply, answer));
            }
            Job::Configure { puts, deletes, with, reply } => {
                for name in &deletes {
                    config::delete(&self.tables, &mut group.ops, name)?;
                    if let RecordKey::Tenant(tenant) = name {
                        group.ops.push(Op::put(Table::Gone, &tenant.to_bytes(), &[codec::FORMAT, 0]));
                        group.gone.push(*tenant);
                    }
                }
                for record in &puts {
                    config::put(&self.tables, &mut group.ops, record)?;
                }
                group.ops.extend(with);
                group.done.push(Done::Unit(reply));
            }
            Job::Replay { step, reply } => {
                let replayed = self.replay(group, *step)?;
                group.done.push(Done::Replayed(reply, replayed));
            }
            Job::Prune { plans, reply } => {
                let mut events = 0;
                for plan in plans {
                    let mut applies = true;
                    for (table, key, seen) in &plan.seen {
                        applies &= group.stored(&self.tables, *table, key)?.as_ref() == Some(seen);
                    }
                    if let Some((event, added)) = plan.added {
                        applies &= group.added(&self.tables, &event)? == Some(added);
                    }
                    if applies {
                        group.ops.extend(plan.ops);
                        events += plan.events;
                    }
                }
                group.done.push(Done::Pruned(reply, events));
            }
        }
        Ok(())
    }

    fn accept(&mut self, group: &mut Group, parts: &mut Vec<Part>, item: Incoming) -> Result<Receipt, Fault> {
        if let Some((id, known)) = item.known {
            let first = match group.known.get(&id) {
                Some(first) => Some(*first),
                None => self.known(&id)?,
            };
            if let Some(first) = first.filter(|first| first.until_ms > item.received_ms) {
                self.shared.hands.release(&item.held);
                group.ops.extend(item.ahead);
                let event_id = first.event_id;
                return Ok(if first.content == known.content {
                    Receipt::Duplicate { event_id, deliveries: first.deliveries as usize }
                } else {
                    Receipt::Conflict { event_id }
                });
            }
            codec::put_known(&mut self.scratch, &known)?;
            group.ops.push(Op::put(Table::Ids, &id.key(), &self.scratch[..]));
            group.known.insert(id, known);
        }
        group.events.push((keys::pair(item.tenant_id, item.event_id.to_bytes()), item.received_ms));
        group.ops.extend(item.ops);
        group.fresh.extend(item.fresh);
        parts.extend(item.parts);
        Ok(Receipt::Stored)
    }

    /// What is stored of a client's id.
    fn known(&self, id: &ClientId) -> Result<Option<Known>, Fault> {
        let mut stored = self.tables.stored(Table::Ids, &id.key())?;
        if stored.is_none() && self.knows_older_ids {
            stored = self.tables.stored(Table::Dedupe, &id.key_before_version_7())?;
        }
        stored.map(|value| codec::known(&value)).transpose()
    }

    fn settle(&mut self, group: &mut Group, ends: Ends) -> Result<(), Fault> {
        group.ops.extend(ends.ops);
        group.ends.extend(ends.known);
        for (key, value) in ends.frozen {
            self.replace_frozen(group, &key, value.as_deref())?;
        }
        for mut settled in ends.raw {
            let (tenant, id, lane) = (settled.delivery.tenant_id, settled.delivery.id, settled.delivery.lane);
            if let Some(mut record) = self.record(group, tenant, id)? {
                let old = Old::of(&record);
                ends::move_out(&mut record, &mut group.ops)?;
                if transitions::ended_by_hand(&settled.delivery) {
                    let attempts = queries::attempts(&self.tables, &self.shared, tenant, id)?;
                    transitions::stay_delivered(&mut settled.delivery, attempts);
                }
                let mut frozen = Vec::new();
                ends::encode(settled, &old, &mut group.ops, &mut frozen, &mut self.scratch)?;
                for (key, value) in frozen {
                    self.replace_frozen(group, &key, value.as_deref())?;
                }
            }
            group.ends.push((tenant, id, lane));
        }
        Ok(())
    }

    fn replace_frozen(&self, group: &mut Group, key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        if let Some(stored) = group.stored(&self.tables, Table::Frozen, key)? {
            remove_large(&mut group.ops, Table::Frozen, key, &stored);
        }
        if let Some(value) = value {
            put_large(&mut group.ops, Table::Frozen, key, value);
        }
        Ok(())
    }

    /// A delivery as it will be after this commit, also one that waits to be written out.
    fn record(&self, group: &Group, tenant: TenantId, id: DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        if self.shared.is_gone(tenant) {
            return Ok(None);
        }
        let stored = group.stored(&self.tables, Table::Deliveries, &keys::pair(tenant, id.to_bytes()))?;
        match stored {
            Some(value) => codec::delivery(tenant, id, &value).map(Some),
            None => Ok(self.shared.hands.waiting(tenant, id).map(|record| DeliveryRecord::clone(&record))),
        }
    }

    /// The delivery with its frozen output, for an answer.
    fn whole(&self, group: &Group, record: DeliveryRecord) -> Result<Delivery, Fault> {
        let mut delivery = record.delivery;
        let key = keys::pair(delivery.tenant_id, delivery.id.to_bytes());
        // A frozen output that is in this very commit is not put together again for an answer.
        let in_group = group.ops.iter().any(|op| op.table == Table::Frozen && *op.key == key);
        if record.frozen
            && !in_group
            && let Some(value) = self.tables.load(Table::Frozen, &key)?
        {
            delivery.frozen = Some(Box::new(codec::frozen(&value)?));
        }
        Ok(delivery)
    }

    fn put_record(&mut self, group: &mut Group, record: &DeliveryRecord) -> Result<(), Fault> {
        put_record(&mut self.scratch, group, record)
    }

    fn begin(&mut self, group: &mut Group, tenant: TenantId, id: DeliveryId) -> Result<(), Fault> {
        let Some(mut record) = self.record(group, tenant, id)? else { return Ok(()) };
        if record.delivery.status != Status::Pending {
            return Ok(());
        }
        record.delivery.begun = true;
        // With its queue entry: one that waits to be written out will be found written, and be left alone.
        self.put_record(group, &record)?;
        group.written.extend(self.shared.hands.written_early(tenant, id));
        group.ops.push(Op::put(Table::Begun, &keys::pair(tenant, id.to_bytes()), &[codec::FORMAT]));
        // Now and not after the commit: an end that is handed over meanwhile must know of the mark.
        self.shared.hands.begun(id);
        Ok(())
    }

    fn requeue(
        &mut self,
        group: &mut Group,
        tenant: TenantId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, Fault> {
        let Some(mut record) = self.record(group, tenant, id)? else { return Ok(None) };
        if transitions::is_due(&record.delivery, now) || !self.hold(group, id, Hand::of(&record)) {
            return self.whole(group, record).map(Some);
        }
        // Before the new entry, which may have the same key.
        if record.delivery.status == Status::Pending {
            group.ops.push(Op::remove(Table::Queue, &keys::queue(&record.delivery, record.position)));
        }
        if record.delivery.begun {
            group.ops.push(Op::remove(Table::Begun, &keys::pair(tenant, id.to_bytes())));
        }
        transitions::requeue(&mut record.delivery, Trigger::Manual, now);
        self.put_requeued(group, &mut record)?;
        Ok(Some(record.delivery))
    }

    /// Takes a delivery in hand until the commit is done, so that nobody takes it meanwhile; `false` if somebody has
    /// it, or has handed over an end that would be written over what is written now. An end in this commit is before it.
    fn hold(&self, group: &mut Group, id: DeliveryId, hand: Hand) -> bool {
        if group.ends.iter().any(|(_, ended, _)| *ended == id) {
            return true;
        }
        let free = self.shared.hands.hold(id, hand);
        if free {
            group.release.push(id);
        }
        free
    }

    /// Writes a delivery that is due again: what was frozen of it is given up.
    fn put_requeued(&mut self, group: &mut Group, record: &mut DeliveryRecord) -> Result<(), Fault> {
        // With its row and its entry it is no longer one that waits for them, also if it is a part of a fan-out.
        let (tenant, id) = (record.delivery.tenant_id, record.delivery.id);
        let hands = &self.shared.hands;
        group.written.extend(hands.written_early(tenant, id).or_else(|| hands.waiting(tenant, id)));
        ends::move_out(record, &mut group.ops)?;
        if std::mem::take(&mut record.frozen) {
            let key = keys::pair(record.delivery.tenant_id, record.delivery.id.to_bytes());
            self.replace_frozen(group, &key, None)?;
        }
        self.put_record(group, record)
    }

    fn replay(&mut self, group: &mut Group, step: ReplayStep) -> Result<Replayed, Fault> {
        let ReplayStep { mut replay, add, again, now } = step;
        let (tenant, mut made) = (replay.tenant_id, Vec::new());
        if self.shared.is_gone(tenant) {
            return Ok(Replayed { replay, due: made });
        }
        for delivery in add {
            let event = keys::pair(tenant, delivery.event_id.to_bytes());
            if group.stored(&self.tables, Table::Events, &event)?.is_none() {
                continue;
            }
            let record = accept::place(&self.shared, delivery);
            codec::put_added(&mut self.scratch, &record.delivery);
            group.ops.push(Op::put(Table::Added, &keys::added(&record.delivery), &self.scratch[..]));
            self.put_record(group, &record)?;
            made.push((record.delivery.lane, due(&record.delivery)));
        }
        for id in again {
            let Some(mut record) = self.record(group, tenant, id)? else { continue };
            let hand = Hand::of(&record);
            if transitions::replay(&mut record.delivery, replay.spec.fresh_ids, now) && self.hold(group, id, hand) {
                self.put_requeued(group, &mut record)?;
                made.push((record.delivery.lane, due(&record.delivery)));
            }
        }
        replay.deliveries_made += made.len() as u64;
        config::put(&self.tables, &mut group.ops, &Record::Replay(replay.clone()))?;
        Ok(Replayed { replay, due: made })
    }

    fn cancel(
        &mut self,
        group: &mut Group,
        tenant: TenantId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, Fault> {
        let Some(mut record) = self.record(group, tenant, id)? else { return Ok(None) };
        if !transitions::is_open(&record.delivery) || !self.hold(group, id, Hand::of(&record)) {
            return self.whole(group, record).map(Some);
        }
        group.ops.push(Op::remove(Table::Queue, &keys::queue(&record.delivery, record.position)));
        if record.delivery.begun {
            group.ops.push(Op::remove(Table::Begun, &keys::pair(tenant, id.to_bytes())));
        }
        let subscription = RecordKey::Subscription(tenant, record.delivery.subscription_id);
        let subscription = group.stored(&self.tables, Table::Config, &config::key_of(&subscription))?;
        transitions::cancel(&mut record.delivery, subscription.is_some(), now);
        self.put_record(group, &record)?;
        group.written.extend(self.shared.hands.written_early(tenant, id));
        self.whole(group, record).map(Some)
    }

    /// Keeps parts of fan-outs whose deliveries are found already.
    pub(super) fn will_expand(&mut self, parts: Vec<Part>) {
        self.unwritten += parts.iter().map(|part| part.records.len()).sum::<usize>();
        self.expansions.extend(parts);
    }

    /// Writes out one part of a fan-out, if its time has come: most of it has been settled by then.
    fn expand(&mut self, group: &mut Group) -> Result<(), Fault> {
        if !self.expansions.front().is_some_and(|part| self.is_due(part)) {
            return Ok(());
        }
        let Some(part) = self.expansions.pop_front() else { return Ok(()) };
        self.unwritten -= part.records.len();
        if let Some(stored) = self.tables.stored(Table::Expansions, &part.key)? {
            remove_large(&mut group.ops, Table::Expansions, &part.key, &stored);
        }
        let records: &[_] = if self.shared.is_gone(part.tenant_id) { &[] } else { &part.records };
        for record in records {
            let key = keys::pair(part.tenant_id, record.delivery.id.to_bytes());
            // One that was in hand may have been settled before it was written out.
            if self.tables.stored(Table::Deliveries, &key)?.is_none() {
                self.put_record(group, record)?;
            }
        }
        group.written.extend(part.records);
        Ok(())
    }

    /// Writes out fresh deliveries that were not settled meanwhile, and notes up to which commit none is left.
    fn write_late(&mut self, group: &mut Group) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let waiting: usize = self.late.iter().map(|fresh| fresh.deliveries.len()).sum();
        let mut room = PART_LATE.max(waiting / LATE_COMMITS);
        while let Some(fresh) = self.late.front_mut() {
            let behind = self.tally.seq.saturating_sub(fresh.seq);
            if fresh.at.elapsed() < self.linger && behind < super::open::RECENT / 4 {
                return Ok(());
            }
            // Beyond that many commits nobody would find them at the next start.
            let pressing = behind >= super::open::RECENT / 2;
            if behind >= super::open::RECENT - 1 {
                return Err(Fault::corrupt("the order of commits"));
            }
            let seq = fresh.seq;
            while let Some((tenant, id)) = fresh.deliveries.front().copied() {
                if room == 0 && !pressing {
                    return Ok(());
                }
                match shared.hands.write_late(tenant, id) {
                    // What comes with its end is in this commit or a later one; until then this one's is remembered.
                    Late::Settling => return Ok(()),
                    Late::Write(record) => {
                        room = room.saturating_sub(1);
                        if !shared.is_gone(tenant) {
                            put_record(&mut self.scratch, group, &record)?;
                        }
                        group.written.push(record);
                    }
                    Late::Done => {}
                }
                fresh.deliveries.pop_front();
            }
            self.tally.written = seq;
            self.late.pop_front();
        }
        Ok(())
    }

    /// Makes a group durable, then answers.
    fn commit(&mut self, mut group: Group) -> Result<(), Fault> {
        if !group.ops.is_empty() {
            self.remember(&mut group);
            self.write(&mut group.ops)?;
        }
        self.finish(group);
        Ok(())
    }

    /// Makes operations durable in one unit.
    pub(super) fn write(&mut self, ops: &mut Vec<Op>) -> Result<(), Fault> {
        let start = Instant::now();
        self.tally.seq += 1;
        self.tally.position = self.shared.position();
        codec::put_tally(&mut self.scratch, &self.tally)?;
        ops.push(Op::put(Table::Meta, super::open::TALLY, &self.scratch[..]));
        let grown = self.tables.apply(ops)?;
        self.tables.db.flush()?;
        // Before the sync: what another of sled's threads writes during it may not be on the disk afterwards.
        let log = self.tables.db.stable_lsn();
        self.file.sync_data().map_err(Fault::io("the database can't be synced"))?;
        self.mark.write(Marked { seq: self.tally.seq, log })?;
        // On disk one commit late; only an estimate of free space rests on it.
        self.tally.live = self.tally.live.saturating_add_signed(grown);
        self.shared.disk.live(self.tally.live);
        if let Some(on_commit) = &self.shared.on_commit {
            on_commit(start.elapsed(), ops.len());
        }
        Ok(())
    }

    /// Writes down which events are in this commit, for the check at the next start.
    fn remember(&mut self, group: &mut Group) {
        if group.events.is_empty() {
            return;
        }
        let seq = self.tally.seq + 1;
        self.scratch.clear();
        self.scratch.push(codec::FORMAT);
        self.scratch.extend_from_slice(&seq.to_be_bytes());
        let slot = (seq % RECENT).to_be_bytes();
        for (number, events) in (0_u32..).zip(group.events.chunks(REMEMBERED)) {
            self.scratch.truncate(9);
            for (key, received_ms) in events {
                self.scratch.extend_from_slice(key);
                self.scratch.extend_from_slice(&received_ms.to_be_bytes());
            }
            // What a larger commit has left behind tells by its number that it is of another time.
            let number = number.to_be_bytes();
            let key = [&slot[..], if number == [0; 4] { &[] } else { &number[..] }].concat();
            group.ops.push(Op::put(Table::Recent, &key, &self.scratch[..]));
        }
    }

    /// What is true now that a group is durable.
    fn finish(&mut self, group: Group) {
        let hands = &self.shared.hands;
        hands.settled(&group.ends);
        hands.release(&group.release);
        if !group.fresh.is_empty() {
            hands.add_waiting(&group.fresh, true);
            self.late.push_back(Fresh::new(self.tally.seq, &group.fresh));
        }
        hands.remove_waiting(&group.written);
        self.shared.add_gone(&group.gone);
        drop(group.rooms);
        // Whoever no longer listens to an answer has none to miss.
        for done in group.done {
            match done {
                Done::Receipts(reply, receipts, guard, parts) => {
                    if let Err(Ok((_, _, parts))) = reply.send(Ok((receipts, guard, parts))) {
                        parts.iter().for_each(|part| self.shared.hands.add_waiting(&part.records, false));
                        self.will_expand(parts);
                    }
                }
                Done::Unit(reply) => drop(reply.send(Ok(()))),
                Done::Delivery(reply, delivery) => drop(reply.send(Ok(delivery))),
                Done::Replayed(reply, replayed) => drop(reply.send(Ok(replayed))),
                Done::Pruned(reply, applied) => drop(reply.send(Ok(applied))),
            }
        }
    }
}

fn put_record(scratch: &mut Vec<u8>, group: &mut Group, record: &DeliveryRecord) -> Result<(), Fault> {
    let delivery = &record.delivery;
    let key = keys::pair(delivery.tenant_id, delivery.id.to_bytes());
    codec::put_delivery(scratch, record)?;
    group.ops.push(Op::put(Table::Deliveries, &key, &scratch[..]));
    if delivery.status == Status::Pending {
        let entry = keys::queue(delivery, record.position);
        group.ops.push(Op::put(Table::Queue, &entry, keys::queue_value(delivery)));
    }
    Ok(())
}
