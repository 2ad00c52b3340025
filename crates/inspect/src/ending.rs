//! Where a file's content ends, and what a file of another kind could hide in it.

use std::io::{Read, Seek};

use crate::source::{Source, Stop};
use crate::{Kind, Reason, active, detect};

/// Zeros and blanks that are taken after the end.
const PADDING_MAX: u64 = 64 * 1024;

/// Where PDF readers look for a header.
const PDF_HEADER_WITHIN: usize = 1024 + 5;

/// Refuses what follows `end`, other than a little padding.
pub(crate) fn nothing_after<F: Read + Seek>(source: &mut Source<'_, F>, end: u64) -> Result<(), Stop> {
    let rest = skip_padding(source, end)?;
    if rest == source.size() {
        return Ok(());
    }
    let head = source.up_to(rest, detect::HEAD)?;
    let foreign = !matches!(detect::of_head(head, true), Kind::Unknown | Kind::Text | Kind::Csv);
    let marked = active::mark_in(head) || memchr::memmem::find(head, b"%PDF-").is_some();
    Err(Stop::Refuse(if foreign || marked { Reason::Polyglot } else { Reason::TrailingData }))
}

/// The first byte from `at` on that is neither zero nor blank.
pub(crate) fn skip_padding<F: Read + Seek>(source: &mut Source<'_, F>, at: u64) -> Result<u64, Stop> {
    let mut here = at;
    while here < source.size() && here - at <= PADDING_MAX {
        let bytes = source.up_to(here, 4096)?;
        let filled = bytes.iter().position(|byte| *byte != 0 && !byte.is_ascii_whitespace());
        here += filled.unwrap_or(bytes.len()) as u64;
        if filled.is_some() {
            break;
        }
    }
    Ok(here)
}

/// Refuses a file that readers of other kinds would take for one of theirs.
pub(crate) fn no_other_kind<F: Read + Seek>(source: &mut Source<'_, F>, kind: Kind) -> Result<(), Stop> {
    if kind != Kind::Pdf && !kind.is_archive() {
        let head = source.up_to(0, PDF_HEADER_WITHIN)?;
        if memchr::memmem::find(head, b"%PDF-").is_some() {
            return Err(Stop::Refuse(Reason::Polyglot));
        }
    }
    if !kind.is_archive() && ends_in_zip(source)? {
        return Err(Stop::Refuse(Reason::Polyglot));
    }
    // The length of a JPEG's first segment and the width of a GIF can be written so that they open a comment.
    let head = source.up_to(0, 8)?;
    let comment = match kind {
        Kind::Jpeg => head.get(4..6) == Some(b"/*"),
        Kind::Gif => matches!(head.get(6..8), Some(b"/*" | b"=1" | b"//")),
        _ => false,
    };
    if comment { Err(Stop::Refuse(Reason::Polyglot)) } else { Ok(()) }
}

/// Whether a zip reader, which looks from the end, would find an archive.
fn ends_in_zip<F: Read + Seek>(source: &mut Source<'_, F>) -> Result<bool, Stop> {
    let size = source.size();
    let from = size.saturating_sub(65_536);
    let tail = source.up_to(from, 65_536)?;
    let ends: Vec<u64> =
        memchr::memmem::find_iter(tail, b"PK\x05\x06").take(64).map(|at| from + at as u64).collect();
    for at in ends {
        let Some(end) = source.array::<22>(at)? else { continue };
        let directory = u64::from(u32::from_le_bytes([end[12], end[13], end[14], end[15]]));
        // Readers take the directory to lie right before, whatever offset is told.
        if let Some(begin) = at.checked_sub(directory)
            && source.up_to(begin, 4)? == b"PK\x01\x02"
        {
            return Ok(true);
        }
        if directory == u64::from(u32::MAX) {
            return Ok(true);
        }
    }
    Ok(false)
}
