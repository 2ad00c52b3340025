//! The shards: each a master that lanes are applied to, and slaves that are read from.
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use domain::{calendar::Month, readings::DayReadings};
use jiff::civil::Date;
use protocol::{
    AccountId, BillId, Bucket, CustomerId, LaneId, OperationId, PaymentId, Position, PushId,
    ServiceRequestId, SessionId, ShardId, bounds::Phone, push::Push, routing::ShardMap,
};
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    StorageError,
    message::{Decision, LaneMessage, NewMessage, OperationRow},
    queue::{Recent, RecentLanes},
    rows::{
        Account, BillDetail, BillHead, Customer, Entity, Mandate, OutageRow, Payee, Payment, Person, Put,
        RequestView, ServiceRequest, Session,
    },
    sqlite::{
        self, load, payments, reads, reads_views as views, requests,
        writer::{Command, Hooks, WAITING, Writer},
    },
    working_set::{NotLoaded, WorkingSet},
};

mod exports;
mod files;
mod shown;
pub use shown::{AccountView, BillView, NoticePage, PersonView};

type Result<T> = std::result::Result<T, StorageError>;

/// The rules by which operations are applied.
pub trait Decide: Send + Sync + 'static {
    /// What an operation does, given the rows it asks for. Pure: the same rows and message give the same decision.
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> std::result::Result<Decision, NotLoaded>;
}

/// Messages to be applied in one transaction.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Of which lane.
    pub lane: LaneId,
    /// Under which epoch: a store that has seen a later one refuses.
    pub epoch: u64,
    /// The lane's generation.
    pub generation: u32,
    /// The lane is applied up to here; the first message is the next.
    pub after: u64,
    /// The messages, without a gap.
    pub messages: Vec<LaneMessage>,
}

/// What applying a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The lane is applied up to here now.
    pub sequence: u64,
    /// Operations that had been applied before.
    pub repeated: u64,
    /// Operations that ended as failed.
    pub failed: u64,
    /// Whether operations for other lanes wait in the outbox.
    pub children: bool,
    /// Whether pushes wait.
    pub pushes: bool,
}

/// A value and how far the lane had been applied in the very snapshot it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<T> {
    /// What was read.
    pub value: T,
    /// Where its lane stood.
    pub position: Position,
}

/// An operation that is to go to another lane.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Its row.
    pub id: i64,
    /// Where it belongs.
    pub bucket: Bucket,
    /// The message.
    pub message: NewMessage,
}

/// An account with what was used and billed in some months.
#[derive(Clone, Debug, PartialEq)]
pub struct PastView {
    /// The account.
    pub account: Account,
    /// The readings of these months, by date.
    pub days: Vec<DayReadings>,
    /// The bills of these months, oldest first, whole.
    pub bills: Vec<(BillHead, BillDetail)>,
    /// The first and last day with readings.
    pub first_and_last: Option<(Date, Date)>,
}

/// How the shards are laid out on disk.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder of the shards' files.
    pub folder: PathBuf,
    /// Buckets, lanes, shards.
    pub map: ShardMap,
    /// Connections for reading, a shard.
    pub readers: usize,
}

/// A handle on all shards.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    map: ShardMap,
    shards: Vec<Shard>,
    recent: RecentLanes,
}

struct Shard {
    writer: mpsc::Sender<Command>,
    epoch: u64,
    readers: Readers,
}

/// Connections for reading, lent one at a time.
struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
}

/// Joins the writers' threads: data is folded and closed when this returns.
pub struct Closing(Vec<std::thread::JoinHandle<()>>);

impl Closing {
    /// Waits until every writer has ended. Every [`Store`] handle must be gone, or it waits for ever.
    pub fn wait(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a shard's writer died");
            }
        }
    }
}

