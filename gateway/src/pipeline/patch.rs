//! What leads from one JSON document to another, as a JSON Patch (RFC 6902).
//!
//! Numbers count as they are written: `1.0` in the place of `1` is a difference, since it is one to whoever gets it.
//! The order of an object's members is none. A patch is no longer than the reader has use for; what is left out is
//! said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::pointer::escape;
use crate::filter::{Node, Object};

/// Most operations of a patch.
const OPERATIONS: usize = 50;
/// Most bytes of a patch.
const BYTES: usize = 4 << 10;
/// Most characters of a value in it: of a longer one its beginning, as a string.
const VALUE: usize = 512;
/// Larger documents are not taken apart.
const DOCUMENT: usize = 256 << 10;

/// A patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Its operations, in order.
    pub operations: Vec<Operation>,
    /// Operations, or the end of long values, were left out: it does not lead all the way.
    pub truncated: bool,
}

/// One operation of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `add`, `remove` or `replace`.
    pub op: &'static str,
    /// An RFC 6901 JSON Pointer.
    pub path: String,
    /// JSON text; absent of `remove`.
    pub value: Option<String>,
}

impl Patch {
    /// The patch that makes the second document of the first; both are JSON texts. Empty: they say the same.
    #[must_use]
    pub fn between(from: &str, to: &str) -> Self {
        let whole = Self { operations: Vec::new(), truncated: true };
        if from == to {
            return Self::default();
        }
        if from.len().max(to.len()) > DOCUMENT {
            return whole;
        }
        let (Ok(from), Ok(to)) = (Node::parse(from), Node::parse(to)) else { return whole };
        let mut writer = Writer { patch: Self::default(), path: String::new(), bytes: 0 };
        writer.value(&from, &to);
        writer.patch
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && !self.truncated
    }

    /// About how many bytes it takes up.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.operations.iter().map(Operation::weight).sum()
    }
}

impl Operation {
    fn weight(&self) -> usize {
        self.path.len() + self.value.as_ref().map_or(0, String::len) + 32
    }
}

/// What a document has of another's text: JSON as it is written, or something else as a string.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Json<'a> {
    Written(&'a RawValue),
    Text(&'a str),
    Base64 { base64: String },
}

impl<'a> Json<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        serde_json::from_str(text).map_or(Self::Text(text), Self::Written)
    }

    pub(super) fn of_bytes(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Base64 { base64: STANDARD.encode(bytes) }, Self::of)
    }
}

struct Writer {
    patch: Patch,
    path: String,
    bytes: usize,
}

impl Writer {
    fn value(&mut self, from: &Node<'_>, to: &Node<'_>) {
        match (from, to) {
            _ if self.is_full() => {}
            (Node::Object(from), Node::Object(to)) => self.object(from, to),
            (Node::Array(from), Node::Array(to)) => self.array(from, to),
            _ if same(from, to) => {}
            _ => self.say("replace", Some(to)),
        }
    }

    fn object(&mut self, from: &Object<'_>, to: &Object<'_>) {
        for (name, old) in from.iter() {
            self.below(&escape(name), |writer| match to.get(name) {
                Some(new) => writer.value(old, new),
                None => writer.say("remove", None),
            });
        }
        for (name, new) in to.iter().filter(|(name, _)| from.get(name).is_none()) {
            self.below(&escape(name), |writer| writer.say("add", Some(new)));
        }
    }

    /// What both begin and end with stays; of the rest each takes the place of another.
    fn array(&mut self, from: &[Node<'_>], to: &[Node<'_>]) {
        let (mut head, mut tail) = (0, 0);
        // Of the same length, each is compared with its like once, further down.
        if from.len() != to.len() {
            head = from.iter().zip(to).take_while(|(from, to)| same(from, to)).count();
            let (from, to) = (from.iter().skip(head).rev(), to.iter().skip(head).rev());
            tail = from.zip(to).take_while(|(from, to)| same(from, to)).count();
        }
        let (from, to) =
            (from.get(head..from.len() - tail).unwrap_or_default(), to.get(head..to.len() - tail).unwrap_or_default());
        let both = from.len().min(to.len());
        for (at, (from, to)) in from.iter().zip(to).enumerate() {
            self.below(&(head + at).to_string(), |writer| writer.value(from, to));
        }
        for at in (both..from.len()).rev() {
            self.below(&(head + at).to_string(), |writer| writer.say("remove", None));
        }
        for (at, to) in to.iter().enumerate().skip(both) {
            self.below(&(head + at).to_string(), |writer| writer.say("add", Some(to)));
        }
    }

    fn below(&mut self, segment: &str, write: impl FnOnce(&mut Self)) {
        if self.is_full() {
            return;
        }
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(segment);
        write(self);
        self.path.truncate(length);
    }

    fn say(&mut self, op: &'static str, value: Option<&Node<'_>>) {
        let value = value.map(|value| {
            let text = value.excerpt(VALUE);
            // No JSON text ends so.
            if !text.ends_with('…') {
                return text;
            }
            self.patch.truncated = true;
            Node::String(text.into()).to_string()
        });
        let operation = Operation { op, path: self.path.clone(), value };
        self.bytes += operation.weight();
        if self.patch.operations.len() >= OPERATIONS || self.bytes > BYTES {
            self.patch.truncated = true;
            self.bytes = BYTES + 1;
            return;
        }
        self.patch.operations.push(operation);
    }

