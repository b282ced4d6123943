//! The life of tenants, subscriptions, deliveries and inboxes.

use std::time::Duration;

use axum::body::Body;
use futures_util::{poll, stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::world::{OPERATOR, World, text};
use crate::store::Record;

#[tokio::test]
async fn tenants() {
    let world = World::new().await;
    let wanted = json!({"name": "Acme", "uid": "acme", "metadata": {"plan": "gold"}});
    let made = world.post("/v1/tenants", OPERATOR, wanted).await;
    let location = made.headers["location"].to_str().unwrap().to_owned();
    let made = made.expect(201);
    assert!(text(&made, "/key").starts_with("hmk_"));
    assert_eq!(location, format!("/v1/tenants/{}", text(&made, "/id")));
    assert_eq!(made["created_at"], "2026-01-01T00:00:00.000Z");
    let read = world.get("/v1/tenants/uid:acme", OPERATOR).await.expect(200);
    assert_eq!((&read["id"], &read["metadata"]["plan"]), (&made["id"], &json!("gold")));
    assert!(read.get("key").is_none());
    world.post("/v1/tenants", OPERATOR, json!({"name": "B", "uid": "acme"})).await.problem(409, "conflict");

    let patch = json!({"limits": {"events_per_second": 5}, "metadata": {"plan": null, "since": 2020}, "uid": null});
    let patched = world.patch("/v1/tenants/uid:acme", OPERATOR, patch).await.expect(200);
    assert_eq!(patched["limits"], json!({"events_per_second": 5}));
    assert_eq!(patched["metadata"], json!({"since": 2020}));
    assert_eq!(patched["uid"], Value::Null);
    world.get("/v1/tenants/uid:acme", OPERATOR).await.problem(404, "not-found");
    let usage = world.get(&format!("{location}/usage"), OPERATOR).await.expect(200);
    assert_eq!(
        usage,
        json!({"subscriptions": 0, "sources": 0, "keys": 1, "inboxes": 0, "plugins": 0, "plugin_bytes": 0})
    );
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_when_to_come_back() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let limits = json!({"limits": {"events_per_second": 2}});
    world.patch(&format!("/v1/tenants/{}", tenant.id), OPERATOR, limits).await.expect(200);
    let event = json!({"type": "a", "data": 1});
    for _ in 0..2 {
        world.post("/v1/events", &tenant.ingest, event.clone()).await.expect(202);
    }
    let answer = world.post("/v1/events", &tenant.ingest, event.clone()).await;
    answer.problem(429, "rate-limited");
    assert_eq!(answer.headers["retry-after"], "1");
    let batch = json!([event, event]);
    world.post("/v1/events", &tenant.ingest, batch).await.problem(429, "rate-limited");
    world.clock.advance(Duration::from_secs(1));
    world.post("/v1/events", &tenant.ingest, event).await.expect(202);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for at in 0..5 {
        let wanted = json!({"url": "https://example.com/hooks", "events": ["a"], "name": at.to_string()});
        world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201);
        world.post("/v1/events", &tenant.ingest, json!({"type": "b", "data": at})).await.expect(202);
    }
    for list in ["/v1/subscriptions", "/v1/events", "/v1/webhooks"] {
        let mut seen = Vec::new();
        let mut path = format!("{list}?limit=2");
        loop {
            let page = world.get(&path, &tenant.viewer).await.expect(200);
            seen.extend(page["data"].as_array().unwrap().iter().map(|item| text(item, "/id")));
            match page["next"].as_str() {
                Some(next) => path = format!("{list}?limit=2&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 5, "{list}");
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 5, "{list}");
    }
    // One list's place is none in another.
    let page = world.get("/v1/events?limit=1", &tenant.viewer).await.expect(200);
    let path = format!("/v1/deliveries?cursor={}", text(&page, "/next"));
    world.get(&path, &tenant.viewer).await.problem(422, "invalid");
}

#[tokio::test]
async fn the_life_of_a_subscription() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({
        "uid": "crm", "name": "CRM", "url": "https://example.com/hooks", "events": ["order.*"],
        "filters": {"amount": {"gte": 50}}, "headers": {"X-A": "b"}, "secret_headers": {"X-Key": "topsecret"},
        "auth": {"type": "bearer", "token": "alsosecret"}, "timeout": "5s",
        "retry_policy": {"max_retries": 3, "backoff": "exponential", "initial": "1s"},
        "rate_limit": {"per": "1s", "max": 10}, "metadata": {"a": [1]}
    });
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted).await;
    assert_eq!(made.headers["etag"], "\"1\"");
    let made = made.expect(201);
    let secret = text(&made, "/secret");
    assert!(secret.starts_with("whsec_"));
    let read = world.get("/v1/subscriptions/uid:crm", &tenant.viewer).await;
    let shown = String::from_utf8_lossy(&read.body).into_owned();
    for hidden in [secret.as_str(), "topsecret", "alsosecret"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    let read = read.expect(200);
    assert_eq!(read["auth"], json!({"type": "bearer"}));
    assert_eq!(read["secrets_set"], json!(["#/auth/token", "#/secret", "#/secret_headers/X-Key"]));
    for (field, value) in [
        ("url", json!("https://example.com/hooks")),
        ("timeout", json!("5s")),
        ("state", json!("active")),
        ("state_reason", json!(null)),
        ("enabled", json!(true)),
        ("revision", json!(1)),
        ("envelope", json!("standard")),
        ("success", json!(["2xx"])),
        ("filters", json!({"amount": {"gte": 50}})),
        ("headers", json!({"X-A": "b"})),
        ("signing", json!({"scheme": "standard"})),
        ("metadata", json!({"a": [1]})),
        ("updated_at", json!("2026-01-01T00:00:00.000Z")),
    ] {
        assert_eq!(read[field], value, "{field}");
    }
    let again = json!({"uid": "crm", "url": "https://example.com/2", "events": ["a"]});
    world.post("/v1/subscriptions", &tenant.editor, again).await.problem(409, "conflict");

    // A change keeps secrets that it does not name.
    world.clock.advance(Duration::from_secs(1));
    let path = "/v1/webhooks/uid:crm";
    let patched =
        world.patch(path, &tenant.editor, json!({"name": null, "filters": {"amount": null, "b": {"eq": 1}}})).await;
    assert_eq!(patched.headers["etag"], "\"2\"");
    let patched = patched.expect(200);
    assert_eq!((&patched["name"], &patched["filters"]), (&json!(null), &json!({"b": {"eq": 1}})));
    assert_eq!(patched["secrets_set"], read["secrets_set"]);
    assert_eq!(patched["updated_at"], "2026-01-01T00:00:01.000Z");
    assert_eq!(patched["created_at"], read["created_at"]);
    let kept = world.get(&format!("{path}/secret"), &tenant.admin).await.expect(200);
    assert_eq!(kept["secret"], json!(secret));
    // Another kind of auth replaces the one before.
    let auth = json!({"auth": {"type": "basic", "username": "u", "password": "pass-word"}, "secret_headers": null});
    let patched = world.patch(path, &tenant.editor, auth).await.expect(200);
    assert_eq!(patched["auth"], json!({"type": "basic", "username": "u"}));
    assert_eq!(patched["secrets_set"], json!(["#/auth/password", "#/secret"]));
    // A credential does not follow to another host.
    let moved = world.patch(path, &tenant.editor, json!({"url": "https://elsewhere.example/"})).await;
    assert_eq!(moved.problem(422, "invalid")["errors"][0]["pointer"], "#/auth/password");

    world.call("DELETE", path, &tenant.editor, None).await.expect(204);
    world.get(path, &tenant.viewer).await.problem(404, "not-found");
}

#[tokio::test]
async fn urls_that_are_credentials_are_cut() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted =
        json!({"url": "https://hooks.slack.com/services/T0/B0/xyz", "events": ["a"], "signing": {"scheme": "none"}});
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted).await;
    assert!(!String::from_utf8_lossy(&made.body).contains("xyz"));
    let made = made.expect(201);
    assert_eq!((&made["url"], &made["secret"]), (&json!("https://hooks.slack.com/…"), &json!(null)));
    assert_eq!(made["secrets_set"], json!(["#/url"]));
    let path = format!("/v1/subscriptions/{}/secret", text(&made, "/id"));
    world.get(&path, &tenant.admin).await.problem(404, "not-found");
}

