//! A request to a source, read as events: where their ids, types, times and data are is the source's to say.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::parse::{self, NewEvent};
use super::{IngestProblem, ItemError, Pipeline};
use crate::domain::{EventType, FieldError, nesting};
use crate::filter::{Node, Path};
use crate::registry::{From, Inlet, Part, Piece};

/// Why a request to a source yields no event.
pub type ExtractError = ItemError;

/// The type of events of a source that says nothing of types.
const UNTYPED: &str = "request";
/// Most events in one request, as in a batch.
const MOST: usize = 1_000;

/// A request to a source, its body made JSON: what is not JSON is kept as it is, inside JSON.
pub struct Posted<'a> {
    pub(super) headers: &'a HeaderMap,
    /// The URL's raw query.
    pub(super) query: &'a str,
    pub(super) whole: Box<str>,
}

impl<'a> Posted<'a> {
    /// Reads a body that came in, unpacked.
    ///
    /// # Errors
    /// If it claims to be JSON and is not, or is nested too deep.
    pub fn read(headers: &'a HeaderMap, query: &'a str, body: &Bytes) -> Result<Self, ItemError> {
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let whole: Box<str> = if media == "application/x-www-form-urlencoded" {
            form(body).into()
        } else if parse::is_json(&media) && !body.is_empty() {
            let value: &RawValue = serde_json::from_slice(body)
                .map_err(|error| ItemError::new(IngestProblem::Unparsable, format!("the body is not JSON: {error}")))?;
            if nesting::is_too_deep(value.get()) {
                let detail = format!("the body is nested deeper than {} levels", nesting::MAX_DEPTH);
                return Err(ItemError::new(IngestProblem::Unparsable, detail));
            }
            value.get().into()
        } else {
            parse::wrap(Some(&media), body)
        };
        Ok(Self { headers, query, whole })
    }
}

impl Pipeline {
    /// Reads a verified request to a source as one event or, where the source says where a list is, as one each. All
    /// are good, or none is taken: a product sends the whole request again, or never.
    ///
    /// # Errors
    /// If a part that the source must find is not there, or is not what it should be; with several events, the place
    /// begins with the number of the one it is about.
    pub fn from_source(inlet: &Inlet, posted: &Posted<'_>) -> Result<Vec<NewEvent>, ItemError> {
        let Some(each) = &inlet.each else { return Ok(vec![event(inlet, posted, &posted.whole)?]) };
        let no_list = || {
            let detail = format!("the source's `extract.each` finds no list at `{}`", each.as_str());
            ItemError::invalid(vec![FieldError::new("/each", detail)])
        };
        let list = raw(each, &posted.whole, "each")?.ok_or_else(no_list)?;
        let items: Vec<&RawValue> = serde_json::from_str(list).map_err(|_| no_list())?;
        if items.len() > MOST {
            let detail = format!("the request carries {} events, at most {MOST} are taken at once", items.len());
            return Err(ItemError::new(IngestProblem::TooMany, detail));
        }
        let numbered = |at: usize, mut error: ItemError| {
            error.errors.iter_mut().for_each(|error| error.pointer = format!("/{at}{}", error.pointer));
            error
        };
        let read =
            |(at, item): (usize, &&RawValue)| event(inlet, posted, item.get()).map_err(|error| numbered(at, error));
        items.iter().enumerate().map(read).collect()
    }
}

