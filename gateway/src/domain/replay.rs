//! Replays: events of a span, again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventId, ReplayId, SubscriptionId, TenantId};

/// What is to be sent again, and to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplaySpec {
    /// Events received at or after.
    pub since: Timestamp,
    /// Events received before.
    pub until: Timestamp,
    /// Which of what they are owed to.
    pub only: Only,
    /// Only events that this selects; a filter as in subscriptions.
    #[serde(default)]
    pub filter: Option<Value>,
    /// To this subscription alone.
    #[serde(default)]
    pub subscription_id: Option<SubscriptionId>,
    /// Whether receivers see new ids, so that those that know an event by its id take it again.
    #[serde(default)]
    pub fresh_ids: bool,
}

/// Which deliveries a replay is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Those that there never were: a subscription as it is now wants the event, and was not there, or was another.
    Missing,
    /// Those that failed, were cancelled, or are held.
    Failed,
    /// Everything that the subscriptions as they are now want.
    All,
}

impl Only {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It goes through its events.
    Running,
    /// It has gone through all of them; what it made may still be on its way.
    Done,
    /// A person has ended it. What it made stays.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl ReplayState {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A replay, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What was asked for.
    pub spec: ReplaySpec,
    /// Where it stands.
    pub state: ReplayState,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// Events it has gone through.
    pub events_seen: u64,
    /// Those of them that something was to be sent of.
    pub events_matched: u64,
    /// Deliveries that were made, or made due again.
    pub deliveries_made: u64,
    /// The last event it is done with; it goes on behind it.
    pub cursor: Option<EventId>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}
