//! `gridesk store get`: content by its hash, from the folder or else from the bucket, shown only once it has that hash.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt;
use protocol::file::{self, Hash, MAX_FILE_LEN};
use runtime::durable::{folder_of, sync_folder};

use super::{
    args::GetArgs,
    bucket::{Bucket, BucketError},
    keep::parse,
};

/// A bucket that sends nothing for so long has broken off.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Why it was not got.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No hash.
    #[error("{0} is no hash: 64 digits, 0 to 9 and a to f")]
    Hash(String),
    /// Nothing is replaced.
    #[error("{} is there already: remove it, or name another by --out", .0.display())]
    Exists(PathBuf),
    /// Not in the store, and no bucket was named.
    #[error("not in {}: name the bucket by --bucket and --endpoint", .0.display())]
    NotHere(PathBuf),
    /// The bucket does not give it.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The bucket broke off.
    #[error("the bucket broke off: try again")]
    BrokenOff(#[source] Option<object_store::Error>),
    /// Content of another hash.
    #[error("{0} gave content that is not what its hash says: nothing was written")]
    Changed(String),
    /// A file or folder cannot be used.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Where it came from, in words.
///
/// If the process dies, what was written so far is beside `--out` under a name that begins with a dot, and `--out` is not there.
///
/// # Errors
/// [`GetError`]; nothing is at `--out` then.
pub async fn get(args: &GetArgs) -> Result<String, GetError> {
    let hash = parse(&args.hash).ok_or_else(|| GetError::Hash(args.hash.clone()))?;
    if args.out.symlink_metadata().is_ok() {
        return Err(GetError::Exists(args.out.clone()));
    }
    let here = args.store.join(file::place(&hash));
    match File::open(&here) {
        Ok(mut content) => match copy(&mut content, Draft::begin(&args.out)?, &hash, &here)? {
            Some(draft) => return draft.show().map(|()| here.display().to_string()),
            None if args.bucket.bucket.is_none() => {
                return Err(GetError::Changed(here.display().to_string()));
            }
            None => tracing::error!(path = %here.display(), "damaged here; asking the bucket"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if args.bucket.bucket.is_none() {
                return Err(GetError::NotHere(args.store.clone()));
            }
        }
        Err(source) => return Err(GetError::Io { path: here, source }),
    }
    let bucket = Bucket::open(&args.bucket)?;
    let mut draft = Draft::begin(&args.out)?;
    let mut content = bucket.get(&bucket.key(&hash)).await?.into_stream();
    while let Some(some) =
        tokio::time::timeout(SILENT_FOR, content.next()).await.map_err(|_| GetError::BrokenOff(None))?
    {
        draft.write(&some.map_err(|error| GetError::BrokenOff(Some(error)))?)?;
        if draft.len > MAX_FILE_LEN {
            return Err(GetError::Changed(bucket.home()));
        }
    }
    match draft.is(&hash) {
        true => draft.show().map(|()| bucket.home()),
        false => Err(GetError::Changed(bucket.home())),
    }
}

/// Copies what is here; `None` if it is something else.
fn copy(from: &mut impl Read, mut draft: Draft, hash: &Hash, path: &Path) -> Result<Option<Draft>, GetError> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|source| GetError::Io { path: path.to_owned(), source })?,
        };
        match buffer.get(..read) {
            Some(some) if !some.is_empty() => draft.write(some)?,
            _ => return Ok(draft.is(hash).then_some(draft)),
        }
    }
}

/// A file that is not shown yet; removed on drop.
struct Draft {
    out: PathBuf,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    len: u64,
}

impl Draft {
    fn begin(out: &Path) -> Result<Self, GetError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(out.file_name().unwrap_or_default());
        name.push(format!(".{}.draft", std::process::id()));
        let path = folder_of(out).join(name);
        // One of this name can only be left over from a dead process that had our pid.
        fs::remove_file(&path).ok();
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { out: out.to_owned(), path, file, hasher: blake3::Hasher::new(), len: 0 }),
            Err(source) => Err(GetError::Io { path, source }),
        }
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> GetError + use<> {
        let path = self.path.clone();
        move |source| GetError::Io { path, source }
    }

    fn write(&mut self, some: &[u8]) -> Result<(), GetError> {
        self.hasher.update(some);
        self.len += some.len() as u64;
        self.file.write_all(some).map_err(self.failed())
    }

    fn is(&self, hash: &Hash) -> bool {
        self.hasher.finalize() == *hash
    }

    /// Shows it, durably. If the process dies before the rename, there is a draft and nothing else; after it, all of the file.
    fn show(self) -> Result<(), GetError> {
        let shown = self.file.sync_all().and_then(|()| fs::rename(&self.path, &self.out));
        shown.and_then(|()| sync_folder(folder_of(&self.out))).map_err(self.failed())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is none.
        fs::remove_file(&self.path).ok();
    }
}
