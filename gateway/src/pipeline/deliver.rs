//! One attempt: what is sent is made (or was, and is frozen), wrapped, signed, sent, and its answer read.
//!
//! What only some attempts need (a plugin's call, a token, a second try) is in a box of its own: the task of an attempt
//! is moved when it is spawned and when it ends, and is as large as the largest thing in it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use url::Url;

use super::Parts;
use super::body::{self, Content, Place, Sending};
use super::lanes::{End, Work};
use super::record::{self, Report};
use super::rollout::{Made, Noted, Shadowed};
use crate::clock::since;
use crate::domain::{
    AttemptRequest, AttemptResponse, Decision, Event, FaultKind, Frozen, OnUnknown, Outcome, PluginEvent,
    PluginPayload, PluginRequest, PluginResponse, PluginRun, PluginVerdict, Rendered, RetryScope, Status, TenantId,
    Trigger, Verdicts,
};
use crate::egress::{Answer, AuthFailure, Credential, Failure, FailureClass, Outbound};
use crate::engine::{Caller, Ran, Spent};
use crate::registry::{Plan, Step};
use crate::retry;
use crate::signing::SignParts;

/// How much of an answer's body is kept.
const RESPONSE_KEPT: usize = 16 * 1024;
/// The same after a success.
const RESPONSE_KEPT_OF_SUCCESS: usize = 1024;

/// Makes one attempt at what is in hand and settles it.
pub(super) async fn deliver(parts: &Arc<Parts>, work: &Work) -> End {
    let delivery = &work.delivery;
    let Some(plan) = parts.registry.plan(delivery.tenant_id, delivery.subscription_id) else {
        record::end_without_attempt(parts, work, Status::Cancelled, "its subscription was deleted").await;
        return End::NotSent;
    };
    if !plan.sends() {
        // It was paused or disabled after the attempt was given its turn: back into the store.
        record::release(parts, std::slice::from_ref(work)).await;
        return End::NotSent;
    }
    let (report, steps) = attempt(parts, &plan, work).await;
    let end = record::record(parts, &plan, work, report).await;
    // Changed meanwhile, it is about other versions now, or gone.
    let is_same = || {
        parts.registry.plan(delivery.tenant_id, delivery.subscription_id).is_some_and(|now| Arc::ptr_eq(&now, &plan))
    };
    if !steps.is_empty() && is_same() {
        let about = (work.delivery.event_id, work.delivery.id);
        parts.rollouts.note(&plan, about, steps, parts.clock.now());
    }
    end
}

/// Makes one attempt, without recording it. Also gives the steps that have run and that something is tried beside.
pub(super) async fn attempt(parts: &Arc<Parts>, plan: &Plan, work: &Work) -> (Report, Vec<Noted>) {
    let started_at = parts.clock.now();
    let as_sent = as_sent(work);
    let work = as_sent.as_ref().unwrap_or(work);
    let mut steps = Vec::new();
    let (content, runs) = match content(parts, plan, work, &mut steps).await {
        Ok(made) => made,
        Err((outcome, runs)) => return (Report::unsent(started_at, outcome, runs), steps),
    };
    let made_by = runs.len();
    let mut report = Report { runs, ..Report::unsent(started_at, Outcome::Delivered, Vec::new()) };
    exchange(parts, plan, work, &content, &mut report).await;
    report.made = Some((content, made_by));
    (report, steps)
}

/// The work with the event as its receiver is to see it, where that is not the event as it came.
fn as_sent(work: &Work) -> Option<Work> {
    let event = body::with_id_of(&work.delivery, &work.event)?;
    Some(Work { event: Arc::new(event), ..work.clone() })
}

