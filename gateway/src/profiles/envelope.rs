//! Envelopes as data: which fields there are, in which order, and what goes into each.
//!
//! An envelope is a table. A text that is one placeholder becomes what it stands for, with its own JSON type; a text
//! with placeholders in it becomes a text; tables, lists, numbers and truth values stand for themselves. `{data}` is
//! the event's data as the text it came as. The key `...` with `"{data}"` puts the members of `data` in its place, as
//! they came: a field of the envelope that `data` has itself is left to `data`, so that nothing is said twice.

use std::collections::HashSet;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::domain::pointer::escape;

/// The key that spreads.
const SPREAD: &str = "...";
/// Most fields in all; the largest known envelope has seven.
const MOST_FIELDS: usize = 64;
/// Tables and lists inside each other.
const DEEPEST: usize = 8;

/// What an envelope is written around.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The client's id of the event, else `evt_…`.
    pub event_id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// When it happened, as text.
    pub timestamp: &'a str,
    /// Who says so; empty if nobody does.
    pub source: &'a str,
    /// `sub_…`.
    pub subscription_id: &'a str,
    /// `dlv_…`.
    pub delivery_id: &'a str,
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// The data, JSON.
    pub data: &'a str,
}

/// An envelope, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope(Vec<Field>);

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Named { name: String, key: String, node: Node },
    Spread,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// JSON as it stands.
    Plain(String),
    /// One placeholder.
    Of(Placeholder),
    /// A text with placeholders in it.
    Text(Vec<Piece>),
    Table(Vec<(String, Self)>),
    List(Vec<Self>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Of(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    EventId,
    EventType,
    /// What follows the last `.` of the type.
    EventTypeLast,
    EventTimestamp,
    EventSource,
    SubscriptionId,
    DeliveryId,
    Attempt,
    Data,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 9] = [
        ("event.id", Self::EventId),
        ("event.type", Self::EventType),
        ("event.type.last", Self::EventTypeLast),
        ("event.timestamp", Self::EventTimestamp),
        ("event.source", Self::EventSource),
        ("subscription.id", Self::SubscriptionId),
        ("delivery.id", Self::DeliveryId),
        ("attempt", Self::Attempt),
        ("data", Self::Data),
    ];
}

impl Envelope {
    /// Compiles a table.
    ///
    /// # Errors
    /// Every mistake, with its place in the table.
    pub fn compile(table: &Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader { errors: Vec::new(), fields: 0 };
        let mut fields = Vec::with_capacity(table.len());
        for (name, value) in table {
            let at = format!("/{}", escape(name));
            if name != SPREAD {
                let node = reader.node(value, &at, 1);
                fields.push(Field::Named { name: name.clone(), key: quoted(name), node });
            } else if value == "{data}" {
                fields.push(Field::Spread);
            } else {
                reader.fault(&at, "only \"{data}\" can be spread");
            }
        }
        if table.is_empty() {
            reader.fault("", "an envelope has at least one field");
        }
        if reader.fields > MOST_FIELDS {
            reader.fault("", format!("an envelope has at most {MOST_FIELDS} fields"));
        }
        if reader.errors.is_empty() { Ok(Self(fields)) } else { Err(reader.errors) }
    }

    /// The envelope around an event. What it is given must be what it says it is: `data` JSON, the rest text.
    #[must_use]
    pub fn render(&self, frame: &Frame<'_>) -> String {
        let spreads = self.0.iter().any(|field| matches!(field, Field::Spread));
        let own = spreads.then(|| serde_json::from_str::<Members<'_>>(frame.data).ok()).flatten();
        let members = own.as_ref().and_then(|_| frame.data.trim().strip_prefix('{')?.strip_suffix('}'));
        let is_said = |name: &str| own.as_ref().is_some_and(|own| own.0.contains(name));
        // Where data says it all it goes out as it came, white space and all.
        if own.is_some()
            && self.0.iter().all(|field| {
                matches!(field, Field::Named { name, .. } if is_said(name)) || matches!(field, Field::Spread)
            })
        {
            return frame.data.to_owned();
        }
        let mut out = String::with_capacity(frame.data.len() + 160);
        let mut next = '{';
        for field in &self.0 {
            match (field, members) {
                (Field::Named { name, .. }, _) if is_said(name) => {}
                (Field::Named { key, node, .. }, _) => {
                    out.push(std::mem::replace(&mut next, ','));
                    out.push_str(key);
                    out.push(':');
                    node.write(&mut out, frame);
                }
                (Field::Spread, Some(members)) if members.trim().is_empty() => {}
                (Field::Spread, Some(members)) => {
                    out.push(std::mem::replace(&mut next, ','));
                    out.push_str(members);
                }
                // What has no members stands there as a whole.
                (Field::Spread, None) => {
                    out.push(std::mem::replace(&mut next, ','));
                    out.push_str("\"data\":");
                    out.push_str(frame.data);
                }
            }
        }
        if next == '{' {
            out.push('{');
        }
        out.push('}');
        out
    }
}

/// The names of an object's members, escapes undone.
struct Members<'a>(HashSet<std::borrow::Cow<'a, str>>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    map.next_value::<IgnoredAny>()?;
                    names.insert(name.0);
                }
                Ok(Members(names))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

