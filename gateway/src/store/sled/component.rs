//! The bytes of uploaded plugins: many mebibytes that are written and removed in small steps, behind a mark.
//!
//! The mark stands in the place of the bytes until all of them are there, and again from the moment in which their
//! plugin is deleted until none is. So what a killed process leaves of either is known at the next start, which removes
//! it.

use sha2::{Digest as _, Sha256};

use super::codec::FORMAT;
use super::fault::Fault;
use super::keys;
use super::tables::{CHUNK, Cutter, Op, Table, Tables, remove_some};
use crate::domain::{PluginId, PluginVersion, TenantId};

/// The mark: not all of the bytes are there.
const UNFINISHED: [u8; 1] = [FORMAT];
/// Pieces that are removed in one commit.
const STEP: usize = 64;

/// Sets the mark.
pub(super) fn unfinished(tenant: TenantId, plugin: PluginId) -> Op {
    Op::put(Table::Components, &keys::pair(tenant, plugin.to_bytes()), &UNFINISHED)
}

/// Whether this stored form is the mark, and not bytes.
pub(super) fn is_unfinished(stored: &[u8]) -> bool {
    stored == UNFINISHED
}

/// All pieces of a component, in order.
pub(super) fn pieces<'a>(cutter: &'a mut Cutter<'_>, component: &'a [u8]) -> impl Iterator<Item = Op> + 'a {
    // The first has the format byte before it.
    let (first, rest) = component.split_at(component.len().min(CHUNK - 1));
    let first = cutter.piece(&[&[FORMAT], first].concat());
    std::iter::once(first).chain(rest.chunks(CHUNK).map(|piece| cutter.piece(piece)))
}

/// The bytes of a component, if all are there.
pub(super) fn read(tables: &Tables, tenant: TenantId, plugin: PluginId) -> Result<Option<Vec<u8>>, Fault> {
    let key = keys::pair(tenant, plugin.to_bytes());
    let stored = tables.stored(Table::Components, &key)?.filter(|stored| !is_unfinished(stored));
    let value = stored.map(|stored| tables.whole(Table::Components, &key, stored)).transpose()?.flatten();
    Ok(value.and_then(|value| value.get(1..).map(<[u8]>::to_vec)))
}

/// A step of removing what stands behind a mark; empty if there is nothing left.
pub(super) fn step(tables: &Tables, tenant: TenantId, plugin: PluginId) -> Result<Vec<Op>, Fault> {
    let (mut ops, key) = (Vec::new(), keys::pair(tenant, plugin.to_bytes()));
    if tables.stored(Table::Components, &key)?.is_some_and(|stored| is_unfinished(&stored)) {
        remove_some(tables, &mut ops, Table::Components, &key, STEP)?;
    }
    Ok(ops)
}

/// Everything that is marked.
pub(super) fn marked(tables: &Tables) -> Result<Vec<(TenantId, PluginId)>, Fault> {
    let mut marked = Vec::new();
    for pair in tables.tree(Table::Components).iter() {
        let (key, stored) = pair?;
        if is_unfinished(&stored) {
            let ids = keys::bytes_at(&key, 0).zip(keys::bytes_at(&key, 16)).ok_or(Fault::corrupt("a key"))?;
            marked.push((TenantId::from_bytes(ids.0), PluginId::from_bytes(ids.1)));
        }
    }
    Ok(marked)
}

/// Whether these are the bytes that were uploaded as this plugin.
pub(super) fn is_of(value: &[u8], plugin: &PluginVersion) -> bool {
    value.get(1..).is_some_and(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)) == plugin.digest.0)
}
