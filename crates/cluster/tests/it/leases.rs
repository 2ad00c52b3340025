//! Leases: who holds one knows by itself when it has to stop, before anybody else may begin.
use std::time::{Duration, Instant};

use cluster::{
    etcd::EtcdError,
    lease::{HeldLease, LeaseTerms},
};

use crate::servers::{Servers, Wire};

const ACTING: Duration = Duration::from_secs(2);
/// What the machine may be late by.
const SLACK: Duration = Duration::from_millis(500);

async fn gone_from_etcd(servers: &Servers, key: &str) {
    let etcd = servers.etcd();
    while !matches!(etcd.get(key).await, Ok(None)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn etcd_a_lease_is_kept_for_as_long_as_it_is_renewed() {
    let servers = Servers::start(1).await;
    let etcd = servers.etcd();
    let lease = HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    etcd.put("/kept", b"", Some(lease.id())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(lease.valid() && lease.remaining() > Duration::from_secs(1));
    assert!(etcd.get("/kept").await.unwrap().is_some());
    let lost = lease.lost();
    lease.revoke().await.unwrap();
    lost.await;
    assert!(!lease.valid());
    assert_eq!(etcd.get("/kept").await.unwrap(), None);
}

#[tokio::test]
async fn etcd_a_lease_that_somebody_revokes_is_lost_at_once() {
    let servers = Servers::start(1).await;
    let etcd = servers.etcd();
    let lease = HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    etcd.lease_revoke(lease.id()).await.unwrap();
    tokio::time::timeout(Duration::from_millis(500) + SLACK, lease.lost()).await.unwrap();
    assert_eq!(etcd.lease_keepalive(lease.id()).await.unwrap_err(), EtcdError::LeaseGone);
}

#[tokio::test]
async fn etcd_who_is_cut_off_stops_before_others_may_begin() {
    let servers = Servers::start(1).await;
    let wire = Wire::to(servers.address(0)).await;
    let etcd = wire.settings().client().unwrap().0;
    let lease = HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    etcd.put("/held", b"", Some(lease.id())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    wire.cut();
    let cut = Instant::now();
    let (lost, gone) = tokio::join!(
        async {
            lease.lost().await;
            cut.elapsed()
        },
        async {
            gone_from_etcd(&servers, "/held").await;
            cut.elapsed()
        }
    );
    println!("lost to its holder after {lost:?}, to all others after {gone:?}");
    assert!(lost <= ACTING + SLACK, "{lost:?}");
    assert!(gone >= lost + Duration::from_millis(700), "{gone:?}");
    assert!(gone <= Duration::from_millis(4500), "{gone:?}");
    wire.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!lease.valid());
}

#[tokio::test]
async fn etcd_renewals_that_were_held_up_do_not_bring_a_lost_lease_back() {
    let servers = Servers::start(1).await;
    let wire = Wire::to(servers.address(0)).await;
    let etcd = wire.settings().client().unwrap().0;
    let lease = HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    etcd.put("/held", b"", Some(lease.id())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    wire.cut();
    let cut = Instant::now();
    lease.lost().await;
    // Now they come through, and etcd takes the lease for renewed.
    wire.heal();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!lease.valid());
    assert!(servers.etcd().get("/held").await.unwrap().is_some());
    // Once its holder must have stopped, it ends it itself.
    gone_from_etcd(&servers, "/held").await;
    let gone = cut.elapsed();
    println!("gone after {gone:?}");
    assert!(gone > Duration::from_millis(2400) && gone < Duration::from_millis(4000), "{gone:?}");
    assert!(!lease.valid());
}

#[tokio::test]
async fn etcd_without_quorum_a_lease_is_lost_in_time() {
    let servers = Servers::start(3).await;
    let etcd = servers.etcd();
    let lease = HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    servers.freeze(0);
    servers.freeze(1);
    let cut = Instant::now();
    lease.lost().await;
    let lost = cut.elapsed();
    println!("lost after {lost:?}");
    // A member that leads without knowing that it is alone renews for an election's time-out.
    assert!(
        lost >= ACTING - Duration::from_secs(1) && lost <= ACTING + Duration::from_secs(1) + SLACK,
        "{lost:?}"
    );
    servers.thaw(0);
    servers.thaw(1);
    servers.answer().await;
    assert!(!lease.valid());
}

#[tokio::test]
async fn etcd_a_lease_outlives_a_member() {
    let mut servers = Servers::start(3).await;
    let etcd = servers.etcd();
    let grant = async || HeldLease::grant(&etcd, LeaseTerms::default()).await.unwrap();
    let mut lease = grant().await;
    let follower = (servers.leader().await + 1) % 3;
    servers.kill(follower);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(lease.valid(), "lost with member {follower}, which did not lead");
    servers.restart(follower);
    servers.answer().await;
    // The leader each time. Votes that are split take longer than a lease is good for, which is rare.
    let mut kept = 0;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leader = servers.leader().await;
        servers.kill(leader);
        tokio::time::sleep(Duration::from_secs(3)).await;
        if lease.valid() {
            kept += 1;
        } else {
            lease = grant().await;
        }
        servers.restart(leader);
        servers.answer().await;
    }
    println!("kept {kept} times of 3");
    assert!(kept >= 2, "kept {kept} times of 3");
}
