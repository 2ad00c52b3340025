//! A node of the cluster profile: registered under its lease, which everything that it holds hangs on.
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use protocol::{
    LaneId, ShardId,
    routing::{NodeEntry, RoutingTable},
};
use serde_json::json;
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    claim::{Claim, ClaimError, GivenUp},
    coordinator::{Membership, TakeError},
    etcd::{Etcd, EtcdError},
    follow::TableFollower,
    keys::Keys,
    lane::{LaneLease, Owned},
    lease::{HeldLease, LeaseTerms},
    orders::{self, Order, OrderError, Orders},
    owners::{Owners, watch_owners},
    settings::ClusterSettings,
};

/// The pause before joining is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a node waits for its own name: longer than a lease of its former life lasts.
const NAME_WAIT: Duration = Duration::from_secs(10);
/// The longest anybody waits for a lane.
const TAKE_MAX: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub struct EtcdNode {
    etcd: Etcd,
    keys: Keys,
    terms: LeaseTerms,
    me: NodeEntry,
    follower: TableFollower,
    owners: Arc<Owners>,
    orders: watch::Sender<Orders>,
    /// The lease while the node is joined. Changed only together with `membership`.
    lease: Mutex<Option<HeldLease>>,
    membership: watch::Sender<Membership>,
    has_begun: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for EtcdNode {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}

impl EtcdNode {
    pub(crate) fn start(
        settings: &ClusterSettings,
        me: NodeEntry,
        table_file: Option<PathBuf>,
    ) -> Result<Arc<Self>, EtcdError> {
        let (etcd, keys) = settings.client()?;
        let follower = TableFollower::start(etcd.clone(), keys.table(), table_file);
        let node = Arc::new(EtcdNode {
            etcd,
            keys,
            terms: settings.lease,
            me,
            follower,
            owners: Arc::default(),
            orders: watch::Sender::default(),
            lease: Mutex::new(None),
            membership: watch::Sender::new(Membership::Joining("starting".to_owned())),
            has_begun: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let owners = watch_owners(node.etcd.clone(), node.keys.clone(), Arc::clone(&node.owners));
        let watching = tokio::spawn(owners).abort_handle();
        let orders = orders::follow(node.etcd.clone(), node.keys.clone(), node.orders.clone());
        let following = tokio::spawn(orders).abort_handle();
        node.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend([watching, following]);
        Ok(node)
    }

    pub(crate) fn join(self: &Arc<Self>) {
        if self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        // The task must not keep alive what ends it.
        let joining = tokio::spawn(join(Arc::downgrade(self))).abort_handle();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(joining);
    }

    pub(crate) fn me(&self) -> &NodeEntry {
        &self.me
    }

    pub(crate) fn routing(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.follower.table()
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    pub(crate) async fn order(&self, lane: LaneId, to: ShardId) -> Result<(), OrderError> {
        let given_at = orders::give(&self.etcd, &self.keys, lane, to).await?;
        // Whoever asks next is told of it, and not of one before.
        let mut known = self.orders.subscribe();
        let is_known = known.wait_for(|all| all.get(&lane).is_some_and(|order| order.given_at >= given_at));
        tokio::time::timeout(NAME_WAIT, is_known).await.ok();
        Ok(())
    }

    pub(crate) async fn cancel_order(&self, lane: LaneId) -> Result<(), OrderError> {
        orders::cancel(&self.etcd, &self.keys, lane).await
    }

    pub(crate) async fn report(&self, lane: LaneId, epoch: u64, order: &Order) -> Result<bool, EtcdError> {
        orders::report(&self.etcd, &self.keys, (lane, epoch), order).await
    }

    pub(crate) fn membership(&self) -> watch::Receiver<Membership> {
        self.membership.subscribe()
    }

    pub(crate) fn stay(&self) -> Option<u64> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().filter(|lease| lease.valid()).map(stay)
    }

    /// Waits in a task of its own, so that a caller who goes away leaves no transaction alone.
    pub(crate) async fn take(
        self: Arc<Self>,
        lane: LaneId,
        within: Duration,
    ) -> Result<LaneLease, TakeError> {
        let until = Instant::now() + within.min(TAKE_MAX);
        let (mut sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let taken = self.take_until(lane, until, std::pin::pin!(sender.closed())).await;
            // Not wanted any more: dropped, and so released.
            drop(sender.send(taken));
        });
        receiver.await.unwrap_or(Err(TakeError::Claim(ClaimError::GivenUp)))
    }

    async fn take_until(
        &self,
        lane: LaneId,
        until: Instant,
        mut given_up: GivenUp<'_>,
    ) -> Result<LaneLease, TakeError> {
        let key = self.keys.lane_owner(lane);
        let claim = new_claim().map_err(|why| TakeError::Claim(EtcdError::Settings(why).into()))?;
        let value = json!({ "node": self.me.id, "claim": claim }).to_string();
        loop {
            let lease = tokio::select! {
                lease = self.joined() => lease.ok_or(TakeError::Left)?,
                () = tokio::time::sleep_until(until) => return Err(TakeError::NotJoined(self.why_not_joined())),
                () = given_up.as_mut() => return Err(ClaimError::GivenUp.into()),
            };
            let etcd = &self.etcd;
            let claim = Claim { etcd, lease: &lease, key: &key, value: value.as_bytes(), until: Some(until) };
            match claim.make(given_up.as_mut()).await {
                Ok(epoch) => {
                    metrics::counter!("cluster_lanes_taken_total").increment(1);
                    tracing::info!(lane = lane.0, epoch, "a lane was taken");
                    let (etcd, owners) = (etcd.clone(), Arc::clone(&self.owners));
                    let gone = owners.note(lane, epoch);
                    return Ok(LaneLease::in_etcd(lane, epoch, Owned { etcd, key, lease, owners, gone }));
                }
                Err(ClaimError::LeaseLost) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The lease that the node has joined under, once it has; none once it has left.
    async fn joined(&self) -> Option<HeldLease> {
        let mut membership = self.membership.subscribe();
        loop {
            if *membership.borrow_and_update() == Membership::Left {
                return None;
            }
            let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(lease) = lease.filter(HeldLease::valid) {
                return Some(lease);
            }
            // The sender is in `self`. A lease that is lost is taken out by the task that joins.
            let _ = membership.changed().await;
        }
    }

    fn why_not_joined(&self) -> String {
        match &*self.membership.borrow() {
            Membership::Joining(why) => why.clone(),
            Membership::Joined | Membership::Left => "the lease was lost".to_owned(),
        }
    }

    async fn register(&self) -> Result<HeldLease, ClaimError> {
        let lease = HeldLease::grant(&self.etcd, self.terms).await?;
        let key = self.keys.node(&self.me.id);
        let me = NodeEntry { stay: stay(&lease), ..self.me.clone() };
        let value = serde_json::to_vec(&me).map_err(|error| EtcdError::Form(error.to_string()))?;
        let until = Some(Instant::now() + NAME_WAIT);
        let claim = Claim { etcd: &self.etcd, lease: &lease, key: &key, value: &value, until };
        let made = claim.make(std::pin::pin!(std::future::pending())).await;
        match made {
            Ok(_) => Ok(lease),
            Err(error) => {
                if let Err(error) = lease.revoke().await {
                    tracing::debug!(%error, "a lease that is of no use ends by itself");
                }
                Err(error)
            }
        }
    }

    /// Unless the node has left meanwhile.
    fn change(&self, lease: Option<HeldLease>, to: Membership) {
        let mut current = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        self.membership.send_if_modified(|membership| {
            if *membership == Membership::Left {
                return false;
            }
            *current = lease;
            *membership = to;
            true
        });
    }

    fn stop_tasks(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    pub(crate) async fn leave(&self) -> Result<(), EtcdError> {
        self.stop_tasks();
        let lease = {
            let mut current = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            self.membership.send_replace(Membership::Left);
            current.take()
        };
        match lease {
            Some(lease) => lease.revoke().await,
            None => Ok(()),
        }
    }
}

/// No two leases of an etcd have the same number.
fn stay(lease: &HeldLease) -> u64 {
    lease.id().0.unsigned_abs()
}

/// Joins, and joins anew when the lease is lost.
async fn join(node: std::sync::Weak<EtcdNode>) {
    let mut said = false;
    loop {
        let Some(joining) = node.upgrade() else { return };
        let lost = match joining.register().await {
            Ok(lease) => {
                let lost = lease.lost();
                tracing::info!(node = %joining.me.id, "joined the cluster");
                said = false;
                joining.change(Some(lease), Membership::Joined);
                lost
            }
            Err(error) => {
                // Once; what changes after that is the membership's reason.
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, node = %joining.me.id, "could not join the cluster; goes on trying");
                }
                joining.change(None, Membership::Joining(error.to_string()));
                drop(joining);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        drop(joining);
        lost.await;
        let Some(joining) = node.upgrade() else { return };
        metrics::counter!("cluster_node_leases_lost_total").increment(1);
        joining.change(None, Membership::Joining("the lease was lost".to_owned()));
    }
}

/// What tells one claim from another.
fn new_claim() -> Result<String, String> {
    let number = getrandom::u64().map_err(|error| format!("no random number: {error}"))?;
    Ok(format!("{number:016x}"))
}
