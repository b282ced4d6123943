//! The world outside, played: Slack, Zapier, Google and a few servers of customers, on one port.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use super::google;
use crate::cli::receiver::{Received, Receiver, Reply};
use crate::clock::Clock;

/// Hosts whose requests come here instead.
const HOSTS: [&str; 4] = ["hooks.slack.com", "hooks.zapier.com", "sheets.googleapis.com", "oauth2.googleapis.com"];

/// How often the flaky endpoint fails before it has recovered.
const FAILURES: usize = 2;

/// A request that arrived, and what it was answered with.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) at: Timestamp,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) status: u16,
}

impl Arrival {
    /// A header's value, if it is a text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[derive(Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    /// The access token that Google's double gave out.
    token: Option<String>,
}

/// All of them.
pub(super) struct Endpoints {
    receiver: Receiver,
    seen: Arc<Mutex<Seen>>,
}

impl Endpoints {
    /// Opens their port.
    pub(super) async fn start(clock: Clock) -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let receiver = {
            let seen = seen.clone();
            Receiver::start(move |request| seen.lock().take(request, clock.now())).await
        };
        Ok(Self { receiver: receiver.context("the endpoints could not be started")?, seen })
    }

    /// A URL of the customers' own servers.
    pub(super) fn url(&self, path: &str) -> String {
        self.receiver.url(path)
    }

    /// The gateway's settings that lead the hosts here.
    pub(super) fn mapped_hosts(&self) -> Vec<String> {
        HOSTS.iter().map(|host| format!("{host}={}", self.receiver.url(""))).collect()
    }

    /// What arrived at paths that begin with this, in order.
    pub(super) fn arrived_at(&self, path: &str) -> Vec<Arrival> {
        self.seen.lock().arrivals.iter().filter(|arrival| arrival.path.starts_with(path)).cloned().collect()
    }
}

impl Seen {
    fn take(&mut self, request: Received, now: Timestamp) -> Reply {
        let reply = self.answer(&request, now);
        let Received { method, path, headers, body, .. } = request;
        self.arrivals.push(Arrival { at: now, method: method.to_string(), path, headers, body, status: reply.status });
        reply
    }

    fn answer(&mut self, request: &Received, now: Timestamp) -> Reply {
        match request.path.split('/').nth(1).unwrap_or_default() {
            "services" => slack(&request.body),
            "hooks" => Reply::json(200, r#"{"status":"success"}"#.to_owned()),
            "token" => self.token(&request.body, now),
            "v4" => self.sheets(request),
            "flaky" => {
                let before = self.arrivals.iter().filter(|arrival| arrival.path == request.path).count();
                if before < FAILURES { Reply::text(500, "out of order") } else { Reply::text(200, "thank you") }
            }
            _ => Reply::json(200, r#"{"received":true}"#.to_owned()),
        }
    }

    fn token(&mut self, form: &[u8], now: Timestamp) -> Reply {
        match google::check(form, now) {
            Ok(()) => {
                let token = format!("ya29.demo-{:016x}", rand::random::<u64>());
                let granted = serde_json::json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"});
                self.token = Some(token);
                Reply::json(200, granted.to_string())
            }
            Err(why) => {
                let refused = serde_json::json!({"error": "invalid_grant", "error_description": why});
                Reply::json(400, refused.to_string())
            }
        }
    }

    fn sheets(&self, request: &Received) -> Reply {
        let shown = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if shown.is_none() || shown != self.token.as_deref() {
            return Reply::json(401, r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#.to_owned());
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let row = body.pointer("/values/0").and_then(Value::as_array);
        match row {
            Some(row) if request.path.ends_with(":append") => Reply::json(
                200,
                serde_json::json!({"updates": {"updatedRows": 1, "updatedCells": row.len()}}).to_string(),
            ),
            _ => Reply::json(400, r#"{"error":{"code":400,"status":"INVALID_ARGUMENT"}}"#.to_owned()),
        }
    }
}

/// An incoming webhook answers `ok`, or a word that says what is wrong.
fn slack(body: &[u8]) -> Reply {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    match message.get("text").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Reply::text(200, "ok"),
        Some(_) => Reply::text(400, "no_text"),
        None => Reply::text(400, "invalid_payload"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(path: &str, body: &str) -> Received {
        Received {
            method: hyper::Method::POST,
            path: path.to_owned(),
            query: None,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn each_plays_its_part() {
        let now = Timestamp::UNIX_EPOCH;
        let mut seen = Seen::default();
        for (path, body, status) in [
            ("/services/T/B/x", r#"{"text":"hello"}"#, 200),
            ("/services/T/B/x", r#"{"text":""}"#, 400),
            ("/services/T/B/x", "hello", 400),
            ("/hooks/catch/1/2", "{}", 200),
            ("/token", "grant_type=x", 400),
            ("/v4/spreadsheets/1/values/A:append", r#"{"values":[[1]]}"#, 401),
            ("/flaky", "{}", 500),
            ("/flaky", "{}", 500),
            ("/flaky", "{}", 200),
            ("/flaky", "{}", 200),
            ("/anything", "{}", 200),
        ] {
            assert_eq!(seen.take(posted(path, body), now).status, status, "{path} {body}");
        }
        assert_eq!(seen.arrivals.len(), 11);
    }

    #[test]
    fn a_row_is_taken_with_the_token_only() {
        let mut seen = Seen { token: Some("t".to_owned()), ..Seen::default() };
        let mut request = posted("/v4/spreadsheets/1/values/A:append", r#"{"values":[[1,2]]}"#);
        request.headers.insert(AUTHORIZATION, hyper::header::HeaderValue::from_static("Bearer other"));
        assert_eq!(seen.take(request.clone(), Timestamp::UNIX_EPOCH).status, 401);
        request.headers.insert(AUTHORIZATION, hyper::header::HeaderValue::from_static("Bearer t"));
        let reply = seen.take(request.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!((reply.status, &reply.body[..]), (200, &br#"{"updates":{"updatedRows":1,"updatedCells":2}}"#[..]));
        request.body = Bytes::from_static(b"{}");
        assert_eq!(seen.take(request, Timestamp::UNIX_EPOCH).status, 400);
    }
}
