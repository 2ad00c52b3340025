//! Lane bookkeeping: positions, results, changes, outbox, pushes.
use protocol::{LaneId, OperationId, Position, push::Push};

use super::{
    Result, Row, Snapshot, one, pack,
    save::Sink,
    single,
    value::{Value, values},
};
use crate::{
    StorageError,
    message::{Child, Ended, LaneMessage, NewMessage, OperationRow, Origin},
    rows::Entity,
    store::{Batch, OutboxRow},
};

/// How far a lane is applied in this snapshot.
///
/// # Errors
/// [`StorageError::Elsewhere`] where this shard has no such lane (any more).
pub(crate) async fn position<S: Snapshot>(s: &S, lane: LaneId) -> Result<Position> {
    one(
        s,
        "reading a lane's position",
        "SELECT generation, applied FROM lane WHERE id = ?1",
        &values![lane],
        |row| Ok(Position { lane, generation: row.get(0)?, sequence: row.get(1)? }),
    )
    .await?
    .ok_or(StorageError::Elsewhere(lane))
}

/// The last message of a lane that is a table; 0 where it has none.
pub(crate) async fn last_message<S: Snapshot>(s: &S, lane: LaneId) -> Result<u64> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM lane_message WHERE lane = ?1";
    single(s, "reading a lane's end", sql, &values![lane], |row| row.get(0)).await
}

/// Moves a lane on, if it is where the batch thinks under the batch's epoch: else no row changes.
pub(crate) fn move_on(batch: &Batch, last: u64) -> (&'static str, [Value<'static>; 5]) {
    (
        "UPDATE lane SET applied = ?1 WHERE id = ?2 AND epoch = ?3 AND generation = ?4 AND applied = ?5",
        values![last, batch.lane, batch.epoch, batch.generation, batch.after],
    )
}

/// The digest of an operation's body, where it has been applied.
pub(crate) async fn operation_digest<S: Snapshot>(s: &S, id: OperationId) -> Result<Option<[u8; 16]>> {
    let sql = "SELECT digest FROM operation WHERE id = ?1";
    one(s, "looking for an operation", sql, &values![id], |row| row.get(0)).await
}

/// Writes an operation's result, which is its dedup row too.
pub(crate) fn insert_operation(
    run: &mut Sink<'_>,
    at: &LaneMessage,
    batch: &Batch,
    digest: &[u8; 16],
    ended: &Ended,
    children: &[OperationId],
    attention: bool,
) -> Result<()> {
    let origin = &at.message.origin;
    let state = match ended {
        _ if attention => "failed",
        Ended::Applied(_) => "applied",
        Ended::Rejected(_) => "rejected",
        Ended::Failed(_) => "failed",
    };
    run(
        "INSERT INTO operation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        &values![
            at.message.operation,
            at.message.code,
            digest,
            origin.customer,
            state,
            pack(ended),
            batch.lane,
            batch.generation,
            at.sequence,
            origin.accepted_ms,
            if children.is_empty() { Vec::new() } else { pack(&children) },
        ],
    )
}

/// How an operation ended.
pub(crate) async fn operation<S: Snapshot>(s: &S, id: OperationId) -> Result<Option<OperationRow>> {
    one(
        s,
        "reading an operation",
        "SELECT id, code, digest, customer, ended, lane, generation, sequence, accepted_ms, children
         FROM operation WHERE id = ?1",
        &values![id],
        operation_row,
    )
    .await
}

fn operation_row(row: &Row<'_>) -> Result<OperationRow> {
    Ok(OperationRow {
        id: row.get(0)?,
        code: row.get(1)?,
        digest: row.get(2)?,
        customer: row.get(3)?,
        ended: row.unpack("operation result", 4)?,
        position: Position { lane: row.get(5)?, generation: row.get(6)?, sequence: row.get(7)? },
        accepted_ms: row.get(8)?,
        children: if row.bytes(9)?.is_empty() { Vec::new() } else { row.unpack("children", 9)? },
    })
}

/// Operations that ended as failed, newest first.
pub(crate) async fn failed<S: Snapshot>(s: &S, limit: usize) -> Result<Vec<OperationRow>> {
    s.query(
        "reading failed operations",
        "SELECT id, code, digest, customer, ended, lane, generation, sequence, accepted_ms, children
         FROM operation WHERE state = 'failed' ORDER BY accepted_ms DESC LIMIT ?1",
        &values![limit],
        operation_row,
    )
    .await
}

/// An operation that is in its lane, which is a table, but not applied in this snapshot.
pub(crate) async fn waiting<S: Snapshot>(
    s: &S,
    lane: LaneId,
    id: OperationId,
) -> Result<Option<LaneMessage>> {
    let applied = position(s, lane).await?.sequence;
    one(
        s,
        "reading a lane",
        "SELECT sequence, operation, code, version, body, origin FROM lane_message
         WHERE lane = ?1 AND sequence > ?2 AND operation = ?3 ORDER BY sequence LIMIT 1",
        &values![lane, applied, id],
        message_row,
    )
    .await
}

