//! `export`: what can be read, as JSON lines, one record a line under the name of its kind.
//!
//! Secrets stay as they are stored: sealed under the master key, or hashed. Times, ids and states are written as in
//! the API; an event's data is the very text that arrived.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::codec::{self, DeliveryRecord};
use super::fault::Fault;
use super::inspect::{Inspection, Reach, Wrongs, pair};
use super::tables::Table;
use super::{check::Key, component, config};
use crate::domain::{Attempt, DeliveryId, Event, EventId, EventType, PluginId, SourceId, TenantId};
use crate::store::Record;

/// The tables that are written, in this order.
const ORDER: [Table; 7] = [
    Table::Config,
    Table::Components,
    Table::Revisions,
    Table::Events,
    Table::Expansions,
    Table::Deliveries,
    Table::Attempts,
];

/// What was written, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// How far the database reaches.
    #[serde(flatten)]
    pub reach: Reach,
    /// Lines, by kind.
    pub lines: BTreeMap<&'static str, u64>,
    /// What could not be read.
    pub unread: Wrongs,
}

/// An event; its data stands in it as it is stored.
#[derive(Serialize)]
struct EventLine<'a> {
    id: EventId,
    tenant_id: TenantId,
    external_id: Option<&'a str>,
    event_type: &'a EventType,
    source_id: Option<SourceId>,
    source: Option<&'a str>,
    timestamp: Timestamp,
    received_at: Timestamp,
    attributes: &'a [(Box<str>, Box<str>)],
    data: &'a RawValue,
}

/// The bytes of a plugin.
#[derive(Serialize)]
struct ComponentLine {
    tenant_id: TenantId,
    plugin_id: PluginId,
    base64: String,
}

/// Writes lines, and stops at the first error.
struct Lines<'a> {
    out: &'a mut dyn Write,
    counts: BTreeMap<&'static str, u64>,
    failed: Option<io::Error>,
}

impl Lines<'_> {
    fn add(&mut self, kind: &'static str, record: &impl Serialize) -> Result<(), Fault> {
        if self.failed.is_none() {
            let line = serde_json::to_string(record).map_err(|error| Fault::encode(&error))?;
            match writeln!(self.out, "{{\"{kind}\":{line}}}") {
                Ok(()) => *self.counts.entry(kind).or_default() += 1,
                Err(error) => self.failed = Some(error),
            }
        }
        Ok(())
    }
}

impl Inspection {
    /// Writes everything that can be read. `seen` is told now and then how many records have been read.
    ///
    /// # Errors
    /// If `out` can't be written to.
    pub fn export(&self, out: &mut dyn Write, mut seen: impl FnMut(u64)) -> io::Result<Exported> {
        let mut lines = Lines { out, counts: BTreeMap::new(), failed: None };
        let (mut unread, mut total) = (self.wrongs.clone(), 0);
        unread.join(self.unknown.clone());
        for table in ORDER {
            let mut wrong = Wrongs::default();
            self.walk(table, &mut unread, |key, stored| {
                total += 1;
                if total % 1_000 == 0 {
                    seen(total);
                }
                if let Err(fault) = self.lines(table, key, stored, &mut lines) {
                    wrong.add(&format!("a record of the table {} can't be read: {fault}", table.name()), Key(key));
                }
            });
            unread.join(wrong);
        }
        let Lines { counts, failed, .. } = lines;
        failed.map_or(Ok(()), Err)?;
        out.flush()?;
        Ok(Exported { reach: self.reach, lines: counts, unread })
    }

