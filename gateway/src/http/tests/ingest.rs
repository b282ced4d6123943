//! Events through every door.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::world::{OPERATOR, World, text};

/// Numbers, key order, escapes and spaces that a parser would change.
const AWKWARD: &str = r#"{"b": 100.0,"a":12345678901234567890123,  "é":"\u00e9\/","e":1E400,"z":[ ],"1":-0}"#;

#[tokio::test]
async fn data_comes_back_as_the_bytes_it_was() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.paused(&tenant, &["*"]).await;
    let body = format!(
        r#"{{"id":"order-1","type":"order.paid","source":"shop","timestamp":"2025-12-31T23:00:00+01:00","data":{AWKWARD}}}"#
    );
    let answer = world.raw("POST", "/v1/events", &tenant.ingest, &[], body.clone()).await;
    let receipt = answer.expect(202);
    assert_eq!((&receipt["external_id"], &receipt["deliveries"]), (&json!("order-1"), &json!(1)));
    assert!(receipt.get("duplicate").is_none());
    let id = text(&receipt, "/id");

    let read = world.get(&format!("/v1/events/{id}"), &tenant.viewer).await;
    let shown = String::from_utf8(read.body.to_vec()).unwrap();
    assert!(shown.contains(&format!("\"data\":{AWKWARD}")), "{shown}");
    assert!(shown.contains("\"timestamp\":\"2025-12-31T22:00:00.000Z\""), "{shown}");

    let again = world.raw("POST", "/v1/events", &tenant.ingest, &[], body.clone()).await.expect(200);
    assert_eq!((&again["id"], &again["duplicate"], &again["deliveries"]), (&json!(id), &json!(true), &json!(1)));
    let other = body.replace("100.0", "101.0");
    world.raw("POST", "/v1/events", &tenant.ingest, &[], other).await.problem(409, "duplicate-differs");

    let preview = format!(
        r#"{{"subscription":{{"url":"https://example.com","events":["*"],"envelope":"none"}},"event":{{"type":"x","data":{AWKWARD}}}}}"#
    );
    let preview = world.raw("POST", "/v1/subscriptions/preview", &tenant.editor, &[], preview).await.expect(200);
    assert_eq!(preview["request"]["body"], AWKWARD);
    assert_eq!(preview["matched"], true);
}

#[tokio::test]
async fn an_idempotency_key_makes_duplicates() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let key = [("idempotency-key", "k1")];
    let first = world.raw("POST", "/v1/events", &tenant.ingest, &key, r#"{"type":"a","data":1}"#).await.expect(202);
    let second = world.raw("POST", "/v1/events", &tenant.ingest, &key, r#"{"type":"a","data":1}"#).await.expect(200);
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!(true)));
    world
        .raw("POST", "/v1/events", &tenant.ingest, &key, r#"{"type":"a","data":2}"#)
        .await
        .problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn batches_are_answered_item_by_item() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let batch = json!([
        {"id": "1", "type": "a", "data": 1},
        {"type": "no spaces", "data": 2},
        {"type": "hookmill.x", "data": 3},
        {"id": "1", "type": "a", "data": 1},
        {"id": "1", "type": "a", "data": 9},
        {"type": "b", "data": 4, "extra": true},
        {"type": "b", "data": 5}
    ]);
    let answer = world.post("/v1/events", &tenant.ingest, batch.clone()).await.expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(3), &json!(4)));
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 7);
    assert_eq!(
        (&data[0]["external_id"], &data[3]["id"], &data[3]["duplicate"]),
        (&json!("1"), &data[0]["id"], &json!(true))
    );
    assert_eq!(data[1]["problem"]["type"], "/problems/invalid");
    assert_eq!(data[1]["problem"]["errors"][0]["pointer"], "#/type");
    assert_eq!(data[2]["problem"]["type"], "/problems/reserved-event-type");
    assert_eq!(data[4]["problem"]["type"], "/problems/duplicate-differs");
    assert_eq!(data[5]["problem"]["errors"][0]["pointer"], "#/extra");
    assert!(text(&data[6], "/id").starts_with("evt_"));

    let before = world.get("/v1/events", &tenant.viewer).await.expect(200)["data"].as_array().unwrap().len();
    let refused = world.post("/v1/events?atomic=true", &tenant.ingest, batch).await.problem(422, "invalid");
    let pointers: Vec<&Value> = refused["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["#/1/type", "#/2/type", "#/4/id", "#/5/extra"]);
    let after = world.get("/v1/events", &tenant.viewer).await.expect(200)["data"].as_array().unwrap().len();
    assert_eq!(before, after, "nothing of it was accepted");

    let lines = "{\"type\":\"a\",\"data\":1}\n\n{\"type\":\"a\"\n";
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = world.raw("POST", "/v1/events", &tenant.ingest, &ndjson, lines).await.expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(answer["data"][1]["problem"]["type"], "/problems/unparsable");

    let too_many = format!("[{}]", vec!["0"; 1_001].join(","));
    world.raw("POST", "/v1/events", &tenant.ingest, &[], too_many).await.problem(422, "too-many-events");
}

