//! What was posted, read once: one event, an array, NDJSON, or CloudEvents in its three modes.
//!
//! `data` is cut out of the body as the text it is; nothing in it is interpreted here, only its depth is
//! bounded.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Pipeline;
use crate::domain::nesting::{MAX_DEPTH, is_too_deep};
use crate::domain::pointer::escape;
use crate::domain::{EventType, FieldError, SourceId};

/// The longest `source`, in bytes.
const SOURCE: usize = 1024;
/// The longest extension attribute, in bytes.
const ATTRIBUTE: usize = 4096;

/// An event, before it is one: what a client said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The client's id.
    pub external_id: Option<String>,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub timestamp: Option<Timestamp>,
    /// Who says so.
    pub source: Option<String>,
    /// The source it came through.
    pub source_id: Option<SourceId>,
    /// JSON text.
    pub data: Box<str>,
    /// Extensions and kept headers.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// What makes it the same as an earlier one, unless that is `external_id`.
    pub dedupe: Option<String>,
    /// How long it stays so; the configured window unless given.
    pub dedupe_window: Option<Duration>,
}

/// What was posted.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// One event.
    One(NewEvent),
    /// Several, each judged for itself.
    Many(Vec<Result<NewEvent, ItemError>>),
}

/// Why something posted is no event.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemError {
    /// Which kind of problem.
    pub problem: IngestProblem,
    /// What is wrong and what to do.
    pub detail: String,
    /// Where.
    pub errors: Vec<FieldError>,
}

/// Kinds of problems with what was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestProblem {
    /// Not JSON at all.
    Unparsable,
    /// JSON, but not an event.
    Invalid,
    /// A type that is the gateway's own.
    ReservedType,
    /// A content type that is not taken here.
    UnsupportedMediaType,
    /// More events than a batch may have.
    TooMany,
}

/// Bounds of what may be posted.
#[derive(Debug, Clone)]
pub struct ParseLimits {
    /// Events in a batch.
    pub batch: usize,
}

impl ItemError {
    pub(super) fn new(problem: IngestProblem, detail: impl Into<String>) -> Self {
        Self { problem, detail: detail.into(), errors: Vec::new() }
    }

    /// An event that is not valid, and where.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let reserved = errors.iter().any(|error| error.detail.contains("reserved"));
        let problem = if reserved { IngestProblem::ReservedType } else { IngestProblem::Invalid };
        Self { problem, detail: "the event is not valid".to_owned(), errors }
    }

    fn unparsable(error: &serde_json::Error) -> Self {
        Self::new(IngestProblem::Unparsable, format!("the body is not JSON: {error}"))
    }
}

impl Pipeline {
    /// Reads a body posted to `/v1/events`.
    ///
    /// # Errors
    /// If it is nothing that holds events; single bad items of a batch are reported in [`Incoming::Many`].
    pub fn parse(
        content_type: Option<&str>,
        headers: &HeaderMap,
        body: &Bytes,
        limits: &ParseLimits,
    ) -> Result<Incoming, ItemError> {
        let media = content_type.unwrap_or("application/json");
        let media = media.split(';').next().unwrap_or(media).trim().to_ascii_lowercase();
        match media.as_str() {
            "application/cloudevents+json" => structured(body).map(Incoming::One),
            "application/cloudevents-batch+json" => many(list(body)?, limits, structured),
            _ if media.starts_with("application/cloudevents") => Err(ItemError::new(
                IngestProblem::UnsupportedMediaType,
                "CloudEvents are taken as application/cloudevents+json, application/cloudevents-batch+json, or with ce- headers",
            )),
            _ if headers.contains_key("ce-specversion") => binary(headers, &media, body).map(Incoming::One),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                let lines: Vec<&[u8]> =
                    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
                many(lines, limits, plain)
            }
            "application/json" | "text/json" if body.trim_ascii_start().first() == Some(&b'[') => {
                many(list(body)?, limits, plain)
            }
            "application/json" | "text/json" => plain(body).map(Incoming::One),
            other => Err(ItemError::new(
                IngestProblem::UnsupportedMediaType,
                format!("`{other}` is not taken here; post application/json, application/x-ndjson or CloudEvents"),
            )),
        }
    }
}

fn list(body: &[u8]) -> Result<Vec<&[u8]>, ItemError> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| ItemError::unparsable(&error))?;
    Ok(items.into_iter().map(|item| item.get().as_bytes()).collect())
}

