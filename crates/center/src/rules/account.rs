//! Binding an account to a customer, with proof that it is theirs to bind.
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
    Decided, Rules,
    login::{CODE_TTL_S, check_code, send_code},
};
use crate::operation::{CustomerAccountAdd, Own};

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
    let now_ms = message.origin.accepted_ms;
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(wrong())) };
    let tries = match count_try(rows, asked.account, customer, now_ms)? {
        Ok(tries) => Put::BindTries(tries),
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let challenge = ChallengeId::from_bits(message.operation.bits());
    let reply = replies::AccountBindStart { challenge, phone: String::new(), expires_in_s: CODE_TTL_S };
    let done = |puts| Ok(Decision::done(Reply::AccountBindStart(reply), puts));
    let known = rows
        .account(&asked.account)?
        .and_then(|state| Some((brake(&state.account, now_ms)?, state.account.phone.clone()?)));
    let Some((account, phone)) = known else { return done(vec![tries]) };
    let challenge = Challenge {
        id: challenge,
        phone,
        purpose: CodePurpose::BindAccount,
        account: Some(asked.account),
        expires_ms: now_ms + u64::from(CODE_TTL_S) * 1000,
        attempts: 0,
        used: false,
    };
    let push = send_code(rules, message, &challenge);
    done(vec![tries, Put::Account(account), Put::Challenge(challenge), push])
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
    let tries = match count_try(rows, asked.account, customer, now_ms)? {
        Ok(tries) => Put::BindTries(tries),
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let Some(proven) = check_proof(rules, rows, asked, now_ms)? else {
        let counted = state.and_then(|state| brake(&state.account, now_ms)).map(Put::Account);
        let puts = [Some(tries), counted].into_iter().flatten().chain(wrong_code(rows, asked)?).collect();
        return Ok(Decision { puts, ..Decision::rejected(wrong()) });
    };
    let mut puts = vec![tries];
    puts.extend(proven);
    puts.push(Put::Holder { account: asked.account, customer, since_ms: now_ms });
    let add = CustomerAccountAdd { customer, account: asked.account, since_ms: now_ms };
    let children = vec![Own::CustomerAccountAdd(add).child(customer.bucket())];
    Ok(Decision { children, ..Decision::done(done(), puts) })
}

/// The one answer to every proof that does not do, whatever is wrong with it.
fn wrong() -> Problem {
    Problem::new(Code::ProofWrong, "The proof does not fit this account, or is too old. Nothing was bound.")
}

/// What a proof that fits writes; `None` where it does not, or there is no such account, or too many have tried.
fn check_proof(
    rules: &Rules,
    rows: &WorkingSet,
    asked: &requests::AccountBind,
    now_ms: u64,
) -> Result<Option<Option<Put>>, NotLoaded> {
    let challenge = match &asked.proof {
        BindProof::Code { challenge, .. } => {
            rows.challenge(challenge)?.filter(|c| c.account == Some(asked.account))
        }
        BindProof::LatestBill { .. } => None,
    };
    let Some(state) = rows.account(&asked.account)? else { return Ok(None) };
    if brake(&state.account, now_ms).is_none() {
        return Ok(None);
    }
    Ok(match &asked.proof {
        BindProof::Code { code, .. } => check_code(rules, challenge, code, CodePurpose::BindAccount, now_ms)
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
fn wrong_code(rows: &WorkingSet, asked: &requests::AccountBind) -> Result<Option<Put>, NotLoaded> {
    let BindProof::Code { challenge, .. } = &asked.proof else { return Ok(None) };
    let challenge = rows.challenge(challenge)?.filter(|c| c.account == Some(asked.account));
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
    let listed =
        rows.customer(&asked.customer)?.is_some_and(|c| c.accounts.iter().any(|(a, _)| *a == asked.account));
    let put =
        Put::CustomerAccount { customer: asked.customer, account: asked.account, since_ms: asked.since_ms };
    let reply = Reply::AccountBind(replies::AccountBind { account: asked.account });
    Ok(Decision::done(reply, if listed { Vec::new() } else { vec![put] }))
}
