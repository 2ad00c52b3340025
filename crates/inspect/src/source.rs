//! Reading within bounds.

use std::io::{self, Read, Seek, SeekFrom};

use crate::Reason;

/// Why a walk ends before the file does.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The file is refused.
    Refuse(Reason),
    /// A person must look at it.
    Person(Reason),
    /// It cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes held of the file at a time.
const WINDOW: usize = 64 * 1024;

/// A file through a window of fixed size. Nothing is read beyond the size that was told.
pub(crate) struct Source<'a, F> {
    file: &'a mut F,
    size: u64,
    window: Vec<u8>,
    /// Where the window begins.
    start: u64,
}

impl<'a, F: Read + Seek> Source<'a, F> {
    /// Fails where the file is not of `size` bytes: everything after would be judged by a wrong end.
    pub(crate) fn new(file: &'a mut F, size: u64) -> io::Result<Self> {
        if file.seek(SeekFrom::End(0))? != size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file is not of the size that was told",
            ));
        }
        Ok(Self { file, size, window: Vec::new(), start: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `at`, at most `len` and at most what the window holds; fewer only at the file's end.
    pub(crate) fn up_to(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(WINDOW).min(left);
        let held = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = held.filter(|skip| skip.checked_add(len).is_some_and(|end| end <= self.window.len()));
        let skip = match held {
            Some(skip) => skip,
            None => {
                self.fill(at, left.min(WINDOW))?;
                0
            }
        };
        Ok(&self.window[skip..skip + len])
    }

    /// Exactly `N` bytes from `at`, or nothing where the file ends before.
    pub(crate) fn array<const N: usize>(&mut self, at: u64) -> io::Result<Option<[u8; N]>> {
        Ok(self.up_to(at, N)?.try_into().ok())
    }

    fn fill(&mut self, at: u64, len: usize) -> io::Result<()> {
        // Forgotten first: a failed read must not leave bytes that belong elsewhere.
        self.window.clear();
        self.window.resize(len, 0);
        self.start = at;
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut self.window));
        if read.is_err() {
            self.window.clear();
        }
        read
    }

    /// Hands all bytes of `range` on, piece by piece.
    pub(crate) fn each(
        &mut self,
        range: std::ops::Range<u64>,
        mut piece: impl FnMut(&[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut at = range.start;
        while at < range.end.min(self.size) {
            let len = usize::try_from(range.end - at).unwrap_or(WINDOW);
            let bytes = self.up_to(at, len)?;
            piece(bytes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}
