//! The way inside: every question of the portal and the API goes through here, over a gate, to the center.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use ed25519_dalek::VerifyingKey;
use moka::sync::Cache;
use protocol::{
    Channel, Code, Kind, OperationId, Outcome, Problem, ReplyEnvelope, Request, RequestEnvelope, Spec, Token,
    bounds::{IdempotencyKey, ShortName, Text},
    catalogue::Operation,
    envelope::{Language, MAX_DEADLINE_MS, MAX_REPLY_LEN, RequestHead},
    push::{EdgeSettings, STAFF_REVOCATIONS_MAX, StaffRevocation},
    session::{Claims, MAX_TOKEN_LEN, STAFF_TTL_S, SessionError, StaffClaims, TokenUse},
};
use runtime::{
    clock::{Clock, Deadline},
    mux::{CallError, Limits, Plain, Service},
    peers::{Peers, Told, Verdict},
    shutdown::Shutdown,
    telemetry::{RequestId, TraceContext},
};
use tokio_util::sync::CancellationToken;

/// Revocations that are known at once: of several gates, each of which may have heard another list last.
const KNOWN_REVOKED_MAX: usize = 4 * STAFF_REVOCATIONS_MAX;
/// How far the center's clock may be ahead, in s.
const CLOCKS_APART_S: u64 = 300;
/// How long a question may take from here if nothing else is said, in ms; a wait for a write's result comes on top.
pub const DEADLINE_MS: u32 = 5_000;
/// Verified session tokens kept in memory, so that each is verified once.
const VERIFIED_MAX: u64 = 100_000;

/// The edge's connections to the gates, and what it knows to shed early. Cheap to clone.
#[derive(Clone)]
pub struct Inward {
    state: Arc<State>,
}

struct State {
    peers: Peers,
    clock: Clock,
    keys: RwLock<Vec<(u8, VerifyingKey)>>,
    /// Up to when a name's staff tokens were made that are not good any more, Unix seconds.
    revoked: RwLock<BTreeMap<ShortName, u64>>,
    verified: Cache<String, Claims>,
}

/// Why a staff token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStaff {
    /// It is none, or its time has passed.
    LogIn,
    /// It was good, and was taken back.
    Revoked,
}

/// What goes along with a question: who asks, where, how long it may take.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same in every log line of every zone.
    pub request_id: RequestId,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// Where it came in.
    pub channel: Channel,
    /// Which client program asks.
    pub client: ShortName,
    /// In which language to speak to the person.
    pub language: Language,
    /// The customer's access token. It goes along only where the operation looks at it.
    pub session: Option<Text<MAX_TOKEN_LEN>>,
    /// What was sent in place of an access token cannot be one: the answer to whatever needs one.
    pub session_refused: Option<Problem>,
    /// What makes a write the same write when it is sent again.
    pub idempotency_key: Option<IdempotencyKey>,
    /// How long a write waits for its result, in ms.
    pub wait_ms: u32,
    /// What the reader has seen and insists on.
    pub token: Token,
    /// Whether a read that cannot be that fresh is refused.
    pub strict: bool,
    /// How long the whole may take, in ms.
    pub deadline_ms: u32,
}

impl Call {
    /// A call over `channel` by the program of the same name, in Chinese, with a new request id, without a session.
    pub fn new(channel: Channel) -> Self {
        Call {
            request_id: RequestId::random(),
            trace: TraceContext::random(),
            channel,
            client: client_of(channel),
            language: Language::default(),
            session: None,
            session_refused: None,
            idempotency_key: None,
            wait_ms: 0,
            token: Token::default(),
            strict: false,
            deadline_ms: DEADLINE_MS,
        }
    }

    /// In this language.
    #[must_use]
    pub fn with_language(mut self, language: Language) -> Self {
        self.language = language;
        self
    }

    /// For whom this access token was made; one that is too long to be ours is left out, and the center says what
    /// that means.
    #[must_use]
    pub fn with_session(mut self, token: &str) -> Self {
        self.session = Text::new(token).ok();
        self
    }

    /// Under this key. A write needs one.
    #[must_use]
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Waits so long for a write's result, in ms; the deadline moves out by as much.
    #[must_use]
    pub fn with_wait_ms(mut self, wait_ms: u32) -> Self {
        self.wait_ms = wait_ms.min(MAX_DEADLINE_MS - DEADLINE_MS);
        self.deadline_ms = DEADLINE_MS + self.wait_ms;
        self
    }

