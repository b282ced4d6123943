//! From uploaded bytes to a component worth compiling.
//!
//! Compiling is what costs, so everything that can be seen in the bytes is looked at first: size, kind,
//! imports, exports.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wit_component::{ComponentEncoder, DecodedWasm};

use super::contract::Contract;
use super::error::{Cause, InstallError};
use crate::domain::Kind;

/// `\0asm`, then the version: 1 for a core module; 13 on layer 1 for a component.
/// <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
const MAGIC: &[u8] = b"\0asm";
const MODULE: &[u8] = &[0x01, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 0x01, 0];

/// The component in `bytes`: as it is, or made of a core module that carries its type in a custom section,
/// which is what `cargo build --target wasm32-unknown-unknown` writes.
pub(super) fn component(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, InstallError> {
    if bytes.len() > limit {
        return Err(InstallError::TooLarge { size: bytes.len(), limit });
    }
    let version = bytes.strip_prefix(MAGIC).and_then(|rest| rest.get(..4)).ok_or(InstallError::NotWasm)?;
    if !matches!(version, COMPONENT | MODULE) {
        return Err(InstallError::NotWasm);
    }
    check_sections(bytes, version == MODULE)
        .ok_or_else(|| InstallError::Malformed(Cause::said("a section ends beyond the end of the file")))?;
    if version == COMPONENT { Ok(Cow::Borrowed(bytes)) } else { encode(bytes).map(Cow::Owned) }
}

/// Whether every section ends within the file. The library makes room for as many bytes as a section claims to have,
/// which may be gigabytes, before it finds that they are not there; so too for the component in a module's custom
/// section.
fn check_sections(wasm: &[u8], is_module: bool) -> Option<()> {
    let mut rest = wasm.get(MAGIC.len() + 4..)?;
    while let Some((id, after)) = rest.split_first() {
        let (size, after) = leb128(after)?;
        let section = after.get(..size)?;
        if is_module && *id == 0 {
            let (name, after) = leb128(section)?;
            let content = after.get(name..)?;
            if content.starts_with(MAGIC) {
                check_sections(content, false)?;
            }
        }
        rest = after.get(size..)?;
    }
    Some(())
}

/// A number as WebAssembly writes it, and what follows.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    let value = number.iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((usize::try_from(value).ok()?, rest))
}

/// Lets the library read a stranger's bytes. It takes some of the lengths in them at their word and panics over
/// them; nothing of it outlives that.
fn read<T>(read: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(anyhow::anyhow!("its parts do not fit together")))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, InstallError> {
    read(|| ComponentEncoder::default().validate(true).module(module)?.encode()).map_err(|error| {
        let text = format!("{error:#}");
        let import = quoted(&text, "module requires an import interface named ");
        let export = quoted(&text, "failed to find export of function ");
        match (import, export) {
            (Some(name), _) => refuse_import(name),
            (None, Some(name)) => missing(name),
            (None, None) => InstallError::Malformed(Cause::of(error)),
        }
    })
}

/// What stands between backticks behind `before`: wit-component's errors have no types.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.trim_start_matches('`').split(['`', '\n']).next()
}

/// Which world of which contract the component is of, by what it imports and exports.
pub(super) fn survey(component: &[u8]) -> Result<(Kind, Contract), InstallError> {
    let decoded =
        read(|| wit_component::decode(component)).map_err(|error| InstallError::Malformed(Cause::of(error)))?;
    let DecodedWasm::Component(resolve, world) = decoded else { return Err(InstallError::WrongWorld) };
    let Some(world) = resolve.worlds.get(world) else { return Err(InstallError::WrongWorld) };
    let mut contract = None;
    for key in world.imports.keys() {
        // Types that a world uses are imports too, by their bare names. Bare functions show after compiling.
        let name = resolve.name_world_key(key);
        if name.contains([':', '/']) {
            let found = interface(&name)?;
            if *contract.get_or_insert(found) != found {
                let detail = "it imports from two versions of hookmill:plugin";
                return Err(InstallError::Malformed(Cause::said(detail)));
            }
        }
    }
    let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    let exported = |name: &str| exports.iter().any(|export| export == name);
    let (kind, wanted) = match (exported("transform"), exported("render") || exported("interpret")) {
        (true, false) => (Kind::Transform, ["describe", "transform"].as_slice()),
        (false, true) => (Kind::Connector, ["describe", "render", "interpret"].as_slice()),
        _ => return Err(InstallError::WrongWorld),
    };
    match wanted.iter().find(|name| !exported(name)) {
        Some(name) => Err(InstallError::MissingExport { name: (*name).to_owned(), world: world_name(kind).to_owned() }),
        // One that names none has the types of none, which linking finds.
        None => Ok((kind, contract.unwrap_or(Contract::V0_1))),
    }
}

/// The contract of an interface that a plugin may import.
fn interface(name: &str) -> Result<Contract, InstallError> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    match path {
        "hookmill:plugin/host" | "hookmill:plugin/types" => Contract::named(version),
        _ => Err(refuse_import(name)),
    }
}

/// The refusal of an import, with the hint that its name calls for.
pub(super) fn refuse_import(name: &str) -> InstallError {
    if name.starts_with("wasi") {
        InstallError::Wasi { name: name.to_owned() }
    } else {
        InstallError::ForbiddenImport { name: name.to_owned() }
    }
}

fn missing(name: &str) -> InstallError {
    let world = if name == "transform" { Kind::Transform } else { Kind::Connector };
    InstallError::MissingExport { name: name.to_owned(), world: world_name(world).to_owned() }
}

/// The world's name in `wit/plugin.wit`.
pub(super) fn world_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Transform => "transform",
        Kind::Connector => "connector",
    }
}
