//! Two bodies, and how the one came from the other.

use std::collections::BTreeSet;

use base64::Engine;
use serde_json::Value;

use super::{Code, Finding};
use crate::domain::pointer::escape;
use crate::signing::secret::LENIENT;

/// How much of each body is shown around the first difference.
const SHOWN: usize = 24;
const SHOWN_BEFORE: usize = 8;

/// How what came differs from what was sent; `None`: it does not.
pub(super) fn compare(sent: &[u8], received: &[u8]) -> Option<Finding> {
    if sent == received {
        return None;
    }
    let offset = first_difference(sent, received);
    let at = format!("they differ from byte {offset} on ({})", excerpts(sent, received, offset));
    let found = |code, detail: String, pointer| Finding { offset: Some(offset), pointer, ..Finding::new(code, detail) };
    if let Some(how) = mishandled(sent, received) {
        return Some(found(Code::BodyChanged, how.to_owned(), None));
    }
    if let Some(how) = edges(sent, received) {
        let detail =
            format!("The body was changed before it was verified: {how}; {at}. Verify the bytes as they came in.");
        return Some(found(Code::BodyReserialized, detail, None));
    }
    let parsed = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
    let (Some(was), Some(is)) = (parsed(sent), parsed(received)) else {
        let detail = format!("The body is not the one that was sent: {at}.");
        return Some(found(Code::BodyChanged, detail, None));
    };
    if let Some(pointer) = difference(&was, &is) {
        let place = if pointer.is_empty() { "as a whole".to_owned() } else { format!("at `{pointer}`") };
        let detail = format!("The body was changed: its JSON is another {place}; {at}.");
        return Some(found(Code::BodyChanged, detail, Some(pointer)));
    }
    let detail = format!(
        "The body has the same JSON as the one that was sent, spelled differently ({}); {at}. Your code, a framework or a \
         proxy parsed it and wrote it anew: keep the bytes as they came in, and verify those before anything parses them.",
        respelled(sent, received).join(", ")
    );
    Some(found(Code::BodyReserialized, detail, None))
}

/// The first byte that is another, or that one of the two does not have.
pub(super) fn first_difference(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn excerpts(sent: &[u8], received: &[u8], at: usize) -> String {
    let shown = |body: &[u8]| {
        let from = at.saturating_sub(SHOWN_BEFORE);
        let piece: Vec<u8> = body.iter().skip(from).take(SHOWN).copied().collect();
        let more = if body.len() > from + SHOWN { "…" } else { "" };
        let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        format!("`{}`{more}", String::from_utf8_lossy(&piece).chars().map(plain).collect::<String>())
    };
    format!("sent {}, received {}", shown(sent), shown(received))
}

/// Bodies that were taken for something else.
fn mishandled(sent: &[u8], received: &[u8]) -> Option<&'static str> {
    let as_text = |body: &[u8]| serde_json::from_slice::<String>(body).is_ok_and(|text| text.as_bytes() == sent);
    let latin1 = || sent.iter().copied().map(char::from).collect::<String>();
    if received.is_empty() {
        return Some(
            "The body is empty: something read it before the code that verifies, which got nothing. Keep the raw body \
             (Express: `express.raw`), and verify before anything parses it.",
        );
    }
    if received == b"[object Object]" {
        return Some(
            "The body is the text `[object Object]`: a parsed object was turned into a text. Keep the raw body (Express: \
             `express.raw`), and verify that.",
        );
    }
    if as_text(received) {
        return Some(
            "The body was encoded as a JSON text once more: it is a string with the body in it. Verify that string's \
             content, or do not encode it.",
        );
    }
    if LENIENT.decode(received).is_ok_and(|decoded| decoded == sent) {
        return Some(
            "The body is still in base64, as some gateways hand it over (AWS: `isBase64Encoded`): decode it before it is \
             verified.",
        );
    }
    if !sent.is_ascii() && (latin1().as_bytes() == received || String::from_utf8_lossy(sent).as_bytes() == received) {
        return Some(
            "The body was read as another character set than UTF-8 and written again: verify bytes, not text, or read it as \
             UTF-8.",
        );
    }
    if sent.starts_with(received) {
        return Some(
            "The body was cut off: it is the beginning of what was sent. Look for a limit of size on its way.",
        );
    }
    None
}

