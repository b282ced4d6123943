//! The versions of the contract that are spoken. What a component was built for is read from the names of its imports
//! and dispatched on from there: each version has its types and functions (`bindings`), what it may call (`runtime`) and
//! what its records mean in the words of `domain` (`convert`). A plugin that was taken once is thereby run as it was
//! built, whatever versions come after it.

use super::error::InstallError;

/// A version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contract {
    /// `wit/plugin.wit`.
    V0_1,
}

impl Contract {
    /// All of them, oldest first.
    pub(super) const ALL: [Self; 1] = [Self::V0_1];

    /// As it stands behind the `@`.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
        }
    }

    /// The one with this version.
    pub(super) fn named(version: &str) -> Result<Self, InstallError> {
        let found = Self::ALL.into_iter().find(|contract| contract.version() == version);
        found.ok_or_else(|| InstallError::Contract { found: format!("hookmill:plugin@{version}") })
    }

    /// All of them, for a refusal.
    pub(super) fn spoken() -> String {
        Self::ALL.map(|contract| format!("hookmill:plugin@{}", contract.version())).join(", ")
    }
}
