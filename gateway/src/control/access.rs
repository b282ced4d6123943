//! Who is asking: keys are made here, and recognised here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Control;
use crate::domain::{ApiKey, KeyId, Role, Secret, TenantId};

/// What the text of every key begins with, so that leaked ones can be searched for.
const PREFIX: &str = "hmk_";

/// The least length of an operator key that comes from the configuration: 32 characters of hexadecimal are
/// 128 bits, the least that cannot be guessed.
const SHORTEST_OPERATOR_KEY: usize = 32;

/// Someone who has shown a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The key; `None` for the operator key of the configuration.
    pub key: Option<KeyId>,
    /// What it may do.
    pub role: Role,
    /// The tenant it acts for; `None` for operator and producer keys.
    pub tenant: Option<TenantId>,
}

/// Why a key is not taken. Both say the same to a guesser: only the holder of the whole key learns that it
/// has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not one of ours.
    #[error("the key is not known here")]
    Unknown,
    /// It was one of ours.
    #[error("the key has expired")]
    Expired,
}

/// Makes a key: what is stored, and the text that is shown once, `hmk_<32 hex of the id>_<secret half>`.
///
/// The secret half is 256 random bits in base64url; only its SHA-256 is kept. A slow hash protects
/// secrets that can be guessed, which these cannot, and would cost every request.
#[must_use]
pub fn mint(
    role: Role,
    tenant_id: Option<TenantId>,
    name: Option<String>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> (ApiKey, Secret) {
    let id = KeyId::new(now);
    let random: [u8; 32] = rand::random();
    let half = Secret::new(URL_SAFE_NO_PAD.encode(random));
    let text = format!("{PREFIX}{}_{}", hex::encode(id.to_bytes()), half.expose());
    let hash = Sha256::digest(half.expose().as_bytes()).into();
    (ApiKey { id, tenant_id, role, name, hash, created_at: now, expires_at }, Secret::new(text))
}

/// The id and the secret half of a key's text.
fn take_apart(text: &str) -> Option<(KeyId, &str)> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, half) = rest.split_at_checked(32)?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).ok()?;
    Some((KeyId::from_bytes(bytes), half.strip_prefix('_')?))
}

impl Control {
    /// Looks at an operator key from the configuration, which may be of any shape.
    ///
    /// # Errors
    /// A sentence that says what it must be, if it is shorter than 32 characters.
    pub fn check_operator_key(text: &Secret) -> Result<(), String> {
        if text.expose().chars().count() < SHORTEST_OPERATOR_KEY {
            return Err(format!("an operator key must have at least {SHORTEST_OPERATOR_KEY} characters"));
        }
        Ok(())
    }

    /// Takes one more operator key from the configuration.
    ///
    /// # Errors
    /// Those of [`Control::check_operator_key`].
    pub fn with_operator_key(mut self, text: &Secret) -> Result<Self, String> {
        Self::check_operator_key(text)?;
        self.operator = Some(Sha256::digest(text.expose().as_bytes()).into());
        Ok(self)
    }

    /// Whether a key that was shown is valid still: it may have expired or been removed since.
    #[must_use]
    pub fn is_valid(&self, principal: &Principal) -> bool {
        let Some(id) = principal.key else { return self.operator.is_some() };
        let key = self.registry.key(id);
        key.is_some_and(|key| key.expires_at.is_none_or(|at| at > self.clock.now()))
    }

    /// Who shows this key. Secrets are compared in constant time, and an unknown id takes the same way as a
    /// wrong secret.
    ///
    /// # Errors
    /// If nobody does, or nobody any more.
    pub fn authenticate(&self, text: &str) -> Result<Principal, Refusal> {
        if let Some((id, half)) = take_apart(text) {
            let key = self.registry.key(id);
            let expected = key.as_ref().map_or([0; 32], |key| key.hash);
            let hash: [u8; 32] = Sha256::digest(half.as_bytes()).into();
            if bool::from(hash.ct_eq(&expected))
                && let Some(key) = key
            {
                if key.expires_at.is_some_and(|at| at <= self.clock.now()) {
                    return Err(Refusal::Expired);
                }
                return Ok(Principal { key: Some(key.id), role: key.role, tenant: key.tenant_id });
            }
        }
        if let Some(expected) = self.operator {
            let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            if bool::from(hash.ct_eq(&expected)) {
                return Ok(Principal { key: None, role: Role::Operator, tenant: None });
            }
        }
        Err(Refusal::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_comes_apart_again() {
        let now = Timestamp::UNIX_EPOCH;
        for _ in 0..200 {
            let (key, text) = mint(Role::Admin, None, None, None, now);
            let (id, half) = take_apart(text.expose()).unwrap();
            assert_eq!(id, key.id);
            assert_eq!(half.len(), 43, "256 bits");
            assert_eq!(<[u8; 32]>::from(Sha256::digest(half.as_bytes())), key.hash);
            assert!(text.expose().is_ascii());
        }
    }

    #[test]
    fn texts_that_are_no_keys() {
        for text in ["", "hmk_", "hmk_00_x", "hmk_zz", "Bearer x", &format!("hmk_{}", "é".repeat(40)), &"0".repeat(80)]
        {
            assert!(take_apart(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_operator_key_is_not_to_be_guessed() {
        for (letter, count, is_taken) in [("x", 0, false), ("x", 31, false), ("é", 31, false), ("x", 32, true)] {
            let checked = Control::check_operator_key(&Secret::new(letter.repeat(count)));
            assert_eq!(checked.is_ok(), is_taken, "{count} times {letter}");
        }
    }
}