/// Sends what was made and reads the answer into the report.
async fn exchange(parts: &Parts, plan: &Plan, work: &Work, content: &Content, report: &mut Report) {
    let id = work.delivery.message_id();
    let sending = Sending { delivery: work.delivery.id, attempt: work.delivery.attempt_count + 1 };
    let mut prepared = match prepare(parts, plan, (&work.event, &id), content, sending, report.started_at).await {
        Ok(prepared) => prepared,
        Err(outcome) => {
            report.outcome = outcome;
            return;
        }
    };
    // The body is kept by reference where it can be had again: the event as it came, in the envelope of the
    // revision that the delivery names. A profile has no revisions.
    let by_reference =
        *content == Content::Kept && plan.profile.is_none() && plan.subscription.revision == work.delivery.revision;
    report.request = Some(prepared.shown(plan, !by_reference));
    if must_not_repeat(plan)
        && let Err(error) = begin(parts, work).await
    {
        // Nothing was sent, and it is nobody's fault but ours: it is tried again.
        tracing::warn!(%error, delivery_id = %work.delivery.id, "an attempt could not be marked as begun");
        let detail = "the attempt could not be marked as begun, and nothing was sent".to_owned();
        report.outcome = Outcome::Unreachable { class: "store".to_owned(), detail };
        report.request = None;
        return;
    }
    let sent_at = parts.clock.now();
    let credential = prepared.credential.take();
    let mut sent = send(parts, plan, work, prepared).await;
    if let (Some(credential), Ok(answer)) = (&credential, &sent)
        && answer.status == StatusCode::UNAUTHORIZED
        && parts.authenticator.invalidate(credential)
    {
        // A token may have been revoked before its time: once more, with a new one.
        let again = prepare(parts, plan, (&work.event, &id), content, sending, report.started_at);
        match Box::pin(again).await {
            Ok(prepared) => sent = Box::pin(send(parts, plan, work, prepared)).await,
            Err(outcome) => {
                report.outcome = outcome;
                return;
            }
        }
    }
    match sent {
        Ok(answer) => read(parts, plan, work, answer, report).await,
        Err(failure) => {
            report.duration = since(sent_at, parts.clock.now());
            report.outcome = outcome_of(failure);
        }
    }
}

/// Whether a second request would do harm, so that the first must be known of even after a crash.
fn must_not_repeat(plan: &Plan) -> bool {
    plan.on_unknown == OnUnknown::Hold
}

async fn begin(parts: &Parts, work: &Work) -> crate::store::Result<()> {
    let mut delivery = work.delivery.clone();
    delivery.begun = true;
    parts.store.begin(vec![delivery]).await
}

type Runs = Vec<PluginRun>;

/// What is to be sent: frozen at an earlier attempt, or made now by the transforms and the connector. What is tried
/// beside one of those is noted in `steps`.
async fn content(
    parts: &Parts,
    plan: &Plan,
    work: &Work,
    steps: &mut Vec<Noted>,
) -> Result<(Content, Runs), (Outcome, Runs)> {
    // A person who asks again wants to see what the subscription makes of it now.
    let frozen = work.delivery.frozen.as_ref().filter(|_| work.delivery.trigger != Trigger::Manual);
    if let Some(frozen) = frozen {
        let fits = frozen.method.is_some() == plan.connector.is_some();
        if fits && !is_stale(frozen, plan) {
            let runs = frozen.plugins.iter().map(|(plugin, digest)| PluginRun {
                plugin: plugin.clone(),
                digest: *digest,
                cpu_us: 0,
                log: Vec::new(),
            });
            return Ok((Content::thaw(frozen), runs.collect()));
        }
    }
    let mut note = |look: Look<'_>| {
        if look.step.candidate.is_some() {
            steps.push(noted(parts, plan, &look));
        }
    };
    make(parts, plan, &work.event, plan.caller(), &mut note).await
}

/// What the counts of a rollout want to know of a step that has run.
fn noted(parts: &Parts, plan: &Plan, look: &Look<'_>) -> Noted {
    let Look { place, step, used, input, spent, .. } = *look;
    // What would find no room is not copied.
    let has_room = || parts.rollouts.has_room(plan.subscription.tenant_id, 2 * input.data.len());
    let shadowed = (step.shadow().is_some() && has_room()).then(|| Shadowed {
        input: input.clone(),
        made: match look.made {
            Output::Event(event) => Made::Event(event.clone()),
            Output::Request(request) => Made::Request(request.clone()),
            Output::Dropped(reason) => Made::Dropped(reason.to_owned()),
            Output::Faulted(_) => Made::Faulted(spent.fault.unwrap_or(FaultKind::Engine)),
        },
    });
    Noted { place, is_candidate: !std::ptr::eq(step, used), spent, shadowed }
}

