//! Pictures that are too large, cut off, or something else as well.

use inspect::{Kind, Reason};

use crate::build::picture::{chunk, gif, heic, jpeg, jpeg_with, png, png_with, samsung_notes, tiff, webp};
use crate::build::{joined, pdf, replaced, zlib};
use crate::{for_a_person, refused};

const PHP: &[u8] = b"<?php system($_GET['c']); ?>";
const PAGE: &[u8] = b"<html><script>alert(1)</script>";

#[test]
fn a_picture_that_is_something_else_as_well_is_refused() {
    let text = |name: &[u8; 4], text: &[u8]| png_with(4, 4, &[chunk(name, text)]);
    let packed = |payload: &[u8]| [b"Comment\0\0", zlib(payload).as_slice()].concat();
    let gif_js = replaced(&gif(40, 30), b"GIF89a\x28\0", b"GIF89a/*");
    let jpeg_js = replaced(&jpeg(4, 4), b"\xff\xe0\0\x10", b"\xff\xe0/*");
    refused(vec![
        ("JPEG, then a page", joined(&[&jpeg(4, 4), PAGE]), Kind::Jpeg, Some(Reason::Polyglot)),
        ("JPEG with a page in a comment", jpeg_with(4, 4, PAGE), Kind::Jpeg, Some(Reason::Polyglot)),
        ("JPEG with PHP in a comment", jpeg_with(4, 4, PHP), Kind::Jpeg, Some(Reason::Polyglot)),
        ("JPEG with PDF in a comment", jpeg_with(4, 4, &pdf::plain()), Kind::Jpeg, Some(Reason::Polyglot)),
        (
            "JPEG, then a program",
            joined(&[&jpeg(4, 4), b"MZ\x90\0\x03\0\0\0"]),
            Kind::Jpeg,
            Some(Reason::Polyglot),
        ),
        ("JPEG, then RAR", joined(&[&jpeg(4, 4), b"Rar!\x1a\x07\x01\0"]), Kind::Jpeg, Some(Reason::Polyglot)),
        ("JPEG that is a script's comment", jpeg_js, Kind::Jpeg, Some(Reason::Polyglot)),
        (
            "JPEG with notes that hold a program",
            { joined(&[&jpeg(4, 4), &samsung_notes(b"\x7fELF\x02\x01\x01")]) },
            Kind::Jpeg,
            Some(Reason::Polyglot),
        ),
        ("GIF that is a script's comment", gif_js, Kind::Gif, Some(Reason::Polyglot)),
        (
            "GIF, then a script",
            joined(&[&gif(4, 4), b"*/=1;alert(1)//"]),
            Kind::Gif,
            Some(Reason::TrailingData),
        ),
        (
            "GIF that is nothing but a script",
            b"GIF89a=1;alert(1)".to_vec(),
            Kind::Gif,
            Some(Reason::Polyglot),
        ),
        (
            "PNG with PHP in its text",
            text(b"tEXt", &[b"Comment\0", PHP].concat()),
            Kind::Png,
            Some(Reason::Polyglot),
        ),
        ("PNG with PHP in its packed text", text(b"zTXt", &packed(PHP)), Kind::Png, Some(Reason::Polyglot)),
        ("PNG with PHP in a chunk of its own", text(b"phPp", PHP), Kind::Png, Some(Reason::Polyglot)),
        ("PNG, then PHP", joined(&[&png(4, 4), PHP]), Kind::Png, Some(Reason::Polyglot)),
        ("PNG, then PDF", joined(&[&png(4, 4), &pdf::plain()]), Kind::Png, Some(Reason::Polyglot)),
        ("WebP, then a page", joined(&[&webp(4, 4), PAGE]), Kind::Webp, Some(Reason::Polyglot)),
        ("HEIC, then a page", joined(&[&heic(4, 4), PAGE]), Kind::Heic, Some(Reason::PictureBroken)),
    ]);
}

