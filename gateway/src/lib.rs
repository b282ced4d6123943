//! Hookmill: a multi-tenant webhook transformation gateway.
//!
//! Start with `ARCHITECTURE.md` beside this crate. The rooms, in reading order: a room imports only those
//! above it.

pub mod domain;

pub mod clock;

pub mod priority;

pub mod config;

pub mod filter;

pub mod signing;

pub mod retry;

pub mod profiles;

pub mod vault;

pub mod store;

pub mod engine;

pub mod egress;

pub mod registry;

pub mod pipeline;

pub mod control;

pub mod http;

pub mod app;

pub mod cli;

#[cfg(test)]
mod tests;
