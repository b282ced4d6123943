//! A list that may be written as its only item: `{…}` for `[{…}]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For `#[serde(with = "one_or_many")]`: one item alone is written without a list.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

/// For `#[serde(with = "one_or_many")]`: an object, or a list of them.
///
/// # Errors
/// Those of the item, with their places.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(Items(PhantomData))
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct List(#[serde(with = "super")] Vec<Item>);

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        a: u8,
    }

    #[test]
    fn one_is_written_alone() {
        for (value, len) in [(json!({"a": 1}), 1), (json!([{"a": 1}, {"a": 2}]), 2), (json!([]), 0)] {
            let list: List = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(list.0.len(), len);
            assert_eq!(serde_json::to_value(&list).unwrap(), value);
        }
        let one: List = serde_json::from_value(json!([{"a": 1}])).unwrap();
        assert_eq!(serde_json::to_value(&one).unwrap(), json!({"a": 1}));
    }

    #[test]
    fn mistakes_keep_their_places() {
        for (value, place) in [(json!({"b": 1}), "b"), (json!([{"a": 1}, {"b": 1}]), "[1].b"), (json!(7), ".")] {
            let error = serde_path_to_error::deserialize::<Value, List>(value).unwrap_err();
            assert_eq!(error.path().to_string(), place);
        }
    }
}
