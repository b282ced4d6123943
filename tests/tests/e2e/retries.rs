//! When it does not arrive at once: schedules, `Retry-After`, endpoints that are gone, and what a person asks for.

use hookmill_tests::{Answer, Receiver, Setup};
use jiff::Timestamp;
use serde_json::{Value, json};

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("a time: {value}")).parse().unwrap()
}

/// Five attempts, each to the second when the schedule says, and not a second earlier; the event's id stays, the
/// signature's time moves; after the fifth the delivery has failed, and a person's retry delivers it.
#[tokio::test]
async fn a_schedule_to_the_second() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::scripted(|request, before| match request.path.as_str() {
        "/third" if before < 3 => Answer::Status(500),
        "/never" if before < 5 => Answer::Status(503),
        _ => Answer::Status(200),
    })
    .await;
    let tenant = gateway.tenant("acme").await;
    let schedule = json!({"schedule": ["0s", "1m", "5m", "30m", "2h"], "jitter": 0});
    for path in ["/third", "/never"] {
        let wanted = json!({"url": endpoint.url(path), "events": [path[1..]], "retry_policy": schedule});
        tenant.subscribe(wanted).await;
    }
    tenant.subscribe(json!({"url": endpoint.url("/sentinel"), "events": ["sentinel"]})).await;
    let third = tenant.post("third", json!(1)).await;
    let never = tenant.post("never", json!(1)).await;

    let start = clock.now().await.as_second();
    let waits = ["59s", "299s", "1799s", "7199s"];
    for (at, wait) in waits.into_iter().enumerate() {
        let before = u64::try_from(at).unwrap() + 1;
        if before <= 4 {
            tenant.attempts(&third, before).await;
        }
        tenant.attempts(&never, before).await;
        clock.advance(wait).await;
        // What must not happen is looked for after something that must.
        let sentinel = tenant.post("sentinel", json!(at)).await;
        tenant.status(&sentinel, "delivered").await;
        assert_eq!(endpoint.count("/never"), at + 1, "attempt {} came a second early", at + 2);
        clock.advance("1s").await;
        if before == 4 {
            break;
        }
    }
    let requests = endpoint.wait("/third", 4).await;
    let delivered = tenant.status(&third, "delivered").await;
    assert_eq!(delivered["attempt_count"], 4);
    assert_eq!(requests.iter().map(|one| one.timestamp() - start).collect::<Vec<_>>(), [0, 60, 360, 2160]);
    for request in &requests {
        assert_eq!(request.header("webhook-id"), third["id"].as_str().unwrap());
        assert_eq!(request.body, requests[0].body);
    }
    let requests = endpoint.wait("/never", 5).await;
    assert_eq!(requests.iter().map(|one| one.timestamp() - start).collect::<Vec<_>>(), [0, 60, 360, 2160, 9360]);

    let failed = tenant.status(&never, "failed").await;
    let outcomes: Vec<_> = failed["attempts"].as_array().unwrap().iter().map(|one| &one["next"]["action"]).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "retry", "give_up"]);
    assert_eq!(tenant.deliveries("status=failed").await.len(), 1, "a failed delivery is listed");
    assert_eq!(failed["last_status_code"], 503);
    let id = failed["id"].as_str().unwrap();
    tenant.api.poke(&format!("/v1/deliveries/{id}/retry")).await.is(200);
    let delivered = tenant.status(&never, "delivered").await;
    assert_eq!(delivered["attempts"][5]["trigger"], "manual", "{delivered}");
    assert_eq!(endpoint.count("/third"), 4, "what was delivered is not sent again");
}