    /// Has seen this, and wants nothing older.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = token;
        self
    }

    /// Would rather be refused than told what is under way.
    #[must_use]
    pub fn strictly(mut self) -> Self {
        self.strict = true;
        self
    }

    fn head(&self) -> RequestHead {
        RequestHead {
            request_id: self.request_id.to_u128().to_be_bytes(),
            trace_id: self.trace.trace_id.to_be_bytes(),
            span_id: self.trace.span_id.to_be_bytes(),
            deadline_ms: self.deadline_ms.min(MAX_DEADLINE_MS),
            channel: self.channel,
            client: self.client.clone(),
            language: self.language,
            session: self.session.clone(),
            idempotency_key: self.idempotency_key.clone(),
            wait_ms: self.wait_ms.min(MAX_DEADLINE_MS),
            token: self.token.clone(),
            strict: self.strict,
        }
    }
}

/// The client name of a channel's own program.
fn client_of(channel: Channel) -> ShortName {
    match channel.as_str().parse() {
        Ok(name) => name,
        // A test below holds every channel's name to be a short name.
        Err(_) => unreachable!("{channel:?} is not a short name"),
    }
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered<R> {
    /// It was answered.
    Done(R),
    /// The write was taken durably; its result is to be had under this id.
    Accepted(OperationId),
    /// Data as fresh as asked for is not visible yet; these writes are under way.
    Pending(Vec<OperationId>),
}

/// An answer from inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<R> {
    /// How it ended.
    pub outcome: Answered<R>,
    /// How far its reader has seen now: to be presented with the next question.
    pub token: Token,
}

impl<R> Answer<R> {
    /// The result, for a caller who has no use for anything else.
    ///
    /// # Errors
    /// `not_yet_visible` where the write is not applied, or the data is not fresh enough yet.
    pub fn done(self) -> Result<R, Problem> {
        match self.outcome {
            Answered::Done(reply) => Ok(reply),
            Answered::Accepted(operation) => Err(Problem::new(
                Code::NotYetVisible,
                format!("It was accepted as {operation} and will be done, but there is no result yet."),
            )),
            Answered::Pending(_) => Err(Problem::new(
                Code::NotYetVisible,
                "Your last changes are still under way. Try again in a moment.",
            )),
        }
    }
}

impl Inward {
    /// Without any connection yet.
    pub fn new(clock: Clock) -> Self {
        let verified = Cache::new(VERIFIED_MAX);
        Inward {
            state: Arc::new(State {
                peers: Peers::default(),
                clock,
                keys: RwLock::default(),
                revoked: RwLock::default(),
                verified,
            }),
        }
    }

    /// Keeps a connection to the outer half of a gate at its socket, until shutdown or until it is not `there` any more: then
    /// nothing new is asked over it, and it closes once what is open has ended. `pushes` takes what it pushes.
    pub fn connect<S: Service>(
        &self,
        gate: &Path,
        there: CancellationToken,
        uids: &[u32],
        pushes: &S,
        shutdown: &Shutdown,
    ) {
        let codec = Plain { max_payload: MAX_REPLY_LEN };
        let limits = Limits { calls: 4096, served: 64 };
        let (peers, gate, uids) = (self.state.peers.clone(), gate.to_owned(), uids.to_vec());
        let (pushes, stop) = (pushes.clone(), shutdown.token());
        tokio::spawn(async move {
            let kept = peers.keep_connected(&gate, &uids, codec, limits, pushes, there);
            // At this edge's own end what is open must still be answered.
            stop.run_until_cancelled(kept).await;
        });
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.state.clock
    }

    /// How many gates are connected.
    pub fn gates_connected(&self) -> usize {
        self.state.peers.connected()
    }

    /// The connections themselves, for who watches them come and go.
    pub fn gates(&self) -> &Peers {
        &self.state.peers
    }

