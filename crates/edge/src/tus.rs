//! What the headers of tus 1.0 say (<https://tus.io/protocols/resumable-upload>). Pure: text in, values out.
use data_encoding::BASE64;
use protocol::{FileId, ServiceRequestId, bounds::Text};

/// The one version of tus spoken here.
pub(crate) const VERSION: &str = "1.0.0";
/// The sums of `Upload-Checksum` that are known here.
pub(crate) const CHECKSUMS: &str = "sha1,sha256";
/// At most so many parts become one file.
const PARTS_MAX: usize = 64;

/// Why a header is not taken; its text is for who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// Not a number that fits.
    #[error("{0} is no number of bytes.")]
    Number(&'static str),
    /// An algorithm that is not known, or a sum that is none of it.
    #[error("Upload-Checksum is one of {CHECKSUMS} and the sum in base64.")]
    Checksum,
    /// Not a part, and not made of parts.
    #[error("Upload-Concat is `partial`, or `final;` and the addresses of its parts.")]
    Concat,
    /// A key that is read, with something else than what it may be.
    #[error("Upload-Metadata: {0} is not base64 of what it may be.")]
    Metadata(&'static str),
}

/// Whether `Tus-Resumable` asks for what is spoken here.
pub(crate) fn is_spoken(text: &str) -> bool {
    text == VERSION
}

/// `Upload-Length` and `Upload-Offset`: digits and nothing else. `name` is said where they are none.
///
/// # Errors
/// [`Wrong::Number`].
pub(crate) fn number(name: &'static str, text: &str) -> Result<u64, Wrong> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().ok_or(Wrong::Number(name))
}

/// What a portion's bytes must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Checksum {
    /// `Upload-Checksum: sha1 <base64>`
    ///
    /// # Errors
    /// [`Wrong::Checksum`].
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        let (algorithm, sum) = text.split_once(' ').ok_or(Wrong::Checksum)?;
        let sum = decode(sum).ok_or(Wrong::Checksum)?;
        match algorithm {
            "sha1" => sum.try_into().map(Checksum::Sha1).map_err(|_| Wrong::Checksum),
            "sha256" => sum.try_into().map(Checksum::Sha256).map_err(|_| Wrong::Checksum),
            _ => Err(Wrong::Checksum),
        }
    }
}

/// What an upload that does not stand by itself has to do with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Concat {
    /// It is a part of another.
    Part,
    /// It is made of these parts: 1 to [`PARTS_MAX`].
    Final(Vec<FileId>),
}

impl Concat {
    /// `Upload-Concat: partial`, or `final;` and the addresses of the parts.
    ///
    /// # Errors
    /// [`Wrong::Concat`].
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        if text == "partial" {
            return Ok(Concat::Part);
        }
        let named = text.strip_prefix("final;").ok_or(Wrong::Concat)?;
        let parts: Option<Vec<FileId>> = named
            .split_ascii_whitespace()
            .take(PARTS_MAX + 1)
            .map(|url| url.rsplit('/').next()?.parse().ok())
            .collect();
        match parts {
            Some(parts) if (1..=PARTS_MAX).contains(&parts.len()) => Ok(Concat::Final(parts)),
            _ => Err(Wrong::Concat),
        }
    }
}

/// What is read of `Upload-Metadata`; other keys are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The request the file comes with.
    pub(crate) request: Option<ServiceRequestId>,
    /// The customer's name for it.
    pub(crate) name: Option<Text<255>>,
}

impl Metadata {
    /// `Upload-Metadata: request <base64>,filename <base64>`
    ///
    /// # Errors
    /// [`Wrong::Metadata`].
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        let mut found = Metadata::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            match key {
                "request" => found.request = Some(value_of("request", value, |text| text.parse().ok())?),
                "filename" => found.name = Some(value_of("filename", value, |text| Text::new(text).ok())?),
                "name" => found.name = Some(value_of("name", value, |text| Text::new(text).ok())?),
                _ => {}
            }
        }
        Ok(found)
    }
}

fn value_of<T>(key: &'static str, value: &str, read: impl FnOnce(String) -> Option<T>) -> Result<T, Wrong> {
    let text = decode(value).and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(read).ok_or(Wrong::Metadata(key))
}

/// One value in base64. What decodes is several, one behind the other, where padding stands inside.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok().filter(|bytes| BASE64.encode(bytes) == text)
}

#[cfg(test)]
#[path = "../fuzz/harness.rs"]
mod harness;

#[cfg(test)]
#[path = "../../protocol/tests/it/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_near_the_corpus_are_refused_or_within_bounds() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/tus");
        super::corpus::replay(&corpus, harness::headers);
    }

    #[test]
    fn metadata_is_read_and_what_it_may_not_be_is_refused() {
        let id = ServiceRequestId::mint(protocol::Bucket::FIRST, 1 << 12);
        let of = |request: &str, name: &[u8]| {
            let (name, request) = (BASE64.encode(name), BASE64.encode(request.as_bytes()));
            Metadata::read(&format!("filename {name}, request {request},x"))
        };
        let found = of(&id.to_string(), "证明 ../..\\x.pdf".as_bytes()).unwrap();
        assert_eq!((found.request, found.name.as_deref()), (Some(id), Some("证明 ../..\\x.pdf")));
        assert_eq!(of("rq_nonsense", b"x"), Err(Wrong::Metadata("request")));
        for hostile in [&b"a\nb"[..], b"\x1b[2J", &[0xff, 0xfe], b"\xe2\x80\xaegnp.exe", &[b'x'; 256]] {
            assert_eq!(of(&id.to_string(), hostile), Err(Wrong::Metadata("filename")), "{hostile:?}");
        }
        assert!(Metadata::read("name ???").is_err());
        assert!(Metadata::read("name YQ==YQ==").is_err(), "two values for one");
    }

    /// Twenty bytes in pieces, each with its own padding.
    const INSIDE: &str = "sha1 K4dAdA==V4dAdA==dA==V4dAdA==dA0=Y4dAdA==dA==";

    #[test]
    fn lengths_parts_and_sums_are_checked() {
        assert_eq!(number("upload-length", "12"), Ok(12));
        for wrong in ["-1", "+1", "1e3", "", "99999999999999999999"] {
            assert_eq!(number("upload-length", wrong), Err(Wrong::Number("upload-length")), "{wrong}");
        }
        let id = FileId::mint(protocol::Bucket::FIRST, 1 << 12);
        assert_eq!(Concat::read("partial"), Ok(Concat::Part));
        let two = format!("final;/v1/files/{id} http://x/v1/files/{id}");
        assert_eq!(Concat::read(&two), Ok(Concat::Final(vec![id, id])));
        for wrong in
            ["", "final", "final;", "final;/v1/files/x", &format!("final;{}", format!("{id} ").repeat(65))]
        {
            assert!(Concat::read(wrong).is_err(), "{wrong}");
        }
        assert!(Checksum::read("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").is_ok());
        for wrong in ["sha1", "md5 Kq5s", "sha1 Kq5s", "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", INSIDE] {
            assert!(Checksum::read(wrong).is_err(), "{wrong}");
        }
    }
}
