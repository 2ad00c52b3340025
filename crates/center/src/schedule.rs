//! What is to be done at a time: looks for what is due, by an index, and hands it to its lane as an operation of our own.
//!
//! An operation's id comes from what it is about and when that was due, so whoever looks again soon, also after a crash, asks
//! for the same operation, and it is done once. The rule decides anew whether it still holds, and takes away what made it due.
use std::time::Duration;

use protocol::{AccountId, Bucket, ShardId};
use runtime::shutdown::Shutdown;
use storage::StorageError;

use crate::{
    node::Node,
    operation::{FileExpire, MandateDue, Own, RefundDue, SupplyRestore},
};

/// How often is looked.
const TICK: Duration = Duration::from_secs(1);
/// The most taken of a shard at once.
const MOST: usize = 256;
/// How long one look waits for what it has handed over, so that the next finds it done.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long something that is due stays the same operation, in ms.
pub(crate) const ANEW_AFTER_MS: u64 = 10 * 60 * 1000;

/// Something that is due: what to do, where, and the key that makes it the same each time.
struct Due {
    own: Own,
    bucket: Bucket,
    key: String,
}

/// Looks until shutdown.
pub(crate) async fn run(node: Node, shutdown: Shutdown) {
    while !shutdown.is_begun() {
        let mut handed = 0;
        for shard in node.worked_on() {
            match due(&node, shard).await {
                Ok(due) => handed += hand_over(&node, due).await,
                Err(error) => {
                    tracing::error!(shard = shard.0, %error, "what is due cannot be read; trying again")
                }
            }
        }
        metrics::counter!("schedule_handed_over_total").increment(handed);
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.begun() => {}
        }
    }
}

async fn due(node: &Node, shard: ShardId) -> Result<Vec<Due>, StorageError> {
    let now_ms = node.clock().unix_ms();
    let store = node.store();
    let reconnections = store.supplies_due(shard, now_ms, MOST).await?;
    let mandates = store.mandates_due(shard, now_ms, MOST).await?;
    let refunds = store.refunds_due(shard, now_ms, MOST).await?;
    let account_due = |own, account: AccountId, due_ms| Due {
        own,
        bucket: account.bucket(),
        key: format!("{account} {due_ms}"),
    };
    let given_up_ms = now_ms.saturating_sub(node.parts.config.file_expected_days.ms());
    let files = store.files_overdue(shard, given_up_ms, MOST).await?;
    let files = files.into_iter().map(|file| Due {
        own: Own::FileExpire(FileExpire { file }),
        bucket: file.bucket(),
        key: file.to_string(),
    });
    let reconnections = reconnections.into_iter().map(|(account, due_ms)| {
        account_due(Own::SupplyRestore(SupplyRestore { account, due_ms }), account, due_ms)
    });
    let mandates = mandates.into_iter().map(|(account, due_ms)| {
        account_due(Own::MandateDue(MandateDue { account, due_ms }), account, due_ms)
    });
    let refunds = refunds.into_iter().map(|(payment, due_ms)| Due {
        own: Own::RefundDue(RefundDue { payment, due_ms }),
        bucket: payment.bucket(),
        key: format!("{payment} {due_ms}"),
    });
    Ok(reconnections.chain(mandates).chain(refunds).chain(files).collect())
}

async fn hand_over(node: &Node, due: Vec<Due>) -> u64 {
    let runs = due.into_iter().map(|Due { own, bucket, key }| async move {
        let name = own.name();
        // Should the same thing be due at the same moment once more, or have failed, it is asked for anew after a while.
        let key = format!("{key} {}", node.clock().unix_ms() / ANEW_AFTER_MS);
        let ran = node.run_scheduled(own, bucket, &key, PATIENCE).await;
        ran.inspect_err(|problem| tracing::warn!(name, key, %problem, "what was due was not done")).is_ok()
    });
    let ran = futures_util::future::join_all(runs).await;
    ran.into_iter().filter(|done| *done).count() as u64
}
