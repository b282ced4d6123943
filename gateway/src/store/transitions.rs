//! What the store itself makes of a delivery: pure, and the same for every backend.

use jiff::Timestamp;

use crate::domain::{Attempt, Delivery, Outcome, Status, Trigger};

/// When a delivery is due, in whole milliseconds and not before its `next_attempt_at`.
#[must_use]
pub fn due(delivery: &Delivery) -> Timestamp {
    let at = delivery.next_attempt_at.unwrap_or(delivery.created_at);
    let below = at.as_millisecond() - i64::from(at.subsec_nanosecond() < 0 && at.subsec_nanosecond() % 1_000_000 != 0);
    let whole = Timestamp::from_millisecond(below).unwrap_or(at);
    if whole >= at { whole } else { Timestamp::from_millisecond(below + 1).unwrap_or(Timestamp::MAX) }
}

/// Whether retention must settle it before its event goes.
#[must_use]
pub(crate) fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.status, Status::Pending | Status::Held)
}

/// Whether it is as due as can be: nobody can make it due again.
pub(crate) fn is_due(delivery: &Delivery, now: Timestamp) -> bool {
    delivery.status == Status::Pending && delivery.next_attempt_at.unwrap_or(delivery.created_at) <= now
}

/// Due again, because a person asked; or due now, if it waits for its time. What was frozen is given up: a manual retry
/// and a replay transform anew.
pub(crate) fn requeue(delivery: &mut Delivery, trigger: Trigger, now: Timestamp) {
    delivery.status = Status::Pending;
    delivery.trigger = trigger;
    delivery.reason = None;
    delivery.next_attempt_at = Some(now);
    delivery.finished_at = None;
    delivery.frozen = None;
    delivery.begun = false;
}

/// Due again by a replay; `false` if it is not one of those that failed, were cancelled or are held.
pub(crate) fn replay(delivery: &mut Delivery, fresh_id: bool, now: Timestamp) -> bool {
    let is_wanted = matches!(delivery.status, Status::Failed | Status::Cancelled | Status::Held);
    if is_wanted {
        requeue(delivery, Trigger::Replay, now);
        delivery.fresh_id |= fresh_id;
    }
    is_wanted
}

/// Ended by a person; or since there is nobody left to send it to.
pub(crate) fn cancel(delivery: &mut Delivery, has_subscription: bool, now: Timestamp) {
    let why = if has_subscription { "cancelled by a person" } else { "its subscription was deleted" };
    delivery.status = Status::Cancelled;
    delivery.reason = Some(why.to_owned());
    delivery.next_attempt_at = None;
    delivery.finished_at = Some(now);
    delivery.begun = false;
}

/// Whether this end came of a person's word, so that the delivery may have arrived before: see [`stay_delivered`].
pub(crate) fn ended_by_hand(end: &Delivery) -> bool {
    end.trigger == Trigger::Manual && matches!(end.status, Status::Failed | Status::Dropped)
}

/// The endpoint has what it once took, whatever becomes of it when a person asks for it again: that is shown among the
/// attempts, and the delivery stays delivered, for the reason of then.
pub(crate) fn stay_delivered(end: &mut Delivery, attempts: impl IntoIterator<Item = Attempt>) {
    if let Some(taken) = attempts.into_iter().filter(|attempt| attempt.outcome == Outcome::Delivered).last() {
        end.status = Status::Delivered;
        end.reason = Some(taken.because);
    }
}

/// Begun before a crash and never settled.
pub(crate) fn hold_as_unknown(delivery: &mut Delivery) {
    delivery.status = Status::Held;
    delivery.reason = Some(
        "unknown: the gateway stopped during an attempt that must not be repeated blindly; look at the endpoint, \
         then retry or cancel"
            .to_owned(),
    );
    delivery.next_attempt_at = None;
    delivery.begun = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures;

    #[test]
    fn a_delivery_is_never_due_early() {
        let mut delivery = fixtures::delivery();
        for (at, expected) in [
            ("2026-01-01T00:00:00.001Z", "2026-01-01T00:00:00.001Z"),
            ("2026-01-01T00:00:00.001000001Z", "2026-01-01T00:00:00.002Z"),
            ("1969-12-31T23:59:59.9995Z", "1970-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.998Z", "1969-12-31T23:59:59.998Z"),
        ] {
            delivery.next_attempt_at = Some(at.parse().unwrap());
            assert_eq!(due(&delivery), expected.parse::<Timestamp>().unwrap(), "{at}");
        }
        delivery.next_attempt_at = Some(Timestamp::MAX);
        assert!(due(&delivery) > "9999-12-30T00:00:00Z".parse().unwrap());
    }
}
