//! The cache never shows less than its cursor.
use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use gridesk_storage::{
    cache::{Cache, Followed, View},
    rows::Entity,
    store::Seen,
};
use protocol::{LaneId, Position, routing::ShardMap};

use super::{
    Backend, Caching, LANE, append, apply, next_batch, one_lane,
    rules::{self, Op},
    stale::{Read, Write, stale},
};
use crate::embedded::Embedded;

const VIEW: View = View { kind: 1, parameter: 0 };

fn at(sequence: u64) -> Position {
    Position { lane: LANE, generation: 1, sequence }
}

fn seen<T>(value: T, position: Position) -> Seen<T> {
    Seen { value, position }
}

async fn fill(cache: &Cache, n: u64, value: u64, position: Position) {
    cache.fill(Entity::Account(rules::account(n)), VIEW, &seen(Arc::new(value), position)).await;
}

async fn get(cache: &Cache, n: u64) -> Option<(u64, u64)> {
    let found = cache.get::<u64>(Entity::Account(rules::account(n)), VIEW).await?;
    Some((*found.value, found.position.sequence))
}

/// Tells what changed, as one who knows all changes from the lane's beginning.
async fn follow(cache: &Cache, changed: &[u64], position: Position) {
    assert_eq!(follow_from(cache, 0, changed, position).await, Followed::InStep);
}

async fn follow_from(cache: &Cache, after: u64, changed: &[u64], position: Position) -> Followed {
    let entities = changed.iter().map(|n| Entity::Account(rules::account(*n))).collect();
    cache.follow(after, &seen(entities, position)).await
}

pub(crate) async fn a_fill_needs_a_cursor_it_is_not_behind<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    fill(cache, 1, 10, at(5)).await;
    assert_eq!(get(cache, 1).await, None, "without a cursor");
    follow(cache, &[], at(5)).await;
    assert_eq!(get(cache, 1).await, None);
    fill(cache, 1, 10, at(4)).await;
    assert_eq!(get(cache, 1).await, None, "below the cursor");
    fill(cache, 1, 10, at(5)).await;
    assert_eq!(get(cache, 1).await, Some((10, 5)));
    fill(cache, 1, 12, at(7)).await;
    assert_eq!(get(cache, 1).await, Some((12, 5)), "a fresher slave than the cursor");
    fill(cache, 1, 11, Position { generation: 2, ..at(9) }).await;
    assert_eq!(get(cache, 1).await, Some((12, 5)), "another generation");
    assert!(cache.get::<String>(Entity::Account(rules::account(1)), VIEW).await.is_none(), "another type");
    let other = View { kind: 1, parameter: 1 };
    assert!(cache.get::<u64>(Entity::Account(rules::account(1)), other).await.is_none(), "another view");
}

pub(crate) async fn following_takes_out_what_changed<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    let mut visible = cache.watch(LANE).unwrap();
    assert_eq!(*visible.borrow_and_update(), None);
    follow(cache, &[], at(1)).await;
    fill(cache, 1, 10, at(1)).await;
    fill(cache, 2, 20, at(1)).await;
    follow(cache, &[1], at(3)).await;
    assert_eq!(get(cache, 1).await, None);
    assert_eq!(get(cache, 2).await, Some((20, 3)), "what did not change is as fresh as the cursor");
    assert!(visible.has_changed().unwrap());
    assert_eq!(*visible.borrow(), Some(at(3)));
    fill(cache, 1, 10, at(2)).await;
    assert_eq!(get(cache, 1).await, None, "the slave that was asked had not seen the change");
    assert!(cache.watch(LaneId(9)).is_none());
}

pub(crate) async fn a_cursor_never_goes_back<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    follow(cache, &[], at(9)).await;
    follow(cache, &[2], at(4)).await;
    assert_eq!(*cache.watch(LANE).unwrap().borrow(), Some(at(9)), "a follower whose slave is behind");
    fill(cache, 1, 10, at(4)).await;
    assert_eq!(get(cache, 1).await, None);
}

pub(crate) async fn another_generation_begins_empty<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    follow(cache, &[], at(9)).await;
    fill(cache, 1, 10, at(9)).await;
    let next = Position { generation: 2, ..at(3) };
    follow(cache, &[], next).await;
    assert_eq!(get(cache, 1).await, None, "its numbers mean something else");
    fill(cache, 1, 11, next).await;
    assert_eq!(get(cache, 1).await, Some((11, 3)));
    fill(cache, 1, 10, at(99)).await;
    assert_eq!(get(cache, 1).await, Some((11, 3)), "of the generation before");
}

