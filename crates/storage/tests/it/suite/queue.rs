//! Lanes: in order, without gaps, and still there.
use std::collections::HashMap;

use gridesk_storage::StorageError;
use protocol::{LaneId, OperationId, routing::ShardMap};

use super::{
    Backend, LANE, SHARD, all_messages, append, apply_all, bucket_in, message, one_lane, raw_message,
    rules::Op,
};

const NOTHING: Op = Op::Session { session: 1 };

pub(crate) async fn appends_are_without_gaps_whoever_appends<B: Backend>() {
    const TASKS: u64 = 24;
    const APPENDS: u64 = 12;
    let map = ShardMap::even(2, 2).unwrap();
    let backend = B::fresh(map.clone()).await;
    let tasks = (0..TASKS).map(|task| {
        let (queue, map) = (backend.queue().clone(), map.clone());
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
                let first = queue.append(lane, messages).await.unwrap();
                assert!(
                    queue.tail(lane).unwrap() >= first + ids.len() as u64 - 1,
                    "acknowledged, so readable"
                );
                placed.extend((first..).zip(ids).map(|(sequence, id)| (lane, sequence, id)));
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
    let check = async |backend: &B, from: &str| {
        for (lane, placed) in &lanes {
            let mut placed = placed.clone();
            placed.sort_unstable();
            assert!(placed.iter().map(|p| p.0).eq(1..=placed.len() as u64), "lane {lane} has no gap");
            assert_eq!(backend.queue().tail(*lane).unwrap(), placed.len() as u64);
            let found = all_messages(backend.queue(), *lane, 0, 7).await;
            let found: Vec<_> = found.iter().map(|m| (m.sequence, m.message.operation)).collect();
            assert_eq!(found, placed, "lane {lane} from {from}");
        }
    };
    check(&backend, "memory").await;
    check(&backend.reopen().await, "disk").await;
}

pub(crate) async fn pages_follow_each_other_from_memory_and_from_disk<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    // More than is kept in memory.
    for part in 0..3 {
        append(&backend, part * 4_000, &vec![NOTHING; 4_000]).await;
    }
    for page in [1_000, 5_000, 100_000] {
        let found = all_messages(backend.queue(), LANE, 0, page).await;
        assert!(found.iter().map(|m| m.sequence).eq(1..=12_000), "pages of {page}");
    }
    assert_eq!(backend.queue().fetch(LANE, 12_000, 10).await.unwrap(), []);
    assert_eq!(backend.queue().fetch(LANE, 11_999, 10).await.unwrap().len(), 1);
    let backend = backend.reopen().await;
    append(&backend, 12_000, &[NOTHING]).await;
    let found = all_messages(backend.queue(), LANE, 0, 5_000).await;
    assert!(found.iter().map(|m| m.sequence).eq(1..=12_001), "over the seam of disk and memory");
    let expected: Vec<_> = (0..12_001).map(|n| message(n, &NOTHING)).collect();
    assert!(found.into_iter().map(|m| m.message).eq(expected), "whole messages");
}

pub(crate) async fn large_messages_leave_memory_but_not_the_lane<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let id = super::operation_id;
    let len = |n: u64| if n % 4 == 1 { 5 << 20 } else { 100_000 };
    for n in 0..60 {
        let bytes = if n < 10 { len(n) } else { 100_000 };
        backend.queue().append(LANE, vec![raw_message(id(n), vec![n as u8; bytes])]).await.unwrap();
    }
    let found = all_messages(backend.queue(), LANE, 0, 4).await;
    assert_eq!(found.len(), 60);
    for (n, m) in (0..).zip(&found) {
        assert_eq!((m.sequence, m.message.operation), (n + 1, id(n)));
        assert!(m.message.body.iter().all(|b| *b == n as u8));
    }
}

pub(crate) async fn a_slow_and_a_quick_reader_see_the_same<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &vec![NOTHING; 100]).await;
    let quick = all_messages(backend.queue(), LANE, 0, 9).await;
    let slow = all_messages(backend.queue(), LANE, 0, 1).await;
    assert_eq!(quick, slow);
    append(&backend, 100, &vec![NOTHING; 5]).await;
    assert_eq!(all_messages(backend.queue(), LANE, 50, 9).await.len(), 55);
}

pub(crate) async fn the_end_of_a_lane_can_be_awaited<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let mut end = backend.queue().watch_tail(LANE).unwrap();
    let queue = backend.queue().clone();
    let waiting = tokio::spawn(async move {
        end.wait_for(|tail| *tail >= 3).await.unwrap();
        queue.fetch(LANE, 0, 10).await.unwrap().len()
    });
    append(&backend, 0, &[NOTHING]).await;
    append(&backend, 1, &[NOTHING, NOTHING]).await;
    assert_eq!(waiting.await.unwrap(), 3);
}

pub(crate) async fn a_lane_ends_where_it_ended_after_reopening_and_pruning<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    append(&backend, 0, &vec![NOTHING; 9]).await;
    apply_all(&backend, LANE, 4).await;
    let backend = backend.reopen().await;
    assert_eq!(backend.queue().tail(LANE).unwrap(), 9);
    assert!(backend.store().prune(SHARD, u64::MAX >> 1, 0).await.unwrap() >= 9);
    assert_eq!(backend.queue().tail(LANE).unwrap(), 9);
    // Every message is forgotten: the lane's end is known by what was applied.
    let backend = backend.reopen().await;
    assert_eq!(backend.queue().tail(LANE).unwrap(), 9);
    assert_eq!(backend.queue().fetch(LANE, 9, 10).await.unwrap(), []);
    let first = backend.queue().append(LANE, vec![message(9, &NOTHING)]).await.unwrap();
    assert_eq!(first, 10);
    apply_all(&backend, LANE, 4).await;
    assert_eq!(backend.store().lane(LANE).await.unwrap().sequence, 10);
}

pub(crate) async fn what_was_acknowledged_is_there_after_reopening<B: Backend>() {
    let mut backend = B::fresh(one_lane()).await;
    let mut next = 0;
    for round in 1..=4 {
        let appends = (0..10 * round).map(|_| {
            let (queue, m) = (backend.queue().clone(), message(next, &NOTHING));
            next += 1;
            tokio::spawn(async move { (queue.append(LANE, vec![m.clone()]).await.unwrap(), m) })
        });
        let mut acknowledged = Vec::new();
        for append in appends.collect::<Vec<_>>() {
            acknowledged.push(append.await.unwrap());
        }
        backend = backend.reopen().await;
        assert_eq!(backend.queue().tail(LANE).unwrap(), next);
        for (sequence, m) in acknowledged {
            let found = backend.queue().fetch(LANE, sequence - 1, 1).await.unwrap();
            assert_eq!(found[0].message, m);
            let waiting = backend.store().waiting_operation(m.operation).await.unwrap();
            assert_eq!(waiting.map(|m| m.sequence), Some(sequence));
        }
    }
    apply_all(&backend, LANE, 17).await;
    assert_eq!(backend.store().waiting_operation(super::operation_id(0)).await.unwrap(), None);
}

pub(crate) async fn an_unknown_lane_is_refused<B: Backend>() {
    let backend = B::fresh(one_lane()).await;
    let unknown = LaneId(7);
    let refused = backend.queue().append(unknown, vec![message(0, &NOTHING)]).await;
    assert!(matches!(refused, Err(StorageError::Closed)));
    assert!(matches!(backend.queue().tail(unknown), Err(StorageError::Closed)));
    assert!(backend.store().lane(unknown).await.is_err());
}
