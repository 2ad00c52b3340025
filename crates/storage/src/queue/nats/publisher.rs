//! Appends of one node to one lane: what waits becomes one message, and one message is under way at a time.
//!
//! A durable publish costs a flush on the servers whatever it carries, so the appends that come while one is under way go
//! together in the next. A message that was not acknowledged is sent again under its id, which the servers know for a
//! while, until the time of all who wait for it is over.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{
    Client, HeaderMap, Request,
    client::RequestErrorKind,
    connection::State,
    header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID},
    jetstream::{ErrorCode, publish::PublishAck, response::Response},
};
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    envelope::{self, HEAD_BYTES, MOST_OPERATIONS},
    failed,
    lane::Lane,
    sequence,
};
use crate::{StorageError, message::NewMessage};

type Result<T> = std::result::Result<T, StorageError>;

/// The most bytes of a message that carries several operations; one alone may take what the server allows.
const MOST_BYTES: usize = 1 << 20;
/// What is left free of the server's largest payload: the headers of a message.
const HEADERS_BYTES: usize = 1024;
/// How long an acknowledgement is waited for before the message is sent again.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the connection is waited for before it is looked at again, should nobody tell of it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The pause before a message is sent again.
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// The most bytes an operation may have to be carried by this connection.
pub(super) fn most_bytes(client: &Client) -> usize {
    client.max_payload().saturating_sub(HEADERS_BYTES + HEAD_BYTES)
}

/// One caller's operations, written, with the sequences of those that are in the lane.
pub(super) struct Append {
    rest: VecDeque<(Vec<u8>, NewMessage)>,
    sequences: Vec<u64>,
    deadline: Instant,
    done: oneshot::Sender<Result<Vec<u64>>>,
    /// Room for its bytes among those that wait.
    _room: OwnedSemaphorePermit,
}

impl Append {
    pub(super) fn new(
        operations: Vec<(Vec<u8>, NewMessage)>,
        deadline: Instant,
        done: oneshot::Sender<Result<Vec<u64>>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Append { rest: operations.into(), sequences: Vec::new(), deadline, done, _room: room }
    }
}

/// A message that is about to be sent.
#[derive(Default)]
struct Batch {
    written: Vec<Vec<u8>>,
    messages: Vec<NewMessage>,
    bytes: usize,
    /// How many operations it has of each append, from the oldest on.
    parts: Vec<usize>,
}

/// Publishes one lane's appends.
pub(super) struct Publisher {
    pub(super) client: Client,
    /// Changes when the connection comes or goes.
    pub(super) connected: watch::Receiver<bool>,
    pub(super) lane: Arc<Lane>,
    /// Makes the messages' ids this process's own.
    pub(super) origin: String,
    pub(super) appends: mpsc::Receiver<Append>,
}

impl Publisher {
    /// Works until nobody can append any more.
    pub(super) async fn run(mut self) {
        let mut open = VecDeque::new();
        let mut count: u64 = 0;
        loop {
            if open.is_empty() {
                match self.appends.recv().await {
                    Some(append) => open.push_back(append),
                    None => return,
                }
            }
            let batch = self.next_batch(&mut open);
            if batch.messages.is_empty() {
                continue;
            }
            count += 1;
            let Batch { written, messages, parts, .. } = batch;
            metrics::histogram!("lane_message_operations").record(messages.len() as f64);
            let deadline = open.iter().take(parts.len()).map(|append: &Append| append.deadline).max();
            let payload = Bytes::from(envelope::join(&written));
            drop(written);
            let id = format!("{}-{count}", self.origin);
            let published = self.publish(&id, payload, deadline.unwrap_or_else(Instant::now)).await;
            match published {
                Ok(message) => {
                    // Noted before anybody is answered: who was answered finds the lane's end where it is.
                    self.lane.acknowledged(message, messages);
                    settle(&mut open, &parts, message);
                }
                Err(error) => {
                    tracing::warn!(lane = self.lane.id.0, %error, "appends were not acknowledged");
                    // With all that is left of them: an append's later part without its earlier one would change its order.
                    for append in open.drain(..parts.len()) {
                        let _ = append.done.send(Err(error.again()));
                    }
                }
            }
        }
    }

