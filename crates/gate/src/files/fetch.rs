//! The outer half's part of the way out: asks the inner half for a file that an edge has a ticket for, and passes on what comes,
//! piece by piece.
//!
//! Whether the ticket is good is the inner half's to say. What comes is held to the ticket here too: each head is decoded, must be
//! the next piece of that file, and is written anew.
use std::time::Duration;

use protocol::{
    file::{CHUNK_LEN, ChunkHead, Ended, Fetch, Offer},
    frame::{Frame, FrameKind},
};
use tokio::{net::unix::OwnedWriteHalf, time::timeout};

use super::{
    counted,
    pool::Link,
    relay::{Begun, Edge, Relay, Stuck},
    stream::{EVER, Fault, FileReader, FileWriter, read_as},
};
use crate::link;

/// The catalogue's version from which on an inner half knows how to give a file.
pub(super) const SINCE: u8 = 2;

impl Relay {
    /// Fetches one file for an edge. With `Ok` both connections are between two files, and the link is free again.
    pub(super) async fn fetch(
        &self,
        edge: &mut Edge,
        fetch: &Fetch,
        piece: &mut Vec<u8>,
    ) -> Result<(), Stuck> {
        if !fetch.is_possible() {
            counted::refused("impossible-size");
            return say(&mut edge.writer, &Ended::Refused(counted::code("impossible-size"))).await;
        }
        let Begun { mut link, first } = match self.begin(edge, FrameKind::FileFetch, fetch).await? {
            Ok(begun) => begun,
            Err(why) => return say(&mut edge.writer, &Ended::NotNow(counted::code(why.code()))).await,
        };
        let passing = pass((&mut link, &mut edge.writer), first, fetch, piece, self.patience);
        tokio::select! {
            biased;
            // It has nothing to say before all is there.
            spoke = edge.reader.expect(EVER) =>
                return Err(Stuck::Edge(spoke.map_or_else(|fault| fault, |frame| Fault::Misplaced(frame.kind)))),
            passed = passing => passed?,
        }
        self.park(link);
        Ok(())
    }
}

/// Passes on what comes until the last piece, or until the inner half ends it.
async fn pass(
    (link, edge): (&mut Link, &mut FileWriter<OwnedWriteHalf>),
    first: Frame,
    fetch: &Fetch,
    piece: &mut Vec<u8>,
    patience: Duration,
) -> Result<(), Stuck> {
    let (inner, offer) = (&mut link.stream.reader, fetch.ticket.offer());
    piece.resize(CHUNK_LEN, 0);
    let mut first = Some(first);
    for due in fetch.from..offer.chunks() {
        let coming = next(inner, first.take(), (&offer, due), piece);
        // A piece that comes byte by byte is a stalled one too.
        let came = timeout(patience, coming).await.unwrap_or(Err(Fault::Stalled(patience)));
        let head = match came.map_err(Stuck::Link)? {
            Ok(head) => head,
            Err(ended) => return say(edge, &ended).await,
        };
        let bytes = &piece[..head.len as usize];
        edge.send_piece(&head, bytes).await.map_err(Stuck::Edge)?;
        counted::piece(offer.chunk_len(due), bytes.len());
    }
    counted::fetched(None);
    Ok(())
}

/// The next piece, of which `frame` may be there already; or why there is none.
async fn next(
    inner: &mut FileReader<link::Reader>,
    frame: Option<Frame>,
    (offer, due): (&Offer, u32),
    piece: &mut [u8],
) -> Result<Result<ChunkHead, Ended>, Fault> {
    let frame = match frame {
        Some(frame) => frame,
        None => inner.expect(EVER).await?,
    };
    if frame.kind == FrameKind::FileEnded {
        let ended = read_as(&frame, FrameKind::FileEnded)?;
        // Nothing is stored on the way out.
        let is_possible = !matches!(ended, Ended::Stored(_));
        return if is_possible { Ok(Err(ended)) } else { Err(Fault::Malformed(frame.kind)) };
    }
    let head: ChunkHead = read_as(&frame, FrameKind::FileChunk)?;
    if !head.fits(offer, due) {
        return Err(Fault::NotNext { index: head.index, len: head.len, due });
    }
    inner.body(&mut piece[..head.len as usize]).await?;
    Ok(Ok(head))
}

/// Tells the edge why it does not get its file, or no more of it.
async fn say(edge: &mut FileWriter<OwnedWriteHalf>, ended: &Ended) -> Result<(), Stuck> {
    counted::fetched(Some(ended));
    edge.send(FrameKind::FileEnded, ended).await.map_err(Stuck::Edge)
}