    fn is_full(&self) -> bool {
        self.bytes > BYTES
    }
}

fn same(left: &Node<'_>, right: &Node<'_>) -> bool {
    match (left, right) {
        (Node::Null, Node::Null) => true,
        (Node::Bool(left), Node::Bool(right)) => left == right,
        (Node::Number(left), Node::Number(right)) | (Node::String(left), Node::String(right)) => left == right,
        (Node::Array(left), Node::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Node::Object(left), Node::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::pointer::unescape;

    fn shown(patch: &Patch) -> Value {
        let operation = |operation: &Operation| {
            let mut shown = json!({"op": operation.op, "path": operation.path});
            if let Some(value) = &operation.value {
                shown["value"] = serde_json::from_str(value).unwrap();
            }
            shown
        };
        patch.operations.iter().map(operation).collect()
    }

    /// Applies a patch as RFC 6902 has it.
    fn apply(document: &mut Value, patch: &Patch) {
        for operation in &patch.operations {
            let value = operation.value.as_deref().map(|value| serde_json::from_str::<Value>(value).unwrap());
            let Some((parent, last)) = operation.path.rsplit_once('/') else {
                *document = value.unwrap();
                continue;
            };
            let last = unescape(last);
            match (document.pointer_mut(parent).unwrap(), operation.op) {
                (Value::Object(members), "remove") => drop(members.remove(&last).unwrap()),
                (Value::Object(members), op) => {
                    assert_eq!(members.insert(last, value.unwrap()).is_some(), op == "replace");
                }
                (Value::Array(items), "remove") => drop(items.remove(last.parse().unwrap())),
                (Value::Array(items), "add") => items.insert(last.parse().unwrap(), value.unwrap()),
                (Value::Array(items), _) => items[last.parse::<usize>().unwrap()] = value.unwrap(),
                (other, op) => panic!("{op} in {other}"),
            }
        }
    }

    #[test]
    fn what_a_patch_says() {
        for (from, to, says) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, json!([])),
            ("1", "1.0", json!([{"op": "replace", "path": "", "value": 1.0}])),
            (r#"{"a":1}"#, r#"{"a":"1"}"#, json!([{"op": "replace", "path": "/a", "value": "1"}])),
            (r#"{"a/~b":{"c":1}}"#, r#"{"a/~b":{}}"#, json!([{"op": "remove", "path": "/a~1~0b/c"}])),
            (r#"{}"#, r#"{"a":[1,{}]}"#, json!([{"op": "add", "path": "/a", "value": [1, {}]}])),
            ("[1,2,3]", "[1,3]", json!([{"op": "remove", "path": "/1"}])),
            ("[1,3]", "[1,2,3]", json!([{"op": "add", "path": "/1", "value": 2}])),
            ("[1,2,3]", "[1,9,3]", json!([{"op": "replace", "path": "/1", "value": 9}])),
        ] {
            let patch = Patch::between(from, to);
            assert_eq!(shown(&patch), says, "{from} to {to}");
            assert_eq!((patch.truncated, patch.is_empty()), (false, says == json!([])), "{from} to {to}");
        }
        let long = "9".repeat(19);
        let patch = Patch::between(&long, &format!("{long}9"));
        assert_eq!(patch.operations[0].value.as_deref(), Some("99999999999999999999"), "no digit is lost");
    }

    #[test]
    fn a_patch_is_bounded() {
        let many = |offset: usize| json!((0..10_000).map(|n| n + offset).collect::<Vec<_>>()).to_string();
        let patch = Patch::between(&many(0), &many(1));
        assert!(patch.truncated && patch.operations.len() == OPERATIONS && patch.weight() <= BYTES);
        let long = |text: &str| json!({"a": text.repeat(10_000)}).to_string();
        let patch = Patch::between(&long("x"), &long("y"));
        let value: Value = serde_json::from_str(patch.operations[0].value.as_deref().unwrap()).unwrap();
        assert!(patch.truncated && patch.weight() <= BYTES);
        assert!(value.as_str().unwrap().starts_with("\"yyy"));
        let large = |text: &str| json!(text.repeat(DOCUMENT)).to_string();
        let patch = Patch::between(&large("x"), &large("y"));
        assert!(patch.truncated && patch.operations.is_empty() && !patch.is_empty());
    }

    fn document() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3u8).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[ab/~]{1,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        /// Applied to the first, a patch that was not cut gives the second; and there is none only between equals.
        #[test]
        fn a_patch_leads_there(from in document(), to in document()) {
            let patch = Patch::between(&from.to_string(), &to.to_string());
            proptest::prop_assert_eq!(patch.is_empty(), from == to);
            if !patch.truncated {
                let mut made = from;
                apply(&mut made, &patch);
                proptest::prop_assert_eq!(made, to);
            }
        }
    }
}
