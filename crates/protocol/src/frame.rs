//! Frames on the gate's link: a fixed header, a bounded payload, a MAC. Pure: bytes in, frames out.
//!
//! ```text
//!  0      2         3       4      5        8        12         20            28          28+n      28+n+16
//!  +------+---------+-------+------+--------+--------+----------+-------------+-----------+---------+
//!  | "GD" | version | track | kind | 0 0 0  | length | sequence | correlation | payload n |   MAC   |
//!  +------+---------+-------+------+--------+--------+----------+-------------+-----------+---------+
//! ```
//! Integers are big-endian. `sequence` counts every frame of a direction from 0, so that nothing can be dropped,
//! repeated or reordered unnoticed. The MAC is BLAKE3 keyed, truncated to 128 bits, over header and payload; its key is
//! derived from the link's secret and both halves' nonces, one per direction. The hello names the algorithms, so that
//! others can follow.
use serde::{Deserialize, Serialize};

use crate::wire;

/// The frame format's version.
pub const VERSION: u8 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 28;
/// Length of the MAC.
pub const MAC_LEN: usize = 16;
/// The most payload a frame of the message track may carry.
pub const MAX_MESSAGE_PAYLOAD: usize = crate::envelope::MAX_REPLY_LEN + 64;

/// The most payload a frame of the file track may carry. A piece of a file follows its frame, with a length and a maximum of
/// its own.
pub const MAX_FILE_PAYLOAD: usize = 1024;

const MAGIC: [u8; 2] = *b"GD";

/// Which of the link's two tracks. Each has its own connection and its own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Track {
    /// Requests, replies, pushes.
    Messages,
    /// Files in chunks.
    Files,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The first frame of each side.
    Hello,
    /// An operation, inward.
    Request,
    /// Its answer, outward.
    Reply,
    /// A push, outward.
    Push,
    /// Its acknowledgement, inward.
    PushAck,
    /// A file that wants to cross, inward ([`Offer`](crate::file::Offer)).
    FileOffer,
    /// From where it is wanted, outward ([`Wanted`](crate::file::Wanted)).
    FileWanted,
    /// The head of a piece of a file, the way that the file goes; the piece follows ([`ChunkHead`](crate::file::ChunkHead)).
    FileChunk,
    /// What became of it, outward ([`Ended`](crate::file::Ended)).
    FileEnded,
    /// A file that is to be fetched, inward ([`Fetch`](crate::file::Fetch)).
    FileFetch,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => FrameKind::Hello,
            2 => FrameKind::Request,
            3 => FrameKind::Reply,
            4 => FrameKind::Push,
            5 => FrameKind::PushAck,
            6 => FrameKind::FileOffer,
            7 => FrameKind::FileWanted,
            8 => FrameKind::FileChunk,
            9 => FrameKind::FileEnded,
            10 => FrameKind::FileFetch,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            FrameKind::Hello => 1,
            FrameKind::Request => 2,
            FrameKind::Reply => 3,
            FrameKind::Push => 4,
            FrameKind::PushAck => 5,
            FrameKind::FileOffer => 6,
            FrameKind::FileWanted => 7,
            FrameKind::FileChunk => 8,
            FrameKind::FileEnded => 9,
            FrameKind::FileFetch => 10,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Joins an answer with what it answers; numbered by the half that asks.
    pub correlation: u64,
    /// The content.
    pub payload: Vec<u8>,
}

/// Why a frame was refused. The link is closed after any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the beginning of a frame.
    #[error("not a frame")]
    Magic,
    /// A version that this program does not speak.
    #[error("frame version {0} is not spoken here")]
    Version(u8),
    /// A frame of the other track, of no known kind, or with reserved bits set.
    #[error("frame header has a value that is not allowed")]
    Header,
    /// A length beyond the track's hard maximum.
    #[error("frame of {0} bytes is over the maximum")]
    TooLong(u32),
    /// A frame was lost, repeated or reordered.
    #[error("frame {got} came where {expected} was due")]
    Sequence {
        /// The number due.
        expected: u64,
        /// The number found.
        got: u64,
    },
    /// Changed on the way, or made by somebody else.
    #[error("frame MAC is wrong")]
    Mac,
}

