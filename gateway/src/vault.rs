//! Secrets at rest.
//!
//! **Who acts.** Control seals what a client entrusts to the gateway; the pipeline opens it for the moment
//! in which a request is signed or authenticated. **What is promised.** Whoever has the data directory, a
//! backup or the database but not the master key learns nothing of a secret but its length. A sealed secret
//! opens only in the place it was sealed for: the *context* (`sub_…/secret`) is authenticated with it, so
//! that a row moved or copied by someone who can write to the database does not open elsewhere. A wrong key
//! and a damaged secret are told apart. **What is deliberately not.** There is no rotation of the master key
//! here: a sealed text names its key, so that a later version can hold two. There is no protection from
//! someone who can read the process's memory.
//!
//! Sealed text is `v1:<key id>:<base64>`, the last part being a random 24-byte nonce followed by the
//! XChaCha20-Poly1305 ciphertext and tag. The nonce is long enough to be drawn at random for ever. The master
//! key itself encrypts nothing: the sealing key, the id and the fingerprint are derived from it by
//! HMAC-SHA-256 under different labels.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use ring::hmac;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::{Sealed, Secret};

const VERSION: &str = "v1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// A key file is 65 bytes long; whatever is much longer is some other file.
const KEY_FILE_LIMIT: u64 = 1024;

/// Why the vault did not open, or a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file could not be read or made.
    #[error("the master key file {} cannot be {doing}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What was tried: `read`, `made`.
        doing: &'static str,
        /// What the system said: whoever tells the error tells its causes.
        source: io::Error,
    },
    /// Others than its owner may read or write the key file.
    #[error(
        "the master key file {} may be used by others than its owner (mode {mode:04o}): run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is there, but holds no key.
    #[error(
        "the master key file {} holds no key (64 hexadecimal digits): restore it from a backup, or, if nothing \
         was ever stored under it, delete it and start again",
        path.display()
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// A key given as text is not one.
    #[error("the master key must be 32 bytes, as 64 hexadecimal digits or as base64")]
    KeyText,
    /// The secret was sealed under another master key.
    #[error("the secret was sealed under master key {sealed_under}, but the key at hand is {at_hand}")]
    OtherKey {
        /// The id of the key that would open it.
        sealed_under: String,
        /// The id of this vault's key.
        at_hand: String,
    },
    /// The sealed text was changed, or moved here from another place.
    #[error("the sealed secret is damaged, or does not belong to {context}")]
    Tampered {
        /// Where it was to be opened.
        context: String,
    },
    /// The sealed text is not one this version can read.
    #[error("the sealed secret of {context} has a form this version does not know")]
    UnknownForm {
        /// Where it was to be opened.
        context: String,
    },
}

