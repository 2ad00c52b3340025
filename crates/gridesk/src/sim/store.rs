//! What the outside world remembers: messages, debits, callbacks that are on their way. One SQLite file.
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, Row, params};

/// So many messages are kept; the oldest make room.
pub(super) const MAX_MESSAGES: i64 = 1_000;
/// So many debits and settled callbacks are kept.
const MAX_DEBITS: i64 = 20_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS message (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  recipient TEXT NOT NULL,
  text TEXT NOT NULL,
  code TEXT,
  received_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS message_by_recipient ON message (recipient, seq);
CREATE TABLE IF NOT EXISTS debit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  transaction_id TEXT NOT NULL UNIQUE,
  order_id TEXT NOT NULL,
  amount_fen INTEGER NOT NULL,
  paid_s INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS debit_by_order ON debit (order_id, seq);
CREATE TABLE IF NOT EXISTS callback (
  id TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  made_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_ms INTEGER,
  answer TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS callback_waiting ON callback (next_ms) WHERE next_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS mandate (
  id TEXT PRIMARY KEY,
  agreement TEXT NOT NULL UNIQUE,
  account TEXT NOT NULL,
  limit_fen INTEGER NOT NULL,
  notify_url TEXT NOT NULL,
  ended INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS decline (mandate TEXT PRIMARY KEY, reasons TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS answered (instruction TEXT PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS refund (id TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount_fen INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS refund_by_order ON refund (order_id);
";

mod mandates;
pub(super) use mandates::{Answer, Mandate, Signed, Work};

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that did it is gone.
    #[error("the database's thread ended")]
    Gone(#[from] tokio::task::JoinError),
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    connection: Arc<Mutex<Connection>>,
}

/// A short message as it came in.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// The same on every try.
    pub(super) id: String,
    pub(super) to: String,
    pub(super) text: String,
    #[serde(default)]
    pub(super) code: Option<String>,
}

/// A short message in the inbox.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Message {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) to: String,
    pub(super) text: String,
    pub(super) code: Option<String>,
    pub(super) received_ms: i64,
}

/// Money taken from a payer.
#[derive(Clone, Debug)]
pub(super) struct Debit {
    pub(super) transaction: String,
    pub(super) order: String,
    pub(super) amount_fen: i64,
    pub(super) paid_s: u64,
}

/// A message to the merchant.
#[derive(Clone, Debug)]
pub(super) struct Callback {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) body: String,
    pub(super) made_ms: u64,
    pub(super) attempts: u32,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What a payer was told must outlive a power loss.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Store { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await??)
    }

    /// Stores a message; `false` where it has come before.
    pub(super) async fn add_message(&self, message: NewMessage, now_ms: u64) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let added = transaction.execute(
                "INSERT INTO message (id, recipient, text, code, received_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO NOTHING",
                params![message.id, message.to, message.text, message.code, signed(now_ms)],
            )?;
            transaction.execute(
                "DELETE FROM message WHERE seq <= (SELECT MAX(seq) FROM message) - ?1",
                [MAX_MESSAGES],
            )?;
            transaction.commit()?;
            Ok(added == 1)
        })
        .await
    }

    /// Messages after `after`, oldest first.
    pub(super) async fn messages_after(
        &self,
        to: Option<String>,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        self.run(move |connection| {
            connection
                .prepare_cached(
                    "SELECT seq, id, recipient, text, code, received_ms FROM message
                     WHERE seq > ?1 AND (?2 IS NULL OR recipient = ?2) ORDER BY seq LIMIT ?3",
                )?
                .query_map(params![after, to, limit], message)?
                .collect()
        })
        .await
    }

    /// The newest messages, newest first.
    pub(super) async fn newest_messages(
        &self,
        to: Option<String>,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        self.run(move |connection| {
            connection
                .prepare_cached(
                    "SELECT seq, id, recipient, text, code, received_ms FROM message
                     WHERE ?1 IS NULL OR recipient = ?1 ORDER BY seq DESC LIMIT ?2",
                )?
                .query_map(params![to, limit], message)?
                .collect()
        })
        .await
    }

    /// The first debit of an order.
    pub(super) async fn first_debit(&self, order: String) -> Result<Option<Debit>, StoreError> {
        self.run(move |connection| first_debit(connection, &order)).await
    }

    /// Takes the money and queues the merchant's message, in one transaction. With `once`, an order that is paid already
    /// is left as it is, and its debit is given back with `false`.
    pub(super) async fn pay(
        &self,
        debit: Debit,
        callback: Callback,
        next_ms: Option<u64>,
        once: bool,
    ) -> Result<(Debit, bool), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            if once && let Some(before) = first_debit(&transaction, &debit.order)? {
                return Ok((before, false));
            }
            transaction.execute(
                "INSERT INTO debit (transaction_id, order_id, amount_fen, paid_s) VALUES (?1, ?2, ?3, ?4)",
                params![debit.transaction, debit.order, debit.amount_fen, signed(debit.paid_s)],
            )?;
            queue(&transaction, &callback, next_ms)?;
            transaction.execute("DELETE FROM debit WHERE seq <= (SELECT MAX(seq) FROM debit) - ?1", [MAX_DEBITS])?;
            transaction.execute(
                "DELETE FROM callback WHERE next_ms IS NULL AND rowid <= (SELECT MAX(rowid) FROM callback) - ?1",
                [MAX_DEBITS],
            )?;
            transaction.commit()?;
            Ok((debit, true))
        })
        .await
    }

    /// Callbacks that are due, and when the next one is.
    pub(super) async fn due(
        &self,
        now_ms: u64,
        limit: i64,
    ) -> Result<(Vec<Callback>, Option<u64>), StoreError> {
        self.run(move |connection| {
            let due = connection
                .prepare_cached(
                    "SELECT id, url, body, made_ms, attempts FROM callback
                     WHERE next_ms IS NOT NULL AND next_ms <= ?1 ORDER BY next_ms LIMIT ?2",
                )?
                .query_map(params![signed(now_ms), limit], |row| {
                    Ok(Callback {
                        id: row.get(0)?,
                        url: row.get(1)?,
                        body: row.get(2)?,
                        made_ms: unsigned(row.get(3)?),
                        attempts: row.get(4)?,
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let next: Option<i64> = connection
                .prepare_cached(
                    "SELECT MIN(next_ms) FROM callback WHERE next_ms IS NOT NULL AND next_ms > ?1",
                )?
                .query_row([signed(now_ms)], |row| row.get(0))?;
            Ok((due, next.map(unsigned)))
        })
        .await
    }

    /// Notes how a try ended; `next_ms` is when to try again, none where nothing more is to be done.
    pub(super) async fn tried(
        &self,
        id: String,
        answer: String,
        next_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            connection.execute(
                "UPDATE callback SET attempts = attempts + 1, answer = ?2, next_ms = ?3 WHERE id = ?1",
                params![id, answer, next_ms.map(signed)],
            )
        })
        .await?;
        Ok(())
    }

    /// Whether a callback is settled: taken or given up.
    pub(super) async fn attempts(&self, id: String) -> Result<u32, StoreError> {
        self.run(move |connection| {
            connection
                .prepare_cached("SELECT attempts FROM callback WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()
        })
        .await
        .map(Option::unwrap_or_default)
    }
}

/// Queues a message to the merchant.
fn queue(connection: &Connection, callback: &Callback, next_ms: Option<u64>) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO callback (id, url, body, made_ms, next_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![callback.id, callback.url, callback.body, signed(callback.made_ms), next_ms.map(signed)],
    )
}

fn first_debit(connection: &Connection, order: &str) -> rusqlite::Result<Option<Debit>> {
    connection
        .prepare_cached(
            "SELECT transaction_id, order_id, amount_fen, paid_s FROM debit WHERE order_id = ?1
             ORDER BY seq LIMIT 1",
        )?
        .query_row([order], |row| {
            Ok(Debit {
                transaction: row.get(0)?,
                order: row.get(1)?,
                amount_fen: row.get(2)?,
                paid_s: unsigned(row.get(3)?),
            })
        })
        .optional()
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        seq: row.get(0)?,
        id: row.get(1)?,
        to: row.get(2)?,
        text: row.get(3)?,
        code: row.get(4)?,
        received_ms: row.get(5)?,
    })
}

/// SQLite's numbers are signed; times of this age are far below the limit.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
