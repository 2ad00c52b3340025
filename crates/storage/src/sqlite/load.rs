//! Reads rows into a working set, and the readers' rows.
use domain::late_fee::LateFee;
use protocol::{AccountId, BillId, ChallengeId, Channel, CustomerId, SessionId, catalogue::phone_identity};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    exports, payments, requests,
    values::{bits, corrupt, date_from, id_from, month_from, parse, unpack},
};
use crate::{
    StorageError,
    rows::{
        Account, BillHead, BindTries, Challenge, Customer, Identity, Payee, Person, Session, Supply,
        SupplyState,
    },
    working_set::{AccountState, Key, WorkingSet},
};

type Result<T> = std::result::Result<T, StorageError>;

/// Loads what `key` asks for.
pub(crate) fn load(c: &Connection, key: &Key, into: &mut WorkingSet) -> Result<()> {
    match key {
        Key::Account(id) => into.fill_account(*id, account_state(c, *id)?),
        Key::Bills(id) => {
            let mut bills = bills(c, *id, i64::MAX, u32::MAX)?;
            bills.reverse();
            into.fill_bills(*id, Some(bills));
        }
        Key::BindTries(account, customer) => {
            into.fill_bind_tries((*account, *customer), bind_tries(c, *account, *customer)?);
        }
        Key::Payees(customer) => into.fill_payees(*customer, Some(payees(c, *customer)?)),
        Key::Person(customer) => into.fill_person(*customer, person(c, *customer)?),
        Key::Sessions(customer) => into.fill_sessions_of(*customer, Some(sessions_of(c, *customer)?)),
        Key::Supply(id) => into.fill_supply(*id, supply(c, *id)?),
        Key::Identity(identity) => into.fill_identity(identity.clone(), self::identity(c, identity)?),
        Key::Challenge(id) => into.fill_challenge(*id, challenge(c, *id)?),
        Key::Session(id) => into.fill_session(*id, session(c, *id)?),
        Key::Customer(id) => into.fill_customer(*id, Some(customer(c, *id)?)),
        Key::Payment(id) => into.fill_payment(*id, payments::payment(c, *id)?),
        Key::Credits(account) => into.fill_credits(*account, Some(payments::credits(c, *account)?)),
        Key::Mandate(account) => into.fill_mandate(*account, payments::mandate(c, *account)?),
        Key::ProviderTransaction(provider, transaction) => {
            let found = payments::provider_transaction(c, provider, transaction)?;
            into.fill_transaction((provider.clone(), transaction.clone()), found);
        }
        Key::Request(id) => into.fill_request(*id, requests::request(c, *id)?),
        Key::File(id) => into.fill_file(*id, requests::file(c, *id)?),
        Key::RequestFiles(id) => into.fill_request_files(*id, Some(requests::files(c, *id)?)),
        Key::Export(id) => into.fill_export(*id, exports::export(c, *id)?),
        Key::Exports(id) => into.fill_account_exports(*id, Some(exports::of_account(c, *id)?)),
        Key::OpenRequests(id) => into.fill_open_requests(*id, Some(requests::open_count(c, *id)?)),
        Key::Division(code) => into.fill_division(code.clone(), Some(requests::division(c, code)?)),
        Key::OutageReports(outage, after) => {
            let found = requests::outage_reports(c, *outage, *after)?;
            into.fill_outage_reports((*outage, *after), Some(found));
        }
    }
    Ok(())
}

/// Runs a query for at most one row.
pub(super) fn one<T>(
    c: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<Result<T>>,
) -> Result<Option<T>> {
    let query = || c.prepare_cached(sql)?.query_row(params, read).optional();
    query().map_err(StorageError::database(doing))?.transpose()
}

/// Runs a query for many rows.
pub(super) fn many<T>(
    c: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<T>>,
) -> Result<Vec<T>> {
    let query = || {
        let mut statement = c.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    };
    query().map_err(StorageError::database(doing))?.into_iter().collect()
}

