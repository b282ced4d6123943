//! The rules of a generic verifier, each of which broke something in a real SDK, or would.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

const LOYALI_TIME: i64 = 1_705_766_400;

fn loyali(body: &[u8]) -> HeaderMap {
    signed(&delivery(LOYALI), "k", None, &parts(body, LOYALI_TIME))
}

#[test]
fn rule_1_raw_bytes_need_not_be_utf8() {
    let body = b"\xff\xfe\x00 not text \xc3\x28";
    assert!(verified(&source(LOYALI), &["k"], &loyali(body), body, LOYALI_TIME).is_ok());
    let standard = signed(&delivery(STANDARD), STANDARD_SECRET, None, &parts(body, STANDARD_TIME));
    assert!(verified(&source(STANDARD), &[STANDARD_SECRET], &standard, body, STANDARD_TIME).is_ok());
    // The same JSON in other bytes is another body.
    let headers = loyali(br#"{"a":1.0}"#);
    let other = verified(&source(LOYALI), &["k"], &headers, br#"{"a":1}"#, LOYALI_TIME);
    assert_eq!(other, Err(Rejection::NoMatch));
}

#[test]
fn rule_2_an_unsigned_timestamp_is_no_protection_and_is_refused() {
    for (json, pointer) in [
        (r#"{"scheme":"hmac","header":"x-s","timestamp_header":"x-t"}"#, "/timestamp_header"),
        (r#"{"scheme":"hmac","header":"x-s","value":"t={timestamp},v1={signature}"}"#, "/value"),
        (r#"{"scheme":"hmac","header":"x-s","tolerance":"60s"}"#, "/tolerance"),
    ] {
        let errors = Scheme::for_source(&serde_json::from_str(json).unwrap()).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].pointer, pointer, "{json}");
    }
}

#[test]
fn rule_3_the_tolerance_holds_in_both_directions() {
    let body = b"{}";
    let headers = loyali(body);
    let tight = source(&LOYALI.replace(r#""hmac","#, r#""hmac","tolerance":"10s","#));
    for (scheme, tolerance_s) in [(source(LOYALI), 300), (tight, 10)] {
        for (off, expected) in [
            (0, None),
            (tolerance_s, None),
            (-tolerance_s, None),
            (tolerance_s + 1, Some("stale")),
            (-tolerance_s - 1, Some("future")),
            (100_000, Some("stale")),
            (-100_000, Some("future")),
        ] {
            let found = verified(&scheme, &["k"], &headers, body, LOYALI_TIME + off);
            assert_eq!(found.err().map(|rejection| rejection.as_str()), expected, "{tolerance_s} {off}");
        }
    }
    let stale = verified(&source(LOYALI), &["k"], &headers, body, LOYALI_TIME + 312).unwrap_err();
    assert_eq!(stale, Rejection::Stale { age_s: 312, tolerance_s: 300 });
    assert!(stale.to_string().contains("stale by 312 s"), "{stale}");
    let future = verified(&source(LOYALI), &["k"], &headers, body, LOYALI_TIME - 312).unwrap_err();
    assert!(future.to_string().contains("from the future by 312 s"), "{future}");
}

#[test]
fn rule_4_a_malformed_list_is_a_clean_rejection() {
    let scheme = source(STANDARD);
    for (value, expected) in [
        ("v1", Some("malformed")),
        ("", Some("malformed")),
        ("   ", Some("malformed")),
        (",", Some("malformed")),
        ("v1,", Some("malformed")),
        ("v1,not-base64!", Some("malformed")),
        ("v2,AAAA", Some("malformed")),
        ("v1,AAAA", Some("no_match")),
        (&format!("v1,AAAA v1{STANDARD_SIGNATURE}"), Some("no_match")),
        (&format!("{STANDARD_SIGNATURE} v1"), Some("malformed")),
        (&format!("  {STANDARD_SIGNATURE}   v1,AAAA  "), None),
        (&format!("v9,later v1a,AAAA v1,%%% {STANDARD_SIGNATURE}"), None),
        (STANDARD_SIGNATURE.trim_end_matches('='), None),
    ] {
        let found = verified(&scheme, &[STANDARD_SECRET], &standard_headers(value), STANDARD_BODY, STANDARD_TIME);
        assert_eq!(found.err().map(|rejection| rejection.as_str()), expected, "{value}");
    }

    let body = b"{}";
    let right = loyali(body)["x-loyali-signature"].to_str().unwrap().to_owned();
    let digest = right.rsplit_once('=').unwrap().1.to_owned();
    for (value, expected) in [
        (right.clone(), None),
        (format!(" v1={digest} , t={LOYALI_TIME} "), None),
        (format!("t={LOYALI_TIME},v1=00,v1={digest},v0=abc"), None),
        (format!("t={LOYALI_TIME},v1={}", digest.to_uppercase()), None),
        (format!("v1={digest}"), Some("missing_timestamp")),
        (format!("t=,v1={digest}"), Some("missing_timestamp")),
        (format!("t={LOYALI_TIME}"), Some("malformed")),
        (format!("t={LOYALI_TIME},t={LOYALI_TIME},v1={digest}"), Some("malformed")),
        (format!("t={LOYALI_TIME},v1={digest},junk"), Some("malformed")),
        (format!("t={LOYALI_TIME},v1=zz"), Some("malformed")),
        (format!("t={LOYALI_TIME},v1="), Some("malformed")),
        (format!("t={LOYALI_TIME},v1={digest}00"), Some("no_match")),
        (format!("T={LOYALI_TIME},v1={digest}"), Some("missing_timestamp")),
    ] {
        let found = verified(&source(LOYALI), &["k"], &headers(&[("x-loyali-signature", &value)]), body, LOYALI_TIME);
        assert_eq!(found.err().map(|rejection| rejection.as_str()), expected, "{value}");
    }
}

#[test]
fn rule_5_several_signatures_and_several_secrets() {
    let body = b"{}";
    // Two lines of a header are one list.
    let mut two_lines = standard_headers("v1,AAAA");
    two_lines.append("webhook-signature", HeaderValue::from_static(STANDARD_SIGNATURE));
    let others = ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", STANDARD_SECRET];
    assert!(verified(&source(STANDARD), &others, &two_lines, STANDARD_BODY, STANDARD_TIME).is_ok());

    // A rotation: whoever has either secret verifies, whoever has neither does not.
    let [old, new, none] = [0_u8, 1, 2].map(|byte| {
        use base64::Engine;
        format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
    });
    let rotated = signed(&delivery(STANDARD), &old, Some(&new), &parts(body, STANDARD_TIME));
    let value = rotated["webhook-signature"].to_str().unwrap();
    assert_eq!(value.split(' ').count(), 2);
    let alone = signed(&delivery(STANDARD), &old, None, &parts(body, STANDARD_TIME));
    assert!(value.starts_with(alone["webhook-signature"].to_str().unwrap()), "the old secret comes first");
    for (secrets, ok) in [(vec![&*old], true), (vec![&*new], true), (vec![&*none], false), (vec![&*none, &*new], true)]
    {
        let found = verified(&source(STANDARD), &secrets, &rotated, body, STANDARD_TIME);
        assert_eq!(found.is_ok(), ok);
    }

    // A single-value scheme keeps its header in its own form, so that no receiver breaks.
    let rotated = signed(&delivery(ILARA), "old", Some("new"), &parts(body, 0));
    assert_eq!(
        rotated["x-ilara-signature"],
        signed(&delivery(ILARA), "old", None, &parts(body, 0))["x-ilara-signature"]
    );
    assert_eq!(
        rotated["x-ilara-signature-next"],
        signed(&delivery(ILARA), "new", None, &parts(body, 0))["x-ilara-signature"]
    );
    for (secrets, ok) in [(["old"], true), (["new"], true), (["none"], false)] {
        assert_eq!(verified(&source(ILARA), &secrets, &rotated, body, 0).is_ok(), ok, "{secrets:?}");
    }
    let rotated = signed(&delivery(LOYALI), "old", Some("new"), &parts(body, LOYALI_TIME));
    assert!(rotated["x-loyali-signature-next"].to_str().unwrap().starts_with("t=1705766400,v1="));
    assert!(verified(&source(LOYALI), &["new"], &rotated, body, LOYALI_TIME).is_ok());

    // Two Ed25519 keys.
    let scheme = delivery(ED25519);
    let (old, new) = (scheme.generate_secret(), scheme.generate_secret());
    let rotated = signed(&scheme, old.expose(), Some(new.expose()), &parts(body, STANDARD_TIME));
    for key in [&old, &new] {
        let public = scheme.public_key(key).unwrap();
        assert!(verified(&source(STANDARD), &[&public], &rotated, body, STANDARD_TIME).is_ok());
    }
    // A symmetric secret does not match an asymmetric signature, nor the other way round.
    let found = verified(&source(STANDARD), &[STANDARD_SECRET], &rotated, body, STANDARD_TIME);
    assert_eq!(found, Err(Rejection::NoMatch));
}

#[test]
fn rule_6_the_scheme_says_what_a_prefix_means() {
    // Stripe's `whsec_…` is used as it stands.
    let stripe = LOYALI.replace("X-Loyali-Signature", "Stripe-Signature");
    let body = b"{}";
    let verbatim = signed(&delivery(&stripe), STANDARD_SECRET, None, &parts(body, LOYALI_TIME));
    let keyed = Hmac::<Sha256>::new_from_slice(STANDARD_SECRET.as_bytes()).unwrap();
    let digest = keyed.chain_update(format!("{LOYALI_TIME}.{{}}")).finalize().into_bytes();
    assert_eq!(verbatim["stripe-signature"], format!("t={LOYALI_TIME},v1={}", hex::encode(digest)));

    // A standard one is decoded, padded or not.
    let (padded, unpadded) =
        ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBk=", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBk");
    let one = signed(&delivery(STANDARD), padded, None, &parts(body, STANDARD_TIME));
    assert!(verified(&source(STANDARD), &[unpadded], &one, body, STANDARD_TIME).is_ok());
}

#[test]
fn rule_7_timestamps_are_digits_and_signed_as_written() {
    for text in
        ["", " ", "+1705766400", "-5", "1705766400.0", "1.7e9", "0x65", "１７", "17a", "99999999999999999999999"]
    {
        let mut headers = standard_headers(STANDARD_SIGNATURE);
        headers.insert("webhook-timestamp", HeaderValue::from_bytes(text.as_bytes()).unwrap());
        let found = verified(&source(STANDARD), &[STANDARD_SECRET], &headers, STANDARD_BODY, STANDARD_TIME);
        let kind = found.unwrap_err().as_str();
        assert!(["malformed_timestamp", "missing_timestamp"].contains(&kind), "{text}: {kind}");
    }
    // A leading zero is signed as it stands.
    let mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    let digest = hex::encode(mac.chain_update("01705766400.{}").finalize().into_bytes());
    let value = format!("t=01705766400,v1={digest}");
    let found = verified(&source(LOYALI), &["k"], &headers(&[("x-loyali-signature", &value)]), b"{}", LOYALI_TIME);
    assert_eq!(found.unwrap().timestamp, Some(LOYALI_TIME));
}

#[test]
fn rule_8_the_url_is_the_configured_one() {
    // HubSpot's and Square's way, in Unix seconds.
    let json = r#"{"scheme":"hmac","header":"x-s","encoding":"base64","content":"{method}{url}{body}{timestamp}",
        "timestamp_header":"x-t"}"#;
    let mut headers = signed(&delivery(json), "k", None, &parts(b"{}", LOYALI_TIME));
    headers.insert("host", HeaderValue::from_static("internal:8080"));
    let keys = source(json).keys(&secret("k"), None).unwrap();
    let good = request(&headers, b"{}", LOYALI_TIME);
    assert!(source(json).verify(&keys, &good).is_ok());
    for other in [
        VerifyParts { url: "https://internal:8080/hooks?a=1", ..good },
        VerifyParts { url: "https://example.com/hooks", ..good },
        VerifyParts { method: "PUT", ..good },
    ] {
        assert_eq!(source(json).verify(&keys, &other), Err(Rejection::NoMatch));
    }
}

#[test]
fn rule_9_no_secret_is_never_valid() {
    let headers = standard_headers(STANDARD_SIGNATURE);
    assert_eq!(verified(&source(STANDARD), &[], &headers, STANDARD_BODY, STANDARD_TIME), Err(Rejection::NoSecret));
    let none = delivery(r#"{"scheme":"none"}"#);
    let keys = none.keys(&secret("anything"), None).unwrap();
    assert_eq!(none.verify(&keys, &request(&headers, STANDARD_BODY, STANDARD_TIME)), Err(Rejection::NotSigned));
    assert_eq!(none.sign(&keys, &parts(b"", 0)), Ok(Vec::new()));
    for (scheme, empty) in [(source(ILARA), ""), (source(STANDARD), ""), (source(STANDARD), "whsec_")] {
        assert!(matches!(scheme.keys(&secret(empty), None), Err(KeyError::Unfit(_))));
    }
    // An HMAC with the empty key is something anyone can make.
    let empty = scheme_without_keys();
    assert_eq!(empty, Err(SignError::NoKey));
}

fn scheme_without_keys() -> Result<(), SignError> {
    let scheme = delivery(ILARA);
    let keys = scheme.keys_of([]).unwrap();
    scheme.sign(&keys, &parts(b"{}", 0)).map(|_| ())
}

#[test]
fn rule_10_headers_and_lists_have_limits() {
    let check = |value: &str| {
        verified(&source(STANDARD), &[STANDARD_SECRET], &standard_headers(value), STANDARD_BODY, STANDARD_TIME)
            .err()
            .map(|rejection| rejection.as_str())
    };
    let filler = |count: usize| "v1,AAAA ".repeat(count);
    assert_eq!(check(&format!("{}{STANDARD_SIGNATURE}", filler(MAX_SIGNATURES - 1))), None);
    assert_eq!(check(&format!("{}{STANDARD_SIGNATURE}", filler(MAX_SIGNATURES))), Some("too_many_signatures"));
    assert_eq!(check(&format!("{STANDARD_SIGNATURE} v9,{}", "x".repeat(MAX_HEADER_LEN))), Some("header_too_long"));
    assert_eq!(check(&format!("{STANDARD_SIGNATURE} v9,{}", "x".repeat(4_000))), None);

    let value = format!("t={LOYALI_TIME}{}", ",v1=00".repeat(16));
    let found = verified(&source(LOYALI), &["k"], &headers(&[("x-loyali-signature", &value)]), b"{}", LOYALI_TIME);
    assert_eq!(found.unwrap_err().as_str(), "too_many_signatures");

    let mut long_id = standard_headers(STANDARD_SIGNATURE);
    long_id.insert("webhook-id", HeaderValue::from_str(&"x".repeat(MAX_HEADER_LEN + 1)).unwrap());
    let found = verified(&source(STANDARD), &[STANDARD_SECRET], &long_id, STANDARD_BODY, STANDARD_TIME);
    assert_eq!(found, Err(Rejection::HeaderTooLong(HeaderName::from_static("webhook-id"))));

    let many: Vec<_> = (0..=MAX_KEYS).map(|_| secret("k")).collect();
    assert_eq!(source(ILARA).keys_of(&many).unwrap_err(), KeyError::TooMany(11));
}

#[test]
fn missing_and_repeated_headers_are_named() {
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut headers = standard_headers(STANDARD_SIGNATURE);
        let value = headers.remove(name).unwrap();
        let found = verified(&source(STANDARD), &[STANDARD_SECRET], &headers, STANDARD_BODY, STANDARD_TIME);
        let rejection = found.unwrap_err();
        assert_eq!(rejection, Rejection::MissingHeader(HeaderName::from_static(name)));
        assert_eq!(rejection.to_string(), format!("the header `{name}` is missing"));
        if name != "webhook-signature" {
            headers.append(name, value.clone());
            headers.append(name, value);
            let found = verified(&source(STANDARD), &[STANDARD_SECRET], &headers, STANDARD_BODY, STANDARD_TIME);
            assert_eq!(found, Err(Rejection::RepeatedHeader(HeaderName::from_static(name))));
        }
    }
    let found = verified(&source(LOYALI), &["k"], &headers(&[("x-loyali-signature", "nonsense")]), b"{}", 0);
    assert!(found.unwrap_err().to_string().contains("`t={timestamp},v1={signature}`"));
}

/// `{id}.{timestamp}.{body}` with a dot in the id could be cut at another place.
#[test]
fn an_id_must_not_contain_what_joins_it() {
    let scheme = delivery(STANDARD);
    let keys = scheme.keys(&secret(STANDARD_SECRET), None).unwrap();
    for id in ["a.b", "", "a b", "a\nb", "ä", "a\0"] {
        let parts = SignParts { id, ..parts(b"{}", STANDARD_TIME) };
        assert_eq!(scheme.sign(&keys, &parts), Err(SignError::UnfitId), "{id:?}");
        // A scheme that does not name the id does not care.
        let ilara = delivery(ILARA);
        assert!(ilara.sign(&ilara.keys(&secret("k"), None).unwrap(), &parts).is_ok(), "{id:?}");
    }
    let mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    let json = r#"{"scheme":"hmac","header":"x-s","content":"{id}:{body}","value":"id={id};s={signature}"}"#;
    let digest = hex::encode(mac.chain_update("a.b:{}").finalize().into_bytes());
    let found = verified(&source(json), &["k"], &headers(&[("x-s", &format!("s={digest}; id=a.b"))]), b"{}", 0);
    assert_eq!(found, Ok(Verified { timestamp: None, id: Some("a.b".into()) }));
    let found = verified(&source(json), &["k"], &headers(&[("x-s", &format!("s={digest}; id=a:b"))]), b"{}", 0);
    assert_eq!(found.unwrap_err().as_str(), "malformed_id");
    // An id that is carried and not signed is not vouched for.
    let json = r#"{"scheme":"hmac","header":"x-s","content":"{body}","value":"id={id};s={signature}"}"#;
    let headers = signed(&delivery(json), "k", None, &parts(b"{}", 0));
    assert_eq!(verified(&source(json), &["k"], &headers, b"{}", 0), Ok(Verified { timestamp: None, id: None }));
}
