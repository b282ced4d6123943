//! How candidates fare, what plugins have used, and past deliveries run again.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::history::{RequestView, StepView};
use super::{Raw, Time};
use crate::control::{DeliveryRun, PluginUsage};
use crate::domain::{AttemptRequest, duration};
use crate::engine::{Tally, Usage};
use crate::pipeline::{Operation, Patch, Rollout, Sample, Side};
use crate::registry::Share;

/// How the candidates of a subscription fare.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(in crate::http) struct RolloutView {
    /// Those that there are, in the order of the steps.
    steps: Vec<TriedView>,
}

/// How one candidate fares.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutStep)]
struct TriedView {
    /// Which step: a pointer into the subscription.
    pointer: String,
    /// Which share of the events the candidate gets; `null` in the shadow.
    percent: Option<u8>,
    /// Whether it runs after the delivery, and nothing of it is sent.
    shadow: bool,
    /// Since when this is counted; `null`: nothing has run yet.
    since: Option<Time>,
    current: SideView,
    candidate: SideView,
    /// The candidate's time for a call on average, over the step's; `null` until both have run.
    cpu_ratio: Option<f64>,
    /// In the shadow: how often both have run on the same input.
    compared: u64,
    agreed: u64,
    differed: u64,
    /// `agreed` over `compared`, 0 to 1; `null` until something was compared.
    agreement: Option<f64>,
    /// Comparisons that were given up, since too many waited or the processor time was used up.
    dropped: u64,
    /// Comparisons of this tenant's that wait.
    waiting: usize,
    /// The latest differences, oldest first; at most 10, and of one tenant at most 1 MiB.
    samples: Vec<SampleView>,
}

/// The step, or its candidate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutSide)]
struct SideView {
    /// `name@version`.
    plugin: String,
    digest: String,
    #[serde(flatten)]
    tally: TallyView,
}

/// What calls have used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginTally)]
struct TallyView {
    calls: u64,
    /// Calls that ended in a fault, by its kind.
    faults: BTreeMap<String, u64>,
    /// Their running time together, in microseconds.
    cpu_us: u64,
    /// Of one call on average.
    cpu_us_average: u64,
    /// The longest of them.
    cpu_us_most: u64,
    /// The most memory that one had.
    peak_memory_bytes: usize,
}

/// One difference.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutSample)]
struct SampleView {
    event_id: String,
    delivery_id: String,
    at: Time,
    /// What leads from what the step made to what the candidate made (`/event`, `/request`, `/drop` or `/fault`);
    /// secrets are masked.
    patch: Vec<OperationView>,
    /// Whether operations, or the ends of long values, were left out.
    truncated: bool,
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatchOperation)]
struct OperationView {
    /// `add`, `remove` or `replace`.
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    value: Option<Raw>,
}

impl From<&[Rollout]> for RolloutView {
    fn from(rollouts: &[Rollout]) -> Self {
        Self { steps: rollouts.iter().map(TriedView::from).collect() }
    }
}

impl From<&Rollout> for TriedView {
    fn from(rollout: &Rollout) -> Self {
        let (current, candidate) = (&rollout.current.tally, &rollout.candidate.tally);
        let have_run = current.calls > 0 && candidate.calls > 0;
        Self {
            pointer: format!("#{}", rollout.place),
            percent: match rollout.share {
                Share::Percent(percent) => Some(percent),
                Share::Shadow => None,
            },
            shadow: rollout.share == Share::Shadow,
            since: rollout.since.map(Time::from),
            current: (&rollout.current).into(),
            candidate: (&rollout.candidate).into(),
            cpu_ratio: have_run
                .then(|| candidate.average().as_secs_f64() / current.average().as_secs_f64())
                .filter(|ratio| ratio.is_finite()),
            compared: rollout.compared,
            agreed: rollout.agreed,
            differed: rollout.compared - rollout.agreed,
            agreement: (rollout.compared > 0).then(|| rollout.agreed as f64 / rollout.compared as f64),
            dropped: rollout.dropped,
            waiting: rollout.waiting,
            samples: rollout.samples.iter().map(SampleView::from).collect(),
        }
    }
}

