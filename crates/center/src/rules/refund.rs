//! Credit back to who paid: what a payment paid over stays as credit, or goes back the way it came.
//!
//! It is taken from the credit, and owed to the provider's clearing account, when it is asked for; a provider that cannot
//! give it back undoes that with a posting of its own. Until the provider answers it is told again, ever more rarely.
use domain::{
    ledger::{self, LedgerAccount, LedgerError, Posting, ProviderCode},
    money::Fen,
};
use protocol::{
    Code, Problem, RefundId, Reply,
    bounds::Text,
    catalogue::{
        replies::{self, NoticeBody, RefundState},
        requests,
    },
    payment::Instruction,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Account, Payment, Put, Refund},
    working_set::WorkingSet,
};

use super::{Decided, Rules, request::told};
use crate::{
    config::Provider,
    operation::{RefundDue, RefundEnd},
};

/// The most refunds of one payment.
const MOST_REFUNDS: usize = 10;
/// How long an answer is waited for before the provider is told again, in ms; doubled each time, up to a day.
const AGAIN_AFTER_MS: u64 = 3600 * 1000;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// A provider is told this often, over about a month.
const MOST_TOLD: u32 = 35;

pub(super) fn create(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::RefundCreate,
) -> Decided {
    let not_found = || Ok(Decision::rejected(Problem::not_found("payment")));
    let payer = message.origin.customer;
    // The money goes back to who paid it, so nobody else may send it.
    let Some(payment) = rows.payment(&asked.payment)?.filter(|p| Some(p.customer) == payer) else {
        return not_found();
    };
    let Some(state) = rows.account(&payment.account)? else { return not_found() };
    let id = RefundId::from_bits(message.operation.bits());
    if payment.refunds.iter().any(|refund| refund.id == id) {
        let why = "This Idempotency-Key asked for a refund before. Use a new key for a new one.";
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    let Some(provider) = rules.provider(&payment.provider) else {
        let why = format!("The payment provider {} is not here any more. Ask the service.", payment.provider);
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    };
    let credits = rows.credits(&payment.account)?.map_or(&[][..], Vec::as_slice);
    let newer = newer_left_fen(credits, payment);
    let most = payment.credit_share_fen(state.account.credit_fen, newer);
    let amount = asked.amount_fen.fen();
    if amount > most {
        let why =
            format!("Of this payment {most} yuan can go back; {amount} were asked for. Nothing was changed.");
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    if payment.refunds.len() >= MOST_REFUNDS {
        let why = "This payment went back in too many parts already. Ask the service for the rest.";
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    let now_ms = message.origin.accepted_ms;
    let refund = Refund {
        id,
        amount_fen: amount,
        state: RefundState::UnderWay,
        asked_ms: now_ms,
        ended_ms: None,
        again_ms: Some(free_ms(payment, now_ms + AGAIN_AFTER_MS)),
        told: 1,
    };
    let posting = match posting(payment, amount, state.account.credit_fen) {
        Ok(posting) => posting,
        Err(error) => return Ok(refused(&error)),
    };
    let mut puts = vec![
        Put::Posting { at_ms: now_ms, text: format!("refund {id} of {}", payment.id), posting },
        Put::Account(Account { credit_fen: state.account.credit_fen - amount, ..state.account.clone() }),
    ];
    puts.extend(tell(rules, provider, message, payment, &refund));
    puts.push(with(payment, refund));
    let reply = replies::RefundCreate { refund: id, payment: payment.id, amount_fen: amount };
    Ok(Decision::done(Reply::RefundCreate(reply), puts))
}

/// What is left of the credit of the payments that are newer than one; `credits` are newest first.
pub(crate) fn newer_left_fen(credits: &[Payment], payment: &Payment) -> Fen {
    credits.iter().take_while(|newer| newer.id != payment.id).map(Payment::credit_left_fen).sum()
}

/// What a provider said of a refund. Said twice, it is the same.
pub(super) fn ended(rows: &WorkingSet, message: &NewMessage, asked: &RefundEnd) -> Decided {
    let known = rows.payment(&asked.payment)?.filter(|payment| payment.provider == asked.provider);
    let found =
        known.and_then(|p| Some((p, p.refunds.iter().find(|refund| refund.id == asked.refund)?.clone())));
    let Some((payment, refund)) = found else {
        return Ok(Decision::rejected_for_attention(Problem::not_found("refund")));
    };
    let reply = |duplicate| {
        Reply::PaymentCallback(replies::PaymentCallback { payment: Some(asked.payment), duplicate })
    };
    let state = match asked.outcome {
        Ok(amount) if amount != refund.amount_fen => {
            let why = format!(
                "{} yuan were to go back, {amount} are said to have. Nothing was changed.",
                refund.amount_fen
            );
            return Ok(Decision::rejected_for_attention(Problem::new(Code::AmountMismatch, why)));
        }
        Ok(_) => RefundState::Done,
        Err(_) => RefundState::Failed,
    };
    if refund.state == state {
        return Ok(Decision::done(reply(true), Vec::new()));
    }
    if refund.state != RefundState::UnderWay {
        let why = "This refund ended otherwise before. Nothing was changed; a person looks at it.";
        return Ok(Decision::rejected_for_attention(Problem::new(Code::Conflict, why)));
    }
    let Some(account) = rows.account(&payment.account)?.map(|state| &state.account) else {
        return Ok(Decision::rejected_for_attention(Problem::not_found("account")));
    };
    let (now_ms, amount_fen) = (message.origin.accepted_ms, refund.amount_fen);
    let mut puts = Vec::new();
    if state == RefundState::Failed {
        let undone = posting(payment, amount_fen, amount_fen).and_then(|posting| ledger::reverse(&posting));
        let posting = match undone {
            Ok(posting) => posting,
            Err(error) => return Ok(refused(&error)),
        };
        let text = format!("refund {} undone", refund.id);
        puts.push(Put::Posting { at_ms: now_ms, text, posting });
        puts.push(Put::Account(Account { credit_fen: account.credit_fen + amount_fen, ..account.clone() }));
    }
    puts.push(with(payment, Refund { state, ended_ms: Some(now_ms), again_ms: None, ..refund }));
    let body = NoticeBody::Refund { payment: payment.id, account: payment.account, amount_fen, state };
    let children = vec![told(payment.customer, now_ms, body)];
    Ok(Decision { children, ..Decision::done(reply(false), puts) })
}

/// Tells the provider again of the refund that waits longest, if it is still the one that was due then.
pub(super) fn due(rules: &Rules, rows: &WorkingSet, message: &NewMessage, asked: &RefundDue) -> Decided {
    let reply =
        || Reply::PaymentCallback(replies::PaymentCallback { payment: Some(asked.payment), duplicate: true });
    let waiting = rows
        .payment(&asked.payment)?
        .and_then(|p| Some((p, p.refunds.iter().find(|refund| refund.again_ms == Some(asked.due_ms))?)));
    let Some((payment, refund)) = waiting else { return Ok(Decision::done(reply(), Vec::new())) };
    let pause_ms = (AGAIN_AFTER_MS << refund.told.min(8)).min(DAY_MS);
    if refund.told >= MOST_TOLD {
        let why = "The provider never answered whether it gave the money back; a person asks it.";
        let decision = Decision::rejected_for_attention(Problem::new(Code::OperationFailed, why));
        let puts = vec![with(payment, Refund { again_ms: None, ..refund.clone() })];
        return Ok(Decision { puts, ..decision });
    }
    let again_ms = Some(free_ms(payment, message.origin.accepted_ms + pause_ms));
    let refund = Refund { told: refund.told + 1, again_ms, ..refund.clone() };
    let provider = rules.provider(&payment.provider);
    let mut puts: Vec<Put> =
        provider.and_then(|provider| tell(rules, provider, message, payment, &refund)).into_iter().collect();
    puts.push(with(payment, refund));
    Ok(Decision::done(reply(), puts))
}

fn tell(
    rules: &Rules,
    provider: &Provider,
    message: &NewMessage,
    payment: &Payment,
    refund: &Refund,
) -> Option<Put> {
    let instruction = Instruction::Refund {
        refund: refund.id,
        order: payment.id,
        amount_fen: refund.amount_fen.0.try_into().ok()?,
        notify_url: Text::new(provider.notify_url(&rules.public_url)).ok()?,
    };
    provider.instruct(message, &instruction)
}

/// The first moment from `at_ms` on at which no other refund of the payment is due: it names which is meant.
fn free_ms(payment: &Payment, mut at_ms: u64) -> u64 {
    while payment.refunds.iter().any(|refund| refund.again_ms == Some(at_ms)) {
        at_ms += 1;
    }
    at_ms
}

/// The payment's refunds with this one in its place.
fn with(payment: &Payment, refund: Refund) -> Put {
    let mut refunds = payment.refunds.clone();
    match refunds.iter_mut().find(|known| known.id == refund.id) {
        Some(known) => *known = refund,
        None => refunds.push(refund),
    }
    Put::PaymentRefunds { payment: payment.id, account: payment.account, refunds }
}

fn posting(payment: &Payment, amount: Fen, credit: Fen) -> Result<Posting, LedgerError> {
    let provider: ProviderCode = payment.provider.parse()?;
    let target = LedgerAccount::ProviderClearing { provider };
    ledger::post_refund(payment.account.number(), target, amount, credit)
}

fn refused(error: &LedgerError) -> Decision {
    let why = format!("The ledger refuses it: {error}.");
    Decision::rejected_for_attention(Problem::new(Code::OperationFailed, why))
}
