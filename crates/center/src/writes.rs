//! Writes: into their lane, durably, then (if the caller wants to wait) until they are visible everywhere.
use std::time::Duration;

use protocol::{
    Bucket, Channel, Code, OperationId, Outcome, Position, Problem, Reply, Request, Token,
    bounds::Text,
    catalogue::{
        replies::{self, OperationState},
        requests,
    },
    envelope::{Language, RequestHead},
    payment::{CallbackBody, CallbackError, SIGNATURE_TOLERANCE_S, verify_callback},
    session::{TokenUse, verify},
};
use runtime::clock::Deadline;
use storage::{
    StorageError,
    message::{Ended, NewMessage, OperationRow, Origin, body_digest},
};

use crate::{
    node::{Answer, Asked, Node, unavailable},
    operation::{
        DebitFail, MandateLeave, MandateSign, Operation, Own, RefundEnd, SessionClose, SessionContinue,
        Settle,
    },
    sessions::refused,
};

/// A write that knows its place.
struct Write {
    operation: Operation,
    bucket: Bucket,
    id: OperationId,
}

/// How long before the deadline a waiting write stops waiting, so that "accepted" still gets back in time.
const MARGIN: Duration = Duration::from_millis(100);
/// How long a provider's message waits for its result before its durable acceptance is enough.
const CALLBACK_WAIT_MS: u32 = 5_000;

impl Node {
    pub(crate) async fn write(&self, asked: Asked, request: Request) -> Result<Answer, Problem> {
        let mut wait_ms = asked.head.wait_ms;
        let write = match request {
            Request::SessionRefresh(r) => self.refresh(&asked.head, &r.refresh_token)?,
            Request::SessionEnd(_) => {
                let session = asked
                    .session
                    .as_ref()
                    .map(|s| s.session)
                    .ok_or_else(|| refused_session("Log in first."))?;
                let own = Own::SessionClose(SessionClose { session });
                self.keyed(&asked.head, Operation::Own(own), session.bucket(), &session.to_string())?
            }
            Request::PaymentCallback(r) => {
                wait_ms = wait_ms.max(CALLBACK_WAIT_MS);
                self.callback(&r)?
            }
            request => {
                let no_place =
                    || Problem::new(Code::Internal, "The operation does not say where it belongs.");
                // What belongs to nothing else belongs to who asks.
                let own = || asked.session.as_ref().map(|s| s.customer.bucket());
                let bucket = request.bucket().or_else(own).ok_or_else(no_place)?;
                let subject = match (&asked.session, &request) {
                    (Some(session), _) => session.customer.to_string(),
                    (None, Request::LoginFinish(r)) => r.challenge.to_string(),
                    (None, Request::LoginStart(r)) => r.phone.to_string(),
                    (None, _) => String::new(),
                };
                self.keyed(&asked.head, Operation::Asked(request), bucket, &subject)?
            }
        };
        let origin = self.origin(&asked);
        let patience =
            Duration::from_millis(u64::from(wait_ms)).min(asked.deadline.remaining().saturating_sub(MARGIN));
        self.accept(write, origin, patience).await
    }

    /// Runs one of the center's own operations for the intranet, and waits until it is visible everywhere.
    ///
    /// # Errors
    /// The problem it was rejected with; `unavailable` where it was not applied within a minute (it may be later).
    pub async fn run_own(&self, own: Own, bucket: Bucket, key: &str) -> Result<Reply, Problem> {
        let id = OperationId::derive(bucket, "center-admin", own.name(), key);
        let origin = self.own_origin();
        let write = Write { operation: Operation::Own(own), bucket, id };
        match self.accept(write, origin, Duration::from_secs(60)).await?.outcome {
            Outcome::Done(reply) => Ok(reply),
            Outcome::Problem(problem) => Err(problem),
            Outcome::Accepted(_) | Outcome::Pending(_) => Err(Problem::new(
                Code::Unavailable,
                "It was accepted, but is not applied yet. Ask again: it is done once.",
            )),
        }
    }

