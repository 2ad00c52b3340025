//! The intranet's store of files: each under the hash of its content, read-only, whole.
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use protocol::file::{self, Hash};
use runtime::durable::sync_folder;

/// The mode of what is in the store.
const MODE: u32 = 0o400;

/// The folder of it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens it, made if need be, with the folders for each first byte of a hash.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        for first in 0..=u8::MAX {
            make_folder(&folder.join(format!("{first:02x}")))?;
        }
        sync_folder(folder)?;
        Ok(Store { folder: folder.to_owned() })
    }

    /// Where content of this hash is: `ab/cdef…`.
    pub(super) fn place(&self, root: &Hash) -> PathBuf {
        self.folder.join(file::place(root))
    }

    /// Shows a file under its hash, durably. What comes here was verified and inspected, and is whole; the file keeps its
    /// name `path` too.
    pub(super) fn show(&self, file: &File, path: &Path, root: &Hash) -> io::Result<()> {
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.sync_all()?;
        let place = self.place(root);
        match fs::hard_link(path, &place) {
            // The same content, from another file or from before a crash.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
        // Also where it was there: whoever linked it may not have come so far.
        place.parent().map_or(Ok(()), sync_folder)
    }
}

/// Makes a folder for this user only, unless it is there.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