/// A person need not wait for the schedule, and what has arrived stays delivered whatever becomes of it when it is
/// asked for again. What nobody is left to send to says so.
#[tokio::test]
async fn asked_for_by_hand() {
    let gateway = Setup::new().with_clock().start().await;
    let clock = gateway.clock().await;
    let endpoint = Receiver::scripted(|request, before| {
        let takes = match request.path.as_str() {
            "/soon" => before > 0,
            "/once" => before == 0,
            path => path == "/sentinel",
        };
        Answer::Status(if takes { 200 } else { 500 })
    })
    .await;
    let tenant = gateway.tenant("acme").await;
    let subscribe = async |name: &str, schedule: Value| {
        let policy = json!({"schedule": schedule, "jitter": 0});
        let url = endpoint.url(&format!("/{name}"));
        tenant.subscribe(json!({"url": url, "events": [name], "retry_policy": policy})).await
    };
    subscribe("soon", json!(["0s", "1h", "2h"])).await;
    subscribe("once", json!(["0s"])).await;
    let never = subscribe("never", json!(["0s", "1h"])).await;
    subscribe("sentinel", json!(["0s"])).await;
    let retry = async |delivery: &Value| {
        let path = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
        tenant.api.poke(&path).await.json(200)
    };

    let event = tenant.post("soon", json!(1)).await;
    let waits = tenant.attempts(&event, 1).await;
    let now = retry(&waits).await;
    assert_eq!((&now["status"], &now["attempt_count"]), (&json!("pending"), &json!(1)), "{now}");
    assert!(time(&now["next_attempt_at"]) < time(&waits["next_attempt_at"]), "{now}");
    // The clock stands.
    let delivered = tenant.status(&event, "delivered").await;
    assert_eq!((&delivered["attempt_count"], &delivered["attempts"][1]["trigger"]), (&json!(2), &json!("manual")));
    clock.advance("90m").await;
    let sentinel = tenant.post("sentinel", json!(1)).await;
    tenant.status(&sentinel, "delivered").await;
    assert_eq!(endpoint.count("/soon"), 2, "it is not due once more when its time comes");

    let event = tenant.post("once", json!(1)).await;
    let before = tenant.status(&event, "delivered").await;
    retry(&before).await;
    let after = tenant.attempts(&event, 2).await;
    assert_eq!((&after["status"], &after["reason"]), (&before["status"], &before["reason"]), "{after}");
    assert_eq!((&after["attempts"][1]["outcome"], &after["last_status_code"]), (&json!("refused"), &json!(500)));
    assert_eq!(tenant.deliveries("status=failed").await, Vec::<Value>::new());

    let event = tenant.post("never", json!(1)).await;
    tenant.attempts(&event, 1).await;
    tenant.api.delete(&format!("/v1/subscriptions/{}", never["id"].as_str().unwrap())).await.is(204);
    assert_eq!(tenant.status(&event, "cancelled").await["reason"], "its subscription was deleted");
}

/// `Retry-After` can ask for more time, between the scheduled wait and twice that; after a 429 it is at least a
/// minute, whatever the schedule says.
#[tokio::test]
async fn retry_after_within_bounds() {
    // Path, answer, scheduled wait in seconds, wait that must come of it.
    const ROWS: [(&str, u16, Option<&str>, i64, i64); 8] = [
        ("/absurd", 429, Some("99999999999"), 300, 600),
        ("/never", 503, Some("Fri, 31 Dec 9999 23:59:59 GMT"), 300, 600),
        ("/short", 503, Some("10"), 300, 300),
        ("/fair", 503, Some("400"), 300, 400),
        ("/none", 429, None, 10, 60),
        ("/minute", 429, Some("90"), 10, 90),
        ("/floor", 429, Some("1000"), 10, 120),
        ("/nonsense", 429, Some("-5"), 300, 300),
    ];
    let gateway = Setup::new().with_clock().start().await;
    let endpoint = Receiver::scripted(|request, _| {
        let row = ROWS.iter().find(|row| row.0 == request.path).unwrap();
        let headers = row.2.map(|after| ("retry-after", after.to_owned()));
        Answer::Full(row.1, headers.into_iter().collect(), "slower".to_owned())
    })
    .await;
    let tenant = gateway.tenant("acme").await;
    for (path, status, _, scheduled, wanted) in ROWS {
        let policy = json!({"schedule": ["0s", format!("{scheduled}s")], "jitter": 0});
        tenant.subscribe(json!({"url": endpoint.url(path), "events": [path[1..]], "retry_policy": policy})).await;
        let event = tenant.post(&path[1..], json!(1)).await;
        let delivery = tenant.attempts(&event, 1).await;
        let attempt = &delivery["attempts"][0];
        let wait = time(&attempt["next"]["at"]).duration_since(time(&attempt["started_at"])).as_secs();
        assert_eq!(wait, wanted, "{path}: {attempt}");
        assert_eq!((&attempt["outcome"], &attempt["response"]["status_code"]), (&json!("throttled"), &json!(status)));
        assert_eq!(delivery["next_attempt_at"], attempt["next"]["at"]);
    }
}

