//! The account of a run: which deliveries arrived, how often, and how long they took.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The mark that an event carries in its data and that every form of its delivery must show: its number,
/// and when it was sent, in microseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: usize,
    pub(super) sent: u64,
}

impl Stamp {
    /// As text: `#number:sent#`. Nothing before it in a body may hold a `#`.
    pub(super) fn text(self) -> String {
        format!("#{}:{}#", self.number, self.sent)
    }

    /// The first one in a body. Looked for by its mark, since to parse every body would cost more than to
    /// send it.
    pub(super) fn find(body: &[u8]) -> Option<Self> {
        let mut parts = body.splitn(3, |byte| *byte == b'#').skip(1);
        let (inside, closed) = (parts.next()?, parts.next());
        closed?;
        let (number, sent) = std::str::from_utf8(inside).ok()?.split_once(':')?;
        Some(Self { number: number.parse().ok()?, sent: sent.parse().ok()? })
    }
}

#[derive(Default)]
struct Counts {
    /// How often each delivery arrived, by the event's number times the fan-out plus the subscription.
    arrived: Vec<u8>,
    /// Distinct deliveries.
    distinct: u64,
    duplicated: u64,
    /// Time and event-to-delivery time of every first arrival, both in microseconds, and the subscription.
    times: Vec<(u64, u32, u16)>,
}

/// The time since a run began, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch(pub(super) Instant);

impl Stopwatch {
    /// At this moment.
    pub(super) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment that is so many microseconds after the beginning.
    pub(super) fn instant(self, micros: u64) -> Instant {
        self.0 + Duration::from_micros(micros)
    }
}

/// More deliveries than a run can make: what claims to be beyond is none of ours.
const MOST: usize = 1 << 30;

/// Deliveries that arrived for the first time, and when the first and the last of them did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrivals {
    pub(super) count: usize,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Written by the receiver, read at the end.
pub(super) struct Ledger {
    fan_out: usize,
    counts: Mutex<Counts>,
}

impl Ledger {
    /// Begins, for so many subscriptions.
    pub(super) fn new(fan_out: usize) -> Self {
        Self { fan_out, counts: Mutex::default() }
    }

    /// A delivery arrived at this subscription's endpoint, so many microseconds after the beginning.
    pub(super) fn arrive(&self, stamp: Stamp, subscription: usize, now: u64) {
        let took = u32::try_from(now.saturating_sub(stamp.sent)).unwrap_or(u32::MAX);
        let at = stamp.number.checked_mul(self.fan_out).map(|first| first + subscription);
        let Some(at) = at.filter(|at| *at < MOST && subscription < self.fan_out) else { return };
        let mut counts = self.counts.lock();
        if counts.arrived.len() <= at {
            counts.arrived.resize(at + 1, 0);
        }
        counts.arrived[at] = counts.arrived[at].saturating_add(1);
        if counts.arrived[at] == 1 {
            counts.distinct += 1;
            counts.times.push((now, took, u16::try_from(subscription).unwrap_or(u16::MAX)));
        } else {
            counts.duplicated += 1;
        }
    }

    /// Distinct deliveries so far.
    pub(super) fn delivered(&self) -> u64 {
        self.counts.lock().distinct
    }

    /// Deliveries that arrived again.
    pub(super) fn duplicated(&self) -> u64 {
        self.counts.lock().duplicated
    }

    /// How many deliveries these events are owed.
    pub(super) fn owed(&self, acknowledged: impl Iterator<Item = usize>) -> u64 {
        (acknowledged.count() * self.fan_out) as u64
    }

    /// How many deliveries of these events did not arrive.
    pub(super) fn missing(&self, acknowledged: impl Iterator<Item = usize>) -> u64 {
        let counts = self.counts.lock();
        acknowledged.map(|number| self.missing_of(&counts, number)).sum()
    }

    /// Strikes out those of these events whose deliveries have all arrived.
    pub(super) fn strike_out(&self, owed: &mut Vec<usize>) {
        let counts = self.counts.lock();
        owed.retain(|number| self.missing_of(&counts, *number) > 0);
    }

    fn missing_of(&self, counts: &Counts, number: usize) -> u64 {
        let owed = number * self.fan_out..(number + 1) * self.fan_out;
        owed.filter(|at| counts.arrived.get(*at).is_none_or(|count| *count == 0)).count() as u64
    }

