//! One piece of a file: its bytes as they came, and as they are.
use protocol::file::{CHUNK_LEN, ChunkHead, Coding, Hash, Offer, chunk_cv};
use zstd::{bulk::Decompressor, zstd_safe};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Room for one piece, used again for every other. A connection has two: one is read while the other is written.
#[derive(Default)]
pub(super) struct Slot {
    body: Vec<u8>,
    plain: Vec<u8>,
    zstd: Option<Decompressor<'static>>,
}

/// Why a piece is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPiece {
    /// Not one zstd frame of the piece's length.
    #[error("a piece is not one zstd frame of its length")]
    Zstd,
    /// Not what its chaining value says.
    #[error("a piece has another chaining value than its head says")]
    Changed,
}

impl BadPiece {
    /// Its name in counters.
    pub(super) fn reason(self) -> &'static str {
        match self {
            BadPiece::Zstd => "bad-zstd",
            BadPiece::Changed => "corrupted-piece",
        }
    }
}

impl Slot {
    /// Where the `len` bytes of a body go.
    pub(super) fn room(&mut self, len: u32) -> &mut [u8] {
        self.body.resize(CHUNK_LEN, 0);
        &mut self.body[..(len as usize).min(CHUNK_LEN)]
    }

    /// The piece itself with its chaining value, if it is what its head says. The head [fits](ChunkHead::fits).
    pub(super) fn verified(&mut self, offer: &Offer, head: &ChunkHead) -> Result<(&[u8], Hash), BadPiece> {
        let len = (head.len as usize).min(self.body.len());
        let piece = match head.coding {
            Coding::Raw => &self.body[..len],
            Coding::Zstd => {
                let whole = offer.chunk_len(head.index);
                self.plain.resize(CHUNK_LEN, 0);
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(Decompressor::new().map_err(|_| BadPiece::Zstd)?),
                };
                decode(zstd, &self.body[..len], &mut self.plain[..whole])?;
                &self.plain[..whole]
            }
        };
        let cv = chunk_cv(offer.size, head.index, piece);
        if cv == head.cv { Ok((piece, cv)) } else { Err(BadPiece::Changed) }
    }
}

/// Fills `piece` from one zstd frame that says that length, needs no window beyond a piece, and is followed by nothing.
fn decode(zstd: &mut Decompressor<'_>, frame: &[u8], piece: &mut [u8]) -> Result<(), BadPiece> {
    let says = zstd_safe::get_frame_content_size(frame).ok().flatten();
    let is_alone = zstd_safe::find_frame_compressed_size(frame) == Ok(frame.len());
    if says != Some(piece.len() as u64) || !is_alone || !has_small_window(frame) {
        return Err(BadPiece::Zstd);
    }
    match zstd.decompress_to_buffer(frame, piece) {
        Ok(len) if len == piece.len() => Ok(()),
        _ => Err(BadPiece::Zstd),
    }
}

/// Whether a frame needs no window longer than a piece (RFC 8878, 3.1.1.1): where it is one segment, the window is its
/// content's length, which is checked; else it is said in a byte of its own.
fn has_small_window(frame: &[u8]) -> bool {
    match frame {
        [m0, m1, m2, m3, descriptor, window, ..] if [*m0, *m1, *m2, *m3] == ZSTD_MAGIC => {
            let (exponent, mantissa) = (u32::from(window >> 3), u64::from(window & 7));
            let base = 1u64 << (10 + exponent);
            descriptor & 0x20 != 0 || base + base / 8 * mantissa <= CHUNK_LEN as u64
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::{Bucket, FileId};

    use super::*;

    fn of(piece: &[u8], body: &[u8], coding: Coding) -> (Offer, ChunkHead, Slot) {
        let size = piece.len() as u64;
        let root = chunk_cv(size, 0, piece);
        let offer = Offer { file: FileId::mint(Bucket::FIRST, 1), size, root };
        let len = u32::try_from(body.len()).unwrap();
        let mut slot = Slot::default();
        slot.room(len).copy_from_slice(body);
        (offer, ChunkHead { index: 0, coding, len, cv: root }, slot)
    }

    fn take(piece: &[u8], body: &[u8]) -> Result<(), BadPiece> {
        let (offer, head, mut slot) = of(piece, body, Coding::Zstd);
        slot.verified(&offer, &head).map(|(took, _)| assert_eq!(took, piece))
    }

    #[test]
    fn pieces_near_the_corpus_are_refused_or_right() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/piece");
        super::super::corpus::replay(&corpus, super::super::harness::piece);
    }

    #[test]
    fn one_frame_of_the_right_length_is_taken_and_nothing_else() {
        let text = b"a line of text\n".repeat(4000);
        let frame = zstd::bulk::compress(&text, 1).unwrap();
        assert_eq!(take(&text, &frame), Ok(()));
        let (offer, head, mut raw) = of(&text, &text, Coding::Raw);
        assert!(raw.verified(&offer, &head).is_ok());

        let longer = zstd::bulk::compress(&[&text[..], b"more"].concat(), 1).unwrap();
        let shorter = zstd::bulk::compress(&text[1..], 1).unwrap();
        let two =
            [zstd::bulk::compress(&text[..100], 1).unwrap(), zstd::bulk::compress(&text[100..], 1).unwrap()];
        let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0abcd", &frame[..]].concat();
        for bad in [
            [&frame[..], b"x"].concat(),
            frame[..frame.len() - 1].to_vec(),
            longer,
            shorter,
            two.concat(),
            skippable,
            b"plain".to_vec(),
            vec![],
        ] {
            assert_eq!(take(&text, &bad), Err(BadPiece::Zstd));
        }
        let mut other = text.clone();
        other[7] ^= 1;
        let frame = zstd::bulk::compress(&other, 1).unwrap();
        assert_eq!(take(&text, &frame), Err(BadPiece::Changed));
    }

    #[test]
    fn a_window_beyond_a_piece_is_refused() {
        use zstd_safe::{CCtx, CParameter};
        let text = vec![7; 200_000];
        for (log, is_taken) in [(18, true), (19, false), (27, false)] {
            let mut cctx = CCtx::create();
            cctx.set_parameter(CParameter::WindowLog(log)).unwrap();
            cctx.set_parameter(CParameter::ContentSizeFlag(true)).unwrap();
            let mut frame = Vec::with_capacity(300_000);
            cctx.compress2(&mut frame, &text).unwrap();
            // The library makes it one segment; said as a window of its own, it is judged by that.
            assert!(frame[4] & 0x20 != 0);
            let sizes = frame[4] >> 6;
            frame[4] &= !0x20;
            frame.insert(5, u8::try_from((log - 10) << 3).unwrap());
            assert!(sizes > 0, "the content's length stays said");
            assert_eq!(take(&text, &frame).is_ok(), is_taken, "{log}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_or_right(mut frame in proptest::collection::vec(any::<u8>(), 1..300), real in any::<bool>(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let text = b"some text that repeats, some text that repeats".repeat(9);
            if real {
                frame = zstd::bulk::compress(&text, 3).unwrap();
                let at = at.index(frame.len());
                frame[at] = to;
            }
            let _ = take(&text, &frame);
        }
    }
}
