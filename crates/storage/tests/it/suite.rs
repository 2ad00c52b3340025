//! What every backend must do, written once. A backend joins by a [`Backend`] and a line of `backend_suite!`.
pub(crate) mod apply;
pub(crate) mod cache;
pub(crate) mod coherence;
pub(crate) mod money;
pub(crate) mod queue;
pub(crate) mod rules;
pub(crate) mod stale;

use std::{collections::BTreeMap, sync::Arc};

use gridesk_storage::{
    StorageError,
    cache::Cache,
    message::{LaneMessage, NewMessage, OperationRow, Origin},
    queue::Queue,
    store::{Applied, Batch, Decide, Store},
};
use protocol::{
    Bucket, Channel, LaneId, OperationId, ShardId, envelope::Language, ids::BUCKETS, routing::ShardMap,
};

use self::rules::{Op, Rules};

/// A whole backend, empty at first, thrown away at the end.
pub(crate) trait Backend: Sized {
    /// How many random cases a property is tried with: fewer where a new backend costs much.
    const CASES: u32 = 48;
    /// Whether changes are forgotten by when their operation was accepted, or else by when it was applied.
    const FORGETS_BY_ACCEPTANCE: bool = true;
    /// A new one.
    fn fresh(map: ShardMap) -> impl Future<Output = Self>;
    /// The shards.
    fn store(&self) -> &Store;
    /// The lanes.
    fn queue(&self) -> &Queue;
    /// Dies as by a power cut, and comes back: only what was durable is there.
    fn reopen(self) -> impl Future<Output = Self>;
    /// Every table's rows as text, but for epochs.
    fn dump(&self) -> BTreeMap<String, Vec<String>>;
}

/// A cache by itself, empty at first, thrown away at the end.
pub(crate) trait Caching: Sized {
    /// A new one.
    fn fresh(map: ShardMap) -> impl Future<Output = Self>;
    /// A node's handle on it.
    fn cache(&self) -> &Cache;
}

/// Writes the suite's tests for a backend.
#[macro_export]
macro_rules! backend_suite {
    ($name:ident, $backend:ty) => {
        mod $name {
            $crate::backend_suite!(queue of $backend);
            $crate::backend_suite!(store [each $backend]);
        }
    };
    // A backend whose servers take seconds to start: all in one process, one after another.
    (together $name:ident, $backend:ty) => {
        $crate::backend_suite!(store [at_once $name, $backend]);
    };
    // What every store is asked.
    (store [$($how:tt)*]) => {
        $crate::backend_suite!($($how)*;
            apply:
                an_operation_is_applied_once_whatever_comes_again,
                operations_are_applied_in_order,
                a_batch_is_all_or_nothing,
                a_replaced_applier_changes_nothing,
                a_poison_operation_fails_alone,
                children_and_pushes_leave_with_their_operation,
                results_changes_and_position_are_of_one_snapshot,
                every_row_reads_back_as_it_was_written,
                what_is_taken_away_is_gone_and_what_was_asked_is_kept_a_while,
                pruning_keeps_what_is_not_applied,
                epochs_grow_with_every_opening,
                the_ledger_sums_to_zero,;
            coherence:
                batches_of_any_size_come_to_the_same,;
            money:
                a_bill_is_open_until_its_late_fee_is_paid,
                a_reconnection_is_found_when_it_is_due,
                mandates_and_refunds_are_found_when_they_are_due,;
        );
    };
    (each $backend:ty; $($module:ident: $($test:ident,)*;)*) => {
        $($crate::backend_suite!(@ $backend, $module: $($test,)*);)*
    };
    (at_once $name:ident, $backend:ty; $($module:ident: $($test:ident,)*;)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $($(
                println!("{}::{}", stringify!($module), stringify!($test));
                $crate::suite::$module::$test::<$backend>().await;
            )*)*
        }
    };
    // The lanes alone.
    (queue of $lanes:ty) => {
        $crate::backend_suite!(@ $lanes, queue:
            appends_keep_their_order_whoever_appends,
            pages_follow_each_other_from_memory_and_from_disk,
            large_messages_leave_memory_but_not_the_lane,
            a_slow_and_a_quick_reader_see_the_same,
            the_end_of_a_lane_can_be_awaited,
            a_lane_ends_where_it_ended_after_reopening_and_pruning,
            what_was_acknowledged_is_there_after_reopening,
            what_waits_is_counted,
            an_unknown_lane_is_refused,
        );
    };
    (@ $backend:ty, $module:ident: $($test:ident,)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::suite::$module::$test::<$backend>().await;
            })*
        }
    };
}

