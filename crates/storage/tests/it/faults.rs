//! Disks that are full and files that are not what they should be.
use std::{
    path::Path,
    process::{Command, Stdio},
};

use gridesk_storage::{StorageError, queue::Queue, store::Batch};
use protocol::routing::ShardMap;
use rusqlite::Connection;

use crate::{
    embedded::open,
    suite::{
        LANE, SHARD, message, one_lane, raw_message,
        rules::{self, Op},
    },
};

/// Makes a folder with one shard, closed cleanly.
async fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (store, closing) = open(folder.path(), &one_lane()).unwrap();
    Queue::new(store.clone()).append(LANE, vec![message(0, &Op::Session { session: 1 })]).await.unwrap();
    drop(store);
    tokio::task::spawn_blocking(|| closing.wait()).await.unwrap();
    folder
}

fn refusal(folder: &Path, map: &ShardMap) -> StorageError {
    open(folder, map).err().expect("it must not open")
}

#[tokio::test]
async fn a_clean_end_leaves_one_file() {
    let folder = made().await;
    let wal = std::fs::metadata(folder.path().join("shard-0.db-wal"));
    assert!(wal.map_or(0, |file| file.len()) == 0);
    let (store, _closing) = open(folder.path(), &one_lane()).unwrap();
    assert_eq!(Queue::new(store).tail(LANE).unwrap(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_a_clear_error() {
    let folder = made().await;
    let path = folder.path().join("shard-0.db");
    let good = std::fs::read(&path).unwrap();
    let spoilt = [
        (vec![b'x'; good.len()], "not a database"),
        ([&good[..100], &vec![0xaa; good.len() - 100]].concat(), "malformed"),
        (good[..good.len() / 2].to_vec(), "malformed"),
    ];
    for (bytes, why) in spoilt {
        std::fs::write(&path, bytes).unwrap();
        let StorageError::Database { source, .. } = refusal(folder.path(), &one_lane()) else {
            panic!("another error than the database's")
        };
        assert!(source.to_string().contains(why), "{source}");
    }
    std::fs::write(&path, good).unwrap();
    open(folder.path(), &one_lane()).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = made().await;
    let path = folder.path().join("shard-0.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refusal(folder.path(), &one_lane());
    assert!(matches!(error, StorageError::Newer { found: 99, known: 1.. }), "{error}");
    let version: i64 =
        Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn another_shape_is_refused_before_anything_is_made() {
    let folder = made().await;
    for map in [ShardMap::even(1, 2).unwrap(), ShardMap::even(2, 1).unwrap()] {
        let error = refusal(folder.path(), &map);
        let StorageError::Shape { found, configured } = error else { panic!("{error}") };
        assert_eq!(found, "1 shards with 1 lanes");
        assert_ne!(configured, found);
    }
    assert!(!folder.path().join("shard-1.db").exists());
    open(folder.path(), &one_lane()).unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refusal(&file.join("data"), &one_lane());
    assert!(matches!(error, StorageError::Folder { .. }), "{error}");
}

const FULL: &str = "GRIDESK_TEST_FULL_FOLDER";

/// Runs itself again in a mount namespace of its own, where a small file system is its folder.
#[test]
fn a_full_disk_refuses_whole_and_recovers() {
    if let Some(folder) = std::env::var_os(FULL) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(fill_up(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        let me = std::env::current_exe().unwrap();
        let mount = "mount -t tmpfs -o size=48m tmpfs \"$0\" && ";
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("{mount}{script}")]);
        command.arg(folder.path()).arg(me).env(FULL, folder.path());
        command
    };
    if !namespace("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: this machine gives no mount namespace to mount a small file system in");
        return;
    }
    let script = "exec \"$1\" --exact faults::a_full_disk_refuses_whole_and_recovers --nocapture";
    let output = namespace(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn fill_up(folder: &Path) {
    let data = folder.join("data");
    let (mut store, mut closing) = open(&data, &one_lane()).unwrap();
    let mut queue = Queue::new(store.clone());
    let opened = message(0, &Op::Open { account: 1, credit_fen: 0 });
    queue.append(LANE, vec![opened.clone()]).await.unwrap();
    let mut there = vec![opened];
    let mut n = 1;
    let ballast = |round: u64| folder.join(format!("ballast-{round}"));
    for round in 0..3 {
        // Folding a log takes as much room again as the log has: less than this would be eaten by that alone.
        std::fs::write(ballast(round), vec![1; 10 << 20]).unwrap();
    }
    for round in 0..3 {
        let ballast = ballast(round);
        // Large ones first, then small ones until not even they go in.
        for bytes in [200_000, 50] {
            let mut refused = 0;
            for _ in 0..3_000 {
                let mut new = message(n, &Op::Credit { account: 1, fen: 1 });
                if bytes > 50 {
                    new = raw_message(new.operation, vec![0xff; bytes]);
                    // Not an operation the rules can read: it will end as failed.
                }
                n += 1;
                match queue.append(LANE, vec![new.clone()]).await {
                    Ok(placed) => {
                        there.push(new);
                        assert_eq!(placed, [there.len() as u64], "refused ones leave no gap");
                    }
                    Err(StorageError::Full) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
                if refused == 3 {
                    break;
                }
            }
            assert!(refused == 3 || bytes == 50, "the disk never filled");
        }
        // Batches too are refused whole: the lane stands where it stood, and what fits still goes.
        let mut full = false;
        loop {
            let at = store.lane(LANE).await.unwrap();
            let messages = queue.fetch(LANE, at.sequence, 50).await.unwrap();
            if messages.is_empty() || full {
                break;
            }
            let epoch = store.claim(LANE, None).await.unwrap().0;
            let batch = Batch { lane: LANE, epoch, generation: 1, after: at.sequence, messages };
            match store.apply(batch, crate::suite::rules()).await {
                Ok(applied) => assert!(applied.sequence > at.sequence),
                Err(StorageError::Full) => {
                    full = true;
                    assert_eq!(store.lane(LANE).await.unwrap(), at);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        println!(
            "round {round}: {} accepted, applying {}",
            there.len(),
            if full { "refused" } else { "went on" }
        );
        if round == 1 {
            // Also by who opens it anew while it is full, or once there is room.
            drop((store, queue));
            tokio::task::spawn_blocking(|| closing.wait()).await.unwrap();
            std::fs::remove_file(&ballast).unwrap();
            (store, closing) = open(&data, &one_lane()).unwrap();
            queue = Queue::new(store.clone());
        } else {
            std::fs::remove_file(&ballast).unwrap();
        }
        // Space is back: everything works again.
        let new = message(n, &Op::Credit { account: 1, fen: 1 });
        n += 1;
        there.push(new.clone());
        assert_eq!(queue.append(LANE, vec![new]).await.unwrap(), [there.len() as u64]);
        loop {
            let at = store.lane(LANE).await.unwrap();
            let messages = queue.fetch(LANE, at.sequence, 20).await.unwrap();
            if messages.is_empty() {
                break;
            }
            let epoch = store.claim(LANE, None).await.unwrap().0;
            let batch = Batch { lane: LANE, epoch, generation: 1, after: at.sequence, messages };
            store.apply(batch, crate::suite::rules()).await.unwrap();
        }
        let found = crate::suite::all_messages(&queue, LANE, there.len() as u64 - 1, 9).await;
        assert_eq!(found.len(), 1);
        let credits = there.iter().filter(|m| m.body.len() < 100).count() as i64 - 1;
        let account = store.account(rules::account(1), Vec::new()).await.unwrap().value.unwrap();
        assert_eq!(account.account.credit_fen.0, credits, "each accepted one once, no refused one");
        // Room for the next round.
        store.prune(SHARD, u64::MAX >> 1, 0).await.unwrap();
    }
}
