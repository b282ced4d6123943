//! The verbs: encode, hand over, wait.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::accept;
use super::commit::{Job, Part, Reply};
use super::ends::Ends;
use super::fault::Fault;
use super::hand::Guard;
use super::inbox::{Inbox, NoRoom};
use super::prune::{self, Plan};
use super::readers::Readers;
use super::shared::Shared;
use super::tables::{Cutter, Op, Table};
use super::{Opened, SledOptions, component, config, keys, open, queries};
use crate::domain::{
    Attempt, Delivery, DeliveryId, EventId, Lane, PluginId, PluginVersion, Subscription, SubscriptionId, TenantId,
};
use crate::priority::{self, Slices};
use crate::store::{
    Accepted, DeliveryFilter, Error, EventFilter, LaneHead, Page, Pruned, Receipt, Record, RecordKey, ReplayStep,
    Replayed, Result, Settled, Store, StoredEvent, Taken, Usage,
};

/// More deliveries than this that wait to be written out, and ingest is refused for a moment.
const MOST_WAITING: usize = 200_000;
/// Operations of retention in one job.
const PRUNE_JOB: usize = 256;

/// The embedded store. Dropped, it writes what was handed over and gives the directory free; [`Store::close`]
/// does the same and says whether it went well.
pub struct SledStore {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    closed: watch::Receiver<Option<Result<()>>>,
    thread: Option<JoinHandle<()>>,
    pruned_to: Arc<Mutex<prune::Cursor>>,
}

impl SledStore {
    /// Opens a directory, making it if there is none, and starts the store's threads. Blocks for as long as that
    /// takes: half a second after a crash with a large queue.
    ///
    /// # Errors
    /// [`Error::Refused`] with a sentence for the operator: the directory is in use, was written by a newer
    /// version or another program, has lost what was acknowledged, or can't be read.
    pub fn open(dir: &Path, options: SledOptions) -> Result<(Self, Opened)> {
        let threads = options.read_threads;
        let open::Running { mut committer, lock, opened, .. } = open::open(dir, options)?;
        let shared = Arc::clone(&committer.shared);
        let readers = Arc::new(Readers::new());
        let no_thread = |error| Error::from(Fault::io("a thread can't be started")(error));
        let pool = readers.start(threads, &shared, &committer.tables).map_err(no_thread)?;
        let (done, closed) = watch::channel(None);
        let work = {
            let (shared, readers) = (Arc::clone(&shared), Arc::clone(&readers));
            move || {
                // Refused, everyone waits a little longer where cores are short.
                let _ = priority::prompt();
                // sled panics on some kinds of damage.
                let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| committer.run()));
                let run = run.unwrap_or_else(|payload| Err(Fault::panicked(&*payload)));
                if let Err(fault) = &run {
                    shared.fail(fault);
                }
                shared.inbox.abandon();
                shared.disk.drop_ballast();
                readers.close();
                for reader in pool {
                    // A reader that panicked outside of a read has nothing more to tell.
                    let _ = reader.join();
                }
                // The last handle: sled writes its last words and unlocks its file.
                drop(committer);
                drop(lock);
                done.send_replace(Some(run.map_err(Error::from)));
            }
        };
        let thread = std::thread::Builder::new().name("store-commit".to_owned()).spawn(work).map_err(no_thread)?;
        let store = Self { shared, readers, closed, thread: Some(thread), pruned_to: Arc::default() };
        Ok((store, opened))
    }

    /// Shows the fault once the store has failed. From then on every verb answers [`Error::Fatal`]: the process
    /// should say that it is not ready, and end.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.fatal()
    }

    /// How many queue entries [`Store::take`] has looked at since the start.
    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.shared.visited.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes room for a job of so many bytes, hands it over and waits for the answer.
    async fn ask<T>(&self, bytes: usize, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        self.shared.check()?;
        let room = self.shared.inbox.try_room(bytes).map_err(|no| self.refusal(no))?;
        self.ask_with(Some(room), job).await
    }

    async fn ask_with<T>(&self, room: Option<OwnedSemaphorePermit>, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        ask(&self.shared, room, job).await
    }

    /// Writes a plugin's bytes in units, each when the one before is durable, and then in one more the plugin.
    async fn write_component(&self, plugin: PluginVersion, bytes: &[u8]) -> Result<()> {
        let key = keys::pair(plugin.tenant_id, plugin.id.to_bytes());
        let mut cutter = Cutter::new(Table::Components, &key);
        let mark = component::unfinished(plugin.tenant_id, plugin.id);
        self.ask(4096, |reply| Job::Ahead { ops: vec![mark], reply }).await?;
        for ops in accept::units(component::pieces(&mut cutter, bytes)) {
            let bytes = ops.iter().map(Op::bytes).sum();
            self.ask(bytes, |reply| Job::Ahead { ops, reply }).await?;
        }
        let (puts, with) = (vec![Record::Plugin(plugin)], vec![cutter.head()]);
        self.ask(4096, |reply| Job::Configure { puts, deletes: Vec::new(), with, reply }).await
    }

    /// Removes plugins' bytes that are marked as unfinished, behind the caller. What does not come to an end is removed
    /// at the next start.
    fn clear_components(&self, gone: Vec<(TenantId, PluginId)>) {
        if gone.is_empty() {
            return;
        }
        let (shared, readers) = (Arc::clone(&self.shared), Arc::clone(&self.readers));
        tokio::spawn(async move {
            for (tenant, plugin) in gone {
                loop {
                    match readers.run(&shared, move |tables| component::step(tables, tenant, plugin)).await {
                        Ok(ops) if ops.is_empty() => break,
                        Ok(ops) => {
                            if ask(&shared, None, |reply| Job::Ahead { ops, reply }).await.is_err() {
                                return;
                            }
                        }
                        Err(_) => return,
                    }
                }
            }
        });
    }

    fn refusal(&self, no: NoRoom) -> Error {
        match no {
            NoRoom::Full => Error::Overloaded,
            NoRoom::Closed => self.shared.no_answer(),
        }
    }

    /// Something went wrong in a verb itself.
    fn failed(&self, fault: Fault) -> Error {
        self.shared.fail(&fault);
        fault.into()
    }

    /// Reads on the readers' threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&super::tables::Tables, &Shared) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(&self.shared, move |tables| read(tables, &shared)).await
    }
}

