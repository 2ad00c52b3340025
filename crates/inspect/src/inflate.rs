//! Unpacking within a budget.

use std::io::{Read, Seek};
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use crate::source::{Source, Stop};

const IN: usize = 4 * 1024;
const OUT: usize = 32 * 1024;

/// How deflated data is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrap {
    /// As in a zip file.
    Raw,
    /// As in PNG and PDF.
    Zlib,
}

/// How unpacking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// At its own end.
    Complete,
    /// The budget was used up before.
    OverBudget,
    /// The data is damaged, or cut off.
    Broken,
}

/// What unpacking gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    pub(crate) ended: Ended,
    /// Bytes read.
    pub(crate) packed: u64,
    /// Bytes handed on.
    pub(crate) unpacked: u64,
}

/// Unpacks piece by piece, for data that is not in one place.
pub(crate) struct Inflater {
    state: Decompress,
    out: Vec<u8>,
    done: Unpacked,
    budget: u64,
    over: bool,
}

impl Inflater {
    pub(crate) fn new(wrap: Wrap, budget: u64) -> Self {
        let done = Unpacked { ended: Ended::Broken, packed: 0, unpacked: 0 };
        // A byte more than the budget tells that there is more.
        let out = usize::try_from(budget.saturating_add(1)).unwrap_or(OUT).min(OUT);
        Self { state: Decompress::new(wrap == Wrap::Zlib), out: vec![0; out], done, budget, over: false }
    }

    /// Unpacks `input`, handing on what comes of it. Gives whether more is wanted.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        piece: &mut dyn FnMut(&[u8]) -> Result<(), Stop>,
    ) -> Result<bool, Stop> {
        if self.over {
            return Ok(false);
        }
        loop {
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, &mut self.out, FlushDecompress::None);
            let read = usize::try_from(self.state.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.state.total_out() - before_out).unwrap_or(usize::MAX);
            input = input.get(read..).unwrap_or_default();
            self.done.packed += read as u64;
            let left = usize::try_from(self.budget - self.done.unpacked).unwrap_or(usize::MAX);
            self.done.unpacked += made.min(left) as u64;
            piece(&self.out[..made.min(left)])?;
            if made > left {
                self.done.ended = Ended::OverBudget;
                self.over = true;
            } else {
                match status {
                    Ok(Status::StreamEnd) => {
                        self.done.ended = Ended::Complete;
                        self.over = true;
                    }
                    // Neither read nor made anything: it wants more input.
                    Ok(_) if read == 0 && made == 0 => return Ok(true),
                    Ok(_) => continue,
                    Err(_) => self.over = true,
                }
            }
            return Ok(false);
        }
    }

    /// How it stands; cut off where it has not ended.
    pub(crate) fn done(&self) -> Unpacked {
        self.done
    }
}

/// Unpacks what lies in `range`, at most `budget` bytes of it.
pub(crate) fn inflate<F: Read + Seek>(
    source: &mut Source<'_, F>,
    range: Range<u64>,
    wrap: Wrap,
    budget: u64,
    mut piece: impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<Unpacked, Stop> {
    let mut inflater = Inflater::new(wrap, budget);
    let mut at = range.start;
    while at < range.end.min(source.size()) {
        // Less than the window, so that many small streams close to one another are read once.
        let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(IN);
        let input = source.up_to(at, len)?;
        at += input.len() as u64;
        if !inflater.push(input, &mut piece)? {
            break;
        }
    }
    Ok(inflater.done())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn run(bytes: &[u8], budget: u64) -> (Unpacked, usize) {
        let (mut file, mut got) = (Cursor::new(bytes), 0);
        let mut source = Source::new(&mut file, bytes.len() as u64).unwrap();
        let done = inflate(&mut source, 0..bytes.len() as u64, Wrap::Zlib, budget, |piece| {
            got += piece.len();
            Ok(())
        });
        (done.unwrap(), got)
    }

    #[test]
    fn no_more_than_the_budget_is_handed_on() {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(&vec![0; 1_000_000]).unwrap();
        let bytes = writer.finish().unwrap();
        for (budget, ended) in [
            (1_000_000, Ended::Complete),
            (999_999, Ended::OverBudget),
            (40_000, Ended::OverBudget),
            (0, Ended::OverBudget),
        ] {
            let (done, got) = run(&bytes, budget);
            assert_eq!((done.ended, got as u64), (ended, budget.min(1_000_000)), "{budget}");
        }
        assert_eq!(run(&bytes[..bytes.len() - 6], u64::MAX).0.ended, Ended::Broken);
        assert_eq!(run(b"\x78\x9cnonsense", u64::MAX).0.ended, Ended::Broken);
    }
}
