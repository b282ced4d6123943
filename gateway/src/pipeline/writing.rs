//! The room before the store: how much each tenant may have on its way into it at once.
//!
//! All tenants' events stand in the same commits, so one that posts mebibytes, or more than can be delivered, would have
//! the others' few hundred bytes wait for it. **Who acts.** What is taken in asks for [`Writing`]'s permit before it goes
//! to the store, and hands it back after; a tenant that writes much hands it back later, if others write, too. So does
//! what comes to nothing, which has a room of its own: nothing else stands behind it there. **What is promised.** Whoever
//! is alone never waits for longer than its own writing takes. What waits is bounded in memory; beyond it is refused, and
//! nothing of it was kept. What comes to nothing waits for a second at most: that an endpoint is down is no reason to
//! refuse what is owed to it. **What is deliberately not.** A rate: what a tenant may post a second is its limits' matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lanes::{HeldBack, UNBEGUN_HELD_BACK};
use crate::domain::{Delivery, IdMap, TenantId};
use crate::store::Accepted;

/// Bytes of events that a tenant may have on their way into the store at once. What is beyond waits before it, so that
/// one tenant's mebibytes do not stand in one commit with another's few hundred bytes.
const WRITING: usize = 1 << 20;
/// What counts as much to write, and for how many times as long as it took the next then waits, if others write too.
const MUCH: usize = 128 << 10;
const RESTS: u32 = 4;
/// About what it costs to deliver one of a large fan-out. What a tenant is owed faster than that, or than the gaps that
/// it leaves between attempts, only piles up. Where much has, it takes [longer](RESTS) still, however small the events
/// are that it comes in: what is written keeps its part of the room for as long as all that has room there would take, or
/// until the tenant has as little waiting as before.
const DELIVERING: Duration = Duration::from_micros(100);
/// How often it is looked, meanwhile, whether the tenant has caught up: so many times, and no sooner than that.
const LOOKS: u32 = 16;
const LOOK: Duration = Duration::from_millis(10);
/// How many times as fast as what comes to nothing is begun it is taken in: to be kept costs less than to be tried. And
/// how long it waits for that at most.
const KEPT: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(1);
/// What a delivery counts beside its event, and one that is late already: it has to wait in the store, or what its tenant
/// posts only piles up.
const DELIVERY_WEIGHT: usize = 128;
const WAITING_WEIGHT: usize = 16 << 10;
/// Memory for what waits for a tenant's room. What is beyond is refused, unless nothing waits.
const WAITING: usize = 64 << 20;

/// What a request brings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// What it takes of its tenant's room.
    room: usize,
    /// Bytes of memory, while it waits for that.
    memory: usize,
    /// Deliveries.
    owed: usize,
    /// Why they only pile up, if they do.
    piles_up: Option<HeldBack>,
    /// Whether most of an event's wait in the store.
    in_store: bool,
}

impl Load {
    /// Of events whose deliveries only pile up, or do not.
    pub(super) fn of(accepted: &[Accepted], piles_up: Option<HeldBack>) -> Self {
        Self {
            room: accepted.iter().map(|accepted| weight(accepted, piles_up.is_some())).sum(),
            memory: accepted.iter().map(memory).sum(),
            owed: accepted.iter().map(|accepted| owed(accepted, piles_up.is_some())).sum(),
            piles_up,
            in_store: accepted.iter().any(|accepted| accepted.in_hand * 2 < accepted.deliveries.len()),
        }
    }

    pub(super) fn for_nothing(&self) -> bool {
        self.piles_up == Some(HeldBack::ComesToNothing)
    }

    /// Whether they are late already.
    fn is_behind(&self) -> bool {
        self.in_store || self.piles_up.is_some()
    }

    fn is_much(&self) -> bool {
        self.piles_up.is_some() || self.room >= MUCH
    }

    /// How long it takes to deliver it at least, if the tenant waits so long between its attempts.
    fn delivering(&self, gap: Duration) -> Duration {
        let begun = gap / UNBEGUN_HELD_BACK;
        let each = match self.for_nothing() {
            true => begun / KEPT,
            false => DELIVERING.max(begun) * if self.is_behind() { RESTS } else { 1 },
        };
        let owed = if self.piles_up.is_some() { self.owed.max(WRITING / WAITING_WEIGHT) } else { self.owed };
        each.saturating_mul(u32::try_from(owed).unwrap_or(u32::MAX))
    }
}

/// How many deliveries it counts for: one that only piles up counts for one, if it is owed to nobody.
fn owed(accepted: &Accepted, piles_up: bool) -> usize {
    accepted.deliveries.len().max(usize::from(piles_up))
}

/// About how many bytes of the store an event with its deliveries takes; if they pile up, what it counts.
fn weight(accepted: &Accepted, piles_up: bool) -> usize {
    let brisk = if piles_up { 0 } else { accepted.in_hand };
    let waiting = owed(accepted, piles_up).saturating_sub(brisk);
    accepted.event.weight() + brisk * DELIVERY_WEIGHT + waiting * WAITING_WEIGHT
}

