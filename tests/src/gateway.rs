//! A gateway process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::power::Power;
use crate::{Client, NameServer, Tenant, TestClock, Unsynced, eventually};

/// The operator's key of every gateway here.
pub const OPERATOR_KEY: &str = "an operator key that only tests would use";

/// The binary under test, beside this test's own: `target/<profile>/hookmill`.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let profile = own.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps");
    let binary = profile.join("hookmill");
    assert!(binary.is_file(), "{} is not built: cargo build --profile suite", binary.display());
    binary
}

/// How a gateway is to be started.
#[derive(Clone, Default)]
pub struct Setup {
    args: Vec<String>,
    env: Vec<(String, String)>,
    clock: bool,
    closed: bool,
    power: Option<Power>,
}

impl Setup {
    /// A gateway that may reach this machine's own ports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that may reach none but public addresses, as it is without a flag.
    #[must_use]
    pub fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    /// With a clock that stands until the test moves it.
    #[must_use]
    pub fn with_clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// On a disk whose power can be cut, and which treats so what is not synced by then.
    #[must_use]
    pub fn on_disk_that_forgets(mut self, unsynced: Unsynced) -> Self {
        self.power = Some(Power::new(unsynced));
        self
    }

    /// With an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With a host's requests sent elsewhere: `host=http://…`.
    #[must_use]
    pub fn map(self, mapping: String) -> Self {
        self.arg("--dangerous-map-host").arg(mapping)
    }

    /// With a range of addresses that it may reach.
    #[must_use]
    pub fn allow(self, range: &str) -> Self {
        self.arg("--dangerous-allow-targets").arg(range)
    }

    /// With names looked up there.
    #[must_use]
    pub fn names(self, server: &NameServer) -> Self {
        self.env("HOOKMILL_EGRESS__DNS_SERVERS", format!("[\"{}\"]", server.address()))
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it in a folder of its own.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(self) -> Gateway {
        self.start_in(tempfile::tempdir().expect("a folder for the gateway's data")).await
    }

    /// Starts it in a folder that may hold data already, and is removed with it.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_in(self, folder: TempDir) -> Gateway {
        let has_files = self.env.iter().any(|(name, _)| name == "HOOKMILL_PLUGINS__FILES");
        warm::lay_out(&folder.path().join("data/compiled"), has_files);
        let mut gateway = Gateway {
            folder,
            setup: self,
            child: None,
            reading: None,
            said_before: 0,
            output: Output::default(),
            address: String::new(),
            admin_address: String::new(),
        };
        gateway.spawn().await;
        warm::keep(&gateway.data().join("compiled"), has_files);
        gateway
    }

    /// The command that serves from `data`; a socket for the clock lies beside it.
    #[must_use]
    pub fn command(&self, data: &Path) -> Command {
        let mut command = Command::new(binary());
        // The suite's own variables would be settings to the gateway.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOOKMILL_")) {
            command.env_remove(name);
        }
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("HOOKMILL_OPERATOR_KEY", OPERATOR_KEY).env("HOOKMILL_STORE__BALLAST", "1048576");
        if !self.closed {
            command.args(["--dangerous-allow-targets", "127.0.0.0/8"]);
        }
        if self.clock {
            command.arg("--dangerous-test-clock").arg(socket(data));
        }
        if let (Some(power), Some(root)) = (&self.power, data.parent()) {
            command.envs(power.env(root));
        }
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

fn socket(data: &Path) -> PathBuf {
    data.with_extension("clock")
}

/// What a process has printed.
#[derive(Clone, Default)]
struct Output {
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Output {
    fn follow(&self, child: &mut Child) -> JoinHandle<()> {
        async fn copy(from: Option<impl AsyncRead + Unpin>, to: Arc<Mutex<String>>) {
            let Some(from) = from else { return };
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut to = to.lock().expect("nobody panics with it");
                to.push_str(&line);
                to.push('\n');
            }
        }
        let out = copy(child.stdout.take(), self.out.clone());
        let err = copy(child.stderr.take(), self.err.clone());
        tokio::spawn(async move {
            tokio::join!(out, err);
        })
    }

