//! Zip files, right ones and wrong ones.

use super::deflate;

/// An entry as it is to be written.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) unpacked: u32,
    pub(crate) crc: u32,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    /// Unix mode and the like, in the directory.
    pub(crate) attributes: u32,
    /// Extra fields in the directory.
    pub(crate) extra: Vec<u8>,
    pub(crate) local_extra: Vec<u8>,
    /// What the directory lists as the header's place, where it is not the true one.
    pub(crate) header: Option<u32>,
}

impl Entry {
    pub(crate) fn stored(name: &str, data: &[u8]) -> Self {
        Self {
            name: name.into(),
            data: data.to_vec(),
            unpacked: data.len() as u32,
            crc: crc32fast::hash(data),
            method: 0,
            flags: if name.is_ascii() { 0 } else { 1 << 11 },
            attributes: 0,
            extra: Vec::new(),
            local_extra: Vec::new(),
            header: None,
        }
    }

    pub(crate) fn deflated(name: &str, data: &[u8]) -> Self {
        Self { data: deflate(data), method: 8, ..Self::stored(name, data) }
    }
}

/// A zip file being written.
#[derive(Default)]
pub(crate) struct Zip {
    out: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Zip {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Continues after bytes that belong to no entry.
    pub(crate) fn after(bytes: &[u8]) -> Self {
        Self { out: bytes.to_vec(), ..Self::default() }
    }

    pub(crate) fn stored(self, name: &str, data: &[u8]) -> Self {
        self.entry(&Entry::stored(name, data))
    }

    pub(crate) fn deflated(self, name: &str, data: &[u8]) -> Self {
        self.entry(&Entry::deflated(name, data))
    }

    /// With sizes and checksum behind the data, as streams are written.
    pub(crate) fn described(mut self, name: &str, data: &[u8]) -> Self {
        let entry = Entry::deflated(name, data);
        let header = self.out.len() as u32;
        self.local(&Entry { flags: 8, crc: 0, unpacked: 0, ..entry.clone() }, 0);
        self.out.extend_from_slice(&entry.data);
        self.out.extend_from_slice(b"PK\x07\x08");
        for value in [entry.crc, entry.data.len() as u32, entry.unpacked] {
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        self.list(&Entry { flags: 8, ..entry }, header);
        self
    }

    pub(crate) fn entry(mut self, entry: &Entry) -> Self {
        let header = self.out.len() as u32;
        self.local(entry, entry.data.len() as u32);
        self.out.extend_from_slice(&entry.data);
        self.list(entry, header);
        self
    }

    /// Bytes between the entries.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn local(&mut self, entry: &Entry, packed: u32) {
        self.out.extend_from_slice(b"PK\x03\x04\x14\0");
        for value in [entry.flags, entry.method, 0, 0x21] {
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [entry.crc, packed, entry.unpacked] {
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        for length in [entry.name.len(), entry.local_extra.len()] {
            self.out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        self.out.extend_from_slice(&entry.name);
        self.out.extend_from_slice(&entry.local_extra);
    }

    fn list(&mut self, entry: &Entry, header: u32) {
        let out = &mut self.directory;
        out.extend_from_slice(b"PK\x01\x02\x14\x03\x14\0");
        for value in [entry.flags, entry.method, 0, 0x21] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [entry.crc, entry.data.len() as u32, entry.unpacked] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [entry.name.len(), entry.extra.len(), 0, 0, 0] {
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        out.extend_from_slice(&entry.attributes.to_le_bytes());
        out.extend_from_slice(&entry.header.unwrap_or(header).to_le_bytes());
        out.extend_from_slice(&entry.name);
        out.extend_from_slice(&entry.extra);
        self.count += 1;
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.finish_with(b"")
    }

    /// Ends with a comment.
    pub(crate) fn finish_with(mut self, comment: &[u8]) -> Vec<u8> {
        let at = self.out.len() as u32;
        let length = self.directory.len() as u32;
        self.out.extend_from_slice(&self.directory);
        self.out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        self.out.extend_from_slice(&self.count.to_le_bytes());
        self.out.extend_from_slice(&self.count.to_le_bytes());
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(&at.to_le_bytes());
        self.out.extend_from_slice(&(comment.len() as u16).to_le_bytes());
        self.out.extend_from_slice(comment);
        self.out
    }
}

/// Writes `value` at `offset` from the `nth` place of `signature`.
pub(crate) fn patched(bytes: &[u8], signature: &[u8], nth: usize, offset: usize, value: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find_iter(bytes, signature).nth(nth).expect("the signature is there") + offset;
    let mut bytes = bytes.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// A zip file with one entry whose sizes are told by the fields of 64 bits.
pub(crate) fn zip64(name: &str, data: &[u8]) -> Vec<u8> {
    let packed = deflate(data);
    zip64_telling(name, data, packed.len() as u64, data.len() as u64)
}

/// The same, with whatever sizes.
pub(crate) fn zip64_telling(name: &str, data: &[u8], packed: u64, unpacked: u64) -> Vec<u8> {
    let field = |values: &[u64]| {
        let mut field = vec![1, 0, (values.len() * 8) as u8, 0];
        values.iter().for_each(|value| field.extend_from_slice(&value.to_le_bytes()));
        field
    };
    let zip = Zip::new()
        .entry(&Entry {
            extra: field(&[unpacked, packed, 0]),
            local_extra: field(&[unpacked, packed]),
            unpacked: u32::MAX,
            header: Some(u32::MAX),
            ..Entry::deflated(name, data)
        })
        .finish();
    let zip = patched(&zip, b"PK\x03\x04", 0, 18, &u32::MAX.to_le_bytes());
    let zip = patched(&zip, b"PK\x01\x02", 0, 20, &u32::MAX.to_le_bytes());
    // The long end record and its locator stand before the short one.
    let end = zip.len() - 22;
    let (length, at) = (zip[end + 12..end + 16].to_vec(), zip[end + 16..end + 20].to_vec());
    let mut out = zip[..end].to_vec();
    out.extend_from_slice(b"PK\x06\x06");
    out.extend_from_slice(&44u64.to_le_bytes());
    out.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [1u64, 1] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for value in [length, at] {
        out.extend_from_slice(&value);
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    out.extend_from_slice(&(end as u64).to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&zip[end..]);
    out
}

/// Many entries that share one kernel of packed zeros, each header quoted by the one before (Fifield 2019).
pub(crate) fn overlapping(files: u32, zeros: usize) -> Vec<u8> {
    let kernel = Entry::deflated("k", &vec![0; zeros]);
    let mut zip = Zip::new();
    let mut entries = Vec::new();
    for number in 0..files {
        // What follows of the others is this one's data: their headers, each in a stored block.
        let others = files - 1 - number;
        let packed = kernel.data.len() as u32 + others * 39;
        let unpacked = zeros as u32 + others * 34;
        let entry = Entry { name: format!("{number:04}").into(), unpacked, ..kernel.clone() };
        entries.push((Entry { data: vec![0; packed as usize], ..entry.clone() }, zip.out.len() as u32));
        zip.local(&entry, packed);
        if others > 0 {
            zip.out.extend_from_slice(&[0, 34, 0, !34, 0xff]);
        }
    }
    zip.out.extend_from_slice(&kernel.data);
    for (entry, header) in &entries {
        zip.list(entry, *header);
    }
    zip.finish()
}