#[test]
fn data_behind_a_picture_is_refused() {
    let noise = [0x81; 100];
    refused(vec![
        ("JPEG", joined(&[&jpeg(4, 4), &noise]), Kind::Jpeg, Some(Reason::TrailingData)),
        ("PNG", joined(&[&png(4, 4), &noise]), Kind::Png, Some(Reason::TrailingData)),
        ("GIF", joined(&[&gif(4, 4), &noise]), Kind::Gif, Some(Reason::TrailingData)),
        ("WebP", joined(&[&webp(4, 4), &noise]), Kind::Webp, Some(Reason::TrailingData)),
        ("JPEG with padding", joined(&[&jpeg(4, 4), &[0; 4000]]), Kind::Jpeg, None),
        ("PNG with a line's end", joined(&[&png(4, 4), b"\r\n"]), Kind::Png, None),
    ]);
    let film = joined(&[&jpeg(4, 4), b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"]);
    let notes = joined(&[&jpeg(4, 4), &samsung_notes(&vec![1; 300_000])]);
    for_a_person(vec![
        ("a photo that moves", film, Kind::Jpeg, Reason::TrailingData),
        ("a film among the notes", notes, Kind::Jpeg, Reason::TrailingData),
    ]);
}

#[test]
fn sides_and_pixels_are_bounded() {
    let large = Some(Reason::PictureTooLarge);
    refused(vec![
        ("JPEG", jpeg(65_535, 65_535), Kind::Jpeg, large),
        ("JPEG, a long strip", jpeg(31_000, 1), Kind::Jpeg, large),
        ("PNG of 2^62 pixels", png(0x7fff_ffff, 0x7fff_ffff), Kind::Png, large),
        ("GIF", gif(65_535, 65_535), Kind::Gif, large),
        ("WebP", webp(16_384, 16_384), Kind::Webp, large),
        ("HEIC", heic(u32::MAX, u32::MAX), Kind::Heic, large),
        ("TIFF", tiff(u32::MAX, 1), Kind::Tiff, large),
        ("JPEG without a side", jpeg(0, 4), Kind::Jpeg, Some(Reason::PictureBroken)),
        (
            "two halves are a whole",
            joined(&[&jpeg(15_000, 10_000), &jpeg(15_000, 10_000)]),
            Kind::Jpeg,
            large,
        ),
        (
            "PNG with a text that grows",
            {
                let text = [b"Comment\0\0", zlib(&vec![b'x'; 9 << 20]).as_slice()].concat();
                png_with(4, 4, &[chunk(b"zTXt", &text)])
            },
            Kind::Png,
            large,
        ),
        (
            "PNG with more pixels than it says",
            {
                replaced(
                    &png(4, 4),
                    &chunk(b"IDAT", &zlib(&[0; 20])),
                    &chunk(b"IDAT", &zlib(&vec![0; 1 << 20])),
                )
            },
            Kind::Png,
            large,
        ),
    ]);
}

#[test]
fn lengths_that_lie_are_refused() {
    let broken = Some(Reason::PictureBroken);
    let length = |value: u32| {
        let end = [&0u32.to_be_bytes()[..], b"IEND"].concat();
        replaced(&png(4, 4), &end, &[&value.to_be_bytes()[..], b"IEND"].concat())
    };
    let mut riff = webp(4, 4);
    riff[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut box_64 = heic(4, 4);
    let at = box_64.len() - 40;
    box_64[at..at + 4].copy_from_slice(&1u32.to_be_bytes());
    box_64[at + 8..at + 16].copy_from_slice(&(1u64 << 36).to_be_bytes());
    let mut circle = tiff(4, 4);
    let end = circle.len() - 4;
    circle[end..].copy_from_slice(&12u32.to_le_bytes());
    let mut far = tiff(4, 4);
    far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(vec![
        ("PNG chunk of 2^31", length(0x8000_0000), Kind::Png, broken),
        ("PNG chunk of 2^32 - 1", length(u32::MAX), Kind::Png, broken),
        ("PNG chunk beyond the end", length(1000), Kind::Png, broken),
        ("PNG with a wrong checksum", replaced(&png(4, 4), b"IEND\xae", b"IEND\xaf"), Kind::Png, broken),
        (
            "PNG without pixels",
            replaced(&png(4, 4), &chunk(b"IDAT", &zlib(&[0; 20])), b""),
            Kind::Png,
            broken,
        ),
        (
            "JPEG segment beyond the end",
            replaced(&jpeg(4, 4), b"\xff\xdb\0\x43", b"\xff\xdb\xff\xff"),
            Kind::Jpeg,
            broken,
        ),
        (
            "JPEG segment of no length",
            replaced(&jpeg(4, 4), b"\xff\xdb\0\x43", b"\xff\xdb\0\0"),
            Kind::Jpeg,
            broken,
        ),
        ("WebP of 4 GB", riff, Kind::Webp, broken),
        ("HEIC box of 2^36", box_64, Kind::Heic, broken),
        ("TIFF directory in a circle", circle, Kind::Tiff, broken),
        ("TIFF directory beyond the end", far, Kind::Tiff, broken),
    ]);
}

#[test]
fn pictures_cut_off_anywhere_are_refused() {
    for (bytes, kind) in [
        (jpeg(40, 30), Kind::Jpeg),
        (png(40, 30), Kind::Png),
        (gif(40, 30), Kind::Gif),
        (webp(40, 30), Kind::Webp),
        (heic(40, 30), Kind::Heic),
    ] {
        for end in 16..bytes.len() {
            refused(vec![("cut off", bytes[..end].to_vec(), kind, Some(Reason::PictureBroken))]);
        }
    }
}
