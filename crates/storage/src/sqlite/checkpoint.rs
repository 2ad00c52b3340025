//! Copies a shard's write-ahead log into its file beside the writer, so that no commit waits for it.
//!
//! SQLite's own checkpoint runs in the commit that finds the log long, and everybody who waits for that commit waits for
//! it too. Here a thread with a connection of its own copies what is committed while the writer goes on; the writer's own
//! checkpoint, at a far longer log, then finds little left to copy and begins the log anew. Nothing durable depends on
//! when this happens: a commit is safe once it is flushed in the log.
use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use protocol::ShardId;

use crate::StorageError;

/// About how many pages the writer may have changed before they are copied.
const PAGES: usize = 2_000;

/// The thread that copies.
pub(crate) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    pages: usize,
}

impl Checkpointer {
    /// Starts it on a shard's file.
    pub(crate) fn start(shard: ShardId, path: &Path) -> Result<Self, StorageError> {
        let connection = super::open(path, rusqlite::OpenFlags::default())?;
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{shard}-checkpoint"))
            .spawn(move || run(shard, &connection, &woken))
            .map_err(|source| StorageError::Folder { path: path.to_owned(), source })?;
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), pages: 0 })
    }

    /// Notes that the writer has changed about so many pages.
    pub(crate) fn note(&mut self, pages: usize) {
        self.pages += pages;
        if self.pages >= PAGES
            && let Some(wake) = &self.wake
        {
            self.pages = 0;
            // Already woken and not begun: what is noted here is copied with the rest.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a shard's checkpoint thread died");
        }
    }
}

fn run(shard: ShardId, connection: &rusqlite::Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // Passive: waits for nobody, and leaves what a reader still needs for the next time.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(shard = shard.0, %error, "the write-ahead log was not copied; trying again later");
        }
    }
}
