//! The doctor: every diagnosis, in every kind of scheme that has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::*;

/// 2026-01-01T00:00:00Z.
const TIME: i64 = 1_767_225_600;
const BODY: &str = r#"{"id":"evt_1","amount":100.0,"name":"Zoë"}"#;
const BASE64_HEADER: &str = r#"{"scheme":"hmac","header":"X-Acme-Hmac","encoding":"base64"}"#;
const HEX_KEY: &str = r#"{"scheme":"hmac","header":"X-Acme-Hmac","secret":{"decode":"hex"}}"#;
const WITH_URL: &str = r#"{"scheme":"hmac","header":"X-Acme-Hmac","content":"{method}{url}{body}"}"#;
const MILLISECONDS: &str = r#"{"scheme":"hmac","header":"X-Acme-Hmac","content":"{timestamp}.{body}",
    "timestamp":{"header":"X-Acme-Time","unit":"ms"}}"#;

/// The schemes, each with a secret.
const SCHEMES: [(&str, &str); 9] = [
    (STANDARD, STANDARD_SECRET),
    (ED25519, ""),
    (ILARA, "ilara-secret"),
    (LOYALI, "whsec_loyali"),
    (SLACK, "slack-secret"),
    (BASE64_HEADER, "secret"),
    (HEX_KEY, "00112233445566778899aabbccddeeff"),
    (WITH_URL, "secret"),
    (MILLISECONDS, "secret"),
];

/// A request that was sent, and what is known of it.
struct Scene {
    scheme: Scheme,
    secrets: Vec<KnownSecret>,
    sent: SentRequest,
}

/// What a receiver pastes; whatever is not changed is as it was sent.
struct Paste {
    headers: HeaderMap,
    body: Vec<u8>,
    url: String,
    now: i64,
    recorded: bool,
    computed: Option<String>,
}

impl Scene {
    fn new(json: &str, text: &str) -> Self {
        let scheme = delivery(json);
        let own = if text.is_empty() { scheme.generate_secret() } else { secret(text) };
        let keys = scheme.keys(&own, None).unwrap();
        let signed = scheme.sign(&keys, &parts(BODY.as_bytes(), TIME)).unwrap();
        let sent = SentRequest {
            headers: signed.into_iter().collect(),
            body: BODY.as_bytes().to_vec(),
            url: URL.to_owned(),
            method: "POST".to_owned(),
        };
        Self { scheme, secrets: vec![KnownSecret { secret: own, standing: Standing::Current }], sent }
    }

    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        SCHEMES.into_iter().map(|(json, text)| (json, Self::new(json, text)))
    }

    fn paste(&self) -> Paste {
        let SentRequest { headers, body, url, .. } = self.sent.clone();
        Paste { headers, body, url, now: TIME, recorded: true, computed: None }
    }

    fn diagnosis(&self, paste: &Paste) -> Diagnosis {
        let products = [("x-hub-signature-256".parse().unwrap(), "GitHub".to_owned())];
        let case = Case {
            received: VerifyParts {
                headers: &paste.headers,
                body: &paste.body,
                unpacked: None,
                url: &paste.url,
                method: "POST",
                now: at(paste.now),
            },
            sent: if paste.recorded { std::slice::from_ref(&self.sent) } else { &[] },
            secrets: &self.secrets,
            computed: paste.computed.as_deref(),
            products: &products,
        };
        let found = self.scheme.diagnose(&case).unwrap();
        self.check_silence(&found, paste.computed.as_deref());
        found
    }

    /// Nothing that is found has a secret or a signature in it.
    fn check_silence(&self, found: &Diagnosis, computed: Option<&str>) {
        let header = self.scheme.signature_header().unwrap();
        let value = self.sent.headers.get(header).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let signatures = value.split(['=', ',']).filter(|part| part.len() > 20);
        let secrets = self.secrets.iter().map(|known| known.secret.expose());
        for hidden in signatures.chain(secrets).chain(computed).filter(|text| text.len() > 8) {
            let shown = found.findings.iter().find(|finding| finding.detail.contains(hidden));
            assert!(shown.is_none(), "{shown:?} shows {hidden}");
        }
    }

    /// The codes of what is found.
    fn codes(&self, paste: &Paste) -> Vec<&'static str> {
        self.diagnosis(paste).findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    fn with(&self, change: impl FnOnce(&mut Paste)) -> Paste {
        let mut paste = self.paste();
        change(&mut paste);
        paste
    }

    fn with_computed(&self, computed: impl Into<String>) -> Paste {
        self.with(|paste| paste.computed = Some(computed.into()))
    }
}

