//! Pausing, limiting, disabling, deleting, and changing the secret, while deliveries are owed.

use hookmill_tests::{Gateway, Receiver, Setup, Tenant, eventually, hmac_hex, standard_signature_holds};
use serde_json::{Value, json};

fn path(subscription: &Value) -> String {
    format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap())
}

/// Posts an event to another subscription and waits for it: what could have happened before has happened.
async fn sentinel(tenant: &Tenant) {
    let receipt = tenant.post("sentinel", json!(1)).await;
    tenant.status(&receipt, "delivered").await;
}

async fn with_sentinel(gateway: &Gateway, endpoint: &Receiver) -> Tenant {
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/sentinel"), "events": ["sentinel"]})).await;
    tenant
}

/// Paused, it takes events and sends none, also not after a restart; resumed, it sends them all.
#[tokio::test]
async fn pause_holds_and_resume_drains() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let mut tenant = with_sentinel(&gateway, &endpoint).await;
    let held = tenant.subscribe(json!({"url": endpoint.url("/held"), "events": ["a"]})).await;
    let paused = tenant.api.poke(&format!("{}/pause", path(&held))).await.json(200);
    assert_eq!((&paused["state"], &paused["state_reason"]), (&json!("paused"), &json!("user")));
    for n in 0..20 {
        assert_eq!(tenant.post("a", json!(n)).await["deliveries"], 1);
    }
    sentinel(&tenant).await;
    gateway.restart().await;
    tenant = gateway.again(&tenant);
    sentinel(&tenant).await;
    assert_eq!(endpoint.count("/held"), 0);
    let query = format!("subscription_id={}", held["id"].as_str().unwrap());
    let waiting = tenant.deliveries(&query).await;
    assert_eq!(waiting.len(), 20);
    assert!(waiting.iter().all(|one| one["attempt_count"] == 0 && one["finished_at"].is_null()), "{waiting:?}");
    tenant.api.poke(&format!("{}/resume", path(&held))).await.is(200);
    endpoint.wait("/held", 20).await;
    eventually("all are delivered", async || {
        (tenant.deliveries(&format!("{query}&status=delivered")).await.len() == 20).then_some(())
    })
    .await;
    assert_eq!(endpoint.count("/held"), 20);
}

/// Two a minute are two a minute, not three, and the minute counts from the first.
#[tokio::test]
async fn a_rate_is_kept() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = with_sentinel(&gateway, &endpoint).await;
    let rate = json!({"per": "1m", "max": 2});
    tenant.subscribe(json!({"url": endpoint.url("/slow"), "events": ["a"], "rate_limit": rate})).await;
    for n in 0..6 {
        tenant.post("a", json!(n)).await;
    }
    for minute in 1..=3 {
        endpoint.wait("/slow", minute * 2).await;
        clock.advance("59s").await;
        sentinel(&tenant).await;
        assert_eq!(endpoint.count("/slow"), minute * 2, "in minute {minute}");
        clock.advance("1s").await;
    }
    eventually("all are delivered", async || tenant.deliveries("type=a&status=pending").await.is_empty().then_some(()))
        .await;
}

/// Disabling holds what is owed and takes nothing new; enabling sends it; `?pending=cancel` and deleting end it.
#[tokio::test]
async fn disabled_and_deleted() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = with_sentinel(&gateway, &endpoint).await;
    for (way, ends_as) in [("keep", "delivered"), ("cancel", "cancelled"), ("delete", "cancelled")] {
        let url = endpoint.url(&format!("/{way}"));
        let made = tenant.subscribe(json!({"url": url, "events": [way]})).await;
        tenant.api.poke(&format!("{}/pause", path(&made))).await.is(200);
        let owed = tenant.post(way, json!(1)).await;
        let disable = json!({"enabled": false});
        match way {
            "keep" => {
                let read = tenant.api.patch(&path(&made), disable).await.json(200);
                assert_eq!((&read["state"], &read["state_reason"]), (&json!("disabled"), &json!("user")));
                assert_eq!(tenant.post(way, json!(2)).await["deliveries"], 0, "disabled, it takes nothing");
                sentinel(&tenant).await;
                let status = tenant.deliveries(&format!("type={way}")).await[0]["status"].clone();
                assert!(status == "pending" || status == "held", "{status}");
                assert_eq!(endpoint.count("/keep"), 0);
                tenant.api.patch(&path(&made), json!({"enabled": true})).await.is(200);
            }
            "cancel" => tenant.api.patch(&format!("{}?pending=cancel", path(&made)), disable).await.is(200),
            _ => {
                tenant.api.delete(&path(&made)).await.is(204);
                tenant.api.get(&path(&made)).await.problem(404, "not-found");
            }
        }
        let ended = tenant.status(&owed, ends_as).await;
        assert_eq!(endpoint.count(&format!("/{way}")), usize::from(way == "keep"), "{ended}");
    }
}

