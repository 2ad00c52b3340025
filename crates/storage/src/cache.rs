//! The cache: what the slaves show, kept in step by position.
//!
//! A cache-sync task follows each lane's change rows as a slave shows them and tells the cache by [`Cache::follow`]: the
//! views of what changed go, and the lane's cursor moves, in one step. A view that was read below the cursor, or while
//! there is no cursor, is not stored: so nothing older than the cursor is ever served.
//!
//! There are two engines. In the embedded profile the cache is the process's own memory. In the cluster profile it is a
//! Redis that the nodes of a room share, with a small cache in each node before it.
mod flights;
mod memory;
mod redis;

use std::{future::Future, sync::Arc, time::Duration};

use protocol::{LaneId, Position, routing::ShardMap};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

pub use self::redis::RedisConfig;
use self::{
    flights::{Boarding, Ended, Flight, Flights},
    memory::{Memory, Value},
    redis::{Lock, Redis, Taken},
};
use crate::{StorageError, rows::Entity, store::Seen};

/// One of the views of an entity; a number and a parameter, chosen by who fills and reads it. Where the type of a view or
/// the encoding of that type changes, the view gets another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Which kind of view.
    pub kind: u8,
    /// Its parameter: a month, a page.
    pub parameter: u64,
}

/// What can be cached.
pub trait Cached: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Cached for T {}

/// How far the cache has followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is at least where the caller is.
    InStep,
    /// It stands at this sequence and was not told what changed right after it: tell it all since then.
    Missed(u64),
    /// What the room shares did not answer. It serves this node nothing older meanwhile, and will say what it missed.
    Away,
}

/// A handle on a node's cache.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    flights: Flights,
}

enum Engine {
    Memory(Memory),
    Redis(Box<Redis>),
}

/// The most views of one entity.
const MOST_VIEWS: usize = 64;
/// How long one waits for another's load of the same view before loading it oneself.
const MOST_PATIENCE: Duration = Duration::from_secs(2);
/// How often one waits anew where the other's load came to nothing.
const MOST_WAITS: usize = 3;

impl Cache {
    /// A cache in this process's memory, of at most `entities` entities, empty and without cursors.
    pub fn new(map: ShardMap, entities: u64) -> Self {
        Self::over(Engine::Memory(Memory::new(map, entities)))
    }

    /// A cache in a room's Redis. It need not be there yet: until it is, nothing is found and nothing is stored. Belongs
    /// to the tokio runtime it is made on.
    ///
    /// # Errors
    /// An address that cannot be understood.
    pub async fn redis(map: ShardMap, config: &RedisConfig) -> Result<Self, StorageError> {
        Ok(Self::over(Engine::Redis(Box::new(Redis::connect(map, config).await?))))
    }

    fn over(engine: Engine) -> Self {
        Cache { inner: Arc::new(Inner { engine, flights: Flights::default() }) }
    }

    /// A view, and how far the cache was in step when it was looked up.
    pub async fn get<T: Cached>(&self, entity: Entity, view: View) -> Option<Seen<Arc<T>>> {
        match &self.inner.engine {
            Engine::Memory(memory) => memory.get(entity, view),
            // Boxed, so that whoever reads from memory carries none of it.
            Engine::Redis(redis) => Box::pin(redis.get(entity, view)).await,
        }
    }

