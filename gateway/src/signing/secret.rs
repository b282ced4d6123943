//! Secrets as text: checked when given, made when absent, read when used.
//!
//! The same prefix can mean different things: a Standard Webhooks `whsec_…` is base64, a Stripe `whsec_…`
//! is used as it stands. The scheme decides, never the text, except where a source takes whatever key a Standard
//! Webhooks product handed out, and where a public key may be written in one of several forms, of which no two can be
//! taken for each other (see `public`).

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key::{Hash, Key};
use super::public;
use super::scheme::{Family, Scheme};
use crate::domain::{Secret, SecretDecoding, SecretForm};

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";
/// What a new secret has: as many bytes as the hash it keys.
const NEW_LEN: usize = 32;
/// The longest verbatim secret, in bytes.
const MAX_VERBATIM: usize = 512;

/// Base64 in the standard alphabet, padded or not: secrets lose their padding when copied by a double click.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The same in the URL-safe alphabet.
pub(super) const LENIENT_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Scheme {
    /// Whether a given secret will do.
    ///
    /// A standard one is `whsec_` and base64 of 24 to 64 bytes (Standard Webhooks 1.0, "Signature scheme"),
    /// or `whsk_` and base64 of a 32-byte Ed25519 seed or of a 64-byte seed with its public half. A source
    /// in the standard scheme takes `whsec_` of any length another product may use, `whpk_` and
    /// `whsk_`. An asymmetric source takes the product's public key, as raw bytes or SPKI, in hexadecimal, base64 or
    /// PEM. Every other scheme takes 1 to 512 bytes of UTF-8 and uses them as they are, or as `secret` says.
    ///
    /// # Errors
    /// A sentence that says what a secret must look like; it never repeats the secret.
    pub fn check_secret(&self, secret: &str) -> Result<(), String> {
        read(self.family().unwrap_or(&Family::Token), secret).map(|_| ())
    }

    /// Makes a secret from the operating system's randomness, 256 bits: `whsec_…` or `whsk_…` (the 64-byte
    /// form, as the Svix server writes it) in the standard scheme and for Ed25519; in all others hexadecimal, or base64
    /// where the scheme decodes that. Where [`Scheme::takes_public_key`], what is made is of no use.
    #[must_use]
    pub fn generate_secret(&self) -> Secret {
        let mut bytes = Zeroizing::new([0_u8; NEW_LEN]);
        rand::fill(bytes.as_mut_slice());
        Secret::new(match self.family() {
            Some(Family::Symmetric | Family::ByPrefix) => format!("{SYMMETRIC}{}", STANDARD.encode(*bytes)),
            Some(Family::Asymmetric) => {
                let pair = Zeroizing::new(SigningKey::from_bytes(&bytes).to_keypair_bytes());
                format!("{PRIVATE}{}", STANDARD.encode(*pair))
            }
            Some(Family::Hmac(_, form)) => {
                let text = match form.decode {
                    SecretDecoding::Base64 => STANDARD.encode(*bytes),
                    SecretDecoding::Utf8 | SecretDecoding::Hex => hex::encode(*bytes),
                };
                format!("{}{text}", form.strip_prefix.as_deref().unwrap_or_default())
            }
            Some(Family::Ed25519 | Family::P256 | Family::Token) | None => hex::encode(*bytes),
        })
    }

    /// The `whpk_…` that receivers verify with, if this scheme signs with a private key and `secret` is one.
    #[must_use]
    pub fn public_key(&self, secret: &Secret) -> Option<String> {
        match read(self.family()?, secret.expose()) {
            Ok(Key::Private(key)) => Some(format!("{PUBLIC}{}", STANDARD.encode(key.verifying_key().as_bytes()))),
            _ => None,
        }
    }
}

