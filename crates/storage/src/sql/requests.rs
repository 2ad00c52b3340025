//! Service requests with their files, outages, notices.
use protocol::{AccountId, CustomerId, FileId, OutageId, ServiceRequestId, catalogue::replies::Notice};

use super::{Result, Row, Snapshot, one, save::Sink, single, value::values};
use crate::{
    rows::{DivisionReport, DivisionState, FileRow, OutageRow, RequestView, ServiceRequest},
    store::NoticePage,
};

/// The most outages of a district that are looked at.
const MOST_OUTAGES: u32 = 100;
/// The most fault reports that are joined with an outage at once.
const MOST_ALONE: u32 = 1_000;
/// The most reports of an outage in one go.
const MOST_REPORTS: u32 = 500;
/// Unread notices are counted up to here.
const MOST_UNREAD: u32 = 100;

/// What a request is read from.
macro_rules! request {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, customer, kind, form, title_en, title_zh, answers, state, created_ms, changed_ms, \
             answer_by_ms, outage, steps, paused_left_ms FROM request ",
            $rest
        )
    };
}

fn request_row(row: &Row<'_>) -> Result<ServiceRequest> {
    Ok(ServiceRequest {
        id: row.get(0)?,
        account: row.get(1)?,
        customer: row.get(2)?,
        kind: row.unpack("request kind", 3)?,
        form: row.get(4)?,
        title_en: row.get(5)?,
        title_zh: row.get(6)?,
        answers: row.unpack("request answers", 7)?,
        state: row.unpack("request state", 8)?,
        created_ms: row.get(9)?,
        changed_ms: row.get(10)?,
        answer_by_ms: row.get(11)?,
        outage: row.get(12)?,
        steps: row.get(13)?,
        paused_left_ms: row.get(14)?,
    })
}

pub(crate) async fn request<S: Snapshot>(s: &S, id: ServiceRequestId) -> Result<Option<ServiceRequest>> {
    one(s, "reading a request", request!("WHERE id = ?1"), &values![id], request_row).await
}

/// A request with its steps and files.
pub(crate) async fn view<S: Snapshot>(s: &S, id: ServiceRequestId) -> Result<Option<RequestView>> {
    let key = values![id];
    let steps = s.query(
        "reading a request's steps",
        "SELECT step FROM request_step WHERE request = ?1 ORDER BY n",
        &key,
        |row| row.unpack("request step", 0),
    );
    let (request, steps, files) = tokio::try_join!(request(s, id), steps, files(s, id))?;
    Ok(request.map(|request| RequestView { request, steps, files }))
}

macro_rules! file {
    ($rest:literal) => {
        concat!(
            "SELECT id, request, customer, name, size, state, why, kind, root, created_ms, changed_ms \
             FROM request_file WHERE ",
            $rest
        )
    };
}

fn file_row(row: &Row<'_>) -> Result<FileRow> {
    Ok(FileRow {
        id: row.get(0)?,
        request: row.get(1)?,
        customer: row.get(2)?,
        name: row.get(3)?,
        size: row.get(4)?,
        state: row.unpack("file state", 5)?,
        why: row.get(6)?,
        kind: row.get(7)?,
        root: row.get(8)?,
        created_ms: row.get(9)?,
        changed_ms: row.get(10)?,
    })
}

pub(crate) async fn file<S: Snapshot>(s: &S, id: FileId) -> Result<Option<FileRow>> {
    one(s, "reading a file", file!("id = ?1"), &values![id], file_row).await
}

/// A request's files, oldest first.
pub(crate) async fn files<S: Snapshot>(s: &S, request: ServiceRequestId) -> Result<Vec<FileRow>> {
    s.query(
        "reading a request's files",
        file!("request = ?1 ORDER BY created_ms, id LIMIT 100"),
        &values![request],
        file_row,
    )
    .await
}

/// Those of some hashes that files have which came.
pub(crate) async fn known_roots<S: Snapshot>(s: &S, roots: &[[u8; 32]]) -> Result<Vec<[u8; 32]>> {
    let sql = "SELECT 1 FROM request_file INDEXED BY request_file_root WHERE root = ?1 LIMIT 1";
    let mut known = Vec::new();
    for root in roots {
        let found = one(s, "looking for files by hash", sql, &values![root], |_| Ok(*root)).await?;
        known.extend(found);
    }
    Ok(known)
}

/// Files that were named up to a time and have not come, the oldest first.
pub(crate) async fn files_overdue<S: Snapshot>(s: &S, named_ms: u64, limit: usize) -> Result<Vec<FileId>> {
    s.query(
        "looking for files that never came",
        "SELECT id FROM request_file INDEXED BY request_file_expected WHERE state = x'00' AND created_ms <= ?1
         ORDER BY created_ms LIMIT ?2",
        &values![named_ms, limit],
        |row| row.get(0),
    )
    .await
}

/// An account's requests made before a time, newest first.
pub(crate) async fn of_account<S: Snapshot>(
    s: &S,
    id: AccountId,
    before_ms: i64,
    limit: u32,
) -> Result<Vec<ServiceRequest>> {
    s.query(
        "reading requests",
        request!("WHERE account = ?1 AND created_ms < ?2 ORDER BY created_ms DESC LIMIT ?3"),
        &values![id, before_ms, limit],
        request_row,
    )
    .await
}

