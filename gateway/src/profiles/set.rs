//! All profiles there are: those compiled in and those of the operator's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use super::file::{self, Fault};
use super::{Profile, shipped};
use crate::domain::FieldError;

/// The largest file; the largest shipped one has 115 KB.
const MOST_BYTES: u64 = 1 << 20;
/// Most files of a folder.
const MOST_FILES: usize = 1_000;

/// What the samples of a profile hold as data, by event and sample.
pub type Proven = Vec<Vec<Box<str>>>;

/// The rest of a file's check, by rooms that come later: whether its halves mean something, and what its source half
/// reads from each sample. The errors' places are pointers into the file.
pub type Check<'a> = &'a dyn Fn(&Profile) -> Result<Proven, Vec<FieldError>>;

/// A mistake that keeps a file from counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file, as it is called in its folder.
    pub file: String,
    /// The line, from 1; `None` if it is not about one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// Profiles by name.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<String, Arc<Profile>>);

impl Profiles {
    /// The profiles that are compiled in, and what is wrong with those that are not among them: nothing, as a test
    /// holds.
    #[must_use]
    pub fn shipped(check: Check<'_>) -> (Self, Vec<Broken>) {
        let mut all = Self::default();
        let mut broken = Vec::new();
        for (name, text) in shipped::FILES {
            match file::read(text, true, check) {
                Ok(profile) => {
                    all.0.insert(profile.name.clone(), Arc::new(profile));
                }
                Err(faults) => broken.extend(told(&format!("{name}.toml"), faults)),
            }
        }
        (all, broken)
    }

    /// The shipped ones of `self` and those that the files `*.toml` of a folder hold. Where a file is broken, what
    /// `self` has under its name stays.
    #[must_use]
    pub fn with_folder(&self, folder: &Path, check: Check<'_>) -> (Self, Vec<Broken>) {
        let mut all =
            Self(self.0.iter().filter(|(_, one)| one.is_shipped).map(|(k, v)| (k.clone(), v.clone())).collect());
        let files = match files(folder) {
            Ok(files) => files,
            Err(reason) => {
                return (self.clone(), vec![Broken { file: folder.display().to_string(), line: None, reason }]);
            }
        };
        let mut broken = Vec::new();
        for path in files {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let file = format!("{name}.toml");
            let read = match text(&path) {
                Ok(text) => file::read(&text, false, check).map_err(|faults| told(&file, faults)),
                Err(reason) => Err(vec![Broken { file: file.clone(), line: None, reason }]),
            };
            match read {
                Ok(profile) if all.0.get(&profile.name).is_some_and(|one| one.is_shipped) => broken.push(Broken {
                    file,
                    line: Some(1),
                    reason: format!("`{}` is a profile that comes with Hookmill; choose another name", profile.name),
                }),
                Ok(profile) if profile.name != name => broken.push(Broken {
                    line: Some(1),
                    reason: format!("the profile is called `{}`; rename the file to {0}.toml", profile.name),
                    file,
                }),
                Ok(profile) => {
                    all.0.insert(name, Arc::new(profile));
                }
                Err(faults) => {
                    broken.extend(faults);
                    if let Some(before) = self.0.get(&name).filter(|one| !one.is_shipped) {
                        all.0.insert(name, before.clone());
                    }
                }
            }
        }
        (all, broken)
    }

    /// The profile of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.0.get(name)
    }

    /// The profile of this name, for subscriptions.
    ///
    /// # Errors
    /// If there is none, or it is none for subscriptions, in a sentence.
    pub fn for_delivery(&self, name: &str) -> Result<&Arc<Profile>, String> {
        let profile =
            self.get(name).ok_or_else(|| format!("there is no profile `{name}`; GET /v1/profiles lists them"))?;
        match profile.delivery {
            Some(_) => Ok(profile),
            None => Err(format!("the profile `{name}` says nothing of subscriptions: it is for sources")),
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

fn told(file: &str, faults: Vec<Fault>) -> Vec<Broken> {
    let told = |fault: Fault| Broken { file: file.to_owned(), line: Some(fault.line), reason: fault.reason };
    faults.into_iter().map(told).collect()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unread = |error: std::io::Error| format!("the folder can't be read: {error}");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    if files.len() > MOST_FILES {
        return Err(format!("there are {} files; at most {MOST_FILES} are read", files.len()));
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| format!("can't be read: {error}"))?.len();
    if length > MOST_BYTES {
        return Err(format!("has {length} bytes; at most {MOST_BYTES} are read"));
    }
    let bytes = fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}
