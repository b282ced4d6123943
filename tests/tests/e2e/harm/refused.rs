//! What is refused when it is uploaded, by the problem that names it: what it imports, lacks or asks for, what can't be
//! read or compiled, what is out of proportion, and what does harm before it has said what it is.

use hookmill_tests::{Encoding, Guest, Setup};

use super::components::{circle, component, doubled, exporting, importing, leb128, long_name, nested};
use super::{Scene, text};

/// What an upload is, the problem that it is answered with, a part of the detail, and the bytes.
struct Refused(&'static str, &'static str, &'static str, Vec<u8>);

/// A transform that would be taken, but for what is added.
fn guest() -> Guest {
    Guest::new("refused", "1.0.0")
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is a module")
}

/// They import what they may not have.
fn imports() -> Vec<Refused> {
    let wasi =
        |interface: &str| importing(&format!("(import \"wasi:{interface}@0.2.0\" (instance (export \"now\" (func))))"));
    let preview1 = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    let host = r#"(import "hookmill:plugin/host@0.1.0" (instance (export "exec" (func))))"#;
    let problem = "plugin-imports";
    vec![
        Refused("WASI of old", problem, "wasi_snapshot_preview1, which is WASI", guest().importing(preview1).build()),
        Refused("a clock", problem, "wasi:clocks/wall-clock@0.2.0, which is WASI", wasi("clocks/wall-clock")),
        Refused("randomness", problem, "wasi:random/random@0.2.0, which is WASI", wasi("random/random")),
        Refused("an environment", problem, "wasi:cli/environment@0.2.0, which is WASI", wasi("cli/environment")),
        Refused("files", problem, "wasi:filesystem/types@0.2.0, which is WASI", wasi("filesystem/types")),
        Refused("sockets", problem, "wasi:sockets/tcp@0.2.0, which is WASI", wasi("sockets/tcp")),
        Refused("env", problem, "it imports env;", guest().importing(r#"(import "env" "now" (func))"#).build()),
        Refused(
            "another's interface",
            problem,
            "it imports acme:db/query;",
            importing(r#"(import "acme:db/query" (instance (export "all" (func))))"#),
        ),
        Refused("a bare function", problem, "it imports now;", importing(r#"(import "now" (func))"#)),
        Refused("more of the host", problem, "hookmill:plugin/host@0.1.0#exec", importing(host)),
        Refused("a name without end", problem, "it imports abbb", long_name(90_000)),
    ]
}

/// They are of no world, of two, or of another's.
fn worlds() -> Vec<Refused> {
    let problem = "plugin-exports";
    let of = |names: &[&str]| component(&exporting(names));
    let newer = r#"(import "hookmill:plugin/host@0.2.0" (instance (export "log" (func))))"#;
    let both = r#"(import "hookmill:plugin/types@0.1.0" (instance))
        (import "hookmill:plugin/host@0.2.0" (instance (export "log" (func))))"#;
    vec![
        Refused("a bare module", problem, "either a transform", module("(module)")),
        Refused("a component of nothing", problem, "either a transform", component("")),
        Refused("both worlds", problem, "either a transform", of(&["describe", "transform", "render", "interpret"])),
        Refused("no describe", problem, "does not export \"describe\"", of(&["transform"])),
        Refused("no interpret", problem, "does not export \"interpret\"", of(&["describe", "render"])),
        Refused("functions of nothing", problem, "do not have the types", of(&["describe", "transform"])),
        Refused("a later contract", "plugin-contract", "hookmill:plugin@0.2.0", guest().speaking("0.2.0").build()),
        Refused("a later host", "plugin-contract", "hookmill:plugin@0.2.0", importing(newer)),
        Refused("two contracts", "plugin-contract", "hookmill:plugin@0.2.0", importing(both)),
    ]
}

/// They ask for more than a plugin may have, or for what WebAssembly has that plugins have not.
fn demands() -> Vec<Refused> {
    let problem = "plugin-too-much";
    let with = |fields: &str| guest().with(fields).build();
    let instances = "(core instance (instantiate $m))".repeat(64);
    let many = component(&format!("{} {instances}", exporting(&["describe", "transform"])));
    vec![
        Refused("a memory of 125 MiB", problem, "asks for too much", with("(memory 2000)")),
        Refused("five memories", problem, "asks for too much", with(&"(memory 1)".repeat(4))),
        Refused("a table of 30,000", problem, "asks for too much", with("(table 30000 funcref)")),
        Refused("seventeen tables", problem, "asks for too much", with(&"(table 1 funcref)".repeat(17))),
        Refused("65 instances", problem, "65 core module instances", many),
        // Each may be had, and all together may not.
        Refused("memories of 117 MiB together", "plugin-describe", "bytes of memory", with(&"(memory 608)".repeat(3))),
        Refused("a memory of 64 bits", "plugin-uncompilable", "can't be compiled", with("(memory i64 1)")),
        Refused("threads", "plugin-uncompilable", "can't be compiled", with("(memory 1 2 shared)")),
        Refused("structs", "plugin-uncompilable", "can't be compiled", with("(type (struct (field i32)))")),
    ]
}

/// They can't be read, or not within reason.
fn unreadable() -> Vec<Refused> {
    let problem = "plugin-unreadable";
    let whole = guest().build();
    let types = |count: usize| {
        let section = [leb128(count), b"\x60\0\0".repeat(count)].concat();
        [b"\0asm\x01\0\0\0\x01".to_vec(), leb128(section.len()), section].concat()
    };
    let custom = |name: &[u8], content: &[u8]| {
        let mut file = b"\0asm\x01\0\0\0\0".to_vec();
        file.extend(leb128(1 + name.len() + content.len()));
        file.push(u8::try_from(name.len()).expect("a short name"));
        [&file, name, content].concat()
    };
    let bomb = {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 64 << 20]).expect("memory can be written to");
        gzip.finish().expect("memory can be written to")
    };
    vec![
        Refused("a script", problem, "not WebAssembly", b"#!/bin/sh".to_vec()),
        Refused("a program", problem, "not WebAssembly", b"\x7fELF\x02\x01\x01\0".to_vec()),
        Refused("64 MiB of zeros, packed", problem, "not WebAssembly", bomb),
        Refused("half of a plugin", problem, "can't be read", whole[..whole.len() / 2].to_vec()),
        Refused(
            "a section of 4 GiB",
            problem,
            "beyond the end",
            b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff\x0f\x01".to_vec(),
        ),
        Refused(
            "a type that is none",
            problem,
            "can't be read",
            custom(b"component-type:x", b"\0asm\x0d\0\x01\0\xff\xff"),
        ),
        Refused(
            "a name that is no text",
            problem,
            "can't be read",
            b"\0asm\x01\0\0\0\x02\x08\x01\x01\xff\x02xy\0\0".to_vec(),
        ),
        Refused("a million types and one", problem, "can't be read", types(1_000_001)),
        Refused("a type of types, doubled", problem, "can't be read", doubled(64)),
        Refused("50,001 locals", problem, "can't be read", {
            guest().with(&format!("(func (local {}))", "i32 ".repeat(50_001))).build()
        }),
        Refused("1,500 components in one another", "plugin-exports", "must be either", nested(1_500)),
        Refused("packages in a circle", problem, "in a circle", circle()),
    ]
}

/// They cost the compiler more than there is for it, or leave more than is kept.
fn costly() -> Vec<Refused> {
    let (problem, says) = ("plugin-uncompilable", "compiling it takes more");
    let with = |fields: &str| guest().with(fields).build();
    let function = "(func (param i32 i64) (result i64) (local i64)
        (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 31)) (local.get 1)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0)))
        (i64.rotl (local.get 2) (i64.extend_i32_u (local.get 0))))";
    let step = "(local.set 0 (i64.add (i64.mul (local.get 0) (local.get 1)) (i64.load (i32.wrap_i64 (local.get 0)))))";
    // A thousand locals, and a thousand places where each of them comes together anew.
    let joins = {
        let locals = "i64 ".repeat(1_000);
        let join = |at: usize| format!("(if (local.get 0) (then (local.set {} (i64.const {at}))))", 1 + at % 1_000);
        let joined: String = (0..20_000).map(join).collect();
        let used: String = (1..=1_000).map(|at| format!("(i64.store (i32.const 0) (local.get {at}))")).collect();
        format!("(func (param i32) (local {locals}) (loop {joined} (br_if 0 (local.get 0))) {used})")
    };
    let far =
        "(memory $far 240) (data (memory $far) (i32.const 0) \"a\") (data (memory $far) (i32.const 15700000) \"b\")";
    vec![
        Refused("60,000 functions", problem, says, with(&function.repeat(60_000))),
        Refused("a function of 150,000 steps", problem, says, {
            with(&format!("(func (param i64 i64) (result i64) {} (local.get 0))", step.repeat(150_000)))
        }),
        Refused("20,000 joins of a thousand values", problem, says, with(&joins)),
        // What lies between is kept, too.
        Refused("two bytes far apart", problem, "compiled, it has", with(far)),
    ]
}

