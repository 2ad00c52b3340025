//! What is noted of what is kept: one SQLite file, flushed with every note.
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::file::Hash;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

const FILE: &str = "keep.db";
/// A file that is not as it should be here is looked at again after twice as long each time, up to an hour; one that the bucket did
/// not take, up to a minute.
const FIRST_WAIT_S: i64 = 10;
const LONGEST_WAIT_S: i64 = 3600;
const LONGEST_WAIT_FOR_BUCKET_S: i64 = 60;
/// As many that are not kept are looked after at a time.
const PAGE: i64 = 1000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS home (id INTEGER PRIMARY KEY CHECK (id = 1), bucket TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS kept (
  hash BLOB PRIMARY KEY,
  size INTEGER NOT NULL,
  kept_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS not_kept (
  hash BLOB PRIMARY KEY,
  why TEXT NOT NULL,
  tries INTEGER NOT NULL,
  again_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS walk (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  began_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  put INTEGER NOT NULL,
  freed INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  stopped TEXT
) STRICT;
";

/// Why the notes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// SQLite said so.
    #[error("the notes in --state cannot be read or written")]
    Sqlite(#[from] rusqlite::Error),
    /// They say what another bucket has.
    #[error("--state says what {noted} has, not {asked}: give each bucket a folder of its own")]
    OfAnother {
        /// Which bucket they are of.
        noted: String,
        /// Which one is meant now.
        asked: String,
    },
}

/// The notes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct State {
    connection: Arc<Mutex<Connection>>,
}

/// How a walk went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// When it began, in seconds since 1970.
    pub(super) began_at: i64,
    /// When it ended.
    pub(super) ended_at: i64,
    /// So many files were put.
    pub(super) put: u64,
    /// So many local copies were removed.
    pub(super) freed: u64,
    /// So many could not be kept.
    pub(super) failed: u64,
    /// Why it did not come to its end, if it did not.
    pub(super) stopped: Option<String>,
}

/// What all the notes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Which bucket they are of.
    pub(super) bucket: String,
    /// So many files are kept.
    pub(super) files: u64,
    /// With so many bytes.
    pub(super) bytes: u64,
    /// The last walk, if there was one.
    pub(super) walk: Option<Walk>,
    /// So many are not kept.
    pub(super) not_kept: u64,
    /// The first of them, and why.
    pub(super) why: Vec<(String, String)>,
}

/// Seconds since 1970.
pub(super) fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl State {
    /// Opens the notes of this bucket in a folder.
    pub(super) fn open(folder: &Path, bucket: &str) -> Result<Self, StateError> {
        let connection = Connection::open(folder.join(FILE))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        connection.execute("INSERT OR IGNORE INTO home VALUES (1, ?1)", [bucket])?;
        let noted: String = connection.query_row("SELECT bucket FROM home", [], |row| row.get(0))?;
        if noted != bucket {
            return Err(StateError::OfAnother { noted, asked: bucket.to_owned() });
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when a file is kept, in seconds since 1970, if it is.
    pub(super) fn kept_at_s(&self, hash: &Hash) -> Result<Option<i64>, StateError> {
        let connection = self.connection();
        let mut asked = connection.prepare_cached("SELECT kept_at FROM kept WHERE hash = ?1")?;
        Ok(asked.query_row([hash], |row| row.get(0)).optional()?)
    }

    /// Whether it is time to try a file that is not kept.
    pub(super) fn is_due(&self, hash: &Hash, now_s: i64) -> Result<bool, StateError> {
        let connection = self.connection();
        let mut asked = connection.prepare_cached("SELECT again_at FROM not_kept WHERE hash = ?1")?;
        let again_s: Option<i64> = asked.query_row([hash], |row| row.get(0)).optional()?;
        Ok(again_s.is_none_or(|again_s| again_s <= now_s))
    }

    /// Notes that it is kept. If the process dies before, it is put once more under the same key; after, nothing is left to do.
    pub(super) fn keep(&self, hash: &Hash, size: u64, now_s: i64) -> Result<(), StateError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        transaction.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3)", params![hash, size, now_s])?;
        transaction.execute("DELETE FROM not_kept WHERE hash = ?1", [hash])?;
        Ok(transaction.commit()?)
    }

    /// Notes that the bucket does not have it after all: it is put again.
    pub(super) fn unkeep(&self, hash: &Hash) -> Result<(), StateError> {
        self.connection().execute("DELETE FROM kept WHERE hash = ?1", [hash])?;
        Ok(())
    }

    /// Notes why it is not kept, and when it is tried again.
    pub(super) fn fail(&self, hash: &Hash, why: &str, by_bucket: bool, now_s: i64) -> Result<(), StateError> {
        let connection = self.connection();
        let tries: Option<u32> = connection
            .query_row("SELECT tries FROM not_kept WHERE hash = ?1", [hash], |row| row.get(0))
            .optional()?;
        let tries = tries.unwrap_or(0).saturating_add(1);
        let again_s = now_s.saturating_add(wait_s(tries, by_bucket));
        connection.execute(
            "INSERT OR REPLACE INTO not_kept VALUES (?1, ?2, ?3, ?4)",
            params![hash, why, tries, again_s],
        )?;
        Ok(())
    }

    /// Forgets why files are not kept that `is_there` says are gone.
    pub(super) fn forget_gone(&self, is_there: impl Fn(&Hash) -> bool) -> Result<(), StateError> {
        let connection = self.connection();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let mut asked = connection
                .prepare_cached("SELECT hash FROM not_kept WHERE hash > ?1 ORDER BY hash LIMIT ?2")?;
            let page = asked.query_map(params![after, PAGE], |row| row.get::<_, Hash>(0))?;
            let page = page.collect::<Result<Vec<Hash>, _>>()?;
            for hash in page.iter().filter(|hash| !is_there(hash)) {
                connection.execute("DELETE FROM not_kept WHERE hash = ?1", [hash])?;
            }
            match page.last() {
                Some(last) => after = last.to_vec(),
                None => return Ok(()),
            }
        }
    }

    /// Notes how a walk went.
    pub(super) fn walked(&self, walk: &Walk) -> Result<(), StateError> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.connection().execute(
            "INSERT OR REPLACE INTO walk VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                walk.began_at,
                walk.ended_at,
                number(walk.put),
                number(walk.freed),
                number(walk.failed),
                walk.stopped
            ],
        )?;
        Ok(())
    }
}

