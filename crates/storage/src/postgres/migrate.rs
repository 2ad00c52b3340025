//! Brings a shard's schema up to date, one step after another, under a lock, so that nodes that start together do it once.
use protocol::{ShardId, routing::ShardMap};

use super::{failed, pool::Pool, shards::Writing};
use crate::{
    StorageError,
    sql::{Result, Snapshot, Value},
};

/// The schema, one step a version. A step once shipped is never changed.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// The advisory lock under which a schema is changed ("gridesk" in letters).
const LOCK: i64 = 0x0067_7269_6465_736b;

/// Migrates, and sees to it that the shard has a row for each of its lanes and is the shard that the map means.
pub(super) async fn run(master: &Pool, shard: ShardId, map: &ShardMap) -> Result<()> {
    let writing = Writing::begin(master).await?;
    let s = writing.transaction()?;
    s.batch("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    let lock = "SELECT CAST(1 AS BIGINT) FROM pg_advisory_xact_lock(?1)";
    s.query("taking the lock for the schema", lock, &[Value::from(LOCK)], |_| Ok(())).await?;
    s.batch("CREATE TABLE IF NOT EXISTS gridesk_schema (step bigint PRIMARY KEY, shape text NOT NULL)")
        .await?;
    let steps = "SELECT step, shape FROM gridesk_schema ORDER BY step";
    let steps = s
        .query("reading the schema version", steps, &[], |row| {
            Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
        })
        .await?;
    let (known, found) = (MIGRATIONS.len() as i64, steps.last().map_or(0, |(step, _)| *step));
    if found > known {
        return Err(StorageError::Newer { found, known });
    }
    let configured = format!("shard {shard} of {} in all", map.shape());
    if let Some((_, shape)) = steps.first()
        && *shape != configured
    {
        return Err(StorageError::Shape { found: shape.clone(), configured });
    }
    for (step, sql) in (1_i64..).zip(MIGRATIONS).skip(found as usize) {
        s.batch(sql).await?;
        let note = "INSERT INTO gridesk_schema VALUES (?1, ?2)";
        s.execute("noting the schema version", note, &[Value::from(step), Value::from(&configured)]).await?;
        tracing::info!(shard = shard.0, step, "schema migrated");
    }
    for lane in map.lanes_of(shard) {
        // Not where it has left.
        let insert = "INSERT INTO lane (id, epoch, generation, applied) SELECT ?1, 0, 1, 0
                      WHERE NOT EXISTS (SELECT FROM lane_moved WHERE lane = ?1) ON CONFLICT DO NOTHING";
        s.execute("making a lane", insert, &[Value::from(lane)]).await?;
    }
    writing.commit().await
}

impl super::snapshot::Transaction<'_> {
    async fn batch(&self, sql: &str) -> Result<()> {
        self.0.batch_execute(sql).await.map_err(failed("migrating the schema"))
    }
}
