//! The user's own folders, by the XDG base directory specification
//! (<https://specifications.freedesktop.org/basedir-spec/latest/>).

use std::path::PathBuf;

/// For settings: `$XDG_CONFIG_HOME/hookmill`, else `~/.config/hookmill`.
///
/// # Errors
/// If neither variable is set.
pub(super) fn settings() -> anyhow::Result<PathBuf> {
    of("XDG_CONFIG_HOME", ".config")
        .ok_or_else(|| anyhow::anyhow!("there is no folder for settings: set HOME or XDG_CONFIG_HOME"))
}

/// For what can be made again: `$XDG_CACHE_HOME/hookmill`, else `~/.cache/hookmill`; `None` if neither variable is set.
pub(super) fn cache() -> Option<PathBuf> {
    of("XDG_CACHE_HOME", ".cache")
}

fn of(variable: &str, usual: &str) -> Option<PathBuf> {
    // A path that is not absolute counts as none, says the specification.
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = folder(variable).or_else(|| Some(folder("HOME")?.join(usual)))?;
    Some(folder.join("hookmill"))
}
