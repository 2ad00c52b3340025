//! The directory, compared with the headers it points at.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use super::end::End;
use super::{Entry, extra, need, path, refuse, u16_at, u32_at, u64_at};
use crate::source::{Source, Stop};
use crate::{ArchiveRules, Reason};

/// Bits of an entry's flags.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const DESCRIBED: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
/// Patched data, which is nothing by itself.
const PATCHED: u16 = 1 << 5;

/// Entries smaller than this are not measured by their ratio.
const MEASURED_BYTES_MIN: u64 = 1024 * 1024;

/// Reads all entries; they come back in the order in which they lie in the file.
pub(super) fn read<F: Read + Seek>(
    source: &mut Source<'_, F>,
    end: &End,
    rules: &ArchiveRules,
) -> Result<Vec<Entry>, Stop> {
    let mut entries = Vec::new();
    let mut names = BTreeSet::new();
    let (mut at, mut unpacked) = (end.directory, 0u64);
    for _ in 0..end.entries {
        let (entry, next) = central(source, at)?;
        if next > end.directory_end {
            return refuse(Reason::ArchiveLyingSizes);
        }
        unpacked = unpacked.saturating_add(entry.unpacked);
        if unpacked > rules.unpacked_bytes_max {
            return refuse(Reason::ArchiveTooBig);
        }
        let most = entry.packed.saturating_mul(u64::from(rules.ratio_max));
        if entry.unpacked > MEASURED_BYTES_MIN && entry.unpacked > most {
            return refuse(Reason::ArchiveRatio);
        }
        if !names.insert(path::folded(&entry.name)) {
            return refuse(Reason::ArchiveDuplicateEntry);
        }
        entries.push(entry);
        at = next;
    }
    if at != end.directory_end {
        return refuse(Reason::ArchiveHiddenData);
    }
    entries.sort_by_key(|entry| entry.header);
    for entry in &mut entries {
        local(source, entry, end.directory)?;
    }
    layout(source, &entries, end.directory)?;
    Ok(entries)
}

/// One entry of the directory, and where the next begins.
fn central<F: Read + Seek>(source: &mut Source<'_, F>, at: u64) -> Result<(Entry, u64), Stop> {
    let record: [u8; 46] = need(source, at)?;
    if !record.starts_with(b"PK\x01\x02") {
        return refuse(Reason::ArchiveTruncated);
    }
    let (flags, method) = (u16_at(&record, 8), u16_at(&record, 10));
    let lengths = [28, 30, 32].map(|place| usize::from(u16_at(&record, place)));
    let [name_length, extra_length, _] = lengths;
    if flags & ENCRYPTED != 0 || method == 99 {
        return refuse(Reason::ArchiveEncrypted);
    }
    if !matches!(method, 0 | 8) || flags & PATCHED != 0 {
        return refuse(Reason::ArchiveMethod);
    }
    let name = source.up_to(at + 46, name_length)?.to_vec();
    if name.len() < name_length {
        return refuse(Reason::ArchiveTruncated);
    }
    path::check(&name)?;
    if flags & UTF8 != 0 && std::str::from_utf8(&name).is_err() {
        return refuse(Reason::ArchivePath);
    }
    // A link leads wherever it wants to: the upper half of the attributes holds the mode where Unix wrote the archive.
    let mode = u32_at(&record, 38) >> 16;
    if !matches!(mode & 0o170_000, 0 | 0o100_000 | 0o040_000) {
        return refuse(Reason::ArchivePath);
    }
    let mut unpacked = u64::from(u32_at(&record, 24));
    let mut packed = u64::from(u32_at(&record, 20));
    let mut header = u64::from(u32_at(&record, 42));
    let bytes = source.up_to(at + 46 + name_length as u64, extra_length)?;
    let extra = extra::read(bytes)?;
    extra.widen(&mut [&mut unpacked, &mut packed, &mut header])?;
    if let Some(other) = extra.name {
        path::check(other)?;
    }
    let entry = Entry {
        name,
        header,
        data: 0,
        packed,
        unpacked,
        crc: u32_at(&record, 16),
        deflated: method == 8,
        described: flags & DESCRIBED != 0,
    };
    if !entry.deflated && packed != unpacked || entry.is_folder() && unpacked != 0 {
        return refuse(Reason::ArchiveLyingSizes);
    }
    Ok((entry, at + 46 + lengths.iter().sum::<usize>() as u64))
}

