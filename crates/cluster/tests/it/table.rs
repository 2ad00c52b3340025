//! The routing table: followed, kept, and there at a start without etcd.
use std::{sync::Arc, time::Duration};

use cluster::{Coordinator, Keys, Membership, TakeError, assign::assign, read_table};
use protocol::{LaneId, routing::RoutingTable};
use tokio::sync::watch;

use crate::{folder::node, servers::Servers};

const LONG: Duration = Duration::from_secs(10);

async fn version(table: &mut watch::Receiver<Arc<RoutingTable>>, version: u64) -> Arc<RoutingTable> {
    let reached = table.wait_for(|table| table.version() == version);
    Arc::clone(&*tokio::time::timeout(LONG, reached).await.unwrap().unwrap())
}

#[tokio::test]
async fn etcd_the_table_is_followed_kept_and_read_at_a_start_without_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routing.json");
    let mut servers = Servers::start(1).await;
    let (etcd, key) = (servers.etcd(), Keys::new("/gridesk").table());
    let (a, b) = (node("a"), node("b"));
    let lanes: Vec<LaneId> = (0..8).map(LaneId).collect();
    let start = || Coordinator::etcd(&servers.settings(), a.clone(), Some(file.clone())).unwrap();
    let coordinator = start();
    coordinator.join();
    let mut table = coordinator.routing();
    assert_eq!(table.borrow().version(), 0);

    let one = assign(&RoutingTable::default(), std::slice::from_ref(&a), &lanes, 1).unwrap();
    etcd.put(&key, &serde_json::to_vec(&one).unwrap(), None).await.unwrap();
    version(&mut table, 1).await;
    assert_eq!(coordinator.my_lanes().len(), 8);
    let two = assign(&one, &[a.clone(), b], &lanes, 2).unwrap();
    etcd.put(&key, &serde_json::to_vec(&two).unwrap(), None).await.unwrap();
    version(&mut table, 2).await;
    assert_eq!(coordinator.my_lanes().len(), 4);
    // What cannot be read is left out, and a table that is taken away stays.
    etcd.put(&key, b"{}", None).await.unwrap();
    etcd.delete(&cluster::etcd::Span::Key(key)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*version(&mut table, 2).await, two);
    assert_eq!(read_table(&file).unwrap(), Some(two.clone()));
    coordinator.leave().await.unwrap();
    drop(coordinator);

    servers.kill(0);
    let alone = Coordinator::etcd(&servers.settings(), a.clone(), Some(file.clone())).unwrap();
    alone.join();
    assert_eq!(**alone.routing().borrow(), two);
    assert_eq!(alone.my_lanes().len(), 4);
    // For reading only: no lane is had without etcd.
    let refused = alone.take(LaneId(0), Duration::from_millis(700)).await.unwrap_err();
    assert!(matches!(refused, TakeError::NotJoined(_)), "{refused}");
    servers.restart(0);
    servers.answer().await;
    let mut membership = alone.membership();
    let joined = membership.wait_for(|membership| *membership == Membership::Joined);
    tokio::time::timeout(LONG, joined).await.unwrap().unwrap();
    alone.take(LaneId(0), LONG).await.unwrap();
}
