//! What holds for any scheme, any secret and any request.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;

use super::*;
use crate::domain::{Algorithm, Encoding, SchemeKind};

/// A scheme with a way to make it a secret of 32 bytes.
type Case = (Scheme, fn(&[u8; 32]) -> String);

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let standard: fn(&[u8; 32]) -> String = |bytes| format!("whsec_{}", BASE64.encode(bytes));
    let private: fn(&[u8; 32]) -> String = |bytes| format!("whsk_{}", BASE64.encode(bytes));
    let plain: fn(&[u8; 32]) -> String = |bytes| hex::encode(bytes);
    let mut cases = vec![
        (delivery(STANDARD), standard),
        (delivery(r#"{"scheme":"standard","header_prefix":"svix"}"#), standard),
        (delivery(ED25519), private),
    ];
    for json in [ILARA, LOYALI, INTELLIGEMS, INTELLIGEMS_DELIVERY, LTVBOOST, SLACK] {
        cases.push((delivery(json), plain));
    }
    for json in [
        r#"{"scheme":"hmac","header":"x-s","content":"{body}{timestamp}","value":"v={timestamp},d={signature}",
            "timestamp":{"unit":"ms"}}"#,
        r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","encoding":"base64url",
            "timestamp":{"header":"x-t","format":"rfc3339"},"secret":{"decode":"hex"}}"#,
        r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}\n{body}",
            "timestamp":{"header":"x-t","format":"http_date"},"secret":{"strip_prefix":"k-"}}"#,
    ] {
        cases.push((delivery(json), plain));
    }
    let asymmetric = r#"{"scheme":"asymmetric","algorithm":"ed25519","header":"x-s","content":"{timestamp}{body}",
        "timestamp_header":"x-t"}"#;
    cases.push((delivery(asymmetric), private));
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
            let signing = Signing {
                scheme: SchemeKind::Hmac,
                header: Some("x-s".into()),
                algorithm: Some(algorithm),
                encoding: Some(encoding),
                content: Some("{method}|{url}|{id}|{timestamp}|{body}".into()),
                value: Some("id={id};t={timestamp};s={signature}".into()),
                ..Signing::default()
            };
            cases.push((Scheme::for_delivery(&signing).unwrap(), plain));
        }
    }
    cases
});

