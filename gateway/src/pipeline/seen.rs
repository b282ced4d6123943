//! How many events of each type came in: counted in memory, written down now and then.
//!
//! Counting costs an event one short lock. What was counted since the last writing is lost if the process is killed:
//! these numbers say what comes in and what does not, and nothing is billed by them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Parts, Pipeline};
use crate::domain::{EventType, IdMap, SeenType, SeenTypes, TenantId};
use crate::store::{self, Record};

/// How often counts are written down.
const EVERY: Duration = Duration::from_secs(30);
/// Tenants whose counts are written in one unit.
const AT_ONCE: usize = 16;
/// Types that are counted of one tenant; those that come after them are not.
const MOST: usize = 1_000;

#[derive(Default)]
struct Counts {
    types: HashMap<EventType, (u64, Timestamp)>,
    changed: bool,
}

/// The counts of all tenants.
#[derive(Default)]
pub(super) struct Seen(Mutex<IdMap<TenantId, Counts>>);

impl Seen {
    /// Takes up counts where they were left.
    pub(super) fn load(&self, seen: SeenTypes) {
        let types = seen.types.into_iter().map(|seen| (seen.name, (seen.count, seen.last_seen_at))).collect();
        self.0.lock().insert(seen.tenant_id, Counts { types, changed: false });
    }

    /// Counts an event.
    pub(super) fn count(&self, tenant: TenantId, event_type: &EventType, now: Timestamp) {
        let mut all = self.0.lock();
        let counts = all.entry(tenant).or_default();
        let is_full = counts.types.len() >= MOST;
        match counts.types.get_mut(event_type) {
            Some(seen) => *seen = (seen.0 + 1, now),
            None if is_full => return,
            None => {
                counts.types.insert(event_type.clone(), (1, now));
            }
        }
        counts.changed = true;
    }

    fn of(&self, tenant: TenantId) -> Vec<SeenType> {
        self.0.lock().get(&tenant).map(Counts::list).unwrap_or_default()
    }

    /// What has changed since it was asked for last.
    fn changed(&self) -> Vec<SeenTypes> {
        let mut all = self.0.lock();
        let list = |(tenant, counts): (&TenantId, &mut Counts)| {
            std::mem::take(&mut counts.changed).then(|| SeenTypes { tenant_id: *tenant, types: counts.list() })
        };
        all.iter_mut().filter_map(list).collect()
    }

    /// The tenant is gone.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.0.lock().remove(&tenant);
    }
}

impl Counts {
    fn list(&self) -> Vec<SeenType> {
        let seen = |(name, (count, last)): (&EventType, &(u64, Timestamp))| SeenType {
            name: name.clone(),
            count: *count,
            last_seen_at: *last,
        };
        self.types.iter().map(seen).collect()
    }
}

/// Writes counts down, from time to time.
pub(super) fn start(parts: &Arc<Parts>) {
    let parts = parts.clone();
    tokio::spawn(async move {
        loop {
            parts.clock.sleep(EVERY).await;
            if let Err(error) = write(&parts).await {
                tracing::warn!(%error, "the counts of event types could not be written down");
            }
        }
    });
}

/// Writes down what has changed.
pub(super) async fn write(parts: &Parts) -> store::Result<()> {
    let mut changed = parts.seen.changed();
    changed.retain(|seen| parts.registry.tenant(seen.tenant_id).is_some());
    for some in changed.chunks(AT_ONCE) {
        parts.store.configure(some.iter().cloned().map(Record::Seen).collect(), Vec::new()).await?;
    }
    Ok(())
}

impl Pipeline {
    /// How many events of each type a tenant has had, in no order.
    #[must_use]
    pub fn seen(&self, tenant: TenantId) -> Vec<SeenType> {
        self.0.seen.of(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_types_are_counted_and_each_change_is_written_once() {
        let (seen, now) = (Seen::default(), Timestamp::UNIX_EPOCH);
        let (tenant, other) = (TenantId::new(now), TenantId::new(now));
        for n in 0..MOST + 5 {
            seen.count(tenant, &EventType::parse(&format!("t{n}")).unwrap(), now);
        }
        let first = EventType::parse("t0").unwrap();
        seen.count(tenant, &first, Timestamp::MAX);
        assert_eq!(seen.of(tenant).len(), MOST);
        let of_first = seen.of(tenant).into_iter().find(|one| one.name == first).unwrap();
        assert_eq!((of_first.count, of_first.last_seen_at), (2, Timestamp::MAX));
        assert_eq!(seen.of(other), []);
        let written = seen.changed();
        assert_eq!((written.len(), written[0].types.len()), (1, MOST));
        assert_eq!(seen.changed(), []);
        let again = Seen::default();
        again.load(written[0].clone());
        again.count(tenant, &first, now);
        assert!(again.of(tenant).iter().any(|one| one.name == first && one.count == 3));
    }
}
