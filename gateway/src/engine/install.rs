//! Makes plugins ready: looked at, compiled or found on disk, asked what they are.
//!
//! The operator's own are compiled here, in this process; what a tenant uploads in another ([`compiler`]), whose part is
//! [`Engine::work`]. Either way what was compiled is kept by the digest of the bytes, so that a start finds it.
//!
//! [`compiler`]: super::compiler

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::artifacts::{Artifacts, Unkept};
use super::ask::Instance;
use super::compiler::Compiled;
use super::contract::Contract;
use super::convert;
use super::engine::{Engine, Inner};
use super::error::{Cause, InstallError};
use super::fault::{self, Stage};
use super::intake;
use super::manifest;
use super::plugin::{Code, Plugin};
use crate::domain::{Digest, Fault, FaultKind, Kind, Manifest, TenantId};

/// Most bytes of what is compiled of an upload: so many, and so many times the bytes that came. Machine code is four or
/// five times as large. But two bytes of data far apart in a memory become sixteen mebibytes of its first image, for each
/// memory of each module in a component, and the disk is everybody's.
pub(super) const COMPILED: usize = 4 << 20;
pub(super) const COMPILED_FACTOR: usize = 32;

impl Engine {
    /// Makes a plugin of the operator's own bytes, in this process: a component, or a core module that carries its
    /// component type. Looks at its imports and exports, compiles it unless its artifact is on disk, asks it what it is
    /// under the limits of any call, and checks the answer. One at a time; the others wait.
    ///
    /// # Errors
    /// What is wrong with it, for the person who made it.
    pub async fn install(&self, bytes: &[u8]) -> Result<Arc<Plugin>, InstallError> {
        self.install_here(bytes).await.map(Arc::new)
    }

