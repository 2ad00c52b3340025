//! Transactions: if all of this holds, do that, otherwise the other.
use serde_json::{Value, json};

use super::{EtcdError, KeyValue, LeaseId, encode, wire};

/// One thing that must hold.
#[derive(Clone, Debug)]
pub struct Compare(Value);

impl Compare {
    /// There is no such key.
    pub fn absent(key: &str) -> Self {
        Self::created_at(key, 0)
    }

    /// The key is the one that was made at this revision.
    pub fn created_at(key: &str, revision: u64) -> Self {
        let revision = revision.to_string();
        Compare(json!({ "key": encode(key.as_bytes()), "target": "CREATE", "result": "EQUAL",
                        "create_revision": revision }))
    }

    /// The key was last written at this revision; 0: there is none.
    pub fn modified_at(key: &str, revision: u64) -> Self {
        let revision = revision.to_string();
        Compare(json!({ "key": encode(key.as_bytes()), "target": "MOD", "result": "EQUAL",
                        "mod_revision": revision }))
    }

    /// The key has been written so often since it was made.
    pub fn version(key: &str, version: u64) -> Self {
        let version = version.to_string();
        Compare(json!({ "key": encode(key.as_bytes()), "target": "VERSION", "result": "EQUAL",
                        "version": version }))
    }

    /// The key is bound to this lease.
    pub fn leased(key: &str, lease: LeaseId) -> Self {
        let lease = lease.0.to_string();
        Compare(
            json!({ "key": encode(key.as_bytes()), "target": "LEASE", "result": "EQUAL", "lease": lease }),
        )
    }
}

/// A transaction, as it is put together.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    when: Vec<Value>,
    then: Vec<Value>,
    otherwise: Vec<Value>,
}

impl Txn {
    /// One that does nothing, always.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if this holds too.
    pub fn when(mut self, compare: Compare) -> Self {
        self.when.push(compare.0);
        self
    }

    /// If all holds, writes a key.
    pub fn put(mut self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Self {
        self.then.push(json!({ "request_put": wire::put(key, value, lease) }));
        self
    }

    /// If all holds, deletes a key.
    pub fn delete(mut self, key: &str) -> Self {
        self.then.push(json!({ "request_delete_range": { "key": encode(key.as_bytes()) } }));
        self
    }

    /// If something does not hold, reads a key, which is then in [`TxnReply::found`].
    pub fn otherwise_read(mut self, key: &str) -> Self {
        self.otherwise.push(json!({ "request_range": { "key": encode(key.as_bytes()) } }));
        self
    }

    pub(super) fn body(&self) -> Value {
        json!({ "compare": self.when, "success": self.then, "failure": self.otherwise })
    }
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub struct TxnReply {
    /// Whether all held, so that it was done.
    pub succeeded: bool,
    /// Its revision where it wrote; else the last one before it.
    pub revision: u64,
    /// What the reads found, read by read.
    pub found: Vec<Option<KeyValue>>,
}

impl TxnReply {
    pub(super) fn of(answer: wire::TxnAnswer) -> Result<Self, EtcdError> {
        let ranges = answer.responses.into_iter().filter_map(|part| part.response_range);
        let first = |range: wire::Range| range.kvs.into_iter().next().map(KeyValue::try_from).transpose();
        let found = ranges.map(first).collect::<Result<_, _>>()?;
        Ok(TxnReply { succeeded: answer.succeeded, revision: answer.header.revision, found })
    }
}
