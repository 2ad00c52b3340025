//! The outer half's part: takes a file from an edge, piece by piece, and hands it on over the link. The way back is in
//! [`fetch`](super::fetch).
//!
//! Nothing is passed on as it came: every frame is decoded, checked against what may come now, and written anew. What is in
//! memory is one piece a connection.
use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{
    file::{CHUNK_LEN, ChunkHead, Ended, Fetch, Offer, Wanted},
    frame::{Direction, Frame, FrameKind, LinkKey, Opener, Sealer, Track},
};
use runtime::{peers::check_uid, shutdown::Shutdown};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    counted::{self, InFlight},
    fetch,
    pool::{Link, NoLink, Pool},
    stream::{EVER, Fault, FileReader, FileStream, FileWriter, read_as},
};
use crate::link::{self, Side};

/// An edge that offers nothing for so long connects again when it has something.
const IDLE_EDGE: Duration = Duration::from_secs(300);
/// The pause after a connection that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// Connections to the inner half, or on their way to be one.
const LINKS_MAX: usize = 256;
/// What the inner half said before it left is already here.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Settings of the outer half's file track.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Where edges connect to send files.
    pub edge_socket: PathBuf,
    /// Where the inner half connects.
    pub link: PathBuf,
    /// Connections of edges at once, each of which carries one file at a time.
    #[serde(default = "default_edge_connections")]
    pub connections: usize,
    /// How long an offer waits for a connection to the inner half, in seconds.
    #[serde(default = "default_wait_s")]
    pub wait_s: u64,
    /// How long a file may stand still, and one piece may take, in seconds.
    #[serde(default = "default_patience_s")]
    pub patience_s: u64,
}

fn default_edge_connections() -> usize {
    256
}

fn default_wait_s() -> u64 {
    5
}

fn default_patience_s() -> u64 {
    30
}

pub(super) type Edge = FileStream<OwnedReadHalf, OwnedWriteHalf>;

/// The outer half's file track. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relay {
    pool: Pool,
    edges: Arc<Semaphore>,
    wait: Duration,
    pub(super) patience: Duration,
    shutdown: Shutdown,
}

/// How a file ended here.
enum Passed {
    /// Both connections are between two files.
    Whole,
    /// The inner half ended it while pieces were still to come.
    Early,
}

/// A connection to the inner half, and its first answer on it.
pub(super) struct Begun {
    pub(super) link: Link,
    pub(super) first: Frame,
}

/// A file that got stuck.
pub(super) enum Stuck {
    /// The edge's fault.
    Edge(Fault),
    /// The link's.
    Link(Fault),
}

impl Relay {
    pub(crate) fn new(config: &RelayConfig, shutdown: Shutdown) -> Self {
        Relay {
            pool: Pool::default(),
            edges: Arc::new(Semaphore::new(config.connections.clamp(1, Semaphore::MAX_PERMITS))),
            wait: Duration::from_secs(config.wait_s),
            patience: Duration::from_secs(config.patience_s.max(1)),
            shutdown,
        }
    }

    /// Takes in the inner half's connections, for ever.
    pub(crate) async fn accept_links(&self, listener: &UnixListener, side: &Arc<Side>, uids: &[u32]) {
        let greeting = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let Ok(place) = Arc::clone(&greeting).acquire_owned().await else { return };
            let stream = match link::accept(listener, uids).await {
                Ok(stream) if self.pool.standing() < LINKS_MAX => stream,
                refused => {
                    counted::refused("link");
                    tracing::warn!(error = ?refused.err(), "file link refused");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let (relay, side) = (self.clone(), Arc::clone(side));
            tokio::spawn(self.shutdown.token().run_until_cancelled_owned(async move {
                match side.greet(stream, Track::Files).await {
                    Ok(link) => {
                        let catalogue = link.catalogue;
                        relay.pool.add(FileStream::from_link(link, relay.patience), catalogue);
                    }
                    Err(error) => {
                        counted::refused("link");
                        tracing::warn!(%error, "file link refused");
                    }
                }
                drop(place);
            }));
        }
    }

    /// Takes in edges, for ever.
    pub(crate) async fn accept_edges(&self, listener: &UnixListener, uids: &[u32]) {
        loop {
            let accepted =
                listener.accept().await.and_then(|(stream, _)| check_uid(&stream, uids).map(|()| stream));
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    counted::refused("edge");
                    tracing::warn!(%error, "edge refused");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.edges).try_acquire_owned() else {
                counted::refused("connections");
                tracing::warn!("too many file connections; one was closed");
                continue;
            };
            let relay = self.clone();
            // The shutdown waits for a file that is under way.
            self.shutdown.spawn(async move {
                if let Err(fault) = relay.serve(stream).await {
                    counted::refused(fault.reason());
                    tracing::warn!(%fault, "an edge's file connection was closed");
                }
                drop(place);
            });
        }
    }

