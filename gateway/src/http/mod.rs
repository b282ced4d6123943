//! The doors of the gateway: the API, ingest, inboxes, and the reference.
//!
//! **Who acts.** Products post events, tenants and operators call the API, browsers open the reference and
//! inboxes. Every request passes the front (an id, panics caught, refusals written), then the guard of its
//! route (key, role, no query where none is read, `Idempotency-Key`), then a handler, which takes the
//! request apart, asks `control` or `pipeline`, and shows the answer; it decides nothing. A tenant's
//! `POST /v1/events`, which is what most requests are, passes the same without the router. **What is
//! promised.** An event is answered with `202` only once it is on disk. Every refusal is a problem with a page
//! that says what to do, and `problem` alone knows status codes for errors. One table of routes makes both the
//! router and the OpenAPI document, so that neither can say what the other does not. `data` of an event goes
//! out as the bytes that came in. **What is deliberately not.** No TLS and no HTTP limits beyond size and time
//! of a body: whoever faces the internet puts a proxy in front. No cookies, so no request forgery.

mod again;
mod api;
mod body;
mod docs;
mod front;
mod guard;
mod html;
mod inbox;
mod ingest;
mod openapi;
mod params;
mod problem;
mod room;
mod route;
mod seldom;
mod serving;
mod source;
mod system;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tokio::sync::{Semaphore, watch};
use tower::Service as _;
use url::Url;

use crate::control::{Answers, Control};
use crate::pipeline::{ParseLimits, Pipeline};

pub use self::api::run_alone;
pub use self::serving::serve;

/// What the doors need to know.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// How this gateway is reached from outside; URLs of sources and inboxes begin with it.
    pub public_url: Url,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// The largest plugin that is read, in bytes.
    pub max_plugin: usize,
    /// What all larger bodies together may take up in memory, in bytes.
    pub bodies: usize,
    /// How long a body may take to arrive. A sender that drips holds a connection no longer.
    pub body_timeout: std::time::Duration,
    /// The addresses that deliveries come from, for the firewalls of those who receive them.
    pub egress_ips: Vec<String>,
    /// Bounds of what is posted as events.
    pub parse: ParseLimits,
}

impl HttpConfig {
    /// An absolute URL of this gateway.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}

/// Whether the gateway may be sent requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Readiness {
    /// Not yet.
    #[default]
    Starting,
    /// Yes.
    Ready,
    /// Not any more: it finishes what is under way.
    Draining,
    /// Not until it is started again, and why.
    Failed(String),
}

/// What the handlers are given.
pub struct AppState {
    /// The configuration and the history.
    pub control: Control,
    /// Where events go.
    pub pipeline: Pipeline,
    /// What the doors need to know.
    pub config: Arc<HttpConfig>,
    /// Whether the gateway may be sent requests.
    pub readiness: watch::Receiver<Readiness>,
    /// The metrics as Prometheus reads them.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What handlers really share: the state, and what is remembered between requests.
struct App {
    control: Control,
    pipeline: Pipeline,
    config: Arc<HttpConfig>,
    readiness: watch::Receiver<Readiness>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    answers: Answers<guard::Remembered>,
    /// Places for writes that are made to their end.
    finishing: Arc<Semaphore>,
    bodies: room::Bodies,
    inboxes: inbox::Inboxes,
    document: openapi::Document,
}

type Shared = Arc<App>;

impl App {
    fn new(state: AppState) -> Shared {
        Arc::new(Self {
            bodies: room::Bodies::new(state.config.bodies),
            control: state.control,
            pipeline: state.pipeline,
            config: state.config,
            readiness: state.readiness,
            metrics: state.metrics,
            answers: Answers::default(),
            finishing: Arc::new(Semaphore::new(guard::FINISHING)),
            inboxes: inbox::Inboxes::default(),
            document: openapi::Document::new(&route::all()),
        })
    }
}

/// What answers on a listener.
#[derive(Clone)]
pub struct Doors {
    router: Router,
    /// For the requests that need no router.
    straight: Option<Shared>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Doors {
    /// Everything on the public listener.
    #[must_use]
    pub fn new(state: AppState) -> Self {
        let app = App::new(state);
        let router = route::all().into_iter().fold(Router::new(), |router, route| {
            let (path, handler) = route.into_handler(&app);
            router.route(&path, handler)
        });
        Self { router: front::enclose(router).with_state(app.clone()), straight: Some(app) }
    }

    /// `/metrics`, `/healthz` and `/readyz`, for the admin listener.
    #[must_use]
    pub fn for_admin(state: AppState) -> Self {
        let router = Router::new()
            .route("/metrics", axum::routing::get(system::metrics))
            .route("/healthz", axum::routing::get(system::healthz))
            .route("/readyz", axum::routing::get(system::readyz));
        Self { router: front::enclose(router).with_state(App::new(state)), straight: None }
    }

    /// Answers a request of `peer`.
    fn answer(&self, mut request: Request, peer: Option<source::Peer>) -> Answering {
        if let Some(app) = self.straight.as_ref().filter(|_| ingest::goes_straight(&request)) {
            let app = app.clone();
            return Box::pin(async { Ok(ingest::straight(app, request).await) });
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        Box::pin(self.router.clone().call(request))
    }
}
