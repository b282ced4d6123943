//! What is done to a value on its way into a text.

use crate::json::{Kind, Node, escape_into};

/// How values are escaped for a target. Literal text of a template is never touched.
///
/// A connector with rules of its own makes one:
///
/// ```
/// use hookmill_plugin::template::Escape;
///
/// const STARS: Escape = Escape::new(|text, out| out.push_str(&text.replace('*', "\\*")));
/// ```
#[derive(Clone, Copy)]
pub struct Escape {
    write: Option<fn(&str, &mut String)>,
    /// Whether objects and arrays, which print as JSON, are escaped as text is.
    containers: bool,
}

impl Escape {
    /// Not at all.
    pub const NONE: Self = Self { write: None, containers: false };

    /// For HTML and XML, text and attributes.
    pub const HTML: Self = Self::new(html);

    /// For one part of a URL, a path segment or a query's value: everything but letters, digits and
    /// `-._~` becomes `%XX`.
    pub const URL: Self = Self::new(url);

    /// For JSON text: strings as they stand between quotes, so `{"name":"{{ data.name }}"}` stays JSON
    /// whatever the name is. Numbers, objects and arrays print as JSON, without quotes.
    pub const JSON: Self = Self { write: Some(escape_into), containers: false };

    /// With a function that appends the escaped form of a text.
    #[must_use]
    pub const fn new(write: fn(&str, &mut String)) -> Self {
        Self { write: Some(write), containers: true }
    }

    /// True for [`NONE`](Self::NONE).
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.write.is_none()
    }

    /// True for [`JSON`](Self::JSON).
    pub(super) const fn is_json(self) -> bool {
        self.write.is_some() && !self.containers
    }

    /// Appends `text`, escaped.
    pub fn text(self, text: &str, out: &mut String) {
        match self.write {
            Some(write) => write(text, out),
            None => out.push_str(text),
        }
    }

    /// Appends the JSON text of an object or array.
    pub fn container(self, json: &str, out: &mut String) {
        if self.containers { self.text(json, out) } else { out.push_str(json) }
    }

    /// Appends what a JSON value prints.
    pub fn node(self, node: Node<'_>, out: &mut String) {
        match node.kind() {
            Kind::Null => {}
            Kind::String => self.text(&node.as_str().unwrap_or_default(), out),
            Kind::Object | Kind::Array => self.container(node.raw(), out),
            _ => out.push_str(node.raw()),
        }
    }
}

fn html(text: &str, out: &mut String) {
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
}

fn url(text: &str, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}
