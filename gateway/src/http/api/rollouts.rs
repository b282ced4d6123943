//! How candidates fare, what plugins have used, and past deliveries run again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::views::{DeliveryRunView, PluginUsageView, RolloutView};
use crate::domain::{DeliveryId, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer};
use crate::http::guard::{Access, Caller};
use crate::http::params::{Segments, id};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/subscriptions/{subscription}/rollout", "get_subscription_rollout", "How candidates fare", rollout)
            .tag(Tag::Subscriptions)
            .needs(Access::Tenant(Role::Viewer))
            .about(
                "For each step that has a `candidate`: what the calls of both have used, and for a candidate in the shadow \
                 how often it made the same, with the latest differences as JSON patches. Counted since the gateway \
                 started, or since another version or config took part.",
            )
            .gives::<RolloutView>(StatusCode::OK, "The candidates, in the order of the steps."),
        Route::post("/v1/deliveries/{delivery}/run", "run_delivery", "Run a delivery again, dry", run)
            .tag(Tag::Deliveries)
            .needs(Access::Tenant(Role::Editor))
            .about(
                "Makes a past delivery again, as its subscription was then, with any version of one of its plugins, and \
                 compares that with what was sent. Nothing is sent and nothing is kept.",
            )
            .takes(Payload::json::<DeliveryRunBody>())
            .gives::<DeliveryRunView>(StatusCode::OK, "What would be sent, be it a fault."),
        Route::get("/v1/usage", "get_plugin_usage", "What plugins have used", usage)
            .tag(Tag::Plugins)
            .needs(Access::Tenant(Role::Viewer))
            .about("Calls, faults, processor time and memory by plugin, since the gateway started.")
            .gives::<PluginUsageView>(StatusCode::OK, "By plugin."),
        Route::get("/v1/tenants/{tenant}/plugin-usage", "get_tenant_plugin_usage", "What a tenant's plugins have used", of)
            .tag(Tag::Tenants)
            .needs(Access::Operator)
            .gives::<PluginUsageView>(StatusCode::OK, "By plugin."),
    ]
}

async fn rollout(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
) -> Result<Response, Problem> {
    let rollouts = app.control.rollouts(caller.tenant()?, &subscription)?;
    Ok(answer(StatusCode::OK, &RolloutView::from(rollouts.as_slice())))
}

/// With what to run a delivery again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeliveryRunBody {
    /// `name`, `name@1.2.0` or `name@sha256:…`: a version of a plugin that its subscription has.
    plugin: String,
    /// In the place of the config that the subscription had.
    #[serde(default)]
    #[schema(required = false, value_type = Object)]
    config: Option<Value>,
}

async fn run(
    State(app): State<Shared>,
    caller: Caller,
    Segments(delivery): Segments<String>,
    Json(body): Json<DeliveryRunBody>,
) -> Result<Response, Problem> {
    let delivery: DeliveryId = id(&delivery, "delivery")?;
    let run = app.control.run_delivery(caller.tenant()?, delivery, &body.plugin, body.config).await?;
    Ok(answer(StatusCode::OK, &DeliveryRunView::from(&run)))
}

async fn usage(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &PluginUsageView::from(&app.control.plugin_usage(caller.tenant()?))))
}

async fn of(State(app): State<Shared>, Segments(tenant): Segments<String>) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    Ok(answer(StatusCode::OK, &PluginUsageView::from(&app.control.plugin_usage(tenant.id))))
}
