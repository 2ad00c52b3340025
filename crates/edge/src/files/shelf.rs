//! The files that were fetched from inside, kept for a while for who asks again: one file each, named by the hash of its
//! content. Nothing here says for whom.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use protocol::file::{CHUNK_LEN, ChunkHead, Coding, Hash, Offer, chunk_cv, root_of};
use runtime::durable::sync_folder;

/// What a file's name ends in before all of it is here.
const DRAFT: &str = "part";
/// No more files are kept, however short they are.
const FILES_MAX: usize = 10_000;

/// The folder of all of them. Everything here blocks.
#[derive(Clone)]
pub(super) struct Shelf {
    folder: Arc<Path>,
}

impl Shelf {
    /// The folder under the edge's own, made where it is missing. What an earlier process had not finished is removed.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("files/fetched");
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            sync_folder(&data.join("files"))?;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == DRAFT) {
                fs::remove_file(path)?;
            }
        }
        Ok(Shelf { folder: folder.into() })
    }

    fn path(&self, root: &Hash) -> PathBuf {
        self.folder.join(HEXLOWER.encode(root))
    }

    /// Opens a file that is here.
    pub(super) fn find(&self, offer: &Offer) -> io::Result<Option<File>> {
        match File::open(self.path(&offer.root)) {
            Ok(file) if file.metadata()?.len() == offer.size => Ok(Some(file)),
            // Nobody but this edge writes here: its disk lost something. It is fetched anew.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a file. One begun before under this hash is begun anew.
    pub(super) fn begin(&self, offer: &Offer) -> io::Result<Draft> {
        let path = self.path(&offer.root);
        let draft = path.with_extension(DRAFT);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        Ok(Draft { file: Arc::new(file), draft, path, offer: offer.clone(), cvs: Vec::new() })
    }

    /// Removes what was fetched before `before`, and then the oldest until there are at most `bytes`. Gives how many are left.
    pub(super) fn sweep(&self, before: SystemTime, bytes: u64) -> io::Result<u64> {
        let mut here = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none() {
                // One that another sweep took just now is gone.
                let Ok(found) = fs::metadata(&path) else { continue };
                here.push((found.modified()?, found.len(), path));
            }
        }
        here.sort();
        let mut total: u64 = here.iter().map(|(_, len, _)| len).sum();
        let mut left = here.len();
        for (fetched, len, path) in here {
            if fetched >= before && total <= bytes && left <= FILES_MAX {
                break;
            }
            // Who is reading it goes on reading.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (total, left) = (total - len, left - 1),
            }
        }
        Ok(total)
    }
}

/// `kept` before `now_ms`, Unix ms.
pub(super) fn before(now_ms: u64, kept: Duration) -> SystemTime {
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    now.checked_sub(kept).unwrap_or(UNIX_EPOCH)
}

/// Why a piece is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PieceError {
    /// It is not what its head says.
    #[error("a piece is not what its head says")]
    Changed,
    /// It cannot be written.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// A file that is being fetched; removed where it does not come to its end.
pub(super) struct Draft {
    file: Arc<File>,
    draft: PathBuf,
    path: PathBuf,
    offer: Offer,
    /// Of the pieces that are here, verified.
    cvs: Vec<Hash>,
}

impl Draft {
    /// The number of the first piece that is missing.
    pub(super) fn due(&self) -> u32 {
        self.cvs.len() as u32
    }

    /// Forgets all pieces.
    pub(super) fn restart(&mut self) {
        self.cvs.clear();
    }

    /// What writes pieces where it may block. Each is then [noted](Self::note).
    pub(super) fn writer(
        &self,
    ) -> impl FnOnce(ChunkHead, Vec<u8>) -> Result<Hash, PieceError> + Send + use<> {
        let (file, offer) = (Arc::clone(&self.file), self.offer.clone());
        move |head, body| {
            let piece = match head.coding {
                Coding::Raw => body,
                Coding::Zstd => expanded(&body, offer.chunk_len(head.index))?,
            };
            let cv = chunk_cv(offer.size, head.index, &piece);
            if cv != head.cv {
                return Err(PieceError::Changed);
            }
            file.write_all_at(&piece, u64::from(head.index) * CHUNK_LEN as u64)?;
            Ok(cv)
        }
    }

    /// The next piece was written.
    pub(super) fn note(&mut self, cv: Hash) {
        self.cvs.push(cv);
    }

    /// Whether all of it is here, and is what it was fetched as. `None`: something is missing.
    pub(super) fn is_it(&self) -> Option<bool> {
        root_of(self.offer.size, &self.cvs).map(|root| root == self.offer.root)
    }

