//! Sources: how a product's requests are verified, read and answered, and which were refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NextSecret, RateLimit, Sealed, Signing, SourceId, TenantId, duration, one_or_many};

/// What a client asks of a source.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// A name; it is the `source` of its events.
    pub name: String,
    /// The profile whose source half stands under these settings: what they do not say, it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The shared secret or the product's public key, on its way in only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A second secret that a handshake asks for (Meta's verify token), on its way in only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<String>,
    /// How a request proves where it comes from, any of these; empty means any request is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    pub verification: Vec<Signing>,
    /// Where the event's parts are: `$.path`, `header:name`, `query:name`, or a list joined by `.`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extract: Map<String, Value>,
    /// How long the same request counts as a duplicate; 24 h unless given.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub dedupe_window: Option<Duration>,
    /// Request headers kept as the event's attributes; an empty list says none where a profile names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_headers: Option<Vec<String>>,
    /// What is answered to a request that was taken; the receipt unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<SourceResponse>,
    /// Questions of the product that are answered and are no events.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    pub handshake: Vec<Handshake>,
    /// At most so many verified requests in a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The largest body in bytes, as it comes in and as it is when unpacked; at most the gateway's, which it is
    /// unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<usize>,
    /// Whether it takes requests.
    #[serde(default = "super::subscription::enabled_by_default")]
    pub enabled: bool,
}

impl SourceSpec {
    /// Request headers kept as the event's attributes: none, unless somebody says otherwise.
    #[must_use]
    pub fn keep_headers(&self) -> &[String] {
        self.keep_headers.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Debug for SourceSpec {
    /// What is never secret: on its way in, a spec holds its secrets in clear.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a product is answered when its request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceResponse {
    /// 200 to 299; 200 unless given.
    #[serde(default = "ok")]
    pub status_code: u16,
    /// The body, at most 4 KiB; none unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What the body is; `text/plain; charset=utf-8` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

fn ok() -> u16 {
    200
}

/// A question that a product asks before it sends events, or to see whether anybody listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// The request's method.
    #[serde(default)]
    pub method: HandshakeMethod,
    /// What makes a request this question: places (`$.type`, `header:name`, `query:name`) and what must be there,
    /// a text, a number or a boolean, or `true` in `query:` and `header:` for "anything". All must hold.
    pub when: BTreeMap<String, Value>,
    /// The place of a token that must equal the source's `verify_token` or, where there is none, its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether the request must be verified like any other; unless given, a POST must and a GET need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// What is answered.
    #[serde(default)]
    pub answer: Answer,
}

/// The methods of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HandshakeMethod {
    /// As events come.
    #[default]
    Post,
    /// Never an event.
    Get,
}

/// What a question is answered: a text, a JSON object, or nothing but a status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// 200 to 299; 200 unless given.
    #[serde(default = "ok")]
    pub status_code: u16,
    /// A place whose text is the body, as `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A JSON object: a text that is a place is replaced by what is there; `{"hmac": "$.place"}` by the hexadecimal
    /// HMAC-SHA-256 of the text there under the source's secret; anything else stands as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Map<String, Value>>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status_code: ok(), text: None, json: None }
    }
}

/// A product that posts raw requests to `/in/{source_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its id, and the last part of its URL.
    pub id: SourceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What the client asked for, without the secrets.
    pub spec: SourceSpec,
    /// The secret under the master key.
    pub secret: Option<Sealed>,
    /// The secret being rotated in: until its time both are believed, and from then on it alone.
    #[serde(default)]
    pub next_secret: Option<NextSecret>,
    /// The verify token under the master key.
    #[serde(default)]
    pub verify_token: Option<Sealed>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A request to a source that was refused. Nothing secret is in it: no body, and of the headers one's
/// name and the content type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When; of several, the last.
    pub at: Timestamp,
    /// How many of the kind there were within a second.
    pub count: u64,
    /// The HTTP method.
    pub method: String,
    /// What was answered.
    pub status_code: u16,
    /// Which problem it is: the last part of its `type`.
    pub reason: String,
    /// What happened, in words.
    pub detail: String,
    /// The name of the header it is about.
    pub header: Option<String>,
    /// The body's size in bytes, if it was read or announced.
    pub body_size: Option<usize>,
    /// What the body was said to be.
    pub content_type: Option<String>,
    /// Where the connection came from: the product, or the proxy before this gateway.
    pub remote_address: Option<IpAddr>,
}

/// What a source has refused lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRefusals {
    /// Whose the source is.
    pub tenant_id: TenantId,
    /// The source.
    pub source_id: SourceId,
    /// The requests, oldest first.
    pub refused: Vec<Refused>,
}
