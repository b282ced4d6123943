//! Block Kit: every text a template, every text within its limit.

use hookmill_plugin::cut;
use hookmill_plugin::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// Blocks in a message.
const BLOCKS: usize = 50;

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["array", "null"], "items": { "type": "object" }, "maxItems": BLOCKS, "default": null })
}

/// The blocks of this event.
pub(crate) fn render(templates: &Templates, blocks: &[Value]) -> Result<Value, Fault> {
    if blocks.len() > BLOCKS {
        return Err(Fault::new(format!("blocks: {} of them, and Slack takes {BLOCKS}", blocks.len())));
    }
    let plain = templates.escaped(Escape::NONE);
    blocks
        .iter()
        .enumerate()
        .map(|(at, block)| value(templates, &plain, &format!("blocks/{at}"), "", block))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

/// One value; `limit` of a text depends on the kind of block around it.
fn value(templates: &Templates, plain: &Templates, field: &str, place: &str, json: &Value) -> Result<Value, Fault> {
    Ok(match json {
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| value(templates, plain, &format!("{field}/{at}"), place, item))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => {
            let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
            Value::Object(
                members
                    .iter()
                    .map(|(name, member)| {
                        let field = format!("{field}/{name}");
                        let member = match member {
                            Value::String(template) => {
                                Value::String(text(templates, plain, &field, (place, kind, name), template)?)
                            }
                            other => value(templates, plain, &field, inner_place(place, kind, name), other)?,
                        };
                        Ok((name.clone(), member))
                    })
                    .collect::<Result<_, Fault>>()?,
            )
        }
        other => other.clone(),
    })
}

/// What the texts inside this member are.
fn inner_place<'a>(place: &'a str, kind: &'a str, name: &'a str) -> &'a str {
    match (kind, name) {
        ("section", "fields") => "field",
        ("header" | "button" | "section" | "context", _) => kind,
        _ => place,
    }
}

fn text(
    templates: &Templates,
    plain: &Templates,
    field: &str,
    (place, kind, name): (&str, &str, &str),
    template: &str,
) -> Result<String, Fault> {
    // Only `text` is read as Slack's own markup, where `<` and `&` mean something; a URL, an id or an
    // image's description is taken as it is, and escaping would break it.
    let text = if name == "text" { templates } else { plain }.text(field, template)?;
    let limit = match (place, kind, name) {
        (_, "markdown", "text") => 12_000,
        ("header", "plain_text", "text") => 150,
        ("button", "plain_text", "text") => 75,
        ("field", _, "text") => 2000,
        (_, _, "text") => 3000,
        (_, _, "alt_text" | "title") | (_, "button", "value") => 2000,
        // Cutting a URL or an id would make another of it; Slack says what is wrong.
        _ => return Ok(text),
    };
    Ok(cut(text, limit))
}
