//! Lanes: in order, nothing lost or doubled, and still there.
use std::collections::HashMap;

use gridesk_storage::{StorageError, queue::Queue};
use protocol::{LaneId, OperationId, routing::ShardMap};

use super::{
    Backend, LANE, SHARD, all_messages, apply_all, bucket_in, message, one_lane, raw_message, rules::Op,
};

pub(crate) const NOTHING: Op = Op::Session { session: 1 };

/// The lanes of a backend, or lanes alone; empty at first, thrown away at the end.
pub(crate) trait Lanes: Sized {
    /// New ones.
    fn open_lanes(map: ShardMap) -> impl Future<Output = Self>;
    /// The lanes.
    fn lanes(&self) -> &Queue;
    /// Die as by a power cut, and come back: only what was durable is there.
    fn reopen_lanes(self) -> impl Future<Output = Self>;
    /// Applies all that waits in [`LANE`]; answers how far it is applied.
    fn apply_lane(&self) -> impl Future<Output = u64>;
    /// Forgets what is applied of [`LANE`] up to there, however new it is; answers how much went.
    fn prune_lane(&self, applied: u64) -> impl Future<Output = u64>;
}

impl<B: Backend> Lanes for B {
    fn open_lanes(map: ShardMap) -> impl Future<Output = Self> {
        B::fresh(map)
    }

    fn lanes(&self) -> &Queue {
        self.queue()
    }

    fn reopen_lanes(self) -> impl Future<Output = Self> {
        self.reopen()
    }

    async fn apply_lane(&self) -> u64 {
        apply_all(self, LANE, 17).await.sequence
    }

    async fn prune_lane(&self, _applied: u64) -> u64 {
        self.store().prune(SHARD, u64::MAX >> 1, 0).await.unwrap()
    }
}

/// Appends operations that do nothing; their ids count from `first`.
pub(crate) async fn append_nothing(queue: &Queue, first: u64, count: u64) -> Vec<u64> {
    let messages = (first..first + count).map(|n| message(n, &NOTHING)).collect();
    let placed = queue.append(LANE, messages).await.unwrap();
    assert_eq!(placed.len() as u64, count, "a sequence for each");
    placed
}

/// The sequences of messages.
fn sequences(found: &[gridesk_storage::message::LaneMessage]) -> Vec<u64> {
    found.iter().map(|m| m.sequence).collect()
}

