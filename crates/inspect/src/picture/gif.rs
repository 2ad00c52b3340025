//! GIF (89a): blocks until the trailer.

use std::io::{Read, Seek};

use super::{Canvas, broken, need};
use crate::ending::nothing_after;
use crate::source::{Source, Stop};

const BLOCKS_MAX: u32 = 20_000;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    let screen: [u8; 13] = need(source, 0)?;
    let width = u16::from_le_bytes([screen[6], screen[7]]);
    let height = u16::from_le_bytes([screen[8], screen[9]]);
    canvas.add(width.into(), height.into())?;
    let mut at = 13 + colours(screen[10]);
    let mut frames = 0u32;
    for _ in 0..BLOCKS_MAX {
        let [block] = need(source, at)?;
        match block {
            0x2c => {
                let frame: [u8; 10] = need(source, at)?;
                canvas.add(
                    u16::from_le_bytes([frame[5], frame[6]]).into(),
                    u16::from_le_bytes([frame[7], frame[8]]).into(),
                )?;
                frames += 1;
                // A byte with the code size stands before the data.
                at = after_pieces(source, at + 10 + colours(frame[9]) + 1)?;
            }
            0x21 => at = after_pieces(source, at + 2)?,
            0x3b if frames > 0 => return nothing_after(source, at + 1),
            _ => return Err(broken()),
        }
    }
    Err(broken())
}

/// The bytes of a colour table.
fn colours(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Skips pieces of at most 255 bytes until the empty one.
fn after_pieces<F: Read + Seek>(source: &mut Source<'_, F>, mut at: u64) -> Result<u64, Stop> {
    loop {
        let [length] = need(source, at)?;
        at += 1 + u64::from(length);
        if length == 0 {
            return Ok(at);
        }
    }
}
