//! Lanes as streams of NATS JetStream, one each, kept on several servers.
//!
//! * [`publisher`]: appends of this node, many in one message, answered after the servers' acknowledgement.
//! * [`follower`]: what every node appends, into memory.
//! * [`stream`]: the streams' settings, and reading from them what is not in memory.
//! * [`sequence`]: how an operation's place is made of its message's.
use std::{collections::HashMap, fmt::Display, sync::Arc};

use async_nats::{Event, connection::State, jetstream};
use protocol::{LaneId, OperationId};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::{
    lane::Lane,
    publisher::{Append, Publisher, most_bytes},
    stream::Streams,
};
use super::recent::Recent;
use crate::{
    StorageError,
    message::{LaneMessage, NewMessage},
};

mod config;
mod envelope;
mod follower;
mod lane;
mod publisher;
mod sequence;
mod stream;
mod word;

pub use config::NatsConfig;

type Result<T> = std::result::Result<T, StorageError>;

/// How many reads from streams run at a time.
const MOST_READS: usize = 4;
/// The most operations that are looked through for one that waits.
const MOST_LOOKED_THROUGH: usize = 100_000;
/// How many of them are read at a time.
const PAGE: usize = 2_048;
/// The oldest servers whose acknowledgements are durable, and that answer all that is asked here.
const OLDEST_SERVER: (i64, i64, i64) = (2, 12, 0);

/// The lanes, and what runs for them.
pub(super) struct Lanes {
    streams: Streams,
    config: NatsConfig,
    lanes: HashMap<LaneId, Open>,
    reads: Semaphore,
    tasks: Vec<JoinHandle<()>>,
}

/// A lane that can be appended to.
struct Open {
    lane: Arc<Lane>,
    appends: mpsc::Sender<Append>,
    /// KiB that appends may still hold.
    room: Arc<Semaphore>,
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Lanes {
    pub(super) async fn connect(config: &NatsConfig, ids: Vec<LaneId>) -> Result<Self> {
        config.check()?;
        let (connection, connected) = watch::channel(true);
        let options = config.options().await?.event_callback(move |event| {
            let connection = connection.clone();
            async move {
                match event {
                    Event::Connected => drop(connection.send_replace(true)),
                    Event::Disconnected | Event::Closed => drop(connection.send_replace(false)),
                    other => tracing::info!(event = %other, "NATS"),
                }
            }
        });
        let client = options.connect(config.addresses()?).await.map_err(failed("connecting"))?;
        let (major, minor, patch) = OLDEST_SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            let version = client.server_info().version;
            let why = format!("the server is of version {version}: {major}.{minor} or newer is needed");
            return Err(failed("connecting")(why));
        }
        let timeout = config.request_timeout();
        let context = jetstream::context::ContextBuilder::new().timeout(timeout).build(client.clone());
        let streams = Streams { client: client.clone(), context, timeout };
        let origin = client.new_inbox();
        // Made first, so that what runs for the first lanes ends where a later one cannot be opened.
        let mut all = Lanes {
            streams,
            config: config.clone(),
            lanes: HashMap::new(),
            reads: Semaphore::new(MOST_READS),
            tasks: Vec::new(),
        };
        for id in ids {
            let lane = Arc::new(all.streams.open(config, id).await?);
            let (sender, appends) = mpsc::channel(config.waiting_appends as usize);
            let publisher = Publisher {
                client: client.clone(),
                connected: connected.clone(),
                lane: Arc::clone(&lane),
                origin: origin.clone(),
                appends,
            };
            all.tasks.push(tokio::spawn(publisher.run()));
            all.tasks.push(tokio::spawn(follower::run(all.streams.clone(), Arc::clone(&lane))));
            let room = Arc::new(Semaphore::new(config.waiting_kib as usize));
            all.lanes.insert(id, Open { lane, appends: sender, room });
        }
        Ok(all)
    }

