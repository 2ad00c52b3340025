//! The data folder: what lies where, and that it is ours.
use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use runtime::{
    lock::{FolderLock, LOCK_FILE, LockError},
    unix::PATH_LENGTH_MAX,
};

/// The file that says that a folder is ours.
pub const MARKER: &str = "gridesk-data";
/// The file that says how many demonstration customers the folder was made with.
const DEMO_CUSTOMERS: &str = "demo-customers";
/// The file that says where the business data of the folder's system is.
const PROFILE: &str = "profile";
/// The longest path of a socket in `run`, in bytes.
const LONGEST_SOCKET: usize = "gates/16/messages.sock".len();

/// A locked data folder.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    _lock: FolderLock,
}

/// Where the business data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// In the data folder, in files of SQLite
    Embedded,
    /// In PostgreSQL, NATS JetStream and Redis
    Cluster,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Embedded => "embedded",
            Profile::Cluster => "cluster",
        }
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process works on it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It holds something else.
    #[error("{} is not empty and not a data folder of gridesk: nothing was touched; name another with --data", .0.display())]
    NotOurs(PathBuf),
    /// The path is too long for the sockets inside.
    #[error("the path {} is too long by {by} bytes for the sockets in it: name a shorter one with --data", path.display())]
    TooLong {
        /// The folder.
        path: PathBuf,
        /// How many bytes too long.
        by: usize,
    },
    /// It was made with the other profile.
    #[error("data folder {} was made with --profile {found}: start it so, or name another with --data", path.display())]
    OtherProfile {
        /// The folder.
        path: PathBuf,
        /// Its profile.
        found: String,
    },
    /// The file system refused.
    #[error("data folder {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl DataFolder {
    /// Opens the folder at `path` for one process, made if need be. With `fresh` everything in it is removed first.
    ///
    /// # Errors
    /// [`FolderError`]; a folder that is not ours is left as it is.
    pub fn open(path: &Path, fresh: bool, program: &str) -> Result<Self, FolderError> {
        let io = |source| FolderError::Io { path: path.into(), source };
        let root = std::path::absolute(path).map_err(io)?;
        let longest = root.as_os_str().as_bytes().len() + "/run/".len() + LONGEST_SOCKET;
        if longest > PATH_LENGTH_MAX {
            return Err(FolderError::TooLong { path: root, by: longest - PATH_LENGTH_MAX });
        }
        if !is_ours(&root).map_err(io)? {
            return Err(FolderError::NotOurs(root));
        }
        // The lock comes before everything else: a folder in use is neither emptied nor changed.
        let lock = FolderLock::acquire_as(&root, program)?;
        if fresh {
            empty(&root).map_err(io)?;
        }
        fs::write(root.join(MARKER), "This folder belongs to gridesk; `gridesk up --fresh` empties it.\n")
            .map_err(io)?;
        for name in ["edge", "inner", "center", "sim", "run", "secrets", "logs"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name)).map_err(io)?;
        }
        // Whoever knows the hash of a file in it may open it; nobody else can list it.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root.join("outward")).map_err(io)?;
        Ok(DataFolder { root, _lock: lock })
    }

    /// Its absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A place inside of it.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// How many demonstration customers this folder has, or gets at its first start: `asked` where nothing is in it yet,
    /// else what it was made with. So none come to stand beside real accounts later.
    ///
    /// # Errors
    /// What the file system said.
    pub fn demo_customers(&self, asked: u32) -> io::Result<u32> {
        let file = self.root.join(DEMO_CUSTOMERS);
        match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no number", file.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let customers = if self.root.join("center/shards").exists() { 0 } else { asked };
                fs::write(&file, format!("{customers}\n"))?;
                Ok(customers)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes the profile that the folder is used with; it stays so. A folder without a note is an embedded one if it
    /// holds shards.
    ///
    /// # Errors
    /// [`FolderError::OtherProfile`]; what the file system said.
    pub fn keep_profile(&self, profile: Profile) -> Result<(), FolderError> {
        let file = self.root.join(PROFILE);
        let io = |source| FolderError::Io { path: file.clone(), source };
        let found = match fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_embedded = self.root.join("center/shards").exists();
                let first = if is_embedded { Profile::Embedded } else { profile };
                fs::write(&file, format!("{}\n", first.name())).map_err(io)?;
                first.name().to_owned()
            }
            Err(error) => return Err(io(error)),
        };
        if found != profile.name() {
            return Err(FolderError::OtherProfile { path: self.root.clone(), found });
        }
        Ok(())
    }

    /// A role's folder, checked to be in nobody's use.
    ///
    /// # Errors
    /// [`FolderError::Lock`] where another process, which `up` did not start, works on it.
    pub fn check_free(&self, role: &str) -> Result<(), FolderError> {
        FolderLock::acquire_as(&self.root.join(role), "gridesk up").map(drop).map_err(FolderError::Lock)
    }
}

