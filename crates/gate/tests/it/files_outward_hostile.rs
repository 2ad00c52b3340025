//! Who lies, floods or stalls on the way out is cut off by itself, and counted: edges, and a captured inner half.
use std::{
    path::Path,
    time::{Duration, Instant},
};

use protocol::{
    file::{CHUNK_LEN, ChunkHead, Coding, Ended, Fetch, Offer, Receipt, Ticket},
    frame::{Direction, Frame, FrameKind, Half as FrameHalf, Hello, LinkKey, Opener, Sealer, Track},
    wire,
};
use runtime::heads::{Heads, HeadsError};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
};

use crate::{files_fetcher::*, files_sender::*, world::*};

#[tokio::test]
async fn an_edge_that_speaks_out_of_turn_is_closed() {
    let world = World::start();
    let (_center, mut honest) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let big = put(folder, 1, &content(1, MANY, false));
    let small = put(folder, 2, b"small");
    for (reason, what) in [
        ("misplaced", "fetches twice"),
        ("misplaced", "offers during a fetch"),
        ("misplaced", "sends a piece during a fetch"),
        ("misplaced", "ends the fetch"),
        ("frame", "garbage during a fetch"),
        ("misplaced", "fetches during an offer"),
        ("malformed", "half a fetch"),
    ] {
        let before = refused(folder, reason).await;
        let mut edge = Sender::connect(folder).await;
        let offer = offer_of(file_id(7), &content(7, 3 * CHUNK_LEN, true));
        let fetch = Fetch { ticket: big.clone(), from: 0 };
        match what {
            "half a fetch" => drop(edge.send(FrameKind::FileFetch, &big, &[]).await),
            "fetches during an offer" => {
                assert_eq!(edge.offer(&offer).await, Said::Wanted(0));
                edge.ask(&big, 0).await;
            }
            _ => {
                assert!(edge.ask(&big, 0).await);
                assert!(matches!(edge.got(&big, 0).await, Got::Piece(..)));
                let head = ChunkHead { index: 1, coding: Coding::Raw, len: 1, cv: [0; 32] };
                let _ = match what {
                    "fetches twice" => edge.send(FrameKind::FileFetch, &fetch, &[]).await,
                    "offers during a fetch" => edge.send(FrameKind::FileOffer, &offer, &[]).await,
                    "sends a piece during a fetch" => edge.send(FrameKind::FileChunk, &head, b"x").await,
                    "ends the fetch" => {
                        edge.send(FrameKind::FileEnded, &Ended::NotNow("busy".parse().unwrap()), &[]).await
                    }
                    _ => edge.stream.write_all(&[0xff; 64]).await.is_ok(),
                };
            }
        }
        // It may still get what was on its way.
        let mut due = 1;
        while let Got::Piece(..) = edge.got(&big, due).await {
            due += 1;
        }
        assert!(due < big.offer().chunks(), "{what}");
        until_refused(folder, reason, before + 1).await;
        assert_eq!(honest.not_given(&small).await, "given: 5 bytes", "after {what}");
    }
}

#[tokio::test]
async fn a_fetch_of_what_cannot_be_is_refused_at_once() {
    let world = World::start();
    let (_center, mut edge) = ready_fetcher(&world).await;
    let small = put(world.folder.path(), 1, b"small");
    let of = |size| signed((small.file, size, small.root), LATER_MS);
    for (ticket, from) in
        [(of(0), 0), (of(1 << 36), 0), (of(u64::MAX), 0), (small.clone(), 1), (small.clone(), u32::MAX)]
    {
        assert!(edge.ask(&ticket, from).await);
        let Got::Ended(ended) = edge.got(&small, 0).await else { panic!("{ticket:?}") };
        assert_eq!(why(&ended), "refused: impossible-size");
    }
    assert_eq!(edge.not_given(&small).await, "given: 5 bytes");
}

#[tokio::test]
async fn an_edge_that_does_not_read_is_cut_off() {
    let world = World::start_with(|relay, receive| (relay.patience_s, receive.patience_s) = (1, 2));
    let (_center, mut honest) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    let big = put(folder, 1, &content(1, MANY, false));
    let before = refused(folder, "stalled").await;
    let mut edge = Sender::connect(folder).await;
    assert!(edge.ask(&big, 0).await);
    until_refused(folder, "stalled", before + 1).await;
    let mut due = 0;
    while let Got::Piece(..) = edge.got(&big, due).await {
        due += 1;
    }
    assert!(due < big.offer().chunks());
    assert!(honest.fetch(&big, 0).await.is_ok());
}

/// A half that somebody has taken over: it knows the link's secret.
struct Captured {
    heads: Heads<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    sealer: Sealer,
    opener: Opener,
}

