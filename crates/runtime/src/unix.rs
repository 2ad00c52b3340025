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
    bind_shared(path, &[])
}

/// Listens at `path` like [`bind`], also for processes of the users `uids`, who are not let in by the file's mode
/// but by [`check_uid`](crate::peers::check_uid) on each connection: with any of them, everybody may connect to the
/// socket (mode 0666), and a missing folder may be passed through by everybody (mode 0711); a folder that is there
/// stays as it is. Without any, it is this user's only.
///
/// # Errors
/// [`BindError`], which names the path.
pub fn bind_shared(path: &Path, uids: &[u32]) -> Result<UnixListener, BindError> {
    let listener = listen(path, uids)?;
    UnixListener::from_std(listener).map_err(|source| BindError::Io { path: path.into(), source })
}

/// Listens like [`bind_shared`] where there is no tokio runtime yet: a program that gives up rights does so while it has
/// one thread. The listener is ready for [`UnixListener::from_std`].
///
/// # Errors
/// [`BindError`], which names the path.
pub fn listen(path: &Path, uids: &[u32]) -> Result<std::os::unix::net::UnixListener, BindError> {
    let (folder_mode, mode) = if uids.is_empty() { (0o700, 0o600) } else { (0o711, 0o666) };
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_LENGTH_MAX {
        return Err(BindError::TooLong { path: path.into(), length });
    }
    let io = |source| BindError::Io { path: path.into(), source };
    let folder = folder_of(path);
    if !folder.exists() {
        fs::DirBuilder::new().recursive(true).mode(folder_mode).create(folder).map_err(io)?;
        if !uids.is_empty() {
            // What the process's umask took away.
            fs::set_permissions(folder, fs::Permissions::from_mode(folder_mode)).map_err(io)?;
        }
    }
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { path: path.into() },
        _ => io(source),
    })?;
    listener.set_nonblocking(true).map_err(io)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
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
    async fn is_open_to_others_only_where_others_are_named() {
        let parent = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (uids, socket_mode, folder_mode) in [(&[][..], 0o600, 0o700), (&[4711][..], 0o666, 0o711)] {
            let path = parent.path().join(format!("run-{}/gate.sock", uids.len()));
            let listener = bind_shared(&path, uids).unwrap();
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (socket_mode, folder_mode));
            drop(listener);
            bind(&path).unwrap();
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, folder_mode));
        }
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