    /// Runs one of the center's own operations as a part of what a customer asks, until it is visible everywhere; gives
    /// where. The same `key` is the same operation.
    pub(crate) async fn own_of(
        &self,
        asked: &Asked,
        own: Own,
        bucket: Bucket,
        key: &str,
    ) -> Result<Token, Problem> {
        let subject = asked.session.as_ref().map(|s| s.customer.to_string()).unwrap_or_default();
        let id = OperationId::derive(bucket, own.name(), &subject, key);
        let write = Write { operation: Operation::Own(own), bucket, id };
        let patience = asked.deadline.remaining().saturating_sub(MARGIN);
        let answer = self.accept(write, self.origin(asked), patience).await?;
        match answer.outcome {
            Outcome::Done(_) => Ok(answer.token),
            Outcome::Problem(problem) => Err(problem),
            Outcome::Accepted(_) | Outcome::Pending(_) => {
                Err(Problem::new(Code::NotYetVisible, "It is not carried out yet. Ask again in a moment."))
            }
        }
    }

    /// Runs one of the center's own operations that is due, under an id that comes from `key`, and waits for it no longer than
    /// `patience`. Where it was run before, nothing is done anew.
    pub(crate) async fn run_scheduled(
        &self,
        own: Own,
        bucket: Bucket,
        key: &str,
        patience: Duration,
    ) -> Result<(), Problem> {
        let id = OperationId::derive(bucket, "center-schedule", own.name(), key);
        let write = Write { operation: Operation::Own(own), bucket, id };
        self.accept(write, self.own_origin(), patience).await.map(drop)
    }

    /// A write whose id comes from its idempotency key.
    fn keyed(
        &self,
        head: &RequestHead,
        operation: Operation,
        bucket: Bucket,
        subject: &str,
    ) -> Result<Write, Problem> {
        let missing = || {
            Problem::new(
                Code::IdempotencyKeyRequired,
                "Send an Idempotency-Key, and the same one when you try again.",
            )
        };
        let key = head.idempotency_key.as_ref().ok_or_else(missing)?;
        let id = OperationId::derive(bucket, head.client.as_str(), subject, key.as_str());
        // The id finds the same key with another body where both belong to one bucket and the first is applied. For
        // other buckets, and while the first still waits, this node remembers: a help against mistakes, not the
        // guarantee, which is per account.
        let place = OperationId::derive(ANYWHERE, head.client.as_str(), subject, key.as_str());
        let this = (id, body_digest(operation.code(), operation.version(), &operation.encode()));
        let first = self.parts.sessions.keys_seen.get_with(place, || this);
        if first != this {
            return Err(mismatch());
        }
        Ok(Write { operation, bucket, id })
    }

    fn refresh(
        &self,
        head: &RequestHead,
        token: &Text<{ protocol::session::MAX_TOKEN_LEN }>,
    ) -> Result<Write, Problem> {
        let now_s = self.parts.clock.unix_ms() / 1000;
        let claims = verify(self.parts.keys.public(), token, now_s).map_err(refused)?;
        if claims.usage != TokenUse::Refresh {
            return Err(refused_session("This is an access token. Send the refresh token."));
        }
        let own =
            Own::SessionContinue(SessionContinue { session: claims.session, generation: claims.generation });
        self.keyed(head, Operation::Own(own), claims.session.bucket(), &claims.session.to_string())
    }

    /// Believes a provider's message only by its signature over the raw bytes.
    fn callback(&self, asked: &requests::PaymentCallback) -> Result<Write, Problem> {
        let wrong = || {
            Problem::new(Code::SignatureWrong, "The signature does not fit the message. Nothing was done.")
        };
        let provider = self.parts.rules.provider(asked.provider.as_str()).ok_or_else(wrong)?;
        let secret = provider.secret.bytes();
        let body = verify_callback(secret, &asked.id, asked.timestamp_s, &asked.signature, &asked.body)
            .map_err(|e| match e {
                CallbackError::Signature => wrong(),
                CallbackError::Malformed => {
                    Problem::new(Code::InvalidRequest, "The message is genuine, but of no known form.")
                }
            })?;
        if (self.parts.clock.unix_ms() / 1000).abs_diff(asked.timestamp_s) > SIGNATURE_TOLERANCE_S {
            let why = "The message was signed more than five minutes ago, or in the future. Sign it anew.";
            return Err(Problem::new(Code::SignatureStale, why));
        }
        let (own, bucket) = said_by(asked.provider.as_str(), body);
        // The same message again is the same operation; one that says something else about the same debit is another,
        // and the debit's own id sees to it that it is booked once.
        let operation = Operation::Own(own);
        let said = body_digest(operation.code(), operation.version(), &operation.encode());
        let key = format!("{} {:032x}", operation.name(), u128::from_be_bytes(said));
        let id = OperationId::derive(bucket, "provider", asked.provider.as_str(), &key);
        Ok(Write { operation, bucket, id })
    }

