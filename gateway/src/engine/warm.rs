//! Instances that are kept: for guests whose start costs many times what their work does.
//!
//! Those are the presets, whose work is small and who are known to remember nothing, and guests that are slow to start.
//! A guest that brings an interpreter for a large language (CPython: 38 modules, thousands of functions in its table, a
//! memory of 13 MiB) takes a millisecond and more to start, and less than a tenth of that to handle an event. Where its
//! tenant wants it, and the operator allows it, its instance is kept after a call that went well, for later calls of the
//! *same subscription* with the same plugin and config.
//!
//! **What is promised.** No instance ever serves two tenants, two subscriptions, or two configs. It is dropped after any
//! fault, and after so many calls. What a kept instance faults over may come of what it went through before, so that
//! fault is not believed: the call is made again in a fresh one. Kept instances take no places from calls that start
//! fresh: they have their own, shared out so that no tenant has all of them, and where none can be had the call starts
//! fresh as any other. Those that rest hold a bounded amount of memory; the least recently used go first.
//!
//! **What is not.** A kept guest can remember earlier events of its own subscription. That it does not is then its
//! author's to see to, which is why nothing of a tenant's is kept unless it says so of the subscription.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::config::Reuse;
use crate::domain::{Digest, IdMap, SubscriptionId, TenantId};

/// For whom an instance is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) subscription: SubscriptionId,
    pub(super) plugin: Digest,
}

/// The instances that rest, and the places of all that are kept, at rest or at work.
pub(super) struct Warm<T> {
    limits: Reuse,
    /// In the order of their last use.
    resting: Mutex<VecDeque<(Kept<T>, usize)>>,
    places: Arc<Mutex<Places>>,
}

/// An instance, and what is known of it. The fields are in the order in which they must go: the instance, then its
/// place.
pub(super) struct Kept<T> {
    pub(super) instance: T,
    pub(super) ticket: Ticket,
}

/// What stays with an instance while it is kept.
pub(super) struct Ticket {
    owner: Owner,
    config: Box<str>,
    calls: u32,
    _place: Place,
}

#[derive(Default)]
struct Places {
    taken: u32,
    of_tenant: IdMap<TenantId, u32>,
}

/// A place among the kept ones, held until this is dropped.
struct Place {
    places: Arc<Mutex<Places>>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        places.taken = places.taken.saturating_sub(1);
        if let Some(taken) = places.of_tenant.get_mut(&self.tenant) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                places.of_tenant.remove(&self.tenant);
            }
        }
    }
}

impl<T> Warm<T> {
    pub(super) fn new(limits: Reuse) -> Self {
        Self { limits, resting: Mutex::default(), places: Arc::default() }
    }

    /// Whether anything is ever kept.
    pub(super) fn is_on(&self) -> bool {
        self.limits.instances > 0
    }

    /// An instance that rests for this owner and config, the one that rested least.
    pub(super) fn take(&self, owner: &Owner, config: &str) -> Option<Kept<T>> {
        let mut resting = self.resting.lock();
        let at = resting.iter().rposition(|(kept, _)| kept.ticket.owner == *owner && *kept.ticket.config == *config)?;
        resting.remove(at).map(|(kept, _)| kept)
    }

    /// A place for a new instance. If there is none left, for all or for the tenant, the least recently used of those
    /// that rest makes room; nothing if none of them rests.
    pub(super) fn reserve(&self, owner: Owner, config: &str) -> Option<Ticket> {
        let place = loop {
            let full_for_tenant = {
                let mut places = self.places.lock();
                let of_tenant = places.of_tenant.get(&owner.tenant).copied().unwrap_or(0);
                if places.taken < self.limits.instances && of_tenant < self.limits.per_tenant {
                    places.taken += 1;
                    places.of_tenant.insert(owner.tenant, of_tenant + 1);
                    break Place { places: Arc::clone(&self.places), tenant: owner.tenant };
                }
                of_tenant >= self.limits.per_tenant
            };
            // Dropped outside of both locks: it gives its place back.
            drop(self.oldest(full_for_tenant.then_some(owner.tenant))?);
        };
        Some(Ticket { owner, config: config.into(), calls: 0, _place: place })
    }

    fn oldest(&self, of: Option<TenantId>) -> Option<Kept<T>> {
        let mut resting = self.resting.lock();
        let at = resting.iter().position(|(kept, _)| of.is_none_or(|tenant| kept.ticket.owner.tenant == tenant))?;
        resting.remove(at).map(|(kept, _)| kept)
    }

