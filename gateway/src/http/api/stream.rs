//! What happens, as it happens: server-sent events (WHATWG HTML, 9.2).

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::views::{DeliveryNewsView, EventView};
use crate::clock::later;
use crate::control::{Principal, Since};
use crate::domain::{EventId, Role};
use crate::http::guard::{Access, Caller};
use crate::http::params::Params;
use crate::http::problem::{Kind, Problem};
use crate::http::route::{Route, Tag};
use crate::http::{Readiness, Shared};
use crate::pipeline::{News, Next, Watched, Watcher};

/// How often something is said where nothing happens, so that nobody in between thinks the connection dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/stream", "stream", "Watch what happens", watch_stream)
            .tag(Tag::Events)
            .needs(Access::Tenant(Role::Viewer))
            .about(
                "Server-sent events: `event`, an `Event` without its data, for each that comes in; or `delivery`, a \
                 `Delivery` with its `attempt`, for each attempt that ends and each delivery that changes without one. \
                 A comment every 15 seconds. Who reads too slowly gets `lost` with a `count`, which is `null` where it \
                 is not known, and finds the rest in the lists. With `Last-Event-ID` a stream of events first tells \
                 what came in since, up to 1,000 events; some of the two seconds before may be told twice. A tenant \
                 may have ten streams at once. A stream ends with its key: once that is revoked, nothing more is told.",
            )
            .query(&[("kind", "`events` (unless given) or `deliveries`.")])
            .shows("text/event-stream"),
    ]
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    #[default]
    Events,
    Deliveries,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    #[serde(default)]
    kind: What,
}

/// What a client missed.
#[derive(Debug, Serialize)]
struct LostView {
    count: Option<u64>,
}

async fn watch_stream(
    State(app): State<Shared>,
    caller: Caller,
    Params(query): Params<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let what = match query.kind {
        What::Events => Watched::Events,
        What::Deliveries => Watched::Deliveries,
    };
    let watcher = app.pipeline.watch(tenant, what).ok_or_else(|| {
        Problem::new(Kind::LimitReached, "this tenant has ten streams open, and may have no more; close one")
    })?;
    // After the watcher is there, so that nothing falls in between.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let mut before = VecDeque::from([Message::default().comment("watching")]);
    let mut told = HashSet::new();
    match (what, last.map(str::parse::<EventId>)) {
        (_, None) => {}
        (Watched::Events, Some(Ok(last))) => {
            let Since { events, complete } = app.control.events_since(tenant, last).await?;
            if !complete {
                before.push_back(lost(None));
            }
            told.extend(events.iter().map(|stored| stored.event.id));
            before.extend(events.iter().map(|stored| message("event", stored.event.id, &EventView::from(stored))));
        }
        (_, Some(_)) => before.push_back(lost(None)),
    }
    let beat_at = later(app.control.clock().now(), HEARTBEAT);
    let readiness = app.readiness.clone();
    let state = Telling { principal: caller.0, watcher, before, told, beat_at, readiness, app };
    let mut response = Sse::new(state.into_stream()).into_response();
    // nginx would keep it back until there is much of it.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// One client's stream.
struct Telling {
    app: Shared,
    principal: Principal,
    watcher: Watcher,
    /// To be said first.
    before: VecDeque<Message>,
    /// What was said from the store, and may be told once more.
    told: HashSet<EventId>,
    beat_at: Timestamp,
    readiness: watch::Receiver<Readiness>,
}

impl Telling {
    /// Ends with its key: before anything is said it is asked whether that is valid still.
    fn into_stream(self) -> impl Stream<Item = Result<Message, Infallible>> + Send {
        stream::unfold(self, async |mut telling| {
            let message = telling.next().await?;
            telling.app.control.is_valid(&telling.principal).then_some((Ok(message), telling))
        })
    }

    /// `None`: the gateway stops, or the tenant is gone.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.before.pop_front() {
                return Some(message);
            }
            let clock = self.app.control.clock();
            tokio::select! {
                biased;
                _ = self.readiness.wait_for(|readiness| *readiness != Readiness::Ready) => return None,
                () = clock.sleep_until(self.beat_at) => {
                    self.beat_at = later(clock.now(), HEARTBEAT);
                    return Some(Message::default().comment(""));
                }
                next = self.watcher.next() => match next {
                    Next::News(news) => match &*news {
                        News::Event(stored) if self.told.remove(&stored.event.id) => {}
                        News::Event(stored) => {
                            return Some(message("event", stored.event.id, &EventView::from(stored)));
                        }
                        News::Delivery(delivery, attempt) => {
                            let view = DeliveryNewsView::new(delivery, attempt.as_ref());
                            return Some(message("delivery", delivery.id, &view));
                        }
                    },
                    Next::Lost(count) => return Some(lost(Some(count))),
                    Next::End => return None,
                },
            }
        }
    }
}

fn message<T: Serialize>(name: &str, id: impl std::fmt::Display, view: &T) -> Message {
    let data = serde_json::to_string(view).unwrap_or_default();
    Message::default().event(name).id(id.to_string()).data(data)
}

fn lost(count: Option<u64>) -> Message {
    let data = serde_json::to_string(&LostView { count }).unwrap_or_default();
    Message::default().event("lost").data(data)
}
