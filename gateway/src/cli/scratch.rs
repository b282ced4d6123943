//! A folder for a run's data, gone when the run is over.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that only this user can look into; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one with a name that nobody can guess, in `within` or where the system keeps such folders.
    pub(super) fn new(within: Option<&Path>, purpose: &str) -> anyhow::Result<Self> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = within.join(format!("hookmill-{purpose}-{:016x}", rand::random::<u64>()));
        // Fails if it is there already, so that nobody can lay one out for us.
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("can't make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed now, the system clears away at its next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_contents() {
        let outer = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(Some(outer.path()), "test").unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let missing = Path::new("/nonexistent/hookmill");
        let error = Scratch::new(Some(missing), "test").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/hookmill"), "{error}");
    }
}
