//! From what a client wrote to a [`Scheme`], with every mistake and its place.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};

use super::claim::Grammar;
use super::key::Hash;
use super::scheme::{Carrier, Family, Form, Layout, QueryHash, Scheme};
use super::shared;
use super::template::{Allowed, Piece, Placeholder, Template};
use super::time::Written;
use crate::domain::{
    Algorithm, BodyHash, Encoding, SchemeKind, SecretDecoding, SecretForm, Signing, TimeFormat, TimeUnit, duration,
};
use crate::filter::Path;

/// Five minutes: what the Standard Webhooks libraries, Stripe and Slack tolerate.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);
/// A day's tolerance would let a recorded request be replayed for a day: more is no check at all.
const MAX_TOLERANCE: Duration = Duration::from_secs(86_400);
/// Longer header names than this are refused by some servers.
const MAX_NAME_LEN: usize = 100;
/// Most further headers or families in which a signature or a timestamp is looked for: each costs a hash of the body.
const MAX_MORE: usize = 4;

/// Headers that HTTP itself or the gateway sets: a signature there would break the request.
const RESERVED: [HeaderName; 16] = [
    header::ACCEPT,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    HeaderName::from_static("keep-alive"),
];

/// A mistake in a scheme's description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}` {detail}")]
pub struct SchemeError {
    /// Where, as an RFC 6901 pointer into the `signing` or `verification` object, such as `/header`.
    pub pointer: String,
    /// What is wrong there and what to write instead, to be read after the field's name.
    pub detail: String,
}

/// Collects mistakes, so that all are reported at once.
#[derive(Default)]
struct Mistakes(Vec<SchemeError>);

impl Mistakes {
    fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(SchemeError { pointer: pointer.to_owned(), detail: detail.into() });
    }

    fn note<T>(&mut self, pointer: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|detail| self.add(pointer, detail)).ok()
    }

    /// The form, if it could be made and nothing was wrong.
    fn finish(self, form: Option<Form>) -> Result<Scheme, Vec<SchemeError>> {
        match form {
            Some(form) if self.0.is_empty() => Ok(Scheme(form)),
            _ => Err(self.0),
        }
    }
}

/// Which of the two a description is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Delivery,
    Source,
}

impl Scheme {
    /// Compiles how a subscription's requests are signed.
    ///
    /// # Errors
    /// Every mistake in the description: fields of another scheme, header names that are none, that HTTP needs or that
    /// are used twice, templates that cannot be read or verified, algorithms the scheme does not have, and the scheme
    /// `shared`, which signs nothing.
    pub fn for_delivery(signing: &Signing) -> Result<Self, Vec<SchemeError>> {
        compile(signing, Side::Delivery)
    }

    /// Compiles how a source's requests are verified.
    ///
    /// # Errors
    /// As [`Scheme::for_delivery`], and: a timestamp that is carried but not signed (anyone could renew it), a
    /// tolerance where there is no timestamp, or one outside of 1 s to 24 h, and the scheme `none`.
    pub fn for_source(verification: &Signing) -> Result<Self, Vec<SchemeError>> {
        compile(verification, Side::Source)
    }
}

fn compile(signing: &Signing, side: Side) -> Result<Scheme, Vec<SchemeError>> {
    let mut mistakes = Mistakes::default();
    refuse_foreign_fields(&mut mistakes, signing, side);
    let form = match (signing.scheme, side) {
        (SchemeKind::None, Side::Delivery) => Some(Form::None),
        (SchemeKind::None, Side::Source) => {
            mistakes.add("/scheme", "must verify something: to take any request, leave the verification out");
            None
        }
        (SchemeKind::Shared, Side::Delivery) => {
            mistakes.add("/scheme", "signs nothing: to send a secret along, use the subscription's `auth`");
            None
        }
        (SchemeKind::Shared, Side::Source) => match shared::compile(signing.place, signing.name.as_deref()) {
            Ok(shared) => Some(Form::Shared(Arc::new(shared))),
            Err((pointer, detail)) => {
                mistakes.add(pointer, detail);
                None
            }
        },
        (SchemeKind::Standard, _) => standard(&mut mistakes, signing, side).map(|it| Form::Signed(Arc::new(it))),
        (SchemeKind::Hmac | SchemeKind::Asymmetric, _) => {
            templated(&mut mistakes, signing, side).map(|it| Form::Signed(Arc::new(it)))
        }
    };
    mistakes.finish(form)
}