/// Reads the notes in a folder, also while they are being written; `None` if there are none.
pub(super) fn summary(folder: &Path, reasons: u32) -> Result<Option<Summary>, StateError> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let bucket = connection.query_row("SELECT bucket FROM home", [], |row| row.get(0))?;
    let (files, bytes) =
        connection.query_row("SELECT count(*), coalesce(sum(size), 0) FROM kept", [], |row| {
            Ok((size(row.get(0)?), size(row.get(1)?)))
        })?;
    let walk = connection
        .query_row("SELECT began_at, ended_at, put, freed, failed, stopped FROM walk", [], |row| {
            Ok(Walk {
                began_at: row.get(0)?,
                ended_at: row.get(1)?,
                put: size(row.get(2)?),
                freed: size(row.get(3)?),
                failed: size(row.get(4)?),
                stopped: row.get(5)?,
            })
        })
        .optional()?;
    let not_kept = connection.query_row("SELECT count(*) FROM not_kept", [], |row| row.get(0))?;
    let mut asked = connection.prepare("SELECT hash, why FROM not_kept ORDER BY hash LIMIT ?1")?;
    let why = asked.query_map([reasons], |row| {
        Ok((data_encoding::HEXLOWER.encode(&row.get::<_, Hash>(0)?), row.get(1)?))
    })?;
    let why = why.collect::<Result<_, _>>()?;
    Ok(Some(Summary { bucket, files, bytes, walk, not_kept: size(not_kept), why }))
}

fn size(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// For how long a file is left alone that was tried so often.
fn wait_s(tries: u32, by_bucket: bool) -> i64 {
    let longest_s = if by_bucket { LONGEST_WAIT_FOR_BUCKET_S } else { LONGEST_WAIT_S };
    let doubled = 1_i64 << tries.saturating_sub(1).min(20);
    FIRST_WAIT_S.saturating_mul(doubled).min(longest_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_there_after_a_restart_and_of_one_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let open = |bucket| State::open(folder.path(), bucket);
        assert_eq!(summary(folder.path(), 9).unwrap(), None);
        let state = open("https://a/b/").unwrap();
        let (one, two) = ([1; 32], [2; 32]);
        state.fail(&one, "away", true, 100).unwrap();
        state.fail(&two, "changed", false, 100).unwrap();
        assert!(!state.is_due(&one, 109).unwrap() && state.is_due(&one, 110).unwrap());
        state.fail(&two, "changed", false, 110).unwrap();
        assert!(!state.is_due(&two, 129).unwrap() && state.is_due(&two, 130).unwrap());
        state.keep(&one, 7, 120).unwrap();
        drop(state);
        let state = open("https://a/b/").unwrap();
        assert_eq!(state.kept_at_s(&one).unwrap(), Some(120));
        assert_eq!(state.kept_at_s(&two).unwrap(), None);
        let all = summary(folder.path(), 9).unwrap().unwrap();
        assert_eq!((all.files, all.bytes, all.not_kept), (1, 7, 1));
        assert_eq!(all.why, [("02".repeat(32), "changed".to_owned())]);
        state.forget_gone(|_| false).unwrap();
        state.unkeep(&one).unwrap();
        let all = summary(folder.path(), 9).unwrap().unwrap();
        assert_eq!((all.files, all.not_kept), (0, 0));
        let error = open("https://a/c/").unwrap_err().to_string();
        assert!(error.contains("https://a/b/") && error.contains("https://a/c/"), "{error}");
    }

    #[test]
    fn waits_grow_and_end() {
        assert_eq!([1, 2, 3, 60].map(|tries| wait_s(tries, true)), [10, 20, 40, 60]);
        assert_eq!([1, 2, 9, 10, u32::MAX].map(|tries| wait_s(tries, false)), [10, 20, 2560, 3600, 3600]);
    }
}
