//! What becomes of the cache when its Redis is flushed, killed, stopped, cut off, or replaced by an older copy.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use gridesk_storage::{
    cache::{Cache, Followed, RedisConfig},
    store::Seen,
};

use super::{Room, Server, VIEW, account, at, fill, follow, get, patient, two_nodes};
use crate::suite::one_lane;

/// Waits until something holds.
async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn nothing_is_there(room: &Room) {
    for node in &room.nodes {
        for n in 1..=3 {
            assert_eq!(get(node, n).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_stores_all_find_and_what_one_follows_none_finds() {
    let room = two_nodes().await;
    let [one, two] = &room.nodes[..] else { panic!() };
    assert_eq!(follow(one, 10, &[1], 12).await, Followed::InStep);
    assert_eq!(get(one, 1).await, None);
    soon("Redis takes it out of the other node's near cache", async || get(two, 1).await.is_none()).await;
    // The other node has not followed yet: it knows of the cursor, and shows nothing older any more.
    assert_eq!(get(two, 2).await, Some((200, 12)));
    assert_eq!(two.watch(crate::suite::LANE).unwrap().borrow().unwrap().sequence, 10);
    assert_eq!(follow(two, 10, &[1], 12).await, Followed::InStep);
    assert_eq!(get(two, 3).await, Some((300, 12)), "the second to follow takes nothing out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_view_goes_when_redis_says_so() {
    let room = two_nodes().await;
    let [one, two] = &room.nodes[..] else { panic!() };
    // Node one has stored them itself, and is told of them all the same.
    for n in 1..=3 {
        soon("tracking is on", async || {
            fill(one, n, n * 100, at(10)).await;
            one.holds(account(n), VIEW)
        })
        .await;
    }
    follow(two, 10, &[1, 2], 11).await;
    soon("two accounts of three leave the near cache", async || {
        let near = |cache: &Cache, n| cache.holds(account(n), VIEW);
        !near(one, 1) && !near(one, 2) && near(one, 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_begins_anew() {
    let room = two_nodes().await;
    let [one, two] = &room.nodes[..] else { panic!() };
    room.server.ask(&["FLUSHALL"]);
    fill(one, 4, 400, at(10)).await;
    assert_eq!(get(two, 4).await, None, "no cursor, nothing is stored");
    // A beat without news is enough to find out.
    assert_eq!(follow(one, 10, &[], 10).await, Followed::InStep);
    fill(one, 5, 500, at(10)).await;
    assert_eq!(get(two, 5).await, Some((500, 10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_cursor_takes_all_views_with_it() {
    let room = two_nodes().await;
    let cursor = "gridesk:{0}:cursor";
    assert_eq!(room.server.ask(&["DEL", cursor]), "1");
    // The lane goes on, and what changed meanwhile is never told: account 1 at 11.
    for node in &room.nodes {
        follow(node, 11, &[], 12).await;
    }
    nothing_is_there(&room).await;
    assert_ne!(room.server.ask(&["DBSIZE"]), "1", "views are still there, but of another epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_shows_nothing_old() {
    let mut room = two_nodes().await;
    room.server.save();
    for (after, to) in [(10, 11), (11, 15)] {
        for node in &room.nodes {
            follow(node, after, &[1, 2], to).await;
        }
    }
    fill(&room.nodes[0], 1, 115, at(15)).await;
    // A replica that had heard of nothing since 10 becomes the master.
    room.server.restart(true);
    let node = Cache::redis(one_lane(), &patient(RedisConfig::at(&room.server.url()))).await.unwrap();
    follow(&node, 10, &[], 10).await;
    assert_eq!(get(&node, 1).await, Some((100, 10)), "the copy is a state that was, and says which");
    for node in &room.nodes {
        soon("the nodes are connected again", async || room.server.tracking() == 3).await;
        for n in 1..=3 {
            assert_eq!(get(node, n).await, None, "15 has been shown here, and the copy is of 10");
        }
    }
    soon("a follower finds the cursor smaller than it left it", async || {
        follow(&room.nodes[0], 15, &[], 15).await == Followed::InStep
    })
    .await;
    assert_eq!(get(&node, 2).await, None, "begun anew");
    assert_eq!(get(&node, 3).await, None, "begun anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_is_missed_and_comes_back() {
    let mut room = two_nodes().await;
    room.server.kill();
    let [one, two] = &room.nodes[..] else { panic!() };
    soon("the near cache is emptied", async || !one.holds(account(1), VIEW)).await;
    // What becomes visible does not wait for Redis.
    assert_eq!(follow(one, 10, &[1], 11).await, Followed::Away);
    assert_eq!(one.watch(crate::suite::LANE).unwrap().borrow().unwrap().sequence, 11);
    let begun = Instant::now();
    for n in 0..200 {
        let found = one.load(account(n), VIEW, async { Ok::<_, ()>(Seen { value: n, position: at(11) }) });
        assert_eq!(*found.await.unwrap().value, n);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "200 reads without Redis: {:?}", begun.elapsed());
    room.server.restart(false);
    let begun = Instant::now();
    soon("the lane begins anew", async || follow(one, 11, &[], 11).await == Followed::InStep).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    fill(one, 1, 111, at(11)).await;
    soon("the other node finds it", async || get(two, 1).await == Some((111, 11))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_became_a_replica_is_left_and_found_again() {
    let room = two_nodes().await;
    let one = &room.nodes[0];
    // Of a master that is not there: it keeps what it has, and writes nothing.
    assert_eq!(room.server.ask(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let connections = || {
        let info = room.server.ask(&["INFO", "stats"]);
        let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    let before = connections();
    assert_eq!(follow(one, 10, &[1], 11).await, Followed::Away);
    assert_eq!(get(one, 1).await, None, "what it still shows is behind what this node has shown");
    assert!(get(one, 3).await.is_none_or(|found| found == (300, 11)), "from its own memory, if at all");
    // Each look counts as a connection itself.
    let mut looks = 0;
    soon("the node connects anew", async || {
        looks += 1;
        connections() > before + looks
    })
    .await;
    assert_eq!(room.server.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    soon("it is followed again", async || follow(one, 10, &[1], 11).await == Followed::InStep).await;
    assert_eq!(get(one, 1).await, None);
    soon("what did not change is still there", async || get(one, 3).await == Some((300, 11))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_was_not_told_while_it_stood_still_is_told_later() {
    let room = two_nodes().await;
    let [one, two] = &room.nodes[..] else { panic!() };
    room.server.signal("-STOP");
    let begun = Instant::now();
    for n in 4..104 {
        let found = one.load(account(n), VIEW, async { Ok::<_, ()>(Seen { value: n, position: at(10) }) });
        assert_eq!(*found.await.unwrap().value, n);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "100 reads past a Redis that hangs: {:?}",
        begun.elapsed()
    );
    assert_eq!(follow(one, 10, &[1], 11).await, Followed::Away);
    assert_eq!(get(one, 1).await, None);
    room.server.signal("-CONT");
    let mut told = Followed::Away;
    soon("it answers again", async || {
        told = follow(one, 11, &[2], 12).await;
        told != Followed::Away
    })
    .await;
    // It may have done the first when it woke, too late for whoever waited for it.
    if let Followed::Missed(since) = told {
        assert_eq!(since, 10);
        assert_eq!(get(one, 1).await, None, "what it still has is behind what this node has shown");
        assert_eq!(follow(one, since, &[1, 2], 12).await, Followed::InStep);
    }
    follow(two, 10, &[1, 2], 12).await;
    for node in [one, two] {
        soon("both are connected", async || get(node, 3).await == Some((300, 12))).await;
        assert_eq!(get(node, 1).await, None);
        assert_eq!(get(node, 2).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_empties_the_near_cache_until_tracking_is_on_again() {
    let room = two_nodes().await;
    let one = &room.nodes[0];
    for _ in 0..3 {
        soon("tracking is on", async || room.server.tracking() == 2).await;
        soon("near views come again", async || {
            get(one, 3).await;
            one.holds(account(3), VIEW)
        })
        .await;
        room.server.close_connections();
        soon("the near cache is emptied", async || !one.holds(account(3), VIEW)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_room_that_misses_a_view_loads_it_once() {
    let room = Room::with(Server::start(), 4, one_lane(), |config| RedisConfig {
        load_wait_ms: 5_000,
        ..patient(config)
    });
    let room = room.await;
    for node in &room.nodes {
        follow(node, 1, &[], 1).await;
    }
    let loads = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..200)
        .map(|n| {
            let (cache, loads) = (room.nodes[n % 4].clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let slave = async {
                    loads.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok::<_, ()>(Seen { value: 7u64, position: at(1) })
                };
                *cache.load(account(1), VIEW, slave).await.unwrap().value
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 7);
    }
    assert_eq!(loads.load(SeqCst), 1);
    assert_eq!(room.server.ask(&["--scan", "--pattern", "gridesk:*:l:*"]), "", "the lock was given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_slaves_are_asked_by_a_bounded_number() {
    let mut room =
        Room::with(Server::start(), 1, one_lane(), |config| RedisConfig { loads_at_once: 8, ..config }).await;
    room.server.kill();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..300)
        .map(|n| {
            let (cache, now, most) = (room.nodes[0].clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let slave = async {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    now.fetch_sub(1, SeqCst);
                    Ok::<_, ()>(Seen { value: n, position: at(1) })
                };
                cache.load(account(n), VIEW, slave).await.map(|seen| *seen.value)
            })
        })
        .collect();
    for (n, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.await.unwrap(), Ok(n as u64));
    }
    assert_eq!(most.load(SeqCst), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_few_rights_is_enough() {
    let server = Server::start();
    let rights = "ACL SETUSER gridesk on >secret ~gridesk:* +@read +@write +@scripting +@connection +info";
    assert_eq!(server.ask(&rights.split(' ').collect::<Vec<_>>()), "OK");
    let config = patient(RedisConfig::at(&server.url_as("gridesk", "secret")));
    let node = Cache::redis(one_lane(), &config).await.unwrap();
    assert_eq!(follow(&node, 0, &[], 10).await, Followed::InStep);
    soon("tracking is on", async || {
        fill(&node, 1, 100, at(10)).await;
        node.holds(account(1), VIEW)
    })
    .await;
    assert_eq!(get(&node, 1).await, Some((100, 10)));
    node.forget(crate::suite::LANE).await;
    assert_eq!(server.ask(&["EXISTS", "gridesk:{0}:cursor"]), "0");
    assert!(Cache::redis(one_lane(), &RedisConfig::at("no address")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_go_by_themselves_sooner_where_there_is_nothing() {
    let room = two_nodes().await;
    let node = &room.nodes[0];
    node.fill(account(50), VIEW, &Seen { value: Arc::new(None::<u64>), position: at(10) }).await;
    node.fill(account(51), VIEW, &Seen { value: Arc::new(Some(1u64)), position: at(10) }).await;
    // Keys are bytes; a script can name them all.
    let script = "local t = {} for _, k in ipairs(redis.call('KEYS', 'gridesk:*:e:*')) do t[#t + 1] = redis.call('TTL', k) end return t";
    let lives = room.server.ask(&["EVAL", script, "0"]);
    let mut lives: Vec<u64> = lives.lines().map(|life| life.parse().unwrap()).collect();
    lives.sort_unstable();
    assert_eq!(lives.len(), 5, "{lives:?}");
    assert!((23..=36).contains(&lives[0]), "{lives:?}");
    assert!(lives[1..].iter().all(|life| (479..=720).contains(life)), "{lives:?}");
    assert!(lives[1] != lives[4], "not all at once: {lives:?}");
    let cursor: u64 = room.server.ask(&["TTL", "gridesk:{0}:cursor"]).parse().unwrap();
    assert!((590..=600).contains(&cursor), "{cursor}");
}
