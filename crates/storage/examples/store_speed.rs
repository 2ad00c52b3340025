//! How fast the embedded store is on this machine: `cargo run --release -p gridesk-storage --example store_speed [FOLDER]`.
//!
//! Prints durable appends a second with some senders in flight, and applied operations a second by size of batch. An
//! operation reads an account and writes it, as a payment or a binding would.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{calendar::Month, money::Fen};
use gridesk_storage::{
    message::{Decision, NewMessage, Origin},
    queue::Queue,
    rows::{Account, Put},
    store::{Batch, Decide, Layout, Store},
    working_set::{NotLoaded, WorkingSet},
};
use protocol::{
    AccountId, Bucket, Channel, LaneId, OperationId, Reply, ShardId, catalogue::replies::SessionEnd,
    envelope::Language, routing::ShardMap,
};

const LANE: LaneId = LaneId(0);
const ACCOUNTS: u64 = 10_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Adds one fen to an account's credit.
struct Credit;

impl Decide for Credit {
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Result<Decision, NotLoaded> {
        let number = message.operation.bits() as u64 % ACCOUNTS;
        let Some(id) = AccountId::mint(33, number) else { panic!("no such account: {number}") };
        let puts = match rows.account(&id)? {
            Some(state) => {
                let credit_fen = state.account.credit_fen + Fen(1);
                vec![Put::Account(Account { credit_fen, ..state.account.clone() })]
            }
            None => Vec::new(),
        };
        Ok(Decision::done(Reply::SessionEnd(SessionEnd {}), puts))
    }
}

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("store-speed-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&folder));
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure(folder: &Path) -> Outcome<()> {
    let layout = Layout { folder: folder.to_owned(), map: ShardMap::even(1, 1)?, readers: 2 };
    let (store, _closing) = Store::open(&layout)?;
    let queue = Queue::new(store.clone());
    let accounts: Outcome<Vec<_>> = (0..ACCOUNTS).map(|n| Ok(Put::Account(account(n)?))).collect();
    store.fill(ShardId(0), accounts?).await?;
    for in_flight in [1, 32, 256] {
        let took = Instant::now();
        let count = append(&queue, in_flight, Duration::from_secs(2)).await?;
        println!("append, {in_flight:>3} in flight: {:>8.0}/s", per_second(count, took.elapsed()));
    }
    for (size, most) in [(1, 1_000), (16, 4_000), (256, 20_000), (1_024, 40_000)] {
        // Read beforehand, so that only applying is measured.
        let at = store.lane(LANE).await?;
        while queue.tail(LANE)? < at.sequence + most {
            append(&queue, 256, Duration::from_secs(1)).await?;
        }
        let mut messages = Vec::new();
        while messages.len() < most as usize {
            let after = at.sequence + messages.len() as u64;
            messages.extend(queue.fetch(LANE, after, most as usize - messages.len()).await?);
        }
        let took = Instant::now();
        let mut after = at.sequence;
        for part in messages.chunks(size) {
            let epoch = store.claim(LANE, None).await?.0;
            let messages = part.to_vec();
            let batch = Batch { lane: LANE, epoch, generation: at.generation, after, messages };
            after = store.apply(batch, Arc::new(Credit)).await?.sequence;
        }
        println!("apply, batches of {size:>4}: {:>8.0}/s", per_second(most, took.elapsed()));
    }
    Ok(())
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Appends one message at a time from each of some senders; how many in all.
async fn append(queue: &Queue, senders: u64, time: Duration) -> Outcome<u64> {
    let until = Instant::now() + time;
    let senders = (0..senders).map(|sender| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                queue.append(LANE, vec![message(sender, count)]).await?;
                count += 1;
            }
            Ok::<_, gridesk_storage::StorageError>(count)
        })
    });
    let mut count = 0;
    for sender in senders.collect::<Vec<_>>() {
        count += sender.await??;
    }
    Ok(count)
}

fn message(sender: u64, n: u64) -> NewMessage {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let key = format!("{sender} {n} {}", now.as_nanos());
    let operation = OperationId::derive(Bucket::of(key.as_bytes()), "speed", "speed", &key);
    let origin = Origin {
        accepted_ms: now.as_millis() as u64,
        customer: None,
        session: None,
        channel: Channel::Portal,
        language: Language::Zh,
        request_id: [1; 16],
        trace_id: [2; 16],
    };
    NewMessage { operation, code: 0x0050, version: 1, body: vec![7; 200], origin }
}

fn account(n: u64) -> Outcome<Account> {
    Ok(Account {
        id: AccountId::mint(33, n).ok_or("too many accounts")?,
        holder: "张三".to_owned(),
        phone: None,
        address: "文一西路 1 号".to_owned(),
        division: "330106".to_owned(),
        tariff: "zj-residential".parse()?,
        large_household: false,
        opened: Month::new(2020, 1)?,
        credit_fen: Fen(0),
        wrong_proofs: 0,
        proof_window_ms: 0,
    })
}
