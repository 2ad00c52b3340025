//! The session's tokens: kept in cookies that no script can read, renewed without the customer noticing.
use protocol::{
    Code, Token,
    bounds::{IdempotencyKey, Text},
    catalogue::{replies::SessionTokens, requests},
    session::REFRESH_TTL_S,
};

use super::{
    cookies::name,
    visit::{Stop, Visit},
};
use crate::inward::Answered;

/// The browser forgets an access token this long before it ends, so that a page does not begin with one that lapses
/// on the way.
const EARLY_S: u64 = 20;
/// How long to wait for the next pair, in ms.
const WAIT_MS: u32 = 5_000;

impl Visit {
    /// Keeps a new pair of tokens.
    pub(super) fn keep_tokens(&mut self, tokens: &SessionTokens) {
        let access_s = tokens.expires_in_s.saturating_sub(EARLY_S).max(1);
        let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX);
        self.cookies.set(name::ACCESS, tokens.access_token.clone(), seconds(access_s));
        self.cookies.set(name::REFRESH, tokens.refresh_token.clone(), seconds(REFRESH_TTL_S));
    }

    /// Forgets the session and everything that belongs to whom it was of.
    pub(super) fn forget_session(&mut self) {
        for name in [name::ACCESS, name::REFRESH, name::SEEN, name::ACCOUNT, name::BIND] {
            self.cookies.remove(name);
        }
    }

    /// Gets the next pair of tokens. Two tabs that ask at the same time ask with the same key, and so get the same
    /// answer: neither makes the other's token look stolen.
    pub(super) async fn refresh_session(&mut self) -> Result<(), Stop> {
        let refresh = self.cookies.get(name::REFRESH).ok_or(Stop::LogIn)?.to_owned();
        let refresh_token = Text::new(refresh.as_str()).map_err(|_| Stop::LogIn)?;
        let key = refresh_key(&refresh)?;
        // It insists on nothing seen: what the cookie says may be of another system, as the session then is too.
        let call = self.base_call().with_token(Token::default()).with_key(key).with_wait_ms(WAIT_MS);
        let asked = self.portal.inward.ask(&call, requests::SessionRefresh { refresh_token }).await;
        let answer = asked.map_err(|problem| match problem.code.status() {
            429 | 500.. => Stop::from(problem),
            // Whatever is wrong with the session, only another one helps.
            _ if problem.code != Code::NotYetVisible => Stop::LogIn,
            _ => Stop::Pending,
        })?;
        self.note_seen(&answer.token);
        match answer.outcome {
            Answered::Done(reply) => {
                let tokens = reply.tokens.ok_or(Stop::LogIn)?;
                self.keep_tokens(&tokens);
                Ok(())
            }
            Answered::Accepted(_) | Answered::Pending(_) => Err(Stop::Pending),
        }
    }
}

/// The key under which a refresh token is used: by the token alone.
fn refresh_key(refresh_token: &str) -> Result<IdempotencyKey, Stop> {
    let hash = blake3::derive_key("gridesk portal refresh key v1", refresh_token.as_bytes());
    let hex = blake3::Hash::from_bytes(hash).to_hex();
    format!("refresh-{}", &hex[..40]).parse().map_err(|_| Stop::LogIn)
}
