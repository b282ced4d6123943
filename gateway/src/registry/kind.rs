//! Event types with their schemas, compiled.
//!
//! A schema is a tenant's, and what it costs to hold data against it must be known beforehand. So it may not refer to
//! itself or to anything outside, its patterns are regular expressions that run in linear time, and what it comes to
//! with every reference written out is counted when it is saved.

use jsonschema::{Draft, PatternOptions, Validator};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::domain::pointer::escape;
use crate::domain::{CatalogueEntry, FieldError};

/// Most parts of a schema, each reference written out.
const PARTS: usize = 2_000;
/// How deep parts may lie in one another.
const DEPTH: usize = 64;
/// What a compiled pattern may take up in memory, in bytes.
const PATTERN: usize = 1 << 20;
/// Mistakes that are told of one event.
const MISTAKES: usize = 8;

/// An event type, ready to be used for every event.
pub struct EventKind {
    /// What the tenant says of it.
    pub entry: CatalogueEntry,
    schema: Option<Schema>,
}

/// A compiled schema.
struct Schema {
    validator: Validator,
    parts: usize,
}

impl EventKind {
    /// Compiles an entry.
    ///
    /// # Errors
    /// What is wrong with the schema, with its place.
    pub(super) fn compile(entry: CatalogueEntry) -> Result<Self, Vec<FieldError>> {
        let schema = entry.schema.as_ref().map(Schema::compile).transpose();
        let below = |error: FieldError| FieldError::new(format!("/schema{}", error.pointer), error.detail);
        Ok(Self { schema: schema.map_err(|error| vec![below(error)])?, entry })
    }

    /// An entry whose schema no longer compiles: it is shown, and nothing is held against it.
    pub(super) fn unchecked(entry: CatalogueEntry) -> Self {
        Self { entry, schema: None }
    }

    /// Holds the JSON text of an event's data against the schema, if there is one.
    ///
    /// # Errors
    /// Every mistake, up to eight, with its place in the data.
    pub fn check(&self, data: &str) -> Result<(), Vec<FieldError>> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let value: Value = serde_json::from_str(data)
            .map_err(|error| vec![FieldError::new("", format!("it can't be held against the schema: {error}"))])?;
        let mistakes = schema.validator.iter_errors(&value).take(MISTAKES);
        let mistakes: Vec<_> =
            mistakes.map(|error| FieldError::new(error.instance_path().to_string(), shortened(&error))).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// About how much work that is: parts of the schema times bytes of data.
    #[must_use]
    pub fn cost(&self, data: &str) -> usize {
        self.schema.as_ref().map_or(0, |schema| schema.parts.saturating_mul(data.len()))
    }
}

/// The validator repeats the value, which may be a mebibyte.
fn shortened(error: &jsonschema::ValidationError<'_>) -> String {
    const MOST: usize = 200;
    let text = error.to_string();
    if text.len() <= MOST { text } else { error.masked().to_string().chars().take(MOST).collect() }
}

impl Schema {
    fn compile(schema: &Value) -> Result<Self, FieldError> {
        let (validator, parts) = validator(schema)?;
        Ok(Self { validator, parts })
    }
}

/// Compiles a schema that may be a tenant's; also gives its parts, each reference written out.
///
/// # Errors
/// What is wrong with it, or not taken, with its place.
pub(super) fn validator(schema: &Value) -> Result<(Validator, usize), FieldError> {
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err(FieldError::new("", "a JSON Schema is an object, `true` or `false`"));
    }
    let mut count = Count { root: schema, parts: 0, open: vec!["#"] };
    count.schema(schema, "", 0)?;
    let patterns = PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN);
    let options = jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns);
    let validator = options.build(schema);
    let wrong = |error: &jsonschema::ValidationError<'_>| {
        FieldError::new(error.instance_path().to_string(), format!("not a JSON Schema: {error}"))
    };
    Ok((validator.map_err(|error| wrong(&error))?, count.parts))
}

/// Goes through a schema and writes its references out.
struct Count<'a> {
    root: &'a Value,
    parts: usize,
    /// The references that are being written out.
    open: Vec<&'a str>,
}