/// The master key, and what is done with it.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    key_id: String,
    fingerprint: [u8; 8],
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads the master key from this file, or draws one and makes the file (mode 0600, on disk before this
    /// returns) if there is none.
    ///
    /// A missing directory is made too, for its owner alone. Of two processes that start at once, both use
    /// the key of the first.
    ///
    /// # Errors
    /// [`Error::Exposed`] if others may use the file, [`Error::NoKey`] if it holds something else,
    /// [`Error::File`] if the system refuses.
    pub fn from_key_file(path: &Path) -> Result<Self, Error> {
        match read_key_file(path) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make_key_file(path).map_err(|source| Error::File { path: path.to_owned(), doing: "made", source })?;
                // Read back rather than kept: if another process was faster, its key is the key.
                read_key_file(path)
            }
            read => read,
        }
        .map(|key| Self::from_key(&key))
    }

    /// Takes the master key as text, as an environment variable gives it: 64 hexadecimal digits, or base64 of
    /// 32 bytes in either alphabet, padded or not. White space around it is ignored.
    ///
    /// # Errors
    /// [`Error::KeyText`] if it is neither.
    pub fn from_key_text(text: &str) -> Result<Self, Error> {
        parse_key(text).map(|key| Self::from_key(&key)).ok_or(Error::KeyText)
    }

    fn from_key(master: &[u8; KEY_BYTES]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, master);
        let id = hmac::sign(&master, b"hookmill key id");
        let check = hmac::sign(&master, b"hookmill key fingerprint");
        let sealing = hmac::sign(&master, b"hookmill sealing v1");
        let mut sealing_key = Zeroizing::new([0; KEY_BYTES]);
        sealing_key.iter_mut().zip(sealing.as_ref()).for_each(|(to, from)| *to = *from);
        let mut fingerprint = [0; 8];
        fingerprint.iter_mut().zip(check.as_ref()).for_each(|(to, from)| *to = *from);
        Self {
            cipher: XChaCha20Poly1305::new((&*sealing_key).into()),
            key_id: hex::encode(id.as_ref().iter().take(4).copied().collect::<Vec<u8>>()),
            fingerprint,
        }
    }

    /// The key's id, eight hexadecimal digits. Not secret.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// A check value of the key, for the store to keep beside what was sealed under it, so that a start with
    /// the wrong key is refused before anything is lost. Not secret.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }

    /// Seals a secret for one place.
    #[must_use]
    pub fn seal(&self, context: &str, secret: &Secret) -> Sealed {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: context.as_bytes() };
        let ciphertext = self
            .cipher
            .encrypt(&nonce.into(), payload)
            .expect("XChaCha20-Poly1305 refuses only texts of 256 GiB, and a secret came through a request");
        let bytes = [nonce.as_slice(), &ciphertext].concat();
        Sealed(format!("{VERSION}:{}:{}", self.key_id, STANDARD_NO_PAD.encode(bytes)))
    }

    /// Opens a secret in the place it was sealed for.
    ///
    /// # Errors
    /// [`Error::OtherKey`] if it was sealed under another key, [`Error::Tampered`] if it was changed or belongs
    /// to another place, [`Error::UnknownForm`] if it is no sealed text of this version.
    pub fn open(&self, context: &str, sealed: &Sealed) -> Result<Secret, Error> {
        let unknown = || Error::UnknownForm { context: context.to_owned() };
        let tampered = || Error::Tampered { context: context.to_owned() };
        let (version, rest) = sealed.0.split_once(':').ok_or_else(unknown)?;
        let (key_id, body) = rest.split_once(':').ok_or_else(unknown)?;
        if version != VERSION {
            return Err(unknown());
        }
        if key_id != self.key_id {
            // What is quoted came from the store: only what looks like an id is let into a message.
            let is_id = key_id.len() == 8 && key_id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let sealed_under = if is_id { key_id } else { "of unknown id" }.to_owned();
            return Err(Error::OtherKey { sealed_under, at_hand: self.key_id.clone() });
        }
        let bytes = STANDARD_NO_PAD.decode(body).map_err(|_| tampered())?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(tampered)?;
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        let clear = self.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| tampered())?;
        match String::from_utf8(clear) {
            Ok(text) => Ok(Secret::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(tampered())
            }
        }
    }
}

