//! A gateway to ask, in memory, with a clock that stands still.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::control::Control;
use crate::domain::Secret;
use crate::egress::{Authenticator, Egress, EgressConfig, Names, StaticNames};
use crate::engine::{Engine, EngineConfig};
use crate::http::{AppState, Doors, HttpConfig, Readiness};
use crate::pipeline::{self, ParseLimits, Pipeline};
use crate::profiles::Profiles;
use crate::registry::{PluginLimits, Registry, Shelf, Surroundings};
use crate::store::{MemoryStore, Store};
use crate::vault::Vault;

pub(super) const OPERATOR: &str = "operator-key-of-the-tests-0123456789";
pub(super) const MAX_BODY: usize = 16 * 1024;

/// Read once for all worlds.
static SHIPPED: LazyLock<Arc<Profiles>> = LazyLock::new(|| Arc::new(Profiles::shipped(&Pipeline::prove).0));

pub(super) struct World {
    doors: Doors,
    pub(super) registry: Registry,
    pipeline: Pipeline,
    pub(super) control: Control,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) readiness: watch::Sender<Readiness>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A tenant with a key of each role.
pub(super) struct Tenant {
    pub(super) id: String,
    pub(super) admin: String,
    pub(super) editor: String,
    pub(super) viewer: String,
    pub(super) ingest: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let clock = Clock::test("2026-01-01T00:00:00Z".parse().unwrap());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let vault = Arc::new(Vault::from_key_text(&"07".repeat(32)).unwrap());
        let engine = Engine::new(EngineConfig {
            time: Duration::from_millis(50),
            memory: 8 << 20,
            output: 1 << 20,
            log: 1 << 14,
            hostcall_fuel: 4 << 20,
            component: 1 << 20,
            instances: 1,
            concurrency: 1,
            reuse: crate::engine::Reuse::NONE,
            cache_dir: None,
            compiler: None,
        })
        .unwrap();
        // Nothing leaves the machine: no name exists, and the one address that may be reached answers nothing.
        let dial = || EgressConfig {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            names: Names::Static(Arc::new(StaticNames::new())),
            ..EgressConfig::usual()
        };
        let egress = Egress::new(dial(), clock.clone()).unwrap();
        let surroundings = Surroundings {
            egress: egress.clone(),
            inbox_prefix: "https://gateway.test/inbox/".to_owned(),
            subscriptions_per_tenant: 300,
            plugins: PluginLimits {
                versions: 3,
                bytes: 1 << 20,
                compile: Duration::from_secs(60),
                cpu: Duration::ZERO,
            },
            retention: Duration::from_secs(90 * 24 * 3600),
            max_body: MAX_BODY,
            profiles: SHIPPED.clone(),
        };
        let registry = Registry::load(
            store.clone(),
            vault,
            Shelf::new(engine.clone(), []),
            surroundings,
            clock.clone(),
            Vec::new(),
        )
        .await
        .unwrap();
        let pipeline = Pipeline::start(pipeline::Setup {
            clock: clock.clone(),
            store: store.clone(),
            registry: registry.clone(),
            engine,
            authenticator: Authenticator::new(egress.clone(), clock.clone()),
            own_inboxes: Egress::new(dial(), clock.clone()).unwrap(),
            egress,
            limits: pipeline::Limits {
                in_flight: 4,
                in_flight_per_endpoint: 2,
                in_flight_per_host: 2,
                waiting_bytes: 1 << 20,
                waiting_per_lane: 100,
                breaker_timeouts: 5,
                breaker_rest: Duration::from_secs(30),
                events_per_second: 0,
                dedupe_window: Duration::from_secs(24 * 3600),
                retention: Duration::from_secs(90 * 24 * 3600),
                shadow_waiting: 4,
                shadow_bytes: 1 << 20,
                measure_tenants: false,
            },
            records: Vec::new(),
        })
        .await
        .unwrap();
        let control = Control::new(registry.clone(), store.clone(), pipeline.clone(), clock.clone())
            .with_operator_key(&Secret::new(OPERATOR.to_owned()))
            .unwrap();
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let config = HttpConfig {
            public_url: "https://gateway.test".parse().unwrap(),
            max_body: MAX_BODY,
            max_plugin: 1 << 20,
            bodies: 64 << 20,
            body_timeout: std::time::Duration::from_secs(30),
            egress_ips: vec!["192.0.2.1".to_owned()],
            parse: ParseLimits { batch: 1_000 },
        };
        let state = AppState {
            control: control.clone(),
            pipeline: pipeline.clone(),
            config: Arc::new(config),
            readiness: ready,
            metrics: Arc::new(|| "hookmill_build_info 1\n".to_owned()),
        };
        Self { doors: Doors::new(state), registry, pipeline, control, store, clock, readiness }
    }

    /// Another one over the same store, as another start would make it.
    pub(super) fn another_control(&self) -> Control {
        Control::new(self.registry.clone(), self.store.clone(), self.pipeline.clone(), self.clock.clone())
    }

    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        self.doors.answer(request, None).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.answer(request).await;
        let (parts, body) = response.into_parts();
        // A stream has no end that could be waited for.
        let is_stream = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "text/event-stream");
        let body = if is_stream { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// With a JSON body, or none.
    pub(super) async fn call(&self, method: &str, path: &str, key: &str, body: Option<Value>) -> Answer {
        let headers: &[(&str, &str)] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        self.raw(method, path, key, headers, body.map(|body| body.to_string()).unwrap_or_default()).await
    }

    pub(super) async fn raw(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        if !key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, key, None).await
    }

    pub(super) async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("POST", path, key, Some(body)).await
    }

    pub(super) async fn patch(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("PATCH", path, key, Some(body)).await
    }

    pub(super) async fn tenant(&self, name: &str) -> Tenant {
        let made = self.post("/v1/tenants", OPERATOR, json!({"name": name})).await.expect(201);
        let admin = text(&made, "/key");
        let mut keys = Vec::new();
        for role in ["editor", "viewer", "ingest"] {
            let key = self.post("/v1/keys", &admin, json!({"role": role})).await.expect(201);
            keys.push(text(&key, "/key"));
        }
        let [editor, viewer, ingest] = keys.try_into().unwrap();
        Tenant { id: text(&made, "/id"), admin, editor, viewer, ingest }
    }

    /// A subscription that is paused, so that nothing is sent.
    pub(super) async fn paused(&self, tenant: &Tenant, events: &[&str]) -> String {
        let wanted = json!({"url": "https://example.com/hooks", "events": events});
        let id = text(&self.post("/v1/subscriptions", &tenant.editor, wanted).await.expect(201), "/id");
        self.call("POST", &format!("/v1/subscriptions/{id}/pause"), &tenant.editor, None).await.expect(200);
        id
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    /// The body, if the status is this.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem, if it is this one.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, id: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["type"], format!("/problems/{id}"), "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["instance"], self.headers["x-request-id"].to_str().unwrap());
        body
    }
}

#[track_caller]
pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}
