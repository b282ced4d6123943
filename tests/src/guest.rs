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
/// The words of its kind, of when it interprets, and of the most events in a request.
const KIND: usize = 8;
const INTERPRETS: usize = 18;
const BATCHING: usize = 19;
/// Where the text lies that a transform makes of an event's data, and a connector of its request's body.
const MADE: usize = 65_536;
/// Where a request's method and content type lie.
const METHOD: usize = 640;
const CONTENT_TYPE: usize = 656;
const URL: usize = 704;
const HOSTS: usize = 11;

/// A plugin. What is done first in a function may end it: `(return …)`.
#[derive(Debug, Clone)]
pub struct Guest {
    name: String,
    version: String,
    schema: String,
    contract: String,
    wit: String,
    is_connector: bool,
    url: Option<String>,
    encoding: Encoding,
    makes: Option<String>,
    describe: String,
    work: String,
    interpret: String,
    realloc: String,
    fields: String,
    imports: String,
}

/// How a guest's texts lie in its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As nearly all guests have them.
    Utf8,
    /// As JavaScript has them.
    Utf16,
    /// Each text in Latin-1 if it can be, else in UTF-16.
    Latin1OrUtf16,
}

impl Guest {
    /// A transform that leaves events as they are.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            schema: r#"{"type":"object"}"#.to_owned(),
            contract: "0.1.0".to_owned(),
            wit: CONTRACT.to_owned(),
            is_connector: false,
            url: None,
            encoding: Encoding::Utf8,
            makes: None,
            describe: format!("(i32.const {MANIFEST})"),
            work: String::new(),
            interpret: String::new(),
            realloc: String::new(),
            fields: String::new(),
            imports: String::new(),
        }
    }

    /// A connector that posts an empty text, asks to see every answer, and takes each for a success.
    #[must_use]
    pub fn connector(name: &str, version: &str) -> Self {
        Self { is_connector: true, ..Self::new(name, version) }
    }

    /// A connector that posts its config to a URL of its own choice, whose host it names.
    #[must_use]
    pub fn tells(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// It makes this JSON of every event's data; a connector posts it.
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

    /// Does this first in `transform` or `render`. Parameters 0 to 11 of `transform` are the event, 12 and 13 the
    /// config.
    #[must_use]
    pub fn doing(mut self, instructions: &str) -> Self {
        self.work = instructions.to_owned();
        self
    }

    /// Does this first in `interpret`.
    #[must_use]
    pub fn interpreting(mut self, instructions: &str) -> Self {
        self.interpret = instructions.to_owned();
        self
    }

    /// Does this in `describe`, and gives an address.
    #[must_use]
    pub fn describing(mut self, instructions: &str) -> Self {
        self.describe = instructions.to_owned();
        self
    }

    /// Does this first where the host asks for memory to put a text in.
    #[must_use]
    pub fn allocating(mut self, instructions: &str) -> Self {
        self.realloc = instructions.to_owned();
        self
    }

    /// Its texts lie so in its memory.
    #[must_use]
    pub fn spelling(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
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
        let mut module = wat::parse_str(self.text()).expect("a guest's text is WebAssembly");
        // An empty resolve, by the one public way that needs no further crate.
        let mut resolve = Bindgen::default().resolve;
        let package = resolve.push_str("plugin.wit", &self.wit).expect("the contract can be read");
        let world = if self.is_connector { "connector" } else { "transform" };
        let world = resolve.select_world(&[package], Some(world)).expect("the contract has this world");
        let encoding = match self.encoding {
            Encoding::Utf8 => StringEncoding::UTF8,
            Encoding::Utf16 => StringEncoding::UTF16,
            Encoding::Latin1OrUtf16 => StringEncoding::CompactUTF16,
        };
        embed_component_metadata(&mut module, &resolve, world, encoding).expect("a type can be added");
        module
    }

    fn text(&self) -> String {
        format!(
            "(module {imports}
                (import \"hookmill:plugin/host@{contract}\" \"log\" (func $log (param i32 i32 i32)))
                {memory} {manifest} {fields} {world}
                (func (export \"describe\") (result i32) {describe}))",
            imports = self.imports,
            contract = self.contract,
            memory = self.memory(),
            manifest = self.manifest(),
            fields = self.fields,
            world = if self.is_connector { self.connects() } else { self.transforms() },
            describe = self.describe,
        )
    }

    /// The fields of a module that are its memory, and how the host asks for some of it.
    #[must_use]
    pub fn memory(&self) -> String {
        format!(
            "(memory (export \"memory\") 48)
            (global $heap (mut i32) (i32.const 131072))
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (local $at i32)
                {realloc}
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (memory.copy (local.get $at) (local.get 0)
                    (select (local.get 1) (local.get 3) (i32.lt_u (local.get 1) (local.get 3))))
                (local.get $at))",
            realloc = self.realloc,
        )
    }

    /// The fields of a module that are its manifest, which `describe` gives the address of: 1024.
    ///
    /// # Panics
    /// If the manifest is larger than there is room for.
    #[must_use]
    pub fn manifest(&self) -> String {
        let texts = [&*self.name, &self.version, "A guest", "Made by a test.", &self.schema, &self.contract];
        let mut words = [0_u32; MANIFEST_SIZE / 4];
        let mut heap = Vec::new();
        // In the order of `wit/plugin.wit`; what is left zero is empty, none, never.
        for (text, word) in texts.into_iter().zip([0, 2, 4, 6, 9, 29]) {
            let (bytes, length) = self.encoding.spell(text);
            words[word] = small(MANIFEST + MANIFEST_SIZE + heap.len());
            words[word + 1] = length;
            heap.extend(bytes);
            // What is in units of two bytes lies at even addresses.
            heap.resize(heap.len().next_multiple_of(2), 0);
        }
        if let Some(host) = self.url.as_ref().and_then(|url| url.split('/').nth(2)) {
            let (bytes, length) = self.encoding.spell(host);
            let host = [small(MANIFEST + MANIFEST_SIZE + heap.len()), length];
            heap.extend(bytes);
            heap.resize(heap.len().next_multiple_of(4), 0);
            (words[HOSTS], words[HOSTS + 1]) = (small(MANIFEST + MANIFEST_SIZE + heap.len()), 1);
            heap.extend(host.into_iter().flat_map(u32::to_le_bytes));
        }
        assert!(heap.len() < 48_000, "the manifest would lie over what is made");
        words[BATCHING] = 1;
        if self.is_connector {
            (words[KIND], words[INTERPRETS]) = (1, 2);
        }
        data(MANIFEST, words.into_iter().flat_map(u32::to_le_bytes).chain(heap))
    }

    fn made(&self) -> (String, u32) {
        let (bytes, length) = self.encoding.spell(self.makes.as_deref().unwrap_or_default());
        (data(MADE, bytes), length)
    }

    fn transforms(&self) -> String {
        let (data, length) = self.made();
        let change = match self.makes {
            Some(_) => stores(288, &[small(MADE), length]),
            None => String::new(),
        };
        let kept: String =
            (0..12).map(|at| format!("(i32.store (i32.const {}) (local.get {at}))", 256 + 4 * at)).collect();
        format!(
            "{data} (func (export \"transform\") (param {params}) (result i32)
                {work} {kept} {change} {list} (i32.const 128))",
            params = "i32 ".repeat(14),
            work = self.work,
            list = stores(136, &[256, 1]),
        )
    }

    fn connects(&self) -> String {
        let (made, length) = self.made();
        let ((method, method_length), (kind, kind_length)) =
            (self.encoding.spell("POST"), self.encoding.spell("text/plain"));
        let (url, url_length) = self.encoding.spell(self.url.as_deref().unwrap_or_default());
        let told = match self.url {
            Some(_) => {
                let body = "(i32.store (i32.const 288) (local.get 2)) (i32.store (i32.const 292) (local.get 3))";
                stores(264, &[1, small(URL), url_length]) + body
            }
            None => String::new(),
        };
        // The method; no URL, no headers; a text; its type.
        let request =
            [small(METHOD), method_length, 0, 0, 0, 0, 0, 0, small(MADE), length, small(CONTENT_TYPE), kind_length];
        format!(
            "{made} {method} {kind} {url}
            (func (export \"render\") (param {events}) (result i32) {work} {request} {told} {list} (i32.const 128))
            (func (export \"interpret\") (param {answer}) (result i32) {interpret} (i32.const 768))",
            method = data(METHOD, method),
            kind = data(CONTENT_TYPE, kind),
            url = data(URL, url),
            events = "i32 ".repeat(4),
            answer = "i32 ".repeat(9),
            work = self.work,
            request = stores(256, &request),
            list = stores(136, &[256, 1]),
            interpret = self.interpret,
        )
    }
}

impl Encoding {
    /// A text's bytes, and its length as the canonical ABI counts it.
    fn spell(self, text: &str) -> (Vec<u8>, u32) {
        match self {
            Self::Utf8 => (text.as_bytes().to_vec(), small(text.len())),
            // All that a manifest says is ASCII.
            Self::Latin1OrUtf16 if text.is_ascii() => (text.as_bytes().to_vec(), small(text.len())),
            Self::Utf16 | Self::Latin1OrUtf16 => {
                let units: Vec<u16> = text.encode_utf16().collect();
                let tag = if self == Self::Utf16 { 0 } else { 1 << 31 };
                (units.iter().flat_map(|unit| unit.to_le_bytes()).collect(), small(units.len()) | tag)
            }
        }
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a guest is small")
}

/// A data segment.
fn data(at: usize, bytes: impl IntoIterator<Item = u8>) -> String {
    let escaped: String = bytes.into_iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{escaped}\")")
}

/// Instructions that write words, from an address on.
fn stores(at: usize, words: &[u32]) -> String {
    let store = |(index, word): (usize, &u32)| format!("(i32.store (i32.const {}) (i32.const {word}))", at + 4 * index);
    words.iter().enumerate().map(store).collect()
}
