//! `gridesk store keep`: the store of a gate's inner half, kept in a bucket.
//!
//! A program beside the half and not in it: the half can make no IP socket. It walks the store, and puts what it has not noted.
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use protocol::file::{self, Hash};
use runtime::{
    durable::{folder_of, sync_folder},
    lock::{FolderLock, LockError},
    shutdown::Shutdown,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    args::KeepArgs,
    bucket::{Bucket, BucketError},
    state::{State, StateError, Walk, now_s},
    upload::{self, PutError},
};

/// Between two walks.
const PAUSE: Duration = Duration::from_secs(10);
/// While a walk goes on, it says so as often.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// So many files that the bucket did not take, one after the other, end a walk: the fault is not theirs.
const REFUSALS_MAX: u32 = 8;

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store cannot be read.
    #[error("store {}: see that it is the inner half's, and that this user may read it", path.display())]
    Store {
        /// Which folder of it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The notes cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another program works on the notes, or their folder cannot be made.
    #[error("--state")]
    Lock(#[from] LockError),
    /// With --once: some files are not kept.
    #[error("{failed} files are not kept, {put} were put: {why}")]
    NotAll {
        /// So many, as far as was looked.
        failed: u64,
        /// So many were put.
        put: u64,
        /// Why the last of them, or the walk itself, failed.
        why: String,
    },
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Put,
    Free,
}

/// What was done with it.
enum Done {
    Put { size: u64, freed: bool },
    Freed,
    Nothing,
    Failed { why: String, by_bucket: bool },
}

/// Everything that a walk needs. Cheap to clone.
#[derive(Clone, Debug)]
struct Keeper {
    store: Arc<Path>,
    bucket: Bucket,
    state: State,
    free_after_s: Option<i64>,
    once: bool,
    concurrency: usize,
    shutdown: Shutdown,
}

/// Keeps the store in the bucket until shutdown; with `once`, walks once.
///
/// # Errors
/// [`KeepError`]; without `once` only what is wrong before the first walk.
pub async fn run(args: &KeepArgs, shutdown: &Shutdown) -> Result<(), KeepError> {
    let bucket = Bucket::open(&args.bucket)?;
    fs::read_dir(&args.store).map_err(at(&args.store))?;
    let _lock = FolderLock::acquire(&args.state)?;
    let keeper = Keeper {
        store: args.store.as_path().into(),
        state: State::open(&args.state, &bucket.home())?,
        free_after_s: args.free_after.map(|hours| i64::from(hours) * 3600),
        once: args.once,
        concurrency: args.concurrency.into(),
        shutdown: shutdown.clone(),
        bucket,
    };
    tracing::info!(bucket = keeper.bucket.home(), store = %args.store.display(), "keeping");
    loop {
        let (walk, why) = keeper.walk().await?;
        if args.once {
            let stopped = shutdown.is_begun().then(|| "it was stopped".to_owned());
            return match walk.stopped.clone().or(why).or(stopped) {
                None => Ok(()),
                Some(why) => Err(KeepError::NotAll { failed: walk.failed, put: walk.put, why }),
            };
        }
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

impl Keeper {
    /// Walks the store once, and notes how that went; also why the last file failed that did.
    async fn walk(&self) -> Result<(Walk, Option<String>), StateError> {
        let mut walk = Walk { began_at: now_s(), ..Walk::default() };
        let (send, mut found) = mpsc::channel(64);
        let lister = self.clone();
        let listed = tokio::task::spawn_blocking(move || lister.list(&send));
        let mut tasks = JoinSet::new();
        let (mut bytes, mut refusals, mut why, mut said) = (0, 0, None, Instant::now());
        let mut more = true;
        while more || !tasks.is_empty() {
            let room = more && tasks.len() < self.concurrency;
            tokio::select! {
                () = self.shutdown.begun(), if more => more = false,
                next = found.recv(), if room => match next {
                    Some((hash, work)) => {
                        let keeper = self.clone();
                        tasks.spawn(async move { keeper.work(&hash, work).await });
                    }
                    None => more = false,
                },
                Some(done) = tasks.join_next() => match done.unwrap_or_else(|error| broke(&error)) {
                    Done::Put { size, freed } => {
                        (walk.put, bytes, refusals) = (walk.put + 1, bytes + size, 0);
                        walk.freed += u64::from(freed);
                    }
                    Done::Freed => (walk.freed, refusals) = (walk.freed + 1, 0),
                    Done::Nothing => {}
                    Done::Failed { why: reason, by_bucket } => {
                        walk.failed += 1;
                        refusals += u32::from(by_bucket);
                        more &= refusals < REFUSALS_MAX;
                        why = Some(reason);
                    }
                },
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::info!(put = walk.put, bytes, freed = walk.freed, failed = walk.failed, "walking");
            }
        }
        // The lister ends at its next word.
        drop(found);
        let listed = listed.await.map_err(|error| error.to_string()).and_then(|listed| listed);
        walk.stopped = match (listed, refusals >= REFUSALS_MAX) {
            (_, true) => why.clone(),
            (Err(reason), _) => Some(reason),
            (Ok(()), _) => None,
        };
        walk.ended_at = now_s();
        let (state, store) = (self.state.clone(), Arc::clone(&self.store));
        let noted = walk.clone();
        let noting = move || {
            state.forget_gone(|hash| store.join(file::place(hash)).exists())?;
            state.walked(&noted)
        };
        blocking(noting).await?;
        match &walk.stopped {
            Some(why) => {
                tracing::error!(put = walk.put, bytes, failed = walk.failed, why, "the walk did not end")
            }
            None if walk.put + walk.freed + walk.failed > 0 => {
                tracing::info!(put = walk.put, bytes, freed = walk.freed, failed = walk.failed, "walked");
            }
            None => tracing::debug!("walked: nothing to do"),
        }
        Ok((walk, why))
    }

    /// Says what is to be done, folder by folder, entry by entry, to whoever listens.
    fn list(&self, say: &mpsc::Sender<(Hash, Work)>) -> Result<(), String> {
        let failed = |path: &Path| at_text(path.to_owned());
        for first in 0..=u8::MAX {
            let name = format!("{first:02x}");
            let folder = self.store.join(&name);
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(failed(&folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(failed(&folder))?;
                let hash = entry.file_name().to_str().and_then(|rest| parse(&format!("{name}{rest}")));
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                let (Some(hash), true) = (hash, is_file) else { continue };
                let work = self.due(&hash, &entry).map_err(|error| error.to_string())?;
                if let Some(work) = work
                    && say.blocking_send((hash, work)).is_err()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What is to be done with a file now.
    fn due(&self, hash: &Hash, entry: &fs::DirEntry) -> Result<Option<Work>, StateError> {
        let now_s = now_s();
        let Some(kept_at_s) = self.state.kept_at_s(hash)? else {
            // What is run once tries everything.
            let is_due = self.once || self.state.is_due(hash, now_s)?;
            return Ok(is_due.then_some(Work::Put));
        };
        let Some(after_s) = self.free_after_s else { return Ok(None) };
        // Since when it is here under this name: a file that comes again is not freed at once because it was kept long ago.
        let here_since_s = entry.metadata().map_or(i64::MAX, |meta| meta.ctime());
        let due_s = kept_at_s.max(here_since_s).saturating_add(after_s);
        Ok((due_s <= now_s).then_some(Work::Free))
    }

    async fn work(&self, hash: &Hash, work: Work) -> Done {
        let done = match work {
            Work::Put => self.put(hash).await,
            Work::Free => self.free(hash).await.map(|()| Done::Freed),
        };
        let error = match done {
            Ok(done) => return done,
            Err(PutError::Gone | PutError::Stopped) => return Done::Nothing,
            Err(error) => error,
        };
        let by_bucket = matches!(error, PutError::Bucket(_));
        let (name, why) = (HEXLOWER.encode(hash), full(&error));
        if work == Work::Free {
            tracing::error!(hash = name, why, "not freed");
        } else {
            tracing::error!(hash = name, why, "not kept");
            let (state, hash, noted) = (self.state.clone(), *hash, why.clone());
            if let Err(error) = blocking(move || state.fail(&hash, &noted, by_bucket, now_s())).await {
                tracing::error!(hash = name, error = full(&error), "not noted");
            }
        }
        Done::Failed { why: format!("{name}: {why}"), by_bucket }
    }

    async fn put(&self, hash: &Hash) -> Result<Done, PutError> {
        let path = self.store.join(file::place(hash));
        let size = upload::put(&self.bucket, &path, hash, &self.shutdown).await?;
        // If the process dies here, it is put once more: the same content under the same key.
        let (state, noted) = (self.state.clone(), *hash);
        blocking(move || state.keep(&noted, size, now_s())).await?;
        // A failure comes up again at the next walk, since it is due then.
        let freed = self.free_after_s == Some(0) && self.free(hash).await.is_ok();
        Ok(Done::Put { size, freed })
    }

    /// Removes the local copy of what the bucket has.
    async fn free(&self, hash: &Hash) -> Result<(), PutError> {
        let path = self.store.join(file::place(hash));
        let size = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PutError::Gone),
            meta => meta?.len(),
        };
        if let Err(error) = self.bucket.has(&self.bucket.key(hash), size).await {
            if matches!(error, BucketError::Missing { .. } | BucketError::Differs { .. }) {
                // Not kept after all. It is put again by the next walk; if the process dies before this, it is asked after again.
                let (state, noted) = (self.state.clone(), *hash);
                blocking(move || state.unkeep(&noted)).await?;
            }
            return Err(error.into());
        }
        // Whoever shows the same content at this moment finds it here, or links it anew. If the process dies before the folder
        // is flushed, the copy is here or not, and the bucket has it either way.
        let removing = move || {
            fs::remove_file(&path)?;
            sync_folder(folder_of(&path))
        };
        let removed = tokio::task::spawn_blocking(removing).await.map_err(io::Error::other)?;
        removed.map_err(PutError::Remove)
    }
}

fn broke(error: &tokio::task::JoinError) -> Done {
    Done::Failed { why: error.to_string(), by_bucket: false }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeepError {
    move |source| KeepError::Store { path: path.to_owned(), source }
}

fn at_text(path: PathBuf) -> impl FnOnce(io::Error) -> String {
    move |source| full(&KeepError::Store { path, source })
}

/// A hash as its name says it: 64 small hexadecimal digits.
pub(super) fn parse(hex: &str) -> Option<Hash> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// An error with its causes, each said once.
fn full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        said if said.contains(&cause) => text,
        said => format!("{said}: {cause}"),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
