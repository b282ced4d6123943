//! `check`: every record is read, and everything it names is looked up. Of a store that a gateway refuses it says also
//! whether one can be told to go on.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use super::codec;
use super::fault::Fault;
use super::inspect::{Inspection, Reach, Wrongs, caught, pair};
use super::tables::{Table, pieces};
use super::{component, config, keys, open};
use crate::domain::{DeliveryId, EventId, PluginId, Status, TenantId};
use crate::store::Record;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How far the database reaches.
    #[serde(flatten)]
    pub reach: Reach,
    /// How many records each table has that could be read.
    pub records: BTreeMap<&'static str, u64>,
    /// What is wrong; empty if the store is sound.
    pub wrong: Wrongs,
}

impl Inspection {
    /// Reads everything. `seen` is told now and then how many records have been read.
    #[must_use]
    pub fn check(&self, mut seen: impl FnMut(u64)) -> Checked {
        let mut checked = Checked { reach: self.reach, records: BTreeMap::new(), wrong: self.wrongs.clone() };
        let mut total = 0;
        for (table, name) in Table::ALL {
            let (mut count, mut wrong) = (0, Wrongs::default());
            self.walk(table, &mut checked.wrong, |key, stored| {
                count += 1;
                total += 1;
                if total % 1_000 == 0 {
                    seen(total);
                }
                if let Err(fault) = self.record(table, key, stored, &mut wrong) {
                    wrong.add(&format!("a record of the table {name} can't be read: {fault}"), Key(key));
                }
            });
            checked.records.insert(name, count);
            checked.wrong.join(wrong);
        }
        // sled writes what still lives in an old segment anew whenever something is written, also at a start, and fails
        // where it can't: so a page must be readable that no table leads to. This reads them all, up to the first such.
        if checked.wrong.0.is_empty()
            && let Err(fault) = caught(|| Ok(self.tables.db.space_amplification()?))
        {
            checked.wrong.add("a page that no table leads to can't be read", fault);
        }
        if self.is_doubtful {
            let readable = self.reach.commit;
            let advice = match self.rollback() {
                Some(commit) if commit < readable => format!(
                    "a salvage has what can be read up to commit {readable}; a gateway goes on from commit {commit} \
                     with --accept-rollback-to {commit}"
                ),
                Some(commit) => format!("a gateway goes on from commit {commit} with --accept-rollback-to {commit}"),
                None => "no gateway can go on with what is there: make a salvage".to_owned(),
            };
            checked.wrong.add("what was acknowledged may be missing", advice);
        }
        checked
    }

