//! What is sled's alone: damage, crashes, the disk, and that the model says the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{DiskGuard, Inspection, Opened, SledOptions, SledStore, Space, Wrongs};
use crate::domain::{Attempt, Delivery, Lane, Outcome, SubscriptionId, TenantId, Verdict};
use crate::store::conformance::{Subject, suite};
use crate::store::fixtures::{accepted, at, dedupe, delivered, failed_once, frozen, plugin_version};
use crate::store::{
    Accepted, DeliveryFilter, Error, EventFilter, MemoryStore, Receipt, ReplayStep, Settled, Store, due,
};

fn options() -> SledOptions {
    let disk = DiskGuard { ballast: 0, ..DiskGuard::default() };
    SledOptions { cache_capacity: 16 << 20, disk, ..SledOptions::default() }
}

fn open(dir: &Path) -> (SledStore, Opened) {
    SledStore::open(dir, options()).unwrap()
}

fn refusal(dir: &Path, options: SledOptions) -> String {
    match SledStore::open(dir, options) {
        Err(Error::Refused(sentence)) => sentence,
        Err(other) => panic!("not a refusal: {other}"),
        Ok((_, opened)) => panic!("opened: {opened:?}"),
    }
}

/// Copies a directory as a kill would leave it. The mark first: it may be behind the rest, never ahead.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<PathBuf> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort_by_key(|path| !path.ends_with(super::mark::NAME));
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // A snapshot may be replaced meanwhile.
            let _ = fs::copy(&path, &target);
        }
    }
}

struct Embedded {
    dir: TempDir,
    linger: Duration,
    store: Option<Arc<SledStore>>,
}

impl Embedded {
    fn new(linger: Duration) -> Self {
        let mut embedded = Self { dir: TempDir::new().unwrap(), linger, store: None };
        embedded.open();
        embedded
    }

    fn open(&mut self) {
        let options = SledOptions { linger: self.linger, ..options() };
        self.store = Some(Arc::new(SledStore::open(self.dir.path(), options).unwrap().0));
    }
}

impl Embedded {
    /// What a kill would leave.
    fn copied(&self) -> TempDir {
        let left = TempDir::new().unwrap();
        copy(self.dir.path(), left.path());
        left
    }
}

fn check(dir: &Path) -> super::Checked {
    let scratch = TempDir::new().unwrap();
    Inspection::open(dir, scratch.path()).unwrap().check(|_| {})
}

/// Deliveries get their rows at once, or not before their end.
const LINGERS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3600)];

#[async_trait]
impl Subject for Embedded {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap()) as Arc<dyn Store>
    }

    async fn reopen(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().await.unwrap();
        }
        self.open();
    }

    async fn crash(&mut self) {
        let left = self.copied();
        self.store = None;
        self.dir = left;
        self.open();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sled_keeps_the_promises() {
    for linger in LINGERS {
        suite(async || Embedded::new(linger)).await;
    }
}

fn lane() -> Lane {
    Lane::of(SubscriptionId::new(at(0)))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_stored() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(dir.path()).0);
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let accept = |n: i64| {
        let store = Arc::clone(&store);
        async move {
            let id = dedupe(&format!("k{}", n / 2), 1, at(10_000));
            store.accept(vec![Accepted { dedupe: id, ..accepted(tenant, at(n), &[to]) }]).await.unwrap().remove(0)
        }
    };
    let tasks: Vec<_> = (0..400).map(|n| tokio::spawn(accept(n))).collect();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap() {
            Receipt::Stored => stored += 1,
            Receipt::Duplicate { deliveries, .. } => assert_eq!(deliveries, 1),
            Receipt::Conflict { .. } => panic!("the content is the same"),
        }
    }
    assert_eq!(stored, 200);
    let left = TempDir::new().unwrap();
    copy(dir.path(), left.path());
    let (copied, opened) = open(left.path());
    assert!(opened.recovered);
    for store in [&*store, &copied] {
        assert_eq!(store.take(&[(to, 1_000)], at(10_000)).await.unwrap()[0].due.len(), 200);
    }
}

