//! Keys: the right one, and what is taken for it.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{KeyWay, Way};
use crate::domain::{SecretDecoding, rfc3339};
use crate::signing::doctor::{Code, Doctor, Finding, KnownSecret, Standing};
use crate::signing::scheme::Family;
use crate::signing::secret;

/// Base64 padded or not, with bits left over.
const LOOSE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Doctor<'_> {
    /// The right key first, then those that mistakes lead to: another secret, another reading, or both.
    pub(super) fn keys_of(&self, signer: &KnownSecret) -> Vec<KeyWay> {
        let mut keys: Vec<KeyWay> = Vec::new();
        let others = self.secrets.iter().filter(|known| known.secret != signer.secret);
        for known in std::iter::once(signer).chain(others) {
            let other = (known.secret != signer.secret).then(|| other_secret(signer.standing, known.standing));
            for reading in key_readings(&self.layout.family, known.secret.expose()) {
                let mistakes: Vec<Finding> = other.iter().cloned().chain(reading.mistake).collect();
                if !keys.iter().any(|key| key.bytes == reading.is) {
                    keys.push(KeyWay { mistakes, bytes: reading.is });
                }
            }
        }
        keys
    }
}

fn other_secret(signer: Standing, used: Standing) -> Finding {
    match (signer, used) {
        (_, Standing::Previous { until }) => Finding::new(
            Code::OldSecret,
            format!("Your code uses the secret that was replaced at {}: give it the present one.", rfc3339(until)),
        ),
        (_, Standing::Next { from }) => Finding::new(
            Code::NextSecret,
            format!(
                "Your code uses the secret that is being rotated in, and compares with what the old one signed: until {} \
                 accept both, or look for the new one's signature (`<header>-next`, or the list's second).",
                rfc3339(from)
            ),
        ),
        (Standing::Previous { until }, Standing::Current) => Finding::new(
            Code::OldSecret,
            format!(
                "The request was signed with the secret that counted until {}, and your code uses the present one: what was \
                 sent before a rotation needs the secret of that time.",
                rfc3339(until)
            ),
        ),
        (_, Standing::Current) => Finding::new(
            Code::OldSecret,
            "The request was signed with the secret that is being rotated in, and your code uses the one before it.",
        ),
    }
}

/// The key that a secret stands for, and what is taken for it.
fn key_readings(family: &Family, text: &str) -> Vec<Way<Zeroizing<Vec<u8>>>> {
    let Some(right) = secret::key_bytes(family, text) else { return Vec::new() };
    let prefix = match family {
        Family::Hmac(_, form) => form.strip_prefix.as_deref().filter(|prefix| text.starts_with(prefix)),
        _ => None,
    };
    // What looks like a prefix is taken for one, whether it is or not.
    let looks = text.find('_').filter(|at| *at < 8).and_then(|at| text.get(..=at));
    let prefix = prefix.or(looks).unwrap_or_default();
    let bare = text.strip_prefix(prefix).unwrap_or(text);
    let is = match family {
        Family::Hmac(_, form) => match form.decode {
            SecretDecoding::Utf8 if form.strip_prefix.is_some() => "the secret's text without its prefix",
            SecretDecoding::Utf8 => "the secret's text as it is, with whatever prefix it has",
            SecretDecoding::Base64 => "what the secret's base64 stands for",
            SecretDecoding::Hex => "what the secret's hexadecimal stands for",
        },
        _ => "what the base64 behind `whsec_` stands for",
    };
    let mut ways = vec![Way::right(right.clone())];
    let mut add = |bytes: Option<Vec<u8>>, what: &str| {
        let Some(bytes) = bytes.map(Zeroizing::new) else { return };
        if !ways.iter().any(|way| way.is == bytes) {
            let detail = format!("Your code uses {what} as the key; the key is {is}.");
            ways.push(Way::wrong(Code::KeyMisread, detail, bytes));
        }
    };
    let whole = "the whole text of the secret, with its prefix and not decoded,";
    add(Some(text.as_bytes().to_vec()), if prefix.is_empty() { "the secret's text, not decoded," } else { whole });
    add(Some(bare.as_bytes().to_vec()), "the secret's text without its prefix, not decoded,");
    add(base64_of(bare), "what the secret's text stands for in base64");
    add(hex::decode(bare).ok(), "what the secret's text stands for in hexadecimal");
    add(base64_of(text), "what the whole text of the secret, its prefix included, stands for in base64");
    add(Some(hex::encode(&*right).into_bytes()), "the key written in hexadecimal");
    add(Some(format!("{text}\n").into_bytes()), "the secret's text with a line break at its end");
    add(Some(format!("{text} ").into_bytes()), "the secret's text with a space at its end");
    add(Some(format!("\"{text}\"").into_bytes()), "the secret's text in quotation marks");
    add(Some(Vec::new()), "nothing at all (an environment variable that is not set?)");
    for nothing in ["undefined", "null", "None"] {
        let what = format!("the text `{nothing}` (an environment variable that is not set?)");
        add(Some(nothing.as_bytes().to_vec()), &what);
    }
    ways
}

/// Base64 as lenient libraries read it: either alphabet, what is in neither left out, and a rest that is no byte dropped.
fn base64_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().filter_map(|c| match c {
        '-' => Some('+'),
        '_' => Some('/'),
        c if c.is_ascii_alphanumeric() || matches!(c, '+' | '/') => Some(c),
        _ => None,
    });
    let mut digits: String = digits.collect();
    // A digit alone stands for six bits and no byte.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LOOSE.decode(digits).ok()
}
