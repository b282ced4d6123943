//! Subscriptions.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::views::{CreatedSubscription, NewSubscription, SecretView, StatsView, SubscriptionView, VerifierView};
use crate::control::{Change, Control, Expected, Pending};
use crate::domain::{self, Role, TenantId, duration};
use crate::http::body::{Fields, Json, OptionalJson, answer, created, nothing, versioned};
use crate::http::guard::{Access, Caller};
use crate::http::params::{IfMatch, Params, Segments, list, page};
use crate::http::problem::Problem;
use crate::http::route::{Payload, Route, Tag};
use crate::http::{App, Shared};
use crate::registry::Plan;
use crate::signing::Language;

/// How long two secrets live side by side unless `overlap` says otherwise.
pub(super) const USUAL_OVERLAP: Duration = Duration::from_secs(24 * 3600);

const PENDING: &[(&str, &str)] =
    &[("pending", "`cancel`: deliveries that are still owed end as `cancelled`. Otherwise they wait.")];

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let tagged = |route: Route| route.tag(Tag::Subscriptions);
    let reads = |route| tagged(route).needs(Access::Tenant(Role::Viewer));
    let writes = |route| tagged(route).needs(Access::Tenant(Role::Editor));
    let admins = |route| tagged(route).needs(Access::Tenant(Role::Admin));
    let base = "/v1/subscriptions";
    let one = "/v1/subscriptions/{subscription}";
    let at = |rest: &str| format!("{one}{rest}");
    vec![
        reads(Route::get(base, "list_subscriptions", "List subscriptions", list_all))
            .query(&[("state", "Those that are `active`, `paused` or `disabled`.")])
            .lists::<SubscriptionView>(),
        writes(Route::post(base, "create_subscription", "Make a subscription", create))
            .about("Checked as a whole before it is saved. The answer holds the signing secret in clear.")
            .takes(Payload::json::<NewSubscription>())
            .gives::<CreatedSubscription>(StatusCode::CREATED, "Made."),
        reads(Route::get(one, "get_subscription", "Read a subscription", get))
            .gives::<SubscriptionView>(StatusCode::OK, "The subscription, without its secrets."),
        writes(Route::patch(one, "update_subscription", "Change a subscription", patch))
            .about(
                "A merge patch: what is omitted stays, secrets too; `null` clears. `enabled: false` holds what is owed \
                 (`?pending=cancel` ends it). A list is replaced as a whole; a transform in it that has its place and \
                 its plugin's name still keeps the secrets that it omits. If the host, the kind of `auth` or the \
                 connector changes, its secrets must be entered again; those of all plugins must be if a connector \
                 names a host more.",
            )
            .query(PENDING)
            .conditional()
            .takes(Payload::patch::<NewSubscription>())
            .gives::<SubscriptionView>(StatusCode::OK, "Changed."),
        writes(Route::delete(one, "delete_subscription", "Remove a subscription", delete))
            .about("What is still owed to it ends as `cancelled`. Its history stays as long as any.")
            .query(&[("pending", "`cancel`, which is what happens in any case.")])
            .conditional(),
        admins(Route::get(&at("/secret"), "get_subscription_secret", "Read the signing secret", secret))
            .about("This is logged.")
            .gives::<SecretView>(StatusCode::OK, "The secret in clear."),
        admins(Route::post(
            &at("/rotate-secret"),
            "rotate_subscription_secret",
            "Begin to sign with a new secret",
            rotate,
        ))
        .about(
            "Both secrets count until the overlap ends. Schemes that hold several signatures carry both; \
                 single-value ones sign with the old one, and with the new one in `<header>-next`.",
        )
        .takes(Payload::optional::<Rotation>())
        .gives::<SecretView>(StatusCode::OK, "Begun.")
        .conditional(),
        admins(Route::post(
            &at("/rotate-secret/finish"),
            "finish_subscription_secret_rotation",
            "End a rotation now",
            finish_rotation,
        ))
        .gives::<SecretView>(StatusCode::OK, "Only the new secret counts.")
        .conditional(),
        writes(Route::post(&at("/pause"), "pause_subscription", "Hold deliveries", pause))
            .about("Events still match; their deliveries wait, and leave under the rate limit when it is resumed.")
            .query(PENDING)
            .gives::<SubscriptionView>(StatusCode::OK, "Paused.")
            .conditional(),
        writes(Route::post(&at("/resume"), "resume_subscription", "Send again", resume))
            .gives::<SubscriptionView>(StatusCode::OK, "Active.")
            .conditional(),
        reads(Route::get(&at("/stats"), "get_subscription_stats", "How it fares", stats))
            .query(&[("window", "How far back: `\"24h\"` unless given, `\"1m\"` to `\"30d\"`.")])
            .gives::<StatsView>(StatusCode::OK, "Rates, latencies and health."),
        reads(Route::get(&at("/verifier"), "get_subscription_verifier", "Get code that verifies", verifier))
            .about(
                "A whole program that verifies exactly this subscription's requests, with the language's standard \
                 library (Rust: with the crates that it names); its secret comes from the environment.",
            )
            .query(&[("lang", "`node` (unless given), `python`, `go`, `php`, `ruby` or `rust`.")])
            .gives::<VerifierView>(StatusCode::OK, "The program."),
    ]
}

fn shown(app: &App, plan: &Plan) -> Response {
    let version = Control::subscription_version(&plan.subscription);
    versioned(StatusCode::OK, &version, &SubscriptionView::new(plan, &app.control))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    state: Option<domain::State>,
}

