//! Event types.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::{EventTypeView, NewEventTypeBody, SampleView};
use crate::control::{Control, EventTypePatch, KnownType, NewEventType, Said};
use crate::domain::{EventType, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer, created, nothing, versioned};
use crate::http::guard::{Access, Caller};
use crate::http::params::{IfMatch, List, Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::EventTypes).needs(Access::Tenant(Role::Viewer));
    let writes = |route: Route| route.tag(Tag::EventTypes).needs(Access::Tenant(Role::Editor));
    let one = "/v1/event-types/{event_type}";
    vec![
        reads(Route::get("/v1/event-types", "list_event_types", "List event types", list_all))
            .about(
                "By name: those that are described, by the tenant or by a `profile` of its own, its sources or its \
                 subscriptions, and those that came in without (`known` is `false`). The counts are \
                 written down every 30 seconds; after a crash they lack what came after that. At most 1,000 types of a \
                 tenant are counted.",
            )
            .lists::<EventTypeView>(),
        writes(Route::post("/v1/event-types", "create_event_type", "Describe an event type", create))
            .about(
                "With a `schema` and `enforce` an event whose `data` breaks it is refused with 422 (`reject`), or taken \
                 with the attribute `hookmill-schema` that says how it breaks it (`warn`).",
            )
            .takes(Payload::json::<NewEventTypeBody>())
            .gives::<EventTypeView>(StatusCode::CREATED, "Described."),
        reads(Route::get(one, "get_event_type", "Read an event type", get))
            .about("A `/` in a name is written `%2F` in the path.")
            .gives::<EventTypeView>(StatusCode::OK, "The event type."),
        writes(Route::patch(one, "update_event_type", "Change an event type", patch))
            .about("A merge patch. The name stays. What a profile says becomes the tenant's own with it.")
            .conditional()
            .takes(Payload::patch::<NewEventTypeBody>())
            .gives::<EventTypeView>(StatusCode::OK, "Changed."),
        writes(Route::delete(one, "delete_event_type", "Remove an event type's description", delete))
            .about("Its events stay, and more may come. What a profile says of it counts again; that can't be deleted.")
            .conditional(),
        reads(Route::get(&format!("{one}/samples"), "list_event_type_samples", "See what such events look like", samples))
            .about("The samples that it was described with, or else the data of the last five events; all of them.")
            .lists_all::<SampleView>(),
    ]
}

/// A name in a path; what is no event type is the name of nothing.
fn name(text: &str) -> Result<EventType, Problem> {
    id::<Name>(text, "event type").map(|name| name.0)
}

struct Name(EventType);

impl std::str::FromStr for Name {
    type Err = crate::domain::EventTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EventType::parse(text).map(Self)
    }
}

fn shown(status: StatusCode, known: &KnownType) -> Response {
    let view = EventTypeView::from(known);
    match known.said.as_ref().and_then(Said::own) {
        Some(own) => versioned(status, &Control::event_type_version(own), &view),
        None => answer(status, &view),
    }
}

async fn list_all(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let types = app.control.event_types(caller.tenant()?);
    list(types, paging.read()?, |known| known.name.clone(), |known| EventTypeView::from(known)).await
}

async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Json(wanted): Json<NewEventType>,
) -> Result<Response, Problem> {
    let known = app.control.create_event_type(caller.tenant()?, wanted).await?;
    let location = format!("/v1/event-types/{}", known.name.as_str().replace('/', "%2F"));
    let version = known.said.as_ref().and_then(Said::own).map(Control::event_type_version);
    Ok(created(&location, &version.unwrap_or_default(), &EventTypeView::from(&known)))
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event_type): Segments<String>,
) -> Result<Response, Problem> {
    Ok(shown(StatusCode::OK, &app.control.event_type(caller.tenant()?, &name(&event_type)?)?))
}

async fn patch(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event_type): Segments<String>,
    IfMatch(expected): IfMatch,
    Json(patch): Json<EventTypePatch>,
) -> Result<Response, Problem> {
    let known = app.control.patch_event_type(caller.tenant()?, &name(&event_type)?, patch, &expected).await?;
    Ok(shown(StatusCode::OK, &known))
}

async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event_type): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    app.control.delete_event_type(caller.tenant()?, &name(&event_type)?, &expected).await?;
    Ok(nothing())
}

async fn samples(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event_type): Segments<String>,
) -> Result<Response, Problem> {
    let samples = app.control.samples(caller.tenant()?, &name(&event_type)?).await?;
    Ok(answer(StatusCode::OK, &List { data: samples.iter().map(SampleView::from).collect(), next: None }))
}
