//! Keys: a tenant's own, seen by its admin; the operator's and producers', seen by the operator.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::{CreatedKey, KeyView, MeView, NewKeyBody};
use crate::control::NewKey;
use crate::domain::{KeyId, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer, nothing};
use crate::http::guard::{Access, Caller};
use crate::http::params::{Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Keys).needs(Access::OperatorOrTenant(Role::Admin));
    vec![
        Route::get("/v1/me", "get_me", "Whose key this is", me)
            .tag(Tag::Keys)
            .needs(Access::Anyone)
            .gives::<MeView>(StatusCode::OK, "The key's role, and its tenant."),
        row(Route::get("/v1/keys", "list_keys", "List keys", list_all))
            .about("A tenant's admin sees its own; an operator those of no tenant.")
            .lists::<KeyView>(),
        row(Route::post("/v1/keys", "create_key", "Make a key", create))
            .about(
                "A tenant's admin makes `ingest`, `viewer`, `editor` and `admin` keys of its tenant; an operator \
                 makes `operator` and `producer` keys.",
            )
            .takes(Payload::json::<NewKeyBody>())
            .gives::<CreatedKey>(StatusCode::CREATED, "Made; the key is shown this once."),
        row(Route::delete("/v1/keys/{key}", "revoke_key", "Revoke a key", revoke))
            .about("It is refused from the next request on."),
    ]
}

async fn me(State(app): State<Shared>, Caller(principal): Caller) -> Result<Response, Problem> {
    let tenant = principal.tenant.map(|tenant| app.control.tenant(tenant)).transpose()?;
    Ok(answer(StatusCode::OK, &MeView::new(&principal, tenant.as_deref())))
}

async fn list_all(
    State(app): State<Shared>,
    Caller(principal): Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let keys = app.control.keys(principal.tenant);
    list(keys, paging.read()?, |key| key.id, |key| KeyView::from(&**key)).await
}

async fn create(
    State(app): State<Shared>,
    Caller(principal): Caller,
    Json(wanted): Json<NewKey>,
) -> Result<Response, Problem> {
    let (key, text) = app.control.create_key(principal.tenant, wanted).await?;
    Ok(answer(StatusCode::CREATED, &CreatedKey::new(&key, &text)))
}

async fn revoke(
    State(app): State<Shared>,
    Caller(principal): Caller,
    Segments(key): Segments<String>,
) -> Result<Response, Problem> {
    let key: KeyId = id(&key, "key")?;
    app.control.revoke_key(principal.tenant, key).await?;
    Ok(nothing())
}
