//! Payers' leaves to be debited, what they decline, and money that went back.
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Callback, Debit, Store, StoreError, first_debit, queue};

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

    /// Declines an order and queues the merchant's message, once; `rest` is what is declined after it.
    pub(in crate::sim) async fn declined(
        &self,
        mandate: String,
        rest: String,
        order: String,
        callback: Callback,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let added = transaction
                .execute("INSERT INTO declined (order_id) VALUES (?1) ON CONFLICT DO NOTHING", [&order])?;
            if added == 1 {
                transaction
                    .execute("UPDATE decline SET reasons = ?2 WHERE mandate = ?1", [&mandate, &rest])?;
                queue(&transaction, &callback, Some(now_ms))?;
            }
            transaction.commit()
        })
        .await
    }

    /// Whether an order was debited or declined.
    pub(in crate::sim) async fn is_answered(&self, order: String) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let declined = connection
                .query_row("SELECT 1 FROM declined WHERE order_id = ?1", [&order], |_| Ok(()))
                .optional()?;
            Ok(declined.is_some() || first_debit(connection, &order)?.is_some())
        })
        .await
    }

    /// Gives money of an order back, once a refund, and queues the merchant's message. `false`, and `refused` is queued
    /// instead, where that much was not taken.
    pub(in crate::sim) async fn refund(
        &self,
        refund: String,
        debit: Debit,
        callback: Callback,
        refused: Callback,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let known = transaction
                .query_row("SELECT 1 FROM refund WHERE id = ?1", [&refund], |_| Ok(()))
                .optional()?;
            if known.is_some() {
                return Ok(true);
            }
            let sum = |sql: &str| transaction.query_row(sql, [&debit.order], |row| row.get::<_, i64>(0));
            let taken = sum("SELECT coalesce(sum(amount_fen), 0) FROM debit WHERE order_id = ?1")?;
            let back = sum("SELECT coalesce(sum(amount_fen), 0) FROM refund WHERE order_id = ?1")?;
            let goes = debit.amount_fen <= taken - back;
            if goes {
                transaction.execute(
                    "INSERT INTO refund (id, order_id, amount_fen) VALUES (?1, ?2, ?3)",
                    params![refund, debit.order, debit.amount_fen],
                )?;
            }
            queue(&transaction, if goes { &callback } else { &refused }, Some(now_ms))?;
            transaction.commit()?;
            Ok(goes)
        })
        .await
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
