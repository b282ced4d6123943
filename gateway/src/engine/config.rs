//! The limits, each a key of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What plugins may use, and what the engine may use for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// A call's own running time, in whole milliseconds (a fraction counts as one); waiting for a turn or for
    /// other work is not counted. Usually 50 ms.
    pub time: Duration,
    /// Bytes of linear memory a call may have, all memories together. Usually 64 MiB; at most 4 GiB.
    pub memory: usize,
    /// Bytes of what a call gives back, all texts together. Usually 1 MiB.
    pub output: usize,
    /// Bytes a call may log; each line counts 16 more than its text. Usually 16 KiB.
    pub log: usize,
    /// Bytes that may be copied from a guest at once, before their shape is known. Copying can't be
    /// interrupted, so this bounds its time. Usually 4 MiB, and always more than [`output`](Self::output).
    pub hostcall_fuel: usize,
    /// Bytes of an uploaded component. Usually 24 MiB.
    pub component: usize,
    /// Instances that can be alive at once; a call beyond that waits. Each takes address space (about 16 GiB
    /// of it, untouched), not memory.
    pub instances: u32,
    /// Calls that run at once; never more than the machine has cores.
    pub concurrency: usize,
    /// What is kept of guests that are slow to start.
    pub reuse: Reuse,
    /// Where compiled components are kept. Made if absent; ignored, with a warning, if anyone else can write
    /// there. `None` compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// How what tenants upload is compiled; `None` in this process, which trusts it not to take all of its memory.
    pub compiler: Option<CompilerConfig>,
}

/// The process that compiles what tenants upload, and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerConfig {
    /// The gateway's own program, which does it as `compile-worker`.
    pub program: PathBuf,
    /// Processor time. Usually 30 s.
    pub time: Duration,
    /// Bytes of memory. Usually 1 GiB.
    pub memory: u64,
}

/// Instances of slow-starting guests that are kept for later calls of the same subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// How many, at rest and at work; 0 keeps none. They come on top of [`EngineConfig::instances`].
    pub instances: u32,
    /// How many of them one tenant may have.
    pub per_tenant: u32,
    /// Bytes of linear memory of all that rest.
    pub memory: usize,
    /// Calls that one serves before it is dropped.
    pub calls: u32,
}

/// What is kept of the gateway's own plugins. To start an instance anew, and to wipe it, takes four times what a preset
/// then does with an event, and most of the memory that one has is never touched.
pub(super) const OWN: Reuse = Reuse { instances: 64, per_tenant: 16, memory: 128 << 20, calls: 1_000 };

impl Reuse {
    /// Every call has a fresh instance.
    pub const NONE: Self = Self { instances: 0, per_tenant: 0, memory: 0, calls: 0 };
}
