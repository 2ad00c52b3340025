//! Payments and mandates.
use domain::money::Fen;
use protocol::{AccountId, CustomerId, MandateId, PaymentId, catalogue::replies::MandateState};
use rusqlite::{Connection, Row, params};

use super::{
    load::{account_from, many, one},
    values::{bits, corrupt, id_from, pack, unpack},
};
use crate::{
    StorageError,
    rows::{Mandate, Payment, Refund, Settled},
};

type Result<T> = std::result::Result<T, StorageError>;

/// So many payments that became credit are looked at; older ones' has long been used.
const MOST_CREDITS: u32 = 200;

/// What a payment is read from.
const PAYMENT: &str = "id, account, customer, amount_fen, provider, created_ms, expires_ms, settled, late_fees, mandate, failure, refunds";

fn payment_row(row: &Row<'_>) -> rusqlite::Result<Result<Payment>> {
    let (id, customer) = (id_from(row.get_ref(0)?.as_blob()?), id_from(row.get_ref(2)?.as_blob()?));
    let (account, amount, provider): (i64, i64, String) = (row.get(1)?, row.get(3)?, row.get(4)?);
    let (created, expires, settled): (i64, i64, Option<Vec<u8>>) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let late_fees: Option<Vec<u8>> = row.get(8)?;
    let mandate = row.get_ref(9)?.as_blob_or_null()?.map(id_from);
    let (failure, refunds): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(10)?, row.get(11)?);
    Ok((|| {
        let mut settled: Option<Settled> = settled.map(|bytes| unpack("payment", &bytes)).transpose()?;
        if let (Some(settled), Some(bytes)) = (&mut settled, late_fees) {
            settled.late_fees = unpack("late fees of a payment", &bytes)?;
        }
        Ok(Payment {
            id: PaymentId::from_bits(id?),
            account: account_from(account)?,
            customer: CustomerId::from_bits(customer?),
            amount_fen: domain::money::Fen(amount),
            provider,
            created_ms: created as u64,
            expires_ms: expires as u64,
            settled,
            mandate: mandate.transpose()?.map(MandateId::from_bits),
            failure: failure.map(|bytes| unpack("why a payment failed", &bytes)).transpose()?,
            refunds: refunds.map_or(Ok(Vec::new()), |bytes| unpack("refunds of a payment", &bytes))?,
        })
    })())
}

pub(crate) fn payment(c: &Connection, id: PaymentId) -> Result<Option<Payment>> {
    let sql = format!("SELECT {PAYMENT} FROM payment WHERE id = ?1");
    one(c, "reading a payment", &sql, [bits(id.bits())], payment_row)
}

/// An account's payments ordered before a time (Unix ms), newest first; only those of `customer`, where one is named.
pub(crate) fn payments(
    c: &Connection,
    account: AccountId,
    customer: Option<CustomerId>,
    before_ms: Option<u64>,
    limit: u32,
) -> Result<Vec<Payment>> {
    let sql = format!(
        "SELECT {PAYMENT} FROM payment WHERE account = ?1 AND created_ms < ?2 AND (?3 IS NULL OR customer = ?3)
         ORDER BY created_ms DESC LIMIT ?4"
    );
    let before = before_ms.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
    let customer = customer.map(|id| bits(id.bits()));
    many(c, "reading payments", &sql, params![account.number() as i64, before, customer, limit], payment_row)
}

pub(super) fn provider_transaction(
    c: &Connection,
    provider: &str,
    transaction: &str,
) -> Result<Option<PaymentId>> {
    one(
        c,
        "reading a provider's transaction",
        "SELECT payment FROM provider_transaction WHERE provider = ?1 AND transaction_id = ?2",
        [provider, transaction],
        |row| Ok(id_from(row.get_ref(0)?.as_blob()?).map(PaymentId::from_bits)),
    )
}

/// The payments of an account that became credit, newest first.
pub(crate) fn credits(c: &Connection, account: AccountId) -> Result<Vec<Payment>> {
    let sql = format!(
        "SELECT {PAYMENT} FROM payment WHERE account = ?1 AND credit_fen > 0 ORDER BY created_ms DESC, id DESC LIMIT {MOST_CREDITS}"
    );
    many(c, "reading payments that became credit", &sql, [account.number() as i64], payment_row)
}

/// Payments with a refund of which the provider is to be told again by `now_ms`, longest due first: which and when.
pub(crate) fn refunds_due(c: &Connection, now_ms: u64, limit: usize) -> Result<Vec<(PaymentId, u64)>> {
    many(
        c,
        "looking for refunds that are due",
        "SELECT id, refund_due_ms FROM payment WHERE refund_due_ms <= ?1 ORDER BY refund_due_ms LIMIT ?2",
        params![now_ms as i64, limit as i64],
        |row| {
            let (id, at): (_, i64) = (id_from(row.get_ref(0)?.as_blob()?), row.get(1)?);
            Ok(id.map(|id| (PaymentId::from_bits(id), at as u64)))
        },
    )
}

