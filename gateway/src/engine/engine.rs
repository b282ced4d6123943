//! The engine: what it consists of, and how it runs what `install` has made ready.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;

use super::artifacts::Artifacts;
use super::aside::Aside;
use super::ask::{Ask, Decide, Instance, Interpret, Render};
use super::caller::Caller;
use super::compiler::Compiler;
use super::config::{EngineConfig, OWN};
use super::error::Error;
use super::fault::{self, Stage};
use super::guest::Guest;
use super::intake;
use super::meter::{Meter, Spent};
use super::pace::Paces;
use super::plugin::{Code, Plugin};
use super::run::{Call, Ran};
use super::runtime::{self, Linkers};
use super::ticker::Ticker;
use super::turns::{Turn, Turns};
use super::warm::{Kept, Owner, Ticket, Warm};
use crate::domain::{Decision, FaultKind, Kind, PluginEvent, PluginResponse, Rendered, TenantId, Verdicts};

/// Makes plugins ready and runs them. Clones are the same engine; its ticker thread ends with the last of them
/// and of their calls.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>, Rank);

/// Which calls an engine makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// Those that somebody waits for.
    Usual,
    /// Those that nobody waits for.
    Idle,
}

pub(super) struct Inner {
    pub(super) config: EngineConfig,
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) linkers: Linkers,
    pub(super) artifacts: Option<Artifacts>,
    /// One component is compiled at a time: an upload must not take the machine.
    pub(super) installing: Semaphore,
    pub(super) compiler: Option<Compiler>,
    /// How many were compiled.
    pub(super) compiled: AtomicU64,
    /// A permit for each instance the pool holds.
    pool: Semaphore,
    turns: Turns,
    /// The places of calls that are known to be slow, and where they run.
    slow_turns: Turns,
    pub(super) aside: Aside,
    /// The one place of calls that nobody waits for.
    idle_turns: Turns,
    paces: Paces,
    warm: Warm<(Store<Guest>, Instance)>,
    /// The same of the gateway's own plugins.
    own: Warm<(Store<Guest>, Instance)>,
    meter: Meter,
    ticker: Ticker,
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
        let inner = Inner {
            artifacts: config.cache_dir.as_deref().and_then(|dir| Artifacts::open(dir, &wasmtime)),
            installing: Semaphore::new(1),
            pool: Semaphore::new(config.instances.max(1) as usize),
            turns: Turns::new(config.concurrency.min(cores)),
            slow_turns: Turns::new(slow),
            idle_turns: Turns::new(1),
            aside: Aside::new(slow + 1),
            paces: Paces::default(),
            warm: Warm::new(config.reuse),
            own: Warm::new(OWN),
            meter: Meter::default(),
            ticker: Ticker::start(wasmtime.weak()).map_err(Error::Threads)?,
            compiled: AtomicU64::new(0),
            compiler: config.compiler.clone().map(Compiler::new),
            linkers,
            wasmtime,
            config,
        };
        Ok(Self(Arc::new(inner), Rank::Usual))
    }

    /// The same engine for calls that nobody waits for: one at a time, in a place that no other call could have had,
    /// and when others leave the processor idle.
    #[must_use]
    pub fn idle(&self) -> Self {
        Self(Arc::clone(&self.0), Rank::Idle)
    }

    /// Whether calls wait for a turn that others hold.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.turns.waiting() > 0
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

    /// What calls have used since the engine was made.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Makes a call when its code is there and its turn has come: here, or aside if it is known to be slow.
    async fn run<A: Ask>(&self, plugin: &Arc<Plugin>, caller: Caller, config: &str, ask: A) -> Ran<A::Answer> {
        match plugin.code().await {
            Ok(code) if code.kind() == A::KIND => {}
            Ok(code) => return wrong_kind(plugin, code, A::KIND),
            Err(fault) => return Ran::refused(fault),
        }
        let seat = self.seat(plugin, caller.tenant).await;
        let ran = if seat.aside {
            let (engine, plugin, config, ask) = (self.clone(), Arc::clone(plugin), config.to_owned(), ask.owned());
            self.0.aside.run(async move { engine.run_on(seat, &plugin, caller, &config, &ask).await }).await
        } else {
            self.run_on(seat, plugin, caller, config, &ask).await
        };
        self.0.meter.note(caller.tenant, plugin, Spent::from(&ran));
        ran
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
        if let Some(kept) = owner.and_then(|owner| self.warm(plugin).take(&owner, config)) {
            let ran = self.run_in_kept(kept, seat, plugin, tenant, config, ask).await;
            if ran.result.is_ok() {
                return ran;
            }
            spent = ran.cpu;
            seat = Seat { turn: self.turns(aside).take(tenant).await, aside };
        }
        let ticket = owner.and_then(|owner| self.warm(plugin).reserve(owner, config));
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
        let (store, watch) = call.parts();
        let result = watch.run(ask.put(&instance, store, config)).await;
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
        let (store, watch) = call.parts();
        let work = async {
            let instance = code.instantiate(store).await?;
            let said = ask.put(&instance, store, config).await?;
            Ok::<_, Stage>((instance, said))
        };
        let result = watch.run(work).await;
        match ticket {
            Some(ticket) => self.keep(call, plugin, tenant, ask, result, ticket),
            None => call.end(
                result,
                |(_, said)| ask.check(said, self.0.config.output),
                |ran| self.note_pace(tenant, plugin, ran),
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
            |ran| self.note_pace(tenant, plugin, ran),
        );
        if let (Some(store), Some(instance)) = (store, kept) {
            let memory = store.data().memory();
            self.warm(plugin).put_back((store, instance), ticket, memory);
        }
        ran
    }

    /// For whom an instance of this plugin is kept, if it is to be.
    fn owner(&self, plugin: &Plugin, code: &Code, caller: Caller) -> Option<Owner> {
        let is_kept = || plugin.is_own() || caller.reuses && self.0.warm.is_on() && code.is_slow_to_start();
        let subscription = caller.subscription.filter(|_| is_kept())?;
        Some(Owner { tenant: caller.tenant, subscription, plugin: plugin.digest() })
    }

    /// Where instances of this plugin are kept.
    fn warm(&self, plugin: &Plugin) -> &Warm<(Store<Guest>, Instance)> {
        if plugin.is_own() { &self.0.own } else { &self.0.warm }
    }

    /// Waits for a turn.
    async fn seat(&self, plugin: &Plugin, tenant: TenantId) -> Seat {
        let is_slow = || self.1 == Rank::Idle || self.0.paces.is_slow(tenant, plugin.digest());
        if !is_slow() {
            let turn = self.0.turns.take(tenant).await;
            // What it is may have come out while it waited.
            if !is_slow() {
                return Seat { turn, aside: false };
            }
        }
        Seat { turn: self.turns(true).take(tenant).await, aside: true }
    }

    /// The turns of calls that run aside, or of those that do not.
    fn turns(&self, aside: bool) -> &Turns {
        match (self.1, aside) {
            (Rank::Idle, _) => &self.0.idle_turns,
            (Rank::Usual, true) => &self.0.slow_turns,
            (Rank::Usual, false) => &self.0.turns,
        }
    }

    /// Remembers how long a call ran; what nobody waited for says nothing about the others.
    fn note_pace(&self, tenant: TenantId, plugin: &Plugin, ran: Duration) {
        if self.1 == Rank::Usual {
            self.0.paces.note(tenant, plugin.digest(), ran);
        }
    }

    /// Waits for a place in the pool.
    pub(super) async fn begin(&self, turn: Option<Turn>, aside: bool) -> Call<'_> {
        // The pool is never closed, so there is always a permit.
        let place = self.0.pool.acquire().await.ok();
        self.begin_in(place, turn, aside)
    }

    fn begin_in<'a>(&'a self, place: Option<SemaphorePermit<'a>>, turn: Option<Turn>, aside: bool) -> Call<'a> {
        let Inner { wasmtime, config, ticker, .. } = &*self.0;
        Call::begin(wasmtime, config, place, ticker, turn, aside)
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