/// A customer's requests about no account, made before a time, newest first.
pub(crate) async fn of_customer<S: Snapshot>(
    s: &S,
    id: CustomerId,
    before_ms: i64,
    limit: u32,
) -> Result<Vec<ServiceRequest>> {
    s.query(
        "reading requests",
        request!(
            "WHERE customer = ?1 AND created_ms < ?2 AND account IS NULL ORDER BY created_ms DESC LIMIT ?3"
        ),
        &values![id, before_ms, limit],
        request_row,
    )
    .await
}

/// Requests that are not closed, oldest first.
pub(crate) async fn open<S: Snapshot>(s: &S, limit: u32) -> Result<Vec<ServiceRequest>> {
    s.query(
        "reading open requests",
        request!("INDEXED BY request_open WHERE closed = 0 ORDER BY created_ms LIMIT ?1"),
        &values![limit],
        request_row,
    )
    .await
}

pub(crate) async fn open_count<S: Snapshot>(s: &S, id: CustomerId) -> Result<u32> {
    single(
        s,
        "counting open requests",
        "SELECT count(*) FROM request INDEXED BY request_customer WHERE customer = ?1 AND closed = 0",
        &values![id],
        |row| row.get(0),
    )
    .await
}

/// A district's outages that have not ended before a time, by their beginning, newest first.
pub(crate) async fn outages<S: Snapshot>(
    s: &S,
    division: &str,
    ended_after_ms: i64,
) -> Result<Vec<OutageRow>> {
    s.query(
        "reading outages",
        "SELECT body FROM outage WHERE division = ?1 AND (restored_ms IS NULL OR restored_ms >= ?2)
         ORDER BY starts_ms DESC LIMIT ?3",
        &values![division, ended_after_ms, MOST_OUTAGES],
        |row| row.unpack("outage", 0),
    )
    .await
}

pub(crate) async fn division<S: Snapshot>(s: &S, division: &str) -> Result<DivisionState> {
    let key = values![division, MOST_ALONE];
    let alone = s.query(
        "reading a district's reports",
        "SELECT request, at_ms FROM division_report INDEXED BY division_report_alone
         WHERE division = ?1 AND outage IS NULL ORDER BY at_ms DESC LIMIT ?2",
        &key,
        |row| report(row, None),
    );
    let (outages, alone) = tokio::try_join!(outages(s, division, i64::MIN), alone)?;
    Ok(DivisionState { outages, alone })
}

pub(crate) async fn outage_reports<S: Snapshot>(
    s: &S,
    outage: OutageId,
    after: ServiceRequestId,
) -> Result<Vec<DivisionReport>> {
    s.query(
        "reading an outage's reports",
        "SELECT request, at_ms FROM division_report INDEXED BY division_report_outage
         WHERE outage = ?1 AND request > ?2 ORDER BY request LIMIT ?3",
        &values![outage, after, MOST_REPORTS],
        |row| report(row, Some(outage)),
    )
    .await
}

fn report(row: &Row<'_>, outage: Option<OutageId>) -> Result<DivisionReport> {
    Ok(DivisionReport { request: row.get(0)?, at_ms: row.get(1)?, outage })
}

/// What a customer was told, newest first.
pub(crate) async fn notices<S: Snapshot>(
    s: &S,
    id: CustomerId,
    before: i64,
    limit: u32,
) -> Result<NoticePage> {
    let sql = "SELECT through FROM notice_read WHERE customer = ?1";
    let through: u64 =
        one(s, "reading what is read", sql, &values![id], |row| row.get(0)).await?.unwrap_or(0);
    let (page, rest) = (values![id, before, limit], values![id, through, MOST_UNREAD]);
    let notices = s.query(
        "reading notices",
        "SELECT number, at_ms, body FROM notice WHERE customer = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
        &page,
        |row| {
            let number: u64 = row.get(0)?;
            let body = row.unpack("notice", 2)?;
            Ok(Notice { number, at_ms: row.get(1)?, read: number <= through, body })
        },
    );
    let unread = single(
        s,
        "counting notices",
        "SELECT count(*) FROM (SELECT 1 FROM notice WHERE customer = ?1 AND number > ?2 LIMIT ?3) AS unread",
        &rest,
        |row| row.get(0),
    );
    let (notices, unread) = tokio::try_join!(notices, unread)?;
    Ok(NoticePage { notices, unread })
}

/// Forgets what a customer was told, and their requests that are about no account.
pub(super) fn forget(run: &mut Sink<'_>, customer: CustomerId) -> Result<()> {
    for sql in [
        "DELETE FROM request_file WHERE request IN (SELECT id FROM request WHERE customer = ?1 AND account IS NULL)",
        "DELETE FROM request_step WHERE request IN (SELECT id FROM request WHERE customer = ?1 AND account IS NULL)",
        "DELETE FROM request WHERE customer = ?1 AND account IS NULL",
        "DELETE FROM notice WHERE customer = ?1",
        "DELETE FROM notice_read WHERE customer = ?1",
    ] {
        run(sql, &values![customer])?;
    }
    Ok(())
}
