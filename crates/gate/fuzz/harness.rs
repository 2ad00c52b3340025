//! What holds for every piece, whoever makes it: the fuzzer or the tests.
use std::cell::RefCell;

use protocol::{
    Bucket, FileId,
    file::{ChunkHead, Coding, Offer, chunk_cv},
};

use super::pieces::{BadPiece, Slot};

thread_local! {
    /// Used again for every piece, as a connection's is.
    static SLOT: RefCell<Slot> = RefCell::default();
}

/// Two bytes for the piece's length, and its body, packed. It is taken where it is one frame of that length and of the chaining
/// value that its head says, and refused everywhere else.
pub(super) fn piece(bytes: &[u8]) {
    let [high, low, body @ ..] = bytes else { return };
    let size = u64::from(u16::from_be_bytes([*high, *low]));
    let plain = zstd::bulk::decompress(body, usize::from(u16::MAX)).unwrap_or_default();
    let offer = Offer { file: FileId::mint(Bucket::FIRST, 1), size, root: chunk_cv(size, 0, &plain) };
    let Ok(len) = u32::try_from(body.len()) else { return };
    let head = ChunkHead { index: 0, coding: Coding::Zstd, len, cv: offer.root };
    if !head.fits(&offer, 0) {
        return;
    }
    SLOT.with_borrow_mut(|slot| {
        slot.room(len).copy_from_slice(body);
        match slot.verified(&offer, &head) {
            Ok((piece, cv)) => {
                assert!(piece == plain && piece.len() as u64 == size && cv == offer.root);
            }
            Err(why) => {
                assert_eq!(why, BadPiece::Zstd, "another piece came out than the library alone gives")
            }
        }
        let lies = ChunkHead { cv: [0; 32], ..head };
        assert!(slot.verified(&offer, &lies).is_err());
    });
}
