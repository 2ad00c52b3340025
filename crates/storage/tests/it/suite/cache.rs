//! The cache never shows less than its cursor.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use gridesk_storage::{
    cache::{Cache, View},
    rows::Entity,
    store::Seen,
};
use protocol::{LaneId, Position, routing::ShardMap};

use super::{
    Backend, LANE, append, apply, next_batch, one_lane,
    rules::{self, Op},
    stale::{Read, Write, stale},
};

const VIEW: View = View { kind: 1, parameter: 0 };

fn at(sequence: u64) -> Position {
    Position { lane: LANE, generation: 1, sequence }
}

fn seen<T>(value: T, position: Position) -> Seen<T> {
    Seen { value, position }
}

fn fill(cache: &Cache, n: u64, value: u64, position: Position) {
    cache.fill(Entity::Account(rules::account(n)), VIEW, &seen(Arc::new(value), position));
}

fn get(cache: &Cache, n: u64) -> Option<(u64, u64)> {
    let found = cache.get::<u64>(Entity::Account(rules::account(n)), VIEW)?;
    Some((*found.value, found.position.sequence))
}

fn follow(cache: &Cache, changed: &[u64], position: Position) {
    let entities = changed.iter().map(|n| Entity::Account(rules::account(*n))).collect();
    cache.follow(&seen(entities, position));
}

pub(crate) async fn a_fill_needs_a_cursor_it_is_not_behind<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let cache = backend.cache();
    fill(cache, 1, 10, at(5));
    assert_eq!(get(cache, 1), None, "without a cursor");
    follow(cache, &[], at(5));
    assert_eq!(get(cache, 1), None);
    fill(cache, 1, 10, at(4));
    assert_eq!(get(cache, 1), None, "below the cursor");
    fill(cache, 1, 10, at(5));
    assert_eq!(get(cache, 1), Some((10, 5)));
    fill(cache, 1, 12, at(7));
    assert_eq!(get(cache, 1), Some((12, 5)), "a fresher slave than the cursor");
    fill(cache, 1, 11, Position { generation: 2, ..at(9) });
    assert_eq!(get(cache, 1), Some((12, 5)), "another generation");
    assert!(cache.get::<String>(Entity::Account(rules::account(1)), VIEW).is_none(), "another type");
    let other = View { kind: 1, parameter: 1 };
    assert!(cache.get::<u64>(Entity::Account(rules::account(1)), other).is_none(), "another view");
}

pub(crate) async fn following_takes_out_what_changed<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let cache = backend.cache();
    let mut visible = cache.watch(LANE).unwrap();
    assert_eq!(*visible.borrow_and_update(), None);
    follow(cache, &[], at(1));
    fill(cache, 1, 10, at(1));
    fill(cache, 2, 20, at(1));
    follow(cache, &[1], at(3));
    assert_eq!(get(cache, 1), None);
    assert_eq!(get(cache, 2), Some((20, 3)), "what did not change is as fresh as the cursor");
    assert!(visible.has_changed().unwrap());
    assert_eq!(*visible.borrow(), Some(at(3)));
    fill(cache, 1, 10, at(2));
    assert_eq!(get(cache, 1), None, "the slave that was asked had not seen the change");
    assert!(cache.watch(LaneId(9)).is_none());
}

pub(crate) async fn a_cursor_never_goes_back<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let cache = backend.cache();
    follow(cache, &[], at(9));
    follow(cache, &[2], at(4));
    assert_eq!(*cache.watch(LANE).unwrap().borrow(), Some(at(9)), "a follower whose slave is behind");
    fill(cache, 1, 10, at(4));
    assert_eq!(get(cache, 1), None);
}

pub(crate) async fn another_generation_begins_empty<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let cache = backend.cache();
    follow(cache, &[], at(9));
    fill(cache, 1, 10, at(9));
    let next = Position { generation: 2, ..at(3) };
    follow(cache, &[], next);
    assert_eq!(get(cache, 1), None, "its numbers mean something else");
    fill(cache, 1, 11, next);
    assert_eq!(get(cache, 1), Some((11, 3)));
    fill(cache, 1, 10, at(99));
    assert_eq!(get(cache, 1), Some((11, 3)), "of the generation before");
}

pub(crate) async fn a_forgotten_lane_is_empty<B: Backend>() {
    let backend = B::fresh(ShardMap::even(1, 2).unwrap()).await;
    let cache = backend.cache();
    let lane = backend.store().map().lane(rules::account(1).bucket());
    let at = |sequence| Position { lane, ..at(sequence) };
    let mut visible = cache.watch(lane).unwrap();
    follow(cache, &[], at(5));
    fill(cache, 1, 10, at(5));
    assert_eq!(get(cache, 1), Some((10, 5)));
    cache.forget(lane);
    assert_eq!(get(cache, 1), None);
    assert_eq!(*visible.borrow_and_update(), None);
    fill(cache, 1, 10, at(5));
    assert_eq!(get(cache, 1), None);
    follow(cache, &[], at(6));
    assert_eq!(get(cache, 1), None, "what was forgotten does not come back with the cursor");
    fill(cache, 1, 12, at(6));
    assert_eq!(get(cache, 1), Some((12, 6)));
}

/// Writers, followers, slow fillers and readers at once, through the backend.
pub(crate) async fn no_reader_sees_less_than_its_cursor<B: Backend>() {
    const KEYS: u64 = 4;
    let backend = B::fresh(one_lane()).await;
    let ops: Vec<_> = (0..KEYS).map(|account| Op::Open { account, credit_fen: account as i64 }).collect();
    append(&backend, 0, &ops).await;
    let mut writes = Vec::new();
    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for key in 0..2 * KEYS {
        let (store, cache, over) = (backend.store().clone(), backend.cache().clone(), Arc::clone(&over));
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
                    cache.fill(Entity::Account(account), VIEW, &Seen { value, position: seen.position });
                }
            }
        }));
    }
    {
        let (store, cache, over) = (backend.store().clone(), backend.cache().clone(), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            let mut after = 0;
            while !over.load(SeqCst) {
                let changed = store.changes(LANE, after).await.unwrap();
                after = changed.position.sequence;
                cache.follow(&changed);
            }
        }));
    }
    for _ in 0..2 {
        let (cache, over, reads) = (backend.cache().clone(), Arc::clone(&over), Arc::clone(&reads));
        tasks.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while !over.load(SeqCst) {
                for key in 0..KEYS {
                    if let Some((value, position)) = get(&cache, key) {
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
                        fill(cache, key, value, at(position));
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
                follow(&cache, &keys, at(after as u64));
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut mine = Vec::new();
            while !over.load(SeqCst) {
                for key in 0..KEYS {
                    if let Some((value, position)) = get(&cache, key) {
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