    /// Lets an instance rest that has so much memory, unless it has served long enough. If all that rest have too much
    /// together, the least recently used go.
    pub(super) fn put_back(&self, instance: T, mut ticket: Ticket, memory: usize) {
        ticket.calls += 1;
        let kept = Kept { instance, ticket };
        if kept.ticket.calls >= self.limits.calls {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut resting = self.resting.lock();
            resting.push_back((kept, memory));
            let mut held: usize = resting.iter().map(|(_, memory)| memory).sum();
            while held > self.limits.memory {
                let Some((kept, memory)) = resting.pop_front() else { break };
                held -= memory;
                gone.push(kept);
            }
        }
        // Dropped outside of the lock, since that takes a while.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Reuse = Reuse { instances: 3, per_tenant: 2, memory: 100, calls: 10 };

    fn owner(tenant: u8, subscription: u8) -> Owner {
        Owner {
            tenant: TenantId::from_bytes([tenant; 16]),
            subscription: SubscriptionId::from_bytes([subscription; 16]),
            plugin: Digest([7; 32]),
        }
    }

    /// Keeps one for a tenant and subscription, and lets it rest with so much memory.
    fn keep(warm: &Warm<u8>, tenant: u8, subscription: u8, memory: usize) -> bool {
        let ticket = warm.reserve(owner(tenant, subscription), "{}");
        ticket.map(|ticket| warm.put_back(subscription, ticket, memory)).is_some()
    }

    fn resting(warm: &Warm<u8>) -> Vec<u8> {
        warm.resting.lock().iter().map(|(kept, _)| kept.instance).collect()
    }

    #[test]
    fn nobody_gets_anothers() {
        let warm = Warm::new(LIMITS);
        assert!(keep(&warm, 1, 1, 1));
        let mine = owner(1, 1);
        for (other, config) in [
            (owner(2, 1), "{}"),
            (owner(1, 2), "{}"),
            (Owner { plugin: Digest([8; 32]), ..mine }, "{}"),
            (mine, "{\"a\":1}"),
        ] {
            assert!(warm.take(&other, config).is_none(), "{other:?} {config}");
        }
        let kept = warm.take(&mine, "{}").unwrap();
        assert!(warm.take(&mine, "{}").is_none(), "one at work is not given out again");
        warm.put_back(kept.instance, kept.ticket, 1);
        assert!(warm.take(&mine, "{}").is_some());
    }

    #[test]
    fn places_are_bounded_and_the_least_recently_used_makes_room() {
        let warm = Warm::new(LIMITS);
        assert!(keep(&warm, 1, 1, 1) && keep(&warm, 1, 2, 1) && keep(&warm, 2, 3, 1));
        // Used, so that it is not the oldest of its tenant.
        let kept = warm.take(&owner(1, 1), "{}").unwrap();
        warm.put_back(kept.instance, kept.ticket, 1);
        assert!(keep(&warm, 1, 4, 1));
        assert_eq!(resting(&warm), [3, 1, 4], "a tenant that has all of its own makes room among those");
        assert!(keep(&warm, 3, 5, 1));
        assert_eq!(resting(&warm), [1, 4, 5], "else the oldest of all");
        let at_work: Vec<_> =
            [(1, 1), (1, 4), (3, 5)].map(|(tenant, of)| warm.take(&owner(tenant, of), "{}").unwrap()).into();
        assert!(!keep(&warm, 4, 6, 1), "none rests, so none makes room");
        drop(at_work);
        assert!(keep(&warm, 4, 6, 1));
        let places = warm.places.lock();
        assert_eq!((places.taken, places.of_tenant.len()), (1, 1));
    }

    #[test]
    fn memory_at_rest_is_bounded() {
        let warm = Warm::new(LIMITS);
        assert!(keep(&warm, 1, 1, 40) && keep(&warm, 2, 2, 40) && keep(&warm, 3, 3, 50));
        assert_eq!(resting(&warm), [2, 3]);
        assert!(keep(&warm, 1, 4, 101));
        assert_eq!(resting(&warm), Vec::<u8>::new(), "one alone can be too much");
        assert_eq!(warm.places.lock().taken, 0);
    }

    #[test]
    fn none_serves_for_ever() {
        let warm = Warm::new(Reuse { calls: 2, ..LIMITS });
        assert!(keep(&warm, 1, 1, 1));
        let kept = warm.take(&owner(1, 1), "{}").unwrap();
        warm.put_back(kept.instance, kept.ticket, 1);
        assert!(warm.take(&owner(1, 1), "{}").is_none());
        assert!(!keep(&Warm::new(Reuse { instances: 0, ..LIMITS }), 1, 1, 1), "switched off");
    }
}
