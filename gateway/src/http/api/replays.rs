//! Replays.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::views::{NewReplayBody, ReplayView};
use crate::control::{NewReplay, ReplayAnswer};
use crate::domain::{ReplayId, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer};
use crate::http::guard::{Access, Caller};
use crate::http::params::{Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::Replays).needs(Access::Tenant(Role::Viewer));
    let writes = |route: Route| route.tag(Tag::Replays).needs(Access::Tenant(Role::Editor));
    vec![
        writes(Route::post("/v1/replays", "create_replay", "Send events again", create))
            .about(
                "Goes through the events of a span in the background, oldest first, and makes deliveries as they would \
                 be made now; `GET /v1/replays/{replay}` shows how far it has come. It makes them in small steps, so \
                 that what comes in meanwhile does not wait behind them, and goes on after a restart. At most two of a \
                 tenant run at once. With `dry_run` nothing is changed, and the answer (200) says what would be made.",
            )
            .takes(Payload::json::<NewReplayBody>())
            .gives::<ReplayView>(StatusCode::ACCEPTED, "It has begun."),
        reads(Route::get("/v1/replays", "list_replays", "List replays", list_all))
            .about("Those that run, and the last hundred.")
            .lists::<ReplayView>(),
        reads(Route::get("/v1/replays/{replay}", "get_replay", "Read a replay", get))
            .gives::<ReplayView>(StatusCode::OK, "The replay, and how far it has come."),
        writes(Route::delete("/v1/replays/{replay}", "cancel_replay", "End a replay", cancel))
            .about("No more deliveries are made. Those that were made stay.")
            .gives::<ReplayView>(StatusCode::OK, "It is cancelled."),
    ]
}

async fn create(State(app): State<Shared>, caller: Caller, Json(wanted): Json<NewReplay>) -> Result<Response, Problem> {
    Ok(match app.control.replay(caller.tenant()?, wanted).await? {
        ReplayAnswer::Begun(replay) => {
            let mut response = answer(StatusCode::ACCEPTED, &ReplayView::from(&replay));
            if let Ok(location) = HeaderValue::try_from(format!("/v1/replays/{}", replay.id)) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        ReplayAnswer::Dry(spec, dry) => answer(StatusCode::OK, &ReplayView::of_dry_run(&spec, &dry)),
    })
}

async fn list_all(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let replays = app.control.replays(caller.tenant()?);
    list(replays, paging.read()?, |replay| replay.id, |replay| ReplayView::from(replay)).await
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(replay): Segments<String>,
) -> Result<Response, Problem> {
    let replay: ReplayId = id(&replay, "replay")?;
    Ok(answer(StatusCode::OK, &ReplayView::from(&app.control.replay_by_id(caller.tenant()?, replay)?)))
}

async fn cancel(
    State(app): State<Shared>,
    caller: Caller,
    Segments(replay): Segments<String>,
) -> Result<Response, Problem> {
    let replay: ReplayId = id(&replay, "replay")?;
    Ok(answer(StatusCode::OK, &ReplayView::from(&app.control.cancel_replay(caller.tenant()?, replay).await?)))
}