/// Hands a job over and waits for the answer.
async fn ask<T>(shared: &Shared, room: Option<OwnedSemaphorePermit>, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    if shared.inbox.push(job(reply), room).is_err() {
        return Err(shared.no_answer());
    }
    match answer.await {
        Ok(answer) => answer,
        Err(_) => Err(shared.no_answer()),
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.inbox.close();
        if let Some(thread) = self.thread.take() {
            // Its faults are in `fatal` and in the answer of `close`.
            let _ = thread.join();
        }
    }
}

/// What has been written ahead of events that are not accepted yet. Dropped, it is taken back.
struct Ahead<'a> {
    inbox: &'a Inbox,
    undone: Vec<Op>,
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        if !self.undone.is_empty() {
            // A store that is closing does it when it is opened again.
            drop(self.inbox.push(Job::TakeBack { ops: std::mem::take(&mut self.undone) }, None));
        }
    }
}

/// Parts of fan-outs that are durable, and that nobody finds yet. Others have the processor between two of them; dropped,
/// it makes haste.
struct Spread<'a> {
    shared: &'a Shared,
    /// Those that are found.
    known: Vec<Part>,
    rest: VecDeque<Part>,
}

impl Spread<'_> {
    async fn all(mut self) {
        let mut slices = Slices::begin();
        while self.next() {
            slices.step().await;
        }
    }

    fn next(&mut self) -> bool {
        let Some(part) = self.rest.pop_front() else { return false };
        self.shared.hands.add_waiting(&part.records, false);
        self.known.push(part);
        true
    }
}

impl Drop for Spread<'_> {
    fn drop(&mut self) {
        while self.next() {}
        // Where nothing is written any more, they are found at the next start.
        drop(self.shared.inbox.push(Job::Expand { parts: std::mem::take(&mut self.known) }, None));
    }
}

