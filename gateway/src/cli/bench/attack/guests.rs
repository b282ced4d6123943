//! The plugins of a tenant that means harm: those that are taken and fault whenever they run, and those that are refused
//! each time that they are uploaded.

use crate::engine::fixtures::guest::{ECHO, Guest};

/// Fields for a function that never comes back, for the stack ends.
const DEEPER: &str = "(func $deeper (call $deeper) (call $deeper))";
const ENDLESS: &str = "(loop $again (br $again))";

/// A plugin, by its name.
pub(super) type Named = (&'static str, Vec<u8>);

/// Those that are taken; `looping` and `bomb`, which the operator has put up, are not among them.
pub(super) fn taken() -> Vec<Named> {
    let flood = "(loop $more (call $log (i32.const 1) (i32.const 0) (i32.const 100)) (br $more)) (i32.const 0)";
    let large = format!("(local.set 8 (i32.const 1048576)) (local.set 9 (i32.const 1900000)) {ECHO}");
    let tables = "(loop $more (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $more)) (i32.const 0)";
    let afterwards = format!("(func (export \"cabi_post_transform\") (param i32) {ENDLESS})");
    let guest =
        |name: &'static str, body: &str, fields: &str| (name, Guest::transform(body).named(name).with(fields).module());
    vec![
        guest("trapping", "unreachable", ""),
        guest("deep", "(call $deeper) (i32.const 0)", DEEPER),
        guest("flooding", flood, ""),
        guest("swollen", &large, ""),
        guest("tabular", tables, "(table $t 1 funcref)"),
        guest("lingering", ECHO, &afterwards),
    ]
}

/// Those that are refused: at once, when they have run for as long as they may, and when a great deal has been compiled.
pub(super) fn refused() -> Vec<Named> {
    let mistaken = b"\0asm\x01\0\0\0".to_vec();
    let endless = Guest::transform(ECHO).describing(&format!("{ENDLESS} (i32.const 0)")).module();
    let costly = "(func (param i32 i64) (result i64) (local i64)
        (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 2 (i64.add (i64.mul (local.get 2) (i64.const 31)) (local.get 1)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0)))
        (i64.rotl (local.get 2) (i64.extend_i32_u (local.get 0))))";
    let costly = Guest::transform(ECHO).with(&costly.repeat(COSTLY)).describing("unreachable").module();
    vec![("mistaken", mistaken), ("endless", endless), ("costly", costly)]
}

/// Functions that are compiled in vain: some seconds' worth.
const COSTLY: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_begin_as_modules_do() {
        for (name, bytes) in taken().into_iter().chain(refused()) {
            assert!(bytes.starts_with(b"\0asm\x01\0\0\0"), "{name}");
        }
    }
}