/// 410 disables the subscription: it takes no more events, and a subscription to operational events is told.
#[tokio::test]
async fn an_endpoint_that_is_gone() {
    let gateway = hookmill_tests::Gateway::start().await;
    let endpoint =
        Receiver::scripted(|request, _| Answer::Status(if request.path == "/gone" { 410 } else { 200 })).await;
    let tenant = gateway.tenant("acme").await;
    let gone = tenant.subscribe(json!({"url": endpoint.url("/gone"), "events": ["*"]})).await;
    tenant.subscribe(json!({"url": endpoint.url("/operational"), "events": ["hookmill.*"]})).await;
    let everything = tenant.subscribe(json!({"url": endpoint.url("/everything"), "events": ["*"]})).await;
    let path = format!("/v1/subscriptions/{}", gone["id"].as_str().unwrap());

    let event = tenant.post("a", json!(1)).await;
    assert_eq!(event["deliveries"], 2);
    let told = endpoint.wait("/operational", 2).await;
    let told: Vec<Value> = told.iter().map(|request| request.json()).collect();
    let disabled = told.iter().find(|one| one["type"] == "hookmill.subscription.disabled");
    let disabled = disabled.unwrap_or_else(|| panic!("told of the end: {told:?}"));
    assert_eq!(disabled["data"], json!({"subscription_id": gone["id"], "reason": "gone"}));
    let failed = told.iter().find(|one| one["type"] == "hookmill.delivery.failed").unwrap();
    assert_eq!(failed["data"]["subscription_id"], gone["id"]);

    let read = tenant.api.get(&path).await.json(200);
    assert_eq!(
        (&read["enabled"], &read["state"], &read["state_reason"]),
        (&json!(false), &json!("disabled"), &json!("gone"))
    );
    assert_eq!(tenant.deliveries("status=failed").await[0]["subscription_id"], gone["id"]);
    let event = tenant.post("a", json!(2)).await;
    assert_eq!(event["deliveries"], 1, "the disabled one takes no events");
    tenant.status(&event, "delivered").await;
    assert_eq!(endpoint.count("/gone"), 1);

    let read = tenant.api.patch(&path, json!({"enabled": true})).await.json(200);
    assert_eq!((&read["state"], &read["state_reason"]), (&json!("active"), &Value::Null));
    assert_eq!(tenant.post("a", json!(3)).await["deliveries"], 2);
    let types: Vec<_> = endpoint.at("/everything").iter().map(|one| one.json()["type"].clone()).collect();
    assert!(types.iter().all(|one| one == "a"), "`*` does not match operational events: {types:?}, {everything}");
}

/// A retry that is owed when the process is killed is made by the next one, as attempt 2 and with the same bytes.
#[tokio::test]
async fn a_retry_survives_a_crash() {
    let mut gateway = Setup::new().with_clock().start().await;
    let endpoint = Receiver::statuses(&[500, 200]).await;
    let tenant = gateway.tenant("acme").await;
    let schedule = json!({"schedule": ["0s", "30m"], "jitter": 0});
    let transforms = json!([{"plugin": "fields", "config": {"set": {"$.data.seen": "{{ timestamp }}"}}}]);
    let wanted = json!({"url": endpoint.url("/"), "events": ["*"], "retry_policy": schedule, "transforms": transforms});
    tenant.subscribe(wanted).await;
    let event = tenant.post("a", json!({"n": 1})).await;
    let due = time(&tenant.attempts(&event, 1).await["next_attempt_at"]);
    gateway.restart().await;
    let (tenant, clock) = (gateway.again(&tenant), gateway.clock().await);
    let early = due.duration_since(clock.now().await).as_secs() - 1;
    clock.advance(&format!("{early}s")).await;
    assert_eq!(tenant.attempts(&event, 1).await["status"], "pending");
    clock.advance("3s").await;
    let delivered = tenant.status(&event, "delivered").await;
    assert_eq!(
        (&delivered["attempt_count"], &delivered["attempts"][1]["number"]),
        (&json!(2), &json!(2)),
        "{delivered}"
    );
    let requests = endpoint.all();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}
