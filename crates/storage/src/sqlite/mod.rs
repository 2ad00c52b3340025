//! The embedded backend: one SQLite file a shard, WAL, every commit flushed.
//!
//! One writer thread a file does all that writes, and gathers what waits into one transaction, so that appends to lanes
//! and applied batches share a flush. Readers have connections of their own; each read is one snapshot.
mod shards;
mod snapshot;
pub(crate) mod writer;

pub(crate) use shards::Shards;
pub(crate) use snapshot::{Transaction, cell, now};

use std::path::Path;

use protocol::{LaneId, ShardId};
use rusqlite::{Connection, OpenFlags, config::DbConfig, params};

use crate::StorageError;

/// The schema, one step a version. A step once shipped is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_payee.sql"),
    include_str!("schema_requests.sql"),
    include_str!("schema_person.sql"),
    include_str!("schema_late_fee.sql"),
    include_str!("schema_supply.sql"),
    include_str!("schema_mandate.sql"),
    include_str!("schema_files.sql"),
    include_str!("schema_export.sql"),
    include_str!("schema_files_due.sql"),
    include_str!("schema_files_root.sql"),
];

/// Opens the file for its one writer: creates it, brings its schema up to date, takes a new epoch for its lanes.
pub(crate) fn open_for_writing(path: &Path, lanes: &[LaneId]) -> Result<(Connection, u64), StorageError> {
    let mut connection = open(path, OpenFlags::default())?;
    migrate(&mut connection)?;
    let epoch = take_epoch(&mut connection, lanes).map_err(StorageError::database("taking a new epoch"))?;
    Ok((connection, epoch))
}

/// Opens the file for reading only.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open(path, flags)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StorageError> {
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(128);
        // Plans depend on the statement alone. Without this SQLite plans anew whenever another value is bound to a
        // parameter that its planner looked at, which makes a prepared statement one that is prepared every time.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // FULL: a commit is on the disk before it is answered. The WAL's checkpoint is left to the writer.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000;
             PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824; PRAGMA foreign_keys = OFF;
             PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;",
        )?;
        Ok(connection)
    };
    open().map_err(StorageError::database("opening a shard"))
}

fn migrate(connection: &mut Connection) -> Result<(), StorageError> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(StorageError::database("reading the schema version"))?;
    if found > known {
        return Err(StorageError::Newer { found, known });
    }
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let mut run = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", step as i64 + 1)?;
            transaction.commit()
        };
        run().map_err(StorageError::database("migrating the schema"))?;
        tracing::info!(step = step + 1, "schema migrated");
    }
    Ok(())
}

fn take_epoch(connection: &mut Connection, lanes: &[LaneId]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    let epoch: i64 =
        transaction.query_row("SELECT coalesce(max(epoch), 0) + 1 FROM lane", [], |row| row.get(0))?;
    for lane in lanes {
        transaction.execute(
            "INSERT INTO lane (id, epoch, generation, applied) VALUES (?1, ?2, 1, 0)
             ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch",
            params![lane.0, epoch],
        )?;
    }
    transaction.commit()?;
    Ok(epoch as u64)
}

/// A shard's file name.
pub(crate) fn file_name(shard: ShardId) -> String {
    format!("shard-{shard}.db")
}
