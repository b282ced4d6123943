//! The reference systems: what each one's document asks of a user, with the document's own JSON, calls and code, in a
//! tenant with that system's profile. A sample that can't run as it is printed says what was changed.
//!
//! What each needs here is at the end: the retry tables are walked to the second, and the documents' Node.js samples
//! run with what arrived (`express.js`).

mod ilara;
mod intelligems;
mod loyali;
mod ltvboost;
mod unibo;

use hookmill_tests::{Gateway, Received, Receiver, Tenant, TestClock, hmac_hex, node};
use serde_json::{Value, json};

const SECRET: &str = "a secret that a customer chose";

/// Each system's receiver finds the signature where its document says, over what it says; Unibo's finds its key.
#[tokio::test]
async fn five_forms_of_proof() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let rows = [
        ("/ilara", json!({"header": "x-ilara-signature", "value": "sha256={signature}"})),
        (
            "/loyali",
            json!({"header": "X-Loyali-Signature", "content": "{timestamp}.{body}", "value": "t={timestamp},v1={signature}"}),
        ),
        ("/intelligems", json!({"header": "X-Intelligems-Signature", "timestamp_header": "webhook-timestamp"})),
        ("/ltvboost", json!({"header": "x-ltvboost-signature", "value": "sha256={signature}"})),
    ];
    for (path, mut signing) in rows {
        signing["scheme"] = "hmac".into();
        let wanted = json!({"url": endpoint.url(path), "events": ["*"], "secret": SECRET, "signing": signing});
        let made = tenant.subscribe(wanted).await;
        assert_eq!(made["secret"], SECRET, "shown once");
    }
    tenant
        .subscribe(json!({
            "url": endpoint.url("/unibo"), "events": ["*"], "signing": {"scheme": "none"}, "envelope": "none",
            "user_agent": "Unibo-Webhooks/1.0", "auth": {"type": "bearer", "token": "unibo-api-key"},
        }))
        .await;
    tenant.post("tier.upgraded", json!({"points": 100.0, "name": "Zoë"})).await;

    let request = endpoint.first("/ilara").await;
    assert_eq!(request.header("x-ilara-signature"), format!("sha256={}", hmac_hex(SECRET, &[&request.body])));
    let request = endpoint.first("/loyali").await;
    let signature = request.header("x-loyali-signature");
    let (time, _) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect(signature);
    let expected = hmac_hex(SECRET, &[time.as_bytes(), b".", &request.body]);
    assert_eq!(signature, format!("t={time},v1={expected}"));
    assert!(hookmill_tests::unix_time().abs_diff(time.parse().unwrap()) < 60);
    let request = endpoint.first("/intelligems").await;
    assert_eq!(request.header("x-intelligems-signature"), hmac_hex(SECRET, &[&request.body]));
    assert!(hookmill_tests::unix_time().abs_diff(request.timestamp().unsigned_abs()) < 60);
    let request = endpoint.first("/ltvboost").await;
    assert_eq!(request.header("x-ltvboost-signature"), format!("sha256={}", hmac_hex(SECRET, &[&request.body])));
    let request = endpoint.first("/unibo").await;
    assert_eq!(request.header("authorization"), "Bearer unibo-api-key");
    assert_eq!(request.header("user-agent"), "Unibo-Webhooks/1.0");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.text(), r#"{"points":100.0,"name":"Zoë"}"#);
    assert!(request.header("webhook-signature").is_empty());
}

