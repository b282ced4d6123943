//! A store that is not served: checked, read out, or made anew.
//!
//! **Who acts.** The command line, for an operator whose gateway refuses to start. **What is promised.** The data
//! folder stays as it is, and no gateway serves it meanwhile: see [`Inspection`]. A salvaged folder appears whole or
//! not at all. **What is deliberately not.** No secret is opened, so the master key is not asked for; it is only
//! carried over, since a store is of no use without it.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::store_folder;
use crate::config;
use crate::store::sled::Inspection;
pub use crate::store::sled::{Checked, Exported, Reach, Salvaged, Wrongs};

/// Checks the store in a data folder; `scratch` is an empty folder for the copy that is opened.
///
/// # Errors
/// If there is none, if it is in use, or if nothing of it can be opened.
pub fn check(data: &Path, scratch: &Path, seen: impl FnMut(u64)) -> anyhow::Result<Checked> {
    Ok(Inspection::open(&store_folder(data), scratch)?.check(seen))
}

/// Writes what can be read of the store in a data folder to `out`, as JSON lines.
///
/// # Errors
/// As for [`check`], and if `out` can't be written to.
pub fn export(data: &Path, scratch: &Path, out: &mut dyn Write, seen: impl FnMut(u64)) -> anyhow::Result<Exported> {
    let inspection = Inspection::open(&store_folder(data), scratch)?;
    inspection.export(out, seen).context("the export could not be written")
}

/// Makes a new data folder of what can be read of another. Gives also the new master key file, if there was an old one
/// beside the old folder.
///
/// # Errors
/// As for [`check`], and if the new folder is not empty or can't be written to.
pub fn salvage(
    data: &Path,
    to: &Path,
    scratch: &Path,
    seen: impl FnMut(u64),
) -> anyhow::Result<(Salvaged, Option<PathBuf>)> {
    let inspection = Inspection::open(&store_folder(data), scratch)?;
    DirBuilder::new().recursive(true).mode(0o700).create(to).with_context(|| format!("can't make {}", to.display()))?;
    let is_empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    anyhow::ensure!(is_empty, "{} is not empty: give the new store a folder of its own", to.display());
    let (old_key, new_key) = (config::key_file_beside(data), config::key_file_beside(to));
    anyhow::ensure!(!new_key.exists(), "{} is there already: give the new store another name", new_key.display());
    let (unfinished, finished) = (to.join("sled.unfinished"), store_folder(to));
    DirBuilder::new().mode(0o700).create(&unfinished)?;
    let salvaged = inspection.salvage(&unfinished, seen)?;
    fs::rename(&unfinished, &finished)?;
    let key = old_key.exists().then_some(new_key);
    if let Some(new_key) = &key {
        // With its permissions: nobody else may read it.
        fs::copy(&old_key, new_key).with_context(|| format!("can't copy {}", old_key.display()))?;
        fs::File::open(new_key)?.sync_all()?;
    }
    fs::File::open(to)?.sync_all()?;
    Ok((salvaged, key))
}
