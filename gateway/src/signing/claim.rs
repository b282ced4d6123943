//! Reading a signature header: the value template backwards.
//!
//! What comes out is a [`Claim`]: what the header says of itself, not yet believed.

use super::template::{Piece, Placeholder, Template};
use crate::domain::Encoding;

/// The shape of a signature header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Standard Webhooks: `v1,<base64> v1a,<base64>`, any number, in any order.
    Versions,
    /// `t=…,v1=…`: named fields in any order, the signature's as often as one likes, unknown ones ignored.
    /// One field alone (`sha256=…`) is such a list too, which also reads PagerDuty's `v1=…,v1=…`.
    Fields {
        /// What stands between fields: `,`, `;` or a space.
        separator: u8,
        /// The signature's field.
        signature: Box<str>,
        /// The timestamp's field.
        timestamp: Option<Box<str>>,
        /// The id's field.
        id: Option<Box<str>>,
    },
    /// Anything else: the template's pieces, one after the other.
    Sequence,
}

/// What a signature header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub(super) timestamp: Option<&'a [u8]>,
    pub(super) id: Option<&'a [u8]>,
    pub(super) signatures: Vec<Candidate<'a>>,
}

/// One encoded signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    /// Whether it says to be made with a private key (`v1a`).
    pub(super) asymmetric: bool,
    pub(super) text: &'a [u8],
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It does not have the form of the template.
    Form,
    /// More entries than the limit.
    TooMany,
}

impl Grammar {
    /// Finds the shape of a value template.
    ///
    /// # Errors
    /// If a value made from it could not be taken apart again without guessing.
    pub(super) fn of(template: &Template, encoding: Encoding) -> Result<Self, String> {
        for separator in [b',', b';', b' '] {
            if let Some(fields) = fields(&template.to_string(), separator)? {
                return Ok(fields);
            }
        }
        unambiguous(template, encoding)?;
        Ok(Self::Sequence)
    }

    /// Reads the header's lines. `limit` bounds the entries of a list, known or not.
    pub(super) fn read<'a>(
        &self,
        template: &Template,
        lines: impl Iterator<Item = &'a [u8]>,
        limit: usize,
    ) -> Result<Claim<'a>, Unreadable> {
        let mut claim = Claim::default();
        let mut entries = 0;
        for line in lines {
            let separator = match self {
                Self::Versions => b' ',
                Self::Fields { separator, .. } => *separator,
                Self::Sequence => {
                    entries += 1;
                    if entries > limit {
                        return Err(Unreadable::TooMany);
                    }
                    sequence(template, line, &mut claim)?;
                    continue;
                }
            };
            for entry in line.split(|byte| *byte == separator).map(<[u8]>::trim_ascii) {
                if entry.is_empty() {
                    continue;
                }
                entries += 1;
                if entries > limit {
                    return Err(Unreadable::TooMany);
                }
                match self {
                    Self::Fields { signature, timestamp, id, .. } => {
                        let (name, value) = split_once(entry, b'=').ok_or(Unreadable::Form)?;
                        let is = |field: &Option<Box<str>>| field.as_deref().is_some_and(|f| f.as_bytes() == name);
                        if name == signature.as_bytes() {
                            claim.signatures.push(Candidate { asymmetric: false, text: value });
                        } else if is(timestamp) {
                            set_once(&mut claim.timestamp, value)?;
                        } else if is(id) {
                            set_once(&mut claim.id, value)?;
                        }
                    }
                    _ => {
                        let (version, text) = split_once(entry, b',').ok_or(Unreadable::Form)?;
                        match version {
                            b"v1" => claim.signatures.push(Candidate { asymmetric: false, text }),
                            b"v1a" => claim.signatures.push(Candidate { asymmetric: true, text }),
                            // A version from the future stands beside one we know.
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(claim)
    }
}

/// A field that stands twice would leave open which of the two was signed.
fn set_once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Unreadable> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unreadable::Form),
    }
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    let (head, tail) = (text.get(..index)?, text.get(index + 1..)?);
    Some((head.trim_ascii(), tail.trim_ascii()))
}

