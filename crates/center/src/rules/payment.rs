//! Payments: ordered by the customer, settled by the provider's signed message, booked once.
use domain::ledger::{self, LedgerAccount, ProviderCode};
use jiff::civil::Date;
use protocol::{
    Code, PaymentId, Problem, Reply,
    catalogue::{replies, requests},
    payment::PayOrder,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Account, Mandate, Payment, Put, Settled, Supply},
    working_set::{AccountState, WorkingSet},
};

use super::{
    Decided, Rules,
    arrears::{self, Arrears},
    mandate,
    request::told,
    supply,
};
use crate::{day::day_of, operation::Settle};

/// How long an order can be paid, in seconds. Money that comes later is taken all the same.
const ORDER_TTL_S: u64 = 30 * 60;
/// The most transactions one payment's receipt lists; later ones become credit with their own postings all the same.
const MOST_TRANSACTIONS: usize = 32;

pub(super) fn create(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::PaymentCreate,
) -> Decided {
    let not_found = || Decision::rejected(Problem::not_found("account"));
    let Some(customer) = message.origin.customer else { return Ok(not_found()) };
    // Whoever may, may pay for it: that they have bound the account, or looked whose it is, the node has seen.
    if rows.account(&asked.account)?.is_none() {
        return Ok(not_found());
    }
    let Some(provider) = rules.provider(asked.provider.as_str()) else {
        let why = format!("There is no payment provider {}. Nothing was ordered.", asked.provider);
        return Ok(Decision::rejected(Problem::new(Code::InvalidRequest, why)));
    };
    let now_ms = message.origin.accepted_ms;
    let id = PaymentId::from_bits(message.operation.bits());
    if rows.payment(&id)?.is_some() {
        // Its result has been forgotten, the payment has not: it is not ordered anew over what became of it.
        let why = "This Idempotency-Key ordered a payment before. Use a new key for a new payment.";
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    let payment = Payment {
        id,
        account: asked.account,
        customer,
        amount_fen: asked.amount_fen.fen(),
        provider: asked.provider.to_string(),
        created_ms: now_ms,
        expires_ms: now_ms + ORDER_TTL_S * 1000,
        mandate: None,
        failure: None,
        settled: None,
        refunds: Vec::new(),
    };
    let reply = replies::PaymentCreate {
        payment: id,
        pay_url: provider.pay_url(&payment, &rules.public_url).unwrap_or_default(),
        expires_s: payment.expires_ms / 1000,
    };
    Ok(Decision::done(Reply::PaymentCreate(reply), vec![Put::Payment(payment)]))
}

impl crate::config::Provider {
    /// The provider's page for a payment, with our signed order; `None` where its amount cannot be ordered.
    pub fn pay_url(&self, payment: &Payment, public_url: &str) -> Option<String> {
        let order = PayOrder {
            order: payment.id,
            amount_fen: payment.amount_fen.0.try_into().ok()?,
            account: payment.account,
            expires_s: payment.expires_ms / 1000,
            return_url: format!("{public_url}/payments/{}", payment.id),
            notify_url: self.notify_url(public_url),
        };
        Some(order.to_url(&self.pay_url, self.secret.bytes()))
    }
}

pub(super) fn settle(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &Settle) -> Decided {
    let transaction = (asked.provider.clone(), asked.transaction.clone());
    if let Some(booked) = rows.transaction(&transaction)? {
        if *booked == asked.payment {
            return Ok(taken(*booked, true, Vec::new()));
        }
        let why = "This transaction settled another payment. Nothing was booked; a person looks at it.";
        return Ok(Decision::rejected_for_attention(Problem::new(Code::Conflict, why)));
    }
    let Some(payment) = rows.payment(&asked.payment)?.filter(|p| p.provider == asked.provider) else {
        return Ok(Decision::rejected_for_attention(Problem::not_found("payment")));
    };
    if payment.amount_fen != asked.amount_fen {
        let why = format!(
            "{} fen were ordered, {} fen are said to be paid. Nothing was booked.",
            payment.amount_fen.0, asked.amount_fen.0
        );
        return Ok(Decision::rejected_for_attention(Problem::new(Code::AmountMismatch, why)));
    }
    let Some(state) = rows.account(&payment.account)? else {
        return Ok(Decision::rejected(Problem::not_found("account")));
    };
    let about = About {
        state,
        supply: rows.supply(&payment.account)?,
        mandate: if payment.mandate.is_some() { rows.mandate(&payment.account)? } else { None },
    };
    match book(rules, &about, payment, message, asked) {
        Ok(puts) => {
            let body = replies::NoticeBody::Payment {
                payment: payment.id,
                account: payment.account,
                amount_fen: asked.amount_fen,
            };
            let children = vec![told(payment.customer, message.origin.accepted_ms, body)];
            Ok(Decision { children, ..taken(payment.id, false, puts) })
        }
        Err(error) => {
            let why = format!("The ledger refuses it: {error}.");
            Ok(Decision::rejected_for_attention(Problem::new(Code::OperationFailed, why)))
        }
    }
}

fn taken(payment: PaymentId, duplicate: bool, puts: Vec<Put>) -> Decision {
    Decision::done(
        Reply::PaymentCallback(replies::PaymentCallback { payment: Some(payment), duplicate }),
        puts,
    )
}

/// The day as of which a payment pays late fees: the day it was ordered, so that the amount shown to the customer closes
/// the bill whenever the provider's word comes; where it was paid after its time, the day it was paid.
fn day_paid(payment: &Payment, asked: &Settle) -> Date {
    let paid_ms = asked.paid_s.saturating_mul(1000);
    day_of(if paid_ms <= payment.expires_ms { payment.created_ms } else { paid_ms })
}

/// What a debit of a payment changes.
struct About<'a> {
    state: &'a AccountState,
    supply: Option<&'a Supply>,
    /// The mandate, where the payment was ordered under one.
    mandate: Option<&'a Mandate>,
}