    /// Asks. Asked again by itself when a gate is lost on the way, within the deadline.
    ///
    /// # Errors
    /// What the center says; and from here: `idempotency_key_required` for a write without a key, `unauthenticated` for
    /// a session that is surely not valid, `gate_unavailable`, `overloaded`, `deadline_exceeded`.
    pub async fn ask<O: Operation>(&self, call: &Call, operation: O) -> Result<Answer<O::Reply>, Problem> {
        let mut envelope = RequestEnvelope { head: call.head(), request: operation.into() };
        let spec = envelope.request.spec();
        if spec.kind == Kind::Write && call.idempotency_key.is_none() {
            return Err(Problem::new(
                Code::IdempotencyKeyRequired,
                "Send a key of your own with every write.",
            ));
        }
        if !session_matters(&envelope.request) {
            envelope.head.session = None;
        } else if let Some(refused) = &call.session_refused {
            return Err(refused.clone());
        } else if let Some(token) = &call.session {
            self.check_session(token)?;
        }
        let deadline = Deadline::from_remaining_ms(envelope.head.deadline_ms.into());
        let started = std::time::Instant::now();
        let mut declined = 0;
        let answered = self.state.peers.ask(
            deadline,
            |left_ms| {
                envelope.head.deadline_ms = u32::try_from(left_ms).unwrap_or(MAX_DEADLINE_MS);
                envelope.encode()
            },
            |bytes| match ReplyEnvelope::decode_for(&bytes, spec) {
                // This gate is stopping, say: another may be open.
                Ok(reply) if is_gate_closed(&reply) => {
                    declined += 1;
                    Verdict::Declined(Ok(reply))
                }
                decoded => Verdict::Taken(decoded),
            },
        );
        let answered = answered.await;
        metrics::histogram!("edge_ask_ms", "operation" => spec.name)
            .record(started.elapsed().as_secs_f64() * 1e3);
        let Told { what: reply, lost } = answered.map_err(|error| no_answer(error, call.request_id, spec))?;
        let reply = reply.map_err(|refusal| {
            tracing::error!(request_id = %call.request_id, operation = spec.name, %refusal, "reply refused");
            Problem::new(Code::GateUnavailable, "The answer was lost. Ask again; a write is not done twice.")
        })?;
        // A gate that declined may also have lost the answer: only the last one's words are about what it did itself.
        let lost = lost || declined > usize::from(is_gate_closed(&reply));
        if reply.request_id != envelope.head.request_id {
            tracing::error!(request_id = %call.request_id, operation = spec.name, "reply belongs to another request");
            return Err(Problem::new(Code::Internal, "The answer was not for this request."));
        }
        let outcome = match reply.outcome {
            Outcome::Done(reply) => Answered::Done(
                O::Reply::try_from(reply)
                    .map_err(|_| Problem::new(Code::Internal, "The answer was not for this operation."))?,
            ),
            Outcome::Accepted(operation) => Answered::Accepted(operation),
            Outcome::Pending(operations) => Answered::Pending(operations),
            Outcome::Problem(problem) if lost && problem.code.is_of_one_try() => {
                return Err(Problem { detail: spec.outcome_unknown().to_owned(), ..problem });
            }
            Outcome::Problem(problem) => return Err(problem),
        };
        Ok(Answer { outcome, token: reply.token })
    }

    /// Takes over the public keys of session tokens.
    pub fn take_settings(&self, settings: &EdgeSettings) {
        let key = |(id, bytes): &(u8, [u8; 32])| VerifyingKey::from_bytes(bytes).ok().map(|key| (*id, key));
        let keys: Vec<_> = settings.session_keys.iter().filter_map(key).collect();
        *self.state.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.state.verified.invalidate_all();
    }

    /// What a session token says, if it can be checked here. `None`: no key is known yet, the center will say.
    ///
    /// # Errors
    /// `unauthenticated` for a token that is surely not good: to be shed before it costs more.
    pub fn check_session(&self, token: &str) -> Result<Option<Claims>, Problem> {
        let now_s = self.state.clock.unix_ms() / 1000;
        let refused =
            |error: SessionError| Problem::new(Code::Unauthenticated, format!("{error}. Log in again."));
        if let Some(claims) = self.state.verified.get(token) {
            return if claims.expires_s > now_s {
                Ok(Some(claims))
            } else {
                Err(refused(SessionError::Expired))
            };
        }
        let keys = self.state.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if keys.is_empty() {
            return Ok(None);
        }
        let claims = protocol::session::verify(&keys, token, now_s).map_err(refused)?;
        if claims.usage != TokenUse::Access {
            return Err(refused(SessionError::Malformed));
        }
        self.state.verified.insert(token.to_owned(), claims.clone());
        Ok(Some(claims))
    }