impl Store {
    /// Opens every shard: makes files that are not there, brings schemas up to date, takes new epochs, starts a writer for
    /// each. The caller holds the folder's lock.
    pub fn open(layout: &Layout) -> Result<(Store, Closing)> {
        std::fs::create_dir_all(&layout.folder)
            .map_err(|source| StorageError::Folder { path: layout.folder.clone(), source })?;
        check_shape(layout)?;
        let (mut shards, mut recent, mut threads) = (Vec::new(), RecentLanes::new(), Vec::new());
        for shard in (0..layout.map.shards()).map(ShardId) {
            let path = layout.folder.join(sqlite::file_name(shard));
            let lanes: Vec<_> = layout.map.lanes_of(shard).collect();
            let (connection, epoch) = sqlite::open_for_writing(&path, &lanes)?;
            let mut hooks = Hooks { recent: RecentLanes::new() };
            let mut tails = std::collections::HashMap::new();
            for lane in lanes {
                let tail = reads::tail(&connection, lane)?;
                tails.insert(lane, tail);
                let ends = Arc::new(Recent::new(tail));
                hooks.recent.insert(lane, Arc::clone(&ends));
                recent.insert(lane, ends);
            }
            let (sender, commands) = mpsc::channel(WAITING);
            let writer = Writer::new(shard, connection, hooks, tails);
            let thread = std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || writer.run(commands))
                .map_err(|source| StorageError::Folder { path: path.clone(), source })?;
            threads.push(thread);
            let readers = Readers {
                free: Mutex::default(),
                permits: Arc::new(Semaphore::new(layout.readers.max(1))),
                path,
            };
            shards.push(Shard { writer: sender, epoch, readers });
        }
        let inner = Inner { map: layout.map.clone(), shards, recent };
        Ok((Store { inner: Arc::new(inner) }, Closing(threads)))
    }

    /// Buckets, lanes, shards.
    pub fn map(&self) -> &ShardMap {
        &self.inner.map
    }

    /// The epoch under which this process applies a lane.
    pub fn epoch(&self, lane: LaneId) -> Result<u64> {
        Ok(self.shard_of(lane)?.epoch)
    }

    /// Applies a batch in one transaction.
    pub async fn apply(&self, batch: Batch, rules: Arc<dyn Decide>) -> Result<Applied> {
        let lane = batch.lane;
        self.ask(lane, |done| Command::Apply { batch, rules, done }).await
    }

    /// Writes rows that no lane orders: a first filling, before anything is served.
    pub async fn fill(&self, shard: ShardId, puts: Vec<Put>) -> Result<()> {
        self.ask(self.any_lane(shard)?, |done| Command::Fill { puts, done }).await
    }

    /// Forgets outbox rows that are in their lanes.
    pub async fn outbox_sent(&self, shard: ShardId, ids: Vec<i64>) -> Result<()> {
        self.ask(self.any_lane(shard)?, |done| Command::OutboxSent { ids, done }).await
    }

    /// Notes that the edge has pushes on its disk: their content is forgotten here.
    pub async fn push_handed_over(&self, shard: ShardId, ids: Vec<PushId>) -> Result<()> {
        self.ask(self.any_lane(shard)?, |done| Command::PushHandedOver { ids, done }).await
    }

    /// Forgets applied messages accepted before one time and results from before another, some thousand at a time.
    /// Answers how many rows went.
    pub async fn prune(
        &self,
        shard: ShardId,
        messages_before_ms: u64,
        operations_before_ms: u64,
    ) -> Result<u64> {
        let command = |done| Command::Prune { messages_before_ms, operations_before_ms, done };
        self.ask(self.any_lane(shard)?, command).await
    }

    /// Where a lane stands.
    pub async fn lane(&self, lane: LaneId) -> Result<Position> {
        self.on_slave_of_lane(lane, move |c| Ok(reads::lane(c, lane)?.0)).await
    }

    /// What changed in a lane after a sequence, and where the slave that was asked stands.
    pub async fn changes(&self, lane: LaneId, after: u64) -> Result<Seen<Vec<Entity>>> {
        let read = move |c: &Connection| reads::changes(c, lane, after);
        self.on_slave_of_lane(lane, move |c| seen(c, lane, read)).await
    }

    /// The oldest rows of a shard's outbox.
    pub async fn outbox(&self, shard: ShardId, limit: usize) -> Result<Vec<OutboxRow>> {
        self.on_slave(shard, move |c| reads::outbox(c, limit)).await
    }

    /// A shard's oldest pushes that wait to be handed over.
    pub async fn waiting_pushes(&self, shard: ShardId, limit: usize) -> Result<Vec<Push>> {
        self.on_slave(shard, move |c| reads::waiting_pushes(c, limit)).await
    }

    /// A shard's newest operations that ended as failed.
    pub async fn failed(&self, shard: ShardId, limit: usize) -> Result<Vec<OperationRow>> {
        self.on_slave(shard, move |c| reads::failed(c, limit)).await
    }

    /// A shard's ledger, summed by code: (code, fen). All of it sums to zero.
    pub async fn ledger_sums(&self, shard: ShardId) -> Result<Vec<(String, i64)>> {
        self.on_slave(shard, reads::ledger_sums).await
    }

    /// How an operation ended; `None` where it has not been applied.
    pub async fn operation(&self, id: OperationId) -> Result<Seen<Option<OperationRow>>> {
        self.seen(id.bucket(), move |c| reads::operation(c, id)).await
    }

    /// An account with the readings of some ranges of days.
    pub async fn account(&self, id: AccountId, days: Vec<(Date, Date)>) -> Result<Seen<Option<AccountView>>> {
        self.seen(id.bucket(), move |c| views::account(c, id, &days)).await
    }

    /// An account's row alone.
    pub async fn account_row(&self, id: AccountId) -> Result<Seen<Option<Account>>> {
        self.seen(id.bucket(), move |c| load::account(c, id)).await
    }

    /// An account with the readings and bills of the months from one to another, both included: at most 12, or what is
    /// later is left out. Off the async threads, for a year has 366 days.
    pub async fn past(&self, id: AccountId, from: Month, to: Month) -> Result<Seen<Option<PastView>>> {
        let lane = self.inner.map.lane(id.bucket());
        self.on_slave_of_lane(lane, move |c| seen(c, lane, |c| views::past(c, id, from, to))).await
    }

    /// Who has bound an account; `None` where there is no such account.
    pub async fn holders(&self, id: AccountId) -> Result<Seen<Option<Vec<CustomerId>>>> {
        let read = move |c: &Connection| load::account(c, id)?.map(|_| load::holders(c, id)).transpose();
        self.seen(id.bucket(), read).await
    }

    /// A page of bill heads, newest first.
    pub async fn bills(
        &self,
        id: AccountId,
        before: Option<Month>,
        limit: u32,
    ) -> Result<Seen<Vec<BillHead>>> {
        self.seen(id.bucket(), move |c| views::bills(c, id, before, limit)).await
    }

    /// A bill.
    pub async fn bill(&self, id: BillId) -> Result<Seen<Option<BillView>>> {
        self.seen(id.account.bucket(), move |c| views::bill(c, id)).await
    }

    /// A payment.
    pub async fn payment(&self, id: PaymentId) -> Result<Seen<Option<Payment>>> {
        self.seen(id.bucket(), move |c| payments::payment(c, id)).await
    }

    /// An account's payments ordered before a time (Unix ms), newest first; only those of `customer`, where one is named.
    pub async fn payments(
        &self,
        account: AccountId,
        customer: Option<CustomerId>,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<Payment>>> {
        self.seen(account.bucket(), move |c| payments::payments(c, account, customer, before_ms, limit)).await
    }

    /// The accounts of others that a customer has asked about, newest first.
    pub async fn payees(&self, customer: CustomerId) -> Result<Seen<Vec<Payee>>> {
        self.seen(customer.bucket(), move |c| load::payees(c, customer)).await
    }

    /// What is held about a customer besides their accounts.
    pub async fn person(&self, customer: CustomerId) -> Result<Seen<Option<Person>>> {
        self.seen(customer.bucket(), move |c| load::person(c, customer)).await
    }

    /// Everything that is held about a customer, of one moment.
    pub async fn person_view(&self, id: CustomerId) -> Result<Seen<PersonView>> {
        let read = move |c: &Connection| {
            Ok(PersonView {
                person: load::person(c, id)?,
                customer: load::customer(c, id)?,
                sessions: load::sessions_of(c, id)?,
                payees: load::payees(c, id)?,
            })
        };
        self.seen(id.bucket(), read).await
    }

    /// A customer's sessions that have not been ended, newest first.
    pub async fn sessions_of(&self, customer: CustomerId) -> Result<Seen<Vec<Session>>> {
        self.seen(customer.bucket(), move |c| load::sessions_of(c, customer)).await
    }

    /// A shard's reconnections that are to be completed by `now_ms`, longest due first: account and when, Unix ms.
    pub async fn supplies_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        self.on_slave(shard, move |c| load::supplies_due(c, now_ms, limit)).await
    }

    /// The payments of an account that became credit, newest first; at most 200.
    pub async fn credits(&self, account: AccountId) -> Result<Seen<Vec<Payment>>> {
        self.seen(account.bucket(), move |c| payments::credits(c, account)).await
    }

    /// An account's mandate, the newest.
    pub async fn mandate(&self, account: AccountId) -> Result<Seen<Option<Mandate>>> {
        self.seen(account.bucket(), move |c| payments::mandate(c, account)).await
    }

    /// A shard's mandates that the schedule has to look at by `now_ms`, longest due first: whose and when, Unix ms.
    pub async fn mandates_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        self.on_slave(shard, move |c| payments::mandates_due(c, now_ms, limit)).await
    }

    /// A shard's payments with a refund of which the provider is to be told again by `now_ms`: which and when, Unix ms.
    pub async fn refunds_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(PaymentId, u64)>> {
        self.on_slave(shard, move |c| payments::refunds_due(c, now_ms, limit)).await
    }

    /// A session.
    pub async fn session(&self, id: SessionId) -> Result<Seen<Option<Session>>> {
        self.seen(id.bucket(), move |c| load::session(c, id)).await
    }

    /// A customer's accounts.
    pub async fn customer(&self, id: CustomerId) -> Result<Seen<Customer>> {
        self.seen(id.bucket(), move |c| load::customer(c, id)).await
    }

    /// The customer that a phone number is, once verified.
    pub async fn customer_of_phone(&self, phone: Phone) -> Result<Option<CustomerId>> {
        let bucket = Bucket::of_identity(&protocol::catalogue::phone_identity(&phone));
        self.on_slave(self.inner.map.shard(bucket), move |c| load::customer_of_phone(c, &phone)).await
    }

    /// A request with what has happened to it.
    pub async fn request(&self, id: ServiceRequestId) -> Result<Seen<Option<RequestView>>> {
        self.seen(id.bucket(), move |c| requests::request_view(c, id)).await
    }

    /// An account's requests made before a time (Unix ms), newest first.
    pub async fn account_requests(
        &self,
        id: AccountId,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<ServiceRequest>>> {
        self.seen(id.bucket(), move |c| requests::of_account(c, id, bound(before_ms), limit)).await
    }

    /// A customer's requests about no account made before a time (Unix ms), newest first.
    pub async fn customer_requests(
        &self,
        id: CustomerId,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<ServiceRequest>>> {
        self.seen(id.bucket(), move |c| requests::of_customer(c, id, bound(before_ms), limit)).await
    }

    /// A shard's requests that are not closed, oldest first.
    pub async fn open_requests(&self, shard: ShardId, limit: u32) -> Result<Vec<ServiceRequest>> {
        self.on_slave(shard, move |c| requests::open(c, limit)).await
    }

    /// The GB/T 2260 code of an account's district; `None` where there is no such account.
    pub async fn division_of(&self, id: AccountId) -> Result<Seen<Option<String>>> {
        self.seen(id.bucket(), move |c| Ok(load::account(c, id)?.map(|account| account.division))).await
    }

    /// A district's outages that have not ended before a time (Unix ms), newest first; at most 100.
    pub async fn outages(&self, division: String, ended_after_ms: u64) -> Result<Seen<Vec<OutageRow>>> {
        let bucket = Bucket::of_division(&division);
        self.seen(bucket, move |c| requests::outages(c, &division, ended_after_ms as i64)).await
    }

    /// What a customer was told, newest first.
    pub async fn notices(&self, id: CustomerId, before: Option<u64>, limit: u32) -> Result<Seen<NoticePage>> {
        self.seen(id.bucket(), move |c| requests::notices(c, id, bound(before), limit)).await
    }

    /// How many accounts a shard holds.
    pub async fn account_count(&self, shard: ShardId) -> Result<u64> {
        self.on_slave(shard, views::account_count).await
    }

    async fn seen<T: Send + 'static>(
        &self,
        bucket: Bucket,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Seen<T>> {
        let lane = self.inner.map.lane(bucket);
        let shard = self.inner.map.shard(bucket);
        self.here(shard, move |c| seen(c, lane, read)).await
    }

    /// Reads in one snapshot, on the caller's thread: for a few rows found by their key, which take microseconds from a
    /// file mapped into memory, while handing them to another thread and back takes tens.
    async fn here<T>(&self, shard: ShardId, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let readers = &self.inner.shards.get(usize::from(shard.0)).ok_or(StorageError::Closed)?.readers;
        let _permit = readers.permits.acquire().await.map_err(|_| StorageError::Closed)?;
        let connection = readers.take()?;
        let result = snapshot(&connection, read);
        readers.give_back(connection);
        result
    }

    pub(crate) async fn on_slave_of_lane<T: Send + 'static>(
        &self,
        lane: LaneId,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.on_slave(self.inner.map.shard_of_lane(lane).ok_or(StorageError::Closed)?, read).await
    }

    /// Reads in one snapshot, off the async threads: for reads whose length depends on what has gathered.
    async fn on_slave<T: Send + 'static>(
        &self,
        shard: ShardId,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let index = usize::from(shard.0);
        let readers = &self.inner.shards.get(index).ok_or(StorageError::Closed)?.readers;
        let permits = Arc::clone(&readers.permits);
        let permit = permits.acquire_owned().await.map_err(|_| StorageError::Closed)?;
        tokio::task::spawn_blocking(move || {
            // Kept until the read ends, also where nobody waits for it any more: it bounds connections, not callers.
            let _permit = permit;
            let readers = &inner.shards[index].readers;
            let connection = readers.take()?;
            let result = snapshot(&connection, read);
            readers.give_back(connection);
            result
        })
        .await
        .map_err(|_| StorageError::Closed)?
    }

    pub(crate) fn recent(&self, lane: LaneId) -> Option<&Arc<Recent>> {
        self.inner.recent.get(&lane)
    }

    pub(crate) async fn send(&self, lane: LaneId, command: Command) -> Result<()> {
        self.shard_of(lane)?.writer.send(command).await.map_err(|_| StorageError::Closed)
    }

    async fn ask<T>(
        &self,
        lane: LaneId,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (done, answer) = oneshot::channel();
        self.send(lane, command(done)).await?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    fn shard_of(&self, lane: LaneId) -> Result<&Shard> {
        let shard = self.inner.map.shard_of_lane(lane).ok_or(StorageError::Closed)?;
        self.inner.shards.get(usize::from(shard.0)).ok_or(StorageError::Closed)
    }

    fn any_lane(&self, shard: ShardId) -> Result<LaneId> {
        self.inner.map.lanes_of(shard).next().ok_or(StorageError::Closed)
    }
}

