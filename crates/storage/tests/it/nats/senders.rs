//! Senders that go on whatever happens to the servers, and what must hold of the lane afterwards.
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gridesk_storage::{StorageError, message::LaneMessage, queue::Queue};
use protocol::OperationId;
use tokio::task::JoinHandle;

use crate::suite::{LANE, message, operation_id, queue::NOTHING};

/// How many send at once.
const TASKS: u64 = 12;

/// What was acknowledged, in the order in which it was.
type Acknowledged = Vec<(u64, OperationId)>;

/// Senders, each of which appends two operations again and again.
pub(super) struct Senders {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(Acknowledged, u64)>>,
}

impl Senders {
    /// Starts them, spread over nodes.
    pub(super) fn start(nodes: &[Queue]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |task: u64| {
            let (queue, stop) = (nodes[task as usize % nodes.len()].clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut acknowledged, mut asked) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let first = task * 1_000_000 + asked;
                    let both = vec![message(first, &NOTHING), message(first + 1, &NOTHING)];
                    asked += 2;
                    // Not acknowledged: it may be there or not, and is asked for no more.
                    if let Ok(placed) = queue.append(LANE, both).await {
                        acknowledged.extend(placed.into_iter().zip((first..).map(operation_id)));
                    }
                }
                (acknowledged, asked)
            })
        };
        Senders { tasks: (0..TASKS).map(task).collect(), stop }
    }

    /// Stops them; what was acknowledged.
    pub(super) async fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut asked) = (Vec::new(), 0);
        for task in self.tasks {
            let (placed, count) = task.await.unwrap();
            assert!(placed.windows(2).all(|pair| pair[0].0 < pair[1].0), "one sender's stay in order");
            acknowledged.extend(placed);
            asked += count;
        }
        println!("{asked} asked for, {} acknowledged", acknowledged.len());
        acknowledged
    }
}

/// Whether a lane is in order and holds all that was acknowledged at its place, and nothing twice.
pub(super) fn check(acknowledged: &[(u64, OperationId)], found: &[LaneMessage]) -> Result<(), String> {
    if let Some(pair) = found.windows(2).find(|pair| pair[0].sequence >= pair[1].sequence) {
        return Err(format!("{} comes after {}", pair[1].sequence, pair[0].sequence));
    }
    let there: HashMap<_, _> = found.iter().map(|m| (m.sequence, m.message.operation)).collect();
    if let Some((lost, id)) = acknowledged.iter().find(|(sequence, id)| there.get(sequence) != Some(id)) {
        return Err(format!("{id} was acknowledged at {lost}, where {:?} is", there.get(lost)));
    }
    let mut seen = HashSet::new();
    match found.iter().find(|m| !seen.insert(m.message.operation)) {
        Some(doubled) => Err(format!("{} is there twice", doubled.message.operation)),
        None => Ok(()),
    }
}

#[test]
fn the_check_finds_what_is_lost_doubled_and_out_of_order() {
    let at = |sequence, n| LaneMessage { sequence, message: message(n, &NOTHING) };
    let acknowledged = [(1024, operation_id(1)), (1025, operation_id(2)), (2048, operation_id(3))];
    let good = vec![at(1024, 1), at(1025, 2), at(2048, 3), at(3072, 4)];
    check(&acknowledged, &good).unwrap();
    let lost = [&good[..1], &good[2..]].concat();
    let doubled = [&good[..], &[at(4096, 2)]].concat();
    let moved = vec![at(1024, 2), at(1025, 1), at(2048, 3)];
    let disordered = vec![at(1025, 2), at(1024, 1), at(2048, 3)];
    for bad in [lost, doubled, moved, disordered] {
        check(&acknowledged, &bad).unwrap_err();
    }
}

/// All of the lane as a node sees it, once it has heard of its last message.
pub(super) async fn whole(node: &Queue, found: &[LaneMessage]) -> Vec<LaneMessage> {
    let mut end = node.watch_tail(LANE).unwrap();
    let heard = end.wait_for(|tail| *tail == found.last().unwrap().sequence);
    tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap().unwrap();
    all_in_time(node, 300).await
}

/// All of a lane, page by page; a server that has just come back may let a request pass unanswered.
pub(super) async fn all_in_time(node: &Queue, page: usize) -> Vec<LaneMessage> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let next = until_ok(async || node.fetch(LANE, after, page).await).await;
        let Some(last) = next.last() else { return all };
        after = last.sequence;
        all.extend(next);
    }
}

/// Asks again until the servers answer, for at most twenty seconds.
pub(super) async fn until_ok<T>(mut ask: impl AsyncFnMut() -> Result<T, StorageError>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(error @ StorageError::Engine { .. }) if started.elapsed() < Duration::from_secs(20) => {
                println!("asked again: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
