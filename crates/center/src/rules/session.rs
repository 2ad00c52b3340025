//! Sessions: opened, continued, ended. They are in their customer's shard.
use protocol::{
    Code, CustomerId, Problem, Reply,
    catalogue::{replies, requests},
    session::REFRESH_TTL_S,
};
use storage::{
    message::{Decision, NewMessage},
    rows::{Person, Put, Session},
    working_set::{NotLoaded, WorkingSet},
};

use super::Decided;
use crate::operation::{SessionClose, SessionContinue, SessionOpen};

/// The most sessions one customer has open; the oldest ends where another is opened.
pub(super) const MOST_SESSIONS: usize = 32;

/// Whether a customer has been deleted.
pub(super) fn is_gone(rows: &WorkingSet, customer: CustomerId) -> Result<bool, NotLoaded> {
    Ok(rows.person(&customer)?.is_some_and(|person| person.gone_ms.is_some()))
}

/// What is held about a customer, fresh where nothing is.
pub(super) fn person_of(rows: &WorkingSet, customer: CustomerId, now_ms: u64) -> Result<Person, NotLoaded> {
    Ok(rows.person(&customer)?.cloned().unwrap_or_else(|| Person::new(customer, now_ms)))
}

/// Opens a session of a customer who logged in with a phone of another lane.
pub(super) fn open(rows: &WorkingSet, message: &NewMessage, asked: &SessionOpen) -> Decided {
    let SessionOpen { session, customer, .. } = *asked;
    if is_gone(rows, customer)? {
        return Ok(Decision::rejected(Problem::not_found("customer")));
    }
    let reply = Reply::LoginFinish(replies::LoginFinish { session, customer, tokens: None });
    Ok(Decision::done(reply, opened(rows, message, asked)?))
}

/// What opening a session writes.
pub(super) fn opened(
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &SessionOpen,
) -> Result<Vec<Put>, NotLoaded> {
    let now_ms = message.origin.accepted_ms;
    let SessionOpen { session: id, customer, ref phone } = *asked;
    let mut puts = Vec::new();
    let known = rows.person(&customer)?;
    if known.is_none_or(|person| person.phone.is_none()) {
        let person = person_of(rows, customer, now_ms)?;
        puts.push(Put::Person(Person { phone: Some(phone.clone()), ..person }));
    }
    let open = open_now(rows, customer, now_ms)?;
    let too_many = open.into_iter().skip(MOST_SESSIONS - 1);
    puts.extend(too_many.map(|old| Put::Session(Session { ended: true, ..old.clone() })));
    puts.push(Put::Session(Session {
        id,
        customer,
        generation: 1,
        expires_ms: now_ms + REFRESH_TTL_S * 1000,
        ended: false,
        begun_ms: now_ms,
        used_ms: now_ms,
        channel: Some(message.origin.channel),
    }));
    Ok(puts)
}

/// A customer's sessions that are open, newest first.
fn open_now(rows: &WorkingSet, customer: CustomerId, now_ms: u64) -> Result<Vec<&Session>, NotLoaded> {
    let sessions = rows.sessions_of(&customer)?.into_iter().flatten();
    Ok(sessions.filter(|session| now_ms < session.expires_ms).collect())
}

/// What ends a customer's sessions, all but one.
pub(super) fn end_all_but(
    rows: &WorkingSet,
    customer: CustomerId,
    keep: Option<protocol::SessionId>,
) -> Result<Vec<Put>, NotLoaded> {
    let others = rows.sessions_of(&customer)?.into_iter().flatten().filter(|s| Some(s.id) != keep);
    Ok(others.map(|session| Put::Session(Session { ended: true, ..session.clone() })).collect())
}

pub(super) fn end_other(
    rows: &WorkingSet,
    message: &NewMessage,
    asked: &requests::SessionEndOther,
) -> Decided {
    let own = message.origin.session;
    let Some(customer) = message.origin.customer else {
        return Ok(Decision::rejected(Problem::not_found("session")));
    };
    if asked.session.is_some() && asked.session == own {
        let why = "This is the session that asks. Log out to end it.";
        return Ok(Decision::rejected(Problem::new(Code::Conflict, why)));
    }
    let open = open_now(rows, customer, message.origin.accepted_ms)?;
    // One that is not open (any more), or not theirs, is none to be ended: the same answer, and nothing done.
    let chosen = open.into_iter().filter(|s| Some(s.id) != own && asked.session.is_none_or(|id| id == s.id));
    let puts: Vec<Put> =
        chosen.map(|session| Put::Session(Session { ended: true, ..session.clone() })).collect();
    let ended = puts.len() as u32;
    Ok(Decision::done(Reply::SessionEndOther(replies::SessionEndOther { ended }), puts))
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
    session.used_ms = now_ms;
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
