//! The gateway itself: is it alive, is it ready, how does it fare, where does it deliver from.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::answer;
use super::guard::Access;
use super::problem::{Kind, Problem};
use super::route::{Route, Tag};
use super::{Readiness, Shared};
use crate::domain::Role;

/// The routes of this file on the public listener.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/egress-ips", "list_egress_ips", "Where deliveries come from", egress_ips)
            .tag(Tag::System)
            .needs(Access::OperatorOrTenant(Role::Ingest))
            .about("The addresses that the operator says deliveries come from, for firewalls.")
            .gives::<EgressIps>(StatusCode::OK, "The addresses; empty if the operator names none."),
        Route::get("/healthz", "healthz", "Whether it lives", healthz)
            .tag(Tag::System)
            .needs(Access::Public)
            .gives::<StatusView>(StatusCode::OK, "It does."),
        Route::get("/readyz", "readyz", "Whether it takes requests", readyz)
            .tag(Tag::System)
            .needs(Access::Public)
            .gives::<StatusView>(StatusCode::OK, "It does."),
    ]
}

/// Where deliveries come from.
#[derive(Debug, Serialize, ToSchema)]
struct EgressIps {
    /// Addresses or networks.
    data: Vec<String>,
}

/// How the gateway is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
struct StatusView {
    /// `ok`.
    status: &'static str,
    /// The gateway's version.
    version: &'static str,
}

const FINE: StatusView = StatusView { status: "ok", version: env!("CARGO_PKG_VERSION") };

async fn egress_ips(State(app): State<Shared>) -> Response {
    answer(StatusCode::OK, &EgressIps { data: app.config.egress_ips.clone() })
}

/// It answers, so it lives.
pub(super) async fn healthz() -> Response {
    answer(StatusCode::OK, &FINE)
}

/// Whether requests may be sent here.
pub(super) async fn readyz(State(app): State<Shared>) -> Result<Response, Problem> {
    let detail = match &*app.readiness.borrow() {
        Readiness::Ready => return Ok(answer(StatusCode::OK, &FINE)),
        Readiness::Starting => "the gateway is starting".to_owned(),
        Readiness::Draining => "the gateway is stopping".to_owned(),
        Readiness::Failed(why) => why.clone(),
    };
    Err(Problem::new(Kind::Unavailable, detail))
}

/// The metrics as Prometheus reads them.
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], (app.metrics)()).into_response()
}
