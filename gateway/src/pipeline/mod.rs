//! The data's way, from the door to the endpoint.
//!
//! **Who acts.** [`parse`](Pipeline::parse) reads what was posted, once. `ingest` finds the subscriptions
//! that want it and asks the store to accept event and deliveries in one unit; only then is the client
//! answered; `writing` lets no tenant fill the store's commits. `dispatch` keeps the lanes: what is due, what may leave,
//! whose turn it is. `deliver` makes one attempt: transforms, envelope, signature, the request, the answer. `record`
//! writes down what happened and what follows. `live` tells those who watch. `replay` does the same for events that came
//! in before. `rollout` counts how candidates fare, `shadow` runs those of which nothing is sent, and `rerun` makes a past
//! delivery again without sending it.
//!
//! ```text
//! http ─ parse ─ ingest ─ Store::accept ─ dispatch ─ deliver ─ record ─ Store::settle
//!                                            ▲                    │
//!                                            └──── retry at … ────┘
//! ```
//!
//! **What is promised.** An accepted event's deliveries are tried until their schedules end, at least once,
//! whatever happens to this process. A lane that can't send (paused, rate-limited, broken, full) holds up no
//! other; tenants take turns; everything queued is bounded, and what does not fit waits in the store. What an
//! automatic retry sends is what the first attempt sent, but for signature, time and attempt number.
//! **What is deliberately not.** There is no order between deliveries, and no delivery exactly once:
//! receivers tell duplicates by the id.

mod body;
mod cpu;
mod deliver;
mod dispatch;
mod envelope;
mod extract;
mod handshake;
mod ingest;
mod js;
mod lanes;
mod live;
mod meters;
mod parse;
mod patch;
mod pressure;
mod preview;
mod prove;
mod record;
mod replay;
mod rerun;
mod retention;
mod rollout;
mod seen;
mod shadow;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use metrics::Label;

pub use self::body::body_of;
pub use self::extract::{ExtractError, Posted};
pub use self::handshake::Unanswered;
pub use self::ingest::{IngestError, Ingested};
pub use self::live::{AttemptNews, News, Next, Watched, Watcher};
pub use self::parse::{Incoming, IngestProblem, ItemError, NewEvent, ParseLimits};
pub use self::patch::{Operation, Patch};
pub use self::preview::{Preview, PreviewStep};
pub use self::replay::DryRun;
pub use self::rerun::Rerun;
pub use self::rollout::{Rollout, Sample, Side};
use self::writing::Writing;
use crate::clock::Clock;
use crate::domain::{Delivery, DeliveryId, Lane, SourceId, Status, SubscriptionId, TenantId};
use crate::egress::{Authenticator, Egress};
use crate::engine::{Engine, Tally};
use crate::registry::Registry;
use crate::store::{self, Record, Store};

/// Bounds of the pipeline; each is a configuration key.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Attempts under way, in total.
    pub in_flight: usize,
    /// Attempts under way to one subscription.
    pub in_flight_per_endpoint: usize,
    /// Attempts under way to one host, for one tenant.
    pub in_flight_per_host: usize,
    /// Bytes of events kept in memory while they wait to be sent; beyond, they wait in the store.
    pub waiting_bytes: usize,
    /// Deliveries of one lane kept in memory while they wait.
    pub waiting_per_lane: usize,
    /// Consecutive time-outs after which an endpoint is left alone for a while.
    pub breaker_timeouts: u32,
    /// How long it is left alone at first; doubled each time, at most 16 times that.
    pub breaker_rest: Duration,
    /// Events a tenant may post per second, unless its own limits say otherwise; 0 means any number.
    pub events_per_second: u32,
    /// How long a client's id makes a second event a duplicate.
    pub dedupe_window: Duration,
    /// How long events and deliveries are kept.
    pub retention: Duration,
    /// Comparisons of candidates that may wait, of one tenant.
    pub shadow_waiting: usize,
    /// Bytes of what they are to be run on, of all tenants.
    pub shadow_bytes: usize,
    /// Whether what plugins use is measured by tenant and plugin.
    pub measure_tenants: bool,
}

/// The pipeline's handle. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline(Arc<Parts>);

