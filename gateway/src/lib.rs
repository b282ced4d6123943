//! Hookmill: a multi-tenant webhook transformation gateway.

pub mod clock;
pub mod domain;
