//! Checks of what a gateway sent, by other means than its own.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::AsyncWriteExt as _;

use crate::Received;

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// HMAC-SHA-256 over the joined parts, in hexadecimal; the key is the secret's bytes.
#[must_use]
pub fn hmac_hex(secret: &str, parts: &[&[u8]]) -> String {
    hex::encode(mac(secret.as_bytes(), parts).finalize().into_bytes())
}

/// Whether one of a request's signatures is that of Standard Webhooks 1.0 under this secret (`whsec_…`).
///
/// # Panics
/// If the secret is not base64.
#[must_use]
pub fn standard_signature_holds(request: &Received, secret: &str) -> bool {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("a secret is base64");
    let signed: [&[u8]; 5] = [
        request.header("webhook-id").as_bytes(),
        b".",
        request.header("webhook-timestamp").as_bytes(),
        b".",
        &request.body,
    ];
    request
        .header("webhook-signature")
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .any(|signature| mac(&key, &signed).verify_slice(&signature).is_ok())
}

/// The machine's time, in Unix seconds: what a gateway without a test clock must agree with.
///
/// # Panics
/// If the machine's clock stands before 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test has no other way to know the real time")]
pub fn unix_time() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("the machine's clock is set").as_secs()
}

/// Runs a script in Node.js; gives what it prints. `input` is its standard input.
///
/// # Panics
/// If Node.js is not installed, or the script fails.
pub async fn node(script: &str, input: &str) -> String {
    let mut command = tokio::process::Command::new("node");
    command.args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("Node.js is installed (the suite's `run` does it)");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writing = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = child.wait_with_output().await.expect("the script ends");
    assert!(output.status.success(), "the script failed");
    writing.await.expect("the script's input is written").expect("the script reads its input");
    String::from_utf8(output.stdout).expect("the script prints UTF-8")
}
