//! Templates without logic, which is what most are: text and dotted names. They are filled in straight
//! from the event, with no engine to set up, and mean exactly what the engine would make of them.

use crate::json::{Document, Node};
use crate::path::Step;

/// A piece of a plain template.
pub(super) enum Piece<'t> {
    /// Text that stays.
    Text(&'t str),
    /// `{{ data.a.b }}`.
    Value(Vec<Step>),
}

/// The pieces, if there is nothing in the template but text and names that an event can have.
pub(super) fn pieces(template: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (text, tail) = rest.split_at(at);
        match tail.as_bytes().get(1) {
            Some(b'%' | b'#') => return None,
            Some(b'{') => {
                let (expression, after) = tail[2..].split_once("}}")?;
                // The engine's rule for `}}}`, if any, is not worth knowing.
                if after.starts_with('}') || text.ends_with('{') {
                    return None;
                }
                pieces.push(Piece::Text(text));
                pieces.push(Piece::Value(steps(expression.trim())?));
                rest = after;
            }
            _ => {
                pieces.push(Piece::Text(&rest[..=at]));
                rest = &rest[at + 1..];
            }
        }
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text("")));
    Some(pieces)
}

/// The steps of `data.a['b c'][0]`.
fn steps(expression: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = expression;
    loop {
        let end = rest.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_')).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        steps.push(Step::Key(name.to_owned()));
        rest = &rest[end..];
        while let Some(inner) = rest.strip_prefix('[') {
            let (text, tail) = inner.split_once(']')?;
            let quoted = ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
            steps.push(match quoted {
                Some(name) if !name.contains(['\\', '\'', '"']) => Step::Key(name.to_owned()),
                Some(_) => return None,
                None if text.bytes().all(|byte| byte.is_ascii_digit()) => Step::Index(text.parse().ok()?),
                None => return None,
            });
            rest = tail;
        }
        match rest.strip_prefix('.') {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    // An unknown name is the engine's to complain about.
    let known = matches!(&steps[0], Step::Key(name) if super::NAMES.contains(&name.as_str()));
    (rest.is_empty() && known).then_some(steps)
}

/// The value these steps lead to.
pub(super) fn find<'d>(document: &'d Document, steps: &[Step]) -> Option<Node<'d>> {
    steps.iter().try_fold(document.root(), |node, step| match step {
        Step::Key(name) => node.get(name),
        Step::Index(index) => node.at(*index),
        Step::Any => None,
    })
}

/// The inside of the braces, if the template is one expression and nothing around it.
pub(super) fn single_expression(template: &str) -> Option<&str> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    if ["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark)) {
        return None;
    }
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner).trim())
}
