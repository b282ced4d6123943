//! Plugins that tenants upload: taken or refused, pinned and followed, kept across everything, nobody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookmill_tests::{Gateway, Guest, Receiver, Setup, Tenant, Unsynced, eventually};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

/// A transform of this version that says so in every event.
fn version(version: &str) -> Vec<u8> {
    Guest::new("stamp", version).makes(&format!("{{\"made\": \"{version}\"}}")).build()
}

async fn subscribe(tenant: &Tenant, endpoint: &Receiver, path: &str, plugin: &str) -> Value {
    let wanted = json!({
        "url": endpoint.url(path), "events": ["order.paid"], "envelope": "none", "transforms": [{"plugin": plugin}],
    });
    tenant.subscribe(wanted).await
}

/// What arrives at each path for one more event.
async fn made(tenant: &Tenant, endpoint: &Receiver, paths: &[&str]) -> Vec<String> {
    let before: Vec<usize> = paths.iter().map(|path| endpoint.count(path)).collect();
    tenant.post("order.paid", json!({"total": 1})).await;
    let mut texts = Vec::new();
    for (path, before) in paths.iter().zip(before) {
        texts.push(endpoint.wait(path, before + 1).await[before].text().to_owned());
    }
    texts
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// A plugin is taken, pinned by whoever names it, followed by whoever says so, and there after a crash.
#[tokio::test]
async fn pinned_and_followed() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let first = version("1.0.0");
    let reply = tenant.upload(first.clone()).await;
    let uploaded = reply.json(201);
    assert_eq!(reply.header("location"), "/v1/plugins/stamp/1.0.0");
    assert_eq!(
        (text(&uploaded, "name"), text(&uploaded, "version"), text(&uploaded, "kind"), &uploaded["preset"]),
        ("stamp", "1.0.0", "transform", &json!(false)),
    );
    assert_eq!(uploaded["size"], first.len());
    assert_eq!(uploaded["config_schema"], json!({"type": "object"}));
    let again = tenant.upload(first).await.json(200);
    assert_eq!(again, uploaded, "the same bytes are the same version");

    let by_digest = format!("stamp@{}", text(&uploaded, "digest"));
    let paths = ["/bare", "/exact", "/digest", "/latest", "/caret", "/zero"];
    let names = ["stamp", "stamp@1.0.0", &by_digest, "stamp@latest", "stamp@^1", "stamp@^1.0"];
    let mut saved = Vec::new();
    for (path, name) in paths.iter().zip(names) {
        saved.push(text(&subscribe(&tenant, &endpoint, path, name).await["transforms"][0], "plugin").to_owned());
    }
    assert_eq!(saved, ["stamp@1.0.0", "stamp@1.0.0", &by_digest, "stamp@latest", "stamp@^1", "stamp@^1.0"]);
    assert_eq!(made(&tenant, &endpoint, &paths).await, [r#"{"made": "1.0.0"}"#; 6]);

    tenant.upload(version("1.1.0")).await.is(201);
    let (old, new) = (r#"{"made": "1.0.0"}"#, r#"{"made": "1.1.0"}"#);
    assert_eq!(made(&tenant, &endpoint, &paths).await, [old, old, old, new, new, new]);
    tenant.upload(version("2.0.0-rc.1")).await.is(201);
    assert_eq!(made(&tenant, &endpoint, &paths).await, [old, old, old, new, new, new], "not finished, not followed");
    tenant.upload(version("2.0.0")).await.is(201);
    let two = r#"{"made": "2.0.0"}"#;
    let now = [old, old, old, two, new, new];
    assert_eq!(made(&tenant, &endpoint, &paths).await, now);

    gateway.kill9().await;
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(made(&tenant, &endpoint, &paths).await, now, "all of it is there after a crash");
    assert_eq!(tenant.api.get("/v1/plugins/stamp/1.0.0").await.json(200), uploaded);
    let named = tenant.api.get("/v1/plugins/stamp").await.json(200);
    assert_eq!(text(&named, "version"), "2.0.0");
    let versions: Vec<&str> = named["versions"].as_array().unwrap().iter().map(|one| text(one, "version")).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"]);
    let listed = tenant.api.get("/v1/plugins").await.json(200);
    let own = listed["data"].as_array().unwrap().iter().filter(|one| one["preset"] == false).count();
    assert_eq!(own, 4);
}

/// What somebody uses can't be deleted; what nobody uses goes, and its name and version are free again.
#[tokio::test]
async fn deleted_when_nobody_uses_it() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    tenant.upload(version("1.0.0")).await.is(201);
    tenant.upload(version("1.1.0")).await.is(201);
    let pinned = subscribe(&tenant, &endpoint, "/pinned", "stamp@1.0.0").await;
    let following = subscribe(&tenant, &endpoint, "/following", "stamp@latest").await;
    for (path, user) in [("stamp/1.0.0", &pinned), ("stamp/1.1.0", &following), ("stamp", &pinned)] {
        let refused = tenant.api.delete(&format!("/v1/plugins/{path}")).await;
        refused.problem(409, "plugin-in-use");
        assert!(text(&refused.json(409), "detail").contains(text(user, "id")), "{path}: {}", refused.text);
    }
    let other_bytes = Guest::new("stamp", "1.0.0").makes("{}").build();
    tenant.upload(other_bytes.clone()).await.problem(409, "plugin-version-taken");

    tenant.api.delete(&format!("/v1/subscriptions/{}", text(&pinned, "id"))).await.is(204);
    tenant.api.delete("/v1/plugins/stamp/1.0.0").await.is(204);
    for path in ["/v1/plugins/stamp/1.0.0", "/v1/plugins/nothing"] {
        tenant.api.get(path).await.problem(404, "not-found");
        tenant.api.delete(path).await.problem(404, "not-found");
    }
    for path in ["/v1/plugins/redact", "/v1/plugins/redact/0.1.0"] {
        tenant.api.delete(path).await.problem(409, "plugin-name-reserved");
    }
    tenant.upload(other_bytes).await.is(201);
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(made(&tenant, &endpoint, &["/following"]).await, [r#"{"made": "1.1.0"}"#]);
    tenant.api.patch(&format!("/v1/subscriptions/{}", text(&following, "id")), json!({"transforms": []})).await.is(200);
    tenant.api.delete("/v1/plugins/stamp").await.is(204);
    tenant.api.get("/v1/plugins/stamp").await.problem(404, "not-found");
    let compiled = fs::read_dir(gateway.data().join("compiled")).unwrap().count();
    let presets = tenant.api.get("/v1/plugins").await.json(200)["data"].as_array().unwrap().len();
    assert_eq!(compiled, 2 * presets, "what was compiled of them is gone, too");
    tidy(&mut gateway, 0).await;
}

/// Stops a gateway and checks its store: it has so many plugins, and nothing is left of what has been deleted.
async fn tidy(gateway: &mut Gateway, plugins: usize) {
    // It is removed in small steps behind what is answered, and what is left of it at the start.
    gateway.restart().await;
    gateway.terminate().await;
    let mut check = tokio::process::Command::new(hookmill_tests::binary());
    let done = check.args(["store", "check", "--json", "--data"]).arg(gateway.data()).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let checked: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(checked["records"]["components"], plugins, "{checked}");
    assert_eq!(checked["records"]["chunks"] == 0, plugins == 0, "{checked}");
}

/// A tenant's plugins are its own: to others they are not there, and their names are free. They go with it.
#[tokio::test]
async fn anothers_plugins() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let (ours, theirs) = (gateway.tenant("ours").await, gateway.tenant("theirs").await);
    let uploaded = ours.upload(version("1.0.0")).await.json(201);
    let digest = text(&uploaded, "digest");
    for path in ["stamp", "stamp/1.0.0", "stamp/latest", &format!("stamp/{digest}")] {
        ours.api.get(&format!("/v1/plugins/{path}")).await.is(200);
        let path = format!("/v1/plugins/{path}");
        for caller in [&theirs.api, &gateway.operator()] {
            caller.get(&path).await.problem(404, "not-found");
        }
        theirs.api.delete(&path).await.problem(404, "not-found");
    }
    let run = json!({"event": {"type": "a", "data": 1}});
    theirs.api.post("/v1/plugins/stamp/run", run.clone()).await.problem(404, "not-found");
    let wanted =
        json!({"url": endpoint.url("/"), "events": ["*"], "transforms": [{"plugin": format!("stamp@{digest}")}]});
    let refused = theirs.api.post("/v1/subscriptions", wanted).await;
    assert_eq!(refused.problem(422, "invalid"), ["#/transforms/0/plugin"]);
    let listed = theirs.api.get("/v1/plugins").await;
    assert!(!listed.json(200).to_string().contains("stamp"), "{}", listed.text);

    // The same name and version is another plugin.
    theirs.upload(Guest::new("stamp", "1.0.0").makes(r#"{"made": "theirs"}"#).build()).await.is(201);
    subscribe(&ours, &endpoint, "/ours", "stamp").await;
    subscribe(&theirs, &endpoint, "/theirs", "stamp").await;
    assert_eq!(made(&theirs, &endpoint, &["/theirs"]).await, [r#"{"made": "theirs"}"#]);
    assert_eq!(made(&ours, &endpoint, &["/ours"]).await, [r#"{"made": "1.0.0"}"#]);

    for tenant in [ours, theirs] {
        gateway.operator().delete(&format!("/v1/tenants/{}", tenant.id)).await.is(204);
    }
    gateway.restart().await;
    let again = gateway.tenant("ours").await;
    again.api.get("/v1/plugins/stamp").await.problem(404, "not-found");
}

/// The files of what was compiled of a plugin.
fn artifact(gateway: &Gateway, uploaded: &Value, extension: &str) -> Option<PathBuf> {
    let digest = text(uploaded, "digest").trim_start_matches("sha256:").to_owned();
    let mut files = fs::read_dir(gateway.data().join("compiled")).unwrap().map(|file| file.unwrap().path());
    files.find(|file| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&digest) && name.ends_with(extension)
    })
}

/// What was compiled may be lost or damaged, or come from another version of the engine: it is compiled again behind the
/// start, and events wait for it.
#[tokio::test]
async fn compiled_again() {
    /// With its SHA-256.
    const OTHER: (&str, &str) = ("no machine code", "b502fe3053408f97200562205a53e13d4d880d35efc9cbab2502ed06f02ed7c2");
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let uploaded = tenant.upload(version("1.0.0")).await.json(201);
    subscribe(&tenant, &endpoint, "/", "stamp").await;
    let (code, sum) =
        (artifact(&gateway, &uploaded, "cwasm").unwrap(), artifact(&gateway, &uploaded, "sha256").unwrap());
    let whole = fs::read(&code).unwrap();
    let flipped = {
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        bytes
    };
    // As an upgrade finds it: by the name of what compiled it, or, were two to have the same, by what is in it.
    let older = |file: &Path| {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (digest, compiler) = name.split_once('-').unwrap();
        file.with_file_name(format!("{digest}-{}{}", "0".repeat(16), &compiler[16..]))
    };
    let harms: [&dyn Fn(); 6] = [
        &|| fs::remove_file(&code).unwrap(),
        &|| fs::write(&code, &flipped).unwrap(),
        &|| fs::write(&code, &whole[..whole.len() / 2]).unwrap(),
        &|| fs::remove_file(&sum).unwrap(),
        &|| [&code, &sum].into_iter().for_each(|file| fs::rename(file, older(file)).unwrap()),
        &|| {
            fs::write(&code, OTHER.0).unwrap();
            fs::write(&sum, OTHER.1).unwrap();
        },
    ];
    for harm in harms {
        gateway.kill9().await;
        harm();
        gateway.restart().await;
        let tenant = gateway.again(&tenant);
        assert_eq!(made(&tenant, &endpoint, &["/"]).await, [r#"{"made": "1.0.0"}"#]);
        assert_eq!(fs::read(&code).unwrap(), whole, "the same bytes compile to the same code");
        eventually("what another compiler made is removed", async || {
            (!older(&code).exists() && !older(&sum).exists()).then_some(())
        })
        .await;
        let failed = tenant.deliveries("status=failed").await;
        assert_eq!(failed, Vec::<Value>::new());
    }
}

/// A run shows what a plugin makes of an event, always the same, and sends nothing.
#[tokio::test]
async fn runs() {
    let mut gateway = Gateway::start().await;
    let tenant = gateway.tenant("acme").await;
    let schema =
        r#"{"type":"object","properties":{"key":{"type":"string","writeOnly":true}},"additionalProperties":false}"#;
    let guest = Guest::new("noisy", "1.0.0").schema(schema).makes("{\"b\": 1.0, \"a\": 12345678901234567890}").doing(
        // It logs its config.
        "(call $log (i32.const 1) (local.get 12) (local.get 13))",
    );
    let digest = text(&tenant.upload(guest.build()).await.json(201), "digest").to_owned();
    let body = json!({"event": {"type": "a.b", "data": {"n": 1}}, "config": {"key": "a secret"}});
    let run = async |tenant: &Tenant, name: &str, body: &Value| {
        let mut ran = tenant.api.post(&format!("/v1/plugins/{name}/run"), body.clone()).await.json(200);
        let cost = ran.as_object_mut().unwrap().remove("cpu_us").unwrap();
        assert!(cost.as_u64().unwrap() < 50_000, "{cost}");
        ran
    };
    let first = run(&tenant, "noisy", &body).await;
    assert_eq!(first["plugin"], "noisy@1.0.0");
    assert_eq!(first["digest"], digest);
    let kept = &first["output"]["keep"];
    assert_eq!(
        (&kept["id"], &kept["type"], &kept["timestamp"]),
        (&json!("evt_run"), &json!("a.b"), &json!("1970-01-01T00:00:00.000Z"))
    );
    let raw = tenant.api.post("/v1/plugins/noisy/run", body.clone()).await;
    assert!(raw.text.contains(r#""data":{"b": 1.0, "a": 12345678901234567890}"#), "byte by byte: {}", raw.text);
    let log = text(&first["log"][0], "message");
    assert!(log.contains("hmsecret") && !first.to_string().contains("a secret"), "{first}");
    assert!(first["memory_bytes"].as_u64().unwrap() >= 48 * 65_536);
    for name in ["noisy@1.0.0", "noisy@^1", &format!("noisy@{digest}")] {
        assert_eq!(run(&tenant, name, &body).await, first, "{name}");
    }
    for _ in 0..100 {
        assert_eq!(run(&tenant, "noisy", &body).await, first);
    }
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(run(&tenant, "noisy", &body).await, first);

    let event = json!({"id": "1", "type": "a", "source": "shop", "timestamp": "2026-01-02T03:04:05Z", "data": {"name": "Dana"}});
    let redacted = run(&tenant, "redact", &json!({"event": event, "config": {"paths": ["$.data.name"]}})).await;
    assert_eq!(redacted["output"]["keep"]["data"], json!({"name": "***"}));
    assert_eq!(redacted["output"]["keep"]["timestamp"], "2026-01-02T03:04:05.000Z");
    let slack = run(&tenant, "slack", &json!({"event": event, "config": {"text": "Hello {{ data.name }}"}})).await;
    assert_eq!((&slack["output"]["send"]["method"], &slack["output"]["send"]["url"]), (&json!("POST"), &Value::Null));
    assert!(text(&slack["output"]["send"], "body").contains("Hello Dana"), "{slack}");
    let faulted = run(&tenant, "slack", &json!({"event": event, "config": {"text": "{{ nothing.at.all }}"}})).await;
    assert_eq!((&faulted["output"], &faulted["fault"]["kind"]), (&Value::Null, &json!("reported")), "{faulted}");
    assert!(text(&faulted["fault"], "message").contains("nothing"), "{faulted}");

    for (body, pointer) in [
        (json!({"event": event, "config": {"key": 1}}), "#/config/key"),
        (json!({"event": event, "config": {"other": 1}}), "#/config"),
        (json!({"event": {"type": "a"}}), "#/event"),
        (json!({"event": {"type": "a", "data": 1, "extra": 1}}), "#/event/extra"),
        (json!({"event": {"type": "a b", "data": 1}}), "#/event/type"),
        (json!({"event": {"type": "a", "data": 1, "id": ""}}), "#/event/id"),
    ] {
        let refused = tenant.api.post("/v1/plugins/noisy/run", body.clone()).await;
        assert!(refused.problem(422, "invalid")[0].starts_with(pointer), "{body}: {}", refused.text);
    }
    assert_eq!(tenant.api.get("/v1/events").await.json(200)["data"], json!([]), "nothing of it is an event");
}

/// Everything that can't be taken is refused by name, with the reason, and the gateway is as well as before.
#[tokio::test]
async fn refusals() {
    let gateway = Setup::new().env("HOOKMILL_PLUGINS__COMPONENT", "1000000").start().await;
    let tenant = gateway.tenant("acme").await;
    let good = || Guest::new("guest", "1.0.0");
    let whole = good().build();
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    let cases: Vec<(&str, u16, &str, Vec<u8>)> = vec![
        ("plugin-unreadable", 422, "not WebAssembly", b"#!/bin/sh".to_vec()),
        ("plugin-unreadable", 422, "not WebAssembly", Vec::new()),
        ("plugin-unreadable", 422, "can't be read", whole[..whole.len() / 2].to_vec()),
        ("plugin-too-large", 413, "1000000", vec![0; 1_000_001]),
        ("plugin-imports", 422, "wasi_snapshot_preview1, which is WASI", good().importing(wasi).build()),
        ("plugin-imports", 422, "it imports env", good().importing(r#"(import "env" "now" (func))"#).build()),
        ("plugin-contract", 422, "hookmill:plugin@0.2.0", good().speaking("0.2.0").build()),
        ("plugin-exports", 422, "either a transform", b"\0asm\x01\0\0\0".to_vec()),
        ("plugin-too-much", 422, "asks for too much", good().with("(memory 2000)").build()),
        ("plugin-describe", 422, "trap", good().describing("unreachable").build()),
        ("plugin-describe", 422, "time", good().describing("(loop $again (br $again)) (i32.const 0)").build()),
        ("plugin-manifest", 422, "manifest's version", Guest::new("guest", "1.0").build()),
        ("plugin-manifest", 422, "manifest's name", Guest::new("Guest", "1.0.0").build()),
        ("plugin-manifest", 422, "manifest's config-schema", good().schema("[]").build()),
        ("plugin-name-reserved", 409, "redact", Guest::new("redact", "9.0.0").build()),
    ];
    for (problem, status, says, bytes) in cases {
        let reply = tenant.upload(bytes).await;
        reply.problem(status, problem);
        assert!(text(&reply.json(status), "detail").contains(says), "{problem} {says}: {}", reply.text);
        gateway.public().get(&format!("/problems/{problem}")).await.is(200);
    }
    let form = |body: &str| body.replace('\n', "\r\n");
    let send =
        async |kind: &str, body: String| tenant.api.send("POST", "/v1/plugins", &[("content-type", kind)], body).await;
    send("application/json", "{}".into()).await.problem(415, "unsupported-media-type");
    let untold = tenant.api.send("POST", "/v1/plugins", &[], whole.clone()).await;
    untold.problem(415, "unsupported-media-type");
    let detail = "the content type is missing; send `application/wasm`, or a form (`multipart/form-data`)";
    assert_eq!(text(&untold.json(415), "detail"), detail);
    send("multipart/form-data", String::new()).await.problem(415, "unsupported-media-type");
    let kind = "multipart/form-data; boundary=b";
    send(kind, "nothing".into()).await.problem(400, "unparsable");
    let without = form("--b\ncontent-disposition: form-data; name=\"name\"\n\nx\n--b--\n");
    assert_eq!(send(kind, without).await.problem(422, "invalid"), ["#/component"]);
    let other = form("--b\ncontent-disposition: form-data; name=\"colour\"\n\nx\n--b--\n");
    assert_eq!(send(kind, other).await.problem(422, "invalid"), ["#/colour"]);
    assert_eq!(tenant.upload_as("No Name", &whole).await.problem(422, "invalid"), ["#/name"]);
    tenant.upload_as("slack", &whole).await.problem(409, "plugin-name-reserved");
    let viewer = tenant.key("viewer").await;
    viewer
        .send("POST", "/v1/plugins", &[("content-type", "application/wasm")], whole.clone())
        .await
        .problem(403, "forbidden");
    let presets = gateway.operator().get("/v1/plugins").await.json(200);
    assert_eq!(tenant.api.get("/v1/plugins").await.json(200), presets, "nothing of it was kept");

    // A preset's bytes under another name are a plugin like any other.
    let redact = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist/redact.wasm")).unwrap();
    let uploaded = tenant.upload_as("masking", &redact).await.json(201);
    assert_eq!(text(&uploaded, "name"), "masking");
    tenant.upload_as("masking", &redact).await.is(200);
    let run = json!({"event": {"type": "a", "data": {"name": "Dana"}}, "config": {"paths": ["$.data.name"]}});
    let ran = tenant.api.post("/v1/plugins/masking/run", run).await.json(200);
    assert_eq!(
        (&ran["output"]["keep"]["data"], &ran["plugin"]),
        (&json!({"name": "***"}), &json!(format!("masking@{}", text(&uploaded, "version"))))
    );
}

/// A gateway whose compiler has little time and memory.
async fn impatient(time: &str, memory: u64) -> Gateway {
    let setup = Setup::new().env("HOOKMILL_PLUGINS__COMPILE_TIME", time);
    setup.env("HOOKMILL_PLUGINS__COMPILE_MEMORY", memory.to_string()).start().await
}

/// So many functions, each of some work to compile.
fn many_functions(count: usize) -> Vec<u8> {
    let one = "(func (param i32 i64) (result i64) (local i64)
        (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 31)) (local.get 1)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0)))
        (i64.rotl (local.get 2) (i64.extend_i32_u (local.get 0))))";
    Guest::new("bomb", "1.0.0").with(&one.repeat(count)).build()
}

/// One function in which everything depends on everything before it.
fn one_large_function(steps: usize) -> Vec<u8> {
    let step = "(local.set 0 (i64.add (i64.mul (local.get 0) (local.get 1)) (i64.load (i32.wrap_i64 (local.get 0)))))";
    let body = step.repeat(steps);
    Guest::new("bomb", "1.0.0").with(&format!("(func (param i64 i64) (result i64) {body} (local.get 0))")).build()
}

/// A component of two packages that depend on each other: reading it goes round in a circle.
fn circle() -> Vec<u8> {
    let text = r#"(component
        (import "a:a/x" (instance $x (export "t" (type (sub resource)))))
        (alias export $x "t" (type $t))
        (import "b:b/y" (instance $y (alias outer 1 $t (type $u)) (export "t" (type (eq $u)))))
        (alias export $y "t" (type $v))
        (import "a:a/z" (instance $z (alias outer 1 $v (type $w)) (export "t" (type (eq $w))))))"#;
    wat::parse_str(text).unwrap()
}

/// What costs the compiler all its time costs the gateway nothing.
#[tokio::test]
async fn all_of_the_time() {
    bomb(&impatient("1s", 1 << 30).await, many_functions(60_000), "plugin-uncompilable", "processor time").await;
}

/// Nor does what costs it all its memory.
#[tokio::test]
async fn all_of_the_memory() {
    bomb(&impatient("2m", 64 << 20).await, one_large_function(300_000), "plugin-uncompilable", "of memory").await;
}

/// Nor what leads its reader round in a circle, until the stack is gone.
#[tokio::test]
async fn round_in_a_circle() {
    bomb(&Gateway::start().await, circle(), "plugin-unreadable", "in a circle").await;
}

/// It is refused by name, events go on meanwhile, and another tenant's upload has its turn as soon as it is over.
async fn bomb(gateway: &Gateway, bytes: Vec<u8>, problem: &str, says: &str) {
    let endpoint = Receiver::start().await;
    let (attacker, bystander) = (gateway.tenant("attacker").await, gateway.tenant("bystander").await);
    bystander.subscribe(json!({"url": endpoint.url("/"), "events": ["*"]})).await;
    let meanwhile = async {
        let upload = bystander.upload(Guest::new("fine", "1.0.0").build());
        let events = async {
            for n in 0..20 {
                let receipt = bystander.post("a", json!(n)).await;
                bystander.status(&receipt, "delivered").await;
            }
        };
        let (uploaded, ()) = tokio::join!(upload, events);
        uploaded.is(201);
    };
    let (refused, ()) = tokio::join!(attacker.upload(bytes), meanwhile);
    refused.problem(422, problem);
    assert!(text(&refused.json(422), "detail").contains(says), "{says}: {}", refused.text);
    attacker.upload(Guest::new("fine", "1.0.0").build()).await.is(201);
    gateway.public().get("/readyz").await.is(200);
    assert!(gateway.memory() < 600 << 20, "{} MiB", gateway.memory() >> 20);
    let left = fs::read_dir(gateway.data().join("compiled")).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A compile that is stopped, on account of others, ends with its gateway.
#[tokio::test]
async fn none_stays_behind() {
    let mut gateway = impatient("1m", 1 << 30).await;
    let tenant = gateway.tenant("acme").await;
    let uploading = tokio::spawn({
        let (api, bomb) = (tenant.api.clone(), many_functions(60_000));
        async move { api.try_send("POST", "/v1/plugins", &[("content-type", "application/wasm")], bomb).await }
    });
    let compile = eventually("something is compiled", async || gateway.compile()).await;
    kill_process(compile, Signal::STOP).unwrap();
    gateway.kill9().await;
    eventually("the compile has ended, too", async || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", compile.as_raw_nonzero())).unwrap_or_default();
        // Whoever it is left to may not have looked at it yet.
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X'])).then_some(())
    })
    .await;
    assert!(uploading.await.unwrap().is_none(), "nobody was left to answer");
}

/// A tenant has as many versions, bytes and seconds of the compiler as it may have, and its operator can change that.
#[tokio::test]
async fn quotas() {
    let gateway = Setup::new().with_clock().env("HOOKMILL_PLUGINS__PER_TENANT", "2").start().await;
    let clock = gateway.clock().await;
    let tenant = gateway.tenant("acme").await;
    let limit = async |limits: Value| {
        let path = format!("/v1/tenants/{}", tenant.id);
        gateway.operator().patch(&path, json!({"limits": limits})).await.is(200);
    };
    let guest = |minor: u32| version(&format!("1.{minor}.0"));
    tenant.upload(guest(0)).await.is(201);
    tenant.upload(guest(1)).await.is(201);
    let refused = tenant.upload(guest(2)).await;
    refused.problem(409, "limit-reached");
    assert!(refused.text.contains("2 versions of plugins"), "{}", refused.text);
    tenant.upload(guest(1)).await.is(200);
    let size = guest(2).len();
    limit(json!({"plugins": 4, "plugin_bytes": 3 * size - 1})).await;
    let refused = tenant.upload(guest(2)).await;
    refused.problem(409, "limit-reached");
    assert!(refused.text.contains(&format!("{} bytes together", 3 * size - 1)), "{}", refused.text);
    limit(json!({"plugin_bytes": 3 * size})).await;
    tenant.upload(guest(2)).await.is(201);

    limit(json!({"plugin_bytes": null, "plugin_compile": "1ms"})).await;
    let refused = tenant.upload(guest(3)).await;
    refused.problem(429, "plugin-compile-budget");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    clock.advance(&format!("{wait}s")).await;
    tenant.upload(guest(3)).await.is(201);
    tenant.api.delete("/v1/plugins/stamp").await.is(204);
    limit(json!({"plugin_compile": null})).await;
    tenant.upload(guest(4)).await.is(201);
    let limits = gateway.operator().get(&format!("/v1/tenants/{}", tenant.id)).await.json(200)["limits"].clone();
    assert_eq!(limits, json!({"plugins": 4}));
}

/// What was a secret is one for each later version of its plugin, and goes to no host that it was not entered for.
#[tokio::test]
async fn secrets_stay_secrets() {
    let gateway = Gateway::start().await;
    let (tenant, endpoint) = (gateway.tenant("acme").await, Receiver::start().await);
    let schema = |word: &str| format!(r#"{{"type":"object","properties":{{"key":{{"type":"string"{word}}}}}}}"#);
    // It logs its config.
    let guest =
        |version| Guest::new("sealing", version).doing("(call $log (i32.const 1) (local.get 12) (local.get 13))");
    tenant.upload(guest("1.0.0").schema(&schema(r#","writeOnly":true"#)).build()).await.is(201);
    tenant.upload(guest("1.1.0").schema(&schema("")).build()).await.is(201);
    let step = |version: &str, config: Value| json!([{"plugin": format!("sealing@{version}"), "config": config}]);
    let entered = step("1.0.0", json!({"key": "hush-hush"}));
    let wanted = json!({"uid": "orders", "url": endpoint.url("/"), "events": ["*"], "transforms": entered});
    let made = tenant.subscribe(wanted).await;
    let path = "/v1/subscriptions/uid:orders";
    let changed = tenant.api.patch(path, json!({"transforms": step("1.1.0", json!({}))})).await.json(200);
    assert_eq!(changed["transforms"], step("1.1.0", json!({})), "it is not shown");
    assert_eq!(changed["secrets_set"], made["secrets_set"]);
    let receipt = tenant.post("a", json!(0)).await;
    let log = tenant.status(&receipt, "delivered").await["attempts"][0]["plugins"][0]["log"].to_string();
    assert!(log.contains("hmsecret") && !log.contains("hush-hush"), "the plugin sees a placeholder: {log}");

    let connector = json!({"name": "slack", "config": {"text": "x", "token": "xoxb-a-token", "channel": "#a"}});
    let refused = tenant.api.patch(path, json!({"connector": connector})).await;
    refused.is(422);
    assert!(refused.text.contains("#/transforms/0/config/key"), "it names slack.com: {}", refused.text);
    tenant.api.patch(path, json!({"connector": connector, "transforms": entered})).await.is(200);
}

/// A version that comes by itself, where one is followed, may name other hosts: no secret goes there until it has been
/// entered for them.
#[tokio::test]
async fn no_secret_follows_to_another_host() {
    let there = Receiver::start().await;
    let gateway = Setup::new().map(there.mapping("there.example")).start().await;
    let (tenant, endpoint) = (gateway.tenant("acme").await, Receiver::start().await);
    let schema = r#"{"type":"object","properties":{"key":{"type":"string","writeOnly":true}}}"#;
    let guest = |version| Guest::connector("post", version).schema(schema);
    tenant.upload(guest("1.0.0").build()).await.is(201);
    let wanted = json!({
        "uid": "orders", "url": endpoint.url("/"), "events": ["*"], "retry_policy": {"schedule": ["0s"]},
        "connector": {"name": "post@latest", "config": {"key": "hush-hush"}},
    });
    tenant.subscribe(wanted).await;
    let receipt = tenant.post("a", json!(0)).await;
    tenant.status(&receipt, "delivered").await;

    tenant.upload(guest("1.1.0").tells("https://there.example/").build()).await.is(201);
    let receipt = tenant.post("a", json!(1)).await;
    let failed = tenant.status(&receipt, "failed").await;
    let detail = text(&failed["attempts"][0], "detail");
    assert!(detail.contains("a secret to `there.example`") && detail.contains("when it was last set"), "{detail}");
    let path = "/v1/subscriptions/uid:orders";
    tenant.api.patch(path, json!({"name": "Orders"})).await.is(200);
    let refused = tenant.api.patch(path, json!({"connector": {"name": "post@1.1.0"}})).await;
    refused.is(422);
    assert!(refused.text.contains("#/connector/config/key"), "{}", refused.text);
    assert_eq!(there.all().len(), 0);

    let again = json!({"connector": {"name": "post@1.1.0", "config": {"key": "hush-hush"}}});
    tenant.api.patch(path, again).await.is(200);
    tenant.post("a", json!(2)).await;
    assert_eq!(there.first("/").await.json(), json!({"key": "hush-hush"}));
}

/// Secrets of an uploaded plugin's config are kept as those of presets are, and its schema is held to.
#[tokio::test]
async fn config_and_secrets() {
    let gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let tenant = gateway.tenant("acme").await;
    let schema = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"},"salt":{"type":"string","writeOnly":true}}}"#;
    let noisy = |version: &str, schema: &str| {
        let logs = "(call $log (i32.const 1) (local.get 12) (local.get 13))";
        Guest::new("noisy", version).schema(schema).doing(logs).build()
    };
    tenant.upload(noisy("1.0.0", schema)).await.is(201);
    let wanted = |config: Value| json!({"url": endpoint.url("/"), "events": ["*"], "transforms": [{"plugin": "noisy@^1", "config": config}]});
    for (config, pointer) in [(json!({}), "#/transforms/0/config"), (json!({"n": "1"}), "#/transforms/0/config/n")] {
        let refused = tenant.api.post("/v1/subscriptions", wanted(config)).await;
        assert_eq!(refused.problem(422, "invalid"), [pointer]);
    }
    let made = tenant.subscribe(wanted(json!({"n": 1, "salt": "hush-hush"}))).await;
    assert_eq!(made["transforms"][0]["config"], json!({"n": 1}));
    assert!(made["secrets_set"].as_array().unwrap().contains(&json!("#/transforms/0/config/salt")), "{made}");
    let receipt = tenant.post("a", json!(1)).await;
    let delivered = tenant.status(&receipt, "delivered").await;
    let log = delivered["attempts"][0]["plugins"][0]["log"][0]["message"].as_str().unwrap();
    assert!(log.contains("hmsecret") && !log.contains("hush"), "{log}");

    // A version that wants more is not followed by who does not give it.
    let more = noisy("1.1.0", r#"{"type":"object","required":["m"]}"#);
    let uploaded = tenant.upload(more).await.json(201);
    assert_eq!(uploaded["not_followed_by"], json!([made["id"]]));
    let receipt = tenant.post("a", json!(2)).await;
    let delivered = tenant.status(&receipt, "delivered").await;
    assert_eq!(delivered["attempts"][0]["plugins"][0]["plugin"], "noisy@1.0.0");
    tenant.api.delete("/v1/plugins/noisy/1.0.0").await.problem(409, "plugin-in-use");

    // Schemas that could cost more than they are worth.
    for (schema, says) in [
        (r##"{"properties":{"next":{"$ref":"#"}}}"##, "refers to itself"),
        (r#"{"pattern":"(?=a)b"}"#, "not a JSON Schema"),
        (r#"{"$ref":"https://example.com/schema"}"#, "not a place in this schema"),
    ] {
        let refused = tenant.upload(Guest::new("costly", "1.0.0").schema(schema).build()).await;
        refused.problem(422, "plugin-manifest");
        assert!(text(&refused.json(422), "detail").contains(says), "{schema}: {}", refused.text);
    }
}

/// What was answered `201` is there when the power has failed a moment later; what was on its way is there whole or not
/// at all, and can be sent again.
#[tokio::test]
async fn the_power_fails() {
    let mut gateway = Setup::new().on_disk_that_forgets(Unsynced::Lost).start().await;
    let endpoint = Receiver::start().await;
    let mut tenant = gateway.tenant("acme").await;
    tenant.upload(version("1.0.0")).await.is(201);
    subscribe(&tenant, &endpoint, "/", "stamp@latest").await;
    for minor in 1..4 {
        // Large, so that it is written in many steps.
        let large = format!("{{\"made\": \"{}\"}}", "x".repeat(40_000));
        let padding = format!("(data (i32.const 200000) \"{}\")", "y".repeat(900_000));
        let next = Guest::new("stamp", &format!("1.{minor}.0")).makes(&large).with(&padding).build();
        let sending = tokio::spawn({
            let (api, next) = (tenant.api.clone(), next.clone());
            async move { api.try_send("POST", "/v1/plugins", &[("content-type", "application/wasm")], next).await }
        });
        tokio::time::sleep(Duration::from_millis(60 * minor)).await;
        gateway.cut_power().await;
        let answered = sending.await.unwrap().is_some_and(|reply| reply.status == 201);
        gateway.restart().await;
        tenant = gateway.again(&tenant);
        let there = tenant.api.get(&format!("/v1/plugins/stamp/1.{minor}.0")).await.status == 200;
        assert!(there || !answered, "1.{minor}.0 was answered 201");
        let again = tenant.upload(next).await;
        assert_eq!(again.status, if there { 200 } else { 201 }, "{}", again.text);
        assert_eq!(made(&tenant, &endpoint, &["/"]).await, [large]);
    }
    tidy(&mut gateway, 4).await;
}

/// Whoever uploads one after the other waits for his own: another tenant has its turn between two of them.
#[tokio::test]
async fn tenants_in_turn() {
    const BOMBS: usize = 4;
    let gateway = impatient("1s", 1 << 30).await;
    let (attacker, bystander) = (gateway.tenant("attacker").await, gateway.tenant("bystander").await);
    let bomb = many_functions(60_000);
    let over = AtomicUsize::new(0);
    let attack = async {
        let one = async || {
            attacker.upload(bomb.clone()).await.problem(422, "plugin-uncompilable");
            over.fetch_add(1, Ordering::Relaxed);
        };
        tokio::join!(one(), one(), one(), one());
    };
    let other = async {
        bystander.upload(version("1.0.0")).await.is(201);
        over.load(Ordering::Relaxed)
    };
    let ((), before) = tokio::join!(attack, other);
    assert!(before <= 2, "{before} of {BOMBS} were over before");
    assert_eq!(over.into_inner(), BOMBS);
}

/// A plugin of nearly the largest size is taken, run, kept over a crash and removed, while events go on.
#[tokio::test]
async fn large() {
    let mut gateway = Gateway::start().await;
    let endpoint = Receiver::start().await;
    let (tenant, other) = (gateway.tenant("acme").await, gateway.tenant("other").await);
    other.subscribe(json!({"url": endpoint.url("/other"), "events": ["*"]})).await;
    // A custom section: nothing to compile.
    let section = format!("(@custom \"padding\" \"{}\")", "z".repeat(20 << 20));
    let large = Guest::new("large", "1.0.0").makes(r#"{"made": "large"}"#).with(&section).build();
    assert!(large.len() > 20 << 20);
    let posting = async {
        for n in 0..50 {
            other.post("a", json!(n)).await;
        }
    };
    let (uploaded, ()) = tokio::join!(tenant.upload(large.clone()), posting);
    assert_eq!(uploaded.json(201)["size"], large.len());
    endpoint.wait("/other", 50).await;
    let saved = subscribe(&tenant, &endpoint, "/", "large").await;
    assert_eq!(made(&tenant, &endpoint, &["/"]).await, [r#"{"made": "large"}"#]);
    gateway.kill9().await;
    fs::remove_dir_all(gateway.data().join("compiled")).unwrap();
    gateway.restart().await;
    let tenant = gateway.again(&tenant);
    assert_eq!(made(&tenant, &endpoint, &["/"]).await, [r#"{"made": "large"}"#], "made again from what is stored");
    tenant.api.delete(&format!("/v1/subscriptions/{}", text(&saved, "id"))).await.is(204);
    tenant.api.delete("/v1/plugins/large").await.is(204);
    tidy(&mut gateway, 0).await;
}
