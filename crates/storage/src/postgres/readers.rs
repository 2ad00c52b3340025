//! Reading: which database a read goes to, and how far each shows the lanes.
//!
//! Every slave is asked again and again how far it shows its lanes; so one that stopped replaying is found by its
//! position, not by whether it is up. A read goes to a slave that shows at least what this node has shown of the lane
//! before; what its snapshot really shows is read within it, so an old answer is not used but asked for elsewhere, last of
//! the master.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::Client;
use futures_util::FutureExt;
use protocol::{LaneId, Position};

use super::{
    failed,
    homes::{self, Home, Homes},
    pool::Pool,
    snapshot::Transaction,
};
use crate::{StorageError, sql::Result, store::Seen};

/// How often a database is asked how far it shows its lanes.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to say so.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// How long the master may take for a read: nobody else is left to be asked.
const MASTER_WITHIN: Duration = Duration::from_secs(5);
/// How long a slave may take for a read before it is asked for elsewhere.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How long a slave may take to show a first filling, and how often it is asked.
const LEVEL_WITHIN: Duration = Duration::from_secs(60);
const LEVEL_LOOK: Duration = Duration::from_millis(5);

/// A shard's databases.
pub(super) struct Databases {
    pub(super) master: Pool,
    /// For looks alone: they do not wait behind reads.
    master_look: Pool,
    slaves: Vec<Slave>,
    next: AtomicUsize,
    floors: Arc<Floors>,
}

/// What was shown of each lane, wherever it lives: (generation << 48 | sequence) grows.
pub(super) struct Floors(HashMap<LaneId, AtomicU64>);

impl Floors {
    pub(super) fn new(lanes: impl Iterator<Item = LaneId>) -> Self {
        Floors(lanes.map(|lane| (lane, AtomicU64::new(0))).collect())
    }

    /// Nothing older of the lane is read from now on.
    pub(super) fn raise(&self, position: Position) {
        if let Some(floor) = self.0.get(&position.lane) {
            floor.fetch_max(order(position), Ordering::AcqRel);
        }
    }

    fn of(&self, lane: LaneId) -> u64 {
        self.0.get(&lane).map_or(0, |floor| floor.load(Ordering::Acquire))
    }
}

struct Slave {
    pool: Pool,
    look: Pool,
    seen: Mutex<Watch>,
}

/// What is known of a slave.
struct Watch {
    /// How far it showed each lane when it was last asked.
    shows: HashMap<LaneId, Position>,
    /// When it was last level with what the master had shown one look before.
    level: Option<Instant>,
}

impl Databases {
    /// Each database with two pools: for work, and for looks.
    pub(super) fn new(
        (master, master_look): (Pool, Pool),
        slaves: Vec<(Pool, Pool)>,
        floors: &Arc<Floors>,
    ) -> Arc<Self> {
        let slave = |(pool, look)| Slave {
            pool,
            look,
            seen: Mutex::new(Watch { shows: HashMap::new(), level: None }),
        };
        Arc::new(Databases {
            master,
            master_look,
            slaves: slaves.into_iter().map(slave).collect(),
            next: AtomicUsize::new(0),
            floors: Arc::clone(floors),
        })
    }

    /// What its shard says of lanes that have left it, by the master.
    pub(super) async fn moved(&self) -> Result<Vec<(LaneId, Home)>> {
        homes::moved(&self.master_look).await
    }

    /// The databases to ask about a lane, best first: slaves that are level, beginning with another each time, then the
    /// master.
    pub(super) fn choice(self: &Arc<Self>, lane: Option<LaneId>, most_lag: Duration) -> Choice {
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let floor = lane.map_or(0, |lane| self.floors.of(lane));
        let usable = |index: &usize| {
            let watch = self.slaves[*index].watch();
            let shows = |lane: LaneId| watch.shows.get(&lane).is_some_and(|at| order(*at) >= floor);
            watch.level.is_some_and(|at| at.elapsed() <= most_lag) && lane.is_none_or(shows)
        };
        let count = self.slaves.len();
        let mut left: Vec<usize> = (0..count).map(|n| (begin + n) % count).filter(usable).collect();
        // Taken from the end.
        left.reverse();
        Choice { databases: Arc::clone(self), left, floor, slave: None, on_master: false, failed: None }
    }

