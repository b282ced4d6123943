//! A listener's connections: bounded in the time they may take, and let go when the gateway stops.

use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Doors;
use super::again::again;
use super::source::Peer;

/// What is read of a connection at once, and so the longest head. Every connection may take up as much, and a client
/// may open as many as there are files.
const BUFFER: usize = 64 * 1024;

/// Serves until `stop` says so; then no connection is taken, and those there are may end what they do.
#[must_use]
pub fn serve(
    listener: TcpListener,
    doors: Doors,
    mut stop: watch::Receiver<bool>,
    header_timeout: Duration,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        let mut builder = Builder::new(TokioExecutor::new());
        // A client that sends its headers a byte at a time is let go.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
        builder.http1().max_buf_size(BUFFER);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, most likely: there is nothing to do but to wait until some are closed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let peer = Peer(peer.ip());
            let doors = doors.clone();
            let service = service_fn(move |request| doors.answer(hyper::Request::map(request, Body::new), Some(peer)));
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // Errors here are the client's: it went away, or spoke no HTTP.
                let _ = again(connection).await;
            });
        }
        graceful.shutdown().await;
    })
}
