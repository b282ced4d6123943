//! Events of a span, sent again: to those who were not there, to those where it failed, or to all.
//!
//! A replay goes through its events, oldest first, and makes deliveries as they would be made now. It does so in small
//! steps, each written in one unit with the replay's own record: it goes on where it stood after any crash, and what
//! its record counts is on disk. It makes no more while one of the lanes it fills has something left in the store that
//! could be sent: so it goes at the pace of its slowest endpoint, and what comes in meanwhile waits behind a step and
//! not behind a million. Deliveries are sent as all others are, with the trigger `replay`.
//!
//! A copy of an event that was made to test a subscription is not replayed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::ingest::{self, Pace};
use super::{Parts, Pipeline, dispatch};
use crate::domain::{
    Delivery, Event, EventId, EventType, Lane, Only, Replay, ReplayId, ReplaySpec, ReplayState, Status, SubscriptionId,
    TenantId, Trigger,
};
use crate::filter::{Document, Filter};
use crate::registry::{Plan, to_the_end};
use crate::store::{self, DeliveryFilter, Record, RecordKey, ReplayStep, StoredEvent};

/// Events read at once.
const EVENTS: usize = 100;
/// Deliveries made in one step: a commit that nobody waits long for.
const STEP: usize = 64;
/// Replays that make a step at the same time.
const AT_ONCE: usize = 4;
/// How long it waits before it looks again whether there is room.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long it waits after the store could not take a step.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Events that a dry run looks at.
const DRY_EVENTS: u64 = 20_000;
/// Deliveries that a dry run names.
const EXAMPLES: usize = 10;

/// What a replay would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Whether all events were looked at; otherwise the oldest 20,000.
    pub complete: bool,
    /// Events looked at.
    pub events_seen: u64,
    /// Those of them that something would be sent of.
    pub events_matched: u64,
    /// Deliveries that would be made, or made due again.
    pub deliveries: u64,
    /// The first few of them.
    pub examples: Vec<(EventId, EventType, SubscriptionId)>,
}

/// A replay that this process knows.
struct Known {
    shown: watch::Sender<Replay>,
    cancelled: watch::Sender<bool>,
    /// Whether nobody works at it: it has come to its end, or the gateway to its own.
    rests: watch::Sender<bool>,
}

impl Known {
    fn new(replay: Replay) -> Arc<Self> {
        let rests = watch::Sender::new(replay.state != ReplayState::Running);
        Arc::new(Self { shown: watch::Sender::new(replay), cancelled: watch::Sender::new(false), rests })
    }
}

/// All replays there are.
pub(super) struct Replays {
    known: Mutex<BTreeMap<(TenantId, ReplayId), Arc<Known>>>,
    steps: Semaphore,
}

impl Default for Replays {
    fn default() -> Self {
        Self { known: Mutex::default(), steps: Semaphore::new(AT_ONCE) }
    }
}

impl Replays {
    /// The tenant is gone.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.known.lock().retain(|(of, _), known| {
            if *of == tenant {
                known.cancelled.send_replace(true);
            }
            *of != tenant
        });
    }
}

/// Takes up a replay that there is: one that had not come to its end goes on.
pub(super) fn take_up(parts: &Arc<Parts>, replay: Replay) {
    if parts.registry.tenant(replay.tenant_id).is_some() {
        begin(parts, replay);
    }
}

fn begin(parts: &Arc<Parts>, replay: Replay) {
    let known = Known::new(replay.clone());
    parts.replays.known.lock().insert((replay.tenant_id, replay.id), known.clone());
    if replay.state == ReplayState::Running {
        tokio::spawn(run(parts.clone(), known));
    }
}