    /// The master alone.
    pub(super) fn newest(self: &Arc<Self>) -> Choice {
        let databases = Arc::clone(self);
        Choice { databases, left: Vec::new(), floor: 0, slave: None, on_master: false, failed: None }
    }

    /// Waits until every slave shows what the master has committed: what no lane's position tells of.
    pub(super) async fn level(&self) -> Result<()> {
        use crate::sql::{Snapshot, Value};
        let master = self.master.get().await?;
        let at = "SELECT CAST(pg_current_wal_lsn() AS text)";
        let text = |row: &crate::sql::Row<'_>| row.get::<String>(0);
        let at = Transaction(&master).query("asking where the log ends", at, &[], text).await?.pop();
        let begun = Instant::now();
        for slave in &self.slaves {
            let reader = slave.pool.get().await?;
            let shows =
                "SELECT CAST(1 AS BIGINT) WHERE pg_last_wal_replay_lsn() >= CAST(CAST(?1 AS text) AS pg_lsn)";
            let asked = [Value::from(at.as_deref())];
            while Transaction(&reader)
                .query("asking what is replayed", shows, &asked, |_| Ok(()))
                .await?
                .is_empty()
            {
                if begun.elapsed() > LEVEL_WITHIN {
                    let why = format!("slave {} does not replay what the master wrote", slave.pool.name());
                    return Err(StorageError::Engine {
                        engine: "PostgreSQL",
                        doing: "waiting for a slave",
                        why,
                    });
                }
                tokio::time::sleep(LEVEL_LOOK).await;
            }
        }
        Ok(())
    }

