//! The lanes by tables: no store, no clock and no endpoint.

use super::*;
use crate::domain::{EventId, EventType, Status, SubscriptionId, Trigger};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
}

fn limits() -> Limits {
    Limits {
        in_flight: 8,
        in_flight_per_endpoint: 4,
        in_flight_per_host: 4,
        waiting_bytes: 1 << 20,
        waiting_per_lane: 100,
        breaker_timeouts: 2,
        breaker_rest: Duration::from_secs(30),
        events_per_second: 0,
        dedupe_window: Duration::from_secs(1),
        retention: Duration::from_secs(1),
        shadow_waiting: 4,
        shadow_bytes: 1 << 20,
        measure_tenants: false,
    }
}

fn work(lane: Lane, tenant: TenantId) -> Work {
    let event = Event {
        id: EventId::new(at(0)),
        tenant_id: tenant,
        external_id: None,
        event_type: EventType::parse("a").unwrap(),
        source_id: None,
        source: None,
        timestamp: at(0),
        received_at: at(0),
        data: "1".into(),
        attributes: vec![],
    };
    let delivery = Delivery {
        id: DeliveryId::new(at(0)),
        tenant_id: tenant,
        event_id: event.id,
        event_type: event.event_type.clone(),
        subscription_id: lane.subscription_id,
        revision: 1,
        lane,
        status: Status::Pending,
        reason: None,
        trigger: Trigger::Automatic,
        attempt_count: 0,
        created_at: at(0),
        next_attempt_at: Some(at(0)),
        finished_at: None,
        last_status_code: None,
        frozen: None,
        begun: false,
        fresh_id: false,
    };
    Work::new(delivery, Arc::new(event))
}

fn put(lanes: &Lanes, lane: Lane, tenant: TenantId, count: usize) {
    for _ in 0..count {
        let work = work(lane, tenant);
        assert!(lanes.reserve(lane, tenant, work.event.weight(), at(0)).0);
        lanes.put([work]);
    }
}

fn lane() -> Lane {
    Lane::of(SubscriptionId::new(at(0)))
}

fn open(_: Lane, _: TenantId) -> Permit {
    Permit { sends: Sends::Yes, rate: None, host: None, not_before: None }
}

#[test]
fn one_endpoint_has_only_so_many_and_the_next_follows_an_end() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 6);
    let first = lanes.next(at(0), open).start;
    assert_eq!(first.len(), 4);
    assert!(lanes.next(at(0), open).start.is_empty());
    lanes.ended(&first[0], End::Answered, at(1));
    assert_eq!(lanes.next(at(1), open).start.len(), 1);
    assert_eq!(lanes.under_way(), 4);
}

#[test]
fn a_lane_is_behind_while_something_due_is_in_the_store() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    assert!(!lanes.is_behind(lane, None, at(0)), "nothing is known of it");
    lanes.note_due(lane, tenant, at(10));
    assert!(!lanes.is_behind(lane, None, at(9)) && lanes.is_behind(lane, None, at(10)));
    put(&lanes, lane, tenant, 1);
    let tried = lanes.next(at(5), open).start.remove(0);
    lanes.ended(&tried, End::LeaveAlone { until: at(20), host: false }, at(6));
    assert!(!lanes.is_behind(lane, None, at(19)), "what wants to be left alone is waited for by nobody");
    assert!(lanes.is_behind(lane, None, at(20)));
    lanes.loaded(lane, Some(Taken::default()), at(20));
    assert!(!lanes.is_behind(lane, None, at(20)));
}

#[test]
fn a_tenant_with_much_leaves_room_for_one_with_little() {
    let lanes = Lanes::new(&Limits { in_flight: 16, ..limits() }, vec![]);
    let (busy, quiet) = (TenantId::new(at(0)), TenantId::new(at(0)));
    for _ in 0..10 {
        put(&lanes, lane(), busy, 10);
    }
    put(&lanes, lane(), quiet, 3);
    let started = lanes.next(at(0), open).start;
    let of = |tenant| started.iter().filter(|work| work.delivery.tenant_id == tenant).count();
    assert_eq!((of(quiet), of(busy)), (3, 7), "the quiet one has its three, the busy one as many as are free");
}