#[tokio::test]
async fn if_match_keeps_two_people_from_undoing_each_other() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let id = world.paused(&tenant, &["a"]).await;
    let source = text(&world.post("/v1/sources", &tenant.editor, json!({"name": "s"})).await.expect(201), "/id");
    for (path, key) in [
        (format!("/v1/subscriptions/{id}"), tenant.editor.as_str()),
        (format!("/v1/sources/{source}"), tenant.editor.as_str()),
        (format!("/v1/tenants/{}", tenant.id), OPERATOR),
    ] {
        world.clock.advance(Duration::from_secs(1));
        let tag = world.get(&path, key).await.headers["etag"].to_str().unwrap().to_owned();
        let with = async |tag: &str, name: &str| {
            let body = json!({"name": name}).to_string();
            world.raw("PATCH", &path, key, &[("if-match", tag)], body).await
        };
        let changed = with(&tag, "one").await;
        changed.expect(200);
        assert_ne!(changed.headers["etag"].to_str().unwrap(), tag, "{path}");
        with(&tag, "two").await.problem(412, "precondition-failed");
        with("*", "three").await.expect(200);
        world.raw("DELETE", &path, key, &[("if-match", &tag)], "").await.problem(412, "precondition-failed");
    }
}

/// As when an attempt disables a subscription that its owner deletes at that moment.
#[tokio::test]
async fn a_change_that_comes_late_undoes_nothing() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let id = world.paused(&tenant, &["a"]).await;
    let plan = world.registry.plan(tenant.id.parse().unwrap(), id.parse().unwrap()).unwrap();
    let mut late = (*plan.subscription).clone();
    late.revision += 1;
    let save = async || {
        let late = vec![Record::Subscription(late.clone())];
        world.registry.save(late, Vec::new()).await.unwrap_err().to_string()
    };
    let path = format!("/v1/subscriptions/{id}");
    world.patch(&path, &tenant.editor, json!({"name": "changed"})).await.expect(200);
    assert_eq!(save().await, "the subscription was changed meanwhile; try again");
    assert_eq!(text(&world.get(&path, &tenant.editor).await.expect(200), "/name"), "changed");
    world.call("DELETE", &path, &tenant.editor, None).await.expect(204);
    assert_eq!(save().await, "the subscription was deleted meanwhile");
    world.get(&path, &tenant.editor).await.expect(404);
}

