//! Killed and terminated: what the kernel holds stays, what the process held is gone.

use std::time::Duration;

use hookmill_tests::{Gateway, is_long};

use super::{Scene, chance, forgetting};

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
    let stops = if is_long() { 20 } else { 1 };
    let mut scene = Scene::set(Gateway::start().await).await;
    for stop in 0..stops {
        let posting = scene.load(scene.acknowledged() + 1_000).await;
        tokio::time::sleep(Duration::from_millis(chance(stop, 60))).await;
        scene.gateway.terminate().await;
        posting.join_all().await;
        scene.gateway.restart().await;
    }
    scene.all_arrive().await;
    let again = scene.account(&format!("SIGTERM, {stops} times"));
    assert_eq!(again, 0, "who ends in an orderly way sends nothing again");
}

/// See [`forgetting`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_forgets() {
    forgetting::again_and_again(None, if is_long() { 20 } else { 2 }).await;
}
