//! The one thread that writes a shard: takes what waits, does it in one transaction, commits once, answers all.
//!
//! Durable steps, and what a death around them means: before the commit nothing of the round has happened and nobody
//! was answered; after it all of it has, and who was not answered asks again under the same operation id.
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use protocol::{LaneId, OperationId, PushId, ShardId};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::{Transaction, now};
use crate::{
    StorageError,
    message::{Decision, Ended, LaneMessage, NewMessage, body_digest},
    queue::Recent,
    rows::Put,
    sql::{
        corrupt, lanes,
        load::load,
        pack,
        prune::{self, Kept},
        save::save,
    },
    store::{Applied, Batch, Decide},
    working_set::WorkingSet,
};

type Result<T> = std::result::Result<T, StorageError>;
type Done<T> = oneshot::Sender<Result<T>>;

/// Work for the writer.
pub(crate) enum Command {
    /// Puts messages at the end of a lane; answers the first one's sequence.
    Append { lane: LaneId, messages: Vec<NewMessage>, done: Done<u64> },
    /// Applies a batch.
    Apply { batch: Batch, rules: Arc<dyn Decide>, done: Done<Applied> },
    /// Writes rows that no lane orders: a first filling, before anything is served.
    Fill { puts: Vec<Put>, done: Done<()> },
    /// Outbox rows that are in their lanes.
    OutboxSent { ids: Vec<i64>, done: Done<()> },
    /// Pushes that the edge has on its disk.
    PushHandedOver { ids: Vec<PushId>, done: Done<()> },
    /// Forgets what is older than its keeping time.
    Prune { messages_before_ms: u64, operations_before_ms: u64, done: Done<u64> },
}

/// The most commands of one transaction.
const ROUND: usize = 512;
/// How many commands may wait.
pub(crate) const WAITING: usize = 4096;

/// What the writer tells the rest of the node after each commit.
pub(crate) struct Hooks {
    /// Recent messages and the lanes' ends.
    pub(crate) recent: HashMap<LaneId, Arc<Recent>>,
}

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) shard: ShardId,
    pub(crate) connection: Connection,
    pub(crate) hooks: Hooks,
    pub(crate) tails: HashMap<LaneId, u64>,
    /// Why the open transaction is gone before its end: SQLite rolls back by itself where a disk is full or fails.
    lost: Option<StorageError>,
}

/// A command that was carried out in the open transaction; called with how the commit ended.
type Answer = Box<dyn FnOnce(std::result::Result<(), &StorageError>, &Hooks)>;