/// What the rooms of the pipeline share.
struct Parts {
    clock: Clock,
    store: Arc<dyn Store>,
    registry: Registry,
    engine: Engine,
    egress: Egress,
    /// For this gateway's own inboxes alone: the one address it may reach is our own.
    own_inboxes: Egress,
    authenticator: Authenticator,
    limits: Limits,
    meters: meters::Meters,
    lanes: lanes::Lanes,
    pressure: pressure::Pressure,
    rates: ingest::Rates<TenantId>,
    /// How fast each source is posted to.
    source_rates: ingest::Rates<SourceId>,
    writing: Writing,
    /// Held by the one match that has taken long and goes on.
    long_matches: tokio::sync::Semaphore,
    replays: replay::Replays,
    live: live::Live,
    seen: seen::Seen,
    /// Held by the one event that is held against a schema at a great cost.
    long_checks: tokio::sync::Semaphore,
    rollouts: rollout::Rollouts,
    /// What tenants' plugins have used of their processor time.
    cpu: cpu::Used,
}

/// What a pipeline is made of.
pub struct Setup {
    /// The time.
    pub clock: Clock,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The configuration.
    pub registry: Registry,
    /// Runs plugins.
    pub engine: Engine,
    /// Dials out.
    pub egress: Egress,
    /// Dials our own inboxes.
    pub own_inboxes: Egress,
    /// Fetches tokens.
    pub authenticator: Authenticator,
    /// Bounds.
    pub limits: Limits,
    /// What earlier pipelines have put into the store's configuration: ids of messages seen, and replays.
    pub records: Vec<Record>,
}

