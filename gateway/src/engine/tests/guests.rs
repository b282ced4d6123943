//! A builder of small guests from core WebAssembly text: the functions of a world, with memory, an allocator,
//! a `describe` and a few helpers around them.

use wit_component::metadata::Bindgen;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::domain::{AuthNeed, Batching, Interprets, Kind, Manifest, OnUnknown};
use crate::engine::intake::world_name;

const CONTRACT: &str = include_str!("../../../../wit/plugin.wit");

/// Where the manifest lies in a guest's memory, and its texts behind it.
const MANIFEST: u32 = 1024;
/// The size of a manifest by the canonical ABI.
const MANIFEST_SIZE: u32 = 124;

/// The body of a `transform` that gives back what it got.
pub(super) const ECHO: &str = "(call $echo (i32.const 256)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
    (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11))
    (call $keep (i32.const 1))";

/// A guest to be built.
pub(super) struct Guest {
    pub(super) manifest: Manifest,
    /// Fields of the module before everything else: imports.
    pub(super) imports: String,
    /// The functions of its world beside `describe`, and whatever they need.
    pub(super) functions: String,
    /// The body of `describe`.
    pub(super) describe: String,
}

impl Guest {
    /// A transform whose function has this body; its locals 0 to 11 are the event, 12 and 13 the config.
    pub(super) fn transform(body: &str) -> Self {
        Self::of(Kind::Transform, format!("(func (export \"transform\") {} (result i32) {body})", params(14)))
    }

    /// A connector of these two bodies; `render`'s locals are the events and the config.
    pub(super) fn connector(render: &str, interpret: &str) -> Self {
        Self::of(
            Kind::Connector,
            format!(
                "(func (export \"render\") {} (result i32) {render}) (func (export \"interpret\") {} (result i32) {interpret})",
                params(4),
                params(9)
            ),
        )
    }

    fn of(kind: Kind, functions: String) -> Self {
        Self {
            manifest: manifest(kind),
            imports: String::new(),
            functions,
            describe: format!("(i32.const {MANIFEST})"),
        }
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.manifest.name = name.into();
        self
    }

    /// Adds fields to the module.
    pub(super) fn with(mut self, fields: &str) -> Self {
        self.functions.push_str(fields);
        self
    }

    pub(super) fn importing(mut self, import: &str) -> Self {
        self.imports = import.into();
        self
    }

    pub(super) fn describing(mut self, body: &str) -> Self {
        self.describe = body.into();
        self
    }

