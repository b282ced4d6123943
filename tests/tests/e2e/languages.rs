//! Plugins in Rust, JavaScript, TypeScript and Python: the examples and the templates, built with the tools that
//! authors use.
//!
//! `examples/plugins/build` fetches those tools, in the versions that the templates pin, into cargo's own folder for
//! what tests leave behind.

use std::path::{Path, PathBuf};

use hookmill_tests::{Answer, Receiver, Setup, binary};
use serde_json::json;
use tokio::process::Command;

/// What is built, and the folder of its golden files.
const PLUGINS: [(&str, &str); 11] = [
    ("sample", "examples/plugins/rust/sample"),
    ("lookup", "examples/plugins/rust/lookup"),
    ("influx", "examples/plugins/rust/influx"),
    ("order-row", "examples/plugins/js/order-row"),
    ("ntfy", "examples/plugins/js/ntfy"),
    ("money", "examples/plugins/python/money"),
    ("mattermost", "examples/plugins/python/mattermost"),
    ("template-rust", "plugin-sdk/templates/rust"),
    ("template-js", "plugin-sdk/templates/js"),
    ("template-ts", "plugin-sdk/templates/ts"),
    ("template-python", "plugin-sdk/templates/python"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder with the built modules.
pub(super) async fn built() -> PathBuf {
    let folder = binary().with_file_name("../tmp/example-plugins");
    let script = repository().join("examples/plugins/build");
    let status = Command::new(script).arg(&folder).status().await.expect("a shell is there");
    assert!(status.success(), "building needs npm, python3 with venv, their registries, and cargo");
    folder.join("built")
}

/// Every golden file, over the built module, in the gateway's own engine.
#[tokio::test]
async fn examples_do_as_their_golden_files_say() {
    let built = built().await;
    for (name, folder) in PLUGINS {
        let golden = repository().join(folder).join("golden");
        let files = std::fs::read_dir(&golden).expect("each has golden files").count();
        let module = built.join(format!("{name}.wasm"));
        let output = Command::new(binary()).args(["plugin", "test"]).args([&module, &golden]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}:\n{said}\n{wrong}");
        assert!(said.ends_with(&format!(": {files} passed, 0 differ\n")), "{name}: {said}");
    }
}

/// The templates do the same thing in four languages, so they are held to the same files.
#[test]
fn templates_have_the_same_golden_files() {
    let files = |language: &str| {
        let folder = repository().join("plugin-sdk/templates").join(language).join("golden");
        let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let rust = files("rust");
    assert!(rust.len() >= 3);
    assert_eq!(files("js"), rust);
    assert_eq!(files("ts"), rust);
    assert_eq!(files("python"), rust);
}

/// An order goes through a transform in JavaScript, and leaves as a message that a connector in Python made and
/// whose refusal it reads.
#[tokio::test]
async fn one_event_through_two_languages() {
    let built = built().await;
    let files = json!([built.join("order-row.wasm"), built.join("mattermost.wasm")]).to_string();
    let setup = Setup::new().env("HOOKMILL_PLUGINS__FILES", &files);
    let gateway = setup.start().await;
    let chat = Receiver::scripted(|request, _| match request.path.as_str() {
        "/hooks/gone" => Answer::Status(404),
        _ => Answer::Status(200),
    })
    .await;
    let tenant = gateway.tenant("acme").await;
    for (event, hook) in [("order.paid", "/hooks/here"), ("order.refunded", "/hooks/gone")] {
        tenant
            .subscribe(json!({
                "url": chat.url(hook), "events": [event], "transforms": [{"plugin": "order-row", "config": {}}],
                "connector": {"name": "mattermost", "config": {"text": "**{customer}** paid {total} {currency}: {items}"}},
                "reuse_instances": true,
            }))
            .await;
    }
    let order = json!({
        "id": 1001, "currency": "EUR", "customer": {"name": "@all", "email": "dana@shop.example"},
        "items": [{"sku": "hat", "quantity": 3, "price": 0.1}],
    });
    // The second in the instance that was kept of the first.
    for count in 1..=2 {
        tenant.post("order.paid", order.clone()).await;
        let sent = chat.wait("/hooks/here", count).await;
        for sent in sent {
            assert_eq!(sent.json(), json!({"text": "**@\u{200b}all** paid 0\\.30 EUR: 3 × hat"}));
        }
    }
    let refunded = tenant.post("order.refunded", order).await;
    let gone = tenant.status(&refunded, "failed").await;
    assert_eq!((&gone["attempt_count"], &gone["attempts"][0]["outcome"]), (&json!(1), &json!("gone")), "{gone}");
    assert!(gone.to_string().contains("the incoming webhook was removed"), "the connector's own words: {gone}");
}
