//! What the verbs, the committer and the readers all know.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::disk::Disk;
use super::fault::Fault;
use super::hand::Hands;
use super::inbox::Inbox;
use crate::domain::TenantId;
use crate::store::Error;

/// Told after each commit how long it took and how many tree operations it had.
pub type OnCommit = Box<dyn Fn(Duration, usize) + Send + Sync>;

/// See the file's essay.
pub(super) struct Shared {
    pub(super) inbox: Inbox,
    pub(super) hands: Arc<Hands>,
    pub(super) disk: Disk,
    pub(super) on_commit: Option<OnCommit>,
    /// Deleted tenants: nothing of theirs is shown, while it is removed in small steps.
    gone: RwLock<HashSet<TenantId>>,
    fatal: watch::Sender<Option<Arc<str>>>,
    position: AtomicU64,
    /// How many queue entries `take` has looked at.
    pub(super) visited: AtomicU64,
}

impl Shared {
    pub(super) fn new(inbox: Inbox, disk: Disk, on_commit: Option<OnCommit>, position: u64) -> Self {
        Self {
            inbox,
            hands: Arc::default(),
            disk,
            on_commit,
            gone: RwLock::default(),
            fatal: watch::Sender::new(None),
            position: AtomicU64::new(position),
            visited: AtomicU64::new(0),
        }
    }

    /// The position that the next delivery gets.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// A position in an ordered lane, after all that were given out.
    pub(super) fn next_position(&self) -> u64 {
        self.position.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_gone(&self, tenant: TenantId) -> bool {
        self.gone.read().contains(&tenant)
    }

    pub(super) fn add_gone(&self, tenants: &[TenantId]) {
        if !tenants.is_empty() {
            self.gone.write().extend(tenants);
        }
    }

    /// Ends the store: everything from now on answers with this fault.
    pub(super) fn fail(&self, fault: &Fault) {
        if fault.is_disk_full() {
            self.disk.drop_ballast();
        }
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                *fatal = Some(fault.to_string().into());
            }
            first
        });
        self.inbox.close();
    }

    pub(super) fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.fatal.subscribe()
    }

    /// Whether the store still serves.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.fatal.borrow().as_ref().map_or(Ok(()), |why| Err(Error::Fatal(Arc::clone(why))))
    }

    /// Why an answer did not come.
    pub(super) fn no_answer(&self) -> Error {
        self.check().err().unwrap_or_else(|| Error::Refused("the store has been closed".to_owned()))
    }
}
