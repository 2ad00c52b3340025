//! One file into the bucket: read in bounded pieces, compared with its name, put, looked for.
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use object_store::MultipartUpload;
use protocol::file::Hash;
use runtime::shutdown::Shutdown;

use super::{
    bucket::{Bucket, BucketError},
    state::StateError,
};

/// What is shorter is put at once; the length of each part of what is not. In bytes.
const PART_LEN: usize = 8 << 20;
/// So many parts of a file are on their way at once.
const PARTS_IN_FLIGHT: usize = 2;
/// So much is read at once where nothing is sent, in bytes.
const READ_LEN: usize = 1 << 20;
/// Taking back what was begun may take so long.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// Why a file was not put.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    /// It is not there any more.
    #[error("it is gone")]
    Gone,
    /// The program is to end.
    #[error("stopped")]
    Stopped,
    /// It is not what its name says.
    #[error("its content is not what its name says: it is damaged, and left alone; restore it from a backup")]
    Changed,
    /// It cannot be read.
    #[error("it cannot be read ({0}): see that this user may read the store, and that the disk is sound")]
    Read(#[from] io::Error),
    /// The bucket has it, and it cannot be removed here.
    #[error(
        "its local copy cannot be removed ({0}): --free-after needs a user that may write in the store's folders"
    )]
    Remove(#[source] io::Error),
    /// What was done cannot be noted.
    #[error(transparent)]
    State(#[from] StateError),
    /// The bucket did not take it.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Puts the file at `path`, whose name says that this is the hash of its content; gives its length. The bucket shows all of it or
/// nothing, and has said how long it is.
///
/// If the process dies before the end, the bucket shows nothing, or all of it, which the next try puts there again; parts of a
/// large file may be left there unseen, which a rule of the bucket's removes.
pub(super) async fn put(
    bucket: &Bucket,
    path: &Path,
    hash: &Hash,
    shutdown: &Shutdown,
) -> Result<u64, PutError> {
    let (path, key) = (path.to_owned(), bucket.key(hash));
    let (file, size) = blocking(move || open(&path)).await?;
    if size < PART_LEN as u64 {
        let (content, found) = blocking(move || read(&file, 0, size, blake3::Hasher::new())).await?;
        if found.finalize() != *hash {
            return Err(PutError::Changed);
        }
        tokio::select! {
            biased;
            () = shutdown.begun() => return Err(PutError::Stopped),
            done = bucket.put(&key, content) => done?,
        }
    } else {
        // Before anything is sent: what is damaged costs the bucket nothing.
        let (whole, stop) = (Arc::clone(&file), shutdown.clone());
        if blocking(move || hash_of(&whole, size, &stop)).await? != *hash {
            return Err(PutError::Changed);
        }
        put_in_parts(bucket, &file, size, hash, shutdown).await?;
    }
    tokio::select! {
        biased;
        () = shutdown.begun() => return Err(PutError::Stopped),
        there = bucket.has(&key, size) => there?,
    }
    Ok(size)
}

/// Puts a large file; takes back what was begun if that fails.
async fn put_in_parts(
    bucket: &Bucket,
    file: &Arc<File>,
    size: u64,
    hash: &Hash,
    shutdown: &Shutdown,
) -> Result<(), PutError> {
    let key = bucket.key(hash);
    let mut upload = tokio::select! {
        biased;
        () = shutdown.begun() => return Err(PutError::Stopped),
        begun = bucket.begin(&key) => begun?,
    };
    let sent = tokio::select! {
        biased;
        () = shutdown.begun() => Err(PutError::Stopped),
        sent = send_parts(bucket, upload.as_mut(), file, size, hash) => sent,
    };
    if sent.is_err() && !matches!(tokio::time::timeout(ABORT_WITHIN, upload.abort()).await, Ok(Ok(()))) {
        tracing::info!("parts of a file that was not put stay in the bucket until its own rule removes them");
    }
    sent
}

async fn send_parts(
    bucket: &Bucket,
    upload: &mut dyn MultipartUpload,
    file: &Arc<File>,
    size: u64,
    hash: &Hash,
) -> Result<(), PutError> {
    let key = bucket.key(hash);
    let mut in_flight = FuturesUnordered::new();
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
    while offset < size {
        if in_flight.len() == PARTS_IN_FLIGHT {
            in_flight.next().await.transpose()?;
        }
        let (part, len) = (Arc::clone(file), (size - offset).min(PART_LEN as u64));
        let content;
        (content, hasher) = blocking(move || read(&part, offset, len, hasher)).await?;
        in_flight.push(bucket.within(&key, upload.put_part(content.into())));
        offset += len;
    }
    while in_flight.next().await.transpose()?.is_some() {}
    // What was sent is what was read now, and the disk may have given something else the first time.
    if hasher.finalize() != *hash {
        return Err(PutError::Changed);
    }
    bucket.within(&key, upload.complete()).await?;
    Ok(())
}

/// Opens a file of the store, never through a symbolic link; with its length.
fn open(path: &Path) -> Result<(Arc<File>, u64), PutError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PutError::Gone),
        opened => opened?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file").into());
    }
    Ok((Arc::new(file), meta.len()))
}

/// Reads some of a file, at most a part, and hashes on.
fn read(
    file: &File,
    offset: u64,
    len: u64,
    mut hasher: blake3::Hasher,
) -> Result<(Bytes, blake3::Hasher), PutError> {
    let mut content = vec![0; usize::try_from(len).unwrap_or(PART_LEN).min(PART_LEN)];
    file.read_exact_at(&mut content, offset)?;
    hasher.update(&content);
    Ok((content.into(), hasher))
}

/// The hash of so much of a file.
fn hash_of(file: &File, size: u64, shutdown: &Shutdown) -> Result<blake3::Hash, PutError> {
    let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; READ_LEN], 0);
    while offset < size {
        if shutdown.is_begun() {
            return Err(PutError::Stopped);
        }
        let len = usize::try_from(size - offset).unwrap_or(READ_LEN).min(READ_LEN);
        let some = &mut buffer[..len];
        file.read_exact_at(some, offset)?;
        hasher.update(some);
        offset += len as u64;
    }
    Ok(hasher.finalize())
}

/// Waits for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PutError> + Send + 'static,
) -> Result<T, PutError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
