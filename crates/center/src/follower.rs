//! Keeps the cache in step with a slave: follows a lane's change rows as the slave shows them.
use std::time::Duration;

use protocol::LaneId;
use runtime::shutdown::Shutdown;
use storage::{StorageError, cache::Followed, rows::Entity, store::Seen};
use tokio::sync::watch;

use crate::node::Node;

const PAUSE: Duration = Duration::from_millis(200);
/// How often the same changes are asked for in vain before the lane is begun anew.
const MOST_TRIES: u32 = 10;
/// How long to wait before a slave is asked again that does not show yet what is in its lane: at first, and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Follows a lane until shutdown.
pub(crate) async fn run(node: Node, lane: LaneId, shutdown: Shutdown) {
    tokio::select! {
        () = follow(&node, lane) => {}
        () = shutdown.begun() => {}
    }
}

async fn follow(node: &Node, lane: LaneId) {
    let mut tries = 0;
    let mut reached = None;
    loop {
        if let Err(error) = follow_on(node, lane).await {
            // What is cached stays right as of the cursor; nothing new becomes visible until this goes on.
            tracing::error!(lane = lane.0, %error, "cannot follow a lane's changes; trying again");
        }
        let at = node.parts.cache.watch(lane).and_then(|visible| *visible.borrow());
        tries = if at == reached { tries + 1 } else { 0 };
        reached = at;
        // Where a slave says how far it is, and still does not give what changed, that is too much to be given at once.
        if tries >= MOST_TRIES && node.store().lane(lane).await.is_ok() {
            tracing::warn!(
                lane = lane.0,
                "too much has changed in a lane to be followed: what is cached of it is forgotten"
            );
            node.parts.cache.forget(lane).await;
            tries = 0;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_on(node: &Node, lane: LaneId) -> Result<(), StorageError> {
    let parts = &node.parts;
    let Some(applied) = parts.applied.get(usize::from(lane.0)) else { return Err(StorageError::Closed) };
    let applied = applied.subscribe();
    // An empty cache begins where the slave is now.
    let known = parts.cache.watch(lane).and_then(|visible| *visible.borrow());
    let mut cursor = match known {
        Some(cursor) => cursor,
        None => parts.store.lane(lane).await?,
    };
    if known.is_none() {
        tell(node, cursor.sequence, &Seen { value: Vec::new(), position: cursor }).await?;
    }
    let mut news = News { applied, tail: parts.queue.watch_tail(lane)?, pause: None };
    loop {
        news.after(node, cursor.sequence).await?;
        let after = cursor.sequence;
        let changed = parts.store.changes(lane, after).await?;
        cursor = changed.position;
        if cursor.sequence > after {
            news.pause = None;
        }
        tell(node, after, &changed).await?;
    }
}

/// When there may be more to see.
struct News {
    applied: watch::Receiver<u64>,
    tail: watch::Receiver<u64>,
    /// How long was waited before the last look that showed nothing.
    pause: Option<Duration>,
}

impl News {
    /// Waits until there may be more than the cursor shows. Where others may apply the lane, and slaves show it later, what
    /// is appended is looked for until it is there.
    async fn after(&mut self, node: &Node, cursor: u64) -> Result<(), StorageError> {
        let parts = &node.parts;
        let News { applied, tail, pause } = self;
        let is_late = parts.store.has_slaves();
        let waiting = async {
            if !is_late {
                return applied.wait_for(|at| *at > cursor).await.map(drop);
            }
            tail.wait_for(|at| *at > cursor).await?;
            let longer = pause.map_or(LOOKS.0, |last| (last * 2).min(LOOKS.1));
            if *applied.borrow_and_update() > cursor {
                // It is applied: a slave shows it at once, or soon.
                if let Some(last) = *pause {
                    tokio::time::sleep(last).await;
                }
                *pause = Some(longer);
            } else if let Ok(known) = tokio::time::timeout(longer, applied.wait_for(|at| *at > cursor)).await
            {
                known?;
                *pause = None;
            } else {
                // Another node may have applied it.
                *pause = Some(longer);
            }
            Ok(())
        };
        // What the room shares is looked after also where nothing changes.
        let waited = match parts.cache.beat() {
            None => waiting.await,
            Some(beat) => tokio::time::timeout(beat, waiting).await.unwrap_or(Ok(())),
        };
        waited.map_err(|_: watch::error::RecvError| StorageError::Closed)
    }
}

/// Tells the cache what changed; where it missed something before that, that too.
async fn tell(node: &Node, after: u64, changed: &Seen<Vec<Entity>>) -> Result<(), StorageError> {
    let parts = &node.parts;
    // First, so that nothing older is read by whoever is told that this is visible.
    parts.store.shown(changed.position);
    parts.raise_applied(changed.position.lane, changed.position.sequence);
    if let Followed::Missed(since) = parts.cache.follow(after, changed).await {
        let all = parts.store.changes(changed.position.lane, since).await?;
        // Should it have missed something again, the next beat finds out.
        parts.store.shown(all.position);
        parts.cache.follow(since, &all).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
