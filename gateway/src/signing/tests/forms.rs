//! The forms beyond one header with an HMAC and a Unix time: other places, times, secrets, keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use super::*;

/// 2026-01-01T00:00:00Z.
const TIME: i64 = 1_767_225_600;

/// A request as a product would send it.
struct Sent {
    headers: HeaderMap,
    body: Vec<u8>,
    url: String,
}

impl Sent {
    fn new(pairs: &[(&str, &str)], body: &str) -> Self {
        Self { headers: headers(pairs), body: body.as_bytes().to_vec(), url: URL.to_owned() }
    }

    /// Signed by the scheme that is to verify it.
    fn signed(mut self, json: &str, key: &str) -> Self {
        let scheme = source(json);
        let parts = SignParts {
            id: "evt_1",
            timestamp_s: TIME,
            body: &self.body,
            url: &self.url,
            method: "POST",
            headers: &self.headers,
        };
        let signature = scheme.sign(&scheme.keys(&secret(key), None).unwrap(), &parts).unwrap();
        self.headers.extend(signature);
        self
    }

    fn verified_at(&self, json: &str, key: &str, now: i64) -> Result<Verified, Rejection> {
        let scheme = source(json);
        let keys = scheme.keys(&secret(key), None).unwrap();
        let request = VerifyParts { url: &self.url, ..request(&self.headers, &self.body, now) };
        scheme.verify(&keys, &request)
    }

    fn verified(&self, json: &str, key: &str) -> Result<Verified, Rejection> {
        self.verified_at(json, key, TIME)
    }
}

fn word<T>(result: &Result<T, Rejection>) -> &'static str {
    result.as_ref().err().map_or("ok", Rejection::as_str)
}

#[test]
fn times_in_other_units_formats_and_places() {
    let webflow = r#"{"scheme":"hmac","header":"x-webflow-signature","content":"{timestamp}:{body}",
        "timestamp":{"header":"x-webflow-timestamp","unit":"ms"}}"#;
    let retell = r#"{"scheme":"hmac","header":"x-retell-signature","content":"{body}{timestamp}",
        "value":"v={timestamp},d={signature}","timestamp":{"unit":"ms"}}"#;
    let zendesk = r#"{"scheme":"hmac","header":"x-zendesk-webhook-signature","encoding":"base64",
        "content":"{timestamp}{body}","timestamp":{"header":"x-zendesk-webhook-signature-timestamp","format":"rfc3339"}}"#;
    let metronome = r#"{"scheme":"hmac","header":"metronome-webhook-signature","content":"{timestamp}\n{body}",
        "timestamp":{"header":"x-metronome-date","fallbacks":["date"],"format":"http_date"}}"#;
    for (json, header, written) in [
        (webflow, "x-webflow-timestamp", "1767225600000"),
        (zendesk, "x-zendesk-webhook-signature-timestamp", "2026-01-01T00:00:00Z"),
        (metronome, "x-metronome-date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        (retell, "", ""),
    ] {
        let sent = Sent::new(&[], "{}").signed(json, "k");
        if !header.is_empty() {
            assert_eq!(sent.headers[header], written);
        }
        for (off, expected) in [(0, "ok"), (300, "ok"), (-300, "ok"), (301, "stale"), (-301, "future")] {
            let found = sent.verified_at(json, "k", TIME + off);
            assert_eq!(word(&found), expected, "{json} {off}");
            assert!(found.is_err() || found.unwrap().timestamp == Some(TIME));
        }
        assert_eq!(word(&sent.verified(json, "other")), "no_match");
    }
    // The fall-back is read where the first header is missing, and not beside it.
    let mut sent = Sent::new(&[], "{}").signed(metronome, "k");
    let date = sent.headers.remove("x-metronome-date").unwrap();
    assert_eq!(sent.verified(metronome, "k"), Err(Rejection::MissingHeader("x-metronome-date".parse().unwrap())));
    sent.headers.insert("date", date);
    assert_eq!(word(&sent.verified(metronome, "k")), "ok");
    sent.headers.insert("x-metronome-date", HeaderValue::from_static("today"));
    let found = sent.verified(metronome, "k").unwrap_err();
    assert_eq!(found.header().unwrap(), "x-metronome-date");
    assert!(found.to_string().contains("is not a time such as `Sat, 31 Jan 2026"), "{found}");
}

