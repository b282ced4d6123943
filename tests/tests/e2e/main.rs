//! The end-to-end suite: the real binary, real sockets, a real disk. One module a theme, one binary for all.
//!
//! `HOOKMILL_LONG=1` makes the crash tests as long as a release wants them.

#![expect(clippy::unwrap_used, reason = "a test says by failing what was not there")]

mod delivery;
mod retries;
