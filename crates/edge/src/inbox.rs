//! What was pushed outward and is not delivered yet: the edge's own SQLite, on one thread of its own.
//!
//! A push is on the disk before it is acknowledged, and known by its id for a day after its end, so that one sent again
//! is not delivered again. Its body, which holds a code, is blanked as soon as its delivery has ended.
use std::{path::Path, sync::Arc, time::Duration};

use protocol::{PushId, push::Push, wire};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Notify;

use crate::database::{Database, DatabaseError, signed};

/// Ended pushes are known for this long.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS push (
    id          BLOB PRIMARY KEY,
    body        BLOB NOT NULL,          -- encoded push; empty once its delivery has ended
    received_ms INTEGER NOT NULL,
    state       INTEGER NOT NULL,       -- 0 to be delivered, 1 ended and to be reported, 2 reported
    delivered   INTEGER NOT NULL DEFAULT 0,
    reason      TEXT NOT NULL DEFAULT '',
    attempts    INTEGER NOT NULL DEFAULT 0,
    next_try_ms INTEGER NOT NULL,
    ended_ms    INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS push_due ON push (state, next_try_ms);
";

const WAITING: u8 = 0;
const ENDED: u8 = 1;
const REPORTED: u8 = 2;

/// The stored pushes. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    database: Database,
    changed: Arc<Notify>,
    most: u32,
}

/// Why the inbox did not do something.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// Its database failed.
    #[error("push inbox: {0}")]
    Database(#[from] DatabaseError),
}

/// What became of a push that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on the disk now.
    New,
    /// It was there already.
    Known,
    /// There is no room for more.
    Full,
}

/// A push to be delivered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The push.
    pub push: Push,
    /// When it came, Unix ms.
    pub received_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
}

/// An ended delivery to be reported now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which push.
    pub id: PushId,
    /// Whether the channel took it.
    pub delivered: bool,
    /// Why not.
    pub reason: String,
    /// How often reporting was tried.
    pub attempts: u32,
}

impl Inbox {
    /// Opens the inbox in `folder`, which this process has locked, for at most `most` pushes not delivered yet.
    ///
    /// # Errors
    /// [`InboxError`].
    pub fn open(folder: &Path, most: u32) -> Result<Self, InboxError> {
        let database = Database::open(&folder.join("inbox.sqlite"), &[SCHEMA], "inbox")?;
        Ok(Inbox { database, changed: Arc::default(), most })
    }

    /// Stores a push durably, once.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn store(&self, push: Push, now_ms: u64) -> Result<Stored, InboxError> {
        let most = self.most;
        let stored = self
            .work(move |db| {
                let known = db
                    .query_row("SELECT 1 FROM push WHERE id = ?", [id_bytes(push.id)], |_| Ok(()))
                    .optional()?
                    .is_some();
                if known {
                    return Ok(Stored::Known);
                }
                let waiting: u32 =
                    db.query_row("SELECT count(*) FROM push WHERE state = ?", [WAITING], |row| row.get(0))?;
                if waiting >= most {
                    return Ok(Stored::Full);
                }
                db.execute(
                    "INSERT INTO push (id, body, received_ms, state, next_try_ms) VALUES (?, ?, ?, ?, ?)",
                    params![id_bytes(push.id), wire::encode(&push), signed(now_ms), WAITING, signed(now_ms)],
                )?;
                Ok(Stored::New)
            })
            .await?;
        self.changed.notify_one();
        Ok(stored)
    }

    /// Pushes to be delivered by `now_ms`, at most `limit`, the longest due first.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn waiting(&self, now_ms: u64, limit: u32) -> Result<Vec<Waiting>, InboxError> {
        self.work(move |db| {
            let mut query = db.prepare_cached(
                "SELECT body, received_ms, attempts FROM push
                 WHERE state = ? AND next_try_ms <= ? ORDER BY next_try_ms LIMIT ?",
            )?;
            let rows = query.query_map(params![WAITING, signed(now_ms), limit], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get(2)?))
            })?;
            let mut due = Vec::new();
            for row in rows {
                let (body, received_ms, attempts) = row?;
                match wire::decode(&body) {
                    Ok(push) => due.push(Waiting { push, received_ms: received_ms.unsigned_abs(), attempts }),
                    Err(error) => tracing::error!(%error, "a stored push cannot be read"),
                }
            }
            Ok(due)
        })
        .await
    }

    /// Ended deliveries to be reported by `now_ms`, at most `limit`.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn unreported(&self, now_ms: u64, limit: u32) -> Result<Vec<Ended>, InboxError> {
        self.work(move |db| {
            let mut query = db.prepare_cached(
                "SELECT id, delivered, reason, attempts FROM push
                 WHERE state = ? AND next_try_ms <= ? ORDER BY next_try_ms LIMIT ?",
            )?;
            let rows = query.query_map(params![ENDED, signed(now_ms), limit], |row| {
                let id = PushId::from_bits(u128::from_be_bytes(row.get(0)?));
                Ok(Ended { id, delivered: row.get(1)?, reason: row.get(2)?, attempts: row.get(3)? })
            })?;
            rows.collect()
        })
        .await
    }

    /// When something is due next, Unix ms.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn next_due_ms(&self) -> Result<Option<u64>, InboxError> {
        self.work(|db| {
            let mut query = db.prepare_cached("SELECT min(next_try_ms) FROM push WHERE state < ?")?;
            let due: Option<i64> = query.query_row([REPORTED], |row| row.get(0))?;
            Ok(due.map(i64::unsigned_abs))
        })
        .await
    }

    /// The delivery has ended: blanks the body; the result is to be reported.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn end(
        &self,
        id: PushId,
        delivered: bool,
        reason: String,
        now_ms: u64,
    ) -> Result<(), InboxError> {
        self.work(move |db| {
            db.execute(
                "UPDATE push SET state = ?, body = x'', delivered = ?, reason = ?, attempts = 0,
                                 next_try_ms = ?, ended_ms = ? WHERE id = ? AND state = ?",
                params![ENDED, delivered, reason, signed(now_ms), signed(now_ms), id_bytes(id), WAITING],
            )?;
            Ok(())
        })
        .await
    }

    /// Tried in vain: again at `next_try_ms`.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn postpone(&self, id: PushId, next_try_ms: u64) -> Result<(), InboxError> {
        self.work(move |db| {
            db.execute(
                "UPDATE push SET attempts = attempts + 1, next_try_ms = ? WHERE id = ?",
                params![signed(next_try_ms), id_bytes(id)],
            )?;
            Ok(())
        })
        .await
    }

    /// The result is known inside.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn reported(&self, id: PushId) -> Result<(), InboxError> {
        self.work(move |db| {
            db.execute("UPDATE push SET state = ? WHERE id = ?", params![REPORTED, id_bytes(id)])?;
            Ok(())
        })
        .await
    }

    /// Forgets what was reported and ended a day ago; says how many.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn forget(&self, now_ms: u64) -> Result<usize, InboxError> {
        let before_ms = now_ms.saturating_sub(u64::try_from(KNOWN_FOR.as_millis()).unwrap_or(u64::MAX));
        self.work(move |db| {
            db.execute(
                "DELETE FROM push WHERE state = ? AND ended_ms < ?",
                params![REPORTED, signed(before_ms)],
            )
        })
        .await
    }

    /// Resolves when a push has come in since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, InboxError> {
        Ok(self.database.work(work).await?)
    }
}

