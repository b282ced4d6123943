//! What is posted: bodies, CloudEvents in headers, and a product's own webhooks.

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;

use super::{Said, example, fuzz, headers, parts, shape, text};
use crate::domain::{EventType, HandshakeMethod};
use crate::filter::{Document, check_json};
use crate::pipeline::{Incoming, ItemError, NewEvent, ParseLimits, Pipeline, Posted};
use crate::registry::Inlet;

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

/// Sources that look for every part, here and there: in one event, in a list, and in questions.
fn inlets() -> [Inlet; 2] {
    let parts = json!({
        "id": "$.id?", "type": ["shop", "header:x-topic?", "$..kind?"], "time": "$.created[0]?", "data": "$.payload?",
        "dedupe": ["$.id", "$.version"],
    });
    let mut listed = parts.clone();
    listed["each"] = json!("$.events");
    let handshake = json!([
        {"when": {"$.type": "url_verification"}, "answer": {"json": {"challenge": "$.challenge", "n": 1}}},
        {"when": {"header:x-topic": true, "$.ping": true}, "answer": {"text": "$.echo"}},
    ]);
    [parts, listed].map(|extract| {
        let spec = json!({
            "name": "shop", "extract": extract, "handshake": handshake, "keep_headers": ["x-topic", "content-type"],
        });
        Inlet::reading(&serde_json::from_value(spec).unwrap()).unwrap()
    })
}

/// What a source makes of a request.
fn read(inlet: &Inlet, lines: &[u8], body: &[u8]) -> Result<Incoming, ItemError> {
    let headers = headers(lines);
    let posted = Posted::read(&headers, "", &Bytes::copy_from_slice(body))?;
    if let Some(question) = Pipeline::question(inlet, HandshakeMethod::Post, &posted) {
        // A question is answered or not, and never more than was asked.
        if let Ok(reply) = Pipeline::answer(inlet, question, &posted, Timestamp::UNIX_EPOCH) {
            assert!(reply.body.len() <= 8 * body.len() + 64);
        }
    }
    let mut events = Pipeline::from_source(inlet, &posted)?;
    assert!(inlet.each.is_some() || events.len() == 1);
    Ok(match inlet.each {
        None => Incoming::One(events.remove(0)),
        Some(_) => {
            events.iter().for_each(sound);
            Incoming::Many(events.into_iter().map(Ok).take(LIMITS.batch).collect())
        }
    })
}

#[test]
fn webhooks() {
    let examples = [
        example(&[
            "content-type: application/json\nx-topic: orders/paid\n",
            r#"{"id":7,"version":1.0,"kind":"new","created":[1767225600],"payload": {"n": 1.0}}"#,
        ]),
        example(&[
            "content-type: application/json\n",
            r#"{"type":"url_verification","challenge":"c","kind":"new","ping":true,"echo":1}"#,
        ]),
        example(&["content-type: application/x-www-form-urlencoded\n", "id=1&payload=%7B%7D&a=x+y&a=2&c"]),
        example(&["content-type: text/plain\n", "hello"]),
        example(&["content-type: application/octet-stream\n", ""]),
    ];
    let [inlet, _] = inlets();
    fuzz("webhooks", &examples, WORDS, |input| {
        let [lines, body] = parts(input);
        said(read(&inlet, lines, body))
    });
}

#[test]
fn lists_of_webhooks() {
    let examples = [
        example(&[
            "content-type: application/json\nx-topic: orders/paid\n",
            r#"{"events":[{"id":7,"version":1.0,"kind":"new","payload": {"n": 1.0}}, {"id":"8"} ]}"#,
        ]),
        example(&["content-type: application/json\n", r#"{"events":[ 1 , "x",[]]}"#]),
    ];
    let [_, inlet] = inlets();
    fuzz("lists of webhooks", &examples, WORDS, |input| {
        let [lines, body] = parts(input);
        match read(&inlet, lines, body) {
            Ok(Incoming::Many(events)) if events.is_empty() => Ok("none".to_owned()),
            read => said(read),
        }
    });
}

/// What a fuzzer found: an id that no client could have given.
#[test]
fn an_id_that_is_none_is_left_out() {
    let form = b"content-type: application/x-www-form-urlencoded";
    for (body, id) in [("id=1", Some("1")), ("id=1%0A", None), ("id=", None)] {
        let Ok(Incoming::One(event)) = read(&inlets()[0], form, body.as_bytes()) else { panic!("{body}") };
        assert_eq!(event.external_id.as_deref(), id, "{body}");
    }
}
