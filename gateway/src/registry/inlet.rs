//! A source, compiled: how a request to `/in/{source_id}` proves itself and what is read from it.

use std::collections::BTreeMap;

use http::HeaderName;

use crate::domain::{FieldError, Source};
use crate::filter::Path;
use crate::signing::{Keys, Scheme};
use crate::vault::Vault;

/// A source, compiled.
pub struct Inlet {
    /// The source.
    pub source: Source,
    /// How a request proves itself; `None`: any is taken.
    pub verification: Option<(Scheme, Keys)>,
    /// Where the event's parts are, by part.
    pub extract: BTreeMap<Part, Vec<Piece>>,
    /// Request headers kept as attributes.
    pub keep_headers: Vec<HeaderName>,
    /// Whether it takes requests.
    pub open: bool,
}

/// A part of an event that is read from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The client's id.
    Id,
    /// The event's type.
    Type,
    /// The event's time.
    Time,
    /// The event's data; the whole body unless given.
    Data,
    /// What makes two requests the same; the id unless given.
    Dedupe,
}

impl Part {
    /// The word in `extract`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Type => "type",
            Self::Time => "time",
            Self::Data => "data",
            Self::Dedupe => "dedupe",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Id, Self::Type, Self::Time, Self::Data, Self::Dedupe].into_iter().find(|part| part.as_str() == word)
    }
}

/// One piece of a part; several are joined by `.`.
pub struct Piece {
    /// Where it is.
    pub from: From,
    /// Whether the part does without it.
    pub optional: bool,
}

/// Where a piece is.
pub enum From {
    /// In the body.
    Path(Path),
    /// In a header.
    Header(HeaderName),
    /// It is this text.
    Text(String),
}

/// What a source's secret is sealed under.
pub(super) fn context(id: crate::domain::SourceId) -> String {
    format!("{id}/secret")
}

impl Inlet {
    /// A source that does not compile any more: it takes nothing.
    pub(super) fn closed(source: Source) -> Self {
        Self { source, verification: None, extract: BTreeMap::new(), keep_headers: Vec::new(), open: false }
    }
}

pub(super) fn compile(source: Source, vault: &Vault) -> Result<Inlet, Vec<FieldError>> {
    let mut errors = Vec::new();
    if source.spec.name.is_empty() || source.spec.name.len() > 200 {
        errors.push(FieldError::new("/name", "a name is 1 to 200 bytes"));
    }
    let verification = verification(&source, vault).unwrap_or_else(|found| {
        errors.extend(found);
        None
    });
    let mut extract = BTreeMap::new();
    for (word, value) in &source.spec.extract {
        let pointer = format!("/extract/{}", super::schema::escape(word));
        let Some(part) = Part::from_word(word) else {
            errors.push(FieldError::new(pointer, "extract knows `id`, `type`, `time`, `data` and `dedupe`"));
            continue;
        };
        match pieces(value) {
            Ok(pieces) if part == Part::Data && !names_one_place(&pieces) => errors.push(FieldError::new(
                pointer,
                "`data` is one path that names one place, such as \"$.payload\": it is taken byte for byte",
            )),
            Ok(pieces) => {
                extract.insert(part, pieces);
            }
            Err(detail) => errors.push(FieldError::new(pointer, detail)),
        }
    }
    let mut keep_headers = Vec::new();
    for (at, name) in source.spec.keep_headers.iter().enumerate() {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) if !SENSITIVE.contains(&name.as_str()) => keep_headers.push(name),
            Ok(name) => errors.push(FieldError::new(
                format!("/keep_headers/{at}"),
                format!("`{name}` carries credentials and is never kept"),
            )),
            Err(_) => errors.push(FieldError::new(format!("/keep_headers/{at}"), "not a header name")),
        }
    }
    if errors.is_empty() {
        let open = source.spec.enabled;
        Ok(Inlet { source, verification, extract, keep_headers, open })
    } else {
        Err(errors)
    }
}

/// Headers that carry credentials: kept, they would be shown with the event.
const SENSITIVE: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

fn verification(source: &Source, vault: &Vault) -> Result<Option<(Scheme, Keys)>, Vec<FieldError>> {
    let Some(wanted) = &source.spec.verification else { return Ok(None) };
    let place = |pointer: &str| format!("/verification{pointer}");
    let scheme = Scheme::for_source(wanted).map_err(|errors| {
        errors.into_iter().map(|error| FieldError::new(place(&error.pointer), error.detail)).collect::<Vec<_>>()
    })?;
    let Some(sealed) = &source.secret else {
        return Err(vec![FieldError::new(
            "/secret",
            "a source that verifies needs the secret it shares with the product",
        )]);
    };
    let secret = vault
        .open(&context(source.id), sealed)
        .map_err(|error| vec![FieldError::new("/secret", format!("the stored secret does not open: {error}"))])?;
    scheme.check_secret(secret.expose()).map_err(|detail| vec![FieldError::new("/secret", detail)])?;
    let keys = scheme.keys(&secret, None).map_err(|error| vec![FieldError::new("/secret", error.to_string())])?;
    Ok(Some((scheme, keys)))
}

/// `"$.path"`, `"header:name"`, or a list of these and of literal texts; `?` at the end makes a piece optional.
fn pieces(value: &serde_json::Value) -> Result<Vec<Piece>, String> {
    let texts: Vec<&str> = match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(list) if !list.is_empty() && list.len() <= 8 => list
            .iter()
            .map(|item| item.as_str().ok_or_else(|| "a list holds texts only".to_owned()))
            .collect::<Result<_, _>>()?,
        _ => return Err("write \"$.path\", \"header:name\", or a list of 1 to 8 of these".to_owned()),
    };
    texts.into_iter().map(piece).collect()
}

fn names_one_place(pieces: &[Piece]) -> bool {
    matches!(pieces, [Piece { from: From::Path(path), .. }] if path.is_singular())
}

fn piece(text: &str) -> Result<Piece, String> {
    let (text, optional) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
    let from = if let Some(name) = text.strip_prefix("header:") {
        From::Header(HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?)
    } else if text.starts_with('$') {
        From::Path(Path::parse(text).map_err(|error| error.to_string())?)
    } else {
        From::Text(text.to_owned())
    };
    Ok(Piece { from, optional })
}
