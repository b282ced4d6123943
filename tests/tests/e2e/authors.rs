//! An author of plugins at work: begun, built, tested, run, pushed and changed, in each language.
//!
//! The tools are those that authors use, installed by the commands that `hookmill plugin` names. What cargo builds is
//! kept in its own folder for what tests leave behind.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hookmill_tests::{Done, Gateway, Guest, Home, Receiver, Tenant, binary, end};
use serde_json::{Value, json};
use tokio::process::Command;

/// An author, with a place to build in that lasts, and the variables with which Rust builds for WebAssembly here.
struct Author {
    home: Home,
    env: Vec<(String, String)>,
}

impl Author {
    async fn new(tenant: &Tenant) -> Self {
        let home = Home::of(tenant, "editor").await;
        let mut env = vec![("CARGO_TARGET_DIR".to_owned(), lasting("rust").display().to_string())];
        let script = repository().join("tests/wasm-toolchain.sh");
        let said = Command::new(script).output().await.expect("a shell is there");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            let (name, value) = line.trim_start_matches("export ").split_once('=').expect("NAME='value'");
            env.push((name.to_owned(), value.trim_matches('\'').to_owned()));
        }
        Self { home, env }
    }

    /// Runs a command in a folder of the home.
    async fn run(&self, folder: &str, program: &str, args: &[&str]) -> Done {
        let mut command = match program {
            "hookmill" => self.home.hookmill(args),
            other => {
                let mut command = self.home.program(other);
                command.args(args);
                command
            }
        };
        command.current_dir(self.home.path().join(folder));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        end(command, "").await
    }

    /// Runs `hookmill` in a folder; gives what it printed.
    async fn says(&self, folder: &str, args: &[&str]) -> String {
        let done = self.run(folder, "hookmill", args).await;
        assert!(done.success, "{args:?}: {done:?}");
        done.out
    }

    fn file(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder that outlives the test.
fn lasting(name: &str) -> PathBuf {
    binary().with_file_name("../tmp/authors").join(name)
}

const BIG: &str = r#"{"type": "order.paid", "data": {"amount": 99.90, "order": 12345678901234567890}}"#;

/// From an empty folder to a plugin on the gateway that a change is seen in before it is pushed.
#[tokio::test]
async fn in_rust() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let author = Author::new(&tenant).await;
    let new = ["plugin", "new", "--lang", "rust", "large-orders"];
    let said = author.says("", &new).await;
    assert!(said.contains("rustup target add") && said.contains("hookmill plugin build"), "{said}");
    let refused = author.run("", "hookmill", &new).await;
    assert!(!refused.success && refused.err.contains("not empty"), "{refused:?}");
    let not_built = author.run("large-orders", "hookmill", &["plugin", "test"]).await;
    assert!(!not_built.success && not_built.err.contains("`hookmill plugin build` makes it"), "{not_built:?}");
    // The versions that the presets are built with, so that nothing is fetched for this one alone.
    fs::copy(repository().join("plugins/Cargo.lock"), author.file("large-orders/Cargo.lock")).unwrap();

    author.says("large-orders", &["plugin", "build"]).await;
    assert_eq!(author.says("large-orders", &["plugin", "test"]).await, "large-orders@0.1.0: 3 passed, 0 differ\n");
    fs::write(author.file("event.json"), BIG).unwrap();
    let run = ["plugin", "run", "../event.json", "--config", r#"{"minimum": 50}"#];
    let here = author.says("large-orders", &run).await;
    assert!(here.contains(r#""data":{"amount": 99.90, "order": 12345678901234567890}"#), "{here}");
    let faulted = author.run("large-orders", "hookmill", &["plugin", "run", "../event.json"]).await;
    assert!(!faulted.success && faulted.err.contains("minimum"), "{faulted:?}");

    let missing = author.run("large-orders", "hookmill", &[&run[..], &["--server"]].concat()).await;
    assert!(
        missing.err.contains("there is no plugin `large-orders@0.1.0`; there") && missing.err.contains("redact@"),
        "{missing:?}"
    );
    let pushed = author.says("large-orders", &["plugin", "push"]).await;
    assert!(pushed.starts_with("large-orders@0.1.0\nsha256:"), "{pushed}");
    let again = author.says("large-orders", &["plugin", "push"]).await;
    assert!(again.starts_with("large-orders@0.1.0, which was there already\n"), "{again}");
    let there = author.says("large-orders", &[&run[..], &["--server"]].concat()).await;
    assert!(there.contains(r#""data":{"amount": 99.90, "order": 12345678901234567890}"#), "{there}");
    let other = [&run[..], &["--server", "--plugin", "redact"]].concat();
    assert!(!author.run("large-orders", "hookmill", &other).await.success, "another config");

    let endpoint = Receiver::start().await;
    tenant
        .subscribe(json!({
            "uid": "big", "url": endpoint.url("/"), "events": ["*"], "envelope": "none",
            "transforms": [{"plugin": "large-orders", "config": {"minimum": 50}}],
        }))
        .await;
    author.says("", &["events", "send", "event.json"]).await;
    endpoint.first("/").await;
    let dev = ["plugin", "dev", "--once", "--subscription", "big"];
    let same = author.says("large-orders", &dev).await;
    assert!(
        same.contains("3 golden files passed, 0 differ") && same.contains(": the same as large-orders@0.1.0"),
        "{same}"
    );

    let source = author.file("large-orders/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let changed = text.replace("purchase.amount < config.minimum", "purchase.amount < config.minimum * 10.0");
    assert_ne!(text, changed);
    fs::write(&source, changed).unwrap();
    let differs = author.run("large-orders", "hookmill", &dev).await;
    assert!(!differs.success && differs.err.contains("golden files differ"), "{differs:?}");
    assert!(
        differs.out.contains("otherwise than large-orders@0.1.0") && differs.out.contains("+ /drop: "),
        "{differs:?}"
    );
    let taken = author.run("large-orders", "hookmill", &["plugin", "push"]).await;
    let advice = "a version never changes: give yours a new one (`version` in Cargo.toml, ";
    assert!(!taken.success && taken.err.contains(advice), "{taken:?}");
    assert!(
        author
            .says("large-orders", &["plugin", "push", "--name", "huge-orders"])
            .await
            .starts_with("huge-orders@0.1.0\n")
    );
    fs::write(&source, "no Rust").unwrap();
    let broken = author.run("large-orders", "hookmill", &["plugin", "build"]).await;
    assert!(!broken.success && broken.err.contains("cargo did not build it"), "{broken:?}");
    assert!(broken.err.contains("error: ") && broken.err.contains("src/lib.rs"), "in rustc's own words: {broken:?}");
}

/// The blocks of the README that are for plugins in this language, in order.
fn tour(language: &str) -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = readme.split("```sh ").skip(1).filter_map(|block| {
        let (whose, rest) = block.split_once('\n')?;
        ["plugin", language].contains(&whose).then(|| rest.split_once("```").map_or(rest, |(code, _)| code))
    });
    blocks.collect()
}

/// The README's commands, as they stand there: from an empty home folder to a version that was tried, pinned and rolled
/// back, within the ten minutes that are promised there.
async fn as_the_readme_says(language: &str, missing: Option<&str>) {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let author = Author::new(&tenant).await;
    fs::remove_dir_all(author.file(".config")).unwrap();
    let inbox = tenant.api.poke("/v1/inboxes").await.json(201);
    let made = tenant.api.post("/v1/keys", json!({"role": "admin"})).await.json(201);
    let mut bash = author.home.program("bash");
    let own = binary().parent().expect("it lies in a folder").to_owned();
    let path = std::env::var_os("PATH").expect("there is one");
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap();
    bash.envs(author.env.iter().map(|(name, value)| (name, value))).env("PATH", path).arg("-eux").arg("tour.sh");
    bash.env("KEY", made["key"].as_str().unwrap()).env("INBOX", inbox["url"].as_str().unwrap());
    // The suite has a toolchain of its own where rustup has none, and the presets' versions are fetched already.
    let lock = format!("cp {} Cargo.lock\n", repository().join("plugins/Cargo.lock").display());
    let script = tour(language).replace("http://127.0.0.1:8080", tenant.api.base());
    // Two seconds are enough for whoever has the machine to himself.
    let compared = r#"until hookmill subscriptions rollout big --json | grep -q '"compared":2'; do sleep 0.1; done"#;
    let script = script.replace("sleep 2\n", &format!("{compared}\n"));
    let script = script.lines().filter(|line| !line.starts_with("rustup ")).map(|line| match (line, language) {
        ("hookmill plugin build", "rust") => format!("{lock}{line}\n"),
        _ => format!("{line}\n"),
    });
    let script: String = script.collect();
    assert!(script.lines().count() > 12, "{script}");
    let began = Instant::now();
    fs::write(author.file("tour.sh"), &script).unwrap();
    let done = end(bash, "").await;
    let took = began.elapsed();
    // Not by `println!`: what a test prints is shown only if it fails, and this is to be seen where all is well.
    let _ = writeln!(std::io::stderr(), "{language}: the tour of a plugin took {:.1} s", took.as_secs_f64());
    assert!(done.success, "{done:?}");
    assert!(took < Duration::from_secs(600), "{took:?}");
    for part in [
        "3 passed, 0 differ",
        "\"data\":{\"amount\": 99.90}",
        "\nbig-orders@0.1.0\nsha256:",
        "order.paid  delivered",
        "order.paid  dropped",
        ": the same as big-orders@0.1.0",
        "big-orders@0.2.0: 3 passed, 0 differ",
        "\nbig-orders@0.2.0\nsha256:",
        " uses big-orders@0.1.0; big-orders@0.2.0 runs in its shadow\n",
        "#/transforms/0: big-orders@0.2.0 runs in the shadow of big-orders@0.1.0; since ",
        "  2 compared: 1 the same (50.0 %), 1 otherwise\n",
        "    add /drop: \"50 is not above 50\"\n",
        "\nbig-orders  0.1.0    transform  ",
        "\nbig-orders  0.2.0    transform  ",
        " uses big-orders@0.2.0\n",
        " uses big-orders@0.1.0\nbig-orders@0.2.0 is removed\n",
    ] {
        assert!(done.out.contains(part), "{part}: {done:?}");
    }
    // What is missing is named with the command of the README; Rust's is there for all folders.
    if let Some(missing) = missing {
        author.says("", &["plugin", "new", "--lang", language, "other"]).await;
        let without = author.run("other", "hookmill", &["plugin", "build"]).await;
        assert!(!without.success && without.err.contains(missing), "{without:?}");
    }
}

#[tokio::test]
async fn the_tour_in_rust() {
    as_the_readme_says("rust", None).await;
}

#[tokio::test]
async fn the_tour_in_javascript() {
    as_the_readme_says("js", Some("npm ci")).await;
}

#[tokio::test]
async fn the_tour_in_typescript() {
    as_the_readme_says("ts", Some("npm ci")).await;
}

#[tokio::test]
async fn the_tour_in_python() {
    as_the_readme_says("python", Some("python3 -m venv .venv && .venv/bin/pip install -r")).await;
}

/// A plugin that was made elsewhere is run and pushed, too; what can't be is said.
#[tokio::test]
async fn any_module() {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let author = Author::new(&tenant).await;
    fs::write(author.file("a.wasm"), Guest::new("stamp", "1.0.0").makes(r#"{"n": 1.50}"#).build()).unwrap();
    fs::write(author.file("event.json"), BIG).unwrap();
    let here = author.says("", &["plugin", "run", "event.json", "--module", "a.wasm", "--json"]).await;
    let parsed: Value = serde_json::from_str(&here).unwrap();
    assert!(here.contains(r#""data":{"n": 1.50}"#) && parsed["plugin"] == "stamp@1.0.0", "{here}");
    let pushed: Value = serde_json::from_str(&author.says("", &["plugin", "push", "a.wasm", "--json"]).await).unwrap();
    assert_eq!(pushed["digest"], parsed["digest"]);
    fs::write(author.file("b.wasm"), "no module").unwrap();
    for args in [&["plugin", "push", "b.wasm"][..], &["plugin", "run", "event.json", "--module", "b.wasm"]] {
        assert!(!author.run("", "hookmill", args).await.success, "{args:?}");
    }
    let nowhere = author.run("", "hookmill", &["plugin", "build"]).await;
    assert!(nowhere.err.contains("is no folder of a plugin"), "{nowhere:?}");
}
