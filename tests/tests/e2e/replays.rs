//! What came in before, sent again.

use std::collections::HashSet;

use hookmill_tests::{Gateway, Receiver, Setup, Tenant, TestClock, eventually};
use serde_json::{Value, json};

const SINCE: &str = "2020-01-01T00:00:00Z";

async fn replay(tenant: &Tenant, clock: &TestClock, wanted: Value) -> Value {
    // A span ends before now, and this clock stands.
    clock.advance("1s").await;
    tenant.api.post("/v1/replays", wanted).await.json(202)
}

async fn done(tenant: &Tenant, replay: &Value) -> Value {
    let path = format!("/v1/replays/{}", replay["id"].as_str().unwrap());
    let done = async || Some(tenant.api.get(&path).await.json(200)).filter(|replay| replay["state"] != "running");
    eventually("the end of a replay", done).await
}

async fn batch(tenant: &Tenant, event_type: &str, count: usize) {
    let batch: Vec<Value> = (0..count).map(|n| json!({"type": event_type, "data": {"n": n}})).collect();
    assert_eq!(tenant.api.post("/v1/events", json!(batch)).await.json(202)["accepted"], count);
}

/// A subscription that came late gets what it would have got, oldest first, as the same messages; and once only.
#[tokio::test]
async fn for_those_who_came_late() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let first = tenant.api.post("/v1/events", json!({"id": "o-1", "type": "a", "data": {"n": 1.0}})).await.json(202);
    tenant.post("b", json!(2)).await;
    let second = tenant.post("a", json!({"n": 3.0})).await;
    let made = tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["a"]})).await;
    let wanted = json!({"since": SINCE, "only": "missing", "subscription_id": made["id"]});
    let begun = replay(&tenant, &clock, wanted.clone()).await;
    let ended = done(&tenant, &begun).await;
    assert_eq!(
        (&ended["state"], &ended["events_seen"], &ended["deliveries_made"]),
        (&json!("done"), &json!(3), &json!(2))
    );
    endpoint.wait("/", 2).await;
    for (event, body_id) in [(&first, "o-1"), (&second, second["id"].as_str().unwrap())] {
        let delivered = tenant.status(event, "delivered").await;
        let attempt = &delivered["attempts"][0];
        assert_eq!((&attempt["trigger"], &attempt["number"]), (&json!("replay"), &json!(1)), "{delivered}");
        assert_eq!(attempt["request"]["headers"]["webhook-id"], event["id"]);
        let requests = endpoint.at("/");
        let request = requests.iter().find(|one| one.header("webhook-id") == event["id"].as_str().unwrap()).unwrap();
        assert_eq!(request.json()["id"], body_id);
        assert!(request.text().contains(".0}"), "the bytes that came in: {}", request.text());
    }
    let stats = tenant.api.get(&format!("/v1/subscriptions/{}/stats", made["id"].as_str().unwrap())).await.json(200);
    assert_eq!((&stats["delivered"], &stats["event_to_delivery_ms"]["avg"]), (&json!(2), &Value::Null), "{stats}");
    let again = replay(&tenant, &clock, wanted).await;
    assert_eq!(done(&tenant, &again).await["deliveries_made"], 0);
    assert_eq!(endpoint.count("/"), 2);
}

/// What failed is sent again, by the same delivery; with fresh ids it is another message to its receiver. A failure of
/// a replay is retried as any other, with identical bytes.
#[tokio::test]
async fn where_it_failed() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::statuses(&[500, 500, 200]).await;
    let tenant = gateway.tenant("acme").await;
    let policy = json!({"schedule": ["0s"], "jitter": 0});
    let made = tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "retry_policy": policy})).await;
    let event = tenant.api.post("/v1/events", json!({"id": "o-1", "type": "a", "data": 1})).await.json(202);
    let failed = tenant.status(&event, "failed").await;
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    let policy = json!({"retry_policy": {"schedule": ["0s", "1m", "1m"], "jitter": 0}});
    tenant.api.patch(&path, policy).await.is(200);
    let begun = replay(&tenant, &clock, json!({"since": SINCE, "only": "failed", "fresh_ids": true})).await;
    assert_eq!(done(&tenant, &begun).await["deliveries_made"], 1);
    assert_eq!(tenant.attempts(&event, 2).await["status"], "pending");
    clock.advance("1m").await;
    let delivered = tenant.status(&event, "delivered").await;
    assert_eq!(delivered["id"], failed["id"], "it is the same delivery");
    let triggers: Vec<_> = delivered["attempts"].as_array().unwrap().iter().map(|one| &one["trigger"]).collect();
    assert_eq!(triggers, ["automatic", "replay", "replay"]);
    let requests = endpoint.all();
    let ids: Vec<_> = requests.iter().map(|one| one.header("webhook-id")).collect();
    let (event, delivery) = (event["id"].as_str().unwrap(), delivered["id"].as_str().unwrap());
    assert_eq!(ids, [event, delivery, delivery]);
    assert_eq!((&requests[0].json()["id"], &requests[1].json()["id"]), (&json!("o-1"), &json!(delivery)));
    assert_eq!(requests[1].body, requests[2].body);
    assert_eq!(delivered["attempts"][2]["request"]["body"], requests[2].text(), "it is read as it was sent");
}

