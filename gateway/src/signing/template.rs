//! Templates: literal text and placeholders, parsed once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::{HeaderMap, HeaderName};

/// The longest template; the longest known in use has 30 characters.
const MAX_LEN: usize = 512;

/// A place in a template where a part of the request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// The body, byte for byte.
    Body,
    /// The time of signing, as it is written on the request.
    Timestamp,
    /// The event's id.
    Id,
    /// The parameters of a form, sorted; see [`form`].
    Form,
    /// The configured URL.
    Url,
    /// The HTTP method.
    Method,
    /// The encoded signature.
    Signature,
}

impl Placeholder {
    const ALL: [Self; 7] =
        [Self::Body, Self::Timestamp, Self::Id, Self::Form, Self::Url, Self::Method, Self::Signature];

    /// Its name between the braces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Timestamp => "timestamp",
            Self::Id => "id",
            Self::Form => "form",
            Self::Url => "url",
            Self::Method => "method",
            Self::Signature => "signature",
        }
    }
}

/// Literal text or a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it stands; never empty.
    Literal(Box<str>),
    /// A part of the request.
    Of(Placeholder),
    /// The value of one of its headers.
    Header(HeaderName),
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Of(placeholder) => write!(f, "{{{}}}", placeholder.name()),
            Self::Header(name) => write!(f, "{{header:{name}}}"),
        }
    }
}

/// Which placeholders a template may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) placeholders: &'static [Placeholder],
    /// Whether `{header:NAME}` is one of them.
    pub(super) headers: bool,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, placeholder) in self.placeholders.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{{{}}}", placeholder.name())?;
        }
        if self.headers { f.write_str(" {header:NAME}") } else { Ok(()) }
    }
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

impl Template {
    /// Parses `text`, in which only `allowed` placeholders may stand.
    ///
    /// A brace that belongs to no placeholder is refused: `{{ body }}`, as other template languages write
    /// it, would otherwise be signed as literal text and match nothing.
    pub(super) fn parse(text: &str, allowed: Allowed) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("must be at most {MAX_LEN} bytes long"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(brace);
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            let inner = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((name, tail)) = inner else {
                return Err(format!("has a brace without its partner; placeholders are {allowed}"));
            };
            let known = Placeholder::ALL.into_iter().find(|placeholder| placeholder.name() == name);
            pieces.push(match (known, name.strip_prefix("header:")) {
                (Some(placeholder), _) if allowed.placeholders.contains(&placeholder) => Piece::Of(placeholder),
                (None, Some(header)) if allowed.headers => Piece::Header(
                    HeaderName::from_bytes(header.as_bytes())
                        .map_err(|_| format!("has {{{name}}}, and `{header}` is no header name"))?,
                ),
                (None, None) => {
                    return Err(format!("has the unknown placeholder {{{name}}}; placeholders are {allowed}"));
                }
                _ => return Err(format!("cannot have {{{name}}} here; placeholders are {allowed}")),
            });
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(Self { text: text.into(), pieces: pieces.into() })
    }

    /// A template of these pieces.
    pub(super) fn of(pieces: Vec<Piece>) -> Self {
        let text: String = pieces.iter().map(Piece::to_string).collect();
        Self { text: text.into(), pieces: pieces.into() }
    }

    /// The pieces in order.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How often `placeholder` stands in it.
    pub(super) fn count(&self, placeholder: Placeholder) -> usize {
        self.pieces.iter().filter(|piece| **piece == Piece::Of(placeholder)).count()
    }

    /// Whether `placeholder` stands in it.
    pub(super) fn has(&self, placeholder: Placeholder) -> bool {
        self.count(placeholder) > 0
    }

    /// The literal text right after the first `placeholder`; never empty.
    pub(super) fn literal_after(&self, placeholder: Placeholder) -> Option<&str> {
        let after = self.pieces.iter().skip_while(|piece| **piece != Piece::Of(placeholder)).nth(1)?;
        match after {
            Piece::Literal(text) => Some(text),
            Piece::Of(_) | Piece::Header(_) => None,
        }
    }