    /// How many arrived in this part of the run, in microseconds since it began.
    pub(super) fn arrived_within(&self, from: u64, until: u64) -> usize {
        self.counts.lock().times.iter().filter(|(at, ..)| (from..until).contains(at)).count()
    }

    /// What arrived from this moment on, in microseconds since the run began. Zero throughout if nothing did.
    pub(super) fn arrivals_from(&self, from: u64) -> Arrivals {
        let counts = self.counts.lock();
        let times = || counts.times.iter().map(|(at, ..)| *at).filter(|at| *at >= from);
        Arrivals {
            count: times().count(),
            first: times().min().unwrap_or_default(),
            last: times().max().unwrap_or_default(),
        }
    }

    /// How long everything took that has arrived since this was asked before, in microseconds; it is told once.
    pub(super) fn take_times(&self) -> Vec<u32> {
        let times = std::mem::take(&mut self.counts.lock().times);
        times.into_iter().map(|(_, took, _)| took).collect()
    }

    /// Event-to-delivery times of what was sent in this part of the run, to one subscription or to all.
    pub(super) fn times_of(&self, subscription: Option<u16>, from: u64, until: u64) -> Vec<u32> {
        let counts = self.counts.lock();
        let wanted = |(at, took, to): &&(u64, u32, u16)| {
            (from..until).contains(&at.saturating_sub(u64::from(*took))) && subscription.is_none_or(|one| one == *to)
        };
        counts.times.iter().filter(wanted).map(|(_, took, _)| *took).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stamp_is_found_in_any_form() {
        let stamp = Stamp { number: 7, sent: 1234 };
        for body in [
            r##"{"text":"#7:1234#"}"##,
            r###"{"id":"b-7","type":"bench.event","data":{"stamp":"#7:1234#","padding":"##"}}"###,
            "#7:1234#",
        ] {
            assert_eq!(Stamp::find(body.as_bytes()), Some(stamp), "{body}");
        }
        for body in ["", "{}", "#", "##", "#7:1234", "#7#", "#a:b#", "#-1:1#", "#99999999999999999999:1#"] {
            assert_eq!(Stamp::find(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn every_stamp_is_read_as_it_was_written(number in any::<u32>(), sent in any::<u64>(), rest in "[^#]*") {
            let stamp = Stamp { number: number as usize, sent };
            prop_assert_eq!(Stamp::find(format!("{rest}{}{rest}", stamp.text()).as_bytes()), Some(stamp));
        }
    }

    #[test]
    fn the_account_knows_what_is_missing_and_what_came_twice() {
        let ledger = Ledger::new(2);
        for (number, subscription) in [(0, 0), (0, 1), (2, 1), (2, 1), (1, 2), (usize::MAX, 0), (MOST, 0)] {
            ledger.arrive(Stamp { number, sent: 1_000 }, subscription, 6_000);
        }
        assert_eq!((ledger.delivered(), ledger.duplicated()), (3, 1));
        assert_eq!(ledger.missing([0, 1, 2, 9].into_iter()), 2 + 1 + 2);
        assert_eq!(ledger.missing([0].into_iter()), 0);
        assert_eq!(ledger.arrived_within(0, 6_000), 0);
        assert_eq!(ledger.arrived_within(6_000, 6_001), 3);
        assert_eq!(ledger.arrivals_from(6_000), Arrivals { count: 3, first: 6_000, last: 6_000 });
        assert_eq!(ledger.arrivals_from(6_001), Arrivals { count: 0, first: 0, last: 0 });
        assert_eq!(ledger.times_of(None, 1_000, 1_001), [5_000; 3]);
        assert_eq!(ledger.times_of(Some(1), 1_000, 1_001), [5_000; 2]);
        assert!(ledger.times_of(None, 1_001, 9_000).is_empty());
        assert_eq!(ledger.take_times(), [5_000; 3]);
        assert_eq!((ledger.take_times().len(), ledger.delivered()), (0, 3));
        // What arrives late is told the next time.
        ledger.arrive(Stamp { number: 2, sent: 1_000 }, 0, 9_000);
        assert_eq!(ledger.take_times(), [8_000]);
        let mut owed = vec![0, 1, 2, 9];
        ledger.strike_out(&mut owed);
        assert_eq!(owed, [1, 9]);
    }
}
