//! The contract's two worlds as Rust, generated from `wit/plugin.wit` and checked in.
//!
//! Checked in rather than made by a macro at every build: the generator is a large dependency, and
//! a plugin built without it takes a quarter of the time. `plugin-sdk/bindings` writes these files
//! again; a test notices when the contract has changed and they have not.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

#[rustfmt::skip]
pub mod connector;
#[rustfmt::skip]
pub mod transform;

/// The SHA-256 of the `wit/plugin.wit` these files were made from.
pub const CONTRACT_SHA256: &str = "5ee163e087418ecf8fbd65deeb192b2476e0df44684f3128231f53b5ae8684aa";
