//! TIFF 6.0: directories that point at each other and at the data.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use super::{Canvas, broken, need};
use crate::source::{Source, Stop};

const PAGES_MAX: usize = 256;
const FIELDS_MAX: u16 = 512;

pub(super) fn check<F: Read + Seek>(source: &mut Source<'_, F>, canvas: &mut Canvas<'_>) -> Result<(), Stop> {
    let [order, ..]: [u8; 2] = need(source, 0)?;
    let little = order == b'I';
    let short = |bytes: [u8; 2]| if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    let long = |bytes: [u8; 4]| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };

    let mut next = u64::from(long(need(source, 4)?));
    let mut seen = BTreeSet::new();
    while next != 0 {
        // A directory that was seen closes a circle.
        if !seen.insert(next) || seen.len() > PAGES_MAX {
            return Err(broken());
        }
        let count = short(need(source, next)?);
        if count == 0 || count > FIELDS_MAX {
            return Err(broken());
        }
        let (mut width, mut height) = (0, 0);
        for index in 0..u64::from(count) {
            let field: [u8; 12] = need(source, next + 2 + index * 12)?;
            let tag = short([field[0], field[1]]);
            let kind = short([field[2], field[3]]);
            let values = u64::from(long([field[4], field[5], field[6], field[7]]));
            let bytes = values
                * match kind {
                    1 | 2 | 6 | 7 => 1,
                    3 | 8 => 2,
                    4 | 9 | 11 | 13 => 4,
                    5 | 10 | 12 => 8,
                    _ => return Err(broken()),
                };
            let value = long([field[8], field[9], field[10], field[11]]);
            if bytes > 4 && u64::from(value) + bytes > source.size() {
                return Err(broken());
            }
            let single = if kind == 3 { short([field[8], field[9]]).into() } else { value };
            match tag {
                256 => width = single,
                257 => height = single,
                _ => {}
            }
        }
        canvas.add(width.into(), height.into())?;
        next = u64::from(long(need(source, next + 2 + u64::from(count) * 12)?));
    }
    Ok(())
}
