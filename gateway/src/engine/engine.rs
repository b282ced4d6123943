//! The engine: it makes plugins ready, and runs them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::artifacts::{Artifacts, Unkept};
use super::aside::Aside;
use super::ask::{Ask, Decide, Instance, Interpret, Render};
use super::caller::Caller;
use super::compiler::{Compiled, Compiler};
use super::config::EngineConfig;
use super::contract::Contract;
use super::convert;
use super::error::{Cause, Error, InstallError};
use super::fault::{self, Stage};
use super::guest::Guest;
use super::intake;
use super::manifest;
use super::pace::Paces;
use super::plugin::{Code, Plugin};
use super::run::{Call, Ran};
use super::runtime::{self, Linkers};
use super::ticker::Ticker;
use super::turns::{Turn, Turns};
use super::warm::{Kept, Owner, Ticket, Warm};
use crate::domain::{
    Decision, Digest, Fault, FaultKind, Kind, Manifest, PluginEvent, PluginResponse, Rendered, TenantId, Verdicts,
};

/// Most bytes of what is compiled of an upload: so many, and so many times the bytes that came. Machine code is four or
/// five times as large. But two bytes of data far apart in a memory become sixteen mebibytes of its first image, for each
/// memory of each module in a component, and the disk is everybody's.
const COMPILED: usize = 4 << 20;
const COMPILED_FACTOR: usize = 32;

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
    compiler: Option<Compiler>,
}

