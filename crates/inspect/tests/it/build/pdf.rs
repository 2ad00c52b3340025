//! PDF files.

use super::zlib;

/// A file with these objects behind the catalogue, which gets `catalog` added.
pub(crate) fn with(catalog: &str, objects: &[&[u8]]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let first = format!("<</Type/Catalog/Pages 2 0 R{catalog}>>");
    let own: [&[u8]; 2] = [first.as_bytes(), b"<</Type/Pages/Count 0/Kids[]>>"];
    let mut places = Vec::new();
    for (index, object) in own.iter().chain(objects).enumerate() {
        places.push(out.len());
        out.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
        out.extend_from_slice(object);
        out.extend_from_slice(b"\nendobj\n");
    }
    let table = out.len();
    out.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).as_bytes());
    for place in &places {
        out.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer = format!("trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", places.len() + 1);
    out.extend_from_slice(trailer.as_bytes());
    out
}

pub(crate) fn plain() -> Vec<u8> {
    with("/OpenAction[3 0 R/Fit]", &[&stream("", b"BT (/JavaScripts are fine) Tj ET")])
}

/// A stream object: what is added to its dictionary, and its data as it stands.
pub(crate) fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("<<{dictionary}/Length {}>>\nstream\r\n", data.len());
    [head.as_bytes(), data, b"\nendstream"].concat()
}

/// A file with these objects packed into an object stream.
pub(crate) fn packed(objects: &[u8]) -> Vec<u8> {
    with("", &[&stream("/Type/ObjStm/N 2/First 10/Filter/FlateDecode", &zlib(objects))])
}
