//! Who asks: tokens believed before are remembered, so that a signature is checked once, not with every request.
use std::{sync::Arc, time::Duration};

use ed25519_dalek::VerifyingKey;
use protocol::{
    Code, OperationId, Problem, SessionId,
    catalogue::replies::{self, SessionTokens},
    session::{Claims, REFRESH_TTL_S, SessionError, TokenUse, verify},
};
use storage::rows::Entity;

use crate::{
    keys::SessionKeys,
    node::{Asked, Node, unavailable},
    views,
};

/// For how long the result of a log-in or a refresh may be asked for again, in ms.
const REPEAT_MS: u64 = 5 * 60 * 1000;

/// For how long after logging in one may change how one logs in, in ms.
const FRESH_MS: u64 = 15 * 60 * 1000;

/// What the node remembers of who asked, and with which keys.
pub(crate) struct Sessions {
    /// Tokens whose signature has been found right.
    known: moka::sync::Cache<[u8; 32], Arc<Claims>>,
    /// Which operation an idempotency key stood for, wherever it belonged, and the digest of its body.
    pub(crate) keys_seen: moka::sync::Cache<OperationId, (OperationId, [u8; 16])>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        let known =
            moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(900)).build();
        let keys_seen = moka::sync::Cache::builder()
            .max_capacity(200_000)
            .time_to_live(Duration::from_secs(24 * 3600))
            .build();
        Sessions { known, keys_seen }
    }

    /// The claims of an access token that is genuine and in time.
    pub(crate) fn verify(
        &self,
        keys: &[(u8, VerifyingKey)],
        token: &str,
        now_s: u64,
    ) -> Result<Claims, Problem> {
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        let claims = match self.known.get(&digest) {
            Some(known) if known.expires_s > now_s => known,
            Some(_) => return Err(refused(SessionError::Expired)),
            None => {
                let claims = Arc::new(verify(keys, token, now_s).map_err(refused)?);
                self.known.insert(digest, Arc::clone(&claims));
                claims
            }
        };
        if claims.usage != TokenUse::Access {
            return Err(Problem::new(
                Code::Unauthenticated,
                "This is a refresh token. Exchange it for an access token.",
            ));
        }
        Ok((*claims).clone())
    }
}

pub(crate) fn refused(error: SessionError) -> Problem {
    let what = match error {
        SessionError::Expired => "The session token has expired. Refresh it, or log in again.",
        SessionError::Malformed | SessionError::Signature => {
            "The session token is not genuine. Log in again."
        }
    };
    Problem::new(Code::Unauthenticated, what)
}

impl Node {
    /// Whether a session has not been ended. From the cache, in step with the slaves.
    pub(crate) async fn session_is_open(&self, claims: &Claims) -> Result<bool, Problem> {
        let entity = Entity::Session(claims.session);
        let found = self.view(entity, views::SESSION, self.parts.store.session(claims.session)).await?;
        Ok(found.value.as_ref().as_ref().is_some_and(|s| {
            !s.ended && s.customer == claims.customer && self.parts.clock.unix_ms() < s.expires_ms
        }))
    }

    /// Lets through who logged in a short while ago.
    pub(crate) async fn check_fresh(&self, asked: &Asked) -> Result<(), Problem> {
        let claims = asked.session.as_ref().ok_or_else(|| refused(SessionError::Expired))?;
        let load = self.parts.store.session(claims.session);
        let found = self.view(Entity::Session(claims.session), views::SESSION, load).await?;
        let begun_ms = found.value.as_ref().as_ref().map_or(0, |session| session.begun_ms);
        if self.parts.clock.unix_ms().saturating_sub(begun_ms) < FRESH_MS {
            return Ok(());
        }
        let why = "This touches how you log in. Log in anew, then ask again within a quarter of an hour.";
        Err(Problem::new(Code::SessionStale, why))
    }

    /// Makes a session's tokens.
    pub(crate) fn tokens(
        &self,
        session: SessionId,
        customer: protocol::CustomerId,
        generation: u32,
    ) -> SessionTokens {
        let now_s = self.parts.clock.unix_ms() / 1000;
        let claims =
            Claims { key_id: 0, usage: TokenUse::Access, session, customer, generation, expires_s: 0 };
        let keys = &self.parts.keys;
        SessionTokens {
            access_token: keys.sign(TokenUse::Access, claims.clone(), now_s, SessionKeys::ACCESS_TTL_S),
            refresh_token: keys.sign(TokenUse::Refresh, claims, now_s, REFRESH_TTL_S),
            expires_in_s: SessionKeys::ACCESS_TTL_S,
        }
    }

    /// Adds tokens to a session's result, for the one who asked for it and shows that they may have them; not where
    /// the session has gone on or ended since.
    ///
    /// Whoever shows a code or a refresh token again under the same key gets tokens again only for as long as the code
    /// itself was good: a request that was written down somewhere is worth nothing afterwards.
    pub(crate) async fn with_tokens(
        &self,
        reply: protocol::Reply,
        accepted_ms: u64,
    ) -> Result<protocol::Reply, Problem> {
        let (session, generation) = match &reply {
            protocol::Reply::LoginFinish(r) => (r.session, 1),
            protocol::Reply::SessionRefresh(r) => (r.session, r.generation),
            _ => return Ok(reply),
        };
        let row = self.parts.store.session(session).await.map_err(unavailable)?.value;
        let ended = || Problem::new(Code::Unauthenticated, "The session has ended or gone on. Log in again.");
        if self.parts.clock.unix_ms().saturating_sub(accepted_ms) > REPEAT_MS {
            return Err(ended());
        }
        let row = row.filter(|s| !s.ended && s.generation == generation).ok_or_else(ended)?;
        let tokens = Some(self.tokens(session, row.customer, generation));
        Ok(match reply {
            protocol::Reply::LoginFinish(r) => {
                protocol::Reply::LoginFinish(replies::LoginFinish { tokens, ..r })
            }
            protocol::Reply::SessionRefresh(r) => {
                protocol::Reply::SessionRefresh(replies::SessionRefresh { tokens, ..r })
            }
            other => other,
        })
    }
}
