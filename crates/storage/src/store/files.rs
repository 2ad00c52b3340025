//! What is asked about files of all requests.
use protocol::{FileId, ShardId};

use super::{Result, Store, read};
use crate::sql::requests;

impl Store {
    /// Those of some hashes that a shard's files have.
    pub async fn known_roots(&self, shard: ShardId, roots: Vec<[u8; 32]>) -> Result<Vec<[u8; 32]>> {
        read!(self, shard, |s| requests::known_roots(s, &roots))
    }

    /// Files of a shard that were named up to a time (Unix ms) and have not come, the oldest first.
    pub async fn files_overdue(&self, shard: ShardId, named_ms: u64, limit: usize) -> Result<Vec<FileId>> {
        read!(self, shard, |s| requests::files_overdue(s, named_ms, limit))
    }
}
