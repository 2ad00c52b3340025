//! Lane bookkeeping: results, changes, outbox, pushes; and where a snapshot stands.
use protocol::{Bucket, LaneId, OperationId, Position, PushId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    load::many,
    values::{bits, corrupt, id_from, pack, unpack},
};
use crate::{
    StorageError,
    message::{Ended, LaneMessage, NewMessage, OperationRow},
    rows::Entity,
    store::{Batch, OutboxRow},
};

type Result<T> = std::result::Result<T, StorageError>;

/// How far a lane is applied in this snapshot, with its epoch.
pub(crate) fn lane(c: &Connection, lane: LaneId) -> Result<(Position, u64)> {
    c.prepare_cached("SELECT generation, applied, epoch FROM lane WHERE id = ?1")
        .and_then(|mut s| {
            s.query_row([lane.0], |row| {
                let (generation, applied, epoch): (u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((Position { lane, generation, sequence: applied as u64 }, epoch as u64))
            })
        })
        .map_err(StorageError::database("reading a lane's position"))
}

/// The last sequence of a lane: of its last message, or of what was applied where all messages are forgotten.
pub(crate) fn tail(c: &Connection, id: LaneId) -> Result<u64> {
    let last: i64 = c
        .query_row("SELECT coalesce(max(sequence), 0) FROM lane_message WHERE lane = ?1", [id.0], |row| {
            row.get(0)
        })
        .map_err(StorageError::database("reading a lane's end"))?;
    Ok(lane(c, id)?.0.sequence.max(last as u64))
}

pub(super) fn operation_digest(c: &Connection, id: OperationId) -> Result<Option<[u8; 16]>> {
    let found: Option<Vec<u8>> = c
        .prepare_cached("SELECT digest FROM operation WHERE id = ?1")
        .and_then(|mut s| s.query_row([bits(id.bits())], |row| row.get(0)).optional())
        .map_err(StorageError::database("looking for an operation"))?;
    found.map(|digest| digest.try_into().map_err(|_| corrupt("digest", "wrong length"))).transpose()
}

pub(super) fn insert_operation(
    c: &Connection,
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
    c.prepare_cached("INSERT INTO operation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")
        .and_then(|mut s| {
            s.execute(params![
                bits(at.message.operation.bits()),
                at.message.code,
                digest,
                origin.customer.map(|c| bits(c.bits())),
                state,
                pack(ended),
                batch.lane.0,
                batch.generation,
                at.sequence as i64,
                origin.accepted_ms as i64,
                if children.is_empty() { Vec::new() } else { pack(&children) }
            ])
        })
        .map(drop)
        .map_err(StorageError::database("writing an operation's result"))
}

pub(crate) fn operation(c: &Connection, id: OperationId) -> Result<Option<OperationRow>> {
    let found = c
        .prepare_cached(
            "SELECT code, digest, customer, ended, lane, generation, sequence, accepted_ms, children
             FROM operation WHERE id = ?1",
        )
        .and_then(|mut s| {
            s.query_row([bits(id.bits())], |row| {
                let digest: Vec<u8> = row.get(1)?;
                let customer: Option<Vec<u8>> = row.get(2)?;
                let (code, lane, generation): (u16, u16, u32) = (row.get(0)?, row.get(4)?, row.get(5)?);
                let (ended, children): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(8)?);
                let (sequence, accepted): (i64, i64) = (row.get(6)?, row.get(7)?);
                Ok((|| {
                    Ok(OperationRow {
                        id,
                        code,
                        digest: digest.try_into().map_err(|_| corrupt("digest", "wrong length"))?,
                        customer: customer
                            .map(|c| id_from(&c).map(protocol::CustomerId::from_bits))
                            .transpose()?,
                        ended: unpack("operation result", &ended)?,
                        position: Position { lane: LaneId(lane), generation, sequence: sequence as u64 },
                        accepted_ms: accepted as u64,
                        children: if children.is_empty() {
                            Vec::new()
                        } else {
                            unpack("children", &children)?
                        },
                    })
                })())
            })
            .optional()
        })
        .map_err(StorageError::database("reading an operation"))?;
    found.transpose()
}

/// An operation that is in its lane but not applied in this snapshot.
pub(crate) fn waiting(c: &Connection, lane_id: LaneId, id: OperationId) -> Result<Option<LaneMessage>> {
    let applied = lane(c, lane_id)?.0.sequence;
    let found = messages_where(c, lane_id, applied, 100_000, Some(id))?;
    Ok(found.into_iter().next())
}

/// Messages after a sequence, in order.
pub(crate) fn messages(c: &Connection, lane: LaneId, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
    messages_where(c, lane, after, limit, None)
}

