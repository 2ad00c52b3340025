//! Accounts, their holders and bills.
use domain::{
    calendar::Month,
    late_fee::LateFee,
    money::{Fen, Wh},
};
use protocol::{AccountId, BillId, CustomerId};

use super::{
    Result, Row, Snapshot, one, single,
    value::{month_number, values},
};
use crate::{
    rows::{Account, BillHead, BindTries},
    working_set::AccountState,
};

pub(crate) async fn account<S: Snapshot>(s: &S, id: AccountId) -> Result<Option<Account>> {
    one(
        s,
        "reading an account",
        "SELECT holder, phone, address, division, tariff, large_household, opened, credit_fen, wrong_proofs, proof_window_ms
         FROM account WHERE id = ?1",
        &values![id],
        |row| {
            Ok(Account {
                id,
                holder: row.get(0)?,
                phone: row.parse_or_null("phone", 1)?,
                address: row.get(2)?,
                division: row.get(3)?,
                tariff: row.parse("tariff id", 4)?,
                large_household: row.get(5)?,
                opened: row.get(6)?,
                credit_fen: row.get(7)?,
                wrong_proofs: row.get(8)?,
                proof_window_ms: row.get(9)?,
            })
        },
    )
    .await
}

pub(crate) async fn account_count<S: Snapshot>(s: &S) -> Result<u64> {
    single(s, "counting accounts", "SELECT count(*) FROM account", &[], |row| row.get(0)).await
}

/// An account with what rules look at.
pub(crate) async fn account_state<S: Snapshot>(s: &S, id: AccountId) -> Result<Option<AccountState>> {
    let (account, holders, open_bills, newest) =
        tokio::try_join!(account(s, id), holders(s, id), open_bills(s, id), bills(s, id, i64::MAX, 1))?;
    let latest_bill = newest.into_iter().next();
    Ok(account.map(|account| AccountState { account, holders, open_bills, latest_bill }))
}

pub(crate) async fn holders<S: Snapshot>(s: &S, account: AccountId) -> Result<Vec<CustomerId>> {
    s.query(
        "reading holders",
        "SELECT customer FROM holder WHERE account = ?1 ORDER BY since_ms, customer",
        &values![account],
        |row| row.get(0),
    )
    .await
}

/// Who has bound an account; `None` where there is no such account.
pub(crate) async fn holders_of_known<S: Snapshot>(s: &S, id: AccountId) -> Result<Option<Vec<CustomerId>>> {
    let (account, holders) = tokio::try_join!(account(s, id), holders(s, id))?;
    Ok(account.map(|_| holders))
}

/// The GB/T 2260 code of an account's district.
pub(crate) async fn division_of<S: Snapshot>(s: &S, id: AccountId) -> Result<Option<String>> {
    Ok(account(s, id).await?.map(|account| account.division))
}

pub(crate) async fn bind_tries<S: Snapshot>(
    s: &S,
    account: AccountId,
    customer: CustomerId,
) -> Result<Option<BindTries>> {
    one(
        s,
        "reading tries to bind",
        "SELECT tries, window_ms FROM bind_tries WHERE account = ?1 AND customer = ?2",
        &values![account, customer],
        |row| Ok(BindTries { account, customer, tries: row.get(0)?, window_ms: row.get(1)? }),
    )
    .await
}

/// What a bill's head is read from; its detail is column 11.
macro_rules! bill {
    ($rest:literal) => {
        concat!(
            "SELECT month, tariff, tariff_from, energy_wh, amount_fen, paid_fen, issued_on, due_on, late_e6, late_through, \
             late_paid_fen",
            $rest
        )
    };
}

fn bill_head(account: AccountId, row: &Row<'_>) -> Result<BillHead> {
    let through: i64 = row.get(9)?;
    Ok(BillHead {
        id: BillId { account, month: row.get(0)? },
        tariff: row.parse("tariff id", 1)?,
        tariff_from: row.get(2)?,
        energy_wh: row.get::<Wh>(3)?,
        amount_fen: row.get::<Fen>(4)?,
        paid_fen: row.get(5)?,
        issued_on: row.get(6)?,
        due_on: row.get(7)?,
        late_fee: LateFee {
            accrued_e6: row.get(8)?,
            through: if through == 0 { None } else { Some(row.get(9)?) },
            paid_fen: row.get(10)?,
        },
    })
}

fn bill_with_its_detail(account: AccountId, row: &Row<'_>) -> Result<(BillHead, Vec<u8>)> {
    Ok((bill_head(account, row)?, row.get(11)?))
}

/// Bills before a month (as a number), newest first.
pub(crate) async fn bills<S: Snapshot>(
    s: &S,
    account: AccountId,
    before: i64,
    limit: u32,
) -> Result<Vec<BillHead>> {
    s.query(
        "reading bills",
        bill!(" FROM bill WHERE account = ?1 AND month < ?2 ORDER BY month DESC LIMIT ?3"),
        &values![account, before, limit],
        |row| bill_head(account, row),
    )
    .await
}

/// Bills before a month, newest first.
pub(crate) async fn page<S: Snapshot>(
    s: &S,
    id: AccountId,
    before: Option<Month>,
    limit: u32,
) -> Result<Vec<BillHead>> {
    bills(s, id, before.map_or(i64::MAX, month_number), limit).await
}

pub(crate) async fn open_bills<S: Snapshot>(s: &S, account: AccountId) -> Result<Vec<BillHead>> {
    s.query(
        "reading open bills",
        bill!(
            " FROM bill WHERE account = ?1
             AND (paid_fen < amount_fen OR (late_e6 + 500000) / 1000000 > late_paid_fen) ORDER BY month"
        ),
        &values![account],
        |row| bill_head(account, row),
    )
    .await
}

pub(crate) async fn bill_with_detail<S: Snapshot>(s: &S, id: BillId) -> Result<Option<(BillHead, Vec<u8>)>> {
    one(
        s,
        "reading a bill",
        bill!(", detail FROM bill WHERE account = ?1 AND month = ?2"),
        &values![id.account, id.month],
        |row| bill_with_its_detail(id.account, row),
    )
    .await
}

/// The bills of the months from one to another, both included, oldest first, with their details.
pub(crate) async fn bills_between<S: Snapshot>(
    s: &S,
    account: AccountId,
    from: Month,
    to: Month,
) -> Result<Vec<(BillHead, Vec<u8>)>> {
    s.query(
        "reading past bills",
        bill!(", detail FROM bill WHERE account = ?1 AND month BETWEEN ?2 AND ?3 ORDER BY month"),
        &values![account, from, to],
        |row| bill_with_its_detail(account, row),
    )
    .await
}
