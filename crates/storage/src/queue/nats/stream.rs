//! A lane's stream: its settings, and reading from it by sequence.
use std::time::Duration;

use async_nats::{
    Client, StatusCode,
    header::NATS_SEQUENCE,
    jetstream::{
        Context,
        stream::{Config, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use protocol::LaneId;

use super::{
    config::NatsConfig,
    envelope, failed,
    lane::{Lane, stream_name, subject},
    sequence,
};
use crate::{StorageError, message::LaneMessage};

type Result<T> = std::result::Result<T, StorageError>;

/// For how long the servers know a message that is sent again. Longer than an append lasts.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);
/// The most messages asked for at once.
const MOST_MESSAGES: u64 = 256;
/// How many are asked for while nothing is known of their size.
const FIRST_MESSAGES: u64 = 16;
/// The most bytes of messages read by one call, one message aside.
const MOST_BYTES: usize = 8 << 20;

/// Reads streams.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) timeout: Duration,
}

/// What a lane's stream must be.
fn settings(config: &NatsConfig, lane: LaneId) -> Config {
    Config {
        name: stream_name(lane),
        subjects: vec![subject(lane)],
        description: Some("Accepted writes of Gridesk, in order".to_owned()),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        // Nothing is dropped to make room: what is not applied must stay.
        discard: DiscardPolicy::New,
        max_bytes: config.max_bytes as i64,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        max_age: Duration::ZERO,
        num_replicas: usize::from(config.replicas),
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        deny_delete: true,
        ..Config::default()
    }
}

/// The settings that matter, by name, as text.
fn described(c: &Config) -> [(&'static str, String); 17] {
    [
        ("subjects", format!("{:?}", c.subjects)),
        ("storage", format!("{:?}", c.storage)),
        ("retention", format!("{:?}", c.retention)),
        ("discard", format!("{:?}", c.discard)),
        ("max_bytes", c.max_bytes.to_string()),
        ("max_msgs", c.max_messages.to_string()),
        ("max_msgs_per_subject", c.max_messages_per_subject.to_string()),
        ("max_msg_size", c.max_message_size.to_string()),
        ("max_age", format!("{:?}", c.max_age)),
        ("num_replicas", c.num_replicas.to_string()),
        ("duplicate_window", format!("{:?}", c.duplicate_window)),
        ("allow_direct", c.allow_direct.to_string()),
        ("no_ack, sealed", format!("{:?}", (c.no_ack, c.sealed))),
        ("deny_delete, deny_purge", format!("{:?}", (c.deny_delete, c.deny_purge))),
        ("mirror, sources", format!("{:?}", (c.mirror.is_some(), c.sources.as_ref().map_or(0, Vec::len)))),
        ("allow_rollup_hdrs, allow_msg_ttl", format!("{:?}", (c.allow_rollup, c.allow_message_ttl))),
        ("persist_mode", format!("{:?}", c.persist_mode.unwrap_or_default())),
    ]
}

impl Streams {
    /// Makes a lane's stream, or checks the one that is there; gives the lane as it stands.
    ///
    /// # Errors
    /// [`StorageError::Shape`] where the stream was made with other settings.
    pub(super) async fn open(&self, config: &NatsConfig, lane: LaneId) -> Result<Lane> {
        let wanted = settings(config, lane);
        let stream = self.context.get_or_create_stream(wanted.clone()).await;
        let stream = stream.map_err(failed("making a lane's stream"))?;
        let info = stream.cached_info();
        let differ: Vec<_> =
            described(&info.config).into_iter().zip(described(&wanted)).filter(|(a, b)| a != b).collect();
        if !differ.is_empty() {
            let list = |of: Vec<&(&str, String)>| {
                let list: Vec<_> = of.iter().map(|(name, value)| format!("{name} {value}")).collect();
                format!("stream {} with {}", wanted.name, list.join(", "))
            };
            return Err(StorageError::Shape {
                found: list(differ.iter().map(|(found, _)| found).collect()),
                configured: list(differ.iter().map(|(_, wanted)| wanted).collect()),
            });
        }
        let (last, tail) = self.end(lane).await?;
        Ok(Lane::new(lane, last, tail))
    }

    /// The last message of a lane's stream and its last operation, as its leader knows them.
    pub(super) async fn end(&self, lane: LaneId) -> Result<(u64, u64)> {
        let doing = "asking for a lane's end";
        let stream = self.context.get_stream_no_info(stream_name(lane)).await.map_err(failed(doing))?;
        match stream.get_last_raw_message_by_subject(&subject(lane)).await {
            Ok(message) => {
                // One that cannot be read is met again, and named, by who reads on to it.
                let count = envelope::decode(&message.payload).map_or(1, |operations| operations.len());
                Ok((message.sequence, sequence::last_of(message.sequence, count)))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                let last = stream.get_info().await.map_err(failed(doing))?.state.last_sequence;
                // Where somebody has emptied the stream, its end lies behind whatever was applied: reading on from there
                // says what is missing.
                Ok((last, if last == 0 { 0 } else { sequence::before(last + 1) }))
            }
            Err(error) => Err(failed(doing)(error)),
        }
    }

    /// At most `limit` operations after a sequence, from the stream.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where messages after the sequence are gone, or are not ours.
    pub(super) async fn read(&self, lane: &Lane, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
        let end = sequence::message_of(lane.recent.tail());
        let mut next = sequence::message_of(after).max(1);
        let (mut found, mut bytes, mut messages) = (Vec::new(), 0, 0);
        while found.len() < limit && bytes < MOST_BYTES && next <= end {
            let left = (limit - found.len()) as u64;
            let ask = match found.len() as u64 / messages.max(1) {
                0 => FIRST_MESSAGES.min(left),
                each => left / each + 1,
            };
            let mut batch =
                self.batch(&lane.stream, next, ask.min(MOST_MESSAGES), MOST_BYTES - bytes).await?;
            // A replica that is behind, or catching up, may lack some: the leader knows.
            let follow = |((message, _), due): &(&(u64, Bytes), u64)| message == due;
            batch.truncate(batch.iter().zip(next..).take_while(follow).count());
            if batch.is_empty() {
                if !found.is_empty() {
                    break;
                }
                batch.extend(self.by_leader(&lane.stream, next).await?);
            }
            if batch.is_empty() {
                return Err(gone(lane, after, next));
            }
            for (message, payload) in batch {
                let operations = envelope::decode(&payload)?;
                (next, bytes, messages) = (next + 1, bytes + payload.len(), messages + 1);
                let placed = operations.into_iter().enumerate().map(|(index, operation)| LaneMessage {
                    sequence: sequence::of(message, index),
                    message: operation,
                });
                found.extend(placed.filter(|placed| placed.sequence > after));
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Messages of a stream from one on, as far as the replica that is asked has them: at most `most`, and of `bytes`, one
    /// aside.
    async fn batch(&self, stream: &str, from: u64, most: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>> {
        let doing = "reading a lane";
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(inbox.clone()).await.map_err(failed(doing))?;
        let request = format!(r#"{{"seq":{from},"batch":{most},"max_bytes":{bytes}}}"#);
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        self.client.publish_with_reply(subject, inbox, request.into()).await.map_err(failed(doing))?;
        let mut batch = Vec::new();
        loop {
            let reply = tokio::time::timeout(self.timeout, replies.next()).await;
            let reply = reply.map_err(|_| failed(doing)("no answer in time"))?;
            let reply = reply.ok_or_else(|| failed(doing)("the connection is closed"))?;
            match reply.status.as_ref().map(StatusCode::as_u16) {
                None | Some(200) => {
                    let number = reply.headers.as_ref().and_then(|h| h.get_last(NATS_SEQUENCE));
                    let number = number.and_then(|number| number.as_str().parse().ok());
                    let number = number.ok_or_else(|| failed(doing)("an answer without a sequence"))?;
                    batch.push((number, reply.payload));
                }
                // The end of the batch; and nothing there from this sequence on.
                Some(204 | 404) => return Ok(batch),
                Some(status) => {
                    let why = reply.description.unwrap_or_default();
                    return Err(failed(doing)(format!("answer {status} {why}")));
                }
            }
        }
    }

    /// One message, from the stream's leader.
    async fn by_leader(&self, stream: &str, number: u64) -> Result<Option<(u64, Bytes)>> {
        let doing = "reading a lane";
        let stream = self.context.get_stream_no_info(stream).await.map_err(failed(doing))?;
        match stream.get_raw_message(number).await {
            Ok(message) => Ok(Some((message.sequence, message.payload))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(doing)(error)),
        }
    }

    /// Purges a lane's messages before `applied`'s that were stored before a time (Unix ms); answers how many went.
    pub(super) async fn purge(&self, lane: &Lane, applied: u64, before_ms: u64) -> Result<u64> {
        let doing = "purging a lane";
        let stream = self.context.get_stream_no_info(&lane.stream).await.map_err(failed(doing))?;
        let state = stream.get_info().await.map_err(failed(doing))?.state;
        let first = state.first_sequence;
        // The first message that stays: by halves, because times grow with the sequences.
        let (mut low, mut high) = (first, sequence::message_of(applied).min(state.last_sequence).max(first));
        while low < high {
            let middle = low + (high - low) / 2;
            let stored_ms = match stream.get_raw_message(middle).await {
                Ok(message) => (message.time.unix_timestamp_nanos() / 1_000_000).max(0) as u64,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => 0,
                Err(error) => return Err(failed(doing)(error)),
            };
            (low, high) = if stored_ms < before_ms { (middle + 1, high) } else { (low, middle) };
        }
        if low <= first {
            return Ok(0);
        }
        let purged = stream.purge().sequence(low).await.map_err(failed(doing))?;
        Ok(purged.purged)
    }
}

fn gone(lane: &Lane, after: u64, message: u64) -> StorageError {
    StorageError::Corrupt {
        what: "lane",
        why: format!(
            "message {message} of stream {} is gone, which is needed to read on after {after}",
            lane.stream
        ),
    }
}
