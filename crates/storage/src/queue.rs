//! The lanes: message middleware between those who accept writes and the one applier of each lane.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use protocol::LaneId;
use tokio::sync::{oneshot, watch};

use crate::{
    StorageError,
    message::{LaneMessage, NewMessage},
    sqlite::writer::Command,
    store::Store,
};

/// A handle on all lanes.
///
/// Embedded, a lane is a table in its shard's own file, so that an append shares a flush with whatever else the shard's
/// writer has to do.
#[derive(Clone)]
pub struct Queue {
    store: Store,
}

/// The newest messages of a lane, kept so that an applier that is not behind reads no database.
pub(crate) struct Recent {
    messages: Mutex<Newest>,
    tail: watch::Sender<u64>,
}

/// Messages without a gap, with the sum of their bodies' bytes.
#[derive(Default)]
struct Newest {
    messages: VecDeque<LaneMessage>,
    bytes: usize,
}

impl Newest {
    fn push(&mut self, message: LaneMessage) {
        self.bytes += message.message.body.len();
        self.messages.push_back(message);
    }

    fn pop(&mut self) {
        self.bytes -= self.messages.pop_front().map_or(0, |oldest| oldest.message.body.len());
    }
}

/// The most messages of a lane that are kept.
const MOST_RECENT: usize = 8192;
/// The most bytes of bodies of a lane that are kept.
const MOST_RECENT_BYTES: usize = 4 << 20;

impl Recent {
    pub(crate) fn new(tail: u64) -> Self {
        Recent { messages: Mutex::default(), tail: watch::Sender::new(tail) }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.messages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes messages that have just become durable.
    pub(crate) fn push(&self, first: u64, new: Vec<NewMessage>) {
        let mut newest = self.newest();
        let last = first + new.len() as u64 - 1;
        // What a large message (an import) pushes out is read from the database, and so is the message itself.
        for (sequence, message) in (first..).zip(new) {
            newest.push(LaneMessage { sequence, message });
            while newest.messages.len() > MOST_RECENT || newest.bytes > MOST_RECENT_BYTES {
                newest.pop();
            }
        }
        self.tail.send_replace(last);
    }

    /// Messages from `after + 1` on, if all of them are here; those before are forgotten.
    fn after(&self, after: u64, limit: usize) -> Option<Vec<LaneMessage>> {
        let mut newest = self.newest();
        while newest.messages.front().is_some_and(|m| m.sequence <= after) {
            newest.pop();
        }
        match newest.messages.front() {
            Some(first) if first.sequence == after + 1 => {
                Some(newest.messages.iter().take(limit).cloned().collect())
            }
            _ => None,
        }
    }
}

impl Queue {
    /// The lanes of a store.
    pub fn new(store: Store) -> Self {
        Queue { store }
    }

    /// Puts messages at the end of a lane, durably: when this returns, they survive power loss. Answers the sequence of
    /// the first; the others follow it without a gap.
    pub async fn append(&self, lane: LaneId, messages: Vec<NewMessage>) -> Result<u64, StorageError> {
        let (done, answer) = oneshot::channel();
        self.store.send(lane, Command::Append { lane, messages, done }).await?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    /// Messages after a sequence, in order, without a gap; empty where there are none.
    pub async fn fetch(
        &self,
        lane: LaneId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LaneMessage>, StorageError> {
        if let Some(recent) = self.store.recent(lane).and_then(|recent| recent.after(after, limit)) {
            return Ok(recent);
        }
        if self.tail(lane)? <= after {
            return Ok(Vec::new());
        }
        self.store.messages(lane, after, limit).await
    }

    /// The sequence of a lane's last message.
    pub fn tail(&self, lane: LaneId) -> Result<u64, StorageError> {
        Ok(*self.watch_tail(lane)?.borrow())
    }

    /// Follows a lane's end.
    pub fn watch_tail(&self, lane: LaneId) -> Result<watch::Receiver<u64>, StorageError> {
        let recent = self.store.recent(lane).ok_or(StorageError::Closed)?;
        Ok(recent.tail.subscribe())
    }
}

pub(crate) type RecentLanes = HashMap<LaneId, Arc<Recent>>;