#[tokio::test]
async fn pausing_and_enabling() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let id = world.paused(&tenant, &["a"]).await;
    let path = format!("/v1/subscriptions/{id}");
    let post = async |rest: &str| world.call("POST", &format!("{path}{rest}"), &tenant.editor, None).await;
    let read = post("/pause").await.expect(200);
    assert_eq!(
        (&read["state"], &read["state_reason"], &read["revision"]),
        (&json!("paused"), &json!("user"), &json!(2))
    );
    // A change leaves it paused.
    assert_eq!(world.patch(&path, &tenant.editor, json!({"name": "x"})).await.expect(200)["state"], "paused");
    assert_eq!(post("/resume").await.expect(200)["state"], "active");
    let disabled = world.patch(&path, &tenant.editor, json!({"enabled": false})).await.expect(200);
    let mut in_state = Vec::new();
    for state in ["active", "paused", "disabled"] {
        let list = world.get(&format!("/v1/subscriptions?state={state}"), &tenant.viewer).await.expect(200);
        in_state.push(list["data"].as_array().unwrap().iter().filter(|one| one["id"] == disabled["id"]).count());
    }
    assert_eq!(in_state, [0, 0, 1]);
    world.get("/v1/subscriptions?state=tired", &tenant.viewer).await.problem(422, "invalid");
    assert_eq!((&disabled["state"], &disabled["enabled"]), (&json!("disabled"), &json!(false)));
    assert_eq!(world.patch(&path, &tenant.editor, json!({"name": "y"})).await.expect(200)["state"], "disabled");
    post("/pause").await.problem(409, "conflict");
    post("/resume").await.problem(409, "conflict");
    let enabled = world.patch(&path, &tenant.editor, json!({"enabled": true})).await.expect(200);
    assert_eq!((&enabled["state"], &enabled["state_reason"]), (&json!("active"), &json!(null)));
}

