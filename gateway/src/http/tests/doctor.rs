//! Why a signature is refused, through the door.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, text};

#[tokio::test]
async fn what_was_pasted_is_compared_with_what_was_sent() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"url": "http://127.0.0.1:9/hooks", "events": ["a"]});
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted.clone()).await.expect(201);
    let (path, secret) = (format!("/v1/subscriptions/{}", text(&made, "/id")), text(&made, "/secret"));
    // Nobody listens there, and all the same it was made, signed, and written down.
    let event = json!({"event": {"type": "a", "data": {"n": 1.0}}});
    let tested = world.post(&format!("{path}/test"), &tenant.editor, event).await.expect(200);
    let delivery = text(&tested, "/delivery/id");
    let request = &tested["attempt"]["request"];
    let (headers, body) = (request["headers"].clone(), text(request, "/body"));
    let diagnose = async |asked: Value| world.post(&format!("{path}/diagnose"), &tenant.viewer, asked).await;

    let found = diagnose(json!({"headers": headers, "body": body})).await.expect(200);
    assert_eq!((&found["code"], &found["genuine"]), (&json!("genuine"), &json!(true)), "{found}");
    assert_eq!(found["delivery_id"], json!(delivery));
    let pairs: Vec<Value> = headers.as_object().unwrap().iter().map(|(name, value)| json!([name, value])).collect();
    let respelled = body.replace("1.0", "1");
    let found = diagnose(json!({"headers": pairs, "body": respelled})).await.expect(200);
    assert_eq!((&found["code"], &found["genuine"]), (&json!("body_reserialized"), &json!(false)), "{found}");
    assert_eq!(found["findings"][0]["offset"], json!(body.find("1.0}").unwrap() + 1), "{found}");
    let changed = body.replace("1.0", "2");
    let found = diagnose(json!({"headers": {}, "body": changed, "delivery_id": delivery})).await.expect(200);
    let codes: Vec<&str> =
        found["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["header_missing", "header_missing", "header_missing", "body_changed"], "{found}");
    assert_eq!(found["findings"][3]["pointer"], "#/data/n", "{found}");
    let received = json!({"headers": headers, "body": body, "received_at": "2026-01-01T00:05:12Z"});
    let found = diagnose(received).await.expect(200);
    assert_eq!((&found["code"], &found["findings"][0]["off_s"]), (&json!("stale"), &json!(312)), "{found}");
    let shown = found.to_string();
    assert!(!shown.contains(&secret) && !shown.contains("v1,"), "{shown}");

    // Rotated away, twice, and by a change: what is remembered is recognised, and never shown.
    world.post(&format!("{path}/rotate-secret"), &tenant.admin, json!({"overlap": "1m"})).await.expect(200);
    let found = diagnose(json!({"headers": headers, "body": body})).await.expect(200);
    assert_eq!(found["code"], "genuine", "both count: {found}");
    world.clock.advance(Duration::from_secs(61));
    let cleared = world.patch(&path, &tenant.editor, json!({"secret": null})).await;
    let refused = cleared.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "#/secret", "no receiver would know the one that came instead");
    let secrets = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    for change in secrets.map(|secret| json!({"secret": secret})) {
        let found = diagnose(json!({"headers": headers, "body": body})).await.expect(200);
        assert_eq!(found["code"], "old_secret", "{found}");
        assert!(text(&found, "/detail").contains("until 2026-01-01T00:01:00.000Z"), "{found}");
        let patched = world.patch(&path, &tenant.editor, change).await.expect(200);
        assert_eq!(patched["secrets_set"], json!(["#/secret"]));
        assert!(patched.get("previous_secrets").is_none(), "{patched}");
    }
    // A change that keeps the secret replaces none.
    for number in 0..4 {
        world.patch(&path, &tenant.editor, json!({"name": number.to_string()})).await.expect(200);
    }
    assert_eq!(diagnose(json!({"headers": headers, "body": body})).await.expect(200)["code"], "old_secret");
    world.post(&format!("{path}/rotate-secret"), &tenant.admin, json!({"overlap": "0s"})).await.expect(200);
    let found = diagnose(json!({"headers": headers, "body": body})).await.expect(200);
    assert_eq!(found["code"], "unexplained", "the fourth back is forgotten: {found}");
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_said() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let id = world.paused(&tenant, &["a"]).await;
    let path = format!("/v1/subscriptions/{id}/diagnose");
    let diagnose = async |asked: Value| world.post(&path, &tenant.viewer, asked).await;
    for (asked, pointer) in [
        (json!({"headers": 1}), "#/headers"),
        (json!({"headers": {"a b": "c"}}), "#/headers/a%20b"),
        (json!({"headers": {"a": 1}}), "#/headers/a"),
        (json!({"headers": [["a"]]}), "#/headers/0"),
        (json!({"headers": [["a", "b\n"]]}), "#/headers/0"),
        (json!({"body": "a", "body_base64": "YQ=="}), "#/body_base64"),
        (json!({"body_base64": "?"}), "#/body_base64"),
        (json!({"delivery_id": "dlv_00000000000000000000000000000000"}), "#/delivery_id"),
        (json!({"delivery_id": "x"}), "#/delivery_id"),
        (json!({"text": "sign this"}), "#/text"),
    ] {
        let problem = diagnose(asked.clone()).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{asked}: {problem}");
    }
    // A delivery of another subscription is none of this one.
    world.paused(&tenant, &["b"]).await;
    world.post("/v1/events", &tenant.ingest, json!({"type": "b", "data": 1})).await.expect(202);
    let other = text(&world.get("/v1/deliveries", &tenant.viewer).await.expect(200), "/data/0/id");
    diagnose(json!({"delivery_id": other})).await.problem(422, "invalid");
    let wanted = json!({"url": "https://example.com/hooks", "events": ["a"], "signing": {"scheme": "none"}});
    let unsigned = text(&world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201), "/id");
    let path = format!("/v1/subscriptions/{unsigned}/diagnose");
    world.post(&path, &tenant.viewer, json!({"headers": {}})).await.problem(409, "conflict");
}
