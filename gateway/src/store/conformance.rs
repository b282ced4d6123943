//! One suite for every backend: what the room's essay promises, and the words of the trait.
//!
//! A backend says how it is opened, reopened and crashed; [`suite`] does the rest.

use std::sync::Arc;

use async_trait::async_trait;

use super::fixtures::{
    accepted, accepted_with, at, attempt, dedupe, delivered, failed_once, frozen, owed, plugin_version, replay,
    subscription,
};
use super::memory::MemoryStore;
use super::{
    Accepted, DeliveryFilter, EventFilter, LaneHead, Receipt, Record, RecordKey, ReplayStep, Settled, Store, Taken,
};
use crate::domain::{
    ApiKey, CatalogueEntry, Delivery, DeliveryId, Enforce, EventId, EventType, KeyId, Lane, Outcome, Refused, Role,
    Sample, SeenType, SeenTypes, SourceId, SourceRefusals, Status, SubscriptionId, Tenant, TenantId, TenantLimits,
    Trigger, Verdict,
};

/// A backend under test.
#[async_trait]
pub(super) trait Subject: Send {
    /// The open store.
    fn store(&self) -> Arc<dyn Store>;
    /// Closes it in good order and opens it again.
    async fn reopen(&mut self);
    /// Opens what a kill at this moment would leave.
    async fn crash(&mut self);
}

/// Runs every case, each on a store of its own.
pub(super) async fn suite<S: Subject>(make: impl AsyncFn() -> S) {
    receipts(make().await).await;
    hands(make().await).await;
    order(make().await).await;
    retries(make().await).await;
    begun(make().await).await;
    by_hand(make().await).await;
    sooner(make().await).await;
    delivered_before(make().await).await;
    cancelled(make().await).await;
    fan_out(make().await).await;
    large(make().await).await;
    tenants(make().await).await;
    configuration(make().await).await;
    plugins(make().await).await;
    lists(make().await).await;
    spans(make().await).await;
    replays(make().await).await;
    replays_of_what_goes(make().await).await;
    retention(make().await).await;
    closing(make().await).await;
}

/// Waits until all that was handed over is durable.
async fn settled(store: &Arc<dyn Store>) {
    store.begin(Vec::new()).await.unwrap();
}

async fn take(store: &Arc<dyn Store>, lane: Lane, limit: usize, ms: i64) -> Taken {
    store.take(&[(lane, limit)], at(ms)).await.unwrap().remove(0)
}

fn ids(taken: &Taken) -> Vec<DeliveryId> {
    taken.due.iter().map(|due| due.delivery.id).collect()
}

fn lane(key: u64) -> Lane {
    Lane { subscription_id: SubscriptionId::new(at(0)), key }
}

async fn put(store: &Arc<dyn Store>, accepted: Accepted) -> Vec<Delivery> {
    let deliveries = accepted.deliveries.clone();
    assert_eq!(store.accept(vec![accepted]).await.unwrap(), [Receipt::Stored]);
    deliveries
}

async fn receipts(mut subject: impl Subject) {
    let (tenant, other, to) = (TenantId::new(at(0)), TenantId::new(at(0)), lane(0));
    let with = |tenant, ms, content| Accepted {
        dedupe: dedupe("order-1", content, at(10_000)),
        ..accepted(tenant, at(ms), &[to])
    };
    // Inside one batch too; another tenant's is another's.
    let batch = vec![with(tenant, 0, 1), with(tenant, 0, 1), with(tenant, 0, 2), with(other, 0, 2)];
    let first = batch[0].event.id;
    let duplicate = Receipt::Duplicate { event_id: first, deliveries: 1 };
    let conflict = Receipt::Conflict { event_id: first };
    let receipts = subject.store().accept(batch).await.unwrap();
    assert_eq!(receipts, [Receipt::Stored, duplicate.clone(), conflict.clone(), Receipt::Stored]);
    subject.crash().await;
    let again = vec![with(tenant, 9_999, 1), with(tenant, 9_999, 2)];
    let unwritten = again[0].event.id;
    assert_eq!(subject.store().accept(again).await.unwrap(), [duplicate, conflict]);
    assert_eq!(subject.store().event(tenant, unwritten).await.unwrap(), None);
    // The window is over.
    assert_eq!(subject.store().accept(vec![with(tenant, 10_000, 2)]).await.unwrap(), [Receipt::Stored]);
    assert_eq!(subject.store().accept(Vec::new()).await.unwrap(), []);
}

