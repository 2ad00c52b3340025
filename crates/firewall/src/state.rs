//! The folder in which an apply keeps what it needs to go back, whatever happens to it meanwhile.
//!
//! | file | what |
//! | --- | --- |
//! | `pending.json` | an apply that waits to be confirmed; without it nothing is ever rolled back |
//! | `candidate.nft` | the rules that are being tried |
//! | `previous.nft` | gives back what ran before the last apply |
//! | `confirmed.nft` | what was confirmed last: what a host loads when it starts |
//! | `last-rollback` | why the last apply did not stay |
//! | `lock` | held by whoever changes any of these |
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use runtime::durable::{sync_folder, write_file_durably};
use serde::{Deserialize, Serialize};

/// An apply that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Told to the one process that is to roll this apply back, and no other.
    pub(crate) id: String,
    pub(crate) host: String,
    /// The kernel's id of this boot: rules do not outlive it.
    pub(crate) boot: String,
    pub(crate) confirm_within_s: u64,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The way back is there; the rules may be loaded or not.
    Prepared,
    /// The rules are loaded.
    Loaded,
    /// They stay.
    Confirmed,
}

/// What stands in the folder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    Pending,
    Candidate,
    Previous,
    Confirmed,
    LastRollback,
}

impl Name {
    fn file(self) -> &'static str {
        match self {
            Self::Pending => "pending.json",
            Self::Candidate => "candidate.nft",
            Self::Previous => "previous.nft",
            Self::Confirmed => "confirmed.nft",
            Self::LastRollback => "last-rollback",
        }
    }
}

/// The state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct StateError {
    /// Which file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The folder, locked: what is read here stands until this is dropped.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    _lock: File,
}

impl State {
    /// Waits for whoever has it, which is never for long.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let fail = |source| StateError { path: folder.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(fail)?;
        lock.lock().map_err(fail)?;
        Ok(Self { folder: folder.into(), _lock: lock })
    }

    pub(crate) fn path(&self, name: Name) -> PathBuf {
        self.folder.join(name.file())
    }

    pub(crate) fn read(&self, name: Name) -> Result<Option<String>, StateError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError { path, source }),
        }
    }

    pub(crate) fn write(&self, name: Name, text: &str) -> Result<(), StateError> {
        let path = self.path(name);
        write_file_durably(&path, text.as_bytes()).map_err(|source| StateError { path, source })
    }

    pub(crate) fn remove(&self, name: Name) -> Result<(), StateError> {
        let path = self.path(name);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| sync_folder(&self.folder)),
        };
        removed.map_err(|source| StateError { path, source })
    }

    pub(crate) fn pending(&self) -> Result<Option<Pending>, StateError> {
        let Some(text) = self.read(Name::Pending)? else { return Ok(None) };
        let invalid = |error| StateError {
            path: self.path(Name::Pending),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        };
        serde_json::from_str(&text).map(Some).map_err(invalid)
    }

    pub(crate) fn set_pending(&self, pending: &Pending) -> Result<(), StateError> {
        let text = serde_json::to_string(pending).map_err(|error| StateError {
            path: self.path(Name::Pending),
            source: io::Error::other(error),
        })?;
        self.write(Name::Pending, &text)
    }
}

/// Whether the apply `id` still waits, seen without the lock: a glance, to be looked at again under it.
pub(crate) fn still_waits(folder: &Path, id: &str) -> bool {
    match fs::read_to_string(folder.join(Name::Pending.file())) {
        Ok(text) => match serde_json::from_str::<Pending>(&text) {
            Ok(pending) => pending.id == id && pending.phase != Phase::Confirmed,
            Err(_) => true,
        },
        // Only a file that is certainly gone means that somebody has decided.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(id: &str, phase: Phase) -> Pending {
        Pending { id: id.into(), host: "a".into(), boot: "b".into(), confirm_within_s: 60, phase }
    }

    #[test]
    fn what_is_written_is_read_and_removed_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("new/state")).unwrap();
        assert_eq!(state.pending().unwrap(), None);
        state.set_pending(&pending("1", Phase::Loaded)).unwrap();
        assert_eq!(state.pending().unwrap(), Some(pending("1", Phase::Loaded)));
        state.remove(Name::Pending).unwrap();
        state.remove(Name::Pending).unwrap();
        assert_eq!(state.pending().unwrap(), None);
        state.write(Name::Pending, "{").unwrap();
        assert!(state.pending().unwrap_err().to_string().contains("pending.json"));
    }

    #[test]
    fn an_apply_waits_until_somebody_has_decided() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!still_waits(folder.path(), "1"));
        let state = State::open(folder.path()).unwrap();
        state.set_pending(&pending("1", Phase::Prepared)).unwrap();
        assert!(still_waits(folder.path(), "1") && !still_waits(folder.path(), "2"));
        state.set_pending(&pending("1", Phase::Confirmed)).unwrap();
        assert!(!still_waits(folder.path(), "1"));
    }
}
