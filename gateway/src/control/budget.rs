//! The processor time that tenants' uploads have taken in the last hour.
//!
//! In memory alone: who restarts the gateway gives everybody a fresh hour.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::later;
use crate::domain::TenantId;

/// How long what was used counts.
const WINDOW: Duration = Duration::from_secs(3600);

/// See the file's essay.
#[derive(Default)]
pub(super) struct Budget {
    /// What was used, and when, by tenant; oldest first.
    used: Mutex<HashMap<TenantId, VecDeque<(Timestamp, Duration)>>>,
    gates: Mutex<HashMap<TenantId, Weak<Gate>>>,
}

/// Held by the upload of a tenant that is under way.
type Gate = tokio::sync::Mutex<()>;

impl Budget {
    /// Whether a tenant has used less than `most` in the last hour.
    ///
    /// # Errors
    /// When it will have.
    pub(super) fn check(&self, tenant: TenantId, most: Duration, now: Timestamp) -> Result<(), Timestamp> {
        if most.is_zero() {
            // It waits for its operator.
            return Err(later(now, WINDOW));
        }
        let mut used = self.used.lock();
        let Some(uses) = used.get_mut(&tenant) else { return Ok(()) };
        while uses.front().is_some_and(|(at, _)| later(*at, WINDOW) <= now) {
            uses.pop_front();
        }
        let mut left: Duration = uses.iter().map(|(_, cost)| *cost).sum();
        for (at, cost) in uses.iter() {
            if left < most {
                break;
            }
            left -= *cost;
            if left < most {
                return Err(later(*at, WINDOW));
            }
        }
        if uses.is_empty() {
            used.remove(&tenant);
        }
        Ok(())
    }

    /// What a tenant's uploads pass one at a time.
    pub(super) fn gate(&self, tenant: TenantId) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        gates.retain(|_, gate| gate.strong_count() > 0);
        let known = gates.get(&tenant).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let gate = Arc::default();
            gates.insert(tenant, Arc::downgrade(&gate));
            gate
        })
    }

    /// A tenant's upload has taken this much.
    pub(super) fn charge(&self, tenant: TenantId, cost: Duration, now: Timestamp) {
        self.used.lock().entry(tenant).or_default().push_back((now, cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_counts_for_an_hour() {
        let (budget, tenant, other) = (Budget::default(), TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let most = Duration::from_secs(10);
        assert_eq!(budget.check(tenant, most, at(0)), Ok(()));
        budget.charge(tenant, Duration::from_secs(6), at(0));
        assert_eq!(budget.check(tenant, most, at(1)), Ok(()));
        budget.charge(tenant, Duration::from_secs(6), at(100));
        assert_eq!(budget.check(tenant, most, at(101)), Err(at(3600)), "when the first no longer counts");
        assert_eq!(budget.check(tenant, Duration::from_secs(6), at(101)), Err(at(3700)));
        assert_eq!(budget.check(other, most, at(101)), Ok(()));
        assert_eq!(budget.check(tenant, most, at(3600)), Ok(()));
        assert_eq!(budget.check(tenant, most, at(3700)), Ok(()));
        assert!(budget.used.lock().is_empty(), "what no longer counts is forgotten");
        assert_eq!(budget.check(other, Duration::ZERO, at(0)), Err(at(3600)));
    }

    #[test]
    fn a_tenants_uploads_pass_one_gate() {
        let (budget, tenant, other) = (Budget::default(), TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let gate = budget.gate(tenant);
        let held = gate.try_lock().unwrap();
        assert!(budget.gate(tenant).try_lock().is_err());
        assert!(budget.gate(other).try_lock().is_ok());
        drop(held);
        assert!(budget.gate(tenant).try_lock().is_ok());
        assert_eq!(budget.gates.lock().len(), 1, "gates that nobody passes are forgotten");
    }
}
