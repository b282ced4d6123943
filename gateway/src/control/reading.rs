//! JSON into our own types, with the place of the mistake; merge patches; and versions.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::{Error, Result};
use crate::domain::FieldError;
use crate::domain::pointer::escape;
use crate::domain::strict::{Strict, in_words};

/// Reads a JSON text. Unparsable text and text that does not fit are told apart.
///
/// # Errors
/// `Ok(Err(_))`: it is JSON, but not of this form. `Err(_)`: it is not JSON; the sentence says where it
/// stops being it.
pub fn read_slice<T: DeserializeOwned>(
    json: &[u8],
) -> std::result::Result<std::result::Result<T, Vec<FieldError>>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let read = T::deserialize(serde_path_to_error::Deserializer::new(Strict(&mut deserializer), &mut track));
    match read {
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(Ok(value)),
            Err(error) => Err(error.to_string()),
        },
        Err(error) if error.is_data() => {
            // What does not fit may not be JSON either, further on; that is said first.
            serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|error| error.to_string())?;
            Ok(Err(vec![mistake(&track.path(), &error)]))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a JSON value.
///
/// # Errors
/// The first mistake, with its place.
pub fn read_value<T: DeserializeOwned>(value: Value) -> std::result::Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| vec![mistake(error.path(), error.inner())])
}

fn mistake(path: &Path, error: &serde_json::Error) -> FieldError {
    let (mut pointer, detail) = (pointer(path), words(error));
    // In an object that is told apart by a tag the reader stands at the object, not at the field.
    if let Some(field) = detail.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        let last = format!("/{}", escape(field));
        if !pointer.ends_with(&last) {
            pointer.push_str(&last);
        }
    }
    FieldError::new(pointer, detail)
}

/// RFC 6901, of where a reader stood.
fn pointer(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } => out.push_str(&format!("/{}", escape(key))),
            // The variant's name is a value in our types, not a place.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

/// The reader's words about JSON, without the line and column, which mean nothing beside a pointer.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) if error.line() > 0 => in_words(&text[..at]),
        _ => in_words(&text),
    }
}

/// Merges a patch into a value, as RFC 7396 says.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// What a client knows of fields it may not set (here, or yet), so that it is told why.
pub(super) fn refuse(value: &Map<String, Value>, fields: &[(&str, &str)]) -> Vec<FieldError> {
    fields
        .iter()
        .filter(|(name, _)| value.contains_key(*name))
        .map(|(name, why)| FieldError::new(format!("/{name}"), *why))
        .collect()
}

/// Said of a field that the API names and this version can't honour.
pub(super) const NOT_YET: &str = "not available in this version; leave it out";

/// Said of a field that is only ever read.
pub(super) const READ_ONLY: &str = "read-only; leave it out";

/// A name that a client gives, for use in paths.
pub(super) fn check_uid(uid: Option<&str>, errors: &mut Vec<FieldError>) {
    let fits = |uid: &str| {
        !uid.is_empty()
            && uid.len() <= 128
            && uid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if uid.is_some_and(|uid| !fits(uid)) {
        errors.push(FieldError::new("/uid", "a uid is 1 to 128 characters of A-Z a-z 0-9 . _ -"));
    }
}

/// A name for people.
pub(super) fn check_name(name: Option<&str>, errors: &mut Vec<FieldError>) {
    if name.is_some_and(|name| name.trim().is_empty() || name.len() > 200) {
        errors.push(FieldError::new("/name", "a name is 1 to 200 bytes"));
    }
}

/// Free data, at most 16 KiB of it.
pub(super) fn check_metadata(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    if serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len()) > 16 * 1024 {
        errors.push(FieldError::new("/metadata", "metadata is at most 16 KiB of JSON"));
    }
}

/// `Ok` if there are no mistakes.
pub(super) fn settle(errors: Vec<FieldError>) -> Result<()> {
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// The versions of an object that a change may start from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected(Option<Vec<String>>);

impl Expected {
    /// Any version will do.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Only these.
    #[must_use]
    pub fn one_of(versions: Vec<String>) -> Self {
        Self(Some(versions))
    }

    pub(super) fn check(&self, current: &str) -> Result<()> {
        match &self.0 {
            Some(versions) if !versions.iter().any(|version| version == current) => Err(Error::Precondition),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// The table of RFC 7396, appendix A.
    #[test]
    fn merge_patches() {
        for (target, patch, wanted) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, patch.clone());
            assert_eq!(merged, wanted, "{target} with {patch}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read into")]
    struct Outer {
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read into")]
    struct Inner {
        number: u8,
    }

    #[test]
    fn mistakes_have_places() {
        let object = |field: &str, found: &str| format!("an object (fields: `{field}`) is wanted here, not {found}");
        let byte = |found: &str| format!("a whole number from 0 to 255 is wanted here, not {found}");
        let unknown = |field: &str, one: &str| format!("unknown field `{field}`, expected `{one}`");
        for (json, at, says) in [
            (r#"{"inner":[{"number":1},{"number":"x"}]}"#, "/inner/1/number", byte("a text")),
            (r#"{"inner":[{"number":300}]}"#, "/inner/0/number", byte("`300`")),
            (r#"{"inner":[{"number":-1}]}"#, "/inner/0/number", byte("`-1`")),
            (r#"{"inner":[{"number":1.5}]}"#, "/inner/0/number", byte("`1.5`")),
            (r#"{"inner":[{"number":1,"a/b":2}]}"#, "/inner/0/a~1b", unknown("a/b", "number")),
            (r#"{"outer":1}"#, "/outer", unknown("outer", "inner")),
            (r#"{"inner":[{}]}"#, "/inner/0", "missing field `number`".to_owned()),
            (r#"{"inner":{}}"#, "/inner", "an array is wanted here, not an object".to_owned()),
            (r#"{"inner":[[1]]}"#, "/inner/0", object("number", "an array")),
            (r#"{"inner":[{"number":1},"x"]}"#, "/inner/1", object("number", "a text")),
            ("[[]]", "", object("inner", "an array")),
            ("[]", "", object("inner", "an array")),
            ("null", "", object("inner", "`null`")),
            ("7", "", object("inner", "`7`")),
            (r#""x at line 1""#, "", object("inner", "a text")),
        ] {
            let wanted = vec![FieldError::new(at, says)];
            assert_eq!(read_slice::<Outer>(json.as_bytes()).unwrap().unwrap_err(), wanted, "{json}");
            let errors = read_value::<Outer>(serde_json::from_str(json).unwrap()).unwrap_err();
            assert_eq!(errors, wanted, "{json} as a value");
        }
        for broken in ["", "{", "{\"inner\":[]} x", "nul", "[1,", "{\"outer\":1"] {
            assert!(read_slice::<Outer>(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_applied_twice_is_applied_once(target in any_json(), patch in any_json()) {
            let mut once = target;
            merge(&mut once, patch.clone());
            let mut twice = once.clone();
            merge(&mut twice, patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_slice::<Outer>(&bytes);
        }
    }
}
