//! One file over one connection to a gate's outer half: offered, sent piece by piece from where it is wanted, answered.
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use protocol::{
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Hash, Offer, Wanted},
    frame::{Direction, Frame, FrameError, FrameKind, LinkKey, Opener, Sealer, Track},
    wire::{self, WireError},
};
use runtime::{
    heads::{Heads, HeadsError},
    peers::check_uid,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};

/// How long the gate may be silent, and how long it may take to read a piece. Attaching waits for the center.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long its last words are waited for once it takes nothing any more.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Pieces that are read ahead of what is sent.
const AHEAD: usize = 2;
/// Compression that saves less than an eighth is not worth the time: the next pieces go as they are.
const WORTH_IT: usize = 8;
/// At most so many pieces go untried in a row.
const MOST_UNTRIED: u32 = 64;
const LEVEL: i32 = 1;

/// Why a file was not sent to its end. It is sent again.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The gate is not there, or went away.
    #[error("the gate: {0}")]
    Io(#[from] io::Error),
    /// Nothing came, or nothing was read, for too long.
    #[error("the gate is silent")]
    Stalled,
    /// It said what it may not say.
    #[error("the gate said what it may not say here")]
    Refused,
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Body(io::Error),
}

impl From<HeadsError<FrameError>> for SendError {
    fn from(error: HeadsError<FrameError>) -> Self {
        match error {
            HeadsError::Io(error) => SendError::Io(error),
            HeadsError::Stalled(_) => SendError::Stalled,
            HeadsError::Refused(_) => SendError::Refused,
        }
    }
}

impl From<WireError> for SendError {
    fn from(_: WireError) -> Self {
        SendError::Refused
    }
}

impl From<FrameError> for SendError {
    fn from(_: FrameError) -> Self {
        SendError::Refused
    }
}

/// A connection to a gate.
pub(super) struct Connection {
    heads: Heads<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    sealer: Sealer,
    opener: Opener,
    /// Files sent over it.
    pub(super) sent: u32,
}

impl Connection {
    /// Goes to a gate's socket for files.
    pub(super) async fn open(path: &Path, uids: &[u32]) -> Result<Self, SendError> {
        let stream = timeout(PATIENCE, UnixStream::connect(path)).await.map_err(|_| SendError::Stalled)??;
        check_uid(&stream, uids)?;
        let (reader, writer) = stream.into_split();
        Ok(Connection {
            heads: Heads::new(reader, PATIENCE),
            writer,
            sealer: Sealer::new(LinkKey::within_zone(Direction::Inward), Track::Files),
            opener: Opener::new(LinkKey::within_zone(Direction::Outward), Track::Files),
            sent: 0,
        })
    }

    /// Resolves when the gate closes an idle connection, or says something that nobody asked for.
    pub(super) async fn closed(&mut self) {
        let _ = self.said(Duration::MAX).await;
    }

    /// Sends a file. After an error, or where `Ended` came before all was sent, the connection is of no more use.
    pub(super) async fn send(
        &mut self,
        offer: &Offer,
        cvs: Vec<Hash>,
        body: File,
    ) -> Result<(Ended, bool), SendError> {
        self.write(FrameKind::FileOffer, &wire::encode(offer), &[]).await?;
        let frame = self.said(PATIENCE).await?;
        let from = match frame.kind {
            FrameKind::FileWanted => wire::decode_exact::<Wanted>(&frame.payload)?.from,
            FrameKind::FileEnded => return Ok((ended(&frame)?, true)),
            _ => return Err(SendError::Refused),
        };
        if from > offer.chunks() {
            return Err(SendError::Refused);
        }
        let (pieces, mut ready) = mpsc::channel(AHEAD);
        let (read, plan) = (body, offer.clone());
        let reading = tokio::task::spawn_blocking(move || read_pieces(read, &plan, &cvs, from, &pieces));
        while let Some((head, piece)) = ready.recv().await {
            // Both sides write into buffers of the other: what it says early is heard while a piece is written.
            let mut bytes = Vec::with_capacity(256);
            self.sealer.seal(FrameKind::FileChunk, 0, &wire::encode(&head), &mut bytes)?;
            let writing = write_all(&mut self.writer, &bytes, &piece);
            let opener = &mut self.opener;
            tokio::select! {
                biased;
                said = self.heads.next(Duration::MAX, |bytes| opener.open(bytes)) => {
                    let frame = said?.ok_or_else(gone)?;
                    return Ok((ended(&frame)?, false));
                }
                written = writing => if let Err(error) = written {
                    // What it had said before it closed says more than that it closed.
                    let said = timeout(LAST_WORDS, self.said(LAST_WORDS)).await;
                    let Ok(Ok(frame)) = said else { return Err(error) };
                    return Ok((ended(&frame)?, false));
                }
            }
            metrics::counter!("edge_file_sent_bytes_total").increment(piece.len() as u64);
        }
        reading.await.map_err(|error| SendError::Body(io::Error::other(error)))?.map_err(SendError::Body)?;
        let frame = self.said(PATIENCE).await?;
        self.sent += 1;
        Ok((ended(&frame)?, true))
    }

