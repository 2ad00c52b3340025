//! Compression of one piece after the other, as long as it is worth the time.
use std::io;

/// Compression that saves less than an eighth is not worth the time: the next pieces go as they are.
const WORTH_IT: usize = 8;
/// At most so many pieces go untried in a row.
const MOST_UNTRIED: u32 = 64;
const LEVEL: i32 = 1;

/// Compresses while that is worth it.
pub struct Shrink {
    compressor: zstd::bulk::Compressor<'static>,
    /// So many pieces go untried.
    untried: u32,
    /// How many will, when the next try is in vain too.
    next: u32,
}

impl Shrink {
    /// Tries the first piece.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Shrink { compressor: zstd::bulk::Compressor::new(LEVEL)?, untried: 0, next: 2 })
    }

    /// A piece as one zstd frame that says its length; `None` where that is not shorter, or was not tried.
    ///
    /// # Errors
    /// What the library says.
    pub fn shrunk(&mut self, piece: &[u8]) -> io::Result<Option<Vec<u8>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_soon_not_tried_any_more() {
        const LEN: usize = 256 * 1024;
        let mut random = vec![0; LEN];
        getrandom::fill(&mut random).unwrap();
        let mut shrink = Shrink::new().unwrap();
        let mut tried = 0;
        for _ in 0..200 {
            tried += u32::from(shrink.untried == 0);
            assert_eq!(shrink.shrunk(&random).unwrap(), None);
        }
        assert!(tried < 10, "{tried}");
        // And what comes to shrink again is found.
        let text = b"12 345 kWh, ".repeat(LEN / 12);
        let found = (0..=MOST_UNTRIED).filter(|_| shrink.shrunk(&text).unwrap().is_some()).count();
        assert!(found > 0);
    }
}
