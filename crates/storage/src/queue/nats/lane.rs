//! One lane as this process knows it: its end, its newest messages, and how many operations each message carried.
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use protocol::LaneId;

use super::sequence;
use crate::{
    message::{LaneMessage, NewMessage},
    queue::recent::Recent,
};

/// A lane's names on the servers, and what is known of it.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) stream: String,
    pub(super) subject: String,
    pub(super) recent: Recent,
    followed: Mutex<Followed>,
}

/// How far the stream has been followed, without a gap since this process began.
struct Followed {
    /// The last message of the stream that was taken over.
    last: u64,
    counts: Counts,
}

/// How many operations the newest messages carried.
struct Counts {
    /// The message before the oldest known one, and the operations counted up to it.
    floor: (u64, u64),
    /// Message, its operations, all operations up to its end.
    known: VecDeque<(u64, u64, u64)>,
}

/// The most messages whose operations are counted.
const MOST_COUNTED: usize = 65_536;

impl Counts {
    fn new(last: u64) -> Self {
        Counts { floor: (last, 0), known: VecDeque::new() }
    }

    fn total(&self) -> u64 {
        self.known.back().map_or(self.floor.1, |newest| newest.2)
    }

    fn push(&mut self, message: u64, count: u64) {
        self.known.push_back((message, count, self.total() + count));
        if self.known.len() > MOST_COUNTED
            && let Some((message, _, total)) = self.known.pop_front()
        {
            self.floor = (message, total);
        }
    }

    /// Operations after a sequence; a message that is not known counts as one.
    fn after(&self, after: u64) -> u64 {
        let (message, index) = (sequence::message_of(after), sequence::index_of(after));
        let at = self.known.partition_point(|known| known.0 < message);
        match self.known.get(at) {
            Some((found, count, total)) if *found == message => {
                self.total() - total + count.saturating_sub(index + 1)
            }
            _ if message >= self.floor.0 => match self.known.get(at) {
                Some((_, count, total)) => self.total() - total + count,
                None => 0,
            },
            _ => self.total() - self.floor.1 + (self.floor.0 - message),
        }
    }
}

