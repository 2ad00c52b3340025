//! Moving a lane to another shard while it is written and read.
use protocol::{LaneId, Position, ShardId};

use super::{Applied, Batch, Decide, Engine, Result, Store};
use crate::{
    StorageError,
    postgres::{self, Compared, Rows},
};

/// A lane on its way to another shard. Dropped before [`LaneMove::switch`], nothing has moved.
pub struct LaneMove {
    store: Store,
    rows: Rows,
    lane: LaneId,
    epoch: u64,
    from: ShardId,
    to: ShardId,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same in both shards.
    Same,
    /// This table differs.
    Differs(&'static str),
}

/// A lane as it was at a moment, where it lives.
pub struct LaneSnapshot(Compared);

impl LaneSnapshot {
    /// How far it is.
    pub fn at(&self) -> Position {
        self.0.at
    }
}

impl Store {
    /// All moves of lanes so far: the version of where they live.
    pub fn moves(&self) -> u64 {
        match &self.inner.engine {
            Engine::Sqlite(_) => 0,
            Engine::Postgres(shards) => shards.moves(),
        }
    }

    /// Begins to move a lane, under the epoch that its applier has.
    ///
    /// # Errors
    /// [`StorageError::Closed`] on one machine, and where there is no such lane or shard.
    pub fn move_lane(&self, lane: LaneId, to: ShardId, epoch: u64) -> Result<LaneMove> {
        let from = self.shard_of(lane)?;
        if !matches!(self.inner.engine, Engine::Postgres(_)) || to.0 >= self.inner.map.shards() || to == from
        {
            return Err(StorageError::Closed);
        }
        Ok(LaneMove { store: self.clone(), rows: self.rows_of(lane), lane, epoch, from, to })
    }

    /// Deletes what there is of a lane in shards where it does not live: what it left there, and copies that nothing came
    /// of. For whoever applies the lane under this epoch. Answers how many rows.
    pub async fn clean_after_moves(&self, lane: LaneId, epoch: u64) -> Result<u64> {
        match &self.inner.engine {
            Engine::Sqlite(_) => Ok(0),
            Engine::Postgres(shards) => shards.clean(lane, &self.rows_of(lane), epoch).await,
        }
    }

    fn rows_of(&self, lane: LaneId) -> Rows {
        let buckets = (0..protocol::ids::BUCKETS).filter_map(|n| n.try_into().ok());
        Rows::of(lane, buckets.filter(|bucket| self.inner.map.lane(*bucket) == lane))
    }
}

impl LaneMove {
    fn shards(&self) -> Result<&postgres::Shards> {
        match &self.store.inner.engine {
            Engine::Postgres(shards) => Ok(shards),
            Engine::Sqlite(_) => Err(StorageError::Closed),
        }
    }

    /// Copies the lane's rows as they are now; answers how far that is. `told` hears how many rows there are so far.
    pub async fn copy(&self, told: &(dyn Fn(u64) + Send + Sync)) -> Result<Position> {
        self.shards()?.copy(&self.rows, (self.from, self.to), self.epoch, told).await
    }

    /// Applies a batch to the copy. It has been applied where the lane lives: the same rules do the same again.
    pub async fn apply(&self, batch: &Batch, rules: &dyn Decide) -> Result<Applied> {
        super::within(self.shards()?.apply_to_copy(self.to, batch, rules)).await
    }

    /// A snapshot of the lane where it lives, to compare the copy with.
    pub async fn snapshot(&self) -> Result<LaneSnapshot> {
        Ok(LaneSnapshot(self.shards()?.compared(self.lane, self.from).await?))
    }

    /// Compares the copy, which has been brought to the snapshot's position and no further.
    pub async fn compare(&self, with: &LaneSnapshot) -> Result<Comparison> {
        let differs = self.shards()?.compare(&with.0, &self.rows, self.to).await?;
        Ok(differs.map_or(Comparison::Same, Comparison::Differs))
    }

    /// How far the lane is applied where it lives.
    pub async fn source(&self) -> Result<Position> {
        self.store.in_master(self.lane).await
    }

    /// Lets the lane live in the other shard, as of a position that both have. Its applier stands still meanwhile.
    ///
    /// # Errors
    /// After [`StorageError::Engine`] it may have moved all the same: [`Store::shard_of`] will say.
    pub async fn switch(self, at: Position) -> Result<()> {
        super::within(self.shards()?.switch(at, (self.from, self.to), self.epoch)).await
    }
}
