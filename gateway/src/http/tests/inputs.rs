//! What clients get wrong, and what they are told.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::world::{MAX_BODY, OPERATOR, World, text};

/// The table of mistakes: body, and the place that is named.
#[tokio::test]
async fn mistakes_in_a_subscription_are_named_with_their_place() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let good = json!({"url": "https://example.com/hooks", "events": ["a"]});
    let mut missed = Vec::new();
    for (with, pointer, says) in [
        (json!({"events": null}), "", "missing field `events`"),
        (json!({"events": "a"}), "/events", "invalid type"),
        (json!({"events": []}), "/events", "1 to 200"),
        (json!({"events": ["a b"]}), "/events/0", ""),
        (json!({"evnts": ["a"]}), "/evnts", "unknown field `evnts`"),
        (json!({"profile": "nobody"}), "/profile", "no profile `nobody`"),
        (json!({"envelope": "profile"}), "/envelope", "has none"),
        (json!({"ordering": {"key": "$.x"}}), "/ordering", "not available in this version"),
        (json!({"auth": {"type": "aws_sigv4"}}), "/auth/type", "not available in this version"),
        (json!({"auth": {"type": "magic"}}), "/auth/type", "unknown variant"),
        (json!({"state": "paused"}), "/state", "read-only"),
        (json!({"id": "sub_1"}), "/id", "read-only"),
        (json!({"url": null}), "/url", "where to deliver"),
        (json!({"url": "example.com"}), "/url", "absolute URL"),
        (json!({"url": "ftp://example.com"}), "/url", ""),
        (json!({"url": "http://10.0.0.1/"}), "/url", ""),
        (json!({"filters": {"amount": {"gtt": 1}}}), "/filters/amount/gtt", ""),
        (json!({"filters": "$[?"}), "/filters", ""),
        (json!({"secret": "short"}), "/secret", ""),
        (json!({"signing": {"scheme": "hmac"}}), "/signing/header", "must be given"),
        (json!({"signing": {"scheme": "rot13"}}), "/signing/scheme", "unknown variant"),
        (json!({"signing": {"scheme": "standard", "x/y": 1}}), "/signing/x~1y", "unknown field"),
        (json!({"auth": {"type": "bearer", "tokn": "x"}}), "/auth/tokn", "unknown field"),
        (json!({"connector": {"name": "slack", "conf": {}}}), "/connector/conf", "unknown field"),
        (json!({"retry_policy": {"backoff": "never"}}), "/retry_policy/backoff", ""),
        (json!({"retry_policy": {"schedule": ["soon"]}}), "/retry_policy/schedule", "duration"),
        (json!({"timeout": "2m"}), "/timeout", "60s"),
        (json!({"timeout": 30}), "/timeout", "invalid type"),
        (json!({"transforms": [{"plugin": "nope"}]}), "/transforms/0/plugin", "no plugin `nope`"),
        (json!({"connector": {"name": "nope"}}), "/connector/name", "no plugin `nope`"),
        (json!({"source_ids": ["src_0190f000000070008000000000000000"]}), "/source_ids/0", "no such source"),
        (json!({"source_ids": ["x"]}), "/source_ids/0", "src_"),
        (json!({"success": ["9xx"]}), "/success/0", ""),
        (json!({"headers": {"host": "x"}}), "/headers/host", ""),
        (json!({"uid": "a/b"}), "/uid", ""),
        (json!({"rate_limit": {"per": "1s", "max": 0}}), "/rate_limit", ""),
    ] {
        let mut body = good.clone();
        for (name, value) in with.as_object().unwrap() {
            body[name] = value.clone();
        }
        let problem = world.post("/v1/subscriptions", &tenant.editor, body.clone()).await.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors for {with}: {problem}"));
        let found = errors
            .iter()
            .any(|error| error["pointer"] == format!("#{pointer}") && error["detail"].as_str().unwrap().contains(says));
        if !found {
            missed.push(format!("{with} wants {pointer} ({says}): {problem}"));
        }
        // The same settings in a preview are refused at the same place, one level down.
        let preview = json!({"subscription": body, "event": {"type": "a", "data": 1}});
        let problem = world.post("/v1/subscriptions/preview", &tenant.editor, preview).await.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        if !errors.iter().any(|error| error["pointer"] == format!("#/subscription{pointer}")) {
            missed.push(format!("{with} in a preview: {problem}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert_eq!(world.get("/v1/subscriptions", &tenant.viewer).await.expect(200)["data"], json!([]), "none was saved");
}

#[tokio::test]
async fn bodies_that_are_no_json_and_bodies_of_another_type() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let json_type = [("content-type", "application/json")];
    for body in ["", "{", "{'a':1}", "[1,", "{\"name\":\"x\"} {}", "\u{feff}{}"] {
        for (path, key) in [
            ("/v1/subscriptions", tenant.editor.as_str()),
            ("/v1/tenants", OPERATOR),
            ("/v1/events", tenant.ingest.as_str()),
        ] {
            world.raw("POST", path, key, &json_type, body).await.problem(400, "unparsable");
        }
    }
    for body in ["[]", "1", "null", "\"x\""] {
        world.raw("POST", "/v1/subscriptions", &tenant.editor, &json_type, body).await.problem(422, "invalid");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for path in ["/v1/subscriptions", "/v1/events"] {
        world.raw("POST", path, &tenant.editor, &form, "a=b").await.problem(415, "unsupported-media-type");
    }
    let patch = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let id = world.paused(&tenant, &["a"]).await;
    let path = format!("/v1/subscriptions/{id}");
    world.raw("PATCH", &path, &tenant.editor, &patch, r#"{"name":"n"}"#).await.expect(200);
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    world.raw("POST", "/v1/events", &tenant.ingest, &gzip, "x").await.problem(415, "unsupported-content-encoding");
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let exact = |len: usize| {
        let frame = r#"{"type":"a","data":""}"#.len();
        format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(len - frame))
    };
    world.raw("POST", "/v1/events", &tenant.ingest, &[], exact(MAX_BODY)).await.expect(202);
    world.raw("POST", "/v1/events", &tenant.ingest, &[], exact(MAX_BODY + 1)).await.problem(413, "body-too-large");
    // Without a Content-Length it is noticed on the way.
    let chunks = futures_util::stream::iter((0..=MAX_BODY / 1024).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    world
        .raw("POST", "/v1/events", &tenant.ingest, &[], Body::from_stream(chunks))
        .await
        .problem(413, "body-too-large");
    let announced = [("content-length", "99999999")];
    world.raw("POST", "/v1/subscriptions", &tenant.editor, &announced, "{}").await.problem(413, "body-too-large");
    // A body that breaks off is no body.
    let broken = futures_util::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("cut"))]);
    world.raw("POST", "/v1/events", &tenant.ingest, &[], Body::from_stream(broken)).await.problem(400, "unparsable");
}

#[tokio::test]
async fn queries_are_held_to_their_fields() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=!!",
        "cursor=AAAA",
        "page=2",
        "status=lost",
        "since=yesterday",
        "subscription_id=x",
        "type=a%20b",
        "status_code=x",
    ] {
        world.get(&format!("/v1/deliveries?{query}"), &tenant.viewer).await.problem(422, "invalid");
    }
    for query in
        ["limit=200", "status=held", "since=2026-01-01T00:00:00Z", "type=a.b", "status_code=500&min_attempts=2"]
    {
        world.get(&format!("/v1/deliveries?{query}"), &tenant.viewer).await.expect(200);
    }
    for query in ["matched=perhaps", "color=red"] {
        world.get(&format!("/v1/events?{query}"), &tenant.viewer).await.problem(422, "invalid");
    }
    let id = world.paused(&tenant, &["a"]).await;
    for (query, status) in
        [("window=1h", 200), ("window=", 422), ("window=1s", 422), ("window=400d", 422), ("windw=1h", 422)]
    {
        world.get(&format!("/v1/subscriptions/{id}/stats?{query}"), &tenant.viewer).await.expect(status);
    }
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/events/", "/v1/tenants/x/portal-links"] {
        world.get(path, &tenant.admin).await.problem(404, "no-such-route");
    }
    let answer = world.call("PUT", "/v1/subscriptions", &tenant.admin, None).await;
    answer.problem(405, "method-not-allowed");
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    for path in ["/v1/subscriptions/x", "/v1/events/sub_1", "/v1/deliveries/%00", "/v1/subscriptions/%ff"] {
        world.get(path, &tenant.admin).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let world = World::new().await;
    let mut ids = std::collections::HashSet::new();
    for path in ["/healthz", "/nothing", "/v1/me"] {
        let answer = world.get(path, "").await;
        assert!(ids.insert(answer.headers["x-request-id"].clone()), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn mistakes_in_tenants_and_sources() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"name": ""}), "/name"),
        (json!({"name": 1}), "/name"),
        (json!({"name": "x", "uid": "a b"}), "/uid"),
        (json!({"name": "x", "profile": "nobody"}), "/profile"),
        (json!({"name": "x", "limits": {"rate": 1}}), "/limits/rate"),
        (json!({"name": "x", "limits": {"events_per_second": 0}}), "/limits/events_per_second"),
        (json!({"name": "x", "metadata": {"a": "x".repeat(16_000)}}), ""),
    ] {
        let answer = world.post("/v1/tenants", OPERATOR, body.clone()).await;
        if answer.status == 413 || answer.status == 201 {
            continue;
        }
        let problem = answer.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"), "{body}: {problem}");
    }
    for (body, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": "x", "profile": "nobody"}), "/profile"),
        (json!({"name": "x", "verification": {"scheme": "standard"}}), "/secret"),
        (json!({"name": "x", "extract": {"color": "$.x"}}), "/extract/color"),
        (json!({"name": "x", "extract": {"id": "$["}}), "/extract/id"),
        (json!({"name": "x", "keep_headers": ["authorization"]}), "/keep_headers/0"),
        (json!({"name": "x", "colour": 1}), "/colour"),
    ] {
        let problem = world.post("/v1/sources", &tenant.editor, body.clone()).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"), "{body}: {problem}");
    }
}

/// Whatever stands in the path and body: an answer, never a panic.
#[tokio::test]
async fn nonsense_gets_an_answer() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let values = [json!(null), json!(1e300), json!("\u{0}"), json!([[[]]]), json!({"a": {}}), json!(true)];
    for name in
        ["url", "events", "filters", "transforms", "connector", "signing", "auth", "retry_policy", "headers", "timeout"]
    {
        for value in &values {
            let body = json!({"url": "https://example.com", "events": ["a"], name: value});
            let answer = world.post("/v1/subscriptions", &tenant.editor, body).await;
            assert!(matches!(answer.status.as_u16(), 201 | 422), "{name} = {value}: {}", answer.status);
        }
    }
    for path in ["/v1/subscriptions/uid:", "/v1/subscriptions/uid:%2f", "/in/src_x", "/inbox/..", "/problems/x"] {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {}", tenant.admin));
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    let deep = format!("{{\"metadata\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let answer = world.raw("POST", "/v1/subscriptions", &tenant.editor, &[], deep).await;
    assert!(text(&answer.problem(400, "unparsable"), "/detail").contains("recursion"));
}
