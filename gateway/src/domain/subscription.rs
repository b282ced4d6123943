//! Subscriptions: which events are wanted, how they are changed, where they go, how they are signed and
//! retried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Sealed, Signing, SourceId, SubscriptionId, TenantId, duration};

/// What a client asks for, field by field as in the API. Nothing secret is in it once it is stored: secrets
/// are taken out into [`Subscription::secrets`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// The client's own id for it: unique within the tenant, usable in paths as `uid:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where deliveries go; may be absent if the connector's config gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The profile whose delivery half stands under these settings: what they do not say, it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Exact event types or wildcards.
    pub events: Vec<String>,
    /// Only events of these sources; absent or empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ids: Vec<SourceId>,
    /// Operator form (an object) or one JSONPath (a string).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Value>,
    /// Transforms, run in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<TransformSpec>,
    /// The connector that makes the request; absent means the envelope is posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorSpec>,
    /// The signing secret, on its way in only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// How requests are signed; see [`SubscriptionSpec::signing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// How the event is wrapped where there is no connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// How the JSON of the body is spelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_format: Option<BodyFormat>,
    /// Headers added to every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The same, but their values are secrets; stored they are empty strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, String>,
    /// Names of the event's kept headers that are passed on; an empty list says none where a profile names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_headers: Option<Vec<String>>,
    /// The `User-Agent`; `Hookmill/<version>` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// How the request authenticates itself; stored without its secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which answers are a success: `2xx`, `204`, `200-299`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Vec<String>>,
    /// When to try again.
    #[serde(default)]
    pub retry_policy: RetryPolicy,
    /// How long an answer may take, 1 s to 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub timeout: Option<Duration>,
    /// At most so many requests in a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Whether instances of its plugins that are slow to start may be kept for its later events: they then cost a tenth,
    /// and the plugin could remember earlier ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse_instances: bool,
    /// Whether it takes part.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
    /// Free for the client; at most 16 KiB.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl std::fmt::Debug for SubscriptionSpec {
    /// What is never secret: on its way in, a spec holds its secrets in clear.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubscriptionSpec")
            .field("uid", &self.uid)
            .field("name", &self.name)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

pub(super) fn enabled_by_default() -> bool {
    true
}

/// Which answers are a success unless somebody says otherwise.
const USUAL_SUCCESS: &str = "2xx";
/// How long an answer may take unless somebody says otherwise.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What holds where neither the client nor a profile says anything.
impl SubscriptionSpec {
    /// How requests are signed: as Standard Webhooks has it.
    #[must_use]
    pub fn signing(&self) -> Signing {
        self.signing.clone().unwrap_or_default()
    }

    /// How the event is wrapped: in the standard envelope.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        self.envelope.unwrap_or_default()
    }

    /// How the JSON of the body is spelled: as it came.
    #[must_use]
    pub fn body_format(&self) -> BodyFormat {
        self.body_format.unwrap_or_default()
    }

    /// Names of the event's kept headers that are passed on: none.
    #[must_use]
    pub fn forward_headers(&self) -> &[String] {
        self.forward_headers.as_deref().unwrap_or_default()
    }

    /// Which answers are a success: `2xx`.
    #[must_use]
    pub fn success(&self) -> Vec<String> {
        self.success.clone().unwrap_or_else(|| vec![USUAL_SUCCESS.to_owned()])
    }

    /// How long an answer may take: 30 s.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(USUAL_TIMEOUT)
    }

    /// The same without what only repeats the defaults: before there were profiles, all of them were written down with
    /// every subscription, and nobody had chosen them.
    #[must_use]
    pub fn without_defaults(mut self) -> Self {
        self.signing = self.signing.filter(|signing| *signing != Signing::default());
        self.envelope = self.envelope.filter(|envelope| *envelope != Envelope::default());
        self.body_format = self.body_format.filter(|format| *format != BodyFormat::default());
        self.success = self.success.filter(|success| success.as_slice() != [USUAL_SUCCESS]);
        self.timeout = self.timeout.filter(|timeout| *timeout != USUAL_TIMEOUT);
        self
    }
}

