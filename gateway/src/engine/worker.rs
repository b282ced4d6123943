//! The other end of [`compiler`](super::compiler): what `hookmill compile-worker` does.
//!
//! It is told what to do on standard input, limits itself, and answers on standard output. It knows no store, no key and
//! no tenant.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::time::ClockId;

use super::aside::time_of;
use super::compiler::{Order, Report};
use super::engine::Engine;
use super::error::{Cause, InstallError};
use crate::domain::Manifest;
use crate::priority;

/// Compiles one plugin, and answers.
///
/// # Errors
/// If it is told nothing that it understands, or nobody listens to the answer.
pub fn compile_worker(from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<()> {
    // The gateway may have stopped it when it goes.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut told = String::new();
    from.read_line(&mut told)?;
    let order: Order = serde_json::from_str(&told)?;
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    // A machine that does not let it give way compiles all the same. Threads that it starts later do as it does.
    let _ = if order.starved { priority::little() } else { priority::last() };
    let _ = priority::leave_each_tick();
    limit(Resource::Core, 0, 0)?;
    // At the second of the two it would be killed without a word of why.
    limit(Resource::Cpu, order.seconds, order.seconds + 5)?;
    limit(Resource::Fsize, order.memory, order.memory)?;
    let engine = Engine::new(order.engine.clone())?;
    // The engine's pool takes address space that it never uses, so what there is now does not count.
    let memory = address_space()?.saturating_add(order.memory);
    limit(Resource::As, memory, memory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let result = runtime.block_on(engine.work(&bytes)).and_then(|made| keep(made, &order));
    let report = Report { result, cost: time_of(ClockId::ProcessCPUTime) };
    serde_json::to_writer(&mut *to, &report)?;
    to.flush()?;
    Ok(())
}

fn keep((manifest, artifact): (Manifest, Vec<u8>), order: &Order) -> Result<Manifest, InstallError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&order.artifact);
    let written = file.and_then(|mut file| file.write_all(&artifact));
    written.map_err(|error| InstallError::Interrupted(Cause::of(error)))?;
    Ok(manifest)
}

fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?)
}

/// How much it has now, in bytes.
fn address_space() -> io::Result<u64> {
    let mut statm = String::new();
    std::fs::File::open("/proc/self/statm")?.read_to_string(&mut statm)?;
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm does not begin with a number"))?;
    Ok(pages * rustix::param::page_size() as u64)
}
