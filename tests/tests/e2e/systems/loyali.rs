//! Loyali (`001_5475dc66612fbd09.txt`). It prints no code: its steps of verification are followed by a source of the
//! gateway with the same profile, and by hand.

use hookmill_tests::{Answer, Received, Receiver, Setup, hmac_hex};
use serde_json::{Value, json};

use super::walk;

/// The document's example, which has no id and no time.
const TIER_UPGRADED: &str = r#"{
"customer_id": "cust_abc123",
"customer_email": "alex@example.com",
"previous_tier": { "name": "Silver", "id": "tier_silver" },
"new_tier": { "name": "Gold", "id": "tier_gold" }
}"#;

const SECRET: &str = "a secret that a program chose";

/// The time that a request says it was signed at, if its signature holds.
fn signed_at(request: &Received) -> i64 {
    let header = request.header("x-loyali-signature");
    let (time, signature) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect(header);
    assert_eq!(signature, hmac_hex(SECRET, &[time.as_bytes(), b".", &request.body]));
    time.parse().unwrap()
}

/// An upgrade arrives signed with its time; posted again later it is told apart as stale.
#[tokio::test]
async fn an_upgrade_and_a_stale_one() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("loyali").await;
    let wanted = json!({"url": endpoint.url("/loyali"), "events": ["points.earned"], "secret": SECRET});
    let made = tenant.api.post("/v1/webhooks", wanted).await.json(201);
    // "Update events": a PATCH without an `If-Match`.
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let patched = tenant.api.patch(&path, json!({"events": ["tier.upgraded"]})).await.json(200);
    assert_eq!((&patched["events"], &patched["profile"]), (&json!(["tier.upgraded"]), &json!("loyali")));

    let event = format!(r#"{{"type":"tier.upgraded","timestamp":"2024-01-20T14:30:00Z","data":{TIER_UPGRADED}}}"#);
    let receipt = tenant.api.text("POST", "/v1/events", &event).await.json(202);
    let delivered = tenant.status(&receipt, "delivered").await;
    let request = endpoint.first("/loyali").await;
    assert_eq!(signed_at(&request), clock.now().await.as_second());
    let id = delivered["id"].as_str().unwrap();
    let wanted = format!(
        r#"{{"id":"{id}","event_type":"tier.upgraded","created_at":"2024-01-20T14:30:00.000Z","data":{TIER_UPGRADED}}}"#
    );
    assert_eq!(request.text(), wanted);

    let source = json!({"name": "loyali", "profile": "loyali", "secret": SECRET});
    let source = tenant.api.post("/v1/sources", source).await.json(201);
    let again = async || {
        let headers =
            [("content-type", "application/json"), ("x-loyali-signature", request.header("x-loyali-signature"))];
        gateway.public().send("POST", source["url"].as_str().unwrap(), &headers, request.body.clone()).await
    };
    again().await.is(202);
    clock.advance("6m").await;
    let problem = again().await.json(401);
    assert!(problem["detail"].as_str().unwrap().contains("stale"), "{problem}");
}

