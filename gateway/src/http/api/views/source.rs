//! Sources, what they refused, and what they would make of a request.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::shapes::{Handshake, RateLimit, Signing, SourceResponse};
use super::{Raw, Time};
use crate::domain::{Refused, Secret, Source};
use crate::http::HttpConfig;
use crate::http::problem::ProblemView;
use crate::pipeline::NewEvent;
use crate::registry::Reply;
use crate::signing::Rejection;

/// A source.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
pub(in crate::http) struct SourceView {
    /// `src_…`
    id: String,
    name: String,
    /// The profile that says what its own settings do not; what is shown here is both together.
    profile: Option<String>,
    /// The absolute URL to paste into the product.
    url: String,
    /// How a request proves where it comes from: one way, or a list of ways of which any will do; `null`: any request is
    /// taken.
    #[schema(value_type = Option<Signing>)]
    verification: Option<Value>,
    /// Where the event's parts are.
    #[schema(value_type = Object)]
    extract: Map<String, Value>,
    /// How long the same request counts as a duplicate; `null`: the gateway's 24 hours.
    dedupe_window: Option<String>,
    /// Request headers kept with the event.
    keep_headers: Vec<String>,
    /// What is answered to a request that was taken; `null`: the receipt.
    #[schema(value_type = Option<SourceResponse>)]
    response: Option<Value>,
    /// Questions of the product that are answered and are no events: one, or a list.
    #[schema(value_type = Option<Handshake>)]
    handshake: Option<Value>,
    /// At most so many verified requests in a period.
    #[schema(value_type = Option<RateLimit>)]
    rate_limit: Option<Value>,
    /// The largest body in bytes; `null`: the gateway's.
    max_body: Option<usize>,
    /// Whether it takes requests.
    enabled: bool,
    /// Where secrets are set, as pointers.
    secrets_set: Vec<String>,
    /// From when on the secret being rotated in counts alone; `null`: no rotation was begun.
    next_secret_from: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

impl SourceView {
    pub(in crate::http) fn new(source: &Source, config: &HttpConfig) -> Self {
        // As they would be written by a client.
        let spec = serde_json::to_value(&source.spec).unwrap_or_default();
        let field = |name: &str| spec.get(name).cloned();
        let secrets = [(&source.secret, "#/secret"), (&source.verify_token, "#/verify_token")];
        Self {
            id: source.id.to_string(),
            name: source.spec.name.clone(),
            profile: source.spec.profile.clone(),
            url: config.url(&format!("/in/{}", source.id)),
            verification: field("verification"),
            extract: source.spec.extract.clone(),
            dedupe_window: source.spec.dedupe_window.map(crate::domain::duration::format),
            keep_headers: source.spec.keep_headers().to_vec(),
            response: field("response"),
            handshake: field("handshake"),
            rate_limit: field("rate_limit"),
            max_body: source.spec.max_body,
            enabled: source.spec.enabled,
            secrets_set: secrets.iter().filter(|(set, _)| set.is_some()).map(|(_, at)| (*at).to_owned()).collect(),
            next_secret_from: source.next_secret.as_ref().map(|next| next.from.into()),
            created_at: source.created_at.into(),
            updated_at: source.updated_at.into(),
        }
    }
}

/// A source whose secret is being rotated, with the new secret.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RotatedSource {
    #[serde(flatten)]
    source: SourceView,
    /// The new secret, to be put into the product. It is shown this once.
    secret: String,
}

impl RotatedSource {
    pub(in crate::http) fn new(source: SourceView, secret: &Secret) -> Self {
        Self { source, secret: secret.expose().to_owned() }
    }
}

/// A request that a source refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(in crate::http) struct RefusalView {
    /// When; of several, the last.
    at: Time,
    /// How many there were of the kind, from the same address, within a second of each other.
    count: u64,
    method: String,
    /// What was answered.
    status_code: u16,
    /// Which problem it is: the last part of its `type`.
    reason: String,
    /// What happened, in words.
    detail: String,
    /// The header it is about.
    header: Option<String>,
    /// The body's size in bytes; `null` if it is not known.
    body_size: Option<usize>,
    content_type: Option<String>,
    /// Where the connection came from: the product, or the proxy before this gateway.
    remote_address: Option<String>,
}

impl From<Refused> for RefusalView {
    fn from(refused: Refused) -> Self {
        Self {
            at: refused.at.into(),
            count: refused.count,
            method: refused.method,
            status_code: refused.status_code,
            reason: refused.reason,
            detail: refused.detail,
            header: refused.header,
            body_size: refused.body_size,
            content_type: refused.content_type,
            remote_address: refused.remote_address.map(|address| address.to_string()),
        }
    }
}

/// What a raw request would yield.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceTrialResult)]
pub(in crate::http) struct SourceTrialView {
    /// Whether it proves itself; a source without `verification` asks for no proof.
    verified: bool,
    /// Why it does not.
    rejection: Option<RejectionView>,
    /// The answer, if it is a handshake.
    handshake: Option<HandshakeView>,
    /// The events that would be taken in.
    events: Vec<TrialEvent>,
    /// Why it would be refused.
    problem: Option<ProblemView>,
}

/// Why a request is not believed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rejection)]
struct RejectionView {
    /// In one word, such as `missing_header`, `stale`, `no_match`.
    reason: &'static str,
    /// In a sentence.
    detail: String,
    /// The header it is about.
    header: Option<String>,
}

/// What a handshake is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HandshakeAnswer)]
struct HandshakeView {
    status_code: u16,
    content_type: Option<String>,
    body: String,
}

/// An event that would be taken in.
#[derive(Debug, Serialize, ToSchema)]
struct TrialEvent {
    /// The product's own id.
    id: Option<String>,
    r#type: String,
    /// When it happened, if the request says so.
    timestamp: Option<Time>,
    data: Raw,
    /// What makes a second one a duplicate; `null`: nothing.
    dedupe: Option<String>,
    /// To how many subscriptions it would be owed.
    would_match: usize,
}

impl SourceTrialView {
    fn new(rejection: Option<Rejection>) -> Self {
        Self {
            verified: rejection.is_none(),
            rejection: rejection.map(|rejection| RejectionView {
                reason: rejection.as_str(),
                detail: rejection.to_string(),
                header: rejection.header().map(ToString::to_string),
            }),
            handshake: None,
            events: Vec::new(),
            problem: None,
        }
    }

    pub(in crate::http) fn question(rejection: Option<Rejection>, reply: &Reply) -> Self {
        let content_type = reply.content_type.as_ref().and_then(|value| value.to_str().ok());
        let handshake = HandshakeView {
            status_code: reply.status.as_u16(),
            content_type: content_type.map(str::to_owned),
            body: reply.body.clone(),
        };
        Self { handshake: Some(handshake), ..Self::new(rejection) }
    }

    pub(in crate::http) fn events(
        rejection: Option<Rejection>,
        events: impl Iterator<Item = (usize, NewEvent)>,
    ) -> Self {
        let events = events.map(|(would_match, event)| TrialEvent {
            dedupe: event.dedupe.or_else(|| event.external_id.clone()),
            id: event.external_id,
            r#type: event.event_type.to_string(),
            timestamp: event.timestamp.map(Time::from),
            data: Raw::of(&event.data),
            would_match,
        });
        Self { events: events.collect(), ..Self::new(rejection) }
    }

    pub(in crate::http) fn problem(rejection: Option<Rejection>, problem: ProblemView) -> Self {
        Self { problem: Some(problem), ..Self::new(rejection) }
    }
}
