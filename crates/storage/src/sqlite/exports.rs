//! Files that are made for customers.
use protocol::{AccountId, CustomerId, ExportId, catalogue::replies::ExportState, file::Hash};
use rusqlite::{Connection, Row, params};

use super::{
    load::{account_from, many, one},
    values::{bits, corrupt, id_from, pack, unpack},
};
use crate::{StorageError, rows::Export};

type Result<T> = std::result::Result<T, StorageError>;

/// The most files of an account that are looked at, newest first.
const MOST: u32 = 100;

const EXPORT: &str = "id, account, customer, what, language, state, failure, root, size, created_ms, due_ms";

fn export_row(row: &Row<'_>) -> rusqlite::Result<Result<Export>> {
    let (id, customer) = (id_from(row.get_ref(0)?.as_blob()?), id_from(row.get_ref(2)?.as_blob()?));
    let (account, state): (i64, String) = (row.get(1)?, row.get(5)?);
    let (what, language) = (row.get_ref(3)?.as_blob()?, row.get_ref(4)?.as_blob()?);
    let failure = row.get_ref(6)?.as_blob_or_null()?.map(|bytes| unpack("why a file was not made", bytes));
    let root = row.get_ref(7)?.as_blob_or_null()?;
    let root = root.map(|root| root.try_into().map_err(|_| corrupt("file hash", "not 32 bytes")));
    let (size, created, due): (i64, i64, i64) = (row.get(8)?, row.get(9)?, row.get(10)?);
    Ok((|| {
        let state = STATES.into_iter().find(|known| state_name(*known) == state);
        Ok(Export {
            id: ExportId::from_bits(id?),
            account: account_from(account)?,
            customer: CustomerId::from_bits(customer?),
            what: unpack("what a file holds", what)?,
            language: unpack("language", language)?,
            state: state.ok_or_else(|| corrupt("file that is made", "an unknown state"))?,
            failure: failure.transpose()?,
            root: root.transpose()?,
            size: size as u64,
            created_ms: created as u64,
            due_ms: due as u64,
        })
    })())
}

pub(crate) fn export(c: &Connection, id: ExportId) -> Result<Option<Export>> {
    let sql = format!("SELECT {EXPORT} FROM export WHERE id = ?1");
    one(c, "reading a file that is made", &sql, [bits(id.bits())], export_row)
}

/// An account's, newest first.
pub(crate) fn of_account(c: &Connection, account: AccountId) -> Result<Vec<Export>> {
    let sql = format!(
        "SELECT {EXPORT} FROM export WHERE account = ?1 ORDER BY created_ms DESC, id DESC LIMIT {MOST}"
    );
    many(c, "reading files that are made", &sql, [account.number() as i64], export_row)
}

/// Those to be looked at by `now_ms`, longest due first.
pub(crate) fn due(c: &Connection, now_ms: u64, limit: usize) -> Result<Vec<Export>> {
    let sql = format!("SELECT {EXPORT} FROM export WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2");
    many(c, "looking for files that are due", &sql, params![now_ms as i64, limit as i64], export_row)
}

/// Whether a file that can be had has this content.
pub(crate) fn is_wanted(c: &Connection, root: &Hash) -> Result<bool> {
    let sql = "SELECT 1 FROM export WHERE root = ?1 AND state = 'ready' LIMIT 1";
    let found = one(c, "looking who wants a file", sql, [root.as_slice()], |_| Ok(Ok(())))?;
    Ok(found.is_some())
}

/// When the oldest of those that are being made was asked for, Unix ms.
pub(crate) fn oldest_making_ms(c: &Connection) -> Result<Option<u64>> {
    let sql = "SELECT created_ms FROM export WHERE state = 'making' ORDER BY created_ms LIMIT 1";
    one(c, "looking for files that are being made", sql, [], |row| Ok(Ok(row.get::<_, i64>(0)? as u64)))
}

pub(super) fn save(c: &Connection, e: &Export) -> rusqlite::Result<usize> {
    c.prepare_cached("INSERT OR REPLACE INTO export VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
        .execute(params![
            bits(e.id.bits()),
            e.account.number() as i64,
            bits(e.customer.bits()),
            pack(&e.what),
            pack(&e.language),
            state_name(e.state),
            e.failure.as_ref().map(pack),
            e.root.as_ref().map(|root| root.as_slice()),
            e.size as i64,
            e.created_ms as i64,
            e.due_ms as i64
        ])
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
