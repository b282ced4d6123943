//! Replays.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Raw, Time};
use crate::domain::{EventId, EventType, Replay, ReplaySpec, SubscriptionId};
use crate::pipeline::DryRun;

/// What makes a replay.
#[derive(ToSchema)]
#[schema(as = NewReplay)]
#[expect(dead_code, reason = "a shape for the document; what is read is a type of `control`")]
pub(in crate::http) struct NewReplayBody {
    /// Events received at or after this time.
    since: Time,
    /// Events received before this time; now, unless given.
    #[schema(required = false)]
    until: Option<Time>,
    /// `missing`: a subscription as it is now wants the event, and there is no delivery. `failed`: deliveries that
    /// failed, were cancelled or are held are made due again. `all`: everything that the subscriptions as they are now
    /// want, but for what is still pending.
    only: String,
    /// Only events that this selects: a filter as in subscriptions.
    #[schema(required = false, value_type = Object)]
    filter: Option<Value>,
    /// To this subscription alone: `sub_…`, or `uid:…` with the client's own id.
    #[schema(required = false)]
    subscription_id: Option<String>,
    /// Only say what would be made.
    #[schema(required = false)]
    dry_run: bool,
    /// Receivers see the delivery's id in place of the event's, in the `webhook-id` and in the body: for receivers that
    /// would take the event for one that they know.
    #[schema(required = false)]
    fresh_ids: bool,
}

/// A replay, and how far it has come; or what one would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(in crate::http) struct ReplayView {
    /// `rpl_…`; `null` in a dry run.
    id: Option<String>,
    /// `running`, `done` (all deliveries are made; they may still be on their way), `cancelled` or `failed`; `null` in
    /// a dry run.
    state: Option<&'static str>,
    /// Why it failed.
    reason: Option<String>,
    dry_run: bool,
    since: Time,
    until: Time,
    only: &'static str,
    #[schema(value_type = Option<Object>)]
    filter: Option<Raw>,
    subscription_id: Option<String>,
    fresh_ids: bool,
    /// Events it has gone through.
    events_seen: u64,
    /// Those of them that something was to be sent of.
    events_matched: u64,
    /// Deliveries that it has made, or made due again; in a dry run, that it would.
    deliveries_made: u64,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    /// In a dry run: `false` if there are more than the 20,000 events that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    complete: Option<bool>,
    /// In a dry run: the first ten deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    examples: Option<Vec<ReplayExampleView>>,
}

/// A delivery that a replay would make.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayExample)]
pub(in crate::http) struct ReplayExampleView {
    event_id: String,
    event_type: String,
    subscription_id: String,
}

impl ReplayView {
    fn of(spec: &ReplaySpec) -> Self {
        Self {
            id: None,
            state: None,
            reason: None,
            dry_run: false,
            since: spec.since.into(),
            until: spec.until.into(),
            only: spec.only.as_str(),
            filter: spec.filter.as_ref().map(|filter| Raw::of(&filter.to_string())),
            subscription_id: spec.subscription_id.map(|id| id.to_string()),
            fresh_ids: spec.fresh_ids,
            events_seen: 0,
            events_matched: 0,
            deliveries_made: 0,
            started_at: None,
            finished_at: None,
            complete: None,
            examples: None,
        }
    }

    pub(in crate::http) fn of_dry_run(spec: &ReplaySpec, dry: &DryRun) -> Self {
        let example =
            |(event_id, event_type, subscription_id): &(EventId, EventType, SubscriptionId)| ReplayExampleView {
                event_id: event_id.to_string(),
                event_type: event_type.to_string(),
                subscription_id: subscription_id.to_string(),
            };
        Self {
            dry_run: true,
            events_seen: dry.events_seen,
            events_matched: dry.events_matched,
            deliveries_made: dry.deliveries,
            complete: Some(dry.complete),
            examples: Some(dry.examples.iter().map(example).collect()),
            ..Self::of(spec)
        }
    }
}

impl From<&Replay> for ReplayView {
    fn from(replay: &Replay) -> Self {
        Self {
            id: Some(replay.id.to_string()),
            state: Some(replay.state.as_str()),
            reason: replay.reason.clone(),
            events_seen: replay.events_seen,
            events_matched: replay.events_matched,
            deliveries_made: replay.deliveries_made,
            started_at: Some(replay.started_at.into()),
            finished_at: replay.finished_at.map(Time::from),
            ..Self::of(&replay.spec)
        }
    }
}