/// Linear and Plain: the time is in the body, and so is signed with it.
#[test]
fn a_time_in_the_body() {
    let linear = r#"{"scheme":"hmac","header":"linear-signature","tolerance":"60s",
        "timestamp":{"body":"$.webhookTimestamp","unit":"ms"}}"#;
    let plain = r#"{"scheme":"hmac","header":"plain-request-signature","timestamp":{"body":"$.t","format":"rfc3339"}}"#;
    let sent = Sent::new(&[], r#"{"webhookTimestamp": 1767225600123}"#).signed(linear, "k");
    for (off, expected) in [(0, "ok"), (60, "ok"), (61, "stale"), (-61, "future")] {
        assert_eq!(word(&sent.verified_at(linear, "k", TIME + off)), expected, "{off}");
    }
    for (body, expected) in [
        (r#"{"t":"2026-01-01T00:00:00.5Z"}"#, "ok"),
        (r#"{"t":"2026-01-01"}"#, "malformed_timestamp"),
        (r#"{"t":1767225600}"#, "malformed_timestamp"),
        (r#"{"t":null}"#, "malformed_timestamp"),
        ("{}", "missing_timestamp"),
        ("not JSON", "missing_timestamp"),
    ] {
        let sent = Sent::new(&[], body).signed(plain, "k");
        assert_eq!(word(&sent.verified(plain, "k")), expected, "{body}");
    }
    // Who does not know the secret is told nothing of the body.
    let sent = Sent::new(&[("plain-request-signature", "00")], "not JSON");
    assert_eq!(word(&sent.verified(plain, "k")), "no_match");
}

/// Whoever packs a form signed what is in it; the bytes that came over the wire are not what was signed.
#[test]
fn a_packed_form_is_signed_by_what_is_in_it() {
    let scheme = r#"{"scheme":"hmac","header":"x-s","content":"{form}"}"#;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let right = Sent::new(&[form], "b=2&a=1").signed(scheme, "k").headers["x-s"].to_str().unwrap().to_owned();
    let found = |pairs: &[(&str, &str)], unpacked: Option<&str>| {
        let sent = Sent::new(pairs, "packed");
        let scheme = source(scheme);
        let keys = scheme.keys(&secret("k"), None).unwrap();
        let request = VerifyParts {
            url: &sent.url,
            unpacked: unpacked.map(str::as_bytes),
            ..request(&sent.headers, &sent.body, TIME)
        };
        word(&scheme.verify(&keys, &request))
    };
    let packed = ("content-encoding", "gzip");
    let signed = [form, packed, ("x-s", &*right)];
    for (unpacked, expected) in [
        (None, "still_packed"),
        (Some("b=2&a=1"), "ok"),
        (Some("a=1&b=3"), "no_match"),
        (Some("packed"), "no_match"),
        (Some(""), "no_match"),
    ] {
        assert_eq!(found(&signed, unpacked), expected, "{unpacked:?}");
    }
    // Nothing is unpacked for whoever does not even bring a signature, or brings no form.
    let json = ("content-type", "application/json");
    assert_eq!(found(&[form, packed, ("x-s", "nonsense")], None), "malformed");
    assert_eq!(found(&[form, packed], None), "missing_header");
    assert_eq!(found(&[json, packed, ("x-s", &*right)], None), "not_a_form");
    // What is not packed is read as it came.
    assert_eq!(found(&[form, ("x-s", &*right)], None), "no_match");
    assert_eq!(found(&[form, ("content-encoding", "identity"), ("x-s", &*right)], None), "no_match");
}

#[test]
fn several_headers_and_families() {
    let shopify = r#"{"scheme":"hmac","header":"x-shopify-hmac-sha256","headers":["shopify-hmac-sha256"],
        "encoding":"base64"}"#;
    let mut sent = Sent::new(&[], "{}").signed(shopify, "k");
    let signature = sent.headers.remove("x-shopify-hmac-sha256").unwrap();
    assert_eq!(sent.verified(shopify, "k"), Err(Rejection::MissingHeader("x-shopify-hmac-sha256".parse().unwrap())));
    sent.headers.insert("shopify-hmac-sha256", signature.clone());
    assert_eq!(word(&sent.verified(shopify, "k")), "ok");
    // One right signature is enough, as in Hookdeck's rotation.
    sent.headers.insert("x-shopify-hmac-sha256", HeaderValue::from_static("AAAA"));
    assert_eq!(word(&sent.verified(shopify, "k")), "ok");
    sent.headers.insert("shopify-hmac-sha256", HeaderValue::from_static("AAAA"));
    assert_eq!(word(&sent.verified(shopify, "k")), "no_match");

    let both = r#"{"scheme":"standard","header_prefixes":["svix"]}"#;
    for prefix in ["webhook", "svix"] {
        let json = format!(r#"{{"scheme":"standard","header_prefix":"{prefix}"}}"#);
        let sent = Sent::new(&[], "{}").signed(&json, STANDARD_SECRET);
        assert!(sent.headers.contains_key(format!("{prefix}-id")));
        assert_eq!(word(&sent.verified(both, STANDARD_SECRET)), "ok");
    }
    // The families are not mixed: an id of one does not go with the signature of another.
    let mut mixed = Sent::new(&[], "{}").signed(both, STANDARD_SECRET);
    let id = mixed.headers.remove("webhook-id").unwrap();
    mixed.headers.insert("svix-id", id);
    assert_eq!(mixed.verified(both, STANDARD_SECRET), Err(Rejection::MissingHeader("webhook-id".parse().unwrap())));
}

/// Twitch signs two headers with the body; Trello the URL behind it.
#[test]
fn headers_and_urls_in_the_content() {
    let twitch = r#"{"scheme":"hmac","header":"twitch-eventsub-message-signature","value":"sha256={signature}",
        "content":"{header:Twitch-Eventsub-Message-Id}{timestamp}{body}","tolerance":"10m",
        "timestamp":{"header":"twitch-eventsub-message-timestamp","format":"rfc3339"}}"#;
    let mut sent = Sent::new(&[("twitch-eventsub-message-id", "m1")], "{}").signed(twitch, "k");
    assert_eq!(word(&sent.verified(twitch, "k")), "ok");
    sent.headers.insert("twitch-eventsub-message-id", HeaderValue::from_static("m2"));
    assert_eq!(word(&sent.verified(twitch, "k")), "no_match");
    sent.headers.append("twitch-eventsub-message-id", HeaderValue::from_static("m1"));
    assert_eq!(word(&sent.verified(twitch, "k")), "repeated_header");
    sent.headers.remove("twitch-eventsub-message-id");
    let found = sent.verified(twitch, "k");
    assert_eq!(found, Err(Rejection::MissingHeader("twitch-eventsub-message-id".parse().unwrap())));
    let scheme = source(twitch);
    let unsigned = scheme.sign(&scheme.keys(&secret("k"), None).unwrap(), &parts(b"{}", TIME));
    assert_eq!(unsigned, Err(SignError::MissingHeader("twitch-eventsub-message-id".parse().unwrap())));

    let trello = r#"{"scheme":"hmac","header":"x-trello-webhook","algorithm":"sha1","encoding":"base64",
        "content":"{body}{url}"}"#;
    let mut sent = Sent::new(&[], "{}").signed(trello, "k");
    assert_eq!(word(&sent.verified(trello, "k")), "ok");
    sent.url.push_str("&b=2");
    assert_eq!(word(&sent.verified(trello, "k")), "no_match");
}

/// Twilio, Security, "Validating signatures": the worked example for a form; and a hash in the query for JSON.
#[test]
fn twilio() {
    let form = r#"{"scheme":"hmac","header":"x-twilio-signature","algorithm":"sha1","encoding":"base64",
        "content":"{url}{form}"}"#;
    let mut sent = Sent::new(
        &[
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ],
        "To=%2B18005551212&Digits=1234&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE",
    );
    sent.url = "https://mycompany.com/myapp.php?foo=1&bar=2".to_owned();
    assert_eq!(word(&sent.verified(form, "12345")), "ok");
    assert_eq!(word(&sent.verified(form, "12346")), "no_match");
    sent.body.extend_from_slice(b"&x=1");
    assert_eq!(word(&sent.verified(form, "12345")), "no_match");
    sent.headers.insert("content-type", HeaderValue::from_static("application/json"));
    assert_eq!(word(&sent.verified(form, "12345")), "not_a_form");

    let json = r#"{"scheme":"hmac","header":"x-twilio-signature","algorithm":"sha1","encoding":"base64",
        "content":"{url}","body_hash":{"query":"bodySHA256"}}"#;
    let body = r#"{"a":1}"#;
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(body));
    let with = |query: String| {
        let mut sent = Sent::new(&[], body);
        sent.url = format!("https://example.com/in?{query}");
        sent.signed(json, "k")
    };
    let sent = with(format!("bodySHA256={hash}"));
    assert_eq!(word(&sent.verified(json, "k")), "ok");
    let changed = Sent { body: b"{}".to_vec(), ..sent };
    assert_eq!(word(&changed.verified(json, "k")), "other_body");
    for (query, expected) in [
        ("a=1".to_owned(), "missing_parameter"),
        (format!("bodySHA256={hash}&bodySHA256={hash}"), "repeated_parameter"),
        ("bodySHA256=zz".to_owned(), "other_body"),
    ] {
        assert_eq!(word(&with(query.clone()).verified(json, "k")), expected, "{query}");
    }
}

