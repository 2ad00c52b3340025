//! Zip archives (APPNOTE 6.3), and the documents that are zip files.
//!
//! A zip file says everything twice: in a directory at its end and in a header before each entry. Programs differ in what
//! they believe, and bombs, smuggled entries and files of two kinds live from that. Here the two must agree, entries must
//! follow one another without overlap or gap from the first byte to the directory, the directory to the end; and whatever
//! is told as a size must be what comes out.

use std::io::{Read, Seek};

use crate::source::{Source, Stop};
use crate::{ArchiveRules, Kind, Reason, Rules};

mod contents;
mod directory;
mod document;
mod end;
mod extra;
mod path;

/// One entry, as directory and header agree on it.
#[derive(Clone, Debug)]
struct Entry {
    name: Vec<u8>,
    /// Where its header begins.
    header: u64,
    /// Where its data begins.
    data: u64,
    packed: u64,
    unpacked: u64,
    crc: u32,
    /// Whether it is deflated; stored otherwise.
    deflated: bool,
    /// Whether sizes follow the data.
    described: bool,
}

impl Entry {
    fn is_folder(&self) -> bool {
        self.name.ends_with(b"/")
    }

    fn data(&self) -> std::ops::Range<u64> {
        self.data..self.data + self.packed
    }
}

/// A zip file whose directory, headers and layout agree.
pub(crate) struct Archive {
    entries: Vec<Entry>,
}

impl Archive {
    /// Reads the directory and compares it with the headers.
    pub(crate) fn read<F: Read + Seek>(
        source: &mut Source<'_, F>,
        rules: &ArchiveRules,
    ) -> Result<Self, Stop> {
        let end = end::find(source, rules)?;
        Ok(Self { entries: directory::read(source, &end, rules)? })
    }

    /// Which document it is, if it is one.
    pub(crate) fn kind<F: Read + Seek>(
        &self,
        source: &mut Source<'_, F>,
        rules: &Rules,
    ) -> Result<Kind, Stop> {
        document::kind(self, source, rules)
    }

    /// Unpacks everything and looks at it.
    pub(crate) fn check<F: Read + Seek>(
        &self,
        source: &mut Source<'_, F>,
        kind: Kind,
        rules: &Rules,
    ) -> Result<(), Stop> {
        contents::check(self, source, kind, rules)
    }

    fn entry(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }
}

fn refuse<T>(why: Reason) -> Result<T, Stop> {
    Err(Stop::Refuse(why))
}

/// The bytes that must be there.
fn need<F: Read + Seek, const N: usize>(source: &mut Source<'_, F>, at: u64) -> Result<[u8; N], Stop> {
    source.array(at)?.ok_or(Stop::Refuse(Reason::ArchiveTruncated))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}