#[async_trait]
impl Store for SledStore {
    async fn accept(&self, batch: Vec<Accepted>) -> Result<Vec<Receipt>> {
        self.shared.check()?;
        let bytes = batch.iter().map(accept::weight).sum();
        self.shared.disk.admit(bytes)?;
        let many = batch.iter().any(|accepted| accepted.deliveries.len() > crate::store::EXPAND_AT_ONCE);
        if many && self.shared.hands.waiting_count() > MOST_WAITING {
            return Err(Error::Overloaded);
        }
        // Before anything is encoded: who is refused should cost little.
        let room = self.shared.inbox.try_room(bytes).map_err(|no| self.refusal(no))?;
        let mut guard = Guard::new(&self.shared.hands);
        let encoded = accept::encode_all(&self.shared, &mut guard, batch).await;
        let mut items = encoded.map_err(|fault| self.failed(fault))?;
        let mut ahead = Ahead { inbox: &self.shared.inbox, undone: Vec::new() };
        for item in &mut items {
            let undone: Vec<Op> = item.ahead.iter().map(Op::undone).collect();
            for ops in accept::units(std::mem::replace(&mut item.ahead, undone)) {
                ahead.undone.extend(ops.iter().map(Op::undone));
                self.ask_with(None, |reply| Job::Ahead { ops, reply }).await?;
            }
        }
        ahead.undone.clear();
        let (receipts, guard, parts) = self.ask_with(Some(room), |reply| Job::Accept { items, guard, reply }).await?;
        guard.hand_over();
        if !parts.is_empty() {
            Spread { shared: &self.shared, known: Vec::new(), rest: parts.into() }.all().await;
        }
        Ok(receipts)
    }

    async fn heads(&self) -> Result<Vec<LaneHead>> {
        self.read(queries::heads).await
    }

