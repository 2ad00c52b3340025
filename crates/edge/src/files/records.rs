//! The rows of files on their way in: the edge's own SQLite.
//!
//! A file's bytes are flushed before its row says that they are there, and the row is before anybody hears of it.
#[cfg(test)]
mod tests;

use std::path::Path;

use protocol::{
    CustomerId, FileId, ServiceRequestId, bounds::ShortName, catalogue::replies::RequestKind, file::Hash,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{About, queue::Waiting};
use crate::database::{Database, DatabaseError, signed};

/// How a file stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// Its bytes are coming.
    Receiving,
    /// All of it is here, to be looked at by the rules.
    Received,
    /// A person has to look at it.
    ForAPerson,
    /// It waits to cross.
    Queued,
    /// It is in the intranet's store, and its receipt here.
    Stored,
    /// It will not cross; `why` says why.
    Ended,
}

impl Stage {
    pub(crate) const ALL: [Stage; 6] =
        [Stage::Receiving, Stage::Received, Stage::ForAPerson, Stage::Queued, Stage::Stored, Stage::Ended];

    /// Its name: in the database, in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Receiving => "receiving",
            Stage::Received => "received",
            Stage::ForAPerson => "for-a-person",
            Stage::Queued => "queued",
            Stage::Stored => "stored",
            Stage::Ended => "ended",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Whether nothing more happens to it.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Stage::Stored | Stage::Ended)
    }
}

/// A file's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: FileId,
    pub(crate) customer: CustomerId,
    /// With which request it comes; `None` for a part that is to become one with others.
    pub(crate) request: Option<ServiceRequestId>,
    /// What that request is.
    pub(crate) about: About,
    pub(crate) channel: String,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) received: u64,
    pub(crate) stage: Stage,
    pub(crate) kind: String,
    pub(crate) why: String,
    pub(crate) root: Option<Hash>,
    pub(crate) created_ms: u64,
    pub(crate) changed_ms: u64,
    pub(crate) expires_ms: u64,
}

/// How much may be kept at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotas {
    /// Of one request, in whatever state but ended.
    pub(crate) request_files: u32,
    pub(crate) customer_files: u32,
    pub(crate) customer_bytes: u64,
    pub(crate) channel_bytes: u64,
    pub(crate) bytes: u64,
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Request,
    Customer,
    Channel,
    Disk,
}

/// Who decided what about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) at_ms: u64,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) why: String,
}

/// The schema, one step a version.
const SCHEMA: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

const COLUMNS: &str = "id, customer, request, channel, name, size, received, state, kind, why, root, \
                       created_ms, changed_ms, expires_ms, request_kind, request_form";

/// All of them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Records(Database);

type Result<T> = std::result::Result<T, DatabaseError>;

