//! Deliveries, attempts, and what became of them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AttemptId, DeliveryId, Digest, EventId, EventType, FaultKind, LogLine, SubscriptionId, TenantId};

/// A queue of its own: a subscription, or one ordering key of it. What happens in one lane is not felt in
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// The hash of the ordering key; 0 where the subscription asks for no order.
    pub key: u64,
}

impl Lane {
    /// The lane of a subscription that asks for no order.
    #[must_use]
    pub fn of(subscription_id: SubscriptionId) -> Self {
        Self { subscription_id, key: 0 }
    }
}

/// One event owed to one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What is owed.
    pub event_id: EventId,
    /// The event's type, so that a list needs no second look-up.
    pub event_type: EventType,
    /// To whom.
    pub subscription_id: SubscriptionId,
    /// The subscription's revision that matched the event.
    pub revision: u64,
    /// The lane it waits in.
    pub lane: Lane,
    /// Where it stands.
    pub status: Status,
    /// Why it stands there, in words; empty while nothing has happened.
    pub reason: Option<String>,
    /// What set off the attempt that is due.
    pub trigger: Trigger,
    /// Attempts made so far.
    pub attempt_count: u32,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When the next attempt is due; set while `pending`.
    pub next_attempt_at: Option<Timestamp>,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// The endpoint's last answer.
    pub last_status_code: Option<u16>,
    /// The transform's output, kept from the first failure on so that retries send identical bytes.
    pub frozen: Option<Box<Frozen>>,
    /// An attempt was begun durably and has not been settled: after a crash its outcome is unknown.
    pub begun: bool,
    /// Receivers see the delivery's own id in place of the event's: it was made by a replay that is to be taken for
    /// something new.
    #[serde(default)]
    pub fresh_id: bool,
}

impl Delivery {
    /// The id that receivers tell duplicates by: the same over all attempts.
    #[must_use]
    pub fn message_id(&self) -> String {
        if self.fresh_id { self.id.to_string() } else { self.event_id.to_string() }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// An attempt is due, now or later.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// Given up.
    Failed,
    /// A transform or a connector chose not to send it.
    Dropped,
    /// Waits for a person: its outcome is unknown, or its subscription is disabled.
    Held,
    /// Ended by a person, or with its subscription.
    Cancelled,
}

impl Status {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed, Self::Dropped, Self::Held, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// What set off an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The event, or the retry schedule.
    Automatic,
    /// A person asked for this delivery again.
    Manual,
    /// A replay of events.
    Replay,
    /// A test; not retried, not in the statistics.
    Test,
}

impl Trigger {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }
}

/// What the transforms and the connector made of the event: sent again as it is by automatic retries.
/// Secrets stand in it as placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The method, if a connector made the request.
    pub method: Option<String>,
    /// The URL, if a connector chose it.
    pub url: Option<String>,
    /// Headers a connector added.
    pub headers: Vec<(String, String)>,
    /// The `Content-Type`.
    pub content_type: String,
    /// A connector's body; or, without a connector, the JSON text of the event's data after the transforms.
    pub body: Vec<u8>,
    /// The event's type after the transforms.
    pub event_type: String,
    /// The event's time after the transforms, RFC 3339.
    pub timestamp: String,
    /// The plugins that ran, so that the log can name them at every attempt.
    pub plugins: Vec<(String, Digest)>,
}

/// One recorded try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
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
    /// How long the endpoint took, from the first byte sent to the last byte read.
    pub duration: Duration,
    /// From the event's arrival to the end of this attempt.
    pub since_received: Duration,
    /// What was sent, its secrets redacted; absent where nothing was made to send.
    pub request: Option<AttemptRequest>,
    /// What came back.
    pub response: Option<AttemptResponse>,
    /// The plugins that ran.
    pub plugins: Vec<PluginRun>,
    /// What follows, as it was decided then.
    pub verdict: Verdict,
    /// Why, in words.
    pub because: String,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRequest {
    /// The HTTP method.
    pub method: String,
    /// The URL, redacted where it is a credential.
    pub url: String,
    /// Headers, credentials redacted.
    pub headers: Vec<(String, String)>,
    /// The body, unless it is that of the event inside a plain envelope, which is made again on reading.
    pub body: Option<Vec<u8>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptResponse {
    /// The HTTP status code.
    pub status_code: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Up to 16 KiB of the body; 1 KiB after a success.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
}

/// One plugin's part in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRun {
    /// `name@version`.
    pub plugin: String,
    /// The component's digest.
    pub digest: Digest,
    /// The guest's own running time, in microseconds.
    pub cpu_us: u64,
    /// What it logged.
    pub log: Vec<LogLine>,
}

/// What happened to one attempt, or why there was none. A failure to deliver is data, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The endpoint took it.
    Delivered,
    /// The endpoint answered, and it was no.
    Refused {
        /// Its answer.
        status_code: u16,
    },
    /// The endpoint will never take this event, says the connector.
    Rejected {
        /// Why.
        reason: String,
    },
    /// The endpoint is gone for good (410, or the connector's word).
    Gone {
        /// Why.
        reason: String,
    },
    /// The endpoint asked to come back later (429, 503, or the connector's word).
    Throttled {
        /// Its answer.
        status_code: u16,
        /// For how long, if it said so.
        after: Option<Duration>,
    },
    /// Nothing could be sent: look-up, connection or TLS failed.
    Unreachable {
        /// What failed, as a class: `dns`, `connect`, `tls`.
        class: String,
        /// In words fit for a tenant.
        detail: String,
    },
    /// It was sent, wholly or in part, and no whole answer came.
    Unknown {
        /// What broke, as a class: `timeout`, `reset`, `protocol`.
        class: String,
        /// In words fit for a tenant.
        detail: String,
    },
    /// The address may not be reached from here.
    Blocked {
        /// In words fit for a tenant.
        detail: String,
    },
    /// A plugin faulted.
    PluginFault {
        /// `name@version`.
        plugin: String,
        /// Which kind.
        kind: FaultKind,
        /// The plugin's or the engine's words.
        message: String,
        /// Whether another run could end otherwise.
        retryable: bool,
    },
    /// A plugin chose not to send it.
    Dropped {
        /// `name@version`.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// The request could not be built: a configuration error, such as a secret that does not open.
    Unbuildable {
        /// What is wrong and what to do.
        detail: String,
    },
}

