//! Opening: every precaution before the first answer.
//!
//! sled's file may have been truncated, copied halfway or left by a kill in the middle of something, and sled
//! opens most of that without a word, with less in it. Nothing is served before it is known that what was
//! acknowledged is there; if it is not, the operator is told what is missing and what to do.
//!
//! What is new is told from what is lost by the mark, which comes before anything of sled's. Without both, a directory
//! is a new store's; without the mark alone, it is not served; and with a mark that says that nothing is committed, a
//! first start was cut off, and whatever that has left is as good as nothing.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::{self, Tally};
use super::commit::{Committer, Fresh, Part};
use super::disk::Disk;
use super::fault::Fault;
use super::inbox::Inbox;
use super::keys;
use super::mark::{Mark, Marked};
use super::queries;
use super::refusal::{No, ROLLBACK, WAYS_OUT};
use super::shared::Shared;
use super::tables::{Op, Table, Tables, remove_large, remove_remains};
use super::{Opened, SledOptions, component, ends, prune};
use crate::domain::{DeliveryId, EventId, Status, TenantId};
use crate::store::{Result as Answer, Settled, transitions};

/// The record that every commit writes, in [`Table::Meta`].
pub(super) const TALLY: &[u8] = b"commit";
/// What wrote the directory, in [`Table::Meta`].
pub(super) const SCHEMA: &[u8] = b"schema";
/// The version of the schema, and the generation of sled: both generations open each other's directories.
const WRITTEN_BY: (u32, &[u8]) = (7, b"sled 0.34");
/// Commits that are remembered with their events.
pub(super) const RECENT: u64 = 1024;
/// Events that are looked up at the start.
const CHECKED: usize = 1024;

/// How often, and after what time each, sled's file is tried again. Our own lock is held by then.
const RESTS: usize = 100;
const REST: Duration = Duration::from_millis(20);

/// What sled makes in a directory, beside its snapshots, and the disk guard.
const OURS: [&str; 4] = ["db", "conf", "blobs", "ballast"];
/// sled's file is no longer than this where a first start was cut off: it has two segments at most by then.
const UNBEGUN: u64 = 1 << 20;

/// All that runs after the start.
pub(super) struct Running {
    pub(super) committer: Committer,
    pub(super) lock: File,
    pub(super) opened: Opened,
    /// The last commit that was found, before any that the start has made.
    pub(super) found: u64,
}

/// Opens a directory, or says why not.
pub(super) fn open(dir: &Path, options: SledOptions) -> Answer<Running> {
    caught(|| open_inner(dir, options)).map_err(|no| no.into_error(dir))
}

/// sled panics on some kinds of damage.
fn caught<T>(act: impl FnOnce() -> Result<T, No>) -> Result<T, No> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|payload| Err(Fault::panicked(&*payload).into()))
}

