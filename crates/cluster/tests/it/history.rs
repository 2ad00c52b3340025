//! Who worked on which lane when, and the judge of it.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use protocol::LaneId;
use runtime::boottime::BootTime;

/// One holder's time on a lane: from when it had it to when it last was sure of it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lane: LaneId,
    pub(crate) node: String,
    pub(crate) epoch: u64,
    pub(crate) from: BootTime,
    pub(crate) to: BootTime,
}

/// What several nodes write into. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Held>>>);

impl History {
    pub(crate) fn note(&self, held: Held) {
        self.0.lock().unwrap().push(held);
    }

    pub(crate) fn all(&self) -> Vec<Held> {
        self.0.lock().unwrap().clone()
    }
}

/// What is wrong: two holders of a lane at once, or an epoch that did not grow.
pub(crate) fn judge(history: &[Held]) -> Vec<String> {
    let mut lanes: BTreeMap<LaneId, Vec<&Held>> = BTreeMap::new();
    for held in history {
        lanes.entry(held.lane).or_default().push(held);
    }
    let mut wrong = Vec::new();
    for (lane, mut held) in lanes {
        held.sort_by_key(|held| held.from);
        // The one that lasts longest so far, since a short one may lie inside a long one.
        let mut latest: Option<&Held> = None;
        for held in held {
            if let Some(before) = latest {
                if held.from <= before.to {
                    wrong.push(format!("lane {lane}: {} and {} at once", before.node, held.node));
                }
                if held.epoch <= before.epoch {
                    wrong.push(format!("lane {lane}: epoch {} after {}", held.epoch, before.epoch));
                }
            }
            if latest.is_none_or(|before| held.to > before.to) {
                latest = Some(held);
            }
        }
    }
    wrong
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let start = BootTime::now();
    let at = |ms: u64| start + std::time::Duration::from_millis(ms);
    let held = |lane, node: &str, epoch, from, to| Held {
        lane: LaneId(lane),
        node: node.to_owned(),
        epoch,
        from: at(from),
        to: at(to),
    };
    let good = vec![held(1, "b", 7, 11, 20), held(1, "a", 5, 0, 10), held(2, "b", 6, 5, 15)];
    assert_eq!(judge(&good), [""; 0]);
    let with = |more: Held| judge(&[good.clone(), vec![more]].concat());
    assert_eq!(with(held(1, "c", 9, 20, 30)), ["lane 1: b and c at once"]);
    assert_eq!(with(held(1, "c", 6, 3, 4)).len(), 1);
    assert_eq!(with(held(2, "c", 9, 10, 11)), ["lane 2: b and c at once"]);
    assert_eq!(with(held(1, "c", 7, 21, 30)), ["lane 1: epoch 7 after 7"]);
    assert_eq!(with(held(1, "c", 8, 21, 30)), [""; 0]);
    // Inside a long one, after a short one.
    let long = [held(1, "a", 1, 0, 100), held(1, "b", 2, 10, 20), held(1, "c", 3, 50, 60)];
    assert_eq!(judge(&long).len(), 2);
}
