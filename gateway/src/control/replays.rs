//! Replays: asking for events again, and looking how far that has come.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::reading::settle;
use super::{Control, Error, Result};
use crate::domain::{FieldError, Only, Replay, ReplayId, ReplaySpec, ReplayState, TenantId};
use crate::filter::Filter;
use crate::pipeline::DryRun;

/// Most replays of one tenant that run at once.
const MOST_RUNNING: usize = 2;
/// Most replays of one tenant that are remembered; the oldest goes first.
const MOST: usize = 100;

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReplay {
    /// Events received at or after.
    pub since: Timestamp,
    /// Events received before; now, unless given.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Which deliveries.
    pub only: Only,
    /// Only events that this selects.
    #[serde(default)]
    pub filter: Option<Value>,
    /// To this subscription alone: `sub_…` or `uid:…`.
    #[serde(default)]
    pub subscription_id: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether receivers see new ids.
    #[serde(default)]
    pub fresh_ids: bool,
}

/// What came of asking.
pub enum ReplayAnswer {
    /// It has begun.
    Begun(Replay),
    /// This is what it would do.
    Dry(ReplaySpec, DryRun),
}

impl Control {
    /// Begins a replay, or says what it would do.
    ///
    /// # Errors
    /// If it is not valid, or two of the tenant's are running.
    pub async fn replay(&self, tenant: TenantId, wanted: NewReplay) -> Result<ReplayAnswer> {
        let is_dry = wanted.dry_run;
        let spec = self.replay_spec(tenant, wanted)?;
        if is_dry {
            let dry = self.pipeline.dry_run(tenant, &spec).await?;
            return Ok(ReplayAnswer::Dry(spec, dry));
        }
        let _changing = self.changing.lock().await;
        self.tenant(tenant)?;
        let replays = self.pipeline.replays(tenant);
        let (running, ended): (Vec<_>, Vec<_>) =
            replays.into_iter().partition(|replay| replay.state == ReplayState::Running);
        if running.len() >= MOST_RUNNING {
            let detail = format!("{MOST_RUNNING} replays are running; wait for one of them, or cancel it");
            return Err(Error::Limit(detail));
        }
        let too_many = (running.len() + ended.len() + 1).saturating_sub(MOST);
        for oldest in ended.into_iter().take(too_many) {
            self.pipeline.forget_replay(tenant, oldest.id).await?;
        }
        Ok(ReplayAnswer::Begun(self.pipeline.replay(tenant, spec).await?))
    }

    fn replay_spec(&self, tenant: TenantId, wanted: NewReplay) -> Result<ReplaySpec> {
        let NewReplay { since, until, only, filter, subscription_id, dry_run: _, fresh_ids } = wanted;
        let mut errors = Vec::new();
        // What it makes is younger, so it can't come to its own.
        let now = self.clock.now();
        let until = until.map_or(now, |until| until.min(now));
        if since >= until {
            errors.push(FieldError::new("/since", "the span is empty: `since` is before `until`, and before now"));
        }
        if let Some(Err(found)) = filter.as_ref().map(Filter::compile) {
            let below = |pointer: &str| format!("/filter{pointer}");
            errors.extend(found.into_iter().map(|error| FieldError::new(below(&error.pointer), error.detail)));
        }
        let mut subscription = None;
        if let Some(text) = subscription_id {
            match self.find_subscription(tenant, &text) {
                Ok(plan) if only != Only::Failed && !plan.takes_events() => {
                    let detail = "it is disabled and takes no events; enable it, or pause it to look first";
                    errors.push(FieldError::new("/subscription_id", detail));
                }
                Ok(plan) => subscription = Some(plan.subscription.id),
                Err(Error::NotFound(_)) => {
                    errors.push(FieldError::new("/subscription_id", "there is no such subscription"));
                }
                Err(error) => return Err(error),
            }
        }
        settle(errors)?;
        Ok(ReplaySpec { since, until, only, filter, subscription_id: subscription, fresh_ids })
    }

    /// A tenant's replays, by id.
    #[must_use]
    pub fn replays(&self, tenant: TenantId) -> Vec<Replay> {
        self.pipeline.replays(tenant)
    }

    /// One replay, and how far it has come.
    ///
    /// # Errors
    /// If there is none.
    pub fn replay_by_id(&self, tenant: TenantId, id: ReplayId) -> Result<Replay> {
        self.replays(tenant).into_iter().find(|replay| replay.id == id).ok_or(Error::NotFound("replay"))
    }

    /// Ends a replay. What it made stays.
    ///
    /// # Errors
    /// If there is none, or it has come to its end by itself.
    pub async fn cancel_replay(&self, tenant: TenantId, id: ReplayId) -> Result<Replay> {
        let replay = self.pipeline.cancel_replay(tenant, id).await.ok_or(Error::NotFound("replay"))?;
        match replay.state {
            ReplayState::Cancelled => Ok(replay),
            ReplayState::Running => {
                Err(Error::Conflict("the gateway is stopping; ask again a little later".to_owned()))
            }
            state => Err(Error::Conflict(format!("it has ended already: it is {}", state.as_str()))),
        }
    }
}
