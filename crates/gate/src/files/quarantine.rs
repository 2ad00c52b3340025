//! Where a file is until it is verified: its bytes, the chaining values of the pieces that are durable, and, once it is in
//! the store, a marker that says so.
//!
//! | file | what it is |
//! | --- | --- |
//! | `{id}.part` | the bytes so far; locked by the process that writes it |
//! | `{id}.cvs` | size and hash of the offer, then 32 bytes for each piece whose bytes were on the disk before |
//! | `{id}.verified` | the file is in the store; only its receipt is still to come, or was lost on its way |
//!
//! After a crash a file goes on after the pieces whose chaining values are there; nothing is read again, because the hash of
//! the whole comes from the chaining values.
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{
    FileId,
    bounds::ShortName,
    file::{CHUNK_LEN, Hash, Offer},
    wire,
};
use runtime::durable::{sync_folder, write_file_durably};
use serde::{Deserialize, Serialize};

use super::store::make_folder;

/// A file of which nothing came for so long is given up.
const PART_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A verified file is answered without its bytes for so long.
const MARKER_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Size and hash of the offer, before the chaining values.
const CVS_HEAD_LEN: usize = 40;
const HASH_LEN: usize = 32;
/// Whatever a marker says, it says it in fewer bytes.
const MARKER_MAX: u64 = 256;

/// The folder of it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    folder: Arc<Path>,
}

/// The file is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// What the inspection found it to be.
    pub(super) kind: ShortName,
}

/// The hashes of what is on its way through a quarantine, as far as it says: of files that come in more than one piece, and of those
/// that are in the store and whose attachment is not known to have ended.
///
/// # Errors
/// The folder cannot be read.
pub fn hashes_on_their_way(folder: &Path) -> io::Result<BTreeSet<Hash>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MARKER_MAX).read_to_end(&mut bytes));
        match (path.extension().and_then(|end| end.to_str()), read) {
            // It may have gone since it was listed: then it is attached, or refused.
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            (Some("verified"), read) => {
                read?;
                let marker: Marker = wire::decode_exact(&bytes).map_err(io::Error::other)?;
                found.insert(marker.root);
            }
            (Some("cvs"), read) => {
                read?;
                found.extend(bytes.get(8..CVS_HEAD_LEN).and_then(|root| Hash::try_from(root).ok()));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A file that is coming. Whoever has it is the only one that writes it.
pub(super) struct Part {
    pub(super) offer: Offer,
    pub(super) disk: Arc<Disk>,
    /// Of every piece that was written, in this process or before.
    pub(super) cvs: Vec<Hash>,
    /// How many of them were taken over from an earlier process.
    pub(super) taken_over: u32,
    /// How many are durable.
    pub(super) durable: u32,
}

/// The files of a part.
pub(super) struct Disk {
    pub(super) part: File,
    pub(super) part_path: PathBuf,
    cvs: File,
    cvs_path: PathBuf,
}

impl Quarantine {
    /// Opens it, made if need be.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        Ok(Quarantine { folder: folder.into() })
    }

    fn path(&self, file: FileId, what: &str) -> PathBuf {
        self.folder.join(format!("{file}.{what}"))
    }

    /// What is known of a file that is in the store already; a marker of another offer does not count.
    pub(super) fn marker(&self, offer: &Offer) -> io::Result<Option<Marker>> {
        let mut bytes = Vec::new();
        match File::open(self.path(offer.file, "verified")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?.take(MARKER_MAX).read_to_end(&mut bytes)?,
        };
        let marker = wire::decode_exact::<Marker>(&bytes).ok();
        Ok(marker.filter(|marker| (marker.size, marker.root) == (offer.size, offer.root)))
    }

    /// Notes durably that a file is in the store.
    pub(super) fn mark(&self, file: FileId, marker: &Marker) -> io::Result<()> {
        write_file_durably(&self.path(file, "verified"), &wire::encode(marker))
    }

    /// Forgets that a file is in the store.
    pub(super) fn unmark(&self, file: FileId) -> io::Result<()> {
        remove(&self.path(file, "verified"))
    }

    /// A new, empty, locked part for a file that comes in one go; what was left of an earlier try goes. `None`: somebody
    /// else writes it.
    pub(super) fn begin_small(&self, file: FileId) -> io::Result<Option<(File, PathBuf)>> {
        let path = self.path(file, "part");
        loop {
            match lock(&path)? {
                Locked::New(file) => return Ok(Some((file, path))),
                Locked::Old(_) => remove(&path)?,
                Locked::ByAnother => return Ok(None),
            }
        }
    }

    /// The part of a file, to go on with. `None`: somebody else writes it.
    pub(super) fn begin(&self, offer: &Offer) -> io::Result<Option<Part>> {
        let (part_path, cvs_path) = (self.path(offer.file, "part"), self.path(offer.file, "cvs"));
        loop {
            let (part, is_new) = match lock(&part_path)? {
                Locked::New(part) => (part, true),
                Locked::Old(part) => (part, false),
                Locked::ByAnother => return Ok(None),
            };
            let cvs_file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(is_new)
                .mode(0o600)
                .open(&cvs_path)?;
            let found = part.metadata()?;
            let cvs = read_cvs(&cvs_file, offer, found.len())?;
            let is_whole = cvs.len() == offer.chunks() as usize;
            // What has a second name is in the store, and what cannot be written is on its way there: neither may change.
            let is_writable = found.nlink() == 1 && found.mode() & 0o200 != 0;
            let is_odd = cvs.is_empty() && found.len() > 0 || is_whole && found.len() != offer.size;
            if !is_whole && !is_writable || is_odd {
                remove(&cvs_path)?;
                remove(&part_path)?;
                continue;
            }
            let durable = u32::try_from(cvs.len()).unwrap_or(u32::MAX);
            if !is_whole {
                part.set_len(u64::from(durable) * CHUNK_LEN as u64)?;
            }
            cvs_file.set_len((CVS_HEAD_LEN + cvs.len() * HASH_LEN) as u64)?;
            if cvs.is_empty() {
                cvs_file.write_all_at(&cvs_head(offer), 0)?;
                sync_folder(&self.folder)?;
            }
            let disk = Arc::new(Disk { part, part_path, cvs: cvs_file, cvs_path });
            return Ok(Some(Part { offer: offer.clone(), disk, cvs, taken_over: durable, durable }));
        }
    }

    /// Removes what a crash left of a file that is verified.
    pub(super) fn clear(&self, file: FileId) -> io::Result<()> {
        remove_part(&self.path(file, "part"))
    }

    /// Removes what nobody came back for.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let now = SystemTime::now();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let kept = match path.extension().and_then(|end| end.to_str()) {
                Some("verified") => MARKER_KEPT,
                _ => PART_KEPT,
            };
            // It may have gone since it was listed.
            let Ok(changed) = fs::symlink_metadata(&path).and_then(|found| found.modified()) else {
                continue;
            };
            if now.duration_since(changed).is_ok_and(|age| age > kept)
                && let Err(error) = sweep_one(&path)
            {
                tracing::warn!(path = %path.display(), %error, "cannot be removed from the quarantine");
            }
        }
        Ok(())
    }
}

