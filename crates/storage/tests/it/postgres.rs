//! PostgreSQL under the suite, and what only masters with slaves can be asked.
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use gridesk_storage::{
    StorageError,
    message::LaneMessage,
    queue::Queue,
    rows::{Account, Put},
    store::{Batch, PostgresConfig, ShardConfig, Store},
};
use lab::postgres::{Login, Master, Options, Slave};
use protocol::{Position, routing::ShardMap};
use tempfile::TempDir;

use crate::{
    embedded::Embedded,
    suite::{
        Backend, LANE, SHARD, message, one_lane,
        rules::{self, Op},
    },
};

/// The one server of this process.
fn server() -> MutexGuard<'static, (Master, TempDir)> {
    static SERVER: OnceLock<Mutex<(Master, TempDir)>> = OnceLock::new();
    let start = || {
        let folder = tempfile::tempdir().unwrap();
        // What a kill leaves is in the kernel's memory: flushing would only take time.
        let settings = vec![("fsync".to_owned(), "off".to_owned())];
        let options = Options { max_connections: 400, settings, ..Options::default() };
        Mutex::new((Master::start(&folder.path().join("master"), &options).unwrap(), folder))
    };
    SERVER.get_or_init(start).lock().unwrap()
}

/// A configuration of these databases, without slaves.
pub(crate) fn config(masters: impl IntoIterator<Item = String>) -> PostgresConfig {
    let shard = |master| ShardConfig { master, slaves: Vec::new() };
    PostgresConfig {
        shards: masters.into_iter().map(shard).collect(),
        writers: 4,
        readers: 4,
        statement_ms: 10_000,
        lag_ms: 2_000,
    }
}

/// Each shard a database of its own on one master; the lanes are an embedded folder's.
pub(crate) struct OneMaster {
    databases: Vec<String>,
    lanes: Embedded,
    store: Store,
}

async fn connect(databases: &[String], map: &ShardMap) -> Store {
    let address = |dbname: &String| {
        let parts = server().0.parts(Login::Owner);
        lab::postgres::Parts { dbname: dbname.clone(), ..parts }.to_string()
    };
    Store::connect(&config(databases.iter().map(address)), map).await.unwrap()
}

impl OneMaster {
    /// Another node's view of the same shards.
    pub(crate) async fn another(&self) -> Store {
        connect(&self.databases, self.store.map()).await
    }