    pub(super) async fn append(&self, lane: LaneId, messages: Vec<NewMessage>) -> Result<Vec<u64>> {
        let Open { appends, room, .. } = self.open(lane)?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let (most, mut all) = (most_bytes(&self.streams.client), 0);
        let mut operations = Vec::with_capacity(messages.len());
        for message in messages {
            let written = envelope::encode_one(&message);
            if written.len() > most {
                return Err(StorageError::TooLarge { bytes: written.len(), most });
            }
            all += written.len();
            operations.push((written, message));
        }
        // One that is larger than all the room there is waits alone.
        let kib = u32::try_from(all.div_ceil(1024)).unwrap_or(u32::MAX).min(self.config.waiting_kib);
        let room = Arc::clone(room).try_acquire_many_owned(kib).map_err(|_| StorageError::Full)?;
        let deadline = Instant::now() + self.config.publish_timeout();
        let (done, answer) = oneshot::channel();
        appends.try_send(Append::new(operations, deadline, done, room)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => StorageError::Full,
            mpsc::error::TrySendError::Closed(_) => StorageError::Closed,
        })?;
        match timeout_at(deadline, answer).await {
            Ok(answered) => answered.map_err(|_| StorageError::Closed)?,
            Err(_) => Err(failed("appending to a lane")("no acknowledgement in time")),
        }
    }

    pub(super) async fn fetch(&self, id: LaneId, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
        let lane = &self.open(id)?.lane;
        if let Some(messages) = lane.recent.after(after, limit)
            && !messages.is_empty()
        {
            return Ok(messages);
        }
        let tail = lane.recent.tail();
        // Nothing waits, as far as is known here: only as long as the connection stands is that worth anything.
        if tail <= after && self.streams.client.connection_state() != State::Connected {
            return Err(failed("reading a lane")("not connected"));
        }
        if tail == after {
            return Ok(Vec::new());
        }
        if tail < after && self.ask_tail(id).await? < after {
            // What is appended now would come before what is applied, and never be applied.
            let why =
                format!("stream {} ends before {after}: it is not the one that was applied", lane.stream);
            return Err(StorageError::Corrupt { what: "lane", why });
        }
        self.read(lane, after, limit).await
    }

    pub(super) async fn waiting(
        &self,
        id: OperationId,
        lane: LaneId,
        applied: u64,
    ) -> Result<Option<LaneMessage>> {
        let lane = &self.open(lane)?.lane;
        let (found, in_memory) = lane.recent.find(id, applied);
        if found.is_some() {
            return Ok(found);
        }
        // What is older than memory, and what was acknowledged but has not come by the stream yet.
        let mut looked = 0;
        for (mut after, end) in [(applied, in_memory.start), (applied.max(in_memory.end), lane.recent.tail())]
        {
            while after < end {
                if looked >= MOST_LOOKED_THROUGH {
                    return Err(failed("looking for an operation")("too many wait before it"));
                }
                let page = self.read(lane, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                (after, looked) = (last.sequence, looked + page.len());
                if let Some(found) = page.into_iter().find(|m| m.message.operation == id) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    async fn read(&self, lane: &Lane, after: u64, limit: usize) -> Result<Vec<LaneMessage>> {
        let _permit = self.reads.acquire().await.map_err(|_| StorageError::Closed)?;
        self.streams.read(lane, after, limit).await
    }

    pub(super) async fn prune(&self, lane: LaneId, applied: u64, before_ms: u64) -> Result<u64> {
        self.streams.purge(&self.open(lane)?.lane, applied, before_ms).await
    }

    pub(super) async fn tell(&self, word: Vec<u8>) {
        word::tell(&self.streams.client, word).await;
    }

    pub(super) fn listen(&self) -> mpsc::Receiver<Vec<u8>> {
        word::listen(self.streams.client.clone())
    }

    /// Asks the servers where a lane ends.
    pub(super) async fn ask_tail(&self, id: LaneId) -> Result<u64> {
        let lane = &self.open(id)?.lane;
        let (_, tail) = self.streams.end(id).await?;
        lane.recent.raise(tail);
        Ok(lane.recent.tail())
    }

    pub(super) fn backlog(&self, lane: LaneId, applied: u64) -> Result<u64> {
        Ok(self.open(lane)?.lane.backlog(applied))
    }

    pub(super) fn recent(&self, lane: LaneId) -> Result<&Recent> {
        Ok(&self.open(lane)?.lane.recent)
    }

    fn open(&self, lane: LaneId) -> Result<&Open> {
        self.lanes.get(&lane).ok_or(StorageError::Closed)
    }
}

/// An error of the servers, or on the way to them.
fn failed<E: Display>(doing: &'static str) -> impl Fn(E) -> StorageError {
    move |why| StorageError::Engine { engine: "NATS", doing, why: why.to_string() }
}