    /// Follows how far slaves are, for as long as the shard is used.
    pub(super) fn watch(self: &Arc<Self>, homes: Arc<Homes>) {
        let databases = Arc::downgrade(self);
        tokio::spawn(async move {
            // What the master showed a look ago, every slave is to show now; before that, none is known to be level.
            let mut due: Option<HashMap<LaneId, Position>> = None;
            loop {
                let Some(databases) = databases.upgrade() else { return };
                let slaves = databases.slaves.iter().map(|slave| slave.look(due.as_ref()));
                let master = async {
                    let shows = positions(&databases.master_look).await?;
                    homes.learn(databases.moved().await?);
                    Ok::<_, StorageError>(shows)
                };
                let master = tokio::time::timeout(LOOK_WITHIN, master);
                let (master, _) = tokio::join!(master, futures_util::future::join_all(slaves));
                match master {
                    Ok(Ok(shows)) => due = Some(shows),
                    // Without the master nothing moves: who was level stays level.
                    Ok(Err(error)) => tracing::debug!(%error, "the master does not say how far it is"),
                    Err(_) => tracing::debug!("the master does not say in time how far it is"),
                }
                drop(databases);
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

impl Slave {
    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A read of it says how far it is, sooner than the next look.
    fn showed(&self, position: Position) {
        let mut watch = self.watch();
        if let Some(shown) = watch.shows.get_mut(&position.lane)
            && order(position) > order(*shown)
        {
            *shown = position;
        }
    }

    async fn look(&self, due: Option<&HashMap<LaneId, Position>>) {
        let looked = tokio::time::timeout(LOOK_WITHIN, positions(&self.look)).await;
        let mut watch = self.watch();
        match looked {
            Ok(Ok(shows)) => {
                let shows_it = |(lane, at): (&LaneId, &Position)| {
                    shows.get(lane).is_some_and(|shown| order(*shown) >= order(*at))
                };
                let is_level = due.is_some_and(|due| due.iter().all(shows_it));
                watch.shows = shows;
                if is_level {
                    watch.level = Some(Instant::now());
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(slave = self.pool.name(), %error, "a slave does not answer");
                watch.level = None;
            }
            Err(_) => watch.level = None,
        }
        metrics::gauge!("store_slave_level", "slave" => self.pool.name().to_owned())
            .set(if watch.level.is_some() { 1.0 } else { 0.0 });
    }
}

async fn positions(pool: &Pool) -> Result<HashMap<LaneId, Position>> {
    use crate::sql::Snapshot;
    let client = pool.get().await?;
    let rows = Transaction(&client)
        .query("reading the lanes' positions", "SELECT id, generation, applied FROM lane", &[], |row| {
            Ok(Position { lane: row.get(0)?, generation: row.get(1)?, sequence: row.get(2)? })
        })
        .await?;
    Ok(rows.into_iter().map(|at| (at.lane, at)).collect())
}

/// Positions of one lane as one number.
fn order(at: Position) -> u64 {
    u64::from(at.generation) << 48 | at.sequence
}

/// The databases that a read may go to, one after another.
pub(crate) struct Choice {
    databases: Arc<Databases>,
    left: Vec<usize>,
    floor: u64,
    /// The slave that was chosen last; `None` where it is the master.
    slave: Option<usize>,
    on_master: bool,
    failed: Option<StorageError>,
}

impl Choice {
    /// A snapshot of the next database.
    pub(crate) async fn next(&mut self) -> Result<Reader> {
        while let Some(index) = self.left.pop() {
            let slave = &self.databases.slaves[index];
            // Others may have found it hanging while this one waited.
            if slave.watch().level.is_none() {
                continue;
            }
            match Reader::get(&slave.pool).await {
                Ok(reader) => {
                    self.slave = Some(index);
                    return Ok(reader);
                }
                Err(error) => self.failed = Some(error),
            }
        }
        if self.on_master {
            let failed = self.failed.take();
            return Err(failed.unwrap_or(StorageError::Engine {
                engine: "PostgreSQL",
                doing: "reading",
                why: "no database shows what was seen before".to_owned(),
            }));
        }
        (self.on_master, self.slave) = (true, None);
        Reader::get(&self.databases.master).await
    }

    /// How long the database that was chosen last may take.
    pub(crate) fn patience(&self) -> Duration {
        if self.on_master { MASTER_WITHIN } else { READ_WITHIN }
    }

    /// The database that was chosen last did not answer in time: its connection is given up.
    pub(crate) fn late(&mut self, reader: Reader) -> Result<()> {
        reader.give_up();
        let error = || StorageError::Engine {
            engine: "PostgreSQL",
            doing: "reading",
            why: "no answer in time".to_owned(),
        };
        if self.on_master {
            return Err(error());
        }
        if let Some(slave) = self.slave {
            // Nobody else waits for it; the next look says when it is good again.
            self.databases.slaves[slave].watch().level = None;
        }
        self.failed = Some(error());
        Ok(())
    }

    /// Ends a read. `None` where it was too old, or the database failed and there are others: it is tried with the next.
    pub(crate) fn end<T>(
        &mut self,
        reader: Reader,
        (begun, position, value): (Result<()>, Result<Position>, Result<T>),
    ) -> Result<Option<Seen<T>>> {
        let from = if self.on_master { "master" } else { "slave" };
        let read = begun.and_then(|()| Ok(Seen { position: position?, value: value? }));
        drop(reader);
        if let (Some(slave), Ok(seen)) = (self.slave, &read) {
            self.databases.slaves[slave].showed(seen.position);
        }
        let told = |outcome: &'static str| {
            metrics::counter!("store_reads_total", "from" => from, "outcome" => outcome).increment(1);
        };
        match read {
            Ok(seen) if order(seen.position) >= self.floor => {
                told("read");
                Ok(Some(seen))
            }
            Ok(_) => {
                told("too old");
                Ok(None)
            }
            Err(error @ StorageError::Engine { .. }) if !self.on_master => {
                told("failed");
                self.failed = Some(error);
                Ok(None)
            }
            Err(error) => {
                told("failed");
                Err(error)
            }
        }
    }
}

/// A connection for one read transaction, which ends with this value.
pub(crate) struct Reader {
    client: Option<Client>,
}

impl Reader {
    async fn get(pool: &Pool) -> Result<Self> {
        Ok(Reader { client: Some(pool.get().await?) })
    }

    /// Begins the transaction. Polled before what is read in it, it travels with that.
    pub(crate) async fn begin(&self) -> Result<()> {
        let begun = self.client()?.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        begun.await.map_err(failed("beginning to read"))
    }

    /// Where to read.
    pub(crate) fn snapshot(&self) -> Result<Transaction<'_>> {
        self.client().map(|client| Transaction(client))
    }

    fn client(&self) -> Result<&Client> {
        self.client.as_ref().ok_or(StorageError::Closed)
    }

    /// Closes the connection: whoever was lent it next would wait, too.
    fn give_up(mut self) {
        self.client.take().map(Client::take);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            // Sent at once, ahead of whatever the connection is lent for next; nobody waits for its answer.
            let _ = client.batch_execute("COMMIT").now_or_never();
        }
    }
}