/// Whose fault an outcome is: it decides what happens next and what the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// Nobody's.
    None,
    /// The event's.
    Event,
    /// A plugin's.
    Plugin,
    /// The endpoint's.
    Endpoint,
    /// The network's.
    Network,
    /// The subscription's settings.
    Configuration,
    /// Ours.
    Gateway,
}

impl Blame {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Event => "event",
            Self::Plugin => "plugin",
            Self::Endpoint => "endpoint",
            Self::Network => "network",
            Self::Configuration => "configuration",
            Self::Gateway => "gateway",
        }
    }
}

/// From here on a wait that was asked for is not told exactly: longer ones are cut when they are read.
const LONGEST_TOLD: Duration = Duration::from_secs(7 * 86_400);

impl Outcome {
    /// The word in the API and in the metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            Self::Gone { .. } => "gone",
            Self::Throttled { .. } => "throttled",
            Self::Unreachable { .. } => "unreachable",
            Self::Unknown { .. } => "unknown",
            Self::Blocked { .. } => "blocked",
            Self::PluginFault { .. } => "plugin_fault",
            Self::Dropped { .. } => "dropped",
            Self::Unbuildable { .. } => "unbuildable",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Delivered | Self::Dropped { .. } => Blame::None,
            Self::Refused { .. } | Self::Gone { .. } | Self::Throttled { .. } => Blame::Endpoint,
            Self::Rejected { .. } => Blame::Event,
            Self::Unreachable { .. } => Blame::Network,
            Self::Unknown { class, .. } if class == "timeout" => Blame::Endpoint,
            Self::Unknown { .. } => Blame::Network,
            Self::Blocked { .. } | Self::Unbuildable { .. } => Blame::Configuration,
            Self::PluginFault { kind: FaultKind::Engine, .. } => Blame::Gateway,
            Self::PluginFault { .. } => Blame::Plugin,
        }
    }

    /// One sentence for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Delivered => "the endpoint took it".to_owned(),
            Self::Refused { status_code: code @ (301..=303 | 307 | 308) } => {
                format!("the endpoint answered {code}: a redirect, which is not followed; change the URL instead")
            }
            Self::Refused { status_code } => format!("the endpoint answered {status_code}"),
            Self::Rejected { reason } => format!("the target will not take this event: {reason}"),
            Self::Gone { reason } => format!("the endpoint is gone: {reason}"),
            Self::Throttled { status_code, after: Some(after) } => {
                let wait = super::duration::format((*after).min(LONGEST_TOLD));
                let or_longer = if *after >= LONGEST_TOLD { " or longer" } else { "" };
                format!("the endpoint answered {status_code} and asked to wait {wait}{or_longer}")
            }
            Self::Throttled { status_code: 429, after: None } => "the endpoint answered 429: too fast".to_owned(),
            Self::Throttled { status_code: 503, after: None } => "the endpoint answered 503: unavailable".to_owned(),
            Self::Throttled { status_code, after: None } => {
                format!("the endpoint answered {status_code}: try again later")
            }
            Self::Unreachable { class, detail } => format!("not reached ({class}): {detail}"),
            Self::Unknown { class, detail } => format!("sent, but no answer ({class}): {detail}"),
            Self::Blocked { detail } => format!("address refused: {detail}"),
            Self::PluginFault { plugin, kind, message, .. } => {
                format!("plugin {plugin} faulted ({}): {message}", kind.as_str())
            }
            Self::Dropped { plugin, reason } => format!("dropped by {plugin}: {reason}"),
            Self::Unbuildable { detail } => format!("the request could not be built: {detail}"),
        }
    }
}

/// What follows an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Done: the endpoint has it.
    Deliver,
    /// Done: a plugin chose not to send it.
    Drop,
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Given up.
    GiveUp,
    /// Given up, and the subscription is to be disabled.
    GiveUpAndDisable,
    /// Wait for a person.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_endpoint_is_to_be_asked_later() {
        const WEEK: u64 = 7 * 86_400;
        for (status_code, after, told) in [
            (429, None, "the endpoint answered 429: too fast"),
            (503, None, "the endpoint answered 503: unavailable"),
            (500, None, "the endpoint answered 500: try again later"),
            (503, Some(90), "the endpoint answered 503 and asked to wait 1m30s"),
            (429, Some(WEEK - 1), "the endpoint answered 429 and asked to wait 6d23h59m59s"),
            (429, Some(WEEK), "the endpoint answered 429 and asked to wait 7d or longer"),
            (429, Some(5 * WEEK), "the endpoint answered 429 and asked to wait 7d or longer"),
        ] {
            let after = after.map(Duration::from_secs);
            assert_eq!(Outcome::Throttled { status_code, after }.describe(), told);
        }
    }
}
