//! The tree.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use super::number::compare_numbers;
use super::parse::{JsonFault, parse};

/// Objects of up to this many members are searched from front to back, larger ones by a sorted index.
const SMALL: usize = 16;

/// A JSON value, borrowed from the text it was parsed from as far as that is possible.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Cow<'a, str>),
    /// A string, its escapes resolved. Half a surrogate pair, which JSON's grammar allows and Unicode does
    /// not, is read as U+FFFD.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// An object: its members in the order of the text, each name once. Of members with the same name the last
/// value counts, in the place of the first, as `JSON.parse` has it.
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Node<'a>)>,
    /// The members' positions in the order of their names; empty in small objects.
    sorted: Vec<u32>,
}

impl<'a> Node<'a> {
    /// Parses a text that holds one JSON value (RFC 8259), nested at most [`super::MAX_DEPTH`] deep.
    ///
    /// # Errors
    /// If it is not JSON, or nested deeper: with the place.
    pub fn parse(text: &'a str) -> Result<Self, JsonFault> {
        parse(text)
    }

    /// The member of that name, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Node::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The element at that index, if this is an array that has it. Negative indexes count from the end.
    #[must_use]
    pub fn at(&self, index: i64) -> Option<&Self> {
        match self {
            Node::Array(items) => items.get(position(index, items.len())?),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// What a value says as plain text: a string without its quotes, a number as it was written, `true`,
    /// `false`. `None` for `null`, arrays and objects.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::String(text) | Node::Number(text) => Some(text),
            Node::Bool(true) => Some("true"),
            Node::Bool(false) => Some("false"),
            Node::Null | Node::Array(_) | Node::Object(_) => None,
        }
    }

    /// What kind of value it is, with its article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::String(_) => "a string",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
        }
    }

    /// Orders two numbers by value or two strings by code points; `None` for everything else.
    #[must_use]
    pub fn order(&self, other: &Node<'_>) -> Option<Ordering> {
        match (self, other) {
            (Node::Number(left), Node::Number(right)) => Some(compare_numbers(left, right)),
            (Node::String(left), Node::String(right)) => Some(left.as_ref().cmp(right.as_ref())),
            _ => None,
        }
    }

    /// The parts of an array or object, in order.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = &Self> {
        let (items, members) = match self {
            Node::Array(items) => (items.as_slice(), [].as_slice()),
            Node::Object(object) => ([].as_slice(), object.members.as_slice()),
            _ => ([].as_slice(), [].as_slice()),
        };
        items.iter().chain(members.iter().map(|(_, value)| value))
    }

    /// The same value, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Node<'static> {
        match self {
            Node::Null => Node::Null,
            Node::Bool(value) => Node::Bool(value),
            Node::Number(text) => Node::Number(Cow::Owned(text.into_owned())),
            Node::String(text) => Node::String(Cow::Owned(text.into_owned())),
            Node::Array(items) => Node::Array(items.into_iter().map(Node::into_owned).collect()),
            Node::Object(object) => Node::Object(Object {
                members: object
                    .members
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned()))
                    .collect(),
                sorted: object.sorted,
            }),
        }
    }

    /// The value as compact JSON, cut to about that many characters with `…` at the end.
    #[must_use]
    pub fn excerpt(&self, characters: usize) -> String {
        let mut cut = Cut { text: String::new(), left: characters };
        if write!(cut, "{self}").is_err() {
            cut.text.push('…');
        }
        cut.text
    }
}

/// Resolves an index that may count from the end.
pub(super) fn position(index: i64, length: usize) -> Option<usize> {
    if index >= 0 {
        return usize::try_from(index).ok();
    }
    length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
}

