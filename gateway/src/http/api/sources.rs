//! Sources.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::pasted;
use super::subscriptions::{Rotation, USUAL_OVERLAP};
use super::views::{NewSource, RefusalView, RotatedSource, SourceTrialView, SourceView, Time};
use crate::control::Control;
use crate::domain::{HandshakeMethod, Role};
use crate::http::body::{Fields, Json, OptionalJson, answer, created, nothing, versioned};
use crate::http::guard::{Access, Caller};
use crate::http::params::{IfMatch, List, Paging, Params, Segments, id, list};
use crate::http::problem::{Kind, Problem};
use crate::http::route::{Payload, Route, Tag};
use crate::http::source::{Asked, Found, look, max_body, prove};
use crate::http::{App, Shared};
use crate::registry::Inlet;
use crate::signing::Rejection;

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::Sources).needs(Access::Tenant(Role::Viewer));
    let writes = |route: Route| route.tag(Tag::Sources).needs(Access::Tenant(Role::Editor));
    vec![
        reads(Route::get("/v1/sources", "list_sources", "List sources", list_all)).lists::<SourceView>(),
        writes(Route::post("/v1/sources", "create_source", "Make a source", create))
            .about("The answer's `url` is what to paste into the product.")
            .takes(Payload::json::<NewSource>())
            .gives::<SourceView>(StatusCode::CREATED, "Made."),
        reads(Route::get("/v1/sources/{source}", "get_source", "Read a source", get))
            .gives::<SourceView>(StatusCode::OK, "The source."),
        writes(Route::patch("/v1/sources/{source}", "update_source", "Change a source", patch))
            .about("A merge patch. An omitted secret is kept, `null` clears it.")
            .conditional()
            .takes(Payload::patch::<NewSource>())
            .gives::<SourceView>(StatusCode::OK, "Changed."),
        writes(Route::delete("/v1/sources/{source}", "delete_source", "Remove a source", delete))
            .about("Its events stay.")
            .conditional(),
        writes(Route::post("/v1/sources/{source}/rotate-secret", "rotate_source_secret", "Rotate the secret", rotate))
            .about(
                "During the overlap requests that prove themselves with either secret are believed, then the new one \
                 alone. A secret is made when none is given, but for schemes with a public key, which only the product \
                 can make. Put the answer's `secret` into the product; it is shown this once.",
            )
            .conditional()
            .takes(Payload::optional::<Rotation>())
            .gives::<RotatedSource>(StatusCode::OK, "Both secrets count."),
        writes(Route::post(
            "/v1/sources/{source}/rotate-secret/finish",
            "finish_source_secret_rotation",
            "End a rotation now",
            finish,
        ))
        .about("The old secret counts no more.")
        .conditional()
        .gives::<SourceView>(StatusCode::OK, "The new secret alone counts."),
        reads(Route::get("/v1/sources/{source}/refusals", "list_source_refusals", "Why nothing arrives", refusals))
            .about(
                "Requests to the source that were refused, newest first. Refusals of one kind from one address within a \
                 second are one entry that counts. The last 100 entries of a source are kept, of a tenant's sources \
                 together 1,000, and of all 20,000; they are written down every half minute and at the end, so that \
                 a process that is killed forgets the last of them.",
            )
            .lists_all::<RefusalView>(),
        writes(Route::post("/v1/sources/{source}/try", "try_source", "Try a request", attempt))
            .about(
                "Says what a raw request would yield: whether it proves itself, the answer to a handshake, the events, \
                 and to how many subscriptions each would be owed. `at` is the time to hold its timestamp against. \
                 Nothing is stored.",
            )
            .takes(Payload::json::<SourceTrial>())
            .gives::<SourceTrialView>(StatusCode::OK, "What it would yield."),
    ]
}

fn view(app: &App, inlet: &Inlet) -> SourceView {
    SourceView::new(&inlet.source, &app.config)
}

async fn list_all(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let sources = app.control.sources(caller.tenant()?);
    list(sources, paging.read()?, |inlet| inlet.source.id, |inlet| view(&app, inlet)).await
}

async fn create(State(app): State<Shared>, caller: Caller, Json(wanted): Fields) -> Result<Response, Problem> {
    let inlet = app.control.create_source(caller.tenant()?, wanted).await?;
    let location = format!("/v1/sources/{}", inlet.source.id);
    Ok(created(&location, &Control::source_version(&inlet.source), &view(&app, &inlet)))
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
) -> Result<Response, Problem> {
    let inlet = app.control.source(caller.tenant()?, id(&source, "source")?)?;
    Ok(versioned(StatusCode::OK, &Control::source_version(&inlet.source), &view(&app, &inlet)))
}

