//! From an accepted event to a signed request, byte by byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookmill_tests::{Gateway, Receiver, standard_signature_holds, unix_time};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;

/// An event that a client posts arrives signed, its data the bytes that were posted, and the attempt can be read.
#[tokio::test]
async fn the_first_event() {
    // Numbers that a parser rounds, escapes it resolves, an order and blanks it loses.
    const DATA: &str =
        r#"{"z":1.0,"a":12345678901234567890, "e":"\u00e9\/\ud83d\ude00é","n":[1e5,-0.0,100.00],"2":2,"1":{ }}"#;
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let subscription = tenant.subscribe(json!({"url": endpoint.url("/hook?x=1"), "events": ["order.*"]})).await;
    let secret = subscription["secret"].as_str().unwrap();

    let posted = format!(r#"{{"id":"order-1","type":"order.paid","timestamp":"2026-01-02T03:04:05Z","data":{DATA}}}"#);
    let receipt = tenant.api.text("POST", "/v1/events", &posted).await.json(202);
    assert_eq!((&receipt["external_id"], &receipt["deliveries"]), (&json!("order-1"), &json!(1)), "{receipt}");

    let request = endpoint.first("/hook").await;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?x=1"));
    let body =
        format!(r#"{{"id":"order-1","type":"order.paid","timestamp":"2026-01-02T03:04:05.000Z","data":{DATA}}}"#);
    assert_eq!(request.text(), body);
    assert_eq!(request.header("content-type"), "application/json");
    assert!(request.header("user-agent").starts_with("Hookmill/"), "{:?}", request.headers);
    assert_eq!(request.header("webhook-id"), receipt["id"].as_str().unwrap());
    assert!(standard_signature_holds(&request, secret));
    assert!(!standard_signature_holds(&request, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "the check itself");
    assert!(unix_time().abs_diff(request.timestamp().unsigned_abs()) < 60);

    let delivery = tenant.status(&receipt, "delivered").await;
    let attempt = &delivery["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["trigger"]), (&json!(1), &json!("automatic")));
    assert_eq!((&attempt["outcome"], &attempt["blame"]), (&json!("delivered"), &json!("none")));
    assert_eq!((&attempt["request"]["method"], &attempt["request"]["url"]), (&json!("POST"), &subscription["url"]));
    assert_eq!(attempt["request"]["body"], body);
    assert_eq!(attempt["request"]["headers"]["webhook-id"], receipt["id"]);
    assert_eq!(attempt["request"]["headers"]["webhook-signature"], request.header("webhook-signature"));
    assert_eq!(attempt["response"]["status_code"], 200);
    assert!(attempt["duration_ms"].as_f64().unwrap() >= 0.0);
    assert_eq!(delivery["last_status_code"], 200);

    let event = tenant.api.get(&format!("/v1/events/{}", request.header("webhook-id"))).await;
    event.is(200);
    assert!(event.text.contains(DATA), "an event is read as it was posted: {}", event.text);
}

/// Signed with Ed25519, the public key that is read back is all that a receiver needs.
#[tokio::test]
async fn a_public_key_signature() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let signing = json!({"scheme": "standard", "algorithm": "ed25519"});
    let made = tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "signing": signing})).await;
    tenant.post("a", json!({"n": 1.0})).await;
    let request = endpoint.first("/").await;
    let decode = |text: &str, prefix: &str| STANDARD.decode(text.strip_prefix(prefix).expect(text)).unwrap();
    let key = decode(made["public_key"].as_str().unwrap(), "whpk_");
    let signature = decode(request.header("webhook-signature"), "v1a,");
    let signed = format!("{}.{}.{}", request.header("webhook-id"), request.header("webhook-timestamp"), request.text());
    UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature).expect("the signature holds");
}
