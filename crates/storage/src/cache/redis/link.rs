//! The one connection to Redis: commands with a time-out, the tracking of what was read, and the order of the two.
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, LuaInterface, TrackingInterface},
    types::{
        Builder, ClusterHash, ConnectHandle, CustomCommand, Key, RespVersion, Value,
        client::Invalidation,
        config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
};

use super::{
    super::memory::{Memory, read, write},
    breaker::Breaker,
    config::RedisConfig,
    entity_of,
    scripts::Script,
};
use crate::{StorageError, rows::Entity};

/// How long connecting, and what belongs to it, may take.
const CONNECT: Duration = Duration::from_secs(1);
/// A connection on which nothing comes back for so long is closed.
const SILENT: Duration = Duration::from_secs(2);
/// Between two attempts to connect, in ms.
const AGAIN_MS: u32 = 100;
/// How soon another master is looked for again.
const MOVE: Duration = Duration::from_secs(1);
/// How often the connection is looked at besides its events.
const LOOK: Duration = Duration::from_millis(100);
/// Commands that wait to be sent; more are refused.
const MOST_WAITING: usize = 10_000;
/// Invalidations that wait to be taken in; where there are more, the near cache is emptied.
const MOST_INVALIDATIONS: usize = 4_096;
/// Invalidations are counted in so many groups of entities.
const GROUPS: usize = 256;

/// A client, and whether Redis tells it what becomes of the views it has read.
pub(super) struct Link {
    client: Client,
    breaker: Arc<Breaker>,
    tracking: Arc<Tracking>,
    /// Whether another server is being looked for.
    is_moving: Arc<AtomicBool>,
    seed: RandomState,
    count: AtomicU64,
    watch: JoinHandle<()>,
    connection: ConnectHandle,
}

/// When a view was asked for, as the near cache counts: it is stored there only if nothing has happened since.
#[derive(Clone, Copy)]
pub(super) struct Session {
    connected: Option<u64>,
    invalidated: u64,
}

struct Tracking {
    near: Arc<Memory>,
    /// The number of the connection on which tracking is on; `None` while there is none.
    on: RwLock<Option<u64>>,
    invalidated: Vec<AtomicU64>,
    groups: RandomState,
}

impl Tracking {
    fn new(near: Arc<Memory>) -> Self {
        let invalidated = std::iter::repeat_with(AtomicU64::default).take(GROUPS).collect();
        Tracking { near, on: RwLock::new(None), invalidated, groups: RandomState::new() }
    }

    fn group(&self, entity: Entity) -> &AtomicU64 {
        &self.invalidated[self.groups.hash_one(entity) as usize % GROUPS]
    }

    fn take_in(&self, invalidation: &Invalidation) {
        for entity in invalidation.keys.iter().filter_map(|key| entity_of(key.as_bytes())) {
            self.group(entity).fetch_add(1, SeqCst);
            self.near.remove(entity);
        }
    }

    /// Nothing is stored in the near cache any more until [`Tracking::begin`], and what was is gone.
    fn end(&self) {
        let mut on = write(&self.on);
        if on.take().is_some() {
            metrics::counter!("cache_tracking_lost_total").increment(1);
            tracing::warn!("the connection to Redis was lost; the node's own cache is emptied");
        }
        self.near.clear();
    }

    fn begin(&self, number: u64) {
        *write(&self.on) = Some(number);
    }
}

impl Link {
    pub(super) async fn connect(config: &RedisConfig, near: Arc<Memory>) -> Result<Link, StorageError> {
        let client = client(config).map_err(|error| StorageError::Engine {
            engine: "Redis",
            doing: "reading its address",
            why: error.to_string(),
        })?;
        let tracking = Arc::new(Tracking::new(near));
        let events = Events {
            invalidations: client.invalidation_rx(),
            reconnects: client.reconnect_rx(),
            errors: client.error_rx(),
        };
        let connection = client.connect();
        let _ = tokio::time::timeout(CONNECT, client.wait_for_connect()).await;
        let breaker = Arc::new(Breaker::new(config.rest()));
        let watch = watch_over(client.clone(), Arc::clone(&tracking), Arc::clone(&breaker), events);
        Ok(Link {
            client,
            breaker,
            tracking,
            is_moving: Arc::default(),
            seed: RandomState::new(),
            count: AtomicU64::new(0),
            watch: tokio::spawn(watch),
            connection,
        })
    }

