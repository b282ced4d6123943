//! Requests to a gateway, in clear or by TLS, one connection each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::Stream;
use crate::cli::client::{problem, speak};
use crate::domain::Secret;
use crate::egress;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: a plugin is compiled within ten minutes, or refused.
const ANSWER: Duration = Duration::from_secs(660);
/// How long a program on this machine may take: as long as the slowest endpoint.
const PROGRAM: Duration = Duration::from_secs(60);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// A gateway, and the key that it is called with.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Remote {
    base: Url,
    key: Option<Secret>,
    /// Whom to trust, where it is called by TLS.
    trust: Option<Arc<ClientConfig>>,
}

/// What came back.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: StatusCode,
    /// The body, as it came.
    pub(in crate::cli) text: String,
    /// By which what was read is told from what others have made of it since.
    pub(in crate::cli) tag: Option<String>,
    /// In how many seconds it may be tried again.
    retry_after: Option<u64>,
}

impl Answer {
    /// The body, to look at. Long numbers lose digits in it: what is handed on is `text`.
    pub(in crate::cli) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// What the gateway did not do, and why.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(in crate::cli) struct Refused {
    pub(in crate::cli) status: StatusCode,
    /// The last part of the problem's type, such as `plugin-version-taken`.
    pub(in crate::cli) kind: String,
    /// The problem as it came; `None` where what answered is no gateway.
    pub(in crate::cli) problem: Option<Value>,
    said: String,
}

impl Refused {
    /// The same refusal in other words.
    pub(in crate::cli) fn in_words(self, said: String) -> Self {
        Self { said, ..self }
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Remote {
    /// The gateway at a URL that ends in a slash.
    pub(in crate::cli) fn new(base: Url, key: Option<Secret>) -> anyhow::Result<Self> {
        base.host_str().with_context(|| format!("{base} names no host"))?;
        let trust = if base.scheme() == "https" {
            let mut trust = egress::trust(&[])?;
            trust.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(trust))
        } else {
            None
        };
        Ok(Self { base, key, trust })
    }

    /// The gateway's URL.
    pub(in crate::cli) fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(in crate::cli) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// `POST` without a body.
    pub(in crate::cli) async fn poke(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, "application/json", Bytes::new()).await
    }