impl Records {
    /// Opens them in `folder`, which this process has locked.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Database::open(&folder.join("files.sqlite"), SCHEMA, "files").map(Records)
    }

    /// Enters a new file, unless a quota is used up. The same id again changes nothing.
    pub(crate) async fn create(
        &self,
        record: Record,
        quotas: Quotas,
    ) -> Result<std::result::Result<(), Full>> {
        self.0
            .work(move |db| {
                let savepoint = db.savepoint()?;
                if let Err(full) = fits(&savepoint, &record, quotas)? {
                    return Ok(Err(full));
                }
                insert(&savepoint, &record)?;
                savepoint.commit()?;
                Ok(Ok(()))
            })
            .await
    }

    /// Enters a file that the center has named and that is not taken: it is not begun again, and the center is told.
    pub(crate) async fn not_begun(&self, record: Record, why: &'static str) -> Result<()> {
        self.0
            .work(move |db| {
                let savepoint = db.savepoint()?;
                insert(&savepoint, &Record { stage: Stage::Ended, ..record.clone() })?;
                savepoint
                    .prepare_cached("UPDATE file SET on_disk = 0, why = ?2 WHERE id = ?1 AND received = 0")?
                    .execute(params![bits(record.id), why])?;
                savepoint.commit()
            })
            .await
    }

    pub(crate) async fn get(&self, id: FileId) -> Result<Option<Record>> {
        self.0.work(move |db| get(db, id)).await
    }

    /// A request's files, oldest first.
    pub(crate) async fn of_request(&self, request: ServiceRequestId) -> Result<Vec<Record>> {
        self.many("request = ?1 ORDER BY created_ms LIMIT 100", request.bits().to_be_bytes().to_vec()).await
    }

    /// Files in a stage, the longest there first.
    pub(crate) async fn in_stage(&self, stage: Stage) -> Result<Vec<Record>> {
        self.many("state = ?1 ORDER BY changed_ms LIMIT 200", stage.name()).await
    }

    async fn many(
        &self,
        rest: &'static str,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<Vec<Record>> {
        self.0
            .work(move |db| {
                let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE {rest}"))?;
                query.query_map([value], record_of)?.collect()
            })
            .await
    }

    /// So many bytes of it are on the disk now, flushed.
    pub(crate) async fn advance(&self, id: FileId, received: u64, now_ms: u64) -> Result<()> {
        self.0
            .work(move |db| {
                db.prepare_cached(
                    "UPDATE file SET received = ?2, changed_ms = ?3,
                            state = CASE WHEN received = size OR ?2 = size THEN
                                CASE WHEN request IS NULL THEN state ELSE 'received' END ELSE state END
                     WHERE id = ?1 AND state = 'receiving'",
                )?
                .execute(params![bits(id), signed(received), signed(now_ms)])?;
                Ok(())
            })
            .await
    }

    /// A part has this length after all.
    pub(crate) async fn settle(&self, id: FileId, size: u64) -> Result<()> {
        self.0
            .work(move |db| {
                db.prepare_cached(
                    "UPDATE file SET size = ?2 WHERE id = ?1 AND request IS NULL AND received = ?2",
                )?
                .execute(params![bits(id), signed(size)])?;
                Ok(())
            })
            .await
    }

    /// Moves it on from `from` to `to`, with what was found and who decided so. `false`: it was not there any more.
    pub(crate) async fn decide(&self, id: FileId, (from, to): (Stage, Stage), found: Found) -> Result<bool> {
        self.0
            .work(move |db| {
                let savepoint = db.savepoint()?;
                let cvs = found.cvs.as_flattened();
                let moved = savepoint.execute(
                    "UPDATE file SET state = ?3, kind = iif(?4 = '', kind, ?4), why = ?5, root = coalesce(?6, root),
                            cvs = iif(?7 = x'', cvs, ?7), changed_ms = ?8, attempts = 0
                     WHERE id = ?1 AND state = ?2",
                    params![
                        bits(id),
                        from.name(),
                        to.name(),
                        found.kind,
                        found.decision.why,
                        found.root.map(|root| root.to_vec()),
                        cvs,
                        signed(found.decision.at_ms)
                    ],
                )? == 1;
                if moved {
                    enter(&savepoint, id, &found.decision)?;
                }
                savepoint.commit()?;
                Ok(moved)
            })
            .await
    }

    /// It is stored inside: keeps the receipt.
    pub(crate) async fn stored(&self, id: FileId, receipt: Vec<u8>, decision: Decision) -> Result<bool> {
        self.0
            .work(move |db| {
                let savepoint = db.savepoint()?;
                let moved = savepoint.execute(
                    "UPDATE file SET state = 'stored', why = '', receipt = ?2, changed_ms = ?3, told = 1
                     WHERE id = ?1 AND state = 'queued'",
                    params![bits(id), receipt, signed(decision.at_ms)],
                )? == 1;
                if moved {
                    enter(&savepoint, id, &decision)?;
                }
                savepoint.commit()?;
                Ok(moved)
            })
            .await
    }

    /// Files that may cross, the longest waiting first.
    pub(crate) async fn to_cross(&self) -> Result<Vec<Waiting>> {
        self.0
            .work(|db| {
                let mut query = db.prepare_cached(
                    "SELECT id, customer, size FROM file WHERE state = 'queued' ORDER BY changed_ms",
                )?;
                let rows = query.query_map([], |row| {
                    Ok(Waiting {
                        id: FileId::from_bits(u128::from_be_bytes(row.get(0)?)),
                        customer: CustomerId::from_bits(u128::from_be_bytes(row.get(1)?)),
                        size: row.get::<_, i64>(2)?.unsigned_abs(),
                    })
                })?;
                rows.collect()
            })
            .await
    }

    /// What it takes to send it: its hash and its pieces' chaining values.
    pub(crate) async fn pieces(&self, id: FileId) -> Result<Option<(Hash, Vec<Hash>)>> {
        self.0
            .work(move |db| {
                type Hashes = (Option<Hash>, Option<Vec<u8>>);
                let row: Option<Hashes> = db
                    .prepare_cached("SELECT root, cvs FROM file WHERE id = ?1 AND state = 'queued'")?
                    .query_row([bits(id)], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((Some(root), Some(cvs))) = row else { return Ok(None) };
                let (cvs, _) = cvs.as_chunks::<32>();
                Ok(Some((root, cvs.to_vec())))
            })
            .await
    }

    /// Tried in vain, for this reason; says how often before.
    pub(crate) async fn postpone(&self, id: FileId, why: String) -> Result<u32> {
        self.0
            .work(move |db| {
                db.prepare_cached(
                    "UPDATE file SET attempts = attempts + 1, why = ?2 WHERE id = ?1 RETURNING attempts - 1",
                )?
                .query_row(params![bits(id), why], |row| row.get(0))
            })
            .await
    }

    /// Files that ended without the center knowing, of those it knows.
    pub(crate) async fn untold(&self) -> Result<Vec<Record>> {
        self.many("state = ?1 AND told = 0 AND request IS NOT NULL ORDER BY changed_ms LIMIT 100", "ended")
            .await
    }

    /// The center knows how it ended.
    pub(crate) async fn told(&self, id: FileId) -> Result<()> {
        self.0
            .work(move |db| {
                db.prepare_cached("UPDATE file SET told = 1 WHERE id = ?1")?.execute([bits(id)])?;
                Ok(())
            })
            .await
    }

    /// Files whose bytes are of no more use: over since before `before_ms`.
    pub(crate) async fn to_remove(&self, before_ms: u64) -> Result<Vec<FileId>> {
        self.0
            .work(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT id FROM file WHERE on_disk = 1 AND
                       (state = 'ended' OR (state = 'stored' AND changed_ms <= ?1)) LIMIT 1000",
                )?;
                let rows = query.query_map([signed(before_ms)], |row| {
                    Ok(FileId::from_bits(u128::from_be_bytes(row.get(0)?)))
                })?;
                rows.collect()
            })
            .await
    }

    /// Its bytes are removed.
    pub(crate) async fn removed(&self, id: FileId) -> Result<()> {
        self.0
            .work(move |db| {
                db.prepare_cached("UPDATE file SET on_disk = 0 WHERE id = ?1")?.execute([bits(id)])?;
                Ok(())
            })
            .await
    }

    /// Files that did not come, or that nobody looked at, in time: the center waits little longer.
    pub(crate) async fn overdue(&self, now_ms: u64) -> Result<Vec<Record>> {
        self.many("state IN ('receiving', 'for-a-person') AND expires_ms <= ?1 LIMIT 200", signed(now_ms))
            .await
    }

    /// Every file whose bytes should be on the disk, with how many.
    pub(crate) async fn on_disk(&self) -> Result<Vec<(FileId, u64, Stage)>> {
        self.0
            .work(|db| {
                let mut query = db.prepare("SELECT id, received, state FROM file WHERE on_disk = 1")?;
                let rows = query.query_map([], |row| {
                    let id = FileId::from_bits(u128::from_be_bytes(row.get(0)?));
                    let stage = Stage::from_name(&row.get::<_, String>(2)?).unwrap_or(Stage::Ended);
                    Ok((id, row.get::<_, i64>(1)?.unsigned_abs(), stage))
                })?;
                rows.collect()
            })
            .await
    }

    /// Forgets files that were over before `before_ms`; what was decided about them stays.
    pub(crate) async fn forget(&self, before_ms: u64) -> Result<usize> {
        self.0
            .work(move |db| {
                db.execute(
                    "DELETE FROM file WHERE on_disk = 0 AND (told = 1 OR request IS NULL) AND changed_ms < ?1
                       AND state IN ('stored', 'ended')",
                    [signed(before_ms)],
                )
            })
            .await
    }

    /// How many files and bytes of each stage are on the disk.
    pub(crate) async fn counts(&self) -> Result<Vec<(Stage, u64, u64)>> {
        self.0
            .work(|db| {
                let mut query = db.prepare_cached(
                    "SELECT state, count(*), sum(size) FROM file WHERE on_disk = 1 GROUP BY state",
                )?;
                let rows = query.query_map([], |row| {
                    let stage = Stage::from_name(&row.get::<_, String>(0)?).unwrap_or(Stage::Ended);
                    let (files, bytes): (i64, i64) = (row.get(1)?, row.get(2)?);
                    Ok((stage, files.unsigned_abs(), bytes.unsigned_abs()))
                })?;
                rows.collect()
            })
            .await
    }

    /// What was decided about a file, oldest first.
    pub(crate) async fn decisions(&self, id: FileId) -> Result<Vec<Decision>> {
        self.0
            .work(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT at_ms, who, what, why FROM decision WHERE file = ?1 ORDER BY n",
                )?;
                let rows = query.query_map([bits(id)], |row| {
                    let at: i64 = row.get(0)?;
                    let (who, what, why) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    Ok(Decision { at_ms: at.unsigned_abs(), who, what, why })
                })?;
                rows.collect()
            })
            .await
    }

    /// Looks at the next part of the trail of decisions, from after the one given with its hash.
    pub(crate) async fn check_trail(&self, after: i64, before: [u8; 32]) -> Result<Trail> {
        self.0
            .work(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT n, at_ms, file, who, what, why, hash FROM decision WHERE n > ?1 ORDER BY n LIMIT 2000",
                )?;
                let mut rows = query.query([after])?;
                let (mut last, mut before) = (after, before);
                while let Some(row) = rows.next()? {
                    let (n, at): (i64, i64) = (row.get(0)?, row.get(1)?);
                    let file = FileId::from_bits(u128::from_be_bytes(row.get(2)?));
                    let (who, what, why) = (row.get(3)?, row.get(4)?, row.get(5)?);
                    let decision = Decision { at_ms: at.unsigned_abs(), who, what, why };
                    let hash: [u8; 32] = row.get(6)?;
                    if hash != chained(&before, n, file, &decision) {
                        return Ok(Trail::Broken(n));
                    }
                    (last, before) = (n, hash);
                }
                Ok(if last == after { Trail::Ended } else { Trail::GoesOn(last, before) })
            })
            .await
    }
}

