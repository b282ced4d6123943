//! Damage to the store's files: a gateway serves all that was acknowledged or says why it does not, and the tools
//! tell what is wrong, give what can be read, and make a new store of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookmill_tests::{Answer, Gateway, PATIENCE, Receiver, Setup, Tenant, binary, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Runs `hookmill store …`.
pub(super) async fn store(args: &[&str], data: &Path) -> Output {
    let mut command = Command::new(binary());
    command.arg("store").args(args).arg("--data").arg(data).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends by itself").unwrap()
}

pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What an export says, by kind.
fn lines(output: &Output) -> BTreeMap<String, Vec<Value>> {
    let mut lines = BTreeMap::<String, Vec<Value>>::new();
    for line in std::str::from_utf8(&output.stdout).unwrap().lines() {
        let line: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(line.len(), 1);
        line.into_iter().for_each(|(kind, record)| lines.entry(kind).or_default().push(record));
    }
    lines
}

pub(super) fn ids<'a>(records: impl IntoIterator<Item = &'a Value>, field: &str) -> BTreeSet<String> {
    records.into_iter().map(|record| record[field].as_str().unwrap().to_owned()).collect()
}

/// Everything in a list, or nothing if the gateway does not answer as it should.
pub(super) async fn list(tenant: &Tenant, path: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    let mut next = format!("{path}?limit=200");
    loop {
        let reply = tenant.api.try_send("GET", &next, &[], "").await.filter(|reply| reply.status == 200)?;
        let mut page = reply.json(200);
        all.append(page["data"].as_array_mut().unwrap());
        match page["next"].as_str() {
            Some(cursor) => next = format!("{path}?limit=200&cursor={cursor}"),
            None => return Some(all),
        }
    }
}

