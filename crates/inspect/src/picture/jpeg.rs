//! JPEG (ITU-T T.81): segments, then entropy-coded data, until the end of image.
//!
//! Cameras write more than one picture into a file: a preview or a gain map follows the main picture (CIPA DC-007), and
//! Samsung's devices add a block of notes. Both are walked as well; anything else after the end is refused.

use std::io::{Read, Seek};

use super::{Canvas, broken, need};
use crate::active;
use crate::ending::{nothing_after, skip_padding};
use crate::source::{Source, Stop};
use crate::{Kind, Reason, detect};

/// More than any picture has: progressive ones have some dozens of scans.
const SEGMENTS_MAX: u32 = 20_000;
const PICTURES_MAX: u32 = 16;
const NOTES_BYTES_MAX: u64 = 256 * 1024;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    let mut end = picture(source, 0, canvas)?;
    for _ in 1..PICTURES_MAX {
        let next = skip_padding(source, end)?;
        if source.up_to(next, 3)? != b"\xff\xd8\xff" {
            break;
        }
        end = picture(source, next, canvas)?;
    }
    let rest = skip_padding(source, end)?;
    if rest < source.size() {
        // The length of a film's first box begins with zeros.
        let head = source.up_to(rest.saturating_sub(3).max(end), 8)?;
        if head.get(4..8) == Some(b"ftyp") {
            // A moving picture: the video behind the photo is of no kind that passes, and nothing that acts.
            return Err(Stop::Person(Reason::TrailingData));
        }
        return notes(source, rest);
    }
    Ok(())
}

/// Walks one picture and gives where it ends.
fn picture<F: Read + Seek>(
    source: &mut Source<'_, F>,
    start: u64,
    canvas: &mut Canvas<'_>,
) -> Result<u64, Stop> {
    let mut at = start + 2;
    let (mut sized, mut scanned) = (false, false);
    for _ in 0..SEGMENTS_MAX {
        let [0xff, marker] = need(source, at)? else { return Err(broken()) };
        at += 2;
        match marker {
            // Fill byte: the next one may be the marker.
            0xff => at -= 1,
            0xd9 if sized && scanned => return Ok(at),
            // Markers without a segment, in no picture outside of its scans.
            0x00 | 0x01 | 0xd0..=0xd9 => return Err(broken()),
            _ => {
                let length = u64::from(u16::from_be_bytes(need(source, at)?));
                if length < 2 || at + length > source.size() {
                    return Err(broken());
                }
                let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
                if is_frame {
                    let [_, _, _, h1, h0, w1, w0] = need(source, at)?;
                    // A second frame is of the hierarchical mode, which nobody writes.
                    if length < 8 || sized {
                        return Err(broken());
                    }
                    canvas.add(u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into())?;
                    sized = true;
                }
                at += length;
                if marker == 0xda {
                    if !sized {
                        return Err(broken());
                    }
                    scanned = true;
                    at = after_scan(source, at)?;
                }
            }
        }
    }
    Err(broken())
}

/// The first marker after entropy-coded data.
fn after_scan<F: Read + Seek>(source: &mut Source<'_, F>, mut at: u64) -> Result<u64, Stop> {
    loop {
        let bytes = source.up_to(at, 16 * 1024)?;
        if bytes.len() < 2 {
            return Err(broken());
        }
        let mut next = None;
        for found in memchr::memchr_iter(0xff, &bytes[..bytes.len() - 1]) {
            // Stuffed zeros, restarts and fill bytes belong to the data.
            if !matches!(bytes[found + 1], 0x00 | 0xd0..=0xd7 | 0xff) {
                next = Some(found);
                break;
            }
        }
        match next {
            Some(found) => return Ok(at + found as u64),
            None => at += bytes.len() as u64 - 1,
        }
    }
}

/// The block of notes of Samsung's devices: `SEFH`, a list, its length, `SEFT`, at the very end.
fn notes<F: Read + Seek>(source: &mut Source<'_, F>, start: u64) -> Result<(), Stop> {
    let size = source.size();
    let rest = size - start;
    let end: [u8; 8] = if rest >= 16 { need(source, size - 8)? } else { [0; 8] };
    let list = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    let is_list = end[4..] == *b"SEFT"
        && list + 8 <= rest
        && source.up_to((size - 8).saturating_sub(list), 4)? == b"SEFH";
    if !is_list {
        return nothing_after(source, start);
    }
    if rest > NOTES_BYTES_MAX {
        // A video among the notes.
        return Err(Stop::Person(Reason::TrailingData));
    }
    // Each note has a header of eight bytes and a name; what follows must be no file of another kind.
    let mut foreign = false;
    source.each(start..size, |bytes| {
        foreign |= active::mark_in(bytes)
            || [&b"PK\x03\x04"[..], b"%PDF-", b"\x7fELF", b"Rar!", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0"]
                .iter()
                .any(|magic| memchr::memmem::find(bytes, magic).is_some());
        Ok(())
    })?;
    let head = source.up_to(start, detect::HEAD)?;
    foreign |= !matches!(detect::of_head(head, true), Kind::Unknown | Kind::Text | Kind::Csv);
    if foreign { Err(Stop::Refuse(Reason::Polyglot)) } else { Ok(()) }
}