/// Writes the suite's tests for a cache.
#[macro_export]
macro_rules! cache_suite {
    ($name:ident, $caching:ty) => {
        mod $name {
            $crate::backend_suite!(@ $caching, cache:
                a_fill_needs_a_cursor_it_is_not_behind,
                following_takes_out_what_changed,
                a_cursor_never_goes_back,
                another_generation_begins_empty,
                a_forgotten_lane_is_empty,
                what_was_missed_is_asked_for,
                many_readers_of_one_view_are_one_load,
                a_failed_load_is_tried_again_by_the_next,
                no_reader_sees_less_than_its_cursor,
            );
        }
    };
}

/// One shard with one lane.
pub(crate) fn one_lane() -> ShardMap {
    ShardMap::even(1, 1).unwrap()
}

/// The only lane of [`one_lane`].
pub(crate) const LANE: LaneId = LaneId(0);
/// The only shard of [`one_lane`].
pub(crate) const SHARD: ShardId = ShardId(0);

/// A bucket of a lane.
pub(crate) fn bucket_in(map: &ShardMap, lane: LaneId) -> Bucket {
    let buckets = (0..BUCKETS).map(|n| Bucket::try_from(n).unwrap());
    buckets.into_iter().find(|bucket| map.lane(*bucket) == lane).unwrap()
}

/// The `n`-th operation of a test, in bucket 0.
pub(crate) fn operation_id(n: u64) -> OperationId {
    OperationId::mint(Bucket::try_from(0).unwrap(), u128::from(n + 1) << 13)
}

/// An operation as it comes in.
pub(crate) fn message(n: u64, op: &Op) -> NewMessage {
    raw_message(operation_id(n), protocol::wire::encode(op))
}

/// A message with any body.
pub(crate) fn raw_message(operation: OperationId, body: Vec<u8>) -> NewMessage {
    let origin = Origin {
        accepted_ms: 1_700_000_000_000 + (operation.bits() as u64 >> 1) % 1_000_000,
        customer: Some(rules::customer(1)),
        session: Some(rules::session(1)),
        channel: Channel::Wechat,
        language: Language::En,
        request_id: [7; 16],
        trace_id: [8; 16],
    };
    NewMessage { operation, code: rules::CODE, version: 1, body, origin }
}

/// Appends operations to [`LANE`]; their ids count from `first`.
pub(crate) async fn append(backend: &impl Backend, first: u64, ops: &[Op]) {
    let messages = (first..).zip(ops).map(|(n, op)| message(n, op)).collect();
    backend.queue().append(LANE, messages).await.unwrap();
}

/// The next batch of a lane: what waits, at most `limit`.
pub(crate) async fn next_batch(backend: &impl Backend, lane: LaneId, limit: usize) -> Batch {
    let at = backend.store().lane(lane).await.unwrap();
    let messages = backend.queue().fetch(lane, at.sequence, limit).await.unwrap();
    let epoch = backend.store().claim(lane, None).await.unwrap().0;
    Batch { lane, epoch, generation: at.generation, after: at.sequence, messages }
}

/// Applies a batch by the test's rules.
pub(crate) async fn apply(backend: &impl Backend, batch: Batch) -> Result<Applied, StorageError> {
    backend.store().apply(batch, rules()).await
}

/// Applies all that waits in a lane, in batches of `size`; the sum of what it came to.
pub(crate) async fn apply_all(backend: &impl Backend, lane: LaneId, size: usize) -> Applied {
    let mut sum =
        Applied { sequence: backend.store().lane(lane).await.unwrap().sequence, ..Applied::default() };
    loop {
        let batch = next_batch(backend, lane, size).await;
        if batch.messages.is_empty() {
            return sum;
        }
        let one = apply(backend, batch).await.unwrap();
        sum.sequence = one.sequence;
        sum.repeated += one.repeated;
        sum.failed += one.failed;
        sum.children |= one.children;
        sum.pushes |= one.pushes;
    }
}

/// Appends and applies operations in one batch.
pub(crate) async fn run(backend: &impl Backend, first: u64, ops: &[Op]) -> Applied {
    append(backend, first, ops).await;
    apply_all(backend, LANE, ops.len()).await
}

/// How the `n`-th operation ended.
pub(crate) async fn ended(backend: &impl Backend, n: u64) -> OperationRow {
    backend.store().operation(operation_id(n)).await.unwrap().value.expect("the operation has been applied")
}

/// All of a lane's messages after a sequence.
pub(crate) async fn all_messages(
    queue: &Queue,
    lane: LaneId,
    mut after: u64,
    page: usize,
) -> Vec<LaneMessage> {
    let mut all = Vec::new();
    loop {
        let next = queue.fetch(lane, after, page).await.unwrap();
        let Some(last) = next.last() else { return all };
        assert!(next.len() <= page);
        after = last.sequence;
        all.extend(next);
    }
}

/// The test's rules.
pub(crate) fn rules() -> Arc<dyn Decide> {
    Arc::new(Rules)
}