#[test]
fn secrets_are_decoded_as_the_scheme_says() {
    let plain = r#"{"scheme":"hmac","header":"x-s"}"#;
    let with = |form: &str| format!(r#"{{"scheme":"hmac","header":"x-s","secret":{form}}}"#);
    for (form, text, same_as) in [
        (r#"{"decode":"base64"}"#, "c2VjcmV0", Some("secret")),
        (r#"{"decode":"base64"}"#, "c2VjcmV0Cg", Some("secret\n")),
        (r#"{"decode":"hex"}"#, "736563726574", Some("secret")),
        (r#"{"strip_prefix":"whsec_","decode":"base64"}"#, "whsec_c2VjcmV0", Some("secret")),
        (r#"{"strip_prefix":"whsec_","decode":"base64"}"#, "c2VjcmV0", Some("secret")),
        (r#"{"strip_prefix":"key-"}"#, "key-secret", Some("secret")),
        (r#"{"strip_prefix":"key-"}"#, "key-", None),
        (r#"{"decode":"base64"}"#, "not base64", None),
        (r#"{"decode":"hex"}"#, "xyz", None),
    ] {
        let json = with(form);
        let checked = source(&json).check_secret(text);
        assert_eq!(checked.is_ok(), same_as.is_some(), "{form} {text}: {checked:?}");
        if let Some(same_as) = same_as {
            let sent = Sent::new(&[], "{}").signed(plain, same_as);
            assert_eq!(word(&sent.verified(&json, text)), "ok", "{form} {text}");
        }
    }
    for form in [r#"{"decode":"base64"}"#, r#"{"strip_prefix":"k-","decode":"hex"}"#] {
        let scheme = delivery(&with(form));
        assert_eq!(scheme.check_secret(scheme.generate_secret().expose()), Ok(()), "{form}");
    }
}

/// Discord: Ed25519 in hexadecimal, with the key as Discord shows it and in every other form.
#[test]
fn discord() {
    let json = r#"{"scheme":"asymmetric","algorithm":"ed25519","header":"x-signature-ed25519",
        "content":"{timestamp}{body}","timestamp_header":"x-signature-timestamp"}"#;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref();
    let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), public].concat();
    let signature = hex::encode(pair.sign(format!("{TIME}{{}}").as_bytes()));
    let time = TIME.to_string();
    let sent = Sent::new(&[("x-signature-ed25519", &signature), ("x-signature-timestamp", &time)], "{}");
    let pem = |line: &str| format!("-----BEGIN PUBLIC KEY-----\n{line}\n-----END PUBLIC KEY-----\n");
    for key in [
        hex::encode(public),
        hex::encode_upper(public),
        BASE64.encode(public),
        BASE64.encode(public).trim_end_matches('=').to_owned(),
        BASE64.encode(&spki),
        hex::encode(&spki),
        pem(&BASE64.encode(&spki)),
        format!("whpk_{}", BASE64.encode(public)),
    ] {
        assert_eq!(word(&sent.verified(json, &key)), "ok", "{key}");
    }
    let key = hex::encode(public);
    let other = hex::encode(Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap().public_key().as_ref());
    assert_eq!(word(&sent.verified(json, &other)), "no_match");
    assert_eq!(word(&sent.verified_at(json, &key, TIME + 301)), "stale");
    let changed = Sent { body: b"{ }".to_vec(), headers: sent.headers.clone(), url: URL.to_owned() };
    assert_eq!(word(&changed.verified(json, &key)), "no_match");
    // Discord probes an endpoint with signatures that are none.
    for value in ["", "00", "zz", &"0".repeat(128), &signature[..126]] {
        let sent = Sent::new(&[("x-signature-ed25519", value), ("x-signature-timestamp", &time)], "{}");
        assert!(["malformed", "no_match"].contains(&word(&sent.verified(json, &key))), "{value}");
    }
    let weak = hex::encode([&[1_u8][..], &[0; 31]].concat());
    for unfit in [&weak, "", "secret", "00", &pem("AAAA"), &BASE64.encode(&spki[1..])] {
        assert!(source(json).check_secret(unfit).is_err(), "{unfit}");
    }
    // A subscription signs the same way, with a key of its own.
    let scheme = delivery(json);
    let own = scheme.generate_secret();
    let sent = signed(&scheme, own.expose(), None, &parts(b"{}", TIME));
    let public = scheme.public_key(&own).unwrap();
    assert!(verified(&source(json), &[&public], &sent, b"{}", TIME).is_ok());
}

/// SendGrid: ECDSA over P-256, the key as SPKI in base64, the signature in DER.
#[test]
fn sendgrid() {
    let json = r#"{"scheme":"asymmetric","algorithm":"ecdsa_p256","header":"x-twilio-email-event-webhook-signature",
        "encoding":"base64","content":"{timestamp}{body}","timestamp_header":"x-twilio-email-event-webhook-timestamp"}"#;
    let random = SystemRandom::new();
    let made = || {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap()
    };
    let (pair, other) = (made(), made());
    // RFC 5480: an uncompressed point of the named curve secp256r1.
    let prefix = BASE64.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAA").unwrap();
    let spki = |pair: &EcdsaKeyPair| {
        let point = pair.public_key().as_ref();
        BASE64.encode([&prefix[..prefix.len() - 1], point].concat())
    };
    let time = TIME.to_string();
    let sent = |body: &str| {
        let signature = pair.sign(&random, format!("{TIME}{body}").as_bytes()).unwrap();
        let signature = BASE64.encode(signature.as_ref());
        Sent::new(
            &[
                ("x-twilio-email-event-webhook-signature", &signature),
                ("x-twilio-email-event-webhook-timestamp", &time),
            ],
            body,
        )
    };
    let request = sent("[{\"event\":\"open\"}]\r\n");
    for key in [spki(&pair), hex::encode(pair.public_key().as_ref())] {
        assert_eq!(word(&request.verified(json, &key)), "ok");
    }
    assert_eq!(word(&request.verified(json, &spki(&other))), "no_match");
    assert_eq!(word(&request.verified_at(json, &spki(&pair), TIME - 301)), "future");
    let changed = Sent { headers: sent("a").headers, body: b"b".to_vec(), url: URL.to_owned() };
    assert_eq!(word(&changed.verified(json, &spki(&pair))), "no_match");
    let mut off_curve = pair.public_key().as_ref().to_vec();
    off_curve[64] ^= 1;
    for unfit in [hex::encode(&off_curve), hex::encode(&off_curve[..33]), "x".to_owned(), String::new()] {
        assert!(source(json).check_secret(&unfit).is_err(), "{unfit}");
    }
    let errors = Scheme::for_delivery(&serde_json::from_str(json).unwrap()).unwrap_err();
    assert_eq!(errors[0].pointer, "/algorithm");
    // There is nothing to sign with.
    let scheme = source(json);
    let keys = scheme.keys(&secret(&spki(&pair)), None).unwrap();
    assert_eq!(scheme.sign(&keys, &parts(b"", 0)), Err(SignError::NoKey));
}

#[test]
fn shared_secrets() {
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let header = r#"{"scheme":"shared","in":"header","name":"X-Gitlab-Token"}"#;
    let bearer = r#"{"scheme":"shared","in":"bearer"}"#;
    let any_user = r#"{"scheme":"shared","in":"basic"}"#;
    let user = r#"{"scheme":"shared","in":"basic","name":"hook"}"#;
    let query = r#"{"scheme":"shared","in":"query","name":"token"}"#;
    for (json, name, value, expected) in [
        (header, "x-gitlab-token", "s3cret", "ok"),
        (header, "x-gitlab-token", "s3cre", "wrong_secret"),
        (header, "x-gitlab-token", "s3crets", "wrong_secret"),
        (header, "x-gitlab-token", "", "wrong_secret"),
        (header, "x-other", "s3cret", "missing_header"),
        (bearer, "authorization", "Bearer s3cret", "ok"),
        (bearer, "authorization", "bearer  s3cret", "ok"),
        (bearer, "authorization", "Bearer S3cret", "wrong_secret"),
        (bearer, "authorization", "s3cret", "malformed"),
        (bearer, "authorization", "Basic s3cret", "malformed"),
        (bearer, "authorization", "Bearers3cret", "malformed"),
        (any_user, "authorization", &basic("anyone:s3cret"), "ok"),
        (any_user, "authorization", &basic(":s3cret"), "ok"),
        (any_user, "authorization", &basic("s3cret"), "malformed"),
        (any_user, "authorization", "Basic %%%", "malformed"),
        (user, "authorization", &basic("hook:s3cret"), "ok"),
        (user, "authorization", &basic("hook:s3cret:"), "wrong_secret"),
        (user, "authorization", &basic("other:s3cret"), "wrong_user"),
        (query, "x", "", "missing_parameter"),
    ] {
        let found = Sent::new(&[(name, value)], "{}").verified(json, "s3cret");
        assert_eq!(word(&found), expected, "{json} {value}");
        let said = found.err().map(|rejection| rejection.to_string()).unwrap_or_default();
        assert!(!said.contains("s3cret") && !said.contains("S3cret"), "{said}");
    }
    for (query_text, expected) in [
        ("token=s3cret", "ok"),
        ("a=1&token=s3c%72et", "ok"),
        ("token=other", "wrong_secret"),
        ("token=s3cret&token=s3cret", "repeated_parameter"),
        ("Token=s3cret", "missing_parameter"),
    ] {
        let sent = Sent { url: format!("https://example.com/in?{query_text}"), ..Sent::new(&[], "{}") };
        assert_eq!(word(&sent.verified(query, "s3cret")), expected, "{query_text}");
    }
    let mut twice = Sent::new(&[("x-gitlab-token", "s3cret")], "{}");
    twice.headers.append("x-gitlab-token", HeaderValue::from_static("other"));
    assert_eq!(word(&twice.verified(header, "s3cret")), "repeated_header");
    // In a rotation any of the secrets will do.
    for (secrets, ok) in [(&["a", "s3cret"][..], true), (&["s3cret", "b"], true), (&["a", "b"], false)] {
        let found = verified(&source(header), secrets, &headers(&[("x-gitlab-token", "s3cret")]), b"", TIME);
        assert_eq!(found.is_ok(), ok, "{secrets:?}");
    }
    let scheme = source(header);
    assert_eq!(format!("{scheme:?}"), "Scheme(x-gitlab-token: <secret>)");
    assert!(!scheme.signs() && scheme.check_secret("").is_err());
}

#[test]
fn mistakes_in_these_forms_have_their_places() {
    for (json, expected) in [
        (r#"{"scheme":"none"}"#, &["/scheme"][..]),
        (r#"{"scheme":"standard","algorithm":"ed25519"}"#, &["/algorithm"]),
        (r#"{"scheme":"standard","header":"x-s"}"#, &["/header"]),
        (r#"{"scheme":"standard","header_prefixes":["a","b","c","d","e"]}"#, &["/header_prefixes"]),
        (r#"{"scheme":"standard","header_prefixes":["svix",""]}"#, &["/header_prefixes/1"]),
        (r#"{"scheme":"hmac"}"#, &["/header"]),
        (r#"{"scheme":"hmac","header":"x-s","in":"query"}"#, &["/in"]),
        (r#"{"scheme":"hmac","header":"x-s","headers":["host"]}"#, &["/headers/0"]),
        (r#"{"scheme":"hmac","header":"x-s","secret":{"strip_prefix":""}}"#, &["/secret/strip_prefix"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{url}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{form}{body}"}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{body}","body_hash":{"query":"h"}}"#, &["/content"]),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{url}","body_hash":{"query":"","algorithm":"ed25519"}}"#,
            &["/body_hash/algorithm", "/body_hash/query"],
        ),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{}}"#, &["/timestamp"]),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{"header":"x-t"}}"#, &["/timestamp/header"]),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp":{"header":"x-s"}}"#,
            &["/timestamp/header"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp_header":"x-t",
                "timestamp":{"header":"x-u"}}"#,
            &["/timestamp_header"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}",
                "timestamp":{"header":"x-t","format":"rfc3339","unit":"ms"}}"#,
            &["/timestamp/unit"],
        ),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","value":"t={timestamp},s={signature}",
                "timestamp":{"format":"http_date"}}"#,
            &["/timestamp/format"],
        ),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{"body":"$..t"}}"#, &["/timestamp/body"]),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{"body":"t"}}"#, &["/timestamp/body"]),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{"header":"x-t","body":"$.t"}}"#, &["/timestamp/body"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","timestamp":{"body":"$.t"}}"#, &["/content"]),
        (r#"{"scheme":"hmac","header":"x-s","content":"{form}","timestamp":{"body":"$.t"}}"#, &["/timestamp/body"]),
        (
            r#"{"scheme":"hmac","header":"x-s","content":"{timestamp}{body}","value":"t={timestamp},s={signature}",
                "timestamp":{"fallbacks":["date"]}}"#,
            &["/timestamp/fallbacks", "/timestamp/fallbacks/0"],
        ),
        (r#"{"scheme":"asymmetric","header":"x-s"}"#, &["/algorithm"]),
        (r#"{"scheme":"asymmetric","header":"x-s","algorithm":"sha256"}"#, &["/algorithm"]),
        (r#"{"scheme":"asymmetric","header":"x-s","algorithm":"ed25519","secret":{"decode":"hex"}}"#, &["/secret"]),
        (r#"{"scheme":"shared"}"#, &["/in"]),
        (r#"{"scheme":"shared","in":"header"}"#, &["/name"]),
        (r#"{"scheme":"shared","in":"header","name":"a b"}"#, &["/name"]),
        (r#"{"scheme":"shared","in":"bearer","name":"x"}"#, &["/name"]),
        (r#"{"scheme":"shared","in":"basic","name":"a:b"}"#, &["/name"]),
        (r#"{"scheme":"shared","in":"query"}"#, &["/name"]),
        (r#"{"scheme":"shared","in":"bearer","tolerance":"5m"}"#, &["/tolerance"]),
    ] {
        let errors = Scheme::for_source(&serde_json::from_str(json).unwrap()).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, expected, "{json}: {errors:?}");
    }
    // What is there to verify is refused where something is to be signed.
    for (json, expected) in [
        (r#"{"scheme":"shared","in":"bearer"}"#, &["/scheme"][..]),
        (r#"{"scheme":"none","header":"x-s"}"#, &["/header"]),
        (r#"{"scheme":"standard","header_prefixes":["svix"],"tolerance":"5m"}"#, &["/header_prefixes", "/tolerance"]),
        (r#"{"scheme":"hmac","header":"x-s","headers":["x-t"]}"#, &["/headers"]),
        (
            r#"{"scheme":"hmac","header":"x-s","timestamp":{"header":"x-t","fallbacks":["x-u"]}}"#,
            &["/timestamp/fallbacks"],
        ),
        (r#"{"scheme":"hmac","header":"x-s","timestamp":{"body":"$.t"}}"#, &["/timestamp/body"]),
    ] {
        let errors = Scheme::for_delivery(&serde_json::from_str(json).unwrap()).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, expected, "{json}: {errors:?}");
    }
}