/// Says of each field that the scheme does not have on this side which it has.
fn refuse_foreign_fields(mistakes: &mut Mistakes, signing: &Signing, side: Side) {
    let (both, source): (&[&str], &[&str]) = match signing.scheme {
        SchemeKind::Standard if side == Side::Delivery => (&["header_prefix", "algorithm"], &[]),
        SchemeKind::Standard => (&["header_prefix"], &["header_prefixes", "tolerance"]),
        SchemeKind::Hmac => (
            &["header", "algorithm", "encoding", "content", "value", "timestamp_header", "timestamp", "secret"],
            &["headers", "tolerance", "body_hash"],
        ),
        SchemeKind::Asymmetric => (
            &["header", "algorithm", "encoding", "content", "value", "timestamp_header", "timestamp"],
            &["headers", "tolerance", "body_hash"],
        ),
        SchemeKind::Shared => (&["in", "name"], &[]),
        SchemeKind::None => (&[], &[]),
    };
    let known: Vec<&str> = match side {
        Side::Delivery => both.to_vec(),
        Side::Source => [both, source].concat(),
    };
    let Ok(serde_json::Value::Object(given)) = serde_json::to_value(signing) else { return };
    for field in given.keys().filter(|field| *field != "scheme" && !known.contains(&field.as_str())) {
        let detail = match known.is_empty() {
            true => "is no field of this scheme, which has none".to_owned(),
            false => format!("is no field of this scheme here; those are `{}`", known.join("`, `")),
        };
        mistakes.add(&format!("/{field}"), detail);
    }
}

/// Standard Webhooks 1.0, as a description like any other.
fn standard(mistakes: &mut Mistakes, signing: &Signing, side: Side) -> Option<Layout> {
    let family = match (side, signing.algorithm) {
        (Side::Source, _) => Family::ByPrefix,
        (Side::Delivery, None | Some(Algorithm::Sha256)) => Family::Symmetric,
        (Side::Delivery, Some(Algorithm::Ed25519)) => Family::Asymmetric,
        (Side::Delivery, Some(_)) => {
            mistakes.add("/algorithm", "must be `sha256` or `ed25519` in the standard scheme");
            Family::Symmetric
        }
    };
    let tolerance = tolerance(mistakes, signing.tolerance);
    let first = signing.header_prefix.as_deref().unwrap_or("webhook");
    let mut carriers = vec![mistakes.note("/header_prefix", prefixed(first))?];
    for (at, prefix) in more(mistakes, "/header_prefixes", &signing.header_prefixes) {
        carriers.extend(mistakes.note(&format!("/header_prefixes/{at}"), prefixed(prefix)));
    }
    // These two are constants, so a mistake in them would be found by the first test.
    let content = mistakes.note("", Template::parse("{id}.{timestamp}.{body}", CONTENT))?;
    let value = mistakes.note("", Template::parse("{signature}", VALUE))?;
    Some(Layout {
        carriers,
        rotates_beside: false,
        content,
        value,
        grammar: Grammar::Versions,
        encoding: Encoding::Base64,
        family,
        written: Written::Seconds,
        body_time: None,
        tolerance,
        body_hash: None,
    })
}

/// The headers of a family of the standard scheme.
fn prefixed(prefix: &str) -> Result<Carrier, String> {
    if prefix.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let name = |suffix: &str| signature_name(&format!("{prefix}-{suffix}"));
    let (id, timestamp, header) = (name("id")?, name("timestamp")?, name("signature")?);
    Ok(Carrier { header, id_header: Some(id), timestamp_headers: vec![timestamp] })
}

/// The items of a list that is bounded.
fn more<'a>(
    mistakes: &mut Mistakes,
    pointer: &str,
    list: &'a [String],
) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
    if list.len() > MAX_MORE {
        mistakes.add(pointer, format!("must have at most {MAX_MORE} items, not {}", list.len()));
    }
    list.iter().map(String::as_str).enumerate().take(MAX_MORE)
}

const CONTENT: Allowed = Allowed {
    placeholders: &[
        Placeholder::Body,
        Placeholder::Timestamp,
        Placeholder::Id,
        Placeholder::Form,
        Placeholder::Url,
        Placeholder::Method,
    ],
    headers: true,
};
const VALUE: Allowed =
    Allowed { placeholders: &[Placeholder::Signature, Placeholder::Timestamp, Placeholder::Id], headers: false };