    /// Shows it under its hash. If the process dies before the new name is flushed, the file is there under one of its names or
    /// none: what is not shown yet is removed at the next start, and fetched again.
    pub(super) fn show(&self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it is shown.
        fs::remove_file(&self.draft).ok();
    }
}

/// One zstd frame of exactly that length, or nothing.
fn expanded(frame: &[u8], len: usize) -> Result<Vec<u8>, PieceError> {
    match zstd::bulk::decompress(frame, len) {
        Ok(piece) if piece.len() == len => Ok(piece),
        _ => Err(PieceError::Changed),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Bucket, FileId};

    use super::*;

    fn offer(bytes: &[u8]) -> Offer {
        let file = FileId::mint(Bucket::FIRST, 1);
        Offer { file, size: bytes.len() as u64, root: *blake3::hash(bytes).as_bytes() }
    }

    fn put(shelf: &Shelf, bytes: &[u8], age: Duration) -> Offer {
        let offer = offer(bytes);
        let mut draft = shelf.begin(&offer).unwrap();
        let cv = chunk_cv(offer.size, 0, bytes);
        let head = ChunkHead { index: 0, coding: Coding::Raw, len: bytes.len() as u32, cv };
        let cv = draft.writer()(head, bytes.to_vec()).unwrap();
        assert_eq!(draft.is_it(), None);
        draft.note(cv);
        assert_eq!(draft.is_it(), Some(true));
        draft.file.set_modified(SystemTime::now() - age).unwrap();
        draft.show().unwrap();
        offer
    }

    fn names(shelf: &Shelf) -> usize {
        fs::read_dir(&shelf.folder).unwrap().count()
    }

    #[test]
    fn what_is_old_or_too_much_gives_way_the_oldest_first() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(data.path()).unwrap();
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let all = [30, 20, 10, 1].map(|n| put(&shelf, &[n; 100], hours(u64::from(n))));
        let is_here = || all.each_ref().map(|offer| shelf.find(offer).unwrap().is_some());
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert_eq!(shelf.sweep(before(now_ms, hours(24)), 1000).unwrap(), 300);
        assert_eq!(is_here(), [false, true, true, true]);
        let mut open = shelf.find(&all[1]).unwrap().unwrap();
        assert_eq!(shelf.sweep(before(now_ms, hours(24)), 250).unwrap(), 200);
        assert_eq!(is_here(), [false, false, true, true]);
        let mut read = Vec::new();
        io::Read::read_to_end(&mut open, &mut read).unwrap();
        assert_eq!(read, [20; 100], "who reads it goes on");
        assert_eq!(shelf.sweep(before(now_ms, hours(24)), 0).unwrap(), 0);
        assert_eq!(names(&shelf), 0);
        // However long things are kept.
        assert_eq!(before(5, Duration::MAX), UNIX_EPOCH);
    }

    #[test]
    fn a_crash_leaves_nothing_that_counts() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(data.path()).unwrap();
        let kept = put(&shelf, b"whole", Duration::ZERO);
        let half = offer(b"half of it");
        std::mem::forget(shelf.begin(&half).unwrap());
        assert_eq!((names(&shelf), shelf.find(&half).unwrap().is_some()), (2, false));
        let shelf = Shelf::open(data.path()).unwrap();
        assert_eq!((names(&shelf), shelf.find(&kept).unwrap().is_some()), (1, true));
        // One that ends without being shown takes itself away.
        drop(shelf.begin(&half).unwrap());
        assert_eq!(names(&shelf), 1);
        // A file that the disk cut short is none.
        OpenOptions::new().write(true).open(shelf.path(&kept.root)).unwrap().set_len(2).unwrap();
        assert!(shelf.find(&kept).unwrap().is_none());
    }

    #[test]
    fn a_piece_that_is_not_what_its_head_says_is_not_taken() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(data.path()).unwrap();
        let bytes = b"0123456789 kWh\n".repeat(100);
        let draft = shelf.begin(&offer(&bytes)).unwrap();
        let frame = zstd::bulk::compress(&bytes, 1).unwrap();
        let take = |cv: Hash, coding, body: &[u8]| {
            let head = ChunkHead { index: 0, coding, len: body.len() as u32, cv };
            draft.writer()(head, body.to_vec()).is_ok()
        };
        let cv = chunk_cv(bytes.len() as u64, 0, &bytes);
        assert!(take(cv, Coding::Raw, &bytes) && take(cv, Coding::Zstd, &frame));
        let longer = zstd::bulk::compress(&[&bytes[..], b"x"].concat(), 1).unwrap();
        for body in [&frame[..frame.len() - 1], &longer[..], b"none"] {
            assert!(!take(cv, Coding::Zstd, body));
        }
        assert!(!take([0; 32], Coding::Raw, &bytes) && !take(cv, Coding::Raw, &frame));
    }
}
