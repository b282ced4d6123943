//! Signing: from a scheme, keys and a request's parts to headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claim::Grammar;
use super::key::{Keys, Signature};
use super::scheme::{Layout, Scheme};
use super::template::{Parts, Placeholder, form};
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
    /// The request's other headers, of which `content` may name some.
    pub headers: &'a HeaderMap,
}

/// A request that cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The id cannot stand in a header, or cannot be told from what is signed after it.
    #[error("the id must be visible ASCII without what follows it in the signed text (`.` in the standard scheme)")]
    UnfitId,
    /// There is no key to sign with.
    #[error("the scheme signs requests and no secret is there to sign with: set one, or set `signing` to `none`")]
    NoKey,
    /// A header that is signed is not there.
    #[error("the scheme signs the header `{0}`, which the request does not have: add it to `headers`")]
    MissingHeader(HeaderName),
}

impl Scheme {
    /// The headers that sign a request: none if the scheme signs nothing.
    ///
    /// With two keys (a rotation), schemes that hold several values carry both, the current one first for
    /// receivers that read only one; single-value schemes put the next one's into `<header>-next`.
    ///
    /// The body is hashed where it lies. On the heap go only the list, the time and the values themselves.
    ///
    /// # Errors
    /// See [`SignError`]. The first two do not happen with an [`EventId`](crate::domain::EventId) and keys from
    /// [`Scheme::keys`] of this scheme.
    pub fn sign(&self, keys: &Keys, parts: &SignParts<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let Some(layout) = self.layout() else { return Ok(Vec::new()) };
        let Some(carrier) = layout.carriers.first() else { return Err(SignError::NoKey) };
        let id = parts.id.as_bytes();
        let names_id =
            carrier.id_header.is_some() || layout.content.has(Placeholder::Id) || layout.value.has(Placeholder::Id);
        if names_id && !layout.fits_id(id) {
            return Err(SignError::UnfitId);
        }
        if let Some(name) = layout.content.headers().find(|name| !parts.headers.contains_key(*name)) {
            return Err(SignError::MissingHeader(name.clone()));
        }
        let time = layout.written.write(parts.timestamp_s);
        let form = if layout.content.has(Placeholder::Form) { form(parts.body) } else { Vec::new() };
        let parts = Parts {
            body: parts.body,
            timestamp: time.as_bytes(),
            id,
            form: &form,
            headers: Some(parts.headers),
            url: parts.url.as_bytes(),
            method: parts.method.as_bytes(),
            signature: b"",
        };

        let mut headers = Vec::with_capacity(3);
        if let Some(name) = &carrier.id_header {
            headers.push((name.clone(), HeaderValue::from_bytes(id).map_err(|_| SignError::UnfitId)?));
        }
        if let Some(name) = carrier.timestamp_headers.first() {
            headers.push((name.clone(), value_of(parts.timestamp.to_vec())?));
        }
        if layout.grammar == Grammar::Versions {
            headers.push((carrier.header.clone(), entries(layout, keys, &parts)?));
            return Ok(headers);
        }
        let carriers = layout.carriers.iter().take(1 + usize::from(layout.rotates_beside));
        let before = headers.len();
        for (carrier, key) in carriers.zip(&keys.0) {
            let signature = key.sign(&layout.content, &parts).ok_or(SignError::NoKey)?;
            headers.push((carrier.header.clone(), single(layout, &signature, &parts)?));
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
