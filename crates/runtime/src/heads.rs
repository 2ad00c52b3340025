//! Reads a stream of small heads, some of which are followed by a long body.
//!
//! A head is taken from a small buffer; a body is read past it, straight to where it is wanted. Nothing grows with what the
//! other side sends, and one that sends nothing for too long is given up.
use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// No head is longer.
const HEAD_MAX: usize = 4096;

/// Why there is no next head or body.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError<E> {
    /// Reading failed, or the stream ended in the middle of something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing came in {} s", .0.as_secs())]
    Stalled(Duration),
    /// The head is none.
    #[error("{0}")]
    Refused(E),
}

/// A stream of heads and bodies.
pub struct Heads<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer has been taken.
    taken: usize,
    patience: Duration,
}

impl<R: AsyncRead + Unpin> Heads<R> {
    /// Reads from `reader`, which may be silent for `patience` in the middle of something.
    pub fn new(reader: R, patience: Duration) -> Self {
        Heads { reader, buffer: Vec::with_capacity(HEAD_MAX), taken: 0, patience }
    }

    /// The next head, which `open` takes from the front of what has come: with its length, or `None` where more must come.
    /// `None`: the stream ended between two of them. For the first byte it waits `idle`.
    ///
    /// Dropped before it ends, it loses nothing.
    ///
    /// # Errors
    /// [`HeadsError`]; the stream is of no use afterwards.
    pub async fn next<T, E>(
        &mut self,
        idle: Duration,
        mut open: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Result<Option<T>, HeadsError<E>> {
        loop {
            let waiting = &self.buffer[self.taken..];
            if !waiting.is_empty()
                && let Some((head, len)) = open(waiting).map_err(HeadsError::Refused)?
            {
                self.taken += len;
                return Ok(Some(head));
            }
            let is_idle = waiting.is_empty();
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if self.buffer.len() >= HEAD_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a head is too long").into());
            }
            let patience = if is_idle { idle } else { self.patience };
            let mut room = (&mut self.reader).take((HEAD_MAX - self.buffer.len()) as u64);
            let read = timeout(patience, room.read_buf(&mut self.buffer)).await;
            match read.map_err(|_| HeadsError::Stalled(patience))?? {
                0 if is_idle => return Ok(None),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                _ => {}
            }
        }
    }

    /// Fills `body` with what follows the last head.
    ///
    /// # Errors
    /// [`HeadsError`]; the stream is of no use afterwards.
    pub async fn body<E>(&mut self, body: &mut [u8]) -> Result<(), HeadsError<E>> {
        let here = (self.buffer.len() - self.taken).min(body.len());
        body[..here].copy_from_slice(&self.buffer[self.taken..self.taken + here]);
        self.taken += here;
        let mut filled = here;
        while filled < body.len() {
            let read = timeout(self.patience, self.reader.read(&mut body[filled..])).await;
            match read.map_err(|_| HeadsError::Stalled(self.patience))?? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => filled += n,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// A head is one byte: the length of its body; 255 is none.
    #[allow(clippy::unnecessary_wraps)]
    fn open(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
        match bytes {
            [255, ..] => Err("no head"),
            [254, ..] => Ok(None),
            [len, ..] => Ok(Some((usize::from(*len), 1))),
            [] => Ok(None),
        }
    }

    #[tokio::test]
    async fn heads_and_bodies_come_in_any_portions() {
        let (mut there, here) = tokio::io::duplex(3);
        let sender = tokio::spawn(async move {
            there.write_all(b"\x05hello\x00\x02ab").await.unwrap();
        });
        let mut heads = Heads::new(here, SOON);
        let mut said = Vec::new();
        while let Some(len) = heads.next(SOON, open).await.unwrap() {
            let mut body = vec![0; len];
            heads.body::<&str>(&mut body).await.unwrap();
            said.push(String::from_utf8(body).unwrap());
        }
        assert_eq!(said, ["hello", "", "ab"]);
        sender.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_none_what_is_cut_off_and_what_stalls_is_told() {
        let of = |bytes: &'static [u8]| Heads::new(bytes, Duration::from_millis(20));
        assert!(matches!(of(b"\xff").next(SOON, open).await, Err(HeadsError::Refused("no head"))));
        let mut cut = of(b"\x05hel");
        cut.next(SOON, open).await.unwrap();
        assert!(matches!(cut.body::<&str>(&mut [0; 5]).await, Err(HeadsError::Io(_))));
        let endless: &'static [u8] = &[254; 5000];
        assert!(matches!(of(endless).next(SOON, open).await, Err(HeadsError::Io(_))));

        let (mut there, here) = tokio::io::duplex(64);
        let mut heads = Heads::new(here, Duration::from_millis(20));
        there.write_all(b"\x05hel").await.unwrap();
        heads.next(SOON, open).await.unwrap();
        assert!(matches!(heads.body::<&str>(&mut [0; 5]).await, Err(HeadsError::Stalled(_))));
    }
}