impl<'a> Count<'a> {
    fn schema(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<(), FieldError> {
        self.parts += 1;
        if self.parts > PARTS {
            let detail = format!("the schema is too large: with every reference written out, at most {PARTS} parts");
            return Err(FieldError::new("", detail));
        }
        if depth > DEPTH {
            return Err(FieldError::new(at, format!("the schema is nested deeper than {DEPTH}")));
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            let at = format!("{at}/{}", escape(key));
            match (key.as_str(), value) {
                ("$ref", Value::String(reference)) => self.reference(reference, &at, depth)?,
                ("$dynamicRef" | "$recursiveRef" | "$dynamicAnchor" | "$recursiveAnchor", _) => {
                    return Err(FieldError::new(at, "only `$ref` to a place in the schema is taken: `#/$defs/…`"));
                }
                ("$id", _) if depth > 0 => {
                    return Err(FieldError::new(at, "a schema inside the schema can't have an `$id`"));
                }
                // Read where they are referred to, or values and no schemas.
                ("$defs" | "definitions" | "enum" | "const" | "default" | "examples", _) => {}
                ("properties" | "patternProperties" | "dependentSchemas" | "dependencies", Value::Object(named)) => {
                    for (name, part) in named {
                        self.schema(part, &format!("{at}/{}", escape(name)), depth + 1)?;
                    }
                }
                (_, Value::Object(_)) => self.schema(value, &at, depth + 1)?,
                (_, Value::Array(parts)) => {
                    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.is_object()) {
                        self.schema(part, &format!("{at}/{number}"), depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn reference(&mut self, reference: &'a str, at: &str, depth: usize) -> Result<(), FieldError> {
        let wrong = |detail: &str| FieldError::new(at, format!("`{reference}` {detail}"));
        let Some(pointer) = reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            return Err(wrong("is not a place in this schema; write `#/$defs/…`"));
        };
        let pointer = percent_decode_str(pointer).decode_utf8_lossy();
        let part = self.root.pointer(&pointer).ok_or_else(|| wrong("names nothing in this schema"))?;
        if self.open.contains(&reference) {
            return Err(wrong("leads back to itself; a schema that refers to itself is not taken"));
        }
        self.open.push(reference);
        self.schema(part, at, depth + 1)?;
        self.open.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::{Enforce, EventType, TenantId};

    fn kind(schema: Value) -> Result<EventKind, Vec<FieldError>> {
        let now = Timestamp::UNIX_EPOCH;
        EventKind::compile(CatalogueEntry {
            tenant_id: TenantId::new(now),
            name: EventType::parse("a").unwrap(),
            title: "A".into(),
            description: None,
            samples: Vec::new(),
            schema: Some(schema),
            enforce: Enforce::Reject,
            created_at: now,
            updated_at: now,
        })
    }

    #[test]
    fn mistakes_have_places_in_the_data() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {"money": {"type": "number", "minimum": 0}},
            "type": "object", "required": ["id"],
            "properties": {"id": {"type": "string", "pattern": "^o-"}, "lines": {"items": {"$ref": "#/$defs/money"}}}
        });
        let kind = kind(schema).unwrap_or_else(|errors| panic!("{errors:?}"));
        for (data, places) in [
            (r#"{"id":"o-1","lines":[1.0,2]}"#, vec![]),
            (r#"{"id":"1","lines":[1,-2,"x"]}"#, vec!["/id", "/lines/1", "/lines/2"]),
            ("{}", vec![""]),
            ("[]", vec![""]),
            ("1E400", vec![""]),
        ] {
            let found = kind.check(data).err().unwrap_or_default();
            assert_eq!(
                found.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(),
                places,
                "{data}: {found:?}"
            );
        }
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(100_000));
        assert!(kind.check(&long).unwrap_err()[0].detail.len() <= 800);
        assert_eq!(kind.cost("12"), 2 * 5);
    }

    #[test]
    fn schemas_that_are_not_taken() {
        // Each part stands for two of the next: written out it is larger than any disk.
        let mut doubling = json!({"allOf": [{"$ref": "#/$defs/0"}]});
        for n in 0..15 {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            doubling["$defs"][n.to_string()] = json!({"allOf": [next, next]});
        }
        doubling["$defs"]["15"] = json!({"type": "string"});
        let deep = (0..70).fold(json!({}), |inner, _| json!({"items": inner}));
        for (schema, place, says) in [
            (json!(1), "/schema", "an object"),
            (json!({"type": "text"}), "/schema/type", "not a JSON Schema"),
            (json!({"properties": {"a": {"minimum": "x"}}}), "/schema/properties/a/minimum", "not a JSON Schema"),
            (json!({"properties": {"a": {"pattern": "("}}}), "/schema/properties/a/pattern", "not a JSON Schema"),
            (json!({"pattern": "(?=a)b"}), "/schema/pattern", "not a JSON Schema"),
            (json!({"$ref": "https://example.com/schema"}), "/schema/$ref", "not a place in this schema"),
            (json!({"$ref": "#other"}), "/schema/$ref", "not a place in this schema"),
            (json!({"items": {"$ref": "#/$defs/a"}}), "/schema/items/$ref", "names nothing"),
            (json!({"properties": {"next": {"$ref": "#"}}}), "/schema/properties/next/$ref", "refers to itself"),
            (json!({"$dynamicRef": "#a"}), "/schema/$dynamicRef", "only `$ref`"),
            (json!({"items": {"$id": "https://example.com/"}}), "/schema/items/$id", "can't have"),
            (json!({"properties": {"enum": doubling.clone()}, "$defs": doubling["$defs"]}), "/schema", "too large"),
            (doubling, "/schema", "too large"),
            (deep, &format!("/schema{}", "/items".repeat(65)), "deeper"),
        ] {
            let errors = kind(schema.clone()).err().unwrap_or_else(|| panic!("taken: {schema}"));
            assert_eq!(errors[0].pointer, place, "{errors:?}");
            assert!(errors[0].detail.contains(says), "{errors:?}");
        }
    }
}
