//! What is one tenant's is nobody else's, and a key does what its role says.

use std::collections::HashMap;

use hookmill_tests::{Gateway, OPERATOR_KEY, Receiver};
use serde_json::{Value, json};

/// Every documented route that names an object answers another tenant's key as if there were none.
#[tokio::test]
async fn anothers_objects() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let (ours, theirs) = (gateway.tenant("ours").await, gateway.tenant("theirs").await);
    let subscription = ours.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let own = theirs.subscribe(json!({"url": endpoint.url("/"), "events": ["never"]})).await;
    let event = ours.post("a", json!("ours alone")).await;
    let delivery = ours.status(&event, "delivered").await;
    let source = ours.api.post("/v1/sources", json!({"name": "shop"})).await.json(201);
    let inbox = ours.api.poke("/v1/inboxes").await.json(201);
    let key = ours.api.post("/v1/keys", json!({"role": "viewer"})).await.json(201);
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let objects = HashMap::from([
        ("subscription", id(&subscription)),
        ("event", id(&event)),
        ("delivery", id(&delivery)),
        ("source", id(&source)),
        ("inbox", id(&inbox)),
        ("key", id(&key)),
        ("tenant", ours.id.clone()),
    ]);
    // Beside the ids in paths, those in queries and bodies.
    let ids: Vec<&String> = objects.values().collect();

    let document = gateway.public().get("/v1/openapi.json").await.json(200);
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let names: Vec<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            if operation["security"].is_null()
                || names.is_empty()
                || names.iter().any(|name| !objects.contains_key(name))
            {
                continue;
            }
            walked += 1;
            let fill = |path: &str| {
                names.iter().fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), &objects[name]))
            };
            let method = method.to_uppercase();
            let body = match path.rsplit('/').next() {
                Some("try" | "diagnose") => r#"{"headers":{},"body":""}"#,
                Some("run") => r#"{"plugin":"redact"}"#,
                Some("keys") if method == "POST" => r#"{"name":"x"}"#,
                _ if method == "PATCH" => r#"{"name":"x"}"#,
                _ => "",
            };
            let headers = if body.is_empty() { vec![] } else { vec![("content-type", "application/json")] };
            let reply = theirs.api.send(&method, &fill(path), &headers, body).await;
            let wanted = if names[0] == "tenant" { 403 } else { 404 };
            assert_eq!(reply.status, wanted, "{method} {path}: {}", reply.text);
            assert!(ids.iter().all(|id| !reply.text.contains(*id)), "{method} {path} repeats an id: {}", reply.text);
            if names.len() == 2 && names[0] == "subscription" {
                let mixed = path.replace("{subscription}", &id(&own));
                theirs.api.send(&method, &fill(&mixed), &headers, body).await.is(404);
            }
            // The same call with the owner's key finds it: the walk is not in vain.
            if method == "GET" && wanted == 404 {
                ours.api.get(&fill(path)).await.is(200);
            }
        }
    }
    assert!(walked >= 30, "{walked} routes walked");

    for query in ["subscription_id", "event_id"] {
        let found = theirs.deliveries(&format!("{query}={}", objects[query.trim_end_matches("_id")])).await;
        assert_eq!(found, Vec::<Value>::new());
    }
    for list in ["events", "deliveries", "sources", "inboxes"] {
        assert_eq!(theirs.api.get(&format!("/v1/{list}")).await.json(200)["data"], json!([]), "{list}");
    }
    let preview = json!({"subscription": own["id"], "event_id": event["id"]});
    theirs.api.post("/v1/subscriptions/preview", preview).await.is(422);
    let preview = json!({"subscription": subscription["id"], "type": "a"});
    theirs.api.post("/v1/subscriptions/preview", preview).await.is(404);
    let sources = json!({"url": endpoint.url("/"), "events": ["*"], "source_ids": [source["id"]]});
    theirs.api.post("/v1/subscriptions", sources).await.problem(422, "invalid");
    // Nothing of all this has touched what is ours.
    for path in [format!("/v1/subscriptions/{}", objects["subscription"]), format!("/v1/sources/{}", objects["source"])]
    {
        assert_eq!(ours.api.get(&path).await.json(200)["enabled"], true, "{path}");
    }
    gateway.public().with_key(key["key"].as_str().unwrap()).get("/v1/events").await.is(200);
}

/// Rows: a route. Columns: no key, ingest, viewer, editor, admin, producer, operator.
#[tokio::test]
async fn roles() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let made = tenant.subscribe(json!({"url": "https://hooks.example.com/x", "events": ["never"]})).await;
    let producer = gateway.operator().post("/v1/keys", json!({"role": "producer"})).await.json(201);
    let public = gateway.public();
    let keys = [
        public.clone(),
        tenant.key("ingest").await,
        tenant.key("viewer").await,
        tenant.key("editor").await,
        tenant.key("admin").await,
        public.with_key(producer["key"].as_str().unwrap()),
        public.with_key(OPERATOR_KEY),
    ];
    let secret = format!("/v1/subscriptions/{}/secret", made["id"].as_str().unwrap());
    let subscription = r#"{"url":"https://hooks.example.com/x","events":["never"]}"#;
    let event = r#"{"type":"a","data":1}"#;
    for (method, path, body, wanted) in [
        ("POST", "/v1/events", event, [401, 202, 202, 202, 202, 403, 403]),
        ("POST", "/v1/tenants/uid:acme/events", event, [401, 403, 403, 403, 403, 202, 403]),
        ("GET", "/v1/events", "", [401, 403, 200, 200, 200, 403, 403]),
        ("GET", "/v1/subscriptions", "", [401, 403, 200, 200, 200, 403, 403]),
        ("POST", "/v1/subscriptions", subscription, [401, 403, 403, 201, 201, 403, 403]),
        ("GET", &secret, "", [401, 403, 403, 403, 200, 403, 403]),
        ("POST", "/v1/keys", r#"{"role":"ingest"}"#, [401, 403, 403, 403, 201, 403, 422]),
        ("GET", "/v1/tenants", "", [401, 403, 403, 403, 403, 403, 200]),
        ("GET", "/v1/me", "", [401, 200, 200, 200, 200, 200, 200]),
        ("GET", "/v1/egress-ips", "", [401, 200, 200, 200, 200, 403, 200]),
        ("GET", "/v1/openapi.json", "", [200; 7]),
    ] {
        let headers = if body.is_empty() { vec![] } else { vec![("content-type", "application/json")] };
        let mut got = Vec::new();
        for key in &keys {
            got.push(key.send(method, path, &headers, body.to_owned()).await.status);
        }
        assert_eq!(got, wanted, "{method} {path}");
    }
    public.with_key("hmk_nonsense").get("/v1/me").await.problem(401, "unauthenticated");
    // A key does nothing from the moment it is revoked.
    let spare = tenant.api.post("/v1/keys", json!({"role": "viewer"})).await.json(201);
    let viewer = public.with_key(spare["key"].as_str().unwrap());
    viewer.get("/v1/me").await.is(200);
    tenant.api.delete(&format!("/v1/keys/{}", spare["id"].as_str().unwrap())).await.is(204);
    viewer.get("/v1/me").await.problem(401, "unauthenticated");
}
