//! Looking into a directory that is not served: the ground on which `check`, `export` and `salvage` stand.
//!
//! **Who acts.** An operator whose gateway refuses to start, or who wants to be sure. **What is promised.** The
//! directory is locked, so that nobody serves it meanwhile, and not a byte of it is changed: sled writes when it
//! opens, so what is opened is a copy. Damage ends nothing: sled's errors and panics are caught where they occur,
//! and reading goes on behind them. What a gateway would say of the directory is said here too, and whether it can be
//! told to go on without what is lost is tried out, on a copy as well. **What is deliberately not.** Nothing is
//! believed: not that sled opens, not that a record decodes, not that what it names is there.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::fs::{self, DirBuilder, File};
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::sled::{Db, IVec};
use serde::Serialize;

use super::codec::{self, DeliveryRecord, Tally};
use super::fault::Fault;
use super::mark::Mark;
use super::refusal::No;
use super::tables::{Bytes, Table, Tables};
use super::{DiskGuard, SledOptions, config, keys, open, prune, queries};
use crate::domain::{DeliveryId, EventId, PluginId, PluginVersion, TenantId};
use crate::store::{Error, Record, RecordKey, Result as Answer};

/// The files that are not copied: ours, and of no use to a copy.
const LEFT: [&str; 3] = ["LOCK", "ballast", super::mark::NAME];
/// How sled is opened, one after the other: as a gateway would; then for what is left; then without what it can do
/// without: its snapshot, and its configuration, which is always the same.
const TRIES: [(bool, &[&str]); 4] = [(false, &[]), (true, &[]), (true, &["snap."]), (true, &["snap.", "conf"])];
/// What is wrong where the first of them fails.
const NOT_AS_IT_IS: &str = "the database can't be opened as it is";
/// Where there is no mark, nobody can tell whether the log goes on behind where a gateway takes it to end.
const UNMARKED_TRIES: [(bool, &[&str]); 4] =
    [(true, &[]), (false, &[]), (true, &["snap."]), (true, &["snap.", "conf"])];
/// Of a first start that was cut off nothing is needed: a gateway begins anew where it can't go on.
const UNBEGUN_TRIES: [(bool, &[&str]); 2] = [(false, &[]), (false, &["db", "conf", "blobs", "snap."])];
/// Bytes of pages that sled keeps in memory.
const CACHE: u64 = 64 << 20;
/// How often an unreadable stretch is halved in search of readable keys.
const HALVINGS: u32 = 7;

/// How often something was met, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// How often.
    pub count: u64,
    /// Where first.
    pub first: String,
}

/// What is wrong, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Wrongs(pub BTreeMap<String, Wrong>);

impl Wrongs {
    pub(super) fn add(&mut self, what: &str, place: impl Display) {
        match self.0.get_mut(what) {
            Some(wrong) => wrong.count += 1,
            None => drop(self.0.insert(what.to_owned(), Wrong { count: 1, first: place.to_string() })),
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        for (what, wrong) in other.0 {
            let count = wrong.count;
            self.0.entry(what).and_modify(|known| known.count += count).or_insert(wrong);
        }
    }

    /// How many there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(|wrong| wrong.count).sum()
    }
}

/// How far the database reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The number of its last commit.
    pub commit: u64,
    /// The last commit that was acknowledged, as far as the mark beside it says.
    pub acknowledged: Option<u64>,
}

/// A copy of a directory, opened to be read.
pub struct Inspection {
    pub(super) tables: Tables,
    pub(super) tally: Tally,
    pub(super) pruned: i64,
    pub(super) gone: HashSet<TenantId>,
    /// The events of the last commits: their deliveries may have no rows yet.
    pub(super) fresh: HashSet<EventId>,
    /// Deliveries of fan-outs that are still to be written out.
    pub(super) parts: HashSet<DeliveryId>,
    /// How far it reaches.
    pub reach: Reach,
    /// What was wrong before any record was read.
    pub wrongs: Wrongs,
    /// What is wrong with the table that says which deliveries have no rows yet: they may be missing.
    pub(super) unknown: Wrongs,
    /// Whether a gateway refuses it, since what was acknowledged may be missing.
    pub(super) is_doubtful: bool,
    dir: PathBuf,
    copy: PathBuf,
    _lock: File,
}

