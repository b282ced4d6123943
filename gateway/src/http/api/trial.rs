//! Trying before saving, and testing what is saved.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::views::{NewSubscription, PreviewView, TestView, Time};
use crate::control::{EventChoice, SampleEvent, TrialTarget, read_slice};
use crate::domain::{EventId, EventType, FieldError, Role};
use crate::http::Shared;
use crate::http::body::{Json, OptionalJson, answer};
use crate::http::guard::{Access, Caller};
use crate::http::params::Segments;
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Subscriptions).needs(Access::Tenant(Role::Editor));
    vec![
        row(Route::post("/v1/subscriptions/preview", "preview_subscription", "Try before saving", preview))
            .about(
                "Shows what each step would make of an event, and the request. `subscription` is an object as for \
                 making one, or the id (or `uid:…`) of a saved one. Nothing is saved; with `send` the request is made, \
                 once.",
            )
            .takes(Payload::json::<PreviewBody>())
            .gives::<PreviewView>(StatusCode::OK, "What would happen."),
        row(Route::post("/v1/subscriptions/{subscription}/test", "test_subscription", "Send a test", test))
            .about(
                "Sends an event now, whatever filter or pause say. It is recorded with the trigger `test`, never \
                 retried, and not in the statistics. With none of the three fields, an event of the first type that \
                 the subscription names is sent.",
            )
            .takes(Payload::optional::<TestBody>())
            .gives::<TestView>(StatusCode::OK, "What came of it."),
    ]
}

/// What to try, and with which event: one of `type`, `event_id` and `event`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    /// Settings as for making a subscription, or the id of a saved one.
    #[schema(value_type = NewSubscription)]
    subscription: Value,
    /// The newest event of this type; or else one with the data of the catalogue's first sample, or a made-up one.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    r#type: Option<EventType>,
    /// A stored event.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    event_id: Option<EventId>,
    /// This event.
    #[serde(default)]
    #[schema(required = false, value_type = EventShape)]
    event: Option<Box<RawValue>>,
    /// Whether to send it, once.
    #[serde(default)]
    #[schema(required = false)]
    send: bool,
}

/// With which event to test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestBody {
    /// The newest event of this type, or a made-up one.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    r#type: Option<EventType>,
    /// A stored event.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    event_id: Option<EventId>,
    /// This event.
    #[serde(default)]
    #[schema(required = false, value_type = EventShape)]
    event: Option<Box<RawValue>>,
}

/// An event as a client writes it.
#[derive(ToSchema)]
#[schema(as = NewEvent)]
#[expect(dead_code, reason = "a shape for the document")]
pub(in crate::http) struct EventShape {
    /// The client's own id, at most 256 bytes: what makes a second one a duplicate.
    #[schema(required = false)]
    id: Option<String>,
    /// 1 to 200 of `A-Z a-z 0-9 . _ : / -`.
    r#type: String,
    /// When it happened; now, unless given.
    #[schema(required = false)]
    timestamp: Option<Time>,
    /// Who says so.
    #[schema(required = false)]
    source: Option<String>,
    /// Any JSON; it leaves as the bytes it came as.
    #[schema(value_type = Object)]
    data: Value,
}

/// The event is read by itself, so that its data stays the text that it is.
fn choice(
    event_type: Option<EventType>,
    event_id: Option<EventId>,
    event: Option<Box<RawValue>>,
) -> Result<EventChoice, Problem> {
    let below = |errors: Vec<FieldError>| {
        let errors = errors.into_iter().map(|error| FieldError::new(format!("/event{}", error.pointer), error.detail));
        Problem::invalid(errors.collect())
    };
    let event = match event {
        Some(text) => match read_slice::<SampleEvent>(text.get().as_bytes()) {
            Ok(read) => Some(read.map_err(below)?),
            Err(detail) => return Err(below(vec![FieldError::new("", detail)])),
        },
        None => None,
    };
    Ok(EventChoice { event_type, event_id, event })
}

async fn preview(
    State(app): State<Shared>,
    caller: Caller,
    Json(body): Json<PreviewBody>,
) -> Result<Response, Problem> {
    let target = match body.subscription {
        Value::Object(settings) => TrialTarget::Settings(settings),
        Value::String(id) => TrialTarget::Saved(id),
        _ => return Err(Problem::invalid(vec![FieldError::new("/subscription", "an object of settings, or an id")])),
    };
    let choice = choice(body.r#type, body.event_id, body.event)?;
    let preview = app.control.preview(caller.tenant()?, target, choice, body.send).await?;
    Ok(answer(StatusCode::OK, &PreviewView::from(&preview)))
}

async fn test(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    OptionalJson(body): OptionalJson<TestBody>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let plan = app.control.find_subscription(tenant, &subscription)?;
    let choice = choice(body.r#type, body.event_id, body.event)?;
    let (delivery, attempt) = app.control.test(tenant, plan.subscription.id, choice).await?;
    Ok(answer(StatusCode::OK, &TestView::new(&delivery, &attempt)))
}
