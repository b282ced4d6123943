//! The decision: from an outcome to what follows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;
use crate::domain::{FaultKind, OnUnknown, Outcome, Trigger, Verdict, duration, rfc3339};

/// The shortest wait after a 429, as in the Svix server: an endpoint that counts requests per minute
/// counts the retry too.
pub const THROTTLE_FLOOR: Duration = Duration::from_secs(60);

/// What a decision depends on, beside the schedule.
#[derive(Debug, Clone, Copy)]
pub struct Decide<'a> {
    /// What happened.
    pub outcome: &'a Outcome,
    /// Which attempt this was: 1 for the first, of those that count.
    pub attempt_number: u32,
    /// When the delivery came to be.
    pub created_at: Timestamp,
    /// When the attempt ended: waits count from here.
    pub now: Timestamp,
    /// A random number in [0, 1) that spreads retries; anything outside is drawn to the nearer end.
    pub jitter: f64,
    /// What the subscription's connector says about an unknown outcome.
    pub on_unknown: OnUnknown,
    /// What set off the attempt.
    pub trigger: Trigger,
}

/// What an outcome calls for, before anybody asks whether there is an attempt left.
enum Wish {
    End(Verdict),
    /// Try again; the endpoint may have asked for a wait, and there may be one below which it is no use.
    Again {
        asked: Option<Duration>,
        floor: Duration,
    },
}

/// Decides what follows an attempt, and says why in one sentence.
///
/// - Delivered and dropped are done. Rejected, unbuildable and blocked end it: nothing changes by waiting.
///   Gone ends it and disables the subscription.
/// - Refused (with any status: Standard Webhooks 1.0 retries 4xx too, as receivers answer them during a
///   faulty release), unreachable, throttled and unknown outcomes are tried again by the schedule, as are
///   a plugin's faults, because its subscription can be repaired meanwhile; unless the plugin itself said
///   that another run ends the same.
/// - Unknown outcomes are held for a person where the connector says that a duplicate is worse than a loss.
/// - Manual retries and replays go on by the schedule while it has attempts left. A test is never tried
///   again, and neither holds nor disables anything.
///
/// Never panics, whatever the numbers are.
#[must_use]
pub fn decide(schedule: &Schedule, what: &Decide<'_>) -> (Verdict, String) {
    let wish = wish(what.outcome, what.on_unknown);
    let told = what.outcome.describe();
    if what.trigger == Trigger::Test {
        return match wish {
            Wish::End(verdict @ (Verdict::Deliver | Verdict::Drop)) => (verdict, told),
            _ => (Verdict::GiveUp, format!("{told}; a test is not tried again")),
        };
    }
    match wish {
        Wish::End(verdict) => {
            let because = match (&verdict, what.outcome) {
                (Verdict::Deliver | Verdict::Drop, _) => told,
                (Verdict::Hold, _) => format!("{told}; held, because sending it again could send it twice"),
                (Verdict::GiveUpAndDisable, _) => format!("{told}; the subscription is disabled"),
                (_, Outcome::Blocked { .. }) => format!("{told}; not tried again until the URL is changed"),
                (_, Outcome::Unbuildable { .. }) => format!("{told}; not tried again until that is changed"),
                (_, Outcome::PluginFault { .. }) => {
                    format!("{told}; by the plugin's word another try would end the same")
                }
                _ => format!("{told}; another try would end the same"),
            };
            (verdict, because)
        }
        Wish::Again { asked, floor } => again(schedule, what, &told, asked, floor),
    }
}

fn wish(outcome: &Outcome, on_unknown: OnUnknown) -> Wish {
    let again = Wish::Again { asked: None, floor: Duration::ZERO };
    match outcome {
        Outcome::Delivered => Wish::End(Verdict::Deliver),
        Outcome::Dropped { .. } => Wish::End(Verdict::Drop),
        Outcome::Gone { .. } => Wish::End(Verdict::GiveUpAndDisable),
        // A blocked name could come to stand for another address, but whoever can change that can
        // retry by hand; asking again by ourselves would be a scanner's work.
        Outcome::Rejected { .. } | Outcome::Unbuildable { .. } | Outcome::Blocked { .. } => Wish::End(Verdict::GiveUp),
        Outcome::PluginFault { kind: FaultKind::Reported, retryable: false, .. } => Wish::End(Verdict::GiveUp),
        Outcome::Unknown { .. } if on_unknown == OnUnknown::Hold => Wish::End(Verdict::Hold),
        Outcome::Throttled { status_code, after } => {
            let floor = if *status_code == 429 { THROTTLE_FLOOR } else { Duration::ZERO };
            Wish::Again { asked: *after, floor }
        }
        Outcome::Refused { .. }
        | Outcome::Unreachable { .. }
        | Outcome::Unknown { .. }
        | Outcome::PluginFault { .. } => again,
    }
}

/// The next attempt by the schedule, if there is one.
fn again(
    schedule: &Schedule,
    what: &Decide<'_>,
    told: &str,
    asked: Option<Duration>,
    floor: Duration,
) -> (Verdict, String) {
    let attempts = schedule.attempts();
    let next = what.attempt_number.saturating_add(1);
    let Some(scheduled) = schedule.wait_before(next) else {
        let count =
            if attempts == 1 { "the only attempt".to_owned() } else { format!("the last of {attempts} attempts") };
        let because = if what.attempt_number > attempts {
            format!("{told}; all {attempts} attempts had been made before this one")
        } else {
            format!("{told}; it was {count}")
        };
        return (Verdict::GiveUp, because);
    };
    let least = scheduled.max(floor);
    let jittered = least.saturating_add(spread(least, schedule.jitter(), what.jitter));
    // An endpoint may ask for more time, but cannot park deliveries for ever.
    let wait = asked.map_or(jittered, |asked| asked.min(least.saturating_mul(2)).max(jittered));
    let due =
        SignedDuration::try_from(wait).ok().and_then(|wait| what.now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX);

    if let Some(limit) = schedule.give_up_after() {
        let age = due.duration_since(what.created_at);
        if SignedDuration::try_from(limit).is_ok_and(|limit| age > limit) {
            let limit = duration::format(limit);
            return (
                Verdict::GiveUp,
                format!("{told}; attempt {next} would be due later than {limit} after the delivery began"),
            );
        }
    }
    let because = format!("{told}; attempt {next} of {attempts} follows at {}", rfc3339(due));
    (Verdict::RetryAt(due), because)
}

/// The random share of a wait.
fn spread(wait: Duration, share: f64, random: f64) -> Duration {
    let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
    Duration::try_from_secs_f64(wait.as_secs_f64() * share * random).unwrap_or_default()
}
