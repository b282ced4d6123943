//! What is refused, with the sentence that says why; and what is kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wit_component::StringEncoding;

use super::guests::{ECHO, Guest};
use super::*;
use crate::domain::{AuthNeed, Batching, Interprets, Kind, Manifest, PluginRate};
use crate::engine::InstallError;

async fn refusal(bytes: &[u8]) -> InstallError {
    refusal_by(&engine(), bytes).await
}

async fn refusal_by(engine: &Engine, bytes: &[u8]) -> InstallError {
    let refused = engine.install(bytes).await.unwrap_err();
    // Whatever it was, the next upload is fine.
    install(engine, &Guest::transform(ECHO)).await;
    refused
}

async fn refused(bytes: &[u8], says: &str) {
    let error = refusal(bytes).await;
    let said = format!("{error}; {error:?}");
    assert!(error.to_string().contains(says), "{said}");
}

/// A component in text: the outer kind.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn bytes_that_are_no_component() {
    let module = Guest::transform(ECHO).module();
    let whole = Guest::transform(ECHO).component();
    refused(b"", "not WebAssembly").await;
    refused(b"(module)", "not WebAssembly").await;
    refused(b"\x7fELF\x02\x01\x01\0", "not WebAssembly").await;
    refused(b"\0asm\x02\0\0\0", "not WebAssembly").await;
    refused(&module[..module.len() / 2], "can't be read").await;
    refused(&whole[..whole.len() / 2], "can't be read").await;
    refused(&whole[..whole.len() - 1], "can't be read").await;
    let mut damaged = whole.clone();
    damaged[8..72].fill(0xff);
    refused(&damaged, "can't be read").await;
    let engine = Engine::new(EngineConfig { component: 100, ..config() }).unwrap();
    let error = engine.install(&module).await.unwrap_err();
    assert!(matches!(error, InstallError::TooLarge { limit: 100, size } if size == module.len()), "{error}");
}

