//! The engine, and the plugins it made ready.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::artifacts::Artifacts;
use super::aside::Aside;
use super::bindings::connector::ConnectorPre;
use super::bindings::transform::TransformPre;
use super::config::EngineConfig;
use super::convert;
use super::error::{Error, InstallError};
use super::fault::{self, Stage};
use super::guest::Guest;
use super::intake;
use super::manifest;
use super::output;
use super::pace::Paces;
use super::run::{Call, Ran};
use super::runtime::{self, Linkers};
use super::ticker::Ticker;
use super::turns::{Turn, Turns};
use crate::domain::{
    Decision, Digest, Fault, FaultKind, Kind, Manifest, PluginEvent, PluginResponse, Rendered, TenantId, Verdicts,
};

/// Makes plugins ready and runs them. Clones are the same engine; its ticker thread ends with the last of them
/// and of their calls.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    wasmtime: wasmtime::Engine,
    linkers: Linkers,
    artifacts: Option<Artifacts>,
    /// One component is compiled at a time: an upload must not take the machine.
    installing: Semaphore,
    /// A permit for each instance the pool holds.
    pool: Semaphore,
    turns: Turns,
    /// The places of calls that are known to be slow, and where they run.
    slow_turns: Turns,
    aside: Aside,
    paces: Paces,
    ticker: Ticker,
    compiled: AtomicU64,
}

/// A turn that has come, and whether it is one of the slow ones.
struct Seat {
    tenant: TenantId,
    turn: Turn,
    aside: bool,
}

/// A component made ready to run, and what it says of itself. Holds no instance; a thousand of these are cheap.
pub struct Plugin {
    manifest: Manifest,
    digest: Digest,
    size: usize,
    code: Code,
}

enum Code {
    Transform(TransformPre<Guest>),
    Connector(ConnectorPre<Guest>),
}

impl Plugin {
    /// What it says of itself, checked.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of the bytes that were uploaded.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes were uploaded.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {})", self.manifest.reference(), self.digest)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.0.config).finish()
    }
}

impl Engine {
    /// Sets up the pool and starts the ticker.
    ///
    /// # Errors
    /// If the machine has no room for a pool of this size, or the configuration is contradictory.
    pub fn new(config: EngineConfig) -> Result<Self, Error> {
        let wasmtime = runtime::engine(&config)?;
        let linkers = Linkers::new(&wasmtime)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let slow = (config.concurrency.min(cores) / 2).max(1);
        Ok(Self(Arc::new(Inner {
            artifacts: config.cache_dir.as_deref().and_then(|dir| Artifacts::open(dir, &wasmtime)),
            installing: Semaphore::new(1),
            pool: Semaphore::new(config.instances.max(1) as usize),
            turns: Turns::new(config.concurrency.min(cores)),
            slow_turns: Turns::new(slow),
            aside: Aside::new(slow).map_err(Error::Threads)?,
            paces: Paces::default(),
            ticker: Ticker::start(wasmtime.weak()).map_err(Error::Threads)?,
            compiled: AtomicU64::new(0),
            linkers,
            wasmtime,
            config,
        })))
    }

    /// Makes a plugin of uploaded bytes: a component, or a core module that carries its component type. Looks at
    /// its imports and exports, compiles it unless its artifact is on disk, asks it what it is under the limits
    /// of any call, and checks the answer. One at a time; the others wait.
    ///
    /// # Errors
    /// What is wrong with it, for the person who uploaded it.
    pub async fn install(&self, bytes: &[u8]) -> Result<Arc<Plugin>, InstallError> {
        let size = bytes.len();
        if size > self.0.config.component {
            return Err(InstallError::TooLarge { size, limit: self.0.config.component });
        }
        let _one = self.0.installing.acquire().await;
        let (inner, bytes) = (Arc::clone(&self.0), bytes.to_vec());
        // Compiling takes from milliseconds to seconds, and a panic in it must stay there.
        let (digest, code) = tokio::task::spawn_blocking(move || inner.prepare(&bytes))
            .await
            .map_err(|error| InstallError::Interrupted(error.into()))??;
        let manifest = self.describe(&code).await?;
        Ok(Arc::new(Plugin { manifest, digest, size, code }))
    }

    /// Lets a transform decide about one event. `config` is JSON text that fits the manifest's schema; the event
    /// that comes back is checked against the contract.
    pub async fn transform(
        &self,
        plugin: &Arc<Plugin>,
        tenant: TenantId,
        event: &PluginEvent,
        config: &str,
    ) -> Ran<Decision> {
        match self.seat(plugin, tenant).await {
            seat if !seat.aside => self.transform_on(seat, plugin, event, config).await,
            seat => {
                let (engine, plugin, event, config) =
                    (self.clone(), Arc::clone(plugin), event.clone(), config.to_owned());
                self.0.aside.run(async move { engine.transform_on(seat, &plugin, &event, &config).await }).await
            }
        }
    }

