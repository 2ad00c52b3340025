//! Files that are on the disk when the call returns.
//!
//! A file is written beside its place, flushed, renamed, and its folder is flushed: after a power loss there is
//! the old content or the new, never half of one, and never a name that the folder forgot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Replaces the file at `path` by `bytes`, durably and as a whole. A new file has mode 0600.
///
/// # Errors
/// Whatever the file system says; the old content then still stands, and nothing is left beside it.
pub fn write_file_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::write(path, bytes)?;
    fs::rename(&draft.path, path)?;
    draft.keep();
    sync_folder(folder_of(path))
}

/// Creates the file at `path` with `bytes`, durably and as a whole, unless there is one already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when another was first; else whatever the file system says.
pub fn create_file_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::write(path, bytes)?;
    // A link, unlike a rename, never takes the place of a file that somebody else has just created.
    fs::hard_link(&draft.path, path)?;
    drop(draft);
    sync_folder(folder_of(path))
}

/// Flushes a folder, so that the names created, renamed or removed in it last.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that holds `path`; `.` for a bare file name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A flushed file beside its place; removed on drop unless kept.
struct Draft {
    path: PathBuf,
    kept: bool,
}

impl Draft {
    fn write(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let mut draft_name = std::ffi::OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".{}.{}.draft", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let path = folder_of(target).join(draft_name);
        // A draft of the same name can only be left over from a dead process that had our pid.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = Self { path, kept: false };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(draft)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_as_a_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routing");
        write_file_durably(&path, b"one").unwrap();
        write_file_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["routing"]);
    }

    #[test]
    fn creating_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_file_durably(&path, b"first").unwrap();
        let error = create_file_durably(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["key"]);
    }

    #[test]
    fn a_failure_leaves_the_old_and_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(write_file_durably(&path, b"x").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write_file_durably(&folder.path().join("missing/file"), b"x").is_err());
        assert!(write_file_durably(Path::new("/"), b"x").is_err());
    }
}
