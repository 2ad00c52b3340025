//! One SQL for both engines.
//!
//! What is read and written is said once, in the SQL that SQLite and PostgreSQL share: `?1` or `?` for values, numbers as
//! 64-bit integers, ids and packed values as bytes, everything else as text. An engine brings a [`Snapshot`], which runs
//! queries, and takes the statements of [`save`]; how it connects, commits and shares transactions is its own.
pub(crate) mod bills;
pub(crate) mod exports;
pub(crate) mod lanes;
pub(crate) mod load;
pub(crate) mod payments;
pub(crate) mod people;
pub(crate) mod prune;
pub(crate) mod requests;
mod row;
pub(crate) mod save;
pub(crate) mod supply;
mod value;
pub(crate) mod views;

pub(crate) use row::{Cell, Row};
pub(crate) use value::{Value, pack};

use crate::StorageError;

pub(crate) type Result<T> = std::result::Result<T, StorageError>;

/// One state of a shard: of a read transaction, or of the transaction in which a batch is applied.
///
/// An embedded snapshot's futures are ready at once; a cluster's may wait together, and then travel together.
pub(crate) trait Snapshot {
    /// Runs a query and reads its rows.
    fn query<T: Send>(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send;
}

/// Runs a query for at most one row.
async fn one<S: Snapshot, T: Send>(
    s: &S,
    doing: &'static str,
    sql: &str,
    values: &[Value<'_>],
    read: impl FnMut(&Row<'_>) -> Result<T> + Send,
) -> Result<Option<T>> {
    Ok(s.query(doing, sql, values, read).await?.into_iter().next())
}

/// Runs a query for exactly one row, such as a count.
async fn single<S: Snapshot, T: Send>(
    s: &S,
    doing: &'static str,
    sql: &str,
    values: &[Value<'_>],
    read: impl FnMut(&Row<'_>) -> Result<T> + Send,
) -> Result<T> {
    one(s, doing, sql, values, read).await?.ok_or_else(|| corrupt(doing, "there is no row"))
}

/// A stored value that cannot be read.
pub(crate) fn corrupt(what: &'static str, why: impl Into<String>) -> StorageError {
    StorageError::Corrupt { what, why: why.into() }
}
