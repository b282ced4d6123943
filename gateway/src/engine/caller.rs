//! Who calls.

use crate::domain::{SubscriptionId, TenantId};

/// On whose behalf a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose turn it takes.
    pub tenant: TenantId,
    /// The subscription it delivers for: an instance may be kept for its later calls. Without one, as in a preview,
    /// the call has a fresh instance whatever the settings are.
    pub subscription: Option<SubscriptionId>,
    /// Whether that holds for a plugin, too, that did not come with the gateway and is slow to start: by its tenant's word.
    pub reuses: bool,
}

impl From<TenantId> for Caller {
    fn from(tenant: TenantId) -> Self {
        Self { tenant, subscription: None, reuses: false }
    }
}
