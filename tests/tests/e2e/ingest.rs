//! What is taken in, in which form, and what is not.

use bytes::Bytes;
use hookmill_tests::{Gateway, Receiver};
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A second event with the id of the first is answered as the first was, also when twenty come at once and also
/// after a restart; with other content it is refused; from another source it is another event.
#[tokio::test]
async fn the_same_event_twice() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let mut tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let event = json!({"id": "one", "type": "a", "data": {"n": 1}});

    let posts = (0..20).map(|_| tenant.api.post("/v1/events", event.clone()));
    let replies = futures_util::future::join_all(posts).await;
    let accepted: Vec<Value> = replies.iter().filter(|one| one.status == 202).map(|one| one.json(202)).collect();
    assert_eq!(accepted.len(), 1, "{replies:?}");
    let first = &accepted[0];
    let duplicate = json!({"id": first["id"], "external_id": "one", "deliveries": 1, "duplicate": true});
    for reply in replies.iter().filter(|one| one.status != 202) {
        assert_eq!(reply.json(200), duplicate);
    }
    let other = json!({"id": "one", "type": "a", "data": {"n": 2}});
    tenant.api.post("/v1/events", other.clone()).await.problem(409, "duplicate-differs");
    let elsewhere = json!({"id": "one", "type": "a", "source": "elsewhere", "data": {"n": 2}});
    let elsewhere = tenant.api.post("/v1/events", elsewhere).await.json(202);

    let key = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let keyed = tenant.api.send("POST", "/v1/events", &key, r#"{"type":"a","data":3}"#).await.json(202);
    let again = tenant.api.send("POST", "/v1/events", &key, r#"{"type":"a","data":3}"#).await.json(200);
    assert_eq!((&again["id"], &again["duplicate"]), (&keyed["id"], &json!(true)));
    let reused = tenant.api.send("POST", "/v1/events", &key, r#"{"type":"a","data":4}"#).await;
    reused.problem(422, "idempotency-key-reused");

    for receipt in [first, &elsewhere, &keyed] {
        tenant.status(receipt, "delivered").await;
    }
    // Once after an orderly end, and once after a crash.
    gateway.terminate().await;
    for _ in 0..2 {
        gateway.restart().await;
        tenant = gateway.again(&tenant);
        assert_eq!(tenant.api.post("/v1/events", event.clone()).await.json(200), duplicate);
        tenant.api.post("/v1/events", other.clone()).await.problem(409, "duplicate-differs");
    }
    let last = tenant.post("a", json!("last")).await;
    tenant.status(&last, "delivered").await;
    assert_eq!(endpoint.count("/"), 4, "one request an event");
}

/// A batch that comes again with its `Idempotency-Key` is stored once: each event is known by key and place. Its own id
/// goes before the key, and a key is nobody's id.
#[tokio::test]
async fn the_same_batch_twice() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let post = async |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        tenant.api.send("POST", "/v1/events", &headers, body.to_owned()).await
    };
    let own = r#"{"id":"own","type":"a","data":1}"#;
    let batch = format!(r#"[{{"type":"a","data":1}},{{"type":"a","data":1}},{{"type":"a b","data":1}},{own}]"#);
    let first = post("b1", &batch).await.json(202);
    assert_eq!((&first["accepted"], &first["rejected"]), (&json!(3), &json!(1)), "{first}");
    let again = post("b1", &batch).await.json(202);
    assert_eq!((&again["accepted"], &again["rejected"]), (&json!(3), &json!(1)), "{again}");
    for at in [0_usize, 1, 3] {
        let (before, now) = (&first["data"][at], &again["data"][at]);
        assert_eq!((before.get("duplicate"), &now["duplicate"], &now["id"]), (None, &json!(true), &before["id"]));
    }
    assert_eq!(again["data"][2], first["data"][2]);

    let other = r#"[{"type":"a","data":2},{"type":"a","data":1},{"type":"a","data":3}]"#;
    let other = post("b1", other).await.json(202);
    let problem = &other["data"][0]["problem"];
    assert_eq!((&problem["type"], &problem["status"]), (&json!("/problems/idempotency-key-reused"), &json!(422)));
    assert_eq!((&other["data"][1]["id"], &other["data"][1]["duplicate"]), (&first["data"][1]["id"], &json!(true)));
    assert_eq!((&other["accepted"], other["data"][2].get("duplicate")), (&json!(2), None), "there was none before");

    post("own", r#"{"type":"a","data":5}"#).await.is(202);
    post("b2", own).await.is(200);
    post("b2", r#"{"id":"another","type":"a","data":6}"#).await.is(202);
    post("b3", r#"{"type":"a","source":"here","data":7}"#).await.is(202);
    post("b3", r#"{"type":"a","source":"there","data":7}"#).await.problem(422, "idempotency-key-reused");
    post("", &batch).await.problem(422, "invalid");
    let kept = tenant.api.get("/v1/events").await.json(200);
    assert_eq!(kept["data"].as_array().unwrap().len(), 7, "{kept}");
}

/// Arrays and NDJSON are answered item by item; with `?atomic=true` one bad item refuses all.
#[tokio::test]
async fn batches() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let (good, bad) = (r#"{"type":"a","data":1}"#, r#"{"type":"a b","data":1}"#);
    let array = format!("[{good},{bad},{good}]");
    let lines = format!("{good}\n{bad}\n\n{good}\n");
    for (content_type, body) in [("application/json", &array), ("application/x-ndjson", &lines)] {
        let reply = tenant.api.send("POST", "/v1/events", &[("content-type", content_type)], body.clone()).await;
        let receipt = reply.json(202);
        assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(2), &json!(1)), "{receipt}");
        assert!(receipt["data"][0]["id"].as_str().unwrap() < receipt["data"][2]["id"].as_str().unwrap());
        let problem = &receipt["data"][1]["problem"];
        assert_eq!(
            (&problem["status"], &problem["errors"][0]["pointer"]),
            (&json!(422), &json!("#/type")),
            "{receipt}"
        );
    }
    let broken =
        tenant.api.send("POST", "/v1/events", &[("content-type", "application/x-ndjson")], format!("{good}\n{{\n"));
    let broken = broken.await.json(202);
    assert_eq!(broken["data"][1]["problem"]["status"], 400, "{broken}");

    let before = tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len();
    assert_eq!(tenant.api.text("POST", "/v1/events?atomic=true", &array).await.problem(422, "invalid"), ["#/1/type"]);
    let after = tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len();
    assert_eq!((before, after), (5, 5), "a refused batch leaves nothing");
    let whole = tenant.api.text("POST", "/v1/events?atomic=true", &format!("[{good},{good}]")).await.json(202);
    assert_eq!(whole["accepted"], 2);
    let one_id = r#"[{"id":"t","type":"a","data":1},{"id":"t","type":"a","data":2},{"id":"t","type":"a","data":1}]"#;
    assert_eq!(tenant.api.text("POST", "/v1/events?atomic=true", one_id).await.problem(422, "invalid"), ["#/1/id"]);
    let one_id = tenant.api.text("POST", "/v1/events", one_id).await.json(202);
    assert_eq!((&one_id["accepted"], one_id["data"][0].get("duplicate")), (&json!(2), None), "{one_id}");
    assert_eq!(one_id["data"][1]["problem"]["type"], "/problems/duplicate-differs");
    let many = format!("[{}]", vec![good; 1001].join(","));
    tenant.api.text("POST", "/v1/events", &many).await.problem(422, "too-many-events");
}

/// CloudEvents 1.0 are taken in all three modes, and come out as what they were.
#[tokio::test]
async fn cloud_events() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "envelope": "cloudevents"})).await;
    let event = |id: &str| {
        json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.paid", "time": "2026-01-02T03:04:05Z",
               "region": "eu", "data": {"n": 1}})
    };
    let post = async |content_type: &str, more: &[(&str, &str)], body: Value| {
        let headers: Vec<_> = std::iter::once(("content-type", content_type)).chain(more.iter().copied()).collect();
        tenant.api.send("POST", "/v1/events", &headers, body.to_string()).await.json(202)
    };
    assert_eq!(post("application/cloudevents+json", &[], event("c1")).await["external_id"], "c1");
    let batch = post("application/cloudevents-batch+json", &[], json!([event("c2"), event("c3")])).await;
    assert_eq!(batch["accepted"], 2, "{batch}");
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "c4"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
        ("ce-time", "2026-01-02T03:04:05Z"),
        ("ce-region", "eu"),
    ];
    assert_eq!(post("application/json", &headers, json!({"n": 1})).await["external_id"], "c4");
    let mut arrived = endpoint.wait("/", 4).await;
    arrived.sort_by_key(|one| one.json()["id"].to_string());
    for (request, id) in arrived.iter().zip(["c1", "c2", "c3", "c4"]) {
        assert!(request.header("content-type").starts_with("application/cloudevents+json"), "{:?}", request.headers);
        let got = request.json();
        for (field, wanted) in
            [("specversion", "1.0"), ("id", id), ("source", "/shop"), ("type", "order.paid"), ("region", "eu")]
        {
            assert_eq!(got[field], wanted, "{field} of {got}");
        }
        assert_eq!(got["data"], json!({"n": 1}));
        assert!(got["time"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{got}");
    }
}

/// Each refusal has its own status, its own problem, and the place of the mistake.
#[tokio::test]
async fn refusals() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let json = "application/json";
    let fits = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat((1 << 20) - 30));
    for (content_type, body, status, problem, pointers) in [
        (json, "{", 400, "unparsable", vec![]),
        (json, "", 400, "unparsable", vec![]),
        (json, r#"{"type":"a","data":{"x":01}}"#, 400, "unparsable", vec![]),
        (json, r#"{"type":"a","data":1,"extra":2}"#, 422, "invalid", vec!["#/extra"]),
        (json, r#"{"data":1}"#, 422, "invalid", vec!["#/type"]),
        (json, r#"{"type":"a"}"#, 422, "invalid", vec!["#/data"]),
        (json, r#"{"type":"a","data":1,"timestamp":"yesterday"}"#, 422, "invalid", vec!["#/timestamp"]),
        (json, r#"{"type":"hookmill.subscription.disabled","data":1}"#, 422, "reserved-event-type", vec!["#/type"]),
        (json, "[]", 422, "invalid", vec![]),
        ("application/x-www-form-urlencoded", "type=a", 415, "unsupported-media-type", vec![]),
    ] {
        let reply = tenant.api.send("POST", "/v1/events", &[("content-type", content_type)], body.to_owned()).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(reply.status, status, "{shown}: {}", reply.text);
        assert_eq!(reply.problem(status, problem), pointers, "{shown}: {}", reply.text);
    }
    tenant.api.text("POST", "/v1/events", &fits).await.is(202);
    let page = gateway.public().get("/problems/unparsable").await;
    page.is(200);
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len(), 1);
}

/// A head may be as long over either version of HTTP.
#[tokio::test]
async fn long_heads() {
    let gateway = Gateway::start().await;
    let url = format!("{}/healthz", gateway.public().base());
    for (is_http2, bytes, status) in [(false, 60_000, 200), (true, 60_000, 200), (true, 70_000, 431)] {
        #[expect(clippy::disallowed_methods, reason = "a test's own client, to a gateway of its own")]
        let client = legacy::Client::builder(TokioExecutor::new()).http2_only(is_http2).build_http::<Full<Bytes>>();
        let request = Request::get(&url).header("x-long", "x".repeat(bytes)).body(Full::default()).unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{bytes} bytes over {:?}", response.version());
    }
}

/// Who sends too much is told so each time, and not cut off in the middle of sending: the answer would be lost with
/// the connection.
#[tokio::test]
async fn too_large() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    for kib in [1_025, 2_048] {
        let large = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(kib << 10));
        for round in 0..50 {
            let reply =
                tenant.api.try_send("POST", "/v1/events", &[("content-type", "application/json")], large.clone()).await;
            let reply = reply.unwrap_or_else(|| panic!("no answer to {kib} KiB, round {round}"));
            reply.problem(413, "body-too-large");
        }
    }
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"], json!([]));
}
