//! The configuration in memory, compiled and ready to be used for every event.
//!
//! **Who acts.** Control writes through [`Registry::save`]; the pipeline reads for every event and every
//! attempt. **What is promised.** What is read here is what the store holds: a change is durable before it
//! is visible, and visible to the next event after [`Registry::save`] has returned. A subscription that
//! does not compile is never saved. Secrets are opened here, once per change, and live only in the
//! compiled [`Plan`]. **What is deliberately not.** No event, no delivery and nothing that changes with
//! traffic is kept here.

mod inlet;
mod kind;
mod plan;
mod schema;
mod seal;
mod shelf;
mod step;
mod uploads;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::Value;

pub use self::inlet::{Answer, Filling, From, Inlet, Part, Piece, Proof, Question, Reply};
pub use self::kind::EventKind;
pub use self::plan::{PLACEHOLDER, PLACEHOLDER_DIGITS, Plan, Success, check_defaults, url_for_reading};
pub use self::schema::check as check_schema;
pub use self::shelf::{Found, Shelf, Upload};
use self::step::Meaning;
pub use self::step::{Candidate, Share, Step};
pub use self::uploads::Followed;
use crate::clock::Clock;
use crate::domain::{
    ApiKey, CatalogueEntry, EventType, FieldError, IdMap, Inbox, KeyId, PreviousSecret, Secret, Source, SourceId,
    State as SubscriptionState, Subscription, SubscriptionId, SubscriptionSpec, Tenant, TenantId,
};
use crate::filter::TypeIndex;
use crate::profiles::Profiles;
use crate::store::{self, Record, RecordKey, Store};
use crate::vault::Vault;

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something that must be unique is taken.
    #[error("{0}")]
    Taken(String),
    /// It does not compile.
    #[error("the settings are not valid")]
    Invalid(Vec<FieldError>),
    /// The tenant has as many as it may have.
    #[error("{0}")]
    Limit(String),
    /// A stored secret does not open.
    #[error("a stored secret does not open: {0}")]
    Vault(String),
}

/// How much of plugins a tenant may have and use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Versions of plugins.
    pub versions: u32,
    /// Their bytes, together.
    pub bytes: u64,
    /// Processor time for compiling them, an hour.
    pub compile: std::time::Duration,
    /// Processor time of all plugins' calls, a minute; zero: as much as there is.
    pub cpu: std::time::Duration,
}

/// What the gateway says about its own surroundings when it judges a subscription.
#[derive(Clone)]
pub struct Surroundings {
    /// Judges which targets may be reached.
    pub egress: crate::egress::Egress,
    /// What URLs of this gateway's own inboxes begin with.
    pub inbox_prefix: String,
    /// Subscriptions a tenant may have unless its limits say otherwise.
    pub subscriptions_per_tenant: u32,
    /// What a tenant may have of plugins unless its limits say otherwise.
    pub plugins: PluginLimits,
    /// How long deliveries are kept: every retry window must be shorter.
    pub retention: std::time::Duration,
    /// The largest body that is taken, in bytes.
    pub max_body: usize,
    /// The profiles there are at the start.
    pub profiles: Arc<Profiles>,
}

/// The configuration in memory. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    shelf: Shelf,
    profiles: ArcSwap<Profiles>,
    surroundings: Surroundings,
    clock: Clock,
    state: RwLock<State>,
    /// One change at a time, so that uniqueness can be checked before the store is asked.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<TenantId, Room>,
    tenant_uids: HashMap<String, TenantId>,
    keys: IdMap<KeyId, Arc<ApiKey>>,
    sources: IdMap<SourceId, Arc<Inlet>>,
    inboxes: HashMap<String, Arc<Inbox>>,
}

/// What one tenant has.
struct Room {
    tenant: Arc<Tenant>,
    plans: BTreeMap<SubscriptionId, Arc<Plan>>,
    /// Made by the first event after a change.
    matcher: Option<Arc<Matcher>>,
    /// Changes of the plans so far.
    changes: u64,
    kinds: HashMap<EventType, Arc<EventKind>>,
}

