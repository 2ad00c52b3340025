//! The outer half's socket for files, played: it gives files outward as it is told, or lies.
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use protocol::{
    Bucket, FileId,
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Fetch, Receipt, Ticket, chunk_cv},
    frame::{Direction, FrameKind, LinkKey, Opener, Sealer, Track},
    wire,
};
use runtime::{heads::Heads, shutdown::Shutdown};
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::Semaphore};

use crate::{files_fixture::key, world::accept};

/// The center's ticket for content.
pub(crate) fn ticket(number: u128, bytes: &[u8]) -> Ticket {
    let file = FileId::mint(Bucket::of(b"f"), number << 12);
    let of = (file, bytes.len() as u64, *blake3::hash(bytes).as_bytes());
    Ticket::sign((1, &key()), of, 9_999_999_999_999)
}

/// Bytes of which half can be compressed.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes[len / 2..].fill(b'x');
    bytes
}

/// How a played gate gives a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    All,
    /// Is killed after so many pieces; the others give all from then on.
    DiesAfter(u32),
    NotNow(&'static str),
    Refused(&'static str),
    /// Says this in place of the second piece.
    Lies(&'static str),
}

/// Gates that give the same files in the same way.
#[derive(Clone)]
pub(crate) struct Outward {
    files: Arc<Mutex<Vec<Vec<u8>>>>,
    gives: Arc<Mutex<Gives>>,
    pub(crate) asked: Arc<Mutex<Vec<(PathBuf, Fetch)>>>,
    /// A permit for each piece that may be sent.
    pub(crate) may: Arc<Semaphore>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outward {
    pub(crate) fn new(files: &[Vec<u8>]) -> Self {
        Outward {
            files: Arc::new(Mutex::new(files.to_vec())),
            gives: Arc::new(Mutex::new(Gives::All)),
            asked: Arc::default(),
            may: Arc::new(Semaphore::new(1_000_000)),
        }
    }

    /// They have one more file.
    pub(crate) fn has(&self, bytes: &[u8]) {
        lock(&self.files).push(bytes.to_vec());
    }

    pub(crate) fn gives(&self, gives: Gives) {
        *lock(&self.gives) = gives;
    }

    /// From where on files were asked for.
    pub(crate) fn asked_from(&self) -> Vec<u32> {
        lock(&self.asked).iter().map(|(_, fetch)| fetch.from).collect()
    }

    /// How many gates were asked.
    pub(crate) fn gates_asked(&self) -> usize {
        let mut gates: Vec<_> = lock(&self.asked).iter().map(|(gate, _)| gate.clone()).collect();
        gates.sort();
        gates.dedup();
        gates.len()
    }

    /// Starts one more gate's socket.
    pub(crate) fn start(&self, path: &Path) -> Shutdown {
        let stop = Shutdown::new();
        let (gate, path, ends) = (self.clone(), path.to_owned(), stop.clone());
        accept(&path.clone(), &stop, move |stream| {
            let (gate, path, ends) = (gate.clone(), path.clone(), ends.clone());
            let token = ends.token();
            tokio::spawn(
                token.run_until_cancelled_owned(async move { gate.serve(stream, &path, &ends).await }),
            );
        });
        stop
    }

    async fn serve(&self, stream: UnixStream, path: &Path, ends: &Shutdown) -> Option<()> {
        let (reader, mut writer) = stream.into_split();
        let mut heads = Heads::new(reader, Duration::from_secs(20));
        let mut opener = Opener::new(LinkKey::within_zone(Direction::Inward), Track::Files);
        let mut sealer = Sealer::new(LinkKey::within_zone(Direction::Outward), Track::Files);
        let mut sealed = |kind, payload: &[u8], body: &[u8]| {
            let mut bytes = Vec::new();
            sealer.seal(kind, 0, payload, &mut bytes).unwrap();
            [&bytes, body].concat()
        };
        loop {
            let frame = heads.next(Duration::MAX, |bytes| opener.open(bytes)).await.ok()??;
            assert_eq!(frame.kind, FrameKind::FileFetch);
            let fetch: Fetch = wire::decode_exact(&frame.payload).unwrap();
            assert!(fetch.ticket.is_genuine(&[(1, key().verifying_key())]) && fetch.is_possible());
            lock(&self.asked).push((path.to_owned(), fetch.clone()));
            let offer = fetch.ticket.offer();
            let is_it = |bytes: &&Vec<u8>| *blake3::hash(bytes).as_bytes() == offer.root;
            let bytes = lock(&self.files).iter().find(is_it).unwrap().clone();
            for due in fetch.from..offer.chunks() {
                self.may.acquire().await.unwrap().forget();
                let gives = *lock(&self.gives);
                let at = due as usize * CHUNK_LEN;
                let mut piece = bytes[at..bytes.len().min(at + CHUNK_LEN)].to_vec();
                if gives == Gives::Lies("other content") && due == 1 {
                    piece[5] ^= 1;
                }
                let cv = chunk_cv(offer.size, due, &piece);
                let small = zstd::bulk::compress(&piece, 1).unwrap();
                let (coding, body) =
                    if small.len() < piece.len() { (Coding::Zstd, small) } else { (Coding::Raw, piece) };
                let mut head = ChunkHead { index: due, coding, len: body.len() as u32, cv };
                let reason = |why: &str| why.parse().unwrap();
                let said = match gives {
                    Gives::DiesAfter(n) if n == due => {
                        self.gives(Gives::All);
                        std::fs::remove_file(path).unwrap();
                        ends.begin();
                        return None;
                    }
                    Gives::NotNow(why) => Some(Ended::NotNow(reason(why))),
                    Gives::Refused(why) => Some(Ended::Refused(reason(why))),
                    Gives::Lies("stored") if due == 1 => {
                        let of = (offer.file, offer.size, offer.root);
                        Some(Ended::Stored(Receipt::sign((1, &key()), of, 1)))
                    }
                    Gives::Lies(lie) if due == 1 => {
                        match lie {
                            "changed" => head.cv[0] ^= 1,
                            "skips" => head.index += 1,
                            "longer" => head.len = u32::MAX,
                            "garbage" => writer.write_all(&[0xff; 100]).await.ok()?,
                            "silent" => std::future::pending().await,
                            _ => {}
                        }
                        None
                    }
                    _ => None,
                };
                if let Some(ended) = said {
                    writer.write_all(&sealed(FrameKind::FileEnded, &wire::encode(&ended), &[])).await.ok()?;
                    break;
                }
                writer.write_all(&sealed(FrameKind::FileChunk, &wire::encode(&head), &body)).await.ok()?;
            }
        }
    }
}
