//! Writes down what an attempt came to, and sees to what follows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::body::Content;
use super::dispatch;
use super::lanes::{Alone, End, Work};
use super::{Parts, Pipeline, deliver, ingest, meters};
use crate::clock::later;
use crate::domain::{
    Attempt, AttemptId, AttemptRequest, AttemptResponse, Delivery, Event, EventId, EventType, FaultKind, Frozen, Lane,
    Outcome, PluginRun, State, StateReason, Status, Trigger, Verdict,
};
use crate::egress::FailureClass;
use crate::registry::{self, Plan};
use crate::retry::{self, Decide};
use crate::store::{Accepted, Record, Settled};

/// Faults at a plugin's limits, in a row, after which its subscription is disabled.
const LIMIT_FAULTS: u32 = 5;

/// Failures in which no connection came to be, or it broke.
const CUT_OFF: [FailureClass; 5] =
    [FailureClass::Dns, FailureClass::Connect, FailureClass::Tls, FailureClass::Reset, FailureClass::Protocol];

/// How long an endpoint is left alone that says it has enough, but not for how long.
const UNSAID_PAUSE: Duration = Duration::from_secs(60);
/// How long an endpoint is left alone at most, whatever it asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

impl Pipeline {
    /// Until when a subscription's deliveries wait since its endpoint is left alone, and why it is, in words.
    #[must_use]
    pub fn left_alone(&self, plan: &Plan) -> Option<(Timestamp, &'static str)> {
        let parts = &self.0;
        let subscription = &plan.subscription;
        let host = (subscription.tenant_id, plan.host.as_ref());
        let (until, why) = parts.lanes.left_alone(Lane::of(subscription.id), host, parts.clock.now())?;
        let why = match why {
            Alone::Asked => "its endpoint answered 429, 503 or the like",
            Alone::HostAsked => "its endpoint's host asked for fewer requests",
            Alone::Silent => "its endpoint did not answer in time, again and again,",
        };
        Some((until, why))
    }
}

/// What one attempt came to.
pub(super) struct Report {
    pub(super) started_at: Timestamp,
    pub(super) outcome: Outcome,
    /// The endpoint's answer time.
    pub(super) duration: Duration,
    pub(super) request: Option<AttemptRequest>,
    pub(super) response: Option<AttemptResponse>,
    pub(super) runs: Vec<PluginRun>,
    /// What was made to be sent, and how many of `runs` made it: frozen if it is tried again.
    pub(super) made: Option<(Content, usize)>,
    /// A wait concerns the whole host.
    pub(super) whole_host: bool,
    /// The connector faulted over the answer.
    pub(super) misread: bool,
    /// Something the log should say besides.
    pub(super) note: Option<String>,
}

impl Report {
    /// An attempt that sent nothing.
    pub(super) fn unsent(started_at: Timestamp, outcome: Outcome, runs: Vec<PluginRun>) -> Self {
        Self {
            started_at,
            outcome,
            duration: Duration::ZERO,
            request: None,
            response: None,
            runs,
            made: None,
            whole_host: false,
            misread: false,
            note: None,
        }
    }

    /// What was made to be sent, for keeping.
    fn freeze(&self) -> Option<Frozen> {
        let (content, runs) = self.made.as_ref()?;
        content.freeze(self.runs.iter().take(*runs).map(|run| (run.plugin.clone(), run.digest)).collect())
    }

    fn end(&self, verdict: &Verdict, now: Timestamp) -> End {
        match (&self.outcome, verdict) {
            // This delivery may be due in hours; the endpoint asked for less, and others may be sent then.
            (Outcome::Throttled { after, .. }, Verdict::RetryAt(due)) => {
                let asked = after.unwrap_or(UNSAID_PAUSE).min(LONGEST_PAUSE);
                End::LeaveAlone { until: (*due).min(later(now, asked)), host: self.whole_host }
            }
            // A plugin that says itself that it can make nothing of an event works as it should.
            (Outcome::PluginFault { kind, .. }, _) if !matches!(kind, FaultKind::Reported | FaultKind::Engine) => {
                End::Faulted
            }
            (Outcome::Unknown { class, .. } | Outcome::Unreachable { class, .. }, _)
                if *class == FailureClass::Timeout.as_str() =>
            {
                End::TimedOut
            }
            (Outcome::Unknown { class, .. } | Outcome::Unreachable { class, .. }, _)
                if CUT_OFF.iter().any(|cut_off| cut_off.as_str() == class) =>
            {
                End::CutOff
            }
            _ if self.misread => End::Misread,
            _ if self.response.is_some() => End::Answered,
            (Outcome::Dropped { .. }, _) => End::Dropped,
            _ => End::NotSent,
        }
    }

