//! Several nodes, each with a slave that lags by itself, and readers who go from one to another, while their Redis fails:
//! no read is older than what its reader had been shown, nor than what its node had.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use gridesk_storage::{
    cache::{Cache, Followed, RedisConfig},
    rows::Entity,
    store::Seen,
};
use tokio::time::sleep;

use super::{Room, Server, VIEW, account, at};
use crate::suite::{
    LANE, one_lane,
    stale::{Read, Write, stale},
};

const KEYS: u64 = 12;
const NODES: usize = 3;
const READERS: usize = 12;

/// Numbers that look random and are the same with every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the master has, in the order of the lane; a slave shows the first so many.
#[derive(Default)]
struct Master(Mutex<Vec<Write>>);

impl Master {
    fn write(&self, key: u64) {
        let mut writes = self.0.lock().unwrap();
        let sequence = writes.len() as u64 + 1;
        writes.push(Write { key, sequence, value: sequence });
    }

    /// The newest value of a key on a slave that shows so many.
    fn value(&self, key: u64, shows: u64) -> u64 {
        let writes = self.0.lock().unwrap();
        writes[..shows as usize].iter().rev().find(|write| write.key == key).map_or(0, |write| write.value)
    }

    fn changed(&self, after: u64, shows: u64) -> Seen<Vec<Entity>> {
        let writes = self.0.lock().unwrap();
        let value = writes[after as usize..shows as usize].iter().map(|write| account(write.key)).collect();
        Seen { value, position: at(shows) }
    }

