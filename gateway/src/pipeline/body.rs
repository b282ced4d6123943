//! The body of a request: an envelope around the event, or what a connector made; and the secrets in it.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;

use super::{envelope, js};
use crate::domain::{BodyFormat, Delivery, DeliveryId, Envelope, Event, Frozen, Secret, SubscriptionSpec};
use crate::profiles::Frame;
use crate::registry::{PLACEHOLDER, PLACEHOLDER_DIGITS, Plan};

/// What is to be sent, before it is wrapped and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The event as it came.
    Kept,
    /// The event as the transforms left it: type, time and data.
    Changed { event_type: String, timestamp: String, data: String },
    /// A connector's request.
    Made { method: String, url: Option<String>, headers: Vec<(String, String)>, content_type: String, body: Vec<u8> },
}

impl Content {
    /// For keeping; `None` where it can be had from the event again.
    pub(super) fn freeze(&self, plugins: Vec<(String, crate::domain::Digest)>) -> Option<Frozen> {
        match self {
            Self::Kept => None,
            Self::Changed { event_type, timestamp, data } => Some(Frozen {
                method: None,
                url: None,
                headers: Vec::new(),
                content_type: String::new(),
                body: data.clone().into_bytes(),
                event_type: event_type.clone(),
                timestamp: timestamp.clone(),
                plugins,
            }),
            Self::Made { method, url, headers, content_type, body } => Some(Frozen {
                method: Some(method.clone()),
                url: url.clone(),
                headers: headers.clone(),
                content_type: content_type.clone(),
                body: body.clone(),
                event_type: String::new(),
                timestamp: String::new(),
                plugins,
            }),
        }
    }

    /// The other way.
    pub(super) fn thaw(frozen: &Frozen) -> Self {
        match &frozen.method {
            None => Self::Changed {
                event_type: frozen.event_type.clone(),
                timestamp: frozen.timestamp.clone(),
                data: String::from_utf8_lossy(&frozen.body).into_owned(),
            },
            Some(method) => Self::Made {
                method: method.clone(),
                url: frozen.url.clone(),
                headers: frozen.headers.clone(),
                content_type: frozen.content_type.clone(),
                body: frozen.body.clone(),
            },
        }
    }
}

/// Which attempt at which delivery a request is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) delivery: DeliveryId,
    /// The number of the attempt; the first is 1.
    pub(super) attempt: u32,
}

/// The bytes and the content type that a subscription without a connector sends for this.
pub(super) fn wrap(plan: &Plan, event: &Event, content: &Content, sending: Sending) -> (Bytes, HeaderValue) {
    let Some(own) = plan.envelope() else {
        let (text, content_type) = plain(&plan.spec, event, content);
        return (text, HeaderValue::from_static(content_type));
    };
    let text = viewed(event, content, |view| {
        own.render(&Frame {
            event_id: &event.public_id(),
            event_type: view.event_type,
            timestamp: view.timestamp,
            source: event.source.as_deref().unwrap_or_default(),
            subscription_id: &plan.subscription.id.to_string(),
            delivery_id: &sending.delivery.to_string(),
            attempt: sending.attempt,
            data: view.data,
        })
    });
    (spelled(plan.spec.body_format(), text), plan.content_type.clone())
}

/// The same in one of the gateway's own envelopes.
fn plain(spec: &SubscriptionSpec, event: &Event, content: &Content) -> (Bytes, &'static str) {
    let (text, content_type) = viewed(event, content, |view| match spec.envelope() {
        // A profile's is written by the plan that has it.
        Envelope::Standard | Envelope::Profile => (envelope::standard(view), "application/json"),
        Envelope::None => (view.data.to_owned(), "application/json"),
        Envelope::Cloudevents => (envelope::cloudevents(view), "application/cloudevents+json; charset=utf-8"),
    });
    (spelled(spec.body_format(), text), content_type)
}

fn viewed<T>(event: &Event, content: &Content, write: impl FnOnce(&envelope::View<'_>) -> T) -> T {
    let time = crate::domain::rfc3339(event.timestamp);
    let (event_type, timestamp, data) = match content {
        Content::Changed { event_type, timestamp, data } => (event_type.as_str(), timestamp.as_str(), data.as_str()),
        _ => (event.event_type.as_str(), time.as_str(), &*event.data),
    };
    write(&envelope::View { event, event_type, timestamp, data })
}

fn spelled(format: BodyFormat, text: String) -> Bytes {
    Bytes::from(match format {
        BodyFormat::Kept => text,
        BodyFormat::Js => js::stringify(&text),
    })
}

/// The event with the id that receivers of a delivery see, where that is another.
pub(super) fn with_id_of(delivery: &Delivery, event: &Event) -> Option<Event> {
    delivery.fresh_id.then(|| Event { external_id: Some(delivery.message_id().into()), ..event.clone() })
}

/// The body of a recorded attempt that was kept by reference: made again from the event, what the transforms
/// left, and the subscription as it was. None is kept so that was sent under a profile, which may be another by now.
#[must_use]
pub fn body_of(spec: &SubscriptionSpec, event: &Event, delivery: &Delivery) -> Bytes {
    let as_sent = with_id_of(delivery, event);
    let event = as_sent.as_ref().unwrap_or(event);
    let frozen: Option<&Frozen> = delivery.frozen.as_deref();
    match frozen.map(Content::thaw) {
        Some(Content::Made { body, .. }) => Bytes::from(body),
        Some(content) => plain(spec, event, &content).0,
        None => plain(spec, event, &Content::Kept).0,
    }
}

/// How a secret is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Url,
    Header,
    Json,
    Text,
}

