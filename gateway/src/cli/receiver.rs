//! A small HTTP server on the loopback address: what the demo and the bench deliver to.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The largest body that is taken, in bytes: more than the gateway makes of the largest event.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// A request that arrived.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) method: Method,
    /// The path, without the query.
    pub(super) path: String,
    #[cfg(test)]
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What it is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Reply {
    /// A text.
    pub(super) fn text(status: u16, body: &'static str) -> Self {
        Self { status, content_type: "text/plain", body: Bytes::from_static(body.as_bytes()) }
    }

    /// A JSON text.
    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, content_type: "application/json", body: body.into() }
    }
}

/// A server on a port of its own. It ends, with every connection, when this is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Starts one that answers as `answer` says. That is asked on an async thread, so it must not block.
    pub(super) async fn start(answer: impl Fn(Received) -> Reply + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port could be opened")?;
        let address = listener.local_addr()?;
        Ok(Self { address, serving: tokio::spawn(serve(listener, Arc::new(answer))) })
    }

    /// A URL at this server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<A>(listener: TcpListener, answer: Arc<A>)
where
    A: Fn(Received) -> Reply + Send + Sync + 'static,
{
    // Connections end with this set.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of files, most likely: there is nothing to do but to wait until some are closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = service_fn(move |request| respond(request, answer.clone()));
        // A gateway keeps connections open between deliveries: no limit on how long they rest.
        let connection =
            http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // Errors here are the client's, which went away.
            let _ = connection.await;
        });
    }
}

async fn respond<A: Fn(Received) -> Reply>(
    request: Request<Incoming>,
    answer: Arc<A>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => answer(Received {
            method: head.method,
            path: head.uri.path().to_owned(),
            #[cfg(test)]
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body: body.to_bytes(),
        }),
        Err(_) => Reply::text(400, "the body could not be read"),
    };
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    Ok(response)
}