    /// Runs a script; `None` where Redis is away, rests, or refuses.
    pub(super) async fn call(&self, script: &Script, keys: Vec<Key>, arguments: Vec<Value>) -> Option<Value> {
        if !self.client.is_connected() || !self.breaker.lets_through() {
            metrics::counter!("cache_skipped_total").increment(1);
            return None;
        }
        let arguments = Value::Array(arguments);
        let first =
            self.client.evalsha::<Value, _, _, _>(script.sha.as_str(), keys.clone(), arguments.clone());
        let answer = match first.await {
            // After its start it knows no script; running one teaches it.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.client.eval::<Value, _, _, _>(script.text, keys, arguments).await
            }
            answer => answer,
        };
        match answer {
            Ok(value) => {
                self.breaker.answered();
                Some(value)
            }
            Err(error) => {
                metrics::counter!("cache_errors_total").increment(1);
                if is_silence(&error) {
                    self.breaker.failed();
                }
                if error.details().starts_with("READONLY") {
                    self.look_for_master();
                }
                tracing::debug!(%error, "Redis did not do what it was asked");
                None
            }
        }
    }

    /// Connects anew, because the server has become somebody's replica; not more often than every [`MOVE`].
    fn look_for_master(&self) {
        if self.is_moving.swap(true, SeqCst) {
            return;
        }
        tracing::warn!("Redis does not write any more: it is a replica now; its address is asked again");
        let (client, is_moving) = (self.client.clone(), Arc::clone(&self.is_moving));
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECT, client.force_reconnection()).await;
            tokio::time::sleep(MOVE).await;
            is_moving.store(false, SeqCst);
        });
    }

    /// This moment, for [`Link::if_still`].
    pub(super) fn session(&self, entity: Entity) -> Session {
        let invalidated = self.tracking.group(entity).load(SeqCst);
        Session { connected: *read(&self.tracking.on), invalidated }
    }

    /// Does something if tracking has been on all the time since a moment, and nothing was said about the entity.
    pub(super) fn if_still<R>(&self, since: Session, entity: Entity, then: impl FnOnce() -> R) {
        // Held while it is done: should the connection be lost now, what is stored is taken out right after.
        let on = read(&self.tracking.on);
        let now = self.tracking.group(entity).load(SeqCst);
        if on.is_some() && *on == since.connected && now == since.invalidated {
            then();
        }
    }

    /// A text that comes once: 128 bits, unlike those of any other node or run.
    pub(super) fn random(&self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// A number below a bound that is not 0.
    pub(super) fn random_below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn next(&self) -> u64 {
        self.seed.hash_one(self.count.fetch_add(1, SeqCst))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.watch.abort();
        self.connection.abort();
    }
}

fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Backpressure)
}

fn client(config: &RedisConfig) -> Result<Client, Error> {
    let mut to = Config::from_url(&config.url)?;
    to.version = RespVersion::RESP3;
    to.fail_fast = false;
    Builder::from_config(to)
        .with_performance_config(|performance| {
            performance.default_command_timeout = config.timeout();
            performance.broadcast_channel_capacity = MOST_INVALIDATIONS;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT;
            connection.internal_command_timeout = CONNECT;
            // What was under way when a connection was lost is not sent again: whoever waited has gone on.
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = MOST_WAITING;
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            connection.unresponsive = UnresponsiveConfig { max_timeout: Some(SILENT), interval: SILENT / 4 };
        })
        .set_policy(ReconnectPolicy::new_constant(0, AGAIN_MS))
        .build()
}

struct Events {
    invalidations: broadcast::Receiver<Invalidation>,
    reconnects: broadcast::Receiver<fred::types::config::Server>,
    errors: broadcast::Receiver<(Error, Option<fred::types::config::Server>)>,
}

/// Takes in what Redis says about views, and turns tracking on anew after every loss of the connection.
async fn watch_over(client: Client, tracking: Arc<Tracking>, breaker: Arc<Breaker>, mut events: Events) {
    let (mut number, mut is_on) = (0, false);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_lost = tokio::select! {
            // In this order: a loss before what came afterwards.
            biased;
            error = events.errors.recv() => match error {
                Err(RecvError::Closed) => return,
                _ => true,
            },
            server = events.reconnects.recv() => match server {
                Err(RecvError::Closed) => return,
                _ => true,
            },
            invalidation = events.invalidations.recv() => match invalidation {
                Ok(invalidation) => {
                    tracking.take_in(&invalidation);
                    false
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => !client.is_connected(),
        };
        if is_lost {
            is_on = false;
            tracking.end();
        }
        if !is_on && client.is_connected() {
            // Without OPTIN all that is read is tracked; with NOLOOP a node hears nothing of its own fills.
            match client.start_tracking(Vec::<String>::new(), false, false, false, true).await {
                Ok(()) => {
                    number += 1;
                    is_on = true;
                    tracking.begin(number);
                    breaker.answered();
                    check_memory(&client).await;
                }
                Err(error) => tracing::debug!(%error, "tracking could not be turned on"),
            }
        }
    }
}

/// Warns of a Redis that grows without bound, or refuses writes when it is full.
async fn check_memory(client: &Client) {
    let command = CustomCommand::new_static("INFO", ClusterHash::FirstKey, false);
    let Ok(info) = client.custom::<String, _>(command, vec!["memory"]).await else { return };
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.trim().split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if field("maxmemory") == Some("0") {
        tracing::warn!(
            "the room's Redis has no maxmemory: set one, so that the cache cannot take all memory"
        );
    }
    if field("maxmemory_policy") == Some("noeviction") {
        tracing::warn!(
            "the room's Redis has maxmemory-policy noeviction: set allkeys-lfu, so that a full cache makes room"
        );
    }
}
