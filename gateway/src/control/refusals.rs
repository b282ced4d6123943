//! What sources refused, so that whoever waits for events can see why none arrive.
//!
//! **Who acts.** The door of a source notes each refusal; a person reads them, newest first. **What is promised.** A
//! flood costs little: refusals of one kind from one place within a second are one entry that counts for each mistake,
//! at most [`MISTAKES`] of them; a source has [`PER_SOURCE`] entries, a tenant [`PER_TENANT`], and the gateway
//! [`IN_ALL`]; the oldest make room. Strangers decide how often this happens, so that noting one only touches memory;
//! what has changed is written down every half minute ([`EVERY`]), each list once, and when the gateway stops. Nothing
//! secret is kept: no body, and of headers only the name of the one that the refusal is about. **What is deliberately
//! not.** A process that is killed forgets the last half minute: nothing that was acknowledged is in it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Control, Result};
use crate::clock::since;
use crate::domain::{Refused, SourceId, SourceRefusals, TenantId};
use crate::store::{Record, RecordKey};

/// Most entries of one source, of one tenant's sources, and of all.
const PER_SOURCE: usize = 100;
const PER_TENANT: usize = 1_000;
const IN_ALL: usize = 20_000;
/// Within this time the same refusal is the same entry.
const SAME: Duration = Duration::from_secs(1);
/// Mistakes that are told apart within this time, where all else is the same.
const MISTAKES: usize = 8;
/// The longest text that is kept, in characters.
const LONGEST: usize = 300;
/// How often what has changed is written down.
const EVERY: Duration = Duration::from_secs(30);
/// Sources that are written in one unit: at most about a megabyte.
const AT_ONCE: usize = 16;

fn is_like(one: &Refused, other: &Refused) -> bool {
    one.reason == other.reason
        && one.header == other.header
        && one.remote_address == other.remote_address
        && one.method == other.method
}

/// What a refusal says is wrong, without the numbers: they differ from one request to the next.
fn mistake(refused: &Refused) -> impl Iterator<Item = char> {
    refused.detail.chars().filter(|letter| !letter.is_ascii_digit())
}

/// What was refused, by source. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sources: HashMap<SourceId, (TenantId, VecDeque<Refused>)>,
    by_tenant: HashMap<TenantId, usize>,
    all: usize,
    /// Whose list is not in the store as it is here.
    changed: HashMap<SourceId, TenantId>,
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
        inner.changed.insert(source, tenant);
        let (_, list) = inner.sources.entry(source).or_insert_with(|| (tenant, VecDeque::new()));
        let recent = list.iter().enumerate().rev().take_while(|(_, one)| since(one.at, refused.at) < SAME);
        let alike: Vec<(usize, &Refused)> = recent.filter(|(_, one)| is_like(one, &refused)).take(MISTAKES).collect();
        let same = alike.iter().find(|(_, one)| mistake(one).eq(mistake(&refused)));
        // Whoever makes up mistakes has no more entries for it.
        let same = same.or_else(|| alike.first().filter(|_| alike.len() == MISTAKES)).map(|(place, _)| *place);
        if let Some(same) = same.and_then(|place| list.remove(place)) {
            refused.count += same.count;
            list.push_back(refused);
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
        inner.changed.remove(&source);
    }

    /// Takes up what was written down.
    fn load(&self, written: SourceRefusals) {
        let SourceRefusals { tenant_id, source_id, refused } = written;
        refused.into_iter().for_each(|one| self.note(tenant_id, source_id, one));
        self.0.lock().changed.remove(&source_id);
    }

    /// Which have changed since it was asked for last.
    fn changed(&self) -> Vec<(SourceId, TenantId)> {
        std::mem::take(&mut self.0.lock().changed).into_iter().collect()
    }

    /// These are not in the store as they are here.
    fn differ(&self, sources: &[(SourceId, TenantId)]) {
        self.0.lock().changed.extend(sources.iter().copied());
    }

    /// A source's list, as it is written down.
    fn list(&self, source_id: SourceId, tenant_id: TenantId) -> SourceRefusals {
        let inner = self.0.lock();
        let list = inner.sources.get(&source_id).map(|(_, list)| list.iter().cloned().collect());
        SourceRefusals { tenant_id, source_id, refused: list.unwrap_or_default() }
    }
}

impl Control {
    /// Takes up what was written down, and from then on writes down what changes. To be called once, at the start, with
    /// what the store's configuration has of [`Record::Refusals`].
    pub fn keep_refusals(&self, records: Vec<Record>) {
        for record in records {
            let Record::Refusals(written) = record else { continue };
            match self.source(written.tenant_id, written.source_id) {
                Ok(_) => self.refusals.load(written),
                // It was being written when its source was deleted; the next writing removes it.
                Err(_) => self.refusals.differ(&[(written.source_id, written.tenant_id)]),
            }
        }
        let control = self.clone();
        tokio::spawn(async move {
            loop {
                control.clock.sleep(EVERY).await;
                control.write_refusals().await;
            }
        });
    }

