//! The plugins and connectors there are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::PluginView;
use crate::domain::{Kind, Role};
use crate::http::Shared;
use crate::http::body::answer;
use crate::http::guard::Access;
use crate::http::params::{List, Segments};
use crate::http::problem::Problem;
use crate::http::route::{Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Plugins).needs(Access::OperatorOrTenant(Role::Viewer));
    vec![
        row(Route::get("/v1/connectors", "list_connectors", "List connectors", connectors))
            .about("The manifests of the connectors, with the schema of what each wants to be told.")
            .lists::<PluginView>(),
        row(Route::get("/v1/plugins", "list_plugins", "List plugins", plugins)).lists::<PluginView>(),
        row(Route::get("/v1/plugins/{name}", "get_plugin", "Read a plugin", plugin))
            .gives::<PluginView>(StatusCode::OK, "Its manifest."),
        row(Route::get("/v1/plugins/{name}/{version}", "get_plugin_version", "Read a version of a plugin", version))
            .gives::<PluginView>(StatusCode::OK, "Its manifest."),
    ]
}

fn all(app: &Shared, kind: Option<Kind>) -> Response {
    let plugins = app.control.plugins(kind);
    // There are a few dozen at most: one page.
    let data = plugins.iter().map(|plugin| PluginView::from(&**plugin)).collect();
    answer(StatusCode::OK, &List::<PluginView> { data, next: None })
}

async fn connectors(State(app): State<Shared>) -> Response {
    all(&app, Some(Kind::Connector))
}

async fn plugins(State(app): State<Shared>) -> Response {
    all(&app, None)
}

async fn plugin(State(app): State<Shared>, Segments(name): Segments<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &PluginView::from(&*app.control.plugin(&name, None)?)))
}

async fn version(
    State(app): State<Shared>,
    Segments((name, version)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &PluginView::from(&*app.control.plugin(&name, Some(&version))?)))
}