/// One header, made from a template.
fn templated(mistakes: &mut Mistakes, signing: &Signing, side: Side) -> Option<Layout> {
    let family = family(mistakes, signing, side);
    let encoding = signing.encoding.unwrap_or_default();
    let tolerance = tolerance(mistakes, signing.tolerance);
    let header = match &signing.header {
        Some(header) => mistakes.note("/header", signature_name(header)),
        None => {
            mistakes.add("/header", "must be given: the header that carries the signature");
            None
        }
    };
    // A rotation puts a second header beside the first, so its name has to fit too.
    let beside = header.as_ref().and_then(|header| mistakes.note("/header", signature_name(&format!("{header}-next"))));
    let mut headers: Vec<HeaderName> = header.iter().cloned().chain(beside).collect();
    for (at, name) in more(mistakes, "/headers", &signing.headers) {
        headers.extend(mistakes.note(&format!("/headers/{at}"), signature_name(name)));
    }
    let time = Time::compile(mistakes, signing, side);
    if let Some((pointer, name)) = time.headers.iter().find(|(_, name)| headers.contains(name)) {
        mistakes.add(pointer, format!("must not be `{name}`, which carries a signature"));
    }
    let body_hash = signing.body_hash.as_ref().map(|wanted| query_hash(mistakes, wanted));
    let content = signing.content.as_deref().unwrap_or("{body}");
    let content = mistakes.note("/content", content_template(content, body_hash.is_some()));
    let value = signing.value.as_deref().unwrap_or("{signature}");
    let value = mistakes.note("/value", value_template(value, encoding));
    let (value, grammar) = value?;
    let content = content?;
    header?;
    time.check(mistakes, &content, &value);
    check_id(mistakes, &content, &value);
    if side == Side::Source {
        time.check_signed(mistakes, &content, &value, signing.tolerance.is_some());
    }
    let timestamp_headers: Vec<HeaderName> = time.headers.into_iter().map(|(_, name)| name).collect();
    let carrier = |header| Carrier { header, id_header: None, timestamp_headers: timestamp_headers.clone() };
    Some(Layout {
        carriers: headers.into_iter().map(carrier).collect(),
        rotates_beside: true,
        content,
        value,
        grammar,
        encoding,
        family: family?,
        written: time.written,
        body_time: time.body,
        tolerance,
        body_hash: body_hash.flatten(),
    })
}

fn family(mistakes: &mut Mistakes, signing: &Signing, side: Side) -> Option<Family> {
    let algorithm = signing.algorithm;
    if signing.scheme == SchemeKind::Asymmetric {
        return match (algorithm, side) {
            (Some(Algorithm::Ed25519), Side::Source) => Some(Family::Ed25519),
            (Some(Algorithm::Ed25519), Side::Delivery) => Some(Family::Asymmetric),
            (Some(Algorithm::EcdsaP256), Side::Source) => Some(Family::P256),
            (Some(Algorithm::EcdsaP256), Side::Delivery) => {
                mistakes.add("/algorithm", "must be `ed25519` to sign with: `ecdsa_p256` is there to verify");
                None
            }
            _ => {
                mistakes.add("/algorithm", "must be `ed25519` or `ecdsa_p256` in the asymmetric scheme");
                None
            }
        };
    }
    let Some(hash) = hash(algorithm.unwrap_or_default()) else {
        mistakes.add(
            "/algorithm",
            "must be `sha1`, `sha256` or `sha512` in the hmac scheme; `ed25519` goes with `standard` and `asymmetric`",
        );
        return None;
    };
    let form = signing.secret.clone().unwrap_or(SecretForm { strip_prefix: None, decode: SecretDecoding::Utf8 });
    if form.strip_prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.len() > 64) {
        mistakes.add("/secret/strip_prefix", "must be 1 to 64 bytes long, or left out");
    }
    Some(Family::Hmac(hash, form))
}

fn hash(algorithm: Algorithm) -> Option<Hash> {
    match algorithm {
        Algorithm::Sha1 => Some(Hash::Sha1),
        Algorithm::Sha256 => Some(Hash::Sha256),
        Algorithm::Sha512 => Some(Hash::Sha512),
        Algorithm::Ed25519 | Algorithm::EcdsaP256 => None,
    }
}

