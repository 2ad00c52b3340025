//! A lane's sequences on JetStream: the sequence of the stream's message in the upper 54 bits, the operation's index in
//! that message in the lower 10.
//!
//! So they grow with the stream, with gaps, and the message that carries an operation is known from its sequence alone.
//! A stream counts from 1: sequence 0 is before every operation.

/// Bits of the index.
const INDEX_BITS: u32 = 10;
/// The highest index.
const INDEX_MOST: u64 = (1 << INDEX_BITS) - 1;

/// The sequence of the operation at `index` of the stream's message `message`.
pub(super) fn of(message: u64, index: usize) -> u64 {
    (message << INDEX_BITS) | (index as u64 & INDEX_MOST)
}

/// The stream's message that carries an operation.
pub(super) fn message_of(sequence: u64) -> u64 {
    sequence >> INDEX_BITS
}

/// The index of an operation in its message.
pub(super) fn index_of(sequence: u64) -> u64 {
    sequence & INDEX_MOST
}

/// The highest sequence that any operation before the stream's message `message` can have.
pub(super) fn before(message: u64) -> u64 {
    (message << INDEX_BITS).saturating_sub(1)
}

/// The sequence of the last of a message's `count` operations.
pub(super) fn last_of(message: u64, count: usize) -> u64 {
    of(message, count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::nats::envelope::MOST_OPERATIONS;

    #[test]
    fn sequences_grow_and_name_their_message() {
        assert_eq!((of(1, 0), of(1, 1), of(2, 0)), (1024, 1025, 2048));
        let messages = [1, 2, 3, 1_000_000, (1 << 53) - 1];
        let mut last = 0;
        for message in messages {
            for index in [0, 1, MOST_OPERATIONS - 1, 1023] {
                let sequence = of(message, index);
                assert!(sequence > last);
                last = sequence;
                assert_eq!((message_of(sequence), index_of(sequence)), (message, index as u64));
                assert!(before(message) < sequence && sequence < before(message + 1) + 1);
            }
        }
        assert!(i64::try_from(last).is_ok(), "databases keep it as a signed number");
    }

    #[test]
    fn a_message_ends_with_its_last_operation() {
        assert_eq!(last_of(7, 1), of(7, 0));
        assert_eq!(last_of(7, MOST_OPERATIONS), of(7, MOST_OPERATIONS - 1));
        assert_eq!((message_of(0), before(0), before(1)), (0, 0, 1023));
        const { assert!(MOST_OPERATIONS <= 1 << INDEX_BITS) };
    }
}
