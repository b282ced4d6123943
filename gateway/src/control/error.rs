//! Why something was not done.

use std::time::Duration;

use super::PluginRefusal;
use crate::domain::FieldError;
use crate::registry;
use crate::store;

/// Why something was not done. Nothing has changed then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no such object, or it is another tenant's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// What was asked for is not valid.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// It contradicts what there is.
    #[error("{0}")]
    Conflict(String),
    /// The object is not the version the caller has seen.
    #[error("the object has changed since it was read")]
    Precondition,
    /// A plugin was not taken, or not deleted.
    #[error(transparent)]
    Plugin(Box<PluginRefusal>),
    /// The tenant's plugins have used the processor time that they may have in a minute.
    #[error("this tenant's plugins have used the processor time that they may have in a minute")]
    CpuBudget {
        /// When there is some again.
        retry_after: Duration,
    },
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A stored secret does not open, or something else that no caller can mend.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// One mistake in one field.
    #[must_use]
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, detail)])
    }
}

impl From<Vec<FieldError>> for Error {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Invalid(errors)
    }
}

impl From<PluginRefusal> for Error {
    fn from(refusal: PluginRefusal) -> Self {
        Self::Plugin(Box::new(refusal))
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        match error {
            registry::Error::Store(error) => Self::Store(error),
            registry::Error::Taken(what) => Self::Conflict(what),
            registry::Error::Invalid(errors) => Self::Invalid(errors),
            registry::Error::Limit(what) => Self::Limit(what),
            registry::Error::Vault(what) => Self::Internal(what),
        }
    }
}
