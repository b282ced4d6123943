//! Public keys, in the forms in which products show them: raw bytes or SPKI, in hexadecimal, base64 or PEM.
//!
//! Which form it is shows by itself: each form has one length, and none begins like another.

use base64::Engine;
use ed25519_dalek::VerifyingKey;
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey};
use ring::rand::SystemRandom;

use super::key::{Key, P256_LEN};
use super::secret::LENIENT;

/// What stands before the 32 bytes of an Ed25519 key in SPKI (RFC 8410, section 4).
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// What stands before the 65 bytes of an uncompressed P-256 point in SPKI (RFC 5480, section 2).
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
    \x03\x42\x00";

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// An Ed25519 key.
pub(super) fn ed25519(text: &str) -> Result<Key, String> {
    let form = || {
        "the secret must be the product's Ed25519 public key: 32 bytes in hexadecimal or base64, or SPKI in base64 or PEM"
            .to_owned()
    };
    let bytes = key::<32>(text, ED25519_SPKI).ok_or_else(form)?;
    ed25519_of(&bytes).map_err(|why| why.unwrap_or_else(form))
}

/// The same of its bytes; `Err(None)` if they are none.
pub(super) fn ed25519_of(bytes: &[u8; 32]) -> Result<Key, Option<String>> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| None)?;
    if key.is_weak() {
        // Under such a key signatures can be made that fit more than one message.
        return Err(Some("the public key is of small order, so its signatures prove nothing".to_owned()));
    }
    Ok(Key::Public(Box::new(key)))
}

/// A key of ECDSA over P-256.
pub(super) fn p256(text: &str) -> Result<Key, String> {
    let bytes = key::<P256_LEN>(text, P256_SPKI).filter(is_point).ok_or_else(|| {
        "the secret must be the product's P-256 public key: SPKI in base64 or PEM, or the uncompressed point in \
         hexadecimal or base64"
            .to_owned()
    })?;
    Ok(Key::P256(Box::new(bytes)))
}

/// Whether this is a point of the curve. An agreement with a key made up on the spot is the one thing that the library
/// refuses to do with any other.
fn is_point(bytes: &[u8; P256_LEN]) -> bool {
    let Ok(own) = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()) else { return false };
    agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(&ECDH_P256, bytes), |_| ()).is_ok()
}

/// The key's bytes out of any of its forms.
fn key<const LEN: usize>(text: &str, spki: &[u8]) -> Option<[u8; LEN]> {
    let text = text.trim();
    let fits = |bytes: Vec<u8>| -> Option<[u8; LEN]> {
        let raw = bytes.strip_prefix(spki).unwrap_or(&bytes);
        raw.try_into().ok()
    };
    if let Some(rest) = text.strip_prefix(PEM_BEGIN) {
        // A key pasted into one line has lost its line breaks.
        let inner: String = rest.strip_suffix(PEM_END)?.split_ascii_whitespace().collect();
        return fits(LENIENT.decode(inner).ok()?);
    }
    hex::decode(text).ok().and_then(fits).or_else(|| LENIENT.decode(text).ok().and_then(fits))
}
