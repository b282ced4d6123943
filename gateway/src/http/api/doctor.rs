//! What is wrong with a request that a receiver did not believe.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::pasted;
use super::views::{DiagnosisView, Time};
use crate::control::Complaint;
use crate::domain::{DeliveryId, Role};
use crate::http::Shared;
use crate::http::body::{Json, answer};
use crate::http::guard::{Access, Caller};
use crate::http::params::Segments;
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/v1/subscriptions/{subscription}/diagnose",
            "diagnose_signature",
            "Find out why a signature is refused",
            diagnose,
        )
        .tag(Tag::Subscriptions)
        .needs(Access::Tenant(Role::Viewer))
        .about(
            "Paste what your receiver got. It is verified, and compared with what was sent: the recorded delivery that \
             `delivery_id` or an id in the request names, or the one of the last 50 that has the same signature. Add what \
             your code computed as `computed`, and it says which mistake yields that. Nothing is ever signed here: a \
             computed value is held only against requests that were really sent, never against a text that is given, and \
             no answer contains a signature or a secret.",
        )
        .takes(Payload::json::<ReceivedRequest>())
        .gives::<DiagnosisView>(StatusCode::OK, "What is wrong, the cause first."),
    ]
}

/// A request as a receiver got it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReceivedRequest {
    /// By name, where a header that is there several times has a list; or a list of pairs, `["name", "value"]`.
    #[serde(default)]
    #[schema(value_type = Object)]
    headers: Value,
    /// The body as text, exactly as the code that verifies has it.
    #[serde(default)]
    #[schema(required = false)]
    body: Option<String>,
    /// The body as bytes, in place of `body`.
    #[serde(default)]
    #[schema(required = false)]
    body_base64: Option<String>,
    /// Where the URL is signed: the URL that your code verifies with; the subscription's unless given.
    #[serde(default)]
    #[schema(required = false)]
    url: Option<String>,
    /// Where the method is signed: the method; that which was sent unless given.
    #[serde(default)]
    #[schema(required = false)]
    method: Option<String>,
    /// The delivery that it is of, where the request does not say so.
    #[serde(default)]
    #[schema(required = false, value_type = String)]
    delivery_id: Option<DeliveryId>,
    /// The signature that your code computed, in whatever form.
    #[serde(default)]
    #[schema(required = false)]
    computed: Option<String>,
    /// When your code looked at it; now, unless given.
    #[serde(default)]
    #[schema(required = false, value_type = Time)]
    received_at: Option<Timestamp>,
}

async fn diagnose(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Json(received): Json<ReceivedRequest>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let id = app.control.find_subscription(tenant, &subscription)?.subscription.id;
    let invalid = |error| Problem::invalid(vec![error]);
    let complaint = Complaint {
        headers: pasted::headers(&received.headers).map_err(invalid)?,
        body: pasted::body(received.body.as_deref(), received.body_base64.as_deref()).map_err(invalid)?,
        url: received.url,
        method: received.method.map(|method| method.to_ascii_uppercase()),
        delivery_id: received.delivery_id,
        computed: received.computed,
        received_at: received.received_at,
    };
    let examined = app.control.diagnose(tenant, id, complaint).await?;
    Ok(answer(StatusCode::OK, &DiagnosisView::from(&examined)))
}
