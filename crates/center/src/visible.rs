//! When something is visible everywhere: every node that serves shows it.
//!
//! Nodes tell each other how far each shows every lane. A node counts those that the routing table names, and says of
//! nothing that it is done before all of them show it. So that none is counted too late, a node serves only once
//!
//! 1. the table that every other node goes by names it, in this very stay in the cluster, by their own word: from then on they
//!    wait for it;
//! 2. it shows all that the masters held at a moment after that: what others said was done before they waited for it.
//!
//! It stops serving when its lease is over by its own clock, which is before the others stop counting it. A node that is
//! alone is everybody.
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cluster::Coordinator;
use protocol::{
    LaneId, Position,
    bounds::ShortName,
    routing::{RoutingTable, ShardMap},
    wire,
};
use runtime::shutdown::Shutdown;
use serde::{Deserialize, Serialize};
use storage::{StorageError, cache::Cache, queue::Queue, store::Store};
use tokio::sync::{Notify, watch};

/// How often a node tells all, also where nothing changed.
const BEAT: Duration = Duration::from_millis(200);
/// How long a node waits for more to tell.
const GATHER: Duration = Duration::from_millis(1);
/// The pause before serving is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What this node knows of how far all nodes show the lanes.
pub(crate) struct Visible {
    cache: Cache,
    coordinator: Coordinator,
    /// How far every node shows each lane; none where the node is alone: then it is what the cache shows.
    everywhere: Option<HashMap<LaneId, watch::Sender<Option<Position>>>>,
    known: Mutex<Known>,
    /// Lanes that moved since the others were told.
    moved: Mutex<BTreeSet<LaneId>>,
    has_moved: Notify,
    /// The stay in the cluster in which this node may serve.
    serving: watch::Sender<Option<u64>>,
}

/// What is known of the others.
#[derive(Default)]
struct Known {
    /// The table that they are counted by; what is told of it is told by this one.
    table: Arc<RoutingTable>,
    others: HashMap<ShortName, Other>,
}

/// What another node said of itself.
#[derive(Default)]
struct Other {
    stay: u64,
    table: u64,
    shows: HashMap<LaneId, Position>,
}

/// What a node tells.
#[derive(Serialize, Deserialize)]
struct Word {
    node: ShortName,
    /// Its stay in the cluster; what it said in another is forgotten.
    stay: u64,
    /// The version of the routing table that it goes by.
    table: u64,
    shows: Vec<Position>,
}

impl Visible {
    pub(crate) fn new(cache: Cache, coordinator: Coordinator, map: &ShardMap) -> Self {
        let alone = matches!(coordinator, Coordinator::Folder(_));
        let lanes = || map.lanes().map(|lane| (lane, watch::Sender::new(None))).collect();
        let serving = watch::Sender::new(if alone { coordinator.stay() } else { None });
        let everywhere = (!alone).then(lanes);
        let (known, moved) = (Mutex::default(), Mutex::default());
        Visible { cache, coordinator, everywhere, known, moved, has_moved: Notify::new(), serving }
    }

    /// Follows how far a lane is shown everywhere; `None` where there is no such lane.
    pub(crate) fn watch(&self, lane: LaneId) -> Option<watch::Receiver<Option<Position>>> {
        match &self.everywhere {
            None => self.cache.watch(lane),
            Some(everywhere) => everywhere.get(&lane).map(watch::Sender::subscribe),
        }
    }

    /// The stay in which this node may answer, at this very moment.
    pub(crate) fn stay(&self) -> Option<u64> {
        let serving = *self.serving.borrow();
        serving.filter(|_| serving == self.coordinator.stay())
    }

    /// Whether this node may answer, at this very moment.
    pub(crate) fn may_serve(&self) -> bool {
        self.stay().is_some()
    }

