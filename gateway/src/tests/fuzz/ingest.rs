//! What is posted: bodies, CloudEvents in headers, and a product's own webhooks.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;

use super::{Said, example, fuzz, headers, parts, shape, text};
use crate::domain::{EventType, Source, SourceId, SourceSpec, TenantId};
use crate::filter::{Document, Path, check_json};
use crate::pipeline::{Incoming, ItemError, NewEvent, ParseLimits, Pipeline};
use crate::registry::{From, Inlet, Part, Piece};

const LIMITS: ParseLimits = ParseLimits { batch: 20 };

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "\"id\":",
    "\"type\":\"a.b\"",
    "\"timestamp\":\"2026-01-01T00:00:00Z\"",
    "\"time\":\"2026-12-31T23:59:60.999999999+23:59\"",
    "\"source\":\"/s\"",
    "\"data\":",
    "\"specversion\":\"1.0\"",
    "\"data_base64\":\"AA==\"",
    "\"datacontenttype\":\"application/json\"",
    "hookmill.",
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "ce-specversion: 1.0\n",
    "ce-id: ",
    "ce-source: /s\n",
    "ce-type: a.b\n",
    "ce-time: ",
    "content-type: ",
    "x-topic: orders/paid\n",
    "%C3%A9",
    "\n",
    "a=1&a=2",
];

/// What holds of every event that is taken.
fn sound(event: &NewEvent) {
    assert_eq!(EventType::parse(event.event_type.as_str()).as_ref(), Ok(&event.event_type));
    assert!(!event.event_type.is_reserved());
    assert!(event.external_id.as_ref().is_none_or(|id| (1..=256).contains(&id.len())));
    check_json(&event.data).expect("its data is JSON to us");
    serde_json::from_str::<&serde_json::value::RawValue>(&event.data).expect("its data is JSON to others");
    let document = Document::new("evt_1", event.event_type.as_str(), "", None, &event.attributes, &event.data);
    document.root().expect("a filter can look into it");
    // Posted again as we would write it, it is the same event.
    let mut again = json!({"id": event.external_id, "type": event.event_type.as_str(), "source": event.source});
    again["timestamp"] = event.timestamp.map(|at| at.to_string()).into();
    let mut again = again.as_object().expect("it is one").clone();
    again.retain(|_, value| !value.is_null());
    let mut body = serde_json::to_string(&again).expect("it is JSON");
    body.pop();
    let body = Bytes::from(format!("{body},\"data\":{}}}", event.data));
    let again = match Pipeline::parse(None, &HeaderMap::new(), &body, &LIMITS) {
        Ok(Incoming::One(again)) => again,
        other => panic!("{}: {other:?}", text(&body)),
    };
    let wanted =
        NewEvent { attributes: Vec::new(), dedupe: None, source_id: None, data: again.data.clone(), ..event.clone() };
    assert_eq!(again, wanted);
    assert_eq!(&*again.data, event.data.trim_ascii());
}

fn said(read: Result<Incoming, ItemError>) -> Said {
    let refused = |error: &ItemError| {
        let detail = error.errors.first().map_or(&error.detail, |first| &first.detail);
        format!("{:?} {}", error.problem, shape(detail))
    };
    match read {
        Ok(Incoming::One(event)) => {
            sound(&event);
            let NewEvent { external_id, timestamp, source, .. } = &event;
            let there = [external_id.is_some(), timestamp.is_some(), source.is_some()];
            Ok(format!("{there:?} and {} attributes", event.attributes.len().min(3)))
        }
        Ok(Incoming::Many(items)) => {
            assert!(!items.is_empty() && items.len() <= LIMITS.batch);
            items.iter().flatten().for_each(sound);
            let good = items.iter().filter(|item| item.is_ok()).count();
            let first = items.iter().find_map(|item| item.as_ref().err()).map(refused);
            Ok(format!("{} of {}, {first:?}", good.min(3), items.len().min(3)))
        }
        Err(error) => Err(refused(&error)),
    }
}

