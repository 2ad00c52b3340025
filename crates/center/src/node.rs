//! A node: takes a request that came through the gate, answers it.
use std::{cmp::Ordering, sync::Arc, time::Duration};

use cluster::Coordinator;
use protocol::{
    Code, Kind, LaneId, OperationId, Outcome, Position, Problem, ReplyEnvelope, Request, RequestEnvelope,
    ShardId, Token, envelope::RequestHead, session::Claims,
};
use runtime::{
    clock::{Clock, Deadline},
    peers::Peers,
};
use storage::{StorageError, cache::Cache, queue::Queue, store::Store};
use tokio::sync::{Notify, watch};

use crate::{
    authorize::{self, Relation},
    config::Config,
    keys::SessionKeys,
    rules::Rules,
    sessions::Sessions,
    staff::Staff,
    staff_revoked::StaffRevoked,
    visible::Visible,
};

/// A node's parts. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) cache: Cache,
    /// Which lanes this node works on.
    pub(crate) coordinator: Coordinator,
    /// How far all nodes show the lanes.
    pub(crate) visible: Arc<Visible>,
    pub(crate) keys: SessionKeys,
    pub(crate) rules: Arc<Rules>,
    pub(crate) sessions: Sessions,
    pub(crate) staff: Staff,
    pub(crate) staff_revoked: StaffRevoked,
    /// The gates' inner halves that are connected.
    pub(crate) gates: Peers,
    /// How far each lane is known to be applied, by lane number.
    pub(crate) applied: Vec<watch::Sender<u64>>,
    /// Each lane's generation, by lane number.
    pub(crate) generations: Vec<u32>,
    /// Wakes the relays: something waits in an outbox, or to be pushed.
    pub(crate) outbox: Notify,
    pub(crate) pushes: Notify,
}

impl Parts {
    /// Notes that a lane is applied up to here, if it is not known to be further.
    pub(crate) fn raise_applied(&self, lane: LaneId, sequence: u64) {
        if let Some(applied) = self.applied.get(usize::from(lane.0)) {
            applied.send_if_modified(|at| {
                let further = sequence > *at;
                *at = sequence.max(*at);
                further
            });
        }
    }

    pub(crate) fn generation(&self, lane: LaneId) -> u32 {
        self.generations.get(usize::from(lane.0)).copied().unwrap_or(1)
    }
}

/// A request on its way through the node.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    pub(crate) session: Option<Claims>,
    pub(crate) deadline: Deadline,
}

/// An answer and how far its reader has seen.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) token: Token,
}

impl Answer {
    pub(crate) fn done(reply: protocol::Reply, position: Position) -> Self {
        Answer { outcome: Outcome::Done(reply), token: Token::at(position) }
    }
}

