//! What a stranger claims to have signed, and what a tenant says a signature looks like.

use http::HeaderMap;
use jiff::Timestamp;

use super::{Said, example, fuzz, headers, parts, text};
use crate::domain::{Secret, Signing};
use crate::signing::{Case, Keys, KnownSecret, Rejection, Scheme, SignParts, Standing, VerifyParts};

const URL: &str = "https://example.com/hooks?a=1";
const ID: &str = "evt_1";
const NOW: i64 = 1_767_225_600;
const BODIES: [&str; 2] = ["{}", "{\"test\": 2432232314}"];

const SYMMETRIC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

/// A description of each form, and a secret for it.
const SCHEMES: [(&str, &str); 16] = [
    (r#"{"scheme":"standard"}"#, SYMMETRIC),
    (r#"{"scheme":"standard"}"#, PRIVATE),
    (r#"{"scheme":"standard","header_prefix":"svix","tolerance":"1h"}"#, SYMMETRIC),
    (r#"{"scheme":"hmac","header":"x-ilara-signature","value":"sha256={signature}"}"#, "k"),
    (
        r#"{"scheme":"hmac","header":"x-loyali-signature","content":"{timestamp}.{body}","value":"t={timestamp},v1={signature}"}"#,
        "k",
    ),
    (r#"{"scheme":"hmac","header":"x-intelligems-signature"}"#, "k"),
    (
        r#"{"scheme":"hmac","header":"x-slack-signature","content":"v0:{timestamp}:{body}","value":"v0={signature}","timestamp_header":"x-slack-request-timestamp"}"#,
        "k",
    ),
    (r#"{"scheme":"hmac","header":"x-hub-signature","algorithm":"sha1","value":"sha1={signature}"}"#, "k"),
    (r#"{"scheme":"hmac","header":"x-shop-hmac","encoding":"base64"}"#, "k"),
    (
        r#"{"scheme":"hmac","header":"x-s","algorithm":"sha512","encoding":"base64","content":"{method}|{url}|{id}|{timestamp}|{body}","value":"id={id};t={timestamp};s={signature}"}"#,
        "k",
    ),
    (
        r#"{"scheme":"hmac","header":"x-ms","content":"{body}{timestamp}","value":"v={timestamp},d={signature}","timestamp":{"unit":"ms"},"headers":["x-ms-2"]}"#,
        "k",
    ),
    (
        r#"{"scheme":"hmac","header":"x-rfc","encoding":"base64url","content":"{timestamp}{body}","timestamp":{"header":"x-t","format":"rfc3339"},"secret":{"strip_prefix":"k-","decode":"hex"}}"#,
        "k-6b",
    ),
    (
        r#"{"scheme":"hmac","header":"x-date","content":"{timestamp}\n{body}","timestamp":{"header":"x-d","fallbacks":["date"],"format":"http_date"}}"#,
        "k",
    ),
    (
        r#"{"scheme":"asymmetric","algorithm":"ed25519","header":"x-ed","content":"{timestamp}{body}","timestamp_header":"x-t"}"#,
        PRIVATE,
    ),
    (r#"{"scheme":"standard","header_prefixes":["svix"]}"#, SYMMETRIC),
    (
        r#"{"scheme":"hmac","header":"x-a","content":"{id}/{timestamp}/{body}","value":"Signature keyId=\"main\",signature=\"{signature}\",t=\"{timestamp}\",i=\"{id}\""}"#,
        "k",
    ),
];

/// Descriptions of what is only verified, or not of these bodies.
const MORE: [&str; 6] = [
    r#"{"scheme":"hmac","header":"x-url","content":"{url}{form}","algorithm":"sha1"}"#,
    r#"{"scheme":"hmac","header":"x-url","content":"{url}","body_hash":{"query":"a","encoding":"base64"}}"#,
    r#"{"scheme":"hmac","header":"x-l","timestamp":{"body":"$.webhookTimestamp","unit":"ms"},"tolerance":"1m"}"#,
    r#"{"scheme":"hmac","header":"x-h","content":"{header:x-id}{body}"}"#,
    r#"{"scheme":"asymmetric","algorithm":"ecdsa_p256","header":"x-e","encoding":"base64"}"#,
    r#"{"scheme":"shared","in":"basic","name":"hook"}"#,
];

const WORDS: &[&str] = &[
    "webhook-id: evt_1\n",
    "webhook-timestamp: 1767225600\n",
    "webhook-signature: ",
    "svix-signature: ",
    "x-slack-signature: v0=",
    "-next",
    "v1,",
    "v1a,",
    "v0=",
    "t=",
    "v1=",
    "sha256=",
    "id=",
    ";",
    ",",
    " ",
    "=",
    "==",
    "\"",
    "\n",
    "AAAA",
    "00",
    "{body}",
    "{timestamp}",
    "{id}",
    "{url}",
    "{method}",
    "{signature}",
    "{",
    "}",
    "\"header\":\"x-s\"",
    "\"content\":\"{body}\"",
    "\"value\":\"{signature}\"",
    "\"timestamp_header\":\"x-t\"",
    "\"algorithm\":\"sha1\"",
    "\"encoding\":\"base64\"",
    "\"tolerance\":\"5m\"",
    "\"header_prefix\":\"svix\"",
    "{form}",
    "{header:x-id}",
    "\"headers\":[\"x-u\"]",
    "\"timestamp\":{\"header\":\"x-t\",\"unit\":\"ms\"}",
    "\"timestamp\":{\"body\":\"$.t\",\"format\":\"rfc3339\"}",
    "\"fallbacks\":[\"date\"]",
    "\"body_hash\":{\"query\":\"a\"}",
    "\"secret\":{\"decode\":\"base64\",\"strip_prefix\":\"whsec_\"}",
    "\"in\":\"query\"",
    "2026-01-01T00:00:00Z",
    "Thu, 01 Jan 2026 00:00:00 GMT",
    "authorization: Bearer ",
    "authorization: Basic ",
];

fn source(json: &str) -> Scheme {
    Scheme::for_source(&serde_json::from_str::<Signing>(json).unwrap()).unwrap()
}

fn request<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> VerifyParts<'a> {
    VerifyParts { headers, body, unpacked: None, url: URL, method: "POST", now: Timestamp::from_second(NOW).unwrap() }
}

fn signed(scheme: &Scheme, keys: &Keys, body: &[u8]) -> Option<HeaderMap> {
    let parts = SignParts { id: ID, timestamp_s: NOW, body, url: URL, method: "POST", headers: &HeaderMap::new() };
    Some(scheme.sign(keys, &parts).ok()?.into_iter().collect())
}

/// Nothing is believed that was not signed, however its headers are bent.
#[test]
fn signature_headers() {
    let schemes: Vec<(Scheme, Keys)> = SCHEMES
        .iter()
        .map(|(json, secret)| {
            let scheme = source(json);
            let keys = scheme.keys(&Secret::new((*secret).to_owned()), None).unwrap();
            (scheme, keys)
        })
        .collect();
    let mut examples = Vec::new();
    for (number, (scheme, keys)) in schemes.iter().enumerate() {
        for body in BODIES {
            let mut lines = String::new();
            for (name, value) in &signed(scheme, keys, body.as_bytes()).unwrap() {
                lines.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            examples.push(example(&[&number.to_string(), &lines, body]));
        }
    }
    fuzz("signature headers", &examples, WORDS, |input| {
        let [number, lines, body] = parts(input);
        let number: usize = text(number).trim().parse().map_err(|_| "no scheme".to_owned())?;
        let (scheme, keys) = &schemes[number % schemes.len()];
        let headers = headers(lines);
        // Whatever is pasted, the doctor says something, and calls nothing genuine that nobody signed.
        let secret = Secret::new(SCHEMES[number % schemes.len()].1.to_owned());
        let known = [KnownSecret { secret, standing: Standing::Current }];
        let received = request(&headers, body);
        let case = Case { received, sent: &[], secrets: &known, computed: None, products: &[] };
        if let Some(found) = scheme.diagnose(&case) {
            assert!(!found.findings.is_empty());
            assert!(!found.is_genuine || scheme.verify(keys, &received).is_ok(), "{found:?}");
        }
        match scheme.verify(keys, &received) {
            Ok(verified) => {
                assert!(BODIES.iter().any(|signed| signed.as_bytes() == body), "a body that nobody signed");
                assert!(verified.timestamp.is_none_or(|at| at == NOW), "a time that nobody signed");
                assert!(verified.id.as_deref().is_none_or(|id| id == ID), "an id that nobody signed");
                Ok(format!("{number} {verified:?}"))
            }
            Err(rejection) => Err(format!("{} {}", number % schemes.len(), rejection.as_str())),
        }
    });
}

/// A description that is taken describes something: what is signed by it is verified by it, and nothing else is.
#[test]
fn signature_descriptions() {
    let all = SCHEMES.iter().map(|(json, _)| *json).chain(MORE);
    let examples: Vec<_> = all.map(|json| example(&[json, BODIES[1]])).collect();
    fuzz("signature descriptions", &examples, WORDS, |input| -> Said {
        let [description, body] = parts(input);
        let described: Signing =
            serde_json::from_slice(description).map_err(|error| format!("{:?}", error.classify()))?;
        let scheme = Scheme::for_source(&described).map_err(|errors| {
            assert!(errors.iter().all(|error| error.pointer.starts_with('/')), "{errors:?}");
            errors.into_iter().map(|error| error.pointer).collect::<String>()
        })?;
        let key = [SYMMETRIC, PRIVATE, "00"].into_iter().find(|key| scheme.check_secret(key).is_ok());
        let Some(key) = key.filter(|_| scheme.signs()) else { return Ok("no key".to_owned()) };
        let keys = scheme.keys(&Secret::new(key.to_owned()), None).expect("it fits");
        let Some(headers) = signed(&scheme, &keys, body) else { return Ok("not signed".to_owned()) };
        let verified = match scheme.verify(&keys, &request(&headers, body)) {
            Ok(verified) => verified,
            // What is signed is right, and what else is asked for is not there.
            Err(rejection) => {
                let asked = described.body_hash.is_some()
                    || described.timestamp.is_some_and(|timestamp| timestamp.body.is_some())
                    || rejection == Rejection::NotAForm;
                assert!(asked && rejection != Rejection::NoMatch, "what was signed is verified: {rejection}");
                return Ok(rejection.as_str().to_owned());
            }
        };
        let changed = [body, b"x"].concat();
        assert!(scheme.verify(&keys, &request(&headers, &changed)).is_err(), "what was changed is not");
        Ok(format!("{verified:?}"))
    });
}

/// Who does not know the secret does not guess its form either.
#[test]
fn shared_secrets() {
    let schemes: Vec<(Scheme, Keys)> = [
        r#"{"scheme":"shared","in":"header","name":"x-token"}"#,
        r#"{"scheme":"shared","in":"bearer"}"#,
        r#"{"scheme":"shared","in":"basic","name":"hook"}"#,
        r#"{"scheme":"shared","in":"query","name":"token"}"#,
    ]
    .into_iter()
    .map(|json| {
        let scheme = source(json);
        let keys = scheme.keys(&Secret::new("s3cret".to_owned()), None).unwrap();
        (scheme, keys)
    })
    .collect();
    let examples = [
        example(&["0", "x-token: s3cret", ""]),
        example(&["1", "authorization: Bearer s3cret", ""]),
        example(&["2", "authorization: Basic aG9vazpzM2NyZXQ=", ""]),
        example(&["3", "", "a=1&token=s3c%72et"]),
    ];
    fuzz("shared secrets", &examples, WORDS, |input| {
        let [number, lines, query] = parts(input);
        let number: usize = text(number).trim().parse().map_err(|_| "no scheme".to_owned())?;
        let (scheme, keys) = &schemes[number % schemes.len()];
        let url = format!("https://example.com/in?{}", text(query));
        let headers = headers(lines);
        let verified = scheme.verify(keys, &VerifyParts { url: &url, ..request(&headers, b"") });
        let Err(rejection) = verified else {
            let there = format!("{}{url}", text(lines));
            let known = there.contains("s3cret") || there.contains("zM2NyZX") || there.contains('%');
            assert!(known, "a secret that nobody sent");
            return Ok(number.to_string());
        };
        Err(format!("{} {}", number % schemes.len(), rejection.as_str()))
    });
}