    async fn write(&mut self, kind: FrameKind, payload: &[u8], body: &[u8]) -> Result<(), SendError> {
        let mut bytes = Vec::with_capacity(256);
        self.sealer.seal(kind, 0, payload, &mut bytes)?;
        write_all(&mut self.writer, &bytes, body).await
    }

    async fn said(&mut self, idle: Duration) -> Result<Frame, SendError> {
        let opener = &mut self.opener;
        Ok(self.heads.next(idle, |bytes| opener.open(bytes)).await?.ok_or_else(gone)?)
    }
}

fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    body: &[u8],
) -> Result<(), SendError> {
    let writing = async {
        writer.write_all(head).await?;
        writer.write_all(body).await
    };
    Ok(timeout(PATIENCE, writing).await.map_err(|_| SendError::Stalled)??)
}

fn ended(frame: &Frame) -> Result<Ended, SendError> {
    if frame.kind != FrameKind::FileEnded {
        return Err(SendError::Refused);
    }
    Ok(wire::decode_exact(&frame.payload)?)
}

/// Reads a file's pieces from `from` on, compresses what shrinks, and passes them on; ends early when nobody wants more.
fn read_pieces(
    mut body: File,
    offer: &Offer,
    cvs: &[Hash],
    from: u32,
    to: &mpsc::Sender<(ChunkHead, Vec<u8>)>,
) -> io::Result<()> {
    if cvs.len() != offer.chunks() as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its row does not fit its length"));
    }
    body.seek(SeekFrom::Start(u64::from(from) * CHUNK_LEN as u64))?;
    let mut shrink = Shrink::new()?;
    for index in from..offer.chunks() {
        let mut piece = vec![0; offer.chunk_len(index)];
        body.read_exact(&mut piece)?;
        let (coding, bytes) = match shrink.shrunk(&piece)? {
            Some(shorter) => (Coding::Zstd, shorter),
            None => (Coding::Raw, piece),
        };
        let head = ChunkHead { index, coding, len: bytes.len() as u32, cv: cvs[index as usize] };
        if to.blocking_send((head, bytes)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Compresses while that is worth it.
struct Shrink {
    compressor: zstd::bulk::Compressor<'static>,
    /// So many pieces go untried.
    untried: u32,
    /// How many will, when the next try is in vain too.
    next: u32,
}

impl Shrink {
    fn new() -> io::Result<Self> {
        Ok(Shrink { compressor: zstd::bulk::Compressor::new(LEVEL)?, untried: 0, next: 2 })
    }

    fn shrunk(&mut self, piece: &[u8]) -> io::Result<Option<Vec<u8>>> {
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
        let mut random = vec![0; CHUNK_LEN];
        getrandom::fill(&mut random).unwrap();
        let mut shrink = Shrink::new().unwrap();
        let mut tried = 0;
        for _ in 0..200 {
            tried += u32::from(shrink.untried == 0);
            assert_eq!(shrink.shrunk(&random).unwrap(), None);
        }
        assert!(tried < 10, "{tried}");
        // And what comes to shrink again is found.
        let text = b"12 345 kWh, ".repeat(CHUNK_LEN / 12);
        let found = (0..=MOST_UNTRIED).filter(|_| shrink.shrunk(&text).unwrap().is_some()).count();
        assert!(found > 0);
    }
}