fn query_hash(mistakes: &mut Mistakes, wanted: &BodyHash) -> Option<QueryHash> {
    let hash = hash(wanted.algorithm);
    if hash.is_none() {
        mistakes.add("/body_hash/algorithm", "must be a hash: `sha1`, `sha256` or `sha512`");
    }
    if wanted.query.is_empty() {
        mistakes.add("/body_hash/query", "must be the name of a parameter of the query");
    }
    Some(QueryHash { parameter: wanted.query.clone(), hash: hash?, encoding: wanted.encoding })
}

/// A header's name.
fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is no header name: use letters, digits and `-`"))?;
    if text.len() > MAX_NAME_LEN {
        return Err(format!("must be a header name of at most {MAX_NAME_LEN} characters"));
    }
    Ok(name)
}

/// The name of a header that is set.
fn signature_name(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if RESERVED.contains(&name) {
        return Err(format!("must not be `{name}`, which the request needs for itself"));
    }
    Ok(name)
}

fn content_template(text: &str, is_bound: bool) -> Result<Template, String> {
    let template = Template::parse(text, CONTENT)?;
    if template.has(Placeholder::Form) && template.has(Placeholder::Body) {
        return Err("must contain {body} or {form}, not both: a form is the body".to_owned());
    }
    if is_bound {
        // Without the query the hash in it is nobody's word.
        return match template.has(Placeholder::Url) {
            true => Ok(template),
            false => Err("must contain {url} where a `body_hash` is in it".to_owned()),
        };
    }
    if !template.has(Placeholder::Body) && !template.has(Placeholder::Form) {
        return Err("must contain {body}: a signature that leaves the body out proves nothing about it".to_owned());
    }
    Ok(template)
}

fn value_template(text: &str, encoding: Encoding) -> Result<(Template, Grammar), String> {
    let template = Template::parse(text, VALUE)?;
    if template.count(Placeholder::Signature) != 1 {
        return Err("must contain {signature} exactly once".to_owned());
    }
    for placeholder in [Placeholder::Timestamp, Placeholder::Id] {
        if template.count(placeholder) > 1 {
            return Err(format!("must contain {{{}}} at most once", placeholder.name()));
        }
    }
    let literals = template.pieces().iter().filter_map(|piece| match piece {
        Piece::Literal(text) => Some(text),
        Piece::Of(_) | Piece::Header(_) => None,
    });
    if literals.flat_map(|text| text.bytes()).any(|byte| !(byte == b' ' || byte.is_ascii_graphic())) {
        return Err("must be printable ASCII, as header values are".to_owned());
    }
    if text.trim() != text {
        return Err("must not begin or end with a space: header values are trimmed on their way".to_owned());
    }
    let grammar = Grammar::of(&template, encoding)?;
    Ok((template, grammar))
}

fn tolerance(mistakes: &mut Mistakes, tolerance: Option<Duration>) -> Duration {
    let tolerance = tolerance.unwrap_or(DEFAULT_TOLERANCE);
    if !(Duration::from_secs(1)..=MAX_TOLERANCE).contains(&tolerance) {
        mistakes.add("/tolerance", format!("must be between 1s and 24h, not {}", duration::format(tolerance)));
    }
    tolerance
}

/// What is signed must be on the request: a receiver that has to guess it cannot verify.
fn check_id(mistakes: &mut Mistakes, content: &Template, value: &Template) {
    if content.has(Placeholder::Id) && !value.has(Placeholder::Id) {
        mistakes.add("/content", "signs {id}, but nothing carries it: put {id} into `value`, or sign {header:NAME}");
    }
}

/// Where a templated scheme has its time, with the pointers of what says so.
struct Time {
    headers: Vec<(String, HeaderName)>,
    body: Option<Path>,
    written: Written,
    /// Whether `timestamp` says where it is not in a header or in the body.
    elsewhere: bool,
}

