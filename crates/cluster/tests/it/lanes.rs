//! Lanes: one holder at a time, under epochs that only grow.
use std::time::{Duration, Instant};

use cluster::{ClusterSettings, Coordinator, LaneLease, Membership, TakeError};
use protocol::LaneId;
use runtime::boottime::BootTime;

use crate::{
    folder::node,
    history::{Held, History, judge},
    servers::{Servers, Wire},
};

const LANE: LaneId = LaneId(3);
const LONG: Duration = Duration::from_secs(20);

fn join(settings: &ClusterSettings, id: &str) -> Coordinator {
    let coordinator = Coordinator::etcd(settings, node(id), None).unwrap();
    coordinator.join();
    coordinator
}

async fn joined(coordinator: &Coordinator) {
    let mut membership = coordinator.membership();
    let joined = membership.wait_for(|membership| *membership == Membership::Joined);
    tokio::time::timeout(LONG, joined).await.unwrap().unwrap();
}

#[tokio::test]
async fn etcd_an_epoch_grows_with_every_take_over() {
    let servers = Servers::start(3).await;
    let nodes = [join(&servers.settings(), "a"), join(&servers.settings(), "b")];
    let mut held = nodes[0].take(LANE, LONG).await.unwrap();
    for turn in 1..=10 {
        let taker = nodes[turn % 2].clone();
        let taking = tokio::spawn(async move { taker.take(LANE, LONG).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(held.valid() && !taking.is_finished());
        let epoch = held.epoch();
        match turn % 3 {
            0 => held.release().await.unwrap(),
            _ => drop(held),
        }
        held = tokio::time::timeout(Duration::from_secs(2), taking).await.unwrap().unwrap();
        assert!(held.epoch() > epoch, "{} after {epoch}", held.epoch());
    }
    // Nobody gets it while it is held, and whoever gives up leaves nothing behind.
    let refused = nodes[1].take(LANE, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(&refused, TakeError::Claim(_)) && refused.to_string().contains('a'), "{refused}");
    let given_up = nodes[1].take(LANE, LONG);
    assert!(tokio::time::timeout(Duration::from_millis(100), given_up).await.is_err());
    held.release().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(servers.etcd().get("/gridesk/lanes/3/owner").await.unwrap(), None);
}

#[tokio::test]
async fn etcd_who_leaves_gives_everything_back_at_once() {
    let servers = Servers::start(1).await;
    let (a, b) = (join(&servers.settings(), "a"), join(&servers.settings(), "b"));
    let held = a.take(LANE, LONG).await.unwrap();
    let begun = Instant::now();
    a.leave().await.unwrap();
    held.lost().await;
    assert!(!held.valid());
    b.take(LANE, LONG).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(a.take(LANE, LONG).await, Err(TakeError::Left)));
    let nodes = servers.etcd().range(&cluster::etcd::Span::Prefix("/gridesk/nodes/".into())).await.unwrap();
    assert_eq!(nodes.keys.len(), 1);
}

#[tokio::test]
async fn etcd_a_second_node_of_the_same_name_waits_until_the_first_is_gone() {
    let servers = Servers::start(1).await;
    let first = join(&servers.settings(), "a");
    joined(&first).await;
    let second = join(&servers.settings(), "a");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(&*second.membership().borrow(), Membership::Joining(_)));
    // Dropped without leaving, as if its process had died.
    drop(first);
    joined(&second).await;
}

#[tokio::test]
async fn etcd_who_was_cut_off_joins_again_and_gets_a_later_epoch() {
    let servers = Servers::start(1).await;
    let wire = Wire::to(servers.address(0)).await;
    let (a, b) = (join(&wire.settings(), "a"), join(&servers.settings(), "b"));
    joined(&b).await;
    let held = a.take(LANE, LONG).await.unwrap();
    wire.cut();
    let cut = Instant::now();
    let stopped = async {
        held.lost().await;
        cut.elapsed()
    };
    let taken = async {
        let taken = b.take(LANE, LONG).await.unwrap();
        (taken, cut.elapsed())
    };
    let (stopped, (taken, took)) = tokio::join!(stopped, taken);
    println!("stopped after {stopped:?}, taken over after {took:?}");
    assert!(stopped < Duration::from_millis(2500) && took > stopped, "{stopped:?} {took:?}");
    assert!(took < Duration::from_millis(4500), "{took:?}");
    assert!(taken.epoch() > held.epoch() && !held.valid());
    let epoch = taken.epoch();
    wire.heal();
    drop(held);
    taken.release().await.unwrap();
    let again = a.take(LANE, LONG).await.unwrap();
    assert!(again.epoch() > epoch && again.valid());
}

