//! PostgreSQL under the suite, and what only masters with slaves can be asked.
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use gridesk_storage::{
    StorageError,
    cache::Cache,
    message::LaneMessage,
    queue::Queue,
    store::{Batch, PostgresConfig, ShardConfig, Store},
};
use lab::postgres::{Login, Master, Options, Slave};
use protocol::{Position, routing::ShardMap};
use tempfile::TempDir;

use crate::{
    embedded::Embedded,
    suite::{
        Backend, LANE, message, one_lane,
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

impl OneMaster {
    async fn connect(databases: Vec<String>, lanes: Embedded) -> Self {
        let address = |dbname: &String| {
            let parts = server().0.parts(Login::Owner);
            lab::postgres::Parts { dbname: dbname.clone(), ..parts }.to_string()
        };
        let config = config(databases.iter().map(address));
        let store = Store::connect(&config, lanes.store().map()).await.unwrap();
        OneMaster { databases, lanes, store }
    }
}

impl Backend for OneMaster {
    const CASES: u32 = 6;

    async fn fresh(map: ShardMap) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut databases = Vec::new();
        for shard in 0..map.shards() {
            let name = format!("test_{}_{shard}", NEXT.fetch_add(1, Ordering::Relaxed));
            server().0.sql(&format!("CREATE DATABASE {name} OWNER gridesk")).unwrap();
            databases.push(name);
        }
        OneMaster::connect(databases, Embedded::fresh(map).await).await
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn queue(&self) -> &Queue {
        self.lanes.queue()
    }

    fn cache(&self) -> &Cache {
        self.lanes.cache()
    }

    /// The server is killed; what it has not flushed is lost with its memory.
    async fn reopen(self) -> Self {
        let OneMaster { databases, lanes, store } = self;
        drop(store);
        let mut server = server();
        server.0.kill();
        server.0.restart().unwrap();
        drop(server);
        OneMaster::connect(databases, lanes.reopen().await).await
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
    async fn start() -> (Self, Store) {
        let folder = tempfile::tempdir().unwrap();
        let master = Master::start(&folder.path().join("master"), &Options::default()).unwrap();
        let slave = Slave::of(&master, &folder.path().join("slave")).unwrap();
        let shard = ShardConfig {
            master: master.parts(Login::Owner).to_string(),
            slaves: vec![slave.parts(Login::Reader).to_string()],
        };
        let config = PostgresConfig { shards: vec![shard], ..config([]) };
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

/// Waits until a slave shows what it is to show.
async fn shows(store: &Store, sequence: u64) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while store.lane(LANE).await.unwrap().sequence < sequence {
        assert!(std::time::Instant::now() < end, "the slave does not show {sequence}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_reads_leave_a_slave_by_its_position_and_come_back() {
    let (mut pair, store) = Pair::start().await;
    let (epoch, begin) = store.claim(LANE, None).await.unwrap();
    assert_eq!(begin.sequence, 0);
    apply_next(&store, epoch, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    shows(&store, 1).await;

    // The slave stands still: what was shown before is the least that is shown from now on, so the master is asked.
    pair.slave.pause_replay().unwrap();
    apply_next(&store, epoch, 2, &Op::Credit { account: 1, fen: 7 }).await;
    let credit = async |store: &Store| {
        let seen = store.account_row(rules::account(1)).await.unwrap();
        (seen.value.unwrap().credit_fen.0, seen.position.sequence)
    };
    assert_eq!(credit(&store).await, (100, 1), "nobody has been shown more yet: the slave serves");
    store.shown(at(2));
    assert_eq!(credit(&store).await, (107, 2), "the slave is too old now");

    // Without anybody having seen more it leaves by its position all the same, though it is up.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while store.lane(LANE).await.unwrap().sequence < 2 {
        assert!(std::time::Instant::now() < end, "a slave that stands still is read from");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    pair.slave.resume_replay().unwrap();
    pair.slave.catch_up(&pair.master).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    // With the master gone reads go on, from the slave alone.
    pair.master.kill();
    assert_eq!(credit(&store).await, (107, 2));
    // Writes do not, and are not taken for done.
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
async fn postgres_an_applier_that_was_replaced_can_write_no_more() {
    let (_pair, store) = Pair::start().await;
    let (old, _) = store.claim(LANE, Some(41)).await.unwrap();
    assert_eq!(old, 41);
    apply_next(&store, old, 1, &Op::Open { account: 1, credit_fen: 100 }).await;
    // Only a later epoch takes it.
    assert!(matches!(store.claim(LANE, Some(41)).await, Err(StorageError::Replaced { .. })));
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
    let (pair, store) = Pair::start().await;
    drop(store);
    let shard = ShardConfig { master: pair.master.parts(Login::Owner).to_string(), slaves: Vec::new() };
    let config = PostgresConfig { shards: vec![shard.clone(), shard], ..config([]) };
    let refused = Store::connect(&config, &ShardMap::even(2, 1).unwrap()).await;
    let Err(StorageError::Shape { found, configured }) = refused else { panic!("not refused") };
    assert_eq!(
        (found.as_str(), configured.as_str()),
        ("shard 0 of 1 with 1 lanes in all", "shard 0 of 2 with 2 lanes in all")
    );
}
