//! The processor time that a tenant's plugins may have in a minute.
//!
//! Whoever has used it up waits alone, until a minute in which there is some again: deliveries that need no plugin go on,
//! and so does everybody else. What a minute's last calls took beyond it is taken off the next. In memory alone.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Parts, Pipeline, dispatch};
use crate::clock::later;
use crate::domain::{IdMap, Lane, TenantId};
use crate::registry::Plan;

/// What the time is counted by.
const MINUTE: Duration = Duration::from_secs(60);

/// What tenants have used, of those that have used any lately.
#[derive(Default)]
pub(super) struct Used(Mutex<IdMap<TenantId, Minute>>);

struct Minute {
    begun: Timestamp,
    used: Duration,
}

impl Minute {
    /// Lets time pass: each minute takes off what may be used in it.
    fn pass(&mut self, most: Duration, now: Timestamp) {
        let minutes = crate::clock::since(self.begun, now).as_secs() / MINUTE.as_secs();
        if minutes > 0 {
            let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
            self.begun = later(self.begun, MINUTE.saturating_mul(minutes));
            self.used = self.used.saturating_sub(most.saturating_mul(minutes));
        }
    }
}

impl Used {
    /// A tenant that may use `most` has used this.
    fn charge(&self, tenant: TenantId, cost: Duration, most: Duration, now: Timestamp) {
        let mut used = self.0.lock();
        let minute = used.entry(tenant).or_insert(Minute { begun: now, used: Duration::ZERO });
        minute.pass(most, now);
        minute.used += cost;
    }

    /// When a tenant may use some again; `None`: it may now.
    fn until(&self, tenant: TenantId, most: Duration, now: Timestamp) -> Option<Timestamp> {
        let mut used = self.0.lock();
        let minute = used.get_mut(&tenant)?;
        minute.pass(most, now);
        if minute.used.is_zero() {
            used.remove(&tenant);
            return None;
        }
        let minutes = u32::try_from(minute.used.as_nanos() / most.as_nanos().max(1)).unwrap_or(u32::MAX);
        (minutes > 0).then(|| later(minute.begun, MINUTE.saturating_mul(minutes)))
    }

    /// Forgets a tenant.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.0.lock().remove(&tenant);
    }
}

impl Parts {
    /// A tenant's plugins have used this.
    pub(super) fn charge(&self, tenant: TenantId, cost: Duration) {
        if let Some(most) = self.registry.cpu_budget(tenant) {
            self.cpu.charge(tenant, cost, most, self.clock.now());
        }
    }

    /// When a tenant's plugins may run again; `None`: they may now.
    fn cpu_free_at(&self, tenant: TenantId) -> Option<Timestamp> {
        let most = self.registry.cpu_budget(tenant)?;
        self.cpu.until(tenant, most, self.clock.now())
    }

    /// Until when a subscription's deliveries wait, since its tenant's plugins have used up their time; `None`: they need
    /// not.
    pub(super) fn waits_for_cpu(&self, plan: &Plan) -> Option<Timestamp> {
        plan.steps().next()?;
        self.cpu_free_at(plan.subscription.tenant_id)
    }
}

impl Pipeline {
    /// When a tenant's plugins may run again, if they have used up their processor time.
    #[must_use]
    pub fn cpu_free_at(&self, tenant: TenantId) -> Option<Timestamp> {
        self.0.cpu_free_at(tenant)
    }

    /// Until when a subscription's deliveries wait for its tenant's plugins to have processor time again.
    #[must_use]
    pub fn waits_for_cpu(&self, plan: &Plan) -> Option<Timestamp> {
        self.0.waits_for_cpu(plan)
    }

    /// A call of a tenant's plugin that was no part of a delivery has used this.
    pub fn charge(&self, tenant: TenantId, cost: Duration) {
        self.0.charge(tenant, cost);
    }

    /// To be called after a tenant was given more or less processor time: what waits for some is looked at again.
    pub fn cpu_changed(&self, tenant: TenantId) {
        let now = self.0.clock.now();
        for plan in self.0.registry.plans(tenant).iter().filter(|plan| plan.steps().next().is_some()) {
            self.0.lanes.note_due(Lane::of(plan.subscription.id), tenant, now);
        }
        dispatch::pump(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_by_the_minute() {
        let (used, tenant, other) = (Used::default(), TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let (most, second) = (Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(used.until(tenant, most, at(0)), None);
        used.charge(tenant, second, most, at(10));
        assert_eq!(used.until(tenant, most, at(11)), None, "there is some left");
        used.charge(tenant, second, most, at(12));
        assert_eq!(used.until(tenant, most, at(13)), Some(at(70)));
        assert_eq!(used.until(other, most, at(13)), None);
        assert_eq!(used.until(tenant, 3 * second, at(13)), None, "who may use more may go on");
        used.charge(tenant, 3 * second, most, at(69));
        assert_eq!(used.until(tenant, most, at(70)), Some(at(130)), "what was used beyond it is owed");
        assert_eq!(used.until(tenant, most, at(130)), None);
        assert_eq!(used.until(tenant, most, at(190)), None);
        assert!(used.0.lock().is_empty(), "whoever owes nothing is forgotten");
    }
}