/// Messages of a lane that is a table, after a sequence, in order.
pub(crate) async fn messages<S: Snapshot>(
    s: &S,
    lane: LaneId,
    after: u64,
    limit: usize,
) -> Result<Vec<LaneMessage>> {
    s.query(
        "reading a lane",
        "SELECT sequence, operation, code, version, body, origin FROM lane_message
         WHERE lane = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
        &values![lane, after, limit],
        message_row,
    )
    .await
}

fn message_row(row: &Row<'_>) -> Result<LaneMessage> {
    Ok(LaneMessage { sequence: row.get(0)?, message: new_message(row, 1)? })
}

/// A message from five columns: operation, code, version, body, origin.
fn new_message(row: &Row<'_>, first: usize) -> Result<NewMessage> {
    Ok(NewMessage {
        operation: row.get(first)?,
        code: row.get(first + 1)?,
        version: row.get(first + 2)?,
        body: row.get(first + 3)?,
        origin: row.unpack("message origin", first + 4)?,
    })
}

/// Notes what an operation changed for readers.
pub(crate) fn insert_changes(
    run: &mut Sink<'_>,
    lane: LaneId,
    sequence: u64,
    changes: &[Entity],
) -> Result<()> {
    changes.iter().enumerate().try_for_each(|(n, entity)| {
        run("INSERT INTO change VALUES (?1, ?2, ?3, ?4)", &values![lane, sequence, n, pack(entity)])
    })
}

/// What changed after a sequence, up to what this snapshot shows.
pub(crate) async fn changes<S: Snapshot>(s: &S, lane: LaneId, after: u64) -> Result<Vec<Entity>> {
    s.query(
        "reading changes",
        "SELECT entity FROM change WHERE lane = ?1 AND sequence > ?2 ORDER BY sequence, n",
        &values![lane, after],
        |row| row.unpack("change", 0),
    )
    .await
}

/// The ids of what an operation causes elsewhere.
pub(crate) fn children_ids(parent: OperationId, children: &[Child]) -> Vec<OperationId> {
    children.iter().enumerate().map(|(n, child)| parent.child(child.bucket, n as u16)).collect()
}

/// Writes what an operation causes elsewhere; answers their ids.
pub(crate) fn queue_children(
    run: &mut Sink<'_>,
    parent: OperationId,
    origin: &Origin,
    children: &[Child],
) -> Result<Vec<OperationId>> {
    let ids = children_ids(parent, children);
    ids.iter().zip(children).try_for_each(|(id, child)| {
        run(
            "INSERT INTO outbox (operation, bucket, code, version, body, origin) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &values![*id, child.bucket, child.code, child.version, &child.body, pack(origin)],
        )
    })?;
    Ok(ids)
}

/// The oldest rows of the outbox.
pub(crate) async fn outbox<S: Snapshot>(s: &S, limit: usize) -> Result<Vec<OutboxRow>> {
    s.query(
        "reading the outbox",
        "SELECT id, bucket, operation, code, version, body, origin FROM outbox ORDER BY id LIMIT ?1",
        &values![limit],
        |row| Ok(OutboxRow { id: row.get(0)?, bucket: row.get(1)?, message: new_message(row, 2)? }),
    )
    .await
}

/// Forgets a row of the outbox.
pub(crate) const OUTBOX_SENT: &str = "DELETE FROM outbox WHERE id = ?1";

/// Empties a push that the edge has on its disk.
pub(crate) const PUSH_HANDED_OVER: &str =
    "UPDATE push SET state = 'handed over', body = x'' WHERE id = ?1 AND state = 'waiting'";

/// Pushes that wait to be handed over, oldest first.
pub(crate) async fn waiting_pushes<S: Snapshot>(s: &S, limit: usize) -> Result<Vec<Push>> {
    s.query(
        "reading pushes",
        "SELECT id, body FROM push WHERE state = 'waiting' ORDER BY created_ms LIMIT ?1",
        &values![limit],
        |row| Ok(Push { id: row.get(0)?, body: row.unpack("push", 1)? }),
    )
    .await
}

/// The sums of the ledger's entries by code: all of it sums to zero, always.
pub(crate) async fn ledger_sums<S: Snapshot>(s: &S) -> Result<Vec<(String, i64)>> {
    s.query(
        "summing the ledger",
        "SELECT code, CAST(sum(amount_fen) AS BIGINT) FROM ledger_entry GROUP BY code ORDER BY code",
        &[],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .await
}