async fn list_all(
    State(app): State<Shared>,
    caller: Caller,
    Params(query): Params<SubscriptionQuery>,
) -> Result<Response, Problem> {
    let mut plans = app.control.subscriptions(caller.tenant()?);
    if let Some(state) = query.state {
        plans.retain(|plan| plan.subscription.state == state);
    }
    let view = |plan: &std::sync::Arc<Plan>| SubscriptionView::new(plan, &app.control);
    list(plans, page(query.limit, query.cursor.as_deref())?, |plan| plan.subscription.id, view).await
}

async fn create(State(app): State<Shared>, caller: Caller, Json(wanted): Fields) -> Result<Response, Problem> {
    let made = app.control.create_subscription(caller.tenant()?, wanted).await?;
    let location = format!("/v1/subscriptions/{}", made.plan.subscription.id);
    let version = Control::subscription_version(&made.plan.subscription);
    let view = SubscriptionView::new(&made.plan, &app.control);
    Ok(created(&location, &version, &CreatedSubscription::new(view, made.secret.as_ref())))
}

async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
) -> Result<Response, Problem> {
    let plan = app.control.find_subscription(caller.tenant()?, &subscription)?;
    Ok(shown(&app, &plan))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingQuery {
    pending: Option<PendingWord>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PendingWord {
    Keep,
    Cancel,
}

impl PendingQuery {
    fn read(&self) -> Pending {
        match self.pending {
            Some(PendingWord::Cancel) => Pending::Cancel,
            Some(PendingWord::Keep) | None => Pending::Keep,
        }
    }
}

async fn patch(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(query): Params<PendingQuery>,
    IfMatch(expected): IfMatch,
    Json(patch): Fields,
) -> Result<Response, Problem> {
    change(&app, caller.tenant()?, &subscription, Change::Patch(patch), &expected, query.read()).await
}

async fn pause(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(query): Params<PendingQuery>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    change(&app, caller.tenant()?, &subscription, Change::Pause, &expected, query.read()).await
}

async fn resume(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    change(&app, caller.tenant()?, &subscription, Change::Resume, &expected, Pending::Keep).await
}

async fn change(
    app: &App,
    tenant: TenantId,
    subscription: &str,
    change: Change,
    expected: &Expected,
    pending: Pending,
) -> Result<Response, Problem> {
    let id = app.control.find_subscription(tenant, subscription)?.subscription.id;
    let plan = app.control.change_subscription(tenant, id, change, expected, pending).await?;
    Ok(shown(app, &plan))
}

async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(_): Params<PendingQuery>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let id = app.control.find_subscription(tenant, &subscription)?.subscription.id;
    app.control.delete_subscription(tenant, id, &expected).await?;
    Ok(nothing())
}

async fn secret(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let id = app.control.find_subscription(tenant, &subscription)?.subscription.id;
    let key = caller.0.key.map(|key| key.to_string()).unwrap_or_default();
    tracing::info!(tenant_id = %tenant, subscription_id = %id, key_id = key, "a signing secret was read");
    let (secret, next) = app.control.secret(tenant, id)?;
    Ok(answer(StatusCode::OK, &SecretView::new(&secret, next.as_ref())))
}

/// How to rotate a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long both secrets count: `"24h"` unless given, at most `"30d"`; `"0s"`: not at all.
    #[serde(default, with = "duration::option")]
    #[schema(required = false, value_type = String)]
    pub(super) overlap: Option<Duration>,
    /// The new secret; made when absent.
    #[serde(default)]
    #[schema(required = false, write_only)]
    pub(super) secret: Option<String>,
}

async fn rotate(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    IfMatch(expected): IfMatch,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap.unwrap_or(USUAL_OVERLAP);
    let change = Change::Rotate { secret: rotation.secret, overlap };
    rotated(&app, caller.tenant()?, &subscription, change, &expected).await
}

async fn finish_rotation(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    rotated(&app, caller.tenant()?, &subscription, Change::FinishRotation, &expected).await
}

async fn rotated(
    app: &App,
    tenant: TenantId,
    subscription: &str,
    change: Change,
    expected: &Expected,
) -> Result<Response, Problem> {
    let id = app.control.find_subscription(tenant, subscription)?.subscription.id;
    let plan = app.control.change_subscription(tenant, id, change, expected, Pending::Keep).await?;
    let (secret, next) = app.control.secret(tenant, id)?;
    let version = Control::subscription_version(&plan.subscription);
    Ok(versioned(StatusCode::OK, &version, &SecretView::new(&secret, next.as_ref())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatsQuery {
    #[serde(default, with = "duration::option")]
    window: Option<Duration>,
}

async fn stats(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(query): Params<StatsQuery>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let id = app.control.find_subscription(tenant, &subscription)?.subscription.id;
    let window = query.window.unwrap_or(Duration::from_secs(24 * 3600));
    Ok(answer(StatusCode::OK, &StatsView::from(&app.control.stats(tenant, id, window).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifierQuery {
    #[serde(default)]
    lang: Language,
}

async fn verifier(
    State(app): State<Shared>,
    caller: Caller,
    Segments(subscription): Segments<String>,
    Params(query): Params<VerifierQuery>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let id = app.control.find_subscription(tenant, &subscription)?.subscription.id;
    Ok(answer(StatusCode::OK, &VerifierView::new(query.lang, app.control.receiver(tenant, id, query.lang)?)))
}