#[test]
fn who_has_many_waiting_starts_few_at_a_time_while_others_are_there() {
    let lanes = Lanes::new(&Limits { in_flight: 1000, waiting_bytes: 1 << 30, ..limits() }, vec![]);
    let (busy, quiet) = (TenantId::new(at(0)), TenantId::new(at(0)));
    for _ in 0..MANY + 100 {
        put(&lanes, lane(), busy, 1);
    }
    let alone = lanes.next(at(0), open).start;
    assert_eq!(alone.len(), UNBEGUN);
    assert!(alone.iter().all(|work| work.held_back.is_none()));
    alone.iter().for_each(|_| _ = lanes.begun(busy, Prospect::Fair));
    put(&lanes, lane(), quiet, 3);
    let of = |started: &[Work], tenant| started.iter().filter(|work| work.delivery.tenant_id == tenant).count();
    let beside = lanes.next(at(1), open).start;
    assert_eq!(of(&beside, quiet), 3);
    beside.iter().for_each(|work| _ = lanes.begun(work.delivery.tenant_id, work.prospect));
    let few = lanes.next(at(2), open).start;
    assert_eq!(few.len(), UNBEGUN_HELD_BACK as usize);
    assert!(few.iter().all(|work| work.held_back == Some(HeldBack::HasMost)));
    few.iter().for_each(|_| _ = lanes.begun(busy, Prospect::Fair));
    assert_eq!(lanes.next(at(2 + 1_000), open).start.len(), UNBEGUN, "the other has gone");
}

#[test]
fn a_tenant_starts_no_more_than_the_processor_keeps_up_with() {
    let lanes = Lanes::new(&Limits { in_flight: 1000, in_flight_per_endpoint: 1000, ..limits() }, vec![]);
    let (lane, tenant) = (lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 100);
    assert_eq!(lanes.next(at(0), open).start.len(), UNBEGUN);
    assert_eq!(lanes.next(at(0), open).start.len(), 0);
    let told = (0..UNBEGUN).filter(|_| lanes.begun(tenant, Prospect::Fair)).count();
    assert_eq!(told, 2, "when half of them have begun, and all");
    assert_eq!(lanes.next(at(0), open).start.len(), UNBEGUN);
}

#[test]
fn whoever_comes_next_finds_room_though_nothing_has_ended() {
    let lanes = Lanes::new(&Limits { in_flight: 16, waiting_bytes: 20 * (400 + ENTRY), ..limits() }, vec![]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        let tenant = TenantId::new(at(0));
        let mut waiting = 0;
        for _ in 0..20 {
            waiting += usize::from(lanes.reserve(lane(), tenant, 400, at(0)).0);
        }
        counts.push(waiting);
    }
    assert_eq!(counts, [10, 5, 3], "of 20 that fit into memory");
    let mut counts = Vec::new();
    let lanes = Lanes::new(&Limits { in_flight: 16, ..limits() }, vec![]);
    for _ in 0..3 {
        let tenant = TenantId::new(at(0));
        for _ in 0..20 {
            put(&lanes, lane(), tenant, 1);
        }
        counts.push(lanes.next(at(0), open).start.len());
    }
    assert_eq!(counts, [8, 4, 2], "of 16 that may be under way");
}

#[test]
fn a_lane_waits_for_its_tenants_processor_time_and_no_other_does() {
    let (lanes, burner, other) = (Lanes::new(&limits(), vec![]), TenantId::new(at(0)), TenantId::new(at(0)));
    put(&lanes, lane(), burner, 1);
    put(&lanes, lane(), other, 1);
    let permit = |lane: Lane, tenant: TenantId| Permit {
        not_before: (tenant == burner).then(|| at(1000)),
        ..open(lane, tenant)
    };
    let started = lanes.next(at(0), permit).start;
    assert_eq!(started.iter().map(|work| work.delivery.tenant_id).collect::<Vec<_>>(), [other]);
    assert_eq!((lanes.first_timer(), lanes.pending()), (Some(at(1000)), 2), "it waits in memory");
    lanes.wake(at(1000));
    assert_eq!(lanes.next(at(1000), permit).start.len(), 1);
}