impl Part {
    /// The number of the piece that is due.
    pub(super) fn due(&self) -> u32 {
        u32::try_from(self.cvs.len()).unwrap_or(u32::MAX)
    }

    /// How many bytes are still to come.
    pub(super) fn left(&self) -> u64 {
        self.offer.size.saturating_sub(u64::from(self.due()) * CHUNK_LEN as u64)
    }
}

impl Disk {
    /// Writes a piece at its place.
    pub(super) fn write(&self, index: u32, piece: &[u8]) -> io::Result<()> {
        self.part.write_all_at(piece, u64::from(index) * CHUNK_LEN as u64)
    }

    /// Makes the pieces from `from` on durable, whose chaining values are `cvs`: first their bytes, then the values.
    pub(super) fn make_durable(&self, from: u32, cvs: &[Hash]) -> io::Result<()> {
        self.part.sync_data()?;
        self.cvs.write_all_at(cvs.as_flattened(), CVS_HEAD_LEN as u64 + u64::from(from) * HASH_LEN as u64)?;
        self.cvs.sync_data()
    }

    /// A long file that nobody reads any more is not to push out of memory what others read there. Advice: it need not be
    /// taken.
    pub(super) fn let_go(&self) {
        rustix::fs::fadvise(&self.part, 0, None, rustix::fs::Advice::DontNeed).ok();
    }

    /// Gives the part up. It must not have a name that counts any more.
    pub(super) fn remove(&self) -> io::Result<()> {
        // The part last: as long as it is there, its lock guards the other.
        remove(&self.cvs_path)?;
        remove(&self.part_path)
    }
}

fn cvs_head(offer: &Offer) -> [u8; CVS_HEAD_LEN] {
    let mut head = [0; CVS_HEAD_LEN];
    head[..8].copy_from_slice(&offer.size.to_be_bytes());
    head[8..].copy_from_slice(&offer.root);
    head
}

/// The whole chaining values of `offer` whose pieces are in the part; none where they are of another offer.
fn read_cvs(file: &File, offer: &Offer, part_len: u64) -> io::Result<Vec<Hash>> {
    let chunk_len = CHUNK_LEN as u64;
    let held = if part_len >= offer.size { u64::from(offer.chunks()) } else { part_len / chunk_len };
    let most = CVS_HEAD_LEN + usize::try_from(held).unwrap_or(usize::MAX).saturating_mul(HASH_LEN);
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(match bytes.split_at_checked(CVS_HEAD_LEN) {
        Some((head, cvs)) if head == cvs_head(offer) => cvs.as_chunks::<HASH_LEN>().0.to_vec(),
        _ => Vec::new(),
    })
}

/// A part's file, as this process found it.
enum Locked {
    /// Made now, empty.
    New(File),
    /// It was there.
    Old(File),
    /// Another process, or another connection of this one, writes it.
    ByAnother,
}

/// Opens and locks the file at `path`, made if need be. The lock ends with the file, however that ends.
fn lock(path: &Path) -> io::Result<Locked> {
    loop {
        let (file, is_new) =
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
                Ok(file) => (file, true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // One on its way to the store can only be read.
                    let opened = match OpenOptions::new().read(true).write(true).open(path) {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
                        opened => opened,
                    };
                    match opened {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => (opened?, false),
                    }
                }
                Err(error) => return Err(error),
            };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Locked::ByAnother),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it may have removed it between our opening and our locking.
        let ours = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                return Ok(if is_new { Locked::New(file) } else { Locked::Old(file) });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

fn sweep_one(path: &Path) -> io::Result<()> {
    match path.extension().and_then(|end| end.to_str()) {
        // Goes with its part.
        Some("cvs") if path.with_extension("part").exists() => Ok(()),
        Some("part") => remove_part(path),
        _ => remove(path),
    }
}

/// Removes a part and its chaining values, unless somebody writes it.
fn remove_part(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    match lock(path)? {
        Locked::ByAnother => Ok(()),
        // Held until both are gone.
        Locked::New(_lock) | Locked::Old(_lock) => {
            remove(&path.with_extension("cvs"))?;
            remove(path)
        }
    }
}

/// Removes a file; one that is gone is fine.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