impl Pipeline {
    /// Begins a replay; it is on disk when this returns. Its filter has been compiled by whoever asks.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn replay(&self, tenant: TenantId, spec: ReplaySpec) -> store::Result<Replay> {
        let now = self.0.clock.now();
        let replay = Replay {
            id: ReplayId::new(now),
            tenant_id: tenant,
            spec,
            state: ReplayState::Running,
            reason: None,
            events_seen: 0,
            events_matched: 0,
            deliveries_made: 0,
            cursor: None,
            started_at: now,
            finished_at: None,
        };
        let (pipeline, begun) = (self.clone(), replay.clone());
        to_the_end(async move {
            pipeline.0.store.configure(vec![Record::Replay(begun.clone())], Vec::new()).await?;
            begin(&pipeline.0, begun);
            store::Result::Ok(())
        })
        .await?;
        Ok(replay)
    }

    /// What a replay would do now. Nothing changes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn dry_run(&self, tenant: TenantId, spec: &ReplaySpec) -> store::Result<DryRun> {
        let mut dry = DryRun::default();
        let Ok(looking) = Looking::new(spec, self.0.clock.now()) else { return Ok(dry) };
        let mut after = None;
        while dry.events_seen < DRY_EVENTS {
            let _one_of_few = self.0.replays.steps.acquire().await;
            let page = self.0.store.events_between(tenant, (spec.since, spec.until), EVENTS, after).await?;
            for stored in &page.items {
                let found = looking.look(&self.0, stored).await?;
                dry.events_seen += 1;
                dry.events_matched += u64::from(!found.is_empty());
                dry.deliveries += found.len() as u64;
                let room = EXAMPLES.saturating_sub(dry.examples.len());
                let event_type = &stored.event.event_type;
                let example = |found: &Found| (stored.event.id, event_type.clone(), found.delivery().subscription_id);
                dry.examples.extend(found.iter().take(room).map(example));
            }
            after = page.next;
            if after.is_none() {
                dry.complete = true;
                break;
            }
        }
        Ok(dry)
    }

    /// A tenant's replays, by id.
    #[must_use]
    pub fn replays(&self, tenant: TenantId) -> Vec<Replay> {
        let known = self.0.replays.known.lock();
        let of_tenant = known.iter().filter(|((of, _), _)| *of == tenant);
        of_tenant.map(|(_, known)| known.shown.borrow().clone()).collect()
    }

    /// Ends a replay; gives it as it then is, `running` if the gateway stops. What it made stays. `None`: there is none.
    pub async fn cancel_replay(&self, tenant: TenantId, id: ReplayId) -> Option<Replay> {
        let known = self.0.replays.known.lock().get(&(tenant, id)).cloned()?;
        known.cancelled.send_replace(true);
        // It is held here, so its senders are there.
        let _ = known.rests.subscribe().wait_for(|rests| *rests).await;
        Some(known.shown.borrow().clone())
    }

    /// Forgets a replay that has come to its end.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget_replay(&self, tenant: TenantId, id: ReplayId) -> store::Result<()> {
        self.0.store.configure(Vec::new(), vec![RecordKey::Replay(tenant, id)]).await?;
        self.0.replays.known.lock().remove(&(tenant, id));
        Ok(())
    }
}

/// How a replay stops.
enum Stop {
    /// For good.
    End(ReplayState, Option<String>),
    /// Until the next start, or because its tenant is gone.
    Rest,
}

async fn run(parts: Arc<Parts>, known: Arc<Known>) {
    work(&parts, &known).await;
    known.rests.send_replace(true);
}

async fn work(parts: &Arc<Parts>, known: &Known) {
    let mut replay = known.shown.borrow().clone();
    let stop = match Looking::new(&replay.spec, replay.started_at) {
        Ok(looking) => go_through(parts, known, &looking, &mut replay).await,
        Err(why) => Stop::End(ReplayState::Failed, Some(why)),
    };
    let Stop::End(state, reason) = stop else { return };
    replay.state = state;
    replay.reason = reason;
    replay.finished_at = Some(parts.clock.now());
    if let Err(error) = parts.store.configure(vec![Record::Replay(replay.clone())], Vec::new()).await {
        tracing::error!(%error, replay_id = %replay.id, "the end of a replay could not be written down");
    }
    known.shown.send_replace(replay);
}

async fn go_through(parts: &Arc<Parts>, known: &Known, looking: &Looking, replay: &mut Replay) -> Stop {
    let mut has_waited = false;
    loop {
        if let Some(stop) = why_stop(parts, known, replay) {
            return stop;
        }
        let begun = Instant::now();
        match step(parts, known, looking, replay, has_waited).await {
            Ok(Step::More) => {
                // Others have the store as long as this had it.
                wait(known, begun.elapsed()).await;
                has_waited = false;
            }
            Ok(Step::Last) => return Stop::End(ReplayState::Done, None),
            Ok(Step::Behind(mut lanes)) => {
                while !lanes.is_empty() {
                    if let Some(stop) = why_stop(parts, known, replay) {
                        return stop;
                    }
                    wait(known, LOOK_AGAIN).await;
                    lanes.retain(|lane| is_behind(parts, replay.tenant_id, *lane));
                }
                has_waited = true;
            }
            Err(error) if may_pass(&error) => wait(known, TRY_AGAIN).await,
            // The process ends, and the replay goes on at the next start.
            Err(_) => return Stop::Rest,
        }
    }
}