#[tokio::test]
async fn etcd_a_lane_whose_key_is_taken_away_by_hand_is_lost() {
    let servers = Servers::start(1).await;
    let a = join(&servers.settings(), "a");
    let (held, other) = (a.take(LANE, LONG).await.unwrap(), a.take(LaneId(4), LONG).await.unwrap());
    let begun = Instant::now();
    servers.etcd().delete(&cluster::etcd::Span::Key("/gridesk/lanes/3/owner".into())).await.unwrap();
    tokio::time::timeout(LONG, held.lost()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(!held.valid() && other.valid());
    let again = a.take(LANE, LONG).await.unwrap();
    assert!(again.epoch() > held.epoch());
    // The old one, given back late, takes nothing from the new one.
    held.release().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(again.valid());
}

/// Works on a lane for a while, sure of it at every step.
async fn work(lease: &LaneLease, node: &str, steps: u32) -> Held {
    let from = BootTime::now();
    let mut held = Held { lane: lease.lane(), node: node.to_owned(), epoch: lease.epoch(), from, to: from };
    for _ in 0..steps {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // A step that was begun while it was valid ends now.
        let now = BootTime::now();
        if !lease.valid() {
            break;
        }
        held.to = now;
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_two_nodes_never_both_hold_a_lane() {
    let mut servers = Servers::start(3).await;
    let history = History::default();
    let (mut wires, mut workers) = (Vec::new(), Vec::new());
    for id in ["a", "b", "c"] {
        // Each on a wire of its own to every member.
        let mut own = Vec::new();
        for number in 0..3 {
            own.push(Wire::to(servers.address(number)).await);
        }
        let settings = ClusterSettings::new(own.iter().map(Wire::endpoint).collect());
        let coordinator = join(&settings, id);
        for lane in (0..3).map(LaneId) {
            let (coordinator, history) = (coordinator.clone(), history.clone());
            workers.push(tokio::spawn(async move {
                let mut turn = 0_u32;
                loop {
                    let Ok(lease) = coordinator.take(lane, Duration::from_secs(4)).await else { continue };
                    turn += 1;
                    let steps = if turn.is_multiple_of(6) { 400 } else { 20 };
                    history.note(work(&lease, id, steps).await);
                    if turn.is_multiple_of(2) {
                        lease.release().await.ok();
                    } else {
                        drop(lease);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }));
        }
        wires.push(own);
    }
    let between = Duration::from_millis(700);
    for turn in 0..4 {
        let own = &wires[turn % 3];
        own.iter().for_each(Wire::cut);
        tokio::time::sleep(between * 4).await;
        own.iter().for_each(Wire::heal);
        let leader = servers.leader().await;
        if turn % 2 == 0 {
            servers.freeze(leader);
            tokio::time::sleep(between * 2).await;
            servers.thaw(leader);
        } else {
            servers.kill(leader);
            tokio::time::sleep(between).await;
            servers.restart(leader);
        }
        tokio::time::sleep(between).await;
        servers.answer().await;
    }
    workers.iter().for_each(|worker| worker.abort());
    let all = history.all();
    let nodes: std::collections::BTreeSet<_> = all.iter().map(|held| held.node.clone()).collect();
    println!("{} times on {} nodes", all.len(), nodes.len());
    assert!(all.len() > 30 && nodes.len() == 3, "{} {nodes:?}", all.len());
    assert_eq!(judge(&all), [""; 0]);
    // The same history with one time made longer is found to be wrong.
    let mut false_history = all;
    let first = false_history.iter().position(|held| held.lane == LaneId(0)).unwrap();
    false_history[first].to = BootTime::now();
    assert!(!judge(&false_history).is_empty());
}