/// A transform and its config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformSpec {
    /// `name`, `name@version` or `name@sha256:…`.
    pub plugin: String,
    /// What the plugin's schema asks for.
    #[serde(default = "empty_object")]
    pub config: Value,
    /// What is tried beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateSpec>,
}

/// A connector and its config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorSpec {
    /// `name`, `name@version` or `name@sha256:…`.
    pub name: String,
    /// What the plugin's schema asks for; stored without its secrets.
    #[serde(default = "empty_object")]
    pub config: Value,
    /// What is tried beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateSpec>,
}

/// Another version of a step that is being tried: with a share of the events, or in the shadow of the one that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateSpec {
    /// `name`, `name@version` or `name@sha256:…`.
    pub plugin: String,
    /// A config of its own; absent: that of the step. Stored without its secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Which share of the events it gets in place of the step, 0 to 100; always the same ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// It runs after the delivery has been made, and what it makes is compared and never sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// How the event is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// `{id,type,timestamp,data}`.
    #[default]
    Standard,
    /// `data` alone.
    None,
    /// CloudEvents 1.0, structured.
    Cloudevents,
    /// That of the subscription's profile.
    Profile,
}

/// How the body's JSON is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// `data` exactly as it arrived, or as the transforms left it.
    #[default]
    Kept,
    /// Exactly what `JSON.stringify(JSON.parse(body))` gives.
    Js,
}

/// How a request authenticates itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        #[serde(default)]
        token: String,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The user's name; no colon.
        username: String,
        /// The password.
        #[serde(default)]
        password: String,
    },
    /// A header of its own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        #[serde(default)]
        value: String,
    },
    /// A bearer token fetched with a Google service account's key.
    GoogleServiceAccount {
        /// The key file's JSON, as text.
        #[serde(default)]
        service_account: String,
        /// OAuth scopes.
        scopes: Vec<String>,
    },
}

impl std::fmt::Debug for Auth {
    /// Its kind alone: the rest is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bearer { .. } => "Bearer",
            Self::Basic { .. } => "Basic",
            Self::Header { .. } => "Header",
            Self::GoogleServiceAccount { .. } => "GoogleServiceAccount",
        })
    }
}

/// How the wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// By a factor each time.
    Exponential,
    /// By the initial wait each time.
    Linear,
    /// Not at all.
    Fixed,
}

/// When to try again: a list of waits, or the numbers to compute one. All absent: the default schedule.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// The wait before attempt n, counted from the end of the one before; the first is usually `"0s"`. An empty list is
    /// none, and so the default schedule, where a profile has another.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::list")]
    pub schedule: Option<Vec<Duration>>,
    /// Retries after the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// How the wait grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The wait before the first retry.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub initial: Option<Duration>,
    /// The factor of exponential growth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub max_delay: Option<Duration>,
    /// No attempt later than this after the delivery came to be.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub give_up_after: Option<Duration>,
    /// Share of the wait that is added at random, 0 to 0.5; 0.1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

impl RetryPolicy {
    /// The waits that are listed, if any are.
    #[must_use]
    pub fn listed(&self) -> Option<&[Duration]> {
        self.schedule.as_deref().filter(|waits| !waits.is_empty())
    }

    /// Whether it asks for nothing, so that the default schedule holds.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        let schedule = self.schedule.clone().filter(|waits| !waits.is_empty());
        Self { schedule, ..self.clone() } == Self::default()
    }
}

/// At most `max` requests in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The period.
    #[serde(with = "duration")]
    pub per: Duration,
    /// Most requests in it.
    pub max: u32,
}

/// Whether a subscription is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Active,
    /// Deliveries are held until it is resumed.
    Paused,
    /// It takes no events, and what it was owed is held.
    Disabled,
}

