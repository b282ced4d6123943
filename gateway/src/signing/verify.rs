//! Verifying: from a scheme, keys and a request to "yes" or a reason in words.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use subtle::Choice;

use super::claim::{Claim, Grammar, Unreadable};
use super::key::{Keys, Signature};
use super::scheme::{Carrier, Form, Layout, Scheme};
use super::template::{Parts, Placeholder, form};
use crate::filter::Path;

/// Most signatures (or fields) in one header. Each costs a comparison per secret, and with Ed25519 a
/// verification: without a limit a 64 KiB header would buy a stranger seconds of work.
pub const MAX_SIGNATURES: usize = 16;

/// The longest signature, timestamp or id header, in bytes, all its lines together.
pub const MAX_HEADER_LEN: usize = 4_096;

/// What is verified of a request.
#[derive(Debug, Clone, Copy)]
pub struct VerifyParts<'a> {
    /// The request's headers, as they came in.
    pub headers: &'a HeaderMap,
    /// The body, as it came in, before any parsing or decompression.
    pub body: &'a [u8],
    /// The body of a request that was packed (`Content-Encoding`), unpacked: what is read from a body, its time or a
    /// form's parameters, is read from this. `None` while nobody has unpacked it, which is to be done only when
    /// [`Rejection::StillPacked`] asks for it.
    pub unpacked: Option<&'a [u8]>,
    /// The URL as configured and as the sender knows it, with the query as it came; not from the `Host` header.
    pub url: &'a str,
    /// The HTTP method, upper case.
    pub method: &'a str,
    /// The time to hold the timestamp against.
    pub now: Timestamp,
}

/// What a valid signature vouches for. Nothing that was not signed is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The time of signing in Unix seconds.
    pub timestamp: Option<i64>,
    /// The id.
    pub id: Option<String>,
}

/// Where in a request something was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header.
    Header(HeaderName),
    /// In a parameter of the query.
    Query(String),
    /// In the body, at this path.
    Body(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Query(name) => write!(f, "the query parameter `{name}`"),
            Self::Body(path) => write!(f, "the body at `{path}`"),
        }
    }
}

/// Why a request was not believed, in words for whoever set up the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The scheme signs nothing, so nothing can be verified.
    #[error("the scheme signs nothing, so nothing can be verified")]
    NotSigned,
    /// No secret is configured.
    #[error("no secret is configured to verify with: set the one the sender signs with")]
    NoSecret,
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    MissingHeader(HeaderName),
    /// A parameter of the query is missing.
    #[error("the query parameter `{0}` is missing")]
    MissingParameter(String),
    /// A header that must be there once is there more often.
    #[error("the header `{0}` is there more than once")]
    RepeatedHeader(HeaderName),
    /// A parameter that must be there once is there more often.
    #[error("the query parameter `{0}` is there more than once")]
    RepeatedParameter(String),
    /// A header is longer than [`MAX_HEADER_LEN`].
    #[error("the header `{0}` is longer than {MAX_HEADER_LEN} bytes")]
    HeaderTooLong(HeaderName),
    /// A header lists more than [`MAX_SIGNATURES`].
    #[error("the header `{0}` has more than {MAX_SIGNATURES} entries")]
    TooManySignatures(HeaderName),
    /// A header does not have the form it should have.
    #[error("the header `{header}` does not have the form `{form}`")]
    Malformed {
        /// Its name.
        header: HeaderName,
        /// The form it should have.
        form: String,
    },
    /// There is no timestamp where one is signed.
    #[error("{0} has no timestamp")]
    MissingTimestamp(Place),
    /// What is to be read from the body has yet to be unpacked: the time, of a body whose signature is right, or the
    /// parameters of a form, which are what is signed. Verify again with [`VerifyParts::unpacked`].
    #[error("what is to be read from the body is packed and was not unpacked")]
    StillPacked,
    /// The timestamp is not written as it should be.
    #[error("the timestamp in {place} is not {form}")]
    MalformedTimestamp {
        /// Where it is.
        place: Place,
        /// What it should be.
        form: &'static str,
    },
    /// The timestamp is too old: a replay, or a slow clock at the sender.
    #[error("the timestamp is stale by {age_s} s, more than the {tolerance_s} s that are tolerated")]
    Stale {
        /// How old it is.
        age_s: u64,
        /// How old it may be.
        tolerance_s: u64,
    },
    /// The timestamp is too new: one of the two clocks is wrong.
    #[error(
        "the timestamp is from the future by {ahead_s} s, more than the {tolerance_s} s that are tolerated: compare \
         the sender's clock with this one"
    )]
    Future {
        /// How far ahead it is.
        ahead_s: u64,
        /// How far it may be.
        tolerance_s: u64,
    },
    /// There is no id where one is signed, or one that cannot be signed without ambiguity.
    #[error("the header `{0}` carries no usable id")]
    MalformedId(HeaderName),
    /// The form's parameters are signed, and it is none.
    #[error("the form's parameters are signed, and the body is no `application/x-www-form-urlencoded`")]
    NotAForm,
    /// The body's hash in the query is another one.
    #[error("the hash in the query parameter `{0}` is not that of the body, which was changed on its way")]
    OtherBody(String),
    /// Signatures were there, and none of them is right.
    #[error("no signature matched: the sender's secret is another one, or the request was changed on its way")]
    NoMatch,
    /// A shared secret was there, and it is not right.
    #[error("the secret in `{0}` is another one")]
    WrongSecret(String),
    /// The password was given by somebody else.
    #[error("the header `{0}` names another user")]
    WrongUser(HeaderName),
}

