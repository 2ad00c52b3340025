//! The cache of the cluster profile: a Redis that the nodes of a room share, and a near cache in each node.
//!
//! # In Redis
//! A lane's keys carry its number as hash tag, so that one script may touch them all:
//! * `gridesk:{lane}:cursor`: a hash of epoch `e`, generation `g`, sequence `s`. The epoch is a random number, made anew
//!   with the cursor.
//! * `gridesk:{lane}:e:<entity>`: a hash of the entity's views, so that they go in one step. Each begins with the epoch
//!   under which it was stored.
//! * `gridesk:{lane}:l:<entity><view>`: the lock of who loads a view, for a short while.
//!
//! # Why no stale view is served
//! *Inside Redis.* A view is served only where there is a cursor and the view's epoch is the cursor's. Claim: such a view
//! shows every change of its entity up to the cursor. It is stored only if it was read at or after the cursor
//! ([`scripts::FILL`]). The cursor moves from `c` to `d` only by [`scripts::FOLLOW`], which in the same step deletes
//! whatever changed after some `after <= c` and up to `d`; one who does not know what changed since `c` is refused and
//! reads it up. Deletion, expiry and eviction only take views away. Where the cursor itself goes (evicted, flushed, an
//! empty Redis), nothing is served or stored until a follower makes it anew, with an epoch that no stored view has. Other
//! generations likewise begin with a new epoch. All this holds in whatever order the followers of several nodes come, for
//! none relies on having been the last, and the same call twice changes nothing.
//!
//! *An older copy* (a replica that was promoted, a file that was loaded) is the state after some earlier script, since
//! the effects of a script are replicated and written as one. So the claim holds in it: its views are as fresh as **its**
//! cursor. It is old only beside what nodes have shown already, and that they remember: each knows the furthest cursor it
//! has seen or followed itself ([`Lane::shown`]), and a reply with a smaller one is a miss. Besides, the first follower to
//! find the cursor smaller than it left it begins the lane anew. Two Redis that both believe they are the master are two
//! caches, each right by itself.
//!
//! *In this node.* The near cache has cursors of its own, moved by this node's own follower, which sees every change of
//! the lane; by them it is right without any message from Redis. But another node's follower may be ahead and this node
//! may have shown that: so a near view is served only if it is as fresh as the furthest cursor seen. Redis's client
//! tracking merely takes views out sooner. It is no more than that on purpose: a message about a key comes some time after
//! the cursor has moved, and none comes for `FLUSHALL`. Tracking is on in the default mode, on the one connection that all
//! commands share: Redis then tells this node about the views that it has read, where the broadcast mode would tell all
//! nodes about every fill of any. When the connection is lost, the near cache is emptied, and it is not filled until
//! tracking is on again.
//!
//! *What is visible* ([`Cache::watch`](super::Cache::watch)) is the near cache's cursor. `follow` first tells Redis, then
//! raises [`Lane::shown`], then moves that cursor: from then on neither Redis (a smaller cursor is a miss) nor the near
//! cache serves this node anything older, even if Redis did not answer. While Redis is away, reads go to the slaves, and
//! the cursor in Redis stays behind; the follower finds out and says what was missed.
mod breaker;
mod config;
mod link;
mod scripts;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use fred::types::{Key, Value as Reply};
use protocol::{LaneId, Position, routing::ShardMap, wire};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::config::RedisConfig;
use self::{
    link::{Link, Session},
    scripts::Scripts,
};
use super::{
    Cached, Followed, View,
    memory::{Memory, Value, read, write},
};
use crate::{StorageError, rows::Entity, store::Seen};

/// How often a follower looks after its cursor.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// A cursor that nobody looks after goes by itself: change rows are not kept for ever.
const CURSOR_MS: u64 = 600_000;
/// Larger views are not stored, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// Where more entities changed at once, the lane begins anew.
const MOST_CHANGED: usize = 10_000;
/// Of the encoding of views in general; another program version's are a miss.
const FORMAT: u8 = 1;
/// What a view begins with after its epoch: the format, then generation and sequence at which it was read.
const HEADER: usize = 1 + 4 + 8;

