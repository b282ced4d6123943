//! The door of a source: whatever a product posts, verified, answered, noted if it is refused.
//!
//! The signature is over the bytes that came over the wire, so it is checked before they are unpacked or read; but where
//! a form's parameters are signed, a packed form is unpacked first, within the bounds of every other. Questions of the
//! product (handshakes) are answered and stored nowhere. Every refusal is noted for the source's owner, who
//! finds it at `…/refusals`.

use std::io::Read as _;
use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use jiff::Timestamp;

use super::guard::Access;
use super::ingest::{self, Receipt};
use super::params::{Segments, id};
use super::problem::{Kind, Problem};
use super::route::{Payload, Route, Tag};
use super::{App, Shared, body, room};
use crate::domain::{HandshakeMethod, Refused, SourceId};
use crate::pipeline::{ItemError, NewEvent, Pipeline, Posted, Unanswered};
use crate::registry::{Inlet, Reply};
use crate::signing::{Rejection, VerifyParts};

/// How many times its size a body may unpack to. JSON packs 10 to 50 times; a bomb, 1,000 times.
const MOST_TIMES: usize = 200;
/// What a body may unpack to, however small it is.
const ALWAYS: usize = 64 * 1024;

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/in/{source}", "post_to_source", "Take a product's own webhook", enter)
            .tag(Tag::Ingest)
            .needs(Access::Public)
            .about(
                "Whatever the product posts, verified over the raw bytes as the source says. A wrong or missing \
                 signature, or a timestamp too old or in the future, is a 401. What is not JSON becomes \
                 `{\"raw\"|\"raw_base64\", \"content_type\"}`, a form becomes an object. `Content-Encoding` may be \
                 `gzip` or `deflate`. A handshake is answered as the source says; a source with `extract.each` answers \
                 as for a batch, one with `response` with that.",
            )
            .takes(Payload::Anything)
            .gives::<Receipt>(StatusCode::ACCEPTED, "Accepted, and on disk.")
            .hot(),
        Route::get("/in/{source}", "ask_source", "Answer a product's question", enter)
            .tag(Tag::Ingest)
            .needs(Access::Public)
            .about("The answer to a handshake by GET, such as `hub.challenge`; 405 if the source has none.")
            .shows("text/plain"),
    ]
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// A request to a source.
pub(super) struct Asked<'a> {
    pub(super) method: HandshakeMethod,
    pub(super) headers: &'a HeaderMap,
    /// The URL's raw query.
    pub(super) query: &'a str,
    /// The body, as it came over the wire.
    pub(super) raw: Bytes,
    pub(super) now: Timestamp,
}

/// What a request to a source is.
pub(super) enum Found {
    Question(Reply),
    Events(Vec<NewEvent>),
}

/// Why a request is refused, and the header that is to blame.
pub(super) struct Refusal {
    pub(super) problem: Problem,
    header: Option<String>,
    /// For the owner alone.
    detail: Option<String>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, header: None, detail: None }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let header = rejection.header().map(ToString::to_string);
        Self { problem: Problem::new(Kind::BadSignature, rejection.to_string()), header, detail: None }
    }
}

impl From<ItemError> for Refusal {
    /// A product's webhook can only be read or not: there is no client who could mend a field.
    fn from(error: ItemError) -> Self {
        // The first mistake says more than that there is one.
        let detail = error.errors.first().map_or(error.detail, |first| first.detail.clone());
        Problem::new(Kind::Unparsable, detail).with_errors(error.errors).into()
    }
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::WrongToken => Problem::new(Kind::BadSignature, why.to_string()).into(),
            Unanswered::Incomplete(error) => error.into(),
        }
    }
}

async fn enter(
    State(app): State<Shared>,
    Segments(source): Segments<String>,
    request: Request,
) -> Result<Response, Problem> {
    let source: SourceId = id(&source, "source")?;
    let inlet = app.control.any_source(source)?;
    let (parts, body) = request.into_parts();
    let mut size = None;
    take(&app, &inlet, &parts, body, &mut size).await.map_err(|refusal| {
        let now = app.control.clock().now();
        app.control.refusals().note(inlet.source.tenant_id, source, refused(&refusal, &parts, size, now));
        refusal.problem
    })
}