#[test]
fn a_lane_that_may_not_send_waits_until_it_changes() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 1);
    let closed = |lane, tenant| Permit { sends: Sends::No, ..open(lane, tenant) };
    let todo = lanes.next(at(0), closed);
    assert_eq!((todo.start.len(), todo.back.len()), (0, 1), "it waits in the store");
    assert_eq!(lanes.pending(), 0);
    assert!(lanes.next(at(0), open).start.is_empty(), "nobody asked for it again");
    lanes.note_due(lane, tenant, at(1));
    lanes.wake(at(1));
    assert_eq!(lanes.next(at(1), open).load.len(), 1);
}

#[test]
fn a_rate_is_kept_in_every_window() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 5);
    let rate = Some(RateLimit { per: Duration::from_secs(1), max: 2 });
    let limited = |lane, tenant| Permit { rate, ..open(lane, tenant) };
    let mut sent = Vec::new();
    for millis in (0..3000).step_by(100) {
        lanes.wake(at(millis));
        for work in lanes.next(at(millis), limited).start {
            sent.push(millis);
            lanes.ended(&work, End::Answered, at(millis));
        }
    }
    assert_eq!(sent, [0, 0, 1000, 1000, 2000]);
}

#[test]
fn an_endpoint_that_times_out_is_left_alone_then_tried_by_one() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 10);
    let first = lanes.next(at(0), open).start;
    first.iter().for_each(|work| lanes.ended(work, End::TimedOut, at(0)));
    assert!(lanes.next(at(0), open).start.is_empty());
    assert_eq!(lanes.first_timer(), Some(at(30_000)), "those that were under way are of the same time");
    let again = at(30_000);
    lanes.wake(again);
    let probe = lanes.next(again, open).start;
    assert_eq!(probe.len(), 1);
    lanes.ended(&probe[0], End::TimedOut, again);
    assert!(lanes.next(again, open).start.is_empty());
    assert_eq!(lanes.first_timer(), Some(at(30_000 + 60_000)), "twice as long");
    let later = at(90_000);
    lanes.wake(later);
    let probe = lanes.next(later, open).start;
    assert_eq!(probe.len(), 1);
    lanes.ended(&probe[0], End::Answered, later);
    assert_eq!(lanes.next(later, open).start.len(), 4);
}

/// Lanes with a tenant whose attempts mostly come to nothing, in this lane of it, and another tenant that is there.
fn failing(limits: Limits) -> (Lanes, TenantId, Lane) {
    let lanes = Lanes::new(&limits, vec![]);
    let (failing, lane_of_failing, other) = (TenantId::new(at(0)), lane(), TenantId::new(at(0)));
    put(&lanes, lane_of_failing, failing, 40);
    let counts = [0; 3].map(|_| end_all(&lanes, End::Faulted).len());
    // One was queued before it was known.
    assert_eq!(counts, [UNBEGUN, 1 + UNBEGUN, 7], "nobody else is there");
    put(&lanes, lane(), other, 1);
    end_all(&lanes, End::Answered);
    (lanes, failing, lane_of_failing)
}

/// Starts what may be, and has all of it end so.
fn end_all(lanes: &Lanes, end: End) -> Vec<Work> {
    let started = lanes.next(at(0), open).start;
    started.iter().for_each(|work| _ = lanes.begun(work.delivery.tenant_id, work.prospect));
    started.iter().for_each(|work| lanes.ended(work, end, at(0)));
    started
}

fn wide() -> Limits {
    Limits { in_flight: 1000, in_flight_per_endpoint: 1000, waiting_bytes: 1 << 30, ..limits() }
}

/// A lane of the tenant whose attempts come to something.
fn proven(lanes: &Lanes, tenant: TenantId) -> Lane {
    let lane = lane();
    put(lanes, lane, tenant, 2);
    assert_eq!(end_all(lanes, End::Answered).len(), 2);
    assert!(lanes.next(at(0), open).start.is_empty(), "it has had its turns for nothing");
    lane
}