/// What a node knows of a lane.
#[derive(Default)]
struct Lane {
    /// The furthest cursor that this node has seen or followed.
    shown: RwLock<Option<Position>>,
    /// Where this node's follower last left the cursor in Redis.
    left: Mutex<Option<Position>>,
    /// Whether the lane is to begin anew, because it could not be forgotten when it should have been.
    anew: AtomicBool,
}

impl Lane {
    fn raise(&self, position: Position) {
        if read(&self.shown).is_none_or(|shown| shown < position) {
            let mut shown = write(&self.shown);
            *shown = (*shown).max(Some(position));
        }
    }
}

/// A room's Redis, as a node sees it.
pub(super) struct Redis {
    config: RedisConfig,
    link: Link,
    scripts: Scripts,
    near: Arc<Memory>,
    lanes: HashMap<LaneId, Lane>,
    turns: Semaphore,
}

/// The right to load a view for the room, for a short while.
pub(super) struct Lock {
    key: Key,
    owner: String,
}

/// What became of wanting a view.
pub(super) enum Taken<T> {
    /// It is there.
    Found(Seen<Arc<T>>),
    /// It is to be loaded; under a lock, unless the room's cache is of no help now.
    Load(Option<Lock>),
}

/// What Redis says of a view.
struct Looked<T> {
    found: Option<Seen<Arc<T>>>,
    locked: bool,
    /// Whether it is worth waiting until another node has stored the view.
    is_awaited: bool,
}

impl Redis {
    pub(super) async fn connect(map: ShardMap, config: &RedisConfig) -> Result<Self, StorageError> {
        let lanes = map.lanes().map(|lane| (lane, Lane::default())).collect();
        let near = Arc::new(Memory::new(map, config.near_entities));
        let link = Link::connect(config, Arc::clone(&near)).await?;
        let turns = Semaphore::new(usize::from(config.loads_at_once).max(1));
        Ok(Redis { config: config.clone(), link, scripts: Scripts::new(), near, lanes, turns })
    }

    pub(super) fn near_cache(&self) -> &Memory {
        &self.near
    }

    /// How far an entity's lane has been shown here.
    pub(super) fn shown(&self, entity: Entity) -> Option<Position> {
        self.lanes.get(&self.near.lane(entity)).and_then(|lane| *read(&lane.shown))
    }

    /// A view from this node's memory.
    pub(super) fn near<T: Cached>(&self, entity: Entity, view: View) -> Option<Seen<Arc<T>>> {
        // What has been shown first: a view that is as fresh as that may be served, whatever is shown meanwhile.
        let shown = self.shown(entity)?;
        let found = self.near.freshest(entity, view)?;
        (found.position >= shown).then_some(Seen { value: found.value, position: shown })
    }

    pub(super) async fn get<T: Cached>(&self, entity: Entity, view: View) -> Option<Seen<Arc<T>>> {
        match self.near(entity, view) {
            Some(found) => Some(found),
            None => self.look(entity, view, None).await?.found,
        }
    }

