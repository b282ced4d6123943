//! Shapes of what clients send, for the document. What is read are the types of `domain`; a test holds the
//! two together.

#![expect(dead_code, reason = "shapes for the document; requests are read into the types of domain")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What makes a subscription. `events` is required, and a way to know the URL. As a merge patch every field
/// may be absent; an omitted secret is kept, `null` clears it.
#[derive(ToSchema)]
pub(in crate::http) struct NewSubscription {
    /// The client's own id: unique, usable in paths as `uid:…`, 1 to 128 of `A-Z a-z 0-9 . _ -`.
    #[schema(required = false)]
    uid: Option<String>,
    /// A name for people.
    #[schema(required = false)]
    name: Option<String>,
    /// A profile that says what these settings do not; the tenant's unless given, `null` for none.
    #[schema(required = false)]
    profile: Option<String>,
    /// Where deliveries go; may be absent if the connector's config gives it.
    #[schema(required = false)]
    url: Option<String>,
    /// Exact event types or wildcards: `*`; a trailing `.*` is one or more segments, an inner `*` exactly one.
    events: Vec<String>,
    /// Only events of these sources.
    #[schema(required = false)]
    source_ids: Vec<String>,
    /// An object of operators (`eq ne gt gte lt lte in nin exists contains starts_with ends_with regex`, combined by
    /// `all`, `any`, `not`), or one JSONPath as a string that must select something.
    #[schema(required = false, value_type = Object)]
    filters: Value,
    /// Transforms, run in this order; at most 8.
    #[schema(required = false)]
    transforms: Vec<Transform>,
    /// The connector that makes the request; without one the envelope is posted.
    #[schema(required = false)]
    connector: Option<Connector>,
    /// The signing secret; made when absent.
    #[schema(required = false, write_only)]
    secret: Option<String>,
    #[schema(required = false)]
    signing: Signing,
    /// `standard` (`{id,type,timestamp,data}`), `none` (`data` alone), `cloudevents`, or `profile` (that of the profile).
    #[schema(required = false)]
    envelope: String,
    /// `kept` (as it arrived) or `js` (as `JSON.stringify(JSON.parse(x))` writes it).
    #[schema(required = false)]
    body_format: String,
    /// Headers of every request.
    #[schema(required = false)]
    headers: BTreeMap<String, String>,
    /// The same, but the values never come back.
    #[schema(required = false, write_only)]
    secret_headers: BTreeMap<String, String>,
    /// Names of the event's kept headers that are passed on; an empty list: none, whatever the profile says.
    #[schema(required = false)]
    forward_headers: Vec<String>,
    /// The `User-Agent`.
    #[schema(required = false)]
    user_agent: Option<String>,
    #[schema(required = false)]
    auth: Option<Auth>,
    /// Which answers are a success: `2xx`, `204`, `200-299`.
    #[schema(required = false)]
    success: Vec<String>,
    #[schema(required = false)]
    retry_policy: RetryPolicy,
    /// How long an answer may take: `"1s"` to `"60s"`.
    #[schema(required = false)]
    timeout: String,
    #[schema(required = false)]
    rate_limit: Option<RateLimit>,
    /// Whether instances of its plugins that are slow to start (Python) are kept for its later events, as far as the
    /// operator's `plugins.reuse_instances` has room: each then costs a tenth, and the plugin could remember earlier ones
    /// of this subscription.
    #[schema(required = false)]
    reuse_instances: bool,
    /// Whether it takes part.
    #[schema(required = false)]
    enabled: bool,
    /// Free for the client; at most 16 KiB.
    #[schema(required = false, value_type = Object)]
    metadata: Map<String, Value>,
}

