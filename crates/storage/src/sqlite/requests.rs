//! Reads service requests, outages and notices.
use protocol::{
    AccountId, CustomerId, FileId, OutageId, ServiceRequestId,
    catalogue::replies::{Notice, RequestStep},
};
use rusqlite::{Connection, Row, params};

use super::{
    load::{many, one},
    values::{bits, corrupt, id_from, unpack},
};
use crate::{
    StorageError,
    rows::{DivisionReport, DivisionState, FileRow, OutageRow, RequestView, ServiceRequest},
    store::NoticePage,
};

type Result<T> = std::result::Result<T, StorageError>;

/// The most outages of a district that are looked at.
const MOST_OUTAGES: u32 = 100;
/// The most fault reports that are joined with an outage at once.
const MOST_ALONE: u32 = 1_000;
/// The most reports of an outage in one go.
pub(crate) const MOST_REPORTS: u32 = 500;
/// Unread notices are counted up to here.
const MOST_UNREAD: u32 = 100;

const REQUEST: &str =
    "id, account, customer, kind, form, title_en, title_zh, answers, state, created_ms, changed_ms,
    answer_by_ms, outage, steps, paused_left_ms";

fn request_row(row: &Row<'_>) -> rusqlite::Result<Result<ServiceRequest>> {
    let account: Option<i64> = row.get(1)?;
    let (form, title_en, title_zh): (String, String, String) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let (created, changed): (i64, i64) = (row.get(9)?, row.get(10)?);
    let answer_by: Option<i64> = row.get(11)?;
    let (id, customer) = (row.get_ref(0)?.as_blob()?, row.get_ref(2)?.as_blob()?);
    let (kind, state) = (row.get_ref(3)?.as_blob()?, row.get_ref(8)?.as_blob()?);
    let (answers, outage) = (row.get_ref(7)?.as_blob()?, row.get_ref(12)?.as_blob_or_null()?);
    let (steps, left): (u32, Option<i64>) = (row.get(13)?, row.get(14)?);
    Ok((|| {
        let account = account.map(|number| AccountId::from_number(number as u64)).transpose();
        Ok(ServiceRequest {
            id: ServiceRequestId::from_bits(id_from(id)?),
            account: account.map_err(|e| corrupt("request", e.to_string()))?,
            customer: CustomerId::from_bits(id_from(customer)?),
            kind: unpack("request kind", kind)?,
            form,
            title_en,
            title_zh,
            answers: unpack("request answers", answers)?,
            state: unpack("request state", state)?,
            created_ms: created as u64,
            changed_ms: changed as u64,
            answer_by_ms: answer_by.map(|ms| ms as u64),
            paused_left_ms: left.map(|ms| ms as u64),
            outage: outage.map(id_from).transpose()?.map(OutageId::from_bits),
            steps,
        })
    })())
}

pub(super) fn request(c: &Connection, id: ServiceRequestId) -> Result<Option<ServiceRequest>> {
    let sql = format!("SELECT {REQUEST} FROM request WHERE id = ?1");
    one(c, "reading a request", &sql, [bits(id.bits())], request_row)
}

/// A request with its steps.
pub(crate) fn request_view(c: &Connection, id: ServiceRequestId) -> Result<Option<RequestView>> {
    let Some(request) = request(c, id)? else { return Ok(None) };
    let steps: Vec<RequestStep> = many(
        c,
        "reading a request's steps",
        "SELECT step FROM request_step WHERE request = ?1 ORDER BY n",
        [bits(id.bits())],
        |row| Ok(unpack("request step", row.get_ref(0)?.as_blob()?)),
    )?;
    Ok(Some(RequestView { request, steps, files: files(c, id)? }))
}

const FILE: &str = "id, request, customer, name, size, state, why, kind, root, created_ms, changed_ms";

