//! The lanes: what waits in memory, what is under way, and whose turn it is. No I/O and no clock, so that
//! fairness and bounds can be tested by tables.
//!
//! A **lane** is one subscription's queue. Of what it owes, some waits here (`ready`), the rest in the store,
//! of which only the time of the first entry is known (`in_store`). Tenants take turns, and within a tenant its
//! lanes do. Of all attempts, and of the memory for what waits, a tenant may have as much as is left free: half if it
//! is alone, a third beside another like it, and whoever comes next finds room without waiting for anybody. One
//! endpoint and one host have only so many. **Who comes last.** Beside others, a tenant is held back that has most
//! waiting: it starts few at a time, and `dispatch` leaves gaps between them where the processor is short. So are lanes
//! whose last attempts came to nothing, and, of a tenant of which most do, those that are not known yet.

mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::standing::{Balance, MANY, MANY_FOR_NOTHING, Standing};
pub(super) use self::standing::{End, Found, HeldBack, Prospect};
use super::Limits;
use crate::clock::later;
use crate::domain::{Delivery, DeliveryId, Event, IdMap, Lane, RateLimit, TenantId};
use crate::store::{Due, LaneHead, Taken};

/// A delivery in hand.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) delivery: Delivery,
    pub(super) event: Arc<Event>,
    /// The host it counts for, once it is under way.
    pub(super) host: Option<Arc<str>>,
    /// What was to be expected of it when it was started.
    pub(super) prospect: Prospect,
    /// Why it was held back for others then, if it was.
    pub(super) held_back: Option<HeldBack>,
}

impl Work {
    pub(super) fn new(delivery: Delivery, event: Arc<Event>) -> Self {
        Self { delivery, event, host: None, prospect: Prospect::Fair, held_back: None }
    }
}

impl From<Due> for Work {
    fn from(due: Due) -> Self {
        Self::new(due.delivery, due.event)
    }
}

/// Whether a subscription sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    Yes,
    /// Not for now: what it is owed waits in the store, where it can be changed.
    No,
    /// It is gone: nothing is remembered of it, and its deliveries come to their end.
    Gone,
}

/// Whether a lane may send, as its subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) sends: Sends,
    /// How fast.
    pub(super) rate: Option<RateLimit>,
    /// The host it sends to, where that is known beforehand.
    pub(super) host: Option<Arc<str>>,
    /// Its tenant's plugins have used up their processor time until then.
    pub(super) not_before: Option<Timestamp>,
}

/// Why an endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alone {
    /// It asked for that.
    Asked,
    /// Its host did.
    HostAsked,
    /// It did not answer, several times in a row.
    Silent,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// Attempts to make.
    pub(super) start: Vec<Work>,
    /// Lanes to read from the store, and how many of each.
    pub(super) load: Vec<(Lane, usize)>,
    /// What waits here for a subscription that does not send: back into the store, where it can be changed.
    pub(super) back: Vec<Work>,
}

/// All lanes.
pub(super) struct Lanes {
    core: Mutex<Core>,
    /// Told when the first timer may have changed.
    pub(super) timer: Notify,
    idle: Notify,
}

struct Core {
    bounds: Bounds,
    lanes: IdMap<Lane, State>,
    tenants: IdMap<TenantId, Tenant>,
    /// Tenants that have something to do, in turn, each with what comes to something and with what comes to nothing.
    turns: VecDeque<(TenantId, Prospect)>,
    hosts: HashMap<(TenantId, Arc<str>), Host>,
    timers: BTreeSet<(Timestamp, Lane)>,
    under_way: usize,
    /// Lanes that are being read from the store.
    loading: usize,
    waiting: usize,
    waiting_bytes: usize,
    /// The two tenants that have started attempts last, and when.
    present: [Option<(TenantId, Timestamp)>; 2],
    stopped: bool,
}

/// What became of a lane's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has had it.
    Taken,
    /// It must be read from the store, and too many are: it and its tenant's others wait for the next round. Ten
    /// thousand lanes that waited for a time instead would be gone through again and again.
    Kept,
}

/// Attempts of one tenant that have been started and have not had the processor yet, so many of each prospect. Where it is
/// short, they are what others wait behind; where it is not, there are none.
const UNBEGUN: usize = 16;
/// The same of what is held back.
pub(super) const UNBEGUN_HELD_BACK: u32 = 4;
/// So long after its last attempt a tenant is still one of those that others leave room for.
const PRESENT: Duration = Duration::from_secs(1);