impl Time {
    fn compile(mistakes: &mut Mistakes, signing: &Signing, side: Side) -> Self {
        let mut time = Self { headers: Vec::new(), body: None, written: Written::Seconds, elsewhere: false };
        if let Some(name) = &signing.timestamp_header {
            time.add(mistakes, "/timestamp_header".to_owned(), name, side);
        }
        let Some(form) = &signing.timestamp else { return time };
        if signing.timestamp_header.is_some() {
            mistakes.add("/timestamp_header", "must be left out beside `timestamp`: name the header there");
        }
        if let Some(name) = &form.header {
            time.add(mistakes, "/timestamp/header".to_owned(), name, side);
        } else if !form.fallbacks.is_empty() {
            mistakes.add("/timestamp/fallbacks", "must be left out where there is no `header` to fall back from");
        }
        if side == Side::Delivery && !form.fallbacks.is_empty() {
            mistakes.add("/timestamp/fallbacks", "must be left out of `signing`: they are there to verify");
        }
        for (at, name) in more(mistakes, "/timestamp/fallbacks", &form.fallbacks) {
            time.add(mistakes, format!("/timestamp/fallbacks/{at}"), name, Side::Source);
        }
        if let Some(path) = &form.body {
            let path = Path::parse(path).map_err(|error| error.to_string());
            let path = mistakes.note("/timestamp/body", path);
            if side == Side::Delivery {
                mistakes.add("/timestamp/body", "must be left out of `signing`: it is there to verify");
            } else if form.header.is_some() {
                mistakes.add("/timestamp/body", "must be left out where there is a `header`: there can be only one");
            } else if path.as_ref().is_some_and(|path| !path.is_singular()) {
                mistakes.add("/timestamp/body", "must name one place, such as `$.sent_at`");
            }
            time.body = path;
        }
        time.elsewhere = form.header.is_none() && form.body.is_none();
        time.written = match (form.format, form.unit) {
            (TimeFormat::Unix, TimeUnit::Seconds) => Written::Seconds,
            (TimeFormat::Unix, TimeUnit::Milliseconds) => Written::Milliseconds,
            (TimeFormat::Rfc3339, _) => Written::Rfc3339,
            (TimeFormat::HttpDate, _) => Written::HttpDate,
        };
        if form.format != TimeFormat::Unix && form.unit != TimeUnit::Seconds {
            mistakes.add("/timestamp/unit", "must be left out where `format` is not `unix`");
        }
        if form.format != TimeFormat::Unix && time.elsewhere {
            mistakes.add("/timestamp/format", "must be `unix` where `value` carries the time");
        }
        time
    }

    fn add(&mut self, mistakes: &mut Mistakes, pointer: String, name: &str, side: Side) {
        // What is only read may be a header that HTTP has for itself, such as `Date`.
        let name = if side == Side::Source { header_name(name) } else { signature_name(name) };
        if let Some(name) = mistakes.note(&pointer, name) {
            self.headers.push((pointer, name));
        }
    }

    /// The time is where it is said to be, and in one place.
    fn check(&self, mistakes: &mut Mistakes, content: &Template, value: &Template) {
        let in_value = value.has(Placeholder::Timestamp);
        let first = self.headers.first().map(|(pointer, _)| pointer.as_str());
        match (first, &self.body) {
            (Some(pointer), _) if in_value => {
                mistakes.add(pointer, "must be left out where `value` has {timestamp}: there can be only one");
            }
            (_, Some(_)) if in_value => {
                mistakes
                    .add("/timestamp/body", "must be left out where `value` has {timestamp}: there can be only one");
            }
            (_, Some(_)) if content.has(Placeholder::Timestamp) => {
                mistakes.add("/content", "must not sign {timestamp} beside a body that has the time in it");
            }
            (_, Some(_)) if !content.has(Placeholder::Body) => {
                mistakes.add("/timestamp/body", "must be left out where `content` has no {body}");
            }
            (None, None) if content.has(Placeholder::Timestamp) && !in_value => mistakes.add(
                "/content",
                "signs {timestamp}, but nothing carries it: put {timestamp} into `value` or name a `timestamp_header`",
            ),
            (None, None) if self.elsewhere && !in_value => {
                mistakes.add(
                    "/timestamp",
                    "must say where the time is: a `header`, a place in the `body`, or {timestamp} in `value`",
                );
            }
            _ => {}
        }
    }

    /// A source's timestamp must be signed: an unsigned one looks like replay protection and gives none.
    fn check_signed(&self, mistakes: &mut Mistakes, content: &Template, value: &Template, has_tolerance: bool) {
        if content.has(Placeholder::Timestamp) || self.body.is_some() {
            return;
        }
        let why = "is not part of `content`, so anyone can change it and it protects from nothing";
        if let Some((pointer, _)) = self.headers.first() {
            mistakes.add(pointer, format!("{why}: leave it out, or sign {{timestamp}}"));
        } else if value.has(Placeholder::Timestamp) {
            mistakes.add("/value", format!("has a {{timestamp}} that {why}: sign it"));
        } else if has_tolerance {
            mistakes.add("/tolerance", "must be left out where no signed {timestamp} is there to hold against it");
        }
    }
}