async fn hands(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let kept = put(&store, Accepted { in_hand: 1, ..accepted(tenant, at(0), &[to]) }).await.remove(0);
    // In hand: neither offered nor waiting.
    assert_eq!(take(&store, to, 9, 5).await, Taken::default());
    assert_eq!(store.heads().await.unwrap(), []);
    let waiting = put(&store, accepted(tenant, at(1), &[to])).await.remove(0);
    assert_eq!(store.heads().await.unwrap(), [LaneHead { lane: to, tenant_id: tenant, due: at(1) }]);
    assert_eq!(ids(&take(&store, to, 9, 0).await), []);
    assert_eq!(take(&store, to, 9, 0).await.next, Some(at(1)));
    let taken = take(&store, to, 9, 1).await;
    assert_eq!((ids(&taken), taken.next), (vec![waiting.id], None));
    assert_eq!(taken.due[0].delivery, waiting);
    assert_eq!(take(&store, to, 9, 1).await, Taken::default());
    // Given back it is due as before; so is one the caller kept from the start.
    store.release(vec![waiting.id, kept.id]).await.unwrap();
    let taken = take(&store, to, 1, 5).await;
    assert_eq!((ids(&taken), taken.next), (vec![kept.id], Some(at(1))));
    // A duplicate leaves nothing in hand.
    let twice = |ms| Accepted { in_hand: 1, dedupe: dedupe("k", 1, at(99)), ..accepted(tenant, at(ms), &[to]) };
    store.accept(vec![twice(2), twice(3)]).await.unwrap();
    drop(store);
    subject.crash().await;
    let store = subject.store();
    assert_eq!(take(&store, to, 9, 5).await.due.len(), 3);
}

async fn order(mut subject: impl Subject) {
    let (tenant, plain, ordered) = (TenantId::new(at(0)), lane(0), lane(7));
    let store = subject.store();
    let mut of = Vec::new();
    for to in [plain, ordered] {
        let mut two = Vec::new();
        for ms in [50, 10] {
            two.push(put(&store, accepted(tenant, at(ms), &[to])).await.remove(0).id);
        }
        of.push(two);
    }
    // By time; in an ordered lane as they were accepted, and the first holds up the second.
    assert_eq!(ids(&take(&store, plain, 9, 99).await), [of[0][1], of[0][0]]);
    let early = take(&store, ordered, 9, 20).await;
    assert_eq!((ids(&early), early.next), (vec![], Some(at(50))));
    let both = take(&store, ordered, 9, 99).await;
    assert_eq!(ids(&both), of[1]);
    // A retry keeps its place.
    let again = failed_once(both.due[0].delivery.clone(), at(200), None);
    store.settle(vec![Settled { delivery: again, attempt: None }]).await.unwrap();
    store.release(vec![of[1][1]]).await.unwrap();
    settled(&store).await;
    let held_up = take(&store, ordered, 9, 150).await;
    assert_eq!((ids(&held_up), held_up.next), (vec![], Some(at(200))));
    drop(store);
    subject.reopen().await;
    let store = subject.store();
    let third = put(&store, accepted(tenant, at(30), &[ordered])).await.remove(0).id;
    assert_eq!(ids(&take(&store, ordered, 9, 300).await), [of[1][0], of[1][1], third]);
}

