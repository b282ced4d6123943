//! One tenant does all the harm it can at once, and another is served as if it were alone.

use std::time::Duration;

use hookmill_tests::{Answer, Gateway, Receiver, Setup, Tenant, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most resident memory that a gateway under attack may have.
const MOST_MEMORY: u64 = 300 << 20;
/// Events of each kind, of which a batch is made.
const EVENTS: usize = 20;

/// What the attacker subscribes to: the event type, which is the endpoint's path too, the transform, and what its
/// attempts come to: the outcome, who is to blame, and what the detail says.
const HARM: [(&str, Option<&str>, &str, &str, &str); 8] = [
    ("loop", Some("looping"), "plugin_fault", "plugin", "faulted (time)"),
    ("bomb", Some("bomb"), "plugin_fault", "plugin", "faulted (memory)"),
    ("silent", None, "unknown", "endpoint", "(timeout)"),
    ("trickle", None, "unknown", "endpoint", "(timeout)"),
    ("flood", None, "delivered", "none", ""),
    ("reset", None, "unknown", "network", "(reset)"),
    ("circle", None, "refused", "endpoint", "302"),
    ("throttle", None, "throttled", "endpoint", "429"),
];

fn plugin(name: &str) -> String {
    format!("{}/../gateway/src/engine/fixtures/{name}.wasm", env!("CARGO_MANIFEST_DIR"))
}

async fn batch(tenant: &Tenant, event_type: &str, count: usize, data: Value) {
    let events = Value::from(vec![json!({"type": event_type, "data": data}); count]);
    assert_eq!(tenant.api.post("/v1/events", events).await.json(202)["accepted"], count, "{event_type}");
}

async fn harmful() -> Receiver {
    Receiver::scripted(|request, _| match request.path.as_str() {
        "/silent" => Answer::Never,
        "/trickle" => Answer::Drip("x".repeat(1 << 20)),
        "/flood" => Answer::Endless,
        "/reset" => Answer::Close,
        "/circle" => Answer::Full(302, vec![("location", "/circle".to_owned())], String::new()),
        "/throttle" => Answer::Full(429, vec![("retry-after", "99999999999999".to_owned())], String::new()),
        _ => Answer::Status(200),
    })
    .await
}

/// What clients send of a request, a byte at a time, and what they send after it without an end: a head in either
/// version's beginning, or nothing.
const DAWDLING: [(&str, &str); 4] =
    [("POST /v1/events HTTP/1.1\r\nx-padding: ", "x"), ("P", ""), ("PRI * HTTP/2.0\r\n", ""), ("", "")];

/// A client that takes its time, until it is let go.
async fn dawdle(address: String, (head, then): (&str, &str)) {
    let mut stream = TcpStream::connect(&address).await.expect("the gateway takes connections");
    let mut answer = Vec::new();
    let mut bytes = head.bytes().chain(then.bytes().cycle());
    loop {
        if let Some(next) = bytes.next()
            && stream.write_all(&[next]).await.is_err()
        {
            return;
        }
        let waited = tokio::time::timeout(Duration::from_millis(100), stream.read_to_end(&mut answer)).await;
        if waited.is_ok() {
            return;
        }
    }
}

/// Plugins that loop and plugins that fill memory, filters built to explode, a large fan-out, bodies as large as they
/// may be, clients that dawdle, and endpoints that do whatever an endpoint can: all of one tenant, at once. Each fault
/// is named, memory stays bounded, and every event of another tenant arrives.
#[tokio::test]
async fn all_at_once() {
    let gateway = Setup::new()
        .env("HOOKMILL_PLUGINS__FILES", json!([plugin("looping"), plugin("bomb")]).to_string())
        .env("HOOKMILL_SERVER__BODY_TIMEOUT", "2s")
        // Where everything else wants the processor too, taking memory takes longer than usual.
        .env("HOOKMILL_PLUGINS__TIME", "200ms")
        .start()
        .await;
    let (harmful, endpoint) = (harmful().await, Receiver::start().await);
    let (attacker, bystander) = (gateway.tenant("attacker").await, gateway.tenant("bystander").await);
    bystander.subscribe(json!({"url": endpoint.url("/plain"), "events": ["order.*"]})).await;
    let redacted = json!([{"plugin": "redact", "config": {"paths": ["$.data.email"]}}]);
    bystander.subscribe(json!({"url": endpoint.url("/redacted"), "events": ["order.*"], "transforms": redacted})).await;
    for (kind, transform, ..) in HARM {
        let transforms: Vec<_> = transform.iter().map(|name| json!({"plugin": name})).collect();
        let wanted = json!({
            "url": harmful.url(&format!("/{kind}")), "events": [kind], "transforms": transforms,
            "timeout": "1s", "retry_policy": {"schedule": ["0s", "1h"]},
        });
        attacker.subscribe(wanted).await;
    }
    let costly = json!({
        "url": harmful.url("/costly"), "events": ["many"],
        "filters": {"any": [
            {"t": {"regex": "(a|b|ab)*(a|b|ab)*(a|b|ab)*c{1,50}$"}},
            {"$.data.list[?count(@.*) > 9]": {"exists": true}},
        ]},
    });
    for _ in 0..100 {
        attacker.subscribe(json!({"url": harmful.url("/many"), "events": ["many"]})).await;
        attacker.subscribe(costly.clone()).await;
    }

    let address = gateway.public().base().trim_start_matches("http://").to_owned();
    let dawdling = DAWDLING.into_iter().cycle().take(100);
    let dawdlers: Vec<_> = dawdling.map(|kind| tokio::spawn(dawdle(address.clone(), kind))).collect();
    for (kind, ..) in HARM {
        batch(&attacker, kind, EVENTS, json!(1)).await;
    }
    let many = json!({"t": "ab".repeat(4096), "list": vec![json!([1, 2, 3, [4, 5, 6, 7, 8]]); 2_000]});
    for _ in 0..10 {
        attacker.post("many", many.clone()).await;
        attacker.post("large", json!("x".repeat((1 << 20) - 100))).await;
        batch(&bystander, "order.paid", EVENTS, json!({"email": "dana@shop.example"})).await;
    }
    let too_large = attacker.api.post("/v1/events", json!({"type": "large", "data": "x".repeat(1 << 20)})).await;
    too_large.problem(413, "body-too-large");

    for path in ["/plain", "/redacted"] {
        endpoint.wait(path, 10 * EVENTS).await;
    }
    eventually("every delivery of the bystander's is written down as such", async || {
        (bystander.deliveries("status=delivered").await.len() == 2 * 10 * EVENTS).then_some(())
    })
    .await;
    assert_eq!(endpoint.all().len(), 2 * 10 * EVENTS, "each arrived once");
    for (kind, _, outcome, blame, detail) in HARM {
        let tried = format!("type={kind}&min_attempts=1");
        let found =
            eventually(&format!("a {kind} has been tried"), async || attacker.deliveries(&tried).await.pop()).await;
        let found = attacker.api.get(&format!("/v1/deliveries/{}", found["id"].as_str().unwrap())).await.json(200);
        let attempt = &found["attempts"][0];
        assert_eq!((&attempt["outcome"], &attempt["blame"]), (&json!(outcome), &json!(blame)), "{kind}: {found}");
        assert!(attempt["detail"].as_str().unwrap().contains(detail), "{kind}: {attempt}");
        if kind == "flood" {
            assert_eq!(attempt["response"]["truncated"], true, "{attempt}");
        }
    }
    too_expensive(&attacker).await;
    for dawdler in dawdlers {
        dawdler.await.expect("a client that dawdles is let go");
    }
    let counted = gateway.admin().get("/metrics").await.text;
    let counted = counted.lines().find_map(|line| line.strip_prefix("hookmill_connections_without_request_total "));
    // And whatever of the test's own clients opened a connection in vain.
    assert!(counted.and_then(|count| count.parse().ok()) >= Some(100), "{counted:?}");
    healthy(&gateway).await;
}

/// The filters that exploded are said to have been too expensive.
async fn too_expensive(attacker: &Tenant) {
    let event = &attacker.api.get("/v1/events?type=many&limit=1").await.json(200)["data"][0];
    let path = format!("/v1/events/{}/explain?limit=200", event["id"].as_str().unwrap());
    let explained = attacker.api.get(&path).await.json(200);
    let why = explained["data"].as_array().unwrap().iter().map(|one| one["why"].as_str().unwrap());
    assert!(why.filter(|why| why.contains("too expensive")).count() > 50, "{explained}");
}

async fn healthy(gateway: &Gateway) {
    for path in ["/healthz", "/readyz"] {
        gateway.public().get(path).await.is(200);
    }
    let memory = gateway.memory();
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
}
