//! A request body that knows whether it has left.
//!
//! When a request fails, what matters most is whether the endpoint may have got it. An error's kind does not
//! tell: a time limit can run out before a connection stands or after the last byte. But the HTTP library
//! asks the body for its bytes exactly when it begins to write the request, and never before. A body nobody
//! has asked has not been sent, and an endpoint that saw at most the head cannot have taken the event.
//!
//! The question is asked while another thread may be about to write, so asking is also forbidding: from the
//! answer "not sent" on, the body gives its bytes to nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const WAITING: u8 = 0;
const LEFT: u8 = 1;
const HELD_BACK: u8 = 2;

/// Whether a request has begun to leave.
#[derive(Debug, Clone)]
pub(super) struct Departure(Arc<AtomicU8>);

impl Departure {
    /// Whether the request has begun to leave. If it has not, it never will.
    pub(super) fn has_begun(&self) -> bool {
        // The one value carries everything, so no ordering with other memory is needed.
        self.0.compare_exchange(WAITING, HELD_BACK, Ordering::Relaxed, Ordering::Relaxed) == Err(LEFT)
    }
}

/// The sender gave up before the first byte was written.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it left")]
pub(super) struct HeldBack;

/// One piece of bytes, and a flag that rises when it is taken.
pub(super) struct WatchedBody {
    bytes: Option<Bytes>,
    departure: Departure,
}

/// Makes the body of a request. An empty one is never asked for, so it counts as begun from the start.
pub(super) fn watched(bytes: Bytes) -> (WatchedBody, Departure) {
    let (bytes, begun) = if bytes.is_empty() { (None, LEFT) } else { (Some(bytes), WAITING) };
    let departure = Departure(Arc::new(AtomicU8::new(begun)));
    (WatchedBody { bytes, departure: departure.clone() }, departure)
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = HeldBack;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HeldBack>>> {
        let before = self.departure.0.compare_exchange(WAITING, LEFT, Ordering::Relaxed, Ordering::Relaxed);
        if before == Err(HELD_BACK) {
            return Poll::Ready(Some(Err(HeldBack)));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_that_was_taken_has_begun() {
        let (body, departure) = watched(Bytes::from_static(b"event"));
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "event");
        assert!(departure.has_begun());
    }

    #[tokio::test]
    async fn a_body_that_was_called_unsent_stays_unsent() {
        let (body, departure) = watched(Bytes::from_static(b"event"));
        assert!(!departure.has_begun());
        assert!(body.collect().await.is_err());
        assert!(!departure.has_begun());
    }

    #[test]
    fn an_empty_body_counts_as_sent() {
        assert!(watched(Bytes::new()).1.has_begun());
    }
}