impl Inspection {
    /// Copies a directory into `copy`, an empty folder, and opens that. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] with a sentence: the directory is in use or not there, is another program's or a newer
    /// version's, or nothing of it can be opened.
    pub fn open(dir: &Path, copy: &Path) -> Answer<Self> {
        let remains = open::remains(dir).map_err(|fault| No::from(fault).into_error(dir))?;
        if remains.is_empty() && matches!(Mark::read(dir), Ok(None)) {
            return Err(Error::Refused(format!("there is no store in {}", dir.display())));
        }
        let lock = open::lock(dir).map_err(|no| no.into_error(dir))?;
        let mut wrongs = Wrongs::default();
        let marked = Mark::read(dir).unwrap_or_else(|fault| {
            wrongs.add("the mark of the last commit can't be read", fault);
            None
        });
        if marked.is_none() && wrongs.0.is_empty() {
            wrongs.add("the mark of the last commit is missing", dir.display());
        }
        let acknowledged = marked.map(|marked| marked.seq);
        let is_unbegun = marked.is_some_and(|marked| open::is_unbegun(dir, marked));
        let tries: &[(bool, &[&str])] = match marked {
            Some(_) if is_unbegun => &UNBEGUN_TRIES,
            Some(_) => &TRIES,
            None => &UNMARKED_TRIES,
        };
        let mut failures = Wrongs::default();
        let db = open_copy(dir, copy, marked.map_or(0, |marked| marked.log), tries, &mut failures)?;
        if !is_unbegun {
            wrongs.join(failures);
        }
        let written = caught(|| open::written_by(&db));
        let version = written.as_ref().ok().and_then(|written| open::version(written.as_deref()?));
        let is_missing = |table: Table| !db.tree_names().iter().any(|there| **there == *table.name().as_bytes());
        let expected = Table::ALL.into_iter().filter(|(table, _)| version.is_none_or(|now| table.since() <= now));
        let missing: Vec<&str> = expected.filter(|(table, _)| is_missing(*table)).map(|(_, name)| name).collect();
        let known = written.as_ref().ok().and_then(|written| written.as_deref());
        open::check_schema(dir, &db, known).map_err(|no| no.into_error(dir))?;
        let unreadable = |fault: Fault| Error::Refused(format!("nothing in {} can be read: {fault}", dir.display()));
        let tables = caught(|| Tables::open(db)).map_err(unreadable)?;
        let read_tally = || match tables.stored(Table::Meta, open::TALLY)? {
            Some(value) => codec::tally(&value),
            None => Ok(Tally::default()),
        };
        let tally = caught(read_tally).unwrap_or_else(|fault| {
            wrongs.add("the last commit's record can't be read", fault);
            Tally::default()
        });
        // That nothing is there yet is as it should be where a first start was cut off.
        if !(is_unbegun && tally.seq == 0 && matches!(written, Ok(None))) {
            missing.into_iter().for_each(|name| wrongs.add("a table is missing", name));
            match written {
                Ok(Some(_)) => {}
                Ok(None) => wrongs.add("what wrote it is not written down", dir.display()),
                Err(fault) => wrongs.add("what wrote it can't be read", fault),
            }
        }
        let pruned = caught(|| prune::pruned_until(&tables)).unwrap_or(i64::MIN);
        let reach = Reach { commit: tally.seq, acknowledged };
        if acknowledged.is_some_and(|acknowledged| tally.seq < acknowledged) {
            wrongs.add("acknowledged commits are missing", format!("after commit {}", tally.seq));
        }
        let is_doubtful =
            acknowledged.is_none_or(|acknowledged| tally.seq < acknowledged) || wrongs.0.contains_key(NOT_AS_IT_IS);
        let (gone, fresh, parts, unknown) = Default::default();
        let mut inspection = Self {
            tables,
            tally,
            pruned,
            gone,
            fresh,
            parts,
            reach,
            wrongs,
            unknown,
            is_doubtful,
            dir: dir.to_owned(),
            copy: copy.to_owned(),
            _lock: lock,
        };
        inspection.look_around();
        Ok(inspection)
    }

