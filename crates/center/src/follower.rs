//! Keeps the cache in step with a slave: follows a lane's change rows as the slave shows them.
use std::time::Duration;

use protocol::LaneId;
use runtime::shutdown::Shutdown;
use storage::{StorageError, cache::Followed, rows::Entity, store::Seen};

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
    let known = parts.cache.watch(lane).and_then(|visible| *visible.borrow());
    let mut cursor = match known {
        Some(cursor) => cursor,
        None => parts.store.lane(lane).await?,
    };
    if known.is_none() {
        tell(node, cursor.sequence, &Seen { value: Vec::new(), position: cursor }).await?;
    }
    loop {
        let further = |at: &u64| *at > cursor.sequence;
        match parts.cache.beat() {
            None => drop(applied.wait_for(further).await.map_err(|_| StorageError::Closed)?),
            // What the room shares is looked after also where nothing changes.
            Some(beat) => {
                if let Ok(Err(_)) = tokio::time::timeout(beat, applied.wait_for(further)).await {
                    return Err(StorageError::Closed);
                }
            }
        }
        let after = cursor.sequence;
        let changed = parts.store.changes(lane, after).await?;
        cursor = changed.position;
        tell(node, after, &changed).await?;
    }
}

/// Tells the cache what changed; where it missed something before that, that too.
async fn tell(node: &Node, after: u64, changed: &Seen<Vec<Entity>>) -> Result<(), StorageError> {
    let parts = &node.parts;
    if let Followed::Missed(since) = parts.cache.follow(after, changed).await {
        let all = parts.store.changes(changed.position.lane, since).await?;
        // Should it have missed something again, the next beat finds out.
        parts.cache.follow(since, &all).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
