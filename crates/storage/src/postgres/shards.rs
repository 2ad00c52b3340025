//! The shards of a cluster.
use std::{sync::Arc, time::Duration};

use deadpool_postgres::Client;
use protocol::{LaneId, Position, PushId, ShardId, routing::ShardMap};

use super::{
    PostgresConfig,
    apply::{self, Target},
    claim, failed, fill,
    homes::{Home, Homes},
    migrate,
    moving::{self, Compared, Rows},
    pool::Pool,
    readers::{Choice, Databases, Floors},
    snapshot::{Statement, Transaction},
};
use crate::{
    StorageError,
    rows::Put,
    sql::{
        Result, Value, lanes,
        prune::{self, Kept},
        save::save,
    },
    store::{Applied, Batch, Decide},
};

/// All shards of a cluster.
pub(crate) struct Shards {
    shards: Vec<Arc<Databases>>,
    homes: Arc<Homes>,
    floors: Arc<Floors>,
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
        let (homes, floors) = (Arc::new(Homes::new(map)), Arc::new(Floors::new(map.lanes())));
        for (shard, of_shard) in (0..).map(ShardId).zip(&config.shards) {
            let pool = |conninfo: &str, most| Pool::new(conninfo, most, config.statement_timeout());
            let master = pool(&of_shard.master, config.writers)?;
            let pools = |slave: &String| Ok((pool(slave, config.readers)?, pool(slave, 1)?));
            let slaves: Result<Vec<_>> = of_shard.slaves.iter().map(pools).collect();
            let look = pool(&of_shard.master, 1)?;
            migrate::run(&master, shard, map).await?;
            let databases = Databases::new((master, look), slaves?, &floors);
            homes.learn(databases.moved().await?);
            databases.watch(Arc::clone(&homes));
            shards.push(databases);
        }
        Ok(Shards { shards, homes, floors, most_lag: config.most_lag() })
    }

    /// The shard that a lane lives in.
    pub(crate) fn home(&self, lane: LaneId) -> Result<ShardId> {
        self.homes.of(lane).map(|home| home.shard).ok_or(StorageError::Closed)
    }

    /// How often lanes have moved in all.
    pub(crate) fn moves(&self) -> u64 {
        self.homes.moves()
    }

    /// The databases that a read of a shard may go to.
    pub(crate) fn choice(&self, shard: ShardId) -> Result<Choice> {
        Ok(self.shard(shard)?.choice(None, self.most_lag))
    }

    /// The databases that a read of a lane may go to, so that it shows no less of it than was shown before.
    pub(crate) fn choice_of(&self, lane: LaneId) -> Result<Choice> {
        Ok(self.shard(self.home(lane)?)?.choice(Some(lane), self.most_lag))
    }

    /// A lane was not where it was thought to live, `shard`: finds out where it is.
    ///
    /// # Errors
    /// [`StorageError::Elsewhere`] where nobody knows better.
    pub(crate) async fn follow(&self, lane: LaneId, shard: ShardId) -> Result<()> {
        if self.home(lane)? == shard {
            self.homes.learn(self.shard(shard)?.moved().await?);
        }
        if self.home(lane)? == shard { Err(StorageError::Elsewhere(lane)) } else { Ok(()) }
    }

    /// The shard's master alone.
    pub(crate) fn newest(&self, shard: ShardId) -> Result<Choice> {
        Ok(self.shard(shard)?.newest())
    }

    /// Nothing older is read from now on.
    pub(crate) fn shown(&self, position: Position) {
        self.floors.raise(position);
    }

    /// Takes a lane over under an epoch, or under the next one.
    pub(crate) async fn claim(&self, lane: LaneId, epoch: Option<u64>) -> Result<(u64, Position)> {
        loop {
            let home = self.homes.of(lane).ok_or(StorageError::Closed)?;
            if let Some(taken) =
                claim::claim(&self.shard(home.shard)?.master, lane, epoch, home.moves).await?
            {
                return Ok(taken);
            }
            self.follow(lane, home.shard).await?;
        }
    }

    /// How far a lane is applied in the master.
    pub(crate) async fn in_master(&self, lane: LaneId) -> Result<Position> {
        loop {
            let shard = self.home(lane)?;
            if let Some(at) = claim::position(&self.shard(shard)?.master, lane).await? {
                return Ok(at);
            }
            self.follow(lane, shard).await?;
        }
    }

    /// Applies a batch in one transaction.
    pub(crate) async fn apply(&self, shard: ShardId, batch: &Batch, rules: &dyn Decide) -> Result<Applied> {
        apply::apply(&self.shard(shard)?.master, batch, rules, Target::Lane).await
    }

    /// Applies a batch to a lane's copy in another shard, too.
    pub(crate) async fn apply_to_copy(
        &self,
        to: ShardId,
        batch: &Batch,
        rules: &dyn Decide,
    ) -> Result<Applied> {
        apply::apply(&self.shard(to)?.master, batch, rules, Target::Copy).await
    }

    /// Copies a lane into another shard; answers how far the copy is.
    pub(crate) async fn copy(
        &self,
        rows: &Rows,
        (from, to): (ShardId, ShardId),
        epoch: u64,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Position> {
        moving::copy((self.shard(from)?, self.shard(to)?), rows, epoch, told).await
    }

    /// A snapshot of a lane to compare its copy with.
    pub(crate) async fn compared(&self, lane: LaneId, from: ShardId) -> Result<Compared> {
        Compared::begin(self.shard(from)?, lane).await
    }

    /// Compares a copy that has been brought to the snapshot's position; answers the first table that differs.
    pub(crate) async fn compare(
        &self,
        with: &Compared,
        rows: &Rows,
        to: ShardId,
    ) -> Result<Option<&'static str>> {
        with.with(self.shard(to)?, rows).await
    }

    /// Lets a lane live in another shard from now on. Whether it does is not known after an error, but where it lives is.
    pub(crate) async fn switch(
        &self,
        at: Position,
        (from, to): (ShardId, ShardId),
        epoch: u64,
    ) -> Result<()> {
        let moves = self.homes.of(at.lane).map_or(0, |home| home.moves) + 1;
        let home = Home { shard: to, moves };
        moving::switch((self.shard(from)?, self.shard(to)?), at, epoch, home).await?;
        self.homes.learn([(at.lane, home)]);
        Ok(())
    }

    /// Deletes what there is of a lane in the shards where it does not live. Answers how many rows.
    pub(crate) async fn clean(&self, lane: LaneId, rows: &Rows, epoch: u64) -> Result<u64> {
        // Where it lives, its row is held under this epoch: a switch of which nothing is known has ended then.
        self.claim(lane, Some(epoch)).await?;
        let home = self.home(lane)?;
        let mut gone = 0;
        for (_, shard) in (0..).zip(&self.shards).filter(|(n, _)| *n != home.0) {
            gone += moving::clean(shard, rows, epoch).await?;
        }
        Ok(gone)
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
