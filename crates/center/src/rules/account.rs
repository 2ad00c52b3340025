//! Binding an account to a customer, with proof that it is theirs to bind.
//!
//! An account that does not exist is answered like one whose proof is wrong, so that account numbers cannot be tried out.
use protocol::{
    ChallengeId, Code, Problem, Reply,
    catalogue::{
        replies,
        requests::{self, BindProof},
    },
    push::CodePurpose,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Account, Challenge, Put},
    working_set::WorkingSet,
};

use super::{
    Decided, Rules,
    login::{CODE_TTL_S, check_code, send_code},
};
use crate::operation::{CustomerAccountAdd, Own};

/// The most proofs tried, and codes asked for, for one account in a day.
const MOST_PROOFS: u32 = 8;
const WINDOW_MS: u64 = 24 * 3600 * 1000;

pub(super) fn bind_start(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountBindStart,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let challenge = ChallengeId::from_bits(message.operation.bits());
    let reply = replies::AccountBindStart { challenge, phone: String::new(), expires_in_s: CODE_TTL_S };
    let known =
        rows.account(&asked.account)?.and_then(|state| Some((&state.account, state.account.phone.clone()?)));
    let Some((account, phone)) = known else {
        return Ok(Decision::done(Reply::AccountBindStart(reply), Vec::new()));
    };
    let account = match count_proof(account, now_ms) {
        Ok(account) => account,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
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
    Ok(Decision::done(
        Reply::AccountBindStart(reply),
        vec![Put::Account(account), Put::Challenge(challenge), push],
    ))
}

pub(super) fn bind(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::AccountBind,
) -> Decided {
    let wrong = || Problem::new(Code::ProofWrong, "The proof does not fit this account. Nothing was bound.");
    let done = || Reply::AccountBind(replies::AccountBind { account: asked.account });
    let Some(customer) = message.origin.customer else { return Ok(Decision::rejected(wrong())) };
    let challenge = match &asked.proof {
        BindProof::Code { challenge, .. } => rows.challenge(challenge)?.cloned(),
        BindProof::LatestBill { .. } => None,
    };
    let Some(state) = rows.account(&asked.account)? else { return Ok(Decision::rejected(wrong())) };
    if state.holders.contains(&customer) {
        return Ok(Decision::done(done(), Vec::new()));
    }
    let now_ms = message.origin.accepted_ms;
    let counted = match count_proof(&state.account, now_ms) {
        Ok(account) => account,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let mut puts = Vec::new();
    match &asked.proof {
        BindProof::Code { code, .. } => {
            let challenge = challenge.filter(|c| c.account == Some(asked.account));
            match check_code(rules, challenge.as_ref(), code, CodePurpose::BindAccount, now_ms) {
                Ok(used) => puts.push(Put::Challenge(used)),
                Err((problem, puts)) => return Ok(Decision { puts, ..Decision::rejected(problem) }),
            }
        }
        BindProof::LatestBill { month, amount_fen } => {
            let fits =
                |bill: &storage::rows::BillHead| bill.id.month == *month && bill.amount_fen.0 == *amount_fen;
            if !state.latest_bill.as_ref().is_some_and(fits) {
                return Ok(Decision { puts: vec![Put::Account(counted)], ..Decision::rejected(wrong()) });
            }
        }
    }
    puts.push(Put::Account(Account { wrong_proofs: 0, ..counted }));
    puts.push(Put::Holder { account: asked.account, customer, since_ms: now_ms });
    let add = CustomerAccountAdd { customer, account: asked.account, since_ms: now_ms };
    let children = vec![Own::CustomerAccountAdd(add).child(customer.bucket())];
    Ok(Decision { result: Ok(done()), puts, children })
}

/// Counts one more proof tried, or says that there have been too many.
fn count_proof(account: &Account, now_ms: u64) -> Result<Account, Problem> {
    let mut account = account.clone();
    if now_ms.saturating_sub(account.proof_window_ms) >= WINDOW_MS {
        (account.wrong_proofs, account.proof_window_ms) = (0, now_ms);
    }
    if account.wrong_proofs >= MOST_PROOFS {
        let wait_s = ((account.proof_window_ms + WINDOW_MS).saturating_sub(now_ms) / 1000) as u32 + 1;
        let why = "This account was tried too often today. Try again tomorrow, or at a business hall.";
        return Err(Problem::new(Code::TooManyAttempts, why).retry_after(wait_s));
    }
    account.wrong_proofs += 1;
    Ok(account)
}

pub(super) fn list_add(rows: &WorkingSet, asked: &CustomerAccountAdd) -> Decided {
    let listed =
        rows.customer(&asked.customer)?.is_some_and(|c| c.accounts.iter().any(|(a, _)| *a == asked.account));
    let put =
        Put::CustomerAccount { customer: asked.customer, account: asked.account, since_ms: asked.since_ms };
    let reply = Reply::AccountBind(replies::AccountBind { account: asked.account });
    Ok(Decision::done(reply, if listed { Vec::new() } else { vec![put] }))
}
