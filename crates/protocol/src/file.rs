//! Files that cross: what is offered, in which pieces it comes, how it is verified, and the receipt. Pure.
//!
//! A file is cut into pieces of [`CHUNK_LEN`], each of which is a subtree of the file's BLAKE3 tree. The subtree's chaining
//! value stands in the head of the piece; together they give the hash of the whole. So every byte is hashed once, a piece is
//! verified as it comes, and what has come is verified again after an interruption without being read.
//!
//! One connection of the file track carries one file at a time, from the extranet into the intranet:
//!
//! ```text
//! inward   FileOffer                FileChunk + piece … FileChunk + piece
//! outward             FileWanted                                           FileEnded
//! ```
//!
//! `FileEnded` may come at any time after the offer; where pieces were still to come, both sides close the connection.
//!
//! Or one that the center made is fetched, with a [`Ticket`] that says which one it is:
//!
//! ```text
//! inward   FileFetch
//! outward             FileChunk + piece … FileChunk + piece
//! outward             FileEnded, instead of any of these
//! ```
//!
//! After the last piece, or after `FileEnded`, the connection is between two files. A piece that is not what the ticket's hash
//! says is found out once all are there; whoever fetched the file then throws it away.
//!
//! On the
//! link the frames are sealed under the keys of its hello; inside a zone there is no hello, and they are sealed under
//! [`LinkKey::within_zone`](crate::frame::LinkKey::within_zone).
use std::{marker::PhantomData, path::PathBuf};

use blake3::hazmat::{self, HasherExt, Mode};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{FileId, bounds::ShortName};

/// The length of every piece of a file but the last, in bytes: a subtree of BLAKE3, so a power of two.
pub const CHUNK_LEN: usize = 256 * 1024;
/// No file that crosses is longer, in bytes.
pub const MAX_FILE_LEN: u64 = 16 << 30;

/// A BLAKE3 hash, or the chaining value of a subtree.
pub type Hash = [u8; 32];

/// Where content of this hash is in a folder of files that are called by their content: `ab/cdef…`.
pub fn place(root: &Hash) -> PathBuf {
    let hex = data_encoding::HEXLOWER.encode(root);
    let (first, rest) = hex.split_at(2);
    [first, rest].iter().collect()
}

/// A file that wants to cross.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id, by which it crosses once.
    pub file: FileId,
    /// Its length in bytes: 1 to [`MAX_FILE_LEN`].
    pub size: u64,
    /// The BLAKE3 hash of all of it.
    pub root: Hash,
}

impl Offer {
    /// Whether such a file may cross at all.
    pub fn is_possible(&self) -> bool {
        (1..=MAX_FILE_LEN).contains(&self.size)
    }

    /// How many pieces it has.
    pub fn chunks(&self) -> u32 {
        chunks_of(self.size)
    }

    /// The length of a piece of it; 0 beyond the last.
    pub fn chunk_len(&self, index: u32) -> usize {
        let left = self.size.saturating_sub(u64::from(index) * CHUNK_LEN as u64);
        left.min(CHUNK_LEN as u64) as usize
    }
}

/// How many pieces a file of `size` bytes has.
pub fn chunks_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(CHUNK_LEN as u64)).unwrap_or(u32::MAX)
}

/// From which piece on a file is wanted: those before are there, durably and verified. At least one is still to come; a file of
/// which nothing is missing ends without this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The first piece to send.
    pub from: u32,
}

/// A file is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// That it may be, and which one it is.
    pub ticket: Ticket,
    /// The first piece to send: those before are there.
    pub from: u32,
}

impl Fetch {
    /// Whether there is a file of that length, and at least one piece to send.
    pub fn is_possible(&self) -> bool {
        let offer = self.ticket.offer();
        offer.is_possible() && self.from < offer.chunks()
    }
}

/// How a piece is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// As it is.
    Raw,
    /// As one zstd frame, which says how long the piece is and needs no window longer than [`CHUNK_LEN`]; only where that is
    /// shorter.
    Zstd,
}