fn file_row(row: &Row<'_>) -> rusqlite::Result<Result<FileRow>> {
    let (name, size): (String, i64) = (row.get(3)?, row.get(4)?);
    let (why, kind): (String, String) = (row.get(6)?, row.get(7)?);
    let (created, changed): (i64, i64) = (row.get(9)?, row.get(10)?);
    let (id, request, customer) =
        (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
    let (state, root) = (row.get_ref(5)?.as_blob()?, row.get_ref(8)?.as_blob_or_null()?);
    let root = root.map(|root| root.try_into().map_err(|_| corrupt("file hash", "not 32 bytes".to_owned())));
    Ok((|| {
        Ok(FileRow {
            id: FileId::from_bits(id_from(id)?),
            request: ServiceRequestId::from_bits(id_from(request)?),
            customer: CustomerId::from_bits(id_from(customer)?),
            name,
            size: size as u64,
            state: unpack("file state", state)?,
            why,
            kind,
            root: root.transpose()?,
            created_ms: created as u64,
            changed_ms: changed as u64,
        })
    })())
}

pub(super) fn file(c: &Connection, id: FileId) -> Result<Option<FileRow>> {
    let sql = format!("SELECT {FILE} FROM request_file WHERE id = ?1");
    one(c, "reading a file", &sql, [bits(id.bits())], file_row)
}

/// A request's files, oldest first.
pub(super) fn files(c: &Connection, request: ServiceRequestId) -> Result<Vec<FileRow>> {
    let sql = format!("SELECT {FILE} FROM request_file WHERE request = ?1 ORDER BY created_ms, id LIMIT 100");
    many(c, "reading a request's files", &sql, [bits(request.bits())], file_row)
}

/// Those of some hashes that files have which came.
pub(crate) fn known_roots(c: &Connection, roots: &[[u8; 32]]) -> Result<Vec<[u8; 32]>> {
    let mut query = c
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM request_file INDEXED BY request_file_root WHERE root = ?1)",
        )
        .map_err(StorageError::database("looking for files by hash"))?;
    let mut known = Vec::new();
    for root in roots {
        let found: bool = query
            .query_row([root.as_slice()], |row| row.get(0))
            .map_err(StorageError::database("looking for files by hash"))?;
        known.extend(found.then_some(*root));
    }
    Ok(known)
}

/// Files that were named up to a time and have not come, the oldest first.
pub(crate) fn files_overdue(c: &Connection, named_ms: u64, limit: usize) -> Result<Vec<FileId>> {
    many(
        c,
        "looking for files that never came",
        "SELECT id FROM request_file INDEXED BY request_file_expected WHERE state = x'00' AND created_ms <= ?1
         ORDER BY created_ms LIMIT ?2",
        params![named_ms as i64, limit as i64],
        |row| Ok(id_from(row.get_ref(0)?.as_blob()?).map(FileId::from_bits)),
    )
}

/// An account's requests made before a time, newest first.
pub(crate) fn of_account(
    c: &Connection,
    id: AccountId,
    before_ms: i64,
    limit: u32,
) -> Result<Vec<ServiceRequest>> {
    let sql = format!(
        "SELECT {REQUEST} FROM request WHERE account = ?1 AND created_ms < ?2 ORDER BY created_ms DESC LIMIT ?3"
    );
    many(c, "reading requests", &sql, params![id.number() as i64, before_ms, limit], request_row)
}

/// A customer's requests about no account, made before a time, newest first.
pub(crate) fn of_customer(
    c: &Connection,
    id: CustomerId,
    before_ms: i64,
    limit: u32,
) -> Result<Vec<ServiceRequest>> {
    let sql = format!(
        "SELECT {REQUEST} FROM request WHERE customer = ?1 AND created_ms < ?2 AND account IS NULL
         ORDER BY created_ms DESC LIMIT ?3"
    );
    many(c, "reading requests", &sql, params![bits(id.bits()), before_ms, limit], request_row)
}

/// Requests that are not closed, oldest first.
pub(crate) fn open(c: &Connection, limit: u32) -> Result<Vec<ServiceRequest>> {
    let sql = format!(
        "SELECT {REQUEST} FROM request INDEXED BY request_open WHERE closed = 0 ORDER BY created_ms LIMIT ?1"
    );
    many(c, "reading open requests", &sql, [limit], request_row)
}

