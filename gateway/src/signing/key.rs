//! Keys, prepared once so that a signature costs no set-up.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::ed25519::signature::{MultipartSigner, MultipartVerifier};
use ed25519_dalek::{SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::scheme::Scheme;
use super::secret::{self, LENIENT, LENIENT_URL};
use super::template::{Parts, Template};
use crate::domain::{Encoding, Secret};

/// Most secrets that count at one time, as in the Svix server.
pub const MAX_KEYS: usize = 10;

/// The longest signature: HMAC-SHA-512 and Ed25519 have 64 bytes, ECDSA over P-256 in DER has up to 72.
const MAX_SIGNATURE: usize = 72;

/// A point of P-256, uncompressed (SEC 1, section 2.3.3).
pub(super) const P256_LEN: usize = 65;

/// A secret that is no key for its scheme, or too many of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret does not have the form its scheme needs.
    #[error("{0}")]
    Unfit(String),
    /// More than [`MAX_KEYS`].
    #[error("{0} secrets are active, at most {MAX_KEYS} can be: end a rotation first")]
    TooMany(usize),
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    /// The plain hash.
    pub(super) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// Prepared keys: the current one first. Made by [`Scheme::keys`], used with the scheme that made them.
///
/// An HMAC key is kept as the two hash states it begins with, so that signing neither hashes nor holds the
/// secret again. Ed25519 keys are wiped when dropped.
#[derive(Clone)]
pub struct Keys(pub(super) Vec<Key>);

impl Keys {
    /// Whether there is none: nothing can be signed with these, and nothing verifies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hexadecimal HMAC-SHA-256 of a text under the current secret; `None` if that is no key for one. Whoever can
    /// choose the text can have any text signed: only a verified request may.
    #[must_use]
    pub fn hmac_sha256_hex(&self, text: &[u8]) -> Option<String> {
        match self.0.first()? {
            Key::Sha256(mac) => {
                let mut mac = mac.as_ref().clone();
                mac.update(text);
                Some(hex::encode(mac.finalize().into_bytes()))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(<{} redacted>)", self.0.len())
    }
}

impl Scheme {
    /// Prepares the keys to sign with: the current secret and, during a rotation, the next one.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] if a secret is not what [`Scheme::check_secret`] asks for.
    pub fn keys(&self, current: &Secret, next: Option<&Secret>) -> Result<Keys, KeyError> {
        self.keys_of(std::iter::once(current).chain(next))
    }

    /// Prepares keys of any number of active secrets, to verify with. The scheme `none` has none.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] as above; [`KeyError::TooMany`] beyond [`MAX_KEYS`].
    pub fn keys_of<'a>(&self, secrets: impl IntoIterator<Item = &'a Secret>) -> Result<Keys, KeyError> {
        let Some(family) = self.family() else { return Ok(Keys(Vec::new())) };
        let keys = secrets.into_iter().map(|secret| secret::read(family, secret.expose()));
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(KeyError::Unfit)?;
        if keys.len() > MAX_KEYS { Err(KeyError::TooMany(keys.len())) } else { Ok(Keys(keys)) }
    }
}

/// One prepared key.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha512(Box<Hmac<Sha512>>),
    Private(Box<SigningKey>),
    Public(Box<VerifyingKey>),
    /// A public key of ECDSA over P-256, which only verifies.
    P256(Box<[u8; P256_LEN]>),
    /// The SHA-256 of a secret that is sent along.
    Token([u8; 32]),
}

impl Key {
    pub(super) fn hmac(hash: Hash, key: &[u8]) -> Self {
        const ANY_LENGTH: &str = "an HMAC key may have any length (RFC 2104, section 2)";
        match hash {
            Hash::Sha1 => Self::Sha1(Box::new(Hmac::new_from_slice(key).expect(ANY_LENGTH))),
            Hash::Sha256 => Self::Sha256(Box::new(Hmac::new_from_slice(key).expect(ANY_LENGTH))),
            Hash::Sha512 => Self::Sha512(Box::new(Hmac::new_from_slice(key).expect(ANY_LENGTH))),
        }
    }

    /// Whether its signatures say `v1a` where they say what they are.
    pub(super) fn is_asymmetric(&self) -> bool {
        matches!(self, Self::Private(_) | Self::Public(_) | Self::P256(_))
    }

    /// Signs what `content` stands for, piece by piece; nothing for a public key.
    pub(super) fn sign(&self, content: &Template, parts: &Parts<'_>) -> Option<Signature> {
        match self {
            Self::Sha1(mac) => Some(stream(mac.as_ref().clone(), content, parts)),
            Self::Sha256(mac) => Some(stream(mac.as_ref().clone(), content, parts)),
            Self::Sha512(mac) => Some(stream(mac.as_ref().clone(), content, parts)),
            Self::Private(key) => {
                let pieces: Vec<&[u8]> = content.fill(parts).collect();
                key.try_multipart_sign(&pieces).ok().map(|signature| Signature::new(&signature.to_bytes()))
            }
            Self::Public(_) | Self::P256(_) | Self::Token(_) => None,
        }
    }

    /// Whether any of `candidates` is a signature by this key.
    ///
    /// Every candidate is looked at, whatever came before it. Verification with a public key handles public
    /// values only, so there is nothing for its timing to tell.
    pub(super) fn verify(&self, content: &Template, parts: &Parts<'_>, candidates: &[Signature]) -> Choice {
        let public = match self {
            Self::Private(key) => key.verifying_key(),
            Self::Public(key) => **key,
            // What is signed nowhere is no signature.
            Self::Token(_) => return Choice::from(0),
            Self::P256(point) => {
                // The library takes a message in one piece only.
                let message = content.fill(parts).collect::<Vec<_>>().concat();
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.as_slice());
                return candidates.iter().fold(Choice::from(0), |matched, candidate| {
                    matched | Choice::from(u8::from(key.verify(&message, candidate.bytes()).is_ok()))
                });
            }
            Self::Sha1(_) | Self::Sha256(_) | Self::Sha512(_) => {
                let Some(expected) = self.sign(content, parts) else { return Choice::from(0) };
                return candidates
                    .iter()
                    .fold(Choice::from(0), |matched, candidate| matched | candidate.bytes().ct_eq(expected.bytes()));
            }
        };
        let pieces: Vec<&[u8]> = content.fill(parts).collect();
        candidates.iter().fold(Choice::from(0), |matched, candidate| {
            let verified = ed25519_dalek::Signature::from_slice(candidate.bytes())
                .and_then(|signature| public.multipart_verify(&pieces, &signature));
            matched | Choice::from(u8::from(verified.is_ok()))
        })
    }
}

