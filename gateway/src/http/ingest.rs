//! Where events come in: the hot path. A body is read once, handed on as it is, and answered by hand.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::{Access, Caller, authenticate};
use super::params::{Params, Segments, query};
use super::problem::{Kind, Problem, ProblemView};
use super::route::{Payload, Route, Tag};
use super::{App, Shared, body, front};
use crate::domain::{EventId, FieldError, Role, TenantId};
use crate::pipeline::{Incoming, IngestError, Ingested, ItemError, NewEvent, Pipeline};

/// Where a tenant's events come in, and whose key is taken there.
const EVENTS: &str = "/v1/events";
const OF_A_TENANT: Access = Access::Tenant(Role::Ingest);

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    const ATOMIC: (&str, &str) = (
        "atomic",
        "`true`: if one event of a batch is not valid, breaks the schema of its type, or has the `id` of an earlier \
         one of the batch and other content, none is accepted (422). What came in an earlier request is found only \
         while the batch is written: an event with the same `id` or key, and other content, is then refused alone.",
    );
    const WHAT: &str = "One event; a JSON array or NDJSON of at most 1,000; or CloudEvents 1.0 in any of its three \
        modes. Answered once it is on disk. The same `id` (per `source`) within 24 hours answers `200` with the first \
        answer and `\"duplicate\": true`; with other content it is a 409. A batch is answered item by item, in order. \
        An event without an `id` is known by the request's `Idempotency-Key`, in a batch together with its place, so \
        that a batch that is sent again stores nothing twice; the same key with other content is a 422. For an event \
        with an `id` that alone decides, whatever the key.";
    vec![
        Route::post(EVENTS, "post_events", "Accept events", post_events)
            .tag(Tag::Ingest)
            .needs(OF_A_TENANT)
            .about(WHAT)
            .query(&[ATOMIC])
            .takes(Payload::Events)
            .gives::<Receipt>(StatusCode::ACCEPTED, "Accepted, and on disk.")
            .hot(),
        Route::post(
            "/v1/tenants/{tenant}/events",
            "post_tenant_events",
            "Accept events of a tenant",
            post_tenant_events,
        )
        .tag(Tag::Ingest)
        .needs(Access::Producer)
        .about("The same for the source product itself, with a `producer` key. The tenant is `ten_…` or `uid:…`.")
        .query(&[ATOMIC])
        .takes(Payload::Events)
        .gives::<Receipt>(StatusCode::ACCEPTED, "Accepted, and on disk.")
        .hot(),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IngestQuery {
    #[serde(default)]
    atomic: bool,
}

/// What was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    /// The gateway's id for the event; of a duplicate, the first one's.
    #[schema(value_type = String)]
    id: EventId,
    /// The client's own id.
    external_id: Option<String>,
    /// To how many subscriptions it is owed.
    deliveries: usize,
    /// Present and `true` if it was accepted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    duplicate: bool,
}

/// The answer to a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReceipt {
    /// How many were accepted, duplicates among them.
    accepted: usize,
    /// How many were not.
    rejected: usize,
    /// One each, in order.
    data: Vec<ItemReceipt>,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ItemReceipt {
    /// It was accepted.
    Accepted(Receipt),
    /// It was not.
    Rejected {
        /// Why.
        problem: ProblemView,
    },
}

impl From<Ingested> for Receipt {
    fn from(ingested: Ingested) -> Self {
        let Ingested { id, external_id, deliveries, duplicate } = ingested;
        Self { id, external_id, deliveries, duplicate }
    }
}

