//! The embedded profile behind the same interface.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::{Coordinator, Membership, TakeError};
use protocol::{LaneId, bounds::Text, routing::NodeEntry};
use runtime::lock::FolderLock;

const SHORT: Duration = Duration::from_millis(50);

/// A node of room `main` with capacity 4.
pub(crate) fn node(id: &str) -> NodeEntry {
    let address = Text::new(format!("{id}.main:7000")).unwrap();
    NodeEntry { id: id.parse().unwrap(), room: "main".parse().unwrap(), address, capacity: 4, stay: 0 }
}

#[tokio::test]
async fn the_one_node_has_every_lane_while_the_folder_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Arc::new(FolderLock::acquire_as(folder.path(), "test").unwrap());
    let epochs: BTreeMap<_, _> = (0..4).map(|lane| (LaneId(lane), 9)).collect();
    let alone = Coordinator::folder(lock, node("only"), epochs).unwrap();
    assert_eq!(*alone.membership().borrow(), Membership::Joined);
    assert_eq!(alone.my_lanes().len(), 4);
    assert_eq!(alone.routing().borrow().node_of(LaneId(3)).unwrap().id.as_str(), "only");

    let lease = alone.take(LaneId(1), SHORT).await.unwrap();
    assert!(lease.valid());
    assert_eq!((lease.lane(), lease.epoch()), (LaneId(1), 9));
    assert!(matches!(alone.take(LaneId(1), SHORT).await, Err(TakeError::Claim(_))));
    assert!(matches!(alone.take(LaneId(9), SHORT).await, Err(TakeError::NoLane(LaneId(9)))));
    let waiting = tokio::spawn({
        let alone = alone.clone();
        async move { alone.take(LaneId(1), Duration::from_secs(5)).await.unwrap() }
    });
    tokio::time::sleep(SHORT).await;
    lease.release().await.unwrap();
    let lease = waiting.await.unwrap();

    // Locked for as long as anything of it is there.
    assert!(tokio::time::timeout(SHORT, lease.lost()).await.is_err());
    alone.leave().await.unwrap();
    lease.lost().await;
    assert!(!lease.valid());
    assert!(matches!(alone.take(LaneId(2), SHORT).await, Err(TakeError::Left)));
    drop(alone);
    assert!(FolderLock::acquire_as(folder.path(), "test").is_err());
    drop(lease);
    FolderLock::acquire_as(folder.path(), "test").unwrap();
}
