//! Lines for the delivery's log.
//!
//! ```
//! use hookmill_plugin::{Level, log, testing};
//!
//! log::warn("data.email: there is none");
//! assert_eq!(testing::log_lines(), [(Level::Warn, "data.email: there is none".to_owned())]);
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Level;

/// What the SDK lets a call write: a little under the host's 16 KiB, beyond which a call is a fault.
/// A plugin should not fail because it said too much.
const BUDGET: usize = 15 * 1024;

/// Bytes written so far in this call.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Another call begins, in the same instance.
#[cfg(target_arch = "wasm32")]
pub(crate) fn begin() {
    WRITTEN.store(0, Ordering::Relaxed);
}

/// Writes a line to the delivery's log. Lines beyond 15 KiB in one call are left out.
pub fn log(level: Level, message: &str) {
    let written = WRITTEN.load(Ordering::Relaxed);
    if cfg!(target_arch = "wasm32") && written + message.len() > BUDGET {
        return;
    }
    WRITTEN.store(written.saturating_add(message.len()), Ordering::Relaxed);
    write(level, message);
}

/// [`log`] at `debug`.
pub fn debug(message: impl AsRef<str>) {
    log(Level::Debug, message.as_ref());
}

/// [`log`] at `info`.
pub fn info(message: impl AsRef<str>) {
    log(Level::Info, message.as_ref());
}

/// [`log`] at `warn`.
pub fn warn(message: impl AsRef<str>) {
    log(Level::Warn, message.as_ref());
}

/// [`log`] at `error`.
pub fn error(message: impl AsRef<str>) {
    log(Level::Error, message.as_ref());
}

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::transform::hookmill::plugin::host::log(level, message);
}

/// Outside the gateway the lines go to whoever runs the plugin: the test harness.
#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    crate::testing::keep_log_line(level, message);
}
