//! Which lane a bucket writes to, which shard a lane belongs to, and which node works on it.
use crate::{Bucket, LaneId, ShardId, ids::BUCKETS};

pub mod regions;
mod table;

pub use table::{MAX_NODES, NodeEntry, RoutingTable, TableError};

/// The table buckets → lanes → shards, as it is when data is first there. Lanes may live elsewhere later, as the shards say;
/// nothing is re-hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    regions: Vec<regions::Region>,
    shard_of_lane: Vec<ShardId>,
    lane_of_bucket: Vec<LaneId>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// There must be at least one lane a shard, and no more lanes than buckets.
    #[error(
        "{lanes} lanes on {shards} shards: give every shard at least one lane, and at most {BUCKETS} lanes in all"
    )]
    Shape {
        /// Lanes asked for.
        lanes: u16,
        /// Shards asked for.
        shards: u16,
    },
}

impl ShardMap {
    /// Spreads the buckets over `shards` shards of `lanes_per_shard` lanes each, evenly and in order.
    pub fn even(shards: u16, lanes_per_shard: u16) -> Result<Self, RoutingError> {
        let lanes = shards.saturating_mul(lanes_per_shard);
        if lanes == 0 || lanes > BUCKETS {
            return Err(RoutingError::Shape { lanes, shards });
        }
        let lane_of =
            |bucket: u16| LaneId((u32::from(bucket) * u32::from(lanes) / u32::from(BUCKETS)) as u16);
        Ok(ShardMap {
            regions: Vec::new(),
            shard_of_lane: (0..lanes).map(|lane| ShardId(lane / lanes_per_shard)).collect(),
            lane_of_bucket: (0..BUCKETS).map(lane_of).collect(),
        })
    }

    /// The same, with accounts placed by regions: in all of this process, from now on.
    ///
    /// # Errors
    /// [`regions::RegionError`].
    pub fn with_regions(self, regions: &[regions::Region]) -> Result<Self, regions::RegionError> {
        regions::place_accounts(regions, &self)?;
        Ok(ShardMap { regions: regions.to_vec(), ..self })
    }

    /// What can never be changed once data is there, in words.
    pub fn shape(&self) -> String {
        let shape = format!("{} shards with {} lanes", self.shards(), self.shard_of_lane.len());
        match self.regions.is_empty() {
            true => shape,
            false => format!("{shape}, regions {}", regions::describe(&self.regions)),
        }
    }

    /// The lane that a bucket's writes go to.
    pub fn lane(&self, bucket: Bucket) -> LaneId {
        self.lane_of_bucket[usize::from(bucket.number())]
    }

    /// The shard a lane writes to. `None` for a lane that is not in the table.
    pub fn shard_of_lane(&self, lane: LaneId) -> Option<ShardId> {
        self.shard_of_lane.get(usize::from(lane.0)).copied()
    }

    /// The shard a bucket lives in.
    pub fn shard(&self, bucket: Bucket) -> ShardId {
        self.shard_of_lane[usize::from(self.lane(bucket).0)]
    }

    /// All lanes, in order.
    pub fn lanes(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..self.shard_of_lane.len() as u16).map(LaneId)
    }

    /// The lanes of one shard.
    pub fn lanes_of(&self, shard: ShardId) -> impl Iterator<Item = LaneId> + '_ {
        self.lanes().filter(move |lane| self.shard_of_lane(*lane) == Some(shard))
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shard_of_lane.iter().map(|s| s.0 + 1).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_has_a_lane_and_lanes_share_evenly() {
        let map = ShardMap::even(2, 4).unwrap();
        let mut counts = std::collections::HashMap::new();
        for n in 0..BUCKETS {
            *counts.entry(map.lane(Bucket::try_from(n).unwrap())).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 8);
        assert!(counts.values().all(|n| *n == 512));
        assert_eq!(map.lanes_of(ShardId(1)).count(), 4);
        assert_eq!(map.shards(), 2);
        assert!(ShardMap::even(0, 4).is_err());
        assert!(ShardMap::even(4097, 1).is_err());
    }
}
