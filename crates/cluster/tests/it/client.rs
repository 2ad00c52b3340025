//! The client: what it reads and writes, and that it goes on when a member does not.
use std::time::{Duration, Instant};

use cluster::etcd::{Compare, EtcdError, Event, Seen, Span, Txn, Watcher};

use crate::servers::Servers;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn etcd_keys_transactions_and_leases() {
    let servers = Servers::start(1).await;
    let etcd = servers.etcd();
    let first = etcd.put("/a/1", b"one", None).await.unwrap();
    etcd.put("/a/2", "zwei \u{4e8c}".as_bytes(), None).await.unwrap();
    etcd.put("/b", b"", None).await.unwrap();
    let ranged = etcd.range(&Span::Prefix("/a/".into())).await.unwrap();
    let keys: Vec<_> = ranged.keys.iter().map(|kv| (kv.key.as_str(), kv.value.as_slice())).collect();
    assert_eq!(keys, [("/a/1", &b"one"[..]), ("/a/2", "zwei \u{4e8c}".as_bytes())]);
    assert_eq!(ranged.keys[0].create_revision, first);

    let made = Txn::new().when(Compare::absent("/t")).put("/t", b"x", None).otherwise_read("/t");
    let reply = etcd.txn(&made).await.unwrap();
    assert!(reply.succeeded);
    let again = etcd.txn(&made).await.unwrap();
    assert!(!again.succeeded);
    assert_eq!(again.found[0].as_ref().unwrap().create_revision, reply.revision);
    let wrong = Txn::new().when(Compare::modified_at("/t", reply.revision - 1)).delete("/t");
    assert!(!etcd.txn(&wrong).await.unwrap().succeeded);
    let right = Txn::new().when(Compare::version("/t", 1)).delete("/t");
    assert!(etcd.txn(&right).await.unwrap().succeeded);
    assert_eq!(etcd.get("/t").await.unwrap(), None);
    assert_eq!(etcd.delete(&Span::Prefix("/a/".into())).await.unwrap(), 2);

    let (lease, ttl) = etcd.lease_grant(Duration::from_secs(3)).await.unwrap();
    assert_eq!(ttl, Duration::from_secs(3));
    etcd.put("/leased", b"", Some(lease)).await.unwrap();
    assert!(etcd.txn(&Txn::new().when(Compare::leased("/leased", lease))).await.unwrap().succeeded);
    assert_eq!(etcd.lease_keepalive(lease).await.unwrap(), ttl);
    etcd.lease_revoke(lease).await.unwrap();
    assert_eq!(etcd.get("/leased").await.unwrap(), None);
    assert_eq!(etcd.lease_keepalive(lease).await.unwrap_err(), EtcdError::LeaseGone);
    assert_eq!(etcd.lease_revoke(lease).await.unwrap_err(), EtcdError::LeaseGone);
    assert_eq!(etcd.put("/leased", b"", Some(lease)).await.unwrap_err(), EtcdError::LeaseGone);
}

#[tokio::test]
async fn etcd_a_watch_has_no_gap_and_survives_compaction() {
    let servers = Servers::start(1).await;
    let etcd = servers.etcd();
    etcd.put("/w/0", b"", None).await.unwrap();
    let mut watcher = Watcher::new(etcd.clone(), Span::Prefix("/w/".into()));
    assert!(matches!(watcher.next().await.unwrap(), Seen::All { keys, .. } if keys.len() == 1));
    let (writes, mut seen) = (40, Vec::new());
    let writer = tokio::spawn({
        let etcd = etcd.clone();
        async move {
            for n in 1..=writes {
                etcd.put(&format!("/w/{n:02}"), b"", None).await.unwrap();
                // Longer than a stream is left idle, once.
                tokio::time::sleep(Duration::from_millis(if n == 20 { 2500 } else { 5 })).await;
            }
        }
    });
    while seen.len() < writes {
        let Seen::Changes(events) = watcher.next().await.unwrap() else { panic!("read anew") };
        seen.extend(events.iter().map(Event::revision));
    }
    writer.await.unwrap();
    assert!(seen.array_windows().all(|[a, b]| a + 1 == *b), "{seen:?}");

    // Whoever comes back to a revision that is gone reads everything.
    let last = *seen.last().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let compact = format!("{}/v3/kv/compaction", servers.endpoints()[0]);
    let body = format!("{{\"revision\":\"{last}\"}}");
    assert!(http.post(compact).body(body).send().await.unwrap().status().is_success());
    let mut late = Watcher::after(etcd, Span::Prefix("/w/".into()), last - 20);
    let seen = tokio::time::timeout(SOON, late.next()).await.unwrap().unwrap();
    assert!(matches!(seen, Seen::All { keys, revision } if keys.len() == 41 && revision == last));
}

