//! LTVboost (`003_cc89a714ab64147c.txt`).

use hookmill_tests::{Answer, Receiver, Setup};
use serde_json::json;
use tokio::process::Command;

use super::{answers, forged, walk};

/// As printed, but for the empty lines between.
const CURL: &str = r#"curl -X POST https://api.ltvboost.com/v1/webhooks \
-H "Authorization: Bearer YOUR_API_TOKEN" \
-H "Content-Type: application/json" \
-d '{
"url": "https://your-app.com/webhooks/ltvboost",
"events": ["response.created", "action.sent"],
"secret": "your-webhook-secret"
}'"#;

/// The document's two pieces of code together, as printed. It hands the body itself to the verifier, so it needs
/// `express.text()`; then the body is a text without a `type`, and the `switch` does nothing.
const RECEIVER: &str = r#"
app.post('/webhooks/ltvboost', (req, res) => {
const event = req.body;

// Verify signature
const signature = req.headers['x-ltvboost-signature'];
if (!verifySignature(signature, req.body)) {
return res.status(401).send('Invalid signature');
}

// Process event
switch (event.type) {
case 'response.created':
handleNewResponse(event.data);
break;
case 'action.sent':
handleActionSent(event.data);
break;
}

res.status(200).send('OK');
});

const crypto = require('crypto');

function verifySignature(signature, payload) {
const expectedSignature = crypto
.createHmac('sha256', process.env.WEBHOOK_SECRET)
.update(payload)
.digest('hex');

return signature === `sha256=${expectedSignature}`;
}
"#;

/// The `curl` registers a webhook, and what it is sent verifies.
#[tokio::test]
async fn the_documents_curl_and_verifier() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().map(endpoint.mapping("your-app.com")).start().await;
    let tenant = gateway.tenant_as("ltvboost").await;
    let key = tenant.api.post("/v1/keys", json!({"role": "editor"})).await.json(201);
    let curl = CURL
        .replace("https://api.ltvboost.com", gateway.public().base())
        .replace("YOUR_API_TOKEN", key["key"].as_str().unwrap());
    let output = Command::new("sh").args(["-c", &curl]).output().await.expect("there is a shell and curl");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).expect("curl prints what was answered");
    assert_eq!((&made["profile"], &made["secret"]), (&json!("ltvboost"), &json!("your-webhook-secret")), "{made}");

    tenant.post("response.created", json!({"response_id": "resp_1", "score": 1.0})).await;
    tenant.post("action.sent", json!({"action_id": "act_1"})).await;
    assert_eq!(tenant.post("action.failed", json!({})).await["deliveries"], 0);
    let arrived = endpoint.wait("/webhooks/ltvboost", 2).await;
    let mut bodies: Vec<&str> = arrived.iter().map(|one| one.text()).collect();
    bodies.sort_unstable();
    assert_eq!(
        bodies,
        [
            r#"{"type":"action.sent","data":{"action_id":"act_1"}}"#,
            r#"{"type":"response.created","data":{"response_id":"resp_1","score":1.0}}"#
        ]
    );
    assert_eq!(answers(RECEIVER, "text", &arrived, "your-webhook-secret").await, ["200 OK"; 2]);
    assert_eq!(answers(RECEIVER, "text", &forged(&arrived), "your-webhook-secret").await, ["401 Invalid signature"; 2]);
}

/// Six attempts, each wait five times the one before, and none after a day.
#[tokio::test]
async fn backs_off() {
    let endpoint =
        Receiver::scripted(|request, _| Answer::Status(if request.path == "/sentinel" { 200 } else { 500 })).await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("ltvboost").await;
    let wanted = json!({"url": endpoint.url("/hooks"), "events": ["action.sent"], "secret": "your-webhook-secret"});
    tenant.api.post("/v1/webhooks", wanted).await.is(201);
    let event = tenant.post("action.sent", json!({"action_id": "act_1"})).await;
    let failed = walk(&gateway, &clock, &endpoint, &tenant, &event, ("/hooks", &[60, 300, 1500, 7500, 37_500])).await;
    assert_eq!(failed["attempts"][5]["response"]["status_code"], 500, "what failed is logged");
}

/// Whoever asks for more time gets up to twice the wait; what would then come after a day does not come at all.
#[tokio::test]
async fn gives_up_after_a_day() {
    let endpoint = Receiver::scripted(|request, _| match request.path.as_str() {
        "/sentinel" => Answer::Status(200),
        _ => Answer::Full(503, vec![("retry-after", "86400".to_owned())], String::new()),
    })
    .await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("ltvboost").await;
    let wanted = json!({"url": endpoint.url("/hooks"), "events": ["action.sent"], "secret": "your-webhook-secret"});
    tenant.api.post("/v1/webhooks", wanted).await.is(201);
    let event = tenant.post("action.sent", json!({"action_id": "act_1"})).await;
    // The sixth would be due 93,720 s after the first, and a day has 86,400.
    let failed = walk(&gateway, &clock, &endpoint, &tenant, &event, ("/hooks", &[120, 600, 3_000, 15_000])).await;
    let because = &failed["attempts"][4]["next"]["because"];
    assert!(because.as_str().unwrap().contains("attempt 6 would be due later than 1d"), "{failed}");
}
