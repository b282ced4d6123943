//! JSON against a schema: a plugin's config, and a profile's samples.

use serde_json::Value;

use super::kind::validator;
use crate::domain::FieldError;
use crate::domain::pointer::escape;

/// Every mistake in `config`, with its place below `at`; at most sixteen.
#[must_use]
pub fn check(schema: &Value, config: &Value, at: &str) -> Vec<FieldError> {
    let validator = match validator(schema) {
        Ok((validator, _)) => validator,
        Err(error) => return vec![FieldError::new(at, format!("the schema itself is not valid: {}", error.detail))],
    };
    validator
        .iter_errors(config)
        // A value may be a secret: masked, it is not repeated in the message.
        .map(|error| FieldError::new(format!("{at}{}", error.instance_path()), error.masked().to_string()))
        .take(16)
        .collect()
}

/// JSON Pointers of the config fields that a schema marks `"writeOnly": true`, through objects and local
/// references. The schema is one that [`validator`] took, so its parts are not too many.
pub(super) fn secret_fields(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, schema, String::new(), 0, &mut found);
    found
}

fn walk(root: &Value, schema: &Value, at: String, depth: usize, found: &mut Vec<String>) {
    if depth > 8 {
        return;
    }
    if schema.get("writeOnly") == Some(&Value::Bool(true)) {
        if !found.contains(&at) {
            found.push(at);
        }
        return;
    }
    if let Some(target) =
        schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')).and_then(|p| root.pointer(p))
    {
        walk(root, target, at.clone(), depth + 1, found);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            walk(root, part, at.clone(), depth + 1, found);
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(root, property, format!("{at}/{}", escape(name)), depth + 1, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_through_references_and_options() {
        let schema = json!({
            "$defs": {"Token": {"type": "string", "writeOnly": true}},
            "properties": {
                "text": {"type": "string"},
                "token": {"anyOf": [{"$ref": "#/$defs/Token"}, {"type": "null"}]},
                "deep": {"type": "object", "properties": {"a/b": {"writeOnly": true}}}
            }
        });
        assert_eq!(secret_fields(&schema), ["/token", "/deep/a~1b"]);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"properties": {"next": {"$ref": "#"}, "key": {"writeOnly": true}}});
        assert!(secret_fields(&schema).contains(&"/key".to_owned()));
    }

    #[test]
    fn messages_do_not_repeat_values() {
        let errors = check(&json!({"properties": {"token": {"type": "string"}}}), &json!({"token": 987_654_321}), "/c");
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].pointer, "/c/token");
        assert!(!errors[0].detail.contains("987654321"), "{}", errors[0].detail);
    }
}
