//! The cache in a room's Redis, under a real server that fails in every way it can.
mod faults;
mod race;
mod server;

use std::sync::Arc;

use gridesk_storage::{
    cache::{Cache, Followed, RedisConfig, View},
    rows::Entity,
    store::Seen,
};
use protocol::{Position, routing::ShardMap};

use self::server::Server;
use crate::suite::{Caching, LANE, one_lane, rules};

/// A room: its Redis, and the nodes' handles on it.
pub(crate) struct Room {
    pub(crate) server: Server,
    pub(crate) nodes: Vec<Cache>,
}

impl Room {
    async fn of(nodes: usize, map: ShardMap) -> Self {
        Room::with(Server::start(), nodes, map, |config| config).await
    }

    async fn with(
        server: Server,
        nodes: usize,
        map: ShardMap,
        adapt: impl Fn(RedisConfig) -> RedisConfig,
    ) -> Self {
        let config = adapt(RedisConfig::at(&server.url()));
        let mut caches = Vec::new();
        for _ in 0..nodes {
            caches.push(Cache::redis(map.clone(), &config).await.unwrap());
        }
        Room { server, nodes: caches }
    }
}

impl Caching for Room {
    async fn fresh(map: ShardMap) -> Self {
        // A machine that is busy with other suites is no Redis that does not answer.
        Room::with(Server::start(), 1, map, patient).await
    }

    fn cache(&self) -> &Cache {
        &self.nodes[0]
    }
}

fn patient(config: RedisConfig) -> RedisConfig {
    RedisConfig { timeout_ms: 2_000, ..config }
}

const VIEW: View = View { kind: 1, parameter: 0 };

fn at(sequence: u64) -> Position {
    Position { lane: LANE, generation: 1, sequence }
}

fn account(n: u64) -> Entity {
    Entity::Account(rules::account(n))
}

async fn fill(cache: &Cache, n: u64, value: u64, position: Position) {
    cache.fill(account(n), VIEW, &Seen { value: Arc::new(value), position }).await;
}

/// A view's value and the position it was served with.
async fn get(cache: &Cache, n: u64) -> Option<(u64, u64)> {
    let found = cache.get::<u64>(account(n), VIEW).await?;
    Some((*found.value, found.position.sequence))
}

async fn follow(cache: &Cache, after: u64, changed: &[u64], to: u64) -> Followed {
    let value = changed.iter().map(|n| account(*n)).collect();
    cache.follow(after, &Seen { value, position: at(to) }).await
}

/// Two nodes of a room with a lane at 10 and three accounts in their cache.
async fn two_nodes() -> Room {
    let room = Room::of(2, one_lane()).await;
    for node in &room.nodes {
        assert_eq!(follow(node, 0, &[], 10).await, Followed::InStep);
    }
    for n in 1..=3 {
        fill(&room.nodes[0], n, n * 100, at(10)).await;
        assert_eq!(get(&room.nodes[1], n).await, Some((n * 100, 10)));
    }
    room
}
