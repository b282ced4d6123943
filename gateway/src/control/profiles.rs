//! Profiles: which there are, and reading the operator's folder again.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Control, Error, Result};
use crate::pipeline::Pipeline;
use crate::profiles::{Broken, Profile, Profiles};

/// What came of reading the folder.
#[derive(Debug)]
pub struct Reloaded {
    /// The profiles there are now that do not come with Hookmill.
    pub loaded: Vec<Arc<Profile>>,
    /// What kept files from counting.
    pub broken: Vec<Broken>,
}

/// The profiles that come with Hookmill, and those of a folder if one is named. What is broken is logged, and keeps
/// nothing from starting.
#[must_use]
pub fn load_profiles(folder: Option<&std::path::Path>) -> Profiles {
    let (shipped, mut broken) = Profiles::shipped(&Pipeline::prove);
    let all = match folder {
        Some(folder) => {
            let (all, more) = shipped.with_folder(folder, &Pipeline::prove);
            broken.extend(more);
            all
        }
        None => shipped,
    };
    log(&broken);
    all
}

impl Control {
    /// Takes profiles from this folder, too, when they are loaded again.
    #[must_use]
    pub fn with_profile_folder(mut self, folder: PathBuf) -> Self {
        self.profile_folder = Some(folder);
        self
    }

    /// The profiles there are, by name.
    #[must_use]
    pub fn profiles(&self) -> Vec<Arc<Profile>> {
        self.registry.profiles().iter().cloned().collect()
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn profile(&self, name: &str) -> Result<Arc<Profile>> {
        self.registry.profiles().get(name).cloned().ok_or(Error::NotFound("profile"))
    }

    /// Reads the operator's folder again. A file that is broken is refused; the others count, and what was loaded
    /// under its name before stays.
    ///
    /// # Errors
    /// If no folder is configured; those of the store.
    pub async fn reload_profiles(&self) -> Result<Reloaded> {
        let Some(folder) = self.profile_folder.clone() else {
            return Err(Error::Conflict(
                "there is no folder of profiles; name one with --profiles or profiles.dir and start again".to_owned(),
            ));
        };
        let _changing = self.changing.lock().await;
        let before = self.registry.profiles();
        let read = tokio::task::spawn_blocking(move || before.with_folder(&folder, &Pipeline::prove));
        let (all, broken) = read.await.map_err(|error| Error::Internal(error.to_string()))?;
        log(&broken);
        let loaded: Vec<_> = all.iter().filter(|profile| !profile.is_shipped).cloned().collect();
        tracing::info!(loaded = loaded.len(), broken = broken.len(), "profiles were read again");
        for (tenant, id) in self.registry.set_profiles(Arc::new(all)).await {
            self.pipeline.changed(tenant, id).await?;
        }
        Ok(Reloaded { loaded, broken })
    }
}

fn log(broken: &[Broken]) {
    for one in broken {
        tracing::error!(
            file = one.file,
            line = one.line,
            reason = one.reason,
            "a profile is broken and does not count: {one}"
        );
    }
}