#[test]
fn what_is_posted_for_nothing_piles_up_early() {
    let (lanes, tenant, poor) = failing(wide());
    let fair = proven(&lanes, tenant);
    let find = |lane, now| lanes.reserve(lane, tenant, 1, now).1;
    put(&lanes, poor, tenant, MANY_FOR_NOTHING - 1);
    assert_eq!(find(poor, at(0)).piles_up(), None);
    put(&lanes, poor, tenant, 1);
    assert_eq!(find(poor, at(0)).piles_up(), Some(HeldBack::ComesToNothing));
    assert_eq!(find(poor, at(0)).and(find(fair, at(0))).piles_up(), None, "not for nothing alone");
    let nobody = |now| lanes.find_nobody(tenant, now).and_then(Found::piles_up);
    assert_eq!(nobody(at(0)), Some(HeldBack::ComesToNothing), "nor is what is owed to nobody");
    assert_eq!((find(poor, at(1_000)).piles_up(), nobody(at(1_000))), (None, None), "the other has gone");
    lanes.note_due(poor, tenant, at(0));
    let (room, behind) = lanes.reserve(poor, tenant, 1, at(0));
    assert_eq!((room, behind.piles_up()), (false, Some(HeldBack::ComesToNothing)));
    let few = Found { poor: 1, ..behind };
    assert_eq!(few.beside(behind).piles_up(), Some(HeldBack::ComesToNothing), "of several events");
    assert_eq!(behind.beside(find(fair, at(0))).piles_up(), None, "of which one is not for nothing");
    assert_eq!(lanes.find(poor, tenant, at(0)), behind);
    let thousands = |waiting| Found { fair: Some(waiting), poor: 0 }.piles_up();
    assert_eq!([MANY - 1, MANY].map(thousands), [None, Some(HeldBack::HasMost)]);
}

#[test]
fn lanes_that_come_to_nothing_start_few_at_a_time_while_others_are_there() {
    let (lanes, failing, poor) = failing(wide());
    let (fair, unknown) = (proven(&lanes, failing), lane());
    put(&lanes, poor, failing, 60);
    put(&lanes, fair, failing, UNBEGUN);
    put(&lanes, unknown, failing, 1);
    let started = end_all(&lanes, End::NotSent);
    let of = |lane| started.iter().filter(move |work| work.delivery.lane == lane);
    assert_eq!((of(poor).count(), of(unknown).count(), of(fair).count()), (3, 1, UNBEGUN));
    assert!(of(poor).chain(of(unknown)).all(|work| work.held_back == Some(HeldBack::ComesToNothing)));
    assert!(of(fair).all(|work| work.held_back.is_none()), "that lane is known to be better");
    let counts = [0; 3].map(|_| end_all(&lanes, End::Answered).len());
    // One more was queued before those had ended.
    let few = UNBEGUN_HELD_BACK as usize;
    assert_eq!(counts, [few, few, 1 + UNBEGUN], "until its last ones came to something");
}

#[test]
fn a_lane_is_judged_by_its_own_attempts_and_one_that_is_not_known_by_its_tenants() {
    let (lanes, tenant, poor) = failing(wide());
    let (fair, unknown) = (proven(&lanes, tenant), lane());
    put(&lanes, unknown, tenant, 20);
    let prospect = |lane| {
        let core = lanes.core.lock();
        core.lanes.get(&lane).map(|state| core.tenants[&tenant].balance.prospect(state.standing))
    };
    let prospects = || [poor, fair, unknown].map(prospect);
    assert_eq!(prospects(), [Some(Prospect::Poor), Some(Prospect::Fair), Some(Prospect::Poor)], "remembered");
    while !end_all(&lanes, End::NotSent).is_empty() {}
    let removed = |of, tenant| match of == fair {
        true => Permit { sends: Sends::Gone, ..open(of, tenant) },
        false => open(of, tenant),
    };
    lanes.note_due(fair, tenant, at(0));
    lanes.wake(at(0));
    assert_eq!(lanes.next(at(0), removed).load.len(), 1);
    lanes.loaded(fair, Some(Taken::default()), at(0));
    assert_eq!(prospects(), [Some(Prospect::Poor), None, None], "of who is gone, nothing");
    for _ in 0..4 {
        let _ = proven(&lanes, tenant);
    }
    assert_eq!(lanes.find_nobody(tenant, at(0)), None, "most of what it does comes to something");
    put(&lanes, unknown, tenant, 1);
    put(&lanes, poor, tenant, 3);
    assert_eq!(prospects(), [Some(Prospect::Poor), None, Some(Prospect::Fair)], "that others are better hides none");
    assert_eq!(end_all(&lanes, End::Answered).len(), 4);
    assert_eq!(prospect(poor), Some(Prospect::Fair), "it has a few better ones of its own");
}