    /// A view from the cache, or else loaded from a slave and stored. Of those who miss the same view at once, in this
    /// process and, through Redis, in the room, one loads it and the others get what it found, if that is no older than
    /// what the cache had shown here when they asked.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn load<T: Cached, E>(
        &self,
        entity: Entity,
        view: View,
        load: impl Future<Output = Result<Seen<T>, E>>,
    ) -> Result<Seen<Arc<T>>, E> {
        let (found, how) = match &self.inner.engine {
            Engine::Memory(memory) => (memory.get(entity, view), "hit"),
            Engine::Redis(redis) => (redis.near(entity, view), "near"),
        };
        if let Some(found) = found {
            metrics::counter!("cache_reads_total", "result" => how).increment(1);
            return Ok(found);
        }
        Box::pin(self.load_missed(entity, view, load)).await
    }

    async fn load_missed<T: Cached, E>(
        &self,
        entity: Entity,
        view: View,
        load: impl Future<Output = Result<Seen<T>, E>>,
    ) -> Result<Seen<Arc<T>>, E> {
        let floor = self.shown(entity);
        for _ in 0..MOST_WAITS {
            match self.inner.flights.board((entity, view)) {
                Boarding::First(flight) => return self.load_for_all(flight, entity, view, load).await,
                Boarding::Other(waiting) => match waiting.end(MOST_PATIENCE).await {
                    Ended::With(value, position) if floor.is_none_or(|floor| position >= floor) => {
                        let Ok(value) = value.downcast() else { break };
                        metrics::counter!("cache_reads_total", "result" => "shared").increment(1);
                        return Ok(Seen { value, position });
                    }
                    Ended::Without => {}
                    Ended::With(..) | Ended::Late => break,
                },
            }
        }
        Ok(shared(self.ask_slave(load).await?))
    }

    async fn load_for_all<T: Cached, E>(
        &self,
        flight: Flight<'_>,
        entity: Entity,
        view: View,
        load: impl Future<Output = Result<Seen<T>, E>>,
    ) -> Result<Seen<Arc<T>>, E> {
        // It may have come while this one boarded.
        let (found, lock, how) = match &self.inner.engine {
            Engine::Memory(memory) => (memory.get::<T>(entity, view), None, "hit"),
            Engine::Redis(redis) => match redis.take(entity, view).await {
                Taken::Found(found) => (Some(found), None, "redis"),
                Taken::Load(lock) => (None, lock, "redis"),
            },
        };
        if let Some(found) = found {
            metrics::counter!("cache_reads_total", "result" => how).increment(1);
            flight.land(found.value.clone(), found.position);
            return Ok(found);
        }
        let seen = match self.ask_slave(load).await {
            Ok(seen) => shared(seen),
            Err(error) => {
                if let (Engine::Redis(redis), Some(lock)) = (&self.inner.engine, lock) {
                    redis.release(lock).await;
                }
                return Err(error);
            }
        };
        self.fill_under(lock, entity, view, &seen).await;
        flight.land(seen.value.clone(), seen.position);
        Ok(seen)
    }

    async fn ask_slave<T, E>(&self, load: impl Future<Output = Result<Seen<T>, E>>) -> Result<Seen<T>, E> {
        metrics::counter!("cache_reads_total", "result" => "miss").increment(1);
        let _turn = match &self.inner.engine {
            Engine::Memory(_) => None,
            Engine::Redis(redis) => redis.turn().await,
        };
        load.await
    }

    /// Stores a view that was read from a slave, unless the cache is already further than that slave was.
    pub async fn fill<T: Cached>(&self, entity: Entity, view: View, seen: &Seen<Arc<T>>) {
        self.fill_under(None, entity, view, seen).await;
    }

    async fn fill_under<T: Cached>(
        &self,
        lock: Option<Lock>,
        entity: Entity,
        view: View,
        seen: &Seen<Arc<T>>,
    ) {
        let stored = match &self.inner.engine {
            Engine::Memory(memory) => {
                memory.fill(entity, view, Arc::clone(&seen.value) as Value, seen.position)
            }
            Engine::Redis(redis) => Box::pin(redis.fill(lock, entity, view, seen)).await,
        };
        if !stored {
            metrics::counter!("cache_fill_refused_total").increment(1);
        }
    }

    /// Takes in what changed in a lane after a sequence and up to a position. A slave that is behind the cursor does not
    /// move it back; another generation, whose numbers mean something else, begins empty.
    pub async fn follow(&self, after: u64, changed: &Seen<Vec<Entity>>) -> Followed {
        match &self.inner.engine {
            Engine::Memory(memory) => memory.follow(after, changed),
            Engine::Redis(redis) => redis.follow(after, changed).await,
        }
    }

    /// How often [`Cache::follow`] is to be called even where nothing changes; `None`: there is no need.
    pub fn beat(&self) -> Option<Duration> {
        match &self.inner.engine {
            Engine::Memory(_) => None,
            Engine::Redis(_) => Some(redis::BEAT),
        }
    }

    /// Forgets everything of a lane and its cursor: where its changes cannot be followed any more.
    pub async fn forget(&self, lane: LaneId) {
        match &self.inner.engine {
            Engine::Memory(memory) => memory.forget(lane),
            Engine::Redis(redis) => redis.forget(lane).await,
        }
    }

    /// Follows how far a lane is visible through this cache; `None` while it has no cursor.
    pub fn watch(&self, lane: LaneId) -> Option<watch::Receiver<Option<Position>>> {
        self.memory().watch(lane)
    }

    /// Whether a view is held in this process, be it to be served or not.
    pub fn holds(&self, entity: Entity, view: View) -> bool {
        self.memory().holds(entity, view)
    }

    /// How many entities are held in this process, about.
    pub fn entities(&self) -> u64 {
        self.memory().entities()
    }

    /// How far an entity's lane has been shown here.
    fn shown(&self, entity: Entity) -> Option<Position> {
        match &self.inner.engine {
            Engine::Memory(memory) => memory.cursor(memory.lane(entity)),
            Engine::Redis(redis) => redis.shown(entity),
        }
    }

    fn memory(&self) -> &Memory {
        match &self.inner.engine {
            Engine::Memory(memory) => memory,
            Engine::Redis(redis) => redis.near_cache(),
        }
    }
}

fn shared<T>(seen: Seen<T>) -> Seen<Arc<T>> {
    Seen { value: Arc::new(seen.value), position: seen.position }
}
