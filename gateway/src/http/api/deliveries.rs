//! Deliveries and their attempts; also below a subscription.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::events::time;
use super::views::{DeliveryDetailView, DeliveryView};
use crate::domain::{DeliveryId, EventId, EventType, Role, Status, SubscriptionId, TenantId};
use crate::http::body::answer;
use crate::http::guard::{Access, Caller};
use crate::http::params::{Cursor, List, Params, Segments, id, page};
use crate::http::problem::{Kind, Problem};
use crate::http::route::{Route, Tag};
use crate::http::{App, Shared};
use crate::store::DeliveryFilter;

const FILTERS: &[(&str, &str)] = &[
    ("subscription_id", "Of this subscription."),
    ("event_id", "Of this event."),
    ("type", "Of events of this type."),
    ("status", "`pending`, `delivered`, `failed`, `dropped`, `held` or `cancelled`."),
    ("status_code", "Whose last answer was this."),
    ("min_attempts", "With at least so many attempts."),
    ("since", "Created at or after this time."),
    ("until", "Created before this time."),
];

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::Deliveries).needs(Access::Tenant(Role::Viewer));
    let writes = |route: Route| route.tag(Tag::Deliveries).needs(Access::Tenant(Role::Editor));
    let below = "/v1/subscriptions/{subscription}/deliveries";
    vec![
        reads(Route::get("/v1/deliveries", "list_deliveries", "List deliveries", list))
            .about("Newest first.")
            .query(FILTERS)
            .lists::<DeliveryView>(),
        reads(Route::get("/v1/deliveries/{delivery}", "get_delivery", "Read a delivery", get))
            .gives::<DeliveryDetailView>(StatusCode::OK, "The delivery with its attempts."),
        writes(Route::post("/v1/deliveries/{delivery}/retry", "retry_delivery", "Send it again", retry))
            .about(
                "A delivery that is finished, held or waits for its time is made due now. The transforms run anew. One \
                 that has been delivered stays so if it fails this time.",
            )
            .gives::<DeliveryView>(StatusCode::OK, "It is due."),
        writes(Route::post("/v1/deliveries/{delivery}/cancel", "cancel_delivery", "End it", cancel))
            .about("A pending or held delivery ends as `cancelled`.")
            .gives::<DeliveryView>(StatusCode::OK, "It has ended."),
        reads(Route::get(below, "list_subscription_deliveries", "List a subscription's deliveries", list_below))
            .query(&FILTERS[1..])
            .lists::<DeliveryView>(),
        writes(Route::post(
            &format!("{below}/{{delivery}}/retry"),
            "retry_subscription_delivery",
            "Send a subscription's delivery again",
            retry_below,
        ))
        .gives::<DeliveryView>(StatusCode::OK, "It is due."),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveryQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    subscription_id: Option<SubscriptionId>,
    event_id: Option<EventId>,
    r#type: Option<EventType>,
    status: Option<String>,
    status_code: Option<u16>,
    min_attempts: Option<u32>,
    #[serde(default, deserialize_with = "time")]
    since: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    until: Option<Timestamp>,
}

async fn page_of(app: &App, tenant: TenantId, query: DeliveryQuery) -> Result<Response, Problem> {
    let (limit, after) = page(query.limit, query.cursor.as_deref())?;
    let status = match query.status.as_deref() {
        Some(word) => Some(Status::from_word(word).ok_or_else(|| {
            Problem::new(
                Kind::Invalid,
                "in the query: `status` is `pending`, `delivered`, `failed`, `dropped`, `held` or `cancelled`",
            )
        })?),
        None => None,
    };
    let filter = DeliveryFilter {
        subscription_id: query.subscription_id,
        event_id: query.event_id,
        event_type: query.r#type,
        status,
        status_code: query.status_code,
        min_attempts: query.min_attempts,
        since: query.since,
        until: query.until,
    };
    let page = app.control.deliveries(tenant, &filter, limit, after).await?;
    let data = page.items.iter().map(DeliveryView::from).collect();
    Ok(answer(StatusCode::OK, &List::<DeliveryView> { data, next: page.next.map(|id| id.encode()) }))
}

async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Params(query): Params<DeliveryQuery>,
) -> Result<Response, Problem> {
    page_of(&app, caller.tenant()?, query).await
}

async fn list_below(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(mut query): Params<DeliveryQuery>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let plan = app.control.find_subscription(tenant, &subscription)?;
    if query.subscription_id.is_some_and(|id| id != plan.subscription.id) {
        return Err(Problem::new(Kind::Invalid, "in the query: `subscription_id` is another than the path's"));
    }
    query.subscription_id = Some(plan.subscription.id);
    page_of(&app, tenant, query).await
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(delivery): Segments<String>,
) -> Result<Response, Problem> {
    let delivery: DeliveryId = id(&delivery, "delivery")?;
    let detail = app.control.delivery(caller.tenant()?, delivery).await?;
    Ok(answer(StatusCode::OK, &DeliveryDetailView::from(&detail)))
}

async fn retry(
    State(app): State<Shared>,
    caller: Caller,
    Segments(delivery): Segments<String>,
) -> Result<Response, Problem> {
    let delivery = app.control.retry(caller.tenant()?, id(&delivery, "delivery")?).await?;
    Ok(answer(StatusCode::OK, &DeliveryView::from(&delivery)))
}

async fn retry_below(
    State(app): State<Shared>,
    caller: Caller,
    Segments((subscription, delivery)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let plan = app.control.find_subscription(tenant, &subscription)?;
    let delivery: DeliveryId = id(&delivery, "delivery")?;
    if app.control.delivery_of(tenant, delivery).await? != plan.subscription.id {
        return Err(Problem::new(Kind::NotFound, "there is no such delivery of this subscription"));
    }
    let delivery = app.control.retry(tenant, delivery).await?;
    Ok(answer(StatusCode::OK, &DeliveryView::from(&delivery)))
}

async fn cancel(
    State(app): State<Shared>,
    caller: Caller,
    Segments(delivery): Segments<String>,
) -> Result<Response, Problem> {
    let delivery = app.control.cancel(caller.tenant()?, id(&delivery, "delivery")?).await?;
    Ok(answer(StatusCode::OK, &DeliveryView::from(&delivery)))
}
