//! The edge's end of the way out, as the tests play it, and the folder of files that the center made.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use protocol::{
    FileId,
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Fetch, Ticket, chunk_cv, place},
    frame::FrameKind,
    wire,
};
use tokio::io::AsyncReadExt;

use crate::{files_sender::*, world::*};

/// Later than any test.
pub(crate) const LATER_MS: u64 = 9_999_999_999_999;

/// Puts a file where the center puts those for outside; gives the center's ticket for it.
pub(crate) fn put(folder: &Path, number: u64, bytes: &[u8]) -> Ticket {
    let ticket = ticket(number, bytes);
    let path = folder.join("outward").join(place(&ticket.root));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    ticket
}

/// The center's ticket for a file that need not be there.
pub(crate) fn ticket(number: u64, bytes: &[u8]) -> Ticket {
    let of = (file_id(number), bytes.len() as u64, *blake3::hash(bytes).as_bytes());
    signed(of, LATER_MS)
}

pub(crate) fn signed(of: (FileId, u64, [u8; 32]), until_ms: u64) -> Ticket {
    Ticket::sign((1, &center_key()), of, until_ms)
}

/// What came outward.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Piece(ChunkHead, Vec<u8>),
    Ended(Ended),
    Closed,
}

impl Sender {
    pub(crate) async fn ask(&mut self, ticket: &Ticket, from: u32) -> bool {
        self.send(FrameKind::FileFetch, &Fetch { ticket: ticket.clone(), from }, &[]).await
    }

    /// The next piece of a ticket's file, as it is, checked.
    pub(crate) async fn got(&mut self, ticket: &Ticket, due: u32) -> Got {
        let getting = async {
            let Some(frame) = self.frame().await else { return Got::Closed };
            if frame.kind == FrameKind::FileEnded {
                return Got::Ended(wire::decode_exact(&frame.payload).unwrap());
            }
            assert_eq!(frame.kind, FrameKind::FileChunk);
            let head: ChunkHead = wire::decode_exact(&frame.payload).unwrap();
            let offer = ticket.offer();
            assert!(head.fits(&offer, due), "{head:?}");
            while self.buffer.len() < head.len as usize {
                if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                    return Got::Closed;
                }
            }
            let body: Vec<u8> = self.buffer.drain(..head.len as usize).collect();
            let piece = match head.coding {
                Coding::Raw => body,
                Coding::Zstd => zstd::bulk::decompress(&body, offer.chunk_len(due)).unwrap(),
            };
            assert_eq!(chunk_cv(offer.size, due, &piece), head.cv);
            Got::Piece(head, piece)
        };
        tokio::time::timeout(LONG, getting).await.expect("the gate says nothing")
    }

    /// All of a file from a piece on, and how many pieces were compressed. The error: what came instead, `None` where the
    /// connection was closed.
    pub(crate) async fn fetch(
        &mut self,
        ticket: &Ticket,
        from: u32,
    ) -> Result<(Vec<u8>, u32), Option<Ended>> {
        if !self.ask(ticket, from).await {
            return Err(None);
        }
        let (mut whole, mut compressed) = (Vec::new(), 0);
        for due in from..ticket.offer().chunks() {
            match self.got(ticket, due).await {
                Got::Piece(head, piece) => {
                    compressed += u32::from(head.coding == Coding::Zstd);
                    whole.extend(piece);
                }
                Got::Ended(ended) => return Err(Some(ended)),
                Got::Closed => return Err(None),
            }
        }
        Ok((whole, compressed))
    }

    /// Why a file is not given.
    pub(crate) async fn not_given(&mut self, ticket: &Ticket) -> String {
        match self.fetch(ticket, 0).await {
            Err(Some(ended)) => why(&ended),
            Err(None) => "closed".to_owned(),
            Ok((bytes, _)) => format!("given: {} bytes", bytes.len()),
        }
    }
}

/// A gate that knows the center's keys, and a connection to it.
pub(crate) async fn ready_fetcher(world: &World) -> (Center, Sender) {
    let center = world.center(0);
    let sender = ready_sender(world.folder.path()).await;
    center.pushes_keys().await;
    (center, sender)
}

/// Longer than what any buffer on the way holds.
pub(crate) const MANY: usize = 64 * CHUNK_LEN;