    /// What stands behind `label` in the last line that begins so, up to `end`.
    fn after(&self, label: &str, end: &str) -> Option<String> {
        let out = self.out.lock().expect("nobody panics with it");
        let rest = out.lines().rev().find_map(|line| line.strip_prefix(label))?;
        Some(rest.split(end).next().unwrap_or(rest).to_owned())
    }
}

/// A gateway process with a data folder of its own. It is killed when it is dropped.
pub struct Gateway {
    folder: TempDir,
    setup: Setup,
    child: Option<Child>,
    /// Ends when all that the process has printed is in `output`.
    reading: Option<JoinHandle<()>>,
    /// How many bytes earlier starts have said on standard error.
    said_before: usize,
    output: Output,
    address: String,
    admin_address: String,
}

impl Gateway {
    /// Starts one as most tests need it.
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    async fn spawn(&mut self) {
        if let Err((status, said)) = self.try_start().await {
            panic!("the gateway ended with {status}: {said}");
        }
    }

    /// Starts it again on the same data; or gives how it ended instead, and what it said on standard error.
    ///
    /// # Panics
    /// If neither happens.
    pub async fn try_start(&mut self) -> Result<(), (ExitStatus, String)> {
        self.output.out.lock().expect("nobody panics with it").clear();
        self.said_before = self.output.err.lock().expect("nobody panics with it").len();
        let mut child = self.setup.command(&self.data()).spawn().expect("the gateway's binary can be run");
        self.reading = Some(self.output.follow(&mut child));
        let output = self.output.clone();
        let started = eventually("the gateway comes up", async || match child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => output.after("metrics and health on ", "\n").map(Ok),
        });
        match started.await {
            Ok(admin) => {
                self.admin_address = admin;
                self.address = self.output.after("listening on ", ",").expect("printed before the other");
                self.child = Some(child);
                Ok(())
            }
            Err(status) => Err((status, self.last_words().await)),
        }
    }

