//! A cluster's engines die, hang, forget and fall behind, and customers notice nothing but time.
use std::{
    collections::BTreeMap,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use center::operation::Operation;
use gridesk::up::engines::Engines;
use lab::{Cluster, Shape};
use protocol::{
    AccountId, Channel, CustomerId, OperationId, Request, bounds::PayableFen, catalogue::requests,
    envelope::Language, routing::ShardMap,
};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use storage::{
    message::{NewMessage, Origin},
    queue::Queue,
};

use crate::{
    kills::{random, under_load},
    world::World,
};

/// Makes something go wrong, and sees to it that it ends.
type Fault = fn(&World, &mut Cluster);

/// What can go wrong.
const FAULTS: [(&str, Fault); 18] = [
    ("node killed", |world, _| signal_a_node(world, Signal::KILL)),
    ("another node killed", |world, _| signal_a_node(world, Signal::KILL)),
    ("node hangs", |world, _| {
        let nodes = world.processes_of("center");
        let node = nodes[any(nodes.len())];
        kill_process(node, Signal::STOP).unwrap();
        sleep(ms(1_000 + random(4_000)));
        kill_process(node, Signal::CONT).unwrap();
    }),
    ("gate killed", |world, _| _ = world.kill("inner")),
    ("master killed", |_, cluster| {
        let master = &mut cluster.shards[any(2)].master;
        master.kill();
        sleep(ms(200 + random(800)));
        master.restart().unwrap();
    }),
    ("slave killed", |_, cluster| {
        let slave = &mut cluster.shards[any(2)].slaves[any(2)];
        slave.kill();
        sleep(ms(200 + random(2_000)));
        slave.restart().unwrap();
    }),
    ("slave stands still", |_, cluster| {
        let slave = &cluster.shards[any(2)].slaves[any(2)];
        slave.pause_replay().unwrap();
        sleep(ms(2_000 + random(3_000)));
        slave.resume_replay().unwrap();
    }),
    ("slave made anew", |_, cluster| {
        let shard = &mut cluster.shards[any(2)];
        shard.slaves[any(2)].reinitialise(&shard.master).unwrap();
    }),
    ("Redis killed", |_, cluster| {
        let redis = &mut cluster.redis.as_mut().unwrap().server;
        redis.kill();
        sleep(ms(random(2_000)));
        redis.restart().unwrap();
    }),
    ("Redis flushed", |_, cluster| {
        let port = cluster.redis.as_ref().unwrap().server.port().to_string();
        let said = Command::new("redis-cli").args(["-p", &port, "FLUSHALL"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "OK");
    }),
    ("Redis hangs", |_, cluster| {
        let redis = &mut cluster.redis.as_mut().unwrap().server;
        redis.stall().unwrap();
        sleep(ms(500 + random(2_000)));
        redis.go_on();
    }),
    ("NATS server killed", |_, cluster| {
        let server = &mut cluster.nats.as_mut().unwrap().servers[any(3)];
        server.kill();
        sleep(ms(500 + random(1_000)));
        server.restart().unwrap();
    }),
    ("etcd killed", |_, cluster| {
        let member = &mut cluster.etcd.as_mut().unwrap().members[0];
        member.kill();
        sleep(ms(random(2_500)));
        member.restart().unwrap();
    }),
    ("control killed", |world, _| _ = world.kill("control")),
    ("a clock jumps ahead", |world, _| jump(world, 90_000)),
    ("a clock jumps back", |world, _| jump(world, -90_000)),
    ("buckets move", |world, _| _ = shard_move(world, any(2), "0..511")),
    ("node killed while buckets move", |world, _| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(ms(100 + random(1_500)));
                signal_a_node(world, Signal::KILL);
            });
            shard_move(world, any(2), "2048..2559").ok();
        });
    }),
];

