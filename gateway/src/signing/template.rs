//! Templates: literal text and placeholders, parsed once.

use std::fmt;

/// The longest template; the longest known in use has 30 characters.
const MAX_LEN: usize = 512;

/// A place in a template where a part of the request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// The body, byte for byte.
    Body,
    /// The attempt's time in Unix seconds, as decimal digits.
    Timestamp,
    /// The event's id.
    Id,
    /// The configured URL.
    Url,
    /// The HTTP method.
    Method,
    /// The encoded signature.
    Signature,
}

impl Placeholder {
    const ALL: [Self; 6] = [Self::Body, Self::Timestamp, Self::Id, Self::Url, Self::Method, Self::Signature];

    /// Its name between the braces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Timestamp => "timestamp",
            Self::Id => "id",
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
    pub(super) fn parse(text: &str, allowed: &[Placeholder]) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("must be at most {MAX_LEN} bytes long"));
        }
        let names =
            || allowed.iter().map(|placeholder| format!("{{{}}}", placeholder.name())).collect::<Vec<_>>().join(" ");
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(brace);
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            let inner = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((name, tail)) = inner else {
                return Err(format!("has a brace without its partner; placeholders are {}", names()));
            };
            let known = Placeholder::ALL.into_iter().find(|placeholder| placeholder.name() == name);
            match known {
                Some(placeholder) if allowed.contains(&placeholder) => pieces.push(Piece::Of(placeholder)),
                Some(_) => return Err(format!("cannot have {{{name}}} here; placeholders are {}", names())),
                None => return Err(format!("has the unknown placeholder {{{name}}}; placeholders are {}", names())),
            }
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(Self { text: text.into(), pieces: pieces.into() })
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
            Piece::Of(_) => None,
        }
    }

    /// What the template stands for, slice by slice, with nothing copied.
    pub(super) fn fill<'a>(&'a self, parts: &'a Parts<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Of(placeholder) => parts.get(*placeholder),
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands for the placeholders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    pub(super) body: &'a [u8],
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a [u8],
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
            Placeholder::Url => self.url,
            Placeholder::Method => self.method,
            Placeholder::Signature => self.signature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: [Placeholder; 3] = [Placeholder::Body, Placeholder::Timestamp, Placeholder::Id];

    #[test]
    fn pieces_are_told_apart() {
        let template = Template::parse("v0:{timestamp}:{body}", &CONTENT).unwrap();
        let parts = Parts { body: b"\xff{id}", timestamp: b"17", ..Parts::default() };
        let filled: Vec<u8> = template.fill(&parts).flatten().copied().collect();
        // What is filled in is not read as a template again.
        assert_eq!(filled, b"v0:17:\xff{id}");
        assert_eq!(template.to_string(), "v0:{timestamp}:{body}");
        assert_eq!(template.pieces().len(), 4);
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
            (&"x".repeat(513), "at most 512 bytes"),
        ] {
            let error = Template::parse(text, &CONTENT).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Template::parse("{bdy}", &CONTENT).unwrap_err().ends_with("{body} {timestamp} {id}"));
    }
}
