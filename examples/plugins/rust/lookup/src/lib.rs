//! Replaces codes by what they mean: `TODO` by `waiting`, `49` by `Germany`, a user's number by a name.
//!
//! The table is part of the config. Only the values that the path names change; the rest of the data keeps every byte,
//! white space and number spelling included, since the text is edited by span and not written anew.

use std::collections::BTreeMap;

use hookmill_plugin::json::{self, Document, Kind, Node};
use hookmill_plugin::path::Path;
use hookmill_plugin::prelude::*;
use serde_json::Value;

/// What is looked up, and what becomes of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the codes stand: `$.data.status`, or `items[*].country` within the data.
    at: String,
    /// What each code becomes: a text, a number, or any other JSON. A number or a truth value is found by how it is written.
    table: BTreeMap<String, Value>,
    /// What happens to a code that the table does not have.
    #[serde(default)]
    unknown: Unknown,
}

/// What happens to a code that the table does not have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    /// It stays.
    #[default]
    Keep,
    /// The event is dropped.
    Drop,
    /// The delivery fails, so that somebody completes the table.
    Fault,
}

/// The transform.
#[derive(Debug)]
pub struct Lookup;

impl Transform for Lookup {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("lookup", env!("CARGO_PKG_VERSION"))
        .title("Look up")
        .description("Replaces codes in the data by what a table says they mean.");

    fn transform(mut event: Event, config: &Config) -> Result<Decision, Fault> {
        let path = Path::parse(&config.at)?;
        let within = path.within("data").ok_or_else(|| {
            Fault::new(format!("at: `{path}` leads out of the data, which is all that can be looked up in"))
        })?;
        let document = Document::parse(event.data.as_str())?;
        let places = within.select(document.root());
        let found = |node: Node<'_>| config.table.get(code(node).as_str());
        let unknown = places.iter().filter_map(|&index| document.node(index)).find(|&node| found(node).is_none());
        match (unknown, &config.unknown) {
            (Some(node), Unknown::Drop) => return Ok(Decision::dropped(format!("{} is not in the table", node.raw()))),
            (Some(node), Unknown::Fault) => {
                return Err(Fault::new(format!("table: add {}, which this event has at `{path}`", node.raw())));
            }
            _ => {}
        }
        event.data = json::replace(&document, &places, |node| {
            found(node).map_or_else(|| node.raw().to_owned(), Value::to_string)
        });
        Ok(event.into())
    }
}

hookmill_plugin::transform!(Lookup);

/// What is looked up for a value: a text's characters, anything else as it is written.
fn code(node: Node<'_>) -> String {
    match node.kind() {
        Kind::String => node.as_str().unwrap_or_default().into_owned(),
        _ => node.raw().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookmill_plugin::testing;

    #[test]
    fn golden() {
        testing::transform::<Lookup>("golden");
        testing::manifest::<Config>(&Lookup::MANIFEST);
    }
}
