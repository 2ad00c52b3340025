//! Which kind a file is, by its first bytes.

use std::io::{Read, Seek};

use crate::source::{Source, Stop};
use crate::{Kind, active, text};

/// Bytes that are enough to tell a kind.
pub(crate) const HEAD: usize = 4096;

struct Magic {
    at: usize,
    bytes: &'static [u8],
    kind: Kind,
}

impl Magic {
    fn is_word(&self) -> bool {
        let refused =
            matches!(self.kind, Kind::Executable | Kind::OtherArchive | Kind::Media | Kind::Unknown);
        refused && self.bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
    }
}

const fn at(at: usize, bytes: &'static [u8], kind: Kind) -> Magic {
    Magic { at, bytes, kind }
}

/// The first that fits decides.
const MAGIC: &[Magic] = &[
    at(0, b"\x89PNG\r\n\x1a\n", Kind::Png),
    at(0, b"\xff\xd8\xff", Kind::Jpeg),
    at(0, b"GIF87a", Kind::Gif),
    at(0, b"GIF89a", Kind::Gif),
    at(0, b"II*\0", Kind::Tiff),
    at(0, b"MM\0*", Kind::Tiff),
    at(0, b"PK\x03\x04", Kind::Zip),
    at(0, b"PK\x05\x06", Kind::Zip),
    at(0, b"PK\x07\x08", Kind::OtherArchive),
    at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Ole),
    at(0, b"{\\rtf", Kind::Rtf),
    at(0, b"Rar!\x1a\x07", Kind::Rar),
    at(0, b"RE~^", Kind::Rar),
    at(0, b"7z\xbc\xaf\x27\x1c", Kind::SevenZip),
    at(0, b"\x1f\x8b", Kind::Gzip),
    at(0, b"\x1f\x9d", Kind::OtherArchive),
    at(0, b"BZh", Kind::OtherArchive),
    at(0, b"\xfd7zXZ\0", Kind::OtherArchive),
    at(0, b"\x28\xb5\x2f\xfd", Kind::OtherArchive),
    at(0, b"\x04\x22\x4d\x18", Kind::OtherArchive),
    at(0, b"MSCF", Kind::OtherArchive),
    at(0, b"ISc(", Kind::OtherArchive),
    at(0, b"ITSF", Kind::OtherArchive),
    at(0, b"SZDD\x88\xf0\x27\x33", Kind::OtherArchive),
    at(0, b"KWAJ\x88\xf0\x27\xd1", Kind::OtherArchive),
    at(0, b"\x60\xea", Kind::OtherArchive),
    at(0, b"070701", Kind::OtherArchive),
    at(0, b"070702", Kind::OtherArchive),
    at(0, b"070707", Kind::OtherArchive),
    at(0, b"\xc7\x71", Kind::OtherArchive),
    at(0, b"\x71\xc7", Kind::OtherArchive),
    at(0, b"!<arch>\n", Kind::OtherArchive),
    at(0, b"xar!", Kind::OtherArchive),
    at(2, b"-lh", Kind::OtherArchive),
    at(0, b"**ACE**", Kind::OtherArchive),
    at(7, b"**ACE**", Kind::OtherArchive),
    at(0, b"LZIP", Kind::OtherArchive),
    at(0, b"hsqs", Kind::OtherArchive),
    at(0, b"QFI\xfb", Kind::OtherArchive),
    at(0, b"conectix", Kind::OtherArchive),
    at(0, b"vhdxfile", Kind::OtherArchive),
    at(0, b"\x78\x9f\x3e\x22", Kind::Mime),
    at(257, b"ustar", Kind::OtherArchive),
    at(0, b"MZ", Kind::Executable),
    at(0, b"ZM", Kind::Executable),
    at(0, b"\x7fELF", Kind::Executable),
    at(0, b"\xca\xfe\xba\xbe", Kind::Executable),
    at(0, b"\xfe\xed\xfa\xce", Kind::Executable),
    at(0, b"\xfe\xed\xfa\xcf", Kind::Executable),
    at(0, b"\xce\xfa\xed\xfe", Kind::Executable),
    at(0, b"\xcf\xfa\xed\xfe", Kind::Executable),
    at(0, b"\0asm", Kind::Executable),
    at(0, b"dex\n", Kind::Executable),
    at(0, b"L\0\0\0\x01\x14\x02\0", Kind::Executable),
    at(0, b"FWS", Kind::Executable),
    at(0, b"CWS", Kind::Executable),
    at(0, b"ZWS", Kind::Executable),
    at(0, b"!BDN", Kind::Mime),
    at(0, b"ID3", Kind::Media),
    at(0, b"OggS", Kind::Media),
    at(0, b"fLaC", Kind::Media),
    at(0, b"#!AMR", Kind::Media),
    at(0, b"\x1a\x45\xdf\xa3", Kind::Media),
    at(0, b"FLV\x01", Kind::Media),
    at(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind::Media),
    at(0, b"AC10", Kind::Unknown),
    at(0, b"8BPS", Kind::Unknown),
];

/// The brands of HEIF files coded with HEVC.
const HEIC_BRANDS: &[&[u8; 4]] = &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];

