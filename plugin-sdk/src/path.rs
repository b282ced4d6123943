//! Places in an event: the part of JSONPath that edits need.
//!
//! `$.data.customer.email`, `$['data']["e-mail"]`, `$.data.items[0]`, `[-1]`, `.*` and `[*]`, `..email`
//! at any depth. A path that does not begin with `$` begins inside the event's data, as in a
//! subscription's filters: `customer.email` is `$.data.customer.email`. Slices, unions and filter
//! expressions choose values rather than name places, and are refused.
//!
//! ```
//! use hookmill_plugin::path::Path;
//!
//! let event = hookmill_plugin::testing::event("order.paid", r#"{"items": [{"sku": "a"}, {"sku": "b"}]}"#);
//! let document = event.document()?;
//! let found = Path::parse("items[*].sku")?.select(document.root());
//! let texts: Vec<&str> = found.into_iter().filter_map(|index| document.node(index)).map(|node| node.raw()).collect();
//! assert_eq!(texts, [r#""a""#, r#""b""#]);
//! assert!(Path::parse("items[").unwrap_err().message.contains("at character"));
//! # Ok::<(), hookmill_plugin::Fault>(())
//! ```

use std::fmt;

use crate::Fault;
use crate::json::{Kind, Node};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member's name.
    Key(String),
    /// An item's place, from the end if negative.
    Index(i64),
    /// Every member or item.
    Any,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Each step, and whether it is taken at any depth (`..`).
    steps: Vec<(Step, bool)>,
    text: String,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Names the character that does not fit.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        let mut steps = Vec::new();
        let mut rest = match text.strip_prefix('$') {
            Some(rest) => rest,
            None => {
                steps.push((Step::Key("data".to_owned()), false));
                text
            }
        };
        let bad = |rest: &str, why: &str| {
            Err(Fault::new(format!("path `{text}`: {why} at character {}", text.len() - rest.len() + 1)))
        };
        // A bare path's first name has no dot before it.
        let mut bare = !text.starts_with('$');
        if text.is_empty() {
            return bad(rest, "expected a path such as `$.data.email`");
        }
        while !rest.is_empty() {
            let deep = rest.starts_with("..");
            let dotted = deep || rest.starts_with('.');
            let after = &rest[if deep { 2 } else { usize::from(dotted) }..];
            if let Some(inner) = after.strip_prefix('[').filter(|_| deep || !dotted) {
                let Some((step, tail)) = bracket(inner) else {
                    return bad(after, "expected `[0]`, `[*]` or `['name']`");
                };
                steps.push((step, deep));
                rest = tail;
            } else if dotted || bare {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let name = &after[..end];
                if name.is_empty() || name.contains(['\'', '"', ']', '(', ')', '?', ' ', '$', '@']) {
                    return bad(after, "expected a name (quote unusual ones: `['the name']`)");
                }
                steps.push((if name == "*" { Step::Any } else { Step::Key(name.to_owned()) }, deep));
                rest = &after[end..];
            } else {
                return bad(rest, "expected `.` or `[`");
            }
            bare = false;
        }
        Ok(Self { steps, text: text.to_owned() })
    }

    /// What is left of the path inside the event's field `name`, for instance `data`; nothing if it leads
    /// elsewhere. `$..email` leads into every field.
    #[must_use]
    pub fn within(&self, name: &str) -> Option<Self> {
        let rest = match self.steps.first()? {
            (_, true) => &self.steps[..],
            (Step::Key(key), false) if key == name => &self.steps[1..],
            (Step::Any, false) => &self.steps[1..],
            _ => return None,
        };
        Some(Self { steps: rest.to_vec(), text: self.text.clone() })
    }

    /// The steps, if the path names one place.
    #[must_use]
    pub fn singular(&self) -> Option<Vec<&Step>> {
        self.steps.iter().map(|(step, deep)| (!deep && *step != Step::Any).then_some(step)).collect()
    }

    /// The indices of the values it names, seen from `root`, in order and each once. It takes at most
    /// the number of steps times the number of values.
    #[must_use]
    pub fn select(&self, root: Node<'_>) -> Vec<usize> {
        let mut found = vec![root];
        for (step, deep) in &self.steps {
            let mut next = Vec::new();
            let mut visited = 0;
            for node in found {
                if *deep {
                    // What lies inside one already visited has been looked at.
                    if node.index() >= visited {
                        visited = node.after();
                        descend(node, step, &mut next);
                    }
                } else {
                    take(node, step, &mut next);
                }
            }
            next.sort_unstable_by_key(|node| node.index());
            next.dedup_by_key(|node| node.index());
            found = next;
        }
        found.into_iter().map(Node::index).collect()
    }
}

