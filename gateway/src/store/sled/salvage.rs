//! `salvage`: a new store of what can be read of an old one and holds together.
//!
//! What is kept is what can be served: the configuration; events; deliveries whose event is there, with their
//! attempts; clients' ids, except of events that are lost, which may then be sent again. The queue is made anew from
//! the deliveries. A delivery whose state is lost while its event is there is due again, as after a crash: it may
//! arrive twice, under the same id.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ::sled::IVec;
use serde::Serialize;

use super::check::Key;
use super::codec::{self, DeliveryRecord, Tally};
use super::fault::Fault;
use super::inspect::{Inspection, Reach, Wrongs, pair};
use super::mark::{Mark, Marked};
use super::tables::{Op, Table, Tables, put_large};
use super::{component, config, keys, open, prune};
use crate::domain::{DeliveryId, EventId, Status, SubscriptionId, TenantId};
use crate::store::{Error, Record, Result as Answer};

/// Operations and bytes that are written in one unit.
const UNIT: (usize, usize) = (2_000, 4 << 20);

/// What the new store has, and what it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// How far the old database reached.
    #[serde(flatten)]
    pub reach: Reach,
    /// Records that were kept, by table.
    pub kept: BTreeMap<&'static str, u64>,
    /// Deliveries whose state was lost: they are due again.
    pub due_again: u64,
    /// What was left out, and why.
    pub left_out: Wrongs,
}

/// The new store in the making.
struct New {
    tables: Tables,
    ops: Vec<Op>,
    bytes: usize,
    live: i64,
    /// The next place in ordered lanes: behind all that are taken.
    position: u64,
    kept: BTreeMap<&'static str, u64>,
    due_again: u64,
    /// Events of whose deliveries not all are known to be there, and those that are.
    lists: BTreeMap<(TenantId, EventId), Vec<(DeliveryId, SubscriptionId)>>,
    scratch: Vec<u8>,
}

impl New {
    /// Puts what will be a record of its own.
    fn keep(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        *self.kept.entry(table.name()).or_default() += 1;
        let before = self.ops.len();
        put_large(&mut self.ops, table, key, value);
        self.bytes += self.ops.iter().skip(before).map(Op::bytes).sum::<usize>();
        if self.ops.len() >= UNIT.0 || self.bytes >= UNIT.1 { self.write() } else { Ok(()) }
    }

    /// Puts a delivery and what finds it when it is due.
    fn keep_delivery(&mut self, record: &DeliveryRecord) -> Result<(), Fault> {
        let delivery = &record.delivery;
        self.position = self.position.max(record.position + 1);
        let key = keys::pair(delivery.tenant_id, delivery.id.to_bytes());
        let mut value = std::mem::take(&mut self.scratch);
        codec::put_delivery(&mut value, record)?;
        self.keep(Table::Deliveries, &key, &value)?;
        self.scratch = value;
        if let Some(list) = self.lists.get_mut(&(delivery.tenant_id, delivery.event_id)) {
            list.push((delivery.id, delivery.subscription_id));
        }
        if delivery.status == Status::Pending {
            self.keep(Table::Queue, &keys::queue(delivery, record.position), &keys::queue_value(delivery))?;
            if delivery.begun {
                self.keep(Table::Begun, &key, &[codec::FORMAT])?;
            }
        }
        Ok(())
    }

    /// Writes anew to whom events are owed of whose deliveries not all are there. Says how many are not.
    fn mend_lists(&mut self) -> Result<usize, Fault> {
        let mut missing = 0;
        for ((tenant, id), list) in std::mem::take(&mut self.lists) {
            let key = keys::pair(tenant, id.to_bytes());
            let Some(value) = self.tables.load(Table::Events, &key)? else { continue };
            let record = codec::event(tenant, id, &value)?;
            missing += record.owed.saturating_sub(list.len());
            codec::put_event(&mut self.scratch, &record.event, &[], list.len())?;
            config::replace(&self.tables, &mut self.ops, Table::Events, &key, Some(&self.scratch))?;
            codec::put_pairs(&mut self.scratch, &list)?;
            config::replace(&self.tables, &mut self.ops, Table::Owed, &key, Some(&self.scratch))?;
            self.write()?;
        }
        Ok(missing)
    }