/// Events of one commit that is too large to be remembered in one record, or to be written out in one go: killed, and
/// killed again after a first part of them has rows, it still owes all of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_large_commit_owes_survives_two_kills() {
    const EVENTS: usize = 600;
    let (dir, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let store = SledStore::open(dir.path(), SledOptions { linger: LINGERS[1], ..options() }).unwrap().0;
    store.accept((0..EVENTS).map(|_| accepted(tenant, at(0), &[to])).collect()).await.unwrap();
    copy(dir.path(), killed.path());
    let again = Arc::new(TempDir::new().unwrap());
    let (from, left) = (killed.path().to_owned(), Arc::clone(&again));
    let (done, first) = tokio::sync::oneshot::channel();
    let done = parking_lot::Mutex::new(Some(done));
    let on_commit = Box::new(move |_, _| {
        if let Some(done) = done.lock().take() {
            copy(&from, left.path());
            done.send(()).unwrap();
        }
    });
    let at_once = SledOptions { linger: LINGERS[0], on_commit: Some(on_commit), ..options() };
    let _second = SledStore::open(killed.path(), at_once).unwrap().0;
    first.await.unwrap();
    let (third, _) = open(again.path());
    assert_eq!(third.take(&[(to, 2 * EVENTS)], at(0)).await.unwrap()[0].due.len(), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_lost_is_a_delivery_that_is_offered_again() {
    let dir = TempDir::new().unwrap();
    let patient = SledOptions { settle_within: Duration::from_secs(3600), ..options() };
    let store = SledStore::open(dir.path(), patient).unwrap().0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    store.accept(vec![accepted(tenant, at(0), &[to])]).await.unwrap();
    let taken = store.take(&[(to, 1)], at(0)).await.unwrap().remove(0).due.remove(0);
    let end = Settled { delivery: delivered(taken.delivery.clone(), at(1)), attempt: None };
    store.settle(vec![end]).await.unwrap();
    let left = TempDir::new().unwrap();
    copy(dir.path(), left.path());
    let again = open(left.path()).0.take(&[(to, 1)], at(0)).await.unwrap().remove(0);
    assert_eq!(again.due[0].delivery, taken.delivery);
    // A clean stop writes it.
    store.close().await.unwrap();
    assert_eq!(open(dir.path()).0.take(&[(to, 1)], at(0)).await.unwrap()[0].due, []);
}

/// The first attempt stands in the row of the delivery that it ended, and is given its own if it turns out not to be the
/// last, or is too large. Nobody who asks, looks into the directory or makes a new one of it sees a difference.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_attempt_stands_with_its_delivery() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    store.accept((0..3).map(|n| accepted(tenant, at(n), &[to])).collect()).await.unwrap();
    let tried = |number, because: &str| Attempt {
        because: because.to_owned(),
        ..crate::store::fixtures::attempt(number, at(9), Outcome::Delivered, Verdict::Deliver)
    };
    let mut all = BTreeMap::new();
    let due = store.take(&[(to, 3)], at(9)).await.unwrap().remove(0).due;
    for (due, because) in due.into_iter().zip(["", "so", &"long ".repeat(1_000)]) {
        let (delivery, attempt) = (delivered(due.delivery, at(9)), tried(1, because));
        store.settle(vec![Settled { delivery: delivery.clone(), attempt: Some(attempt.clone()) }]).await.unwrap();
        all.insert(delivery.id, vec![attempt]);
    }
    // The first of them is sent again, because somebody asked.
    let first = *all.keys().next().unwrap();
    store.requeue(tenant, first, at(10)).await.unwrap().unwrap();
    assert_eq!(store.attempts(tenant, first).await.unwrap(), all[&first]);
    let again = store.take(&[(to, 1)], at(10)).await.unwrap().remove(0).due.remove(0);
    let attempt = tried(2, "again");
    let end = Settled { delivery: delivered(again.delivery, at(11)), attempt: Some(attempt.clone()) };
    store.settle(vec![end]).await.unwrap();
    all.get_mut(&first).unwrap().push(attempt);
    store.close().await.unwrap();
    drop(store);

    let db = ::sled::open(dir.path()).unwrap();
    assert_eq!(db.open_tree("attempts").unwrap().len(), 3, "two of one delivery, and one that is too large");
    drop(db);
    assert_eq!(check(dir.path()).wrong, Wrongs::default());
    let (scratch, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let inspection = Inspection::open(dir.path(), scratch.path()).unwrap();
    inspection.salvage(new.path(), |_| {}).unwrap();
    assert_eq!(inspection.export(&mut Vec::new(), |_| {}).unwrap().lines["attempt"], 4);
    drop(inspection);
    for dir in [dir.path(), new.path()] {
        let store = open(dir).0;
        for (delivery, attempts) in &all {
            assert_eq!(store.attempts(tenant, *delivery).await.unwrap(), *attempts);
        }
    }
}

/// Whoever asks for a delivery that is due just then, and taken, leaves no entry in the queue that leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_meets_who_takes() {
    let sled = Embedded::new(Duration::ZERO);
    let (store, tenant, to) = (sled.store(), TenantId::new(at(0)), lane());
    for round in 0..150 {
        let mut sent = accepted(tenant, at(round), &[to]);
        sent.deliveries[0].next_attempt_at = Some(at(1_000));
        let id = sent.deliveries[0].id;
        store.accept(vec![sent]).await.unwrap();
        let asking = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.requeue(tenant, id, at(999)).await })
        };
        let (begun, wait) = (std::time::Instant::now(), Duration::from_micros(5 * round.cast_unsigned()));
        while begun.elapsed() < wait {
            std::hint::spin_loop();
        }
        loop {
            let is_last = asking.is_finished();
            let taken = store.take(&[(to, 1)], at(1_000)).await.unwrap().remove(0);
            if is_last && taken.due.is_empty() {
                break;
            }
            let end = |due: crate::store::Due| Settled { delivery: delivered(due.delivery, at(1_001)), attempt: None };
            store.settle(taken.due.into_iter().map(end).collect()).await.unwrap();
            store.flush().await.unwrap();
        }
        asking.await.unwrap().unwrap();
        assert_eq!(store.delivery(tenant, id).await.unwrap().unwrap().status, crate::domain::Status::Delivered);
    }
    assert_eq!(store.heads().await.unwrap(), []);
    drop(store);
    assert_eq!(check(sled.copied().path()).wrong, Wrongs::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_lane_costs_another_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, dead, live) = (TenantId::new(at(0)), lane(), lane());
    for round in 0..10 {
        let batch = (0..1_000).map(|n| accepted(tenant, at(round * 1_000 + n), &[dead])).collect();
        store.accept(batch).await.unwrap();
    }
    store.accept(vec![accepted(tenant, at(0), &[live])]).await.unwrap();
    let before = store.visited();
    let taken = store.take(&[(live, 10)], at(99_999)).await.unwrap();
    assert_eq!(taken[0].due.len(), 1);
    assert_eq!(store.visited() - before, 1);
    store.take(&[(dead, 10)], at(99_999)).await.unwrap();
    assert_eq!(store.visited() - before, 1 + 11);
}