    /// The same of what comes with the gateway, whose instances are kept for later events of the same subscription. It
    /// waits for no other: at a first start nobody else needs the cores yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn install_own(&self, bytes: &[u8]) -> Result<Arc<Plugin>, InstallError> {
        Ok(Arc::new(self.make(bytes).await?.own()))
    }

    async fn install_here(&self, bytes: &[u8]) -> Result<Plugin, InstallError> {
        let _one = self.0.installing.acquire().await;
        self.make(bytes).await
    }

    async fn make(&self, bytes: &[u8]) -> Result<Plugin, InstallError> {
        let size = bytes.len();
        self.check_size(size)?;
        let (inner, bytes) = (Arc::clone(&self.0), bytes.to_vec());
        // Compiling takes from milliseconds to seconds, and a panic in it must stay there.
        let (digest, code, contract) = tokio::task::spawn_blocking(move || inner.prepare(&bytes))
            .await
            .map_err(|error| InstallError::Interrupted(Cause::of(error)))??;
        let manifest = self.describe(&code, contract).await?;
        Ok(Plugin::new(manifest, digest, size as u64, code))
    }

    fn check_size(&self, size: usize) -> Result<(), InstallError> {
        let limit = self.0.config.component;
        if size > limit { Err(InstallError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// The same of what a tenant has uploaded, whose digest is known: in a process of its own, one at a time, tenants in
    /// turn. Also says how much processor time that took, however it ended.
    pub async fn admit(
        &self,
        tenant: TenantId,
        digest: Digest,
        bytes: &[u8],
    ) -> (Result<Plugin, InstallError>, Duration) {
        if let Err(error) = self.check_size(bytes.len()) {
            return (Err(error), Duration::ZERO);
        }
        let Some(compiler) = &self.0.compiler else {
            let begun = Instant::now();
            return (self.install_here(bytes).await, begun.elapsed());
        };
        let Some(artifacts) = &self.0.artifacts else { return (Err(InstallError::NoFolder), Duration::ZERO) };
        let Compiled { result, cost } =
            compiler.compile(tenant, bytes, artifacts, &self.0.config, self.0.aside.workers()).await;
        let plugin = match result {
            Ok((manifest, file)) => self.adopt(manifest, digest, bytes.len(), file).await,
            Err(error) => Err(error),
        };
        (plugin, cost)
    }

    /// Takes over what the other process has compiled.
    async fn adopt(
        &self,
        manifest: Manifest,
        digest: Digest,
        size: usize,
        file: Unkept,
    ) -> Result<Plugin, InstallError> {
        let (inner, world) = (Arc::clone(&self.0), (manifest.kind, Contract::named(&manifest.contract)?));
        let load = move || {
            let artifacts = inner.artifacts.as_ref().ok_or(InstallError::NoFolder)?;
            artifacts.adopt(digest, file).map_err(|error| InstallError::Interrupted(Cause::of(error)))?;
            inner.compiled.fetch_add(1, Ordering::Relaxed);
            inner.load(digest, world).ok_or_else(|| InstallError::Interrupted(Cause::said("what was compiled is gone")))
        };
        let code = tokio::task::spawn_blocking(load).await;
        let code = code.map_err(|error| InstallError::Interrupted(Cause::of(error)))??;
        Ok(Plugin::new(manifest, digest, size as u64, code))
    }

    /// Finds what was compiled at an earlier start of a plugin that was made with [`Plugin::awaited`]; `false`: it is not
    /// on disk any more, is damaged, or another engine's, and has to be made again.
    pub async fn revive(&self, plugin: &Plugin) -> bool {
        // Of a contract that is not spoken any more there is nothing to find, and `rebuild` says so.
        let Ok(contract) = Contract::named(&plugin.manifest().contract) else { return false };
        let (inner, digest, kind) = (Arc::clone(&self.0), plugin.digest(), plugin.manifest().kind);
        let found = tokio::task::spawn_blocking(move || inner.load(digest, (kind, contract))).await;
        match found {
            Ok(Some(code)) => {
                plugin.arrive(Ok(code));
                true
            }
            _ => false,
        }
    }

    /// Compiles a plugin again whose code was not found, from the bytes that were uploaded; `None`: they are lost. If it
    /// can't be compiled any more, its calls end in a fault that says so.
    pub async fn rebuild(&self, plugin: &Plugin, tenant: TenantId, bytes: Option<Vec<u8>>) {
        let code = self.compile_again(plugin, tenant, bytes).await.map_err(|message| Fault {
            kind: FaultKind::Engine,
            message,
            retryable: true,
        });
        if let Err(fault) = &code {
            tracing::error!(?plugin, %fault, "a plugin can't be run");
        }
        plugin.arrive(code);
    }

    async fn compile_again(&self, plugin: &Plugin, tenant: TenantId, bytes: Option<Vec<u8>>) -> Result<Code, String> {
        let digest = plugin.digest();
        let whole = tokio::task::spawn_blocking(move || {
            bytes.filter(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)) == digest.0)
        });
        let Ok(Some(bytes)) = whole.await else {
            return Err("the bytes of this plugin are lost; upload it again, as another version".to_owned());
        };
        let made = self.admit(tenant, digest, &bytes).await.0.map_err(|error| {
            let error = anyhow::Error::from(error);
            format!("this plugin could not be compiled again: {error:#}")
        })?;
        made.into_code().map_err(|fault| fault.message)
    }

    /// Removes what was compiled of all but these.
    pub async fn keep_only(&self, known: HashSet<Digest>) {
        self.sweep(move |artifacts| artifacts.keep_only(&known)).await;
    }

    /// Removes what was compiled longest ago, until the rest takes no more than so many bytes.
    pub async fn keep_newest(&self, bytes: u64) {
        self.sweep(move |artifacts| artifacts.keep_newest(bytes)).await;
    }

    async fn sweep(&self, sweep: impl Fn(&Artifacts) + Send + 'static) {
        let inner = Arc::clone(&self.0);
        let sweep = move || inner.artifacts.iter().for_each(sweep);
        // A sweep that panics leaves files, which the next one finds.
        let _ = tokio::task::spawn_blocking(sweep).await;
    }

    /// What the other process does: as [`install`](Self::install) does, but for the artifact, which is given and not
    /// kept.
    pub(super) async fn work(&self, bytes: &[u8]) -> Result<(Manifest, Vec<u8>), InstallError> {
        let component = intake::component(bytes, self.0.config.component)?;
        let world = intake::survey(&component)?;
        let compiled = self.0.translate(&component)?;
        self.0.check_imports(&compiled)?;
        let code = Code::link(&compiled, world, &self.0.linkers)?;
        let manifest = self.describe(&code, world.1).await?;
        let artifact = compiled.serialize().map_err(|error| InstallError::Compile(Cause::of(error)))?;
        let (size, limit) = (artifact.len(), COMPILED.saturating_add(bytes.len().saturating_mul(COMPILED_FACTOR)));
        if size > limit { Err(InstallError::TooBulky { size, limit }) } else { Ok((manifest, artifact)) }
    }

    /// Asks a component what it is. It takes no turn: there is no tenant to charge, and only one is installed at
    /// a time.
    async fn describe(&self, code: &Code, contract: Contract) -> Result<Manifest, InstallError> {
        let mut call = self.begin(None, false).await;
        let (store, watch) = call.parts();
        let work = async {
            match code.instantiate(store).await? {
                Instance::Transform(guest) => guest.call_describe(store).await,
                Instance::Connector(guest) => guest.call_describe(store).await,
            }
            .map_err(Stage::Run)
        };
        let result = match watch.run(work).await {
            Err(Stage::Start(error)) if fault::is_mismatch(&error) => {
                return Err(InstallError::WrongTypes(Cause::of(error)));
            }
            result => result,
        };
        let manifest =
            call.end(result, |said| Ok(convert::manifest(said)), |_| {}).result.map_err(InstallError::Describe)?;
        manifest::check(&manifest, code.kind(), contract)?;
        Ok(manifest)
    }
}

