//! WebP: chunks in one RIFF whose length is the file's.

use std::io::{Read, Seek};

use super::{Canvas, broken, need};
use crate::ending::nothing_after;
use crate::source::{Source, Stop};

const CHUNKS_MAX: u32 = 20_000;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    let riff = u64::from(u32::from_le_bytes(need(source, 4)?)) + 8;
    if riff > source.size() {
        return Err(broken());
    }
    let mut at = 12;
    let mut pictures = 0u32;
    for _ in 0..CHUNKS_MAX {
        if at == riff {
            if pictures == 0 {
                return Err(broken());
            }
            return nothing_after(source, riff);
        }
        let head: [u8; 8] = need(source, at)?;
        let length = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let data = at + 8;
        // Chunks are padded to an even length.
        let next = data + length + length % 2;
        if next > riff {
            return Err(broken());
        }
        match &head[..4] {
            b"VP8X" => {
                let [_, _, _, _, w0, w1, w2, h0, h1, h2] = need(source, data)?;
                canvas.add(
                    u64::from(u32::from_le_bytes([w0, w1, w2, 0])) + 1,
                    u64::from(u32::from_le_bytes([h0, h1, h2, 0])) + 1,
                )?;
            }
            b"VP8 " => {
                let frame: [u8; 10] = need(source, data)?;
                // A key frame begins with this code and its sides.
                if length < 10 || frame[3..6] != [0x9d, 0x01, 0x2a] {
                    return Err(broken());
                }
                let side = |low, high| u64::from(u16::from_le_bytes([low, high]) & 0x3fff);
                canvas.add(side(frame[6], frame[7]), side(frame[8], frame[9]))?;
                pictures += 1;
            }
            b"VP8L" => {
                let [code, a, b, c, d] = need(source, data)?;
                if length < 5 || code != 0x2f {
                    return Err(broken());
                }
                let bits = u32::from_le_bytes([a, b, c, d]);
                canvas.add(u64::from(bits & 0x3fff) + 1, u64::from(bits >> 14 & 0x3fff) + 1)?;
                pictures += 1;
            }
            b"ANMF" => {
                // Frames of an animation, each with its sides and its own chunks within.
                let frame: [u8; 12] = need(source, data)?;
                if length < 16 {
                    return Err(broken());
                }
                canvas.add(
                    u64::from(u32::from_le_bytes([frame[6], frame[7], frame[8], 0])) + 1,
                    u64::from(u32::from_le_bytes([frame[9], frame[10], frame[11], 0])) + 1,
                )?;
                pictures += 1;
            }
            _ => {}
        }
        at = next;
    }
    Err(broken())
}
