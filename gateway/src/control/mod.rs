//! What people may do: tenants, keys, sources, subscriptions, plugins, inboxes, and looking at what happened.
//!
//! **Who acts.** The API (and whatever else shows or changes the configuration) calls methods of
//! [`Control`]; who may call which is the caller's to decide, with the [`Principal`] that
//! [`Control::authenticate`] gives. **What is promised.** A change is whole or not at all, checked before
//! it is saved, and durable when the method returns. A method that takes a tenant never sees, changes or
//! even admits the existence of another's objects: they are [`Error::NotFound`]. Secrets leave only through
//! [`Control::secret`] and at the moment they are made. **What is deliberately not.** Nothing here knows
//! HTTP, no event is accepted here, and no delivery is made here: the pipeline does both.

mod access;
mod budget;
mod doctor;
mod error;
mod event_types;
mod history;
mod idempotency;
mod inboxes;
mod keys;
mod plugins;
mod profiles;
mod reading;
mod refusals;
mod replays;
mod rollouts;
mod runs;
mod sources;
mod stats;
mod subscriptions;
mod tenants;
mod trial;

use std::sync::Arc;

pub use self::access::{Principal, Refusal, mint};
pub use self::doctor::{Complaint, Examined};
pub use self::error::Error;
pub use self::event_types::{EventTypePatch, KnownType, NewEventType, NewSample, Said};
pub use self::history::{AttemptBody, DeliveryDetail, Explained, Explanation, Since};
pub use self::idempotency::{Answers, Begun};
pub use self::inboxes::InboxVerdict;
pub use self::keys::NewKey;
pub use self::plugins::{PluginRefusal, Uploaded};
pub use self::profiles::{Reloaded, load_profiles};
pub use self::reading::{Expected, read_slice, read_value};
pub use self::refusals::Refusals;
pub use self::replays::{NewReplay, ReplayAnswer};
pub use self::rollouts::{DeliveryRun, PluginUsage};
pub use self::runs::{Output, PluginTrial, RunEvent};
pub use self::stats::{Bucket, Health, Spread, Stats};
pub use self::subscriptions::{Change, Made, Pending};
pub use self::tenants::{NewTenant, TenantUsage};
pub use self::trial::{EventChoice, SampleEvent, TrialTarget};
use crate::clock::Clock;
use crate::pipeline::Pipeline;
use crate::registry::Registry;
use crate::store::Store;

/// The result of a method.
pub type Result<T> = std::result::Result<T, Error>;

/// The door to everything that is configured. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    registry: Registry,
    store: Arc<dyn Store>,
    pipeline: Pipeline,
    clock: Clock,
    /// SHA-256 of the operator key that the configuration gives, if it gives one.
    operator: Option<[u8; 32]>,
    /// A change reads, checks and writes; two that overlap would undo each other.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// The same, of plugins that are being written.
    uploading: Arc<tokio::sync::Mutex<()>>,
    /// One diagnosis at a time: each may hash as much as a hundred attempts do.
    diagnosing: Arc<tokio::sync::Mutex<()>>,
    refusals: Refusals,
    budget: Arc<budget::Budget>,
    /// Where the operator's own profiles lie, if they lie anywhere.
    profile_folder: Option<std::path::PathBuf>,
}

impl Control {
    /// Joins the parts.
    #[must_use]
    pub fn new(registry: Registry, store: Arc<dyn Store>, pipeline: Pipeline, clock: Clock) -> Self {
        Self {
            registry,
            store,
            pipeline,
            clock,
            operator: None,
            changing: Arc::default(),
            uploading: Arc::default(),
            diagnosing: Arc::default(),
            refusals: Refusals::default(),
            budget: Arc::default(),
            profile_folder: None,
        }
    }

    /// What sources refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The time by the gateway's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}
