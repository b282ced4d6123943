//! Forgets what is older than it is kept for, in small steps; what is still open is ended first, and said so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::Work;
use super::{Parts, record};
use crate::domain::Status;

/// How often it looks. Under a steady load so much grows old in a second as comes in: what is put off is a burst that
/// others wait behind.
const EVERY: Duration = Duration::from_secs(5);
/// Events in one step.
const STEP: usize = 64;
/// Steps in a row after which it rests no more: it is behind, and what it puts off grows.
const BEHIND: u32 = 256;

pub(super) fn start(parts: &Arc<Parts>) {
    tokio::spawn(keep(parts.clone()));
}

async fn keep(parts: Arc<Parts>) {
    loop {
        parts.clock.sleep(EVERY).await;
        let mut steps = 0;
        let mut begun = Instant::now();
        while step(&parts).await {
            steps += 1;
            // Others have the store as long as this had it; less so the longer there is more to do.
            let rest = begun.elapsed() * BEHIND.saturating_sub(steps) / BEHIND;
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            begun = Instant::now();
        }
    }
}

/// One step; whether there is more to do at once.
async fn step(parts: &Arc<Parts>) -> bool {
    let now = parts.clock.now();
    let age = jiff::SignedDuration::try_from(parts.limits.retention).unwrap_or(jiff::SignedDuration::MAX);
    let Ok(before) = now.checked_sub(age) else { return false };
    match parts.store.prune(before, now, STEP).await {
        Ok(pruned) => {
            for due in pruned.expired {
                let work = Work::from(due);
                let reason = "expired: it was still open when its retention ended";
                record::end_without_attempt(parts, &work, Status::Failed, reason).await;
                let said = record::failed(&work, work.delivery.attempt_count, Some(reason));
                record::announce(parts, &work.event, "hookmill.delivery.failed", &said).await;
            }
            pruned.more
        }
        Err(error) => {
            tracing::error!(%error, "old events could not be removed");
            false
        }
    }
}