/// Where the center of a data folder takes its operators' orders.
pub fn admin_socket(data: &Path) -> PathBuf {
    data.join("run/center-admin.sock")
}

/// Whether the folder is missing, empty but for a lock, or bears our mark.
fn is_ours(root: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut others = 0;
    for entry in entries {
        let name = entry?.file_name();
        if name == MARKER {
            return Ok(true);
        }
        others += usize::from(name != LOCK_FILE);
    }
    Ok(others == 0)
}

/// Removes everything but the lock. Links are removed, not followed. The mark goes last, so that a second try works.
fn empty(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name() == LOCK_FILE || entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        for fresh in [false, true] {
            let error = DataFolder::open(folder.path(), fresh, "test").unwrap_err();
            assert!(matches!(error, FolderError::NotOurs(_)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn fresh_empties_ours_and_only_when_nobody_uses_it() {
        let parent = tempfile::tempdir().unwrap();
        let (path, outside) = (parent.path().join("data"), parent.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let first = DataFolder::open(&path, true, "gridesk up").unwrap();
        fs::write(first.join("center/ledger.db"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, first.join("link")).unwrap();
        let error = DataFolder::open(&path, true, "second").unwrap_err().to_string();
        assert!(error.contains("gridesk up"), "{error}");
        assert!(first.join("center/ledger.db").exists());
        drop(first);
        let kept = DataFolder::open(&path, false, "test").unwrap();
        assert!(kept.join("center/ledger.db").exists());
        drop(kept);
        let emptied = DataFolder::open(&path, true, "test").unwrap();
        assert!(!emptied.join("center/ledger.db").exists() && !emptied.join("link").exists());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_folder_keeps_the_number_of_demonstration_customers_it_was_made_with() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&parent.path().join("new"), false, "test").unwrap();
        assert_eq!((folder.demo_customers(50).unwrap(), folder.demo_customers(100).unwrap()), (50, 50));
        let folder = DataFolder::open(&parent.path().join("none"), false, "test").unwrap();
        assert_eq!((folder.demo_customers(0).unwrap(), folder.demo_customers(100).unwrap()), (0, 0));
        let folder = DataFolder::open(&parent.path().join("imported"), false, "test").unwrap();
        fs::create_dir(folder.join("center/shards")).unwrap();
        assert_eq!(folder.demo_customers(100).unwrap(), 0, "none beside what is there");
        fs::write(folder.join(DEMO_CUSTOMERS), "many").unwrap();
        assert!(folder.demo_customers(1).is_err());
    }

    #[test]
    fn a_folder_keeps_its_profile() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&parent.path().join("new"), false, "test").unwrap();
        folder.keep_profile(Profile::Cluster).unwrap();
        folder.keep_profile(Profile::Cluster).unwrap();
        let error = folder.keep_profile(Profile::Embedded).unwrap_err().to_string();
        assert!(error.contains("--profile cluster"), "{error}");
        let folder = DataFolder::open(&parent.path().join("old"), false, "test").unwrap();
        fs::create_dir(folder.join("center/shards")).unwrap();
        assert!(folder.keep_profile(Profile::Cluster).is_err());
        folder.keep_profile(Profile::Embedded).unwrap();
    }

    #[test]
    fn a_path_too_long_for_sockets_is_said_before_anything_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("x".repeat(120));
        assert!(matches!(DataFolder::open(&path, false, "test"), Err(FolderError::TooLong { .. })));
        assert!(!path.exists());
    }
}