/// The head of a piece; the piece follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkHead {
    /// Which piece.
    pub index: u32,
    /// How it is written.
    pub coding: Coding,
    /// How many bytes follow: 1 to the piece's own length.
    pub len: u32,
    /// Its chaining value, or the whole file's hash where it is the only piece.
    pub cv: Hash,
}

impl ChunkHead {
    /// Whether it can be the next piece of `offer`, whose number is `due`.
    pub fn fits(&self, offer: &Offer, due: u32) -> bool {
        let whole = offer.chunk_len(due);
        let len = self.len as usize;
        self.index == due
            && match self.coding {
                Coding::Raw => len == whole && len > 0,
                Coding::Zstd => (1..whole).contains(&len),
            }
    }
}

/// What became of a file. One that is fetched is never `Stored`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It is in the intranet's store, attached to its request.
    Stored(Receipt),
    /// It is not taken, now or later; the reason's code.
    Refused(ShortName),
    /// It is not taken now: try again later; the reason's code.
    NotNow(ShortName),
}

/// The center's word that a file is stored and attached.
pub type Receipt = Signed<Attached>;

/// The center's word that whoever shows it may fetch a file that it made, until a moment.
pub type Ticket = Signed<MayFetch>;

/// See [`Receipt`]. Its time is when the file was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached;

/// See [`Ticket`]. Its time is from when on it is not good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MayFetch;

/// What a [`Signed`] word about a file says.
pub trait Word {
    /// Stands before what is signed, so that one word is never another.
    const CONTEXT: &'static [u8];
}

impl Word for Attached {
    const CONTEXT: &'static [u8] = b"gridesk file receipt v1\0";
}

impl Word for MayFetch {
    const CONTEXT: &'static [u8] = b"gridesk file ticket v1\0";
}

/// A word of the center about a file. Always [`SIGNED_LEN`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<W> {
    /// Which file.
    pub file: FileId,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub root: Hash,
    /// The word's time, Unix ms.
    pub at_ms: u64,
    /// Which of the center's keys signed.
    pub key_id: u8,
    /// Ed25519 over all of the above.
    pub signature: [u8; 64],
    word: PhantomData<W>,
}

/// The length of a [`Signed`] word as bytes.
pub const SIGNED_LEN: usize = COVERED_LEN + 64;
/// As much of it is signed.
const COVERED_LEN: usize = 16 + 8 + 32 + 8 + 1;

impl<W: Word> Signed<W> {
    /// Signs one.
    pub fn sign(key: (u8, &SigningKey), (file, size, root): (FileId, u64, Hash), at_ms: u64) -> Self {
        let (key_id, word) = (key.0, PhantomData);
        let mut signed = Signed { file, size, root, at_ms, key_id, signature: [0; 64], word };
        signed.signature = key.1.sign(&signed.covered()).to_bytes();
        signed
    }

    /// Whether one of `keys` signed it.
    pub fn is_genuine(&self, keys: &[(u8, VerifyingKey)]) -> bool {
        let key = keys.iter().find(|(id, _)| *id == self.key_id);
        let signature = Signature::from_bytes(&self.signature);
        key.is_some_and(|(_, key)| key.verify(&self.covered(), &signature).is_ok())
    }

    fn covered(&self) -> Vec<u8> {
        [W::CONTEXT, &self.to_bytes()[..COVERED_LEN]].concat()
    }
}

impl<W> Signed<W> {
    /// As bytes.
    pub fn to_bytes(&self) -> [u8; SIGNED_LEN] {
        let mut bytes = [0; SIGNED_LEN];
        bytes[..16].copy_from_slice(&self.file.bits().to_be_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_be_bytes());
        bytes[24..56].copy_from_slice(&self.root);
        bytes[56..64].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[64] = self.key_id;
        bytes[COVERED_LEN..].copy_from_slice(&self.signature);
        bytes
    }

    /// From bytes; whether it is genuine is another question.
    pub fn from_bytes(bytes: &[u8; SIGNED_LEN]) -> Self {
        Signed {
            file: FileId::from_bits(u128::from_be_bytes(part(bytes, 0))),
            size: u64::from_be_bytes(part(bytes, 16)),
            root: part(bytes, 24),
            at_ms: u64::from_be_bytes(part(bytes, 56)),
            key_id: bytes[64],
            signature: part(bytes, COVERED_LEN),
            word: PhantomData,
        }
    }
}