/// Makes a key of a secret.
pub(super) fn read(family: &Family, secret: &str) -> Result<Key, String> {
    match family {
        Family::Token => verbatim(secret).map(|()| Key::Token(Sha256::digest(secret).into())),
        Family::Hmac(hash, form) => hmac(*hash, form, secret),
        Family::Ed25519 if secret.starts_with(PRIVATE) => private(secret),
        Family::Ed25519 => public::ed25519(secret.strip_prefix(PUBLIC).unwrap_or(secret)),
        Family::P256 => public::p256(secret),
        Family::Symmetric => symmetric(secret, 24, 64),
        Family::Asymmetric => private(secret),
        Family::ByPrefix if secret.starts_with(PUBLIC) => standard_public(secret),
        Family::ByPrefix if secret.starts_with(PRIVATE) => private(secret),
        // The other product chose its length; all that can be asked is that there is something.
        Family::ByPrefix => symmetric(secret, 1, MAX_VERBATIM),
    }
}

fn verbatim(secret: &str) -> Result<(), String> {
    if secret.is_empty() {
        return Err("the secret must not be empty".to_owned());
    }
    if secret.len() > MAX_VERBATIM {
        return Err(format!("the secret must be at most {MAX_VERBATIM} bytes long"));
    }
    Ok(())
}

fn hmac(hash: Hash, form: &SecretForm, secret: &str) -> Result<Key, String> {
    Ok(Key::hmac(hash, &hmac_bytes(form, secret)?))
}

fn hmac_bytes(form: &SecretForm, secret: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    verbatim(secret)?;
    let text = form.strip_prefix.as_deref().and_then(|prefix| secret.strip_prefix(prefix)).unwrap_or(secret);
    let key = match form.decode {
        SecretDecoding::Utf8 => Zeroizing::new(text.as_bytes().to_vec()),
        SecretDecoding::Base64 => LENIENT
            .decode(text)
            .map(Zeroizing::new)
            .map_err(|_| "the secret must be base64, as the scheme's `secret` says".to_owned())?,
        SecretDecoding::Hex => hex::decode(text)
            .map(Zeroizing::new)
            .map_err(|_| "the secret must be hexadecimal, as the scheme's `secret` says".to_owned())?,
    };
    if key.is_empty() {
        return Err("the secret must not be empty beside its prefix".to_owned());
    }
    Ok(key)
}

/// The key of an HMAC that a secret stands for; `None` if it stands for none.
pub(super) fn key_bytes(family: &Family, secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    match family {
        Family::Symmetric | Family::ByPrefix => decode(secret, SYMMETRIC),
        Family::Hmac(_, form) => hmac_bytes(form, secret).ok(),
        Family::Asymmetric | Family::Ed25519 | Family::P256 | Family::Token => None,
    }
}

fn symmetric(secret: &str, least: usize, most: usize) -> Result<Key, String> {
    let form = || format!("the secret must be `{SYMMETRIC}` and base64 of {least} to {most} bytes");
    let bytes = decode(secret, SYMMETRIC).ok_or_else(form)?;
    if !(least..=most).contains(&bytes.len()) {
        return Err(format!("{}, not of {}", form(), bytes.len()));
    }
    Ok(Key::hmac(Hash::Sha256, &bytes))
}

fn private(secret: &str) -> Result<Key, String> {
    let form = || format!("the secret must be `{PRIVATE}` and base64 of an Ed25519 key of 32 or 64 bytes");
    let bytes = decode(secret, PRIVATE).ok_or_else(form)?;
    if let Ok(seed) = <&[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(Key::Private(Box::new(SigningKey::from_bytes(seed))));
    }
    let pair = <&[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| form())?;
    let key = SigningKey::from_keypair_bytes(pair)
        .map_err(|_| "the secret's public half does not belong to its private half: copy it again".to_owned())?;
    Ok(Key::Private(Box::new(key)))
}

fn standard_public(secret: &str) -> Result<Key, String> {
    let form = || format!("the key must be `{PUBLIC}` and base64 of an Ed25519 public key of 32 bytes");
    let bytes = decode(secret, PUBLIC).ok_or_else(form)?;
    let bytes = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| form())?;
    public::ed25519_of(bytes).map_err(|why| why.unwrap_or_else(form))
}

fn decode(secret: &str, prefix: &str) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(secret.strip_prefix(prefix)?).ok().map(Zeroizing::new)
}