    /// Where an operation of the center's own comes from.
    fn own_origin(&self) -> Origin {
        Origin {
            accepted_ms: self.parts.clock.unix_ms(),
            customer: None,
            session: None,
            channel: Channel::System,
            language: Language::default(),
            request_id: [0; 16],
            trace_id: [0; 16],
        }
    }

    fn origin(&self, asked: &Asked) -> Origin {
        Origin {
            accepted_ms: self.parts.clock.unix_ms(),
            customer: asked.session.as_ref().map(|s| s.customer),
            session: asked.session.as_ref().map(|s| s.session),
            channel: asked.head.channel,
            language: asked.head.language,
            request_id: asked.head.request_id,
            trace_id: asked.head.trace_id,
        }
    }

    async fn accept(&self, write: Write, origin: Origin, patience: Duration) -> Result<Answer, Problem> {
        let Write { operation, bucket, id } = write;
        let (code, version, body) = (operation.code(), operation.version(), operation.encode());
        let digest = body_digest(code, version, &body);
        let deadline = Deadline::after(patience);
        let known = self.parts.store.operation(id).await.map_err(unavailable)?.value;
        let position = match known {
            Some(row) if row.digest != digest => return Err(mismatch()),
            Some(row) => row.position,
            None => self.append(bucket, NewMessage { operation: id, code, version, body, origin }).await?,
        };
        let is_visible = !patience.is_zero() && self.wait_visible(position, deadline.remaining()).await;
        // Outside its cluster a node cannot know what others show.
        if !is_visible || !self.parts.visible.may_serve() {
            return Ok(Answer { outcome: Outcome::Accepted(id), token: Token::at(position) });
        }
        let mut token = Token::at(position);
        // From here on it is in its lane: whatever cannot be read now, it was accepted.
        let Ok(Some(row)) = self.parts.store.operation(id).await.map(|seen| seen.value) else {
            return Ok(Answer { outcome: Outcome::Accepted(id), token });
        };
        if row.digest != digest {
            return Err(mismatch());
        }
        for child in &row.children {
            let Ok(Some(child)) = self.wait_operation(*child, deadline).await else {
                return Ok(Answer { outcome: Outcome::Accepted(id), token });
            };
            token.raise(child.position);
        }
        match row.ended {
            Ended::Applied(reply) => {
                Ok(Answer { outcome: Outcome::Done(self.with_tokens(reply, row.accepted_ms).await?), token })
            }
            Ended::Rejected(problem) => Err(problem),
            Ended::Failed(_) => Err(failed()),
        }
    }

    /// Puts a message into its lane. When this returns, it survives power loss.
    async fn append(&self, bucket: Bucket, message: NewMessage) -> Result<Position, Problem> {
        let lane = self.parts.store.map().lane(bucket);
        let applied = self.parts.applied.get(usize::from(lane.0)).map_or(0, |applied| *applied.borrow());
        if self.parts.queue.backlog(lane, applied).map_err(unavailable)? >= self.parts.config.lane_backlog {
            return Err(Problem::new(
                Code::Overloaded,
                "Too many writes wait for the moment. Try again with the same Idempotency-Key.",
            ));
        }
        let generation = self.parts.generation(lane);
        let placed = self.parts.queue.append(lane, vec![message]).await.map_err(unavailable)?;
        let sequence = placed.first().copied().ok_or_else(|| unavailable(StorageError::Closed))?;
        Ok(Position { lane, generation, sequence })
    }

    /// An operation's result, once it is visible everywhere; `None` where it is not in time.
    async fn wait_operation(
        &self,
        id: OperationId,
        deadline: Deadline,
    ) -> Result<Option<OperationRow>, Problem> {
        let lane = self.parts.store.map().lane(id.bucket());
        let Some(mut visible) = self.parts.visible.watch(lane) else { return Ok(None) };
        loop {
            visible.mark_unchanged();
            if let Some(row) = self.parts.store.operation(id).await.map_err(unavailable)?.value {
                return Ok(self.wait_visible(row.position, deadline.remaining()).await.then_some(row));
            }
            match tokio::time::timeout(deadline.remaining(), visible.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(None),
            }
        }
    }