fn many(
    items: Vec<&[u8]>,
    limits: &ParseLimits,
    read: impl Fn(&[u8]) -> Result<NewEvent, ItemError>,
) -> Result<Incoming, ItemError> {
    if items.is_empty() {
        return Err(ItemError::new(IngestProblem::Invalid, "the batch is empty"));
    }
    if items.len() > limits.batch {
        return Err(ItemError::new(
            IngestProblem::TooMany,
            format!("a batch holds at most {} events; this one has {}", limits.batch, items.len()),
        ));
    }
    Ok(Incoming::Many(items.into_iter().map(read).collect()))
}

/// The fields of a JSON object, each as the text it is.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(6);
                while let Some(Name(name)) = map.next_key()? {
                    let value: &RawValue = map.next_value()?;
                    if fields.iter().any(|(other, _)| *other == name) {
                        return Err(serde::de::Error::custom(format!("the field `{name}` stands there twice")));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

fn fields(body: &[u8]) -> Result<Fields<'_>, ItemError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            ItemError::invalid(vec![FieldError::new("", format!("an event is a JSON object: {error}"))])
        }
        _ => ItemError::unparsable(&error),
    })
}

/// `{id?,type,timestamp?,source?,data}`.
fn plain(body: &[u8]) -> Result<NewEvent, ItemError> {
    let mut reading = Reading::default();
    for (name, value) in fields(body)?.0 {
        match &*name {
            "id" => reading.id(value, "/id"),
            "type" => reading.event_type(value),
            "timestamp" => reading.time(value, "/timestamp"),
            "source" => reading.source = reading.text(value, "/source", SOURCE),
            "data" => reading.data(value),
            other => reading.refuse(
                format!("/{}", pointer(other)),
                "no such field; an event has `id`, `type`, `timestamp`, `source` and `data`",
            ),
        }
    }
    reading.finish(true)
}

/// A CloudEvent in structured mode (cloudevents/spec, `json-format.md`).
fn structured(body: &[u8]) -> Result<NewEvent, ItemError> {
    let mut reading = Reading::default();
    let mut media = None;
    let mut base64 = None;
    let mut version = false;
    for (name, value) in fields(body)?.0 {
        if value.get() == "null" {
            continue;
        }
        match &*name {
            "specversion" => {
                version = true;
                if reading.text(value, "/specversion", 8).as_deref() != Some("1.0") {
                    reading.refuse("/specversion", "only CloudEvents 1.0 is taken");
                }
            }
            "id" => reading.id(value, "/id"),
            "type" => reading.event_type(value),
            "time" => reading.time(value, "/time"),
            "source" => reading.source = reading.text(value, "/source", SOURCE),
            "datacontenttype" => media = reading.text(value, "/datacontenttype", 256),
            "data" => reading.data(value),
            "data_base64" => base64 = reading.text(value, "/data_base64", usize::MAX),
            extension => {
                let at = format!("/{}", pointer(extension));
                let text = match value.get().as_bytes().first() {
                    Some(b'"') => reading.text(value, &at, ATTRIBUTE),
                    Some(b'{' | b'[') | None => {
                        reading.refuse(at, "an extension attribute is a text, a number or a boolean");
                        None
                    }
                    _ => Some(value.get().to_owned()),
                };
                if let Some(text) = text {
                    reading.attributes.push((extension.into(), text.into()));
                }
            }
        }
    }
    if !version {
        reading.refuse("/specversion", "a CloudEvent says its `specversion`: \"1.0\"");
    }
    if let Some(base64) = base64 {
        match STANDARD.decode(&base64) {
            Ok(bytes) if reading.data.is_none() => reading.data = Some(wrap(media.as_deref(), &bytes)),
            Ok(_) => reading.refuse("/data_base64", "a CloudEvent has `data` or `data_base64`, not both"),
            Err(error) => reading.refuse("/data_base64", format!("not base64: {error}")),
        }
    }
    reading.finish_cloudevent()
}

