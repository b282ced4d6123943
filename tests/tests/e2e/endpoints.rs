//! Endpoints that misbehave, and that hang.

use hookmill_tests::{Answer, Gateway, Receiver, Setup, eventually};
use serde_json::{Value, json};

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
