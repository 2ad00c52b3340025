//! Applies a lane's batch: one transaction, few trips.
//!
//! What the rules of the whole batch will ask for is found by asking them beforehand, all on the rows of before the batch,
//! and loaded together; then the operations are applied in order, and what they write is sent together. An operation that
//! breaks a rule of the schema undoes the batch, which is then done again with a savepoint around each, so that it fails
//! alone.
//!
//! If the process dies before the commit, nothing of the batch has happened; after it, `lane.applied` says so. Where a
//! commit's answer is lost, whoever applies next reads that row.
use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::future::try_join_all;
use protocol::OperationId;

use super::{
    failed,
    gather::Gather,
    is_rule,
    pool::Pool,
    said,
    shards::{Writing, collect},
    snapshot::{Statement, Transaction},
};
use crate::{
    StorageError,
    message::{Decision, Ended, LaneMessage, NewMessage, body_digest},
    rows::Put,
    sql::{Result, corrupt, lanes, load::load, save::save},
    store::{Applied, Batch, Decide},
    working_set::{NotLoaded, WorkingSet},
};

/// How often a rule may ask for rows before it is taken for one that never ends.
const MOST_KEYS: usize = 256;
/// How often the batch is looked through beforehand: a rule asks for one row after another.
const ROUNDS: usize = 12;

/// What is undone when an operation breaks a rule of the schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Batch,
    Operation,
}

/// Why a batch was not applied.
enum Failure {
    /// An operation broke a rule of the schema.
    Rule,
    Other(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Failure::Other(error)
    }
}

/// What is applied to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The lane.
    Lane,
    /// A copy of it that is made to move it: what was booked, and what goes to other lanes, stays where it was done.
    Copy,
}

/// Applies a batch in one transaction.
pub(super) async fn apply(
    master: &Pool,
    batch: &Batch,
    rules: &dyn Decide,
    target: Target,
) -> Result<Applied> {
    match attempt(master, batch, rules, (Guard::Batch, target)).await {
        Err(Failure::Rule) => {}
        Err(Failure::Other(error)) => return Err(error),
        Ok(applied) => return Ok(applied),
    }
    match attempt(master, batch, rules, (Guard::Operation, target)).await {
        Ok(applied) => Ok(applied),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Rule) => Err(corrupt("batch", "a rule of the schema is broken outside any operation")),
    }
}

async fn attempt(
    master: &Pool,
    batch: &Batch,
    rules: &dyn Decide,
    (guard, target): (Guard, Target),
) -> std::result::Result<Applied, Failure> {
    let last = batch.messages.last().map_or(batch.after, |message| message.sequence);
    let writing = Writing::begin(master).await?;
    let transaction = writing.transaction()?;
    let (sql, values) = lanes::move_on(batch, last);
    let (moved, known) =
        tokio::try_join!(transaction.execute("moving a lane on", sql, &values), digests(transaction, batch))?;
    if moved == 0 {
        let (lane, epoch) = (batch.lane, batch.epoch);
        return Err(StorageError::Replaced { lane, epoch, expected: batch.after }.into());
    }
    let mut work = Work {
        batch,
        rules,
        guard,
        target,
        transaction,
        known,
        rows: WorkingSet::default(),
        waiting: Vec::new(),
        applied: Applied { sequence: last, ..Applied::default() },
    };
    work.load_ahead().await?;
    let mut before = batch.after;
    for message in &batch.messages {
        if message.sequence <= before {
            return Err(corrupt("lane", format!("{} after {before}", message.sequence)).into());
        }
        before = message.sequence;
        work.one(message).await?;
    }
    work.flush().await?;
    let applied = work.applied;
    writing.commit().await?;
    Ok(applied)
}

/// The digests of those of a batch's operations that have been applied before.
async fn digests(s: Transaction<'_>, batch: &Batch) -> Result<HashMap<OperationId, [u8; 16]>> {
    let gather = Gather::default();
    let digest =
        async |id: OperationId| Ok(lanes::operation_digest(&gather, id).await?.map(|digest| (id, digest)));
    let all = try_join_all(batch.messages.iter().map(|at| digest(at.message.operation)));
    Ok(gather.read(s, all).await?.into_iter().flatten().collect())
}

/// A batch being applied.
struct Work<'w> {
    batch: &'w Batch,
    rules: &'w dyn Decide,
    guard: Guard,
    target: Target,
    transaction: Transaction<'w>,
    known: HashMap<OperationId, [u8; 16]>,
    rows: WorkingSet,
    /// What is written so far and not sent.
    waiting: Vec<Statement>,
    applied: Applied,
}

/// What asking a rule came to.
enum Asked {
    Decided(Box<Decision>),
    Missing(NotLoaded),
    Broken(String),
}

