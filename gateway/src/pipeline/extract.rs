//! A request to a source, read as an event: where its id, type, time and data are is the source's to say.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::parse::{self, NewEvent};
use super::{IngestProblem, ItemError, Pipeline};
use crate::domain::{EventType, FieldError};
use crate::filter::{Node, Path};
use crate::registry::{From, Inlet, Part, Piece};

/// Why a request to a source yields no event.
pub type ExtractError = ItemError;

/// The type of events of a source that says nothing of types.
const UNTYPED: &str = "request";

impl Pipeline {
    /// Reads a verified request to a source. What is not JSON is kept as it is, inside JSON.
    ///
    /// # Errors
    /// If the body claims to be JSON and is not, or a part that the source must find is not there.
    pub fn from_source(inlet: &Inlet, headers: &HeaderMap, body: &Bytes) -> Result<NewEvent, ItemError> {
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let whole: Box<str> = if media == "application/x-www-form-urlencoded" {
            form(body).into()
        } else if parse::is_json(&media) && !body.is_empty() {
            let value: &RawValue = serde_json::from_slice(body)
                .map_err(|error| ItemError::new(IngestProblem::Unparsable, format!("the body is not JSON: {error}")))?;
            if parse::is_too_deep(value.get()) {
                let detail = format!("the body is nested deeper than {} levels", parse::MAX_DEPTH);
                return Err(ItemError::new(IngestProblem::Unparsable, detail));
            }
            value.get().into()
        } else {
            parse::wrap(Some(&media), body)
        };
        let node = Node::parse(&whole)
            .map_err(|error| ItemError::new(IngestProblem::Unparsable, format!("the body is not JSON: {error}")))?;
        let reader = Reader { inlet, headers, body: &node };
        let event_type = match reader.text(Part::Type)? {
            Some(text) => EventType::parse(&text)
                .map_err(|error| ItemError::invalid(vec![FieldError::new("/type", format!("`{text}`: {error}"))]))?,
            None => {
                EventType::parse(UNTYPED).map_err(|error| ItemError::new(IngestProblem::Invalid, error.to_string()))?
            }
        };
        if event_type.is_reserved() {
            return Err(ItemError::invalid(vec![FieldError::new(
                "/type",
                "types that begin with `hookmill.` are reserved",
            )]));
        }
        let timestamp = reader.text(Part::Time)?.and_then(|text| time(&text));
        let external_id = reader.text(Part::Id)?.filter(|id| parse::is_id(id));
        let data = match inlet.extract.get(&Part::Data).and_then(|pieces| pieces.first()) {
            // Byte for byte where the path names one place.
            Some(Piece { from: From::Path(path), optional }) => match raw(path, &whole)? {
                Some(found) => found.into(),
                None if *optional => whole.clone(),
                None => return Err(missing(Part::Data)),
            },
            _ => whole.clone(),
        };
        let kept = inlet.keep_headers.iter().filter_map(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.as_str().into(), value.into()))
        });
        Ok(NewEvent {
            dedupe: reader.text(Part::Dedupe)?.filter(|text| !text.is_empty()),
            external_id,
            event_type,
            timestamp,
            source: Some(inlet.source.spec.name.clone()),
            source_id: Some(inlet.source.id),
            data,
            attributes: kept.collect(),
        })
    }
}

struct Reader<'a> {
    inlet: &'a Inlet,
    headers: &'a HeaderMap,
    body: &'a Node<'a>,
}

impl Reader<'_> {
    /// A part as text, its pieces joined by `.`; `None` if the source does not say where it is.
    fn text(&self, part: Part) -> Result<Option<String>, ItemError> {
        let Some(pieces) = self.inlet.extract.get(&part) else { return Ok(None) };
        let mut found = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let text = match &piece.from {
                From::Text(text) => Some(text.clone()),
                From::Header(name) => self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned),
                From::Path(path) => find(path, self.body)?.and_then(|node| match node {
                    Node::String(text) => Some(text.to_string()),
                    Node::Number(number) => Some((*number).to_string()),
                    Node::Bool(value) => Some(value.to_string()),
                    _ => None,
                }),
            };
            match text {
                Some(text) => found.push(text),
                None if piece.optional => {}
                None => return Err(missing(part)),
            }
        }
        Ok((!found.is_empty()).then(|| found.join(".")))
    }
}

fn find<'n>(path: &'n Path, body: &'n Node<'n>) -> Result<Option<&'n Node<'n>>, ItemError> {
    path.first(body).map_err(|error| ItemError::new(IngestProblem::Invalid, format!("the source's `extract`: {error}")))
}

fn raw<'t>(path: &Path, text: &'t str) -> Result<Option<&'t str>, ItemError> {
    path.raw(text)
        .map_err(|error| ItemError::new(IngestProblem::Invalid, format!("the source's `extract.data`: {error}")))
}

fn missing(part: Part) -> ItemError {
    let word = part.as_str();
    ItemError::invalid(vec![FieldError::new(
        format!("/{word}"),
        format!("the source's `extract.{word}` finds nothing in this request"),
    )])
}

/// RFC 3339, or Unix time in seconds or milliseconds.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let number: i64 = text.parse().ok()?;
    if number.abs() > 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// A form as a JSON object; a name that stands there several times becomes a list.
fn form(body: &[u8]) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = serde_json::Value::from(value.into_owned());
        match object.get_mut(&*name) {
            None => {
                object.insert(name.into_owned(), value);
            }
            Some(serde_json::Value::Array(list)) => list.push(value),
            Some(first) => *first = serde_json::Value::Array(vec![first.take(), value]),
        }
    }
    serde_json::Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_become_objects() {
        assert_eq!(form(b"a=1&b=x+y&a=2&c"), r#"{"a":["1","2"],"b":"x y","c":""}"#);
        assert_eq!(form(b""), "{}");
    }

    #[test]
    fn times_in_three_spellings() {
        let wanted: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for text in ["2026-01-01T00:00:00Z", "1767225600", "1767225600000"] {
            assert_eq!(time(text), Some(wanted), "{text}");
        }
        assert_eq!(time("soon"), None);
    }
}
