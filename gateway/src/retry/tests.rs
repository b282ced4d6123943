//! Tests of the whole room: tables of what is promised, and properties.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::domain::{Backoff, FaultKind, OnUnknown, Outcome, RetryPolicy, Trigger, Verdict};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(json: &str) -> RetryPolicy {
    serde_json::from_str(json).unwrap()
}

fn compile(json: &str) -> Schedule {
    Schedule::compile(&policy(json)).unwrap()
}

/// The policies of the five reference systems, and the general forms, to the second.
#[test]
fn schedules_to_the_second() {
    let ilara: &[u64] = &[0, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR];
    let default: &[u64] =
        &[0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
    let cases: [(&str, &str, &[u64], u64); 17] = [
        ("ilara", r#"{"schedule":["0s","1m","5m","30m","2h"],"jitter":0}"#, ilara, 9_360),
        ("loyali", r#"{"schedule":["0s","1m","5m","30m","2h"],"jitter":0}"#, ilara, 9_360),
        ("intelligems", r#"{"schedule":["0s","1m","5m","30m","2h"],"jitter":0}"#, ilara, 9_360),
        (
            "ltvboost",
            r#"{"max_retries":5,"backoff":"exponential","initial":"1m","factor":5,"give_up_after":"24h","jitter":0}"#,
            &[0, 60, 300, 1_500, 7_500, 37_500],
            46_860,
        ),
        ("unibo", r#"{"schedule":["0s"],"jitter":0}"#, &[0], 0),
        ("ilara's documented call", r#"{"max_retries":3,"backoff":"exponential"}"#, &[0, 60, 300, 1_500], 1_860),
        (
            "ilara's profile cut short",
            r#"{"schedule":["0s","1m","5m","30m","2h"],"max_retries":3}"#,
            &ilara[..4],
            2_160,
        ),
        ("default", "{}", default, 272_105),
        ("a list that was cleared", r#"{"schedule":[],"max_retries":2}"#, &default[..3], 305),
        ("default cut short", r#"{"max_retries":2}"#, &default[..3], 305),
        ("default cut to one", r#"{"max_retries":0}"#, &default[..1], 0),
        ("only a backoff", r#"{"backoff":"exponential"}"#, &[0, 60, 300, 1_500, 7_500, 37_500], 46_860),
        ("only a number", r#"{"initial":"2s","max_retries":2}"#, &[0, 2, 10], 12),
        ("linear", r#"{"backoff":"linear","initial":"10s","max_retries":3}"#, &[0, 10, 20, 30], 60),
        (
            "linear, capped",
            r#"{"backoff":"linear","initial":"10s","max_delay":"15s","max_retries":3}"#,
            &[0, 10, 15, 15],
            40,
        ),
        ("fixed", r#"{"backoff":"fixed","initial":"7s","max_retries":2}"#, &[0, 7, 7], 14),
        (
            "exponential, capped",
            r#"{"backoff":"exponential","initial":"1h","factor":10,"max_delay":"5h","max_retries":4}"#,
            &[0, HOUR, 5 * HOUR, 5 * HOUR, 5 * HOUR],
            16 * HOUR,
        ),
    ];
    for (name, json, waits, window) in cases {
        let schedule = compile(json);
        assert_eq!(schedule.waits(), waits.iter().map(|wait| s(*wait)).collect::<Vec<_>>(), "{name}");
        assert_eq!(schedule.total_window(), s(window), "{name}");
        assert_eq!(schedule.attempts() as usize, waits.len(), "{name}");
    }
    assert_eq!(compile("{}").jitter().to_bits(), DEFAULT_JITTER.to_bits());
    assert_eq!(compile(r#"{"give_up_after":"1h"}"#).total_window(), s(HOUR));
    for (json, usual) in [("{}", true), (r#"{"schedule":[]}"#, true), (r#"{"jitter":0}"#, false)] {
        assert_eq!(policy(json).is_usual(), usual, "{json}");
    }
}

#[test]
fn a_schedule_ends_before_what_is_kept_does() {
    for (limit, waits) in [(1, &[0][..]), (5, &[0]), (6, &[0, 5]), (305, &[0, 5]), (306, &[0, 5, 300])] {
        let schedule = compile("{}").ending_before(s(limit));
        assert_eq!(schedule.waits(), waits.iter().map(|wait| s(*wait)).collect::<Vec<_>>(), "{limit}");
    }
    assert_eq!(compile("{}").ending_before(s(90 * 24 * HOUR)), compile("{}"));
}

#[test]
fn a_fraction_grows_in_whole_milliseconds() {
    let schedule = compile(r#"{"initial":"1s","factor":1.5,"max_retries":4}"#);
    let millis: Vec<_> = schedule.waits().iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [0, 1_000, 1_500, 2_250, 3_375]);
}

#[test]
fn every_mistake_has_its_place() {
    let list = |length: usize| format!(r#"{{"schedule":[{}]}}"#, vec![r#""1s""#; length].join(","));
    for (json, pointers) in [
        (r#"{"schedule":["0s"],"backoff":"fixed","factor":2}"#.to_owned(), vec!["/backoff", "/factor"]),
        (r#"{"schedule":["0s"],"initial":"1s","max_delay":"1s"}"#.to_owned(), vec!["/initial", "/max_delay"]),
        (r#"{"schedule":["0s","1m"],"max_retries":2}"#.to_owned(), vec!["/max_retries"]),
        (r#"{"max_retries":10}"#.to_owned(), vec!["/max_retries"]),
        (r#"{"backoff":"fixed","max_retries":50}"#.to_owned(), vec!["/max_retries"]),
        (r#"{"backoff":"fixed","max_retries":4294967295}"#.to_owned(), vec!["/max_retries"]),
        (r#"{"backoff":"fixed","factor":2}"#.to_owned(), vec!["/factor"]),
        (r#"{"backoff":"linear","factor":2}"#.to_owned(), vec!["/factor"]),
        (r#"{"backoff":"fixed","max_delay":"1h"}"#.to_owned(), vec!["/max_delay"]),
        (r#"{"factor":0.5}"#.to_owned(), vec!["/factor"]),
        (r#"{"factor":10.1}"#.to_owned(), vec!["/factor"]),
        (r#"{"initial":"0s"}"#.to_owned(), vec!["/initial"]),
        (r#"{"initial":"8d"}"#.to_owned(), vec!["/initial", "/max_delay"]),
        (r#"{"initial":"2h","max_delay":"1h"}"#.to_owned(), vec!["/max_delay"]),
        (r#"{"max_delay":"8d"}"#.to_owned(), vec!["/max_delay"]),
        (r#"{"jitter":0.51}"#.to_owned(), vec!["/jitter"]),
        (r#"{"jitter":-0.1,"give_up_after":"0s"}"#.to_owned(), vec!["/jitter", "/give_up_after"]),
        (r#"{"give_up_after":"31d"}"#.to_owned(), vec!["/give_up_after"]),
        (r#"{"schedule":["0s","7d","169h"]}"#.to_owned(), vec!["/schedule/2"]),
        (r#"{"schedule":["0s","7d","7d","7d","7d","7d"]}"#.to_owned(), vec!["/schedule"]),
        (r#"{"backoff":"fixed","initial":"7d","max_retries":5}"#.to_owned(), vec!["/max_retries"]),
        (list(51), vec!["/schedule"]),
    ] {
        let errors = Schedule::compile(&policy(&json)).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(found, pointers, "{json}: {errors:?}");
    }
    assert!(Schedule::compile(&policy(&list(50))).is_ok());
    for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(Schedule::compile(&RetryPolicy { factor: Some(factor), ..RetryPolicy::default() }).is_err());
        assert!(Schedule::compile(&RetryPolicy { jitter: Some(factor), ..RetryPolicy::default() }).is_err());
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn what(outcome: &Outcome) -> Decide<'_> {
    Decide {
        outcome,
        attempt_number: 1,
        created_at: at(0),
        now: at(0),
        jitter: 0.0,
        on_unknown: OnUnknown::Retry,
        trigger: Trigger::Automatic,
    }
}

fn refused() -> Outcome {
    Outcome::Refused { status_code: 500 }
}

fn fault(kind: FaultKind, retryable: bool) -> Outcome {
    Outcome::PluginFault { plugin: "redact@1.2.0".into(), kind, message: "no".into(), retryable }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Delivered,
        refused(),
        Outcome::Rejected { reason: "too long".into() },
        Outcome::Gone { reason: "410".into() },
        Outcome::Throttled { status_code: 429, after: Some(s(90)) },
        Outcome::Throttled { status_code: 503, after: None },
        Outcome::Unreachable { class: "dns".into(), detail: "no such name".into() },
        Outcome::Unknown { class: "timeout".into(), detail: "30s".into() },
        Outcome::Blocked { detail: "10.0.0.1".into() },
        fault(FaultKind::Reported, false),
        fault(FaultKind::Reported, true),
        fault(FaultKind::Time, false),
        fault(FaultKind::Engine, true),
        Outcome::Dropped { plugin: "filter@1".into(), reason: "small".into() },
        Outcome::Unbuildable { detail: "the secret does not open".into() },
    ]
}

#[test]
fn each_outcome_has_its_verdict() {
    let schedule = compile(r#"{"schedule":["0s","100s","300s"],"jitter":0}"#);
    let next = Verdict::RetryAt(at(100));
    let verdicts = [
        Verdict::Deliver,
        next.clone(),
        Verdict::GiveUp,
        Verdict::GiveUpAndDisable,
        next.clone(),
        next.clone(),
        next.clone(),
        next.clone(),
        Verdict::GiveUp,
        Verdict::GiveUp,
        next.clone(),
        next.clone(),
        next.clone(),
        Verdict::Drop,
        Verdict::GiveUp,
    ];
    for (outcome, verdict) in outcomes().iter().zip(verdicts) {
        let (found, because) = decide(&schedule, &what(outcome));
        assert_eq!(found, verdict, "{outcome:?}");
        assert!(because.starts_with(&outcome.describe()), "{because}");
    }
    for status_code in [301, 400, 401, 403, 404, 422, 500, 599] {
        assert_eq!(decide(&schedule, &what(&Outcome::Refused { status_code })).0, next, "{status_code}");
    }
}

#[test]
fn the_reason_is_a_sentence_for_people() {
    let schedule = compile(r#"{"schedule":["0s","100s"],"jitter":0}"#);
    let (_, because) = decide(&schedule, &what(&refused()));
    assert_eq!(because, "the endpoint answered 500; attempt 2 of 2 follows at 2027-01-15T08:01:40.000Z");
    let (_, because) = decide(&schedule, &Decide { attempt_number: 2, ..what(&refused()) });
    assert_eq!(because, "the endpoint answered 500; it was the last of 2 attempts");
    let (_, because) = decide(&compile(r#"{"schedule":["0s"]}"#), &what(&refused()));
    assert_eq!(because, "the endpoint answered 500; it was the only attempt");
}

#[test]
fn an_unknown_outcome_is_held_where_a_duplicate_is_worse() {
    let schedule = compile("{}");
    let unknown = Outcome::Unknown { class: "timeout".into(), detail: "30s".into() };
    let held = Decide { on_unknown: OnUnknown::Hold, ..what(&unknown) };
    assert_eq!(decide(&schedule, &held).0, Verdict::Hold);
    // Nothing was sent here, so there is nothing to be unsure of.
    let unreachable = Outcome::Unreachable { class: "connect".into(), detail: "refused".into() };
    let retried = Decide { on_unknown: OnUnknown::Hold, ..what(&unreachable) };
    assert!(matches!(decide(&schedule, &retried).0, Verdict::RetryAt(_)));
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    let schedule = compile(r#"{"schedule":["0s","100s"],"jitter":0}"#);
    let quick = compile(r#"{"schedule":["0s","5s"],"jitter":0}"#);
    for (schedule, status_code, after, wait) in [
        (&schedule, 503, None, 100),
        (&schedule, 503, Some(1), 100),
        (&schedule, 503, Some(150), 150),
        (&schedule, 503, Some(86_400), 200),
        (&schedule, 429, None, 100),
        (&schedule, 429, Some(86_400), 200),
        (&quick, 503, None, 5),
        (&quick, 503, Some(7), 7),
        (&quick, 503, Some(86_400), 10),
        (&quick, 429, None, 60),
        (&quick, 429, Some(1), 60),
        (&quick, 429, Some(90), 90),
        (&quick, 429, Some(86_400), 120),
    ] {
        let outcome = Outcome::Throttled { status_code, after: after.map(s) };
        assert_eq!(decide(schedule, &what(&outcome)).0, Verdict::RetryAt(at(wait)), "{status_code} {after:?}");
    }
    let last = Outcome::Throttled { status_code: 429, after: Some(s(1)) };
    assert_eq!(decide(&schedule, &Decide { attempt_number: 2, ..what(&last) }).0, Verdict::GiveUp);
}

#[test]
fn a_test_is_never_tried_again() {
    let schedule = compile("{}");
    for outcome in outcomes() {
        let expected = match outcome {
            Outcome::Delivered => Verdict::Deliver,
            Outcome::Dropped { .. } => Verdict::Drop,
            _ => Verdict::GiveUp,
        };
        let test = Decide { trigger: Trigger::Test, on_unknown: OnUnknown::Hold, ..what(&outcome) };
        assert_eq!(decide(&schedule, &test).0, expected, "{outcome:?}");
    }
}

#[test]
fn a_manual_retry_goes_on_only_while_attempts_are_left() {
    let schedule = compile(r#"{"schedule":["0s","100s","300s"],"jitter":0}"#);
    for trigger in [Trigger::Manual, Trigger::Replay] {
        let refused = refused();
        assert_eq!(decide(&schedule, &Decide { trigger, ..what(&refused) }).0, Verdict::RetryAt(at(100)));
        for attempt_number in [3, 4, 50, u32::MAX] {
            let late = Decide { trigger, attempt_number, ..what(&refused) };
            assert_eq!(decide(&schedule, &late).0, Verdict::GiveUp, "{attempt_number}");
        }
    }
}

#[test]
fn nothing_is_due_later_than_give_up_after() {
    let schedule = compile(r#"{"schedule":["0s","100s"],"jitter":0,"give_up_after":"150s"}"#);
    for (now, verdict) in [
        (0, Verdict::RetryAt(at(100))),
        (50, Verdict::RetryAt(at(150))),
        (51, Verdict::GiveUp),
        (9_999, Verdict::GiveUp),
    ] {
        assert_eq!(decide(&schedule, &Decide { now: at(now), ..what(&refused()) }).0, verdict, "{now}");
    }
}

#[test]
fn times_at_the_end_of_time_do_not_overflow() {
    let schedule = compile(r#"{"schedule":["0s","7d"],"jitter":0.5,"give_up_after":"30d"}"#);
    let outcome = Outcome::Throttled { status_code: 429, after: Some(Duration::MAX) };
    for (created_at, now) in [(Timestamp::MIN, Timestamp::MAX), (Timestamp::MAX, Timestamp::MIN)] {
        for jitter in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            let _ = decide(&schedule, &Decide { created_at, now, jitter, ..what(&outcome) });
        }
    }
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    let wait = || (0_u64..800_000_000).prop_map(Duration::from_millis);
    let backoff = prop_oneof![Just(Backoff::Exponential), Just(Backoff::Linear), Just(Backoff::Fixed)];
    (
        prop_oneof![Just(Vec::new()), prop::collection::vec(wait(), 1..55)],
        prop::option::of(0_u32..60),
        prop::option::of(backoff),
        prop::option::of(wait()),
        prop::option::of(0.5_f64..11.0),
        prop::option::of(wait()),
        prop::option::of(wait()),
        prop::option::of(-0.1_f64..0.6),
    )
        .prop_map(|(schedule, max_retries, backoff, initial, factor, max_delay, give_up_after, jitter)| {
            RetryPolicy {
                schedule: Some(schedule),
                max_retries,
                backoff,
                initial,
                factor,
                max_delay,
                give_up_after,
                jitter,
            }
        })
}

/// Policies that compile, computed ones and lists alike.
fn good_policy() -> impl Strategy<Value = RetryPolicy> {
    let list = prop::collection::vec((0_u64..=50_000_000).prop_map(Duration::from_millis), 1..=50)
        .prop_map(|schedule| RetryPolicy { schedule: Some(schedule), ..RetryPolicy::default() });
    let computed = (1_u64..=3_600_000, 1.0_f64..=10.0, 0_u32..=29).prop_map(|(initial, factor, retries)| RetryPolicy {
        initial: Some(Duration::from_millis(initial)),
        factor: Some(factor),
        max_retries: Some(retries),
        ..RetryPolicy::default()
    });
    (prop_oneof![list, computed], 0.0..=MAX_JITTER)
        .prop_map(|(policy, jitter)| RetryPolicy { jitter: Some(jitter), ..policy })
}

proptest! {
    #[test]
    fn whatever_compiles_keeps_the_limits(policy in any_policy()) {
        if let Ok(schedule) = Schedule::compile(&policy) {
            prop_assert!((1..=MAX_ATTEMPTS).contains(&schedule.attempts()));
            prop_assert!(schedule.waits().iter().all(|wait| *wait <= MAX_WAIT));
            prop_assert!(schedule.total_window() <= MAX_WINDOW);
            prop_assert!((0.0..=MAX_JITTER).contains(&schedule.jitter()));
            if let Some(retries) = policy.max_retries {
                prop_assert!(schedule.attempts() <= retries + 1);
            }
        }
    }

    #[test]
    fn computed_waits_never_shrink_and_never_pass_the_cap(
        initial in 1_u64..=3_600_000,
        factor in 1.0_f64..=10.0,
        cap in 3_600_000_u64..=50_000_000,
        retries in 0_u32..=49,
        backoff in prop_oneof![Just(Backoff::Exponential), Just(Backoff::Linear)],
    ) {
        let schedule = Schedule::compile(&RetryPolicy {
            backoff: Some(backoff),
            initial: Some(Duration::from_millis(initial)),
            factor: (backoff == Backoff::Exponential).then_some(factor),
            max_delay: Some(Duration::from_millis(cap)),
            max_retries: Some(retries),
            ..RetryPolicy::default()
        });
        let schedule = schedule.unwrap();
        prop_assert!(schedule.waits().is_sorted());
        prop_assert!(schedule.waits().iter().all(|wait| *wait <= Duration::from_millis(cap)));
        prop_assert_eq!(schedule.waits().len(), retries as usize + 1);
    }

    #[test]
    fn a_retry_lies_between_the_wait_and_the_wait_with_jitter(
        policy in good_policy(), number in 1_u32..=50, jitter in 0.0_f64..1.0,
    ) {
        let schedule = Schedule::compile(&policy).unwrap();
        let (verdict, _) = decide(&schedule, &Decide { attempt_number: number, jitter, ..what(&refused()) });
        match (verdict, schedule.wait_before(number + 1)) {
            (Verdict::RetryAt(due), Some(wait)) => {
                let found = Duration::try_from(due.duration_since(at(0))).unwrap();
                prop_assert!(found >= wait);
                // A nanosecond for the rounding of the product.
                prop_assert!(found <= wait.mul_f64(1.0 + schedule.jitter()) + Duration::from_nanos(1));
            }
            (Verdict::GiveUp, None) => {}
            (verdict, wait) => prop_assert!(false, "{:?} with {:?}", verdict, wait),
        }
    }

    #[test]
    fn an_endpoint_can_at_most_double_the_wait(
        policy in good_policy(), number in 1_u32..=50, jitter in 0.0_f64..1.0,
        after in 0_u64..10_000_000, throttled in any::<bool>(),
    ) {
        let schedule = Schedule::compile(&policy).unwrap();
        let status_code = if throttled { 429 } else { 503 };
        let outcome = Outcome::Throttled { status_code, after: Some(s(after)) };
        let (verdict, _) = decide(&schedule, &Decide { attempt_number: number, jitter, ..what(&outcome) });
        if let (Verdict::RetryAt(due), Some(wait)) = (verdict, schedule.wait_before(number + 1)) {
            let least = if throttled { wait.max(THROTTLE_FLOOR) } else { wait };
            let found = Duration::try_from(due.duration_since(at(0))).unwrap();
            prop_assert!(found >= least && found <= least * 2);
        }
    }

    #[test]
    fn decide_never_panics_and_keeps_its_window(
        policy in good_policy(),
        give_up_after in prop::option::of(1_u64..=2_000_000),
        index in 0_usize..15,
        attempt_number in any::<u32>(),
        jitter in any::<f64>(),
        created in -377_705_023_201_i64..=253_402_207_200,
        now in -377_705_023_201_i64..=253_402_207_200,
        hold in any::<bool>(),
        trigger in prop_oneof![
            Just(Trigger::Automatic), Just(Trigger::Manual), Just(Trigger::Replay), Just(Trigger::Test)
        ],
    ) {
        let policy = RetryPolicy { give_up_after: give_up_after.map(s), ..policy };
        let schedule = Schedule::compile(&policy).unwrap();
        let outcome = &outcomes()[index];
        let (created_at, now) = (Timestamp::from_second(created).unwrap(), Timestamp::from_second(now).unwrap());
        let on_unknown = if hold { OnUnknown::Hold } else { OnUnknown::Retry };
        let (verdict, because) =
            decide(&schedule, &Decide { outcome, attempt_number, created_at, now, jitter, on_unknown, trigger });
        prop_assert!(!because.is_empty());
        if let Verdict::RetryAt(due) = verdict {
            prop_assert!(due >= now);
            prop_assert!(trigger != Trigger::Test);
            prop_assert!(attempt_number < schedule.attempts());
            if let Some(limit) = give_up_after {
                prop_assert!(due.duration_since(created_at) <= SignedDuration::try_from(s(limit)).unwrap());
            }
        }
    }
}