    /// Waits until this node may answer.
    pub(crate) async fn serving(&self) {
        let mut serving = self.serving.subscribe();
        while !self.may_serve() {
            if serving.changed().await.is_err() {
                return;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) -> MutexGuard<'_, BTreeSet<LaneId>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, lane: LaneId) -> Option<Position> {
        self.cache.watch(lane).and_then(|visible| *visible.borrow())
    }

    /// Looks anew how far a lane is shown by all that the table names.
    fn look(&self, known: &Known, lane: LaneId) {
        let Some(everywhere) = self.everywhere.as_ref().and_then(|all| all.get(&lane)) else { return };
        let me = &self.coordinator.me().id;
        let named = known.table.nodes().iter().filter(|node| node.id != *me);
        let shows = named.map(|node| known.others.get(&node.id)?.shows.get(&lane).copied());
        let least = shows.fold(self.own(lane), |least, shown| Some(least?.min(shown?)));
        everywhere.send_if_modified(|at| std::mem::replace(at, least) != least);
    }

    fn hear(&self, word: Word) {
        if word.node == self.coordinator.me().id {
            return;
        }
        let lanes: Vec<LaneId> = word.shows.iter().map(|at| at.lane).collect();
        let mut known = self.known();
        let other = known.others.entry(word.node).or_default();
        if other.stay != word.stay {
            *other = Other { stay: word.stay, ..Other::default() };
        }
        other.table = word.table;
        other.shows.extend(word.shows.into_iter().map(|at| (at.lane, at)));
        lanes.into_iter().for_each(|lane| self.look(&known, lane));
    }

    /// Another table: who is in it no more is not waited for.
    fn follow(&self, table: Arc<RoutingTable>, map: &ShardMap) {
        let mut known = self.known();
        known.others.retain(|name, _| table.nodes().iter().any(|node| node.id == *name));
        known.table = table;
        map.lanes().for_each(|lane| self.look(&known, lane));
    }

    /// Whether every other node waits for this one in this stay, as far as they said: the table that names it so has
    /// reached them.
    fn is_counted(&self, stay: u64) -> bool {
        let (me, known) = (&self.coordinator.me().id, self.known());
        let table = &known.table;
        let counts = |id: &ShortName| {
            id == me || known.others.get(id).is_some_and(|other| other.table >= table.version())
        };
        let is_named = table.nodes().iter().any(|node| node.id == *me && node.stay == stay);
        is_named && table.nodes().iter().all(|node| counts(&node.id))
    }

    fn word(&self, lanes: impl Iterator<Item = LaneId>) -> Word {
        let table = self.known().table.version();
        let (node, stay) = (self.coordinator.me().id.clone(), self.coordinator.stay().unwrap_or(0));
        Word { node, stay, table, shows: lanes.filter_map(|lane| self.own(lane)).collect() }
    }
}

/// Keeps it up to date until shutdown. A node that is alone has nothing to do.
pub(crate) fn start(visible: &Arc<Visible>, store: &Store, queue: &Queue, shutdown: &Shutdown) {
    let Some(words) = queue.listen() else { return };
    let map = store.map();
    for lane in map.lanes() {
        if let Some(own) = visible.cache.watch(lane) {
            until_stopped(follow_own(Arc::clone(visible), lane, own), shutdown);
        }
    }
    until_stopped(listen(Arc::clone(visible), words, map.clone()), shutdown);
    until_stopped(tell(Arc::clone(visible), queue.clone(), map.clone()), shutdown);
    until_stopped(serve(Arc::clone(visible), store.clone()), shutdown);
}

/// Runs a task until it ends or the node stops.
fn until_stopped(task: impl Future<Output = ()> + Send + 'static, shutdown: &Shutdown) {
    let begun = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = task => {}
            () = begun.begun() => {}
        }
    });
}

/// What this node's cache shows of a lane counts, and is told.
async fn follow_own(visible: Arc<Visible>, lane: LaneId, mut own: watch::Receiver<Option<Position>>) {
    loop {
        visible.look(&visible.known(), lane);
        visible.moved().insert(lane);
        visible.has_moved.notify_one();
        if own.changed().await.is_err() {
            return;
        }
    }
}

/// What the others tell.
async fn listen(visible: Arc<Visible>, mut words: tokio::sync::mpsc::Receiver<Vec<u8>>, map: ShardMap) {
    let mut routing = visible.coordinator.routing();
    loop {
        let table = Arc::clone(&routing.borrow_and_update());
        visible.follow(table, &map);
        loop {
            tokio::select! {
                word = words.recv() => match word.as_deref().map(wire::decode::<Word>) {
                    Some(Ok(word)) => visible.hear(word),
                    Some(Err(error)) => tracing::warn!(%error, "a node said what is not understood"),
                    None => return,
                },
                changed = routing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

/// Tells the others what moved, soon, and all of it again and again.
async fn tell(visible: Arc<Visible>, queue: Queue, map: ShardMap) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let all = tokio::select! {
            _ = beat.tick() => true,
            () = visible.has_moved.notified() => false,
        };
        let word = if all {
            visible.word(map.lanes())
        } else {
            tokio::time::sleep(GATHER).await;
            let moved = std::mem::take(&mut *visible.moved());
            visible.word(moved.into_iter())
        };
        queue.tell(wire::encode(&word)).await;
    }
}

/// Begins to serve, whenever the node is in the cluster and has seen to it that the others wait for it.
async fn serve(visible: Arc<Visible>, store: Store) {
    loop {
        if !visible.may_serve()
            && let Some(stay) = visible.coordinator.stay()
        {
            match begin(&visible, &store, stay).await {
                Ok(true) => {
                    tracing::info!("this node serves");
                    visible.serving.send_replace(Some(stay));
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "this node does not serve yet; trying again"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether it may serve in this stay.
async fn begin(visible: &Visible, store: &Store, stay: u64) -> Result<bool, StorageError> {
    if !visible.is_counted(stay) {
        return Ok(false);
    }
    for lane in store.map().lanes() {
        let due = store.in_master(lane).await?;
        let Some(mut own) = visible.cache.watch(lane) else { return Ok(false) };
        let shown = own.wait_for(|at| at.is_some_and(|at| at >= due));
        if tokio::time::timeout(BEAT * 10, shown).await.is_err() {
            return Ok(false);
        }
    }
    Ok(visible.coordinator.stay() == Some(stay))
}
