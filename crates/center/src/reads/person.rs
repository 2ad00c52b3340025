//! What is held about a customer.
use protocol::{
    AccountId, Problem, Reply, SessionId,
    catalogue::replies::{self, BoundAccount, PayeeAsked, SessionBrief},
};
use storage::rows::{Person, Session};

use super::customer;
use crate::node::{Answer, Asked, Node, unavailable};

/// The most sessions of a list; no more are open.
const MOST_SESSIONS: usize = 32;

impl Node {
    pub(super) async fn person_get(&self, asked: &Asked) -> Result<Answer, Problem> {
        let customer = customer(asked)?;
        let seen = self.parts.store.person_view(customer).await.map_err(unavailable)?;
        let view = seen.value;
        let bound = |&(account, bound_ms): &(AccountId, u64)| BoundAccount { account, bound_ms };
        let payees = view.payees.iter();
        let reply = replies::PersonGet {
            customer,
            since_ms: view.person.as_ref().map(|person| person.since_ms).filter(|ms| *ms > 0),
            phone: view.person.as_ref().and_then(|person| person.phone.clone()),
            name: view.person.as_ref().map(|person| person.name.clone()).unwrap_or_default(),
            preferences: preferences(view.person.as_ref()),
            accounts: view.customer.accounts.iter().map(bound).collect(),
            sessions: self.briefs(asked, &view.sessions),
            payees: payees.map(|p| PayeeAsked { account: p.account, asked_ms: p.asked_ms }).collect(),
        };
        Ok(Answer::done(Reply::PersonGet(reply), seen.position))
    }

    pub(super) async fn preferences_get(&self, asked: &Asked) -> Result<Answer, Problem> {
        let seen = self.parts.store.person(customer(asked)?).await.map_err(unavailable)?;
        let reply = preferences(seen.value.as_ref());
        Ok(Answer::done(Reply::PreferencesGet(reply), seen.position))
    }

    pub(super) async fn session_list(&self, asked: &Asked) -> Result<Answer, Problem> {
        let seen = self.parts.store.sessions_of(customer(asked)?).await.map_err(unavailable)?;
        let sessions = self.briefs(asked, &seen.value);
        Ok(Answer::done(Reply::SessionList(replies::SessionList { sessions }), seen.position))
    }

    fn briefs(&self, asked: &Asked, sessions: &[Session]) -> Vec<SessionBrief> {
        let now_ms = self.parts.clock.unix_ms();
        let current: Option<SessionId> = asked.session.as_ref().map(|claims| claims.session);
        let noted = |ms: u64| (ms > 0).then_some(ms);
        let brief = |session: &Session| SessionBrief {
            session: session.id,
            channel: session.channel,
            begun_ms: noted(session.begun_ms),
            used_ms: noted(session.used_ms),
            expires_ms: session.expires_ms,
            is_current: Some(session.id) == current,
        };
        sessions.iter().filter(|s| now_ms < s.expires_ms).map(brief).take(MOST_SESSIONS).collect()
    }
}

/// What somebody of whom nothing is held prefers: all notices, the language of each request.
fn preferences(person: Option<&Person>) -> replies::PreferencesGet {
    replies::PreferencesGet {
        language: person.and_then(|person| person.language),
        elder: person.is_some_and(|person| person.elder),
        notices: person.map(|person| person.notices).unwrap_or_default(),
    }
}
