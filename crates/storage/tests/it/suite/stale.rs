//! The checker of what readers saw: it knows only what was written when, and nothing of caches.
use std::collections::HashMap;

/// A value that was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Write {
    /// Of what.
    pub(crate) key: u64,
    /// At which place of the lane.
    pub(crate) sequence: u64,
    /// The value.
    pub(crate) value: u64,
}

/// A value that a reader was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Read {
    /// Of what.
    pub(crate) key: u64,
    /// How far the reader was told it is in step.
    pub(crate) position: u64,
    /// The value.
    pub(crate) value: u64,
}

/// The reads that are wrong: of a value that had been overwritten at or before the position the reader was told, or that
/// was never written.
pub(crate) fn stale(writes: &[Write], reads: &[Read]) -> Vec<Read> {
    let mut by_key: HashMap<u64, Vec<Write>> = HashMap::new();
    for write in writes {
        by_key.entry(write.key).or_default().push(*write);
    }
    by_key.values_mut().for_each(|writes| writes.sort_by_key(|w| w.sequence));
    let wrong = |read: &&Read| {
        let writes = by_key.get(&read.key).map_or(&[][..], Vec::as_slice);
        let Some(at) = writes.iter().position(|w| w.value == read.value) else { return true };
        writes.get(at + 1).is_some_and(|next| next.sequence <= read.position)
    };
    reads.iter().filter(wrong).copied().collect()
}

#[test]
fn the_checker_finds_the_one_stale_read() {
    let write = |key, sequence, value| Write { key, sequence, value };
    let read = |key, position, value| Read { key, position, value };
    let writes = [write(1, 1, 10), write(2, 2, 20), write(1, 5, 11), write(1, 9, 12)];
    let good = [
        read(1, 1, 10),
        read(1, 4, 10), // the last moment it is right
        read(1, 5, 11),
        read(1, 3, 12),  // fresher than it was told: fine
        read(2, 99, 20), // never overwritten
    ];
    assert_eq!(stale(&writes, &good), []);
    for bad in [read(1, 5, 10), read(1, 9, 11), read(1, 1, 77), read(3, 1, 10)] {
        let history = [&good[..], &[bad]].concat();
        assert_eq!(stale(&writes, &history), [bad]);
    }
}