/// What a look at a part of the trail of decisions found.
pub(crate) enum Trail {
    /// It holds up to here; there may be more.
    GoesOn(i64, [u8; 32]),
    /// There is no more.
    Ended,
    /// This one does not cover what stands before it: somebody changed the trail.
    Broken(i64),
}

/// What was found of a file, with the decision.
pub(crate) struct Found {
    pub(crate) kind: String,
    pub(crate) root: Option<Hash>,
    pub(crate) cvs: Vec<Hash>,
    pub(crate) decision: Decision,
}

impl Found {
    /// A decision that finds nothing new.
    pub(crate) fn nothing(decision: Decision) -> Self {
        Found { kind: String::new(), root: None, cvs: Vec::new(), decision }
    }
}

fn fits(db: &Connection, record: &Record, quotas: Quotas) -> rusqlite::Result<std::result::Result<(), Full>> {
    if get(db, record.id)?.is_some() {
        return Ok(Ok(()));
    }
    if let Some(request) = record.request {
        let files: u32 = db
            .prepare_cached("SELECT count(*) FROM file WHERE request = ?1 AND state <> 'ended'")?
            .query_row([request.bits().to_be_bytes()], |row| row.get(0))?;
        if files >= quotas.request_files {
            return Ok(Err(Full::Request));
        }
    }
    let number = |row: &Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let (files, bytes) = db
        .prepare_cached(
            "SELECT count(*), coalesce(sum(size), 0) FROM file WHERE customer = ?1 AND on_disk = 1",
        )?
        .query_row([record.customer.bits().to_be_bytes()], |row| {
            Ok((row.get::<_, u32>(0)?, number(row, 1)?))
        })?;
    if files >= quotas.customer_files || bytes.saturating_add(record.size) > quotas.customer_bytes {
        return Ok(Err(Full::Customer));
    }
    let (channel, all) = db
        .prepare_cached(
            "SELECT coalesce(sum(bytes) FILTER (WHERE channel = ?1), 0), coalesce(sum(bytes), 0) FROM held",
        )?
        .query_row([&record.channel], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    if channel.saturating_add(record.size) > quotas.channel_bytes {
        return Ok(Err(Full::Channel));
    }
    if all.saturating_add(record.size) > quotas.bytes {
        return Ok(Err(Full::Disk));
    }
    Ok(Ok(()))
}

fn insert(db: &Connection, record: &Record) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO file (id, customer, request, channel, name, size, received, state, created_ms,
                changed_ms, expires_ms, request_kind, request_form)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        bits(record.id),
        record.customer.bits().to_be_bytes(),
        record.request.map(|request| request.bits().to_be_bytes()),
        record.channel,
        record.name,
        signed(record.size),
        signed(record.received),
        record.stage.name(),
        signed(record.created_ms),
        signed(record.changed_ms),
        signed(record.expires_ms),
        record.about.kind.map_or("", RequestKind::name),
        record.about.form.as_ref().map_or("", ShortName::as_str)
    ])?;
    Ok(())
}

