//! Binding an account to a customer, with proof that it is theirs to bind; and unbinding it, with the same.
//!
//! An account that does not exist is answered like one whose proof is wrong, so that account numbers cannot be tried out.
use protocol::{
    AccountId, ChallengeId, Code, CustomerId, Problem, Reply,
    catalogue::{
        replies,
        requests::{self, BindProof},
    },
    push::CodePurpose,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Account, BindTries, Challenge, Put},
    working_set::{NotLoaded, WorkingSet},
};

use super::{
    Decided, Rules, export,
    login::{CODE_TTL_S, check_code, new_challenge, send_code},
    mandate,
};
use crate::operation::{CustomerAccountAdd, CustomerAccountRemove, Own};

/// The most proofs tried, and codes asked for, by one customer for one account in a day; the same whether or not there is
/// such an account.
const MOST_TRIES: u32 = 8;
/// The most by all customers together for one account: a brake on many who try one.
const MOST_PROOFS: u32 = 200;
const WINDOW_MS: u64 = 24 * 3600 * 1000;

pub(super) fn bind_start(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountBindStart,
) -> Decided {
    let challenge = ChallengeId::from_bits(message.operation.bits());
    let reply = replies::AccountBindStart { challenge, phone: String::new(), expires_in_s: CODE_TTL_S };
    send_proof_code(
        rules,
        rows,
        message,
        (asked.account, CodePurpose::BindAccount),
        Reply::AccountBindStart(reply),
    )
}

pub(super) fn unbind_start(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountUnbindStart,
) -> Decided {
    let challenge = ChallengeId::from_bits(message.operation.bits());
    let reply = replies::AccountUnbindStart { challenge, expires_in_s: CODE_TTL_S };
    send_proof_code(
        rules,
        rows,
        message,
        (asked.account, CodePurpose::UnbindAccount),
        Reply::AccountUnbindStart(reply),
    )
}

/// Sends a code to an account's registered phone; answers the same where there is none.
fn send_proof_code(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    (id, purpose): (AccountId, CodePurpose),
    reply: Reply,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(wrong())) };
    let tries = match count_try(rows, id, customer, now_ms)? {
        Ok(tries) => Put::BindTries(tries),
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let known = rows
        .account(&id)?
        .and_then(|state| Some((brake(&state.account, now_ms)?, state.account.phone.clone()?)));
    let Some((account, phone)) = known else { return Ok(Decision::done(reply, vec![tries])) };
    let challenge = new_challenge(message, phone, purpose, Some(id));
    let push = send_code(rules, message, &challenge);
    let puts = vec![tries, Put::Account(account), Put::Challenge(challenge), push];
    Ok(Decision::done(reply, puts))
}

pub(super) fn bind(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountBind,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(wrong())) };
    let done = || Reply::AccountBind(replies::AccountBind { account: asked.account });
    let state = rows.account(&asked.account)?;
    if state.is_some_and(|state| state.holders.contains(&customer)) {
        return Ok(Decision::done(done(), Vec::new()));
    }
    let shown = Shown { account: asked.account, proof: &asked.proof, purpose: CodePurpose::BindAccount };
    let mut puts = match prove(rules, rows, customer, &shown, now_ms)? {
        Ok(puts) => puts,
        Err(refused) => return Ok(refused),
    };
    puts.push(Put::Holder { account: asked.account, customer, since_ms: now_ms });
    let add = CustomerAccountAdd { customer, account: asked.account, since_ms: now_ms };
    let children = vec![Own::CustomerAccountAdd(add).child(customer.bucket())];
    Ok(Decision { children, ..Decision::done(done(), puts) })
}

