//! Payments and mandates.
use protocol::{AccountId, CustomerId, PaymentId, catalogue::replies::MandateState};

use super::{
    Result, Row, Snapshot, one, pack,
    save::{Sink, upsert},
    value::values,
};
use crate::rows::{Mandate, Payment, Refund, Settled};

/// So many payments that became credit are looked at; older ones' has long been used.
const MOST_CREDITS: u32 = 200;

/// What a payment is read from.
macro_rules! payment {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, customer, amount_fen, provider, created_ms, expires_ms, settled, late_fees, mandate, \
             failure, refunds FROM payment WHERE ",
            $rest
        )
    };
}

fn payment_row(row: &Row<'_>) -> Result<Payment> {
    let settled = match row.unpack_or_null("payment", 7)? {
        None => None,
        Some((paid_fen, paid_ms, transactions, bills, credit_fen)) => {
            let late_fees = row.unpack_or_null("late fees of a payment", 8)?.unwrap_or_default();
            Some(Settled { paid_fen, paid_ms, transactions, bills, credit_fen, late_fees })
        }
    };
    Ok(Payment {
        id: row.get(0)?,
        account: row.get(1)?,
        customer: row.get(2)?,
        amount_fen: row.get(3)?,
        provider: row.get(4)?,
        created_ms: row.get(5)?,
        expires_ms: row.get(6)?,
        settled,
        mandate: row.get(9)?,
        failure: row.unpack_or_null("why a payment failed", 10)?,
        refunds: row.unpack_or_null("refunds of a payment", 11)?.unwrap_or_default(),
    })
}

pub(crate) async fn payment<S: Snapshot>(s: &S, id: PaymentId) -> Result<Option<Payment>> {
    one(s, "reading a payment", payment!("id = ?1"), &values![id], payment_row).await
}

/// An account's payments ordered before a time (Unix ms), newest first; only those of `customer`, where one is named.
pub(crate) async fn payments<S: Snapshot>(
    s: &S,
    account: AccountId,
    customer: Option<CustomerId>,
    before_ms: Option<u64>,
    limit: u32,
) -> Result<Vec<Payment>> {
    let before = before_ms.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
    s.query(
        "reading payments",
        payment!(
            "account = ?1 AND created_ms < ?2 AND (customer = ?3 OR ?3 IS NULL) ORDER BY created_ms DESC LIMIT ?4"
        ),
        &values![account, before, customer, limit],
        payment_row,
    )
    .await
}

pub(crate) async fn provider_transaction<S: Snapshot>(
    s: &S,
    provider: &str,
    transaction: &str,
) -> Result<Option<PaymentId>> {
    one(
        s,
        "reading a provider's transaction",
        "SELECT payment FROM provider_transaction WHERE provider = ?1 AND transaction_id = ?2",
        &values![provider, transaction],
        |row| row.get(0),
    )
    .await
}

/// The payments of an account that became credit, newest first.
pub(crate) async fn credits<S: Snapshot>(s: &S, account: AccountId) -> Result<Vec<Payment>> {
    s.query(
        "reading payments that became credit",
        payment!("account = ?1 AND credit_fen > 0 ORDER BY created_ms DESC, id DESC LIMIT ?2"),
        &values![account, MOST_CREDITS],
        payment_row,
    )
    .await
}

