//! Log-in by one-time code, and sessions.
//!
//! A phone that nobody knows is answered like any other: who logs in with it for the first time becomes a customer
//! without accounts, so that nothing tells whether a number is known here.
use protocol::{
    ChallengeId, Code, CustomerId, Problem, PushId, Reply, SessionId,
    catalogue::{phone_identity, replies, requests},
    push::{CodePurpose, PushBody},
    session::REFRESH_TTL_S,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Challenge, Identity, Put, Session},
    working_set::WorkingSet,
};

use super::{Decided, Rules};
use crate::operation::{SessionClose, SessionContinue};

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
    let identity = phone_identity(&asked.phone);
    let mut row = rows.identity(&identity)?.cloned().unwrap_or(Identity {
        identity,
        customer: None,
        last_code_ms: 0,
        codes: 0,
        code_window_ms: now_ms,
    });
    let since_last_s = now_ms.saturating_sub(row.last_code_ms) / 1000;
    if row.last_code_ms > 0 && since_last_s < u64::from(RESEND_S) {
        let wait = RESEND_S - since_last_s as u32;
        let problem = Problem::new(
            Code::TooManyRequests,
            format!("A code was just sent. Ask for another in {wait} s."),
        );
        return Ok(Decision::rejected(problem.retry_after(wait)));
    }
    if now_ms.saturating_sub(row.code_window_ms) >= WINDOW_MS {
        (row.codes, row.code_window_ms) = (0, now_ms);
    }
    if row.codes >= MOST_CODES {
        let wait = ((row.code_window_ms + WINDOW_MS).saturating_sub(now_ms) / 1000) as u32 + 1;
        let problem =
            Problem::new(Code::TooManyRequests, "Too many codes were sent to this phone within an hour.");
        return Ok(Decision::rejected(problem.retry_after(wait)));
    }
    (row.codes, row.last_code_ms) = (row.codes + 1, now_ms);
    let challenge = Challenge {
        id: ChallengeId::from_bits(message.operation.bits()),
        phone: asked.phone.clone(),
        purpose: CodePurpose::LogIn,
        account: None,
        expires_ms: now_ms + u64::from(CODE_TTL_S) * 1000,
        attempts: 0,
        used: false,
    };
    let reply =
        replies::LoginStart { challenge: challenge.id, expires_in_s: CODE_TTL_S, resend_in_s: RESEND_S };
    let push = send_code(rules, message, &challenge);
    Ok(Decision::done(Reply::LoginStart(reply), vec![Put::Identity(row), Put::Challenge(challenge), push]))
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
    let customer = *identity.customer.get_or_insert(CustomerId::from_bits(bits));
    // A new code may be asked for at once after the last was used.
    identity.last_code_ms = 0;
    let session = Session {
        id: SessionId::from_bits(bits),
        customer,
        generation: 1,
        expires_ms: now_ms + REFRESH_TTL_S * 1000,
        ended: false,
    };
    let reply = replies::LoginFinish { session: session.id, customer, tokens: None };
    let puts = vec![Put::Challenge(challenge), Put::Identity(identity), Put::Session(session)];
    Ok(Decision::done(Reply::LoginFinish(reply), puts))
}

pub(super) fn go_on(rows: &WorkingSet, message: &NewMessage, asked: &SessionContinue) -> Decided {
    let ended = || Problem::new(Code::Unauthenticated, "The session has ended. Log in again.");
    let now_ms = message.origin.accepted_ms;
    let open = rows.session(&asked.session)?.filter(|s| !s.ended && now_ms < s.expires_ms);
    let Some(mut session) = open.cloned() else {
        return Ok(Decision::rejected(ended()));
    };
    if session.generation != asked.generation {
        // A refresh token that was used before: somebody has a copy. Nobody goes on with this session.
        session.ended = true;
        return Ok(Decision { puts: vec![Put::Session(session)], ..Decision::rejected(ended()) });
    }
    session.generation += 1;
    session.expires_ms = now_ms + REFRESH_TTL_S * 1000;
    let reply = replies::SessionRefresh { session: session.id, generation: session.generation, tokens: None };
    Ok(Decision::done(Reply::SessionRefresh(reply), vec![Put::Session(session)]))
}

pub(super) fn close(rows: &WorkingSet, asked: &SessionClose) -> Decided {
    let reply = Reply::SessionEnd(replies::SessionEnd {});
    let session = rows.session(&asked.session)?.cloned();
    Ok(Decision::done(
        reply,
        session.map(|s| Put::Session(Session { ended: true, ..s })).into_iter().collect(),
    ))
}