    /// Asks a shard, or does something to it, behind everybody's back.
    pub(crate) fn sql(&self, shard: usize, sql: &str) -> String {
        let parts = server().0.parts(Login::Owner);
        let parts = lab::postgres::Parts { dbname: self.databases[shard].clone(), ..parts };
        let done =
            std::process::Command::new("psql").args(["-qAtX", "-c", sql, &parts.url()]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Backend for OneMaster {
    const FORGETS_BY_ACCEPTANCE: bool = false;
    const CASES: u32 = 6;

    async fn fresh(map: ShardMap) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let shape = format!("shape_{}_{}", map.shards(), map.lanes().count());
        let lanes = Embedded::fresh(map.clone()).await;
        let names =
            |prefix: &str| (0..map.shards()).map(|shard| format!("{prefix}_{shard}")).collect::<Vec<_>>();
        let made =
            server().0.sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{shape}_0'")).unwrap();
        if made.trim() == "0" {
            for name in names(&shape) {
                server().0.sql(&format!("CREATE DATABASE {name} OWNER gridesk")).unwrap();
            }
            // Its schema is made once, and copied from then on.
            drop(connect(&names(&shape), &map).await);
        }
        let databases = names(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        for (name, template) in databases.iter().zip(names(&shape)) {
            let copy = format!("CREATE DATABASE {name} OWNER gridesk TEMPLATE {template} STRATEGY file_copy");
            // Its last connections are still ending.
            let copied = (0..100).any(|_| {
                let done = server().0.sql(&copy).is_ok();
                if !done {
                    std::thread::sleep(Duration::from_millis(50));
                }
                done
            });
            assert!(copied, "{template} cannot be copied");
        }
        let store = connect(&databases, &map).await;
        OneMaster { databases, lanes, store }
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn queue(&self) -> &Queue {
        self.lanes.queue()
    }

    /// The server is killed; what it has not flushed is lost with its memory.
    async fn reopen(self) -> Self {
        let OneMaster { databases, lanes, store } = self;
        drop(store);
        {
            let mut server = server();
            server.0.kill();
            server.0.restart().unwrap();
        }
        let lanes = lanes.reopen().await;
        let store = connect(&databases, lanes.store().map()).await;
        OneMaster { databases, lanes, store }
    }

    fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let server = server();
        let mut tables = BTreeMap::new();
        for (shard, dbname) in self.databases.iter().enumerate() {
            let parts = lab::postgres::Parts { dbname: dbname.clone(), ..server.0.parts(Login::Owner) };
            let ask = |sql: &str| {
                let asked =
                    std::process::Command::new("psql").args(["-qAtX", "-c", sql, &parts.url()]).output();
                let asked = asked.unwrap();
                assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
                String::from_utf8(asked.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
            };
            for name in ask("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
                 AND relnamespace = 'public'::regnamespace")
            {
                // Numbers that the database gives may leave some out: only their order counts.
                let columns = match name.as_str() {
                    "lane" => "id, generation, applied",
                    "change" => "lane, sequence, n, entity",
                    "posting" => "dense_rank() OVER (ORDER BY id), at_ms, kind, about",
                    "ledger_entry" => "dense_rank() OVER (ORDER BY posting), n, code, account, amount_fen",
                    "outbox" => {
                        "dense_rank() OVER (ORDER BY id), operation, bucket, code, version, body, origin"
                    }
                    "notice" => "dense_rank() OVER (ORDER BY number), customer, at_ms, body",
                    _ => "*",
                };
                let mut rows = ask(&format!("SELECT {columns} FROM {name}"));
                rows.sort_unstable();
                tables.insert(format!("{shard}.{name}"), rows);
            }
        }
        tables
    }
}

/// A master with one slave, as a room has them.
struct Pair {
    master: Master,
    slave: Slave,
    _folder: TempDir,
}

impl Pair {
    /// Reads leave a slave that is `lag_ms` behind.
    async fn start(lag_ms: u64) -> (Self, Store) {
        let folder = tempfile::tempdir().unwrap();
        let master = Master::start(&folder.path().join("master"), &Options::default()).unwrap();
        let slave = Slave::of(&master, &folder.path().join("slave")).unwrap();
        let shard = ShardConfig {
            master: master.parts(Login::Owner).to_string(),
            slaves: vec![slave.parts(Login::Reader).to_string()],
        };
        let config = PostgresConfig { shards: vec![shard], lag_ms, ..config([]) };
        let store = Store::connect(&config, &one_lane()).await.unwrap();
        (Pair { master, slave, _folder: folder }, store)
    }
}

/// Applies one operation more.
async fn apply_next(store: &Store, epoch: u64, n: u64, op: &Op) -> u64 {
    let messages = vec![LaneMessage { sequence: n, message: message(n, op) }];
    let batch = Batch { lane: LANE, epoch, generation: 1, after: n - 1, messages };
    store.apply(batch, crate::suite::rules()).await.unwrap().sequence
}

fn at(sequence: u64) -> Position {
    Position { lane: LANE, generation: 1, sequence }
}

/// Waits until reads show what they are to show.
async fn shows(store: &Store, sequence: u64) {
    let end = Instant::now() + Duration::from_secs(20);
    while store.lane(LANE).await.unwrap().sequence < sequence {
        assert!(Instant::now() < end, "reads do not show {sequence}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An account's credit, and of which position that is.
async fn credit(store: &Store) -> (i64, u64) {
    let seen = store.account_row(rules::account(1)).await.unwrap();
    (seen.value.unwrap().credit_fen.0, seen.position.sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_nothing_older_is_read_than_was_shown() {
    let (mut pair, store) = Pair::start(600_000).await;
    let (epoch, begin) = store.claim(LANE, None).await.unwrap();
    assert_eq!(begin.sequence, 0);
    apply_next(&store, epoch, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    pair.slave.catch_up(&pair.master).unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;

    // The slave stands still: what was shown before is the least that is shown from now on, so the master is asked.
    pair.slave.pause_replay().unwrap();
    apply_next(&store, epoch, 2, &Op::Credit { account: 1, fen: 7 }).await;
    assert_eq!(credit(&store).await, (100, 1), "nobody has been shown more yet: the slave serves");
    store.shown(at(2));
    assert_eq!(credit(&store).await, (107, 2), "the slave is too old now");
    // Without the master there is nothing to show: no older answer in its place.
    pair.master.kill();
    assert!(matches!(store.account_row(rules::account(1)).await, Err(StorageError::Engine { .. })));
    pair.slave.resume_replay().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while store.account_row(rules::account(1)).await.is_err() {
        assert!(Instant::now() < end, "the slave has it, and is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(credit(&store).await, (107, 2), "read from the slave alone");
    // Writes wait for the master, and are not taken for done.
    let batch = Batch { lane: LANE, epoch, generation: 1, after: 2, messages: Vec::new() };
    assert!(matches!(store.apply(batch, crate::suite::rules()).await, Err(StorageError::Engine { .. })));
    pair.master.restart().unwrap();
    apply_next(&store, epoch, 3, &Op::Credit { account: 1, fen: 1 }).await;
    store.shown(at(3));
    assert_eq!(credit(&store).await, (108, 3));
    // And with the slave gone, from the master.
    pair.slave.kill();
    assert_eq!(credit(&store).await, (108, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_reads_leave_a_slave_that_stands_still() {
    let (pair, store) = Pair::start(500).await;
    let (epoch, _) = store.claim(LANE, None).await.unwrap();
    apply_next(&store, epoch, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    pair.slave.catch_up(&pair.master).unwrap();
    pair.slave.pause_replay().unwrap();
    apply_next(&store, epoch, 2, &Op::Credit { account: 1, fen: 7 }).await;
    // It is up and answers, and nobody has been shown more: it leaves by its position alone.
    shows(&store, 2).await;
    assert_eq!(credit(&store).await, (107, 2));
    pair.slave.resume_replay().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_a_filling_is_there_at_once_and_may_be_done_again() {
    let (pair, store) = Pair::start(2_000).await;
    let (epoch, _) = store.claim(LANE, None).await.unwrap();
    apply_next(&store, epoch, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    shows(&store, 1).await;
    let row = store.account_row(rules::account(1)).await.unwrap().value.unwrap();
    let put = |n: u64, fen: i64| {
        let (id, credit_fen) = (rules::account(n), domain::money::Fen(fen));
        Put::Account(Account { id, credit_fen, ..row.clone() })
    };
    store.fill(SHARD, (2..2_000).map(|n| put(n, 5)).collect()).await.unwrap();
    assert_eq!(pair.slave.sql("SELECT count(*) FROM account").unwrap(), "1999");
    // Some are there already, and one comes twice.
    store.fill(SHARD, (1_990..2_010).map(|n| put(n, 6)).chain([put(2_000, 7)]).collect()).await.unwrap();
    let count = "SELECT count(*), sum(credit_fen) FROM account WHERE id <> (SELECT min(id) FROM account)";
    assert_eq!(pair.slave.sql(count).unwrap(), format!("2008|{}", 1_988 * 5 + 19 * 6 + 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_changes_are_forgotten_after_a_while() {
    let (_pair, store) = Pair::start(2_000).await;
    let (epoch, _) = store.claim(LANE, None).await.unwrap();
    apply_next(&store, epoch, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    apply_next(&store, epoch, 2, &Op::Credit { account: 1, fen: 7 }).await;
    shows(&store, 2).await;
    let changes = async || store.changes(LANE, 0).await.unwrap().value.len();
    let there = changes().await;
    assert!(there > 0);
    assert_eq!(store.prune(SHARD, 1_000, 0).await.unwrap(), 0, "all are younger");
    assert_eq!(changes().await, there);
    assert!(store.prune(SHARD, u64::MAX >> 1, 0).await.unwrap() >= 2);
    assert_eq!(store.prune(SHARD, u64::MAX >> 1, 0).await.unwrap(), 0);
    let first = message(1, &Op::Open { account: 1, credit_fen: 100 }).operation;
    assert!(store.operation(first).await.unwrap().value.is_some(), "results are kept longer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_an_applier_that_was_replaced_can_write_no_more() {
    let (_pair, store) = Pair::start(2_000).await;
    let (old, _) = store.claim(LANE, Some(41)).await.unwrap();
    assert_eq!(old, 41);
    apply_next(&store, old, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    // Its own epoch is its own; only a later one takes it away.
    assert_eq!(store.claim(LANE, Some(41)).await.unwrap().1.sequence, 1);
    assert!(matches!(store.claim(LANE, Some(7)).await, Err(StorageError::Replaced { .. })));
    let (new, position) = store.claim(LANE, Some(90)).await.unwrap();
    assert_eq!((new, position.sequence), (90, 1), "it goes on where the master stands");
    let messages = vec![LaneMessage { sequence: 2, message: message(2, &Op::Credit { account: 1, fen: 7 }) }];
    let batch = Batch { lane: LANE, epoch: old, generation: 1, after: 1, messages };
    assert!(matches!(
        store.apply(batch.clone(), crate::suite::rules()).await,
        Err(StorageError::Replaced { .. })
    ));
    store.apply(Batch { epoch: new, ..batch }, crate::suite::rules()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_a_shard_is_not_taken_for_another() {
    let (pair, store) = Pair::start(2_000).await;
    drop(store);
    let shard = ShardConfig { master: pair.master.parts(Login::Owner).to_string(), slaves: Vec::new() };
    let config = PostgresConfig { shards: vec![shard.clone(), shard], ..config([]) };
    let refused = Store::connect(&config, &ShardMap::even(2, 1).unwrap()).await;
    let Err(StorageError::Shape { found, configured }) = refused else { panic!("not refused") };
    assert_eq!(
        (found.as_str(), configured.as_str()),
        ("shard 0 of 1 shards with 1 lanes in all", "shard 0 of 2 shards with 2 lanes in all")
    );
}
