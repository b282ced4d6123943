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

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

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

/// What is to be expected of a lane's next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// Something.
    Fair,
    /// Nothing: its own last ones came to that, or nothing is known of them and most of its tenant's did.
    Poor,
}

/// Why others should not wait behind a tenant, or one of its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// The tenant has more waiting than all others together.
    HasMost,
    /// The lane's attempts do, or most of the tenant's where nothing is known of the lane's.
    ComesToNothing,
}

/// What a fresh delivery finds in its lane, an event's deliveries in all of theirs, or those of several events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// How many go before it in memory, in lanes that are not held back for coming to nothing, if there is one; none where
    /// it has no room there itself.
    fair: Option<usize>,
    /// How many do in lanes that are, or enough of them where they wait in the store.
    poor: usize,
}

impl Found {
    /// What two deliveries of an event find.
    pub(super) fn and(self, other: Self) -> Self {
        let fair = self.fair.into_iter().chain(other.fair).reduce(|one, other| one + other);
        Self { fair, poor: self.poor + other.poor }
    }

    /// What two events find.
    pub(super) fn beside(self, other: Self) -> Self {
        Self { fair: self.fair.max(other.fair), poor: self.poor.max(other.poor) }
    }

    /// Why what comes to it only piles up, if it does.
    pub(super) fn piles_up(self) -> Option<HeldBack> {
        match self.fair {
            None => (self.poor >= MANY_FOR_NOTHING).then_some(HeldBack::ComesToNothing),
            Some(waiting) => (waiting >= MANY).then_some(HeldBack::HasMost),
        }
    }
}

/// Whether a lane may send, as its subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permit {
    /// Whether it sends at all; one that is gone does, so that its deliveries come to their end.
    pub(super) sends: bool,
    /// Whether its subscription is gone: nothing is remembered of it.
    pub(super) gone: bool,
    /// How fast.
    pub(super) rate: Option<RateLimit>,
    /// The host it sends to, where that is known beforehand.
    pub(super) host: Option<Arc<str>>,
    /// Its tenant's plugins have used up their processor time until then.
    pub(super) not_before: Option<Timestamp>,
}

/// How an attempt ended, for the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It got an answer.
    Answered,
    /// It got one over which the connector faulted.
    Misread,
    /// The endpoint did not answer in time.
    TimedOut,
    /// No connection came to be, or it broke before an answer was whole.
    CutOff,
    /// A plugin faulted, other than by its own word, and there was nothing to send.
    Faulted,
    /// It did not get as far as the endpoint.
    NotSent,
    /// Nor should it: a plugin dropped it.
    Dropped,
    /// The endpoint, or its whole host, wants to be left alone until then.
    LeaveAlone { until: Timestamp, host: bool },
}

impl End {
    /// Whether it came to nothing; neither where it says nothing of that.
    fn came_to_nothing(self) -> Option<bool> {
        match self {
            Self::TimedOut | Self::CutOff | Self::Faulted => Some(true),
            Self::Answered | Self::Dropped => Some(false),
            // What was sent has come to something, and what was run for it has not; or it is not tried again so soon.
            Self::Misread | Self::LeaveAlone { .. } | Self::NotSent => None,
        }
    }
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
/// What has at least so many waiting, and more than all others together, is held back as long as there are others. Who has
/// fewer is not the one they wait for.
const MANY: usize = 4_096;
/// By how many more of a tenant's last attempts must have come to nothing than to something before nothing better is
/// expected of a lane that is not known. Twice as far is counted.
const MOSTLY: u32 = 32;
/// By how many more of a lane's last attempts must have come to something, or to nothing, for the next to be expected to.
/// It takes few to be trusted again. No further is counted than to the latter, either way.
const TRUSTED: i8 = 2;
const DISTRUSTED: i8 = 4;
/// Where so many wait in lanes of which nothing is expected, what is posted to them alone only piles up.
const MANY_FOR_NOTHING: usize = 16;
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
    /// By how many more of its last attempts came to nothing than to something.
    nothing: u32,
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

    /// One more attempt came to nothing, or to something.
    fn note(&mut self, nothing: bool) {
        self.nothing = if nothing { (self.nothing + 1).min(2 * MOSTLY) } else { self.nothing.saturating_sub(1) };
    }

    /// Whether most of its attempts come to nothing.
    fn comes_to_nothing(&self) -> bool {
        self.nothing >= MOSTLY
    }

    /// What is to be expected of a lane that [stands](State::standing) so.
    fn prospect(&self, standing: i8) -> Prospect {
        match standing <= -DISTRUSTED || standing < TRUSTED && self.comes_to_nothing() {
            true => Prospect::Poor,
            false => Prospect::Fair,
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
    /// By how many more of its last attempts came to something than to nothing; less than none if it was the other way.
    standing: i8,
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
            standing: 0,
            limit_faults: 0,
        }
    }

    fn forgive(&mut self) {
        (self.timeouts, self.rests, self.limit_faults) = (0, 0, 0);
        self.leave_alone_until = None;
        self.standing = self.standing.max(0);
    }

    /// Forgets that and all else that is known of its attempts.
    fn forget(&mut self) {
        self.forgive();
        self.standing = 0;
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
        let fails = |tenant: &Tenant| tenant.comes_to_nothing() && tenant.waiting + tenant.under_way > 0;
        let piles_up = core.tenants.get(&tenant).is_some_and(fails) && core.has_others(tenant, now);
        piles_up.then_some(Found { fair: None, poor: MANY_FOR_NOTHING })
    }

