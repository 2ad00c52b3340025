//! Changing the phone by which a customer logs in: verified in the new phone's lane, taken in the customer's, and the old
//! one let go in its own.
use protocol::{
    Code, Problem, Reply,
    catalogue::{phone_identity, replies, requests},
    push::CodePurpose,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Identity, Person, Put},
    working_set::WorkingSet,
};

use super::{
    Decided, Rules,
    login::{CODE_TTL_S, check_code, identity_of, may_send, new_challenge, send_code},
    session::{end_all_but, person_of},
};
use crate::operation::{Own, PersonPhone, PhoneLeave};

/// Whether the phone is known here is not said, and it gets no more codes than by logging in.
pub(super) fn start(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::PhoneChangeStart,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let row = match may_send(identity_of(rows, &asked.phone, now_ms)?, now_ms) {
        Ok(row) => row,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let challenge = new_challenge(message, asked.phone.clone(), CodePurpose::ChangePhone, None);
    let reply = replies::PhoneChangeStart { challenge: challenge.id, expires_in_s: CODE_TTL_S };
    let push = send_code(rules, message, &challenge);
    Ok(Decision::done(
        Reply::PhoneChangeStart(reply),
        vec![Put::Identity(row), Put::Challenge(challenge), push],
    ))
}

pub(super) fn change(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::PhoneChange,
) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let Some(customer) = message.origin.customer else {
        return Ok(Decision::rejected(Problem::not_found("customer")));
    };
    let challenge = rows.challenge(&asked.challenge)?;
    let challenge = match check_code(rules, challenge, &asked.code, CodePurpose::ChangePhone, now_ms) {
        Ok(challenge) => challenge,
        Err((problem, puts)) => return Ok(Decision { puts, ..Decision::rejected(problem) }),
    };
    let phone = challenge.phone.clone();
    let identity = identity_of(rows, &phone, now_ms)?;
    let used = Put::Challenge(challenge);
    if identity.customer.is_some_and(|other| other != customer) {
        // Said only to who has the phone in hand.
        let why =
            "Somebody is known here by this phone. If it is you: log in with it and delete that data first.";
        let problem = Problem::new(Code::Conflict, why);
        return Ok(Decision { puts: vec![used], ..Decision::rejected(problem) });
    }
    let puts = vec![used, Put::Identity(Identity { customer: Some(customer), last_code_ms: 0, ..identity })];
    let children = vec![Own::PersonPhone(PersonPhone { customer, phone }).child(customer.bucket())];
    Ok(Decision { children, ..Decision::done(Reply::PhoneChange(replies::PhoneChange {}), puts) })
}

/// In the customer's lane: the phone is theirs, the one before goes, other sessions end.
pub(super) fn take(rows: &WorkingSet, message: &NewMessage, asked: &PersonPhone) -> Decided {
    let PersonPhone { customer, ref phone } = *asked;
    let reply = Reply::PhoneChange(replies::PhoneChange {});
    let leave = |phone: protocol::bounds::Phone| {
        let bucket = protocol::Bucket::of_identity(&phone_identity(&phone));
        Own::PhoneLeave(PhoneLeave { customer, phone }).child(bucket)
    };
    let person = person_of(rows, customer, message.origin.accepted_ms)?;
    if person.gone_ms.is_some() {
        let children = vec![leave(phone.clone())];
        return Ok(Decision { children, ..Decision::done(reply, Vec::new()) });
    }
    let children = person.phone.clone().filter(|old| old != phone).map(leave).into_iter().collect();
    let mut puts = end_all_but(rows, customer, message.origin.session)?;
    puts.push(Put::Person(Person { phone: Some(phone.clone()), ..person }));
    Ok(Decision { children, ..Decision::done(reply, puts) })
}

/// In the old phone's lane. How many codes it was sent stays counted; the row goes by itself later.
pub(super) fn leave(rows: &WorkingSet, asked: &PhoneLeave) -> Decided {
    let reply = Reply::PhoneChange(replies::PhoneChange {});
    let row = rows.identity(&phone_identity(&asked.phone))?;
    let theirs = row.filter(|row| row.customer == Some(asked.customer)).cloned();
    let freed = theirs.map(|row| Put::Identity(Identity { customer: None, ..row }));
    Ok(Decision::done(reply, freed.into_iter().collect()))
}
