//! A machine that is busy: every core computes, and leaves off for whoever has something to do.
//!
//! It is the control of measurements with all cores in use. What others then take longer is not for want of a core, for
//! they are given it at once; it is what the machine itself costs: cores that share their units, and a host that takes
//! away, for milliseconds, what a guest uses all the time. One that gives a virtual machine so much time in each 100 ms
//! (`cpu.max` of Linux's control groups), and counts what it does for its disk, stops all cores when that is used up: ten
//! milliseconds in each hundred were seen, whatever ran in them, which nobody's p99 can be below.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::priority;

/// How long a thread goes on at a time, as the gateway's own slow work does.
const STINT: Duration = Duration::from_millis(1);

/// A thread on each core, computing until this is dropped.
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// Begins.
    pub(super) fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) {
            let over = over.clone();
            std::thread::spawn(move || {
                // Refused, it takes more than what is left, and the control is a harsher one.
                let _ = priority::last();
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    while began.elapsed() < STINT {}
                    priority::leave();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