impl Rejection {
    /// The word for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotSigned => "not_signed",
            Self::NoSecret => "no_secret",
            Self::MissingHeader(_) => "missing_header",
            Self::MissingParameter(_) => "missing_parameter",
            Self::RepeatedHeader(_) => "repeated_header",
            Self::RepeatedParameter(_) => "repeated_parameter",
            Self::HeaderTooLong(_) => "header_too_long",
            Self::TooManySignatures(_) => "too_many_signatures",
            Self::Malformed { .. } => "malformed",
            Self::MissingTimestamp(_) => "missing_timestamp",
            Self::StillPacked => "still_packed",
            Self::MalformedTimestamp { .. } => "malformed_timestamp",
            Self::Stale { .. } => "stale",
            Self::Future { .. } => "future",
            Self::MalformedId(_) => "malformed_id",
            Self::NotAForm => "not_a_form",
            Self::OtherBody(_) => "other_body",
            Self::NoMatch => "no_match",
            Self::WrongSecret(_) => "wrong_secret",
            Self::WrongUser(_) => "wrong_user",
        }
    }

    /// The header it is about, if it is about one.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::MissingHeader(name)
            | Self::RepeatedHeader(name)
            | Self::HeaderTooLong(name)
            | Self::TooManySignatures(name)
            | Self::Malformed { header: name, .. }
            | Self::MissingTimestamp(Place::Header(name))
            | Self::MalformedTimestamp { place: Place::Header(name), .. }
            | Self::MalformedId(name)
            | Self::WrongUser(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the proof is not there at all, rather than wrong.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::MissingHeader(_) | Self::MissingParameter(_))
    }
}

impl Scheme {
    /// Believes a request, or says why not.
    ///
    /// The headers that may carry a signature are read one after the other, until one convinces: further families, and
    /// the `<header>-next` into which a sender that rotates a single-value scheme puts the new secret's signature.
    ///
    /// # Errors
    /// The first reason found, with the cheap checks first: nothing is hashed for a request that is stale
    /// or carries no signature.
    pub fn verify(&self, keys: &Keys, request: &VerifyParts<'_>) -> Result<Verified, Rejection> {
        let layout = match &self.0 {
            Form::None => return Err(Rejection::NotSigned),
            _ if keys.is_empty() => return Err(Rejection::NoSecret),
            Form::Shared(shared) => {
                shared.verify(keys, request.headers, request.url)?;
                return Ok(Verified { timestamp: None, id: None });
            }
            Form::Signed(layout) => layout,
        };
        // The reason that helps is the one about the first header that is there.
        let mut why = None;
        for carrier in layout.carriers.iter().filter(|carrier| request.headers.contains_key(&carrier.header)) {
            match layout.verify(keys, request, carrier) {
                Ok(verified) => return Ok(verified),
                Err(rejection) => why = why.or(Some(rejection)),
            }
        }
        let missing = || layout.carriers.first().map(|carrier| Rejection::MissingHeader(carrier.header.clone()));
        Err(why.or_else(missing).unwrap_or(Rejection::NotSigned))
    }
}

