//! The shards of a cluster.
use std::{sync::Arc, time::Duration};

use deadpool_postgres::Client;
use protocol::{LaneId, Position, PushId, ShardId, routing::ShardMap};

use super::{
    PostgresConfig, apply, failed, fill, migrate,
    pool::Pool,
    readers::{Choice, Databases},
    snapshot::{Statement, Transaction},
};
use crate::{
    StorageError,
    rows::Put,
    sql::{
        Result, Row, Snapshot, Value, lanes,
        prune::{self, Kept},
        save::save,
    },
    store::{Applied, Batch, Decide},
};

/// All shards of a cluster.
pub(crate) struct Shards {
    shards: Vec<Arc<Databases>>,
    map: ShardMap,
    most_lag: Duration,
}

impl Shards {
    /// Connects to every master, brings its schema up to date, and begins to follow its slaves.
    pub(crate) async fn connect(config: &PostgresConfig, map: &ShardMap) -> Result<Self> {
        if config.shards.len() != usize::from(map.shards()) {
            return Err(StorageError::Shape {
                found: format!("{} shards in the list of databases", config.shards.len()),
                configured: format!("{} shards", map.shards()),
            });
        }
        let mut shards = Vec::new();
        for (shard, of_shard) in (0..).map(ShardId).zip(&config.shards) {
            let pool = |conninfo: &str, most| Pool::new(conninfo, most, config.statement_timeout());
            let master = pool(&of_shard.master, config.writers)?;
            let pools = |slave: &String| Ok((pool(slave, config.readers)?, pool(slave, 1)?));
            let slaves: Result<Vec<_>> = of_shard.slaves.iter().map(pools).collect();
            let look = pool(&of_shard.master, 1)?;
            migrate::run(&master, shard, map).await?;
            let databases = Databases::new((master, look), slaves?, map.lanes_of(shard));
            databases.watch();
            shards.push(databases);
        }
        Ok(Shards { shards, map: map.clone(), most_lag: config.most_lag() })
    }

    /// The databases that a read of a shard may go to, so that it shows no less of a lane than was shown before.
    pub(crate) fn choice(&self, shard: ShardId, lane: Option<LaneId>) -> Result<Choice> {
        Ok(self.shard(shard)?.choice(lane, self.most_lag))
    }

    /// The shard's master alone.
    pub(crate) fn newest(&self, shard: ShardId) -> Result<Choice> {
        Ok(self.shard(shard)?.newest())
    }

    /// Nothing older is read from now on.
    pub(crate) fn shown(&self, position: Position) {
        let shard = self.map.shard_of_lane(position.lane);
        if let Some(databases) = shard.and_then(|shard| self.shards.get(usize::from(shard.0))) {
            databases.shown(position);
        }
    }

    /// Takes a lane over under an epoch, or under the next one.
    pub(crate) async fn claim(
        &self,
        shard: ShardId,
        lane: LaneId,
        epoch: Option<u64>,
    ) -> Result<(u64, Position)> {
        let writing = Writing::begin(&self.shard(shard)?.master).await?;
        let taken = writing
            .transaction()?
            .query(
                "taking a lane",
                "UPDATE lane SET epoch = coalesce(CAST(?2 AS BIGINT), epoch + 1)
                 WHERE id = ?1 AND epoch <= coalesce(CAST(?2 AS BIGINT), epoch)
                 RETURNING epoch, generation, applied",
                &[Value::from(lane), Value::from(epoch)],
                |row| {
                    let at = Position { lane, generation: row.get(1)?, sequence: row.get(2)? };
                    Ok((row.get::<u64>(0)?, at))
                },
            )
            .await?;
        writing.commit().await?;
        let replaced = StorageError::Replaced { lane, epoch: epoch.unwrap_or(0), expected: 0 };
        taken.into_iter().next().ok_or(replaced)
    }

    /// How far a lane is applied in the master.
    pub(crate) async fn in_master(&self, shard: ShardId, lane: LaneId) -> Result<Position> {
        let writing = Writing::begin(&self.shard(shard)?.master).await?;
        // Waits for a commit that slaves may show already, and is refused by one that is no master any more.
        let sql = "SELECT generation, applied FROM lane WHERE id = ?1 FOR SHARE";
        let read = |row: &Row<'_>| Ok(Position { lane, generation: row.get(0)?, sequence: row.get(1)? });
        let found =
            writing.transaction()?.query("reading a lane's row", sql, &[Value::from(lane)], read).await?;
        writing.commit().await?;
        found.into_iter().next().ok_or(StorageError::Closed)
    }