/// Compares an entry with its header, and notes where its data begins.
fn local<F: Read + Seek>(source: &mut Source<'_, F>, entry: &mut Entry, limit: u64) -> Result<(), Stop> {
    if entry.header >= limit {
        return refuse(Reason::ArchiveLyingSizes);
    }
    let record: [u8; 30] = need(source, entry.header)?;
    if !record.starts_with(b"PK\x03\x04") {
        return refuse(Reason::ArchiveLyingSizes);
    }
    let (flags, method) = (u16_at(&record, 6), u16_at(&record, 8));
    if flags & ENCRYPTED != 0 {
        return refuse(Reason::ArchiveEncrypted);
    }
    let (name_length, extra_length) = (u64::from(u16_at(&record, 26)), usize::from(u16_at(&record, 28)));
    let begin = entry.header + 30;
    if name_length != entry.name.len() as u64 || source.up_to(begin, entry.name.len())? != entry.name {
        return refuse(Reason::ArchiveLyingSizes);
    }
    let mut unpacked = u64::from(u32_at(&record, 22));
    let mut packed = u64::from(u32_at(&record, 18));
    let crc = u32_at(&record, 14);
    let extra = extra::read(source.up_to(begin + name_length, extra_length)?)?;
    if let Some(other) = extra.name {
        path::check(other)?;
    }
    let described = flags & DESCRIBED != 0;
    if !(described && packed == 0 && unpacked == 0) {
        extra.widen(&mut [&mut unpacked, &mut packed])?;
    }
    // Sizes that follow the data are zero here, or told twice.
    let untold = described && unpacked == 0 && packed == 0;
    let told = unpacked == entry.unpacked && packed == entry.packed;
    let same_crc = crc == entry.crc || described && crc == 0;
    if method != if entry.deflated { 8 } else { 0 } || !(untold || told) || !same_crc {
        return refuse(Reason::ArchiveLyingSizes);
    }
    if described != entry.described {
        return refuse(Reason::ArchiveLyingSizes);
    }
    entry.data = begin + name_length + extra_length as u64;
    match entry.data.checked_add(entry.packed) {
        Some(end) if end <= limit => Ok(()),
        _ => refuse(Reason::ArchiveLyingSizes),
    }
}

/// Entries lie one behind the other, from the first byte to the directory.
fn layout<F: Read + Seek>(source: &mut Source<'_, F>, entries: &[Entry], directory: u64) -> Result<(), Stop> {
    let mut at = 0;
    let nexts = entries.iter().skip(1).map(|entry| entry.header).chain([directory]);
    for (entry, next) in entries.iter().zip(nexts) {
        if entry.header != at {
            return refuse(if at == 0 { Reason::Polyglot } else { Reason::ArchiveLyingSizes });
        }
        let end = entry.data + entry.packed;
        let Some(rest) = next.checked_sub(end) else {
            // One entry's data is another's: that is how few bytes become many.
            return refuse(Reason::ArchiveLyingSizes);
        };
        if rest > 0 && !(entry.described && is_descriptor(source, entry, end, rest)?) {
            return refuse(Reason::ArchiveHiddenData);
        }
        at = next;
    }
    Ok(())
}

/// Whether the bytes after an entry's data are its checksum and sizes, with or without a signature, short or long.
fn is_descriptor<F: Read + Seek>(
    source: &mut Source<'_, F>,
    entry: &Entry,
    at: u64,
    length: u64,
) -> Result<bool, Stop> {
    if !matches!(length, 12 | 16 | 20 | 24) {
        return Ok(false);
    }
    let bytes = source.up_to(at, 24)?;
    let bytes = if matches!(length, 16 | 24) {
        match bytes.strip_prefix(b"PK\x07\x08") {
            Some(rest) => rest,
            None => return Ok(false),
        }
    } else {
        bytes
    };
    let (packed, unpacked) = match length {
        12 | 16 => (u32_at(bytes, 4).into(), u32_at(bytes, 8).into()),
        _ => (u64_at(bytes, 4), u64_at(bytes, 12)),
    };
    Ok(u32_at(bytes, 0) == entry.crc && packed == entry.packed && unpacked == entry.unpacked)
}