fn may_pass(error: &store::Error) -> bool {
    matches!(error, store::Error::Overloaded | store::Error::DiskFull(_))
}

/// Waits, unless it is cancelled.
async fn wait(known: &Known, time: Duration) {
    let mut cancelled = known.cancelled.subscribe();
    // What is written and read by real disks waits by the machine's time.
    let _ = tokio::time::timeout(time, cancelled.wait_for(|cancelled| *cancelled)).await;
}

/// What came of a step.
enum Step {
    /// There may be more to do.
    More,
    /// There is no more.
    Last,
    /// Nothing was done: these lanes have to be waited for. What was found is looked for again then; who waits holds
    /// nothing.
    Behind(BTreeSet<Lane>),
}

/// Goes through a page of events, or as far as one step may make deliveries: an event with more is come back to, and
/// what was made of it is then there.
async fn step(
    parts: &Arc<Parts>,
    known: &Known,
    looking: &Looking,
    replay: &mut Replay,
    has_waited: bool,
) -> store::Result<Step> {
    let one_of_few = parts.replays.steps.acquire().await;
    let span = (looking.spec.since, looking.spec.until);
    let page = parts.store.events_between(replay.tenant_id, span, EVENTS, replay.cursor).await?;
    let (mut done, mut found, mut is_whole) = (replay.clone(), Vec::new(), true);
    for stored in &page.items {
        let of_event = looking.look(parts, stored).await?;
        let room = STEP - found.len();
        is_whole = of_event.len() <= room;
        let is_matched = !of_event.is_empty();
        found.extend(of_event.into_iter().take(room));
        if !is_whole {
            break;
        }
        done.cursor = Some(stored.event.id);
        done.events_seen += 1;
        done.events_matched += u64::from(is_matched);
    }
    if is_whole {
        // Where a page ends with events that are not of the span, the next goes on behind them.
        done.cursor = page.next.or(done.cursor);
    }
    let is_last = is_whole && page.next.is_none();
    drop((page, one_of_few));
    let mut lanes: BTreeSet<Lane> = found.iter().map(|found| found.delivery().lane).collect();
    lanes.retain(|lane| is_behind(parts, replay.tenant_id, *lane));
    if !lanes.is_empty() && !has_waited {
        return Ok(Step::Behind(lanes));
    }
    write(parts, known, done, found, replay).await?;
    Ok(if is_last { Step::Last } else { Step::More })
}

fn why_stop(parts: &Parts, known: &Known, replay: &Replay) -> Option<Stop> {
    if parts.lanes.is_stopped() || parts.registry.tenant(replay.tenant_id).is_none() {
        return Some(Stop::Rest);
    }
    if *known.cancelled.borrow() {
        return Some(Stop::End(ReplayState::Cancelled, None));
    }
    let id = replay.spec.subscription_id?;
    let is_there = parts.registry.plan(replay.tenant_id, id).is_some();
    (!is_there).then(|| Stop::End(ReplayState::Failed, Some("the subscription was deleted".to_owned())))
}

/// Writes what was found, and the replay as it is `done`.
async fn write(
    parts: &Arc<Parts>,
    known: &Known,
    done: Replay,
    found: Vec<Found>,
    replay: &mut Replay,
) -> store::Result<()> {
    let (mut add, mut again) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Found::New(delivery) => add.push(delivery),
            Found::Again(delivery) => again.push(delivery.id),
        }
    }
    let step = ReplayStep { replay: done, add, again, now: parts.clock.now() };
    let replayed = parts.store.replay(step).await?;
    for (lane, due) in replayed.due {
        parts.lanes.note_due(lane, replay.tenant_id, due);
    }
    dispatch::pump(parts);
    *replay = replayed.replay;
    known.shown.send_replace(replay.clone());
    Ok(())
}

