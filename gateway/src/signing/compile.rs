//! From what a client wrote to a [`Scheme`], with every mistake and its place.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};

use super::claim::Grammar;
use super::key::Hash;
use super::scheme::{Family, Layout, Scheme};
use super::template::{Piece, Placeholder, Template};
use crate::domain::{Algorithm, Encoding, Signing, Verification, duration};

/// Five minutes: what the Standard Webhooks libraries, Stripe and Slack tolerate.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);
/// A day's tolerance would let a recorded request be replayed for a day: more is no check at all.
const MAX_TOLERANCE: Duration = Duration::from_secs(86_400);
/// Longer header names than this are refused by some servers.
const MAX_NAME_LEN: usize = 100;

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

    /// The layout, if it could be made and nothing was wrong.
    fn finish(self, layout: Option<Layout>) -> Result<Scheme, Vec<SchemeError>> {
        match layout {
            Some(layout) if self.0.is_empty() => Ok(Scheme { layout: Some(Arc::new(layout)) }),
            _ => Err(self.0),
        }
    }
}

impl Scheme {
    /// Compiles how a subscription's requests are signed.
    ///
    /// # Errors
    /// Every mistake in the description: header names that are none, that HTTP needs or that are used
    /// twice, templates that cannot be read or verified, algorithms the scheme does not have.
    pub fn for_delivery(signing: &Signing) -> Result<Self, Vec<SchemeError>> {
        let mut mistakes = Mistakes::default();
        let layout = match signing {
            Signing::None {} => return Ok(Self { layout: None }),
            Signing::Standard { header_prefix, algorithm } => {
                let family = match algorithm {
                    None | Some(Algorithm::Sha256) => Family::Symmetric,
                    Some(Algorithm::Ed25519) => Family::Asymmetric,
                    Some(Algorithm::Sha1 | Algorithm::Sha512) => {
                        mistakes.add("/algorithm", "must be `sha256` or `ed25519` in the standard scheme");
                        Family::Symmetric
                    }
                };
                standard(&mut mistakes, header_prefix.as_deref(), family, DEFAULT_TOLERANCE)
            }
            Signing::Hmac { header, algorithm, encoding, content, value, timestamp_header } => {
                let fields = HmacFields { header, content, value, timestamp_header: timestamp_header.as_deref() };
                let layout = hmac(&mut mistakes, &fields, *algorithm, *encoding, DEFAULT_TOLERANCE);
                // A timestamp that is sent but not signed is allowed here: it informs, and proves nothing.
                check_carried(&mut mistakes, layout.as_ref());
                layout
            }
        };
        mistakes.finish(layout)
    }

    /// Compiles how a source's requests are verified.
    ///
    /// # Errors
    /// As [`Scheme::for_delivery`], and: a timestamp that is carried but not signed (anyone could renew
    /// it), a tolerance where there is no timestamp, or one outside of 1 s to 24 h.
    pub fn for_source(verification: &Verification) -> Result<Self, Vec<SchemeError>> {
        let mut mistakes = Mistakes::default();
        let layout = match verification {
            Verification::Standard { header_prefix, tolerance } => {
                let tolerance = check_tolerance(&mut mistakes, *tolerance);
                standard(&mut mistakes, header_prefix.as_deref(), Family::ByPrefix, tolerance)
            }
            Verification::Hmac { header, algorithm, encoding, content, value, timestamp_header, tolerance } => {
                let checked = check_tolerance(&mut mistakes, *tolerance);
                let fields = HmacFields { header, content, value, timestamp_header: timestamp_header.as_deref() };
                let layout = hmac(&mut mistakes, &fields, *algorithm, *encoding, checked);
                check_carried(&mut mistakes, layout.as_ref());
                if let Some(layout) = &layout {
                    check_signed(&mut mistakes, layout, tolerance.is_some());
                }
                layout
            }
        };
        mistakes.finish(layout)
    }
}

/// Standard Webhooks 1.0, as a description like any other.
fn standard(mistakes: &mut Mistakes, prefix: Option<&str>, family: Family, tolerance: Duration) -> Option<Layout> {
    let prefix = prefix.unwrap_or("webhook");
    let name = |suffix: &str| header_name(&format!("{prefix}-{suffix}"));
    let names = name("id").and_then(|id| Ok((id, name("timestamp")?, name("signature")?)));
    let names = if prefix.is_empty() { Err("must not be empty".to_owned()) } else { names };
    let (id, timestamp, signature) = mistakes.note("/header_prefix", names)?;
    // These two are constants, so a mistake in them would be found by the first test.
    let content = mistakes.note("", Template::parse("{id}.{timestamp}.{body}", &CONTENT))?;
    let value = mistakes.note("", Template::parse("{signature}", &VALUE))?;
    Some(Layout {
        header: signature,
        next_header: None,
        id_header: Some(id),
        timestamp_header: Some(timestamp),
        content,
        value,
        grammar: Grammar::Versions,
        encoding: Encoding::Base64,
        family,
        tolerance,
    })
}

const CONTENT: [Placeholder; 5] =
    [Placeholder::Body, Placeholder::Timestamp, Placeholder::Id, Placeholder::Url, Placeholder::Method];
