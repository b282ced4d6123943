//! Transforms: a chain, its preview, and a test that goes past filter and pause; settings and shapes that are wrong; and
//! how plugins are listed and measured.

use hookmill_tests::{Gateway, Guest, Receiver, Setup, eventually};
use serde_json::{Value, json};

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

/// An array is no object, wherever it stands, and what stands in the place of a number is refused in words.
#[tokio::test]
async fn wrong_shapes() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let subscription =
        |transform: Value| json!({"url": "https://example.com/x", "events": ["a"], "transforms": [transform]});
    let tried = |percent: Value| {
        let candidate = json!({"plugin": "redact", "percent": percent});
        subscription(json!({"plugin": "redact", "config": {"paths": ["$.data.x"]}, "candidate": candidate}))
    };
    let run = "/v1/plugins/redact/run";
    for (path, body, pointer, says) in [
        ("/v1/keys", json!(["viewer", "x"]), "#", "an object (fields: `role`, `name`, `expires_at`)"),
        (
            run,
            json!([{"type": "a", "data": {}}, {"paths": ["$.data.x"]}]),
            "#",
            "an object (fields: `event`, `config`)",
        ),
        (run, json!(null), "#", "not `null`"),
        (run, json!({"event": []}), "#/event", "an object (fields: `id`, `type`, "),
        ("/v1/deliveries/dlv_0190f000000070008000000000000000/run", json!(["redact"]), "#", "not an array"),
        ("/v1/replays", json!([]), "#", "an object (fields: `since`, "),
        ("/v1/subscriptions", subscription(json!("redact")), "#/transforms/0", "not a text"),
        (
            "/v1/subscriptions",
            subscription(json!(["redact", {"paths": ["$.data.x"]}])),
            "#/transforms/0",
            "not an array",
        ),
        ("/v1/subscriptions", tried(json!(10.5)), "#/transforms/0/candidate/percent", "a whole number from 0 to 255"),
        ("/v1/subscriptions", tried(json!(-1)), "#/transforms/0/candidate/percent", "not `-1`"),
    ] {
        let refused = tenant.api.post(path, body.clone()).await;
        assert_eq!(refused.problem(422, "invalid"), [pointer], "{body}: {}", refused.text);
        assert!(refused.text.contains(says), "{body}: {}", refused.text);
        assert!(refused.text.contains(" is wanted here, not "), "{body}: {}", refused.text);
    }
    assert_eq!(tenant.api.get("/v1/subscriptions").await.json(200)["data"], json!([]));
    assert_eq!(tenant.api.get("/v1/keys").await.json(200)["data"].as_array().unwrap().len(), 1, "its first key");
}

/// Plugins are listed page by page, each with its versions in their order. A parameter that there is not is refused: no
/// version goes that nobody named.
#[tokio::test]
async fn pages_and_parameters() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    for version in ["1.10.0", "1.2.0"] {
        tenant.upload(Guest::new("late", version).build()).await.is(201);
    }
    for path in ["/v1/plugins/late?version=1.2.0", "/v1/plugins/late/1.2.0?force=true"] {
        tenant.api.delete(path).await.problem(422, "invalid");
        tenant.api.get(path).await.problem(422, "invalid");
    }
    tenant.api.get("/v1/usage?plugin=late").await.problem(422, "invalid");
    tenant.api.get("/v1/plugins?version=1.2.0").await.problem(422, "invalid");

    let whole = tenant.api.get("/v1/plugins").await.json(200);
    assert_eq!(whole["next"], Value::Null, "there are few");
    let mut all = Vec::new();
    let mut path = "/v1/plugins?limit=3".to_owned();
    loop {
        let mut page = tenant.api.get(&path).await.json(200);
        let data = page["data"].as_array_mut().unwrap();
        assert!((1..=3).contains(&data.len()), "{data:?}");
        all.append(data);
        match page["next"].as_str() {
            Some(cursor) => path = format!("/v1/plugins?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(json!(all), whole["data"]);
    let own: Vec<_> = all.iter().filter(|one| one["name"] == "late").map(|one| &one["version"]).collect();
    assert_eq!(own, ["1.2.0", "1.10.0"]);
    assert_eq!(all[all.len() - 1]["version"], "1.10.0", "the presets come first");
}

/// Every metric says what it means, and what only rises is a counter, be it in parts of a second.
#[tokio::test]
async fn metrics_say_what_they_mean() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let run = json!({"event": {"type": "a", "data": {"x": 1}}, "config": {"paths": ["$.data.x"]}});
    tenant.api.post("/v1/plugins/redact/run", run).await.is(200);
    tenant.post("a", json!(1)).await;
    let metrics = gateway.admin().get("/metrics").await.text;
    let lines: Vec<&str> = metrics.lines().collect();
    let mut declared = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) else { continue };
        let is_described = at > 0 && lines[at - 1].starts_with(&format!("# HELP {name} "));
        assert!(is_described, "{name} in:\n{metrics}");
        declared += 1;
    }
    assert!(declared >= 7, "only {declared} metrics in:\n{metrics}");
    for (name, kind) in [
        ("hookmill_events_total", "counter"),
        ("hookmill_plugin_calls_total", "counter"),
        ("hookmill_plugin_cpu_seconds_total", "counter"),
        ("hookmill_plugin_peak_memory_bytes", "gauge"),
        ("hookmill_store_commit_seconds", "histogram"),
    ] {
        assert!(lines.contains(&format!("# TYPE {name} {kind}").as_str()), "{name} in:\n{metrics}");
    }
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
