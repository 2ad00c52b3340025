//! Lanes as tables, each in its shard's own file, so that an append shares a flush with whatever else the shard's writer
//! has to do.
use std::sync::Arc;

use protocol::{LaneId, OperationId};
use tokio::sync::oneshot;

use super::recent::Recent;
use crate::{
    StorageError,
    message::{LaneMessage, NewMessage},
    sqlite::writer::Command,
    store::Store,
};

type Result<T> = std::result::Result<T, StorageError>;

/// The lanes of a store.
#[derive(Clone)]
pub(super) struct Lanes {
    store: Store,
}

impl Lanes {
    pub(super) fn new(store: Store) -> Self {
        Lanes { store }
    }

    pub(super) async fn append(&self, lane: LaneId, messages: Vec<NewMessage>) -> Result<Vec<u64>> {
        let count = messages.len();
        let (done, answer) = oneshot::channel();
        self.store.send(lane, Command::Append { lane, messages, done }).await?;
        let first = answer.await.map_err(|_| StorageError::Closed)??;
        Ok((first..).take(count).collect())
    }

    pub(super) async fn fetch(&self, lane: LaneId, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
        let recent = self.recent(lane)?;
        if let Some(messages) = recent.after(after, limit)
            && !messages.is_empty()
        {
            return Ok(messages);
        }
        if recent.tail() <= after {
            return Ok(Vec::new());
        }
        self.store.messages(lane, after, limit).await
    }

    /// Found by its id among what is not applied in the snapshot that is read.
    pub(super) async fn waiting(&self, id: OperationId, lane: LaneId) -> Result<Option<LaneMessage>> {
        self.store.waiting(id, lane).await
    }

    pub(super) fn recent(&self, lane: LaneId) -> Result<&Arc<Recent>> {
        self.store.recent(lane).ok_or(StorageError::Closed)
    }
}
