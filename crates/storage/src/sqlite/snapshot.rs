//! SQLite under the shared SQL: what it does, it has done at once.
use std::future::ready;

use futures_util::FutureExt;
use rusqlite::{
    Connection, ToSql,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    StorageError,
    sql::{Cell, Result, Row, Snapshot, Value, corrupt},
};

/// A connection within a transaction.
#[derive(Clone, Copy)]
pub(crate) struct Transaction<'c>(pub(crate) &'c Connection);

impl<'c> Transaction<'c> {
    /// Runs a statement; answers how many rows it changed.
    pub(crate) fn execute(&self, doing: &'static str, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        let run = || self.0.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values));
        run().map_err(StorageError::database(doing))
    }

    /// Where statements are carried out as they come.
    pub(crate) fn sink(
        self,
        doing: &'static str,
    ) -> impl FnMut(&'static str, &[Value<'_>]) -> Result<()> + use<'c> {
        move |sql, values| {
            if !values.contains(&Value::ThatRow) {
                return self.execute(doing, sql, values).map(drop);
            }
            // Tables without row ids leave it as it is.
            let that = self.0.last_insert_rowid();
            let mut values = values.to_vec();
            values
                .iter_mut()
                .filter(|value| **value == Value::ThatRow)
                .for_each(|value| *value = Value::Int(that));
            self.execute(doing, sql, &values).map(drop)
        }
    }

    fn rows<T>(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let failed = |e| StorageError::database(doing)(e);
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            found.push(read(&Row::Sqlite(row))?);
        }
        Ok(found)
    }
}

impl Snapshot for Transaction<'_> {
    fn query<T: Send>(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send {
        ready(self.rows(doing, sql, values, read))
    }
}

/// The outcome of reads from SQLite, which never wait.
pub(crate) fn now<T>(read: impl Future<Output = Result<T>>) -> Result<T> {
    read.now_or_never().unwrap_or(Err(StorageError::Closed))
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null | Value::NewRow | Value::ThatRow => ValueRef::Null,
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Id(id) => ValueRef::Blob(id),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A cell of one of SQLite's rows.
pub(crate) fn cell<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<Cell<'r>> {
    match row.get_ref(column).map_err(StorageError::database("reading a column"))? {
        ValueRef::Null => Ok(Cell::Null),
        ValueRef::Integer(n) => Ok(Cell::Int(n)),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map(Cell::Text).map_err(|e| corrupt("text", e.to_string()))
        }
        ValueRef::Blob(bytes) => Ok(Cell::Bytes(bytes)),
        ValueRef::Real(n) => Err(corrupt("number", format!("{n} is not whole"))),
    }
}
