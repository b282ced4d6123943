//! What an end-to-end test needs: a real gateway process, the world outside it, and a hand on its clock.
//!
//! **Who acts.** A [`Gateway`] is the product's binary on a data folder and ports of its own; a [`Client`] calls
//! it as anybody would; a [`Receiver`] is an endpoint that records what it gets and answers as it is told; a
//! [`Tripwire`] is one that nobody may reach; a [`NameServer`] tells the gateway where names lead; a
//! [`TestClock`] moves the gateway's time. **What is promised.** No test sleeps to let time pass: what takes time
//! is moved by the clock, what happens by itself is waited for with [`eventually`], and what must *not* happen is
//! looked for after something later that must. **What is deliberately not.** Nothing here knows how the gateway
//! works inside, and none of its code is used: signatures are checked and JSON is read by other means.

mod check;
mod client;
mod clock;
mod dns;
mod gateway;
mod guest;
mod home;
mod power;
mod receiver;
mod stream;
mod tenant;
mod tripwire;

use std::time::Duration;

pub use check::{hmac_hex, node, standard_signature_holds, unix_time};
pub use client::{Client, Reply};
pub use clock::TestClock;
pub use dns::{NameServer, Said};
pub use gateway::{Gateway, OPERATOR_KEY, Setup, binary};
pub use guest::{Encoding, Guest};
pub use home::{Done, Home, Running, end};
pub use power::Unsynced;
pub use receiver::{Answer, Received, Receiver};
pub use stream::{Stream, Told};
pub use tenant::Tenant;
pub use tripwire::Tripwire;

/// Whether the tests that can be long are to be as long as a release wants them: `HOOKMILL_LONG` is set.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("HOOKMILL_LONG").is_some()
}

/// How long anything that happens by itself may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer, at most [`PATIENCE`].
///
/// # Panics
/// If there is none by then; `what` says what was waited for.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).await
}

/// [`eventually`] with a patience of its own.
///
/// # Panics
/// If there is no answer by then.
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {} s in vain: {what}", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