impl<'a> Object<'a> {
    /// An object of these members; of those with the same name the last value counts.
    #[must_use]
    pub fn new(mut members: Vec<(Cow<'a, str>, Node<'a>)>) -> Self {
        if members.len() <= SMALL {
            let mut at = 1;
            while at < members.len() {
                if let Some(first) = members[..at].iter().position(|(name, _)| *name == members[at].0) {
                    members[first].1 = members.remove(at).1;
                } else {
                    at += 1;
                }
            }
            return Self { members, sorted: Vec::new() };
        }
        let mut sorted = by_name(&members);
        let mut doubled = vec![false; members.len()];
        let mut any = false;
        let mut start = 0;
        while start < sorted.len() {
            let same = |&&at: &&u32| members[at as usize].0 == members[sorted[start] as usize].0;
            let end = start + sorted[start..].iter().take_while(same).count();
            if end - start > 1 {
                any = true;
                members[sorted[start] as usize].1 =
                    std::mem::replace(&mut members[sorted[end - 1] as usize].1, Node::Null);
                for &at in &sorted[start + 1..end] {
                    doubled[at as usize] = true;
                }
            }
            start = end;
        }
        if any {
            let mut doubled = doubled.into_iter();
            members.retain(|_| !doubled.next().unwrap_or(false));
            sorted = by_name(&members);
        }
        Self { members, sorted }
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        if self.sorted.is_empty() {
            return self.members.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        }
        let found = self.sorted.binary_search_by(|&at| self.members[at as usize].0.as_ref().cmp(name)).ok()?;
        Some(&self.members[self.sorted[found] as usize].1)
    }

    /// The members, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Node<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The positions in the order of the names, equal names in the order of the text.
fn by_name(members: &[(Cow<'_, str>, Node<'_>)]) -> Vec<u32> {
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let mut sorted: Vec<u32> = (0..count).collect();
    sorted.sort_by(|&left, &right| members[left as usize].0.cmp(&members[right as usize].0));
    sorted
}

/// Compact JSON: numbers as they were written, strings with the escapes that JSON demands.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("null"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Number(text) => f.write_str(text),
            Node::String(text) => write_string(f, text),
            Node::Array(items) => {
                f.write_char('[')?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n == 0 { "" } else { "," })?;
                }
                f.write_char(']')
            }
            Node::Object(object) => {
                f.write_char('{')?;
                for (n, (name, value)) in object.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { "," })?;
                    write_string(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// Takes so many characters, then refuses more: a value of a megabyte is not written to be cut.
struct Cut {
    text: String,
    left: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_counts() {
        for extra in [0, 40] {
            let padding: String = (0..extra).map(|n| format!(r#""p{n}":{n},"#)).collect();
            let text = format!(r#"{{"a":1,{padding}"b":2,"a":3,"c":4,"a":5,"b":6}}"#);
            let node = Node::parse(&text).unwrap();
            for (name, expected) in [("a", "5"), ("b", "6"), ("c", "4")] {
                assert_eq!(node.get(name).unwrap().to_string(), expected);
            }
            assert!(node.get("d").is_none());
            let Node::Object(object) = &node else { panic!("an object") };
            assert_eq!(object.len(), 3 + extra);
            assert_eq!(object.iter().next().unwrap().0, "a");
            assert!((0..extra).all(|n| node.get(&format!("p{n}")).unwrap().to_string() == n.to_string()));
        }
    }

    #[test]
    fn written_back() {
        let text = r#"{"a":[1.0,"x\n\"\\",null,true,{}],"ä":-0e5}"#;
        let node = Node::parse(text).unwrap();
        assert_eq!(node.to_string(), text);
        assert_eq!(node.clone().into_owned().to_string(), text);
        assert_eq!(node.excerpt(7), "{\"a\":[1…");
        assert_eq!(node.excerpt(1000), text);
    }

    #[test]
    fn negative_indexes_count_from_the_end() {
        let node = Node::parse("[1,2,3]").unwrap();
        for (index, expected) in
            [(0, Some("1")), (2, Some("3")), (3, None), (-1, Some("3")), (-3, Some("1")), (-4, None)]
        {
            assert_eq!(node.at(index).map(ToString::to_string).as_deref(), expected, "{index}");
        }
        assert!(node.at(i64::MIN).is_none());
        assert!(node.get("0").is_none());
    }
}
