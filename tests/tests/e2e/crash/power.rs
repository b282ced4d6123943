//! Power cuts: only what was synced stays.

use std::time::Duration;

use hookmill_tests::{Setup, Unsynced, is_long};

use super::{Scene, chance, forgetting, seed};

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
    for number in 1..=if is_long() { 3 } else { 1 } {
        let seed = seed().wrapping_add(number);
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

/// See [`forgetting`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_fails_while_it_forgets() {
    forgetting::again_and_again(Some(Unsynced::Lost), if is_long() { 10 } else { 1 }).await;
}

/// Cuts the power right after acknowledgements; gives how many of those events never arrive, or the sentence with which
/// the next start is refused.
async fn lost_by_a_cut(unsynced: Unsynced) -> Result<usize, String> {
    let mut scene = Scene::set(Setup::new().on_disk_that_forgets(unsynced).start().await).await;
    // What a first start makes is not at stake.
    scene.gateway.terminate().await;
    scene.gateway.settle_disk();
    scene.gateway.restart().await;
    let posting = scene.load(500).await;
    scene.gateway.cut_power().await;
    posting.join_all().await;
    scene.gateway.try_start().await.map_err(|(_, said)| said)?;
    scene.nothing_is_owed().await;
    Ok(scene.ledger.lock().unwrap().missing())
}

/// That these tests would notice if a commit were acknowledged without its sync: sled's own syncs, one whenever half a
/// mebibyte is full and one every half second, keep the store whole but not what came after them. Events are gone, or the
/// store is behind the mark of its last commit, and refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_its_sync_is_found_out() {
    assert_eq!(lost_by_a_cut(Unsynced::Lost).await, Ok(0));
    for _ in 0..10 {
        match lost_by_a_cut(Unsynced::LostWithCommits).await {
            // The cut fell right behind one of sled's own syncs.
            Ok(0) => {}
            Ok(lost) => return println!("without the sync of each commit, {lost} acknowledged events are lost"),
            Err(said) => {
                assert!(said.contains("hookmill store check"), "{said}");
                return println!("without the sync of each commit, the store is refused: {said}");
            }
        }
    }
    panic!("no acknowledged event was lost, although no commit was synced");
}