/// About how much memory it takes while it waits to be written: what is in hand is there twice.
fn memory(accepted: &Accepted) -> usize {
    accepted.event.weight() + (accepted.deliveries.len() + accepted.in_hand) * size_of::<Delivery>()
}

/// What each tenant has on its way into the store.
#[derive(Default)]
pub(super) struct Writing(Arc<Mutex<Rooms>>);

type Rooms = IdMap<Whose, Room>;

/// A tenant, and whether it is about what comes to nothing: what comes to something does not wait behind that.
type Whose = (TenantId, bool);

/// One tenant's room, the memory of what waits for it, and how many of its requests write.
struct Room {
    bytes: Arc<Semaphore>,
    waiting: usize,
    writing: usize,
}

impl Writing {
    /// Waits until the tenant may write that, too, in the order of asking; not if too much waits already. It is not given
    /// up meanwhile, since what is taken in is taken in [to the end](crate::registry::to_the_end).
    pub(super) async fn begin(&self, tenant: TenantId, load: Load) -> Option<Write<'_>> {
        let whose = (tenant, load.for_nothing());
        let room = {
            let mut all = self.0.lock();
            let new = || Room { bytes: Arc::new(Semaphore::new(WRITING)), waiting: 0, writing: 0 };
            let room = all.entry(whose).or_insert_with(new);
            if room.waiting > 0 && room.waiting + load.memory > WAITING {
                return None;
            }
            room.waiting += load.memory;
            room.bytes.clone()
        };
        // It is never closed, so there is always a permit.
        let permit = room.acquire_many_owned(u32::try_from(load.room.min(WRITING)).unwrap_or(u32::MAX));
        let permit = match load.for_nothing() {
            true => tokio::time::timeout(PATIENCE, permit).await.ok().and_then(Result::ok),
            false => permit.await.ok(),
        };
        if let Some(room) = self.0.lock().get_mut(&whose) {
            room.waiting -= load.memory;
            room.writing += 1;
        }
        Some(Write { all: self, whose, load, begun: Instant::now(), permit })
    }
}

/// Something on its way into the store.
pub(super) struct Write<'a> {
    all: &'a Writing,
    whose: Whose,
    load: Load,
    begun: Instant,
    permit: Option<OwnedSemaphorePermit>,
}

impl Write<'_> {
    /// It is there. A tenant that writes much leaves others most of the store's time, and writes no faster than it is
    /// delivered to until it has caught up. The gap between its attempts is asked only where it matters.
    pub(super) fn end(mut self, gap: impl FnOnce() -> Duration, caught_up: impl Fn() -> bool + Send + 'static) {
        let (tenant, for_nothing) = self.whose;
        let others_write = || self.all.0.lock().iter().any(|((other, _), room)| *other != tenant && room.writing > 0);
        // What comes to nothing piles up only beside others.
        if for_nothing || self.load.is_much() && others_write() {
            let permit = self.permit.take();
            let (written, writing) = (Instant::now(), self.begun.elapsed().saturating_mul(RESTS));
            let delivering = self.load.delivering(gap());
            let look = LOOK.max(delivering / LOOKS);
            let (all, whose) = (self.all.0.clone(), self.whose);
            tokio::spawn(async move {
                tokio::time::sleep(writing).await;
                while written.elapsed() < delivering && !caught_up() {
                    tokio::time::sleep(look.min(delivering.saturating_sub(written.elapsed()))).await;
                }
                drop(permit);
                leave(&mut all.lock(), whose);
            });
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut all = self.all.0.lock();
        if let Some(room) = all.get_mut(&self.whose) {
            room.writing -= 1;
        }
        leave(&mut all, self.whose);
    }
}

