//! PDF (ISO 32000).
//!
//! The file is not parsed as a reader does it, which would mean to believe its tables. All of it is searched for the
//! names that make a document act, however they are escaped, wherever they stand; then every packed stream that could
//! hold objects is unpacked within a budget and searched as well. What cannot be searched needs a person.

use std::io::{Read, Seek};

use crate::ending::nothing_after;
use crate::inflate::{Ended, Wrap, inflate};
use crate::source::{Source, Stop};
use crate::{PdfRules, Reason, active, detect};

mod scanner;

pub(crate) use scanner::Scanner;
use scanner::{Dictionary, Stream};

/// Bytes of a stream that tell whether it holds objects.
const PROBE_BYTES: u64 = 64;
const END: &[u8] = b"%%EOF";

pub(crate) fn check<F: Read + Seek>(source: &mut Source<'_, F>, rules: &PdfRules) -> Result<(), Stop> {
    // Browsers look for a page in the beginning of whatever they are given.
    if active::mark_in(source.up_to(0, detect::HEAD)?) {
        return Err(Stop::Refuse(Reason::Polyglot));
    }
    let size = source.size();
    let mut scanner = Scanner::new(usize::try_from(rules.streams_max).unwrap_or(usize::MAX));
    let mut ended = false;
    source.each(0..size, |bytes| {
        ended |= memchr::memmem::find(bytes, END).is_some();
        scanner.push(bytes)
    })?;
    scanner.finish()?;
    let from = size.saturating_sub(65_536);
    match memchr::memmem::rfind(source.up_to(from, 65_536)?, END) {
        Some(at) => nothing_after(source, from + (at + END.len()) as u64)?,
        None if ended => return Err(Stop::Refuse(Reason::TrailingData)),
        None => return Err(Stop::Refuse(Reason::PdfBroken)),
    }
    if !scanner.has_objects() {
        return Err(Stop::Refuse(Reason::PdfBroken));
    }
    if scanner.is_encrypted() {
        return Err(Stop::Person(Reason::Encrypted));
    }
    let mut left = rules.unpacked_bytes_max;
    // What is certain comes before what a person must decide: all streams are searched.
    let mut unclear = scanner.is_unclear();
    for Stream { at, dictionary } in scanner.take_streams() {
        unclear |= !stream(source, at, dictionary, &mut scanner, &mut left)?;
        if left == 0 {
            unclear = true;
            break;
        }
    }
    scanner.check_opening()?;
    if unclear { Err(Stop::Person(Reason::TooComplex)) } else { Ok(()) }
}

/// Searches a stream that could hold objects. Gives whether all of it could be searched.
fn stream<F: Read + Seek>(
    source: &mut Source<'_, F>,
    at: u64,
    dictionary: Dictionary,
    scanner: &mut Scanner,
    left: &mut u64,
) -> Result<bool, Stop> {
    let size = source.size();
    let [first, second] = match source.array::<2>(at)? {
        Some(two) => two,
        None => return Ok(true),
    };
    let is_packed = first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
    if dictionary.objects && dictionary.is_hidden(is_packed) {
        return Ok(false);
    }
    if !is_packed {
        return Ok(true);
    }
    if !dictionary.objects {
        // Objects in a stream are preceded by their numbers and places. Names of streams may lie, numbers cannot.
        let mut start = Vec::new();
        inflate(source, at..size, Wrap::Zlib, PROBE_BYTES, |bytes| {
            start.extend_from_slice(bytes);
            Ok(())
        })?;
        let filled = start.iter().find(|byte| **byte != 0 && !byte.is_ascii_whitespace());
        if !filled.is_none_or(|byte| byte.is_ascii_digit() || *byte == b'%') {
            return Ok(true);
        }
    }
    let mut inner = scanner.within();
    let done = inflate(source, at..size, Wrap::Zlib, *left, |bytes| inner.push(bytes))?;
    *left -= done.unpacked;
    inner.finish()?;
    scanner.absorb(&inner);
    Ok(match done.ended {
        Ended::Complete => true,
        Ended::OverBudget => false,
        // Readers take what came before the damage.
        Ended::Broken => !dictionary.objects,
    })
}