#[tokio::test]
async fn etcd_a_watch_at_a_member_without_a_leader_says_so_and_goes_on() {
    let mut servers = Servers::start(3).await;
    let etcd = servers.etcd();
    let mut watcher = Watcher::new(etcd.clone(), Span::Key("/w".into()));
    watcher.next().await.unwrap();
    servers.kill(0);
    servers.kill(1);
    // Member 2 is there and answers, but knows nothing new.
    let silent = tokio::time::timeout(SOON, watcher.next()).await.unwrap();
    println!("said: {}", silent.unwrap_err());
    servers.restart(0);
    servers.answer().await;
    etcd.put("/w", b"x", None).await.unwrap();
    let seen = async {
        loop {
            if let Ok(Seen::Changes(events)) = watcher.next().await {
                return events;
            }
        }
    };
    let events = tokio::time::timeout(SOON, seen).await.unwrap();
    assert!(matches!(&events[..], [Event::Put(kv)] if kv.value == b"x"), "{events:?}");
}

/// Writes and follows while a member is taken away; gives the longest time without a write.
async fn goes_on(take_away: impl AsyncFnOnce(&mut Servers)) -> Duration {
    let mut servers = Servers::start(3).await;
    let etcd = servers.etcd();
    let mut watcher = Watcher::new(etcd.clone(), Span::Key("/k".into()));
    watcher.next().await.unwrap();
    let watching = tokio::spawn(async move {
        let mut seen = 0_u64;
        loop {
            let Ok(Seen::Changes(events)) = watcher.next().await else { continue };
            for event in events {
                let Event::Put(kv) = event else { continue };
                let written: u64 = String::from_utf8(kv.value).unwrap().parse().unwrap();
                assert!(written > seen, "{written} after {seen}");
                seen = written;
                if seen >= 1000 {
                    return;
                }
            }
        }
    });
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let begun = Instant::now();
    let mut taken = Some(take_away);
    let mut n = 0_u64;
    while begun.elapsed() < Duration::from_secs(6) {
        if begun.elapsed() > Duration::from_secs(1)
            && let Some(take_away) = taken.take()
        {
            take_away(&mut servers).await;
        }
        n += 1;
        if etcd.put("/k", n.to_string().as_bytes(), None).await.is_ok() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    etcd.put("/k", b"100000", None).await.unwrap();
    tokio::time::timeout(SOON, watching).await.unwrap().unwrap();
    println!("longest time without a write: {longest:?}");
    longest
}

#[tokio::test]
async fn etcd_three_members_the_asked_one_killed() {
    let longest = goes_on(async |servers| {
        // The client asks the first one first; where that one leads, another does now.
        servers.kill(0);
    });
    assert!(longest.await < Duration::from_secs(3));
}

#[tokio::test]
async fn etcd_three_members_the_leader_killed() {
    let longest = goes_on(async |servers| {
        let leader = servers.leader().await;
        servers.kill(leader);
    });
    assert!(longest.await < Duration::from_secs(3));
}

#[tokio::test]
async fn etcd_three_members_the_asked_one_frozen() {
    let longest = goes_on(async |servers| servers.freeze(0));
    assert!(longest.await < Duration::from_secs(3));
}