/// A transform and its config.
#[derive(ToSchema)]
pub(in crate::http) struct Transform {
    /// `name` (pinned when saved), `name@1.2.0`, `name@latest`, `name@^1` or `name@sha256:…`.
    plugin: String,
    /// What the plugin's schema asks for.
    #[schema(required = false, value_type = Object)]
    config: Value,
    /// Another version, tried beside it.
    #[schema(required = false)]
    candidate: Option<Candidate>,
}

/// Another version of a step that is being tried: with `percent` or in the `shadow`, not both. Read how it fares at
/// `GET …/rollout`.
#[derive(ToSchema)]
pub(in crate::http) struct Candidate {
    /// As `plugin` of a transform. Of a connector: another version of it.
    plugin: String,
    /// A config of its own; otherwise that of the step.
    #[schema(required = false, value_type = Option<Object>)]
    config: Option<Value>,
    /// Which share of the events it gets in place of the step, 0 to 100: for all attempts and subscriptions the same
    /// events, and the same ones when the share grows.
    #[schema(required = false, value_type = u8, minimum = 0, maximum = 100)]
    percent: Option<u8>,
    /// It runs after the delivery has been made; what it makes is compared and never sent.
    #[schema(required = false)]
    shadow: bool,
}

/// A connector and its config.
#[derive(ToSchema)]
pub(in crate::http) struct Connector {
    /// As `plugin` of a transform.
    name: String,
    /// What the connector's schema asks for.
    #[schema(required = false, value_type = Object)]
    config: Value,
    /// Another version, tried beside it.
    #[schema(required = false)]
    candidate: Option<Candidate>,
}

/// A signature scheme: how a subscription's requests are signed, or how a source's are verified. Which fields there are
/// depends on `scheme`; one that it does not have is refused.
#[derive(ToSchema)]
pub(in crate::http) struct Signing {
    /// `standard` (Standard Webhooks 1.0), `hmac`, `asymmetric`; to sign also `none`, to verify also `shared` (the secret
    /// itself is sent along).
    scheme: String,
    /// `standard`: `webhook` unless another family is wanted.
    #[schema(required = false)]
    header_prefix: Option<String>,
    /// `standard`, to verify: further families, such as `svix`; at most 4.
    #[schema(required = false)]
    header_prefixes: Vec<String>,
    /// `hmac`, `asymmetric`: the header's name.
    #[schema(required = false)]
    header: Option<String>,
    /// `hmac`, `asymmetric`, to verify: further headers that may carry a signature; at most 4.
    #[schema(required = false)]
    headers: Vec<String>,
    /// `standard`, to sign: `sha256` or `ed25519`. `hmac`: `sha1`, `sha256` or `sha512`. `asymmetric`: `ed25519` or, to
    /// verify, `ecdsa_p256`; the source's secret is then the product's public key in hexadecimal, base64 or PEM.
    #[schema(required = false)]
    algorithm: Option<String>,
    /// `hmac`, `asymmetric`: `hex`, `base64` or `base64url`.
    #[schema(required = false)]
    encoding: Option<String>,
    /// `hmac`, `asymmetric`: what is signed, from `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}`, `{form}` (a form's
    /// parameters, sorted), `{header:NAME}` and text. A packed body is signed as it comes, a packed form by what it
    /// unpacks to.
    #[schema(required = false)]
    content: Option<String>,
    /// `hmac`, `asymmetric`: the header's value, from `{signature}`, `{timestamp}`, `{id}` and text.
    #[schema(required = false)]
    value: Option<String>,
    /// `hmac`, `asymmetric`: a header that carries the time in Unix seconds.
    #[schema(required = false)]
    timestamp_header: Option<String>,
    /// `hmac`, `asymmetric`: the same in full.
    #[schema(required = false)]
    timestamp: Option<TimestampForm>,
    /// To verify: how far the time may be off, either way; `"5m"` unless given.
    #[schema(required = false)]
    tolerance: Option<String>,
    /// `hmac`: how the secret's text becomes a key.
    #[schema(required = false)]
    secret: Option<SecretForm>,
    /// `hmac`, `asymmetric`, to verify: a hash of the body in the signed URL's query, which stands in for `{body}`.
    #[schema(required = false)]
    body_hash: Option<BodyHash>,
    /// `shared`: `header`, `bearer`, `basic` or `query`.
    #[schema(required = false)]
    r#in: Option<String>,
    /// `shared`: the header's or the parameter's name; with `basic` the user's name, any unless given.
    #[schema(required = false)]
    name: Option<String>,
}