/// A turn that has come, and whether it is one of the slow ones.
struct Seat {
    turn: Turn,
    aside: bool,
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
            compiler: config.compiler.clone().map(Compiler::new),
            linkers,
            wasmtime,
            config,
        })))
    }

    /// Makes a plugin of the operator's own bytes, in this process: a component, or a core module that carries its
    /// component type. Looks at its imports and exports, compiles it unless its artifact is on disk, asks it what it is
    /// under the limits of any call, and checks the answer. One at a time; the others wait.
    ///
    /// # Errors
    /// What is wrong with it, for the person who made it.
    pub async fn install(&self, bytes: &[u8]) -> Result<Arc<Plugin>, InstallError> {
        self.install_here(bytes).await.map(Arc::new)
    }

    async fn install_here(&self, bytes: &[u8]) -> Result<Plugin, InstallError> {
        let size = bytes.len();
        self.check_size(size)?;
        let _one = self.0.installing.acquire().await;
        let (inner, bytes) = (Arc::clone(&self.0), bytes.to_vec());
        // Compiling takes from milliseconds to seconds, and a panic in it must stay there.
        let (digest, code, contract) = tokio::task::spawn_blocking(move || inner.prepare(&bytes))
            .await
            .map_err(|error| InstallError::Interrupted(Cause::of(error)))??;
        let manifest = self.describe(&code, contract).await?;
        Ok(Plugin::new(manifest, digest, size as u64, code))
    }

    fn check_size(&self, size: usize) -> Result<(), InstallError> {
        let limit = self.0.config.component;
        if size > limit { Err(InstallError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// The same of what a tenant has uploaded, whose digest is known: in a process of its own, one at a time, tenants in
    /// turn. Also says how much processor time that took, however it ended.
    pub async fn admit(
        &self,
        tenant: TenantId,
        digest: Digest,
        bytes: &[u8],
    ) -> (Result<Plugin, InstallError>, Duration) {
        if let Err(error) = self.check_size(bytes.len()) {
            return (Err(error), Duration::ZERO);
        }
        let Some(compiler) = &self.0.compiler else {
            let begun = Instant::now();
            return (self.install_here(bytes).await, begun.elapsed());
        };
        let Some(artifacts) = &self.0.artifacts else { return (Err(InstallError::NoFolder), Duration::ZERO) };
        let Compiled { result, cost } = compiler.compile(tenant, bytes, artifacts, &self.0.config).await;
        let plugin = match result {
            Ok((manifest, file)) => self.adopt(manifest, digest, bytes.len(), file).await,
            Err(error) => Err(error),
        };
        (plugin, cost)
    }

    /// Takes over what the other process has compiled.
    async fn adopt(
        &self,
        manifest: Manifest,
        digest: Digest,
        size: usize,
        file: Unkept,
    ) -> Result<Plugin, InstallError> {
        let (inner, world) = (Arc::clone(&self.0), (manifest.kind, Contract::named(&manifest.contract)?));
        let load = move || {
            let artifacts = inner.artifacts.as_ref().ok_or(InstallError::NoFolder)?;
            artifacts.adopt(digest, file).map_err(|error| InstallError::Interrupted(Cause::of(error)))?;
            inner.compiled.fetch_add(1, Ordering::Relaxed);
            inner.load(digest, world).ok_or_else(|| InstallError::Interrupted(Cause::said("what was compiled is gone")))
        };
        let code = tokio::task::spawn_blocking(load).await;
        let code = code.map_err(|error| InstallError::Interrupted(Cause::of(error)))??;
        Ok(Plugin::new(manifest, digest, size as u64, code))
    }

    /// Finds what was compiled at an earlier start of a plugin that was made with [`Plugin::awaited`]; `false`: it is not
    /// on disk any more, is damaged, or another engine's, and has to be made again.
    pub async fn revive(&self, plugin: &Plugin) -> bool {
        // Of a contract that is not spoken any more there is nothing to find, and `rebuild` says so.
        let Ok(contract) = Contract::named(&plugin.manifest().contract) else { return false };
        let (inner, digest, kind) = (Arc::clone(&self.0), plugin.digest(), plugin.manifest().kind);
        let found = tokio::task::spawn_blocking(move || inner.load(digest, (kind, contract))).await;
        match found {
            Ok(Some(code)) => {
                plugin.arrive(Ok(code));
                true
            }
            _ => false,
        }
    }

    /// Compiles a plugin again whose code was not found, from the bytes that were uploaded; `None`: they are lost. If it
    /// can't be compiled any more, its calls end in a fault that says so.
    pub async fn rebuild(&self, plugin: &Plugin, tenant: TenantId, bytes: Option<Vec<u8>>) {
        let code = self.compile_again(plugin, tenant, bytes).await.map_err(|message| Fault {
            kind: FaultKind::Engine,
            message,
            retryable: true,
        });
        if let Err(fault) = &code {
            tracing::error!(?plugin, %fault, "a plugin can't be run");
        }
        plugin.arrive(code);
    }

    async fn compile_again(&self, plugin: &Plugin, tenant: TenantId, bytes: Option<Vec<u8>>) -> Result<Code, String> {
        let digest = plugin.digest();
        let whole = tokio::task::spawn_blocking(move || {
            bytes.filter(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)) == digest.0)
        });
        let Ok(Some(bytes)) = whole.await else {
            return Err("the bytes of this plugin are lost; upload it again, as another version".to_owned());
        };
        let made = self.admit(tenant, digest, &bytes).await.0.map_err(|error| {
            let error = anyhow::Error::from(error);
            format!("this plugin could not be compiled again: {error:#}")
        })?;
        made.into_code().map_err(|fault| fault.message)
    }

    /// Removes what was compiled of all but these.
    pub async fn keep_only(&self, known: HashSet<Digest>) {
        let inner = Arc::clone(&self.0);
        let sweep = move || inner.artifacts.iter().for_each(|artifacts| artifacts.keep_only(&known));
        // A sweep that panics leaves files, which the next one finds.
        let _ = tokio::task::spawn_blocking(sweep).await;
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

    /// Makes a call when its code is there and its turn has come: here, or aside if it is known to be slow.
    async fn run<A: Ask>(&self, plugin: &Arc<Plugin>, caller: Caller, config: &str, ask: A) -> Ran<A::Answer> {
        match plugin.code().await {
            Ok(code) if code.kind() == A::KIND => {}
            Ok(code) => return wrong_kind(plugin, code, A::KIND),
            Err(fault) => return Ran::refused(fault),
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
        let code = match plugin.code().await {
            Ok(code) => code,
            Err(fault) => return Ran::refused(fault),
        };
        let (tenant, aside) = (caller.tenant, seat.aside);
        let owner = self.owner(plugin, code, caller);
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
        let mut ran = self.run_in_fresh(ticket, seat, (plugin, code), tenant, config, ask).await;
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
        (plugin, code): (&Plugin, &Code),
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
            let instance = code.instantiate(store).await?;
            let said = ask.put(&instance, store, config).await?;
            Ok::<_, Stage>((instance, said))
        };
        let result = meter.run(work).await;
        match ticket {
            Some(ticket) => self.keep(call, plugin, tenant, ask, result, ticket),
            None => call.end(
                result,
                |(_, said)| ask.check(said, self.0.config.output),
                |ran| self.0.paces.note(tenant, plugin.digest(), ran),
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
            |ran| self.0.paces.note(tenant, plugin.digest(), ran),
        );
        if let (Some(store), Some(instance)) = (store, kept) {
            let memory = store.data().memory();
            self.0.warm.put_back((store, instance), ticket, memory);
        }
        ran
    }

    /// For whom an instance of this plugin is kept, if it is to be.
    fn owner(&self, plugin: &Plugin, code: &Code, caller: Caller) -> Option<Owner> {
        let subscription = caller.subscription.filter(|_| self.0.warm.is_on() && code.is_slow_to_start())?;
        Some(Owner { tenant: caller.tenant, subscription, plugin: plugin.digest() })
    }

    /// Waits for a turn.
    async fn seat(&self, plugin: &Plugin, tenant: TenantId) -> Seat {
        let is_slow = || self.0.paces.is_slow(tenant, plugin.digest());
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

    /// What the other process does: as [`install`](Self::install) does, but for the artifact, which is given and not
    /// kept.
    pub(super) async fn work(&self, bytes: &[u8]) -> Result<(Manifest, Vec<u8>), InstallError> {
        let component = intake::component(bytes, self.0.config.component)?;
        let world = intake::survey(&component)?;
        let compiled = self.0.translate(&component)?;
        self.0.check_imports(&compiled)?;
        let code = Code::link(&compiled, world, &self.0.linkers)?;
        let manifest = self.describe(&code, world.1).await?;
        let artifact = compiled.serialize().map_err(|error| InstallError::Compile(Cause::of(error)))?;
        let (size, limit) = (artifact.len(), COMPILED.saturating_add(bytes.len().saturating_mul(COMPILED_FACTOR)));
        if size > limit { Err(InstallError::TooBulky { size, limit }) } else { Ok((manifest, artifact)) }
    }

    /// Asks a component what it is. It takes no turn: there is no tenant to charge, and only one is installed at
    /// a time.
    async fn describe(&self, code: &Code, contract: Contract) -> Result<Manifest, InstallError> {
        let mut call = self.begin(None, false).await;
        let (store, meter) = call.parts();
        let work = async {
            match code.instantiate(store).await? {
                Instance::Transform(guest) => guest.call_describe(store).await,
                Instance::Connector(guest) => guest.call_describe(store).await,
            }
            .map_err(Stage::Run)
        };
        let result = match meter.run(work).await {
            Err(Stage::Start(error)) if fault::is_mismatch(&error) => {
                return Err(InstallError::WrongTypes(Cause::of(error)));
            }
            result => result,
        };
        let manifest =
            call.end(result, |said| Ok(convert::manifest(said)), |_| {}).result.map_err(InstallError::Describe)?;
        manifest::check(&manifest, code.kind(), contract)?;
        Ok(manifest)
    }
}

fn wrong_kind<T>(plugin: &Plugin, code: &Code, wanted: Kind) -> Ran<T> {
    let message = format!(
        "{} is a {}; it was called as a {}",
        plugin.manifest().reference(),
        intake::world_name(code.kind()),
        intake::world_name(wanted)
    );
    Ran::refused(fault::fault(FaultKind::Engine, message))
}

/// What takes long: on a thread of its own.
impl Inner {
    fn prepare(&self, bytes: &[u8]) -> Result<(Digest, Code, Contract), InstallError> {
        let digest = Digest(Sha256::digest(bytes).into());
        let component = intake::component(bytes, self.config.component)?;
        let world = intake::survey(&component)?;
        let component = match self.artifacts.as_ref().and_then(|kept| kept.load(&self.wasmtime, digest)) {
            Some(component) => component,
            None => self.compile(&component, digest)?,
        };
        self.check_imports(&component)?;
        Ok((digest, Code::link(&component, world, &self.linkers)?, world.1))
    }

    /// The code that was compiled of what has this digest, if it is on disk and sound.
    fn load(&self, digest: Digest, world: (Kind, Contract)) -> Option<Code> {
        let component = self.artifacts.as_ref()?.load(&self.wasmtime, digest)?;
        Code::link(&component, world, &self.linkers)
            .inspect_err(|error| tracing::warn!(%digest, %error, "a compiled plugin on disk does not fit"))
            .ok()
    }

    fn translate(&self, component: &[u8]) -> Result<Component, InstallError> {
        Component::from_binary(&self.wasmtime, component).map_err(|error| {
            // The pool's refusals have no type of their own.
            match error.chain().map(ToString::to_string).find(|cause| cause.contains("exceeds the")) {
                Some(detail) => InstallError::TooMuch { detail },
                None => InstallError::Compile(Cause::of(error)),
            }
        })
    }

    fn compile(&self, component: &[u8], digest: Digest) -> Result<Component, InstallError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.translate(component)?;
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