fn take<'d>(node: Node<'d>, step: &Step, next: &mut Vec<Node<'d>>) {
    match step {
        // All of them if the name stands there more than once: a redaction must not miss one.
        Step::Key(name) if node.kind() == Kind::Object => {
            next.extend(node.children().filter(|child| child.is_named(name)));
        }
        Step::Key(_) => {}
        Step::Index(index) => next.extend(node.at(*index)),
        Step::Any => next.extend(node.children()),
    }
}

fn descend<'d>(node: Node<'d>, step: &Step, next: &mut Vec<Node<'d>>) {
    take(node, step, next);
    // At most 128 levels: the parser refuses more.
    for child in node.children() {
        descend(child, step, next);
    }
}

/// The inside of `[…]` and what comes after it.
fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(rest) = inner.strip_prefix("*]") {
        return Some((Step::Any, rest));
    }
    let quote = inner.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let Some(quote) = quote else {
        let (number, rest) = inner.split_once(']')?;
        return Some((Step::Index(number.parse().ok()?), rest));
    };
    let mut name = String::new();
    let mut chars = inner[1..].char_indices();
    while let Some((at, char)) = chars.next() {
        if char == quote {
            return Some((Step::Key(name), inner[1 + at + 1..].strip_prefix(']')?));
        }
        name.push(if char == '\\' { chars.next()?.1 } else { char });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    #[test]
    fn paths_find_their_values() {
        let text = r#"{"data":{"a":{"b":1,"e-m":2,"x":[{"b":3},{"b":[4,{"b":5}]}]},"it's":6,"a.b":7,"b":8},"b":9}"#;
        let document = Document::parse(text).unwrap();
        for (path, expected) in [
            ("$", vec![text]),
            ("$.data.a.b", vec!["1"]),
            ("a.b", vec!["1"]),
            ("a['e-m']", vec!["2"]),
            ("a.e-m", vec!["2"]),
            ("$['data'][\"it's\"]", vec!["6"]),
            (r"['it\'s']", vec!["6"]),
            ("['a.b']", vec!["7"]),
            ("a.x[0].b", vec!["3"]),
            ("a.x[-1].b[0]", vec!["4"]),
            ("a.x[*].b", vec!["3", r#"[4,{"b":5}]"#]),
            ("a.x.*.b", vec!["3", r#"[4,{"b":5}]"#]),
            ("$..b", vec!["1", "3", r#"[4,{"b":5}]"#, "5", "8", "9"]),
            ("$..b..b", vec!["5"]),
            ("$..x..['b']", vec!["3", r#"[4,{"b":5}]"#, "5"]),
            ("$.data.nothing.at.all", vec![]),
            ("$.data.a.x.b", vec![]),
        ] {
            let found = Path::parse(path).unwrap().select(document.root());
            let found: Vec<&str> = found.into_iter().map(|index| document.node(index).unwrap().raw()).collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for path in
            ["", "$.", "$a", "$.a[", "$.a[1", "$.a[?(@.b)]", "$.a[0:2]", "$.a.['b']", "$.a..", "a b", "$.a['b", "[x]"]
        {
            let fault = Path::parse(path).unwrap_err();
            assert!(fault.message.contains("at character"), "{path}: {}", fault.message);
        }
    }

    #[test]
    fn a_path_is_followed_into_a_field() {
        let within = |path: &str, name: &str| Path::parse(path).unwrap().within(name).is_some();
        assert!(within("$.data.x", "data") && within("x", "data") && within("$..x", "attributes"));
        assert!(!within("$.attributes.x", "data") && !within("$", "data"));
    }
}
