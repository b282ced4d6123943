//! Inboxes: a URL that takes anything, keeps the last of it in memory, and shows it.
//!
//! Whoever knows the URL may post, look, and choose the answer: it is a place to try things out, and its
//! token is as hard to guess as a key. Nothing here survives a restart. The page runs no script: it loads
//! itself again, and its buttons are forms.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, body::Bytes};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::views::{Time, headers_view, text_or_base64};
use super::body::answer;
use super::guard::Access;
use super::html::{self, Escaped};
use super::params::{List, Segments};
use super::problem::{Kind, Problem};
use super::route::{Payload, Route, Tag};
use super::{App, Shared};
use crate::control::InboxVerdict;

/// Most requests of one inbox, most bytes of one body that are kept and that are read, and most inboxes that
/// have something in memory.
const MOST_REQUESTS: usize = 100;
const MOST_BODY: usize = 64 * 1024;
const MOST_READ: usize = 4 * 1024 * 1024;
const MOST_INBOXES: usize = 1_000;

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
            .about("Any request is kept, 64 KiB of it, and answered as was chosen on the page: 200 at first."),
        row(Route::put("/inbox/{token}", "put_to_inbox", "Deliver by PUT", arrive)),
        row(Route::patch("/inbox/{token}", "patch_to_inbox", "Deliver by PATCH", arrive)),
        row(Route::delete("/inbox/{token}", "delete_to_inbox", "Deliver by DELETE", arrive)),
        Route::get("/inbox/{token}/requests", "list_inbox_requests", "What arrived", requests)
            .tag(Tag::Inboxes)
            .needs(Access::Public)
            .about("Newest first, at most the last 100.")
            .lists::<RequestView>(),
        Route::post("/inbox/{token}/answer", "set_inbox_answer", "Choose the answer", choose)
            .tag(Tag::Inboxes)
            .needs(Access::Public)
            .about("A form with `answer`: `200`, `500`, `410` or `slow`. Goes back to the page.")
            .takes(Payload::Anything)
            .shows("text/html"),
    ]
}

/// How an inbox answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Mode {
    #[default]
    #[serde(rename = "200")]
    Fine,
    #[serde(rename = "500")]
    Fails,
    #[serde(rename = "410")]
    Gone,
    #[serde(rename = "slow")]
    Slow,
}

impl Mode {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Fine, "200", "200 OK"),
        (Self::Fails, "500", "500 error"),
        (Self::Gone, "410", "410 gone"),
        (Self::Slow, "slow", "200 after 10 s"),
    ];

    fn status(self) -> StatusCode {
        match self {
            Self::Fine | Self::Slow => StatusCode::OK,
            Self::Fails => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Gone => StatusCode::GONE,
        }
    }
}

/// One request that arrived.
struct Arrived {
    at: Timestamp,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    truncated: bool,
    verdict: InboxVerdict,
    answered: StatusCode,
}

#[derive(Default)]
struct Tray {
    mode: Mode,
    arrived: VecDeque<Arrived>,
}

/// What arrived, by token.
#[derive(Default)]
pub(super) struct Inboxes(Mutex<HashMap<String, Tray>>);

impl Inboxes {
    fn with<T>(&self, token: &str, work: impl FnOnce(&mut Tray) -> T) -> T {
        let mut trays = self.0.lock();
        if !trays.contains_key(token) && trays.len() >= MOST_INBOXES {
            // The one in which nothing has happened for longest makes room.
            let oldest = trays.iter().min_by_key(|(_, tray)| tray.arrived.back().map(|last| last.at));
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                trays.remove(&oldest);
            }
        }
        work(trays.entry(token.to_owned()).or_default())
    }

    /// The inbox is gone.
    pub(super) fn forget(&self, token: &str) {
        self.0.lock().remove(token);
    }
}

