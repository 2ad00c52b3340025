//! The routing table, followed: the last one is there from the start, and stays while etcd is away.
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::routing::RoutingTable;
use runtime::durable::write_file_durably;
use tokio::{sync::watch, task::AbortHandle};

use crate::etcd::{Etcd, Event, KeyValue, Seen, Span, Watcher};

/// The largest table that is read from a file, in bytes.
const FILE_MAX: u64 = 8 * 1024 * 1024;

/// Follows the table until it is dropped.
#[derive(Debug)]
pub struct TableFollower {
    table: watch::Receiver<Arc<RoutingTable>>,
    following: AbortHandle,
}

impl Drop for TableFollower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl TableFollower {
    /// Begins with the table in `file`, if there is one; else with the empty one of version 0. Every later one is written
    /// there, as a whole. A file that cannot be read or written is said in the log, and done without.
    pub fn start(etcd: Etcd, key: String, file: Option<PathBuf>) -> Self {
        let kept = file.as_deref().map(read_table);
        let kept = match kept {
            Some(Ok(table)) => table.unwrap_or_default(),
            Some(Err(error)) => {
                tracing::warn!(%error, "the routing table's file cannot be read; etcd's is waited for");
                RoutingTable::default()
            }
            None => RoutingTable::default(),
        };
        let (sender, table) = watch::channel(Arc::new(kept));
        let following = tokio::spawn(follow(etcd, key, file, sender)).abort_handle();
        TableFollower { table, following }
    }

    /// The table, and every later one.
    pub fn table(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.table.clone()
    }
}

/// Reads a table from a file; none where there is no file.
///
/// # Errors
/// Whatever the file system says, or what is wrong with the content.
pub fn read_table(path: &Path) -> io::Result<Option<RoutingTable>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from)
}

async fn follow(etcd: Etcd, key: String, file: Option<PathBuf>, sender: watch::Sender<Arc<RoutingTable>>) {
    let mut watcher = Watcher::new(etcd, Span::Key(key));
    let mut away = false;
    loop {
        let seen = match watcher.next().await {
            Ok(seen) => seen,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "the routing table is not followed at the moment; the last one stays");
                }
                continue;
            }
        };
        if std::mem::replace(&mut away, false) {
            tracing::info!("the routing table is followed again");
        }
        let last = |kv: &KeyValue| match serde_json::from_slice::<RoutingTable>(&kv.value) {
            Ok(table) => Some(table),
            Err(error) => {
                tracing::error!(%error, revision = kv.mod_revision, "a routing table that cannot be read is left out");
                None
            }
        };
        let table = match &seen {
            Seen::All { keys, .. } => keys.first().and_then(last),
            Seen::Changes(events) => events.iter().rev().find_map(|event| match event {
                Event::Put(kv) => last(kv),
                Event::Delete { .. } => None,
            }),
        };
        if let Some(table) = table {
            take_in(table, file.as_deref(), &sender).await;
        }
    }
}

/// What etcd has counts, even where its version is lower than the file's.
async fn take_in(table: RoutingTable, file: Option<&Path>, sender: &watch::Sender<Arc<RoutingTable>>) {
    let before = sender.borrow().clone();
    if *before == table {
        return;
    }
    if table.version() < before.version() {
        tracing::warn!(
            before = before.version(),
            now = table.version(),
            "the routing table counts from lower down"
        );
    }
    let table = Arc::new(table);
    sender.send_replace(Arc::clone(&table));
    metrics::gauge!("cluster_table_version").set(table.version() as f64);
    let Some(file) = file.map(Path::to_owned) else { return };
    let written = tokio::task::spawn_blocking(move || {
        let bytes = serde_json::to_vec(&*table)?;
        write_file_durably(&file, &bytes)
    });
    let error = match written.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    metrics::counter!("cluster_table_unwritten_total").increment(1);
    tracing::error!(error, "the routing table was not written to its file");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        assert_eq!(read_table(&path).unwrap(), None);
        let bytes = serde_json::to_vec(&RoutingTable::default()).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_table(&path).unwrap(), Some(RoutingTable::default()));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_table(&path).is_err());
    }
}