impl Captured {
    /// Goes to the link as the inner half.
    async fn inner(folder: &Path) -> Captured {
        let socket = path(folder, "files-link.sock");
        until(|| socket.exists()).await;
        Self::greet(folder, FrameHalf::Inner, UnixStream::connect(socket).await.unwrap()).await
    }

    async fn greet(folder: &Path, half: FrameHalf, stream: UnixStream) -> Captured {
        let secret: [u8; 32] = std::fs::read(path(folder, "link.key")).unwrap().try_into().unwrap();
        let (out, back) = match half {
            FrameHalf::Outer => (Direction::Inward, Direction::Outward),
            FrameHalf::Inner => (Direction::Outward, Direction::Inward),
        };
        let (reader, writer) = stream.into_split();
        let ours = Hello::new(half, Track::Files, [3; 32]);
        let mut captured = Captured {
            heads: Heads::new(reader, LONG),
            writer,
            sealer: Sealer::new(LinkKey::for_hello(&secret, out), Track::Files),
            opener: Opener::new(LinkKey::for_hello(&secret, back), Track::Files),
        };
        captured.say(FrameKind::Hello, &ours, &[]).await;
        let (theirs, _) = ours.settle(&captured.next().await.unwrap().payload).unwrap();
        let (outer, inner) = match half {
            FrameHalf::Outer => (ours.nonce, theirs.nonce),
            FrameHalf::Inner => (theirs.nonce, ours.nonce),
        };
        captured.sealer.rekey(LinkKey::for_session(&secret, out, &outer, &inner));
        captured.opener.rekey(LinkKey::for_session(&secret, back, &outer, &inner));
        captured
    }

    async fn say<T: serde::Serialize>(&mut self, kind: FrameKind, what: &T, body: &[u8]) {
        let mut bytes = Vec::new();
        self.sealer.seal(kind, 0, &wire::encode(what), &mut bytes).unwrap();
        self.writer.write_all(&[&bytes, body].concat()).await.ok();
    }

    /// The next frame; `None` where the connection was closed.
    async fn next(&mut self) -> Option<Frame> {
        let opener = &mut self.opener;
        match self.heads.next(LONG, |bytes| opener.open(bytes)).await {
            Err(HeadsError::Stalled(_)) => panic!("the other half says nothing"),
            next => next.ok().flatten(),
        }
    }

    /// What the outer half asks for.
    async fn asked(&mut self) -> Fetch {
        let frame = self.next().await.unwrap();
        assert_eq!(frame.kind, FrameKind::FileFetch);
        wire::decode_exact(&frame.payload).unwrap()
    }

    /// How many pieces come before the connection is closed.
    async fn pieces_until_closed(&mut self) -> u32 {
        let mut pieces = 0;
        while let Some(frame) = self.next().await {
            let head: ChunkHead = wire::decode_exact(&frame.payload).unwrap();
            let mut body = vec![0; head.len as usize];
            if self.heads.body::<std::convert::Infallible>(&mut body).await.is_err() {
                break;
            }
            pieces += 1;
        }
        pieces
    }
}