async fn retries(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    put(&store, accepted(tenant, at(0), &[to])).await;
    let mut delivery = take(&store, to, 1, 0).await.due.remove(0).delivery;
    for (number, bytes) in [(1, 40_000), (2, 10), (3, 40_000)] {
        let ms = i64::from(number) * 100;
        let failed = failed_once(delivery, at(ms), Some(frozen(bytes)));
        let outcome = Outcome::Refused { status_code: 500 };
        let tried = attempt(number, at(ms - 50), outcome, Verdict::RetryAt(at(ms)));
        store.settle(vec![Settled { delivery: failed.clone(), attempt: Some(tried) }]).await.unwrap();
        // Before it is durable the lane is not called empty.
        assert_eq!(take(&store, to, 1, ms - 1).await.next, Some(at(ms)));
        settled(&store).await;
        assert_eq!(store.delivery(tenant, failed.id).await.unwrap(), Some(failed.clone()));
        assert_eq!(store.heads().await.unwrap(), [LaneHead { lane: to, tenant_id: tenant, due: at(ms) }]);
        delivery = take(&store, to, 1, ms).await.due.remove(0).delivery;
        assert_eq!(delivery, failed);
    }
    let done = Delivery { frozen: None, ..delivered(delivery, at(400)) };
    let tried = attempt(4, at(390), Outcome::Delivered, Verdict::Deliver);
    store.settle(vec![Settled { delivery: done.clone(), attempt: Some(tried) }]).await.unwrap();
    settled(&store).await;
    drop(store);
    subject.crash().await;
    let store = subject.store();
    assert_eq!(take(&store, to, 9, 9_999).await, Taken::default());
    assert_eq!(store.delivery(tenant, done.id).await.unwrap(), Some(done.clone()));
    let numbers: Vec<u32> = store.attempts(tenant, done.id).await.unwrap().iter().map(|tried| tried.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // An end of something that is not there is nothing.
    let stray = delivered(accepted(tenant, at(0), &[to]).deliveries.remove(0), at(1));
    store.settle(vec![Settled { delivery: stray.clone(), attempt: None }]).await.unwrap();
    settled(&store).await;
    assert_eq!(store.delivery(tenant, stray.id).await.unwrap(), None);
}

async fn begun(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let mut ends = Vec::new();
    for ms in 0..3 {
        let kept = Accepted { in_hand: 1, ..accepted(tenant, at(ms), &[to]) };
        ends.push(put(&store, kept).await.remove(0));
    }
    store.begin(ends[..2].to_vec()).await.unwrap();
    assert!(store.delivery(tenant, ends[0].id).await.unwrap().unwrap().begun);
    store.settle(vec![Settled { delivery: delivered(ends[0].clone(), at(5)), attempt: None }]).await.unwrap();
    settled(&store).await;
    drop(store);
    subject.crash().await;
    let store = subject.store();
    assert_eq!(store.delivery(tenant, ends[0].id).await.unwrap().unwrap().status, Status::Delivered);
    let held = store.delivery(tenant, ends[1].id).await.unwrap().unwrap();
    assert_eq!((held.status, held.begun, held.next_attempt_at), (Status::Held, false, None));
    assert!(held.reason.unwrap().starts_with("unknown: "));
    // The one that was not begun is due again, the held one is not.
    assert_eq!(ids(&take(&store, to, 9, 9).await), [ends[2].id]);
    drop(store);
    subject.crash().await;
    assert_eq!(ids(&take(&subject.store(), to, 9, 9).await), [ends[2].id]);
}

async fn by_hand(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let pending = put(&store, accepted(tenant, at(0), &[to])).await.remove(0);
    assert_eq!(store.requeue(tenant, pending.id, at(1)).await.unwrap(), Some(pending.clone()));
    let taken = take(&store, to, 1, 0).await.due.remove(0).delivery;
    // In hand: left alone.
    assert_eq!(store.cancel(tenant, pending.id, at(1)).await.unwrap(), Some(pending.clone()));
    let given_up = Delivery { status: Status::Failed, ..failed_once(taken, at(1), Some(frozen(9))) };
    let given_up = Delivery { next_attempt_at: None, finished_at: Some(at(2)), ..given_up };
    store.settle(vec![Settled { delivery: given_up.clone(), attempt: None }]).await.unwrap();
    let again = store.requeue(tenant, pending.id, at(50)).await.unwrap().unwrap();
    assert_eq!((again.status, again.trigger, &again.frozen), (Status::Pending, Trigger::Manual, &None));
    assert_eq!((again.attempt_count, again.next_attempt_at, again.finished_at), (1, Some(at(50)), None));
    drop(store);
    subject.crash().await;
    let store = subject.store();
    let taken = take(&store, to, 9, 50).await;
    assert_eq!(taken.due[0].delivery, again);
    store.release(vec![pending.id]).await.unwrap();
    let cancelled = store.cancel(tenant, pending.id, at(60)).await.unwrap().unwrap();
    assert_eq!((cancelled.status, cancelled.finished_at), (Status::Cancelled, Some(at(60))));
    assert_eq!(store.cancel(tenant, pending.id, at(61)).await.unwrap(), Some(cancelled));
    assert_eq!(take(&store, to, 9, 99).await, Taken::default());
    assert_eq!(store.cancel(tenant, DeliveryId::new(at(0)), at(61)).await.unwrap(), None);
    assert_eq!(store.requeue(tenant, DeliveryId::new(at(0)), at(61)).await.unwrap(), None);
}

/// A person does not wait for the schedule: what waits for its time is due now, and keeps its place where there is
/// order.
async fn sooner(mut subject: impl Subject) {
    let (tenant, hour) = (TenantId::new(at(0)), 3_600_000);
    for to in [lane(0), lane(7)] {
        let store = subject.store();
        put(&store, accepted(tenant, at(0), &[to])).await;
        let taken = take(&store, to, 1, 0).await.due.remove(0).delivery;
        let waits = failed_once(taken, at(hour), Some(frozen(9)));
        store.settle(vec![Settled { delivery: waits.clone(), attempt: None }]).await.unwrap();
        settled(&store).await;
        let other = put(&store, accepted(tenant, at(60), &[to])).await.remove(0);
        let due = Delivery {
            trigger: Trigger::Manual,
            reason: None,
            next_attempt_at: Some(at(50)),
            frozen: None,
            ..waits.clone()
        };
        assert_eq!(store.requeue(tenant, waits.id, at(50)).await.unwrap(), Some(due.clone()));
        assert_eq!(store.requeue(tenant, waits.id, at(55)).await.unwrap(), Some(due.clone()), "it is due already");
        drop(store);
        subject.crash().await;
        let store = subject.store();
        assert_eq!(store.heads().await.unwrap(), [LaneHead { lane: to, tenant_id: tenant, due: at(50) }]);
        assert_eq!(take(&store, to, 9, 49).await, Taken { due: Vec::new(), next: Some(at(50)) });
        let taken = take(&store, to, 9, 70).await;
        assert_eq!(taken.due.iter().map(|due| &due.delivery).collect::<Vec<_>>(), [&due, &other]);
        assert_eq!(store.requeue(tenant, waits.id, at(hour)).await.unwrap(), Some(due.clone()), "it is in hand");
        let ends = [due, other].map(|delivery| Settled { delivery: delivered(delivery, at(80)), attempt: None });
        store.settle(ends.to_vec()).await.unwrap();
        settled(&store).await;
        assert_eq!(take(&store, to, 9, 2 * hour).await, Taken::default());
        assert_eq!(store.heads().await.unwrap(), []);
    }
    // Also one that has no row of its own yet, alone and in a large fan-out.
    for (count, key) in [(1, 0), (1, 7), (70, 0), (70, 7)] {
        let lanes: Vec<Lane> = (0..count).map(|_| lane(key)).collect();
        let mut sent = accepted(tenant, at(0), &lanes);
        sent.deliveries.iter_mut().for_each(|delivery| delivery.next_attempt_at = Some(at(hour)));
        let store = subject.store();
        let first = put(&store, sent).await.remove(0);
        assert_eq!(take(&store, lanes[0], 9, 50).await, Taken { due: Vec::new(), next: Some(at(hour)) });
        store.requeue(tenant, first.id, at(50)).await.unwrap();
        let taken = take(&store, lanes[0], 9, 50).await.due.remove(0).delivery;
        assert_eq!((taken.id, taken.next_attempt_at), (first.id, Some(at(50))));
        store.settle(vec![Settled { delivery: delivered(taken, at(60)), attempt: None }]).await.unwrap();
        settled(&store).await;
        assert_eq!(take(&store, lanes[0], 9, 2 * hour).await, Taken::default());
    }
}

/// What the endpoint once took stays delivered, whatever becomes of it when a person asks for it again.
async fn delivered_before(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let failed = |delivery: Delivery, ms| Settled {
        delivery: Delivery {
            status: Status::Failed,
            next_attempt_at: None,
            finished_at: Some(at(ms)),
            ..failed_once(delivery, at(ms), None)
        },
        attempt: Some(attempt(2, at(ms), Outcome::Refused { status_code: 500 }, Verdict::GiveUp)),
    };
    for arrived in [true, false] {
        let store = subject.store();
        put(&store, accepted(tenant, at(0), &[to])).await;
        let first = take(&store, to, 1, 0).await.due.remove(0).delivery;
        let tried = attempt(1, at(1), Outcome::Delivered, Verdict::Deliver);
        let because = tried.because.clone();
        let end = if arrived {
            Settled { delivery: delivered(first, at(1)), attempt: Some(tried) }
        } else {
            Settled { attempt: None, ..failed(first, 1) }
        };
        let id = end.delivery.id;
        store.settle(vec![end]).await.unwrap();
        settled(&store).await;
        assert_eq!(store.requeue(tenant, id, at(10)).await.unwrap().unwrap().status, Status::Pending);
        let again = take(&store, to, 1, 10).await.due.remove(0).delivery;
        store.settle(vec![failed(again, 11)]).await.unwrap();
        settled(&store).await;
        drop(store);
        subject.crash().await;
        let store = subject.store();
        let end = store.delivery(tenant, id).await.unwrap().unwrap();
        let wanted = if arrived {
            (Status::Delivered, Some(because))
        } else {
            (Status::Failed, Some("the endpoint answered 500".to_owned()))
        };
        assert_eq!((end.status, end.reason), wanted);
        assert_eq!((end.attempt_count, end.finished_at, end.last_status_code), (2, Some(at(11)), Some(500)));
        let last = store.attempts(tenant, id).await.unwrap().pop().unwrap();
        assert_eq!((last.number, last.verdict), (2, Verdict::GiveUp), "what came of it is shown");
        assert_eq!(take(&store, to, 9, 9_999).await, Taken::default());
    }
}

/// It is told whether somebody did not want it any more, or nobody was left to send it to.
async fn cancelled(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let mut owed = Vec::new();
    for ms in 0..2 {
        owed.push(put(&store, accepted(tenant, at(ms), &[to])).await.remove(0).id);
    }
    let record = Record::Subscription(subscription(tenant, to.subscription_id));
    let key = record.key();
    store.configure(vec![record], Vec::new()).await.unwrap();
    let end = store.cancel(tenant, owed[0], at(5)).await.unwrap().unwrap();
    assert_eq!((end.status, end.reason.as_deref()), (Status::Cancelled, Some("cancelled by a person")));
    store.configure(Vec::new(), vec![key]).await.unwrap();
    drop(store);
    subject.crash().await;
    let end = subject.store().cancel(tenant, owed[1], at(6)).await.unwrap().unwrap();
    assert_eq!((end.status, end.reason.as_deref()), (Status::Cancelled, Some("its subscription was deleted")));
}

/// An event owed to a thousand is accepted as one and offered to all, in whatever part of the writing out the
/// process ends.
async fn fan_out(mut subject: impl Subject) {
    let tenant = TenantId::new(at(0));
    let lanes: Vec<Lane> = (0..1_000).map(|_| lane(0)).collect();
    let fan = Accepted { in_hand: 2, ..accepted(tenant, at(0), &lanes) };
    let event = fan.event.id;
    let deliveries = put(&subject.store(), fan).await;
    let store = subject.store();
    // One that the caller kept ends before it can have been written out.
    store.settle(vec![Settled { delivery: delivered(deliveries[0].clone(), at(1)), attempt: None }]).await.unwrap();
    settled(&store).await;
    assert_eq!(store.heads().await.unwrap().len(), 998);
    drop(store);
    for round in 0..2 {
        subject.crash().await;
        let store = subject.store();
        assert_eq!(store.event(tenant, event).await.unwrap().unwrap().deliveries, 1_000);
        let first = store.delivery(tenant, deliveries[0].id).await.unwrap().unwrap();
        assert_eq!(first.status, Status::Delivered, "round {round}");
        let wanted: Vec<_> = lanes.iter().map(|lane| (*lane, 9)).collect();
        let taken = store.take(&wanted, at(1)).await.unwrap();
        let offered: Vec<_> = taken.iter().flat_map(ids).collect();
        let owed: Vec<_> = deliveries[1..].iter().map(|delivery| delivery.id).collect();
        assert_eq!(offered, owed, "round {round}");
    }
    let store = subject.store();
    let ends = deliveries[1..].iter().map(|d| Settled { delivery: delivered(d.clone(), at(2)), attempt: None });
    store.settle(ends.collect()).await.unwrap();
    settled(&store).await;
    drop(store);
    subject.reopen().await;
    assert_eq!(subject.store().heads().await.unwrap(), []);
}

async fn large(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let data = format!("\"{}\"", "x".repeat(300_000));
    let big = accepted_with(tenant, at(0), &[to], &data);
    let event = Arc::clone(&big.event);
    put(&subject.store(), big).await;
    subject.crash().await;
    let store = subject.store();
    assert_eq!(store.event(tenant, event.id).await.unwrap().unwrap().event, event);
    let taken = take(&store, to, 1, 0).await.due.remove(0);
    assert_eq!(taken.event, event);
    let mut tried = attempt(1, at(1), Outcome::Delivered, Verdict::Deliver);
    if let Some(request) = &mut tried.request {
        request.body = Some(vec![b'y'; 100_000]);
    }
    let end = Settled { delivery: delivered(taken.delivery.clone(), at(1)), attempt: Some(tried.clone()) };
    store.settle(vec![end]).await.unwrap();
    settled(&store).await;
    assert_eq!(store.attempts(tenant, taken.delivery.id).await.unwrap(), [tried]);
    assert_eq!(store.prune(at(1), at(9), 9).await.unwrap().events, 1);
    assert_eq!(store.event(tenant, event.id).await.unwrap(), None);
    assert_eq!(store.attempts(tenant, taken.delivery.id).await.unwrap(), []);
}

async fn tenants(mut subject: impl Subject) {
    let (mine, theirs, to) = (TenantId::new(at(0)), TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let sent = accepted(mine, at(0), &[to]);
    let event = sent.event.id;
    let delivery = put(&store, sent).await.remove(0).id;
    assert_eq!(store.event(theirs, event).await.unwrap(), None);
    assert_eq!(store.delivery(theirs, delivery).await.unwrap(), None);
    assert_eq!(store.requeue(theirs, delivery, at(1)).await.unwrap(), None);
    assert_eq!(store.cancel(theirs, delivery, at(1)).await.unwrap(), None);
    assert_eq!(store.attempts(theirs, delivery).await.unwrap(), []);
    assert_eq!(store.events(theirs, &EventFilter::default(), 9, None).await.unwrap().items, []);
    let of_event = DeliveryFilter { event_id: Some(event), ..DeliveryFilter::default() };
    assert_eq!(store.deliveries(theirs, &of_event, 9, None).await.unwrap().items, []);
    // A tenant goes with all it owns, at once for whoever looks, and for good.
    put(&store, accepted(theirs, at(0), &[lane(0)])).await;
    store.configure(Vec::new(), vec![RecordKey::Tenant(mine)]).await.unwrap();
    for _ in 0..2 {
        let store = subject.store();
        assert_eq!(store.event(mine, event).await.unwrap(), None);
        assert_eq!(store.delivery(mine, delivery).await.unwrap(), None);
        assert_eq!(take(&store, to, 9, 9).await, Taken::default());
        assert_eq!(store.heads().await.unwrap().len(), 1);
        while store.prune(at(-1), at(9), 9).await.unwrap().more {}
        subject.crash().await;
    }
}

async fn configuration(mut subject: impl Subject) {
    let (tenant, other) = (TenantId::new(at(0)), TenantId::new(at(1)));
    let record = |id, name: &str| {
        let limits = TenantLimits::default();
        let metadata = serde_json::Map::new();
        Record::Tenant(Tenant {
            id,
            uid: None,
            profile: None,
            name: name.to_owned(),
            metadata,
            limits,
            created_at: at(0),
        })
    };
    let key = |of| {
        let (id, role, hash) = (KeyId::new(at(0)), Role::Admin, [5; 32]);
        Record::Key(ApiKey { id, tenant_id: of, role, name: None, hash, created_at: at(0), expires_at: None })
    };
    let entry = |of| {
        Record::EventType(CatalogueEntry {
            tenant_id: of,
            name: EventType::parse("com.example/a:b").unwrap(),
            title: "A".to_owned(),
            description: None,
            samples: vec![Sample { name: "one".to_owned(), data: "{\"n\": 1.0}".to_owned() }],
            schema: Some(serde_json::json!({"type": "object"})),
            enforce: Enforce::Warn,
            created_at: at(0),
            updated_at: at(1),
        })
    };
    let seen = |of| {
        let name = EventType::parse("a").unwrap();
        Record::Seen(SeenTypes { tenant_id: of, types: vec![SeenType { name, count: 3, last_seen_at: at(4) }] })
    };
    let source_id = SourceId::new(at(0));
    let refusals = |of, count: usize| {
        let refused = Refused {
            at: at(5),
            count: 2,
            method: "POST".to_owned(),
            status_code: 401,
            reason: "bad-signature".to_owned(),
            detail: "no signature matched".to_owned(),
            header: Some("x-a".to_owned()),
            body_size: Some(3),
            content_type: None,
            remote_address: Some(std::net::Ipv6Addr::LOCALHOST.into()),
        };
        Record::Refusals(SourceRefusals { tenant_id: of, source_id, refused: vec![refused; count] })
    };
    let setting = |bytes: usize| Record::Setting("plugin:redact".to_owned(), vec![3; bytes]);
    let (operators, mine, theirs) = (key(None), key(Some(tenant)), key(Some(other)));
    let store = subject.store();
    let puts = vec![record(tenant, "a"), record(other, "b"), operators.clone(), mine, theirs.clone(), setting(300_000)];
    store.configure(puts, Vec::new()).await.unwrap();
    let types = [tenant, other].map(|of| [entry(of), seen(of), Record::Replay(replay(of)), refusals(of, 100)]).concat();
    let replayed = types[6].clone();
    store.configure(types, Vec::new()).await.unwrap();
    store.configure(vec![record(other, "c"), setting(70_000), refusals(other, 99)], Vec::new()).await.unwrap();
    store.configure(Vec::new(), vec![RecordKey::Tenant(tenant)]).await.unwrap();
    drop(store);
    subject.crash().await;
    let left = [entry(other), seen(other), replayed, refusals(other, 99)];
    let mut expected = [[record(other, "c"), operators, theirs, setting(70_000)], left].concat();
    let mut found = subject.store().configuration().await.unwrap();
    expected.sort_by_key(Record::key);
    found.sort_by_key(Record::key);
    assert_eq!(found, expected);
    subject.store().configure(Vec::new(), vec![RecordKey::Refusals(other, source_id)]).await.unwrap();
    subject.crash().await;
    let found = subject.store().configuration().await.unwrap();
    assert_eq!(found.len(), expected.len() - 1);
    assert!(!found.iter().any(|record| matches!(record, Record::Refusals(_))));
}

/// Plugins come with their bytes, and go with them.
async fn plugins(mut subject: impl Subject) {
    let (tenant, other) = (TenantId::new(at(0)), TenantId::new(at(1)));
    let mut kept = Vec::new();
    for (of, size) in [(tenant, 0), (tenant, 1), (tenant, 6_143), (tenant, 6_144), (tenant, 300_000), (other, 70_000)] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
        let version = plugin_version(of, &bytes);
        subject.store().keep_plugin(version.clone(), &bytes).await.unwrap();
        kept.push((version, bytes));
    }
    for _ in 0..2 {
        let store = subject.store();
        for (version, bytes) in &kept {
            let found = store.component(version.tenant_id, version.id).await.unwrap();
            assert!(found.as_ref() == Some(bytes), "{} bytes", bytes.len());
            let stranger = if version.tenant_id == tenant { other } else { tenant };
            assert_eq!(store.component(stranger, version.id).await.unwrap(), None);
            assert!(store.configuration().await.unwrap().contains(&Record::Plugin(version.clone())));
        }
        subject.crash().await;
    }
    let (gone, rest) = kept.split_at(5);
    let store = subject.store();
    let id = gone[4].0.id;
    store.configure(Vec::new(), vec![RecordKey::Plugin(other, id)]).await.unwrap();
    assert!(store.component(tenant, id).await.unwrap().is_some(), "another tenant's name for it names nothing");
    store.configure(Vec::new(), vec![RecordKey::Plugin(tenant, id)]).await.unwrap();
    assert_eq!(store.component(tenant, id).await.unwrap(), None);
    store.configure(Vec::new(), vec![RecordKey::Tenant(tenant)]).await.unwrap();
    while store.prune(at(-1), at(9), 9).await.unwrap().more {}
    drop(store);
    subject.crash().await;
    let store = subject.store();
    for (version, _) in gone {
        assert_eq!(store.component(tenant, version.id).await.unwrap(), None);
    }
    let left: Vec<_> = rest.iter().map(|(version, _)| Record::Plugin(version.clone())).collect();
    assert_eq!(store.configuration().await.unwrap(), left);
    assert!(store.component(other, rest[0].0.id).await.unwrap().as_ref() == Some(&rest[0].1));
}

async fn lists(subject: impl Subject) {
    let (tenant, to, other) = (TenantId::new(at(0)), lane(0), lane(0));
    let store = subject.store();
    let mut events = Vec::new();
    let mut deliveries = Vec::new();
    for ms in 0..7 {
        let lanes = if ms % 2 == 0 { vec![to, other] } else { Vec::new() };
        let sent = accepted(tenant, at(ms), &lanes);
        events.insert(0, sent.event.id);
        put(&store, sent).await.into_iter().for_each(|delivery| deliveries.insert(0, delivery.id));
    }
    let mut seen: Vec<EventId> = Vec::new();
    let mut after = None;
    loop {
        let page = store.events(tenant, &EventFilter::default(), 3, after).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|stored| stored.event.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, events);
    let unmatched = EventFilter { matched: Some(false), since: Some(at(2)), ..EventFilter::default() };
    let page = store.events(tenant, &unmatched, 9, None).await.unwrap();
    assert_eq!(page.items.iter().map(|stored| stored.event.id).collect::<Vec<_>>(), [events[1], events[3]]);
    let all = store.deliveries(tenant, &DeliveryFilter::default(), 99, None).await.unwrap();
    assert_eq!(all.items.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), deliveries);
    let filter = DeliveryFilter { subscription_id: Some(to.subscription_id), ..DeliveryFilter::default() };
    assert_eq!(store.deliveries(tenant, &filter, 99, None).await.unwrap().items.len(), 4);
    let filter = DeliveryFilter { event_id: Some(events[0]), ..DeliveryFilter::default() };
    let first = store.deliveries(tenant, &filter, 1, None).await.unwrap();
    assert_eq!((first.items[0].id, first.next), (deliveries[0], Some(deliveries[0])));
    let second = store.deliveries(tenant, &filter, 1, first.next).await.unwrap();
    assert_eq!((second.items[0].id, second.next), (deliveries[1], None));
}