pub(crate) fn account(c: &Connection, id: AccountId) -> Result<Option<Account>> {
    one(
        c,
        "reading an account",
        "SELECT holder, phone, address, division, tariff, large_household, opened, credit_fen, wrong_proofs, proof_window_ms
         FROM account WHERE id = ?1",
        [id.number() as i64],
        |row| {
            let phone: Option<String> = row.get(1)?;
            let (tariff, opened): (String, i64) = (row.get(4)?, row.get(6)?);
            let rest = Account {
                id,
                holder: row.get(0)?,
                phone: None,
                address: row.get(2)?,
                division: row.get(3)?,
                tariff: match parse("tariff id", &tariff) {
                    Ok(tariff) => tariff,
                    Err(e) => return Ok(Err(e)),
                },
                large_household: row.get(5)?,
                opened: match month_from(opened) {
                    Ok(opened) => opened,
                    Err(e) => return Ok(Err(e)),
                },
                credit_fen: domain::money::Fen(row.get(7)?),
                wrong_proofs: row.get(8)?,
                proof_window_ms: row.get::<_, i64>(9)? as u64,
            };
            Ok(phone.map(|p| parse("phone", &p)).transpose().map(|phone| Account { phone, ..rest }))
        },
    )
}

/// How an account's supply stands; `None` where it was never cut off.
pub(crate) fn supply(c: &Connection, account: AccountId) -> Result<Option<Supply>> {
    one(
        c,
        "reading an account's supply",
        "SELECT state, since_ms, reconnect_at_ms FROM supply WHERE account = ?1",
        [account.number() as i64],
        |row| {
            let (state, since, at): (String, i64, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let states = [SupplyState::Connected, SupplyState::Cut, SupplyState::Reconnecting];
            let state = states.into_iter().find(|known| super::save::supply_state(*known) == state);
            Ok(state.ok_or_else(|| corrupt("supply", "an unknown state")).map(|state| Supply {
                account,
                state,
                since_ms: since as u64,
                reconnect_at_ms: at.map(|at| at as u64),
            }))
        },
    )
}

/// Reconnections that are to be completed by `now_ms`, longest due first: account and when.
pub(crate) fn supplies_due(c: &Connection, now_ms: u64, limit: usize) -> Result<Vec<(AccountId, u64)>> {
    many(
        c,
        "looking for reconnections that are due",
        "SELECT account, reconnect_at_ms FROM supply WHERE reconnect_at_ms <= ?1 ORDER BY reconnect_at_ms LIMIT ?2",
        params![now_ms as i64, limit as i64],
        |row| {
            let (account, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(account_from(account).map(|account| (account, at as u64)))
        },
    )
}

const BILL: &str = "month, tariff, tariff_from, energy_wh, amount_fen, paid_fen, issued_on, due_on, late_e6, late_through, late_paid_fen";

pub(super) fn bill_head(account: AccountId, row: &Row<'_>) -> rusqlite::Result<Result<BillHead>> {
    let (month, tariff, from): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (energy, amount, paid): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let (issued, due): (i64, i64) = (row.get(6)?, row.get(7)?);
    let (accrued_e6, through, late_paid): (i64, i64, i64) = (row.get(8)?, row.get(9)?, row.get(10)?);
    Ok((|| {
        Ok(BillHead {
            id: BillId { account, month: month_from(month)? },
            tariff: parse("tariff id", &tariff)?,
            tariff_from: date_from(from)?,
            energy_wh: domain::money::Wh(energy),
            amount_fen: domain::money::Fen(amount),
            paid_fen: domain::money::Fen(paid),
            issued_on: date_from(issued)?,
            due_on: date_from(due)?,
            late_fee: LateFee {
                accrued_e6,
                through: (through != 0).then(|| date_from(through)).transpose()?,
                paid_fen: domain::money::Fen(late_paid),
            },
        })
    })())
}

/// Bills before a month (as a number), newest first.
pub(super) fn bills(c: &Connection, account: AccountId, before: i64, limit: u32) -> Result<Vec<BillHead>> {
    many(
        c,
        "reading bills",
        &format!("SELECT {BILL} FROM bill WHERE account = ?1 AND month < ?2 ORDER BY month DESC LIMIT ?3"),
        params![account.number() as i64, before, limit],
        |row| bill_head(account, row),
    )
}

pub(super) fn open_bills(c: &Connection, account: AccountId) -> Result<Vec<BillHead>> {
    many(
        c,
        "reading open bills",
        &format!(
            "SELECT {BILL} FROM bill WHERE account = ?1
             AND (paid_fen < amount_fen OR (late_e6 + 500000) / 1000000 > late_paid_fen) ORDER BY month"
        ),
        [account.number() as i64],
        |row| bill_head(account, row),
    )
}

pub(super) fn bill_with_detail(c: &Connection, id: BillId) -> Result<Option<(BillHead, Vec<u8>)>> {
    one(
        c,
        "reading a bill",
        &format!("SELECT {BILL}, detail FROM bill WHERE account = ?1 AND month = ?2"),
        params![id.account.number() as i64, super::values::month_number(id.month)],
        |row| {
            let detail: Vec<u8> = row.get("detail")?;
            Ok(bill_head(id.account, row)?.map(|head| (head, detail)))
        },
    )
}

/// The bills of the months from one to another, both included, oldest first, with their details.
pub(super) fn bills_between(
    c: &Connection,
    account: AccountId,
    from: domain::calendar::Month,
    to: domain::calendar::Month,
) -> Result<Vec<(BillHead, Vec<u8>)>> {
    many(
        c,
        "reading past bills",
        &format!(
            "SELECT {BILL}, detail FROM bill WHERE account = ?1 AND month BETWEEN ?2 AND ?3 ORDER BY month"
        ),
        params![account.number() as i64, super::values::month_number(from), super::values::month_number(to)],
        |row| {
            let detail: Vec<u8> = row.get("detail")?;
            Ok(bill_head(account, row)?.map(|head| (head, detail)))
        },
    )
}

pub(crate) fn holders(c: &Connection, account: AccountId) -> Result<Vec<CustomerId>> {
    many(
        c,
        "reading holders",
        "SELECT customer FROM holder WHERE account = ?1 ORDER BY since_ms, customer",
        [account.number() as i64],
        |row| Ok(id_from(row.get_ref(0)?.as_blob()?).map(CustomerId::from_bits)),
    )
}

fn account_state(c: &Connection, id: AccountId) -> Result<Option<AccountState>> {
    let Some(account) = account(c, id)? else { return Ok(None) };
    let latest_bill = bills(c, id, i64::MAX, 1)?.pop();
    Ok(Some(AccountState { account, holders: holders(c, id)?, open_bills: open_bills(c, id)?, latest_bill }))
}

fn bind_tries(c: &Connection, account: AccountId, customer: CustomerId) -> Result<Option<BindTries>> {
    one(
        c,
        "reading tries to bind",
        "SELECT tries, window_ms FROM bind_tries WHERE account = ?1 AND customer = ?2",
        params![account.number() as i64, bits(customer.bits())],
        |row| {
            let (tries, window): (u32, i64) = (row.get(0)?, row.get(1)?);
            Ok(Ok(BindTries { account, customer, tries, window_ms: window as u64 }))
        },
    )
}

/// The accounts of others that a customer has asked about, newest first.
pub(crate) fn payees(c: &Connection, customer: CustomerId) -> Result<Vec<Payee>> {
    many(
        c,
        "reading payees",
        "SELECT account, asked_ms FROM payee WHERE customer = ?1 ORDER BY asked_ms DESC LIMIT 512",
        [bits(customer.bits())],
        |row| {
            let (account, asked): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(account_from(account).map(|account| Payee { account, asked_ms: asked as u64 }))
        },
    )
}

fn identity(c: &Connection, identity: &str) -> Result<Option<Identity>> {
    one(
        c,
        "reading an identity",
        "SELECT customer, last_code_ms, codes, code_window_ms FROM identity WHERE identity = ?1",
        [identity],
        |row| {
            let customer = match row.get_ref(0)?.as_blob_or_null()?.map(id_from).transpose() {
                Ok(customer) => customer.map(CustomerId::from_bits),
                Err(e) => return Ok(Err(e)),
            };
            Ok(Ok(Identity {
                identity: identity.to_owned(),
                customer,
                last_code_ms: row.get::<_, i64>(1)? as u64,
                codes: row.get(2)?,
                code_window_ms: row.get::<_, i64>(3)? as u64,
            }))
        },
    )
}

/// The customer that a phone number is, if it has been verified.
pub(crate) fn customer_of_phone(
    c: &Connection,
    phone: &protocol::bounds::Phone,
) -> Result<Option<CustomerId>> {
    Ok(identity(c, &phone_identity(phone))?.and_then(|identity| identity.customer))
}

fn challenge(c: &Connection, id: ChallengeId) -> Result<Option<Challenge>> {
    one(
        c,
        "reading a challenge",
        "SELECT phone, purpose, account, expires_ms, attempts, used FROM challenge WHERE id = ?1",
        [bits(id.bits())],
        |row| {
            let (phone, purpose): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let (account, expires): (Option<i64>, i64) = (row.get(2)?, row.get(3)?);
            let (attempts, used): (u32, bool) = (row.get(4)?, row.get(5)?);
            Ok((|| {
                Ok(Challenge {
                    id,
                    phone: parse("phone", &phone)?,
                    purpose: unpack("code purpose", &purpose)?,
                    account: account.map(account_from).transpose()?,
                    expires_ms: expires as u64,
                    attempts,
                    used,
                })
            })())
        },
    )
}

pub(super) fn account_from(number: i64) -> Result<AccountId> {
    AccountId::from_number(number as u64).map_err(|e| corrupt("account number", e.to_string()))
}

const SESSION: &str = "id, customer, generation, expires_ms, ended, begun_ms, used_ms, channel";

fn session_row(row: &Row<'_>) -> rusqlite::Result<Result<Session>> {
    let (id, customer) = (id_from(row.get_ref(0)?.as_blob()?), id_from(row.get_ref(1)?.as_blob()?));
    let (generation, expires, ended): (u32, i64, bool) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (begun, used, channel): (i64, i64, String) = (row.get(5)?, row.get(6)?, row.get(7)?);
    Ok((|| {
        Ok(Session {
            id: SessionId::from_bits(id?),
            customer: CustomerId::from_bits(customer?),
            generation,
            expires_ms: expires as u64,
            ended,
            begun_ms: begun as u64,
            used_ms: used as u64,
            channel: Channel::ALL.into_iter().find(|known| known.as_str() == channel),
        })
    })())
}

pub(crate) fn session(c: &Connection, id: SessionId) -> Result<Option<Session>> {
    let sql = format!("SELECT {SESSION} FROM session WHERE id = ?1");
    one(c, "reading a session", &sql, [bits(id.bits())], session_row)
}

/// A customer's sessions that have not been ended, newest first. They are in the customer's own shard.
pub(crate) fn sessions_of(c: &Connection, customer: CustomerId) -> Result<Vec<Session>> {
    let sql = format!(
        "SELECT {SESSION} FROM session WHERE customer = ?1 AND ended = 0 ORDER BY begun_ms DESC, id LIMIT 64"
    );
    many(c, "reading a customer's sessions", &sql, [bits(customer.bits())], session_row)
}

/// What is held about a customer.
pub(crate) fn person(c: &Connection, customer: CustomerId) -> Result<Option<Person>> {
    one(
        c,
        "reading a person",
        "SELECT phone, since_ms, name, language, elder, notices, last_code_ms, codes, code_window_ms, gone_ms
         FROM person WHERE customer = ?1",
        [bits(customer.bits())],
        |row| {
            let (phone, since, name): (Option<String>, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (language, elder): (Option<Vec<u8>>, bool) = (row.get(3)?, row.get(4)?);
            let notices: Vec<u8> = row.get(5)?;
            let (last, codes, window): (i64, u32, i64) = (row.get(6)?, row.get(7)?, row.get(8)?);
            let gone: Option<i64> = row.get(9)?;
            Ok((|| {
                Ok(Person {
                    customer,
                    phone: phone.map(|phone| parse("phone", &phone)).transpose()?,
                    since_ms: since as u64,
                    name,
                    language: language.map(|bytes| unpack("language", &bytes)).transpose()?,
                    elder,
                    notices: unpack("notices", &notices)?,
                    last_code_ms: last as u64,
                    codes,
                    code_window_ms: window as u64,
                    gone_ms: gone.map(|ms| ms as u64),
                })
            })())
        },
    )
}

pub(crate) fn customer(c: &Connection, id: CustomerId) -> Result<Customer> {
    let accounts = many(
        c,
        "reading a customer's accounts",
        "SELECT account, since_ms FROM customer_account WHERE customer = ?1 ORDER BY since_ms, account LIMIT 64",
        [bits(id.bits())],
        |row| {
            let (account, since): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(account_from(account).map(|account| (account, since as u64)))
        },
    )?;
    Ok(Customer { accounts })
}
