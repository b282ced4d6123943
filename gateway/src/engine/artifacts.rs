//! Compiled components on disk, by the digest of what was uploaded and the version of what compiled it.
//!
//! An artifact is machine code: loading one that somebody else wrote is running it. So the directory must be
//! ours, writable by us alone, and what is in it must be what this program put there: the SHA-256 of each
//! artifact stands beside it and is compared before it is mapped, which finds damage too. Any doubt costs a
//! compile, never a failure.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::domain::Digest;

/// The directory.
pub(super) struct Artifacts {
    dir: PathBuf,
    /// Differs for every wasmtime version, setting and processor feature that matters.
    compiler: String,
    next_temp: AtomicU64,
}

impl Artifacts {
    /// Opens the directory, making it if need be. `None`, with a warning, if it can't be trusted or used.
    pub(super) fn open(dir: &Path, engine: &wasmtime::Engine) -> Option<Self> {
        if let Err(error) = prepare(dir) {
            tracing::warn!(dir = %dir.display(), %error, "compiled plugins are not kept: the directory can't be used");
            return None;
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compiler = format!("{:016x}", hasher.finish());
        Some(Self { dir: dir.to_owned(), compiler, next_temp: AtomicU64::new(0) })
    }

    /// The component compiled from what has this digest, if it is here and sound.
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest, "cwasm");
        let expected = fs::read_to_string(self.path(digest, "sha256")).ok()?;
        match hash_file(&path) {
            Ok(found) if found == expected.trim() => {}
            Ok(_) => {
                tracing::warn!(%digest, "a compiled plugin on disk is damaged and is compiled anew");
                return None;
            }
            Err(_) => return None,
        }
        #[expect(unsafe_code, reason = "the one call that maps machine code; what makes it sound is said below")]
        // SAFETY: the file holds what `Component::serialize` wrote: `prepare` made sure that no other user can
        // write in the directory, files in it are only ever replaced by renaming, and the SHA-256 recorded
        // when it was written has just been found unchanged. wasmtime itself refuses other versions.
        let component = unsafe { Component::deserialize_file(engine, &path) };
        component.inspect_err(|error| tracing::warn!(%digest, %error, "a compiled plugin on disk can't be loaded")).ok()
    }

    /// Keeps a compiled component.
    pub(super) fn keep(&self, digest: Digest, artifact: &[u8]) -> io::Result<()> {
        // Between the two renames the pair does not match, which reads as damage: a compile, no harm.
        self.write(&self.path(digest, "cwasm"), artifact)?;
        self.write(&self.path(digest, "sha256"), hex(&Sha256::digest(artifact)).as_bytes())
    }

    /// A place for an artifact that another process is to write.
    pub(super) fn place(&self) -> Unkept {
        Unkept(self.temp())
    }

    /// Keeps an artifact that another process of ours has written to its place.
    pub(super) fn adopt(&self, digest: Digest, file: Unkept) -> io::Result<()> {
        let sum = hash_file(&file.0)?;
        fs::rename(&file.0, self.path(digest, "cwasm"))?;
        self.write(&self.path(digest, "sha256"), sum.as_bytes())
    }

    /// Removes all that is not of these, or not made by this compiler.
    pub(super) fn keep_only(&self, known: &HashSet<Digest>) {
        let wanted: HashSet<PathBuf> = known
            .iter()
            .flat_map(|digest| ["cwasm", "sha256"].map(|extension| self.path(*digest, extension)))
            .collect();
        // What this process has not finished writing stays.
        let ours = format!(".{}.", std::process::id());
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let unfinished = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours));
        paths.filter(|path| !wanted.contains(path) && !unfinished(path)).for_each(|path| remove(&path));
    }

    /// Removes what was compiled longest ago, until the rest takes no more than so many bytes.
    pub(super) fn keep_newest(&self, bytes: u64) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let told = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let found = entry.metadata().ok()?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        };
        let mut found: Vec<_> = entries.filter_map(told).collect();
        found.sort_unstable_by(|one, next| next.cmp(one));
        let mut kept: u64 = 0;
        for (_, size, path) in found {
            kept = kept.saturating_add(size);
            if kept > bytes {
                remove(&path);
            }
        }
    }

    fn temp(&self) -> PathBuf {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!(".{}.{number}.tmp", std::process::id()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temp = self.temp();
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temp)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temp, path));
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written
    }

    fn path(&self, digest: Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{}-{}.{extension}", hex(&digest.0), self.compiler))
    }
}

/// A file that another process writes. It is removed with this, unless it has been kept.
pub(super) struct Unkept(PathBuf);

impl Unkept {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        // Kept or never written, it is not there.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes sure that the directory is there, ours, and writable by us alone.
fn prepare(dir: &Path) -> io::Result<()> {
    if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let found = fs::symlink_metadata(dir)?;
    let problem = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others can write to it (chmod go-w)"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a compiled plugin that nobody needs any more can't be removed");
    }
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
