//! Reads of whole pages' worth of rows, each within one snapshot.
use domain::{calendar::Month, readings::DayReadings};
use jiff::civil::Date;
use protocol::{AccountId, BillId};
use rusqlite::{Connection, params};

use super::{
    load::{self, many},
    values::{corrupt, date_from, date_number, month_number, unpack},
};
use crate::{
    StorageError,
    rows::{BillDetail, BillHead},
    store::{AccountView, BillView, PastView},
};

type Result<T> = std::result::Result<T, StorageError>;

/// An account with readings of some ranges of days, both ends included.
pub(crate) fn account(c: &Connection, id: AccountId, ranges: &[(Date, Date)]) -> Result<Option<AccountView>> {
    let Some(account) = load::account(c, id)? else { return Ok(None) };
    let mut days = Vec::new();
    for (from, to) in ranges {
        days.extend(readings(c, id, *from, *to)?);
    }
    Ok(Some(AccountView {
        account,
        holders: load::holders(c, id)?,
        open_bills: load::open_bills(c, id)?,
        supply: load::supply(c, id)?,
        bills: load::bills(c, id, i64::MAX, 24)?,
        days,
        first_and_last: first_and_last(c, id)?,
    }))
}

pub(crate) fn bills(
    c: &Connection,
    id: AccountId,
    before: Option<Month>,
    limit: u32,
) -> Result<Vec<BillHead>> {
    load::bills(c, id, before.map_or(i64::MAX, month_number), limit)
}

pub(crate) fn bill(c: &Connection, id: BillId) -> Result<Option<BillView>> {
    let Some((head, detail)) = load::bill_with_detail(c, id)? else { return Ok(None) };
    let account = load::account(c, id.account)?.ok_or_else(|| corrupt("bill", "its account is missing"))?;
    let history = load::bills(c, id.account, month_number(id.month) + 1, 13)?;
    let whole = |head: &BillHead| -> Result<Option<(BillHead, BillDetail)>> {
        let found = load::bill_with_detail(c, head.id)?;
        found.map(|(head, detail)| Ok((head, unpack("bill", &detail)?))).transpose()
    };
    let is_last_year = |head: &&BillHead| head.id.month == id.month.last_year();
    let previous = history.get(1).map(whole).transpose()?.flatten();
    let last_year = history.iter().skip(1).find(is_last_year).map(whole).transpose()?.flatten();
    Ok(Some(BillView {
        head,
        detail: unpack("bill", &detail)?,
        account,
        holders: load::holders(c, id.account)?,
        history,
        previous,
        last_year,
        days: readings(c, id.account, id.month.first_day(), id.month.last_day())?,
    }))
}

/// The most months that [`past`] reads.
const MOST_MONTHS: usize = 12;

pub(crate) fn past(c: &Connection, id: AccountId, from: Month, to: Month) -> Result<Option<PastView>> {
    let Some(account) = load::account(c, id)? else { return Ok(None) };
    let last = std::iter::successors(Some(from), |month| Some(month.next())).take(MOST_MONTHS).last();
    let to = last.map_or(to, |last| to.min(last));
    let whole = |(head, detail): (BillHead, Vec<u8>)| Ok((head, unpack("bill", &detail)?));
    Ok(Some(PastView {
        account,
        days: readings(c, id, from.first_day(), to.last_day())?,
        bills: load::bills_between(c, id, from, to)?.into_iter().map(whole).collect::<Result<_>>()?,
        first_and_last: first_and_last(c, id)?,
    }))
}

fn readings(c: &Connection, id: AccountId, from: Date, to: Date) -> Result<Vec<DayReadings>> {
    many(
        c,
        "reading readings",
        "SELECT packed FROM readings WHERE account = ?1 AND date BETWEEN ?2 AND ?3 ORDER BY date",
        params![id.number() as i64, date_number(from), date_number(to)],
        |row| {
            let packed = row.get_ref(0)?.as_blob()?;
            Ok(DayReadings::unpack(packed).map_err(|e| corrupt("day of readings", e.to_string())))
        },
    )
}

fn first_and_last(c: &Connection, id: AccountId) -> Result<Option<(Date, Date)>> {
    let found: (Option<i64>, Option<i64>) = c
        .prepare_cached(
            "SELECT (SELECT min(date) FROM readings WHERE account = ?1), (SELECT max(date) FROM readings WHERE account = ?1)",
        )
        .and_then(|mut s| s.query_row([id.number() as i64], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(StorageError::database("reading the extent of readings"))?;
    match found {
        (Some(first), Some(last)) => Ok(Some((date_from(first)?, date_from(last)?))),
        _ => Ok(None),
    }
}

pub(crate) fn account_count(c: &Connection) -> Result<u64> {
    c.query_row("SELECT count(*) FROM account", [], |row| row.get::<_, i64>(0))
        .map(|n| n as u64)
        .map_err(StorageError::database("counting accounts"))
}
