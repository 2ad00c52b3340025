//! `gridesk store …`: what an operator does with the intranet's store of files. Here `check`: content that no request refers to;
//! beside it `keep`, `get` and `status`, by which the store is kept in a bucket.
//!
//! What the center refuses stays in the store, since the gate's inner half may add to it and take nothing away. Here it is found and
//! taken away, in two steps a day apart, because another file of the same content may arrive at that very moment: first it is moved
//! aside, where it is found again by whatever turns out to refer to it; a later run deletes what still nobody refers to.
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use data_encoding::HEXLOWER;
use protocol::file::{Hash, place};
use serde_json::json;

use crate::operate::{self, OperateError};

pub mod args;
mod bucket;
pub mod get;
pub mod keep;
mod state;
pub mod status;
mod transport;
mod upload;

pub use bucket::BucketError;
pub use state::StateError;

/// Content is left alone for so long after it came, and what was moved aside for as long again.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// As many are asked after at once.
const BATCH: usize = 500;
/// Where content waits to be deleted, in the store's own folder.
const ASIDE: &str = "aside";

/// Why the store was not looked through.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The center cannot be asked.
    #[error(transparent)]
    Center(#[from] OperateError),
    /// A folder cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Which store is looked through.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The data folder of the running system, whose center is asked.
    pub data: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The quarantines of all gates that share it.
    pub quarantines: Vec<PathBuf>,
}

/// What was found, and what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Nobody refers to them.
    pub orphans: Vec<Hash>,
    /// Moved aside by an earlier run, and referred to after all: they are back.
    pub restored: Vec<Hash>,
    /// Moved aside by an earlier run, and deleted now.
    pub deleted: Vec<Hash>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

/// Looks through it; with `remove`, moves orphans aside and deletes those of an earlier run. Only what is older than `older` counts.
///
/// If the process dies, what it moved aside is found there by the next run, which puts it back or deletes it.
///
/// # Errors
/// [`StoreError`].
pub async fn check(stores: &Stores, remove: bool, older: Duration) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let aside = stores.store.join(ASIDE);
    let waiting = if aside.is_dir() { hashes(&aside, "", |_| true)? } else { Vec::new() };
    for batch in waiting.chunks(BATCH) {
        let orphans = unreferred(stores, batch).await?;
        for hash in batch {
            let (from, to) = (aside.join(HEXLOWER.encode(hash)), stores.store.join(place(hash)));
            if !orphans.contains(hash) {
                // Looking changes nothing.
                if remove {
                    restore(&from, &to)?;
                }
                found.restored.push(*hash);
            } else if remove && moved_before(&from, older) {
                fs::remove_file(&from).map_err(at(&from))?;
                found.deleted.push(*hash);
            }
        }
    }
    for first in 0..=u8::MAX {
        let name = format!("{first:02x}");
        let folder = stores.store.join(&name);
        let old = hashes(&folder, &name, |meta| {
            meta.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= older))
        })?;
        for batch in old.chunks(BATCH) {
            found.orphans.extend(unreferred(stores, batch).await?);
        }
    }
    if remove && !found.orphans.is_empty() {
        fs::create_dir_all(&aside).map_err(at(&aside))?;
        for hash in &found.orphans {
            let (from, to) = (stores.store.join(place(hash)), aside.join(HEXLOWER.encode(hash)));
            fs::rename(&from, &to).map_err(at(&from))?;
            if let Some(folder) = from.parent() {
                runtime::durable::sync_folder(folder).map_err(at(folder))?;
            }
        }
        runtime::durable::sync_folder(&aside).map_err(at(&aside))?;
        // What came to be referred to since it was asked after goes back at once; the rest waits for a later run.
        for batch in found.orphans.clone().chunks(BATCH) {
            let still = unreferred(stores, batch).await?;
            for hash in batch.iter().filter(|hash| !still.contains(*hash)) {
                restore(&aside.join(HEXLOWER.encode(hash)), &stores.store.join(place(hash)))?;
                found.orphans.retain(|orphan| orphan != hash);
                found.restored.push(*hash);
            }
        }
    }
    Ok(found)
}

/// Those of `hashes` to which neither a request nor a file on its way refers. The quarantines first: what leaves them was
/// attached before, and is found with the center.
async fn unreferred(stores: &Stores, hashes: &[Hash]) -> Result<BTreeSet<Hash>, StoreError> {
    let mut left: BTreeSet<Hash> = hashes.iter().copied().collect();
    for quarantine in &stores.quarantines {
        let coming = gate::files::hashes_on_their_way(quarantine).map_err(at(quarantine))?;
        left.retain(|hash| !coming.contains(hash));
    }
    let asked: Vec<String> = left.iter().map(|hash| HEXLOWER.encode(hash)).collect();
    let answer = operate::post(&stores.data, "/admin/files/known", &json!({ "hashes": asked })).await?;
    let known = answer["known"].as_array().into_iter().flatten().filter_map(|known| known.as_str());
    for hash in known.filter_map(parse) {
        left.remove(&hash);
    }
    Ok(left)
}

/// Puts content back under its hash, unless it is there again.
fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(to)(error)),
        _ => {}
    }
    if let Some(folder) = to.parent() {
        runtime::durable::sync_folder(folder).map_err(at(folder))?;
    }
    fs::remove_file(from).map_err(at(from))
}

/// The hashes of a folder's files whose metadata are wanted; `first` is what the folder's name says of them.
fn hashes(
    folder: &Path,
    first: &str,
    wanted: impl Fn(&fs::Metadata) -> bool,
) -> Result<Vec<Hash>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let hash = entry.file_name().to_str().and_then(|rest| parse(&format!("{first}{rest}")));
        let meta = fs::symlink_metadata(entry.path()).ok().filter(|meta| meta.is_file() && wanted(meta));
        found.extend(hash.filter(|_| meta.is_some()));
    }
    Ok(found)
}

/// Whether a file was moved to where it is so long ago: its name's change, not its content's.
fn moved_before(path: &Path, older: Duration) -> bool {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let moved_s = fs::symlink_metadata(path).ok().and_then(|meta| u64::try_from(meta.ctime()).ok());
    moved_s.is_some_and(|moved_s| now_s.saturating_sub(moved_s) >= older.as_secs())
}

fn parse(hex: &str) -> Option<Hash> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// What is to be printed, a line each.
pub fn lines(found: &Found, remove: bool) -> Vec<String> {
    let line = |what: &'static str| move |hash: &Hash| format!("{}  {what}", HEXLOWER.encode(hash));
    let orphan = if remove { "moved aside; deleted by a run after a day" } else { "nobody refers to it" };
    let mut lines: Vec<String> = found.orphans.iter().map(line(orphan)).collect();
    let restored = if remove {
        "referred to after all: put back"
    } else {
        "set aside, but referred to: --remove puts it back"
    };
    lines.extend(found.restored.iter().map(line(restored)));
    lines.extend(found.deleted.iter().map(line("deleted")));
    if lines.is_empty() {
        lines.push("everything in the store that is older than a day is referred to".to_owned());
    }
    lines
}
