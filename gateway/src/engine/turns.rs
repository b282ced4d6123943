//! Whose turn it is: deficit round robin between tenants, charged in the running time that was measured.
//!
//! A tenant with a thousand events waiting, or with a plugin that uses up its time limit on each of them, must
//! not be felt by one that sends a single event. So the places are not given out first come, first served:
//!
//! - While there is room and nobody waits, a call begins at once: one lock, nothing allocated, nobody woken.
//! - Otherwise a call waits in its tenant's own queue. A tenant has *credit*: a quantum of running time for
//!   each *round*. A free place goes to the first tenant in the ring that has credit left; what its call
//!   costs is taken off when it ends and is known. When no tenant that may run has credit, a round has passed
//!   and all get a quantum more. A call of 50 ms so waits out the rounds in which others use as much.
//! - While others wait, no tenant runs a second call beside its first: a place goes to those that run least.
//! - Debts last as long as somebody waits, whether or not the tenant itself does, so that they can't be shed by
//!   sending one event at a time. When nobody waits, all is forgotten.
//!
//! Nothing here reads a clock: whoever took a turn says what it cost. `Turns` is the door; `Ring` is the
//! bookkeeping, synchronous and deterministic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::{IdMap, TenantId};

/// Running time a tenant gets in each round: a few dozen ordinary calls.
pub(super) const QUANTUM: Duration = Duration::from_millis(1);

/// A fixed number of places, given out in turns. Shared by clones.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<Ring<oneshot::Sender<Turn>>>>);

/// A place, held until this is dropped.
pub(super) struct Turn {
    turns: Turns,
    tenant: TenantId,
    cost: Duration,
    /// Cleared where the place was given back by hand.
    held: bool,
}

impl Turns {
    /// As many places as `places`, at least one.
    #[must_use]
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(Ring::new(places))))
    }

    /// Waits for a turn. A caller that is dropped while it waits loses only its place in the queue.
    pub(super) async fn take(&self, tenant: TenantId) -> Turn {
        let turn = {
            let mut ring = self.0.lock();
            if ring.take(tenant) {
                return self.turn(tenant);
            }
            let (sender, receiver) = oneshot::channel();
            ring.wait(tenant, sender);
            receiver
        };
        match turn.await {
            Ok(turn) => turn,
            Err(_) => unreachable!("a waiting sender is dropped only when it is sent a turn: the ring outlives us"),
        }
    }

    /// How many calls wait, for the metrics.
    #[must_use]
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting
    }

    fn turn(&self, tenant: TenantId) -> Turn {
        Turn { turns: self.clone(), tenant, cost: Duration::ZERO, held: true }
    }

    fn hand_out(&self) {
        loop {
            // Out of the lock before sending: a turn nobody wants is given back here, by hand.
            let next = self.0.lock().next();
            let Some((tenant, waiter)) = next else { return };
            if let Err(mut refused) = waiter.send(self.turn(tenant)) {
                refused.held = false;
                self.0.lock().give_back(tenant, Duration::ZERO);
            }
        }
    }
}

impl Turn {
    /// Adds to what this turn cost.
    pub(super) fn charge(&mut self, cost: Duration) {
        self.cost += cost;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.held {
            self.turns.0.lock().give_back(self.tenant, self.cost);
            self.turns.hand_out();
        }
    }
}

/// The bookkeeping, for waiters of any kind.
struct Ring<W> {
    free: usize,
    waiting: usize,
    /// Tenants that run, wait, or owe. Emptied when nobody waits, so it never holds more than were active at
    /// once.
    lanes: IdMap<TenantId, Lane<W>>,
    /// Tenants that wait and had credit when last looked at, in order.
    ready: VecDeque<TenantId>,
    /// Tenants that wait for the next round, in order.
    spent: VecDeque<TenantId>,
}

struct Lane<W> {
    /// Nanoseconds; negative is debt.
    credit: i64,
    running: usize,
    waiters: VecDeque<W>,
}

const QUANTUM_NANOS: i64 = QUANTUM.as_nanos() as i64;