#[test]
fn an_answer_that_is_misread_is_noted_as_such() {
    let (lanes, tenant, poor) = failing(wide());
    let standing = || lanes.core.lock().lanes[&poor].standing;
    let before = standing();
    put(&lanes, poor, tenant, 1);
    assert_eq!(end_all(&lanes, End::Misread).len(), 1);
    assert!(before < standing() && standing() < Standing::UNKNOWN);
}

#[test]
fn a_lane_that_may_not_start_keeps_no_other_from_it() {
    let (lanes, busy, other) = (Lanes::new(&wide(), vec![]), TenantId::new(at(0)), TenantId::new(at(0)));
    put(&lanes, lane(), busy, 2 * UNBEGUN);
    assert_eq!(lanes.next(at(0), open).start.len(), UNBEGUN, "which is all that may");
    let limited: Vec<Lane> = (0..5).map(|_| lane()).collect();
    limited.iter().for_each(|lane| put(&lanes, *lane, other, 1));
    put(&lanes, lane(), other, 1);
    let permit = |lane: Lane, tenant: TenantId| Permit {
        not_before: limited.contains(&lane).then(|| at(1000)),
        ..open(lane, tenant)
    };
    assert_eq!(lanes.next(at(0), permit).start.len(), 1);
}

#[test]
fn a_host_that_asks_for_peace_gets_it_for_all_of_the_tenants_lanes() {
    let (lanes, tenant) = (Lanes::new(&limits(), vec![]), TenantId::new(at(0)));
    let (one, other) = (lane(), lane());
    let hosted = |lane, tenant| Permit { host: Some("h".into()), ..open(lane, tenant) };
    put(&lanes, one, tenant, 1);
    let first = lanes.next(at(0), hosted).start;
    lanes.ended(&first[0], End::LeaveAlone { until: at(5000), host: true }, at(0));
    put(&lanes, other, tenant, 1);
    assert!(lanes.next(at(1), hosted).start.is_empty());
    lanes.wake(at(5000));
    assert_eq!(lanes.next(at(5000), hosted).start.len(), 1);
}

#[test]
fn why_an_endpoint_is_left_alone() {
    let (lanes, tenant) = (Lanes::new(&limits(), vec![]), TenantId::new(at(0)));
    let (asked, silent) = (lane(), lane());
    put(&lanes, asked, tenant, 1);
    put(&lanes, silent, tenant, 2);
    let hosted = |lane, tenant| Permit { host: Some("h".into()), ..open(lane, tenant) };
    for work in lanes.next(at(0), hosted).start {
        let is_asked = work.delivery.lane == asked;
        let end = if is_asked { End::LeaveAlone { until: at(20), host: false } } else { End::TimedOut };
        lanes.ended(&work, end, at(1));
    }
    let host: Arc<str> = "h".into();
    let alone = |lane, now| lanes.left_alone(lane, (tenant, Some(&host)), at(now));
    assert_eq!([alone(asked, 19), alone(asked, 20)], [Some((at(20), Alone::Asked)), None]);
    assert_eq!(alone(silent, 1), Some((at(30_001), Alone::Silent)));
    assert_eq!(alone(lane(), 1), None, "of this one nothing is known");
    put(&lanes, lane(), tenant, 1);
    let work = lanes.next(at(2), hosted).start.remove(0);
    lanes.ended(&work, End::LeaveAlone { until: at(50), host: true }, at(2));
    assert_eq!(alone(asked, 3), Some((at(50), Alone::HostAsked)));
    assert_eq!(alone(silent, 3), Some((at(30_001), Alone::Silent)), "the longest counts");
}

