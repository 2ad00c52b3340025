//! Members of the staff whose tokens are not good any more: kept on the center's disk, told to every edge.
//!
//! A token is good for its hours and is checked where it is shown, at the edge. So what is kept here is, by name, the time
//! before which a token was made that is not good. Once all of those have expired by themselves, it is forgotten.
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use protocol::{
    bounds::ShortName,
    push::{STAFF_REVOCATIONS_MAX, StaffRevocation},
};
use runtime::durable::write_file_durably;
use tokio::sync::watch;

/// No file of them is longer, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Why a member of the staff's tokens are as good as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    /// The list is full.
    #[error(
        "{STAFF_REVOCATIONS_MAX} names are revoked already; the next has to wait until the oldest is forgotten"
    )]
    Full,
    /// It cannot be kept.
    #[error("it cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// All of them.
pub(crate) struct StaffRevoked {
    file: PathBuf,
    /// Held while the file is written, so that it and the list are the same.
    writing: Mutex<()>,
    list: watch::Sender<Vec<StaffRevocation>>,
}

impl StaffRevoked {
    /// Reads what an earlier process kept in `folder`.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join("staff-revoked.json");
        let list = match std::fs::File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            opened => {
                let mut text = String::new();
                opened?.take(FILE_MAX).read_to_string(&mut text)?;
                // Not to be read is no reason to forget who was revoked: the center does not start.
                serde_json::from_str(&text).map_err(io::Error::other)?
            }
        };
        Ok(StaffRevoked { file, writing: Mutex::default(), list: watch::Sender::new(list) })
    }

    /// Tokens of `name` made up to `now_s` (Unix seconds) are not good from now on.
    ///
    /// If the process dies before the file is written nothing was revoked and nobody was told so; after it, the next
    /// process tells the edges.
    pub(crate) fn revoke(&self, name: ShortName, now_s: u64) -> Result<(), RevokeError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.list.borrow().clone();
        list.retain(|revoked| revoked.name != name && !revoked.is_over(now_s));
        if list.len() >= STAFF_REVOCATIONS_MAX {
            return Err(RevokeError::Full);
        }
        list.push(StaffRevocation { name, until_s: now_s });
        write_file_durably(&self.file, &serde_json::to_vec(&list).map_err(io::Error::other)?)?;
        self.list.send_replace(list);
        Ok(())
    }

    /// They, and whenever they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<StaffRevocation>> {
        self.list.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use protocol::session::STAFF_TTL_S;

    use super::*;

    #[test]
    fn what_is_revoked_is_kept_until_its_tokens_have_expired_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let open = || StaffRevoked::open(folder.path()).unwrap();
        let revoked = open();
        revoked.revoke("li".parse().unwrap(), 100).unwrap();
        revoked.revoke("li".parse().unwrap(), 200).unwrap();
        let li = StaffRevocation { name: "li".parse().unwrap(), until_s: 200 };
        assert_eq!(*open().watch().borrow(), [li]);
        for n in 1..STAFF_REVOCATIONS_MAX {
            revoked.revoke(format!("n{n}").parse().unwrap(), 300).unwrap();
        }
        assert!(matches!(revoked.revoke("wang".parse().unwrap(), 300), Err(RevokeError::Full)));
        revoked.revoke("li".parse().unwrap(), 250).unwrap();
        revoked.revoke("wang".parse().unwrap(), 301 + STAFF_TTL_S).unwrap();
        assert_eq!(open().watch().borrow().len(), 1, "those before are over");
        std::fs::write(folder.path().join("staff-revoked.json"), "[{").unwrap();
        assert!(StaffRevoked::open(folder.path()).is_err(), "nobody is forgotten silently");
    }
}