fn open_inner(dir: &Path, options: SledOptions) -> Result<Running, No> {
    make(dir).map_err(Fault::io("the directory can't be made"))?;
    let lock = lock(dir)?;
    let marked = read_mark(dir, &options)?;
    remove_unfinished_snapshots(dir)?;
    let sync = |name| sync(&dir.join(name)).map_err(Fault::io("the database can't be synced"));
    // What a killed process has left to the kernel. What is made of it at this start (sled's snapshot, our mark) must not
    // be on the disk before it is.
    sync("db")?;
    let db = match caught(|| open_log(dir, &options, marked)) {
        Err(no) if no.is_damage() && marked.is_some_and(|marked| is_unbegun(dir, marked)) => {
            remove(remains(dir)?).map_err(Fault::io("what a first start has left can't be removed"))?;
            open_log(dir, &options, marked)?
        }
        opened => opened?,
    };
    // sled leaves its settings to the kernel, and does not open with half of them.
    sync("conf")?;
    let recovered = db.was_recovered();
    let written = written_by(&db)?;
    check_schema(dir, &db, written.as_deref())?;
    let tables = Tables::open(db)?;
    let tally = tables.stored(Table::Meta, TALLY)?.map(|value| codec::tally(&value)).transpose()?.unwrap_or_default();
    check_mark(dir, marked.map(|marked| marked.seq), tally, written.is_some(), options.accept_rollback_to)?;

    let file =
        OpenOptions::new().write(true).open(dir.join("db")).map_err(Fault::io("the database can't be opened"))?;
    let disk = Disk::new(dir, options.disk);
    disk.live(tally.live);
    let inbox = Inbox::new(options.inbox_bytes, options.settle_within);
    let shared = Arc::new(Shared::new(inbox, disk, options.on_commit, tally.position.max(1)));
    read_gone(&tables, &shared)?;
    let mut committer = Committer {
        knows_older_ids: !tables.tree(Table::Dedupe).is_empty(),
        tables: Arc::new(tables),
        shared,
        file,
        mark: Mark::open(dir)?,
        tally,
        expansions: VecDeque::new(),
        unwritten: 0,
        late: VecDeque::new(),
        linger: options.linger,
        last: (std::time::Instant::now(), 0),
        scratch: Vec::new(),
    };
    read_expansions(&mut committer)?;
    read_fresh(&mut committer)?;
    clear_components(&mut committer)?;
    let waiting = committer.shared.hands.waiting_count();
    if options.accept_rollback_to.is_none() {
        check_recent(dir, &committer)?;
    }
    if written.as_deref() != Some(&schema()[..]) {
        committer.write(&mut vec![Op::put(Table::Meta, SCHEMA, schema())])?;
    }
    let held = hold_begun(&mut committer)?;
    // Also what an accepted rollback says, and the first commit's: from here on a shorter file is noticed. How far the
    // log was written is known after a commit; sled's own word at a start is rounded up where a segment has ended.
    let log = match marked {
        _ if committer.tally.seq > tally.seq => committer.tables.db.stable_lsn(),
        Some(marked) if options.accept_rollback_to.is_none() => marked.log,
        _ => 0,
    };
    committer.file.sync_data().map_err(Fault::io("the database can't be synced"))?;
    committer.mark.write(Marked { seq: committer.tally.seq, log })?;
    committer.mark.sync()?;
    committer.shared.disk.load_ballast();
    let opened = Opened { recovered, commit_seq: committer.tally.seq, held, waiting };
    Ok(Running { committer, lock, opened, found: tally.seq })
}

/// What the mark says; `None` if the operator has said that it does not matter. A new store is begun by making it.
fn read_mark(dir: &Path, options: &SledOptions) -> Result<Option<Marked>, No> {
    let forgiving = options.accept_rollback_to.is_some();
    match Mark::read(dir) {
        Ok(None) => {}
        Err(Fault::Corrupt(_)) if forgiving => return Ok(None),
        marked => return Ok(marked?),
    }
    if remains(dir)?.is_empty() {
        Mark::begin(dir)?;
        return Ok(Some(Marked::NOTHING));
    }
    if forgiving {
        return Ok(None);
    }
    Err(No::Refused(format!(
        "{} has no mark of its last commit ({}), which a store has before anything else: it was removed or emptied, or \
         this is another program's database. Nobody can tell whether all that was acknowledged is there, so nothing \
         was served or changed. {WAYS_OUT}. {ROLLBACK}",
        dir.display(),
        super::mark::NAME
    )))
}

/// What there is of a store beside its mark.
pub(super) fn remains(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let is_ours = |name: &str| OURS.contains(&name) || name.starts_with("snap.");
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    match list() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        listed => listed.map_err(Fault::io("the directory can't be read")),
    }
}

/// Whether what there is was left by a first start that was cut off. Nothing was acknowledged then, so that nothing of
/// it can be lost: should sled not open it, the store is begun anew.
pub(super) fn is_unbegun(dir: &Path, marked: Marked) -> bool {
    // Where there is more, somebody has put it there.
    marked == Marked::NOTHING && std::fs::metadata(dir.join("db")).map_or(0, |file| file.len()) <= UNBEGUN
}

fn remove(paths: Vec<PathBuf>) -> std::io::Result<()> {
    paths.into_iter().try_for_each(|path| match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    })
}

/// Makes the directory if it is not there, and makes sure that it is found after a power cut.
fn make(dir: &Path) -> std::io::Result<()> {
    // Bodies and sealed secrets are in it: nobody else's to read.
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // A name is in the folder above. Two of them, since a start makes the data folder and the store in it; and always,
    // since it may be an earlier start that made them and was cut short.
    for above in dir.ancestors().skip(1).take(2) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match File::open(above) {
            Ok(folder) => folder.sync_all()?,
            // Who may not read it has not made anything in it either.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One process in a directory. sled has a lock of its own, which says less when it is taken.
pub(super) fn lock(dir: &Path) -> Result<File, No> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("LOCK"));
    let file = open.map_err(Fault::io("the lock file can't be opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(No::Refused(format!(
            "{} is in use by another process: a directory has one gateway at a time. Stop the other one, or give this \
             one a directory of its own",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Fault::io("the lock file can't be locked")(error).into()),
    }
}

