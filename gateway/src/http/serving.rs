//! A listener's connections: bounded in the time they may take, and let go when the gateway stops.
//!
//! **Who acts.** hyper waits for a request's head, and pings who speaks HTTP/2; what comes before, while it is not known
//! yet which HTTP a client speaks, and a client of HTTP/2 that never asks, has its time here. **What is promised.** Who
//! asks for nothing in time is let go, whatever it sends instead, and counted. A head may be as long over HTTP/2 as
//! over HTTP/1.1. **What is deliberately not.** A bound on how many there are: that is the files a process may have
//! open, and who comes beyond waits. Nor an end for who has asked once and goes on answering pings, or asking. Nor a
//! problem for a head that is too long: hyper answers it by itself, with 431 and no body, and over HTTP/1.1 one of more
//! than 100 lines too, since room for more would cost every request an allocation. Over HTTP/2, one of four times the
//! length ends the connection.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use metrics::counter;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Doors;
use super::again::again;
use super::source::Peer;

/// The longest head. Over HTTP/1.1 that is what is read of a connection at once: every connection may take up as much,
/// and a client may open as many as there are files. Over HTTP/2 each header counts as 32 bytes more than it has (RFC
/// 9113, section 6.5.2).
const LONGEST_HEAD: u32 = 64 * 1024;

/// Serves until `stop` says so; then no connection is taken, and those there are may end what they do. So long the head of
/// a request may take, and a client of HTTP/2 to answer a ping, which it gets as often.
#[must_use]
pub fn serve(
    listener: TcpListener,
    doors: Doors,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        let mut builder = Builder::new(TokioExecutor::new());
        // A client that sends its headers a byte at a time is let go.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(patience);
        builder.http1().max_buf_size(LONGEST_HEAD as usize);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).max_header_list_size(LONGEST_HEAD);
        builder.http2().keep_alive_interval(patience).keep_alive_timeout(patience);
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
            let has_asked = Arc::new(AtomicBool::new(false));
            let asks = has_asked.clone();
            let service = service_fn(move |request| {
                asks.store(true, Ordering::Relaxed);
                doors.answer(hyper::Request::map(request, Body::new), Some(peer))
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let mut connection = pin!(again(connection));
                // Errors here are the client's: it went away, or spoke no HTTP.
                let late = match timeout(patience, &mut connection).await {
                    Ok(ended) => ended.is_err_and(|error| error.downcast_ref().is_some_and(hyper::Error::is_timeout)),
                    Err(_) if has_asked.load(Ordering::Relaxed) => {
                        let _ = connection.await;
                        false
                    }
                    Err(_) => true,
                };
                if late && !has_asked.load(Ordering::Relaxed) {
                    counter!("hookmill_connections_without_request_total").increment(1);
                    tracing::debug!(client = %peer.0, ?patience, "a connection that asked for nothing in time is closed");
                }
            });
        }
        graceful.shutdown().await;
    })
}
