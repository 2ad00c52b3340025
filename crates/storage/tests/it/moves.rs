//! A lane moves from one shard to another, with all that is in it and nothing else.
use gridesk_storage::{
    StorageError,
    message::{LaneMessage, NewMessage},
    store::{Batch, Comparison, LaneMove, Store},
};
use protocol::{Bucket, LaneId, OperationId, ShardId, routing::ShardMap};

use crate::{
    postgres::OneMaster,
    suite::{
        Backend, raw_message,
        rules::{self, Op},
    },
};

const MOVING: LaneId = LaneId(0);
const STAYING: LaneId = LaneId(1);
const EPOCH: u64 = 7;

fn map() -> ShardMap {
    ShardMap::even(2, 2).unwrap()
}

/// Numbers whose account, customer, phone and payment live in a lane.
fn living_in(lane: LaneId) -> impl Iterator<Item = u64> {
    let map = map();
    let here = move |bucket| map.lane(bucket) == lane;
    (1..).filter(move |n| {
        here(rules::account(*n).bucket())
            && here(rules::customer(*n).bucket())
            && here(Bucket::of_identity(&format!("phone:{}", rules::phone(*n))))
    })
}

/// Something of every kind about the `n`-th account, customer and payment.
fn life(n: u64) -> Vec<Op> {
    vec![
        Op::Open { account: n, credit_fen: 100 },
        Op::Bill { account: n, month: 3, amount_fen: 500, paid_fen: 0 },
        Op::Readings { account: n, day: 5 },
        Op::Bind { account: n, customer: n, since_ms: 5 },
        Op::Bound { account: n, customer: n, since_ms: 5 },
        Op::Payee { account: n, customer: n, asked_ms: 6 },
        Op::Person { customer: n, codes: 1 },
        Op::Session { session: n },
        Op::Code { phone: n, challenge: n },
        Op::Order { payment: n, account: n, fen: 50 },
    ]
}

/// Applies operations to lanes, one after another.
struct Lane {
    lane: LaneId,
    after: u64,
}

impl Lane {
    fn batch(&mut self, ops: &[Op]) -> Batch {
        let bucket = (0..4096).filter_map(|n| Bucket::try_from(n).ok()).find(|b| map().lane(*b) == self.lane);
        let message = |(sequence, op): (u64, &Op)| {
            let id = OperationId::derive(bucket.unwrap(), "test", "moves", &sequence.to_string());
            let message: NewMessage = raw_message(id, protocol::wire::encode(op));
            LaneMessage { sequence, message }
        };
        let after = self.after;
        let messages: Vec<_> = (after + 1..).zip(ops).map(message).collect();
        self.after += messages.len() as u64;
        Batch { lane: self.lane, epoch: EPOCH, generation: 1, after, messages }
    }

    async fn apply(&mut self, store: &Store, ops: &[Op]) -> Batch {
        let batch = self.batch(ops);
        let applied = store.apply(batch.clone(), crate::suite::rules()).await.unwrap();
        assert_eq!((applied.failed, applied.sequence), (0, self.after));
        batch
    }
}

/// A store with something in two lanes of its first shard; the numbers that live in the lane that is to move.
async fn start() -> (OneMaster, Lane, Lane, Vec<u64>) {
    let backend = OneMaster::fresh(map()).await;
    let store = backend.store();
    for lane in [MOVING, STAYING] {
        store.claim(lane, Some(EPOCH)).await.unwrap();
    }
    let (mut moving, mut staying) = (Lane { lane: MOVING, after: 0 }, Lane { lane: STAYING, after: 0 });
    let numbers: Vec<u64> = living_in(MOVING).take(40).collect();
    for n in &numbers {
        moving.apply(store, &life(*n)).await;
    }
    for n in living_in(STAYING).take(20) {
        staying.apply(store, &life(n)).await;
    }
    (backend, moving, staying, numbers)
}

/// How many rows of a table there are in each shard.
fn rows(backend: &OneMaster, table: &str) -> Vec<usize> {
    let count = |shard| backend.sql(shard, &format!("SELECT count(*) FROM {table}")).trim().parse().unwrap();
    (0..2).map(count).collect()
}