    /// The commit from which a gateway goes on that is told to do without what is lost; `None` if it can't. It is
    /// started on a copy, and once more as it usually is, and all is read then: a gateway ends where it meets what can't
    /// be read.
    pub(super) fn rollback(&self) -> Option<u64> {
        let copy = self.copy.join("rollback");
        copy_files(&self.dir, &copy, &[]).ok()?;
        let start = |accept_rollback_to| {
            let disk = DiskGuard { ballast: 0, ..DiskGuard::default() };
            open::open(&copy, SledOptions { cache_capacity: CACHE, disk, accept_rollback_to, ..SledOptions::default() })
        };
        let found = start(Some(0)).ok()?.found;
        let tables = start(None).ok()?.committer.tables;
        let read_all = || -> Result<u64, Fault> {
            for (table, _) in Table::ALL {
                tables.tree(table).iter().try_for_each(|pair| pair.map(drop))?;
            }
            tables.db.space_amplification()?;
            Ok(found)
        };
        caught(read_all).ok()
    }

    /// Reads the small tables that explain what may be missing elsewhere.
    fn look_around(&mut self) {
        // Whoever goes through these tables for their own sake counts what is wrong with them; an export does not go through
        // the last commits, and without them does not know what it lacks.
        let (mut ignored, mut unknown) = (Wrongs::default(), Wrongs::default());
        let (mut gone, mut fresh, mut parts) = (HashSet::new(), HashSet::new(), HashSet::new());
        self.walk(Table::Gone, &mut ignored, |key, _| {
            gone.extend(keys::bytes_at(key, 0).map(TenantId::from_bytes));
        });
        self.walk(Table::Recent, &mut unknown, |_, value| {
            let seq = keys::bytes_at(&value, 1).map_or(0, u64::from_be_bytes);
            if seq > self.tally.written && seq <= self.tally.seq {
                fresh.extend(open::events_in(&value).filter_map(Result::ok).map(|(_, id, _)| id));
            }
        });
        self.walk(Table::Expansions, &mut ignored, |key, stored| {
            let records = self.part(key, stored).unwrap_or_default();
            parts.extend(records.iter().map(|record| record.delivery.id));
        });
        (self.gone, self.fresh, self.parts, self.unknown) = (gone, fresh, parts, unknown);
    }

    /// Shows every record of a table that can be read, in order where nothing is damaged.
    pub(super) fn walk(&self, table: Table, wrongs: &mut Wrongs, mut see: impl FnMut(&[u8], IVec)) {
        let mut damaged = |fault: &Fault| {
            wrongs.add(&format!("a part of the table {} can't be read", table.name()), fault);
        };
        self.stretch(table, (Vec::new(), Vec::new()), HALVINGS, &mut damaged, &mut see);
    }

