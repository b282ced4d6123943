//! Receivers that the gateway writes: each takes what is delivered to it, and nothing else.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookmill_tests::{Gateway, Received, Receiver, Setup};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Languages, and how a file of theirs is run. Those whose command is missing are left out, but never these two.
const LANGUAGES: [(&str, &[&str]); 5] = [
    ("node", &["node"]),
    ("python", &["python3"]),
    ("go", &["go", "build", "-o", "receiver"]),
    ("php", &["php"]),
    ("ruby", &["ruby"]),
];
const ALWAYS: [&str; 2] = ["node", "python"];

async fn is_installed(command: &str) -> bool {
    let mut command = Command::new(command);
    let command = command.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok()
}

/// What a receiver says of a request: whether it is genuine, and its words.
async fn asked(program: &[&str], folder: &Path, secret: &str, request: &Value) -> (bool, String) {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).current_dir(folder).env("HOOKMILL_SECRET", secret);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it can be run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(request.to_string().as_bytes()).await.expect("it reads the request");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // A program that is broken refuses everything, too: it has to say why.
    assert!(output.stderr.is_empty(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said.trim().to_owned())
}

fn request(received: &Received, body: &[u8]) -> Value {
    let text = |value: &str| Value::from(value);
    let headers: Map<String, Value> = received
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.to_str().expect("a header is text"))))
        .collect();
    json!({"method": received.method, "headers": headers, "body": STANDARD.encode(body)})
}

fn schemes() -> Vec<(&'static str, Value)> {
    let hmac = |more: Value| {
        let mut signing = json!({"scheme": "hmac", "header": "X-Acme-Signature"});
        signing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        signing
    };
    vec![
        ("standard", json!({"scheme": "standard", "header_prefix": "acme"})),
        ("ed25519", json!({"scheme": "standard", "algorithm": "ed25519"})),
        ("stripe", hmac(json!({"content": "{timestamp}.{body}", "value": "t={timestamp},v1={signature}"}))),
        (
            "slack",
            hmac(
                json!({"content": "v0:{timestamp}:{body}", "value": "v0={signature}", "timestamp_header": "X-Acme-Time"}),
            ),
        ),
        ("sha1", hmac(json!({"algorithm": "sha1", "encoding": "base64", "content": "{body}{url}"}))),
        (
            "sha512",
            hmac(json!({
                "algorithm": "sha512", "encoding": "base64url", "content": "{method}\n$\"#{header:x-acme-shop}\\\n{timestamp}\n{body}",
                "value": "Acme {id}:{signature}", "timestamp": {"header": "X-Acme-Time", "unit": "ms"},
                "secret": {"strip_prefix": "acme_", "decode": "base64"},
            })),
        ),
        (
            "rfc3339",
            hmac(json!({"content": "{timestamp}{body}", "timestamp": {"header": "X-Acme-Time", "format": "rfc3339"}})),
        ),
        (
            "http_date",
            hmac(json!({
                "content": "{timestamp}{body}", "timestamp": {"header": "X-Acme-Time", "format": "http_date"},
                "secret": {"decode": "hex"},
            })),
        ),
    ]
}

#[tokio::test]
async fn receivers_take_what_is_delivered_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let viewer = tenant.key("viewer").await;
    // The same an hour ahead: what it signs is from the future.
    let ahead = Setup::new().with_clock().start().await;
    let late = ahead.tenant("acme").await;
    ahead.clock().await.advance("1h").await;
    let mut made = Vec::new();
    for (name, signing) in schemes() {
        let mut wanted = json!({
            "url": endpoint.url(&format!("/{name}")), "events": ["*"], "signing": signing,
            "headers": {"x-acme-shop": "shop 1"},
        });
        let subscription = tenant.subscribe(wanted.clone()).await;
        wanted["url"] = endpoint.url(&format!("/{name}-late")).into();
        let subscription_late = late.subscribe(wanted).await;
        made.push((name, subscription, subscription_late));
    }
    let data = json!({"amount": 100.0, "name": "Zoë"});
    tenant.post("order.created", data.clone()).await;
    late.post("order.created", data).await;
    for (language, command) in LANGUAGES {
        if !is_installed(command[0]).await {
            assert!(!ALWAYS.contains(&language), "{language} is missing");
            continue;
        }
        for (name, subscription, subscription_late) in &made {
            if (language, *name) == ("python", "ed25519") {
                // Its standard library has none.
                continue;
            }
            let what = format!("{language} {name}");
            let path = format!("/v1/subscriptions/{}/verifier?lang={language}", subscription["id"].as_str().unwrap());
            let verifier = viewer.get(&path).await.json(200);
            let folder = folder.path().join(format!("{language}-{name}"));
            std::fs::create_dir(&folder).unwrap();
            let filename = verifier["filename"].as_str().unwrap();
            std::fs::write(folder.join(filename), verifier["code"].as_str().unwrap()).unwrap();
            let program = [command, &[filename]].concat();
            let program = if language == "go" {
                let status = Command::new(program[0]).args(&program[1..]).current_dir(&folder).status().await.unwrap();
                assert!(status.success(), "{what}: {}", verifier["code"]);
                vec!["./receiver"]
            } else {
                program
            };
            let secret = |of: &Value| {
                let field = if of["public_key"].is_string() { "public_key" } else { "secret" };
                of[field].as_str().expect("it signs").to_owned()
            };
            let received = endpoint.first(&format!("/{name}")).await;
            let genuine = request(&received, &received.body);
            let tampered = request(&received, received.text().replace("100.0", "1000.0").as_bytes());
            let mut bare = genuine.clone();
            bare["headers"].as_object_mut().unwrap().retain(|name, _| !name.ends_with("-signature"));
            for (how, secret, request, says) in [
                ("as it came", secret(subscription), &genuine, "genuine"),
                ("another body", secret(subscription), &tampered, "no signature matches"),
                ("another secret", secret(subscription_late), &genuine, "no signature matches"),
                ("no signature", secret(subscription), &bare, "is missing"),
            ] {
                let (is_genuine, said) = asked(&program, &folder, &secret, request).await;
                assert!(is_genuine == (says == "genuine") && said.contains(says), "{what}, {how}: {said}\n{request}");
            }
            if *name != "sha1" {
                let received = endpoint.first(&format!("/{name}-late")).await;
                let request = request(&received, &received.body);
                let (is_genuine, said) = asked(&program, &folder, &secret(subscription_late), &request).await;
                assert!(!is_genuine && said.contains("s old"), "{what}, an hour ahead: {said}");
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_sign_has_no_receiver() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let wanted = json!({"url": "http://127.0.0.1:9/", "events": ["*"], "signing": {"scheme": "none"}});
    let made = tenant.subscribe(wanted).await;
    let path = format!("/v1/subscriptions/{}/verifier", made["id"].as_str().unwrap());
    tenant.api.get(&format!("{path}?lang=node")).await.problem(409, "conflict");
    let reply = tenant.api.get(&format!("{path}?lang=cobol")).await;
    assert!(reply.status == 422 && reply.text.contains("`node`"), "{}", reply.text);
}
