//! One file over one connection to a gate's outer half: offered, sent piece by piece from where it is wanted, answered; or
//! asked for, and taken piece by piece.
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use protocol::{
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Fetch, Hash, Offer, Wanted},
    frame::{Direction, Frame, FrameError, FrameKind, LinkKey, Opener, Sealer, Track},
    wire::{self, WireError},
};
use runtime::{
    heads::{Heads, HeadsError},
    peers::check_uid,
    shrink::Shrink,
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
    /// Away while pieces are read.
    shrink: Option<Shrink>,
}

impl Connection {
    /// Goes to a gate's socket for files.
    pub(super) async fn open(path: &Path, uids: &[u32]) -> Result<Self, SendError> {
        Self::open_for(path, uids, PATIENCE).await
    }

    /// Goes to a gate's socket for files, which may be silent for `patience` in the middle of something.
    pub(super) async fn open_for(path: &Path, uids: &[u32], patience: Duration) -> Result<Self, SendError> {
        let stream = timeout(patience, UnixStream::connect(path)).await.map_err(|_| SendError::Stalled)??;
        check_uid(&stream, uids)?;
        let (reader, writer) = stream.into_split();
        Ok(Connection {
            heads: Heads::new(reader, patience),
            writer,
            sealer: Sealer::new(LinkKey::within_zone(Direction::Inward), Track::Files),
            opener: Opener::new(LinkKey::within_zone(Direction::Outward), Track::Files),
            shrink: None,
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
        let (read, plan, shrink) = (body, offer.clone(), self.shrink.take());
        let reading = tokio::task::spawn_blocking(move || {
            let mut shrink = shrink.map_or_else(Shrink::new, Ok)?;
            read_pieces(read, &plan, &cvs, from, (&mut shrink, &pieces))?;
            Ok(shrink)
        });
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
        let read = reading.await.map_err(io::Error::other).flatten();
        self.shrink = Some(read.map_err(SendError::Body)?);
        let frame = self.said(PATIENCE).await?;
        Ok((ended(&frame)?, true))
    }

    /// Asks for a file; its pieces are [taken](Self::piece) one after the other then.
    pub(super) async fn ask(&mut self, fetch: &Fetch) -> Result<(), SendError> {
        self.write(FrameKind::FileFetch, &wire::encode(fetch), &[]).await
    }

    /// Takes the head and the body of a piece, or why there is none. All of it comes within `patience`.
    pub(super) async fn piece(
        &mut self,
        offer: &Offer,
        due: u32,
        patience: Duration,
    ) -> Result<Result<(ChunkHead, Vec<u8>), Ended>, SendError> {
        let coming = async {
            let frame = self.said(patience).await?;
            match frame.kind {
                FrameKind::FileChunk => {}
                FrameKind::FileEnded => {
                    let ended = ended(&frame)?;
                    // Nothing is stored on the way out.
                    let is_possible = !matches!(ended, Ended::Stored(_));
                    return if is_possible { Ok(Err(ended)) } else { Err(SendError::Refused) };
                }
                _ => return Err(SendError::Refused),
            }
            let head: ChunkHead = wire::decode_exact(&frame.payload)?;
            if !head.fits(offer, due) {
                return Err(SendError::Refused);
            }
            let mut body = vec![0; head.len as usize];
            self.heads.body::<FrameError>(&mut body).await?;
            Ok(Ok((head, body)))
        };
        timeout(patience, coming).await.unwrap_or(Err(SendError::Stalled))
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
    (shrink, to): (&mut Shrink, &mpsc::Sender<(ChunkHead, Vec<u8>)>),
) -> io::Result<()> {
    if cvs.len() != offer.chunks() as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its row does not fit its length"));
    }
    body.seek(SeekFrom::Start(u64::from(from) * CHUNK_LEN as u64))?;
    shrink.begin();
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