#[tokio::test]
async fn imports_it_may_not_have() {
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))"#;
    refused(&Guest::transform(ECHO).importing(wasi).module(), "it imports wasi_snapshot_preview1, which is WASI").await;
    let env = r#"(import "env" "now" (func $now (result i32)))"#;
    refused(&Guest::transform(ECHO).importing(env).module(), "it imports env; a plugin may import").await;
    let exports = r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "describe" (func $f)) (export "transform" (func $f))"#;
    let text = |import: &str| component(&format!("(component {import} {exports})"));
    let clock = r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func))))"#;
    refused(&text(clock), "it imports wasi:clocks/wall-clock@0.2.0, which is WASI").await;
    let other = r#"(import "acme:db/query" (instance (export "now" (func))))"#;
    refused(&text(other), "it imports acme:db/query; a plugin may import").await;
    refused(&text(r#"(import "now" (func))"#), "it imports now; a plugin may import").await;
    let more = r#"(import "hookmill:plugin/host@0.1.0" (instance (export "exec" (func))))"#;
    refused(&text(more), "it imports hookmill:plugin/host@0.1.0#exec").await;
    let newer = r#"(import "hookmill:plugin/host@0.2.0" (instance (export "log" (func))))"#;
    refused(&text(newer), "built for hookmill:plugin@0.2.0; this gateway speaks hookmill:plugin@0.1.0").await;
    refused(&text(""), "do not have the types").await;
}

#[tokio::test]
async fn exports_it_must_have() {
    let bare = wat::parse_str("(module)").unwrap();
    refused(&bare, "either a transform").await;
    refused(&guests::embed(bare, Kind::Transform, StringEncoding::UTF8), "does not export").await;
    let renamed = Guest::transform(ECHO).functions.replace("\"transform\"", "\"other\"");
    let guest = Guest { functions: renamed, ..Guest::transform(ECHO) };
    refused(&guest.module(), "does not export \"transform\"").await;
    let export = |names: &[&str]| {
        let exports: String = names.iter().map(|name| format!("(export \"{name}\" (func $f))")).collect();
        component(&format!(
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i \"f\"))) {exports})"
        ))
    };
    refused(&export(&[]), "either a transform").await;
    refused(&export(&["describe", "transform", "render"]), "either a transform").await;
    refused(&export(&["transform"]), "does not export \"describe\" as the world \"transform\"").await;
    refused(&export(&["describe", "render"]), "does not export \"interpret\" as the world \"connector\"").await;
}

#[tokio::test]
async fn a_describe_that_does_not_end_well() {
    for (body, kind) in [
        ("unreachable", FaultKind::Trap),
        ("(loop $again (br $again)) (i32.const 0)", FaultKind::Time),
        ("(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 0)", FaultKind::Memory),
        ("(i32.const -4)", FaultKind::BadOutput),
    ] {
        let error = refusal_by(&engine_for(kind), &Guest::transform(ECHO).describing(body).module()).await;
        assert!(matches!(&error, InstallError::Describe(fault) if fault.kind == kind), "{error:?}");
    }
}

#[tokio::test]
async fn manifests_that_break_a_rule() {
    let engine = engine();
    type Change = fn(&mut Manifest);
    let google = |field: &str, scopes: &[&str]| AuthNeed::GoogleServiceAccount {
        config_field: field.into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    };
    let mut cases: Vec<(&str, Kind, Manifest)> = Vec::new();
    let changes: [(&str, Change); 15] = [
        ("name", |m| m.name = "Upper".into()),
        ("version", |m| m.version = "1.0".into()),
        ("title", |m| m.title = "x".repeat(81)),
        ("title", |m| m.title = String::new()),
        ("description", |m| m.description = "x".repeat(2001)),
        ("config-schema", |m| m.config_schema = "[]".into()),
        ("config-schema", |m| m.config_schema = "{".into()),
        ("config-schema", |m| m.config_schema = format!("{{\"title\":\"{}\"}}", "x".repeat(64 << 10))),
        ("hosts", |m| m.hosts = vec!["*.slack.com".into()]),
        ("hosts", |m| m.hosts = vec!["a.com".into(); 33]),
        ("batching", |m| m.batching = Batching { max_events: 0, max_bytes: 0, max_wait_ms: 0 }),
        ("idempotency", |m| m.idempotency = Some(String::new())),
        ("rate", |m| m.rate = Some(PluginRate { max: 0, per_ms: 1 })),
        ("rate", |m| m.rate = Some(PluginRate { max: 1, per_ms: 0 })),
        ("contract", |m| m.contract = "0.2.0".into()),
    ];
    for (field, change) in changes {
        let mut manifest = guests::manifest(Kind::Connector);
        change(&mut manifest);
        cases.push((field, Kind::Connector, manifest));
    }
    let connector = || guests::manifest(Kind::Connector);
    let transform = || guests::manifest(Kind::Transform);
    cases.push(("auth", Kind::Connector, Manifest { auth: google("key", &["s"]), ..connector() }));
    cases.push(("auth", Kind::Connector, Manifest { auth: google("/key", &[]), ..connector() }));
    cases.push(("auth", Kind::Transform, Manifest { auth: google("/key", &["s"]), ..transform() }));
    cases.push(("hosts", Kind::Transform, Manifest { hosts: vec!["slack.com".into()], ..transform() }));
    cases.push(("interprets", Kind::Transform, Manifest { interprets: Interprets::Errors, ..transform() }));
    for (wanted, kind, manifest) in cases {
        let error = engine.install(&of_kind(kind, manifest).module()).await.unwrap_err();
        let field = match &error {
            InstallError::Manifest { field, .. } => field.as_str(),
            InstallError::Contract { .. } => "contract",
            _ => "another error",
        };
        assert_eq!(field, wanted, "{error:?}");
    }
    let full = Manifest {
        auth: google("/key", &["a", "b"]),
        idempotency: Some("Idempotency-Key".into()),
        rate: Some(PluginRate { max: 1, per_ms: 1000 }),
        hosts: vec!["a.example.com".into(), "b.example.com".into()],
        ..connector()
    };
    let plugin = engine.install(&of_kind(Kind::Connector, full.clone()).module()).await.unwrap();
    assert_eq!(plugin.manifest(), &full);
}

fn of_kind(kind: Kind, manifest: Manifest) -> Guest {
    let guest = match kind {
        Kind::Transform => Guest::transform(ECHO),
        Kind::Connector => Guest::connector("(i32.const 128)", "(i32.const 640)"),
    };
    Guest { manifest, ..guest }
}

#[tokio::test]
async fn more_parts_than_allowed() {
    let fields = |field: &str, count: usize| Guest::transform(ECHO).with(&field.repeat(count)).module();
    let engine = engine();
    engine.install(&fields("(memory 1)", 3)).await.unwrap();
    refused(&fields("(memory 1)", 4), "asks for too much").await;
    engine.install(&fields("(table 1 funcref)", 12)).await.unwrap();
    refused(&fields("(table 1 funcref)", 16), "asks for too much").await;
    refused(&fields("(memory 2000)", 1), "asks for too much").await;
    refused(&fields("(table 30000 funcref)", 1), "asks for too much").await;
    let export = r#"(core module $f (func (export "f"))) (core instance $i (instantiate $f))
        (func $g (canon lift (core func $i "f"))) (export "describe" (func $g)) (export "transform" (func $g))"#;
    let many = format!("(component (core module $m) {} {export})", "(core instance (instantiate $m))".repeat(64));
    refused(&component(&many), "65 core module instances").await;
}

/// Two bytes, and fifteen mebibytes between them that would be kept on disk.
#[tokio::test]
async fn code_out_of_proportion() {
    let engine = engine();
    let far = |end: u32| {
        let data = format!("(data (memory $m) (i32.const 0) \"a\") (data (memory $m) (i32.const {end}) \"b\")");
        Guest::transform(ECHO).with(&format!("(memory $m 240) {data}")).module()
    };
    let (_, compiled) = engine.work(&far(1 << 20)).await.unwrap();
    assert!(compiled.len() > 1 << 20);
    let refused = engine.work(&far((15 << 20) - 1)).await.unwrap_err();
    assert!(
        matches!(refused, InstallError::TooBulky { size, limit } if size > 15 << 20 && limit < 5 << 20),
        "{refused}"
    );
}

#[tokio::test]
async fn artifacts_are_kept_and_damage_is_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("deep/er");
    let config = EngineConfig { cache_dir: Some(cache.clone()), ..config() };
    let bytes = Guest::transform(ECHO).module();
    let uses = async |compiles: u64| {
        // An engine of its own each time, as after a restart.
        let engine = Engine::new(config.clone()).unwrap();
        let plugin = engine.install(&bytes).await.unwrap();
        assert_eq!(engine.compiled(), compiles);
        assert!(run(&engine, &plugin).await.result.is_ok());
        plugin.digest()
    };
    let digest = uses(1).await;
    assert_eq!(uses(0).await, digest);
    let artifact = only(&cache, "cwasm");
    assert!(artifact.file_name().unwrap().to_str().unwrap().contains(digest.to_string().trim_start_matches("sha256:")));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache), mode(&artifact)), (0o700, 0o600));

    // A flipped bit, a cut file, a lost one, a lost checksum: each costs one compile.
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&artifact);
    uses(1).await;
    uses(0).await;
    fs::write(&artifact, "").unwrap();
    uses(1).await;
    fs::remove_file(&artifact).unwrap();
    uses(1).await;
    fs::remove_file(only(&cache, "sha256")).unwrap();
    uses(1).await;
    uses(0).await;
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 2, "no leftovers");

    // The right checksum of something that is no artifact: wasmtime refuses it.
    use sha2::Digest as _;
    fs::write(&artifact, "no machine code").unwrap();
    let sum: String = sha2::Sha256::digest("no machine code").iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(only(&cache, "sha256"), sum).unwrap();
    uses(1).await;

    // Once others can write there, nothing in it is trusted.
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    uses(1).await;
    uses(1).await;
}