    /// One file after the other, until the edge has no more for long, or the shutdown.
    async fn serve(&self, stream: UnixStream) -> Result<(), Fault> {
        let keys = (
            Opener::new(LinkKey::within_zone(Direction::Inward), Track::Files),
            Sealer::new(LinkKey::within_zone(Direction::Outward), Track::Files),
        );
        let mut edge = FileStream::new(stream.into_split(), keys, self.patience);
        let mut piece = Vec::new();
        let stop = self.shutdown.token();
        loop {
            let Some(next) = stop.run_until_cancelled(edge.reader.next(IDLE_EDGE)).await else {
                return Ok(());
            };
            let Some(frame) = next? else { return Ok(()) };
            let _open = InFlight::enter();
            let (file, passed) = if frame.kind == FrameKind::FileFetch {
                let fetch: Fetch = read_as(&frame, FrameKind::FileFetch)?;
                let fetched = self.fetch(&mut edge, &fetch, &mut piece).await;
                (fetch.ticket.file, fetched.map(|()| Passed::Whole))
            } else {
                let offer: Offer = read_as(&frame, FrameKind::FileOffer)?;
                (offer.file, self.take(&mut edge, &offer, &mut piece).await)
            };
            match passed {
                Ok(Passed::Whole) => {}
                Ok(Passed::Early) => return Ok(()),
                Err(Stuck::Edge(fault)) => return Err(fault),
                Err(Stuck::Link(fault)) => {
                    counted::refused("link");
                    tracing::warn!(%file, %fault, "the link broke under a file");
                    return Ok(());
                }
            }
        }
    }

    /// Takes one file that an edge offers.
    async fn take(&self, edge: &mut Edge, offer: &Offer, piece: &mut Vec<u8>) -> Result<Passed, Stuck> {
        if !offer.is_possible() {
            counted::refused("impossible-size");
            tracing::warn!(file = %offer.file, size = offer.size, "file refused");
            return say(edge, &Ended::Refused(counted::code("impossible-size"))).await;
        }
        let Begun { mut link, first } = match self.begin(edge, FrameKind::FileOffer, offer).await? {
            Ok(begun) => begun,
            Err(why) => return say(edge, &Ended::NotNow(counted::code(why.code()))).await,
        };
        let passed = self.relay((edge, &mut link), first, offer, piece).await?;
        if matches!(passed, Passed::Whole) {
            self.pool.park(link);
        }
        Ok(passed)
    }

    /// Gives a connection back that is between two files.
    pub(super) fn park(&self, link: Link) {
        self.pool.park(link);
    }

    /// Offers a file to the inner half, or asks it for one: the connection on which, and the first answer. One that proves dead
    /// only when it is used, since the inner half has just left it, is no reason to send the edge away: another is taken.
    pub(super) async fn begin<T: Serialize>(
        &self,
        edge: &mut Edge,
        kind: FrameKind,
        what: &T,
    ) -> Result<Result<Begun, NoLink>, Stuck> {
        let end = Instant::now() + self.wait;
        loop {
            let mut link = match self.pool.take(end.saturating_duration_since(Instant::now())).await {
                Ok(link) => link,
                Err(why) => return Ok(Err(why)),
            };
            if kind == FrameKind::FileFetch && link.catalogue < fetch::SINCE {
                self.pool.park(link);
                return Ok(Err(NoLink::OfBefore));
            }
            let inner = &mut link.stream;
            let answer = match inner.writer.send(kind, what).await {
                Ok(()) => self.answer(edge, &mut inner.reader).await,
                Err(fault) => Err(Stuck::Link(fault)),
            };
            match answer {
                Ok(first) => return Ok(Ok(Begun { link, first })),
                Err(Stuck::Link(Fault::Io(_))) if Instant::now() < end => {}
                Err(stuck) => return Err(stuck),
            }
        }
    }