pub(crate) async fn a_forgotten_lane_is_empty<C: Caching>() {
    let map = ShardMap::even(1, 2).unwrap();
    let room = C::fresh(map.clone()).await;
    let cache = room.cache();
    let lane = map.lane(rules::account(1).bucket());
    let at = |sequence| Position { lane, ..at(sequence) };
    let mut visible = cache.watch(lane).unwrap();
    follow(cache, &[], at(5)).await;
    fill(cache, 1, 10, at(5)).await;
    assert_eq!(get(cache, 1).await, Some((10, 5)));
    cache.forget(lane).await;
    assert_eq!(get(cache, 1).await, None);
    assert_eq!(*visible.borrow_and_update(), None);
    fill(cache, 1, 10, at(5)).await;
    assert_eq!(get(cache, 1).await, None);
    follow(cache, &[], at(6)).await;
    assert_eq!(get(cache, 1).await, None, "what was forgotten does not come back with the cursor");
    fill(cache, 1, 12, at(6)).await;
    assert_eq!(get(cache, 1).await, Some((12, 6)));
}

pub(crate) async fn what_was_missed_is_asked_for<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    follow(cache, &[], at(5)).await;
    fill(cache, 1, 10, at(5)).await;
    fill(cache, 2, 20, at(5)).await;
    // One who has been away and knows only what changed after 7.
    assert_eq!(follow_from(cache, 7, &[2], at(9)).await, Followed::Missed(5));
    assert_eq!(follow_from(cache, 5, &[1, 2], at(9)).await, Followed::InStep);
    assert_eq!(get(cache, 1).await, None);
    fill(cache, 1, 11, at(9)).await;
    assert_eq!(get(cache, 1).await, Some((11, 9)));
}

pub(crate) async fn many_readers_of_one_view_are_one_load<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    follow(room.cache(), &[], at(1)).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let (cache, loads) = (room.cache().clone(), Arc::clone(&loads));
            tokio::spawn(async move { load(&cache, &loads, Ok(7)).await.unwrap() })
        })
        .collect();
    for reader in readers {
        assert_eq!(*reader.await.unwrap().value, 7);
    }
    assert_eq!(loads.load(SeqCst), 1);
}

pub(crate) async fn a_failed_load_is_tried_again_by_the_next<C: Caching>() {
    let room = C::fresh(one_lane()).await;
    let cache = room.cache();
    follow(cache, &[], at(1)).await;
    let loads = AtomicUsize::new(0);
    let (one, two) = tokio::join!(load(cache, &loads, Err("away")), load(cache, &loads, Ok(7)));
    assert_eq!((one.err(), *two.unwrap().value), (Some("away"), 7));
    // One that is given up half-way hinders nobody either.
    let other = Entity::Account(rules::account(2));
    let never = cache.load(other, VIEW, std::future::pending::<Result<Seen<u64>, ()>>());
    assert!(tokio::time::timeout(Duration::from_millis(20), never).await.is_err());
    let begun = std::time::Instant::now();
    let found = cache.load(other, VIEW, async { Ok::<_, ()>(seen(8, at(1))) }).await.unwrap();
    assert_eq!(*found.value, 8);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

async fn load(
    cache: &Cache,
    loads: &AtomicUsize,
    outcome: Result<u64, &'static str>,
) -> Result<Seen<Arc<u64>>, &'static str> {
    let slave = async {
        loads.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(30)).await;
        outcome.map(|value| seen(value, at(1)))
    };
    cache.load(Entity::Account(rules::account(1)), VIEW, slave).await
}

/// Writers, followers, slow fillers and readers at once, over a store.
pub(crate) async fn no_reader_sees_less_than_its_cursor<C: Caching>() {
    const KEYS: u64 = 4;
    let backend = Embedded::fresh(one_lane()).await;
    let room = C::fresh(one_lane()).await;
    let ops: Vec<_> = (0..KEYS).map(|account| Op::Open { account, credit_fen: account as i64 }).collect();
    append(&backend, 0, &ops).await;
    let mut writes = Vec::new();
    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for key in 0..2 * KEYS {
        let (store, cache, over) = (backend.store().clone(), room.cache().clone(), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            // A slow filler: what it read may be long out of date when it comes to the cache.
            while !over.load(SeqCst) {
                let account = rules::account(key % KEYS);
                let seen = store.account(account, Vec::new()).await.unwrap();
                for _ in 0..key * 3 {
                    tokio::task::yield_now().await;
                }
                if let Some(view) = seen.value {
                    let value = Arc::new(view.account.credit_fen.0 as u64);
                    cache
                        .fill(Entity::Account(account), VIEW, &Seen { value, position: seen.position })
                        .await;
                }
            }
        }));
    }
    {
        let (store, cache, over) = (backend.store().clone(), room.cache().clone(), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            let mut after = 0;
            while !over.load(SeqCst) {
                let changed = store.changes(LANE, after).await.unwrap();
                cache.follow(after, &changed).await;
                after = changed.position.sequence;
            }
        }));
    }
    for _ in 0..2 {
        let (cache, over, reads) = (room.cache().clone(), Arc::clone(&over), Arc::clone(&reads));
        tasks.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while !over.load(SeqCst) {
                for key in 0..KEYS {
                    if let Some((value, position)) = get(&cache, key).await {
                        mine.push(Read { key, position, value });
                    }
                }
                tokio::task::yield_now().await;
                mine.dedup();
            }
            reads.lock().unwrap().extend(mine);
        }));
    }
    for n in 0..400u64 {
        let value = 1_000 + n;
        append(&backend, 100 + n, &[Op::Open { account: n * 7 % KEYS, credit_fen: value as i64 }]).await;
        let batch = next_batch(&backend, LANE, 3).await;
        apply(&backend, batch).await.unwrap();
    }
    super::apply_all(&backend, LANE, 1).await;
    over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    for (sequence, key) in (1..).zip(0..KEYS) {
        writes.push(Write { key, sequence, value: key });
    }
    for (sequence, n) in (KEYS + 1..).zip(0..400u64) {
        writes.push(Write { key: n * 7 % KEYS, sequence, value: 1_000 + n });
    }
    let reads = reads.lock().unwrap();
    assert!(reads.len() > 100, "only {} reads hit the cache", reads.len());
    assert_eq!(stale(&writes, &reads), []);
    // The same history with one stale entry in it is found out.
    let last = writes[writes.len() - 1 - KEYS as usize];
    let bad = Read { key: last.key, position: writes.len() as u64, value: last.value };
    assert_eq!(stale(&writes, &[reads.clone(), vec![bad]].concat()), [bad]);
}