/// Whether a lane has something left to send that is not in memory yet.
fn is_behind(parts: &Parts, tenant: TenantId, lane: Lane) -> bool {
    let plan = parts.registry.plan(tenant, lane.subscription_id).filter(|plan| plan.sends());
    plan.is_some_and(|plan| parts.lanes.is_behind(lane, plan.host.as_ref(), parts.clock.now()))
}

/// What is to be sent again.
enum Found {
    /// A delivery that there was not.
    New(Delivery),
    /// One that there is.
    Again(Delivery),
}

impl Found {
    fn delivery(&self) -> &Delivery {
        match self {
            Self::New(delivery) | Self::Again(delivery) => delivery,
        }
    }
}

/// What is looked for in events.
struct Looking {
    spec: ReplaySpec,
    filter: Option<Filter>,
    /// What was made since then is this replay's own work, before a crash, or as good as it.
    began: Timestamp,
}

impl Looking {
    /// `Err`: the filter does not compile, and why.
    fn new(spec: &ReplaySpec, began: Timestamp) -> Result<Self, String> {
        let filter = spec.filter.as_ref().map(Filter::compile).transpose();
        let filter = filter.map_err(|errors| {
            let details: Vec<String> = errors.into_iter().map(|error| error.detail).collect();
            format!("its filter can't be used: {}", details.join("; "))
        })?;
        Ok(Self { spec: spec.clone(), filter, began })
    }

    /// What is to be sent of one event.
    async fn look(&self, parts: &Parts, stored: &StoredEvent) -> store::Result<Vec<Found>> {
        let event = &stored.event;
        let document = Document::of(event);
        let mut pace = Pace::begin(&parts.long_matches);
        if !self.filter.as_ref().is_none_or(|filter| filter.evaluate(&document).unwrap_or(false)) {
            return Ok(Vec::new());
        }
        let there = self.deliveries(parts, event.tenant_id, event.id).await?;
        if there.iter().any(|delivery| delivery.trigger == Trigger::Test) {
            return Ok(Vec::new());
        }
        if self.spec.only == Only::Failed {
            return Ok(there.into_iter().filter(|one| self.is_failed(parts, one)).map(Found::Again).collect());
        }
        // It is being written out, or being removed: whoever was to have it has it, or never will.
        if there.len() < stored.deliveries {
            return Ok(Vec::new());
        }
        let has: HashSet<SubscriptionId> =
            there.iter().filter(|one| self.counts(one)).map(|one| one.subscription_id).collect();
        let mut found = Vec::new();
        for plan in self.candidates(parts, event) {
            pace.keep().await;
            if !has.contains(&plan.subscription.id) && ingest::wants(&plan, event, &document) {
                let delivery = ingest::delivery(&plan, event, Trigger::Replay, parts.clock.now());
                found.push(Found::New(Delivery { fresh_id: self.spec.fresh_ids, ..delivery }));
            }
        }
        Ok(found)
    }

    async fn deliveries(&self, parts: &Parts, tenant: TenantId, event: EventId) -> store::Result<Vec<Delivery>> {
        let filter = DeliveryFilter { event_id: Some(event), ..Default::default() };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = parts.store.deliveries(tenant, &filter, STEP, after).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    fn is_failed(&self, parts: &Parts, delivery: &Delivery) -> bool {
        matches!(delivery.status, Status::Failed | Status::Cancelled | Status::Held)
            && self.spec.subscription_id.is_none_or(|id| id == delivery.subscription_id)
            && parts.registry.plan(delivery.tenant_id, delivery.subscription_id).is_some()
    }

    /// Whether there is no need for another delivery beside this one.
    fn counts(&self, delivery: &Delivery) -> bool {
        self.spec.only == Only::Missing || delivery.status == Status::Pending || delivery.created_at >= self.began
    }

    fn candidates(&self, parts: &Parts, event: &Event) -> Vec<Arc<Plan>> {
        let event_type = event.event_type.as_str();
        match self.spec.subscription_id {
            Some(id) => {
                let plan = parts.registry.plan(event.tenant_id, id);
                plan.into_iter().filter(|plan| plan.patterns.iter().any(|one| one.matches(event_type))).collect()
            }
            None => {
                let matcher = parts.registry.matcher(event.tenant_id);
                matcher.map(|matcher| matcher.candidates(event_type).cloned().collect()).unwrap_or_default()
            }
        }
    }
}
