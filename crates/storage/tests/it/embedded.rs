//! The embedded backend under the suite, and its ways of committing.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gridesk_storage::{
    StorageError,
    cache::Cache,
    queue::Queue,
    store::{Closing, Layout, Store},
};
use protocol::routing::ShardMap;
use rusqlite::{Connection, OpenFlags, types::Value};
use tempfile::TempDir;

use crate::suite::{Backend, Caching};

/// Shards as SQLite files in a folder of their own.
pub(crate) struct Embedded {
    folder: TempDir,
    map: ShardMap,
    store: Store,
    queue: Queue,
    closing: Closing,
}

/// The cache in memory.
pub(crate) struct InMemory(Cache);

impl Caching for InMemory {
    async fn fresh(map: ShardMap) -> Self {
        InMemory(Cache::new(map, 10_000))
    }

    fn cache(&self) -> &Cache {
        &self.0
    }
}

/// Opens a folder.
pub(crate) fn open(folder: &Path, map: &ShardMap) -> Result<(Store, Closing), StorageError> {
    Store::open(&Layout { folder: folder.to_owned(), map: map.clone(), readers: 2 })
}

impl Embedded {
    fn open(folder: TempDir, map: ShardMap) -> Self {
        let (store, closing) = open(folder.path(), &map).unwrap();
        let queue = Queue::new(store.clone());
        Embedded { folder, map, store, queue, closing }
    }

    /// The file of a shard.
    pub(crate) fn file(&self, shard: u16) -> PathBuf {
        self.folder.path().join(format!("shard-{shard}.db"))
    }
}

impl Backend for Embedded {
    async fn fresh(map: ShardMap) -> Self {
        Embedded::open(tempfile::tempdir().unwrap(), map)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Opens a copy of the files as they are at this moment, with the write-ahead log that a clean end would fold.
    async fn reopen(self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            // The index of the log is memory, not data: a power cut takes it.
            if !entry.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        let Embedded { folder, map, store, queue, closing } = self;
        drop((store, queue));
        tokio::task::spawn_blocking(move || closing.wait()).await.unwrap();
        drop(folder);
        Embedded::open(copy, map)
    }

    fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut tables = BTreeMap::new();
        for shard in 0..self.map.shards() {
            let connection =
                Connection::open_with_flags(self.file(shard), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            let names: Vec<String> = {
                let mut s = connection
                    .prepare(
                        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                    )
                    .unwrap();
                s.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            };
            for name in names {
                let columns = if name == "lane" { "id, generation, applied" } else { "*" };
                let mut s = connection.prepare(&format!("SELECT {columns} FROM {name}")).unwrap();
                let width = s.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    (0..width).map(|n| row.get::<_, Value>(n)).collect::<Result<Vec<_>, _>>()
                };
                let mut rows: Vec<String> =
                    s.query_map([], row).unwrap().map(|row| format!("{:?}", row.unwrap())).collect();
                rows.sort_unstable();
                tables.insert(format!("{shard}.{name}"), rows);
            }
        }
        tables
    }
}