    /// A view from Redis, or the right to load it; waits a bounded time for another node that is loading it.
    pub(super) async fn take<T: Cached>(&self, entity: Entity, view: View) -> Taken<T> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(4);
        loop {
            let lock =
                Lock { key: lock_key(self.near.lane(entity), entity, view), owner: self.link.random() };
            match self.look(entity, view, Some(&lock)).await {
                Some(Looked { found: Some(found), .. }) => return Taken::Found(found),
                Some(Looked { locked: true, .. }) => {
                    self.wait_for_slave(entity).await;
                    return Taken::Load(Some(lock));
                }
                None | Some(Looked { is_awaited: false, .. }) => break,
                Some(_) if waited >= self.config.load_wait() => {
                    metrics::counter!("cache_load_waits_over_total").increment(1);
                    break;
                }
                Some(_) => {}
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        self.wait_for_slave(entity).await;
        Taken::Load(None)
    }

    /// Waits a short while until this node's slave, as its follower sees it, is where the node has shown the lane to be.
    async fn wait_for_slave(&self, entity: Entity) {
        let lane = self.near.lane(entity);
        let (Some(shown), Some(mut visible)) = (self.shown(entity), self.near.watch(lane)) else { return };
        let reached = |at: &Option<Position>| at.is_none_or(|at| at >= shown);
        if tokio::time::timeout(self.config.timeout(), visible.wait_for(reached)).await.is_err() {
            metrics::counter!("cache_slave_behind_total").increment(1);
        }
    }

    /// One turn at the slaves. They are not asked by more at once, also where the cache is away.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Asks Redis; `None` where it does not answer.
    async fn look<T: Cached>(&self, entity: Entity, view: View, lock: Option<&Lock>) -> Option<Looked<T>> {
        let lane_id = self.near.lane(entity);
        let lane = self.lanes.get(&lane_id)?;
        // Without a follower's cursor here, this node could not say later what it has shown.
        self.near.cursor(lane_id)?;
        if lane.anew.load(SeqCst) {
            return None;
        }
        let floor = *read(&lane.shown);
        let session = self.link.session(entity);
        let mut keys = vec![cursor_key(lane_id), entity_key(lane_id, entity)];
        let mut arguments = vec![bytes(&field(view))];
        if let Some(lock) = lock {
            keys.push(lock.key.clone());
            arguments.extend([text(&lock.owner), number(u64::from(self.config.load_lock_ms))]);
        }
        let reply = self.link.call(&self.scripts.get, keys, arguments).await?.into_array();
        let Some(cursor) = position(lane_id, &reply) else {
            return Some(Looked { found: None, locked: false, is_awaited: false });
        };
        lane.raise(cursor);
        let locked = reply.get(3).and_then(Reply::as_u64) == Some(1);
        let is_behind = floor.is_some_and(|floor| cursor < floor);
        let stored = reply.get(2).and_then(Reply::as_bytes);
        let found = stored.filter(|_| !is_behind).and_then(|stored| decode::<T>(lane_id, stored));
        let Some((value, filled)) = found else {
            return Some(Looked { found: None, locked, is_awaited: stored.is_none() && !is_behind });
        };
        let value = Arc::new(value);
        self.fill_near(session, entity, view, Arc::clone(&value) as Value, cursor.max(filled));
        Some(Looked { found: Some(Seen { value, position: cursor }), locked, is_awaited: false })
    }

    fn fill_near(&self, session: Session, entity: Entity, view: View, value: Value, position: Position) {
        self.link.if_still(session, entity, || self.near.fill(entity, view, value, position));
    }

    /// Stores a view; gives the lock back in any case. `false` where it was not stored.
    pub(super) async fn fill<T: Cached>(
        &self,
        lock: Option<Lock>,
        entity: Entity,
        view: View,
        seen: &Seen<Arc<T>>,
    ) -> bool {
        let lane = self.near.lane(entity);
        let session = self.link.session(entity);
        let (payload, is_absent) = encode(seen);
        if payload.len() > MOST_BYTES {
            metrics::counter!("cache_too_large_total").increment(1);
            if let Some(lock) = lock {
                self.release(lock).await;
            }
            return false;
        }
        let Position { generation, sequence, .. } = seen.position;
        let mut keys = vec![cursor_key(lane), entity_key(lane, entity)];
        let mut arguments = vec![
            bytes(&field(view)),
            number(u64::from(generation)),
            number(sequence),
            bytes(&payload),
            number(self.ttl_ms(is_absent)),
            number(super::MOST_VIEWS as u64),
        ];
        if let Some(lock) = lock {
            keys.push(lock.key);
            arguments.push(text(&lock.owner));
        }
        let reply = self.link.call(&self.scripts.fill, keys, arguments).await;
        let stored = reply.and_then(|reply| reply.as_u64()) == Some(1);
        if stored {
            self.fill_near(session, entity, view, Arc::clone(&seen.value) as Value, seen.position);
        }
        stored
    }

    /// Gives a lock back without having stored anything.
    pub(super) async fn release(&self, lock: Lock) {
        self.link.call(&self.scripts.release, vec![lock.key], vec![text(&lock.owner)]).await;
    }

    /// How long a view is kept: what is not there for less long, and all of them a fifth more or less.
    fn ttl_ms(&self, is_absent: bool) -> u64 {
        let ttl_ms = 1000 * u64::from(if is_absent { self.config.ttl_absent_s } else { self.config.ttl_s });
        let fifth = (ttl_ms / 5).max(1);
        ttl_ms - fifth + self.link.random_below(2 * fifth)
    }

    pub(super) async fn follow(&self, after: u64, changed: &Seen<Vec<Entity>>) -> Followed {
        let Some(lane) = self.lanes.get(&changed.position.lane) else { return Followed::InStep };
        let followed = self.follow_in_redis(lane, after, changed).await;
        // In this order: what is shown is never less than what is visible.
        lane.raise(changed.position);
        if let Followed::Missed(_) = self.near.follow(after, changed) {
            self.near.forget(changed.position.lane);
            self.near.follow(after, changed);
        }
        followed
    }

    async fn follow_in_redis(&self, lane: &Lane, after: u64, changed: &Seen<Vec<Entity>>) -> Followed {
        let to = changed.position;
        let left = *lane.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let anew = match (lane.anew.load(SeqCst), changed.value.len() > MOST_CHANGED) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        };
        let mut keys = vec![cursor_key(to.lane)];
        if anew == 0 {
            keys.extend(changed.value.iter().map(|entity| entity_key(to.lane, *entity)));
        }
        let left = left.filter(|left| left.generation == to.generation).map_or(0, |left| left.sequence);
        let arguments = vec![
            number(after),
            number(u64::from(to.generation)),
            number(to.sequence),
            text(&self.link.random()),
            number(left),
            number(anew),
            number(CURSOR_MS),
        ];
        let Some(reply) = self.link.call(&self.scripts.follow, keys, arguments).await else {
            return Followed::Away;
        };
        let reply = reply.into_array();
        let (Some(cursor), Some(how)) = (position(to.lane, &reply), reply.get(2).and_then(Reply::as_u64))
        else {
            return Followed::Away;
        };
        *lane.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(cursor);
        lane.raise(cursor);
        match how {
            scripts::MISSED => Followed::Missed(cursor.sequence),
            scripts::BEGUN => {
                lane.anew.store(false, SeqCst);
                metrics::counter!("cache_lane_begun_total").increment(1);
                tracing::info!(
                    lane = to.lane.0,
                    sequence = to.sequence,
                    "the room's cache of a lane begins empty"
                );
                Followed::InStep
            }
            _ => Followed::InStep,
        }
    }