impl Writer {
    pub(crate) fn new(
        shard: ShardId,
        connection: Connection,
        hooks: Hooks,
        tails: HashMap<LaneId, u64>,
    ) -> Self {
        Writer { shard, connection, hooks, tails, lost: None }
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut round = Vec::with_capacity(ROUND);
        while let Some(first) = commands.blocking_recv() {
            round.push(first);
            while round.len() < ROUND
                && let Ok(next) = commands.try_recv()
            {
                round.push(next);
            }
            self.round(round.drain(..));
        }
        // A clean end leaves one file: the WAL is folded into it.
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(shard = self.shard.0, %error, "could not fold the write-ahead log");
        }
    }

    fn round(&mut self, commands: impl Iterator<Item = Command>) {
        let tails_before = self.tails.clone();
        self.lost = self.run_sql("BEGIN IMMEDIATE").map_err(StorageError::database("beginning")).err();
        let mut answers: Vec<Answer> = Vec::with_capacity(ROUND);
        for command in commands {
            // Without a transaction around it a command would be committed by itself, and its sender told it was not.
            let answer = if self.lost.is_none() { self.execute(command) } else { refuse(command) };
            answers.push(answer);
        }
        let committed = match self.lost.take() {
            None => self.run_sql("COMMIT").map_err(StorageError::database("committing")),
            Some(why) => Err(why),
        };
        if let Err(error) = &committed {
            tracing::error!(shard = self.shard.0, %error, source = ?std::error::Error::source(error), "commit failed");
            // COMMIT may leave the transaction open (disk full) or have closed it already.
            if !self.connection.is_autocommit() {
                let _ = self.run_sql("ROLLBACK");
            }
            self.tails = tails_before;
        }
        metrics::histogram!("store_round_commands").record(answers.len() as f64);
        for answer in answers {
            answer(committed.as_ref().map(|_| ()), &self.hooks);
        }
    }

    fn run_sql(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn execute(&mut self, command: Command) -> Answer {
        match command {
            Command::Append { lane, messages, done } => {
                let first = self.tails.get(&lane).copied().unwrap_or(0) + 1;
                let result = self.whole(|c| append(c, lane, first, &messages));
                if result.is_ok() {
                    self.tails.insert(lane, first + messages.len() as u64 - 1);
                }
                Box::new(move |committed, hooks| {
                    if committed.is_ok()
                        && result.is_ok()
                        && let Some(recent) = hooks.recent.get(&lane)
                    {
                        recent.push(first, messages);
                    }
                    answer(done, result.map(|()| first), committed);
                })
            }
            Command::Apply { batch, rules, done } => {
                // Without a savepoint for each operation, which costs a quarter of the work; where one breaks a rule of
                // the database the batch is undone and done again with them, so that it fails alone.
                let result = match self.whole(|c| apply(c, &batch, &*rules, Guard::Batch)) {
                    Err(StorageError::Database { source, .. }) if is_rule(&source) => {
                        self.whole(|c| apply(c, &batch, &*rules, Guard::Operation))
                    }
                    result => result,
                };
                Box::new(move |committed, _| answer(done, result, committed))
            }
            Command::Fill { puts, done } => {
                let result = self.whole(|c| {
                    puts.iter().try_for_each(|put| save(&mut Transaction(c).sink("writing a row"), put, 0))
                });
                Box::new(move |committed, _| answer(done, result, committed))
            }
            Command::OutboxSent { ids, done } => {
                let result = self.whole(|c| {
                    let mut delete = c.prepare_cached(lanes::OUTBOX_SENT)?;
                    ids.iter().try_for_each(|id| delete.execute([id]).map(drop))
                });
                Box::new(move |committed, _| answer(done, result, committed))
            }
            Command::PushHandedOver { ids, done } => {
                let result = self.whole(|c| {
                    let mut update = c.prepare_cached(lanes::PUSH_HANDED_OVER)?;
                    ids.iter().try_for_each(|id| update.execute([id.bits().to_be_bytes()]).map(drop))
                });
                Box::new(move |committed, _| answer(done, result, committed))
            }
            Command::Prune { messages_before_ms, operations_before_ms, done } => {
                let result = self.whole(|c| forget(c, messages_before_ms, operations_before_ms));
                Box::new(move |committed, _| answer(done, result, committed))
            }
        }
    }

    /// Does all of something or nothing of it, whatever else is in the round.
    fn whole<T, E: Into<Failure>>(
        &mut self,
        work: impl FnOnce(&Connection) -> std::result::Result<T, E>,
    ) -> Result<T> {
        self.run_sql("SAVEPOINT command").map_err(StorageError::database("beginning"))?;
        let result = work(&self.connection).map_err(|e| e.into().0);
        if let Err(error) = &result {
            if self.connection.is_autocommit() {
                self.lost = Some(error.again());
                return result;
            }
            self.run_sql("ROLLBACK TO command").map_err(StorageError::database("rolling back"))?;
        }
        self.run_sql("RELEASE command").map_err(StorageError::database("ending"))?;
        result
    }
}

/// Either kind of error a piece of work may end with.
struct Failure(StorageError);

impl From<StorageError> for Failure {
    fn from(e: StorageError) -> Self {
        Failure(e)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Failure(StorageError::database("writing")(e))
    }
}

fn answer<T>(done: Done<T>, result: Result<T>, committed: std::result::Result<(), &StorageError>) {
    let result = match (result, committed) {
        (Ok(_), Err(e)) => Err(e.again()),
        (result, _) => result,
    };
    // Nobody waits any more: the answer is in the data.
    let _ = done.send(result);
}

