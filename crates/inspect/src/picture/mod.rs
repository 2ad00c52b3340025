//! Pictures: walked through their parts from the first byte to the last, never decoded.

use std::io::{Read, Seek};

use crate::active::Marks;
use crate::source::{Source, Stop};
use crate::{Kind, PictureRules, Reason};

mod gif;
mod heic;
mod jpeg;
mod png;
mod tiff;
mod webp;

/// Counts the pixels of all pictures in a file.
struct Canvas<'a> {
    rules: &'a PictureRules,
    pixels: u64,
}

impl Canvas<'_> {
    fn add(&mut self, width: u64, height: u64) -> Result<(), Stop> {
        if width == 0 || height == 0 {
            return Err(broken());
        }
        self.pixels = self.pixels.saturating_add(width.saturating_mul(height));
        let side = u64::from(self.rules.side_max);
        if width > side || height > side || self.pixels > self.rules.pixels_max {
            return Err(Stop::Refuse(Reason::PictureTooLarge));
        }
        Ok(())
    }
}

fn broken() -> Stop {
    Stop::Refuse(Reason::PictureBroken)
}

/// The bytes that must be there.
fn need<F: Read + Seek, const N: usize>(source: &mut Source<'_, F>, at: u64) -> Result<[u8; N], Stop> {
    source.array(at)?.ok_or_else(broken)
}

/// Walks a picture.
pub(crate) fn check<F: Read + Seek>(
    source: &mut Source<'_, F>,
    kind: Kind,
    rules: &PictureRules,
) -> Result<(), Stop> {
    let canvas = &mut Canvas { rules, pixels: 0 };
    match kind {
        Kind::Jpeg => jpeg::check(source, canvas)?,
        Kind::Png => png::check(source, canvas)?,
        Kind::Gif => gif::check(source, canvas)?,
        Kind::Webp => webp::check(source, canvas)?,
        Kind::Heic => heic::check(source, canvas)?,
        _ => tiff::check(source, canvas)?,
    }
    if canvas.pixels == 0 {
        return Err(broken());
    }
    // A page or a server's code fits into a comment, a profile, or pixels chosen for it.
    let mut marks = Marks::default();
    let size = source.size();
    source.each(0..size, |bytes| marks.push(bytes, Reason::Polyglot))
}
