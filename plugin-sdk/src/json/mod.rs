//! JSON that stays as it was written.
//!
//! [`Document`] is a text and a flat table of where its values stand. Nothing is copied and nothing is
//! converted until asked for, so `1.0`, `1e2`, a 20-digit id, the order of keys, an escape and the
//! white space between them are all still there; an edit replaces a span of the text and leaves the
//! rest alone. For values of your own types use [`Event::data_as`](crate::Event::data_as).
//!
//! ```
//! use hookmill_plugin::json::{self, Document};
//! use hookmill_plugin::path::Path;
//!
//! let document = Document::parse(r#"{"id": 12345678901234567890, "who": {"mail": "d@x.example"}, "sum": 1.0}"#)?;
//! assert_eq!(document.root().get("sum").unwrap().raw(), "1.0");
//!
//! let mail = Path::parse("$.who.mail")?.select(document.root());
//! let hidden = json::replace(&document, &mail, |_| json::quote("***"));
//! assert_eq!(hidden, r#"{"id": 12345678901234567890, "who": {"mail": "***"}, "sum": 1.0}"#);
//!
//! let set = json::set(&document, &Path::parse("$.who.level")?, "\"gold\"")?;
//! assert!(set.contains(r#"{"mail": "d@x.example","level":"gold"}"#));
//! # Ok::<(), hookmill_plugin::Fault>(())
//! ```

mod edit;
mod parse;

use std::borrow::Cow;

pub use edit::{keep_only, replace, set, without};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, as written.
    Number,
    /// A string, escapes and all.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value of a document: where it stands and where the values after it begin.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: Kind,
    /// The value's bytes, from and up to.
    start: u32,
    end: u32,
    /// Where the member's name begins, at its quote; the value's own start if it has none.
    key: u32,
    /// The end of the name, after its quote.
    key_end: u32,
    /// The index of the first entry that is not inside this one.
    after: u32,
}

/// A JSON text and where its values stand.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    entries: Vec<Entry>,
}

/// A value in a [`Document`].
#[derive(Debug, Clone, Copy)]
pub struct Node<'d> {
    document: &'d Document,
    index: usize,
}

impl Document {
    /// Reads a JSON text of at most 128 levels.
    ///
    /// # Errors
    /// Says what was expected and at which byte.
    pub fn parse(text: impl Into<String>) -> Result<Self, crate::Fault> {
        let text = text.into();
        let entries = parse::entries(&text)?;
        Ok(Self { text, entries })
    }

    /// The text it was made from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { document: self, index: 0 }
    }

    /// The value with this index, as [`Node::index`] gave it.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<Node<'_>> {
        (index < self.entries.len()).then_some(Node { document: self, index })
    }
}

impl<'d> Node<'d> {
    fn entry(self) -> &'d Entry {
        // A node is only ever made with an index that was in the table, and the table never shrinks.
        &self.document.entries[self.index]
    }

    /// Its place in the document, in the order of the text; smaller than that of everything inside it.
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// The index of the first value that does not belong to this one.
    #[must_use]
    pub fn after(self) -> usize {
        self.entry().after as usize
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// Its text.
    #[must_use]
    pub fn raw(self) -> &'d str {
        &self.document.text[self.span()]
    }

    fn span(self) -> std::ops::Range<usize> {
        let entry = self.entry();
        entry.start as usize..entry.end as usize
    }

    /// Its name as written, quotes included; empty if it is not a member of an object.
    #[must_use]
    pub fn raw_key(self) -> &'d str {
        let entry = self.entry();
        &self.document.text[entry.key as usize..entry.key_end as usize]
    }

    /// Its name, if it is a member of an object.
    #[must_use]
    pub fn key(self) -> Option<Cow<'d, str>> {
        let raw = self.raw_key();
        (!raw.is_empty()).then(|| unescape(raw))
    }

    /// A string's characters.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'d, str>> {
        (self.kind() == Kind::String).then(|| unescape(self.raw()))
    }

    /// The values right inside it, in order.
    pub fn children(self) -> impl Iterator<Item = Node<'d>> {
        let (document, end) = (self.document, self.after());
        let mut next = self.index + 1;
        std::iter::from_fn(move || {
            let node = (next < end).then_some(Node { document, index: next })?;
            next = node.after();
            Some(node)
        })
    }

    /// An object's member. Of several with one name the last, as `JSON.parse` has it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Node<'d>> {
        if self.kind() != Kind::Object {
            return None;
        }
        self.children().filter(|child| child.is_named(name)).last()
    }

    /// An array's item, counted from 0, or from the end if negative.
    #[must_use]
    pub fn at(self, index: i64) -> Option<Node<'d>> {
        if self.kind() != Kind::Array {
            return None;
        }
        let place = match usize::try_from(index) {
            Ok(place) => place,
            Err(_) => self.children().count().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        self.children().nth(place)
    }

    /// True if its name is this one, however it is escaped.
    #[must_use]
    pub fn is_named(self, name: &str) -> bool {
        let raw = self.raw_key();
        let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else { return false };
        if inner.contains('\\') { unescape(raw) == name } else { inner == name }
    }
}

/// The characters of a quoted JSON string.
fn unescape(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // Half of a surrogate pair has no characters; what was written is the best that can be said.
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape_into(text, &mut out);
    out.push('"');
    out
}

/// `text` as it stands between the quotes of a JSON string.
pub fn escape_into(text: &str, out: &mut String) {
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[clean..at]);
        clean = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                for half in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
                }
            }
        }
    }
    out.push_str(&text[clean..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        let document = Document::parse(r#" {"a": 1.0, "b": [true, {"\u0063": "x\ny"}], "a": 1e2} "#).unwrap();
        let root = document.root();
        assert_eq!(root.get("a").unwrap().raw(), "1e2", "the last of equal names counts");
        let b = root.get("b").unwrap();
        assert_eq!(b.at(0).unwrap().kind(), Kind::Bool);
        assert_eq!(b.at(-1).unwrap().get("c").unwrap().as_str().unwrap(), "x\ny");
        assert!(b.at(2).is_none() && b.at(-3).is_none() && root.at(0).is_none());
        assert_eq!(root.children().count(), 3);
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}é🎉", "\u{7f}"] {
            assert_eq!(serde_json::from_str::<String>(&quote(text)).unwrap(), text);
        }
    }
}