#[tokio::test]
async fn a_captured_inner_half_passes_nothing_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut relay = relay_config(folder);
    relay.patience_s = 1;
    let outer = start_outer_with(folder, relay);
    let bytes = content(1, 3 * CHUNK_LEN + 4, true);
    let ticket = ticket(1, &bytes);
    let offer: Offer = ticket.offer();
    for what in [
        "skips",
        "repeats",
        "longer",
        "shorter",
        "empty",
        "huge",
        "stored",
        "wants",
        "offers",
        "fetches",
        "greets",
        "malformed",
        "garbage",
        "says nothing",
        "half a piece",
        "trickles",
        "leaves",
    ] {
        let mut inner = Captured::inner(folder).await;
        let before = refused(folder, "link").await;
        let mut edge = Sender::connect(folder).await;
        edge.compresses = true;
        let head = |index: u32, len: usize| ChunkHead {
            index,
            coding: Coding::Raw,
            len: u32::try_from(len).unwrap(),
            cv: protocol::file::chunk_cv(offer.size, index, &bytes[..1]),
        };
        assert!(edge.ask(&ticket, 0).await);
        assert_eq!(inner.asked().await, Fetch { ticket: ticket.clone(), from: 0 });
        let started = Instant::now();
        // Its first piece is as it should be; what follows has no body, since it is refused by its head.
        inner.say(FrameKind::FileChunk, &edge.piece(&bytes, 0).0, &edge.piece(&bytes, 0).1).await;
        let piece = FrameKind::FileChunk;
        match what {
            "skips" => inner.say(piece, &head(2, CHUNK_LEN), &[]).await,
            "repeats" => inner.say(piece, &head(0, CHUNK_LEN), &[]).await,
            "longer" => inner.say(piece, &head(1, CHUNK_LEN + 1), &[]).await,
            "shorter" => inner.say(piece, &head(1, CHUNK_LEN - 1), &[]).await,
            "empty" => inner.say(piece, &ChunkHead { coding: Coding::Zstd, ..head(1, 0) }, &[]).await,
            "huge" => inner.say(piece, &head(1, u32::MAX as usize), &[]).await,
            "stored" => {
                let receipt = Receipt::sign((1, &center_key()), (offer.file, offer.size, offer.root), 1);
                inner.say(FrameKind::FileEnded, &Ended::Stored(receipt), &[]).await;
            }
            "wants" => inner.say(FrameKind::FileWanted, &0u32, &[]).await,
            "offers" => inner.say(FrameKind::FileOffer, &offer, &[]).await,
            "fetches" => {
                inner.say(FrameKind::FileFetch, &Fetch { ticket: ticket.clone(), from: 0 }, &[]).await
            }
            "greets" => inner.say(FrameKind::Hello, &0u32, &[]).await,
            "malformed" => inner.say(piece, &[0u8; 3], &[]).await,
            "garbage" => drop(inner.writer.write_all(&[0xff; 64]).await),
            "half a piece" => inner.say(piece, &head(1, CHUNK_LEN), &bytes[..1000]).await,
            // Byte by byte: never silent, never done.
            "trickles" => {
                inner.say(piece, &head(1, CHUNK_LEN), &[]).await;
                while inner.writer.write_all(&[1]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            "leaves" => drop(inner.writer.shutdown().await),
            _ => {}
        }
        assert!(matches!(edge.got(&ticket, 0).await, Got::Piece(..)), "{what}");
        assert_eq!(edge.got(&ticket, 1).await, Got::Closed, "{what}");
        assert!(started.elapsed() < LONG / 2, "{what}");
        assert_eq!(inner.next().await, None, "{what}");
        until_refused(folder, "link", before + 1).await;
    }

    // What it says after the last piece belongs to no file: the connection is closed.
    let mut inner = Captured::inner(folder).await;
    let mut edge = Sender::connect(folder).await;
    assert!(edge.ask(&ticket, 3).await);
    assert_eq!(inner.asked().await.from, 3);
    let (head, body) = edge.piece(&bytes, 3);
    inner.say(FrameKind::FileChunk, &head, &body).await;
    assert!(matches!(edge.got(&ticket, 3).await, Got::Piece(..)));
    inner.say(FrameKind::FileChunk, &head, &body).await;
    assert_eq!(inner.next().await, None);
    assert_eq!(edge.not_given(&ticket).await, "not now: gate-away");
    outer.stop().await;
}

#[tokio::test]
async fn a_captured_outer_half_gets_nothing_without_a_ticket_and_is_cut_off_when_it_lies() {
    let world = World::start_with(|_, receive| receive.connections = 1);
    let (_center, edge) = ready_fetcher(&world).await;
    let folder = world.folder.path();
    drop(edge);
    world.outer.stop().await;

    // The test is the outer half now: it tries what that half would not let through.
    let socket = path(folder, "files-link.sock");
    std::fs::remove_file(&socket).unwrap();
    let listener = runtime::unix::bind(&socket).unwrap();
    let big = put(folder, 1, &content(1, MANY, false));
    let fetch = |from| Fetch { ticket: big.clone(), from };
    for what in ["impossible", "piece", "twice", "garbage", "forged"] {
        let (stream, _) = listener.accept().await.unwrap();
        let mut outer = Captured::greet(folder, FrameHalf::Outer, stream).await;
        match what {
            "impossible" => outer.say(FrameKind::FileFetch, &fetch(big.offer().chunks()), &[]).await,
            "forged" => {
                let foreign = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
                let ticket = Ticket::sign((1, &foreign), (big.file, big.size, big.root), LATER_MS);
                outer.say(FrameKind::FileFetch, &Fetch { ticket, from: 0 }, &[]).await;
                let ended = wire::decode_exact(&outer.next().await.unwrap().payload).unwrap();
                assert_eq!(why(&ended), "refused: not-genuine");
                continue;
            }
            _ => {
                outer.say(FrameKind::FileFetch, &fetch(0), &[]).await;
                match what {
                    "piece" => outer.say(FrameKind::FileChunk, &0u32, &[]).await,
                    "twice" => outer.say(FrameKind::FileFetch, &fetch(0), &[]).await,
                    _ => drop(outer.writer.write_all(&[0xff; 64]).await),
                }
            }
        }
        // What was on its way is not all of it.
        assert!(outer.pieces_until_closed().await < big.offer().chunks(), "{what}");
    }
}
