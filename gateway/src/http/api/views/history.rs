//! Events, deliveries, attempts, previews and statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Raw, Time};
use crate::control::{AttemptBody, Bucket, DeliveryDetail, Explanation, Health, Spread, Stats};
use crate::domain::{Attempt, AttemptRequest, Delivery, LogLine, PluginRun, Verdict};
use crate::pipeline::{AttemptNews, Preview, PreviewStep};
use crate::store::StoredEvent;

/// An event, without its data.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(in crate::http) struct EventView {
    /// `evt_…`
    id: String,
    /// The client's own id.
    external_id: Option<String>,
    r#type: String,
    source: Option<String>,
    /// The source it came through.
    source_id: Option<String>,
    /// When it happened.
    timestamp: Time,
    received_at: Time,
    /// To how many subscriptions it was owed.
    deliveries: usize,
}

impl From<&StoredEvent> for EventView {
    fn from(stored: &StoredEvent) -> Self {
        let event = &stored.event;
        Self {
            id: event.id.to_string(),
            external_id: event.external_id.as_deref().map(str::to_owned),
            r#type: event.event_type.to_string(),
            source: event.source.as_deref().map(str::to_owned),
            source_id: event.source_id.map(|id| id.to_string()),
            timestamp: event.timestamp.into(),
            received_at: event.received_at.into(),
            deliveries: stored.deliveries,
        }
    }
}

/// An event with its data.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EventDetailView {
    #[serde(flatten)]
    event: EventView,
    /// Kept request headers and CloudEvents extensions.
    attributes: BTreeMap<String, String>,
    /// Exactly as it arrived.
    data: Raw,
}

impl From<&StoredEvent> for EventDetailView {
    fn from(stored: &StoredEvent) -> Self {
        let pairs = stored.event.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Self { event: stored.into(), attributes: pairs.collect(), data: Raw::of(&stored.event.data) }
    }
}

/// One subscription's part in the fate of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(in crate::http) struct ExplanationView {
    /// It may have been deleted since.
    subscription_id: String,
    subscription_name: Option<String>,
    /// Whether the subscription got the event: when it came in, or by a replay.
    matched: bool,
    /// Why, or why not; and, where the subscription has changed since, what it says now.
    why: String,
    /// The deliveries there are.
    delivery_ids: Vec<String>,
}