/// Puts secrets in the place of their placeholders, in one pass: a secret that looks like a placeholder stays.
pub(super) fn fill<'a>(text: &'a str, secrets: &[(String, Secret)], place: Place) -> Cow<'a, str> {
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    replaced(text, |out, from| {
        let (stand_in, secret) = secrets.iter().find(|(stand_in, _)| from.starts_with(stand_in.as_str()))?;
        write(out, secret.expose(), place);
        Some(stand_in.len())
    })
}

/// A plugin's output fit for reading: what stands for secrets in it is masked.
pub(super) fn without_placeholders(text: &str) -> Cow<'_, str> {
    replaced(text, |out, from| {
        let placeholder = whole(from)?;
        out.push_str("<redacted>");
        Some(placeholder.len())
    })
}

/// Whether a placeholder is left that none of these secrets fills.
pub(super) fn is_stale(text: &[u8], secrets: &[(String, Secret)]) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut found = text.match_indices(PLACEHOLDER).filter_map(|(at, _)| whole(&text[at..]));
    found.any(|placeholder| !secrets.iter().any(|(stand_in, _)| stand_in == placeholder))
}

/// The placeholder that this text begins with, if it is more than the beginning of one.
fn whole(text: &str) -> Option<&str> {
    let placeholder = text.get(..PLACEHOLDER.len() + PLACEHOLDER_DIGITS)?;
    placeholder[PLACEHOLDER.len()..].bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(placeholder)
}

/// The text with other words where `put` finds a placeholder: it gets the text from there, and writes what is to stand
/// in the place of as many bytes of it as it says; `None` if that stays.
fn replaced(text: &str, put: impl Fn(&mut String, &str) -> Option<usize>) -> Cow<'_, str> {
    if !text.contains(PLACEHOLDER) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(PLACEHOLDER) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let taken = put(&mut out, from).unwrap_or_else(|| {
            out.push_str(PLACEHOLDER);
            PLACEHOLDER.len()
        });
        rest = &from[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn write(out: &mut String, secret: &str, place: Place) {
    match place {
        Place::Header | Place::Text => out.push_str(secret),
        Place::Url => out.extend(percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)),
        Place::Json => {
            let quoted = serde_json::Value::from(secret).to_string();
            out.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default());
        }
    }
}

const MASK: &[u8] = b"<redacted>";

/// Masks secrets that an endpoint echoes, before anything sees them.
pub(super) fn mask(text: &mut Vec<u8>, secrets: &[Secret]) {
    for secret in secrets {
        let secret = secret.expose().as_bytes();
        // Shorter ones would mask by chance, and are no secrets.
        if secret.len() < 6 {
            continue;
        }
        let mut from = 0;
        while let Some(at) =
            text.get(from..).and_then(|rest| rest.windows(secret.len()).position(|part| part == secret))
        {
            text.splice(from + at..from + at + secret.len(), MASK.iter().copied());
            from += at + MASK.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Vec<(String, Secret)> {
        vec![(format!("{PLACEHOLDER}{}", "0".repeat(32)), Secret::new("a\"b/c\\".to_owned()))]
    }

    #[test]
    fn secrets_are_escaped_for_where_they_stand() {
        let text = format!("x {PLACEHOLDER}{} y", "0".repeat(32));
        assert_eq!(fill(&text, &secrets(), Place::Text), "x a\"b/c\\ y");
        assert_eq!(fill(&text, &secrets(), Place::Json), "x a\\\"b/c\\\\ y");
        assert_eq!(fill(&text, &secrets(), Place::Url), "x a%22b%2Fc%5C y");
    }

    #[test]
    fn what_is_no_placeholder_stays_and_is_told_from_a_stale_one() {
        let other = format!("{PLACEHOLDER}{}", "f".repeat(32));
        assert_eq!(fill(&other, &secrets(), Place::Text), other);
        assert!(is_stale(other.as_bytes(), &secrets()));
        assert!(!is_stale(PLACEHOLDER.as_bytes(), &secrets()));
        assert!(!is_stale(secrets()[0].0.as_bytes(), &secrets()));
        assert_eq!(without_placeholders(&format!("a{other}b{PLACEHOLDER}")), format!("a<redacted>b{PLACEHOLDER}"));
    }

    #[test]
    fn echoed_secrets_are_masked() {
        let mut text = b"token a\"b/c\\ and a\"b/c\\!".to_vec();
        mask(&mut text, &[secrets().remove(0).1]);
        assert_eq!(text, b"token <redacted> and <redacted>!");
        let mut text = b"redacted".to_vec();
        mask(&mut text, &[Secret::new("redacted".to_owned())]);
        assert_eq!(text, MASK, "the mask itself is not masked again");
    }
}
