//! Tests of the whole room: published vectors, the rules of a verifier, the forms of a description, and
//! properties.

mod descriptions;
mod doctor;
mod forms;
mod properties;
mod rules;
mod secrets;
mod vectors;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::*;
use crate::domain::{Secret, Signing};

/// The time at which the published Standard Webhooks vectors were signed.
const STANDARD_TIME: i64 = 1_614_265_330;
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const URL: &str = "https://example.com/hooks?a=1";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn delivery(json: &str) -> Scheme {
    Scheme::for_delivery(&serde_json::from_str::<Signing>(json).unwrap()).unwrap()
}

fn source(json: &str) -> Scheme {
    Scheme::for_source(&serde_json::from_str::<Signing>(json).unwrap()).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn request<'a>(headers: &'a HeaderMap, body: &'a [u8], now: i64) -> VerifyParts<'a> {
    VerifyParts { headers, body, unpacked: None, url: URL, method: "POST", now: at(now) }
}

fn parts<'a>(body: &'a [u8], timestamp_s: i64) -> SignParts<'a> {
    SignParts { id: "evt_1", timestamp_s, body, url: URL, method: "POST", headers: no_headers() }
}

fn no_headers() -> &'static HeaderMap {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    &NONE
}

/// Signs with one secret, or with two.
fn signed(scheme: &Scheme, current: &str, next: Option<&str>, parts: &SignParts<'_>) -> HeaderMap {
    let next = next.map(secret);
    let keys = scheme.keys(&secret(current), next.as_ref()).unwrap();
    scheme.sign(&keys, parts).unwrap().into_iter().collect()
}

fn verified(
    scheme: &Scheme,
    secrets: &[&str],
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Verified, Rejection> {
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    let keys = scheme.keys_of(&secrets).unwrap();
    scheme.verify(&keys, &request(headers, body, now))
}

/// The headers of the published Standard Webhooks vector, with another signature header if one is given.
fn standard_headers(signature: &str) -> HeaderMap {
    headers(&[
        ("webhook-id", STANDARD_ID),
        ("webhook-timestamp", &STANDARD_TIME.to_string()),
        ("webhook-signature", signature),
    ])
}

const STANDARD: &str = r#"{"scheme":"standard"}"#;
const ED25519: &str = r#"{"scheme":"standard","algorithm":"ed25519"}"#;
const ILARA: &str = r#"{"scheme":"hmac","header":"x-ilara-signature","algorithm":"sha256","encoding":"hex",
    "content":"{body}","value":"sha256={signature}"}"#;
const LOYALI: &str = r#"{"scheme":"hmac","header":"X-Loyali-Signature","content":"{timestamp}.{body}",
    "value":"t={timestamp},v1={signature}"}"#;
const INTELLIGEMS: &str = r#"{"scheme":"hmac","header":"X-Intelligems-Signature"}"#;
const INTELLIGEMS_DELIVERY: &str =
    r#"{"scheme":"hmac","header":"X-Intelligems-Signature","timestamp_header":"webhook-timestamp"}"#;
const LTVBOOST: &str = r#"{"scheme":"hmac","header":"x-ltvboost-signature","value":"sha256={signature}"}"#;
const SLACK: &str = r#"{"scheme":"hmac","header":"X-Slack-Signature","content":"v0:{timestamp}:{body}",
    "value":"v0={signature}","timestamp_header":"X-Slack-Request-Timestamp"}"#;
