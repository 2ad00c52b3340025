//! One order for everybody, whole, and as few messages as the load allows.
use std::time::Duration;

use gridesk_storage::{StorageError, queue::Queue};
use protocol::OperationId;

use super::Server;
use crate::suite::{
    LANE, all_messages, message, one_lane, operation_id,
    queue::{NOTHING, append_nothing},
    raw_message,
};

/// Sequence and operation of everything in the lane.
async fn all(queue: &Queue, page: usize) -> Vec<(u64, OperationId)> {
    let found = all_messages(queue, LANE, 0, page).await;
    found.iter().map(|m| (m.sequence, m.message.operation)).collect()
}

/// How many messages the lane's stream holds.
async fn stream_messages(server: &Server) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("GRIDESK_LANE_0").await.unwrap();
    stream.cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_two_nodes_see_one_order() {
    const NODES: u64 = 2;
    const TASKS: u64 = 8;
    const APPENDS: u64 = 60;
    let server = Server::start().await;
    let nodes = [server.queue(&one_lane()).await, server.queue(&one_lane()).await];
    let tasks = (0..NODES * TASKS).map(|task| {
        let queue = nodes[(task % NODES) as usize].clone();
        tokio::spawn(async move {
            let mut placed = Vec::new();
            for n in 0..APPENDS {
                let first = (task * APPENDS + n) * 3;
                let sequences = append_nothing(&queue, first, n % 3 + 1).await;
                placed.extend(sequences.into_iter().zip((first..).map(operation_id)));
            }
            assert!(placed.windows(2).all(|pair| pair[0].0 < pair[1].0), "one sender's stay in order");
            placed
        })
    });
    let mut placed = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        placed.extend(task.await.unwrap());
    }
    placed.sort_unstable();
    for node in &nodes {
        assert!(node.has_reached(LANE, placed.last().unwrap().0).await.unwrap());
        // Each hears of what the other appended.
        let mut end = node.watch_tail(LANE).unwrap();
        let heard = end.wait_for(|tail| *tail == placed.last().unwrap().0);
        tokio::time::timeout(Duration::from_secs(5), heard).await.unwrap().unwrap();
        assert_eq!(all(node, 50).await, placed);
    }
    assert_eq!(all(&server.queue(&one_lane()).await, 1_000).await, placed, "who comes later sees the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_appends_that_wait_go_together() {
    let server = Server::start().await;
    let queue = server.queue(&one_lane()).await;
    let appends = (0..3_000).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.append(LANE, vec![message(n, &NOTHING)]).await.unwrap()[0] })
    });
    let mut placed = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        placed.push(append.await.unwrap());
    }
    placed.sort_unstable();
    placed.dedup();
    assert_eq!(placed.len(), 3_000);
    let messages = stream_messages(&server).await;
    assert!((6..300).contains(&messages), "{messages} messages for 3,000 appends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_ten_thousand_that_wait_are_fetched_whole() {
    let server = Server::start().await;
    let queue = server.queue(&one_lane()).await;
    let mut placed = Vec::new();
    // Small and large messages in turn, as quiet and busy times make them.
    let mut n = 0;
    while n < 10_000 {
        let count = if n % 7 == 0 { 300 } else { 1 };
        placed.extend(append_nothing(&queue, n, count).await);
        n += count;
    }
    // Another node, which has none of it in memory.
    let other = server.queue(&one_lane()).await;
    assert_eq!(other.tail(LANE).unwrap(), *placed.last().unwrap());
    for page in [512, 7_000] {
        let found = all_messages(&other, LANE, 0, page).await;
        assert!(found.iter().map(|m| m.sequence).eq(placed.iter().copied()), "pages of {page}");
        assert!((0..).zip(&found).all(|(n, m)| m.message == message(n, &NOTHING)));
    }
    // Again from a place that had been left behind.
    let again = all_messages(&other, LANE, placed[4_999], 512).await;
    assert!(again.iter().map(|m| m.sequence).eq(placed[5_000..].iter().copied()));
    let found = other.waiting(operation_id(9_000), LANE, placed[10]).await.unwrap();
    assert_eq!(found.map(|m| m.sequence), Some(placed[9_000]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_one_append_may_be_many_messages() {
    let server = Server::start().await;
    let queue = server.queue(&one_lane()).await;
    // Too many for one message, and too large.
    let many: Vec<_> = (0..2_000).map(|n| message(n, &NOTHING)).collect();
    let large: Vec<_> = (2_000..2_020).map(|n| raw_message(operation_id(n), vec![7; 300_000])).collect();
    let (a, b) = tokio::join!(queue.append(LANE, many.clone()), queue.append(LANE, large.clone()));
    for (placed, messages) in [(a.unwrap(), many), (b.unwrap(), large)] {
        assert!(placed.windows(2).all(|pair| pair[0] < pair[1]));
        for (sequence, message) in placed.iter().zip(messages) {
            assert_eq!(queue.fetch(LANE, sequence - 1, 1).await.unwrap()[0].message, message);
        }
    }
    assert!(stream_messages(&server).await >= 4 + 6);
    // One that no message can hold.
    let huge = raw_message(operation_id(9_999), vec![7; 9 << 20]);
    let refused = queue.append(LANE, vec![message(9_998, &NOTHING), huge]).await;
    assert!(matches!(refused, Err(StorageError::TooLarge { most, .. }) if most < 8 << 20), "{refused:?}");
    assert_eq!(all(&queue, 1_000).await.len(), 2_020, "nothing of it was appended");
}