    /// Checks one record.
    fn record(&self, table: Table, key: &[u8], stored: ::sled::IVec, wrong: &mut Wrongs) -> Result<(), Fault> {
        match table {
            Table::Meta => return Ok(()),
            Table::Config => return self.configured(&config::record(key, &self.whole(table, key, stored)?)?, wrong),
            Table::Chunks => {
                self.piece(key, wrong);
                return Ok(());
            }
            Table::Queue => return self.queued(key, &stored, wrong),
            Table::Recent => return self.remembered(&stored, wrong),
            Table::Gone => {
                return keys::bytes_at::<16>(key, 0).map(drop).ok_or(Fault::corrupt("a key"));
            }
            _ => {}
        }
        let (tenant, id) = pair(key)?;
        if self.gone.contains(&tenant) {
            return Ok(());
        }
        let (event, delivery) = (EventId::from_bytes(id), DeliveryId::from_bytes(id));
        match table {
            Table::Events => self.event(tenant, event, &self.whole(table, key, stored)?, wrong)?,
            Table::Owed => {
                codec::owed(&self.whole(table, key, stored)?)?;
                if !self.is_ahead(key) {
                    self.named(Table::Events, key, "a list of deliveries has no event", event, wrong);
                }
            }
            // It may have been written ahead of an event that never came.
            Table::Expansions => self.part(key, stored).map(drop)?,
            Table::Deliveries => self.row(tenant, delivery, &stored, wrong)?,
            Table::Attempts => {
                codec::attempt(&self.whole(table, key, stored)?)?;
                let row = keys::pair(tenant, id);
                self.named(Table::Deliveries, &row, "an attempt has no delivery", delivery, wrong);
            }
            Table::Frozen => {
                codec::frozen(&self.whole(table, key, stored)?)?;
                self.named(Table::Deliveries, key, "a frozen output has no delivery", delivery, wrong);
            }
            Table::Begun => {
                self.named(Table::Deliveries, key, "a mark of a begun attempt has no delivery", delivery, wrong)
            }
            Table::Dedupe | Table::Ids => {
                let known = codec::known(&stored)?;
                if !self.is_pruned(known.event_id) && !self.is_before_all(tenant, known.event_id) {
                    let event = keys::pair(tenant, known.event_id.to_bytes());
                    self.named(Table::Events, &event, "a client's id has no event", known.event_id, wrong);
                }
            }
            Table::Components if component::is_unfinished(&stored) => {}
            Table::Components => self.component(tenant, PluginId::from_bytes(id), key, stored, wrong)?,
            Table::Revisions => config::revised(&self.whole(table, key, stored)?).map(drop)?,
            Table::Added => {
                codec::added(&stored)?;
                let id = keys::bytes_at(key, 32).map(DeliveryId::from_bytes).ok_or(Fault::corrupt("a key"))?;
                let row = keys::pair(tenant, id.to_bytes());
                self.named(Table::Deliveries, &row, "a delivery that a replay has added is missing", id, wrong);
                let of = keys::pair(tenant, event.to_bytes());
                self.named(Table::Events, &of, "an added delivery has no event", event, wrong);
            }
            _ => {}
        }
        Ok(())
    }

    fn configured(&self, record: &Record, wrong: &mut Wrongs) -> Result<(), Fault> {
        if let Record::Plugin(plugin) = record {
            let key = keys::pair(plugin.tenant_id, plugin.id.to_bytes());
            self.named(Table::Components, &key, "the bytes of a plugin are missing", plugin.id, wrong);
        }
        Ok(())
    }

    fn component(
        &self,
        tenant: TenantId,
        id: PluginId,
        key: &[u8],
        stored: ::sled::IVec,
        wrong: &mut Wrongs,
    ) -> Result<(), Fault> {
        let bytes = self.whole(Table::Components, key, stored)?;
        match self.plugin(tenant, id) {
            Some(plugin) if component::is_of(&bytes, &plugin) => {}
            Some(_) => wrong.add("the bytes of a plugin are not those that were uploaded", id),
            None => wrong.add("the bytes of a plugin belong to none", id),
        }
        Ok(())
    }

    /// Whether there is a part of a fan-out whose event, by its key, has not come to be.
    fn is_ahead(&self, event: &[u8]) -> bool {
        let part = || self.tables.tree(Table::Expansions).scan_prefix(event).next().transpose();
        !self.has(Table::Events, event) && caught(|| Ok(part()?)).is_ok_and(|part| part.is_some())
    }

    fn named(&self, table: Table, key: &[u8], otherwise: &str, place: impl Display, wrong: &mut Wrongs) {
        if !self.has(table, key) {
            wrong.add(otherwise, place);
        }
    }

    fn event(&self, tenant: TenantId, id: EventId, value: &[u8], wrong: &mut Wrongs) -> Result<(), Fault> {
        let record = codec::event(tenant, id, value)?;
        codec::fresh_deliveries(tenant, value)?;
        if self.may_be_missing(tenant, record.event.received_at.as_millisecond()) {
            return Ok(());
        }
        let Some(owed) = self.owed(tenant, id, record) else {
            wrong.add("an event has no list of its deliveries", id);
            return Ok(());
        };
        for delivery in owed {
            let waits = self.fresh.contains(&id) || self.parts.contains(&delivery);
            if !waits {
                let key = keys::pair(tenant, delivery.to_bytes());
                self.named(Table::Deliveries, &key, "a delivery of an event is missing", id, wrong);
            }
        }
        Ok(())
    }

