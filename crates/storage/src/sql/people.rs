//! Customers: how they are recognised, their sessions, their accounts, what is held about them.
use protocol::{ChallengeId, Channel, CustomerId, SessionId, bounds::Phone, catalogue::phone_identity};

use super::{Result, Row, Snapshot, one, value::values};
use crate::{
    rows::{Challenge, Customer, Identity, Payee, Person, Session},
    store::PersonView,
};

/// The accounts of others that a customer has asked about, newest first.
pub(crate) async fn payees<S: Snapshot>(s: &S, customer: CustomerId) -> Result<Vec<Payee>> {
    s.query(
        "reading payees",
        "SELECT account, asked_ms FROM payee WHERE customer = ?1 ORDER BY asked_ms DESC LIMIT 512",
        &values![customer],
        |row| Ok(Payee { account: row.get(0)?, asked_ms: row.get(1)? }),
    )
    .await
}

pub(crate) async fn identity<S: Snapshot>(s: &S, identity: &str) -> Result<Option<Identity>> {
    one(
        s,
        "reading an identity",
        "SELECT customer, last_code_ms, codes, code_window_ms FROM identity WHERE identity = ?1",
        &values![identity],
        |row| {
            Ok(Identity {
                identity: identity.to_owned(),
                customer: row.get(0)?,
                last_code_ms: row.get(1)?,
                codes: row.get(2)?,
                code_window_ms: row.get(3)?,
            })
        },
    )
    .await
}

/// The customer that a phone number is, if it has been verified.
pub(crate) async fn customer_of_phone<S: Snapshot>(s: &S, phone: &Phone) -> Result<Option<CustomerId>> {
    let found = identity(s, &phone_identity(phone)).await?;
    Ok(found.and_then(|identity| identity.customer))
}

pub(crate) async fn challenge<S: Snapshot>(s: &S, id: ChallengeId) -> Result<Option<Challenge>> {
    one(
        s,
        "reading a challenge",
        "SELECT phone, purpose, account, expires_ms, attempts, used FROM challenge WHERE id = ?1",
        &values![id],
        |row| {
            Ok(Challenge {
                id,
                phone: row.parse("phone", 0)?,
                purpose: row.unpack("code purpose", 1)?,
                account: row.get(2)?,
                expires_ms: row.get(3)?,
                attempts: row.get(4)?,
                used: row.get(5)?,
            })
        },
    )
    .await
}

fn session_row(row: &Row<'_>) -> Result<Session> {
    let channel = row.text(7)?;
    Ok(Session {
        id: row.get(0)?,
        customer: row.get(1)?,
        generation: row.get(2)?,
        expires_ms: row.get(3)?,
        ended: row.get(4)?,
        begun_ms: row.get(5)?,
        used_ms: row.get(6)?,
        channel: Channel::ALL.into_iter().find(|known| known.as_str() == channel),
    })
}

pub(crate) async fn session<S: Snapshot>(s: &S, id: SessionId) -> Result<Option<Session>> {
    one(
        s,
        "reading a session",
        "SELECT id, customer, generation, expires_ms, ended, begun_ms, used_ms, channel FROM session WHERE id = ?1",
        &values![id],
        session_row,
    )
    .await
}

/// A customer's sessions that have not been ended, newest first. They are in the customer's own shard.
pub(crate) async fn sessions_of<S: Snapshot>(s: &S, customer: CustomerId) -> Result<Vec<Session>> {
    s.query(
        "reading a customer's sessions",
        "SELECT id, customer, generation, expires_ms, ended, begun_ms, used_ms, channel FROM session
         WHERE customer = ?1 AND ended = 0 ORDER BY begun_ms DESC, id LIMIT 64",
        &values![customer],
        session_row,
    )
    .await
}

/// What is held about a customer besides their accounts.
pub(crate) async fn person<S: Snapshot>(s: &S, customer: CustomerId) -> Result<Option<Person>> {
    one(
        s,
        "reading a person",
        "SELECT phone, since_ms, name, language, elder, notices, last_code_ms, codes, code_window_ms, gone_ms
         FROM person WHERE customer = ?1",
        &values![customer],
        |row| {
            Ok(Person {
                customer,
                phone: row.parse_or_null("phone", 0)?,
                since_ms: row.get(1)?,
                name: row.get(2)?,
                language: row.unpack_or_null("language", 3)?,
                elder: row.get(4)?,
                notices: row.unpack("notices", 5)?,
                last_code_ms: row.get(6)?,
                codes: row.get(7)?,
                code_window_ms: row.get(8)?,
                gone_ms: row.get(9)?,
            })
        },
    )
    .await
}

pub(crate) async fn customer<S: Snapshot>(s: &S, id: CustomerId) -> Result<Customer> {
    let accounts = s
        .query(
            "reading a customer's accounts",
            "SELECT account, since_ms FROM customer_account WHERE customer = ?1 ORDER BY since_ms, account LIMIT 64",
            &values![id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await?;
    Ok(Customer { accounts })
}

/// Everything that is held about a customer.
pub(crate) async fn view<S: Snapshot>(s: &S, id: CustomerId) -> Result<PersonView> {
    let (person, customer, sessions, payees) =
        tokio::try_join!(person(s, id), customer(s, id), sessions_of(s, id), payees(s, id))?;
    Ok(PersonView { person, customer, sessions, payees })
}
