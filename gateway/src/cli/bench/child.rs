//! The gateway under test: this very program, as a process of its own, so that what it uses can be read.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::machine;
use crate::domain::Secret;

/// How long it may take to start: plugins are compiled at a first start.
const STARTING: Duration = Duration::from_secs(120);
/// How long it may take to stop.
const STOPPING: Duration = Duration::from_secs(30);

/// The usual reason why nothing can be read of it.
const GONE: &str = "the gateway ended during the run; what it said stands above";

/// A gateway in a process of its own. It is killed if this is dropped before [`Process::stop`].
pub(super) struct Process {
    child: Child,
    pid: u32,
    pub(super) address: SocketAddr,
}

impl Process {
    /// Starts one with its data in this folder, these hosts' requests sent elsewhere, and these variables in its
    /// environment.
    pub(super) async fn start(
        data: &Path,
        mapped_hosts: &[String],
        settings: &[(&str, String)],
        operator: &Secret,
    ) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--dangerous-allow-targets", "127.0.0.0/8", "--data"])
            .arg(data)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .env("HOOKMILL_OPERATOR_KEY", operator.expose());
        for host in mapped_hosts {
            command.args(["--dangerous-map-host", host]);
        }
        if std::env::var_os("HOOKMILL_LOG").is_none() {
            command.env("HOOKMILL_LOG", "warn");
        }
        Self::spawn(command).await
    }

    /// Starts one that is no gateway and only forwards, signed, to this address.
    pub(super) async fn bare(to: SocketAddr) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command.args(["bare-forward", "--to", &to.to_string()]);
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("the gateway could not be started")?;
        let pid = child.id().context("the gateway ended at once")?;
        let lines = child.stdout.take().context("the gateway has no output")?;
        let mut lines = BufReader::new(lines).lines();
        let address = match tokio::time::timeout(STARTING, listening(&mut lines)).await {
            Ok(Ok(address)) => address,
            Ok(Err(error)) => return Err(error.context("the gateway did not start; what it says stands above")),
            Err(_) => bail!("the gateway did not start within {} s", STARTING.as_secs()),
        };
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, pid, address })
    }

    /// Processor time it has used.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        machine::cpu_time(self.pid).context(GONE)
    }

    /// The most memory it has had at once, in bytes.
    pub(super) fn peak_memory(&self) -> anyhow::Result<u64> {
        machine::peak_memory(self.pid).context(GONE)
    }

    /// The memory it has now, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        machine::memory(self.pid).context(GONE)
    }

    /// What of that can't be had again from a file, in bytes.
    pub(super) fn anonymous_memory(&self) -> anyhow::Result<u64> {
        machine::anonymous_memory(self.pid).context(GONE)
    }

    /// How many files and connections it has open.
    pub(super) fn open_files(&self) -> anyhow::Result<u64> {
        machine::open_files(self.pid).context(GONE)
    }

    /// Ends it as a crash would.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the gateway could not be killed")
    }

    /// Tells it to stop and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("the gateway has no process id")?;
        kill_process(pid, Signal::TERM).context("the gateway could not be told to stop")?;
        let ended = tokio::time::timeout(STOPPING, self.child.wait()).await;
        let ended = ended.map_err(|_| anyhow!("the gateway did not stop within {} s", STOPPING.as_secs()))??;
        if !ended.success() {
            bail!("the gateway ended with {ended}");
        }
        Ok(())
    }
}

fn this_program() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("this program does not know its own file")?))
}

/// The address in the line `listening on ADDRESS, called URL`.
async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<SocketAddr> {
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = address_in(&line) {
            return Ok(address);
        }
    }
    bail!("it ended")
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_in_one_line() {
        for (line, address) in [
            ("listening on 127.0.0.1:8080, called http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("listening on [::1]:80, called https://hooks.example", Some("[::1]:80")),
            ("metrics and health on 127.0.0.1:9090", None),
            ("listening on nothing", None),
        ] {
            assert_eq!(address_in(line), address.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