/// One direction's key.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the extranet to the intranet.
    Inward,
    /// From the intranet to the extranet.
    Outward,
}

impl LinkKey {
    /// The key of the hello frames: from the link's secret alone.
    pub fn for_hello(secret: &[u8; 32], direction: Direction) -> Self {
        Self::derive(secret, direction, "hello", &[0; 32], &[0; 32])
    }

    /// The key of all later frames: fresh for every connection, so that no frame of another one is accepted.
    pub fn for_session(secret: &[u8; 32], direction: Direction, outer: &[u8; 32], inner: &[u8; 32]) -> Self {
        Self::derive(secret, direction, "session", outer, inner)
    }

    /// The key of a file connection inside a zone, where no secret is shared and the kernel says who is there: it finds what
    /// was damaged, and proves nothing about who wrote it.
    pub fn within_zone(direction: Direction) -> Self {
        Self::derive(&[0; 32], direction, "zone", &[0; 32], &[0; 32])
    }

    fn derive(
        secret: &[u8; 32],
        direction: Direction,
        what: &str,
        outer: &[u8; 32],
        inner: &[u8; 32],
    ) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("gridesk gate link key v1");
        hash.update(secret).update(what.as_bytes());
        hash.update(&[matches!(direction, Direction::Inward).into()]);
        hash.update(outer).update(inner);
        LinkKey(*hash.finalize().as_bytes())
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&blake3::keyed_hash(&self.0, bytes).as_bytes()[..MAC_LEN]);
        mac
    }
}

/// Writes the frames of one direction.
pub struct Sealer {
    key: LinkKey,
    track: Track,
    sequence: u64,
}

impl Sealer {
    /// Starts a direction at sequence 0.
    pub fn new(key: LinkKey, track: Track) -> Self {
        Sealer { key, track, sequence: 0 }
    }

    /// Goes on with another key: after the hello.
    pub fn rekey(&mut self, key: LinkKey) {
        self.key = key;
    }

    /// Appends a frame to `out`. The caller keeps the payload within the track's maximum; a longer one is refused.
    pub fn seal(
        &mut self,
        kind: FrameKind,
        correlation: u64,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if payload.len() > max_payload(self.track) {
            return Err(FrameError::TooLong(len));
        }
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, track_byte(self.track), kind.byte(), 0, 0, 0]);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&correlation.to_be_bytes());
        out.extend_from_slice(payload);
        let mac = self.key.mac(&out[start..]);
        out.extend_from_slice(&mac);
        self.sequence += 1;
        Ok(())
    }
}

/// Reads the frames of one direction.
pub struct Opener {
    key: LinkKey,
    track: Track,
    sequence: u64,
}

impl Opener {
    /// Starts a direction at sequence 0.
    pub fn new(key: LinkKey, track: Track) -> Self {
        Opener { key, track, sequence: 0 }
    }

    /// Goes on with another key: after the hello.
    pub fn rekey(&mut self, key: LinkKey) {
        self.key = key;
    }