    async fn take(&self, lanes: &[(Lane, usize)], now: Timestamp) -> Result<Vec<Taken>> {
        let lanes = lanes.to_vec();
        let read = move |tables: &_, shared: &Shared| {
            let mut guard = Guard::new(&shared.hands);
            let taken = queries::take(tables, shared, &mut guard, &lanes, now)?;
            Ok((taken, guard))
        };
        let (taken, guard) = self.read(read).await?;
        guard.hand_over();
        Ok(taken)
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<()> {
        self.shared.check()?;
        self.shared.hands.release(&deliveries);
        Ok(())
    }

    async fn begin(&self, deliveries: Vec<Delivery>) -> Result<()> {
        let deliveries: Vec<_> = deliveries.iter().map(|delivery| (delivery.tenant_id, delivery.id)).collect();
        self.ask(deliveries.len() * 512, |reply| Job::Begin { deliveries, reply }).await
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<()> {
        self.shared.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let known = self.shared.hands.settling(batch.iter());
        let ends = Ends::of(batch, &known).map_err(|fault| self.failed(fault))?;
        let handover = Handover::new(&self.shared, ends);
        let room = self.shared.inbox.ends_room(handover.bytes()).await.map_err(|no| self.refusal(no))?;
        handover.push(Some(room)).map_err(|()| self.shared.no_answer())
    }

    async fn requeue(&self, tenant: TenantId, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>> {
        self.ask(1024, |reply| Job::Requeue { tenant, id, now, reply }).await
    }

    async fn cancel(&self, tenant: TenantId, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>> {
        self.ask(1024, |reply| Job::Cancel { tenant, id, now, reply }).await
    }

    async fn replay(&self, step: ReplayStep) -> Result<Replayed> {
        let bytes = 4096 + (step.add.len() + step.again.len()) * 512;
        self.shared.disk.admit(bytes)?;
        self.ask(bytes, |reply| Job::Replay { step: Box::new(step), reply }).await
    }

    async fn prune(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<Pruned> {
        let cursor = Arc::clone(&self.pruned_to);
        let planned = self.read(move |tables, shared| prune::plan(tables, shared, &cursor, before, now, limit)).await?;
        let mut pruned = Pruned { expired: planned.expired, events: 0, more: planned.more };
        let mut rest = planned.plans.into_iter().peekable();
        while rest.peek().is_some() {
            let mut ops = 0;
            let fits = |plan: &Plan| {
                let first = ops == 0;
                ops += plan.ops.len();
                first || ops <= PRUNE_JOB
            };
            let plans: Vec<Plan> = take_while_fits(&mut rest, fits);
            // Not refused when there is much to write: what frees space goes on.
            pruned.events += self.ask_with(None, |reply| Job::Prune { plans, reply }).await?;
        }
        planned.guard.hand_over();
        Ok(pruned)
    }

    async fn configuration(&self) -> Result<Vec<Record>> {
        self.read(|tables, _| config::all(tables)).await
    }

    async fn configure(&self, puts: Vec<Record>, deletes: Vec<RecordKey>) -> Result<()> {
        let gone: Vec<_> = deletes.iter().filter_map(RecordKey::plugin).collect();
        self.ask(4096, |reply| Job::Configure { puts, deletes, with: Vec::new(), reply }).await?;
        self.clear_components(gone);
        Ok(())
    }

    async fn keep_plugin(&self, plugin: PluginVersion, component: &[u8]) -> Result<()> {
        self.shared.check()?;
        self.shared.disk.admit(component.len())?;
        let (tenant, id) = (plugin.tenant_id, plugin.id);
        let kept = self.write_component(plugin, component).await;
        if kept.is_err() {
            self.clear_components(vec![(tenant, id)]);
        }
        kept
    }

    async fn component(&self, tenant: TenantId, plugin: PluginId) -> Result<Option<Vec<u8>>> {
        self.read(
            move |tables, shared| {
                if shared.is_gone(tenant) { Ok(None) } else { component::read(tables, tenant, plugin) }
            },
        )
        .await
    }

    async fn revision(&self, tenant: TenantId, id: SubscriptionId, revision: u64) -> Result<Option<Subscription>> {
        self.read(
            move |tables, shared| {
                if shared.is_gone(tenant) { Ok(None) } else { config::revision(tables, tenant, id, revision) }
            },
        )
        .await
    }

    async fn event(&self, tenant: TenantId, id: EventId) -> Result<Option<StoredEvent>> {
        self.read(move |tables, shared| queries::event(tables, shared, tenant, id)).await
    }

    async fn events(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>> {
        let filter = filter.clone();
        self.read(move |tables, shared| queries::events(tables, shared, tenant, &filter, limit, after)).await
    }

    async fn events_between(
        &self,
        tenant: TenantId,
        span: (Timestamp, Timestamp),
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Page<StoredEvent, EventId>> {
        self.read(move |tables, shared| queries::events_between(tables, shared, tenant, span, limit, after)).await
    }

    async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<Option<Delivery>> {
        let found = self.read(move |tables, shared| queries::record(tables, shared, tenant, id)).await?;
        Ok(found.map(|(delivery, _)| delivery))
    }

    async fn deliveries(
        &self,
        tenant: TenantId,
        filter: &DeliveryFilter,
        limit: usize,
        after: Option<DeliveryId>,
    ) -> Result<Page<Delivery, DeliveryId>> {
        let filter = filter.clone();
        self.read(move |tables, shared| queries::deliveries(tables, shared, tenant, &filter, limit, after)).await
    }

    async fn attempts(&self, tenant: TenantId, delivery: DeliveryId) -> Result<Vec<Attempt>> {
        self.read(move |tables, shared| queries::attempts(tables, shared, tenant, delivery)).await
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.shared.disk.usage())
    }

    async fn close(&self) -> Result<()> {
        self.shared.inbox.close();
        let mut closed = self.closed.clone();
        let done = closed.wait_for(Option::is_some).await.map(|done| done.clone());
        done.ok().flatten().unwrap_or_else(|| Err(self.shared.no_answer()))
    }
}

fn take_while_fits(
    rest: &mut std::iter::Peekable<std::vec::IntoIter<Plan>>,
    mut fits: impl FnMut(&Plan) -> bool,
) -> Vec<Plan> {
    let mut plans = Vec::new();
    while let Some(plan) = rest.next_if(&mut fits) {
        plans.push(plan);
    }
    plans
}

/// Ends on their way into the queue. Whoever hands them over may stop waiting for room at any time; they are then
/// handed over without it, since an end that is lost is an endpoint called twice.
struct Handover<'a> {
    shared: &'a Shared,
    ends: Option<Ends>,
}

impl<'a> Handover<'a> {
    fn new(shared: &'a Shared, ends: Ends) -> Self {
        Self { shared, ends: Some(ends) }
    }

    fn bytes(&self) -> usize {
        self.ends.as_ref().map_or(0, |ends| ends.bytes)
    }

    fn push(mut self, room: Option<OwnedSemaphorePermit>) -> std::result::Result<(), ()> {
        match self.ends.take() {
            Some(ends) => self.shared.inbox.push(Job::Settle(ends), room).map_err(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            // Refused only by a store that has been closed.
            let _ = self.shared.inbox.push(Job::Settle(ends), None);
        }
    }
}
