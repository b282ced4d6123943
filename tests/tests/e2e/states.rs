//! Pausing, limiting, disabling, deleting, and changing the secret, while deliveries are owed; and what is said of an
//! event afterwards.

use hookmill_tests::{Answer, Gateway, Receiver, Setup, Tenant, eventually, hmac_hex, standard_signature_holds};
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

/// An endpoint that has enough is left alone, and what waits for it says so, and until when.
#[tokio::test]
async fn an_endpoint_is_left_alone() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::scripted(|request, before| match (request.path.as_str(), before) {
        ("/busy", 0) => Answer::Status(429),
        _ => Answer::Status(200),
    })
    .await;
    let tenant = with_sentinel(&gateway, &endpoint).await;
    let policy = json!({"schedule": ["0s", "5s"], "jitter": 0});
    tenant.subscribe(json!({"url": endpoint.url("/busy"), "events": ["a"], "retry_policy": policy})).await;
    let first = tenant.post("a", json!(1)).await;
    let refused = tenant.attempts(&first, 1).await;
    let until = refused["next_attempt_at"].as_str().unwrap();
    assert!(refused["reason"].as_str().unwrap().starts_with("the endpoint answered 429: too fast"), "{refused}");
    // What is written down is known a moment before nothing more is sent.
    sentinel(&tenant).await;
    let second = tenant.post("a", json!(2)).await;
    let waits = tenant.delivery(&second, "said to wait", |delivery| !delivery["reason"].is_null()).await;
    assert_eq!((&waits["status"], &waits["attempts"]), (&json!("pending"), &json!([])), "{waits}");
    assert_eq!(waits["next_attempt_at"], until, "{waits}");
    assert!(waits["reason"].as_str().unwrap().ends_with(&format!("is left alone until {until}")), "{waits}");
    assert_eq!(tenant.attempts(&first, 1).await["reason"], refused["reason"], "this one waits for its own time");
    clock.advance("61s").await;
    for event in [&first, &second] {
        tenant.status(event, "delivered").await;
    }
}

/// What is said of an event is what happened, whatever has become of the subscriptions since.
#[tokio::test]
async fn an_event_is_explained_as_it_was() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let subscribe = async |name: &str, events: &str| {
        tenant.subscribe(json!({"name": name, "url": endpoint.url("/"), "events": [events]})).await
    };
    subscribe("kept", "a").await;
    let changed = subscribe("changed", "a").await;
    let deleted = subscribe("deleted", "a").await;
    let widened = subscribe("widened", "b").await;
    subscribe("other", "b").await;
    let event = tenant.post("a", json!(1)).await;
    let id = event["id"].as_str().unwrap();
    let delivered = async |count: usize| {
        eventually("all are delivered", async || {
            let found = tenant.deliveries(&format!("event_id={id}&status=delivered")).await;
            (found.len() == count).then_some(())
        })
        .await;
    };
    delivered(3).await;
    clock.advance("1s").await;
    tenant.api.patch(&path(&changed), json!({"events": ["c"]})).await.is(200);
    tenant.api.patch(&path(&widened), json!({"events": ["a"]})).await.is(200);
    tenant.api.delete(&path(&deleted)).await.is(204);
    subscribe("late", "a").await;

    // Name, whether it got the event, number of deliveries, and why; page by page.
    let explained = async |limit: usize| {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = tenant.api.get(&format!("/v1/events/{id}/explain?limit={limit}{cursor}")).await.json(200);
            for one in page["data"].as_array().unwrap() {
                let deliveries = one["delivery_ids"].as_array().unwrap().len();
                all.push(json!([one["subscription_name"], one["matched"], deliveries, one["why"]]));
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Value::from(all),
            }
        }
    };
    let mut wanted = json!([
        ["kept", true, 1, "type and filters matched then"],
        ["changed", true, 1, "type and filters matched then; it has changed since"],
        ["deleted", true, 1, "type and filters matched then; the subscription has been deleted since"],
        ["widened", false, 0, "it did not get it then; it has changed since: as it is now, type and filters match"],
        ["other", false, 0, "the type `a` matches none of `b`"],
        ["late", false, 0, "it was made after this event"],
    ]);
    for limit in [1, 4, 200] {
        assert_eq!(explained(limit).await, wanted, "{limit} a page");
    }
    clock.advance("1s").await;
    let missing = json!({"since": "2020-01-01T00:00:00Z", "only": "missing"});
    tenant.api.post("/v1/replays", missing).await.is(202);
    delivered(5).await;
    for (place, name) in [(3, "widened"), (5, "late")] {
        wanted[place] = json!([name, true, 1, "type and filters matched when it was replayed"]);
    }
    assert_eq!(explained(200).await, wanted);

    // A test is for one subscription, and asks no filter.
    let tested = tenant.api.post(&format!("{}/test", path(&changed)), json!({"type": "a"})).await.json(200);
    let tested = tested["delivery"]["event_id"].as_str().unwrap();
    let explained = tenant.api.get(&format!("/v1/events/{tested}/explain")).await.json(200);
    let matched = |one: &&Value| one["matched"] == true;
    let found: Vec<_> = explained["data"].as_array().unwrap().iter().filter(matched).collect();
    assert_eq!(found.len(), 1, "{explained}");
    assert_eq!(found[0]["why"], "it was sent as a test, whatever type and filters say");
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
