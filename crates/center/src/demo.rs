//! Demonstration customers: a newcomer's center has people in it, with a year of readings, bills and payments.
//!
//! Everything about them follows from the seed, the tariffs and the day they are made on. They are written past the
//! lanes, before anything is served, and so that a crash in between is healed by asking again:
//!
//! 1. Each account with all that belongs to it (readings, bills, payments, ledger, holder) in one transaction. An account
//!    that is there is left as it is: postings are append-only and must not be written twice.
//! 2. Then the log-ins, one transaction each (identity and list of accounts live in the same bucket); an identity that is
//!    known is left as it is.
//! 3. The first phone's log-in is written last of all. It is the mark that everything is there: with it, asking again
//!    costs one read.
//!
//! Names and addresses say 样例, 示例 or 虚构 and can be taken for nobody's. Phones are 199 0000 0000 and up, marked as
//! demonstration numbers: nothing is ever sent to them but in a system whose outside world is simulated.
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use domain::{billing::BillingError, ledger::LedgerError, tariff::TariffBook};
use jiff::civil::Date;
use protocol::{AccountId, Bucket, ShardId, bounds::Phone, catalogue::phone_identity};
use runtime::health::ReadyPart;
use storage::{
    StorageError,
    rows::{Identity, Person, Put},
    store::Store,
};
use tokio::{sync::mpsc, task::JoinSet};

mod history;
mod household;
mod place;
mod service;

use household::{FIRST_HOME, Household, SECOND_HOME};
pub(crate) use service::desk;

/// How many of the first phones can log in and have their account bound.
const BOUND: u32 = 20;
/// The most demonstration customers; account numbers and phones are laid out for them.
pub const MAX_CUSTOMERS: u32 = 1_000_000;
/// Accounts that are written in one transaction, some 7,000 rows.
const ACCOUNTS_A_FILL: usize = 16;

/// What to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demo {
    /// How many customers, at most [`MAX_CUSTOMERS`]. The first of them has a second home, so there is one account more.
    pub customers: u32,
    /// The day they are made on, in China: readings end the day before.
    pub today: Date,
    /// What everything follows from.
    pub seed: u64,
}

/// How to look at what was made up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoReport {
    /// Phones to log in with, and what is behind them, in English.
    pub phones: Vec<(Phone, String)>,
}

