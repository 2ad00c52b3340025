//! Carries on what an applied operation causes elsewhere: operations to other lanes, pushes outward.
//!
//! Both are at least once: a death between handing over and noting it hands over again, and the receiver knows the id.
use std::{collections::HashMap, time::Duration};

use protocol::{
    PushId, ShardId,
    push::{Push, PushAck, PushBody, StaffRevocation},
    wire,
};
use runtime::{
    mux::{CallError, Peer},
    shutdown::Shutdown,
};
use storage::StorageError;
use tokio::sync::watch;

use crate::node::Node;

/// How many are carried at once.
const MOST: usize = 256;
/// How often is looked without being woken: after failures, and for what a predecessor left.
const TICK: Duration = Duration::from_secs(1);
/// The same in a cluster, where other nodes apply lanes of the same shard.
const CLUSTER_TICK: Duration = Duration::from_millis(100);
/// The longest pause before a gate is told again who is revoked.
const REVOKED_AGAIN: Duration = Duration::from_secs(30);
/// How long an edge may take to write a push to its disk.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);

fn look_again(node: &Node) -> Duration {
    if node.store().has_slaves() { CLUSTER_TICK } else { TICK }
}

/// Moves every shard's outbox into the lanes it is for, until shutdown.
pub(crate) async fn outboxes(node: Node, shutdown: Shutdown) {
    while !shutdown.is_begun() {
        let mut moved = 0;
        for shard in node.worked_on() {
            match outbox(&node, shard).await {
                Ok(n) => moved += n,
                Err(error) => tracing::error!(shard = shard.0, %error, "outbox not carried on; trying again"),
            }
        }
        if moved == 0 {
            tokio::select! {
                () = node.parts.outbox.notified() => {}
                () = tokio::time::sleep(look_again(&node)) => {}
                () = shutdown.begun() => {}
            }
        }
    }
}

async fn outbox(node: &Node, shard: ShardId) -> Result<usize, StorageError> {
    let parts = &node.parts;
    let rows = parts.store.outbox(shard, MOST).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut lanes: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        lanes.entry(parts.store.map().lane(row.bucket)).or_default().push(row.message);
    }
    for (lane, messages) in lanes {
        parts.queue.append(lane, messages).await?;
    }
    if !ids.is_empty() {
        parts.store.outbox_sent(shard, ids.clone()).await?;
    }
    Ok(ids.len())
}

/// Hands every shard's pushes to an edge, until shutdown.
pub(crate) async fn pushes(node: Node, shutdown: Shutdown) {
    while !shutdown.is_begun() {
        let mut handed = 0;
        for shard in node.worked_on() {
            match hand_over(&node, shard).await {
                Ok(n) => handed += n,
                Err(error) => {
                    tracing::error!(shard = shard.0, %error, "pushes not handed over; trying again")
                }
            }
        }
        if handed == 0 {
            tokio::select! {
                () = node.parts.pushes.notified() => {}
                () = tokio::time::sleep(look_again(&node)) => {}
                () = shutdown.begun() => {}
            }
        }
    }
}

async fn hand_over(node: &Node, shard: ShardId) -> Result<usize, StorageError> {
    let waiting = node.parts.store.waiting_pushes(shard, MOST).await?;
    let sent = futures_util::future::join_all(waiting.iter().map(|push| send(node, push))).await;
    let taken: Vec<PushId> = sent.into_iter().flatten().collect();
    if !taken.is_empty() {
        node.parts.store.push_handed_over(shard, taken.clone()).await?;
    }
    Ok(taken.len())
}

/// Sends a push through the least busy gate; `Some` once an edge has it on its disk.
async fn send(node: &Node, push: &Push) -> Option<PushId> {
    let bytes = wire::encode(push);
    for gate in node.parts.gates.by_load() {
        match gate.push(bytes.clone(), PUSH_TIMEOUT).await {
            Ok(answer) => match wire::decode::<PushAck>(&answer) {
                Ok(ack) if ack.id == push.id => return Some(push.id),
                _ => tracing::warn!(push = %push.id, "an edge acknowledged something else"),
            },
            Err(error) => tracing::debug!(push = %push.id, %error, "push not taken; trying again"),
        }
    }
    None
}

/// Tells a gate that has just connected what every edge must know: first whose staff tokens are not good, then by which keys
/// tokens are believed; afterwards whatever is revoked, until its stream ends.
pub(crate) async fn settings(node: &Node, gate: &Peer) {
    let mut revoked = node.parts.staff_revoked.watch();
    let mut taken = tell_revoked(&mut revoked, gate).await;
    // A gate that has no time for it now has none for the keys.
    while taken == Err(CallError::Busy) && !gate.is_closed() {
        tokio::time::sleep(TICK).await;
        taken = tell_revoked(&mut revoked, gate).await;
    }
    let taken = taken == Ok(true);
    tokio::spawn(follow_revoked(revoked, gate.clone(), taken));
    let id = PushId::mint(protocol::Bucket::FIRST, 0);
    let push = Push { id, body: PushBody::Settings(node.parts.keys.edge_settings()) };
    if let Err(error) = gate.push(wire::encode(&push), PUSH_TIMEOUT).await {
        tracing::warn!(%error, "a gate did not take the edges' settings");
    }
}

async fn follow_revoked(mut revoked: watch::Receiver<Vec<StaffRevocation>>, gate: Peer, mut taken: bool) {
    let mut pause = TICK;
    while !gate.is_closed() {
        tokio::select! {
            changed = revoked.changed() => if changed.is_err() { return },
            // A gate of the version before never takes it: it is asked ever more rarely.
            () = tokio::time::sleep(pause), if !taken => pause = (pause * 2).min(REVOKED_AGAIN),
            () = gate.closed() => return,
        }
        taken = tell_revoked(&mut revoked, &gate).await == Ok(true);
        if taken {
            pause = TICK;
        }
    }
}

/// Tells a gate who is revoked; whether it took it. Where nobody is there is nothing to tell.
async fn tell_revoked(
    revoked: &mut watch::Receiver<Vec<StaffRevocation>>,
    gate: &Peer,
) -> Result<bool, CallError> {
    let list = revoked.borrow_and_update().clone();
    if list.is_empty() {
        return Ok(true);
    }
    let id = PushId::mint(protocol::Bucket::FIRST, 1);
    let push = Push { id, body: PushBody::StaffRevoked(list) };
    match gate.push(wire::encode(&push), PUSH_TIMEOUT).await {
        Ok(answer) => Ok(wire::decode::<PushAck>(&answer).is_ok_and(|ack| ack.id == id)),
        Err(error) => {
            tracing::warn!(%error, "a gate did not take who is revoked; told again");
            Err(error)
        }
    }
}