    async fn transform_on(&self, seat: Seat, plugin: &Plugin, event: &PluginEvent, config: &str) -> Ran<Decision> {
        let Code::Transform(code) = &plugin.code else { return wrong_kind(plugin, Kind::Transform) };
        let tenant = seat.tenant;
        let mut call = self.begin(Some(seat.turn), seat.aside).await;
        let (store, meter) = call.parts();
        let work = async {
            let guest = code.instantiate_async(&mut *store).await.map_err(Stage::Start)?;
            guest.call_transform(store, &convert::event_in(event), config).await.map_err(Stage::Run)
        };
        let result = meter.run(work).await;
        let limit = self.0.config.output;
        self.end(call, plugin, tenant, result, |decided| {
            output::decision(decided.map_err(convert::fault)?, event, limit)
        })
    }

    /// Lets a connector make the request for these events. Its `config` has placeholders where secrets belong,
    /// and so has the request.
    pub async fn render(
        &self,
        plugin: &Arc<Plugin>,
        tenant: TenantId,
        events: &[PluginEvent],
        config: &str,
    ) -> Ran<Rendered> {
        match self.seat(plugin, tenant).await {
            seat if !seat.aside => self.render_on(seat, plugin, events, config).await,
            seat => {
                let (engine, plugin, events, config) =
                    (self.clone(), Arc::clone(plugin), events.to_vec(), config.to_owned());
                self.0.aside.run(async move { engine.render_on(seat, &plugin, &events, &config).await }).await
            }
        }
    }

    async fn render_on(&self, seat: Seat, plugin: &Plugin, events: &[PluginEvent], config: &str) -> Ran<Rendered> {
        let Code::Connector(code) = &plugin.code else { return wrong_kind(plugin, Kind::Connector) };
        let tenant = seat.tenant;
        let mut call = self.begin(Some(seat.turn), seat.aside).await;
        let (store, meter) = call.parts();
        let work = async {
            let guest = code.instantiate_async(&mut *store).await.map_err(Stage::Start)?;
            let events: Vec<_> = events.iter().map(convert::event_in).collect();
            guest.call_render(store, &events, config).await.map_err(Stage::Run)
        };
        let result = meter.run(work).await;
        let limit = self.0.config.output;
        self.end(call, plugin, tenant, result, |outcome| output::rendered(outcome.map_err(convert::fault)?, limit))
    }

    /// Lets a connector read the answer to a request that carried `count` events.
    pub async fn interpret(
        &self,
        plugin: &Arc<Plugin>,
        tenant: TenantId,
        response: &PluginResponse,
        config: &str,
        count: u32,
    ) -> Ran<Verdicts> {
        match self.seat(plugin, tenant).await {
            seat if !seat.aside => self.interpret_on(seat, plugin, response, config, count).await,
            seat => {
                let (engine, plugin, response, config) =
                    (self.clone(), Arc::clone(plugin), response.clone(), config.to_owned());
                let call = async move { engine.interpret_on(seat, &plugin, &response, &config, count).await };
                self.0.aside.run(call).await
            }
        }
    }

    async fn interpret_on(
        &self,
        seat: Seat,
        plugin: &Plugin,
        response: &PluginResponse,
        config: &str,
        count: u32,
    ) -> Ran<Verdicts> {
        let Code::Connector(code) = &plugin.code else { return wrong_kind(plugin, Kind::Connector) };
        let tenant = seat.tenant;
        let mut call = self.begin(Some(seat.turn), seat.aside).await;
        let (store, meter) = call.parts();
        let work = async {
            let guest = code.instantiate_async(&mut *store).await.map_err(Stage::Start)?;
            guest.call_interpret(store, &convert::response_in(response), config, count).await.map_err(Stage::Run)
        };
        let result = meter.run(work).await;
        let limit = self.0.config.output;
        self.end(call, plugin, tenant, result, |verdicts| output::verdicts(verdicts, count, limit))
    }

