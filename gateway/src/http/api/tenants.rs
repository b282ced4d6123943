//! Tenants, and their keys seen by the operator.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::views::{CreatedKey, CreatedTenant, KeyView, NewKeyBody, NewTenantBody, TenantView, UsageView};
use crate::control::{Control, NewKey};
use crate::domain::KeyId;
use crate::http::Shared;
use crate::http::body::{Fields, Json, answer, created, nothing, versioned};
use crate::http::guard::Access;
use crate::http::params::{IfMatch, Paging, Params, Segments, id, list};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Tenants).needs(Access::Operator);
    vec![
        row(Route::get("/v1/tenants", "list_tenants", "List tenants", list_all)).lists::<TenantView>(),
        row(Route::post("/v1/tenants", "create_tenant", "Make a tenant", create))
            .about("The answer holds the tenant's first admin key. It is shown this once.")
            .takes(Payload::json::<NewTenantBody>())
            .gives::<CreatedTenant>(StatusCode::CREATED, "Made."),
        row(Route::get("/v1/tenants/{tenant}", "get_tenant", "Read a tenant", get))
            .gives::<TenantView>(StatusCode::OK, "The tenant."),
        row(Route::patch("/v1/tenants/{tenant}", "update_tenant", "Change a tenant", patch))
            .about("A merge patch of `name`, `uid`, `profile`, `metadata` and `limits`. A new profile is for subscriptions made from then on.")
            .conditional()
            .takes(Payload::patch::<NewTenantBody>())
            .gives::<TenantView>(StatusCode::OK, "Changed."),
        row(Route::delete("/v1/tenants/{tenant}", "delete_tenant", "Remove a tenant", delete))
            .about("With everything it owns.")
            .conditional(),
        row(Route::get("/v1/tenants/{tenant}/usage", "get_tenant_usage", "How much a tenant has", usage))
            .gives::<UsageView>(StatusCode::OK, "How many of each."),
        row(Route::get("/v1/tenants/{tenant}/keys", "list_tenant_keys", "List a tenant's keys", keys))
            .lists::<KeyView>(),
        row(Route::post("/v1/tenants/{tenant}/keys", "create_tenant_key", "Make a key for a tenant", create_key))
            .takes(Payload::json::<NewKeyBody>())
            .gives::<CreatedKey>(StatusCode::CREATED, "Made; the key is shown this once."),
        row(Route::delete("/v1/tenants/{tenant}/keys/{key}", "revoke_tenant_key", "Revoke a tenant's key", revoke_key)),
    ]
}

async fn list_all(State(app): State<Shared>, Params(paging): Params<Paging>) -> Result<Response, Problem> {
    list(app.control.tenants(), paging.read()?, |tenant| tenant.id, |tenant| TenantView::from(&**tenant)).await
}

async fn create(State(app): State<Shared>, Json(wanted): Fields) -> Result<Response, Problem> {
    let (tenant, key) = app.control.create_tenant(wanted).await?;
    let location = format!("/v1/tenants/{}", tenant.id);
    Ok(created(&location, &Control::tenant_version(&tenant), &CreatedTenant::new(&tenant, &key)))
}

async fn get(State(app): State<Shared>, Segments(tenant): Segments<String>) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    Ok(versioned(StatusCode::OK, &Control::tenant_version(&tenant), &TenantView::from(&*tenant)))
}

async fn patch(
    State(app): State<Shared>,
    Segments(tenant): Segments<String>,
    IfMatch(expected): IfMatch,
    Json(patch): Fields,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    let tenant = app.control.patch_tenant(tenant.id, patch, &expected).await?;
    Ok(versioned(StatusCode::OK, &Control::tenant_version(&tenant), &TenantView::from(&*tenant)))
}

async fn delete(
    State(app): State<Shared>,
    Segments(tenant): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    app.control.delete_tenant(tenant.id, &expected).await?;
    Ok(nothing())
}

async fn usage(State(app): State<Shared>, Segments(tenant): Segments<String>) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    Ok(answer(StatusCode::OK, &UsageView::from(app.control.tenant_usage(tenant.id)?)))
}

async fn keys(
    State(app): State<Shared>,
    Segments(tenant): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    let keys = app.control.keys(Some(tenant.id));
    list(keys, paging.read()?, |key| key.id, |key| KeyView::from(&**key)).await
}

async fn create_key(
    State(app): State<Shared>,
    Segments(tenant): Segments<String>,
    Json(wanted): Json<NewKey>,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    let (key, text) = app.control.create_key(Some(tenant.id), wanted).await?;
    Ok(answer(StatusCode::CREATED, &CreatedKey::new(&key, &text)))
}

async fn revoke_key(
    State(app): State<Shared>,
    Segments((tenant, key)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = app.control.find_tenant(&tenant)?;
    let key: KeyId = id(&key, "key")?;
    app.control.revoke_key(Some(tenant.id), key).await?;
    Ok(nothing())
}