pub(crate) async fn appends_keep_their_order_whoever_appends<L: Lanes>() {
    const TASKS: u64 = 24;
    const APPENDS: u64 = 12;
    let map = ShardMap::even(2, 2).unwrap();
    let backend = L::open_lanes(map.clone()).await;
    let tasks = (0..TASKS).map(|task| {
        let (queue, map) = (backend.lanes().clone(), map.clone());
        tokio::spawn(async move {
            let mut placed = Vec::new();
            for n in 0..APPENDS {
                let lane = LaneId(((task + n) % 4) as u16);
                let id = |m: u64| {
                    let entropy = u128::from(task << 32 | n << 8 | m) << 13;
                    OperationId::mint(bucket_in(&map, lane), entropy)
                };
                let ids: Vec<_> = (0..=n % 3).map(id).collect();
                let messages = ids.iter().map(|id| raw_message(*id, vec![n as u8; 50])).collect();
                let sequences = queue.append(lane, messages).await.unwrap();
                assert_eq!(sequences.len(), ids.len());
                let last = *sequences.last().unwrap();
                assert!(queue.tail(lane).unwrap() >= last, "acknowledged, so readable");
                assert!(queue.has_reached(lane, last).await.unwrap());
                placed.extend(sequences.into_iter().zip(ids).map(|(sequence, id)| (lane, sequence, id)));
            }
            placed
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut lanes: HashMap<LaneId, Vec<(u64, OperationId)>> = HashMap::new();
    for task in tasks {
        let placed = task.await.unwrap();
        let mut last = HashMap::new();
        for (lane, sequence, id) in placed {
            let before = last.insert(lane, sequence);
            assert!(before.is_none_or(|before| before < sequence), "one sender's messages stay in order");
            lanes.entry(lane).or_default().push((sequence, id));
        }
    }
    let check = async |backend: &L, from: &str| {
        for (lane, placed) in &lanes {
            let mut placed = placed.clone();
            placed.sort_unstable();
            assert!(
                placed.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "lane {lane}: each has its own place"
            );
            let tail = placed.last().unwrap().0;
            assert_eq!(backend.lanes().tail(*lane).unwrap(), tail);
            assert!(!backend.lanes().has_reached(*lane, tail + 1).await.unwrap());
            let found = all_messages(backend.lanes(), *lane, 0, 7).await;
            let found: Vec<_> = found.iter().map(|m| (m.sequence, m.message.operation)).collect();
            assert_eq!(found, placed, "lane {lane} from {from}");
        }
    };
    check(&backend, "memory").await;
    check(&backend.reopen_lanes().await, "disk").await;
}

pub(crate) async fn pages_follow_each_other_from_memory_and_from_disk<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    let mut placed = Vec::new();
    // More than is kept in memory.
    for part in 0..3 {
        placed.extend(append_nothing(backend.lanes(), part * 4_000, 4_000).await);
    }
    for page in [1_000, 5_000, 100_000] {
        let found = all_messages(backend.lanes(), LANE, 0, page).await;
        assert_eq!(sequences(&found), placed, "pages of {page}");
    }
    let last = placed[11_999];
    assert_eq!(backend.lanes().fetch(LANE, last, 10).await.unwrap(), []);
    assert_eq!(backend.lanes().fetch(LANE, last - 1, 10).await.unwrap().len(), 1);
    let backend = backend.reopen_lanes().await;
    placed.extend(append_nothing(backend.lanes(), 12_000, 1).await);
    let found = all_messages(backend.lanes(), LANE, 0, 5_000).await;
    assert_eq!(sequences(&found), placed, "over the seam of disk and memory");
    let expected: Vec<_> = (0..12_001).map(|n| message(n, &NOTHING)).collect();
    assert!(found.into_iter().map(|m| m.message).eq(expected), "whole messages");
    // Anybody may begin anywhere, again and again.
    for from in [0, 1, 511, 512, 513, 7_777, 11_998] {
        let found = backend.lanes().fetch(LANE, placed[from], 3).await.unwrap();
        let until = placed.len().min(from + 4);
        assert_eq!(sequences(&found), placed[from + 1..until], "after the {from}th");
    }
}

pub(crate) async fn large_messages_leave_memory_but_not_the_lane<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    let id = super::operation_id;
    let len = |n: u64| if n % 4 == 1 { 5 << 20 } else { 100_000 };
    let mut placed = Vec::new();
    for n in 0..60 {
        let bytes = if n < 10 { len(n) } else { 100_000 };
        let message = raw_message(id(n), vec![n as u8; bytes]);
        placed.extend(backend.lanes().append(LANE, vec![message]).await.unwrap());
    }
    let found = all_messages(backend.lanes(), LANE, 0, 4).await;
    assert_eq!(sequences(&found), placed);
    for (n, m) in (0..).zip(&found) {
        assert_eq!(m.message.operation, id(n));
        assert!(m.message.body.iter().all(|b| *b == n as u8));
    }
}

pub(crate) async fn a_slow_and_a_quick_reader_see_the_same<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    let placed = append_nothing(backend.lanes(), 0, 100).await;
    let quick = all_messages(backend.lanes(), LANE, 0, 9).await;
    let slow = all_messages(backend.lanes(), LANE, 0, 1).await;
    assert_eq!(quick, slow);
    assert_eq!(quick.len(), 100);
    append_nothing(backend.lanes(), 100, 5).await;
    assert_eq!(all_messages(backend.lanes(), LANE, placed[49], 9).await.len(), 55);
}

pub(crate) async fn the_end_of_a_lane_can_be_awaited<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    let mut end = backend.lanes().watch_tail(LANE).unwrap();
    let queue = backend.lanes().clone();
    let waiting = tokio::spawn(async move {
        // As an applier does: what is there, then what is new.
        let (mut after, mut count) = (0, 0);
        while count < 3 {
            end.mark_unchanged();
            let found = queue.fetch(LANE, after, 10).await.unwrap();
            match found.last() {
                Some(last) => (after, count) = (last.sequence, count + found.len()),
                None => end.changed().await.unwrap(),
            }
        }
        (after, count)
    });
    append_nothing(backend.lanes(), 0, 1).await;
    let last = append_nothing(backend.lanes(), 1, 2).await;
    assert_eq!(waiting.await.unwrap(), (last[1], 3));
}