#[test]
fn bodies() {
    const PLAIN: &str = r#"{"id":"order-1","type":"order.paid","timestamp":"2026-01-01T00:00:00Z","source":"shop","data":{"n":1.0,"é":["\u00e9",null]}}"#;
    const STRUCTURED: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","time":"2026-01-01T00:00:00Z","subject":"x","n":5,"data":{"a":1.0}}"#;
    const BINARY: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","datacontenttype":"text/plain","data_base64":"aGVsbG8="}"#;
    let examples = [
        example(&["application/json", PLAIN]),
        example(&["text/json; charset=utf-8", " {\"type\":\"a\",\"data\":null}\r\n"]),
        example(&["application/json", &format!("[{PLAIN}, {PLAIN}]")]),
        example(&["application/x-ndjson", &format!("{PLAIN}\n\n{PLAIN}\r\n{{}}")]),
        example(&["application/cloudevents+json", STRUCTURED]),
        example(&["application/cloudevents+json", BINARY]),
        example(&["application/cloudevents-batch+json", &format!("[{STRUCTURED},{BINARY}]")]),
    ];
    fuzz("ingest bodies", &examples, WORDS, |input| {
        let [media, body] = parts(input);
        let body = Bytes::copy_from_slice(body);
        said(Pipeline::parse(Some(&text(media)), &HeaderMap::new(), &body, &LIMITS))
    });
}

#[test]
fn cloudevents_headers() {
    const HEADERS: &str =
        "ce-specversion: 1.0\nce-id: 1\nce-source: /s%C3%A9\nce-type: a.b\nce-time: 2026-01-01T00:00:00Z\n";
    let examples = [
        example(&[&format!("content-type: application/json\n{HEADERS}"), "[1.0]"]),
        example(&[&format!("content-type: text/plain\n{HEADERS}ce-subject: x\nce-ext: %22\n"), "hello"]),
        example(&[&format!("{HEADERS}ce-dataschema: https://example.com/schema\n"), ""]),
    ];
    fuzz("CloudEvents headers", &examples, WORDS, |input| {
        let [lines, body] = parts(input);
        let headers = headers(lines);
        let media = headers.get("content-type").and_then(|value| value.to_str().ok());
        said(Pipeline::parse(media, &headers, &Bytes::copy_from_slice(body), &LIMITS))
    });
}

/// A source that looks for every part, here and there.
fn inlet() -> Inlet {
    let path = |text: &str, optional| Piece { from: From::Path(Path::parse(text).unwrap()), optional };
    let spec: SourceSpec = serde_json::from_value(json!({"name": "shop"})).unwrap();
    Inlet {
        source: Source {
            id: SourceId::new(Timestamp::UNIX_EPOCH),
            tenant_id: TenantId::new(Timestamp::UNIX_EPOCH),
            spec,
            secret: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        },
        verification: None,
        extract: BTreeMap::from([
            (Part::Id, vec![path("$.id", true)]),
            (
                Part::Type,
                vec![
                    Piece { from: From::Text("shop".to_owned()), optional: false },
                    Piece { from: From::Header("x-topic".parse().unwrap()), optional: true },
                    path("$..kind", true),
                ],
            ),
            (Part::Time, vec![path("$.created[0]", true)]),
            (Part::Data, vec![path("$.payload", true)]),
            (Part::Dedupe, vec![path("$.id", true), path("$.version", true)]),
        ]),
        keep_headers: vec!["x-topic".parse().unwrap(), "content-type".parse().unwrap()],
        open: true,
    }
}

#[test]
fn webhooks() {
    let examples = [
        example(&[
            "content-type: application/json\nx-topic: orders/paid\n",
            r#"{"id":7,"version":1.0,"kind":"new","created":[1767225600],"payload": {"n": 1.0}}"#,
        ]),
        example(&["content-type: application/x-www-form-urlencoded\n", "id=1&payload=%7B%7D&a=x+y&a=2&c"]),
        example(&["content-type: text/plain\n", "hello"]),
        example(&["content-type: application/octet-stream\n", ""]),
    ];
    let inlet = inlet();
    fuzz("webhooks", &examples, WORDS, |input| {
        let [lines, body] = parts(input);
        said(Pipeline::from_source(&inlet, &headers(lines), &Bytes::copy_from_slice(body)).map(Incoming::One))
    });
}

/// What a fuzzer found: an id that no client could have given.
#[test]
fn an_id_that_is_none_is_left_out() {
    let form = headers(b"content-type: application/x-www-form-urlencoded");
    for (body, id) in [("id=1", Some("1")), ("id=1%0A", None), ("id=", None)] {
        let event = Pipeline::from_source(&inlet(), &form, &Bytes::from(body)).unwrap();
        assert_eq!(event.external_id.as_deref(), id, "{body}");
    }
}
