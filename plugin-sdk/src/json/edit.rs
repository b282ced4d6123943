//! Edits by span: what an edit does not name keeps its bytes.

use super::{Document, Kind, Node, quote};
use crate::Fault;
use crate::path::{Path, Step};

/// The text with these values replaced. A value inside another replaced one goes with it.
#[must_use]
pub fn replace(document: &Document, indices: &[usize], mut with: impl FnMut(Node<'_>) -> String) -> String {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    let mut out = String::with_capacity(document.text.len());
    let (mut copied, mut inside) = (0, 0);
    for node in sorted.into_iter().filter_map(|index| document.node(index)) {
        if node.index() < inside {
            continue;
        }
        let span = node.span();
        out.push_str(&document.text[copied..span.start]);
        out.push_str(&with(node));
        (copied, inside) = (span.end, node.after());
    }
    out.push_str(&document.text[copied..]);
    out
}

/// The text with nothing but these values and what they stand in. White space around them is lost,
/// inside them kept. With none of them, an empty object or array.
#[must_use]
pub fn keep_only(document: &Document, indices: &[usize]) -> String {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    let mut out = String::with_capacity(document.text.len());
    rewrite(document.root(), &mut out, &|node| {
        let from = sorted.partition_point(|&index| index < node.index());
        match sorted.get(from) {
            Some(&index) if index == node.index() => Fate::Whole,
            Some(&index) if index < node.after() => Fate::Open,
            _ => Fate::Gone,
        }
    });
    out
}

/// The text without these values. Objects and arrays they stood in lose the white space between their
/// members; everything else keeps its bytes.
#[must_use]
pub fn without(document: &Document, indices: &[usize]) -> String {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    let mut out = String::with_capacity(document.text.len());
    rewrite(document.root(), &mut out, &|node| {
        let from = sorted.partition_point(|&index| index < node.index());
        match sorted.get(from) {
            Some(&index) if index == node.index() => Fate::Gone,
            Some(&index) if index < node.after() => Fate::Open,
            _ => Fate::Whole,
        }
    });
    out
}

enum Fate {
    Whole,
    Open,
    Gone,
}

fn rewrite(node: Node<'_>, out: &mut String, fate: &impl Fn(Node<'_>) -> Fate) {
    let brackets = match (fate(node), node.kind()) {
        (Fate::Whole, _) => return out.push_str(node.raw()),
        (_, Kind::Object) => ('{', '}'),
        (_, Kind::Array) => ('[', ']'),
        // Only the root comes here, told to go: there is always some JSON.
        _ => return out.push_str("null"),
    };
    out.push(brackets.0);
    let mut first = true;
    for child in node.children().filter(|&child| !matches!(fate(child), Fate::Gone)) {
        if !first {
            out.push(',');
        }
        first = false;
        if !child.raw_key().is_empty() {
            out.push_str(child.raw_key());
            out.push(':');
        }
        rewrite(child, out, fate);
    }
    out.push(brackets.1);
}

/// The text with `value`, a JSON text, at `path`, which must name one place (no `*`, no `..`). Objects
/// on the way are made where they are missing; an array can be added to at its end.
///
/// # Errors
/// If the path names more than one place, or leads through something that is neither object nor array.
pub fn set(document: &Document, path: &Path, value: &str) -> Result<String, Fault> {
    let steps = path.singular().ok_or_else(|| {
        Fault::new(format!("{path}: a value can only be set at one place; `*` and `..` may name many"))
    })?;
    let mut node = document.root();
    for (done, step) in steps.iter().enumerate() {
        let found = match step {
            Step::Key(name) => node.get(name),
            Step::Index(index) => node.at(*index),
            Step::Any => None,
        };
        match found {
            Some(child) => node = child,
            None => return insert(document, node, step, &steps[done + 1..], value, path),
        }
    }
    Ok(replace(document, &[node.index()], |_| value.to_owned()))
}

