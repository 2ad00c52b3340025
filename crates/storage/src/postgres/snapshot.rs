//! PostgreSQL under the shared SQL.
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, RwLock},
};

use deadpool_postgres::ClientWrapper;
use futures_util::{
    TryStreamExt,
    future::{join_all, try_join_all},
    pin_mut,
};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use super::{failed, many};
use crate::sql::{Cell, Result, Row, Snapshot, Value, corrupt};

/// A connection within a transaction. Queries that are polled together travel together, in the order of their first poll.
#[derive(Clone, Copy)]
pub(crate) struct Transaction<'c>(pub(super) &'c ClientWrapper);

impl Transaction<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&self, doing: &'static str, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        self.run(sql, values).await.map_err(failed(doing))
    }

    /// Runs a statement, with the driver's own error.
    pub(super) async fn run(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> std::result::Result<u64, tokio_postgres::Error> {
        let statement = self.0.prepare_cached(&translated(sql)).await?;
        self.0.execute_raw(&statement, values).await
    }

    /// Runs statements, those alike together, all on their way before the first is answered; the first that fails is told.
    pub(super) async fn run_all(
        &self,
        mut statements: Vec<Statement>,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        self.number(&mut statements).await?;
        let groups = many::together(statements);
        let ready = try_join_all(groups.iter().map(|group| self.ready(group))).await?;
        let running = groups.iter().zip(&ready).map(|(group, (one, all))| async move {
            match all {
                Some(all) => {
                    let columns = many::columns(&group.rows, one.params().len());
                    self.0.execute_raw(all, columns).await.map(drop)
                }
                None => {
                    let each = group.rows.iter().map(|values| self.0.execute_raw(one, values.as_slice()));
                    first_failure(join_all(each).await)
                }
            }
        });
        first_failure(join_all(running).await)
    }

    /// A group's statement, and the one over arrays where it has several rows.
    async fn ready(
        &self,
        group: &many::Group,
    ) -> std::result::Result<
        (tokio_postgres::Statement, Option<tokio_postgres::Statement>),
        tokio_postgres::Error,
    > {
        let one = self.0.prepare_cached(&translated(group.sql)).await?;
        let all = many::over_arrays(group.sql, one.params()).filter(|_| group.rows.len() > 1);
        let all = match all {
            Some(all) => Some(self.0.prepare_cached(&all).await?),
            None => None,
        };
        Ok((one, all))
    }

    /// Gives new rows their numbers, which are the ledger's postings.
    pub(super) async fn number(
        &self,
        statements: &mut [Statement],
    ) -> std::result::Result<(), tokio_postgres::Error> {
        let all = || statements.iter().flat_map(|statement| &statement.values);
        let count = all().filter(|value| **value == Value::NewRow).count();
        if count == 0 {
            return Ok(());
        }
        let sql = "SELECT nextval('posting_id_seq') FROM generate_series(1, $1)";
        let statement = self.0.prepare_cached(sql).await?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let mut numbers = self.0.query(&statement, &[&count]).await?.into_iter();
        let mut last = Value::Null;
        for value in statements.iter_mut().flat_map(|statement| &mut statement.values) {
            match value {
                Value::NewRow => {
                    last = Value::Int(numbers.next().map_or(Ok(0), |row| row.try_get(0))?);
                    *value = last.clone();
                }
                Value::ThatRow => *value = last.clone(),
                _ => {}
            }
        }
        Ok(())
    }
}

/// In order: the first refusal is the cause of those after it.
fn first_failure<T>(
    ran: Vec<std::result::Result<T, tokio_postgres::Error>>,
) -> std::result::Result<(), tokio_postgres::Error> {
    ran.into_iter().find_map(std::result::Result::err).map_or(Ok(()), Err)
}

/// A statement that waits to be sent with others.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value<'static>>,
}

impl Snapshot for Transaction<'_> {
    async fn query<T: Send>(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let statement = self.0.prepare_cached(&translated(sql)).await.map_err(failed(doing))?;
        let rows = self.0.query_raw(&statement, values).await.map_err(failed(doing))?;
        pin_mut!(rows);
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(failed(doing))? {
            found.push(read(&Row::Postgres(&row))?);
        }
        Ok(found)
    }
}

/// The statements translated so far; there are some hundred in all.
pub(super) fn translated(sql: &str) -> Arc<str> {
    static KNOWN: LazyLock<RwLock<HashMap<String, Arc<str>>>> = LazyLock::new(RwLock::default);
    if let Some(known) = KNOWN.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(sql) {
        return Arc::clone(known);
    }
    let translation: Arc<str> = super::translate(sql).into();
    let mut known = KNOWN.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    Arc::clone(known.entry(sql.to_owned()).or_insert(translation))
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            // A row's number is given before it is sent.
            Value::Null | Value::NewRow | Value::ThatRow => Ok(IsNull::Yes),
            Value::Int(n) => n.to_sql(ty, out),
            Value::Id(id) => id.as_slice().to_sql(ty, out),
            Value::Text(text) => text.as_ref().to_sql(ty, out),
            Value::Bytes(bytes) => bytes.as_ref().to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::BYTEA | Type::TEXT)
    }

    to_sql_checked!();
}

/// A cell of one of PostgreSQL's rows.
pub(crate) fn cell(row: &tokio_postgres::Row, column: usize) -> Result<Cell<'_>> {
    fn read<'r, T: FromSql<'r>>(
        row: &'r tokio_postgres::Row,
        column: usize,
        cell: impl Fn(T) -> Cell<'r>,
    ) -> Result<Cell<'r>> {
        let found: Option<T> = row.try_get(column).map_err(failed("reading a column"))?;
        Ok(found.map_or(Cell::Null, cell))
    }
    let ty = row.columns().get(column).map(tokio_postgres::Column::type_);
    match ty {
        Some(&Type::INT8) => read(row, column, Cell::Int),
        Some(&Type::INT4) => read(row, column, |n: i32| Cell::Int(n.into())),
        Some(&Type::TEXT) => read(row, column, Cell::Text),
        Some(&Type::BYTEA) => read(row, column, Cell::Bytes),
        other => Err(corrupt("column", format!("{other:?} is no type of ours"))),
    }
}
