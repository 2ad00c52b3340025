//! The one applier of a lane: takes what waits, applies it in one transaction, goes on.
//!
//! If the process dies before the commit, the batch is applied again by whoever comes next; after it, `lane.applied` says
//! so and nobody applies it twice.
use std::{convert::Infallible, sync::Arc};

use cluster::LaneLease;
use runtime::health::ReadyPart;
use storage::{
    StorageError,
    store::{Batch, Decide},
};

use tokio::sync::Mutex;

use crate::node::Node;

/// The most operations of one transaction.
const MOST: usize = 512;

/// Applies a lane under its lease until something fails; begins where the lane says that it is. May be dropped at any
/// moment: a batch is applied or it is not. Whoever else has the `turn` makes the lane stand still.
///
/// # Errors
/// What failed. After [`StorageError::Replaced`] the lane is another's.
pub(crate) async fn apply(
    node: &Node,
    lease: &LaneLease,
    turn: &Mutex<()>,
    ready: &ReadyPart,
    failures: &mut usize,
) -> Result<Infallible, StorageError> {
    let (parts, lane) = (&node.parts, lease.lane());
    let rules: Arc<dyn Decide> = Arc::clone(&parts.rules) as _;
    let (epoch, at) = parts.store.claim(lane, Some(lease.epoch())).await?;
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
        if !lease.valid() {
            return Err(StorageError::Replaced { lane, epoch, expected: after });
        }
        let count = messages.len() as u64;
        let batch = Batch { lane, epoch, generation: at.generation, after, messages };
        let applied = {
            let _turn = turn.lock().await;
            parts.store.apply(batch, Arc::clone(&rules)).await?
        };
        (after, *failures) = (applied.sequence, 0);
        metrics::counter!("lane_applied_total").increment(count);
        metrics::counter!("lane_failed_total").increment(applied.failed);
        parts.raise_applied(lane, after);
        if applied.children {
            parts.outbox.notify_one();
        }
        if applied.pushes {
            parts.pushes.notify_one();
        }
    }
}
