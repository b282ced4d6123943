//! Retry: what follows an attempt, and when.
//!
//! **Who acts.** `control` compiles a subscription's [`RetryPolicy`](crate::domain::RetryPolicy) into a
//! [`Schedule`] when it is saved; `pipeline::deliver` hands every outcome to [`decide`], which answers with a
//! [`Verdict`](crate::domain::Verdict) and one sentence for the log; `egress` reads `Retry-After` with
//! [`parse_retry_after`].
//!
//! **What is promised.** The same inputs give the same verdict: no clock, no randomness, no memory in here.
//! No attempt comes earlier than the schedule's wait, none more than twice as late because an endpoint asked
//! for it (with 429 a wait under a minute counts as a minute), none after `give_up_after`, and never more
//! than the schedule has. Every policy has a limit on attempts, on each wait and on the whole, so nothing
//! is owed for ever.
//!
//! **What is deliberately not here.** Disabling a subscription after days of failure, the breaker for a
//! dead endpoint, the rate limit: these look at many deliveries, and this room at one. A delivery says
//! how many attempts count; this room believes it.

mod after;
mod decide;
mod schedule;

#[cfg(test)]
mod tests;

pub use after::{MAX_RETRY_AFTER, parse_retry_after};
pub use decide::{Decide, THROTTLE_FLOOR, decide};
pub use schedule::{DEFAULT_JITTER, MAX_ATTEMPTS, MAX_JITTER, MAX_WAIT, MAX_WINDOW, PolicyError, Schedule};