impl Receipt {
    fn status(&self) -> StatusCode {
        if self.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

/// Looks at the key itself, since most requests come here [`straight`].
async fn post_events(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let caller = Caller(authenticate(&app, OF_A_TENANT, request.headers())?);
    let IngestQuery { atomic } = query(request.uri())?;
    accept(&app, caller.tenant()?, atomic, request).await
}

/// Whether a request is one of those that most are.
pub(super) fn goes_straight(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path() == EVENTS
}

/// [`post_events`] behind the front, without the router. On the way through its layers a request is boxed and moved a
/// dozen times, which costs as much as to parse it.
pub(super) async fn straight(app: Shared, request: Request) -> Response {
    front::around(request, |request| async {
        post_events(State(app), request).await.unwrap_or_else(IntoResponse::into_response)
    })
    .await
}

async fn post_tenant_events(
    State(app): State<Shared>,
    Segments(tenant): Segments<String>,
    Params(query): Params<IngestQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    accept(&app, tenant.id, query.atomic, request).await
}

async fn accept(app: &App, tenant: TenantId, atomic: bool, request: Request) -> Result<Response, Problem> {
    let (headers, bytes) = read(app, tenant, request).await?;
    let content_type = match headers.get(header::CONTENT_TYPE) {
        Some(value) => Some(
            value.to_str().map_err(|_| Problem::new(Kind::UnsupportedMediaType, "the content type is not readable"))?,
        ),
        None => None,
    };
    let mut incoming = Pipeline::parse(content_type, &headers, &bytes, &app.config.parse)?;
    note_key(&mut incoming, &headers)?;
    // The connection reads what comes next into the same memory, if nothing of the request is left in it.
    drop((headers, bytes));
    match incoming {
        Incoming::One(event) => one(app, tenant, event).await,
        Incoming::Many(items) => batch(app, tenant, items, atomic).await,
    }
}

/// Gives events without an id of their own the request's `Idempotency-Key`, in a batch with their places. No header has
/// a zero in it, so none of these is another request's key.
fn note_key(incoming: &mut Incoming, headers: &HeaderMap) -> Result<(), Problem> {
    match incoming {
        Incoming::One(event) if event.external_id.is_none() => {
            event.dedupe = idempotency_key(headers)?.map(str::to_owned);
        }
        Incoming::One(_) => {}
        Incoming::Many(items) => {
            let Some(key) = idempotency_key(headers)? else { return Ok(()) };
            for (at, item) in items.iter_mut().enumerate() {
                if let Ok(event) = item
                    && event.external_id.is_none()
                {
                    event.dedupe = Some(format!("{key}\0{at}"));
                }
            }
        }
    }
    Ok(())
}

/// Why an event was not taken. To a client an id and an `Idempotency-Key` are different mistakes.
fn refused(error: IngestError, goes_by_key: bool) -> Problem {
    match error {
        IngestError::Conflict { event_id } if goes_by_key => Problem::new(
            Kind::IdempotencyKeyReused,
            format!("this Idempotency-Key came before, as {event_id}, with other content; use a new one"),
        ),
        error => error.into(),
    }
}

pub(super) async fn one(app: &App, tenant: TenantId, event: NewEvent) -> Result<Response, Problem> {
    let goes_by_key = event.goes_by_key();
    let ingested = app.pipeline.ingest(tenant, vec![event]).await.pop();
    let ingested = ingested.ok_or_else(|| Problem::internal("ingest answered nothing to one event"))?;
    let receipt = Receipt::from(ingested.map_err(|error| refused(error, goes_by_key))?);
    Ok(body::answer(receipt.status(), &receipt))
}

async fn batch(
    app: &App,
    tenant: TenantId,
    items: Vec<Result<NewEvent, ItemError>>,
    atomic: bool,
) -> Result<Response, Problem> {
    let items = if atomic { judged_beforehand(app, tenant, items).await } else { items };
    if atomic && items.iter().any(Result::is_err) {
        let wrong = items.into_iter().enumerate().filter_map(|(at, item)| item.err().map(|error| (at, error)));
        let errors = wrong.flat_map(|(at, error)| match error.errors.is_empty() {
            true => vec![FieldError::new(format!("/{at}"), error.detail)],
            false => error
                .errors
                .into_iter()
                .map(|error| FieldError::new(format!("/{at}{}", error.pointer), error.detail))
                .collect(),
        });
        return Err(Problem::invalid(errors.collect()));
    }
    let mut good = Vec::with_capacity(items.len());
    // What is bad keeps its place; what is good leaves a gap that the answer fills.
    let places: Vec<Result<bool, Problem>> = items
        .into_iter()
        .map(|item| {
            let event = item?;
            let goes_by_key = event.goes_by_key();
            good.push(event);
            Ok(goes_by_key)
        })
        .collect();
    let mut answers = match good.is_empty() {
        true => Vec::new(),
        false => app.pipeline.ingest(tenant, good).await,
    };
    // Nothing was accepted for a reason of ours: the batch as a whole is to be sent again.
    let theirs = |answer: &_| matches!(answer, Ok(_) | Err(IngestError::Conflict { .. } | IngestError::Schema(_)));
    let ours = |answer: &Result<Ingested, IngestError>| !theirs(answer);
    if answers.iter().all(ours)
        && let Some(Err(error)) = answers.pop()
    {
        return Err(error.into());
    }
    let mut answers = answers.into_iter();
    let data: Vec<ItemReceipt> = places
        .into_iter()
        .map(|place| match place {
            Err(problem) => ItemReceipt::Rejected { problem: problem.view(None) },
            Ok(goes_by_key) => match answers.next() {
                Some(Ok(ingested)) => ItemReceipt::Accepted(ingested.into()),
                Some(Err(error)) => ItemReceipt::Rejected { problem: refused(error, goes_by_key).view(None) },
                None => ItemReceipt::Rejected { problem: Problem::internal("no answer").view(None) },
            },
        })
        .collect();
    let accepted = data.iter().filter(|item| matches!(item, ItemReceipt::Accepted(_))).count();
    let receipt = BatchReceipt { accepted, rejected: data.len() - accepted, data };
    Ok(body::answer(StatusCode::ACCEPTED, &receipt))
}

/// What would be refused one by one is known beforehand where all is to be refused; but for ids that came earlier with
/// other content, which the store finds as it writes.
async fn judged_beforehand(
    app: &App,
    tenant: TenantId,
    items: Vec<Result<NewEvent, ItemError>>,
) -> Vec<Result<NewEvent, ItemError>> {
    let (mut judged, mut firsts) = (Vec::with_capacity(items.len()), Firsts::new());
    for (at, item) in items.into_iter().enumerate() {
        judged.push(match item {
            Ok(event) => {
                let fits = app.pipeline.check(tenant, &event).await;
                let alike = fits.and_then(|()| is_like_first(app, tenant, at, &event, &mut firsts));
                alike.map(|()| event).map_err(ItemError::invalid)
            }
            Err(error) => Err(error),
        });
    }
    judged
}

/// By scope and id: the place of the first event of a batch that has it, and a digest of its content.
type Firsts = HashMap<(String, String), (usize, [u8; 32])>;

/// Whether an event has the content of the first one of its batch with the same id.
fn is_like_first(
    app: &App,
    tenant: TenantId,
    at: usize,
    event: &NewEvent,
    firsts: &mut Firsts,
) -> Result<(), Vec<FieldError>> {
    let Some(own) = app.pipeline.sameness(tenant, event) else { return Ok(()) };
    let (first, content) = *firsts.entry((own.scope, own.key)).or_insert((at, own.content));
    if content == own.content {
        return Ok(());
    }
    Err(vec![FieldError::new("/id", format!("the event at `#/{first}` has the same `id`, and other content"))])
}

/// The events of one request of a product, in one commit.
pub(super) async fn all(app: &App, tenant: TenantId, events: Vec<NewEvent>) -> Result<Response, Problem> {
    batch(app, tenant, events.into_iter().map(Ok).collect(), false).await
}

async fn read(app: &App, tenant: TenantId, request: Request) -> Result<(HeaderMap, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if parts.headers.get_all(header::CONTENT_ENCODING).iter().any(encoded) {
        return Err(Problem::new(Kind::UnsupportedContentEncoding, "send the body without Content-Encoding"));
    }
    let bytes = body::read(app, Some(tenant), &parts.headers, body).await?;
    Ok((parts.headers, bytes))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= 256 => Ok(Some(key)),
        _ => Err(Problem::new(Kind::Invalid, "an Idempotency-Key is 1 to 256 printable ASCII characters")),
    }
}

impl IntoResponse for Receipt {
    fn into_response(self) -> Response {
        body::answer(self.status(), &self)
    }
}
