//! Who is slow: what a tenant makes of a plugin, learned from what its calls cost.
//!
//! A call that has begun can't be taken back, and one that runs into its time limit holds its place for a thousand
//! times as long as an ordinary one. If slow calls had the same places, all of them would be held by loops whenever
//! nobody else happened to wait, and whoever came next would wait for a loop to end. So slow calls have few places of
//! their own. One that is not known to be slow yet holds an ordinary place, once.

use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Digest, IdMap, TenantId};

/// From this running time on a call is slow: a hundred times that of an ordinary one.
const SLOW: Duration = Duration::from_millis(5);
/// Brisk calls in a row that make a slow one forgotten.
const FORGIVEN_AFTER: u32 = 64;

/// Those that are slow. Kept until they are forgiven: at most one for each plugin of a tenant.
#[derive(Default)]
pub(super) struct Paces(Mutex<IdMap<(TenantId, Digest), u32>>);

impl Paces {
    /// Whether this tenant's calls of this plugin are slow.
    pub(super) fn is_slow(&self, tenant: TenantId, digest: Digest) -> bool {
        let slow = self.0.lock();
        !slow.is_empty() && slow.contains_key(&(tenant, digest))
    }

    /// A call has taken so long.
    pub(super) fn note(&self, tenant: TenantId, digest: Digest, took: Duration) {
        let mut slow = self.0.lock();
        if took >= SLOW {
            slow.insert((tenant, digest), 0);
        } else if let Some(brisk) = slow.get_mut(&(tenant, digest)) {
            *brisk += 1;
            if *brisk >= FORGIVEN_AFTER {
                slow.remove(&(tenant, digest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_call_is_remembered_for_a_while() {
        let (paces, tenant, digest) = (Paces::default(), TenantId::from_bytes([1; 16]), Digest([1; 32]));
        let others = [(TenantId::from_bytes([2; 16]), digest), (tenant, Digest([2; 32]))];
        paces.note(tenant, digest, Duration::from_micros(50));
        assert!(!paces.is_slow(tenant, digest));
        for _ in 0..2 {
            paces.note(tenant, digest, SLOW);
            for _ in 1..FORGIVEN_AFTER {
                paces.note(tenant, digest, Duration::ZERO);
                assert!(paces.is_slow(tenant, digest));
            }
            assert!(others.iter().all(|(tenant, digest)| !paces.is_slow(*tenant, *digest)));
        }
        paces.note(tenant, digest, Duration::ZERO);
        assert!(!paces.is_slow(tenant, digest));
    }
}