    async fn relay(
        &self,
        (edge, link): (&mut Edge, &mut Link),
        first: Frame,
        offer: &Offer,
        piece: &mut Vec<u8>,
    ) -> Result<Passed, Stuck> {
        let inner = &mut link.stream;
        if first.kind == FrameKind::FileEnded {
            let ended = read_as(&first, FrameKind::FileEnded).map_err(Stuck::Link)?;
            return say(edge, &ended).await;
        }
        let wanted: Wanted = read_as(&first, FrameKind::FileWanted).map_err(Stuck::Link)?;
        if wanted.from >= offer.chunks() {
            return Err(Stuck::Link(Fault::Malformed(FrameKind::FileWanted)));
        }
        edge.writer.send(FrameKind::FileWanted, &wanted).await.map_err(Stuck::Edge)?;

        let early = {
            let forwarding =
                forward((&mut edge.reader, &mut inner.writer), offer, wanted.from, piece, self.patience);
            tokio::select! {
                biased;
                ended = inner.reader.expect(EVER) => Some(ended),
                forwarded = forwarding => match forwarded {
                    Ok(()) => None,
                    // What it said before it left tells more than that it left.
                    Err(Stuck::Link(fault)) => match inner.reader.expect(LAST_WORD).await {
                        Ok(ended) => Some(Ok(ended)),
                        Err(_) => return Err(Stuck::Link(fault)),
                    },
                    Err(stuck) => return Err(stuck),
                },
            }
        };
        let is_early = early.is_some();
        let last = match early {
            Some(ended) => ended.map_err(Stuck::Link)?,
            None => self.answer(edge, &mut inner.reader).await?,
        };
        let ended = read_as(&last, FrameKind::FileEnded).map_err(Stuck::Link)?;
        let whole = say(edge, &ended).await?;
        Ok(if is_early { Passed::Early } else { whole })
    }

    /// The inner half's next word, while the edge has none.
    async fn answer(&self, edge: &mut Edge, inner: &mut FileReader<link::Reader>) -> Result<Frame, Stuck> {
        tokio::select! {
            biased;
            // Verifying, inspecting and attaching take their time.
            said = inner.expect(2 * self.patience) => said.map_err(Stuck::Link),
            spoke = edge.reader.expect(EVER) =>
                Err(Stuck::Edge(spoke.map_or_else(|fault| fault, |frame| Fault::Misplaced(frame.kind)))),
        }
    }
}

/// Passes on every piece from `from` on.
async fn forward(
    (edge, inner): (&mut FileReader<OwnedReadHalf>, &mut FileWriter<link::Writer>),
    offer: &Offer,
    from: u32,
    piece: &mut Vec<u8>,
    patience: Duration,
) -> Result<(), Stuck> {
    piece.resize(CHUNK_LEN, 0);
    for due in from..offer.chunks() {
        let coming = async {
            let frame = edge.expect(patience).await?;
            let head: ChunkHead = read_as(&frame, FrameKind::FileChunk)?;
            if !head.fits(offer, due) {
                return Err(Fault::NotNext { index: head.index, len: head.len, due });
            }
            edge.body(&mut piece[..head.len as usize]).await?;
            Ok(head)
        };
        // A piece that comes byte by byte is a stalled one too.
        let came = timeout(patience, coming).await.unwrap_or(Err(Fault::Stalled(patience)));
        let head = came.map_err(Stuck::Edge)?;
        let bytes = &piece[..head.len as usize];
        inner.send_piece(&head, bytes).await.map_err(Stuck::Link)?;
        counted::piece(offer.chunk_len(due), bytes.len());
    }
    Ok(())
}

/// Tells the edge what became of its file.
async fn say(edge: &mut Edge, ended: &Ended) -> Result<Passed, Stuck> {
    counted::ended(ended);
    edge.writer.send(FrameKind::FileEnded, ended).await.map_err(Stuck::Edge)?;
    Ok(Passed::Whole)
}