    /// The attempt as it is kept.
    pub(super) fn into_attempt(self, work: &Work, verdict: Verdict, because: String, now: Timestamp) -> Attempt {
        Attempt {
            id: AttemptId::new(now),
            number: work.delivery.attempt_count + 1,
            trigger: work.delivery.trigger,
            outcome: self.outcome,
            started_at: self.started_at,
            duration: self.duration,
            since_received: deliver::age(&work.event, now),
            request: self.request,
            response: self.response,
            plugins: self.runs,
            verdict,
            because: match self.note {
                Some(note) => format!("{because}; {note}"),
                None => because,
            },
        }
    }
}

/// Settles an attempt, and tells the lane how it ended.
pub(super) async fn record(parts: &Arc<Parts>, plan: &Plan, work: &Work, report: Report) -> End {
    let now = parts.clock.now();
    let (verdict, because) = retry::decide(
        &plan.schedule,
        &Decide {
            outcome: &report.outcome,
            attempt_number: work.delivery.attempt_count + 1,
            created_at: work.delivery.created_at,
            now,
            jitter: rand::random::<f64>(),
            on_unknown: plan.on_unknown,
            trigger: work.delivery.trigger,
        },
    );
    count(parts, &report, work, now);
    let end = report.end(&verdict, now);
    let limit_fault = matches!(&report.outcome, Outcome::PluginFault { kind, .. } if kind.is_limit());
    // What is only tried is no reason to send nothing any more.
    let on_trial = matches!(&report.outcome, Outcome::PluginFault { plugin, .. } if plan.is_on_trial(plugin));
    let delivery = settled(work, &report, &verdict, &because, now);
    let had_arrived = had_arrived(parts, &delivery).await;
    let (status, reason) = (if had_arrived { Status::Delivered } else { delivery.status }, delivery.reason.clone());
    let due = delivery.next_attempt_at;
    let attempt = report.into_attempt(work, verdict.clone(), because, now);
    let faulting = !on_trial && parts.lanes.limit_fault(work.delivery.lane, limit_fault) >= LIMIT_FAULTS;
    parts.live.delivery(&Delivery { status, ..delivery.clone() }, Some(&attempt));
    settle(parts, Settled { delivery, attempt: Some(attempt) }).await;
    if let Some(due) = due {
        // The entry must be there when the lane looks for it.
        if let Err(error) = parts.store.flush().await {
            tracing::error!(%error, "a retry could not be written down; it is made again at the next start");
        }
        parts.lanes.note_due(work.delivery.lane, work.delivery.tenant_id, due);
    }
    if status == Status::Failed && work.delivery.trigger != Trigger::Test {
        let said = failed(work, work.delivery.attempt_count + 1, reason.as_deref());
        Box::pin(announce(parts, &work.event, "hookmill.delivery.failed", &said)).await;
    }
    if verdict == Verdict::GiveUpAndDisable {
        Box::pin(disable(parts, plan, &work.event, StateReason::Gone)).await;
    } else if faulting {
        let said = serde_json::json!({
            "subscription_id": work.delivery.subscription_id,
            "delivery_id": work.delivery.id,
            "reason": reason,
        });
        Box::pin(announce(parts, &work.event, "hookmill.plugin.faulted", &said)).await;
        Box::pin(disable(parts, plan, &work.event, StateReason::Failing)).await;
    }
    end
}

/// Whether a delivery that failed when a person asked for it again had arrived before: the store leaves it delivered.
async fn had_arrived(parts: &Parts, delivery: &Delivery) -> bool {
    let has_failed = delivery.trigger == Trigger::Manual && matches!(delivery.status, Status::Failed | Status::Dropped);
    let arrived = |attempts: Vec<Attempt>| attempts.iter().any(|attempt| attempt.outcome == Outcome::Delivered);
    has_failed && parts.store.attempts(delivery.tenant_id, delivery.id).await.is_ok_and(arrived)
}

