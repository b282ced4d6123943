//! What descriptions are taken and refused.

use super::*;
use crate::domain::{Algorithm, Encoding, SchemeKind};

fn pointers(errors: &[SchemeError]) -> Vec<&str> {
    errors.iter().map(|error| error.pointer.as_str()).collect()
}

#[test]
fn mistakes_have_their_place_on_both_sides() {
    let long = format!(r#"{{"scheme":"hmac","header":"{}"}}"#, "x".repeat(101));
    let tight = format!(r#"{{"scheme":"hmac","header":"{}"}}"#, "x".repeat(97));
    for (json, expected) in [
        (r#"{"scheme":"standard","header_prefix":"web hook"}"#, &["/header_prefix"][..]),
        (r#"{"scheme":"standard","header_prefix":""}"#, &["/header_prefix"]),
        (r#"{"scheme":"hmac","header":"x sign"}"#, &["/header"]),
        (r#"{"scheme":"hmac","header":""}"#, &["/header"]),
        (r#"{"scheme":"hmac","header":"x-sign\r\nx-evil"}"#, &["/header"]),
        (r#"{"scheme":"hmac","header":"Content-Type"}"#, &["/header"]),
        (r#"{"scheme":"hmac","header":"host"}"#, &["/header"]),
        (&long, &["/header"]),
        (&tight, &["/header"]),
        (r#"{"scheme":"hmac","header":"x-s","algorithm":"ed25519"}"#, &["/algorithm"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{bdy}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"fixed"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{body}{signature}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}.{body}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{id}.{body}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"sha256="}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"{signature}.{signature}"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"{body},{signature}"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"ä{signature}"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"a\r\n{signature}"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":" {signature}"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"v1={signature},v1=x"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","value":"{signature}abc"}"#, &["/value"]),
        (r#"{"scheme":"hmac","header":"x-s","encoding":"base64","value":"{signature}="}"#, &["/value"]),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","value":"{timestamp}{signature}"}"#,
            &["/value"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp_header":"X-S"}"#,
            &["/timestamp_header"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp_header":"x-s-next"}"#,
            &["/timestamp_header"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp_header":"x-t",
                "value":"t={timestamp},v1={signature}"}"#,
            &["/timestamp_header"],
        ),
        // All at once.
        (
            r#"{"scheme":"hmac","header":"x s","algorithm":"ed25519","content":"{x}","value":"","timestamp_header":"y z"}"#,
            &["/algorithm", "/header", "/timestamp_header", "/content", "/value"],
        ),
    ] {
        let errors = Scheme::for_delivery(&serde_json::from_str(json).unwrap()).unwrap_err();
        assert_eq!(pointers(&errors), expected, "{json}: {errors:?}");
        let errors = Scheme::for_source(&serde_json::from_str(json).unwrap()).unwrap_err();
        assert_eq!(pointers(&errors), expected, "{json}: {errors:?}");
    }
}

#[test]
fn the_algorithms_of_the_standard_scheme() {
    for (algorithm, ok) in [
        (None, true),
        (Some(Algorithm::Sha256), true),
        (Some(Algorithm::Ed25519), true),
        (Some(Algorithm::Sha1), false),
        (Some(Algorithm::Sha512), false),
    ] {
        let result = Scheme::for_delivery(&Signing { algorithm, ..Signing::default() });
        assert_eq!(result.is_ok(), ok, "{algorithm:?}");
    }
}

#[test]
fn tolerances_have_bounds() {
    for (tolerance, ok) in [("1s", true), ("5m", true), ("24h", true), ("0s", false), ("999ms", false), ("25h", false)]
    {
        let json = format!(r#"{{"scheme":"standard","tolerance":"{tolerance}"}}"#);
        let result = Scheme::for_source(&serde_json::from_str(&json).unwrap());
        assert_eq!(result.as_ref().err().map(|errors| pointers(errors)), (!ok).then(|| vec!["/tolerance"]), "{json}");
    }
}

#[test]
fn other_families_have_their_own_headers() {
    let json = r#"{"scheme":"standard","header_prefix":"Svix"}"#;
    let headers = signed(&delivery(json), STANDARD_SECRET, None, &parts(b"{}", STANDARD_TIME));
    assert_eq!(
        headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["svix-id", "svix-timestamp", "svix-signature"]
    );
    assert!(verified(&source(json), &[STANDARD_SECRET], &headers, b"{}", STANDARD_TIME).is_ok());
    let scheme = delivery(json);
    assert_eq!(scheme.signature_header().unwrap(), "svix-signature");
    let names: Vec<_> = scheme.header_names().map(HeaderName::as_str).collect();
    assert_eq!(names, ["svix-signature", "svix-id", "svix-timestamp"]);
    assert_eq!(delivery(r#"{"scheme":"none"}"#).header_names().count(), 0);
}

/// Forms beyond named fields: an authorization-like text, a dotted triple, semicolons.
#[test]
fn values_are_read_as_they_are_written() {
    for value in [
        "{signature}",
        "HMAC {signature}",
        r#"Signature keyId="main",signature="{signature}",t="{timestamp}""#,
        "{timestamp}.{id}.{signature}",
        "{id}:{signature}:{timestamp}",
        "ts={timestamp};h1={signature}",
        "alg=hmac t={timestamp} s={signature} i={id}",
    ] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
            let timed = value.contains("{timestamp}");
            let content = match (timed, value.contains("{id}")) {
                (true, true) => "{id}/{timestamp}/{body}",
                (true, false) => "{timestamp}/{body}",
                (false, true) => "{id}/{body}",
                (false, false) => "{body}",
            };
            let signing = Signing {
                scheme: SchemeKind::Hmac,
                header: Some("x-s".into()),
                algorithm: Some(Algorithm::Sha512),
                encoding: Some(encoding),
                content: Some(content.into()),
                value: Some(value.into()),
                ..Signing::default()
            };
            let scheme = Scheme::for_delivery(&signing).unwrap();
            let headers = signed(&scheme, "k", None, &parts(b"{}", 1_000_000));
            let found = verified(&scheme, &["k"], &headers, b"{}", 1_000_300).unwrap();
            assert_eq!(found.timestamp, timed.then_some(1_000_000), "{value}");
            assert!(verified(&scheme, &["k"], &headers, b"{} ", 1_000_300).is_err(), "{value}");
            if timed {
                assert!(verified(&scheme, &["k"], &headers, b"{}", 1_000_301).is_err(), "{value}");
            }
        }
    }
}

#[test]
fn a_debug_print_shows_no_secret() {
    let scheme = delivery(STANDARD);
    let keys = scheme.keys(&secret(STANDARD_SECRET), None).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys(<1 redacted>)");
    assert_eq!(format!("{scheme:?}"), "Scheme(webhook-signature: {signature} over {id}.{timestamp}.{body})");
}