/// Bytes that a delivery takes up beside its event.
const ENTRY: usize = size_of::<Work>() + 64;

/// Lanes read at once, and entries of one: what is read is known by its size only afterwards, so this bounds how far
/// memory can go beyond its bound.
const LANES_AT_ONCE: usize = 8;
const ENTRIES_AT_ONCE: usize = 32;

/// Lanes that are woken while nobody else can look at any.
const WOKEN_AT_ONCE: usize = 128;

#[derive(Clone, Copy)]
struct Bounds {
    total: usize,
    per_lane: usize,
    per_host: usize,
    waiting_per_lane: usize,
    waiting_bytes: usize,
    breaker_timeouts: u32,
    breaker_rest: Duration,
}

#[derive(Default)]
struct Tenant {
    /// Lanes that have something to do.
    fair: Turns,
    poor: Turns,
    under_way: usize,
    waiting: usize,
    waiting_bytes: usize,
    balance: Balance,
}

/// Some of a tenant's lanes, in turn.
#[derive(Default)]
struct Turns {
    lanes: VecDeque<Lane>,
    /// Attempts that were started from here and have not begun.
    unbegun: usize,
}

impl Tenant {
    fn turns(&mut self, prospect: Prospect) -> &mut Turns {
        match prospect {
            Prospect::Fair => &mut self.fair,
            Prospect::Poor => &mut self.poor,
        }
    }
}

#[derive(Default)]
struct Host {
    under_way: usize,
    leave_alone_until: Option<Timestamp>,
}

struct State {
    tenant: TenantId,
    ready: VecDeque<Work>,
    /// Promised room in `ready` for events that are being accepted.
    reserved: usize,
    under_way: usize,
    /// When the first entry in the store is due.
    in_store: Option<Timestamp>,
    /// A read from the store is under way; what was noted since then.
    loading: Option<Option<Timestamp>>,
    /// In its tenant's turns.
    queued: bool,
    timer: Option<Timestamp>,
    leave_alone_until: Option<Timestamp>,
    /// Times of the last sends, where a rate is set.
    sent: VecDeque<Timestamp>,
    timeouts: u32,
    rests: u32,
    standing: Standing,
    /// Faults at a plugin's limits, in a row.
    limit_faults: u32,
}

impl State {
    fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            ready: VecDeque::new(),
            reserved: 0,
            under_way: 0,
            in_store: None,
            loading: None,
            queued: false,
            timer: None,
            leave_alone_until: None,
            sent: VecDeque::new(),
            timeouts: 0,
            rests: 0,
            standing: Standing::UNKNOWN,
            limit_faults: 0,
        }
    }

    fn forgive(&mut self) {
        (self.timeouts, self.rests, self.limit_faults) = (0, 0, 0);
        self.leave_alone_until = None;
        self.standing = self.standing.max(Standing::UNKNOWN);
    }

    /// Forgets that and all else that is known of its attempts.
    fn forget(&mut self) {
        self.forgive();
        self.standing = Standing::UNKNOWN;
        self.sent.clear();
    }

    /// What waits for its endpoint is sent to it.
    fn goes_on(&self, bounds: Bounds, now: Timestamp) -> bool {
        self.timeouts < bounds.breaker_timeouts && self.leave_alone_until.is_none_or(|until| until <= now)
    }

    /// Something of it is due and still in the store.
    fn is_behind(&self, now: Timestamp) -> bool {
        self.in_store.is_some_and(|due| due <= now)
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.reserved == 0
            && self.under_way == 0
            && self.in_store.is_none()
            && self.loading.is_none()
    }
}

impl Lanes {
    pub(super) fn new(limits: &Limits, heads: Vec<LaneHead>) -> Self {
        let bounds = Bounds {
            total: limits.in_flight.max(4),
            per_lane: limits.in_flight_per_endpoint.max(1),
            per_host: limits.in_flight_per_host.max(1),
            waiting_per_lane: limits.waiting_per_lane,
            waiting_bytes: limits.waiting_bytes,
            breaker_timeouts: limits.breaker_timeouts.max(1),
            breaker_rest: limits.breaker_rest,
        };
        let mut core = Core {
            bounds,
            lanes: IdMap::with_capacity_and_hasher(heads.len(), Default::default()),
            tenants: IdMap::default(),
            turns: VecDeque::new(),
            hosts: HashMap::new(),
            timers: BTreeSet::new(),
            under_way: 0,
            loading: 0,
            waiting: 0,
            waiting_bytes: 0,
            present: [None; 2],
            stopped: false,
        };
        for head in heads {
            core.note_due(head.lane, head.tenant_id, head.due);
        }
        Self { core: Mutex::new(core), timer: Notify::new(), idle: Notify::new() }
    }

