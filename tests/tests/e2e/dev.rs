//! What authors of plugins see before anything is pushed, and while they write: the same as on a gateway.
//!
//! Nothing is compiled here: the plugin's folder is one of Python, whose builder takes what the test has put there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hookmill_tests::{Done, Gateway, Guest, Home, Receiver, Tenant};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Its config has one field, which must be there and is a secret.
const SECRETIVE: &str =
    r#"{"type":"object","required":["key"],"properties":{"key":{"type":"string","writeOnly":true}}}"#;

/// An author who has logged in, with a plugin's folder `mine`.
struct Author {
    home: Home,
}

impl Author {
    async fn new(tenant: &Tenant) -> Self {
        let author = Self { home: Home::of(tenant, "admin").await };
        fs::create_dir_all(author.file("mine/.venv/bin")).unwrap();
        let builder = author.file("mine/.venv/bin/componentize-py");
        fs::write(&builder, "#!/bin/sh\ncp made.wasm plugin.wasm\n").unwrap();
        fs::set_permissions(&builder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(author.file("mine/plugin.py"), "").unwrap();
        author
    }

    fn file(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// Saves what is built from now on: whole at once, since somebody may be looking at the folder.
    fn save(&self, module: impl AsRef<[u8]>) {
        let fresh = self.file("fresh.wasm");
        fs::write(&fresh, module).unwrap();
        fs::rename(fresh, self.file("mine/made.wasm")).unwrap();
    }

    /// Runs a plugin here and on the gateway, which end in the same way and say the same on standard error.
    async fn runs(&self, args: &[&str]) -> (Done, Done) {
        let here = [&["plugin", "run"][..], args].concat();
        let there = [&here[..], &["--server"]].concat();
        let (here, there) = (self.home.run(&here).await, self.home.run(&there).await);
        assert_eq!((here.success, &here.err), (there.success, &there.err), "{here:?} {there:?}");
        (here, there)
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A transform that makes this of every event's data.
fn stamp(version: &str, data: &str) -> Vec<u8> {
    Guest::new("stamp", version).makes(data).build()
}

/// Every saved file is built, held against the golden files and compared; what is broken ends nothing; Ctrl-C does.
#[tokio::test]
async fn as_files_are_saved() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.upload(stamp("1.0.0", r#"{"n": 1}"#)).await.is(201);
    let wanted =
        json!({"uid": "orders", "url": endpoint.url("/"), "events": ["*"], "transforms": [{"plugin": "stamp"}]});
    tenant.subscribe(wanted).await;
    let receipt = tenant.post("a", json!(0)).await;
    tenant.status(&receipt, "delivered").await;
    let event = receipt["id"].as_str().expect("a receipt has an id");

    let author = Author::new(&tenant).await;
    fs::create_dir(author.file("mine/golden")).unwrap();
    let golden = r#"{"event": {"type": "a", "data": 0}, "config": {}, "expect": {"keep": {"id": "evt_1", "type": "a",
        "timestamp": "2026-11-21T12:00:00.000Z", "source": "", "data": {"n": 1}, "attributes": {}}}}"#;
    fs::write(author.file("mine/golden/one.json"), golden.replace('\n', "")).unwrap();
    author.save(stamp("1.1.0", r#"{"n": 1}"#));
    let mut dev = author.home.begin(&["plugin", "dev", "mine", "--subscription", "orders"]);
    let (passes, same) = ("stamp@1.1.0: 1 golden files passed, 0 differ", format!("{event}: the same as stamp@1.0.0"));
    assert_eq!((dev.line().await.as_str(), dev.line().await), (passes, same.clone()));
    dev.said("waiting for a change in mine").await;

    author.save(stamp("1.1.0", r#"{"n": 2}"#));
    assert_eq!(dev.line().await, "mine/golden/one.json");
    let (expected, came) = (dev.line().await, dev.line().await);
    assert!(expected.starts_with("  expected ") && came.contains(r#""data":{"n": 2}"#), "{expected} {came}");
    assert_eq!(dev.line().await, "stamp@1.1.0: 0 golden files passed, 1 differ");
    assert_eq!(dev.line().await, format!("{event}: otherwise than stamp@1.0.0"));
    assert_eq!(dev.line().await, "  ~ /keep/data/n: 1 -> 2");
    dev.said("golden files differ").await;
    dev.said("waiting for a change").await;

    author.save("no module");
    dev.said("mine/plugin.wasm does not load").await;
    dev.said("waiting for a change").await;
    author.save(stamp("1.1.0", r#"{"n": 1}"#));
    assert_eq!((dev.line().await.as_str(), dev.line().await), (passes, same));
    dev.said("waiting for a change").await;
    // As Ctrl-C does; but that signal is ignored in whatever is started by a test in the background of a shell.
    kill_process(Pid::from_raw(dev.child.id().unwrap().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert!(!dev.ends_well().await, "it ends by the signal");

    // Once, it fails as `plugin test` does, after all has been shown.
    let once = ["plugin", "dev", "mine", "--once", "--subscription", "orders"];
    author.home.says(&once).await;
    author.save(stamp("1.1.0", r#"{"n": 2}"#));
    let done = author.home.run(&once).await;
    assert!(!done.success && done.err.ends_with("hookmill: golden files differ\n"), "{done:?}");
    assert!(done.out.contains(" 1 differ\n") && done.out.contains("otherwise than stamp@1.0.0"), "{done:?}");
}

/// Secrets are not told, so both versions get the same placeholders, and so do the steps before.
#[tokio::test]
async fn secrets_stand_in_no_ones_way() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    // Each makes its config the event's data.
    let guest = |name: &str, version: &str| {
        let config_for_data = "(local.set 8 (local.get 12)) (local.set 9 (local.get 13))";
        Guest::new(name, version).schema(SECRETIVE).doing(config_for_data)
    };
    tenant.upload(guest("first", "1.0.0").build()).await.is(201);
    tenant.upload(guest("mine", "1.0.0").build()).await.is(201);
    let steps = json!([
        {"plugin": "first", "config": {"key": "hush 1"}}, {"plugin": "mine", "config": {"key": "hush 2"}},
    ]);
    tenant.subscribe(json!({"uid": "orders", "url": endpoint.url("/"), "events": ["*"], "transforms": steps})).await;
    for number in 0..2 {
        let receipt = tenant.post("a", json!(number)).await;
        tenant.delivery(&receipt, "there", |_| true).await;
    }

    let author = Author::new(&tenant).await;
    let once = ["plugin", "dev", "mine", "--once", "--subscription", "orders"];
    author.save(guest("mine", "1.1.0").build());
    let done = author.home.run(&once).await;
    assert!(done.success && done.out.matches(": the same as mine@1.0.0\n").count() == 2, "{done:?}");
    let told = "a placeholder stands for each of: #/transforms/0/config/key, #/transforms/1/config/key\n";
    assert!(done.err.matches("placeholder").count() == 1 && done.err.ends_with(told), "{done:?}");

    author.save(guest("mine", "1.1.0").makes(r#"{"n": 1}"#).build());
    let said = author.home.says(&once).await;
    assert!(said.contains("- /keep/data/key: \"hmsecret") && said.contains("+ /keep/data/n: 1"), "{said}");
    // What a gateway would refuse, and whose fault it is.
    author.save(guest("mine", "1.2.0").schema(r#"{"type":"object","required":["more"]}"#).build());
    let said = author.home.says(&once).await;
    assert!(said.contains(": not compared: mine@1.2.0 as it is here: #/config: \"more\" is a required"), "{said}");
}

/// The same with a subscription that is listened to.
#[tokio::test]
async fn listening_without_secrets() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let program = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.upload(Guest::new("stamp", "1.0.0").schema(SECRETIVE).makes(r#"{"n": 1}"#).build()).await.is(201);
    let wanted = json!({
        "uid": "orders", "url": endpoint.url("/"), "events": ["*"], "secret_headers": {"X-Key": "hush 1"},
        "envelope": "none", "transforms": [{"plugin": "stamp", "config": {"key": "hush 2"}}],
    });
    tenant.subscribe(wanted).await;
    let author = Author::new(&tenant).await;
    let mut listening = author.home.begin(&["listen", "orders", "--to", &program.url("/"), "--limit", "1", "--json"]);
    listening.said("a placeholder stands for each of: #/transforms/0/config/key").await;
    listening.said("without its secrets at #/secret_headers/X-Key").await;
    assert_eq!(parsed(&listening.line().await)["listening"], program.url("/"));
    tenant.post("a", json!(0)).await;
    assert_eq!(parsed(&listening.line().await)["status_code"], 200);
    let handed_on = program.first("/").await;
    assert_eq!((handed_on.text(), handed_on.header("x-key")), (r#"{"n": 1}"#, ""));
    assert!(listening.ends_well().await);
}

/// What `plugin run` shows here is what it shows of a gateway: output, log, faults, limits and refusals.
#[tokio::test]
async fn run_here_and_there() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let author = Author::new(&tenant).await;
    let add = async |name: &str, guest: Guest| {
        let module = guest.build();
        tenant.upload(module.clone()).await.is(201);
        fs::write(author.file(name), module).unwrap();
    };
    let logs_its_config = "(call $log (i32.const 1) (local.get 12) (local.get 13))";
    add("noisy.wasm", Guest::new("noisy", "1.0.0").schema(SECRETIVE).doing(logs_its_config)).await;
    add("post.wasm", Guest::connector("post", "1.0.0").makes(r#"{"n": 1}"#)).await;
    add("looping.wasm", Guest::new("looping", "1.0.0").doing("(loop $again (br $again))")).await;
    fs::write(author.file("event.json"), r#"{"type": "a", "data": {"n": 1.50}}"#).unwrap();
    fs::write(author.file("no-data.json"), r#"{"type": "a"}"#).unwrap();

    let config = r#"{"key": "hush"}"#;
    for (module, config) in [("noisy.wasm", config), ("post.wasm", "{}"), ("looping.wasm", "{}")] {
        let args = ["event.json", "--module", module, "--config", config];
        let (here, there) = author.runs(&args).await;
        assert_eq!(here.out.lines().next(), there.out.lines().next(), "{here:?} {there:?}");
        let (here, there) = author.runs(&[&args[..], &["--json"]].concat()).await;
        let [here, there] = [here, there].map(|done| {
            let mut ran = parsed(&done.out);
            ran.as_object_mut().unwrap().remove("cpu_us").expect("it says how long it ran");
            ran
        });
        assert_eq!(here, there);
        match module {
            "noisy.wasm" => {
                let kept = &here["output"]["keep"];
                assert_eq!((&kept["id"], &kept["data"]["n"]), (&json!("evt_run"), &json!(1.5)));
                assert!(here["log"].to_string().contains("hmsecret"), "{here}");
            }
            "post.wasm" => assert_eq!(here["output"]["send"]["body"], r#"{"n": 1}"#),
            _ => {
                assert_eq!((&here["output"], &here["fault"]["kind"]), (&Value::Null, &json!("time")));
                assert!(here["fault"]["message"].to_string().contains("50 ms"), "{here}");
            }
        }
    }
    // Each was compiled once, and found by the later commands: its code, and the sum of that.
    assert_eq!(fs::read_dir(author.file(".cache/hookmill/compiled")).unwrap().count(), 2 * 3);
    for (event, config, says) in [
        ("event.json", "{}", "#/config: \"key\" is a required property"),
        ("event.json", r#"{"key": 1}"#, "#/config/key: "),
        ("no-data.json", config, "#/event: missing field `data`"),
    ] {
        let (here, _) = author.runs(&[event, "--module", "noisy.wasm", "--config", config]).await;
        assert!(!here.success && here.out.is_empty() && here.err.contains(says), "{here:?}");
    }
}