/// The delivery as it is after the attempt.
fn settled(work: &Work, report: &Report, verdict: &Verdict, because: &str, now: Timestamp) -> Delivery {
    let mut delivery = work.delivery.clone();
    delivery.attempt_count += 1;
    delivery.begun = false;
    delivery.reason = Some(because.to_owned());
    delivery.next_attempt_at = None;
    delivery.last_status_code = report.response.as_ref().map_or(delivery.last_status_code, |got| Some(got.status_code));
    (delivery.status, delivery.finished_at) = match verdict {
        Verdict::Deliver => (Status::Delivered, Some(now)),
        Verdict::Drop => (Status::Dropped, Some(now)),
        Verdict::GiveUp | Verdict::GiveUpAndDisable => (Status::Failed, Some(now)),
        Verdict::Hold => (Status::Held, None),
        Verdict::RetryAt(at) => {
            delivery.next_attempt_at = Some(*at);
            (Status::Pending, None)
        }
    };
    if let Status::Pending | Status::Held = delivery.status
        && let Some(frozen) = report.freeze()
    {
        delivery.frozen = Some(Box::new(frozen));
    }
    delivery
}

/// Ends a delivery that no attempt was made at.
pub(super) async fn end_without_attempt(parts: &Parts, work: &Work, status: Status, reason: &str) {
    let mut delivery = work.delivery.clone();
    delivery.status = status;
    delivery.reason = Some(reason.to_owned());
    delivery.next_attempt_at = None;
    delivery.finished_at = Some(parts.clock.now());
    parts.live.delivery(&delivery, None);
    settle(parts, Settled { delivery, attempt: None }).await;
}

/// Gives deliveries back to the store, as they were.
pub(super) async fn release(parts: &Parts, works: &[Work]) {
    let ids = works.iter().map(|work| work.delivery.id).collect();
    if let Err(error) = parts.store.release(ids).await {
        tracing::error!(%error, count = works.len(), "deliveries could not be given back");
    }
    for work in works {
        let due = work.delivery.next_attempt_at.unwrap_or_else(|| parts.clock.now());
        parts.lanes.note_due(work.delivery.lane, work.delivery.tenant_id, due);
    }
}

async fn settle(parts: &Parts, settled: Settled) {
    let id = settled.delivery.id;
    if let Err(error) = parts.store.settle(vec![settled]).await {
        // The store has failed and the process is about to end: what was tried is tried again after it.
        tracing::error!(%error, delivery_id = %id, "the end of an attempt could not be written down");
    }
}

fn count(parts: &Parts, report: &Report, work: &Work, now: Timestamp) {
    let meters = &parts.meters;
    let is_delivered = report.outcome == Outcome::Delivered;
    match is_delivered {
        true => meters.delivered.increment(1),
        false => meters::attempts(report.outcome.as_str()).increment(1),
    }
    if report.response.is_some() {
        meters.attempts.record(report.duration.as_secs_f64());
    }
    if is_delivered && work.delivery.trigger == Trigger::Automatic {
        meters.ages.record(deliver::age(&work.event, now).as_secs_f64());
    }
}

/// The data of `hookmill.delivery.failed`.
pub(super) fn failed(work: &Work, attempt_count: u32, reason: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "delivery_id": work.delivery.id,
        "event_id": work.delivery.event_id,
        "event_type": work.delivery.event_type,
        "subscription_id": work.delivery.subscription_id,
        "attempt_count": attempt_count,
        "reason": reason,
    })
}

/// Disables a subscription for a reason of its endpoint's or its plugin's.
async fn disable(parts: &Arc<Parts>, plan: &Plan, event: &Event, reason: StateReason) {
    let Some(current) = parts.registry.plan(plan.subscription.tenant_id, plan.subscription.id) else { return };
    // Changed meanwhile: it may be another endpoint, and its owner has just looked at it.
    let changed = current.subscription.revision != plan.subscription.revision;
    if current.subscription.state == State::Disabled || changed {
        return;
    }
    let now = parts.clock.now();
    let mut subscription = (*current.subscription).clone();
    subscription.revision += 1;
    subscription.spec.enabled = false;
    subscription.state = State::Disabled;
    subscription.state_reason = Some(reason);
    subscription.state_since = now;
    subscription.updated_at = now;
    let said = serde_json::json!({ "subscription_id": subscription.id, "reason": reason });
    match parts.registry.save(vec![Record::Subscription(subscription)], Vec::new()).await {
        Ok(()) => announce(parts, event, "hookmill.subscription.disabled", &said).await,
        // Another attempt has just disabled it, or its owner has changed or deleted it.
        Err(registry::Error::Taken(_)) => {}
        Err(error) => tracing::error!(%error, subscription_id = %plan.subscription.id, "could not be disabled"),
    }
}