pub(super) fn open_count(c: &Connection, id: CustomerId) -> Result<u32> {
    c.prepare_cached(
        "SELECT count(*) FROM request INDEXED BY request_customer WHERE customer = ?1 AND closed = 0",
    )
    .and_then(|mut s| s.query_row([bits(id.bits())], |row| row.get(0)))
    .map_err(StorageError::database("counting open requests"))
}

/// A district's outages that have not ended before a time, by their beginning, newest first.
pub(crate) fn outages(c: &Connection, division: &str, ended_after_ms: i64) -> Result<Vec<OutageRow>> {
    many(
        c,
        "reading outages",
        "SELECT body FROM outage WHERE division = ?1 AND (restored_ms IS NULL OR restored_ms >= ?2)
         ORDER BY starts_ms DESC LIMIT ?3",
        params![division, ended_after_ms, MOST_OUTAGES],
        |row| Ok(unpack("outage", row.get_ref(0)?.as_blob()?)),
    )
}

pub(super) fn division(c: &Connection, division: &str) -> Result<DivisionState> {
    let alone = many(
        c,
        "reading a district's reports",
        "SELECT request, at_ms FROM division_report INDEXED BY division_report_alone
         WHERE division = ?1 AND outage IS NULL ORDER BY at_ms DESC LIMIT ?2",
        params![division, MOST_ALONE],
        |row| report(row, None),
    )?;
    Ok(DivisionState { outages: outages(c, division, i64::MIN)?, alone })
}

pub(super) fn outage_reports(
    c: &Connection,
    outage: OutageId,
    after: ServiceRequestId,
) -> Result<Vec<DivisionReport>> {
    many(
        c,
        "reading an outage's reports",
        "SELECT request, at_ms FROM division_report INDEXED BY division_report_outage
         WHERE outage = ?1 AND request > ?2 ORDER BY request LIMIT ?3",
        params![bits(outage.bits()), bits(after.bits()), MOST_REPORTS],
        |row| report(row, Some(outage)),
    )
}

fn report(row: &Row<'_>, outage: Option<OutageId>) -> rusqlite::Result<Result<DivisionReport>> {
    let at: i64 = row.get(1)?;
    let request = id_from(row.get_ref(0)?.as_blob()?).map(ServiceRequestId::from_bits);
    Ok(request.map(|request| DivisionReport { request, at_ms: at as u64, outage }))
}

/// What a customer was told, newest first.
pub(crate) fn notices(c: &Connection, id: CustomerId, before: i64, limit: u32) -> Result<NoticePage> {
    let through: i64 = one(
        c,
        "reading what is read",
        "SELECT through FROM notice_read WHERE customer = ?1",
        [bits(id.bits())],
        |row| Ok(Ok(row.get(0)?)),
    )?
    .unwrap_or(0);
    let notices = many(
        c,
        "reading notices",
        "SELECT number, at_ms, body FROM notice WHERE customer = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
        params![bits(id.bits()), before, limit],
        |row| {
            let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let body = unpack("notice", row.get_ref(2)?.as_blob()?);
            Ok(body.map(|body| Notice {
                number: number as u64,
                at_ms: at as u64,
                read: number <= through,
                body,
            }))
        },
    )?;
    let unread: u32 = c
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM notice WHERE customer = ?1 AND number > ?2 LIMIT ?3)",
        )
        .and_then(|mut s| s.query_row(params![bits(id.bits()), through, MOST_UNREAD], |row| row.get(0)))
        .map_err(StorageError::database("counting notices"))?;
    Ok(NoticePage { notices, unread })
}

/// Forgets what a customer was told, and their requests that are about no account.
pub(super) fn forget(c: &Connection, customer: CustomerId) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM request_file WHERE request IN (SELECT id FROM request WHERE customer = ?1 AND account IS NULL)",
        "DELETE FROM request_step WHERE request IN (SELECT id FROM request WHERE customer = ?1 AND account IS NULL)",
        "DELETE FROM request WHERE customer = ?1 AND account IS NULL",
        "DELETE FROM notice WHERE customer = ?1",
        "DELETE FROM notice_read WHERE customer = ?1",
    ] {
        c.prepare_cached(sql)?.execute([bits(customer.bits())])?;
    }
    Ok(())
}
