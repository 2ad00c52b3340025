//! The cache in a process's own memory: the whole cache of the embedded profile, and the near cache in front of Redis.
//!
//! A fill holds its lane's cursor for reading, [`Memory::follow`] for writing, so that a fill and a change never pass each
//! other. Values are kept as they are; nothing is encoded.
use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use protocol::{LaneId, Position, routing::ShardMap};
use tokio::sync::watch;

use super::{Followed, MOST_VIEWS, View};
use crate::{rows::Entity, store::Seen};

/// A value of any type.
pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// A view, and where its lane stood when it was read.
#[derive(Clone)]
struct Held {
    value: Value,
    position: Position,
}

/// The views of one entity.
#[derive(Clone, Default)]
struct Entry {
    views: Arc<RwLock<HashMap<View, Held>>>,
}

/// A lane's cursor.
struct Lane {
    cursor: RwLock<Option<Position>>,
    visible: watch::Sender<Option<Position>>,
}

/// Entities with their views, and a cursor for each lane.
pub(super) struct Memory {
    entries: moka::sync::Cache<Entity, Entry>,
    lanes: HashMap<LaneId, Lane>,
    map: ShardMap,
}

impl Memory {
    pub(super) fn new(map: ShardMap, entities: u64) -> Self {
        let lane = || Lane { cursor: RwLock::new(None), visible: watch::Sender::new(None) };
        let lanes = map.lanes().map(|id| (id, lane())).collect();
        Memory { entries: moka::sync::Cache::new(entities), lanes, map }
    }

    /// A view, and the cursor when it was looked up.
    pub(super) fn get<T: Send + Sync + 'static>(&self, entity: Entity, view: View) -> Option<Seen<Arc<T>>> {
        let (held, cursor) = self.held(entity, view)?;
        Some(Seen { value: held.value.downcast().ok()?, position: cursor })
    }

    /// A view, and how fresh it is: as the cursor, or as it was read where that is fresher still.
    pub(super) fn freshest<T: Send + Sync + 'static>(
        &self,
        entity: Entity,
        view: View,
    ) -> Option<Seen<Arc<T>>> {
        let (held, cursor) = self.held(entity, view)?;
        Some(Seen { value: held.value.downcast().ok()?, position: cursor.max(held.position) })
    }

    pub(super) fn holds(&self, entity: Entity, view: View) -> bool {
        self.held(entity, view).is_some()
    }

    fn held(&self, entity: Entity, view: View) -> Option<(Held, Position)> {
        let lane = self.lanes.get(&self.lane(entity))?;
        // The cursor first: a view found afterwards is at least as fresh.
        let cursor = (*read(&lane.cursor))?;
        let entry = self.entries.get(&entity)?;
        let held = read(&entry.views).get(&view).cloned()?;
        Some((held, cursor))
    }

    /// Stores a view; `false` where the cursor is further than it, of another generation, or not there.
    pub(super) fn fill(&self, entity: Entity, view: View, value: Value, position: Position) -> bool {
        let Some(lane) = self.lanes.get(&self.lane(entity)) else { return false };
        let cursor = read(&lane.cursor);
        if cursor.is_none_or(|at| at.generation != position.generation || position < at) {
            return false;
        }
        let entry = self.entries.entry(entity).or_default().into_value();
        let mut views = write(&entry.views);
        // Views of days gone by are never asked for again; whatever else goes with them is loaded anew.
        if views.len() >= MOST_VIEWS {
            views.clear();
        }
        views.insert(view, Held { value, position });
        true
    }

    /// Takes in what changed in a lane after a sequence and up to a position.
    pub(super) fn follow(&self, after: u64, changed: &Seen<Vec<Entity>>) -> Followed {
        let to = changed.position;
        let Some(lane) = self.lanes.get(&to.lane) else { return Followed::InStep };
        let mut cursor = write(&lane.cursor);
        for entity in &changed.value {
            self.entries.invalidate(entity);
        }
        match *cursor {
            Some(at) if at >= to => return Followed::InStep,
            Some(at) if at.generation == to.generation && at.sequence < after => {
                return Followed::Missed(at.sequence);
            }
            Some(at) if at.generation != to.generation => self.entries.invalidate_all(),
            _ => {}
        }
        *cursor = Some(to);
        // Told under the lock, so that two followers tell in the order in which they moved it.
        lane.visible.send_replace(Some(to));
        Followed::InStep
    }

    /// Forgets everything of a lane and its cursor.
    pub(super) fn forget(&self, lane_id: LaneId) {
        let Some(lane) = self.lanes.get(&lane_id) else { return };
        let mut cursor = write(&lane.cursor);
        *cursor = None;
        lane.visible.send_replace(None);
        // Entities of other lanes go too; they are filled again. Losing one's place is rare.
        self.entries.invalidate_all();
    }

    /// Takes one entity out.
    pub(super) fn remove(&self, entity: Entity) {
        self.entries.invalidate(&entity);
    }

    /// Takes all entities out; cursors stay.
    pub(super) fn clear(&self) {
        self.entries.invalidate_all();
    }

    pub(super) fn watch(&self, lane: LaneId) -> Option<watch::Receiver<Option<Position>>> {
        self.lanes.get(&lane).map(|lane| lane.visible.subscribe())
    }

    /// How far an entity's lane is followed.
    pub(super) fn cursor(&self, lane: LaneId) -> Option<Position> {
        self.lanes.get(&lane).and_then(|lane| *read(&lane.cursor))
    }

    pub(super) fn entities(&self) -> u64 {
        self.entries.entry_count()
    }

    pub(super) fn lane(&self, entity: Entity) -> LaneId {
        self.map.lane(entity.bucket())
    }
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