async fn take(
    app: &App,
    inlet: &Inlet,
    parts: &Parts,
    body: Body,
    size: &mut Option<usize>,
) -> Result<Response, Refusal> {
    if !inlet.open {
        // To the outside a source that is closed is not there.
        let problem = Problem::new(Kind::NotFound, "there is no such source");
        return Err(Refusal { detail: Some("the source is disabled".to_owned()), ..problem.into() });
    }
    let tenant = inlet.source.tenant_id;
    let raw = body::read_at_most(app, Some(tenant), &parts.headers, body, max_body(app, inlet)).await?;
    *size = Some(raw.len());
    let method = if parts.method == Method::POST { HandshakeMethod::Post } else { HandshakeMethod::Get };
    let query = parts.uri.query().unwrap_or_default();
    let asked = Asked { method, headers: &parts.headers, query, raw, now: app.control.clock().now() };
    let events = match look(app, inlet, &asked).await? {
        Found::Question(reply) => return Ok(given(&reply)),
        Found::Events(events) => events,
    };
    // Only what is believed counts: a stranger must not use up what the product may.
    app.pipeline.admit(inlet).map_err(|wait| {
        Problem::new(Kind::RateLimited, "this source is posted to faster than its `rate_limit` says").retry_after(wait)
    })?;
    let receipt = match (&inlet.each, <[NewEvent; 1]>::try_from(events)) {
        (None, Ok([event])) => ingest::one(app, tenant, event).await?,
        (_, Ok([event])) => ingest::all(app, tenant, vec![event]).await?,
        (_, Err(events)) => ingest::all(app, tenant, events).await?,
    };
    Ok(inlet.response.as_ref().map_or(receipt, given))
}

/// The largest body that a source takes.
pub(super) fn max_body(app: &App, inlet: &Inlet) -> usize {
    inlet.source.spec.max_body.unwrap_or(app.config.max_body).min(app.config.max_body)
}

/// What is known of a request once its proof was looked at.
pub(super) struct Proof {
    /// Whether it proves itself.
    pub(super) verdict: Result<(), Rejection>,
    /// Its body, if it had to be unpacked for that.
    unpacked: Option<Bytes>,
}

/// Looks at a request's proof, and into its body if that is packed and has the time or the signed parameters in it.
pub(super) async fn prove(app: &App, inlet: &Inlet, asked: &Asked<'_>) -> Result<Proof, Refusal> {
    let verdict = proven(app, inlet, asked, None);
    if verdict != Err(Rejection::StillPacked) {
        return Ok(Proof { verdict, unpacked: None });
    }
    let unpacked = unpack(app, inlet, asked.headers, &asked.raw).await?;
    Ok(Proof { verdict: proven(app, inlet, asked, Some(&unpacked)), unpacked: Some(unpacked) })
}

fn proven(app: &App, inlet: &Inlet, asked: &Asked<'_>, unpacked: Option<&[u8]>) -> Result<(), Rejection> {
    let mut url = app.config.url(&format!("/in/{}", inlet.source.id));
    if !asked.query.is_empty() {
        url = format!("{url}?{}", asked.query);
    }
    let method = match asked.method {
        HandshakeMethod::Post => "POST",
        HandshakeMethod::Get => "GET",
    };
    inlet.verify(&VerifyParts { headers: asked.headers, body: &asked.raw, unpacked, url: &url, method, now: asked.now })
}

/// What a request is, without doing anything about it.
pub(super) async fn look(app: &App, inlet: &Inlet, asked: &Asked<'_>) -> Result<Found, Refusal> {
    let Proof { verdict, unpacked } = prove(app, inlet, asked).await?;
    let may_ask = inlet.handshakes.iter().any(|question| question.method == asked.method && !question.verified);
    if asked.method == HandshakeMethod::Post && !may_ask {
        // Nothing more is unpacked or read for somebody we do not know.
        verdict.clone()?;
    }
    let unpacked = match unpacked {
        Some(unpacked) => unpacked,
        None => unpack(app, inlet, asked.headers, &asked.raw).await?,
    };
    let posted = Posted::read(asked.headers, asked.query, &unpacked)?;
    let question = Pipeline::question(inlet, asked.method, &posted);
    if let Some(question) = question.filter(|question| !question.verified || verdict.is_ok()) {
        return Ok(Found::Question(Pipeline::answer(inlet, question, &posted, asked.now)?));
    }
    if asked.method == HandshakeMethod::Get {
        return Err(Problem::new(Kind::MethodNotAllowed, "this source takes events by POST").into());
    }
    verdict?;
    Ok(Found::Events(Pipeline::from_source(inlet, &posted)?))
}

