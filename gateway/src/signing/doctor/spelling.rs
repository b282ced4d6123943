//! The same JSON as the usual writers spell it.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// Bodies longer than this are not spelled anew: each spelling costs a hash.
const LONGEST: usize = 256 * 1024;

/// A body in another spelling.
pub(super) struct Spelling {
    /// Who writes so.
    pub(super) how: &'static str,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// How somebody writes JSON.
#[derive(Clone, Copy)]
struct Style {
    /// What follows a comma and a colon.
    item: &'static str,
    member: &'static str,
    /// How much each level is indented, if it is.
    indent: usize,
    /// Only ASCII.
    ascii: bool,
    /// `\/`.
    slash: bool,
    /// `<`, `>` and `&` by number.
    html: bool,
    /// Members by name.
    sorted: bool,
    /// `100.0` as `100`.
    whole: bool,
}

const COMPACT: Style =
    Style { item: "", member: "", indent: 0, ascii: false, slash: false, html: false, sorted: false, whole: false };

const STYLES: [(&str, Style); 8] = [
    ("without white space, as most languages write it", COMPACT),
    ("as JavaScript's `JSON.stringify` writes it", Style { whole: true, ..COMPACT }),
    ("as Python's `json.dumps` writes it", Style { item: " ", member: " ", ascii: true, ..COMPACT }),
    ("as PHP's `json_encode` writes it", Style { ascii: true, slash: true, ..COMPACT }),
    ("as Go's `json.Marshal` writes a map", Style { html: true, sorted: true, whole: true, ..COMPACT }),
    ("indented by 2 spaces", Style { indent: 2, member: " ", ..COMPACT }),
    ("indented by 4 spaces", Style { indent: 4, member: " ", ..COMPACT }),
    ("without white space and with its members sorted", Style { sorted: true, ..COMPACT }),
];

/// Other spellings of a body, none of them twice and none of them its own.
pub(super) fn all(body: &[u8]) -> Vec<Spelling> {
    if body.len() > LONGEST {
        return Vec::new();
    }
    let trimmed = body.trim_ascii();
    let mut found = vec![
        Spelling { how: "without the white space around it", body: trimmed.to_vec() },
        Spelling { how: "with a line break at its end", body: [trimmed, b"\n"].concat() },
    ];
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        for (how, style) in STYLES {
            let mut text = String::with_capacity(body.len());
            style.write(&value, 0, &mut text);
            found.push(Spelling { how, body: text.into_bytes() });
        }
    }
    let mut seen = vec![body.to_vec()];
    found.retain(|spelling| {
        let is_new = !seen.contains(&spelling.body);
        seen.push(spelling.body.clone());
        is_new
    });
    found
}

impl Style {
    fn write(self, value: &Value, depth: usize, to: &mut String) {
        match value {
            Value::Null | Value::Bool(_) => {
                let _ = write!(to, "{value}");
            }
            Value::Number(number) => to.push_str(&self.number(number)),
            Value::String(text) => self.text(text, to),
            Value::Array(items) => {
                let items = items.iter().map(|item| (None, item)).collect();
                self.list(('[', ']'), items, depth, to);
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().map(|(name, value)| (Some(name), value)).collect();
                if self.sorted {
                    members.sort_by_key(|(name, _)| *name);
                }
                self.list(('{', '}'), members, depth, to);
            }
        }
    }

    fn list(self, (open, close): (char, char), items: Vec<(Option<&String>, &Value)>, depth: usize, to: &mut String) {
        let is_empty = items.is_empty();
        let line = |depth: usize, to: &mut String| {
            if self.indent > 0 && !is_empty {
                to.push('\n');
                to.extend(std::iter::repeat_n(' ', self.indent * depth));
            }
        };
        to.push(open);
        for (at, (name, value)) in items.into_iter().enumerate() {
            if at > 0 {
                to.push(',');
                to.push_str(self.item);
            }
            line(depth + 1, to);
            if let Some(name) = name {
                self.text(name, to);
                to.push(':');
                to.push_str(self.member);
            }
            self.write(value, depth + 1, to);
        }
        line(depth, to);
        to.push(close);
    }

    fn number(self, number: &Number) -> String {
        // Beyond this JavaScript writes exponents, and integers are no longer exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match number
            .as_f64()
            .filter(|value| self.whole && number.is_f64() && value.fract() == 0.0 && value.abs() < EXACT)
        {
            Some(value) => format!("{value:.0}"),
            None => number.to_string(),
        }
    }

    fn text(self, text: &str, to: &mut String) {
        let quoted = Value::from(text).to_string();
        for c in quoted.chars() {
            match c {
                '/' if self.slash => to.push_str("\\/"),
                '<' | '>' | '&' if self.html => {
                    let _ = write!(to, "\\u{:04x}", u32::from(c));
                }
                c if self.ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(to, "\\u{unit:04x}");
                    }
                }
                c => to.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let body = r#"{"b": [1, 2.0, {}], "a": "<Zo\u00eb 😀/>"}"#.as_bytes();
        let found = all(body);
        let spelled = |how: &str| {
            let found = found.iter().find(|spelling| spelling.how.contains(how)).unwrap_or_else(|| panic!("{how}"));
            String::from_utf8(found.body.clone()).unwrap()
        };
        for (how, text) in [
            ("most languages", r#"{"b":[1,2.0,{}],"a":"<Zoë 😀/>"}"#),
            ("JSON.stringify", r#"{"b":[1,2,{}],"a":"<Zoë 😀/>"}"#),
            ("json.dumps", r#"{"b": [1, 2.0, {}], "a": "<Zo\u00eb \ud83d\ude00/>"}"#),
            ("json_encode", r#"{"b":[1,2.0,{}],"a":"<Zo\u00eb \ud83d\ude00\/>"}"#),
            ("json.Marshal", r#"{"a":"\u003cZoë 😀/\u003e","b":[1,2,{}]}"#),
            ("2 spaces", "{\n  \"b\": [\n    1,\n    2.0,\n    {}\n  ],\n  \"a\": \"<Zoë 😀/>\"\n}"),
            ("members sorted", r#"{"a":"<Zoë 😀/>","b":[1,2.0,{}]}"#),
        ] {
            assert_eq!(spelled(how), text, "{how}");
        }
        assert!(found.iter().all(|spelling| spelling.body != body));
        // What is no JSON has edges and nothing else.
        let plain: Vec<_> = all(b"a=1\n").into_iter().map(|spelling| spelling.body).collect();
        assert_eq!(plain, [b"a=1"]);
    }
}
