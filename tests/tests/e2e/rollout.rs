//! Other versions of a plugin, tried: with a share of the events, in the shadow, on what was sent long ago; and what
//! plugins have used.

use std::collections::BTreeSet;

use hookmill_tests::{Answer, Gateway, Guest, Receiver, Setup, Tenant, eventually};
use serde_json::{Value, json};

fn stamp(version: &str) -> Guest {
    Guest::new("stamp", version).makes(&format!(r#"{{"made":"{version}","n":1.0}}"#))
}

async fn upload(tenant: &Tenant, guest: Guest) -> Value {
    tenant.upload(guest.build()).await.json(201)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// A subscription whose one transform is `stamp@1.0.0`, with a candidate.
async fn subscribe(tenant: &Tenant, endpoint: &Receiver, candidate: Value) -> String {
    let step = json!({"plugin": "stamp@1.0.0", "candidate": candidate});
    let wanted = json!({"url": endpoint.url("/"), "events": ["*"], "envelope": "none", "transforms": [step]});
    text(&tenant.subscribe(wanted).await, "id").to_owned()
}

/// The one step of a subscription's rollout, once it is as wanted.
async fn rollout(tenant: &Tenant, subscription: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually("a rollout", async || {
        let read = tenant.api.get(&format!("/v1/subscriptions/{subscription}/rollout")).await.json(200);
        assert_eq!(read["steps"].as_array().unwrap().len(), 1, "{read}");
        Some(read["steps"][0].clone()).filter(|step| wanted(step))
    })
    .await
}

/// A share is of the same events whenever and wherever they are sent, and grows by others.
#[tokio::test]
async fn a_share_of_the_events() {
    const EVENTS: usize = 60;
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, stamp("1.1.0")).await;
    let half = subscribe(&tenant, &endpoint, json!({"plugin": "stamp@^1", "percent": 50})).await;
    let read = tenant.api.get(&format!("/v1/subscriptions/{half}")).await.json(200);
    assert_eq!(read["transforms"][0]["candidate"], json!({"plugin": "stamp@^1", "percent": 50}));
    subscribe(&tenant, &endpoint, json!({"plugin": "stamp@1.1.0", "percent": 50})).await;
    let most = subscribe(&tenant, &endpoint, json!({"plugin": "stamp@1.1.0", "percent": 90})).await;
    let mut events = Vec::new();
    for n in 0..EVENTS {
        events.push(text(&tenant.post("a", json!(n)).await, "id").to_owned());
    }
    endpoint.wait("/", 3 * EVENTS).await;
    let tried = async |subscription: &str| {
        let mut tried = BTreeSet::new();
        for delivery in tenant.deliveries(&format!("subscription_id={subscription}")).await {
            let path = format!("/v1/deliveries/{}", text(&delivery, "id"));
            let detail = eventually("an attempt", async || {
                Some(tenant.api.get(&path).await.json(200)).filter(|detail| detail["status"] == "delivered")
            })
            .await;
            let attempt = &detail["attempts"][0];
            let made: Value = serde_json::from_str(text(&attempt["request"], "body")).unwrap();
            let used = text(&attempt["plugins"][0], "plugin").to_owned();
            assert_eq!(used, format!("stamp@{}", text(&made, "made")), "the record says what ran");
            if used == "stamp@1.1.0" {
                tried.insert(text(&detail, "event_id").to_owned());
            }
        }
        tried
    };
    let (of_half, of_most) = (tried(&half).await, tried(&most).await);
    assert!((10..=50).contains(&of_half.len()) && of_most.len() > of_half.len(), "{} {}", of_half.len(), of_most.len());
    assert!(of_half.is_subset(&of_most));
    let step = rollout(&tenant, &half, |step| {
        step["current"]["calls"].as_u64().unwrap() + step["candidate"]["calls"].as_u64().unwrap() == EVENTS as u64
    })
    .await;
    assert_eq!((&step["candidate"]["calls"], &step["percent"]), (&json!(of_half.len()), &json!(50)));
    assert_eq!((text(&step, "pointer"), text(&step["candidate"], "plugin")), ("#/transforms/0", "stamp@1.1.0"));
    assert!(step["cpu_ratio"].as_f64().unwrap() > 0.0);

    // Once more: the same events go the same way.
    let delivery = tenant.deliveries(&format!("subscription_id={half}")).await.remove(0);
    let path = format!("/v1/deliveries/{}", text(&delivery, "id"));
    tenant.api.poke(&format!("{path}/retry")).await.is(200);
    let again = eventually("a retry", async || {
        Some(tenant.api.get(&path).await.json(200)).filter(|detail| detail["attempts"].as_array().unwrap().len() == 2)
    })
    .await;
    let used = |at: usize| text(&again["attempts"][at]["plugins"][0], "plugin").to_owned();
    assert_eq!(used(0), used(1));
    // What is tried is used.
    tenant.api.delete("/v1/plugins/stamp/1.1.0").await.problem(409, "plugin-in-use");
}

/// A candidate that runs into its limits again and again is only tried: its subscription is not disabled for it.
#[tokio::test]
async fn a_share_that_never_ends() {
    const EVENTS: u64 = 7;
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, stamp("1.3.0").doing("(loop $again (br $again))")).await;
    let id = subscribe(&tenant, &endpoint, json!({"plugin": "stamp@1.3.0", "percent": 100})).await;
    for n in 0..EVENTS {
        tenant.post("a", json!(n)).await;
    }
    let step = rollout(&tenant, &id, |step| step["candidate"]["calls"] == EVENTS).await;
    assert_eq!(step["candidate"]["faults"], json!({"time": EVENTS}));
    assert_eq!(tenant.api.get(&format!("/v1/subscriptions/{id}")).await.json(200)["state"], "active");
    // Without it, what was posted goes out.
    let steps = json!({"transforms": [{"plugin": "stamp@1.0.0"}]});
    tenant.api.patch(&format!("/v1/subscriptions/{id}"), steps).await.is(200);
    tenant.post("a", json!(0)).await;
    endpoint.wait("/", 1).await;
}

/// A candidate in the shadow runs after the delivery; what it makes is compared, shown and never sent. Whatever it does,
/// deliveries are what they were.
#[tokio::test]
async fn in_the_shadow() {
    let gateway = Setup::new().env("HOOKMILL_SERVER__METRICS_BY_TENANT", "true").start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, Guest::new("stamp", "1.1.0").makes(r#"{"n":1.0, "made":"1.0.0"}"#)).await;
    upload(&tenant, stamp("1.2.0")).await;
    upload(&tenant, stamp("1.3.0").doing("(loop $again (br $again))")).await;
    upload(&tenant, stamp("1.4.0").doing("unreachable")).await;
    let id = subscribe(&tenant, &endpoint, json!({"plugin": "stamp@1.1.0", "shadow": true})).await;
    let candidate = async |version: &str| {
        let step =
            json!({"plugin": "stamp@1.0.0", "candidate": {"plugin": format!("stamp@{version}"), "shadow": true}});
        tenant.api.patch(&format!("/v1/subscriptions/{id}"), json!({"transforms": [step]})).await.is(200);
    };
    let post = async |count: usize| {
        for n in 0..count {
            let event = tenant.post("a", json!(n)).await;
            tenant.status(&event, "delivered").await;
        }
    };
    post(3).await;
    let step = rollout(&tenant, &id, |step| step["compared"] == 3).await;
    let counts = |step: &Value| json!([step["agreed"], step["differed"], step["agreement"], step["dropped"]]);
    assert_eq!(counts(&step), json!([3, 0, 1.0, 0]), "spaces and order are no difference: {step}");
    assert_eq!((&step["shadow"], &step["percent"], &step["samples"]), (&json!(true), &Value::Null, &json!([])));

    candidate("1.2.0").await;
    let step = rollout(&tenant, &id, |_| true).await;
    assert_eq!((&step["compared"], &step["since"]), (&json!(0), &Value::Null), "another version begins anew");
    post(12).await;
    let step = rollout(&tenant, &id, |step| step["compared"] == 12).await;
    assert_eq!(counts(&step), json!([0, 12, 0.0, 0]));
    let samples = step["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 10, "the latest are kept");
    let sample = &samples[9];
    assert_eq!(sample["patch"], json!([{"op": "replace", "path": "/event/data/made", "value": "1.2.0"}]));
    assert_eq!(sample["truncated"], false);
    tenant.api.get(&format!("/v1/deliveries/{}", text(sample, "delivery_id"))).await.is(200);

    for (version, kind) in [("1.3.0", "time"), ("1.4.0", "trap")] {
        candidate(version).await;
        post(6).await;
        let step = rollout(&tenant, &id, |step| step["compared"] == 6).await;
        assert_eq!(step["candidate"]["faults"], json!({kind: 6}), "{step}");
        assert_eq!(step["current"]["faults"], json!({}));
        let patch = json!([{"op": "remove", "path": "/event"}, {"op": "add", "path": "/fault", "value": kind}]);
        assert_eq!(step["samples"][0]["patch"], patch);
    }
    let state = tenant.api.get(&format!("/v1/subscriptions/{id}")).await.json(200);
    assert_eq!(state["state"], "active", "a candidate's faults disable nothing");
    let sent: BTreeSet<String> = endpoint.all().iter().map(|request| request.text().to_owned()).collect();
    assert_eq!(sent, BTreeSet::from([r#"{"made":"1.0.0","n":1.0}"#.to_owned()]), "nothing of a candidate was sent");
    assert_eq!(endpoint.count("/"), 3 + 12 + 6 + 6);

    // What it used is told, by plugin.
    let usage = tenant.api.get("/v1/usage").await.json(200);
    let of = |plugin: &str| usage["plugins"].as_array().unwrap().iter().find(|used| used["plugin"] == plugin).cloned();
    let looping = of("stamp@1.3.0").unwrap();
    assert_eq!((&looping["calls"], &looping["faults"]), (&json!(6), &json!({"time": 6})));
    assert!(looping["cpu_us"].as_u64().unwrap() >= 6 * 45_000, "{looping}");
    assert_eq!(of("stamp@1.0.0").unwrap()["calls"], 27);
    let same = gateway.operator().get(&format!("/v1/tenants/{}/plugin-usage", tenant.id)).await.json(200);
    assert_eq!(same, usage);
    let metrics = gateway.admin().get("/metrics").await.text;
    for (version, kind) in [("1.3.0", "time"), ("1.4.0", "trap")] {
        let labels = format!("tenant=\"{}\",plugin=\"stamp@{version}\",kind=\"{kind}\"", tenant.id);
        assert!(metrics.contains(&format!("hookmill_plugin_faults_total{{{labels}}} 6\n")), "{labels} in:\n{metrics}");
    }
}

/// What waits to be compared is bounded: further comparisons are given up and counted, and every delivery is made.
#[tokio::test]
async fn a_shadow_that_does_not_keep_up() {
    const EVENTS: u64 = 20;
    let gateway = Setup::new().env("HOOKMILL_PLUGINS__SHADOW_WAITING", "2").start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, stamp("1.3.0").doing("(loop $again (br $again))")).await;
    let id = subscribe(&tenant, &endpoint, json!({"plugin": "stamp@1.3.0", "shadow": true})).await;
    let events: Vec<Value> = (0..EVENTS).map(|n| json!({"type": "a", "data": n})).collect();
    tenant.api.post("/v1/events", json!(events)).await.is(202);
    let count = |step: &Value, of: &str| step[of].as_u64().unwrap();
    let step = rollout(&tenant, &id, |step| count(step, "compared") + count(step, "dropped") == EVENTS).await;
    assert!(count(&step, "dropped") > 0 && count(&step, "compared") > 0, "{step}");
    assert_eq!((count(&step, "waiting"), &step["current"]["calls"]), (0, &json!(EVENTS)));
    let all = async || (tenant.deliveries("status=delivered").await.len() == 20).then_some(());
    eventually("every delivery", all).await;
    assert_eq!(endpoint.count("/"), 20);
}

/// Slack's API, which takes everything.
async fn slack() -> Receiver {
    Receiver::scripted(|_, _| {
        let json = ("content-type", "application/json".to_owned());
        Answer::Full(200, vec![json], r#"{"ok":true,"channel":"C1","ts":"1.2"}"#.to_owned())
    })
    .await
}

/// A connector's candidate makes requests; a secret is in neither of the outputs, and in no difference.
#[tokio::test]
async fn a_connector_in_the_shadow() {
    let endpoint = slack().await;
    let gateway = Setup::new().map(endpoint.mapping("slack.com")).start().await;
    let tenant = gateway.tenant("acme").await;
    let (now, then) = ("first: {{ data.x }}", "second: {{ data.x }}");
    let connector = json!({"name": "slack", "config": {"text": now, "token": "xoxb-very-secret-token", "channel": "#a"},
        "candidate": {"plugin": "slack", "shadow": true, "config": {"text": then, "token": "xoxb-very-secret-token", "channel": "#a"}}});
    let made = tenant.subscribe(json!({"events": ["*"], "connector": connector})).await;
    assert!(!made["connector"].to_string().contains("very-secret"), "{made}");
    let set = made["secrets_set"].as_array().unwrap();
    assert!(set.contains(&json!("#/connector/candidate/config/token")), "{made}");
    tenant.post("a", json!({"x": 1})).await;
    let sent = endpoint.first("/api/chat.postMessage").await;
    assert_eq!(
        (sent.header("authorization"), &sent.json()["text"]),
        ("Bearer xoxb-very-secret-token", &json!("first: 1"))
    );
    let step = rollout(&tenant, text(&made, "id"), |step| step["compared"] == 1).await;
    assert_eq!((text(&step, "pointer"), &step["differed"]), ("#/connector", &json!(1)));
    let sample = step["samples"][0].to_string();
    assert!(sample.contains("second: 1") && sample.contains("/request/"), "{sample}");
    assert!(!sample.contains("secret"), "{sample}");
}

/// Mistakes are refused, each at its place.
#[tokio::test]
async fn candidates_that_are_not_taken() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, stamp("3.0.0").schema(r#"{"type":"object","required":["n"]}"#)).await;
    let redact = json!({"paths": ["$.data.x"]});
    for (candidate, pointer) in [
        (json!({"plugin": "stamp@1.0.0"}), "#/transforms/0/candidate"),
        (json!({"plugin": "stamp@1.0.0", "percent": 1, "shadow": true}), "#/transforms/0/candidate"),
        (json!({"plugin": "stamp@1.0.0", "percent": 101}), "#/transforms/0/candidate/percent"),
        (json!({"plugin": "stamp@2.0.0", "percent": 1}), "#/transforms/0/candidate/plugin"),
        (json!({"plugin": "redact", "percent": 1}), "#/transforms/0/candidate/plugin"),
        (json!({"plugin": "stamp@3.0.0", "shadow": true}), "#/transforms/0/candidate"),
        (json!({"plugin": "redact", "percent": 1, "config": {"paths": 1}}), "#/transforms/0/candidate/config/paths"),
        (json!({"plugin": "slack", "shadow": true, "config": {"text": "x"}}), "#/transforms/0/candidate/plugin"),
        (json!({"plugin": "slack", "shadow": true}), "#/transforms/0/candidate/plugin"),
        (json!({"plugin": "stamp@1.0.0", "percent": 1, "other": 1}), "#/transforms/0/candidate/other"),
    ] {
        let wanted = json!({"url": "https://hooks.example.com/x", "events": ["*"],
            "transforms": [{"plugin": "stamp@1.0.0", "candidate": candidate}]});
        let refused = tenant.api.post("/v1/subscriptions", wanted).await;
        assert!(refused.problem(422, "invalid")[0].starts_with(pointer), "{candidate}: {}", refused.text);
    }
    let wanted = json!({"url": "https://hooks.example.com/x", "events": ["*"],
        "transforms": [{"plugin": "stamp@1.0.0", "candidate": {"plugin": "stamp@3.0.0", "shadow": true}}]});
    let refused = tenant.api.post("/v1/subscriptions", wanted).await;
    assert!(refused.text.contains("give it a `config` of its own"), "{}", refused.text);
    let connector = json!({"name": "slack", "config": {"text": "x"}, "candidate": {"plugin": "zapier", "shadow": true, "config": {}}});
    let wanted = json!({"url": "https://hooks.example.com/x", "events": ["*"], "connector": connector});
    let refused = tenant.api.post("/v1/subscriptions", wanted).await;
    assert!(refused.problem(422, "invalid").contains(&"#/connector/candidate/plugin".to_owned()), "{}", refused.text);
    let other = json!({"plugin": "redact", "percent": 1, "config": redact});
    let wanted = json!({"url": "https://hooks.example.com/x", "events": ["*"],
        "transforms": [{"plugin": "stamp@1.0.0", "candidate": other}]});
    let made = tenant.subscribe(wanted).await;
    assert!(text(&made["transforms"][0]["candidate"], "plugin").starts_with("redact@"), "a bare name is pinned");
}

/// A past delivery run again through another version: what would be sent, and how that differs from what was. Nothing is.
#[tokio::test]
async fn run_again_by_another_version() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    for version in ["1.0.0", "1.2.0"] {
        upload(&tenant, stamp(version)).await;
    }
    upload(&tenant, stamp("1.4.0").doing("unreachable")).await;
    // The address of a decision: not to go on, for a reason of four letters.
    let drops = "(i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 136) (i32.const 512))
        (i32.store (i32.const 140) (i32.const 4)) (i32.store (i32.const 512) (i32.const 0x6c6c7564))
        (return (i32.const 128))";
    upload(&tenant, stamp("1.5.0").doing(drops)).await;
    let step = json!({"plugin": "stamp@1.0.0"});
    let wanted = json!({"url": endpoint.url("/"), "events": ["*"], "transforms": [step]});
    let subscription = tenant.subscribe(wanted).await;
    let event = tenant.post("a", json!({"x": 1})).await;
    let delivery = tenant.status(&event, "delivered").await;
    let path = format!("/v1/deliveries/{}/run", text(&delivery, "id"));
    // The subscription has gone on since; what was sent has not.
    let patch = json!({"transforms": [], "envelope": "none"});
    tenant.api.patch(&format!("/v1/subscriptions/{}", text(&subscription, "id")), patch).await.is(200);

    let same = tenant.api.post(&path, json!({"plugin": "stamp@1.0.0"})).await.json(200);
    assert_eq!(
        (&same["same"], &same["patch"], &same["truncated"]),
        (&json!(true), &json!([]), &json!(false)),
        "{same}"
    );
    assert_eq!(same["request"]["body"], same["sent"]["body"]);
    assert_eq!(same["sent"]["body"], delivery["attempts"][0]["request"]["body"]);
    let other = tenant.api.post(&path, json!({"plugin": "stamp@1.2.0"})).await.json(200);
    assert_eq!(other["patch"], json!([{"op": "replace", "path": "/body/data/made", "value": "1.2.0"}]), "{other}");
    assert_eq!((&other["same"], text(&other, "plugin")), (&json!(false), "stamp@1.2.0"));
    assert_eq!(other["steps"][0]["output"], json!({"made": "1.2.0", "n": 1.0}));
    assert!(other["cpu_us"].as_u64().unwrap() > 0);
    let faulted = tenant.api.post(&path, json!({"plugin": "stamp@1.4.0"})).await.json(200);
    assert_eq!((&faulted["request"], &faulted["same"]), (&Value::Null, &json!(false)));
    assert!(text(&faulted, "problem").contains("trap"), "{faulted}");
    let dropped = tenant.api.post(&path, json!({"plugin": "stamp@1.5.0"})).await.json(200);
    assert_eq!((&dropped["request"], &dropped["same"]), (&Value::Null, &json!(false)));
    let replaced = &dropped["patch"][0];
    assert_eq!((text(replaced, "op"), text(replaced, "path"), &replaced["value"]), ("replace", "", &Value::Null));
    assert_eq!(
        (&dropped["steps"][0]["output"], &dropped["steps"][0]["fault"]),
        (&json!({"drop": "dull"}), &Value::Null)
    );
    for plugin in ["redact", "stamp@9.0.0"] {
        let refused = tenant.api.post(&path, json!({"plugin": plugin})).await;
        assert_eq!(refused.problem(422, "invalid"), ["#/plugin"], "{plugin}: {}", refused.text);
    }
    assert_eq!(endpoint.count("/"), 1, "nothing was sent");
    let again = tenant.api.get(&format!("/v1/deliveries/{}", text(&delivery, "id"))).await.json(200);
    assert_eq!(again, delivery, "and nothing was kept");
}

/// What a candidate made is made again by the candidate: with its own config, and its own secret.
#[tokio::test]
async fn run_again_as_the_candidate_did() {
    let endpoint = slack().await;
    let gateway = Setup::new().map(endpoint.mapping("slack.com")).start().await;
    let tenant = gateway.tenant("acme").await;
    let config = |text: &str, token: &str| json!({"text": text, "token": token, "channel": "#a"});
    let candidate =
        json!({"plugin": "slack", "percent": 100, "config": config("second: {{ data.x }}", "xoxb-of-the-second")});
    let connector =
        json!({"name": "slack", "config": config("first: {{ data.x }}", "xoxb-of-the-first"), "candidate": candidate});
    let made = tenant.subscribe(json!({"events": ["*"], "connector": connector})).await;
    let event = tenant.post("a", json!({"x": 1})).await;
    let sent = endpoint.first("/api/chat.postMessage").await;
    assert_eq!(
        (sent.header("authorization"), &sent.json()["text"]),
        ("Bearer xoxb-of-the-second", &json!("second: 1"))
    );
    let delivery = tenant.status(&event, "delivered").await;
    let stop = json!({"connector": {"candidate": null}});
    tenant.api.patch(&format!("/v1/subscriptions/{}", text(&made, "id")), stop).await.is(200);

    let path = format!("/v1/deliveries/{}/run", text(&delivery, "id"));
    let same = tenant.api.post(&path, json!({"plugin": "slack"})).await.json(200);
    assert_eq!((&same["same"], &same["patch"]), (&json!(true), &json!([])), "{same}");
    let third = json!({"text": "third: {{ data.x }}", "channel": "#a"});
    let other = tenant.api.post(&path, json!({"plugin": "slack", "config": third})).await.json(200);
    assert_eq!(other["patch"], json!([{"op": "replace", "path": "/body/text", "value": "third: 1"}]), "{other}");
    assert!(!same.to_string().contains("xoxb") && !other.to_string().contains("xoxb"), "no secret is told");
    assert_eq!(endpoint.count("/api/chat.postMessage"), 1, "nothing was sent");
}

/// The first delivery that waits for its tenant's time.
async fn waiting(tenant: &Tenant) -> Option<Value> {
    let pending = tenant.deliveries("status=pending").await;
    let waits = |delivery: &Value| delivery["reason"].as_str().is_some_and(|reason| reason.contains("processor time"));
    pending.into_iter().find(waits)
}

/// Waits until none of a tenant's deliveries is under way: all have been made, or the time is used up and what has run
/// has been delivered. Of each of the `posted` events one delivery runs a plugin, one at a time, and one runs none.
async fn at_rest(tenant: &Tenant, posted: usize) {
    eventually("no delivery under way", async || {
        let is_used_up = waiting(tenant).await.is_some();
        let used = tenant.api.get("/v1/usage").await.json(200);
        let calls = used["plugins"][0]["calls"].as_u64().unwrap_or(0) as usize;
        let delivered = tenant.deliveries("status=delivered").await.len();
        (delivered == 2 * posted || is_used_up && delivered == posted + calls).then_some(())
    })
    .await;
}

/// Posts until a tenant's time is used up, and three more; gives one that waits.
async fn use_up(tenant: &Tenant, posted: &mut usize) -> Value {
    let mut post = async || {
        tenant.post("slow", json!(*posted)).await;
        *posted += 1;
    };
    eventually("a tenant that has used up its time", async || {
        post().await;
        waiting(tenant).await
    })
    .await;
    for _ in 0..3 {
        post().await;
    }
    at_rest(tenant, *posted).await;
    waiting(tenant).await.expect("three were posted when there was no time left")
}

/// A tenant that has used up its plugins' time waits for the next minute, alone: nothing of it fails, what needs no plugin
/// goes on, and others do not notice.
#[tokio::test]
async fn a_tenant_that_has_used_its_time_waits_alone() {
    let gateway = Setup::new()
        .with_clock()
        .env("HOOKMILL_PLUGINS__CPU_PER_MINUTE", "80ms")
        .env("HOOKMILL_DELIVERY__IN_FLIGHT_PER_ENDPOINT", "1")
        .env("HOOKMILL_SERVER__METRICS_BY_TENANT", "true")
        .start()
        .await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::start().await;
    let (burner, other) = (gateway.tenant("burner").await, gateway.tenant("other").await);
    // Some milliseconds for each event, and no fault.
    let busy = "(local $n i32) (loop $again (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 4000000))))";
    for tenant in [&burner, &other] {
        upload(tenant, stamp("1.0.0").doing(busy)).await;
        let wanted = json!({"url": endpoint.url(&format!("/{}", tenant.id)), "events": ["slow"], "envelope": "none",
            "transforms": [{"plugin": "stamp"}]});
        tenant.subscribe(wanted).await;
        let plain = json!({"url": endpoint.url(&format!("/{}/plain", tenant.id)), "events": ["*"]});
        tenant.subscribe(plain).await;
    }
    assert_eq!(burner.api.get("/v1/usage").await.json(200)["cpu_per_minute"], "80ms");
    let mut posted = 0;
    let held = use_up(&burner, &mut posted).await;
    endpoint.wait(&format!("/{}/plain", burner.id), posted).await;
    other.post("slow", json!(0)).await;
    at_rest(&other, 1).await;
    let held = burner.api.get(&format!("/v1/deliveries/{}", text(&held, "id"))).await.json(200);
    assert_eq!((&held["status"], &held["attempts"]), (&json!("pending"), &json!([])));
    // Whoever waits for an answer is told when to come back.
    let event = json!({"event": {"type": "slow", "data": 0}});
    burner.api.post("/v1/plugins/stamp/run", event.clone()).await.problem(429, "plugin-cpu-budget");
    other.api.post("/v1/plugins/stamp/run", event).await.is(200);

    // Whatever was used beyond it is owed, minute by minute.
    eventually("all of it", async || {
        at_rest(&burner, posted).await;
        let is_done = waiting(&burner).await.is_none();
        if !is_done {
            clock.advance("1m").await;
        }
        is_done.then_some(())
    })
    .await;
    assert_eq!(burner.deliveries("status=delivered").await.len(), 2 * posted, "it was late, and nothing else");
    let metrics = gateway.admin().get("/metrics").await.text;
    let labels = format!("{{tenant=\"{}\",plugin=\"stamp@1.0.0\"}}", burner.id);
    for metric in ["calls_total", "cpu_seconds_total", "peak_memory_bytes"] {
        assert!(metrics.contains(&format!("hookmill_plugin_{metric}{labels}")), "{metric} in:\n{metrics}");
    }

    // The operator gives it as much as there is: nothing waits for the minute any more.
    use_up(&burner, &mut posted).await;
    let limits = json!({"limits": {"plugin_cpu": "0s"}});
    gateway.operator().patch(&format!("/v1/tenants/{}", burner.id), limits).await.is(200);
    assert_eq!(burner.api.get("/v1/usage").await.json(200)["cpu_per_minute"], Value::Null);
    at_rest(&burner, posted).await;

    // Who is gone is not told of any more.
    gateway.operator().delete(&format!("/v1/tenants/{}", burner.id)).await.is(204);
    let metrics = gateway.admin().get("/metrics").await.text;
    assert!(!metrics.contains(burner.id.as_str()) && metrics.contains(other.id.as_str()), "{metrics}");
}

/// Who does not go together with a new version stays with the one before, also after a restart; can be paused, renamed and
/// given another secret meanwhile, is told that it is behind, and is not any more when that version is taken back.
#[tokio::test]
async fn left_behind() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::statuses(&[200, 200, 200, 200, 410, 200]).await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    let steps = json!([{"plugin": "stamp@latest", "config": {"m": 1}}]);
    let wanted = json!({"url": endpoint.url("/"), "events": ["*"], "envelope": "none", "transforms": steps});
    let id = text(&tenant.subscribe(wanted).await, "id").to_owned();
    let path = format!("/v1/subscriptions/{id}");
    let more = stamp("2.0.0").schema(r#"{"type":"object","required":["n"]}"#);
    let uploaded = upload(&tenant, more).await;
    assert_eq!(uploaded["not_followed_by"], json!([id]));

    let is_behind = async |tenant: &Tenant, n: usize| {
        let read = tenant.api.get(&path).await.json(200);
        assert_eq!(
            (&read["runs"], &read["fault"], text(&read, "state")),
            (&json!(["stamp@1.0.0"]), &Value::Null, "active")
        );
        assert!(text(&read, "behind").contains("`stamp@2.0.0`: /transforms/0/config: \"n\""), "{read}");
        tenant.post("a", json!(n)).await;
        let sent = endpoint.wait("/", n).await;
        assert_eq!(sent[n - 1].json()["made"], "1.0.0");
    };
    is_behind(&tenant, 1).await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    is_behind(&tenant, 2).await;

    tenant.api.poke(&format!("{path}/pause")).await.is(200);
    tenant.api.poke(&format!("{path}/resume")).await.is(200);
    tenant.api.post(&format!("{path}/rotate-secret"), json!({})).await.is(200);
    tenant.api.patch(&path, json!({"name": "renamed"})).await.is(200);
    tenant.api.patch(&path, json!({"enabled": false})).await.is(200);
    tenant.api.patch(&path, json!({"enabled": true})).await.is(200);
    is_behind(&tenant, 3).await;
    // What it does touch has to be right: as its owner wants it, the newest.
    let other = tenant.api.patch(&path, json!({"transforms": [{"plugin": "stamp@latest", "config": {"m": 2}}]})).await;
    assert_eq!(other.problem(422, "invalid"), ["#/transforms/0/config"]);
    let own = json!({"runs": [], "behind": "no"});
    assert_eq!(tenant.api.patch(&path, own).await.problem(422, "invalid"), ["#/runs", "#/behind"]);
    is_behind(&tenant, 4).await;

    // Gone: the gateway disables it itself.
    tenant.api.delete("/v1/plugins/stamp/1.0.0").await.problem(409, "plugin-in-use");
    tenant.post("a", json!(5)).await;
    eventually("a disabled subscription", async || {
        let read = tenant.api.get(&path).await.json(200);
        (read["state"] == "disabled" && read["state_reason"] == "gone").then_some(())
    })
    .await;
    tenant.api.patch(&path, json!({"enabled": true})).await.is(200);

    // Taken back, it is not behind; with another one that fits, it goes on to that.
    tenant.api.delete("/v1/plugins/stamp/2.0.0").await.is(204);
    let read = tenant.api.get(&path).await.json(200);
    assert_eq!((&read["runs"], &read["behind"]), (&json!(["stamp@1.0.0"]), &Value::Null), "{read}");
    assert_eq!(upload(&tenant, stamp("2.0.1")).await.get("not_followed_by"), None);
    assert_eq!(tenant.api.get(&path).await.json(200)["runs"], json!(["stamp@2.0.1"]));
    tenant.api.delete("/v1/plugins/stamp@1.0.0").await.is(204);
    assert_eq!(tenant.api.delete("/v1/plugins/stamp@latest").await.problem(422, "invalid"), ["#/version"]);
    tenant.api.delete("/v1/plugins/redact").await.problem(409, "plugin-name-reserved");
}

/// A name may come to stand for a connector: what tries its newest version as a transform goes on with the one before.
#[tokio::test]
async fn a_name_that_becomes_another_kind() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    upload(&tenant, stamp("1.0.0")).await;
    upload(&tenant, Guest::new("other", "1.0.0").makes(r#"{"made":"other"}"#)).await;
    let candidate = json!({"plugin": "other@latest", "percent": 100, "config": {}});
    let path = format!("/v1/subscriptions/{}", subscribe(&tenant, &endpoint, candidate).await);
    let uploaded = upload(&tenant, Guest::connector("other", "2.0.0").makes(r#"{"n": 1}"#)).await;
    assert_eq!(uploaded["not_followed_by"].as_array().map(Vec::len), Some(1), "{uploaded}");
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    let read = tenant.api.get(&path).await.json(200);
    assert!(read.get("fault").is_none() && text(&read, "behind").contains("of another kind"), "{read}");
    tenant.post("a", json!(1)).await;
    assert_eq!(endpoint.first("/").await.json()["made"], "other");
    tenant.api.delete("/v1/plugins/other/2.0.0").await.is(204);
    assert!(tenant.api.get(&path).await.json(200).get("behind").is_none());
}