/// Fills a directory, then damages a copy of it; whatever opens must have every acknowledged event.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_or_whole() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let mut events = Vec::new();
    for n in 0..300 {
        let sent = accepted(tenant, at(n), &[to]);
        events.push(sent.event.id);
        store.accept(vec![sent]).await.unwrap();
    }
    let live = TempDir::new().unwrap();
    copy(dir.path(), live.path());
    store.close().await.unwrap();
    let length = fs::metadata(live.path().join("db")).unwrap().len();
    let damage = [("a byte", 1), ("4 KiB", 4096), ("half", length / 2), ("all", u64::MAX)];
    for from in [dir.path(), live.path()] {
        for (what, cut) in damage {
            let left = TempDir::new().unwrap();
            copy(from, left.path());
            let file = fs::OpenOptions::new().write(true).open(left.path().join("db")).unwrap();
            file.set_len(file.metadata().unwrap().len().saturating_sub(cut)).unwrap();
            match SledStore::open(left.path(), options()) {
                Err(Error::Refused(sentence)) => {
                    assert!(sentence.contains("copy of the directory"), "{what}: {sentence}")
                }
                Err(other) => panic!("{what}: {other}"),
                Ok((store, _)) => {
                    for id in &events {
                        assert!(store.event(tenant, *id).await.unwrap().is_some(), "{what}: {id} is lost");
                    }
                    assert_eq!(store.take(&[(to, 999)], at(999)).await.unwrap()[0].due.len(), 300, "{what}");
                }
            }
        }
        // The file and what sled keeps beside it gone altogether: only the mark knows.
        let left = TempDir::new().unwrap();
        copy(from, left.path());
        for entry in fs::read_dir(left.path()).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            if name == "db" || name == "conf" || name.starts_with("snap.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let sentence = refusal(left.path(), options());
        assert!(sentence.contains("--accept-rollback-to 0"), "{sentence}");
        let accepting = SledOptions { accept_rollback_to: Some(0), ..options() };
        let (store, _) = SledStore::open(left.path(), accepting).unwrap();
        assert_eq!(store.heads().await.unwrap(), []);
        drop(store);
        open(left.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_database_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    store.accept(vec![accepted(tenant, at(0), &[to])]).await.unwrap();
    let old = TempDir::new().unwrap();
    copy(dir.path(), old.path());
    store.accept(vec![accepted(tenant, at(1), &[to])]).await.unwrap();
    store.close().await.unwrap();
    fs::copy(dir.path().join(super::mark::NAME), old.path().join(super::mark::NAME)).unwrap();
    let before = fs::read(old.path().join("db")).unwrap();
    let sentence = refusal(old.path(), options());
    assert!(sentence.contains("--accept-rollback-to"), "{sentence}");
    assert!(fs::read(old.path().join("db")).unwrap() == before, "what is refused is left as it is");
    let checked = check(old.path());
    assert_eq!((checked.reach.commit, advised(&checked.wrong)), (2, Some(2)));
    // Not the number that was named: still refused.
    refusal(old.path(), SledOptions { accept_rollback_to: Some(3), ..options() });
    let accepting = SledOptions { accept_rollback_to: Some(2), ..options() };
    assert_eq!(SledStore::open(old.path(), accepting).unwrap().1.commit_seq, 2);
    open(old.path());
}

/// From which commit a gateway can go on, as a check says.
fn advised(wrongs: &Wrongs) -> Option<u64> {
    wrongs.0["what was acknowledged may be missing"].first.rsplit_once("--accept-rollback-to ")?.1.parse().ok()
}

/// Removes what is named so.
fn without(dir: &Path, prefixes: &[&str]) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// Something that is done to a directory, under a name.
type Deed = (&'static str, fn(&Path));

/// Without its mark a shorter store looks like a whole one, and what is left of one like a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_mark_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to, data) = (TenantId::new(at(0)), lane(), format!("\"{}\"", "z".repeat(4_000)));
    for n in 0..70 {
        store.accept(vec![crate::store::fixtures::accepted_with(tenant, at(n), &[to], &data)]).await.unwrap();
    }
    let losses: [Deed; 6] = [
        ("nothing else", |_| {}),
        ("the end of the log", |dir| {
            let mut bytes = fs::read(dir.join("db")).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            bytes[used - 40_000..used].fill(0);
            fs::write(dir.join("db"), bytes).unwrap();
            without(dir, &["snap."]);
        }),
        ("what is in the log", |dir| fs::write(dir.join("db"), "").unwrap()),
        ("the log", |dir| without(dir, &["db", "snap."])),
        ("all but a folder", |dir| without(dir, &["db", "snap.", "conf", "ballast"])),
        ("all but the ballast", |dir| {
            without(dir, &["db", "snap.", "conf", "blobs"]);
            fs::write(dir.join("ballast"), "").unwrap();
        }),
    ];
    for (what, lose) in losses {
        for emptied in [false, true] {
            let left = TempDir::new().unwrap();
            copy(dir.path(), left.path());
            lose(left.path());
            without(left.path(), &[super::mark::NAME]);
            if emptied {
                fs::write(left.path().join(super::mark::NAME), "").unwrap();
            }
            let file = |name| fs::read(left.path().join(name)).ok();
            let before = [file("db"), file("conf")];
            let sentence = refusal(left.path(), options());
            assert!(sentence.contains("no mark") && sentence.contains("hookmill store check"), "{what}: {sentence}");
            assert!([file("db"), file("conf")] == before, "{what}: what is refused is left as it is");
            let checked = check(left.path());
            assert!(checked.wrong.0.contains_key("the mark of the last commit is missing"), "{what}");
            assert_eq!(checked.reach.acknowledged, None);
            assert!(what != "nothing else" || checked.wrong.0.len() == 2, "{:?}", checked.wrong);
            // The check says from where it can be gone on, and no word for more is taken.
            let commit = advised(&checked.wrong).unwrap_or_else(|| panic!("{what}: {:?}", checked.wrong));
            let accepting = |commit| SledOptions { accept_rollback_to: Some(commit), ..options() };
            let sentence = refusal(left.path(), accepting(commit + 1));
            assert!(sentence.contains("nobody knows how many"), "{what}: {sentence}");
            let (store, opened) = SledStore::open(left.path(), accepting(commit)).unwrap();
            let events = store.events(tenant, &EventFilter::default(), 99, None).await.unwrap().items.len();
            assert_eq!(events == 70, what == "nothing else", "{what}: {events}");
            assert!(opened.commit_seq >= commit, "{what}");
            drop(store);
            open(left.path());
        }
    }
}

/// A first start may be cut off anywhere: the next one works, and until then nothing is called damage.
#[test]
fn a_first_start_that_was_cut_off() {
    let stages: [Deed; 8] = [
        ("a folder", |_| {}),
        ("a lock", |dir| fs::write(dir.join("LOCK"), "").unwrap()),
        ("an empty mark", |dir| fs::write(dir.join(super::mark::NAME), "").unwrap()),
        ("a mark", |dir| super::mark::Mark::begin(dir).unwrap()),
        ("half of sled's settings", |dir| {
            super::mark::Mark::begin(dir).unwrap();
            fs::create_dir(dir.join("blobs")).unwrap();
            fs::write(dir.join("conf"), "segment_size: 524288\nuse_compression: false\nversion: 0.34").unwrap();
        }),
        ("an empty file", |dir| {
            super::mark::Mark::begin(dir).unwrap();
            drop(::sled::open(dir).unwrap());
            fs::write(dir.join("db"), "").unwrap();
        }),
        ("some tables", |dir| {
            super::mark::Mark::begin(dir).unwrap();
            let db = ::sled::open(dir).unwrap();
            for table in ["events", "meta"] {
                db.open_tree(table).unwrap();
            }
        }),
        ("half of what sled wrote", |dir| {
            super::mark::Mark::begin(dir).unwrap();
            drop(::sled::open(dir).unwrap());
            drop(::sled::open(dir).unwrap());
            let file = fs::OpenOptions::new().write(true).open(dir.join("db")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
    ];
    for (what, make) in stages {
        let (dir, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        make(dir.path());
        match Inspection::open(dir.path(), scratch.path()) {
            Ok(inspection) => assert_eq!(inspection.check(|_| {}).wrong, Wrongs::default(), "{what}"),
            Err(error) => assert!(error.to_string().contains("there is no store"), "{what}: {error}"),
        }
        let (store, opened) = open(dir.path());
        assert_eq!(opened.commit_seq, 1, "{what}");
        drop(store);
        assert_eq!(check(dir.path()).wrong, Wrongs::default(), "{what}");
    }
}

#[test]
fn a_missing_event_of_the_last_commits_is_refused() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let sent = accepted(tenant, at(0), &[to]);
    let (event, delivery) = (sent.event.id, sent.deliveries[0].id);
    let store = SledStore::open(dir.path(), SledOptions { linger: Duration::ZERO, ..options() }).unwrap().0;
    runtime.block_on(store.accept(vec![sent])).unwrap();
    // With this commit its delivery gets a row.
    runtime.block_on(store.begin(Vec::new())).unwrap();
    drop(store);
    for (tree, key) in [
        ("queue", None),
        ("deliveries", Some(super::keys::pair(tenant, delivery.to_bytes()))),
        ("events", Some(super::keys::pair(tenant, event.to_bytes()))),
    ] {
        let db = ::sled::open(dir.path()).unwrap();
        let tree = db.open_tree(tree).unwrap();
        match key {
            Some(key) => assert!(tree.remove(key).unwrap().is_some()),
            None => assert!(tree.pop_min().unwrap().is_some()),
        }
        drop((db, tree));
        let sentence = refusal(dir.path(), options());
        assert!(sentence.contains("is missing, which was acknowledged"), "{sentence}");
    }
    let accepting = SledOptions { accept_rollback_to: Some(0), ..options() };
    SledStore::open(dir.path(), accepting).unwrap();
}

/// One record of each table is lost: a check names it, and what is salvaged is sound and is served.
#[test]
fn what_is_lost_is_named_and_the_rest_is_salvaged() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let store = SledStore::open(dir.path(), SledOptions { linger: Duration::ZERO, ..options() }).unwrap().0;
    let sent: Vec<_> = (0..3)
        .map(|n| {
            let data = format!("\"{}\"", "z".repeat(20_000));
            let sent = crate::store::fixtures::accepted_with(tenant, at(n), &[to], &data);
            Accepted { dedupe: dedupe(&format!("k{n}"), 1, at(9_999)), ..sent }
        })
        .collect();
    let many: Vec<_> = (0..70).map(|_| lane()).collect();
    runtime.block_on(store.accept(sent.clone())).unwrap();
    runtime.block_on(store.accept(vec![accepted(tenant, at(4), &many)])).unwrap();
    for _ in 0..many.len() {
        // With each commit a part of them is written out.
        runtime.block_on(store.begin(Vec::new())).unwrap();
    }
    let due = runtime.block_on(store.take(&[(to, 1)], at(9))).unwrap().remove(0).due.remove(0);
    let end = failed_once(due.delivery, at(50), Some(frozen(9_000)));
    let attempt = crate::store::fixtures::attempt(1, at(9), Outcome::Delivered, Verdict::Deliver);
    runtime.block_on(store.settle(vec![Settled { delivery: end, attempt: Some(attempt) }])).unwrap();
    let begun = sent[1].deliveries[0].clone();
    runtime.block_on(store.begin(vec![begun])).unwrap();
    runtime.block_on(store.close()).unwrap();
    drop(store);
    let sound = check(dir.path());
    assert_eq!(sound.wrong, Wrongs::default());
    assert_eq!((sound.records["events"], sound.records["deliveries"]), (4, 73));
    for (tree, found, events, deliveries) in [
        ("events", "a delivery has no event", 3, 72),
        ("deliveries", "a delivery of an event is missing", 4, 73),
        ("queue", "a pending delivery is not in the queue", 4, 73),
        ("frozen", "the frozen output of a delivery is missing", 4, 73),
        ("begun", "a delivery that was begun has no mark of it", 4, 73),
        ("owed", "an event has no list of its deliveries", 4, 73),
        ("chunks", "a record of the table events can't be read: a large value", 3, 72),
        ("attempts", "", 4, 73),
        ("ids", "", 4, 73),
    ] {
        let damaged = TempDir::new().unwrap();
        copy(dir.path(), damaged.path());
        let db = ::sled::open(damaged.path()).unwrap();
        assert!(db.open_tree(tree).unwrap().pop_min().unwrap().is_some(), "{tree}");
        drop(db);
        let checked = check(damaged.path());
        let named = checked.wrong.0.keys().any(|what| what.contains(found));
        assert_eq!(named, !found.is_empty(), "{tree}: {:?}", checked.wrong);
        let (scratch, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let inspection = Inspection::open(damaged.path(), scratch.path()).unwrap();
        let salvaged = inspection.salvage(new.path(), |_| {}).unwrap();
        assert_eq!((salvaged.kept["events"], salvaged.kept["deliveries"]), (events, deliveries), "{tree}");
        assert_eq!(check(new.path()).wrong, Wrongs::default(), "{tree}");
        let mut lines = Vec::new();
        let exported = inspection.export(&mut lines, |_| {}).unwrap();
        assert_eq!(exported.lines["event"], events, "{tree}");
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line.as_object().unwrap().len(), 1);
        }
        let (store, opened) = open(new.path());
        assert_eq!(opened.held, 1, "{tree}: begun before the damage, and never settled");
        let offered = runtime.block_on(store.take(&[(to, 9), (many[0], 9)], at(99))).unwrap();
        let offered: Vec<_> = offered.iter().map(|taken| taken.due.len()).collect();
        let lost = usize::from(events == 3);
        assert_eq!(offered, [2 - lost, 1], "{tree}");
    }
}

/// A start may read it too, so the check does: sled writes it anew when its segment is to be used again.
#[test]
fn a_page_that_no_table_leads_to_is_checked() {
    let dir = TempDir::new().unwrap();
    let mark = b"a value in the table that sled makes for itself";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(open(dir.path()).0.close()).unwrap();
    let db = ::sled::open(dir.path()).unwrap();
    db.insert("key", &mark[..]).unwrap();
    drop(db);
    let (store, _) = open(dir.path());
    let data = format!("\"{}\"", "z".repeat(20_000));
    // More than a segment, so that the next start does not read over it.
    for n in 0..60 {
        let sent = crate::store::fixtures::accepted_with(TenantId::new(at(0)), at(n), &[lane()], &data);
        runtime.block_on(store.accept(vec![sent])).unwrap();
    }
    runtime.block_on(store.close()).unwrap();
    drop(store);
    runtime.block_on(open(dir.path()).0.close()).unwrap();
    assert_eq!(check(dir.path()).wrong, Wrongs::default());
    let mut bytes = fs::read(dir.path().join("db")).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(mark)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| bytes[place] ^= 1);
    fs::write(dir.path().join("db"), bytes).unwrap();
    let wrong = check(dir.path()).wrong;
    assert!(wrong.0.keys().eq(["a page that no table leads to can't be read"]), "{wrong:?}");
}

/// What a replay has added to an event is checked, and salvaged, like what stands in it.
#[test]
fn what_replays_added_is_checked_and_salvaged() {
    let (dir, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tenant = TenantId::new(at(0));
    let store = open(dir.path()).0;
    let sent = accepted(tenant, at(0), &[lane()]);
    let event = Arc::clone(&sent.event);
    runtime.block_on(store.accept(vec![sent])).unwrap();
    let added = crate::store::fixtures::owed(&event, lane());
    let step = ReplayStep {
        replay: crate::store::fixtures::replay(tenant),
        add: vec![added.clone()],
        again: Vec::new(),
        now: at(1),
    };
    runtime.block_on(store.replay(step)).unwrap();
    runtime.block_on(store.close()).unwrap();
    drop(store);
    let sound = check(dir.path());
    assert_eq!((&sound.wrong, sound.records["added"]), (&Wrongs::default(), 1));
    let scratch = TempDir::new().unwrap();
    let salvaged = Inspection::open(dir.path(), scratch.path()).unwrap().salvage(new.path(), |_| {}).unwrap();
    assert_eq!((salvaged.kept["added"], salvaged.kept["deliveries"]), (1, 2));
    assert_eq!(check(new.path()).wrong, Wrongs::default());
    let store = open(new.path()).0;
    let of_event = DeliveryFilter { event_id: Some(event.id), ..DeliveryFilter::default() };
    let found = runtime.block_on(store.deliveries(tenant, &of_event, 9, None)).unwrap().items;
    assert_eq!((found.len(), &found[0]), (2, &added));
    drop(store);
    for (tree, found) in [
        ("events", "an added delivery has no event"),
        ("deliveries", "a delivery that a replay has added is missing"),
        ("added", ""),
    ] {
        let damaged = TempDir::new().unwrap();
        copy(new.path(), damaged.path());
        let db = ::sled::open(damaged.path()).unwrap();
        assert!(db.open_tree(tree).unwrap().pop_max().unwrap().is_some(), "{tree}");
        drop(db);
        let checked = check(damaged.path());
        let named = checked.wrong.0.keys().any(|what| what.contains(found));
        assert_eq!(named, !found.is_empty(), "{tree}: {:?}", checked.wrong);
    }
}

#[test]
fn who_else_may_not_be_in_the_directory() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let sentence = refusal(dir.path(), options());
    assert!(sentence.contains("in use by another process"), "{sentence}");
    assert!(sentence.contains(dir.path().to_str().unwrap()), "{sentence}");
    drop(store);
    // What a kill during an earlier open leaves.
    fs::write(dir.path().join("snap.0000000000000009.generating"), b"half").unwrap();
    let store = open(dir.path()).0;
    assert!(!dir.path().join("snap.0000000000000009.generating").exists());
    drop(store);
    // A newer version's, and another program's.
    let db = ::sled::open(dir.path()).unwrap();
    db.open_tree("meta").unwrap().insert(b"schema", &[1, 0, 0, 0, 99, b's'][..]).unwrap();
    drop(db);
    let sentence = refusal(dir.path(), options());
    assert!(sentence.contains("newer version (schema 99"), "{sentence}");
    let foreign = TempDir::new().unwrap();
    let db = ::sled::open(foreign.path()).unwrap();
    db.open_tree("somebody's").unwrap().insert(b"a", b"b").unwrap();
    drop(db);
    let sentence = refusal(foreign.path(), options());
    assert!(sentence.contains("another program's database"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_events_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let free = Arc::new(AtomicU64::new(500));
    let probe = {
        let free = Arc::clone(&free);
        Arc::new(move |_: &Path| {
            Ok(Space { total: 1_000_000_000_000, free: free.load(Ordering::Relaxed) * 1_000_000_000 })
        })
    };
    let disk = DiskGuard { ballast: 4096, every: Duration::ZERO, probe, ..DiskGuard::default() };
    let store = SledStore::open(dir.path(), SledOptions { disk, ..options() }).unwrap().0;
    assert!(dir.path().join("ballast").exists());
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let event = |ms| vec![accepted(tenant, at(ms), &[to])];
    store.accept(event(0)).await.unwrap();
    let taken = store.take(&[(to, 1)], at(0)).await.unwrap().remove(0).due.remove(0);
    for (permille, refused) in
        [(101, false), (100, true), (140, true), (150, true), (151, false), (110, false), (9, true)]
    {
        free.store(permille, Ordering::Relaxed);
        let answer = store.accept(event(5)).await;
        assert_eq!(matches!(answer, Err(Error::DiskFull(_))), refused, "{permille}: {answer:?}");
        assert_eq!(store.usage().await.unwrap().refusing, refused);
    }
    store.settle(vec![Settled { delivery: delivered(taken.delivery, at(1)), attempt: None }]).await.unwrap();
    store.begin(Vec::new()).await.unwrap();
    assert_eq!(store.prune(at(1), at(1), 9).await.unwrap().events, 1);
    free.store(500, Ordering::Relaxed);
    store.accept(event(6)).await.unwrap();
    store.close().await.unwrap();
    assert!(!dir.path().join("ballast").exists());
}

/// A step of retention that removes only some of an event's deliveries leaves nothing that looks like a loss.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_half_forgotten_is_no_damage() {
    let dir = TempDir::new().unwrap();
    let store = SledStore::open(dir.path(), SledOptions { linger: Duration::ZERO, ..options() }).unwrap().0;
    let tenant = TenantId::new(at(0));
    let lanes: Vec<_> = (0..1_200).map(|_| (lane(), 1)).collect();
    let to: Vec<_> = lanes.iter().map(|(lane, _)| *lane).collect();
    store.accept(vec![accepted(tenant, at(0), &to)]).await.unwrap();
    let taken = store.take(&lanes, at(0)).await.unwrap();
    let attempt = || Some(crate::store::fixtures::attempt(1, at(1), Outcome::Delivered, Verdict::Deliver));
    let end = |delivery| Settled { delivery: delivered(delivery, at(1)), attempt: attempt() };
    store.settle(taken.into_iter().flat_map(|taken| taken.due).map(|due| end(due.delivery)).collect()).await.unwrap();
    // Ends wait for a commit; until then their deliveries are open.
    store.begin(Vec::new()).await.unwrap();
    loop {
        // At first parts of the fan-out are still to be written out, and nothing goes.
        let pruned = store.prune(at(9), at(9), 9).await.unwrap();
        assert!(pruned.more && pruned.events == 0, "{pruned:?}");
        let left = store.deliveries(tenant, &DeliveryFilter::default(), 1_300, None).await.unwrap().items.len();
        assert!(left > 0);
        if left < 1_200 {
            break;
        }
    }
    let left = TempDir::new().unwrap();
    copy(dir.path(), left.path());
    assert_eq!(check(left.path()).wrong, Wrongs::default());
    open(left.path());
}

/// A process may end after any of the commits that a large event with many deliveries takes. Then it is there whole, or
/// nothing of it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_ahead_of_an_event_that_never_came_is_removed() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
    let made = Arc::new(AtomicU64::new(0));
    let number = Arc::clone(&made);
    let on_commit: super::shared::OnCommit =
        Box::new(move |_, _| copy(&from, &to.join(number.fetch_add(1, Ordering::Relaxed).to_string())));
    let options = SledOptions { on_commit: Some(on_commit), linger: LINGERS[1], ..options() };
    let store = SledStore::open(dir.path(), options).unwrap().0;
    let before = made.load(Ordering::Relaxed);
    let lanes: Vec<_> = (0..200).map(|_| (lane(), 1)).collect();
    let to: Vec<_> = lanes.iter().map(|(lane, _)| *lane).collect();
    let tenant = TenantId::new(at(0));
    let sent = crate::store::fixtures::accepted_with(tenant, at(0), &to, &format!("\"{}\"", "z".repeat(200_000)));
    let event = sent.event.id;
    store.accept(vec![sent]).await.unwrap();
    let until = made.load(Ordering::Relaxed);
    assert!(until - before > 4, "{before} to {until}");
    for number in before..until {
        let left = copies.path().join(number.to_string());
        let found = check(&left);
        assert_eq!(found.wrong, Wrongs::default(), "{number}");
        assert!(found.records["chunks"] > 0, "{number}");
        let store = open(&left).0;
        let whole = store.event(tenant, event).await.unwrap();
        assert_eq!(whole.is_some(), number + 1 == until, "{number}");
        let taken = store.take(&lanes, at(9)).await.unwrap();
        assert_eq!(taken.iter().map(|taken| taken.due.len()).sum::<usize>(), if whole.is_some() { 200 } else { 0 });
        store.close().await.unwrap();
        drop(store);
        let found = check(&left);
        assert_eq!(found.wrong, Wrongs::default(), "{number}");
        if whole.is_none() {
            for table in ["events", "chunks", "owed", "expansions"] {
                assert_eq!(found.records[table], 0, "{table} after {number}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_becomes_a_file_of_its_own() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let blobs = || fs::read_dir(dir.path().join("blobs")).unwrap().count();
    for n in 0..40 {
        let data = format!("\"{}\"", "z".repeat(2_000 << (n % 8)));
        let sent = crate::store::fixtures::accepted_with(tenant, at(n), &[to], &data);
        store.accept(vec![sent]).await.unwrap();
        let taken = store.take(&[(to, 9)], at(n)).await.unwrap().remove(0);
        for due in taken.due {
            let end = failed_once(due.delivery, at(n + 1), Some(frozen(50_000)));
            store.settle(vec![Settled { delivery: end, attempt: None }]).await.unwrap();
        }
        store.begin(Vec::new()).await.unwrap();
    }
    assert_eq!(blobs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_waiting_leaves_nothing_in_hand() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let kept = Accepted { in_hand: 1, ..accepted(tenant, at(0), &[to]) };
    let id = kept.deliveries[0].id;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    // Whoever was answered at once has it in hand, and gives it back; the others just stop waiting.
    if store.accept(vec![kept]).as_mut().poll(&mut cx).is_ready() {
        store.release(vec![id]).await.unwrap();
    }
    store.begin(Vec::new()).await.unwrap();
    let lanes = [(to, 1)];
    if store.take(&lanes, at(0)).as_mut().poll(&mut cx).is_ready() {
        store.release(vec![id]).await.unwrap();
    }
    let mut ends = 0;
    while ends == 0 {
        // The dropped one's read may still be under way.
        ends = store.take(&lanes, at(0)).await.unwrap()[0].due.len();
    }
    assert_eq!(ends, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_to_write_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let (held, go) = std::sync::mpsc::channel::<()>();
    let go = parking_lot::Mutex::new(go);
    let commits = AtomicU64::new(0);
    let on_commit = Box::new(move |_, _| {
        // The one that makes the directory is let through.
        if commits.fetch_add(1, Ordering::Relaxed) > 0 {
            let _ = go.lock().recv();
        }
    });
    let tight = SledOptions { inbox_bytes: 4096, on_commit: Some(on_commit), ..options() };
    let store = Arc::new(SledStore::open(dir.path(), tight).unwrap().0);
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut accept = {
            let store = Arc::clone(&store);
            Box::pin(async move { store.accept(vec![accepted(tenant, at(0), &[to])]).await })
        };
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match accept.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(answer) => break answer,
            std::task::Poll::Pending => waiting.push(accept),
        }
    };
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    assert!(!waiting.is_empty() && waiting.len() <= 8);
    drop(held);
    for accept in waiting {
        assert_eq!(accept.await.unwrap(), [Receipt::Stored]);
    }
}

/// Of an id that an older version has written, a second one is a duplicate as long as it would have been there.
#[tokio::test]
async fn ids_of_older_versions_are_known() {
    let dir = TempDir::new().unwrap();
    let (tenant, to) = (TenantId::new(at(0)), lane());
    let sent = |n, content| Accepted { dedupe: dedupe("k", content, at(100)), ..accepted(tenant, at(n), &[to]) };
    let first = sent(0, 1);
    let store = open(dir.path()).0;
    store.accept(vec![first.clone()]).await.unwrap();
    drop(store);
    let db = ::sled::open(dir.path()).unwrap();
    let (_, value) = db.open_tree("ids").unwrap().pop_min().unwrap().unwrap();
    let id = super::keys::ClientId::of(tenant, first.dedupe.as_ref().unwrap());
    db.open_tree("dedupe").unwrap().insert(id.key_before_version_7(), value).unwrap();
    drop(db);
    assert_eq!(check(dir.path()).wrong, Wrongs::default());
    let (scratch, salvaged) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    Inspection::open(dir.path(), scratch.path()).unwrap().salvage(salvaged.path(), |_| {}).unwrap();

    for dir in [dir.path(), salvaged.path()] {
        let store = open(dir).0;
        let event_id = first.event.id;
        assert_eq!(store.accept(vec![sent(1, 1)]).await.unwrap(), [Receipt::Duplicate { event_id, deliveries: 1 }]);
        assert_eq!(store.accept(vec![sent(2, 2)]).await.unwrap(), [Receipt::Conflict { event_id }]);
        assert_eq!(store.accept(vec![sent(100, 2)]).await.unwrap(), [Receipt::Stored], "its time is over");
        store.prune(at(-1), at(100), 9).await.unwrap();
        drop(store);
        let db = ::sled::open(dir).unwrap();
        assert!(db.open_tree("dedupe").unwrap().is_empty(), "it is forgotten when its time is over");
    }
}

/// Values written by version 1 must be read by every later one.
#[test]
fn version_1_is_still_read() {
    use super::codec;
    let tenant = TenantId::from_bytes([1; 16]);
    let known = codec::Known {
        event_id: crate::domain::EventId::from_bytes([2; 16]),
        content: [3; codec::CONTENT],
        deliveries: 4,
        until_ms: 1_767_225_600_000,
    };
    let rest = &[4, 0x80, 0xa0, 0xd5, 0xed, 0xee, 0x66][..];
    let version_1 = [&[1][..], &[2; 16], &[3; 32], rest].concat();
    assert_eq!(codec::known(&version_1).unwrap(), known);
    let mut out = Vec::new();
    codec::put_known(&mut out, &known).unwrap();
    assert_eq!(out, [&[2][..], &[2; 16], &[3; codec::CONTENT], rest].concat());
    assert_eq!(codec::known(&out).unwrap(), known);
    assert!(out.len() <= 38, "it stands in its leaf");
    let delivery = Delivery {
        id: crate::domain::DeliveryId::from_bytes([5; 16]),
        tenant_id: tenant,
        event_id: crate::domain::EventId::from_bytes([2; 16]),
        subscription_id: SubscriptionId::from_bytes([6; 16]),
        lane: Lane { subscription_id: SubscriptionId::from_bytes([6; 16]), key: 9 },
        ..crate::store::fixtures::delivery()
    };
    let fresh_id = Delivery { fresh_id: true, ..delivery.clone() };
    for attempt in [None, Some(&b"an attempt"[..])] {
        for delivery in [&delivery, &fresh_id] {
            codec::put_ended(&mut out, delivery, (true, 300), attempt).unwrap();
            let read = codec::delivery(tenant, delivery.id, &out).unwrap();
            assert_eq!((&read.delivery, read.attempt.as_deref()), (delivery, attempt));
            let before = std::mem::take(&mut out);
            codec::put_delivery(&mut out, &read).unwrap();
            assert_eq!(out, before);
        }
    }
    codec::put_ended(&mut out, &delivery, (true, 300), None).unwrap();
    let time = [0x80, 0xe4, 0xad, 0x95, 0x0d, 0];
    let expected = [
        &[1][..],
        &[2; 16],
        &[23],
        b"event.purchase_complete",
        &[6; 16],
        // Revision, no other subscription, lane key, pending, no reason, automatic, no attempts.
        &[3, 0, 9, 0, 0, 0, 0],
        &time,
        &[1],
        &time,
        // Not finished, no answer, not begun, frozen, position 300.
        &[0, 0, 0, 1, 0xac, 2],
    ]
    .concat();
    assert_eq!(out, expected);
    let read = codec::delivery(tenant, delivery.id, &out).unwrap();
    assert_eq!((read.delivery, read.frozen, read.position), (delivery, true, 300));
}

/// An event and the commit record of version 1, when every delivery had a row from the beginning.
#[test]
fn what_version_1_wrote_otherwise_is_still_read() {
    use super::codec;
    let (tenant, id) = (TenantId::from_bytes([1; 16]), crate::domain::EventId::from_bytes([2; 16]));
    let time = [0x80, 0xe4, 0xad, 0x95, 0x0d, 0];
    let stored = [
        // No id of the client's, the type, no source, its own name for one or none.
        &[1, 0, 3][..],
        b"a.b",
        &[0, 0],
        &time,
        &time,
        &[2],
        b"{}",
        // No attributes; owed to one, which is named by delivery and subscription.
        &[0, 1, 1],
        &[5; 16],
        &[6; 16],
    ]
    .concat();
    let record = codec::event(tenant, id, &stored).unwrap();
    assert_eq!((&*record.event.data, record.owed), ("{}", 1));
    let pair = (crate::domain::DeliveryId::from_bytes([5; 16]), SubscriptionId::from_bytes([6; 16]));
    assert_eq!(record.inline, [pair]);
    assert_eq!(codec::fresh_deliveries(tenant, &stored).unwrap(), []);
    let tally = codec::tally(&[1, 7, 8, 9]).unwrap();
    assert_eq!(tally, codec::Tally { seq: 7, position: 8, live: 9, written: 7 });
}

/// Version 2 knew no replays and no uploads: there was no table for what they add, and no mark behind a delivery. What it
/// left is served, carried on, and from then on this version's.
#[tokio::test]
async fn a_store_of_version_2_is_carried_on() {
    let dir = TempDir::new().unwrap();
    let tenant = TenantId::new(at(0));
    let (store, _) = open(dir.path());
    let sent = [accepted(tenant, at(0), &[lane(), lane()]), accepted(tenant, at(1), &[lane()])];
    store.accept(sent.to_vec()).await.unwrap();
    let again = failed_once(sent[0].deliveries[0].clone(), at(60_000), Some(frozen(10)));
    let done = delivered(sent[0].deliveries[1].clone(), at(5));
    let settled = [again.clone(), done.clone()].map(|delivery| Settled { delivery, attempt: None });
    store.settle(settled.to_vec()).await.unwrap();
    store.flush().await.unwrap();
    drop(store);
    let schema = |version: u8| [&[1, 0, 0, 0, version][..], b"sled 0.34"].concat();
    let written_by = |db: &::sled::Db| db.open_tree("meta").unwrap().get(b"schema").unwrap().unwrap().to_vec();
    let db = ::sled::open(dir.path()).unwrap();
    assert_eq!(written_by(&db), schema(7));
    for table in ["added", "components", "ids"] {
        assert!(db.drop_tree(table).unwrap(), "version 2 had no such table");
    }
    db.open_tree("meta").unwrap().insert(b"schema", schema(2)).unwrap();
    drop(db);

    let (store, opened) = open(dir.path());
    // The last event's delivery has no row of its own yet.
    assert_eq!((opened.held, opened.waiting), (0, 1));
    for one in &sent {
        assert_eq!(store.event(tenant, one.event.id).await.unwrap().unwrap().event, one.event);
    }
    for delivery in [&again, &done, &sent[1].deliveries[0]] {
        assert_eq!(store.delivery(tenant, delivery.id).await.unwrap().as_ref(), Some(delivery));
    }
    // And what was not known then goes on from there.
    let added = crate::store::fixtures::owed(&sent[1].event, lane());
    let step = ReplayStep {
        replay: crate::store::fixtures::replay(tenant),
        add: vec![Delivery { fresh_id: true, ..added.clone() }],
        again: Vec::new(),
        now: at(50),
    };
    store.replay(step).await.unwrap();
    drop(store);
    let db = ::sled::open(dir.path()).unwrap();
    assert_eq!(written_by(&db), schema(7));
    drop(db);
    let store = open(dir.path()).0;
    let found = store.delivery(tenant, added.id).await.unwrap().unwrap();
    assert!(found.fresh_id);
    let of_event = DeliveryFilter { event_id: Some(sent[1].event.id), ..DeliveryFilter::default() };
    assert_eq!(store.deliveries(tenant, &of_event, 9, None).await.unwrap().items.len(), 2);
}

/// What was begun, cancelled and forgotten leaves nothing that a check would find.
#[tokio::test]
async fn what_was_begun_and_cancelled_leaves_no_mark() {
    for linger in LINGERS {
        let sled = Embedded::new(linger);
        let (store, tenant) = (sled.store(), TenantId::new(at(0)));
        let sent = accepted(tenant, at(0), &[lane()]);
        store.accept(vec![sent.clone()]).await.unwrap();
        store.begin(sent.deliveries.clone()).await.unwrap();
        store.cancel(tenant, sent.deliveries[0].id, at(1)).await.unwrap();
        store.prune(at(100), at(100), 9).await.unwrap();
        assert_eq!(store.delivery(tenant, sent.deliveries[0].id).await.unwrap(), None);
        drop(store);
        assert_eq!(check(sled.copied().path()).wrong, Wrongs::default());
    }
}

/// One step of a random life. Numbers choose among what exists.
#[derive(Debug, Clone)]
enum Act {
    Accept { tenant: u8, lanes: u8, in_hand: u8, key: Option<u8>, content: u8 },
    Take { lane: u8, limit: u8 },
    Release { which: u8 },
    Begin { which: u8 },
    Settle { which: u8, end: u8 },
    Requeue { which: u8 },
    Cancel { which: u8 },
    Prune { limit: u8 },
    Wait { ms: u16 },
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..2_u8, 0..8_u8, 0..3_u8, proptest::option::of(0..3_u8), 0..2_u8)
            .prop_map(|(tenant, lanes, in_hand, key, content)| Act::Accept { tenant, lanes, in_hand, key, content }),
        4 => (0..3_u8, 0..4_u8).prop_map(|(lane, limit)| Act::Take { lane, limit }),
        1 => any::<u8>().prop_map(|which| Act::Release { which }),
        1 => any::<u8>().prop_map(|which| Act::Begin { which }),
        5 => (any::<u8>(), 0..4_u8).prop_map(|(which, end)| Act::Settle { which, end }),
        1 => any::<u8>().prop_map(|which| Act::Requeue { which }),
        1 => any::<u8>().prop_map(|which| Act::Cancel { which }),
        1 => (1..200_u8).prop_map(|limit| Act::Prune { limit }),
        3 => (0..300_u16).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 1..40)
}

/// Does the same to the model and to sled, and compares every answer.
async fn live(acts: Vec<Act>, linger: Duration) {
    let mut sled = Embedded::new(linger);
    let model = MemoryStore::new();
    let tenants = [TenantId::new(at(0)), TenantId::new(at(0))];
    let lanes = [lane(), lane(), Lane { subscription_id: SubscriptionId::new(at(0)), key: 3 }];
    let mut now = 0;
    let mut all: Vec<Delivery> = Vec::new();
    for act in acts {
        let store = sled.store();
        let pick = |which: u8| all.get(usize::from(which) % all.len().max(1)).cloned();
        match act {
            Act::Accept { tenant, lanes: to, in_hand, key, content } => {
                let to: Vec<_> =
                    lanes.iter().enumerate().filter(|(n, _)| to & (1 << n) != 0).map(|(_, l)| *l).collect();
                let id = key.and_then(|key| dedupe(&format!("k{key}"), content, at(now + 200)));
                let sent = accepted(tenants[usize::from(tenant)], at(now), &to);
                let sent = Accepted { in_hand: usize::from(in_hand), dedupe: id, ..sent };
                let receipts = store.accept(vec![sent.clone()]).await.unwrap();
                assert_eq!(receipts, model.accept(vec![sent.clone()]).await.unwrap());
                if receipts == [Receipt::Stored] {
                    all.extend(sent.deliveries);
                }
            }
            Act::Take { lane, limit } => {
                let wanted = [(lanes[usize::from(lane)], usize::from(limit))];
                let taken = store.take(&wanted, at(now)).await.unwrap();
                assert_eq!(taken, model.take(&wanted, at(now)).await.unwrap());
            }
            Act::Release { which } => {
                let ids: Vec<_> = pick(which).iter().map(|delivery| delivery.id).collect();
                store.release(ids.clone()).await.unwrap();
                model.release(ids).await.unwrap();
            }
            Act::Begin { which } => {
                let some: Vec<_> = pick(which).into_iter().collect();
                store.begin(some.clone()).await.unwrap();
                model.begin(some).await.unwrap();
            }
            Act::Settle { which, end } => {
                let Some(delivery) = pick(which) else { continue };
                let delivery = match end {
                    0 => failed_once(delivery, at(now + 50), None),
                    1 => failed_once(delivery, at(now + 90), Some(frozen(usize::from(which) * 100))),
                    _ => delivered(delivery, at(now)),
                };
                let batch = vec![Settled { delivery, attempt: None }];
                store.settle(batch.clone()).await.unwrap();
                store.begin(Vec::new()).await.unwrap();
                model.settle(batch).await.unwrap();
            }
            Act::Requeue { which } => {
                let Some(Delivery { tenant_id, id, .. }) = pick(which) else { continue };
                let answer = store.requeue(tenant_id, id, at(now)).await.unwrap();
                assert_eq!(answer, model.requeue(tenant_id, id, at(now)).await.unwrap());
            }
            Act::Cancel { which } => {
                let Some(Delivery { tenant_id, id, .. }) = pick(which) else { continue };
                let answer = store.cancel(tenant_id, id, at(now)).await.unwrap();
                assert_eq!(answer, model.cancel(tenant_id, id, at(now)).await.unwrap());
            }
            Act::Prune { limit } => {
                // Enough for all: with less, which tenant's turn it is differs.
                let limit = usize::from(limit) + 1_000;
                let mut ours = store.prune(at(now - 100), at(now), limit).await.unwrap();
                let mut theirs = model.prune(at(now - 100), at(now), limit).await.unwrap();
                ours.expired.sort_by_key(|due| due.delivery.id);
                theirs.expired.sort_by_key(|due| due.delivery.id);
                assert_eq!(ours, theirs);
            }
            Act::Wait { ms } => now += i64::from(ms),
            Act::Reopen => {
                drop(store);
                sled.crash().await;
                let _ = model.reopen();
            }
        }
        let store = sled.store();
        assert_eq!(store.heads().await.unwrap(), model.heads().await.unwrap());
    }
    let store = sled.store();
    for tenant in tenants {
        let none = (EventFilter::default(), DeliveryFilter::default());
        let events = store.events(tenant, &none.0, 99, None).await.unwrap();
        assert_eq!(events, model.events(tenant, &none.0, 99, None).await.unwrap());
        let deliveries = store.deliveries(tenant, &none.1, 99, None).await.unwrap();
        assert_eq!(deliveries, model.deliveries(tenant, &none.1, 99, None).await.unwrap());
        assert!(deliveries.items.iter().all(|delivery| due(delivery) >= at(0)));
    }
    drop(store);
    assert_eq!(check(sled.copied().path()).wrong, Wrongs::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_answers_as_the_model_does(acts in acts(), linger in prop::sample::select(&LINGERS[..])) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(acts, linger));
    }
}

/// Whoever goes away while a plugin is being written leaves nothing that is still there after the next start; what is
/// whole is checked, exported and salvaged.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_were_not_all_written() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).0;
    let tenant = TenantId::new(at(0));
    let bytes = vec![7; 1 << 20];
    let (whole, half) = (plugin_version(tenant, &bytes), plugin_version(tenant, &bytes));
    store.keep_plugin(whole.clone(), &bytes).await.unwrap();
    tokio::select! {
        biased;
        kept = store.keep_plugin(half.clone(), &bytes) => panic!("all of it in one go: {kept:?}"),
        () = async {
            // The units are written one after the other: by the time others have been, some have.
            for _ in 0..4 {
                store.flush().await.unwrap();
            }
        } => {}
    }
    assert_eq!(store.component(tenant, half.id).await.unwrap(), None);
    drop(store);
    let pieces = bytes.len().div_ceil(6 * 1024) as u64;
    let checked = check(dir.path());
    assert_eq!(checked.wrong, Wrongs::default(), "what is half written is no damage");
    assert!(checked.records["chunks"] > pieces, "some of it was written");
    drop(open(dir.path()));
    let checked = check(dir.path());
    assert_eq!((checked.records["components"], checked.records["chunks"]), (1, pieces));

    let scratch = TempDir::new().unwrap();
    let inspection = Inspection::open(dir.path(), scratch.path()).unwrap();
    let mut out = Vec::new();
    let exported = inspection.export(&mut out, |_| {}).unwrap();
    assert_eq!((exported.lines["plugin"], exported.lines["component"]), (1, 1));
    let to = TempDir::new().unwrap();
    inspection.salvage(to.path(), |_| {}).unwrap();
    assert_eq!(open(to.path()).0.component(tenant, whole.id).await.unwrap(), Some(bytes));
    drop(inspection);

    // A flipped piece, and a lost one.
    let db = ::sled::open(dir.path()).unwrap();
    let chunks = db.open_tree("chunks").unwrap();
    let (key, mut piece) = chunks.iter().next().unwrap().unwrap();
    piece[100] ^= 1;
    chunks.insert(key, piece).unwrap();
    drop((chunks, db));
    assert!(!check(dir.path()).wrong.0.is_empty());
    let scratch = TempDir::new().unwrap();
    let to = TempDir::new().unwrap();
    let salvaged = Inspection::open(dir.path(), scratch.path()).unwrap().salvage(to.path(), |_| {}).unwrap();
    assert!(
        salvaged.left_out.0.keys().any(|what| what.contains("has to be uploaded again")),
        "{:?}",
        salvaged.left_out
    );
    assert_eq!(open(to.path()).0.configuration().await.unwrap(), []);
}
