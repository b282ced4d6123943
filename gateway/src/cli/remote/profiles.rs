//! Saved servers and keys.
//!
//! They lie in `profiles.toml` in the user's folder for settings (`$XDG_CONFIG_HOME/hookmill`, else
//! `~/.config/hookmill`). Keys are in it, so nobody else may read it: it is made so, and refused otherwise.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::cli::folders;
use crate::domain::Secret;

/// A server and the key for it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Profile {
    pub(in crate::cli) server: String,
    pub(in crate::cli) key: Secret,
}

/// All that are saved, and the one in use.
#[derive(Debug, Default)]
pub(in crate::cli) struct Profiles {
    named: BTreeMap<String, Profile>,
    current: Option<String>,
}

impl Profiles {
    /// Those of this user; none where there is no file.
    pub(in crate::cli) fn read() -> anyhow::Result<Self> {
        // Without a home folder nothing can have been saved.
        place().map_or_else(|_| Ok(Self::default()), |file| Self::read_from(&file))
    }

    fn read_from(file: &Path) -> anyhow::Result<Self> {
        let mut open = match File::open(file) {
            Ok(open) => open,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", file.display())),
        };
        // Of the open file, so that nobody can exchange it in between.
        let mode = open.metadata()?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "{} has keys in it and may be used by others (mode {mode:o}); make it yours alone: chmod 600 {}",
            file.display(),
            file.display(),
        );
        let mut text = String::new();
        open.read_to_string(&mut text).with_context(|| format!("can't read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} can't be understood", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let document: DocumentMut = text.parse()?;
        let mut profiles =
            Self { current: document.get("current").and_then(Item::as_str).map(str::to_owned), ..Self::default() };
        for (name, item) in document.get("profiles").and_then(Item::as_table_like).into_iter().flat_map(|of| of.iter())
        {
            let field = |field: &str| {
                let found = item.get(field).and_then(Item::as_str).map(str::to_owned);
                found.with_context(|| format!("the profile `{name}` has no `{field}`"))
            };
            let profile = Profile { server: field("server")?, key: Secret::new(field("key")?) };
            profiles.named.insert(name.to_owned(), profile);
        }
        Ok(profiles)
    }

    /// Keeps them; gives where.
    pub(in crate::cli) fn write(&self) -> anyhow::Result<PathBuf> {
        let file = place()?;
        self.write_to(&file).with_context(|| format!("can't write {}", file.display()))?;
        Ok(file)
    }

    fn write_to(&self, file: &Path) -> anyhow::Result<()> {
        let folder = file.parent().context("it lies in no folder")?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Beside it and then in its place, so that a full disk leaves the old one.
        let beside = file.with_extension(format!("{:016x}", rand::random::<u64>()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut open| {
            open.write_all(self.document().as_bytes())?;
            open.sync_all()?;
            fs::rename(&beside, file)
        });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        Ok(written?)
    }

    fn document(&self) -> String {
        let mut document = DocumentMut::new();
        if let Some(current) = &self.current {
            document.insert("current", value(current.as_str()));
        }
        let mut tables = Table::new();
        tables.set_implicit(true);
        for (name, profile) in &self.named {
            let mut table = Table::new();
            table.insert("server", value(profile.server.as_str()));
            table.insert("key", value(profile.key.expose()));
            tables.insert(name, Item::Table(table));
        }
        document.insert("profiles", Item::Table(tables));
        format!(
            "# Written by `hookmill login` and `hookmill profile`. It has keys in it: keep it to yourself.\n{document}"
        )
    }

    /// The one of this name, else the one in use, if there is any.
    pub(in crate::cli) fn chosen(&self, name: Option<&str>) -> anyhow::Result<Option<&Profile>> {
        let Some(name) = name.or(self.current.as_deref()) else { return Ok(None) };
        self.named.get(name).map(Some).with_context(|| self.missing(name))
    }

    /// The one of this name, if there is any.
    pub(in crate::cli) fn get(&self, name: &str) -> Option<&Profile> {
        self.named.get(name)
    }

    /// All of them, and whether each is the one in use.
    pub(in crate::cli) fn all(&self) -> impl Iterator<Item = (&str, &Profile, bool)> {
        let current = self.current.as_deref();
        self.named.iter().map(move |(name, profile)| (name.as_str(), profile, current == Some(name)))
    }

    /// Keeps one, in place of another of its name. The first is the one in use.
    pub(in crate::cli) fn put(&mut self, name: &str, profile: Profile) {
        self.named.insert(name.to_owned(), profile);
        self.current.get_or_insert_with(|| name.to_owned());
    }

    /// From now on this one is in use.
    pub(in crate::cli) fn choose(&mut self, name: &str) -> anyhow::Result<()> {
        ensure!(self.named.contains_key(name), self.missing(name));
        self.current = Some(name.to_owned());
        Ok(())
    }

    /// Forgets one. If it was in use, none is.
    pub(in crate::cli) fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        if self.named.remove(name).is_none() {
            bail!(self.missing(name));
        }
        self.current.take_if(|current| current == name);
        Ok(())
    }

    fn missing(&self, name: &str) -> String {
        let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => format!("there is no profile `{name}`, nor any other; `hookmill login` makes one"),
            false => format!("there is no profile `{name}`; there is: {}", names.join(", ")),
        }
    }
}