/// What a subscription says itself counts, and the rest is its profile's.
#[tokio::test]
async fn every_part_can_be_overridden() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant_as("ilara").await;
    let data = r#"{"amount": 100.0}"#;
    let rows = [
        ("/envelope", json!({"envelope": "none"}), r#"{"amount":100}"#),
        ("/format", json!({"envelope": "none", "body_format": "kept"}), data),
        ("/signing", json!({"signing": {"scheme": "none"}, "envelope": "none"}), r#"{"amount":100}"#),
        ("/agent", json!({"user_agent": "Own/1", "timeout": "5s", "envelope": "none"}), r#"{"amount":100}"#),
        ("/profile", json!({"profile": "unibo"}), r#"{"event_type":"event.purchase","amount": 100.0}"#),
    ];
    for (path, own, _) in &rows {
        let mut wanted = json!({"url": endpoint.url(path), "events": ["event.purchase"]});
        wanted.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        tenant.subscribe(wanted).await;
    }
    let event = format!(r#"{{"type":"event.purchase","data":{data}}}"#);
    assert_eq!(tenant.api.text("POST", "/v1/events", &event).await.json(202)["deliveries"], rows.len());
    for (path, _, body) in rows {
        let request = endpoint.first(path).await;
        assert_eq!(request.text(), body, "{path}");
        assert_eq!(request.header("x-ilara-signature").is_empty(), matches!(path, "/signing" | "/profile"), "{path}");
        let agent = match path {
            "/agent" => "Own/1",
            "/profile" => "Unibo-Webhooks/1.0",
            _ => "Hookmill/",
        };
        assert!(request.header("user-agent").starts_with(agent), "{path}");
    }
}

/// What a document's sample answers to requests that arrived; `body` is what Express is told to make of bodies.
async fn answers(document: &str, body: &str, requests: &[Received], secret: &str) -> Vec<String> {
    let request = |one: &Received| {
        let headers: serde_json::Map<String, Value> =
            one.headers.keys().map(|name| (name.to_string(), one.header(name.as_str()).into())).collect();
        json!({"path": one.path, "headers": headers, "body": one.text(), "secret": secret})
    };
    let requests: Vec<Value> = requests.iter().map(request).collect();
    let input = json!({"document": document, "body": body, "requests": requests}).to_string();
    node(include_str!("express.js"), &input).await.lines().map(str::to_owned).collect()
}

/// The same requests with one more field in each body: what a verifier must refuse.
fn forged(requests: &[Received]) -> Vec<Received> {
    let forge = |one: &Received| Received { body: one.text().replacen('{', "{\"forged\":1,", 1).into(), ..one.clone() };
    requests.iter().map(forge).collect()
}

/// Follows the one delivery of an event whose endpoint refuses it: every attempt comes after its wait, to the second
/// and not a second earlier, and there is none after the last. Gives the delivery as it ended.
async fn walk(
    gateway: &Gateway,
    clock: &TestClock,
    endpoint: &Receiver,
    tenant: &Tenant,
    event: &Value,
    (path, waits): (&str, &[u64]),
) -> Value {
    let other = gateway.tenant("sentinel").await;
    other.subscribe(json!({"url": endpoint.url("/sentinel"), "events": ["*"]})).await;
    // What must not happen is looked for after something that must.
    let nothing_more = async |count: usize, what: &str| {
        let sentinel = other.post("sentinel", json!(count)).await;
        other.status(&sentinel, "delivered").await;
        assert_eq!(endpoint.count(path), count, "{what}");
    };
    for (before, wait) in (1..).zip(waits) {
        tenant.attempts(event, before).await;
        let count = usize::try_from(before).unwrap();
        clock.advance(&format!("{}s", wait - 1)).await;
        nothing_more(count, "an attempt came a second early").await;
        clock.advance("1s").await;
        endpoint.wait(path, count + 1).await;
    }
    let failed = tenant.status(event, "failed").await;
    clock.advance("24h").await;
    nothing_more(waits.len() + 1, "an attempt came after the last").await;
    let starts: Vec<jiff::Timestamp> = failed["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["started_at"].as_str().unwrap().parse().unwrap())
        .collect();
    let waited: Vec<u64> =
        starts.windows(2).map(|two| two[1].duration_since(two[0]).as_secs().unsigned_abs()).collect();
    assert_eq!(waited, waits, "{failed}");
    failed
}