/// One event, out of this JSON text.
fn event(inlet: &Inlet, posted: &Posted<'_>, text: &str) -> Result<NewEvent, ItemError> {
    let node = Node::parse(text)
        .map_err(|error| ItemError::new(IngestProblem::Unparsable, format!("the body is not JSON: {error}")))?;
    let reader = Reader { posted, body: &node };
    let event_type = match reader.part(inlet, Part::Type)? {
        Some(text) => EventType::parse(&text)
            .map_err(|error| ItemError::invalid(vec![FieldError::new("/type", format!("`{text}`: {error}"))]))?,
        None => EventType::parse(UNTYPED).map_err(|error| ItemError::new(IngestProblem::Invalid, error.to_string()))?,
    };
    if event_type.is_reserved() {
        return Err(ItemError::invalid(vec![FieldError::new(
            "/type",
            "types that begin with `hookmill.` are reserved",
        )]));
    }
    let timestamp = reader.part(inlet, Part::Time)?.and_then(|text| time(&text));
    let external_id = reader.part(inlet, Part::Id)?.filter(|id| parse::is_id(id));
    let data = match inlet.extract.get(&Part::Data).and_then(|pieces| pieces.first()) {
        // Byte for byte where the path names one place.
        Some(Piece { from: From::Path(path), optional }) => match raw(path, text, "data")? {
            Some(found) => found.into(),
            None if *optional => text.into(),
            None => return Err(missing(Part::Data)),
        },
        _ => text.into(),
    };
    let kept = inlet.keep_headers.iter().filter_map(|name| {
        let value = posted.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().into(), value.into()))
    });
    // What names its sameness by parts that are not there is the same as nothing.
    let dedupe = match inlet.extract.contains_key(&Part::Dedupe) {
        true => reader.part(inlet, Part::Dedupe).ok().flatten().filter(|text| !text.is_empty()),
        false => None,
    };
    Ok(NewEvent {
        dedupe,
        dedupe_window: inlet.source.spec.dedupe_window,
        external_id,
        event_type,
        timestamp,
        source: Some(inlet.source.spec.name.clone()),
        source_id: Some(inlet.source.id),
        data,
        attributes: kept.collect(),
    })
}

/// Finds texts in a request.
pub(super) struct Reader<'a> {
    pub(super) posted: &'a Posted<'a>,
    pub(super) body: &'a Node<'a>,
}

impl Reader<'_> {
    /// A part as text, its pieces joined by `.`; `None` if the source does not say where it is.
    fn part(&self, inlet: &Inlet, part: Part) -> Result<Option<String>, ItemError> {
        let Some(pieces) = inlet.extract.get(&part) else { return Ok(None) };
        let mut found = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match self.text(&piece.from)? {
                Some(text) => found.push(text),
                None if piece.optional => {}
                None => return Err(missing(part)),
            }
        }
        Ok((!found.is_empty()).then(|| found.join(".")))
    }

    /// What is at a place, as text.
    pub(super) fn text(&self, from: &From) -> Result<Option<String>, ItemError> {
        Ok(match from {
            From::Text(text) => Some(text.clone()),
            From::Header(name) => {
                self.posted.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
            }
            From::Query(name) => url::form_urlencoded::parse(self.posted.query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned()),
            From::Path(path) => find(path, self.body)?.and_then(|node| match node {
                Node::String(text) => Some(text.to_string()),
                Node::Number(number) => Some((*number).to_string()),
                Node::Bool(value) => Some(value.to_string()),
                _ => None,
            }),
        })
    }
}

fn find<'n>(path: &'n Path, body: &'n Node<'n>) -> Result<Option<&'n Node<'n>>, ItemError> {
    path.first(body).map_err(|error| ItemError::new(IngestProblem::Invalid, format!("the source's `extract`: {error}")))
}

fn raw<'t>(path: &Path, text: &'t str, word: &str) -> Result<Option<&'t str>, ItemError> {
    path.raw(text)
        .map_err(|error| ItemError::new(IngestProblem::Invalid, format!("the source's `extract.{word}`: {error}")))
}

fn missing(part: Part) -> ItemError {
    let word = part.as_str();
    ItemError::invalid(vec![FieldError::new(
        format!("/{word}"),
        format!("the source's `extract.{word}` finds nothing in this request"),
    )])
}

/// RFC 3339, the same without a zone, which then is UTC (Discord's webhook events), or Unix time in seconds or
/// milliseconds.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if text.contains('T') {
        let local: DateTime = text.parse().ok()?;
        return local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
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
    fn times_in_four_spellings() {
        let wanted: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let spellings =
            ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00", "1767225600", "1767225600000"];
        for text in spellings {
            assert_eq!(time(text), Some(wanted), "{text}");
        }
        assert_eq!(time("2024-10-18T14:42:53.064834"), Some("2024-10-18T14:42:53.064834Z".parse().unwrap()));
        for text in ["soon", "2026-01-01", "Tomorrow", ""] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
