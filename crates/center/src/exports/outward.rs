//! The outward folder: files by the hash of their content, for the gate's inner half to hand out.
//!
//! The center alone writes to it, and the inner half alone reads it, maybe as another user: folders can be passed through
//! (0711) but not listed by others, files are read-only (0444).
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use protocol::file::{Hash, place};
use runtime::durable::{folder_of, sync_folder};

const FOLDER_MODE: u32 = 0o711;
const FILE_MODE: u32 = 0o444;
/// What a file's name begins with while it is being made.
const DRAFT: &str = ".making-";
/// No file is longer, in bytes.
const MOST_BYTES: u64 = 256 << 20;

/// A handle on the folder. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outward {
    folder: Arc<Path>,
    drafts: Arc<AtomicU64>,
    /// Held while a file comes to its place, or is looked at and removed: neither happens in the middle of the other.
    placing: Arc<Mutex<()>>,
}

/// A file system's clock is coarser than ours.
const MARGIN: Duration = Duration::from_millis(20);

impl Outward {
    /// Opens the folder, makes it where it is not there, and removes what was being made when an earlier process died. The
    /// caller holds the lock of the business data, so that there is one who makes files.
    pub(crate) fn open(folder: &Path) -> io::Result<Outward> {
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        // Whatever the umask said.
        fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
        sync_folder(folder_of(folder))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Outward { folder: folder.into(), drafts: Arc::default(), placing: Arc::default() })
    }

    /// Begins a file.
    pub(super) fn begin(&self) -> io::Result<Draft> {
        let path = self.folder.join(format!("{DRAFT}{}", self.drafts.fetch_add(1, Ordering::Relaxed)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Draft {
            outward: self.clone(),
            path: Some(path),
            file: io::BufWriter::with_capacity(64 << 10, file),
            hasher: blake3::Hasher::new(),
            size: 0,
        })
    }

    /// Removes a file that was last put in its place before a moment; whether it was there and is not any more.
    pub(super) fn remove(&self, root: &Hash, before: SystemTime) -> io::Result<bool> {
        let path = self.folder.join(place(root));
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = match fs::metadata(&path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if there.modified()? + MARGIN >= before {
            return Ok(false);
        }
        fs::remove_file(&path)?;
        // Should the machine die before this, the file may be there again, and is swept.
        sync_folder(folder_of(&path))?;
        Ok(true)
    }

    /// The hashes of all files.
    pub(super) fn files(&self) -> io::Result<Vec<Hash>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let hex = format!(
                    "{}{}",
                    folder.file_name().to_string_lossy(),
                    file?.file_name().to_string_lossy()
                );
                // What is not named by a hash is not ours, and stays.
                found.extend(blake3::Hash::from_hex(hex).ok().map(|hash| *hash.as_bytes()));
            }
        }
        Ok(found)
    }
}

/// A file that is being made; removed on drop unless it came to its place.
pub(super) struct Draft {
    outward: Outward,
    path: Option<PathBuf>,
    file: io::BufWriter<File>,
    hasher: blake3::Hasher,
    size: u64,
}

impl Draft {
    /// Appends bytes; `false` where the file would be too long.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.size += bytes.len() as u64;
        if self.size > MOST_BYTES {
            return Ok(false);
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes)?;
        Ok(true)
    }

    /// Puts the file, flushed and read-only, where its hash says. The same content twice is the same file.
    pub(super) fn place(mut self) -> io::Result<(Hash, u64)> {
        let root = *self.hasher.finalize().as_bytes();
        let target = self.outward.folder.join(place(&root));
        self.file.flush()?;
        let file = self.file.get_ref();
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        // Before the rename, so that a name never stands for bytes that are not on the disk.
        file.sync_all()?;
        let folder = folder_of(&target);
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
            sync_folder(&self.outward.folder)?;
        }
        if let Some(path) = &self.path {
            let _placing = self.outward.placing.lock().unwrap_or_else(PoisonError::into_inner);
            fs::rename(path, &target)?;
        }
        self.path = None;
        // Before anybody is told of it.
        sync_folder(folder)?;
        Ok((root, self.size))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Else it is removed at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(outward: &Outward, bytes: &[u8]) -> Hash {
        let mut draft = outward.begin().unwrap();
        assert!(draft.write(bytes).unwrap());
        let (root, size) = draft.place().unwrap();
        assert_eq!((root, size), (*blake3::hash(bytes).as_bytes(), bytes.len() as u64));
        root
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_where_its_content_says_for_others_to_read_and_nobody_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let outward = Outward::open(&folder.path().join("a/outward")).unwrap();
        let root = make(&outward, b"some use");
        let path = outward.folder.join(place(&root));
        assert_eq!(fs::read(&path).unwrap(), b"some use");
        assert_eq!((mode(&path), mode(folder_of(&path)), mode(&outward.folder)), (0o444, 0o711, 0o711));
        assert_eq!(make(&outward, b"some use"), root, "again is the same");
        assert_eq!(outward.files().unwrap(), [root]);
    }

    #[test]
    fn what_was_begun_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let outward = Outward::open(folder.path()).unwrap();
        drop(outward.begin().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // The process dies: nothing is dropped.
        let mut draft = outward.begin().unwrap();
        draft.write(b"half").unwrap();
        std::mem::forget(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let outward = Outward::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        make(&outward, b"whole");
    }

    #[test]
    fn what_was_just_put_there_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let outward = Outward::open(folder.path()).unwrap();
        let root = make(&outward, b"x");
        let now = SystemTime::now();
        assert!(!outward.remove(&root, now - Duration::from_secs(60)).unwrap());
        assert!(outward.remove(&root, now + Duration::from_secs(60)).unwrap());
        assert!(!outward.remove(&root, now + Duration::from_secs(60)).unwrap(), "again is done as well");
    }
}