/// A node's time of day is another for a while.
fn jump(world: &World, ahead_ms: i64) {
    let clock = world.clock.as_ref().unwrap();
    // A node that begins meanwhile would take it for the time.
    while world.processes_of("center").len() < 2 {
        sleep(ms(100));
    }
    sleep(ms(3_000));
    clock.jump(ahead_ms);
    sleep(ms(1_000 + random(3_000)));
    clock.jump(0);
}

/// Moves buckets as an operator would; what the program said, or why it failed.
fn shard_move(world: &World, to: usize, buckets: &str) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    command
        .args(["shard", "move", "--buckets", buckets, "--to", &to.to_string(), "--data"])
        .arg(world.data());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn signal_a_node(world: &World, signal: Signal) {
    let nodes = world.processes_of("center");
    if !nodes.is_empty() {
        kill_process(nodes[any(nodes.len())], signal).ok();
    }
}

fn any(below: usize) -> usize {
    usize::try_from(random(below as u64)).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn shape() -> Shape {
    Shape { nats: 3, slaves_per_shard: 2, ..Shape::default() }
}

/// Every fault in an order of chance; says in which, and how long each took.
async fn break_everything(world: &World) -> Vec<(&'static str, Duration)> {
    let mut left: Vec<_> = FAULTS.to_vec();
    let mut done = Vec::new();
    while !left.is_empty() {
        tokio::time::sleep(ms(300 + random(900))).await;
        let (name, fault) = left.swap_remove(any(left.len()));
        let begun = Instant::now();
        tokio::task::block_in_place(|| {
            fault(world, &mut world.engines.as_ref().unwrap().lock().unwrap());
        });
        done.push((name, begun.elapsed()));
    }
    // What was broken last has time to show.
    tokio::time::sleep(ms(3_000)).await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn cluster_faults_under_load_lose_nothing() {
    let world = World::start_with_a_clock(&shape());
    under_load(&world, break_everything(&world)).await;
}

/// Which shard each lane lives in, as an operator sees it.
fn homes(world: &World) -> BTreeMap<u64, u64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    let output = command.args(["shard", "list", "--json", "--data"]).arg(world.data()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lanes = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lanes.map(|lane| (lane["lane"].as_u64().unwrap(), lane["shard"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn cluster_buckets_move_under_load_and_back() {
    let world = World::start_in_a_cluster(&Shape::default(), 2);
    let before = homes(&world);
    let moving = async {
        tokio::task::block_in_place(|| {
            sleep(ms(1_000));
            // All there is in the one shard to the other, back, and a part the other way.
            let there = shard_move(&world, 1, "0..2047").unwrap();
            assert!(homes(&world).values().all(|shard| *shard == 1));
            let back = shard_move(&world, 0, "0..2047").unwrap();
            assert_eq!(homes(&world), before);
            let part = shard_move(&world, 0, "2048..2559").unwrap();
            sleep(ms(1_000));
            assert!(shard_move(&world, 0, "2048..2559").unwrap().contains("already"));
            let refused = shard_move(&world, 0, "2048..2560").unwrap_err();
            assert!(refused.contains("are not whole lanes"), "{refused}");
            assert!(shard_move(&world, 7, "0..2047").unwrap_err().contains("no shard 7"));
            let said = [there, back, part].concat();
            said.lines().filter(|line| line.contains("stood still")).map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let moved = under_load(&world, moving).await;
    assert_eq!(moved.len(), before.len() + 1, "{moved:#?}");
    assert_eq!(tour(&world), [Value::Null; 0]);
}

/// Runs the tour against a system; what went wrong.
fn tour(world: &World) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridesk"));
    command.args(["tour", "--json", "--against", &world.portal, "--phone", &world.phones[0]]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcomes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(outcomes.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    outcomes.into_iter().filter(|outcome| outcome["ok"] != true).collect()
}

#[test]
fn cluster_tour_passes_and_what_was_done_is_there_after_a_restart() {
    let world = World::start_in_a_cluster(&Shape::default(), 1);
    assert_eq!(tour(&world), [Value::Null; 0]);
    let payments: BTreeMap<_, _> = world.stored_payments().into_iter().map(|(a, id)| (id, a)).collect();
    for role in ["center", "control", "edge"] {
        world.kill(role).unwrap();
    }
    let begun = Instant::now();
    loop {
        let wrong = tour(&world);
        if wrong.is_empty() {
            break;
        }
        assert!(begun.elapsed() < ms(30_000), "{wrong:#?}");
        sleep(ms(200));
    }
    let now: BTreeMap<_, _> = world.stored_payments().into_iter().map(|(a, id)| (id, a)).collect();
    assert!(now.len() > payments.len() && payments.iter().all(|(id, a)| now.get(id) == Some(a)));
}

/// So many operations wait in a lane.
const WAITING: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_a_lane_with_ten_thousand_waiting_is_applied_once_and_in_order() {
    let world = World::start_in_a_cluster(&Shape::default(), 1);
    let mut client = world.customer(&world.phones[0]).await;
    let account: AccountId = client.account().await.parse().unwrap();
    let holders =
        format!("SELECT account, encode(customer, 'hex') FROM holder WHERE account = {}", account.number());
    let (_, customer) = world.stored(&holders).remove(0);
    let customer = CustomerId::from_bits(u128::from_str_radix(&customer, 16).unwrap());
    let lane = ShardMap::even(2, 4).unwrap().lane(account.bucket());
    let file = world.engines.as_ref().unwrap().lock().unwrap().description_path();
    let queue =
        Queue::connect(&Engines::read(&file).unwrap().settings().unwrap().nats, [lane]).await.unwrap();
    // The masters are gone, and then the node; what is accepted waits.
    let masters = |act: fn(&mut lab::postgres::Master)| {
        world
            .engines
            .as_ref()
            .unwrap()
            .lock()
            .unwrap()
            .shards
            .iter_mut()
            .for_each(|shard| act(&mut shard.master));
    };
    masters(lab::postgres::Master::kill);
    let messages: Vec<NewMessage> = (0..WAITING).map(|n| order(account, customer, n)).collect();
    for some in messages.chunks(500) {
        queue.append(lane, some.to_vec()).await.unwrap();
    }
    // Some are there twice, as after an append of which nobody knew whether it was done.
    queue.append(lane, messages[..500].to_vec()).await.unwrap();
    world.kill("center").unwrap();
    masters(|master| master.restart().unwrap());
    world.carried(ms(120_000)).await;

    let of_lane = format!(
        "SELECT encode(id, 'hex'), sequence FROM operation WHERE lane = {} AND code = {} ORDER BY sequence",
        lane.0,
        Operation::Asked(requested(account)).code()
    );
    let applied: Vec<String> = world.stored(&of_lane).into_iter().map(|(id, _)| id).collect();
    let sent: Vec<String> = messages.iter().map(|m| format!("{:032x}", m.operation.bits())).collect();
    assert_eq!(applied.len(), WAITING);
    assert!(applied == sent, "applied in another order than sent");
    assert_eq!(tour(&world), [Value::Null; 0]);
}

fn requested(account: AccountId) -> Request {
    let (amount_fen, provider) = (PayableFen::try_from(100).unwrap(), "sim-pay".parse().unwrap());
    requests::PaymentCreate { account, amount_fen, provider }.into()
}

/// A customer's order, as a node puts it into a lane.
fn order(account: AccountId, customer: CustomerId, n: usize) -> NewMessage {
    let operation = Operation::Asked(requested(account));
    let origin = Origin {
        accepted_ms: jiff::Timestamp::now().as_millisecond().unsigned_abs(),
        customer: Some(customer),
        session: None,
        channel: Channel::Portal,
        language: Language::En,
        request_id: [0; 16],
        trace_id: [0; 16],
    };
    NewMessage {
        operation: OperationId::derive(account.bucket(), "test", "waiting", &n.to_string()),
        code: operation.code(),
        version: operation.version(),
        body: operation.encode(),
        origin,
    }
}