    /// Changes the core, and tells the timekeeper if its next time has come nearer.
    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let before = core.timers.first().copied();
        let changed = change(&mut core);
        let after = core.timers.first().copied();
        drop(core);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.timer.notify_one();
        }
        changed
    }

    /// Asks for room for a fresh delivery, before it is accepted. Without room it will wait in the store, and
    /// so it does behind others that already wait there. Whether there is, and what else it finds.
    pub(super) fn reserve(&self, lane: Lane, tenant: TenantId, bytes: usize, now: Timestamp) -> (bool, Found) {
        self.core.lock().reserve(lane, tenant, bytes + ENTRY, now)
    }

    /// What an event finds that is to be sent to nobody for now: nothing, but where what its tenant has to send comes to
    /// nothing it only piles up, too, since to take it in costs others as much as what is tried.
    pub(super) fn find_nobody(&self, tenant: TenantId, now: Timestamp) -> Option<Found> {
        let core = self.core.lock();
        let fails = |tenant: &Tenant| tenant.balance.comes_to_nothing() && tenant.waiting + tenant.under_way > 0;
        let piles_up = core.tenants.get(&tenant).is_some_and(fails) && core.has_others(tenant, now);
        piles_up.then_some(Found { fair: None, poor: MANY_FOR_NOTHING })
    }

    /// What a fresh delivery finds there that is not due at once.
    pub(super) fn find(&self, lane: Lane, tenant: TenantId, now: Timestamp) -> Found {
        let core = self.core.lock();
        core.find(core.lanes.get(&lane), tenant, false, now)
    }

    /// Gives back room that was asked for and is not needed: the event was a duplicate.
    pub(super) fn unreserve(&self, lane: Lane, bytes: usize) {
        let mut core = self.core.lock();
        let Some(state) = core.lanes.get_mut(&lane) else { return };
        state.reserved = state.reserved.saturating_sub(1);
        let tenant = state.tenant;
        core.wait_no_more(tenant, 1, bytes + ENTRY);
        core.forget_if_empty(lane);
    }

    /// Takes what of a lane waits here out of it, for the store: all of it, or one delivery.
    pub(super) fn withdraw(&self, lane: Lane, only: Option<DeliveryId>) -> Vec<Work> {
        self.core.lock().withdraw(lane, only)
    }

    /// Puts accepted deliveries into the room that was reserved for them.
    pub(super) fn put(&self, works: impl IntoIterator<Item = Work>) {
        let mut core = self.core.lock();
        for work in works {
            let lane = work.delivery.lane;
            if let Some(state) = core.lanes.get_mut(&lane) {
                state.reserved = state.reserved.saturating_sub(1);
                state.ready.push_back(work);
                core.queue(lane);
            }
        }
    }

    /// Something of this lane in the store is due then.
    pub(super) fn note_due(&self, lane: Lane, tenant: TenantId, due: Timestamp) {
        self.change(|core| core.note_due(lane, tenant, due));
    }

    /// Whose turn it is, as far as bounds allow. `permit` says how a lane's subscription stands.
    pub(super) fn next(&self, now: Timestamp, permit: impl FnMut(Lane, TenantId) -> Permit) -> Todo {
        self.change(|core| core.next(now, permit))
    }

    /// What a read from the store brought; `None` if it failed.
    pub(super) fn loaded(&self, lane: Lane, taken: Option<Taken>, now: Timestamp) {
        self.change(|core| core.loaded(lane, taken, now));
    }

    /// An attempt of a tenant has had the processor for the first time, in a lane of that prospect. Whether others like it
    /// waited for that.
    pub(super) fn begun(&self, tenant: TenantId, prospect: Prospect) -> bool {
        let mut core = self.core.lock();
        let Some(tenant) = core.tenants.get_mut(&tenant) else { return false };
        let turns = tenant.turns(prospect);
        turns.unbegun = turns.unbegun.saturating_sub(1);
        // Not for each of many, since all tenants are asked then.
        (turns.unbegun == 0 || turns.unbegun == UNBEGUN / 2) && !turns.lanes.is_empty()
    }

    /// An attempt has ended, and its delivery has been settled.
    pub(super) fn ended(&self, work: &Work, end: End, now: Timestamp) {
        let under_way = self.change(|core| {
            core.ended(work, end, now);
            core.under_way
        });
        if under_way == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Counts faults at a plugin's limits; anything else begins anew. How many there are in a row.
    pub(super) fn limit_fault(&self, lane: Lane, fault: bool) -> u32 {
        let mut core = self.core.lock();
        let Some(state) = core.lanes.get_mut(&lane) else { return 0 };
        state.limit_faults = if fault { state.limit_faults + 1 } else { 0 };
        state.limit_faults
    }

    /// Forgets what was held against a lane: its subscription was changed, and may be another endpoint now.
    pub(super) fn forgive(&self, lane: Lane) {
        if let Some(state) = self.core.lock().lanes.get_mut(&lane) {
            state.forgive();
        }
    }

    /// When something may have to be done next without anything happening.
    pub(super) fn first_timer(&self) -> Option<Timestamp> {
        self.core.lock().timers.first().map(|(at, _)| *at)
    }

    /// Gives lanes whose time has come their turn.
    pub(super) fn wake(&self, now: Timestamp) {
        // Others have theirs in between.
        while self.core.lock().wake(now) {}
    }

    /// No turn is given any more.
    pub(super) fn stop(&self) {
        self.core.lock().stopped = true;
    }

    /// Whether no turn is given any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.core.lock().stopped
    }

    /// Whether something of a lane is due that is not in memory yet, and neither the endpoint nor its host wants to be
    /// left alone.
    pub(super) fn is_behind(&self, lane: Lane, host: Option<&Arc<str>>, now: Timestamp) -> bool {
        let core = self.core.lock();
        let Some(state) = core.lanes.get(&lane) else { return false };
        let host = host.and_then(|host| core.hosts.get(&(state.tenant, host.clone())));
        let alone = state.leave_alone_until.max(host.and_then(|host| host.leave_alone_until));
        state.is_behind(now) && alone.is_none_or(|until| until <= now)
    }

    /// Until when nothing is sent to an endpoint, and why, if it or its host is left alone.
    pub(super) fn left_alone(
        &self,
        lane: Lane,
        (tenant, host): (TenantId, Option<&Arc<str>>),
        now: Timestamp,
    ) -> Option<(Timestamp, Alone)> {
        let core = self.core.lock();
        let own = core.lanes.get(&lane).and_then(|state| {
            let is_silent = state.timeouts >= core.bounds.breaker_timeouts;
            Some((state.leave_alone_until?, if is_silent { Alone::Silent } else { Alone::Asked }))
        });
        let host = host.and_then(|host| core.hosts.get(&(tenant, host.clone()))?.leave_alone_until);
        own.max(host.map(|until| (until, Alone::HostAsked))).filter(|(until, _)| *until > now)
    }

    /// Attempts under way.
    pub(super) fn under_way(&self) -> usize {
        self.core.lock().under_way
    }

    /// Deliveries in memory.
    pub(super) fn pending(&self) -> usize {
        let core = self.core.lock();
        core.waiting + core.under_way
    }

    /// Deliveries of a tenant that wait in memory.
    pub(super) fn waiting(&self, tenant: TenantId) -> usize {
        self.core.lock().tenants.get(&tenant).map_or(0, |tenant| tenant.waiting)
    }

    /// Whether another tenant than this one is there.
    pub(super) fn has_others(&self, tenant: TenantId, now: Timestamp) -> bool {
        self.core.lock().has_others(tenant, now)
    }

    /// Whether no more of a tenant's wait than so many, or nothing goes on any more.
    pub(super) fn is_down_to(&self, tenant: TenantId, waiting: usize) -> bool {
        let core = self.core.lock();
        core.stopped || core.tenants.get(&tenant).is_none_or(|tenant| tenant.waiting <= waiting)
    }

    /// When the longest-waiting delivery was due, as far as it is known here.
    pub(super) fn oldest_due(&self) -> Option<Timestamp> {
        let core = self.core.lock();
        let in_memory = core.lanes.values().filter_map(|state| state.ready.front()?.delivery.next_attempt_at);
        let in_store = core.lanes.values().filter_map(|state| state.in_store);
        in_memory.chain(in_store).min()
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Core {
    /// Wakes some; whether there are more.
    fn wake(&mut self, now: Timestamp) -> bool {
        for _ in 0..WOKEN_AT_ONCE {
            let Some((at, lane)) = self.timers.first().copied().filter(|(at, _)| *at <= now) else { return false };
            self.timers.remove(&(at, lane));
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.timer = None;
            }
            self.queue(lane);
        }
        true
    }

    fn reserve(&mut self, lane: Lane, tenant: TenantId, bytes: usize, now: Timestamp) -> (bool, Found) {
        let state = self.lanes.get(&lane);
        let has_room = self.has_room(state, tenant, bytes, now);
        let found = self.find(state, tenant, has_room, now);
        if has_room {
            self.wait(tenant, 1, bytes);
            self.lanes.entry(lane).or_insert_with(|| State::new(tenant)).reserved += 1;
        }
        (has_room, found)
    }

    /// Whether there is room in memory for a delivery of so many bytes.
    fn has_room(&self, state: Option<&State>, tenant: TenantId, bytes: usize, now: Timestamp) -> bool {
        let free = self.bounds.waiting_bytes.saturating_sub(self.waiting_bytes);
        let per_lane = self.bounds.waiting_per_lane;
        let takes = |state: &State| !state.is_behind(now) && state.ready.len() + state.reserved < per_lane;
        !self.stopped && self.tenant_bytes(tenant) + bytes <= free && state.is_none_or(takes)
    }

    /// What a delivery finds that has room in memory, or has not.
    fn find(&self, state: Option<&State>, tenant: TenantId, has_room: bool, now: Timestamp) -> Found {
        // Nothing goes on where they wait for an endpoint that does not answer, or wants to be left alone.
        let goes_on = state.filter(|state| state.goes_on(self.bounds, now));
        let ahead = goes_on.map_or(0, |state| state.ready.len());
        let standing = state.map_or(Standing::UNKNOWN, |state| state.standing);
        let prospect = self.tenants.get(&tenant).map_or(Prospect::Fair, |tenant| tenant.balance.prospect(standing));
        if prospect == Prospect::Fair || !self.has_others(tenant, now) {
            return Found { fair: Some(if has_room { ahead } else { 0 }), poor: 0 };
        }
        let is_behind = goes_on.is_some_and(|state| state.is_behind(now));
        Found { fair: None, poor: if is_behind { MANY_FOR_NOTHING } else { ahead } }
    }

    fn note_due(&mut self, lane: Lane, tenant: TenantId, due: Timestamp) {
        let state = self.lanes.entry(lane).or_insert_with(|| State::new(tenant));
        if let Some(noted) = &mut state.loading {
            *noted = Some(noted.map_or(due, |earlier| earlier.min(due)));
        }
        state.in_store = Some(state.in_store.map_or(due, |earlier| earlier.min(due)));
        self.set_timer(lane, due);
    }

    /// Wakes the lane then, or earlier.
    fn set_timer(&mut self, lane: Lane, at: Timestamp) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        if state.timer.is_some_and(|earlier| earlier <= at) {
            return;
        }
        if let Some(later) = state.timer.replace(at) {
            self.timers.remove(&(later, lane));
        }
        self.timers.insert((at, lane));
    }

    /// Gives the lane a turn, after all others like it of its tenant, unless it has one.
    fn queue(&mut self, lane: Lane) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        if state.queued {
            return;
        }
        state.queued = true;
        let (tenant, standing) = (state.tenant, state.standing);
        let prospect = self.tenants.entry(tenant).or_default().balance.prospect(standing);
        self.turns(tenant, prospect).push_back(lane);
    }

    /// The lane keeps its turn, before all others like it of its tenant.
    fn queue_first(&mut self, lane: Lane, prospect: Prospect) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        state.queued = true;
        let tenant = state.tenant;
        self.turns(tenant, prospect).push_front(lane);
    }

    /// The lanes of that prospect of a tenant that has its turn now, too, since one is to be added.
    fn turns(&mut self, tenant: TenantId, prospect: Prospect) -> &mut VecDeque<Lane> {
        let lanes = &mut self.tenants.entry(tenant).or_default().turns(prospect).lanes;
        if lanes.is_empty() {
            self.turns.push_back((tenant, prospect));
        }
        lanes
    }

    fn next(&mut self, now: Timestamp, mut permit: impl FnMut(Lane, TenantId) -> Permit) -> Todo {
        let mut todo = Todo::default();
        // A tenant that has its share is passed over, once, and then the round is at its end.
        let mut passed_over = 0;
        while !self.stopped && self.under_way < self.bounds.total && passed_over < self.turns.len() {
            let Some((tenant_id, prospect)) = self.turns.pop_front() else { break };
            let held_back = self.held_back(tenant_id, prospect, now);
            let unbegun = if held_back.is_some() { UNBEGUN_HELD_BACK as usize } else { UNBEGUN };
            let Some(tenant) = self.tenants.get_mut(&tenant_id) else { continue };
            let has_share = tenant.under_way >= self.bounds.total - self.under_way;
            let turns = tenant.turns(prospect);
            if has_share || turns.unbegun >= unbegun {
                self.turns.push_back((tenant_id, prospect));
                passed_over += 1;
                continue;
            }
            let Some(lane) = turns.lanes.pop_front() else { continue };
            if !turns.lanes.is_empty() {
                self.turns.push_back((tenant_id, prospect));
            }
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.queued = false;
            }
            let (started, read) = (todo.start.len(), todo.load.len());
            if self.serve(lane, now, &mut permit, &mut todo) == Turn::Kept {
                self.queue_first(lane, prospect);
                passed_over += 1;
            } else if let Some(work) = todo.start.get_mut(started) {
                (work.prospect, work.held_back) = (prospect, held_back);
                if let Some(tenant) = self.tenants.get_mut(&tenant_id) {
                    tenant.turns(prospect).unbegun += 1;
                }
                passed_over = 0;
            } else if todo.load.len() > read {
                passed_over = 0;
            } else if self.turns.back() == Some(&(tenant_id, prospect)) {
                // It has not had it, and who was passed over is not asked again before it has.
                self.turns.rotate_right(1);
            }
        }
        todo
    }

    /// Why the first of such lanes of a tenant is held back, if it is: not where nobody else is there. What was expected of
    /// it when it was given its turn may be known better now.
    fn held_back(&self, tenant_id: TenantId, prospect: Prospect, now: Timestamp) -> Option<HeldBack> {
        let tenant = self.tenants.get(&tenant_id)?;
        let first = || self.lanes.get(tenant.poor.lanes.front()?);
        let is_poor = || first().is_some_and(|state| tenant.balance.prospect(state.standing) == Prospect::Poor);
        let has_most = tenant.waiting >= MANY && tenant.waiting > self.waiting / 2;
        let why = match prospect == Prospect::Poor && is_poor() {
            true => HeldBack::ComesToNothing,
            false => has_most.then_some(HeldBack::HasMost)?,
        };
        self.has_others(tenant_id, now).then_some(why)
    }

    /// Whether another tenant than this one is there.
    fn has_others(&self, tenant: TenantId, now: Timestamp) -> bool {
        self.present.iter().flatten().any(|(other, at)| *other != tenant && later(*at, PRESENT) > now)
    }

    /// A tenant starts an attempt.
    fn note_present(&mut self, tenant: TenantId, now: Timestamp) {
        let [first, second] = self.present;
        let others = first.filter(|(first, _)| *first != tenant).or(second);
        self.present = [Some((tenant, now)), others];
    }

    /// One lane's turn: at most one attempt, and a read where memory runs low.
    fn serve(
        &mut self,
        lane: Lane,
        now: Timestamp,
        permit: &mut impl FnMut(Lane, TenantId) -> Permit,
        todo: &mut Todo,
    ) -> Turn {
        let bounds = self.bounds;
        let Some(state) = self.lanes.get_mut(&lane) else { return Turn::Taken };
        let permit = permit(lane, state.tenant);
        match permit.sends {
            Sends::Yes => {}
            Sends::Gone => state.forget(),
            // It is looked at again when its subscription changes.
            Sends::No => {
                todo.back.extend(self.withdraw(lane, None));
                return Turn::Taken;
            }
        }
        let host_key = permit.host.map(|host| (state.tenant, host));
        let host = host_key.as_ref().and_then(|key| self.hosts.get(key));
        let alone = state.leave_alone_until.max(host.and_then(|host| host.leave_alone_until)).max(permit.not_before);
        let alone = alone.filter(|until| *until > now);
        if let Some(until) = alone {
            self.set_timer(lane, until);
            return Turn::Taken;
        }
        // A tried endpoint that did not answer is tried by one attempt before the rest follow.
        let most = if state.timeouts >= bounds.breaker_timeouts { 1 } else { bounds.per_lane };
        let host_full = host.is_some_and(|host| host.under_way >= bounds.per_host);
        if state.ready.is_empty() {
            return self.load(lane, now, todo);
        }
        if state.under_way >= most || host_full {
            // The end of one of them gives the lane its turn again.
            if host_full && state.under_way == 0 {
                self.set_timer(lane, later(now, Duration::from_millis(50)));
            }
            return Turn::Taken;
        }
        if let Some(rate) = permit.rate {
            if let Some(at) = next_slot(&mut state.sent, rate, now) {
                self.set_timer(lane, at);
                return Turn::Taken;
            }
            state.sent.push_back(now);
        }
        let Some(mut work) = state.ready.pop_front() else { return Turn::Taken };
        state.under_way += 1;
        let tenant = state.tenant;
        let more = !state.ready.is_empty() || state.in_store.is_some_and(|due| due <= now);
        self.under_way += 1;
        self.wait_no_more(tenant, 1, work.event.weight() + ENTRY);
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.under_way += 1;
        }
        self.note_present(tenant, now);
        if let Some(key) = host_key {
            work.host = Some(key.1.clone());
            self.hosts.entry(key).or_default().under_way += 1;
        }
        todo.start.push(work);
        if more {
            self.queue(lane);
        }
        Turn::Taken
    }

    fn withdraw(&mut self, lane: Lane, only: Option<DeliveryId>) -> Vec<Work> {
        let Some(state) = self.lanes.get_mut(&lane) else { return Vec::new() };
        let wanted = |work: &Work| only.is_none_or(|id| work.delivery.id == id);
        let (out, stay): (VecDeque<_>, VecDeque<_>) = state.ready.drain(..).partition(wanted);
        state.ready = stay;
        let tenant = state.tenant;
        let bytes = out.iter().map(|work| work.event.weight() + ENTRY).sum();
        self.wait_no_more(tenant, out.len(), bytes);
        out.into()
    }

    /// Bytes of a tenant's events that wait.
    fn tenant_bytes(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, |tenant| tenant.waiting_bytes)
    }

    fn wait(&mut self, tenant: TenantId, count: usize, bytes: usize) {
        self.waiting += count;
        self.waiting_bytes += bytes;
        let tenant = self.tenants.entry(tenant).or_default();
        tenant.waiting += count;
        tenant.waiting_bytes += bytes;
    }

    fn wait_no_more(&mut self, tenant: TenantId, count: usize, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.waiting = tenant.waiting.saturating_sub(count);
            tenant.waiting_bytes = tenant.waiting_bytes.saturating_sub(bytes);
        }
    }

    /// Asks for what is due in the store, if there is room for it.
    fn load(&mut self, lane: Lane, now: Timestamp, todo: &mut Todo) -> Turn {
        let bounds = self.bounds;
        let free = bounds.waiting_bytes.saturating_sub(self.waiting_bytes);
        let Some(state) = self.lanes.get_mut(&lane) else { return Turn::Taken };
        let crowded = self.tenants.get(&state.tenant).is_some_and(|tenant| tenant.waiting_bytes >= free);
        let Some(due) = state.in_store else {
            self.forget_if_empty(lane);
            return Turn::Taken;
        };
        if due > now {
            self.set_timer(lane, due);
        } else if state.loading.is_some() {
            // What it brings gives the lane its turn.
        } else if self.loading >= LANES_AT_ONCE {
            // The end of a read begins another round.
            return Turn::Kept;
        } else {
            // With memory full a lane still has one: what fills it may wait for hours, and this lane need not.
            let most = if crowded { 1 } else { bounds.waiting_per_lane.clamp(1, ENTRIES_AT_ONCE) };
            state.loading = Some(None);
            self.loading += 1;
            todo.load.push((lane, most));
        }
        Turn::Taken
    }

    fn loaded(&mut self, lane: Lane, taken: Option<Taken>, now: Timestamp) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let noted = state.loading.take().flatten();
        self.loading = self.loading.saturating_sub(1);
        let Some(taken) = taken else {
            // The read failed: try again shortly.
            let again = later(now, Duration::from_secs(1));
            self.set_timer(lane, again);
            return;
        };
        state.in_store = [taken.next, noted].into_iter().flatten().min();
        let count = taken.due.len();
        let bytes: usize = taken.due.iter().map(|due| due.event.weight() + ENTRY).sum();
        state.ready.extend(taken.due.into_iter().map(Work::from));
        let (next, tenant) = (state.in_store, state.tenant);
        self.wait(tenant, count, bytes);
        if count > 0 {
            self.queue(lane);
        } else if let Some(due) = next {
            self.set_timer(lane, due);
        } else {
            self.forget_if_empty(lane);
        }
    }

    fn ended(&mut self, work: &Work, end: End, now: Timestamp) {
        let lane = work.delivery.lane;
        self.under_way = self.under_way.saturating_sub(1);
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        state.under_way = state.under_way.saturating_sub(1);
        let tenant = state.tenant;
        let host_key = work.host.clone().map(|host| (tenant, host));
        match end {
            End::Answered | End::Misread => (state.timeouts, state.rests) = (0, 0),
            End::NotSent | End::Dropped | End::CutOff | End::Faulted => {}
            End::TimedOut => {
                state.timeouts += 1;
                // Those that were under way when it began to be left alone are of the same time.
                let rests = state.leave_alone_until.is_some_and(|until| until > now);
                if state.timeouts >= self.bounds.breaker_timeouts && !rests {
                    let rest = self.bounds.breaker_rest * 2u32.pow(state.rests.min(4));
                    state.leave_alone_until = Some(later(now, rest));
                    state.rests += 1;
                }
            }
            End::LeaveAlone { until, host: false } => {
                state.leave_alone_until = state.leave_alone_until.max(Some(until))
            }
            End::LeaveAlone { until, host: true } => {
                if let Some(key) = &host_key {
                    let host = self.hosts.entry(key.clone()).or_default();
                    host.leave_alone_until = host.leave_alone_until.max(Some(until));
                }
            }
        }
        state.standing.note(end);
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.under_way = tenant.under_way.saturating_sub(1);
            tenant.balance.note(end);
        }
        if let Some(key) = host_key
            && let Some(host) = self.hosts.get_mut(&key)
        {
            host.under_way = host.under_way.saturating_sub(1);
            if host.under_way == 0 && host.leave_alone_until.is_none_or(|until| until <= now) {
                self.hosts.remove(&key);
            }
        }
        self.queue(lane);
    }

    /// Memory is for lanes that owe something.
    fn forget_if_empty(&mut self, lane: Lane) {
        let Some(state) = self.lanes.get(&lane) else { return };
        if state.is_empty() && !state.queued && !self.remembers(state) {
            if let Some(at) = state.timer {
                self.timers.remove(&(at, lane));
            }
            self.lanes.remove(&lane);
        }
    }

    /// Or of which something is known that matters to the next attempt: that it is trusted does where some are not.
    fn remembers(&self, state: &State) -> bool {
        let of_tenant = self.tenants.get(&state.tenant);
        let matters = || of_tenant.is_some_and(|tenant| tenant.balance.is_bad() || !tenant.poor.lanes.is_empty());
        state.leave_alone_until.is_some()
            || state.timeouts + state.limit_faults > 0
            || !state.sent.is_empty()
            || state.standing < Standing::UNKNOWN
            || state.standing > Standing::UNKNOWN && matters()
    }
}

/// `None`: now; else when the rate next allows a send. Forgets sends that no longer count.
fn next_slot(sent: &mut VecDeque<Timestamp>, rate: RateLimit, now: Timestamp) -> Option<Timestamp> {
    while sent.front().is_some_and(|first| later(*first, rate.per) <= now) {
        sent.pop_front();
    }
    let over = (sent.len() + 1).checked_sub(rate.max as usize).filter(|over| *over > 0)?;
    sent.get(over - 1).map(|blocking| later(*blocking, rate.per))
}
