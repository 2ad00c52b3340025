//! Keeps the cache in step with a slave: follows a lane's change rows as the slave shows them.
use std::time::Duration;

use protocol::LaneId;
use runtime::shutdown::Shutdown;
use storage::{StorageError, store::Seen};

use crate::node::Node;

const PAUSE: Duration = Duration::from_millis(200);

/// Follows a lane until shutdown.
pub(crate) async fn run(node: Node, lane: LaneId, shutdown: Shutdown) {
    tokio::select! {
        () = follow(&node, lane) => {}
        () = shutdown.begun() => {}
    }
}

async fn follow(node: &Node, lane: LaneId) {
    loop {
        if let Err(error) = follow_on(node, lane).await {
            // What is cached stays right as of the cursor; nothing new becomes visible until this goes on.
            tracing::error!(lane = lane.0, %error, "cannot follow a lane's changes; trying again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_on(node: &Node, lane: LaneId) -> Result<(), StorageError> {
    let parts = &node.parts;
    let Some(applied) = parts.applied.get(usize::from(lane.0)) else { return Err(StorageError::Closed) };
    let mut applied = applied.subscribe();
    // An empty cache begins where the slave is now.
    let mut cursor = match parts.cache.watch(lane).and_then(|visible| *visible.borrow()) {
        Some(cursor) => cursor,
        None => {
            let position = parts.store.lane(lane).await?;
            parts.cache.follow(&Seen { value: Vec::new(), position });
            position
        }
    };
    loop {
        let further = |at: &u64| *at > cursor.sequence;
        applied.wait_for(further).await.map_err(|_| StorageError::Closed)?;
        let changed = parts.store.changes(lane, cursor.sequence).await?;
        cursor = changed.position;
        parts.cache.follow(&changed);
    }
}
