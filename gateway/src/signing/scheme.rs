//! The description of a scheme.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::claim::Grammar;
use super::key::Hash;
use super::template::{Placeholder, Template};
use crate::domain::Encoding;

/// How requests prove where they come from: compiled once, then used for every request. Cheap to clone.
///
/// Made by [`Scheme::for_delivery`] from a subscription's `signing` or by [`Scheme::for_source`] from a
/// source's `verification`. Holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Scheme {
    pub(super) layout: Option<Arc<Layout>>,
}

/// What there is to know about a scheme that signs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The header that carries the signature.
    pub(super) header: HeaderName,
    /// Where a single-value scheme puts the signature of the secret being rotated in.
    pub(super) next_header: Option<HeaderName>,
    /// The header that carries the id.
    pub(super) id_header: Option<HeaderName>,
    /// The header that carries the timestamp.
    pub(super) timestamp_header: Option<HeaderName>,
    /// What is signed.
    pub(super) content: Template,
    /// How the signature's header is written, and read.
    pub(super) value: Template,
    /// The shape of that header.
    pub(super) grammar: Grammar,
    /// How the signature's bytes are written.
    pub(super) encoding: Encoding,
    /// Which secrets it takes.
    pub(super) family: Family,
    /// How far the timestamp may be off, either way.
    pub(super) tolerance: Duration,
}

/// Which form a secret has and what is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `whsec_…`: base64 of 24 to 64 bytes; made or given here.
    Symmetric,
    /// `whsk_…`: an Ed25519 key.
    Asymmetric,
    /// `whsec_…`, `whpk_…` or `whsk_…`, as another product handed it out: its prefix says which it is.
    ByPrefix,
    /// Any text; its UTF-8 bytes are the HMAC key, whatever prefix they have.
    Verbatim(Hash),
}

impl Scheme {
    /// Whether it signs at all. One that does not needs no secret and accepts nothing.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.layout.is_some()
    }

    /// The header that carries the signature, for showing; absent if the scheme signs nothing.
    #[must_use]
    pub fn signature_header(&self) -> Option<&HeaderName> {
        self.layout.as_deref().map(|layout| &layout.header)
    }

    /// Every header that [`Scheme::sign`] may set. Nobody else's header of these names may go out beside it.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.layout.iter().flat_map(|layout| {
            [
                Some(&layout.header),
                layout.next_header.as_ref(),
                layout.id_header.as_ref(),
                layout.timestamp_header.as_ref(),
            ]
            .into_iter()
            .flatten()
        })
    }
}

impl Layout {
    /// Whether an id can stand in a header and in the signed text.
    ///
    /// In `{id}.{timestamp}.{body}` an id with a `.` would let one signature stand for two requests, split
    /// at different places (Standard Webhooks 1.0, "Signature scheme"); so it must not contain whatever
    /// follows it.
    pub(super) fn fits_id(&self, id: &[u8]) -> bool {
        let stop = self.content.literal_after(Placeholder::Id).map(str::as_bytes);
        let splits = stop.is_some_and(|stop| id.windows(stop.len()).any(|window| window == stop));
        !id.is_empty() && id.iter().all(u8::is_ascii_graphic) && !splits
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.layout {
            None => f.write_str("Scheme(none)"),
            Some(layout) => write!(f, "Scheme({}: {} over {})", layout.header, layout.value, layout.content),
        }
    }
}