fn get(db: &Connection, id: FileId) -> rusqlite::Result<Option<Record>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE id = ?1"))?
        .query_row([bits(id)], record_of)
        .optional()
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<Record> {
    let number = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let request: Option<[u8; 16]> = row.get(2)?;
    let (request_kind, request_form): (String, String) = (row.get(14)?, row.get(15)?);
    Ok(Record {
        id: FileId::from_bits(u128::from_be_bytes(row.get(0)?)),
        customer: CustomerId::from_bits(u128::from_be_bytes(row.get(1)?)),
        request: request.map(|bits| ServiceRequestId::from_bits(u128::from_be_bytes(bits))),
        channel: row.get(3)?,
        name: row.get(4)?,
        size: number(5)?,
        received: number(6)?,
        // A stage of a later version is none that this one moves on.
        stage: Stage::from_name(&row.get::<_, String>(7)?).unwrap_or(Stage::Ended),
        kind: row.get(8)?,
        why: row.get(9)?,
        root: row.get(10)?,
        created_ms: number(11)?,
        changed_ms: number(12)?,
        expires_ms: number(13)?,
        about: About {
            kind: RequestKind::ALL.into_iter().find(|kind| kind.name() == request_kind),
            form: request_form.parse().ok(),
        },
    })
}

/// Enters a decision at the end of the trail.
fn enter(db: &Connection, file: FileId, decision: &Decision) -> rusqlite::Result<()> {
    let last: Option<(i64, [u8; 32])> = db
        .prepare_cached("SELECT n, hash FROM decision ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (n, before) = last.map_or((1, [0; 32]), |(n, hash)| (n + 1, hash));
    let hash = chained(&before, n, file, decision);
    db.prepare_cached("INSERT INTO decision VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        n,
        signed(decision.at_ms),
        bits(file),
        decision.who,
        decision.what,
        decision.why,
        hash.to_vec()
    ])?;
    Ok(())
}

fn chained(before: &[u8; 32], n: i64, file: FileId, decision: &Decision) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("gridesk edge audit trail v1");
    hash.update(before).update(&n.to_be_bytes()).update(&bits(file)).update(&decision.at_ms.to_be_bytes());
    for part in [&decision.who, &decision.what, &decision.why] {
        hash.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
    }
    *hash.finalize().as_bytes()
}

fn bits(id: FileId) -> [u8; 16] {
    id.bits().to_be_bytes()
}
