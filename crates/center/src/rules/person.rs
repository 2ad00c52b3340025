//! What is held about a customer: corrected, preferred, deleted.
//!
//! Deleting is one operation of the customer's lane: it empties all that is there and causes the rest (holders in the
//! accounts' lanes, the phone in its own). What it causes is kept with it, so that it survives a death at any moment; each
//! part done again changes nothing.
use protocol::{
    Code, CustomerId, Problem, Reply,
    catalogue::{phone_identity, replies, requests},
    push::CodePurpose,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Person, Put},
    working_set::WorkingSet,
};

use super::{
    Decided, Rules,
    login::{CODE_TTL_S, check_code, count_code, new_challenge, send_code},
    session::{end_all_but, person_of},
};
use crate::operation::{CustomerAccountRemove, Own, PersonForget, PhoneLeave};

/// As many accounts and sessions as are read at once: where there are so many, there may be more.
const READ_AT_ONCE: usize = 64;

pub(super) fn correct(rows: &WorkingSet, message: &NewMessage, asked: &requests::PersonCorrect) -> Decided {
    change(rows, message, Reply::PersonCorrect(replies::PersonCorrect {}), |person| Person {
        name: asked.name.to_string(),
        language: asked.language,
        ..person
    })
}

pub(super) fn prefer(rows: &WorkingSet, message: &NewMessage, asked: &requests::PreferencesSet) -> Decided {
    let requests::PreferencesSet { language, elder, notices } = *asked;
    let reply = Reply::PreferencesSet(replies::PreferencesSet {});
    change(rows, message, reply, |person| Person { language, elder, notices, ..person })
}

fn change(
    rows: &WorkingSet,
    message: &NewMessage,
    reply: Reply,
    changed: impl FnOnce(Person) -> Person,
) -> Decided {
    let Some(customer) = message.origin.customer else { return Ok(nobody()) };
    let person = person_of(rows, customer, message.origin.accepted_ms)?;
    if person.gone_ms.is_some() {
        return Ok(nobody());
    }
    Ok(Decision::done(reply, vec![Put::Person(changed(person))]))
}

fn nobody() -> Decision {
    Decision::rejected(Problem::not_found("customer"))
}

pub(super) fn delete_start(rules: &Rules, rows: &WorkingSet, message: &NewMessage) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let Some(customer) = message.origin.customer else { return Ok(nobody()) };
    let mut person = person_of(rows, customer, now_ms)?;
    let Some(phone) = person.phone.clone() else {
        // A session from before phones were noted; logging in notes it.
        return Ok(Decision::rejected(Problem::new(Code::SessionStale, "Log in anew, then ask again.")));
    };
    let sent = (person.last_code_ms, person.codes, person.code_window_ms);
    (person.last_code_ms, person.codes, person.code_window_ms) = match count_code(sent, now_ms) {
        Ok(counted) => counted,
        Err(problem) => return Ok(Decision::rejected(problem)),
    };
    let challenge = new_challenge(message, phone, CodePurpose::DeletePerson, None);
    let digits = challenge.phone.as_str();
    let reply = replies::PersonDeleteStart {
        challenge: challenge.id,
        phone: format!("{}****{}", &digits[..3], &digits[7..]),
        expires_in_s: CODE_TTL_S,
    };
    let push = send_code(rules, message, &challenge);
    let puts = vec![Put::Person(person), Put::Challenge(challenge), push];
    Ok(Decision::done(Reply::PersonDeleteStart(reply), puts))
}

pub(super) fn delete(
    rules: &Rules,
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::PersonDelete,
) -> Decided {
    let Some(customer) = message.origin.customer else { return Ok(nobody()) };
    let person = person_of(rows, customer, message.origin.accepted_ms)?;
    if person.gone_ms.is_some() {
        return Ok(Decision::done(Reply::PersonDelete(replies::PersonDelete {}), Vec::new()));
    }
    // The challenge is in the customer's own lane and for the customer's own phone, or it is not theirs.
    let challenge = rows.challenge(&asked.challenge)?.filter(|challenge| {
        message.operation.bucket() == customer.bucket() && person.phone.as_ref() == Some(&challenge.phone)
    });
    let now_ms = message.origin.accepted_ms;
    let used = match check_code(rules, challenge, &asked.code, CodePurpose::DeletePerson, now_ms) {
        Ok(used) => used,
        Err((problem, puts)) => return Ok(Decision { puts, ..Decision::rejected(problem) }),
    };
    let mut decision = forget(rows, message, customer)?;
    decision.puts.push(Put::Challenge(used));
    Ok(decision)
}

/// Empties all that the customer's shard holds about them, and causes the rest.
pub(super) fn forget(rows: &WorkingSet, message: &NewMessage, customer: CustomerId) -> Decided {
    let now_ms = message.origin.accepted_ms;
    let person = person_of(rows, customer, now_ms)?;
    let none = Vec::new();
    let accounts = rows.customer(&customer)?.map_or(&none, |customer| &customer.accounts);
    let mut puts = end_all_but(rows, customer, None)?;
    let more = accounts.len() >= READ_AT_ONCE || puts.len() >= READ_AT_ONCE;
    let mut children = Vec::new();
    for (account, _) in accounts {
        let gone = CustomerAccountRemove { customer, account: *account };
        puts.push(Put::CustomerAccountGone { customer, account: *account });
        children.push(Own::HolderRemove(gone).child(account.bucket()));
    }
    if let Some(phone) = person.phone {
        let bucket = protocol::Bucket::of_identity(&phone_identity(&phone));
        children.push(Own::PhoneLeave(PhoneLeave { customer, phone }).child(bucket));
    }
    if more {
        children.push(Own::PersonForget(PersonForget { customer }).child(customer.bucket()));
    }
    puts.extend([Put::PayeesGone { customer }, Put::WordsGone { customer }]);
    let gone_ms = person.gone_ms.or(Some(now_ms));
    puts.push(Put::Person(Person { since_ms: 0, gone_ms, ..Person::new(customer, 0) }));
    Ok(Decision { children, ..Decision::done(Reply::PersonDelete(replies::PersonDelete {}), puts) })
}
