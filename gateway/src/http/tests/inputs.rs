//! What clients get wrong, and what they are told.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::world::{MAX_BODY, OPERATOR, World, text};
use crate::domain::Role;
use crate::http::guard::Access;
use crate::http::route;

/// The table of mistakes: body, and the place that is named.
#[tokio::test]
async fn mistakes_in_a_subscription_are_named_with_their_place() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let good = json!({"url": "https://example.com/hooks", "events": ["a"]});
    let mut missed = Vec::new();
    for (with, pointer, says) in [
        (json!({"events": null}), "", "missing field `events`"),
        (json!({"events": "a"}), "/events", "an array is wanted here, not a text"),
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
        (json!({"timeout": 30}), "/timeout", "a text is wanted here, not `30`"),
        (json!({"transforms": ["redact"]}), "/transforms/0", "an object (fields: `plugin`, `config`, `candidate`)"),
        (json!({"transforms": [["redact", {}]]}), "/transforms/0", "is wanted here, not an array"),
        (
            json!({"transforms": [{"plugin": "redact", "candidate": {"plugin": "redact", "percent": 10.5}}]}),
            "/transforms/0/candidate/percent",
            "a whole number from 0 to 255 is wanted here, not `10.5`",
        ),
        (json!({"connector": ["slack"]}), "/connector", "is wanted here, not an array"),
        (json!({"auth": ["bearer", "t"]}), "/auth", "an object is wanted here, not an array"),
        (json!({"auth": "bearer"}), "/auth", "an object is wanted here, not a text"),
        (json!({"signing": ["hmac"]}), "/signing", "is wanted here, not an array"),
        (json!({"retry_policy": [["0s"]]}), "/retry_policy", "is wanted here, not an array"),
        (json!({"envelope": {"none": null}}), "/envelope", "one of `standard`, `none`"),
        (json!({"envelope": 1}), "/envelope", "is wanted here, not `1`"),
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

/// Where an object is documented nothing else is one, and what is wrong is said in words of JSON.
#[tokio::test]
async fn objects_are_objects() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let id = world.paused(&tenant, &["a"]).await;
    let source = text(&world.post("/v1/sources", &tenant.editor, json!({"name": "s"})).await.expect(201), "/id");
    let subscription = |rest: &str| format!("/v1/subscriptions/{id}/{rest}");
    let paths = [
        ("/v1/keys".to_owned(), tenant.admin.as_str()),
        ("/v1/tenants".to_owned(), OPERATOR),
        (format!("/v1/tenants/{}/keys", tenant.id), OPERATOR),
        ("/v1/sources".to_owned(), &tenant.editor),
        (format!("/v1/sources/{source}/try"), &tenant.editor),
        (format!("/v1/sources/{source}/rotate-secret"), &tenant.editor),
        ("/v1/subscriptions".to_owned(), &tenant.editor),
        ("/v1/subscriptions/preview".to_owned(), &tenant.editor),
        (subscription("test"), &tenant.editor),
        (subscription("diagnose"), &tenant.editor),
        (subscription("rotate-secret"), &tenant.admin),
        ("/v1/plugins/redact/run".to_owned(), &tenant.editor),
        ("/v1/deliveries/dlv_0190f000000070008000000000000000/run".to_owned(), &tenant.editor),
        ("/v1/replays".to_owned(), &tenant.editor),
        ("/v1/event-types".to_owned(), &tenant.editor),
    ];
    for (path, key) in &paths {
        for (body, found) in [
            (json!([]), "an array"),
            (json!(["viewer", "x"]), "an array"),
            (json!([{"type": "a", "data": {}}, {"minimum": 50}]), "an array"),
            (json!(null), "`null`"),
            (json!(1), "`1`"),
            (json!("viewer"), "a text"),
        ] {
            let problem = world.post(path, key, body.clone()).await.problem(422, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], "#", "{path} {body}: {problem}");
            let detail = text(&problem, "/errors/0/detail");
            assert!(detail.starts_with("an object"), "{path} {body}: {detail}");
            assert!(detail.ends_with(&format!("is wanted here, not {found}")), "{path} {body}: {detail}");
        }
    }
    for (path, key, body, pointer, says) in [
        ("/v1/keys", tenant.admin.as_str(), json!({"role": ["viewer"]}), "/role", "one of `ingest`, `viewer`"),
        ("/v1/keys", &tenant.admin, json!({"role": {"viewer": null}}), "/role", "not an object"),
        ("/v1/keys", &tenant.admin, json!({"role": "viewer", "expires_at": 1}), "/expires_at", "a time (RFC 3339"),
        ("/v1/plugins/redact/run", &tenant.editor, json!({"event": []}), "/event", "an object (fields: `id`, `type`"),
        ("/v1/plugins/redact/run", &tenant.editor, json!({"event": null}), "/event", "not `null`"),
        (
            "/v1/subscriptions/preview",
            &tenant.editor,
            json!({"subscription": id, "event": ["a"]}),
            "/event",
            "an object (fields: `id`, `type`",
        ),
        (
            "/v1/tenants",
            OPERATOR,
            json!({"name": "x", "limits": {"plugins": -2}}),
            "/limits/plugins",
            "a whole number from 0 to 4294967295 is wanted here, not `-2`",
        ),
        ("/v1/tenants", OPERATOR, json!({"name": "x", "limits": [1]}), "/limits", "not an array"),
        ("/v1/event-types", &tenant.editor, json!({"name": "a", "samples": [["s", 1]]}), "/samples/0", "not an array"),
        (
            "/v1/sources",
            &tenant.editor,
            json!({"name": "x", "verification": [["hmac"]]}),
            "/verification/0",
            "an object",
        ),
        ("/v1/sources", &tenant.editor, json!({"name": "x", "response": [200, "ok"]}), "/response", "not an array"),
        ("/v1/sources", &tenant.editor, json!({"name": "x", "max_body": 0.5}), "/max_body", "a whole number from 0"),
        (
            "/v1/replays",
            &tenant.editor,
            json!({"since": "2026-01-01T00:00:00Z", "only": 1}),
            "/only",
            "one of `missing`",
        ),
    ] {
        let problem = world.post(path, key, body.clone()).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"), "{body}: {problem}");
        assert!(text(&problem, "/errors/0/detail").contains(says), "{body}: {problem}");
        for word in ["struct", "sequence", "expected u", "enum"] {
            assert!(!problem.to_string().contains(word), "`{word}` is no word of the API: {problem}");
        }
    }
    let keys = world.get("/v1/keys", &tenant.admin).await.expect(200);
    assert_eq!(keys["data"].as_array().unwrap().len(), 4, "no key was made");
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