/// The tools on a store that has all of this, each event owed once: it is sound, read out whole, and made anew.
pub(super) async fn the_tools_find_all(data: &Path, acknowledged: &BTreeSet<String>, options: &[&str]) {
    let new = TempDir::new().unwrap();
    let to = new.path().join("data");
    let salvage = ["salvage", "--to", to.to_str().unwrap()];
    let mut exports = Vec::new();
    for (tool, data) in [(&["check"][..], data), (&["export"], data), (&salvage, data), (&["export"], &to)] {
        let output = store(&[tool, options].concat(), data).await;
        assert!(output.status.success(), "{tool:?}: {}", said(&output));
        if tool == ["export"] {
            exports.push(lines(&output));
        } else {
            assert!(!said(&output).contains('!'), "nothing is wrong or left out: {tool:?}: {}", said(&output));
        }
    }
    for found in exports {
        assert_eq!((&ids(&found["event"], "id"), found["delivery"].len()), (acknowledged, acknowledged.len()));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A gateway with traffic: some of it delivered, some of it owed to an endpoint that refuses until it is told to take.
struct Scene {
    gateway: Gateway,
    tenant: Tenant,
    endpoint: Receiver,
    open: Arc<AtomicBool>,
    acknowledged: BTreeSet<String>,
}

impl Scene {
    async fn start() -> Self {
        let gateway = Setup::new().with_clock().start().await;
        let open = Arc::new(AtomicBool::new(false));
        let endpoint = {
            let open = open.clone();
            Receiver::scripted(move |request, _| {
                let takes = request.path == "/ok" || open.load(Ordering::Relaxed);
                Answer::Status(if takes { 200 } else { 503 })
            })
            .await
        };
        let tenant = gateway.tenant("acme").await;
        for (url, events) in [("/ok", "done"), ("/later", "owed")] {
            tenant.subscribe(json!({"url": endpoint.url(url), "events": [events]})).await;
        }
        Self { gateway, tenant, endpoint, open, acknowledged: BTreeSet::new() }
    }

    /// Posts so many batches of ten, each event of about 4 KB and owed once.
    async fn post(&mut self, batches: usize) {
        let before = self.acknowledged.len();
        for batch in 0..batches {
            let line = |n: usize| {
                let event_type = if n.is_multiple_of(2) { "done" } else { "owed" };
                let text = format!("{batch}-{n} ").repeat(900);
                json!({"type": event_type, "data": {"n": n, "text": text}}).to_string()
            };
            let body = (0..10).map(line).collect::<Vec<_>>().join("\n");
            let headers = [("content-type", "application/x-ndjson")];
            let receipt = self.tenant.api.send("POST", "/v1/events", &headers, body).await.json(202);
            self.acknowledged.extend(ids(receipt["data"].as_array().unwrap(), "id"));
        }
        let delivered = self.acknowledged.len() / 2;
        assert_eq!(self.acknowledged.len() - before, batches * 10);
        eventually("what can be delivered is", async || {
            (self.tenant.deliveries("status=delivered").await.len() == delivered).then_some(())
        })
        .await;
    }

    async fn restart(&mut self) {
        self.gateway.restart().await;
        self.tenant = self.gateway.again(&self.tenant);
    }

    fn sled(&self) -> PathBuf {
        self.gateway.data().join("sled")
    }

    /// Puts files in the place of the store's.
    fn lay_out(&self, template: &Path) {
        fs::remove_dir_all(self.sled()).unwrap();
        copy(template, &self.sled());
    }

    /// Starts on what lies there. Gives what is served, or the sentence with which nothing more is.
    async fn served(&mut self) -> Result<(BTreeSet<String>, usize), String> {
        let (status, said) = match self.gateway.try_start().await {
            Err(refused) => refused,
            Ok(()) => {
                let tenant = self.gateway.again(&self.tenant);
                let events = list(&tenant, "/v1/events").await;
                match events.zip(list(&tenant, "/v1/deliveries").await) {
                    Some((events, deliveries)) => {
                        self.gateway.kill9().await;
                        return Ok((ids(&events, "id"), ids(&deliveries, "event_id").len()));
                    }
                    // It met the damage while it served.
                    None => self.gateway.end().await,
                }
            }
        };
        assert!(status.code().is_some_and(|code| code != 0), "it ends with a code: {status}: {said}");
        let sentence = said.rfind("hookmill: ").unwrap_or_else(|| panic!("it says why: {said}"));
        Err(said[sentence..].to_owned())
    }
}

/// What is done to the files of a store.
#[derive(Debug)]
enum Damage {
    /// The file's last bytes are missing.
    Cut(u64),
    /// One bit of a file whose name begins so is another, so far into it in thousandths.
    Flip(&'static str, u64),
    /// Files whose names begin so are gone.
    Gone(&'static [&'static str]),
    /// A file whose name begins so is empty.
    Emptied(&'static str),
    /// The last so many bytes of the log are zeros, and what says that there were more is gone.
    Forgotten(usize),
    /// A start was killed while it wrote this.
    Left(&'static str),
}

pub(super) fn named(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

impl Damage {
    /// Does it; `false` if there is no such file.
    fn to(&self, dir: &Path) -> bool {
        match self {
            Self::Cut(bytes) => {
                let file = fs::OpenOptions::new().write(true).open(dir.join("db")).unwrap();
                file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
            }
            Self::Flip(name, thousandths) => {
                let Some(path) = named(dir, name).pop() else { return false };
                let mut bytes = fs::read(&path).unwrap();
                let at = usize::try_from((bytes.len() as u64 - 1) * thousandths / 1000).unwrap();
                bytes[at] ^= 1 << (thousandths % 8);
                fs::write(&path, bytes).unwrap();
            }
            Self::Gone(names) => {
                for path in names.iter().flat_map(|name| named(dir, name)) {
                    fs::remove_file(path).unwrap();
                }
            }
            Self::Emptied(name) => named(dir, name).iter().for_each(|path| fs::write(path, "").unwrap()),
            Self::Forgotten(bytes) => {
                let mut log = fs::read(dir.join("db")).unwrap();
                let used = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
                log[used - bytes..used].fill(0);
                fs::write(dir.join("db"), log).unwrap();
                Self::Gone(&["snap.", "commit.mark"]).to(dir);
            }
            Self::Left(name) => fs::write(dir.join(name), "half").unwrap(),
        }
        true
    }
}

fn damages(length: u64) -> Vec<Damage> {
    let long = hookmill_tests::is_long();
    let mut all = vec![Damage::Cut(1), Damage::Cut(4096), Damage::Cut(length / 10), Damage::Cut(length / 2)];
    // The head, the tail, and what lies between at places of no choice that are the same each time.
    all.extend([0, 1, 998, 999, 1000].map(|place| Damage::Flip("db", place)));
    let places = if long { 200 } else { 16 };
    all.extend((1..=places).map(|n: u64| Damage::Flip("db", n * 7919 % 997)));
    all.extend(
        [("snap.", 10), ("snap.", 700), ("conf", 100), ("conf", 900), ("commit.mark", 300)]
            .map(|(name, place)| Damage::Flip(name, place)),
    );
    all.push(Damage::Gone(&["snap."]));
    all.push(Damage::Gone(&["conf"]));
    all.push(Damage::Gone(&["commit.mark"]));
    all.push(Damage::Gone(&["db", "conf", "snap."]));
    all.push(Damage::Gone(&["db", "commit.mark", "snap."]));
    all.extend([Damage::Emptied("commit.mark"), Damage::Emptied("db"), Damage::Forgotten(40_000)]);
    all.push(Damage::Left("snap.00000000000F4240.generating"));
    all
}

/// See the file's essay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_or_a_sentence() {
    let mut scene = Scene::start().await;
    scene.post(30).await;
    // With this start sled writes down where its pages are: what comes later it finds by reading on.
    scene.gateway.terminate().await;
    scene.restart().await;
    scene.post(30).await;
    scene.gateway.kill9().await;
    let (killed, stopped) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    copy(&scene.sled(), killed.path());
    scene.restart().await;
    scene.gateway.terminate().await;
    copy(&scene.sled(), stopped.path());
    let all = (scene.acknowledged.clone(), scene.acknowledged.len());

    let (mut whole, mut refused, mut useful, mut gone_on) = (0, 0, 0, 0);
    for (template, how) in [(&killed, "killed"), (&stopped, "stopped")] {
        let length = fs::metadata(template.path().join("db")).unwrap().len();
        for damage in damages(length) {
            scene.lay_out(template.path());
            if !damage.to(&scene.sled()) {
                continue;
            }
            let before = TempDir::new().unwrap();
            copy(&scene.sled(), before.path());
            if matches!(damage, Damage::Left(_)) {
                the_tools_find_all(&scene.gateway.data(), &scene.acknowledged, &[]).await;
            }
            match scene.served().await {
                Ok(served) => {
                    assert!(served == all, "{how}, {damage:?}: {} events, {} owed", served.0.len(), served.1);
                    println!("{how}, {damage:?}: everything is served");
                    whole += 1;
                }
                Err(sentence) => {
                    assert!(sentence.contains("hookmill store check"), "{how}, {damage:?}: {sentence}");
                    if sentence.contains("or changed") {
                        let same =
                            |name| fs::read(scene.sled().join(name)).ok() == fs::read(before.path().join(name)).ok();
                        assert!(same("db") && same("conf"), "{how}, {damage:?}: what is refused is left as it is");
                    }
                    scene.lay_out(before.path());
                    let (kept, commit) = tools(&mut scene, &damage, &sentence).await;
                    println!("{how}, {damage:?}: {kept} events salvaged after: {}", sentence.trim());
                    refused += 1;
                    useful += usize::from(kept > 0);
                    if let Some(commit) = commit {
                        scene.lay_out(before.path());
                        accept(&scene, &commit).await;
                        gone_on += 1;
                        // Without any commit there is nobody to ask for it.
                        if commit != "0" {
                            let (events, _) = scene.served().await.unwrap_or_else(|said| panic!("{damage:?}: {said}"));
                            assert!(events.is_subset(&scene.acknowledged), "{how}, {damage:?}");
                            println!("{how}, {damage:?}: gone on with {} events from commit {commit}", events.len());
                        }
                    }
                }
            }
        }
    }
    println!("{whole} served, {refused} refused; of these {useful} could be salvaged, {gone_on} gone on with");
    assert!(whole > 0 && refused > 0 && useful * 2 > refused && gone_on > 0);
}

/// Starts with the word that what came after this commit may be lost, as a check has advised, and ends it as a crash
/// would.
async fn accept(scene: &Scene, commit: &str) {
    let mut child = scene.gateway.another().args(["--accept-rollback-to", commit]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let comes_up = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("metrics and health on ") {
                return true;
            }
        }
        false
    };
    let is_up = tokio::time::timeout(PATIENCE, comes_up).await.expect("it comes up, or ends");
    assert!(is_up, "what a check advises leads somewhere: {commit}");
    child.kill().await.unwrap();
}

/// Goes through the tools on a store that was refused with this sentence; gives how many events the salvaged one
/// serves, and from which commit a gateway could go on.
async fn tools(scene: &mut Scene, damage: &Damage, sentence: &str) -> (usize, Option<String>) {
    let data = scene.gateway.data();
    let checked = store(&["check"], &data).await;
    assert_eq!(checked.status.code(), Some(1), "{damage:?}: {sentence}: {}", said(&checked));
    if said(&checked).contains("nothing in") {
        println!("{damage:?}: {}", said(&checked).trim());
        return (0, None);
    }
    let advice = said(&checked);
    let commit = advice.split_once("--accept-rollback-to ").and_then(|(_, rest)| rest.split_whitespace().next());
    let commit = commit.map(str::to_owned);
    assert!(said(&checked).contains('!'), "{damage:?}: it says what is wrong: {}", said(&checked));
    let exported = store(&["export"], &data).await;
    let found = lines(&exported);
    // A page that no table leads to is wrong for the check and nothing to an export, which is whole then.
    let is_whole = exported.status.code() == Some(0);
    assert!(is_whole || exported.status.code() == Some(1), "{damage:?}: {}", said(&exported));
    if is_whole {
        let exported = ids(found.get("event").into_iter().flatten(), "id");
        let missing = scene.acknowledged.difference(&exported).count();
        assert_eq!((missing, found["delivery"].len()), (0, exported.len()), "{damage:?}: {}", said(&checked));
    }
    let new = TempDir::new().unwrap();
    let to = new.path().join("data");
    let salvaged = store(&["salvage", "--to", to.to_str().unwrap()], &data).await;
    assert!(salvaged.status.success(), "{damage:?}: {}", said(&salvaged));
    assert_eq!(fs::read(to.with_extension("key")).unwrap(), fs::read(scene.gateway.master_key()).unwrap());
    let again = store(&["check"], &to).await;
    assert!(again.status.success(), "{damage:?}: what is salvaged is sound: {}", said(&again));
    scene.lay_out(&to.join("sled"));
    let none = Vec::new();
    let events = ids(found.get("event").unwrap_or(&none), "id");
    if ids(found.get("tenant").unwrap_or(&none), "id").contains(&scene.tenant.id) && found.contains_key("key") {
        let (served, _) = scene.served().await.unwrap_or_else(|said| panic!("{damage:?}: {said}"));
        let events: BTreeSet<_> = events.into_iter().filter(|id| scene.acknowledged.contains(id)).collect();
        assert_eq!(served, events, "{damage:?}: what can be read is served");
        (served.len(), commit)
    } else {
        let is_of_log =
            matches!(damage, Damage::Gone(_) | Damage::Emptied("db") | Damage::Cut(_) | Damage::Flip("db", _));
        assert!(is_of_log, "{damage:?}: {found:?}");
        (0, commit)
    }
}

/// A first start that is killed at any moment leaves nothing that keeps the next one from its work, or is called
/// damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_first_start() {
    for ms in [0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 96] {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let mut child = Setup::new().command(&data).spawn().unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(ms), child.wait()).await;
        child.kill().await.unwrap();
        let checked = store(&["check"], &data).await;
        let is_fine = checked.status.success() || said(&checked).contains("there is no store");
        assert!(is_fine, "killed after {ms} ms: {}", said(&checked));
        // What was half compiled is not to be kept for other tests.
        let _ = fs::remove_dir_all(data.join("compiled"));
        let mut gateway = Setup::new().start_in(folder).await;
        let tenant = gateway.tenant("acme").await;
        gateway.kill9().await;
        gateway.restart().await;
        assert_eq!(list(&gateway.again(&tenant), "/v1/events").await, Some(Vec::new()), "killed after {ms} ms");
    }
}

/// A start that is killed at any moment costs nothing, neither the tools nor the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_start() {
    let mut scene = Scene::start().await;
    scene.post(20).await;
    scene.gateway.kill9().await;
    for ms in [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384] {
        let mut child = scene.gateway.another().spawn().unwrap();
        // It does not end by itself, so that this is how long it lives.
        let _ = tokio::time::timeout(Duration::from_millis(ms), child.wait()).await;
        child.kill().await.unwrap();
    }
    the_tools_find_all(&scene.gateway.data(), &scene.acknowledged, &[]).await;
    let served = scene.served().await.unwrap();
    assert_eq!(served, (scene.acknowledged.clone(), scene.acknowledged.len()));
}