/// Payments with a refund of which the provider is to be told again by `now_ms`, longest due first: which and when.
pub(crate) async fn refunds_due<S: Snapshot>(
    s: &S,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<(PaymentId, u64)>> {
    s.query(
        "looking for refunds that are due",
        "SELECT id, refund_due_ms FROM payment WHERE refund_due_ms <= ?1 ORDER BY refund_due_ms LIMIT ?2",
        &values![now_ms, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .await
}

/// An account's mandate, the newest.
pub(crate) async fn mandate<S: Snapshot>(s: &S, account: AccountId) -> Result<Option<Mandate>> {
    one(
        s,
        "reading a mandate",
        "SELECT id, customer, provider, limit_fen, state, agreement, created_ms, expires_ms, ended_ms, due_ms, running,
           tries, told, last_failure FROM mandate WHERE account = ?1",
        &values![account],
        |row| {
            Ok(Mandate {
                account,
                id: row.get(0)?,
                customer: row.get(1)?,
                provider: row.get(2)?,
                limit_fen: row.get(3)?,
                state: row.named("mandate", 4, &STATES, state_name)?,
                agreement: row.get(5)?,
                created_ms: row.get(6)?,
                expires_ms: row.get(7)?,
                ended_ms: row.get(8)?,
                due_ms: row.get(9)?,
                running: row.get(10)?,
                tries: row.get(11)?,
                told: row.get(12)?,
                last_failure: row.unpack_or_null("why a debit failed", 13)?,
            })
        },
    )
    .await
}

/// Mandates that the schedule has to look at by `now_ms`, longest due first: whose and when.
pub(crate) async fn mandates_due<S: Snapshot>(
    s: &S,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<(AccountId, u64)>> {
    s.query(
        "looking for mandates that are due",
        "SELECT account, due_ms FROM mandate WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2",
        &values![now_ms, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .await
}

pub(super) fn save_payment(run: &mut Sink<'_>, p: &Payment) -> Result<()> {
    run(
        upsert!(
            "payment",
            (id),
            (
                account,
                customer,
                amount_fen,
                provider,
                created_ms,
                expires_ms,
                settled,
                late_fees,
                mandate,
                failure,
                refunds,
                refund_due_ms,
                credit_fen
            )
        ),
        &values![
            p.id,
            p.account,
            p.customer,
            p.amount_fen,
            &p.provider,
            p.created_ms,
            p.expires_ms,
            p.settled.as_ref().map(packed),
            p.settled.as_ref().and_then(late_fees),
            p.mandate,
            p.failure.as_ref().map(pack),
            (!p.refunds.is_empty()).then(|| pack(&p.refunds)),
            Payment::refund_due_ms(&p.refunds),
            p.settled.as_ref().map_or(0, |settled| settled.credit_fen.0),
        ],
    )
}

pub(super) fn save_settled(run: &mut Sink<'_>, id: PaymentId, settled: &Settled) -> Result<()> {
    run(
        "UPDATE payment SET settled = ?2, late_fees = ?3, credit_fen = ?4 WHERE id = ?1",
        &values![id, packed(settled), late_fees(settled), settled.credit_fen],
    )
}

pub(super) fn save_refunds(run: &mut Sink<'_>, id: PaymentId, refunds: &[Refund]) -> Result<()> {
    run(
        "UPDATE payment SET refunds = ?2, refund_due_ms = ?3 WHERE id = ?1",
        &values![id, pack(&refunds), Payment::refund_due_ms(refunds)],
    )
}

pub(super) fn save_mandate(run: &mut Sink<'_>, m: &Mandate) -> Result<()> {
    run(
        upsert!(
            "mandate",
            (account),
            (
                id,
                customer,
                provider,
                limit_fen,
                state,
                agreement,
                created_ms,
                expires_ms,
                ended_ms,
                due_ms,
                running,
                tries,
                told,
                last_failure
            )
        ),
        &values![
            m.account,
            m.id,
            m.customer,
            &m.provider,
            m.limit_fen,
            state_name(m.state),
            &m.agreement,
            m.created_ms,
            m.expires_ms,
            m.ended_ms,
            m.due_ms,
            m.running,
            m.tries,
            m.told,
            m.last_failure.as_ref().map(pack),
        ],
    )
}

/// What was paid, but for late fees, which have a column of their own.
fn packed(settled: &Settled) -> Vec<u8> {
    let Settled { paid_fen, paid_ms, transactions, bills, credit_fen, late_fees: _ } = settled;
    pack(&(paid_fen, paid_ms, transactions, bills, credit_fen))
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