impl Work<'_> {
    /// Loads what the batch's rules ask for on the rows of before it, all of a round together.
    async fn load_ahead(&mut self) -> Result<()> {
        let is_new = |m: &&LaneMessage| !self.known.contains_key(&m.message.operation);
        let mut asking: Vec<&LaneMessage> = self.batch.messages.iter().filter(is_new).collect();
        for _ in 0..ROUNDS {
            let mut keys = HashSet::new();
            asking.retain(|at| match self.ask(&at.message) {
                Asked::Missing(missing) => {
                    keys.insert(missing.0);
                    true
                }
                Asked::Decided(_) | Asked::Broken(_) => false,
            });
            if keys.is_empty() {
                return Ok(());
            }
            let gather = Gather::default();
            let loads = try_join_all(keys.iter().map(|key| load(&gather, key)));
            let loads = gather.read(self.transaction, loads).await?;
            loads.into_iter().for_each(|fill| fill(&mut self.rows));
        }
        Ok(())
    }

    /// Applies one operation, unless it has been applied before.
    async fn one(&mut self, at: &LaneMessage) -> std::result::Result<(), Failure> {
        let message = &at.message;
        let digest = body_digest(message.code, message.version, &message.body);
        if let Some(known) = self.known.get(&message.operation) {
            // The same request again, or another under its id: its sender compares digests and is told.
            self.applied.repeated += 1;
            if *known != digest {
                tracing::info!(operation = %message.operation, "another body under a known operation id: no effect");
            }
            return Ok(());
        }
        self.known.insert(message.operation, digest);
        let decision = match self.decide(message).await? {
            Ok(decision) => decision,
            Err(why) => return self.failed(at, &digest, why),
        };
        if self.guard == Guard::Operation {
            self.flush().await?;
            self.control("SAVEPOINT operation").await?;
        }
        let children = self.write(at, &decision)?;
        if self.guard == Guard::Operation {
            let statements = std::mem::take(&mut self.waiting);
            if let Err(error) = self.transaction.run_all(statements).await {
                if !is_rule(&error) {
                    return Err(failed("writing a row")(error).into());
                }
                self.control("ROLLBACK TO SAVEPOINT operation").await?;
                // What earlier operations of the batch changed is in the database: it is read again from there.
                self.rows = WorkingSet::default();
                return self.failed(at, &digest, format!("refused by the database: {}", said(&error)));
            }
            self.control("RELEASE SAVEPOINT operation").await?;
        }
        decision.puts.iter().for_each(|put| self.rows.absorb(put));
        self.applied.children |= !children.is_empty();
        self.applied.pushes |= decision.puts.iter().any(|put| matches!(put, Put::Push { .. }));
        let attention = decision.attention;
        let ended = match decision.result {
            Ok(reply) => Ended::Applied(reply),
            Err(problem) => Ended::Rejected(problem),
        };
        if attention {
            tracing::warn!(operation = %message.operation, code = message.code, ?ended, "a person must look at it");
        }
        Ok(self.note(at, &digest, &ended, &children, attention)?)
    }

    fn failed(
        &mut self,
        at: &LaneMessage,
        digest: &[u8; 16],
        why: String,
    ) -> std::result::Result<(), Failure> {
        let ended = Ended::Failed(why);
        self.applied.failed += 1;
        tracing::error!(operation = %at.message.operation, code = at.message.code, ?ended, "operation failed for good");
        Ok(self.note(at, digest, &ended, &[], true)?)
    }

    fn note(
        &mut self,
        at: &LaneMessage,
        digest: &[u8; 16],
        ended: &Ended,
        children: &[OperationId],
        attention: bool,
    ) -> Result<()> {
        let mut run = collect(&mut self.waiting);
        lanes::insert_operation(&mut run, at, self.batch, digest, ended, children, attention)
    }

    /// Notes what a decision writes.
    fn write(&mut self, at: &LaneMessage, decision: &Decision) -> Result<Vec<OperationId>> {
        let origin = &at.message.origin;
        let mut run = collect(&mut self.waiting);
        let mut changes = Vec::new();
        for put in &decision.puts {
            if self.target == Target::Lane || !matches!(put, Put::Posting { .. }) {
                save(&mut run, put, origin.accepted_ms)?;
            }
            changes.extend(put.changes().into_iter().flatten());
        }
        changes.sort_unstable();
        changes.dedup();
        lanes::insert_changes(&mut run, self.batch.lane, at.sequence, &changes)?;
        if self.target == Target::Copy {
            return Ok(lanes::children_ids(at.message.operation, &decision.children));
        }
        lanes::queue_children(&mut run, at.message.operation, origin, &decision.children)
    }

    /// Asks the rules, loading what they ask for. The inner error is one that would repeat for ever.
    async fn decide(
        &mut self,
        message: &NewMessage,
    ) -> std::result::Result<std::result::Result<Decision, String>, Failure> {
        for _ in 0..MOST_KEYS {
            match self.ask(message) {
                Asked::Decided(decision) => return Ok(Ok(*decision)),
                Asked::Broken(why) => return Ok(Err(why)),
                Asked::Missing(missing) => {
                    // It may have been written by an operation before.
                    self.flush().await?;
                    load(&self.transaction, &missing.0).await?(&mut self.rows);
                }
            }
        }
        Ok(Err(format!("its rule asked for more than {MOST_KEYS} rows")))
    }

    fn ask(&self, message: &NewMessage) -> Asked {
        match catch_unwind(AssertUnwindSafe(|| self.rules.decide(&self.rows, message))) {
            Ok(Ok(decision)) => Asked::Decided(Box::new(decision)),
            Ok(Err(missing)) => Asked::Missing(missing),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().map(String::as_str);
                let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
                Asked::Broken(format!("its rule broke: {why}"))
            }
        }
    }

    /// Sends what is written so far.
    async fn flush(&mut self) -> std::result::Result<(), Failure> {
        let statements = std::mem::take(&mut self.waiting);
        if statements.is_empty() {
            return Ok(());
        }
        match self.transaction.run_all(statements).await {
            Ok(()) => Ok(()),
            Err(error) if is_rule(&error) => Err(Failure::Rule),
            Err(error) => Err(failed("writing rows")(error).into()),
        }
    }

    async fn control(&self, sql: &'static str) -> Result<()> {
        self.transaction.0.batch_execute(sql).await.map_err(failed("guarding an operation"))
    }
}