/// Posts an operational event to the tenant, if any of its subscriptions asks for it. Such an event is never
/// the cause of another.
pub(super) async fn announce(parts: &Arc<Parts>, about: &Event, event_type: &str, data: &serde_json::Value) {
    if about.event_type.is_reserved() {
        return;
    }
    let tenant = about.tenant_id;
    let (Some(matcher), Ok(event_type)) = (parts.registry.matcher(tenant), EventType::parse(event_type)) else {
        return;
    };
    let now = parts.clock.now();
    let event = Arc::new(Event {
        id: EventId::new(now),
        tenant_id: tenant,
        external_id: None,
        event_type,
        source_id: None,
        source: Some("hookmill".into()),
        timestamp: now,
        received_at: now,
        data: data.to_string().into(),
        attributes: Vec::new(),
    });
    let deliveries: Vec<_> = matcher
        .candidates(event.event_type.as_str())
        .filter(|plan| ingest::why(plan, &event).0)
        .map(|plan| ingest::delivery(plan, &event, Trigger::Automatic, now))
        .collect();
    if deliveries.is_empty() {
        return;
    }
    let lanes: Vec<Lane> = deliveries.iter().map(|delivery| delivery.lane).collect();
    let accepted = Accepted { event: event.clone(), deliveries, in_hand: 0, dedupe: None };
    match parts.store.accept(vec![accepted]).await {
        Ok(_) => {
            parts.live.event(&event, lanes.len());
            for lane in lanes {
                parts.lanes.note_due(lane, tenant, now);
            }
            dispatch::pump(parts);
        }
        Err(error) => tracing::error!(%error, "an operational event could not be written down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_told_how_an_attempt_ended() {
        let now = Timestamp::UNIX_EPOCH;
        let end = |outcome| Report::unsent(now, outcome, Vec::new()).end(&Verdict::GiveUp, now);
        let detail = String::new;
        for (class, wanted) in [
            ("dns", End::CutOff),
            ("connect", End::CutOff),
            ("tls", End::CutOff),
            ("reset", End::CutOff),
            ("protocol", End::CutOff),
            ("timeout", End::TimedOut),
            ("too_many_files", End::NotSent),
            ("store", End::NotSent),
            ("auth", End::NotSent),
        ] {
            assert_eq!(end(Outcome::Unknown { class: class.to_owned(), detail: detail() }), wanted, "{class}");
            assert_eq!(end(Outcome::Unreachable { class: class.to_owned(), detail: detail() }), wanted, "{class}");
        }
        for (kind, wanted) in [
            (FaultKind::Trap, End::Faulted),
            (FaultKind::Time, End::Faulted),
            (FaultKind::Reported, End::NotSent),
            (FaultKind::Engine, End::NotSent),
        ] {
            let plugin = "a@1.0.0".to_owned();
            assert_eq!(end(Outcome::PluginFault { plugin, kind, message: detail(), retryable: true }), wanted);
        }
        let answered = |misread| {
            let response = AttemptResponse { status_code: 200, headers: vec![], body: vec![], truncated: false };
            let report = Report::unsent(now, Outcome::Delivered, Vec::new());
            Report { response: Some(response), misread, ..report }.end(&Verdict::Deliver, now)
        };
        assert_eq!([false, true].map(answered), [End::Answered, End::Misread]);
        assert_eq!(end(Outcome::Dropped { plugin: "a@1.0.0".to_owned(), reason: detail() }), End::Dropped);
    }

    /// What is cut when it is read is not told as what was asked for.
    #[test]
    fn a_wait_is_told_as_it_was_asked_for() {
        let now = Timestamp::UNIX_EPOCH;
        for (asked, told) in [
            ("86400", "asked to wait 1d"),
            ("99999999999999999999", "asked to wait 7d or longer"),
            ("Fri, 31 Dec 9999 23:59:59 GMT", "asked to wait 7d or longer"),
        ] {
            let outcome = Outcome::Throttled { status_code: 429, after: retry::parse_retry_after(asked, now) };
            assert!(outcome.describe().ends_with(told), "{asked}: {}", outcome.describe());
        }
    }
}
