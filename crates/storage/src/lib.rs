//! Where the service center keeps its data.
//!
//! * [`queue::Queue`]: the lanes. An accepted write is durable here before anybody hears of it.
//! * [`store::Store`]: the shards. Writes only by [`store::Store::apply`], one lane's batch in one transaction; reads
//!   only from slaves, each with the position its snapshot shows.
//! * [`cache::Cache`]: what the slaves show, kept in step by position.
//!
//! Rules of the business are not here: an applier hands its `decide` in, a pure function from a [`working_set::WorkingSet`]
//! and a message to the rows to be written.
pub mod cache;
pub mod message;
mod postgres;
pub mod queue;
pub mod rows;
mod sql;
mod sqlite;
pub mod store;
pub mod working_set;

/// Why a store, a lane or a cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database refused or failed. Nothing of the call was done.
    #[error("database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's own error.
        #[source]
        source: rusqlite::Error,
    },
    /// An engine of the cluster did not answer, or refused. Whether the call was done is not known: it can be asked again
    /// under the same ids.
    #[error("{engine} failed while {doing}: {why}")]
    Engine {
        /// Which engine: `PostgreSQL`, `NATS`, `Redis`.
        engine: &'static str,
        /// What was being done.
        doing: &'static str,
        /// Its own words.
        why: String,
    },
    /// No space is left, a quota is reached, or too much waits already. Nothing of the call was done; it can be tried again.
    #[error("no space left")]
    Full,
    /// A message is larger than its lane can take, now or later. Nothing of the call was done.
    #[error("a message of {bytes} bytes: the lanes take up to {most}")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// The most a message may have.
        most: usize,
    },
    /// The lane has another applier by now, or is not where the caller thought: the caller stops.
    #[error("lane {lane} is not at {expected} under epoch {epoch} any more")]
    Replaced {
        /// Which lane.
        lane: protocol::LaneId,
        /// Under which epoch the caller wrote.
        epoch: u64,
        /// Where the caller thought it was.
        expected: u64,
    },
    /// The lane has moved to another shard, and where is not known yet. Nothing of the call was done.
    #[error("lane {0} has moved to another shard")]
    Elsewhere(protocol::LaneId),
    /// A stored value that this program cannot read.
    #[error("stored {what} cannot be read: {why}")]
    Corrupt {
        /// Which kind of value.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The database is of a newer version than this program.
    #[error("the data is of schema version {found}, this program knows up to {known}: use a newer program")]
    Newer {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// The store is shutting down, or its thread has died.
    #[error("the store is closed")]
    Closed,
    /// The data folder cannot be used.
    #[error("cannot use data folder {path}")]
    Folder {
        /// Which folder.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The folder was made for another number of shards or lanes, or a lane's stream with other settings.
    #[error("found {found}, the configuration says {configured}")]
    Shape {
        /// What is there.
        found: String,
        /// What the configuration says.
        configured: String,
    },
}

impl StorageError {
    /// Names a database error by what was being done, and knows a full disk when it sees one.
    fn database(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StorageError {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StorageError::Full,
            _ => StorageError::Database { doing, source },
        }
    }

    /// The same error for another who waited for the same transaction.
    fn again(&self) -> StorageError {
        match self {
            StorageError::Full => StorageError::Full,
            StorageError::TooLarge { bytes, most } => StorageError::TooLarge { bytes: *bytes, most: *most },
            StorageError::Engine { engine, doing, why } => {
                StorageError::Engine { engine, doing, why: why.clone() }
            }
            StorageError::Database { doing, source: rusqlite::Error::SqliteFailure(code, text) } => {
                let source = rusqlite::Error::SqliteFailure(*code, text.clone());
                StorageError::Database { doing, source }
            }
            other => StorageError::Corrupt { what: "round", why: other.to_string() },
        }
    }
}
