//! What helps a receiver's developer: programs that the gateway writes, each of which takes what is delivered to it and
//! nothing else, and what it says of requests that are not believed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookmill_tests::{Gateway, Received, Receiver, Setup, Tenant, hmac_hex};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Languages, and how a file of theirs is run. Those whose command is missing are left out, but never these two.
const LANGUAGES: [(&str, &[&str]); 6] = [
    ("node", &["node"]),
    ("python", &["python3"]),
    ("go", &["go", "build", "-o", "receiver"]),
    ("php", &["php"]),
    ("ruby", &["ruby"]),
    ("rust", &["cargo"]),
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

/// Builds programs in Rust, by name, as one package: what they depend on is built once, and kept with the suite's own
/// build. Gives the folder of the executables.
async fn built(folder: &Path, programs: &[(&str, String)]) -> PathBuf {
    let mut dependencies = BTreeSet::new();
    let bins = folder.join("src/bin");
    std::fs::create_dir_all(&bins).unwrap();
    for (name, code) in programs {
        let named = code.lines().skip_while(|line| *line != "//! [dependencies]").skip(1);
        dependencies.extend(named.map_while(|line| line.strip_prefix("//! ").filter(|line| line.contains(" = "))));
        std::fs::write(bins.join(format!("{name}.rs")), code).unwrap();
    }
    let dependencies = dependencies.into_iter().collect::<Vec<_>>().join("\n");
    let manifest = format!(
        "[package]\nname = \"receivers\"\nedition = \"2024\"\n\n[profile.dev]\ndebug = false\nincremental = false\n\n[workspace]\n\n\
         [dependencies]\n{dependencies}\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // What the suite is built with is there already, in these versions.
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let target = hookmill_tests::binary().with_file_name("../tmp/receivers");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--offline"]).current_dir(folder).env("CARGO_TARGET_DIR", &target);
    let output = cargo.output().await.expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug")
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
        wanted["url"] = endpoint.url(&format!("/late/{name}")).into();
        let subscription_late = late.subscribe(wanted).await;
        made.push((name, subscription, subscription_late));
    }
    // Before anything is sent: a first build takes minutes where others build too, and a signature is believed for five.
    let mut programs = Vec::new();
    for (name, subscription, _) in &made {
        let path = format!("/v1/subscriptions/{}/verifier?lang=rust", subscription["id"].as_str().unwrap());
        let code = viewer.get(&path).await.json(200)["code"].as_str().unwrap().to_owned();
        programs.push((*name, code));
    }
    let in_rust = built(&folder.path().join("in-rust"), &programs).await;
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
            let executable = in_rust.join(name);
            let program = match language {
                "go" => {
                    let status =
                        Command::new(program[0]).args(&program[1..]).current_dir(&folder).status().await.unwrap();
                    assert!(status.success(), "{what}: {}", verifier["code"]);
                    vec!["./receiver"]
                }
                "rust" => vec![executable.to_str().expect("a path that is text")],
                _ => program,
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
                let received = endpoint.first(&format!("/late/{name}")).await;
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

/// What the developer of a receiver pastes is told apart, across a rotation and a restart.
#[tokio::test]
async fn a_refused_signature_is_explained() {
    let mut gateway = Setup::new().with_clock().start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let made = tenant
        .subscribe(json!({
            "url": endpoint.url("/hooks"), "events": ["*"],
            "signing": {
                "scheme": "hmac", "header": "X-Acme-Signature", "content": "{timestamp}.{body}",
                "value": "t={timestamp},v1={signature}",
            },
        }))
        .await;
    let (id, old) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap().to_owned());
    let event = tenant.post("order.created", json!({"amount": 100.0, "name": "Zoë"})).await;
    tenant.status(&event, "delivered").await;
    let received = endpoint.first("/hooks").await;
    let headers = request(&received, b"")["headers"].clone();
    let (body, timestamp) = (received.text(), gateway.clock().await.now().await.as_second().to_string());
    let path = format!("/v1/subscriptions/{id}/diagnose");
    let ask = async |tenant: &Tenant, asked: Value| {
        let reply = tenant.api.post(&path, asked).await;
        let found = reply.json(200);
        assert!(!reply.text.contains(&old), "{}", reply.text);
        let codes = found["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap().to_owned());
        (codes.collect::<Vec<_>>().join(" "), found["detail"].as_str().unwrap().to_owned())
    };
    let compact = body.replace("100.0", "100");
    let with = |key: &str, parts: [&str; 3]| hmac_hex(key, &parts.map(str::as_bytes));
    let proxied = json!({"X_ACME_SIGNATURE": received.header("x-acme-signature")});
    for (asked, codes, says) in [
        (json!({"headers": headers, "body": body}), "genuine", "The request is genuine"),
        (json!({"headers": headers, "body_base64": STANDARD.encode(body)}), "genuine", "The request is genuine"),
        (json!({"headers": headers, "body": compact}), "body_reserialized", "the writing of numbers"),
        (json!({"headers": headers, "body": body.replace("Zoë", "Bob")}), "body_changed", "`/data/name`"),
        (json!({"headers": proxied, "body": body}), "header_renamed", "came as `x_acme_signature`"),
        (
            json!({"headers": headers, "body": body, "computed": with(&old, [&timestamp, ".", &compact])}),
            "body_reserialized",
            "JSON.stringify",
        ),
        (
            json!({"headers": headers, "body": body, "computed": with(&format!("{old}\n"), [&timestamp, ".", body])}),
            "key_misread",
            "a line break at its end",
        ),
        (
            json!({"headers": headers, "body": body, "computed": with(&old, ["", "", body])}),
            "wrong_content",
            "`{body}`",
        ),
    ] {
        let (found, detail) = ask(&tenant, asked).await;
        assert!(found == codes && detail.contains(says), "{codes}, {says}: {found}, {detail}");
    }
    let asked = json!({"headers": headers, "body": body});
    gateway.clock().await.advance("312s").await;
    let (found, detail) = ask(&tenant, asked.clone()).await;
    assert!(found == "stale" && detail.contains("is 312 s stale"), "{found}: {detail}");
    let rotated = tenant.api.post(&format!("/v1/subscriptions/{id}/rotate-secret"), json!({"overlap": "0s"})).await;
    let new = rotated.json(200)["secret"].as_str().unwrap().to_owned();
    gateway.terminate().await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    let (found, detail) = ask(&tenant, asked.clone()).await;
    assert!(found.starts_with("old_secret") && detail.contains("was signed with the secret that counted"), "{detail}");
    // And a receiver that still has the old one.
    let event = tenant.post("order.created", json!({"amount": 1})).await;
    let delivery = tenant.status(&event, "delivered").await;
    let sent = &delivery["attempts"][0]["request"];
    let sent_at = sent["headers"]["x-acme-signature"].as_str().unwrap()[2..].split(',').next().unwrap().to_owned();
    let body = sent["body"].as_str().unwrap();
    let asked = |key| json!({"headers": sent["headers"], "body": body, "computed": with(key, [&sent_at, ".", body])});
    let (found, detail) = ask(&tenant, asked(&old)).await;
    assert!(found == "old_secret" && detail.contains("give it the present one"), "{found}: {detail}");
    assert_eq!(ask(&tenant, asked(&new)).await.0, "computed_right");
    let printed = gateway.printed();
    assert!(!printed.contains(&old) && !printed.contains(&new), "{printed}");
}
