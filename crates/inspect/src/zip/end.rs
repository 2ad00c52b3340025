//! The end of a zip file: where its directory lies.

use std::io::{Read, Seek};

use super::{need, refuse, u16_at, u32_at, u64_at};
use crate::source::{Source, Stop};
use crate::{ArchiveRules, Reason};

const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR_64: &[u8; 4] = b"PK\x06\x07";

/// A comment that is longer holds something else.
const COMMENT_BYTES_MAX: usize = 4096;

/// Where the directory lies.
#[derive(Debug)]
pub(super) struct End {
    /// Where it begins.
    pub(super) directory: u64,
    /// Where it ends.
    pub(super) directory_end: u64,
    /// How many entries it lists.
    pub(super) entries: u64,
}

/// Finds the end record, which must be the last thing in the file.
pub(super) fn find<F: Read + Seek>(source: &mut Source<'_, F>, rules: &ArchiveRules) -> Result<End, Stop> {
    let at = position(source)?;
    let record: [u8; 22] = need(source, at)?;
    let disks = u16_at(&record, 4) != 0 || u16_at(&record, 6) != 0;
    let mut entries = u64::from(u16_at(&record, 10));
    if disks || u16_at(&record, 8) != u16_at(&record, 10) {
        return refuse(Reason::ArchiveLyingSizes);
    }
    let (mut length, mut directory) = (u64::from(u32_at(&record, 12)), u64::from(u32_at(&record, 16)));
    let mut directory_end = at;

    let locator = match at.checked_sub(20) {
        Some(begin) => source.array::<20>(begin)?.filter(|locator| locator.starts_with(LOCATOR_64)),
        None => None,
    };
    if let Some(locator) = locator {
        let begin = u64_at(&locator, 8);
        let Some(record) = source.array::<56>(begin)?.filter(|record| record.starts_with(END_64)) else {
            return refuse(Reason::ArchiveLyingSizes);
        };
        // What both records tell must be the same, unless the short one says that it cannot tell it.
        let both = [
            (entries, u64::from(u16::MAX), u64_at(&record, 32)),
            (length, u64::from(u32::MAX), u64_at(&record, 40)),
            (directory, u64::from(u32::MAX), u64_at(&record, 48)),
        ];
        let told = both.iter().all(|(short, unknown, long)| short == unknown || short == long);
        let follows = u64_at(&record, 4).checked_add(begin + 12) == at.checked_sub(20);
        let whole = u64_at(&record, 24) == u64_at(&record, 32) && u32_at(&record, 16) == 0;
        if !told || !follows || !whole {
            return refuse(Reason::ArchiveLyingSizes);
        }
        [entries, length, directory] = both.map(|(_, _, long)| long);
        directory_end = begin;
    }
    // Checked before anything is read or kept by these numbers.
    if entries > u64::from(rules.entries_max) {
        return refuse(Reason::ArchiveTooManyEntries);
    }
    if entries == 0 {
        return refuse(Reason::Empty);
    }
    match directory.checked_add(length) {
        Some(end) if end == directory_end => Ok(End { directory, directory_end, entries }),
        Some(end) if end < directory_end => {
            // Everything is there, further back than it says: something was put before the archive.
            let moved = directory_end.checked_sub(length);
            let prefixed = match moved {
                Some(begin) => source.up_to(begin, 4)? == b"PK\x01\x02",
                None => false,
            };
            refuse(if prefixed { Reason::Polyglot } else { Reason::ArchiveHiddenData })
        }
        _ => refuse(Reason::ArchiveLyingSizes),
    }
}

/// Where the end record begins: so that its comment ends with the file.
fn position<F: Read + Seek>(source: &mut Source<'_, F>) -> Result<u64, Stop> {
    let size = source.size();
    let from = size.saturating_sub(22 + COMMENT_BYTES_MAX as u64);
    let tail = source.up_to(from, 22 + COMMENT_BYTES_MAX)?;
    let mut found = Vec::new();
    for at in memchr::memmem::find_iter(tail, END) {
        if at + 22 <= tail.len() && usize::from(u16_at(tail, at + 20)) == tail.len() - at - 22 {
            found.push(from + at as u64);
        }
    }
    match found.as_slice() {
        [at] => {
            let comment = source.up_to(at + 22, COMMENT_BYTES_MAX)?;
            let acts = crate::active::mark_in(comment);
            let holds =
                [&b"PK"[..], b"%PDF-"].iter().any(|mark| memchr::memmem::find(comment, mark).is_some());
            if acts || holds { refuse(Reason::ArchiveHiddenData) } else { Ok(*at) }
        }
        // Which of them holds is what readers would not agree on.
        [_, _, ..] => refuse(Reason::ArchiveLyingSizes),
        [] => {
            let from = size.saturating_sub(65_536);
            let tail = source.up_to(from, 65_536)?;
            // A whole record with more behind it; one that is cut off itself is cut off.
            let behind = memchr::memmem::rfind(tail, END).is_some_and(|at| {
                at + 22 < tail.len() && at + 22 + usize::from(u16_at(tail, at + 20)) < tail.len()
            });
            refuse(if behind { Reason::TrailingData } else { Reason::ArchiveTruncated })
        }
    }
}