struct Reader {
    errors: Vec<FieldError>,
    fields: usize,
}

impl Reader {
    fn fault(&mut self, at: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(at, detail));
    }

    fn node(&mut self, value: &Value, at: &str, depth: usize) -> Node {
        self.fields += 1;
        match value {
            _ if depth > DEEPEST => self.fault(at, format!("is nested deeper than {DEEPEST} levels")),
            Value::Object(table) => {
                let inner = table.iter().map(|(name, value)| {
                    let at = format!("{at}/{}", escape(name));
                    if name == SPREAD {
                        self.fault(&at, "`...` stands at the top only");
                    }
                    (quoted(name), self.node(value, &at, depth + 1))
                });
                return Node::Table(inner.collect());
            }
            Value::Array(items) => {
                let inner = items.iter().enumerate();
                return Node::List(
                    inner.map(|(index, item)| self.node(item, &format!("{at}/{index}"), depth + 1)).collect(),
                );
            }
            Value::String(text) => match pieces(text) {
                Ok(pieces) => match pieces.as_slice() {
                    [Piece::Of(placeholder)] => return Node::Of(*placeholder),
                    pieces if pieces.contains(&Piece::Of(Placeholder::Data)) => {
                        self.fault(at, "`{data}` stands alone, for it is JSON and no text");
                    }
                    [] | [Piece::Literal(_)] => return Node::Plain(quoted(text)),
                    _ => return Node::Text(pieces),
                },
                Err(detail) => self.fault(at, detail),
            },
            other => return Node::Plain(other.to_string()),
        }
        Node::Plain("null".to_owned())
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        let (literal, tail) = rest.split_at(brace);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        let inner = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
        let Some((name, tail)) = inner else { return Err(format!("a brace without its partner; {}", known())) };
        let found = Placeholder::ALL.iter().find(|(known, _)| *known == name);
        let (_, placeholder) = found.ok_or_else(|| format!("there is no placeholder {{{name}}}; {}", known()))?;
        pieces.push(Piece::Of(*placeholder));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn known() -> String {
    let names: Vec<String> = Placeholder::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    format!("placeholders are {}", names.join(" "))
}

impl Node {
    fn write(&self, out: &mut String, frame: &Frame<'_>) {
        match self {
            Self::Plain(json) => out.push_str(json),
            Self::Of(Placeholder::Data) => out.push_str(frame.data),
            Self::Of(Placeholder::Attempt) => out.push_str(&frame.attempt.to_string()),
            Self::Of(placeholder) => out.push_str(&quoted(text_of(*placeholder, frame))),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => text.push_str(literal),
                        Piece::Of(Placeholder::Attempt) => text.push_str(&frame.attempt.to_string()),
                        Piece::Of(placeholder) => text.push_str(text_of(*placeholder, frame)),
                    }
                }
                out.push_str(&quoted(&text));
            }
            Self::Table(fields) => {
                out.push('{');
                for (at, (key, node)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(key);
                    out.push(':');
                    node.write(out, frame);
                }
                out.push('}');
            }
            Self::List(items) => {
                out.push('[');
                for (at, node) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    node.write(out, frame);
                }
                out.push(']');
            }
        }
    }
}