    /// Waits until it ends by itself; gives how, and what it said on standard error.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn end(&mut self) -> (ExitStatus, String) {
        let mut child = self.child.take().expect("it runs");
        let ended = tokio::time::timeout(crate::PATIENCE, child.wait()).await;
        let status = ended.expect("it ends by itself").expect("a child can be waited for");
        (status, self.last_words().await)
    }

    /// What it has said since its start, now that it has ended.
    async fn last_words(&mut self) -> String {
        if let Some(reading) = self.reading.take() {
            reading.await.expect("a reader of its output does not panic");
        }
        self.output.err.lock().expect("nobody panics with it")[self.said_before..].to_owned()
    }

    /// The folder everything is kept in.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Calls the public listener without a key.
    #[must_use]
    pub fn public(&self) -> Client {
        Client::new(&self.address)
    }

    /// Calls the public listener with the operator's key.
    #[must_use]
    pub fn operator(&self) -> Client {
        self.public().with_key(OPERATOR_KEY)
    }

    /// Calls the admin listener.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(&self.admin_address)
    }

    /// The hand on its clock.
    pub async fn clock(&self) -> TestClock {
        TestClock::connect(&socket(&self.data())).await
    }

    /// Makes a tenant.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let made = self.operator().post("/v1/tenants", json!({"name": name, "uid": name})).await.json(201);
        let text = |field: &str| made[field].as_str().expect("a made tenant has it").to_owned();
        Tenant { id: text("id"), api: self.public().with_key(&text("key")) }
    }

    /// Makes a tenant that has a profile, which is also its name.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn tenant_as(&self, profile: &str) -> Tenant {
        let tenant = self.tenant(profile).await;
        self.operator().patch(&format!("/v1/tenants/{}", tenant.id), json!({"profile": profile})).await.is(200);
        tenant
    }

    /// A tenant that was made before a restart, at the address of now.
    #[must_use]
    pub fn again(&self, tenant: &Tenant) -> Tenant {
        Tenant { id: tenant.id.clone(), api: tenant.api.at(&self.address) }
    }

    /// The command that would start another on the same data.
    #[must_use]
    pub fn another(&self) -> Command {
        self.setup.command(&self.data())
    }

    /// The file with its master key.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.data().with_extension("key")
    }

    /// The most resident memory it has had since its last start, in bytes: `VmHWM` of `proc(5)`.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process has a status");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a status says so");
        let kib: u64 = most.trim().trim_end_matches("kB").trim().parse().expect("a number of kB");
        kib * 1024
    }

    /// Everything it has printed, over all its starts: standard output since the last, all of standard error.
    ///
    /// # Panics
    /// If a reader of it panicked.
    #[must_use]
    pub fn printed(&self) -> String {
        let out = self.output.out.lock().expect("nobody panics with it");
        format!("{out}{}", self.output.err.lock().expect("nobody panics with it"))
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// If it has ended already.
    pub async fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("a child can be killed");
    }

    /// Cuts the power, if it has not ended already: it is killed, and the disk holds what is certain to be on it.
    ///
    /// # Panics
    /// If its disk is none that forgets.
    pub async fn cut_power(&mut self) {
        if self.child.is_some() {
            self.kill9().await;
        }
        self.setup.power.as_ref().expect("a disk that forgets").cut(self.folder.path());
    }

    /// After an orderly end: what is on the disk is there for good.
    ///
    /// # Panics
    /// If its disk is none that forgets.
    pub fn settle_disk(&self) {
        assert!(self.child.is_none(), "it has ended");
        self.setup.power.as_ref().expect("a disk that forgets").settle();
    }

    /// Starts it and kills it a moment later, wherever it is by then.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn start_and_kill9(&mut self, after: Duration) {
        assert!(self.child.is_none(), "it has ended");
        let mut child = self.setup.command(&self.data()).spawn().expect("the gateway's binary can be run");
        self.output.follow(&mut child);
        tokio::time::sleep(after).await;
        child.kill().await.expect("a child can be killed");
    }

    /// Ends it as an operator would; it must do so with 0.
    ///
    /// # Panics
    /// If it does not.
    pub async fn terminate(&mut self) {
        let status = self.signalled(Signal::TERM).await;
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.printed());
    }

    /// Tells it to read its operator's files again.
    ///
    /// # Panics
    /// If it does not run.
    pub fn hang_up(&self) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.expect("it runs"), Signal::HUP).expect("a child can be signalled");
    }

    /// The process that compiles a plugin for it, if one is at work: one with more than its first thread.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn compile(&self) -> Option<Pid> {
        let parent = self.child.as_ref().and_then(Child::id).expect("it runs");
        fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|process| {
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            // The second field after the name of proc_pid_stat(5).
            let (_, after_name) = stat.rsplit_once(") ")?;
            let is_its = after_name.split(' ').nth(1)?.parse() == Ok(parent);
            let is_at_work = fs::read_dir(process.path().join("task")).ok()?.nth(1).is_some();
            let pid = process.file_name().to_str()?.parse().ok()?;
            (is_its && is_at_work).then(|| Pid::from_raw(pid))?
        })
    }

    /// Tells it to end as an operator would, and waits until it has.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn signalled(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it has a pid");
        kill_process(pid, signal).expect("a child can be signalled");
        let ended = tokio::time::timeout(crate::PATIENCE, child.wait()).await;
        ended.expect("it ends when it is told to").expect("a child can be waited for")
    }

    /// Starts it again on the same data; whatever ran before is killed.
    pub async fn restart(&mut self) {
        if self.child.is_some() {
            self.kill9().await;
        }
        self.spawn().await;
    }

    /// The same, as another setup says.
    pub async fn restart_as(&mut self, setup: Setup) {
        self.setup = setup;
        self.restart().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let printed = self.printed();
            let lines: Vec<&str> = printed.lines().collect();
            eprintln!("--- the gateway printed:\n{}\n---", lines[lines.len().saturating_sub(100)..].join("\n"));
        }
    }
}

/// What gateways compiled, for those that come after: a cold start compiles every preset. What is kept is checked
/// by the gateway itself before it is used, so that a stale or a torn file costs a compile and no more. Those of
/// operators' files lie apart: they may be large, and the disks of some gateways are small.
mod warm {
    use super::{Mutex, Path, PathBuf, binary, fs};

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// In cargo's own folder for what tests leave behind.
    fn kept(has_files: bool) -> PathBuf {
        binary().with_file_name(if has_files { "../tmp/compiled-files" } else { "../tmp/compiled-presets" })
    }

    fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if !to.exists() {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    }

    pub(super) fn lay_out(to: &Path, has_files: bool) {
        let _one = ONE_AT_A_TIME.lock();
        let kept = [kept(false), kept(true)];
        for kept in kept.iter().take(if has_files { 2 } else { 1 }).filter(|kept| kept.is_dir()) {
            copy(kept, to).expect("a folder can be copied");
        }
    }

    pub(super) fn keep(from: &Path, has_files: bool) {
        let _one = ONE_AT_A_TIME.lock();
        copy(from, &kept(has_files)).expect("a folder can be copied");
    }
}
