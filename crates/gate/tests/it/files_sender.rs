//! The edge's end of the file track, as the tests play it: well-behaved or not.
use std::{fs, path::Path, time::Duration};

use protocol::{
    Bucket, FileId,
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Offer, Wanted, chunk_cv},
    frame::{Direction, Frame, FrameKind, LinkKey, Opener, Sealer, Track},
    wire,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::world::{LONG, path, until};

/// A file of `len` bytes that can be compressed or not, and differs from every other of another `seed`.
pub(crate) fn content(seed: u64, len: usize, is_text: bool) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    if is_text {
        bytes.iter_mut().for_each(|byte| *byte = b"0123456789 kWh,\n"[usize::from(*byte % 4)]);
    }
    bytes
}

pub(crate) fn file_id(number: u64) -> FileId {
    FileId::mint(Bucket::FIRST, u128::from(number) << 32)
}

pub(crate) fn offer_of(file: FileId, bytes: &[u8]) -> Offer {
    Offer { file, size: bytes.len() as u64, root: *blake3::hash(bytes).as_bytes() }
}

/// What came from the gate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Wanted(u32),
    Ended(Ended),
    /// The connection was closed.
    Closed,
}

pub(crate) struct Sender {
    pub(crate) stream: UnixStream,
    pub(crate) sealer: Sealer,
    opener: Opener,
    pub(crate) buffer: Vec<u8>,
    pub(crate) compresses: bool,
}

impl Sender {
    pub(crate) async fn connect(folder: &Path) -> Sender {
        // A socket is there a moment before somebody listens.
        let connecting = async {
            loop {
                match UnixStream::connect(path(folder, "edge-files.sock")).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        Sender {
            stream: tokio::time::timeout(LONG, connecting).await.expect("nobody listens"),
            sealer: Sealer::new(LinkKey::within_zone(Direction::Inward), Track::Files),
            opener: Opener::new(LinkKey::within_zone(Direction::Outward), Track::Files),
            buffer: Vec::new(),
            compresses: false,
        }
    }

    /// Sends a frame with what follows it; `false` where the gate has closed the connection.
    pub(crate) async fn send<T: serde::Serialize>(
        &mut self,
        kind: FrameKind,
        value: &T,
        body: &[u8],
    ) -> bool {
        let mut bytes = Vec::new();
        self.sealer.seal(kind, 0, &wire::encode(value), &mut bytes).unwrap();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await.is_ok()
    }

    pub(crate) async fn offer(&mut self, offer: &Offer) -> Said {
        if !self.send(FrameKind::FileOffer, offer, &[]).await {
            return Said::Closed;
        }
        self.next().await
    }

    /// The head and the body of a piece.
    pub(crate) fn piece(&self, bytes: &[u8], index: u32) -> (ChunkHead, Vec<u8>) {
        let at = index as usize * CHUNK_LEN;
        let piece = &bytes[at..bytes.len().min(at + CHUNK_LEN)];
        let cv = chunk_cv(bytes.len() as u64, index, piece);
        let small = self.compresses.then(|| zstd::bulk::compress(piece, 1).unwrap());
        let (coding, body) = match small.filter(|small| small.len() < piece.len()) {
            Some(small) => (Coding::Zstd, small),
            None => (Coding::Raw, piece.to_vec()),
        };
        (ChunkHead { index, coding, len: u32::try_from(body.len()).unwrap(), cv }, body)
    }

    pub(crate) async fn send_piece(&mut self, bytes: &[u8], index: u32) -> bool {
        let (head, body) = self.piece(bytes, index);
        self.send(FrameKind::FileChunk, &head, &body).await
    }

    pub(crate) async fn next(&mut self) -> Said {
        let frame = tokio::time::timeout(LONG, self.frame()).await.expect("the gate says nothing");
        match frame {
            None => Said::Closed,
            Some(frame) if frame.kind == FrameKind::FileWanted => {
                Said::Wanted(wire::decode_exact::<Wanted>(&frame.payload).unwrap().from)
            }
            Some(frame) => {
                assert_eq!(frame.kind, FrameKind::FileEnded);
                Said::Ended(wire::decode_exact(&frame.payload).unwrap())
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if !self.buffer.is_empty()
                && let Some((frame, len)) = self.opener.open(&self.buffer).unwrap()
            {
                self.buffer.drain(..len);
                return Some(frame);
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// Sends all of a file that is wanted. `None`: the connection broke.
    pub(crate) async fn file(&mut self, offer: &Offer, bytes: &[u8]) -> Option<Ended> {
        let from = match self.offer(offer).await {
            Said::Wanted(from) => from,
            Said::Ended(ended) => return Some(ended),
            Said::Closed => return None,
        };
        for index in from..offer.chunks() {
            if !self.send_piece(bytes, index).await {
                break;
            }
        }
        match self.next().await {
            Said::Ended(ended) => Some(ended),
            Said::Closed => None,
            other => panic!("{other:?}"),
        }
    }
}

/// The code of an end that is not a receipt.
pub(crate) fn why(ended: &Ended) -> String {
    match ended {
        Ended::Stored(_) => "stored".to_owned(),
        Ended::Refused(reason) => format!("refused: {reason}"),
        Ended::NotNow(reason) => format!("not now: {reason}"),
    }
}

/// What is in the store, by its place; each is checked to be what its place says.
pub(crate) fn stored(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for first in fs::read_dir(folder.join("store")).unwrap() {
        let first = first.unwrap();
        for file in fs::read_dir(first.path()).unwrap() {
            let file = file.unwrap();
            let bytes = fs::read(file.path()).unwrap();
            let name = format!("{}{}", first.file_name().display(), file.file_name().display());
            assert_eq!(blake3::hash(&bytes).to_hex().as_str(), name, "visible under another hash");
            found.push((name, bytes));
        }
    }
    found
}

/// The names of the files in the quarantine, sorted.
pub(crate) fn quarantined(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("quarantine")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A sender, once the inner half is there.
pub(crate) async fn ready_sender(folder: &Path) -> Sender {
    until(|| folder.join("edge-files.sock").exists()).await;
    let mut sender = Sender::connect(folder).await;
    let mut probe = offer_of(file_id(u64::MAX), b"probe");
    loop {
        // An offer of what is too long for this inner half tells that it is there, and leaves nothing.
        probe.size = protocol::file::MAX_FILE_LEN;
        match sender.offer(&probe).await {
            Said::Ended(Ended::NotNow(reason)) if reason.as_str() == "gate-away" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // What another test's senders held may not be free yet.
            Said::Closed => sender = Sender::connect(folder).await,
            _ => return Sender::connect(folder).await,
        }
    }
}

/// The lines of a half's metrics that begin with `name`.
pub(crate) async fn metrics(folder: &Path, half: &str, name: &str) -> Vec<String> {
    let mut inside = UnixStream::connect(path(folder, &format!("{half}.sock"))).await.unwrap();
    inside.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    inside.read_to_string(&mut text).await.unwrap();
    text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

/// How often something was refused for a reason.
pub(crate) async fn refused(folder: &Path, reason: &str) -> u32 {
    let name = format!("gate_file_refused_total{{reason=\"{reason}\"}} ");
    metrics(folder, "outer", &name).await.iter().map(|line| line[name.len()..].parse::<u32>().unwrap()).sum()
}

/// Waits until something was refused for a reason so often.
pub(crate) async fn until_refused(folder: &Path, reason: &str, times: u32) {
    let waiting = async {
        while refused(folder, reason).await < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{reason} was not counted"));
}
