//! The reference systems, as far as explicit settings go: their signatures, and Ilara's story.

use hookmill_tests::{Gateway, Receiver, hmac_hex, node};
use serde_json::{Value, json};

const SECRET: &str = "a secret that a customer chose";

/// Ilara's verifier as its document prints it, under what `express.json()` makes of a body.
const ILARA_VERIFIER: &str = r#"
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
for (const { body, signature, secret } of JSON.parse(require('fs').readFileSync(0, 'utf8'))) {
  const req = { body: JSON.parse(body) };
  console.log(verifyWebhook(JSON.stringify(req.body), signature, secret));
}
"#;

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

/// *High-Value Purchases*: 9.99 USD is not sent, 50 USD is, 50 EUR is not, and the gateway says why.
#[tokio::test]
async fn ilara_filters_purchases() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant
        .subscribe(json!({
            "name": "High-Value Purchases", "url": endpoint.url("/ilara"), "events": ["event.purchase_complete"],
            "filters": {"properties.amount": {"gte": 50}, "properties.currency": {"eq": "USD"}},
        }))
        .await;
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
            wanted_ids.push(receipt["id"].as_str().unwrap().to_owned());
        }
    }
    let mut arrived: Vec<_> = endpoint.all().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    arrived.sort();
    wanted_ids.sort();
    assert_eq!(arrived, wanted_ids);
}

/// Ilara's own verifier, which reads the body and writes it again, takes what is sent with `body_format: js`,
/// however the event was spelled.
#[tokio::test]
async fn ilara_verifier_in_node() {
    const SPELLINGS: [&str; 6] = [
        r#"{"amount":100.0,"e":1e3,"small":0.0000001,"zero":-0.0}"#,
        r#"{"name":"Jos\u00e9 \ud83d\ude00 \/ \u2028","plain":"José"}"#,
        "{\n    \"indented\" : [ 1 ,\t2 ],\r\n    \"empty\": { }\n}",
        r#"{"b":1,"10":"ten","9":"nine","-1":"minus","01":"padded","a":2}"#,
        r#"{"twice":1,"other":2,"twice":3,"big":12345678901234567890}"#,
        r#"{"__proto__":{"x":1},"lone":"\ud800","null":null}"#,
    ];
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant
        .subscribe(json!({
            "url": endpoint.url("/ilara"), "events": ["*"], "secret": SECRET, "body_format": "js",
            "signing": {"scheme": "hmac", "header": "x-ilara-signature", "value": "sha256={signature}"},
        }))
        .await;
    for data in SPELLINGS {
        let event = format!(r#"{{"type":"event.purchase_complete","data":{data}}}"#);
        tenant.api.text("POST", "/v1/events", &event).await.is(202);
    }
    let arrived = endpoint.wait("/ilara", SPELLINGS.len()).await;
    let mut input: Vec<Value> = arrived
        .iter()
        .map(|one| json!({"body": one.text(), "signature": one.header("x-ilara-signature"), "secret": SECRET}))
        .collect();
    // The verifier itself can say no: spelled otherwise, the same body fails.
    input.push(json!({"body": "{\"a\":1.0}", "signature": format!("sha256={}", hmac_hex(SECRET, &[b"{\"a\":1.0}"])), "secret": SECRET}));
    let said = node(ILARA_VERIFIER, &Value::from(input).to_string()).await;
    let expected = format!("{}false\n", "true\n".repeat(SPELLINGS.len()));
    assert_eq!(said, expected, "{:?}", arrived.iter().map(|one| one.text()).collect::<Vec<_>>());
}
