//! Moves a lane to another shard where it is ordered, beside the lane's applier and under the same lease; what a move is, the
//! store says ([`storage::store::LaneMove`]).
//!
//! If the process dies, or loses the lane, before the switch, the lane lives where it did and the next holder begins anew; after
//! it, the lane lives in the new shard, and the next holder says so and cleans the old one.
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cluster::{
    LaneLease,
    orders::{Order, OrderState},
};
use storage::{
    StorageError,
    store::{Batch, Comparison, Decide, LaneMove},
};
use tokio::sync::Mutex;

use crate::node::Node;

/// The most operations that are applied to the copy at once.
const MOST: usize = 512;
/// So many operations may be left when the lane is made to stand still.
const NEAR: u64 = 256;
/// So often the copy may fall behind again before it is given up.
const ROUNDS: usize = 200;
/// How often it is said how many rows are copied.
const TELL: Duration = Duration::from_secs(1);

/// Why a lane was not moved.
#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("the order was taken back")]
    TakenBack,
    #[error("another node has taken the lane")]
    Lost,
    #[error("table {0} differs between the shards after copying: nothing was moved")]
    Differs(&'static str),
    #[error("the lane is written faster than its copy catches up: try again when it is quieter")]
    TooFast,
    #[error("the lane's messages after {0} are not there any more: order it again")]
    Forgotten(u64),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Carries out the orders for a lane until it is dropped. The lane's applier holds `turn` while it applies.
pub(crate) async fn run(node: &Node, lease: &LaneLease, turn: &Mutex<()>) -> Infallible {
    let lane = lease.lane();
    let mut orders = node.parts.coordinator.orders();
    clean(node, lease).await;
    loop {
        let order = orders.borrow_and_update().get(&lane).cloned();
        if let Some(order) = order.filter(|order| !order.state.is_ended()) {
            carry_out(node, lease, turn, order).await;
            continue;
        }
        if orders.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Carries out one order to its end, and says how it ended.
async fn carry_out(node: &Node, lease: &LaneLease, turn: &Mutex<()>, mut order: Order) {
    let ended = move_lane(node, lease, turn, &mut order).await;
    match &ended {
        Ok(()) => order.state = OrderState::Moved,
        Err(error) => {
            order.state = OrderState::Failed;
            order.why = error.to_string();
            tracing::warn!(lane = lease.lane().0, shard = order.to.0, %error, "a lane was not moved");
        }
    }
    // Until it is known: an order that seems to be under way would be carried out again.
    while lease.valid() {
        match node.parts.coordinator.report(lease, &order).await {
            Ok(_) => break,
            Err(error) => tracing::debug!(%error, "how an order ended is said later"),
        }
        tokio::time::sleep(TELL).await;
    }
    await_known(node, lease, &order).await;
    clean(node, lease).await;
}

/// Waits until this node sees what it said, or that the order is gone.
async fn await_known(node: &Node, lease: &LaneLease, order: &Order) {
    let mut orders = node.parts.coordinator.orders();
    let is_known = |orders: &Arc<std::collections::BTreeMap<_, Order>>| {
        orders
            .get(&lease.lane())
            .is_none_or(|known| known.given_at != order.given_at || known.state.is_ended())
    };
    tokio::time::timeout(TELL * 10, orders.wait_for(is_known)).await.ok();
}

async fn move_lane(
    node: &Node,
    lease: &LaneLease,
    turn: &Mutex<()>,
    order: &mut Order,
) -> Result<(), MoveError> {
    let (store, lane) = (&node.parts.store, lease.lane());
    if store.shard_of(lane)? == order.to {
        return Ok(());
    }
    let work = store.move_lane(lane, order.to, lease.epoch())?;
    let mut copy = Copy { node, lease, work, generation: node.parts.generation(lane), after: 0 };
    copy.fill(order).await?;
    say(node, lease, order, OrderState::CatchingUp).await?;
    copy.come_near().await?;
    say(node, lease, order, OrderState::Comparing).await?;
    copy.compare().await?;
    copy.come_near().await?;
    if !is_ordered(node, lease, order) {
        return Err(MoveError::TakenBack);
    }
    let begun = Instant::now();
    let standing = turn.lock().await;
    copy.switch().await?;
    drop(standing);
    order.pause_us = begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    tracing::info!(
        lane = lane.0,
        shard = order.to.0,
        rows = order.rows,
        pause_us = order.pause_us,
        "a lane was moved"
    );
    metrics::counter!("lane_moves_total").increment(1);
    Ok(())
}

/// The lane as it comes to be in the other shard.
struct Copy<'n> {
    node: &'n Node,
    lease: &'n LaneLease,
    work: LaneMove,
    generation: u32,
    /// The copy is applied up to here.
    after: u64,
}

impl Copy<'_> {
    /// Copies what there is, and says how many rows that is.
    async fn fill(&mut self, order: &mut Order) -> Result<(), MoveError> {
        let rows = AtomicU64::new(0);
        let told = |so_far: u64| rows.store(so_far, Ordering::Relaxed);
        let mut copying = std::pin::pin!(self.work.copy(&told));
        let at = loop {
            order.rows = rows.load(Ordering::Relaxed);
            say(self.node, self.lease, order, OrderState::Copying).await?;
            tokio::select! {
                copied = &mut copying => break copied?,
                () = tokio::time::sleep(TELL) => {}
            }
        };
        order.rows = rows.load(Ordering::Relaxed);
        self.after = at.sequence;
        Ok(())
    }

    /// Applies what has been applied meanwhile, until little is left.
    async fn come_near(&mut self) -> Result<(), MoveError> {
        for _ in 0..ROUNDS {
            let due = self.work.source().await?.sequence;
            if due.saturating_sub(self.after) <= NEAR {
                return Ok(());
            }
            self.catch_up(due).await?;
        }
        Err(MoveError::TooFast)
    }

    async fn compare(&mut self) -> Result<(), MoveError> {
        let snapshot = self.work.snapshot().await?;
        self.catch_up(snapshot.at().sequence).await?;
        match self.work.compare(&snapshot).await? {
            Comparison::Same => Ok(()),
            Comparison::Differs(table) => Err(MoveError::Differs(table)),
        }
    }

    /// The lane stands still meanwhile.
    async fn switch(mut self) -> Result<(), MoveError> {
        let at = self.work.source().await?;
        self.catch_up(at.sequence).await?;
        if !self.lease.valid() {
            return Err(MoveError::Lost);
        }
        Ok(self.work.switch(at).await?)
    }

    /// Applies the lane's messages to the copy, up to a sequence.
    async fn catch_up(&mut self, due: u64) -> Result<(), MoveError> {
        let parts = &self.node.parts;
        let rules: Arc<dyn Decide> = Arc::clone(&parts.rules) as _;
        let (lane, epoch) = (self.lease.lane(), self.lease.epoch());
        while self.after < due {
            let mut messages = parts.queue.fetch(lane, self.after, MOST).await?;
            messages.retain(|message| message.sequence <= due);
            let Some(last) = messages.last() else { return Err(MoveError::Forgotten(self.after)) };
            let reached = last.sequence;
            let batch = Batch { lane, epoch, generation: self.generation, after: self.after, messages };
            self.work.apply(&batch, &*rules).await?;
            self.after = reached;
        }
        Ok(())
    }
}

/// Says how far an order is; fails where it is not wanted any more.
async fn say(node: &Node, lease: &LaneLease, order: &mut Order, state: OrderState) -> Result<(), MoveError> {
    order.state = state;
    match node.parts.coordinator.report(lease, order).await {
        Ok(true) => Ok(()),
        Ok(false) if lease.valid() => Err(MoveError::TakenBack),
        Ok(false) => Err(MoveError::Lost),
        // It is said the next time.
        Err(error) => {
            tracing::debug!(%error, "how far an order is was not said");
            Ok(())
        }
    }
}

fn is_ordered(node: &Node, lease: &LaneLease, order: &Order) -> bool {
    let orders = node.parts.coordinator.orders();
    let known = orders.borrow();
    known.get(&lease.lane()).is_some_and(|known| known.given_at == order.given_at)
}

/// Deletes what there is of the lane elsewhere; a later holder does it where this one cannot.
async fn clean(node: &Node, lease: &LaneLease) {
    let lane = lease.lane();
    match node.parts.store.clean_after_moves(lane, lease.epoch()).await {
        Ok(0) => {}
        Ok(rows) => tracing::info!(
            lane = lane.0,
            rows,
            "what there was of a lane in a shard where it does not live is deleted"
        ),
        Err(error) => {
            tracing::warn!(lane = lane.0, %error, "what there is of a lane in a shard where it does not live stays for now")
        }
    }
}
