//! What waits for the writer is committed together.
use std::{
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
};

use gridesk_storage::{
    message::{Decision, NewMessage},
    store::Decide,
    working_set::{NotLoaded, WorkingSet},
};

use crate::{
    embedded::Embedded,
    suite::{Backend, LANE, append, message, next_batch, one_lane, rules, rules::Op},
};

/// Rules that hold the writer until the sender is dropped.
struct Held(Mutex<mpsc::Receiver<()>>);

impl Decide for Held {
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Result<Decision, NotLoaded> {
        let _ = self.0.lock().unwrap().recv();
        rules().decide(rows, message)
    }
}

/// The commits in a write-ahead log: frames whose header names the size of the database after them, and that carry the
/// log's present salt (https://www.sqlite.org/fileformat2.html#walformat).
fn commits(database: &Path) -> usize {
    let bytes = std::fs::read(format!("{}-wal", database.display())).unwrap();
    let page = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let frames = bytes[32..].chunks_exact(24 + page);
    frames.filter(|frame| frame[8..16] == bytes[16..24] && frame[4..8] != [0; 4]).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_applies_that_wait_share_one_commit() {
    let backend = Embedded::fresh(one_lane()).await;
    append(&backend, 0, &[Op::Open { account: 1, credit_fen: 0 }, Op::Session { session: 1 }]).await;
    let before = commits(&backend.file(0));

    let (go, held) = mpsc::channel();
    let first = next_batch(&backend, LANE, 1).await;
    let second = gridesk_storage::store::Batch {
        after: 1,
        messages: backend.queue().fetch(LANE, 1, 1).await.unwrap(),
        ..first.clone()
    };
    let holding = {
        let store = backend.store().clone();
        tokio::spawn(async move { store.apply(first, Arc::new(Held(Mutex::new(held)))).await })
    };
    drop(go);
    holding.await.unwrap().unwrap();
    assert_eq!(commits(&backend.file(0)), before + 1, "one by itself");

    let (go, held) = mpsc::channel();
    let (asked, began) = mpsc::channel();
    struct Tells(Held, Mutex<mpsc::Sender<()>>);
    impl Decide for Tells {
        fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Result<Decision, NotLoaded> {
            let _ = self.1.lock().unwrap().send(());
            self.0.decide(rows, message)
        }
    }
    let tells = Arc::new(Tells(Held(Mutex::new(held)), Mutex::new(asked)));
    let holding = {
        let store = backend.store().clone();
        tokio::spawn(async move { store.apply(second, tells).await })
    };
    tokio::task::block_in_place(|| began.recv()).unwrap();
    let mut waiting = Vec::new();
    for n in 0..200 {
        let queue = backend.queue().clone();
        let op = message(10 + n, &Op::Session { session: 1 });
        let mut append = Box::pin(async move { queue.append(LANE, vec![op]).await });
        // Polled once it is in the writer's queue.
        let polled = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        waiting.push(append);
    }
    let store = backend.store().clone();
    let third = store.apply(
        gridesk_storage::store::Batch {
            lane: LANE,
            epoch: store.claim(LANE, None).await.unwrap().0,
            generation: 1,
            after: 2,
            messages: Vec::new(),
        },
        rules(),
    );
    let mut third = pin!(third);
    assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(go);
    holding.await.unwrap().unwrap();
    third.await.unwrap();
    for (n, append) in (0..).zip(waiting) {
        assert_eq!(append.await.unwrap(), [3 + n], "in the order in which they came");
    }
    assert_eq!(commits(&backend.file(0)), before + 3, "the holder's, and one for all that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_in_a_round_does_not_harm_the_others() {
    let backend = Embedded::fresh(one_lane()).await;
    append(&backend, 0, &[Op::Session { session: 1 }]).await;
    let good = next_batch(&backend, LANE, 1).await;
    let stale = gridesk_storage::store::Batch { epoch: good.epoch + 1, ..good.clone() };
    let (store, queue) = (backend.store(), backend.queue());
    let (refused, applied, first) = tokio::join!(
        store.apply(stale, rules()),
        store.apply(good, rules()),
        queue.append(LANE, vec![message(1, &Op::Session { session: 1 })]),
    );
    assert!(matches!(refused, Err(gridesk_storage::StorageError::Replaced { .. })));
    assert_eq!(applied.unwrap().sequence, 1);
    assert_eq!(first.unwrap(), [2]);
}
