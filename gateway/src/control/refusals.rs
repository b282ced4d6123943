//! What sources refused, so that whoever waits for events can see why none arrive.
//!
//! **Who acts.** The door of a source notes each refusal; a person reads them, newest first. **What is promised.** A
//! flood costs nothing: refusals of one kind from one place within a second are one entry that counts, a source has
//! [`PER_SOURCE`] entries, a tenant [`PER_TENANT`], and the gateway [`IN_ALL`]; the oldest make room. Nothing secret is
//! kept: no body, and of headers only the name of the one that the refusal is about. **What is deliberately not.**
//! Nothing is written to the store, for strangers decide how often this happens; a restart forgets.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::since;
use crate::domain::{SourceId, TenantId};

/// Most entries of one source, of one tenant's sources, and of all.
const PER_SOURCE: usize = 100;
const PER_TENANT: usize = 1_000;
const IN_ALL: usize = 20_000;
/// Within this time the same refusal is the same entry.
const SAME: Duration = Duration::from_secs(1);
/// The longest text that is kept, in characters.
const LONGEST: usize = 300;

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When; of several, the last.
    pub at: Timestamp,
    /// How many of the kind there were within a second.
    pub count: u64,
    /// The HTTP method.
    pub method: String,
    /// What was answered.
    pub status_code: u16,
    /// Which problem it is: the last part of its `type`.
    pub reason: &'static str,
    /// What happened, in words.
    pub detail: String,
    /// The header it is about.
    pub header: Option<String>,
    /// The body's size in bytes, if it was read.
    pub body_size: Option<usize>,
    /// What the body was said to be.
    pub content_type: Option<String>,
    /// Where the connection came from: the product, or the proxy before this gateway.
    pub remote_address: Option<IpAddr>,
}

impl Refused {
    fn is_like(&self, other: &Self) -> bool {
        self.reason == other.reason
            && self.header == other.header
            && self.remote_address == other.remote_address
            && self.method == other.method
    }
}

/// What was refused, by source. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sources: HashMap<SourceId, (TenantId, VecDeque<Refused>)>,
    by_tenant: HashMap<TenantId, usize>,
    all: usize,
}

impl Refusals {
    /// Notes a refusal.
    pub fn note(&self, tenant: TenantId, source: SourceId, mut refused: Refused) {
        for text in [Some(&mut refused.detail), refused.content_type.as_mut()].into_iter().flatten() {
            if text.len() > LONGEST {
                *text = text.chars().take(LONGEST).collect();
            }
        }
        let mut inner = self.0.lock();
        let (_, list) = inner.sources.entry(source).or_insert_with(|| (tenant, VecDeque::new()));
        let recent = list.iter_mut().rev().take_while(|one| since(one.at, refused.at) < SAME);
        if let Some(same) = recent.into_iter().find(|one| one.is_like(&refused)) {
            refused.count += same.count;
            *same = refused;
            return;
        }
        list.push_back(refused);
        let is_full = list.len() > PER_SOURCE;
        *inner.by_tenant.entry(tenant).or_default() += 1;
        inner.all += 1;
        if is_full {
            inner.drop_first(source);
        } else if inner.by_tenant.get(&tenant).is_some_and(|count| *count > PER_TENANT) {
            inner.make_room(Some(tenant));
        } else if inner.all > IN_ALL {
            inner.make_room(None);
        }
    }

    /// A source's refusals, newest first.
    #[must_use]
    pub fn of(&self, source: SourceId) -> Vec<Refused> {
        let inner = self.0.lock();
        let list = inner.sources.get(&source).map(|(_, list)| list.iter().rev().cloned().collect());
        list.unwrap_or_default()
    }

    /// The source is gone.
    pub(super) fn forget(&self, source: SourceId) {
        let mut inner = self.0.lock();
        while inner.sources.contains_key(&source) {
            inner.drop_first(source);
        }
    }
}

impl Inner {
    /// The source whose oldest entry is the oldest of all loses it.
    fn make_room(&mut self, tenant: Option<TenantId>) {
        let candidates = self.sources.iter().filter(|(_, (owner, _))| tenant.is_none_or(|tenant| tenant == *owner));
        let oldest = candidates.min_by_key(|(_, (_, list))| list.front().map(|first| first.at)).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.drop_first(oldest);
        }
    }

    fn drop_first(&mut self, source: SourceId) {
        let Some((tenant, list)) = self.sources.get_mut(&source) else { return };
        let tenant = *tenant;
        let dropped = usize::from(list.pop_front().is_some());
        if list.is_empty() {
            self.sources.remove(&source);
        }
        self.all -= dropped;
        if let Some(count) = self.by_tenant.get_mut(&tenant) {
            *count -= dropped;
            if *count == 0 {
                self.by_tenant.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;

    fn refused(at: Timestamp, header: &str) -> Refused {
        Refused {
            at,
            count: 1,
            method: "POST".to_owned(),
            status_code: 401,
            reason: "bad-signature",
            detail: "x".repeat(1_000),
            header: Some(header.to_owned()),
            body_size: Some(1),
            content_type: None,
            remote_address: None,
        }
    }

    #[test]
    fn a_flood_is_one_entry_a_second() {
        let refusals = Refusals::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (tenant, source) = (TenantId::new(start), SourceId::new(start));
        for millis in 0..2_500 {
            refusals.note(tenant, source, refused(later(start, Duration::from_millis(millis)), "x-a"));
        }
        refusals.note(tenant, source, refused(later(start, Duration::from_millis(2_500)), "x-b"));
        let found = refusals.of(source);
        assert_eq!(found[0].header.as_deref(), Some("x-b"), "the newest is the first");
        assert_eq!(found[0].detail.len(), LONGEST);
        assert_eq!(found.iter().map(|one| one.count).sum::<u64>(), 2_501);
        assert!(found.len() <= 5, "{}", found.len());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let refusals = Refusals::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let tenants: Vec<TenantId> = (0..25).map(|number| TenantId::from_bytes([number; 16])).collect();
        let at = |number: u64| later(start, Duration::from_secs(2 * number));
        let id = |number: usize| SourceId::from_bytes([[0; 8], number.to_be_bytes()].concat().try_into().unwrap());
        let mut number = 0;
        for (place, tenant) in tenants.iter().enumerate() {
            for source in 0..12 {
                let source = id(place * 12 + source);
                for _ in 0..110 {
                    number += 1;
                    refusals.note(*tenant, source, refused(at(number), "x-a"));
                }
                assert!(refusals.of(source).len() <= PER_SOURCE);
                assert_eq!(refusals.of(source)[0].at, at(number));
            }
        }
        let inner = refusals.0.lock();
        assert!(inner.all <= IN_ALL && inner.by_tenant.values().all(|count| *count <= PER_TENANT));
        let counted: usize = inner.sources.values().map(|(_, list)| list.len()).sum();
        assert_eq!((inner.all, inner.by_tenant.values().sum::<usize>()), (counted, counted));
        drop(inner);
        let gone = id(299);
        assert!(!refusals.of(gone).is_empty());
        refusals.forget(gone);
        assert!(refusals.of(gone).is_empty());
    }
}