/// They do harm before they have said what they are, or in saying it.
fn descriptions() -> Vec<Refused> {
    let problem = "plugin-describe";
    let start = |instructions: &str| {
        guest()
            .with(&format!("(func $deeper (call $deeper) (call $deeper)) (func $start {instructions}) (start $start)"))
    };
    let says =
        |instructions: &str| guest().with("(func $deeper (call $deeper) (call $deeper))").describing(instructions);
    let endless = "(loop $again (br $again))";
    let growing = "(loop $more (drop (memory.grow (i32.const 16))) (br $more))";
    let flood = "(loop $more (call $log (i32.const 1) (i32.const 0) (i32.const 100)) (br $more))";
    let gives = "(i32.const 1024)";
    vec![
        Refused("a start that never ends", problem, "ran for 50 ms", start(endless).build()),
        Refused("a start that traps", problem, "gave up", start("unreachable").build()),
        Refused("a start without a bottom", problem, "overflowed its stack", start("(call $deeper)").build()),
        Refused("a start that fills memory", problem, "bytes of memory", start(growing).build()),
        Refused("a description that never ends", problem, "ran for 50 ms", says(&format!("{endless} {gives}")).build()),
        Refused("one that traps", problem, "gave up", says("unreachable").build()),
        Refused(
            "one without a bottom",
            problem,
            "overflowed its stack",
            says(&format!("(call $deeper) {gives}")).build(),
        ),
        Refused("one that fills memory", problem, "bytes of memory", says(&format!("{growing} {gives}")).build()),
        Refused("one that floods the log", problem, "logged more", says(&format!("{flood} {gives}")).build()),
        Refused("one that lies nowhere", problem, "can't be read", says("(i32.const -4)").build()),
        Refused("one at an odd address", problem, "can't be read", says("(i32.const 1025)").build()),
        Refused("one of no text", problem, "can't be read", {
            says(&format!("(i32.store8 (i32.const 1148) (i32.const 255)) {gives}")).build()
        }),
        Refused("one of half a letter", problem, "can't be read", {
            let surrogate = format!("(i32.store16 (i32.const 1148) (i32.const 0xd800)) {gives}");
            says(&surrogate).spelling(Encoding::Utf16).build()
        }),
        Refused("one of a seventh kind", problem, "can't be read", {
            says(&format!("(i32.store8 (i32.const 1056) (i32.const 7)) {gives}")).build()
        }),
        Refused("one of 5 MB", problem, "more than can be copied", {
            let long = "(drop (memory.grow (i32.const 100))) (i32.store (i32.const 1052) (i32.const 5000000))";
            says(&format!("{long} {gives}")).build()
        }),
        Refused("a billion hosts", problem, "can't be", {
            says(&format!("(i32.store (i32.const 1072) (i32.const 1000000000)) {gives}")).build()
        }),
        Refused("a name in capitals", "plugin-manifest", "manifest's name", Guest::new("Refused", "1.0.0").build()),
        Refused("a schema that is none", "plugin-manifest", "config-schema", guest().schema("[]").build()),
        Refused("a schema of 7,000 levels", "plugin-manifest", "config-schema", {
            guest().schema(&format!("{}1{}", "{\"a\":".repeat(7_000), "}".repeat(7_000))).build()
        }),
    ]
}

#[tokio::test]
async fn each_is_refused_by_name() {
    let setup = Setup::new()
        .env("HOOKMILL_PLUGINS__COMPILE_TIME", "1s")
        .env("HOOKMILL_PLUGINS__COMPILE_MEMORY", (256 << 20).to_string());
    let mut scene = Scene::set(setup).await;
    let rows = [imports(), worlds(), demands(), unreadable(), costly(), descriptions()];
    let mut surprises = Vec::new();
    for Refused(what, problem, says, bytes) in rows.into_iter().flatten() {
        let answer = scene.attacker.upload(bytes).await;
        let found = serde_json::from_str::<serde_json::Value>(&answer.text).unwrap_or_default();
        let named = found["type"] == format!("/problems/{problem}") && answer.status == 422;
        if named && text(&found, "detail").contains(says) {
            answer.problem(422, problem);
        } else {
            surprises.push(format!("{what}: {} {}", answer.status, answer.text.chars().take(600).collect::<String>()));
        }
        scene.nobody_notices().await;
    }
    assert!(surprises.is_empty(), "{} were not refused as they should be:\n{}", surprises.len(), surprises.join("\n"));
    assert_eq!(scene.taken().await, 0, "nothing of them was kept");
    scene.all_is_well().await;
}
