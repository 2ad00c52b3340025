//! What holds for every input, whoever makes it: the fuzzer or the tests.
#![allow(dead_code, reason = "the fuzzer's targets use one function each")]

use protocol::{
    Outcome, ReplyEnvelope, Request, RequestEnvelope, Spec, Token,
    catalogue::{ALL, OLDEST_VERSION, VERSION},
    envelope::{Language, MAX_REPLY_LEN, MAX_REQUEST_LEN, RequestHead},
    file::{CHUNK_LEN, ChunkHead, Ended, Fetch, Offer, Wanted},
    frame::{Direction, Frame, FrameKind, Half, Hello, LinkKey, MAX_FILE_PAYLOAD, Opener, Sealer, Track},
    push::{MAX_PUSH_LEN, Push, PushAck},
    wire,
};
use serde::{Serialize, de::DeserializeOwned};

const KINDS: [FrameKind; 10] = [
    FrameKind::Hello,
    FrameKind::Request,
    FrameKind::Reply,
    FrameKind::Push,
    FrameKind::PushAck,
    FrameKind::FileOffer,
    FrameKind::FileWanted,
    FrameKind::FileChunk,
    FrameKind::FileEnded,
    FrameKind::FileFetch,
];
const TRACKS: [Track; 2] = [Track::Messages, Track::Files];

fn opener(track: Track) -> Opener {
    Opener::new(LinkKey::within_zone(Direction::Inward), track)
}

fn sealer(track: Track) -> Sealer {
    Sealer::new(LinkKey::within_zone(Direction::Inward), track)
}

/// Bytes off the link: as they are where they begin like a frame, else as what somebody who knows the key sends.
pub(crate) fn frames(bytes: &[u8]) {
    match bytes {
        [b'G', ..] => TRACKS.into_iter().for_each(|track| drop(opened(bytes, track))),
        [track, script @ ..] => sent(TRACKS[usize::from(track & 1)], script),
        [] => {}
    }
}

/// Opens frames until one is refused or not whole. What is opened, sealed again, gives the same bytes; a byte less of it is not
/// yet a frame.
fn opened(bytes: &[u8], track: Track) -> Vec<Frame> {
    let (mut opener, mut sealer) = (opener(track), sealer(track));
    let (mut frames, mut crossing, mut left) = (Vec::new(), Crossing::default(), bytes);
    loop {
        let (frame, len) = match opener.open(left) {
            Ok(Some(opened)) => opened,
            Ok(None) | Err(_) => return frames,
        };
        let mut again = Vec::new();
        sealer.seal(frame.kind, frame.correlation, &frame.payload, &mut again).expect("it came so");
        assert_eq!(again, left[..len]);
        left = &left[len..];
        // A piece follows its head, as long as it says, if it can be the next.
        let piece = crossing.takes(&frame);
        if piece > left.len() {
            return frames;
        }
        left = &left[piece..];
        frames.push(frame);
    }
}

/// A script: a byte for the kind, two for the payload's length, the payload; and so on. All of it arrives; with a byte of a frame
/// cut off or changed, only what lies before that frame does.
fn sent(track: Track, mut script: &[u8]) {
    let (mut sealer, mut crossing) = (sealer(track), Crossing::default());
    let (mut stream, mut frames, mut places) = (Vec::new(), Vec::new(), Vec::new());
    while let [kind, high, low, rest @ ..] = script {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        script = rest;
        let (kind, correlation) = (KINDS[usize::from(*kind) % KINDS.len()], u64::from(*kind));
        let start = stream.len();
        if sealer.seal(kind, correlation, payload, &mut stream).is_err() {
            assert!(track == Track::Files && len > MAX_FILE_PAYLOAD, "{len} bytes were refused");
            continue;
        }
        places.push(start..stream.len());
        let frame = Frame { kind, correlation, payload: payload.to_vec() };
        stream.resize(stream.len() + crossing.takes(&frame), 0xa5);
        frames.push(frame);
    }
    assert_eq!(opened(&stream, track), frames);
    let Some(place) = script.first().and_then(|n| places.get(usize::from(*n) % places.len().max(1))) else {
        return;
    };
    let before = places.iter().position(|other| other == place).unwrap_or_default();
    let at = place.start + usize::from(script[script.len() - 1]) % place.len();
    assert_eq!(opened(&stream[..at], track), frames[..before]);
    stream[at] ^= 0x10;
    assert_eq!(opened(&stream, track), frames[..before]);
}

/// What a file's connection has come to.
#[derive(Default)]
struct Crossing {
    offer: Option<Offer>,
    due: u32,
    bytes: u64,
}

