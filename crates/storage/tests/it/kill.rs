//! Killed at any moment, again and again: what was acknowledged is there, and applied once.
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use gridesk_storage::{
    queue::Queue,
    store::{Batch, Store},
};
use protocol::OperationId;

use crate::{
    embedded::open,
    suite::{LANE, all_messages, message, one_lane, rules, rules::Op},
};

const FOLDER: &str = "GRIDESK_TEST_KILL_FOLDER";
const RUN: &str = "GRIDESK_TEST_KILL_RUN";
const KILLS: u64 = 20;
/// Operation ids of a run begin at its number times this.
const IDS: u64 = 1_000_000;

#[test]
fn kill_nine_loses_nothing_and_doubles_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let (Ok(folder), Ok(run)) = (std::env::var(FOLDER), std::env::var(RUN)) {
        return runtime.block_on(write_for_ever(Path::new(&folder), run.parse().unwrap()));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, OperationId> = HashMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(std::process::id());
    for run in 1..=KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lives = Duration::from_micros((random >> 33) % 120_000);
        for (sequence, id) in one_life(folder.path(), run, lives) {
            let before = acknowledged.insert(sequence, id);
            assert!(before.is_none_or(|before| before == id), "sequence {sequence} was given twice");
        }
        runtime.block_on(check(folder.path(), &acknowledged));
    }
    println!("{} acknowledged over {KILLS} kills", acknowledged.len());
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
}

/// Starts a child, kills it some time after its first acknowledgement; what it acknowledged.
fn one_life(folder: &Path, run: u64, lives: Duration) -> Vec<(u64, OperationId)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::kill_nine_loses_nothing_and_doubles_nothing", "--nocapture"])
        .env(FOLDER, folder)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut lines = lines.map_while(Result::ok).filter_map(|line| {
        let (sequence, id) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
        Some((sequence.parse().ok()?, id.parse().ok()?))
    });
    acknowledged.extend(lines.next());
    // The moment is meant to be any: this wait awaits nothing.
    std::thread::sleep(lives);
    child.kill().unwrap();
    acknowledged.extend(lines);
    assert!(!child.wait().unwrap().success());
    acknowledged
}

/// The child: many senders, one applier, no end.
async fn write_for_ever(folder: &Path, run: u64) {
    let (store, _closing) = open(folder, &one_lane()).unwrap();
    let queue = Queue::new(store.clone());
    if queue.tail(LANE).unwrap() == 0 {
        queue.append(LANE, vec![message(0, &Op::Open { account: 1, credit_fen: 0 })]).await.unwrap();
    }
    // Who was not answered asks again: the newest messages, acknowledged or not, come a second time.
    let tail = queue.tail(LANE).unwrap();
    let again = all_messages(&queue, LANE, tail.saturating_sub(10), 100).await;
    queue.append(LANE, again.into_iter().map(|m| m.message).collect()).await.unwrap();
    for sender in 0..8 {
        let queue = queue.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let id = run * IDS + sender * 100_000 + n;
                let messages: Vec<_> =
                    (0..=n % 2).map(|m| message(id * 2 + m, &Op::Credit { account: 1, fen: 1 })).collect();
                let ids: Vec<_> = messages.iter().map(|m| m.operation).collect();
                let placed = queue.append(LANE, messages).await.unwrap();
                let lines: String = placed
                    .iter()
                    .zip(ids)
                    .map(|(sequence, id)| format!("acknowledged {sequence} {id}\n"))
                    .collect();
                // One write, so that a kill cuts no line in two.
                std::io::stdout().lock().write_all(lines.as_bytes()).unwrap();
            }
        });
    }
    apply_for_ever(&store, &queue).await;
}

async fn apply_for_ever(store: &Store, queue: &Queue) {
    let mut end = queue.watch_tail(LANE).unwrap();
    loop {
        let after = apply_waiting(store, queue).await;
        end.wait_for(|tail| *tail > after).await.unwrap();
    }
}

async fn apply_waiting(store: &Store, queue: &Queue) -> u64 {
    loop {
        let at = store.lane(LANE).await.unwrap();
        let messages = queue.fetch(LANE, at.sequence, 64).await.unwrap();
        if messages.is_empty() {
            return at.sequence;
        }
        let epoch = store.claim(LANE, None).await.unwrap().0;
        let batch = Batch { lane: LANE, epoch, generation: 1, after: at.sequence, messages };
        store.apply(batch, rules()).await.unwrap();
    }
}

async fn check(folder: &Path, acknowledged: &HashMap<u64, OperationId>) {
    let (store, closing) = open(folder, &one_lane()).unwrap();
    let queue = Queue::new(store.clone());
    let all = all_messages(&queue, LANE, 0, 10_000).await;
    assert!(all.iter().map(|m| m.sequence).eq(1..=all.len() as u64), "the lane has a gap");
    for (sequence, id) in acknowledged {
        let found = all.get(*sequence as usize - 1).map(|m| m.message.operation);
        assert_eq!(found, Some(*id), "sequence {sequence} was acknowledged");
    }
    apply_waiting(&store, &queue).await;
    let distinct: std::collections::HashSet<_> = all.iter().map(|m| m.message.operation).collect();
    let account = store.account(crate::suite::rules::account(1), Vec::new()).await.unwrap().value.unwrap();
    assert_eq!(account.account.credit_fen.0, distinct.len() as i64 - 1, "each operation counts once");
    drop((store, queue));
    tokio::task::spawn_blocking(|| closing.wait()).await.unwrap();
}
