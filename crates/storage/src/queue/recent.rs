//! The newest messages of a lane, in memory, so that an applier that is not behind reads no database and no stream.
use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use protocol::{LaneId, OperationId};
use tokio::sync::watch;

use crate::message::{LaneMessage, NewMessage};

/// The newest messages of a lane, and its end.
pub(crate) struct Recent {
    messages: Mutex<Newest>,
    tail: watch::Sender<u64>,
}

/// The lanes that are followed.
pub(crate) type RecentLanes = HashMap<LaneId, Arc<Recent>>;

/// Messages with none missing between them, and the sum of their bodies' bytes.
#[derive(Default)]
struct Newest {
    /// What comes after this sequence is here.
    before: u64,
    messages: VecDeque<LaneMessage>,
    bytes: usize,
}

impl Newest {
    fn push(&mut self, message: LaneMessage) {
        self.bytes += message.message.body.len();
        self.messages.push_back(message);
        // What a large message (an import) pushes out is read from where it is durable, and so is the message itself.
        while self.messages.len() > MOST_RECENT || self.bytes > MOST_RECENT_BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.messages.pop_front() {
            self.bytes -= oldest.message.body.len();
            self.before = oldest.sequence;
        }
    }
}

/// The most messages of a lane that are kept.
const MOST_RECENT: usize = 8192;
/// The most bytes of bodies of a lane that are kept.
const MOST_RECENT_BYTES: usize = 4 << 20;

impl Recent {
    /// A lane that ends at `tail`; nothing of it is kept yet.
    pub(crate) fn new(tail: u64) -> Self {
        let newest = Newest { before: tail, ..Newest::default() };
        Recent { messages: Mutex::new(newest), tail: watch::Sender::new(tail) }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.messages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes messages that have just become durable, the first at `first`, the others following it without a gap.
    pub(crate) fn push(&self, first: u64, new: Vec<NewMessage>) {
        self.push_placed((first..).zip(new).map(|(sequence, message)| LaneMessage { sequence, message }));
    }

    /// Notes messages that are durable and follow those noted before with none between.
    pub(super) fn push_placed(&self, new: impl IntoIterator<Item = LaneMessage>) {
        let mut last = 0;
        {
            let mut newest = self.newest();
            for message in new {
                last = message.sequence;
                newest.push(message);
            }
        }
        // Whoever waits is woken also where the end was known before the messages were here.
        self.tail.send_modify(|tail| *tail = last.max(*tail));
    }

    /// Notes that the lane goes on at least to `tail`, with messages that are not here.
    pub(super) fn raise(&self, tail: u64) {
        self.tail.send_if_modified(|known| {
            let higher = tail > *known;
            *known = tail.max(*known);
            higher
        });
    }

    /// Forgets all messages: those noted next have others before them, up to `before`, that are not here.
    pub(super) fn restart(&self, before: u64) {
        *self.newest() = Newest { before, ..Newest::default() };
        self.raise(before);
    }

    /// At most `limit` messages after a sequence; `None` where some of them are not here. Those before are forgotten.
    pub(super) fn after(&self, after: u64, limit: usize) -> Option<Vec<LaneMessage>> {
        let mut newest = self.newest();
        while newest.messages.front().is_some_and(|m| m.sequence <= after) {
            newest.pop();
        }
        (newest.before <= after).then(|| newest.messages.iter().take(limit).cloned().collect())
    }

    /// An operation among what is here after a sequence; and what is here: all after the range's start, up to its end.
    pub(super) fn find(&self, id: OperationId, after: u64) -> (Option<LaneMessage>, Range<u64>) {
        let newest = self.newest();
        let mut there = newest.messages.iter().filter(|m| m.sequence > after);
        let end = newest.messages.back().map_or(newest.before, |last| last.sequence);
        (there.find(|m| m.message.operation == id).cloned(), newest.before..end)
    }

    /// The lane's end, to be followed.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.tail.subscribe()
    }

    /// The lane's end.
    pub(super) fn tail(&self) -> u64 {
        *self.tail.borrow()
    }
}