/// Why it is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateReason {
    /// A person said so.
    User,
    /// The endpoint said it is gone (410).
    Gone,
    /// It failed for days, or its plugin hit its limits five times in a row.
    Failing,
}

/// A subscription as it is kept. Immutable: a change makes the next revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// 1 for the first.
    pub revision: u64,
    /// What the client asked for, without secrets; plugin names are pinned. Its `url` is absent.
    pub spec: SubscriptionSpec,
    /// Secrets under the master key, by the JSON Pointer of the field they came from (`/secret`, `/url`,
    /// `/auth/token`, `/secret_headers/x-key`, `/connector/config/token`, `/transforms/0/config/salt`).
    pub secrets: BTreeMap<String, Sealed>,
    /// The hosts that its connector, and what is tried beside it, named when it was last set: the secrets of its plugins
    /// were entered for these. Absent in what an earlier version stored: those that they name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<BTreeSet<String>>,
    /// The secret being rotated in, if there is a rotation under way.
    pub next_secret: Option<NextSecret>,
    /// The last signing secrets that count no more, newest first: they sign nothing, are never shown, and are there to
    /// recognise what they signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_secrets: Vec<PreviousSecret>,
    /// Whether it is served.
    pub state: State,
    /// Why, unless active.
    pub state_reason: Option<StateReason>,
    /// Since when.
    pub state_since: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When this revision was made.
    pub updated_at: Timestamp,
}

/// Most secrets that are kept of those that count no more.
const MOST_PREVIOUS: usize = 3;

impl Subscription {
    /// Keeps the signing secret that has just been replaced, so that what it signed can be recognised.
    pub fn retire(&mut self, secret: Sealed, until: Timestamp) {
        self.previous_secrets.insert(0, PreviousSecret { secret, until });
        self.previous_secrets.truncate(MOST_PREVIOUS);
    }
}

/// A signing secret that was replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: Sealed,
    /// Until when it counted.
    pub until: Timestamp,
}

/// A secret being rotated in. `/secret` stays the old one until the overlap ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextSecret {
    /// The new secret.
    pub secret: Sealed,
    /// From when on it alone counts.
    pub from: Timestamp,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As versions before profiles wrote it: with every default.
    #[test]
    fn what_earlier_versions_wrote() {
        let written = json!({
            "events": ["a"], "signing": {"scheme": "standard"}, "envelope": "standard", "body_format": "js",
            "success": ["2xx"], "retry_policy": {}, "timeout": "30s", "enabled": true,
        });
        let spec: SubscriptionSpec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), written);
        assert_eq!((spec.signing(), spec.timeout()), (Signing::default(), USUAL_TIMEOUT));
        let chosen = json!({"events": ["a"], "body_format": "js", "retry_policy": {}, "enabled": true});
        assert_eq!(serde_json::to_value(spec.without_defaults()).unwrap(), chosen);
        let stored = json!({
            "id": "sub_019b76daabe8720e8305ea0f9b149a08", "tenant_id": "ten_019b76daabe8720e8305ea0f9b149a08", "revision": 1,
            "spec": written, "secrets": {"/secret": "sealed"}, "next_secret": null, "state": "active", "state_reason": null,
            "state_since": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        });
        let mut stored: Subscription = serde_json::from_value(stored).unwrap();
        assert_eq!(stored.previous_secrets, []);
        for number in 0..5 {
            stored.retire(Sealed(number.to_string()), Timestamp::UNIX_EPOCH);
        }
        let kept: Vec<&str> = stored.previous_secrets.iter().map(|previous| previous.secret.0.as_str()).collect();
        assert_eq!(kept, ["4", "3", "2"], "the last three, the newest first");
        let bare: SubscriptionSpec = serde_json::from_value(json!({"events": ["a"]})).unwrap();
        assert_eq!(
            (bare.envelope(), bare.body_format(), bare.success()),
            (Envelope::Standard, BodyFormat::Kept, vec!["2xx".to_owned()])
        );
    }
}
