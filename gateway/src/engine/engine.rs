//! The engine, and the plugins it made ready.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::artifacts::Artifacts;
use super::aside::Aside;
use super::ask::{Ask, Decide, Instance, Interpret, Render};
use super::bindings::connector::ConnectorPre;
use super::bindings::transform::TransformPre;
use super::caller::Caller;
use super::config::EngineConfig;
use super::convert;
use super::error::{Error, InstallError};
use super::fault::{self, Stage};
use super::guest::Guest;
use super::intake;
use super::manifest;
use super::pace::Paces;
use super::run::{Call, Ran};
use super::runtime::{self, Linkers};
use super::ticker::Ticker;
use super::turns::{Turn, Turns};
use super::warm::{Kept, Owner, Ticket, Warm};
use crate::domain::{
    Decision, Digest, FaultKind, Kind, Manifest, PluginEvent, PluginResponse, Rendered, TenantId, Verdicts,
};

/// From these on, both of them, a guest is slow to start: 4 MiB of memory and 2,000 table elements. CPython begins with
/// 12.5 MiB and 5,672 and takes 1,000 to 1,700 µs; QuickJS with 1.4 MiB and 738 and takes 60 µs; the largest preset
/// with 1.1 MiB and 537, and takes under 15 µs.
const SLOW_MEMORY_PAGES: u64 = 64;
const SLOW_TABLE_ELEMENTS: u64 = 2_000;

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
    warm: Warm<(Store<Guest>, Instance)>,
    ticker: Ticker,
    compiled: AtomicU64,
}

