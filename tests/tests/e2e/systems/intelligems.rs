//! Intelligems (`002_aaeaf4eeab22949f.txt`).

use hookmill_tests::{Answer, Receiver, Setup};
use serde_json::{Value, json};

use super::{answers, forged, walk};
use crate::connectors::{experience, key_file};

/// The document's two pieces of code together. One change: Node.js lower-cases the names of headers, so the printed
/// `req.headers['X-Intelligems-Signature']` is never there. It hands the body itself to the verifier, so it needs
/// `express.text()`.
const RECEIVER: &str = r#"
// Verify webhook signature (Node.js example)
const crypto = require('crypto');

function verifyWebhookSignature(payload, signature, secret) {
  const expectedSignature = crypto
    .createHmac('sha256', secret)
    .update(payload)
    .digest('hex');

  return crypto.timingSafeEqual(
    Buffer.from(signature),
    Buffer.from(expectedSignature)
  );
}

// Example webhook handler with proper error handling
app.post('/webhook/intelligems', (req, res) => {
  try {
    // Verify signature
    if (!verifyWebhookSignature(req.body, req.headers['x-intelligems-signature'], secret)) {
      return res.status(401).send('Invalid signature');
    }

    // Process webhook
    processWebhookEvent(req.body);

    // Respond quickly
    res.status(200).send('OK');
  } catch (error) {
    console.error('Webhook processing error:', error);
    res.status(500).send('Internal server error');
  }
});
"#;

const SECRET: &str = "a secret key";

/// An experience's event arrives as its action fields, and the verifier takes it; a test can be triggered before.
#[tokio::test]
async fn the_documents_verifier() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("intelligems").await;
    let wanted = json!({"url": endpoint.url("/webhook/intelligems"), "events": ["experience.start"], "secret": SECRET});
    let made = tenant.api.post("/v1/webhooks", wanted).await.json(201);
    assert_eq!((&made["timeout"], &made["success"]), (&json!("10s"), &json!(["200-299"])));
    tenant.api.poke(&format!("/v1/webhooks/{}/test", made["id"].as_str().unwrap())).await.is(200);
    assert_eq!(endpoint.first("/webhook/intelligems").await.json()["action"], "start");

    // Whatever the application says of them itself stays; what it does not say comes from the event.
    tenant.post("experience.start", experience()).await;
    let bare = r#"{"type":"experience.start","timestamp":"2026-03-02T09:15:00Z","data":{"experience":{"id":"exp_1","lift":1.0}}}"#;
    tenant.api.text("POST", "/v1/events", bare).await.is(202);
    assert_eq!(tenant.post("experience.end", experience()).await["deliveries"], 0);
    let arrived = endpoint.wait("/webhook/intelligems", 3).await;
    let texts: Vec<&str> = arrived.iter().map(|one| one.text()).collect();
    assert!(texts.contains(&experience().to_string().as_str()), "{texts:?}");
    let filled = r#"{"action":"start","experience":{"id":"exp_1","lift":1.0},"timestamp":"2026-03-02T09:15:00.000Z"}"#;
    assert!(texts.contains(&filled), "{texts:?}");
    assert!(arrived.iter().all(|one| hookmill_tests::unix_time().abs_diff(one.timestamp().unsigned_abs()) < 60));
    assert_eq!(answers(RECEIVER, "text", &arrived, SECRET).await, ["200 OK"; 3]);
    assert_eq!(answers(RECEIVER, "text", &forged(&arrived), SECRET).await, ["401 Invalid signature"; 3]);
}

/// At most five attempts.
#[tokio::test]
async fn five_attempts() {
    let endpoint =
        Receiver::scripted(|request, _| Answer::Status(if request.path == "/sentinel" { 200 } else { 304 })).await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("intelligems").await;
    tenant.api.post("/v1/webhooks", json!({"url": endpoint.url("/hook"), "events": ["*"]})).await.is(201);
    let event = tenant.post("experience.start", experience()).await;
    walk(&gateway, &clock, &endpoint, &tenant, &event, ("/hook", &[60, 300, 1800, 7200])).await;
}

