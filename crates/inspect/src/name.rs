//! The name a customer's device gave a file.
//!
//! It is data and never a path: no part of the system opens, makes or joins anything under it. So that it is also
//! harmless where it is shown, written to a log or offered for a download, what acts on a terminal or turns the text
//! around is refused; everything else is carried as it came, in any script.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Kind;

/// The longest name, in bytes of UTF-8: what file systems take.
pub const NAME_BYTES_MAX: usize = 255;

/// A name that was checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing, or nothing but blanks.
    #[error("the file has no name")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the file's name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// C0, C1 or DEL: line ends, tabs, escape sequences.
    #[error("the file's name holds control characters")]
    Control,
    /// Characters that turn the direction of text, so that `exe.fdp` reads as `pdf.exe`.
    #[error("the file's name holds characters that turn its direction")]
    Direction,
    /// Line or paragraph separator.
    #[error("the file's name goes over several lines")]
    Lines,
}

/// Checks the name that a customer's device gave a file.
///
/// Any script is fine. Path separators, `..`, leading dots, drive letters, device names (`CON`, `NUL`) and quotes mean
/// nothing here and are carried as they are; [`Name::offered_as`] makes a name that is safe to save under.
pub fn check_name(name: &str) -> Result<Name, NameProblem> {
    if name.trim().is_empty() {
        return Err(NameProblem::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameProblem::TooLong);
    }
    for c in name.chars() {
        match c {
            c if c.is_control() => return Err(NameProblem::Control),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => return Err(NameProblem::Direction),
            '\u{2028}' | '\u{2029}' => return Err(NameProblem::Lines),
            _ => {}
        }
    }
    Ok(Name(name.to_owned()))
}

/// Names that Windows gives to devices, whatever ending follows.
const DEVICES: &[&str] = &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];
const NUMBERED_DEVICES: &[&str] = &["COM", "LPT"];

impl Name {
    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name to offer for a download: the last part of what came, without characters that a file system gives a
    /// meaning to, no device's name, and with the ending of what the file was found to be.
    pub fn offered_as(&self, kind: Kind) -> String {
        let meaningless = |part: &&str| !part.trim_matches([' ', '.']).is_empty();
        let last = self.0.rsplit(['/', '\\']).find(meaningless).unwrap_or_default();
        // An ending of a few letters says what it was called to be; what it was found to be is said anew.
        let stem = match last.rsplit_once('.') {
            Some((stem, ending)) if !stem.is_empty() && ending.len() <= 5 => stem,
            _ => last,
        };
        let plain = |c: char| if r#"<>:"|?*%;"#.contains(c) || c.is_control() { '_' } else { c };
        let stem: String = stem.chars().map(plain).collect();
        let stem = stem.trim_matches([' ', '.']);
        let safe = match stem {
            "" => "file".to_owned(),
            stem if is_device(stem) => format!("file {stem}"),
            stem => stem.to_owned(),
        };
        let extension = kind.extension();
        let mut end = safe.len().min(NAME_BYTES_MAX - extension.len() - 1);
        while !safe.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}.{extension}", safe[..end].trim_end_matches([' ', '.']))
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = NUMBERED_DEVICES.iter().filter_map(|device| stem.strip_prefix(device));
    DEVICES.contains(&stem.as_str())
        || numbered.into_iter().any(|n| n.chars().count() == 1 && n.contains(|c| "0123456789¹²³".contains(c)))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameProblem;

    fn try_from(name: String) -> Result<Self, NameProblem> {
        check_name(&name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_script_are_carried_as_they_came() {
        for name in [
            "户口本（第2页）.pdf",
            "счёт.pdf",
            "فاتورة.pdf",
            "電気料金.jpg",
            "a\u{200d}b.png",
            "photo 👩‍🔧.jpg",
            " padded ",
            "../../etc/passwd",
            "..\\..\\boot.ini",
            "/etc/shadow",
            "C:\\Windows\\a.pdf",
            ".htaccess",
            "..",
            "CON",
            "nul.pdf",
            "COM1.txt",
            "a:b",
            "-rf",
            "$(reboot)",
            "'; drop table files;--",
            "<script>.pdf",
            "%2e%2e%2f",
            "a.pdf.exe",
            "*?",
        ] {
            assert_eq!(check_name(name).unwrap().as_str(), name);
        }
        assert!(check_name(&"a".repeat(255)).is_ok());
        assert!(check_name(&"电".repeat(85)).is_ok());
    }

    #[test]
    fn names_that_act_on_their_reader_are_refused() {
        for (name, problem) in [
            ("", NameProblem::Empty),
            (" \u{3000}", NameProblem::Empty),
            (&"a".repeat(256), NameProblem::TooLong),
            (&"电".repeat(86), NameProblem::TooLong),
            ("a\x1b[2Jb.pdf", NameProblem::Control),
            ("a\nb.pdf", NameProblem::Control),
            ("a\r\nSet-Cookie: x", NameProblem::Control),
            ("a\tb", NameProblem::Control),
            ("a\0.pdf", NameProblem::Control),
            ("a\x7f", NameProblem::Control),
            ("a\u{9b}2J", NameProblem::Control),
            ("a\u{85}b", NameProblem::Control),
            ("a\u{202e}fdp.exe", NameProblem::Direction),
            ("a\u{202a}b", NameProblem::Direction),
            ("a\u{2066}b", NameProblem::Direction),
            ("a\u{2069}b", NameProblem::Direction),
            ("a\u{2028}b", NameProblem::Lines),
            ("a\u{2029}b", NameProblem::Lines),
        ] {
            assert_eq!(check_name(name), Err(problem), "{name:?}");
            assert!(serde_json::from_str::<Name>(&serde_json::to_string(name).unwrap()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_to_save_under_has_no_meaning_to_a_file_system() {
        for (name, offered) in [
            ("户口本.pdf", "户口本.pdf"),
            ("../../etc/passwd", "passwd.pdf"),
            ("..\\..\\boot.ini", "boot.pdf"),
            ("C:\\a\\b.docx", "b.pdf"),
            ("invoice.pdf.exe", "invoice.pdf.pdf"),
            (".htaccess", "htaccess.pdf"),
            ("..", "file.pdf"),
            ("/", "file.pdf"),
            ("CON", "file CON.pdf"),
            ("nul.txt", "file nul.pdf"),
            ("com1.tar.gz", "file com1.tar.pdf"),
            ("lpt¹.txt", "file lpt¹.pdf"),
            ("community.txt", "community.pdf"),
            ("a<b>:\"|?*%;.txt", "a_b________.pdf"),
            ("x. .", "x.pdf"),
        ] {
            let safe = check_name(name).unwrap().offered_as(Kind::Pdf);
            assert_eq!(safe, offered, "{name:?}");
        }
        let long = check_name(&"电".repeat(85)).unwrap().offered_as(Kind::Jpeg);
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with("电.jpg"));
    }
}
