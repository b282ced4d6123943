//! What is measured at every event and every delivery: by handles, since to find a measure by its name each time costs
//! as much as some of the steps that it measures.

use metrics::{Counter, Histogram, counter, histogram};

/// The handles. To be made once there is a recorder.
pub(super) struct Meters {
    /// Events accepted.
    pub(super) accepted: Counter,
    /// Attempts that delivered.
    pub(super) delivered: Counter,
    /// How long endpoints took to answer, in seconds.
    pub(super) attempts: Histogram,
    /// From an event's arrival to its delivery, in seconds.
    pub(super) ages: Histogram,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            accepted: events("accepted"),
            delivered: attempts("delivered"),
            attempts: histogram!("hookmill_attempt_duration_seconds"),
            ages: histogram!("hookmill_event_to_delivery_seconds"),
        }
    }
}

/// Events that came to this.
pub(super) fn events(result: &'static str) -> Counter {
    counter!("hookmill_events_total", "result" => result)
}

/// Attempts that came to this.
pub(super) fn attempts(outcome: &'static str) -> Counter {
    counter!("hookmill_attempts_total", "outcome" => outcome)
}