/// A held delivery can be cancelled by itself, and a delivery that has ended cannot.
#[tokio::test]
async fn one_delivery_cancelled() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = with_sentinel(&gateway, &endpoint).await;
    let made = tenant.subscribe(json!({"url": endpoint.url("/one"), "events": ["a"]})).await;
    tenant.api.poke(&format!("{}/pause", path(&made))).await.is(200);
    let (first, second) = (tenant.post("a", json!(1)).await, tenant.post("a", json!(2)).await);
    let id = tenant.attempts(&first, 0).await["id"].as_str().unwrap().to_owned();
    tenant.api.poke(&format!("/v1/deliveries/{id}/cancel")).await.is(200);
    tenant.api.poke(&format!("{}/resume", path(&made))).await.is(200);
    tenant.status(&second, "delivered").await;
    tenant.status(&first, "cancelled").await;
    assert_eq!(endpoint.count("/one"), 1);
    let done = tenant.attempts(&second, 1).await["id"].as_str().unwrap().to_owned();
    tenant.api.poke(&format!("/v1/deliveries/{done}/cancel")).await.problem(409, "conflict");
}

/// While two secrets overlap a Standard Webhooks receiver can check with either, and a single-value one finds the
/// new signature beside the old; afterwards only the new secret counts.
#[tokio::test]
async fn a_secret_is_rotated() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let standard = tenant.subscribe(json!({"url": endpoint.url("/standard"), "events": ["*"]})).await;
    let hmac = json!({"scheme": "hmac", "header": "x-signature"});
    let single = tenant.subscribe(json!({"url": endpoint.url("/single"), "events": ["*"], "secret": "the old secret, long enough", "signing": hmac})).await;
    let mut secrets = Vec::new();
    for subscription in [&standard, &single] {
        let rotated =
            tenant.api.post(&format!("{}/rotate-secret", path(subscription)), json!({"overlap": "1h"})).await.json(200);
        assert_eq!(rotated["secret"], subscription["secret"]);
        secrets.push((
            rotated["secret"].as_str().unwrap().to_owned(),
            rotated["next_secret"].as_str().unwrap().to_owned(),
        ));
    }
    let [(old, new), (old_single, new_single)] = <[_; 2]>::try_from(secrets).unwrap();
    for (round, advance, old_holds) in [(1, "3599s", true), (2, "1s", true), (3, "1s", false)] {
        tenant.post("a", json!(round)).await;
        let request = endpoint.wait("/standard", round).await.pop().unwrap();
        assert!(standard_signature_holds(&request, &new), "round {round}");
        assert_eq!(standard_signature_holds(&request, &old), old_holds, "round {round}");
        let request = endpoint.wait("/single", round).await.pop().unwrap();
        let (signature, next) = (request.header("x-signature"), request.header("x-signature-next"));
        let by = |secret: &str| hmac_hex(secret, &[&request.body]);
        match old_holds {
            true => assert_eq!((signature, next), (by(&old_single).as_str(), by(&new_single).as_str())),
            false => assert_eq!((signature, next), (by(&new_single).as_str(), "")),
        }
        clock.advance(advance).await;
    }
    let read = tenant.api.get(&format!("{}/secret", path(&standard))).await.json(200);
    assert_eq!((&read["secret"], &read["next_secret"]), (&json!(new), &Value::Null));
}