impl Ticket {
    /// The file it is for, as one that crosses.
    pub fn offer(&self) -> Offer {
        Offer { file: self.file, size: self.size, root: self.root }
    }

    /// Whether it is good no more at `now_ms`, Unix ms.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.at_ms
    }
}

fn part<const N: usize>(bytes: &[u8; SIGNED_LEN], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

impl<W> Serialize for Signed<W> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&data_encoding::BASE64URL_NOPAD.encode(&self.to_bytes()))
        } else {
            s.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de, W> Deserialize<'de> for Signed<W> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let bytes = if d.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
            data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).map_err(D::Error::custom)?
        } else {
            crate::bounds::Opaque::<SIGNED_LEN>::deserialize(d)?.to_vec()
        };
        let bytes =
            bytes.as_slice().try_into().map_err(|_| D::Error::custom("not as long as it has to be"))?;
        Ok(Signed::from_bytes(bytes))
    }
}

impl utoipa::PartialSchema for Receipt {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let what = "The center's signed word that a file is stored and attached, base64url.";
        domain::schema::text("^[A-Za-z0-9_-]{172}$", 172, what, None)
    }
}

impl utoipa::ToSchema for Receipt {
    /// A payment has one too.
    fn name() -> std::borrow::Cow<'static, str> {
        "FileReceipt".into()
    }
}

