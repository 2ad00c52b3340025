//! Frames of the file track on one connection, and the pieces that follow some of them.
use std::{
    io::{self, IoSlice},
    time::Duration,
};

use protocol::{
    file::ChunkHead,
    frame::{Frame, FrameError, FrameKind, Opener, Sealer},
    wire,
};
use runtime::heads::{Heads, HeadsError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::link::Greeted;

/// A wait that only the end of the connection ends.
pub(super) const EVER: Duration = Duration::MAX;

/// Why a connection of the file track is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Reading or writing failed, or the stream ended in the middle of a file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came, or nothing was taken, for too long.
    #[error("nothing moved in {} s", .0.as_secs())]
    Stalled(Duration),
    /// Not a frame of whoever is to be there.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame that has no place here, or none now.
    #[error("{0:?} has no place here")]
    Misplaced(FrameKind),
    /// A frame whose content is none.
    #[error("malformed {0:?}")]
    Malformed(FrameKind),
    /// A piece that cannot be the next one: another number, or a length that it cannot have.
    #[error("piece {index} of {len} bytes cannot be the next, which is {due}")]
    NotNext { index: u32, len: u32, due: u32 },
    /// This half is stopping.
    #[error("stopping")]
    Stopping,
}

impl Fault {
    /// Its name in counters.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Fault::Io(_) => "broken",
            Fault::Stalled(_) => "stalled",
            Fault::Frame(_) => "frame",
            Fault::Misplaced(_) => "misplaced",
            Fault::Malformed(_) => "malformed",
            Fault::NotNext { .. } => "not-next",
            Fault::Stopping => "stopping",
        }
    }
}

impl From<HeadsError<FrameError>> for Fault {
    fn from(error: HeadsError<FrameError>) -> Self {
        match error {
            HeadsError::Io(error) => Fault::Io(error),
            HeadsError::Stalled(patience) => Fault::Stalled(patience),
            HeadsError::Refused(error) => Fault::Frame(error),
        }
    }
}

/// A connection of the file track.
pub(super) struct FileStream<R, W> {
    pub(super) reader: FileReader<R>,
    pub(super) writer: FileWriter<W>,
}

impl FileStream<crate::link::Reader, crate::link::Writer> {
    /// The link, from its hello on.
    pub(super) fn from_link(link: Greeted, patience: Duration) -> Self {
        Self::new((link.reader, link.writer), (link.opener, link.sealer), patience)
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> FileStream<R, W> {
    /// A connection on which nothing may stand still for longer than `patience` in the middle of something.
    pub(super) fn new(
        (reader, writer): (R, W),
        (opener, sealer): (Opener, Sealer),
        patience: Duration,
    ) -> Self {
        FileStream {
            reader: FileReader { heads: Heads::new(reader, patience), opener },
            writer: FileWriter { writer, sealer, frame: Vec::new(), patience },
        }
    }
}

/// Its way in.
pub(super) struct FileReader<R> {
    heads: Heads<R>,
    opener: Opener,
}

impl<R: AsyncRead + Unpin> FileReader<R> {
    /// The next frame; `None` where the connection ended before it. Dropped before it ends, it loses nothing.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Option<Frame>, Fault> {
        let opener = &mut self.opener;
        Ok(self.heads.next(idle, |bytes| opener.open(bytes)).await?)
    }

    /// The next frame, where the connection may not end.
    pub(super) async fn expect(&mut self, idle: Duration) -> Result<Frame, Fault> {
        let ended = || Fault::Io(io::ErrorKind::UnexpectedEof.into());
        self.next(idle).await?.ok_or_else(ended)
    }

    /// Fills `body` with what follows the last frame.
    pub(super) async fn body(&mut self, body: &mut [u8]) -> Result<(), Fault> {
        Ok(self.heads.body(body).await?)
    }
}

/// What a frame of `kind` says.
pub(super) fn read_as<T: DeserializeOwned + Serialize>(frame: &Frame, kind: FrameKind) -> Result<T, Fault> {
    if frame.kind != kind {
        return Err(Fault::Misplaced(frame.kind));
    }
    wire::decode_exact(&frame.payload).map_err(|_| Fault::Malformed(kind))
}

/// Its way out.
pub(super) struct FileWriter<W> {
    writer: W,
    sealer: Sealer,
    frame: Vec<u8>,
    patience: Duration,
}

impl<W: AsyncWrite + Unpin> FileWriter<W> {
    /// Sends a frame.
    pub(super) async fn send<T: Serialize>(&mut self, kind: FrameKind, value: &T) -> Result<(), Fault> {
        self.write(kind, value, &[]).await
    }

    /// Sends a piece.
    pub(super) async fn send_piece(&mut self, head: &ChunkHead, piece: &[u8]) -> Result<(), Fault> {
        self.write(FrameKind::FileChunk, head, piece).await
    }

    async fn write<T: Serialize>(&mut self, kind: FrameKind, value: &T, body: &[u8]) -> Result<(), Fault> {
        self.frame.clear();
        self.sealer.seal(kind, 0, &wire::encode(value), &mut self.frame)?;
        let (writer, frame) = (&mut self.writer, &self.frame[..]);
        let writing = async {
            // One call for both, so that who reads is woken once.
            let written = writer.write_vectored(&[IoSlice::new(frame), IoSlice::new(body)]).await?;
            if let Some(rest) = frame.get(written..) {
                writer.write_all(rest).await?;
            }
            writer.write_all(&body[written.saturating_sub(frame.len())..]).await
        };
        let patience = self.patience;
        Ok(timeout(patience, writing).await.map_err(|_| Fault::Stalled(patience))??)
    }
}
