//! Subscriptions.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Time, shapes};
use crate::control::Control;
use crate::domain::{Secret, State, StateReason, duration};
use crate::registry::Plan;
use crate::signing::{Language, Receiver};

/// A subscription, as it is read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(in crate::http) struct SubscriptionView {
    /// `sub_…`
    id: String,
    uid: Option<String>,
    name: Option<String>,
    /// The profile under its settings; what they do not say is the profile's here.
    profile: Option<String>,
    /// Where deliveries go; a URL that is a credential is cut to its host.
    url: Option<String>,
    events: Vec<String>,
    source_ids: Vec<String>,
    #[schema(value_type = Option<Object>)]
    filters: Option<Value>,
    #[schema(value_type = Vec<shapes::Transform>)]
    transforms: Value,
    #[schema(value_type = Option<shapes::Connector>)]
    connector: Option<Value>,
    #[schema(value_type = shapes::Signing)]
    signing: Value,
    /// With Ed25519: what receivers verify with.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[schema(value_type = String)]
    envelope: Value,
    #[schema(value_type = String)]
    body_format: Value,
    headers: BTreeMap<String, String>,
    forward_headers: Vec<String>,
    user_agent: Option<String>,
    #[schema(value_type = Option<shapes::Auth>)]
    auth: Option<Value>,
    success: Vec<String>,
    #[schema(value_type = shapes::RetryPolicy)]
    retry_policy: Value,
    timeout: String,
    #[schema(value_type = Option<shapes::RateLimit>)]
    rate_limit: Option<Value>,
    reuse_instances: bool,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Where secrets are set, as pointers.
    secrets_set: Vec<String>,
    enabled: bool,
    /// `active`, `paused` or `disabled`.
    state: &'static str,
    /// Why, unless active: `user`, `gone` or `failing`.
    state_reason: Option<&'static str>,
    state_since: Time,
    /// Why it can't be served, if it no longer compiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// The versions that run, `name@version`: of its transforms in order, then of its connector.
    runs: Vec<String>,
    /// Where it follows a plugin's name, and does not go together with the newest version: why it stays with the one
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<String>,
    /// Counts changes; the `ETag`.
    revision: u64,
    created_at: Time,
    updated_at: Time,
}

fn json<T: Serialize>(value: &T) -> Value {
    // These are plain data with text keys.
    serde_json::to_value(value).unwrap_or_default()
}

impl SubscriptionView {
    pub(in crate::http) fn new(plan: &Plan, control: &Control) -> Self {
        let subscription = &*plan.subscription;
        let spec = &plan.spec;
        Self {
            id: subscription.id.to_string(),
            uid: spec.uid.clone(),
            name: spec.name.clone(),
            profile: spec.profile.clone(),
            url: plan.url_for_reading(),
            events: spec.events.clone(),
            source_ids: spec.source_ids.iter().map(ToString::to_string).collect(),
            filters: spec.filters.clone(),
            transforms: json(&spec.transforms),
            connector: spec.connector.as_ref().map(json),
            signing: json(&spec.signing()),
            public_key: control.public_key(plan),
            envelope: json(&spec.envelope()),
            body_format: json(&spec.body_format()),
            headers: spec.headers.clone(),
            forward_headers: spec.forward_headers().to_vec(),
            user_agent: spec.user_agent.clone(),
            auth: spec.auth.as_ref().map(|auth| without_secrets(json(auth))),
            success: spec.success(),
            retry_policy: json(&spec.retry_policy),
            timeout: duration::format(spec.timeout()),
            rate_limit: spec.rate_limit.as_ref().map(json),
            reuse_instances: spec.reuse_instances,
            metadata: spec.metadata.clone(),
            secrets_set: plan.secrets_set(),
            enabled: subscription.state != State::Disabled,
            state: match subscription.state {
                State::Active => "active",
                State::Paused => "paused",
                State::Disabled => "disabled",
            },
            state_reason: subscription.state_reason.map(|reason| match reason {
                StateReason::User => "user",
                StateReason::Gone => "gone",
                StateReason::Failing => "failing",
            }),
            state_since: subscription.state_since.into(),
            fault: plan.fault.clone(),
            runs: plan.steps().map(|step| step.reference.clone()).collect(),
            behind: plan.behind(),
            revision: subscription.revision,
            created_at: subscription.created_at.into(),
            updated_at: subscription.updated_at.into(),
        }
    }
}

/// Stored, the secret fields of `auth` are empty texts; read, they are not there.
fn without_secrets(mut auth: Value) -> Value {
    if let Some(fields) = auth.as_object_mut() {
        for secret in ["token", "password", "value", "service_account"] {
            fields.shift_remove(secret);
        }
    }
    auth
}

/// A subscription that was just made, with its secret.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CreatedSubscription {
    #[serde(flatten)]
    subscription: SubscriptionView,
    /// The signing secret; `null` if it does not sign. Later at `GET …/secret`.
    secret: Option<String>,
}

impl CreatedSubscription {
    pub(in crate::http) fn new(subscription: SubscriptionView, secret: Option<&Secret>) -> Self {
        Self { subscription, secret: secret.map(|secret| secret.expose().to_owned()) }
    }
}

/// A program that verifies a subscription's requests.
#[derive(Serialize, ToSchema)]
#[schema(as = Verifier)]
pub(in crate::http) struct VerifierView {
    lang: &'static str,
    /// What its file may be called.
    filename: &'static str,
    /// The program: a function to take over, and a main that tries it on one request.
    code: String,
    /// How it is tried on one request.
    run: &'static str,
    notes: Vec<String>,
}

impl VerifierView {
    pub(in crate::http) fn new(language: Language, receiver: Receiver) -> Self {
        let Receiver { filename, code, run, notes } = receiver;
        Self { lang: language.as_str(), filename, code, run, notes }
    }
}

/// A signing secret in clear.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionSecret)]
pub(in crate::http) struct SecretView {
    /// The one that counts now.
    secret: String,
    /// The one being rotated in.
    next_secret: Option<String>,
    /// From when on that one alone counts.
    next_from: Option<Time>,
}

impl SecretView {
    pub(in crate::http) fn new(secret: &Secret, next: Option<&(Secret, jiff::Timestamp)>) -> Self {
        Self {
            secret: secret.expose().to_owned(),
            next_secret: next.map(|(secret, _)| secret.expose().to_owned()),
            next_from: next.map(|(_, from)| (*from).into()),
        }
    }
}
