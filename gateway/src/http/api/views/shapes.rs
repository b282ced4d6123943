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
    /// `standard` (`{id,type,timestamp,data}`), `none` (`data` alone) or `cloudevents`.
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
    /// Names of the event's kept headers that are passed on.
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
}

/// A connector and its config.
#[derive(ToSchema)]
pub(in crate::http) struct Connector {
    /// As `plugin` of a transform.
    name: String,
    /// What the connector's schema asks for.
    #[schema(required = false, value_type = Object)]
    config: Value,
}

/// How requests are signed: `{"scheme":"standard"}`, `{"scheme":"hmac","header":…}` or `{"scheme":"none"}`.
#[derive(ToSchema)]
pub(in crate::http) struct Signing {
    /// `standard` (Standard Webhooks 1.0), `hmac` or `none`.
    scheme: String,
    /// With `standard`: `webhook` unless another family is wanted.
    #[schema(required = false)]
    header_prefix: Option<String>,
    /// With `standard`: `sha256` or `ed25519`. With `hmac`: `sha1`, `sha256` or `sha512`.
    #[schema(required = false)]
    algorithm: Option<String>,
    /// With `hmac`: the header's name.
    #[schema(required = false)]
    header: String,
    /// With `hmac`: `hex` or `base64`.
    #[schema(required = false)]
    encoding: String,
    /// With `hmac`: what is signed, from `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}` and text.
    #[schema(required = false)]
    content: String,
    /// With `hmac`: the header's value, from `{signature}`, `{timestamp}`, `{id}` and text.
    #[schema(required = false)]
    value: String,
    /// With `hmac`: a header that carries the time in Unix seconds.
    #[schema(required = false)]
    timestamp_header: Option<String>,
}

/// How a request proves where it comes from: a `signing` object with a tolerance.
#[derive(ToSchema)]
pub(in crate::http) struct Verification {
    /// `standard` or `hmac`.
    scheme: String,
    #[schema(required = false)]
    header_prefix: Option<String>,
    #[schema(required = false)]
    header: String,
    #[schema(required = false)]
    algorithm: String,
    #[schema(required = false)]
    encoding: String,
    #[schema(required = false)]
    content: String,
    #[schema(required = false)]
    value: String,
    #[schema(required = false)]
    timestamp_header: Option<String>,
    /// How far the timestamp may be off, either way; `"5m"` unless given.
    #[schema(required = false)]
    tolerance: Option<String>,
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
    /// Entry n is the wait before attempt n, counted from the end of the one before.
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
    /// The secret shared with the product.
    #[schema(required = false, write_only)]
    secret: Option<String>,
    #[schema(required = false)]
    verification: Option<Verification>,
    /// Where `id`, `type`, `time`, `data` and `dedupe` are: `"$.path"`, `"header:name"`, or a list joined by `.` whose
    /// optional parts end in `?`.
    #[schema(required = false, value_type = Object)]
    extract: Map<String, Value>,
    /// Request headers kept with the event.
    #[schema(required = false)]
    keep_headers: Vec<String>,
    #[schema(required = false)]
    enabled: bool,
}