async fn spans(subject: impl Subject) {
    let (tenant, other) = (TenantId::new(at(0)), TenantId::new(at(0)));
    let store = subject.store();
    let mut events = Vec::new();
    for ms in 0..7 {
        let sent = accepted(tenant, at(ms), &[]);
        events.push(sent.event.id);
        put(&store, sent).await;
        put(&store, accepted(other, at(ms), &[])).await;
    }
    for (since, until, wanted) in [(0, 99, 0..7), (2, 5, 2..5), (6, 7, 6..7), (7, 99, 7..7), (5, 2, 0..0)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.events_between(tenant, (at(since), at(until)), 2, after).await.unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items.iter().map(|stored| stored.event.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, events[wanted], "{since}..{until}");
    }
    // A page of large ones ends early.
    let data = format!("\"{}\"", "x".repeat(700_000));
    for ms in [100, 101, 102] {
        put(&store, accepted_with(tenant, at(ms), &[], &data)).await;
    }
    let page = store.events_between(tenant, (at(100), at(200)), 9, None).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (2, true));
}

async fn replays(mut subject: impl Subject) {
    let (tenant, to, new) = (TenantId::new(at(0)), lane(0), lane(7));
    let store = subject.store();
    let mut events = Vec::new();
    for (ms, lanes) in [(0, vec![to]), (1, vec![]), (2, vec![to]), (3, vec![to])] {
        let sent = accepted(tenant, at(ms), &lanes);
        events.push(Arc::clone(&sent.event));
        put(&store, sent).await;
    }
    let taken: Vec<_> = take(&store, to, 9, 5).await.due.into_iter().map(|due| due.delivery).collect();
    let failed = Delivery { status: Status::Failed, ..failed_once(taken[1].clone(), at(6), Some(frozen(9))) };
    let failed = Delivery { next_attempt_at: None, finished_at: Some(at(6)), ..failed };
    let ends = [delivered(taken[0].clone(), at(6)), failed.clone()];
    store.settle(ends.map(|delivery| Settled { delivery, attempt: None }).to_vec()).await.unwrap();
    settled(&store).await;

    let made = |event: usize| Delivery {
        trigger: Trigger::Replay,
        fresh_id: true,
        created_at: at(50),
        next_attempt_at: Some(at(50)),
        ..owed(&events[event], new)
    };
    // Of an event that is not there; and again of one that was delivered, is in hand, or never was.
    let stray = Delivery { event_id: EventId::new(at(9)), ..made(0) };
    let add = vec![made(0), stray, made(1)];
    let again = [&taken[0], &taken[1], &taken[2]].map(|one| one.id).into_iter().chain([DeliveryId::new(at(0))]);
    let step = ReplayStep { replay: replay(tenant), add: add.clone(), again: again.collect(), now: at(50) };
    let done = store.replay(step.clone()).await.unwrap();
    assert_eq!(done.replay.deliveries_made, step.replay.deliveries_made + 3);
    assert_eq!(done.due, [(new, at(50)), (new, at(50)), (to, at(50))]);
    drop(store);
    subject.crash().await;
    let store = subject.store();
    assert!(store.configuration().await.unwrap().contains(&Record::Replay(done.replay)));
    let offered = take(&store, new, 9, 50).await;
    assert_eq!(offered.due.iter().map(|due| &due.delivery).collect::<Vec<_>>(), [&add[0], &add[2]]);
    assert_eq!(offered.due[1].event, events[1]);
    let again = store.delivery(tenant, failed.id).await.unwrap().unwrap();
    assert_eq!((again.status, again.trigger, again.fresh_id), (Status::Pending, Trigger::Replay, true));
    assert_eq!((&again.frozen, again.attempt_count, again.next_attempt_at), (&None, 1, Some(at(50))));
    // The event knows what was added to it; to whom it was owed at first stays.
    let of_first = DeliveryFilter { event_id: Some(events[0].id), ..DeliveryFilter::default() };
    let of_first = store.deliveries(tenant, &of_first, 9, None).await.unwrap().items;
    assert_eq!(of_first.iter().map(|one| one.id).collect::<Vec<_>>(), [add[0].id, taken[0].id]);
    assert_eq!(store.event(tenant, events[1].id).await.unwrap().unwrap().deliveries, 0);
    let unmatched = EventFilter { matched: Some(false), ..EventFilter::default() };
    assert_eq!(store.events(tenant, &unmatched, 9, None).await.unwrap().items.len(), 1);
}