    /// Reads between two keys, neither included (an empty one is no bound): forwards until something can't be read,
    /// then backwards until something can't be read, then on from the middle of what is left.
    fn stretch(
        &self,
        table: Table,
        (after, before): (Vec<u8>, Vec<u8>),
        halvings: u32,
        damaged: &mut dyn FnMut(&Fault),
        see: &mut dyn FnMut(&[u8], IVec),
    ) {
        let bound = |key: &[u8]| if key.is_empty() { Bound::Unbounded } else { Bound::Excluded(key.to_vec()) };
        if !before.is_empty() && after >= before {
            return;
        }
        let (mut first, mut last) = (after.clone(), before.clone());
        let mut forwards = self.tables.tree(table).range((bound(&after), bound(&before)));
        loop {
            match caught(|| forwards.next().transpose().map_err(Fault::from)) {
                Ok(Some((key, value))) => {
                    see(&key, value);
                    first = key.to_vec();
                }
                Ok(None) => return,
                Err(fault) => {
                    if halvings == HALVINGS {
                        damaged(&fault);
                    }
                    break;
                }
            }
        }
        let mut backwards = self.tables.tree(table).range((bound(&first), bound(&before)));
        while let Ok(Some((key, value))) = caught(|| backwards.next_back().transpose().map_err(Fault::from)) {
            see(&key, value);
            last = key.to_vec();
        }
        let progress = first != after || last != before;
        let left = if progress { Some(HALVINGS - 1) } else { halvings.checked_sub(1) };
        let Some((halvings, middle)) = left.zip(middle(&first, &last)) else { return };
        self.stretch(table, (first, middle.clone()), halvings, damaged, see);
        self.stretch(table, (middle, last), halvings, damaged, see);
    }

    /// Whether there is something under a key.
    pub(super) fn has(&self, table: Table, key: &[u8]) -> bool {
        matches!(self.load(table, key), Ok(Some(_)))
    }

    /// A value of any size.
    pub(super) fn load(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        caught(|| self.tables.load(table, key))
    }

    /// A value of any size, given its stored form.
    pub(super) fn whole(&self, table: Table, key: &[u8], stored: IVec) -> Result<Bytes, Fault> {
        caught(|| self.tables.whole(table, key, stored)?.ok_or(Fault::corrupt("a large value")))
    }

    /// A delivery's row.
    pub(super) fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        let value = self.load(Table::Deliveries, &keys::pair(tenant, id.to_bytes()))?;
        value.map(|value| codec::delivery(tenant, id, &value)).transpose()
    }

    /// An uploaded plugin.
    pub(super) fn plugin(&self, tenant: TenantId, id: PluginId) -> Option<PluginVersion> {
        let key = config::key_of(&RecordKey::Plugin(tenant, id));
        match config::record(&key, &self.load(Table::Config, &key).ok()??).ok()? {
            Record::Plugin(plugin) => Some(plugin),
            _ => None,
        }
    }

    /// A part of a fan-out, given its stored form.
    pub(super) fn part(&self, key: &[u8], stored: IVec) -> Result<Vec<Arc<DeliveryRecord>>, Fault> {
        let (tenant, _) = pair(key)?;
        codec::part(tenant, &self.whole(Table::Expansions, key, stored)?)
    }

    /// Those an event is owed to, if all of them are known.
    pub(super) fn owed(&self, tenant: TenantId, id: EventId, record: codec::EventRecord) -> Option<Vec<DeliveryId>> {
        let count = record.owed;
        let owed = caught(|| queries::owed(&self.tables, tenant, id, record)).ok()?;
        (owed.len() == count).then(|| owed.into_iter().map(|(id, _)| id).collect())
    }

    /// Whether retention may have come past an event, going by the time in its id.
    pub(super) fn is_pruned(&self, id: EventId) -> bool {
        let bytes = id.to_bytes();
        let ms = bytes.iter().take(6).fold(0_i64, |ms, byte| (ms << 8) | i64::from(*byte));
        ms <= self.pruned
    }

    /// Whether an event is older than all of its tenant's that are there: retention goes by age.
    pub(super) fn is_before_all(&self, tenant: TenantId, id: EventId) -> bool {
        let first = || self.tables.tree(Table::Events).scan_prefix(tenant.to_bytes()).next().transpose();
        let first = caught(|| Ok(first()?)).ok().flatten();
        self.pruned > i64::MIN && first.is_none_or(|(key, _)| *key > keys::pair(tenant, id.to_bytes())[..])
    }

    /// Whether an event may be missing: all of its tenant's are, or retention has come past it.
    pub(super) fn may_be_missing(&self, tenant: TenantId, received_ms: i64) -> bool {
        self.gone.contains(&tenant) || received_ms <= self.pruned
    }
}

