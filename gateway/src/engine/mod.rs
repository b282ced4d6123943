//! The one room that knows WebAssembly: it takes in plugins, and runs them where they can do no harm.
//!
//! **Who acts.** A tenant uploads bytes; [`Engine::admit`] has another process make a component of them, look at
//! what it imports and exports, compile it, and ask it once what it is. [`Engine::install`] does the same in this
//! process with what is the operator's own, and [`Engine::install_own`] with what is ours. What comes out is a
//! [`Plugin`], cheap to keep by the thousand; [`Engine::revive`] finds it again after a restart. The pipeline then
//! calls [`Engine::transform`], [`Engine::render`] and [`Engine::interpret`], in the words of `domain`; nothing of
//! wasmtime can be seen from outside.
//!
//! **What is promised.**
//! - *Nothing leaks.* Every call has a fresh instance: memory, tables and globals as the component was
//!   built. What one event or tenant left behind is gone before the next begins. For later events of the same
//!   subscription instances of the gateway's own plugins are kept, which remember nothing, and where its tenant says
//!   so those of guests that are slow to start (`warm`); what a tenant wrote in Rust or JavaScript never is.
//! - *Nothing runs away.* Running time, memory, tables, stack, output and log are bounded. A guest that
//!   goes beyond a bound ends in a [`Fault`](crate::domain::Fault) that names it, and the engine is as
//!   good as before. A guest gives way to the host's other work every millisecond.
//! - *Nothing is starved.* At most [`EngineConfig::concurrency`] calls run at once. Where more want to,
//!   tenants take turns by the running time they used (`turns`), one call each while others wait. Calls known
//!   to be slow have few places of their own (`pace`), those that nobody waits for have one ([`Engine::idle`]), and both
//!   run on threads that the kernel runs after all others (`aside`). A full pool means waiting, never a failed call.
//! - *What comes out is checked.* A transform keeps the event's id and gives valid JSON; a connector gives
//!   one well-formed request. What breaks the contract is a fault, not a surprise further on.
//! - *The same in, the same out.* A guest can call `log` and nothing else. Float results are made canonical,
//!   so that a run can be repeated on another machine and compared.
//!
//! **What is deliberately not here.** No secret is known here: what a plugin gets for
//! one is a placeholder. Header names that only the host may set are `pipeline`'s to refuse, as they are its
//! own.
//!
//! In reading order: [`EngineConfig`]; `intake` (bytes to component), `contract` (which version it speaks),
//! `compiler` and `worker` (the two ends of the other process), `artifacts` (compiled code on disk), `manifest` (what
//! it says of itself), `plugin`, `install` (which joins these); `guest` (one call's limits), `turns` (whose turn it is),
//! `pace` (who is slow), `aside` (where they run), `ticker` (time passing), `ask` (the calls), `run` (one of them),
//! `warm` (instances that are kept), `meter` (what calls used), `output` (what came back), `fault` (what went wrong);
//! `engine` joins all.

mod artifacts;
mod aside;
mod ask;
mod bindings;
mod caller;
mod compiler;
mod config;
mod contract;
mod convert;
#[expect(clippy::module_inception, reason = "the room's main noun is its name")]
mod engine;
mod error;
mod fault;
pub mod fixtures;
mod guest;
mod install;
mod intake;
mod manifest;
mod meter;
mod output;
mod pace;
mod plugin;
mod run;
mod runtime;
mod ticker;
mod turns;
mod warm;
mod worker;

#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use config::{CompilerConfig, EngineConfig, Reuse};
pub use engine::Engine;
pub use error::{Cause, Error, InstallError};
pub use meter::{Meter, Spent, Tally, Usage};
pub use plugin::Plugin;
pub use run::Ran;
pub use worker::compile_worker;