/// Where the time of signing is, and how it is written; in neither `header` nor `body`: where `value` has
/// `{timestamp}`.
#[derive(ToSchema)]
pub(in crate::http) struct TimestampForm {
    /// In this header.
    #[schema(required = false)]
    header: Option<String>,
    /// To verify: headers that are looked at where that one is missing.
    #[schema(required = false)]
    fallbacks: Vec<String>,
    /// To verify: at this path of the signed body.
    #[schema(required = false)]
    body: Option<String>,
    /// `s` or `ms`.
    #[schema(required = false)]
    unit: String,
    /// `unix`, `rfc3339` or `http_date`.
    #[schema(required = false)]
    format: String,
}

/// How a secret's text becomes a key.
#[derive(ToSchema)]
pub(in crate::http) struct SecretForm {
    /// A prefix that is no part of the key.
    #[schema(required = false)]
    strip_prefix: Option<String>,
    /// `utf8`, `base64` or `hex`.
    #[schema(required = false)]
    decode: String,
}

/// A plain hash of the body in the query.
#[derive(ToSchema)]
pub(in crate::http) struct BodyHash {
    /// The parameter's name.
    query: String,
    /// `sha1`, `sha256` or `sha512`.
    #[schema(required = false)]
    algorithm: String,
    /// `hex`, `base64` or `base64url`.
    #[schema(required = false)]
    encoding: String,
}

/// How a request authenticates itself. Tokens, passwords, values and keys never come back.
#[derive(ToSchema)]
pub(in crate::http) struct Auth {
    /// `bearer`, `basic`, `header` or `google_service_account`.
    r#type: String,
    /// With `bearer`.
    #[schema(required = false, write_only)]
    token: String,
    /// With `basic`.
    #[schema(required = false)]
    username: String,
    /// With `basic`.
    #[schema(required = false, write_only)]
    password: String,
    /// With `header`.
    #[schema(required = false)]
    name: String,
    /// With `header`.
    #[schema(required = false, write_only)]
    value: String,
    /// With `google_service_account`: the key file's JSON, as text.
    #[schema(required = false, write_only)]
    service_account: String,
    /// With `google_service_account`: OAuth scopes.
    #[schema(required = false)]
    scopes: Vec<String>,
}

/// When to try again: a list of waits, or the numbers to compute one. Durations are `"500ms"`, `"30s"`, `"2h"`.
#[derive(ToSchema)]
pub(in crate::http) struct RetryPolicy {
    /// Entry n is the wait before attempt n, counted from the end of the one before. An empty list: the usual one, whatever
    /// the profile says.
    #[schema(required = false)]
    schedule: Vec<String>,
    #[schema(required = false)]
    max_retries: Option<u32>,
    /// `exponential`, `linear` or `fixed`.
    #[schema(required = false)]
    backoff: Option<String>,
    /// The wait before the first retry.
    #[schema(required = false)]
    initial: Option<String>,
    #[schema(required = false)]
    factor: Option<f64>,
    #[schema(required = false)]
    max_delay: Option<String>,
    /// No attempt later than this after the delivery came to be.
    #[schema(required = false)]
    give_up_after: Option<String>,
    /// Share of the wait that is added at random, 0 to 0.5.
    #[schema(required = false)]
    jitter: Option<f64>,
}

/// At most `max` requests in each period.
#[derive(ToSchema)]
pub(in crate::http) struct RateLimit {
    /// The period, such as `"1s"`.
    per: String,
    max: u32,
}

