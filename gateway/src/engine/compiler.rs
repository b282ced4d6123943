//! What tenants upload is compiled by another process, started for it and gone after it.
//!
//! Cranelift can't be interrupted, and a few kilobytes can be made to cost it gigabytes and minutes; the parsers before
//! it overflow their stack over types that go round in a circle. None of that may reach the gateway. So a stranger's
//! bytes are first looked at, compiled and asked what they are in a process that has limits of its own ([`worker`]), one
//! at a time, tenants in turn. If it dies, that upload is refused, by the name of what killed it. It comes last on the
//! machine; and since it can't be asked to [rest](Workers::rest) for others, it is stopped, and told to go on again.
//!
//! [`worker`]: super::worker

use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::artifacts::{Artifacts, Unkept};
use super::config::{CompilerConfig, EngineConfig};
use super::error::{Cause, InstallError};
use super::turns::Turns;
use crate::domain::{Manifest, TenantId};
use crate::priority::Workers;

/// How long it runs before it rests, where others have something to do.
const STINT: Duration = Duration::from_millis(5);
/// How many times as long as its processor time it may take while it gives way to everything else on the machine, and
/// how many when it begins anew because that left it nothing. With its rests it takes twelve times as long on two cores
/// where two slow calls run beside it, so that one that is too costly meets its limit and is not begun anew.
const PATIENCE: u32 = 13;
const STARVED_PATIENCE: u32 = 4;
/// Bytes of its answer, and of what it says on standard error, that are read.
const ANSWER: u64 = 8 << 20;
const LAST_WORDS: u64 = 16 << 10;
/// What it says when it gets no more memory: Rust's own words before it aborts, and the C library's (ENOMEM), which a
/// thread that can't be given its stack passes on.
const SHORT_OF_MEMORY: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// What the process is told, on one line, before the bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// The gateway's own, for one call at a time.
    pub(super) engine: EngineConfig,
    /// Seconds of processor time.
    pub(super) seconds: u64,
    /// Bytes of memory beyond what the engine takes by itself.
    pub(super) memory: u64,
    /// The file for what is compiled.
    pub(super) artifact: std::path::PathBuf,
    /// It has been tried, and was left too little of the processor.
    pub(super) starved: bool,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) result: Result<Manifest, InstallError>,
    /// The processor time it took.
    pub(super) cost: Duration,
}

/// What came of a compile.
pub(super) struct Compiled {
    /// What it says of itself, and the file it was compiled to.
    pub(super) result: Result<(Manifest, Unkept), InstallError>,
    /// The processor time it took.
    pub(super) cost: Duration,
}

/// See the file's essay.
pub(super) struct Compiler {
    config: CompilerConfig,
    turns: Turns,
}

impl Compiler {
    pub(super) fn new(config: CompilerConfig) -> Self {
        Self { config, turns: Turns::new(1) }
    }

    /// Compiles, when it is this tenant's turn. Given up, the process is killed.
    pub(super) async fn compile(
        &self,
        tenant: TenantId,
        bytes: &[u8],
        artifacts: &Artifacts,
        engine: &EngineConfig,
        workers: &Workers,
    ) -> Compiled {
        let mut turn = self.turns.take(tenant).await;
        let mut file = artifacts.place();
        let begun = Instant::now();
        let mut ended = self.run(bytes, &file, engine, Some(workers)).await;
        if ended.is_none() {
            // The first may have left half a file.
            file = artifacts.place();
            ended = self.run(bytes, &file, engine, None).await;
        }
        let ended = ended.unwrap_or(Err(InstallError::TooSlow { limit: self.config.time }));
        let (result, cost) = match ended {
            Ok(Report { result, cost }) => (result, cost),
            // It can't say what it took: no more than it had time for.
            Err(error) => (Err(error), begun.elapsed().min(self.config.time)),
        };
        turn.charge(cost);
        Compiled { result: result.map(|manifest| (manifest, file)), cost }
    }

    /// Runs the process, which rests for these, or has been starved by them; nothing if that takes too long.
    async fn run(
        &self,
        bytes: &[u8],
        file: &Unkept,
        engine: &EngineConfig,
        rests_for: Option<&Workers>,
    ) -> Option<Result<Report, InstallError>> {
        let patience = if rests_for.is_some() { PATIENCE } else { STARVED_PATIENCE };
        let ending = self.run_to_the_end(bytes, file, engine, rests_for);
        tokio::time::timeout(self.config.time * patience, ending).await.ok()
    }

