//! Power cuts: only what was synced stays.

use std::time::Duration;

use hookmill_tests::{Setup, Unsynced, is_long};

use super::{Scene, chance};

/// Load, cut, start, again and again; some of the starts are cut as well.
async fn cut_again_and_again(unsynced: Unsynced, cuts: usize, events: usize) -> Scene {
    let mut scene = Scene::set(Setup::new().on_disk_that_forgets(unsynced).start().await).await;
    for cut in 0..cuts {
        let before = scene.acknowledged();
        let posting = scene.load((events * (cut + 1) / cuts).max(before + 1)).await;
        tokio::time::sleep(Duration::from_millis(chance(cut, 60))).await;
        // Now and then a process is killed first: what it leaves unsynced is in the page cache of the next.
        if cut % 3 == 2 {
            scene.gateway.kill9().await;
            scene.gateway.restart().await;
            tokio::time::sleep(Duration::from_millis(chance(cut, 300))).await;
        }
        scene.gateway.cut_power().await;
        posting.join_all().await;
        for start in 0..cut % 3 {
            scene.gateway.start_and_kill9(Duration::from_millis(10 + chance(cut + start, 200))).await;
            scene.gateway.cut_power().await;
        }
        scene.gateway.restart().await;
    }
    scene.all_arrive().await;
    scene
}

fn extent() -> (usize, usize) {
    if is_long() { (20, 50_000) } else { (3, 2_000) }
}

/// A disk that keeps nothing but what was synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_fails() {
    let (cuts, events) = extent();
    cut_again_and_again(Unsynced::Lost, cuts, events).await.account(&format!("{cuts} power cuts"));
}

/// A disk that has written some of the rest, in no order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_fails_after_some_was_written() {
    let (cuts, events) = extent();
    for seed in 1..=if is_long() { 3 } else { 1 } {
        let scene = cut_again_and_again(Unsynced::Some(seed), cuts, events).await;
        scene.account(&format!("{cuts} power cuts with writes of chance {seed}"));
    }
}

/// An orderly end leaves nothing that a power cut could take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_fails_after_an_orderly_end() {
    let mut scene = Scene::set(Setup::new().on_disk_that_forgets(Unsynced::Lost).start().await).await;
    let posting = scene.load(500).await;
    scene.gateway.terminate().await;
    posting.join_all().await;
    scene.gateway.cut_power().await;
    scene.gateway.restart().await;
    scene.all_arrive().await;
    assert_eq!(scene.account("SIGTERM and a power cut"), 0);
}

/// That these tests would notice: on a disk that only says that it had synced, acknowledged events are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_is_found_out() {
    let setup = Setup::new().on_disk_that_forgets(Unsynced::LostLikeAllElse);
    let mut scene = Scene::set(setup.start().await).await;
    scene.gateway.terminate().await;
    scene.gateway.settle_disk();
    scene.gateway.restart().await;
    let posting = scene.load(500).await;
    scene.gateway.cut_power().await;
    posting.join_all().await;
    scene.gateway.restart().await;
    let events = scene.tenant().api.get("/v1/events?limit=1").await.json(200);
    assert!(events["data"].as_array().unwrap().is_empty(), "what was never synced is there: {events}");
}
