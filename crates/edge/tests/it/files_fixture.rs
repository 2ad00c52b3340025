//! The outer half's socket for files, played: it takes what it is sent, checks every piece, and answers as it is told.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use protocol::{
    Bucket, Channel, CustomerId, FileId, SessionId,
    file::{ChunkHead, Coding, Ended, Offer, Receipt, Wanted, chunk_cv, root_of},
    frame::{Direction, FrameKind, LinkKey, Opener, Sealer, Track},
    push::{EdgeSettings, Push, PushBody},
    session::{Claims, TokenUse, sign},
    wire,
};
use runtime::{heads::Heads, shutdown::Shutdown};
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::world::accept;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY_ID: u8 = 1;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

pub(crate) fn customer(n: u128) -> CustomerId {
    CustomerId::mint(Bucket::of(b"c"), n << 12)
}

/// An access token of a customer.
pub(crate) fn token_of(customer: CustomerId) -> String {
    let claims = Claims {
        key_id: KEY_ID,
        usage: TokenUse::Access,
        session: SessionId::mint(customer.bucket(), 1),
        customer,
        generation: 0,
        expires_s: 9_999_999_999,
    };
    sign(&key(), &claims)
}

/// Tells an edge with which key sessions and receipts are signed.
pub(crate) fn settings() -> Push {
    let keys = EdgeSettings { session_keys: vec![(KEY_ID, key().verifying_key().to_bytes())] };
    Push { id: protocol::PushId::mint(Bucket::of(b"x"), 1 << 12), body: PushBody::Settings(keys) }
}

/// How the played gate answers a file whose pieces are all there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Stored,
    /// With a receipt that somebody else signed.
    Forged,
    Refused,
    NotNow,
    /// Closes the connection after so many pieces, once.
    BreaksOffAfter(u32),
}

#[derive(Clone)]
pub(crate) struct FileGate {
    pub(crate) path: PathBuf,
    pub(crate) taken: Arc<Mutex<BTreeMap<FileId, Vec<u8>>>>,
    pub(crate) offers: Arc<Mutex<Vec<Offer>>>,
    pub(crate) compressed: Arc<Mutex<u32>>,
    says: Arc<Mutex<Says>>,
    stop: Shutdown,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileGate {
    pub(crate) fn start(path: &Path) -> Self {
        let gate = FileGate {
            path: path.to_owned(),
            taken: Arc::default(),
            offers: Arc::default(),
            compressed: Arc::default(),
            says: Arc::new(Mutex::new(Says::Stored)),
            stop: Shutdown::new(),
        };
        let accepting = gate.clone();
        accept(path, &gate.stop, move |stream| {
            let (gate, stop) = (accepting.clone(), accepting.stop.token());
            tokio::spawn(stop.run_until_cancelled_owned(async move { gate.serve(stream).await }));
        });
        gate
    }

    pub(crate) fn kill(&self) {
        self.stop.begin();
        std::fs::remove_file(&self.path).ok();
    }

    pub(crate) fn says(&self, says: Says) {
        *lock(&self.says) = says;
    }

    pub(crate) fn has(&self, file: FileId) -> Option<Vec<u8>> {
        lock(&self.taken).get(&file).cloned()
    }

    async fn serve(&self, stream: UnixStream) -> Option<()> {
        let (reader, mut writer) = stream.into_split();
        let mut heads = Heads::new(reader, PATIENCE);
        let mut opener = Opener::new(LinkKey::within_zone(Direction::Inward), Track::Files);
        let mut sealer = Sealer::new(LinkKey::within_zone(Direction::Outward), Track::Files);
        let mut say = |kind, payload: Vec<u8>| {
            let mut bytes = Vec::new();
            sealer.seal(kind, 0, &payload, &mut bytes).unwrap();
            bytes
        };
        loop {
            let frame = heads.next(Duration::MAX, |bytes| opener.open(bytes)).await.ok()??;
            assert_eq!(frame.kind, FrameKind::FileOffer);
            let offer: Offer = wire::decode_exact(&frame.payload).unwrap();
            lock(&self.offers).push(offer.clone());
            writer.write_all(&say(FrameKind::FileWanted, wire::encode(&Wanted { from: 0 }))).await.ok()?;
            let (mut whole, mut cvs) = (Vec::new(), Vec::new());
            for index in 0..offer.chunks() {
                if *lock(&self.says) == Says::BreaksOffAfter(index) {
                    self.says(Says::Stored);
                    return None;
                }
                let frame = heads.next(PATIENCE, |bytes| opener.open(bytes)).await.ok()??;
                let head: ChunkHead = wire::decode_exact(&frame.payload).unwrap();
                assert!(head.fits(&offer, index), "{head:?}");
                let mut body = vec![0; head.len as usize];
                heads.body::<std::convert::Infallible>(&mut body).await.ok()?;
                let piece = match head.coding {
                    Coding::Raw => body,
                    Coding::Zstd => {
                        *lock(&self.compressed) += 1;
                        zstd::bulk::decompress(&body, offer.chunk_len(index)).unwrap()
                    }
                };
                assert_eq!(chunk_cv(offer.size, index, &piece), head.cv);
                cvs.push(head.cv);
                whole.extend(piece);
            }
            assert_eq!(root_of(offer.size, &cvs), Some(offer.root));
            let says = *lock(&self.says);
            let signer = if says == Says::Forged { SigningKey::from_bytes(&[6; 32]) } else { key() };
            let receipt = Receipt::sign((KEY_ID, &signer), (offer.file, offer.size, offer.root), 1);
            let ended = match says {
                Says::Refused => Ended::Refused("macro".parse().unwrap()),
                Says::NotNow => Ended::NotNow("disk-full".parse().unwrap()),
                Says::Stored | Says::Forged | Says::BreaksOffAfter(_) => Ended::Stored(receipt),
            };
            if says == Says::Stored {
                lock(&self.taken).insert(offer.file, whole);
            }
            writer.write_all(&say(FrameKind::FileEnded, wire::encode(&ended))).await.ok()?;
        }
    }
}

/// The channel that files come over in these tests.
pub(crate) const CHANNEL: Channel = Channel::App;
