//! The page of an inbox. It runs no script: it loads itself again, and its buttons are forms.

use std::fmt::Write as _;

use axum::response::Response;

use super::tray::{Arrived, Mode};
use super::{App, RequestView};
use crate::control::InboxVerdict;
use crate::http::html::{self, Escaped};

/// Most bytes of a body that are shown.
const SHOWN: usize = 64 * 1024;

/// The answers to choose from: the mode, its word in the form, and what stands on its button.
const ANSWERS: [(Mode, &str, &str); 4] = [
    (Mode::Fine, "200", "200 OK"),
    (Mode::Fails, "500", "500 error"),
    (Mode::Gone, "410", "410 gone"),
    (Mode::Slow, "slow", "200 after 10 s"),
];

pub(super) fn show(app: &App, token: &str) -> Response {
    let url = app.config.url(&format!("/inbox/{token}"));
    let mut body = format!(
        "<h1>Inbox</h1><p>Deliver to <code>{}</code>. What arrives is shown here, newest first; the page looks \
         again every 3 seconds. The last 100 requests, and 8 MiB of them, are kept until the gateway stops; \
         <a href=\"{}/requests\">as JSON</a>.</p>",
        Escaped(&url),
        Escaped(&url),
    );
    let (chosen, all) = app.inboxes.with(token, |tray| (tray.mode, tray.arrived(None)));
    let _ = write!(body, "<form method=\"post\" action=\"/inbox/{}/answer\"><p>Answer with ", Escaped(token));
    for (mode, word, label) in ANSWERS {
        let pressed = mode == chosen;
        let _ = write!(body, "<button name=\"answer\" value=\"{word}\" aria-pressed=\"{pressed}\">{label}</button> ");
    }
    body.push_str("</p></form>");
    if all.is_empty() {
        body.push_str("<p class=\"soft\">Nothing has arrived yet.</p>");
    }
    for arrived in &all {
        show_one(&mut body, arrived);
    }
    html::page("Inbox – Hookmill", &body, Some(3))
}

fn show_one(body: &mut String, arrived: &Arrived) {
    let (class, verdict) = match &arrived.verdict {
        InboxVerdict::Valid(id) => ("good", format!("✓ signed by {id}")),
        InboxVerdict::Invalid(id, why) => ("bad", format!("✗ not signed by {id}: {why}")),
        InboxVerdict::Unknown => ("soft", "no signature could be checked".to_owned()),
    };
    let shown = &arrived.body[..arrived.body.len().min(SHOWN)];
    let view = RequestView::of(arrived, shown);
    let _ = write!(
        body,
        "<article><h3><span class=\"method\">{}</span> {}</h3><p class=\"{class}\">{}</p><p class=\"soft\">answered {}</p>",
        Escaped(&view.method),
        Escaped(crate::domain::rfc3339(arrived.at)),
        Escaped(verdict),
        view.answered_status_code,
    );
    let pretty = serde_json::from_slice::<serde_json::Value>(shown)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or(view.body);
    let _ = write!(body, "<pre>{}</pre>", Escaped(pretty));
    if arrived.body.len() > shown.len() {
        body.push_str("<p class=\"soft\">There is more; 64 KiB are shown.</p>");
    }
    if view.truncated {
        body.push_str("<p class=\"soft\">There was more than is kept.</p>");
    }
    body.push_str("<details><summary>Headers</summary><table>");
    for (name, value) in &view.headers {
        let _ = write!(body, "<tr><th>{}</th><td><code>{}</code></td></tr>", Escaped(name), Escaped(value));
    }
    body.push_str("</table></details></article>");
}
