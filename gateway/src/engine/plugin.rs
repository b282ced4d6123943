//! A component made ready to run, and what it says of itself.
//!
//! The code of one whose artifact is not on disk comes later, when it has been compiled again; whoever calls it
//! meanwhile waits for that.

use std::fmt;

use tokio::sync::SetOnce;
use wasmtime::Store;
use wasmtime::component::Component;

use super::ask::Instance;
use super::bindings::connector::ConnectorPre;
use super::bindings::transform::TransformPre;
use super::contract::Contract;
use super::error::{Cause, InstallError};
use super::fault::{Stage, fault};
use super::guest::Guest;
use super::runtime::Linkers;
use crate::domain::{Digest, Fault, FaultKind, Kind, Manifest, PluginVersion};

/// From these on, both of them, a guest is slow to start: 4 MiB of memory and 2,000 table elements. CPython begins with
/// 12.5 MiB and 5,672 and takes 1,000 to 1,700 µs; QuickJS with 1.4 MiB and 738 and takes 60 µs; the largest preset
/// with 1.1 MiB and 537, and takes under 15 µs.
const SLOW_MEMORY_PAGES: u64 = 64;
const SLOW_TABLE_ELEMENTS: u64 = 2_000;

/// A component made ready to run. Holds no instance; a thousand of these are cheap.
pub struct Plugin {
    manifest: Manifest,
    digest: Digest,
    size: u64,
    /// It came with the gateway.
    is_own: bool,
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

    pub(super) async fn instantiate(&self, store: &mut Store<Guest>) -> Result<Instance, Stage> {
        match self {
            Self::Transform(code) => code.instantiate_async(store).await.map(Instance::Transform),
            Self::Connector(code) => code.instantiate_async(store).await.map(Instance::Connector),
        }
        .map_err(Stage::Start)
    }

    /// Whether starting costs it many times what its work does: it brings both a large memory image and a large table
    /// of functions, as an interpreter for a large language does and nothing else that was measured.
    pub(super) fn is_slow_to_start(&self) -> bool {
        let component = match self {
            Self::Transform(code) => code.instance_pre().component(),
            Self::Connector(code) => code.instance_pre().component(),
        };
        component.resources_required().is_some_and(|needs| {
            needs.max_initial_memory_size.is_some_and(|pages| pages >= SLOW_MEMORY_PAGES)
                && needs.max_initial_table_size.is_some_and(|elements| elements >= SLOW_TABLE_ELEMENTS)
        })
    }
}

impl Plugin {
    pub(super) fn new(manifest: Manifest, digest: Digest, size: u64, code: Code) -> Self {
        Self { manifest, digest, size, is_own: false, code: SetOnce::new_with(Some(Ok(code))) }
    }

    /// The same as one that came with the gateway, and is known to remember nothing.
    pub(super) fn own(self) -> Self {
        Self { is_own: true, ..self }
    }

    /// Whether it came with the gateway.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// One that was admitted before, and whose code comes later: see [`Engine::revive`](super::Engine::revive).
    #[must_use]
    pub fn awaited(version: &PluginVersion) -> Self {
        let PluginVersion { name, manifest, digest, size, .. } = version;
        let manifest = Manifest { name: name.clone(), ..manifest.clone() };
        Self { manifest, digest: *digest, size: *size, is_own: false, code: SetOnce::new() }
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