impl From<&Explanation> for ExplanationView {
    fn from(explanation: &Explanation) -> Self {
        Self {
            subscription_id: explanation.subscription_id.to_string(),
            subscription_name: explanation.name.clone(),
            matched: explanation.matched,
            why: explanation.why.clone(),
            delivery_ids: explanation.deliveries.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One event owed to one subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(in crate::http) struct DeliveryView {
    /// `dlv_…`
    id: String,
    event_id: String,
    event_type: String,
    subscription_id: String,
    /// `pending`, `delivered`, `failed`, `dropped`, `held` or `cancelled`.
    status: &'static str,
    /// Why it stands there.
    reason: Option<String>,
    attempt_count: u32,
    created_at: Time,
    next_attempt_at: Option<Time>,
    finished_at: Option<Time>,
    /// The endpoint's last answer.
    last_status_code: Option<u16>,
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            event_id: delivery.event_id.to_string(),
            event_type: delivery.event_type.to_string(),
            subscription_id: delivery.subscription_id.to_string(),
            status: delivery.status.as_str(),
            reason: delivery.reason.clone(),
            attempt_count: delivery.attempt_count,
            created_at: delivery.created_at.into(),
            next_attempt_at: delivery.next_attempt_at.map(Time::from),
            finished_at: delivery.finished_at.map(Time::from),
            last_status_code: delivery.last_status_code,
        }
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// In the order they were made.
    attempts: Vec<AttemptView>,
}

impl From<&DeliveryDetail> for DeliveryDetailView {
    fn from(detail: &DeliveryDetail) -> Self {
        Self {
            delivery: (&detail.delivery).into(),
            attempts: detail
                .attempts
                .iter()
                .map(|AttemptBody { attempt, body }| AttemptView::new(attempt, body.as_deref()))
                .collect(),
        }
    }
}

/// A delivery that has changed.
#[derive(Debug, Serialize)]
pub(in crate::http) struct DeliveryNewsView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The attempt that has ended; `null` where it changed without one.
    attempt: Option<AttemptNewsView>,
}

/// An attempt that has ended. `GET /v1/deliveries/{delivery}` has all of it.
#[derive(Debug, Serialize)]
struct AttemptNewsView {
    id: String,
    number: u32,
    trigger: &'static str,
    outcome: &'static str,
    blame: &'static str,
    detail: String,
    started_at: Time,
    duration_ms: f64,
    status_code: Option<u16>,
}

impl DeliveryNewsView {
    pub(in crate::http) fn new(delivery: &Delivery, attempt: Option<&AttemptNews>) -> Self {
        let attempt = attempt.map(|attempt| AttemptNewsView {
            id: attempt.id.to_string(),
            number: attempt.number,
            trigger: attempt.trigger.as_str(),
            outcome: attempt.outcome.as_str(),
            blame: attempt.outcome.blame().as_str(),
            detail: attempt.outcome.describe(),
            started_at: attempt.started_at.into(),
            duration_ms: milliseconds(attempt.duration),
            status_code: attempt.status_code,
        });
        Self { delivery: delivery.into(), attempt }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// One recorded try.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(in crate::http) struct AttemptView {
    /// `att_…`
    id: String,
    /// 1 for the first.
    number: u32,
    /// `automatic`, `manual`, `replay` or `test`.
    trigger: &'static str,
    /// `delivered`, `refused`, `rejected`, `gone`, `throttled`, `unreachable`, `unknown`, `blocked`, `plugin_fault`,
    /// `dropped` or `unbuildable`.
    outcome: &'static str,
    /// Whose fault it is: `none`, `event`, `plugin`, `endpoint`, `network`, `configuration` or `gateway`.
    blame: &'static str,
    /// The outcome in words.
    detail: String,
    started_at: Time,
    /// How long the endpoint took.
    duration_ms: f64,
    /// What was sent, credentials redacted; `null` where nothing was.
    request: Option<RequestView>,
    /// What came back.
    response: Option<ResponseView>,
    /// The plugins that ran.
    plugins: Vec<PluginRunView>,
    /// What follows.
    next: NextView,
}

/// What was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptRequest)]
pub(in crate::http) struct RequestView {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// `base64` where the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    body_encoding: Option<&'static str>,
}

/// What came back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptResponse)]
pub(in crate::http) struct ResponseView {
    status_code: u16,
    headers: BTreeMap<String, String>,
    /// Up to 16 KiB of it.
    body: Option<String>,
    /// `base64` where the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    body_encoding: Option<&'static str>,
    /// Whether there was more.
    truncated: bool,
}

/// One plugin's part.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginRun)]
pub(in crate::http) struct PluginRunView {
    plugin: String,
    digest: String,
    /// Its running time, in microseconds.
    cpu_us: u64,
    log: Vec<LogLineView>,
}

/// One line of a plugin's log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogLine)]
pub(in crate::http) struct LogLineView {
    /// `debug`, `info`, `warn` or `error`.
    level: String,
    message: String,
}

/// What follows an attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Next)]
pub(in crate::http) struct NextView {
    /// `deliver`, `drop`, `retry`, `give_up`, `give_up_and_disable` or `hold`.
    action: &'static str,
    /// With `retry`: when.
    at: Option<Time>,
    /// Why.
    because: String,
}

impl AttemptView {
    pub(in crate::http) fn new(attempt: &Attempt, body: Option<&[u8]>) -> Self {
        let (action, at) = match attempt.verdict {
            Verdict::Deliver => ("deliver", None),
            Verdict::Drop => ("drop", None),
            Verdict::RetryAt(at) => ("retry", Some(at.into())),
            Verdict::GiveUp => ("give_up", None),
            Verdict::GiveUpAndDisable => ("give_up_and_disable", None),
            Verdict::Hold => ("hold", None),
        };
        Self {
            id: attempt.id.to_string(),
            number: attempt.number,
            trigger: attempt.trigger.as_str(),
            outcome: attempt.outcome.as_str(),
            blame: attempt.outcome.blame().as_str(),
            detail: attempt.outcome.describe(),
            started_at: attempt.started_at.into(),
            duration_ms: milliseconds(attempt.duration),
            request: attempt.request.as_ref().map(|request| RequestView::new(request, body)),
            response: attempt.response.as_ref().map(|response| {
                let (body, body_encoding) = text_or_base64(&response.body);
                ResponseView {
                    status_code: response.status_code,
                    headers: headers_view(&response.headers),
                    body: Some(body),
                    body_encoding,
                    truncated: response.truncated,
                }
            }),
            plugins: attempt.plugins.iter().map(PluginRunView::from).collect(),
            next: NextView { action, at, because: attempt.because.clone() },
        }
    }
}

impl RequestView {
    pub(in crate::http) fn new(request: &AttemptRequest, body: Option<&[u8]>) -> Self {
        let (body, body_encoding) = body.map(text_or_base64).map_or((None, None), |(body, as_)| (Some(body), as_));
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: headers_view(&request.headers),
            body,
            body_encoding,
        }
    }
}

impl From<&PluginRun> for PluginRunView {
    fn from(run: &PluginRun) -> Self {
        Self {
            plugin: run.plugin.clone(),
            digest: run.digest.to_string(),
            cpu_us: run.cpu_us,
            log: run.log.iter().map(LogLineView::from).collect(),
        }
    }
}

impl From<&LogLine> for LogLineView {
    fn from(line: &LogLine) -> Self {
        Self { level: line.level.clone(), message: line.message.clone() }
    }
}

/// Headers by lower-case name; several of one name are joined, as RFC 9110 (5.3) allows.
pub(in crate::http) fn headers_view(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut view = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        view.entry(name.to_ascii_lowercase())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    view
}

/// Bytes as text, or as base64 where they are none.
pub(in crate::http) fn text_or_base64(bytes: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        // A text that was cut inside a character is still a text.
        Err(error) if error.error_len().is_none() => {
            (String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned(), None)
        }
        Err(_) => (STANDARD.encode(bytes), Some("base64")),
    }
}