impl Layout {
    fn verify(&self, keys: &Keys, request: &VerifyParts<'_>, carrier: &Carrier) -> Result<Verified, Rejection> {
        let claim = self.claim(request.headers, &carrier.header)?;
        let timestamp = match self.content.has(Placeholder::Timestamp) {
            true => Some(self.timestamp(&claim, request, carrier)?),
            false => None,
        };
        let id = match self.content.has(Placeholder::Id) {
            true => Some(self.id(&claim, request.headers, carrier)?),
            false => None,
        };
        for name in self.content.headers() {
            only(request.headers, name)?;
        }
        // Before a form, which has to be unpacked and read for a signature that may be anyone's.
        let signatures = self.signatures(&claim, &carrier.header)?;
        let form = match self.content.has(Placeholder::Form) {
            true => form_of(request)?,
            false => Vec::new(),
        };
        let parts = Parts {
            body: request.body,
            timestamp: timestamp.map(|(text, _)| text).unwrap_or_default(),
            id: id.map(str::as_bytes).unwrap_or_default(),
            form: &form,
            headers: Some(request.headers),
            url: request.url.as_bytes(),
            method: request.method.as_bytes(),
            signature: b"",
        };
        if !self.matches(keys, &signatures, &parts) {
            return Err(Rejection::NoMatch);
        }
        if let Some(hash) = &self.body_hash {
            let found = parameter(request.url, &hash.parameter)?;
            let found = Signature::decode(found.as_bytes(), hash.encoding);
            if found.is_none_or(|found| found.bytes() != hash.hash.of(request.body)) {
                return Err(Rejection::OtherBody(hash.parameter.clone()));
            }
        }
        // A body is parsed only once somebody we know has signed it.
        let in_body = self.body_time.as_ref().map(|path| self.body_timestamp(path, request)).transpose()?;
        Ok(Verified { timestamp: timestamp.map(|(_, seconds)| seconds).or(in_body), id: id.map(str::to_owned) })
    }

    fn body_timestamp(&self, path: &Path, request: &VerifyParts<'_>) -> Result<i64, Rejection> {
        let place = || Place::Body(path.as_str().to_owned());
        let body = readable(request)?;
        let text = std::str::from_utf8(body).ok().and_then(|body| path.raw(body).ok().flatten());
        let text = text.ok_or_else(|| Rejection::MissingTimestamp(place()))?;
        let text = match text.starts_with('"') {
            true => serde_json::from_str(text).unwrap_or_default(),
            false => text.to_owned(),
        };
        let malformed = || Rejection::MalformedTimestamp { place: place(), form: self.written.words() };
        let seconds = self.written.read(text.as_bytes()).ok_or_else(malformed)?;
        self.check_age(seconds, request.now)?;
        Ok(seconds)
    }

