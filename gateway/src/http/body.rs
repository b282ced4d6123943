//! Bodies in and out.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::guard::Caller;
use super::problem::{Kind, Problem};
use super::{App, Shared, room};
use crate::control;
use crate::domain::TenantId;

/// How many times the largest body is read and forgotten of one that is larger.
const DISCARDED: usize = 8;

/// Reads a body within the configured size and time, if there is room for it; what is larger is refused as soon as that
/// is known.
pub(super) async fn read(
    app: &App,
    whose: Option<TenantId>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    read_at_most(app, whose, headers, body, app.config.max_body).await
}

/// The same within another size, which is no more than the configured one.
pub(super) async fn read_at_most(
    app: &App,
    whose: Option<TenantId>,
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<Bytes, Problem> {
    let limit = app.config.body_timeout;
    // One that does not say how large it is may be as large as any.
    let size = announced(headers).and_then(|length| usize::try_from(length).ok()).unwrap_or(max).min(max);
    if size <= room::SMALL {
        return read_within(headers, body, max, limit).await;
    }
    let Some(place) = app.bodies.take(whose, size) else {
        discard(body, max).await;
        return Err(crowded());
    };
    Ok(place.hold(read_within(headers, body, max, limit).await?))
}

/// There is no room for another large body.
pub(super) fn crowded() -> Problem {
    Problem::new(Kind::Overloaded, "too many large bodies are arriving").retry_after(Duration::from_secs(1))
}

/// What the client says of the body's size.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_within(headers: &HeaderMap, mut body: Body, max: usize, limit: Duration) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Kind::BodyTooLarge, format!("the body is larger than the {max} bytes that are taken"));
    if announced(headers).is_some_and(|length| length > max as u64) {
        discard(body, max).await;
        return Err(too_large());
    }
    // Sockets keep real time, whatever the gateway's clock shows.
    match tokio::time::timeout(limit, Limited::new(&mut body, max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(body, max).await;
            Err(too_large())
        }
        Ok(Err(error)) => Err(Problem::new(Kind::Unparsable, format!("the body could not be read: {error}"))),
        Err(_) => {
            Err(Problem::new(Kind::BodyTimeout, format!("the body was not complete after {} s", limit.as_secs())))
        }
    }
}

/// Reads on for a while and forgets: a client that is still writing when its connection is closed sees a
/// broken pipe instead of the answer that says why.
async fn discard(mut body: Body, max: usize) {
    let mut left = max.saturating_mul(DISCARDED);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever sends longer than this is let go without the answer.
    let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
}

/// The tenant that is asking, if one is.
fn whose(parts: &Parts) -> Option<TenantId> {
    parts.extensions.get::<Caller>().and_then(|caller| caller.0.tenant)
}

/// Whether the content type is JSON of some kind; none at all is taken for it.
fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, format!("`{essence}` is not taken here; send `application/json`")))
}

/// A JSON body, of exactly this form.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_json(&parts.headers)?;
        let bytes = read(app, whose(&parts), &parts.headers, body).await?;
        parse(&bytes).map(Json)
    }
}

/// The same, where no body at all stands for `{}`.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(app, whose(&parts), &parts.headers, body).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(OptionalJson);
        }
        check_json(&parts.headers)?;
        parse(&bytes).map(OptionalJson)
    }
}

/// A JSON object whose fields others look at.
pub(super) type Fields = Json<Map<String, Value>>;

/// A text as a [`Json`] body would be read.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    match control::read_slice(bytes) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(errors)) => Err(Problem::invalid(errors)),
        Err(detail) => Err(Problem::new(Kind::Unparsable, format!("the body is not JSON: {detail}"))),
    }
}

/// An answer in JSON.
pub(super) fn answer<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let content_type = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(error) => Problem::internal(format!("an answer could not be written: {error}")).into_response(),
    }
}

/// The same with the object's version.
pub(super) fn versioned<T: Serialize>(status: StatusCode, version: &str, body: &T) -> Response {
    let mut response = answer(status, body);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// `201`, and where the new object is.
pub(super) fn created<T: Serialize>(location: &str, version: &str, body: &T) -> Response {
    let mut response = versioned(StatusCode::CREATED, version, body);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `204`.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_drips_is_given_up() {
        let drip = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let read = read_within(&HeaderMap::new(), Body::from_stream(drip), 10, Duration::ZERO).await;
        assert_eq!(read.unwrap_err().kind(), Kind::BodyTimeout);
        let read = read_within(&HeaderMap::new(), Body::from("0123456789"), 10, Duration::ZERO).await;
        assert_eq!(read.unwrap(), "0123456789", "what is there is read first");
    }
}