/// A parameter that an operation does not have is refused, whether it has others or none.
#[tokio::test]
async fn no_route_passes_over_a_parameter() {
    let world = World::new().await;
    let tenant = world.tenant("a").await;
    let producer = text(&world.post("/v1/keys", OPERATOR, json!({"role": "producer"})).await.expect(201), "/key");
    let keys = [
        (tenant.admin.as_str(), Role::Admin, true),
        (OPERATOR, Role::Operator, false),
        (producer.as_str(), Role::Producer, false),
    ];
    let mut asked = 0;
    for route in route::all().iter().filter(|route| route.access != Access::Public) {
        let admits = |(_, role, of_tenant): &&(&str, Role, bool)| route.access.admits(*role, *of_tenant);
        let (key, ..) = keys.iter().find(admits).unwrap();
        let path = format!("{}?colour=red", route.path.replace(['{', '}'], "x"));
        let problem = world.call(route.method.as_str(), &path, key, None).await.problem(422, "invalid");
        let detail = text(&problem, "/detail");
        assert!(detail.starts_with("in the query: "), "{} {path}: {detail}", route.method);
        assert!(detail.contains("unknown field `colour`"), "{} {path}: {detail}", route.method);
        asked += 1;
    }
    assert!(asked > 80, "only {asked} routes were asked");
    // Nobody means every version with this.
    world.call("DELETE", "/v1/plugins/late?version=1", &tenant.editor, None).await.problem(422, "invalid");
    world.call("DELETE", "/v1/plugins/late?", &tenant.editor, None).await.problem(404, "not-found");
    // Who may not come in is told that first.
    world.call("DELETE", "/v1/plugins/late?version=1", &tenant.viewer, None).await.problem(403, "forbidden");
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