async fn bring_up(work: &LaneMove, batches: &[Batch], from: u64) {
    for batch in batches.iter().filter(|batch| batch.after >= from) {
        work.apply(batch, &*crate::suite::rules()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_a_lane_moves_with_all_its_rows_and_back() {
    let (backend, mut moving, mut staying, numbers) = start().await;
    let store = backend.store();
    // Another node, which has not heard of anything.
    let other = backend.another().await;
    let before = backend.dump();

    let work = store.move_lane(MOVING, ShardId(1), EPOCH).unwrap();
    let told = std::sync::atomic::AtomicU64::new(0);
    let copied = work.copy(&|rows| told.store(rows, std::sync::atomic::Ordering::Relaxed)).await.unwrap();
    assert_eq!(copied.sequence, moving.after);
    assert!(told.into_inner() > 40 * 10);
    // Written meanwhile, and applied to both.
    let bill = Op::Bill { account: numbers[0], month: 4, amount_fen: 700, paid_fen: 0 };
    let bind = Op::Bind { account: numbers[1], customer: numbers[0], since_ms: 9 };
    let meanwhile = [moving.apply(store, &[Op::Credit { account: numbers[0], fen: 11 }, bill, bind]).await];
    let snapshot = work.snapshot().await.unwrap();
    let later = moving.apply(store, &[Op::Credit { account: numbers[0], fen: 5 }]).await;
    bring_up(&work, &meanwhile, copied.sequence).await;
    assert_eq!(snapshot.at().sequence, moving.after - 1);
    assert_eq!(work.compare(&snapshot).await.unwrap(), Comparison::Same);
    work.apply(&later, &*crate::suite::rules()).await.unwrap();
    assert_eq!(other.account_row(rules::account(numbers[0])).await.unwrap().value.unwrap().credit_fen.0, 116);
    let last = work.source().await.unwrap();
    work.switch(last).await.unwrap();

    assert_eq!((store.shard_of(MOVING).unwrap(), store.shard_of(STAYING).unwrap()), (ShardId(1), ShardId(0)));
    assert_eq!((store.moves(), other.moves()), (1, 0), "nobody has told the other node");
    let seen = other.account_row(rules::account(numbers[0])).await.unwrap();
    assert_eq!((seen.value.unwrap().credit_fen.0, seen.position.sequence), (116, moving.after));
    assert_eq!(other.shard_of(MOVING).unwrap(), ShardId(1), "it asked where the lane is");
    // Whoever applied it goes on under the same epoch; an older one does not.
    moving.apply(store, &[Op::Credit { account: numbers[1], fen: 3 }]).await;
    assert!(matches!(store.claim(MOVING, Some(EPOCH - 1)).await, Err(StorageError::Replaced { .. })));
    assert_eq!(other.claim(MOVING, Some(EPOCH)).await.unwrap().1.sequence, moving.after);
    staying.apply(store, &[Op::Session { session: 9_000_001 }]).await;

    let gone = store.clean_after_moves(MOVING, EPOCH).await.unwrap();
    assert!(gone > 40 * 10, "{gone} rows");
    assert_eq!(store.clean_after_moves(MOVING, EPOCH).await.unwrap(), 0);
    for (table, placed) in
        [("account", [20, 40]), ("bill", [20, 41]), ("identity", [20, 40]), ("payment", [20, 40])]
    {
        assert_eq!(rows(&backend, table), placed, "{table}");
    }
    // What was booked stays where it was booked, and so does what goes to other lanes: also what was done meanwhile.
    assert_eq!(rows(&backend, "ledger_entry"), [122, 0]);
    assert_eq!(rows(&backend, "outbox"), [122, 0]);

    // The way back.
    let work = store.move_lane(MOVING, ShardId(0), EPOCH).unwrap();
    work.copy(&|_| {}).await.unwrap();
    // A node that has heard of nothing does not take the copy for the lane.
    let stranger = backend.another().await;
    assert_eq!(stranger.shard_of(MOVING).unwrap(), ShardId(1));
    let snapshot = work.snapshot().await.unwrap();
    assert_eq!(work.compare(&snapshot).await.unwrap(), Comparison::Same);
    work.switch(snapshot.at()).await.unwrap();
    store.clean_after_moves(MOVING, EPOCH).await.unwrap();
    assert_eq!(rows(&backend, "account"), [60, 0]);
    let row = stranger.account_row(rules::account(numbers[1])).await.unwrap().value.unwrap();
    assert_eq!(row.credit_fen.0, 103);
    // Nothing of the lane is other than it was, but for what was written.
    let after = backend.dump();
    for table in ["readings", "customer_account", "payee", "person", "identity", "challenge", "payment"] {
        let name = format!("0.{table}");
        assert_eq!(before[&name], after[&name], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_a_copy_that_differs_is_found_and_what_came_of_it_is_deleted() {
    let (backend, mut moving, _, numbers) = start().await;
    let store = backend.store();
    let work = store.move_lane(MOVING, ShardId(1), EPOCH).unwrap();
    work.copy(&|_| {}).await.unwrap();
    let account = rules::account(numbers[3]).number();
    backend.sql(1, &format!("UPDATE account SET credit_fen = credit_fen + 1 WHERE id = {account}"));
    let snapshot = work.snapshot().await.unwrap();
    assert_eq!(work.compare(&snapshot).await.unwrap(), Comparison::Differs("account"));
    // Given up: the next attempt, or the next holder, clears it away.
    drop(work);
    assert_eq!(rows(&backend, "account"), [60, 40]);
    assert!(store.clean_after_moves(MOVING, EPOCH).await.unwrap() > 0);
    assert_eq!(rows(&backend, "account"), [60, 0]);
    moving.apply(store, &[Op::Credit { account: numbers[0], fen: 1 }]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_who_has_lost_a_lane_cannot_move_it() {
    let (backend, mut moving, _, numbers) = start().await;
    let store = backend.store();
    let work = store.move_lane(MOVING, ShardId(1), EPOCH).unwrap();
    let at = work.copy(&|_| {}).await.unwrap();
    store.claim(MOVING, Some(EPOCH + 1)).await.unwrap();
    assert!(matches!(work.switch(at).await, Err(StorageError::Replaced { .. })));
    assert_eq!(store.shard_of(MOVING).unwrap(), ShardId(0));
    // Nor can it be switched where it has been written since.
    let work = store.move_lane(MOVING, ShardId(1), EPOCH + 1).unwrap();
    let at = work.copy(&|_| {}).await.unwrap();
    let batch = Batch { epoch: EPOCH + 1, ..moving.batch(&[Op::Credit { account: numbers[0], fen: 1 }]) };
    store.apply(batch, crate::suite::rules()).await.unwrap();
    assert!(matches!(work.switch(at).await, Err(StorageError::Replaced { .. })));
    assert!(store.move_lane(MOVING, ShardId(2), EPOCH).is_err());
    assert!(store.move_lane(MOVING, ShardId(0), EPOCH).is_err());
}