fn messages_where(
    c: &Connection,
    lane: LaneId,
    after: u64,
    limit: usize,
    only: Option<OperationId>,
) -> Result<Vec<LaneMessage>> {
    many(
        c,
        "reading a lane",
        "SELECT sequence, operation, code, version, body, origin FROM lane_message
         WHERE lane = ?1 AND sequence > ?2 AND (?4 IS NULL OR operation = ?4) ORDER BY sequence LIMIT ?3",
        params![lane.0, after as i64, limit as i64, only.map(|id| bits(id.bits()))],
        |row| {
            let id = id_from(row.get_ref(1)?.as_blob()?);
            let (sequence, code, version): (i64, u16, u8) = (row.get(0)?, row.get(2)?, row.get(3)?);
            let body: Vec<u8> = row.get(4)?;
            let origin = unpack("message origin", row.get_ref(5)?.as_blob()?);
            Ok((|| {
                let message = NewMessage {
                    operation: OperationId::from_bits(id?),
                    code,
                    version,
                    body,
                    origin: origin?,
                };
                Ok(LaneMessage { sequence: sequence as u64, message })
            })())
        },
    )
}

pub(super) fn insert_changes(c: &Connection, lane: LaneId, sequence: u64, changes: &[Entity]) -> Result<()> {
    let insert = || {
        let mut s = c.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4)")?;
        changes.iter().enumerate().try_for_each(|(n, entity)| {
            s.execute(params![lane.0, sequence as i64, n as i64, pack(entity)]).map(drop)
        })
    };
    insert().map_err(StorageError::database("noting changes"))
}

/// What changed after a sequence, up to what this snapshot shows.
pub(crate) fn changes(c: &Connection, lane: LaneId, after: u64) -> Result<Vec<Entity>> {
    many(
        c,
        "reading changes",
        "SELECT entity FROM change WHERE lane = ?1 AND sequence > ?2 ORDER BY sequence, n",
        params![lane.0, after as i64],
        |row| Ok(unpack("change", row.get_ref(0)?.as_blob()?)),
    )
}

/// The oldest rows of the outbox.
pub(crate) fn outbox(c: &Connection, limit: usize) -> Result<Vec<OutboxRow>> {
    many(
        c,
        "reading the outbox",
        "SELECT id, operation, bucket, code, version, body, origin FROM outbox ORDER BY id LIMIT ?1",
        [limit as i64],
        |row| {
            let operation = id_from(row.get_ref(1)?.as_blob()?);
            let (id, bucket): (i64, u16) = (row.get(0)?, row.get(2)?);
            let (code, version, body): (u16, u8, Vec<u8>) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let origin = unpack("message origin", row.get_ref(6)?.as_blob()?);
            Ok((|| {
                let bucket = Bucket::try_from(bucket).map_err(|e| corrupt("bucket", e.to_string()))?;
                let operation = OperationId::from_bits(operation?);
                Ok(OutboxRow {
                    id,
                    bucket,
                    message: NewMessage { operation, code, version, body, origin: origin? },
                })
            })())
        },
    )
}

/// Pushes that wait to be handed over, oldest first.
pub(crate) fn waiting_pushes(c: &Connection, limit: usize) -> Result<Vec<protocol::push::Push>> {
    many(
        c,
        "reading pushes",
        "SELECT id, body FROM push WHERE state = 'waiting' ORDER BY created_ms LIMIT ?1",
        [limit as i64],
        |row| {
            let id = id_from(row.get_ref(0)?.as_blob()?);
            let body = unpack("push", row.get_ref(1)?.as_blob()?);
            Ok((|| Ok(protocol::push::Push { id: PushId::from_bits(id?), body: body? }))())
        },
    )
}

/// Operations that ended as failed, newest first.
pub(crate) fn failed(c: &Connection, limit: usize) -> Result<Vec<OperationRow>> {
    let ids = many(
        c,
        "reading failed operations",
        "SELECT id FROM operation WHERE state = 'failed' ORDER BY accepted_ms DESC LIMIT ?1",
        [limit as i64],
        |row| Ok(id_from(row.get_ref(0)?.as_blob()?).map(OperationId::from_bits)),
    )?;
    let rows: Result<Vec<_>> = ids.into_iter().map(|id| operation(c, id)).collect();
    Ok(rows?.into_iter().flatten().collect())
}

/// The sum of all ledger entries, and the sums by code: the first is zero, always.
pub(crate) fn ledger_sums(c: &Connection) -> Result<Vec<(String, i64)>> {
    many(
        c,
        "summing the ledger",
        "SELECT code, sum(amount_fen) FROM ledger_entry GROUP BY code ORDER BY code",
        [],
        |row| Ok(Ok((row.get(0)?, row.get(1)?))),
    )
}
