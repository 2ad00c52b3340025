//! The lanes: message middleware between those who accept writes and the one applier of each lane.
use std::sync::Arc;

use protocol::{LaneId, OperationId};
use tokio::sync::{mpsc, watch};

use crate::{
    StorageError,
    message::{LaneMessage, NewMessage},
    store::Store,
};

mod nats;
mod recent;
mod sqlite;

pub use nats::NatsConfig;
pub(crate) use recent::{Recent, RecentLanes};

/// A handle on all lanes. Cheap to clone.
///
/// Embedded, a lane is a table of its shard's SQLite file; in a cluster it is a stream of NATS JetStream. Both keep the
/// order in which messages were appended, and lose or double none that was acknowledged. A lane's sequences grow; only the
/// embedded engine's do so without a gap.
#[derive(Clone)]
pub struct Queue {
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Sqlite(sqlite::Lanes),
    Nats(Arc<nats::Lanes>),
}

impl Queue {
    /// The lanes of a store.
    pub fn new(store: Store) -> Self {
        Queue { engine: Engine::Sqlite(sqlite::Lanes::new(store)) }
    }

    /// Connects to the lanes of a cluster, makes the streams that are not there, and begins to follow them.
    ///
    /// # Errors
    /// [`StorageError::Engine`] where no server answers or the settings cannot be used; [`StorageError::Shape`] where a
    /// stream is there with other settings.
    pub async fn connect(
        config: &NatsConfig,
        lanes: impl IntoIterator<Item = LaneId>,
    ) -> Result<Self, StorageError> {
        let lanes = nats::Lanes::connect(config, lanes.into_iter().collect()).await?;
        Ok(Queue { engine: Engine::Nats(Arc::new(lanes)) })
    }

    /// Puts messages at the end of a lane, durably: when this returns, they survive power loss. Answers the sequence of
    /// each, in order; between them others may stand.
    ///
    /// # Errors
    /// [`StorageError::Full`] where the lane takes nothing for the moment, [`StorageError::TooLarge`] where a message can
    /// never be taken: nothing was appended then. After [`StorageError::Engine`] it is not known whether all, some or none
    /// were: appending them again does no harm, because an applied operation is known by its id.
    pub async fn append(&self, lane: LaneId, messages: Vec<NewMessage>) -> Result<Vec<u64>, StorageError> {
        match &self.engine {
            Engine::Sqlite(lanes) => lanes.append(lane, messages).await,
            Engine::Nats(lanes) => lanes.append(lane, messages).await,
        }
    }

    /// At most `limit` messages after a sequence, in order, with none left out between; empty where there are none.
    ///
    /// # Errors
    /// [`StorageError::Engine`] where the engine is away; [`StorageError::Corrupt`] where messages after the sequence are
    /// gone, or cannot be read: they are never passed over.
    pub async fn fetch(
        &self,
        lane: LaneId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LaneMessage>, StorageError> {
        match &self.engine {
            Engine::Sqlite(lanes) => lanes.fetch(lane, after, limit).await,
            Engine::Nats(lanes) => lanes.fetch(lane, after, limit).await,
        }
    }

    /// An operation that waits in its lane, which is applied up to `applied`; `None` where it does not.
    ///
    /// # Errors
    /// [`StorageError::Engine`] where the engine is away, or too much waits to look through.
    pub async fn waiting(
        &self,
        id: OperationId,
        lane: LaneId,
        applied: u64,
    ) -> Result<Option<LaneMessage>, StorageError> {
        match &self.engine {
            Engine::Sqlite(lanes) => lanes.waiting(id, lane).await,
            Engine::Nats(lanes) => lanes.waiting(id, lane, applied).await,
        }
    }

    /// Forgets messages of a lane up to `applied` that are older than a time (Unix ms); answers how many went. The last
    /// applied one is kept, so that the lane can be read on from there. Embedded, [`Store::prune`] does this.
    pub async fn prune(&self, lane: LaneId, applied: u64, before_ms: u64) -> Result<u64, StorageError> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(0),
            Engine::Nats(lanes) => lanes.prune(lane, applied, before_ms).await,
        }
    }

    /// The sequence of a lane's last message, as far as this process has heard.
    pub fn tail(&self, lane: LaneId) -> Result<u64, StorageError> {
        Ok(self.recent(lane)?.tail())
    }

    /// Whether a lane has reached a sequence, by whomever it was appended: asks the engine where this process has not
    /// heard of it.
    pub async fn has_reached(&self, lane: LaneId, sequence: u64) -> Result<bool, StorageError> {
        if self.tail(lane)? >= sequence {
            return Ok(true);
        }
        match &self.engine {
            Engine::Sqlite(_) => Ok(false),
            Engine::Nats(lanes) => Ok(lanes.ask_tail(lane).await? >= sequence),
        }
    }

    /// How many operations wait in a lane that is applied up to `applied`. In a cluster it is at least so many: what was
    /// there before this process is counted by the messages that carried it.
    pub fn backlog(&self, lane: LaneId, applied: u64) -> Result<u64, StorageError> {
        match &self.engine {
            Engine::Sqlite(lanes) => Ok(lanes.recent(lane)?.tail().saturating_sub(applied)),
            Engine::Nats(lanes) => lanes.backlog(lane, applied),
        }
    }

    /// Follows a lane's end.
    pub fn watch_tail(&self, lane: LaneId) -> Result<watch::Receiver<u64>, StorageError> {
        Ok(self.recent(lane)?.watch())
    }

    /// Tells all nodes that listen now something that need not last; it comes at most once, or not at all. Alone, there is
    /// nobody to tell.
    pub async fn tell(&self, word: Vec<u8>) {
        if let Engine::Nats(lanes) = &self.engine {
            lanes.tell(word).await;
        }
    }

    /// What nodes tell from now on, this one included; none where it is alone. Whoever is slow to take them misses some.
    pub fn listen(&self) -> Option<mpsc::Receiver<Vec<u8>>> {
        match &self.engine {
            Engine::Sqlite(_) => None,
            Engine::Nats(lanes) => Some(lanes.listen()),
        }
    }

    fn recent(&self, lane: LaneId) -> Result<&Recent, StorageError> {
        match &self.engine {
            Engine::Sqlite(lanes) => Ok(lanes.recent(lane)?),
            Engine::Nats(lanes) => lanes.recent(lane),
        }
    }
}