/// The beginnings of programs and shortcuts that are text, in lower case.
const SCRIPTS: &[&[u8]] = &[
    b"#!",
    b"%!ps",
    b"@echo",
    b"<?php",
    b"<%",
    b"<job",
    b"<package",
    b"[internetshortcut]",
    b"[autorun]",
    b"[desktop entry]",
    b"[shell]",
    b"windows registry editor",
    b"regedit4",
    b"id;p",
];

/// Lines of messages that carry files, in lower case.
const MIME: &[&[u8]] = &[
    b"mime-version:",
    b"content-transfer-encoding:",
    b"content-disposition:",
    b"begin 6",
    b"begin 7",
    b"(this file must be converted with binhex",
];

/// The kind of a whole file.
pub(crate) fn whole<F: Read + Seek>(source: &mut Source<'_, F>) -> Result<Kind, Stop> {
    let size = source.size();
    let head = source.up_to(0, HEAD)?;
    Ok(of_head(head, head.len() as u64 == size))
}

/// The kind of what begins with `head`, which is `whole` where nothing follows. Documents that are zip files are `zip`.
pub(crate) fn of_head(head: &[u8], whole: bool) -> Kind {
    let can_be_text = text::can_be(head);
    let fits = |magic: &&Magic| {
        head.get(magic.at..).is_some_and(|rest| rest.starts_with(magic.bytes))
            // A text may well begin with `MZ` or `070701`; the formats that do are binary soon after.
            && !(can_be_text && magic.is_word())
    };
    if let Some(magic) = MAGIC.iter().find(fits) {
        return magic.kind;
    }
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => return Kind::Webp,
        [b'R', b'I', b'F', b'F', ..] => return Kind::Media,
        [0xff, second, ..] if second & 0xe0 == 0xe0 && *second != 0xfe => return Kind::Media,
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            let brand = brand.get(..4).unwrap_or_default();
            return if HEIC_BRANDS.iter().any(|heic| *heic == brand) { Kind::Heic } else { Kind::Media };
        }
        _ => {}
    }
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if start.starts_with(b"%PDF-") {
        return Kind::Pdf;
    }
    if !can_be_text {
        return Kind::Unknown;
    }
    let begins = |with: &[&[u8]]| {
        with.iter().any(|with| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with)))
    };
    if begins(SCRIPTS) {
        return Kind::Script;
    }
    let is_mime = |line: &[u8]| {
        MIME.iter().any(|mark| line.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark)))
    };
    if head.split(|byte| *byte == b'\n').any(is_mime) {
        return Kind::Mime;
    }
    if begins(&[b"<svg"]) {
        return Kind::Svg;
    }
    if start.starts_with(b"<?xml") {
        return root_of(start);
    }
    // XML may also begin with a document type, and without any declaration at all.
    let doctype = start.get(..9).filter(|word| word.eq_ignore_ascii_case(b"<!doctype")).map(|_| &start[9..]);
    if doctype.is_some_and(|rest| !rest.trim_ascii_start().get(..4).is_some_and(is_html)) {
        return Kind::Xml;
    }
    if active::mark_at(start) || is_fragment(start) {
        return Kind::Html;
    }
    let closes = [&b"</"[..], b"/>"].iter().any(|end| memchr::memmem::find(start, end).is_some());
    if closes
        && ([&b"<!--"[..], b"<?"].iter().any(|begin| start.starts_with(begin))
            || matches!(start, [b'<', c, ..] if c.is_ascii_alphabetic() || *c >= 0x80))
    {
        return root_of(start);
    }
    if text::is_table(head, whole) { Kind::Csv } else { Kind::Text }
}

fn is_html(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"html")
}

/// Whether it begins with an element of a page: browsers need no more to take it for one.
fn is_fragment(start: &[u8]) -> bool {
    const ELEMENTS: &[&str] = &[
        "a", "b", "base", "body", "br", "button", "center", "div", "font", "form", "frameset", "h1", "h2",
        "head", "hr", "html", "i", "iframe", "img", "input", "link", "meta", "p", "pre", "script", "span",
        "style", "table", "template", "title", "video",
    ];
    let Some(rest) = start.strip_prefix(b"<") else { return false };
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let ends = rest.get(end).is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
    ends && ELEMENTS.iter().any(|element| rest[..end].eq_ignore_ascii_case(element.as_bytes()))
}

/// XML may be a page or a drawing.
fn root_of(start: &[u8]) -> Kind {
    let mut rest = start;
    while let Some(at) = memchr::memchr(b'<', rest) {
        rest = &rest[at + 1..];
        match rest {
            [b'!', b'-', b'-', ..] => {
                let end = memchr::memmem::find(rest, b"-->").unwrap_or(rest.len());
                rest = &rest[end..];
            }
            [b'?' | b'!', ..] => {}
            _ => {
                let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b':');
                let name = &rest[..end.unwrap_or(rest.len())];
                let local = name.rsplit(|byte| *byte == b':').next().unwrap_or_default();
                return match local.to_ascii_lowercase().as_slice() {
                    b"svg" => Kind::Svg,
                    b"html" => Kind::Html,
                    _ => Kind::Xml,
                };
            }
        }
    }
    Kind::Xml
}
