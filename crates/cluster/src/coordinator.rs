//! What a node asks of the cluster, the same on both profiles.
//!
//! A node **joins**, follows the **routing table**, **takes** the lanes that the table gives it, works on each under its
//! **epoch** for as long as the lane's lease is valid, **releases** those that the table gives to another, and **leaves**. On the
//! embedded profile there is one node, which has all lanes for as long as it has the folder's lock.
//!
//! How a node works with it:
//!
//! ```text
//! coordinator = Coordinator::etcd(settings, me, table_file)     // or Coordinator::folder(lock, me, epochs)
//! coordinator.join()                                             // once it can work
//! whenever coordinator.routing() changes:
//!     for each lane that is worked on and is not in my_lanes():  stop its applier, then lease.release()
//!     for each lane of my_lanes() that is not worked on:         lease = take(lane, within), in a task of its own;
//!                                                                it waits until the former holder has released it
//! the applier of a lane:   writes under lease.epoch(); before each batch asks lease.valid(); ends at lease.lost()
//! at the end:              stop all appliers, then coordinator.leave()
//! ```
//!
//! Reads need no lane, but a node answers only for as long as [`Coordinator::stay`] says the same: others do not count one that
//! has not joined.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use protocol::{
    LaneId, ShardId,
    routing::{NodeEntry, RoutingTable, TableError},
};
use runtime::lock::FolderLock;
use tokio::sync::watch;

use crate::{
    assign::assign,
    claim::ClaimError,
    etcd::EtcdError,
    folder::Folder,
    lane::LaneLease,
    node::EtcdNode,
    orders::{Order, OrderError},
    settings::ClusterSettings,
};

/// The node's part in the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Coordinator {
    /// Alone on this machine, by the folder's lock.
    Folder(Arc<Folder>),
    /// One of many, by leases in etcd.
    Etcd(Arc<EtcdNode>),
}

/// Whether the node is one of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Not yet, or not any more: why, for operators. It goes on trying.
    Joining(String),
    /// It is.
    Joined,
    /// It has left for good.
    Left,
}

/// Why a lane was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// There is no such lane here.
    #[error("there is no lane {0}")]
    NoLane(LaneId),
    /// The node is not one of the cluster, and was not in time.
    #[error("the node has not joined: {0}")]
    NotJoined(String),
    /// The node has left.
    #[error("the node has left the cluster")]
    Left,
    /// It could not be had in time: another holds it, or etcd is away.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl Coordinator {
    /// The one node of the embedded profile. It works on every lane of `epochs`, under the epoch that the store gave it; the
    /// folder stays locked for at least as long as the coordinator and what was taken by it are there.
    ///
    /// # Errors
    /// [`TableError`]: more lanes than there may be.
    pub fn folder(
        lock: Arc<FolderLock>,
        me: NodeEntry,
        epochs: BTreeMap<LaneId, u64>,
    ) -> Result<Self, TableError> {
        let lanes: Vec<LaneId> = epochs.keys().copied().collect();
        let now_ms = runtime::clock::Clock::system().unix_ms();
        let table = assign(&RoutingTable::default(), std::slice::from_ref(&me), &lanes, now_ms)?;
        Ok(Coordinator::Folder(Folder::new(lock, me, epochs, table)))
    }

    /// One node of many, which joins once [`Coordinator::join`] is called; until etcd answers it has the routing table of
    /// `table_file`, for reading. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`EtcdError::Settings`]. That etcd is away is no error.
    pub fn etcd(
        settings: &ClusterSettings,
        me: NodeEntry,
        table_file: Option<PathBuf>,
    ) -> Result<Self, EtcdError> {
        Ok(Coordinator::Etcd(EtcdNode::start(settings, me, table_file)?))
    }

    /// Joins in the background, and joins anew whenever the lease is lost. Others count on the node from then on, so it is
    /// ready to work. Alone, it has joined.
    pub fn join(&self) {
        if let Coordinator::Etcd(node) = self {
            node.join();
        }
    }

    /// The node itself.
    pub fn me(&self) -> &NodeEntry {
        match self {
            Coordinator::Folder(folder) => folder.me(),
            Coordinator::Etcd(node) => node.me(),
        }
    }

    /// The routing table as it is known here, and every later one.
    pub fn routing(&self) -> watch::Receiver<Arc<RoutingTable>> {
        match self {
            Coordinator::Folder(folder) => folder.routing(),
            Coordinator::Etcd(node) => node.routing(),
        }
    }

    /// The lanes that the table gives this node now. They may be worked on once they are taken.
    pub fn my_lanes(&self) -> BTreeSet<LaneId> {
        self.routing().borrow().lanes_of(&self.me().id)
    }

    /// Whether the node is one of the cluster, and every change of that.
    pub fn membership(&self) -> watch::Receiver<Membership> {
        match self {
            Coordinator::Folder(folder) => folder.membership(),
            Coordinator::Etcd(node) => node.membership(),
        }
    }

    /// What the node is in the cluster under: a number that stays the same for as long as it has been in it without a break,
    /// and that no other stay has; `None` where it is not, by its own clock, at this very moment.
    pub fn stay(&self) -> Option<u64> {
        match self {
            Coordinator::Folder(folder) => (!folder.has_left()).then_some(0),
            Coordinator::Etcd(node) => node.stay(),
        }
    }

    /// Takes a lane; waits while another has it, `within` at most. May be dropped while it waits: what was taken nevertheless
    /// is released.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn take(&self, lane: LaneId, within: Duration) -> Result<LaneLease, TakeError> {
        match self {
            Coordinator::Folder(folder) => folder.take(lane, within).await,
            Coordinator::Etcd(node) => Arc::clone(node).take(lane, within).await,
        }
    }

    /// The orders to move lanes to other shards, as they are known here, and every change.
    pub fn orders(&self) -> watch::Receiver<Arc<BTreeMap<LaneId, Order>>> {
        match self {
            Coordinator::Folder(folder) => folder.orders(),
            Coordinator::Etcd(node) => node.orders(),
        }
    }

    /// Orders a lane to be moved to another shard, by whoever works on it.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn order(&self, lane: LaneId, to: ShardId) -> Result<(), OrderError> {
        match self {
            Coordinator::Folder(_) => Err(OrderError::Alone),
            Coordinator::Etcd(node) => node.order(lane, to).await,
        }
    }

    /// Takes an order back. What has moved already stays where it is.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn cancel_order(&self, lane: LaneId) -> Result<(), OrderError> {
        match self {
            Coordinator::Folder(_) => Err(OrderError::Alone),
            Coordinator::Etcd(node) => node.cancel_order(lane).await,
        }
    }

    /// Says how far an order is, for the holder of its lane. Whether it was said: not where the order was taken back, nor
    /// where another has the lane.
    ///
    /// # Errors
    /// What etcd says, or that it says nothing.
    pub async fn report(&self, lease: &LaneLease, order: &Order) -> Result<bool, EtcdError> {
        match self {
            Coordinator::Folder(_) => Ok(false),
            Coordinator::Etcd(node) => node.report(lease.lane(), lease.epoch(), order).await,
        }
    }

    /// Leaves for good: what was taken is lost to this node and free for others at once. Whoever worked on a lane has stopped
    /// before this is called.
    ///
    /// # Errors
    /// Where etcd does not answer: the node is gone for the others when its lease ends.
    pub async fn leave(&self) -> Result<(), EtcdError> {
        match self {
            Coordinator::Folder(folder) => {
                folder.leave();
                Ok(())
            }
            Coordinator::Etcd(node) => node.leave().await,
        }
    }
}
