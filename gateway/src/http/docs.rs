//! The reference and the problems' pages, rendered here from the document: no script, nothing loaded from
//! elsewhere.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Shared;
use super::guard::Access;
use super::html::{self, Escaped, prose};
use super::params::Segments;
use super::problem::{Kind, Problem};
use super::route::{Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::System).needs(Access::Public);
    vec![
        row(Route::get("/v1/openapi.json", "get_openapi", "The OpenAPI document", document)).shows("application/json"),
        row(Route::get("/docs", "get_docs", "The reference", reference)).shows("text/html"),
        row(Route::get("/problems/{problem}", "get_problem", "What a problem means", problem)).shows("text/html"),
    ]
}

async fn document(State(app): State<Shared>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], app.document.json.clone()).into_response()
}

async fn problem(Segments(id): Segments<String>) -> Result<Response, Problem> {
    let kind = Kind::from_id(&id).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such problem"))?;
    let entry = kind.entry();
    let body = format!(
        "<p><a href=\"/docs\">Reference</a></p><h1>{}</h1><p class=\"soft\">HTTP status {} · <code>/problems/{}</code></p><p>{}</p>",
        Escaped(entry.title),
        entry.status.as_u16(),
        entry.id,
        prose(entry.help)
    );
    Ok(html::page(entry.title, &body, None))
}

async fn reference(State(app): State<Shared>) -> Response {
    html::page("Hookmill API", &render(&app.document.value), None)
}

/// One operation of the document.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    fn text(&self, key: &str) -> &str {
        text(self.value, key)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

// Writing into a String does not fail, so the results of `write!` are not looked at.
fn render(document: &Value) -> String {
    let operations: Vec<Operation<'_>> = entries(document, "/paths")
        // Those under another name are the same.
        .filter(|(path, _)| !path.starts_with("/v1/webhooks") && !path.starts_with("/v1/integrations"))
        .flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(method, value)| Operation { method, path, value })
        })
        .collect();
    let mut out = format!(
        "<h1>Hookmill API</h1><p>{}</p><p><a href=\"/v1/openapi.json\">OpenAPI document</a></p><nav aria-label=\"Contents\"><ul>",
        prose(document.pointer("/info/description").and_then(Value::as_str).unwrap_or_default())
    );
    for tag in items(document, "tags") {
        let name = text(tag, "name");
        let _ = write!(out, "<li><a href=\"#{0}\">{0}</a></li>", Escaped(name));
    }
    out.push_str("<li><a href=\"#schemas\">Schemas</a></li><li><a href=\"#problems\">Problems</a></li></ul></nav>");
    for tag in items(document, "tags") {
        let name = text(tag, "name");
        let _ = write!(out, "<h2 id=\"{0}\">{0}</h2><p>{1}</p>", Escaped(name), prose(text(tag, "description")));
        for operation in &operations {
            if items(operation.value, "tags").any(|tag| tag == name) {
                render_operation(&mut out, operation);
            }
        }
    }
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in entries(document, "/components/schemas") {
        render_schema(&mut out, name, schema);
    }
    out.push_str("<h2 id=\"problems\">Problems</h2><ul>");
    for kind in Kind::ALL {
        let entry = kind.entry();
        let _ = write!(
            out,
            "<li>{} <a href=\"/problems/{}\">{}</a></li>",
            entry.status.as_u16(),
            entry.id,
            Escaped(entry.title)
        );
    }
    out.push_str("</ul>");
    out
}

fn render_operation(out: &mut String, operation: &Operation<'_>) {
    let _ = write!(
        out,
        "<article id=\"{id}\"><h3><span class=\"method\">{method}</span> <code>{path}</code></h3><p>{summary}. {about}</p>",
        id = Escaped(operation.text("operationId")),
        method = Escaped(operation.method.to_uppercase()),
        path = Escaped(operation.path),
        summary = Escaped(operation.text("summary")),
        about = prose(operation.text("description")),
    );
    let parameters: Vec<&Value> = items(operation.value, "parameters").collect();
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                Escaped(text(parameter, "name")),
                Escaped(text(parameter, "in")),
                prose(text(parameter, "description"))
            );
        }
        out.push_str("</table>");
    }
    let bodies: Vec<String> = entries(operation.value, "/requestBody/content").map(content).collect();
    if !bodies.is_empty() {
        let _ = write!(out, "<p>Takes {}.</p>", bodies.join(", or "));
    }
    out.push_str("<table><tr><th>Answer</th><th></th></tr>");
    for (status, response) in entries(operation.value, "/responses") {
        let bodies: Vec<String> = entries(response, "/content")
            .filter(|(media, _)| *media != "application/problem+json")
            .map(content)
            .collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{} {}</td></tr>",
            Escaped(status),
            prose(text(response, "description")),
            bodies.join(", ")
        );
    }
    out.push_str("</table></article>");
}

/// A content type with its schema.
fn content((media, content): (&String, &Value)) -> String {
    let shape = content.get("schema").map(shape).unwrap_or_default();
    format!("<code>{}</code> {shape}", Escaped(media))
}

fn render_schema(out: &mut String, name: &str, schema: &Value) {
    let _ = write!(
        out,
        "<article id=\"schema-{0}\"><h3>{0}</h3><p>{1}</p>",
        Escaped(name),
        prose(text(schema, "description"))
    );
    let mut rows = String::new();
    let parts: Vec<&Value> = std::iter::once(schema).chain(items(schema, "allOf")).collect();
    for part in parts {
        if part.get("$ref").is_some() {
            let _ = write!(rows, "<tr><td colspan=\"3\">all of {}</td></tr>", shape(part));
        }
        let required: Vec<&str> = items(part, "required").filter_map(Value::as_str).collect();
        for (field, value) in entries(part, "/properties") {
            let _ = write!(
                rows,
                "<tr><td><code>{}</code></td><td>{}{}</td><td>{}</td></tr>",
                Escaped(field),
                shape(value),
                if required.contains(&field.as_str()) { "" } else { " <span class=\"soft\">optional</span>" },
                prose(text(value, "description"))
            );
        }
    }
    match rows.is_empty() {
        true => {
            let _ = write!(out, "<p>{}</p>", shape(schema));
        }
        false => {
            let _ = write!(out, "<table>{rows}</table>");
        }
    }
    out.push_str("</article>");
}

/// A schema in a few words, with links.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        let options: Vec<String> = items(schema, key).map(shape).collect();
        if !options.is_empty() {
            return options.join(" or ");
        }
    }
    let word = match schema.get("type") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any JSON".to_owned(),
    };
    match schema.get("items") {
        Some(items) => format!("array of {}", shape(items)),
        None => Escaped(word).to_string(),
    }
}
