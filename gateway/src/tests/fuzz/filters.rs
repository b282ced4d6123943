//! What a tenant writes to choose events: filters, JSONPath, and patterns of types.

use super::{example, fuzz, parts, shape, text};
use crate::filter::{Document, EventPattern, Filter, Node, Path, TooExpensive, TypeIndex};

const WORDS: &[&str] = &[
    "$",
    "@",
    ".",
    "..",
    "*",
    "[",
    "]",
    "[*]",
    "[?",
    "(",
    ")",
    "!",
    "&&",
    "||",
    "==",
    "!=",
    "<=",
    "<",
    ":",
    "::",
    ",",
    "'a'",
    "\"b\"",
    "length(",
    "count(",
    "match(@,'a.*')",
    "search(@.a,'(a|b)+')",
    "value(",
    "true",
    "null",
    "\\",
    "{",
    "}",
    "\"all\":",
    "\"any\":[",
    "\"not\":{",
    "\"eq\":",
    "\"ne\":",
    "\"in\":[",
    "\"nin\":[",
    "\"gt\":",
    "\"lte\":",
    "\"exists\":false",
    "\"regex\":\"^(a|b)*$\"",
    "\"starts_with\":\"a\"",
    "\"ends_with\":\"a\"",
    "\"contains\":\"a\"",
    "\"data.a\":",
    "\"$.data.a\":",
    "\\\\p{L}{1,90}",
    "(?i)",
    "[a-z]{2,60}",
    "order.*",
];

const DATA: &str =
    r#"{"a":[1,2.50,{"b":"abc","n":-1e3}],"properties":{"amount":50.0,"currency":"USD","items":[]},"s":"abc","":null}"#;

#[test]
fn filters() {
    let filter = |text: &str| example(&[text, DATA, "order.*", "order.paid"]);
    let examples = [
        filter(r#"{"properties.amount":{"gte":50,"lt":1e3},"properties.currency":{"eq":"USD"}}"#),
        filter(r#"{"any":[{"s":{"in":["abc",1]}},{"not":{"a":{"exists":true}}}]}"#),
        filter(r#"{"all":[{"s":"abc"},{"a":{"contains":1}}],"not":{"properties.amount":{"ne":50}}}"#),
        filter(r#"{"s":{"regex":"^a.c$","starts_with":"a","ends_with":"c","contains":"b"}}"#),
        filter(r#"{"$.data.a[2].b":{"nin":["x"]},"$.type":"order.paid"}"#),
        filter(r#""$.data.a[?@.n<0 && match(@.b,'a.c')]""#),
        filter("{}"),
    ];
    fuzz("filters", &examples, WORDS, |input| {
        let [filter, data, pattern, event_type] = parts(input);
        let (filter, data, event_type) = (text(filter), text(data), text(event_type));
        patterns(&text(pattern), &event_type);
        let filter = match Filter::parse(&filter) {
            Ok(filter) => filter,
            Err(errors) => {
                assert!(errors.iter().all(|error| error.pointer.is_empty() || error.pointer.starts_with('/')));
                return Err(shape(&errors[0].detail));
            }
        };
        let attributes = [("subject".into(), "x".into())];
        let document = Document::new("evt_1", &event_type, "2026-01-01T00:00:00.000Z", None, &attributes, &data);
        let wanted = filter.evaluate(&document);
        let explained = filter.explain(&document);
        assert_eq!(explained.matched, wanted == Ok(true), "{}", explained.because);
        assert_eq!(filter.evaluate(&document), wanted, "asked again");
        Ok(format!("{:?} {}", wanted.ok(), shape(&explained.because)))
    });
}

/// A pattern alone and a pattern in an index say the same.
fn patterns(pattern: &str, event_type: &str) {
    if let Ok(pattern) = EventPattern::parse(pattern) {
        let matches = pattern.matches(event_type);
        assert!(!pattern.is_exact() || matches == (pattern.as_str() == event_type));
        let found = TypeIndex::new([(vec![pattern.clone()], 1)]).lookup(event_type);
        assert_eq!(found, if matches { vec![1] } else { vec![] }, "{pattern:?} over {event_type}");
    }
}

#[test]
fn json_paths() {
    let path = |text: &str| example(&[text, DATA]);
    let examples = [
        path("$.a[2].b"),
        path("$['properties']['items']"),
        path("$[\"a\"][-1]"),
        path("$..b"),
        path("$.a[0:2:1]"),
        path("$.a[::-1]"),
        path("$.*"),
        path("$.a[?@.n<0 || @.b=='abc']"),
        path("$[?length(@)>1 && count(@.*)==3]"),
        path("$.a[?match(@.b,'a.c') || search(@.b, 'b')]"),
        path("$[?!@.b && value(@..n)==-1000]"),
        path("$"),
    ];
    fuzz("JSONPath", &examples, WORDS, |input| {
        let [path, data] = parts(input);
        let (path, data) = (text(path), text(data));
        let path = Path::parse(&path).map_err(|error| shape(&error.to_string()))?;
        assert_eq!(Path::parse(path.as_str()).as_ref(), Ok(&path));
        Ok(match Node::parse(&data) {
            Ok(root) => select(&path, &root, &data),
            Err(_) => {
                // It may be JSON as far as it has to be read.
                let _ = path.raw(&data);
                "no document".to_owned()
            }
        })
    });
}

/// The three ways of asking agree.
fn select(path: &Path, root: &Node<'_>, data: &str) -> String {
    let (all, first) = (path.select(root), path.first(root));
    if let Ok(all) = &all {
        assert_eq!(first.as_ref().map(|node| node.map(ToString::to_string)), Ok(all.first().map(ToString::to_string)));
        assert!(!path.is_singular() || all.len() <= 1);
    }
    let raw = path.raw(data).expect("the whole of it is JSON");
    match (raw, &first) {
        (Some(raw), Ok(Some(node))) => {
            assert_eq!(Node::parse(raw).expect("a part of JSON is JSON").to_string(), node.to_string());
        }
        (None, Ok(Some(_))) => assert!(!path.is_singular()),
        (Some(raw), other) => assert!(matches!(other, Err(TooExpensive::Steps)), "{raw}: {other:?}"),
        (None, _) => {}
    }
    format!("{:?} {}", all.as_ref().map(|all| all.len().min(3)), path.is_singular())
}
