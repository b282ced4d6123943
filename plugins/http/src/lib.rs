//! Any HTTP API: method, URL, headers and body from templates.
//!
//! **What is promised.** Values from an event stay values. In the URL they are percent-encoded, so they
//! can't add a path segment or a parameter; in a header a line break is refused; in a JSON body a string is
//! escaped between its quotes, and a body that is not JSON after all is a fault that says where, not a
//! request. With `fields` there is nothing to escape: each value keeps its type.
//!
//! **What is not.** This connector knows nothing of the API behind the URL: the host's rule or the
//! subscription's `success` decides what an answer means, and an unknown outcome is tried again, which is
//! right for an API that tells a repeated request by an id. Put `{{ id }}` where it looks for one.
//! Credentials belong in the subscription's `auth` or `secret_headers`.

use hookmill_plugin::cut;
use hookmill_plugin::json::{Document, quote};
use hookmill_plugin::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// The settings of an HTTP subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// POST unless something else is said.
    #[serde(default)]
    #[schemars(schema_with = "method_schema")]
    method: Option<String>,
    /// Where to, a template, instead of the subscription's URL: `https://api.example.com/players/{{ data.player_id }}`. Values are percent-encoded.
    #[serde(default)]
    url: Option<String>,
    /// Header to template. `content-type` is `application/json` unless it stands here.
    #[serde(default)]
    #[schemars(schema_with = "headers_schema")]
    headers: Map<String, Value>,
    /// The body, a template. In JSON write texts between quotes, `"{{ data.name }}"`, and everything else bare, `{{ data.amount | json }}`. With neither body nor fields the event is sent.
    #[serde(default)]
    body: Option<String>,
    /// A JSON object instead of a body: each text in it is a template, and one that is a single expression keeps the value's type.
    #[serde(default)]
    #[schemars(schema_with = "fields_schema")]
    fields: Option<Map<String, Value>>,
}

fn method_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["GET", "POST", "PUT", "PATCH", "DELETE", null], "default": null })
}

fn headers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, "default": {} })
}

fn fields_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "null"], "default": null })
}

/// The connector.
#[derive(Debug)]
pub struct Http;

impl Connector for Http {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::connector("http", env!("CARGO_PKG_VERSION"))
        .title("HTTP request")
        .description(
            "Calls any HTTP API. Method, URL, headers and body are templates over the event; or map fields to values \
             and get a JSON object. Values are escaped for where they stand.",
        )
        .interprets(Interprets::Never)
        .on_unknown(OnUnknown::Retry);

    fn render(event: Event, config: &Config) -> Result<Outcome, Fault> {
        let templates = Templates::new(&event, Escape::NONE)?;
        let method = config.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
        if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
            return Err(Fault::new(format!("method: `{method}` is none of GET, POST, PUT, PATCH and DELETE")));
        }
        let mut request = Request::json("");
        for (name, template) in &config.headers {
            let (name, value) = header(&templates, name, template)?;
            if name == "content-type" {
                request.content_type = value;
            } else {
                request.headers.push((name, value));
            }
        }
        if let Some(url) = config.url.as_deref().filter(|url| !url.is_empty()) {
            request.url = Some(address(&templates.escaped(Escape::URL), url)?);
        }
        let body = body(&templates, &event, config, &method, &request.content_type)?;
        request.method = method;
        request.body = hookmill_plugin::Payload::Text(body);
        Ok(request.into())
    }
}

hookmill_plugin::connector!(Http, emptied);

fn header(templates: &Templates, name: &str, template: &Value) -> Result<(String, String), Fault> {
    let field = format!("headers/{name}");
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Fault::new(format!("{field}: not a header's name")));
    }
    let template = template.as_str().ok_or_else(|| Fault::new(format!("{field}: must be a text")))?;
    let value = templates.text(&field, template)?;
    if value.contains(['\r', '\n', '\0']) {
        return Err(Fault::new(format!("{field}: a line break in a header; the event's value has one")));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn address(templates: &Templates, template: &str) -> Result<String, Fault> {
    let url = templates.text("url", template.trim())?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !url.contains(|char: char| char.is_whitespace() || char.is_control()) => {
            Ok(url)
        }
        _ => Err(Fault::new(format!(
            "url: `{}` is not an absolute URL; begin the template with `https://` and the host, since values are percent-encoded",
            cut(url, 120)
        ))),
    }
}

fn body(
    templates: &Templates,
    event: &Event,
    config: &Config,
    method: &str,
    content_type: &str,
) -> Result<String, Fault> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || essence.ends_with("+json");
    match (&config.body, &config.fields) {
        (Some(_), Some(_)) => Err(Fault::new("body: give either `body` or `fields`, not both")),
        (Some(template), None) => {
            let escape = match essence.as_str() {
                _ if json => Escape::JSON,
                "application/x-www-form-urlencoded" => Escape::URL,
                "text/html" | "text/xml" | "application/xml" => Escape::HTML,
                xml if xml.ends_with("+xml") => Escape::HTML,
                _ => Escape::NONE,
            };
            let text = templates.escaped(escape).text("body", template)?;
            if json && !text.trim().is_empty() {
                check_json(&text)?;
            }
            Ok(text)
        }
        (None, Some(_)) if !json => {
            Err(Fault::new(format!("fields: make a JSON object, and the content type is `{content_type}`; use `body`")))
        }
        (None, Some(fields)) => {
            let members: Result<Vec<String>, Fault> = fields
                .iter()
                .map(|(name, value)| {
                    Ok(format!("{}:{}", quote(name), templates.json_value(&format!("fields/{name}"), value)?))
                })
                .collect();
            Ok(format!("{{{}}}", members?.join(",")))
        }
        (None, None) if method == "GET" || method == "DELETE" => Ok(String::new()),
        (None, None) => Ok(format!(
            r#"{{"id":{},"type":{},"timestamp":{},"data":{}}}"#,
            quote(&event.id),
            quote(&event.type_),
            quote(&event.timestamp),
            event.data
        )),
    }
}

/// Says where a body stops being JSON, in the text that came of the template.
fn check_json(text: &str) -> Result<(), Fault> {
    let Err(fault) = Document::parse(text) else { return Ok(()) };
    let at: usize = fault.message.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let near = text.get(at.saturating_sub(20)..).or_else(|| text.get(at..)).unwrap_or(text);
    Err(Fault::new(format!(
        "body: not JSON for this event: {}, near `{}`; between quotes write \"{{{{ data.x }}}}\", elsewhere {{{{ data.x | json }}}}",
        fault.message.trim_start_matches("json: "),
        cut(near.to_owned(), 40)
    )))
}

#[cfg(test)]
mod tests {
    use hookmill_plugin::{Connector, testing};

    #[test]
    fn golden() {
        testing::connector::<super::Http>("golden");
    }

    #[test]
    fn manifest() {
        testing::manifest::<super::Config>(&super::Http::MANIFEST);
    }
}
