//! One file, read: from TOML to a [`Profile`], with the line of every mistake.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::place::Page;
use super::profile::{DeliveryHalf, EventEntry, Profile, Sample, SecretUse, SourceHalf, Term};
use super::{Check, Envelope};
use crate::domain::pointer::escape;
use crate::domain::{EventType, FieldError, SourceSpec, SubscriptionSpec};
use crate::filter::{EventPattern, Path};

/// Most types of one catalogue.
const MOST_EVENTS: usize = 1_000;
/// Most samples of one type.
const MOST_SAMPLES: usize = 50;

/// What a source half may hold beside its hint: all that a source has and that is the product's rather than the user's.
const SOURCE_FIELDS: [&str; 6] = ["verification", "extract", "keep_headers", "response", "handshake", "dedupe_window"];

/// What a delivery half may hold of a subscription's fields.
const DELIVERY_FIELDS: [&str; 11] = [
    "signing",
    "envelope",
    "body_format",
    "headers",
    "forward_headers",
    "user_agent",
    "success",
    "retry_policy",
    "timeout",
    "rate_limit",
    "auth",
];

/// A mistake in a file.
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    title: String,
    about: String,
    documentation: Option<String>,
    #[serde(default)]
    terms: BTreeMap<Term, String>,
    source: Option<Map<String, Value>>,
    delivery: Option<Map<String, Value>>,
    /// JSON Schemas, as JSON texts, for entries to name.
    #[serde(default)]
    schemas: BTreeMap<String, String>,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    name: String,
    title: String,
    description: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    samples: Vec<RawSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSample {
    name: Option<String>,
    r#type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    query: Option<String>,
    body: String,
    id: Option<String>,
    time: Option<Timestamp>,
}

/// Reads a file's text and has it checked.
pub(super) fn read(text: &str, is_shipped: bool, check: Check<'_>) -> Result<Profile, Vec<Fault>> {
    let page = Page::parse(text).map_err(|(line, reason)| vec![Fault { line, reason }])?;
    profile(&page, is_shipped, check).map_err(|errors| {
        let fault = |error: FieldError| {
            let place = error.pointer.trim_start_matches('/').replace('/', ".");
            let reason = if place.is_empty() { error.detail } else { format!("`{place}`: {}", error.detail) };
            Fault { line: page.line(&error.pointer), reason }
        };
        errors.into_iter().map(fault).collect()
    })
}

fn profile(page: &Page, is_shipped: bool, check: Check<'_>) -> Result<Profile, Vec<FieldError>> {
    let Raw { name, title, about, documentation, terms, source, delivery, schemas, events: entries } =
        typed(page.value().map_err(|error| vec![error])?, "")?;
    let mut errors = Vec::new();
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        errors.push(FieldError::new("/name", "a profile's name is 1 to 64 characters of a-z 0-9 -"));
    }
    for (field, text) in [("title", &title), ("about", &about)] {
        if text.trim().is_empty() {
            errors.push(FieldError::new(format!("/{field}"), "say something"));
        }
    }
    let source = half(source.map(source_half), &mut errors);
    let delivery = half(delivery.map(delivery_half), &mut errors);
    if source.is_none() && delivery.is_none() && errors.is_empty() {
        errors.push(FieldError::new("", "a profile has a `source`, a `delivery`, or both"));
    }
    if entries.len() > MOST_EVENTS {
        errors.push(FieldError::new("/events", format!("at most {MOST_EVENTS} event types")));
    }
    let mut parsed = BTreeMap::new();
    for (name, text) in schemas {
        match serde_json::from_str::<Value>(&text) {
            Ok(schema) => {
                parsed.insert(name, schema);
            }
            Err(error) => {
                errors.push(FieldError::new(format!("/schemas/{}", escape(&name)), format!("not JSON: {error}")))
            }
        }
    }
    let mut names = HashSet::new();
    let mut events = Vec::with_capacity(entries.len());
    for (at, event) in entries.into_iter().enumerate() {
        if !names.insert(event.name.clone()) {
            errors.push(FieldError::new(format!("/events/{at}/name"), format!("`{}` is there already", event.name)));
        }
        events.push(entry(event, &parsed, &format!("/events/{at}"), &mut errors));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut profile = Profile { name, title, about, documentation, terms, source, delivery, events, is_shipped };
    let proven = check(&profile)?;
    for (entry, data) in profile.events.iter_mut().zip(proven) {
        for (sample, data) in entry.samples.iter_mut().zip(data) {
            sample.data = data;
        }
    }
    Ok(profile)
}

fn half<T>(read: Option<Result<T, Vec<FieldError>>>, errors: &mut Vec<FieldError>) -> Option<T> {
    match read? {
        Ok(half) => Some(half),
        Err(found) => {
            errors.extend(found);
            None
        }
    }
}

fn source_half(mut fields: Map<String, Value>) -> Result<SourceHalf, Vec<FieldError>> {
    let written = fields.clone();
    let secret_hint = taken(&mut fields, "secret_hint", "/source")?;
    only(&fields, &SOURCE_FIELDS, &["secret_hint"], "/source")?;
    let mut whole = fields.clone();
    whole.insert("name".to_owned(), Value::from("profile"));
    typed::<SourceSpec>(Value::Object(whole), "/source")?;
    Ok(SourceHalf { written, fields, secret_hint })
}

