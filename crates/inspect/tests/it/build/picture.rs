//! Pictures, as far as their structure goes.

use super::zlib;

pub(crate) fn jpeg(width: u16, height: u16) -> Vec<u8> {
    jpeg_with(width, height, b"")
}

/// With a comment.
pub(crate) fn jpeg_with(width: u16, height: u16, comment: &[u8]) -> Vec<u8> {
    let mut out = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    if !comment.is_empty() {
        out.extend_from_slice(&[0xff, 0xfe]);
        out.extend_from_slice(&(comment.len() as u16 + 2).to_be_bytes());
        out.extend_from_slice(comment);
    }
    out.extend_from_slice(&[0xff, 0xdb, 0, 67, 0]);
    out.extend_from_slice(&[1; 64]);
    out.extend_from_slice(&[0xff, 0xc0, 0, 11, 8]);
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&width.to_be_bytes());
    out.extend_from_slice(&[1, 1, 0x11, 0]);
    out.extend_from_slice(&[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    out.extend_from_slice(&[0x12, 0xff, 0x00, 0x34, 0xff, 0xd0, 0x56, 0xff, 0xd9]);
    out
}

/// The block of notes that Samsung's devices put behind a JPEG.
pub(crate) fn samsung_notes(note: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 0x01, 0x0a];
    out.extend_from_slice(&(note.len() as u32).to_le_bytes());
    out.extend_from_slice(note);
    let back = out.len() as u32;
    let mut list = b"SEFH\x6b\0\0\0\x01\0\0\0\0\0\x01\x0a".to_vec();
    list.extend_from_slice(&back.to_le_bytes());
    list.extend_from_slice(&back.to_le_bytes());
    out.extend_from_slice(&list);
    out.extend_from_slice(&(list.len() as u32).to_le_bytes());
    out.extend_from_slice(b"SEFT");
    out
}

pub(crate) fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    png_with(width, height, &[])
}

/// With chunks before the pixels.
pub(crate) fn png_with(width: u32, height: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    // Pixels that are not there would not matter to a test of the sides.
    let pixels = (u64::from(width) + 1) * u64::from(height);
    let pixels = zlib(&vec![0; usize::try_from(pixels.min(1 << 20)).unwrap()]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend_from_slice(&chunk(b"IHDR", &header));
    out.extend_from_slice(&chunks.concat());
    out.extend_from_slice(&chunk(b"IDAT", &pixels));
    out.extend_from_slice(&chunk(b"IEND", b""));
    out
}

pub(crate) fn gif(width: u16, height: u16) -> Vec<u8> {
    let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
    let mut out = b"GIF89a".to_vec();
    out.extend_from_slice(&sides);
    out.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    out.extend_from_slice(b"\x21\xfe\x05hello\0");
    out.extend_from_slice(&[0x2c, 0, 0, 0, 0]);
    out.extend_from_slice(&sides);
    out.extend_from_slice(&[0, 2, 2, 0x4c, 0x01, 0, 0x3b]);
    out
}

pub(crate) fn webp(width: u32, height: u32) -> Vec<u8> {
    let bits = (width - 1) | (height - 1) << 14;
    let data =
        [&[0x2f][..], &bits.to_le_bytes(), &[0x07, 0x10, 0x11, 0x11, 0x88, 0x88, 0x08, 0x08, 0x09]].concat();
    let chunk = [b"VP8L", &(data.len() as u32).to_le_bytes()[..], &data].concat();
    [b"RIFF", &(chunk.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunk].concat()
}

fn boxed(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32 + 8).to_be_bytes()[..], name, data].concat()
}

pub(crate) fn heic(width: u32, height: u32) -> Vec<u8> {
    let sides = |width: u32, height: u32| {
        boxed(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat())
    };
    let properties = boxed(b"iprp", &boxed(b"ipco", &[sides(512, 512), sides(width, height)].concat()));
    let meta = [&[0; 4][..], &boxed(b"hdlr", b"\0\0\0\0\0\0\0\0pict"), &properties].concat();
    [boxed(b"ftyp", b"heic\0\0\0\0mif1heic"), boxed(b"meta", &meta), boxed(b"mdat", &[7; 32])].concat()
}

pub(crate) fn tiff(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"II*\0\x0c\0\0\0\x01\x02\x03\x04\x03\0".to_vec();
    for (tag, value) in [(256u16, width), (257, height), (273, 8)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&[4, 0, 1, 0, 0, 0]);
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    out
}
