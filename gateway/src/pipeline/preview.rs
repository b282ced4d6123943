//! Trying a subscription before it is trusted: a preview changes nothing, a test sends now.

use std::sync::Arc;

use super::body::Content;
use super::lanes::Work;
use super::record::Report;
use super::{Parts, Pipeline, deliver, ingest};
use crate::domain::{Attempt, AttemptRequest, Delivery, Event, LogLine, Outcome, PluginRun, Status, Trigger, Verdict};
use crate::registry::Plan;
use crate::store::{self, Accepted, Receipt, Settled};

/// What a subscription would do with an event.
#[derive(Debug, Clone)]
pub struct Preview {
    /// Whether it wants it.
    pub matched: bool,
    /// Why, or why not.
    pub why: String,
    /// What each plugin made of it.
    pub steps: Vec<PreviewStep>,
    /// The request, its secrets redacted, its body whole.
    pub request: Option<AttemptRequest>,
    /// Why there is no request, where the plugins did not fault.
    pub problem: Option<String>,
    /// What came of sending it, if that was asked for.
    pub attempt: Option<Attempt>,
}

/// One plugin's part in a preview.
#[derive(Debug, Clone)]
pub struct PreviewStep {
    /// `name@version`.
    pub plugin: String,
    /// What it made: JSON text of a transform, the body of a connector.
    pub output: Option<String>,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// Why it made nothing.
    pub fault: Option<String>,
    /// Its running time, in microseconds.
    pub cpu_us: u64,
}

impl Pipeline {
    /// What `plan` would do with `event`; with `send`, also does it, once. Nothing is recorded.
    pub async fn preview(&self, plan: &Plan, event: Arc<Event>, send: bool) -> Preview {
        let parts = &self.0;
        let (matched, why) = ingest::why(plan, &event);
        let mut steps = Vec::new();
        let mut look = |run: &PluginRun, output: Result<String, String>| {
            let (output, fault) = output.map_or_else(|fault| (None, Some(fault)), |output| (Some(output), None));
            let PluginRun { plugin, log, cpu_us, .. } = run.clone();
            steps.push(PreviewStep { plugin, output, log, fault, cpu_us });
        };
        let made = deliver::make(parts, plan, &event, &mut look).await;
        let (request, problem) = match &made {
            Ok((content, _)) => shown(parts, plan, &event, content).await,
            Err((outcome, _)) => (None, Some(outcome.describe())),
        };
        let attempt = if send && request.is_some() { Some(self.try_once(plan, event).await.1) } else { None };
        Preview { matched, why, steps, request, problem, attempt }
    }

    /// Sends `event` to `plan` now, whatever its filter or state say. The delivery and its attempt are recorded
    /// as a test: not retried, not in the statistics.
    ///
    /// # Errors
    /// If the store does not take it; then nothing was sent.
    pub async fn test(&self, plan: &Plan, event: Arc<Event>) -> store::Result<(Delivery, Attempt)> {
        let parts = &self.0;
        let now = parts.clock.now();
        let (mut delivery, mut attempt) = self.try_once(plan, event.clone()).await;
        delivery.attempt_count = 1;
        delivery.next_attempt_at = Some(now);
        delivery.status = Status::Pending;
        // A stored event is left as it is; one made for the test is stored with it.
        let known = parts.store.event(event.tenant_id, event.id).await?.is_some();
        if !known {
            let accepted = Accepted { event, deliveries: vec![delivery.clone()], in_hand: 1, dedupe: None };
            debug_assert_eq!(parts.store.accept(vec![accepted]).await?, [Receipt::Stored]);
        }
        delivery.next_attempt_at = None;
        delivery.finished_at = Some(parts.clock.now());
        delivery.status = match attempt.verdict {
            Verdict::Deliver => Status::Delivered,
            Verdict::Drop => Status::Dropped,
            _ => Status::Failed,
        };
        delivery.reason = Some(attempt.because.clone());
        delivery.last_status_code = attempt.response.as_ref().map(|response| response.status_code);
        attempt.number = 1;
        parts.store.settle(vec![Settled { delivery: delivery.clone(), attempt: Some(attempt.clone()) }]).await?;
        Ok((delivery, attempt))
    }

    async fn try_once(&self, plan: &Plan, event: Arc<Event>) -> (Delivery, Attempt) {
        let parts = &self.0;
        let delivery = ingest::delivery(plan, &event, Trigger::Test, parts.clock.now());
        let work = Work { delivery, event, host: None };
        let report: Report = deliver::attempt(parts, plan, &work).await;
        let verdict = match report.outcome {
            Outcome::Delivered => Verdict::Deliver,
            Outcome::Dropped { .. } => Verdict::Drop,
            _ => Verdict::GiveUp,
        };
        let because = format!("{}; a test is not tried again", report.outcome.describe());
        let attempt = report.into_attempt(&work, verdict, because, parts.clock.now());
        (work.delivery, attempt)
    }
}

async fn shown(
    parts: &Parts,
    plan: &Plan,
    event: &Event,
    content: &Content,
) -> (Option<AttemptRequest>, Option<String>) {
    match deliver::prepare(parts, plan, event, content, parts.clock.now()).await {
        Ok(prepared) => {
            let mut request = prepared.shown(plan, false);
            request.body = Some(prepared.shown_body(plan));
            (Some(request), None)
        }
        Err(outcome) => (None, Some(outcome.describe())),
    }
}
