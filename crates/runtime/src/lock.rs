//! One process per data folder.
//!
//! Only `center` opens the business data and only `edge` its own files; a second process on the same folder would
//! break what both promise. The lock is the kernel's (flock on a file in the folder), so that it ends with the
//! process however that ends; the file's content only says who holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock file's name inside the folder.
pub const LOCK_FILE: &str = "gridesk.lock";

/// A folder that is ours until this is dropped, or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    _file: File,
}

impl FolderLock {
    /// Locks `folder` for this process, creating it (mode 0700) if need be. The holder's name, which a second
    /// comer is told, is the program with its first word: `gridesk center`.
    ///
    /// # Errors
    /// [`LockError::InUse`] at once, without waiting, when another holds it.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        Self::acquire_as(folder, &program_name(std::env::args()))
    }

    /// As [`FolderLock::acquire`], with the holder's name given.
    ///
    /// # Errors
    /// The same.
    pub fn acquire_as(folder: &Path, program: &str) -> Result<Self, LockError> {
        let io = |source| LockError::Io { folder: folder.into(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK_FILE))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse { folder: folder.into(), holder: holder(&file) });
            }
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{} {program}", std::process::id()).map_err(io)?;
        Ok(Self { folder: folder.into(), _file: file })
    }

    /// The locked folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on it.
    #[error("data folder {} is in use by {holder}: stop it, or use --data", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, in words: `process 123 (gridesk center)`.
        holder: String,
    },
    /// The folder cannot be created, or its lock file not opened.
    #[error("data folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// Who wrote the lock file. Its content may be gone or half written while its holder is just starting.
fn holder(file: &File) -> String {
    let mut line = String::new();
    let read = file.take(256).read_to_string(&mut line);
    match (read, line.trim_end().split_once(' ')) {
        (Ok(_), Some((pid, program))) if pid.parse::<u32>().is_ok() => format!("process {pid} ({program})"),
        _ => "another process".to_owned(),
    }
}

fn program_name(mut args: impl Iterator<Item = String>) -> String {
    let program = args.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map_or_else(|| "gridesk".into(), |n| n.to_string_lossy());
    let word = args.next().filter(|w| w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    match word {
        Some(word) => format!("{name} {word}"),
        None => name.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data/center");
        let lock = FolderLock::acquire_as(&folder, "gridesk center").unwrap();
        assert_eq!(lock.folder(), folder);
        let error = FolderLock::acquire(&folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "data folder {} is in use by process {} (gridesk center): stop it, or use --data",
                folder.display(),
                std::process::id()
            )
        );
        drop(lock);
        FolderLock::acquire(&folder).unwrap();
    }

    #[test]
    fn a_half_written_lock_file_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = FolderLock::acquire(folder.path()).unwrap();
        fs::write(folder.path().join(LOCK_FILE), [0xff, 0xfe]).unwrap();
        let error = FolderLock::acquire(folder.path()).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }

    #[test]
    fn the_name_is_the_program_and_its_first_word() {
        let name = |args: &[&str]| program_name(args.iter().map(|a| (*a).to_owned()));
        assert_eq!(name(&["/usr/bin/gridesk", "center", "--data", "x"]), "gridesk center");
        assert_eq!(name(&["gridesk-edge", "--data"]), "gridesk-edge");
        assert_eq!(name(&[]), "gridesk");
    }
}
