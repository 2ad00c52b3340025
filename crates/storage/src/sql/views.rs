//! Whole pages' worth of rows.
use domain::{calendar::Month, readings::DayReadings};
use jiff::civil::Date;
use protocol::{AccountId, BillId};

use super::{
    Result, Snapshot,
    bills::{self, account_state},
    corrupt,
    row::unpack,
    single, supply,
    value::{month_number, values},
};
use crate::{
    rows::{BillDetail, BillHead},
    store::{AccountView, BillView, PastView},
};

/// An account with readings of some ranges of days, both ends included.
pub(crate) async fn account<S: Snapshot>(
    s: &S,
    id: AccountId,
    ranges: &[(Date, Date)],
) -> Result<Option<AccountView>> {
    let days =
        futures_util::future::try_join_all(ranges.iter().map(|(from, to)| readings(s, id, *from, *to)));
    let (state, supply, bills, first_and_last, days) = tokio::try_join!(
        account_state(s, id),
        supply::supply(s, id),
        bills::bills(s, id, i64::MAX, 24),
        first_and_last(s, id),
        days
    )?;
    Ok(state.map(|state| AccountView {
        account: state.account,
        holders: state.holders,
        open_bills: state.open_bills,
        supply,
        bills,
        days: days.concat(),
        first_and_last,
    }))
}

pub(crate) async fn bill<S: Snapshot>(s: &S, id: BillId) -> Result<Option<BillView>> {
    let (found, account, holders, history, days) = tokio::try_join!(
        bills::bill_with_detail(s, id),
        bills::account(s, id.account),
        bills::holders(s, id.account),
        bills::bills(s, id.account, month_number(id.month) + 1, 13),
        readings(s, id.account, id.month.first_day(), id.month.last_day()),
    )?;
    let Some(found) = found else { return Ok(None) };
    let (head, detail) = whole(found)?;
    let is_last_year = |head: &&BillHead| head.id.month == id.month.last_year();
    let previous = history.get(1).map(|head| head.id);
    let last_year = history.iter().skip(1).find(is_last_year).map(|head| head.id);
    let (previous, last_year) = tokio::try_join!(bill_of(s, previous), bill_of(s, last_year))?;
    Ok(Some(BillView {
        head,
        detail,
        account: account.ok_or_else(|| corrupt("bill", "its account is missing"))?,
        holders,
        history,
        previous,
        last_year,
        days,
    }))
}

async fn bill_of<S: Snapshot>(s: &S, id: Option<BillId>) -> Result<Option<(BillHead, BillDetail)>> {
    let Some(id) = id else { return Ok(None) };
    bills::bill_with_detail(s, id).await?.map(whole).transpose()
}

fn whole((head, detail): (BillHead, Vec<u8>)) -> Result<(BillHead, BillDetail)> {
    Ok((head, unpack("bill", &detail)?))
}

/// The most months that [`past`] reads.
const MOST_MONTHS: usize = 12;

/// An account with the readings and bills of the months from one to another, both included.
pub(crate) async fn past<S: Snapshot>(
    s: &S,
    id: AccountId,
    from: Month,
    to: Month,
) -> Result<Option<PastView>> {
    let last = std::iter::successors(Some(from), |month| Some(month.next())).take(MOST_MONTHS).last();
    let to = last.map_or(to, |last| to.min(last));
    let (account, days, bills, first_and_last) = tokio::try_join!(
        bills::account(s, id),
        readings(s, id, from.first_day(), to.last_day()),
        bills::bills_between(s, id, from, to),
        first_and_last(s, id),
    )?;
    let Some(account) = account else { return Ok(None) };
    let bills = bills.into_iter().map(whole).collect::<Result<_>>()?;
    Ok(Some(PastView { account, days, bills, first_and_last }))
}

async fn readings<S: Snapshot>(s: &S, id: AccountId, from: Date, to: Date) -> Result<Vec<DayReadings>> {
    s.query(
        "reading readings",
        "SELECT packed FROM readings WHERE account = ?1 AND date BETWEEN ?2 AND ?3 ORDER BY date",
        &values![id, from, to],
        |row| DayReadings::unpack(row.bytes(0)?).map_err(|e| corrupt("day of readings", e.to_string())),
    )
    .await
}

async fn first_and_last<S: Snapshot>(s: &S, id: AccountId) -> Result<Option<(Date, Date)>> {
    let found: (Option<Date>, Option<Date>) = single(
        s,
        "reading the extent of readings",
        "SELECT (SELECT min(date) FROM readings WHERE account = ?1), (SELECT max(date) FROM readings WHERE account = ?1)",
        &values![id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .await?;
    Ok(found.0.zip(found.1))
}
