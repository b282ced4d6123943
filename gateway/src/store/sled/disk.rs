//! The disk guard: ingest is refused before the disk is full, while what frees space goes on.
//!
//! sled writes every change as an addition, so that even pruning needs room, and a full disk ends the process.
//! Its file hardly ever shrinks, but space in it is used again: that counts as free here, estimated from the
//! bytes that are alive. A ballast file holds back what an orderly end needs.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::store::{Error, Usage};

/// A disk's size and what is free of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it that this process could use.
    pub total: u64,
    /// What is free.
    pub free: u64,
}

/// Asks for the space of the disk that a directory is on.
pub type Probe = Arc<dyn Fn(&Path) -> std::io::Result<Space> + Send + Sync>;

/// When ingest is refused because of the disk. Raise an alarm earlier, for instance where
/// [`Usage::free_permille`] falls below 200.
#[derive(Clone)]
pub struct DiskGuard {
    /// Refuse from this share in use on, in thousandths; 900.
    pub refuse_permille: u32,
    /// Take again below this share; 850.
    pub clear_permille: u32,
    /// The size of the ballast file in bytes, 0 for none; 64 MiB.
    pub ballast: u64,
    /// Ask the disk at most this often; 1 s.
    pub every: Duration,
    /// How the disk is asked.
    pub probe: Probe,
}

impl Default for DiskGuard {
    fn default() -> Self {
        Self {
            refuse_permille: 900,
            clear_permille: 850,
            ballast: 64 << 20,
            every: Duration::from_secs(1),
            probe: Arc::new(statvfs),
        }
    }
}

/// The file system's own word, as `df` reads it: what only root may use counts as not there.
fn statvfs(dir: &Path) -> std::io::Result<Space> {
    let stat = rustix::fs::statvfs(dir)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let size = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: size(used.saturating_add(stat.f_bavail)), free: size(stat.f_bavail) })
}

/// sled lets at most half of its file be dead before it cleans up, so a file of twice the living bytes may
/// have no room in it.
const AMPLIFICATION: u64 = 2;

/// Whatever can be used again inside sled's file: below this share really free, in thousandths, nothing more is
/// taken in.
const FLOOR_PERMILLE: u32 = 20;

/// A small disk can be filled between two looks at it: it is looked at again when events of this part of what was free
/// have been admitted.
const ADMITTED_UNASKED: u64 = 64;

/// The state of the guard.
pub(super) struct Disk {
    dir: PathBuf,
    guard: DiskGuard,
    live: AtomicU64,
    refusing: AtomicBool,
    free_permille: AtomicU32,
    file_bytes: AtomicU64,
    asked: Mutex<Option<Instant>>,
    /// Bytes of events admitted since then, and how many may be before it is asked again.
    admitted: AtomicU64,
    admissible: AtomicU64,
}

fn permille(part: u64, whole: u64) -> u32 {
    let share = u128::from(part) * 1000 / u128::from(whole.max(1));
    u32::try_from(share).unwrap_or(1000).min(1000)
}

impl Disk {
    pub(super) fn new(dir: &Path, guard: DiskGuard) -> Self {
        Self {
            dir: dir.to_owned(),
            guard,
            live: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            free_permille: AtomicU32::new(1000),
            file_bytes: AtomicU64::new(0),
            asked: Mutex::new(None),
            admitted: AtomicU64::new(0),
            admissible: AtomicU64::new(0),
        }
    }

    /// How many bytes of keys and values are alive.
    pub(super) fn live(&self, bytes: u64) {
        self.live.store(bytes, Ordering::Relaxed);
    }

    /// Asks the disk again if it is time.
    fn look(&self) {
        {
            let mut asked = self.asked.lock();
            let few = self.admitted.load(Ordering::Relaxed) <= self.admissible.load(Ordering::Relaxed);
            if few && asked.is_some_and(|asked| asked.elapsed() < self.guard.every) {
                return;
            }
            self.admitted.store(0, Ordering::Relaxed);
            *asked = Some(Instant::now());
        }
        // A disk that can't be asked is left to fail by itself: refusing then would be an outage of our own.
        let Ok(space) = (self.guard.probe)(&self.dir) else { return };
        self.admissible.store(space.free / ADMITTED_UNASKED, Ordering::Relaxed);
        let file = std::fs::metadata(self.dir.join("db")).map_or(0, |file| file.len());
        self.file_bytes.store(file, Ordering::Relaxed);
        let live = self.live.load(Ordering::Relaxed);
        let reusable = file.saturating_sub(live.saturating_mul(AMPLIFICATION));
        let free = permille(space.free.saturating_add(reusable), space.total);
        self.free_permille.store(free, Ordering::Relaxed);
        let used = 1000 - free;
        let refusing = self.refusing.load(Ordering::Relaxed);
        let limit = if refusing { self.guard.clear_permille } else { self.guard.refuse_permille };
        let now = used >= limit || permille(space.free, space.total) < FLOOR_PERMILLE;
        self.refusing.store(now, Ordering::Relaxed);
    }

    /// An error if so many bytes of events are to be refused.
    pub(super) fn admit(&self, bytes: usize) -> Result<(), Error> {
        self.admitted.fetch_add(bytes as u64, Ordering::Relaxed);
        self.look();
        if !self.refusing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let used = 1000 - self.free_permille.load(Ordering::Relaxed);
        Err(Error::DiskFull(format!(
            "{}.{} % of the disk with {} is in use, and events are taken in again below {} %: free some space, or \
             shorten the retention",
            used / 10,
            used % 10,
            self.dir.display(),
            self.guard.clear_permille / 10,
        )))
    }

    pub(super) fn usage(&self) -> Usage {
        self.look();
        Usage {
            bytes_on_disk: self.file_bytes.load(Ordering::Relaxed),
            free_permille: self.free_permille.load(Ordering::Relaxed),
            refusing: self.refusing.load(Ordering::Relaxed),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Puts the ballast in its place. Without room for it, or on a file system that can't reserve, there is none.
    pub(super) fn load_ballast(&self) {
        if self.guard.ballast == 0 {
            return;
        }
        let Ok(file) = OpenOptions::new().write(true).create(true).truncate(true).open(self.ballast()) else { return };
        let flags = rustix::fs::FallocateFlags::empty();
        if rustix::fs::fallocate(&file, flags, 0, self.guard.ballast).is_err() {
            self.drop_ballast();
        }
    }

    /// Gives the ballast up, so that there is room for an orderly end.
    pub(super) fn drop_ballast(&self) {
        // Where there is none, or it can't be removed, nothing better can be done.
        let _ = std::fs::remove_file(self.ballast());
    }
}
