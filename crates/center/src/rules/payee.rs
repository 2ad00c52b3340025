//! Whose account a number is: the brake against trying numbers out.
use domain::money::Fen;
use protocol::{Code, Problem, Reply, catalogue::replies};
use storage::{
    message::{Decision, NewMessage},
    rows::{Payee, Put},
    working_set::WorkingSet,
};

use super::Decided;
use crate::operation::PayeeAsk;

/// The most accounts of others that one customer may ask about in [`WINDOW_MS`], whether or not they are there.
const MOST_ACCOUNTS: usize = 20;
const WINDOW_MS: u64 = 24 * 3600 * 1000;

/// Counts in the customer's lane, in order and durably: no restart, no other node and no haste gives another try.
pub(super) fn ask(rows: &WorkingSet, message: &NewMessage, asked: &PayeeAsk) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let none = Vec::new();
    let known = rows.payees(&asked.customer)?.unwrap_or(&none);
    let recent: Vec<&Payee> =
        known.iter().filter(|payee| now_ms.saturating_sub(payee.asked_ms) < WINDOW_MS).collect();
    if recent.len() >= MOST_ACCOUNTS && !recent.iter().any(|payee| payee.account == asked.account) {
        let oldest_ms = recent.iter().map(|payee| payee.asked_ms).min().unwrap_or(now_ms);
        let wait_s = ((oldest_ms + WINDOW_MS).saturating_sub(now_ms) / 1000) as u32 + 1;
        let why = "You asked about many accounts today. Try again tomorrow, or at a business hall.";
        return Ok(Decision::rejected(Problem::new(Code::TooManyAttempts, why).retry_after(wait_s)));
    }
    let (holder, address) = Default::default();
    let reply = replies::PayeeGet { account: asked.account, holder, address, due_fen: Fen::ZERO };
    let payee = Payee { account: asked.account, asked_ms: now_ms };
    Ok(Decision::done(Reply::PayeeGet(reply), vec![Put::Payee { customer: asked.customer, payee }]))
}
