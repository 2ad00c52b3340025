//! Moves a lane from one shard to another, while it is written and read.
//!
//! 1. **Copy**: all rows of the lane's buckets, from one snapshot of the old shard, in one transaction into the new one; the
//!    lane's own row comes with them, and says how far that snapshot was.
//! 2. **Catch up**: the lane's messages after that are applied there by the same rules, which give the same rows.
//! 3. **Compare**: both shards, at the same position, row by row.
//! 4. **Switch**: the lane stands still; the rest is applied, all slaves of the new shard show it, and the lane's row in the
//!    old shard becomes a word of where it went ([`super::homes`]). From this commit on it lives in the new shard.
//! 5. **Clean**: its rows in the old shard are deleted.
//!
//! Before the commit of step 4 the lane lives where it did, whatever died: what was copied is cleared by the next attempt. After it
//! everybody who asks the old shard is sent on. What makes a read right, the lane's position in its own snapshot, moves with
//! the lane: so do tokens, cursors and cached entries.
//!
//! The ledger stays where it was booked: it is append-only, and sums to zero in each shard. Outbox rows stay, too, and are
//! carried on from there; what a lane wants to push may be pushed twice, and is known by its id.
use std::{collections::BTreeSet, ops::RangeInclusive};

use deadpool_postgres::ClientWrapper;
use futures_util::{SinkExt, StreamExt, pin_mut};
use protocol::{AccountId, Bucket, LaneId, Position};

use super::{failed, homes::Home, pool::Pool, readers::Databases, snapshot::Transaction};
use crate::{
    StorageError,
    sql::{Result, Row, Snapshot, Value, corrupt, lanes},
};