    fn write(&mut self) -> Result<(), Fault> {
        self.live += self.tables.apply(&mut self.ops)?;
        self.ops.clear();
        self.bytes = 0;
        Ok(())
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, Fault> {
        Ok(self.tables.stored(table, key)?.is_some())
    }
}

/// The order in which a store is gone through: what is named before what names it.
const ORDER: [Table; 8] = [
    Table::Config,
    Table::Revisions,
    Table::Events,
    Table::Expansions,
    Table::Deliveries,
    Table::Attempts,
    Table::Dedupe,
    Table::Ids,
];

impl Inspection {
    /// Writes a new store into `dir`, an empty folder. `seen` is told now and then how many records have been read.
    ///
    /// # Errors
    /// [`Error::Refused`] with a sentence if the new store can't be written; what is in `dir` is then of no use.
    pub fn salvage(&self, dir: &Path, mut seen: impl FnMut(u64)) -> Answer<Salvaged> {
        let refused = |fault: Fault| Error::Refused(format!("{} can't be written: {fault}", dir.display()));
        let open = || -> Result<Tables, Fault> {
            Tables::open(::sled::Config::new().path(dir).cache_capacity(64 << 20).flush_every_ms(None).open()?)
        };
        let mut new = New {
            tables: open().map_err(refused)?,
            ops: Vec::new(),
            bytes: 0,
            live: 0,
            position: self.tally.position.max(1),
            kept: BTreeMap::new(),
            due_again: 0,
            lists: BTreeMap::new(),
            scratch: Vec::new(),
        };
        let (mut left_out, mut total) = (self.wrongs.clone(), 0);
        for table in ORDER {
            let (mut wrong, mut failed) = (Wrongs::default(), None);
            self.walk(table, &mut left_out, |key, stored| {
                total += 1;
                if total % 1_000 == 0 {
                    seen(total);
                }
                if failed.is_some() {
                    return;
                }
                match self.carry(table, key, stored, &mut new, &mut wrong) {
                    Err(Fault::Corrupt(what)) => {
                        let kind = format!("a record of the table {} can't be read: {what}", table.name());
                        wrong.add(&kind, Key(key));
                    }
                    done => failed = done.err(),
                }
            });
            left_out.join(wrong);
            failed.map_or_else(|| new.write(), Err).map_err(refused)?;
        }
        for _ in 0..new.mend_lists().map_err(refused)? {
            left_out.add("a delivery of an event is missing", "see the events above");
        }
        self.finish(dir, &mut new).map_err(refused)?;
        Ok(Salvaged { reach: self.reach, kept: new.kept, due_again: new.due_again, left_out })
    }

    /// Carries one record over, if it is to be kept.
    fn carry(&self, table: Table, key: &[u8], stored: IVec, new: &mut New, wrong: &mut Wrongs) -> Result<(), Fault> {
        let value = readable(self.whole(table, key, stored.clone()))?;
        if table == Table::Config {
            if let Record::Plugin(plugin) = config::record(key, &value)? {
                let component = keys::pair(plugin.tenant_id, plugin.id.to_bytes());
                let bytes = self.load(Table::Components, &component).ok().flatten();
                let Some(bytes) = bytes.filter(|bytes| component::is_of(bytes, &plugin)) else {
                    wrong.add("the bytes of a plugin are lost: it has to be uploaded again", plugin.id);
                    return Ok(());
                };
                new.keep(Table::Components, &component, &bytes)?;
            }
            return new.keep(table, key, &value);
        }
        let (tenant, id) = pair(key)?;
        if self.gone.contains(&tenant) {
            return Ok(());
        }
        let (event, delivery) = (EventId::from_bytes(id), DeliveryId::from_bytes(id));
        match table {
            Table::Revisions => {
                config::revised(&value)?;
                new.keep(table, key, &value)
            }
            Table::Events => self.carry_event(tenant, event, key, &value, new, wrong),
            Table::Expansions => {
                if !new.has(Table::Events, &keys::pair(tenant, id))? {
                    wrong.add("the event of a part of a fan-out is missing", event);
                    return Ok(());
                }
                self.carry_unwritten(&readable(self.part(key, stored))?, new).map(drop)
            }
            Table::Deliveries => {
                let record = codec::delivery(tenant, delivery, &value)?;
                if new.has(Table::Deliveries, key)? {
                    return Ok(());
                }
                if !new.has(Table::Events, &keys::pair(tenant, record.delivery.event_id.to_bytes()))? {
                    wrong.add("the event of a delivery is missing", delivery);
                    return Ok(());
                }
                if !new.lists.contains_key(&(tenant, record.delivery.event_id)) {
                    // All that its event names are there already: a replay has added this one.
                    let mut value = Vec::new();
                    codec::put_added(&mut value, &record.delivery);
                    new.keep(Table::Added, &keys::added(&record.delivery), &value)?;
                }
                self.carry_delivery(record, key, new, wrong)
            }
            Table::Attempts => {
                codec::attempt(&value)?;
                if !new.has(Table::Deliveries, &keys::pair(tenant, id))? {
                    wrong.add("the delivery of an attempt is missing", delivery);
                    return Ok(());
                }
                new.keep(table, key, &value)
            }
            _ => {
                let known = codec::known(&value)?;
                let event = keys::pair(tenant, known.event_id.to_bytes());
                if new.has(Table::Events, &event)? || self.is_pruned(known.event_id) {
                    return new.keep(table, key, &value);
                }
                wrong.add("the event of a client's id is missing", known.event_id);
                Ok(())
            }
        }
    }

