//! Sources.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::{NewSource, SourceView};
use crate::control::Control;
use crate::domain::Role;
use crate::http::body::{Fields, Json, answer, created, nothing, versioned};
use crate::http::guard::{Access, Caller};
use crate::http::params::{IfMatch, Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};
use crate::http::{App, Shared};
use crate::registry::Inlet;

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
    let page = list(sources, paging.read()?, |inlet| inlet.source.id, |inlet| view(&app, inlet));
    Ok(answer(StatusCode::OK, &page))
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
