//! Queries of many readers that wait together, sent as one for each kind.
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
};

use futures_util::future::{poll_fn, try_join_all};
use tokio::sync::oneshot;
use tokio_postgres::Row as Found;

use super::{
    failed, many,
    snapshot::{Transaction, translated},
};
use crate::{
    StorageError,
    sql::{Result, Row, Snapshot, Value, corrupt},
};

/// Takes queries, and answers them when all readers wait.
#[derive(Default)]
pub(super) struct Gather(Mutex<Vec<Asked>>);

struct Asked {
    sql: String,
    values: Vec<Value<'static>>,
    answer: oneshot::Sender<Vec<Found>>,
}

impl Snapshot for Gather {
    async fn query<T: Send>(
        &self,
        _doing: &'static str,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let (answer, found) = oneshot::channel();
        let values = values.iter().cloned().map(Value::into_owned).collect();
        self.asked().push(Asked { sql: sql.to_owned(), values, answer });
        let found = found.await.map_err(|_| StorageError::Closed)?;
        found.iter().map(|row| read(&Row::Postgres(row))).collect()
    }
}

impl Gather {
    /// Runs readers to their end. Whenever all of them wait, what they asked for is read, each kind of query in one.
    pub(super) async fn read<T>(
        &self,
        s: Transaction<'_>,
        readers: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // Without tokio's budget, by which some of many would wait although they are answered.
        let mut readers = pin!(tokio::task::unconstrained(readers));
        loop {
            let polled = poll_fn(|cx| match readers.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if self.asked().is_empty() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            });
            if let Some(done) = polled.await {
                return done;
            }
            let mut kinds: HashMap<String, Vec<Asked>> = HashMap::new();
            for asked in std::mem::take(&mut *self.asked()) {
                kinds.entry(asked.sql.clone()).or_default().push(asked);
            }
            try_join_all(kinds.into_iter().map(|(sql, asked)| answer(s, sql, asked))).await?;
        }
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers queries that differ in their values only.
async fn answer(s: Transaction<'_>, sql: String, asked: Vec<Asked>) -> Result<()> {
    let (values, answers): (Vec<_>, Vec<_>) =
        asked.into_iter().map(|asked| (asked.values, asked.answer)).unzip();
    let mut found: Vec<Vec<Found>> = values.iter().map(|_| Vec::new()).collect();
    let client = s.0;
    let doing = failed("reading rows together");
    let one = client.prepare_cached(&translated(&sql)).await.map_err(&doing)?;
    match many::over_arrays(&sql, one.params()).filter(|_| values.len() > 1) {
        Some(all) => {
            let all = client.prepare_cached(&all).await.map_err(&doing)?;
            let columns = many::columns(&values, one.params().len());
            let rows = client.query_raw(&all, columns).await.map_err(&doing)?;
            let rows: Vec<Found> = futures_util::TryStreamExt::try_collect(rows).await.map_err(&doing)?;
            for row in rows {
                // The last column says whose it is, counted from 1.
                let of: i64 = row.try_get(row.len() - 1).map_err(&doing)?;
                let of = usize::try_from(of - 1).ok().and_then(|of| found.get_mut(of));
                of.ok_or_else(|| corrupt("reading together", "a row of nobody"))?.push(row);
            }
        }
        None => {
            let each = values.iter().map(|values| client.query_raw(&one, values.as_slice()));
            for (rows, found) in try_join_all(each).await.map_err(&doing)?.into_iter().zip(&mut found) {
                *found = futures_util::TryStreamExt::try_collect(rows).await.map_err(&doing)?;
            }
        }
    }
    // A reader that has gone away needs no answer.
    answers.into_iter().zip(found).for_each(|(answer, found)| drop(answer.send(found)));
    Ok(())
}
