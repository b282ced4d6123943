//! What an operator is told of a store that is not served: what is the matter, and a way out that leads somewhere.
//!
//! What the system refuses (to read a file, to write to a disk) is no damage, and is not told as if it were: whoever
//! then puts back an older copy loses what was in a sound store.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::fault::Fault;
use crate::store::Error;

/// What to do about a damaged directory.
pub(super) const WAYS_OUT: &str = "Put back a copy of the directory; or see what is there with `hookmill store check`, \
                                   and make a new store of it with `hookmill store salvage`";
/// What else, where a start has left it as it is. Whether a gateway could go on, and from where, is known only when
/// sled has opened it, and sled writes to what it opens: the check tries it on a copy.
pub(super) const ROLLBACK: &str = "The check also says whether a gateway can go on without what is lost, and what it \
                                   is then to be given with --accept-rollback-to";

/// A refusal, or a fault that is one at this point.
#[derive(Debug)]
pub(super) enum No {
    Refused(String),
    Fault(Fault),
}

impl No {
    pub(super) fn into_error(self, dir: &Path) -> Error {
        let fault = match self {
            Self::Refused(sentence) => return Error::Refused(sentence),
            Self::Fault(fault) => fault,
        };
        let obstacle = fault.of_system().and_then(|error| obstacle(dir, error));
        let advice = obstacle.unwrap_or_else(|| WAYS_OUT.to_owned());
        Error::Refused(format!("the store in {} can't be opened: {fault}. Nothing was served. {advice}", dir.display()))
    }

    /// Whether it is for what is in the directory, and not for what the system did not let this process do.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Fault(fault) => fault.of_system().is_none(),
        }
    }
}

impl<E: Into<Fault>> From<E> for No {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

/// What stands in the way of a store of which nothing says that it is damaged, and what to do about that.
fn obstacle(dir: &Path, error: &io::Error) -> Option<String> {
    let what = match error.kind() {
        ErrorKind::PermissionDenied => denied(dir),
        ErrorKind::ReadOnlyFilesystem => "its file system is read-only: have it mounted for writing".to_owned(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: free some space".to_owned(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "it is not a folder: name another one".to_owned(),
        _ if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) => {
            "too many files are open: raise the limit (`ulimit -n`, or LimitNOFILE of a systemd unit)".to_owned()
        }
        _ => return None,
    };
    Some(format!("That is no damage: {what}"))
}

/// What may not be used, whose it is, and who wanted to.
fn denied(dir: &Path) -> String {
    let path = barred(dir).unwrap_or_else(|| dir.to_owned());
    let whose = path.metadata().map_or_else(
        |_| String::new(),
        |found| format!(", which belongs to user {} (mode {:03o})", found.uid(), found.mode() & 0o7777),
    );
    format!(
        "this process runs as user {} and may not use {}{whose}; start it as the user that the store belongs to, or \
         give it the whole store (`chown -R`)",
        rustix::process::geteuid().as_raw(),
        path.display()
    )
}

/// What of a store this process may not use: a folder above it, the store's own, or the first such thing in it.
fn barred(dir: &Path) -> Option<PathBuf> {
    let is_barred =
        |path: &Path, wanted: Access| matches!(rustix::fs::access(path, wanted), Err(Errno::ACCESS | Errno::PERM));
    let above: Vec<&Path> = dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
    if let Some(above) = above.into_iter().rev().find(|above| is_barred(above, Access::EXEC_OK)) {
        return Some(above.to_owned());
    }
    let (file, folder) = (Access::READ_OK | Access::WRITE_OK, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    // It may be that it could not be made.
    let nearest = dir.ancestors().find(|path| path.is_dir())?;
    if is_barred(nearest, folder) {
        return Some(nearest.to_owned());
    }
    let mut entries = std::fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| is_barred(path, if path.is_dir() { folder } else { file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_store_is_not_to_be_replaced() {
        let dir = tempfile::TempDir::new().unwrap();
        let told = |fault: Fault| No::from(fault).into_error(dir.path()).to_string();
        let user = format!("runs as user {}", rustix::process::geteuid().as_raw());
        for (error, wanted) in [
            (Errno::ACCESS, user.as_str()),
            (Errno::ROFS, "read-only"),
            (Errno::NOSPC, "free some space"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::NOTDIR, "not a folder"),
        ] {
            let error = || io::Error::from(error);
            for fault in [Fault::io("a file can't be opened")(error()), Fault::Sled(::sled::Error::Io(error()))] {
                let said = told(fault);
                assert!(said.contains(wanted) && said.contains(dir.path().to_str().unwrap()), "{said}");
                assert!(!said.contains("salvage") && !said.contains("Put back"), "{said}");
            }
        }
        for fault in [Fault::io("a file can't be read")(Errno::IO.into()), Fault::corrupt("a page")] {
            assert!(told(fault).contains("hookmill store salvage"));
        }
    }
}
