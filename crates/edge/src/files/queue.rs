//! Who crosses next: customers take turns, and what is small does not wait behind what is large.
use std::collections::{HashMap, VecDeque};

use protocol::{CustomerId, FileId};

/// How many of a customer's files are looked at for one that is small enough.
const LOOKED_AT: usize = 32;

/// A file that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) id: FileId,
    pub(crate) customer: CustomerId,
    pub(crate) size: u64,
}

/// What waits for one gate.
#[derive(Default)]
pub(crate) struct FairQueue {
    /// Whose turn it is, first the next.
    turns: VecDeque<CustomerId>,
    waiting: HashMap<CustomerId, VecDeque<Waiting>>,
    crossing: HashMap<CustomerId, usize>,
    /// Of all that waits and crosses.
    bytes: u64,
}

impl FairQueue {
    /// Takes a file in, behind the customer's others.
    pub(crate) fn push(&mut self, file: Waiting) {
        self.bytes = self.bytes.saturating_add(file.size);
        let own = self.waiting.entry(file.customer).or_default();
        if own.is_empty() {
            self.turns.push_back(file.customer);
        }
        own.push_back(file);
    }

    /// The next that has at most `most_bytes`, of a customer of whom fewer than `most_each` cross. It counts as crossing until
    /// it is [done](Self::done).
    pub(crate) fn pop(&mut self, most_bytes: u64, most_each: usize) -> Option<Waiting> {
        for _ in 0..self.turns.len() {
            let customer = self.turns.pop_front()?;
            let own = self.waiting.get_mut(&customer)?;
            let may = self.crossing.get(&customer).is_none_or(|crossing| *crossing < most_each);
            let fits = |file: &Waiting| file.size <= most_bytes;
            let found = may.then(|| own.iter().take(LOOKED_AT).position(fits)).flatten();
            let file = found.and_then(|at| own.remove(at));
            if own.is_empty() {
                self.waiting.remove(&customer);
            } else {
                self.turns.push_back(customer);
            }
            if let Some(file) = file {
                *self.crossing.entry(customer).or_default() += 1;
                return Some(file);
            }
        }
        None
    }

    /// It has crossed, or is to be tried again some time.
    pub(crate) fn done(&mut self, file: &Waiting) {
        self.bytes = self.bytes.saturating_sub(file.size);
        if let Some(crossing) = self.crossing.get_mut(&file.customer) {
            *crossing -= 1;
            if *crossing == 0 {
                self.crossing.remove(&file.customer);
            }
        }
    }

    /// Takes out all that waits.
    pub(crate) fn drain(&mut self) -> Vec<Waiting> {
        self.turns.clear();
        let all: Vec<Waiting> = self.waiting.drain().flat_map(|(_, own)| own).collect();
        let bytes: u64 = all.iter().map(|file| file.size).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        all
    }

    /// The bytes of all that waits and crosses.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use protocol::Bucket;

    use super::*;

    fn file(customer: u128, n: u128, size: u64) -> Waiting {
        let customer = CustomerId::mint(Bucket::FIRST, customer << 12);
        Waiting { id: FileId::mint(Bucket::FIRST, n << 12), customer, size }
    }

    #[test]
    fn a_busy_customer_does_not_hold_up_another() {
        let mut queue = FairQueue::default();
        (0..1000).for_each(|n| queue.push(file(1, n, 10)));
        queue.push(file(2, 5000, 10));
        let first: Vec<_> = (0..3).filter_map(|_| queue.pop(100, 10)).map(|file| file.customer).collect();
        assert!(first.contains(&file(2, 0, 0).customer), "{first:?}");
        assert_eq!((queue.len(), queue.bytes()), (998, 10_010));
    }

    #[test]
    fn no_more_of_one_customer_cross_than_may_and_small_ones_pass_large_ones() {
        let mut queue = FairQueue::default();
        queue.push(file(1, 1, 1_000_000));
        queue.push(file(1, 2, 10));
        queue.push(file(1, 3, 10));
        assert_eq!(queue.pop(100, 2).map(|file| file.size), Some(10));
        let large = queue.pop(u64::MAX, 2).unwrap();
        assert_eq!(large.size, 1_000_000);
        assert_eq!(queue.pop(u64::MAX, 2), None, "two of one customer cross");
        queue.done(&large);
        assert_eq!(queue.pop(u64::MAX, 2).map(|file| file.size), Some(10));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_drained_is_not_counted() {
        let mut queue = FairQueue::default();
        queue.push(file(1, 1, 7));
        queue.push(file(2, 2, 8));
        let crossing = queue.pop(100, 1).unwrap();
        assert_eq!(queue.drain().len(), 1);
        assert_eq!(queue.bytes(), crossing.size);
        queue.done(&crossing);
        assert_eq!((queue.bytes(), queue.len(), queue.pop(100, 1)), (0, 0, None));
    }
}