    /// What a fresh delivery finds there that is not due at once.
    pub(super) fn find(&self, lane: Lane, tenant: TenantId, now: Timestamp) -> Found {
        let core = self.core.lock();
        core.find(core.lanes.get(&lane), tenant, now)
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

    /// What a delivery finds, as long as it has no room.
    fn find(&self, state: Option<&State>, tenant: TenantId, now: Timestamp) -> Found {
        let standing = state.map_or(0, |state| state.standing);
        let prospect = self.tenants.get(&tenant).map_or(Prospect::Fair, |tenant| tenant.prospect(standing));
        if prospect == Prospect::Fair || !self.has_others(tenant, now) {
            return Found { fair: Some(0), poor: 0 };
        }
        let is_behind = state.is_some_and(|state| state.is_behind(now) && state.goes_on(self.bounds, now));
        Found { fair: None, poor: if is_behind { MANY_FOR_NOTHING } else { self.ahead(state, now) } }
    }

    /// How many wait in a lane; none where they wait for an endpoint that does not answer, or wants to be left alone.
    fn ahead(&self, state: Option<&State>, now: Timestamp) -> usize {
        state.filter(|state| state.goes_on(self.bounds, now)).map_or(0, |state| state.ready.len())
    }

    fn reserve(&mut self, lane: Lane, tenant: TenantId, bytes: usize, now: Timestamp) -> (bool, Found) {
        let bounds = self.bounds;
        let state = self.lanes.get(&lane);
        let found = self.find(state, tenant, now);
        let takes =
            |state: &State| !state.is_behind(now) && state.ready.len() + state.reserved < bounds.waiting_per_lane;
        let free = bounds.waiting_bytes.saturating_sub(self.waiting_bytes);
        let fits = !self.stopped && self.tenant_bytes(tenant) + bytes <= free;
        if !fits || !state.is_none_or(takes) {
            return (false, found);
        }
        let found = Found { fair: found.fair.map(|_| self.ahead(state, now)), ..found };
        self.wait(tenant, 1, bytes);
        self.lanes.entry(lane).or_insert_with(|| State::new(tenant)).reserved += 1;
        (true, found)
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
        let prospect = self.tenants.entry(tenant).or_default().prospect(standing);
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
        let is_poor = || first().is_some_and(|state| tenant.prospect(state.standing) == Prospect::Poor);
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
        if permit.gone {
            state.forget();
        }
        // A lane that may not send is looked at again when its subscription changes.
        if !permit.sends {
            todo.back.extend(self.withdraw(lane, None));
            return Turn::Taken;
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
        let nothing = end.came_to_nothing();
        let standing = match nothing {
            Some(true) => state.standing - 1,
            Some(false) => state.standing + 1,
            // At least its endpoint is there again.
            None if end == End::Misread && state.standing < 0 => state.standing + 1,
            None => state.standing,
        };
        state.standing = standing.clamp(-DISTRUSTED, DISTRUSTED);
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.under_way = tenant.under_way.saturating_sub(1);
            nothing.into_iter().for_each(|nothing| tenant.note(nothing));
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
        let matters = || of_tenant.is_some_and(|tenant| tenant.nothing > 0 || !tenant.poor.lanes.is_empty());
        state.leave_alone_until.is_some()
            || state.timeouts + state.limit_faults > 0
            || !state.sent.is_empty()
            || state.standing < 0
            || state.standing > 0 && matters()
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

#[cfg(test)]
mod tests {
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
        Permit { sends: true, gone: false, rate: None, host: None, not_before: None }
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
        let closed = |_, _| Permit { sends: false, gone: false, rate: None, host: None, not_before: None };
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
        let limited = |_, _| Permit { sends: true, gone: false, rate, host: None, not_before: None };
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
            core.lanes.get(&lane).map(|state| core.tenants[&tenant].prospect(state.standing))
        };
        let prospects = || [poor, fair, unknown].map(prospect);
        assert_eq!(prospects(), [Some(Prospect::Poor), Some(Prospect::Fair), Some(Prospect::Poor)], "remembered");
        while !end_all(&lanes, End::NotSent).is_empty() {}
        let removed = |lane, tenant| Permit { gone: lane == fair, ..open(lane, tenant) };
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
        assert_eq!(
            prospects(),
            [Some(Prospect::Poor), None, Some(Prospect::Fair)],
            "that others are better hides none"
        );
        assert_eq!(end_all(&lanes, End::Answered).len(), 4);
        assert_eq!(prospect(poor), Some(Prospect::Fair), "it has a few better ones of its own");
    }

    #[test]
    fn an_answer_that_is_misread_speaks_for_the_endpoint_and_not_for_the_lane() {
        let (lanes, tenant, poor) = failing(wide());
        let standings: Vec<i8> = (0..6)
            .map(|_| {
                put(&lanes, poor, tenant, 1);
                assert_eq!(end_all(&lanes, End::Misread).len(), 1);
                lanes.core.lock().lanes[&poor].standing
            })
            .collect();
        assert_eq!(standings, [-3, -2, -1, 0, 0, 0]);
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
        let hosted = |_, _| Permit { sends: true, gone: false, rate: None, host: Some("h".into()), not_before: None };
        put(&lanes, one, tenant, 1);
        let first = lanes.next(at(0), hosted).start;
        lanes.ended(&first[0], End::LeaveAlone { until: at(5000), host: true }, at(0));
        put(&lanes, other, tenant, 1);
        assert!(lanes.next(at(1), hosted).start.is_empty());
        lanes.wake(at(5000));
        assert_eq!(lanes.next(at(5000), hosted).start.len(), 1);
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
}
