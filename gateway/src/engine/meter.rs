//! What plugins have used: by tenant and plugin, whoever made the call.
//!
//! In memory, since the engine was made. Counting costs a call one short lock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use super::plugin::Plugin;
use super::run::Ran;
use crate::domain::{Digest, FaultKind, TenantId};

/// Plugins that are told apart of one tenant: more than it may have at once. Those that come after them count as one.
const PLUGINS: usize = 1_000;
/// The name of those.
const OTHERS: &str = "others";

/// What has been used.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    all: Tally,
    tenants: HashMap<TenantId, HashMap<String, Usage>>,
}

/// What a tenant has used of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `name@version`.
    pub plugin: String,
    /// Of the bytes that ran last.
    pub digest: Digest,
    /// How much.
    pub tally: Tally,
}

/// What one call has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Its running time.
    pub cpu: Duration,
    /// The most linear memory it had, in bytes.
    pub peak_memory: usize,
    /// How it faulted, if it did.
    pub fault: Option<FaultKind>,
}

impl<T> From<&Ran<T>> for Spent {
    fn from(ran: &Ran<T>) -> Self {
        let fault = ran.result.as_ref().err().map(|fault| fault.kind);
        Self { cpu: ran.cpu, peak_memory: ran.peak_memory, fault }
    }
}

/// What a number of calls have used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many calls.
    pub calls: u64,
    /// Those that ended in a fault, by its kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Their running time, together.
    pub cpu: Duration,
    /// The longest of them.
    pub slowest: Duration,
    /// The most linear memory that one had, in bytes.
    pub peak_memory: usize,
}

impl Tally {
    /// Adds a call.
    pub fn add(&mut self, spent: Spent) {
        let Spent { cpu, peak_memory, fault } = spent;
        self.calls += 1;
        if let Some(kind) = fault {
            *self.faults.entry(kind.as_str()).or_default() += 1;
        }
        self.cpu += cpu;
        self.slowest = self.slowest.max(cpu);
        self.peak_memory = self.peak_memory.max(peak_memory);
    }

    /// The running time of a call on average.
    #[must_use]
    pub fn average(&self) -> Duration {
        u32::try_from(self.calls).ok().and_then(|calls| self.cpu.checked_div(calls)).unwrap_or_default()
    }
}

impl Meter {
    pub(super) fn note(&self, tenant: TenantId, plugin: &Plugin, spent: Spent) {
        let reference = plugin.manifest().reference();
        let mut used = self.0.lock();
        used.all.add(spent);
        let plugins = used.tenants.entry(tenant).or_default();
        let is_new = !plugins.contains_key(&reference);
        let name = if is_new && plugins.len() >= PLUGINS { OTHERS.to_owned() } else { reference };
        let usage = plugins.entry(name).or_insert_with_key(|name| Usage {
            plugin: name.clone(),
            digest: plugin.digest(),
            tally: Tally::default(),
        });
        if usage.digest != plugin.digest() {
            usage.digest = plugin.digest();
            // A version that was deleted may come back with other bytes, which are to answer for nothing but their own.
            if usage.plugin != OTHERS {
                usage.tally = Tally::default();
            }
        }
        usage.tally.add(spent);
    }

    /// What all have used together.
    #[must_use]
    pub fn all(&self) -> Tally {
        self.0.lock().all.clone()
    }

    /// What a tenant has used, by plugin.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Vec<Usage> {
        let mut usages: Vec<_> =
            self.0.lock().tenants.get(&tenant).into_iter().flat_map(HashMap::values).cloned().collect();
        usages.sort_by(|one, other| one.plugin.cmp(&other.plugin));
        usages
    }

    /// The tenants that have used any.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.0.lock().tenants.keys().copied().collect()
    }

    /// Forgets a tenant.
    pub fn forget(&self, tenant: TenantId) {
        self.0.lock().tenants.remove(&tenant);
    }
}