/// The answer to a command that was not begun, because its round has no transaction.
fn refuse(command: Command) -> Answer {
    fn tell<T: 'static>(done: Done<T>) -> Answer {
        Box::new(|committed, _| {
            let why = committed.err().map_or(StorageError::Closed, StorageError::again);
            let _ = done.send(Err(why));
        })
    }
    match command {
        Command::Append { done, .. } => tell(done),
        Command::Apply { done, .. } => tell(done),
        Command::Fill { done, .. }
        | Command::OutboxSent { done, .. }
        | Command::PushHandedOver { done, .. } => tell(done),
        Command::Prune { done, .. } => tell(done),
    }
}

fn append(c: &Connection, lane: LaneId, first: u64, messages: &[NewMessage]) -> rusqlite::Result<()> {
    let mut insert = c.prepare_cached("INSERT INTO lane_message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (sequence, m) in (first..).zip(messages) {
        insert.execute(params![
            lane.0,
            sequence as i64,
            m.operation.bits().to_be_bytes(),
            m.code,
            m.version,
            m.body,
            pack(&m.origin),
            m.origin.accepted_ms as i64
        ])?;
    }
    Ok(())
}

/// What is undone when an operation breaks a rule of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Batch,
    Operation,
}

fn apply(c: &Connection, batch: &Batch, rules: &dyn Decide, guard: Guard) -> Result<Applied> {
    let last = batch.after + batch.messages.len() as u64;
    let (sql, values) = lanes::move_on(batch, last);
    let moved = Transaction(c).execute("moving a lane on", sql, &values)?;
    if moved == 0 {
        return Err(StorageError::Replaced { lane: batch.lane, epoch: batch.epoch, expected: batch.after });
    }
    let mut applied = Applied { sequence: last, ..Applied::default() };
    let mut rows = WorkingSet::default();
    for (sequence, message) in (batch.after + 1..).zip(&batch.messages) {
        if message.sequence != sequence {
            return Err(corrupt("lane", format!("{} where {sequence} was due", message.sequence)));
        }
        apply_one(c, batch, message, (rules, guard), &mut rows, &mut applied)?;
    }
    Ok(applied)
}

/// Applies one operation of a batch, unless it has been applied before.
fn apply_one(
    c: &Connection,
    batch: &Batch,
    at: &LaneMessage,
    (rules, guard): (&dyn Decide, Guard),
    rows: &mut WorkingSet,
    applied: &mut Applied,
) -> Result<()> {
    let message = &at.message;
    let transaction = Transaction(c);
    let note = |ended: &Ended, children: &[OperationId], attention: bool, digest: &[u8; 16]| {
        let mut run = transaction.sink("writing an operation's result");
        lanes::insert_operation(&mut run, at, batch, digest, ended, children, attention)
    };
    let digest = body_digest(message.code, message.version, &message.body);
    if let Some(known) = now(lanes::operation_digest(&Transaction(c), message.operation))? {
        // The same request again, or another under its id: its sender compares digests and is told.
        applied.repeated += 1;
        if known != digest {
            tracing::info!(operation = %message.operation, "another body under a known operation id: no effect");
        }
        return Ok(());
    }
    let ended = match decide(c, message, rules, rows)? {
        Ok(decision) => match save_decision(c, batch, at, &decision, guard)? {
            Ok(children) => {
                decision.puts.iter().for_each(|put| rows.absorb(put));
                applied.children |= !children.is_empty();
                applied.pushes |= decision.puts.iter().any(|put| matches!(put, Put::Push { .. }));
                let attention = decision.attention;
                let ended = match decision.result {
                    Ok(reply) => Ended::Applied(reply),
                    Err(problem) => Ended::Rejected(problem),
                };
                if attention {
                    tracing::warn!(operation = %message.operation, code = message.code, ?ended, "a person must look at it");
                }
                return note(&ended, &children, attention, &digest);
            }
            Err(why) => {
                // What earlier operations of the batch changed is in the database: it is read again from there.
                *rows = WorkingSet::default();
                Ended::Failed(why)
            }
        },
        Err(why) => Ended::Failed(why),
    };
    applied.failed += 1;
    tracing::error!(operation = %message.operation, code = message.code, ?ended, "operation failed for good");
    note(&ended, &[], true, &digest)
}

