//! A disk that is really full: a small one of memory, mounted for the test.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hookmill_tests::{Gateway, Receiver, Setup, Tenant, eventually};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::damage::{ids, list, named, said, store, the_tools_find_all};

/// A mounted disk; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, said loudly, where nothing may be mounted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(at);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        // Not by a macro, whose output is kept from whoever runs a test that passes.
        let why = "SKIPPED, a full disk is not tested: only root may mount the small disk for it. Run it as root";
        let _ = writeln!(std::io::stderr(), "{why}");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills the disk up to so many free bytes.
    fn fill(&self, free: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let room = stat.f_bavail * stat.f_frsize;
        let mut file = File::options().append(true).create(true).open(self.filler()).unwrap();
        let mut left = room.saturating_sub(free);
        while left > 0 {
            let piece = vec![b'x'; usize::try_from(left.min(1 << 20)).unwrap()];
            left -= piece.len() as u64;
            // Somebody else may have taken the last of it.
            if file.write_all(&piece).is_err() {
                return;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a gateway that is being killed may still have files open.
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A gateway whose data folder is a disk of its own.
async fn on_a_small_disk(size: &str) -> Option<(Gateway, Disk)> {
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(&folder.path().join("data"), size)?;
    Some((Setup::new().with_clock().start_in(folder).await, disk))
}

async fn post(tenant: &Tenant, acknowledged: &mut BTreeSet<String>) -> u16 {
    let event = json!({"type": "a", "data": "x".repeat(50_000)}).to_string();
    let headers = [("content-type", "application/json")];
    let Some(reply) = tenant.api.try_send("POST", "/v1/events", &headers, event).await else { return 0 };
    if reply.status == 202 {
        acknowledged.extend(reply.json(202)["id"].as_str().map(str::to_owned));
    } else if reply.status == 507 {
        reply.problem(507, "disk-full");
    }
    reply.status
}

async fn until(tenant: &Tenant, acknowledged: &mut BTreeSet<String>, wanted: u16) {
    eventually(&format!("a post is answered with {wanted}"), async || {
        let status = post(tenant, acknowledged).await;
        assert!([202, 507].contains(&status), "{status}");
        (status == wanted).then_some(())
    })
    .await;
}

async fn listed(tenant: &Tenant) -> BTreeSet<String> {
    ids(&list(tenant, "/v1/events").await.unwrap(), "id")
}

/// Full, events are refused; with room again, be it made by others or by retention, they are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_refused_and_taken_again() {
    let Some((gateway, disk)) = on_a_small_disk("96m").await else { return };
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let mut acknowledged = BTreeSet::new();
    until(&tenant, &mut acknowledged, 202).await;
    disk.fill(8 << 20);
    until(&tenant, &mut acknowledged, 507).await;
    assert_eq!(gateway.public().get("/readyz").await.json(200)["status"], "ok", "what was accepted is still served");
    disk.free();
    until(&tenant, &mut acknowledged, 202).await;
    // Now with nothing but events.
    while post(&tenant, &mut acknowledged).await == 202 {}
    until(&tenant, &mut acknowledged, 507).await;
    assert_eq!(listed(&tenant).await, acknowledged);
    eventually("all are delivered", async || tenant.deliveries("status=pending").await.is_empty().then_some(())).await;
    gateway.clock().await.advance("15d").await;
    until(&tenant, &mut acknowledged, 202).await;
}

/// Stopped and started while there is no room at all: refused or served, and nothing acknowledged is lost. The tools read
/// it all the same, if they have room elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started_on_a_full_disk() {
    let Some((mut gateway, disk)) = on_a_small_disk("64m").await else { return };
    let tenant = gateway.tenant("acme").await;
    // Nothing listens there: all of it stays owed.
    tenant.subscribe(json!({"url": "http://127.0.0.1:9/", "events": ["*"]})).await;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..40 {
        assert_eq!(post(&tenant, &mut acknowledged).await, 202);
    }
    disk.fill(0);
    for _ in 0..40 {
        let status = post(&tenant, &mut acknowledged).await;
        assert!([202, 507, 503, 0].contains(&status), "taken or not, but never a wrong answer: {status}");
    }
    // What the disk has no room for may have ended it already.
    let status = gateway.signalled(Signal::TERM).await;
    println!("on a full disk it ended with {status}");
    for round in 0..3 {
        disk.fill(0);
        match gateway.try_start().await {
            Ok(()) => {
                println!("start {round}: served");
                assert_eq!(listed(&gateway.again(&tenant)).await, acknowledged);
                gateway.kill9().await;
            }
            Err((status, said)) => {
                let sentence = said.rfind("hookmill: ").map(|at| said[at..].trim());
                println!("start {round}: {status}: {sentence:?}");
                assert!(status.code().is_some_and(|code| code != 0), "{status}: {said}");
                assert!(sentence.is_some(), "it says why: {said}");
            }
        }
    }
    disk.fill(0);
    let here = store(&["check", "--scratch", disk.0.to_str().unwrap()], &gateway.data()).await;
    assert_eq!(here.status.code(), Some(1), "{}", said(&here));
    assert!(said(&here).contains("No space left"), "{}", said(&here));
    assert!(named(&disk.0, "hookmill-store-").is_empty(), "what it began is gone again");
    let elsewhere = TempDir::new().unwrap();
    let options = ["--scratch", elsewhere.path().to_str().unwrap()];
    the_tools_find_all(&gateway.data(), &acknowledged, &options).await;
    disk.free();
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(listed(&tenant).await, acknowledged);
    assert_eq!(tenant.deliveries("status=pending").await.len(), acknowledged.len());
    until(&tenant, &mut acknowledged, 202).await;
}
