//! The high-water mark: the number of the last commit, in a file beside sled's, and how far sled's log was written
//! then.
//!
//! A truncated sled file opens without an error, shorter or empty. The mark is how that is noticed: by the log's
//! length before sled changes anything, and by the number of the commit afterwards. So that a mark that was removed is
//! noticed too, it is the first thing that a store has: it says that nothing is committed, and is durable, before sled
//! makes anything.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::fault::Fault;

/// The file's name.
pub(super) const NAME: &str = "commit.mark";
const MAGIC: &[u8; 8] = b"HKMLMARK";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marked {
    /// The number of the last commit.
    pub(super) seq: u64,
    /// How far the log was written; 0 from a version that did not say.
    pub(super) log: i64,
}

impl Marked {
    /// What a store begins with: nothing is committed, and nothing was ever acknowledged.
    pub(super) const NOTHING: Self = Self { seq: 0, log: 0 };
}

/// The open file.
pub(super) struct Mark {
    file: File,
    synced: Instant,
    dirty: bool,
}

impl Mark {
    /// What the file says; `None` if there is none or it is empty, as a first start leaves it that was cut off before
    /// there was anything else; an error if it says something else.
    pub(super) fn read(dir: &Path) -> Result<Option<Marked>, Fault> {
        let bytes = match std::fs::read(dir.join(NAME)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::io("the mark of the last commit can't be read")(error)),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let number = |at| super::keys::bytes_at(&bytes, at).map(u64::from_le_bytes);
        let checked = |at| number(at).zip(number(at + 8)).filter(|(number, check)| *number == !check);
        let log = if bytes.len() == 24 { Some((0, 0)) } else { checked(24) };
        match (bytes.first_chunk(), checked(8), log) {
            (Some(MAGIC), Some((seq, _)), Some((log, _))) => Ok(Some(Marked { seq, log: log.cast_signed() })),
            _ => Err(Fault::corrupt("the mark of the last commit")),
        }
    }

    /// Begins a store: durable when it returns.
    pub(super) fn begin(dir: &Path) -> Result<(), Fault> {
        let mut mark = Self::open(dir)?;
        mark.write(Marked::NOTHING)?;
        mark.sync()
    }

    /// Opens or makes the file, and makes sure that it stays after a power cut.
    pub(super) fn open(dir: &Path) -> Result<Self, Fault> {
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(NAME))?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(Fault::io("the mark of the last commit can't be made"))?;
        Ok(Self { file, synced: Instant::now(), dirty: false })
    }

    /// Writes down a commit; durable after [`Mark::sync`].
    pub(super) fn write(&mut self, Marked { seq, log }: Marked) -> Result<(), Fault> {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&(!seq).to_le_bytes());
        bytes[24..32].copy_from_slice(&log.to_le_bytes());
        bytes[32..].copy_from_slice(&(!log).to_le_bytes());
        self.file.write_all_at(&bytes, 0).map_err(Fault::io("the mark of the last commit can't be written"))?;
        self.dirty = true;
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.dirty) {
            self.file.sync_data().map_err(Fault::io("the mark of the last commit can't be synced"))?;
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// The same, if the last time is longer ago.
    pub(super) fn sync_if_older_than(&mut self, age: Duration) -> Result<(), Fault> {
        if self.synced.elapsed() >= age { self.sync() } else { Ok(()) }
    }
}
