//! The configuration: JSON, since its records grow with every version and are read a few times a minute.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::FORMAT;
use super::component;
use super::fault::Fault;
use super::tables::{Op, Table, Tables, put_large, remove_large};
use crate::domain::{ApiKey, Subscription, SubscriptionId, TenantId};
use crate::store::{Record, RecordKey};

/// The first byte of a key says what it names.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Tenant = 1,
    Key = 2,
    Source = 3,
    Subscription = 4,
    Inbox = 5,
    Setting = 6,
    Replay = 8,
    EventType = 9,
    Seen = 10,
    Plugin = 11,
    Refusals = 12,
}

/// The kinds that belong to one tenant by their key.
const OWNED: [Kind; 8] = [
    Kind::Source,
    Kind::Subscription,
    Kind::Inbox,
    Kind::Replay,
    Kind::EventType,
    Kind::Seen,
    Kind::Plugin,
    Kind::Refusals,
];

fn key(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind as u8];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// A record's key.
pub(super) fn key_of(name: &RecordKey) -> Vec<u8> {
    match name {
        RecordKey::Tenant(id) => key(Kind::Tenant, &[&id.to_bytes()]),
        RecordKey::Key(id) => key(Kind::Key, &[&id.to_bytes()]),
        RecordKey::Source(tenant, id) => key(Kind::Source, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::Subscription(tenant, id) => key(Kind::Subscription, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::Inbox(tenant, id) => key(Kind::Inbox, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::Replay(tenant, id) => key(Kind::Replay, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::EventType(tenant, name) => key(Kind::EventType, &[&tenant.to_bytes(), name.as_str().as_bytes()]),
        RecordKey::Seen(tenant) => key(Kind::Seen, &[&tenant.to_bytes()]),
        RecordKey::Plugin(tenant, id) => key(Kind::Plugin, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::Refusals(tenant, id) => key(Kind::Refusals, &[&tenant.to_bytes(), &id.to_bytes()]),
        RecordKey::Setting(name) => key(Kind::Setting, &[name.as_bytes()]),
    }
}

fn revision_key(tenant: TenantId, id: SubscriptionId, revision: u64) -> Vec<u8> {
    [&tenant.to_bytes()[..], &id.to_bytes(), &revision.to_be_bytes()].concat()
}

fn json<T: Serialize>(record: &T) -> Result<Vec<u8>, Fault> {
    let mut out = vec![FORMAT];
    serde_json::to_writer(&mut out, record).map_err(|error| Fault::encode(&error))?;
    Ok(out)
}

fn from_json<T: DeserializeOwned>(value: &[u8]) -> Result<T, Fault> {
    match value.split_first() {
        Some((&FORMAT, json)) => {
            serde_json::from_slice(json).map_err(|_| Fault::corrupt("a record of the configuration"))
        }
        _ => Err(Fault::corrupt("a record of the configuration")),
    }
}

/// Puts a value in place of what is there, pieces and all.
pub(super) fn replace(
    tables: &Tables,
    ops: &mut Vec<Op>,
    table: Table,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), Fault> {
    if let Some(stored) = tables.stored(table, key)? {
        if value.is_some_and(|value| *stored == *value) {
            return Ok(());
        }
        remove_large(ops, table, key, &stored);
    }
    if let Some(value) = value {
        put_large(ops, table, key, value);
    }
    Ok(())
}

/// Adds what puts a record.
pub(super) fn put(tables: &Tables, ops: &mut Vec<Op>, record: &Record) -> Result<(), Fault> {
    let value = match record {
        Record::Tenant(tenant) => json(tenant)?,
        Record::Key(key) => json(key)?,
        Record::Source(source) => json(source)?,
        Record::Inbox(inbox) => json(inbox)?,
        Record::Replay(replay) => json(replay)?,
        Record::EventType(entry) => json(entry)?,
        Record::Seen(seen) => json(seen)?,
        Record::Plugin(plugin) => json(plugin)?,
        Record::Refusals(of) => json(of)?,
        Record::Subscription(s) => {
            let value = json(s)?;
            replace(tables, ops, Table::Revisions, &revision_key(s.tenant_id, s.id, s.revision), Some(&value))?;
            value
        }
        Record::Setting(_, bytes) => [&[FORMAT], &bytes[..]].concat(),
    };
    replace(tables, ops, Table::Config, &key_of(&record.key()), Some(&value))
}

/// Adds what deletes a record; of a tenant, all that is in the configuration of it.
pub(super) fn delete(tables: &Tables, ops: &mut Vec<Op>, name: &RecordKey) -> Result<(), Fault> {
    replace(tables, ops, Table::Config, &key_of(name), None)?;
    if let RecordKey::Plugin(tenant, id) = name {
        ops.push(component::unfinished(*tenant, *id));
    }
    let RecordKey::Tenant(tenant) = name else { return Ok(()) };
    for kind in OWNED {
        for entry in tables.tree(Table::Config).scan_prefix(key(kind, &[&tenant.to_bytes()])) {
            let (key, stored) = entry?;
            remove_large(ops, Table::Config, &key, &stored);
        }
    }
    for entry in tables.tree(Table::Config).scan_prefix([Kind::Key as u8]) {
        let (key, stored) = entry?;
        let Some(value) = tables.whole(Table::Config, &key, stored.clone())? else { continue };
        if from_json::<ApiKey>(&value)?.tenant_id == Some(*tenant) {
            remove_large(ops, Table::Config, &key, &stored);
        }
    }
    Ok(())
}

/// Everything; of subscriptions the newest revision.
pub(super) fn all(tables: &Tables) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    for entry in tables.tree(Table::Config).iter() {
        let (key, stored) = entry?;
        let Some(value) = tables.whole(Table::Config, &key, stored)? else { continue };
        records.push(record(&key, &value)?);
    }
    Ok(records)
}

/// Reads one record.
pub(super) fn record(key: &[u8], value: &[u8]) -> Result<Record, Fault> {
    Ok(match key.first() {
        Some(&kind) if kind == Kind::Tenant as u8 => Record::Tenant(from_json(value)?),
        Some(&kind) if kind == Kind::Key as u8 => Record::Key(from_json(value)?),
        Some(&kind) if kind == Kind::Source as u8 => Record::Source(from_json(value)?),
        Some(&kind) if kind == Kind::Subscription as u8 => Record::Subscription(from_json(value)?),
        Some(&kind) if kind == Kind::Inbox as u8 => Record::Inbox(from_json(value)?),
        Some(&kind) if kind == Kind::Replay as u8 => Record::Replay(from_json(value)?),
        Some(&kind) if kind == Kind::EventType as u8 => Record::EventType(from_json(value)?),
        Some(&kind) if kind == Kind::Seen as u8 => Record::Seen(from_json(value)?),
        Some(&kind) if kind == Kind::Plugin as u8 => Record::Plugin(from_json(value)?),
        Some(&kind) if kind == Kind::Refusals as u8 => Record::Refusals(from_json(value)?),
        Some(&kind) if kind == Kind::Setting as u8 => {
            let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or(Fault::corrupt("a setting's name"))?;
            Record::Setting(name.to_owned(), value.get(1..).unwrap_or_default().to_vec())
        }
        _ => return Err(Fault::corrupt("a record of the configuration")),
    })
}

/// Reads a revision.
pub(super) fn revised(value: &[u8]) -> Result<Subscription, Fault> {
    from_json(value)
}

/// A subscription as it was.
pub(super) fn revision(
    tables: &Tables,
    tenant: TenantId,
    id: SubscriptionId,
    revision: u64,
) -> Result<Option<Subscription>, Fault> {
    let value = tables.load(Table::Revisions, &revision_key(tenant, id, revision))?;
    value.map(|value| from_json(&value)).transpose()
}
