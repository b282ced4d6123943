//! Secrets in the configs of a subscription's plugins. No gateway tells them, so where they are needed to go on,
//! something else stands for them.

use serde_json::Value;

use super::remote::plain;
use crate::domain::pointer::insert;

/// What stands for each: a text that is found again where it turns up, and that no secret is likely to be.
const PLACEHOLDER: &str = "hookmill-placeholder";

/// Puts a placeholder into the configs of a subscription's transforms, as it was read, wherever a secret is set; and of
/// its `connector`, if nothing is to be sent. Gives the places, as the subscription's `secrets_set` has them.
pub(super) fn put_placeholders(subscription: &mut Value, connector: bool) -> Vec<String> {
    let set = subscription.get("secrets_set").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut places = Vec::new();
    for place in set.iter().filter_map(Value::as_str) {
        let Some(pointer) = place.strip_prefix('#') else { continue };
        let of_a_step = pointer.starts_with("/transforms/") || connector && pointer.starts_with("/connector/");
        if of_a_step && insert(subscription, pointer, Value::from(PLACEHOLDER)) {
            places.push(place.to_owned());
        }
    }
    places
}

/// What is said of them.
pub(super) fn notice(places: &[String]) -> String {
    plain(&format!("secrets can't be read, so a placeholder stands for each of: {}", places.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_set_in_configs() {
        let mut subscription = json!({
            "transforms": [{"plugin": "a", "config": {"n": 1}}, {"plugin": "b", "config": {"deep": {}}}],
            "connector": {"name": "c", "config": {}, "candidate": {"plugin": "c@2.0.0", "config": {}}},
            "auth": {"type": "bearer"},
            "secrets_set": [
                "#/auth/token", "#/connector/candidate/config/token", "#/connector/config/a~1b", "#/secret",
                "#/transforms/1/config/deep/key", "#/transforms/2/config/gone", "#/url"
            ],
        });
        assert_eq!(put_placeholders(&mut subscription.clone(), false), ["#/transforms/1/config/deep/key"]);
        let places = put_placeholders(&mut subscription, true);
        let wanted =
            ["#/connector/candidate/config/token", "#/connector/config/a~1b", "#/transforms/1/config/deep/key"];
        assert_eq!(places, wanted);
        assert_eq!(subscription["transforms"][0]["config"], json!({"n": 1}));
        assert_eq!(subscription["transforms"][1]["config"], json!({"deep": {"key": PLACEHOLDER}}));
        assert_eq!(subscription["connector"]["config"], json!({"a/b": PLACEHOLDER}));
        assert_eq!(subscription["connector"]["candidate"]["config"], json!({"token": PLACEHOLDER}));
        assert_eq!(subscription["auth"], json!({"type": "bearer"}));
        assert_eq!(put_placeholders(&mut json!({"transforms": [], "connector": null}), true), Vec::<String>::new());
    }
}
