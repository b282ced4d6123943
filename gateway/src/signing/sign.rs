//! Signing: from a scheme, keys and a request's parts to headers.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::claim::Grammar;
use super::key::{Keys, Signature};
use super::scheme::{Layout, Scheme};
use super::template::{Parts, Placeholder};
use crate::domain::Encoding;

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct SignParts<'a> {
    /// The event's id (`evt_…`): the same over attempts, retries and replays. Visible ASCII, without the text
    /// that follows `{id}` in what is signed (`.` in the standard scheme).
    pub id: &'a str,
    /// The attempt's time in Unix seconds, so that a retry hours later is not stale; before 1970 counts as 0.
    pub timestamp_s: i64,
    /// The body, exactly as it will be sent.
    pub body: &'a [u8],
    /// The URL as configured.
    pub url: &'a str,
    /// The HTTP method, upper case.
    pub method: &'a str,
}

/// A request that cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The id cannot stand in a header, or cannot be told from what is signed after it.
    #[error("the id must be visible ASCII without what follows it in the signed text (`.` in the standard scheme)")]
    UnfitId,
    /// There is no key to sign with.
    #[error("the scheme signs requests and no secret is there to sign with: set one, or set `signing` to `none`")]
    NoKey,
}

impl Scheme {
    /// The headers that sign a request: none if the scheme signs nothing.
    ///
    /// With two keys (a rotation), schemes that hold several values carry both, the current one first for
    /// receivers that read only one; single-value schemes put the next one's into `<header>-next`.
    ///
    /// The body is hashed where it lies. On the heap go only the values themselves and the list: four
    /// allocations in the standard scheme (five with Ed25519), two in others (three with a timestamp header).
    ///
    /// # Errors
    /// See [`SignError`]. Neither happens with an [`EventId`](crate::domain::EventId) and keys from
    /// [`Scheme::keys`] of this scheme.
    pub fn sign(&self, keys: &Keys, parts: &SignParts<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let Some(layout) = self.layout.as_deref() else { return Ok(Vec::new()) };
        let id = parts.id.as_bytes();
        let names_id =
            layout.id_header.is_some() || layout.content.has(Placeholder::Id) || layout.value.has(Placeholder::Id);
        if names_id && !layout.fits_id(id) {
            return Err(SignError::UnfitId);
        }
        let digits = Digits::of(parts.timestamp_s);
        let parts = Parts {
            body: parts.body,
            timestamp: digits.text(),
            id,
            url: parts.url.as_bytes(),
            method: parts.method.as_bytes(),
            signature: b"",
        };

        let mut headers = Vec::with_capacity(3);
        if let Some(name) = &layout.id_header {
            headers.push((name.clone(), HeaderValue::from_bytes(id).map_err(|_| SignError::UnfitId)?));
        }
        if let Some(name) = &layout.timestamp_header {
            headers.push((name.clone(), value_of(parts.timestamp.to_vec())?));
        }
        if layout.grammar == Grammar::Versions {
            headers.push((layout.header.clone(), entries(layout, keys, &parts)?));
            return Ok(headers);
        }
        let names = std::iter::once(&layout.header).chain(&layout.next_header);
        let before = headers.len();
        for (name, key) in names.zip(&keys.0) {
            let signature = key.sign(&layout.content, &parts).ok_or(SignError::NoKey)?;
            headers.push((name.clone(), single(layout, &signature, &parts)?));
        }
        if headers.len() == before { Err(SignError::NoKey) } else { Ok(headers) }
    }
}

/// `v1,<base64> v1,<base64>`.
fn entries(layout: &Layout, keys: &Keys, parts: &Parts<'_>) -> Result<HeaderValue, SignError> {
    let label = |asymmetric: bool| if asymmetric { b"v1a,".as_slice() } else { b"v1,".as_slice() };
    let mut value = Vec::new();
    for key in &keys.0 {
        let signature = key.sign(&layout.content, parts).ok_or(SignError::NoKey)?;
        let label = label(key.is_asymmetric());
        let gap = usize::from(!value.is_empty());
        value.reserve_exact(gap + label.len() + signature.encoded_len(Encoding::Base64));
        value.extend_from_slice(if gap == 1 { b" " } else { b"" });
        value.extend_from_slice(label);
        signature.encoded(Encoding::Base64, |text| value.extend_from_slice(text));
    }
    if value.is_empty() { Err(SignError::NoKey) } else { value_of(value) }
}

/// The value template, filled in.
fn single(layout: &Layout, signature: &Signature, parts: &Parts<'_>) -> Result<HeaderValue, SignError> {
    signature.encoded(layout.encoding, |text| {
        let parts = Parts { signature: text, ..*parts };
        let mut value = Vec::with_capacity(layout.value.fill(&parts).map(<[u8]>::len).sum());
        layout.value.fill(&parts).for_each(|piece| value.extend_from_slice(piece));
        value_of(value)
    })
}

/// Takes the bytes over without copying them. The template's text, the digits, the signature and the id
/// have all been checked, so a value that is none can only come from the id.
fn value_of(bytes: Vec<u8>) -> Result<HeaderValue, SignError> {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).map_err(|_| SignError::UnfitId)
}

/// A timestamp's decimal digits, on the stack.
struct Digits {
    buffer: [u8; 20],
    len: usize,
}

impl Digits {
    fn of(timestamp_s: i64) -> Self {
        let mut buffer = [0; 20];
        let mut rest = buffer.as_mut_slice();
        // 19 digits are the most an i64 has.
        let _ = write!(rest, "{}", timestamp_s.max(0));
        let len = 20 - rest.len();
        Self { buffer, len }
    }

    fn text(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}