impl Pipeline {
    /// Starts it: everything that is due in the store begins to move.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn start(setup: Setup) -> store::Result<Self> {
        let heads = setup.store.heads().await?;
        let parts = Parts {
            meters: meters::Meters::new(),
            lanes: lanes::Lanes::new(&setup.limits, heads),
            pressure: pressure::Pressure::new(),
            rates: ingest::Rates::default(),
            source_rates: ingest::Rates::default(),
            writing: Writing::default(),
            long_matches: tokio::sync::Semaphore::new(1),
            replays: replay::Replays::default(),
            live: live::Live::default(),
            seen: seen::Seen::default(),
            long_checks: tokio::sync::Semaphore::new(1),
            rollouts: rollout::Rollouts::new(&setup.limits),
            cpu: cpu::Used::default(),
            clock: setup.clock,
            store: setup.store,
            registry: setup.registry,
            engine: setup.engine,
            egress: setup.egress,
            own_inboxes: setup.own_inboxes,
            authenticator: setup.authenticator,
            limits: setup.limits,
        };
        let pipeline = Self(Arc::new(parts));
        dispatch::start(&pipeline.0);
        retention::start(&pipeline.0);
        shadow::start(&pipeline.0);
        for record in setup.records {
            match record {
                Record::Seen(seen) => pipeline.0.seen.load(seen),
                Record::Replay(replay) => replay::take_up(&pipeline.0, replay),
                _ => {}
            }
        }
        seen::start(&pipeline.0);
        Ok(pipeline)
    }

    /// Makes a delivery due now that is finished, held or waits for its time, because a person asked. `None`: there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn retry(&self, tenant: TenantId, delivery: DeliveryId) -> store::Result<Option<Delivery>> {
        let requeued = self.0.store.requeue(tenant, delivery, self.0.clock.now()).await?;
        if let Some(delivery) = &requeued {
            self.due(delivery);
            self.0.live.delivery(delivery, None);
        }
        Ok(requeued)
    }

    /// Ends a delivery that has not been sent. `None`: there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cancel(&self, tenant: TenantId, delivery: DeliveryId) -> store::Result<Option<Delivery>> {
        if let Some(found) = self.0.store.delivery(tenant, delivery).await? {
            self.give_back(found.lane, Some(delivery)).await?;
        }
        let cancelled = self.0.store.cancel(tenant, delivery, self.0.clock.now()).await?;
        if let Some(delivery) = cancelled.as_ref().filter(|delivery| delivery.status == Status::Cancelled) {
            self.0.live.delivery(delivery, None);
        }
        Ok(cancelled)
    }

    /// Gives what waits in memory back to the store, where it can be changed.
    async fn give_back(&self, lane: Lane, only: Option<DeliveryId>) -> store::Result<()> {
        let back = self.0.lanes.withdraw(lane, only);
        let ids: Vec<DeliveryId> = back.iter().map(|work| work.delivery.id).collect();
        self.0.store.release(ids).await?;
        for work in &back {
            let due = work.delivery.next_attempt_at.unwrap_or(work.delivery.created_at);
            self.0.lanes.note_due(lane, work.delivery.tenant_id, due);
        }
        Ok(())
    }

    /// To be called after a subscription was changed: what it holds back may be free now, and what waits for it
    /// in memory may not be.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn changed(&self, tenant: TenantId, id: SubscriptionId) -> store::Result<()> {
        let lane = Lane::of(id);
        let plan = self.0.registry.plan(tenant, id);
        self.0.lanes.forgive(lane);
        if plan.as_ref().is_none_or(|plan| plan.steps().all(|step| step.candidate.is_none())) {
            self.0.rollouts.forget_subscription(tenant, id);
        }
        if plan.is_some_and(|plan| !plan.sends()) {
            return self.give_back(lane, None).await;
        }
        self.0.lanes.note_due(lane, tenant, self.0.clock.now());
        dispatch::pump(&self.0);
        Ok(())
    }

    /// Sets the gauges that are not counted as things happen.
    pub fn measure(&self) {
        metrics::gauge!("hookmill_deliveries_pending").set(self.pending() as f64);
        let now = self.0.clock.now();
        let oldest = self.0.lanes.oldest_due().map_or(0.0, |due| crate::clock::since(due, now).as_secs_f64());
        metrics::gauge!("hookmill_oldest_due_seconds").set(oldest);
    }

    /// Tells what plugins have used. To a recorder that is new, since this holds nothing of tenants that are gone.
    pub fn measure_plugins(&self) {
        let meter = self.0.engine.meter();
        if !self.0.limits.measure_tenants {
            return measure_calls(&meter.all(), &[]);
        }
        for tenant in meter.tenants() {
            for usage in meter.of(tenant) {
                let labels = [("tenant", tenant.to_string()), ("plugin", usage.plugin)];
                measure_calls(&usage.tally, &labels.map(|(name, value)| Label::new(name, value)));
            }
        }
    }

    /// Deliveries in memory: waiting or under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.lanes.pending()
    }

    /// Takes no more from the store and waits until what is under way has ended, at most this long. What has
    /// not ended then is due again at the next start.
    pub async fn drain(&self, at_most: Duration) {
        self.0.lanes.stop();
        let ended = tokio::time::timeout(at_most, self.0.lanes.idle()).await;
        if let Err(error) = seen::write(&self.0).await {
            tracing::warn!(%error, "the counts of event types could not be written down");
        }
        if ended.is_err() {
            tracing::warn!(
                under_way = self.0.lanes.under_way(),
                "ended with attempts under way; they will be made again"
            );
        }
    }

    /// To be called after a tenant was removed.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.0.replays.forget(tenant);
        self.0.live.forget(tenant);
        self.0.seen.forget(tenant);
        self.0.rollouts.forget(tenant);
        self.0.cpu.forget(tenant);
        self.0.engine.meter().forget(tenant);
    }

    fn due(&self, delivery: &Delivery) {
        if let Some(due) = delivery.next_attempt_at {
            self.0.lanes.note_due(delivery.lane, delivery.tenant_id, due);
            dispatch::pump(&self.0);
        }
    }
}

/// What calls of plugins have used, as it stands.
fn measure_calls(tally: &Tally, labels: &[Label]) {
    metrics::counter!("hookmill_plugin_calls_total", labels.to_vec()).absolute(tally.calls);
    for (kind, count) in &tally.faults {
        let kind = [labels, &[Label::new("kind", *kind)]].concat();
        metrics::counter!("hookmill_plugin_faults_total", kind).absolute(*count);
    }
    // The library's counters are whole numbers, and this one counts parts of a second: a gauge that only rises, and is
    // declared a counter where the metrics are written.
    metrics::gauge!("hookmill_plugin_cpu_seconds_total", labels.to_vec()).set(tally.cpu.as_secs_f64());
    metrics::gauge!("hookmill_plugin_peak_memory_bytes", labels.to_vec()).set(tally.peak_memory as f64);
}