    async fn run_to_the_end(
        &self,
        bytes: &[u8],
        file: &Unkept,
        engine: &EngineConfig,
        rests_for: Option<&Workers>,
    ) -> Result<Report, InstallError> {
        let interrupted = |error: std::io::Error| InstallError::Interrupted(Cause::of(error));
        let order = Order {
            engine: EngineConfig { instances: 1, concurrency: 1, cache_dir: None, compiler: None, ..engine.clone() },
            seconds: self.config.time.as_secs().max(1),
            memory: self.config.memory,
            artifact: file.path().to_owned(),
            starved: rests_for.is_none(),
        };
        let mut told = serde_json::to_vec(&order).map_err(|error| InstallError::Interrupted(Cause::of(error)))?;
        told.push(b'\n');
        let mut child = Command::new(&self.config.program)
            .arg("compile-worker")
            // The gateway's keys may be in its environment.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(interrupted)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let telling = async move {
            let Some(mut stdin) = stdin else { return };
            // One that has died reads no more; how it died says why.
            if stdin.write_all(&told).await.is_ok() {
                let _ = stdin.write_all(bytes).await;
            }
        };
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let ending = async {
            let ((), answer, words) = tokio::join!(telling, read(stdout, ANSWER), read(stderr, LAST_WORDS));
            (answer, words, child.wait().await)
        };
        let (answer, words, status) = tokio::select! {
            ended = ending => ended,
            never = rest_between(pid, rests_for) => match never {},
        };
        let status = status.map_err(interrupted)?;
        if status.success() {
            serde_json::from_slice(&answer).map_err(|error| InstallError::Interrupted(Cause::of(error)))
        } else {
            Err(self.why(status, &String::from_utf8_lossy(&words)))
        }
    }

    /// Why it died.
    fn why(&self, status: ExitStatus, words: &str) -> InstallError {
        let CompilerConfig { time, memory, .. } = self.config;
        let died_of = |signal: Signal| status.signal() == Some(signal.as_raw());
        match words {
            _ if died_of(Signal::XCPU) => InstallError::TooSlow { limit: time },
            // A file that is too large; or the kernel's last resort, where memory is short on the whole machine.
            _ if died_of(Signal::XFSZ) || died_of(Signal::KILL) => InstallError::TooHungry { limit: memory },
            // Rust's own words, before it aborts.
            words if words.contains("overflowed its stack") => InstallError::TooDeep,
            words if SHORT_OF_MEMORY.iter().any(|said| words.contains(said)) => {
                InstallError::TooHungry { limit: memory }
            }
            _ => {
                tracing::warn!(%status, words, "the process that compiles a plugin has died");
                InstallError::Crashed(Cause::said(status.to_string()))
            }
        }
    }
}

/// Has a process rest as long as it should, again and again.
async fn rest_between(pid: Option<Pid>, workers: Option<&Workers>) -> Infallible {
    let (Some(pid), Some(workers)) = (pid, workers) else { return std::future::pending().await };
    // The engine compiles on one thread.
    let _last = workers.last();
    loop {
        tokio::time::sleep(STINT).await;
        let rest = workers.rest(STINT);
        // What the timer can't tell from nothing.
        if rest < Duration::from_millis(1) {
            continue;
        }
        // Where it has ended it is not waited for yet, so that the number is still its own. If this is given up while it
        // is stopped, it is killed; and it dies with the gateway.
        let _ = kill_process(pid, Signal::STOP);
        tokio::time::sleep(rest).await;
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// Reads all, and keeps the first bytes.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        // What can't be read is as good as not said.
        let _ = (&mut from).take(most).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::engine::{runtime, tests};

    /// Answers at once if it is told that it was starved; otherwise it never does.
    const WAITS: &str = r#"#!/bin/sh
read -r order
case "$order" in
*'"starved":true'*) cat > /dev/null; echo '{"result":{"Err":"NotWasm"},"cost":{"secs":0,"nanos":1}}' ;;
*) exec sleep 600 ;;
esac
"#;

    async fn compile(program: &str, time: Duration) -> Compiled {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, program).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let engine = tests::config();
        let artifacts = Artifacts::open(folder.path(), &runtime::engine(&engine).unwrap()).unwrap();
        let compiler = Compiler::new(CompilerConfig { program: path, time, memory: 1 << 20 });
        compiler.compile(TenantId::from_bytes([1; 16]), b"bytes", &artifacts, &engine, &Workers::of_caller()).await
    }

    #[tokio::test]
    async fn one_that_is_left_no_processor_begins_anew_with_a_little() {
        let Compiled { result, cost } = compile(WAITS, Duration::from_millis(500)).await;
        assert_eq!((result.err(), cost), (Some(InstallError::NotWasm), Duration::from_nanos(1)));
    }

    #[tokio::test]
    async fn a_process_rests_for_busy_workers_and_goes_on() {
        let mut child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        let resting = tokio::spawn(async move {
            rest_between(Pid::from_raw(pid.cast_signed()), Some(&Workers::always_busy())).await;
        });
        // The third field of proc_pid_stat(5): `T` is stopped, `S` asleep.
        for wanted in ["T", "S", "T", "S"] {
            loop {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                if stat.rsplit(") ").next().unwrap().starts_with(wanted) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        resting.abort();
        child.kill().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_never_answers_is_too_slow() {
        let limit = Duration::from_millis(20);
        let Compiled { result, cost } = compile("#!/bin/sh\nexec sleep 600\n", limit).await;
        assert_eq!((result.err(), cost), (Some(InstallError::TooSlow { limit }), limit));
    }
}
