//! The one applier of a lane: takes what waits, applies it in one transaction, goes on.
//!
//! If the process dies before the commit, the batch is applied again by whoever comes next; after it, `lane.applied` says
//! so and nobody applies it twice.
use std::{sync::Arc, time::Duration};

use protocol::LaneId;
use runtime::{health::ReadyPart, shutdown::Shutdown};
use storage::{
    StorageError,
    store::{Batch, Decide},
};

use crate::node::Node;

/// The most operations of one transaction.
const MOST: usize = 512;
/// How long to wait before trying again while the database is away.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Applies a lane until shutdown, or until another applier has taken it.
pub(crate) async fn run(node: Node, lane: LaneId, ready: ReadyPart, shutdown: Shutdown) {
    let mut failures = 0;
    loop {
        let ended = tokio::select! {
            ended = apply(&node, lane, &ready, &mut failures) => ended,
            () = shutdown.begun() => return,
        };
        match ended {
            // Somebody else applies this lane by now, or the store is gone: a node that cannot apply must not accept.
            Err(error @ (StorageError::Replaced { .. } | StorageError::Closed)) => {
                ready.not_ready("its applier has stopped");
                tracing::error!(lane = lane.0, %error, "applier stopped; the node stops with it");
                shutdown.begin();
                return;
            }
            // The lane waits, no operation is given up.
            Err(error) => {
                let pause = PAUSES[failures.min(PAUSES.len() - 1)];
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(lane = lane.0, %error, source, ?pause, "batch not applied; the lane waits");
                ready.not_ready("its database does not take writes");
                tokio::time::sleep(pause).await;
                failures += 1;
            }
            Ok(never) => match never {},
        }
    }
}

/// Applies until something fails; begins where the lane says that it is.
async fn apply(
    node: &Node,
    lane: LaneId,
    ready: &ReadyPart,
    failures: &mut usize,
) -> Result<std::convert::Infallible, StorageError> {
    let parts = &node.parts;
    let rules: Arc<dyn Decide> = Arc::clone(&parts.rules) as _;
    let (epoch, at) = parts.store.claim(lane, None).await?;
    let mut after = at.sequence;
    let mut tail = parts.queue.watch_tail(lane)?;
    loop {
        tail.mark_unchanged();
        let messages = parts.queue.fetch(lane, after, MOST).await?;
        if messages.is_empty() {
            ready.ready();
            tail.changed().await.map_err(|_| StorageError::Closed)?;
            continue;
        }
        let count = messages.len() as u64;
        let batch = Batch { lane, epoch, generation: at.generation, after, messages };
        let applied = parts.store.apply(batch, Arc::clone(&rules)).await?;
        (after, *failures) = (applied.sequence, 0);
        metrics::counter!("lane_applied_total").increment(count);
        metrics::counter!("lane_failed_total").increment(applied.failed);
        if let Some(watch) = parts.applied.get(usize::from(lane.0)) {
            watch.send_replace(after);
        }
        if applied.children {
            parts.outbox.notify_one();
        }
        if applied.pushes {
            parts.pushes.notify_one();
        }
    }
}
