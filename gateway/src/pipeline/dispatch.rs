//! Gives lanes their turns: starts attempts, reads from the store, and keeps the timers.
//!
//! There is no dispatcher task that all work passes through. Whoever changes something (an accepted event,
//! an ended attempt, a timer, a changed subscription) calls [`pump`], which asks the lanes what is to be done
//! and starts it.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::lanes::{End, Permit, Sends, Work};
use super::{Parts, deliver, record};
use crate::domain::{Lane, TenantId};

/// Starts the timekeeper.
pub(super) fn start(parts: &Arc<Parts>) {
    tokio::spawn(keep_time(parts.clone()));
    pump(parts);
}

/// Starts whatever may be started now.
pub(super) fn pump(parts: &Arc<Parts>) {
    let todo = parts.lanes.next(parts.clock.now(), |lane, tenant| permit(parts, lane, tenant));
    for work in todo.start {
        // In a box, since tokio copies a task's future twice more.
        tokio::spawn(Box::pin(run(parts.clone(), work)));
    }
    if !todo.back.is_empty() {
        let parts = parts.clone();
        tokio::spawn(async move { record::release(&parts, &todo.back).await });
    }
    if !todo.load.is_empty() {
        tokio::spawn(load(parts.clone(), todo.load));
    }
}

fn permit(parts: &Parts, lane: Lane, tenant: TenantId) -> Permit {
    match parts.registry.plan(tenant, lane.subscription_id) {
        Some(plan) => Permit {
            sends: if plan.sends() { Sends::Yes } else { Sends::No },
            rate: plan.rate,
            host: plan.host.clone(),
            not_before: parts.waits_for_cpu(&plan),
        },
        None => Permit { sends: Sends::Gone, rate: None, host: None, not_before: None },
    }
}

async fn run(parts: Arc<Parts>, work: Work) {
    // A panic is a bug of ours. It must not take the lane's place for ever, nor the delivery: that is due
    // again when the process starts anew, and the endpoint is not blamed.
    let attempt = pin!(AssertUnwindSafe(deliver::deliver(&parts, &work)).catch_unwind());
    let end = noting_begin(&parts, &work, attempt).await.unwrap_or_else(|_| {
        tracing::error!(delivery_id = %work.delivery.id, "an attempt panicked; the delivery waits for the next start");
        End::NotSent
    });
    parts.lanes.ended(&work, end, parts.clock.now());
    pump(&parts);
}

/// Says when the attempt has had the processor for the first time.
async fn noting_begin<F: Future>(parts: &Arc<Parts>, work: &Work, mut attempt: Pin<&mut F>) -> F::Output {
    let mut has_begun = false;
    poll_fn(|context| {
        let polled = attempt.as_mut().poll(context);
        if !has_begun {
            has_begun = true;
            begun(parts, work);
        }
        polled
    })
    .await
}

/// The tenant's next like it may start: at once, or a little later if it is held back and the processor is short.
fn begun(parts: &Arc<Parts>, work: &Work) {
    let (tenant, prospect) = (work.delivery.tenant_id, work.prospect);
    let next = move |parts: &Arc<Parts>| {
        if parts.lanes.begun(tenant, prospect) {
            pump(parts);
        }
    };
    let gap = work.held_back.map_or(Duration::ZERO, |why| parts.pressure.gap(why));
    if gap.is_zero() {
        return next(parts);
    }
    let parts = parts.clone();
    tokio::spawn(async move {
        tokio::time::sleep(gap).await;
        next(&parts);
    });
}

async fn load(parts: Arc<Parts>, lanes: Vec<(Lane, usize)>) {
    let now = parts.clock.now();
    match parts.store.take(&lanes, now).await {
        Ok(taken) => {
            for ((lane, _), taken) in lanes.iter().zip(taken) {
                parts.lanes.loaded(*lane, Some(taken), parts.clock.now());
            }
        }
        Err(error) => {
            tracing::error!(%error, "what is due could not be read");
            for (lane, _) in &lanes {
                parts.lanes.loaded(*lane, None, parts.clock.now());
            }
        }
    }
    parts.lanes.timer.notify_one();
    pump(&parts);
}

async fn keep_time(parts: Arc<Parts>) {
    loop {
        let changed = parts.lanes.timer.notified();
        match parts.lanes.first_timer() {
            Some(at) => tokio::select! {
                () = parts.clock.sleep_until(at) => {}
                () = changed => {}
            },
            None => changed.await,
        }
        parts.lanes.wake(parts.clock.now());
        pump(&parts);
    }
}

#[cfg(test)]
mod tests {
    /// It is copied where it is made, and there may be thousands: what is rare in it belongs in a box.
    #[test]
    fn an_attempt_is_small() {
        fn size<A, B, F>(_: fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(super::run);
        assert!(size <= 6 << 10, "the future of an attempt has {size} bytes");
    }
}
