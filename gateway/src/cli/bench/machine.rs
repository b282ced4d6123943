//! What Linux says of this machine and of a process: `proc(5)`.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

/// What the numbers of a bench depend on most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) kernel: String,
}

impl Machine {
    /// For people.
    pub(super) fn line(&self) -> String {
        format!("{} cores, {}, Linux {}", self.cores, self.cpu, self.kernel)
    }

    /// This one.
    pub(super) fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").map(str::to_owned)
}

/// The value in a line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim())
    })
}

/// What the host of a virtual machine takes of its cores' time: for others, or since it may have no more.
pub(super) struct Host {
    at: Instant,
    stolen: u64,
    cores: usize,
}

impl Host {
    /// Begins to look.
    pub(super) fn look() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let (stolen, cores) = stolen(&stat).unwrap_or((0, 1));
        Self { at: Instant::now(), stolen, cores }
    }

    /// The share that was taken since this was asked before.
    pub(super) fn share(&mut self) -> f64 {
        let now = Self::look();
        let taken = Duration::from_millis(10 * now.stolen.saturating_sub(self.stolen));
        let share = taken.as_secs_f64() / ((now.at - self.at).as_secs_f64() * now.cores as f64);
        *self = now;
        share
    }
}

/// `steal` of all cores, in hundredths of a second: the time for which one of them had something to do and was not there;
/// and how many they are.
fn stolen(stat: &str) -> Option<(u64, usize)> {
    let mut lines = stat.lines();
    let stolen = lines.next()?.strip_prefix("cpu ")?.split_ascii_whitespace().nth(7)?.parse().ok()?;
    Some((stolen, lines.take_while(|line| line.starts_with("cpu")).count().max(1)))
}

/// Processor time that a process has used, in user and in kernel mode together.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    ticks(&stat).map(|ticks| Duration::from_millis(ticks * 10)).with_context(|| format!("{path} has another form"))
}

/// `utime` and `stime`, fields 14 and 15. They are in hundredths of a second: `USER_HZ` is 100 on every
/// architecture that Linux gives to userland today.
fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may hold anything, parentheses too.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The most memory that a process has had at once, in bytes.
pub(super) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    memory_named(pid, "VmHWM")
}

/// The memory that a process has now, in bytes.
pub(super) fn memory(pid: u32) -> anyhow::Result<u64> {
    memory_named(pid, "VmRSS")
}

/// What of that can't be had again from a file, in bytes.
pub(super) fn anonymous_memory(pid: u32) -> anyhow::Result<u64> {
    memory_named(pid, "RssAnon")
}

/// How many files and connections a process has open.
pub(super) fn open_files(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&path).with_context(|| format!("can't read {path}"))?.count() as u64)
}

fn memory_named(pid: u32, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    kibibytes(&status, name).with_context(|| format!("{path} has another form"))
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let kib = field(status, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_trap() {
        let stat = "4711 (a) (b c) S 1 4711 4711 0 -1 4194560 9 0 0 0 150 25 3 4 20 0 9 0 100 200 300";
        assert_eq!(ticks(stat), Some(175));
        for broken in ["", "1 (x", "1 (x) S 1 2 3", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b"] {
            assert_eq!(ticks(broken), None, "{broken}");
        }
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(kibibytes("VmPeak:\t  900 kB\nVmHWM:\t    512 kB\n", "VmHWM"), Some(512 * 1024));
        assert_eq!(kibibytes("VmPeak:\t  900 kB\n", "VmHWM"), None);
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A CPU: 2 GHz\n"), Some("A CPU: 2 GHz".to_owned()));
    }

    #[test]
    fn what_the_host_takes_is_the_eighth_number() {
        let stat = "cpu  151380 14645 21169 50171 2952 0 3523 1470 0 0\ncpu0 1 2 3 4 5 6 7 8\ncpu1 1 2 3\nintr 7\n";
        assert_eq!(stolen(stat), Some((1470, 2)));
        assert_eq!([stolen(""), stolen("cpu0 1 2 3 4 5 6 7 8")], [None; 2]);
        assert!((0.0..=1.0).contains(&Host { at: Instant::now() - Duration::from_secs(1), ..Host::look() }.share()));
    }

    #[test]
    fn this_process_has_used_some() {
        let pid = std::process::id();
        // Not one against the other: tests beside this one take memory between the two looks.
        assert!(peak_memory(pid).unwrap() > 100_000);
        assert!(memory(pid).unwrap() > 100_000);
        assert!(anonymous_memory(pid).unwrap() > 10_000);
        assert!(open_files(pid).unwrap() > 2);
        assert!(cpu_time(pid).unwrap() < Duration::from_secs(1_000_000));
        assert!(cpu_time(u32::MAX).is_err());
        assert!(!Machine::read().kernel.is_empty());
    }
}