/// Changes at a body's edges and in its line breaks, which are the same to whoever reads it as text.
fn edges(sent: &[u8], received: &[u8]) -> Option<&'static str> {
    let unix = |body: &[u8]| {
        let pairs = body.iter().zip(body.iter().skip(1).map(Some).chain([None]));
        pairs
            .filter(|(byte, next)| !(**byte == b'\r' && *next == Some(&b'\n')))
            .map(|(byte, _)| *byte)
            .collect::<Vec<_>>()
    };
    if received.strip_prefix("\u{feff}".as_bytes()) == Some(sent) {
        return Some("a byte order mark stands before it");
    }
    if received.trim_ascii() == sent.trim_ascii() {
        return Some(match received.len() > sent.len() {
            true => "white space, such as a line break, was added around it",
            false => "white space, such as a line break, was taken from around it",
        });
    }
    (unix(sent) == unix(received)).then_some("its line breaks are others")
}

/// Where two documents differ first, numbers compared as JavaScript has them.
fn difference(was: &Value, is: &Value) -> Option<String> {
    let below = |step: &str, rest: String| format!("/{}{rest}", escape(step));
    match (was, is) {
        (Value::Number(was), Value::Number(is)) => (was.as_f64() != is.as_f64()).then(String::new),
        (Value::Array(was), Value::Array(is)) => {
            let pairs = was.iter().zip(is).enumerate();
            let found = pairs.filter_map(|(at, (was, is))| Some(below(&at.to_string(), difference(was, is)?))).next();
            found
                .or_else(|| (was.len() != is.len()).then(|| below(&was.len().min(is.len()).to_string(), String::new())))
        }
        (Value::Object(was), Value::Object(is)) => {
            let changed = was.iter().find_map(|(name, was)| match is.get(name) {
                Some(is) => difference(was, is).map(|rest| below(name, rest)),
                None => Some(below(name, String::new())),
            });
            changed.or_else(|| is.keys().find(|name| !was.contains_key(*name)).map(|name| below(name, String::new())))
        }
        _ => (was != is).then(String::new),
    }
}

/// A text's tokens, and the white space between them.
struct Tokens<'a> {
    texts: Vec<&'a [u8]>,
    numbers: Vec<&'a [u8]>,
    space: Vec<u8>,
}

/// Takes JSON that has been read already apart.
fn tokens(json: &[u8]) -> Tokens<'_> {
    let mut tokens = Tokens { texts: Vec::new(), numbers: Vec::new(), space: Vec::new() };
    let mut rest = json;
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => {
                let mut escaped = false;
                let end = rest.iter().skip(1).position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            b'-' | b'0'..=b'9' => {
                rest.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E')).count()
            }
            _ => 1,
        };
        let (token, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        match first {
            b'"' => tokens.texts.push(token),
            b'-' | b'0'..=b'9' => tokens.numbers.push(token),
            b' ' | b'\t' | b'\r' | b'\n' => tokens.space.extend(token),
            // Where the space is counts as well as how much of it there is.
            _ => tokens.space.push(b'|'),
        }
        rest = tail;
    }
    tokens
}