/// Opens sled's part, and leaves it as it is if something of it is certainly lost.
fn open_log(dir: &Path, options: &SledOptions, marked: Option<Marked>) -> Result<::sled::Db, No> {
    let forgiving = options.accept_rollback_to.is_some();
    // Where there is nothing, nothing can be spoilt, and more can be said afterwards.
    let is_empty = std::fs::metadata(dir.join("db")).map_or(0, |file| file.len()) == 0;
    let must_reach = if is_empty { 0 } else { marked.map_or(0, |marked| marked.log) };
    let config = ::sled::Config::new().path(dir).cache_capacity(options.cache_capacity).flush_every_ms(Some(500));
    match open_sled(&config.must_reach(must_reach).forgiving(forgiving)) {
        Err(::sled::Error::Corruption { .. }) if forgiving => Err(No::Refused(format!(
            "{} is damaged, and can't be served without what is lost either. Nothing was served. {WAYS_OUT}",
            dir.display()
        ))),
        Err(::sled::Error::Corruption { .. }) => Err(No::Refused(format!(
            "{} is damaged: not all that was acknowledged can be read. Nothing was served or changed. {WAYS_OUT}. \
             {ROLLBACK}",
            dir.display()
        ))),
        opened => Ok(opened?),
    }
}

/// Opens sled's database. A store of this process that was closed a moment ago may still hold sled's file: its threads let
/// go of it one after the other.
fn open_sled(config: &::sled::Config) -> ::sled::Result<::sled::Db> {
    let mut rests = 0;
    loop {
        match config.open() {
            // The kind says nothing: sled makes an error of its own of it.
            Err(::sled::Error::Io(error)) if rests < RESTS && error.to_string().contains("could not acquire lock") => {
                rests += 1;
                std::thread::sleep(REST);
            }
            opened => return opened,
        }
    }
}

