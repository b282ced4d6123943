//! JSON that clients write, read as the API describes it.
//!
//! What serde derives takes an array for a struct, field by field in the order in which our source has them, and an
//! object for a choice; anything else in the place of a choice `serde_json` calls no JSON at all. That is refused here,
//! around the deserializer and so at every level below and for every type there will be: a sentence that is made of
//! serde's words afterwards comes too late for what serde takes. Making that sentence is the other half, for what is
//! refused is told in serde's words, which name our types.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor};

/// How serde calls an enum that is told apart by a field.
const TAGGED: &str = "internally tagged enum ";

/// Around a deserializer of JSON, and inside around everything that it and a type hand to each other: objects are
/// objects, and choices are texts.
pub struct Strict<T>(pub T);

macro_rules! handed_on {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Strict(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Object { visitor, fields })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_str(Word { visitor, words })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        // By its name `serde_json` knows a `RawValue`.
        self.0.deserialize_newtype_struct(name, Strict(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Strict(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, Strict(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, Strict(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    // What a type asks for is asked for: given whatever there is, a map of `serde_json` takes `null`, too.
    handed_on! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.0.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.0.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.0.visit_u64(value)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<V::Value, E> {
        self.0.visit_i128(value)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<V::Value, E> {
        self.0.visit_u128(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.0.visit_f64(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_str(text)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        self.0.visit_borrowed_str(text)
    }

    fn visit_string<E: Error>(self, text: String) -> Result<V::Value, E> {
        self.0.visit_string(text)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        if is_tagged(&self.0) {
            return Err(Error::invalid_type(Unexpected::Seq, &self));
        }
        self.0.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(fields))
    }
}

/// Whether this reads an enum that is told apart by a field. It asks for whatever there is, and would take an array: only
/// what it says that it expects tells it from others.
fn is_tagged<'de>(visitor: &impl Visitor<'de>) -> bool {
    let expected: &dyn Expected = visitor;
    expected.to_string().starts_with(TAGGED)
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        // A key is a text in any case.
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

/// Of a struct: takes an object and nothing else.
struct Object<V> {
    visitor: V,
    fields: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object (fields: `{}`)", self.fields.join("`, `"))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Strict(fields))
    }
}

/// Of an enum: takes the word of one that holds nothing, and nothing else.
struct Word<V> {
    visitor: V,
    words: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Word<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of `{}`", self.words.join("`, `"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_enum(StrDeserializer::<E>::new(text))
    }
}

/// What serde says of a value of a wrong kind, as a sentence about JSON. Whatever else is said stays as it is.
#[must_use]
pub fn in_words(said: &str) -> String {
    let mismatch = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    // A text that is found may hold anything; what is expected are our own words.
    match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("{} is wanted here, not {}", wanted(expected), not(found)),
        None => said.to_owned(),
    }
}

/// What is expected.
fn wanted(said: &str) -> Cow<'_, str> {
    let most = match said {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => u64::MAX,
        "f64" => return "a number".into(),
        "a boolean" => return "`true` or `false`".into(),
        "a string" => return "a text".into(),
        "a timestamp string" => return "a time (RFC 3339, such as `2026-01-25T14:30:00.000Z`)".into(),
        "a sequence" => return "an array".into(),
        "a map" => return "an object".into(),
        tagged if tagged.starts_with(TAGGED) => return "an object".into(),
        other => return other.into(),
    };
    format!("a whole number from 0 to {most}").into()
}

/// What is found.
fn not(said: &str) -> &str {
    match said {
        "null" => "`null`",
        "sequence" => "an array",
        "map" => "an object",
        // It may be long, and it may be a secret.
        text if text.starts_with("string ") => "a text",
        other => {
            let kinds = ["boolean ", "integer ", "floating point "];
            kinds.iter().find_map(|kind| other.strip_prefix(*kind)).unwrap_or(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::domain::one_or_many;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<String, Inner>,
        #[serde(default, with = "one_or_many")]
        some: Vec<Inner>,
        #[serde(default)]
        tagged: Option<Tagged>,
        #[serde(default)]
        choice: Choice,
        #[serde(default)]
        flag: bool,
        #[serde(default)]
        share: Option<f64>,
        #[serde(default)]
        wrapped: Wrapped,
        #[serde(default)]
        any: Map<String, Value>,
        #[serde(default)]
        free: Value,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        a: u8,
        #[serde(default)]
        b: Option<u32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase")]
    enum Tagged {
        One { text: String },
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        #[default]
        Left,
        Right,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Wrapped(String);

    #[derive(Deserialize)]
    struct Kept {
        list: Vec<Spelled>,
    }

    #[derive(Deserialize)]
    struct Spelled {
        data: Box<RawValue>,
        #[serde(default)]
        more: Option<Box<RawValue>>,
    }

    /// What is as the API has it is read as without this.
    #[test]
    fn what_is_read() {
        for value in [
            json!({}),
            json!({"inner": null, "list": [], "named": {}, "some": [], "tagged": null, "share": null, "free": null}),
            json!({"inner": {"a": 1}, "list": [{"a": 2, "b": 3}], "named": {"x": {"a": 4, "b": null}}}),
            json!({"some": {"a": 5}}),
            json!({"some": [{"a": 5}, {"a": 6}]}),
            json!({"tagged": {"type": "one", "text": "x"}}),
            json!({"tagged": {"text": "x", "type": "one"}, "choice": "right", "flag": true, "wrapped": "w"}),
            json!({"share": 1, "free": [[1, -2, 0.5], {"a": ["x", null, true]}]}),
            json!({"share": 0.25, "free": {"a": {"b": [[]]}}, "any": {"a": [{"b": null}]}}),
        ] {
            let plain = Outer::deserialize(&value).unwrap();
            assert_eq!(Outer::deserialize(Strict(value.clone())).unwrap(), plain, "{value}");
            let text = value.to_string();
            let mut json = serde_json::Deserializer::from_str(&text);
            assert_eq!(Outer::deserialize(Strict(&mut json)).unwrap(), plain, "{value} as a text");
        }
    }

    #[test]
    fn texts_stay_as_they_are_spelled() {
        let text = r#"{"list":[{"data":{ "n":1.00 },"more":[1e2]},{"data":null,"more":null}]}"#;
        let mut json = serde_json::Deserializer::from_str(text);
        let kept = Kept::deserialize(Strict(&mut json)).unwrap();
        let spelled: Vec<_> =
            kept.list.iter().map(|one| (one.data.get(), one.more.as_deref().map(RawValue::get))).collect();
        assert_eq!(spelled, [(r#"{ "n":1.00 }"#, Some("[1e2]")), ("null", None)]);
    }

    /// What is not is refused, and in words.
    #[test]
    fn what_is_refused() {
        let inner = "an object (fields: `a`, `b`) is wanted here";
        let choice = "one of `left`, `right` is wanted here";
        for (value, says) in [
            (json!({"inner": [1]}), format!("{inner}, not an array")),
            (json!({"inner": "x"}), format!("{inner}, not a text")),
            (json!({"list": [[1]]}), format!("{inner}, not an array")),
            (json!({"list": [null]}), format!("{inner}, not `null`")),
            (json!({"list": {"a": 1}}), "an array is wanted here, not an object".to_owned()),
            (json!({"named": {"x": [1, 2]}}), format!("{inner}, not an array")),
            (json!({"named": [[1]]}), "an object is wanted here, not an array".to_owned()),
            (json!({"any": [1]}), "an object is wanted here, not an array".to_owned()),
            (json!({"any": null}), "an object is wanted here, not `null`".to_owned()),
            (json!({"some": [[1]]}), format!("{inner}, not an array")),
            (json!({"some": 7}), "an object or a list of objects is wanted here, not `7`".to_owned()),
            (json!({"tagged": ["one", "x"]}), "an object is wanted here, not an array".to_owned()),
            (json!({"tagged": true}), "an object is wanted here, not `true`".to_owned()),
            (json!({"tagged": {"type": "one", "text": 1}}), "a text is wanted here, not `1`".to_owned()),
            (json!({"choice": {"right": null}}), format!("{choice}, not an object")),
            (json!({"choice": ["right"]}), format!("{choice}, not an array")),
            (json!({"choice": 1}), format!("{choice}, not `1`")),
            (json!({"choice": "up"}), "unknown variant `up`, expected `left` or `right`".to_owned()),
            (json!({"flag": 0}), "`true` or `false` is wanted here, not `0`".to_owned()),
            (json!({"share": "x, expected y"}), "a number is wanted here, not a text".to_owned()),
            (json!({"wrapped": ["x"]}), "a text is wanted here, not an array".to_owned()),
            (json!({"inner": {"a": 10.5}}), "a whole number from 0 to 255 is wanted here, not `10.5`".to_owned()),
            (json!({"inner": {"a": -1}}), "a whole number from 0 to 255 is wanted here, not `-1`".to_owned()),
            (json!({"inner": {"a": 256}}), "a whole number from 0 to 255 is wanted here, not `256`".to_owned()),
            (
                json!({"inner": {"a": 1, "b": -2}}),
                "a whole number from 0 to 4294967295 is wanted here, not `-2`".to_owned(),
            ),
            (json!({"inner": {}}), "missing field `a`".to_owned()),
        ] {
            let error = Outer::deserialize(Strict(value.clone())).unwrap_err();
            assert_eq!(in_words(&error.to_string()), says, "{value}");
            let text = value.to_string();
            let error = Outer::deserialize(Strict(&mut serde_json::Deserializer::from_str(&text))).unwrap_err();
            assert!(error.is_data(), "{value} is JSON: {error}");
        }
    }
}
