//! Whether a piece of a file crosses compressed: only where it shrinks, and only where that is faster.
//!
//! Over a slow link fewer bytes are faster; over a fast one compressing takes longer than it saves. Which it is cannot be known
//! from here, for the other side has to unpack, verify and write too. So both are tried, in runs of pieces, and what was faster
//! is gone on with; now and then the other is tried again.
use std::{
    io,
    time::{Duration, Instant},
};

/// Compression that saves less than an eighth is not worth the time: the next pieces go as they are.
const WORTH_IT: usize = 8;
/// At most so many pieces go untried in a row.
const MOST_UNTRIED: u32 = 64;
const LEVEL: i32 = 1;
/// Pieces of a run (4 MiB): long beside what is buffered on the way.
const RUN: u32 = 16;
/// After so many runs the slower way is tried again.
const TRY_AGAIN: u32 = 16;

/// Compresses a connection's pieces while that is worth it.
pub struct Shrink {
    compressor: zstd::bulk::Compressor<'static>,
    /// So many pieces go untried.
    untried: u32,
    /// How many will, when the next try is in vain too.
    next: u32,
    pace: Pace,
}

impl Shrink {
    /// Begins with compressing.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Shrink {
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            untried: 0,
            next: 2,
            pace: Pace::default(),
        })
    }

    /// Another file begins: it may shrink where the last did not.
    pub fn begin(&mut self) {
        (self.untried, self.next) = (0, 2);
        self.pace.begin(Instant::now());
    }

    /// A piece as one zstd frame that says its length; `None` where it is to go as it is. To be called as soon as the piece before
    /// was handed on.
    ///
    /// # Errors
    /// What the library says.
    pub fn shrunk(&mut self, piece: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.pace.compresses(Instant::now()) { self.tried(piece) } else { Ok(None) }
    }

    fn tried(&mut self, piece: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.untried > 0 {
            self.untried -= 1;
            return Ok(None);
        }
        let shorter = self.compressor.compress(piece)?;
        if shorter.len() < piece.len() - piece.len() / WORTH_IT {
            self.next = 2;
            return Ok(Some(shorter));
        }
        (self.untried, self.next) = (self.next, (self.next * 2).min(MOST_UNTRIED));
        Ok((shorter.len() < piece.len()).then_some(shorter))
    }
}

/// Which way is faster.
#[derive(Default)]
struct Pace {
    /// How long the last whole run took: compressed, and as it is.
    took: [Option<Duration>; 2],
    /// As it is.
    raw: bool,
    /// When this run began.
    began: Option<Instant>,
    /// Pieces of it.
    pieces: u32,
    /// Runs since the slower way was tried.
    runs: u32,
}

impl Pace {
    /// The time since the last piece counts for nothing.
    fn begin(&mut self, now: Instant) {
        (self.began, self.pieces) = (Some(now), 0);
    }

    /// Whether the next piece is to be compressed.
    fn compresses(&mut self, now: Instant) -> bool {
        if self.pieces == RUN {
            self.took[usize::from(self.raw)] = self.began.map(|began| now.saturating_duration_since(began));
            self.raw = self.next(usize::from(self.raw)) == 1;
            self.begin(now);
        }
        self.began.get_or_insert(now);
        self.pieces += 1;
        !self.raw
    }

    /// The way of the next run, after one of `last`.
    fn next(&mut self, last: usize) -> usize {
        let other = 1 - last;
        self.runs += 1;
        match (self.took[last], self.took[other]) {
            (Some(mine), Some(its)) if self.runs < TRY_AGAIN => {
                if mine <= its {
                    last
                } else {
                    other
                }
            }
            _ => {
                self.runs = 0;
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 256 * 1024;

    #[test]
    fn what_does_not_shrink_is_soon_not_tried_any_more() {
        let mut random = vec![0; LEN];
        getrandom::fill(&mut random).unwrap();
        let mut shrink = Shrink::new().unwrap();
        let mut tried = 0;
        for _ in 0..200 {
            tried += u32::from(shrink.untried == 0);
            assert_eq!(shrink.tried(&random).unwrap(), None);
        }
        assert!(tried < 10, "{tried}");
        // And what comes to shrink again is found.
        let text = b"12 345 kWh, ".repeat(LEN / 12);
        let found = (0..=MOST_UNTRIED).filter(|_| shrink.tried(&text).unwrap().is_some()).count();
        assert!(found > 0);
    }

    /// How many of the last 1,000 of many pieces were compressed, where a piece takes so long each way, in µs.
    fn compressed(compressed_us: u64, raw_us: u64) -> usize {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        pace.begin(now);
        let mut ways = Vec::new();
        for _ in 0..5000 {
            let compresses = pace.compresses(now);
            ways.push(compresses);
            now += Duration::from_micros(if compresses { compressed_us } else { raw_us });
        }
        ways[4000..].iter().filter(|compresses| **compresses).count()
    }

    #[test]
    fn the_faster_way_carries_nearly_all() {
        assert!(compressed(100, 900) > 900);
        assert!(compressed(900, 100) < 100);
    }

    #[test]
    fn a_link_that_becomes_slow_is_noticed() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        pace.begin(now);
        let mut last = Vec::new();
        for n in 0..4000 {
            let compresses = pace.compresses(now);
            let took = if n < 2000 || compresses { 200 } else { 900 };
            now += Duration::from_micros(if n < 2000 && !compresses { 100 } else { took });
            if n >= 3000 {
                last.push(compresses);
            }
        }
        assert!(last.iter().filter(|compresses| **compresses).count() > 900);
    }
}
