//! JSON exactly as `JSON.stringify(JSON.parse(text))` spells it (ECMA-262, 25.5): some documented verifiers
//! sign that instead of the body, so the body must already be in that form.
//!
//! What that changes: white space goes; numbers become the shortest text that reads back as the same double;
//! keys that are array indexes come first, in numeric order, and of equal keys the last value counts; escapes
//! are undone but for those JSON needs, and lone surrogates are written as `\udXXX`.

/// The text in that form. `text` must be valid JSON, no deeper than 128 levels: both are checked where a client or a
/// plugin gives it.
pub(super) fn stringify(text: &str) -> String {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut out = String::with_capacity(text.len());
    reader.value().write(&mut out);
    out
}

enum Value {
    /// `null`, `true`, `false`, or a number as JavaScript spells it.
    Plain(String),
    /// UTF-16, as JavaScript has it: lone surrogates are possible.
    Text(Vec<u16>),
    List(Vec<Self>),
    Map(Vec<(Vec<u16>, Self)>),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> u8 {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self) -> Value {
        match self.peek() {
            b'{' => self.map(),
            b'[' => self.list(),
            b'"' => Value::Text(self.text()),
            _ => Value::Plain(self.plain()),
        }
    }

    fn list(&mut self) -> Value {
        self.at += 1;
        let mut items = Vec::new();
        while !matches!(self.peek(), b']' | 0) {
            items.push(self.value());
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Value::List(items)
    }

    fn map(&mut self) -> Value {
        self.at += 1;
        let mut entries: Vec<(Vec<u16>, Value)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while !matches!(self.peek(), b'}' | 0) {
            let key = self.text();
            if self.peek() == b':' {
                self.at += 1;
            }
            let value = self.value();
            match places.entry(key.clone()) {
                std::collections::hash_map::Entry::Occupied(place) => {
                    let place: usize = *place.get();
                    if let Some(entry) = entries.get_mut(place) {
                        entry.1 = value;
                    }
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(entries.len());
                    entries.push((key, value));
                }
            }
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        // A stable sort: the other keys stay in the order they came.
        entries.sort_by_key(|(key, _)| index_of(key).map_or(u64::MAX, u64::from));
        Value::Map(entries)
    }

    fn plain(&mut self) -> String {
        let from = self.at;
        while matches!(self.bytes.get(self.at), Some(b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E')) {
            self.at += 1;
        }
        if from == self.at {
            // Only reached on what is not JSON; going on keeps the loop above finite.
            self.at += 1;
        }
        let text = self.bytes.get(from..self.at).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("null");
        match text.parse::<f64>() {
            // JSON has no infinity: `JSON.parse` reads 1e999 as one, and `stringify` writes that as null.
            Ok(number) if !number.is_finite() => "null".to_owned(),
            Ok(number) => ryu_js::Buffer::new().format(number).to_owned(),
            Err(_) => text.to_owned(),
        }
    }

    fn text(&mut self) -> Vec<u16> {
        self.peek();
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let from = self.at;
            while !matches!(self.bytes.get(self.at), None | Some(b'"' | b'\\')) {
                self.at += 1;
            }
            let run = self.bytes.get(from..self.at).unwrap_or_default();
            out.extend(String::from_utf8_lossy(run).encode_utf16());
            if self.bytes.get(self.at) != Some(&b'\\') {
                self.at += 1;
                return out;
            }
            let escape = self.bytes.get(self.at + 1).copied().unwrap_or(b'"');
            self.at += 2;
            out.push(match escape {
                b'b' => 8,
                b'f' => 12,
                b'n' => 10,
                b'r' => 13,
                b't' => 9,
                b'u' => {
                    let digits =
                        self.bytes.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
                    self.at += 4;
                    digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
                }
                other => u16::from(other),
            });
        }
    }
}

/// The number a key is, if JavaScript takes it for an array index: 0 to 2³² − 2, without leading zeros.
fn index_of(key: &[u16]) -> Option<u32> {
    let digits: String = char::decode_utf16(key.iter().copied()).collect::<Result<_, _>>().ok()?;
    let number: u32 = digits.parse().ok()?;
    (number != u32::MAX && number.to_string() == digits).then_some(number)
}

impl Value {
    fn write(&self, out: &mut String) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => quote(text, out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// `QuoteJSONString` (ECMA-262, 25.5.2.3).
fn quote(text: &[u16], out: &mut String) {
    out.push('"');
    for unit in char::decode_utf16(text.iter().copied()) {
        match unit {
            Ok('"') => out.push_str("\\\""),
            Ok('\\') => out.push_str("\\\\"),
            Ok('\u{8}') => out.push_str("\\b"),
            Ok('\u{c}') => out.push_str("\\f"),
            Ok('\n') => out.push_str("\\n"),
            Ok('\r') => out.push_str("\\r"),
            Ok('\t') => out.push_str("\\t"),
            Ok(control) if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            Ok(other) => out.push(other),
            Err(lone) => out.push_str(&format!("\\u{:04x}", lone.unpaired_surrogate())),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::stringify;

    /// Each right side is what Node.js prints for `JSON.stringify(JSON.parse(left))`; the end-to-end suite asks
    /// Node itself about these and about generated ones.
    #[test]
    fn as_javascript_spells_it() {
        for (text, wanted) in [
            (
                r#"{ "a" : 100.0, "b": 1e21, "c": 1e-7, "d": -0, "e": 0.1 }"#,
                r#"{"a":100,"b":1e+21,"c":1e-7,"d":0,"e":0.1}"#,
            ),
            (
                r#"{"b":1,"10":2,"9":3,"a":4,"01":5,"4294967295":6}"#,
                r#"{"9":3,"10":2,"b":1,"a":4,"01":5,"4294967295":6}"#,
            ),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#""\u00e9\/\ud83d\ude00\ud800x\u0001\u007f""#, "\"é/😀\\ud800x\\u0001\u{7f}\""),
            ("[ ]", "[]"),
            ("[12345678901234567890, 1e999, -1e999]", "[12345678901234567000,null,null]"),
            (" null ", "null"),
            ("{}", "{}"),
            (r#"{"__proto__":1}"#, r#"{"__proto__":1}"#),
        ] {
            assert_eq!(stringify(text), wanted, "{text}");
        }
    }
}