/// A turn that has come, and whether it is one of the slow ones.
struct Seat {
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
            warm: Warm::new(config.reuse),
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
        caller: impl Into<Caller>,
        event: &PluginEvent,
        config: &str,
    ) -> Ran<Decision> {
        self.run(plugin, caller.into(), config, Decide(Cow::Borrowed(event))).await
    }

    /// Lets a connector make the request for these events. Its `config` has placeholders where secrets belong,
    /// and so has the request.
    pub async fn render(
        &self,
        plugin: &Arc<Plugin>,
        caller: impl Into<Caller>,
        events: &[PluginEvent],
        config: &str,
    ) -> Ran<Rendered> {
        self.run(plugin, caller.into(), config, Render(Cow::Borrowed(events))).await
    }

    /// Lets a connector read the answer to a request that carried `count` events.
    pub async fn interpret(
        &self,
        plugin: &Arc<Plugin>,
        caller: impl Into<Caller>,
        response: &PluginResponse,
        config: &str,
        count: u32,
    ) -> Ran<Verdicts> {
        self.run(plugin, caller.into(), config, Interpret { response: Cow::Borrowed(response), count }).await
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

    /// Makes a call when its turn has come: here, or aside if it is known to be slow.
    async fn run<A: Ask>(&self, plugin: &Arc<Plugin>, caller: Caller, config: &str, ask: A) -> Ran<A::Answer> {
        if plugin.code.kind() != A::KIND {
            return wrong_kind(plugin, A::KIND);
        }
        let seat = self.seat(plugin, caller.tenant).await;
        if !seat.aside {
            return self.run_on(seat, plugin, caller, config, &ask).await;
        }
        let (engine, plugin, config, ask) = (self.clone(), Arc::clone(plugin), config.to_owned(), ask.owned());
        self.0.aside.run(async move { engine.run_on(seat, &plugin, caller, &config, &ask).await }).await
    }

    /// Makes a call, in an instance that was kept for its owner or in a fresh one.
    async fn run_on<A: Ask>(
        &self,
        mut seat: Seat,
        plugin: &Plugin,
        caller: Caller,
        config: &str,
        ask: &A,
    ) -> Ran<A::Answer> {
        let (tenant, aside) = (caller.tenant, seat.aside);
        let owner = self.owner(plugin, caller);
        let mut spent = Duration::ZERO;
        if let Some(kept) = owner.and_then(|owner| self.0.warm.take(&owner, config)) {
            let ran = self.run_in_kept(kept, seat, plugin, tenant, config, ask).await;
            if ran.result.is_ok() {
                return ran;
            }
            spent = ran.cpu;
            let turns = if aside { &self.0.slow_turns } else { &self.0.turns };
            seat = Seat { turn: turns.take(tenant).await, aside };
        }
        let ticket = owner.and_then(|owner| self.0.warm.reserve(owner, config));
        let mut ran = self.run_in_fresh(ticket, seat, plugin, tenant, config, ask).await;
        ran.cpu += spent;
        ran
    }

    async fn run_in_kept<A: Ask>(
        &self,
        kept: Kept<(Store<Guest>, Instance)>,
        seat: Seat,
        plugin: &Plugin,
        tenant: TenantId,
        config: &str,
        ask: &A,
    ) -> Ran<A::Answer> {
        let Kept { instance: (store, instance), ticket } = kept;
        let mut call = Call::begin_again(store, seat.aside, &self.0.ticker, Some(seat.turn));
        let (store, meter) = call.parts();
        let result = meter.run(ask.put(&instance, store, config)).await;
        self.keep(call, plugin, tenant, ask, result.map(|said| (instance, said)), ticket)
    }

    /// With a ticket the instance is kept afterwards, if all goes well; without one it takes a place in the pool.
    async fn run_in_fresh<A: Ask>(
        &self,
        ticket: Option<Ticket>,
        seat: Seat,
        plugin: &Plugin,
        tenant: TenantId,
        config: &str,
        ask: &A,
    ) -> Ran<A::Answer> {
        let mut call = match ticket {
            Some(_) => self.begin_in(None, Some(seat.turn), seat.aside),
            None => self.begin(Some(seat.turn), seat.aside).await,
        };
        let (store, meter) = call.parts();
        let work = async {
            let instance = plugin.code.instantiate(store).await?;
            let said = ask.put(&instance, store, config).await?;
            Ok::<_, Stage>((instance, said))
        };
        let result = meter.run(work).await;
        match ticket {
            Some(ticket) => self.keep(call, plugin, tenant, ask, result, ticket),
            None => call.end(
                result,
                |(_, said)| ask.check(said, self.0.config.output),
                |ran| self.0.paces.note(tenant, plugin.digest, ran),
            ),
        }
    }

    /// Ends a call, and keeps its instance if all went well.
    fn keep<A: Ask>(
        &self,
        call: Call<'_>,
        plugin: &Plugin,
        tenant: TenantId,
        ask: &A,
        result: Result<(Instance, A::Said), Stage>,
        ticket: Ticket,
    ) -> Ran<A::Answer> {
        let mut kept = None;
        let (ran, store) = call.end_and_keep(
            result,
            |(instance, said)| {
                kept = Some(instance);
                ask.check(said, self.0.config.output)
            },
            |ran| self.0.paces.note(tenant, plugin.digest, ran),
        );
        if let (Some(store), Some(instance)) = (store, kept) {
            let memory = store.data().memory();
            self.0.warm.put_back((store, instance), ticket, memory);
        }
        ran
    }

    /// For whom an instance of this plugin is kept, if it is to be.
    fn owner(&self, plugin: &Plugin, caller: Caller) -> Option<Owner> {
        let subscription = caller.subscription.filter(|_| self.0.warm.is_on() && plugin.code.is_slow_to_start())?;
        Some(Owner { tenant: caller.tenant, subscription, plugin: plugin.digest })
    }

    /// Waits for a turn.
    async fn seat(&self, plugin: &Plugin, tenant: TenantId) -> Seat {
        let is_slow = || self.0.paces.is_slow(tenant, plugin.digest);
        if !is_slow() {
            let turn = self.0.turns.take(tenant).await;
            // What it is may have come out while it waited.
            if !is_slow() {
                return Seat { turn, aside: false };
            }
        }
        Seat { turn: self.0.slow_turns.take(tenant).await, aside: true }
    }

    /// Waits for a place in the pool.
    async fn begin(&self, turn: Option<Turn>, aside: bool) -> Call<'_> {
        // The pool is never closed, so there is always a permit.
        let place = self.0.pool.acquire().await.ok();
        self.begin_in(place, turn, aside)
    }

    fn begin_in<'a>(&'a self, place: Option<SemaphorePermit<'a>>, turn: Option<Turn>, aside: bool) -> Call<'a> {
        let Inner { wasmtime, config, ticker, .. } = &*self.0;
        Call::begin(wasmtime, config, place, ticker, turn, aside)
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

    async fn instantiate(&self, store: &mut Store<Guest>) -> Result<Instance, Stage> {
        match self {
            Self::Transform(code) => code.instantiate_async(store).await.map(Instance::Transform),
            Self::Connector(code) => code.instantiate_async(store).await.map(Instance::Connector),
        }
        .map_err(Stage::Start)
    }

    /// Whether starting costs it many times what its work does: it brings both a large memory image and a large table
    /// of functions, as an interpreter for a large language does and nothing else that was measured.
    fn is_slow_to_start(&self) -> bool {
        let component = match self {
            Self::Transform(code) => code.instance_pre().component(),
            Self::Connector(code) => code.instance_pre().component(),
        };
        component.resources_required().is_some_and(|needs| {
            needs.max_initial_memory_size.is_some_and(|pages| pages >= SLOW_MEMORY_PAGES)
                && needs.max_initial_table_size.is_some_and(|elements| elements >= SLOW_TABLE_ELEMENTS)
        })
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
