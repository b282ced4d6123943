//! Replays, over subscriptions that are paused, so that what is made can be looked at.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Tenant, World, text};

impl World {
    async fn batch(&self, tenant: &Tenant, event_type: &str, count: usize) {
        let batch: Vec<Value> = (0..count).map(|n| json!({"type": event_type, "data": {"n": n}})).collect();
        assert_eq!(self.post("/v1/events", &tenant.ingest, json!(batch)).await.expect(202)["accepted"], count);
    }

    async fn deliveries(&self, tenant: &Tenant, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/deliveries?limit=200&{query}"), &tenant.viewer).await.expect(200);
        page["data"].as_array().unwrap().clone()
    }

    /// The replay, once it is as wanted.
    async fn replay_when(&self, tenant: &Tenant, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let replay = self.get(&format!("/v1/replays/{id}"), &tenant.viewer).await.expect(200);
            if wanted(&replay) {
                return replay;
            }
            assert!(tokio::time::Instant::now() < deadline, "{replay}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn replayed(&self, tenant: &Tenant, wanted: Value) -> Value {
        let begun = self.post("/v1/replays", &tenant.editor, wanted).await.expect(202);
        self.replay_when(tenant, &text(&begun, "/id"), |replay| replay["state"] == "done").await
    }
}

const SINCE: &str = "2026-01-01T00:00:00Z";

fn counts(replay: &Value) -> [u64; 3] {
    ["events_seen", "events_matched", "deliveries_made"].map(|name| replay[name].as_u64().unwrap())
}

#[tokio::test]
async fn what_is_missing_is_made_once() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.batch(&tenant, "old", 1).await;
    world.clock.advance(Duration::from_secs(1));
    world.batch(&tenant, "a", 3).await;
    world.batch(&tenant, "b", 2).await;
    world.clock.advance(Duration::from_secs(1));
    let late = world.paused(&tenant, &["a", "b"]).await;
    world.batch(&tenant, "a", 1).await;
    world.clock.advance(Duration::from_secs(1));
    let since = "2026-01-01T00:00:01Z";

    let wanted = json!({"since": since, "only": "missing", "filter": {"n": {"gte": 1}}});
    let mut dry = wanted.clone();
    dry["dry_run"] = json!(true);
    let dry = world.post("/v1/replays", &tenant.editor, dry).await.expect(200);
    assert_eq!((counts(&dry), &dry["complete"], &dry["id"]), ([6, 3, 3], &json!(true), &Value::Null));
    let types: Vec<_> = dry["examples"].as_array().unwrap().iter().map(|one| text(one, "/event_type")).collect();
    assert_eq!(types, ["a", "a", "b"]);
    assert_eq!(world.get("/v1/replays", &tenant.viewer).await.expect(200)["data"], json!([]));
    assert_eq!(world.deliveries(&tenant, "").await.len(), 1, "a dry run makes nothing");