/// A CloudEvent in binary mode (cloudevents/spec, `http-protocol-binding.md`): attributes in headers, the data
/// in the body.
fn binary(headers: &HeaderMap, media: &str, body: &[u8]) -> Result<NewEvent, ItemError> {
    let mut reading = Reading::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let at = format!("/{name}");
        let Some(text) = decode_header(value.as_bytes()) else {
            reading.refuse(at, "not a header value as CloudEvents writes them: percent-encoded UTF-8");
            continue;
        };
        match name {
            "specversion" if text == "1.0" => {}
            "specversion" => reading.refuse(at, "only CloudEvents 1.0 is taken"),
            "id" => reading.id_text(text, "/id"),
            "type" => reading.type_text(&text),
            "time" => reading.time_text(&text, "/time"),
            "source" => reading.source = reading.short(text, "/source", SOURCE),
            _ => {
                if let Some(text) = reading.short(text, &at, ATTRIBUTE) {
                    reading.attributes.push((name.into(), text.into()));
                }
            }
        }
    }
    if !body.is_empty() {
        if is_json(media) {
            let value: &RawValue = serde_json::from_slice(body).map_err(|error| ItemError::unparsable(&error))?;
            reading.data(value);
        } else {
            reading.data = Some(wrap(Some(media), body));
        }
    }
    reading.finish_cloudevent()
}

/// Percent-decoded exactly once, and only if that gives UTF-8.
fn decode_header(value: &[u8]) -> Option<String> {
    percent_encoding::percent_decode(value).decode_utf8().ok().map(Cow::into_owned)
}