    /// Reads the signature header.
    pub(super) fn claim<'a>(&self, headers: &'a HeaderMap, header: &HeaderName) -> Result<Claim<'a>, Rejection> {
        let lines = || headers.get_all(header).iter().map(HeaderValue::as_bytes);
        if lines().next().is_none() {
            return Err(Rejection::MissingHeader(header.clone()));
        }
        if lines().map(<[u8]>::len).sum::<usize>() > MAX_HEADER_LEN {
            return Err(Rejection::HeaderTooLong(header.clone()));
        }
        let claim = self.grammar.read(&self.value, lines(), MAX_SIGNATURES).map_err(|reason| match reason {
            Unreadable::Form => self.malformed(header),
            Unreadable::TooMany => Rejection::TooManySignatures(header.clone()),
        })?;
        if claim.signatures.is_empty() { Err(self.malformed(header)) } else { Ok(claim) }
    }

    fn malformed(&self, header: &HeaderName) -> Rejection {
        Rejection::Malformed { header: header.clone(), form: self.form() }
    }

    /// The timestamp, as it was written (which is what was signed) and as a number.
    fn timestamp<'a>(
        &self,
        claim: &Claim<'a>,
        request: &VerifyParts<'a>,
        carrier: &Carrier,
    ) -> Result<(&'a [u8], i64), Rejection> {
        let names = &carrier.timestamp_headers;
        let there = names.iter().find(|name| request.headers.contains_key(*name)).or(names.first());
        let (name, text) = match there {
            Some(name) => (name, only(request.headers, name)?),
            None => (&carrier.header, claim.timestamp.unwrap_or_default()),
        };
        if text.is_empty() {
            return Err(Rejection::MissingTimestamp(Place::Header(name.clone())));
        }
        let place = || Place::Header(name.clone());
        let malformed = || Rejection::MalformedTimestamp { place: place(), form: self.written.words() };
        let seconds = self.written.read(text).ok_or_else(malformed)?;
        self.check_age(seconds, request.now)?;
        Ok((text, seconds))
    }

    /// Both directions: a request signed for tomorrow could be replayed until then.
    fn check_age(&self, seconds: i64, now: Timestamp) -> Result<(), Rejection> {
        let tolerance_s = self.tolerance.as_secs();
        let now_s = now.as_second();
        let off_s = now_s.abs_diff(seconds);
        if Duration::from_secs(off_s) <= self.tolerance {
            Ok(())
        } else if seconds < now_s {
            Err(Rejection::Stale { age_s: off_s, tolerance_s })
        } else {
            Err(Rejection::Future { ahead_s: off_s, tolerance_s })
        }
    }

    fn id<'a>(&self, claim: &Claim<'a>, headers: &'a HeaderMap, carrier: &Carrier) -> Result<&'a str, Rejection> {
        let (name, text) = match &carrier.id_header {
            Some(name) => (name, only(headers, name)?),
            None => (&carrier.header, claim.id.unwrap_or_default()),
        };
        let id = std::str::from_utf8(text).ok().filter(|id| self.fits_id(id.as_bytes()));
        id.ok_or_else(|| Rejection::MalformedId(name.clone()))
    }

    /// The candidates, decoded, by the kind of key that they are for.
    fn signatures(&self, claim: &Claim<'_>, header: &HeaderName) -> Result<Signatures, Rejection> {
        // Only the standard scheme says of a signature what it is.
        let says = self.grammar == Grammar::Versions;
        let decoded = |asymmetric: bool| -> Vec<Signature> {
            let fitting = claim.signatures.iter().filter(|candidate| !says || candidate.asymmetric == asymmetric);
            fitting.filter_map(|candidate| Signature::decode(candidate.text, self.encoding)).collect()
        };
        let signatures = Signatures { symmetric: decoded(false), asymmetric: decoded(true) };
        match signatures.symmetric.is_empty() && signatures.asymmetric.is_empty() {
            true => Err(self.malformed(header)),
            false => Ok(signatures),
        }
    }

    /// All candidates against all keys of their kind.
    fn matches(&self, keys: &Keys, signatures: &Signatures, parts: &Parts<'_>) -> bool {
        let matched = keys.0.iter().fold(Choice::from(0), |matched, key| {
            let candidates = if key.is_asymmetric() { &signatures.asymmetric } else { &signatures.symmetric };
            // The body is not hashed for a key that nothing is compared with.
            if candidates.is_empty() { matched } else { matched | key.verify(&self.content, parts, candidates) }
        });
        matched.into()
    }

    /// The form of the signature header, for people.
    fn form(&self) -> String {
        match self.grammar {
            Grammar::Versions => "v1,<base64>".to_owned(),
            _ => self.value.to_string(),
        }
    }
}

/// What a header carries, decoded; not both empty.
struct Signatures {
    symmetric: Vec<Signature>,
    asymmetric: Vec<Signature>,
}

/// The parameters of a form. An empty body is a form without any, whatever it says it is.
fn form_of(request: &VerifyParts<'_>) -> Result<Vec<u8>, Rejection> {
    let media = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !request.body.is_empty() && !essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return Err(Rejection::NotAForm);
    }
    readable(request).map(form)
}

/// The body as it can be read: not the bytes that came, where those are packed.
fn readable<'a>(request: &VerifyParts<'a>) -> Result<&'a [u8], Rejection> {
    match request.unpacked {
        Some(unpacked) => Ok(unpacked),
        None if is_packed(request.headers) => Err(Rejection::StillPacked),
        None => Ok(request.body),
    }
}

/// Whether the body is packed, whatever that is called.
fn is_packed(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.as_bytes().trim_ascii());
    codings.into_iter().any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// The value of a header that may be there only once, trimmed.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Rejection> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next().ok_or_else(|| Rejection::MissingHeader(name.clone()))?.as_bytes();
    if lines.next().is_some() {
        return Err(Rejection::RepeatedHeader(name.clone()));
    }
    if value.len() > MAX_HEADER_LEN {
        return Err(Rejection::HeaderTooLong(name.clone()));
    }
    Ok(value.trim_ascii())
}

/// The value of a parameter of the query that may be there only once.
pub(super) fn parameter(url: &str, name: &str) -> Result<String, Rejection> {
    let query = url.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    let mut found = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(key, _)| key == name);
    let (_, value) = found.next().ok_or_else(|| Rejection::MissingParameter(name.to_owned()))?;
    if found.next().is_some() {
        return Err(Rejection::RepeatedParameter(name.to_owned()));
    }
    Ok(value.into_owned())
}
