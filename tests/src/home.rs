//! A user of the command line, whose home folder is empty at first.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::{PATIENCE, Tenant, binary};

/// A home folder, and what is run in it.
pub struct Home(TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Whether its exit code was 0.
    pub success: bool,
    /// What it printed.
    pub out: String,
    /// What it said on standard error.
    pub err: String,
}

/// A command that goes on. It is killed when it is dropped.
pub struct Running {
    /// The process.
    pub child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Home {
    /// An empty one.
    ///
    /// # Panics
    /// If no folder can be made.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for a user"))
    }

    /// One whose user has logged in, with a key of this role.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn of(tenant: &Tenant, role: &str) -> Self {
        let home = Self::new();
        let made = tenant.api.post("/v1/keys", json!({"role": role})).await.json(201);
        let key = made["key"].as_str().expect("a made key is shown");
        home.says(&["login", "--server", tenant.api.base(), "--key", key]).await;
        home
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program in this home, with none of the suite's own settings. What cargo has fetched stays where it is.
    #[must_use]
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOOKMILL_")) {
            command.env_remove(name);
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (name, usual) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"), ("PYENV_ROOT", ".pyenv")] {
            command.env(name, std::env::var_os(name).unwrap_or_else(|| home.join(usual).into()));
        }
        command
            .env("HOME", self.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// `hookmill` with these arguments.
    #[must_use]
    pub fn hookmill(&self, args: &[&str]) -> Command {
        let mut command = self.program(binary());
        command.args(args);
        command
    }

    /// Runs `hookmill` to its end.
    pub async fn run(&self, args: &[&str]) -> Done {
        end(self.hookmill(args), "").await
    }

    /// The same with something on standard input.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Done {
        end(self.hookmill(args), input).await
    }

    /// Runs `hookmill` to its end; gives what it printed.
    ///
    /// # Panics
    /// If it failed.
    pub async fn says(&self, args: &[&str]) -> String {
        let done = self.run(args).await;
        assert!(done.success, "{args:?}: {done:?}");
        done.out
    }

    /// Runs `hookmill` to its end; gives what it said on standard error.
    ///
    /// # Panics
    /// If it did not fail.
    pub async fn fails(&self, args: &[&str]) -> String {
        let done = self.run(args).await;
        assert!(!done.success, "{args:?}: {done:?}");
        done.err
    }

    /// Begins a command that goes on.
    ///
    /// # Panics
    /// If it can't be run.
    #[must_use]
    pub fn begin(&self, args: &[&str]) -> Running {
        let mut child = self.hookmill(args).spawn().expect("the binary can be run");
        let out = BufReader::new(child.stdout.take().expect("piped")).lines();
        let err = BufReader::new(child.stderr.take().expect("piped")).lines();
        Running { child, out, err }
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it can't be run.
pub async fn end(mut command: Command, input: &str) -> Done {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the command can be run");
    let mut stdin = child.stdin.take().expect("piped");
    // Who does not read it has ended, and says why.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("a child can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Running {
    /// The next line that it prints.
    ///
    /// # Panics
    /// If none comes.
    pub async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await.expect("a line is printed in time");
        line.expect("it prints text").expect("it prints a line before it ends")
    }

    /// Waits until it says a line on standard error that has this in it.
    ///
    /// # Panics
    /// If it does not.
    pub async fn said(&mut self, part: &str) {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.err.next_line()).await.expect("it says something in time");
            let line = line.expect("it says text").unwrap_or_else(|| panic!("it ended without saying `{part}`"));
            if line.contains(part) {
                return;
            }
        }
    }

    /// Waits for its end; gives whether it was a good one.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ends_well(&mut self) -> bool {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time");
        ended.expect("a child can be waited for").success()
    }
}