/// The tools on a sound store: nobody else may serve it meanwhile, nothing is changed, and the new one is the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_on_a_sound_store() {
    let mut scene = Scene::start().await;
    scene.post(5).await;
    let data = scene.gateway.data();
    let new = TempDir::new().unwrap();
    let to = new.path().join("data");
    let salvage = ["salvage", "--to", to.to_str().unwrap()];
    for tool in [&["check"][..], &["export"], &salvage] {
        let busy = store(tool, &data).await;
        assert_eq!(busy.status.code(), Some(1), "{tool:?}");
        assert!(said(&busy).contains("in use by another process"), "{tool:?}: {}", said(&busy));
    }
    assert!(!to.exists(), "a salvage that is refused makes nothing");
    scene.gateway.terminate().await;
    let files = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        named(dir, "")
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    };
    let before = files(&scene.sled());
    let checked = store(&["check", "--json"], &data).await;
    assert!(checked.status.success(), "{}", said(&checked));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&found["wrong"], &found["commit"]), (&json!({}), &found["acknowledged"]));
    let exported = store(&["export"], &data).await;
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let found = lines(&exported);
    assert_eq!(ids(&found["event"], "id"), scene.acknowledged);
    let count = |status| found["delivery"].iter().filter(|delivery| delivery["status"] == status).count();
    assert_eq!((count("Delivered"), count("Pending")), (25, 25));
    assert!(found["attempt"].len() >= 25);
    let salvaged = store(&salvage, &data).await;
    assert!(salvaged.status.success(), "{}", said(&salvaged));
    assert!(!said(&salvaged).contains('!'), "nothing is left out: {}", said(&salvaged));
    assert!(files(&scene.sled()) == before, "the old store is as it was");
    let again = store(&salvage, &data).await;
    assert!(said(&again).contains("not empty"), "{}", said(&again));

    let gateway = Setup::new().with_clock().start_in(new).await;
    let tenant = gateway.again(&scene.tenant);
    scene.open.store(true, Ordering::Relaxed);
    gateway.clock().await.advance("2d").await;
    eventually("what was owed is delivered", async || {
        (tenant.deliveries("status=delivered").await.len() == 50).then_some(())
    })
    .await;
    assert_eq!(scene.endpoint.count("/ok"), 25, "what had been delivered is not sent again");
    assert!(said(&store(&["check"], Path::new("/nonexistent")).await).contains("no store"));
}