    fn end(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
}

struct Node {
    cache: Cache,
    /// How far its slave is.
    slave: AtomicU64,
    /// How far its cache has shown the lane to anybody.
    shown: AtomicU64,
}

#[derive(Default)]
struct World {
    master: Master,
    over: AtomicBool,
    reads: Mutex<Vec<Read>>,
    /// Reads that were served by a cache.
    hits: AtomicUsize,
}

/// Its slave catches up in leaps.
async fn replay(world: Arc<World>, node: Arc<Node>, mut random: Random) {
    while !world.over.load(SeqCst) {
        let (has, end) = (node.slave.load(SeqCst), world.master.end());
        node.slave.store(has + random.below(end - has + 1), SeqCst);
        sleep(Duration::from_millis(random.below(6))).await;
    }
}

/// As a node's follower does it.
async fn follow(world: Arc<World>, node: Arc<Node>, mut random: Random) {
    let mut after = node.slave.load(SeqCst);
    while !world.over.load(SeqCst) {
        let to = node.slave.load(SeqCst);
        if let Followed::Missed(since) = node.cache.follow(after, &world.master.changed(after, to)).await {
            node.cache.follow(since, &world.master.changed(since, to)).await;
        }
        after = to;
        sleep(Duration::from_millis(random.below(8))).await;
    }
}

/// Reads here and there, and insists on what it has seen.
async fn read(world: Arc<World>, nodes: Vec<Arc<Node>>, mut random: Random, cheats: bool) {
    let mut token = 0;
    let mut mine = Vec::new();
    while !world.over.load(SeqCst) {
        let node = &nodes[random.below(NODES as u64) as usize];
        let key = random.below(KEYS);
        if !is_visible(node, token, &world.over).await {
            break;
        }
        let node_shown = node.shown.load(SeqCst);
        if let Some(found) = node.cache.get::<u64>(account(key), VIEW).await {
            let position = found.position.sequence;
            node.shown.fetch_max(position, SeqCst);
            world.hits.fetch_add(1, SeqCst);
            mine.push(Read { key, position: position.max(token).max(node_shown), value: *found.value });
            token = token.max(position);
            // Between memory and Redis, so that not all are served from memory.
            sleep(Duration::from_micros(random.below(300))).await;
            continue;
        }
        let pause = Duration::from_micros(random.below(2_000));
        let load = async {
            let shows = node.slave.load(SeqCst);
            let value = world.master.value(key, shows);
            // What it read may be long out of date when it comes to the cache.
            sleep(pause).await;
            let says = if cheats { shows + 1_000_000 } else { shows };
            Ok::<_, ()>(Seen { value, position: at(says) })
        };
        let found = node.cache.load(account(key), VIEW, load).await.unwrap();
        if !cheats {
            let position = found.position.sequence.max(token);
            mine.push(Read { key, position, value: *found.value });
            token = position;
        }
    }
    world.reads.lock().unwrap().extend(mine);
}

/// Waits until a position is visible at a node; `false` where all is over before.
async fn is_visible(node: &Node, sequence: u64, over: &AtomicBool) -> bool {
    let mut visible = node.cache.watch(LANE).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !over.load(SeqCst) {
        assert!(Instant::now() < until, "a node stands still");
        let reached = visible.wait_for(|at| at.is_some_and(|at| at.sequence >= sequence));
        if tokio::time::timeout(Duration::from_millis(100), reached).await.is_ok() {
            return true;
        }
    }
    false
}

/// Lets everything happen to a Redis that can.
fn break_it(server: &mut Server, random: &mut Random) {
    match random.below(8) {
        0 => drop(server.ask(&["FLUSHALL"])),
        1 => server.restart(false),
        2 => server.restart(true),
        3 => {
            server.signal("-STOP");
            std::thread::sleep(Duration::from_millis(100 + random.below(300)));
            server.signal("-CONT");
        }
        4 => server.close_connections(),
        5 => drop(server.ask(&["DEL", "gridesk:{0}:cursor"])),
        6 => drop(server.ask(&["SCRIPT", "FLUSH"])),
        // Now or later it will be an older copy.
        _ => server.save(),
    }
}

/// Runs it all; writes, reads, and how many of them hit.
async fn race(seed: u64, faults: usize, cheats: bool) -> (Vec<Write>, Vec<Read>, usize) {
    let room =
        Room::with(Server::start(), NODES, one_lane(), |config| RedisConfig { rest_ms: 100, ..config }).await;
    let Room { mut server, nodes } = room;
    let node = |cache| Arc::new(Node { cache, slave: AtomicU64::new(0), shown: AtomicU64::new(0) });
    let nodes: Vec<_> = nodes.into_iter().map(node).collect();
    let world = Arc::new(World::default());
    let random = |n: usize| Random(seed * 1_000 + n as u64);
    let mut tasks = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        tasks.push(tokio::spawn(replay(Arc::clone(&world), Arc::clone(node), random(n))));
        tasks.push(tokio::spawn(follow(Arc::clone(&world), Arc::clone(node), random(10 + n))));
    }
    for n in 0..READERS {
        tasks.push(tokio::spawn(read(Arc::clone(&world), nodes.clone(), random(20 + n), cheats)));
    }
    let writer = tokio::spawn({
        let (world, mut random) = (Arc::clone(&world), random(40));
        async move {
            while !world.over.load(SeqCst) {
                world.master.write(random.below(KEYS));
                sleep(Duration::from_millis(1 + random.below(9))).await;
            }
        }
    });
    let breaking = tokio::task::spawn_blocking({
        let mut random = random(50);
        move || {
            for _ in 0..faults {
                std::thread::sleep(Duration::from_millis(100 + random.below(300)));
                break_it(&mut server, &mut random);
            }
            std::thread::sleep(Duration::from_millis(700));
            server
        }
    });
    let _server = breaking.await.unwrap();
    world.over.store(true, SeqCst);
    writer.await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let writes = std::mem::take(&mut *world.master.0.lock().unwrap());
    let reads = std::mem::take(&mut *world.reads.lock().unwrap());
    // Whoever read a key before it was written saw nothing at all.
    let first = (0..KEYS).map(|key| Write { key, sequence: 0, value: 0 });
    (first.chain(writes).collect(), reads, world.hits.load(SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_less_than_it_was_shown_whatever_becomes_of_redis() {
    for seed in 1..=2 {
        let (writes, reads, hits) = race(seed, 30, false).await;
        let wrong = stale(&writes, &reads);
        assert!(
            wrong.is_empty(),
            "seed {seed}: {} of {} reads: {:?}",
            wrong.len(),
            reads.len(),
            wrong.first()
        );
        assert!(hits > 500, "seed {seed}: only {hits} of {} reads hit the cache", reads.len());
        // The same history with one stale read in it is found out.
        let last = writes[writes.len() - 1];
        let old = writes[..writes.len() - 1].iter().rev().find(|write| write.key == last.key).unwrap();
        let bad = Read { key: last.key, position: last.sequence, value: old.value };
        assert_eq!(stale(&writes, &[reads, vec![bad]].concat()), [bad]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_race_meets_the_stale_read_of_a_slave_that_lies() {
    let mut found = false;
    for seed in 1..=10 {
        let (writes, reads, _) = race(seed, 0, true).await;
        found |= !stale(&writes, &reads).is_empty();
        if found {
            break;
        }
    }
    assert!(found, "no stale read in ten races with slaves that lie about their position");
}