    /// The core module with its component type, as cargo would write it.
    pub(super) fn module(&self) -> Vec<u8> {
        let data: String = lay_out(&self.manifest).iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!(
            "(module {imports}
                (import \"hookmill:plugin/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))
                (memory (export \"memory\") 48)
                (global $heap (mut i32) (i32.const 131072))
                (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (data (i32.const {MANIFEST}) \"{data}\")
                (func $echo {echo} {stores})
                (func $keep (param i32) (result i32)
                    (i32.store (i32.const 136) (i32.const 256))
                    (i32.store (i32.const 140) (local.get 0))
                    (i32.const 128))
                {functions}
                (func (export \"describe\") (result i32) {describe}))",
            imports = self.imports,
            echo = params(13),
            stores = (0..12)
                .map(|at| format!("(i32.store offset={} (local.get 0) (local.get {}))", at * 4, at + 1))
                .collect::<String>(),
            functions = self.functions,
            describe = self.describe,
        );
        embed(wat::parse_str(text).unwrap(), self.manifest.kind)
    }

    /// The component made of it.
    pub(super) fn component(&self) -> Vec<u8> {
        ComponentEncoder::default().validate(true).module(&self.module()).unwrap().encode().unwrap()
    }
}

/// A manifest that breaks no rule.
pub(super) fn manifest(kind: Kind) -> Manifest {
    Manifest {
        name: "fixture".into(),
        version: "1.2.3".into(),
        title: "Fixture".into(),
        description: "For tests.".into(),
        kind,
        config_schema: r#"{"type": "object"}"#.into(),
        hosts: if kind == Kind::Connector { vec!["slack.com".into()] } else { vec![] },
        auth: AuthNeed::None,
        interprets: if kind == Kind::Connector { Interprets::Always } else { Interprets::Never },
        batching: Batching { max_events: 1, max_bytes: 0, max_wait_ms: 0 },
        idempotency: None,
        on_unknown: OnUnknown::Retry,
        rate: None,
        contract: "0.1.0".into(),
    }
}

/// Adds the component type of a world to a module.
pub(super) fn embed(mut module: Vec<u8>, kind: Kind) -> Vec<u8> {
    embed_version(&mut module, kind, CONTRACT);
    module
}

/// The same with a contract of one's own.
pub(super) fn embed_version(module: &mut Vec<u8>, kind: Kind, contract: &str) {
    // An empty resolve, by the one public way that needs no further crate.
    let mut resolve = Bindgen::default().resolve;
    let package = resolve.push_str("plugin.wit", contract).unwrap();
    let world = resolve.select_world(&[package], Some(world_name(kind))).unwrap();
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
}

fn params(count: usize) -> String {
    format!("(param{})", " i32".repeat(count))
}

/// A manifest as the canonical ABI lays it out in memory.
fn lay_out(manifest: &Manifest) -> Vec<u8> {
    let mut layout = Layout::default();
    for text in [&manifest.name, &manifest.version, &manifest.title, &manifest.description] {
        layout.text(text);
    }
    layout.word(u32::from(manifest.kind == Kind::Connector));
    layout.text(&manifest.config_schema);
    layout.list(&manifest.hosts);
    match &manifest.auth {
        AuthNeed::None => (0..5).for_each(|_| layout.word(0)),
        AuthNeed::GoogleServiceAccount { config_field, scopes } => {
            layout.word(1);
            layout.text(config_field);
            layout.list(scopes);
        }
    }
    layout.word(match manifest.interprets {
        Interprets::Never => 0,
        Interprets::Errors => 1,
        Interprets::Always => 2,
    });
    let batching = manifest.batching;
    [batching.max_events, batching.max_bytes, batching.max_wait_ms].into_iter().for_each(|word| layout.word(word));
    layout.word(u32::from(manifest.idempotency.is_some()));
    layout.text(manifest.idempotency.as_deref().unwrap_or_default());
    layout.word(u32::from(manifest.on_unknown == OnUnknown::Hold));
    let rate = manifest.rate.map_or([0; 3], |rate| [1, rate.max, rate.per_ms]);
    rate.into_iter().for_each(|word| layout.word(word));
    layout.text(&manifest.contract);
    assert_eq!(layout.record.len(), MANIFEST_SIZE as usize);
    [layout.record, layout.heap].concat()
}

/// A record, and what it points at.
#[derive(Default)]
struct Layout {
    record: Vec<u8>,
    heap: Vec<u8>,
}

impl Layout {
    fn word(&mut self, word: u32) {
        self.record.extend(word.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        let at = self.place(text.as_bytes());
        self.word(at);
        self.word(u32::try_from(text.len()).unwrap());
    }

    fn list(&mut self, texts: &[String]) {
        let elements: Vec<u8> = (texts.iter())
            .flat_map(|text| [self.place(text.as_bytes()), u32::try_from(text.len()).unwrap()])
            .flat_map(u32::to_le_bytes)
            .collect();
        let at = self.place(&elements);
        self.word(at);
        self.word(u32::try_from(texts.len()).unwrap());
    }

    fn place(&mut self, bytes: &[u8]) -> u32 {
        self.heap.resize(self.heap.len().next_multiple_of(4), 0);
        let at = MANIFEST + MANIFEST_SIZE + u32::try_from(self.heap.len()).unwrap();
        self.heap.extend(bytes);
        at
    }
}
