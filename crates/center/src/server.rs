//! Starts a node and stops it.
use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::tariff::TariffBook;
use protocol::{
    Code, Problem, ReplyEnvelope, RequestEnvelope,
    envelope::{MAX_REPLY_LEN, MAX_REQUEST_LEN},
    routing::{RoutingError, ShardMap, TableError, regions::RegionError},
    wire,
};
use runtime::{
    clock::Clock,
    health::{self, Readiness},
    lock::{FolderLock, LockError},
    metrics::Metrics,
    mux::{Limits, Peer, Plain, Service},
    peers::{Peers, check_uid},
    secret::SecretError,
    shutdown::Shutdown,
    unix::{self, BindError},
};
use storage::StorageError;
use tokio::{net::UnixListener, sync::Notify};

use crate::{
    admin,
    config::Config,
    demo,
    engines::Engines,
    exports::{self, Outward},
    follower,
    keys::{CodeKey, ReceiptKey, SessionKeys},
    lanes,
    node::{Node, Parts},
    relay,
    rules::{ExportTerms, Rules, SupplyTerms},
    schedule,
    sessions::Sessions,
    staff::Staff,
    staff_revoked::StaffRevoked,
    visible::{self, Visible},
};

/// Why a node does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum CenterError {
    /// The data folder is in use, or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A key or a provider's secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store does not open.
    #[error("the store does not open: {0}")]
    Storage(#[from] StorageError),
    /// Whose staff tokens are revoked cannot be read.
    #[error("staff-revoked.json: {0}")]
    Revoked(#[source] std::io::Error),
    /// The layout makes no sense.
    #[error("settings shards and lanes_per_shard: {0}")]
    Layout(#[from] RoutingError),
    /// Accounts cannot be placed by these regions.
    #[error("settings regions: {0}")]
    Regions(#[from] RegionError),
    /// More lanes than there may be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The settings of etcd make no sense.
    #[error("the engines' settings [etcd]: {0}")]
    Etcd(#[from] cluster::etcd::EtcdError),
    /// A socket cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Demonstration data could not be made.
    #[error("demonstration customers could not be made: {0}")]
    Demo(String),
    /// Serving failed.
    #[error("serving failed")]
    Io(#[from] std::io::Error),
    /// A folder could not be made.
    #[error("cannot make folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// How long what is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Requests of one gate worked on at once.
const LIMITS: Limits = Limits { calls: 1024, served: 2048 };
/// The framing towards the gates' inner halves.
const FRAMES: Plain =
    Plain { max_payload: if MAX_REPLY_LEN > MAX_REQUEST_LEN { MAX_REPLY_LEN } else { MAX_REQUEST_LEN } };

/// Runs a node until shutdown.
///
/// # Errors
/// [`CenterError`]: what is wrong and where, before anything is served.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), CenterError> {
    std::fs::create_dir_all(&config.data)
        .map_err(|source| CenterError::Folder { path: config.data.clone(), source })?;
    let lock = Arc::new(FolderLock::acquire_as(&config.data, "gridesk center")?);
    let map = ShardMap::even(config.shard_count(), config.lanes_per_shard)?.with_regions(&config.regions)?;
    let outward = config.outward.as_deref().map(Outward::open).transpose();
    let outward = outward
        .map_err(|source| CenterError::Folder { path: config.outward.clone().unwrap_or_default(), source })?;
    let readiness = Readiness::new();
    let filling = readiness.part("demonstration");
    let listening = readiness.part("gates");
    listening.not_ready("the socket for the gates is not open yet");
    let (engines, closing) = Engines::open(&config, &map, lock).await?;
    let node = build(&config, engines).await?;
    let admin_socket = unix::bind(&config.admin)?;
    let metrics = Metrics::install().map_err(|e| std::io::Error::other(e.to_string()))?;
    metrics.keep_up(&shutdown);
    let router = admin::router(node.clone()).merge(health::router(readiness.clone(), metrics));
    shutdown.spawn(serve_admin(admin_socket, router, shutdown.clone()));

    if let Some(demo) = &config.demo {
        let ask = demo::Demo { customers: demo.customers, today: node.today(), seed: demo.seed };
        let fill = demo::fill(node.store(), &node.parts.rules.tariffs, ask, &filling);
        tokio::select! {
            filled = fill => { filled.map_err(|error| CenterError::Demo(with_cause(&error)))?; }
            () = shutdown.begun() => {}
        }
    }
    filling.ready();
    start_tasks(&node, &readiness, &shutdown);
    if let Some(outward) = outward {
        shutdown.spawn(exports::run(node.clone(), outward, shutdown.clone()));
    }
    listening.not_ready("the node is not in its cluster yet");
    tokio::select! {
        () = node.parts.visible.serving() => {}
        () = shutdown.begun() => {}
    }
    let gates = unix::bind_shared(&config.socket, &config.allow_uids)?;
    listening.ready();
    tracing::info!(socket = %config.socket.display(), shards = map.shards(), lanes = map.lanes().count(), "serving");
    accept(&node, gates, &shutdown).await;

    node.parts.gates.close();
    if let Err(error) = shutdown.drain(DRAIN).await {
        tracing::warn!(%error, "stopped with work under way; what was accepted is in its lane");
    }
    drop(node);
    // The writers end when the last handle is gone; what is left of one belongs to a request that has no reader.
    if let Some(closing) = closing {
        let folded = tokio::task::spawn_blocking(move || closing.wait());
        if tokio::time::timeout(DRAIN, folded).await.is_err() {
            tracing::warn!("the write-ahead logs were not folded; they are at the next start");
        }
    }
    Ok(())
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

pub(crate) async fn build(config: &Config, engines: Engines) -> Result<Node, CenterError> {
    let Engines { store, queue, cache, coordinator } = engines;
    let keys_folder = config.keys_folder();
    std::fs::create_dir_all(&keys_folder)
        .map_err(|source| CenterError::Folder { path: keys_folder.clone(), source })?;
    let providers: Result<Vec<_>, SecretError> = config.providers.iter().map(|p| p.load()).collect();
    let rules = Rules {
        codes: CodeKey::load_or_create(&keys_folder)?,
        receipts: ReceiptKey::load_or_create(&keys_folder)?,
        tariffs: Arc::new(TariffBook::published().clone()),
        forms: config.forms.book(),
        providers: providers?,
        public_url: config.public_url.trim_end_matches('/').to_owned(),
        late_fee: config.late_fee_per_day_e6,
        debit: config.debit.clone(),
        supply: SupplyTerms {
            cut_after_overdue_days: config.cut_after_overdue_days,
            reconnect_after_s: config.reconnect_after_s,
        },
        exports: ExportTerms { has_place: config.outward.is_some(), keep_s: config.export_keep_s },
    };
    let (mut applied, mut generations) = (Vec::new(), Vec::new());
    for lane in store.map().lanes() {
        let at = store.lane(lane).await?;
        applied.push(tokio::sync::watch::Sender::new(at.sequence));
        generations.push(at.generation);
    }
    let staff_revoked = StaffRevoked::open(&config.data).map_err(CenterError::Revoked)?;
    let visible = Arc::new(Visible::new(cache.clone(), coordinator.clone(), store.map()));
    let parts = Parts {
        config: config.clone(),
        clock: Clock::steady(),
        queue,
        cache,
        coordinator,
        visible,
        store,
        keys: SessionKeys::load_or_create(&keys_folder)?,
        rules: Arc::new(rules),
        sessions: Sessions::new(),
        staff: Staff::new(),
        staff_revoked,
        gates: Peers::default(),
        applied,
        generations,
        outbox: Notify::new(),
        pushes: Notify::new(),
    };
    Ok(Node { parts: Arc::new(parts) })
}

pub(crate) fn start_tasks(node: &Node, readiness: &Readiness, shutdown: &Shutdown) {
    for lane in node.store().map().lanes() {
        shutdown.spawn(follower::run(node.clone(), lane, shutdown.clone()));
    }
    visible::start(&node.parts.visible, node.store(), &node.parts.queue, shutdown);
    shutdown.spawn(lanes::run(node.clone(), readiness.clone(), shutdown.clone()));
    if node.parts.config.demo.is_some() {
        shutdown.spawn(demo::desk(node.clone(), shutdown.clone()));
    }
    shutdown.spawn(relay::outboxes(node.clone(), shutdown.clone()));
    shutdown.spawn(relay::pushes(node.clone(), shutdown.clone()));
    shutdown.spawn(schedule::run(node.clone(), shutdown.clone()));
    shutdown.spawn(prune(node.clone(), shutdown.clone()));
}

/// Applied messages are kept for 7 days, results for 30.
async fn prune(node: Node, shutdown: Shutdown) {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    const PAUSE: Duration = Duration::from_secs(600);
    while !shutdown.is_begun() {
        let now_ms = node.clock().unix_ms();
        for shard in node.worked_on() {
            let before = |days: u64| now_ms.saturating_sub(days * DAY_MS);
            while let Ok(1..) = node.store().prune(shard, before(7), before(30)).await {
                tokio::task::yield_now().await;
            }
        }
        for lane in node.parts.coordinator.my_lanes() {
            if let Err(error) = prune_lane(&node, lane, now_ms.saturating_sub(7 * DAY_MS)).await {
                tracing::warn!(lane = lane.0, %error, "old messages are still there; trying again later");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.begun() => {}
        }
    }
}

async fn prune_lane(node: &Node, lane: protocol::LaneId, before_ms: u64) -> Result<(), StorageError> {
    let applied = node.store().lane(lane).await?.sequence;
    node.parts.queue.prune(lane, applied, before_ms).await.map(drop)
}

async fn serve_admin(socket: UnixListener, router: axum::Router, shutdown: Shutdown) {
    if let Err(error) = health::serve(socket, router, &shutdown).await {
        tracing::error!(%error, "administration socket failed");
    }
}

async fn accept(node: &Node, socket: UnixListener, shutdown: &Shutdown) {
    loop {
        let stream = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shutdown.begun() => return,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = check_uid(&stream, &node.parts.config.allow_uids) {
            tracing::warn!(%error, "a connection was refused");
            continue;
        }
        let (reader, writer) = stream.into_split();
        let (peer, task) = Peer::start(reader, writer, (FRAMES, FRAMES), LIMITS, Gate(node.clone()));
        node.parts.gates.add(peer.clone());
        let node = node.clone();
        tokio::spawn(async move {
            relay::settings(&node, &peer).await;
            node.parts.pushes.notify_one();
            drop(node);
            if let Ok(Err(error)) = task.await {
                tracing::warn!(%error, "a gate's connection ended");
            }
        });
    }
}

/// What a gate's inner half asks.
#[derive(Clone)]
struct Gate(Node);

impl Service for Gate {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let reply = match RequestEnvelope::decode(&payload) {
            Ok(envelope) => self.0.handle(envelope).await,
            Err(refusal) => {
                tracing::warn!(%refusal, "a gate sent what is not in the catalogue");
                let problem =
                    Problem::new(Code::InvalidRequest, format!("Not a request of this system: {refusal}."));
                ReplyEnvelope::problem([0; 16], problem)
            }
        };
        Some(wire::encode(&reply))
    }

    async fn push(&self, _payload: Vec<u8>) -> Option<Vec<u8>> {
        None // Nothing is pushed inward: what comes from outside is an operation.
    }
}