/// The account itself stays as it is, also where nobody has bound it any more: it is the supply contract, not the log-in.
pub(super) fn unbind(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountUnbind,
) -> Decided {
    let is_holder = |customer: &CustomerId| {
        rows.account(&asked.account).map(|s| s.is_some_and(|s| s.holders.contains(customer)))
    };
    let Some(customer) = message.origin.customer else {
        return Ok(Decision::rejected(Problem::not_found("account")));
    };
    if !is_holder(&customer)? {
        return Ok(Decision::rejected(Problem::not_found("account")));
    }
    let shown = Shown { account: asked.account, proof: &asked.proof, purpose: CodePurpose::UnbindAccount };
    let mut puts = match prove(rules, rows, customer, &shown, message.origin.accepted_ms)? {
        Ok(puts) => puts,
        Err(refused) => return Ok(refused),
    };
    puts.push(Put::HolderGone { account: asked.account, customer });
    puts.extend(mandate::end_unbound(rules, rows, message, (asked.account, customer))?);
    puts.extend(export::end_of(rows, message, customer, asked.account)?);
    let gone = CustomerAccountRemove { customer, account: asked.account };
    let children = vec![Own::CustomerAccountRemove(gone).child(customer.bucket())];
    let reply = Reply::AccountUnbind(replies::AccountUnbind { account: asked.account });
    Ok(Decision { children, ..Decision::done(reply, puts) })
}

/// A proof that was shown, and what a code must have been sent for to do.
struct Shown<'a> {
    account: AccountId,
    proof: &'a BindProof,
    purpose: CodePurpose,
}

/// What a proof that does writes; else the refusal, with the try counted.
fn prove(
    rules: &Rules,
    rows: &WorkingSet,
    customer: CustomerId,
    shown: &Shown,
    now_ms: u64,
) -> Result<Result<Vec<Put>, Decision>, NotLoaded> {
    let tries = match count_try(rows, shown.account, customer, now_ms)? {
        Ok(tries) => Put::BindTries(tries),
        Err(problem) => return Ok(Err(Decision::rejected(problem))),
    };
    let Some(proven) = check_proof(rules, rows, shown, now_ms)? else {
        let state = rows.account(&shown.account)?;
        let counted = state.and_then(|state| brake(&state.account, now_ms)).map(Put::Account);
        let puts = [Some(tries), counted].into_iter().flatten().chain(wrong_code(rows, shown)?).collect();
        return Ok(Err(Decision { puts, ..Decision::rejected(wrong()) }));
    };
    Ok(Ok(std::iter::once(tries).chain(proven).collect()))
}

/// The one answer to every proof that does not do, whatever is wrong with it.
fn wrong() -> Problem {
    Problem::new(Code::ProofWrong, "The proof does not fit this account, or is too old. Nothing was changed.")
}

/// What a proof that fits writes; `None` where it does not, or there is no such account, or too many have tried.
fn check_proof(
    rules: &Rules,
    rows: &WorkingSet,
    shown: &Shown,
    now_ms: u64,
) -> Result<Option<Option<Put>>, NotLoaded> {
    let challenge = match shown.proof {
        BindProof::Code { challenge, .. } => {
            rows.challenge(challenge)?.filter(|c| c.account == Some(shown.account))
        }
        BindProof::LatestBill { .. } => None,
    };
    let Some(state) = rows.account(&shown.account)? else { return Ok(None) };
    if brake(&state.account, now_ms).is_none() {
        return Ok(None);
    }
    Ok(match shown.proof {
        BindProof::Code { code, .. } => check_code(rules, challenge, code, shown.purpose, now_ms)
            .ok()
            .map(|used| Some(Put::Challenge(used))),
        BindProof::LatestBill { month, amount_fen } => state
            .latest_bill
            .as_ref()
            .filter(|bill| bill.id.month == *month && bill.amount_fen.0 == *amount_fen)
            .map(|_| None),
    })
}

/// Counts a wrong code against its challenge.
fn wrong_code(rows: &WorkingSet, shown: &Shown) -> Result<Option<Put>, NotLoaded> {
    let BindProof::Code { challenge, .. } = shown.proof else { return Ok(None) };
    let challenge = rows.challenge(challenge)?.filter(|c| c.account == Some(shown.account));
    Ok(challenge.map(|c| Put::Challenge(Challenge { attempts: c.attempts.saturating_add(1), ..c.clone() })))
}

