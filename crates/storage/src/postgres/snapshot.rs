//! PostgreSQL under the shared SQL.
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, RwLock},
};

use deadpool_postgres::ClientWrapper;
use futures_util::{TryStreamExt, future::try_join_all, pin_mut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use super::failed;
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

    /// Runs statements, all on their way before the first is answered; the first that fails is told.
    pub(super) async fn run_all(
        &self,
        statements: &[Statement],
    ) -> std::result::Result<(), tokio_postgres::Error> {
        let prepared: HashMap<&'static str, _> = {
            let mut different: Vec<&'static str> = statements.iter().map(|s| s.sql).collect();
            different.sort_unstable();
            different.dedup();
            let prepare = |sql: &'static str| async move {
                self.0.prepare_cached(&translated(sql)).await.map(|statement| (sql, statement))
            };
            try_join_all(different.into_iter().map(prepare)).await?.into_iter().collect()
        };
        let mut running = Vec::with_capacity(statements.len());
        for statement in statements {
            let Some(known) = prepared.get(statement.sql) else { continue };
            running.push(self.0.execute_raw(known, statement.values.as_slice()));
        }
        // In order: the first refusal is the cause of those after it.
        let mut first = Ok(());
        for ran in futures_util::future::join_all(running).await {
            if first.is_ok() {
                first = ran.map(drop);
            }
        }
        first
    }
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
            Value::Null => Ok(IsNull::Yes),
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