/// Asks the rules, loading what they ask for. The inner error is one that would repeat for ever.
fn decide(
    c: &Connection,
    message: &NewMessage,
    rules: &dyn Decide,
    rows: &mut WorkingSet,
) -> Result<std::result::Result<Decision, String>> {
    const MOST_KEYS: usize = 256;
    for _ in 0..MOST_KEYS {
        match catch_unwind(AssertUnwindSafe(|| rules.decide(rows, message))) {
            Ok(Ok(decision)) => return Ok(Ok(decision)),
            Ok(Err(missing)) => now(load(&Transaction(c), &missing.0))?(rows),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().map(String::as_str);
                let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
                return Ok(Err(format!("its rule broke: {why}")));
            }
        }
    }
    Ok(Err(format!("its rule asked for more than {MOST_KEYS} rows")))
}

/// Writes what a decision says. The inner error is a rule of the database that it breaks, and would break again.
fn save_decision(
    c: &Connection,
    batch: &Batch,
    at: &LaneMessage,
    decision: &Decision,
    guard: Guard,
) -> Result<std::result::Result<Vec<OperationId>, String>> {
    let savepoint = |sql| match guard {
        Guard::Batch => Ok(0),
        Guard::Operation => {
            c.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(StorageError::database("saving"))
        }
    };
    savepoint("SAVEPOINT operation")?;
    let write = || {
        let origin = &at.message.origin;
        let transaction = Transaction(c);
        let mut run = transaction.sink("writing a row");
        let mut changes = Vec::new();
        for put in &decision.puts {
            save(&mut run, put, origin.accepted_ms)?;
            changes.extend(put.changes().into_iter().flatten());
        }
        changes.sort_unstable();
        changes.dedup();
        lanes::insert_changes(&mut run, batch.lane, at.sequence, &changes)?;
        lanes::queue_children(&mut run, at.message.operation, origin, &decision.children)
    };
    match write() {
        Ok(children) => {
            savepoint("RELEASE operation")?;
            Ok(Ok(children))
        }
        Err(StorageError::Database { doing, source }) if guard == Guard::Operation && is_rule(&source) => {
            savepoint("ROLLBACK TO operation")?;
            savepoint("RELEASE operation")?;
            Ok(Err(format!("refused by the database while {doing}: {source}")))
        }
        Err(other) => Err(other),
    }
}

fn is_rule(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// Forgets messages long applied, with their changes, and what [`prune`] names. A message that is not applied is never
/// forgotten.
fn forget(c: &Connection, messages_before_ms: u64, operations_before_ms: u64) -> rusqlite::Result<u64> {
    let (young, old) = (messages_before_ms as i64, operations_before_ms as i64);
    let mut gone = 0;
    let mut lanes = c.prepare_cached("SELECT id FROM lane")?;
    let lanes: rusqlite::Result<Vec<i64>> = lanes.query_map([], |row| row.get(0))?.collect();
    for lane in lanes? {
        let upto: Option<i64> = c.query_row(
            "SELECT max(sequence) FROM (SELECT m.sequence, m.accepted_ms FROM lane_message m JOIN lane l ON l.id = m.lane
               WHERE m.lane = ?1 AND m.sequence <= l.applied ORDER BY m.sequence LIMIT ?2) WHERE accepted_ms < ?3",
            params![lane, prune::MOST, young],
            |row| row.get(0),
        )?;
        if let Some(upto) = upto {
            gone += c.execute("DELETE FROM change WHERE lane = ?1 AND sequence <= ?2", [lane, upto])?;
            gone += c.execute("DELETE FROM lane_message WHERE lane = ?1 AND sequence <= ?2", [lane, upto])?;
        }
    }
    for (sql, kept) in prune::STATEMENTS {
        let before = match kept {
            Kept::LikeMessages => young,
            Kept::LikeResults => old,
        };
        gone += c.execute(sql, params![before, prune::MOST])?;
    }
    Ok(gone as u64)
}

#[cfg(test)]
mod tests;
