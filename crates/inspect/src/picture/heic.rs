//! HEIF (ISO/IEC 23008-12): boxes in boxes; the sides of each picture stand in `meta/iprp/ipco/ispe`.

use std::io::{Read, Seek};
use std::ops::Range;

use super::{Canvas, broken, need};
use crate::source::{Source, Stop};

/// Boxes looked at, on all levels together.
const BOXES_MAX: u32 = 20_000;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    // What is still to be walked; nothing calls itself.
    let mut open: Vec<Range<u64>> = Vec::new();
    open.push(0..source.size());
    let mut left = BOXES_MAX;
    let (mut largest, mut filled) = ((0u64, 0u64), false);
    while let Some(range) = open.pop() {
        let mut at = range.start;
        while at < range.end {
            left = left.checked_sub(1).ok_or_else(broken)?;
            let head: [u8; 8] = need(source, at)?;
            let (mut begin, mut length) =
                (at + 8, u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]])));
            if length == 1 {
                length = u64::from_be_bytes(need(source, at + 8)?);
                begin += 8;
            }
            // A length of zero means "to the end", which would swallow whatever was put there.
            let Some(end) = at.checked_add(length).filter(|end| begin <= *end && *end <= range.end) else {
                return Err(broken());
            };
            match &head[4..] {
                b"meta" => open.push((begin + 4).min(end)..end),
                b"iprp" | b"ipco" => open.push(begin..end),
                b"mdat" | b"idat" => filled = true,
                b"ispe" => {
                    let [_, _, _, _, a, b, c, d, e, f, g, h] = need(source, begin)?;
                    let (width, height) =
                        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                    // Tiles, previews and the whole have one each: what counts is the whole.
                    if u64::from(width) * u64::from(height) > largest.0.saturating_mul(largest.1) {
                        largest = (width.into(), height.into());
                    }
                }
                // Films, and whatever no photo holds.
                b"moov" | b"moof" => return Err(broken()),
                name if range.start == 0
                    && !name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') =>
                {
                    return Err(broken());
                }
                _ => {}
            }
            at = end;
        }
    }
    if filled { canvas.add(largest.0, largest.1) } else { Err(broken()) }
}