const VALUE: [Placeholder; 3] = [Placeholder::Signature, Placeholder::Timestamp, Placeholder::Id];

/// The texts of an `hmac` scheme.
struct HmacFields<'a> {
    header: &'a str,
    content: &'a str,
    value: &'a str,
    timestamp_header: Option<&'a str>,
}

fn hmac(
    mistakes: &mut Mistakes,
    fields: &HmacFields<'_>,
    algorithm: Algorithm,
    encoding: Encoding,
    tolerance: Duration,
) -> Option<Layout> {
    let hash = match algorithm {
        Algorithm::Sha1 => Some(Hash::Sha1),
        Algorithm::Sha256 => Some(Hash::Sha256),
        Algorithm::Sha512 => Some(Hash::Sha512),
        Algorithm::Ed25519 => {
            mistakes.add(
                "/algorithm",
                "must be `sha1`, `sha256` or `sha512` in the hmac scheme; `ed25519` goes with `standard`",
            );
            None
        }
    };
    let header = mistakes.note("/header", header_name(fields.header));
    // A rotation puts a second header beside the first, so its name has to fit too.
    let next_header =
        header.as_ref().and_then(|header| mistakes.note("/header", header_name(&format!("{header}-next"))));
    let timestamp_header = match fields.timestamp_header {
        None => Some(None),
        Some(name) => mistakes.note("/timestamp_header", header_name(name).map(Some)),
    };
    if let (Some(header), Some(Some(timestamp_header))) = (&header, &timestamp_header)
        && (header == timestamp_header || next_header.as_ref() == Some(timestamp_header))
    {
        mistakes.add("/timestamp_header", format!("must not be `{timestamp_header}`, which carries a signature"));
    }
    let content = mistakes.note("/content", content_template(fields.content));
    let value = mistakes.note("/value", value_template(fields.value, encoding));
    let (value, grammar) = value?;
    Some(Layout {
        header: header?,
        next_header,
        id_header: None,
        timestamp_header: timestamp_header?,
        content: content?,
        value,
        grammar,
        encoding,
        family: Family::Verbatim(hash?),
        tolerance,
    })
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is no header name: use letters, digits and `-`"))?;
    if text.len() > MAX_NAME_LEN {
        return Err(format!("must be a header name of at most {MAX_NAME_LEN} characters"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("must not be `{name}`, which the request needs for itself"));
    }
    Ok(name)
}

fn content_template(text: &str) -> Result<Template, String> {
    let template = Template::parse(text, &CONTENT)?;
    if !template.has(Placeholder::Body) {
        return Err("must contain {body}: a signature that leaves the body out proves nothing about it".to_owned());
    }
    Ok(template)
}

fn value_template(text: &str, encoding: Encoding) -> Result<(Template, Grammar), String> {
    let template = Template::parse(text, &VALUE)?;
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
        Piece::Of(_) => None,
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

fn check_tolerance(mistakes: &mut Mistakes, tolerance: Option<Duration>) -> Duration {
    let tolerance = tolerance.unwrap_or(DEFAULT_TOLERANCE);
    if !(Duration::from_secs(1)..=MAX_TOLERANCE).contains(&tolerance) {
        mistakes.add("/tolerance", format!("must be between 1s and 24h, not {}", duration::format(tolerance)));
    }
    tolerance
}

/// What is signed must be on the request: a receiver that has to guess it cannot verify.
fn check_carried(mistakes: &mut Mistakes, layout: Option<&Layout>) {
    let Some(layout) = layout else { return };
    let carries_timestamp = layout.timestamp_header.is_some() || layout.value.has(Placeholder::Timestamp);
    if layout.content.has(Placeholder::Timestamp) && !carries_timestamp {
        mistakes.add(
            "/content",
            "signs {timestamp}, but nothing carries it: put {timestamp} into `value` or name a `timestamp_header`",
        );
    }
    if layout.content.has(Placeholder::Id) && !layout.value.has(Placeholder::Id) {
        mistakes.add("/content", "signs {id}, but nothing carries it: put {id} into `value`");
    }
    if layout.timestamp_header.is_some() && layout.value.has(Placeholder::Timestamp) {
        mistakes.add("/timestamp_header", "must be left out where `value` has {timestamp}: there can be only one");
    }
}

/// A source's timestamp must be signed: an unsigned one looks like replay protection and gives none.
fn check_signed(mistakes: &mut Mistakes, layout: &Layout, tolerance_given: bool) {
    if layout.content.has(Placeholder::Timestamp) {
        return;
    }
    let why = "is not part of `content`, so anyone can change it and it protects from nothing";
    if layout.timestamp_header.is_some() {
        mistakes.add("/timestamp_header", format!("{why}: leave it out, or sign {{timestamp}}"));
    } else if layout.value.has(Placeholder::Timestamp) {
        mistakes.add("/value", format!("has a {{timestamp}} that {why}: sign it"));
    } else if tolerance_given {
        mistakes.add("/tolerance", "must be left out where `content` has no {timestamp} to hold against it");
    }
}
