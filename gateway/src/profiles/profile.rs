//! What a profile says, read and checked as far as this room can.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Envelope;
use crate::domain::{EventType, RESERVED_PREFIX, SourceSpec, SubscriptionSpec};
use crate::filter::{EventPattern, Path};

/// A product.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// What sources and subscriptions call it: 1 to 64 of `a-z 0-9 -`.
    pub name: String,
    /// The product's name.
    pub title: String,
    /// One or two sentences for whoever chooses.
    pub about: String,
    /// Where the product documents its webhooks.
    pub documentation: Option<String>,
    /// What the product's documentation calls our things.
    pub terms: BTreeMap<Term, String>,
    /// How a request from the product is verified and read; absent: it can't be a source.
    pub source: Option<SourceHalf>,
    /// How a subscription of that kind is signed, wrapped and retried; absent: it can't be stood in for.
    pub delivery: Option<DeliveryHalf>,
    /// The event types, in the product's order.
    pub events: Vec<EventEntry>,
    /// Whether it is compiled in.
    pub is_shipped: bool,
}

impl Profile {
    /// What a name in a subscription's `events` stands for: itself, or, where the product leaves a prefix out that the
    /// catalogue has, the same with it.
    #[must_use]
    pub fn meant_by<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(prefix) = self.delivery.as_ref().and_then(|half| half.unknown_prefix.as_deref()) else {
            return name.into();
        };
        let first = |name: &'a str| name.split('.').next().unwrap_or(name);
        let known = self.events.iter().any(|entry| entry.name.split('.').next() == Some(first(name)));
        match known || first(name) == "*" || name.starts_with(RESERVED_PREFIX) {
            true => name.into(),
            false => format!("{prefix}{name}").into(),
        }
    }

    /// The first sample whose type this pattern matches.
    #[must_use]
    pub fn sample(&self, pattern: &EventPattern) -> Option<&Sample> {
        let mut samples = self.events.iter().flat_map(|entry| &entry.samples);
        samples.find(|sample| pattern.matches(sample.event_type.as_str()))
    }
}

/// One of our things, which the product calls something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Term {
    /// What takes events in.
    Source,
    /// What happened.
    Event,
    /// Who wants to know.
    Subscription,
    /// One event owed to one subscription.
    Delivery,
    /// One try.
    Attempt,
    /// What both sides know.
    Secret,
}

/// How a request from the product is verified and read.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceHalf {
    /// All of it as it is written, for showing.
    pub written: Map<String, Value>,
    /// Fields of a source, over which a user's own are laid.
    pub fields: Map<String, Value>,
    /// Where a user finds the secret.
    pub secret_hint: Option<String>,
}

impl SourceHalf {
    /// A user's settings laid over this half: of `extract` each part, of the rest each field as a whole.
    ///
    /// # Errors
    /// If they do not go together, in the reader's words.
    pub fn under(&self, own: &SourceSpec) -> Result<SourceSpec, String> {
        let own = serde_json::to_value(own).map_err(|error| error.to_string())?;
        let mut whole = self.fields.clone();
        for (name, value) in own.as_object().into_iter().flatten() {
            match (whole.get_mut(name), value.as_object()) {
                (Some(Value::Object(parts)), Some(own)) if name == "extract" => parts.extend(own.clone()),
                _ => {
                    whole.insert(name.clone(), value.clone());
                }
            }
        }
        serde_json::from_value(Value::Object(whole)).map_err(|error| error.to_string())
    }
}

/// How a subscription of that kind is signed, wrapped and retried.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryHalf {
    /// All of it as it is written, for showing.
    pub written: Map<String, Value>,
    /// Fields of a subscription, over which a user's own are laid.
    pub fields: Map<String, Value>,
    /// The product's own envelope, where `fields` names none of the gateway's.
    pub envelope: Option<Envelope>,
    /// The `Content-Type` of its requests, to the letter; `application/json` unless given.
    pub content_type: Option<String>,
    /// What the secret that a user gives is for.
    pub secret: SecretUse,
    /// What a name in a subscription's `events` is given as prefix if neither it nor a pattern around it is in the
    /// catalogue: `purchase_complete` becomes `event.purchase_complete`.
    pub unknown_prefix: Option<String>,
    /// `extract`-like paths into the event's data that make two events of one type the same; an event that lacks one
    /// of them is never a duplicate. Empty: the event's id decides, as always.
    pub dedupe: Vec<Path>,
}

impl DeliveryHalf {
    /// A user's settings laid over this half: of `headers` and `retry_policy` each part, of the rest each field as a
    /// whole.
    ///
    /// # Errors
    /// If they do not go together, in the reader's words.
    pub fn under(&self, own: &SubscriptionSpec) -> Result<SubscriptionSpec, String> {
        let own = serde_json::to_value(own).map_err(|error| error.to_string())?;
        let mut whole = self.fields.clone();
        if self.envelope.is_some() {
            whole.insert("envelope".to_owned(), "profile".into());
        }
        for (name, value) in own.as_object().into_iter().flatten() {
            match (whole.get_mut(name), value.as_object()) {
                (Some(Value::Object(parts)), Some(own)) if name == "headers" => parts.extend(own.clone()),
                (Some(Value::Object(parts)), Some(own)) if name == "retry_policy" => retries(parts, own.clone()),
                _ => {
                    whole.insert(name.clone(), value.clone());
                }
            }
        }
        serde_json::from_value(Value::Object(whole)).map_err(|error| error.to_string())
    }
}

/// A user's retry policy laid over a product's. Waits of the user's own, listed or computed, take the place of the
/// product's; `max_retries` alone cuts those, and `exponential` beside them is what products call a list that grows.
fn retries(product: &mut Map<String, Value>, mut own: Map<String, Value>) {
    const WAITS: [&str; 6] = ["schedule", "max_retries", "backoff", "initial", "factor", "max_delay"];
    let lists = product.contains_key("schedule");
    let computes = own.get("backoff").is_some_and(|backoff| !lists || backoff != "exponential");
    if computes || ["schedule", "initial", "factor", "max_delay"].iter().any(|field| own.contains_key(*field)) {
        product.retain(|field, _| !WAITS.contains(&field.as_str()));
    } else {
        own.shift_remove("backoff");
    }
    product.extend(own);
}

/// What the secret that a user gives a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretUse {
    /// It signs.
    #[default]
    Signature,
    /// It is sent as `Authorization: Bearer …`; without one nothing is sent.
    Bearer,
}

/// A type of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct EventEntry {
    /// The type, or a pattern that stands for many.
    pub name: String,
    /// A few words.
    pub title: String,
    /// When it happens.
    pub description: Option<String>,
    /// JSON Schema (draft 2020-12) of its data, where the product gives one.
    pub schema: Option<Value>,
    /// At least one.
    pub samples: Vec<Sample>,
}

/// A request as the product makes it, and what is to be read from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What tells it from its entry's other samples.
    pub name: Option<String>,
    /// The type it has, where its entry's name is a pattern.
    pub event_type: EventType,
    /// Headers beside those that the signature needs.
    pub headers: BTreeMap<String, String>,
    /// What follows the `?` of the URL.
    pub query: Option<String>,
    /// The body, byte for byte.
    pub body: String,
    /// The id it has; `None`: the product gives none.
    pub id: Option<String>,
    /// When it happened; `None`: the product does not say.
    pub time: Option<Timestamp>,
    /// What is read from the body as the event's data: the body itself where there is no source half.
    pub data: Box<str>,
}