#[tokio::test]
async fn secrets_are_rotated() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"url": "https://example.com/hooks", "events": ["a"]});
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201);
    let (path, old) = (format!("/v1/subscriptions/{}", text(&made, "/id")), text(&made, "/secret"));
    let rotate = async |body: Value| world.post(&format!("{path}/rotate-secret"), &tenant.admin, body).await;
    world.post(&format!("{path}/rotate-secret"), &tenant.editor, json!({})).await.problem(403, "forbidden");
    world.call("POST", &format!("{path}/rotate-secret/finish"), &tenant.admin, None).await.problem(409, "conflict");
    rotate(json!({"overlap": "99d"})).await.problem(422, "invalid");
    rotate(json!({"secret": "whsec_c2hvcnQ="})).await.problem(422, "invalid");

    let begun = rotate(json!({"overlap": "1h"})).await.expect(200);
    assert_eq!((&begun["secret"], &begun["next_from"]), (&json!(old), &json!("2026-01-01T01:00:00.000Z")));
    let new = text(&begun, "/next_secret");
    rotate(json!({})).await.problem(409, "conflict");
    let shown = async || world.get(&format!("{path}/secret"), &tenant.admin).await.expect(200);
    assert_eq!(shown().await["secret"], json!(old));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(shown().await, json!({"secret": new, "next_secret": null, "next_from": null}), "it ends by itself");
    // What has ended by itself is written down by the next change.
    world.patch(&path, &tenant.editor, json!({"name": "x"})).await.expect(200);
    assert_eq!(shown().await["secret"], json!(new));

    let third = text(&rotate(json!({})).await.expect(200), "/next_secret");
    let finished = world.call("POST", &format!("{path}/rotate-secret/finish"), &tenant.admin, None).await.expect(200);
    assert_eq!((&finished["secret"], &finished["next_secret"]), (&json!(third), &json!(null)));
    let at_once = rotate(json!({"overlap": "0s"})).await.expect(200);
    assert_eq!(at_once["next_secret"], Value::Null);
    assert_ne!(at_once["secret"], json!(third));
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    world.patch(&path, &tenant.editor, json!({"secret": given})).await.expect(200);
    assert_eq!(shown().await["secret"], json!(given));
}

