//! Running a plugin over one event.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::trial::EventShape;
use super::views::RunView;
use crate::control::{RunEvent, read_slice};
use crate::domain::{FieldError, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer};
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
    let below = |errors: Vec<FieldError>| {
        let errors = errors.into_iter().map(|error| FieldError::new(format!("/event{}", error.pointer), error.detail));
        Problem::invalid(errors.collect())
    };
    // Read by itself, so that its data stays the text that it is.
    let event = match read_slice::<RunEvent>(body.event.get().as_bytes()) {
        Ok(read) => read.map_err(below)?,
        Err(detail) => return Err(below(vec![FieldError::new("", detail)])),
    };
    let trial = app.control.run_plugin(caller.tenant()?, &name, event, body.config).await?;
    Ok(answer(StatusCode::OK, &RunView::from(&trial)))
}
