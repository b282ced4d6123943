//! The process: how it starts, what it refuses to start with, and what it says of itself.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hookmill_tests::{Gateway, Receiver, Setup, binary, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Runs a command that must end by itself, and not well; gives what it said.
async fn refusal(mut command: Command) -> String {
    let output =
        tokio::time::timeout(Duration::from_secs(30), command.output()).await.expect("it ends by itself").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it must not start: {said}");
    assert!(output.status.code().is_some(), "it ends with a code, not a signal: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let sentence = said.find("hookmill: ").unwrap_or_else(|| panic!("it says why: {said}"));
    said[sentence..].to_owned()
}

/// What may not be served ends with a sentence that says why, and a code other than 0; then it starts again.
#[tokio::test]
async fn what_it_refuses_to_start_with() {
    let mut gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let said = refusal(gateway.another()).await;
    assert!(said.contains("another"), "a second process: `{said}`");
    tenant.post("a", json!(1)).await;
    gateway.terminate().await;

    let key = gateway.master_key();
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    let said = refusal(gateway.another()).await;
    assert!(said.contains("chmod 600") && said.contains(key.to_str().unwrap()), "a key that others can read: `{said}`");
    mode(0o600);

    let other = Gateway::start().await;
    let right = std::fs::read(&key).unwrap();
    std::fs::copy(other.master_key(), &key).unwrap();
    let said = refusal(gateway.another()).await;
    assert!(said.contains("another master key"), "a wrong key: `{said}`");
    std::fs::write(&key, right).unwrap();

    let mut command = gateway.another();
    command.env("HOOKMILL_SERVER__LISSTEN", "x").env("HOOKMILL_STORE__RETENTION", "soon");
    let said = refusal(command).await;
    assert!(said.contains("lissten") && said.contains("RETENTION"), "every setting at fault is named: `{said}`");
    gateway.restart().await;
    assert_eq!(gateway.again(&tenant).api.get("/v1/events").await.json(200)["data"].as_array().unwrap().len(), 1);
}

/// An operator's key that could be guessed is refused before anything is written.
#[tokio::test]
async fn an_operator_key_that_is_too_short() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new().env("HOOKMILL_OPERATOR_KEY", "short");
    let said = refusal(setup.command(&folder.path().join("data"))).await;
    assert!(said.contains("HOOKMILL_OPERATOR_KEY: an operator key must have at least 32 characters"), "`{said}`");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A newcomer sees a signed delivery at an inbox, with no flag and no internet.
#[tokio::test]
async fn an_inbox_without_flags() {
    let gateway = Setup::closed().start().await;
    let printed = gateway.printed();
    let line = |label: &str| {
        printed.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{printed}")).to_owned()
    };
    let first = gateway.public().with_key(&line("first tenant's key: "));
    first.post("/v1/events", json!({"type": "hello.world", "data": {"n": 1}})).await.is(202);
    let arrived = async |url: &str| {
        eventually("a request at the inbox", async || {
            let list = gateway.public().get(&format!("{url}/requests")).await.json(200);
            list["data"].as_array().unwrap().first().cloned()
        })
        .await
    };
    let request = arrived(&line("first tenant's inbox: ")).await;
    assert_eq!(request["signature"]["verdict"], "valid", "{request}");

    let tenant = gateway.tenant("acme").await;
    let inbox = tenant.api.poke("/v1/inboxes").await.json(201);
    let url = inbox["url"].as_str().unwrap();
    let made = tenant.subscribe(json!({"url": url, "events": ["*"]})).await;
    let receipt = tenant.post("a", json!({"x": "<script>"})).await;
    tenant.status(&receipt, "delivered").await;
    let request = arrived(url).await;
    assert_eq!(
        (&request["signature"]["verdict"], &request["signature"]["subscription_id"]),
        (&json!("valid"), &made["id"])
    );
    let page = gateway.public().send("GET", url, &[("accept", "text/html")], "").await;
    page.is(200);
    assert!(page.header("content-type").starts_with("text/html") && page.text.contains("signed by"));
    assert!(!page.text.contains("<script>"), "what arrives is shown, not run");
    let choice = [("content-type", "application/x-www-form-urlencoded")];
    gateway.public().send("POST", &format!("{url}/answer"), &choice, "answer=410").await.is(303);
    let receipt = tenant.post("a", json!(2)).await;
    assert_eq!(tenant.status(&receipt, "failed").await["attempts"][0]["outcome"], "gone");
}

/// The demo's tour ends well and shows every target.
#[tokio::test]
async fn the_demo() {
    let mut command = Command::new(binary());
    command.args(["demo", "--once"]).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("it ends").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for target in ["Slack", "Zapier", "Google Sheets", "Ilara", "Inbox"] {
        assert!(said.contains(target), "{target} in: {said}");
    }
}

/// After some traffic every metric of the contract is there, and health says so on both listeners.
#[tokio::test]
async fn metrics_and_health() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::statuses(&[200]).await;
    let tenant = gateway.tenant("acme").await;
    let redact = json!([{"plugin": "redact", "config": {"paths": ["$.data.x"]}}]);
    tenant.subscribe(json!({"url": endpoint.url("/"), "events": ["*"], "transforms": redact})).await;
    let receipt = tenant.post("a", json!({"x": 1})).await;
    tenant.status(&receipt, "delivered").await;
    let metrics = gateway.admin().get("/metrics").await;
    metrics.is(200);
    let samples: Vec<&str> = metrics.text.lines().filter(|line| !line.starts_with('#')).collect();
    for wanted in [
        "hookmill_events_total{result=\"accepted\"} 1",
        "hookmill_attempts_total{outcome=\"delivered\"} 1",
        "hookmill_attempt_duration_seconds_count 1",
        "hookmill_event_to_delivery_seconds_count 1",
        "hookmill_deliveries_pending 0",
        "hookmill_oldest_due_seconds 0",
        "hookmill_plugin_cpu_seconds_total",
        "hookmill_plugin_peak_memory_bytes",
        "hookmill_store_commit_seconds_count",
        "hookmill_build_info{version=",
    ] {
        assert!(samples.iter().any(|sample| sample.starts_with(wanted)), "{wanted} in:\n{}", metrics.text);
    }
    for secret in ["ten_", "sub_"] {
        assert!(!metrics.text.contains(secret), "no label holds an id");
    }
    for listener in [gateway.public(), gateway.admin()] {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(listener.get(path).await.json(200)["status"], "ok");
        }
    }
    gateway.public().get("/metrics").await.is(404);
    assert_ne!(gateway.public().get("/v1/openapi.json").await.json(200)["paths"], Value::Null);
}

/// A request whose head can't be read is answered before its connection is closed.
#[tokio::test]
async fn heads_that_are_no_http() {
    let gateway = Gateway::start().await;
    let address = gateway.public().base().trim_start_matches("http://").to_owned();
    let begun = "GET /healthz HTTP/1.1\r\nhost: a\r\n";
    let long = format!("{begun}x: ");
    for (head, status) in [
        (format!("{begun}\r\n"), "200"),
        (format!("{begun}no header\r\n\r\n"), "400"),
        ("GET /{} HTTP/one\r\n\r\n".to_owned(), "400"),
        (format!("{long}{}", "x".repeat(64 * 1024 - long.len())), "431"),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
    }
}

/// However short the time that everything is kept, a first start makes its tenant and its inbox.
#[tokio::test]
async fn the_shortest_retention() {
    let gateway = Setup::new().env("HOOKMILL_STORE__RETENTION", "1m").start().await;
    assert_eq!(gateway.operator().get("/v1/tenants").await.json(200)["data"][0]["uid"], "first");
}