    let done = world.replayed(&tenant, wanted.clone()).await;
    assert_eq!(counts(&done), [6, 3, 3]);
    assert_eq!((&done["started_at"], &done["finished_at"]), (&json!("2026-01-01T00:00:03.000Z"), &done["started_at"]));
    let made = world.deliveries(&tenant, &format!("subscription_id={late}&since=2026-01-01T00:00:03Z")).await;
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|one| one["status"] == "held" && one["reason"] == "the subscription is paused"));
    let event = text(&made[0], "/event_id");
    assert_eq!(world.deliveries(&tenant, &format!("event_id={event}")).await, [made[0].clone()]);
    let explained = world.get(&format!("/v1/events/{event}/explain"), &tenant.viewer).await.expect(200);
    assert_eq!(explained["data"][0]["delivery_ids"], json!([made[0]["id"]]));
    assert_eq!(counts(&world.replayed(&tenant, wanted).await), [6, 0, 0], "it is not missing any more");
    let rest = json!({"since": since, "until": "2026-01-01T00:00:02Z", "only": "missing", "subscription_id": late});
    assert_eq!(counts(&world.replayed(&tenant, rest).await), [5, 2, 2]);
    assert_eq!(world.get("/v1/replays", &tenant.viewer).await.expect(200)["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_failed_is_due_again_and_all_is_made_anew() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let subscription = world.paused(&tenant, &["a"]).await;
    world.batch(&tenant, "a", 3).await;
    world.clock.advance(Duration::from_secs(1));
    let before = world.deliveries(&tenant, "").await;
    for delivery in &before[..2] {
        let path = format!("/v1/deliveries/{}/cancel", text(delivery, "/id"));
        world.call("POST", &path, &tenant.editor, None).await.expect(200);
    }
    let other = world.paused(&tenant, &["b"]).await;
    let nothing = json!({"since": SINCE, "only": "failed", "subscription_id": other});
    assert_eq!(counts(&world.replayed(&tenant, nothing).await), [3, 0, 0]);
    let all = json!({"since": SINCE, "only": "all"});
    assert_eq!(counts(&world.replayed(&tenant, all.clone()).await), [3, 2, 2], "one of them is still pending");
    assert_eq!(world.deliveries(&tenant, "").await.len(), 5);
    let failed = json!({"since": SINCE, "only": "failed", "fresh_ids": true});
    assert_eq!(counts(&world.replayed(&tenant, failed).await), [3, 2, 2]);
    let after = world.deliveries(&tenant, &format!("subscription_id={subscription}&status=held")).await;
    assert_eq!(after.len(), 5, "the same deliveries again");
    assert_eq!(counts(&world.replayed(&tenant, all).await), [3, 0, 0], "all of them are pending");
}

/// A subscription that may send little holds a replay up, and is all that it holds up; two run at once.
#[tokio::test]
async fn a_replay_does_not_run_ahead() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.batch(&tenant, "a", 300).await;
    world.clock.advance(Duration::from_secs(1));
    let slow = json!({"url": "http://127.0.0.1:1/", "events": ["a"], "rate_limit": {"per": "1h", "max": 1}});
    let slow = text(&world.post("/v1/subscriptions", &tenant.editor, slow).await.expect(201), "/id");
    let wanted = json!({"since": SINCE, "only": "missing"});
    let begin = async || world.post("/v1/replays", &tenant.editor, wanted.clone()).await;
    let first = text(&begin().await.expect(202), "/id");
    let held_up = world.replay_when(&tenant, &first, |replay| replay["events_seen"] == 64).await;
    assert_eq!((&held_up["state"], &held_up["finished_at"]), (&json!("running"), &Value::Null));
    let second = text(&begin().await.expect(202), "/id");
    let problem = begin().await.problem(409, "limit-reached");
    assert!(text(&problem, "/detail").contains("cancel"), "{problem}");
    for id in [&first, &second] {
        let path = format!("/v1/replays/{id}");
        let cancelled = world.call("DELETE", &path, &tenant.editor, None).await.expect(200);
        assert_eq!((&cancelled["state"], cancelled["finished_at"].is_string()), (&json!("cancelled"), true));
        assert_eq!(world.call("DELETE", &path, &tenant.editor, None).await.expect(200), cancelled);
    }
    let made = counts(&world.get(&format!("/v1/replays/{first}"), &tenant.viewer).await.expect(200))[2];
    assert_eq!(made, 64, "what was made stays, and no more is made");
    assert_eq!(world.deliveries(&tenant, &format!("subscription_id={slow}")).await.len(), 64);
    // Paused, it holds nothing up.
    world.call("POST", &format!("/v1/subscriptions/{slow}/pause"), &tenant.editor, None).await.expect(200);
    let done = world.replayed(&tenant, wanted.clone()).await;
    assert_eq!(counts(&done), [300, 236, 236]);
    let path = format!("/v1/replays/{}", text(&done, "/id"));
    let problem = world.call("DELETE", &path, &tenant.editor, None).await.problem(409, "conflict");
    assert!(text(&problem, "/detail").contains("done"), "{problem}");
}

#[tokio::test]
async fn what_is_asked_for_is_checked() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    world.batch(&tenant, "a", 1).await;
    world.clock.advance(Duration::from_secs(1));
    let disabled = json!({"url": "https://example.com/hooks", "events": ["a"], "enabled": false});
    let disabled = text(&world.post("/v1/subscriptions", &tenant.editor, disabled).await.expect(201), "/id");
    for (wanted, pointer) in [
        (json!({"since": "2026-01-01T00:00:01Z", "only": "all"}), "#/since"),
        (json!({"since": SINCE, "until": SINCE, "only": "all"}), "#/since"),
        (json!({"since": "yesterday", "only": "all"}), "#/since"),
        (json!({"since": SINCE, "only": "some"}), "#/only"),
        (json!({"since": SINCE}), "#"),
        (json!({"since": SINCE, "only": "all", "filter": {"a": {"equals": 1}}}), "#/filter/a/equals"),
        (json!({"since": SINCE, "only": "all", "subscription_id": "sub_1"}), "#/subscription_id"),
        (json!({"since": SINCE, "only": "all", "subscription_id": disabled}), "#/subscription_id"),
        (json!({"since": SINCE, "only": "all", "types": ["a"]}), "#/types"),
    ] {
        let problem = world.post("/v1/replays", &tenant.editor, wanted.clone()).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{wanted}: {problem}");
    }
    let wanted = json!({"since": SINCE, "only": "failed"});
    world.post("/v1/replays", &tenant.viewer, wanted.clone()).await.problem(403, "forbidden");
    let key = [("idempotency-key", "k1"), ("content-type", "application/json")];
    let begin = async || {
        text(&world.raw("POST", "/v1/replays", &tenant.editor, &key, wanted.to_string()).await.expect(202), "/id")
    };
    assert_eq!(begin().await, begin().await);
}
