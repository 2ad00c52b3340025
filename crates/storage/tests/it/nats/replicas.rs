//! Three servers, each lane on all of them, and one dies.
use std::time::{Duration, Instant};

use gridesk_storage::queue::{NatsConfig, Queue};

use super::{
    Server,
    senders::{Senders, all_in_time, check, until_ok, whole},
};
use crate::suite::{LANE, one_lane, queue::append_nothing};

/// The server that leads the lane.
async fn leader(servers: &[Server]) -> usize {
    let urls =
        servers.iter().map(|server| server.url().parse().unwrap()).collect::<Vec<async_nats::ServerAddr>>();
    let client = async_nats::connect(urls).await.unwrap();
    let context = async_nats::jetstream::new(client);
    for _ in 0..200 {
        if let Ok(stream) = context.get_stream("GRIDESK_LANE_0").await
            && let Some(name) = stream.cached_info().cluster.as_ref().and_then(|c| c.leader.clone())
        {
            return servers.iter().position(|server| server.name() == name).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody leads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_a_leader_that_dies_loses_nothing() {
    let mut servers = Server::cluster().await;
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let config = NatsConfig { servers: urls, replicas: 3, publish_timeout_ms: 15_000, ..servers[0].config() };
    let connect = async || Queue::connect(&config, one_lane().lanes()).await;
    let nodes = [until_ok(connect).await, until_ok(connect).await];
    append_nothing(&nodes[0], 99_000_000, 1).await;
    let senders = Senders::start(&nodes);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let killed = leader(&servers).await;
        servers[killed].kill();
        // It goes on as soon as one of the others leads.
        let (started, before) = (Instant::now(), nodes[1].tail(LANE).unwrap());
        let mut end = nodes[1].watch_tail(LANE).unwrap();
        let on = end.wait_for(|tail| *tail > before + (4 << 10));
        tokio::time::timeout(Duration::from_secs(20), on).await.unwrap().unwrap();
        println!("the lane went on {:?} after its leader was killed", started.elapsed());
        servers[killed].start_again().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let acknowledged = senders.stop().await;
    assert!(acknowledged.len() > 500, "hardly anything was appended");
    let fresh = until_ok(connect).await;
    let found = all_in_time(&fresh, 512).await;
    check(&acknowledged, &found).unwrap();
    for node in &nodes {
        assert_eq!(whole(node, &found).await, found);
    }
}
