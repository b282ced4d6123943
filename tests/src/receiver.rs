//! An endpoint that records what it gets, and answers as it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::eventually;

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
    /// When it had arrived, by the machine's clock.
    pub at: Instant,
}

impl Received {
    /// A header's value; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The `webhook-timestamp`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.header("webhook-timestamp").parse().expect("a timestamp in Unix seconds")
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status and no body.
    Status(u16),
    /// A status, headers, and a body.
    Full(u16, Vec<(&'static str, String)>, String),
    /// Nothing, for ever.
    Never,
    /// The connection is closed before any answer.
    Close,
    /// The head and a part of the body; then the connection breaks.
    Break,
    /// 200 and a body without an end.
    Endless,
    /// 200 and this body, byte by byte.
    Drip(String),
}

type Script = dyn Fn(&Received, usize) -> Answer + Send + Sync;

/// An endpoint on a port of its own.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

/// What arrived, in order, and how many to each path.
#[derive(Default)]
struct Record {
    all: Vec<Received>,
    to: HashMap<String, usize>,
}

impl Receiver {
    /// Answers everything with 200.
    pub async fn start() -> Self {
        Self::scripted(|_, _| Answer::Status(200)).await
    }

    /// Answers the requests to each path by these status codes in turn, the last of them from then on.
    pub async fn statuses(codes: &'static [u16]) -> Self {
        Self::scripted(|_, before| Answer::Status(codes.get(before).or(codes.last()).copied().unwrap_or(200))).await
    }

    /// Answers as the script says, which is told the request and how many there were to the same path before.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn scripted(script: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// The same at an address.
    ///
    /// # Panics
    /// If it is taken.
    pub async fn on(address: SocketAddr, script: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let receiver = Self { address, record: Arc::default() };
        let (record, script) = (receiver.record.clone(), Arc::<Script>::from(Box::new(script) as Box<Script>));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (record, script) = (record.clone(), script.clone());
                let service = service_fn(move |request| answer(request, record.clone(), script.clone()));
                // A connection that breaks is what some tests are about.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        receiver
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL at a path that begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `host=http://…`, to send a host's requests here.
    #[must_use]
    pub fn mapping(&self, host: &str) -> String {
        format!("{host}=http://{}", self.address)
    }

    /// Everything that arrived.
    #[must_use]
    pub fn all(&self) -> Vec<Received> {
        self.record.lock().expect("no script panics").all.clone()
    }

    /// What arrived at paths that begin so.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Received> {
        let record = self.record.lock().expect("no script panics");
        record.all.iter().filter(|request| request.path.starts_with(path)).cloned().collect()
    }

    /// How many arrived at paths that begin so.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let record = self.record.lock().expect("no script panics");
        record.all.iter().filter(|request| request.path.starts_with(path)).count()
    }

    /// Waits for so many requests to paths that begin so.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Received> {
        let what = format!("{count} requests to {path}");
        eventually(&what, async || Some(self.at(path)).filter(|found| found.len() >= count)).await
    }

    /// Waits for a request and gives the first.
    ///
    /// # Panics
    /// If none comes.
    pub async fn first(&self, path: &str) -> Received {
        self.wait(path, 1).await.swap_remove(0)
    }
}

type Piece = io::Result<Frame<Bytes>>;
type Pieces = StreamBody<std::pin::Pin<Box<dyn Stream<Item = Piece> + Send>>>;

fn body(pieces: impl Stream<Item = Piece> + Send + 'static) -> Pieces {
    StreamBody::new(Box::pin(pieces))
}

fn data(bytes: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(bytes.into()))
}

async fn answer(
    request: Request<Incoming>,
    record: Arc<Mutex<Record>>,
    script: Arc<Script>,
) -> io::Result<Response<Pieces>> {
    let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
    let (parts, incoming) = request.into_parts();
    let bytes = incoming.collect().await.map_err(|_| broken())?.to_bytes();
    let request = Received {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: bytes,
        at: Instant::now(),
    };
    let answer = {
        let mut record = record.lock().expect("no script panics");
        let count = record.to.entry(request.path.clone()).or_default();
        let before = std::mem::replace(count, *count + 1);
        let answer = script(&request, before);
        record.all.push(request);
        answer
    };
    let (status, headers, pieces) = match answer {
        Answer::Status(status) => (status, vec![], body(stream::empty())),
        Answer::Full(status, headers, text) => (status, headers, body(stream::iter([data(text)]))),
        Answer::Never => std::future::pending::<Result<_, Infallible>>().await.unwrap_or_else(|never| match never {}),
        Answer::Close => return Err(broken()),
        Answer::Break => (200, vec![], body(stream::iter([data("{\"half\":"), Err(broken())]))),
        Answer::Endless => (200, vec![], body(stream::repeat_with(|| data(vec![b'a'; 16 * 1024])))),
        Answer::Drip(text) => {
            let bytes = stream::iter(text.into_bytes()).then(|byte| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                data(vec![byte])
            });
            (200, vec![], body(bytes))
        }
    };
    let mut response = Response::new(pieces);
    *response.status_mut() = status.try_into().expect("the script's status code is one");
    for (name, value) in headers {
        response.headers_mut().append(name, value.try_into().expect("the script's header is one"));
    }
    Ok(response)
}
