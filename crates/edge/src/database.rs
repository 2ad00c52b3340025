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
    /// A later version of the program wrote it.
    #[error("it was written by a later version of this program (schema {0})")]
    Newer(u32),
    /// Its thread has ended.
    #[error("closed")]
    Closed,
}

impl Database {
    /// Opens the file, which this process alone may open, and brings its tables up to date: `steps` are the schema, one step a
    /// version. A step once shipped is never changed. Every commit is flushed; what is deleted is overwritten.
    pub(crate) fn open(path: &Path, steps: &[&str], thread: &str) -> Result<Self, DatabaseError> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;",
        )?;
        migrate(&mut connection, steps)?;
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

/// Takes the steps that are not taken yet, each in one transaction with the number of the version that it leads to: a death
/// in between leaves the version before. A file from before there were numbers has the first step's tables already, so that
/// step says `IF NOT EXISTS`.
fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), DatabaseError> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = steps.get(version as usize..).ok_or(DatabaseError::Newer(version))?;
    for (step, to) in missing.iter().zip(version + 1..) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(())
}

/// SQLite's integers are signed; no clock and no length here reaches half of them.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