pub(super) fn is_json(media: &str) -> bool {
    media.is_empty() || media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// Whether a client's id can be one.
pub(super) fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What is not JSON, as JSON: `{"raw"|"raw_base64":…,"content_type":…}`.
pub(super) fn wrap(media: Option<&str>, bytes: &[u8]) -> Box<str> {
    let content_type = media.unwrap_or("application/octet-stream");
    if is_json(content_type)
        && let Ok(value) = serde_json::from_slice::<&RawValue>(bytes)
    {
        return value.get().into();
    }
    let (name, text) = match std::str::from_utf8(bytes) {
        Ok(text) => ("raw", text.to_owned()),
        Err(_) => ("raw_base64", STANDARD.encode(bytes)),
    };
    serde_json::json!({ name: text, "content_type": content_type }).to_string().into()
}

/// One segment of a JSON Pointer.
fn pointer(segment: &str) -> String {
    escape(&segment.chars().take(64).collect::<String>())
}

#[derive(Default)]
struct Reading {
    external_id: Option<String>,
    event_type: Option<EventType>,
    timestamp: Option<Timestamp>,
    source: Option<String>,
    data: Option<Box<str>>,
    attributes: Vec<(Box<str>, Box<str>)>,
    errors: Vec<FieldError>,
}

impl Reading {
    fn refuse(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, detail));
    }

    fn text(&mut self, value: &RawValue, at: &str, most: usize) -> Option<String> {
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) => self.short(text, at, most),
            Err(_) => {
                self.refuse(at, "must be a text");
                None
            }
        }
    }

    fn short(&mut self, text: String, at: &str, most: usize) -> Option<String> {
        if text.len() <= most {
            return Some(text);
        }
        self.refuse(at, format!("at most {most} bytes"));
        None
    }

    fn id(&mut self, value: &RawValue, at: &str) {
        if let Some(text) = self.text(value, at, usize::MAX) {
            self.id_text(text, at);
        }
    }

    fn id_text(&mut self, text: String, at: &str) {
        if is_id(&text) {
            self.external_id = Some(text);
        } else {
            self.refuse(at, "an id is 1 to 256 bytes without control characters");
        }
    }

    fn event_type(&mut self, value: &RawValue) {
        if let Some(text) = self.text(value, "/type", usize::MAX) {
            self.type_text(&text);
        }
    }

    fn type_text(&mut self, text: &str) {
        match EventType::parse(text) {
            Ok(event_type) if event_type.is_reserved() => {
                self.refuse("/type", "types that begin with `hookmill.` are reserved for the gateway's own events");
            }
            Ok(event_type) => self.event_type = Some(event_type),
            Err(error) => self.refuse("/type", error.to_string()),
        }
    }

    fn time(&mut self, value: &RawValue, at: &str) {
        if let Some(text) = self.text(value, at, 64) {
            self.time_text(&text, at);
        }
    }

    fn time_text(&mut self, text: &str, at: &str) {
        match text.parse() {
            Ok(time) => self.timestamp = Some(time),
            Err(_) => self.refuse(at, "a time is RFC 3339, such as 2026-01-25T14:30:00.000Z"),
        }
    }

    fn data(&mut self, value: &RawValue) {
        if is_too_deep(value.get()) {
            self.refuse("/data", format!("nested deeper than {MAX_DEPTH} levels"));
        } else {
            self.data = Some(value.get().into());
        }
    }

    fn finish_cloudevent(mut self) -> Result<NewEvent, ItemError> {
        if self.external_id.is_none() && !self.errors.iter().any(|error| error.pointer == "/id") {
            self.refuse("/id", "a CloudEvent has an `id`");
        }
        if self.source.as_ref().is_none_or(String::is_empty) {
            self.refuse("/source", "a CloudEvent has a `source`");
        }
        self.finish(false)
    }

    fn finish(mut self, needs_data: bool) -> Result<NewEvent, ItemError> {
        let said = |errors: &[FieldError], at: &str| errors.iter().any(|error| error.pointer == at);
        if self.event_type.is_none() && !said(&self.errors, "/type") {
            self.refuse("/type", "an event has a `type`");
        }
        if self.data.is_none() && !said(&self.errors, "/data") {
            if needs_data {
                self.refuse("/data", "an event has `data`; write null if there is none");
            } else {
                self.data = Some("null".into());
            }
        }
        match (self.event_type, self.data) {
            (Some(event_type), Some(data)) if self.errors.is_empty() => Ok(NewEvent {
                external_id: self.external_id,
                event_type,
                timestamp: self.timestamp,
                source: self.source,
                source_id: None,
                data,
                attributes: self.attributes,
                dedupe: None,
                dedupe_window: None,
            }),
            _ => Err(ItemError::invalid(self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(media: &str, headers: &[(&'static str, &'static str)], body: &str) -> Result<Incoming, ItemError> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let body = Bytes::copy_from_slice(body.as_bytes());
        Pipeline::parse(Some(media), &headers, &body, &ParseLimits { batch: 3 })
    }

    fn one(read: Result<Incoming, ItemError>) -> NewEvent {
        match read.unwrap() {
            Incoming::One(event) => event,
            Incoming::Many(_) => panic!("a batch"),
        }
    }

    #[test]
    fn data_is_kept_byte_by_byte() {
        let event = one(read(
            "application/json",
            &[],
            "{\"type\":\"a.b\", \"data\" : { \"n\" : 1.0,\n\"big\":123456789012345678901234567890 } ,\"id\":\"x\"}",
        ));
        assert_eq!(&*event.data, "{ \"n\" : 1.0,\n\"big\":123456789012345678901234567890 }");
        assert_eq!(event.external_id.as_deref(), Some("x"));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (body, problem, at) in [
            ("{", IngestProblem::Unparsable, None),
            ("", IngestProblem::Unparsable, None),
            ("[1", IngestProblem::Unparsable, None),
            ("3", IngestProblem::Invalid, Some("")),
            ("{}", IngestProblem::Invalid, Some("/type")),
            (r#"{"type":"a"}"#, IngestProblem::Invalid, Some("/data")),
            (r#"{"type":"a b","data":1}"#, IngestProblem::Invalid, Some("/type")),
            (r#"{"type":7,"data":1}"#, IngestProblem::Invalid, Some("/type")),
            (r#"{"type":"a","data":1,"x/y":2}"#, IngestProblem::Invalid, Some("/x~1y")),
            (r#"{"type":"a","data":1,"timestamp":"yesterday"}"#, IngestProblem::Invalid, Some("/timestamp")),
            (r#"{"type":"a","data":1,"id":""}"#, IngestProblem::Invalid, Some("/id")),
            (r#"{"type":"hookmill.delivery.failed","data":1}"#, IngestProblem::ReservedType, Some("/type")),
            (r#"{"type":"a","type":"b","data":1}"#, IngestProblem::Invalid, Some("")),
        ] {
            let error = read("application/json", &[], body).unwrap_err();
            assert_eq!(error.problem, problem, "{body}: {error:?}");
            assert_eq!(error.errors.first().map(|error| error.pointer.as_str()), at, "{body}: {error:?}");
        }
        assert_eq!(read("text/plain", &[], "x").unwrap_err().problem, IngestProblem::UnsupportedMediaType);
    }

    #[test]
    fn a_batch_is_judged_item_by_item() {
        for (media, body) in [
            ("application/json", r#" [{"type":"a","data":1},{"type":"b"}]"#),
            ("application/x-ndjson", "{\"type\":\"a\",\"data\":1}\n\n{\"type\":\"b\"}\n"),
        ] {
            match read(media, &[], body).unwrap() {
                Incoming::Many(items) => assert!(items.len() == 2 && items[0].is_ok() && items[1].is_err()),
                Incoming::One(_) => panic!("one event"),
            }
        }
        assert_eq!(read("application/json", &[], "[1,2,3,4]").unwrap_err().problem, IngestProblem::TooMany);
        assert!(read("application/json", &[], "[]").is_err());
    }

    #[test]
    fn cloudevents_in_three_modes() {
        let structured = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","time":"2026-01-01T00:00:00Z","subject":"x","n":5,"data":{"a":1.0}}"#;
        let event = one(read("application/cloudevents+json; charset=utf-8", &[], structured));
        assert_eq!(
            (event.external_id.as_deref(), event.source.as_deref(), &*event.data),
            (Some("1"), Some("/s"), r#"{"a":1.0}"#)
        );
        assert_eq!(event.attributes, [("subject".into(), "x".into()), ("n".into(), "5".into())]);

        let headers =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s%C3%A9"), ("ce-type", "a.b"), ("ce-ext", "v")];
        let event = one(read("application/json", &headers, "[1.0]"));
        assert_eq!((event.source.as_deref(), &*event.data), (Some("/sé"), "[1.0]"));
        let event = one(read("text/plain", &headers, "hello"));
        assert_eq!(&*event.data, r#"{"raw":"hello","content_type":"text/plain"}"#);

        match read("application/cloudevents-batch+json", &[], &format!("[{structured}]")).unwrap() {
            Incoming::Many(items) => assert!(items[0].is_ok()),
            Incoming::One(_) => panic!("one event"),
        }
        let bad = [("ce-specversion", "1.0"), ("ce-id", "%C0%A0"), ("ce-source", "/s"), ("ce-type", "a.b")];
        assert_eq!(read("application/json", &bad, "1").unwrap_err().errors[0].pointer, "/id");
        assert!(read("application/cloudevents+json", &[], r#"{"id":"1","source":"/","type":"a"}"#).is_err());
        let both = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","data":1,"data_base64":"AA=="}"#;
        assert_eq!(read("application/cloudevents+json", &[], both).unwrap_err().errors[0].pointer, "/data_base64");
    }

    /// In headers as in JSON.
    #[test]
    fn cloudevents_attributes_are_bounded() {
        for (name, most) in [("source", SOURCE), ("ext", ATTRIBUTE)] {
            for (length, fits) in [(most, true), (most + 1, false)] {
                let mut attributes =
                    BTreeMap::from(["specversion", "id", "source", "type"].map(|name| (name, "1.0".to_owned())));
                attributes.insert(name, "x".repeat(length));
                let headers = attributes
                    .iter()
                    .map(|(name, value)| (format!("ce-{name}").parse().unwrap(), value.parse().unwrap()));
                let limits = ParseLimits { batch: 1 };
                let in_headers = Pipeline::parse(None, &headers.collect(), &Bytes::new(), &limits);
                let body = Bytes::from(serde_json::to_vec(&attributes).unwrap());
                let in_json = Pipeline::parse(Some("application/cloudevents+json"), &HeaderMap::new(), &body, &limits);
                for read in [in_headers, in_json] {
                    let at = read.err().map(|error| error.errors[0].pointer.clone());
                    assert_eq!(at, (!fits).then(|| format!("/{name}")), "{length}");
                }
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels: usize| format!(r#"{{"type":"a","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(read("application/json", &[], &deep(MAX_DEPTH)).is_ok());
        assert_eq!(read("application/json", &[], &deep(MAX_DEPTH + 1)).unwrap_err().errors[0].pointer, "/data");
    }

    proptest! {
        #[test]
        fn nothing_posted_panics(media in "application/(json|x-ndjson|cloudevents\\+json|cloudevents-batch\\+json)|.*", body: Vec<u8>, header in "[ -~]*") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = header.parse() {
                headers.insert("ce-specversion", value);
            }
            let _ = Pipeline::parse(Some(&media), &headers, &Bytes::from(body), &ParseLimits { batch: 10 });
        }

        #[test]
        fn json_like_bodies_do_not_panic(body in r#"[\[{"a-z:,1\\}\] ]{0,80}"#) {
            for media in ["application/json", "application/cloudevents+json"] {
                let _ = Pipeline::parse(Some(media), &HeaderMap::new(), &Bytes::from(body.clone()), &ParseLimits { batch: 10 });
            }
        }
    }
}
