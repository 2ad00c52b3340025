//! The shards: each a master that lanes are applied to, and slaves that are read from.
use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::{calendar::Month, readings::DayReadings};
use jiff::civil::Date;
use protocol::{
    AccountId, BillId, Bucket, CustomerId, LaneId, OperationId, PaymentId, Position, PushId,
    ServiceRequestId, SessionId, ShardId, bounds::Phone, push::Push, routing::ShardMap,
};

use crate::{
    StorageError,
    message::{Decision, LaneMessage, NewMessage, OperationRow},
    postgres,
    queue::Recent,
    rows::{
        Account, BillDetail, BillHead, Customer, Entity, Mandate, OutageRow, Payee, Payment, Person, Put,
        RequestView, ServiceRequest, Session,
    },
    sql::{bills, lanes, payments, people, requests, supply, views},
    sqlite::{self, now, writer::Command},
    working_set::{NotLoaded, WorkingSet},
};

mod exports;
mod files;
mod moves;
mod reading;
mod shown;
pub use crate::postgres::{PostgresConfig, ShardConfig};
pub use moves::{Comparison, LaneMove, LaneSnapshot};
use reading::{newest, read, read_by, seen, seen_at_length, seen_in_a_cluster};
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
    engine: Engine,
}

enum Engine {
    Sqlite(sqlite::Shards),
    Postgres(postgres::Shards),
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
    /// Opens the embedded shards: makes files that are not there, brings schemas up to date, takes new epochs, starts a
    /// writer for each. The caller holds the folder's lock.
    pub fn open(layout: &Layout) -> Result<(Store, Closing)> {
        let (shards, threads) = sqlite::Shards::open(layout)?;
        let inner = Inner { map: layout.map.clone(), engine: Engine::Sqlite(shards) };
        Ok((Store { inner: Arc::new(inner) }, Closing(threads)))
    }

    /// Connects to the shards of a cluster: brings their schemas up to date, each under a lock, and follows how far every
    /// slave is.
    pub async fn connect(config: &PostgresConfig, map: &ShardMap) -> Result<Store> {
        let shards = postgres::Shards::connect(config, map).await?;
        Ok(Store { inner: Arc::new(Inner { map: map.clone(), engine: Engine::Postgres(shards) }) })
    }

    /// Buckets, lanes, and the shards where lanes live as long as they have not moved.
    pub fn map(&self) -> &ShardMap {
        &self.inner.map
    }