impl Lane {
    /// A lane whose stream's last message is `last`, with `tail` as its last operation.
    pub(super) fn new(id: LaneId, last: u64, tail: u64) -> Self {
        Lane {
            id,
            stream: stream_name(id),
            subject: subject(id),
            recent: Recent::new(tail),
            followed: Mutex::new(Followed { last, counts: Counts::new(last) }),
        }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The last message of the stream that was taken over.
    pub(super) fn last(&self) -> u64 {
        self.followed().last
    }

    /// Operations that wait after a sequence, as far as is known.
    pub(super) fn backlog(&self, applied: u64) -> u64 {
        self.followed().counts.after(applied)
    }

    /// Takes over a message of the stream that was delivered; one that is known already is left.
    pub(super) fn delivered(&self, message: u64, operations: Vec<NewMessage>) {
        let mut followed = self.followed();
        if message <= followed.last {
            return;
        }
        if message > followed.last + 1 {
            self.restart(&mut followed, message - 1);
        }
        self.place(&mut followed, message, operations);
    }

    /// Takes over a message that this node appended, if it is the next; else it comes by the stream, and only the lane's
    /// end is known for now.
    pub(super) fn acknowledged(&self, message: u64, operations: Vec<NewMessage>) {
        let mut followed = self.followed();
        if message == followed.last + 1 {
            self.place(&mut followed, message, operations);
        } else {
            self.recent.raise(sequence::last_of(message, operations.len()));
        }
    }

    /// Goes on after a message of the stream whose operations are not known: they are read where they are durable.
    pub(super) fn pass_over(&self, message: u64) {
        let mut followed = self.followed();
        if message > followed.last {
            self.restart(&mut followed, message);
        }
    }

    fn place(&self, followed: &mut Followed, message: u64, operations: Vec<NewMessage>) {
        followed.last = message;
        followed.counts.push(message, operations.len() as u64);
        let placed = operations.into_iter().enumerate();
        let placed = placed
            .map(|(n, operation)| LaneMessage { sequence: sequence::of(message, n), message: operation });
        self.recent.push_placed(placed);
    }

    fn restart(&self, followed: &mut Followed, last: u64) {
        followed.last = last;
        followed.counts = Counts::new(last);
        self.recent.restart(sequence::before(last + 1));
    }
}

/// The name of a lane's stream.
pub(super) fn stream_name(lane: LaneId) -> String {
    format!("GRIDESK_LANE_{}", lane.0)
}

/// The subject of a lane.
pub(super) fn subject(lane: LaneId) -> String {
    format!("gridesk.lane.{}", lane.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::nats::envelope::tests::message;

    fn operations(first: u64, count: u64) -> Vec<NewMessage> {
        (first..first + count).map(|n| message(n, 3)).collect()
    }

    /// The sequences after one, as far as they are in memory.
    fn after(lane: &Lane, sequence: u64) -> Option<Vec<u64>> {
        let found = lane.recent.after(sequence, 100)?;
        Some(found.into_iter().map(|m| m.sequence).collect())
    }

    #[test]
    fn what_was_appended_and_what_is_delivered_make_one_order() {
        let at = sequence::of;
        let lane = Lane::new(LaneId(1), 4, at(4, 7));
        assert_eq!(after(&lane, at(4, 7)), Some(vec![]));
        assert_eq!(after(&lane, at(4, 6)), None, "from before this process");
        lane.acknowledged(5, operations(0, 2));
        lane.delivered(5, operations(0, 2));
        assert_eq!(after(&lane, at(4, 7)), Some(vec![at(5, 0), at(5, 1)]));
        // Another node's 6 is still on its way: 7 waits for it, only the end is known.
        lane.acknowledged(7, operations(9, 3));
        assert_eq!((lane.recent.tail(), lane.last()), (at(7, 2), 5));
        assert_eq!(after(&lane, at(5, 0)), Some(vec![at(5, 1)]));
        lane.delivered(6, operations(5, 1));
        assert_eq!((lane.recent.tail(), lane.last()), (at(7, 2), 6), "the end never goes back");
        lane.delivered(7, operations(9, 3));
        assert_eq!(after(&lane, at(5, 1)), Some(vec![at(6, 0), at(7, 0), at(7, 1), at(7, 2)]));
        assert_eq!(lane.backlog(at(6, 0)), 3);
        lane.acknowledged(7, operations(9, 3));
        lane.delivered(6, operations(5, 1));
        assert_eq!(after(&lane, at(6, 0)), Some(vec![at(7, 0), at(7, 1), at(7, 2)]), "nothing twice");
    }

    #[test]
    fn a_hole_is_never_closed_over() {
        let at = sequence::of;
        let lane = Lane::new(LaneId(1), 0, 0);
        lane.delivered(1, operations(0, 2));
        lane.delivered(4, operations(6, 2));
        assert_eq!(after(&lane, at(1, 1)), None, "2 and 3 are not here");
        assert_eq!(after(&lane, sequence::before(4)), Some(vec![at(4, 0), at(4, 1)]));
        lane.pass_over(5);
        assert_eq!(after(&lane, at(4, 1)), None, "5 is there, but not here");
        assert!(lane.recent.tail() > at(4, 1), "so that somebody looks for it");
        lane.delivered(6, operations(8, 1));
        assert_eq!(after(&lane, sequence::before(6)), Some(vec![at(6, 0)]));
        let (found, there) = lane.recent.find(message(8, 3).operation, 0);
        assert_eq!((found.unwrap().sequence, there.end), (at(6, 0), at(6, 0)));
    }

    #[test]
    fn operations_that_wait_are_counted() {
        let mut counts = Counts::new(10);
        assert_eq!(counts.after(sequence::of(10, 5)), 0);
        assert_eq!(counts.after(sequence::of(7, 5)), 3, "three messages that nobody here has seen");
        counts.push(11, 4);
        counts.push(12, 1);
        counts.push(14, 100);
        for (after, waiting) in [
            (sequence::of(9, 0), 106),
            (sequence::of(10, 0), 105),
            (sequence::of(11, 0), 104),
            (sequence::of(11, 3), 101),
            (sequence::of(12, 0), 100),
            (sequence::of(13, 0), 100),
            (sequence::of(14, 49), 50),
            (sequence::of(14, 99), 0),
            (sequence::of(15, 0), 0),
        ] {
            assert_eq!(counts.after(after), waiting, "after {after}");
        }
        for message in 15..15 + 2 * MOST_COUNTED as u64 {
            counts.push(message, 2);
        }
        assert_eq!(counts.known.len(), MOST_COUNTED);
        assert_eq!(counts.after(counts.floor.0 << 10), 2 * MOST_COUNTED as u64);
    }
}