    /// Takes what fits in one message, oldest first. Appends that nobody waits for any more, none of which is in the lane,
    /// are dropped.
    fn next_batch(&mut self, open: &mut VecDeque<Append>) -> Batch {
        let mut batch = Batch::default();
        let largest = most_bytes(&self.client).min(MOST_BYTES);
        let mut at = 0;
        loop {
            if at == open.len() {
                match self.appends.try_recv() {
                    Ok(append) => open.push_back(append),
                    Err(_) => return batch,
                }
            }
            if open[at].done.is_closed() && open[at].sequences.is_empty() {
                open.remove(at);
                continue;
            }
            let mut taken = 0;
            while let Some((written, _)) = open[at].rest.front() {
                let fits = batch.messages.len() < MOST_OPERATIONS
                    && (batch.messages.is_empty() || batch.bytes + written.len() <= largest);
                let Some((written, message)) = fits.then(|| open[at].rest.pop_front()).flatten() else {
                    break;
                };
                batch.bytes += written.len();
                batch.written.push(written);
                batch.messages.push(message);
                taken += 1;
            }
            if taken > 0 {
                batch.parts.push(taken);
            }
            if !open[at].rest.is_empty() {
                return batch;
            }
            at += 1;
        }
    }

    /// Sends a message until it is acknowledged or refused, or until its time is over; gives its number in the stream.
    async fn publish(&mut self, id: &str, payload: Bytes, deadline: Instant) -> Result<u64> {
        let doing = "appending to a lane";
        let started = Instant::now();
        let mut why = "not connected".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(doing)(why));
            }
            if self.client.connection_state() != State::Connected {
                let _ = tokio::time::timeout(left.min(LOOK_AGAIN), self.connected.changed()).await;
                continue;
            }
            self.connected.mark_unchanged();
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, id);
            headers.insert(NATS_EXPECTED_STREAM, self.lane.stream.as_str());
            let request = Request::new().headers(headers).payload(payload.clone());
            let request = request.timeout(Some(left.min(TRY_TIMEOUT)));
            let reply = tokio::select! {
                reply = self.client.send_request(self.lane.subject.clone(), request) => reply,
                _ = self.connected.changed() => {
                    why = "the connection was lost".to_owned();
                    continue;
                }
            };
            match reply {
                Ok(reply) => match serde_json::from_slice::<Response<PublishAck>>(&reply.payload) {
                    Ok(Response::Ok(ack)) if ack.stream == self.lane.stream => {
                        metrics::histogram!("lane_publish_seconds").record(started.elapsed().as_secs_f64());
                        return Ok(ack.sequence);
                    }
                    Ok(Response::Ok(ack)) => {
                        return Err(failed(doing)(format!("stream {} has taken it", ack.stream)));
                    }
                    Ok(Response::Err { error }) if is_full(error.error_code(), &error.to_string()) => {
                        return Err(StorageError::Full);
                    }
                    Ok(Response::Err { error }) if error.code() < 500 => {
                        return Err(failed(doing)(error));
                    }
                    Ok(Response::Err { error }) => why = error.to_string(),
                    Err(error) => why = format!("an answer that is none: {error}"),
                },
                Err(error) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
                    let most = most_bytes(&self.client);
                    return Err(StorageError::TooLarge { bytes: payload.len(), most });
                }
                Err(error) => why = error.to_string(),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(TRY_PAUSE.min(left)).await;
        }
    }
}

/// Tells the appends in a message their sequences; those that are whole are answered.
fn settle(open: &mut VecDeque<Append>, parts: &[usize], message: u64) {
    let mut index = 0;
    for (append, part) in open.iter_mut().zip(parts) {
        append.sequences.extend((index..index + part).map(|index| sequence::of(message, index)));
        index += part;
    }
    while open.front().is_some_and(|append| append.rest.is_empty()) {
        if let Some(append) = open.pop_front() {
            let _ = append.done.send(Ok(append.sequences));
        }
    }
}

/// Whether a refusal says that there is no room.
fn is_full(code: ErrorCode, text: &str) -> bool {
    matches!(
        code,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
    ) || code == ErrorCode::STREAM_STORE_FAILED && text.contains("maximum bytes exceeded")
}