    /// Takes over whose staff tokens are not good any more. What other gates said stays: nobody's token becomes good again.
    pub fn take_revocations(&self, told: &[StaffRevocation]) {
        let now_s = self.state.clock.unix_ms() / 1000;
        let mut known = self.state.revoked.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until_s| now_s < until_s.saturating_add(STAFF_TTL_S));
        for StaffRevocation { name, until_s } in told.iter().take(STAFF_REVOCATIONS_MAX) {
            if known.len() >= KNOWN_REVOKED_MAX && !known.contains_key(name) {
                tracing::error!(%name, "more revocations are known than a center keeps; one was not taken");
                continue;
            }
            // Nobody can be revoked for times to come.
            let until_s = (*until_s).min(now_s.saturating_add(CLOCKS_APART_S));
            let until = known.entry(name.clone()).or_insert(until_s);
            *until = (*until).max(until_s);
        }
    }

    /// Whom a staff token names.
    ///
    /// # Errors
    /// It is not good, and why as far as its holder is to know.
    pub(crate) fn check_staff(&self, token: &str) -> Result<StaffClaims, NotStaff> {
        let now_s = self.state.clock.unix_ms() / 1000;
        let claims = protocol::session::verify_staff(&self.session_keys(), token, now_s);
        let claims = claims.map_err(|_| NotStaff::LogIn)?;
        let revoked = self.state.revoked.read().unwrap_or_else(PoisonError::into_inner);
        match revoked.get(&claims.name) {
            Some(until_s)
                if (StaffRevocation { name: claims.name.clone(), until_s: *until_s }).covers(&claims) =>
            {
                Err(NotStaff::Revoked)
            }
            _ => Ok(claims),
        }
    }

    /// The public keys of what the center signs, as far as they are known.
    pub(crate) fn session_keys(&self) -> Vec<(u8, VerifyingKey)> {
        self.state.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether an operation looks at the session at all: logging in with a stale one in hand must work.
fn session_matters(request: &Request) -> bool {
    !matches!(
        request,
        Request::GateProbe(_)
            | Request::FormList(_)
            | Request::LoginStart(_)
            | Request::LoginFinish(_)
            | Request::SessionRefresh(_)
            | Request::PaymentCallback(_)
            | Request::PushResult(_)
    )
}

fn is_gate_closed(reply: &ReplyEnvelope) -> bool {
    matches!(&reply.outcome, Outcome::Problem(problem) if problem.code == Code::GateUnavailable)
}

fn no_answer(error: CallError, request_id: RequestId, spec: &Spec) -> Problem {
    let operation = spec.name;
    tracing::warn!(%request_id, operation, %error, "no answer from inside");
    metrics::counter!("edge_unanswered_total", "operation" => operation).increment(1);
    match error {
        CallError::Away => Problem::new(Code::GateUnavailable, "Nothing was done. Try again in a moment."),
        CallError::Closed => Problem::new(Code::GateUnavailable, spec.outcome_unknown()),
        CallError::Busy => Problem::new(Code::Overloaded, "Nothing was done. Try again in a moment."),
        CallError::TimedOut => Problem::new(Code::DeadlineExceeded, spec.outcome_unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use protocol::{Bucket, CustomerId, SessionId, session::sign};

    #[test]
    fn every_channel_names_its_client() {
        for channel in Channel::ALL {
            assert_eq!(Call::new(channel).client.as_str(), channel.as_str());
        }
    }

    #[test]
    fn a_wait_moves_the_deadline_and_both_stay_within_what_may_cross() {
        let call = Call::new(Channel::App).with_wait_ms(2_000);
        assert_eq!((call.wait_ms, call.deadline_ms), (2_000, 7_000));
        assert_eq!(Call::new(Channel::App).with_wait_ms(u32::MAX).deadline_ms, MAX_DEADLINE_MS);
    }

    #[test]
    fn sessions_are_checked_once_a_key_is_known() {
        let (clock, hand) = Clock::manual(1_000_000);
        let inward = Inward::new(clock);
        let key = SigningKey::from_bytes(&[5; 32]);
        let bucket = Bucket::of(b"c");
        let mut claims = Claims {
            key_id: 3,
            usage: TokenUse::Access,
            session: SessionId::mint(bucket, 1),
            customer: CustomerId::mint(bucket, 2),
            generation: 0,
            expires_s: 1_900,
        };
        let token = sign(&key, &claims);
        assert_eq!(inward.check_session("anything"), Ok(None));
        inward.take_settings(&EdgeSettings { session_keys: vec![(3, key.verifying_key().to_bytes())] });
        for _ in 0..2 {
            assert_eq!(inward.check_session(&token), Ok(Some(claims.clone())));
        }
        assert_eq!(inward.check_session("anything").unwrap_err().code, Code::Unauthenticated);
        claims.usage = TokenUse::Refresh;
        assert_eq!(inward.check_session(&sign(&key, &claims)).unwrap_err().code, Code::Unauthenticated);
        hand.set(1_900_000);
        assert_eq!(inward.check_session(&token).unwrap_err().code, Code::Unauthenticated);
    }
}
