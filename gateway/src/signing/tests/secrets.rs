//! Secrets, given and made.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

fn encoded(prefix: &str, len: usize) -> String {
    format!("{prefix}{}", BASE64.encode(vec![7_u8; len]))
}

#[test]
fn what_a_given_secret_must_look_like() {
    let pair = delivery(ED25519).generate_secret();
    let mut torn = BASE64.decode(pair.expose().strip_prefix("whsk_").unwrap()).unwrap();
    torn[63] ^= 1;
    let torn = format!("whsk_{}", BASE64.encode(torn));
    for (json, text, ok) in [
        (STANDARD, encoded("whsec_", 24), true),
        (STANDARD, encoded("whsec_", 64), true),
        (STANDARD, encoded("whsec_", 25).trim_end_matches('=').to_owned(), true),
        (STANDARD, encoded("whsec_", 23), false),
        (STANDARD, encoded("whsec_", 65), false),
        (STANDARD, encoded("", 32), false),
        (STANDARD, encoded("whsk_", 32), false),
        (STANDARD, "whsec_not base64, not at all!!!!!!!!!!!".to_owned(), false),
        (STANDARD, String::new(), false),
        (ED25519, encoded("whsk_", 32), true),
        (ED25519, pair.expose().to_owned(), true),
        (ED25519, torn, false),
        (ED25519, encoded("whsk_", 33), false),
        (ED25519, encoded("whsec_", 32), false),
        (ILARA, "s".to_owned(), true),
        (ILARA, "ü".repeat(256), true),
        (ILARA, "x".repeat(513), false),
        (ILARA, String::new(), false),
    ] {
        let result = delivery(json).check_secret(&text);
        assert_eq!(result.is_ok(), ok, "{json} {text}: {result:?}");
        assert_eq!(delivery(json).keys(&secret(&text), None).is_ok(), ok, "{json} {text}");
        if let Err(words) = result {
            assert!(text.len() < 8 || !words.contains(&text), "an error repeats the secret: {words}");
        }
    }
}

/// A source takes what the other product handed out.
#[test]
fn a_source_tells_keys_apart_by_their_prefix() {
    let scheme = source(STANDARD);
    let pair = delivery(ED25519).generate_secret();
    let public = delivery(ED25519).public_key(&pair).unwrap();
    for text in [encoded("whsec_", 16), encoded("whsec_", 75), public, pair.expose().to_owned()] {
        assert_eq!(scheme.check_secret(&text), Ok(()), "{text}");
    }
    // The neutral element: a signature under it can be made for any message.
    let weak = format!("whpk_{}", BASE64.encode([&[1_u8][..], &[0; 31]].concat()));
    for text in [weak, encoded("whpk_", 31), "whpk_".to_owned(), "whsec_".to_owned(), "plain".to_owned()] {
        assert!(scheme.check_secret(&text).is_err(), "{text}");
    }
}

#[test]
fn a_made_secret_is_good_and_new() {
    for (json, prefix, len) in [(STANDARD, "whsec_", 50), (ED25519, "whsk_", 93), (ILARA, "", 64)] {
        let scheme = delivery(json);
        let (one, two) = (scheme.generate_secret(), scheme.generate_secret());
        assert_ne!(one, two);
        assert!(one.expose().starts_with(prefix));
        assert_eq!(one.expose().len(), len, "{json}");
        assert_eq!(scheme.check_secret(one.expose()), Ok(()));
    }
    assert_eq!(delivery(r#"{"scheme":"none"}"#).generate_secret().expose().len(), 64);
    let made = source(STANDARD).generate_secret();
    assert_eq!(delivery(STANDARD).check_secret(made.expose()), Ok(()));
}

#[test]
fn only_private_keys_have_a_public_half() {
    let pair = delivery(ED25519).generate_secret();
    assert!(delivery(ED25519).public_key(&pair).unwrap().starts_with("whpk_"));
    assert_eq!(delivery(STANDARD).public_key(&secret(STANDARD_SECRET)), None);
    assert_eq!(delivery(STANDARD).public_key(&pair), None);
    assert_eq!(delivery(ILARA).public_key(&pair), None);
}