#[tokio::test]
async fn reserved_types_are_refused() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let event = json!({"type": "hookmill.subscription.disabled", "data": {}});
    world.post("/v1/events", &tenant.ingest, event).await.problem(422, "reserved-event-type");
}

#[tokio::test]
async fn cloudevents_are_taken() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let structured = json!({"specversion": "1.0", "id": "c1", "source": "/s", "type": "a.b", "data": {"x": 1}});
    let headers = [("content-type", "application/cloudevents+json")];
    let receipt = world.raw("POST", "/v1/events", &tenant.ingest, &headers, structured.to_string()).await.expect(202);
    assert_eq!(receipt["external_id"], "c1");
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "c2"),
        ("ce-source", "/s"),
        ("ce-type", "a.c"),
    ];
    let receipt = world.raw("POST", "/v1/events", &tenant.ingest, &binary, "{\"x\":2}").await.expect(202);
    let event = world.get(&format!("/v1/events/{}", text(&receipt, "/id")), &tenant.viewer).await.expect(200);
    assert_eq!((&event["type"], &event["source"], &event["data"]["x"]), (&json!("a.c"), &json!("/s"), &json!(2)));
}

#[tokio::test]
async fn a_producer_posts_for_any_tenant() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.patch(&format!("/v1/tenants/{}", tenant.id), OPERATOR, json!({"uid": "acme"})).await.expect(200);
    let producer = text(&world.post("/v1/keys", OPERATOR, json!({"role": "producer"})).await.expect(201), "/key");
    let event = json!({"type": "a", "data": 1});
    for path in [format!("/v1/tenants/{}/events", tenant.id), "/v1/tenants/uid:acme/events".to_owned()] {
        world.post(&path, &producer, event.clone()).await.expect(202);
        world.post(&path, OPERATOR, event.clone()).await.problem(403, "forbidden");
        world.post(&path, &tenant.admin, event.clone()).await.problem(403, "forbidden");
    }
    world.post("/v1/tenants/uid:nobody/events", &producer, event).await.problem(404, "not-found");
    assert_eq!(world.get("/v1/events", &tenant.viewer).await.expect(200)["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sources_verify_the_raw_bytes() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({
        "name": "github", "secret": "it's a secret",
        "verification": {"scheme": "hmac", "header": "x-hub-signature-256", "value": "sha256={signature}"},
        "extract": {"id": "header:x-github-delivery", "type": ["header:x-github-event", "$.action?"]},
        "keep_headers": ["x-github-event"]
    });
    let made = world.post("/v1/sources", &tenant.editor, wanted).await;
    assert!(!String::from_utf8_lossy(&made.body).contains("it's a secret"));
    let made = made.expect(201);
    assert_eq!(made["secrets_set"], json!(["#/secret"]));
    let url = text(&made, "/url");
    let path = url.strip_prefix("https://gateway.test").unwrap().to_owned();
    let body = "{ \"action\" : \"opened\" }";
    let mut mac = Hmac::<Sha256>::new_from_slice(b"it's a secret").unwrap();
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let post = async |signature: &str, body: &'static str| {
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", "issues"),
            ("x-github-delivery", "d1"),
            ("x-hub-signature-256", signature),
        ];
        world.raw("POST", &format!("{path}?from=github"), "", &headers, body).await
    };
    let receipt = post(&signature, body).await.expect(202);
    assert_eq!(receipt["external_id"], "d1");
    let event = world.get(&format!("/v1/events/{}", text(&receipt, "/id")), &tenant.viewer).await.expect(200);
    assert_eq!((&event["type"], &event["source_id"]), (&json!("issues.opened"), &made["id"]));
    assert_eq!(event["attributes"]["x-github-event"], "issues");
    assert_eq!(post(&signature, body).await.expect(200)["duplicate"], true);

    post(&signature, "{\"action\":\"opened\"}").await.problem(401, "bad-signature");
    post("sha256=00", body).await.problem(401, "bad-signature");
    world.raw("POST", &path, "", &[], body).await.problem(401, "bad-signature");
    // A source that is closed is not there.
    let one = format!("/v1/sources/{}", text(&made, "/id"));
    world.patch(&one, &tenant.editor, json!({"enabled": false})).await.expect(200);
    post(&signature, body).await.problem(404, "not-found");
    world.patch(&one, &tenant.editor, json!({"enabled": true})).await.expect(200);
    post(&signature, body).await.expect(200);
}

#[tokio::test]
async fn an_open_source_takes_forms_texts_and_refuses_broken_json() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let made = world.post("/v1/sources", &tenant.editor, json!({"name": "any"})).await.expect(201);
    let path = format!("/in/{}", text(&made, "/id"));
    for (content_type, body, status) in [
        ("application/json", "{\"a\":1}", 202),
        ("application/x-www-form-urlencoded", "a=1&b=x%20y", 202),
        ("text/plain", "hello", 202),
        ("application/json", "{\"a\":", 400),
    ] {
        let answer = world.raw("POST", &path, "", &[("content-type", content_type)], body).await;
        assert_eq!(answer.status, status, "{content_type} {body}: {}", String::from_utf8_lossy(&answer.body));
    }
    world.raw("POST", "/in/src_0190f000000070008000000000000000", "", &[], "{}").await.problem(404, "not-found");
}
