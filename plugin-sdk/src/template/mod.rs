//! Texts with holes that an event fills: Jinja templates, as [minijinja](https://docs.rs/minijinja)
//! has them.
//!
//! A template sees `id`, `type`, `timestamp`, `source`, `data` and `attributes`:
//! `{{ data.customer.name }} paid {{ data.amount }}`. The rules:
//!
//! - **Missing or `null` prints nothing**, at any depth, so that an optional field needs no ceremony;
//!   `{{ data.note | default("none") }}` prints something else instead. Another name at the top, a
//!   misspelt `{{ dta.x }}` or a forgotten `data.`, is an error: it would never print anything.
//! - **Numbers print as they were written** (`100.0`, `1e2`, 20 digits); arithmetic turns them into
//!   the usual kind. Objects and arrays print as their JSON text.
//! - **Values are escaped for the target**, literal text is not: see [`Escape`]. There is no way
//!   around it, so what a stranger typed into a form can't become a mention or a link.
//! - A template that is nothing but one expression can keep its type: see [`Templates::json`].
//!
//! Filters: `abs capitalize default first float int items join json last length lower replace round
//! split title trim truncate upper urlencode`. Tests: `defined undefined none string number mapping
//! sequence`. `if`, `for`, `set` and operators are as in Jinja; `safe` is left out on purpose.
//!
//! ```
//! use hookmill_plugin::template::{Escape, Templates};
//!
//! let event = hookmill_plugin::testing::event("order.paid", r#"{"customer": "<Zoë>", "total": 100.00}"#);
//! let templates = Templates::new(&event, Escape::HTML)?;
//! let text = templates.text("text", "<b>{{ data.customer }}</b> paid {{ data.total }}{{ data.note }}")?;
//! assert_eq!(text, "<b>&lt;Zoë&gt;</b> paid 100.00");
//! assert_eq!(templates.json("total", "{{ data.total }}")?, "100.00");
//! assert!(templates.text("text", "{{ dta.total }}").unwrap_err().message.starts_with("text: line 1"));
//! # Ok::<(), hookmill_plugin::Fault>(())
//! ```

mod escape;
mod filters;
mod plain;
mod value;

use std::cell::OnceCell;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

pub use escape::Escape;
use plain::Piece;
use value::Shared;

use crate::json::{Document, quote};
use crate::{Event, Fault};

/// The names a template sees.
pub const NAMES: [&str; 6] = ["id", "type", "timestamp", "source", "data", "attributes"];

/// Renders templates over one event.
pub struct Templates {
    shared: Arc<Shared>,
    escape: Escape,
    /// Made when the first template needs it: most are plain and never do.
    environment: OnceCell<Environment<'static>>,
}

impl Event {
    /// The event as one JSON document, `data` as it was written: what templates and paths see.
    ///
    /// # Errors
    /// If the data is not JSON, which a host never lets happen.
    pub fn document(&self) -> Result<Document, Fault> {
        let mut text = String::with_capacity(self.data.len() + 256);
        for (name, value) in [
            ("{\"id\":", &self.id),
            ("\"type\":", &self.type_),
            ("\"timestamp\":", &self.timestamp),
            ("\"source\":", &self.source),
        ] {
            text.push_str(name);
            text.push_str(&quote(value));
            text.push(',');
        }
        text.push_str("\"data\":");
        text.push_str(&self.data);
        text.push_str(",\"attributes\":{");
        for (at, (name, value)) in self.attributes.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(&quote(name));
            text.push(':');
            text.push_str(&quote(value));
        }
        text.push_str("}}");
        Document::parse(text)
    }
}

impl Templates {
    /// Templates over this event, their values escaped like this.
    ///
    /// # Errors
    /// If the event's data is not JSON, which a host never lets happen.
    pub fn new(event: &Event, escape: Escape) -> Result<Self, Fault> {
        Ok(Self { shared: Arc::new(Shared::new(event.document()?)), escape, environment: OnceCell::new() })
    }

    /// The same event with other escaping.
    #[must_use]
    pub fn escaped(&self, escape: Escape) -> Self {
        Self { shared: Arc::clone(&self.shared), escape, environment: OnceCell::new() }
    }