/// In the middle of a replay the process is killed: it goes on, and every event arrives once. What comes in meanwhile
/// does not wait for it.
#[tokio::test]
async fn a_replay_survives_a_crash() {
    const EVENTS: usize = 350;
    let mut gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    batch(&tenant, "a", EVENTS).await;
    let slow = json!({"url": endpoint.url("/slow"), "events": ["a"], "rate_limit": {"per": "1h", "max": 1}});
    let slow = tenant.subscribe(slow).await;
    tenant.subscribe(json!({"url": endpoint.url("/live"), "events": ["live"]})).await;
    let begun = replay(&tenant, &clock, json!({"since": SINCE, "only": "missing"})).await;
    let path = format!("/v1/replays/{}", begun["id"].as_str().unwrap());
    let is_held_up = async || Some(()).filter(|()| endpoint.count("/slow") == 1);
    eventually("the first of a slow endpoint", is_held_up).await;
    let seen = async || tenant.api.get(&path).await.json(200)["events_seen"].as_u64().filter(|seen| *seen > 0);
    let seen = eventually("a first step", seen).await;
    assert!(seen < EVENTS as u64, "a replay waits for its endpoint");
    let live = tenant.post("live", json!(1)).await;
    tenant.status(&live, "delivered").await;

    gateway.kill9().await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    let slow = format!("/v1/subscriptions/{}", slow["id"].as_str().unwrap());
    assert_eq!(tenant.api.get(&path).await.json(200)["state"], "running");
    tenant.api.patch(&slow, json!({"rate_limit": null})).await.is(200);
    let ended = done(&tenant, &begun).await;
    assert_eq!((&ended["events_seen"], &ended["deliveries_made"]), (&json!(EVENTS), &json!(EVENTS)), "{ended}");
    let requests = endpoint.wait("/slow", EVENTS).await;
    let ids: HashSet<_> = requests.iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), EVENTS, "none is missing");
    let all = tenant.deliveries("type=a").await;
    assert_eq!(all.len(), EVENTS, "and none was made twice");
}

/// A dry run over the real store, a cancelled replay, and one of a subscription that is deleted under it.
#[tokio::test]
async fn replays_that_do_not_go_through() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    batch(&tenant, "a", 250).await;
    let slow = json!({"url": endpoint.url("/"), "events": ["a"], "rate_limit": {"per": "1h", "max": 1}});
    let slow = tenant.subscribe(slow).await;
    clock.advance("1s").await;
    let wanted = json!({"since": SINCE, "only": "all", "subscription_id": slow["id"]});
    let mut dry = wanted.clone();
    dry["dry_run"] = json!(true);
    let dry = tenant.api.post("/v1/replays", dry).await.json(200);
    assert_eq!((&dry["deliveries_made"], dry["examples"].as_array().unwrap().len()), (&json!(250), 10));
    assert!(tenant.deliveries("").await.is_empty());

    let cancelled = tenant.api.post("/v1/replays", wanted.clone()).await.json(202);
    let failed = tenant.api.post("/v1/replays", wanted).await.json(202);
    let path = format!("/v1/replays/{}", cancelled["id"].as_str().unwrap());
    let ended = tenant.api.delete(&path).await.json(200);
    assert_eq!(ended["state"], "cancelled");
    assert!(ended["events_seen"].as_u64().unwrap() < 250, "{ended}");
    tenant.api.delete(&format!("/v1/subscriptions/{}", slow["id"].as_str().unwrap())).await.is(204);
    let ended = done(&tenant, &failed).await;
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("failed"), &json!("the subscription was deleted")));
    let stranger = gateway.tenant("other").await;
    stranger.api.get(&path).await.problem(404, "not-found");
    assert_eq!(stranger.api.get("/v1/replays").await.json(200)["data"], json!([]));
}

/// Once a gateway has come up with what an earlier one wrote, replays are as they were.
#[tokio::test]
async fn replays_are_remembered() {
    let mut gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.post("a", json!(1)).await;
    let begun = tenant.api.post("/v1/replays", json!({"since": SINCE, "only": "missing"})).await.json(202);
    let ended = done(&tenant, &begun).await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(tenant.api.get("/v1/replays").await.json(200)["data"], json!([ended]));
}