pub(crate) async fn a_lane_ends_where_it_ended_after_reopening_and_pruning<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    for n in 0..9 {
        append_nothing(backend.lanes(), n, 1).await;
    }
    let tail = backend.apply_lane().await;
    let backend = backend.reopen_lanes().await;
    assert_eq!(backend.lanes().tail(LANE).unwrap(), tail);
    assert!(backend.prune_lane(tail).await >= 8);
    assert_eq!(backend.lanes().tail(LANE).unwrap(), tail);
    // What was applied is forgotten: the lane's end is known all the same.
    let backend = backend.reopen_lanes().await;
    assert_eq!(backend.lanes().tail(LANE).unwrap(), tail);
    assert_eq!(backend.lanes().fetch(LANE, tail, 10).await.unwrap(), []);
    let next = append_nothing(backend.lanes(), 9, 1).await;
    assert!(next[0] > tail);
    assert_eq!(sequences(&backend.lanes().fetch(LANE, tail, 10).await.unwrap()), next);
    assert_eq!(backend.apply_lane().await, next[0]);
    // A lane with nothing in it forgets nothing.
    assert_eq!(backend.lanes().prune(LANE, 0, u64::MAX >> 1).await.unwrap(), 0);
}

pub(crate) async fn what_was_acknowledged_is_there_after_reopening<L: Lanes>() {
    let mut backend = L::open_lanes(one_lane()).await;
    let (mut next, mut first) = (0, None);
    for round in 1..=4 {
        let appends = (0..10 * round).map(|_| {
            let (queue, m) = (backend.lanes().clone(), message(next, &NOTHING));
            next += 1;
            tokio::spawn(async move { (queue.append(LANE, vec![m.clone()]).await.unwrap()[0], m) })
        });
        let mut acknowledged = Vec::new();
        for append in appends.collect::<Vec<_>>() {
            acknowledged.push(append.await.unwrap());
        }
        backend = backend.reopen_lanes().await;
        assert_eq!(backend.lanes().tail(LANE).unwrap(), acknowledged.iter().map(|a| a.0).max().unwrap());
        assert_eq!(all_messages(backend.lanes(), LANE, 0, 1_000).await.len() as u64, next);
        for (sequence, m) in acknowledged {
            let found = backend.lanes().fetch(LANE, sequence - 1, 1).await.unwrap();
            assert_eq!((found[0].sequence, &found[0].message), (sequence, &m));
            let waiting = backend.lanes().waiting(m.operation, LANE, 0).await.unwrap();
            assert_eq!(waiting.map(|m| m.sequence), Some(sequence));
            first.get_or_insert(m.operation);
        }
    }
    let unknown = super::operation_id(1_000_000);
    assert_eq!(backend.lanes().waiting(unknown, LANE, 0).await.unwrap(), None);
    let applied = backend.apply_lane().await;
    assert_eq!(backend.lanes().waiting(first.unwrap(), LANE, applied).await.unwrap(), None);
}

pub(crate) async fn what_waits_is_counted<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    assert_eq!(backend.lanes().backlog(LANE, 0).unwrap(), 0);
    let placed = append_nothing(backend.lanes(), 0, 1_200).await;
    for applied in [0, 1, 511, 512, 700, 1_199] {
        let waiting = backend.lanes().backlog(LANE, placed[applied]).unwrap();
        assert_eq!(waiting, 1_199 - applied as u64, "after the {applied}th");
    }
    assert_eq!(backend.lanes().backlog(LANE, 0).unwrap(), 1_200);
}

pub(crate) async fn an_unknown_lane_is_refused<L: Lanes>() {
    let backend = L::open_lanes(one_lane()).await;
    let unknown = LaneId(7);
    let refused = backend.lanes().append(unknown, vec![message(0, &NOTHING)]).await;
    assert!(matches!(refused, Err(StorageError::Closed)));
    assert!(matches!(backend.lanes().tail(unknown), Err(StorageError::Closed)));
    assert!(matches!(backend.lanes().fetch(unknown, 0, 1).await, Err(StorageError::Closed)));
}