fn sync(file: &Path) -> std::io::Result<()> {
    match File::open(file) {
        Ok(file) => file.sync_all(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A full disk or a kill leaves one, and every later open would fail because of it.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), Fault> {
    let remove = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(Fault::io("an unfinished snapshot can't be removed"))
}

/// What wrote a database, as far as it says so. Nothing is made in it: it may be another program's.
pub(super) fn written_by(db: &::sled::Db) -> Result<Option<::sled::IVec>, Fault> {
    let meta = Table::Meta.name();
    let has_meta = db.tree_names().iter().any(|name| **name == *meta.as_bytes());
    if has_meta { Ok(db.open_tree(meta)?.get(SCHEMA)?) } else { Ok(None) }
}

/// Whether there is a table that is not ours.
fn is_foreign(db: &::sled::Db) -> bool {
    let is_ours = |name: &[u8]| Table::ALL.iter().any(|(_, ours)| ours.as_bytes() == name);
    db.tree_names().iter().any(|name| **name != *b"__sled__default" && !is_ours(name))
}

pub(super) fn schema() -> Vec<u8> {
    let (version, generation) = WRITTEN_BY;
    [&[codec::FORMAT][..], &version.to_be_bytes(), generation].concat()
}

/// The version of the schema in what [`written_by`] gives.
pub(super) fn version(written: &[u8]) -> Option<u32> {
    keys::bytes_at(written, 1).map(u32::from_be_bytes)
}

/// Refuses what this version can't serve.
pub(super) fn check_schema(dir: &Path, db: &::sled::Db, written: Option<&[u8]>) -> Result<(), No> {
    let dir = dir.display();
    let Some(written) = written else {
        return match is_foreign(db) {
            true => Err(No::Refused(format!("{dir} holds another program's database; give the gateway its own"))),
            false => Ok(()),
        };
    };
    let version = version(written);
    let generation = written.get(5..).unwrap_or_default();
    match version {
        Some(version) if version > WRITTEN_BY.0 => Err(No::Refused(format!(
            "{dir} was written by a newer version (schema {version}; this one knows up to {}): start that version",
            WRITTEN_BY.0
        ))),
        Some(1..) if generation == WRITTEN_BY.1 && written.first() == Some(&codec::FORMAT) => Ok(()),
        _ => Err(No::Refused(format!(
            "{dir} was written by something that this version can't read; give the gateway its own directory"
        ))),
    }
}

/// Refuses a database that is behind the mark beside it. Without one there is only what the operator accepts.
fn check_mark(dir: &Path, marked: Option<u64>, tally: Tally, written: bool, accepted: Option<u64>) -> Result<(), No> {
    let behind = marked.is_none_or(|marked| tally.seq < marked) || (tally.seq > 0) != written;
    if !behind || accepted.is_some_and(|accepted| tally.seq >= accepted) {
        return Ok(());
    }
    let acknowledged = match marked {
        Some(marked) => format!("{marked} were acknowledged"),
        None => "nobody knows how many were acknowledged".to_owned(),
    };
    Err(No::Refused(format!(
        "{} has lost acknowledged events: its last commit is {}, and {acknowledged}. {WAYS_OUT}; or, to go on without \
         what is lost, start with --accept-rollback-to {}",
        dir.display(),
        tally.seq,
        tally.seq
    )))
}

fn read_gone(tables: &Tables, shared: &Shared) -> Result<(), Fault> {
    for pair in tables.tree(Table::Gone).iter() {
        let (key, _) = pair?;
        let tenant = keys::bytes_at(&key, 0).map(TenantId::from_bytes).ok_or(Fault::corrupt("a key"))?;
        shared.add_gone(&[tenant]);
    }
    Ok(())
}

/// Reads what is left to write out of fan-outs, and removes what was written ahead of an event that never came.
fn read_expansions(committer: &mut Committer) -> Result<(), Fault> {
    let tables = Arc::clone(&committer.tables);
    let mut remains = Vec::new();
    for pair in tables.tree(Table::Expansions).iter() {
        let (key, stored) = pair?;
        let ids = keys::bytes_at::<32>(&key, 0).zip(keys::bytes_at(&key, 0).map(TenantId::from_bytes));
        let ((event, tenant_id), key) = ids.zip(keys::bytes_at(&key, 0)).ok_or(Fault::corrupt("a key"))?;
        if tables.stored(Table::Events, &event)?.is_none() {
            remove_large(&mut remains, Table::Expansions, &key, &stored);
            remove_remains(&tables, &mut remains, Table::Owed, &event)?;
            remove_remains(&tables, &mut remains, Table::Events, &event)?;
            continue;
        }
        let Some(value) = tables.whole(Table::Expansions, &key, stored)? else { continue };
        let mut records = codec::part(tenant_id, &value)?;
        for at in (0..records.len()).rev() {
            // One that was settled has a row already.
            let row = keys::pair(tenant_id, records[at].delivery.id.to_bytes());
            if tables.stored(Table::Deliveries, &row)?.is_some() {
                records.swap_remove(at);
            }
        }
        committer.shared.hands.add_waiting(&records, false);
        committer.will_expand(vec![Part { at: Instant::now(), tenant_id, key, records }]);
    }
    if !remains.is_empty() {
        committer.write(&mut remains)?;
    }
    Ok(())
}

/// Removes the bytes of plugins that were not all written, or not all removed.
fn clear_components(committer: &mut Committer) -> Result<(), Fault> {
    let tables = Arc::clone(&committer.tables);
    for (tenant, plugin) in component::marked(&tables)? {
        loop {
            let mut ops = component::step(&tables, tenant, plugin)?;
            if ops.is_empty() {
                break;
            }
            committer.write(&mut ops)?;
        }
    }
    Ok(())
}

/// The events of the last commits that are written down, each with the number of its commit.
pub(super) fn recent(tables: &Tables) -> Result<Vec<(u64, ::sled::IVec)>, Fault> {
    let mut commits = Vec::new();
    for pair in tables.tree(Table::Recent).iter() {
        let (_, value) = pair?;
        let seq = keys::bytes_at(&value, 1).map(u64::from_be_bytes).ok_or(Fault::corrupt("a list of events"))?;
        commits.push((seq, value));
    }
    commits.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(commits)
}

/// The keys of the events in one record of [`recent`], each with when it was received.
pub(super) fn events_in(value: &[u8]) -> impl DoubleEndedIterator<Item = Result<(TenantId, EventId, i64), Fault>> + '_ {
    value.get(9..).unwrap_or_default().chunks_exact(40).map(|event| {
        let ids = keys::bytes_at(event, 0).zip(keys::bytes_at(event, 16)).zip(keys::bytes_at(event, 32));
        let ((tenant, id), received_ms) = ids.ok_or(Fault::corrupt("a list of events"))?;
        Ok((TenantId::from_bytes(tenant), EventId::from_bytes(id), i64::from_be_bytes(received_ms)))
    })
}

/// Finds the deliveries of the last commits that have no rows yet. Those whose event is missing are not among them:
/// that is found by [`check_recent`].
fn read_fresh(committer: &mut Committer) -> Result<(), Fault> {
    let tables = Arc::clone(&committer.tables);
    let last = committer.tally.seq;
    for (seq, value) in recent(&tables)?.into_iter().filter(|(seq, _)| *seq > committer.tally.written && *seq <= last) {
        let mut fresh = Vec::new();
        for event in events_in(&value) {
            let (tenant, id, _) = event?;
            if committer.shared.is_gone(tenant) {
                continue;
            }
            let Some(value) = tables.load(Table::Events, &keys::pair(tenant, id.to_bytes()))? else { continue };
            for record in codec::fresh_deliveries(tenant, &value)? {
                let key = keys::pair(tenant, record.delivery.id.to_bytes());
                if tables.stored(Table::Deliveries, &key)?.is_none() {
                    fresh.push(record);
                }
            }
        }
        committer.shared.hands.add_waiting(&fresh, true);
        // A commit of many events is remembered in several records, and is done when all of them are.
        match committer.late.back_mut().filter(|last| last.seq == seq) {
            Some(last) => last.add(&fresh),
            None => committer.late.push_back(Fresh::new(seq, &fresh)),
        }
    }
    Ok(())
}

/// Looks up the events of the last commits, what is owed for them and its queue entries.
fn check_recent(dir: &Path, committer: &Committer) -> Result<(), No> {
    let tables = &committer.tables;
    let commits = recent(tables)?;
    let events = commits.iter().rev().flat_map(|(_, value)| events_in(value));
    let pruned = prune::pruned_until(tables)?;
    for event in events.take(CHECKED) {
        let (tenant, id, received_ms) = event?;
        // Retention takes events up to a time, and their deliveries before them.
        if committer.shared.is_gone(tenant) || received_ms <= pruned {
            continue;
        }
        if let Some(what) = missing(committer, tenant, id)? {
            return Err(No::Refused(format!(
                "{} is damaged: {what} of {id} is missing, which was acknowledged. {WAYS_OUT}; or, to go on without what \
                 is lost, start with --accept-rollback-to {}",
                dir.display(),
                committer.tally.seq
            )));
        }
    }
    Ok(())
}

/// What is missing of an event that was acknowledged, if anything is.
fn missing(committer: &Committer, tenant: TenantId, id: EventId) -> Result<Option<&'static str>, Fault> {
    let tables = &committer.tables;
    let Some(event) = queries::event_record(tables, tenant, id)? else { return Ok(Some("the event")) };
    for (delivery, _) in queries::owed(tables, tenant, id, event)? {
        match queries::record(tables, &committer.shared, tenant, delivery)? {
            None => return Ok(Some("a delivery")),
            Some((delivery, hand)) => {
                let waits = committer.shared.hands.waiting(tenant, delivery.id).is_some();
                let pending = delivery.status == Status::Pending && !waits;
                if pending && tables.stored(Table::Queue, &hand.queue)?.is_none() {
                    return Ok(Some("a queue entry"));
                }
            }
        }
    }
    Ok(None)
}

