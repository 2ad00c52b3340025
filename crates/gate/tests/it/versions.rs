//! A half of today and one of the catalogue's version before, of which there are recorded bytes: what it said and was told,
//! as a program of that version wrote it.
use std::{os::unix::fs::PermissionsExt, path::Path};

use protocol::{
    Outcome, Reply, RequestEnvelope,
    bounds::Opaque,
    catalogue::{OLDEST_VERSION, VERSION, requests},
    frame::{
        Direction, Frame, FrameKind, Half as FrameHalf, Hello, HelloError, LinkKey, Opener, Sealer, Track,
    },
    push::{EdgeSettings, Push, PushAck, PushBody},
    wire,
};
use runtime::shutdown::Shutdown;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::{files_fetcher::*, files_sender::*, world::*};

/// A name and bytes a line. Frames of hellos under [`SECRET`]; of all else the payloads, since their frames are sealed with
/// what both hellos say.
const VERSION_1: &str = include_str!("version_1.txt");
const SECRET: [u8; 32] = [7; 32];
const NONCE: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];

fn recorded(name: &str) -> Vec<u8> {
    let line = VERSION_1.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    let digits: Vec<u8> = line.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A folder whose halves know [`SECRET`].
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secret = path(folder.path(), "link.key");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// A half of the version before, on one connection.
struct Before {
    stream: UnixStream,
    sealer: Sealer,
    opener: Opener,
}

impl Before {
    /// Plays `half`: says its recorded hello, and hears that of today.
    async fn greet(mut stream: UnixStream, half: FrameHalf, track: Track) -> Before {
        let name = format!("hello-{half:?}-{track:?}").to_lowercase();
        stream.write_all(&recorded(&name)).await.unwrap();
        let (out, back) = match half {
            FrameHalf::Outer => (Direction::Inward, Direction::Outward),
            FrameHalf::Inner => (Direction::Outward, Direction::Inward),
        };
        let mut opener = Opener::new(LinkKey::for_hello(&SECRET, back), track);
        let heard = next(&mut stream, &mut opener).await;
        let mine = NONCE[usize::from(half == FrameHalf::Inner)];
        let before = Hello { catalogue: (1, 1), ..Hello::new(half, track, mine) };
        let (theirs, settled) = before.settle(&heard.payload).unwrap();
        assert_eq!((theirs.catalogue, settled), ((OLDEST_VERSION, VERSION), 1));
        let (outer, inner) = match half {
            FrameHalf::Outer => (mine, theirs.nonce),
            FrameHalf::Inner => (theirs.nonce, mine),
        };
        // Its hello was the first frame of this direction.
        let mut sealer = Sealer::new(LinkKey::for_hello(&SECRET, out), track);
        sealer.seal(FrameKind::Hello, 0, &before.encode(), &mut Vec::new()).unwrap();
        sealer.rekey(LinkKey::for_session(&SECRET, out, &outer, &inner));
        opener.rekey(LinkKey::for_session(&SECRET, back, &outer, &inner));
        Before { stream, sealer, opener }
    }

    async fn send(&mut self, kind: FrameKind, correlation: u64, payload: &[u8], body: &[u8]) {
        let mut bytes = Vec::new();
        self.sealer.seal(kind, correlation, payload, &mut bytes).unwrap();
        self.stream.write_all(&[&bytes, body].concat()).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        next(&mut self.stream, &mut self.opener).await
    }
}

/// The next frame, byte by byte, so that nothing of what follows is taken with it.
async fn next(stream: &mut UnixStream, opener: &mut Opener) -> Frame {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            bytes.push(stream.read_u8().await.unwrap());
            if let Some((frame, _)) = opener.open(&bytes).unwrap() {
                return frame;
            }
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("no frame came")
}

/// No half, where the test plays it.
fn played() -> Half {
    Half { shutdown: Shutdown::new(), task: tokio::spawn(async { Ok(()) }) }
}

fn listen(folder: &Path, name: &str) -> UnixListener {
    runtime::unix::bind(&path(folder, name)).unwrap()
}

/// Goes to a socket that may not be there yet.
async fn connect(folder: &Path, name: &str) -> UnixStream {
    let connecting = async {
        loop {
            match UnixStream::connect(path(folder, name)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(LONG, connecting).await.expect("nobody listens")
}

#[tokio::test]
async fn an_inner_half_of_today_answers_an_outer_half_of_the_version_before() {
    let folder = folder();
    let center = Center::start(&path(folder.path(), "center-0.sock"));
    let link = listen(folder.path(), "link.sock");
    let inner = start_inner(folder.path());
    let (stream, _) = link.accept().await.unwrap();
    let mut outer = Before::greet(stream, FrameHalf::Outer, Track::Messages).await;
    until(|| !center.peers.by_load().is_empty()).await;
    for (number, name) in [(1, "probe"), (2, "list")] {
        outer.send(FrameKind::Request, number, &recorded(name), &[]).await;
        let answer = outer.next().await;
        assert_eq!((answer.kind, answer.correlation), (FrameKind::Reply, number));
        assert_eq!(answer.payload, recorded(&format!("{name}-reply")), "{name}");
    }
    let peer = center.peers.by_load()[0].clone();
    let pushing = tokio::spawn(async move { peer.push(recorded("push"), LONG).await });
    let pushed = outer.next().await;
    assert_eq!((pushed.kind, &pushed.payload), (FrameKind::Push, &recorded("push")));
    outer.send(FrameKind::PushAck, pushed.correlation, &recorded("push-ack"), &[]).await;
    assert_eq!(pushing.await.unwrap(), Ok(recorded("push-ack")));

    // What that version does not know is kept from it: what comes next is what came after.
    let peer = center.peers.by_load()[0].clone();
    let id = protocol::PushId::mint(protocol::Bucket::FIRST, 1 << 12);
    for body in [PushBody::StaffRevoked(vec![]), PushBody::Settings(EdgeSettings { session_keys: vec![] })] {
        let push = wire::encode(&Push { id, body });
        assert_eq!(peer.push(push, LONG).await, Ok(wire::encode(&PushAck { id })));
    }
    let told = outer.next().await;
    assert_eq!(told.kind, FrameKind::Push);
    let told: Push = wire::decode_exact(&told.payload).unwrap();
    assert!(matches!(told.body, PushBody::Settings(_)), "{told:?}");
    inner.stop().await;
}

#[tokio::test]
async fn an_outer_half_of_today_asks_an_inner_half_of_the_version_before() {
    let folder = folder();
    let world = World { outer: start_outer(folder.path()), inner: played(), folder };
    let stream = connect(world.folder.path(), "link.sock").await;
    let mut inner = Before::greet(stream, FrameHalf::Inner, Track::Messages).await;
    let mut edge = world.edge().await;

    // An edge of today asks in the present version, and is told what the inner half does not say.
    let probe = requests::GateProbe { payload: Opaque::new(b"ping".to_vec()).unwrap() };
    let now = envelope(1, 20_000, probe);
    let (reply, ()) = tokio::join!(edge.ask(&now), inner.answers("probe"));
    let Outcome::Done(Reply::GateProbe(echo)) = reply.outcome else { panic!("{reply:?}") };
    assert_eq!((&*echo.payload, echo.reaches_center), (&b"ping"[..], None));

    // One of the version before is answered as it always was.
    for name in ["probe", "list"] {
        let (reply, ()) = tokio::join!(edge.raw(recorded(name)), inner.answers(name));
        assert_eq!(reply, recorded(&format!("{name}-reply")), "{name}");
    }
    inner.send(FrameKind::Push, 9, &recorded("push"), &[]).await;
    let taken = inner.next().await;
    assert_eq!((taken.kind, taken.payload), (FrameKind::PushAck, recorded("push-ack")));
    assert_eq!(protocol::wire::encode(&edge.pushes.recv().await.unwrap()), recorded("push"));
    world.outer.stop().await;
}

impl Before {
    /// Plays the inner half: is asked what is recorded under `name`, and gives the recorded answer.
    async fn answers(&mut self, name: &str) {
        let asked = self.next().await;
        assert_eq!(asked.kind, FrameKind::Request);
        let (mut envelope, spec) = RequestEnvelope::decode_asked(&asked.payload).unwrap();
        assert_eq!(spec.version, 1, "{name}");
        // The way here took of its time.
        envelope.head.deadline_ms = 20_000;
        assert_eq!(envelope.encode_as(&spec), recorded(name));
        self.send(FrameKind::Reply, asked.correlation, &recorded(&format!("{name}-reply")), &[]).await;
    }
}

#[tokio::test]
async fn a_file_crosses_between_halves_of_both_versions() {
    let bytes = b"0123456789\n".repeat(50);
    let folder = folder();
    let link = listen(folder.path(), "files-link.sock");
    let _center = Center::start(&path(folder.path(), "center-0.sock"));
    let inner = start_inner(folder.path());
    let (stream, _) = link.accept().await.unwrap();
    let mut outer = Before::greet(stream, FrameHalf::Outer, Track::Files).await;
    let mut ended = Vec::new();
    // Its center may not be within reach yet.
    while ended != recorded("ended") {
        outer.send(FrameKind::FileOffer, 0, &recorded("offer"), &[]).await;
        let mut said = outer.next().await;
        if said.kind == FrameKind::FileWanted {
            assert_eq!(said.payload, recorded("wanted"));
            outer.send(FrameKind::FileChunk, 0, &recorded("piece"), &bytes).await;
            said = outer.next().await;
        }
        assert_eq!(said.kind, FrameKind::FileEnded);
        ended = said.payload;
    }
    inner.stop().await;
    drop((link, outer));

    let outer = start_outer(folder.path());
    let stream = connect(folder.path(), "files-link.sock").await;
    let mut inner = Before::greet(stream, FrameHalf::Inner, Track::Files).await;
    let mut sender = Sender::connect(folder.path()).await;
    let offer = offer_of(file_id(1), &bytes);
    let crossing = async {
        assert_eq!(inner.next().await.payload, recorded("offer"));
        inner.send(FrameKind::FileWanted, 0, &recorded("wanted"), &[]).await;
        assert_eq!(inner.next().await.payload, recorded("piece"));
        let mut piece = vec![0; bytes.len()];
        inner.stream.read_exact(&mut piece).await.unwrap();
        assert_eq!(piece, bytes);
        inner.send(FrameKind::FileEnded, 0, &recorded("ended"), &[]).await;
    };
    // What that version does not know it is not asked for; its connection is as good as it was.
    assert_eq!(sender.not_given(&ticket(1, &bytes)).await, "not now: not-yet");
    let (told, ()) = tokio::join!(sender.file(&offer, &bytes), crossing);
    assert_eq!(protocol::wire::encode(&told.unwrap()), recorded("ended"));
    assert_eq!(sender.not_given(&ticket(1, &bytes)).await, "not now: not-yet");
    outer.stop().await;
}

/// What both sides say where there is no version that both read: neither half goes on.
#[tokio::test]
async fn halves_without_a_common_version_part_and_say_why() {
    let folder = folder();
    let world = World { outer: start_outer(folder.path()), inner: played(), folder };
    let edge = world.edge().await;
    for catalogue in [(0, OLDEST_VERSION - 1), (VERSION + 1, VERSION + 2)] {
        let mut stream = connect(world.folder.path(), "link.sock").await;
        let theirs = Hello { catalogue, ..Hello::new(FrameHalf::Inner, Track::Messages, NONCE[1]) };
        let mut sealed = Vec::new();
        Sealer::new(LinkKey::for_hello(&SECRET, Direction::Outward), Track::Messages)
            .seal(FrameKind::Hello, 0, &theirs.encode(), &mut sealed)
            .unwrap();
        stream.write_all(&sealed).await.unwrap();
        let mut opener = Opener::new(LinkKey::for_hello(&SECRET, Direction::Inward), Track::Messages);
        let ours = next(&mut stream, &mut opener).await;
        let refused = theirs.settle(&ours.payload).unwrap_err();
        assert_eq!(refused, HelloError::Versions { ours: catalogue, theirs: (OLDEST_VERSION, VERSION) });
        let (low, high) = catalogue;
        let says = format!("ours ({low}, {high}), theirs ({OLDEST_VERSION}, {VERSION})");
        assert!(refused.to_string().ends_with(&says), "{refused}");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the outer half ends the connection");
    }
    let reply = edge.ask(&envelope(3, 200, requests::AccountList {})).await;
    assert_eq!(code_of(&reply), Some("gate_unavailable"));
    world.outer.stop().await;
}
