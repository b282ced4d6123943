//! Transforms: a chain, its preview, and a test that goes past filter and pause.

use hookmill_tests::{Gateway, Receiver, Setup, eventually};
use serde_json::json;

/// Two transforms in a chain change what they are told and leave every number as it is spelled; a preview shows each step; a test is sent
/// although the subscription is paused, and does not count.
#[tokio::test]
async fn a_chain() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let wanted = json!({
        "url": endpoint.url("/"), "events": ["order.*"], "envelope": "none", "filters": {"total": {"gte": 1}},
        "transforms": [
            {"plugin": "redact", "config": {"paths": ["$.data.email"], "keep_last": 4}},
            {"plugin": "fields", "config": {"drop": ["$.data.internal"], "set": {"$.data.level": "gold"}}},
        ],
    });
    let made = tenant.subscribe(wanted.clone()).await;
    let pinned: Vec<_> =
        made["transforms"].as_array().unwrap().iter().map(|one| one["plugin"].as_str().unwrap()).collect();
    assert!(pinned[0].starts_with("redact@") && pinned[1].starts_with("fields@"), "pinned when saved: {pinned:?}");

    let data = r#"{"email":"dana@shop.example","internal":{"cost":1},"total":100.00,"n":12345678901234567890}"#;
    let event = format!(r#"{{"type":"order.paid","data":{data}}}"#);
    let receipt = tenant.api.text("POST", "/v1/events", &event).await.json(202);
    let delivery = tenant.status(&receipt, "delivered").await;
    let sent = endpoint.first("/").await;
    assert!(
        sent.text().starts_with(r#"{"email":"***mple","total":100.00,"n":12345678901234567890"#),
        "{}",
        sent.text()
    );
    assert_eq!(sent.json()["level"], "gold");
    assert_eq!(delivery["attempts"][0]["request"]["body"], sent.text());
    let ran: Vec<_> = delivery["attempts"][0]["plugins"].as_array().unwrap().iter().map(|one| &one["plugin"]).collect();
    assert_eq!(ran, pinned, "{delivery}");
    assert!(
        tenant.api.get(&format!("/v1/events/{}", sent.header("webhook-id"))).await.text.contains(data),
        "the event stays"
    );

    let body = format!(r#"{{"subscription":{wanted},"event":{event}}}"#);
    let preview = tenant.api.text("POST", "/v1/subscriptions/preview", &body).await.json(200);
    assert_eq!(preview["matched"], true);
    assert_eq!(preview["steps"][0]["output"]["email"], "***mple", "{preview}");
    assert_eq!(preview["steps"][1]["output"]["level"], "gold", "{preview}");
    assert_eq!(preview["request"]["body"], sent.text(), "{preview}");
    let other = body.replace("100.00", "0.5");
    let preview = tenant.api.text("POST", "/v1/subscriptions/preview", &other).await.json(200);
    assert_eq!(preview["matched"], false, "{preview}");
    assert_eq!(endpoint.count("/"), 1, "a preview sends nothing");

    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    let before = tenant.api.get(&format!("{path}/stats")).await.json(200);
    tenant.api.poke(&format!("{path}/pause")).await.is(200);
    let test = json!({"event": {"type": "another.type", "data": {"email": "x@example.com", "total": 0}}});
    let tested = tenant.api.post(&format!("{path}/test"), test).await.json(200);
    assert_eq!(
        (&tested["attempt"]["trigger"], &tested["attempt"]["outcome"]),
        (&json!("test"), &json!("delivered")),
        "{tested}"
    );
    assert_eq!(endpoint.count("/"), 2);
    let after = tenant.api.get(&format!("{path}/stats")).await.json(200);
    for field in ["delivered", "failed", "pending", "success_rate", "retry_rate"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!(before["delivered"], 1);
}

/// A config that a plugin's schema does not allow, or a plugin that there is not, is refused with its place.
#[tokio::test]
async fn wrong_settings() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    for (part, value, pointer) in [
        ("transforms", json!([{"plugin": "redact", "config": {}}]), "#/transforms/0/config"),
        ("transforms", json!([{"plugin": "redact", "config": {"paths": [7]}}]), "#/transforms/0/config/paths/0"),
        ("transforms", json!([{"plugin": "nothing"}]), "#/transforms/0/plugin"),
        ("transforms", json!([{"plugin": "slack", "config": {"text": "x"}}]), "#/transforms/0/plugin"),
        ("connector", json!({"name": "redact", "config": {"paths": ["$.data"]}}), "#/connector/name"),
        ("connector", json!({"name": "slack", "config": {"text": "x", "colour": 1}}), "#/connector/config"),
        ("filters", json!({"a": {"about": 1}}), "#/filters/a/about"),
        ("filters", json!("$.data["), "#/filters"),
        ("events", json!(["a b"]), "#/events/0"),
        ("retry_policy", json!({"backoff": "sideways"}), "#/retry_policy/backoff"),
        ("timeout", json!("2h"), "#/timeout"),
        ("colour", json!(1), "#/colour"),
    ] {
        let mut wanted = json!({"url": "https://hooks.example.com/x", "events": ["a"]});
        wanted[part] = value.clone();
        let reply = tenant.api.post("/v1/subscriptions", wanted).await;
        assert_eq!(reply.problem(422, "invalid"), [pointer], "{value}: {}", reply.text);
    }
    assert_eq!(tenant.api.get("/v1/subscriptions").await.json(200)["data"], json!([]));
}

/// A plugin that the operator added and that never ends faults by name, harms nobody else, and after five times its
/// subscription is disabled and said to be failing.
#[tokio::test]
async fn a_plugin_that_never_ends() {
    let looping = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/src/engine/fixtures/looping.wasm");
    let gateway = Setup::new().env("HOOKMILL_PLUGINS__FILES", format!("[\"{looping}\"]")).start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let wanted = json!({
        "url": endpoint.url("/never"), "events": ["order.*"], "transforms": [{"plugin": "looping"}],
        "retry_policy": {"schedule": ["0s"]},
    });
    let made = tenant.subscribe(wanted).await;
    tenant.subscribe(json!({"url": endpoint.url("/fine"), "events": ["order.*"]})).await;
    tenant.subscribe(json!({"url": endpoint.url("/told"), "events": ["hookmill.*"]})).await;

    for _ in 0..5 {
        let receipt = tenant.post("order.paid", json!({"total": 1})).await;
        let query = format!(
            "subscription_id={}&event_id={}&status=failed",
            made["id"].as_str().unwrap(),
            receipt["id"].as_str().unwrap()
        );
        let failed = eventually("it has failed", async || tenant.deliveries(&query).await.pop()).await;
        let failed = tenant.api.get(&format!("/v1/deliveries/{}", failed["id"].as_str().unwrap())).await.json(200);
        let attempt = &failed["attempts"][0];
        assert_eq!((&attempt["outcome"], &attempt["blame"]), (&json!("plugin_fault"), &json!("plugin")), "{failed}");
        assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("faulted (time)")), "{failed}");
    }
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    let disabled = eventually("it is disabled", async || {
        let now = tenant.api.get(&path).await.json(200);
        (now["state"] == "disabled").then_some(now)
    })
    .await;
    assert_eq!(disabled["state_reason"], "failing");
    endpoint.wait("/fine", 5).await;
    assert_eq!(endpoint.count("/never"), 0);
    let told = endpoint.wait("/told", 7).await;
    let said = |what: &str| told.iter().filter(|one| one.json()["type"] == what).count();
    assert_eq!(said("hookmill.delivery.failed"), 5);
    assert_eq!((said("hookmill.plugin.faulted"), said("hookmill.subscription.disabled")), (1, 1));
}
