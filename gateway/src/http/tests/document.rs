//! The OpenAPI document, the reference, the problems' pages, and the gateway's own routes.

use std::collections::HashSet;

use serde_json::Value;

use super::world::World;
use crate::domain::{
    Algorithm, Answer, Auth, Backoff, BodyHash, CandidateSpec, ConnectorSpec, Encoding, Handshake, HandshakeMethod,
    RateLimit, RetryPolicy, SchemeKind, SecretDecoding, SecretForm, SharedPlace, Signing, SourceResponse, SourceSpec,
    SubscriptionSpec, TimeFormat, TimeUnit, TimestampForm, TransformSpec,
};
use crate::http::openapi::placeholders;
use crate::http::problem::Kind;
use crate::http::{Readiness, route};

/// Every `$ref` in it.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => found.push(reference),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_says_what_the_router_does() {
    let world = World::new().await;
    let document = world.get("/v1/openapi.json", "").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let routes = route::all();
    let mut ids = HashSet::new();
    for route in &routes {
        let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
        assert_eq!(operation["operationId"], *route.id, "{} {}", route.method, route.path);
        assert!(ids.insert(route.id.clone()), "{} twice", route.id);
        assert!(!route.summary.is_empty() && operation["responses"].as_object().unwrap().len() >= 2);
        let named: Vec<&str> = placeholders(&route.path).collect();
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        let in_path: Vec<&str> =
            parameters.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(named, in_path, "{}", route.path);
    }
    let documented: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, routes.len(), "the document names nothing that is not there");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

/// A description with every field that any scheme has.
fn signing() -> Signing {
    Signing {
        scheme: SchemeKind::Hmac,
        header_prefix: Some("p".into()),
        header_prefixes: vec!["p".into()],
        header: Some("h".into()),
        headers: vec!["h".into()],
        algorithm: Some(Algorithm::Sha1),
        encoding: Some(Encoding::Base64),
        content: Some("c".into()),
        value: Some("v".into()),
        timestamp_header: Some("t".into()),
        timestamp: Some(TimestampForm {
            header: Some("h".into()),
            fallbacks: vec!["h".into()],
            body: Some("$.b".into()),
            unit: TimeUnit::Milliseconds,
            format: TimeFormat::HttpDate,
        }),
        tolerance: Some(std::time::Duration::from_secs(1)),
        secret: Some(SecretForm { strip_prefix: Some("p".into()), decode: SecretDecoding::Hex }),
        body_hash: Some(BodyHash { query: "q".into(), algorithm: Algorithm::Sha1, encoding: Encoding::Base64 }),
        place: Some(SharedPlace::Query),
        name: Some("n".into()),
    }
}

/// The shape that the document shows of what clients send has the fields that are read, no more and no less.
#[tokio::test]
async fn shapes_have_the_fields_that_are_read() {
    let world = World::new().await;
    let document = world.get("/v1/openapi.json", "").await.expect(200);
    let candidate = || CandidateSpec { plugin: "p".into(), config: Some(Value::Null), percent: Some(1), shadow: true };
    let full = SubscriptionSpec {
        uid: Some("u".into()),
        name: Some("n".into()),
        profile: Some("p".into()),
        url: Some("u".into()),
        events: vec!["a".into()],
        source_ids: vec![crate::domain::SourceId::from_bytes([0; 16])],
        filters: Some(Value::Bool(true)),
        transforms: vec![TransformSpec { plugin: "p".into(), config: Value::Null, candidate: Some(candidate()) }],
        connector: Some(ConnectorSpec { name: "c".into(), config: Value::Null, candidate: Some(candidate()) }),
        secret: Some("s".into()),
        signing: Some(signing()),
        envelope: Some(crate::domain::Envelope::None),
        body_format: Some(crate::domain::BodyFormat::Js),
        headers: [("a".to_owned(), "b".to_owned())].into(),
        secret_headers: [("a".to_owned(), "b".to_owned())].into(),
        forward_headers: Some(vec!["a".into()]),
        user_agent: Some("a".into()),
        auth: Some(Auth::Bearer { token: "t".into() }),
        success: Some(vec!["2xx".into()]),
        retry_policy: RetryPolicy {
            schedule: Some(vec![std::time::Duration::ZERO]),
            max_retries: Some(1),
            backoff: Some(Backoff::Fixed),
            initial: Some(std::time::Duration::ZERO),
            factor: Some(1.0),
            max_delay: Some(std::time::Duration::ZERO),
            give_up_after: Some(std::time::Duration::ZERO),
            jitter: Some(0.1),
        },
        timeout: Some(std::time::Duration::from_secs(1)),
        rate_limit: Some(RateLimit { per: std::time::Duration::from_secs(1), max: 1 }),
        reuse_instances: true,
        enabled: true,
        metadata: [("a".to_owned(), Value::Null)].into_iter().collect(),
    };
    let full = serde_json::to_value(full).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<HashSet<String>>();
    let shape = |name: &str| names(&document["components"]["schemas"][name]["properties"]);
    assert_eq!(names(&full), shape("NewSubscription"));
    assert_eq!(names(&full["retry_policy"]), shape("RetryPolicy"));
    assert_eq!(names(&full["rate_limit"]), shape("RateLimit"));
    assert_eq!(names(&full["connector"]), shape("Connector"));
    assert_eq!(names(&full["transforms"][0]), shape("Transform"));
    assert_eq!(names(&full["transforms"][0]["candidate"]), shape("Candidate"));
    assert_eq!(names(&full["signing"]), shape("Signing"));
    for (part, name) in [("timestamp", "TimestampForm"), ("secret", "SecretForm"), ("body_hash", "BodyHash")] {
        assert_eq!(names(&full["signing"][part]), shape(name));
    }
    assert_eq!(document["components"]["schemas"]["NewSubscription"]["required"], serde_json::json!(["events"]));
}

