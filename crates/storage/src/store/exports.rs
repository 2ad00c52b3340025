//! Files that are made for customers.
use protocol::{AccountId, ExportId, ShardId, file::Hash};

use super::{Result, Seen, Store};
use crate::{rows::Export, sqlite::exports};

impl Store {
    /// A file that is made for a customer.
    pub async fn export(&self, id: ExportId) -> Result<Seen<Option<Export>>> {
        self.seen(id.bucket(), move |c| exports::export(c, id)).await
    }

    /// The files that are made for an account, newest first; at most 100.
    pub async fn exports(&self, account: AccountId) -> Result<Seen<Vec<Export>>> {
        self.seen(account.bucket(), move |c| exports::of_account(c, account)).await
    }

    /// A shard's files that are to be made, ended or forgotten by `now_ms`, longest due first.
    pub async fn exports_due(&self, shard: ShardId, now_ms: u64, limit: usize) -> Result<Vec<Export>> {
        self.on_slave(shard, move |c| exports::due(c, now_ms, limit)).await
    }

    /// Whether one of a shard's files that can be had has this content.
    pub async fn is_export_wanted(&self, shard: ShardId, root: Hash) -> Result<bool> {
        self.on_slave(shard, move |c| exports::is_wanted(c, &root)).await
    }

    /// When the oldest of a shard's files that are being made was asked for, Unix ms.
    pub async fn oldest_making_ms(&self, shard: ShardId) -> Result<Option<u64>> {
        self.on_slave(shard, exports::oldest_making_ms).await
    }
}
