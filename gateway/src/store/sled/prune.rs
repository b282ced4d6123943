//! Retention: what is planned by a reader, in small steps, and checked again by the committer.
//!
//! An event goes once all of its deliveries have ended, oldest first in each tenant and never past one that has
//! an open delivery. What is planned carries what was seen: if anything of it has changed by the time it is to be
//! written (a person asked for a delivery again), that event is left for the next time.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::codec;
use super::fault::Fault;
use super::hand::Guard;
use super::keys::{self, Pair};
use super::queries;
use super::shared::Shared;
use super::tables::{Op, Table, Tables, remove_large, remove_some};
use crate::domain::{DeliveryId, EventId, TenantId};
use crate::store::{Due, transitions};

/// Operations of one step; what needs more goes on in the next.
const STEP: usize = 1_000;
/// Remembered client ids that are looked at in one call.
const KNOWN_STEP: usize = 1_000;

/// What is to be removed together, if what was seen is still so.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) seen: Vec<(Table, Vec<u8>, ::sled::IVec)>,
    pub(super) ops: Vec<Op>,
    /// Events that go with it.
    pub(super) events: usize,
    /// An event, and how many deliveries replays had added to it.
    pub(super) added: Option<(Pair, usize)>,
}

/// Where the next call goes on.
#[derive(Default)]
pub(super) struct Cursor {
    tenant: Vec<u8>,
    /// In each of [`KNOWN`].
    known: [Vec<u8>; 2],
}

/// What a call found.
pub(super) struct Planned {
    pub(super) plans: Vec<Plan>,
    pub(super) expired: Vec<Due>,
    pub(super) guard: Guard,
    pub(super) more: bool,
}

/// The time up to which events have been removed, in [`Table::Meta`].
pub(super) const PRUNED: &[u8] = b"pruned";

/// Up to when events may be missing, in milliseconds since 1970.
pub(super) fn pruned_until(tables: &Tables) -> Result<i64, Fault> {
    let value = tables.stored(Table::Meta, PRUNED)?;
    let ms = value.and_then(|value| keys::bytes_at(&value, 1));
    Ok(ms.map_or(i64::MIN, i64::from_be_bytes))
}

struct Step<'a> {
    tables: &'a Tables,
    shared: &'a Shared,
    before: Timestamp,
    limit: usize,
    planned: Planned,
    events: usize,
    ops: usize,
    /// Whether anything of an event goes.
    forgets: bool,
}

/// Plans a call.
pub(super) fn plan(
    tables: &Tables,
    shared: &Shared,
    cursor: &Mutex<Cursor>,
    before: Timestamp,
    now: Timestamp,
    limit: usize,
) -> Result<Planned, Fault> {
    let mut cursor = cursor.lock();
    let planned = Planned { plans: Vec::new(), expired: Vec::new(), guard: Guard::new(&shared.hands), more: false };
    let mut step = Step { tables, shared, before, limit: limit.max(1), planned, events: 0, ops: 0, forgets: false };
    step.gone()?;
    step.tenants(&mut cursor.tenant)?;
    for (table, cursor) in KNOWN.into_iter().zip(&mut cursor.known) {
        step.known(table, cursor, now)?;
    }
    if step.forgets {
        let until = before.as_millisecond().max(pruned_until(tables)?);
        let mut value = [codec::FORMAT; 9];
        value[1..].copy_from_slice(&until.to_be_bytes());
        // With the first plan, or before it: never after an event that it explains has gone, or a part of one.
        let horizon = Plan { ops: vec![Op::put(Table::Meta, PRUNED, &value[..])], ..Plan::default() };
        step.planned.plans.insert(0, horizon);
    }
    Ok(step.planned)
}

