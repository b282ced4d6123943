//! Events that came in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::views::{EventDetailView, EventView, ExplanationView};
use crate::domain::{EventId, EventType, Role, SourceId};
use crate::http::Shared;
use crate::http::body::answer;
use crate::http::guard::{Access, Caller};
use crate::http::params::{Cursor, List, Paging, Params, Segments, id, page};
use crate::http::problem::Problem;
use crate::http::route::{Route, Tag};
use crate::store::EventFilter;

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Events).needs(Access::Tenant(Role::Viewer));
    vec![
        row(Route::get("/v1/events", "list_events", "List events", list))
            .about("Newest first, without their data.")
            .query(&[
                ("type", "Of this type."),
                ("source_id", "Through this source."),
                ("since", "Received at or after this time."),
                ("until", "Received before this time."),
                ("matched", "`true`: some subscription wanted it; `false`: none did."),
            ])
            .lists::<EventView>(),
        row(Route::get("/v1/events/{event}", "get_event", "Read an event", get))
            .gives::<EventDetailView>(StatusCode::OK, "The event with its data, exactly as it arrived."),
        row(Route::get("/v1/events/{event}/explain", "explain_event", "Why it went where it went", explain))
            .about("Every subscription as it is now, and why it would get the event or not.")
            .lists::<ExplanationView>(),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    r#type: Option<EventType>,
    source_id: Option<SourceId>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    matched: Option<bool>,
}

async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Params(query): Params<EventQuery>,
) -> Result<Response, Problem> {
    let (limit, after) = page(query.limit, query.cursor.as_deref())?;
    let filter = EventFilter {
        event_type: query.r#type,
        source_id: query.source_id,
        since: query.since,
        until: query.until,
        matched: query.matched,
    };
    let page = app.control.events(caller.tenant()?, &filter, limit, after).await?;
    let data = page.items.iter().map(EventView::from).collect();
    Ok(answer(StatusCode::OK, &List::<EventView> { data, next: page.next.map(|id| id.encode()) }))
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event): Segments<String>,
) -> Result<Response, Problem> {
    let event: EventId = id(&event, "event")?;
    let stored = app.control.event(caller.tenant()?, event).await?;
    Ok(answer(StatusCode::OK, &EventDetailView::from(&stored)))
}

async fn explain(
    State(app): State<Shared>,
    caller: Caller,
    Segments(event): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let event: EventId = id(&event, "event")?;
    let (limit, after) = paging.read()?;
    let explained = app.control.explain(caller.tenant()?, event, limit, after).await?;
    let data = explained.items.iter().map(ExplanationView::from).collect();
    Ok(answer(StatusCode::OK, &List::<ExplanationView> { data, next: explained.next.map(|id| id.encode()) }))
}
