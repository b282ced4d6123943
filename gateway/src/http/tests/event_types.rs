//! The catalogue of event types, schemas at the door, and what is counted.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{OPERATOR, Tenant, World, text};

impl World {
    async fn event(&self, tenant: &Tenant, event_type: &str, data: Value) -> super::world::Answer {
        self.post("/v1/events", &tenant.ingest, json!({"type": event_type, "data": data})).await
    }
}

#[tokio::test]
async fn the_life_of_an_event_type() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let body = r#"{"name":"com.example/order:paid","description":"Paid.","samples":[{"name":"one","data":{"b":100.0,"a":12345678901234567890123}}]}"#;
    let made = world.raw("POST", "/v1/event-types", &tenant.editor, &[], body).await;
    let path = "/v1/event-types/com.example%2Forder:paid";
    assert_eq!(made.headers["location"], path);
    let made = made.expect(201);
    assert_eq!((&made["title"], &made["enforce"]), (&made["name"], &json!("off")));
    assert_eq!((&made["known"], &made["count"], &made["last_seen_at"]), (&json!(true), &json!(0), &Value::Null));
    let again = json!({"name": "com.example/order:paid"});
    world.post("/v1/event-types", &tenant.editor, again).await.problem(409, "conflict");
    world.post("/v1/event-types", &tenant.viewer, json!({"name": "b"})).await.problem(403, "forbidden");

    world.event(&tenant, "com.example/order:paid", json!({"n": 1})).await.expect(202);
    world.clock.advance(Duration::from_secs(1));
    world.event(&tenant, "b", json!({"n": 2.5})).await.expect(202);
    world.event(&tenant, "b", json!({"n": 3})).await.expect(202);
    let list = world.get("/v1/event-types", &tenant.viewer).await.expect(200);
    let seen = |n: usize| ["name", "known", "count", "last_seen_at"].map(|name| list["data"][n][name].clone());
    assert_eq!(seen(0), [json!("b"), json!(false), json!(2), json!("2026-01-01T00:00:01.000Z")]);
    assert_eq!(seen(1), [json!("com.example/order:paid"), json!(true), json!(1), json!("2026-01-01T00:00:00.000Z")]);
    let first = world.get("/v1/event-types?limit=1", &tenant.viewer).await.expect(200);
    let next = format!("/v1/event-types?limit=1&cursor={}", text(&first, "/next"));
    let second = world.get(&next, &tenant.viewer).await.expect(200);
    assert_eq!((&second["data"][0]["name"], &second["next"]), (&made["name"], &Value::Null));

    // Samples are kept as they were written; without any, the last events stand in.
    let samples = world.get(&format!("{path}/samples"), &tenant.viewer).await;
    let shown = String::from_utf8(samples.body.to_vec()).unwrap();
    assert!(shown.contains(r#""data":{"b":100.0,"a":12345678901234567890123}"#), "{shown}");
    let samples = world.get("/v1/event-types/b/samples", &tenant.viewer).await.expect(200);
    let data: Vec<_> = samples["data"].as_array().unwrap().iter().map(|sample| &sample["data"]["n"]).collect();
    assert_eq!(data, [&json!(3), &json!(2.5)]);
    world.get("/v1/event-types/c/samples", &tenant.viewer).await.problem(404, "not-found");
    assert_eq!(world.get("/v1/event-types/b", &tenant.viewer).await.expect(200)["known"], false);

    // A patch leaves what it does not name, and merges a schema.
    let schema = json!({"schema": {"type": "object", "properties": {"a": {"type": "number"}}}, "enforce": "warn"});
    let patched = world.patch(path, &tenant.editor, schema).await;
    let version = patched.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(patched.expect(200)["description"], "Paid.");
    world.clock.advance(Duration::from_secs(1));
    let patch = json!({"schema": {"type": null, "required": ["b"]}, "title": "Order paid", "description": null});
    let patched = world.patch(path, &tenant.editor, patch).await.expect(200);
    assert_eq!(patched["schema"], json!({"properties": {"a": {"type": "number"}}, "required": ["b"]}));
    assert_eq!((&patched["title"], &patched["description"]), (&json!("Order paid"), &Value::Null));
    assert_eq!(patched["samples"].as_array().unwrap().len(), 1);
    let stale = [("if-match", version.as_str())];
    world.raw("DELETE", path, &tenant.editor, &stale, "").await.problem(412, "precondition-failed");
    world.call("DELETE", path, &tenant.editor, None).await.expect(204);
    world.call("DELETE", path, &tenant.editor, None).await.problem(404, "not-found");
    assert_eq!(world.get(path, &tenant.viewer).await.expect(200)["known"], false, "its events stay");
    let stranger = world.tenant("b").await;
    world.get(path, &stranger.viewer).await.problem(404, "not-found");
    assert_eq!(world.get("/v1/event-types", &stranger.viewer).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn what_is_said_is_checked() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let sample = |name: &str, data: Value| json!({"name": name, "data": data});
    let schema = json!({"properties": {"n": {"type": "integer"}}});
    for (wanted, pointer) in [
        (json!({"title": "A"}), "#"),
        (json!({"name": "a b"}), "#/name"),
        (json!({"name": "hookmill.a"}), "#/name"),
        (json!({"name": "a", "title": " "}), "#/title"),
        (json!({"name": "a", "enforce": "warn"}), "#/enforce"),
        (json!({"name": "a", "enforce": "always"}), "#/enforce"),
        (json!({"name": "a", "schema": {"type": "text"}}), "#/schema/type"),
        (json!({"name": "a", "schema": {"$ref": "https://example.com/a.json"}}), "#/schema/$ref"),
        (json!({"name": "a", "samples": [sample("x", json!(1)), sample("x", json!(2))]}), "#/samples/1/name"),
        (json!({"name": "a", "samples": [{"name": "x"}]}), "#/samples/0"),
        (json!({"name": "a", "schema": schema, "samples": [sample("x", json!({"n": "y"}))]}), "#/samples/0/data/n"),
        (json!({"name": "a", "samples": [sample("x", json!("y".repeat(70_000)))]}), "#"),
        (json!({"name": "a", "schemas": {}}), "#/schemas"),
    ] {
        // The world's bodies are small; what is larger than they may be is refused before.
        let answer = world.post("/v1/event-types", &tenant.editor, wanted.clone()).await;
        if answer.status == 413 {
            continue;
        }
        let problem = answer.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(world.get("/v1/event-types", &tenant.viewer).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_schema_is_held_at_the_door() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    for (name, enforce) in [("off", "off"), ("warn", "warn"), ("reject", "reject")] {
        let wanted = json!({"name": name, "schema": schema, "enforce": enforce});
        world.post("/v1/event-types", &tenant.editor, wanted).await.expect(201);
    }
    let attributes =
        async |id: &str| world.get(&format!("/v1/events/{id}"), &tenant.viewer).await.expect(200)["attributes"].clone();
    for (event_type, data, breach) in [
        ("off", json!({"id": 1}), None),
        ("other", json!({"id": 1}), None),
        ("warn", json!({"id": "1"}), None),
        ("warn", json!({"id": 1}), Some("/data/id: 1 is not of type \"string\"")),
        ("reject", json!({"id": "1"}), None),
    ] {
        let taken = world.event(&tenant, event_type, data).await.expect(202);
        let attributes = attributes(&text(&taken, "/id")).await;
        assert_eq!(attributes.get("hookmill-schema").and_then(Value::as_str), breach, "{event_type}");
    }
    let problem = world.event(&tenant, "reject", json!({"id": 1})).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0], json!({"pointer": "#/data/id", "detail": "1 is not of type \"string\""}));

    let event = |event_type: &str, data: Value| json!({"type": event_type, "data": data});
    let batch = json!([
        event("reject", json!({"id": 1})),
        event("reject", json!({"id": "1"})),
        event("other", json!(1)),
        event("reject", json!({})),
    ]);
    let problem = world.post("/v1/events?atomic=true", &tenant.ingest, batch.clone()).await.problem(422, "invalid");
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| text(error, "/pointer")).collect();
    assert_eq!(places, ["#/0/data/id", "#/3/data"]);
    let answer = world.post("/v1/events", &tenant.ingest, batch).await.expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(2)));
    let refused: Vec<_> = answer["data"].as_array().unwrap().iter().map(|one| one.get("problem").is_some()).collect();
    assert_eq!(refused, [true, false, false, true]);
    let only_bad = json!([event("reject", json!(1))]);
    let answer = world.post("/v1/events", &tenant.ingest, only_bad).await.expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(0), &json!(1)));
    // Large data, held against a schema where it is in nobody's way.
    let wanted = json!({"name": "large", "schema": {"items": {"allOf": vec![json!({"type": "integer"}); 500]}}, "enforce": "reject"});
    world.post("/v1/event-types", &tenant.editor, wanted).await.expect(201);
    let mut numbers = vec![json!(1); 3_000];
    world.event(&tenant, "large", json!(numbers)).await.expect(202);
    numbers[2_999] = json!("x");
    let problem = world.event(&tenant, "large", json!(numbers)).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/data/2999");
}

