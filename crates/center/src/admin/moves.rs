//! Where lanes live, and orders to move them to other shards.
use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
};
use cluster::orders::{Order, OrderError};
use protocol::{Bucket, Code, LaneId, Problem, ShardId, ids::BUCKETS};
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::node::{Node, unavailable};

/// Where all lanes live.
#[derive(Serialize)]
pub(super) struct Lanes {
    /// All moves so far.
    moves: u64,
    shards: u16,
    lanes: Vec<Lane>,
}

/// One lane.
#[derive(Serialize)]
struct Lane {
    lane: LaneId,
    /// Its first and last bucket.
    buckets: (u16, u16),
    shard: ShardId,
    /// The order to move it, or how the last one ended.
    order: Option<Order>,
}

/// `GET /admin/lanes/moves`
pub(super) async fn list(State(node): State<Node>) -> Result<Json<Lanes>, Refused> {
    let orders = node.parts.coordinator.orders().borrow().clone();
    let mut lanes = Vec::new();
    for (lane, buckets) in buckets(&node) {
        let shard = node.store().shard_of(lane).map_err(unavailable)?;
        lanes.push(Lane { lane, buckets, shard, order: orders.get(&lane).cloned() });
    }
    Ok(Json(Lanes { moves: node.store().moves(), shards: node.store().map().shards(), lanes }))
}

/// Buckets that are to live in a shard.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveAsk {
    /// The first and the last of them.
    buckets: (u16, u16),
    to: ShardId,
}

/// What was ordered.
#[derive(Serialize)]
pub(super) struct Ordered {
    lanes: Vec<LaneId>,
}

/// `POST /admin/lanes/moves`: orders the lanes of some buckets to be moved. Those that live there already are left alone.
pub(super) async fn order(
    State(node): State<Node>,
    Json(ask): Json<MoveAsk>,
) -> Result<Json<Ordered>, Refused> {
    let shards = node.store().map().shards();
    if ask.to.0 >= shards {
        let why = format!("There is no shard {}: they are numbered 0 to {}.", ask.to, shards - 1);
        return Err(Problem::new(Code::InvalidRequest, why).into());
    }
    let mut ordered = Vec::new();
    for lane in whole_lanes(&buckets(&node), ask.buckets)? {
        if node.store().shard_of(lane).map_err(unavailable)? == ask.to {
            continue;
        }
        node.parts.coordinator.order(lane, ask.to).await.map_err(refused)?;
        ordered.push(lane);
    }
    Ok(Json(Ordered { lanes: ordered }))
}

/// `DELETE /admin/lanes/{lane}/move`: takes an order back.
pub(super) async fn cancel(
    State(node): State<Node>,
    Path(lane): Path<u16>,
) -> Result<Json<Ordered>, Refused> {
    let lane = LaneId(lane);
    node.parts.coordinator.cancel_order(lane).await.map_err(refused)?;
    Ok(Json(Ordered { lanes: vec![lane] }))
}

/// Each lane's first and last bucket.
fn buckets(node: &Node) -> BTreeMap<LaneId, (u16, u16)> {
    let mut lanes: BTreeMap<LaneId, (u16, u16)> = BTreeMap::new();
    for bucket in (0..BUCKETS).filter_map(|n| Bucket::try_from(n).ok()) {
        let n = bucket.number();
        lanes.entry(node.store().map().lane(bucket)).and_modify(|(_, last)| *last = n).or_insert((n, n));
    }
    lanes
}

/// The lanes that some buckets are all of: a lane moves as a whole, with its order and its positions.
fn whole_lanes(
    lanes: &BTreeMap<LaneId, (u16, u16)>,
    (first, last): (u16, u16),
) -> Result<Vec<LaneId>, Problem> {
    let touched = |&(from, to): &(u16, u16)| from <= last && to >= first;
    let some: Vec<_> = lanes.iter().filter(|(_, buckets)| touched(buckets)).collect();
    let whole = match (some.first(), some.last()) {
        (Some((_, (from, _))), Some((_, (_, to)))) => (*from, *to),
        _ => (0, BUCKETS - 1),
    };
    if whole == (first, last) {
        return Ok(some.into_iter().map(|(lane, _)| *lane).collect());
    }
    let why = format!(
        "Buckets {first} to {last} are not whole lanes, which move together: the nearest are {} to {}.",
        whole.0, whole.1
    );
    Err(Problem::new(Code::InvalidRequest, why))
}

fn refused(error: OrderError) -> Problem {
    match error {
        OrderError::Alone => Problem::new(Code::InvalidRequest, format!("{error}.")),
        OrderError::UnderWay(_) => Problem::new(Code::Conflict, format!("{error}.")),
        OrderError::Etcd(_) => Problem::new(Code::Unavailable, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_move_whole() {
        let lanes = BTreeMap::from([(LaneId(0), (0, 63)), (LaneId(1), (64, 127)), (LaneId(2), (128, 4095))]);
        assert_eq!(whole_lanes(&lanes, (64, 127)).unwrap(), [LaneId(1)]);
        assert_eq!(whole_lanes(&lanes, (0, 127)).unwrap(), [LaneId(0), LaneId(1)]);
        for (asked, nearest) in [((0, 62), "0 to 63"), ((60, 70), "0 to 127"), ((5, 5000), "0 to 4095")] {
            let problem = whole_lanes(&lanes, asked).unwrap_err();
            assert!(problem.detail.contains(nearest), "{}", problem.detail);
        }
        assert!(whole_lanes(&lanes, (9, 3)).is_err());
    }
}
