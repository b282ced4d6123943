//! A component made ready to run, and what it says of itself.
//!
//! The code of one whose artifact is not on disk comes later, when it has been compiled again; whoever calls it
//! meanwhile waits for that.

use std::fmt;

use tokio::sync::SetOnce;
use wasmtime::component::Component;

use super::bindings::connector::ConnectorPre;
use super::bindings::transform::TransformPre;
use super::contract::Contract;
use super::error::{Cause, InstallError};
use super::fault::fault;
use super::guest::Guest;
use super::runtime::Linkers;
use crate::domain::{Digest, Fault, FaultKind, Kind, Manifest, PluginVersion};

/// A component made ready to run. Holds no instance; a thousand of these are cheap.
pub struct Plugin {
    manifest: Manifest,
    digest: Digest,
    size: u64,
    code: SetOnce<Result<Code, Fault>>,
}

/// What of it runs.
pub(super) enum Code {
    Transform(TransformPre<Guest>),
    Connector(ConnectorPre<Guest>),
}

impl Code {
    /// Joins a component with what it may call.
    pub(super) fn link(
        component: &Component,
        (kind, contract): (Kind, Contract),
        linkers: &Linkers,
    ) -> Result<Self, InstallError> {
        let wrong = |error: wasmtime::Error| InstallError::WrongTypes(Cause::of(error));
        Ok(match (contract, kind) {
            (Contract::V0_1, Kind::Transform) => {
                let linked = linkers.transform.instantiate_pre(component).map_err(wrong)?;
                Self::Transform(TransformPre::new(linked).map_err(wrong)?)
            }
            (Contract::V0_1, Kind::Connector) => {
                let linked = linkers.connector.instantiate_pre(component).map_err(wrong)?;
                Self::Connector(ConnectorPre::new(linked).map_err(wrong)?)
            }
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Transform(_) => Kind::Transform,
            Self::Connector(_) => Kind::Connector,
        }
    }
}

impl Plugin {
    pub(super) fn new(manifest: Manifest, digest: Digest, size: u64, code: Code) -> Self {
        Self { manifest, digest, size, code: SetOnce::new_with(Some(Ok(code))) }
    }

    /// One that was admitted before, and whose code comes later: see [`Engine::revive`](super::Engine::revive).
    #[must_use]
    pub fn awaited(version: &PluginVersion) -> Self {
        let PluginVersion { name, manifest, digest, size, .. } = version;
        let manifest = Manifest { name: name.clone(), ..manifest.clone() };
        Self { manifest, digest: *digest, size: *size, code: SetOnce::new() }
    }

    /// The code has come, or it is known why it never will.
    pub(super) fn arrive(&self, code: Result<Code, Fault>) {
        // What is there already is of the same bytes.
        let _ = self.code.set(code);
    }

    pub(super) fn into_code(self) -> Result<Code, Fault> {
        let missing = || fault(FaultKind::Engine, "a plugin was made without its code");
        self.code.into_inner().unwrap_or_else(|| Err(missing()))
    }

    /// The code, once it is there.
    pub(super) async fn code(&self) -> Result<&Code, Fault> {
        self.code.wait().await.as_ref().map_err(Clone::clone)
    }

    /// Whether a call can begin at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.code.initialized()
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.manifest.name = name;
        self
    }

    /// What it says of itself, checked.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of the bytes that were uploaded.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes were uploaded.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {})", self.manifest.reference(), self.digest)
    }
}