    fn row(&self, tenant: TenantId, id: DeliveryId, value: &[u8], wrong: &mut Wrongs) -> Result<(), Fault> {
        let record = codec::delivery(tenant, id, value)?;
        let (delivery, key) = (&record.delivery, keys::pair(tenant, id.to_bytes()));
        let event = keys::pair(tenant, delivery.event_id.to_bytes());
        self.named(Table::Events, &event, "a delivery has no event", id, wrong);
        if delivery.status == Status::Pending {
            let entry = keys::queue(delivery, record.position);
            self.named(Table::Queue, &entry, "a pending delivery is not in the queue", id, wrong);
        }
        if delivery.status == Status::Pending && delivery.begun {
            self.named(Table::Begun, &key, "a delivery that was begun has no mark of it", id, wrong);
        }
        record.attempt.as_deref().map(codec::attempt).transpose()?;
        if record.frozen {
            self.named(Table::Frozen, &key, "the frozen output of a delivery is missing", id, wrong);
        }
        Ok(())
    }

    fn queued(&self, key: &[u8], value: &[u8], wrong: &mut Wrongs) -> Result<(), Fault> {
        let entry = keys::entry(key, value).ok_or(Fault::corrupt("a queue entry"))?;
        if self.gone.contains(&entry.tenant_id) {
            return Ok(());
        }
        // A row that can't be read is counted where rows are.
        let Ok(row) = self.delivery(entry.tenant_id, entry.delivery_id) else { return Ok(()) };
        let is_due = |record: &codec::DeliveryRecord| {
            record.delivery.status == Status::Pending && keys::queue(&record.delivery, record.position) == entry.key
        };
        if !row.as_ref().is_some_and(is_due) {
            wrong.add("a queue entry has no pending delivery", entry.delivery_id);
        }
        Ok(())
    }

    fn remembered(&self, value: &[u8], wrong: &mut Wrongs) -> Result<(), Fault> {
        for event in open::events_in(value) {
            let (tenant, id, received_ms) = event?;
            if !self.may_be_missing(tenant, received_ms) {
                let key = keys::pair(tenant, id.to_bytes());
                self.named(Table::Events, &key, "an event of the last commits is missing", id, wrong);
            }
        }
        Ok(())
    }

    fn piece(&self, key: &[u8], wrong: &mut Wrongs) {
        let parts = key.split_first().zip(key.len().checked_sub(4));
        let head = parts.and_then(|((table, _), end)| {
            let (table, _) = Table::ALL.get(usize::from(*table))?;
            let number = key.get(end..)?.first_chunk().map(|number| u32::from_be_bytes(*number))?;
            Some((*table, key.get(1..end)?, number))
        });
        let belongs = head.is_some_and(|(table, head, number)| {
            let head = caught(|| self.tables.stored(table, head));
            head.ok().flatten().is_some_and(|head| number < pieces(&head))
        });
        let of_event = head.filter(|(table, ..)| matches!(table, Table::Events | Table::Owed | Table::Expansions));
        let is_ahead = of_event.is_some_and(|(_, head, _)| head.get(..32).is_some_and(|event| self.is_ahead(event)));
        let of_plugin = head.filter(|(table, ..)| *table == Table::Components);
        let is_marked = of_plugin.is_some_and(|(table, head, _)| {
            let stored = caught(|| self.tables.stored(table, head));
            stored.ok().flatten().is_some_and(|stored| component::is_unfinished(&stored))
        });
        if !belongs && !is_ahead && !is_marked {
            wrong.add("a piece of a large value belongs to none", Key(key));
        }
    }
}

/// A key, as a place to look at.
pub(super) struct Key<'a>(pub(super) &'a [u8]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
