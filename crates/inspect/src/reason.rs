//! Why a file does not simply pass.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($reason:ident $name:literal $text:literal $advice:literal,)*) => {
        /// Why a file is refused or needs a person.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $(#[doc = $text] $reason,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The stable code, as records and answers carry it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }

            /// What the customer can do, in one sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$reason => $advice,)* }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$reason => $text,)* })
            }
        }
    };
}

reasons! {
    Empty "empty"
        "The file is empty."
        "Choose the file again; the upload may have been cut off.",
    TooLarge "too_large"
        "The file is larger than is taken."
        "Send a smaller file: fewer pages, or a photo of lower resolution.",
    KindUnknown "kind_unknown"
        "It is not clear what kind of file this is."
        "Send a PDF, a JPEG or PNG picture, or another of the kinds that are listed.",
    KindNotAllowed "kind_not_allowed"
        "Files of this kind are not taken."
        "Save it as PDF, or take a photo of it.",
    KindNeedsPerson "kind_needs_person"
        "Files of this kind are looked at by a person first."
        "Nothing; it takes longer.",
    Malware "malware"
        "The virus scanner found something in the file."
        "Scan your device, and send a file made on a clean one.",
    Polyglot "polyglot"
        "The file is of two kinds at once."
        "Make the file anew: print to PDF, or take a new photo.",
    TrailingData "trailing_data"
        "There is more data after the end of the file's content."
        "Open the file and save it anew, or take a screenshot of it.",
    ActiveContent "active_content"
        "The file holds something that acts by itself when it is opened."
        "Print it to PDF and send that.",
    ScriptInPdf "script_in_pdf"
        "The PDF holds a script or starts a program."
        "Print the PDF to a new PDF and send that.",
    EmbeddedFile "embedded_file"
        "The document holds another file."
        "Remove the attachment, and send it by itself if it is needed.",
    ExternalReference "external_reference"
        "The document fetches parts of itself from elsewhere."
        "Print it to PDF and send that.",
    Macro "macro"
        "The document holds macros."
        "Save it without macros, or as PDF.",
    Formula "formula"
        "The table holds formulas."
        "Save it with values only; a person looks at it otherwise.",
    Encrypted "encrypted"
        "The document is protected by a password or by rights."
        "Send it without protection; a person looks at it otherwise.",
    TooComplex "too_complex"
        "The file is built in a way that could not be looked through."
        "Open the file and save it anew; a person looks at it otherwise.",
    PdfBroken "pdf_broken"
        "The PDF is damaged or cut off."
        "Open the file and save it anew, then send it again.",
    PictureBroken "picture_broken"
        "The picture is damaged or cut off."
        "Take the photo again, or save the picture anew.",
    PictureTooLarge "picture_too_large"
        "The picture has more pixels than are taken."
        "Send it at a lower resolution.",
    DocumentBroken "document_broken"
        "The document lacks parts or is damaged."
        "Open the file and save it anew, then send it again.",
    XmlBroken "xml_broken"
        "The XML is not well formed."
        "Export the file again from where it came.",
    Doctype "doctype"
        "The XML declares a document type."
        "Export the file without a document type.",
    ExternalEntity "external_entity"
        "The XML refers to entities outside of itself."
        "Export the file without external entities.",
    TextEncoding "text_encoding"
        "The text is in no encoding that is read here."
        "Save it as UTF-8 or GB18030.",
    TextLine "text_line"
        "A line of the text is longer than is taken."
        "Break the text into lines.",
    ControlCharacters "control_characters"
        "The text holds control characters."
        "Save it as plain text.",
    ArchiveTruncated "archive_truncated"
        "The archive is damaged or cut off."
        "Pack the archive anew, then send it again.",
    ArchiveTooManyEntries "archive_too_many_entries"
        "There are more files in the archive than are taken."
        "Send fewer files at once.",
    ArchiveTooBig "archive_too_big"
        "What is in the archive is larger than is taken."
        "Send fewer or smaller files at once.",
    ArchiveRatio "archive_ratio"
        "What is in the archive is out of proportion to its size."
        "Send the files by themselves.",
    ArchiveNested "archive_nested"
        "There is an archive in the archive."
        "Send the files by themselves.",
    ArchiveEncrypted "archive_encrypted"
        "The archive is protected by a password."
        "Pack it without a password.",
    ArchivePath "archive_path"
        "A name in the archive leads out of it."
        "Pack the archive anew, without folders.",
    ArchiveDuplicateEntry "archive_duplicate_entry"
        "Two files in the archive have one name."
        "Pack the archive anew, with a name of its own for each file.",
    ArchiveLyingSizes "archive_lying_sizes"
        "The archive says different things about itself in different places."
        "Pack the archive anew with another program.",
    ArchiveHiddenData "archive_hidden_data"
        "There is data in the archive that belongs to none of its files."
        "Pack the archive anew with another program.",
    ArchiveMethod "archive_method"
        "The archive is compressed in a way that is not read here."
        "Pack it as an ordinary zip file.",
    ArchiveContent "archive_content"
        "There is a file of a kind that is not taken in the archive."
        "Send only documents and pictures.",
}

/// A code that is no reason's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such reason")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.name() == text).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_in_all_forms_and_texts_are_sentences() {
        for reason in Reason::ALL {
            assert_eq!(reason.name().parse(), Ok(*reason));
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.name()));
            for text in [reason.to_string(), reason.advice().to_owned()] {
                assert!(text.ends_with('.') && text.matches('.').count() == 1, "{text}");
            }
        }
        assert_eq!("none".parse::<Reason>(), Err(UnknownReason));
    }
}
