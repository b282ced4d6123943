//! How wasmtime is set up: what the guests may consist of, the pool they live in, and what they can call.

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::bindings::{connector, transform};
use super::config::{EngineConfig, OWN};
use super::error::Error;
use super::guest::Guest;

/// Most core instances a component may consist of. A Rust guest is three or four; CPython comes as a program and its
/// shared libraries, 38 together.
pub(super) const CORE_INSTANCES: u32 = 64;
/// Most linear memories.
pub(super) const MEMORIES: u32 = 4;
/// Most tables.
pub(super) const TABLES: u32 = 16;
/// Most elements of a table; the largest real guests have about half.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// The address space kept for each memory: as much as a 32-bit index can reach, so that compiled code needs no
/// bounds checks.
const RESERVATION: u64 = 4 << 30;
/// Bytes of a memory that stay mapped when an instance is gone. They are reset, but cost no page fault again.
/// Enough for what a small guest touches; 1 MiB for each slot ever in use at once.
const KEEP_RESIDENT: usize = 1 << 20;
/// The same for each table.
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
/// Stack a guest may use.
pub(super) const STACK: usize = 512 << 10;
/// Stack set aside for a call: the guest's, and what the host's functions use on top.
const CALL_STACK: usize = 2 << 20;

/// A wasmtime engine with the pool that `config` asks for.
pub(super) fn engine(config: &EngineConfig) -> Result<wasmtime::Engine, Error> {
    wasmtime::Engine::new(&settings(config)).map_err(|error| Error::Setup(error.into()))
}

fn settings(config: &EngineConfig) -> Config {
    let mut settings = Config::new();
    settings
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)))
        .memory_reservation(RESERVATION)
        .memory_may_move(false)
        .max_wasm_stack(STACK)
        .async_stack_size(CALL_STACK)
        .epoch_interruption(true)
        // No streams, futures or threads in the contract, so none of their bookkeeping in each store.
        .concurrency_support(false)
        .wasm_memory64(false)
        // A plugin is a pure function on every machine, NaN bits included.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .cranelift_opt_level(OptLevel::Speed)
        // An upload may take one core for a while, not all of them.
        .parallel_compilation(false)
        // One frame tells whether an error passed through the guest; addresses nobody reads are left out.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(1))
        .generate_address_map(false)
        .native_unwind_info(false);
    settings
}

fn pool(config: &EngineConfig) -> PoolingAllocationConfig {
    // A place for every call that starts fresh, and for every instance that is kept.
    let kept = config.reuse.instances.saturating_add(OWN.instances);
    let instances = config.instances.max(1).saturating_add(kept);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_memories(instances.saturating_mul(MEMORIES))
        .total_tables(instances.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .max_memory_size(config.memory)
        .table_elements(TABLE_ELEMENTS)
        .pagemap_scan(Enabled::Auto);
    // Without the scan, all of what is kept is written anew for each instance, touched or not: slower than
    // giving the pages back.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.linear_memory_keep_resident(KEEP_RESIDENT).table_keep_resident(TABLE_KEEP_RESIDENT);
    }
    pool
}

/// What guests can call: `log`, for both worlds.
pub(super) struct Linkers {
    /// For transforms.
    pub(super) transform: Linker<Guest>,
    /// For connectors.
    pub(super) connector: Linker<Guest>,
}

impl Linkers {
    pub(super) fn new(engine: &wasmtime::Engine) -> Result<Self, Error> {
        let mut linkers = Self { transform: Linker::new(engine), connector: Linker::new(engine) };
        let setup = |error: wasmtime::Error| Error::Setup(error.into());
        transform::Transform::add_to_linker::<_, HasSelf<Guest>>(&mut linkers.transform, |guest| guest)
            .map_err(setup)?;
        connector::Connector::add_to_linker::<_, HasSelf<Guest>>(&mut linkers.connector, |guest| guest)
            .map_err(setup)?;
        Ok(linkers)
    }
}