/// Another program's database and a newer version's are left alone, by the gateway and by the tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours() {
    let mut scene = Scene::start().await;
    scene.post(1).await;
    scene.gateway.terminate().await;
    let template = TempDir::new().unwrap();
    copy(&scene.sled(), template.path());
    let foreign: fn(&sled::Db) = |db| drop(db.open_tree("somebody's").unwrap().insert("a", "b").unwrap());
    let newer: fn(&sled::Db) =
        |db| drop(db.open_tree("meta").unwrap().insert("schema", &b"\x01\0\0\0\x09sled"[..]).unwrap());
    for (empty, change, sentence) in [(true, foreign, "another program's database"), (false, newer, "a newer version")]
    {
        scene.lay_out(template.path());
        if empty {
            fs::remove_dir_all(scene.sled()).unwrap();
        }
        let db = sled::open(scene.sled()).unwrap();
        change(&db);
        let names = db.tree_names().len();
        drop(db);
        let said_by_gateway = scene.served().await.unwrap_err();
        assert!(said_by_gateway.contains(sentence), "{said_by_gateway}");
        for tool in [&["check"][..], &["export"], &["salvage", "--to", "/nonexistent/never-made"]] {
            let output = store(tool, &scene.gateway.data()).await;
            assert_eq!(output.status.code(), Some(1));
            assert!(said(&output).contains(sentence), "{tool:?}: {}", said(&output));
        }
        assert_eq!(sled::open(scene.sled()).unwrap().tree_names().len(), names, "nothing is made in it");
    }
}
