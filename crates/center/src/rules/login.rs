//! Log-in by one-time code.
//!
//! A phone that nobody knows is answered like any other: who logs in with it for the first time becomes a customer
//! without accounts, so that nothing tells whether a number is known here.
use protocol::{
    AccountId, ChallengeId, Code, CustomerId, Problem, PushId, Reply, SessionId,
    bounds::Phone,
    catalogue::{phone_identity, replies, requests},
    push::{CodePurpose, PushBody},
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Challenge, Identity, Put},
    working_set::{NotLoaded, WorkingSet},
};

use super::{Decided, Rules, session};
use crate::operation::{Own, SessionOpen};

/// How long a code is good, in seconds.
pub(super) const CODE_TTL_S: u32 = 300;
/// How long to wait before asking for another, in seconds.
const RESEND_S: u32 = 60;
/// The most codes for one phone in [`WINDOW_MS`].
const MOST_CODES: u32 = 8;
const WINDOW_MS: u64 = 3600 * 1000;
/// The most wrong codes for one challenge.
const MOST_ATTEMPTS: u32 = 5;

pub(super) fn start(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::LoginStart,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let row = match may_send(identity_of(rows, &asked.phone, now_ms)?, now_ms) {
        Ok(row) => row,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let challenge = new_challenge(message, asked.phone.clone(), CodePurpose::LogIn, None);
    let reply =
        replies::LoginStart { challenge: challenge.id, expires_in_s: CODE_TTL_S, resend_in_s: RESEND_S };
    let push = send_code(rules, message, &challenge);
    Ok(Decision::done(Reply::LoginStart(reply), vec![Put::Identity(row), Put::Challenge(challenge), push]))
}

/// A code to be sent to a phone for a purpose; the operation that asked for it is its id.
pub(super) fn new_challenge(
    message: &NewMessage,
    phone: Phone,
    purpose: CodePurpose,
    account: Option<AccountId>,
) -> Challenge {
    Challenge {
        id: ChallengeId::from_bits(message.operation.bits()),
        phone,
        purpose,
        account,
        expires_ms: message.origin.accepted_ms + u64::from(CODE_TTL_S) * 1000,
        attempts: 0,
        used: false,
    }
}

/// A phone's row, fresh where there is none.
pub(super) fn identity_of(rows: &WorkingSet, phone: &Phone, now_ms: u64) -> Result<Identity, NotLoaded> {
    let identity = phone_identity(phone);
    let known = rows.identity(&identity)?.cloned();
    let fresh = Identity { identity, customer: None, last_code_ms: 0, codes: 0, code_window_ms: now_ms };
    Ok(known.unwrap_or(fresh))
}

/// Counts one more code to a phone, or says that there have been too many or one just now.
pub(super) fn may_send(mut row: Identity, now_ms: u64) -> Result<Identity, Problem> {
    let sent = (row.last_code_ms, row.codes, row.code_window_ms);
    (row.last_code_ms, row.codes, row.code_window_ms) = count_code(sent, now_ms)?;
    Ok(row)
}

/// When the last code was sent, how many since when: with one more now.
pub(super) fn count_code(
    (last_ms, mut codes, mut window_ms): (u64, u32, u64),
    now_ms: u64,
) -> Result<(u64, u32, u64), Problem> {
    let since_last_s = now_ms.saturating_sub(last_ms) / 1000;
    if last_ms > 0 && since_last_s < u64::from(RESEND_S) {
        let wait = RESEND_S - since_last_s as u32;
        let problem = Problem::new(
            Code::TooManyRequests,
            format!("A code was just sent. Ask for another in {wait} s."),
        );
        return Err(problem.retry_after(wait));
    }
    if now_ms.saturating_sub(window_ms) >= WINDOW_MS {
        (codes, window_ms) = (0, now_ms);
    }
    if codes >= MOST_CODES {
        let wait = ((window_ms + WINDOW_MS).saturating_sub(now_ms) / 1000) as u32 + 1;
        let problem =
            Problem::new(Code::TooManyRequests, "Too many codes were sent to this phone within an hour.");
        return Err(problem.retry_after(wait));
    }
    Ok((now_ms, codes + 1, window_ms))
}

/// The push that carries a challenge's code.
pub(super) fn send_code(rules: &Rules, message: &NewMessage, challenge: &Challenge) -> Put {
    Put::Push {
        id: PushId::from_bits(message.operation.bits()),
        body: PushBody::OneTimeCode {
            phone: challenge.phone.clone(),
            code: rules.codes.code(challenge.id),
            purpose: challenge.purpose,
            expires_in_s: CODE_TTL_S,
            language: message.origin.language,
        },
    }
}

/// Whether a code opens a challenge; where it does not, the challenge's row counts the attempt.
pub(super) fn check_code(
    rules: &Rules,
    challenge: Option<&Challenge>,
    code: &protocol::bounds::OneTimeCode,
    purpose: CodePurpose,
    now_ms: u64,
) -> Result<Challenge, (Problem, Vec<Put>)> {
    let expired = || Problem::new(Code::CodeExpired, "The code has expired. Ask for another.");
    let Some(challenge) = challenge.filter(|c| c.purpose == purpose && !c.used && now_ms < c.expires_ms)
    else {
        return Err((expired(), Vec::new()));
    };
    let mut challenge = challenge.clone();
    if challenge.attempts >= MOST_ATTEMPTS {
        let why = "The code was entered wrongly too often. Ask for another.";
        return Err((Problem::new(Code::TooManyAttempts, why).retry_after(RESEND_S), Vec::new()));
    }
    if rules.codes.code(challenge.id) != *code {
        challenge.attempts += 1;
        let left = MOST_ATTEMPTS - challenge.attempts;
        let problem = Problem::new(Code::CodeWrong, format!("The code is not right; {left} more tries."));
        return Err((problem, vec![Put::Challenge(challenge)]));
    }
    challenge.used = true;
    Ok(challenge)
}

pub(super) fn finish(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::LoginFinish,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let challenge = rows.challenge(&asked.challenge)?;
    let challenge = match check_code(rules, challenge, &asked.code, CodePurpose::LogIn, now_ms) {
        Ok(challenge) => challenge,
        Err((problem, puts)) => return Ok(Decision { puts, ..Decision::rejected(problem) }),
    };
    let identity = phone_identity(&challenge.phone);
    let Some(mut identity) = rows.identity(&identity)?.cloned() else {
        return Ok(Decision::rejected(Problem::new(
            Code::CodeExpired,
            "The code has expired. Ask for another.",
        )));
    };
    let bits = message.operation.bits();
    let here = |customer: &CustomerId| customer.bucket() == message.operation.bucket();
    let known = match identity.customer {
        // Deleted, and the phone has not been let go yet.
        Some(customer) if here(&customer) && session::is_gone(rows, customer)? => None,
        known => known,
    };
    let customer = known.unwrap_or(CustomerId::from_bits(bits));
    identity.customer = Some(customer);
    // A new code may be asked for at once after the last was used.
    identity.last_code_ms = 0;
    // Sessions are where their customer is: with the first phone's bucket, whichever phone they have now.
    let session = SessionId::mint(customer.bucket(), bits << 12);
    let open = SessionOpen { session, customer, phone: challenge.phone.clone() };
    let reply = Reply::LoginFinish(replies::LoginFinish { session, customer, tokens: None });
    let mut puts = vec![Put::Challenge(challenge), Put::Identity(identity)];
    if here(&customer) {
        puts.extend(session::opened(rows, message, &open)?);
        return Ok(Decision::done(reply, puts));
    }
    let children = vec![Own::SessionOpen(open).child(customer.bucket())];
    Ok(Decision { children, ..Decision::done(reply, puts) })
}
