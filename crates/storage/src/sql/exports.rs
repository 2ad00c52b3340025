//! Files that are made for customers.
use protocol::{AccountId, ExportId, catalogue::replies::ExportState, file::Hash};

use super::{
    Result, Row, Snapshot, one, pack,
    save::{Sink, upsert},
    value::values,
};
use crate::rows::Export;

/// The most files of an account that are looked at, newest first.
const MOST: u32 = 100;

macro_rules! export {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, customer, what, language, state, failure, root, size, created_ms, due_ms \
             FROM export WHERE ",
            $rest
        )
    };
}

fn export_row(row: &Row<'_>) -> Result<Export> {
    Ok(Export {
        id: row.get(0)?,
        account: row.get(1)?,
        customer: row.get(2)?,
        what: row.unpack("what a file holds", 3)?,
        language: row.unpack("language", 4)?,
        state: row.named("file that is made", 5, &STATES, state_name)?,
        failure: row.unpack_or_null("why a file was not made", 6)?,
        root: row.get(7)?,
        size: row.get(8)?,
        created_ms: row.get(9)?,
        due_ms: row.get(10)?,
    })
}

pub(crate) async fn export<S: Snapshot>(s: &S, id: ExportId) -> Result<Option<Export>> {
    one(s, "reading a file that is made", export!("id = ?1"), &values![id], export_row).await
}

/// An account's, newest first.
pub(crate) async fn of_account<S: Snapshot>(s: &S, account: AccountId) -> Result<Vec<Export>> {
    s.query(
        "reading files that are made",
        export!("account = ?1 ORDER BY created_ms DESC, id DESC LIMIT ?2"),
        &values![account, MOST],
        export_row,
    )
    .await
}

/// Those to be looked at by `now_ms`, longest due first.
pub(crate) async fn due<S: Snapshot>(s: &S, now_ms: u64, limit: usize) -> Result<Vec<Export>> {
    s.query(
        "looking for files that are due",
        export!("due_ms <= ?1 ORDER BY due_ms LIMIT ?2"),
        &values![now_ms, limit],
        export_row,
    )
    .await
}

/// Whether a file that can be had has this content.
pub(crate) async fn is_wanted<S: Snapshot>(s: &S, root: &Hash) -> Result<bool> {
    let sql = "SELECT 1 FROM export WHERE root = ?1 AND state = 'ready' LIMIT 1";
    Ok(one(s, "looking who wants a file", sql, &values![root], |_| Ok(())).await?.is_some())
}

/// When the oldest of those that are being made was asked for, Unix ms.
pub(crate) async fn oldest_making_ms<S: Snapshot>(s: &S) -> Result<Option<u64>> {
    let sql = "SELECT created_ms FROM export WHERE state = 'making' ORDER BY created_ms LIMIT 1";
    one(s, "looking for files that are being made", sql, &[], |row| row.get(0)).await
}

pub(super) fn save(run: &mut Sink<'_>, e: &Export) -> Result<()> {
    run(
        upsert!(
            "export",
            (id),
            (account, customer, what, language, state, failure, root, size, created_ms, due_ms)
        ),
        &values![
            e.id,
            e.account,
            e.customer,
            pack(&e.what),
            pack(&e.language),
            state_name(e.state),
            e.failure.as_ref().map(pack),
            e.root.as_ref(),
            e.size,
            e.created_ms,
            e.due_ms,
        ],
    )
}

const STATES: [ExportState; 4] =
    [ExportState::Making, ExportState::Ready, ExportState::Failed, ExportState::Expired];

/// How a state is written.
fn state_name(state: ExportState) -> &'static str {
    match state {
        ExportState::Making => "making",
        ExportState::Ready => "ready",
        ExportState::Failed => "failed",
        ExportState::Expired => "expired",
    }
}