/// What takes long: on a thread of its own.
impl Inner {
    fn prepare(&self, bytes: &[u8]) -> Result<(Digest, Code, Contract), InstallError> {
        let digest = Digest(Sha256::digest(bytes).into());
        let component = intake::component(bytes, self.config.component)?;
        let world = intake::survey(&component)?;
        let component = match self.artifacts.as_ref().and_then(|kept| kept.load(&self.wasmtime, digest)) {
            Some(component) => component,
            None => self.compile(&component, digest)?,
        };
        self.check_imports(&component)?;
        Ok((digest, Code::link(&component, world, &self.linkers)?, world.1))
    }

    /// The code that was compiled of what has this digest, if it is on disk and sound.
    fn load(&self, digest: Digest, world: (Kind, Contract)) -> Option<Code> {
        let component = self.artifacts.as_ref()?.load(&self.wasmtime, digest)?;
        Code::link(&component, world, &self.linkers)
            .inspect_err(|error| tracing::warn!(%digest, %error, "a compiled plugin on disk does not fit"))
            .ok()
    }

    fn translate(&self, component: &[u8]) -> Result<Component, InstallError> {
        Component::from_binary(&self.wasmtime, component).map_err(|error| {
            // The pool's refusals have no type of their own.
            match error.chain().map(ToString::to_string).find(|cause| cause.contains("exceeds the")) {
                Some(detail) => InstallError::TooMuch { detail },
                None => InstallError::Compile(Cause::of(error)),
            }
        })
    }

    fn compile(&self, component: &[u8], digest: Digest) -> Result<Component, InstallError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.translate(component)?;
        let Some(artifacts) = &self.artifacts else { return Ok(compiled) };
        let kept = compiled
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|artifact| artifacts.keep(digest, &artifact).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(%digest, error, "a compiled plugin could not be kept on disk");
            return Ok(compiled);
        }
        // Mapped from the file, its code is memory the kernel can take back.
        Ok(artifacts.load(&self.wasmtime, digest).unwrap_or(compiled))
    }

    /// Refuses what [`intake::survey`] can't see: bare functions, and functions `host` does not have.
    fn check_imports(&self, component: &Component) -> Result<(), InstallError> {
        for (name, import) in component.component_type().imports(&self.wasmtime) {
            match import.ty {
                ComponentItem::Type(_) => {}
                ComponentItem::ComponentInstance(instance) => {
                    for (item, export) in instance.exports(&self.wasmtime) {
                        if !matches!(export.ty, ComponentItem::Type(_)) && item != "log" {
                            return Err(intake::refuse_import(&format!("{name}#{item}")));
                        }
                    }
                }
                _ => return Err(intake::refuse_import(name)),
            }
        }
        Ok(())
    }
}
