//! Running a plugin over one event, also where there is no gateway around it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::trial::EventShape;
use super::views::RunView;
use crate::control::{PluginTrial, RunEvent, read_slice};
use crate::domain::{FieldError, PluginEvent, Role, TenantId};
use crate::engine::{Engine, Plugin};
use crate::http::Shared;
use crate::http::body::{Json, answer, parse};
use crate::http::guard::{Access, Caller};
use crate::http::params::Segments;
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/plugins/{name}/run", "run_plugin", "Run a plugin", run)
            .tag(Tag::Plugins)
            .needs(Access::Tenant(Role::Editor))
            .about(
                "Shows what a plugin makes of an event: `name`, `name@1.2.0`, `name@sha256:…` or a preset. Nothing is \
                 sent. The same input always gives the same output: an `id` that is left out is `evt_run`, a `timestamp` \
                 the beginning of 1970, and a secret in `config` is stood for by a placeholder.",
            )
            .takes(Payload::json::<RunBody>())
            .gives::<RunView>(StatusCode::OK, "What came of it, be it a fault."),
    ]
}

/// What to run a plugin with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunBody {
    /// The event; `attributes` are an object of texts.
    #[schema(value_type = EventShape)]
    event: Box<RawValue>,
    /// As a subscription has it.
    #[serde(default = "no_config")]
    #[schema(required = false, value_type = Object)]
    config: Value,
}

fn no_config() -> Value {
    Value::Object(serde_json::Map::new())
}

async fn run(
    State(app): State<Shared>,
    caller: Caller,
    Segments(name): Segments<String>,
    Json(body): Json<RunBody>,
) -> Result<Response, Problem> {
    let event = read_event(&body.event)?;
    let trial = app.control.run_plugin(caller.tenant()?, &name, event, body.config).await?;
    Ok(answer(StatusCode::OK, &RunView::from(&trial)))
}

/// Read by itself, so that its data stays the text that it is.
fn read_event(text: &RawValue) -> Result<RunEvent, Problem> {
    let below = |errors: Vec<FieldError>| {
        let errors = errors.into_iter().map(|error| FieldError::new(format!("/event{}", error.pointer), error.detail));
        Problem::invalid(errors.collect())
    };
    match read_slice::<RunEvent>(text.get().as_bytes()) {
        Ok(read) => read.map_err(below),
        Err(detail) => Err(below(vec![FieldError::new("", detail)])),
    }
}

/// What a gateway that has this plugin would answer to `body`, for authors who have none at hand.
///
/// # Errors
/// The problem that it would answer; like the answer, a JSON text.
pub async fn run_alone(engine: &Engine, plugin: Arc<Plugin>, body: &str) -> Result<String, String> {
    let (event, config) = prepare(&plugin, body).map_err(|problem| json(&problem.view(None)))?;
    let nobody = TenantId::from_bytes([0; 16]);
    let trial = PluginTrial::make(engine, nobody, plugin, event, &config).await;
    Ok(json(&RunView::from(&trial)))
}

fn prepare(plugin: &Plugin, body: &str) -> Result<(PluginEvent, String), Problem> {
    let RunBody { event, config } = parse(body.as_bytes())?;
    PluginTrial::prepare(plugin, read_event(&event)?, config).map_err(Problem::from)
}

fn json<T: Serialize>(view: &T) -> String {
    // These are plain data with text keys.
    serde_json::to_string(view).unwrap_or_default()
}
