//! Killed and terminated: what the kernel holds stays, what the process held is gone.

use std::time::Duration;

use hookmill_tests::{Gateway, Receiver, Setup, Tenant, eventually, is_long};
use serde_json::{Value, json};

use super::{Scene, chance};

/// The process is killed at moments of no choice while clients post and refused events are tried again, and several
/// times while it starts: every acknowledged event arrives at least once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load() {
    let (kills, events) = if is_long() { (20, 60_000) } else { (3, 3_000) };
    let mut scene = Scene::set(Gateway::start().await).await;
    for kill in 0..kills {
        let before = scene.acknowledged();
        let posting = scene.load((events * (kill + 1) / kills).max(before + 1)).await;
        tokio::time::sleep(Duration::from_millis(chance(kill, 60))).await;
        scene.gateway.kill9().await;
        posting.join_all().await;
        for start in 0..kill % 3 {
            scene.gateway.start_and_kill9(Duration::from_millis(10 + chance(kill + start, 200))).await;
        }
        scene.gateway.restart().await;
    }
    scene.all_arrive().await;
    let twice = scene.account(&format!("{kills} kills"));
    let total = scene.acknowledged();
    assert!(twice < total, "a request again is for what was under way, not for everything: {twice} of {total}");
}

/// Told to stop while clients post, it ends with 0, and nothing acknowledged is lost or sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_under_load() {
    let mut scene = Scene::set(Gateway::start().await).await;
    let posting = scene.load(1_000).await;
    scene.gateway.terminate().await;
    posting.join_all().await;
    scene.gateway.restart().await;
    scene.all_arrive().await;
    assert_eq!(scene.account("SIGTERM"), 0, "who ends in an orderly way sends nothing again");
}

/// Killed while it removes what it no longer has to keep: it goes on where it stopped, and keeps the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_forgets() {
    let rounds = if is_long() { 20 } else { 3 };
    let mut gateway = Setup::new().with_clock().env("HOOKMILL_STORE__RETENTION", "1h").start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let policy = json!({"schedule": ["0s", "1m"], "jitter": 0});
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "retry_policy": policy})).await;
    let events = async |tenant: &Tenant| {
        let page = tenant.api.get("/v1/events?limit=200").await.json(200);
        page["data"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect::<Vec<Value>>()
    };
    for round in 0..rounds {
        let tenant = gateway.again(&tenant);
        let before = endpoint.count("/");
        let old = vec![r#"{"type":"old","data":1}"#; 1_000].join("\n");
        for _ in 0..3 {
            let posted =
                tenant.api.send("POST", "/v1/events", &[("content-type", "application/x-ndjson")], old.clone());
            let _: Value = posted.await.json(202);
        }
        endpoint.wait("/", before + 3_000).await;
        eventually("nothing is owed", async || tenant.deliveries("status=pending").await.is_empty().then_some(()))
            .await;
        let clock = gateway.clock().await;
        clock.advance("2h").await;
        let kept = tenant.post("kept", json!(round)).await;
        tenant.status(&kept, "delivered").await;
        // It looks every half minute.
        clock.advance("30s").await;
        tokio::time::sleep(Duration::from_millis(chance(round, 40))).await;
        // Its clock begins at the machine's time again.
        gateway.restart().await;
        let clock = gateway.clock().await;
        clock.advance(&format!("{}h", 2 * (round + 1))).await;
        let tenant = gateway.again(&tenant);
        eventually("the old is gone, the rest is there", async || {
            clock.advance("30s").await;
            let left = events(&tenant).await;
            left.iter().all(|kind| kind == "kept").then(|| assert!(left.contains(&json!("kept")), "{left:?}"))
        })
        .await;
    }
}