/// Retention takes what replays have added like everything else; a tenant that is gone has no replays.
async fn replays_of_what_goes(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let sent = accepted(tenant, at(0), &[]);
    let event = Arc::clone(&sent.event);
    put(&store, sent).await;
    let added = owed(&event, to);
    let step = ReplayStep { replay: replay(tenant), add: vec![added.clone()], again: Vec::new(), now: at(5) };
    store.replay(step.clone()).await.unwrap();
    // Open: handed out, and not past it.
    let expired = store.prune(at(1), at(10), 9).await.unwrap();
    assert_eq!((expired.events, expired.expired.len()), (0, 1));
    assert_eq!(expired.expired[0].delivery, added);
    store.settle(vec![Settled { delivery: delivered(added.clone(), at(11)), attempt: None }]).await.unwrap();
    settled(&store).await;
    assert_eq!(store.prune(at(1), at(20), 9).await.unwrap().events, 1);
    assert_eq!(store.replay(step.clone()).await.unwrap().due, [], "the event has gone");
    assert_eq!(store.delivery(tenant, added.id).await.unwrap(), None);
    store.configure(Vec::new(), vec![RecordKey::Tenant(tenant)]).await.unwrap();
    store.replay(step).await.unwrap();
    drop(store);
    subject.reopen().await;
    let store = subject.store();
    assert_eq!(store.configuration().await.unwrap(), []);
    assert_eq!(store.heads().await.unwrap(), []);
}

