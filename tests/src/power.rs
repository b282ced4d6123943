//! Power cuts: what a disk would hold of a gateway's folder if the power failed.
//!
//! `kill -9` leaves the kernel's page cache, so that nothing of it shows whether anything was synced. A library that
//! is preloaded into the gateway (`tests/powercut/shim.c`, which says what it promises) keeps a copy of what really
//! was; after a cut the gateway finds that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// What a disk does with writes that nobody asks it to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// None of them is there after a cut.
    Lost,
    /// Some were written back by then, by this seed, a few of them in part.
    Some(u64),
    /// All are lost, and so is what each commit syncs, as if the gateway had left that out; sled's own syncs count.
    LostWithCommits,
}

/// The disk of one gateway.
#[derive(Clone)]
pub(crate) struct Power {
    unsynced: Unsynced,
    kept: Arc<TempDir>,
}

impl Power {
    pub(crate) fn new(unsynced: Unsynced) -> Self {
        Self { unsynced, kept: Arc::new(tempfile::tempdir().expect("a folder for what is kept")) }
    }

    /// The variables that a process needs whose files under `root` are to be followed.
    pub(crate) fn env(&self, root: &Path) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("a temporary folder's name is text").to_owned();
        let mut env = vec![
            ("LD_PRELOAD", text(&shim())),
            ("POWERCUT_ROOT", text(root)),
            ("POWERCUT_KEEP", text(self.kept.path())),
        ];
        match self.unsynced {
            Unsynced::Lost => {}
            Unsynced::Some(seed) => {
                env.extend([("POWERCUT_EAGER", "40".to_owned()), ("POWERCUT_SEED", seed.to_string())]);
            }
            // Named so by sled.
            Unsynced::LostWithCommits => env.push(("POWERCUT_DEAF", "db".to_owned())),
        }
        env
    }

    /// From the next start on, everything that is there counts as kept: the machine was shut down in order.
    pub(crate) fn settle(&self) {
        empty(self.kept.path());
    }

    /// Puts what was kept in the place of everything under `root`, whose process has ended.
    pub(crate) fn cut(&self, root: &Path) {
        // A process that was killed before its first file was followed has changed nothing.
        if self.kept.path().join("d0").is_file() {
            empty(root);
            lay_out(self.kept.path(), "0", root);
        }
        self.settle();
    }
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("what is in it can be removed");
    }
}

/// Makes a folder's contents of what was kept of it, which is moved there: a name without content had none that was synced.
fn lay_out(kept: &Path, id: &str, to: &Path) {
    let Ok(names) = fs::read_to_string(kept.join(format!("d{id}"))) else { return };
    for line in names.lines() {
        let mut parts = line.splitn(3, ' ');
        let (Some(kind), Some(id), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("a line of the shim's: {line}")
        };
        let (to, bytes) = (to.join(name), kept.join(format!("f{id}")));
        if kind == "d" {
            fs::create_dir(&to).expect("a folder can be made");
            lay_out(kept, id, &to);
        } else if bytes.is_file() {
            fs::rename(bytes, &to).expect("a file can be moved");
        } else {
            fs::write(&to, "").expect("a file can be made");
        }
    }
}

/// The library, compiled once by each test process that needs it.
fn shim() -> PathBuf {
    static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = MADE.lock().expect("compiling does not panic twice");
    if let Some(path) = &*made {
        return path.clone();
    }
    let folder = crate::binary().with_file_name("../tmp");
    fs::create_dir_all(&folder).expect("cargo's folder for what tests leave behind");
    let path = folder.join(format!("powercut-{}.so", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("powercut/shim.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&path, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    made.insert(path).clone()
}
