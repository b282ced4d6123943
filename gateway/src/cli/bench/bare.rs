//! `hookmill bench --bare`: the yardstick. A process that does what any gateway must, and nothing else.
//!
//! It takes an event over HTTP, signs it and sends it on, by the HTTP library that the gateway uses too, and answers
//! when that was answered. **What is deliberately not.** Nothing is kept, looked up, matched, transformed, tried again
//! or explained. Machines differ: what the gateway costs beside this one, in the same run of the bench, can be
//! compared between them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::cli::client::Connection;
use crate::cli::{block_on, print};
use crate::clock::Clock;
use crate::domain::EventId;
use crate::signing::{Keys, Scheme, SignParts};

/// Forward what is posted, signed, and keep nothing: what `bench --bare` measures.
#[derive(Args, Debug)]
pub(in crate::cli) struct Forward {
    /// Where everything goes
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
}

/// Where the bench's receiver counts what arrives for its first subscription.
const PATH: &str = "/events/0";

impl Forward {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        block_on(async move {
            let signer = Arc::new(Signer::new()?);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port could be opened")?;
            print(&format!("listening on {},", listener.local_addr()?));
            let mut terminate = signal(SignalKind::terminate())?;
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted?,
                    _ = terminate.recv() => return Ok(()),
                };
                tokio::spawn(forward_all(stream, self.to, signer.clone()));
            }
        })
    }
}

/// Signs as a subscription does that does not say how.
struct Signer {
    clock: Clock,
    scheme: Scheme,
    keys: Keys,
}

impl Signer {
    fn new() -> anyhow::Result<Self> {
        let standard = serde_json::from_value(serde_json::json!({"scheme": "standard"}))?;
        let scheme = Scheme::for_delivery(&standard).ok().context("the standard scheme is known")?;
        let keys = scheme.keys(&scheme.generate_secret(), None)?;
        Ok(Self { clock: Clock::system(), scheme, keys })
    }

    /// The request that carries a body on.
    fn request(&self, to: SocketAddr, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let now = self.clock.now();
        let id = EventId::new(now).to_string();
        let parts = SignParts {
            id: &id,
            timestamp_s: now.as_second(),
            body: &body,
            url: PATH,
            method: Method::POST.as_str(),
            headers: &HeaderMap::new(),
        };
        let signature = self.scheme.sign(&self.keys, &parts)?;
        let mut request = Request::builder().method(Method::POST).uri(PATH).header(header::HOST, to.to_string());
        for (name, value) in signature {
            request = request.header(name, value);
        }
        Ok(request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body))?)
    }
}

/// Serves one connection, over one of its own to the receiver.
async fn forward_all(stream: TcpStream, to: SocketAddr, signer: Arc<Signer>) {
    // Without it the figures are a little worse, and that is all.
    let _ = stream.set_nodelay(true);
    let onward = Arc::new(Mutex::new(Connection::to(to)));
    let service = service_fn(move |posted| forward(posted, onward.clone(), to, signer.clone()));
    // Errors here are the client's, which went away.
    let _ = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(
    posted: Request<Incoming>,
    onward: Arc<Mutex<Connection>>,
    to: SocketAddr,
    signer: Arc<Signer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match posted.into_body().collect().await.map(|body| signer.request(to, body.to_bytes())) {
        Ok(Ok(request)) => {
            onward.lock().await.send(request).await.map_or(StatusCode::BAD_GATEWAY, |(status, _)| status)
        }
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = if status.is_success() { StatusCode::ACCEPTED } else { status };
    Ok(response)
}
