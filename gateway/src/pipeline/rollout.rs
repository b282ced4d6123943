//! How candidates fare against the steps that they are tried beside.
//!
//! An attempt tells here what ran, after its delivery has been settled. Where a candidate runs in the shadow, what the
//! step got and made is kept, if there is room, until `shadow` has run the candidate on it; so nothing of this holds up
//! a delivery. All of it is in memory: what is counted begins anew with the process, and whenever another version
//! takes part.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::patch::Patch;
use super::{Limits, Pipeline};
use crate::domain::{
    DeliveryId, Digest, EventId, FaultKind, PluginEvent, PluginPayload, PluginRequest, SubscriptionId, TenantId,
};
use crate::engine::{Spent, Tally};
use crate::registry::{Plan, Share, Step};

/// Differences that are kept of one step, the latest ones.
const SAMPLES: usize = 10;
/// Bytes of differences that are kept of one tenant; further ones are counted alone.
const SAMPLE_BYTES: usize = 1 << 20;
/// Bytes that a comparison takes up beside what is compared.
const ENTRY: usize = 1 << 10;

/// How one candidate fares.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Which step: a JSON Pointer into the subscription.
    pub place: String,
    /// How the candidate is tried.
    pub share: Share,
    /// Since when this is counted.
    pub since: Option<Timestamp>,
    /// The step.
    pub current: Side,
    /// What is tried beside it.
    pub candidate: Side,
    /// In the shadow: how often both have run on the same input.
    pub compared: u64,
    /// How often both made the same of it.
    pub agreed: u64,
    /// Comparisons that were given up, since too many waited or the tenant's processor time was used up.
    pub dropped: u64,
    /// Comparisons of this tenant's that wait now.
    pub waiting: usize,
    /// The latest differences, oldest first.
    pub samples: Vec<Sample>,
}

/// One of the two.
#[derive(Debug, Clone)]
pub struct Side {
    /// `name@version`.
    pub plugin: String,
    /// Its digest.
    pub digest: Digest,
    /// What its calls have used.
    pub tally: Tally,
}

/// One difference.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Over which event.
    pub event_id: EventId,
    /// In which delivery.
    pub delivery_id: DeliveryId,
    /// When it was found.
    pub at: Timestamp,
    /// What leads from what the step made to what the candidate made; nothing secret is in it.
    pub patch: Patch,
}

/// A step that has run in an attempt, for the counts.
pub(super) struct Noted {
    pub(super) place: usize,
    /// Whether it was the candidate.
    pub(super) is_candidate: bool,
    pub(super) spent: Spent,
    /// What the candidate is to be run on, if it runs in the shadow.
    pub(super) shadowed: Option<Shadowed>,
}

/// What a step got, and what it made of it.
pub(super) struct Shadowed {
    pub(super) input: PluginEvent,
    pub(super) made: Made,
}

/// What a step made of an event.
#[derive(Debug, Clone)]
pub(super) enum Made {
    /// The event, changed.
    Event(PluginEvent),
    /// A request.
    Request(PluginRequest),
    /// Nothing, for this reason.
    Dropped(String),
    /// A fault of this kind.
    Faulted(FaultKind),
}

impl Made {
    fn weight(&self) -> usize {
        match self {
            Self::Event(event) => event.data.len(),
            Self::Request(PluginRequest { body: PluginPayload::Text(text), .. }) => text.len(),
            Self::Request(PluginRequest { body: PluginPayload::Bytes(bytes), .. }) => bytes.len(),
            Self::Dropped(reason) => reason.len(),
            Self::Faulted(_) => 0,
        }
    }
}

/// A candidate to be run on what the step got.
pub(super) struct Job {
    pub(super) plan: Arc<Plan>,
    pub(super) place: usize,
    pub(super) event_id: EventId,
    pub(super) delivery_id: DeliveryId,
    pub(super) shadowed: Shadowed,
}

impl Job {
    fn weight(&self) -> usize {
        let Shadowed { input, made } = &self.shadowed;
        input.data.len() + made.weight() + ENTRY
    }
}

/// What is tried, and what waits to be compared.
pub(super) struct Rollouts {
    core: Mutex<Core>,
    /// Told when something waits.
    wake: Notify,
    most: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Core {
    tenants: HashMap<TenantId, Tried>,
    /// Tenants of which something waits, in turn.
    turns: VecDeque<TenantId>,
    /// Of all that waits.
    waiting_bytes: usize,
}

#[derive(Default)]
struct Tried {
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    sample_bytes: usize,
    steps: HashMap<(SubscriptionId, usize), Counts>,
}

struct Counts {
    /// The versions, and what they were told, that this is about.
    pair: Pair,
    since: Timestamp,
    current: Tally,
    candidate: Tally,
    compared: u64,
    agreed: u64,
    dropped: u64,
    samples: VecDeque<Sample>,
}

/// Who is compared with whom: digests and configs.
#[derive(PartialEq, Eq)]
struct Pair([(Digest, String); 2]);

impl Pair {
    fn of(step: &Step) -> Option<Self> {
        let candidate = &step.candidate.as_ref()?.step;
        Some(Self([step, candidate].map(|one| (one.plugin.digest(), one.config.clone()))))
    }
}

impl Counts {
    fn new(pair: Pair, since: Timestamp) -> Self {
        Self {
            pair,
            since,
            current: Tally::default(),
            candidate: Tally::default(),
            compared: 0,
            agreed: 0,
            dropped: 0,
            samples: VecDeque::new(),
        }
    }

