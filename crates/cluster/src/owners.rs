//! The owners' keys of this node's lanes, watched: one that is taken away by hand is lost too.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::LaneId;
use tokio::sync::watch;

use crate::{
    etcd::{Etcd, Event, Seen, Span, Watcher},
    keys::Keys,
};

/// The lanes that this node has.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<LaneId, (u64, watch::Sender<bool>)>,
    /// The revision at which a lane's key was last seen to end.
    ended: BTreeMap<LaneId, u64>,
    /// All keys when they were last read, by the revision that made each; and at which revision that was.
    read: (u64, BTreeMap<LaneId, u64>),
}

impl State {
    /// Whether the key that was made at `epoch` is known to be there no more.
    fn is_gone(&self, lane: LaneId, epoch: u64) -> bool {
        let (read_at, read) = &self.read;
        let ended = self.ended.get(&lane).is_some_and(|ended| *ended > epoch);
        ended || *read_at >= epoch && read.get(&lane) != Some(&epoch)
    }
}

impl Owners {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane is this node's; gives a switch that turns when its key is gone.
    pub(crate) fn note(&self, lane: LaneId, epoch: u64) -> watch::Receiver<bool> {
        let mut state = self.lock();
        let (sender, receiver) = watch::channel(state.is_gone(lane, epoch));
        state.held.insert(lane, (epoch, sender));
        receiver
    }

    /// It is this node's no more.
    pub(crate) fn forget(&self, lane: LaneId, epoch: u64) {
        let mut state = self.lock();
        if state.held.get(&lane).is_some_and(|(held, _)| *held == epoch) {
            state.held.remove(&lane);
        }
    }

    fn see(&self, keys: &Keys, seen: &Seen) {
        let mut state = self.lock();
        match seen {
            Seen::All { keys: found, revision } => {
                let lanes = found.iter().filter_map(|kv| Some((keys.lane_of(&kv.key)?, kv.create_revision)));
                state.read = (*revision, lanes.collect());
            }
            Seen::Changes(events) => {
                for event in events {
                    if let Event::Delete { key, revision } = event
                        && let Some(lane) = keys.lane_of(key)
                    {
                        state.ended.insert(lane, *revision);
                    }
                }
            }
        }
        let held = state.held.iter();
        let gone = held.filter(|(lane, (epoch, _))| state.is_gone(**lane, *epoch));
        for (lane, (epoch, switch)) in gone {
            if !switch.send_replace(true) {
                tracing::warn!(lane = lane.0, epoch, "the key of a lane's owner is gone");
            }
        }
    }
}

/// Watches the keys until it is aborted.
pub(crate) async fn watch_owners(etcd: Etcd, keys: Keys, owners: Arc<Owners>) {
    let mut watcher = Watcher::new(etcd, Span::Prefix(keys.lanes()));
    loop {
        match watcher.next().await {
            Ok(seen) => owners.see(&keys, &seen),
            // Meanwhile the lease alone says it.
            Err(error) => tracing::debug!(%error, "the lanes' owners are not seen at the moment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::KeyValue;

    const LANE: LaneId = LaneId(7);

    fn all(revision: u64, made_at: Option<u64>) -> Seen {
        let key = |made_at| KeyValue {
            key: "/g/lanes/7/owner".to_owned(),
            value: Vec::new(),
            create_revision: made_at,
            mod_revision: made_at,
            version: 1,
            lease: None,
        };
        Seen::All { keys: made_at.map(key).into_iter().collect(), revision }
    }

    fn end(revision: u64) -> Seen {
        Seen::Changes(vec![Event::Delete { key: "/g/lanes/7/owner".to_owned(), revision }])
    }

    /// What is seen before the lane is noted, and after; whether it is gone at the end.
    fn gone(before: &[Seen], epoch: u64, after: &[Seen]) -> bool {
        let (keys, owners) = (Keys::new("/g"), Owners::default());
        before.iter().for_each(|seen| owners.see(&keys, seen));
        let switch = owners.note(LANE, epoch);
        after.iter().for_each(|seen| owners.see(&keys, seen));
        *switch.borrow()
    }

    #[test]
    fn a_key_is_gone_when_its_own_end_was_seen_and_not_another_ones() {
        assert!(!gone(&[all(4, None), end(5)], 6, &[]));
        assert!(gone(&[all(4, None)], 6, &[end(7)]));
        // etcd told the watch first.
        assert!(gone(&[all(4, None), end(7)], 6, &[]));
        // The one before it, told late.
        assert!(!gone(&[all(4, Some(3))], 6, &[end(5)]));
        // Read anew, after a gap.
        assert!(!gone(&[], 6, &[all(9, Some(6))]));
        assert!(gone(&[], 6, &[all(9, None)]));
        assert!(gone(&[all(9, Some(8))], 6, &[]));
        assert!(!gone(&[all(5, None)], 6, &[]));
        assert!(!gone(&[all(9, None), end(10)], 12, &[]));
    }

    #[test]
    fn an_older_hold_does_not_forget_a_later_one() {
        let owners = Owners::default();
        let _first = owners.note(LANE, 6);
        let later = owners.note(LANE, 9);
        owners.forget(LANE, 6);
        owners.see(&Keys::new("/g"), &end(10));
        assert!(*later.borrow());
    }
}