/// Why there are no demonstration customers, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// More than can be numbered.
    #[error("{0} demonstration customers are more than {MAX_CUSTOMERS}")]
    TooMany(u32),
    /// The tariff book has none for the places that demonstration customers live in.
    #[error(
        "no tariff is known for Zhejiang, Guangzhou, Beijing or Shanghai, where demonstration customers live"
    )]
    NoTariff,
    /// The day is out of all calendars.
    #[error("demonstration customers cannot live around {0}")]
    Today(Date),
    /// A made-up month cannot be billed.
    #[error("a demonstration bill cannot be made")]
    Billing(#[from] BillingError),
    /// A made-up bill or payment cannot be booked.
    #[error("a demonstration payment cannot be booked")]
    Ledger(#[from] LedgerError),
    /// The store did not take them. What it took is whole; asking again goes on from there.
    #[error("demonstration customers cannot be stored")]
    Storage(#[from] StorageError),
    /// The program is ending.
    #[error("making up demonstration customers was broken off")]
    Stopped,
}

/// Fills a store with demonstration customers, all shards at once; goes on where an earlier call was broken off, and does
/// nothing where they are all there. `progress` is told how far it is, and left not ready.
///
/// # Errors
/// [`DemoError`].
pub async fn fill(
    store: &Store,
    tariffs: &TariffBook,
    ask: Demo,
    progress: &ReadyPart,
) -> Result<DemoReport, DemoError> {
    let report = report(tariffs, ask)?;
    let Some((first, _)) = report.phones.first() else { return Ok(report) };
    if store.customer_of_phone(first.clone()).await?.is_some() {
        return Ok(report);
    }
    let world = Arc::new(World { tariffs: tariffs.clone(), ask });
    fill_accounts(store, &world, ask.customers, progress).await?;
    for n in (1..=ask.customers.min(BOUND)).rev() {
        fill_log_in(store, &world.household(n)?, ask.today).await?;
    }
    Ok(report)
}

/// What [`fill`] reports, without a store: it follows from the seed.
///
/// # Errors
/// [`DemoError::TooMany`], [`DemoError::NoTariff`].
pub fn report(tariffs: &TariffBook, ask: Demo) -> Result<DemoReport, DemoError> {
    if ask.customers > MAX_CUSTOMERS {
        return Err(DemoError::TooMany(ask.customers));
    }
    let mut phones = Vec::new();
    for n in 1..=ask.customers.min(BOUND) {
        let household = Household::of(ask.seed, n, tariffs)?;
        phones.push((household.phone.clone(), household.note()));
    }
    Ok(DemoReport { phones })
}

/// The phones to log in with, without what is behind them. They are the same for every seed.
pub fn phones(customers: u32, _seed: u64) -> Vec<Phone> {
    (1..=customers.min(BOUND)).filter_map(|n| household::phone(n).ok()).collect()
}

/// What every household is made from.
struct World {
    tariffs: TariffBook,
    ask: Demo,
}

impl World {
    fn household(&self, n: u32) -> Result<Household, DemoError> {
        Household::of(self.ask.seed, n, &self.tariffs)
    }

    /// The rows of some households.
    fn rows(&self, numbers: &[u32]) -> Result<Vec<Put>, DemoError> {
        let mut puts = Vec::new();
        for n in numbers {
            puts.extend(history::rows(&self.household(*n)?, self.ask.today, &self.tariffs)?);
        }
        Ok(puts)
    }
}

/// Fills in the accounts of the households up to `last`, each shard by a task of its own.
async fn fill_accounts(
    store: &Store,
    world: &Arc<World>,
    last: u32,
    progress: &ReadyPart,
) -> Result<(), DemoError> {
    let mut by_shard = vec![Vec::new(); usize::from(store.map().shards())];
    for n in SECOND_HOME..=last {
        let account = world.household(n)?.account;
        if let Some(accounts) = by_shard.get_mut(usize::from(store.map().shard(account.bucket()).0)) {
            accounts.push((account, n));
        }
    }
    let told = Progress { part: progress.clone(), filled: Arc::new(AtomicU32::new(0)), of: last + 1 };
    let mut shards = JoinSet::new();
    for (shard, mut accounts) in (0..).map(ShardId).zip(by_shard) {
        // In the order of the tables' keys.
        accounts.sort_unstable();
        shards.spawn(fill_shard(store.clone(), shard, accounts, Arc::clone(world), told.clone()));
    }
    while let Some(ended) = shards.join_next().await {
        ended.map_err(|_| DemoError::Stopped)??;
    }
    Ok(())
}

#[derive(Clone)]
struct Progress {
    part: ReadyPart,
    filled: Arc<AtomicU32>,
    of: u32,
}

impl Progress {
    fn add(&self, accounts: usize) {
        let added = u32::try_from(accounts).unwrap_or(u32::MAX);
        let filled = self.filled.fetch_add(added, Ordering::Relaxed) + added;
        self.part.not_ready(&format!("making up demonstration customers: {filled} of {}", self.of));
    }
}

/// One thread makes rows while the shard's writer writes those before; two lots are in memory.
async fn fill_shard(
    store: Store,
    shard: ShardId,
    accounts: Vec<(AccountId, u32)>,
    world: Arc<World>,
    progress: Progress,
) -> Result<(), DemoError> {
    let mut missing = Vec::with_capacity(accounts.len());
    let empty = store.account_count(shard).await? == 0;
    for (account, n) in accounts {
        if empty || store.holders(account).await?.value.is_none() {
            missing.push(n);
        } else {
            progress.add(1);
        }
    }
    let (made, mut lots) = mpsc::channel(1);
    let maker = tokio::task::spawn_blocking(move || {
        for numbers in missing.chunks(ACCOUNTS_A_FILL) {
            let lot = world.rows(numbers)?;
            // Nobody takes it any more: the writer has failed and says why.
            if made.blocking_send((numbers.len(), lot)).is_err() {
                break;
            }
        }
        Ok::<(), DemoError>(())
    });
    while let Some((accounts, lot)) = lots.recv().await {
        store.fill(shard, lot).await?;
        progress.add(accounts);
    }
    maker.await.map_err(|_| DemoError::Stopped)?
}

/// Lets a household's phone log in: the identity, and the list of its accounts.
async fn fill_log_in(store: &Store, household: &Household, today: Date) -> Result<(), DemoError> {
    if store.customer_of_phone(household.phone.clone()).await?.is_some() {
        return Ok(());
    }
    let identity = phone_identity(&household.phone);
    let shard = store.map().shard(Bucket::of_identity(&identity));
    let customer = household.customer;
    // One who changed the phone or was deleted does not come back.
    if store.person(customer).await?.value.is_some() {
        return Ok(());
    }
    let since_ms = history::bound_ms(today)?;
    let mut puts: Vec<Put> = (household.accounts.iter().zip(since_ms..))
        .map(|(account, since_ms)| Put::CustomerAccount { customer, account: *account, since_ms })
        .collect();
    let row = Identity { identity, customer: Some(customer), last_code_ms: 0, codes: 0, code_window_ms: 0 };
    puts.push(Put::Identity(row));
    if household.n == FIRST_HOME {
        for (bucket, put) in service::rows(household, today)? {
            store.fill(store.map().shard(bucket), vec![put]).await?;
        }
        puts.push(service::notice(household, today)?);
    }
    let phone = Some(household.phone.clone());
    puts.push(Put::Person(Person { phone, ..Person::new(customer, since_ms) }));
    Ok(store.fill(shard, puts).await?)
}

#[cfg(test)]
mod tests;