fn insert(
    document: &Document,
    node: Node<'_>,
    step: &Step,
    rest: &[&Step],
    value: &str,
    path: &Path,
) -> Result<String, Fault> {
    let mut text = value.to_owned();
    for step in rest.iter().rev() {
        text = match step {
            Step::Key(name) => format!("{{{}:{text}}}", quote(name)),
            _ => format!("[{text}]"),
        };
    }
    let member = match (step, node.kind()) {
        (Step::Key(name), Kind::Object) => format!("{}:{text}", quote(name)),
        // A missing or empty object on the way; `null` has nothing to lose.
        (Step::Key(name), Kind::Null) => {
            return Ok(replace(document, &[node.index()], |_| format!("{{{}:{text}}}", quote(name))));
        }
        (Step::Index(index), Kind::Array) if usize::try_from(*index) == Ok(node.children().count()) => text,
        (Step::Index(_), Kind::Array) => {
            return Err(Fault::new(format!("{path}: the array has only {} items", node.children().count())));
        }
        _ => {
            let what = format!("{:?}", node.kind()).to_lowercase();
            return Err(Fault::new(format!("{path}: leads through a value of kind {what}, which has no members")));
        }
    };
    let (place, comma) = match node.children().last() {
        Some(last) => (last.span().end, ","),
        None => (node.span().start + 1, ""),
    };
    let text = document.text();
    Ok(format!("{}{comma}{member}{}", &text[..place], &text[place..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{ "a": 1.0, "b": [ {"c": 1e2, "d": 2}, {"d": 3} ], "e": {} , "n": null }"#;

    fn document() -> Document {
        Document::parse(TEXT).unwrap()
    }

    fn select(path: &str) -> Vec<usize> {
        Path::parse(path).unwrap().select(document().root())
    }

    #[test]
    fn values_are_replaced_in_place() {
        let out = replace(&document(), &select("$.b[*].d"), |node| format!("<{}>", node.raw()));
        assert_eq!(out, TEXT.replace("2}", "<2>}").replace('3', "<3>"));
        let both = [select("$.b"), select("$.b[0]")].concat();
        let whole = replace(&document(), &both, |_| "0".to_owned());
        assert_eq!(whole, r#"{ "a": 1.0, "b": 0, "e": {} , "n": null }"#);
    }

    #[test]
    fn picks_and_drops_keep_the_bytes_of_what_stays() {
        assert_eq!(keep_only(&document(), &select("$.b[*].c")), r#"{"b":[{"c":1e2}]}"#);
        assert_eq!(keep_only(&document(), &[]), "{}");
        assert_eq!(without(&document(), &select("$..d")), r#"{"a":1.0,"b":[{"c":1e2},{}],"e":{},"n":null}"#);
        assert_eq!(without(&document(), &[]), TEXT);
    }

    #[test]
    fn values_are_set_where_they_are_or_belong() {
        for (path, expected) in [
            ("$.a", Ok(TEXT.replace("1.0", "9"))),
            ("$.b[1].d", Ok(TEXT.replace('3', "9"))),
            ("$.e.x.y", Ok(TEXT.replace("{} ,", r#"{"x":{"y":9}} ,"#))),
            ("$.n.x", Ok(TEXT.replace("null", r#"{"x":9}"#))),
            ("$.z", Ok(TEXT.replace("null", r#"null,"z":9"#))),
            ("$.b[2]", Ok(TEXT.replace("3}", "3},9"))),
            ("$.b[7]", Err("only 2 items")),
            ("$.a.x", Err("number")),
            ("$.b[*]", Err("one place")),
        ] {
            let result = set(&document(), &Path::parse(path).unwrap(), "9");
            match (result, expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected, "{path}"),
                (Err(fault), Err(part)) => assert!(fault.message.contains(part), "{path}: {}", fault.message),
                (result, _) => panic!("{path}: {result:?}"),
            }
        }
    }
}
