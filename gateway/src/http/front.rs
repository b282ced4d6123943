//! What every request passes: it gets an id, a panic becomes a problem, and problems are written.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;

use super::Shared;
use super::problem::{Kind, Problem};
use super::seldom::Seldom;

/// Carries the request's id back.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Problems that are a state of the gateway, not of the one request.
static STATES: LazyLock<Seldom> = LazyLock::new(Seldom::default);

/// Puts the front before a router, and makes problems of what nothing answers.
pub(super) fn enclose(router: Router<Shared>) -> Router<Shared> {
    router
        .fallback(|| async { Problem::new(Kind::NoSuchRoute, "nothing answers at this path; see /docs") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "this method is not taken here; `Allow` lists those that are")
        })
        .layer(middleware::from_fn(front))
}

async fn front(request: Request, next: Next) -> Response {
    around(request, |request| next.run(request)).await
}

/// What the front does about a request that `run` answers.
pub(super) async fn around<F: Future<Output = Response>>(request: Request, run: impl FnOnce(Request) -> F) -> Response {
    let id = format!("req_{:032x}", rand::random::<u128>());
    // A copy: what belongs to the request keeps all that was read of its connection from being used again.
    let (method, path) = (request.method().clone(), loggable(request.uri().path()).to_owned());
    let mut response = match AssertUnwindSafe(run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Problem::internal(format!("a handler panicked: {said}")).into_response()
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let (status, kind, why) = (problem.kind().entry().status, problem.kind().entry().id, problem.for_log());
        if status.is_server_error() {
            let told =
                if problem.kind() == Kind::Internal { Some(0) } else { STATES.tell(problem.kind(), Instant::now()) };
            if let Some(untold) = told {
                tracing::error!(request_id = %id, %method, path, %status, problem = kind, untold, "request failed: {why}");
            }
        } else {
            tracing::debug!(request_id = %id, %method, path, %status, problem = kind, "request refused");
        }
        let mut written = problem.render(&id);
        // What axum added to the empty answer, such as `Allow`, stays.
        for (name, value) in response.headers() {
            if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
                written.headers_mut().insert(name, value.clone());
            }
        }
        response = written;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A path without the parts that are credentials.
fn loggable(path: &str) -> &str {
    if path.starts_with("/inbox/") { "/inbox/<redacted>" } else { path }
}