/// Who tries a subscription is shown a sample of the catalogue before anything has come in.
#[tokio::test]
async fn trials_use_samples() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let wanted = json!({"name": "order.paid", "samples": [{"name": "one", "data": {"amount": 5}}]});
    world.post("/v1/event-types", &tenant.editor, wanted).await.expect(201);
    let sent = async |events: Value, more: Value| {
        let mut body = json!({"subscription": {"url": "https://example.com", "events": events, "envelope": "none"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let preview = world.post("/v1/subscriptions/preview", &tenant.editor, body).await.expect(200);
        text(&preview, "/request/body")
    };
    assert_eq!(sent(json!(["*"]), json!({"type": "order.paid"})).await, r#"{"amount":5}"#);
    assert_eq!(sent(json!(["order.paid"]), json!({})).await, r#"{"amount":5}"#);
    assert_eq!(sent(json!(["order.*"]), json!({})).await, r#"{"amount":5}"#, "the first that the subscription wants");
    assert!(sent(json!(["user.*"]), json!({})).await.contains("made-up"));
    world.event(&tenant, "order.paid", json!({"amount": 7})).await.expect(202);
    assert_eq!(sent(json!(["*"]), json!({"type": "order.paid"})).await, r#"{"amount":7}"#, "what really came in");
}

/// What profiles say is there without anybody writing it down, and what the tenant says counts before it.
#[tokio::test]
async fn profiles_describe_event_types() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let github = json!({"name": "hub", "profile": "github", "secret": "s"});
    let source = text(&world.post("/v1/sources", &tenant.editor, github).await.expect(201), "/id");
    let names = async || {
        let list = world.get("/v1/event-types?limit=200", &tenant.viewer).await.expect(200);
        let said = |one: &Value| (text(one, "/name"), one["profile"].as_str().map(str::to_owned));
        list["data"].as_array().unwrap().iter().map(said).collect::<Vec<_>>()
    };
    let listed = names().await;
    assert!(listed.iter().all(|(_, profile)| profile.as_deref() == Some("github")), "{listed:?}");
    assert!(listed.iter().any(|(name, _)| name == "push") && listed.len() > 10, "{listed:?}");
    // A pattern of the profile's is there as the types that its samples have.
    assert!(listed.iter().any(|(name, _)| name == "pull_request.opened"), "{listed:?}");
    let path = "/v1/event-types/push";
    let seeded = world.get(path, &tenant.viewer).await;
    assert!(seeded.headers.get("etag").is_none(), "there is nothing of the tenant's to have a version");
    let seeded = seeded.expect(200);
    assert_eq!((&seeded["known"], &seeded["title"], &seeded["count"]), (&json!(true), &json!("Push"), &json!(0)));
    assert_eq!((&seeded["created_at"], &seeded["enforce"]), (&Value::Null, &json!("off")));
    assert_eq!(seeded["samples"][0]["data"]["ref"], "refs/heads/master");
    let samples = world.get(&format!("{path}/samples"), &tenant.viewer).await.expect(200);
    assert_eq!(samples["data"], seeded["samples"]);
    let preview =
        json!({"subscription": {"url": "https://example.com", "events": ["*"], "envelope": "none"}, "type": "push"});
    let preview = world.post("/v1/subscriptions/preview", &tenant.editor, preview).await.expect(200);
    assert!(text(&preview, "/request/body").contains("refs/heads/master"), "{preview}");
    world.event(&tenant, "push", json!({"n": 1})).await.expect(202);
    assert_eq!(world.get(path, &tenant.viewer).await.expect(200)["count"], 1);

    let problem = world.call("DELETE", path, &tenant.editor, None).await.problem(409, "conflict");
    assert!(text(&problem, "/detail").contains("described by the profile `github`"), "{problem}");
    let stale = [("if-match", "\"1\""), ("content-type", "application/json")];
    world.raw("PATCH", path, &tenant.editor, &stale, r#"{"title":"x"}"#).await.problem(412, "precondition-failed");
    // A change makes it the tenant's own: the rest is as the profile has it.
    let own = world.patch(path, &tenant.editor, json!({"title": "Our push"})).await;
    assert!(own.headers.contains_key("etag"));
    let own = own.expect(200);
    assert_eq!((&own["title"], &own["profile"], &own["count"]), (&json!("Our push"), &Value::Null, &json!(1)));
    assert_eq!((&own["description"], &own["samples"]), (&seeded["description"], &seeded["samples"]));
    let made = world.post("/v1/event-types", &tenant.editor, json!({"name": "ping", "title": "P"})).await.expect(201);
    assert_eq!((&made["profile"], &made["title"]), (&Value::Null, &json!("P")));
    world.call("DELETE", path, &tenant.editor, None).await.expect(204);
    let again = world.get(path, &tenant.viewer).await.expect(200);
    assert_eq!((&again["title"], &again["profile"]), (&json!("Push"), &json!("github")));

    // Of two profiles the tenant's own comes first, and what nobody uses is not there.
    world.patch(&format!("/v1/tenants/{}", tenant.id), OPERATOR, json!({"profile": "ilara"})).await.expect(200);
    assert!(names().await.iter().any(|(_, profile)| profile.as_deref() == Some("ilara")));
    let wanted = json!({"url": "https://example.com", "events": ["*"], "profile": "loyali"});
    let made = world.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201);
    assert!(names().await.iter().any(|(_, profile)| profile.as_deref() == Some("loyali")));
    world.call("DELETE", &format!("/v1/subscriptions/{}", text(&made, "/id")), &tenant.editor, None).await.expect(204);
    world.call("DELETE", &format!("/v1/sources/{source}"), &tenant.editor, None).await.expect(204);
    let left = names().await;
    let profiles: std::collections::BTreeSet<_> = left.iter().map(|(_, profile)| profile.as_deref()).collect();
    assert_eq!(
        profiles,
        [None, Some("ilara")].into(),
        "what the tenant wrote or posted, and its own profile: {left:?}"
    );
}
