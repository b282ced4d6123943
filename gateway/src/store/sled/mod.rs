//! The embedded store: one process, one directory, sled 0.34.7 beneath.
//!
//! **Who acts.** The verbs (`handle`, `accept`, `ends`) put what they are given into its stored form on the
//! caller's thread and hand it over (`inbox`). One thread writes (`commit`): it makes a group of what waits
//! one transaction, has it synced, and answers. A few threads read (`readers`, `queries`). What is in the
//! caller's hand is known to memory alone (`hand`), so that after a crash all of it is due again. `prune`
//! plans retention, `disk` guards the space, `component` cuts up what tenants upload, and `open` lets nothing be served
//! before it is sure of the directory (`mark`), or says what to do (`refusal`). What is not served can be looked into
//! (`inspect`): `check`, `export`, `salvage`.
//!
//! **What is promised.** What was acknowledged survives a kill and a power cut, or the start is refused with a
//! sentence. An event costs one tree operation on its way in (one more with a client's id) and one when it
//! has been delivered: its deliveries stand in it, and get rows of their own with the end of their first attempt, or
//! after a second; and an attempt that ends its delivery at once stands in that row. After any error of sled, of a sync or of a read, nothing more is acknowledged.
//!
//! **What is deliberately not.** `flush_async` (it hangs under load), `watch_prefix` (it blocks the writer),
//! compression (three times the work) and sled's own idea of durability (`flush` is not a sync on Linux). No value
//! is stored whole that could make sled write a file of its own (`tables`).

mod accept;
mod check;
mod codec;
mod commit;
mod component;
mod config;
mod disk;
mod ends;
mod export;
mod fault;
mod hand;
mod handle;
mod inbox;
mod inspect;
mod keys;
mod mark;
mod open;
mod prune;
mod queries;
mod readers;
mod refusal;
mod salvage;
mod shared;
mod tables;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use check::Checked;
pub use disk::{DiskGuard, Probe, Space};
pub use export::Exported;
pub use handle::SledStore;
pub use inspect::{Inspection, Reach, Wrong, Wrongs};
pub use salvage::Salvaged;
pub use shared::OnCommit;

/// How the store is opened.
pub struct SledOptions {
    /// Bytes of pages that sled keeps in memory; 128 MiB.
    pub cache_capacity: u64,
    /// Bytes that may wait to be written before events are refused, and as much again before ends of attempts
    /// wait; 32 MiB.
    pub inbox_bytes: usize,
    /// How long the end of an attempt waits for somebody else's commit; 100 ms.
    pub settle_within: Duration,
    /// How long a new delivery may be without a row of its own; 1 s. Most have been settled by then, and the only
    /// row that was ever written says so.
    pub linger: Duration,
    /// Threads that read; 2.
    pub read_threads: usize,
    /// When ingest is refused because of the disk.
    pub disk: DiskGuard,
    /// The operator's word that a store whose last commit is this one or a later one is to be served although
    /// more was acknowledged, or although nobody knows how much was. It also goes on where events of the last commits
    /// are missing.
    pub accept_rollback_to: Option<u64>,
    /// Told after each commit how long it took and how many tree operations it had; on the committing thread.
    pub on_commit: Option<OnCommit>,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_capacity: 128 << 20,
            inbox_bytes: 32 << 20,
            settle_within: Duration::from_millis(100),
            linger: Duration::from_secs(1),
            read_threads: 2,
            disk: DiskGuard::default(),
            accept_rollback_to: None,
            on_commit: None,
        }
    }
}

/// What was found when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Whether there was something.
    pub recovered: bool,
    /// The number of the last commit.
    pub commit_seq: u64,
    /// Deliveries that had been begun and were never settled: they are `held` now.
    pub held: usize,
    /// Deliveries that are durable with their event and are still to get rows of their own: the newest, and those of
    /// large fan-outs. They are offered already.
    pub waiting: usize,
}