impl Step<'_> {
    fn is_full(&self) -> bool {
        self.events >= self.limit || self.ops >= STEP || self.planned.expired.len() >= self.limit
    }

    fn push(&mut self, plan: Plan) {
        self.ops += plan.ops.len();
        self.events += plan.events;
        self.planned.plans.push(plan);
    }

    /// Goes through the tenants, beginning where the last call stopped.
    fn tenants(&mut self, cursor: &mut Vec<u8>) -> Result<(), Fault> {
        let start = std::mem::take(cursor);
        for (from, to) in [(start.clone(), None), (Vec::new(), Some(start))] {
            let mut from = from;
            while to.as_ref().is_none_or(|to| from < *to) {
                let Some(pair) = self.tables.tree(Table::Events).range(from.clone()..).next() else { break };
                let (key, _) = pair?;
                let tenant = keys::bytes_at(&key, 0).map(TenantId::from_bytes).ok_or(Fault::corrupt("a key"))?;
                if to.as_ref().is_some_and(|to| tenant.to_bytes()[..] >= to[..]) {
                    break;
                }
                if self.is_full() {
                    self.planned.more = true;
                    *cursor = tenant.to_bytes().to_vec();
                    return Ok(());
                }
                self.tenant(tenant)?;
                match keys::after(&tenant.to_bytes()) {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// A tenant's events, oldest first, until one is young or open.
    fn tenant(&mut self, tenant: TenantId) -> Result<(), Fault> {
        if self.shared.is_gone(tenant) {
            return Ok(());
        }
        for pair in self.tables.tree(Table::Events).scan_prefix(tenant.to_bytes()) {
            let (key, stored) = pair?;
            let id = keys::bytes_at(&key, 16).map(EventId::from_bytes).ok_or(Fault::corrupt("a key"))?;
            let Some(value) = self.tables.whole(Table::Events, &key, stored.clone())? else { continue };
            let record = codec::event(tenant, id, &value)?;
            if record.event.received_at >= self.before {
                return Ok(());
            }
            if self.is_full() {
                self.planned.more = true;
                return Ok(());
            }
            let event = Arc::new(record.event.clone());
            let owed = queries::owed(self.tables, tenant, id, record)?;
            let added = queries::added(self.tables, tenant, id)?;
            if self.expanding(tenant, id)? {
                self.planned.more = true;
                return Ok(());
            }
            let key = keys::pair(tenant, id.to_bytes());
            let Some(mut plan) =
                self.deliveries(tenant, &event, owed.iter().map(|(id, _)| *id).chain(added.clone()))?
            else {
                return Ok(());
            };
            if plan.events > 0 {
                remove_large(&mut plan.ops, Table::Events, &key, &stored);
                if let Some(stored) = self.tables.stored(Table::Owed, &key)? {
                    remove_large(&mut plan.ops, Table::Owed, &key, &stored);
                }
                let row = |delivery: &DeliveryId| Op::remove(Table::Added, &[&key[..], &delivery.to_bytes()].concat());
                plan.ops.extend(added.iter().map(row));
                plan.added = Some((key, added.len()));
            } else {
                self.planned.more = true;
            }
            self.forgets = true;
            self.push(plan);
        }
        Ok(())
    }

    /// Whether part of an event's fan-out waits to be written out.
    fn expanding(&self, tenant: TenantId, id: EventId) -> Result<bool, Fault> {
        let prefix = keys::pair(tenant, id.to_bytes());
        Ok(self.tables.tree(Table::Expansions).scan_prefix(prefix).next().transpose()?.is_some())
    }

    /// Removes the deliveries of an event; with `events: 0` where there are more than one step can do. `None`: one
    /// is open, and handed out unless it is in hand already.
    fn deliveries(
        &mut self,
        tenant: TenantId,
        event: &Arc<crate::domain::Event>,
        ids: impl Iterator<Item = DeliveryId>,
    ) -> Result<Option<Plan>, Fault> {
        let mut plan = Plan { events: 1, ..Plan::default() };
        let mut open = false;
        for id in ids {
            let key = keys::pair(tenant, id.to_bytes());
            // Before the row is looked for: one that is written out meanwhile is then found.
            let waits = self.shared.hands.waiting(tenant, id).is_some();
            let Some(stored) = self.tables.stored(Table::Deliveries, &key)? else {
                if waits {
                    open = true;
                    self.expire(tenant, id, event)?;
                }
                continue;
            };
            let record = codec::delivery(tenant, id, &stored)?;
            if transitions::is_open(&record.delivery) {
                open = true;
                self.expire(tenant, id, event)?;
                if self.planned.expired.len() >= self.limit {
                    self.planned.more = true;
                    return Ok(None);
                }
                continue;
            }
            if open {
                continue;
            }
            if plan.ops.len() >= STEP {
                plan.events = 0;
                break;
            }
            self.delivery(&mut plan, key, record.frozen)?;
            plan.seen.push((Table::Deliveries, key.to_vec(), stored));
        }
        Ok((!open).then_some(plan))
    }

    fn delivery(&self, plan: &mut Plan, key: Pair, frozen: bool) -> Result<(), Fault> {
        plan.ops.push(Op::remove(Table::Deliveries, &key));
        for pair in self.tables.tree(Table::Attempts).scan_prefix(key) {
            let (attempt, stored) = pair?;
            remove_large(&mut plan.ops, Table::Attempts, &attempt, &stored);
        }
        if frozen && let Some(stored) = self.tables.stored(Table::Frozen, &key)? {
            remove_large(&mut plan.ops, Table::Frozen, &key, &stored);
        }
        Ok(())
    }

    /// Hands out an open delivery for the caller to settle.
    fn expire(&mut self, tenant: TenantId, id: DeliveryId, event: &Arc<crate::domain::Event>) -> Result<(), Fault> {
        let Some((_, hand)) = queries::record(self.tables, self.shared, tenant, id)? else { return Ok(()) };
        if !self.planned.guard.hold(id, hand) {
            return Ok(());
        }
        // Again, now that nobody else can change it.
        match queries::record(self.tables, self.shared, tenant, id)? {
            Some((delivery, hand)) if transitions::is_open(&delivery) => {
                self.shared.hands.learn(id, hand);
                self.planned.expired.push(Due { delivery, event: Arc::clone(event) });
            }
            _ => self.planned.guard.let_go(),
        }
        Ok(())
    }

    /// Forgets client ids whose time is over, a stretch of them in each call.
    fn known(&mut self, table: Table, cursor: &mut Vec<u8>, now: Timestamp) -> Result<(), Fault> {
        let from = std::mem::take(cursor);
        let end = now.as_millisecond();
        for (looked, pair) in self.tables.tree(table).range(from..).enumerate() {
            let (key, stored) = pair?;
            if looked >= KNOWN_STEP {
                *cursor = key.to_vec();
                break;
            }
            if codec::known(&stored)?.until_ms <= end {
                let ops = vec![Op::remove(table, &key)];
                let seen = vec![(table, key.to_vec(), stored)];
                self.planned.plans.push(Plan { seen, ops, ..Plan::default() });
            }
        }
        Ok(())
    }

    /// Removes what is left of deleted tenants.
    fn gone(&mut self) -> Result<(), Fault> {
        for pair in self.tables.tree(Table::Gone).iter() {
            let (key, done) = pair?;
            let tenant = keys::bytes_at(&key, 0).map(TenantId::from_bytes).ok_or(Fault::corrupt("a key"))?;
            if done.last() != Some(&0) {
                continue;
            }
            let mut plan = Plan::default();
            for table in TENANTS {
                self.empty(&mut plan, table, tenant)?;
            }
            self.components(&mut plan, tenant)?;
            if plan.ops.is_empty() {
                // The mark stays: it explains why events of the last commits are missing.
                plan.ops.push(Op::put(Table::Gone, &key, &[codec::FORMAT, 1]));
            } else {
                self.planned.more = true;
            }
            self.push(plan);
            if self.ops >= STEP {
                break;
            }
        }
        Ok(())
    }

    /// Components are larger than a step: their pieces go first, as many as fit.
    fn components(&self, plan: &mut Plan, tenant: TenantId) -> Result<(), Fault> {
        for pair in self.tables.tree(Table::Components).scan_prefix(tenant.to_bytes()) {
            let room = STEP.saturating_sub(plan.ops.len());
            if room == 0 || !remove_some(self.tables, &mut plan.ops, Table::Components, &pair?.0, room)? {
                break;
            }
        }
        Ok(())
    }

    fn empty(&self, plan: &mut Plan, table: Table, tenant: TenantId) -> Result<(), Fault> {
        for pair in self.tables.tree(table).scan_prefix(tenant.to_bytes()) {
            if plan.ops.len() >= STEP {
                break;
            }
            let (key, stored) = pair?;
            if table == Table::Deliveries
                && let Some(id) = keys::bytes_at(&key, 16)
            {
                let record = codec::delivery(tenant, DeliveryId::from_bytes(id), &stored)?;
                plan.ops.push(Op::remove(Table::Queue, &keys::queue(&record.delivery, record.position)));
            }
            remove_large(&mut plan.ops, table, &key, &stored);
        }
        Ok(())
    }
}

/// Where clients' ids are.
const KNOWN: [Table; 2] = [Table::Dedupe, Table::Ids];

/// Tables whose keys begin with a tenant, in the order in which a tenant is removed. Parts of fan-outs are not
/// among them: the committer drops those when their turn comes.
const TENANTS: [Table; 10] = [
    Table::Deliveries,
    Table::Begun,
    Table::Attempts,
    Table::Frozen,
    Table::Dedupe,
    Table::Ids,
    Table::Revisions,
    Table::Owed,
    Table::Added,
    Table::Events,
];
