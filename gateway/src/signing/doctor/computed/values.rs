//! A computed value: the bytes that it may be the writing of.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::Way;
use crate::domain::Encoding;
use crate::signing::doctor::{Code, Finding};
use crate::signing::scheme::Layout;
use crate::signing::secret::{LENIENT, LENIENT_URL};
use crate::signing::verify::MAX_SIGNATURES;

/// The longest value that is looked at.
const LONGEST: usize = 1_024;
/// Fewer bytes are no signature of any scheme, and could be guessed.
const SHORTEST_SIGNATURE: usize = 20;

/// What a computed value may be the writing of, the scheme's own encoding first.
pub(super) fn readings(layout: &Layout, computed: &str) -> Vec<Way<Vec<u8>>> {
    let computed = computed.trim();
    if computed.len() > LONGEST {
        return Vec::new();
    }
    let claim = layout.grammar.read(&layout.value, std::iter::once(computed.as_bytes()), MAX_SIGNATURES);
    let claimed = claim.map(|claim| claim.signatures.iter().map(|it| it.text.to_vec()).collect()).unwrap_or_default();
    let mut texts: Vec<Vec<u8>> = claimed;
    texts.push(computed.as_bytes().to_vec());
    // Behind whatever prefix: `sha256=…`, `v0=…`, `v1,…`.
    texts.extend(computed.split_once(['=', ',', ':']).map(|(_, rest)| rest.as_bytes().to_vec()));
    let own = layout.encoding;
    let mut values: Vec<Way<Vec<u8>>> = Vec::new();
    for text in &texts {
        for encoding in [own, Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
            let Some(bytes) = decoded(text, encoding) else { continue };
            let twice = [Encoding::Hex, Encoding::Base64].into_iter().find_map(|inner| decoded(&bytes, inner));
            let mistake = match encoding == own {
                true => (encoded(&bytes, own).as_bytes() != text).then(|| {
                    let detail = "Your code writes the signature in another case or with another padding than it has in \
                                  the header: compare bytes, or write it alike.";
                    Finding::new(Code::WrongEncoding, detail)
                }),
                false => Some(wrong_encoding(encoding, own)),
            };
            let mut add = |mistake: Option<Finding>, bytes: Vec<u8>| {
                if bytes.len() >= SHORTEST_SIGNATURE && !values.iter().any(|value| value.is == bytes) {
                    values.push(Way { mistake, is: bytes });
                }
            };
            add(mistake, bytes);
            if let Some(bytes) = twice {
                let detail = "Your code encodes the signature twice: encode the hash's bytes, not its text.";
                add(Some(Finding::new(Code::WrongEncoding, detail)), bytes);
            }
        }
    }
    values
}

fn decoded(text: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => LENIENT.decode(text).ok(),
        Encoding::Base64url => LENIENT_URL.decode(text).ok(),
    }
}

fn encoded(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64url => URL_SAFE_NO_PAD.encode(bytes),
    }
}

fn wrong_encoding(used: Encoding, own: Encoding) -> Finding {
    let name = |encoding| match encoding {
        Encoding::Hex => "hexadecimal",
        Encoding::Base64 => "base64",
        Encoding::Base64url => "base64url",
    };
    let detail =
        format!("Your code writes the signature in {}, and the scheme writes it in {}.", name(used), name(own));
    Finding::new(Code::WrongEncoding, detail)
}
