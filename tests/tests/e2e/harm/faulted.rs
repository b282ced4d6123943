//! What can't be seen in a plugin's bytes and ends when it runs: each guest is taken, and each time that it runs, tried
//! (`POST /v1/plugins/{name}/run`) or over an event, it ends in the fault of its name.

use hookmill_tests::{Answer, Encoding, Guest, Receiver, Setup};
use serde_json::{Value, json};

use super::components::calls_itself;
use super::{Scene, text};

/// A guest's name, the fault that it ends in, a part of what is said of it, and its bytes.
struct Faulted(&'static str, &'static str, &'static str, Vec<u8>);

const ENDLESS: &str = "(loop $again (br $again))";
const GROWING: &str = "(loop $more (drop (memory.grow (i32.const 16))) (br $more))";
/// A function that never comes back, for the stack ends.
const DEEPER: &str = "(func $deeper (call $deeper) (call $deeper))";

/// A place in a guest's memory where nothing lies, behind what the host puts there of an event.
const PLACE: u32 = 400_000;

/// A transform.
fn guest(name: &str) -> Guest {
    Guest::new(name, "1.0.0")
}

/// What the host calls when it has read what came back.
fn afterwards(instructions: &str) -> String {
    format!("{DEEPER} (func (export \"cabi_post_transform\") (param i32) {instructions})")
}

/// A transform gives back what it was given, but for this text of the event, which lies here and is so long.
fn field(of: usize, place: u32, length: u32) -> String {
    format!("(local.set {} (i32.const {place})) (local.set {} (i32.const {length}))", 2 * of, 2 * of + 1)
}

/// The fields of an event, as the canonical ABI numbers them.
const ID: usize = 0;
const TYPE: usize = 1;
const TIMESTAMP: usize = 3;
const DATA: usize = 4;
const ATTRIBUTES: usize = 5;

/// A transform gives back another decision than to keep the event: the words of it.
fn decides(words: &[u32]) -> String {
    let store = |(at, word): (usize, &u32)| format!("(i32.store (i32.const {}) (i32.const {word}))", 128 + 4 * at);
    format!("{} (return (i32.const 128))", words.iter().enumerate().map(store).collect::<String>())
}

/// They take more time than there is.
fn time() -> Vec<Faulted> {
    let (kind, says) = ("time", "50 ms");
    let tree = "(func $tree (param i32) (if (local.get 0) (then
        (call $tree (i32.sub (local.get 0) (i32.const 1))) (call $tree (i32.sub (local.get 0) (i32.const 1))))))";
    // Without a loop, so that nothing but these steps themselves can be interrupted.
    let fills = "(memory.fill (i32.const 131072) (i32.const 1) (i32.const 3000000))".repeat(4_000);
    let copies = "(memory.copy (i32.const 131072) (i32.const 131073) (i32.const 2900000))".repeat(4_000);
    vec![
        Faulted("endless-loop", kind, says, guest("endless-loop").doing(ENDLESS).build()),
        Faulted("endless-tail", kind, says, {
            guest("endless-tail").with("(func $next (return_call $next))").doing("(call $next)").build()
        }),
        Faulted("wide-tree", kind, says, guest("wide-tree").with(tree).doing("(call $tree (i32.const 60))").build()),
        Faulted("only-fills", kind, says, guest("only-fills").doing(&fills).build()),
        Faulted("only-copies", kind, says, guest("only-copies").doing(&copies).build()),
        Faulted("loop-in-realloc", kind, says, guest("loop-in-realloc").allocating(ENDLESS).build()),
        Faulted("loop-afterwards", kind, says, guest("loop-afterwards").with(&afterwards(ENDLESS)).build()),
        Faulted("loop-in-render", kind, says, Guest::connector("loop-in-render", "1.0.0").doing(ENDLESS).build()),
    ]
}