/// Whether a secret in it has been changed since: its placeholder would be sent in its place.
fn is_stale(frozen: &Frozen, plan: &Plan) -> bool {
    let stale = |text: &[u8]| body::is_stale(text, &plan.placeholders);
    stale(&frozen.body)
        || frozen.url.as_deref().is_some_and(|url| stale(url.as_bytes()))
        || frozen.headers.iter().any(|(_, value)| stale(value.as_bytes()))
}

/// A step that has run, for whoever looks on.
pub(super) struct Look<'a> {
    /// Its number among the subscription's steps.
    pub(super) place: usize,
    /// The step.
    pub(super) step: &'a Step,
    /// What has run: the step, or its candidate.
    pub(super) used: &'a Step,
    /// What is recorded of it.
    pub(super) run: &'a PluginRun,
    /// What it used.
    pub(super) spent: Spent,
    /// What it got.
    pub(super) input: &'a PluginEvent,
    /// What it made of that.
    pub(super) made: Output<'a>,
}

/// What a step made.
#[derive(Clone, Copy)]
pub(super) enum Output<'a> {
    Event(&'a PluginEvent),
    Request(&'a PluginRequest),
    Dropped(&'a str),
    Faulted(&'a Outcome),
}

impl<'a> Output<'a> {
    fn of<T>(result: &'a Result<T, Ended>, output: impl FnOnce(&'a T) -> Self) -> Self {
        match result {
            Ok(made) => output(made),
            Err(Ended::Dropped(reason)) => Self::Dropped(reason),
            Err(Ended::Faulted(outcome)) => Self::Faulted(outcome),
        }
    }
}

/// Why a step made nothing.
enum Ended {
    Dropped(String),
    Faulted(Outcome),
}

impl Ended {
    fn into_outcome(self, used: &Step) -> Outcome {
        match self {
            Self::Dropped(reason) => Outcome::Dropped { plugin: used.reference.clone(), reason },
            Self::Faulted(outcome) => outcome,
        }
    }
}

/// Runs the transforms and the connector. `look` sees each step that has run.
pub(super) async fn make(
    parts: &Parts,
    plan: &Plan,
    event: &Event,
    caller: Caller,
    look: &mut (dyn FnMut(Look<'_>) + Send),
) -> Result<(Content, Runs), (Outcome, Runs)> {
    if plan.steps().next().is_none() {
        return Ok((Content::Kept, Vec::new()));
    }
    Box::pin(run_steps(parts, plan, event, caller, look)).await
}

async fn run_steps(
    parts: &Parts,
    plan: &Plan,
    event: &Event,
    caller: Caller,
    look: &mut (dyn FnMut(Look<'_>) + Send),
) -> Result<(Content, Runs), (Outcome, Runs)> {
    let mut runs = Vec::new();
    let mut current = plugin_event(event);
    for (place, step) in plan.transforms.iter().enumerate() {
        let used = step.used_for(event.id);
        let ran = parts.engine.transform(&used.plugin, caller, &current, &used.config).await;
        let (run, spent, result) = account(parts, caller.tenant, used, ran);
        let result = result.and_then(|decision| match decision {
            Decision::Keep(events) => first(events, "it kept nothing"),
            Decision::Drop(reason) => Err(Ended::Dropped(reason)),
        });
        let made = Output::of(&result, Output::Event);
        look(Look { place, step, used, run: &run, spent, input: &current, made });
        runs.push(run);
        match result {
            Ok(kept) => current = kept,
            Err(ended) => return Err((ended.into_outcome(used), runs)),
        }
    }
    let Some(step) = &plan.connector else {
        let PluginEvent { event_type, timestamp, data, .. } = current;
        return Ok((Content::Changed { event_type, timestamp, data }, runs));
    };
    let (used, place) = (step.used_for(event.id), plan.transforms.len());
    let ran = parts.engine.render(&used.plugin, caller, std::slice::from_ref(&current), &used.config).await;
    let (run, spent, result) = account(parts, caller.tenant, used, ran);
    let result = result.and_then(|rendered| match rendered {
        Rendered::Send(requests) => first(requests, "it sent nothing"),
        Rendered::Drop(reason) => Err(Ended::Dropped(reason)),
    });
    let made = Output::of(&result, Output::Request);
    look(Look { place, step, used, run: &run, spent, input: &current, made });
    runs.push(run);
    match result {
        Ok(PluginRequest { method, url, headers, body, content_type }) => {
            let body = match body {
                PluginPayload::Text(text) => text.into_bytes(),
                PluginPayload::Bytes(bytes) => bytes,
            };
            Ok((Content::Made { method, url, headers, content_type, body }, runs))
        }
        Err(ended) => Err((ended.into_outcome(used), runs)),
    }
}

/// The engine lets no list pass that is not of one.
fn first<T>(list: Vec<T>, none: &str) -> Result<T, Ended> {
    list.into_iter().next().ok_or_else(|| Ended::Dropped(none.to_owned()))
}

/// Splits a run into what is recorded of it, what it used, and what it came to; the tenant is charged.
fn account<T>(parts: &Parts, tenant: TenantId, step: &Step, ran: Ran<T>) -> (PluginRun, Spent, Result<T, Ended>) {
    let spent = Spent::from(&ran);
    parts.charge(tenant, spent.cpu);
    let run = PluginRun {
        plugin: step.reference.clone(),
        digest: step.plugin.digest(),
        cpu_us: u64::try_from(ran.cpu.as_micros()).unwrap_or(u64::MAX),
        log: ran.log,
    };
    let result = ran.result.map_err(|fault| {
        Ended::Faulted(Outcome::PluginFault {
            plugin: step.reference.clone(),
            kind: fault.kind,
            message: fault.message,
            retryable: fault.retryable,
        })
    });
    (run, spent, result)
}

fn plugin_event(event: &Event) -> PluginEvent {
    PluginEvent {
        id: event.public_id(),
        event_type: event.event_type.as_str().to_owned(),
        source: event.source.as_deref().unwrap_or_default().to_owned(),
        timestamp: crate::domain::rfc3339(event.timestamp),
        data: event.data.to_string(),
        attributes: event.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}

/// A request, ready to be sent.
pub(super) struct Prepared {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    /// A fetched credential among the headers.
    credential: Option<Credential>,
}

impl Prepared {
    /// The request fit for the log, with or without its body; what is secret in it is masked.
    pub(super) fn shown(&self, plan: &Plan, with_body: bool) -> AttemptRequest {
        let url = if plan.leaving.iter().any(|secret| self.url.as_str().contains(secret.expose())) {
            format!("{}/…", self.url.origin().ascii_serialization())
        } else {
            crate::registry::url_for_reading(&self.url)
        };
        let headers = self.headers.iter().map(|(name, value)| {
            let secret = plan.secret_headers.contains(name) || value.is_sensitive() || *name == header::AUTHORIZATION;
            let value = match value.to_str() {
                _ if secret => "<redacted>".to_owned(),
                Ok(text) => text.to_owned(),
                Err(_) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.as_str().to_owned(), value)
        });
        let body = with_body.then(|| {
            let mut body = self.body.to_vec();
            body::mask(&mut body, &plan.leaving);
            body
        });
        AttemptRequest { method: self.method.as_str().to_owned(), url, headers: headers.collect(), body }
    }
}

/// Builds the request: URL, headers, body, credentials and signature. `id` is what receivers tell duplicates by.
pub(super) async fn prepare(
    parts: &Parts,
    plan: &Plan,
    (event, id): (&Event, &str),
    content: &Content,
    sending: Sending,
    now: Timestamp,
) -> Result<Prepared, Outcome> {
    let unbuildable = |detail: String| Outcome::Unbuildable { detail };
    let mut headers = HeaderMap::with_capacity(plan.headers.len() + 6);
    for (name, value) in &plan.headers {
        headers.append(name.clone(), value.clone());
    }
    for name in plan.spec.forward_headers() {
        let kept = event.attributes.iter().find(|(kept, _)| kept.eq_ignore_ascii_case(name));
        if let Some((name, value)) = kept
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::try_from(&**value))
        {
            headers.append(name, value);
        }
    }
    let (method, url, body) = match content {
        Content::Kept | Content::Changed { .. } => {
            let url = plan.url.clone().ok_or_else(|| unbuildable("the subscription has no url".to_owned()))?;
            let (body, content_type) = body::wrap(plan, event, content, sending);
            headers.insert(header::CONTENT_TYPE, content_type);
            (Method::POST, url, body)
        }
        Content::Made { method, url, headers: made, content_type, body } => {
            let method =
                Method::from_bytes(method.as_bytes()).map_err(|_| unbuildable(format!("`{method}` is no method")))?;
            let (url, body) =
                fill_in(plan, url.as_deref(), made, content_type, body, &mut headers).map_err(unbuildable)?;
            (method, url, body)
        }
    };
    let mut credential = None;
    if let Some(auth) = &plan.fetched {
        let fetched = Box::pin(parts.authenticator.authorize(event.tenant_id, auth)).await;
        let fetched = fetched.map_err(|failure| match failure {
            AuthFailure::Retryable { detail } => Outcome::Unreachable { class: "auth".to_owned(), detail },
            AuthFailure::Configuration { detail } => unbuildable(detail),
        })?;
        headers.insert(fetched.name.clone(), fetched.value.clone());
        credential = Some(fetched);
    }
    if let Some(signer) = &plan.signer {
        let (scheme, keys) = signer.at(now);
        let signed = SignParts {
            id,
            timestamp_s: now.as_second(),
            body: &body,
            url: url.as_str(),
            method: method.as_str(),
            headers: &headers,
        };
        let signature = scheme.sign(keys, &signed).map_err(|error| unbuildable(error.to_string()))?;
        for (name, value) in signature {
            headers.insert(name, value);
        }
    }
    Ok(Prepared { method, url, headers, body, credential })
}

/// A connector's request with its secrets in place, if it goes where they may go.
fn fill_in(
    plan: &Plan,
    url: Option<&str>,
    made: &[(String, String)],
    content_type: &str,
    body: &[u8],
    headers: &mut HeaderMap,
) -> Result<(Url, Bytes), String> {
    // The host is read before any secret is filled in, so that a secret can't choose it.
    let target = match url {
        Some(url) => Url::parse(url).map_err(|error| format!("the connector's URL is not one: {error}"))?,
        None => plan.url.clone().ok_or("the connector left the URL to the subscription, which has none")?,
    };
    let host = target.host_str().unwrap_or_default();
    let own = plan.url.as_ref().and_then(Url::host_str) == Some(host);
    let trusted = own || plan.hosts.iter().any(|named| named == host);
    let secrets = if trusted { plan.placeholders.as_slice() } else { &[] };
    let uses_secrets = url.is_some_and(|url| url.contains(crate::registry::PLACEHOLDER))
        || made.iter().any(|(_, value)| value.contains(crate::registry::PLACEHOLDER))
        || body::is_stale(body, &[]);
    if uses_secrets && !trusted {
        return Err(format!(
            "the connector would send a secret to `{host}`, which neither the subscription's url names nor the connector \
             did when it was last set"
        ));
    }
    let target = match url {
        Some(text) if text.contains(crate::registry::PLACEHOLDER) => {
            let filled =
                Url::parse(&body::fill(text, secrets, Place::Url)).map_err(|_| "a secret makes the URL invalid")?;
            if filled.host_str() != Some(host) {
                return Err("a secret would change the host".to_owned());
            }
            filled
        }
        _ => target,
    };
    for (name, value) in made {
        let (name, mut filled) = crate::egress::check_header(name, &body::fill(value, secrets, Place::Header))
            .map_err(|detail| format!("the connector's header `{name}` can't be sent: {detail}"))?;
        filled.set_sensitive(value.contains(crate::registry::PLACEHOLDER));
        headers.insert(name, filled);
    }
    let value = HeaderValue::try_from(content_type).map_err(|_| "the connector's content type is no header value")?;
    headers.insert(header::CONTENT_TYPE, value);
    let place = if content_type.contains("json") { Place::Json } else { Place::Text };
    let body = match std::str::from_utf8(body) {
        Ok(text) => match body::fill(text, secrets, place) {
            Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        },
        Err(_) => Bytes::copy_from_slice(body),
    };
    Ok((target, body))
}

async fn send(parts: &Parts, plan: &Plan, work: &Work, prepared: Prepared) -> Result<Answer, Failure> {
    let to_own_inbox = plan.is_inbox && Some(&prepared.url) == plan.url.as_ref();
    let egress = if to_own_inbox { &parts.own_inboxes } else { &parts.egress };
    let Prepared { method, url, headers, body, .. } = prepared;
    egress.send(work.delivery.tenant_id, Outbound { method, url, headers, body, timeout: plan.timeout() }).await
}

/// What an attempt that got no whole answer came to.
fn outcome_of(failure: Failure) -> Outcome {
    let class = failure.class.as_str().to_owned();
    match failure.class {
        FailureClass::Blocked => Outcome::Blocked { detail: failure.detail },
        _ if failure.sent => Outcome::Unknown { class, detail: failure.detail },
        // Time ran out while connecting: nothing was sent, but the endpoint is just as slow.
        _ => Outcome::Unreachable { class, detail: failure.detail },
    }
}

/// Reads an answer: by the connector's word where it wants to be asked, else by the default rule.
async fn read(parts: &Parts, plan: &Plan, work: &Work, answer: Answer, report: &mut Report) {
    let status_code = answer.status.as_u16();
    let is_success = plan.success.admits(status_code);
    let mut body = answer.body.to_vec();
    body::mask(&mut body, &plan.leaving);
    let headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .map(|(name, value)| {
            let mut value = value.as_bytes().to_vec();
            body::mask(&mut value, &plan.leaving);
            (name.to_string(), String::from_utf8_lossy(&value).into_owned())
        })
        .collect();
    report.duration = answer.duration;
    report.outcome = by_default(&answer.headers, status_code, is_success, parts.clock.now());
    let connector = plan.connector.as_ref().map(|step| step.used_in(&report.runs, work.event.id));
    let is_2xx = answer.status.is_success();
    if let Some(step) = connector.filter(|step| step.interprets(is_2xx, &body)) {
        let response = PluginResponse {
            status: status_code,
            headers: headers.clone(),
            body: String::from_utf8_lossy(&body).into_owned(),
            truncated: answer.truncated,
        };
        let tenant = work.delivery.tenant_id;
        let ran = Box::pin(parts.engine.interpret(&step.plugin, plan.caller(), &response, &step.config, 1)).await;
        let (run, _, verdicts) = account(parts, tenant, step, ran);
        report.runs.push(run);
        match verdicts {
            Ok(Verdicts::All(verdict)) => by_connector(verdict, status_code, report),
            Ok(Verdicts::Each(list)) => match list.into_iter().next() {
                Some(verdict) => by_connector(verdict, status_code, report),
                None => report.note = Some("the connector gave no verdict; the default rule holds".to_owned()),
            },
            // The endpoint has answered; a connector that faults over the answer must not cause a second request.
            Err(ended) => {
                report.misread = true;
                let fault = ended.into_outcome(step).describe();
                report.note =
                    Some(format!("the connector could not read the answer ({fault}); the default rule holds"));
            }
        }
    }
    let kept = if report.outcome == Outcome::Delivered { RESPONSE_KEPT_OF_SUCCESS } else { RESPONSE_KEPT };
    let truncated = answer.truncated || body.len() > kept;
    body.truncate(kept);
    report.response = Some(AttemptResponse { status_code, headers, body, truncated });
}

fn by_default(headers: &HeaderMap, status_code: u16, is_success: bool, now: Timestamp) -> Outcome {
    match status_code {
        _ if is_success => Outcome::Delivered,
        410 => Outcome::Gone { reason: "it answered 410 Gone".to_owned() },
        429 | 503 => Outcome::Throttled {
            status_code,
            after: headers
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry::parse_retry_after(value, now)),
        },
        _ => Outcome::Refused { status_code },
    }
}

fn by_connector(verdict: PluginVerdict, status_code: u16, report: &mut Report) {
    report.outcome = match verdict {
        PluginVerdict::Delivered => Outcome::Delivered,
        PluginVerdict::Retry { after, scope } => {
            report.whole_host = scope == RetryScope::Host;
            Outcome::Throttled { status_code, after }
        }
        PluginVerdict::Rejected(reason) => Outcome::Rejected { reason },
        PluginVerdict::Gone(reason) => Outcome::Gone { reason },
        PluginVerdict::Unknown(reason) => Outcome::Unknown { class: "answer".to_owned(), detail: reason },
    };
}

/// From the event's arrival until now.
pub(super) fn age(event: &Event, now: Timestamp) -> Duration {
    since(event.received_at, now)
}