impl Crossing {
    /// Reads what a frame says as the halves do. Gives how long the piece is that follows it.
    fn takes(&mut self, frame: &Frame) -> usize {
        let payload = &frame.payload[..];
        match frame.kind {
            FrameKind::Hello => hello(payload),
            FrameKind::Request => request(payload),
            FrameKind::Reply => {}
            FrameKind::Push => push(payload),
            FrameKind::PushAck => drop(exact::<PushAck>(payload)),
            FrameKind::FileOffer => {
                if let Some(offer) = exact::<Offer>(payload).filter(Offer::is_possible) {
                    *self = Crossing { offer: Some(offer), ..Crossing::default() };
                }
            }
            FrameKind::FileFetch => {
                // What comes outward then is held to the ticket as it is to an offer.
                if let Some(fetch) = exact::<Fetch>(payload).filter(Fetch::is_possible) {
                    let offer = fetch.ticket.offer();
                    let bytes = u64::from(fetch.from) * CHUNK_LEN as u64;
                    *self = Crossing { offer: Some(offer), due: fetch.from, bytes };
                }
            }
            FrameKind::FileWanted => drop(exact::<Wanted>(payload)),
            FrameKind::FileEnded => drop(exact::<Ended>(payload)),
            FrameKind::FileChunk => return self.piece(payload).unwrap_or(0),
        }
        0
    }

    fn piece(&mut self, payload: &[u8]) -> Option<usize> {
        let offer = self.offer.as_ref()?;
        let head = exact::<ChunkHead>(payload).filter(|head| head.fits(offer, self.due))?;
        let len = head.len as usize;
        assert!((1..=CHUNK_LEN).contains(&len) && self.due < offer.chunks());
        self.bytes += offer.chunk_len(self.due) as u64;
        self.due += 1;
        assert!(self.bytes <= offer.size);
        assert_eq!(self.due == offer.chunks(), self.bytes == offer.size, "as many pieces as bytes");
        Some(len)
    }
}

fn hello(payload: &[u8]) {
    for half in [Half::Outer, Half::Inner] {
        for track in TRACKS {
            let Ok((theirs, version)) = Hello::new(half, track, [0; 32]).settle(payload) else { continue };
            assert_eq!(theirs.encode(), payload);
            assert!(theirs.half != half && theirs.track == track);
            assert!((OLDEST_VERSION..=VERSION).contains(&version) && version <= theirs.catalogue.1);
        }
    }
}

/// Decodes what must be canonical: what is taken is written in the same bytes.
fn exact<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let value = wire::decode_exact::<T>(bytes).ok()?;
    assert_eq!(wire::encode(&value), bytes);
    Some(value)
}

/// A byte for what it is, and that: a request, an operation's body, a reply to an operation, a push. The operation is a byte, of
/// which one bit says whether it is written as in the version before.
pub(crate) fn operations(bytes: &[u8]) {
    match bytes {
        [0, rest @ ..] => request(rest),
        [1, number, rest @ ..] => body(&spec(*number), rest),
        [2, number, rest @ ..] => reply(&spec(*number), rest),
        [3, rest @ ..] => push(rest),
        _ => {}
    }
}

fn spec(number: u8) -> Spec {
    let catalogue = if number & 0x80 == 0 { VERSION } else { OLDEST_VERSION };
    ALL[usize::from(number & 0x7f) % ALL.len()].in_catalogue(catalogue)
}

fn request(bytes: &[u8]) {
    let Ok((envelope, asked)) = RequestEnvelope::decode_asked(bytes) else { return };
    assert!(bytes.len() <= MAX_REQUEST_LEN);
    assert_eq!(envelope.encode_as(&asked), bytes);
}

fn body(spec: &Spec, bytes: &[u8]) {
    let Ok(request) = Request::decode(spec.code, spec.version, bytes) else { return };
    assert_eq!((request.spec().code, &request.encode()[..]), (spec.code, bytes));
    // Whatever it is, there is a place for it or none: nothing else.
    let _ = request.bucket();
    let envelope = RequestEnvelope { head: head(), request };
    let whole = envelope.encode_as(spec);
    assert!(whole.len() <= MAX_REQUEST_LEN, "{}: {} bytes", spec.name, whole.len());
    assert_eq!(RequestEnvelope::decode_asked(&whole), Ok((envelope, *spec)), "{}", spec.name);
}

fn head() -> RequestHead {
    RequestHead {
        request_id: [1; 16],
        trace_id: [2; 16],
        span_id: [3; 8],
        deadline_ms: 1000,
        channel: protocol::Channel::App,
        client: "fuzz".parse().expect("a short name"),
        language: Language::En,
        session: None,
        idempotency_key: None,
        wait_ms: 0,
        token: Token::default(),
        strict: false,
    }
}

/// A reply need not come in its canonical form, but is passed on in it: decoded and written anew it does not change any more.
fn reply(spec: &Spec, bytes: &[u8]) {
    let Ok(reply) = ReplyEnvelope::decode_for(bytes, spec) else { return };
    if let Outcome::Done(done) = &reply.outcome {
        assert_eq!(done.operation(), spec.code);
        // The edge says it so.
        assert!(serde_json::to_vec(done).is_ok());
    }
    let again = reply.encode_for(spec);
    assert!(again.len() <= bytes.len() && again.len() <= MAX_REPLY_LEN, "grown to {} bytes", again.len());
    let second = ReplyEnvelope::decode_for(&again, spec);
    assert_eq!(second.as_ref().map(|reply| reply.encode_for(spec)), Ok(again));
    assert_eq!(second, Ok(reply));
}

fn push(bytes: &[u8]) {
    if bytes.len() <= MAX_PUSH_LEN {
        drop(exact::<Push>(bytes));
    }
}
