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

/// A transform that calls itself, by way of the host: an instance that is at work is entered again.
pub(super) fn calls_itself(name: &str) -> Vec<u8> {
    let guest = Guest::new(name, "1.0.0");
    let text = include_str!("../../../../gateway/src/engine/fixtures/calls_itself.wat");
    let text = text.replace("{memory}", &guest.memory()).replace("{manifest}", &guest.manifest());
    wat::parse_str(text).expect("the text is a component")
}
