//! Inboxes, seen by their tenant. What arrives at them is in `http::inbox`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::InboxView;
use crate::domain::Role;
use crate::http::Shared;
use crate::http::body::{answer, nothing};
use crate::http::guard::{Access, Caller};
use crate::http::params::{Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let reads = |route: Route| route.tag(Tag::Inboxes).needs(Access::Tenant(Role::Viewer));
    let writes = |route: Route| route.tag(Tag::Inboxes).needs(Access::Tenant(Role::Editor));
    vec![
        reads(Route::get("/v1/inboxes", "list_inboxes", "List inboxes", list_all)).lists::<InboxView>(),
        writes(Route::post("/v1/inboxes", "create_inbox", "Make an inbox", create))
            .about("A URL on this gateway to deliver to, and a page there that shows what arrives.")
            .gives::<InboxView>(StatusCode::CREATED, "Made."),
        reads(Route::get("/v1/inboxes/{inbox}", "get_inbox", "Read an inbox", get))
            .gives::<InboxView>(StatusCode::OK, "The inbox."),
        writes(Route::delete("/v1/inboxes/{inbox}", "delete_inbox", "Remove an inbox", delete)),
    ]
}

async fn list_all(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let inboxes = app.control.inboxes(caller.tenant()?);
    list(inboxes, paging.read()?, |inbox| inbox.id, |inbox| InboxView::new(inbox, &app.config)).await
}

async fn create(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    let inbox = app.control.create_inbox(caller.tenant()?).await?;
    Ok(answer(StatusCode::CREATED, &InboxView::new(&inbox, &app.config)))
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(inbox): Segments<String>,
) -> Result<Response, Problem> {
    let inbox = app.control.inbox(caller.tenant()?, id(&inbox, "inbox")?)?;
    Ok(answer(StatusCode::OK, &InboxView::new(&inbox, &app.config)))
}

async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Segments(inbox): Segments<String>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let inbox = app.control.inbox(tenant, id(&inbox, "inbox")?)?;
    app.control.delete_inbox(tenant, inbox.id).await?;
    app.inboxes.forget(&inbox.token);
    Ok(nothing())
}
