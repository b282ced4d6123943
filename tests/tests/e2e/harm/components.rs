//! Components in text, for what no build tool would make.

use hookmill_tests::Guest;

/// A component.
pub(super) fn component(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {fields})")).expect("the text is a component")
}

/// One that imports this, and exports functions of the right names.
pub(super) fn importing(import: &str) -> Vec<u8> {
    component(&format!("{import} {}", exporting(&["describe", "transform"])))
}

/// Exports of these names, each a function of nothing.
pub(super) fn exporting(names: &[&str]) -> String {
    let exports: String = names.iter().map(|name| format!("(export \"{name}\" (func $f))")).collect();
    format!(
        "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\"))) {exports}"
    )
}

/// A component of two packages that depend on each other: reading it goes round in a circle.
pub(super) fn circle() -> Vec<u8> {
    component(
        r#"(import "a:a/x" (instance $x (export "t" (type (sub resource)))))
        (alias export $x "t" (type $t))
        (import "b:b/y" (instance $y (alias outer 1 $t (type $u)) (export "t" (type (eq $u)))))
        (alias export $y "t" (type $v))
        (import "a:a/z" (instance $z (alias outer 1 $v (type $w)) (export "t" (type (eq $w)))))"#,
    )
}

/// Components within components.
pub(super) fn nested(levels: usize) -> Vec<u8> {
    // By hand, since the text's own parser has a stack, too: each is its header and one section, which is the next.
    (0..levels).fold(Vec::new(), |inner, level| {
        let mut outer = b"\0asm\x0d\0\x01\0".to_vec();
        if level > 0 {
            outer.push(4);
            outer.extend(leb128(inner.len()));
            outer.extend(inner);
        }
        outer
    })
}

/// A tuple of two tuples of two tuples of two …
pub(super) fn doubled(levels: usize) -> Vec<u8> {
    let types: String = (1..=levels).map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1)).collect();
    component(&format!(
        "(type $t0 (tuple u64 u64)) {types}
        (import \"f\" (func (param \"x\" $t{levels}))) {}",
        exporting(&["describe", "transform"])
    ))
}

/// An import with a name of so many letters.
pub(super) fn long_name(length: usize) -> Vec<u8> {
    importing(&format!("(import \"a{}\" (func))", "b".repeat(length - 1)))
}

/// A number as WebAssembly writes it.
pub(super) fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A transform that calls itself, from within and by way of the host: an instance that is at work is entered again.
///
/// A table stands between, for what it imports is made of what it exports.
pub(super) fn calls_itself(name: &str) -> Vec<u8> {
    let guest = Guest::new(name, "1.0.0");
    let (fifteen, locals) = ("i32 ".repeat(15), |count: usize| -> String {
        (0..count).map(|local| format!("(local.get {local})")).collect()
    });
    component(&format!(
        r#"{TYPES}
        (core module $shim
            (type $again (func (param {fifteen})))
            (table (export "table") 1 funcref)
            (func (export "again") (type $again) {all} (call_indirect (type $again) (i32.const 0))))
        (core module $main
            (import "shim" "again" (func $again (param {fifteen})))
            {memory} {manifest}
            (func (export "describe") (result i32) (i32.const 1024))
            (func (export "transform") (param {fourteen}) (result i32)
                {given} (call $again (i32.const 256)) (i32.const 256)))
        (core module $join
            (import "" "table" (table 1 funcref))
            (import "" "again" (func $again (param {fifteen})))
            (elem (i32.const 0) func $again))
        (core instance $shim (instantiate $shim))
        (core instance $main (instantiate $main (with "shim" (instance $shim))))
        (alias core export $main "memory" (core memory $memory))
        (alias core export $main "cabi_realloc" (core func $realloc))
        (func $describe (result $manifest)
            (canon lift (core func $main "describe") (memory $memory) (realloc $realloc)))
        (func $transform (param "event" $event) (param "config" string) (result (result $decision (error $fault)))
            (canon lift (core func $main "transform") (memory $memory) (realloc $realloc)))
        (core func $again (canon lower (func $transform) (memory $memory) (realloc $realloc)))
        (core instance $own (export "table" (table $shim "table")) (export "again" (func $again)))
        (core instance $join (instantiate $join (with "" (instance $own))))
        (export "describe" (func $describe))
        (export "transform" (func $transform))"#,
        all = locals(15),
        given = locals(14),
        fourteen = "i32 ".repeat(14),
        memory = guest.memory(),
        manifest = guest.manifest(),
    ))
}

/// The types of `wit/plugin.wit` that a transform names, as a component imports them.
const TYPES: &str = r#"
    (type $event-own (record (field "id" string) (field "type" string) (field "source" string)
        (field "timestamp" string) (field "data" string) (field "attributes" (list (tuple string string)))))
    (import "event" (type $event (eq $event-own)))
    (type $fault-own (record (field "message" string) (field "retryable" bool)))
    (import "fault" (type $fault (eq $fault-own)))
    (type $decision-own (variant (case "keep" (list $event)) (case "drop" string)))
    (import "decision" (type $decision (eq $decision-own)))
    (type $kind-own (enum "transform" "connector"))
    (import "kind" (type $kind (eq $kind-own)))
    (type $google-own (record (field "config-field" string) (field "scopes" (list string))))
    (import "google-auth" (type $google (eq $google-own)))
    (type $auth-own (variant (case "none") (case "google-service-account" $google)))
    (import "auth" (type $auth (eq $auth-own)))
    (type $interprets-own (enum "never" "errors" "always"))
    (import "interprets" (type $interprets (eq $interprets-own)))
    (type $batching-own (record (field "max-events" u32) (field "max-bytes" u32) (field "max-wait-ms" u32)))
    (import "batching" (type $batching (eq $batching-own)))
    (type $on-unknown-own (enum "retry" "hold"))
    (import "on-unknown" (type $on-unknown (eq $on-unknown-own)))
    (type $rate-own (record (field "max" u32) (field "per-ms" u32)))
    (import "rate" (type $rate (eq $rate-own)))
    (type $manifest-own (record (field "name" string) (field "version" string) (field "title" string)
        (field "description" string) (field "kind" $kind) (field "config-schema" string) (field "hosts" (list string))
        (field "auth" $auth) (field "interprets" $interprets) (field "batching" $batching)
        (field "idempotency" (option string)) (field "on-unknown" $on-unknown) (field "rate" (option $rate))
        (field "contract" string)))
    (import "manifest" (type $manifest (eq $manifest-own)))"#;
