//! Fields: keeps, drops, renames and sets parts of an event's data.
//!
//! In this order: `pick`, `drop`, `rename`, `set`. Paths are JSONPath (`$.data.customer.email`), or start
//! inside the data if there is no `$`. What no path names keeps its bytes: number spelling, escapes,
//! order. Templates in `set` see the event as it came in, whatever the other three have done to it.

use hookmill_plugin::json::{self, Document};
use hookmill_plugin::path::{Path, Step};
use hookmill_plugin::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// The settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keep only these parts of the data, where they are. Empty keeps all.
    #[serde(default)]
    pick: Vec<String>,
    /// Remove these.
    #[serde(default)]
    drop: Vec<String>,
    /// Old path to new path. A value that is not there stays away.
    #[serde(default)]
    #[schemars(schema_with = "rename_schema")]
    rename: Map<String, Value>,
    /// Path to value. Texts are templates; one that is a single expression keeps the value's type. `$.type`, `$.source` and `$.attributes['name']` can be set too.
    #[serde(default)]
    #[schemars(schema_with = "set_schema")]
    set: Map<String, Value>,
}

fn rename_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, "default": {} })
}

fn set_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "default": {} })
}

/// The transform.
#[derive(Debug)]
pub struct Fields;

impl Transform for Fields {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("fields", env!("CARGO_PKG_VERSION")).title("Fields").description(
        "Picks, drops, renames and sets fields of the event's data, by JSONPath. Everything else stays as it \
         was, number spelling and order included.",
    );

    fn transform(mut event: Event, config: &Config) -> Result<Decision, Fault> {
        let templates = Templates::new(&event, Escape::NONE)?;
        if !config.pick.is_empty() {
            let document = Document::parse(event.data.as_str())?;
            event.data = json::keep_only(&document, &select("pick", &document, &config.pick)?);
        }
        if !config.drop.is_empty() {
            let document = Document::parse(event.data.as_str())?;
            event.data = json::without(&document, &select("drop", &document, &config.drop)?);
        }
        for (from, to) in &config.rename {
            rename(&mut event, from, to)?;
        }
        for (path, value) in &config.set {
            set(&mut event, &templates, path, value)?;
        }
        Ok(event.into())
    }
}

hookmill_plugin::transform!(Fields, emptied);

fn in_data(field: &str, text: &str) -> Result<Path, Fault> {
    let path = Path::parse(text).map_err(|fault| Fault::new(format!("{field}: {}", fault.message)))?;
    path.within("data")
        .ok_or_else(|| Fault::new(format!("{field}: `{text}` leads outside the event's data; begin with `$.data`")))
}

fn select(field: &str, document: &Document, paths: &[String]) -> Result<Vec<usize>, Fault> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(in_data(field, path)?.select(document.root()));
    }
    Ok(found)
}

fn rename(event: &mut Event, from: &str, to: &Value) -> Result<(), Fault> {
    let field = format!("rename/{from}");
    let to = to.as_str().ok_or_else(|| Fault::new(format!("{field}: must be a path")))?;
    let (from, to) = (in_data(&field, from)?, in_data(&field, to)?);
    if from.singular().is_none() {
        return Err(Fault::new(format!("{field}: one place can be renamed; `*` and `..` may name many")));
    }
    let document = Document::parse(event.data.as_str())?;
    let found = from.select(document.root());
    let Some(node) = found.last().and_then(|&index| document.node(index)) else { return Ok(()) };
    let value = node.raw().to_owned();
    let rest = Document::parse(json::without(&document, &found))?;
    event.data = json::set(&rest, &to, &value)?;
    Ok(())
}

fn set(event: &mut Event, templates: &Templates, text: &str, value: &Value) -> Result<(), Fault> {
    let field = format!("set/{text}");
    let path = Path::parse(text).map_err(|fault| Fault::new(format!("{field}: {}", fault.message)))?;
    if let Some(inside) = path.within("data") {
        let value = templates.json_value(&field, value)?;
        event.data = json::set(&Document::parse(event.data.as_str())?, &inside, &value)?;
        return Ok(());
    }
    let template = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = templates.text(&field, &template)?;
    match path.singular().as_deref() {
        Some([Step::Key(name)]) if name == "type" => event.type_ = value,
        Some([Step::Key(name)]) if name == "source" => event.source = value,
        Some([Step::Key(parent), Step::Key(name)]) if parent == "attributes" => {
            let name = name.to_ascii_lowercase();
            event.attributes.retain(|(known, _)| *known != name);
            event.attributes.push((name, value));
        }
        _ => {
            return Err(Fault::new(format!(
                "{field}: only `$.data…`, `$.type`, `$.source` and `$.attributes['name']` can be set"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hookmill_plugin::{Transform, testing};

    #[test]
    fn golden() {
        testing::transform::<super::Fields>("golden");
    }

    #[test]
    fn manifest() {
        testing::manifest::<super::Config>(&super::Fields::MANIFEST);
    }
}