    fn carry_event(
        &self,
        tenant: TenantId,
        id: EventId,
        key: &[u8],
        value: &[u8],
        new: &mut New,
        wrong: &mut Wrongs,
    ) -> Result<(), Fault> {
        let record = codec::event(tenant, id, value)?;
        let inline = codec::fresh_deliveries(tenant, value)?;
        new.keep(Table::Events, key, value)?;
        let received_ms = record.event.received_at.as_millisecond();
        if let Ok(Some(list)) = self.load(Table::Owed, key) {
            new.keep(Table::Owed, key, &list)?;
        }
        // What retention has begun to remove is not to come back.
        if received_ms <= self.pruned {
            return Ok(());
        }
        // Rows are looked for by their names: going through the table may not come past all that is there.
        let mut known: HashSet<DeliveryId> = inline.iter().map(|record| record.delivery.id).collect();
        let listed = self.owed(tenant, id, record);
        new.lists.insert((tenant, id), Vec::new());
        for delivery in listed.iter().flatten() {
            if let Ok(Some(row)) = self.delivery(tenant, *delivery) {
                known.insert(*delivery);
                self.carry_delivery(row, &keys::pair(tenant, delivery.to_bytes()), new, wrong)?;
            }
        }
        let is_known = |delivery: &DeliveryId| known.contains(delivery) || self.parts.contains(delivery);
        if listed.as_ref().is_some_and(|listed| listed.iter().all(is_known)) {
            new.lists.remove(&(tenant, id));
        } else {
            wrong.add("not all deliveries of an event are there", id);
        }
        let carried = self.carry_unwritten(&inline, new)?;
        if !self.fresh.contains(&id) {
            new.due_again += carried;
        }
        Ok(())
    }

    /// Writes rows for deliveries that have none which can be read.
    fn carry_unwritten(&self, records: &[Arc<DeliveryRecord>], new: &mut New) -> Result<u64, Fault> {
        let mut carried = 0;
        for record in records {
            if !matches!(self.delivery(record.delivery.tenant_id, record.delivery.id), Ok(Some(_))) {
                new.keep_delivery(record)?;
                carried += 1;
            }
        }
        Ok(carried)
    }

    fn carry_delivery(
        &self,
        mut record: DeliveryRecord,
        key: &[u8],
        new: &mut New,
        wrong: &mut Wrongs,
    ) -> Result<(), Fault> {
        if record.attempt.as_deref().is_some_and(|attempt| codec::attempt(attempt).is_err()) {
            record.attempt = None;
            wrong.add("the attempt of a delivery can't be read", record.delivery.id);
        }
        if record.frozen {
            match self.load(Table::Frozen, key) {
                Ok(Some(output)) if codec::frozen(&output).is_ok() => new.keep(Table::Frozen, key, &output)?,
                _ => {
                    // It is transformed anew.
                    record.frozen = false;
                    wrong.add("the frozen output of a delivery is missing", record.delivery.id);
                }
            }
        }
        new.keep_delivery(&record)
    }

    /// The last words: only with them is it a store, and one that goes on counting where the old one stopped.
    fn finish(&self, dir: &Path, new: &mut New) -> Result<(), Fault> {
        let seq = self.tally.seq.max(self.reach.acknowledged.unwrap_or(0)) + 1;
        let live = u64::try_from(new.live).unwrap_or(0);
        let tally = Tally { seq, position: new.position, live, written: seq };
        codec::put_tally(&mut new.scratch, &tally)?;
        new.ops.push(Op::put(Table::Meta, open::TALLY, &new.scratch[..]));
        new.ops.push(Op::put(Table::Meta, open::SCHEMA, open::schema()));
        if let Ok(Some(horizon)) = self.load(Table::Meta, prune::PRUNED) {
            new.ops.push(Op::put(Table::Meta, prune::PRUNED, &horizon[..]));
        }
        new.write()?;
        new.tables.db.flush()?;
        let sync = || fs::OpenOptions::new().write(true).open(dir.join("db"))?.sync_all();
        sync().map_err(Fault::io("the database can't be synced"))?;
        let mut mark = Mark::open(dir)?;
        mark.write(Marked { seq, log: new.tables.db.stable_lsn() })?;
        mark.sync()?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(Fault::io("the folder can't be synced"))
    }
}

/// What can't be read of the old store is left out; what can't be written of the new one ends the work.
fn readable<T>(read: Result<T, Fault>) -> Result<T, Fault> {
    read.map_err(|fault| match fault {
        Fault::Corrupt(_) => fault,
        _ => Fault::corrupt("it lies in a damaged part"),
    })
}