/// A room that nobody is in is no more.
fn leave(all: &mut Rooms, whose: Whose) {
    let is_left = |room: &Room| room.writing == 0 && room.waiting == 0 && room.bytes.available_permits() == WRITING;
    if all.get(&whose).is_some_and(is_left) {
        all.remove(&whose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Something that takes so much of the room, and as much memory.
    fn load(bytes: usize, piles_up: Option<HeldBack>) -> Load {
        Load { room: bytes, memory: bytes, owed: 1, piles_up, in_store: false }
    }

    #[tokio::test]
    async fn one_tenant_has_only_so_much_on_its_way_into_the_store() {
        let writing = Writing::default();
        let [one, other] = [1, 2].map(|byte| TenantId::from_bytes([byte; 16]));
        // It takes a minute to write.
        let write_large = async |tenant| {
            let mut large = writing.begin(tenant, load(WRITING * 2, None)).await.unwrap();
            large.begun -= MINUTE;
            large
        };
        let large = write_large(one).await;
        assert!(futures_util::poll!(Box::pin(writing.begin(one, load(1, None)))).is_pending());
        large.end(Duration::default, || false);
        let small = writing.begin(one, load(1, None)).await.unwrap();
        // Beside another it would rest: the room is not given back at once.
        write_large(other).await.end(Duration::default, || false);
        assert!(futures_util::poll!(Box::pin(writing.begin(other, load(1, None)))).is_pending());
        assert!(futures_util::poll!(Box::pin(writing.begin(one, load(1, None)))).is_ready());
        // So it would with little, if that piles up, until it has caught up; but not with little that does not.
        let most = Some(HeldBack::HasMost);
        let thirds = [(3, most, false), (4, most, true), (5, None, false)];
        for (third, piles_up, caught_up) in thirds {
            let third = TenantId::from_bytes([third; 16]);
            let little = writing.begin(third, load(WAITING_WEIGHT, piles_up)).await.unwrap();
            little.end(|| MINUTE, move || caught_up);
            let mut all = Box::pin(writing.begin(third, load(WRITING, None)));
            assert_eq!(futures_util::poll!(&mut all).is_pending(), piles_up.is_some());
            if caught_up {
                // Without it this would take minutes.
                drop(all.await);
            }
        }
        small.end(Duration::default, || false);
        // What comes to nothing does so whether others write at this moment or not.
        let alone = Writing::default();
        let nothing = Some(HeldBack::ComesToNothing);
        for (why, pending) in [(most, false), (nothing, true)] {
            alone.begin(one, load(1, why)).await.unwrap().end(|| MINUTE, || false);
            assert_eq!(futures_util::poll!(Box::pin(alone.begin(one, load(WRITING, why)))).is_pending(), pending);
        }
        assert!(
            futures_util::poll!(Box::pin(alone.begin(one, load(WRITING, None)))).is_ready(),
            "what the same tenant posts for something does not wait for it"
        );
        let rooms = || writing.0.lock().len();
        let before = rooms();
        drop(writing.begin(TenantId::from_bytes([6; 16]), load(WRITING, None)).await.unwrap());
        assert_eq!(rooms(), before, "nothing is left of who writes no more");
    }

    #[tokio::test]
    async fn only_so_much_waits_for_it() {
        let (writing, tenant) = (Writing::default(), TenantId::from_bytes([1; 16]));
        let first = writing.begin(tenant, load(WRITING, None)).await.unwrap();
        let beyond = Load { memory: WAITING + 1, ..load(1, None) };
        let mut waiting = vec![Box::pin(writing.begin(tenant, beyond))];
        assert!(futures_util::poll!(&mut waiting[0]).is_pending(), "where nothing waits, anything may");
        assert!(writing.begin(tenant, load(1, None)).await.is_none());
        assert!(
            writing.begin(TenantId::from_bytes([2; 16]), load(1, None)).await.is_some(),
            "that is one tenant's alone"
        );
        drop(first);
        assert!(waiting.remove(0).await.is_some());
        assert!(writing.0.lock().is_empty(), "all have come to their end");
        let first = writing.begin(tenant, load(WRITING, None)).await.unwrap();
        for _ in 0..2 {
            waiting.push(Box::pin(writing.begin(tenant, load(WAITING / 2, None))));
            assert!(futures_util::poll!(waiting.last_mut().unwrap()).is_pending());
        }
        assert!(writing.begin(tenant, load(1, None)).await.is_none());
        drop(first);
        for one in waiting {
            assert!(one.await.is_some());
        }
    }

    #[test]
    fn what_is_owed_to_nobody_counts_for_one_where_it_only_piles_up() {
        let event = Arc::new(crate::pipeline::envelope::tests::event("{}"));
        let weight = event.weight();
        let accepted = Accepted { event, deliveries: Vec::new(), in_hand: 0, dedupe: None };
        let of = |why| Load::of(&[accepted.clone(), accepted.clone()], why);
        let (usual, nothing) = (of(None), of(Some(HeldBack::ComesToNothing)));
        assert_eq!((usual.owed, usual.room), (0, 2 * weight));
        assert_eq!((nothing.owed, nothing.room), (2, 2 * (weight + WAITING_WEIGHT)));
    }

    #[test]
    fn what_is_behind_takes_longer_than_what_is_not() {
        let each = |in_store, why, gap| Load { owed: 10, in_store, ..load(1, why) }.delivering(gap);
        let (most, nothing) = (Some(HeldBack::HasMost), Some(HeldBack::ComesToNothing));
        assert_eq!(each(false, None, Duration::ZERO), 10 * DELIVERING);
        assert_eq!(each(true, None, Duration::ZERO), 10 * RESTS * DELIVERING);
        assert_eq!(each(false, most, Duration::ZERO), 64 * RESTS * DELIVERING, "as long as a full room would take");
        assert_eq!(each(false, nothing, MINUTE), 64 * (MINUTE / UNBEGUN_HELD_BACK / KEPT), "however late");
        assert_eq!(
            each(false, None, MINUTE),
            10 * (MINUTE / UNBEGUN_HELD_BACK),
            "and no faster than it may begin them"
        );
    }
}
