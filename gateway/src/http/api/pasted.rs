//! A raw request, as somebody pastes it into JSON.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::domain::FieldError;
use crate::domain::pointer::escape;

/// Headers by name, each with a text or a list of texts; or a list of pairs of a name and a text.
pub(super) fn headers(wanted: &Value) -> Result<HeaderMap, FieldError> {
    let mut headers = HeaderMap::new();
    match wanted {
        Value::Null => {}
        Value::Object(named) => {
            for (name, value) in named {
                let pointer = format!("/headers/{}", escape(name));
                let values = match value {
                    Value::Array(values) => values.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for value in values {
                    add(&mut headers, name, value, &pointer)?;
                }
            }
        }
        Value::Array(pairs) => {
            for (at, pair) in pairs.iter().enumerate() {
                let pointer = format!("/headers/{at}");
                match pair.as_array().map(Vec::as_slice) {
                    Some([Value::String(name), value]) => add(&mut headers, name, value, &pointer)?,
                    _ => return Err(FieldError::new(pointer, "a header in a list is a pair, [\"name\", \"value\"]")),
                }
            }
        }
        _ => return Err(FieldError::new("/headers", "an object of headers by name, or a list of pairs")),
    }
    Ok(headers)
}

fn add(headers: &mut HeaderMap, name: &str, value: &Value, pointer: &str) -> Result<(), FieldError> {
    let wrong = |detail: &str| FieldError::new(pointer, detail);
    let name = HeaderName::try_from(name).map_err(|_| wrong("not a header name"))?;
    let text = value.as_str().ok_or_else(|| wrong("a header's value is a text, or a list of texts"))?;
    headers.append(name, HeaderValue::from_str(text).map_err(|_| wrong("not a header's value"))?);
    Ok(())
}

/// The body, given as text or as base64 of its bytes; empty if it is given as neither.
pub(super) fn body(text: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, FieldError> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(FieldError::new("/body_base64", "give `body` or `body_base64`, not both")),
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| FieldError::new("/body_base64", "not base64")),
        (None, None) => Ok(Vec::new()),
    }
}