    fn sample_bytes(&self) -> usize {
        self.samples.iter().map(|sample| sample.patch.weight()).sum()
    }
}

impl Tried {
    /// The counts of a step as it is in this plan; others of the same place are forgotten.
    fn counts(&mut self, plan: &Plan, place: usize, now: Timestamp) -> Option<&mut Counts> {
        let pair = Pair::of(plan.step(place)?)?;
        let counts = match self.steps.entry((plan.subscription.id, place)) {
            Entry::Vacant(entry) => entry.insert(Counts::new(pair, now)),
            Entry::Occupied(entry) => {
                let counts = entry.into_mut();
                if counts.pair != pair {
                    self.sample_bytes -= counts.sample_bytes();
                    *counts = Counts::new(pair, now);
                }
                counts
            }
        };
        Some(counts)
    }

    /// How many wait, and their bytes.
    fn load(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    fn forget(&mut self, gone: SubscriptionId) {
        self.steps.retain(|(subscription, _), _| *subscription != gone);
        self.sample_bytes = self.steps.values().map(Counts::sample_bytes).sum();
        self.waiting.retain(|job| job.plan.subscription.id != gone);
        self.waiting_bytes = self.waiting.iter().map(Job::weight).sum();
    }
}

impl Rollouts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            core: Mutex::default(),
            wake: Notify::new(),
            most: limits.shadow_waiting,
            most_bytes: limits.shadow_bytes,
        }
    }

    /// Whether a comparison of so many bytes would find room, so that what would not is not copied.
    pub(super) fn has_room(&self, tenant: TenantId, bytes: usize) -> bool {
        let core = self.core.lock();
        let (count, own) = core.tenants.get(&tenant).map_or((0, 0), Tried::load);
        self.fits((count, own), core.waiting_bytes, bytes)
    }

    /// A tenant has at most as many bytes as are left free, so that whoever comes next finds room.
    fn fits(&self, (count, own): (usize, usize), all: usize, bytes: usize) -> bool {
        count < self.most && own + bytes <= self.most_bytes.saturating_sub(all)
    }

    /// Counts what ran in an attempt, and lets what is to be compared wait for its turn.
    pub(super) fn note(
        &self,
        plan: &Arc<Plan>,
        (event_id, delivery_id): (EventId, DeliveryId),
        steps: Vec<Noted>,
        now: Timestamp,
    ) {
        let tenant = plan.subscription.tenant_id;
        let mut core = self.core.lock();
        let Core { tenants, turns, waiting_bytes } = &mut *core;
        let tried = tenants.entry(tenant).or_default();
        for Noted { place, is_candidate, spent, shadowed } in steps {
            let Some(counts) = tried.counts(plan, place, now) else { continue };
            let tally = if is_candidate { &mut counts.candidate } else { &mut counts.current };
            tally.add(spent);
            if plan.step(place).and_then(Step::shadow).is_none() {
                continue;
            }
            let job = shadowed.map(|shadowed| Job { plan: plan.clone(), place, event_id, delivery_id, shadowed });
            match job.filter(|job| self.fits(tried.load(), *waiting_bytes, job.weight())) {
                Some(job) => {
                    if tried.waiting.is_empty() {
                        turns.push_back(tenant);
                    }
                    tried.waiting_bytes += job.weight();
                    *waiting_bytes += job.weight();
                    tried.waiting.push_back(job);
                    self.wake.notify_one();
                }
                None => {
                    if let Some(counts) = tried.counts(plan, place, now) {
                        counts.dropped += 1;
                    }
                }
            }
        }
    }

    /// What is to be compared next, tenants in turn; waits for it.
    pub(super) async fn next(&self) -> Job {
        loop {
            if let Some(job) = self.core.lock().next() {
                return job;
            }
            self.wake.notified().await;
        }
    }

    /// A comparison was given up.
    pub(super) fn dropped(&self, job: &Job) {
        self.count(job, |counts| counts.dropped += 1);
    }

    /// A candidate has run on what the step got; `patch` leads from one output to the other.
    pub(super) fn compared(&self, job: &Job, spent: Spent, patch: Patch, now: Timestamp) {
        let mut core = self.core.lock();
        let Some(tried) = core.tenants.get_mut(&job.plan.subscription.tenant_id) else { return };
        let (weight, taken) = (patch.weight(), tried.sample_bytes);
        let Some(counts) = counts_of(tried, job) else { return };
        counts.candidate.add(spent);
        counts.compared += 1;
        if patch.is_empty() {
            counts.agreed += 1;
            return;
        }
        let mut freed = 0;
        if counts.samples.len() >= SAMPLES {
            freed = counts.samples.pop_front().map_or(0, |sample| sample.patch.weight());
        }
        let has_room = taken - freed + weight <= SAMPLE_BYTES;
        if has_room {
            let Job { event_id, delivery_id, .. } = *job;
            counts.samples.push_back(Sample { event_id, delivery_id, at: now, patch });
        }
        tried.sample_bytes = taken - freed + if has_room { weight } else { 0 };
    }

    fn count(&self, job: &Job, count: impl FnOnce(&mut Counts)) {
        let mut core = self.core.lock();
        let tried = core.tenants.get_mut(&job.plan.subscription.tenant_id);
        if let Some(counts) = tried.and_then(|tried| counts_of(tried, job)) {
            count(counts);
        }
    }

    /// Forgets a tenant.
    pub(super) fn forget(&self, tenant: TenantId) {
        let mut core = self.core.lock();
        if let Some(tried) = core.tenants.remove(&tenant) {
            core.waiting_bytes -= tried.waiting_bytes;
        }
        core.turns.retain(|other| *other != tenant);
    }

    /// Forgets a subscription that is gone or tries nothing any more.
    pub(super) fn forget_subscription(&self, tenant: TenantId, id: SubscriptionId) {
        let mut core = self.core.lock();
        let Core { tenants, turns, waiting_bytes } = &mut *core;
        let Some(tried) = tenants.get_mut(&tenant) else { return };
        *waiting_bytes -= tried.waiting_bytes;
        tried.forget(id);
        *waiting_bytes += tried.waiting_bytes;
        if tried.waiting.is_empty() {
            turns.retain(|other| *other != tenant);
        }
        if tried.steps.is_empty() && tried.waiting.is_empty() {
            tenants.remove(&tenant);
        }
    }

    fn of(&self, plan: &Plan) -> Vec<Rollout> {
        let core = self.core.lock();
        let tried = core.tenants.get(&plan.subscription.tenant_id);
        let rollout = |(place, step): (usize, &Step)| {
            let candidate = step.candidate.as_ref()?;
            let pair = Pair::of(step);
            let counts = tried.and_then(|tried| tried.steps.get(&(plan.subscription.id, place)));
            let counts = counts.filter(|counts| Some(&counts.pair) == pair.as_ref());
            let side = |step: &Step, tally: Option<&Tally>| Side {
                plugin: step.reference.clone(),
                digest: step.plugin.digest(),
                tally: tally.cloned().unwrap_or_default(),
            };
            Some(Rollout {
                place: match plan.transforms.get(place) {
                    Some(_) => format!("/transforms/{place}"),
                    None => "/connector".to_owned(),
                },
                share: candidate.share,
                since: counts.map(|counts| counts.since),
                current: side(step, counts.map(|counts| &counts.current)),
                candidate: side(&candidate.step, counts.map(|counts| &counts.candidate)),
                compared: counts.map_or(0, |counts| counts.compared),
                agreed: counts.map_or(0, |counts| counts.agreed),
                dropped: counts.map_or(0, |counts| counts.dropped),
                waiting: tried.map_or(0, |tried| tried.waiting.len()),
                samples: counts.into_iter().flat_map(|counts| counts.samples.iter().cloned()).collect(),
            })
        };
        plan.steps().enumerate().filter_map(rollout).collect()
    }
}