#[tokio::test]
async fn what_happened_can_be_looked_at() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wants = world.paused(&tenant, &["order.*"]).await;
    let other = world.paused(&tenant, &["user.*"]).await;
    let event = text(
        &world.post("/v1/events", &tenant.ingest, json!({"type": "order.paid", "data": 1})).await.expect(202),
        "/id",
    );
    world.post("/v1/events", &tenant.ingest, json!({"type": "lost", "data": 1})).await.expect(202);

    let explained = world.get(&format!("/v1/events/{event}/explain"), &tenant.viewer).await.expect(200);
    let of = |id: &str| {
        let items = explained["data"].as_array().unwrap();
        items.iter().find(|item| item["subscription_id"] == id).unwrap().clone()
    };
    assert_eq!(of(&wants)["matched"], true);
    assert_eq!(of(&wants)["delivery_ids"].as_array().unwrap().len(), 1);
    assert_eq!(of(&other)["matched"], false);
    assert!(text(&of(&other), "/why").contains("order.paid"));

    for (query, count) in [("", 2), ("?type=order.paid", 1), ("?matched=false", 1), ("?since=2027-01-01T00:00:00Z", 0)]
    {
        let page = world.get(&format!("/v1/events{query}"), &tenant.viewer).await.expect(200);
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{query}");
    }
    let deliveries = world.get(&format!("/v1/webhooks/{wants}/deliveries"), &tenant.viewer).await.expect(200);
    let delivery = &deliveries["data"][0];
    for (field, value) in [
        ("event_id", json!(event)),
        ("event_type", json!("order.paid")),
        ("subscription_id", json!(wants)),
        ("status", json!("held")),
        ("attempt_count", json!(0)),
        ("created_at", json!("2026-01-01T00:00:00.000Z")),
        ("finished_at", json!(null)),
        ("last_status_code", json!(null)),
    ] {
        assert_eq!(delivery[field], value, "{field}");
    }
    let id = text(delivery, "/id");
    assert_eq!(world.get(&format!("/v1/deliveries/{id}"), &tenant.viewer).await.expect(200)["attempts"], json!([]));
    let empty = world.get(&format!("/v1/webhooks/{other}/deliveries"), &tenant.viewer).await.expect(200);
    assert_eq!(empty["data"], json!([]));
    let wrong = format!("/v1/integrations/webhooks/{other}/deliveries/{id}/retry");
    world.call("POST", &wrong, &tenant.editor, None).await.problem(404, "not-found");
    let right = format!("/v1/integrations/webhooks/{wants}/deliveries/{id}/retry");
    world.call("POST", &right, &tenant.editor, None).await.expect(200);

    let stats = world.get(&format!("/v1/subscriptions/{wants}/stats"), &tenant.viewer).await.expect(200);
    assert_eq!((&stats["pending"], &stats["delivered"], &stats["complete"]), (&json!(1), &json!(0), &json!(true)));
    assert_eq!(stats["success_rate"], Value::Null);
    assert_eq!(stats["health"].as_array().unwrap().len(), 4);
    let series = stats["series"].as_array().unwrap();
    assert_eq!((series.len(), &series[23]["pending"]), (24, &json!(1)));
}

#[tokio::test]
async fn what_is_owed_can_be_ended() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let subscription = world.paused(&tenant, &["a"]).await;
    let path = format!("/v1/subscriptions/{subscription}");
    for at in 0..3 {
        world.post("/v1/events", &tenant.ingest, json!({"type": "a", "data": at})).await.expect(202);
    }
    let statuses = async || {
        let page = world.get(&format!("{path}/deliveries"), &tenant.viewer).await.expect(200);
        page["data"].as_array().unwrap().iter().map(|item| text(item, "/status")).collect::<Vec<_>>()
    };
    let page = world.get("/v1/deliveries", &tenant.viewer).await.expect(200);
    let one = format!("/v1/deliveries/{}", text(&page, "/data/0/id"));
    let post = async |rest: &str| world.call("POST", &format!("{one}/{rest}"), &tenant.editor, None).await;
    assert_eq!(post("cancel").await.expect(200)["status"], "cancelled");
    assert_eq!(statuses().await, ["cancelled", "held", "held"], "the subscription is paused");
    assert_eq!(post("retry").await.expect(200)["status"], "held", "a person may change their mind");
    let disabled = world.patch(&format!("{path}?pending=cancel"), &tenant.editor, json!({"enabled": false})).await;
    assert_eq!(disabled.expect(200)["state"], "disabled");
    assert_eq!(statuses().await, ["cancelled"; 3]);
    world.patch(&format!("{path}?pending=perhaps"), &tenant.editor, json!({})).await.problem(422, "invalid");
    world.call("DELETE", &path, &tenant.editor, None).await.expect(204);
    post("retry").await.problem(409, "conflict");
    world.get(&one, &tenant.viewer).await.expect(200);
}