/// After the fifth attempt the delivery has failed, is listed, and a resend delivers it. What arrived at the second
/// attempt is told apart, and the measures say what is out of its range.
#[tokio::test]
async fn failed_and_resent() {
    let endpoint = Receiver::scripted(|request, before| match request.path.as_str() {
        "/loyali" if before < 5 || before == 6 => Answer::Status(500),
        _ => Answer::Status(200),
    })
    .await;
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant_as("loyali").await;
    let wanted = json!({"url": endpoint.url("/loyali"), "events": ["*"], "secret": SECRET});
    let made = tenant.api.post("/v1/webhooks", wanted).await.json(201);
    let webhook = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let start = clock.now().await.as_second();
    let event = tenant.post("points.earned", json!({"customer_id": "cust_abc123", "amount": 150})).await;
    let failed = walk(&gateway, &clock, &endpoint, &tenant, &event, ("/loyali", &[60, 300, 1800, 7200])).await;
    // Every attempt is signed at its own time.
    let times: Vec<i64> = endpoint.at("/loyali").iter().map(|one| signed_at(one) - start).collect();
    assert_eq!(times, [0, 60, 360, 2160, 9360]);

    let list = tenant.api.get(&format!("{webhook}/deliveries?status=failed")).await.json(200);
    assert_eq!(list["data"][0]["id"], failed["id"]);
    let stats = tenant.api.get(&format!("{webhook}/stats?window=48h")).await.json(200);
    let health = |stats: &Value| -> Vec<(String, f64, bool)> {
        let of = |one: &Value| {
            (
                one["metric"].as_str().unwrap().to_owned(),
                one["threshold"].as_f64().unwrap(),
                one["ok"].as_bool().unwrap(),
            )
        };
        stats["health"].as_array().unwrap().iter().map(of).collect()
    };
    let measures = |ok: [bool; 4]| -> Vec<(String, f64, bool)> {
        let names = [("success_rate", 0.99), ("latency_ms", 500.0), ("retry_rate", 0.05), ("failed", 0.0)];
        names.into_iter().zip(ok).map(|((name, threshold), ok)| (name.to_owned(), threshold, ok)).collect()
    };
    assert_eq!(health(&stats), measures([false, true, false, false]), "{stats}");
    assert_eq!((&stats["success_rate"], &stats["failed"]), (&json!(0.0), &json!(1)));

    tenant.api.poke(&format!("{webhook}/deliveries/{}/retry", failed["id"].as_str().unwrap())).await.is(200);
    let resent = tenant.status(&event, "delivered").await;
    assert_eq!((&resent["id"], &resent["attempts"][5]["trigger"]), (&failed["id"], &json!("manual")));

    let event = tenant.post("points.earned", json!({"amount": 1})).await;
    tenant.attempts(&event, 1).await;
    clock.advance("1m").await;
    let retried = tenant.status(&event, "delivered").await;
    let event = tenant.post("points.earned", json!({"amount": 2})).await;
    tenant.status(&event, "delivered").await;
    let list = tenant.api.get(&format!("{webhook}/deliveries?status=delivered&min_attempts=2")).await.json(200);
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert!(ids.len() == 2 && ids.contains(&&retried["id"]) && ids.contains(&&resent["id"]), "{list}");
    let stats = tenant.api.get(&format!("{webhook}/stats?window=48h")).await.json(200);
    assert_eq!((&stats["success_rate"], &stats["delivered"], &stats["failed"]), (&json!(1.0), &json!(3), &json!(0)));
}

/// *Test* sends a realistic sample of any type of the catalogue, once, and outside the statistics.
#[tokio::test]
async fn a_test_of_any_type() {
    let endpoint = Receiver::start().await;
    let gateway = Setup::new().start().await;
    let tenant = gateway.tenant_as("loyali").await;
    let wanted = json!({"url": endpoint.url("/loyali"), "events": ["tier.*"], "secret": SECRET});
    let made = tenant.api.post("/v1/webhooks", wanted).await.json(201);
    let webhook = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let profile = tenant.api.get("/v1/profiles/loyali").await.json(200);
    let types = profile["events"].as_array().unwrap();
    assert_eq!(types.len(), 15);
    for (at, event) in types.iter().enumerate() {
        tenant.api.post(&format!("{webhook}/test"), json!({"type": event["name"]})).await.is(200);
        let request = endpoint.wait("/loyali", at + 1).await.pop().unwrap();
        signed_at(&request);
        assert_eq!(
            (&request.json()["event_type"], &request.json()["data"]),
            (&event["name"], &event["samples"][0]["data"])
        );
    }
    tenant.api.poke(&format!("{webhook}/test")).await.is(200);
    let request = endpoint.wait("/loyali", types.len() + 1).await.pop().unwrap();
    assert_eq!(request.json()["event_type"], "tier.upgraded", "the first sample that the subscription wants");
    let stats = tenant.api.get(&format!("{webhook}/stats")).await.json(200);
    assert_eq!((&stats["delivered"], &stats["success_rate"]), (&json!(0), &Value::Null));
}
