//! Retention that is cut off in the middle: it goes on where it stopped, and keeps the rest.
//!
//! **Who acts.** Old events have all been delivered; clients post young ones while the old are removed, oldest first.
//! As soon as an old one of chance is gone the process is killed, or the power cut. **What is promised.** Every young
//! event is there afterwards and is delivered, and of the old ones nothing stays. A round counts only if it found some
//! of the old events removed and some not; otherwise it is made again with more of them.

use std::time::Duration;

use hookmill_tests::{Setup, Unsynced, within};

use super::{Scene, chance};

/// Old events of a round: twice as many after one in which all of them had been removed, and never more than the second.
const OLD: usize = 3_000;
const MOST: usize = 8 * OLD;
const PATIENCE: Duration = Duration::from_secs(300);

/// So many rounds that count: killed, or with the power cut if there is a disk that forgets.
pub(super) async fn again_and_again(disk: Option<Unsynced>, rounds: usize) {
    let mut setup = Setup::new().with_clock().env("HOOKMILL_STORE__RETENTION", "24h");
    if let Some(unsynced) = disk {
        setup = setup.on_disk_that_forgets(unsynced);
    }
    let mut scene = Scene { stands: true, ..Scene::set(setup.start().await).await };
    let (mut count, mut in_vain) = (OLD, 0);
    for round in 0..rounds {
        loop {
            let (left, old) = cut_off(&mut scene, round, count, disk.is_some()).await;
            match left {
                0 => count = (2 * count).min(MOST),
                left if left < old => break,
                _ => {}
            }
            in_vain += 1;
            assert!(in_vain < 6 + rounds, "no removal is under way when it is to be cut off");
        }
    }
    let how = if disk.is_some() { "power cuts" } else { "kills" };
    scene.account(&format!("{rounds} {how} during retention"));
}

/// One round; how many of the old events were left, and of how many.
async fn cut_off(scene: &mut Scene, round: usize, count: usize, power: bool) -> (usize, usize) {
    let before = scene.all_acknowledged();
    let mut posting = scene.load(before.len() + count).await;
    posting.shutdown().await;
    scene.all_arrive().await;
    let known = scene.all_acknowledged();
    let old = &known - &before;

    scene.forward("12h").await;
    let posting = scene.load(known.len() + 200).await;
    // What is old is due to be removed now, and what has been posted since is not.
    let now = scene.forward("13h").await;
    let place = chance(round, old.len() as u64 / 2) as usize;
    let path = format!("/v1/events/{}", old.iter().nth(place).unwrap());
    let tenant = scene.tenant();
    within(PATIENCE, "old events are removed", async || (tenant.api.get(&path).await.status == 404).then_some(()))
        .await;
    if power {
        scene.gateway.cut_power().await;
    } else {
        scene.gateway.kill9().await;
    }
    posting.join_all().await;

    scene.gateway.restart().await;
    // Its clock begins at the machine's time again, by which nothing is due: what is there is what was left.
    let young = &scene.all_acknowledged() - &known;
    let kept = scene.kept().await;
    let left = old.intersection(&kept).count();
    assert!(young.is_subset(&kept), "{} young events are gone", young.difference(&kept).count());
    println!("{left} of {} old events were left, {} were posted meanwhile", old.len(), young.len());
    let behind = now.duration_since(scene.gateway.clock().await.now().await);
    scene.forward(&format!("{}s", behind.as_secs())).await;
    scene.all_arrive().await;
    within(PATIENCE, "the rest of the old events is removed", async || {
        scene.tick().await;
        scene.kept().await.is_disjoint(&old).then_some(())
    })
    .await;
    let kept = scene.kept().await;
    assert!(young.is_subset(&kept), "{} young events are removed too", young.difference(&kept).count());
    // The next round begins with nothing.
    scene.forward("25h").await;
    within(PATIENCE, "the young events have grown old", async || {
        scene.tick().await;
        scene.kept().await.is_empty().then_some(())
    })
    .await;
    (left, old.len())
}