impl Readers {
    fn take(&self) -> Result<Connection> {
        let free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        free.map_or_else(|| sqlite::open_for_reading(&self.path), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(connection);
    }
}

/// A cursor as SQLite compares it.
fn bound(before: Option<u64>) -> i64 {
    before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX)
}

fn seen<T>(c: &Connection, lane: LaneId, read: impl FnOnce(&Connection) -> Result<T>) -> Result<Seen<T>> {
    let (position, _) = reads::lane(c, lane)?;
    Ok(Seen { value: read(c)?, position })
}

fn snapshot<T>(c: &Connection, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let run = |sql| {
        c.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(StorageError::database("reading"))
    };
    run("BEGIN")?;
    let result = read(c);
    run("COMMIT")?;
    result
}

/// Refuses a folder that was made for another number of shards or lanes: its buckets would be looked for elsewhere.
fn check_shape(layout: &Layout) -> Result<()> {
    let describe = |map: &ShardMap| format!("{} shards with {} lanes", map.shards(), map.lanes().count());
    let path: &Path = &layout.folder.join("shape");
    let configured = describe(&layout.map);
    match std::fs::read_to_string(path) {
        Ok(found) if found.trim() == configured => Ok(()),
        Ok(found) => Err(StorageError::Shape { found: found.trim().to_owned(), configured }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            runtime::durable::write_file_durably(path, configured.as_bytes())
                .map_err(|source| StorageError::Folder { path: path.to_owned(), source })
        }
        Err(source) => Err(StorageError::Folder { path: path.to_owned(), source }),
    }
}