fn parse_key(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = text.trim();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    // 64 hexadecimal digits are base64 too, of 48 bytes; the length tells them apart.
    if text.len() == 2 * KEY_BYTES {
        hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
        return Some(key);
    }
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = Zeroizing::new(engines.iter().find_map(|engine| engine.decode(text).ok())?);
    if bytes.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

fn read_key_file(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), doing: "read", source };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, not of the path: nobody can exchange it in between.
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    match file.take(KEY_FILE_LIMIT).read_to_string(&mut text) {
        Ok(_) => parse_key(&text).ok_or_else(|| Error::NoKey { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::NoKey { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

/// Draws a key and puts it at `path`, unless there is something by then. The file appears whole or not at
/// all: a start that is cut short must not leave half a key.
fn make_key_file(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".master-key-{:016x}.new", rand::random::<u64>()));
    let made = write_draft(&draft).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = std::fs::remove_file(&draft);
    made?;
    removed?;
    File::open(directory)?.sync_all()
}

fn write_draft(draft: &Path) -> io::Result<()> {
    let key = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
    let mut text = Zeroizing::new(hex::encode(key.as_slice()));
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn vault() -> Vault {
        Vault::from_key_text(KEY).unwrap()
    }

    #[test]
    fn the_first_start_makes_a_key_that_the_second_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.key");
        let first = Vault::from_key_file(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left behind");

        let sealed = first.seal("sub_1/secret", &Secret::new("whsec_x".to_owned()));
        let second = Vault::from_key_file(&path).unwrap();
        assert_eq!(second.fingerprint(), first.fingerprint());
        assert_eq!(second.open("sub_1/secret", &sealed).unwrap().expose(), "whsec_x");
    }

    #[test]
    fn processes_that_start_at_once_share_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Vault::from_key_file(&path).unwrap().key_id().to_owned())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_key_file_others_may_use_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o644, 0o610, 0o602] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("master.key");
            drop(Vault::from_key_file(&path).unwrap());
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Vault::from_key_file(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_key_file_without_a_key_is_neither_used_nor_overwritten() {
        for content in ["", "\n", "00ff", "not a key", &"0".repeat(5000)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("master.key");
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = Vault::from_key_file(&path).unwrap_err();
            assert!(matches!(error, Error::NoKey { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let folder = tempfile::tempdir().unwrap();
        let error = Vault::from_key_file(folder.path()).unwrap_err();
        assert!(matches!(error, Error::File { .. } | Error::Exposed { .. }), "{error}");
    }

    #[test]
    fn what_the_system_said_is_told_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Vault::from_key_file(&file.path().join("x.key")).unwrap_err();
        let told = format!("{:#}", anyhow::Error::from(error));
        assert!(told.contains("x.key cannot be read: "), "{told}");
        assert_eq!(told.matches("os error").count(), 1, "{told}");
    }

    #[test]
    fn a_key_is_read_in_every_usual_spelling() {
        let bytes = hex::decode(KEY).unwrap();
        let spellings = [
            KEY.to_owned(),
            KEY.to_uppercase(),
            format!("  {KEY}\n"),
            STANDARD.encode(&bytes),
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ];
        for text in spellings {
            assert_eq!(Vault::from_key_text(&text).unwrap().key_id(), vault().key_id(), "{text}");
        }
        for text in ["", "00", &KEY[..63], &format!("{KEY}00"), &"g".repeat(64), &STANDARD.encode([0; 31])] {
            assert!(matches!(Vault::from_key_text(text), Err(Error::KeyText)), "{text}");
        }
    }

    #[test]
    fn another_key_is_named() {
        let sealed = vault().seal("a", &Secret::new("s".to_owned()));
        let other = Vault::from_key_text(&"11".repeat(32)).unwrap();
        let error = other.open("a", &sealed).unwrap_err().to_string();
        assert!(error.contains(vault().key_id()) && error.contains(other.key_id()), "{error}");
        assert_ne!(other.fingerprint(), vault().fingerprint());
        // Damage to the id must not get into a message.
        let error = other.open("a", &Sealed("v1:<b>\u{1b}:xx".to_owned())).unwrap_err().to_string();
        assert!(!error.contains("<b>"), "{error}");
    }

    #[test]
    fn a_sealed_secret_opens_in_its_own_place_only() {
        let sealed = vault().seal("sub_1/secret", &Secret::new("s".to_owned()));
        for place in ["sub_2/secret", "sub_1/url", "", "sub_1/secret "] {
            assert!(matches!(vault().open(place, &sealed), Err(Error::Tampered { .. })), "{place}");
        }
    }

    #[test]
    fn what_is_no_sealed_text_is_told_from_what_was_changed() {
        let id = vault().key_id().to_owned();
        for text in ["", "plain", "v1", "v1:x", &format!("v2:{id}:AAAA"), &format!("V1:{id}:AAAA")] {
            let error = vault().open("a", &Sealed(text.to_owned())).unwrap_err();
            assert!(matches!(error, Error::UnknownForm { .. }), "{text}: {error}");
        }
        for text in [format!("v1:{id}:"), format!("v1:{id}:AAAA"), format!("v1:{id}:!!!")] {
            let error = vault().open("a", &Sealed(text.clone())).unwrap_err();
            assert!(matches!(error, Error::Tampered { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn the_same_secret_never_seals_alike_and_is_not_in_the_text() {
        let secret = Secret::new("hunter2hunter2".to_owned());
        let (one, two) = (vault().seal("a", &secret), vault().seal("a", &secret));
        assert_ne!(one, two);
        assert!(!one.0.contains("hunter2"));
        assert!(!format!("{:?}", vault()).contains("00010203"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(context in ".*", text in ".*") {
            let sealed = vault().seal(&context, &Secret::new(text.clone()));
            let opened = vault().open(&context, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), text);
        }

        #[test]
        fn no_change_goes_unnoticed(at in 0_usize..200, byte in any::<u8>()) {
            let sealed = vault().seal("a", &Secret::new("a secret of some length".to_owned()));
            let mut text = sealed.0.clone().into_bytes();
            let at = at % text.len();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            if let Ok(changed) = String::from_utf8(text) {
                prop_assert!(vault().open("a", &Sealed(changed)).is_err());
            }
        }

        #[test]
        fn nonsense_never_panics(context in ".*", text in ".*") {
            let _ = vault().open(&context, &Sealed(text));
        }
    }
}
