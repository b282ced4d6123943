//! Runs candidates on what the steps got that they are tried beside, and compares what comes of it.
//!
//! One at a time, in the engine's place for calls that nobody waits for, and only while no other call waits for its
//! turn. Nothing of it is sent, and it is not charged to the tenant's processor time: where that is used up, the
//! comparison is given up.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;

use super::patch::{Json, Patch};
use super::rollout::{Job, Made};
use super::{Parts, body};
use crate::domain::{Decision, PluginEvent, PluginPayload, PluginRequest, Rendered, Secret};
use crate::engine::{Engine, Ran, Spent};
use crate::registry::Step;

/// How long it gives way at a time while others wait.
const GIVE_WAY: Duration = Duration::from_millis(2);

/// Starts the one who compares.
pub(super) fn start(parts: &Arc<Parts>) {
    tokio::spawn(go_on(parts.clone()));
}

async fn go_on(parts: Arc<Parts>) {
    let idle = parts.engine.idle();
    loop {
        let job = parts.rollouts.next().await;
        while parts.engine.is_busy() {
            tokio::time::sleep(GIVE_WAY).await;
        }
        // A panic is a bug of ours, and no reason to compare nothing any more.
        if AssertUnwindSafe(compare(&parts, &idle, &job)).catch_unwind().await.is_err() {
            tracing::error!(delivery_id = %job.delivery_id, "a comparison panicked");
            parts.rollouts.dropped(&job);
        }
    }
}

async fn compare(parts: &Parts, idle: &Engine, job: &Job) {
    let candidate = job.plan.step(job.place).and_then(Step::shadow);
    let (Some(step), None) = (candidate, parts.waits_for_cpu(&job.plan)) else {
        return parts.rollouts.dropped(job);
    };
    // As a delivery's: what is kept for the one must be kept for the other, or their times could not be compared.
    let (caller, input) = (job.plan.caller(), &job.shadowed.input);
    let (spent, made) = if job.place < job.plan.transforms.len() {
        let ran = idle.transform(&step.plugin, caller, input, &step.config).await;
        made(ran, |decision| match decision {
            Decision::Keep(events) => events.into_iter().next().map_or_else(nothing, Made::Event),
            Decision::Drop(reason) => Made::Dropped(reason),
        })
    } else {
        let ran = idle.render(&step.plugin, caller, std::slice::from_ref(input), &step.config).await;
        made(ran, |rendered| match rendered {
            Rendered::Send(requests) => requests.into_iter().next().map_or_else(nothing, Made::Request),
            Rendered::Drop(reason) => Made::Dropped(reason),
        })
    };
    let (plan, before) = (job.plan.clone(), job.shadowed.made.clone());
    // Large outputs take longer than others on this thread should wait.
    let patch = tokio::task::spawn_blocking(move || difference(&before, &made, &plan.leaving)).await;
    match patch {
        Ok(patch) => parts.rollouts.compared(job, spent, patch, parts.clock.now()),
        Err(error) => {
            tracing::error!(%error, "two outputs could not be compared");
            parts.rollouts.dropped(job);
        }
    }
}

/// The engine lets no empty list pass.
fn nothing() -> Made {
    Made::Dropped("it made nothing".to_owned())
}

fn made<T>(ran: Ran<T>, made: impl FnOnce(T) -> Made) -> (Spent, Made) {
    let spent = Spent::from(&ran);
    (spent, ran.result.map_or_else(|fault| Made::Faulted(fault.kind), made))
}

/// What leads from one output to the other; secrets, and what stands for them, are masked in it.
fn difference(before: &Made, after: &Made, secrets: &[Secret]) -> Patch {
    let (before, after) = (document(before), document(after));
    let masked = |text: &str| {
        let mut text = body::without_placeholders(text).into_owned().into_bytes();
        body::mask(&mut text, secrets);
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut patch = Patch::between(&masked(&before), &masked(&after));
    // Where only secrets differ there is nothing to show, and a difference all the same.
    patch.truncated |= patch.is_empty() && !Patch::between(&before, &after).is_empty();
    patch
}

/// An output as JSON: exactly one of these.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Document<'a> {
    Event {
        r#type: &'a str,
        source: &'a str,
        timestamp: &'a str,
        attributes: BTreeMap<&'a str, &'a str>,
        data: Json<'a>,
    },
    Request {
        method: &'a str,
        url: Option<&'a str>,
        headers: BTreeMap<&'a str, &'a str>,
        content_type: &'a str,
        body: Json<'a>,
    },
    Drop(&'a str),
    Fault(&'static str),
}

fn document(made: &Made) -> String {
    let document = match made {
        Made::Event(PluginEvent { event_type, source, timestamp, data, attributes, .. }) => Document::Event {
            r#type: event_type,
            source,
            timestamp,
            attributes: by_name(attributes),
            data: Json::of(data),
        },
        Made::Request(PluginRequest { method, url, headers, body, content_type }) => Document::Request {
            method,
            url: url.as_deref(),
            headers: by_name(headers),
            content_type,
            body: match body {
                PluginPayload::Text(text) => Json::of(text),
                PluginPayload::Bytes(bytes) => Json::of_bytes(bytes),
            },
        },
        Made::Dropped(reason) => Document::Drop(reason),
        Made::Faulted(kind) => Document::Fault(kind.as_str()),
    };
    // Texts and texts that are JSON: nothing that could not be written.
    serde_json::to_string(&document).unwrap_or_else(|error| Value::from(error.to_string()).to_string())
}

fn by_name(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FaultKind;
    use crate::registry::PLACEHOLDER;

    fn request(body: &str) -> Made {
        Made::Request(PluginRequest {
            method: "POST".into(),
            url: None,
            headers: vec![("x-a".into(), "1".into())],
            body: PluginPayload::Text(body.into()),
            content_type: "application/json".into(),
        })
    }

    #[test]
    fn outputs_are_compared_as_what_they_say() {
        let place = |before: &Made, after: &Made| {
            let patch = difference(before, after, &[]);
            patch.operations.iter().map(|operation| operation.path.clone()).collect::<Vec<_>>().join(" ")
        };
        for (before, after, places) in [
            (request(r#"{"a": 1}"#), request(r#"{"a":1}"#), ""),
            (request(r#"{"a":1}"#), request(r#"{"a":2}"#), "/request/body/a"),
            (request("text"), request("other"), "/request/body"),
            (request("1"), Made::Dropped("why".into()), "/request /drop"),
            (Made::Faulted(FaultKind::Time), Made::Faulted(FaultKind::Time), ""),
            (Made::Faulted(FaultKind::Time), Made::Faulted(FaultKind::Trap), "/fault"),
        ] {
            assert_eq!(place(&before, &after), places, "{before:?} and {after:?}");
        }
    }

    #[test]
    fn no_secret_is_in_a_difference() {
        let secret = "top-secret-token";
        let made = |digit: char, text: &str| {
            request(&format!(r#"{{"t":"{PLACEHOLDER}{}","s":"{text}"}}"#, digit.to_string().repeat(32)))
        };
        let secrets = [Secret::new(secret.to_owned())];
        let patch = difference(&made('0', "x"), &made('1', secret), &secrets);
        assert_eq!(patch.operations.len(), 1, "what stands for secrets is not shown");
        assert_eq!(patch.operations[0].value.as_deref(), Some(r#""<redacted>""#));
        let patch = difference(&made('0', "x"), &made('1', "x"), &secrets);
        assert!(patch.operations.is_empty() && !patch.is_empty(), "other secrets are another output");
    }
}