/// What places the rows of a table.
#[derive(Clone, Copy)]
enum Placed {
    /// An id that carries its bucket.
    Id(&'static str),
    /// An account's number.
    Account(&'static str),
    /// A verified way to recognise somebody.
    Identity(&'static str),
    /// A district's code.
    Division(&'static str),
    /// The lane itself.
    Lane(&'static str),
}

/// A table whose rows live with their bucket.
struct Table {
    name: &'static str,
    by: Placed,
    /// What of a row must be the same in both shards; `None` where each may be further on with it.
    compared: Option<&'static str>,
}

const fn table(name: &'static str, by: Placed) -> Table {
    Table { name, by, compared: Some("*") }
}

/// All that moves. What is not here belongs to the shard: the ledger, the outbox, the schema.
const TABLES: [Table; 25] = [
    table("operation", Placed::Id("id")),
    Table { name: "push", by: Placed::Id("id"), compared: None },
    table("account", Placed::Account("id")),
    table("holder", Placed::Account("account")),
    table("bind_tries", Placed::Account("account")),
    table("customer_account", Placed::Id("customer")),
    table("bill", Placed::Account("account")),
    table("readings", Placed::Account("account")),
    table("identity", Placed::Identity("identity")),
    table("challenge", Placed::Id("id")),
    table("session", Placed::Id("id")),
    table("payment", Placed::Id("id")),
    table("provider_transaction", Placed::Id("payment")),
    table("payee", Placed::Id("customer")),
    table("request", Placed::Id("id")),
    table("request_step", Placed::Id("request")),
    table("request_file", Placed::Id("request")),
    table("outage", Placed::Division("division")),
    table("division_report", Placed::Division("division")),
    // The numbers are each shard's own.
    Table { name: "notice", by: Placed::Id("customer"), compared: Some("customer, at_ms, body") },
    table("notice_read", Placed::Id("customer")),
    table("person", Placed::Id("customer")),
    table("supply", Placed::Account("account")),
    table("mandate", Placed::Account("account")),
    table("export", Placed::Account("account")),
];
/// Followed by every cache, so that none has to begin anew.
const CHANGES: Table = Table { name: "change", by: Placed::Lane("lane"), compared: None };
/// The tables in which accounts, identities and districts are found.
const FOUND_IN: [(&str, &str); 4] = [
    ("account", "id"),
    ("identity", "identity"),
    ("outage", "DISTINCT division"),
    ("division_report", "DISTINCT division"),
];
/// The class of the advisory locks under which lanes are copied and deleted.
const MOVING: i32 = 0x6d6f_7665;
/// So many keys are named in one statement.
const KEYS: usize = 1_000;

/// Which rows are meant: those of a lane.
pub(crate) struct Rows {
    lane: LaneId,
    /// Its buckets, those next to each other together.
    buckets: Vec<RangeInclusive<u16>>,
}

/// The keys that do not carry their bucket, found by looking through their tables.
#[derive(Default)]
struct Keys {
    accounts: BTreeSet<i64>,
    identities: BTreeSet<String>,
    divisions: BTreeSet<String>,
}

impl Rows {
    pub(crate) fn of(lane: LaneId, buckets: impl Iterator<Item = Bucket>) -> Self {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for bucket in buckets.map(Bucket::number) {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == bucket => *last = *last.start()..=bucket,
                _ => ranges.push(bucket..=bucket),
            }
        }
        Rows { lane, buckets: ranges }
    }

    fn has(&self, bucket: Bucket) -> bool {
        self.buckets.iter().any(|range| range.contains(&bucket.number()))
    }

    async fn keys(&self, s: Transaction<'_>) -> Result<Keys> {
        let mut keys = Keys::default();
        for (table, column) in FOUND_IN {
            let sql = format!("SELECT {column} FROM {table}");
            let doing = "looking for what is to be moved";
            let rows = s.0.query_raw(&sql, std::iter::empty::<i64>()).await.map_err(failed(doing))?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await {
                let row = row.map_err(failed(doing))?;
                let row = Row::Postgres(&row);
                match table {
                    "account" => {
                        let number: i64 = row.get(0)?;
                        let account =
                            number.try_into().ok().and_then(|number| AccountId::from_number(number).ok());
                        let account = account
                            .ok_or_else(|| corrupt("account", format!("{number} is no number of one")))?;
                        keys.accounts.extend(self.has(account.bucket()).then_some(number));
                    }
                    "identity" => {
                        let identity = row.text(0)?;
                        let is_here = self.has(Bucket::of_identity(identity));
                        keys.identities.extend(is_here.then(|| identity.to_owned()));
                    }
                    _ => {
                        let division = row.text(0)?;
                        let is_here = self.has(Bucket::of_division(division));
                        keys.divisions.extend(is_here.then(|| division.to_owned()));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// The conditions that a table's rows are found by, one after another.
    fn conditions(&self, by: Placed, keys: &Keys) -> Vec<String> {
        let texts = |column: &str, keys: &BTreeSet<String>| {
            let keys: Vec<String> = keys.iter().map(|key| format!("'{}'", key.replace('\'', "''"))).collect();
            keys.chunks(KEYS).map(|keys| format!("{column} IN ({})", keys.join(", "))).collect()
        };
        match by {
            Placed::Id(column) => self.buckets.iter().map(|buckets| between(column, buckets)).collect(),
            Placed::Lane(column) => vec![format!("{column} = {}", self.lane.0)],
            Placed::Account(column) => {
                let numbers: Vec<String> = keys.accounts.iter().map(ToString::to_string).collect();
                numbers.chunks(KEYS).map(|some| format!("{column} IN ({})", some.join(", "))).collect()
            }
            Placed::Identity(column) => texts(column, &keys.identities),
            Placed::Division(column) => texts(column, &keys.divisions),
        }
    }
}

/// Ids of some buckets: they begin with its twelve bits.
fn between(column: &str, buckets: &RangeInclusive<u16>) -> String {
    let first = |bucket: u16| format!("'\\x{:032x}'", u128::from(bucket) << 116);
    let from = format!("{column} >= {}", first(*buckets.start()));
    match buckets.end() + 1 {
        protocol::ids::BUCKETS => from,
        next => format!("{from} AND {column} < {}", first(next)),
    }
}

/// A connection of one's own, for what takes long; closed at its end, so that a transaction left open is undone.
async fn own(pool: &Pool) -> Result<ClientWrapper> {
    let client = deadpool_postgres::Client::take(pool.get().await?);
    let patient = "SET statement_timeout = 0; SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = '600s'";
    client.batch_execute(patient).await.map_err(failed("getting ready to move a lane"))?;
    Ok(client)
}

async fn batch(client: &ClientWrapper, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(failed("moving a lane"))
}

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Copies a lane's rows as they are in the old shard; answers how far they are. `told` hears how many there are so far.
pub(super) async fn copy(
    (from, to): (&Databases, &Databases),
    rows: &Rows,
    epoch: u64,
    told: &(dyn Fn(u64) + Send + Sync),
) -> Result<Position> {
    let (source, target) = tokio::try_join!(own(&from.master), own(&to.master))?;
    batch(&source, SNAPSHOT).await?;
    let at = lanes::position(&Transaction(&source), rows.lane).await?;
    batch(&target, "BEGIN").await?;
    lock(&target, rows.lane).await?;
    clear(Transaction(&target), rows).await?;
    let take = "INSERT INTO lane (id, epoch, generation, applied) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation,
                  applied = excluded.applied WHERE lane.epoch <= excluded.epoch";
    let values =
        [Value::from(rows.lane), Value::from(epoch), Value::from(at.generation), Value::from(at.sequence)];
    if Transaction(&target).execute("copying a lane", take, &values).await? == 0 {
        return Err(StorageError::Replaced { lane: rows.lane, epoch, expected: at.sequence });
    }
    let keys = rows.keys(Transaction(&source)).await?;
    let mut copied = 0;
    for table in TABLES.iter().chain([&CHANGES]) {
        for condition in rows.conditions(table.by, &keys) {
            copied += pipe(&source, &target, table.name, &condition).await?;
            told(copied);
        }
    }
    // What comes after is numbered after what came with it.
    batch(&target, "SELECT setval('notice_number_seq', greatest((SELECT coalesce(max(number), 1) FROM notice), nextval('notice_number_seq')))")
        .await?;
    batch(&target, "COMMIT").await?;
    Ok(at)
}

/// One at a time copies a lane into a shard, or deletes what there is of it; whoever comes later looks at the epoch again.
async fn lock(client: &ClientWrapper, lane: LaneId) -> Result<()> {
    batch(client, &format!("SELECT pg_advisory_xact_lock({MOVING}, {})", lane.0)).await
}

async fn pipe(source: &ClientWrapper, target: &ClientWrapper, table: &str, condition: &str) -> Result<u64> {
    let doing = failed("copying rows");
    let out = format!("COPY (SELECT * FROM {table} WHERE {condition}) TO STDOUT (FORMAT binary)");
    let into = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let rows = source.copy_out(&out).await.map_err(&doing)?;
    let sink = target.copy_in(&into).await.map_err(&doing)?;
    pin_mut!(rows, sink);
    while let Some(bytes) = rows.next().await {
        sink.send(bytes.map_err(&doing)?).await.map_err(&doing)?;
    }
    sink.finish().await.map_err(doing)
}

/// Deletes what an earlier attempt or an earlier stay left.
async fn clear(s: Transaction<'_>, rows: &Rows) -> Result<()> {
    let left = "SELECT id FROM lane WHERE id = ?1 UNION SELECT lane FROM lane_moved WHERE lane = ?1";
    let left = s.query("looking for leftovers", left, &[Value::from(rows.lane)], |_| Ok(())).await?;
    if left.is_empty() {
        return Ok(());
    }
    delete(s, rows).await.map(drop)
}

/// A snapshot of the lane as it is where it lives, to be compared with.
pub(crate) struct Compared {
    source: ClientWrapper,
    /// How far it is.
    pub(crate) at: Position,
}

impl Compared {
    pub(super) async fn begin(from: &Databases, lane: LaneId) -> Result<Self> {
        let source = own(&from.master).await?;
        batch(&source, SNAPSHOT).await?;
        let at = lanes::position(&Transaction(&source), lane).await?;
        Ok(Compared { source, at })
    }

    /// Compares it with the new shard, which has been brought to the same position; answers the first table that differs.
    pub(super) async fn with(&self, to: &Databases, rows: &Rows) -> Result<Option<&'static str>> {
        let target = own(&to.master).await?;
        batch(&target, SNAPSHOT).await?;
        let (here, there) = (Transaction(&self.source), Transaction(&target));
        let at = lanes::position(&there, rows.lane).await?;
        if at != self.at {
            return Err(corrupt("lane", format!("{} is compared with {}", self.at.sequence, at.sequence)));
        }
        let (keys, other) = tokio::try_join!(rows.keys(here), rows.keys(there))?;
        for table in &TABLES {
            let Some(columns) = table.compared else { continue };
            let (conditions, others) = (rows.conditions(table.by, &keys), rows.conditions(table.by, &other));
            if conditions != others {
                return Ok(Some(table.name));
            }
            for condition in conditions {
                let sum = format!(
                    "SELECT CAST(count(*) AS text) || ' ' || coalesce(sum(CAST(hashtextextended(CAST(r AS text), 0) AS numeric)), 0)
                     FROM (SELECT {columns} FROM {} WHERE {condition}) AS r",
                    table.name
                );
                let (mine, its) = tokio::try_join!(one_text(here, &sum), one_text(there, &sum))?;
                if mine != its {
                    return Ok(Some(table.name));
                }
            }
        }
        Ok(None)
    }
}

async fn one_text(s: Transaction<'_>, sql: &str) -> Result<String> {
    let row = s.0.query_one(sql, &[]).await.map_err(failed("comparing rows"))?;
    Row::Postgres(&row).get(0)
}

/// The lane lives in the new shard from this commit on.
pub(super) async fn switch(
    (from, to): (&Databases, &Databases),
    at: Position,
    epoch: u64,
    home: Home,
) -> Result<()> {
    to.level().await?;
    let writing = super::shards::Writing::begin(&from.master).await?;
    let s = writing.transaction()?;
    let leave = "DELETE FROM lane WHERE id = ?1 AND epoch = ?2 AND generation = ?3 AND applied = ?4";
    let values =
        [Value::from(at.lane), Value::from(epoch), Value::from(at.generation), Value::from(at.sequence)];
    if s.execute("leaving a shard", leave, &values).await? == 0 {
        return Err(StorageError::Replaced { lane: at.lane, epoch, expected: at.sequence });
    }
    let word = "INSERT INTO lane_moved (lane, shard, moves, is_clean) VALUES (?1, ?2, ?3, 0)
                ON CONFLICT (lane) DO UPDATE SET shard = excluded.shard, moves = excluded.moves, is_clean = 0";
    let values = [Value::from(at.lane), Value::from(home.shard.0), Value::from(home.moves)];
    s.execute("leaving a shard", word, &values).await?;
    writing.commit().await
}

/// Deletes a lane's rows in a shard where it does not live: those that it left there, or a copy that nothing came of. All at
/// once, so that nobody who looks for the lane there finds a part of it. Answers how many.
pub(super) async fn clean(shard: &Databases, rows: &Rows, epoch: u64) -> Result<u64> {
    if leftovers(Transaction(&*shard.master.get().await?), rows.lane).await?.is_none() {
        return Ok(0);
    }
    let client = own(&shard.master).await?;
    let s = Transaction(&client);
    batch(&client, "BEGIN").await?;
    lock(&client, rows.lane).await?;
    // Meanwhile another may have taken the lane, and be moving it here.
    match leftovers(s, rows.lane).await? {
        Some(copied) if copied <= epoch => {}
        _ => return Ok(0),
    }
    let lane = [Value::from(rows.lane)];
    s.execute("deleting a copy", "DELETE FROM lane WHERE id = ?1", &lane).await?;
    let noted = "UPDATE lane_moved SET is_clean = 1 WHERE lane = ?1";
    s.execute("noting that a shard is clean", noted, &lane).await?;
    let gone = delete(s, rows).await?;
    batch(&client, "COMMIT").await?;
    Ok(gone)
}

/// Whether there is anything of a lane that does not live here: under which epoch it was copied, 0 where it left it here.
async fn leftovers(s: Transaction<'_>, lane: LaneId) -> Result<Option<u64>> {
    let sql = "SELECT max(epoch) FROM (SELECT epoch FROM lane WHERE id = ?1
                 UNION ALL SELECT 0 FROM lane_moved WHERE lane = ?1 AND is_clean = 0) AS here";
    let epoch = |row: &Row<'_>| row.get::<Option<u64>>(0);
    Ok(s.query("looking for leftovers", sql, &[Value::from(lane)], epoch).await?.into_iter().flatten().next())
}

/// Deletes all rows of a lane.
async fn delete(s: Transaction<'_>, rows: &Rows) -> Result<u64> {
    let keys = rows.keys(s).await?;
    let mut gone = 0;
    for table in TABLES.iter().chain([&CHANGES]) {
        for condition in rows.conditions(table.by, &keys) {
            let sql = format!("DELETE FROM {} WHERE {condition}", table.name);
            gone += s.0.execute(&sql, &[]).await.map_err(failed("deleting what has moved"))?;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lanes_ids_are_between_its_buckets() {
        let buckets = [3, 4, 5, 9, 4095].map(|n| Bucket::try_from(n).unwrap());
        let rows = Rows::of(LaneId(1), buckets.into_iter());
        assert_eq!(rows.buckets, [3..=5, 9..=9, 4095..=4095]);
        let found = rows.conditions(Placed::Id("id"), &Keys::default());
        assert_eq!(
            found[0],
            "id >= '\\x00300000000000000000000000000000' AND id < '\\x00600000000000000000000000000000'"
        );
        assert_eq!(found[2], "id >= '\\xfff00000000000000000000000000000'");
        assert!(rows.has(Bucket::try_from(4).unwrap()) && !rows.has(Bucket::try_from(6).unwrap()));
    }

    #[test]
    fn keys_are_named_some_at_a_time() {
        let rows = Rows::of(LaneId(1), std::iter::empty());
        let keys =
            Keys { accounts: (0..2_500).collect(), divisions: ["it's".to_owned()].into(), ..Keys::default() };
        assert_eq!(rows.conditions(Placed::Account("account"), &keys).len(), 3);
        assert_eq!(rows.conditions(Placed::Division("division"), &keys), ["division IN ('it''s')"]);
    }
}
