//! Leadership: one leads, another takes over, and who was replaced writes nothing.
use std::time::{Duration, Instant};

use cluster::{
    ClusterSettings,
    election::{Candidate, LeadError},
    etcd::Txn,
};

use crate::servers::{Servers, Wire};

const LONG: Duration = Duration::from_secs(20);

fn candidate(settings: &ClusterSettings, name: &str) -> Candidate {
    let (etcd, keys) = settings.client().unwrap();
    Candidate::new(etcd, keys.leader(), name.parse().unwrap(), settings.lease)
}

fn write(text: &str) -> Txn {
    Txn::new().put("/gridesk/table", text.as_bytes(), None)
}

#[tokio::test]
async fn etcd_another_leads_and_the_old_ones_write_is_refused() {
    let servers = Servers::start(3).await;
    let wire = Wire::to(servers.address(0)).await;
    let (old, new) = (candidate(&wire.settings(), "old"), candidate(&servers.settings(), "new"));
    assert_eq!(new.observe().await.unwrap(), None);
    let leading = old.campaign().await.unwrap();
    leading.write(write("one")).await.unwrap();
    let seen = new.observe().await.unwrap().unwrap();
    assert_eq!((seen.name.as_str(), seen.fence), ("old", leading.fence()));
    assert!(tokio::time::timeout(Duration::from_millis(500), new.campaign()).await.is_err());

    // The old one's write is under way when it is cut off.
    let late = leading.fenced(write("late"));
    wire.cut();
    let cut = Instant::now();
    let (lost, next) = tokio::join!(
        async {
            leading.lost().await;
            cut.elapsed()
        },
        async {
            let next = tokio::time::timeout(LONG, new.campaign()).await.unwrap().unwrap();
            (next, cut.elapsed())
        }
    );
    let (next, took) = next;
    println!("knew it after {lost:?}, replaced after {took:?}");
    assert!(lost < took && took < Duration::from_millis(4500), "{lost:?} {took:?}");
    assert!(next.fence() > leading.fence());
    next.write(write("two")).await.unwrap();
    // By itself it does not even try; and whatever it had sent is refused.
    assert_eq!(leading.write(write("three")).await.unwrap_err(), LeadError::Lost);
    let reply = servers.etcd().txn(&late).await.unwrap();
    assert!(!reply.succeeded);
    assert_eq!(servers.etcd().get("/gridesk/table").await.unwrap().unwrap().value, b"two");

    // Resigning hands over at once.
    wire.heal();
    let waiting = tokio::spawn(async move { old.campaign().await.unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    next.resign().await.unwrap();
    let again = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    again.write(write("four")).await.unwrap();
}

#[tokio::test]
async fn etcd_a_write_that_met_a_change_says_so() {
    let servers = Servers::start(1).await;
    let leading = candidate(&servers.settings(), "one").campaign().await.unwrap();
    let table = cluster::etcd::Compare::modified_at("/gridesk/table", 0);
    leading.write(write("x").when(table.clone())).await.unwrap();
    assert_eq!(leading.write(write("y").when(table)).await.unwrap_err(), LeadError::Changed);
    // Whoever takes the leader's key away ends its writes, whatever its clock says.
    servers.etcd().delete(&cluster::etcd::Span::Key("/gridesk/control/leader".into())).await.unwrap();
    assert_eq!(leading.write(write("z")).await.unwrap_err(), LeadError::Lost);
}
