//! The schedule: how long before each attempt.

use std::time::Duration;

use crate::domain::{Backoff, RetryPolicy, duration};

/// Most attempts, the first included.
pub const MAX_ATTEMPTS: u32 = 50;
/// The longest wait before one attempt.
pub const MAX_WAIT: Duration = days(7);
/// The longest time from the first attempt to the last, jitter apart.
pub const MAX_WINDOW: Duration = days(30);
/// The share of each wait that is added at random unless the policy says otherwise: enough to spread the
/// retries of an outage over a tenth of the wait that follows it.
pub const DEFAULT_JITTER: f64 = 0.1;
/// The largest share.
pub const MAX_JITTER: f64 = 0.5;

/// The example schedule of Standard Webhooks 1.0 ("Deliverability and reliability"): ten attempts over
/// 75 h 35 min 5 s.
const DEFAULT_SCHEDULE: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    minutes(5),
    minutes(30),
    minutes(2 * 60),
    minutes(5 * 60),
    minutes(10 * 60),
    minutes(14 * 60),
    minutes(20 * 60),
    minutes(24 * 60),
];

/// A computed schedule, where the policy leaves its numbers out, is 0, 1 min, 5 min, 25 min, 2 h 5 min,
/// 10 h 25 min: five retries within a day.
const DEFAULT_RETRIES: u32 = 5;
const DEFAULT_INITIAL: Duration = minutes(1);
const DEFAULT_FACTOR: f64 = 5.0;
const DEFAULT_MAX_DELAY: Duration = days(1);

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn days(days: u64) -> Duration {
    minutes(days * 24 * 60)
}

/// A mistake in a retry policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}` {detail}")]
pub struct PolicyError {
    /// Where, as an RFC 6901 pointer into the `retry_policy` object, such as `/schedule/3`.
    pub pointer: String,
    /// What is wrong there and what to write instead, to be read after the field's name.
    pub detail: String,
}

/// A compiled retry policy: at least one attempt, at most [`MAX_ATTEMPTS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    waits: Box<[Duration]>,
    jitter: f64,
    give_up_after: Option<Duration>,
}

impl Default for Schedule {
    /// The default schedule: what an empty policy means.
    fn default() -> Self {
        Self { waits: DEFAULT_SCHEDULE.into(), jitter: DEFAULT_JITTER, give_up_after: None }
    }
}

impl Schedule {
    /// Compiles a policy.
    ///
    /// Three forms: nothing (the default schedule), `schedule` (a list of waits), or any of `backoff`,
    /// `initial`, `factor`, `max_delay` (a computed one, where `exponential` with 1 min, factor 5 and 24 h
    /// at most is the default and `max_retries` is 5). `max_retries` cuts the first two forms short and
    /// sets the length of the third; `jitter` and `give_up_after` go with all.
    ///
    /// # Errors
    /// Every mistake in the policy, with its place.
    pub fn compile(policy: &RetryPolicy) -> Result<Self, Vec<PolicyError>> {
        let mut mistakes = Vec::new();
        let is_computed = policy.backoff.is_some()
            || policy.initial.is_some()
            || policy.factor.is_some()
            || policy.max_delay.is_some();
        let waits = if let Some(listed) = policy.listed() {
            forbid_computed_fields(policy, &mut mistakes);
            cut(listed, policy.max_retries, &mut mistakes)
        } else if is_computed {
            compute(policy, &mut mistakes)
        } else {
            cut(&DEFAULT_SCHEDULE, policy.max_retries, &mut mistakes)
        };
        check_waits(policy, &waits, &mut mistakes);

        let jitter = policy.jitter.unwrap_or(DEFAULT_JITTER);
        if !(0.0..=MAX_JITTER).contains(&jitter) {
            mistakes.push(error("/jitter", format!("must be between 0 and {MAX_JITTER}")));
        }
        if let Some(limit) = policy.give_up_after
            && (limit.is_zero() || limit > MAX_WINDOW)
        {
            let detail = format!("must be longer than 0s and at most {}", duration::format(MAX_WINDOW));
            mistakes.push(error("/give_up_after", detail));
        }
        if mistakes.is_empty() {
            Ok(Self { waits: waits.into(), jitter, give_up_after: policy.give_up_after })
        } else {
            Err(mistakes)
        }
    }

    /// Attempts in all, the first included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.waits.len()).unwrap_or(MAX_ATTEMPTS)
    }

    /// The wait before each attempt, without jitter; the first is for the first attempt.
    #[must_use]
    pub fn waits(&self) -> &[Duration] {
        &self.waits
    }

    /// The wait before the `number`th attempt (1 for the first), without jitter; absent beyond the last.
    #[must_use]
    pub fn wait_before(&self, number: u32) -> Option<Duration> {
        self.waits.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// The share of a wait that is added at random, 0 to [`MAX_JITTER`].
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// How long after its creation a delivery may still be tried; absent means as long as attempts are left.
    #[must_use]
    pub fn give_up_after(&self) -> Option<Duration> {
        self.give_up_after
    }

    /// All waits together: from the creation of a delivery to its last attempt, if each attempt takes no
    /// time and jitter adds none; never longer than `give_up_after`.
    #[must_use]
    pub fn total_window(&self) -> Duration {
        let sum: Duration = self.waits.iter().sum();
        self.give_up_after.map_or(sum, |limit| limit.min(sum))
    }

    /// The same without the last attempts, as few of them as let it end before `limit`; the first attempt stays.
    #[must_use]
    pub fn ending_before(mut self, limit: Duration) -> Self {
        while self.waits.len() > 1 && self.total_window() >= limit {
            self.waits = self.waits[..self.waits.len() - 1].into();
        }
        self
    }
}

