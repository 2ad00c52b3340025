//! Files made by code, good ones and hostile ones, so that none has to be kept.

pub(crate) mod office;
pub(crate) mod pdf;
pub(crate) mod picture;
pub(crate) mod zip;

use std::io::Write;

/// Deflates with zlib's header, as PNG and PDF do.
pub(crate) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// Deflates as zip does.
pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// One behind the other.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Replaces the first `from` by `to`.
pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(bytes, from).expect("what is to be replaced is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// One valid file of each kind that may pass, with a name to tell it by.
pub(crate) fn valid() -> Vec<(&'static str, inspect::Kind, Vec<u8>)> {
    use inspect::Kind;
    vec![
        ("pdf", Kind::Pdf, pdf::plain()),
        (
            "pdf-packed",
            Kind::Pdf,
            pdf::packed(b"1 0 2 40 <</Type/Catalog/Pages 2 0 R>> <</Type/Pages/Count 0>>"),
        ),
        ("jpeg", Kind::Jpeg, picture::jpeg(640, 480)),
        ("jpeg-gain-map", Kind::Jpeg, joined(&[&picture::jpeg(640, 480), &picture::jpeg(160, 120)])),
        (
            "jpeg-notes",
            Kind::Jpeg,
            joined(&[&picture::jpeg(640, 480), &picture::samsung_notes(b"Image_UTC_Data1767")]),
        ),
        ("png", Kind::Png, picture::png(40, 30)),
        ("gif", Kind::Gif, picture::gif(40, 30)),
        ("webp", Kind::Webp, picture::webp(40, 30)),
        ("heic", Kind::Heic, picture::heic(4032, 3024)),
        ("tiff", Kind::Tiff, picture::tiff(1700, 2200)),
        ("docx", Kind::Docx, office::docx("<w:p><w:r><w:t>电表</w:t></w:r></w:p>")),
        ("xlsx", Kind::Xlsx, office::xlsx("<row r=\"1\"><c r=\"A1\"><v>21</v></c></row>")),
        ("pptx", Kind::Pptx, office::pptx()),
        ("ofd", Kind::Ofd, office::ofd()),
        (
            "zip",
            Kind::Zip,
            zip::Zip::new().deflated("户号/notes.txt", b"hello\n").stored("b.txt", b"x").finish(),
        ),
        ("zip-described", Kind::Zip, zip::Zip::new().described("a.txt", b"hello hello hello").finish()),
        ("zip64", Kind::Zip, zip::zip64("a.txt", b"hello hello hello")),
        ("csv", Kind::Csv, "日期,电量\r\n2026-01-01,-3.5\r\n".into()),
        ("text", Kind::Text, "我的电表坏了。\n".into()),
        ("text-gb18030", Kind::Text, b"\xce\xd2\xb5\xc4\xb5\xe7\xb1\xed\n".to_vec()),
        ("xml", Kind::Xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<读数><值>3</值></读数>\n".into()),
    ]
}
