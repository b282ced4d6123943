//! A small HTTP client for the demo and the bench, which talk to a gateway on this machine.
//!
//! It knows no address policy and no TLS, and is not for endpoints: those are `egress`'s alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::remote::text;
use crate::domain::Secret;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// One connection, kept open between requests and opened again when the other side has closed it.
pub(super) struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A connection that is opened when it is first needed.
    pub(super) fn to(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        let answered = answered.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", TIMEOUT.as_secs())));
        if answered.is_err() {
            // Whatever is left of the exchange must not be taken for the answer to the next request.
            self.sender = None;
        }
        answered
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.ready().await?.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!("the answer could not be read: {error}"))?;
        Ok((status, body.to_bytes()))
    }

    async fn ready(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(self.sender.insert(sender));
        }
        let stream = TcpStream::connect(self.address).await.with_context(|| format!("can't reach {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(self.sender.insert(speak(stream).await?))
    }
}

/// Begins to speak HTTP/1.1 on an open stream.
pub(super) async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // An error here is told to whoever waits for the answer, too.
        let _ = connection.await;
    });
    Ok(sender)
}

/// A request with a JSON body and a key.
pub(super) fn request(
    method: Method,
    address: SocketAddr,
    path: &str,
    key: &Secret,
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body));
    request.with_context(|| format!("`{path}` makes no request"))
}

/// The gateway's API, spoken by the holder of one key.
pub(super) struct Api {
    address: SocketAddr,
    key: Secret,
    connection: Connection,
}

impl Api {
    /// The API at this address.
    pub(super) fn new(address: SocketAddr, key: Secret) -> Self {
        Self { address, key, connection: Connection::to(address) }
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// `body` is sent as it is, byte for byte.
    pub(super) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body.into()).await
    }

    pub(super) async fn patch(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, body.into()).await
    }

    /// Every item of a list, page after page. `path` has a query already.
    pub(super) async fn list(&mut self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut page = self.get(path).await?;
        loop {
            if let Some(data) = page.get_mut("data").and_then(Value::as_array_mut) {
                items.append(data);
            }
            let Some(next) = page.get("next").and_then(Value::as_str) else { return Ok(items) };
            page = self.get(&format!("{path}&cursor={next}")).await?;
        }
    }

    /// Posts something that may be refused; gives the status and what was answered.
    pub(super) async fn try_post(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<(StatusCode, Value)> {
        self.exchange(Method::POST, path, body.into()).await
    }

    /// Uploads a plugin, which may be refused; gives the status and what was answered.
    pub(super) async fn try_upload(&mut self, component: Bytes) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = request(Method::POST, self.address, "/v1/plugins", &self.key, component)?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
        self.send(request).await.context("POST /v1/plugins")
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Value)> {
        let request = request(method.clone(), self.address, path, &self.key, body)?;
        self.send(request).await.with_context(|| format!("{method} {path}"))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Value)> {
        let (status, body) = self.connection.send(request).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn call(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let (status, answer) = self.exchange(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path} was answered {}: {}", status.as_u16(), problem(&answer));
        }
        Ok(answer)
    }
}

/// A problem (RFC 9457) in one line, with the places of the mistakes.
pub(super) fn problem(answer: &Value) -> String {
    let errors = answer.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let whole = [text(answer, "detail"), text(answer, "title")].into_iter().find(|text| !text.is_empty());
    // Of a single mistake both say the same, and the mistake says better where it is.
    let whole = whole.filter(|whole| !matches!(errors, [only] if whole.ends_with(text(only, "detail"))));
    let parts: Vec<String> = whole.map(str::to_owned).into_iter().chain(errors.iter().map(mistake)).collect();
    if parts.is_empty() { "no reason given".to_owned() } else { parts.join("; ") }
}

fn mistake(error: &Value) -> String {
    match (text(error, "pointer"), text(error, "detail")) {
        // That is all of it.
        ("" | "#", detail) => detail.to_owned(),
        (pointer, detail) => format!("{pointer}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::receiver::{Receiver, Reply};

    #[test]
    fn a_problem_is_one_line() {
        for (answer, line) in [
            (json!(null), "no reason given"),
            (json!({"title": "Not found"}), "Not found"),
            (json!({"title": "Not valid", "detail": "one field is wrong"}), "one field is wrong"),
            (
                json!({"detail": "not valid", "errors": [{"pointer": "#/url", "detail": "is missing"}]}),
                "not valid; #/url: is missing",
            ),
            (
                json!({"detail": "a/0/b: is missing", "errors": [{"pointer": "#/a/0/b", "detail": "is missing"}]}),
                "#/a/0/b: is missing",
            ),
            (json!({"detail": "is empty", "errors": [{"pointer": "#", "detail": "is empty"}]}), "is empty"),
            (
                json!({"detail": "2 fields are not valid", "errors": [
                    {"pointer": "#/a", "detail": "is missing"}, {"pointer": "#/b", "detail": "is missing"},
                ]}),
                "2 fields are not valid; #/a: is missing; #/b: is missing",
            ),
        ] {
            assert_eq!(problem(&answer), line);
        }
    }

    #[tokio::test]
    async fn an_answer_comes_back_and_a_refusal_is_an_error_that_says_why() {
        let receiver = Receiver::start(|request| match request.path.as_str() {
            "/echo" => Reply::json(200, String::from_utf8_lossy(&request.body).into_owned()),
            _ => Reply::json(422, r#"{"detail":"no such thing"}"#.to_owned()),
        })
        .await
        .unwrap();
        let mut api = Api::new(receiver.address, Secret::new("k".to_owned()));
        assert_eq!(api.post("/echo", r#"{"a":1}"#).await.unwrap(), json!({"a": 1}));
        let refused = api.get("/other").await.unwrap_err().to_string();
        assert_eq!(refused, "GET /other was answered 422: no such thing");
        // The connection is as good as before.
        assert_eq!(api.post("/echo", "[2]").await.unwrap(), json!([2]));
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end() {
        let receiver = Receiver::start(|request| {
            Reply::json(
                200,
                match request.query.as_deref() {
                    Some("limit=2") => r#"{"data":[1,2],"next":"c1"}"#.to_owned(),
                    Some("limit=2&cursor=c1") => r#"{"data":[3],"next":null}"#.to_owned(),
                    other => format!(r#"{{"data":["{other:?}"],"next":null}}"#),
                },
            )
        })
        .await
        .unwrap();
        let mut api = Api::new(receiver.address, Secret::new("k".to_owned()));
        assert_eq!(api.list("/things?limit=2").await.unwrap(), vec![json!(1), json!(2), json!(3)]);
    }
}
