//! How a request proves where it comes from, as data: one description that signs what is delivered (`signing`) and
//! verifies what comes in (`verification`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// A signature scheme. Which fields belong to which scheme, and which sides have it, the `signing` room says when it
/// compiles a description; here they are only read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// The kind of scheme.
    pub scheme: SchemeKind,
    /// `standard`: `webhook` unless another family is wanted: `<prefix>-id`, `<prefix>-timestamp`,
    /// `<prefix>-signature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_prefix: Option<String>,
    /// `standard`, verification: further families that are accepted, such as `svix`; at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_prefixes: Vec<String>,
    /// The header that carries the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Verification: further headers that may carry it, in the same form; at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The algorithm; `sha256` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// How the signature is written; `hex` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What is signed: `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}`, `{header:NAME}`, `{form}` and literal
    /// text; `{body}` unless given. A packed body is signed as it comes, a packed form by what it unpacks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The header's value: `{signature}`, `{timestamp}`, `{id}` and literal text; `{signature}` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The header that carries the time in Unix seconds: the short form of `timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// Where the time of signing is, and how it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampForm>,
    /// Verification: how far the time may be off, either way; 300 s unless given.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub tolerance: Option<Duration>,
    /// How a secret's text becomes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretForm>,
    /// Verification: a hash of the body in the signed URL's query, which stands in for `{body}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<BodyHash>,
    /// `shared`: where the secret itself is.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub place: Option<SharedPlace>,
    /// `shared`: the header's or the query parameter's name; with `basic` the user's name, any unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The kinds of schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemeKind {
    /// Standard Webhooks 1.0.
    #[default]
    Standard,
    /// One header with an HMAC over a text made from a template.
    Hmac,
    /// The same, signed with a private key and verified with a public one.
    Asymmetric,
    /// The secret itself is sent along; to verify only.
    Shared,
    /// None; to sign only.
    None,
}

/// A signature's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA-1; only for receivers that know nothing better.
    Sha1,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
    /// Ed25519.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, the signature in DER; to verify only.
    #[serde(rename = "ecdsa_p256")]
    EcdsaP256,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 in the URL-safe alphabet, without padding.
    Base64url,
}

/// Where a time is, and how it is written. Neither `header` nor `body`: where `value` has `{timestamp}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampForm {
    /// In this header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Verification: headers that are looked at, in this order, where the first is missing; at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Verification: in the signed body, at this path (`$.webhookTimestamp`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What `unix` counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unit: TimeUnit,
    /// How it is written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: TimeFormat,
}

/// What a Unix time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Digits: the time since 1970 in the unit that `unit` says.
    #[default]
    Unix,
    /// RFC 3339, with any fraction of a second.
    Rfc3339,
    /// As in HTTP's `Date`: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
    HttpDate,
}

/// How a secret's text becomes a key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretForm {
    /// A prefix that belongs to the text and not to the key; it may be missing from a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// How the rest is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decode: SecretDecoding,
}

/// How a secret's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretDecoding {
    /// Its bytes are the key.
    #[default]
    Utf8,
    /// It is base64 of the key, padded or not.
    Base64,
    /// It is the key in hexadecimal.
    Hex,
}

/// A hash of the body that stands in the URL's query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyHash {
    /// The parameter's name.
    pub query: String,
    /// The plain hash: `sha1`, `sha256` or `sha512`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub algorithm: Algorithm,
    /// How it is written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoding: Encoding,
}

/// Where a shared secret is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharedPlace {
    /// The value of a header.
    Header,
    /// `Authorization: Bearer …`.
    Bearer,
    /// The password in `Authorization: Basic …`.
    Basic,
    /// A parameter of the URL's query.
    Query,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
