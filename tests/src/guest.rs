//! Plugins as a tenant would upload them, written in WebAssembly text.
//!
//! Each is a core module that carries its component type, as cargo would make it.

use wit_component::metadata::Bindgen;
use wit_component::{StringEncoding, embed_component_metadata};

/// The contract that the gateway under test speaks.
const CONTRACT: &str = include_str!("../../wit/plugin.wit");

/// Where the manifest lies in a guest's memory, and its texts behind it.
const MANIFEST: usize = 1024;
/// Its size by the canonical ABI.
const MANIFEST_SIZE: usize = 124;
/// Where the text lies that it makes of an event's data.
const MADE: usize = 65_536;

/// A transform.
#[derive(Debug, Clone)]
pub struct Guest {
    name: String,
    version: String,
    schema: String,
    contract: String,
    wit: String,
    makes: Option<String>,
    describe: String,
    transform: String,
    fields: String,
    imports: String,
}

impl Guest {
    /// One that leaves events as they are.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            schema: r#"{"type":"object"}"#.to_owned(),
            contract: "0.1.0".to_owned(),
            wit: CONTRACT.to_owned(),
            makes: None,
            describe: format!("(i32.const {MANIFEST})"),
            transform: String::new(),
            fields: String::new(),
            imports: String::new(),
        }
    }

    /// It makes this JSON of every event's data.
    #[must_use]
    pub fn makes(mut self, json: &str) -> Self {
        self.makes = Some(json.to_owned());
        self
    }

    /// Its config is held against this JSON Schema.
    #[must_use]
    pub fn schema(mut self, schema: &str) -> Self {
        self.schema = schema.to_owned();
        self
    }

    /// Does this first in `transform`.
    #[must_use]
    pub fn doing(mut self, instructions: &str) -> Self {
        self.transform = instructions.to_owned();
        self
    }

    /// Does this in `describe`, and gives an address.
    #[must_use]
    pub fn describing(mut self, instructions: &str) -> Self {
        self.describe = instructions.to_owned();
        self
    }

    /// Has these fields besides.
    #[must_use]
    pub fn with(mut self, fields: &str) -> Self {
        self.fields = fields.to_owned();
        self
    }

    /// Imports this besides.
    #[must_use]
    pub fn importing(mut self, import: &str) -> Self {
        self.imports = import.to_owned();
        self
    }

    /// Was built for another version of the contract.
    #[must_use]
    pub fn speaking(mut self, version: &str) -> Self {
        self.wit = CONTRACT.replace("@0.1.0", &format!("@{version}"));
        version.clone_into(&mut self.contract);
        self
    }

    /// The file.
    ///
    /// # Panics
    /// If the text is no WebAssembly.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let texts = [&*self.name, &self.version, "A guest", "Made by a test.", &self.schema, &self.contract];
        let mut heap = MANIFEST + MANIFEST_SIZE;
        let placed = texts.map(|text| {
            let at = heap;
            heap += text.len();
            (at, text)
        });
        let mut words = [0_usize; MANIFEST_SIZE / 4];
        // In the order of `wit/plugin.wit`; what is left zero is empty, none, never.
        for ((at, text), word) in placed.iter().zip([0, 2, 4, 6, 9, 29]) {
            (words[word], words[word + 1]) = (*at, text.len());
        }
        // At least one event in a request.
        words[BATCHING] = 1;
        let record: String =
            words.iter().flat_map(|word| u32::try_from(*word).expect("small").to_le_bytes()).map(escape).collect();
        let data: String = placed
            .iter()
            .map(|(at, text)| format!("(data (i32.const {at}) \"{}\")", text.bytes().map(escape).collect::<String>()))
            .collect();
        let made = self.makes.as_deref().unwrap_or_default();
        let change = match &self.makes {
            Some(made) => format!(
                "(i32.store (i32.const 288) (i32.const {MADE})) (i32.store (i32.const 292) (i32.const {}))",
                made.len()
            ),
            None => String::new(),
        };
        let stores: String =
            (0..12).map(|at| format!("(i32.store (i32.const {}) (local.get {at}))", 256 + 4 * at)).collect();
        let text = format!(
            "(module {imports}
                (import \"hookmill:plugin/host@{contract}\" \"log\" (func $log (param i32 i32 i32)))
                (memory (export \"memory\") 48)
                (global $heap (mut i32) (i32.const 131072))
                (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (data (i32.const {MANIFEST}) \"{record}\") {data}
                (data (i32.const {MADE}) \"{made}\")
                {fields}
                (func (export \"transform\") (param {params}) (result i32)
                    {transform} {stores} {change}
                    (i32.store (i32.const 136) (i32.const 256))
                    (i32.store (i32.const 140) (i32.const 1))
                    (i32.const 128))
                (func (export \"describe\") (result i32) {describe}))",
            imports = self.imports,
            contract = self.contract,
            made = made.bytes().map(escape).collect::<String>(),
            fields = self.fields,
            params = "i32 ".repeat(14),
            transform = self.transform,
            describe = self.describe,
        );
        let mut module = wat::parse_str(text).expect("a guest's text is WebAssembly");
        // An empty resolve, by the one public way that needs no further crate.
        let mut resolve = Bindgen::default().resolve;
        let package = resolve.push_str("plugin.wit", &self.wit).expect("the contract can be read");
        let world = resolve.select_world(&[package], Some("transform")).expect("the contract has this world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a type can be added");
        module
    }
}

/// The word of the most events in a request.
const BATCHING: usize = 19;

fn escape(byte: u8) -> String {
    format!("\\{byte:02x}")
}
