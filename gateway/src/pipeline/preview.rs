//! Trying a subscription before it is trusted: a preview changes nothing, a test sends now.

use std::sync::Arc;

use super::body::Sending;
use super::deliver::{Look, Output};
use super::lanes::Work;
use super::{Parts, Pipeline, deliver, ingest};
use crate::domain::{
    Attempt, AttemptRequest, Delivery, DeliveryId, Event, EventId, LogLine, Outcome, PluginPayload, PluginRequest,
    PluginRun, Status, Trigger, Verdict,
};
use crate::registry::{Plan, to_the_end};
use crate::store::{self, Accepted, Settled};

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
    /// What it made: JSON text of a transform (`{"drop": why}` if it drops the event), the body of a connector.
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
        let now = parts.clock.now();
        // What there is none of yet looks as it would.
        let sending = Sending { delivery: DeliveryId::new(now), attempt: 1 };
        let Trial { steps, request, problem } = try_out(parts, plan, (&event, &event.id.to_string()), sending).await;
        let attempt = if send && request.is_some() {
            let delivery = ingest::delivery(plan, &event, Trigger::Test, parts.clock.now());
            Some(self.try_once(plan, event, delivery).await)
        } else {
            None
        };
        Preview { matched, why, steps, request, problem, attempt }
    }

    /// Sends `event` to `plan` now, whatever its filter or state say. The delivery and its attempt are recorded
    /// as a test: not retried, not in the statistics.
    ///
    /// # Errors
    /// If the store does not take it; then nothing was sent.
    pub async fn test(&self, plan: Arc<Plan>, event: Arc<Event>) -> store::Result<(Delivery, Attempt)> {
        // Once begun it goes on, whether or not somebody still waits for the answer.
        let pipeline = self.clone();
        to_the_end(async move { pipeline.send_test(&plan, event).await }).await
    }

    async fn send_test(&self, plan: &Plan, event: Arc<Event>) -> store::Result<(Delivery, Attempt)> {
        let parts = &self.0;
        let now = parts.clock.now();
        // A copy with an id of its own: the event it was made from keeps its deliveries as they are.
        let event = Arc::new(Event { id: EventId::new(now), received_at: now, ..(*event).clone() });
        let delivery = ingest::delivery(plan, &event, Trigger::Test, now);
        let accepted = Accepted { event: event.clone(), deliveries: vec![delivery.clone()], in_hand: 1, dedupe: None };
        parts.store.accept(vec![accepted]).await?;
        let attempt = self.try_once(plan, event, delivery.clone()).await;
        let ended = Delivery {
            status: match attempt.verdict {
                Verdict::Deliver => Status::Delivered,
                Verdict::Drop => Status::Dropped,
                _ => Status::Failed,
            },
            reason: Some(attempt.because.clone()),
            attempt_count: 1,
            next_attempt_at: None,
            finished_at: Some(parts.clock.now()),
            last_status_code: attempt.response.as_ref().map(|response| response.status_code),
            ..delivery
        };
        parts.store.settle(vec![Settled { delivery: ended.clone(), attempt: Some(attempt.clone()) }]).await?;
        Ok((ended, attempt))
    }

    async fn try_once(&self, plan: &Plan, event: Arc<Event>, delivery: Delivery) -> Attempt {
        let parts = &self.0;
        let work = Work::new(delivery, event);
        let (report, _) = deliver::attempt(parts, plan, &work).await;
        let verdict = match report.outcome {
            Outcome::Delivered => Verdict::Deliver,
            Outcome::Dropped { .. } => Verdict::Drop,
            _ => Verdict::GiveUp,
        };
        let because = format!("{}; a test is not tried again", report.outcome.describe());
        report.into_attempt(&work, verdict, because, parts.clock.now())
    }
}

/// What a subscription makes of an event when nothing is sent.
pub(super) struct Trial {
    pub(super) steps: Vec<PreviewStep>,
    pub(super) request: Option<AttemptRequest>,
    pub(super) problem: Option<String>,
}

pub(super) async fn try_out(parts: &Parts, plan: &Plan, (event, id): (&Event, &str), sending: Sending) -> Trial {
    let mut steps = Vec::new();
    let mut look = |look: Look<'_>| {
        let (output, fault) = match look.made {
            Output::Event(event) => (Some(event.data.clone()), None),
            Output::Request(request) => (Some(text_of(request)), None),
            Output::Dropped(reason) => (Some(serde_json::json!({ "drop": reason }).to_string()), None),
            Output::Faulted(outcome) => (None, Some(outcome.describe())),
        };
        let PluginRun { plugin, log, cpu_us, .. } = look.run.clone();
        steps.push(PreviewStep { plugin, output, log, fault, cpu_us });
    };
    let made = deliver::make(parts, plan, event, event.tenant_id.into(), &mut look).await;
    let (request, problem) = match &made {
        Ok((content, _)) => {
            match deliver::prepare(parts, plan, (event, id), content, sending, parts.clock.now()).await {
                Ok(prepared) => (Some(prepared.shown(plan, true)), None),
                Err(outcome) => (None, Some(outcome.describe())),
            }
        }
        Err((outcome, _)) => (None, Some(outcome.describe())),
    };
    Trial { steps, request, problem }
}

fn text_of(request: &PluginRequest) -> String {
    match &request.body {
        PluginPayload::Text(text) => text.clone(),
        PluginPayload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