impl<W> Ring<W> {
    /// A ring with this many places, at least one.
    fn new(places: usize) -> Self {
        Self {
            free: places.max(1),
            waiting: 0,
            lanes: IdMap::default(),
            ready: VecDeque::new(),
            spent: VecDeque::new(),
        }
    }

    /// Takes a place if there is one and nobody waits.
    fn take(&mut self, tenant: TenantId) -> bool {
        if self.free == 0 || self.waiting > 0 {
            return false;
        }
        self.free -= 1;
        self.lane(tenant).running += 1;
        true
    }

    /// Queues a waiter.
    fn wait(&mut self, tenant: TenantId, waiter: W) {
        self.waiting += 1;
        let lane = self.lane(tenant);
        lane.waiters.push_back(waiter);
        let (first, owes) = (lane.waiters.len() == 1, lane.credit <= 0);
        if first {
            if owes { self.spent.push_back(tenant) } else { self.ready.push_back(tenant) }
        }
    }

    /// Gives a place back, with what it cost.
    fn give_back(&mut self, tenant: TenantId, cost: Duration) {
        self.free += 1;
        if let Some(lane) = self.lanes.get_mut(&tenant) {
            lane.running = lane.running.saturating_sub(1);
            lane.credit = lane.credit.saturating_sub(i64::try_from(cost.as_nanos()).unwrap_or(i64::MAX));
        }
        if self.waiting == 0 {
            // Nobody is kept waiting, so nobody owes anything. Only those that run are still needed.
            self.lanes.retain(|_, lane| {
                lane.credit = QUANTUM_NANOS;
                lane.running > 0
            });
        }
    }

    /// Whose turn is next, if a place is free and somebody waits. The place is taken.
    fn next(&mut self) -> Option<(TenantId, W)> {
        if self.free == 0 || self.waiting == 0 {
            return None;
        }
        let tenant = loop {
            if let Some(tenant) = self.first_ready() {
                break tenant;
            }
            self.pass_rounds();
        };
        let lane = self.lanes.get_mut(&tenant)?;
        let waiter = lane.waiters.pop_front()?;
        lane.running += 1;
        if lane.waiters.is_empty() {
            self.ready.retain(|other| *other != tenant);
        }
        self.free -= 1;
        self.waiting -= 1;
        Some((tenant, waiter))
    }

    /// The first tenant with credit among those that run least. It stays where it is: it may go on until its
    /// credit is used up.
    ///
    /// At most as many tenants run as there are places, and those without credit are moved away as they are
    /// met, so this looks at few of them however many wait.
    fn first_ready(&mut self) -> Option<TenantId> {
        let mut best: Option<(usize, TenantId)> = None;
        let mut at = 0;
        while let Some(tenant) = self.ready.get(at).copied() {
            let (credit, running) = self.lanes.get(&tenant).map_or((0, 0), |lane| (lane.credit, lane.running));
            if credit <= 0 {
                self.ready.remove(at);
                self.spent.push_back(tenant);
                continue;
            }
            if running == 0 {
                return Some(tenant);
            }
            if best.is_none_or(|(least, _)| running < least) {
                best = Some((running, tenant));
            }
            at += 1;
        }
        let (least, tenant) = best?;
        // Somebody without credit runs less: a round passes before anyone gets a second place.
        (self.least_running_spent().is_none_or(|spent| least <= spent)).then_some(tenant)
    }

    fn least_running_spent(&self) -> Option<usize> {
        self.spent.iter().filter_map(|tenant| self.lanes.get(tenant)).map(|lane| lane.running).min()
    }

    /// Lets as many rounds pass as the least indebted of those that run least needs, all at once.
    fn pass_rounds(&mut self) {
        let least = self.least_running_spent();
        let owed = (self.spent.iter())
            .filter_map(|tenant| self.lanes.get(tenant))
            .filter(|lane| Some(lane.running) == least)
            .map(|lane| lane.credit.saturating_neg())
            .min()
            .unwrap_or(0);
        let gain = (owed / QUANTUM_NANOS + 1).saturating_mul(QUANTUM_NANOS);
        let (ready, lanes) = (&mut self.ready, &mut self.lanes);
        self.spent.retain(|tenant| {
            let Some(lane) = lanes.get_mut(tenant) else { return false };
            lane.credit = lane.credit.saturating_add(gain).min(QUANTUM_NANOS);
            let owes = lane.credit <= 0;
            if !owes {
                ready.push_back(*tenant);
            }
            owes
        });
    }

