//! A lane's row in the shard where it lives: taken over, or read for sure.
use protocol::{LaneId, Position};

use super::{pool::Pool, shards::Writing};
use crate::{
    StorageError,
    sql::{Result, Row, Snapshot, Value},
};

/// Takes a lane over under an epoch, or under the next one; nothing where it has left this shard, as of more moves than are
/// known.
pub(super) async fn claim(
    master: &Pool,
    lane: LaneId,
    epoch: Option<u64>,
    moves: u64,
) -> Result<Option<(u64, Position)>> {
    let writing = Writing::begin(master).await?;
    let s = writing.transaction()?;
    // Not what an attempt to move it back has copied.
    let take = "UPDATE lane SET epoch = coalesce(CAST(?2 AS BIGINT), epoch + 1)
                WHERE id = ?1 AND epoch <= coalesce(CAST(?2 AS BIGINT), epoch)
                  AND NOT EXISTS (SELECT FROM lane_moved WHERE lane = ?1 AND moves > ?3)
                RETURNING epoch, generation, applied";
    let values = [Value::from(lane), Value::from(epoch), Value::from(moves)];
    let read = |row: &Row<'_>| {
        let at = Position { lane, generation: row.get(1)?, sequence: row.get(2)? };
        Ok((row.get::<u64>(0)?, at))
    };
    let taken = s.query("taking a lane", take, &values, read).await?.pop();
    if taken.is_none() {
        let here = "SELECT id FROM lane WHERE id = ?1
                    AND NOT EXISTS (SELECT FROM lane_moved WHERE lane = ?1 AND moves > ?2)";
        let values = [Value::from(lane), Value::from(moves)];
        let here = s.query("looking for a lane", here, &values, |_| Ok(())).await?;
        if !here.is_empty() {
            return Err(StorageError::Replaced { lane, epoch: epoch.unwrap_or(0), expected: 0 });
        }
    }
    writing.commit().await?;
    Ok(taken)
}

/// How far a lane is applied; nothing where it has left this shard.
pub(super) async fn position(master: &Pool, lane: LaneId) -> Result<Option<Position>> {
    let writing = Writing::begin(master).await?;
    // Waits for a commit that slaves may show already, and is refused by one that is no master any more.
    let sql = "SELECT generation, applied FROM lane WHERE id = ?1 FOR SHARE";
    let read = |row: &Row<'_>| Ok(Position { lane, generation: row.get(0)?, sequence: row.get(1)? });
    let found = writing.transaction()?.query("reading a lane's row", sql, &[Value::from(lane)], read).await?;
    writing.commit().await?;
    Ok(found.into_iter().next())
}
