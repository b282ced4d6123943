//! Zapier: a flat body for a Catch Hook, whose fields are then easy to pick in the editor.
//!
//! **What is promised.** The body is one flat object: Zapier would start one Zap run per element of an
//! array. Without `fields` it has `id`, `type`, `timestamp`, `source` and every value of the event's data
//! under its path, joined by `__` as Zapier's own editor writes it; numbers keep their type and spelling.
//! `id` is there whatever the config says, since Zapier tells events apart by it where it can.
//!
//! **What is not.** A 200 says that Zapier has it, not that the Zap ran. A hook has no other duplicate
//! protection, so a request that may or may not have arrived is sent again: a Zap can drop a second
//! event by its `id`, and nobody can bring back one that was never sent.

use std::collections::HashSet;

use hookmill_plugin::json::{Kind, Node, quote};
use hookmill_plugin::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// The settings of a Zapier subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name to template, instead of the flattened event: `{"Customer": "{{ data.customer.name }}"}`. A template that is one expression keeps the value's type.
    #[serde(default)]
    #[schemars(schema_with = "fields_schema")]
    fields: Option<Map<String, Value>>,
}

fn fields_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "null"], "additionalProperties": { "type": "string" }, "default": null })
}

/// The connector.
#[derive(Debug)]
pub struct Zapier;

impl Connector for Zapier {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::connector("zapier", env!("CARGO_PKG_VERSION"))
        .title("Zapier")
        .description(
            "Starts a Zap for every event. Make a Zap with the trigger Webhooks by Zapier, Catch Hook, and paste \
             its URL as the subscription's URL. The event arrives as flat fields, or as the fields you map.",
        )
        .interprets(Interprets::Errors)
        .idempotency("id")
        .on_unknown(OnUnknown::Retry)
        .rate(30, 1000);

    fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
        let templates = Templates::new(&event, Escape::NONE)?;
        let mut body = Flat::default();
        match config.fields.as_ref().filter(|fields| !fields.is_empty()) {
            Some(fields) => {
                for (name, template) in fields {
                    let field = format!("fields/{name}");
                    let template = template.as_str().ok_or_else(|| Fault::new(format!("{field}: must be a text")))?;
                    body.put(name, &templates.json(&field, template)?);
                }
                if !body.has("id") {
                    body.put("id", &quote(&event.id));
                }
            }
            None => {
                for (name, value) in [
                    ("id", &event.id),
                    ("type", &event.type_),
                    ("timestamp", &event.timestamp),
                    ("source", &event.source),
                ] {
                    body.put(name, &quote(value));
                }
                if let Some(data) = templates.document().root().get("data") {
                    body.flatten("", data);
                }
            }
        }
        Ok(Request::json(body.finish()).into())
    }

    fn interpret(response: &Response, _: &Config) -> Verdict {
        match response.status {
            200..300 => Verdict::Delivered,
            410 => {
                Verdict::Gone("the Zap was turned off or deleted (410); turn it on and paste its new URL".to_owned())
            }
            // Zapier counts requests by user as well as by hook.
            429 => response.retry(Scope::Endpoint),
            413 => Verdict::Rejected("the event is larger than the 10 MB that Zapier takes (413)".to_owned()),
            // Zapier: retry anything else that is not a 200.
            _ => response.retry(Scope::Endpoint),
        }
    }
}

hookmill_plugin::connector!(Zapier, emptied);

/// A flat JSON object under construction; the first of two equal names wins.
#[derive(Default)]
struct Flat {
    members: Vec<String>,
    names: HashSet<String>,
}

impl Flat {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn put(&mut self, name: &str, json: &str) {
        if self.names.insert(name.to_owned()) {
            self.members.push(format!("{}:{json}", quote(name)));
        }
    }

    fn flatten(&mut self, prefix: &str, node: Node<'_>) {
        let (object, array) = (node.kind() == Kind::Object, node.kind() == Kind::Array);
        if !object && !array || node.children().next().is_none() {
            // A name of the envelope stays the envelope's: data's own `id` moves aside.
            let name = match prefix {
                "" => "data".to_owned(),
                "id" | "type" | "timestamp" | "source" => format!("data__{prefix}"),
                name => name.to_owned(),
            };
            self.put(&name, if object || array { "null" } else { node.raw() });
            return;
        }
        for (at, child) in node.children().enumerate() {
            let name = child.key().map_or_else(|| at.to_string(), |key| key.into_owned());
            let path = if prefix.is_empty() { name } else { format!("{prefix}__{name}") };
            self.flatten(&path, child);
        }
    }

    fn finish(self) -> String {
        format!("{{{}}}", self.members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use hookmill_plugin::testing;

    #[test]
    fn golden() {
        testing::connector::<super::Zapier>("golden");
    }

    #[test]
    fn manifest() {
        testing::manifest::<super::Config>(&<super::Zapier as hookmill_plugin::Connector>::MANIFEST);
    }
}