impl From<&Side> for SideView {
    fn from(side: &Side) -> Self {
        let Side { plugin, digest, tally } = side;
        Self { plugin: plugin.clone(), digest: digest.to_string(), tally: tally.into() }
    }
}

impl From<&Tally> for TallyView {
    fn from(tally: &Tally) -> Self {
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            calls: tally.calls,
            faults: tally.faults.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            cpu_us: micros(tally.cpu),
            cpu_us_average: micros(tally.average()),
            cpu_us_most: micros(tally.slowest),
            peak_memory_bytes: tally.peak_memory,
        }
    }
}

impl From<&Sample> for SampleView {
    fn from(sample: &Sample) -> Self {
        Self {
            event_id: sample.event_id.to_string(),
            delivery_id: sample.delivery_id.to_string(),
            at: sample.at.into(),
            patch: operations(&sample.patch),
            truncated: sample.patch.truncated,
        }
    }
}

fn operations(patch: &Patch) -> Vec<OperationView> {
    let view = |operation: &Operation| OperationView {
        op: operation.op,
        path: operation.path.clone(),
        value: operation.value.as_deref().map(Raw::of),
    };
    patch.operations.iter().map(view).collect()
}

/// A past delivery run again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryRun)]
pub(in crate::http) struct DeliveryRunView {
    /// `name@version` of what took the place of the version that ran then.
    plugin: String,
    digest: String,
    /// What each plugin made.
    steps: Vec<StepView>,
    /// What would be sent, credentials redacted; `null` where nothing would.
    request: Option<RequestView>,
    /// Why nothing would.
    problem: Option<String>,
    /// What was sent, by the latest attempt that sent anything.
    sent: Option<RequestView>,
    /// Whether both say the same, or neither is there; `null` where nothing has been tried yet.
    same: Option<bool>,
    /// What leads from what was sent to what would be: `/method`, `/url`, `/content_type` and `/body`. Where one of them is
    /// not there, it is the whole that is replaced.
    patch: Vec<OperationView>,
    /// Whether operations, or the ends of long values, were left out.
    truncated: bool,
    /// Running time of the plugins, in microseconds.
    cpu_us: u64,
}

impl From<&DeliveryRun> for DeliveryRunView {
    fn from(run: &DeliveryRun) -> Self {
        let whole = |request: &AttemptRequest| RequestView::new(request, request.body.as_deref());
        Self {
            plugin: run.plugin.manifest().reference(),
            digest: run.plugin.digest().to_string(),
            steps: run.made.steps.iter().map(StepView::from).collect(),
            request: run.made.request.as_ref().map(whole),
            problem: run.made.problem.clone(),
            sent: run.sent.as_ref().map(whole),
            same: run.patch.as_ref().map(Patch::is_empty),
            patch: run.patch.as_ref().map(operations).unwrap_or_default(),
            truncated: run.patch.as_ref().is_some_and(|patch| patch.truncated),
            cpu_us: run.made.steps.iter().map(|step| step.cpu_us).sum(),
        }
    }
}

/// What a tenant's plugins have used since the gateway started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginUsage)]
pub(in crate::http) struct PluginUsageView {
    /// The processor time that their calls may have in a minute; `null`: as much as there is. Whoever has used it up waits
    /// for the next minute, alone.
    cpu_per_minute: Option<String>,
    plugins: Vec<UsedView>,
}

/// What calls of one plugin have used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginUsed)]
struct UsedView {
    /// `name@version`.
    plugin: String,
    digest: String,
    #[serde(flatten)]
    tally: TallyView,
}

impl From<&PluginUsage> for PluginUsageView {
    fn from(usage: &PluginUsage) -> Self {
        let used = |Usage { plugin, digest, tally }: &Usage| UsedView {
            plugin: plugin.clone(),
            digest: digest.to_string(),
            tally: tally.into(),
        };
        Self {
            cpu_per_minute: usage.cpu_per_minute.map(duration::format),
            plugins: usage.plugins.iter().map(used).collect(),
        }
    }
}