#[test]
fn what_is_noted_while_the_store_is_read_is_not_forgotten() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    lanes.note_due(lane, tenant, at(0));
    lanes.wake(at(0));
    assert_eq!(lanes.next(at(0), open).load.len(), 1);
    lanes.note_due(lane, tenant, at(50));
    lanes.loaded(lane, Some(Taken::default()), at(0));
    assert_eq!(lanes.first_timer(), Some(at(50)));
    lanes.wake(at(50));
    assert_eq!(lanes.next(at(50), open).load.len(), 1);
}

#[test]
fn memory_that_is_full_leaves_every_lane_one() {
    let lanes = Lanes::new(&Limits { waiting_bytes: 5 * (400 + ENTRY), ..limits() }, vec![]);
    let (stuck, other, tenant) = (lane(), lane(), TenantId::new(at(0)));
    while lanes.reserve(stuck, tenant, 400, at(0)).0 {}
    lanes.note_due(other, tenant, at(0));
    lanes.wake(at(0));
    assert_eq!(lanes.next(at(0), open).load, [(other, 1)]);
}

#[test]
fn only_so_many_lanes_are_read_at_once() {
    let (lanes, tenant) = (Lanes::new(&limits(), vec![]), TenantId::new(at(0)));
    for _ in 0..20 {
        lanes.note_due(lane(), tenant, at(0));
    }
    lanes.wake(at(0));
    let first = lanes.next(at(0), open).load;
    assert_eq!(first.len(), LANES_AT_ONCE);
    first.iter().for_each(|(lane, _)| lanes.loaded(*lane, Some(Taken::default()), at(1)));
    let next = lane();
    lanes.note_due(next, TenantId::new(at(0)), at(0));
    lanes.wake(at(0));
    let second = lanes.next(at(1), open).load;
    assert_eq!(second.len(), LANES_AT_ONCE);
    assert!(second.iter().any(|(lane, _)| *lane == next), "tenants take turns in that, too");
    let other = TenantId::new(at(0));
    put(&lanes, lane(), other, 1);
    assert_eq!(lanes.next(at(1), open).start.len(), 1, "another tenant does not wait for it");
}

#[test]
fn fresh_deliveries_stand_behind_those_that_wait_in_the_store() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    lanes.note_due(lane, tenant, at(0));
    assert!(!lanes.reserve(lane, tenant, 1, at(1)).0);
}

#[test]
fn a_fresh_delivery_knows_how_many_go_before_it() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    let ahead = |now| lanes.reserve(lane, tenant, 1, now).1.fair.unwrap();
    assert_eq!((ahead(at(0)), ahead(at(0))), (0, 0), "what is only being accepted does not");
    put(&lanes, lane, tenant, 9);
    assert_eq!(ahead(at(0)), 9);
    let tried = lanes.next(at(0), open).start;
    assert_eq!(ahead(at(0)), 5);
    lanes.ended(&tried[0], End::LeaveAlone { until: at(10), host: false }, at(1));
    assert_eq!((ahead(at(9)), ahead(at(10))), (0, 5), "nothing goes on there until then");
    tried[1..3].iter().for_each(|work| lanes.ended(work, End::TimedOut, at(10)));
    assert_eq!(ahead(at(60_000)), 0, "nor where nobody answers");
    lanes.ended(&tried[3], End::Answered, at(60_000));
    assert_eq!(ahead(at(60_000)), 5);
}

#[test]
fn a_tenant_is_down_to_what_it_had_when_as_many_have_gone() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    assert!(lanes.is_down_to(tenant, 0));
    put(&lanes, lane, tenant, 6);
    assert!(!lanes.is_down_to(tenant, 2) && lanes.is_down_to(tenant, 6));
    lanes.next(at(0), open);
    assert!(lanes.is_down_to(tenant, 2) && !lanes.is_down_to(tenant, 1));
    lanes.stop();
    assert!(lanes.is_down_to(tenant, 1), "nobody waits for what does not go on");
}

#[test]
fn an_empty_lane_is_forgotten() {
    let (lanes, lane, tenant) = (Lanes::new(&limits(), vec![]), lane(), TenantId::new(at(0)));
    put(&lanes, lane, tenant, 1);
    let work = lanes.next(at(0), open).start.remove(0);
    lanes.ended(&work, End::Answered, at(1));
    lanes.next(at(1), open);
    assert!(lanes.core.lock().lanes.is_empty());
    assert_eq!(lanes.pending(), 0);
}
