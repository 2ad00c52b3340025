//! Orders to move lanes to other shards: put into etcd by any node, carried out by whoever works on the lane, who says there
//! how far it is.
//!
//! An order outlives its node: who takes the lane next begins it anew. Nothing depends on it but the move itself; where lanes
//! live, the shards know.
use std::{collections::BTreeMap, sync::Arc};

use protocol::{LaneId, ShardId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    etcd::{Compare, Etcd, EtcdError, Event, KeyValue, Seen, Span, Txn, Watcher},
    keys::Keys,
};

/// A lane that is to live in another shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// In which.
    pub to: ShardId,
    /// How far it is.
    pub state: OrderState,
    /// Rows copied so far.
    pub rows: u64,
    /// How long the lane stood still, in µs.
    pub pause_us: u64,
    /// Why it failed, or what is waited for.
    pub why: String,
    /// Which of the orders for this lane it is: the revision at which it was given.
    #[serde(skip)]
    pub given_at: u64,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Nobody has begun.
    Asked,
    /// Rows are copied.
    Copying,
    /// What was written meanwhile is applied to the copy.
    CatchingUp,
    /// The copy is compared.
    Comparing,
    /// The lane lives there.
    Moved,
    /// It lives where it did.
    Failed,
}

impl OrderState {
    /// Whether nothing more comes of it.
    pub fn is_ended(self) -> bool {
        matches!(self, OrderState::Moved | OrderState::Failed)
    }
}

/// Why an order was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// On one machine all lanes are in one place.
    #[error("lanes move in the cluster profile only")]
    Alone,
    /// One is under way.
    #[error("lane {0} is being moved already")]
    UnderWay(LaneId),
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

/// All orders, as they are known here.
pub(crate) type Orders = Arc<BTreeMap<LaneId, Order>>;

impl Order {
    /// One that nobody has begun.
    pub fn new(to: ShardId) -> Self {
        Order { to, state: OrderState::Asked, rows: 0, pause_us: 0, why: String::new(), given_at: 0 }
    }

    fn encode(&self) -> Result<Vec<u8>, EtcdError> {
        serde_json::to_vec(self).map_err(|error| EtcdError::Form(error.to_string()))
    }

    fn decode(kv: &KeyValue) -> Option<Self> {
        match serde_json::from_slice::<Order>(&kv.value) {
            Ok(order) => Some(Order { given_at: kv.create_revision, ..order }),
            Err(error) => {
                tracing::error!(%error, key = kv.key, "an order that cannot be read is left out");
                None
            }
        }
    }
}

/// Gives an order, unless another for the lane is under way; answers at which revision.
pub(crate) async fn give(etcd: &Etcd, keys: &Keys, lane: LaneId, to: ShardId) -> Result<u64, OrderError> {
    let key = keys.order(lane);
    let (at, known) = match etcd.get(&key).await? {
        Some(kv) => (kv.mod_revision, Order::decode(&kv)),
        None => (0, None),
    };
    if known.is_some_and(|order| !order.state.is_ended()) {
        return Err(OrderError::UnderWay(lane));
    }
    if at > 0 {
        etcd.txn(&Txn::new().when(Compare::modified_at(&key, at)).delete(&key)).await?;
    }
    let put = Txn::new().when(Compare::absent(&key)).put(&key, &Order::new(to).encode()?, None);
    let given = etcd.txn(&put).await?;
    if given.succeeded { Ok(given.revision) } else { Err(OrderError::UnderWay(lane)) }
}

/// Takes an order back; one that is ended, too.
pub(crate) async fn cancel(etcd: &Etcd, keys: &Keys, lane: LaneId) -> Result<(), OrderError> {
    let key = keys.order(lane);
    etcd.txn(&Txn::new().delete(&key)).await?;
    Ok(())
}

/// Says how far an order is, if it is still there and whoever says so still works on the lane, by the key of its owner.
pub(crate) async fn report(
    etcd: &Etcd,
    keys: &Keys,
    (lane, epoch): (LaneId, u64),
    order: &Order,
) -> Result<bool, EtcdError> {
    let key = keys.order(lane);
    let put = Txn::new()
        .when(Compare::created_at(&keys.lane_owner(lane), epoch))
        .when(Compare::created_at(&key, order.given_at))
        .put(&key, &order.encode()?, None);
    Ok(etcd.txn(&put).await?.succeeded)
}

/// Follows all orders until it is aborted.
pub(crate) async fn follow(etcd: Etcd, keys: Keys, orders: watch::Sender<Orders>) {
    let mut watcher = Watcher::new(etcd, Span::Prefix(keys.orders()));
    loop {
        let seen = match watcher.next().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, "orders are not seen at the moment");
                continue;
            }
        };
        let mut all = match &seen {
            Seen::All { .. } => BTreeMap::new(),
            Seen::Changes(_) => BTreeMap::clone(&orders.borrow()),
        };
        let read = |kv: &KeyValue| keys.ordered(&kv.key).zip(Order::decode(kv));
        match &seen {
            Seen::All { keys: found, .. } => all.extend(found.iter().filter_map(read)),
            Seen::Changes(events) => {
                for event in events {
                    match event {
                        Event::Put(kv) => all.extend(read(kv)),
                        Event::Delete { key, .. } => {
                            keys.ordered(key).map(|lane| all.remove(&lane));
                        }
                    }
                }
            }
        }
        orders.send_replace(Arc::new(all));
    }
}