fn renamed(headers: &mut HeaderMap, from: &HeaderName, to: &str) {
    let value = headers.remove(from).unwrap();
    headers.insert(HeaderName::try_from(to).unwrap(), value);
}

#[test]
fn what_is_as_it_was_sent_is_genuine() {
    for (json, scene) in Scene::all() {
        let found = scene.diagnosis(&scene.paste());
        assert!(found.is_genuine && found.findings[0].code == Code::Genuine, "{json}: {found:?}");
        let unrecorded = scene.with(|paste| paste.recorded = false);
        assert_eq!(scene.codes(&unrecorded), ["genuine"], "{json}");
    }
    let none = Scheme::for_delivery(&serde_json::from_str(r#"{"scheme":"none"}"#).unwrap()).unwrap();
    let scene = Scene::new(STANDARD, STANDARD_SECRET);
    let received = request(&scene.sent.headers, b"", TIME);
    let case = Case { received, sent: &[], secrets: &[], computed: None, products: &[] };
    assert_eq!(none.diagnose(&case), None);
}

#[test]
fn bodies_are_compared_with_what_was_sent() {
    for (json, scene) in Scene::all() {
        for (body, code, says) in [
            (r#"{"id": "evt_1", "amount": 100.0, "name": "Zoë"}"#, "body_reserialized", "white space"),
            (r#"{"id":"evt_1","amount":100,"name":"Zoë"}"#, "body_reserialized", "the writing of numbers"),
            (&format!("{BODY}\n"), "body_reserialized", "line break"),
            (r#"{"id":"evt_1","amount":1000.0,"name":"Zoë"}"#, "body_changed", "`/amount`"),
            ("", "body_changed", "is empty"),
        ] {
            let paste = scene.with(|paste| paste.body = body.as_bytes().to_vec());
            let found = scene.diagnosis(&paste);
            assert!(!found.is_genuine, "{json} {body}");
            assert_eq!((found.findings.len(), found.findings[0].code.as_str()), (1, code), "{json}: {found:?}");
            assert!(found.findings[0].detail.contains(says), "{json}: {found:?}");
        }
    }
}

/// Without a record a body that was written anew shows if it was sent as some usual writer has it.
#[test]
fn bodies_without_a_record() {
    for (json, scene) in Scene::all() {
        for (body, codes) in [
            (r#"{"id": "evt_1", "amount": 100.0, "name": "Zo\u00eb"}"#, ["body_reserialized", "not_recorded"]),
            (&format!("{BODY}\n"), ["body_reserialized", "not_recorded"]),
            (r#"{"id":"evt_1","amount":1000.0,"name":"Zoë"}"#, ["unexplained", "not_recorded"]),
        ] {
            let paste = scene.with(|paste| (paste.body, paste.recorded) = (body.as_bytes().to_vec(), false));
            assert_eq!(scene.codes(&paste), codes, "{json} {body}");
        }
    }
}

#[test]
fn times_that_are_off() {
    let mut timed = 0;
    for (json, scene) in
        Scene::all().filter(|(json, _)| [STANDARD, ED25519, LOYALI, SLACK, MILLISECONDS].contains(json))
    {
        for (off, code, says) in [
            (300, "genuine", "genuine"),
            (312, "stale", "312 s stale: receivers tolerate 300 s"),
            (-301, "future", "301 s"),
        ] {
            let found = scene.diagnosis(&scene.with(|paste| paste.now = TIME + off));
            let first = &found.findings[0];
            assert_eq!((found.findings.len(), first.code.as_str()), (1, code), "{json} {off}: {found:?}");
            assert!(first.detail.contains(says), "{json} {off}: {found:?}");
            assert_eq!(first.off_s, (code != "genuine").then_some(off.unsigned_abs()));
            timed += 1;
        }
        // Both are said, the cause first.
        let both = scene.with(|paste| (paste.body, paste.now) = (b"{}".to_vec(), TIME + 312));
        assert_eq!(scene.codes(&both), ["body_changed", "stale"], "{json}");
    }
    assert_eq!(timed, 15);
    // What has no time is never stale.
    let ilara = Scene::new(ILARA, "ilara-secret");
    assert_eq!(ilara.codes(&ilara.with(|paste| paste.now = TIME + 99_999)), ["genuine"]);
}

#[test]
fn headers_that_are_elsewhere() {
    for (json, scene) in Scene::all() {
        let own = scene.scheme.signature_header().unwrap().clone();
        let cgi = format!("HTTP_{}", own.as_str().replace('-', "_"));
        for name in [&cgi, &own.as_str().replace('-', "_"), "x-forwarded-proof"] {
            let found = scene.diagnosis(&scene.with(|paste| renamed(&mut paste.headers, &own, name)));
            assert_eq!(found.findings.len(), 1, "{json} {name}: {found:?}");
            assert_eq!(found.findings[0].code, Code::HeaderRenamed, "{json} {name}");
            assert!(found.findings[0].detail.contains(&format!("came as `{}`", name.to_lowercase())), "{found:?}");
            assert_eq!(found.findings[0].header.as_ref(), Some(&own));
        }
        let gone = scene.with(|paste| drop(paste.headers.remove(&own)));
        assert_eq!(scene.codes(&gone), ["header_missing"], "{json}");
        let other = scene.with(|paste| {
            paste.headers.remove(&own);
            paste.headers.insert("x-hub-signature-256", HeaderValue::from_static("sha256=00"));
        });
        let found = scene.diagnosis(&other);
        assert_eq!(found.findings[0].code, Code::OtherScheme, "{json}: {found:?}");
        assert!(found.findings[0].detail.contains("GitHub"), "{found:?}");
        // A header that is found again does not hide what else is wrong.
        let both = scene.with(|paste| {
            renamed(&mut paste.headers, &own, &cgi);
            paste.body = b"{}".to_vec();
        });
        assert_eq!(scene.codes(&both), ["header_renamed", "body_changed"], "{json}");
        let twice = scene.with(|paste| {
            let value = paste.headers[&own].clone();
            paste.headers.insert(&own, HeaderValue::from_static("?"));
            paste.headers.append("x-a", value);
        });
        assert_eq!(scene.codes(&twice)[0], "header_malformed", "{json}");
    }
    let scene = Scene::new(STANDARD, STANDARD_SECRET);
    let family = scene.with(|paste| {
        for suffix in ["id", "timestamp", "signature"] {
            let from = HeaderName::try_from(format!("webhook-{suffix}")).unwrap();
            renamed(&mut paste.headers, &from, &format!("svix-{suffix}"));
        }
    });
    let found = scene.diagnosis(&family);
    assert_eq!((found.findings.len(), found.findings[0].code), (1, Code::HeaderRenamed), "{found:?}");
    assert!(found.findings[0].detail.contains("`svix-…`"), "{found:?}");
    for name in ["webhook-id", "webhook-timestamp"] {
        let found = scene.diagnosis(&scene.with(|paste| drop(paste.headers.remove(name))));
        assert_eq!(found.findings[0].code, Code::HeaderMissing, "{found:?}");
        assert_eq!(found.findings[0].header.as_ref().unwrap(), name);
    }
}

#[test]
fn parts_that_were_changed() {
    let (standard, slack) = (Scene::new(STANDARD, STANDARD_SECRET), Scene::new(SLACK, "slack-secret"));
    let loyali = Scene::new(LOYALI, "whsec_loyali");
    let url = Scene::new(WITH_URL, "secret");
    let set = |scene: &Scene, name: &'static str, value: &str| {
        scene.codes(&scene.with(|paste| drop(paste.headers.insert(name, HeaderValue::from_str(value).unwrap()))))
    };
    assert_eq!(set(&standard, "webhook-id", "evt_2"), ["id_changed"]);
    assert_eq!(set(&standard, "webhook-timestamp", "1767225601"), ["timestamp_changed"]);
    assert_eq!(set(&slack, "x-slack-request-timestamp", "1767225601"), ["timestamp_changed"]);
    let value = loyali.sent.headers["x-loyali-signature"].to_str().unwrap().replace("t=1767225600", "t=1767225601");
    assert_eq!(set(&loyali, "x-loyali-signature", &value), ["timestamp_changed"]);
    let other = Scene::new(STANDARD, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let value = other.sent.headers["webhook-signature"].to_str().unwrap();
    assert_eq!(set(&standard, "webhook-signature", value), ["signature_changed"]);
    let proxied = url.with(|paste| paste.url = "http://10.0.0.1/hooks?a=1".to_owned());
    assert_eq!(url.codes(&proxied), ["other_target"]);
    // The headers of another subscription, and nothing that they could be compared with.
    let paste = standard.with(|paste| (paste.headers, paste.recorded) = (other.sent.headers.clone(), false));
    assert_eq!(standard.codes(&paste), ["unexplained", "not_recorded"]);
    // What was recorded before the settings changed.
    let mut changed = Scene::new(STANDARD, STANDARD_SECRET);
    changed.scheme = delivery(r#"{"scheme":"standard","header_prefix":"acme"}"#);
    assert_eq!(changed.codes(&changed.paste()), ["header_renamed"]);
    changed.scheme = delivery(ILARA);
    assert_eq!(changed.codes(&changed.paste()), ["header_missing", "other_scheme"]);
}

#[test]
fn secrets_that_were_replaced() {
    let until = at(TIME + 60);
    for (json, mut scene) in Scene::all() {
        let current = scene.scheme.generate_secret();
        let old = KnownSecret { standing: Standing::Previous { until }, ..scene.secrets.remove(0) };
        scene.secrets = vec![KnownSecret { secret: current, standing: Standing::Current }, old];
        let found = scene.diagnosis(&scene.paste());
        assert_eq!((found.findings.len(), found.findings[0].code), (1, Code::OldSecret), "{json}: {found:?}");
        assert!(found.findings[0].detail.contains("until 2026-01-01T00:01:00.000Z"), "{found:?}");
        // A secret that nobody remembers.
        scene.secrets.truncate(1);
        assert_eq!(scene.codes(&scene.paste()), ["unexplained"], "{json}");
    }
    let mut scene = Scene::new(ILARA, "ilara-secret");
    scene.secrets.push(KnownSecret { secret: secret("new"), standing: Standing::Next { from: until } });
    let found = scene.diagnosis(&scene.paste());
    assert!(found.findings[0].detail.contains("`x-ilara-signature-next` with the new one"), "{found:?}");
    // The one beside it is enough for who has the new secret.
    let headers = signed(&scene.scheme, "ilara-secret", Some("new"), &parts(BODY.as_bytes(), TIME));
    let beside = scene.with(|paste| {
        paste.headers = headers;
        paste.headers.remove("x-ilara-signature").unwrap();
    });
    assert_eq!(scene.codes(&beside), ["genuine"]);
}

fn sha256(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

fn sha256_hex(key: &[u8], parts: &[&str]) -> String {
    hex::encode(sha256(key, parts))
}

/// What a receiver in Standard Webhooks computes, and its mistake.
#[test]
fn computed_in_the_standard_scheme() {
    let scene = Scene::new(STANDARD, STANDARD_SECRET);
    let bare = STANDARD_SECRET.trim_start_matches("whsec_");
    let key = BASE64.decode(bare).unwrap();
    let content = format!("evt_1.{TIME}.{BODY}");
    let right = BASE64.encode(sha256(&key, &[&content]));
    let b64 = |key: &[u8], content: &str| BASE64.encode(sha256(key, &[content]));
    let spaced = r#"{"id": "evt_1", "amount": 100.0, "name": "Zo\u00eb"}"#;
    // As Node.js reads it: `_` is a digit of base64, too.
    let whole = BASE64.decode(STANDARD_SECRET.replace('_', "/") + "==").unwrap_or_default();
    for (computed, codes, says) in [
        (right.clone(), vec!["computed_right"], "computes the right signature"),
        (format!("v1,{right}"), vec!["computed_right"], "`v1,<signature>`"),
        (
            hex::encode(sha256(&key, &[&content])),
            vec!["wrong_encoding"],
            "in hexadecimal, and the scheme writes it in base64",
        ),
        (right.trim_end_matches('=').to_owned(), vec!["wrong_encoding"], "another padding"),
        (BASE64.encode(hex::encode(sha256(&key, &[&content]))), vec!["wrong_encoding"], "twice"),
        (b64(STANDARD_SECRET.as_bytes(), &content), vec!["key_misread"], "with its prefix and not decoded, as the key"),
        (b64(bare.as_bytes(), &content), vec!["key_misread"], "without its prefix, not decoded,"),
        (b64(&whole, &content), vec!["key_misread"], "its prefix included, stands for in base64"),
        (b64(hex::encode(&key).as_bytes(), &content), vec!["key_misread"], "the key written in hexadecimal"),
        (b64(b"", &content), vec!["key_misread"], "nothing at all"),
        (b64(b"undefined", &content), vec!["key_misread"], "`undefined`"),
        (
            b64(&key, BODY),
            vec!["wrong_content"],
            "the body alone (`{body}`), and the scheme signs `{id}.{timestamp}.{body}`",
        ),
        (b64(&key, &format!("{TIME}.{BODY}")), vec!["wrong_content"], "no id"),
        (b64(&key, &format!("evt_1.{BODY}")), vec!["wrong_content"], "no timestamp"),
        (b64(&key, &format!("{TIME}.evt_1.{BODY}")), vec!["wrong_content"], "in each other's place"),
        (b64(&key, &format!("evt_1{TIME}{BODY}")), vec!["wrong_content"], "without what stands between them"),
        (b64(&key, &format!("evt_1.{TIME}000.{BODY}")), vec!["wrong_content"], "in milliseconds"),
        (b64(&key, &format!("evt_1.{TIME}.{spaced}")), vec!["body_reserialized"], "json.dumps"),
        (b64(&key, &format!("evt_1.{TIME}.")), vec!["body_changed"], "an empty body"),
        (b64(&key, &format!("evt_1.{TIME}.[object Object]")), vec!["body_changed"], "[object Object]"),
        // Two at a time.
        (hex::encode(sha256(STANDARD_SECRET.as_bytes(), &[&content])), vec!["key_misread", "wrong_encoding"], "prefix"),
        (b64(STANDARD_SECRET.as_bytes(), BODY), vec!["key_misread", "wrong_content"], "prefix"),
        (b64(b"another secret", &content), vec!["computed_unexplained"], "none of the usual mistakes"),
        ("yes".to_owned(), vec!["computed_unexplained"], "is no signature"),
        ("x".repeat(5_000), vec!["computed_unexplained"], "is no signature"),
    ] {
        let paste = scene.with_computed(&computed);
        let found = scene.diagnosis(&paste);
        assert_eq!(scene.codes(&paste), codes, "{says}: {found:?}");
        assert!(found.findings[0].detail.contains(says), "{says}: {found:?}");
        assert!(found.is_genuine, "the request itself is: {found:?}");
    }
}

/// The same in schemes of one header.
#[test]
fn computed_in_other_schemes() {
    let sha1 = |key: &[u8], content: &str| {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
        mac.update(content.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    let stripe = format!("{TIME}.{BODY}");
    let hex_secret = "00112233445566778899aabbccddeeff";
    let hex_key = hex::decode(hex_secret).unwrap();
    let right = sha256_hex(b"ilara-secret", &[BODY]);
    let minus_prefix = "loyali";
    for (json, text, computed, codes, says) in [
        (ILARA, "ilara-secret", right.clone(), vec!["computed_right"], "`sha256={signature}`"),
        (ILARA, "ilara-secret", format!("sha256={right}"), vec!["computed_right"], "right"),
        (ILARA, "ilara-secret", right.to_uppercase(), vec!["wrong_encoding"], "another case"),
        (
            ILARA,
            "ilara-secret",
            sha1(b"ilara-secret", BODY),
            vec!["wrong_algorithm"],
            "HMAC-SHA-1, and the scheme HMAC-SHA-256",
        ),
        (ILARA, "ilara-secret", sha256_hex(b"ilara-secret\n", &[BODY]), vec!["key_misread"], "line break"),
        (
            ILARA,
            "ilara-secret",
            sha256_hex(b"ilara-secret", &[&BODY.replace("100.0", "100")]),
            vec!["body_reserialized"],
            "JSON.stringify",
        ),
        (
            LOYALI,
            "whsec_loyali",
            sha256_hex(b"whsec_loyali", &[&stripe]),
            vec!["computed_right"],
            "`t={timestamp},v1={signature}`",
        ),
        (
            LOYALI,
            "whsec_loyali",
            sha256_hex(minus_prefix.as_bytes(), &[&stripe]),
            vec!["key_misread"],
            "with whatever prefix it has",
        ),
        (LOYALI, "whsec_loyali", sha256_hex(b"whsec_loyali", &[BODY]), vec!["wrong_content"], "the body alone"),
        (BASE64_HEADER, "secret", sha256_hex(b"secret", &[BODY]), vec!["wrong_encoding"], "in hexadecimal"),
        (
            BASE64_HEADER,
            "secret",
            BASE64.encode(sha256(b"secret", &[BODY])).trim_end_matches('=').to_owned(),
            vec!["wrong_encoding"],
            "padding",
        ),
        (HEX_KEY, hex_secret, sha256_hex(&hex_key, &[BODY]), vec!["computed_right"], "right"),
        (
            HEX_KEY,
            hex_secret,
            sha256_hex(hex_secret.as_bytes(), &[BODY]),
            vec!["key_misread"],
            "the key is what the secret's hexadecimal stands for",
        ),
        (
            WITH_URL,
            "secret",
            sha256_hex(b"secret", &["POST", "http://example.com/hooks?a=1", BODY]),
            vec!["wrong_content"],
            "behind a proxy",
        ),
        (
            WITH_URL,
            "secret",
            sha256_hex(b"secret", &["POST", "/hooks?a=1", BODY]),
            vec!["wrong_content"],
            "without its scheme and host",
        ),
        (MILLISECONDS, "secret", sha256_hex(b"secret", &[&stripe]), vec!["wrong_content"], "in seconds"),
        (
            INTELLIGEMS_DELIVERY,
            "secret",
            sha256_hex(b"secret", &[&stripe]),
            vec!["wrong_content"],
            "a timestamp before the body",
        ),
    ] {
        let scene = Scene::new(json, text);
        let paste = scene.with_computed(&computed);
        let found = scene.diagnosis(&paste);
        assert_eq!(scene.codes(&paste), codes, "{json} {says}: {found:?}");
        assert!(found.findings[0].detail.contains(says), "{json} {says}: {found:?}");
    }
    // One whose base64 tells the two alphabets apart.
    let apart = |key: &String| BASE64.encode(sha256(key.as_bytes(), &[BODY])).contains(['+', '/']);
    let key = (0..99).map(|number| format!("secret{number}")).find(apart).unwrap();
    let scene = Scene::new(BASE64_HEADER, &key);
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha256(key.as_bytes(), &[BODY]));
    let found = scene.diagnosis(&scene.with_computed(url));
    assert!(found.findings[0].detail.contains("in base64url"), "{found:?}");
    let ed25519 = Scene::new(ED25519, "");
    let found = ed25519.diagnosis(&ed25519.with_computed(right));
    assert_eq!(found.findings.iter().map(|it| it.code).collect::<Vec<_>>(), [Code::Genuine, Code::ComputedNotCompared]);
}

#[test]
fn computed_with_another_secret() {
    let mut scene = Scene::new(ILARA, "ilara-secret");
    scene
        .secrets
        .push(KnownSecret { secret: secret("secret-of-2027"), standing: Standing::Next { from: at(TIME + 60) } });
    let until = at(TIME - 60);
    scene.secrets.push(KnownSecret { secret: secret("secret-of-2025"), standing: Standing::Previous { until } });
    for (key, code, says) in [
        ("secret-of-2027", "next_secret", "being rotated in"),
        ("secret-of-2025", "old_secret", "replaced at 2025-12-31T23:59:00.000Z"),
    ] {
        let paste = scene.with_computed(sha256_hex(key.as_bytes(), &[BODY]));
        let found = scene.diagnosis(&paste);
        assert_eq!(scene.codes(&paste), [code], "{found:?}");
        assert!(found.findings[0].detail.contains(says), "{found:?}");
    }
    // The other way round: an old request, and the present secret.
    scene.secrets = vec![
        KnownSecret { secret: secret("secret-of-2026"), standing: Standing::Current },
        KnownSecret { secret: secret("ilara-secret"), standing: Standing::Previous { until } },
    ];
    let paste = scene.with_computed(sha256_hex(b"secret-of-2026", &[BODY]));
    assert_eq!(scene.codes(&paste), ["old_secret", "old_secret"]);
    let found = scene.diagnosis(&paste);
    assert!(found.findings[1].detail.contains("your code uses the present one"), "{found:?}");
}

/// Nobody learns whether a value is the signature of a text of their own.
#[test]
fn nothing_is_signed_for_anybody() {
    let scene = Scene::new(STANDARD, STANDARD_SECRET);
    let key = BASE64.decode(STANDARD_SECRET.trim_start_matches("whsec_")).unwrap();
    let own = r#"{"id":"evt_1","amount":1000000.0,"name":"Zoë"}"#;
    for (id, time, body) in [("evt_1", TIME, own), ("evt_2", TIME, BODY), ("evt_1", TIME + 1, BODY)] {
        let computed = BASE64.encode(sha256(&key, &[id, ".", &time.to_string(), ".", body]));
        for recorded in [true, false] {
            let paste = scene.with(|paste| {
                paste.headers.insert("webhook-id", HeaderValue::from_str(id).unwrap());
                paste.headers.insert("webhook-timestamp", HeaderValue::from(time));
                paste.body = body.as_bytes().to_vec();
                paste.computed = Some(computed.clone());
                paste.recorded = recorded;
            });
            let codes = scene.codes(&paste);
            let last = if recorded { "computed_unexplained" } else { "computed_not_compared" };
            assert_eq!(codes.last(), Some(&last), "{codes:?}");
        }
    }
    // A record that is not what was signed is nothing to compare with, either.
    let mut masked = Scene::new(STANDARD, STANDARD_SECRET);
    masked.sent.body = own.as_bytes().to_vec();
    let paste = masked.with_computed(BASE64.encode(sha256(&key, &["evt_1.1767225600.", own])));
    assert_eq!(masked.codes(&paste), ["unexplained", "computed_not_compared"]);
}