fn case() -> impl Strategy<Value = &'static Case> {
    (0..CASES.len()).prop_map(|index| &CASES[index])
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        (scheme, text) in case().prop_map(|case| (&case.0, case.1)),
        key in any::<[u8; 32]>(),
        other in any::<[u8; 32]>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        id in "[a-zA-Z0-9_]{1,40}",
        time in 1_000_i64..4_000_000_000,
        off in -300_i64..=300,
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        prop_assume!(key != other);
        let (key, other) = (text(&key), text(&other));
        let parts = SignParts { id: &id, timestamp_s: time, body: &body, url: URL, method: "POST", headers: no_headers() };
        let headers = signed(scheme, &key, None, &parts);

        let good = verified(scheme, &[&key], &headers, &body, time + off);
        prop_assert!(good.is_ok(), "{:?}", good);
        let good = good.unwrap();
        prop_assert!(good.timestamp.is_none_or(|found| found == time));
        prop_assert!(good.id.is_none_or(|found| found == id));
        prop_assert!(verified(scheme, &[&other, &key], &headers, &body, time).is_ok());

        prop_assert_eq!(verified(scheme, &[&other], &headers, &body, time), Err(Rejection::NoMatch));
        let mut changed = body.clone();
        changed.push(0);
        prop_assert_eq!(verified(scheme, &[&key], &headers, &changed, time), Err(Rejection::NoMatch));
        if !body.is_empty() {
            let mut changed = body.clone();
            let at = flip.0.index(body.len());
            changed[at] ^= flip.1.max(1);
            prop_assert_eq!(verified(scheme, &[&key], &headers, &changed, time), Err(Rejection::NoMatch));
        }
        if good.timestamp.is_some() {
            let stale = verified(scheme, &[&key], &headers, &body, time + 301);
            prop_assert_eq!(stale, Err(Rejection::Stale { age_s: 301, tolerance_s: 300 }));
            let future = verified(scheme, &[&key], &headers, &body, time - 301);
            prop_assert_eq!(future, Err(Rejection::Future { ahead_s: 301, tolerance_s: 300 }));
        }
    }

    #[test]
    fn a_rotation_convinces_holders_of_either_secret(
        (scheme, text) in case().prop_map(|case| (&case.0, case.1)),
        secrets in any::<[[u8; 32]; 3]>(),
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let [old, new, none] = secrets.each_ref().map(text);
        prop_assume!(old != none && new != none);
        let headers = signed(scheme, &old, Some(&new), &parts(&body, 1_000));
        prop_assert!(verified(scheme, &[&old], &headers, &body, 1_000).is_ok());
        prop_assert!(verified(scheme, &[&new], &headers, &body, 1_000).is_ok());
        prop_assert_eq!(verified(scheme, &[&none], &headers, &body, 1_000), Err(Rejection::NoMatch));
    }

    /// Bytes, and texts that look nearly right.
    #[test]
    fn no_header_panics_or_convinces(
        (scheme, text) in case().prop_map(|case| (&case.0, case.1)),
        values in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "(v1a?,|t=|v1=|sha256=|id=|s=|[0-9a-f]{0,9}|[;, =]|[A-Za-z0-9+/=]{0,9}|1000){0,12}".prop_map(String::into_bytes),
            ],
            1..5,
        ),
        body in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut headers = HeaderMap::new();
        let names: Vec<_> = scheme.header_names().cloned().collect();
        for (index, value) in values.iter().enumerate() {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(names[index % names.len()].clone(), value);
            }
        }
        let rejection = verified(scheme, &[&text(&[7; 32])], &headers, &body, 1_000).unwrap_err();
        prop_assert!(!rejection.to_string().is_empty());
    }

    #[test]
    fn no_description_panics_and_what_compiles_is_read_back(
        content in "(\\{(body|timestamp|id|url|method|x)\\}|[a-z.:=,{}]){0,6}",
        value in "(\\{(signature|timestamp|id|body)\\}|[a-z0-9.:=,; \"]){0,8}",
        header in "[a-zA-Z \\-]{0,8}",
        timestamp_header in prop::option::of("[a-z\\-]{1,5}"),
        encoding in prop::sample::select(vec![Encoding::Hex, Encoding::Base64, Encoding::Base64url]),
        time in 0_i64..4_000_000_000,
    ) {
        let signing = Signing {
            scheme: SchemeKind::Hmac,
            header: Some(header),
            encoding: Some(encoding),
            content: Some(content),
            value: Some(value),
            timestamp_header,
            ..Signing::default()
        };
        match Scheme::for_delivery(&signing) {
            Ok(scheme) => {
                let headers = signed(&scheme, "k", None, &parts(b"{}", time));
                let found = verified(&scheme, &["k"], &headers, b"{}", time);
                prop_assert!(found.is_ok(), "{:?} {:?} {:?}", signing, headers, found);
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn no_secret_panics((scheme, _) in case(), text in "(whsec_|whsk_|whpk_)?.{0,100}") {
        let checked = scheme.check_secret(&text);
        prop_assert_eq!(checked.is_ok(), scheme.keys(&secret(&text), None).is_ok());
        let _ = scheme.public_key(&secret(&text));
    }

    #[test]
    fn no_time_panics((scheme, text) in case().prop_map(|case| (&case.0, case.1)), time in any::<i64>(), now in any::<i32>()) {
        let headers = signed(scheme, &text(&[7; 32]), None, &parts(b"{}", time));
        let _ = verified(scheme, &[&text(&[7; 32])], &headers, b"{}", i64::from(now));
    }
}

#[test]
fn a_source_reads_what_a_delivery_of_the_same_description_writes() {
    for json in [STANDARD, ILARA, LOYALI, INTELLIGEMS, LTVBOOST, SLACK] {
        let key = if json == STANDARD { STANDARD_SECRET } else { "k" };
        let headers = signed(&delivery(json), key, None, &parts(b"{}", 1_000));
        assert!(verified(&source(json), &[key], &headers, b"{}", 1_000).is_ok(), "{json}");
        let parsed: Signing = serde_json::from_str(json).unwrap();
        assert!(Scheme::for_source(&parsed).is_ok());
    }
}