/// In what two spellings of one document differ; never empty.
fn respelled(sent: &[u8], received: &[u8]) -> Vec<&'static str> {
    let (was, is) = (tokens(sent), tokens(received));
    let decoded = |texts: &[&[u8]]| -> Vec<String> {
        texts.iter().map(|text| serde_json::from_slice(text).unwrap_or_default()).collect()
    };
    let set = |items: &[&[u8]]| items.iter().map(|item| item.to_vec()).collect::<BTreeSet<_>>();
    let mut found = Vec::new();
    if was.space != is.space {
        found.push("white space");
    }
    if decoded(&was.texts) != decoded(&is.texts) {
        found.push("the order of members");
    }
    if set(&was.texts) != set(&is.texts) {
        found.push("the escaping of texts");
    }
    if set(&was.numbers) != set(&is.numbers) {
        found.push("the writing of numbers");
    }
    if found.is_empty() {
        found.push("members that are there twice");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_body() {
        let sent = r#"{"id":"evt_1","amount":100.0,"url":"a/b","name":"Zoë","list":[1,2,{"a":null}]}"#;
        let text = serde_json::to_string(sent).unwrap();
        let latin1: String = sent.bytes().map(char::from).collect();
        let encoded = base64::engine::general_purpose::STANDARD.encode(sent);
        for (received, code, says, pointer) in [
            (
                r#"{"id": "evt_1", "amount": 100.0, "url": "a/b", "name": "Zoë", "list": [1, 2, {"a": null}]}"#,
                Code::BodyReserialized,
                "(white space); they differ from byte 6",
                None,
            ),
            (
                r#"{"id":"evt_1","amount":100,"url":"a/b","name":"Zoë","list":[1,2,{"a":null}]}"#,
                Code::BodyReserialized,
                "(the writing of numbers)",
                None,
            ),
            (
                r#"{"id":"evt_1","amount":100.0,"url":"a\/b","name":"Zo\u00eb","list":[1,2,{"a":null}]}"#,
                Code::BodyReserialized,
                "(the escaping of texts)",
                None,
            ),
            (
                r#"{"amount":100.0,"id":"evt_1","list":[1,2,{"a":null}],"name":"Zoë","url":"a/b"}"#,
                Code::BodyReserialized,
                "the order of members",
                None,
            ),
            (&format!("{sent}\n"), Code::BodyReserialized, "added around it; they differ from byte 79", None),
            (&format!("\u{feff}{sent}"), Code::BodyReserialized, "byte order mark", None),
            (
                r#"{"id":"evt_1","amount":1000.0,"url":"a/b","name":"Zoë","list":[1,2,{"a":null}]}"#,
                Code::BodyChanged,
                "another at `/amount`",
                Some("/amount"),
            ),
            (
                r#"{"id":"evt_1","amount":100.0,"url":"a/b","name":"Zoë","list":[1,2,{"a":1}]}"#,
                Code::BodyChanged,
                "`/list/2/a`; they differ from byte 72",
                Some("/list/2/a"),
            ),
            (
                r#"{"id":"evt_1","amount":100.0,"url":"a/b","name":"Zoë","list":[1]}"#,
                Code::BodyChanged,
                "another at `/list/1`",
                Some("/list/1"),
            ),
            (
                r#"{"id":"evt_1","amount":100.0,"url":"a/b","name":"Zoë","list":[1,2,{"a":null}],"x/y":1}"#,
                Code::BodyChanged,
                "another at `/x~1y`",
                Some("/x~1y"),
            ),
            ("[]", Code::BodyChanged, "another as a whole", Some("")),
            ("amount=100", Code::BodyChanged, "not the one that was sent", None),
            ("", Code::BodyChanged, "is empty", None),
            ("[object Object]", Code::BodyChanged, "[object Object]", None),
            (&sent[..40], Code::BodyChanged, "cut off", None),
            (&text, Code::BodyChanged, "encoded as a JSON text", None),
            (&latin1, Code::BodyChanged, "another character set", None),
            (&encoded, Code::BodyChanged, "base64", None),
        ] {
            let found = compare(sent.as_bytes(), received.as_bytes()).unwrap_or_else(|| panic!("{received}"));
            assert_eq!((found.code, found.pointer.as_deref()), (code, pointer), "{received}: {found:?}");
            assert!(found.detail.contains(says), "{received}: {found:?}");
        }
        assert_eq!(compare(sent.as_bytes(), sent.as_bytes()), None);
        let lines = compare(b"{\n\"a\": 1\n}", b"{\r\n\"a\": 1\r\n}").unwrap();
        assert!(lines.detail.contains("line breaks"), "{lines:?}");
        let twice = compare(br#"{"a":1,"a":1}"#, br#"{"a":1}"#).unwrap();
        assert_eq!(twice.code, Code::BodyReserialized, "{twice:?}");
    }
}
