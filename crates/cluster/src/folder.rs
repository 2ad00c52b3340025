//! The embedded profile: one node, which has every lane for as long as it has the folder's lock.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use protocol::{
    LaneId,
    routing::{NodeEntry, RoutingTable},
};
use runtime::lock::FolderLock;
use tokio::sync::watch;

use crate::{
    claim::ClaimError,
    coordinator::{Membership, TakeError},
    lane::LaneLease,
    orders::Orders,
};

/// See the module.
#[derive(Debug)]
pub struct Folder {
    _lock: Arc<FolderLock>,
    me: NodeEntry,
    epochs: BTreeMap<LaneId, u64>,
    table: watch::Sender<Arc<RoutingTable>>,
    membership: watch::Sender<Membership>,
    /// None, ever.
    orders: watch::Sender<Orders>,
    taken: watch::Sender<BTreeSet<LaneId>>,
}

impl Folder {
    pub(crate) fn new(
        lock: Arc<FolderLock>,
        me: NodeEntry,
        epochs: BTreeMap<LaneId, u64>,
        table: RoutingTable,
    ) -> Arc<Self> {
        Arc::new(Folder {
            _lock: lock,
            me,
            epochs,
            table: watch::Sender::new(Arc::new(table)),
            membership: watch::Sender::new(Membership::Joined),
            orders: watch::Sender::default(),
            taken: watch::Sender::default(),
        })
    }

    pub(crate) fn me(&self) -> &NodeEntry {
        &self.me
    }

    pub(crate) fn routing(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.table.subscribe()
    }

    pub(crate) fn membership(&self) -> watch::Receiver<Membership> {
        self.membership.subscribe()
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    pub(crate) async fn take(
        self: &Arc<Self>,
        lane: LaneId,
        within: Duration,
    ) -> Result<LaneLease, TakeError> {
        let epoch = *self.epochs.get(&lane).ok_or(TakeError::NoLane(lane))?;
        let mut taken = self.taken.subscribe();
        let waiting = async {
            loop {
                if self.has_left() {
                    return Err(TakeError::Left);
                }
                if self.taken.send_if_modified(|taken| taken.insert(lane)) {
                    return Ok(LaneLease::in_folder(lane, epoch, Arc::clone(self)));
                }
                // The sender is in `self`.
                let _ = taken.wait_for(|taken| !taken.contains(&lane)).await;
            }
        };
        let held = || ClaimError::Held("another task of this process".to_owned()).into();
        tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| Err(held()))
    }

    pub(crate) fn release(&self, lane: LaneId) {
        self.taken.send_if_modified(|taken| taken.remove(&lane));
    }

    pub(crate) fn has_left(&self) -> bool {
        *self.membership.borrow() == Membership::Left
    }

    pub(crate) fn leave(&self) {
        self.membership.send_replace(Membership::Left);
    }
}