    /// Takes one frame from the front of `bytes`: the frame and how many bytes it took, or `None` where it is not
    /// complete yet. The header is checked before anything is made room for.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return if MAGIC.starts_with(&bytes[..bytes.len().min(2)]) {
                Ok(None)
            } else {
                Err(FrameError::Magic)
            };
        };
        let [m0, m1, version, track, kind, r0, r1, r2, ..] = *header;
        if [m0, m1] != MAGIC {
            return Err(FrameError::Magic);
        }
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Header)?;
        if track != track_byte(self.track) || [r0, r1, r2] != [0; 3] {
            return Err(FrameError::Header);
        }
        let len = u32_at(header, 8);
        if len as usize > max_payload(self.track) {
            return Err(FrameError::TooLong(len));
        }
        let got = u64_at(header, 12);
        if got != self.sequence {
            return Err(FrameError::Sequence { expected: self.sequence, got });
        }
        let len = len as usize;
        let Some(mac) = rest.get(len..len + MAC_LEN) else { return Ok(None) };
        // blake3::Hash compares in constant time; so must the truncated form.
        let expected = self.key.mac(&bytes[..HEADER_LEN + len]);
        if expected.iter().zip(mac).fold(0, |acc, (a, b)| acc | (a ^ b)) != 0 {
            return Err(FrameError::Mac);
        }
        self.sequence += 1;
        let frame = Frame { kind, correlation: u64_at(header, 20), payload: rest[..len].to_vec() };
        Ok(Some((frame, HEADER_LEN + len + MAC_LEN)))
    }
}

fn max_payload(track: Track) -> usize {
    match track {
        Track::Messages => MAX_MESSAGE_PAYLOAD,
        Track::Files => MAX_FILE_PAYLOAD,
    }
}

fn track_byte(track: Track) -> u8 {
    match track {
        Track::Messages => 1,
        Track::Files => 2,
    }
}

fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    header[at..at + 4].iter().fold(0, |n, b| (n << 8) | u32::from(*b))
}

fn u64_at(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    header[at..at + 8].iter().fold(0, |n, b| (n << 8) | u64::from(*b))
}

/// The first frame of each side says who speaks, which catalogue versions it reads, and with what algorithms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which half this is.
    pub half: Half,
    /// Which track this connection is.
    pub track: Track,
    /// The lowest and highest catalogue version it reads.
    pub catalogue: (u8, u8),
    /// Name of the MAC algorithm.
    pub mac: String,
    /// 256 random bits.
    pub nonce: [u8; 32],
}

/// One of the gate's two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Half {
    /// In the extranet.
    Outer,
    /// In the intranet.
    Inner,
}

/// The MAC algorithm's name in the hello.
pub const MAC_NAME: &str = "blake3-128";

impl Hello {
    /// A hello of this program.
    pub fn new(half: Half, track: Track, nonce: [u8; 32]) -> Self {
        use crate::catalogue::{OLDEST_VERSION, VERSION};
        Hello { half, track, catalogue: (OLDEST_VERSION, VERSION), mac: MAC_NAME.into(), nonce }
    }

    /// Encodes it as a frame's payload.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Decodes the other side's hello and settles on the highest catalogue version both read.
    pub fn settle(&self, payload: &[u8]) -> Result<(Hello, u8), HelloError> {
        let theirs: Hello = wire::decode_exact(payload).map_err(|_| HelloError::Malformed)?;
        if theirs.half == self.half {
            return Err(HelloError::SameHalf);
        }
        if theirs.track != self.track || theirs.mac != self.mac {
            return Err(HelloError::Algorithms);
        }
        let version = self.catalogue.1.min(theirs.catalogue.1);
        if version < self.catalogue.0.max(theirs.catalogue.0) {
            return Err(HelloError::Versions { ours: self.catalogue, theirs: theirs.catalogue });
        }
        Ok((theirs, version))
    }
}

