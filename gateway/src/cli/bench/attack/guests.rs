//! The plugins of a tenant that means harm: those that are taken and fault whenever they run, and those that are refused
//! each time that they are uploaded.
//!
//! What each comes to, by name, is told at the end of an attack, and held against a table by the end-to-end suite
//! (`bench`); more kinds of either, each alone, are in `harm` there.

use wit_component::StringEncoding;

use crate::engine::fixtures::guest::{ECHO, Guest, calls_itself};

/// A function that never comes back, for the stack ends.
const DEEPER: &str = "(func $deeper (call $deeper) (call $deeper))";
const ENDLESS: &str = "(loop $again (br $again))";
/// Logs a line, while the host may not be called.
const LOGS: &str = "(call $log (i32.const 1) (i32.const 0) (i32.const 0))";
/// A text of each kind, for requests and for what is no text.
const TEXTS: &str = r#"(data (i32.const 512) "POSTtext/plain") (data (i32.const 640) "\22\ff\22")
    (data (i32.const 656) "\22\00\00\d8\22\00")"#;

/// A plugin, by its name.
pub(super) type Named = (&'static str, Vec<u8>);

/// A transform that does this, and gives nothing back.
fn doing(instructions: &str) -> Guest {
    Guest::transform(&format!("{instructions} (i32.const 0)")).with(DEEPER)
}

/// One that does this where the host asks for memory.
fn allocating(instructions: &str) -> Guest {
    Guest::transform(ECHO).with(DEEPER).allocating(instructions)
}

/// One that does this when the host has read what came back.
fn afterwards(instructions: &str) -> Guest {
    let function = format!("(func (export \"cabi_post_transform\") (param i32) {instructions})");
    Guest::transform(ECHO).with(DEEPER).with(&function)
}

/// One that gives back, as the event's data, what lies here and is so long.
fn giving(place: u32, length: u32) -> Guest {
    let data = format!("(local.set 8 (i32.const {place})) (local.set 9 (i32.const {length})) {ECHO}");
    Guest::transform(&data).with(TEXTS)
}

/// Logs lines of so many characters, without an end.
fn flood(length: u32) -> String {
    format!("(loop $more (call $log (i32.const 1) (i32.const 0) (i32.const {length})) (br $more))")
}

fn built(guests: Vec<(&'static str, Guest)>) -> Vec<Named> {
    guests.into_iter().map(|(name, guest)| (name, guest.named(name).module())).collect()
}

/// Transforms that are taken; `looping` and `bomb`, which the operator has put up, are not among them.
pub(super) fn transforms() -> Vec<Named> {
    // Without a loop, so that nothing but these steps themselves can be interrupted.
    let fills = "(memory.fill (i32.const 131072) (i32.const 1) (i32.const 3000000))".repeat(4_000);
    let both = "(drop (memory.grow $a (i32.const 600))) (drop (memory.grow $b (i32.const 600)))";
    let table = "(loop $more (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $more))";
    let turns = "(type $f (func)) (table $t 2 funcref) (elem (table $t) (i32.const 0) func $one $other)
        (func $one (call_indirect $t (type $f) (i32.const 1)) (call_indirect $t (type $f) (i32.const 1)))
        (func $other (call_indirect $t (type $f) (i32.const 0)) (call_indirect $t (type $f) (i32.const 0)))";
    let list = "(drop (memory.grow (i32.const 700))) (i32.store (i32.const 136) (i32.const 65536))
        (i32.store (i32.const 140) (i32.const 800000)) (i32.const 128)";
    let mut all = built(vec![
        // Time: in bulk, where memory is asked for, and when all has been said.
        ("only-fills", doing(&fills)),
        ("loop-in-realloc", allocating(ENDLESS)),
        ("loop-afterwards", afterwards(ENDLESS)),
        // Memory, and a table.
        ("one-gulp", doing("(drop (memory.grow (i32.const 65000)))")),
        ("two-memories", doing(both).with("(memory $a 1) (memory $b 1)")),
        ("table", doing(table).with("(table $t 1 funcref)")),
        // The stack, in the guest and in what the host calls of it while it copies.
        ("recursion", doing("(call $deeper)")),
        ("in-turns", doing("(call $one)").with(turns)),
        ("deep-realloc", allocating("(call $deeper)")),
        ("deep-afterwards", afterwards("(call $deeper)")),
        // Output: a text, and a list of next to nothing.
        ("a-byte-too-much", giving(1 << 20, (1 << 20) + 1)),
        ("hundreds-of-thousands", Guest::transform(list)),
        // Texts that are none.
        ("no-utf-8", giving(640, 3)),
        ("a-lone-surrogate", giving(656, 3).spelling(StringEncoding::UTF16)),
        ("beyond-the-end", giving(0, 0x7fff_ffff)),
        // Traps, in each function that the host calls.
        ("traps", doing("unreachable")),
        ("traps-in-realloc", allocating("unreachable")),
        ("traps-afterwards", afterwards("unreachable")),
        // The host is called while it copies.
        ("logs-in-realloc", allocating(LOGS)),
        ("logs-afterwards", afterwards(LOGS)),
        // The log.
        ("flood", doing(&flood(100))),
        ("flood-of-nothing", doing(&flood(0))),
    ]);
    // The guest is called while it works.
    all.push(("calls-itself", calls_itself("calls-itself")));
    all
}

/// Connectors that are taken.
pub(super) fn connectors() -> Vec<Named> {
    // A request of a method, a text and its type.
    let words = [(256, 512), (260, 4), (288, 512), (292, 4), (296, 516), (300, 10)];
    let store = |(at, word): (u32, u32)| format!("(i32.store (i32.const {at}) (i32.const {word}))");
    let request = words.map(store).concat() + "(call $keep (i32.const 1))";
    built(vec![
        ("traps-in-render", Guest::connector("unreachable", "unreachable")),
        ("traps-in-interpret", Guest::connector(&request, "unreachable").with(TEXTS)),
        ("loop-in-interpret", Guest::connector(&request, &format!("{ENDLESS} (i32.const 0)")).with(TEXTS)),
    ])
}

/// Those that are refused: at once, when they have run for as long as they may, and when a great deal has been compiled.
pub(super) fn refused() -> Vec<Named> {
    let echo = || Guest::transform(ECHO);
    let says = |instructions: &str| echo().with(DEEPER).describing(&format!("{instructions} (i32.const 1024)"));
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    let far =
        r#"(memory $far 240) (data (memory $far) (i32.const 0) "a") (data (memory $far) (i32.const 15700000) "b")"#;
    let start = format!("(func $start {ENDLESS}) (start $start)");
    let costly = "(func (param i32 i64) (result i64) (local i64)
        (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 31)) (local.get 1)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0)))
        (i64.rotl (local.get 2) (i64.extend_i32_u (local.get 0))))";
    let mut all = built(vec![
        // What they may not import.
        ("wasi", echo().importing(wasi)),
        ("more-imports", echo().importing(r#"(import "env" "now" (func))"#)),
        // What they may not have.
        ("a-large-memory", echo().with("(memory 2000)")),
        ("a-large-table", echo().with("(table 30000 funcref)")),
        // What becomes large when it is compiled, and what takes long.
        ("far-apart", echo().with(far)),
        ("costly", echo().with(&costly.repeat(COSTLY)).describing("unreachable")),
        // What does harm before it has said what it is, or in saying it.
        ("endless-start", echo().with(&start)),
        ("endless", says(ENDLESS)),
        ("bottomless", says("(call $deeper)")),
        ("talkative", says(&flood(100))),
        ("nowhere", echo().describing("(i32.const -4)")),
    ]);
    all.extend([
        ("capitals", echo().named("Capitals").module()),
        ("a-later-contract", later(echo().module())),
        // Of no world.
        ("a-bare-module", b"\0asm\x01\0\0\0".to_vec()),
        ("a-bare-component", b"\0asm\x0d\0\x01\0".to_vec()),
        // A section of types that says it has gigabytes, and one of a million types and one.
        ("a-claim", b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff\x0f\x01".to_vec()),
        ("a-million-types", {
            let mut file = b"\0asm\x01\0\0\0\x01\xc6\x8d\xb7\x01\xc1\x84\x3d".to_vec();
            file.extend(b"\x60\0\0".repeat(1_000_001));
            file
        }),
    ]);
    all
}

/// Functions that are compiled in vain: some seconds' worth.
const COSTLY: usize = 20_000;

/// The same, built for a contract that there is not yet.
fn later(mut module: Vec<u8>) -> Vec<u8> {
    let (now, then) = (b"@0.1.0", b"@0.2.0");
    let named = module.windows(now.len()).enumerate().filter(|(_, found)| found == now);
    let places: Vec<usize> = named.map(|(at, _)| at).collect();
    for at in places {
        module[at..at + then.len()].copy_from_slice(then);
    }
    module
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_has_a_name_and_begins_as_webassembly_does() {
        let all = [transforms(), connectors(), refused()].concat();
        for (name, bytes) in &all {
            assert!(bytes.starts_with(b"\0asm"), "{name}");
        }
        let names: HashSet<&str> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), all.len());
        assert!(transforms().len() + connectors().len() >= 25 && refused().len() >= 15, "as the help says");
    }

    #[test]
    fn a_later_contract_is_named_wherever_there_was_this_one() {
        let (now, then) = (Guest::transform(ECHO).module(), later(Guest::transform(ECHO).module()));
        let count = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).filter(|found| *found == word).count();
        assert!(count(&now, b"@0.1.0") > 1);
        assert_eq!((count(&then, b"@0.1.0"), count(&then, b"@0.2.0")), (0, count(&now, b"@0.1.0")));
    }
}