fn stream<M: Mac>(mut mac: M, content: &Template, parts: &Parts<'_>) -> Signature {
    for piece in content.fill(parts) {
        mac.update(piece);
    }
    Signature::new(&mac.finalize().into_bytes())
}

/// A signature's bytes, on the stack.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    buffer: [u8; MAX_SIGNATURE],
    len: usize,
}

impl Signature {
    fn new(bytes: &[u8]) -> Self {
        let mut buffer = [0; MAX_SIGNATURE];
        let len = bytes.len().min(MAX_SIGNATURE);
        buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self { buffer, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Reads an encoded signature; hexadecimal in either case, base64 with or without padding.
    pub(super) fn decode(text: &[u8], encoding: Encoding) -> Option<Self> {
        // Longer than any signature and its encoding: not worth decoding.
        if text.is_empty() || text.len() > 2 * MAX_SIGNATURE {
            return None;
        }
        let bytes = match encoding {
            Encoding::Hex => hex::decode(text).ok()?,
            Encoding::Base64 => LENIENT.decode(text).ok()?,
            Encoding::Base64url => LENIENT_URL.decode(text).ok()?,
        };
        (bytes.len() <= MAX_SIGNATURE).then(|| Self::new(&bytes))
    }

    /// How many bytes `Signature::encode` will append.
    pub(super) fn encoded_len(&self, encoding: Encoding) -> usize {
        match encoding {
            Encoding::Hex => self.len * 2,
            Encoding::Base64 => self.len.div_ceil(3) * 4,
            Encoding::Base64url => (self.len * 4).div_ceil(3),
        }
    }

    /// Writes it out on the stack and hands it over.
    pub(super) fn encoded<R>(&self, encoding: Encoding, then: impl FnOnce(&[u8]) -> R) -> R {
        let mut buffer = [0_u8; 2 * MAX_SIGNATURE];
        let len = self.encoded_len(encoding);
        let text = buffer.get_mut(..len).unwrap_or_default();
        // Both write exactly `len` bytes; a slice of that length is the only way for them to fail.
        let written = match encoding {
            Encoding::Hex => hex::encode_to_slice(self.bytes(), text).is_ok(),
            Encoding::Base64 => STANDARD.encode_slice(self.bytes(), text).is_ok(),
            Encoding::Base64url => URL_SAFE_NO_PAD.encode_slice(self.bytes(), text).is_ok(),
        };
        debug_assert!(written, "the buffer has the encoded length");
        then(text)
    }
}
