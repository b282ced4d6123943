//! The HTTP client: hyper's own, with the address policy in its connector.
//!
//! The layers that general clients put on top (redirects, retries, proxies, cookies, decompression) are what must not
//! happen here, and cost a twentieth of a delivery even where they are switched off.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::body::WatchedBody;
use super::client::EgressConfig;
use super::resolver::JudgingResolver;

/// One tenant's connections on one way. Cheap to clone.
pub(super) type Client = legacy::Client<Dial, WatchedBody>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How often a connection without traffic is probed, and how often before it counts as dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// Builds a client. A request on it follows no redirect and is sent once, or a second time where a kept connection was
/// found closed before its first byte was written.
pub(super) fn client(resolver: JudgingResolver, tls: ClientConfig, config: &EgressConfig) -> Client {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEP_ALIVE));
    http.set_keepalive_interval(Some(KEEP_ALIVE));
    http.set_keepalive_retries(Some(PROBES));
    let dial = Dial { https: HttpsConnector::from((http, tls)), limit: config.connect_timeout };
    #[expect(clippy::disallowed_methods, reason = "this is the place: the connector judges every address")]
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(config.idle_per_host)
        // A window as small as what is kept of an answer: an endless one fills no memory.
        .http2_initial_stream_window_size(64 * 1024)
        .http2_initial_connection_window_size(1024 * 1024)
        .http2_max_header_list_size(64 * 1024)
        // A dead connection shared by many requests must be found out before they all time out.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(10));
    builder.build(dial)
}

/// Look-up, connection and TLS handshake took too long together.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", .0.as_millis())]
pub(super) struct NotConnected(Duration);

/// Connects, in time or not at all.
#[derive(Clone)]
pub(super) struct Dial {
    https: HttpsConnector<HttpConnector<JudgingResolver>>,
    limit: Duration,
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting = self.https.call(to);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(NotConnected(limit).into()),
            }
        })
    }
}
