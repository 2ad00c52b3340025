//! Which lanes this node works on: takes those that the routing table gives to it, each under its lease, and gives back
//! those that the table gives to another.
//!
//! A node that is alone has all of them, always. In a cluster a lane waits for its former holder to give it back, or for
//! that one's lease to end; whoever is slow to notice that it has lost a lane can write no more, since the next one has
//! claimed it in the database under a greater epoch.
use std::{collections::HashMap, time::Duration};

use cluster::{Membership, TakeError};
use protocol::LaneId;
use runtime::{
    health::{Readiness, ReadyPart},
    shutdown::Shutdown,
};
use storage::StorageError;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{applier, mover, node::Node};

/// How long one attempt to take a lane waits for whoever has it.
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait before trying again while the database is away.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// A lane that is worked on, or waited for.
struct Work {
    stop: CancellationToken,
    task: JoinHandle<()>,
    ready: ReadyPart,
}

/// Works on the lanes that are this node's until shutdown, then leaves the cluster.
pub(crate) async fn run(node: Node, readiness: Readiness, shutdown: Shutdown) {
    let coordinator = node.parts.coordinator.clone();
    shutdown.spawn(say_membership(node.clone(), readiness.part("cluster"), shutdown.clone()));
    coordinator.join();
    let mut routing = coordinator.routing();
    let mut work: HashMap<LaneId, Work> = HashMap::new();
    while !shutdown.is_begun() {
        routing.mark_unchanged();
        let known = |lane: &LaneId| node.store().map().shard_of_lane(*lane).is_some();
        let mine: Vec<LaneId> = coordinator.my_lanes().into_iter().filter(known).collect();
        let others: Vec<_> = work.extract_if(|lane, _| !mine.contains(lane)).map(|(_, work)| work).collect();
        others.iter().for_each(|work| work.stop.cancel());
        for work in others {
            // A lane that comes back at once waits for its own end.
            work.task.await.ok();
            work.ready.ready();
        }
        for lane in mine {
            work.entry(lane).or_insert_with(|| begin(&node, lane, &readiness, &shutdown));
        }
        tokio::select! {
            changed = routing.changed() => if changed.is_err() { break },
            () = shutdown.begun() => {}
        }
    }
    futures_util::future::join_all(work.into_values().map(|work| work.task)).await;
    if let Err(error) = coordinator.leave().await {
        tracing::warn!(%error, "the cluster was not told that this node leaves: its leases end by themselves");
    }
}

fn begin(node: &Node, lane: LaneId, readiness: &Readiness, shutdown: &Shutdown) -> Work {
    let (ready, stop) = (readiness.part(&format!("lane {lane}")), shutdown.token().child_token());
    let task = shutdown.spawn(hold(node.clone(), lane, ready.clone(), stop.clone(), shutdown.clone()));
    Work { stop, task, ready }
}

/// Works on a lane until it is stopped, whenever its lease can be had.
async fn hold(node: Node, lane: LaneId, ready: ReadyPart, stop: CancellationToken, shutdown: Shutdown) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        ready.not_ready("it is not taken yet");
        let taken = tokio::select! {
            taken = node.parts.coordinator.take(lane, TAKE_WITHIN) => taken,
            () = stop.cancelled() => return,
        };
        let lease = match taken {
            Ok(lease) => lease,
            Err(TakeError::Left | TakeError::NoLane(_)) => return,
            Err(error) => {
                tracing::warn!(lane = lane.0, %error, "a lane is not to be had yet; trying again");
                ready.not_ready(&error.to_string());
                pause(0, &stop).await;
                continue;
            }
        };
        ready.not_ready("what waits in it is not applied yet");
        while !stop.is_cancelled() && lease.valid() {
            let turn = Mutex::new(());
            let ended = tokio::select! {
                ended = applier::apply(&node, &lease, &turn, &ready, &mut failures) => ended,
                never = mover::run(&node, &lease, &turn) => match never {},
                () = lease.lost() => break,
                () = stop.cancelled() => break,
            };
            let Err(error) = ended;
            match error {
                StorageError::Replaced { .. } if node.store().has_slaves() => {
                    tracing::warn!(lane = lane.0, %error, "another node has taken the lane");
                    break;
                }
                // Alone, nobody else may be there: a node that cannot apply must not accept.
                error @ (StorageError::Replaced { .. } | StorageError::Closed) => {
                    ready.not_ready("its applier has stopped");
                    tracing::error!(lane = lane.0, %error, "applier stopped; the node stops with it");
                    shutdown.begin();
                    return;
                }
                // The lane waits, no operation is given up.
                error => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(lane = lane.0, %error, source, failures, "batch not applied; the lane waits");
                    ready.not_ready(&error.to_string());
                    pause(failures, &stop).await;
                    failures += 1;
                }
            }
        }
        if let Err(error) = lease.release().await {
            tracing::debug!(lane = lane.0, %error, "a lane is given back when its lease ends");
        }
    }
}

async fn pause(failures: usize, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(PAUSES[failures.min(PAUSES.len() - 1)]) => {}
        () = stop.cancelled() => {}
    }
}

/// Ready where the node is one of the cluster, and the routing table has the lanes that there are.
async fn say_membership(node: Node, part: ReadyPart, shutdown: Shutdown) {
    let coordinator = &node.parts.coordinator;
    let (mut membership, mut routing) = (coordinator.membership(), coordinator.routing());
    loop {
        let table = std::sync::Arc::clone(&routing.borrow_and_update());
        let map = node.store().map();
        match &*membership.borrow_and_update() {
            Membership::Joining(why) => part.not_ready(&format!("joining: {why}")),
            Membership::Left => part.not_ready("it has left"),
            Membership::Joined if table.lanes().is_empty() => {
                part.not_ready("there is no routing table yet: does the management platform run?");
            }
            Membership::Joined if !table.lanes().keys().copied().eq(map.lanes()) => part.not_ready(&format!(
                "the routing table has {} lanes where there are {}: set `lanes` of the management platform",
                table.lanes().len(),
                map.lanes().count()
            )),
            Membership::Joined => part.ready(),
        }
        tokio::select! {
            changed = membership.changed() => if changed.is_err() { return },
            changed = routing.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
    }
}
