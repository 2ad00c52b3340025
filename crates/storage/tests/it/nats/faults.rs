//! A server that is killed, away, full, or not what it should be.
use std::time::{Duration, Instant};

use gridesk_storage::{
    StorageError,
    queue::{NatsConfig, Queue},
};

use super::{
    Server,
    senders::{Senders, check, until_ok, whole},
};
use crate::suite::{
    LANE, all_messages, message, one_lane, operation_id,
    queue::{NOTHING, append_nothing},
    raw_message,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_what_was_acknowledged_survives_kills() {
    let mut server = Server::start().await;
    let (queue, watcher) = (server.queue(&one_lane()).await, server.queue(&one_lane()).await);
    let senders = Senders::start(std::slice::from_ref(&queue));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.start_again().await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let acknowledged = senders.stop().await;
    assert!(acknowledged.len() > 1_000, "hardly anything was appended");
    let found = all_messages(&server.queue(&one_lane()).await, LANE, 0, 512).await;
    check(&acknowledged, &found).unwrap();
    // Those who were there all the time see the same.
    for node in [&queue, &watcher] {
        assert_eq!(whole(node, &found).await, found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_a_server_that_is_away_is_an_error_in_time() {
    let mut server = Server::start().await;
    let config = NatsConfig { publish_timeout_ms: 1_000, ..server.config() };
    let queue = Queue::connect(&config, one_lane().lanes()).await.unwrap();
    let before = append_nothing(&queue, 0, 3).await;
    server.kill();
    for n in 0..3 {
        let started = Instant::now();
        let (a, b) = tokio::join!(
            queue.append(LANE, vec![message(100 + n, &NOTHING)]),
            queue.append(LANE, vec![message(200 + n, &NOTHING)]),
        );
        assert!(matches!(a, Err(StorageError::Engine { engine: "NATS", .. })), "{a:?}");
        assert!(matches!(b, Err(StorageError::Engine { .. })), "{b:?}");
        assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    }
    let fetched = queue.fetch(LANE, before[2], 10).await;
    assert!(matches!(fetched, Err(StorageError::Engine { .. })), "{fetched:?}");
    assert!(queue.has_reached(LANE, before[2] + 1).await.is_err(), "nobody can say");
    server.start_again().await;
    let after = until_ok(async || queue.append(LANE, vec![message(300, &NOTHING)]).await).await;
    let found = until_ok(async || queue.fetch(LANE, before[2], 10).await).await;
    assert_eq!(found.last().unwrap().sequence, after[0]);
    assert_eq!(found.last().unwrap().message, message(300, &NOTHING));
    // Who begins while it is away is told so.
    server.kill();
    let refused = Queue::connect(&config, one_lane().lanes()).await;
    assert!(matches!(refused.err(), Some(StorageError::Engine { doing: "connecting", .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_a_full_lane_refuses_and_goes_on_once_there_is_room() {
    let server = Server::start().await;
    let config = NatsConfig { max_bytes: 2 << 20, ..server.config() };
    let queue = Queue::connect(&config, one_lane().lanes()).await.unwrap();
    let mut placed = Vec::new();
    let refused = loop {
        let new = raw_message(operation_id(placed.len() as u64), vec![1; 100_000]);
        match queue.append(LANE, vec![new]).await {
            Ok(sequences) => placed.extend(sequences),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StorageError::Full), "{refused:?}");
    assert!((15..=20).contains(&placed.len()), "{} went in", placed.len());
    let all = all_messages(&queue, LANE, 0, 5).await;
    assert!(all.iter().map(|m| m.sequence).eq(placed.iter().copied()), "nothing was dropped to make room");
    // What is new is kept, however far it is applied; what is not applied is kept, however old it is.
    let (last, long_ago, far_off) = (*placed.last().unwrap(), 1_000, u64::MAX >> 1);
    assert_eq!(queue.prune(LANE, last, long_ago).await.unwrap(), 0);
    assert_eq!(queue.prune(LANE, placed[9], far_off).await.unwrap(), 9);
    let left = all_messages(&queue, LANE, placed[9], 5).await;
    assert!(left.iter().map(|m| m.sequence).eq(placed[10..].iter().copied()));
    append_nothing(&queue, 1_000, 1).await;
    // What is gone is missed by whoever needs it, also by a node that has never seen it.
    for node in [&queue, &Queue::connect(&config, one_lane().lanes()).await.unwrap()] {
        for after in [0, placed[3]] {
            let fetched = node.fetch(LANE, after, 10).await;
            assert!(matches!(fetched, Err(StorageError::Corrupt { what: "lane", .. })), "{fetched:?}");
        }
        let ahead = node.fetch(LANE, last + (1 << 20), 10).await;
        assert!(matches!(ahead, Err(StorageError::Corrupt { what: "lane", .. })), "{ahead:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_too_many_appends_that_wait_are_refused_at_once() {
    let mut server = Server::start().await;
    let config = NatsConfig { waiting_appends: 8, publish_timeout_ms: 3_000, ..server.config() };
    let queue = Queue::connect(&config, one_lane().lanes()).await.unwrap();
    append_nothing(&queue, 0, 1).await;
    server.kill();
    let started = Instant::now();
    let appends = (1..=30).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { (queue.append(LANE, vec![message(n, &NOTHING)]).await, started.elapsed()) })
    });
    let (mut full, mut late) = (0, 0);
    for append in appends.collect::<Vec<_>>() {
        match append.await.unwrap() {
            (Err(StorageError::Full), at) if at < Duration::from_secs(1) => full += 1,
            (Err(StorageError::Engine { .. }), at) if at >= Duration::from_secs(2) => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(full >= 10 && late >= 8, "{full} full, {late} late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_a_stream_with_other_settings_is_refused() {
    let server = Server::start().await;
    drop(server.queue(&one_lane()).await);
    drop(server.queue(&one_lane()).await);
    let other = NatsConfig { max_bytes: 5 << 20, ..server.config() };
    let refused = Queue::connect(&other, one_lane().lanes()).await.err().unwrap();
    assert!(matches!(refused, StorageError::Shape { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("GRIDESK_LANE_0") && text.contains("max_bytes 5242880"), "{text}");
    let nobody = NatsConfig { servers: Vec::new(), ..server.config() };
    assert!(Queue::connect(&nobody, one_lane().lanes()).await.err().unwrap().to_string().contains("servers"));
}