/// Why two halves do not get together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not a hello.
    #[error("malformed hello")]
    Malformed,
    /// Two outer or two inner halves.
    #[error("the other side is the same half of the gate")]
    SameHalf,
    /// Another track or another MAC.
    #[error("the other side speaks another track or another MAC")]
    Algorithms,
    /// No catalogue version that both read.
    #[error("no common catalogue version: ours {ours:?}, theirs {theirs:?}")]
    Versions {
        /// Our lowest and highest.
        ours: (u8, u8),
        /// Theirs.
        theirs: (u8, u8),
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (Sealer, Opener) {
        let key = LinkKey::for_hello(&[3; 32], Direction::Inward);
        (Sealer::new(key.clone(), Track::Messages), Opener::new(key, Track::Messages))
    }

    /// The bytes of a frame may never change without a new version.
    #[test]
    fn golden_frame_of_version_1() {
        let (mut sealer, _) = pair();
        let mut out = Vec::new();
        sealer.seal(FrameKind::Request, 0x0102, b"abc", &mut out).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&out),
            "474401010200000000000003000000000000000000000000000001026162639e0454ab6d8498923d0706a94880c7d2"
        );
    }

    #[test]
    fn golden_frames_of_the_file_track() {
        use crate::{
            Bucket, FileId,
            file::{ChunkHead, Coding, Ended, Fetch, Offer, Receipt, Ticket, Wanted},
        };
        let file = FileId::mint(Bucket::FIRST, 0x0123_4567_89ab_cdef << 32);
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let receipt = Receipt::sign((1, &key), (file, 300_000, [0xaa; 32]), 1_700_000_000_000);
        let ticket = Ticket::sign((1, &key), (file, 300_000, [0xaa; 32]), 1_700_000_000_000);
        let head = |coding| ChunkHead { index: 1, coding, len: 300, cv: [0xbb; 32] };
        let frames = [
            (FrameKind::FileOffer, wire::encode(&Offer { file, size: 300_000, root: [0xaa; 32] })),
            (FrameKind::FileWanted, wire::encode(&Wanted { from: 1 })),
            (FrameKind::FileChunk, wire::encode(&head(Coding::Raw))),
            (FrameKind::FileChunk, wire::encode(&head(Coding::Zstd))),
            (FrameKind::FileEnded, wire::encode(&Ended::Stored(receipt))),
            (FrameKind::FileEnded, wire::encode(&Ended::Refused("not-found".parse().unwrap()))),
            (FrameKind::FileEnded, wire::encode(&Ended::NotNow("busy".parse().unwrap()))),
            (FrameKind::FileFetch, wire::encode(&Fetch { ticket, from: 1 })),
        ];
        let mut sealer = Sealer::new(LinkKey::within_zone(Direction::Inward), Track::Files);
        let mut opener = Opener::new(LinkKey::within_zone(Direction::Inward), Track::Files);
        let mut hex = Vec::new();
        for (kind, payload) in frames {
            let mut out = Vec::new();
            sealer.seal(kind, 0, &payload, &mut out).unwrap();
            let (frame, len) = opener.open(&out).unwrap().unwrap();
            assert_eq!((frame.kind, frame.payload, len), (kind, payload, out.len()));
            hex.push(data_encoding::HEXLOWER.encode(&out));
        }
        assert_eq!(hex, GOLDEN_FILE_FRAMES);
    }

    const GOLDEN_FILE_FRAMES: [&str; 8] = [
        "47440102060000000000003300000000000000000000000000000000000000000000123456789abcdef00000e0a712aa\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae817bc96aa953ba68a28293c58043dfa",
        "474401020700000000000001000000000000000100000000000000000177cc3025b9274aff1825600ae549c2ca",
        "474401020800000000000024000000000000000200000000000000000100ac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
         bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbf6b7a7e705c7eaa952d8cbf61710372",
        "474401020800000000000024000000000000000300000000000000000101ac02bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
         bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb14f0f9420c28a15fe88921c53d8e3cc1",
        "47440102090000000000008400000000000000040000000000000000008101000000000000123456789abcdef0000000\
         000000000493e0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0000018bcfe5680001\
         77b708e16461586f36aacea0f55cd6a86f6a5d61702fd84a0845b327ad07bab450ee41c45b5831162becc7114ca482fb\
         df437a1de111b5a916d9c40aa90a0b00ff9994ec29a07745718d492bb1ef1668",
        "47440102090000000000000b0000000000000005000000000000000001096e6f742d666f756e645427b9a51d42ad481e\
         eeb5725dd2918e",
        "47440102090000000000000600000000000000060000000000000000020462757379a48e2c9ce3906f6184acaa8045e8\
         a363",
        "474401020a00000000000084000000000000000700000000000000008101000000000000123456789abcdef00000000\
         00000000493e0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0000018bcfe5680001\
         138ffe6d14baa3572a0bd6832c670768e0c1892ba95a18c0fcea837358ae9f65e3ff156900e8917aeab7145ddd05e12\
         46281c3dabf99296b5b95c22b544d950a013c92bed0d88451c58a050efa148171fc",
    ];

    #[test]
    fn length_is_checked_before_anything_else_is_read() {
        let (_, mut opener) = pair();
        let mut header = b"GD\x01\x01\x02\0\0\0".to_vec();
        header.extend_from_slice(&u32::MAX.to_be_bytes());
        header.extend_from_slice(&[0; 16]);
        assert_eq!(opener.open(&header), Err(FrameError::TooLong(u32::MAX)));
    }

    #[test]
    fn nothing_dropped_repeated_or_changed_passes() {
        let (mut sealer, mut opener) = pair();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        sealer.seal(FrameKind::Request, 1, b"one", &mut first).unwrap();
        sealer.seal(FrameKind::Request, 2, b"two", &mut second).unwrap();
        assert_eq!(opener.open(&second), Err(FrameError::Sequence { expected: 0, got: 1 }));
        for i in 0..first.len() {
            let mut changed = first.clone();
            changed[i] ^= 1;
            let refused = !matches!(opener.open(&changed), Ok(Some(_)));
            assert!(refused, "a changed byte {i} was taken");
        }
        assert!(
            matches!(opener.open(&first), Ok(Some((frame, n))) if frame.payload == b"one" && n == first.len())
        );
        assert_eq!(opener.open(&first), Err(FrameError::Sequence { expected: 1, got: 0 }));
    }

    #[test]
    fn keys_differ_by_direction_and_connection() {
        let (a, b) = ([1; 32], [2; 32]);
        let mut out = Vec::new();
        Sealer::new(LinkKey::for_session(&[3; 32], Direction::Inward, &a, &b), Track::Messages)
            .seal(FrameKind::Reply, 1, b"x", &mut out)
            .unwrap();
        for key in [
            LinkKey::for_session(&[3; 32], Direction::Outward, &a, &b),
            LinkKey::for_session(&[3; 32], Direction::Inward, &b, &a),
            LinkKey::for_session(&[4; 32], Direction::Inward, &a, &b),
            LinkKey::for_hello(&[3; 32], Direction::Inward),
        ] {
            assert_eq!(Opener::new(key, Track::Messages).open(&out), Err(FrameError::Mac));
        }
    }

    #[test]
    fn a_hello_settles_the_lower_version_or_says_why_not() {
        let ours = Hello { catalogue: (1, 2), ..Hello::new(Half::Outer, Track::Messages, [0; 32]) };
        let theirs =
            |catalogue| Hello { catalogue, ..Hello::new(Half::Inner, Track::Messages, [1; 32]) }.encode();
        assert_eq!(ours.settle(&theirs((2, 3))).unwrap().1, 2);
        assert_eq!(ours.settle(&theirs((1, 1))).unwrap().1, 1);
        assert!(matches!(ours.settle(&theirs((3, 4))), Err(HelloError::Versions { .. })));
        assert_eq!(ours.settle(&ours.encode()).unwrap_err(), HelloError::SameHalf);
    }

    proptest! {
        #[test]
        fn frames_survive_being_cut_anywhere(payload in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..300) {
            let (mut sealer, mut opener) = pair();
            let mut out = Vec::new();
            sealer.seal(FrameKind::Push, 9, &payload, &mut out).unwrap();
            let cut = cut.min(out.len() - 1);
            prop_assert_eq!(opener.open(&out[..cut]).unwrap(), None);
            let (frame, n) = opener.open(&out).unwrap().unwrap();
            prop_assert_eq!(frame.payload, payload);
            prop_assert_eq!(n, out.len());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let (_, mut opener) = pair();
            let _ = opener.open(&bytes);
        }
    }
}
