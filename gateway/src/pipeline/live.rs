//! What happens, told to those who watch.
//!
//! Whoever watches has a ring of the last things that happened to the tenant; who is slow loses the oldest and is told
//! how many. So watching costs a bounded amount of memory, nobody waits for a watcher, and where nobody watches at all
//! telling costs one look at a number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Parts, Pipeline};
use crate::domain::{Attempt, AttemptId, Delivery, Event, Outcome, TenantId, Trigger};
use crate::store::StoredEvent;

/// What is kept for those who are slow.
const KEPT: usize = 256;
/// Watchers that a tenant may have.
const MOST: usize = 10;

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watched {
    /// Events that come in.
    Events,
    /// Attempts that end, and deliveries that change without one.
    Deliveries,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum News {
    /// An event came in. Its data and attributes are left out.
    Event(StoredEvent),
    /// A delivery has changed. What was frozen of it is left out.
    Delivery(Box<Delivery>, Option<AttemptNews>),
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct AttemptNews {
    /// Its id.
    pub id: AttemptId,
    /// 1 for the first.
    pub number: u32,
    /// What set it off.
    pub trigger: Trigger,
    /// What happened.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Timestamp,
    /// How long the endpoint took.
    pub duration: Duration,
    /// The endpoint's answer.
    pub status_code: Option<u16>,
}

impl From<&Attempt> for AttemptNews {
    fn from(attempt: &Attempt) -> Self {
        Self {
            id: attempt.id,
            number: attempt.number,
            trigger: attempt.trigger,
            outcome: attempt.outcome.clone(),
            started_at: attempt.started_at,
            duration: attempt.duration,
            status_code: attempt.response.as_ref().map(|response| response.status_code),
        }
    }
}

/// What a watcher is told next.
#[derive(Debug)]
pub enum Next {
    /// This happened.
    News(Arc<News>),
    /// So many things happened that were lost: the watcher was too slow.
    Lost(u64),
    /// There will be nothing more: the tenant is gone.
    End,
}

type Rings = HashMap<(TenantId, Watched), broadcast::Sender<Arc<News>>>;

/// Those who watch.
#[derive(Default)]
pub(super) struct Live {
    /// How many; asked before anything is made to be told.
    watchers: AtomicUsize,
    rings: Mutex<Rings>,
}

impl Live {
    /// Whether anybody watches this.
    pub(super) fn is_watched(&self, tenant: TenantId, what: Watched) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0 && self.rings.lock().contains_key(&(tenant, what))
    }

    /// Tells of an event.
    pub(super) fn event(&self, event: &Event, deliveries: usize) {
        if self.is_watched(event.tenant_id, Watched::Events) {
            self.tell(event.tenant_id, Watched::Events, News::Event(StoredEvent::without_data(event, deliveries)));
        }
    }

    /// Tells of a delivery.
    pub(super) fn delivery(&self, delivery: &Delivery, attempt: Option<&Attempt>) {
        if self.is_watched(delivery.tenant_id, Watched::Deliveries) {
            let attempt = attempt.map(AttemptNews::from);
            let shown = Delivery { frozen: None, ..delivery.clone() };
            self.tell(delivery.tenant_id, Watched::Deliveries, News::Delivery(Box::new(shown), attempt));
        }
    }

    fn tell(&self, tenant: TenantId, what: Watched, news: News) {
        if let Some(ring) = self.rings.lock().get(&(tenant, what)) {
            // Whoever watched may have gone meanwhile.
            let _ = ring.send(Arc::new(news));
        }
    }

    /// `None`: the tenant has as many watchers as it may have.
    fn watch(&self, tenant: TenantId, what: Watched) -> Option<broadcast::Receiver<Arc<News>>> {
        let mut rings = self.rings.lock();
        let of_tenant = rings.iter().filter(|((of, _), _)| *of == tenant);
        if of_tenant.map(|(_, ring)| ring.receiver_count()).sum::<usize>() >= MOST {
            return None;
        }
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Some(rings.entry((tenant, what)).or_insert_with(|| broadcast::Sender::new(KEPT)).subscribe())
    }

    fn leave(&self, tenant: TenantId, what: Watched, ring: Option<broadcast::Receiver<Arc<News>>>) {
        let mut rings = self.rings.lock();
        drop(ring);
        if rings.get(&(tenant, what)).is_some_and(|ring| ring.receiver_count() == 0) {
            rings.remove(&(tenant, what));
        }
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The tenant is gone, and those who watch it are told that there is nothing more.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.rings.lock().retain(|(of, _), _| *of != tenant);
    }
}

/// A watcher, until it is dropped.
pub struct Watcher {
    parts: Arc<Parts>,
    tenant: TenantId,
    what: Watched,
    ring: Option<broadcast::Receiver<Arc<News>>>,
}

impl Watcher {
    /// Waits for what happens next. Nothing is lost if it is dropped while it waits.
    pub async fn next(&mut self) -> Next {
        let Some(ring) = &mut self.ring else { return Next::End };
        match ring.recv().await {
            Ok(news) => Next::News(news),
            Err(RecvError::Lagged(lost)) => Next::Lost(lost),
            Err(RecvError::Closed) => Next::End,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.parts.live.leave(self.tenant, self.what, self.ring.take());
    }
}

impl Pipeline {
    /// Watches what happens to a tenant, from now on. `None`: it has ten watchers already.
    #[must_use]
    pub fn watch(&self, tenant: TenantId, what: Watched) -> Option<Watcher> {
        let ring = Some(self.0.live.watch(tenant, what)?);
        Some(Watcher { parts: self.0.clone(), tenant, what, ring })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, EventType};

    fn event(tenant_id: TenantId) -> Event {
        let now = Timestamp::UNIX_EPOCH;
        Event {
            id: EventId::new(now),
            tenant_id,
            external_id: None,
            event_type: EventType::parse("a").unwrap(),
            source_id: None,
            source: None,
            timestamp: now,
            received_at: now,
            data: "[1,2,3]".into(),
            attributes: vec![("a".into(), "b".into())],
        }
    }

    #[test]
    fn who_is_slow_loses_the_oldest_and_keeps_nothing_alive() {
        let live = Live::default();
        let (tenant, other) = (TenantId::new(Timestamp::UNIX_EPOCH), TenantId::new(Timestamp::UNIX_EPOCH));
        let first = event(tenant);
        live.event(&first, 1);
        let mut ring = live.watch(tenant, Watched::Events).unwrap();
        assert!(live.is_watched(tenant, Watched::Events));
        assert!(!live.is_watched(tenant, Watched::Deliveries) && !live.is_watched(other, Watched::Events));
        live.event(&event(other), 1);
        live.event(&first, 2);
        let News::Event(told) = &*ring.try_recv().unwrap() else { panic!("not an event") };
        assert_eq!((told.event.id, told.deliveries), (first.id, 2), "neither the one before nor another tenant's");
        assert_eq!((&*told.event.data, told.event.attributes.len()), ("null", 0));
        for _ in 0..KEPT + 5 {
            live.event(&first, 1);
        }
        assert_eq!(ring.try_recv().unwrap_err(), broadcast::error::TryRecvError::Lagged(5));
        assert!(ring.try_recv().is_ok());
        live.leave(tenant, Watched::Events, Some(ring));
        assert!(live.rings.lock().is_empty());
        assert_eq!(live.watchers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_tenant_has_so_many_watchers() {
        let live = Live::default();
        let (tenant, other) = (TenantId::new(Timestamp::UNIX_EPOCH), TenantId::new(Timestamp::UNIX_EPOCH));
        let kinds = [Watched::Events, Watched::Deliveries];
        let mut rings: Vec<_> = (0..MOST).map(|n| (kinds[n % 2], live.watch(tenant, kinds[n % 2]))).collect();
        assert!(rings.iter().all(|(_, ring)| ring.is_some()));
        assert!(live.watch(tenant, Watched::Events).is_none());
        assert!(live.watch(other, Watched::Events).is_some());
        let (kind, ring) = rings.pop().unwrap();
        live.leave(tenant, kind, ring);
        let mut again = live.watch(tenant, Watched::Events).unwrap();
        live.forget(tenant);
        assert_eq!(again.try_recv().unwrap_err(), broadcast::error::TryRecvError::Closed);
    }
}
