//! The embedded shards: each a file with its writer's thread and connections for reading.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use protocol::{LaneId, ShardId};
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Transaction, now,
    writer::{Command, Hooks, WAITING, Writer},
};
use crate::{
    StorageError,
    queue::{Recent, RecentLanes},
    sql::{Result, lanes},
    store::Layout,
};

/// All shards of a folder.
pub(crate) struct Shards {
    shards: Vec<Arc<Shard>>,
    recent: RecentLanes,
}

struct Shard {
    writer: mpsc::Sender<Command>,
    epoch: u64,
    readers: Readers,
}

/// Connections for reading, lent one at a time.
struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
}

impl Shards {
    /// Opens every shard: makes files that are not there, brings schemas up to date, takes new epochs, starts a writer for
    /// each. Answers the writers' threads, too.
    pub(crate) fn open(layout: &Layout) -> Result<(Self, Vec<std::thread::JoinHandle<()>>)> {
        let made = std::fs::create_dir_all(&layout.folder);
        made.map_err(|source| StorageError::Folder { path: layout.folder.clone(), source })?;
        check_shape(layout)?;
        let (mut shards, mut recent, mut threads) = (Vec::new(), RecentLanes::new(), Vec::new());
        for shard in (0..layout.map.shards()).map(ShardId) {
            let path = layout.folder.join(super::file_name(shard));
            let of_shard: Vec<_> = layout.map.lanes_of(shard).collect();
            let (connection, epoch) = super::open_for_writing(&path, &of_shard)?;
            let mut hooks = Hooks { recent: RecentLanes::new() };
            let mut tails = HashMap::new();
            for lane in of_shard {
                let tail = tail(&connection, lane)?;
                tails.insert(lane, tail);
                let ends = Arc::new(Recent::new(tail));
                hooks.recent.insert(lane, Arc::clone(&ends));
                recent.insert(lane, ends);
            }
            let (sender, commands) = mpsc::channel(WAITING);
            let writer = Writer::new(shard, connection, hooks, tails);
            let thread = std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || writer.run(commands))
                .map_err(|source| StorageError::Folder { path: path.clone(), source })?;
            threads.push(thread);
            let permits = Arc::new(Semaphore::new(layout.readers.max(1)));
            let readers = Readers { free: Mutex::default(), permits, path };
            shards.push(Arc::new(Shard { writer: sender, epoch, readers }));
        }
        Ok((Shards { shards, recent }, threads))
    }

    /// The epoch under which this process applies a shard's lanes.
    pub(crate) fn epoch(&self, shard: ShardId) -> Result<u64> {
        Ok(self.shard(shard)?.epoch)
    }

    /// The newest messages of a lane.
    pub(crate) fn recent(&self, lane: LaneId) -> Option<&Arc<Recent>> {
        self.recent.get(&lane)
    }

    /// Reads in one snapshot, on the caller's thread: for a few rows found by their key, which take microseconds from a
    /// file mapped into memory, while handing them to another thread and back takes tens.
    pub(crate) async fn here<T>(
        &self,
        shard: ShardId,
        read: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let readers = &self.shard(shard)?.readers;
        let _permit = readers.permits.acquire().await.map_err(|_| StorageError::Closed)?;
        readers.read(read)
    }

    /// Reads in one snapshot, off the async threads: for reads whose length depends on what has gathered.
    pub(crate) async fn away<T: Send + 'static>(
        &self,
        shard: ShardId,
        read: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shard = Arc::clone(self.shard(shard)?);
        let permits = Arc::clone(&shard.readers.permits);
        let permit = permits.acquire_owned().await.map_err(|_| StorageError::Closed)?;
        tokio::task::spawn_blocking(move || {
            // Kept until the read ends, also where nobody waits for it any more: it bounds connections, not callers.
            let _permit = permit;
            shard.readers.read(read)
        })
        .await
        .map_err(|_| StorageError::Closed)?
    }

    pub(crate) async fn send(&self, shard: ShardId, command: Command) -> Result<()> {
        self.shard(shard)?.writer.send(command).await.map_err(|_| StorageError::Closed)
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        shard: ShardId,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (done, answer) = oneshot::channel();
        self.send(shard, command(done)).await?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    fn shard(&self, shard: ShardId) -> Result<&Arc<Shard>> {
        self.shards.get(usize::from(shard.0)).ok_or(StorageError::Closed)
    }
}

impl Readers {
    fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let connection = free.map_or_else(|| super::open_for_reading(&self.path), Ok)?;
        let result = snapshot(&connection, read);
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(connection);
        result
    }
}

fn snapshot<T>(c: &Connection, read: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    let transaction = Transaction(c);
    transaction.execute("reading", "BEGIN", &[])?;
    let result = read(&transaction);
    transaction.execute("reading", "COMMIT", &[])?;
    result
}

/// The last sequence of a lane: of its last message, or of what was applied where all messages are forgotten.
fn tail(c: &Connection, lane: LaneId) -> Result<u64> {
    let s = Transaction(c);
    let last = now(lanes::last_message(&s, lane))?;
    Ok(now(lanes::position(&s, lane))?.sequence.max(last))
}

/// Refuses a folder that was made for other shards, lanes or regions: its buckets would be looked for elsewhere.
fn check_shape(layout: &Layout) -> Result<()> {
    let path: &Path = &layout.folder.join("shape");
    let configured = layout.map.shape();
    match std::fs::read_to_string(path) {
        Ok(found) if found.trim() == configured => Ok(()),
        Ok(found) => Err(StorageError::Shape { found: found.trim().to_owned(), configured }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            runtime::durable::write_file_durably(path, configured.as_bytes())
                .map_err(|source| StorageError::Folder { path: path.to_owned(), source })
        }
        Err(source) => Err(StorageError::Folder { path: path.to_owned(), source }),
    }
}