    fn lane(&mut self, tenant: TenantId) -> &mut Lane<W> {
        self.lanes.entry(tenant).or_insert_with(|| Lane { credit: QUANTUM_NANOS, running: 0, waiters: VecDeque::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(50);

    fn tenant(name: char) -> TenantId {
        TenantId::from_bytes([u8::try_from(name).unwrap(); 16])
    }

    /// Gives one place after the other, each for what a call of its tenant costs, and tells the order.
    fn serve(ring: &mut Ring<char>, cost: impl Fn(char) -> Duration, turns: usize) -> String {
        let mut order = String::new();
        for _ in 0..turns {
            let Some((of, name)) = ring.next() else { break };
            order.push(name);
            ring.give_back(of, cost(name));
        }
        order
    }

    fn busy(places: usize) -> Ring<char> {
        let mut ring = Ring::new(places);
        for _ in 0..places {
            assert!(ring.take(tenant('z')));
        }
        ring
    }

    fn queue(ring: &mut Ring<char>, names: &str) {
        names.chars().for_each(|name| ring.wait(tenant(name), name));
    }

    #[test]
    fn while_there_is_room_nobody_waits_and_nothing_is_kept() {
        let mut ring: Ring<char> = Ring::new(2);
        for _ in 0..3 {
            assert!(ring.take(tenant('a')) && ring.take(tenant('a')) && !ring.take(tenant('b')));
            ring.give_back(tenant('a'), LONG);
            ring.give_back(tenant('a'), LONG);
            assert!(ring.lanes.is_empty());
        }
    }

    #[test]
    fn nobody_overtakes_who_waits() {
        let mut ring = busy(1);
        queue(&mut ring, "a");
        ring.give_back(tenant('z'), SHORT);
        assert!(!ring.take(tenant('b')));
        assert_eq!(ring.next(), Some((tenant('a'), 'a')));
    }

    #[test]
    fn equal_tenants_alternate_by_the_quantum() {
        let mut ring = busy(1);
        queue(&mut ring, "aaaaaabbbbbb");
        ring.give_back(tenant('z'), SHORT);
        assert_eq!(serve(&mut ring, |_| QUANTUM, 12), "abababababab");
        let mut ring = busy(1);
        queue(&mut ring, "aaaaaabbbbbb");
        ring.give_back(tenant('z'), SHORT);
        assert_eq!(serve(&mut ring, |_| QUANTUM / 2, 12), "aabbaabbaabb");
    }

    #[test]
    fn a_long_call_waits_out_what_it_cost() {
        let mut ring = busy(1);
        queue(&mut ring, &format!("{}{}", "l".repeat(3), "s".repeat(1200)));
        ring.give_back(tenant('z'), SHORT);
        let order = serve(&mut ring, |name| if name == 'l' { LONG } else { SHORT }, 2000);
        let longs: Vec<usize> = order.match_indices('l').map(|(at, _)| at).collect();
        // 50 ms are 500 short calls.
        assert_eq!((longs[0], order.len()), (0, 1203));
        assert!((490..=510).contains(&longs[1]) && (990..=1010).contains(&longs[2]), "{longs:?}");
    }

    #[test]
    fn a_debt_is_not_shed_by_sending_one_at_a_time() {
        let mut ring = busy(1);
        queue(&mut ring, &format!("l{}", "s".repeat(100)));
        ring.give_back(tenant('z'), SHORT);
        assert_eq!(serve(&mut ring, |_| LONG, 1), "l");
        queue(&mut ring, "l");
        assert_eq!(serve(&mut ring, |_| SHORT, 101), format!("{}l", "s".repeat(100)));
    }

    #[test]
    fn many_tenants_each_get_their_turn() {
        let mut ring = busy(1);
        let names: String = ('a'..='y').collect();
        queue(&mut ring, &names.repeat(3));
        ring.give_back(tenant('z'), SHORT);
        assert_eq!(serve(&mut ring, |_| LONG, 75), names.repeat(3));
    }

    #[test]
    fn one_call_each_while_others_wait() {
        let mut ring = busy(3);
        queue(&mut ring, "aaab");
        (0..3).for_each(|_| ring.give_back(tenant('z'), SHORT));
        let mut taken: Vec<char> = std::iter::from_fn(|| ring.next()).map(|(_, name)| name).collect();
        taken.sort_unstable();
        // One each, and the third place goes to the one that still waits: no place stays empty.
        assert_eq!(taken, ['a', 'a', 'b']);
        queue(&mut ring, "c");
        ring.give_back(tenant('b'), SHORT);
        assert_eq!(ring.next(), Some((tenant('c'), 'c')));
        assert_eq!((ring.next(), ring.waiting), (None, 1));
    }

    #[test]
    fn one_who_owes_still_goes_before_anothers_second() {
        let mut ring = busy(2);
        queue(&mut ring, "lssss");
        (0..2).for_each(|_| ring.give_back(tenant('z'), SHORT));
        assert_eq!(ring.next().map(|(_, name)| name), Some('l'));
        assert_eq!(ring.next().map(|(_, name)| name), Some('s'));
        ring.give_back(tenant('l'), LONG);
        queue(&mut ring, "l");
        assert_eq!(ring.next().map(|(_, name)| name), Some('l'));
    }

    #[tokio::test]
    async fn whoever_gives_up_loses_no_place() {
        let turns = Turns::new(1);
        let held = turns.take(tenant('z')).await;
        let mut waits: Vec<_> = "aabbc".chars().map(|name| Box::pin(turns.take(tenant(name)))).collect();
        for wait in &mut waits {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert_eq!(turns.waiting(), 5);
        // One gives up while it waits; the first when it had been given the turn, but not taken it.
        drop(waits.remove(2));
        drop(held);
        drop(waits.remove(0));
        for wait in waits {
            wait.await.charge(SHORT);
        }
        assert_eq!(turns.waiting(), 0);
        drop(turns.take(tenant('a')).await);
        assert!(turns.0.lock().lanes.is_empty());
    }

    proptest::proptest! {
        /// Whatever comes in whatever order: no place is lost, none given out twice, and all are served.
        #[test]
        fn places_are_conserved(
            places in 1usize..4,
            steps in proptest::collection::vec((0u8..4, 0u8..6, 0u64..60_000), 0..200),
        ) {
            let mut ring: Ring<u8> = Ring::new(places);
            let mut running: Vec<TenantId> = Vec::new();
            let mut waiting = 0usize;
            for (step, name, micros) in steps {
                let of = TenantId::from_bytes([name; 16]);
                if step > 0 {
                    if ring.take(of) {
                        running.push(of);
                    } else {
                        ring.wait(of, name);
                        waiting += 1;
                    }
                } else if let Some(done) = running.pop() {
                    ring.give_back(done, Duration::from_micros(micros));
                }
                while let Some((of, name)) = ring.next() {
                    proptest::prop_assert_eq!(of, TenantId::from_bytes([name; 16]));
                    running.push(of);
                    waiting -= 1;
                }
                proptest::prop_assert!(running.len() <= places);
                proptest::prop_assert!(waiting == 0 || running.len() == places);
                proptest::prop_assert_eq!(ring.ready.len() + ring.spent.len(), ring.lanes.values().filter(|lane| !lane.waiters.is_empty()).count());
            }
            while let Some(done) = running.pop() {
                ring.give_back(done, Duration::ZERO);
                while let Some((of, _)) = ring.next() {
                    running.push(of);
                    waiting -= 1;
                }
            }
            proptest::prop_assert_eq!((waiting, ring.free, ring.lanes.len()), (0, places, 0));
        }
    }
}