/// An account's mandate, the newest.
pub(crate) fn mandate(c: &Connection, account: AccountId) -> Result<Option<Mandate>> {
    one(
        c,
        "reading a mandate",
        "SELECT id, customer, provider, limit_fen, state, agreement, created_ms, expires_ms, ended_ms, due_ms, running,
           tries, last_failure, told FROM mandate WHERE account = ?1",
        [account.number() as i64],
        |row| {
            let (id, customer) = (id_from(row.get_ref(0)?.as_blob()?), id_from(row.get_ref(1)?.as_blob()?));
            let running = row.get_ref(10)?.as_blob_or_null()?.map(id_from);
            let (state, last_failure): (String, Option<Vec<u8>>) = (row.get(4)?, row.get(12)?);
            let at = |column: usize| row.get::<_, Option<i64>>(column).map(|at| at.map(|at| at as u64));
            let (provider, agreement, limit, tries) = (row.get(2)?, row.get(5)?, row.get(3)?, row.get(11)?);
            let told = row.get(13)?;
            let (created, expires) = (at(6)?.unwrap_or(0), at(7)?.unwrap_or(0));
            let (ended_ms, due_ms) = (at(8)?, at(9)?);
            Ok((|| {
                let state = STATES.into_iter().find(|known| state_name(*known) == state);
                Ok(Mandate {
                    id: MandateId::from_bits(id?),
                    account,
                    customer: CustomerId::from_bits(customer?),
                    provider,
                    limit_fen: Fen(limit),
                    state: state.ok_or_else(|| corrupt("mandate", "an unknown state"))?,
                    agreement,
                    created_ms: created,
                    expires_ms: expires,
                    ended_ms,
                    due_ms,
                    running: running.transpose()?.map(PaymentId::from_bits),
                    tries,
                    told,
                    last_failure: last_failure.map(|b| unpack("why a debit failed", &b)).transpose()?,
                })
            })())
        },
    )
}

/// Mandates that the schedule has to look at by `now_ms`, longest due first: whose and when.
pub(crate) fn mandates_due(c: &Connection, now_ms: u64, limit: usize) -> Result<Vec<(AccountId, u64)>> {
    many(
        c,
        "looking for mandates that are due",
        "SELECT account, due_ms FROM mandate WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2",
        params![now_ms as i64, limit as i64],
        |row| {
            let (account, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(account_from(account).map(|account| (account, at as u64)))
        },
    )
}

pub(super) fn save_payment(c: &Connection, p: &Payment) -> rusqlite::Result<usize> {
    c.prepare_cached(
        "INSERT OR REPLACE INTO payment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        bits(p.id.bits()),
        p.account.number() as i64,
        bits(p.customer.bits()),
        p.amount_fen.0,
        p.provider,
        p.created_ms as i64,
        p.expires_ms as i64,
        p.settled.as_ref().map(pack),
        p.settled.as_ref().and_then(late_fees),
        p.mandate.map(|id| bits(id.bits())),
        p.failure.as_ref().map(pack),
        (!p.refunds.is_empty()).then(|| pack(&p.refunds)),
        Payment::refund_due_ms(&p.refunds).map(|at| at as i64),
        p.settled.as_ref().map_or(0, |settled| settled.credit_fen.0)
    ])
}

pub(super) fn save_settled(c: &Connection, id: PaymentId, settled: &Settled) -> rusqlite::Result<usize> {
    c.prepare_cached("UPDATE payment SET settled = ?2, late_fees = ?3, credit_fen = ?4 WHERE id = ?1")?
        .execute(params![bits(id.bits()), pack(settled), late_fees(settled), settled.credit_fen.0])
}

pub(super) fn save_refunds(c: &Connection, id: PaymentId, refunds: &[Refund]) -> rusqlite::Result<usize> {
    c.prepare_cached("UPDATE payment SET refunds = ?2, refund_due_ms = ?3 WHERE id = ?1")?.execute(params![
        bits(id.bits()),
        pack(&refunds),
        Payment::refund_due_ms(refunds).map(|at| at as i64)
    ])
}

pub(super) fn save_mandate(c: &Connection, m: &Mandate) -> rusqlite::Result<usize> {
    c.prepare_cached(
        "INSERT OR REPLACE INTO mandate VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        m.account.number() as i64,
        bits(m.id.bits()),
        bits(m.customer.bits()),
        m.provider,
        m.limit_fen.0,
        state_name(m.state),
        m.agreement,
        m.created_ms as i64,
        m.expires_ms as i64,
        m.ended_ms.map(|at| at as i64),
        m.due_ms.map(|at| at as i64),
        m.running.map(|id| bits(id.bits())),
        m.tries,
        m.told,
        m.last_failure.as_ref().map(pack)
    ])
}

fn late_fees(settled: &Settled) -> Option<Vec<u8>> {
    (!settled.late_fees.is_empty()).then(|| pack(&settled.late_fees))
}

const STATES: [MandateState; 6] = [
    MandateState::Unsigned,
    MandateState::Active,
    MandateState::NotSigned,
    MandateState::EndedHere,
    MandateState::EndedThere,
    MandateState::EndedUnbound,
];

/// How a mandate's state is written.
fn state_name(state: MandateState) -> &'static str {
    match state {
        MandateState::Unsigned => "unsigned",
        MandateState::Active => "active",
        MandateState::NotSigned => "not signed",
        MandateState::EndedHere => "ended here",
        MandateState::EndedThere => "ended there",
        MandateState::EndedUnbound => "ended unbound",
    }
}