impl Room {
    /// The plans are others now.
    fn changed(&mut self) {
        self.matcher = None;
        self.changes += 1;
    }
}

/// A tenant's subscriptions, found by event type.
pub struct Matcher {
    plans: Vec<Arc<Plan>>,
    index: TypeIndex<u32>,
}

impl Matcher {
    /// The subscriptions whose patterns match; their filters, sources and states are still to be asked.
    pub fn candidates<'a>(&'a self, event_type: &str) -> impl Iterator<Item = &'a Arc<Plan>> {
        self.index.lookup(event_type).into_iter().filter_map(|at| self.plans.get(at as usize))
    }
}

impl Registry {
    /// Compiles the store's configuration.
    ///
    /// # Errors
    /// If the store can't be written. A subscription that no longer compiles (a plugin that is gone) is kept and
    /// reported by its plan's `fault`, so that one tenant's cannot keep the gateway from starting.
    pub async fn load(
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
        shelf: Shelf,
        surroundings: Surroundings,
        clock: Clock,
        mut records: Vec<Record>,
    ) -> Result<Self, Error> {
        uploads::take_out(&*store, &shelf, &mut records).await?;
        let inner = Inner {
            store,
            vault,
            shelf,
            profiles: ArcSwap::new(surroundings.profiles.clone()),
            surroundings,
            clock,
            state: RwLock::default(),
            writing: tokio::sync::Mutex::default(),
        };
        let registry = Self(Arc::new(inner));
        let compiled = registry.compile_all(records, true)?;
        registry.0.state.write().put(compiled);
        registry.tend_plugins();
        Ok(registry)
    }