/// Whether a new one may be called so: what no shell takes for anything else.
pub(in crate::cli) fn is_profile_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Where the file lies.
fn place() -> anyhow::Result<PathBuf> {
    Ok(folders::settings()?.join("profiles.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Profiles {
        let mut profiles = Profiles::default();
        for (name, server) in [("here", "http://127.0.0.1:8080"), ("a b", "https://hooks.example.com")] {
            profiles.put(name, Profile { server: server.to_owned(), key: Secret::new(format!("key \"{name}\"")) });
        }
        profiles
    }

    #[test]
    fn what_is_written_is_read_again_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/hookmill/profiles.toml");
        assert!(Profiles::read_from(&file).unwrap().named.is_empty());
        two().write_to(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let read = Profiles::read_from(&file).unwrap();
        let all: Vec<_> = read.all().map(|(name, one, used)| (name, &*one.server, one.key.expose(), used)).collect();
        assert_eq!(
            all,
            [
                ("a b", "https://hooks.example.com", "key \"a b\"", false),
                ("here", "http://127.0.0.1:8080", "key \"here\"", true),
            ]
        );
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Profiles::read_from(&file).unwrap_err().to_string();
            assert!(refused.contains(&format!("mode {mode:o}")) && refused.contains("chmod 600"), "{refused}");
        }
        // Written again, it is private again.
        two().write_to(&file).unwrap();
        assert!(Profiles::read_from(&file).is_ok());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn one_is_in_use() {
        let mut profiles = two();
        assert_eq!(profiles.chosen(None).unwrap().unwrap().server, "http://127.0.0.1:8080");
        profiles.choose("a b").unwrap();
        assert_eq!(profiles.chosen(None).unwrap().unwrap().server, "https://hooks.example.com");
        assert_eq!(profiles.choose("c").unwrap_err().to_string(), "there is no profile `c`; there is: a b, here");
        profiles.remove("a b").unwrap();
        assert!(profiles.chosen(None).unwrap().is_none());
        profiles.remove("here").unwrap();
        assert!(profiles.remove("here").unwrap_err().to_string().contains("hookmill login"));
    }

    #[test]
    fn what_a_new_one_may_be_called() {
        for (name, wanted) in [
            ("default", true),
            ("Shop_1.eu-west", true),
            (&*"a".repeat(64), true),
            (&*"a".repeat(65), false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("ü", false),
            ("a\"", false),
            ("a\n", false),
        ] {
            assert_eq!(is_profile_name(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_none() {
        for text in ["current = ", "[profiles.a]\nserver = \"x\"", "[profiles]\na = 1"] {
            assert!(Profiles::parse(text).is_err(), "{text}");
        }
    }
}