/// The counts that a comparison belongs to; none if they are about others by now.
fn counts_of<'a>(tried: &'a mut Tried, job: &Job) -> Option<&'a mut Counts> {
    let pair = Pair::of(job.plan.step(job.place)?)?;
    tried.steps.get_mut(&(job.plan.subscription.id, job.place)).filter(|counts| counts.pair == pair)
}

impl Core {
    fn next(&mut self) -> Option<Job> {
        while let Some(tenant) = self.turns.pop_front() {
            let Some(tried) = self.tenants.get_mut(&tenant) else { continue };
            let Some(job) = tried.waiting.pop_front() else { continue };
            tried.waiting_bytes -= job.weight();
            self.waiting_bytes -= job.weight();
            if !tried.waiting.is_empty() {
                self.turns.push_back(tenant);
            }
            return Some(job);
        }
        None
    }
}

impl Pipeline {
    /// How the candidates of a subscription fare, in the order of its steps.
    #[must_use]
    pub fn rollouts(&self, plan: &Plan) -> Vec<Rollout> {
        self.0.rollouts.of(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_next_finds_room() {
        let rollouts = Rollouts { core: Mutex::default(), wake: Notify::new(), most: 4, most_bytes: 100 };
        for (own, all, bytes, fits) in [
            ((0, 0), 0, 100, true),
            ((0, 0), 0, 101, false),
            ((1, 40), 40, 20, true),
            ((1, 40), 40, 21, false),
            ((0, 0), 60, 40, true),
            ((1, 20), 60, 20, true),
            ((3, 3), 3, 1, true),
            ((4, 4), 4, 1, false),
        ] {
            assert_eq!(rollouts.fits(own, all, bytes), fits, "{own:?} of {all}, and {bytes}");
        }
    }
}
