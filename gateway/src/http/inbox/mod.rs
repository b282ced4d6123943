//! Inboxes: a URL that takes anything, keeps the last of it in memory, and shows it.
//!
//! Whoever knows the URL may post, look, and choose the answer: it is a place to try things out, and its
//! token is as hard to guess as a key. Nothing here survives a restart. Inside: `tray` (what is held, and its bounds)
//! and `page` (how it is shown).

mod page;
mod tray;

use std::time::Duration;

use axum::Form;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) use self::tray::Inboxes;
use self::tray::{Arrived, Mode};
use super::api::views::{Time, headers_view, text_or_base64};
use super::guard::Access;
use super::params::{self, Params, Segments, answer_list};
use super::problem::{Kind, Problem};
use super::route::{Payload, Route, Tag};
use super::{App, Shared, room};
use crate::control::InboxVerdict;
use crate::domain::InboxRequestId;

/// Most bytes of one body that are read, and kept.
const MOST_BODY: usize = 4 << 20;

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_secs(10);

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Inboxes).needs(Access::Public).takes(Payload::Anything).shows("text/plain");
    vec![
        Route::get("/inbox/{token}", "show_inbox", "See what arrived, or deliver by GET", arrive)
            .tag(Tag::Inboxes)
            .needs(Access::Public)
            .about("With `Accept: text/html` a page that shows what arrived; otherwise a request like any other.")
            .shows("text/html"),
        row(Route::post("/inbox/{token}", "post_to_inbox", "Deliver by POST", arrive))
            .about("Any request is kept, 4 MiB of it, and answered as was chosen on the page: 200 at first."),
        row(Route::put("/inbox/{token}", "put_to_inbox", "Deliver by PUT", arrive)),
        row(Route::patch("/inbox/{token}", "patch_to_inbox", "Deliver by PATCH", arrive)),
        row(Route::delete("/inbox/{token}", "delete_to_inbox", "Deliver by DELETE", arrive)),
        Route::get("/inbox/{token}/requests", "list_inbox_requests", "What arrived", requests)
            .tag(Tag::Inboxes)
            .needs(Access::Public)
            .query(&[
                ("after", "The `id` of a request: only what arrived after it."),
                ("limit", "How many, 1 to 200; all there are unless given."),
            ])
            .about("Newest first, at most the last 100 and 8 MiB of them.")
            .lists_all::<RequestView>(),
        Route::post("/inbox/{token}/answer", "set_inbox_answer", "Choose the answer", choose)
            .tag(Tag::Inboxes)
            .needs(Access::Public)
            .about("A form with `answer`: `200`, `500`, `410` or `slow`. Goes back to the page.")
            .takes(Payload::Anything)
            .shows("text/html"),
    ]
}

/// A request that arrived at an inbox.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboxRequest)]
pub(super) struct RequestView {
    /// Of this request here: they sort by when it arrived.
    #[schema(value_type = String)]
    id: InboxRequestId,
    /// How many have arrived at this inbox, with this one: where a number is missing, it is not held any more.
    number: u64,
    at: Time,
    method: String,
    /// Path and query.
    target: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    /// `base64` where the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    body_encoding: Option<&'static str>,
    /// Whether there was more than is kept.
    truncated: bool,
    /// Whether a subscription that points here signed it.
    signature: SignatureView,
    /// How it was answered.
    answered_status_code: u16,
}

/// What can be said of a signature.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboxSignature)]
pub(super) struct SignatureView {
    /// `valid`, `invalid`, or `unknown` where no subscription that signs points here.
    verdict: &'static str,
    /// Whose secret it was held against.
    subscription_id: Option<String>,
    /// What is wrong with it.
    detail: Option<String>,
}

impl From<&InboxVerdict> for SignatureView {
    fn from(verdict: &InboxVerdict) -> Self {
        let (verdict, subscription, detail) = match verdict {
            InboxVerdict::Valid(id) => ("valid", Some(id), None),
            InboxVerdict::Invalid(id, why) => ("invalid", Some(id), Some(why.clone())),
            InboxVerdict::Unknown => ("unknown", None, None),
        };
        Self { verdict, subscription_id: subscription.map(ToString::to_string), detail }
    }
}