/// Reads a template's text as a list of `name={placeholder}` or `name=constant`, if it is one.
fn fields(text: &str, separator: u8) -> Result<Option<Grammar>, String> {
    let (mut signature, mut timestamp, mut id) = (None, None, None);
    let mut names: Vec<&str> = Vec::new();
    for part in text.split(char::from(separator)).map(str::trim) {
        let Some((name, value)) = part.split_once('=') else { return Ok(None) };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(fits) {
            return Ok(None);
        }
        match value {
            "{signature}" => signature = Some(name.into()),
            "{timestamp}" => timestamp = Some(name.into()),
            "{id}" => id = Some(name.into()),
            // A constant beside the signature, such as `alg=hmac`: sent, and ignored when read.
            constant if !constant.contains(['{', ',', ';', ' ']) => {}
            _ => return Ok(None),
        }
        if names.contains(&name) {
            return Err(format!("has the field `{name}` twice"));
        }
        names.push(name);
    }
    Ok(signature.map(|signature| Grammar::Fields { separator, signature, timestamp, id }))
}

/// Whether each placeholder's end can be seen: what follows it must not look like more of it.
fn unambiguous(template: &Template, encoding: Encoding) -> Result<(), String> {
    for pair in template.pieces().windows(2) {
        let [Piece::Of(placeholder), next] = pair else { continue };
        let Piece::Literal(literal) = next else {
            return Err(format!("must have a separator after {{{}}}", placeholder.name()));
        };
        let first = literal.bytes().next().unwrap_or_default();
        if may_contain(*placeholder, encoding, first) {
            return Err(format!(
                "has `{}` after {{{}}}, which could be a part of it: use another separator",
                char::from(first),
                placeholder.name(),
            ));
        }
    }
    Ok(())
}

/// Whether what stands for `placeholder` may contain this byte.
fn may_contain(placeholder: Placeholder, encoding: Encoding, byte: u8) -> bool {
    match (placeholder, encoding) {
        (Placeholder::Timestamp, _) => byte.is_ascii_digit(),
        (Placeholder::Signature, Encoding::Hex) => byte.is_ascii_hexdigit(),
        (Placeholder::Signature, Encoding::Base64) => {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
        }
        (Placeholder::Signature, Encoding::Base64url) => {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=')
        }
        _ => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
    }
}

/// Walks a template's pieces along a line.
fn sequence<'a>(template: &Template, line: &'a [u8], claim: &mut Claim<'a>) -> Result<(), Unreadable> {
    let mut rest = line.trim_ascii();
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        let placeholder = match piece {
            Piece::Literal(literal) => {
                rest = rest.strip_prefix(literal.as_bytes()).ok_or(Unreadable::Form)?;
                continue;
            }
            Piece::Of(placeholder) => *placeholder,
            // A value has none of these.
            Piece::Header(_) => continue,
        };
        // `unambiguous` made sure that the first byte of the literal that follows ends the value.
        let end = match pieces.peek() {
            Some(Piece::Literal(literal)) => {
                let stop = literal.bytes().next().unwrap_or_default();
                rest.iter().position(|byte| *byte == stop).ok_or(Unreadable::Form)?
            }
            _ => rest.len(),
        };
        let (value, tail) = rest.split_at_checked(end).ok_or(Unreadable::Form)?;
        rest = tail;
        match placeholder {
            Placeholder::Signature => claim.signatures.push(Candidate { asymmetric: false, text: value }),
            Placeholder::Timestamp => set_once(&mut claim.timestamp, value)?,
            Placeholder::Id => set_once(&mut claim.id, value)?,
            Placeholder::Body | Placeholder::Form | Placeholder::Url | Placeholder::Method => {}
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Unreadable::Form) }
}
