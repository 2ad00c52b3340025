//! Key files: 32 random bytes, made at the first start, readable by their owner only.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::SecretBox;
pub use secrecy::{ExposeSecret, SecretString};

use crate::durable::create_file_durably;

/// A 32-byte secret key. It prints as `[REDACTED]` and is wiped when dropped.
pub type SecretKey = SecretBox<[u8; 32]>;

/// Reads the key at `path`, or makes one from the system's random source and stores it durably with mode 0600.
/// Two processes that start at once end up with the same key.
///
/// # Errors
/// [`SecretError`], which names the file.
pub fn load_or_create_key(path: &Path) -> Result<SecretKey, SecretError> {
    match load_key(path) {
        Err(SecretError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    let io = |source| SecretError::Io { path: path.into(), source };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io(io::Error::other(error)))?;
    let key = SecretKey::init_with(|| bytes);
    match create_file_durably(path, key.expose_secret()) {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load_key(path),
        Err(error) => Err(io(error)),
    }
}

/// Reads the key at `path`.
///
/// # Errors
/// [`SecretError`]; a missing file is [`SecretError::Io`] with [`io::ErrorKind::NotFound`].
pub fn load_key(path: &Path) -> Result<SecretKey, SecretError> {
    let io = |source| SecretError::Io { path: path.into(), source };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(SecretError::Open { path: path.into(), mode: metadata.mode() & 0o777 });
    }
    if metadata.len() != 32 {
        return Err(SecretError::Length { path: path.into(), length: metadata.len() });
    }
    let mut bytes = [0; 32];
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(SecretKey::init_with(|| bytes))
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Reading or writing failed.
    #[error("key file {}: {source}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Others on this host may read or change the key.
    #[error("key file {} has mode {mode:03o}, which lets others in: chmod 600 it, or remove it if it leaked", path.display())]
    Open {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key of ours.
    #[error("key file {} has {length} bytes instead of 32: restore it from a backup", path.display())]
    Length {
        /// The key file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.key");
        let made = load_or_create_key(&path).unwrap();
        let read = load_or_create_key(&path).unwrap();
        assert_eq!(made.expose_secret(), read.expose_secret());
        assert_ne!(made.expose_secret(), &[0; 32]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(format!("{made:?}").contains("REDACTED"));
    }

    #[test]
    fn starts_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| *load_or_create_key(&path).unwrap().expose_secret())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
    }

    #[test]
    fn an_open_or_short_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.key");
        std::fs::write(&path, [1; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load_or_create_key(&path).unwrap_err().to_string().contains("mode 640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [1; 31]).unwrap();
        assert!(matches!(load_or_create_key(&path), Err(SecretError::Length { length: 31, .. })));
    }
}
