//! Ilara (`000_ab7a303663b8fddf.txt`). Its examples are printed with the marks of a highlighter in them, which are left
//! out here.

use hookmill_tests::{Answer, Gateway, Receiver, Setup, Tenant};
use serde_json::{Value, json};

use super::{answers, forged, walk};

const CREATE: &str = r#"{
  "name": "Purchase Notification",
  "url": "https://your-server.com/webhooks/ilara",
  "events": ["purchase_complete", "subscription_start"],
  "secret": "whsec_your_signing_secret",
  "enabled": true,
  "headers": {
    "X-Custom-Header": "value"
  },
  "retry_policy": {
    "max_retries": 3,
    "backoff": "exponential"
  }
}"#;

const PAYLOAD: &str = r#"{
  "id": "evt_123abc",
  "type": "event.purchase_complete",
  "timestamp": "2025-01-25T14:30:00Z",
  "data": {
    "player_id": "550e8400-e29b-41d4-a716-446655440000",
    "external_id": "player_123",
    "event_name": "purchase_complete",
    "properties": {
      "product_id": "gem_pack_100",
      "amount": 9.99,
      "currency": "USD"
    }
  }
}"#;

const FILTERED: &str = r#"{
  "name": "High-Value Purchases",
  "url": "https://your-server.com/webhooks/purchases",
  "events": ["event.purchase_complete"],
  "filters": {
    "properties.amount": { "gte": 50 },
    "properties.currency": { "eq": "USD" }
  }
}"#;

const SECRET: &str = "whsec_your_signing_secret";

/// As printed; it runs under `express.json()`.
const VERIFIER: &str = r#"
const crypto = require('crypto');

function verifyWebhook(payload, signature, secret) {
  const expectedSignature = crypto
    .createHmac('sha256', secret)
    .update(payload)
    .digest('hex');

  return crypto.timingSafeEqual(
    Buffer.from(signature),
    Buffer.from(`sha256=${expectedSignature}`)
  );
}

// In your endpoint handler
app.post('/webhooks/ilara', (req, res) => {
  const signature = req.headers['x-ilara-signature'];
  const isValid = verifyWebhook(
    JSON.stringify(req.body),
    signature,
    process.env.WEBHOOK_SECRET
  );

  if (!isValid) {
    return res.status(401).send('Invalid signature');
  }

  // Process webhook...
  res.status(200).send('OK');
});
"#;

async fn start(endpoint: &Receiver) -> (Gateway, Tenant) {
    let gateway = Setup::new().map(endpoint.mapping("your-server.com")).with_clock().start().await;
    let tenant = gateway.tenant_as("ilara").await;
    (gateway, tenant)
}

