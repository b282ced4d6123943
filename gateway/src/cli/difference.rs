//! Where two JSON texts differ, for people. Numbers count as they are written.

use crate::domain::pointer::escape;
use crate::filter::Node;

/// The most characters of a value that are shown.
const SHOWN: usize = 120;

/// One line for each place: `+` is only in the second, `-` only in the first, `~` in both and not the same.
pub(super) fn differences(one: &str, other: &str) -> Vec<String> {
    let mut lines = Vec::new();
    match (Node::parse(one), Node::parse(other)) {
        (Ok(one), Ok(other)) => walk("", &one, &other, &mut lines),
        _ if one == other => {}
        _ => lines.push(format!("~ {one} -> {other}")),
    }
    lines
}

fn walk(at: &str, one: &Node<'_>, other: &Node<'_>, lines: &mut Vec<String>) {
    match (one, other) {
        (Node::Object(one), Node::Object(other)) => {
            for (name, value) in one.iter() {
                let below = below(at, name);
                match other.get(name) {
                    Some(changed) => walk(&below, value, changed, lines),
                    None => lines.push(format!("- {below}: {}", value.excerpt(SHOWN))),
                }
            }
            let new = other.iter().filter(|(name, _)| one.get(name).is_none());
            lines.extend(new.map(|(name, value)| format!("+ {}: {}", below(at, name), value.excerpt(SHOWN))));
        }
        (Node::Array(one), Node::Array(other)) => {
            for at_index in 0..one.len().max(other.len()) {
                let below = below(at, &at_index.to_string());
                match (one.get(at_index), other.get(at_index)) {
                    (Some(value), Some(changed)) => walk(&below, value, changed, lines),
                    (Some(value), None) => lines.push(format!("- {below}: {}", value.excerpt(SHOWN))),
                    (None, Some(value)) => lines.push(format!("+ {below}: {}", value.excerpt(SHOWN))),
                    (None, None) => {}
                }
            }
        }
        _ => {
            if one.to_string() != other.to_string() {
                let at = if at.is_empty() { "/" } else { at };
                lines.push(format!("~ {at}: {} -> {}", one.excerpt(SHOWN), other.excerpt(SHOWN)));
            }
        }
    }
}

/// A JSON Pointer one step further (RFC 6901).
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (one, other, wanted) in [
            ("{}", " { } ", &[][..]),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &[][..]),
            (r#"{"a":1.0}"#, r#"{"a":1.00}"#, &["~ /a: 1.0 -> 1.00"][..]),
            (r#"{"a":[1,2],"x/y":1}"#, r#"{"a":[1,3,4]}"#, &["~ /a/1: 2 -> 3", "+ /a/2: 4", "- /x~1y: 1"][..]),
            (r#"{"a":{"b":[]}}"#, r#"{"a":{"b":{}}}"#, &["~ /a/b: [] -> {}"][..]),
            ("1", "\"1\"", &["~ /: 1 -> \"1\""][..]),
            ("[1,2]", "[1]", &["- /1: 2"][..]),
            ("no", "json", &["~ no -> json"][..]),
            ("no", "no", &[][..]),
        ] {
            assert_eq!(differences(one, other), wanted, "{one} {other}");
        }
    }
}