    pub(super) async fn forget(&self, lane_id: LaneId) {
        let Some(lane) = self.lanes.get(&lane_id) else { return };
        // Until Redis has let go of the cursor, this node does not ask it about the lane.
        lane.anew.store(true, SeqCst);
        self.near.forget(lane_id);
        self.link.call(&self.scripts.forget, vec![cursor_key(lane_id)], vec![]).await;
    }
}

fn cursor_key(lane: LaneId) -> Key {
    format!("gridesk:{{{lane}}}:cursor").into()
}

fn entity_key(lane: LaneId, entity: Entity) -> Key {
    let mut key = format!("gridesk:{{{lane}}}:e:").into_bytes();
    key.extend(wire::encode(&entity));
    key.into_boxed_slice().into()
}

/// The entity whose key it is.
fn entity_of(key: &[u8]) -> Option<Entity> {
    let tag = key.strip_prefix(b"gridesk:{")?;
    let end = tag.iter().position(|byte| *byte == b'}')?;
    wire::decode(tag.get(end + 1..)?.strip_prefix(b":e:")?).ok()
}

fn lock_key(lane: LaneId, entity: Entity, view: View) -> Key {
    let mut key = format!("gridesk:{{{lane}}}:l:").into_bytes();
    key.extend(wire::encode(&entity));
    key.extend(field(view));
    key.into_boxed_slice().into()
}