async fn retention(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let mut all = Vec::new();
    for ms in 0..6 {
        let sent = Accepted { dedupe: dedupe(&format!("k{ms}"), 1, at(100)), ..accepted(tenant, at(ms), &[to]) };
        all.push((sent.event.id, put(&store, sent).await.remove(0)));
    }
    let end = |number: usize| {
        let delivery: &Delivery = &all[number].1;
        let tried = attempt(1, at(7), Outcome::Delivered, Verdict::Deliver);
        Settled { delivery: delivered(delivery.clone(), at(7)), attempt: Some(tried) }
    };
    store.settle(vec![end(0), end(1), end(3)]).await.unwrap();
    settled(&store).await;
    let step = store.prune(at(5), at(10), 1).await.unwrap();
    assert_eq!((step.events, step.expired.len(), step.more), (1, 0, true));
    // Not past the oldest open one, which is handed out, once.
    let step = store.prune(at(5), at(10), 99).await.unwrap();
    assert_eq!((step.events, step.expired.len()), (1, 1));
    assert_eq!(step.expired[0].delivery, all[2].1);
    assert_eq!(ids(&take(&store, to, 9, 99).await), [all[4].1.id, all[5].1.id]);
    let step = store.prune(at(5), at(10), 99).await.unwrap();
    assert_eq!((step.events, step.expired.len()), (0, 0));
    let expired = Delivery { status: Status::Failed, next_attempt_at: None, ..all[2].1.clone() };
    store.settle(vec![Settled { delivery: expired, attempt: None }, end(4)]).await.unwrap();
    settled(&store).await;
    assert_eq!(store.prune(at(5), at(10), 99).await.unwrap().events, 3);
    drop(store);
    subject.crash().await;
    let store = subject.store();
    for (number, (event, delivery)) in all.iter().enumerate() {
        let kept = number == 5;
        assert_eq!(store.event(tenant, *event).await.unwrap().is_some(), kept);
        assert_eq!(store.delivery(tenant, delivery.id).await.unwrap().is_some(), kept);
        assert_eq!(store.attempts(tenant, delivery.id).await.unwrap(), []);
    }
    // A client's id outlives its event; it goes when its own time is over.
    let again = |ms| Accepted { dedupe: dedupe("k0", 1, at(999)), ..accepted(tenant, at(ms), &[to]) };
    let receipt = store.accept(vec![again(50)]).await.unwrap().remove(0);
    assert_eq!(receipt, Receipt::Duplicate { event_id: all[0].0, deliveries: 1 });
    store.prune(at(0), at(100), 99).await.unwrap();
    assert_eq!(store.accept(vec![again(60)]).await.unwrap(), [Receipt::Stored]);
}

async fn closing(mut subject: impl Subject) {
    let (tenant, to) = (TenantId::new(at(0)), lane(0));
    let store = subject.store();
    let mut taken = put(&store, Accepted { in_hand: 1, ..accepted(tenant, at(0), &[to]) }).await;
    let end = Settled { delivery: delivered(taken.remove(0), at(1)), attempt: None };
    store.settle(vec![end.clone()]).await.unwrap();
    store.close().await.unwrap();
    assert!(store.accept(vec![accepted(tenant, at(1), &[to])]).await.is_err());
    assert!(store.settle(vec![end]).await.is_err());
    assert!(store.heads().await.is_err());
    drop(store);
    subject.reopen().await;
    assert_eq!(subject.store().heads().await.unwrap(), []);
}

struct Memory(MemoryStore);

#[async_trait]
impl Subject for Memory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    async fn reopen(&mut self) {
        self.0 = self.0.reopen();
    }

    async fn crash(&mut self) {
        self.0 = self.0.reopen();
    }
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    suite(async || Memory(MemoryStore::new())).await;
}