/// What would be made of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
pub(in crate::http) struct PreviewView {
    /// Whether the subscription wants the event.
    matched: bool,
    /// Why, or why not.
    why: String,
    /// What each plugin made of it.
    steps: Vec<StepView>,
    /// The request, credentials redacted.
    request: Option<RequestView>,
    /// Why there is no request, where no plugin faulted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    problem: Option<String>,
    /// With `send`: what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    attempt: Option<AttemptView>,
}

/// One plugin's part in a preview.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreviewStep)]
pub(in crate::http) struct StepView {
    /// `name@version`.
    plugin: String,
    /// What it made: JSON, or the text of a connector's body.
    output: Option<Raw>,
    log: Vec<LogLineView>,
    /// Why it made nothing.
    fault: Option<String>,
    /// Its running time, in microseconds.
    cpu_us: u64,
}

impl From<&PreviewStep> for StepView {
    fn from(step: &PreviewStep) -> Self {
        Self {
            plugin: step.plugin.clone(),
            output: step.output.as_deref().map(Raw::of),
            log: step.log.iter().map(LogLineView::from).collect(),
            fault: step.fault.clone(),
            cpu_us: step.cpu_us,
        }
    }
}

impl From<&Preview> for PreviewView {
    fn from(preview: &Preview) -> Self {
        let body = preview.request.as_ref().and_then(|request| request.body.as_deref());
        Self {
            matched: preview.matched,
            why: preview.why.clone(),
            steps: preview.steps.iter().map(StepView::from).collect(),
            request: preview.request.as_ref().map(|request| RequestView::new(request, body)),
            problem: preview.problem.clone(),
            attempt: preview.attempt.as_ref().map(|attempt| {
                let kept = attempt.request.as_ref().and_then(|request| request.body.as_deref());
                AttemptView::new(attempt, kept.or(body))
            }),
        }
    }
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TestView {
    delivery: DeliveryView,
    attempt: AttemptView,
}

impl TestView {
    pub(in crate::http) fn new(delivery: &Delivery, AttemptBody { attempt, body }: &AttemptBody) -> Self {
        Self { delivery: delivery.into(), attempt: AttemptView::new(attempt, body.as_deref()) }
    }
}

/// How a subscription fares. Ratios are 0 to 1; `null` where there is nothing to measure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(in crate::http) struct StatsView {
    since: Time,
    until: Time,
    /// `false` if there were more than 20,000 deliveries: then the newest 20,000 count.
    complete: bool,
    /// delivered / (delivered + failed).
    success_rate: Option<f64>,
    /// Deliveries with more than one attempt / all.
    retry_rate: Option<f64>,
    /// The endpoint's answer time per attempt.
    latency_ms: SpreadView,
    event_to_delivery_ms: SpreadView,
    delivered: u64,
    failed: u64,
    pending: u64,
    health: Vec<HealthView>,
    /// The window in 24 equal parts, oldest first.
    series: Vec<BucketView>,
}

/// Some numbers' spread.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Spread)]
pub(in crate::http) struct SpreadView {
    avg: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
}

/// One measure of health.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(in crate::http) struct HealthView {
    /// `success_rate`, `latency_ms`, `retry_rate` or `failed`.
    metric: &'static str,
    value: Option<f64>,
    threshold: f64,
    ok: bool,
}

/// One part of the window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsBucket)]
pub(in crate::http) struct BucketView {
    at: Time,
    delivered: u64,
    failed: u64,
    pending: u64,
    latency_ms: Option<f64>,
}

impl From<Spread> for SpreadView {
    fn from(spread: Spread) -> Self {
        Self { avg: spread.avg, p50: spread.p50, p99: spread.p99 }
    }
}

impl From<&Health> for HealthView {
    fn from(health: &Health) -> Self {
        Self { metric: health.metric, value: health.value, threshold: health.threshold, ok: health.ok }
    }
}

impl From<&Bucket> for BucketView {
    fn from(bucket: &Bucket) -> Self {
        let Bucket { at, delivered, failed, pending, latency_ms } = *bucket;
        Self { at: at.into(), delivered, failed, pending, latency_ms }
    }
}

impl From<&Stats> for StatsView {
    fn from(stats: &Stats) -> Self {
        Self {
            since: stats.since.into(),
            until: stats.until.into(),
            complete: stats.complete,
            success_rate: stats.success_rate,
            retry_rate: stats.retry_rate,
            latency_ms: stats.latency_ms.into(),
            event_to_delivery_ms: stats.event_to_delivery_ms.into(),
            delivered: stats.delivered,
            failed: stats.failed,
            pending: stats.pending,
            health: stats.health.iter().map(HealthView::from).collect(),
            series: stats.series.iter().map(BucketView::from).collect(),
        }
    }
}