async fn patch(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
    IfMatch(expected): IfMatch,
    Json(patch): Fields,
) -> Result<Response, Problem> {
    let inlet = app.control.patch_source(caller.tenant()?, id(&source, "source")?, patch, &expected).await?;
    Ok(versioned(StatusCode::OK, &Control::source_version(&inlet.source), &view(&app, &inlet)))
}

async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    app.control.delete_source(caller.tenant()?, id(&source, "source")?, &expected).await?;
    Ok(nothing())
}

async fn rotate(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
    IfMatch(expected): IfMatch,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap.unwrap_or(USUAL_OVERLAP);
    let (tenant, source) = (caller.tenant()?, id(&source, "source")?);
    let (inlet, secret) = app.control.rotate_source_secret(tenant, source, rotation.secret, overlap, &expected).await?;
    let version = Control::source_version(&inlet.source);
    Ok(versioned(StatusCode::OK, &version, &RotatedSource::new(view(&app, &inlet), &secret)))
}

async fn finish(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let inlet = app.control.finish_source_rotation(caller.tenant()?, id(&source, "source")?, &expected).await?;
    Ok(versioned(StatusCode::OK, &Control::source_version(&inlet.source), &view(&app, &inlet)))
}

async fn refusals(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
) -> Result<Response, Problem> {
    let inlet = app.control.source(caller.tenant()?, id(&source, "source")?)?;
    let data = app.control.refusals().of(inlet.source.id).into_iter().map(RefusalView::from).collect();
    Ok(answer(StatusCode::OK, &List { data, next: None }))
}

/// A raw request, as a product would send it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SourceTrial {
    /// `POST`, unless given, or `GET`.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    method: HandshakeMethod,
    /// By name, where a header that is there several times has a list; or a list of pairs, `["name", "value"]`.
    #[serde(default)]
    #[schema(required = false, value_type = Object)]
    headers: Value,
    /// The URL's query, without the `?`.
    #[serde(default)]
    #[schema(required = false)]
    query: String,
    /// The body as text.
    #[serde(default)]
    #[schema(required = false)]
    body: Option<String>,
    /// The body as bytes, in place of `body`.
    #[serde(default)]
    #[schema(required = false)]
    body_base64: Option<String>,
    /// The time to hold its timestamp against; now, unless given.
    #[serde(default)]
    #[schema(required = false, value_type = Time)]
    at: Option<Timestamp>,
}

async fn attempt(
    State(app): State<Shared>,
    caller: Caller,
    Segments(source): Segments<String>,
    Json(trial): Json<SourceTrial>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let inlet = app.control.source(tenant, id(&source, "source")?)?;
    let invalid = |error| Problem::invalid(vec![error]);
    let headers = pasted::headers(&trial.headers).map_err(invalid)?;
    let raw = Bytes::from(pasted::body(trial.body.as_deref(), trial.body_base64.as_deref()).map_err(invalid)?);
    let max = max_body(&app, &inlet);
    let is_too_large = raw.len() > max;
    let now = trial.at.unwrap_or_else(|| app.control.clock().now());
    let asked = Asked { method: trial.method, headers: &headers, query: &trial.query, raw, now };
    let proven = match prove(&app, &inlet, &asked).await {
        Ok(proof) => proof.verdict.err(),
        // What is wrong with the body is the problem that follows.
        Err(_) => Some(Rejection::StillPacked),
    };
    let found = match is_too_large {
        true => {
            Err(Problem::new(Kind::BodyTooLarge, format!("the body is larger than the {max} bytes that are taken")))
        }
        false => look(&app, &inlet, &asked).await.map_err(|refusal| refusal.problem),
    };
    let view = match found {
        Ok(Found::Question(reply)) => SourceTrialView::question(proven, &reply),
        Ok(Found::Events(events)) => {
            let wanted = events.into_iter().map(|event| (app.pipeline.wanted_by(tenant, &event), event));
            SourceTrialView::events(proven, wanted)
        }
        Err(problem) => SourceTrialView::problem(proven, problem.view(None)),
    };
    Ok(answer(StatusCode::OK, &view))
}
