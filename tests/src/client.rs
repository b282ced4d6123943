//! A small HTTP client for JSON.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::Stream;

/// Calls one listener with one key.
#[derive(Clone)]
pub struct Client {
    base: String,
    key: Option<String>,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
    asked: String,
}

impl Client {
    /// Calls `address` without a key.
    #[must_use]
    pub fn new(address: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's own client, to a gateway of its own")]
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { base: format!("http://{address}"), key: None, http }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same with another listener.
    #[must_use]
    pub(crate) fn at(&self, address: &str) -> Self {
        Self { base: format!("http://{address}"), ..self.clone() }
    }

    /// The listener's URL, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends any request; `None` if no whole answer came.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Reply> {
        let path = path.strip_prefix(&self.base).unwrap_or(path);
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("the test's own request is well formed");
        let (parts, body) = self.http.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Some(Reply { status: parts.status.as_u16(), headers: parts.headers, text, asked: format!("{method} {path}") })
    }

    /// Sends any request.
    ///
    /// # Panics
    /// If no whole answer came.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let reply = self.try_send(method, path, headers, body).await;
        reply.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Panics
    /// If it is not answered with one.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut request = Request::builder().uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).expect("the test's own request is well formed");
        let response = self.http.request(request).await.expect("a stream is answered");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{path}");
        Stream::new(response.into_body())
    }

    /// Sends a JSON text as it is.
    pub async fn text(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(method, path, &[("content-type", "application/json")], body.to_owned()).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    /// `POST` of a JSON value.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.text("POST", path, &body.to_string()).await
    }

    /// `POST` without a body.
    pub async fn poke(&self, path: &str) -> Reply {
        self.send("POST", path, &[], "").await
    }

    /// `PATCH` with a JSON value.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.text("PATCH", path, &body.to_string()).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").await
    }
}

impl Reply {
    /// The body as JSON, if the status is the wanted one; `null` if there is no body.
    ///
    /// # Panics
    /// If it is another, with all that was answered.
    #[track_caller]
    #[must_use]
    pub fn json(&self, status: u16) -> Value {
        self.is(status);
        match self.text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: {error}: {text}", self.asked)),
        }
    }

    /// Checks the status.
    ///
    /// # Panics
    /// If it is another, with all that was answered.
    #[track_caller]
    pub fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
    }

    /// Checks that it is this problem and that its form is that of RFC 9457; gives the pointers of its errors.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn problem(&self, status: u16, id: &str) -> Vec<String> {
        let body = self.json(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.asked);
        assert_eq!(body["type"], format!("/problems/{id}"), "{}: {}", self.asked, self.text);
        assert_eq!(body["status"], status);
        assert_eq!(body["instance"].as_str(), Some(self.header("x-request-id")), "{}", self.text);
        let errors = body["errors"].as_array().into_iter().flatten();
        errors.map(|error| error["pointer"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A header's value; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
