//! Endpoints that may not be reached, that misbehave, and that hang.

use hookmill_tests::{Answer, Gateway, Receiver, Setup, eventually};
use serde_json::{Value, json};

/// As it is without a flag, the gateway does not post into the network it stands in, however the address is spelled.
#[tokio::test]
async fn addresses_that_are_refused() {
    let gateway = Setup::closed().start().await;
    let tenant = gateway.tenant("acme").await;
    for url in [
        "http://example.com/",
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://10.1.2.3/x",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://user:password@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "not a url",
    ] {
        let reply = tenant.api.post("/v1/subscriptions", json!({"url": url, "events": ["*"]})).await;
        assert_eq!(reply.status, 422, "{url}: {}", reply.text);
        assert_eq!(reply.problem(422, "invalid"), ["#/url"], "{url}: {}", reply.text);
    }
    tenant.subscribe(json!({"url": "https://hooks.example.com/x", "events": ["never"]})).await;
    // Where a connector names the address only when it runs, it is judged then.
    for url in [
        "https://169.254.169.254/",
        "https://[::1]/",
        "http://example.com/",
        &gateway.admin().base().replace("http", "https"),
    ] {
        let preview = json!({
            "subscription": {"events": ["*"], "connector": {"name": "http", "config": {"url": url, "body": "{}"}}},
            "event": {"type": "a", "data": 1}, "send": true,
        });
        let preview = tenant.api.post("/v1/subscriptions/preview", preview).await.json(200);
        assert_eq!(preview["attempt"]["outcome"], "blocked", "{url}: {preview}");
    }
}

/// However an endpoint misbehaves, the attempt ends, with the right outcome and class.
#[tokio::test]
async fn misbehaviour() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::scripted(|request, _| match request.path.as_str() {
        "/endless" => Answer::Endless,
        "/break" => Answer::Break,
        "/close" => Answer::Close,
        "/stall" => Answer::Never,
        "/redirect" => Answer::Full(302, vec![("location", "/elsewhere".to_owned())], String::new()),
        "/drip" => Answer::Drip("slowly".repeat(20)),
        "/huge-refusal" => Answer::Full(500, vec![], "x".repeat(1 << 20)),
        _ => Answer::Status(204),
    })
    .await;
    let tenant = gateway.tenant("acme").await;
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    // Path, outcome, who is to blame, status of the delivery, and what the detail says.
    for (path, outcome, blame, status, detail) in [
        ("/endless", "delivered", "none", "delivered", ""),
        ("/drip", "delivered", "none", "delivered", ""),
        ("/empty", "delivered", "none", "delivered", ""),
        ("/break", "unknown", "network", "pending", "(reset)"),
        ("/close", "unknown", "network", "pending", "(reset)"),
        ("/stall", "unknown", "endpoint", "pending", "(timeout)"),
        ("/redirect", "refused", "endpoint", "pending", "302"),
        ("/huge-refusal", "refused", "endpoint", "pending", "500"),
        ("nobody", "unreachable", "network", "pending", "(connect)"),
    ] {
        let url = if path == "nobody" { format!("http://{nobody}/") } else { endpoint.url(path) };
        let event_type = path.trim_start_matches('/');
        tenant.subscribe(json!({"url": url, "events": [event_type], "timeout": "10s"})).await;
        let receipt = tenant.post(event_type, json!(1)).await;
        if path == "/stall" {
            endpoint.first(path).await;
            clock.advance("9999ms").await;
            assert_eq!(tenant.attempts(&receipt, 0).await["status"], "pending");
            clock.advance("1ms").await;
        }
        let delivery = tenant.attempts(&receipt, 1).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((&attempt["outcome"], &delivery["status"]), (&json!(outcome), &json!(status)), "{path}: {delivery}");
        assert!(attempt["detail"].as_str().unwrap().contains(detail), "{path}: {attempt}");
        assert_eq!(attempt["blame"], blame, "{path}: {attempt}");
        match path {
            "/endless" => assert_eq!(attempt["response"]["truncated"], true, "{path}"),
            "/huge-refusal" => {
                assert_eq!(attempt["response"]["body"].as_str().unwrap().len(), 16 * 1024);
                assert_eq!(attempt["response"]["truncated"], true);
            }
            "/stall" => assert_eq!(attempt["duration_ms"], 10_000.0, "{attempt}"),
            "/drip" => assert_eq!(attempt["response"]["body"], "slowly".repeat(20)),
            _ => {}
        }
    }
    assert_eq!(endpoint.count("/elsewhere"), 0, "redirects are not followed");
}

/// One tenant's endpoint that never answers holds up nothing of another's.
#[tokio::test]
async fn a_hung_endpoint_is_its_owners_problem() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::scripted(|request, _| match request.path.as_str() {
        "/hangs" => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let (hung, well) = (gateway.tenant("hung").await, gateway.tenant("well").await);
    hung.subscribe(json!({"url": endpoint.url("/hangs"), "events": ["*"]})).await;
    well.subscribe(json!({"url": endpoint.url("/answers"), "events": ["*"]})).await;
    let batch = Value::from(vec![json!({"type": "a", "data": 1}); 200]);
    for tenant in [&hung, &well] {
        assert_eq!(tenant.api.post("/v1/events", batch.clone()).await.json(202)["accepted"], 200);
    }
    eventually("all of the other's are delivered", async || {
        (well.deliveries("status=delivered").await.len() == 200).then_some(())
    })
    .await;
    let pending = hung.deliveries("status=pending").await;
    assert_eq!(pending.len(), 200);
    assert!(pending.iter().all(|one| one["attempt_count"] == 0), "the first still wait for their answers");
}