    /// How many components were compiled, not found on disk, since the start. For the metrics.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    /// How many calls wait for a turn now. For the metrics.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.turns.waiting() + self.0.slow_turns.waiting()
    }

    /// Waits for a turn.
    async fn seat(&self, plugin: &Plugin, tenant: TenantId) -> Seat {
        let is_slow = || self.0.paces.is_slow(tenant, plugin.digest);
        if !is_slow() {
            let turn = self.0.turns.take(tenant).await;
            // What it is may have come out while it waited.
            if !is_slow() {
                return Seat { tenant, turn, aside: false };
            }
        }
        Seat { tenant, turn: self.0.slow_turns.take(tenant).await, aside: true }
    }

    async fn begin(&self, turn: Option<Turn>, aside: bool) -> Call<'_> {
        let Inner { wasmtime, config, pool, ticker, .. } = &*self.0;
        Call::begin(wasmtime, config, pool, ticker, turn, aside).await
    }

    /// Ends a call, and remembers how long it took.
    fn end<R, T>(
        &self,
        call: Call<'_>,
        plugin: &Plugin,
        tenant: TenantId,
        result: Result<R, Stage>,
        check: impl FnOnce(R) -> Result<T, Fault>,
    ) -> Ran<T> {
        call.end(result, check, |ran| self.0.paces.note(tenant, plugin.digest, ran))
    }

    /// Asks a component what it is. It takes no turn: there is no tenant to charge, and only one is installed at
    /// a time.
    async fn describe(&self, code: &Code) -> Result<Manifest, InstallError> {
        let mut call = self.begin(None, false).await;
        let (store, meter) = call.parts();
        let work = async {
            match code {
                Code::Transform(code) => {
                    let guest = code.instantiate_async(&mut *store).await.map_err(Stage::Start)?;
                    guest.call_describe(store).await.map_err(Stage::Run)
                }
                Code::Connector(code) => {
                    let guest = code.instantiate_async(&mut *store).await.map_err(Stage::Start)?;
                    guest.call_describe(store).await.map_err(Stage::Run)
                }
            }
        };
        let result = match meter.run(work).await {
            Err(Stage::Start(error)) if fault::is_mismatch(&error) => {
                return Err(InstallError::WrongTypes(error.into()));
            }
            result => result,
        };
        let manifest =
            call.end(result, |said| Ok(convert::manifest(said)), |_| {}).result.map_err(InstallError::Describe)?;
        manifest::check(&manifest, code.kind())?;
        Ok(manifest)
    }
}

fn wrong_kind<T>(plugin: &Plugin, wanted: Kind) -> Ran<T> {
    let message = format!(
        "{} is a {}; it was called as a {}",
        plugin.manifest.reference(),
        intake::world_name(plugin.code.kind()),
        intake::world_name(wanted)
    );
    Ran::refused(fault::fault(FaultKind::Engine, message))
}

impl Code {
    fn kind(&self) -> Kind {
        match self {
            Self::Transform(_) => Kind::Transform,
            Self::Connector(_) => Kind::Connector,
        }
    }
}

/// What takes long: on a thread of its own.
impl Inner {
    fn prepare(&self, bytes: &[u8]) -> Result<(Digest, Code), InstallError> {
        let digest = Digest(Sha256::digest(bytes).into());
        let component = intake::component(bytes, self.config.component)?;
        let kind = intake::survey(&component)?;
        let component = match self.artifacts.as_ref().and_then(|kept| kept.load(&self.wasmtime, digest)) {
            Some(component) => component,
            None => self.compile(&component, digest)?,
        };
        self.check_imports(&component)?;
        let wrong = |error: wasmtime::Error| InstallError::WrongTypes(error.into());
        let code = match kind {
            Kind::Transform => {
                let linked = self.linkers.transform.instantiate_pre(&component).map_err(wrong)?;
                Code::Transform(TransformPre::new(linked).map_err(wrong)?)
            }
            Kind::Connector => {
                let linked = self.linkers.connector.instantiate_pre(&component).map_err(wrong)?;
                Code::Connector(ConnectorPre::new(linked).map_err(wrong)?)
            }
        };
        Ok((digest, code))
    }

    fn compile(&self, component: &[u8], digest: Digest) -> Result<Component, InstallError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = Component::from_binary(&self.wasmtime, component).map_err(|error| {
            // The pool's refusals have no type of their own.
            match error.chain().map(ToString::to_string).find(|cause| cause.contains("exceeds the")) {
                Some(detail) => InstallError::TooMuch { detail },
                None => InstallError::Compile(error.into()),
            }
        })?;
        let Some(artifacts) = &self.artifacts else { return Ok(compiled) };
        let kept = compiled
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|artifact| artifacts.keep(digest, &artifact).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(%digest, error, "a compiled plugin could not be kept on disk");
            return Ok(compiled);
        }
        // Mapped from the file, its code is memory the kernel can take back.
        Ok(artifacts.load(&self.wasmtime, digest).unwrap_or(compiled))
    }

    /// Refuses what [`intake::survey`] can't see: bare functions, and functions `host` does not have.
    fn check_imports(&self, component: &Component) -> Result<(), InstallError> {
        for (name, import) in component.component_type().imports(&self.wasmtime) {
            match import.ty {
                ComponentItem::Type(_) => {}
                ComponentItem::ComponentInstance(instance) => {
                    for (item, export) in instance.exports(&self.wasmtime) {
                        if !matches!(export.ty, ComponentItem::Type(_)) && item != "log" {
                            return Err(intake::refuse_import(&format!("{name}#{item}")));
                        }
                    }
                }
                _ => return Err(intake::refuse_import(name)),
            }
        }
        Ok(())
    }
}