fn field(view: View) -> [u8; 9] {
    let mut field = [view.kind; 9];
    field[1..].copy_from_slice(&view.parameter.to_be_bytes());
    field
}

/// A view as it is stored, and whether it says that there is nothing: a lone zero is `None`, or an empty list.
fn encode<T: Cached>(seen: &Seen<Arc<T>>) -> (Vec<u8>, bool) {
    let value = wire::encode(&*seen.value);
    let mut payload = Vec::with_capacity(HEADER + value.len());
    payload.push(FORMAT);
    payload.extend(seen.position.generation.to_be_bytes());
    payload.extend(seen.position.sequence.to_be_bytes());
    payload.extend(&value);
    (payload, value == [0])
}

/// A stored view and where it was read; `None` where another program version wrote it.
fn decode<T: Cached>(lane: LaneId, stored: &[u8]) -> Option<(T, Position)> {
    let (header, value) = stored.split_at_checked(HEADER)?;
    let generation = u32::from_be_bytes(header.get(1..5)?.try_into().ok()?);
    let sequence = u64::from_be_bytes(header.get(5..)?.try_into().ok()?);
    if header.first() != Some(&FORMAT) {
        return None;
    }
    Some((wire::decode(value).ok()?, Position { lane, generation, sequence }))
}

/// The cursor that a reply begins with.
fn position(lane: LaneId, reply: &[Reply]) -> Option<Position> {
    let number = |n: usize| -> Option<u64> { reply.get(n)?.as_u64() };
    Some(Position { lane, generation: number(0)?.try_into().ok()?, sequence: number(1)? })
}

fn bytes(bytes: &[u8]) -> Reply {
    Reply::from(bytes)
}

fn text(text: &str) -> Reply {
    Reply::from(text)
}

fn number(number: u64) -> Reply {
    Reply::from(number.to_string())
}

#[cfg(test)]
mod tests {
    use protocol::CustomerId;

    use super::*;

    #[test]
    fn a_key_names_its_entity() {
        let customer = CustomerId::mint(protocol::Bucket::FIRST, 0x7d_0000);
        for entity in [Entity::Customer(customer), Entity::Division(330_106)] {
            assert_eq!(entity_of(entity_key(LaneId(12), entity).as_bytes()), Some(entity));
        }
        assert_eq!(entity_of(cursor_key(LaneId(3)).as_bytes()), None);
        let view = View { kind: 1, parameter: 2 };
        assert_eq!(entity_of(lock_key(LaneId(3), Entity::Division(1), view).as_bytes()), None);
        assert_eq!(entity_of(b"gridesk:{"), None);
    }

    #[test]
    fn what_another_version_stored_is_a_miss() {
        let at = Position { lane: LaneId(1), generation: 3, sequence: 99 };
        let (mut stored, is_absent) = encode(&Seen { value: Arc::new(Some(7u64)), position: at });
        assert!(!is_absent);
        assert_eq!(decode::<Option<u64>>(LaneId(1), &stored), Some((Some(7), at)));
        assert_eq!(decode::<Option<(u64, u64)>>(LaneId(1), &stored), None);
        for length in 0..stored.len() {
            assert_eq!(decode::<Option<u64>>(LaneId(1), &stored[..length]), None);
        }
        stored[0] = FORMAT + 1;
        assert_eq!(decode::<Option<u64>>(LaneId(1), &stored), None);
        assert!(encode(&Seen { value: Arc::new(None::<u64>), position: at }).1);
    }
}
