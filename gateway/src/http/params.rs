//! What stands in the path, the query and the conditional headers.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::{HeaderMap, StatusCode, Uri, header, request::Parts};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use utoipa::ToSchema;

use super::body;
use super::problem::{Kind, Problem};
use crate::control::Expected;
use crate::priority::Slices;

/// Most items on a page, and how many there are unless `limit` says otherwise.
const MOST: usize = 200;
const USUAL: usize = 50;

/// A query, of exactly this form.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query(&parts.uri).map(Self)
    }
}

/// A query in which nothing may stand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Reads a query, of exactly this form.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(error) => {
            let text = error.body_text();
            let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Err(Problem::new(Kind::Invalid, format!("in the query: {detail}")))
        }
    }
}

/// The path's variable parts, percent-decoded.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(_) => Err(Problem::new(Kind::NotFound, "the path holds something that is no id")),
        }
    }
}

/// An id in a path; what is no id is the id of nothing.
pub(super) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(Kind::NotFound, format!("there is no such {what}")))
}

/// `limit` and `cursor`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

impl Paging {
    /// How many, and after which. `I` is the id that the list goes by.
    pub(super) fn read<I: Cursor>(&self) -> Result<(usize, Option<I>), Problem> {
        page(self.limit, self.cursor.as_deref())
    }
}

/// The same of a query that has more fields.
pub(super) fn page<I: Cursor>(limit: Option<usize>, cursor: Option<&str>) -> Result<(usize, Option<I>), Problem> {
    let limit = items(limit.unwrap_or(USUAL))?;
    let wrong = || Problem::new(Kind::Invalid, "in the query: `cursor` is not one that this list handed out");
    let after = match cursor {
        Some(text) => Some(I::decode(text).ok_or_else(wrong)?),
        None => None,
    };
    Ok((limit, after))
}

/// How many items of a list are asked for.
pub(super) fn items(limit: usize) -> Result<usize, Problem> {
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::new(Kind::Invalid, format!("in the query: `limit` is 1 to {MOST}")));
    }
    Ok(limit)
}

/// An id as a place in a list. Opaque to clients, so that it may become something else.
pub(super) trait Cursor: Sized {
    fn encode(&self) -> String;
    fn decode(text: &str) -> Option<Self>;
}

macro_rules! cursors {
    ($($id:ident = $kind:literal),*) => {$(
        impl Cursor for crate::domain::$id {
            fn encode(&self) -> String {
                let mut bytes = vec![$kind];
                bytes.extend(self.to_bytes());
                URL_SAFE_NO_PAD.encode(bytes)
            }

            fn decode(text: &str) -> Option<Self> {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                let (kind, id) = bytes.split_first()?;
                (*kind == $kind).then(|| id.try_into().ok().map(Self::from_bytes))?
            }
        }
    )*};
}

cursors!(
    TenantId = b't',
    KeyId = b'k',
    SourceId = b's',
    EventId = b'e',
    SubscriptionId = b'u',
    DeliveryId = b'd',
    InboxId = b'i',
    ReplayId = b'r'
);

/// A name, for lists that go by it.
impl Cursor for crate::domain::EventType {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("n{self}"))
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Self::parse(std::str::from_utf8(&bytes).ok()?.strip_prefix('n')?).ok()
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The items.
    pub(super) data: Vec<T>,
    /// The `cursor` of the next page; `null` on the last. A page may be short and still have a next one.
    pub(super) next: Option<String>,
}

/// Answers with a page of a list that is in memory, sorted by id.
pub(super) async fn list<T, V: Serialize, I: Cursor + Ord>(
    items: Vec<T>,
    (limit, after): (usize, Option<I>),
    id_of: impl Fn(&T) -> I,
    view: impl Fn(&T) -> V,
) -> Result<Response, Problem> {
    let first = after.map_or(0, |after| items.partition_point(|item| id_of(item) <= after));
    let rest = &items[first..];
    let page = &rest[..limit.min(rest.len())];
    let last = page.last().filter(|_| page.len() < rest.len());
    answer_list(page, view, last.map(|item| id_of(item).encode())).await
}

/// Answers with these items, and with the cursor of what follows them.
pub(super) async fn answer_list<T, V: Serialize>(
    items: &[T],
    view: impl Fn(&T) -> V,
    next: Option<String>,
) -> Result<Response, Problem> {
    let mut data = Vec::with_capacity(items.len());
    // Two hundred subscriptions take milliseconds.
    let mut slices = Slices::begin();
    for item in items {
        slices.step().await;
        let shown = to_raw_value(&view(item));
        data.push(shown.map_err(|error| Problem::internal(format!("an answer could not be written: {error}")))?);
    }
    Ok(body::answer(StatusCode::OK, &List { data, next }))
}

/// The versions that `If-Match` names.
pub(super) struct IfMatch(pub(super) Expected);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(if_match(&parts.headers)))
    }
}

fn if_match(headers: &HeaderMap) -> Expected {
    let values: Vec<&str> =
        headers.get_all(header::IF_MATCH).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    let tags: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.is_empty() || tags.contains(&"*") {
        return Expected::any();
    }
    // If-Match compares strongly (RFC 9110, 13.1.1): a weak tag matches nothing.
    let strong = tags.iter().filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
    Expected::one_of(strong.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{DeliveryId, EventId};

    #[test]
    fn cursors_come_back_and_kinds_do_not_mix() {
        let id = EventId::new(Timestamp::UNIX_EPOCH);
        assert_eq!(EventId::decode(&id.encode()), Some(id));
        assert_eq!(DeliveryId::decode(&id.encode()), None);
        for text in ["", "e", "ZQ", "====", "ü", &"A".repeat(500)] {
            assert_eq!(EventId::decode(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn pages_of_a_list_in_memory() {
        let ids: Vec<EventId> = (0..50).map(|_| EventId::new(Timestamp::UNIX_EPOCH)).collect();
        for limit in [2, 20, 25, 50, 200] {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = page::<EventId>(Some(limit), cursor.as_deref()).unwrap();
                let answer = list(ids.clone(), page, |id| *id, |id| *id).await.unwrap().into_body();
                let answer = axum::body::to_bytes(answer, usize::MAX).await.unwrap();
                let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
                seen.extend(serde_json::from_value::<Vec<EventId>>(answer["data"].clone()).unwrap());
                cursor = answer["next"].as_str().map(str::to_owned);
                pages += 1;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!((&seen, pages), (&ids, ids.len().div_ceil(limit)));
        }
        assert!(page::<EventId>(Some(0), None).is_err());
        assert!(page::<EventId>(Some(201), None).is_err());
    }

    #[test]
    fn tags() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
            if_match(&headers)
        };
        assert_eq!(read("*"), Expected::any());
        assert_eq!(read("\"1\", \"2\""), Expected::one_of(vec!["1".into(), "2".into()]));
        assert_eq!(read("W/\"1\""), Expected::one_of(vec![]));
        assert_eq!(if_match(&HeaderMap::new()), Expected::any());
    }
}