#[tokio::test]
async fn a_test_is_sent_although_paused_and_recorded() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    // Nothing listens on the discard port: the attempt is made, and fails.
    let wanted = json!({"url": "http://127.0.0.1:9/hooks", "events": ["order.paid"], "filters": {"amount": {"gt": 1}}});
    let id = text(&world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201), "/id");
    world.call("POST", &format!("/v1/subscriptions/{id}/pause"), &tenant.editor, None).await.expect(200);
    let path = format!("/v1/subscriptions/{id}/test");
    let event = json!({"event": {"id": "t1", "type": "order.paid", "data": {"amount": 0}}});
    let tested = world.post(&path, &tenant.editor, event).await.expect(200);
    assert_eq!((&tested["attempt"]["trigger"], &tested["attempt"]["outcome"]), (&json!("test"), &json!("unreachable")));
    assert_eq!(tested["attempt"]["blame"], "network");
    assert_eq!(tested["delivery"]["status"], "failed");
    let body = text(&tested, "/attempt/request/body");
    assert_eq!(
        body,
        r#"{"id":"t1","type":"order.paid","timestamp":"2026-01-01T00:00:00.000Z","data":{"amount": 0}}"#
            .replace(": ", ":")
    );
    let delivery = format!("/v1/deliveries/{}", text(&tested, "/delivery/id"));
    let read = world.get(&delivery, &tenant.viewer).await.expect(200);
    assert_eq!(read["attempts"][0]["id"], tested["attempt"]["id"]);
    assert_eq!(read["attempts"][0]["request"]["body"], tested["attempt"]["request"]["body"]);
    let stats = world.get(&format!("/v1/subscriptions/{id}/stats"), &tenant.viewer).await.expect(200);
    assert_eq!((&stats["failed"], &stats["pending"]), (&json!(0), &json!(0)), "a test does not count");
    world.call("POST", &path, &tenant.editor, None).await.expect(200);
    world
        .post(&path, &tenant.editor, json!({"type": "a", "event_id": text(&read, "/event_id")}))
        .await
        .problem(422, "invalid");
    world
        .post(&path, &tenant.editor, json!({"event": {"type": "hookmill.x", "data": 1}}))
        .await
        .problem(422, "invalid");
    let problem = world.post(&path, &tenant.editor, json!({"event": {"type": "a b", "data": 1}})).await;
    assert_eq!(problem.problem(422, "invalid")["errors"][0]["pointer"], "#/event/type");
    world.post(&path, &tenant.viewer, json!({})).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_preview_saves_nothing() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let body = json!({
        "subscription": {"url": "https://example.com/hooks", "events": ["order.*"], "filters": {"amount": {"gte": 50}}, "secret_headers": {"x-key": "topsecret"}},
        "event": {"type": "order.paid", "data": {"amount": 10}}
    });
    let answer = world.post("/v1/subscriptions/preview", &tenant.editor, body).await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("topsecret"));
    let preview = answer.expect(200);
    assert_eq!((&preview["matched"], &preview["steps"]), (&json!(false), &json!([])));
    assert!(text(&preview, "/why").contains("amount"), "{preview}");
    assert_eq!(preview["request"]["method"], "POST");
    assert_eq!(preview["request"]["headers"]["x-key"], "<redacted>");
    assert!(preview.get("attempt").is_none());
    assert_eq!(world.get("/v1/subscriptions", &tenant.viewer).await.expect(200)["data"], json!([]));
    assert_eq!(world.get("/v1/events", &tenant.viewer).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_write_is_done_once() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let other = world.tenant("b").await;
    let body = |name: &str| json!({"url": "https://example.com/hooks", "events": ["a"], "name": name}).to_string();
    let post = async |key: &str, body: String| {
        world.raw("POST", "/v1/subscriptions", key, &[("idempotency-key", "once")], body).await
    };
    let first = post(&tenant.editor, body("x")).await;
    let again = post(&tenant.editor, body("x")).await;
    assert_eq!((first.expect(201), &first.body), (again.expect(201), &again.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_ne!(first.headers["x-request-id"], again.headers["x-request-id"]);
    post(&tenant.editor, body("y")).await.problem(422, "idempotency-key-reused");
    assert_ne!(post(&other.editor, body("x")).await.expect(201)["id"], first.json()["id"]);
    assert_eq!(world.get("/v1/subscriptions", &tenant.viewer).await.expect(200)["data"].as_array().unwrap().len(), 1);
    // A mistake is not kept: it may be mended under the same key.
    let mend = async |body: &str| {
        world.raw("POST", "/v1/sources", &tenant.editor, &[("idempotency-key", "mend")], body.to_owned()).await
    };
    mend("{}").await.problem(422, "invalid");
    mend(r#"{"name":"s"}"#).await.expect(201);
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_ne!(post(&tenant.editor, body("x")).await.expect(201)["id"], first.json()["id"]);
}

#[tokio::test]
async fn a_write_is_done_when_its_client_has_gone() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"url": "https://example.com/hooks", "events": ["a"]}).to_string();
    let post = async |body: Body| {
        world.raw("POST", "/v1/subscriptions", &tenant.editor, &[("idempotency-key", "left")], body).await
    };
    let (arrive, arriving) = oneshot::channel::<String>();
    let mut left = Box::pin(post(Body::from_stream(stream::once(arriving))));
    assert!(poll!(&mut left).is_pending());
    drop(left);
    arrive.send(wanted.clone()).unwrap();
    let made = async || world.get("/v1/subscriptions", &tenant.viewer).await.expect(200)["data"].clone();
    for _ in 0..1_000 {
        if made().await != json!([]) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let first = made().await[0]["id"].clone();
    let again = loop {
        let again = post(wanted.clone().into()).await;
        if again.status != 409 {
            break again;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((again.expect(201)["id"].clone(), made().await.as_array().unwrap().len()), (first, 1));
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn inboxes_take_anything_and_show_it() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let made = world.call("POST", "/v1/inboxes", &tenant.editor, None).await.expect(201);
    let url = text(&made, "/url");
    let path = url.strip_prefix("https://gateway.test").unwrap().to_owned();
    assert_eq!(path.len(), "/inbox/".len() + 32);
    let wanted = json!({"url": url, "events": ["a"]});
    let subscription = text(&world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201), "/id");

    for (bytes, kept, truncated) in [(4 << 20, 4 << 20, false), ((4 << 20) + 1, 4 << 20, true), (70_000, 70_000, false)]
    {
        assert_eq!(world.raw("POST", &path, "", &[], vec![0xff; bytes]).await.status, 200);
        let arrived = world.get(&format!("{path}/requests"), "").await.expect(200);
        let newest = &arrived["data"][0];
        assert_eq!((&newest["truncated"], &newest["body_encoding"]), (&json!(truncated), &json!("base64")));
        assert_eq!(newest["body"].as_str().unwrap().len(), usize::div_ceil(kept, 3) * 4);
    }
    world.raw("POST", &path, "", &[("content-type", "application/json")], "{\"hello\":\"<world>\"}").await;
    world.raw("DELETE", &format!("{path}?a=b"), "", &[], "").await;
    let arrived = world.get(&format!("{path}/requests"), "").await.expect(200);
    let data = arrived["data"].as_array().unwrap();
    assert_eq!(data.len(), 4, "of 8 MiB and more the oldest went");
    assert_eq!((&data[0]["method"], &data[0]["target"]), (&json!("DELETE"), &json!(format!("{path}?a=b"))));
    assert_eq!(data[1]["body"], "{\"hello\":\"<world>\"}");
    assert_eq!(data[1]["signature"]["verdict"], "invalid");
    assert_eq!(data[1]["signature"]["subscription_id"], json!(subscription));
    let since = world.get(&format!("{path}/requests?after={}", text(&data[1], "/id")), "").await.expect(200);
    assert_eq!(since["data"], json!([data[0]]));
    let newest = world.get(&format!("{path}/requests?limit=1"), "").await.expect(200);
    assert_eq!(newest["data"], json!([data[0]]));
    for query in ["after=nothing", "limit=0"] {
        world.get(&format!("{path}/requests?{query}"), "").await.problem(422, "invalid");
    }

    let html = [("accept", "text/html,application/xhtml+xml")];
    let page = world.raw("GET", &path, "", &html, "").await;
    let shown = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(shown.contains("&lt;world&gt;") && !shown.contains("<world>"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (word, status) in [("410", 410), ("500", 500), ("200", 200)] {
        let chosen = world.raw("POST", &format!("{path}/answer"), "", &form, format!("answer={word}")).await;
        assert_eq!((chosen.status.as_u16(), &chosen.headers["location"]), (303, &path.parse().unwrap()));
        assert_eq!(world.raw("POST", &path, "", &[], "x").await.status, status);
    }
    world.raw("POST", &format!("{path}/answer"), "", &form, "answer=teapot").await.problem(422, "invalid");
    for _ in 0..120 {
        world.raw("POST", &path, "", &[], "x").await;
    }
    let arrived = world.get(&format!("{path}/requests"), "").await.expect(200);
    assert_eq!(arrived["data"].as_array().unwrap().len(), 100);
    world.raw("POST", "/inbox/00", "", &[], "x").await.problem(404, "not-found");
    world.call("DELETE", &format!("/v1/inboxes/{}", text(&made, "/id")), &tenant.editor, None).await.expect(204);
    world.raw("POST", &path, "", &[], "x").await.problem(404, "not-found");
}

/// Signed as Standard Webhooks 1.0 says, by hand: the verdict does not rest on our own signing alone.
#[tokio::test]
async fn an_inbox_tells_a_right_signature_from_a_wrong_one() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let url = text(&world.call("POST", "/v1/inboxes", &tenant.editor, None).await.expect(201), "/url");
    let path = url.strip_prefix("https://gateway.test").unwrap();
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let wanted = json!({"url": url, "events": ["a"], "secret": format!("whsec_{secret}")});
    let subscription = text(&world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201), "/id");
    let now = world.clock.now().as_second().to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&STANDARD.decode(secret).unwrap()).unwrap();
    mac.update(format!("evt_1.{now}.{{}}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [("webhook-id", "evt_1"), ("webhook-timestamp", &now), ("webhook-signature", &signature)];
    for (body, verdict) in [("{}", "valid"), ("{ }", "invalid")] {
        assert_eq!(world.raw("POST", path, "", &headers, body).await.status, 200);
        let arrived = world.get(&format!("{path}/requests"), "").await.expect(200);
        let signature = &arrived["data"][0]["signature"];
        assert_eq!((&signature["verdict"], &signature["subscription_id"]), (&json!(verdict), &json!(subscription)));
    }
}

#[tokio::test]
async fn limits_on_numbers_are_told() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let limits = json!({"limits": {"subscriptions": 1}});
    world.patch(&format!("/v1/tenants/{}", tenant.id), OPERATOR, limits).await.expect(200);
    world.paused(&tenant, &["a"]).await;
    let wanted = json!({"url": "https://example.com/hooks", "events": ["a"]});
    world.post("/v1/subscriptions", &tenant.editor, wanted).await.problem(409, "limit-reached");
    for _ in 0..100 {
        world.call("POST", "/v1/inboxes", &tenant.editor, None).await.expect(201);
    }
    world.call("POST", "/v1/inboxes", &tenant.editor, None).await.problem(409, "limit-reached");
}

#[tokio::test]
async fn lists_without_anything() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for (path, key) in
        [("/v1/connectors", tenant.viewer.as_str()), ("/v1/plugins", OPERATOR), ("/v1/sources", tenant.viewer.as_str())]
    {
        assert_eq!(world.get(path, key).await.expect(200), json!({"data": [], "next": null}), "{path}");
    }
    assert_eq!(world.get("/v1/egress-ips", &tenant.ingest).await.expect(200)["data"], json!(["192.0.2.1"]));
    world.get("/v1/plugins/nope", &tenant.viewer).await.problem(404, "not-found");
}
