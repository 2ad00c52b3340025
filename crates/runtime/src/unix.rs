//! Unix sockets, the links inside one host.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::durable::folder_of;

/// The longest socket path in bytes: `sun_path` has 108 on Linux, the last of them is the end mark (unix(7)).
pub const PATH_LENGTH_MAX: usize = 107;

/// Listens at `path`, readable and writable by this user only. A missing folder is created (mode 0700); a socket
/// that a dead process left is removed, one that still answers is not. Must be called inside a tokio runtime.
///
/// # Errors
/// [`BindError`], which names the path.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_LENGTH_MAX {
        return Err(BindError::TooLong { path: path.into(), length });
    }
    let io = |source| BindError::Io { path: path.into(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path)).map_err(io)?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { path: path.into() },
        _ => io(source),
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.into(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NoSocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        // Gone meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // It answers, or its queue is full: somebody is there.
        Ok(_) => Err(BindError::InUse { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: path.into() })
        }
        Err(error) => Err(io(error)),
    }
}

/// Why a socket path cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel has no room for the path.
    #[error(
        "socket path {} has {length} bytes, the system allows {PATH_LENGTH_MAX}: use a shorter --data folder",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A process answers there.
    #[error("socket {} is in use: another process answers there", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something that is not ours stands there.
    #[error("{} is not a socket: move it away, it is not removed", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The file system or the kernel refused.
    #[error("socket {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_private_and_its_folder_too() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run/center.sock");
        let _listener = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn replaces_a_dead_socket_but_not_a_living_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("center.sock");
        let living = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
        drop(living);
        assert!(path.exists());
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn removes_nothing_that_is_no_socket() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("notes");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(BindError::NoSocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_long_path_is_a_clear_error() {
        let path = PathBuf::from(format!("/nowhere/{}", "x".repeat(120)));
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("has 129 bytes") && error.contains("107"), "{error}");
    }
}
