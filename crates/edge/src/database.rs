//! The edge's own SQLite files: each on one thread of its own, to which work is sent.
use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Work that may wait for the thread at once.
const JOBS_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// One of them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

/// Why it did not do something.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite failed.
    #[error("{0}")]
    Store(#[from] rusqlite::Error),
    /// Its thread cannot be started.
    #[error("no thread: {0}")]
    Thread(#[source] std::io::Error),
    /// Its thread has ended.
    #[error("closed")]
    Closed,
}

impl Database {
    /// Opens the file, which this process alone may open, and brings its tables into being. Every commit is flushed.
    pub(crate) fn open(path: &Path, schema: &str, thread: &str) -> Result<Self, DatabaseError> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        connection.execute_batch(schema)?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
        };
        std::thread::Builder::new().name(thread.into()).spawn(work).map_err(DatabaseError::Thread)?;
        Ok(Database { jobs })
    }

    /// Does work on the thread. It is done even where who asked has gone.
    pub(crate) async fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, DatabaseError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = done.send(work(connection));
        });
        self.jobs.send(job).await.map_err(|_| DatabaseError::Closed)?;
        Ok(result.await.map_err(|_| DatabaseError::Closed)??)
    }
}

/// SQLite's integers are signed; no clock and no length here reaches half of them.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
