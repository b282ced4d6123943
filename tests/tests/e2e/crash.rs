//! What was acknowledged is delivered, whatever becomes of the process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookmill_tests::{Gateway, Receiver, Tenant, within};
use serde_json::{Value, json};

/// Ids that were acknowledged.
type Acknowledged = Arc<Mutex<HashSet<String>>>;

fn is_long() -> bool {
    std::env::var_os("HOOKMILL_LONG").is_some()
}

/// Posts, singly and in batches by turns, until the gateway no longer answers.
async fn post_until_it_ends(tenant: Tenant, acknowledged: Acknowledged) {
    for round in 0_u64.. {
        let single = round % 2 == 0;
        let event = r#"{"type":"load","data":{"some":"content","n":12345678901234567890}}"#;
        let (content_type, body) = match single {
            true => ("application/json", event.to_owned()),
            false => ("application/x-ndjson", vec![event; 20].join("\n")),
        };
        let reply = tenant.api.try_send("POST", "/v1/events", &[("content-type", content_type)], body).await;
        match reply {
            Some(reply) if reply.status == 202 => {
                let receipt: Value = reply.json(202);
                let ids = match single {
                    true => vec![&receipt["id"]],
                    false => receipt["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect(),
                };
                acknowledged.lock().unwrap().extend(ids.into_iter().filter_map(Value::as_str).map(str::to_owned));
            }
            // More than it can write just now.
            Some(reply) if reply.status == 503 => tokio::time::sleep(Duration::from_millis(5)).await,
            Some(reply) => panic!("{}: {}", reply.status, reply.text),
            None => return,
        }
    }
}

/// Starts clients, and waits until so many events are acknowledged in all.
async fn load(
    gateway: &Gateway,
    tenant: &Tenant,
    acknowledged: &Acknowledged,
    goal: usize,
) -> tokio::task::JoinSet<()> {
    let mut posting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        posting.spawn(post_until_it_ends(gateway.again(tenant), acknowledged.clone()));
    }
    within(Duration::from_secs(120), "events are acknowledged", async || {
        (acknowledged.lock().unwrap().len() >= goal).then_some(())
    })
    .await;
    posting
}

/// Waits until everything acknowledged has arrived; gives the number of requests beyond one an event.
async fn all_arrive(endpoint: &Receiver, tenant: &Tenant, acknowledged: &Acknowledged) -> usize {
    let acknowledged = acknowledged.lock().unwrap().clone();
    let patience = Duration::from_secs(if is_long() { 600 } else { 60 });
    let waited_for = format!("all of {} acknowledged events arrive", acknowledged.len());
    let mut missing = acknowledged.clone();
    let mut seen = 0;
    within(patience, &waited_for, async || {
        let count = endpoint.count("/");
        if count > seen {
            endpoint.all()[seen..].iter().for_each(|one| {
                missing.remove(one.header("webhook-id"));
            });
            seen = count;
        }
        missing.is_empty().then_some(())
    })
    .await;
    within(patience, "nothing is owed any more", async || {
        tenant.deliveries("status=pending").await.is_empty().then_some(())
    })
    .await;
    let all = endpoint.all();
    let different: HashSet<&str> = all.iter().map(|one| one.header("webhook-id")).collect();
    all.len() - different.len()
}

/// The process is killed at moments of no choice while clients post: every acknowledged event arrives at least once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load() {
    let (kills, events) = if is_long() { (20, 50_000) } else { (3, 3_000) };
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let acknowledged = Acknowledged::default();
    for kill in 1..=kills {
        // Not always at the same distance from the last.
        let goal = events * kill / kills - (kill * 7919) % (events / kills / 2);
        let posting = load(&gateway, &tenant, &acknowledged, if kill == kills { events } else { goal }).await;
        gateway.kill9().await;
        posting.join_all().await;
        gateway.restart().await;
    }
    let total = acknowledged.lock().unwrap().len();
    let twice = all_arrive(&endpoint, &gateway.again(&tenant), &acknowledged).await;
    println!("{total} events acknowledged over {kills} kills; {twice} requests more than events");
    assert!(twice < total, "a request again is for what was under way, not for everything: {twice} of {total}");
}

/// Told to stop while clients post, it ends with 0, and nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_under_load() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let acknowledged = Acknowledged::default();
    let posting = load(&gateway, &tenant, &acknowledged, 1_000).await;
    gateway.terminate().await;
    posting.join_all().await;
    gateway.restart().await;
    let twice = all_arrive(&endpoint, &gateway.again(&tenant), &acknowledged).await;
    assert_eq!(twice, 0, "who ends in an orderly way sends nothing again");
}
