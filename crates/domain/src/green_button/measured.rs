//! The gate in front of the XML parser.
//!
//! The parser buffers a whole tag, text or comment before it returns. A comment without an end would therefore fill
//! the memory. This reader counts what was consumed since the last event and fails beyond the limit; it also knows
//! line and column, and refuses bytes that XML 1.0 does not allow.
use std::io::{self, BufRead, Read};

/// Why the bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// One event is longer than accepted.
    EventBytes,
    /// The file is longer than accepted.
    FileBytes,
    /// A byte-order mark of, or bytes as in, UTF-16 or UTF-32.
    Encoding,
    /// A control character that XML 1.0 does not allow.
    Control(u8),
}

/// A source with a position and limits.
pub(super) struct Measured<R> {
    inner: R,
    bytes: u64,
    since_event: usize,
    file_limit: u64,
    event_limit: usize,
    /// Line of the next byte, from 1.
    pub(super) line: u64,
    /// Column of the next byte in characters, from 1.
    pub(super) column: u64,
    /// Set once; all further reads fail.
    pub(super) fault: Option<Fault>,
}

impl<R: BufRead> Measured<R> {
    pub(super) fn new(inner: R, file_limit: u64, event_limit: usize) -> Measured<R> {
        Measured { inner, bytes: 0, since_event: 0, file_limit, event_limit, line: 1, column: 1, fault: None }
    }

    /// The parser has returned an event: its buffer is empty again.
    pub(super) fn event_done(&mut self) {
        self.since_event = 0;
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        self.fault.get_or_insert(fault);
        io::Error::other("refused")
    }
}

impl<R: BufRead> BufRead for Measured<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(fault) = self.fault {
            return Err(self.fail(fault));
        }
        if self.since_event > self.event_limit {
            return Err(self.fail(Fault::EventBytes));
        }
        let available = self.inner.fill_buf()?;
        let full = !available.is_empty() && self.bytes >= self.file_limit;
        let foreign = self.bytes == 0
            && (matches!(available, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..])
                || matches!(available, [0, ..] | [_, 0, ..]));
        if full {
            return Err(self.fail(Fault::FileBytes));
        }
        if foreign {
            return Err(self.fail(Fault::Encoding));
        }
        // No more than one byte over the limit at once: an in-memory source gives everything it has.
        let left = self.event_limit - self.since_event + 1;
        let left_file = usize::try_from(self.file_limit - self.bytes).unwrap_or(usize::MAX);
        let available = self.inner.fill_buf()?;
        Ok(&available[..available.len().min(left).min(left_file.max(1))])
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(available) = self.inner.fill_buf() {
            for &byte in available.iter().take(amount) {
                if byte == b'\n' {
                    self.line += 1;
                    self.column = 1;
                } else {
                    // A character has one byte that is no continuation byte.
                    self.column += u64::from(byte & 0xC0 != 0x80);
                    if byte < 0x20 && byte != b'\t' && byte != b'\r' {
                        self.fault.get_or_insert(Fault::Control(byte));
                    }
                }
            }
        }
        self.bytes = self.bytes.saturating_add(amount as u64);
        self.since_event = self.since_event.saturating_add(amount);
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Measured<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_line_and_column_in_characters() {
        let mut source = Measured::new("一二\nab".as_bytes(), 100, 100);
        source.consume(3);
        assert_eq!((source.line, source.column), (1, 2));
        source.consume(5);
        assert_eq!((source.line, source.column), (2, 2));
    }

    #[test]
    fn stops_a_file_and_an_event_that_are_too_long() {
        let mut source = Measured::new(&b"aaaaaaaaaaaaaaa"[..], 10, 4);
        assert_eq!(source.fill_buf().map(<[u8]>::len).ok(), Some(5));
        source.consume(5);
        assert!(source.fill_buf().is_err());
        assert_eq!(source.fault, Some(Fault::EventBytes));
        let mut source = Measured::new(&b"aaaaaaaaaaaaaaa"[..], 10, 40);
        source.consume(10);
        assert!(source.fill_buf().is_err());
        assert_eq!(source.fault, Some(Fault::FileBytes));
    }
}