/// Counts one more try of a customer, or says that there have been too many.
fn count_try(
    rows: &WorkingSet,
    account: AccountId,
    customer: CustomerId,
    now_ms: u64,
) -> Result<Result<BindTries, Problem>, NotLoaded> {
    let fresh = BindTries { account, customer, tries: 0, window_ms: now_ms };
    let row = rows.bind_tries(&(account, customer))?.copied().unwrap_or(fresh);
    let row = if now_ms.saturating_sub(row.window_ms) >= WINDOW_MS { fresh } else { row };
    if row.tries >= MOST_TRIES {
        let wait_s = ((row.window_ms + WINDOW_MS).saturating_sub(now_ms) / 1000) as u32 + 1;
        let why = "You tried this account too often today. Try again tomorrow, or at a business hall.";
        return Ok(Err(Problem::new(Code::TooManyAttempts, why).retry_after(wait_s)));
    }
    Ok(Ok(BindTries { tries: row.tries + 1, ..row }))
}

/// Counts one more try of anybody; `None` where there have been too many.
fn brake(account: &Account, now_ms: u64) -> Option<Account> {
    let mut account = account.clone();
    if now_ms.saturating_sub(account.proof_window_ms) >= WINDOW_MS {
        (account.wrong_proofs, account.proof_window_ms) = (0, now_ms);
    }
    account.wrong_proofs += 1;
    (account.wrong_proofs <= MOST_PROOFS).then_some(account)
}

pub(super) fn list_add(rows: &WorkingSet, asked: &CustomerAccountAdd) -> Decided {
    let reply = || Reply::AccountBind(replies::AccountBind { account: asked.account });
    if rows.person(&asked.customer)?.is_some_and(|person| person.gone_ms.is_some()) {
        // Bound while they were being deleted: undone where it was done.
        let gone = CustomerAccountRemove { customer: asked.customer, account: asked.account };
        let children = vec![Own::HolderRemove(gone).child(asked.account.bucket())];
        return Ok(Decision { children, ..Decision::done(reply(), Vec::new()) });
    }
    let listed =
        rows.customer(&asked.customer)?.is_some_and(|c| c.accounts.iter().any(|(a, _)| *a == asked.account));
    let put =
        Put::CustomerAccount { customer: asked.customer, account: asked.account, since_ms: asked.since_ms };
    Ok(Decision::done(reply(), if listed { Vec::new() } else { vec![put] }))
}

pub(super) fn list_remove(rows: &WorkingSet, asked: &CustomerAccountRemove) -> Decided {
    let listed =
        rows.customer(&asked.customer)?.is_some_and(|c| c.accounts.iter().any(|(a, _)| *a == asked.account));
    let put = Put::CustomerAccountGone { customer: asked.customer, account: asked.account };
    let reply = Reply::AccountUnbind(replies::AccountUnbind { account: asked.account });
    Ok(Decision::done(reply, if listed { vec![put] } else { Vec::new() }))
}

/// Without proof: for a customer who is there no longer.
pub(super) fn holder_remove(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &CustomerAccountRemove,
) -> Decided {
    let holds = rows.account(&asked.account)?.is_some_and(|state| state.holders.contains(&asked.customer));
    let put = Put::HolderGone { account: asked.account, customer: asked.customer };
    let mut puts = if holds { vec![put] } else { Vec::new() };
    puts.extend(mandate::end_unbound(rules, rows, message, (asked.account, asked.customer))?);
    puts.extend(export::end_of(rows, message, asked.customer, asked.account)?);
    let reply = Reply::AccountUnbind(replies::AccountUnbind { account: asked.account });
    Ok(Decision::done(reply, puts))
}