fn id_bytes(id: PushId) -> [u8; 16] {
    id.bits().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        Bucket,
        push::{CodePurpose, PushBody},
    };

    fn push(number: u128) -> Push {
        let body = PushBody::OneTimeCode {
            phone: "19900000001".parse().unwrap(),
            code: "654321".parse().unwrap(),
            purpose: CodePurpose::LogIn,
            expires_in_s: 300,
            language: Default::default(),
        };
        Push { id: PushId::mint(Bucket::of(b"x"), number << 12), body }
    }

    #[tokio::test]
    async fn a_push_outlives_the_process_and_is_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(folder.path(), 10).unwrap();
        assert_eq!(inbox.store(push(1), 1_000).await.unwrap(), Stored::New);
        drop(inbox);
        let inbox = Inbox::open(folder.path(), 10).unwrap();
        assert_eq!(inbox.store(push(1), 2_000).await.unwrap(), Stored::Known);
        let waiting = inbox.waiting(1_000, 10).await.unwrap();
        assert_eq!(waiting, [Waiting { push: push(1), received_ms: 1_000, attempts: 0 }]);
    }

    #[tokio::test]
    async fn from_waiting_to_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(folder.path(), 1).unwrap();
        let id = push(1).id;
        inbox.store(push(1), 1_000).await.unwrap();
        assert_eq!(inbox.store(push(2), 1_000).await.unwrap(), Stored::Full);
        inbox.postpone(id, 5_000).await.unwrap();
        assert_eq!(inbox.waiting(4_999, 10).await.unwrap(), []);
        assert_eq!(inbox.next_due_ms().await.unwrap(), Some(5_000));
        assert_eq!(inbox.waiting(5_000, 10).await.unwrap()[0].attempts, 1);
        inbox.end(id, false, "no such phone".into(), 6_000).await.unwrap();
        assert_eq!(inbox.waiting(u64::MAX, 10).await.unwrap(), []);
        let ended = Ended { id, delivered: false, reason: "no such phone".into(), attempts: 0 };
        assert_eq!(inbox.unreported(6_000, 10).await.unwrap(), [ended]);
        inbox.reported(id).await.unwrap();
        assert_eq!(inbox.next_due_ms().await.unwrap(), None);
        let day_ms = 24 * 3_600_000;
        assert_eq!(inbox.forget(6_000 + day_ms).await.unwrap(), 0);
        assert_eq!(inbox.store(push(1), 7_000).await.unwrap(), Stored::Known);
        assert_eq!(inbox.forget(6_001 + day_ms).await.unwrap(), 1);
        // No code is left in the file, not even in its freed pages.
        drop(inbox);
        let code = b"654321";
        let bytes = std::fs::read(folder.path().join("inbox.sqlite")).unwrap();
        assert!(!bytes.windows(code.len()).any(|w| w == code));
    }
}