impl Node {
    /// Its store.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Its cache.
    pub fn cache(&self) -> &Cache {
        &self.parts.cache
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    /// The shards whose schedule and outboxes this node looks after: those whose first lane it works on.
    pub(crate) fn worked_on(&self) -> Vec<ShardId> {
        let (map, mine) = (self.store().map(), self.parts.coordinator.my_lanes());
        let shards = (0..map.shards()).map(ShardId);
        shards.filter(|shard| map.lanes_of(*shard).next().is_some_and(|lane| mine.contains(&lane))).collect()
    }

    /// Answers one request, within its deadline.
    pub async fn handle(&self, envelope: RequestEnvelope) -> ReplyEnvelope {
        let RequestEnvelope { head, request } = envelope;
        let (request_id, name) = (head.request_id, request.spec().name);
        let deadline = Deadline::from_remaining_ms(u64::from(head.deadline_ms));
        let stay = self.parts.visible.stay();
        let answered = tokio::time::timeout(deadline.remaining(), self.answer(head, request, deadline)).await;
        let late = || {
            Problem::new(
                Code::DeadlineExceeded,
                "There was no answer in time. A write may still be done: ask again with the same key.",
            )
        };
        let answered = answered.unwrap_or_else(|_| Err(late()));
        // Looked at last: what was read in one stay in the cluster is good, and nothing after that.
        let may_serve = stay.is_some() && stay == self.parts.visible.stay();
        let answered = if may_serve { answered } else { Err(not_serving()) };
        match answered {
            Ok(Answer { outcome, token }) => {
                metrics::counter!("center_requests_total", "operation" => name, "outcome" => "done")
                    .increment(1);
                ReplyEnvelope { request_id, outcome, token }
            }
            Err(problem) => {
                let code = problem.code.as_str();
                metrics::counter!("center_requests_total", "operation" => name, "outcome" => code)
                    .increment(1);
                tracing::debug!(operation = name, code, detail = problem.detail, "refused");
                ReplyEnvelope::problem(request_id, problem)
            }
        }
    }

    async fn answer(
        &self,
        head: RequestHead,
        request: Request,
        deadline: Deadline,
    ) -> Result<Answer, Problem> {
        // Who needs no session is not refused for a stale one, and insists on nothing that was seen in it.
        let session = match authorize::needs_session(&request) {
            true => self.authenticate(&head).await?,
            false => None,
        };
        let relation = authorize::check_role(&request, session.as_ref(), head.channel)?;
        let asked = Asked { head, session, deadline };
        self.check_token(&asked.head.token).await?;
        if asked.session.is_some()
            && let Some(bucket) = request.bucket().or(asked.session.as_ref().map(|s| s.customer.bucket()))
            && let Err(problem) = self.wait_for_token(&asked, bucket).await
        {
            if asked.head.strict || request.spec().kind != Kind::Read {
                return Err(problem);
            }
            let outcome = Outcome::Pending(self.under_way(&asked, bucket).await);
            return Ok(Answer { outcome, token: asked.head.token });
        }
        let names_account = || authorize::account_of(&request).is_some();
        match relation {
            Relation::OwnFresh => self.check_fresh(&asked).await?,
            Relation::Holder => self.check_holder(&asked, &request).await?,
            Relation::HolderIfNamed if names_account() => self.check_holder(&asked, &request).await?,
            Relation::HolderOrPayer => self.check_payer(&asked, &request).await?,
            _ => {}
        }
        match request.spec().kind {
            Kind::Read => self.read(&asked, &request).await,
            Kind::Write => self.write(asked, request).await,
            Kind::Gate => Err(Problem::new(Code::InvalidRequest, "The gate answers this itself.")),
        }
    }

    async fn authenticate(&self, head: &RequestHead) -> Result<Option<Claims>, Problem> {
        let Some(token) = &head.session else { return Ok(None) };
        let now_s = self.parts.clock.unix_ms() / 1000;
        let claims = self.parts.sessions.verify(self.parts.keys.public(), token, now_s)?;
        if self.session_is_open(&claims).await? {
            return Ok(Some(claims));
        }
        Err(Problem::new(Code::Unauthenticated, "The session has ended. Log in again."))
    }

    /// A token may not insist on what no lane has reached: nobody was told of it.
    async fn check_token(&self, token: &Token) -> Result<(), Problem> {
        for position in token.positions() {
            let generation = self.parts.generation(position.lane);
            // An earlier numbering may have gone further than this one has.
            let known = match position.generation.cmp(&generation) {
                Ordering::Less => true,
                Ordering::Equal => match self.parts.queue.has_reached(position.lane, position.sequence).await
                {
                    Ok(reached) => reached,
                    // Of a lane that there is not.
                    Err(StorageError::Closed) => false,
                    Err(other) => return Err(unavailable(other)),
                },
                Ordering::Greater => false,
            };
            if !known {
                return Err(Problem::new(
                    Code::TokenInvalid,
                    "The Consistency-Token is not one of this system.",
                ));
            }
        }
        Ok(())
    }

    async fn check_holder(&self, asked: &Asked, request: &Request) -> Result<(), Problem> {
        let (Some(session), Some(account)) = (&asked.session, authorize::account_of(request)) else {
            return Err(Problem::not_found("account"));
        };
        if self.holders(account).await?.value.contains(&session.customer) {
            return Ok(());
        }
        Err(Problem::not_found("account"))
    }

    /// Waits until what the reader has seen of a bucket's lane is visible here. `Err` where it is not in time.
    pub(crate) async fn wait_for_token(
        &self,
        asked: &Asked,
        bucket: protocol::Bucket,
    ) -> Result<(), Problem> {
        let lane = self.parts.store.map().lane(bucket);
        let Some(position) = asked.head.token.get(lane) else { return Ok(()) };
        let patience =
            asked.deadline.remaining().saturating_sub(Duration::from_millis(50)).min(MOST_PATIENCE);
        // Here is where it is read.
        if reached(self.parts.cache.watch(lane), position, patience).await {
            return Ok(());
        }
        metrics::counter!("center_not_yet_visible_total").increment(1);
        Err(Problem::new(
            Code::NotYetVisible,
            "What you have seen is not visible here yet. Nothing older is shown.",
        ))
    }

    /// Waits until a position is visible everywhere.
    pub(crate) async fn wait_visible(&self, position: Position, patience: Duration) -> bool {
        reached(self.parts.visible.watch(position.lane), position, patience).await
    }

    /// Operations under way in a lane that this customer asked for: what a read that must not be old says instead.
    pub(crate) async fn under_way(&self, asked: &Asked, bucket: protocol::Bucket) -> Vec<OperationId> {
        let lane = self.parts.store.map().lane(bucket);
        let after = self.parts.applied.get(usize::from(lane.0)).map_or(0, |applied| *applied.borrow());
        let messages = self.parts.queue.fetch(lane, after, 1_000).await.unwrap_or_default();
        let customer = asked.session.as_ref().map(|s| s.customer);
        let mine = messages.into_iter().filter(|m| m.message.origin.customer == customer);
        mine.map(|m| m.message.operation).take(32).collect()
    }
}

/// Waits until a lane shows a position.
async fn reached(
    lane: Option<watch::Receiver<Option<Position>>>,
    position: Position,
    patience: Duration,
) -> bool {
    let Some(mut shown) = lane else { return false };
    let reached = |at: &Option<Position>| at.is_some_and(|at| at >= position);
    if reached(&shown.borrow()) {
        return true;
    }
    tokio::time::timeout(patience, shown.wait_for(reached)).await.is_ok_and(|seen| seen.is_ok())
}

fn not_serving() -> Problem {
    let why = "This node is not in its cluster at the moment. Try again with the same Idempotency-Key.";
    Problem::new(Code::Unavailable, why).retry_after(1)
}

/// The longest a read waits for what its token insists on.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// What a caller is told of a storage error; the log keeps the rest.
pub(crate) fn unavailable(error: StorageError) -> Problem {
    let source = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%error, source, "storage failed");
    match error {
        StorageError::Full => Problem::new(
            Code::Unavailable,
            "No space is left for the moment. Try again with the same Idempotency-Key.",
        )
        .retry_after(10),
        StorageError::TooLarge { .. } => {
            Problem::new(Code::TooLarge, "The request is larger than can be kept. Nothing was done.")
        }
        StorageError::Corrupt { .. } => {
            Problem::new(Code::Internal, "Stored data cannot be read. Nothing was done.")
        }
        _ => Problem::new(
            Code::Unavailable,
            "The database is away for the moment. Try again with the same Idempotency-Key.",
        ),
    }
}