    /// Takes a lane over for applying it, so that whoever applied it before can write no more; answers the epoch of this
    /// taking and how far the lane is applied in the master. Without `epoch`, the next one is taken; embedded, where the
    /// folder's lock keeps all others away, it is the one of this opening.
    ///
    /// # Errors
    /// [`StorageError::Replaced`] where somebody took it under a later epoch.
    pub async fn claim(&self, lane: LaneId, epoch: Option<u64>) -> Result<(u64, Position)> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => {
                let shard = self.shard_of(lane)?;
                let position = shards.here(shard, |s| now(lanes::position(s, lane))).await?;
                Ok((shards.epoch(shard)?, position))
            }
            Engine::Postgres(shards) => within(shards.claim(lane, epoch)).await,
        }
    }

    /// How far a lane is applied in the master: what any reader may have been shown.
    pub async fn in_master(&self, lane: LaneId) -> Result<Position> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => {
                shards.here(self.shard_of(lane)?, |s| now(lanes::position(s, lane))).await
            }
            Engine::Postgres(shards) => within(shards.in_master(lane)).await,
        }
    }

    /// Applies a batch in one transaction.
    pub async fn apply(&self, batch: Batch, rules: Arc<dyn Decide>) -> Result<Applied> {
        let shard = self.shard_of(batch.lane)?;
        match &self.inner.engine {
            Engine::Sqlite(shards) => shards.ask(shard, |done| Command::Apply { batch, rules, done }).await,
            Engine::Postgres(shards) => within(shards.apply(shard, &batch, &*rules)).await,
        }
    }

    /// Writes rows that no lane orders: a first filling, before anything is served.
    pub async fn fill(&self, shard: ShardId, puts: Vec<Put>) -> Result<()> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => shards.ask(shard, |done| Command::Fill { puts, done }).await,
            Engine::Postgres(shards) => Box::pin(shards.fill(shard, &puts)).await,
        }
    }

    /// Forgets outbox rows that are in their lanes.
    pub async fn outbox_sent(&self, shard: ShardId, ids: Vec<i64>) -> Result<()> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => shards.ask(shard, |done| Command::OutboxSent { ids, done }).await,
            Engine::Postgres(shards) => within(shards.outbox_sent(shard, &ids)).await,
        }
    }

    /// Notes that the edge has pushes on its disk: their content is forgotten here.
    pub async fn push_handed_over(&self, shard: ShardId, ids: Vec<PushId>) -> Result<()> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => shards.ask(shard, |done| Command::PushHandedOver { ids, done }).await,
            Engine::Postgres(shards) => within(shards.push_handed_over(shard, &ids)).await,
        }
    }

    /// Forgets applied messages accepted before one time and results from before another, some thousand at a time.
    /// Answers how many rows went.
    pub async fn prune(
        &self,
        shard: ShardId,
        messages_before_ms: u64,
        operations_before_ms: u64,
    ) -> Result<u64> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => {
                let command = |done| Command::Prune { messages_before_ms, operations_before_ms, done };
                shards.ask(shard, command).await
            }
            Engine::Postgres(shards) => {
                within(shards.prune(shard, messages_before_ms, operations_before_ms)).await
            }
        }
    }

    /// Whether reads are of other copies of the data than the one that is written: then what is applied becomes visible
    /// somewhat later.
    pub fn has_slaves(&self) -> bool {
        matches!(self.inner.engine, Engine::Postgres(_))
    }

    /// Notes that whoever reads here has been shown a lane up to a position: nothing older of it is read from now on.
    pub fn shown(&self, position: Position) {
        if let Engine::Postgres(shards) = &self.inner.engine {
            shards.shown(position);
        }
    }

    /// Where a lane stands.
    pub async fn lane(&self, lane: LaneId) -> Result<Position> {
        let seen: Result<Seen<()>> = seen_at_length!(self, lane, |s| async move {
            let _ = s;
            Ok(())
        });
        Ok(seen?.position)
    }

    /// What changed in a lane after a sequence, and where the slave that was asked stands.
    pub async fn changes(&self, lane: LaneId, after: u64) -> Result<Seen<Vec<Entity>>> {
        // One snapshot: what it shows of the lane is what it shows of its changes.
        seen_at_length!(self, lane, |s| lanes::changes(s, lane, after))
    }

    /// The oldest rows of a shard's outbox, as the master has it: what was carried on is not carried on again.
    pub async fn outbox(&self, shard: ShardId, limit: usize) -> Result<Vec<OutboxRow>> {
        newest!(self, shard, |s| lanes::outbox(s, limit))
    }

    /// A shard's oldest pushes that wait to be handed over, likewise.
    pub async fn waiting_pushes(&self, shard: ShardId, limit: usize) -> Result<Vec<Push>> {
        newest!(self, shard, |s| lanes::waiting_pushes(s, limit))
    }

    /// A shard's newest operations that ended as failed.
    pub async fn failed(&self, shard: ShardId, limit: usize) -> Result<Vec<OperationRow>> {
        read!(self, shard, |s| lanes::failed(s, limit))
    }

    /// A shard's ledger, summed by code: (code, fen). All of it sums to zero.
    pub async fn ledger_sums(&self, shard: ShardId) -> Result<Vec<(String, i64)>> {
        read!(self, shard, |s| lanes::ledger_sums(s))
    }

    /// How an operation ended; `None` where it has not been applied.
    pub async fn operation(&self, id: OperationId) -> Result<Seen<Option<OperationRow>>> {
        seen!(self, id.bucket(), |s| lanes::operation(s, id))
    }

    /// An account with the readings of some ranges of days.
    pub async fn account(&self, id: AccountId, days: Vec<(Date, Date)>) -> Result<Seen<Option<AccountView>>> {
        seen!(self, id.bucket(), |s| views::account(s, id, &days))
    }

    /// An account's row alone.
    pub async fn account_row(&self, id: AccountId) -> Result<Seen<Option<Account>>> {
        seen!(self, id.bucket(), |s| bills::account(s, id))
    }

    /// An account with the readings and bills of the months from one to another, both included: at most 12, or what is
    /// later is left out. Off the async threads, for a year has 366 days.
    pub async fn past(&self, id: AccountId, from: Month, to: Month) -> Result<Seen<Option<PastView>>> {
        let lane = self.inner.map.lane(id.bucket());
        seen_at_length!(self, lane, |s| views::past(s, id, from, to))
    }

    /// Who has bound an account; `None` where there is no such account.
    pub async fn holders(&self, id: AccountId) -> Result<Seen<Option<Vec<CustomerId>>>> {
        seen!(self, id.bucket(), |s| bills::holders_of_known(s, id))
    }

    /// A page of bill heads, newest first.
    pub async fn bills(
        &self,
        id: AccountId,
        before: Option<Month>,
        limit: u32,
    ) -> Result<Seen<Vec<BillHead>>> {
        seen!(self, id.bucket(), |s| bills::page(s, id, before, limit))
    }

    /// A bill.
    pub async fn bill(&self, id: BillId) -> Result<Seen<Option<BillView>>> {
        seen!(self, id.account.bucket(), |s| views::bill(s, id))
    }

    /// A payment.
    pub async fn payment(&self, id: PaymentId) -> Result<Seen<Option<Payment>>> {
        seen!(self, id.bucket(), |s| payments::payment(s, id))
    }

    /// An account's payments ordered before a time (Unix ms), newest first; only those of `customer`, where one is named.
    pub async fn payments(
        &self,
        account: AccountId,
        customer: Option<CustomerId>,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<Payment>>> {
        seen!(self, account.bucket(), |s| payments::payments(s, account, customer, before_ms, limit))
    }

    /// The accounts of others that a customer has asked about, newest first.
    pub async fn payees(&self, customer: CustomerId) -> Result<Seen<Vec<Payee>>> {
        seen!(self, customer.bucket(), |s| people::payees(s, customer))
    }

    /// What is held about a customer besides their accounts.
    pub async fn person(&self, customer: CustomerId) -> Result<Seen<Option<Person>>> {
        seen!(self, customer.bucket(), |s| people::person(s, customer))
    }

    /// Everything that is held about a customer, of one moment.
    pub async fn person_view(&self, id: CustomerId) -> Result<Seen<PersonView>> {
        seen!(self, id.bucket(), |s| people::view(s, id))
    }

    /// A customer's sessions that have not been ended, newest first.
    pub async fn sessions_of(&self, customer: CustomerId) -> Result<Seen<Vec<Session>>> {
        seen!(self, customer.bucket(), |s| people::sessions_of(s, customer))
    }

    /// A shard's reconnections that are to be completed by `now_ms`, longest due first: account and when, Unix ms.
    pub async fn supplies_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        read!(self, shard, |s| supply::due(s, now_ms, limit))
    }

    /// The payments of an account that became credit, newest first; at most 200.
    pub async fn credits(&self, account: AccountId) -> Result<Seen<Vec<Payment>>> {
        seen!(self, account.bucket(), |s| payments::credits(s, account))
    }

    /// An account's mandate, the newest.
    pub async fn mandate(&self, account: AccountId) -> Result<Seen<Option<Mandate>>> {
        seen!(self, account.bucket(), |s| payments::mandate(s, account))
    }

    /// A shard's mandates that the schedule has to look at by `now_ms`, longest due first: whose and when, Unix ms.
    pub async fn mandates_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        read!(self, shard, |s| payments::mandates_due(s, now_ms, limit))
    }

    /// A shard's payments with a refund of which the provider is to be told again by `now_ms`: which and when, Unix ms.
    pub async fn refunds_due(
        &self,
        shard: ShardId,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(PaymentId, u64)>> {
        read!(self, shard, |s| payments::refunds_due(s, now_ms, limit))
    }

    /// A session.
    pub async fn session(&self, id: SessionId) -> Result<Seen<Option<Session>>> {
        seen!(self, id.bucket(), |s| people::session(s, id))
    }

    /// A customer's accounts.
    pub async fn customer(&self, id: CustomerId) -> Result<Seen<Customer>> {
        seen!(self, id.bucket(), |s| people::customer(s, id))
    }

    /// The customer that a phone number is, once verified.
    pub async fn customer_of_phone(&self, phone: Phone) -> Result<Option<CustomerId>> {
        let bucket = Bucket::of_identity(&protocol::catalogue::phone_identity(&phone));
        let seen = seen!(self, bucket, |s| people::customer_of_phone(s, &phone));
        seen.map(|seen: Seen<_>| seen.value)
    }

    /// A request with what has happened to it.
    pub async fn request(&self, id: ServiceRequestId) -> Result<Seen<Option<RequestView>>> {
        seen!(self, id.bucket(), |s| requests::view(s, id))
    }

    /// An account's requests made before a time (Unix ms), newest first.
    pub async fn account_requests(
        &self,
        id: AccountId,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<ServiceRequest>>> {
        seen!(self, id.bucket(), |s| requests::of_account(s, id, bound(before_ms), limit))
    }

    /// A customer's requests about no account made before a time (Unix ms), newest first.
    pub async fn customer_requests(
        &self,
        id: CustomerId,
        before_ms: Option<u64>,
        limit: u32,
    ) -> Result<Seen<Vec<ServiceRequest>>> {
        seen!(self, id.bucket(), |s| requests::of_customer(s, id, bound(before_ms), limit))
    }

    /// A shard's requests that are not closed, oldest first.
    pub async fn open_requests(&self, shard: ShardId, limit: u32) -> Result<Vec<ServiceRequest>> {
        read!(self, shard, |s| requests::open(s, limit))
    }

    /// The GB/T 2260 code of an account's district; `None` where there is no such account.
    pub async fn division_of(&self, id: AccountId) -> Result<Seen<Option<String>>> {
        seen!(self, id.bucket(), |s| bills::division_of(s, id))
    }

    /// A district's outages that have not ended before a time (Unix ms), newest first; at most 100.
    pub async fn outages(&self, division: String, ended_after_ms: u64) -> Result<Seen<Vec<OutageRow>>> {
        let bucket = Bucket::of_division(&division);
        seen!(self, bucket, |s| requests::outages(s, &division, ended_after_ms as i64))
    }

    /// What a customer was told, newest first.
    pub async fn notices(&self, id: CustomerId, before: Option<u64>, limit: u32) -> Result<Seen<NoticePage>> {
        seen!(self, id.bucket(), |s| requests::notices(s, id, bound(before), limit))
    }

    /// How many accounts a shard holds.
    pub async fn account_count(&self, shard: ShardId) -> Result<u64> {
        read!(self, shard, |s| bills::account_count(s))
    }

    /// The embedded shards, which hold their lanes, too.
    pub(crate) fn embedded(&self) -> Option<&sqlite::Shards> {
        match &self.inner.engine {
            Engine::Sqlite(shards) => Some(shards),
            Engine::Postgres(_) => None,
        }
    }

    pub(crate) async fn messages(&self, lane: LaneId, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
        read!(self, self.shard_of(lane)?, |s| lanes::messages(s, lane, after, limit))
    }

    pub(crate) async fn waiting(&self, id: OperationId, lane: LaneId) -> Result<Option<LaneMessage>> {
        read!(self, self.shard_of(lane)?, |s| lanes::waiting(s, lane, id))
    }

    pub(crate) async fn send(&self, lane: LaneId, command: Command) -> Result<()> {
        let shard = self.shard_of(lane)?;
        self.embedded().ok_or(StorageError::Closed)?.send(shard, command).await
    }

    pub(crate) fn recent(&self, lane: LaneId) -> Option<&Arc<Recent>> {
        self.embedded()?.recent(lane)
    }

    /// The shard that a lane lives in now.
    pub fn shard_of(&self, lane: LaneId) -> Result<ShardId> {
        match &self.inner.engine {
            Engine::Sqlite(_) => self.inner.map.shard_of_lane(lane).ok_or(StorageError::Closed),
            Engine::Postgres(shards) => shards.home(lane),
        }
    }
}

/// How long a transaction on a master may take, whatever the server says: one that is frozen says nothing.
const MASTER_WITHIN: Duration = Duration::from_secs(20);

/// Bounds a transaction on a master. Whether it was done is not known then.
async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || StorageError::Engine {
        engine: "PostgreSQL",
        doing: "writing",
        why: "the master does not answer in time".to_owned(),
    };
    tokio::time::timeout(MASTER_WITHIN, Box::pin(work)).await.unwrap_or_else(|_| Err(late()))
}

/// A cursor as a database compares it.
fn bound(before: Option<u64>) -> i64 {
    before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX)
}