/// Holds what had been begun and was never settled: whether it arrived is not known, and sending it again is not
/// for a program to decide.
fn hold_begun(committer: &mut Committer) -> Result<usize, Fault> {
    let tables = Arc::clone(&committer.tables);
    let (mut held, mut ops, mut frozen, mut scratch) = (0, Vec::new(), Vec::new(), Vec::new());
    for pair in tables.tree(Table::Begun).iter() {
        let (key, _) = pair?;
        let ids = keys::bytes_at(&key, 0).zip(keys::bytes_at(&key, 16)).ok_or(Fault::corrupt("a key"))?;
        let (tenant, id) = (TenantId::from_bytes(ids.0), DeliveryId::from_bytes(ids.1));
        ops.push(Op::remove(Table::Begun, &key));
        let Some(value) = tables.stored(Table::Deliveries, &key)? else { continue };
        let record = codec::delivery(tenant, id, &value)?;
        if record.delivery.status == Status::Pending && record.delivery.begun {
            let old = ends::Old::of(&record);
            let mut delivery = record.delivery;
            transitions::hold_as_unknown(&mut delivery);
            if record.frozen
                && let Some(value) = tables.load(Table::Frozen, &key)?
            {
                delivery.frozen = Some(Box::new(codec::frozen(&value)?));
            }
            ends::encode(Settled { delivery, attempt: None }, &old, &mut ops, &mut frozen, &mut scratch)?;
            // What is frozen stays as it is.
            frozen.clear();
            held += 1;
        }
        if ops.len() >= 1_000 {
            committer.write(&mut std::mem::take(&mut ops))?;
        }
    }
    if !ops.is_empty() {
        committer.write(&mut ops)?;
    }
    Ok(held)
}
