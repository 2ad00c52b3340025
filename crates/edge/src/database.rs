//! The edge's own SQLite files: each on one thread of its own, to which work is sent.
//!
//! A commit waits for the disk. What came meanwhile is done in one transaction, with one wait for all of it; nobody hears of
//! their work before that is over.
use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Work that may wait for the thread at once.
const JOBS_MAX: usize = 256;

/// Work that one transaction may hold.
const TOGETHER_MAX: usize = 64;

/// Work, which gives how to tell who asked for it.
type Job = Box<dyn FnOnce(&mut Connection) -> Told + Send>;
/// Tells who asked, once it is known whether what was done stays: why not, otherwise.
type Told = Box<dyn FnOnce(Result<(), &str>)>;

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
    /// What was done did not stay.
    #[error("not committed: {0}")]
    NotCommitted(String),
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
            while let Some(first) = waiting.blocking_recv() {
                match waiting.try_recv() {
                    Ok(second) => together(&mut connection, [first, second], &mut waiting),
                    Err(_) => first(&mut connection)(Ok(())),
                }
            }
        };
        std::thread::Builder::new().name(thread.into()).spawn(work).map_err(DatabaseError::Thread)?;
        Ok(Database { jobs })
    }

    /// Does work on the thread. It is done even where who asked has gone. It may be done beside other work in one transaction:
    /// what belongs together in it is in a savepoint of its own.
    pub(crate) async fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, DatabaseError> {
        let (told, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = work(connection);
            Box::new(move |stays| {
                let _ = told.send(match stays {
                    Ok(()) => done.map_err(DatabaseError::Store),
                    Err(why) => Err(DatabaseError::NotCommitted(why.to_owned())),
                });
            })
        });
        self.jobs.send(job).await.map_err(|_| DatabaseError::Closed)?;
        result.await.map_err(|_| DatabaseError::Closed)?
    }
}

/// Does all work that waits, but for what is too much, in one transaction.
fn together(connection: &mut Connection, begun: [Job; 2], waiting: &mut mpsc::Receiver<Job>) {
    let more = std::iter::from_fn(|| waiting.try_recv().ok());
    let mut jobs = begun.into_iter().chain(more).take(TOGETHER_MAX);
    let mut done: Vec<Told> = Vec::new();
    let begin = connection.execute_batch("BEGIN");
    // Without a transaction each piece of work is one of its own, and stays as it is done.
    if begin.is_err() {
        return jobs.for_each(|job| job(connection)(Ok(())));
    }
    let mut rolled_back = false;
    for job in &mut jobs {
        done.push(job(connection));
        // A full disk, say, takes back all of the transaction, not only what failed.
        if connection.is_autocommit() {
            rolled_back = true;
            break;
        }
    }
    let commits = match rolled_back {
        true => Err("the database took it back".to_owned()),
        false => connection.execute_batch("COMMIT").map_err(|error| error.to_string()),
    };
    if commits.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").ok();
    }
    done.into_iter().for_each(|told| told(commits.as_ref().copied().map_err(String::as_str)));
    // What was not begun is still to be done.
    jobs.for_each(|job| job(connection)(Ok(())));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Database {
        let schema = &["CREATE TABLE IF NOT EXISTS n (n INTEGER PRIMARY KEY) STRICT;"];
        Database::open(&folder.path().join("db.sqlite"), schema, "db").unwrap()
    }

    /// Holds the thread up until `go` is said, so that what comes meanwhile is done together.
    async fn hold(database: &Database) -> std::sync::mpsc::Sender<()> {
        let (go, gone) = std::sync::mpsc::channel();
        let (held, holding) = oneshot::channel();
        let database = database.clone();
        tokio::spawn(async move {
            let work = move |_: &mut Connection| {
                held.send(()).ok();
                gone.recv().ok();
                Ok(())
            };
            database.work(work).await
        });
        holding.await.unwrap();
        go
    }

    fn insert(database: &Database, n: i64) -> impl Future<Output = Result<usize, DatabaseError>> + use<> {
        let database = database.clone();
        async move { database.work(move |db| db.execute("INSERT INTO n VALUES (?1)", [n])).await }
    }

    async fn count(database: &Database) -> i64 {
        database.work(|db| db.query_row("SELECT count(*) FROM n", [], |row| row.get(0))).await.unwrap()
    }

    #[tokio::test]
    async fn what_fails_among_others_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder);
        let go = hold(&database).await;
        let tasks: Vec<_> = [1, 2, 2, 3].map(|n| tokio::spawn(insert(&database, n))).into();
        let halves = database.clone();
        let half = tokio::spawn(async move {
            let work = |db: &mut Connection| {
                let savepoint = db.savepoint()?;
                savepoint.execute("INSERT INTO n VALUES (9)", [])?;
                savepoint.execute("INSERT INTO n VALUES (9)", [])?;
                savepoint.commit()
            };
            halves.work(work).await
        });
        while database.jobs.capacity() > JOBS_MAX - 5 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        let mut done = Vec::new();
        for task in tasks {
            done.push(task.await.unwrap().is_ok());
        }
        assert_eq!(done, [true, true, false, true]);
        assert!(matches!(half.await.unwrap(), Err(DatabaseError::Store(_))));
        assert_eq!(count(&database).await, 3);
    }

    #[tokio::test]
    async fn what_is_taken_back_is_told_to_all_it_took_along() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder);
        let go = hold(&database).await;
        let first = tokio::spawn(insert(&database, 1));
        while database.jobs.capacity() > JOBS_MAX - 1 {
            tokio::task::yield_now().await;
        }
        let taking = database.clone();
        let takes = tokio::spawn(async move {
            taking.work(|db| db.execute("INSERT OR ROLLBACK INTO n VALUES (1)", [])).await
        });
        while database.jobs.capacity() > JOBS_MAX - 2 {
            tokio::task::yield_now().await;
        }
        let last = tokio::spawn(insert(&database, 3));
        while database.jobs.capacity() > JOBS_MAX - 3 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        assert!(matches!(first.await.unwrap(), Err(DatabaseError::NotCommitted(_))));
        assert!(takes.await.unwrap().is_err());
        // What came after is done all the same.
        assert_eq!(last.await.unwrap().unwrap(), 1);
        assert_eq!(count(&database).await, 1);
    }
}
