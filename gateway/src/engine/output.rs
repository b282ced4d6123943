//! What came back, held against the contract before anybody acts on it.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::bindings::{connector, transform};
use super::convert;
use super::fault::{bad_output, fault, sentence};
use crate::domain::{
    Decision, EventType, Fault, FaultKind, PluginEvent, PluginPayload, PluginRequest, PluginVerdict, Rendered,
    Verdicts, nesting,
};

/// Most headers of a connector's request.
pub(super) const HEADERS: usize = 64;
/// What the contract lets a request be.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A transform's decision about `given`.
pub(super) fn decision(decided: transform::Decision, given: &PluginEvent, limit: usize) -> Result<Decision, Fault> {
    match convert::decision(decided) {
        Decision::Drop(reason) => {
            within(reason.len(), limit)?;
            Ok(Decision::Drop(sentence(reason)))
        }
        Decision::Keep(events) => {
            within(events.iter().map(event_size).sum(), limit)?;
            let [event] = events.as_slice() else {
                return Err(bad_output(format!(
                    "it kept {} events; this gateway takes exactly one (to drop it, answer `drop`)",
                    events.len()
                )));
            };
            check_event(event, given)?;
            Ok(Decision::Keep(events))
        }
    }
}

fn check_event(event: &PluginEvent, given: &PluginEvent) -> Result<(), Fault> {
    if event.id != given.id {
        return Err(bad_output("it changed the event's id, which receivers tell duplicates by"));
    }
    if event.event_type != given.event_type {
        match EventType::parse(&event.event_type) {
            Err(error) => return Err(bad_output(format!("the event's type is not one: {error}"))),
            Ok(own) if own.is_reserved() => {
                return Err(bad_output("the event's type begins with `hookmill.`, which is the gateway's own"));
            }
            Ok(_) => {}
        }
    }
    if event.timestamp != given.timestamp && event.timestamp.parse::<Timestamp>().is_err() {
        return Err(bad_output("the event's timestamp is not RFC 3339"));
    }
    // What comes back as it went in was checked when it came in.
    if event.data != given.data {
        if let Err(error) = serde_json::from_str::<&RawValue>(&event.data) {
            return Err(bad_output(format!("the event's data is not JSON: {error}")));
        }
        if nesting::is_too_deep(&event.data) {
            let message = format!("the event's data is nested deeper than {} levels", nesting::MAX_DEPTH);
            return Err(bad_output(message));
        }
    }
    Ok(())
}

/// A connector's request.
pub(super) fn rendered(outcome: connector::Outcome, limit: usize) -> Result<Rendered, Fault> {
    match convert::rendered(outcome) {
        Rendered::Drop(reason) => {
            within(reason.len(), limit)?;
            Ok(Rendered::Drop(sentence(reason)))
        }
        Rendered::Send(requests) => {
            within(requests.iter().map(request_size).sum(), limit)?;
            let [request] = requests.as_slice() else {
                return Err(bad_output(format!(
                    "it made {} requests; this gateway takes exactly one (to send none, answer `drop`)",
                    requests.len()
                )));
            };
            check_request(request)?;
            Ok(Rendered::Send(requests))
        }
    }
}

fn check_request(request: &PluginRequest) -> Result<(), Fault> {
    if !METHODS.contains(&request.method.as_str()) {
        let method = sentence(request.method.clone());
        return Err(bad_output(format!(
            "its request's method is {method:?}; it must be one of {}",
            METHODS.join(", ")
        )));
    }
    if request.headers.len() > HEADERS {
        return Err(bad_output(format!(
            "its request has {} headers; at most {HEADERS} are sent",
            request.headers.len()
        )));
    }
    if let Some((name, _)) = request.headers.iter().find(|(name, _)| !is_token(name)) {
        return Err(bad_output(format!("its request's header name {:?} is not one", sentence(name.clone()))));
    }
    if let Some((name, _)) = request.headers.iter().find(|(_, value)| !is_header_value(value)) {
        return Err(bad_output(format!("its request's header {name} has a control character in its value")));
    }
    if !is_header_value(&request.content_type) {
        return Err(bad_output("its request's content type has a control character in it"));
    }
    Ok(())
}

/// A connector's reading of an answer to a request of `count` events.
pub(super) fn verdicts(verdicts: connector::Verdicts, count: u32, limit: usize) -> Result<Verdicts, Fault> {
    match convert::verdicts(verdicts) {
        Verdicts::All(verdict) => {
            within(verdict_size(&verdict), limit)?;
            Ok(Verdicts::All(shorten(verdict)))
        }
        Verdicts::Each(each) => {
            within(each.iter().map(verdict_size).sum(), limit)?;
            if u32::try_from(each.len()) != Ok(count) {
                return Err(bad_output(format!("it gave {} verdicts for {count} events", each.len())));
            }
            Ok(Verdicts::Each(each.into_iter().map(shorten).collect()))
        }
    }
}

fn shorten(verdict: PluginVerdict) -> PluginVerdict {
    match verdict {
        PluginVerdict::Rejected(reason) => PluginVerdict::Rejected(sentence(reason)),
        PluginVerdict::Gone(reason) => PluginVerdict::Gone(sentence(reason)),
        PluginVerdict::Unknown(reason) => PluginVerdict::Unknown(sentence(reason)),
        PluginVerdict::Delivered | PluginVerdict::Retry { .. } => verdict,
    }
}

fn within(size: usize, limit: usize) -> Result<(), Fault> {
    if size <= limit {
        return Ok(());
    }
    Err(fault(FaultKind::OutputTooLarge, format!("it gave back {size} bytes; at most {limit} are allowed")))
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// RFC 9110, section 5.5, without the control characters that would end the line.
fn is_header_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

fn pairs_size(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn event_size(event: &PluginEvent) -> usize {
    let texts = [&event.id, &event.event_type, &event.source, &event.timestamp, &event.data];
    texts.iter().map(|text| text.len()).sum::<usize>() + pairs_size(&event.attributes)
}

fn request_size(request: &PluginRequest) -> usize {
    let body = match &request.body {
        PluginPayload::Text(text) => text.len(),
        PluginPayload::Bytes(bytes) => bytes.len(),
    };
    let url = request.url.as_ref().map_or(0, String::len);
    request.method.len() + url + pairs_size(&request.headers) + body + request.content_type.len()
}

fn verdict_size(verdict: &PluginVerdict) -> usize {
    match verdict {
        PluginVerdict::Rejected(reason) | PluginVerdict::Gone(reason) | PluginVerdict::Unknown(reason) => reason.len(),
        PluginVerdict::Delivered | PluginVerdict::Retry { .. } => 0,
    }
}
