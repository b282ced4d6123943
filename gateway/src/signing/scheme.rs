//! The description of a scheme, compiled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::claim::Grammar;
use super::key::Hash;
use super::shared::Shared;
use super::template::{Placeholder, Template};
use super::time::Written;
use crate::domain::{Encoding, SecretForm};
use crate::filter::Path;

/// How requests prove where they come from: compiled once, then used for every request. Cheap to clone.
///
/// Made by [`Scheme::for_delivery`] from a subscription's `signing` or by [`Scheme::for_source`] from a
/// source's `verification`. Holds no secret.
#[derive(Clone)]
pub struct Scheme(pub(super) Form);

/// The three kinds of proof.
#[derive(Clone)]
pub(super) enum Form {
    /// None: nothing is signed, and nothing is believed.
    None,
    /// A signature.
    Signed(Arc<Layout>),
    /// The secret itself.
    Shared(Arc<Shared>),
}

/// What there is to know about a scheme that signs.
#[derive(Debug)]
pub(super) struct Layout {
    /// The headers that may carry a signature; signing writes into the first.
    pub(super) carriers: Vec<Carrier>,
    /// Whether the second carrier is where a single-value scheme puts the signature of the secret being rotated in.
    pub(super) rotates_beside: bool,
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
    /// How the timestamp is written.
    pub(super) written: Written,
    /// Where it is, if that is in the body.
    pub(super) body_time: Option<Path>,
    /// How far the timestamp may be off, either way.
    pub(super) tolerance: Duration,
    /// A hash of the body in the query of the URL.
    pub(super) body_hash: Option<QueryHash>,
}

/// A header that carries a signature, and those that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carrier {
    /// The signature's.
    pub(super) header: HeaderName,
    /// The id's.
    pub(super) id_header: Option<HeaderName>,
    /// The timestamp's: the first of these that is there. Signing writes the first.
    pub(super) timestamp_headers: Vec<HeaderName>,
}

/// A hash of the body in a parameter of the query.
#[derive(Debug)]
pub(super) struct QueryHash {
    pub(super) parameter: String,
    pub(super) hash: Hash,
    pub(super) encoding: Encoding,
}

/// Which form a secret has and what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Family {
    /// `whsec_…`: base64 of 24 to 64 bytes; made or given here.
    Symmetric,
    /// `whsk_…`: an Ed25519 key.
    Asymmetric,
    /// `whsec_…`, `whpk_…` or `whsk_…`, as another product handed it out: its prefix says which it is.
    ByPrefix,
    /// Any text; its bytes, or what it encodes, are the HMAC key, whatever prefix they have.
    Hmac(Hash, SecretForm),
    /// An Ed25519 public key in any of its usual forms.
    Ed25519,
    /// A P-256 public key in any of its usual forms.
    P256,
    /// Any text, which is sent along as it is.
    Token,
}

impl Scheme {
    /// Whether it signs at all. One that does not needs no key to sign with.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.layout().is_some()
    }

    /// The header that carries the signature or the secret, for showing; absent if none does.
    #[must_use]
    pub fn signature_header(&self) -> Option<&HeaderName> {
        match &self.0 {
            Form::None => None,
            Form::Signed(layout) => layout.carriers.first().map(|carrier| &carrier.header),
            Form::Shared(shared) => shared.header(),
        }
    }

    /// Whether its secrets are public keys that the sender makes, so that none can be made here.
    #[must_use]
    pub fn takes_public_key(&self) -> bool {
        matches!(self.family(), Some(Family::Ed25519 | Family::P256))
    }

    /// Every header that [`Scheme::sign`] may set. Nobody else's header of these names may go out beside it.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.layout().into_iter().flat_map(|layout| {
            let carriers = layout.carriers.iter();
            let signatures = carriers.clone().take(1 + usize::from(layout.rotates_beside)).map(|it| &it.header);
            let first = carriers.take(1);
            let beside = first.flat_map(|it| it.id_header.iter().chain(it.timestamp_headers.first()));
            signatures.chain(beside)
        })
    }

    pub(super) fn layout(&self) -> Option<&Layout> {
        match &self.0 {
            Form::Signed(layout) => Some(layout),
            Form::None | Form::Shared(_) => None,
        }
    }

    /// Which secrets it takes; none if it has no use for one.
    pub(super) fn family(&self) -> Option<&Family> {
        match &self.0 {
            Form::None => None,
            Form::Signed(layout) => Some(&layout.family),
            Form::Shared(_) => Some(&Family::Token),
        }
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
        match (&self.0, self.signature_header()) {
            (Form::Signed(layout), Some(header)) => {
                write!(f, "Scheme({header}: {} over {})", layout.value, layout.content)
            }
            (Form::Shared(shared), _) => write!(f, "Scheme({})", shared.form()),
            _ => f.write_str("Scheme(none)"),
        }
    }
}