/// The body as the product wrote it, before it packed it.
async fn unpack(app: &App, inlet: &Inlet, headers: &HeaderMap, raw: &Bytes) -> Result<Bytes, Refusal> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let is_plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    let packing = match (codings.next(), codings.next()) {
        (None, _) => return Ok(raw.clone()),
        (Some(coding), None) if is_plain(coding) => return Ok(raw.clone()),
        (Some(coding), None) => Packing::of(coding),
        _ => None,
    };
    let packing = packing.ok_or_else(|| Refusal {
        header: Some(header::CONTENT_ENCODING.to_string()),
        ..Problem::new(Kind::UnsupportedContentEncoding, "send the body as it is, or packed once by gzip or deflate")
            .into()
    })?;
    let max = max_body(app, inlet);
    let limit = max.min(ALWAYS.max(raw.len().saturating_mul(MOST_TIMES)));
    let place = match limit > room::SMALL {
        true => Some(app.bodies.take(Some(inlet.source.tenant_id), limit).ok_or_else(body::crowded)?),
        false => None,
    };
    let packed = raw.clone();
    let unpacked = tokio::task::spawn_blocking(move || packing.unpack(&packed, limit))
        .await
        .map_err(|error| Problem::internal(format!("unpacking a body: {error}")))?;
    let unpacked = unpacked.map_err(|error| {
        Problem::new(Kind::Unparsable, format!("the body is not what its Content-Encoding says: {error}"))
    })?;
    if unpacked.len() > limit {
        let detail = match limit == max {
            true => format!("the body unpacks to more than the {max} bytes that are taken"),
            false => format!("the body unpacks to more than {MOST_TIMES} times its size"),
        };
        return Err(Problem::new(Kind::BodyTooLarge, detail).into());
    }
    let unpacked = Bytes::from(unpacked);
    Ok(place.map_or(unpacked.clone(), |place| place.hold(unpacked)))
}

/// How a body is packed (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    /// The zlib format.
    Deflate,
}

impl Packing {
    fn of(coding: &[u8]) -> Option<Self> {
        let coding = coding.trim_ascii().to_ascii_lowercase();
        match coding.as_slice() {
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// At most one byte more than `limit`, which says that there would be more.
    fn unpack(self, packed: &[u8], limit: usize) -> std::io::Result<Vec<u8>> {
        let most = limit as u64 + 1;
        let mut unpacked = Vec::new();
        match self {
            Self::Gzip => MultiGzDecoder::new(packed).take(most).read_to_end(&mut unpacked),
            Self::Deflate => ZlibDecoder::new(packed).take(most).read_to_end(&mut unpacked),
        }?;
        Ok(unpacked)
    }
}

/// An answer that the source gives.
fn given(reply: &Reply) -> Response {
    let mut response = (reply.status, reply.bytes()).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    if let Some(content_type) = &reply.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    response
}

fn refused(refusal: &Refusal, parts: &Parts, size: Option<usize>, at: Timestamp) -> Refused {
    let entry = refusal.problem.kind().entry();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    Refused {
        at,
        count: 1,
        method: parts.method.to_string(),
        status_code: entry.status.as_u16(),
        reason: entry.id.to_owned(),
        detail: refusal.detail.clone().unwrap_or_else(|| refusal.problem.detail().to_owned()),
        header: refusal.header.clone(),
        body_size: size.or_else(|| body::announced(&parts.headers).and_then(|size| usize::try_from(size).ok())),
        content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        remote_address: parts.extensions.get::<Peer>().map(|peer| peer.0),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_bodies_are_unpacked_within_bounds() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(Packing::Deflate.unpack(&zlib, 10).unwrap(), b"hello");
        // Two members are one body (RFC 1952, section 2.2).
        let twice = [gzip(b"hello "), gzip(b"world")].concat();
        assert_eq!(Packing::Gzip.unpack(&twice, 100).unwrap(), b"hello world");
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(Packing::Gzip.unpack(&bomb, 1_000).unwrap().len(), 1_001);
        let cut = &twice[..twice.len() - 1];
        for broken in [b"hello".as_slice(), &twice[1..], cut, b""] {
            assert!(Packing::Gzip.unpack(broken, 100).is_err(), "{}", broken.escape_ascii());
        }
        let mut torn = gzip(b"hello");
        let last = torn.len() - 6;
        torn[last] ^= 1;
        assert!(Packing::Gzip.unpack(&torn, 100).is_err(), "its checksum is wrong");
    }

    #[test]
    fn codings_by_name() {
        for (name, packing) in [
            ("gzip", Some(Packing::Gzip)),
            ("X-GZIP", Some(Packing::Gzip)),
            ("deflate", Some(Packing::Deflate)),
            ("br", None),
            ("gzip, gzip", None),
        ] {
            assert_eq!(Packing::of(name.as_bytes()), packing, "{name}");
        }
    }
}
