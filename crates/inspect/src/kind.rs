//! What a file is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether the rules may allow a kind at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// May stand in `allowed`.
    MayPass,
    /// Is recognised only to say what was refused.
    RefusedOnly,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $extension:literal $media:literal $use:ident,)*) => {
        /// What a file is, judged by its content alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The stable name, as settings and records write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The media type to serve a file of this kind under.
            pub const fn media_type(self) -> &'static str {
                match self { $(Self::$kind => $media,)* }
            }

            /// The usual ending of its name, without the dot.
            pub const fn extension(self) -> &'static str {
                match self { $(Self::$kind => $extension,)* }
            }

            const fn usage(self) -> Use {
                match self { $(Self::$kind => Use::$use,)* }
            }
        }
    };
}

kinds! {
    /// Portable Document Format.
    Pdf "pdf" "pdf" "application/pdf" MayPass,
    /// JPEG picture, one or several in a file as cameras write them.
    Jpeg "jpeg" "jpg" "image/jpeg" MayPass,
    /// PNG picture.
    Png "png" "png" "image/png" MayPass,
    /// WebP picture.
    Webp "webp" "webp" "image/webp" MayPass,
    /// HEIF picture coded with HEVC, as phones take it.
    Heic "heic" "heic" "image/heic" MayPass,
    /// GIF picture.
    Gif "gif" "gif" "image/gif" MayPass,
    /// TIFF picture.
    Tiff "tiff" "tif" "image/tiff" MayPass,
    /// Word document without macros (ECMA-376).
    Docx "docx" "docx" "application/vnd.openxmlformats-officedocument.wordprocessingml.document" MayPass,
    /// Excel workbook without macros (ECMA-376).
    Xlsx "xlsx" "xlsx" "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" MayPass,
    /// PowerPoint presentation without macros (ECMA-376).
    Pptx "pptx" "pptx" "application/vnd.openxmlformats-officedocument.presentationml.presentation" MayPass,
    /// Open fixed-layout document (OFD, GB/T 33190), the format of China's electronic invoices.
    Ofd "ofd" "ofd" "application/ofd" MayPass,
    /// Zip archive that is none of the documents above.
    Zip "zip" "zip" "application/zip" MayPass,
    /// Table as text: commas, semicolons or tabs.
    Csv "csv" "csv" "text/csv" MayPass,
    /// Plain text.
    Text "text" "txt" "text/plain" MayPass,
    /// XML without document type.
    Xml "xml" "xml" "application/xml" MayPass,
    /// Program for a machine: Windows, Linux, macOS, Java, Android, WebAssembly.
    Executable "executable" "bin" "application/octet-stream" RefusedOnly,
    /// Program as text: shell, batch, PHP, PostScript, shortcuts.
    Script "script" "txt" "application/octet-stream" RefusedOnly,
    /// HTML page.
    Html "html" "txt" "application/octet-stream" RefusedOnly,
    /// SVG drawing, which can hold scripts.
    Svg "svg" "txt" "application/octet-stream" RefusedOnly,
    /// Office document with macros (docm, xlsm, pptm and their templates).
    OfficeMacro "office-macro" "bin" "application/octet-stream" RefusedOnly,
    /// Other office document: templates, slide shows, binary workbooks, OpenDocument, XPS, EPUB.
    OfficeOther "office-other" "bin" "application/octet-stream" RefusedOnly,
    /// OLE compound file: Word, Excel and PowerPoint before 2007, encrypted documents, messages, installers.
    Ole "ole" "bin" "application/octet-stream" RefusedOnly,
    /// Rich Text Format, which can embed objects.
    Rtf "rtf" "bin" "application/octet-stream" RefusedOnly,
    /// Message or page archive in MIME.
    Mime "mime" "bin" "application/octet-stream" RefusedOnly,
    /// RAR archive.
    Rar "rar" "bin" "application/octet-stream" RefusedOnly,
    /// 7z archive.
    SevenZip "seven-zip" "bin" "application/octet-stream" RefusedOnly,
    /// Gzip, with or without a tar inside.
    Gzip "gzip" "bin" "application/octet-stream" RefusedOnly,
    /// Any other archive, compressed file or disk image.
    OtherArchive "other-archive" "bin" "application/octet-stream" RefusedOnly,
    /// Sound or video.
    Media "media" "bin" "application/octet-stream" RefusedOnly,
    /// None of the above.
    Unknown "unknown" "bin" "application/octet-stream" RefusedOnly,
}

impl Kind {
    /// Whether rules may allow this kind. The others are recognised only to say what was refused.
    pub fn may_pass(self) -> bool {
        self.usage() == Use::MayPass
    }

    /// A container of other files.
    pub(crate) fn is_archive(self) -> bool {
        use Kind::{
            Docx, Gzip, Ofd, OfficeMacro, OfficeOther, Ole, OtherArchive, Pptx, Rar, SevenZip, Xlsx, Zip,
        };
        const ARCHIVES: &[Kind] =
            &[Docx, Xlsx, Pptx, Ofd, Zip, OfficeMacro, OfficeOther, Ole, Rar, SevenZip, Gzip, OtherArchive];
        ARCHIVES.contains(&self)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no kind's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such kind of file")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_in_all_three_forms() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!("exe".parse::<Kind>(), Err(UnknownKind));
        assert_eq!("PDF".parse::<Kind>(), Err(UnknownKind));
    }

    #[test]
    fn what_is_only_refused_is_never_served_as_itself() {
        for kind in Kind::ALL.iter().filter(|kind| !kind.may_pass()) {
            assert_eq!(kind.media_type(), "application/octet-stream", "{kind}");
        }
    }
}