    /// How an operation stands, who asked for it, and where it is visible.
    pub(crate) async fn operation_status(
        &self,
        id: OperationId,
    ) -> Result<Option<(replies::OperationGet, Option<protocol::CustomerId>, Option<Position>)>, Problem>
    {
        let status = |code: u16, accepted_ms, state, problem, result: Option<Reply>| replies::OperationGet {
            operation: id,
            name: Operation::name_of(code).to_owned(),
            state,
            problem,
            result: result.map(Box::new),
            accepted_ms,
        };
        let mut row = self.parts.store.operation(id).await.map_err(unavailable)?.value;
        if row.is_none() {
            let lane = self.parts.store.map().lane(id.bucket());
            let at = self.parts.store.lane(lane).await.map_err(unavailable)?;
            let applied = at.sequence;
            // What this says is applied, the last look does not miss.
            self.parts.store.shown(at);
            if let Some(at) = self.parts.queue.waiting(id, lane, applied).await.map_err(unavailable)? {
                let origin = at.message.origin;
                let status =
                    status(at.message.code, origin.accepted_ms, OperationState::Accepted, None, None);
                return Ok(Some((status, origin.customer, None)));
            }
            // Each look is of its own moment: it may have been applied between them.
            row = self.parts.store.operation(id).await.map_err(unavailable)?.value;
        }
        if let Some(row) = row {
            let now = Deadline::after(Duration::ZERO);
            let mut visible = self.wait_visible(row.position, Duration::ZERO).await;
            for child in &row.children {
                visible = visible && self.wait_operation(*child, now).await?.is_some();
            }
            let position = visible.then_some(row.position);
            let (state, problem, result) = match row.ended {
                _ if !visible => (OperationState::Accepted, None, None),
                Ended::Applied(reply) => (OperationState::Applied, None, Some(reply)),
                Ended::Rejected(problem) => (OperationState::Rejected, Some(problem), None),
                Ended::Failed(_) => (OperationState::Failed, Some(failed()), None),
            };
            return Ok(Some((
                status(row.code, row.accepted_ms, state, problem, result),
                row.customer,
                position,
            )));
        }
        Ok(None)
    }
}

/// What a provider's message is inside, and where it belongs.
fn said_by(provider: &str, body: CallbackBody) -> (Own, Bucket) {
    let provider = provider.to_owned();
    match body {
        CallbackBody::PaymentSucceeded(paid) => {
            let settle = Settle {
                payment: paid.order,
                provider,
                transaction: paid.transaction.to_string(),
                amount_fen: paid.amount_fen.fen(),
                paid_s: paid.paid_s,
            };
            (Own::Settle(settle), paid.order.bucket())
        }
        CallbackBody::PaymentFailed { order, reason } => {
            (Own::DebitFail(DebitFail { payment: order, provider, reason }), order.bucket())
        }
        CallbackBody::MandateSigned { mandate, account, agreement, limit_fen } => {
            let (agreement, limit_fen) = (agreement.to_string(), limit_fen.fen());
            let sign = MandateSign { account, mandate, provider, agreement, limit_fen };
            (Own::MandateSign(sign), account.bucket())
        }
        CallbackBody::MandateEnded { mandate, account } => {
            (Own::MandateLeave(MandateLeave { account, mandate, provider }), account.bucket())
        }
        CallbackBody::RefundSucceeded { refund, order, amount_fen } => {
            let outcome = Ok(amount_fen.fen());
            (Own::RefundEnd(RefundEnd { payment: order, refund, provider, outcome }), order.bucket())
        }
        CallbackBody::RefundFailed { refund, order, reason } => {
            let outcome = Err(reason);
            (Own::RefundEnd(RefundEnd { payment: order, refund, provider, outcome }), order.bucket())
        }
    }
}

/// Where keys are remembered whatever their bucket.
const ANYWHERE: Bucket = Bucket::FIRST;

fn mismatch() -> Problem {
    Problem::new(
        Code::IdempotencyMismatch,
        "This Idempotency-Key came before with another request. Nothing was done; use a new key.",
    )
}

fn failed() -> Problem {
    Problem::new(
        Code::OperationFailed,
        "It could not be done, and trying the same again would not help. We have been told.",
    )
}

fn refused_session(what: &str) -> Problem {
    Problem::new(Code::Unauthenticated, what)
}