impl RequestView {
    /// With so much of its body.
    fn of(arrived: &Arrived, body: &[u8]) -> Self {
        let (body, body_encoding) = text_or_base64(body);
        Self {
            id: arrived.id,
            number: arrived.number,
            at: arrived.at.into(),
            method: arrived.method.to_string(),
            target: arrived.target.clone(),
            headers: headers_view(&arrived.headers),
            body,
            body_encoding,
            truncated: arrived.truncated,
            signature: (&arrived.verdict).into(),
            answered_status_code: arrived.answered.as_u16(),
        }
    }
}

async fn arrive(
    State(app): State<Shared>,
    Segments(token): Segments<String>,
    request: Request,
) -> Result<Response, Problem> {
    let inbox = app.control.inbox_by_token(&token)?;
    if request.method() == Method::GET && wants_html(request.headers()) {
        return Ok(page::show(&app, &token));
    }
    let (parts, body) = request.into_parts();
    // What does not say how large it is may be as large as any. Where there is no room for that, the beginning will do.
    let size = body.size_hint().upper().and_then(|most| usize::try_from(most).ok()).unwrap_or(MOST_BODY);
    let place = app.bodies.take(Some(inbox.tenant_id), size.min(MOST_BODY));
    let (body, truncated) = first_part(body, if place.is_some() { MOST_BODY } else { room::SMALL }).await;
    drop(place);
    let now = app.control.clock().now();
    let verdict = match truncated {
        true => InboxVerdict::Unknown,
        false => app.control.inbox_verdict(&inbox, parts.method.as_str(), &parts.headers, &body, now),
    };
    let mode = app.inboxes.keep(&token, |mode, number| {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Arrived {
            id: InboxRequestId::new(now),
            number,
            at: now,
            method: parts.method,
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body,
            truncated,
            verdict,
            answered: mode.status(),
        }
    });
    if mode == Mode::Slow {
        app.control.clock().sleep(SLOW).await;
    }
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok((mode.status(), [(header::CONTENT_TYPE, text)], "kept in the inbox\n").into_response())
}

/// The first `most` bytes of a body, and whether there was more. A little more is read and let go, so that the
/// sender is answered instead of cut off.
async fn first_part(mut body: axum::body::Body, most: usize) -> (Bytes, bool) {
    let (mut kept, mut seen, mut cut) = (Vec::new(), 0, false);
    let read = async {
        while seen <= MOST_BODY {
            match body.frame().await {
                None => return,
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    seen += data.len();
                    let room = (most - kept.len()).min(data.len());
                    kept.extend_from_slice(&data[..room]);
                    cut |= room < data.len();
                }
                Some(Err(_)) => {
                    cut = true;
                    return;
                }
            }
        }
        cut = true;
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), read).await.is_ok();
    (Bytes::from(kept), cut || !in_time)
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<InboxRequestId>,
    limit: Option<usize>,
}

async fn requests(
    State(app): State<Shared>,
    Segments(token): Segments<String>,
    Params(Wanted { after, limit }): Params<Wanted>,
) -> Result<Response, Problem> {
    app.control.inbox_by_token(&token)?;
    let limit = limit.map_or(Ok(usize::MAX), params::items)?;
    let mut arrived = app.inboxes.with(&token, |tray| tray.arrived(after));
    arrived.truncate(limit);
    answer_list(&arrived, |arrived| RequestView::of(arrived, &arrived.body), None).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    answer: Mode,
}

async fn choose(
    State(app): State<Shared>,
    Segments(token): Segments<String>,
    request: Request,
) -> Result<Response, Problem> {
    app.control.inbox_by_token(&token)?;
    let Form(choice) = Form::<Choice>::from_request(request, &())
        .await
        .map_err(|_| Problem::new(Kind::Invalid, "send a form with `answer`: `200`, `500`, `410` or `slow`"))?;
    app.inboxes.with(&token, |tray| tray.mode = choice.answer);
    Ok(Redirect::to(&format!("/inbox/{token}")).into_response())
}
