//! A past delivery made again, to see what another version of a plugin makes of it. Nothing is sent and nothing is kept.

use serde::Serialize;

use super::Pipeline;
use super::body::{self, Sending};
use super::patch::{Json, Patch};
use super::preview::{PreviewStep, Trial, try_out};
use crate::domain::{AttemptRequest, Delivery, Event};
use crate::registry::Plan;

/// What a delivery would be.
#[derive(Debug, Clone)]
pub struct Rerun {
    /// What each plugin made.
    pub steps: Vec<PreviewStep>,
    /// The request, its secrets redacted, its body whole.
    pub request: Option<AttemptRequest>,
    /// Why there is none.
    pub problem: Option<String>,
}

impl Pipeline {
    /// What `plan` makes of a delivery, as at its attempt of this number.
    pub async fn rerun(&self, plan: &Plan, event: &Event, delivery: &Delivery, attempt: u32) -> Rerun {
        let as_sent = body::with_id_of(delivery, event);
        let event = as_sent.as_ref().unwrap_or(event);
        let sending = Sending { delivery: delivery.id, attempt };
        let id = delivery.message_id();
        let Trial { steps, request, problem } = try_out(&self.0, plan, (event, &id), sending).await;
        Rerun { steps, request, problem }
    }
}

impl Patch {
    /// What leads from one request to another: method, URL, content type and body. Other headers say who sent it and
    /// when, and are left alone. A body that is JSON is taken apart. A request that is not there is `null`.
    #[must_use]
    pub fn between_requests(from: Option<&AttemptRequest>, to: Option<&AttemptRequest>) -> Self {
        Self::between(&document(from), &document(to))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    method: &'a str,
    url: &'a str,
    content_type: Option<&'a str>,
    body: Option<Json<'a>>,
}

fn document(request: Option<&AttemptRequest>) -> String {
    let Some(request) = request else { return "null".to_owned() };
    let content_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let document = Document {
        method: &request.method,
        url: &request.url,
        content_type: content_type.map(|(_, value)| value.as_str()),
        body: request.body.as_deref().map(Json::of_bytes),
    };
    // Texts and text that is JSON: nothing that could not be written.
    serde_json::to_string(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, body: &[u8]) -> AttemptRequest {
        let headers =
            vec![("Content-Type".into(), "application/json".into()), ("webhook-timestamp".into(), url.into())];
        AttemptRequest { method: "POST".into(), url: url.into(), headers, body: Some(body.to_vec()) }
    }

    #[test]
    fn requests_are_compared_by_what_they_say() {
        let first = request("https://a.example/", br#"{"a": [1, 2]}"#);
        for (other, places) in [
            (request("https://a.example/", br#"{"a":[1,2]}"#), vec![]),
            (request("https://a.example/", br#"{"a":[1,3]}"#), vec!["/body/a/1"]),
            (request("https://b.example/", b"text"), vec!["/url", "/body"]),
            (request("https://a.example/", b"\xff"), vec!["/body/a", "/body/base64"]),
        ] {
            let patch = Patch::between_requests(Some(&first), Some(&other));
            let found: Vec<&str> = patch.operations.iter().map(|operation| operation.path.as_str()).collect();
            assert_eq!(found, places);
            assert!(Patch::between_requests(Some(&other), Some(&other)).is_empty());
        }
        assert!(Patch::between_requests(None, None).is_empty());
        for (from, to) in [(None, Some(&first)), (Some(&first), None)] {
            let operations = Patch::between_requests(from, to).operations;
            assert_eq!(operations.iter().map(|of| (of.op, of.path.as_str())).collect::<Vec<_>>(), [("replace", "")]);
        }
    }
}