/// They take more memory than there is, or a larger table.
fn memory() -> Vec<Faulted> {
    let (kind, says) = ("memory", "bytes of memory");
    let both = "(drop (memory.grow $a (i32.const 600))) (drop (memory.grow $b (i32.const 600)))";
    let table = "(loop $more (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $more))";
    vec![
        Faulted("grows", kind, says, guest("grows").doing(GROWING).build()),
        Faulted("one-gulp", kind, says, guest("one-gulp").doing("(drop (memory.grow (i32.const 65000)))").build()),
        Faulted("two-memories", kind, says, {
            guest("two-memories").with("(memory $a 1) (memory $b 1)").doing(both).build()
        }),
        Faulted("grows-in-realloc", kind, says, guest("grows-in-realloc").allocating(GROWING).build()),
        Faulted("grows-afterwards", kind, says, guest("grows-afterwards").with(&afterwards(GROWING)).build()),
        Faulted("table", kind, "a table of", guest("table").with("(table $t 1 funcref)").doing(table).build()),
    ]
}

/// They go deeper than there is stack.
fn stack() -> Vec<Faulted> {
    let (kind, says) = ("stack", "overflowed its stack");
    let mutual = "(type $f (func)) (table $t 2 funcref) (elem (table $t) (i32.const 0) func $one $other)
        (func $one (call_indirect $t (type $f) (i32.const 1)) (call_indirect $t (type $f) (i32.const 1)))
        (func $other (call_indirect $t (type $f) (i32.const 0)) (call_indirect $t (type $f) (i32.const 0)))";
    let wide = {
        let locals = "v128 ".repeat(500);
        let set: String = (0..500).map(|at| format!("(local.set {at} (v128.load (i32.const {})))", at * 16)).collect();
        let used: String = (0..500).map(|at| format!("(v128.store (i32.const 131072) (local.get {at}))")).collect();
        format!("(func $wide (local {locals}) {set} (call $wide) {used})")
    };
    vec![
        Faulted("recursion", kind, says, guest("recursion").with(DEEPER).doing("(call $deeper)").build()),
        Faulted("in-turns", kind, says, guest("in-turns").with(mutual).doing("(call $one)").build()),
        Faulted("wide-frames", kind, says, guest("wide-frames").with(&wide).doing("(call $wide)").build()),
        Faulted("deep-realloc", kind, says, {
            guest("deep-realloc").with(DEEPER).allocating("(call $deeper)").build()
        }),
        Faulted("deep-afterwards", kind, says, {
            guest("deep-afterwards").with(&afterwards("(call $deeper)")).build()
        }),
    ]
}

/// They give back more than may be.
fn output() -> Vec<Faulted> {
    let (kind, says) = ("output_too_large", "gave back");
    let growing = |pages: u32, then: &str| format!("(drop (memory.grow (i32.const {pages}))) {then}");
    // Each pair is two texts of a kilobyte, and all are the same.
    let pairs = "(local.set 12 (i32.const 1048576)) (loop $more
        (i32.store (local.get 12) (i32.const 400000)) (i32.store offset=4 (local.get 12) (i32.const 1000))
        (i32.store offset=8 (local.get 12) (i32.const 400000)) (i32.store offset=12 (local.get 12) (i32.const 1000))
        (local.set 12 (i32.add (local.get 12) (i32.const 16)))
        (br_if $more (i32.lt_u (local.get 12) (i32.const 9048576))))";
    vec![
        Faulted("a-byte-too-much", kind, "1048576", {
            guest("a-byte-too-much").doing(&field(DATA, 1 << 20, (1 << 20) + 1)).build()
        }),
        Faulted("more-than-copied", kind, says, {
            guest("more-than-copied").doing(&growing(100, &field(DATA, 1 << 20, 5_000_000))).build()
        }),
        Faulted("half-a-million-pairs", kind, says, {
            guest("half-a-million-pairs")
                .doing(&growing(200, &format!("{pairs} {}", field(ATTRIBUTES, 1 << 20, 500_000))))
                .build()
        }),
        Faulted("millions-of-nothing", kind, says, {
            guest("millions-of-nothing").doing(&growing(700, &field(ATTRIBUTES, 1 << 20, 2_800_000))).build()
        }),
        Faulted("a-novel-of-a-reason", kind, says, {
            guest("a-novel-of-a-reason").doing(&decides(&[0, 1, 131_072, 2 << 20])).build()
        }),
        Faulted("a-novel-of-a-fault", kind, says, {
            guest("a-novel-of-a-fault").doing(&growing(100, &decides(&[1, 131_072, 5_000_000]))).build()
        }),
        Faulted("a-large-body", kind, says, {
            let long = format!(
                "(i32.store (i32.const 292) (i32.const 2000000))
                (i32.store (i32.const 136) (i32.const 256)) (i32.store (i32.const 140) (i32.const 1))
                (i32.store (i32.const 256) (i32.const 640)) (i32.store (i32.const 260) (i32.const 4))
                (i32.store (i32.const 288) (i32.const {PLACE})) (return (i32.const 128))"
            );
            Guest::connector("a-large-body", "1.0.0").doing(&long).build()
        }),
    ]
}

