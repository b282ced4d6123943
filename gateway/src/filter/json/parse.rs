//! The parser: RFC 8259 to the letter, in one pass, with a bound on its depth.

use std::borrow::Cow;

use super::Step;
use super::node::{Node, Object, position};
pub use crate::domain::nesting::MAX_DEPTH;

/// Why and where a text is not JSON, or more deeply nested than is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at line {line}, column {column}")]
pub struct JsonFault {
    /// The byte at which reading stopped, from 0.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub detail: &'static str,
}

/// Checks that a text is one JSON value, with white space around it at most, nested at most [`MAX_DEPTH`]
/// deep. Nothing is built.
///
/// # Errors
/// At the first fault.
pub fn check_json(text: &str) -> Result<(), JsonFault> {
    Parser::new(text).document::<false>().map(drop)
}

pub(super) fn parse(text: &str) -> Result<Node<'_>, JsonFault> {
    Parser::new(text).document::<true>()
}

/// The text of the value that these steps lead to, exactly as it stands in the text; `None` if there is none.
///
/// # Errors
/// If the text is not JSON as far as it had to be read.
pub(in crate::filter) fn raw_at<'a>(text: &'a str, steps: &[Step]) -> Result<Option<&'a str>, JsonFault> {
    let mut raw = text;
    for step in steps {
        let Some(part) = Parser::new(raw).part(step)? else { return Ok(None) };
        raw = part;
    }
    Ok(Some(raw.trim_ascii()))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, JsonFault>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// One value and nothing after it. Without `BUILD` all nodes are `null`.
    fn document<const BUILD: bool>(&mut self) -> Parsed<Node<'a>> {
        let node = self.value::<BUILD>()?;
        self.space();
        if self.at == self.text.len() { Ok(node) } else { Err(self.fault("expected the end of the text")) }
    }

    fn value<const BUILD: bool>(&mut self) -> Parsed<Node<'a>> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object::<BUILD>(),
            Some(b'[') => self.array::<BUILD>(),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(|text| Node::Number(Cow::Borrowed(text))),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) => Err(self.fault("expected a JSON value")),
            None => Err(self.fault("expected a JSON value, found the end of the text")),
        }
    }

    fn array<const BUILD: bool>(&mut self) -> Parsed<Node<'a>> {
        let mut items = Vec::new();
        self.enter()?;
        self.space();
        if !self.eat(b']') {
            loop {
                let item = self.value::<BUILD>()?;
                if BUILD {
                    items.push(item);
                }
                self.space();
                if self.eat(b']') {
                    break;
                }
                if !self.eat(b',') {
                    return Err(self.fault("expected `,` or `]` in an array"));
                }
            }
        }
        self.depth -= 1;
        Ok(if BUILD { Node::Array(items) } else { Node::Null })
    }

    fn object<const BUILD: bool>(&mut self) -> Parsed<Node<'a>> {
        let mut members = Vec::new();
        self.enter()?;
        self.space();
        if !self.eat(b'}') {
            loop {
                let name = self.name()?;
                let value = self.value::<BUILD>()?;
                if BUILD {
                    members.push((name, value));
                }
                self.space();
                if self.eat(b'}') {
                    break;
                }
                if !self.eat(b',') {
                    return Err(self.fault("expected `,` or `}` in an object"));
                }
            }
        }
        self.depth -= 1;
        Ok(if BUILD { Node::Object(Object::new(members)) } else { Node::Null })
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Parsed<Cow<'a, str>> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a member's name in double quotes"));
        }
        let name = self.string()?;
        self.space();
        if self.eat(b':') { Ok(name) } else { Err(self.fault("expected `:` after a member's name")) }
    }

    /// The text of the part of this value that a step leads to.
    fn part(&mut self, step: &Step) -> Parsed<Option<&'a str>> {
        self.space();
        let (open, close) = match step {
            Step::Name(_) => (b'{', b'}'),
            Step::Index(_) => (b'[', b']'),
        };
        if !self.eat(open) {
            return Ok(None);
        }
        self.depth = 1;
        self.space();
        if self.eat(close) {
            return Ok(None);
        }
        let mut named = None;
        let mut items = Vec::new();
        loop {
            let matches = match step {
                Step::Name(wanted) => self.name()?.as_ref() == wanted.as_ref(),
                Step::Index(_) => true,
            };
            self.space();
            let start = self.at;
            self.value::<false>()?;
            if matches {
                match step {
                    Step::Name(_) => named = Some(&self.text[start..self.at]),
                    Step::Index(_) => items.push(&self.text[start..self.at]),
                }
            }
            self.space();
            if !self.eat(b',') {
                break;
            }
        }
        Ok(match step {
            Step::Name(_) => named,
            Step::Index(index) => position(*index, items.len()).and_then(|at| items.get(at).copied()),
        })
    }

    /// A string from its opening quote on.
    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.at += 1;
        let mut start = self.at;
        let mut resolved: Option<String> = None;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(match resolved {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    });
                }
                Some(b'\\') => {
                    let text = resolved.get_or_insert_default();
                    text.push_str(&self.text[start..self.at]);
                    let character = self.escape()?;
                    resolved.get_or_insert_default().push(character);
                    start = self.at;
                }
                Some(0..=0x1f) => return Err(self.fault("a control character in a string must be escaped")),
                Some(_) => self.at += 1,
                None => return Err(self.fault("a string without its closing quote")),
            }
        }
    }

    /// An escape from its backslash on.
    fn escape(&mut self) -> Parsed<char> {
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fault("an escape that JSON does not have")),
        };
        self.at += 1;
        Ok(character)
    }

    /// A `\uXXXX` from its `u` on, with its other half if it is the first half of a pair.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex()?;
        if let 0xd800..=0xdbff = first
            && self.text[self.at..].starts_with("\\u")
        {
            let after_first = self.at;
            self.at += 1;
            let second = self.hex()?;
            if let 0xdc00..=0xdfff = second {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // The second escape is a character of its own: it is read again.
            self.at = after_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// The four digits after a `u`.
    fn hex(&mut self) -> Parsed<u32> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.fault("`\\u` takes four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.fault("expected a digit in a number")) }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Parsed<Node<'a>> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault("expected a JSON value"));
        }
        self.at += word.len();
        Ok(node)
    }

    fn enter(&mut self) -> Parsed<()> {
        if self.depth == MAX_DEPTH {
            return Err(self.fault("nested deeper than 128 arrays and objects"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, detail: &'static str) -> JsonFault {
        // Reading stops at ASCII or at the first byte of a character, but a message is no place to rely on it.
        let offset = self.text.floor_char_boundary(self.at);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        JsonFault {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    #[test]
    fn strings() {
        for (text, expected) in [
            (r#""""#, ""),
            (r#""plain ä""#, "plain ä"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""a\u00e9b""#, "aéb"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ude00\ud83d\ude00""#, "\u{fffd}😀"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), Some(expected), "{text}");
        }
    }

    #[test]
    fn faults_have_a_place() {
        for (text, line, column, detail) in [
            ("", 1, 1, "end of the text"),
            ("{\n  \"ä\": 01}", 2, 9, "`,` or `}`"),
            ("[1,]", 1, 4, "JSON value"),
            ("\"a\nb\"", 1, 3, "control character"),
            ("1 2", 1, 3, "end of the text"),
            ("{a:1}", 1, 2, "double quotes"),
            ("\"\\x\"", 1, 3, "escape"),
            ("\"\\u12g4\"", 1, 6, "hexadecimal"),
            ("nul", 1, 1, "JSON value"),
            ("-", 1, 2, "digit"),
        ] {
            let fault = check_json(text).unwrap_err();
            assert_eq!((fault.line, fault.column), (line, column), "{text:?}: {fault}");
            assert!(fault.detail.contains(detail), "{text:?}: {fault}");
            assert_eq!(parse(text).unwrap_err(), fault);
        }
    }

    #[test]
    fn depth_is_limited_on_both_sides() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| format!("{}0{}", open.repeat(levels), close.repeat(levels));
            assert!(check_json(&nested(MAX_DEPTH)).is_ok());
            assert!(parse(&nested(MAX_DEPTH)).is_ok());
            assert!(check_json(&nested(MAX_DEPTH + 1)).unwrap_err().detail.contains("deeper"));
            assert!(parse(&nested(1_000_000)).is_err());
        }
    }

    #[test]
    fn raw_text_is_kept() {
        let text = r#" {"a" : [ 1.0 , "\u00e9" , { "b":  [ ] } ], "a.b":2, "a" : [ 3e0, "\u00e9" ] } "#;
        let name = |name: &str| Step::Name(name.into());
        for (steps, expected) in [
            (vec![], Some(text.trim())),
            (vec![name("a")], Some(r#"[ 3e0, "\u00e9" ]"#)),
            (vec![name("a"), Step::Index(0)], Some("3e0")),
            (vec![name("a"), Step::Index(-1)], Some(r#""\u00e9""#)),
            (vec![name("a"), Step::Index(2)], None),
            (vec![name("a.b")], Some("2")),
            (vec![name("a.b"), name("c")], None),
            (vec![name("b")], None),
        ] {
            assert_eq!(raw_at(text, &steps).unwrap(), expected, "{steps:?}");
        }
        assert!(raw_at("{", &[name("a")]).is_err());
    }

    /// The same value by way of `serde_json`, which wrote the numbers that are read.
    fn same(node: &Node<'_>, value: &Value) -> bool {
        match (node, value) {
            (Node::Null, Value::Null) => true,
            (Node::Bool(left), Value::Bool(right)) => left == right,
            (Node::Number(text), Value::Number(number)) => *text == number.to_string(),
            (Node::String(left), Value::String(right)) => left == right,
            (Node::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
            }
            (Node::Object(left), Value::Object(right)) => {
                let right = right.iter().map(|(name, value)| (name.as_str(), value));
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(left.1, right.1))
            }
            _ => false,
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c\\\\\"\\n\u{1}-\u{7f}äé😀]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-z]{0,2}", inner), 0..24).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert!(check_json(&text).is_ok());
            prop_assert!(same(&parse(&text).unwrap(), &value), "{}", text);
        }

        #[test]
        fn agrees_with_serde_json_on_what_is_json(value in json(), at: prop::sample::Index, with in "[\\[\\]{}\",:0-9.eE+\\\\u \\-tfn\\n]{0,2}", drop in 0_usize..3) {
            let mut text: Vec<char> = value.to_string().chars().collect();
            let at = at.index(text.len());
            text.splice(at..(at + drop).min(text.len()), with.chars());
            let text: String = text.into_iter().collect();
            // serde_json skips over values by the grammar alone, which is what ours is held to.
            prop_assert_eq!(check_json(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
            prop_assert_eq!(parse(&text).is_ok(), check_json(&text).is_ok(), "{}", text);
        }

        #[test]
        fn agrees_with_serde_json_on_short_texts(text in "[\\[\\]{}\",:01.eE+\\\\ud \\-]{0,8}") {
            prop_assert_eq!(check_json(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            prop_assert_eq!(parse(&text).is_ok(), check_json(&text).is_ok());
        }
    }
}
