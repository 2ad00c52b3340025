//! A file that is read while it comes: whoever reads ahead of what is there waits for it.
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// How far a file has come. Whoever writes it says so; when that is dropped, nothing more comes.
pub(super) struct Written(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// So many bytes are there, from the first on; they do not change any more.
    there: u64,
    /// Nothing more comes.
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// So many bytes are there now.
    pub(super) fn reaches(&self, there: u64) {
        self.0.state().there = there;
        self.0.changed.notify_one();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_one();
    }
}

/// Such a file, to its one reader. Every read blocks until it has something, or nothing more comes.
pub(super) struct Growing {
    file: File,
    size: u64,
    at: u64,
    shared: Arc<Shared>,
}

impl Growing {
    /// A file that is to have `size` bytes, none of which counts as there yet.
    pub(super) fn new(file: File, size: u64) -> (Written, Self) {
        let shared = Arc::<Shared>::default();
        (Written(Arc::clone(&shared)), Growing { file, size, at: 0, shared })
    }
}

impl Read for Growing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size {
            return Ok(0);
        }
        let at = self.at;
        let waits = |state: &mut State| state.there <= at && !state.is_over;
        let state = self.shared.changed.wait_while(self.shared.state(), waits);
        let there = state.unwrap_or_else(PoisonError::into_inner).there.min(self.size);
        if there <= at {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the rest of the file does not come"));
        }
        let most = usize::try_from(there - at).unwrap_or(usize::MAX).min(to.len());
        let read = self.file.read_at(&mut to[..most], at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Growing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread};

    use super::*;

    #[test]
    fn a_reader_waits_for_what_comes() {
        let mut file = tempfile::tempfile().unwrap();
        let (written, mut growing) = Growing::new(file.try_clone().unwrap(), 6);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            growing.read_to_end(&mut all).unwrap();
            // Also from its end, once that is there.
            growing.seek(SeekFrom::End(-2)).unwrap();
            growing.read_to_end(&mut all).unwrap();
            all
        });
        for (part, there) in [(b"ab", 2), (b"cd", 4), (b"ef", 6)] {
            file.write_all(part).unwrap();
            written.reaches(there);
        }
        assert_eq!(reader.join().unwrap(), b"abcdefef");
    }

    #[test]
    fn a_reader_hears_that_nothing_more_comes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let (written, mut growing) = Growing::new(file, 6);
        written.reaches(3);
        let reader =
            thread::spawn(move || growing.read_to_end(&mut Vec::new()).map_err(|error| error.kind()));
        drop(written);
        assert_eq!(reader.join().unwrap(), Err(io::ErrorKind::UnexpectedEof));
    }
}