/// What a debit writes. The first of a payment pays bills, oldest first; any further one is credit, whole.
fn book(
    rules: &Rules,
    About { state, supply, mandate }: &About<'_>,
    payment: &Payment,
    message: &NewMessage,
    asked: &Settle,
) -> Result<Vec<Put>, ledger::LedgerError> {
    let day = day_paid(payment, asked);
    let arrears = Arrears::of(&state.open_bills, day, rules.late_fee);
    let open = if payment.settled.is_none() { arrears.items() } else { Vec::new() };
    let provider: ProviderCode = asked.provider.parse()?;
    let source = LedgerAccount::ProviderClearing { provider };
    let posted = ledger::post_payment(source, payment.account.number(), asked.amount_fen, &open)?;
    let mut settled = payment
        .settled
        .clone()
        .unwrap_or(Settled { paid_ms: asked.paid_s.saturating_mul(1000), ..Settled::default() });
    settled.paid_fen += asked.amount_fen;
    settled.credit_fen += posted.credit_fen;
    let (bills, late_fees) = arrears::parts(&posted.allocations);
    settled.bills.extend(bills);
    settled.late_fees.extend(late_fees);
    if settled.transactions.len() < MOST_TRANSACTIONS {
        settled.transactions.push(asked.transaction.clone());
    }
    // Late fees are charged before the payment pays them.
    let mut puts = arrears.paid(&posted.allocations, message.origin.accepted_ms)?;
    puts.extend([
        Put::ProviderTransaction {
            provider: asked.provider.clone(),
            transaction: asked.transaction.clone(),
            payment: payment.id,
        },
        Put::Posting {
            at_ms: message.origin.accepted_ms,
            text: format!("payment {} {}", payment.id, asked.transaction),
            posting: posted.posting,
        },
        Put::PaymentSettled { payment: payment.id, account: payment.account, settled },
    ]);
    let now_ms = message.origin.accepted_ms;
    let still_open = || arrears.still_open(&posted.allocations);
    puts.extend(supply::after_payment(rules.supply, *supply, still_open(), day, now_ms));
    puts.extend(mandate::made(rules, *mandate, payment, still_open(), now_ms));
    // Written even where only bills change: the account's views change with them.
    let credit_fen = state.account.credit_fen + posted.credit_fen;
    puts.push(Put::Account(Account { credit_fen, ..state.account.clone() }));
    Ok(puts)
}