    /// `POST` of a JSON text.
    pub(in crate::cli) async fn post(&self, path: &str, body: String) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, "application/json", body.into()).await
    }

    pub(in crate::cli) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path, "application/json", Bytes::new()).await
    }

    /// Changes something; if it is known what it was, only if it is that still.
    pub(in crate::cli) async fn patch(&self, path: &str, body: String, tag: Option<&str>) -> anyhow::Result<Answer> {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(tag.map(|tag| ("if-match", tag)));
        self.call_with(Method::PATCH, path, &headers, body.into()).await
    }

    /// Sends a request and reads the whole answer; a refusal is an error that is a [`Refused`].
    pub(in crate::cli) async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        self.call_with(method, path, &[("content-type", content_type)], body).await
    }

    async fn call_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let exchange = async {
            let response = self.open(method, path, headers, body).await?;
            self.read(response).await
        };
        let answered = tokio::time::timeout(ANSWER, exchange).await;
        let answer =
            answered.with_context(|| format!("{} did not answer within {} s", self.server(), ANSWER.as_secs()))??;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(&answer).into()) }
    }

    /// Opens a stream of server-sent events, going on after the last one that is known.
    pub(in crate::cli) async fn stream(&self, path: &str, last: Option<&str>) -> anyhow::Result<Stream> {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let response = self.open(Method::GET, path, &headers, Bytes::new()).await?;
        if response.status() == StatusCode::OK {
            return Ok(Stream::new(response.into_body()));
        }
        let answer = self.read(response).await?;
        Err(self.refused(&answer).into())
    }

    /// Hands a request on to a program: `to` is its whole URL. Gives what it answered.
    pub(in crate::cli) async fn hand_on(
        to: &Url,
        method: Method,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<StatusCode> {
        let program = Self::new(to.clone(), None)?;
        let wire = program.wire().await.with_context(|| format!("can't reach {to}; does the program run?"))?;
        let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", to.path());
        let response = tokio::time::timeout(PROGRAM, program.exchange(wire, method, &target, headers, body)).await;
        Ok(response.with_context(|| format!("no answer within {} s", PROGRAM.as_secs()))??.status())
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let wire = self.wire().await.with_context(|| {
            format!(
                "can't reach the gateway at {}; does it run (`hookmill serve`)? Another is named by --server, \
                 HOOKMILL_SERVER or a profile (`hookmill profile list`)",
                self.server()
            )
        })?;
        let target = format!("{}{path}", self.base.path().trim_end_matches('/'));
        self.exchange(wire, method, &target, headers, body).await
    }

    async fn exchange(
        &self,
        wire: Box<dyn Wire>,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut sender = speak(wire).await?;
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, self.authority());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let request = request.body(Full::new(body)).with_context(|| format!("`{target}` makes no request"))?;
        sender.send_request(request).await.with_context(|| format!("{} broke off", self.server()))
    }

    fn authority(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    async fn wire(&self) -> anyhow::Result<Box<dyn Wire>> {
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        connected.unwrap_or_else(|_| Err(anyhow!("no connection within {} s", CONNECT.as_secs())))
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Wire>> {
        let host = self.base.host_str().unwrap_or_default();
        // In a URL an IPv6 address stands in brackets.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.base.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((name, port)).await?;
        stream.set_nodelay(true)?;
        let Some(trust) = &self.trust else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(name.to_owned()).with_context(|| format!("`{name}` is no host's name"))?;
        Ok(Box::new(TlsConnector::from(trust.clone()).connect(name, stream).await?))
    }

    async fn read(&self, response: Response<Incoming>) -> anyhow::Result<Answer> {
        let status = response.status();
        let tag = header(&response, "etag").map(str::to_owned);
        let retry_after = header(&response, "retry-after").and_then(|seconds| seconds.parse().ok());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!("the answer of {} could not be read: {error}", self.server()))?;
        Ok(Answer { status, text: String::from_utf8_lossy(&body.to_bytes()).into_owned(), tag, retry_after })
    }

    fn refused(&self, answer: &Answer) -> Refused {
        let body = answer.json();
        let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
        let server = self.server();
        let said = match answer.status {
            StatusCode::UNAUTHORIZED => format!(
                "{server} does not take this key: {}; `hookmill login --server {server}` saves another",
                problem(&body)
            ),
            status if kind.is_empty() => {
                format!("{server} answered {}, and not as a gateway does; is the URL right?", status.as_u16())
            }
            _ => match answer.retry_after {
                Some(seconds) => format!("{}; try again in {seconds} s", problem(&body)),
                None => problem(&body),
            },
        };
        let problem = (!kind.is_empty()).then_some(body);
        Refused { status: answer.status, kind, problem, said }
    }
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::receiver::{Receiver, Reply};
    use crate::cli::remote::read_server;

    fn remote(server: &str) -> Remote {
        Remote::new(read_server(server).unwrap(), Some(Secret::new("k".to_owned()))).unwrap()
    }

    #[tokio::test]
    async fn refusals_say_what_to_do() {
        let receiver = Receiver::start(|request| match request.path.as_str() {
            "/gate/v1/fine" => Reply::json(200, r#"{"n":12345678901234567890.10}"#.to_owned()),
            "/gate/v1/key" => {
                Reply::json(401, r#"{"type":"/problems/unauthenticated","detail":"no such key"}"#.to_owned())
            }
            "/gate/v1/taken" => {
                Reply::json(409, r#"{"type":"/problems/plugin-version-taken","detail":"it is taken"}"#.to_owned())
            }
            _ => Reply::text(404, "nothing here"),
        })
        .await
        .unwrap();
        let server = receiver.url("/gate");
        let remote = remote(&server);
        assert_eq!(remote.get("/v1/fine").await.unwrap().text, r#"{"n":12345678901234567890.10}"#);
        for (path, status, kind, words) in [
            ("/v1/key", 401, "unauthenticated", "hookmill login --server"),
            ("/v1/taken", 409, "plugin-version-taken", "it is taken"),
            ("/v1/other", 404, "", "is the URL right?"),
        ] {
            let error = remote.get(path).await.unwrap_err();
            let refused = error.downcast_ref::<Refused>().unwrap();
            assert_eq!((refused.status.as_u16(), refused.kind.as_str()), (status, kind));
            assert!(refused.said.contains(words), "{refused}");
            assert_eq!(refused.problem.is_some(), !kind.is_empty());
        }
    }

    #[test]
    fn a_refusal_for_a_while_says_for_how_long() {
        for (retry_after, said) in [(Some(7), "used up; try again in 7 s"), (None, "used up")] {
            let text = r#"{"type":"/problems/plugin-cpu-budget","detail":"used up"}"#.to_owned();
            let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, text, tag: None, retry_after };
            assert_eq!(remote("http://127.0.0.1:1").refused(&answer).to_string(), said);
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = format!("{:#}", remote(&format!("http://{address}")).get("/v1/me").await.unwrap_err());
        assert!(error.contains(&format!("can't reach the gateway at http://{address}")), "{error}");
        assert!(error.contains("hookmill serve"), "{error}");
    }
}