#[tokio::test]
async fn of_artifacts_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineConfig { cache_dir: Some(dir.path().to_owned()), ..config() }).unwrap();
    let made = async |body: &str, at: u64| {
        let digest = engine.install(&Guest::transform(body).module()).await.unwrap().digest().to_string();
        let of_it = |path: &std::path::PathBuf| {
            path.file_name().unwrap().to_str().unwrap().starts_with(digest.trim_start_matches("sha256:"))
        };
        let files: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).filter(of_it).collect();
        assert_eq!(files.len(), 2);
        for file in &files {
            fs::File::open(file).unwrap().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(at)).unwrap();
        }
        files
    };
    let (older, newer) = (made(ECHO, 10).await, made("(i32.const 0)", 20).await);
    let size = |files: &[std::path::PathBuf]| files.iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    let there = |files: &[std::path::PathBuf]| files.iter().filter(|file| file.exists()).count();
    engine.keep_newest(size(&older) + size(&newer)).await;
    assert_eq!((there(&older), there(&newer)), (2, 2));
    engine.keep_newest(size(&newer)).await;
    assert_eq!((there(&older), there(&newer)), (0, 2));
    engine.keep_newest(0).await;
    assert_eq!(there(&newer), 0);
}

fn only(dir: &Path, extension: &str) -> std::path::PathBuf {
    let mut found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
}