    /// Writes down what has changed; what can't be written is tried again the next time.
    pub async fn write_refusals(&self) {
        let changed = self.refusals.changed();
        for (at, some) in changed.chunks(AT_ONCE).enumerate() {
            if let Err(error) = self.write_some(some).await {
                tracing::warn!(%error, "what sources refused could not be written down");
                self.refusals.differ(&changed[at * AT_ONCE..]);
                return;
            }
        }
    }

    async fn write_some(&self, some: &[(SourceId, TenantId)]) -> Result<()> {
        // None of the sources is deleted between the look and the writing.
        let _changing = self.changing.lock().await;
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (source, tenant) in some.iter().copied() {
            if self.source(tenant, source).is_err() {
                // A request was under way while it was deleted.
                self.refusals.forget(source);
            }
            match self.refusals.list(source, tenant) {
                list if list.refused.is_empty() => deletes.push(RecordKey::Refusals(tenant, source)),
                list => puts.push(Record::Refusals(list)),
            }
        }
        Ok(self.registry.save(puts, deletes).await?)
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
        self.changed.insert(source, tenant);
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
    use jiff::Timestamp;

    use super::*;
    use crate::clock::later;

    fn refused(at: Timestamp, header: &str) -> Refused {
        Refused {
            at,
            count: 1,
            method: "POST".to_owned(),
            status_code: 401,
            reason: "bad-signature".to_owned(),
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

    /// Numbers apart, each mistake is an entry, which tells the last; but not as many as somebody can make up.
    #[test]
    fn each_mistake_is_an_entry() {
        let refusals = Refusals::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (tenant, source) = (TenantId::new(start), SourceId::new(start));
        let note = |millis, detail: &str| {
            let one = refused(later(start, Duration::from_millis(millis)), "x-a");
            refusals.note(tenant, source, Refused { detail: detail.to_owned(), ..one });
        };
        let told = || refusals.of(source).into_iter().map(|one| (one.count, one.detail)).collect::<Vec<_>>();
        note(0, "stale by 400 s");
        note(300, "from the future by 400 s");
        note(600, "stale by 7 s");
        note(900, "no `id`");
        note(1_200, "no `type`");
        let all = [(1_u64, "no `type`"), (1, "no `id`"), (2, "stale by 7 s"), (1, "from the future by 400 s")];
        assert_eq!(told(), all.map(|(count, detail)| (count, detail.to_owned())));
        for made_up in 0..100 {
            note(10_000 + made_up, &"x".repeat(1 + made_up as usize));
        }
        let told = told();
        assert_eq!(told[0], (93, "x".repeat(100)), "the last takes the place of the one before");
        assert_eq!(told.len(), 4 + MISTAKES);
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
        // What is taken up again is what was left.
        let again = Refusals::default();
        let changed = refusals.changed();
        assert!(!changed.iter().any(|(source, _)| *source == gone));
        changed.iter().for_each(|(source, tenant)| again.load(refusals.list(*source, *tenant)));
        assert_eq!(again.changed(), []);
        for number in 0..300 {
            assert_eq!(again.of(id(number)), refusals.of(id(number)));
        }
    }

    /// However many there are, a list is written once; also the one that made room for another's.
    #[test]
    fn each_change_is_written_once() {
        let refusals = Refusals::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let tenant = TenantId::new(start);
        let sources: Vec<SourceId> = (0..11).map(|number| SourceId::from_bytes([number; 16])).collect();
        let mut second = 0;
        let mut fill = |source: SourceId, entries: u64| {
            for _ in 0..entries {
                second += 2;
                refusals.note(tenant, source, refused(later(start, Duration::from_secs(second)), "x-a"));
            }
        };
        sources[..10].iter().for_each(|source| fill(*source, 100));
        let changed = refusals.changed();
        assert_eq!(changed.len(), 10);
        assert_eq!(refusals.changed(), []);
        fill(sources[10], 2);
        let mut found = refusals.changed();
        found.sort_unstable();
        assert_eq!(found, [(sources[0], tenant), (sources[10], tenant)]);
        assert_eq!(refusals.list(sources[0], tenant).refused.len(), 98);
        fill(sources[10], 98);
        assert!(refusals.changed().contains(&(sources[0], tenant)));
        assert_eq!(refusals.list(sources[0], tenant).refused, [], "an empty list is written too, as none");
        refusals.differ(&found);
        assert_eq!(refusals.changed().len(), 2, "what could not be written is asked for again");
    }
}
