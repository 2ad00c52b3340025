//! The cache: what the slaves show, kept in step by position.
//!
//! A cache-sync task follows each lane's change rows as a slave shows them and tells the cache by [`Cache::follow`]: the
//! views of what changed go, and the lane's cursor moves, in one step. A view that was read below the cursor, or while
//! there is no cursor, is not stored: so nothing older than the cursor is ever served.
use std::{
    any::Any,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, RwLock},
};

use protocol::{LaneId, Position, routing::ShardMap};
use tokio::sync::watch;

use crate::{rows::Entity, store::Seen};

/// One of the views of an entity; a number and a parameter, chosen by who fills and reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Which kind of view.
    pub kind: u8,
    /// Its parameter: a month, a page.
    pub parameter: u64,
}

type Value = Arc<dyn Any + Send + Sync>;

/// The views of one entity.
#[derive(Clone, Default)]
struct Entry {
    views: Arc<RwLock<HashMap<View, Value>>>,
}

/// A handle on a node's cache.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    entries: moka::sync::Cache<Entity, Entry>,
    lanes: HashMap<LaneId, Lane>,
    map: ShardMap,
}

/// A lane's cursor. Fills hold it for reading, `follow` for writing, so that a fill and a change never pass each other.
struct Lane {
    cursor: RwLock<Option<Position>>,
    visible: watch::Sender<Option<Position>>,
}

/// The most views of one entity.
const MOST_VIEWS: usize = 64;

impl Cache {
    /// A cache of at most `entities` entities, empty and without cursors.
    pub fn new(map: ShardMap, entities: u64) -> Self {
        let lane = || Lane { cursor: RwLock::new(None), visible: watch::Sender::new(None) };
        let lanes = map.lanes().map(|id| (id, lane())).collect();
        Cache { inner: Arc::new(Inner { entries: moka::sync::Cache::new(entities), lanes, map }) }
    }

    /// A view, and how far the cache was in step when it was looked up.
    pub fn get<T: Send + Sync + 'static>(&self, entity: Entity, view: View) -> Option<Seen<Arc<T>>> {
        let lane = self.lane_of(entity)?;
        // The cursor first: a view found afterwards is at least as fresh.
        let position = (*read(&lane.cursor))?;
        let entry = self.inner.entries.get(&entity)?;
        let value = read(&entry.views).get(&view).cloned()?;
        let value = value.downcast::<T>().ok()?;
        Some(Seen { value, position })
    }

    /// Stores a view that was read from a slave, unless the cache is already further than that slave was.
    pub fn fill<T: Send + Sync + 'static>(&self, entity: Entity, view: View, seen: &Seen<Arc<T>>) {
        let Some(lane) = self.lane_of(entity) else { return };
        let cursor = read(&lane.cursor);
        if cursor.is_none_or(|at| at.generation != seen.position.generation || seen.position < at) {
            metrics::counter!("cache_fill_refused_total").increment(1);
            return;
        }
        let entry = self.inner.entries.entry(entity).or_default().into_value();
        let mut views = entry.views.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Views of days gone by are never asked for again; whatever else goes with them is loaded anew.
        if views.len() >= MOST_VIEWS {
            views.clear();
        }
        views.insert(view, seen.value.clone());
    }

    /// Takes in what changed in a lane up to a position. A slave that is behind the cursor does not move it back; another
    /// generation, whose numbers mean something else, begins empty.
    pub fn follow(&self, changed: &Seen<Vec<Entity>>) {
        let Some(lane) = self.inner.lanes.get(&changed.position.lane) else { return };
        let mut cursor = lane.cursor.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for entity in &changed.value {
            self.inner.entries.invalidate(entity);
        }
        match *cursor {
            Some(at) if at.generation == changed.position.generation && at >= changed.position => return,
            Some(at) if at.generation != changed.position.generation => self.inner.entries.invalidate_all(),
            _ => {}
        }
        *cursor = Some(changed.position);
        // Told under the lock, so that two followers tell in the order in which they moved it.
        lane.visible.send_replace(Some(changed.position));
    }

    /// Forgets everything of a lane and its cursor: where its changes cannot be followed any more.
    pub fn forget(&self, lane_id: LaneId) {
        let Some(lane) = self.inner.lanes.get(&lane_id) else { return };
        let mut cursor = lane.cursor.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        *cursor = None;
        lane.visible.send_replace(None);
        // Entities of other lanes go too; they are filled again. Losing one's place is rare.
        self.inner.entries.invalidate_all();
    }

    /// Follows how far a lane is visible through this cache; `None` while it has no cursor.
    pub fn watch(&self, lane: LaneId) -> Option<watch::Receiver<Option<Position>>> {
        self.inner.lanes.get(&lane).map(|lane| lane.visible.subscribe())
    }

    /// How many entities are held, about.
    pub fn entities(&self) -> u64 {
        self.inner.entries.entry_count()
    }

    fn lane_of(&self, entity: Entity) -> Option<&Lane> {
        self.inner.lanes.get(&self.inner.map.lane(entity.bucket()))
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}
