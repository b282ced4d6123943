//! Verifies the requests of one Hookmill subscription. Needs Rust 1.85 or newer, and in `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! base64 = "0.23"
@if ed25519
//! ed25519-dalek = "3"
@end
//! hex = "0.4"
@if hmac
//! hmac = "0.13"
@end
@if calendar
//! jiff = "0.2"
@end
//! regex = "1"
//! serde_json = "1"
@if hmac
//! @RUST_CRATE@ = "0.11"
@end
//! ```

use std::collections::HashMap;
use std::io::Read as _;
@if timestamp
use std::time::{SystemTime, UNIX_EPOCH};
@end
@if untimed
use std::time::SystemTime;
@end

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
@if ed25519
use ed25519_dalek::{Signature, VerifyingKey};
@end
@if hmac
use hmac::{Hmac, KeyInit as _, Mac as _};
@end
use regex::Regex;
@if hmac
use @RUST_CRATE@::@RUST_HASH@;
@end

/// A request, as it came in: the body's bytes before anything has parsed them (axum: `Bytes`), and header names in
/// lower case.
pub struct Request {
    pub method: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

@if timestamp
const TOLERANCE_S: u64 = 300;

@end
/// `Ok` for a request that is genuine, otherwise why it is not.
@if timestamp
pub fn verify(request: &Request, secrets: &[String], now: SystemTime) -> Result<(), String> {
@end
@if untimed
pub fn verify(request: &Request, secrets: &[String], _now: SystemTime) -> Result<(), String> {
@end
    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    let values: Vec<&str> = [@HEADERS@].into_iter().map(header).filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return Err(["the header ", @HEADER@, " is missing"].concat());
    }
@if timestamp
    let now_s = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let timestamp = @TIMESTAMP@;
    let signed_s: i64 = @SECONDS@.ok_or("the timestamp cannot be read")?;
    if now_s.abs_diff(signed_s) > TOLERANCE_S {
        return Err(format!("the timestamp is {} s old", now_s.saturating_sub(signed_s)));
    }
@end
@if id
    let id = @ID@;
@end
@if cut
    // The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
    let parts: &[&[u8]] = &[@CONTENT@];
    let content = parts.concat();
    let pattern = Regex::new(@SIGNATURE@).expect("the pattern is fixed");
    let mut matched = false;
    for found in values.iter().flat_map(|value| pattern.captures_iter(value)) {
        for secret in secrets {
            matched |= matches(secret, &content, &found[1]);
        }
    }
    if matched { Ok(()) } else { Err("no signature matches: another secret, or the body was changed".to_owned()) }
}

fn first<'a>(pattern: &str, text: &'a str) -> &'a str {
    let pattern = Regex::new(pattern).expect("the pattern is fixed");
    pattern.captures(text).and_then(|found| found.get(1)).map_or("", |found| found.as_str())
}

fn decode(encoding: &str, text: &str) -> Option<Vec<u8>> {
    match encoding {
        "base64" => STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok(),
        "base64url" => URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok(),
        "hex" => hex::decode(text).ok(),
        _ => Some(text.as_bytes().to_vec()),
    }
}

@if hmac
fn matches(secret: &str, content: &[u8], signature: &str) -> bool {
    let text = secret.strip_prefix(@PREFIX@).unwrap_or(secret);
    let (Some(key), Some(given)) = (decode("@DECODE@", text), decode("@ENCODING@", signature)) else { return false };
    let Ok(mut mac) = Hmac::<@RUST_HASH@>::new_from_slice(&key) else { return false };
    mac.update(content);
    // In constant time.
    mac.verify_slice(&given).is_ok()
}
@end
@if ed25519
fn matches(secret: &str, content: &[u8], signature: &str) -> bool {
    let text = secret.strip_prefix("whpk_").unwrap_or(secret);
    let key = decode("base64", text).and_then(|key| VerifyingKey::from_bytes(&key.try_into().ok()?).ok());
    let given = decode("@ENCODING@", signature).and_then(|given| Signature::from_slice(&given).ok());
    key.zip(given).is_some_and(|(key, given)| key.verify_strict(content, &given).is_ok())
}
@end

/// To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a request on standard input");
    let given: serde_json::Value = serde_json::from_str(&text).expect("a request in JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let headers = given["headers"].as_object().into_iter().flatten();
    let request = Request {
        method: text(&given["method"]),
        headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
        body: decode("base64", &text(&given["body"])).expect("a body in base64"),
    };
    let secrets: Vec<String> =
        ["HOOKMILL_SECRET", "HOOKMILL_SECRET_NEXT"].into_iter().filter_map(|name| std::env::var(name).ok()).collect();
    match verify(&request, &secrets, SystemTime::now()) {
        Ok(()) => println!("genuine"),
        Err(why) => {
            println!("{why}");
            std::process::exit(1);
        }
    }
}