fn text_of<'a>(placeholder: Placeholder, frame: &Frame<'a>) -> &'a str {
    match placeholder {
        Placeholder::EventId => frame.event_id,
        Placeholder::EventType => frame.event_type,
        Placeholder::EventTypeLast => frame.event_type.rsplit('.').next().unwrap_or(frame.event_type),
        Placeholder::EventTimestamp => frame.timestamp,
        Placeholder::EventSource => frame.source,
        Placeholder::SubscriptionId => frame.subscription_id,
        Placeholder::DeliveryId => frame.delivery_id,
        // Written by their own arms: a number and a piece of JSON.
        Placeholder::Attempt | Placeholder::Data => "",
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn envelope(table: Value) -> Envelope {
        Envelope::compile(table.as_object().unwrap()).unwrap()
    }

    fn frame(data: &str) -> Frame<'_> {
        Frame {
            event_id: "evt \"1\"",
            event_type: "experience.start",
            timestamp: "2025-01-25T14:30:00.000Z",
            source: "shop",
            subscription_id: "sub_1",
            delivery_id: "dlv_1",
            attempt: 3,
            data,
        }
    }

    #[test]
    fn fields_in_their_order() {
        for (table, data, wanted) in [
            (
                json!({"id": "{event.id}", "type": "{event.type}", "timestamp": "{event.timestamp}", "data": "{data}",
                       "metadata": {"webhook_id": "{subscription.id}", "delivery_attempt": "{attempt}"}}),
                "{ \"amount\": 100.0 }",
                r#"{"id":"evt \"1\"","type":"experience.start","timestamp":"2025-01-25T14:30:00.000Z","data":{ "amount": 100.0 },"metadata":{"webhook_id":"sub_1","delivery_attempt":3}}"#,
            ),
            (
                json!({"n": 1, "t": true, "l": ["{attempt}", "no. {attempt} of {delivery.id}", ""], "e": {}}),
                "1",
                r#"{"n":1,"t":true,"l":[3,"no. 3 of dlv_1",""],"e":{}}"#,
            ),
            (
                json!({"event_type": "{event.type}", "...": "{data}"}),
                "{ \"a\": 1.0 }",
                r#"{"event_type":"experience.start", "a": 1.0 }"#,
            ),
            (json!({"...": "{data}", "event_type": "{event.type}"}), "{}", r#"{"event_type":"experience.start"}"#),
            // What data says itself is not said again, however it is spelled there.
            (
                json!({"event_type": "{event.type}", "...": "{data}"}),
                " {\"event\\u005ftype\" : \"B\"} ",
                " {\"event\\u005ftype\" : \"B\"} ",
            ),
            (
                json!({"action": "{event.type.last}", "...": "{data}", "timestamp": "{event.timestamp}"}),
                "{\"timestamp\":\"then\"}",
                r#"{"action":"start","timestamp":"then"}"#,
            ),
            // What has no members stands there as a whole.
            (json!({"a": "{event.source}", "...": "{data}"}), "[1, 2]", r#"{"a":"shop","data":[1, 2]}"#),
            (json!({"...": "{data}"}), "{ }", "{ }"),
        ] {
            assert_eq!(envelope(table.clone()).render(&frame(data)), wanted, "{table}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        for (table, at, says) in [
            (json!({}), "", "at least one field"),
            (json!({"a": {"b": "{event.kind}"}}), "/a/b", "no placeholder {event.kind}; placeholders are {event.id}"),
            (json!({"a": "{{data}}"}), "/a", "no placeholder"),
            (json!({"a": "{data"}), "/a", "without its partner"),
            (json!({"a": "data: {data}"}), "/a", "stands alone"),
            (json!({"...": "{event.id}"}), "/...", "only \"{data}\""),
            (json!({"a/b": {"...": "{data}"}}), "/a~1b/...", "at the top only"),
            (json!({"a": [[[[[[[[1]]]]]]]]}), "/a/0/0/0/0/0/0/0/0", "deeper than 8"),
            (json!({"a": vec![1; 65]}), "", "at most 64 fields"),
        ] {
            let errors = Envelope::compile(table.as_object().unwrap()).unwrap_err();
            assert_eq!(errors[0].pointer, at, "{table}");
            assert!(errors[0].detail.contains(says), "{table}: {}", errors[0].detail);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(prop_oneof!["[a-c]", ".{0,3}"], inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn data_is_passed_on_as_the_text_it_is(data in any_json(), id in ".{0,12}", pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&data).unwrap() } else { data.to_string() };
            let frame = Frame { event_id: &id, ..frame(&text) };
            let wrapped = envelope(json!({"id": "{event.id}", "data": "{data}"})).render(&frame);
            prop_assert!(wrapped.ends_with(&format!("\"data\":{text}}}")), "{wrapped}");
            let read: Value = serde_json::from_str(&wrapped).unwrap();
            prop_assert_eq!(&read["id"], &Value::from(id.as_str()));
            // Spread, it holds what data holds and, of its own fields, what data lacks.
            let spread = envelope(json!({"a": "{event.type}", "...": "{data}", "z": "{attempt}"})).render(&frame);
            let read: Value = serde_json::from_str(&spread).unwrap();
            let mut wanted = data.as_object().cloned().unwrap_or_else(|| [("data".to_owned(), data.clone())].into_iter().collect());
            wanted.entry("a").or_insert_with(|| "experience.start".into());
            wanted.entry("z").or_insert_with(|| 3.into());
            prop_assert_eq!(read, Value::Object(wanted));
        }

        #[test]
        fn nothing_makes_the_compiler_panic(table in any_json(), text in "[{}a-z.]{0,12}") {
            let _ = table.as_object().map(Envelope::compile);
            let _ = Envelope::compile(&[("a".to_owned(), Value::from(text))].into_iter().collect());
        }
    }
}
