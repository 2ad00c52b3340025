//! In which shard each lane lives: where the map puts it, until it moves.
//!
//! A shard has a row for every lane that lives in it. One that moves away leaves, in the transaction in which its row goes, a
//! word of where it went (`lane_moved`), which counts its moves: whoever looks for it in the wrong shard finds no row, and
//! is told where to look. Of two words about a lane, the one after more moves is the truth.
use std::{collections::HashMap, time::Duration};

use protocol::{LaneId, ShardId, routing::ShardMap};
use tokio::sync::watch;

use super::{pool::Pool, snapshot::Transaction};
use crate::sql::{Result, Row, Snapshot};

/// How long it may take to ask where a lane went.
const WITHIN: Duration = Duration::from_secs(5);

/// Where a lane lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) shard: ShardId,
    /// How often it has moved.
    pub(super) moves: u64,
}

/// Where all lanes live, as far as it is known here.
pub(super) struct Homes(HashMap<LaneId, watch::Sender<Home>>);

impl Homes {
    pub(super) fn new(map: &ShardMap) -> Self {
        let home =
            |lane| Some((lane, watch::Sender::new(Home { shard: map.shard_of_lane(lane)?, moves: 0 })));
        Homes(map.lanes().filter_map(home).collect())
    }

    pub(super) fn of(&self, lane: LaneId) -> Option<Home> {
        self.0.get(&lane).map(|home| *home.borrow())
    }

    /// Takes in what a shard says of lanes that have left it.
    pub(super) fn learn(&self, moved: impl IntoIterator<Item = (LaneId, Home)>) {
        for (lane, home) in moved {
            let Some(known) = self.0.get(&lane) else { continue };
            let is_new = known.send_if_modified(|known| {
                let is_new = home.moves > known.moves;
                if is_new {
                    *known = home;
                }
                is_new
            });
            if is_new {
                tracing::info!(lane = lane.0, shard = home.shard.0, moves = home.moves, "a lane has moved");
            }
        }
    }

    /// All moves so far.
    pub(super) fn moves(&self) -> u64 {
        self.0.values().map(|home| home.borrow().moves).sum()
    }
}

/// What a database says of lanes that have left its shard.
pub(super) async fn moved(pool: &Pool) -> Result<Vec<(LaneId, Home)>> {
    let asking = async {
        let client = pool.get().await?;
        let sql = "SELECT lane, shard, moves FROM lane_moved";
        let read = |row: &Row<'_>| {
            Ok((row.get(0)?, Home { shard: ShardId(row.get::<u16>(1)?), moves: row.get(2)? }))
        };
        Transaction(&client).query("asking where lanes went", sql, &[], read).await
    };
    tokio::time::timeout(WITHIN, asking).await.unwrap_or_else(|_| {
        Err(crate::StorageError::Engine {
            engine: "PostgreSQL",
            doing: "asking where lanes went",
            why: "no answer in time".to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_after_more_moves_is_believed() {
        let homes = Homes::new(&ShardMap::even(3, 2).unwrap());
        let (lane, at) = (LaneId(1), |shard, moves| Home { shard: ShardId(shard), moves });
        assert_eq!(homes.of(lane), Some(at(0, 0)));
        homes.learn([(lane, at(2, 1))]);
        // Back again, and told by the shards in any order.
        homes.learn([(lane, at(0, 2)), (lane, at(2, 1))]);
        assert_eq!(homes.of(lane), Some(at(0, 2)));
        assert_eq!(homes.moves(), 2);
        assert_eq!(homes.of(LaneId(9)), None);
    }
}
