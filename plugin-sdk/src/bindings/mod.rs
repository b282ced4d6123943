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
pub const CONTRACT_SHA256: &str = "dbc5d4378790ec68f2cdf38dc942e61b4bd7ec7960a17bb79e5811a2a7118c7b";