    /// Applies a batch in one transaction.
    pub(crate) async fn apply(&self, shard: ShardId, batch: &Batch, rules: &dyn Decide) -> Result<Applied> {
        apply::apply(&self.shard(shard)?.master, batch, rules).await
    }

    /// Writes rows that no lane orders; they are there for every reader when this returns.
    pub(crate) async fn fill(&self, shard: ShardId, puts: &[Put]) -> Result<()> {
        let mut statements = Vec::new();
        for put in puts {
            save(&mut collect(&mut statements), put, 0)?;
        }
        let databases = self.shard(shard)?;
        fill::fill(&databases.master, statements).await?;
        databases.level().await
    }

    pub(crate) async fn outbox_sent(&self, shard: ShardId, ids: &[i64]) -> Result<()> {
        let sent = |id: &i64| Statement { sql: lanes::OUTBOX_SENT, values: vec![Value::from(*id)] };
        self.write(shard, "emptying the outbox", ids.iter().map(sent).collect()).await
    }

    pub(crate) async fn push_handed_over(&self, shard: ShardId, ids: &[PushId]) -> Result<()> {
        let handed = |id: &PushId| Statement { sql: lanes::PUSH_HANDED_OVER, values: vec![Value::from(*id)] };
        self.write(shard, "noting pushes", ids.iter().map(handed).collect()).await
    }

    /// Forgets what [`prune`] names, and changes applied long ago. Answers how many rows went.
    pub(crate) async fn prune(
        &self,
        shard: ShardId,
        messages_before_ms: u64,
        operations_before_ms: u64,
    ) -> Result<u64> {
        let writing = Writing::begin(&self.shard(shard)?.master).await?;
        let transaction = writing.transaction()?;
        let mut gone = 0;
        let changes =
            "DELETE FROM change WHERE ctid = ANY(ARRAY(SELECT ctid FROM change WHERE at_ms < ?1 LIMIT ?2))";
        let before = |kept| match kept {
            Kept::LikeMessages => messages_before_ms,
            Kept::LikeResults => operations_before_ms,
        };
        let all = std::iter::once((changes, Kept::LikeMessages)).chain(prune::STATEMENTS);
        for (sql, kept) in all {
            let values = [Value::from(before(kept)), Value::from(prune::MOST)];
            gone += transaction.execute("forgetting old rows", sql, &values).await?;
        }
        writing.commit().await?;
        Ok(gone)
    }

    async fn write(&self, shard: ShardId, doing: &'static str, statements: Vec<Statement>) -> Result<()> {
        let writing = Writing::begin(&self.shard(shard)?.master).await?;
        writing.transaction()?.run_all(statements).await.map_err(failed(doing))?;
        writing.commit().await
    }

    fn shard(&self, shard: ShardId) -> Result<&Arc<Databases>> {
        self.shards.get(usize::from(shard.0)).ok_or(StorageError::Closed)
    }
}

/// Takes statements to be sent together.
pub(super) fn collect(
    statements: &mut Vec<Statement>,
) -> impl FnMut(&'static str, &[Value<'_>]) -> Result<()> {
    |sql, values| {
        let values = values.iter().cloned().map(Value::into_owned).collect();
        statements.push(Statement { sql, values });
        Ok(())
    }
}

/// A connection to a master in a transaction, which is undone unless it is committed: then the connection is closed, since
/// nobody knows what it is busy with.
pub(super) struct Writing<'p> {
    client: Option<Client>,
    pool: &'p Pool,
}

impl<'p> Writing<'p> {
    pub(super) async fn begin(pool: &'p Pool) -> Result<Self> {
        let writing = Writing { client: Some(pool.get().await?), pool };
        writing.client()?.batch_execute("BEGIN").await.map_err(failed("beginning"))?;
        Ok(writing)
    }

    pub(super) fn client(&self) -> Result<&Client> {
        self.client.as_ref().ok_or(StorageError::Closed)
    }

    pub(super) fn transaction(&self) -> Result<Transaction<'_>> {
        self.client().map(|client| Transaction(client))
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        self.pool.commit(self.client()?).await?;
        // It goes back to the others.
        drop(self.client.take());
        Ok(())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.client.take().map(Client::take);
    }
}