/// The chaining value of a piece of a file of `size` bytes; the hash of the whole where it is the only piece.
pub fn chunk_cv(size: u64, index: u32, bytes: &[u8]) -> Hash {
    if chunks_of(size) <= 1 {
        return *blake3::hash(bytes).as_bytes();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(index) * CHUNK_LEN as u64);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The hash of a whole file of `size` bytes from the chaining values of all its pieces; `None` where they are not all
/// there.
pub fn root_of(size: u64, cvs: &[Hash]) -> Option<Hash> {
    if size == 0 || cvs.len() != chunks_of(size) as usize {
        return None;
    }
    match cvs {
        [only] => Some(*only),
        many => {
            let (left, right) = halves(size, many);
            Some(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
        }
    }
}

fn subtree(size: u64, cvs: &[Hash]) -> Hash {
    match cvs {
        [only] => *only,
        many => {
            let (left, right) = halves(size, many);
            hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

/// The chaining values of a subtree's two halves; it has two pieces or more. The left one is the largest power of two.
fn halves(size: u64, cvs: &[Hash]) -> (Hash, Hash) {
    let left_len = hazmat::left_subtree_len(size);
    let (left, right) = cvs.split_at((left_len / CHUNK_LEN as u64) as usize);
    (subtree(left_len, left), subtree(size - left_len, right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Bucket, wire};

    fn cvs(bytes: &[u8]) -> Vec<Hash> {
        let size = bytes.len() as u64;
        bytes.chunks(CHUNK_LEN).zip(0..).map(|(chunk, index)| chunk_cv(size, index, chunk)).collect()
    }

    #[test]
    fn pieces_give_the_hash_of_the_whole() {
        let bytes: Vec<u8> = (0..11 * CHUNK_LEN + 77).map(|i| (i * 31 % 251) as u8).collect();
        let lengths = [1, 1024, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 3 * CHUNK_LEN];
        for len in
            lengths.into_iter().chain([4 * CHUNK_LEN + 1, 7 * CHUNK_LEN - 5, 8 * CHUNK_LEN, bytes.len()])
        {
            let file = &bytes[..len];
            assert_eq!(root_of(len as u64, &cvs(file)), Some(*blake3::hash(file).as_bytes()), "{len}");
        }
        let whole = cvs(&bytes);
        assert_eq!(root_of(bytes.len() as u64, &whole[1..]), None);
        assert_eq!(root_of(0, &[]), None);
        let mut swapped = whole.clone();
        swapped.swap(2, 3);
        assert_ne!(root_of(bytes.len() as u64, &swapped), root_of(bytes.len() as u64, &whole));
    }

    #[test]
    fn a_head_that_lies_does_not_fit() {
        let offer =
            Offer { file: FileId::mint(Bucket::FIRST, 1), size: CHUNK_LEN as u64 + 10, root: [0; 32] };
        assert_eq!((offer.chunks(), offer.chunk_len(1), offer.chunk_len(2)), (2, 10, 0));
        let head = |index, coding, len| ChunkHead { index, coding, len, cv: [0; 32] };
        assert!(head(0, Coding::Raw, CHUNK_LEN as u32).fits(&offer, 0));
        assert!(head(1, Coding::Zstd, 9).fits(&offer, 1));
        for wrong in [
            head(1, Coding::Raw, 11),
            head(1, Coding::Raw, 9),
            head(1, Coding::Zstd, 10),
            head(1, Coding::Zstd, 0),
            head(0, Coding::Raw, 10),
            head(2, Coding::Raw, 0),
            head(1, Coding::Raw, u32::MAX),
        ] {
            assert!(!wrong.fits(&offer, wrong.index.max(1)), "{wrong:?}");
        }
        assert!(!Offer { size: 0, ..offer.clone() }.is_possible());
        assert!(!Offer { size: 1 << 36, ..offer }.is_possible());
    }

    #[test]
    fn a_place_is_the_hash_in_two_parts() {
        let mut root = [0xff; 32];
        (root[0], root[1]) = (0x0a, 0xbc);
        assert_eq!(place(&root), PathBuf::from(format!("0a/bc{}", "f".repeat(60))));
    }

    #[test]
    fn what_cannot_be_fetched_is_found_out() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let fetch = |size, from| {
            let file = FileId::mint(Bucket::FIRST, 9);
            Fetch { ticket: Ticket::sign((1, &key), (file, size, [1; 32]), 50), from }
        };
        assert!(fetch(CHUNK_LEN as u64 + 1, 1).is_possible() && fetch(1, 0).is_possible());
        for (size, from) in [(0, 0), (1, 1), (CHUNK_LEN as u64 + 1, 2), (MAX_FILE_LEN + 1, 0), (9, u32::MAX)]
        {
            assert!(!fetch(size, from).is_possible(), "{size} {from}");
        }
        let fetch = fetch(7, 0);
        assert!(!fetch.ticket.is_over(49) && fetch.ticket.is_over(50));
        assert_eq!(fetch.ticket.offer(), Offer { file: fetch.ticket.file, size: 7, root: [1; 32] });
        assert_eq!(wire::decode_exact::<Fetch>(&wire::encode(&fetch)), Ok(fetch));
    }

    #[test]
    fn a_receipt_is_believed_only_genuine() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let file = FileId::mint(Bucket::FIRST, 9);
        let receipt = Receipt::sign((3, &key), (file, 5, [1; 32]), 1_700_000_000_000);
        let keys = [(3, key.verifying_key())];
        assert!(receipt.is_genuine(&keys));
        assert!(!receipt.is_genuine(&[(2, key.verifying_key())]));
        assert!(!receipt.is_genuine(&[(3, SigningKey::from_bytes(&[8; 32]).verifying_key())]));
        for at in 0..SIGNED_LEN {
            let mut bytes = receipt.to_bytes();
            bytes[at] ^= 1;
            assert!(!Receipt::from_bytes(&bytes).is_genuine(&keys), "changed at {at}");
        }
        // A word of one kind is not one of the other.
        assert!(!Ticket::from_bytes(&receipt.to_bytes()).is_genuine(&keys));
        let ended = Ended::Stored(receipt.clone());
        assert_eq!(wire::decode_exact::<Ended>(&wire::encode(&ended)), Ok(ended));
        let json = serde_json::to_string(&receipt).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
    }

    proptest! {
        #[test]
        fn nothing_that_is_decoded_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = wire::decode_exact::<Offer>(&bytes);
            let _ = wire::decode_exact::<ChunkHead>(&bytes);
            let _ = wire::decode_exact::<Ended>(&bytes);
            let _ = wire::decode_exact::<Fetch>(&bytes);
        }
    }
}
