//! Profiles: the products that are known.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::{ProfileSummary, ProfileView, ReloadedView};
use crate::domain::Role;
use crate::http::Shared;
use crate::http::body::answer;
use crate::http::guard::Access;
use crate::http::params::{List, Segments};
use crate::http::problem::Problem;
use crate::http::route::{Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::Profiles).needs(Access::OperatorOrTenant(Role::Viewer));
    vec![
        reads(Route::get("/v1/profiles", "list_profiles", "List profiles", list_all)).lists_all::<ProfileSummary>(),
        reads(Route::get("/v1/profiles/{name}", "get_profile", "Read a profile", get))
            .about("With every event type and its samples: requests as the product makes them, and the data in them.")
            .gives::<ProfileView>(StatusCode::OK, "The profile."),
        Route::post("/v1/profiles/reload", "reload_profiles", "Read the operator's profiles again", reload)
            .tag(Tag::Profiles)
            .needs(Access::Operator)
            .about(
                "Reads the folder of `profiles.dir`. A broken file is refused, with the line and the reason; the others \
                 count, and what was loaded under its name before stays. SIGHUP does the same.",
            )
            .gives::<ReloadedView>(StatusCode::OK, "What came of it."),
    ]
}

async fn list_all(State(app): State<Shared>) -> Response {
    // As many as there are files: one page.
    let data = app.control.profiles().iter().map(|profile| ProfileSummary::from(&**profile)).collect();
    answer(StatusCode::OK, &List::<ProfileSummary> { data, next: None })
}

async fn get(State(app): State<Shared>, Segments(name): Segments<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &ProfileView::from(&*app.control.profile(&name)?)))
}

async fn reload(State(app): State<Shared>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &ReloadedView::from(&app.control.reload_profiles().await?)))
}
