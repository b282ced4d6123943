//! Vendors' own packages against Hookmill: what they sign is taken, and what Hookmill signs they take.
//!
//! A round trip through one's own code can be wrong on both ends in the same way; this one cannot. The packages are
//! pinned in `tests/vendors` and installed into cargo's own folder for what tests leave behind.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use hookmill_tests::{Gateway, Receiver, Setup, Tenant, binary};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Profiles whose vendors' packages are for Node.js, and whose for Python. `svix` is the other family of headers.
const NODE: [&str; 8] = ["standard-webhooks", "svix", "github", "shopify", "paddle", "linear", "discord", "sendgrid"];
const PYTHON: [&str; 4] = ["stripe", "slack", "square", "twilio"];

/// The packages' folder.
async fn installed() -> PathBuf {
    let folder = binary().with_file_name("../tmp/vendors");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendors/install");
    let status = Command::new(script).arg(&folder).stdout(Stdio::null()).status().await.expect("a shell is there");
    assert!(status.success(), "installing needs npm, python3 with venv, and their registries");
    folder
}

/// Asks the package of a profile's vendor.
async fn ask(folder: &Path, question: &Value) -> Value {
    let profile = question["profile"].as_str().expect("a question is about a profile");
    let mut command = if PYTHON.contains(&profile) {
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.args(["-c", include_str!("../../vendors/vendors.py")]);
        command
    } else {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "-e", include_str!("../../vendors/vendors.mjs")]);
        command
    };
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(question.to_string().as_bytes()).await.expect("it reads its question");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{profile}: the package failed, see above");
    serde_json::from_slice(&output.stdout).expect("it answers with JSON")
}

/// The profile that a vendor's package is held against.
fn profile_of(vendor: &str) -> &str {
    if vendor == "svix" { "standard-webhooks" } else { vendor }
}

async fn profile(tenant: &Tenant, vendor: &str) -> Value {
    tenant.api.get(&format!("/v1/profiles/{}", profile_of(vendor))).await.json(200)
}

fn lower(headers: &Value) -> Map<String, Value> {
    let headers = headers.as_object().expect("headers are an object");
    headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
}

#[tokio::test]
async fn what_vendors_sign_is_taken_and_nothing_else() {
    let folder = installed().await;
    // Square and Twilio sign the URL as they were told it.
    let gateway = Setup::new().env("HOOKMILL_SERVER__PUBLIC_URL", "https://hooks.example").start().await;
    let tenant = gateway.tenant("acme").await;
    for vendor in NODE.into_iter().chain(PYTHON) {
        let keys = ask(&folder, &json!({"do": "keys", "profile": vendor})).await;
        let wanted = json!({"name": vendor, "profile": profile_of(vendor), "secret": keys["secret"]});
        let source = tenant.api.post("/v1/sources", wanted).await.json(201);
        let url = source["url"].as_str().expect("a source has a URL");
        let profile = profile(&tenant, vendor).await;
        let sample = &profile["events"][0]["samples"][0];
        let mut headers = lower(&sample["headers"]);
        // The sample's id and time are as old as the sample is; the vendor's package writes its own.
        headers.retain(|name, _| !name.ends_with("-timestamp") && name != "webhook-id" && name != "svix-id");
        let mut body = sample["body"].as_str().expect("a sample has a body").to_owned();
        if let Some(found) = body.find("\"webhookTimestamp\": ") {
            let from = found + "\"webhookTimestamp\": ".len();
            let to = from + body[from..].find(|c: char| !c.is_ascii_digit()).expect("a number ends");
            body.replace_range(from..to, &(hookmill_tests::unix_time() * 1_000).to_string());
        }
        let question = json!({
            "do": "sign", "profile": vendor, "secret": keys["secret"], "key": keys["key"],
            "url": url, "body": body, "headers": headers,
        });
        let signed = ask(&folder, &question).await;
        let mut headers = lower(&signed["headers"]);
        headers.entry("content-type").or_insert_with(|| "application/json".into());
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a header is text"))).collect();
        let path = url.strip_prefix("https://hooks.example").expect("it is there");
        let other = if body.starts_with(['{', '[']) { format!("{body} ") } else { format!("{body}&more=1") };
        let refused = gateway.public().send("POST", path, &headers, other).await;
        assert_eq!(refused.status, 401, "{vendor}, another body: {}", refused.text);
        let taken = gateway.public().send("POST", path, &headers, body).await;
        assert!((200..300).contains(&taken.status), "{vendor}, signed by {}: {}", signed["by"], taken.text);
        let events =
            tenant.api.get(&format!("/v1/events?source_id={}", source["id"].as_str().unwrap())).await.json(200);
        assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "{vendor}: {events}");
    }
}

#[tokio::test]
async fn what_is_signed_as_vendors_do_their_packages_take() {
    let folder = installed().await;
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let mut made = Vec::new();
    // Twilio's requests are forms, and the private keys of Discord and SendGrid are theirs.
    for vendor in ["linear", "standard-webhooks", "svix", "github", "shopify", "paddle", "stripe", "slack", "square"] {
        let mut signing = profile(&tenant, vendor).await["source"]["verification"].clone();
        let fields = signing.as_object_mut().expect("one way of proof");
        // What is there to verify only.
        ["headers", "header_prefixes", "tolerance"].into_iter().for_each(|name| drop(fields.remove(name)));
        if vendor == "linear" {
            fields.remove("timestamp");
        }
        if vendor == "svix" {
            fields.insert("header_prefix".to_owned(), "svix".into());
        }
        let url = endpoint.url(&format!("/{vendor}"));
        let wanted = json!({
            "url": url, "events": ["*"], "signing": signing, "envelope": "none",
            "headers": {
                "x-shopify-topic": "orders/create", "x-shopify-webhook-id": "1", "x-shopify-api-version": "2025-01",
                "x-shopify-shop-domain": "acme.myshopify.com",
            },
        });
        made.push((vendor, url, tenant.subscribe(wanted).await));
    }
    // Linear's package wants its time in the body, within a minute, and is therefore asked first.
    let now_ms = hookmill_tests::unix_time() * 1_000;
    tenant.post("order.created", json!({"amount": 100.0, "name": "Zoë", "webhookTimestamp": now_ms})).await;
    for (vendor, url, subscription) in made {
        let request = endpoint.first(&format!("/{vendor}")).await;
        let headers: Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("a header is text").into()))
            .collect();
        let body = request.text();
        for (body, secret, verified) in [
            (body.to_owned(), subscription["secret"].clone(), true),
            (body.replace("100.0", "1000.0"), subscription["secret"].clone(), false),
            (body.to_owned(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), false),
        ] {
            let question = json!({
                "do": "verify", "profile": vendor, "secret": secret, "url": url, "body": body, "headers": headers,
            });
            assert_eq!(ask(&folder, &question).await["verified"], verified, "{vendor}: {body} {headers:?}");
        }
    }
}