/// The same for sources.
#[tokio::test]
async fn shapes_of_sources_have_the_fields_that_are_read() {
    let world = World::new().await;
    let document = world.get("/v1/openapi.json", "").await.expect(200);
    let place = || Some("$.a".to_owned());
    let full = SourceSpec {
        name: "n".into(),
        profile: Some("p".into()),
        secret: Some("s".into()),
        verify_token: Some("t".into()),
        verification: vec![signing()],
        extract: [("id".to_owned(), Value::from("$.id"))].into_iter().collect(),
        dedupe_window: Some(std::time::Duration::from_secs(1)),
        keep_headers: Some(vec!["a".into()]),
        response: Some(SourceResponse { status_code: 200, body: Some("b".into()), content_type: Some("c".into()) }),
        handshake: vec![Handshake {
            method: HandshakeMethod::Get,
            when: [("query:a".to_owned(), Value::Bool(true))].into(),
            token: place(),
            verified: Some(true),
            answer: Answer { status_code: 200, text: place(), json: Some(serde_json::Map::new()) },
        }],
        rate_limit: Some(RateLimit { per: std::time::Duration::from_secs(1), max: 1 }),
        max_body: Some(1),
        enabled: true,
    };
    let full = serde_json::to_value(full).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<HashSet<String>>();
    let shape = |name: &str| names(&document["components"]["schemas"][name]["properties"]);
    assert_eq!(names(&full), shape("NewSource"));
    assert_eq!(names(&full["response"]), shape("SourceResponse"));
    assert_eq!(names(&full["handshake"]), shape("Handshake"));
    assert_eq!(names(&full["handshake"]["answer"]), shape("HandshakeReply"));
    assert_eq!(document["components"]["schemas"]["NewSource"]["required"], serde_json::json!(["name"]));
    // What is read is what is written, and what the gateway adds.
    let kept = |field: &&String| !["secret", "verify_token"].contains(&field.as_str());
    let written: HashSet<String> = names(&full).iter().filter(kept).cloned().collect();
    assert!(written.is_subset(&shape("Source")), "{written:?}");
}

#[tokio::test]
async fn the_reference_stands_alone() {
    let world = World::new().await;
    let page = world.get("/docs", "").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    for route in route::all().iter().filter(|route| !route.path.contains("webhooks")) {
        assert!(html.contains(&format!("id=\"{}\"", route.id)), "{} is not in the reference", route.id);
    }
    for outside in ["<script", "src=", "http://", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
    // Every link inside leads somewhere.
    for link in html.split("href=\"#").skip(1) {
        let target = link.split('"').next().unwrap();
        assert!(html.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
    }
}

#[tokio::test]
async fn every_problem_has_a_page() {
    let world = World::new().await;
    for kind in Kind::ALL {
        let entry = kind.entry();
        let page = world.get(&format!("/problems/{}", entry.id), "").await;
        assert_eq!(page.status, 200, "{}", entry.id);
        assert!(String::from_utf8_lossy(&page.body).contains(&entry.status.as_u16().to_string()));
    }
    world.get("/problems/none", "").await.problem(404, "not-found");
}

#[tokio::test]
async fn readiness_is_told_apart_from_life() {
    let world = World::new().await;
    world.get("/readyz", "").await.expect(200);
    for (readiness, says) in [
        (Readiness::Starting, "starting"),
        (Readiness::Draining, "stopping"),
        (Readiness::Failed("the disk is gone".to_owned()), "the disk is gone"),
    ] {
        world.readiness.send_replace(readiness);
        let problem = world.get("/readyz", "").await.problem(503, "unavailable");
        assert!(problem["detail"].as_str().unwrap().contains(says));
        world.get("/healthz", "").await.expect(200);
    }
}