    fn lines(&self, table: Table, key: &[u8], stored: ::sled::IVec, lines: &mut Lines<'_>) -> Result<(), Fault> {
        let value = self.whole(table, key, stored.clone())?;
        if table == Table::Config {
            return match config::record(key, &value)? {
                Record::Tenant(tenant) => lines.add("tenant", &tenant),
                Record::Key(key) => lines.add("key", &key),
                Record::Source(source) => lines.add("source", &source),
                // With its earlier revisions, which are in a table of their own.
                Record::Subscription(_) => Ok(()),
                Record::Inbox(inbox) => lines.add("inbox", &inbox),
                Record::Replay(replay) => lines.add("replay", &replay),
                Record::EventType(entry) => lines.add("event_type", &entry),
                Record::Seen(seen) => lines.add("seen", &seen),
                Record::Refusals(of) => lines.add("refusals", &of),
                Record::Plugin(plugin) => lines.add("plugin", &plugin),
                Record::Setting(name, value) => lines.add("setting", &json!({"name": name, "value": text(&value)})),
            };
        }
        let (tenant, id) = pair(key)?;
        if self.gone.contains(&tenant) {
            return Ok(());
        }
        match table {
            Table::Components if component::is_unfinished(&stored) => Ok(()),
            Table::Components => {
                let bytes = value.get(1..).unwrap_or_default();
                let line = ComponentLine {
                    tenant_id: tenant,
                    plugin_id: PluginId::from_bytes(id),
                    base64: BASE64.encode(bytes),
                };
                lines.add("component", &line)
            }
            Table::Revisions => lines.add("subscription", &config::revised(&value)?),
            Table::Events => {
                let id = EventId::from_bytes(id);
                event(&codec::event(tenant, id, &value)?.event, lines)?;
                if self.fresh.contains(&id) {
                    self.unwritten(&codec::fresh_deliveries(tenant, &value)?, lines)?;
                }
                Ok(())
            }
            Table::Expansions => self.unwritten(&self.part(key, stored)?, lines),
            Table::Deliveries => {
                let record = codec::delivery(tenant, DeliveryId::from_bytes(id), &value)?;
                let frozen = if record.frozen { self.load(Table::Frozen, key)? } else { None };
                delivery(&record, frozen.map(|value| codec::frozen(&value)).transpose()?, lines)?;
                match &record.attempt {
                    Some(value) => attempt(tenant, record.delivery.id, &codec::attempt(value)?, lines),
                    None => Ok(()),
                }
            }
            _ => attempt(tenant, DeliveryId::from_bytes(id), &codec::attempt(&value)?, lines),
        }
    }

    /// Deliveries that stand elsewhere until they get rows of their own, if they have not.
    fn unwritten(&self, records: &[std::sync::Arc<DeliveryRecord>], lines: &mut Lines<'_>) -> Result<(), Fault> {
        for record in records {
            if !matches!(self.delivery(record.delivery.tenant_id, record.delivery.id), Ok(Some(_))) {
                delivery(record, None, lines)?;
            }
        }
        Ok(())
    }
}

fn event(event: &Event, lines: &mut Lines<'_>) -> Result<(), Fault> {
    let line = EventLine {
        id: event.id,
        tenant_id: event.tenant_id,
        external_id: event.external_id.as_deref(),
        event_type: &event.event_type,
        source_id: event.source_id,
        source: event.source.as_deref(),
        timestamp: event.timestamp,
        received_at: event.received_at,
        attributes: &event.attributes,
        data: serde_json::from_str(&event.data).map_err(|_| Fault::corrupt("an event's data"))?,
    };
    lines.add("event", &line)
}

fn delivery(
    record: &DeliveryRecord,
    frozen: Option<crate::domain::Frozen>,
    lines: &mut Lines<'_>,
) -> Result<(), Fault> {
    let mut line = serde_json::to_value(&record.delivery).map_err(|error| Fault::encode(&error))?;
    if let Some(frozen) = frozen {
        line["frozen"] = serde_json::to_value(&frozen).map_err(|error| Fault::encode(&error))?;
        line["frozen"]["body"] = text(&frozen.body);
    }
    lines.add("delivery", &line)
}

fn attempt(tenant: TenantId, delivery: DeliveryId, attempt: &Attempt, lines: &mut Lines<'_>) -> Result<(), Fault> {
    let mut line = serde_json::to_value(attempt).map_err(|error| Fault::encode(&error))?;
    line["tenant_id"] = json!(tenant);
    line["delivery_id"] = json!(delivery);
    if let Some(body) = attempt.request.as_ref().and_then(|request| request.body.as_ref()) {
        line["request"]["body"] = text(body);
    }
    if let Some(response) = &attempt.response {
        line["response"]["body"] = text(&response.body);
    }
    lines.add("attempt", &line)
}

/// Bytes as text, or as base64 where they are none.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": BASE64.encode(bytes)}),
    }
}
