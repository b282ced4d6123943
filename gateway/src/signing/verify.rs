//! Verifying: from a scheme, keys and a request to "yes" or a reason in words.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use subtle::Choice;

use super::claim::{Candidate, Claim, Grammar, Unreadable};
use super::key::{Keys, Signature};
use super::scheme::{Layout, Scheme};
use super::template::{Parts, Placeholder};

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
    /// The URL as configured and as the sender knows it; not from the `Host` header.
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
    /// A header that must be there once is there more often.
    #[error("the header `{0}` is there more than once")]
    RepeatedHeader(HeaderName),
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
    #[error("the header `{0}` carries no timestamp")]
    MissingTimestamp(HeaderName),
    /// The timestamp is no whole number of seconds.
    #[error("the timestamp in the header `{0}` is not a whole number of Unix seconds")]
    MalformedTimestamp(HeaderName),
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
    /// Signatures were there, and none of them is right.
    #[error("no signature matched: the sender's secret is another one, or the request was changed on its way")]
    NoMatch,
}

impl Rejection {
    /// The word for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotSigned => "not_signed",
            Self::NoSecret => "no_secret",
            Self::MissingHeader(_) => "missing_header",
            Self::RepeatedHeader(_) => "repeated_header",
            Self::HeaderTooLong(_) => "header_too_long",
            Self::TooManySignatures(_) => "too_many_signatures",
            Self::Malformed { .. } => "malformed",
            Self::MissingTimestamp(_) => "missing_timestamp",
            Self::MalformedTimestamp(_) => "malformed_timestamp",
            Self::Stale { .. } => "stale",
            Self::Future { .. } => "future",
            Self::MalformedId(_) => "malformed_id",
            Self::NoMatch => "no_match",
        }
    }
}

impl Scheme {
    /// Believes a request, or says why not.
    ///
    /// A sender that rotates a single-value scheme puts the new secret's signature into `<header>-next`;
    /// it is read if the header itself does not convince.
    ///
    /// # Errors
    /// The first reason found, with the cheap checks first: nothing is hashed for a request that is stale
    /// or carries no signature.
    pub fn verify(&self, keys: &Keys, request: &VerifyParts<'_>) -> Result<Verified, Rejection> {
        let layout = self.layout.as_deref().ok_or(Rejection::NotSigned)?;
        if keys.is_empty() {
            return Err(Rejection::NoSecret);
        }
        let first = layout.verify(keys, request, &layout.header);
        match (&first, &layout.next_header) {
            (Err(_), Some(next)) if request.headers.contains_key(next) => {
                // The reason that helps is the one about the header everybody knows.
                layout.verify(keys, request, next).or(first)
            }
            _ => first,
        }
    }
}

impl Layout {
    fn verify(&self, keys: &Keys, request: &VerifyParts<'_>, header: &HeaderName) -> Result<Verified, Rejection> {
        let claim = self.claim(request.headers, header)?;
        let timestamp = match self.content.has(Placeholder::Timestamp) {
            true => Some(self.timestamp(&claim, request, header)?),
            false => None,
        };
        let id = match self.content.has(Placeholder::Id) {
            true => Some(self.id(&claim, request.headers, header)?),
            false => None,
        };
        let parts = Parts {
            body: request.body,
            timestamp: timestamp.map(|(text, _)| text).unwrap_or_default(),
            id: id.map(str::as_bytes).unwrap_or_default(),
            url: request.url.as_bytes(),
            method: request.method.as_bytes(),
            signature: b"",
        };
        if !self.matches(keys, &claim.signatures, &parts, header)? {
            return Err(Rejection::NoMatch);
        }
        Ok(Verified { timestamp: timestamp.map(|(_, seconds)| seconds), id: id.map(str::to_owned) })
    }

    /// Reads the signature header.
    fn claim<'a>(&self, headers: &'a HeaderMap, header: &HeaderName) -> Result<Claim<'a>, Rejection> {
        let lines = || headers.get_all(header).iter().map(http::HeaderValue::as_bytes);
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
        header: &HeaderName,
    ) -> Result<(&'a [u8], i64), Rejection> {
        let (name, text) = match &self.timestamp_header {
            Some(name) => (name, only(request.headers, name)?),
            None => (header, claim.timestamp.ok_or_else(|| Rejection::MissingTimestamp(header.clone()))?),
        };
        if text.is_empty() {
            return Err(Rejection::MissingTimestamp(name.clone()));
        }
        let malformed = || Rejection::MalformedTimestamp(name.clone());
        let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let seconds: i64 = digits.ok_or_else(malformed)?.parse().map_err(|_| malformed())?;
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

    fn id<'a>(&self, claim: &Claim<'a>, headers: &'a HeaderMap, header: &HeaderName) -> Result<&'a str, Rejection> {
        let (name, text) = match &self.id_header {
            Some(name) => (name, only(headers, name)?),
            None => (header, claim.id.ok_or_else(|| Rejection::MalformedId(header.clone()))?),
        };
        let id = std::str::from_utf8(text).ok().filter(|id| self.fits_id(id.as_bytes()));
        id.ok_or_else(|| Rejection::MalformedId(name.clone()))
    }

    /// All candidates against all keys of their kind.
    fn matches(
        &self,
        keys: &Keys,
        candidates: &[Candidate<'_>],
        parts: &Parts<'_>,
        header: &HeaderName,
    ) -> Result<bool, Rejection> {
        let decoded = |asymmetric: bool| -> Vec<Signature> {
            let fitting = candidates.iter().filter(|candidate| candidate.asymmetric == asymmetric);
            fitting.filter_map(|candidate| Signature::decode(candidate.text, self.encoding)).collect()
        };
        let (symmetric, asymmetric) = (decoded(false), decoded(true));
        if symmetric.is_empty() && asymmetric.is_empty() {
            return Err(self.malformed(header));
        }
        let matched = keys.0.iter().fold(Choice::from(0), |matched, key| {
            let candidates = if key.is_asymmetric() { &asymmetric } else { &symmetric };
            // The body is not hashed for a key that nothing is compared with.
            if candidates.is_empty() { matched } else { matched | key.verify(&self.content, parts, candidates) }
        });
        Ok(matched.into())
    }

    /// The form of the signature header, for people.
    fn form(&self) -> String {
        match self.grammar {
            Grammar::Versions => "v1,<base64>".to_owned(),
            _ => self.value.to_string(),
        }
    }
}

/// The value of a header that may be there only once, trimmed.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Rejection> {
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
