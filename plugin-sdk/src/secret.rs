//! A config field that holds a secret.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A secret as a plugin sees it: a placeholder of random characters.
///
/// Put it where the real one belongs, in a URL, a header or a body; the host swaps it in after the
/// plugin is done, and only for a host the manifest names or that of the subscription's URL. It can't
/// be hashed, decoded or split, since it is not the secret.
///
/// In the config's schema it is a string marked `"writeOnly": true`, so the gateway encrypts it and
/// never reads it back.
///
/// ```
/// use hookmill_plugin::{Request, Secret};
///
/// let token: Secret = serde_json::from_str(r#""hm_placeholder_1""#).unwrap();
/// let request = Request::json("{}").header("authorization", format!("Bearer {token}"));
/// assert_eq!(request.headers[0].1, "Bearer hm_placeholder_1");
/// assert_eq!(format!("{token:?}"), "<secret>");
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The placeholder.
    #[must_use]
    pub fn placeholder(&self) -> &str {
        &self.0
    }

    /// True if nothing was entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}