fn error(pointer: &str, detail: impl Into<String>) -> PolicyError {
    PolicyError { pointer: pointer.to_owned(), detail: detail.into() }
}

fn forbid_computed_fields(policy: &RetryPolicy, mistakes: &mut Vec<PolicyError>) {
    let fields = [
        ("/backoff", policy.backoff.is_some()),
        ("/initial", policy.initial.is_some()),
        ("/factor", policy.factor.is_some()),
        ("/max_delay", policy.max_delay.is_some()),
    ];
    for (pointer, _) in fields.into_iter().filter(|(_, given)| *given) {
        mistakes.push(error(pointer, "does not go with `schedule`, which already says every wait: leave one out"));
    }
}

/// The list's first `max_retries` retries.
fn cut(list: &[Duration], max_retries: Option<u32>, mistakes: &mut Vec<PolicyError>) -> Vec<Duration> {
    let Some(max_retries) = max_retries else { return list.to_vec() };
    let retries = list.len().saturating_sub(1);
    let wanted = usize::try_from(max_retries).unwrap_or(usize::MAX);
    if wanted > retries {
        mistakes.push(error(
            "/max_retries",
            format!(
                "can shorten the schedule, which has {retries} retries, and not lengthen it: give a longer `schedule`, \
                 or a `backoff` to compute one"
            ),
        ));
    }
    list.iter().copied().take(wanted.saturating_add(1)).collect()
}

fn compute(policy: &RetryPolicy, mistakes: &mut Vec<PolicyError>) -> Vec<Duration> {
    let before = mistakes.len();
    let backoff = policy.backoff.unwrap_or(Backoff::Exponential);
    let retries = policy.max_retries.unwrap_or(DEFAULT_RETRIES);
    let initial = policy.initial.unwrap_or(DEFAULT_INITIAL);
    let factor = policy.factor.unwrap_or(DEFAULT_FACTOR);
    let max_delay = policy.max_delay.unwrap_or(DEFAULT_MAX_DELAY.max(initial.min(MAX_WAIT)));

    if retries >= MAX_ATTEMPTS {
        mistakes.push(error("/max_retries", format!("must be at most {}", MAX_ATTEMPTS - 1)));
    }
    if initial.is_zero() || initial > MAX_WAIT {
        let detail = format!("must be longer than 0s and at most {}", duration::format(MAX_WAIT));
        mistakes.push(error("/initial", detail));
    }
    if policy.factor.is_some() && backoff != Backoff::Exponential {
        mistakes.push(error("/factor", "goes with `exponential` backoff only: leave it out"));
    } else if !(1.0..=10.0).contains(&factor) {
        mistakes.push(error("/factor", "must be between 1 and 10"));
    }
    if policy.max_delay.is_some() && backoff == Backoff::Fixed {
        mistakes
            .push(error("/max_delay", "does not go with `fixed` backoff, where every wait is `initial`: leave it out"));
    } else if max_delay < initial || max_delay > MAX_WAIT {
        let detail = format!("must be at least `initial` and at most {}", duration::format(MAX_WAIT));
        mistakes.push(error("/max_delay", detail));
    }
    if mistakes.len() > before {
        return vec![Duration::ZERO];
    }
    let wait = |retry: u32| match backoff {
        Backoff::Fixed => initial,
        Backoff::Linear => initial.saturating_mul(retry).min(max_delay),
        Backoff::Exponential => grown(initial, factor, retry - 1, max_delay),
    };
    std::iter::once(Duration::ZERO).chain((1..=retries).map(wait)).collect()
}

/// `initial × factor^exponent`, in whole milliseconds, at most `most`.
fn grown(initial: Duration, factor: f64, exponent: u32, most: Duration) -> Duration {
    let growth = factor.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    let millis = (initial.as_secs_f64() * 1_000.0 * growth).round();
    // Also when the product is infinite: then the comparison holds.
    if millis >= most.as_secs_f64() * 1_000.0 {
        return most;
    }
    Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(most).min(most)
}

/// The limits that hold for every form.
fn check_waits(policy: &RetryPolicy, waits: &[Duration], mistakes: &mut Vec<PolicyError>) {
    let most_attempts = usize::try_from(MAX_ATTEMPTS).unwrap_or(usize::MAX);
    // What to point at: the list, or the number that makes a computed one so long.
    let whole = if policy.listed().is_none() { "/max_retries" } else { "/schedule" };
    if waits.len() > most_attempts {
        mistakes.push(error(whole, format!("must have at most {MAX_ATTEMPTS} attempts, not {}", waits.len())));
    }
    for (index, wait) in waits.iter().enumerate().filter(|(_, wait)| **wait > MAX_WAIT) {
        let detail = format!("must be at most {}, not {}", duration::format(MAX_WAIT), duration::format(*wait));
        mistakes.push(error(&format!("/schedule/{index}"), detail));
    }
    let window = waits.iter().try_fold(Duration::ZERO, |sum, wait| sum.checked_add(*wait));
    if window.is_none_or(|window| window > MAX_WINDOW) {
        let detail = format!("must not take longer than {} in all", duration::format(MAX_WINDOW));
        mistakes.push(error(whole, detail));
    }
}