/// The tenant and the id in a key.
pub(super) fn pair(key: &[u8]) -> Result<(TenantId, [u8; 16]), Fault> {
    let ids = keys::bytes_at(key, 0).zip(keys::bytes_at(key, 16));
    ids.map(|(tenant, id)| (TenantId::from_bytes(tenant), id)).ok_or(Fault::corrupt("a key"))
}

/// sled panics on some kinds of damage.
pub(super) fn caught<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|payload| Err(Fault::panicked(&*payload)))
}

/// A key about halfway between two; `None` if there is none that long.
fn middle(first: &[u8], last: &[u8]) -> Option<Vec<u8>> {
    const LONGEST: usize = 56;
    let byte = |key: &[u8], at: usize| u16::from(key.get(at).copied().unwrap_or(0));
    let end = |at| if last.is_empty() { 0xff } else { byte(last, at) };
    // The sum of both as numbers, from the last digit on, and then half of it from the first on.
    let mut sum = [0_u16; LONGEST];
    let mut carry = 0;
    for (at, digit) in sum.iter_mut().enumerate().rev() {
        let both = byte(first, at) + end(at) + carry;
        (*digit, carry) = (both & 0xff, both >> 8);
    }
    let half = sum.iter().map(|digit| {
        let number = (carry << 8) | digit;
        carry = number & 1;
        u8::try_from(number >> 1).unwrap_or(u8::MAX)
    });
    let middle: Vec<u8> = half.collect();
    (middle.as_slice() > first && (last.is_empty() || middle.as_slice() < last)).then_some(middle)
}

/// Opens a copy of the directory, in the first of these ways that leads somewhere.
fn open_copy(dir: &Path, copy: &Path, must_reach: i64, tries: &[(bool, &[&str])], failures: &mut Wrongs) -> Answer<Db> {
    let mut last = String::new();
    for (number, (scavenging, without)) in tries.iter().copied().enumerate() {
        // A copy of its own for each try: one that failed may have changed its, or hold it still.
        let copy = copy.join(number.to_string());
        copy_files(dir, &copy, without).map_err(|error| {
            let dir = dir.display();
            Error::Refused(format!("{dir} can't be copied to {}: {error}", copy.display()))
        })?;
        let config = ::sled::Config::new().path(&copy).cache_capacity(CACHE).flush_every_ms(None);
        match caught(|| Ok(config.must_reach(must_reach).scavenging(scavenging).open()?)) {
            Ok(db) => return Ok(db),
            Err(fault) => {
                let how = match without {
                    [] if scavenging => "with losses: ".to_owned(),
                    [] => String::new(),
                    without => format!("without {}: ", without.join(" and ")),
                };
                last = if last.is_empty() { format!("{how}{fault}") } else { format!("{last}; nor {how}{fault}") };
            }
        }
        failures.add(NOT_AS_IT_IS, &last);
    }
    Err(Error::Refused(format!("nothing in {} can be opened: {last}", dir.display())))
}

fn copy_files(from: &Path, to: &Path, without: &[&str]) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let unfinished = text.starts_with("snap.") && text.ends_with(".generating");
        if unfinished || LEFT.contains(&&*text) || without.iter().any(|prefix| text.starts_with(prefix)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &to.join(&name), &[])?;
        } else {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_between() {
        for (first, last) in [(&[][..], &[][..]), (&[1, 2], &[1, 3]), (&[1, 255], &[2]), (&[255, 255], &[])] {
            let middle = middle(first, last).unwrap();
            assert!(middle.as_slice() > first && (last.is_empty() || middle.as_slice() < last), "{first:?} {last:?}");
        }
        assert_eq!(middle(&[7; 56], &[7; 56]), None);
    }
}