/// The create call as printed delivers both event types, in Ilara's form, and the verifier as printed takes them, however
/// their data is spelled.
#[tokio::test]
async fn the_documents_call_and_verifier() {
    const SPELLINGS: [&str; 6] = [
        r#"{"amount":100.0,"e":1e3,"small":0.0000001,"zero":-0.0}"#,
        r#"{"name":"Jos\u00e9 \ud83d\ude00 \/ \u2028","plain":"José"}"#,
        "{\n    \"indented\" : [ 1 ,\t2 ],\r\n    \"empty\": { }\n}",
        r#"{"b":1,"10":"ten","9":"nine","-1":"minus","01":"padded","a":2}"#,
        r#"{"twice":1,"other":2,"twice":3,"big":12345678901234567890}"#,
        r#"{"__proto__":{"x":1},"lone":"\ud800","null":null}"#,
    ];
    let endpoint = Receiver::start().await;
    let (_gateway, tenant) = start(&endpoint).await;
    let made = tenant.api.text("POST", "/v1/integrations/webhooks", CREATE).await.json(201);
    assert_eq!(made["secret"], SECRET, "shown once");
    let id = made["id"].as_str().unwrap();
    let read = tenant.api.get(&format!("/v1/integrations/webhooks/{id}")).await.json(200);
    assert_eq!(
        (&read["profile"], &read["events"]),
        (&json!("ilara"), &json!(["purchase_complete", "subscription_start"]))
    );
    assert_eq!(
        (&read["timeout"], &read["body_format"], &read["envelope"]),
        (&json!("30s"), &json!("js"), &json!("profile"))
    );

    let receipt = tenant.api.text("POST", "/v1/events", PAYLOAD).await.json(202);
    assert_eq!(receipt["deliveries"], 1);
    tenant.status(&receipt, "delivered").await;
    let request = endpoint.first("/webhooks/ilara").await;
    assert_eq!((request.header("x-custom-header"), request.header("content-type")), ("value", "application/json"));
    let data = r#"{"player_id":"550e8400-e29b-41d4-a716-446655440000","external_id":"player_123","event_name":"purchase_complete","properties":{"product_id":"gem_pack_100","amount":9.99,"currency":"USD"}}"#;
    let wanted = format!(
        r#"{{"id":"evt_123abc","type":"event.purchase_complete","timestamp":"2025-01-25T14:30:00.000Z","data":{data},"metadata":{{"webhook_id":"{id}","delivery_attempt":1}}}}"#
    );
    assert_eq!(request.text(), wanted);

    tenant.post("event.subscription_start", json!({"player_id": "p"})).await;
    for unwanted in ["event.session_end", "player.created", "purchase_complete"] {
        assert_eq!(tenant.post(unwanted, json!({})).await["deliveries"], 0, "{unwanted}");
    }
    for data in SPELLINGS {
        let event = format!(r#"{{"type":"event.purchase_complete","data":{data}}}"#);
        tenant.api.text("POST", "/v1/events", &event).await.is(202);
    }
    let arrived = endpoint.wait("/webhooks/ilara", SPELLINGS.len() + 2).await;
    let said = answers(VERIFIER, "json", &arrived, SECRET).await;
    assert_eq!(said, vec!["200 OK"; arrived.len()], "{:?}", arrived.iter().map(|one| one.text()).collect::<Vec<_>>());
    let said = answers(VERIFIER, "json", &forged(&arrived), SECRET).await;
    assert_eq!(said, vec!["401 Invalid signature"; arrived.len()]);
}

/// *High-Value Purchases*: 9.99 USD is not sent, 50 USD is, 50 EUR is not, and the gateway says why.
#[tokio::test]
async fn high_value_purchases() {
    let endpoint = Receiver::start().await;
    let (_gateway, tenant) = start(&endpoint).await;
    tenant.api.text("POST", "/v1/integrations/webhooks", FILTERED).await.is(201);
    // Amount as it is spelled, currency, whether it is wanted, and a word of the reason.
    let rows = [
        ("9.99", "USD", false, "9.99"),
        ("50", "USD", true, ""),
        ("50", "EUR", false, "EUR"),
        ("50.00", "USD", true, ""),
        ("5e1", "USD", true, ""),
        ("49.999999999999999999999", "USD", false, "gte"),
        ("\"50\"", "USD", false, "amount"),
    ];
    let mut wanted_ids = Vec::new();
    for (amount, currency, wanted, reason) in rows {
        let data = format!(r#"{{"player_id":"p","properties":{{"amount":{amount},"currency":"{currency}"}}}}"#);
        let event = format!(r#"{{"type":"event.purchase_complete","data":{data}}}"#);
        let receipt = tenant.api.text("POST", "/v1/events", &event).await.json(202);
        assert_eq!(receipt["deliveries"], u32::from(wanted), "{amount} {currency}");
        let path = format!("/v1/events/{}/explain", receipt["id"].as_str().unwrap());
        let why = tenant.api.get(&path).await.json(200)["data"][0].clone();
        assert_eq!(why["matched"], wanted, "{amount} {currency}: {why}");
        assert!(why["why"].as_str().unwrap().contains(reason), "{amount} {currency}: {why}");
        if wanted {
            tenant.status(&receipt, "delivered").await;
            wanted_ids.push(receipt["id"].clone());
        }
    }
    let mut arrived: Vec<Value> =
        endpoint.at("/webhooks/purchases").iter().map(|one| one.json()["id"].clone()).collect();
    arrived.sort_by_key(Value::to_string);
    wanted_ids.sort_by_key(Value::to_string);
    assert_eq!(arrived, wanted_ids);
}

/// The retry table of the document; `delivery_attempt` counts up in bodies that are signed anew; the log shows rate,
/// latency, and the whole request and response of a failure.
#[tokio::test]
async fn the_retry_table_and_the_log() {
    let endpoint = Receiver::scripted(|request, before| match request.path.as_str() {
        "/webhooks/purchases" if before < 5 => Answer::Full(500, vec![], "the queue is full".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    let (gateway, tenant) = start(&endpoint).await;
    let clock = gateway.clock().await;
    let made = tenant.api.text("POST", "/v1/integrations/webhooks", FILTERED).await.json(201);
    let purchase = json!({"properties": {"amount": 50, "currency": "USD"}});
    let event = tenant.post("event.purchase_complete", purchase.clone()).await;
    let failed =
        walk(&gateway, &clock, &endpoint, &tenant, &event, ("/webhooks/purchases", &[60, 300, 1800, 7200])).await;
    for (attempt, request) in (1..).zip(endpoint.at("/webhooks/purchases")) {
        assert_eq!(request.json()["metadata"], json!({"webhook_id": made["id"], "delivery_attempt": attempt}));
        let logged = &failed["attempts"][attempt - 1];
        assert_eq!(logged["request"]["body"], request.text());
        assert_eq!(logged["request"]["headers"]["x-ilara-signature"], request.header("x-ilara-signature"));
        assert_eq!(logged["response"]["body"], "the queue is full");
        assert_eq!(logged["response"]["status_code"], 500);
    }
    let secret = made["secret"].as_str().unwrap();
    let verifier = VERIFIER.replace("/webhooks/ilara", "/webhooks/purchases");
    assert_eq!(answers(&verifier, "json", &endpoint.at("/webhooks/purchases"), secret).await, ["200 OK"; 5]);

    for _ in 0..3 {
        let event = tenant.post("event.purchase_complete", purchase.clone()).await;
        tenant.status(&event, "delivered").await;
    }
    let path = format!("/v1/integrations/webhooks/{}/stats?window=7d", made["id"].as_str().unwrap());
    let stats = tenant.api.get(&path).await.json(200);
    assert_eq!((&stats["success_rate"], &stats["retry_rate"]), (&json!(0.75), &json!(0.25)), "{stats}");
    assert!(stats["latency_ms"]["avg"].is_number(), "{stats}");
}

/// `max_retries: 3` of the create call leaves three of the table's four retries. What a transform made is made once; the
/// number of the attempt is not part of it.
#[tokio::test]
async fn fewer_retries() {
    let endpoint =
        Receiver::scripted(|request, _| Answer::Status(if request.path == "/sentinel" { 200 } else { 500 })).await;
    let (gateway, tenant) = start(&endpoint).await;
    let clock = gateway.clock().await;
    let made = tenant.api.text("POST", "/v1/integrations/webhooks", CREATE).await.json(201);
    let transforms = json!([{"plugin": "fields", "config": {"set": {"$.data.seen": "{{ type }}"}}}]);
    let path = format!("/v1/integrations/webhooks/{}", made["id"].as_str().unwrap());
    tenant.api.patch(&path, json!({"transforms": transforms})).await.is(200);
    let event = tenant.api.text("POST", "/v1/events", PAYLOAD).await.json(202);
    walk(&gateway, &clock, &endpoint, &tenant, &event, ("/webhooks/ilara", &[60, 300, 1800])).await;
    for (attempt, request) in (1..).zip(endpoint.at("/webhooks/ilara")) {
        let body = request.json();
        assert_eq!(body["metadata"]["delivery_attempt"], attempt);
        assert_eq!((&body["id"], &body["data"]["seen"]), (&json!("evt_123abc"), &json!("event.purchase_complete")));
    }
}
