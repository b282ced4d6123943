#![doc = include_str!("../README.md")]
//!
//! # The rooms
//!
//! [`Transform`] and [`Connector`] are what an author implements, [`transform!`] and [`connector!`]
//! what makes a module of it. [`template`] fills in a config's texts from an event, [`json`] reads and
//! edits JSON without changing what it was not asked to, [`path`] finds places in it, and [`testing`]
//! runs a plugin as a plain function over golden files.
//!
//! What is deliberately not here: a clock, randomness, a network, files, an environment, memory of
//! an earlier call. A plugin is a function of its arguments, so a run can be repeated and compared.
//!
//! # Beginning
//!
//! `plugin-sdk/templates/rust` is a whole crate to copy; `examples/plugins/rust` has three plugins with everything that
//! a real one has. Both are in Hookmill's repository, and are built and tested with it.

#![deny(missing_docs)]

#[cfg(target_arch = "wasm32")]
pub mod alloc;
#[doc(hidden)]
pub mod bindings;
mod contract;
#[doc(hidden)]
pub mod guest;
pub mod json;
pub mod log;
mod manifest;
pub mod path;
mod plugin;
mod secret;
pub mod template;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::connector::Outcome;
pub use bindings::transform::Decision;
pub use bindings::transform::hookmill::plugin::types::{
    Batching, Event, Fault, Interprets, Kind, Level, OnUnknown, Payload, Rate, Request, Response, Retry, Scope, Verdict,
};
pub use contract::{cut, plain_code};
pub use manifest::{Auth, CONTRACT, Manifest};
pub use plugin::{Connector, Transform};
pub use secret::Secret;

#[doc(hidden)]
pub use bindings::transform::hookmill::plugin::types::Manifest as WireManifest;

/// What most plugins use.
pub mod prelude {
    pub use crate::template::{Escape, Templates};
    pub use crate::{
        Connector, Decision, Event, Fault, Interprets, Manifest, OnUnknown, Outcome, Request, Response, Scope, Secret,
        Transform, Verdict,
    };
    pub use schemars::JsonSchema;
    pub use serde::Deserialize;
}