fn delivery_half(mut fields: Map<String, Value>) -> Result<DeliveryHalf, Vec<FieldError>> {
    const OWN: [&str; 4] = ["content_type", "secret", "unknown_prefix", "dedupe"];
    let at = "/delivery";
    let written = fields.clone();
    let content_type: Option<String> = taken(&mut fields, "content_type", at)?;
    let secret: Option<SecretUse> = taken(&mut fields, "secret", at)?;
    let unknown_prefix = taken(&mut fields, "unknown_prefix", at)?;
    let dedupe: Option<Vec<String>> = taken(&mut fields, "dedupe", at)?;
    let envelope = match fields.get("envelope") {
        Some(Value::Object(table)) => {
            let compiled = Envelope::compile(table).map_err(|errors| below(errors, "/delivery/envelope"))?;
            fields.shift_remove("envelope");
            Some(compiled)
        }
        _ => None,
    };
    only(&fields, &DELIVERY_FIELDS, &OWN, at)?;
    let mut whole = fields.clone();
    whole.insert("events".to_owned(), Value::from(vec!["*"]));
    typed::<SubscriptionSpec>(Value::Object(whole), at)?;
    let mut places = Vec::new();
    for (number, path) in dedupe.unwrap_or_default().iter().enumerate() {
        let wrong = |detail: String| vec![FieldError::new(format!("{at}/dedupe/{number}"), detail)];
        if !path.starts_with("$.") {
            return Err(wrong("a path into the event's data, such as \"$.request_id\"".to_owned()));
        }
        places.push(Path::parse(path).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(DeliveryHalf {
        written,
        fields,
        envelope,
        content_type,
        secret: secret.unwrap_or_default(),
        unknown_prefix,
        dedupe: places,
    })
}

fn entry(raw: RawEvent, schemas: &BTreeMap<String, Value>, at: &str, errors: &mut Vec<FieldError>) -> EventEntry {
    let mut fault = |place: &str, detail: String| errors.push(FieldError::new(format!("{at}{place}"), detail));
    let pattern = match EventPattern::parse(&raw.name) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            fault("/name", error.to_string());
            None
        }
    };
    if raw.title.trim().is_empty() {
        fault("/title", "say something".to_owned());
    }
    if let Some(name) = raw.schema.as_ref().filter(|name| !schemas.contains_key(*name)) {
        fault("/schema", format!("`{name}` is not among the `schemas`"));
    }
    if raw.samples.is_empty() {
        fault("", "give at least one sample of it ([[events.samples]])".to_owned());
    }
    if raw.samples.len() > MOST_SAMPLES {
        fault("/samples", format!("at most {MOST_SAMPLES} samples"));
    }
    let mut samples = Vec::with_capacity(raw.samples.len());
    for (index, sample) in raw.samples.into_iter().enumerate() {
        let event_type = sample.r#type.as_deref().unwrap_or(&raw.name);
        let Ok(event_type) = EventType::parse(event_type) else {
            fault(
                &format!("/samples/{index}"),
                format!("`{event_type}` is no event type; say in `type` which one the sample has"),
            );
            continue;
        };
        if pattern.as_ref().is_some_and(|pattern| !pattern.matches(event_type.as_str())) {
            fault(&format!("/samples/{index}/type"), format!("`{event_type}` is not matched by `{}`", raw.name));
        }
        let RawSample { name, headers, query, body, id, time, .. } = sample;
        let data = body.trim().into();
        samples.push(Sample { name, event_type, headers, query, body, id, time, data });
    }
    let schema = raw.schema.and_then(|name| schemas.get(&name).cloned());
    EventEntry { name: raw.name, title: raw.title, description: raw.description, schema, samples }
}

/// Takes a field of our own out of a half, so that the rest is only what the API knows.
fn taken<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
    at: &str,
) -> Result<Option<T>, Vec<FieldError>> {
    fields.shift_remove(name).map(|value| typed(value, &format!("{at}/{name}"))).transpose()
}

fn only(fields: &Map<String, Value>, known: &[&str], own: &[&str], at: &str) -> Result<(), Vec<FieldError>> {
    let names = || known.iter().chain(own).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let unknown = fields.keys().filter(|name| !known.contains(&name.as_str()));
    let errors: Vec<FieldError> = unknown
        .map(|name| FieldError::new(format!("{at}/{name}"), format!("not known here; there are {}", names())))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn below(errors: Vec<FieldError>, at: &str) -> Vec<FieldError> {
    errors.into_iter().map(|error| FieldError::new(format!("{at}{}", error.pointer), error.detail)).collect()
}

/// A JSON value as one of our types, or the first mistake and its place.
fn typed<T: DeserializeOwned>(value: Value, at: &str) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut pointer = at.to_owned();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
                // The variant's name is a value in our types, not a place.
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let detail = error.inner().to_string();
        // In an object that is told apart by a tag the reader stands at the object, not at the field.
        if let Some(field) = detail.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            let last = format!("/{}", escape(field));
            if !pointer.ends_with(&last) {
                pointer.push_str(&last);
            }
        }
        vec![FieldError::new(pointer, detail)]
    })
}
