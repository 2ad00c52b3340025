//! Payers' leaves to be debited, what they decline, and money that went back.
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Callback, Debit, Store, StoreError, first_debit, queue, signed};

/// So many leaves are listed.
const MOST: i64 = 200;

/// A payer's leave to be debited.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Mandate {
    pub(in crate::sim) id: String,
    pub(in crate::sim) agreement: String,
    pub(in crate::sim) account: String,
    pub(in crate::sim) limit_fen: i64,
    pub(in crate::sim) notify_url: String,
    pub(in crate::sim) ended: bool,
    /// Why the next debits are declined, one after the other, separated by spaces.
    pub(in crate::sim) declines: String,
}

/// What became of a signature.
pub(in crate::sim) enum Signed {
    /// It counts.
    Now,
    /// It was there already.
    Before,
}

impl Store {
    /// Notes a leave and queues the merchant's message, once.
    pub(in crate::sim) async fn sign(
        &self,
        mandate: Mandate,
        callback: Callback,
        now_ms: u64,
    ) -> Result<Signed, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let added = transaction.execute(
                "INSERT INTO mandate (id, agreement, account, limit_fen, notify_url) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO NOTHING",
                params![mandate.id, mandate.agreement, mandate.account, mandate.limit_fen, mandate.notify_url],
            )?;
            if added == 0 {
                return Ok(Signed::Before);
            }
            queue(&transaction, &callback, Some(now_ms))?;
            transaction.commit()?;
            Ok(Signed::Now)
        })
        .await
    }

    /// A leave by its merchant's number.
    pub(in crate::sim) async fn mandate(&self, id: String) -> Result<Option<Mandate>, StoreError> {
        self.run(move |connection| find(connection, &id)).await
    }

    /// Leaves, newest first.
    pub(in crate::sim) async fn mandates(&self) -> Result<Vec<Mandate>, StoreError> {
        self.run(move |connection| {
            let sql = format!("SELECT {COLUMNS} ORDER BY m.rowid DESC LIMIT ?1");
            connection.prepare_cached(&sql)?.query_map([MOST], row)?.collect()
        })
        .await
    }

    /// Ends a leave; with `callback`, tells the merchant. `false` where it was over, or is not there.
    pub(in crate::sim) async fn end_mandate(
        &self,
        id: String,
        callback: Option<Callback>,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let ended =
                transaction.execute("UPDATE mandate SET ended = 1 WHERE id = ?1 AND ended = 0", [&id])?;
            if let Some(callback) = callback.filter(|_| ended == 1) {
                queue(&transaction, &callback, Some(now_ms))?;
            }
            transaction.commit()?;
            Ok(ended == 1)
        })
        .await
    }

    /// Has the next debits declined for these reasons, one after the other, also where it is not signed yet.
    pub(in crate::sim) async fn decline(&self, id: String, reasons: String) -> Result<(), StoreError> {
        self.run(move |connection| {
            connection.execute(
                "INSERT INTO decline (mandate, reasons) VALUES (?1, ?2)
                 ON CONFLICT (mandate) DO UPDATE SET reasons = trim(reasons || ' ' || excluded.reasons)",
                [&id, &reasons],
            )
        })
        .await?;
        Ok(())
    }

    /// Carries an instruction out, once, and queues the merchant's message; told again, the same message is queued anew.
    pub(in crate::sim) async fn carry_out(
        &self,
        instruction: String,
        work: Work,
        answer: Answer,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let known = transaction
                .query_row("SELECT url, body FROM answered WHERE instruction = ?1", [&instruction], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let (url, body) = match known {
                Some(known) => known,
                None => {
                    let body = if work.run(&transaction)? { answer.done } else { answer.refused };
                    transaction.execute(
                        "INSERT INTO answered (instruction, url, body) VALUES (?1, ?2, ?3)",
                        [&instruction, &answer.url, &body],
                    )?;
                    (answer.url, body)
                }
            };
            let callback = Callback { id: answer.id, url, body, made_ms: now_ms, attempts: 0 };
            queue(&transaction, &callback, Some(now_ms))?;
            transaction.commit()
        })
        .await
    }
}

/// What an instruction has done.
pub(in crate::sim) enum Work {
    /// Debits the payer, unless the order was paid before.
    Debit(Debit),
    /// Declines a debit under a mandate; `rest` is what is declined after it.
    Decline { mandate: String, rest: String },
    /// Gives money of an order back, if that much was taken.
    Refund { refund: String, order: String, amount_fen: i64 },
}

/// What the merchant is told of it.
pub(in crate::sim) struct Answer {
    /// The message's id.
    pub(in crate::sim) id: String,
    /// Where to.
    pub(in crate::sim) url: String,
    /// What, once it is done.
    pub(in crate::sim) done: String,
    /// What, where it is not.
    pub(in crate::sim) refused: String,
}

impl Work {
    /// Whether it was done.
    fn run(&self, c: &Connection) -> rusqlite::Result<bool> {
        match self {
            Work::Debit(debit) => {
                if first_debit(c, &debit.order)?.is_some() {
                    return Ok(false);
                }
                c.execute(
                    "INSERT INTO debit (transaction_id, order_id, amount_fen, paid_s) VALUES (?1, ?2, ?3, ?4)",
                    params![debit.transaction, debit.order, debit.amount_fen, signed(debit.paid_s)],
                )?;
                Ok(true)
            }
            Work::Decline { mandate, rest } => {
                c.execute("UPDATE decline SET reasons = ?2 WHERE mandate = ?1", [mandate, rest])?;
                Ok(false)
            }
            Work::Refund { refund, order, amount_fen } => {
                let sum = |sql: &str| c.query_row(sql, [order], |row| row.get::<_, i64>(0));
                let taken = sum("SELECT coalesce(sum(amount_fen), 0) FROM debit WHERE order_id = ?1")?;
                let back = sum("SELECT coalesce(sum(amount_fen), 0) FROM refund WHERE order_id = ?1")?;
                let goes = *amount_fen <= taken - back;
                if goes {
                    c.execute(
                        "INSERT INTO refund (id, order_id, amount_fen) VALUES (?1, ?2, ?3)",
                        params![refund, order, amount_fen],
                    )?;
                }
                Ok(goes)
            }
        }
    }
}

const COLUMNS: &str =
    "m.id, m.agreement, m.account, m.limit_fen, m.notify_url, m.ended, coalesce(d.reasons, '')
  FROM mandate m LEFT JOIN decline d ON d.mandate = m.id";

fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Mandate>> {
    let sql = format!("SELECT {COLUMNS} WHERE m.id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], row).optional()
}

fn row(row: &Row<'_>) -> rusqlite::Result<Mandate> {
    Ok(Mandate {
        id: row.get(0)?,
        agreement: row.get(1)?,
        account: row.get(2)?,
        limit_fen: row.get(3)?,
        notify_url: row.get(4)?,
        ended: row.get(5)?,
        declines: row.get(6)?,
    })
}