    /// One tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.0.state.read().tenants.get(&id).map(|room| room.tenant.clone())
    }

    /// The tenant with this `uid`.
    #[must_use]
    pub fn tenant_by_uid(&self, uid: &str) -> Option<Arc<Tenant>> {
        let state = self.0.state.read();
        let id = state.tenant_uids.get(uid)?;
        state.tenants.get(id).map(|room| room.tenant.clone())
    }

    /// All tenants, by id.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.0.state.read().tenants.values().map(|room| room.tenant.clone()).collect()
    }

    /// One key.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<Arc<ApiKey>> {
        self.0.state.read().keys.get(&id).cloned()
    }

    /// A tenant's keys, or those of no tenant, by id.
    #[must_use]
    pub fn keys(&self, tenant: Option<TenantId>) -> Vec<Arc<ApiKey>> {
        let mut keys: Vec<_> =
            self.0.state.read().keys.values().filter(|key| key.tenant_id == tenant).cloned().collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// One source, whoever owns it: its id is the last part of a public URL.
    #[must_use]
    pub fn source(&self, id: SourceId) -> Option<Arc<Inlet>> {
        self.0.state.read().sources.get(&id).cloned()
    }

    /// A tenant's sources, by id.
    #[must_use]
    pub fn sources(&self, tenant: TenantId) -> Vec<Arc<Inlet>> {
        let mut sources: Vec<_> =
            self.0.state.read().sources.values().filter(|inlet| inlet.source.tenant_id == tenant).cloned().collect();
        sources.sort_by_key(|inlet| inlet.source.id);
        sources
    }

    /// One subscription, compiled.
    #[must_use]
    pub fn plan(&self, tenant: TenantId, id: SubscriptionId) -> Option<Arc<Plan>> {
        self.0.state.read().tenants.get(&tenant)?.plans.get(&id).cloned()
    }

    /// The subscription with this `uid`.
    #[must_use]
    pub fn plan_by_uid(&self, tenant: TenantId, uid: &str) -> Option<Arc<Plan>> {
        let state = self.0.state.read();
        let room = state.tenants.get(&tenant)?;
        room.plans.values().find(|plan| plan.subscription.spec.uid.as_deref() == Some(uid)).cloned()
    }

    /// A tenant's subscriptions, by id.
    #[must_use]
    pub fn plans(&self, tenant: TenantId) -> Vec<Arc<Plan>> {
        self.0.state.read().tenants.get(&tenant).map(|room| room.plans.values().cloned().collect()).unwrap_or_default()
    }

    /// A tenant's subscriptions, ready to be matched; `None` if there is no such tenant.
    #[must_use]
    pub fn matcher(&self, tenant: TenantId) -> Option<Arc<Matcher>> {
        let (plans, changes) = {
            let state = self.0.state.read();
            let room = state.tenants.get(&tenant)?;
            if let Some(matcher) = &room.matcher {
                return Some(matcher.clone());
            }
            (room.plans.values().cloned().collect(), room.changes)
        };
        // Of thousands it takes milliseconds, and everybody else reads the state meanwhile.
        let matcher = Arc::new(matcher_of(plans));
        let mut state = self.0.state.write();
        if let Some(room) = state.tenants.get_mut(&tenant).filter(|room| room.changes == changes) {
            room.matcher = Some(matcher.clone());
        }
        Some(matcher)
    }

    /// An event type that a tenant describes.
    #[must_use]
    pub fn event_kind(&self, tenant: TenantId, name: &EventType) -> Option<Arc<EventKind>> {
        self.0.state.read().tenants.get(&tenant)?.kinds.get(name).cloned()
    }

    /// The event types that a tenant describes, in no order.
    #[must_use]
    pub fn event_kinds(&self, tenant: TenantId) -> Vec<Arc<EventKind>> {
        self.0.state.read().tenants.get(&tenant).map(|room| room.kinds.values().cloned().collect()).unwrap_or_default()
    }

    /// Compiles an event type without saving it.
    ///
    /// # Errors
    /// What is wrong with its schema, with its place.
    pub fn compile_kind(&self, entry: CatalogueEntry) -> Result<EventKind, Vec<FieldError>> {
        EventKind::compile(entry)
    }

    /// The inbox behind a URL's token.
    #[must_use]
    pub fn inbox(&self, token: &str) -> Option<Arc<Inbox>> {
        self.0.state.read().inboxes.get(token).cloned()
    }

    /// A tenant's inboxes, by id.
    #[must_use]
    pub fn inboxes(&self, tenant: TenantId) -> Vec<Arc<Inbox>> {
        let mut inboxes: Vec<_> =
            self.0.state.read().inboxes.values().filter(|inbox| inbox.tenant_id == tenant).cloned().collect();
        inboxes.sort_by_key(|inbox| inbox.id);
        inboxes
    }

    /// The largest body that is taken, in bytes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        self.0.surroundings.max_body
    }

    /// The profiles there are.
    #[must_use]
    pub fn profiles(&self) -> Arc<Profiles> {
        self.0.profiles.load_full()
    }

    /// From now on these are the profiles, for the sources and subscriptions that name one, too. What does not go
    /// together with its profile any more stays as it was, and is reported.
    ///
    /// Gives the subscriptions that may be sent to at another rate now, or again, or no more: whoever keeps deliveries
    /// waiting for that has to look again.
    pub async fn set_profiles(&self, profiles: Arc<Profiles>) -> Vec<(TenantId, SubscriptionId)> {
        let _writing = self.0.writing.lock().await;
        self.0.profiles.store(profiles);
        let named: Vec<Arc<Inlet>> = self.0.state.read().sources.values().cloned().collect();
        for inlet in named.into_iter().filter(|inlet| inlet.written.profile.is_some()) {
            match self.compile_source(inlet.stored()) {
                Ok(inlet) => self.0.state.write().put(vec![Compiled::Source(Box::new(inlet))]),
                Err(errors) => {
                    tracing::error!(source_id = %inlet.source.id, ?errors, "a source does not fit its profile any more; it stays as it was");
                }
            }
        }
        let named =
            |room: &Room| room.plans.values().filter(|plan| plan.spec.profile.is_some()).cloned().collect::<Vec<_>>();
        let named: Vec<Arc<Plan>> = self.0.state.read().tenants.values().flat_map(named).collect();
        let mut changed = Vec::new();
        for plan in named {
            match self.compile_saved((*plan.subscription).clone()) {
                Ok(new) => {
                    if (new.rate, new.sends()) != (plan.rate, plan.sends()) {
                        changed.push((plan.subscription.tenant_id, plan.subscription.id));
                    }
                    self.0.state.write().put(vec![Compiled::Plan(Box::new(new))]);
                }
                Err(errors) => {
                    tracing::error!(subscription_id = %plan.subscription.id, ?errors, "a subscription does not fit its profile any more; it stays as it was");
                }
            }
        }
        changed
    }

    /// Compiles a subscription without saving it.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(&self, subscription: Subscription) -> Result<Plan, Vec<FieldError>> {
        self.compile_with(subscription, Meaning::Newest)
    }

    fn compile_with(&self, subscription: Subscription, meaning: Meaning) -> Result<Plan, Vec<FieldError>> {
        plan::compile(subscription, meaning, &self.0.vault, &self.0.shelf, &self.0.surroundings, &self.profiles())
    }

    /// Compiles what was saved before. Where it follows a name, and does not go together with the newest version, it keeps
    /// to the newest that it does go together with: the one before, also after a restart.
    fn compile_saved(&self, subscription: Subscription) -> Result<Plan, Vec<FieldError>> {
        self.compile(subscription.clone())
            .or_else(|errors| self.compile_with(subscription, Meaning::Fitting).map_err(|_| errors))
    }

    /// Compiles what is to be saved. A change is refused for its own mistakes, not for those that stood there before and
    /// that it does not touch: what does not go together with a plugin's newest version, or with what the operator allows
    /// by now, can still be paused and disabled, and its secret changed.
    fn compile_change(&self, new: Subscription) -> Result<Plan, Vec<FieldError>> {
        let errors = match self.compile(new.clone()) {
            Ok(plan) => return Ok(plan),
            Err(errors) => errors,
        };
        let Some(held) = self.plan(new.tenant_id, new.id) else { return Err(errors) };
        let before = self.compile((*held.subscription).clone()).err().unwrap_or_default();
        let opened = |subscription| self.open_spec(subscription).ok().and_then(|spec| serde_json::to_value(spec).ok());
        let (was, is) = (opened(&held.subscription), opened(&new));
        let field = |spec: &Option<Value>, error: &FieldError| {
            spec.as_ref().and_then(|spec| spec.get(error.pointer.split('/').nth(1).unwrap_or_default()).cloned())
        };
        if errors.iter().any(|error| !before.contains(error) || field(&was, error) != field(&is, error)) {
            return Err(errors);
        }
        match self.compile_with(new.clone(), Meaning::Fitting) {
            Ok(plan) => Ok(plan),
            Err(_) if held.fault.is_some() || new.state != SubscriptionState::Active => Ok(Plan::broken(new, &errors)),
            Err(_) => Err(errors),
        }
    }

    /// Compiles a source without saving it.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile_source(&self, source: Source) -> Result<Inlet, Vec<FieldError>> {
        inlet::compile(source, &self.0.vault, self.0.surroundings.retention, &self.profiles())
    }

    /// Seals what is secret in a source's spec; see [`Registry::seal`].
    #[must_use]
    pub fn seal_source(&self, mut source: Source) -> Source {
        if let Some(secret) = source.spec.secret.take() {
            source.secret = Some(self.seal_source_secret(source.id, &Secret::new(secret)));
            source.next_secret = None;
        }
        if let Some(token) = source.spec.verify_token.take() {
            source.verify_token =
                Some(self.0.vault.seal(&inlet::context(source.id, "verify_token"), &Secret::new(token)));
        }
        source
    }

    /// A secret of a source under the master key.
    #[must_use]
    pub fn seal_source_secret(&self, id: SourceId, secret: &Secret) -> crate::domain::Sealed {
        self.0.vault.seal(&inlet::context(id, "secret"), secret)
    }

    /// Makes a subscription of what a client asked for: pins plugin names, makes a signing secret where none was
    /// given, and moves every secret out of the spec and under the master key.
    ///
    /// With `change`, this is a change of that subscription by that merge patch, and `spec` is what
    /// [`Registry::open_spec`] gave with the patch applied.
    ///
    /// # Errors
    /// Every mistake that stands in the way of it, with its place.
    pub fn seal(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        spec: SubscriptionSpec,
        change: Option<(&Subscription, &Value)>,
    ) -> Result<Subscription, Vec<FieldError>> {
        let profiles = self.profiles();
        let sealer = seal::Sealer { vault: &self.0.vault, shelf: &self.0.shelf, profiles: &profiles };
        sealer.seal(tenant, id, spec, change, self.0.clock.now())
    }

    /// The spec with its secrets in clear, for a change to be merged into. It must not leave the process.
    ///
    /// # Errors
    /// If a stored secret does not open.
    pub fn open_spec(&self, subscription: &Subscription) -> Result<SubscriptionSpec, Error> {
        seal::open_spec(&self.0.vault, subscription).map_err(Error::Vault)
    }

    /// One secret of a subscription, by the JSON Pointer of its field.
    #[must_use]
    pub fn open_secret(&self, subscription: &Subscription, pointer: &str) -> Option<Secret> {
        let sealed = subscription.secrets.get(pointer)?;
        self.0.vault.open(&seal::context(subscription.id, pointer), sealed).ok()
    }

    /// The secret being rotated in.
    #[must_use]
    pub fn open_next_secret(&self, subscription: &Subscription) -> Option<Secret> {
        let next = subscription.next_secret.as_ref()?;
        self.0.vault.open(&seal::context(subscription.id, "/secret"), &next.secret).ok()
    }

    /// The signing secrets that count no more, newest first, and until when they did. Those that do not open are left
    /// out.
    #[must_use]
    pub fn open_previous_secrets(&self, subscription: &Subscription) -> Vec<(Secret, Timestamp)> {
        let context = seal::context(subscription.id, "/secret");
        let open = |previous: &PreviousSecret| {
            self.0.vault.open(&context, &previous.secret).ok().map(|secret| (secret, previous.until))
        };
        subscription.previous_secrets.iter().filter_map(open).collect()
    }

    /// Begins a rotation: the next secret, under the master key.
    #[must_use]
    pub fn seal_secret(&self, id: SubscriptionId, secret: &Secret) -> crate::domain::Sealed {
        self.0.vault.seal(&seal::context(id, "/secret"), secret)
    }

    /// Puts and deletes in one unit: durable, then visible.
    ///
    /// # Errors
    /// If something does not compile, is taken, is one too many, or the store refuses; nothing has changed then.
    pub async fn save(&self, puts: Vec<Record>, deletes: Vec<RecordKey>) -> Result<(), Error> {
        // Once begun it goes on when the caller goes away: what is on disk must be what is in memory.
        let registry = self.clone();
        to_the_end(async move { registry.write(puts, deletes).await }).await
    }

    async fn write(&self, puts: Vec<Record>, deletes: Vec<RecordKey>) -> Result<(), Error> {
        let compiled = self.compile_all(puts.clone(), false)?;
        let _writing = self.0.writing.lock().await;
        self.check(&compiled)?;
        self.0.store.configure(puts, deletes.clone()).await?;
        let mut state = self.0.state.write();
        state.put(compiled);
        for key in &deletes {
            state.delete(key);
            match key {
                RecordKey::Tenant(tenant) => self.0.shelf.remove_tenant(*tenant),
                RecordKey::Plugin(tenant, id) => self.0.shelf.remove(*tenant, *id),
                _ => {}
            }
        }
        Ok(())
    }

    fn compile_all(&self, records: Vec<Record>, lenient: bool) -> Result<Vec<Compiled>, Error> {
        let mut compiled = Vec::with_capacity(records.len());
        for record in records {
            compiled.push(match record {
                Record::Tenant(tenant) => Compiled::Tenant(tenant),
                Record::Key(key) => Compiled::Key(key),
                Record::Inbox(inbox) => Compiled::Inbox(inbox),
                Record::Replay(_)
                | Record::Seen(_)
                | Record::Refusals(_)
                | Record::Plugin(_)
                | Record::Setting(..) => continue,
                Record::EventType(entry) => match EventKind::compile(entry.clone()) {
                    Ok(kind) => Compiled::Kind(Box::new(kind)),
                    Err(errors) if lenient => {
                        tracing::error!(event_type = %entry.name, ?errors, "a stored schema does not compile; nothing is held against it");
                        Compiled::Kind(Box::new(EventKind::unchecked(entry)))
                    }
                    Err(errors) => return Err(Error::Invalid(errors)),
                },
                Record::Source(source) => match self.compile_source(source.clone()) {
                    Ok(inlet) => Compiled::Source(Box::new(inlet)),
                    Err(errors) if lenient => {
                        tracing::error!(source_id = %source.id, ?errors, "a stored source does not compile; it is closed");
                        Compiled::Source(Box::new(Inlet::closed(source)))
                    }
                    Err(errors) => return Err(Error::Invalid(errors)),
                },
                Record::Subscription(subscription) if lenient => {
                    let plan = self.compile_saved(subscription.clone()).unwrap_or_else(|errors| {
                        tracing::error!(subscription_id = %subscription.id, ?errors, "a stored subscription does not compile; its deliveries wait");
                        Plan::broken(subscription, &errors)
                    });
                    Compiled::Plan(Box::new(plan))
                }
                Record::Subscription(subscription) => {
                    Compiled::Plan(Box::new(self.compile_change(subscription).map_err(Error::Invalid)?))
                }
            });
        }
        Ok(compiled)
    }

    fn check(&self, compiled: &[Compiled]) -> Result<(), Error> {
        let state = self.0.state.read();
        for item in compiled {
            match item {
                Compiled::Tenant(tenant) => {
                    if let Some(uid) = &tenant.uid
                        && state.tenant_uids.get(uid).is_some_and(|other| *other != tenant.id)
                    {
                        return Err(Error::Taken(format!("another tenant has the uid `{uid}`")));
                    }
                }
                Compiled::Plan(plan) => {
                    let subscription = &plan.subscription;
                    let Some(room) = state.tenants.get(&subscription.tenant_id) else { continue };
                    // What was deleted meanwhile does not come back.
                    let held = room.plans.get(&subscription.id);
                    if held.map_or(0, |held| held.subscription.revision) + 1 != subscription.revision {
                        return Err(Error::Taken(match held {
                            Some(_) => "the subscription was changed meanwhile; try again".to_owned(),
                            None => "the subscription was deleted meanwhile".to_owned(),
                        }));
                    }
                    if let Some(uid) = &subscription.spec.uid
                        && room.plans.values().any(|other| {
                            other.subscription.id != subscription.id
                                && other.subscription.spec.uid.as_ref() == Some(uid)
                        })
                    {
                        return Err(Error::Taken(format!("another subscription has the uid `{uid}`")));
                    }
                    let most = room.tenant.limits.subscriptions.unwrap_or(self.0.surroundings.subscriptions_per_tenant);
                    if held.is_none() && room.plans.len() >= most as usize {
                        return Err(Error::Limit(format!(
                            "this tenant may have {most} subscriptions; delete one, or ask the operator for more"
                        )));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

enum Compiled {
    Tenant(Tenant),
    Key(ApiKey),
    Source(Box<Inlet>),
    Plan(Box<Plan>),
    Kind(Box<EventKind>),
    Inbox(Inbox),
}

impl State {
    fn put(&mut self, compiled: Vec<Compiled>) {
        // Tenants first: what they own finds its room.
        let (tenants, rest): (Vec<_>, Vec<_>) =
            compiled.into_iter().partition(|item| matches!(item, Compiled::Tenant(_)));
        for item in tenants.into_iter().chain(rest) {
            match item {
                Compiled::Tenant(tenant) => self.put_tenant(tenant),
                Compiled::Key(key) => {
                    self.keys.insert(key.id, Arc::new(key));
                }
                Compiled::Source(inlet) => {
                    self.sources.insert(inlet.source.id, Arc::new(*inlet));
                }
                Compiled::Inbox(inbox) => {
                    self.inboxes.insert(inbox.token.clone(), Arc::new(inbox));
                }
                Compiled::Kind(kind) => {
                    if let Some(room) = self.tenants.get_mut(&kind.entry.tenant_id) {
                        room.kinds.insert(kind.entry.name.clone(), Arc::new(*kind));
                    }
                }
                Compiled::Plan(plan) => {
                    if let Some(room) = self.tenants.get_mut(&plan.subscription.tenant_id) {
                        room.plans.insert(plan.subscription.id, Arc::new(*plan));
                        room.changed();
                    }
                }
            }
        }
    }

    fn put_tenant(&mut self, tenant: Tenant) {
        self.tenant_uids.retain(|_, id| *id != tenant.id);
        if let Some(uid) = &tenant.uid {
            self.tenant_uids.insert(uid.clone(), tenant.id);
        }
        let tenant = Arc::new(tenant);
        self.tenants.entry(tenant.id).and_modify(|room| room.tenant = tenant.clone()).or_insert_with(|| Room {
            tenant,
            plans: BTreeMap::new(),
            matcher: None,
            changes: 0,
            kinds: HashMap::new(),
        });
    }

    fn delete(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Tenant(id) => {
                self.tenants.remove(id);
                self.tenant_uids.retain(|_, other| other != id);
                self.keys.retain(|_, key| key.tenant_id != Some(*id));
                self.sources.retain(|_, inlet| inlet.source.tenant_id != *id);
                self.inboxes.retain(|_, inbox| inbox.tenant_id != *id);
            }
            RecordKey::Key(id) => {
                self.keys.remove(id);
            }
            RecordKey::Source(_, id) => {
                self.sources.remove(id);
            }
            RecordKey::Subscription(tenant, id) => {
                if let Some(room) = self.tenants.get_mut(tenant) {
                    room.plans.remove(id);
                    room.changed();
                }
            }
            RecordKey::Inbox(_, id) => self.inboxes.retain(|_, inbox| inbox.id != *id),
            RecordKey::EventType(tenant, name) => {
                if let Some(room) = self.tenants.get_mut(tenant) {
                    room.kinds.remove(name);
                }
            }
            RecordKey::Replay(..)
            | RecordKey::Seen(_)
            | RecordKey::Refusals(..)
            | RecordKey::Plugin(..)
            | RecordKey::Setting(_) => {}
        }
    }
}

fn matcher_of(plans: Vec<Arc<Plan>>) -> Matcher {
    let patterns = plans.iter().zip(0u32..).map(|(plan, at)| (plan.patterns.clone(), at));
    Matcher { index: TypeIndex::new(patterns), plans }
}

/// Does `work` to its end, whether or not the caller still waits for it: a request handler is dropped when its
/// client goes away, and what the store has begun must be followed by what belongs to it in memory.
///
/// The caller does it as long as it waits, so that nothing is handed to another thread and back for each event; what is
/// left when it is dropped becomes a task of its own.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut rest = Rest(Some(Box::pin(work)));
    std::future::poll_fn(|cx| rest.poll(cx)).await
}

struct Rest<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Rest<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        // Out of its place while it runs: what panicked is not gone on with.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let done = work.as_mut().poll(cx);
        if done.is_pending() {
            self.0 = Some(work);
        }
        done
    }
}

impl<T: Send + 'static> Drop for Rest<T> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_a_caller_leaves_is_done_all_the_same() {
        let (go, going) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let mut left = Box::pin(to_the_end(async move {
            going.await.unwrap();
            done.send("done").unwrap();
        }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(left.as_mut().poll(&mut cx).is_pending());
        drop(left);
        go.send(()).unwrap();
        assert_eq!(ended.await, Ok("done"));
        assert_eq!(to_the_end(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn what_panicked_is_not_gone_on_with() {
        let polled = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counting = polled.clone();
        let work = to_the_end(std::future::poll_fn(move |_| -> Poll<()> {
            counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            panic!("on purpose")
        }));
        assert!(tokio::spawn(work).await.unwrap_err().is_panic());
        tokio::task::yield_now().await;
        assert_eq!(polled.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