/// The same on threads and on a model of slaves, where nothing waits for a disk.
#[test]
fn no_reader_sees_less_than_its_cursor_on_threads() {
    let (writes, reads) = race(Cheat::No);
    assert_eq!(stale(&writes, &reads), []);
    // A filler that lies about its position is found out: the race does meet what it looks for. When it meets it is up to
    // the scheduler, so it is run until it does.
    let found = (0..50).any(|_| {
        let (writes, reads) = race(Cheat::Fillers);
        !stale(&writes, &reads).is_empty()
    });
    assert!(found, "no stale read in fifty races with a lying filler");
}

#[derive(Clone, Copy, PartialEq)]
enum Cheat {
    No,
    Fillers,
}

/// Runs until a reader has hit the cache often enough, however busy the machine is.
fn race(cheat: Cheat) -> (Vec<Write>, Vec<Read>) {
    const KEYS: u64 = 3;
    const HITS: usize = 3_000;
    const MOST_WRITES: u64 = 3_000_000;
    let writes = Mutex::new(Vec::new());
    let hits = AtomicUsize::new(0);
    let cache = Cache::new(one_lane(), 100);
    let over = AtomicBool::new(false);
    let reads = Mutex::new(Vec::new());
    // A slave's snapshot: the newest value of a key and the position, read under one lock.
    let snapshot = |key: u64| {
        let writes = writes.lock().unwrap();
        let newest = writes.iter().rev().take(64).find(|w: &&Write| w.key == key).map(|w| w.value);
        (newest, writes.len() as u64)
    };
    std::thread::scope(|scope| {
        for key in 0..KEYS {
            let (over, cache, snapshot) = (&over, &cache, &snapshot);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    let (value, position) = snapshot(key);
                    std::thread::yield_now();
                    let position = if cheat == Cheat::Fillers { position + 1_000_000 } else { position };
                    if let Some(value) = value {
                        now(fill(cache, key, value, at(position)));
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut after = 0;
            while !over.load(SeqCst) {
                let changed: Vec<Write> = writes.lock().unwrap()[after..].to_vec();
                after += changed.len();
                let keys: Vec<_> = changed.iter().map(|w| w.key).collect();
                now(follow(&cache, &keys, at(after as u64)));
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut mine = Vec::new();
            while !over.load(SeqCst) {
                for key in 0..KEYS {
                    if let Some((value, position)) = now(get(&cache, key)) {
                        let read = Read { key, position, value };
                        if mine.last() != Some(&read) {
                            mine.push(read);
                            hits.store(mine.len(), SeqCst);
                        }
                    }
                }
            }
            reads.lock().unwrap().extend(mine);
        });
        for n in 0..MOST_WRITES {
            if hits.load(SeqCst) >= HITS {
                break;
            }
            let mut writes = writes.lock().unwrap();
            let sequence = writes.len() as u64 + 1;
            writes.push(Write { key: n * 7 % KEYS, sequence, value: n });
            drop(writes);
            // Pauses of other lengths, so that all orders come up.
            for _ in 0..n % 97 {
                std::hint::spin_loop();
            }
            if n.is_multiple_of(3) {
                std::thread::yield_now();
            }
        }
        over.store(true, SeqCst);
    });
    let reads = reads.into_inner().unwrap();
    assert!(reads.len() >= HITS, "only {} reads hit", reads.len());
    (writes.into_inner().unwrap(), reads)
}

/// What a cache in memory does, it does at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a cache in memory waits for nothing"),
    }
}
