//! JSON Pointers (RFC 6901, sections 3 and 4): their segments, and fields put in and taken out where they lead.

use serde_json::Value;

/// A name as a segment: `/` and `~` are written as `~1` and `~0`.
#[must_use]
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a segment stands for.
#[must_use]
pub fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// Puts a field where the pointer leads, in the place of any that is there; whether there is an object to put it in.
pub fn insert(value: &mut Value, pointer: &str, item: Value) -> bool {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    let Some(Value::Object(parent)) = value.pointer_mut(parent) else { return false };
    parent.insert(unescape(last), item);
    true
}

/// Takes out the field that the pointer leads to, if there is one.
pub fn remove(value: &mut Value, pointer: &str) {
    if let Some((parent, last)) = pointer.rsplit_once('/')
        && let Some(Value::Object(parent)) = value.pointer_mut(parent)
    {
        parent.shift_remove(&unescape(last));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_put_in_and_taken_out() {
        let mut value = json!({"a": {"b/c": 1, "d": 2}, "list": [0]});
        assert!(insert(&mut value, "/a/b~1c", json!(3)) && insert(&mut value, "/e", json!(4)));
        for nowhere in ["/gone/a", "/list/0", "none"] {
            assert!(!insert(&mut value, nowhere, json!(5)), "{nowhere}");
            remove(&mut value, nowhere);
        }
        assert_eq!(value, json!({"a": {"b/c": 3, "d": 2}, "list": [0], "e": 4}));
        remove(&mut value, "/a/b~1c");
        assert_eq!(value, json!({"a": {"d": 2}, "list": [0], "e": 4}));
    }

    #[test]
    fn names_survive() {
        for (name, segment) in [("plain", "plain"), ("a/b", "a~1b"), ("m~n", "m~0n"), ("~1", "~01"), ("", "")] {
            assert_eq!(escape(name), segment);
            assert_eq!(unescape(segment), name);
        }
    }
}
