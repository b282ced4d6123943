//! Events that came in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

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
            .about(
                "Every subscription that there is, or that got the event and has been deleted since, and why it got it \
                 or not when it came in.",
            )
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
    #[serde(default, deserialize_with = "time")]
    since: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    until: Option<Timestamp>,
    matched: Option<bool>,
}

/// A time in a query. What is none is refused in the words that ingest has for it.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = text.parse::<Timestamp>();
    time.map(Some).map_err(|_| D::Error::custom("a time is RFC 3339, such as 2026-01-25T14:30:00.000Z"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::params::query;

    #[test]
    fn what_is_no_time_is_refused_in_the_words_of_ingest() {
        let refused = query::<EventQuery>(&"/v1/events?since=x".parse().unwrap()).unwrap_err();
        assert_eq!(refused.detail(), "in the query: since: a time is RFC 3339, such as 2026-01-25T14:30:00.000Z");
        let read = query::<EventQuery>(&"/v1/events?until=2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!((read.since, read.until), (None, Some("2026-01-01T00:00:00Z".parse().unwrap())));
    }
}