/// They log more than may be.
fn log() -> Vec<Faulted> {
    let (kind, says) = ("log_too_large", "logged more");
    let flood = |place: u32, length: u32| {
        format!("(loop $more (call $log (i32.const 1) (i32.const {place}) (i32.const {length})) (br $more))")
    };
    let large =
        "(drop (memory.grow (i32.const 100))) (call $log (i32.const 1) (i32.const 1048576) (i32.const 5000000))";
    vec![
        Faulted("flood", kind, says, guest("flood").doing(&flood(0, 100)).build()),
        Faulted("flood-of-nothing", kind, says, guest("flood-of-nothing").doing(&flood(0, 0)).build()),
        Faulted("one-long-line", kind, says, guest("one-long-line").doing(&flood(1 << 20, 2_000_000)).build()),
        Faulted("one-longer-line", kind, says, guest("one-longer-line").doing(large).build()),
        Faulted("flood-in-render", kind, says, {
            Guest::connector("flood-in-render", "1.0.0").doing(&flood(0, 100)).build()
        }),
    ]
}

/// They trap.
fn traps() -> Vec<Faulted> {
    let kind = "trap";
    let panics = "(call $log (i32.const 3) (i32.const 640) (i32.const 7)) unreachable";
    let calls = |function: &str| {
        format!("(type $f (func)) (table $t 2 funcref) (elem (table $t) (i32.const 1) func $typed) (func $typed (param i32))
            (func $calls (call_indirect $t (type $f) (i32.const {function})))")
    };
    let logs = "(call $log (i32.const 1) (i32.const 0) (i32.const 0))";
    let leaves = "cannot leave component instance";
    vec![
        Faulted("panics", kind, "its last error was: no name", {
            guest("panics").with(r#"(data (i32.const 640) "no name")"#).doing(panics).build()
        }),
        Faulted("divides", kind, "divide by zero", {
            guest("divides").doing("(drop (i32.div_u (i32.const 1) (i32.const 0)))").build()
        }),
        Faulted("overflows", kind, "integer overflow", {
            guest("overflows").doing("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))").build()
        }),
        Faulted("converts", kind, "conversion to integer", {
            guest("converts").doing("(drop (i32.trunc_f64_s (f64.const nan)))").build()
        }),
        Faulted("reaches-beyond", kind, "out of bounds", {
            guest("reaches-beyond").doing("(drop (i32.load (i32.const -8)))").build()
        }),
        Faulted(
            "calls-nothing",
            kind,
            "uninitialized",
            guest("calls-nothing").with(&calls("0")).doing("(call $calls)").build(),
        ),
        Faulted(
            "calls-another",
            kind,
            "type mismatch",
            guest("calls-another").with(&calls("1")).doing("(call $calls)").build(),
        ),
        Faulted(
            "calls-beyond",
            kind,
            "out of bounds",
            guest("calls-beyond").with(&calls("9")).doing("(call $calls)").build(),
        ),
        Faulted("traps-in-realloc", kind, "gave up", guest("traps-in-realloc").allocating("unreachable").build()),
        Faulted(
            "traps-afterwards",
            kind,
            "gave up",
            guest("traps-afterwards").with(&afterwards("unreachable")).build(),
        ),
        Faulted(
            "traps-in-render",
            kind,
            "gave up",
            Guest::connector("traps-in-render", "1.0.0").doing("unreachable").build(),
        ),
        // The host may not be called while it copies, and an instance may not be entered twice.
        Faulted("logs-in-realloc", kind, leaves, guest("logs-in-realloc").allocating(logs).build()),
        Faulted("logs-afterwards", kind, leaves, guest("logs-afterwards").with(&afterwards(logs)).build()),
        Faulted("calls-itself", kind, "cannot enter component instance", calls_itself("calls-itself")),
    ]
}

/// What they give back can't be read: no text, no address, no case of the type.
fn unreadable() -> Vec<Faulted> {
    let (kind, says) = ("bad_output", "can't be read");
    let gives = |name: &'static str, bytes: &str, at: usize, length: u32| {
        let data = format!("(data (i32.const 640) \"{bytes}\")");
        Faulted(name, kind, says, guest(name).with(&data).doing(&field(at, 640, length)).build())
    };
    let spelled = |name: &'static str, encoding, bytes: &str, place: u32, length: u32| {
        let data = format!("(data (i32.const 640) \"{bytes}\")");
        Faulted(name, kind, says, {
            guest(name).spelling(encoding).with(&data).doing(&field(DATA, place, length)).build()
        })
    };
    let tag = 1 << 31;
    let returns = |name: &'static str, address: i32| {
        Faulted(name, kind, says, guest(name).doing(&format!("(return (i32.const {address}))")).build())
    };
    let allocates = |name: &'static str, address: i32| {
        Faulted(name, kind, says, guest(name).allocating(&format!("(return (i32.const {address}))")).build())
    };
    let decides =
        |name: &'static str, words: &[u32]| Faulted(name, kind, says, guest(name).doing(&decides(words)).build());
    let logs = |name: &'static str, says, level: u32, length: u32| {
        let logs = format!("(call $log (i32.const {level}) (i32.const 640) (i32.const {length}))");
        Faulted(name, kind, says, guest(name).with(r#"(data (i32.const 640) "\ff")"#).doing(&logs).build())
    };
    vec![
        gives("no-utf-8", r#"\22\ff\22"#, DATA, 3),
        gives("a-surrogate-in-utf-8", r#"\22\ed\a0\80\22"#, DATA, 5),
        gives("longer-than-it-must-be", r#"\22\c0\80\22"#, DATA, 4),
        gives("half-a-letter", r#"\22\e2\82"#, DATA, 3),
        gives("no-text-for-a-type", r#"\80"#, TYPE, 1),
        spelled("a-lone-surrogate", Encoding::Utf16, r#"\22\00\00\d8\22\00"#, 640, 3),
        spelled("utf-16-at-an-odd-place", Encoding::Utf16, r#"\22\00\22\00\22\00"#, 641, 2),
        spelled("utf-16-beyond-the-end", Encoding::Utf16, "", 3_145_720, 9),
        spelled("tagged-and-alone", Encoding::Latin1OrUtf16, r#"\22\00\00\dc\22\00"#, 640, 3 | tag),
        spelled("tagged-and-endless", Encoding::Latin1OrUtf16, "", 640, 0x7fff_fffe | tag),
        spelled("latin-1-beyond-the-end", Encoding::Latin1OrUtf16, "", 3_145_720, 9),
        gives("beyond-the-end", "", DATA, 0x7fff_ffff),
        returns("nowhere", -4),
        returns("at-an-odd-address", 129),
        decides("a-third-result", &[2]),
        decides("a-third-decision", &[0, 2]),
        decides("no-text-for-a-reason", &[0, 1, 0x7fff_fff0, 4]),
        decides("no-text-for-a-fault", &[1, 0x7fff_fff0, 4, 0]),
        allocates("room-beyond-the-end", -16),
        Faulted("room-at-an-odd-address", kind, says, {
            let odd = "(return (i32.const 131073))";
            guest("room-at-an-odd-address").spelling(Encoding::Utf16).allocating(odd).build()
        }),
        logs("a-fifth-level", "what it logged can't be read", 4, 0),
        logs("no-text-for-a-line", "what it logged can't be read", 1, 1),
    ]
}

/// What they give back can be read, and breaks the contract.
fn contract() -> Vec<Faulted> {
    let kind = "bad_output";
    let gives = |name: &'static str, says: &'static str, bytes: &str, at: usize| {
        let data = format!("(data (i32.const {PLACE}) \"{bytes}\")");
        let length = u32::try_from(bytes.len()).expect("a short text");
        Faulted(name, kind, says, guest(name).with(&data).doing(&field(at, PLACE, length)).build())
    };
    let counts = |name: &'static str, says: &'static str, count: u32| {
        Faulted(name, kind, says, guest(name).doing(&decides(&[0, 0, PLACE, count])).build())
    };
    // A request of these words.
    let renders = |name: &'static str, says: &'static str, data: &str, words: [u32; 12]| {
        let store = |(at, word): (usize, &u32)| format!("(i32.store (i32.const {}) (i32.const {word}))", 256 + 4 * at);
        let request: String = words.iter().enumerate().map(store).collect();
        let list = "(i32.store (i32.const 136) (i32.const 256)) (i32.store (i32.const 140) (i32.const 1))";
        let guest =
            Guest::connector(name, "1.0.0").with(data).doing(&format!("{request} {list} (return (i32.const 128))"));
        Faulted(name, kind, says, guest.build())
    };
    let texts = r#"(data (i32.const 400000) "TRACEx-a\0d\0ab")"#;
    // At 402,000 the header `x-a` with a line's end in its value; 16 bytes on, one whose name is a line's end.
    let header = [PLACE + 5, 3, PLACE + 8, 3, PLACE + 8, 1, PLACE + 5, 3].map(u32::to_le_bytes).concat();
    let header: String = header.into_iter().map(|byte| format!("\\{byte:02x}")).collect();
    let header = format!("{texts} (data (i32.const 402000) \"{header}\")");
    let brackets = "(memory.fill (i32.const 400000) (i32.const 91) (i32.const 500000))
        (memory.fill (i32.const 900000) (i32.const 93) (i32.const 500000))";
    vec![
        gives("another-id", "changed the event's id", "evt_other", ID),
        gives("a-type-that-is-none", "type is not one", "a b", TYPE),
        gives("a-type-of-the-gateways", "the gateway's own", "hookmill.plugin.faulted", TYPE),
        gives("another-calendar", "timestamp is not RFC 3339", "yesterday", TIMESTAMP),
        gives("no-json", "data is not JSON", "{]", DATA),
        gives("json-and-more", "data is not JSON", "{} {}", DATA),
        // Whoever made a tree of it would be half a million calls deep.
        Faulted("half-a-million-brackets", kind, "nested deeper than 128", {
            let all = format!("{brackets} {}", field(DATA, PLACE, 1_000_000));
            guest("half-a-million-brackets").doing(&all).build()
        }),
        counts("no-events", "kept 0 events", 0),
        counts("two-events", "kept 2 events", 2),
        renders("another-method", "method is", texts, [PLACE, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        renders("sixty-five-headers", "65 headers", texts, [640, 4, 0, 0, 0, 500_000, 65, 0, 0, 0, 0, 0]),
        renders("a-line-more", "control character in its value", &header, [640, 4, 0, 0, 0, 402_000, 1, 0, 0, 0, 0, 0]),
        renders("a-name-of-none", "header name", &header, [640, 4, 0, 0, 0, 402_016, 1, 0, 0, 0, 0, 0]),
        renders("a-type-of-two-lines", "content type has", texts, [640, 4, 0, 0, 0, 0, 0, 0, 0, 0, PLACE + 8, 3]),
    ]
}

/// Each is taken, ends by its name when it is tried, and again, and when an event goes through it.
#[tokio::test]
async fn each_ends_by_its_name() {
    let mut scene = Scene::set(Setup::new()).await;
    let rows = [time(), memory(), stack(), output(), log(), traps(), unreadable(), contract()];
    let rows: Vec<Faulted> = rows.into_iter().flatten().collect();
    let mut surprises = Vec::new();
    for Faulted(name, kind, says, bytes) in rows {
        let uploaded = scene.attacker.upload(bytes).await;
        if uploaded.status != 201 {
            surprises.push(format!("{name} was not taken: {}", uploaded.text));
            continue;
        }
        let run = json!({"event": {"type": "a", "data": {"n": 1}}});
        let mut faults = Vec::new();
        for _ in 0..2 {
            let ran = scene.attacker.api.post(&format!("/v1/plugins/{name}/run"), run.clone()).await.json(200);
            faults.push(ran["fault"].clone());
        }
        let by_name =
            faults[0]["kind"] == kind && faults[0]["message"].as_str().is_some_and(|said| said.contains(says));
        if !by_name || faults[0] != faults[1] {
            surprises.push(format!("{name}, tried: {faults:?}"));
        }
        let attempt = delivered(&scene, name, uploaded.json(201)["kind"] == "connector").await;
        let detail = attempt["detail"].as_str().unwrap_or_default();
        let faulted = attempt["outcome"] == "plugin_fault" && attempt["blame"] == "plugin";
        if !faulted || !detail.contains(&format!("faulted ({kind}): ")) || !detail.contains(says) {
            surprises.push(format!("{name}, over an event: {attempt}"));
        }
        scene.nobody_notices().await;
    }
    assert!(surprises.is_empty(), "{} did not end by their names:\n{}", surprises.len(), surprises.join("\n"));
    assert_eq!(scene.endpoint.count("/never"), 0, "nothing of them was sent");
    scene.all_is_well().await;
}

/// The one attempt at the delivery of an event that goes through this plugin.
async fn delivered(scene: &Scene, plugin: &str, is_connector: bool) -> Value {
    let mut wanted = json!({
        "url": scene.endpoint.url("/never"), "events": [plugin], "retry_policy": {"schedule": ["0s"]},
    });
    if is_connector {
        wanted["connector"] = json!({"name": plugin, "config": {}});
    } else {
        wanted["transforms"] = json!([{"plugin": plugin}]);
        // As JavaScript would spell it: the one way of sending for which the gateway itself reads what came back.
        wanted["body_format"] = json!("js");
    }
    scene.attacker.subscribe(wanted).await;
    let receipt = scene.attacker.post(plugin, json!({"n": 1})).await;
    let failed = scene.attacker.status(&receipt, "failed").await;
    failed["attempts"][0].clone()
}

/// What is spelled in UTF-16, or in Latin-1 where that will do, is as good as what is not.
#[tokio::test]
async fn other_spellings_do_no_harm() {
    let scene = Scene::set(Setup::new()).await;
    for (name, encoding) in [("utf-16", Encoding::Utf16), ("latin-1-or-utf-16", Encoding::Latin1OrUtf16)] {
        for (version, json) in [("1.0.0", r#"{"text":"plain"}"#), ("2.0.0", r#"{"text":"grün, ✓ and 😀"}"#)] {
            let guest = Guest::new(name, version).spelling(encoding).makes(json);
            scene.attacker.upload(guest.build()).await.is(201);
            let run = json!({"event": {"type": "a", "data": {"of": "naïve 😀"}}});
            let ran = scene.attacker.api.post(&format!("/v1/plugins/{name}@{version}/run"), run).await.json(200);
            assert_eq!(ran["output"]["keep"]["data"], serde_json::from_str::<Value>(json).unwrap(), "{name}: {ran}");
        }
        scene.attacker.upload(Guest::new(name, "3.0.0").spelling(encoding).build()).await.is(201);
        for data in ["plain", "naïve", "naïve 😀, ✓"] {
            let run = json!({"event": {"type": "a", "data": data}});
            let ran = scene.attacker.api.post(&format!("/v1/plugins/{name}@3.0.0/run"), run).await.json(200);
            assert_eq!(ran["output"]["keep"]["data"], data, "{name}: {ran}");
        }
    }
}

/// A connector that faults over an answer: the fault is named beside what the answer would mean without it, and what was
/// taken is not sent again. Behind the bare word `ok` there is nothing to read, so nothing can fault.
#[tokio::test]
async fn in_reading_an_answer() {
    const PATHS: [&str; 3] = ["takes", "agrees", "refuses"];
    let mut scene = Scene::set(Setup::new()).await;
    let answer = |path: &str| match path.split('/').nth(1) {
        Some("takes") => Answer::Status(200),
        Some("agrees") => Answer::Full(200, Vec::new(), "ok".to_owned()),
        _ => Answer::Status(500),
    };
    let endpoint = Receiver::scripted(move |request, _| answer(&request.path)).await;
    let connector = |name: &str| Guest::connector(name, "1.0.0");
    let flood = "(loop $more (call $log (i32.const 1) (i32.const 0) (i32.const 100)) (br $more))";
    let rows = [
        ("never-reads", "time", connector("never-reads").interpreting(ENDLESS)),
        ("reads-all", "memory", connector("reads-all").interpreting(GROWING)),
        ("reads-deeply", "stack", connector("reads-deeply").with(DEEPER).interpreting("(call $deeper)")),
        ("reads-aloud", "log_too_large", connector("reads-aloud").interpreting(flood)),
        ("gives-up", "trap", connector("gives-up").interpreting("unreachable")),
        ("reads-nothing", "bad_output", connector("reads-nothing").interpreting("(return (i32.const -8))")),
        ("a-sixth-verdict", "bad_output", {
            connector("a-sixth-verdict").interpreting("(i32.store (i32.const 776) (i32.const 5))")
        }),
        ("none-for-one", "bad_output", {
            connector("none-for-one").interpreting("(i32.store (i32.const 768) (i32.const 1))")
        }),
    ];
    for (name, kind, guest) in rows {
        scene.attacker.upload(guest.build()).await.is(201);
        for path in PATHS {
            scene
                .attacker
                .subscribe(json!({
                    "url": endpoint.url(&format!("/{path}/{name}")), "events": [format!("{name}.{path}")],
                    "connector": {"name": name, "config": {}}, "retry_policy": {"schedule": ["0s"]},
                }))
                .await;
        }
        let taken = scene.attacker.post(&format!("{name}.takes"), json!(1)).await;
        let delivered = scene.attacker.status(&taken, "delivered").await;
        let refused = scene.attacker.post(&format!("{name}.refuses"), json!(1)).await;
        let failed = scene.attacker.status(&refused, "failed").await;
        let attempt = &failed["attempts"][0];
        assert_eq!(
            (&attempt["outcome"], &attempt["blame"]),
            (&json!("refused"), &json!("endpoint")),
            "{name}: {attempt}"
        );
        for delivery in [&delivered, &failed] {
            let because = text(&delivery["attempts"][0]["next"], "because");
            assert!(because.contains(&format!("{name}@1.0.0 faulted ({kind}): ")), "{name}: {because}");
        }
        let agreed = scene.attacker.post(&format!("{name}.agrees"), json!(1)).await;
        let agreed = scene.attacker.status(&agreed, "delivered").await;
        let because = text(&agreed["attempts"][0]["next"], "because");
        assert!(!because.contains("faulted"), "{name}: {because}");
        for path in PATHS {
            assert_eq!(endpoint.count(&format!("/{path}/{name}")), 1, "{name}: sent once");
        }
        scene.nobody_notices().await;
    }
    scene.all_is_well().await;
}
