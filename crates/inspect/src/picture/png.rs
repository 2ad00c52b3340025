//! PNG (ISO/IEC 15948): chunks, each with its length and checksum.

use std::io::{Read, Seek};

use super::{Canvas, broken, need};
use crate::Reason;
use crate::ending::nothing_after;
use crate::inflate::{Ended, Inflater, Wrap, inflate};
use crate::source::{Source, Stop};

const CHUNKS_MAX: u32 = 100_000;
/// What the texts and profiles of one picture may come to when unpacked: readers unpack them without asking.
const TEXT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Samples of a pixel take at most eight bytes, and each row has a byte more; interlaced, twice as many rows.
const PIXEL_BYTES_MAX: u64 = 8;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    let size = source.size();
    let mut at = 8;
    let mut text_left = TEXT_BYTES_MAX;
    let mut pixels: Option<Inflater> = None;
    for number in 0..CHUNKS_MAX {
        let head: [u8; 8] = need(source, at)?;
        let length = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        let name = [head[4], head[5], head[6], head[7]];
        let data = at + 8..at + 8 + length;
        // Checked before anything of it is read: a length is only a number.
        if length > 0x7fff_ffff || data.end + 4 > size || !name.iter().all(u8::is_ascii_alphabetic) {
            return Err(broken());
        }
        if (number == 0) != (name == *b"IHDR") {
            return Err(broken());
        }
        checksum(source, at + 4..data.end)?;
        match &name {
            b"IHDR" => {
                let header: [u8; 8] = need(source, data.start)?;
                let [a, b, c, d, e, f, g, h] = header;
                if length != 13 {
                    return Err(broken());
                }
                let (width, height) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                canvas.add(width.into(), height.into())?;
                let most = (u64::from(width) * PIXEL_BYTES_MAX + 8).saturating_mul(u64::from(height) + 8);
                pixels = Some(Inflater::new(Wrap::Zlib, most));
            }
            b"IDAT" => {
                let Some(inflater) = &mut pixels else { return Err(broken()) };
                source.each(data.clone(), |bytes| inflater.push(bytes, &mut |_| Ok(())).map(|_| ()))?;
            }
            b"zTXt" | b"iCCP" | b"iTXt" => text(source, &name, data.clone(), &mut text_left)?,
            b"IEND" => {
                return match pixels.map(|pixels| pixels.done().ended) {
                    Some(Ended::Complete) if length == 0 => nothing_after(source, data.end + 4),
                    Some(Ended::OverBudget) => Err(Stop::Refuse(Reason::PictureTooLarge)),
                    _ => Err(broken()),
                };
            }
            _ => {}
        }
        at = data.end + 4;
    }
    Err(broken())
}

fn checksum<F: Read + Seek>(source: &mut Source<'_, F>, range: std::ops::Range<u64>) -> Result<(), Stop> {
    let mut crc = crc32fast::Hasher::new();
    let end = range.end;
    source.each(range, |bytes| {
        crc.update(bytes);
        Ok(())
    })?;
    let told = u32::from_be_bytes(need(source, end)?);
    if told == crc.finalize() { Ok(()) } else { Err(broken()) }
}

/// Unpacks a text or a profile, within what is left for all of them.
fn text<F: Read + Seek>(
    source: &mut Source<'_, F>,
    name: &[u8; 4],
    data: std::ops::Range<u64>,
    left: &mut u64,
) -> Result<(), Stop> {
    let mut marks = crate::active::Marks::default();
    // A keyword of at most 79 bytes, a zero, then a method; in `iTXt` flags, a language and the keyword again.
    let head = source.up_to(data.start, 80)?;
    let Some(zero) = head.iter().position(|byte| *byte == 0) else { return Err(broken()) };
    let mut packed = data.start + zero as u64 + 2;
    if name == b"iTXt" {
        let [compressed] = need(source, data.start + zero as u64 + 1)?;
        if compressed == 0 {
            return Ok(());
        }
        packed += 1;
        let rest = source.up_to(packed, 4096)?;
        let mut zeros = memchr::memchr_iter(0, rest);
        let Some(second) = zeros.nth(1) else { return Err(broken()) };
        packed += second as u64 + 1;
    }
    if packed > data.end {
        return Err(broken());
    }
    let done =
        inflate(source, packed..data.end, Wrap::Zlib, *left, |bytes| marks.push(bytes, Reason::Polyglot))?;
    *left -= done.unpacked;
    match done.ended {
        Ended::Complete => Ok(()),
        Ended::OverBudget => Err(Stop::Refuse(Reason::PictureTooLarge)),
        Ended::Broken => Err(broken()),
    }
}