    /// The headers that stand in it.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Header(name) => Some(name),
            _ => None,
        })
    }

    /// What the template stands for, slice by slice, with nothing copied.
    pub(super) fn fill<'a>(&'a self, parts: &'a Parts<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Of(placeholder) => parts.get(*placeholder),
            Piece::Header(name) => parts.header(name),
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands for `{form}`, as Twilio has it: the parameters sorted by name, and each value, sorted and without
/// repetitions, behind its name (twilio-node, `toFormUrlEncodedParam`; twilio-python, `compute_signature`).
pub(super) fn form(body: &[u8]) -> Vec<u8> {
    let mut parameters: BTreeMap<Cow<'_, str>, BTreeSet<Cow<'_, str>>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        parameters.entry(name).or_default().insert(value);
    }
    let mut text = Vec::with_capacity(body.len());
    for (name, values) in &parameters {
        for value in values {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(value.as_bytes());
        }
    }
    text
}

/// What stands for the placeholders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    pub(super) body: &'a [u8],
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a [u8],
    pub(super) form: &'a [u8],
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) url: &'a [u8],
    pub(super) method: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn get(&self, placeholder: Placeholder) -> &'a [u8] {
        match placeholder {
            Placeholder::Body => self.body,
            Placeholder::Timestamp => self.timestamp,
            Placeholder::Id => self.id,
            Placeholder::Form => self.form,
            Placeholder::Url => self.url,
            Placeholder::Method => self.method,
            Placeholder::Signature => self.signature,
        }
    }

    /// A header's value without the spaces around it; whoever fills a template has seen to it that there is one.
    fn header(&self, name: &HeaderName) -> &'a [u8] {
        self.headers
            .and_then(|headers| headers.get(name))
            .map(|value| value.as_bytes().trim_ascii())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Allowed =
        Allowed { placeholders: &[Placeholder::Body, Placeholder::Timestamp, Placeholder::Id], headers: true };

    #[test]
    fn pieces_are_told_apart() {
        let template = Template::parse("v0:{timestamp}:{body}", CONTENT).unwrap();
        let parts = Parts { body: b"\xff{id}", timestamp: b"17", ..Parts::default() };
        let filled: Vec<u8> = template.fill(&parts).flatten().copied().collect();
        // What is filled in is not read as a template again.
        assert_eq!(filled, b"v0:17:\xff{id}");
        assert_eq!(template.to_string(), "v0:{timestamp}:{body}");
        assert_eq!(template.pieces().len(), 4);
    }

    #[test]
    fn forms_are_sorted_and_unique() {
        for (body, text) in [("b=2&a=1", "a1b2"), ("a=2&a=1&a=2", "a1a2"), ("a=x+y%26&A=1&c", "A1ax y&c"), ("", "")] {
            assert_eq!(form(body.as_bytes()), text.as_bytes(), "{body}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("{bdy}", "unknown placeholder {bdy}"),
            ("{ body }", "unknown placeholder { body }"),
            ("{{body}}", "unknown placeholder {{body}"),
            ("{}", "unknown placeholder {}"),
            ("{body", "brace without its partner"),
            ("body}", "brace without its partner"),
            ("{signature}", "cannot have {signature} here"),
            ("{header:}", "is no header name"),
            ("{header:a b}", "`a b` is no header name"),
            (&"x".repeat(513), "at most 512 bytes"),
        ] {
            let error = Template::parse(text, CONTENT).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = Template::parse("{bdy}", CONTENT).unwrap_err();
        assert!(error.ends_with("{body} {timestamp} {id} {header:NAME}"), "{error}");
        let none = Allowed { headers: false, ..CONTENT };
        assert!(Template::parse("{header:x}", none).unwrap_err().contains("cannot have {header:x} here"));
    }
}