    /// The event as templates see it.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.shared.document
    }

    /// The text of `template`. `field` is where it stands in the config, for the message of a fault.
    ///
    /// # Errors
    /// A fault with the field, the line, the reason and the line's text.
    pub fn text(&self, field: &str, template: &str) -> Result<String, Fault> {
        if let Some(pieces) = plain::pieces(template) {
            return Ok(self.plain_text(&pieces, template.len()));
        }
        self.jinja_text(template).map_err(|error| explain(field, template, &error))
    }

    /// The JSON text of `template`'s value. If it is one expression and nothing else, as
    /// `{{ data.amount }}`, the value keeps its type and its spelling, and a missing one is `null`; any
    /// other template is a string. Strings are never escaped for a target here: JSON needs none.
    ///
    /// # Errors
    /// As for [`text`](Self::text).
    pub fn json(&self, field: &str, template: &str) -> Result<String, Fault> {
        if let Some(pieces) = plain::pieces(template) {
            return Ok(match pieces.as_slice() {
                [Piece::Value(steps)] => {
                    plain::find(&self.shared.document, steps).map_or("null", |node| node.raw()).to_owned()
                }
                _ => quote(&self.bare().plain_text(&pieces, template.len())),
            });
        }
        let bare = self.bare();
        let json = match plain::single_expression(template) {
            Some(expression) => bare.jinja_json(expression),
            None => bare.jinja_text(template).map(|text| quote(&text)),
        };
        json.map_err(|error| explain(field, template, &error))
    }

    /// `value` with every string in it rendered as a template, at any depth. Names of members are kept.
    ///
    /// # Errors
    /// As for [`text`](Self::text); the field tells where in the value.
    pub fn strings(&self, field: &str, value: &serde_json::Value) -> Result<serde_json::Value, Fault> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::String(template) => Json::String(self.text(field, template)?),
            Json::Array(items) => Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.strings(&format!("{field}/{at}"), item))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(members) => Json::Object(
                members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), self.strings(&format!("{field}/{name}"), member)?)))
                    .collect::<Result<_, Fault>>()?,
            ),
            other => other.clone(),
        })
    }

    /// The JSON text of `value` with every string in it rendered as [`json`](Self::json) does, at any
    /// depth, so that values keep their types. Names of members are kept.
    ///
    /// # Errors
    /// As for [`text`](Self::text); the field tells where in the value.
    pub fn json_value(&self, field: &str, value: &serde_json::Value) -> Result<String, Fault> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::String(template) => self.json(field, template)?,
            Json::Array(items) => {
                let items: Result<Vec<_>, _> = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.json_value(&format!("{field}/{at}"), item))
                    .collect();
                format!("[{}]", items?.join(","))
            }
            Json::Object(members) => {
                let members: Result<Vec<_>, Fault> = members
                    .iter()
                    .map(|(name, member)| {
                        Ok(format!("{}:{}", quote(name), self.json_value(&format!("{field}/{name}"), member)?))
                    })
                    .collect();
                format!("{{{}}}", members?.join(","))
            }
            other => other.to_string(),
        })
    }

    fn bare(&self) -> Self {
        self.escaped(Escape::NONE)
    }

    fn plain_text(&self, pieces: &[Piece<'_>], size: usize) -> String {
        let mut out = String::with_capacity(size + 64);
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(steps) => {
                    if let Some(node) = plain::find(&self.shared.document, steps) {
                        self.escape.node(node, &mut out);
                    }
                }
            }
        }
        out
    }

    fn jinja_text(&self, template: &str) -> Result<String, Error> {
        // Jinja drops a template's last line break; here what is written is meant.
        let kept = if template.ends_with('\n') { format!("{template}\n") } else { template.to_owned() };
        let text = self.environment().render_str(&kept, self.shared.root())?;
        self.shared.check().map(|()| text)
    }

    fn jinja_json(&self, expression: &str) -> Result<String, Error> {
        let value = self.environment().compile_expression(expression)?.eval(self.shared.root())?;
        self.shared.check()?;
        self.shared.to_json(&value)
    }

    fn environment(&self) -> &Environment<'static> {
        self.environment.get_or_init(|| {
            let mut environment = Environment::empty();
            environment.set_undefined_behavior(UndefinedBehavior::Chainable);
            let escape = self.escape;
            // With any escaping at all, what a block captures counts as escaped already.
            if !escape.is_none() {
                environment.set_auto_escape_callback(|_| AutoEscape::Custom("target".into()));
            }
            let shared = Arc::clone(&self.shared);
            environment.set_formatter(move |out, _, value| {
                let mut text = String::new();
                shared.print(value, escape, &mut text)?;
                out.write_str(&text).map_err(Error::from)
            });
            filters::install(&mut environment, &self.shared, escape);
            environment
        })
    }
}

/// A template's error for the person who wrote it: where, what, and the line itself.
fn explain(field: &str, template: &str, error: &Error) -> Fault {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::UnknownFilter, detail) => {
            format!("{}; there are {}", detail.unwrap_or("unknown filter"), filters::NAMES)
        }
        (ErrorKind::UnknownTest, detail) => {
            format!("{}; there are {}", detail.unwrap_or("unknown test"), filters::TESTS)
        }
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    let line = error.line().unwrap_or(1).max(1);
    let text = template.lines().nth(line - 1).unwrap_or_default().trim();
    Fault::new(format!("{field}: line {line}: {reason}, in `{}`", crate::cut(text.to_owned(), 120)))
}

#[cfg(test)]
mod tests;
