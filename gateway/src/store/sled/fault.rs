//! What may go wrong below the verbs. All of it is fatal: after a failed write or an unreadable value nothing
//! this process believes about the directory can be relied on.

use std::sync::Arc;

use crate::store::Error;

/// Why the store can't go on.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fault {
    /// sled failed.
    #[error("sled: {0}")]
    Sled(#[source] ::sled::Error),
    /// The operating system failed.
    #[error("{0}: {1}")]
    Io(&'static str, Arc<std::io::Error>),
    /// Something that was written can't be read.
    #[error("{0} can't be read: the directory is damaged")]
    Corrupt(&'static str),
    /// Something can't be written.
    #[error("a record can't be written: {0}")]
    Encode(String),
    /// A thread of the store panicked.
    #[error("a thread of the store panicked: {0}")]
    Panicked(String),
}

impl Fault {
    pub(super) fn corrupt(what: &'static str) -> Self {
        Self::Corrupt(what)
    }

    pub(super) fn encode(error: &dyn std::error::Error) -> Self {
        Self::Encode(error.to_string())
    }

    pub(super) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io(what, Arc::new(error))
    }

    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self::Panicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }

    /// What the operating system said, if it is that which failed.
    pub(super) fn of_system(&self) -> Option<&std::io::Error> {
        match self {
            Self::Sled(::sled::Error::Io(error)) => Some(error),
            Self::Io(_, error) => Some(error.as_ref()),
            _ => None,
        }
    }

    /// Whether the disk is full.
    pub(super) fn is_disk_full(&self) -> bool {
        let kind = self.of_system().map(std::io::Error::kind);
        matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        match error {
            // What it says of the place is of no use to anybody.
            ::sled::Error::Corruption { .. } => Self::corrupt("a page of the database"),
            error => Self::Sled(error),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fatal(fault.to_string().into())
    }
}
