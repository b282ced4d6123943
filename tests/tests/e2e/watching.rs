//! Who watches what happens, and what is known of what came in.

use hookmill_tests::{Gateway, Receiver, Setup};
use serde_json::json;

/// Events and attempts are told as they happen, over a real connection; who comes back hears what was missed; and a
/// gateway that stops ends the stream and is not held up by it.
#[tokio::test]
async fn a_stream_from_start_to_stop() {
    let mut gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::statuses(&[500, 200]).await;
    let tenant = gateway.tenant("acme").await;
    let policy = json!({"schedule": ["0s", "1m"], "jitter": 0});
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["a"], "retry_policy": policy})).await;
    let viewer = tenant.key("viewer").await;
    let mut events = viewer.stream("/v1/stream?kind=events", &[]).await;
    let mut deliveries = viewer.stream("/v1/stream?kind=deliveries", &[]).await;
    // A comment says that it has begun.
    assert_eq!(events.next().await.unwrap().name, "");
    assert_eq!(deliveries.next().await.unwrap().name, "");

    let event = tenant.post("a", json!({"n": 1})).await;
    let told = events.told().await;
    assert_eq!((told.name.as_str(), &json!(told.id)), ("event", &event["id"]));
    assert_eq!((&told.data["type"], &told.data["deliveries"]), (&json!("a"), &json!(1)));
    let told = deliveries.told().await;
    assert_eq!((told.name.as_str(), &told.data["event_id"]), ("delivery", &event["id"]));
    assert_eq!((&told.data["status"], &told.data["attempt"]["status_code"]), (&json!("pending"), &json!(500)));
    tenant.attempts(&event, 1).await;
    clock.advance("1m").await;
    let told = deliveries.told().await;
    assert_eq!((&told.data["status"], &told.data["attempt"]["number"]), (&json!("delivered"), &json!(2)));

    drop(events);
    let missed = tenant.post("b", json!(1)).await;
    let last = event["id"].as_str().unwrap();
    let mut events = viewer.stream("/v1/stream?kind=events", &[("last-event-id", last)]).await;
    assert_eq!(json!(events.told().await.id), missed["id"]);
    // Silence is broken by the gateway's own time.
    clock.advance("15s").await;
    assert_eq!(events.next().await.unwrap().name, "");

    gateway.terminate().await;
    // To their ends, which are waited for no longer than anything is.
    while events.next().await.is_some() {}
    while deliveries.next().await.is_some() {}
}

/// What happens after a key is revoked is told to nobody who came with it.
#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let viewer = tenant.key("viewer").await;
    let mut streams = Vec::new();
    for kind in ["events", "deliveries"] {
        streams.push(viewer.stream(&format!("/v1/stream?kind={kind}"), &[]).await);
    }
    let event = tenant.post("a", json!(1)).await;
    for stream in &mut streams {
        stream.told().await;
    }
    tenant.status(&event, "delivered").await;
    let me = viewer.get("/v1/me").await.json(200);
    tenant.api.delete(&format!("/v1/keys/{}", me["key_id"].as_str().unwrap())).await.is(204);
    let after = tenant.post("a", json!(2)).await;
    tenant.status(&after, "delivered").await;
    for stream in &mut streams {
        // To its end; before it there may have been a comment.
        while let Some(told) = stream.next().await {
            assert_eq!(told.name, "", "{told:?}");
        }
    }
}

/// Events that break the schema of their type are refused or marked, also through a source; the catalogue and what is
/// counted are there after a restart.
#[tokio::test]
async fn event_types_are_held_to_and_counted() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "envelope": "none"})).await;
    let schema = json!({"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}});
    for (name, enforce) in [("com.example/order:paid", "reject"), ("order.sent", "warn")] {
        let sample = json!([{"name": "one", "data": {"amount": 1.5}}]);
        let wanted = json!({"name": name, "title": name, "schema": schema, "enforce": enforce, "samples": sample});
        tenant.api.post("/v1/event-types", wanted).await.is(201);
    }
    let post = async |event_type: &str, data: &str| {
        let body = format!(r#"{{"type":"{event_type}","data":{data}}}"#);
        tenant.api.text("POST", "/v1/events", &body).await
    };
    let refused = post("com.example/order:paid", r#"{"amount":"5"}"#).await;
    assert_eq!(refused.problem(422, "invalid"), ["#/data/amount"]);
    post("com.example/order:paid", r#"{"amount":5.00}"#).await.is(202);
    let marked = post("order.sent", r#"{}"#).await.json(202);
    let event = tenant.api.get(&format!("/v1/events/{}", marked["id"].as_str().unwrap())).await.json(200);
    assert!(event["attributes"]["hookmill-schema"].as_str().unwrap().contains("amount"), "{event}");
    post("something.else", "[1.0]").await.is(202);
    let source = json!({"name": "shop", "extract": {"type": "$.type", "data": "$.data"}});
    let source = tenant.api.post("/v1/sources", source).await.json(201);
    let url = source["url"].as_str().unwrap();
    let body = r#"{"type":"com.example/order:paid","data":{}}"#;
    let through = gateway.public().text("POST", url, body).await;
    assert_eq!(through.problem(422, "invalid"), ["#/data"]);
    let sent: Vec<String> = endpoint.wait("/", 3).await.iter().map(|request| request.text().to_owned()).collect();
    assert!(sent.contains(&r#"{"amount":5.00}"#.to_owned()), "{sent:?}");

    gateway.terminate().await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    let types = tenant.api.get("/v1/event-types").await.json(200);
    let seen: Vec<_> =
        types["data"].as_array().unwrap().iter().map(|one| (&one["name"], &one["known"], &one["count"])).collect();
    let row = |name: &str, known: bool, count: u64| (json!(name), json!(known), json!(count));
    let wanted = [row("com.example/order:paid", true, 1), row("order.sent", true, 1), row("something.else", false, 1)];
    assert_eq!(seen, wanted.iter().map(|(name, known, count)| (name, known, count)).collect::<Vec<_>>());
    let one = tenant.api.get("/v1/event-types/com.example%2Forder:paid").await.json(200);
    assert_eq!((&one["schema"], &one["enforce"]), (&schema, &json!("reject")));
    let samples = tenant.api.get("/v1/event-types/something.else/samples").await;
    assert!(samples.text.contains("\"data\":[1.0]"), "{}", samples.text);
    let samples = tenant.api.get("/v1/event-types/com.example%2Forder:paid/samples").await.json(200);
    assert_eq!(samples["data"], json!([{"name": "one", "data": {"amount": 1.5}}]));
    let event = json!({"type": "com.example/order:paid", "data": null});
    assert_eq!(tenant.api.post("/v1/events", event).await.problem(422, "invalid"), ["#/data"]);
}