/// One event becomes what each of the document's integrations wants: a Zapier catch hook's flat body, a Slack message, a
/// row of a sheet, a call of one's own API. Their hosts are doubles.
#[tokio::test]
async fn the_documents_integrations() {
    let doubles = Receiver::scripted(|request, _| {
        let json =
            |text: &str| Answer::Full(200, vec![("content-type", "application/json".to_owned())], text.to_owned());
        match request.path.as_str() {
            path if path.starts_with("/services/") => Answer::Full(200, vec![], "ok".to_owned()),
            "/token" => json(r#"{"access_token":"ya29.1","expires_in":3600}"#),
            _ => json("{}"),
        }
    })
    .await;
    let hosts =
        ["hooks.slack.com", "hooks.zapier.com", "sheets.googleapis.com", "oauth2.googleapis.com", "api.shop.example"];
    let gateway = hosts.iter().fold(Setup::new(), |setup, host| setup.map(doubles.mapping(host))).start().await;
    let tenant = gateway.tenant_as("intelligems").await;
    let columns: Vec<Value> = [
        ("Experience Name", "{{ data.experience.name }}"),
        ("Action Type", "{{ data.action }}"),
        ("Experience Type", "{{ data.experience.type }}"),
        ("Timestamp", "{{ data.timestamp }}"),
        ("Experience ID", "{{ data.experience.id }}"),
        ("Triggered By Email", "{{ data.triggered_by.email }}"),
    ]
    .iter()
    .map(|(header, value)| json!({"header": header, "value": value}))
    .collect();
    for mut wanted in [
        json!({"url": "https://hooks.zapier.com/hooks/catch/1/abc/", "connector": {"name": "zapier"}}),
        json!({"url": "https://hooks.slack.com/services/T1/B1/abc", "connector": {"name": "slack", "config": {
            "text": "*{{ data.experience.name }}*: {{ data.action }} by {{ data.triggered_by.email }}"}}}),
        json!({"connector": {"name": "google-sheets", "config": {"spreadsheet_id": "s1", "range": "Events!A:F",
            "service_account": key_file(), "columns": columns}}}),
        json!({"url": "https://api.shop.example/experiments", "auth": {"type": "header", "name": "x-api-key", "value": "a key"},
            "connector": {"name": "http", "config": {"fields": {
                "title": "{{ data.experience.name }}", "who": {"mail": "{{ data.triggered_by.email }}"}}}}}),
    ] {
        wanted["events"] = json!(["experience.start"]);
        tenant.api.post("/v1/webhooks", wanted).await.is(201);
    }
    assert_eq!(tenant.post("experience.start", experience()).await["deliveries"], 4);

    let flat = doubles.first("/hooks/catch/1/abc/").await.json();
    assert!(flat.as_object().unwrap().values().all(|value| !value.is_object()), "{flat}");
    assert_eq!((&flat["action"], &flat["experience__id"]), (&json!("start"), &json!("exp_8842")));
    let message = doubles.first("/services/T1/B1/abc").await.json();
    assert_eq!(message["text"], "*Free &lt;shipping&gt; &amp; *more**: start by dana@shop.example");
    let row = doubles.first("/v4/spreadsheets/s1/values/").await.json();
    let wanted =
        ["Free <shipping> & *more*", "start", "shipping", "2026-03-02T09:15:00Z", "exp_8842", "dana@shop.example"];
    assert_eq!(row["values"], json!([wanted]));
    let call = doubles.first("/experiments").await;
    assert_eq!((call.method.as_str(), call.header("x-api-key")), ("POST", "a key"));
    assert_eq!(call.json(), json!({"title": "Free <shipping> & *more*", "who": {"mail": "dana@shop.example"}}));
}

/// An endpoint has ten seconds, to the second.
#[tokio::test]
async fn ten_seconds_to_answer() {
    let endpoint = Receiver::scripted(|request, _| match request.path.as_str() {
        "/sentinel" => Answer::Status(200),
        _ => Answer::Never,
    })
    .await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("intelligems").await;
    let wanted = json!({"url": endpoint.url("/hook"), "events": ["experience.start"]});
    assert_eq!(tenant.api.post("/v1/webhooks", wanted).await.json(201)["timeout"], "10s");
    let event = tenant.post("experience.start", experience()).await;
    endpoint.wait("/hook", 1).await;
    clock.advance("9s").await;
    // What must not happen is looked for after something that must.
    let other = gateway.tenant("sentinel").await;
    other.subscribe(json!({"url": endpoint.url("/sentinel"), "events": ["*"]})).await;
    let sentinel = other.post("sentinel", json!(1)).await;
    other.status(&sentinel, "delivered").await;
    let waiting = tenant.deliveries(&format!("event_id={}", event["id"].as_str().unwrap())).await;
    assert_eq!((&waiting[0]["status"], &waiting[0]["attempt_count"]), (&json!("pending"), &json!(0)));
    clock.advance("1s").await;
    let timed_out = tenant.attempts(&event, 1).await;
    let attempt = &timed_out["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["blame"]), (&json!("unknown"), &json!("endpoint")), "{attempt}");
    assert_eq!(attempt["duration_ms"].as_f64(), Some(10_000.0), "{attempt}");
    assert!(attempt["next"]["because"].as_str().unwrap().contains("timeout"), "{attempt}");
}