/// What makes a source, or as a merge patch changes one.
#[derive(ToSchema)]
pub(in crate::http) struct NewSource {
    /// A name; it is the `source` of its events.
    name: String,
    /// A profile that says what these settings do not: `verification`, `extract` (part by part), `handshake` and so on.
    #[schema(required = false)]
    profile: Option<String>,
    /// The secret shared with the product.
    #[schema(required = false, write_only)]
    secret: Option<String>,
    /// A second secret that handshakes may ask for, such as Meta's verify token.
    #[schema(required = false, write_only)]
    verify_token: Option<String>,
    /// How a request proves where it comes from: one way, or a list of at most 4 of which any will do.
    #[schema(required = false)]
    verification: Option<Signing>,
    /// Where `id`, `type`, `time`, `data` and `dedupe` are: `"$.path"`, `"header:name"`, `"query:name"`, or a list joined
    /// by `.` whose optional parts end in `?`. `each` is the path of a list of events; the others then begin in its items.
    #[schema(required = false, value_type = Object)]
    extract: Map<String, Value>,
    /// How long the same request counts as a duplicate, `"1s"` to as long as events are kept; `"24h"` unless given.
    #[schema(required = false)]
    dedupe_window: Option<String>,
    /// Request headers kept with the event; an empty list: none, whatever the profile says.
    #[schema(required = false)]
    keep_headers: Vec<String>,
    /// What is answered to a request that was taken; the receipt unless given.
    #[schema(required = false)]
    response: Option<SourceResponse>,
    /// Questions of the product that are answered and are no events: one, or a list of at most 8.
    #[schema(required = false)]
    handshake: Option<Handshake>,
    /// At most so many verified requests in a period; what is beyond is a 429.
    #[schema(required = false)]
    rate_limit: Option<RateLimit>,
    /// The largest body in bytes, packed and unpacked; at most the gateway's, which it is
    /// unless given.
    #[schema(required = false)]
    max_body: Option<usize>,
    #[schema(required = false)]
    enabled: bool,
}

/// What a product is answered.
#[derive(ToSchema)]
pub(in crate::http) struct SourceResponse {
    /// 200 to 299; 200 unless given.
    #[schema(required = false)]
    status_code: u16,
    /// At most 4 KiB.
    #[schema(required = false)]
    body: Option<String>,
    /// `text/plain; charset=utf-8` unless given.
    #[schema(required = false)]
    content_type: Option<String>,
}

/// A question that a product asks to see whether anybody listens. Places are `"$.path"`, `"header:name"` and
/// `"query:name"`.
#[derive(ToSchema)]
pub(in crate::http) struct Handshake {
    /// `POST` unless given, or `GET`.
    #[schema(required = false)]
    method: String,
    /// Places, and the text, number or boolean that must be there; `true` for anything in a header or the query.
    #[schema(value_type = Object)]
    when: Map<String, Value>,
    /// The place of a token that must equal the source's `verify_token` or, where there is none, its `secret`.
    #[schema(required = false)]
    token: Option<String>,
    /// Whether it must prove itself like any request: a POST must, unless given, and a GET need not.
    #[schema(required = false)]
    verified: Option<bool>,
    #[schema(required = false)]
    answer: HandshakeReply,
}

/// What it is answered: a text, an object, or nothing but a status.
#[derive(ToSchema)]
pub(in crate::http) struct HandshakeReply {
    /// 200 to 299; 200 unless given.
    #[schema(required = false)]
    status_code: u16,
    /// The place whose text is the body.
    #[schema(required = false)]
    text: Option<String>,
    /// Places are replaced by what is there, `{"hmac": "$.place"}` by the hexadecimal HMAC-SHA-256 of it under the secret;
    /// anything else stands as it is.
    #[schema(required = false, value_type = Object)]
    json: Option<Map<String, Value>>,
}
