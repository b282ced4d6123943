//! The filters and tests a template has. Each is named here, so that what nobody uses is not compiled
//! in.

use std::sync::Arc;

use minijinja::{Environment, Error, Value, filters, tests};

use super::Escape;
use super::value::Shared;

/// For the message of an unknown filter.
pub(super) const NAMES: &str = "abs, capitalize, default, first, float, int, items, join, json, last, length, lower, replace, round, \
                                split, title, trim, truncate, upper, urlencode";

/// For the message of an unknown test.
pub(super) const TESTS: &str = "defined, undefined, none, string, number, mapping, sequence";

pub(super) fn install(environment: &mut Environment<'static>, shared: &Arc<Shared>, escape: Escape) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", filters::join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("split", filters::split);
    environment.add_filter("title", filters::title);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("truncate", truncate);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("urlencode", urlencode);
    let shared = Arc::clone(shared);
    environment.add_filter("json", move |value: &Value| -> Result<Value, Error> {
        let json = shared.to_json(value)?;
        // In a JSON text it is meant as it is; elsewhere it is text like any other.
        Ok(if escape.is_json() { Value::from_safe_string(json) } else { Value::from(json) })
    });

    environment.add_test("defined", |value: &Value| !value.is_undefined());
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("sequence", tests::is_sequence);
}

/// `value`, or `other` if it is missing or null. Jinja's own lets null through, which in an event means
/// the same as missing.
fn default(value: &Value, other: Option<Value>) -> Value {
    if value.is_undefined() || value.is_none() { other.unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

/// At most `limit` characters, 255 if not said, the last of them `…` if some are missing.
fn truncate(value: &Value, limit: Option<usize>) -> String {
    let text = if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() };
    crate::cut(text, limit.unwrap_or(255))
}

/// One part of a URL. What comes out needs no escaping anywhere.
fn urlencode(value: &Value) -> Value {
    let mut out = String::new();
    if !value.is_undefined() && !value.is_none() {
        Escape::URL.text(&value.to_string(), &mut out);
    }
    Value::from_safe_string(out)
}