/// A request that arrived at an inbox.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboxRequest)]
pub(super) struct RequestView {
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

impl From<&Arrived> for RequestView {
    fn from(arrived: &Arrived) -> Self {
        let (body, body_encoding) = text_or_base64(&arrived.body);
        Self {
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
        return Ok(show(&app, &token));
    }
    let (parts, body) = request.into_parts();
    let (body, truncated) = first_part(body).await;
    let now = app.control.clock().now();
    let verdict = match truncated {
        true => InboxVerdict::Unknown,
        false => app.control.inbox_verdict(&inbox, parts.method.as_str(), &parts.headers, &body, now),
    };
    let mode = app.inboxes.with(&token, |tray| {
        if tray.arrived.len() >= MOST_REQUESTS {
            tray.arrived.pop_front();
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        tray.arrived.push_back(Arrived {
            at: now,
            method: parts.method,
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body,
            truncated,
            verdict,
            answered: tray.mode.status(),
        });
        tray.mode
    });
    if mode == Mode::Slow {
        app.control.clock().sleep(SLOW).await;
    }
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok((mode.status(), [(header::CONTENT_TYPE, text)], "kept in the inbox\n").into_response())
}

/// The first 64 KiB of a body, and whether there was more. A little more is read and let go, so that the
/// sender is answered instead of cut off.
async fn first_part(mut body: axum::body::Body) -> (Bytes, bool) {
    let (mut kept, mut seen, mut cut) = (Vec::new(), 0, false);
    let read = async {
        while seen < MOST_READ {
            match body.frame().await {
                None => return,
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    seen += data.len();
                    let room = (MOST_BODY - kept.len()).min(data.len());
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

async fn requests(State(app): State<Shared>, Segments(token): Segments<String>) -> Result<Response, Problem> {
    app.control.inbox_by_token(&token)?;
    let data: Vec<RequestView> =
        app.inboxes.with(&token, |tray| tray.arrived.iter().rev().map(RequestView::from).collect());
    Ok(answer(StatusCode::OK, &List { data, next: None }))
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

fn show(app: &App, token: &str) -> Response {
    let url = app.config.url(&format!("/inbox/{token}"));
    let mut body = format!(
        "<h1>Inbox</h1><p>Deliver to <code>{}</code>. What arrives is shown here, newest first; the page looks \
         again every 3 seconds. The last 100 requests are kept until the gateway stops; \
         <a href=\"{}/requests\">as JSON</a>.</p>",
        Escaped(&url),
        Escaped(&url),
    );
    app.inboxes.with(token, |tray| {
        let _ = write!(body, "<form method=\"post\" action=\"/inbox/{}/answer\"><p>Answer with ", Escaped(token));
        for (mode, word, label) in Mode::ALL {
            let pressed = mode == tray.mode;
            let _ =
                write!(body, "<button name=\"answer\" value=\"{word}\" aria-pressed=\"{pressed}\">{label}</button> ");
        }
        body.push_str("</p></form>");
        if tray.arrived.is_empty() {
            body.push_str("<p class=\"soft\">Nothing has arrived yet.</p>");
        }
        for arrived in tray.arrived.iter().rev() {
            show_one(&mut body, arrived);
        }
    });
    html::page("Inbox – Hookmill", &body, Some(3))
}

fn show_one(body: &mut String, arrived: &Arrived) {
    let view = RequestView::from(arrived);
    let (class, verdict) = match &arrived.verdict {
        InboxVerdict::Valid(id) => ("good", format!("✓ signed by {id}")),
        InboxVerdict::Invalid(id, why) => ("bad", format!("✗ not signed by {id}: {why}")),
        InboxVerdict::Unknown => ("soft", "no signature could be checked".to_owned()),
    };
    let _ = write!(
        body,
        "<article><h3><span class=\"method\">{}</span> {}</h3><p class=\"{class}\">{}</p><p class=\"soft\">answered {}</p>",
        Escaped(&view.method),
        Escaped(crate::domain::rfc3339(arrived.at)),
        Escaped(verdict),
        view.answered_status_code,
    );
    let pretty = serde_json::from_slice::<serde_json::Value>(&arrived.body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or(view.body);
    let _ = write!(body, "<pre>{}</pre>", Escaped(pretty));
    if view.truncated {
        body.push_str("<p class=\"soft\">There was more; 64 KiB are kept.</p>");
    }
    body.push_str("<details><summary>Headers</summary><table>");
    for (name, value) in &view.headers {
        let _ = write!(body, "<tr><th>{}</th><td><code>{}</code></td></tr>", Escaped(name), Escaped(value));
    }
    body.push_str("</table></details></article>");
}
