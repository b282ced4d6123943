//! What is to be expected of a lane: from how its own last attempts ended and, where that says too little, its tenant's.
//! Only counts, so that an attempt costs an addition.

use jiff::Timestamp;

/// What has at least so many waiting, and more than all others together, is held back as long as there are others. Who has
/// fewer is not the one they wait for.
pub(super) const MANY: usize = 4_096;
/// Where so many wait in lanes of which nothing is expected, what is posted to them alone only piles up.
pub(super) const MANY_FOR_NOTHING: usize = 16;
/// By how many more of a tenant's last attempts must have come to nothing than to something before nothing better is
/// expected of a lane that is not known. Twice as far is counted.
const MOSTLY: u32 = 32;
/// By how many more of a lane's last attempts must have come to something, or to nothing, for the next to be expected to.
/// It takes few to be trusted again. No further is counted than to the latter, either way.
const TRUSTED: i8 = 2;
const DISTRUSTED: i8 = 4;

/// How an attempt ended, for the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum End {
    /// It got an answer.
    Answered,
    /// It got one over which the connector faulted.
    Misread,
    /// The endpoint did not answer in time.
    TimedOut,
    /// No connection came to be, or it broke before an answer was whole.
    CutOff,
    /// A plugin faulted, other than by its own word, and there was nothing to send.
    Faulted,
    /// It did not get as far as the endpoint.
    NotSent,
    /// Nor should it: a plugin dropped it.
    Dropped,
    /// The endpoint, or its whole host, wants to be left alone until then.
    LeaveAlone { until: Timestamp, host: bool },
}

impl End {
    /// Whether it came to nothing; neither where it says nothing of that.
    fn came_to_nothing(self) -> Option<bool> {
        match self {
            Self::TimedOut | Self::CutOff | Self::Faulted => Some(true),
            Self::Answered | Self::Dropped => Some(false),
            // What was sent has come to something, and what was run for it has not; or it is not tried again so soon.
            Self::Misread | Self::LeaveAlone { .. } | Self::NotSent => None,
        }
    }
}

/// By how many more of a lane's last attempts came to something than to nothing; less than none if it was the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing(i8);

impl Standing {
    /// Nothing is known that speaks for or against it.
    pub(super) const UNKNOWN: Self = Self(0);

    /// One more attempt ended.
    pub(super) fn note(&mut self, end: End) {
        let by = match end.came_to_nothing() {
            Some(true) => -1,
            Some(false) => 1,
            // At least its endpoint is there again.
            None => i8::from(end == End::Misread && self.0 < 0),
        };
        self.0 = (self.0 + by).clamp(-DISTRUSTED, DISTRUSTED);
    }
}

/// By how many more of a tenant's last attempts came to nothing than to something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Balance(u32);

impl Balance {
    /// One more attempt ended.
    pub(super) fn note(&mut self, end: End) {
        match end.came_to_nothing() {
            Some(true) => self.0 = (self.0 + 1).min(2 * MOSTLY),
            Some(false) => self.0 = self.0.saturating_sub(1),
            None => {}
        }
    }

    /// Whether most of its attempts come to nothing.
    pub(super) fn comes_to_nothing(self) -> bool {
        self.0 >= MOSTLY
    }

    /// Whether anything speaks against it.
    pub(super) fn is_bad(self) -> bool {
        self.0 > 0
    }

    /// What is to be expected of a lane of the tenant's that stands so.
    pub(super) fn prospect(self, Standing(standing): Standing) -> Prospect {
        match standing <= -DISTRUSTED || standing < TRUSTED && self.comes_to_nothing() {
            true => Prospect::Poor,
            false => Prospect::Fair,
        }
    }
}

/// What is to be expected of a lane's next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Prospect {
    /// Something.
    Fair,
    /// Nothing: its own last ones came to that, or nothing is known of them and most of its tenant's did.
    Poor,
}

/// Why others should not wait behind a tenant, or one of its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum HeldBack {
    /// The tenant has more waiting than all others together.
    HasMost,
    /// The lane's attempts do, or most of the tenant's where nothing is known of the lane's.
    ComesToNothing,
}

/// What a fresh delivery finds in its lane, an event's deliveries in all of theirs, or those of several events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Found {
    /// How many go before it in memory, in lanes that are not held back for coming to nothing, if there is one; none where
    /// it has no room there itself.
    pub(super) fair: Option<usize>,
    /// How many do in lanes that are, or enough of them where they wait in the store.
    pub(super) poor: usize,
}

impl Found {
    /// What two deliveries of an event find.
    pub(in crate::pipeline) fn and(self, other: Self) -> Self {
        let fair = self.fair.into_iter().chain(other.fair).reduce(|one, other| one + other);
        Self { fair, poor: self.poor + other.poor }
    }

    /// What two events find.
    pub(in crate::pipeline) fn beside(self, other: Self) -> Self {
        Self { fair: self.fair.max(other.fair), poor: self.poor.max(other.poor) }
    }

    /// Why what comes to it only piles up, if it does.
    pub(in crate::pipeline) fn piles_up(self) -> Option<HeldBack> {
        match self.fair {
            None => (self.poor >= MANY_FOR_NOTHING).then_some(HeldBack::ComesToNothing),
            Some(waiting) => (waiting >= MANY).then_some(HeldBack::HasMost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_judged_by_its_last_attempts_and_one_that_is_not_known_by_its_tenants() {
        let (even, failing) = (Balance::default(), Balance(MOSTLY));
        for (standing, of_even, of_failing) in [
            (-DISTRUSTED, Prospect::Poor, Prospect::Poor),
            (1 - DISTRUSTED, Prospect::Fair, Prospect::Poor),
            (0, Prospect::Fair, Prospect::Poor),
            (TRUSTED, Prospect::Fair, Prospect::Fair),
        ] {
            let standing = Standing(standing);
            assert_eq!((even.prospect(standing), failing.prospect(standing)), (of_even, of_failing), "{standing:?}");
        }
    }

    #[test]
    fn no_past_is_too_bad_or_too_good_to_be_made_up_for() {
        let (mut lane, mut tenant) = (Standing::UNKNOWN, Balance::default());
        let mut after = |end, times| {
            for _ in 0..times {
                lane.note(end);
                tenant.note(end);
            }
            (lane.0, tenant.0)
        };
        assert_eq!(after(End::CutOff, 1_000), (-DISTRUSTED, 2 * MOSTLY));
        assert_eq!(after(End::Answered, 1_000), (DISTRUSTED, 0));
    }

    #[test]
    fn an_answer_that_is_misread_speaks_for_the_endpoint_and_not_for_the_lane() {
        for (before, after) in [(-DISTRUSTED, 1 - DISTRUSTED), (-1, 0), (0, 0), (TRUSTED, TRUSTED)] {
            let mut standing = Standing(before);
            standing.note(End::Misread);
            assert_eq!(standing, Standing(after));
        }
    }
}
