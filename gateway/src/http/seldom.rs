//! What many requests in a row are refused for, told in the log once a second.
//!
//! That the gateway has no room, or the disk none, is a state, and every request that comes meanwhile meets it: a line for
//! each would let whoever sends many fill the log, and the disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::problem::Kind;

/// How long nothing more is told of the same thing.
const REST: Duration = Duration::from_secs(1);

/// What was told when, and how often it came since.
#[derive(Default)]
pub(super) struct Seldom(Mutex<HashMap<Kind, Told>>);

struct Told {
    at: Instant,
    since: u64,
}

impl Seldom {
    /// Whether to tell it now, and how often it came before since it was told last.
    pub(super) fn tell(&self, what: Kind, now: Instant) -> Option<u64> {
        let mut all = self.0.lock();
        match all.get_mut(&what) {
            Some(told) if now.duration_since(told.at) < REST => {
                told.since += 1;
                None
            }
            _ => Some(all.insert(what, Told { at: now, since: 0 }).map_or(0, |told| told.since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_once_a_second_and_counts() {
        let (seldom, begin) = (Seldom::default(), Instant::now());
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!(seldom.tell(Kind::Overloaded, begin), Some(0));
        assert_eq!(seldom.tell(Kind::Overloaded, after(1)), None);
        assert_eq!(seldom.tell(Kind::Overloaded, after(999)), None);
        assert_eq!(seldom.tell(Kind::DiskFull, after(999)), Some(0), "another thing is told for itself");
        assert_eq!(seldom.tell(Kind::Overloaded, after(1_000)), Some(2));
        assert_eq!(seldom.tell(Kind::Overloaded, after(5_000)), Some(0));
    }
}
