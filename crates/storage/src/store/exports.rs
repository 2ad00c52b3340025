//! Files that are made for customers.
use protocol::{AccountId, ExportId, ShardId, file::Hash};

use super::{Result, Seen, Store, newest, read, seen};
use crate::{rows::Export, sql::exports};

impl Store {
    /// A file that is made for a customer.
    pub async fn export(&self, id: ExportId) -> Result<Seen<Option<Export>>> {
        seen!(self, id.bucket(), |s| exports::export(s, id))
    }

    /// The files that are made for an account, newest first; at most 100.
    pub async fn exports(&self, account: AccountId) -> Result<Seen<Vec<Export>>> {
        seen!(self, account.bucket(), |s| exports::of_account(s, account))
    }

    /// A shard's files that are to be made, ended or forgotten by `now_ms`, longest due first.
    pub async fn exports_due(&self, shard: ShardId, now_ms: u64, limit: usize) -> Result<Vec<Export>> {
        read!(self, shard, |s| exports::due(s, now_ms, limit))
    }

    /// Whether one of a shard's files that can be had has this content. As the master has it, like
    /// [`Store::oldest_making_ms`]: asked for after that, it is not older.
    pub async fn is_export_wanted(&self, shard: ShardId, root: Hash) -> Result<bool> {
        newest!(self, shard, |s| exports::is_wanted(s, &root))
    }

    /// When the oldest of a shard's files that are being made was asked for, Unix ms.
    pub async fn oldest_making_ms(&self, shard: ShardId) -> Result<Option<u64>> {
        newest!(self, shard, |s| exports::oldest_making_ms(s))
    }
}
